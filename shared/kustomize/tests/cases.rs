//! Folder cases: `tests/cases/NAME/in` is built as the command line does by default, and has to give `expected.yaml`.
//!
//! The expectations come from the real kustomize. To make them again, or those of new cases:
//!
//! ```text
//! UPDATE_EXPECTED=/path/to/kustomize cargo test -p kustomize --test cases
//! ```

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use cap_std::{ambient_authority, fs::Dir};
use kustomize::{DirFiles, MemoryFiles, Options, Reorder, build};

/// What the library prints for a directory.
fn built(directory: &Path) -> Result<String> {
    let files = DirFiles::new(Dir::open_ambient_dir(directory, ambient_authority())?);
    let options = Options {
        reorder: Reorder::Legacy,
        ..Options::default()
    };
    let objects = build(&files, "in", &options)?;
    Ok(yaml::to_string_all(objects.iter().map(|built| &built.object)))
}

/// What kustomize prints for a directory.
fn expected(kustomize: &str, directory: &Path) -> Result<Vec<u8>> {
    let output = Command::new(kustomize)
        .arg("build")
        .arg(directory.join("in"))
        .output()?;
    if !output.status.success() {
        bail!("{}: {}", directory.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

#[test]
fn every_case_gives_what_kustomize_gives() -> Result<()> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = std::env::var("UPDATE_EXPECTED").ok();
    let mut directories = std::fs::read_dir(&cases)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    directories.sort();
    let mut failures = Vec::new();
    for directory in &directories {
        let file = directory.join("expected.yaml");
        if let Some(kustomize) = &update {
            std::fs::write(&file, expected(kustomize, directory)?)?;
        }
        let expected = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        match built(directory) {
            Ok(text) if text == expected => {}
            Ok(text) => failures.push(format!("{}:\n{}", directory.display(), difference(&expected, &text))),
            Err(error) => failures.push(format!("{}: {error}", directory.display())),
        }
    }
    ensure!(directories.len() >= 20, "only {} cases found", directories.len());
    ensure!(
        failures.is_empty(),
        "{} cases differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

/// The first lines where two texts differ.
fn difference(expected: &str, text: &str) -> String {
    let (mut a, mut b) = (expected.lines(), text.lines());
    for line in 1.. {
        match (a.next(), b.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => return format!("line {line}: expected {a:?}, built {b:?}"),
        }
    }
    "only the ends differ".to_owned()
}

#[test]
fn a_tree_in_memory_builds_like_a_directory() -> Result<()> {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/references");
    let mut files = MemoryFiles::default();
    for path in ["kustomization.yaml", "base/kustomization.yaml", "base/all.yaml"] {
        files.insert(path, std::fs::read(case.join("in").join(path))?)?;
    }
    let options = Options {
        reorder: Reorder::Legacy,
        ..Options::default()
    };
    let objects = build(&files, "", &options)?;
    let text = yaml::to_string_all(objects.iter().map(|built| &built.object));
    assert_eq!(text, std::fs::read_to_string(case.join("expected.yaml"))?);
    assert!(objects.iter().all(|built| {
        built
            .origin
            .as_ref()
            .is_some_and(|origin| origin.path == "base/all.yaml")
    }));
    Ok(())
}
