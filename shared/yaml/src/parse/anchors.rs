//! The anchors of a document and what their aliases cost: a few lines may stand for more than any memory holds, so the
//! copies are counted.

use std::collections::HashMap;

use super::{MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES};
use crate::{Error, ErrorKind, Node, Position, Value};

/// The anchors of the document being read.
#[derive(Default)]
pub(super) struct Anchors {
    by_name: HashMap<String, Anchor>,
    count: usize,
    expanded: Weight,
}

struct Anchor {
    /// Tells a definition from a later one with the same name.
    id: usize,
    /// The finished value with its weight; none while the value is still being read.
    value: Option<(Node, Weight)>,
}

/// What a value costs when an alias repeats it.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    fn of(node: &Node) -> Self {
        let mut weight = Weight { nodes: 1, bytes: 0 };
        match &node.value {
            Value::Str(text) => weight.bytes += text.len(),
            Value::Seq(items) => items.iter().for_each(|item| weight.add(Weight::of(item))),
            Value::Map(entries) => entries.iter().for_each(|(key, value)| {
                weight.add(Weight::of(key));
                weight.add(Weight::of(value));
            }),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => {}
        }
        weight
    }

    fn add(&mut self, other: Weight) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// An anchor whose value is still being read.
pub(super) struct Open {
    name: String,
    id: usize,
}

impl Anchors {
    /// Notes that a value with this anchor begins.
    pub(super) fn open(&mut self, name: String) -> Open {
        self.count += 1;
        let id = self.count;
        self.by_name.insert(name.clone(), Anchor { id, value: None });
        Open { name, id }
    }

    /// Notes the value of an anchor, unless its name has been given to another one in between.
    pub(super) fn close(&mut self, open: &Open, node: &Node) {
        if let Some(anchor) = self.by_name.get_mut(&open.name).filter(|anchor| anchor.id == open.id) {
            anchor.value = Some((node.clone(), Weight::of(node)));
        }
    }

    /// The value an alias at `position` stands for.
    ///
    /// # Errors
    /// When there is no such anchor, the alias is part of its own value, or the copies have become too many.
    pub(super) fn expand(&mut self, name: &str, position: Position) -> Result<&Node, Error> {
        let error = |kind, text: String| Error::new(kind, position, text);
        let anchor = self.by_name.get(name);
        let anchor =
            anchor.ok_or_else(|| error(ErrorKind::Syntax, format!("yaml: unknown anchor '{name}' referenced")))?;
        let (node, weight) = (anchor.value.as_ref()).ok_or_else(|| {
            error(
                ErrorKind::Content,
                format!("yaml: anchor '{name}' value contains itself"),
            )
        })?;
        self.expanded.add(*weight);
        if self.expanded.nodes > MAX_EXPANDED_NODES || self.expanded.bytes > MAX_EXPANDED_BYTES {
            let text = "yaml: document contains excessive aliasing";
            return Err(error(ErrorKind::Limit, text.to_owned()));
        }
        Ok(node)
    }
}
