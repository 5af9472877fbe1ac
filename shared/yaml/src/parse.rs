//! From text to trees: documents, aliases, merge keys, duplicate keys, and the bounds that hostile input runs into.
//!
//! Guarantees: the work is bounded by the size of the text plus the two bounds on alias expansion; nesting is bounded
//! by [`MAX_DEPTH`], so every later recursion over a tree is bounded too; no input panics.

use std::{
    collections::HashMap,
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use libyaml_safer::{Encoding, Event, EventData, Mark, Parser, ScalarStyle};

use crate::{
    Dialect, Error, ErrorKind, Node, Position, Value, block, emit,
    mapping::{self, Flaw, Item},
    quotes, refold, resolve,
};

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// How deep lists and mappings may nest. (The API server and real manifests stay far below; Go allows 10,000.)
pub const MAX_DEPTH: usize = 256;
/// How many values the aliases of one document may expand to.
pub const MAX_EXPANDED_NODES: usize = 1_000_000;
/// How many bytes of text the aliases of one document may expand to.
pub const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// Reads the documents of `text`: in [`Dialect::V3`] all that kustomize sees, in [`Dialect::V2`] the first and only the
/// first, whatever follows. Empty documents (nothing, a comment, `null`) are left out.
///
/// # Errors
/// See [`ErrorKind`]. The first error ends the reading; no partial result is returned.
pub fn parse(text: &str, dialect: Dialect) -> Result<Vec<Node>, Error> {
    check_length(text)?;
    match dialect {
        Dialect::V3 => all(text, None),
        Dialect::V2 => first(text, None),
    }
}

/// Reads as [`parse`] does and lists the keys that are wrong for a stricter reader: in [`Dialect::V3`] those that kustomize
/// minds only when it writes, which are no error then (what is no text stays as spelled, and of a key given twice all
/// values stay in the mapping); in [`Dialect::V2`] those given twice. They are told apart by their positions. Folded text (`>`)
/// stays as it is: [`refold`](crate::refold) does to it what [`parse`] does.
///
/// # Errors
/// As [`parse`].
pub fn parse_tolerant(text: &str, dialect: Dialect) -> Result<(Vec<Node>, Vec<Flaw>), Error> {
    check_length(text)?;
    let mut flaws = Vec::new();
    let documents = match dialect {
        Dialect::V3 => all(text, Some(&mut flaws))?,
        Dialect::V2 => first(text, Some(&mut flaws))?,
    };
    Ok((documents, flaws))
}

/// The first document.
fn first(text: &str, flaws: Option<&mut Vec<Flaw>>) -> Result<Vec<Node>, Error> {
    let (text, quotes) = quotes::mark(text);
    let first = Reader::new(&text, 0, Dialect::V2, quotes, flaws).next_document()?;
    Ok(first.into_iter().filter(|document| !document.is_null()).collect())
}

/// All documents that kustomize sees.
fn all(text: &str, mut flaws: Option<&mut Vec<Flaw>>) -> Result<Vec<Node>, Error> {
    let (text, quotes) = quotes::mark(text);
    let text = text.as_ref();
    let unix = text.contains("\r\n").then(|| text.replace("\r\n", "\n"));
    let mut out = Vec::new();
    for chunk in split(unix.as_deref().unwrap_or(text))? {
        out.extend(match block::read(chunk.text, chunk.first_line) {
            Some(document) => Some(document),
            None => long_way(chunk.text, chunk.first_line, quotes, flaws.as_deref_mut())?,
        });
    }
    out.retain(|document| !document.is_null());
    Ok(out)
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MAX_TEXT_BYTES {
        let start = Position { line: 1, column: 1 };
        return Err(Error::limit(
            start,
            format_args!("text is longer than {MAX_TEXT_BYTES} bytes"),
        ));
    }
    Ok(())
}

/// A document read by the whole grammar, in [`Dialect::V3`].
pub(crate) fn long_way(
    text: &str,
    first_line: usize,
    quotes: quotes::Mark,
    flaws: Option<&mut Vec<Flaw>>,
) -> Result<Option<Node>, Error> {
    Reader::new(text, first_line, Dialect::V3, quotes, flaws).next_document()
}

/// Reads the documents of `text` as [`parse`] does, as JSON values, each with the place where it starts.
///
/// # Errors
/// As [`parse`], and for numbers that JSON cannot express.
pub fn parse_json(text: &str, dialect: Dialect) -> Result<Vec<(Position, serde_json::Value)>, Error> {
    parse(text, dialect)?
        .iter()
        .map(|node| Ok((node.position, node.to_json()?)))
        .collect()
}

/// One document of a file as kustomize cuts it, before any YAML is read.
struct Chunk<'a> {
    text: &'a str,
    /// Lines before this chunk.
    first_line: usize,
}

