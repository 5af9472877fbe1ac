//! `kustomize build` as a library: a directory of YAML and a kustomization file in, Kubernetes objects out, as
//! kustomize v5.8.1 makes them.
//!
//! [`build`] reads through a [`Files`] (a tree in memory or a confined directory), keeps no state between calls and
//! knows no cluster, network, subprocess or environment. It is a function of its arguments and of the answers of the
//! [`Files`], the only way in which anything here reaches a file; [`Recorded`] keeps these answers as a [`Footprint`], by
//! which a caller knows that another tree builds to the same. Remote bases, Helm charts and plugins other than the ones
//! built into kustomize are refused with an error naming the kustomization and the field; nothing is ignored silently.
//!
//! ```
//! let mut files = kustomize::MemoryFiles::default();
//! files.insert("kustomization.yaml", "namePrefix: dev-\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n")?;
//! let objects = kustomize::build(&files, "", &kustomize::Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["name"], "dev-app");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod error;
mod fields;
mod files;
mod generate;
mod kustomization;
mod merge;
mod node;
mod options;
mod resource;
mod schema;
mod select;
mod transform;
mod unsupported;

pub use error::Error;
pub use files::{DirFiles, FileError, FileKind, Files, Footprint, MemoryFiles, Overlay, Recorded};
pub use options::{Limits, LoadRestriction, Options, Reorder};

use serde_json::Value;

/// One object of a build, in output order.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltObject {
    /// The object as kustomize would print it: at least `apiVersion` (possibly missing, as in the input), `kind` and
    /// `metadata.name`.
    pub object: Value,
    /// Where the object was first read or generated, when that is a file of the tree.
    pub origin: Option<Origin>,
}

/// The place an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Path of the file relative to the root of the [`Files`]; the kustomization file for generated objects.
    pub path: String,
    /// Line of the document's first entry, counted from 1; none for generated objects.
    pub line: Option<usize>,
}

/// Builds the kustomization in the directory `dir` of `files` ("" is the root of the tree).
///
/// The objects come in the order of `options.reorder` (or of the root's `sortOptions`, which win).
///
/// # Errors
/// Whatever makes `kustomize build` fail, a limit of `options` exceeded, or a field that is not supported.
pub fn build(files: &dyn Files, dir: &str, options: &Options) -> Result<Vec<BuiltObject>, Error> {
    build::build(files, dir, options)
}
