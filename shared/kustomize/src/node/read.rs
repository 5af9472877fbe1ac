//! From text to tree.

use std::borrow::Cow;
use std::collections::HashMap;

use yaml::{Dialect, Flaw, FlawKind, Position, Quoting, Value};

use super::remarks::Remarks;
use super::{Node, Spelled, Style, Text};
use crate::Error;
use crate::error::Within;

/// The documents of a manifest file with the line each starts at; empty documents are dropped.
///
/// # Errors
/// Malformed YAML, with its line; bytes that are not UTF-8.
pub(crate) fn documents(content: &[u8]) -> Result<Vec<(usize, Node)>, Error> {
    let text = std::str::from_utf8(content).map_err(|error| {
        Error::new(format!(
            "MalformedYAMLError: yaml: invalid UTF-8 after byte {}",
            error.valid_up_to()
        ))
    })?;
    let unified = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let (nodes, flaws) = yaml::parse_tolerant(&unified, Dialect::V3).within(|| "MalformedYAMLError")?;
    let source = Source::new(&unified, flaws);
    // Each tree is gone when its successor is read, which halves what a long file takes.
    nodes
        .into_iter()
        .map(|node| Ok((node.position.line, source.convert(node)?)))
        .collect()
}

/// What reading makes of a timestamp; none for everything else.
fn rewritten(word: &str) -> Option<String> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) || word.len() < 8 || word.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let nodes = yaml::parse(word, Dialect::V3).ok()?;
    let text = nodes.first()?.as_str()?;
    (text != word).then(|| text.to_owned())
}

/// A text without quotes, resolved: what it would be in a YAML file.
pub(super) fn plain(text: &str) -> Node {
    if text.is_empty() {
        return Node::Null { written: false };
    }
    if let Some(text) = rewritten(text) {
        return Node::string(text);
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
        None if key == "<<" => Err(Error::new("key '<<' merges what it leads to, which is text here")),
        None => Ok(()),
        Some(_) => Err(Error::new(format!(
            "key '{key}' reads as something else than a string, which no object may have as key"
        ))),
    }
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
            Value::Bool(value) => Some(Node::Bool(Spelled::read(*value, text))),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(node, Some(text)).ok(),
            Value::Str(_) | Value::Seq(_) | Value::Map(_) => None,
        },
        _ => None,
    }
}

fn number(node: &yaml::Node, spelling: Option<&str>) -> Result<Node, Error> {
    match node.to_json()? {
        serde_json::Value::Number(number) => Ok(Node::Number(match spelling {
            Some(spelling) => Spelled::read(number, spelling),
            None => number.into(),
        })),
        other => Ok(Node::from_json(other)),
    }
}

/// A text with its lines, to see how a scalar was written at a position.
struct Source<'a> {
    lines: Vec<&'a str>,
    /// Keys that no output may have, by position.
    flaws: HashMap<Position, Flaw>,
    remarks: Remarks,
}

impl<'a> Source<'a> {
    fn new(text: &'a str, flaws: Vec<Flaw>) -> Self {
        let lines: Vec<&str> = text.split('\n').collect();
        Self {
            flaws: flaws.into_iter().map(|flaw| (flaw.position, flaw)).collect(),
            remarks: Remarks::of(&lines),
            lines,
        }
    }

    fn convert(&self, node: yaml::Node) -> Result<Node, Error> {
        let position = node.position;
        Ok(match node.value {
            Value::Null => Node::Null {
                written: self.starts(position).is_some_and(|c| matches!(c, 'n' | 'N' | '~')),
            },
            Value::Bool(value) => Node::Bool(match self.word(position) {
                Some(word) => Spelled::read(value, word),
                None => value.into(),
            }),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(&node, self.word(position))?,
            // A timestamp that reading has rewritten is still one.
            Value::Str(text) if self.timestamp(position, &text).is_some() => {
                Node::untyped(self.timestamp(position, &text).unwrap_or_default())
            }
            Value::Str(text) => {
                let style = match self.starts(position) {
                    Some('\'') => Style::Quoted(Quoting::Single),
                    Some('|') => Style::Quoted(Quoting::Literal),
                    Some('>') => Style::Quoted(Quoting::Folded),
                    Some('"') => Style::Quoted(Quoting::Double),
                    // A tag is no quote.
                    _ => Style::Plain,
                };
                Node::Text(Text { text, style, cell: 0 })
            }
            Value::Seq(items) => Node::List(
                items
                    .into_iter()
                    .map(|item| self.convert(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Map(entries) => {
                let mut map = super::Map::new();
                for (key, value) in entries {
                    let at = key.position;
                    let name = key.into_text().unwrap_or_default();
                    let value = self.convert(value)?;
                    match self.flaws.get(&at) {
                        Some(flaw) if flaw.kind == FlawKind::Repeated => {
                            map.repeat(&name, value, flaw.error.to_string());
                            continue;
                        }
                        Some(flaw) => map.mark_odd(&name, flaw.error.to_string()),
                        None => {}
                    }
                    if let Some(schema) = self.remarks.at(at) {
                        map.note_schema(&name, schema.clone());
                    }
                    map.insert(name, value);
                }
                Node::Map(map)
            }
        })
    }

    /// The line from the scalar at a position on, behind its tag and anchor.
    fn rest(&self, position: Position) -> Option<&str> {
        let line = self.lines.get(position.line.checked_sub(1)?)?;
        let column = position.column.checked_sub(1)?;
        let mut rest = if line.is_ascii() {
            line.get(column..)?
        } else {
            line.get(line.char_indices().nth(column)?.0..)?
        };
        while rest.starts_with(['!', '&']) {
            rest = rest.split_once(' ')?.1.trim_start();
        }
        Some(rest)
    }

    /// The first character of the scalar at a position.
    fn starts(&self, position: Position) -> Option<char> {
        self.rest(position)?.chars().next()
    }

    /// The characters of a bare timestamp that became this text.
    fn timestamp(&self, position: Position, text: &str) -> Option<&str> {
        // No other bare word starts like its text and is not the whole of it.
        if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.contains('T') {
            return None;
        }
        self.word(position)
            .filter(|word| rewritten(word).as_deref() == Some(text) && *word != text)
    }

    /// The bare word at a node's position.
    fn word(&self, position: Position) -> Option<&str> {
        let word = self.rest(position)?.split([' ', '\t', ',', ']', '}', '\r']).next()?;
        (!word.is_empty() && !word.starts_with(['"', '\'', '|', '>'])).then_some(word)
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
        check("a: 'x'", &text("x", Style::Quoted(Quoting::Single)));
        check("b: ä\na: !!str &k \"x\"", &text("x", Style::Quoted(Quoting::Double)));
        check("a: |\n  x\n", &text("x\n", Style::Quoted(Quoting::Literal)));
        check("{ä: 1, a: \"80\"}", &text("80", Style::Quoted(Quoting::Double)));
        check("a: !!str 80", &text("80", Style::Plain));
        check("a: null", &Node::Null { written: true });
        check("a:\nb: 1", &Node::Null { written: false });
    }

    #[test]
    fn errors_name_the_line() {
        assert!(documents(b"a: 1\nb: [\n").unwrap_err().to_string().contains("line"));
        assert!(documents(&[b'a', 0xff]).unwrap_err().to_string().contains("UTF-8"));
    }
}