/// kustomize cuts at every line that starts with `---` and is neither the first nor the last of the text; within a
/// chunk only the first document counts.
fn split(text: &str) -> Result<Vec<Chunk<'_>>, Error> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line) = (0, 0);
    let mut at = 0;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let end = at + content.len();
        if at > start && content.starts_with("---") && content.ends_with('\n') {
            let trailer = content[3..].trim();
            if !trailer.is_empty() && !trailer.starts_with('#') {
                let position = Position {
                    line: line + 1,
                    column: 1,
                };
                let text = format!("invalid document separator: {}", content.trim());
                return Err(Error::new(ErrorKind::Separator, position, text));
            }
            chunks.push(Chunk {
                text: &text[start..at],
                first_line,
            });
            (start, first_line) = (end, line + 1);
        }
        at = end;
    }
    chunks.push(Chunk {
        text: &text[start..],
        first_line,
    });
    Ok(chunks)
}

/// An anchor of the document being read.
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

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Inside `[…]` or `{…}`.
    flow: bool,
}

struct Reader<'a> {
    parser: Parser<std::io::Chain<&'a [u8], &'a [u8]>>,
    /// The mark behind the line break that was added to the text, if one was.
    padded_end: Option<u64>,
    /// Where the last event ended.
    last: Position,
    first_line: usize,
    dialect: Dialect,
    anchors: HashMap<String, Anchor>,
    anchor_count: usize,
    expanded: Weight,
    quotes: quotes::Mark,
    /// Line and column of every `\/`, from 0.
    escaped_slashes: Vec<(u64, u64)>,
    /// Where to put keys that are no error for now.
    flaws: Option<&'a mut Vec<Flaw>>,
}

impl<'a> Reader<'a> {
    fn new(
        text: &'a str,
        first_line: usize,
        dialect: Dialect,
        quotes: quotes::Mark,
        flaws: Option<&'a mut Vec<Flaw>>,
    ) -> Self {
        // libyaml-safer guesses the encoding from the first byte and gives up on characters that begin as a byte order mark
        // in UTF-8 or UTF-16 does, so it is told, and does not see a mark.
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        // It also cannot read a text that ends in the middle of a line of a block scalar.
        let padded = !text.ends_with(['\n', '\r']);
        let padding: &[u8] = if padded { b"\n" } else { b"" };
        let mut parser = Parser::new();
        parser.set_encoding(Encoding::Utf8);
        parser.set_input(text.as_bytes().chain(padding));
        Self {
            parser,
            padded_end: padded.then(|| text.len() as u64 + 1),
            last: Position {
                line: first_line + 1,
                column: 1,
            },
            first_line,
            dialect,
            anchors: HashMap::new(),
            anchor_count: 0,
            expanded: Weight::default(),
            quotes,
            escaped_slashes: escaped_slashes(text),
            flaws,
        }
    }

    fn position(&self, mark: Mark) -> Position {
        Position {
            line: self.first_line + mark.line as usize + 1,
            column: mark.column as usize + 1,
        }
    }

