//! What the Go libraries behind kustomize and Flux make of the same input, recorded in `golden/*.json`.
//!
//! A file is a list of `{in, out, err}`. To record again, or to record new inputs (leave `out` away), run the Go
//! program in `golden/oracle` on the files: `go run . ../v3.json ../v2.json ../emit.json`.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;
use yaml::Dialect;

type Ours = fn(&str) -> Result<String>;

fn v3(text: &str) -> Result<String> {
    let documents: Vec<Value> = yaml::parse_json(text, Dialect::V3)?
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    Ok(yaml::to_string_all(&documents))
}

fn v2(text: &str) -> Result<String> {
    let first = yaml::parse_json(text, Dialect::V2)?.into_iter().next();
    Ok(first.map_or(Value::Null, |(_, value)| value).to_string())
}

fn emit(text: &str) -> Result<String> {
    Ok(yaml::to_string(&serde_json::from_str(text)?))
}

/// Compares one file. `YAML_GOLDEN` names another folder with files of these names, for larger samples.
fn compare(name: &str, ours: Ours) -> Result<()> {
    let directory = std::env::var("YAML_GOLDEN")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden").to_owned());
    let path = Path::new(&directory).join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let goldens: Vec<Value> = serde_json::from_str(&text)?;
    assert!(!goldens.is_empty(), "{name} is empty");
    let mut wrong = BTreeSet::new();
    for golden in &goldens {
        let text = golden["in"].as_str().context("a golden without input")?;
        let found = ours(text);
        let expected = golden["out"].as_str().filter(|_| golden["err"].is_null());
        match (&found, expected) {
            (Ok(found), Some(expected)) if name.starts_with("v2") => {
                if serde_json::from_str::<Value>(found)? != serde_json::from_str::<Value>(expected)? {
                    wrong.insert(format!("{text:?}\n  ours {found}\n  Go   {expected}"));
                }
            }
            (Ok(found), Some(expected)) if found != expected => {
                wrong.insert(format!("{text:?}\n  ours {found:?}\n  Go   {expected:?}"));
            }
            (Err(error), Some(expected)) => {
                wrong.insert(format!("{text:?}\n  ours error {error}\n  Go   {expected:?}"));
            }
            (Ok(found), None) => {
                wrong.insert(format!("{text:?}\n  ours {found:?}\n  Go   error {}", golden["err"]));
            }
            (Ok(_), Some(_)) | (Err(_), None) => {}
        }
    }
    let shown: Vec<String> = wrong.iter().take(20).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ in {name}:\n{}",
        wrong.len(),
        goldens.len(),
        shown.join("\n")
    );
    Ok(())
}

#[test]
fn manifests_are_read_and_written_as_kustomize_does() -> Result<()> {
    compare("v3.json", v3)
}

#[test]
fn text_is_read_as_the_kubernetes_yaml_library_does() -> Result<()> {
    compare("v2.json", v2)
}

#[test]
fn json_is_written_as_the_kubernetes_yaml_library_does() -> Result<()> {
    compare("emit.json", emit)
}
