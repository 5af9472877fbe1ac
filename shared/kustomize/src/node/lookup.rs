//! Paths into a tree: how they are written and where they lead.

use super::{MAX_DEPTH, Map, Node};
use crate::Error;

/// The parts of a path.
pub(crate) type Segments = Vec<String>;

/// Splits a path at a delimiter; a backslash before the delimiter makes it part of the name. One leading delimiter is dropped.
pub(crate) fn split(path: &str, delimiter: char) -> Segments {
    let mut parts: Segments = Vec::new();
    let mut pieces = path.split(delimiter).peekable();
    if path.starts_with(delimiter) {
        pieces.next();
    }
    for piece in pieces {
        match parts.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push(delimiter);
                last.push_str(piece);
            }
            _ => parts.push(piece.to_owned()),
        }
    }
    if parts.is_empty() {
        parts.push(String::new());
    }
    parts
}

/// Splits like [`split`], but brackets hold a part together: `[name=a.b]` selects list items, `[a.b]` is the field `a.b`.
pub(crate) fn split_bracketed(path: &str, delimiter: char) -> Segments {
    let mut result = Segments::new();
    let mut parts = split(path, delimiter).into_iter();
    while let Some(part) = parts.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            result.push(part);
            continue;
        }
        let mut whole = part;
        for next in parts.by_ref() {
            whole.push(delimiter);
            whole.push_str(&next);
            if next.ends_with(']') {
                break;
            }
        }
        if whole.contains('=') {
            result.push(whole);
        } else {
            result.push(whole.trim_matches(['[', ']']).to_owned());
        }
    }
    result
}

/// Checks that a path is not longer than a tree may be deep.
///
/// # Errors
/// When it is.
pub(crate) fn check_length(path: &[String]) -> Result<(), Error> {
    if path.len() > MAX_DEPTH {
        Err(Error::new(format!("a path of more than {MAX_DEPTH} parts")))
    } else {
        Ok(())
    }
}

/// One step of a path.
enum Step<'a> {
    Index(usize),
    Last,
    /// The list item whose field has this text; the item itself when the field is empty.
    Item {
        field: &'a str,
        text: &'a str,
    },
    Field(&'a str),
}

impl<'a> Step<'a> {
    fn parse(part: &'a str) -> Result<Self, Error> {
        if let Ok(index) = part.parse::<i64>() {
            return usize::try_from(index)
                .map(Step::Index)
                .map_err(|_| Error::new(format!("array index {index} cannot be negative")));
        }
        match part {
            "-" => Ok(Step::Last),
            "*" => Err(Error::new("wildcard is not supported in this path")),
            _ => match part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(inner) => inner
                    .split_once('=')
                    .map(|(field, text)| Step::Item { field, text })
                    .ok_or_else(|| {
                        Error::new("list path element must contain fieldName=fieldValue for element to match")
                    }),
                None => Ok(Step::Field(part)),
            },
        }
    }

    /// Where in the list this step leads.
    fn position(&self, items: &[Node]) -> Option<usize> {
        match self {
            Step::Index(index) => (*index < items.len()).then_some(*index),
            Step::Last => items.len().checked_sub(1),
            Step::Item { field: "", text } => items.iter().position(|item| item.text() == *text),
            Step::Item { field, text } => items
                .iter()
                .position(|item| item.get(field).is_some_and(|value| value.text() == *text)),
            Step::Field(_) => None,
        }
    }
}

/// The error of a step into the wrong kind of node.
pub(crate) fn wrong_kind(expected: &str, found: &Node) -> Error {
    Error::new(format!("wrong node kind: expected {expected} but got {}", found.kind()))
}

/// The name of the field that a step into a mapping leads to.
///
/// # Errors
/// When the step selects items of a list, which `found` is not, or is malformed.
pub(crate) fn field_step<'a>(part: &'a str, found: &Node) -> Result<&'a str, Error> {
    match Step::parse(part.trim())? {
        Step::Field(name) => Ok(name),
        Step::Index(_) | Step::Last | Step::Item { .. } => Err(wrong_kind("SequenceNode", found)),
    }
}

/// The parts of a path that are not blank.
fn steps(path: &[String]) -> impl Iterator<Item = &str> {
    path.iter().map(|part| part.trim()).filter(|part| !part.is_empty())
}

