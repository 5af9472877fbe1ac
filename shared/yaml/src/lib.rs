//! The YAML dialect that kustomize and Flux speak: read with positions, written byte for byte as their Go tools write it.
//!
//! Reading knows two dialects, because the Go tools read the same text twice with different libraries: manifests go
//! through yaml.v3 ([`Dialect::V3`]), kustomization files and text after substitution through goyaml.v2
//! ([`Dialect::V2`]). Aliases and merge keys are expanded while reading, within bounds. Writing takes JSON values and
//! produces the one form that `kustomize build` prints: sorted keys, block style, lines folded at 80 columns.
//!
//! What this crate deliberately does not do: keep comments, key order, anchors or quoting styles (the Go tools lose
//! them too), decode into typed structs, or read anything but UTF-8 text that is already in memory.

mod emit;
mod error;
mod mapping;
mod node;
mod number;
mod order;
mod parse;
mod refold;
mod resolve;
mod timestamp;

pub use emit::{to_string, to_string_all};
pub use error::{Error, ErrorKind};
pub use node::{Node, Position, Value};
pub use order::natural_order;
pub use parse::{MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES, MAX_TEXT_BYTES, parse, parse_json};
pub use resolve::Dialect;
