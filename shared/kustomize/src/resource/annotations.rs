//! The annotations a build works with: the ones inputs may carry from an earlier build, the ones `buildMetadata` asks for,
//! and what is left of them in the output.

use super::{Behavior, Memory, Previous, Resource, torn_identities};
use crate::Error;
use crate::error::Within;
use crate::node::{Map, Node, wrong_kind};

/// Where `buildMetadata: [originAnnotations]` writes.
pub(crate) const ORIGIN: &str = "config.kubernetes.io/origin";
/// Where `buildMetadata: [transformerAnnotations]` writes.
pub(crate) const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";

/// What the names of annotations begin with that are upstream's own.
const INTERNAL: &str = "internal.config.kubernetes.io/";
const PREVIOUS_KINDS: &str = "internal.config.kubernetes.io/previousKinds";
const PREVIOUS_NAMES: &str = "internal.config.kubernetes.io/previousNames";
const PREVIOUS_NAMESPACES: &str = "internal.config.kubernetes.io/previousNamespaces";
const PREFIXES: &str = "internal.config.kubernetes.io/prefixes";
const SUFFIXES: &str = "internal.config.kubernetes.io/suffixes";
const BEHAVIOR: &str = "internal.config.kubernetes.io/generatorBehavior";
const NEEDS_HASH: &str = "internal.config.kubernetes.io/needsHashSuffix";

/// Those that [`Memory`] stands for.
const MEMORY: [&str; 7] = [
    PREVIOUS_KINDS,
    PREVIOUS_NAMES,
    PREVIOUS_NAMESPACES,
    PREFIXES,
    SUFFIXES,
    BEHAVIOR,
    NEEDS_HASH,
];

