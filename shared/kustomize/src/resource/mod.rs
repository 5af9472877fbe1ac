//! An object on its way through a build: its tree and what the build remembers about it.
//!
//! Upstream keeps that memory in annotations of the object and removes them at the end. Here it is in fields, and written into
//! annotations only for what looks at or replaces all of them: JSON patches, some strategic patches and replacements.

mod annotations;
mod id;
mod list;
mod read;
mod scope;
mod set;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Within;
use crate::node::{Map, Node, Text, check_key, wrong_kind};
use crate::{Error, Origin, Touch};

pub(crate) use annotations::{ORIGIN, TRANSFORMATIONS, is_memory};
pub(crate) use id::{Gvk, Id, Key, effective_namespace, group_version};
pub(crate) use read::read;
pub(crate) use set::Resources;

/// The annotation that keeps an object out of the output.
const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";

/// What a generated object does to one of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Nothing said: like create.
    #[default]
    Unspecified,
    /// There must be none.
    Create,
    /// Takes its place.
    Replace,
    /// Adds to it.
    Merge,
}

impl Behavior {
    /// The behavior of this name; unknown names say nothing, as upstream.
    pub fn named(name: &str) -> Self {
        match name {
            "create" => Behavior::Create,
            "replace" => Behavior::Replace,
            "merge" => Behavior::Merge,
            _ => Behavior::Unspecified,
        }
    }

    /// The name in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Behavior::Unspecified => "unspecified",
            Behavior::Create => "create",
            Behavior::Replace => "replace",
            Behavior::Merge => "merge",
        }
    }
}

/// The name an object had before a transformer changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    /// Its kind then.
    pub kind: String,
    /// Its name then.
    pub name: String,
    /// Its effective namespace then.
    pub namespace: String,
}

impl Previous {
    /// Its type then; `now` is the one it has now, whose group and version stay.
    pub fn gvk(&self, now: &Gvk) -> Gvk {
        Gvk {
            kind: self.kind.clone(),
            ..now.clone()
        }
    }

    /// Its identity then.
    pub fn id(&self, now: &Gvk) -> Id {
        Id {
            gvk: self.gvk(now),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
        }
    }
}

/// What a build remembers about an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// The identities it had, oldest first; see [`Memory::previous`].
    identities: Vec<Previous>,
    /// Prefixes it got, innermost first.
    pub prefixes: Vec<String>,
    /// Suffixes it got, innermost first.
    pub suffixes: Vec<String>,
    /// What it does to an object of its name when it comes from a generator.
    pub behavior: Behavior,
    /// Whether its name ends in a hash of its content.
    pub needs_hash: bool,
    /// Whether it came from a generator.
    pub generated: bool,
}

impl Memory {
    /// The identities it had, oldest first. One that never had a name had none.
    pub fn previous(&self) -> &[Previous] {
        match self.identities.first() {
            Some(first) if first.name.is_empty() => &[],
            _ => &self.identities,
        }
    }

    /// Adds an identity. Upstream keeps names, namespaces and kinds in a list each, leaves out what is empty (a replacement
    /// may have put a mapping there) and then cannot tell any more what belongs together.
    fn remember(&mut self, identity: Previous) -> Result<(), Error> {
        let is_torn = self.identities.first().is_some_and(|first| {
            first.name.is_empty() != identity.name.is_empty()
                || !identity.name.is_empty() && (first.kind.is_empty() || identity.kind.is_empty())
        });
        self.identities.push(identity);
        if is_torn { Err(torn_identities()) } else { Ok(()) }
    }
}

/// The error of earlier names, namespaces and kinds that do not belong together.
fn torn_identities() -> Error {
    Error::new("number of previous names, number of previous namespaces, number of previous kinds not equal")
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    /// The object; null once a patch deleted it.
    pub node: Node,
    /// What the build remembers about it.
    pub memory: Memory,
    /// Names of the vars that read a field of it.
    pub vars: Vec<String>,
    /// Where it was read or generated.
    pub place: Option<Origin>,
    /// What changed it, oldest first.
    pub touched_by: Vec<Arc<Touch>>,
    /// Whether changing it failed, so that the build fails.
    pub failed: bool,
    /// Whether it or a patch for it was read with keys that must not get into the output.
    flawed: bool,
    /// The values of its cells (see [`Text::cell`]); cell n is at n - 1.
    cells: Vec<Box<str>>,
}

impl Resource {
    /// An object nothing is known about.
    pub fn new(node: Node) -> Self {
        Self {
            flawed: node.flaw().is_some(),
            node,
            memory: Memory::default(),
            vars: Vec::new(),
            place: None,
            touched_by: Vec::new(),
            failed: false,
            cells: Vec::new(),
        }
    }

    fn meta(&self) -> Option<&Map> {
        self.node.get("metadata")?.as_map()
    }

