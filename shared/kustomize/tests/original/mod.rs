//! The real kustomize, which says what is right.

#![expect(clippy::disallowed_types, reason = "builds the real kustomize")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The path of the real kustomize: `KUSTOMIZE`, or what `hack/kustomize-oracle` builds.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KUSTOMIZE") {
        return Ok(PathBuf::from(path));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/kustomize-oracle");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}; or set KUSTOMIZE to what it builds", script.display()))?;
    ensure!(
        output.status.success(),
        "{} failed; it builds the real kustomize and needs Go",
        script.display()
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
