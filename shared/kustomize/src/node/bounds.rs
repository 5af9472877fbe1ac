//! Keeping trees from growing without bound: a file that is read is bounded by its reader, but patches and replacements can
//! copy a tree into itself again and again.

use serde_json::Value;

use super::Node;
use crate::Error;

/// The most levels a tree may have. Deep enough for anything real, shallow enough for every recursion over trees.
pub(crate) const MAX_DEPTH: usize = 512;

/// The most bytes and nodes that copying may add in one go.
const MAX_GROWTH: usize = 16 << 20;

/// What may still be copied.
pub(crate) struct Growth(usize);

impl Growth {
    /// The whole allowance.
    pub fn new() -> Self {
        Self(MAX_GROWTH)
    }

    /// Takes a copy of this size, put below `levels` others, from the allowance.
    ///
    /// # Errors
    /// When it is used up, or the copy would be too deep.
    pub fn take(&mut self, size: Size, levels: usize) -> Result<(), Error> {
        if size.depth.saturating_add(levels) > MAX_DEPTH {
            return Err(Error::fatal(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.0 = self
            .0
            .checked_sub(size.weight)
            .ok_or_else(|| Error::fatal(format!("more than {MAX_GROWTH} bytes copied")))?;
        Ok(())
    }
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes of text and a constant per node.
    pub weight: usize,
    /// Levels; 1 for a scalar.
    pub depth: usize,
}

/// What a node weighs besides its text.
const NODE: usize = 16;

impl Size {
    fn leaf(text: usize) -> Self {
        Self {
            weight: NODE + text,
            depth: 1,
        }
    }

    fn around(inner: impl Iterator<Item = Size>) -> Self {
        let mut size = Self::leaf(0);
        for item in inner {
            size.weight += item.weight;
            size.depth = size.depth.max(item.depth + 1);
        }
        size
    }

    /// The size of a JSON value.
    pub fn of_json(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::leaf(0),
            Value::String(text) => Self::leaf(text.len()),
            Value::Array(items) => Self::around(items.iter().map(Self::of_json)),
            Value::Object(map) => Self::around(map.values().map(Self::of_json)),
        }
    }

    /// The size of a tree.
    pub fn of(node: &Node) -> Self {
        match node {
            Node::Null(_) | Node::Bool(_) | Node::Number(_) => Self::leaf(0),
            Node::Text(text) => Self::leaf(text.text.len()),
            Node::List(items) => Self::around(items.iter().map(Self::of)),
            Node::Map(map) => Self::around(map.values().map(Self::of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_refused_when_too_deep_or_too_many() {
        let size = Size::of_json(&serde_json::json!({"a": ["b"]}));
        assert_eq!(
            size,
            Size {
                weight: 3 * NODE + 1,
                depth: 3
            }
        );
        assert!(Growth::new().take(size, MAX_DEPTH - 3).is_ok());
        assert!(Growth::new().take(size, MAX_DEPTH - 2).is_err());
        assert!(
            Growth::new()
                .take(
                    Size {
                        weight: MAX_GROWTH + 1,
                        depth: 1
                    },
                    1
                )
                .is_err()
        );
    }
}
