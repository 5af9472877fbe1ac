//! What was kept of fuzzing (`fuzz/corpus`): every input still holds what its target says has to hold.

#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

#[test]
fn every_input_that_was_kept_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    for (target, check) in fuzz::TARGETS {
        let inputs = files(&corpus.join(target));
        assert!(!inputs.is_empty(), "{target} has no inputs");
        for input in inputs {
            // Shown if what follows panics.
            println!("{}", input.display());
            check(&std::fs::read(&input).unwrap());
        }
    }
    assert_eq!(files(&corpus).len(), fuzz::TARGETS.len(), "a directory for each target");
}
