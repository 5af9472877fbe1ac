//! The files in `config/` agree with the types: the definitions are fresh, and the samples are valid objects.

#![expect(clippy::disallowed_types, reason = "runs the generator")]
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use api::kustomize::Kustomization;
use api::notification::{Alert, Provider, Receiver};
use api::source::GitRepository;
use serde::Deserialize;
use serde_json::Value;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

/// Runs the generator's check over a folder; gives its exit code and what it said.
fn crdgen_check(folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crdgen"))
        .arg("--check")
        .arg(folder)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_definitions_in_config_are_what_the_types_say() {
    assert_eq!(crdgen_check(&config().join("crd")), (Some(0), String::new()));
}

#[test]
fn a_stale_a_missing_and_a_foreign_file_are_each_named() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crd");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let written = Command::new(env!("CARGO_BIN_EXE_crdgen"))
        .arg(&folder)
        .status()
        .unwrap();
    assert!(written.success());
    assert_eq!(crdgen_check(&folder), (Some(0), String::new()));

    let stale = folder.join("notification.toolkit.fluxcd.io_alerts.yaml");
    fs::write(
        &stale,
        fs::read_to_string(&stale)
            .unwrap()
            .replace("maxLength: 255", "maxLength: 256"),
    )
    .unwrap();
    fs::remove_file(folder.join("notification.toolkit.fluxcd.io_providers.yaml")).unwrap();
    fs::write(folder.join("old.yaml"), "kind: Old\n").unwrap();
    let (code, said) = crdgen_check(&folder);
    assert_eq!(code, Some(1));
    for part in [
        "alerts.yaml: stale from line",
        "providers.yaml: missing",
        "old.yaml: belongs to no kind",
        "cargo run -p api",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

/// Every YAML file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_sample_is_a_valid_object_and_every_kind_has_one() {
    let mut kinds = Vec::new();
    for file in files(&config().join("samples")) {
        for document in serde_yaml::Deserializer::from_str(&fs::read_to_string(&file).unwrap()) {
            let object = Value::deserialize(document).unwrap();
            let group = object["apiVersion"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned();
            let kind = object["kind"].as_str().unwrap().to_owned();
            let read = match (group.as_str(), kind.as_str()) {
                (api::source::GROUP, "GitRepository") => serde_json::from_value::<GitRepository>(object).err(),
                (api::kustomize::GROUP, "Kustomization") => serde_json::from_value::<Kustomization>(object).err(),
                (api::notification::GROUP, "Provider") => serde_json::from_value::<Provider>(object).err(),
                (api::notification::GROUP, "Alert") => serde_json::from_value::<Alert>(object).err(),
                (api::notification::GROUP, "Receiver") => serde_json::from_value::<Receiver>(object).err(),
                (group, kind) => {
                    assert!(
                        !group.ends_with("toolkit.fluxcd.io"),
                        "{}: {kind} is no kind of ours",
                        file.display()
                    );
                    continue;
                }
            };
            assert!(read.is_none(), "{}: {}", file.display(), read.unwrap());
            kinds.push(kind);
        }
    }
    for kind in ["GitRepository", "Kustomization", "Provider", "Alert", "Receiver"] {
        assert!(kinds.iter().any(|found| found == kind), "no sample of {kind}");
    }
}

/// The page of a kind has a heading for every field of its spec and status, and none for a field that is gone.
#[test]
fn every_field_has_a_heading_in_the_page_of_its_kind() {
    let docs = config().join("../docs");
    for definition in api::crd::definitions().unwrap() {
        let kind = definition["spec"]["names"]["singular"].as_str().unwrap();
        let page = fs::read_to_string(docs.join(format!("{kind}.md"))).unwrap();
        let before_troubleshooting = page.split("\n## Troubleshooting").next().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut wanted = Vec::new();
        for part in ["spec", "status"] {
            if let Some(properties) = schema[part]["properties"].as_object() {
                wanted.extend(properties.keys().map(String::as_str));
            }
        }
        let found: Vec<&str> = before_troubleshooting
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .flat_map(|heading| heading.split(", "))
            .map(|field| field.split(['.', '[']).next().unwrap_or_default())
            .collect();
        for field in &wanted {
            assert!(found.contains(field), "docs/{kind}.md has no heading for {field}");
        }
        for field in &found {
            assert!(
                wanted.contains(field),
                "docs/{kind}.md describes {field}, which {kind} does not have"
            );
        }
    }
}
