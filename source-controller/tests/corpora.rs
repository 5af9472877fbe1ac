//! What was kept of fuzzing (`fuzz/corpus`): every input still holds what its target says has to hold.

#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

#[test]
fn every_input_that_was_kept_holds() -> std::io::Result<()> {
    corpus::replay(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus"),
        fuzz::TARGETS,
    )
}