/// Others that never leave a build.
const REMOVED: [&str; 12] = [
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
    /// When the annotations are a list, or the lists of earlier names, namespaces and kinds differ in length.
    pub(super) fn recall(&mut self) -> Result<(), Error> {
        let annotations = self.node.get("metadata").and_then(|meta| meta.get("annotations"));
        if let Some(list @ Node::List(items)) = annotations
            && !items.is_empty()
        {
            return Err(wrong_kind("MappingNode", list)).within(|| "metadata.annotations");
        }
        let Some(annotations) = annotations_of(&mut self.node) else {
            return Ok(());
        };
        let mut take = |name: &str| annotations.remove(name).map(|value| value.text().into_owned());
        let list = |value: Option<String>| value.map_or(Vec::new(), |value| parts(&value));
        if let Some(behavior) = take(BEHAVIOR) {
            self.memory.generated = true;
            self.memory.behavior = Behavior::named(&behavior);
        }
        self.memory.needs_hash = take(NEEDS_HASH).is_some_and(|value| value == "enabled");
        self.memory.prefixes = list(take(PREFIXES));
        self.memory.suffixes = list(take(SUFFIXES));
        let [names, namespaces, kinds] = [PREVIOUS_NAMES, PREVIOUS_NAMESPACES, PREVIOUS_KINDS].map(take);
        self.memory.identities = identities(names, namespaces, kinds)?;
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
    /// When `metadata` or the annotations are no mapping.
    pub fn set_annotation(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let map = self.meta_mut()?.get_or_insert_with("annotations", Node::map);
        if !matches!(map, Node::Map(_) | Node::Null(_)) {
            return Err(wrong_kind("MappingNode", map)).within(|| "metadata.annotations");
        }
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
        for name in MEMORY.into_iter().chain(REMOVED) {
            annotations.remove(name);
        }
        if !keep_origin {
            annotations.remove(ORIGIN);
        }
        if !keep_transformations {
            annotations.remove(TRANSFORMATIONS);
        }
        self.set_meta_strings("annotations", annotations)
    }

    /// Writes into the annotations what upstream keeps there, for what looks at or replaces all of them.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn write_memory(&mut self) -> Result<(), Error> {
        let memory = &self.memory;
        let previous = |part: fn(&Previous) -> &str| -> Vec<&str> {
            let parts = memory.identities.iter().map(part);
            parts.filter(|part| !part.is_empty()).collect()
        };
        let lists = [
            (PREVIOUS_KINDS, previous(|previous| &previous.kind)),
            (PREVIOUS_NAMES, previous(|previous| &previous.name)),
            (PREVIOUS_NAMESPACES, previous(|previous| &previous.namespace)),
            (PREFIXES, memory.prefixes.iter().map(String::as_str).collect()),
            (SUFFIXES, memory.suffixes.iter().map(String::as_str).collect()),
        ];
        let mut remembered: Vec<(&str, String)> = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| (name, list.join(",")))
            .collect();
        if memory.generated {
            remembered.push((BEHAVIOR, memory.behavior.name().to_owned()));
        }
        if memory.needs_hash {
            remembered.push((NEEDS_HASH, "enabled".to_owned()));
        }
        if remembered.is_empty() {
            return Ok(());
        }
        let annotations = self.meta_mut()?.get_or_insert_with("annotations", Node::map);
        if annotations.is_null() {
            *annotations = Node::map();
        }
        if let Node::Map(map) = annotations {
            let texts = remembered.into_iter();
            map.extend(texts.map(|(name, text)| (name.into(), Node::set_string(text))));
        }
        Ok(())
    }

    /// Takes from the annotations what is remembered from now on, whatever it was before.
    ///
    /// # Errors
    /// When the lists of earlier names, namespaces and kinds differ in length.
    pub fn read_memory(&mut self) -> Result<(), Error> {
        self.memory = Memory::default();
        self.recall()?;
        self.drop_empty_annotations();
        Ok(())
    }

    /// Takes what [`Resource::write_memory`] wrote out of the annotations again.
    pub fn hide_memory(&mut self) {
        if let Some(annotations) = annotations_of(&mut self.node) {
            annotations.retain(|name, _| !MEMORY.contains(&name));
        }
        self.drop_empty_annotations();
    }

    fn drop_empty_annotations(&mut self) {
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

/// The items of a list in an annotation.
fn parts(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

/// The identities that three lists stand for, of which one that is not there is an empty text.
///
/// # Errors
/// When there are names, and not as many namespaces and kinds.
fn identities(
    names: Option<String>,
    namespaces: Option<String>,
    kinds: Option<String>,
) -> Result<Vec<Previous>, Error> {
    if names.is_none() && namespaces.is_none() {
        return Ok(Vec::new());
    }
    let [namespaces, kinds] = [namespaces, kinds].map(|list| parts(&list.unwrap_or_default()));
    let names = match names {
        Some(names) => {
            let names = parts(&names);
            if names.len() != namespaces.len() || names.len() != kinds.len() {
                return Err(torn_identities());
            }
            names
        }
        None => vec![String::new(); namespaces.len()],
    };
    let all = names.into_iter().zip(namespaces).zip(kinds);
    Ok(all
        .map(|((name, namespace), kind)| Previous { kind, name, namespace })
        .collect())
}

fn annotations_of(node: &mut Node) -> Option<&mut Map> {
    let meta = node.as_map_mut()?.get_mut("metadata")?.as_map_mut()?;
    meta.get_mut("annotations")?.as_map_mut()
}

/// Whether what is at a path of an object upstream has its memory of the object in it.
pub(crate) fn is_memory(path: &[String]) -> bool {
    let mut steps = path.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    steps.next().is_none_or(|first| first == "metadata")
        && steps.next().is_none_or(|second| second == "annotations")
        && steps.next().is_none_or(|third| third.starts_with(INTERNAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_remembered_goes_into_the_annotations_and_back() -> Result<(), Error> {
        let mut resource = Resource::new(Node::from_json(json!({"kind": "A", "metadata": {"name": "a"}})));
        resource.remember_id()?;
        resource.remember_id()?;
        resource.memory.prefixes.push("x-".to_owned());
        resource.memory.generated = true;
        let (node, memory) = (resource.node.clone(), resource.memory.clone());
        resource.write_memory()?;
        assert_eq!(
            resource.node.to_json()["metadata"]["annotations"],
            json!({
                "internal.config.kubernetes.io/previousKinds": "A,A",
                "internal.config.kubernetes.io/previousNames": "a,a",
                "internal.config.kubernetes.io/previousNamespaces": "default,default",
                "internal.config.kubernetes.io/prefixes": "x-",
                "internal.config.kubernetes.io/generatorBehavior": "unspecified",
            })
        );
        let mut hidden = resource.clone();
        hidden.hide_memory();
        resource.read_memory()?;
        assert_eq!((&resource.node, &resource.memory), (&node, &memory));
        assert_eq!((&hidden.node, &hidden.memory), (&node, &memory));
        Ok(())
    }

    #[test]
    fn identities_without_a_name_are_none_and_go_with_no_others() -> Result<(), Error> {
        let mut resource = Resource::new(Node::from_json(json!({"kind": "A", "metadata": {"name": ""}})));
        resource.remember_id()?;
        resource.remember_id()?;
        assert!(resource.memory.previous().is_empty());
        let memory = resource.memory.clone();
        resource.write_memory()?;
        resource.read_memory()?;
        assert_eq!(resource.memory, memory);
        resource.set_name("b")?;
        assert!(resource.remember_id().is_err());
        Ok(())
    }

    #[test]
    fn memory_is_at_everything_around_it() {
        let check = |path: &[&str], expected: bool| {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            assert_eq!(is_memory(&path), expected, "{path:?}");
        };
        check(&["", ""], true);
        check(&["metadata"], true);
        check(&["metadata", "annotations"], true);
        check(&["metadata", "annotations", PREFIXES], true);
        check(&["metadata", "annotations", "a"], false);
        check(&["metadata", "name"], false);
        check(&["spec"], false);
    }
}
