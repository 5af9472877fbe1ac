//! Random trees of kustomizations: what always holds for them, and that the real kustomize makes the same of them.
//!
//! A seed makes a tree. `SLUICE_FUZZ_SEED` is the first one and `SLUICE_FUZZ_SECONDS` how long to go on with further ones
//! (`hack/kustomize-fuzz` sets both); without them, a fixed number of seeds is tried. A tree that differs is made small,
//! written to `.sluice/kustomize-fuzz` and printed.

mod dice;
mod generate;
mod oracle;
#[path = "../original/mod.rs"]
mod original;
mod shrink;
mod style;
mod tree;

mod against_kustomize;
mod properties;
