//! From text to tree.

use std::borrow::Cow;

use yaml::{Dialect, Value};

use super::{Node, Style, Text};
use crate::Error;

/// The documents of a manifest file with the line each starts at; empty documents are dropped.
///
/// # Errors
/// Malformed YAML, with its line; bytes that are not UTF-8.
pub(crate) fn documents(content: &[u8]) -> Result<Vec<(usize, Node)>, Error> {
    let text = std::str::from_utf8(content).map_err(|error| {
        Error::malformed(format!(
            "MalformedYAMLError: yaml: invalid UTF-8 after byte {}",
            error.valid_up_to()
        ))
    })?;
    let unified = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let nodes = yaml::parse(&unified, Dialect::V3)
        .map_err(|error| Error::malformed(format!("MalformedYAMLError: {error} (at {})", error.position())))?;
    let source = Source::new(&unified);
    nodes
        .iter()
        .map(|node| Ok((node.position.line, source.convert(node)?)))
        .collect()
}

/// A text without quotes, resolved: what it would be in a YAML file.
pub(super) fn plain(text: &str) -> Node {
    if text.is_empty() {
        return Node::Null { written: false };
    }
    resolve(text).unwrap_or_else(|| Node::string(text))
}

/// Whether YAML 1.1 takes a bare text for something else than a string: also `yes`, `off` and the like.
pub(super) fn is_yaml11_other(text: &str) -> bool {
    if !text.is_ascii() || text.len() > 64 {
        return false;
    }
    yaml::parse(text, Dialect::V2).is_ok_and(|nodes| nodes.first().is_none_or(|node| node.as_str().is_none()))
}

/// Checks a key that is written without quotes: one that reads as a number, boolean or null makes upstream fail, since JSON
/// has only string keys.
///
/// # Errors
/// Names the key.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    match resolve(key) {
        None => Ok(()),
        Some(_) => Err(Error::new(format!(
            "key '{key}' reads as something else than a string, which no object may have as key"
        ))),
    }
}

/// Whether a string has to be quoted to stay a string.
pub(super) fn must_quote(text: &str) -> bool {
    text.is_empty() || resolve(text).is_some()
}

/// The words that are no strings.
const WORDS: [&str; 9] = [
    "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE",
];

/// What a bare text is when it is not a string.
fn resolve(text: &str) -> Option<Node> {
    let first = *text.as_bytes().first()?;
    // What can only be a string needs no parser; what begins with `.`, a sign, a digit, `~`, null, true or false may be more.
    let telling = match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' | b'~' => true,
        b'n' | b'N' | b't' | b'T' | b'f' | b'F' => WORDS.iter().any(|word| text.starts_with(word)),
        _ => false,
    };
    if !telling || text.len() > 64 || text.contains(['\n', ':', '#', ' ']) {
        return None;
    }
    let nodes = yaml::parse(text, Dialect::V3).ok()?;
    match nodes.as_slice() {
        [] => Some(Node::Null { written: true }),
        [node] => match &node.value {
            Value::Null => Some(Node::Null { written: true }),
            Value::Bool(value) => Some(Node::Bool(*value)),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(node).ok(),
            Value::Str(_) | Value::Seq(_) | Value::Map(_) => None,
        },
        _ => None,
    }
}

fn number(node: &yaml::Node) -> Result<Node, Error> {
    match node.to_json().map_err(|error| Error::new(error.to_string()))? {
        serde_json::Value::Number(number) => Ok(Node::Number(number)),
        other => Ok(Node::from_json(other)),
    }
}

/// A text with its lines, to see how a scalar was written at a position.
struct Source<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            lines: text.split('\n').collect(),
        }
    }

    fn convert(&self, node: &yaml::Node) -> Result<Node, Error> {
        Ok(match &node.value {
            Value::Null => Node::Null {
                written: self.starts(node).is_some_and(|c| matches!(c, 'n' | 'N' | '~')),
            },
            Value::Bool(value) => Node::Bool(*value),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(node)?,
            Value::Str(text) => {
                let quoted = self.starts(node).is_some_and(|c| matches!(c, '"' | '\'' | '|' | '>')) || must_quote(text);
                let style = if quoted { Style::Quoted } else { Style::Plain };
                Node::Text(Text {
                    text: text.clone(),
                    style,
                    cell: 0,
                })
            }
            Value::Seq(items) => Node::List(items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?),
            Value::Map(entries) => {
                let mut map = super::Map::new();
                for (key, value) in entries {
                    map.insert(key.as_str().unwrap_or_default().to_owned(), self.convert(value)?);
                }
                Node::Map(map)
            }
        })
    }

    /// The first character of the scalar at a node's position, behind its tag and anchor.
    fn starts(&self, node: &yaml::Node) -> Option<char> {
        let line = self.lines.get(node.position.line.checked_sub(1)?)?;
        let column = node.position.column.checked_sub(1)?;
        let mut rest = if line.is_ascii() {
            line.get(column..)?
        } else {
            line.get(line.char_indices().nth(column)?.0..)?
        };
        while rest.starts_with(['!', '&']) {
            rest = rest.split_once(' ')?.1.trim_start();
        }
        rest.chars().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Node) {
        let read = documents(text.as_bytes()).unwrap();
        assert_eq!(read[0].1.get("a"), Some(expected), "{text}");
    }

    #[test]
    fn the_way_a_scalar_was_written_is_kept() {
        let text = |text: &str, style| {
            Node::Text(Text {
                text: text.into(),
                style,
                cell: 0,
            })
        };
        check("a: x", &text("x", Style::Plain));
        check("a: 'x'", &text("x", Style::Quoted));
        check("b: ä\na: !!str &k \"x\"", &text("x", Style::Quoted));
        check("a: |\n  x\n", &text("x\n", Style::Quoted));
        check("{ä: 1, a: \"80\"}", &text("80", Style::Quoted));
        check("a: null", &Node::Null { written: true });
        check("a:\nb: 1", &Node::Null { written: false });
    }

    #[test]
    fn errors_name_the_line() {
        assert!(documents(b"a: 1\nb: [\n").unwrap_err().to_string().contains("line"));
        assert!(documents(&[b'a', 0xff]).unwrap_err().to_string().contains("UTF-8"));
    }
}