    /// A field of `metadata`; empty when not set.
    pub fn meta_text(&self, field: &str) -> Cow<'_, str> {
        let value = self.meta().and_then(|meta| meta.get(field));
        value
            .filter(|value| !value.is_empty())
            .map_or(Cow::Borrowed(""), Node::text)
    }

    /// A field of the object; empty when not set.
    pub fn text(&self, field: &str) -> Cow<'_, str> {
        self.node.get(field).map_or(Cow::Borrowed(""), Node::text)
    }

    /// `kind`.
    pub fn kind(&self) -> String {
        self.text("kind").into_owned()
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> String {
        self.text("apiVersion").into_owned()
    }

    /// `metadata.name`.
    pub fn name(&self) -> String {
        self.meta_text("name").into_owned()
    }

    /// `metadata.namespace`; empty when not set.
    pub fn namespace(&self) -> String {
        self.meta_text("namespace").into_owned()
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk::of(&self.text("apiVersion"), &self.text("kind"))
    }

    /// The identity it has now.
    pub fn id(&self) -> Id {
        Id {
            gvk: self.gvk(),
            name: self.name(),
            namespace: self.namespace(),
        }
    }

    /// The identities it had, oldest first. Group and version are today's.
    pub fn previous_ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.memory.previous().iter().map(|previous| previous.id(&self.gvk()))
    }

    /// The identity it had at first.
    pub fn original_id(&self) -> Id {
        self.previous_ids().next().unwrap_or_else(|| self.id())
    }

    /// Remembers today's identity before it changes.
    ///
    /// # Errors
    /// When it has no name or kind today and had one before, or the other way round.
    pub fn remember_id(&mut self) -> Result<(), Error> {
        let id = self.id();
        let identity = Previous {
            namespace: id.effective_namespace().to_owned(),
            kind: id.gvk.kind,
            name: id.name,
        };
        let remembered = self.memory.remember(identity);
        remembered.within(|| "what was left without a name or kind cannot be renamed")
    }

    /// Sets a field, keeping the way its old value was written.
    fn set_untyped(map: &mut Map, field: &str, value: &str) {
        map.get_or_insert_with(field, || crate::node::Create::Scalar.node())
            .assign_untyped(value);
    }

    /// Sets `kind`.
    pub fn set_kind(&mut self, kind: &str) {
        if let Some(map) = self.node.as_map_mut() {
            Self::set_untyped(map, "kind", kind);
        }
    }

    /// Sets `apiVersion`.
    pub fn set_api_version(&mut self, version: &str) {
        if let Some(map) = self.node.as_map_mut() {
            Self::set_untyped(map, "apiVersion", version);
        }
    }

    /// The entries of `metadata`, created when missing.
    fn meta_mut(&mut self) -> Result<&mut Map, Error> {
        let map = match &mut self.node {
            Node::Map(map) => map,
            other => return Err(wrong_kind("MappingNode", other)),
        };
        match map.get_or_insert_with("metadata", Node::map) {
            Node::Map(meta) => Ok(meta),
            other if other.is_null() => {
                *other = Node::map();
                other.as_map_mut().ok_or_else(|| Error::new("metadata is no mapping"))
            }
            other => Err(wrong_kind("MappingNode", other)),
        }
    }

    /// Sets `metadata.name`.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn set_name(&mut self, name: &str) -> Result<(), Error> {
        Self::set_untyped(self.meta_mut()?, "name", name);
        Ok(())
    }

    /// Sets `metadata.namespace`, or removes it when empty.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn set_namespace(&mut self, namespace: &str) -> Result<(), Error> {
        let meta = self.meta_mut()?;
        if namespace.is_empty() {
            meta.remove("namespace");
        } else {
            Self::set_untyped(meta, "namespace", namespace);
        }
        Ok(())
    }

    /// `metadata.labels` or `metadata.annotations` as strings.
    pub fn meta_strings(&self, field: &str) -> BTreeMap<String, String> {
        let Some(map) = self.meta().and_then(|meta| meta.get(field)).and_then(Node::as_map) else {
            return BTreeMap::new();
        };
        map.keys()
            .filter_map(|key| Some((key.to_string(), map.last(key)?.text().into_owned())))
            .collect()
    }

    /// Replaces `metadata.labels` or `metadata.annotations`; an empty map removes the field.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn set_meta_strings(&mut self, field: &str, strings: BTreeMap<String, String>) -> Result<(), Error> {
        let meta = self.meta_mut()?;
        if strings.is_empty() {
            meta.remove(field);
        } else {
            strings
                .keys()
                .try_for_each(|key| check_key(key))
                .within(|| format!("metadata.{field}"))?;
            meta.insert(
                field,
                Node::Map(
                    strings
                        .into_iter()
                        .map(|(key, value)| (key, Node::set_string(value)))
                        .collect(),
                ),
            );
        }
        Ok(())
    }

    /// Takes over whether a patch has keys that must not get into the output.
    pub fn share_flaws(&mut self, patch: &Resource) {
        self.flawed |= patch.flawed;
    }

    /// Checks what everything has to have that is written: a kind, and a name unless it is a list.
    ///
    /// # Errors
    /// Says which is missing.
    pub fn check_identity(&self) -> Result<(), Error> {
        let kind = self.kind();
        let missing = match kind.as_str() {
            "" => "kind",
            _ if !kind.ends_with("List") && self.name().is_empty() => "metadata.name",
            _ => return Ok(()),
        };
        Err(Error::new(format!("missing {missing} in object {}", self.id())).about(self))
    }

    /// Checks that every key is text and unique, as everything has to be that is written.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn check_keys(&self) -> Result<(), Error> {
        let Some(flaw) = self.node.flaw().filter(|_| self.flawed) else {
            return Ok(());
        };
        let file = self
            .place
            .as_ref()
            .map(|place| format!("{}: ", place.path))
            .unwrap_or_default();
        Err(Error::new(format!("{file}{}: {flaw}", self.id())))
    }

    /// Whether it must not be part of the output.
    pub fn is_local_config(&self) -> bool {
        self.meta()
            .and_then(|meta| meta.get("annotations"))
            .and_then(|annotations| annotations.get(LOCAL_CONFIG))
            .is_some_and(|value| value.text() != "false")
    }

    /// Whether this object is the same as it was, and was not renamed in between, a label aside.
    pub fn equals_but_for_label(&self, before: &Resource, label: &str) -> bool {
        let without = |resource: &Resource| {
            let mut json = resource.node.to_json();
            if let Some(meta) = json.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
                let labels = meta.get_mut("labels").and_then(serde_json::Value::as_object_mut);
                if labels.is_some_and(|labels| labels.remove(label).is_some() && labels.is_empty()) {
                    meta.remove("labels");
                }
            }
            json
        };
        self.memory == before.memory && without(self) == without(before)
    }

    /// Remembers who changed it.
    pub fn touch(&mut self, author: &Arc<Touch>) {
        if !self.touched_by.last().is_some_and(|last| Arc::ptr_eq(last, author)) {
            self.touched_by.push(Arc::clone(author));
        }
    }

    /// A new cell that holds this value.
    pub fn new_cell(&mut self, value: &str) -> u32 {
        self.cells.push(value.into());
        u32::try_from(self.cells.len()).unwrap_or(0)
    }

    /// Makes all strings of a cell equal again after one of them was set.
    pub fn settle_cells(&mut self) {
        if self.cells.is_empty() {
            return;
        }
        let cells = &mut self.cells;
        let mut changed = BTreeMap::new();
        visit_texts(&mut self.node, &mut |text| {
            let at = (text.cell as usize).wrapping_sub(1);
            if cells.get(at).is_some_and(|old| *old != text.text) {
                changed.insert(at, text.text.clone());
            }
        });
        if changed.is_empty() {
            return;
        }
        for (at, new) in changed {
            if let Some(cell) = cells.get_mut(at) {
                *cell = new;
            }
        }
        visit_texts(&mut self.node, &mut |text| {
            if let Some(value) = cells.get((text.cell as usize).wrapping_sub(1)) {
                text.text.clone_from(value);
            }
        });
    }

    /// Forgets all cells: the tree was written and read again.
    pub fn drop_cells(&mut self) {
        if !self.cells.is_empty() {
            visit_texts(&mut self.node, &mut |text| text.cell = 0);
            self.cells.clear();
        }
    }

    /// Takes over labels, annotations, name, namespace and memory of the object this one replaces.
    ///
    /// # Errors
    /// When `metadata` is no mapping.
    pub fn take_metadata_of(&mut self, old: &Resource) -> Result<(), Error> {
        for field in ["labels", "annotations"] {
            let mut strings = old.meta_strings(field);
            strings.extend(self.meta_strings(field));
            self.set_meta_strings(field, strings)?;
        }
        self.set_name(&old.name())?;
        self.set_namespace(&old.namespace())?;
        let needs_hash = self.memory.needs_hash && old.memory.needs_hash;
        self.memory = Memory {
            needs_hash,
            ..old.memory.clone()
        };
        self.vars.clone_from(&old.vars);
        Ok(())
    }
}

fn visit_texts(node: &mut Node, visit: &mut dyn FnMut(&mut Text)) {
    match node {
        Node::Text(text) => visit(text),
        Node::List(items) => items.iter_mut().for_each(|item| visit_texts(item, visit)),
        Node::Map(map) => map.values_mut().for_each(|value| visit_texts(value, visit)),
        Node::Null(_) | Node::Bool(_) | Node::Number(_) => {}
    }
}
