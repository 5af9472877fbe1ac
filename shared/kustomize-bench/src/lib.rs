//! The inputs that builds are measured with, made here rather than kept: the same bytes on every run. The binary of this
//! crate measures `kustomize-build` with them beside other programs that build kustomizations, and the benches of the
//! `kustomize` library measure calls. What is built, and what it should come to, is of no concern here.

mod inputs;

pub use inputs::{INPUTS, Input, Tree};
