//! What has to hold whatever repositories and Secrets hold: a module for each target, whose `check` panics where it does not.
//! The fuzzer makes the inputs; `tests/corpora.rs` of the controller tries those that are kept in `corpus`.

pub mod archive;
mod fixed;
pub mod ignore;
pub mod keys;
pub mod object;
pub mod signature;

/// What a target does with an input.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 5] = [
    ("archive", archive::check),
    ("ignore", ignore::check),
    ("keys", keys::check),
    ("object", object::check),
    ("signature", signature::check),
];

/// The parts of an input: what stands between lines that start with `=== `, each with what such a line says behind that.
fn parts(input: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut parts = Vec::new();
    let (mut name, mut start, mut at) = (&b""[..], 0, 0);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if let Some(next) = line.strip_prefix(b"=== ") {
            parts.push((name, &input[start..at]));
            (name, start) = (next.strip_suffix(b"\n").unwrap_or(next), at + line.len());
        }
        at += line.len();
    }
    parts.push((name, &input[start..]));
    parts
}
