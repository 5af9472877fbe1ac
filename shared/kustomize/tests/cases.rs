//! Folder cases: `tests/cases/NAME/in` is built as the command line does by default, and has to give `expected.yaml`, or to
//! be refused as `expected-error.txt` says.
//!
//! The expected objects come from the real kustomize, which has to refuse the others as well; the words of an error are
//! our own. To make them again, or those of new cases:
//!
//! ```text
//! UPDATE_EXPECTED=1 cargo test -p kustomize --test cases
//! ```
//!
//! `hack/kustomize-oracle` builds the real kustomize; `KUSTOMIZE` names another one.

#![expect(clippy::disallowed_types, reason = "asks the real kustomize")]

mod original;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use cap_std::{ambient_authority, fs::Dir};
use kustomize::{DirFiles, MemoryFiles, Options, Reorder, build};

/// What the library makes of a case: the text of the objects, or that of the error.
fn built(directory: &Path, reorder: Reorder) -> Result<Result<String, String>> {
    let files = DirFiles::new(Dir::open_ambient_dir(directory, ambient_authority())?);
    let options = Options {
        reorder,
        ..Options::default()
    };
    Ok(match build(&files, "in", &options) {
        Ok(objects) => Ok(yaml::to_string_all(objects.iter().map(|built| &built.object))),
        Err(error) => Err(format!("{error}\n")),
    })
}

/// What is written down for a case.
fn expected(directory: &Path) -> Result<Result<String, String>> {
    let (objects, error) = (directory.join("expected.yaml"), directory.join("expected-error.txt"));
    if error.exists() {
        return Ok(Err(std::fs::read_to_string(&error)?));
    }
    Ok(Ok(
        std::fs::read_to_string(&objects).with_context(|| objects.display().to_string())?
    ))
}

fn cases() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut directories = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    directories.sort();
    ensure!(directories.len() >= 150, "only {} cases found", directories.len());
    Ok(directories)
}

fn check(failures: &[String]) -> Result<()> {
    ensure!(
        failures.is_empty(),
        "{} cases differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

#[test]
fn every_case_gives_what_is_expected() -> Result<()> {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut failures = Vec::new();
    for directory in cases()? {
        if update {
            write_down(&directory)?;
        }
        let name = directory.display();
        match (expected(&directory)?, built(&directory, Reorder::Legacy)?) {
            (Ok(expected), Ok(text)) | (Err(expected), Err(text)) if text == expected => {}
            (Ok(expected), Ok(text)) | (Err(expected), Err(text)) => {
                failures.push(format!("{name}: {}", difference(&expected, &text)));
            }
            (Ok(_), Err(error)) => failures.push(format!("{name}: refused: {error}")),
            (Err(_), Ok(_)) => failures.push(format!("{name}: built, and an error is expected")),
        }
    }
    check(&failures)
}

/// Asks the real kustomize about a case and keeps the answer.
fn write_down(directory: &Path) -> Result<()> {
    let (objects, error) = (directory.join("expected.yaml"), directory.join("expected-error.txt"));
    for file in [&objects, &error] {
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    match printed(&original::program()?, directory, "legacy")? {
        Some(text) => std::fs::write(objects, text)?,
        None => match built(directory, Reorder::Legacy)? {
            Err(text) => std::fs::write(error, text)?,
            Ok(_) => bail!("{}: kustomize refuses what is built here", directory.display()),
        },
    }
    Ok(())
}

#[test]
fn the_real_kustomize_gives_the_same_in_both_orders() -> Result<()> {
    let kustomize = original::program()?;
    let mut failures = Vec::new();
    for directory in cases()? {
        for (reorder, name) in [(Reorder::Legacy, "legacy"), (Reorder::None, "none")] {
            let failure = match (printed(&kustomize, &directory, name)?, built(&directory, reorder)?) {
                (Some(expected), Ok(text)) if text == expected => continue,
                (None, Err(_)) => continue,
                (Some(expected), Ok(text)) => difference(&expected, &text),
                (Some(_), Err(error)) => format!("refused: {error}"),
                (None, Ok(_)) => "built, and kustomize refuses".to_owned(),
            };
            failures.push(format!("{} --reorder={name}: {failure}", directory.display()));
        }
    }
    check(&failures)
}

/// What kustomize prints for a case; none when it refuses.
fn printed(kustomize: &Path, directory: &Path, reorder: &str) -> Result<Option<String>> {
    let output = Command::new(kustomize)
        .args(["build", "--reorder", reorder])
        .arg(directory.join("in"))
        .output()?;
    Ok(output.status.success().then_some(String::from_utf8(output.stdout)?))
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