    fn next_event(&mut self) -> Result<Event, Error> {
        let event = match catch_unwind(AssertUnwindSafe(|| self.parser.parse())) {
            Ok(event) => event.map_err(|error| self.syntax_error(&error))?,
            // libyaml-safer gives up with a panic where it has a gap (a tag before a comma in a flow list, for one).
            // The parser is not asked again: every error ends the reading.
            Err(_) => {
                let position = self.last;
                return Err(Error::new(
                    ErrorKind::Syntax,
                    position,
                    format!("yaml: cannot read on from {position}"),
                ));
            }
        };
        self.last = self.position(event.end_mark);
        Ok(event)
    }

    /// The text of a scalar without what was put into it for the parser: marks, and the line break that [`Reader::new`]
    /// added to a block that ends with the text.
    fn unpadded(&self, value: String, style: ScalarStyle, end: Mark) -> String {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let value = self.quotes.unmark(value, style);
        if block && self.padded_end.is_some_and(|padded_end| end.index >= padded_end) {
            return value.strip_suffix('\n').map(str::to_owned).unwrap_or(value);
        }
        value
    }

    /// Checks for two things that Go's libraries do not read where this parser does: `\/` in double quotes, and, when
    /// kustomize reads again what it wrote, a block that starts with a tab.
    fn check_scalar(&self, value: &str, style: ScalarStyle, start: Mark, end: Mark) -> Result<(), Error> {
        let syntax = |what: &str| {
            let position = self.position(start);
            let text = format!("yaml: line {}: {what}", position.line);
            Err(Error::new(ErrorKind::Syntax, position, text))
        };
        match style {
            ScalarStyle::DoubleQuoted => {
                let at = self
                    .escaped_slashes
                    .partition_point(|place| *place < (start.line, start.column));
                match self.escaped_slashes.get(at) {
                    Some(place) if *place < (end.line, end.column) => syntax("found unknown escape character"),
                    _ => Ok(()),
                }
            }
            ScalarStyle::Literal | ScalarStyle::Folded
                if self.dialect == Dialect::V3 && value.starts_with('\t') && emit::fits_block(value) =>
            {
                syntax("found a tab character where an indentation space is expected")
            }
            _ => Ok(()),
        }
    }

    /// Words a scanner or parser error as the Go library of this dialect does, whose line depends on which marks are
    /// set and is one too low for parser errors.
    fn syntax_error(&self, error: &libyaml_safer::Error) -> Error {
        let zero = Mark::default();
        let problem = error.problem_mark().unwrap_or(zero);
        let context = error.context_mark().unwrap_or(zero);
        let scanner = error.kind() == libyaml_safer::ErrorKind::Scanner;
        let lines = match self.dialect {
            Dialect::V3 => [(context.line, true), (problem.line, true)],
            Dialect::V2 => [(problem.line, true), (context.line, false)],
        };
        let line = lines
            .iter()
            .find(|(line, _)| *line != 0)
            .map(|(line, adjust)| line + u64::from(*adjust && scanner));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let position = self.position(if problem == zero { context } else { problem });
        Error::new(ErrorKind::Syntax, position, format!("yaml: {place}{}", error.problem()))
    }

