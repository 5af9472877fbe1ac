//! One document: the events of the parser as a tree, every scalar resolved.

use std::{
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use libyaml_safer::{Encoding, Event, EventData, Mark, Parser, ScalarStyle};

use super::MAX_DEPTH;
use super::anchors::Anchors;
use super::slashes::EscapedSlashes;
use crate::{
    Dialect, Error, ErrorKind, Node, Position, Value,
    mapping::{self, Flaw, Item},
    quotes, refold, resolve, style,
};

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Inside `[…]` or `{…}`.
    flow: bool,
}

/// Reads documents from the text it is given.
pub(super) struct Reader<'a> {
    parser: Parser<std::io::Chain<&'a [u8], &'a [u8]>>,
    /// The mark behind the line break that was added to the text, if one was.
    padded_end: Option<u64>,
    /// Where the last event ended.
    last: Position,
    first_line: usize,
    dialect: Dialect,
    anchors: Anchors,
    quotes: quotes::Mark,
    escaped_slashes: EscapedSlashes,
    /// Where to put keys that are no error for now.
    flaws: Option<&'a mut Vec<Flaw>>,
}

impl<'a> Reader<'a> {
    /// A reader of `text`, which stands below `first_line` lines of its file; keys that are wrong go to `flaws`, or are an
    /// error where there are none.
    pub(super) fn new(
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
            anchors: Anchors::default(),
            quotes,
            escaped_slashes: EscapedSlashes::of(text),
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
            ScalarStyle::DoubleQuoted if self.escaped_slashes.any_in(start, end) => {
                syntax("found unknown escape character")
            }
            ScalarStyle::Literal | ScalarStyle::Folded
                if self.dialect == Dialect::V3 && value.starts_with('\t') && style::fits_block(value) =>
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
    ///
    /// # Errors
    /// As [`parse`](super::parse).
    pub(super) fn next_document(&mut self) -> Result<Option<Node>, Error> {
        loop {
            let event = self.next_event()?;
            match event.data {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => {
                    self.anchors = Anchors::default();
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
                let merge =
                    value == mapping::MERGE && tag.as_deref().map_or(plain, |tag| tag == "tag:yaml.org,2002:merge");
                let timestamp = plain && self.dialect == Dialect::V3 && resolve::is_timestamp(&value);
                let timestamp = timestamp && !(place.flow && quoted_in_flow(&value));
                let (resolved, raw) = match tag {
                    Some(tag) => (resolve::tagged(&tag, &value, self.dialect, position)?, Some(value)),
                    None if style == ScalarStyle::Folded && self.dialect == Dialect::V3 && self.flaws.is_none() => {
                        (Value::Str(refold::refold(&value)), None)
                    }
                    None if !plain || merge || resolve::is_text(&value) => (Value::Str(value), None),
                    None if place.flow && self.dialect == Dialect::V3 && self.is_quoted_in_flow(&value) => {
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
                    let open = self.anchors.open(name);
                    self.anchors.close(&open, &item.node);
                }
                Ok(item)
            }
            EventData::SequenceStart { anchor, style, .. } => {
                let inner = self.enter(place, style == libyaml_safer::SequenceStyle::Flow, position)?;
                let open = anchor.map(|name| self.anchors.open(name));
                let mut items = Vec::new();
                loop {
                    let event = self.next_event()?;
                    if event.data == EventData::SequenceEnd {
                        break;
                    }
                    items.push(self.item(event, inner)?.node);
                }
                let item = container(Value::Seq(items));
                if let Some(open) = open {
                    self.anchors.close(&open, &item.node);
                }
                Ok(item)
            }
            EventData::MappingStart { anchor, style, .. } => {
                let inner = self.enter(place, style == libyaml_safer::MappingStyle::Flow, position)?;
                let open = anchor.map(|name| self.anchors.open(name));
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
                if let Some(open) = open {
                    self.anchors.close(&open, &item.node);
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

    /// Whether a bare scalar in brackets is text because of where it stands. A tolerant reader is told of nothing as null.
    fn is_quoted_in_flow(&self, plain: &str) -> bool {
        quoted_in_flow(plain) && !(plain.is_empty() && self.flaws.is_some())
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

    fn alias(&mut self, name: &str, position: Position) -> Result<Item, Error> {
        let node = self.anchors.expand(name, position)?.clone();
        Ok(Item {
            raw: node.as_str().map(str::to_owned),
            node,
            merge: false,
            timestamp: false,
            alias: true,
        })
    }
}

/// kustomize writes the tree out once more before it reads it for good, and inside brackets its writer has to put quotes
/// around nothing and around colons: `{x}` is `{x: ''}` from then on and a time of day in a list is text.
fn quoted_in_flow(plain: &str) -> bool {
    plain.is_empty() || plain.contains(':')
}
