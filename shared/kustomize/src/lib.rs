//! `kustomize build` as a library: a directory of YAML and a kustomization file in, Kubernetes objects out, as
//! kustomize v5.8.1 makes them.
//!
//! [`build`] reads through a [`Files`] (a tree in memory or a confined directory), keeps no state between calls and
//! knows no cluster, network, subprocess or environment. It is a function of its arguments and of the answers of the
//! [`Files`], the only way in which anything here reaches a file; [`Recorded`] keeps these answers as a [`Footprint`], by
//! which a caller knows that another tree builds to the same. Remote bases and files behind URLs are asked of a [`Fetch`]
//! where a [`Builder`] is given one, and refused where not. Helm charts and plugins other than the ones built into
//! kustomize are refused with an error naming the kustomization and the field; nothing is ignored silently.
//!
//! ```
//! let mut files = kustomize::MemoryFiles::default();
//! files.insert("kustomization.yaml", "namePrefix: dev-\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n")?;
//! let objects = kustomize::build(&files, "", &kustomize::Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["name"], "dev-app");
//! assert_eq!(objects[0].touched_by[0].to_string(), "kustomization.yaml namePrefix");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! A failed build tells all that one pass can find, each [`Problem`] with the kustomization, the file, the line, the field
//! and the object it is about. Files that are missing or cannot be read are found in the whole tree of kustomizations; what
//! is done with the objects is not tried in a kustomization that has problems or has one below it with problems, field
//! after field: a patch without its object says nothing about the field after `patches`. A limit that is exceeded and
//! kustomizations that go in a circle end the build at once.
#![doc = include_str!("../DEVIATION.md")]

mod build;
mod error;
mod fields;
mod file_names;
mod files;
mod generate;
mod go_json;
mod kustomization;
mod merge;
mod node;
mod options;
mod origin;
mod remote;
mod resource;
mod schema;
mod select;
mod transform;
#[cfg(test)]
mod trial;
mod unsupported;

pub use error::{Error, Problem};
pub use file_names::file_names;
pub use files::{DirFiles, FileError, FileKind, Files, Footprint, MemoryFiles, Overlay, Recorded};
pub use kustomization::Positions;
pub use options::{Limits, LoadRestriction, Options, Reorder};
pub use origin::{Origin, Touch};
pub use remote::{Fetch, FetchError, Remote, Repository, is_remote};

use std::sync::Arc;

use serde_json::Value;

/// One object of a build, in output order.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltObject {
    /// The object as kustomize would print it: at least `apiVersion` (possibly missing, as in the input), `kind` and
    /// `metadata.name`.
    pub object: Value,
    /// Where the object was first read or generated, when that is a file of the tree.
    pub origin: Option<Origin>,
    /// The fields of kustomizations that changed the object, oldest first: only those that really changed it. What
    /// follows from them at the end of a build is not among them: references to renamed objects, vars, hashes in names.
    pub touched_by: Vec<Arc<Touch>>,
}

/// What a build comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Built {
    /// The objects, in the order of [`Options::reorder`] (or of the root's `sortOptions`, which win).
    pub objects: Vec<BuiltObject>,
    /// What kustomize prints as warnings: deprecated fields and the like, a line each, each said once.
    pub warnings: Vec<String>,
    /// What the build asked its [`Fetch`] for, each once, in that order. Unless this is empty, the [`Footprint`] of the files
    /// is not all that the objects depend on.
    pub fetched: Vec<Remote>,
}

/// The objects a build comes to, in output order, each made when it is asked for. Until then it is in the form in which it was
/// built, which takes much less memory than JSON: for those who only write objects somewhere.
pub struct Objects {
    /// As [`Built::warnings`].
    pub warnings: Vec<String>,
    /// As [`Built::fetched`].
    pub fetched: Vec<Remote>,
    pub(crate) left: std::vec::IntoIter<resource::Resource>,
}

impl Iterator for Objects {
    type Item = BuiltObject;

    fn next(&mut self) -> Option<BuiltObject> {
        let resource = self.left.next()?;
        Some(BuiltObject {
            object: resource.node.into_json(),
            origin: resource.place,
            touched_by: resource.touched_by,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Objects {}

/// A build: where it reads, what it may do.
pub struct Builder<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) options: &'a Options,
    pub(crate) fetch: Option<&'a dyn Fetch>,
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl<'a> Builder<'a> {
    /// A build that reads `files` and nothing else: remote bases are refused.
    pub fn new(files: &'a dyn Files, options: &'a Options) -> Self {
        Self {
            files,
            options,
            fetch: None,
            stop: &|| false,
        }
    }

    /// Lets the build ask for what is not in its files: remote bases, and files behind URLs.
    #[must_use]
    pub fn fetch(mut self, fetch: &'a dyn Fetch) -> Self {
        self.fetch = Some(fetch);
        self
    }

    /// Lets the caller end the build: it fails soon after `stop` says true. The library has no clock, so this is how a
    /// build is bounded in time; `stop` is asked before every file and every object a transformer looks at, so it should
    /// be quick.
    ///
    /// ```
    /// # let (files, options) = (kustomize::MemoryFiles::default(), kustomize::Options::default());
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    /// let late = || std::time::Instant::now() > deadline;
    /// let built = kustomize::Builder::new(&files, &options).stop(&late).build("");
    /// # assert!(built.is_err());
    /// ```
    #[must_use]
    pub fn stop(mut self, stop: &'a dyn Fn() -> bool) -> Self {
        self.stop = stop;
        self
    }

    /// Builds the kustomization in the directory `dir` of the files ("" is the root of the tree), or in a Git repository: what
    /// is a URL is decided by kustomize's grammar, by which `github.com/org/repo` and `a@b/c/d` are. With a leading slash it is
    /// a directory of the files, whatever its name.
    ///
    /// # Errors
    /// Whatever makes `kustomize build` fail, a limit of the options exceeded, or a field that is not supported. No text of an
    /// error holds credentials of a URL.
    pub fn build(&self, dir: &str) -> Result<Built, Error> {
        let mut objects = self.objects(dir)?;
        Ok(Built {
            warnings: std::mem::take(&mut objects.warnings),
            fetched: std::mem::take(&mut objects.fetched),
            objects: objects.collect(),
        })
    }

    /// Builds as [`Builder::build`] does; nothing fails any more when the objects are taken.
    ///
    /// ```
    /// # let (mut files, options) = (kustomize::MemoryFiles::default(), kustomize::Options::default());
    /// files.insert("kustomization.yaml", "configMapGenerator: [{name: app}]\n")?;
    /// for built in kustomize::Builder::new(&files, &options).objects("")? {
    ///     assert_eq!(built.object["kind"], "ConfigMap");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn objects(&self, dir: &str) -> Result<Objects, Error> {
        build::build(self, dir).map_err(Error::redacted)
    }
}

/// Builds the kustomization in the directory `dir` of `files` ("" is the root of the tree), without remote bases.
///
/// # Errors
/// As [`Builder::build`].
pub fn build(files: &dyn Files, dir: &str, options: &Options) -> Result<Vec<BuiltObject>, Error> {
    Ok(Builder::new(files, options).build(dir)?.objects)
}