    /// The next document, or none at the end of the text.
    fn next_document(&mut self) -> Result<Option<Node>, Error> {
        loop {
            let event = self.next_event()?;
            match event.data {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    self.expanded = Weight::default();
                    let root = self.next_event()?;
                    let item = self.item(root, Place { depth: 0, flow: false })?;
                    // The end of the document is where the scanner tells what it cannot read behind it.
                    self.next_event()?;
                    return Ok(Some(item.node));
                }
                _ => {}
            }
        }
    }

    fn item(&mut self, event: Event, place: Place) -> Result<Item, Error> {
        let position = self.position(event.start_mark);
        let container = |value| Item {
            node: Node { position, value },
            raw: None,
            merge: false,
            timestamp: false,
            alias: false,
        };
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor, position),
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let value = self.unpadded(value, style, event.end_mark);
                self.check_scalar(&value, style, event.start_mark, event.end_mark)?;
                let plain = style == ScalarStyle::Plain;
                // "!" alone says "not resolved" to goyaml.v2 and nothing to yaml.v3.
                let tag = tag.filter(|tag| tag != "!" || self.dialect == Dialect::V2);
                // Some tools write the tag of a merge key out.
                let merge = value == "<<" && tag.as_deref().map_or(plain, |tag| tag == "tag:yaml.org,2002:merge");
                let timestamp = plain && self.dialect == Dialect::V3 && resolve::is_timestamp(&value);
                let timestamp = timestamp && !(place.flow && quoted_in_flow(&value));
                let (resolved, raw) = match tag {
                    Some(tag) => (resolve::tagged(&tag, &value, self.dialect, position)?, Some(value)),
                    None if style == ScalarStyle::Folded && self.dialect == Dialect::V3 && self.flaws.is_none() => {
                        (Value::Str(refold::refold(&value)), None)
                    }
                    None if !plain || merge || resolve::is_text(&value) => (Value::Str(value), None),
                    None if place.flow && self.dialect == Dialect::V3 && quoted_in_flow(&value) => {
                        (Value::Str(value), None)
                    }
                    None => (resolve::plain(&value, self.dialect), Some(value)),
                };
                let node = Node {
                    position,
                    value: resolved,
                };
                let item = Item {
                    node,
                    raw,
                    merge,
                    timestamp,
                    alias: false,
                };
                if let Some(name) = anchor {
                    let id = self.open_anchor(name.clone());
                    self.close_anchor(&name, id, &item.node);
                }
                Ok(item)
            }
            EventData::SequenceStart { anchor, style, .. } => {
                let inner = self.enter(place, style == libyaml_safer::SequenceStyle::Flow, position)?;
                let id = anchor.as_ref().map(|name| self.open_anchor(name.clone()));
                let mut items = Vec::new();
                loop {
                    let event = self.next_event()?;
                    if event.data == EventData::SequenceEnd {
                        break;
                    }
                    items.push(self.item(event, inner)?.node);
                }
                let item = container(Value::Seq(items));
                if let (Some(name), Some(id)) = (anchor, id) {
                    self.close_anchor(&name, id, &item.node);
                }
                Ok(item)
            }
            EventData::MappingStart { anchor, style, .. } => {
                let inner = self.enter(place, style == libyaml_safer::MappingStyle::Flow, position)?;
                let id = anchor.as_ref().map(|name| self.open_anchor(name.clone()));
                let mut entries = Vec::new();
                loop {
                    let event = self.next_event()?;
                    if event.data == EventData::MappingEnd {
                        break;
                    }
                    let key = self.item(event, inner)?;
                    let event = self.next_event()?;
                    entries.push((key, self.item(event, inner)?));
                }
                let entries = match self.dialect {
                    Dialect::V3 => mapping::strict(entries, place.depth == 0, self.flaws.as_deref_mut())?,
                    Dialect::V2 => mapping::lenient(entries, self.flaws.as_deref_mut())?,
                };
                let item = container(Value::Map(entries));
                if let (Some(name), Some(id)) = (anchor, id) {
                    self.close_anchor(&name, id, &item.node);
                }
                Ok(item)
            }
            // The parser pairs its events; anything else here would be its defect, told rather than hidden.
            other => Err(Error::new(
                ErrorKind::Syntax,
                position,
                format!("yaml: unexpected event {other:?}"),
            )),
        }
    }

    fn enter(&self, place: Place, flow: bool, position: Position) -> Result<Place, Error> {
        if place.depth >= MAX_DEPTH {
            return Err(Error::limit(
                position,
                format_args!("exceeded max depth of {MAX_DEPTH}"),
            ));
        }
        Ok(Place {
            depth: place.depth + 1,
            flow: place.flow || flow,
        })
    }

    fn open_anchor(&mut self, name: String) -> usize {
        self.anchor_count += 1;
        self.anchors.insert(
            name,
            Anchor {
                id: self.anchor_count,
                value: None,
            },
        );
        self.anchor_count
    }

    fn close_anchor(&mut self, name: &str, id: usize, node: &Node) {
        if let Some(anchor) = self.anchors.get_mut(name).filter(|anchor| anchor.id == id) {
            anchor.value = Some((node.clone(), Weight::of(node)));
        }
    }

    fn alias(&mut self, name: &str, position: Position) -> Result<Item, Error> {
        let anchor = self.anchors.get(name);
        let anchor = anchor.ok_or_else(|| {
            Error::new(
                ErrorKind::Syntax,
                position,
                format!("yaml: unknown anchor '{name}' referenced"),
            )
        })?;
        let (node, weight) = anchor.value.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Content,
                position,
                format!("yaml: anchor '{name}' value contains itself"),
            )
        })?;
        self.expanded.add(*weight);
        if self.expanded.nodes > MAX_EXPANDED_NODES || self.expanded.bytes > MAX_EXPANDED_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                position,
                "yaml: document contains excessive aliasing",
            ));
        }
        let raw = node.as_str().map(str::to_owned);
        Ok(Item {
            node: node.clone(),
            raw,
            merge: false,
            timestamp: false,
            alias: true,
        })
    }
}

