//! Reading: the events of the parser as a tree, then the comments, which the parser drops.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, MappingStyle, Mark, Parser, ScalarStyle, SequenceStyle};

use super::comments::{Scan, Slot, TokenKind};
use super::{Content, Quoting, ScalarKind, Styled, StyledDocument, StyledScalar};
use crate::{Error, ErrorKind, MAX_DEPTH, MAX_TEXT_BYTES, Position, quotes};

/// Reads the first document of a text with its style; none when there is no document.
///
/// # Errors
/// What is not YAML, nests too deep, or is too long; an alias without an anchor.
pub fn read_styled(text: &str) -> Result<Option<StyledDocument>, Error> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::limit(
            start,
            format!("text is longer than {MAX_TEXT_BYTES} bytes"),
        ));
    }
    // The parser cannot read a text that ends in the middle of a line of a block.
    let padded = if text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    };
    let (marked, quotes) = quotes::mark(&padded);
    let mut parser = Parser::new();
    parser.set_input(marked.as_bytes());
    let mut reader = Reader {
        parser,
        quotes,
        scan: Scan::default(),
        anchors: HashSet::new(),
        open_end: (!text.ends_with('\n')).then(|| padded.chars().count() as u64),
    };
    let Some(root) = reader.document()? else {
        return Ok(None);
    };
    let mut document = StyledDocument {
        head: String::new(),
        root,
        foot: String::new(),
    };
    reader.scan.attach(&padded, &mut document);
    Ok(Some(document))
}

struct Reader<'a> {
    parser: Parser<&'a [u8]>,
    quotes: quotes::Mark,
    scan: Scan,
    anchors: HashSet<String>,
    /// Behind the line break that was added to the text, if one was.
    open_end: Option<u64>,
}

fn position(mark: Mark) -> Position {
    Position {
        line: mark.line as usize + 1,
        column: mark.column as usize + 1,
    }
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Event, Error> {
        let unreadable = |what: String| Error::new(ErrorKind::Syntax, Position { line: 1, column: 1 }, what);
        match catch_unwind(AssertUnwindSafe(|| self.parser.parse())) {
            Ok(event) => event.map_err(|error| unreadable(format!("yaml: {}", error.problem()))),
            Err(_) => Err(unreadable("yaml: cannot be read".to_owned())),
        }
    }

    fn document(&mut self) -> Result<Option<Styled>, Error> {
        loop {
            let event = self.next()?;
            match event.data {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => {
                    let root = self.next()?;
                    let mut path = Vec::new();
                    let root = self.node(root, &mut path, false)?;
                    let end = self.next()?;
                    self.scan.end(end.start_mark);
                    return Ok(Some(root));
                }
                _ => {}
            }
        }
    }

    /// Reads a node. `path` leads to it from the root, in slots; `flow` is whether it stands in brackets.
    fn node(&mut self, event: Event, path: &mut Vec<Slot>, flow: bool) -> Result<Styled, Error> {
        if path.len() > MAX_DEPTH {
            return Err(Error::limit(
                position(event.start_mark),
                format!("exceeded max depth of {MAX_DEPTH}"),
            ));
        }
        let (start, end) = (event.start_mark, event.end_mark);
        match event.data {
            EventData::Alias { anchor } => {
                if !self.anchors.contains(&anchor) {
                    let what = format!("yaml: unknown anchor '{anchor}' referenced");
                    return Err(Error::new(ErrorKind::Syntax, position(start), what));
                }
                self.scan.leaf(start, end, path, TokenKind::Other);
                Ok(Content::Alias(anchor).into())
            }
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let mut value = self.quotes.unmark(value, style);
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.open_end.is_some_and(|open_end| end.index >= open_end) && value.ends_with('\n') {
                    value.pop();
                }
                let kind = match style {
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => TokenKind::Other,
                    _ if block => TokenKind::Block,
                    _ => TokenKind::Plain,
                };
                self.scan.leaf(start, end, path, kind);
                let quoting = match style {
                    ScalarStyle::SingleQuoted => Quoting::Single,
                    ScalarStyle::DoubleQuoted => Quoting::Double,
                    ScalarStyle::Literal => Quoting::Literal,
                    ScalarStyle::Folded => Quoting::Folded,
                    _ => Quoting::Plain,
                };
                let tag = tag.filter(|tag| tag != "!");
                let kind = match quoting {
                    Quoting::Plain => ScalarKind::of(&value),
                    _ => ScalarKind::Str,
                };
                self.anchors.extend(anchor.clone());
                Ok(Styled {
                    content: Content::Scalar(StyledScalar {
                        text: value,
                        quoting,
                        kind: Some(kind),
                    }),
                    anchor,
                    tag,
                    ..Styled::default()
                })
            }
            EventData::SequenceStart { anchor, tag, style, .. } => {
                self.anchors.extend(anchor.clone());
                let in_flow = style == SequenceStyle::Flow;
                if !in_flow {
                    self.scan.open(start, path, false);
                }
                let inner = flow || in_flow;
                let mut items = Vec::new();
                let last = loop {
                    let event = self.next()?;
                    if event.data == EventData::SequenceEnd {
                        break event;
                    }
                    path.push(Slot::Item(items.len()));
                    items.push(self.node(event, path, inner)?);
                    path.pop();
                };
                if in_flow {
                    self.scan.leaf(last.start_mark, last.end_mark, path, TokenKind::Other);
                } else {
                    self.scan.close();
                }
                Ok(Styled {
                    content: Content::List { flow: in_flow, items },
                    anchor,
                    tag,
                    ..Styled::default()
                })
            }
            EventData::MappingStart { anchor, tag, style, .. } => {
                self.anchors.extend(anchor.clone());
                let in_flow = style == MappingStyle::Flow;
                if !in_flow {
                    self.scan.open(start, path, true);
                }
                let inner = flow || in_flow;
                let mut entries = Vec::new();
                let last = loop {
                    let event = self.next()?;
                    if event.data == EventData::MappingEnd {
                        break event;
                    }
                    path.push(Slot::Key(entries.len()));
                    let key = self.node(event, path, inner)?;
                    path.pop();
                    let event = self.next()?;
                    path.push(Slot::Value(entries.len()));
                    let value = self.node(event, path, inner)?;
                    path.pop();
                    entries.push((key, value));
                };
                if in_flow {
                    self.scan.leaf(last.start_mark, last.end_mark, path, TokenKind::Other);
                } else {
                    self.scan.close();
                }
                Ok(Styled {
                    content: Content::Map { flow: in_flow, entries },
                    anchor,
                    tag,
                    ..Styled::default()
                })
            }
            other => Err(Error::new(
                ErrorKind::Syntax,
                position(start),
                format!("yaml: unexpected event {other:?}"),
            )),
        }
    }
}
