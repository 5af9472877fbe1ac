//! What has to hold whatever the library reads: a module for each target, whose `check` panics where it does not. The fuzzer
//! makes the inputs; `tests/corpora.rs` of the library tries those that are kept in `corpus`.

pub mod known_hosts;
pub mod listing;
pub mod modules;
pub mod pack;
pub mod revision;
pub mod semver;
pub mod url;
pub mod writer;

/// What a target does with an input.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 7] = [
    ("known_hosts", known_hosts::check),
    ("listing", listing::check),
    ("modules", modules::check),
    ("pack", pack::check),
    ("revision", revision::check),
    ("semver", semver::check),
    ("url", url::check),
];
