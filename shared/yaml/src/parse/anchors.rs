//! The anchors of a document and what they and their aliases cost: a few lines may stand for more than any memory holds, so
//! the copies are counted.

use std::collections::HashMap;

use super::{MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES};
use crate::{Error, ErrorKind, Node, Position, Value};

/// The anchors of the document being read.
#[derive(Default)]
pub(super) struct Anchors {
    by_name: HashMap<String, Anchor>,
    count: usize,
    /// What is kept for aliases to come: with anchors inside of anchors the same values again and again.
    kept: Weight,
    expanded: Weight,
}

struct Anchor {
    /// Tells a definition from a later one with the same name.
    id: usize,
    value: Anchored,
}

/// The value of an anchor.
enum Anchored {
    /// It is still being read.
    Open,
    /// It is this, which weighs so much.
    Kept(Node, Weight),
    /// It is more than is kept.
    TooMuch,
}

/// What a value costs when an alias repeats it.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    /// Adds what a value weighs, as far as it takes to see that it is too much.
    fn add_value(&mut self, node: &Node) {
        if self.is_too_much() {
            return;
        }
        self.add(Weight { nodes: 1, bytes: 0 });
        match &node.value {
            Value::Str(text) => self.bytes = self.bytes.saturating_add(text.len()),
            Value::Seq(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Map(entries) => entries.iter().for_each(|(key, value)| {
                self.add_value(key);
                self.add_value(value);
            }),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => {}
        }
    }

    fn add(&mut self, other: Weight) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn is_too_much(self) -> bool {
        self.nodes > MAX_EXPANDED_NODES || self.bytes > MAX_EXPANDED_BYTES
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
        let value = Anchored::Open;
        self.by_name.insert(name.clone(), Anchor { id, value });
        Open { name, id }
    }

    /// Notes the value of an anchor, unless its name has been given to another one in between. With more values than aliases
    /// may expand to, it is an error to refer to it, and none to have it.
    pub(super) fn close(&mut self, open: &Open, node: &Node) {
        if let Some(anchor) = self.by_name.get_mut(&open.name).filter(|anchor| anchor.id == open.id) {
            let mut kept = self.kept;
            kept.add_value(node);
            anchor.value = if kept.is_too_much() {
                Anchored::TooMuch
            } else {
                let weight = Weight {
                    nodes: kept.nodes - self.kept.nodes,
                    bytes: kept.bytes - self.kept.bytes,
                };
                self.kept = kept;
                Anchored::Kept(node.clone(), weight)
            };
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
        match &anchor.value {
            Anchored::Open => {
                let text = format!("yaml: anchor '{name}' value contains itself");
                return Err(error(ErrorKind::Content, text));
            }
            Anchored::Kept(node, weight) => {
                self.expanded.add(*weight);
                if !self.expanded.is_too_much() {
                    return Ok(node);
                }
            }
            Anchored::TooMuch => {}
        }
        let text = "yaml: document contains excessive aliasing";
        Err(error(ErrorKind::Limit, text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_aliases_may_expand_to() {
        let position = Position { line: 1, column: 1 };
        let node = |value| Node { position, value };
        let third = node(Value::Seq(vec![node(Value::Null); MAX_EXPANDED_NODES / 3]));
        let mut anchors = Anchors::default();
        for (name, value) in [("a", &third), ("b", &third), ("c", &third), ("d", &node(Value::Null))] {
            let open = anchors.open(name.to_owned());
            anchors.close(&open, value);
        }
        let expanded = ["a", "b", "c", "d"].map(|name| anchors.expand(name, position).map(drop));
        let kinds = expanded.map(|result| result.map_err(|error| error.kind()));
        assert_eq!(kinds, [Ok(()), Ok(()), Err(ErrorKind::Limit), Ok(())]);
    }
}
