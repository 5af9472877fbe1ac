//! The annotations a build works with: the ones inputs may carry from an earlier build, the ones `buildMetadata` asks for,
//! and what is left of them in the output.

use super::{Behavior, Previous, Resource};
use crate::Error;
use crate::node::Node;

/// Where `buildMetadata: [originAnnotations]` writes.
pub(crate) const ORIGIN: &str = "config.kubernetes.io/origin";
/// Where `buildMetadata: [transformerAnnotations]` writes.
pub(crate) const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";

const PREVIOUS_KINDS: &str = "internal.config.kubernetes.io/previousKinds";
const PREVIOUS_NAMES: &str = "internal.config.kubernetes.io/previousNames";
const PREVIOUS_NAMESPACES: &str = "internal.config.kubernetes.io/previousNamespaces";
const PREFIXES: &str = "internal.config.kubernetes.io/prefixes";
const SUFFIXES: &str = "internal.config.kubernetes.io/suffixes";
const BEHAVIOR: &str = "internal.config.kubernetes.io/generatorBehavior";
const NEEDS_HASH: &str = "internal.config.kubernetes.io/needsHashSuffix";

/// Annotations that never leave a build.
const REMOVED: &[&str] = &[
    PREVIOUS_KINDS,
    PREVIOUS_NAMES,
    PREVIOUS_NAMESPACES,
    PREFIXES,
    SUFFIXES,
    BEHAVIOR,
    NEEDS_HASH,
    "internal.config.kubernetes.io/allowNameChange",
    "internal.config.kubernetes.io/allowKindChange",
    "internal.config.kubernetes.io/refBy",
    "internal.config.kubernetes.io/path",
    "internal.config.kubernetes.io/index",
    "internal.config.kubernetes.io/seqindent",
    "internal.config.kubernetes.io/id",
    "internal.config.kubernetes.io/annotations-migration-resource-id",
    "config.kubernetes.io/path",
    "config.kubernetes.io/index",
    "config.k8s.io/id",
    "internal.config.kubernetes.io/helm-generated",
];

impl Resource {
    /// Moves what an earlier build wrote into the annotations to the memory.
    ///
    /// # Errors
    /// When the lists of earlier names, namespaces and kinds differ in length.
    pub(super) fn recall(&mut self) -> Result<(), Error> {
        let Some(Node::Map(annotations)) = self
            .node
            .as_map_mut()
            .and_then(|map| map.get_mut("metadata"))
            .and_then(Node::as_map_mut)
            .and_then(|meta| meta.get_mut("annotations"))
        else {
            return Ok(());
        };
        let mut take = |name: &str| annotations.remove(name).map(|value| value.text().into_owned());
        let list = |value: Option<String>| -> Vec<String> {
            value.map_or(Vec::new(), |value| value.split(',').map(str::to_owned).collect())
        };
        if let Some(behavior) = take(BEHAVIOR) {
            self.memory.behavior = Behavior::named(&behavior);
        }
        self.memory.needs_hash = take(NEEDS_HASH).is_some_and(|value| value == "enabled");
        self.memory.prefixes = list(take(PREFIXES));
        self.memory.suffixes = list(take(SUFFIXES));
        let names = list(take(PREVIOUS_NAMES));
        let (namespaces, kinds) = (list(take(PREVIOUS_NAMESPACES)), list(take(PREVIOUS_KINDS)));
        if names.is_empty() {
            return Ok(());
        }
        if names.len() != namespaces.len() || names.len() != kinds.len() {
            return Err(Error::new(
                "number of previous names, number of previous namespaces, number of previous kinds not equal",
            ));
        }
        self.memory.previous = names
            .into_iter()
            .zip(namespaces)
            .zip(kinds)
            .map(|((name, namespace), kind)| Previous { kind, name, namespace })
            .collect();
        Ok(())
    }

    /// One annotation; none when it is not there.
    pub fn annotation(&self, name: &str) -> Option<String> {
        let annotations = self.node.get("metadata")?.get("annotations")?;
        Some(annotations.get(name)?.text().into_owned())
    }

    /// Sets one annotation.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn set_annotation(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let mut annotations = self.meta_strings("annotations");
        annotations.insert(name.to_owned(), value.to_owned());
        self.set_meta_strings("annotations", annotations)
    }

    /// Brings the annotations into the form they leave the build in: strings, without those of the build itself.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn finish_annotations(&mut self, keep_origin: bool, keep_transformations: bool) -> Result<(), Error> {
        let mut annotations = self.meta_strings("annotations");
        for name in REMOVED {
            annotations.remove(*name);
        }
        if !keep_origin {
            annotations.remove(ORIGIN);
        }
        if !keep_transformations {
            annotations.remove(TRANSFORMATIONS);
        }
        self.set_meta_strings("annotations", annotations)
    }

    /// Makes sure `metadata.annotations` is there when upstream's annotations of the build would be.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn show_memory(&mut self) -> Result<(), Error> {
        if self.memory.shows() {
            let annotations = self
                .meta_mut()?
                .entry("annotations".to_owned())
                .or_insert_with(Node::map);
            if annotations.is_null() {
                *annotations = Node::map();
            }
        }
        Ok(())
    }

    /// Removes `metadata.annotations` when it is empty.
    pub fn hide_memory(&mut self) {
        if let Some(meta) = self
            .node
            .as_map_mut()
            .and_then(|map| map.get_mut("metadata"))
            .and_then(Node::as_map_mut)
            && meta.get("annotations").is_some_and(Node::is_empty)
        {
            meta.remove("annotations");
        }
    }
}
