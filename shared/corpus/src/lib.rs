//! Tries what was kept of fuzzing in a plain test: a folder of inputs for each target. It makes no inputs and knows nothing of
//! the fuzzer.

use std::collections::BTreeSet;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// Gives every input below `corpus/TARGET` to the check of that target, which panics where something does not hold. Targets
/// are pairs of name and check. The path of each input is printed before, to be seen where the check panics.
///
/// # Errors
/// When the folders are not those of the targets, one is empty, or a file cannot be read.
pub fn replay<C: Fn(&[u8])>(corpus: &Path, targets: impl IntoIterator<Item = (&'static str, C)>) -> Result<()> {
    let mut others: BTreeSet<PathBuf> = entries(corpus)?.into_iter().collect();
    for (target, check) in targets {
        let folder = corpus.join(target);
        let inputs = entries(&folder)?;
        if inputs.is_empty() {
            return Err(Error::other(format!("{} has no inputs", folder.display())));
        }
        for input in inputs {
            println!("{}", input.display());
            check(&std::fs::read(&input).map_err(|error| at(&input, &error))?);
        }
        others.remove(&folder);
    }
    match others.first() {
        Some(other) => Err(Error::other(format!("{} belongs to no target", other.display()))),
        None => Ok(()),
    }
}

/// What is in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()
        .map_err(|error| at(folder, &error))?;
    paths.sort();
    Ok(paths)
}

fn at(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What the checks of the targets `a` and `b` saw of these files and folders (`x/`), or a part of the error.
    fn check(entries: &[&str], expected: std::result::Result<&[&str], &str>) {
        let corpus = tempfile::tempdir().unwrap();
        for entry in entries {
            let path = corpus.path().join(entry);
            std::fs::create_dir_all(if entry.ends_with('/') {
                &path
            } else {
                path.parent().unwrap()
            })
            .unwrap();
            if !entry.ends_with('/') {
                std::fs::write(path, entry).unwrap();
            }
        }
        let seen = RefCell::new(Vec::new());
        let see = |input: &[u8]| seen.borrow_mut().push(String::from_utf8(input.to_vec()).unwrap());
        let replayed = replay(corpus.path(), [("a", see), ("b", see)]);
        match expected {
            Ok(inputs) => {
                replayed.unwrap();
                assert_eq!(*seen.borrow(), inputs);
            }
            Err(part) => assert!(replayed.unwrap_err().to_string().contains(part), "{entries:?}"),
        }
    }

    #[test]
    fn every_input_goes_to_its_target() {
        check(&["b/x", "a/2", "a/1"], Ok(&["a/1", "a/2", "b/x"]));
    }

    #[test]
    fn folders_and_targets_are_the_same() {
        check(&["a/1"], Err("/b: "));
        check(&["a/", "b/1"], Err("/a has no inputs"));
        check(&["a/1/", "b/1"], Err("/a/1: "));
        check(&["a/1", "b/1", "c/1"], Err("/c belongs to no target"));
    }
}