/// Where a backslash that is not escaped itself stands before a slash.
fn escaped_slashes(text: &str) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    // Nearly no text has any.
    if !text.contains("\\/") {
        return places;
    }
    for (number, line) in text.trim_start_matches('\u{FEFF}').split('\n').enumerate() {
        let mut escaped = false;
        for (column, c) in line.chars().enumerate() {
            if escaped && c == '/' {
                places.push((number as u64, column as u64));
            }
            escaped = c == '\\' && !escaped;
        }
    }
    places
}

/// kustomize writes the tree out once more before it reads it for good, and inside brackets its writer has to put quotes
/// around nothing and around colons: `{x}` is `{x: ''}` from then on and a time of day in a list is text.
fn quoted_in_flow(plain: &str) -> bool {
    plain.is_empty() || plain.contains(':')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FlawKind;

    fn check(text: &str, dialect: Dialect, expected: Result<serde_json::Value, &str>) {
        let found = parse_json(text, dialect)
            .map(|documents| serde_json::Value::Array(documents.into_iter().map(|(_, value)| value).collect()));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text:?} in {dialect:?}");
    }

    fn both(text: &str, expected: serde_json::Value) {
        check(text, Dialect::V3, Ok(expected.clone()));
        check(text, Dialect::V2, Ok(expected));
    }

    #[test]
    fn documents_are_split_and_empty_ones_dropped() {
        check(
            "a: 1\n---\n# nothing\n---\nb: 2\n",
            Dialect::V3,
            Ok(json!([{"a": 1}, {"b": 2}])),
        );
        check("a: 1\n---\nb: [\n", Dialect::V2, Ok(json!([{"a": 1}])));
        both("---\na: 1\n", json!([{"a": 1}]));
        both("# only a comment\n", json!([]));
        both("", json!([]));
        both("null\n---\n~\n---\n", json!([]));
        check(
            "--- # comment\na: 1\n--- # comment\nb: 1\n",
            Dialect::V3,
            Ok(json!([{"a": 1}, {"b": 1}])),
        );
    }

    #[test]
    fn kustomize_splits_by_line_and_reads_one_document_per_chunk() {
        check(
            "a: 1\n--- x\nb: 1\n",
            Dialect::V3,
            Err("invalid document separator: --- x"),
        );
        check("a: 1\n...\nb: 2\n", Dialect::V3, Ok(json!([{"a": 1}])));
    }

    #[test]
    fn byte_order_mark_and_windows_line_ends_are_harmless() {
        both(
            "\u{FEFF}a: 1\r\nb: |\r\n  x\r\n  y\r\n",
            json!([{"a": 1, "b": "x\ny\n"}]),
        );
        check("a: 1\r\n---\r\nb: 2\r\n", Dialect::V3, Ok(json!([{"a": 1}, {"b": 2}])));
    }

    #[test]
    fn a_text_may_start_with_any_character() {
        both("\u{FF21}: 1\n", json!([{"\u{FF21}": 1}]));
        both("\u{F000}", json!(["\u{F000}"]));
    }

    #[test]
    fn nothing_in_brackets_is_an_empty_string_for_kustomize() {
        check("{x}", Dialect::V3, Ok(json!([{"x": ""}])));
        check("{x}", Dialect::V2, Ok(json!([{"x": null}])));
        both("x:\n", json!([{"x": null}]));
    }

    #[test]
    fn a_text_may_end_without_a_line_break() {
        both("a: |\n  x", json!([{"a": "x"}]));
        both("a: |+\n  x", json!([{"a": "x"}]));
        both("a: >-\n  x\n  y", json!([{"a": "x y"}]));
        both("a: 1", json!([{"a": 1}]));
        both("a: |\n  x\nb: z", json!([{"a": "x\n", "b": "z"}]));
        check(
            "\"a\\",
            Dialect::V3,
            Err("yaml: line 2: found unexpected end of stream"),
        );
    }

    #[test]
    fn a_gap_in_the_parser_is_an_error_not_a_panic() {
        check(
            "a: [!!str, x]\n",
            Dialect::V3,
            Err("yaml: cannot read on from line 1, column 5"),
        );
    }

    #[test]
    fn what_the_go_libraries_cannot_read_is_refused() {
        for dialect in [Dialect::V3, Dialect::V2] {
            check(
                "a: \"x\\/y\"\n",
                dialect,
                Err("yaml: line 1: found unknown escape character"),
            );
            check(
                "a: '\\/'\nb: \"/\\\\/\"\n",
                dialect,
                Ok(json!([{"a": "\\/", "b": "/\\/"}])),
            );
        }
        check(
            "a: |2\n  \tx\n",
            Dialect::V3,
            Err("yaml: line 1: found a tab character where an indentation space is expected"),
        );
        check("a: |2\n  \tx\n", Dialect::V2, Ok(json!([{"a": "\tx\n"}])));
    }

    #[test]
    fn aliases_are_expanded() {
        both(
            "a: &x {k: [1]}\nb: *x\nc: &x two\nd: *x\n",
            json!([{"a": {"k": [1]}, "b": {"k": [1]}, "c": "two", "d": "two"}]),
        );
        check("a: *x\n", Dialect::V3, Err("yaml: unknown anchor 'x' referenced"));
        check(
            "a: &x [*x]\n",
            Dialect::V3,
            Err("yaml: anchor 'x' value contains itself"),
        );
        check(
            "a: &x\n  b: *x\n",
            Dialect::V2,
            Err("yaml: anchor 'x' value contains itself"),
        );
        both("a: &x [&x 1, *x]\nb: *x\n", json!([{"a": [1, 1], "b": 1}]));
    }

    #[test]
    fn merge_keys_follow_each_dialects_precedence() {
        let text = "base: &b {k: base, l: base}\nmore: &m {k: more, p: more}\nuse:\n  k: own\n  <<: [*b, *m]\n";
        let common = json!({"k": "base", "l": "base"});
        let more = json!({"k": "more", "p": "more"});
        let v3 = json!({"k": "own", "l": "base", "p": "more"});
        check(
            text,
            Dialect::V3,
            Ok(json!([{"base": common, "more": more, "use": v3}])),
        );
        let v2 = json!({"k": "base", "l": "base", "p": "more"});
        check(
            text,
            Dialect::V2,
            Ok(json!([{"base": common, "more": more, "use": v2}])),
        );
        let wrong = "yaml: line 1: map merge requires map or sequence of maps as the value";
        check("<<: 1\n", Dialect::V3, Err(wrong));
        check("<<: [1]\n", Dialect::V2, Err(wrong));
    }

    #[test]
    fn a_key_given_twice_is_an_error_or_the_last_wins() {
        let text = "a: 1\nb: 2\na: 3\n";
        let error = "yaml: unmarshal errors:\n  line 3: mapping key \"a\" already defined at line 1";
        check(text, Dialect::V3, Err(error));
        check(text, Dialect::V2, Ok(json!([{"a": 3, "b": 2}])));
        assert_eq!(
            parse(text, Dialect::V3).unwrap_err().position(),
            Position { line: 3, column: 1 }
        );
    }

    #[test]
    fn keys_that_are_not_text() {
        check(
            "a:\n  1: x\n",
            Dialect::V3,
            Err("yaml: line 2: mapping key 1 is a number, keys must be strings"),
        );
        check(
            "a:\n  [x]: y\n",
            Dialect::V3,
            Err("yaml: line 2: mapping key is a list, keys must be strings"),
        );
        check("1: x\n", Dialect::V3, Ok(json!([{"1": "x"}])));
        check(
            "a: {1: x, y: z, 1.5: q}\n",
            Dialect::V2,
            Ok(json!([{"a": {"1": "x", "true": "z", "1.5": "q"}}])),
        );
        check(
            "~: x\n",
            Dialect::V2,
            Err("yaml: line 1: a null cannot be a mapping key"),
        );
    }

    #[test]
    fn a_tolerant_reader_keeps_keys_no_json_object_may_have() {
        let (documents, flaws) = parse_tolerant("a: {1: x, b: y, b: z}\n", Dialect::V3).unwrap();
        let keys: Vec<_> = documents[0]
            .get("a")
            .and_then(Node::as_map)
            .unwrap()
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(keys, [Some("1"), Some("b"), Some("b")]);
        let found: Vec<_> = flaws.iter().map(|flaw| (flaw.position.column, flaw.kind)).collect();
        assert_eq!(found, [(5, FlawKind::NotText), (17, FlawKind::Repeated)]);
        assert!(parse_tolerant("a: {[x]: y}\n", Dialect::V3).is_err());
        let (_, flaws) = parse_tolerant("a: 1\nb: 2\na: 3\n", Dialect::V2).unwrap();
        assert_eq!(
            flaws[0].error.to_string(),
            "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"
        );
    }

    #[test]
    fn syntax_errors_are_worded_as_go_words_them_and_know_their_place() {
        let text = "a:\n  b: [1, 2\nc: 3\n";
        let error = parse(text, Dialect::V3).unwrap_err();
        assert_eq!(error.to_string(), "yaml: line 1: did not find expected ',' or ']'");
        assert_eq!((error.kind(), error.position().line), (ErrorKind::Syntax, 3));
        let error = parse("a: b: c\n", Dialect::V3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "yaml: mapping values are not allowed in this context"
        );
        let error = parse("x: 1\n---\ny: 1\nz: b: c\n", Dialect::V3).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.position().line),
            ("yaml: line 2: mapping values are not allowed in this context", 4)
        );
    }

    #[test]
    fn bounds_hold() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        check(&deep, Dialect::V3, Err("yaml: line 1: exceeded max depth of 256"));
        let fits = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(&fits, Dialect::V3).is_ok());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs += &format!("a{level}: &a{level} [{items}]\n");
        }
        check(&laughs, Dialect::V3, Err("yaml: document contains excessive aliasing"));
        check(&laughs, Dialect::V2, Err("yaml: document contains excessive aliasing"));
    }
}
