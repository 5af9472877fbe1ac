//! Replacements that reach into JSON or YAML kept as text in a field, as ConfigMaps have it. The whole text is written
//! anew, JSON from its values, YAML from its tree with comments and quotes.

use std::borrow::Cow;

use yaml::{Content, Dialect, Quoting, ScalarKind, Styled, StyledScalar};

use super::source::Value;
use super::tree::{Tree, visit};
use crate::Error;
use crate::go_json;
use crate::node::{Create, Growth, Node, Size, Style, lookup, lookup_mut};

/// The longest text that a replacement may make.
const MAX_TEXT: usize = 16 << 20;

/// Replaces inside a text if a path leads into one. False when it does not, or nothing is found there.
///
/// # Errors
/// When the new text would be too long.
pub(super) fn replace(
    object: &mut Node,
    path: &[String],
    value: &Value,
    create: Option<Create>,
    growth: &mut Growth,
) -> Result<bool, Error> {
    for length in 1..path.len() {
        let (outer, inner) = path.split_at(length);
        let Ok(Some(field)) = lookup(object, outer) else {
            continue;
        };
        if !field.is_scalar() {
            continue;
        }
        let text = field.text().into_owned();
        let Ok(document) = yaml::read_styled(&text) else {
            continue;
        };
        let Some(mut document) = document else {
            return Ok(false);
        };
        let size = Size::of(&value.node);
        let mut full = None;
        let found = visit(&mut document.root, inner, create, &mut |node: &mut Styled| {
            if let Err(error) = growth.take(size, path.len()) {
                full = Some(error);
            }
            if full.is_none() {
                put(node, value);
            }
            Ok(())
        });
        if let Some(error) = full {
            return Err(error);
        }
        if found.unwrap_or(0) == 0 {
            return Ok(false);
        }
        let written = document.to_string();
        let new = if text.trim_start().starts_with(['{', '[']) {
            as_json(&written, &text)
        } else {
            Some(written.trim().to_owned())
        };
        let Some(new) = new else { return Ok(false) };
        if new.len() > MAX_TEXT {
            return Err(Error::fatal(format!("a text of more than {MAX_TEXT} bytes")));
        }
        if let Ok(Some(field)) = lookup_mut(object, outer) {
            field.replace_text(&new)?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// Puts a value in place of a node: a scalar gets its characters and keeps its type.
fn put(node: &mut Styled, value: &Value) {
    match &mut node.content {
        Content::Scalar(scalar) => value.text.clone_into(&mut scalar.text),
        _ => *node = styled(&value.node),
    }
}

/// A tree with the style it is known to have.
pub(super) fn styled(node: &Node) -> Styled {
    let scalar = |text: Cow<'_, str>, quoting, kind| {
        Content::Scalar(StyledScalar {
            text: text.into_owned(),
            quoting,
            kind,
        })
    };
    match node {
        Node::List(items) => Content::List {
            flow: false,
            items: items.iter().map(styled).collect(),
        },
        Node::Map(map) => Content::Map {
            flow: false,
            entries: (map.iter())
                .map(|(key, value)| {
                    (
                        scalar((&**key).into(), Quoting::Plain, Some(ScalarKind::Str)).into(),
                        styled(value),
                    )
                })
                .collect(),
        },
        Node::Text(text) => match text.style {
            Style::Untyped => scalar(node.text(), Quoting::Plain, None),
            Style::Quoted(quoting) => scalar(node.text(), quoting, Some(ScalarKind::Str)),
            Style::Plain => scalar(node.text(), Quoting::Plain, Some(ScalarKind::Str)),
        },
        Node::Null(_) | Node::Bool(_) | Node::Number(_) => scalar(node.text(), Quoting::Plain, None),
    }
    .into()
}

impl Tree for Styled {
    fn items(&mut self) -> Result<&mut Vec<Self>, Error> {
        match &mut self.content {
            Content::List { items, .. } => Ok(items),
            other => Err(wrong("SequenceNode", other)),
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.get(name)
    }

    fn field_mut(&mut self, name: &str, missing: Option<Create>) -> Result<Option<&mut Self>, Error> {
        match &mut self.content {
            Content::Map { entries, .. } => {
                let at = entries.iter().position(|(key, _)| key.is(name));
                if let (None, Some(missing)) = (at, missing) {
                    entries.push((Styled::untyped(name), Self::made(missing)));
                }
                let at = at.unwrap_or(entries.len().saturating_sub(1));
                Ok(entries
                    .get_mut(at)
                    .filter(|(key, _)| key.is(name))
                    .map(|(_, value)| value))
            }
            other => Err(wrong("MappingNode", other)),
        }
    }

    fn written(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }

    fn made(kind: Create) -> Self {
        match kind {
            Create::Scalar => Styled::untyped(""),
            Create::List => styled(&Node::List(Vec::new())),
            Create::Map => styled(&Node::map()),
        }
    }

    fn untyped(text: &str) -> Self {
        Styled::untyped(text)
    }

    fn is_null(&self) -> bool {
        matches!(
            &self.content,
            Content::Scalar(StyledScalar {
                kind: Some(ScalarKind::Null),
                ..
            })
        )
    }

    fn scalar(&self) -> Option<Cow<'_, str>> {
        match &self.content {
            Content::Scalar(scalar) => Some(Cow::Borrowed(&scalar.text)),
            _ => None,
        }
    }
}

fn wrong(expected: &str, found: &Content) -> Error {
    let found = match found {
        Content::Scalar(_) => "ScalarNode",
        Content::List { .. } => "SequenceNode",
        Content::Map { .. } => "MappingNode",
        Content::Alias(_) => "AliasNode",
    };
    Error::new(format!("wrong node kind: expected {expected} but got {found}"))
}

/// The text as JSON, with one entry per line if it was like that before.
fn as_json(text: &str, before: &str) -> Option<String> {
    let documents = yaml::parse_json(text, Dialect::V3).ok()?;
    let (_, json) = documents.first()?;
    Some(if before.contains('\n') && before.contains("  ") {
        go_json::indented(json)
    } else {
        go_json::compact(json)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &[&str], value: Node, create: Option<Create>, expected: Option<&str>) {
        let mut object = Node::from_json(serde_json::json!({"data": {"f": text}}));
        let path: Vec<String> = (["data", "f"].iter().chain(path))
            .map(|part| (*part).to_owned())
            .collect();
        let value = Value::of(value);
        let replaced = replace(&mut object, &path, &value, create, &mut Growth::new()).unwrap();
        let result = lookup(&object, &path[..2]).unwrap().unwrap().text().into_owned();
        assert_eq!(replaced.then_some(result.as_str()), expected, "{text}");
    }

    fn text(text: &str, path: &[&str], value: &str, expected: Option<&str>) {
        check(text, path, Node::string(value), None, expected);
    }

    #[test]
    fn json_is_written_anew() {
        text(
            "{\"b\": 1, \"a\": {\"x\": \"y\"}}",
            &["a", "x"],
            "z",
            Some("{\"a\":{\"x\":\"z\"},\"b\":1}"),
        );
        text(
            "{\n  \"a\": [\"x\"]\n}",
            &["a", "0"],
            "z",
            Some("{\n  \"a\": [\n    \"z\"\n  ]\n}"),
        );
    }

    #[test]
    fn yaml_keeps_its_order_comments_and_quotes() {
        text(
            "# head\nb: 1 # one\na:\n    - x: \"y\"\n",
            &["a", "0", "x"],
            "z",
            Some("# head\nb: 1 # one\na:\n- x: \"z\""),
        );
        text("b: 1 # one\n", &["b"], "2", Some("b: 2 # one"));
        text("b: x\n", &["b"], "2", Some("b: \"2\""));
        text("b: x\n", &["c"], "2", None);
        text("no structure", &["c"], "2", None);
    }

    #[test]
    fn fields_are_created_and_collections_replaced() {
        let list = || Node::List(vec![Node::string("x"), Node::string("y")]);
        check(
            "b: 1\n",
            &["c", "d"],
            Node::string("2"),
            Some(Create::Scalar),
            Some("b: 1\nc:\n  d: 2"),
        );
        check("b: [1]\n", &["b"], list(), None, Some("b:\n- x\n- y"));
        check("a: 1\n", &["b"], list(), Some(Create::List), Some("a: 1\nb:\n- x\n- y"));
    }
}