/// The node a path leads to; none when a step finds nothing.
///
/// # Errors
/// When a step is malformed or meets the wrong kind of node.
pub(crate) fn lookup<'a>(node: &'a Node, path: &[String]) -> Result<Option<&'a Node>, Error> {
    let mut at = node;
    for part in steps(path) {
        let step = Step::parse(part)?;
        let next = match (&step, at) {
            (_, Node::Null(_)) => None,
            (Step::Field(field), Node::Map(map)) => map.get(field),
            (Step::Field(_), other) => return Err(wrong_kind("MappingNode", other)),
            (_, Node::List(items)) => step.position(items).and_then(|index| items.get(index)),
            (_, other) => return Err(wrong_kind("SequenceNode", other)),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Like [`lookup`], to change what is found.
///
/// # Errors
/// As [`lookup`].
pub(crate) fn lookup_mut<'a>(node: &'a mut Node, path: &[String]) -> Result<Option<&'a mut Node>, Error> {
    let mut at = node;
    for part in steps(path) {
        let step = Step::parse(part)?;
        let next = match (&step, at) {
            (_, Node::Null(_)) => None,
            (Step::Field(field), Node::Map(map)) => map.get_mut(field),
            (Step::Field(_), other) => return Err(wrong_kind("MappingNode", other)),
            (_, Node::List(items)) => step.position(items).and_then(|index| items.get_mut(index)),
            (_, other) => return Err(wrong_kind("SequenceNode", other)),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// What to put where a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// A scalar without a type.
    Scalar,
    /// A list.
    List,
    /// A mapping.
    Map,
}

impl Create {
    /// An empty node of this kind.
    pub fn node(self) -> Node {
        match self {
            Create::Scalar => Node::untyped(""),
            Create::List => Node::List(Vec::new()),
            Create::Map => Node::map(),
        }
    }

    /// What has to stand in front of the step `next`, or this kind at the end of the path.
    pub fn before(self, next: Option<&str>) -> Create {
        match next {
            None => self,
            Some(next) if (next.starts_with('[') && next.ends_with(']')) || next.parse::<usize>().is_ok() => {
                Create::List
            }
            Some(_) => Create::Map,
        }
    }
}

/// Follows a path and creates what is missing on it; the end is of kind `last`.
///
/// # Errors
/// As [`lookup`]; also for a list index behind the end, which cannot be created.
pub(crate) fn lookup_create<'a>(
    node: &'a mut Node,
    path: &[String],
    last: Create,
) -> Result<Option<&'a mut Node>, Error> {
    check_length(path)?;
    let parts: Vec<&str> = steps(path).collect();
    let mut at = node;
    for (index, part) in parts.iter().enumerate() {
        let step = Step::parse(part)?;
        let kind = last.before(parts.get(index + 1).copied());
        let next = match (&step, at) {
            (_, Node::Null(_)) => None,
            (Step::Field(field), Node::Map(map)) => Some(map.get_or_insert_with(field, || kind.node())),
            (Step::Field(_), other) => return Err(wrong_kind("MappingNode", other)),
            (_, Node::List(items)) => {
                if let (None, Step::Item { field, text }) = (step.position(items), &step) {
                    items.push(if field.is_empty() {
                        Node::untyped(*text)
                    } else {
                        Node::Map(Map::from([(*field, Node::untyped(*text))]))
                    });
                }
                step.position(items).and_then(|index| items.get_mut(index))
            }
            (_, other) => return Err(wrong_kind("SequenceNode", other)),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_unescaped_delimiters() {
        assert_eq!(
            split("metadata/annotations/a\\/b", '/'),
            ["metadata", "annotations", "a/b"]
        );
        assert_eq!(split("/spec", '/'), ["spec"]);
        assert_eq!(
            split_bracketed("a.[name=x.y].b.[c.d].0", '.'),
            ["a", "[name=x.y]", "b", "c.d", "0"]
        );
    }

    fn check(path: &str, expected: Option<serde_json::Value>) {
        let tree = Node::from_json(
            serde_json::json!({"a": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "p": [1, "q"], "z": null}),
        );
        let found = lookup(&tree, &split_bracketed(path, '.'));
        assert_eq!(found.unwrap_or(None).map(Node::to_json), expected, "{path}");
    }

    #[test]
    fn steps_find_fields_indexes_and_items() {
        check("a.0.v", Some(1.into()));
        check("a.-.v", Some(2.into()));
        check("a.[n=y].v", Some(2.into()));
        check("p.[=q]", Some("q".into()));
        check("a.2", None);
        check("z.x", None);
        check("p.x", None);
    }

    #[test]
    fn missing_steps_are_created() -> Result<(), Error> {
        let mut tree = Node::map();
        if let Some(node) = lookup_create(&mut tree, &split_bracketed("a.[n=x].b", '.'), Create::Scalar)? {
            node.assign_untyped("7");
        }
        assert_eq!(tree.to_json(), serde_json::json!({"a": [{"n": "x", "b": 7}]}));
        Ok(())
    }
}
