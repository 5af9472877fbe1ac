//! Manifests and what the real `kustomize build` prints for them: `cases/<name>/in.yaml` and `expected.yaml`.
//!
//! To record a case again, or a new one, with kustomize on the path:
//! `cd tests/cases/<name> && cp in.yaml /tmp/x/ && echo 'resources: [in.yaml]' > /tmp/x/kustomization.yaml &&
//! kustomize build /tmp/x > expected.yaml` (kustomize v5.8.1; it orders documents by kind, so write them in that order).

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use yaml::Dialect;

#[test]
fn documents_are_printed_as_kustomize_build_prints_them() -> Result<()> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in fs::read_dir(&cases)? {
        let case = entry?.path();
        let read = |name: &str| fs::read_to_string(case.join(name)).with_context(|| case.display().to_string());
        let documents = yaml::parse_json(&read("in.yaml")?, Dialect::V3)?;
        let found = yaml::to_string_all(documents.iter().map(|(_, value)| value));
        assert_eq!(found, read("expected.yaml")?, "{}", case.display());
        count += 1;
    }
    assert!(count > 0, "no cases in {}", cases.display());
    Ok(())
}
