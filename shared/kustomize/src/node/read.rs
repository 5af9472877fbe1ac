//! From text to tree.

use std::borrow::Cow;
use std::collections::HashMap;

use yaml::{Dialect, Flaw, FlawKind, Position, Quoting, Value};

use super::lines::Lines;
use super::names::Names;
use super::remarks::Remarks;
use super::{Absence, Map, Node, Spelled, Style, Text};
use crate::Error;
use crate::error::Within;

/// What is in a manifest file.
pub(crate) struct Documents {
    /// The documents that are not empty, with the line each starts at.
    pub nodes: Vec<(usize, Node)>,
    /// Whether a line cuts the file into documents, even if nothing is before or behind it.
    pub is_cut: bool,
}

/// The documents of a manifest file.
///
/// # Errors
/// Malformed YAML, with its line; bytes that are not UTF-8.
pub(crate) fn documents(content: &[u8]) -> Result<Documents, Error> {
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
    let read = yaml::Documents::tolerant(&unified).within(|| "MalformedYAMLError")?;
    let mut documents = Documents {
        is_cut: read.is_cut(),
        nodes: Vec::new(),
    };
    let mut source = Source::new(&unified);
    for document in read {
        let (node, flaws) = document.within(|| "MalformedYAMLError")?;
        source.flaws = flaws.into_iter().map(|flaw| (flaw.position, flaw)).collect();
        documents.nodes.push((node.position.line, source.convert(node, false)?));
    }
    Ok(documents)
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
        return Node::NOTHING;
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
    // Nearly all are words, of which few mean something else.
    let is_word = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'/');
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_word) {
        let mut others = WORDS11.iter();
        if !others.any(|word| word.eq_ignore_ascii_case(text)) {
            return false;
        }
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

/// The words that are no strings in YAML 1.1, in one case.
const WORDS11: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

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
        [] => Some(Node::Null(absence(text))),
        [node] => match &node.value {
            Value::Null => Some(Node::Null(absence(text))),
            Value::Bool(value) => Some(Node::Bool(Spelled::read(*value, text, flag_text(*value)))),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(node, Some(text)).ok(),
            Value::Str(_) | Value::Seq(_) | Value::Map(_) => None,
        },
        _ => None,
    }
}

/// Null as this word, or as nothing if it is none for null.
fn absence(word: &str) -> Absence {
    let known = ["null", "~", "Null", "NULL"].into_iter().find(|known| *known == word);
    known.map_or(Absence::Nothing, Absence::Word)
}

/// The usual characters of a boolean.
pub(super) fn flag_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn number(node: &yaml::Node, spelling: Option<&str>) -> Result<Node, Error> {
    match node.to_json()? {
        serde_json::Value::Number(number) => Ok(Node::Number(match spelling {
            // How others are written is another matter.
            Some(spelling) if number.is_f64() => Spelled::read(number, spelling, ""),
            Some(spelling) => {
                let usual = number.to_string();
                Spelled::read(number, spelling, &usual)
            }
            None => number.into(),
        })),
        other => Ok(Node::from_json(other)),
    }
}

/// A text with its lines, to see how a scalar was written at a position.
struct Source<'a> {
    lines: Lines<'a>,
    /// Keys that no output may have, by position.
    flaws: HashMap<Position, Flaw>,
    remarks: Remarks,
    names: Names,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let lines = Lines::of(text);
        Self {
            flaws: HashMap::new(),
            remarks: Remarks::of(&lines),
            names: Names::new(),
            lines,
        }
    }

    /// The tree of a value; `within` is whether it is in brackets.
    fn convert(&self, node: yaml::Node, within: bool) -> Result<Node, Error> {
        let position = node.position;
        let is_bracketed = || within || self.starts(position).is_some_and(|c| matches!(c, '{' | '['));
        Ok(match node.value {
            Value::Null => Node::Null(match absence(self.word(position).unwrap_or_default()) {
                Absence::Nothing if within && !self.is_tagged(position) => Absence::Bracketed,
                written => written,
            }),
            Value::Bool(value) => Node::Bool(match self.word(position) {
                Some(word) => Spelled::read(value, word, flag_text(value)),
                None => value.into(),
            }),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => number(&node, self.word(position))?,
            // Whether reading has rewritten it or not, a timestamp stays one.
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
                Node::Text(Text {
                    text: text.into(),
                    style,
                    cell: 0,
                })
            }
            Value::Seq(items) => {
                let within = is_bracketed();
                let items = items.into_iter().map(|item| self.convert(item, within));
                Node::List(items.collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let within = is_bracketed();
                let mut map = Map::new();
                // In the order of the text; the mapping puts them in its own.
                let mut read = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let at = key.position;
                    let name = self.names.of(key.as_str().unwrap_or_default());
                    let value = self.convert(value, within)?;
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
                    read.push((name, value));
                }
                map.fill(read);
                Node::Map(map)
            }
        })
    }

    /// The line from the scalar at a position on, behind its tag and anchor.
    fn rest(&self, position: Position) -> Option<&str> {
        let mut rest = self.lines.rest(position)?;
        while rest.starts_with(['!', '&']) {
            rest = rest.split_once(' ')?.1.trim_start();
        }
        Some(rest)
    }

    /// Whether the scalar at a position has a tag.
    fn is_tagged(&self, position: Position) -> bool {
        let mut rest = self.lines.rest(position).unwrap_or_default();
        while let Some((_, after)) = rest.split_once(' ').filter(|_| rest.starts_with('&')) {
            rest = after.trim_start();
        }
        rest.starts_with('!')
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
        // There may be spaces in one.
        let bare = self
            .rest(position)?
            .split([',', ']', '}', '#', '\r'])
            .next()?
            .trim_end();
        let is_this = yaml::is_timestamp(bare) && (bare == text || rewritten(bare).as_deref() == Some(text));
        is_this.then_some(bare)
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
        assert_eq!(read.nodes[0].1.get("a"), Some(expected), "{text}");
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
        check("a: 2024-01-02 03:04:05 # x", &Node::untyped("2024-01-02 03:04:05"));
        check("a: null", &Node::NULL);
        check("{a: ~, b: 1}", &Node::Null(Absence::Word("~")));
        check("a: !!null NULL", &Node::Null(Absence::Word("NULL")));
        check("a:\nb: 1", &Node::NOTHING);
        check("a: # null\nb: 1", &Node::NOTHING);
        check("a: !!null ''", &Node::NOTHING);
        let bracketed = Node::Null(Absence::Bracketed);
        check("{a: , b: 1}", &bracketed);
        check("{b: 1, a}", &bracketed);
        check("{b: 1,\n a: &x }", &bracketed);
        check("{a: !!null , b: 1}", &Node::NOTHING);
        check(
            "a: {b: , c: [&x , ~]}",
            &Node::Map(Map::from([
                ("b", bracketed.clone()),
                ("c", Node::List(vec![bracketed, Node::Null(Absence::Word("~"))])),
            ])),
        );
    }

    #[test]
    fn errors_name_the_line() {
        let error = |content: &[u8]| documents(content).err().unwrap().to_string();
        assert!(error(b"a: 1\nb: [\n").contains("line"));
        assert!(error(&[b'a', 0xff]).contains("UTF-8"));
    }
}
