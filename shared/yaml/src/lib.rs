//! The YAML dialect that kustomize and Flux speak: read with positions, written byte for byte as their Go tools write it.
//!
//! Reading knows two dialects, because the Go tools read the same text twice with different libraries: manifests go
//! through yaml.v3 ([`Dialect::V3`]), kustomization files and text after substitution through goyaml.v2
//! ([`Dialect::V2`]). Aliases and merge keys are expanded while reading, within bounds. Writing takes JSON values and
//! produces the one form that `kustomize build` prints: sorted keys, block style, lines folded at 80 columns.
//!
//! A [`StyledDocument`] is for text that is changed in one place and otherwise stays: it keeps key order, comments, anchors
//! and quotes, and is written as yaml.v3 writes such trees. Everything else loses them, as it does in the Go tools.
//!
//! ```
//! let documents = yaml::parse("replicas: 2 # two\nname: web\n", yaml::Dialect::V3)?;
//! let replicas = documents[0].get("replicas").ok_or("no replicas")?;
//! assert_eq!((replicas.position.line, replicas.position.column), (1, 11));
//!
//! let text = yaml::to_string(&documents[0].to_json()?);
//! assert_eq!(text, "name: web\nreplicas: 2\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate deliberately does not do: decode into typed structs, or read anything but UTF-8 text that is already in memory.

mod block;
mod emit;
mod error;
mod mapping;
mod node;
mod number;
mod order;
mod parse;
mod quotes;
mod refold;
mod resolve;
mod style;
mod styled;
mod timestamp;

pub use emit::{through_json, to_string, to_string_all};
pub use error::{Error, ErrorKind};
pub use mapping::{Flaw, FlawKind};
pub use node::{Node, Position, Value};
pub use order::natural_order;
pub use parse::{
    Documents, MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES, MAX_TEXT_BYTES, parse, parse_json, parse_tolerant,
};
pub use refold::refold;
pub use resolve::{Dialect, is_timestamp};
pub use style::quoting;
pub use styled::{Comments, Content, Quoting, ScalarKind, Styled, StyledDocument, StyledScalar, read_styled};
