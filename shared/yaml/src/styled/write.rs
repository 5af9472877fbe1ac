//! Writing: the tree as yaml.v3 writes its nodes, with an indent of 2, lists not indented under their key, and no folding.
//!
//! That writer holds comments back until it comes to a place for them: those above are written in front of the next line,
//! those below wait for the next key of the same mapping. The same is done here.

use std::fmt;

use super::{Comments, Content, Quoting, ScalarKind, Styled, StyledDocument, StyledScalar};
use crate::emit::Writer;
use crate::style::Facts;

const INDENT: usize = 2;
/// A longer key is written as `? key`.
const SIMPLE_KEY_BYTES: usize = 128;
const TAG_PREFIX: &str = "tag:yaml.org,2002:";

impl fmt::Display for StyledDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = StyledWriter::default();
        writer.document(&self.head, &self.root, &self.foot);
        f.write_str(&writer.writer.out)
    }
}

impl fmt::Display for Styled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = StyledWriter::default();
        writer.document("", self, "");
        f.write_str(&writer.writer.out)
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Context {
    /// The indent of the collection around it; none at the root.
    indent: Option<usize>,
    mapping: bool,
    simple_key: bool,
    flow: bool,
}

struct StyledWriter {
    writer: Writer,
    /// Comments that have to be written as soon as there is a place.
    waiting: Comments,
    /// The comment below the entry before.
    tail: String,
    /// The comment behind a key.
    key_line: String,
}

impl Default for StyledWriter {
    fn default() -> Self {
        Self {
            writer: Writer::new(usize::MAX),
            waiting: Comments::default(),
            tail: String::new(),
            key_line: String::new(),
        }
    }
}

impl StyledWriter {
    fn document(&mut self, head: &str, root: &Styled, foot: &str) {
        if !head.is_empty() {
            head.clone_into(&mut self.waiting.head);
            self.head(None);
            self.line_end();
        }
        let context = Context {
            indent: None,
            mapping: false,
            simple_key: false,
            flow: false,
        };
        self.await_comments(root);
        self.head(None);
        self.node(root, context);
        self.writer.foot = Some(0);
        foot.clone_into(&mut self.waiting.foot);
        self.foot(None);
        self.writer.foot = None;
        self.writer.line_start(0);
    }

    /// Takes up the comments of a value that is about to be written. Those behind and below a collection come at its end.
    fn await_comments(&mut self, node: &Styled) {
        let Comments { head, line, foot } = &node.comments;
        let take = |from: &String, to: &mut String| {
            if !from.is_empty() {
                from.clone_into(to);
            }
        };
        take(head, &mut self.waiting.head);
        if matches!(node.content, Content::Scalar(_) | Content::Alias(_)) {
            take(line, &mut self.waiting.line);
            take(foot, &mut self.waiting.foot);
        }
    }

    fn line_end(&mut self) {
        self.writer.line_break('\n');
        self.writer.indention = true;
    }

    fn comment(&mut self, text: &str, indent: usize) {
        let mut breaks = false;
        for c in text.chars() {
            if c == '\n' {
                self.line_end();
                breaks = true;
            } else {
                if breaks {
                    self.writer.line_start(indent);
                }
                self.writer.put(c);
                self.writer.indention = false;
                breaks = false;
            }
        }
        if !breaks {
            self.line_end();
        }
        self.writer.whitespace = true;
    }

    /// Writes what waits to be above the next line.
    fn head(&mut self, indent: Option<usize>) {
        let indent = indent.unwrap_or(0);
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.writer.line_start(indent);
            self.comment(&tail, indent);
            self.writer.foot = Some(indent);
        }
        if !self.waiting.head.is_empty() {
            let head = std::mem::take(&mut self.waiting.head);
            self.writer.line_start(indent);
            self.comment(&head, indent);
        }
    }

    /// Writes what waits to be behind the line.
    fn line(&mut self, indent: Option<usize>) {
        if !self.waiting.line.is_empty() {
            let line = std::mem::take(&mut self.waiting.line);
            if !self.writer.whitespace {
                self.writer.put(' ');
            }
            self.comment(&line, indent.unwrap_or(0));
        }
    }

    /// Writes what waits to be below the line.
    fn foot(&mut self, indent: Option<usize>) {
        if !self.waiting.foot.is_empty() {
            let foot = std::mem::take(&mut self.waiting.foot);
            let indent = indent.unwrap_or(0);
            self.writer.line_start(indent);
            self.comment(&foot, indent);
            self.writer.foot = Some(indent);
        }
    }

    /// Writes a value whose comments have been taken up.
    fn node(&mut self, node: &Styled, context: Context) {
        if let Some(anchor) = &node.anchor {
            self.writer.indicator(&format!("&{anchor}"), true, false, false);
        }
        match &node.content {
            Content::Alias(name) => {
                self.writer.indicator(&format!("*{name}"), true, false, false);
                self.behind(context);
            }
            Content::Scalar(scalar) => {
                self.scalar(scalar, node.tag.as_deref(), context);
                if !context.simple_key {
                    self.behind(context);
                }
            }
            Content::List { flow, items } => {
                self.tag(node.tag.as_deref());
                if *flow || context.flow || items.is_empty() {
                    self.flow_list(items, context);
                    self.end(node, context);
                } else {
                    self.block_list(items, context);
                }
            }
            Content::Map { flow, entries } => {
                self.tag(node.tag.as_deref());
                if *flow || context.flow || entries.is_empty() {
                    let separated = self.flow_map(entries, context);
                    if !separated && !node.comments.foot.is_empty() {
                        self.writer.indicator(",", false, false, false);
                    }
                    self.writer.indicator("}", false, false, false);
                    self.end(node, context);
                } else {
                    self.block_map(entries, context);
                }
            }
        }
    }

    fn behind(&mut self, context: Context) {
        self.line(context.indent);
        self.foot(context.indent);
    }

    /// The comments at the end of a collection in brackets.
    fn end(&mut self, node: &Styled, context: Context) {
        node.comments.line.clone_into(&mut self.waiting.line);
        node.comments.foot.clone_into(&mut self.waiting.foot);
        self.behind(context);
    }

    fn tag(&mut self, tag: Option<&str>) {
        let Some(tag) = tag else { return };
        let shown = match tag.strip_prefix(TAG_PREFIX) {
            Some(name) => format!("!!{name}"),
            None if tag.starts_with('!') => tag.to_owned(),
            None => format!("!<{tag}>"),
        };
        self.writer.indicator(&shown, true, false, false);
    }

    fn block_list(&mut self, items: &[Styled], context: Context) {
        let compact = context.mapping && (self.writer.column == 0 || !self.writer.indention);
        let indent = context
            .indent
            .map_or(0, |outer| if compact { outer } else { outer + INDENT });
        let inner = Context {
            indent: Some(indent),
            mapping: false,
            simple_key: false,
            flow: false,
        };
        for item in items {
            self.await_comments(item);
            self.head(Some(indent));
            self.writer.line_start(indent);
            self.writer.indicator("-", true, false, true);
            self.node(item, inner);
        }
    }

    fn block_map(&mut self, entries: &[(Styled, Styled)], context: Context) {
        let indent = context.indent.map_or(0, |outer| outer + INDENT);
        let inner = Context {
            indent: Some(indent),
            mapping: true,
            simple_key: false,
            flow: false,
        };
        let mut tail = String::new();
        for (key, value) in entries {
            self.await_comments(key);
            self.tail = std::mem::replace(&mut tail, std::mem::take(&mut self.waiting.foot));
            self.head(Some(indent));
            self.writer.line_start(indent);
            if !self.waiting.line.is_empty() {
                self.key_line = std::mem::take(&mut self.waiting.line);
            }
            self.key(key, inner);
            self.await_comments(value);
            match &value.content {
                Content::Scalar(_) if self.waiting.line.is_empty() => {
                    self.waiting.line = std::mem::take(&mut self.key_line);
                }
                Content::List { flow: false, .. } | Content::Map { flow: false, .. } if !self.key_line.is_empty() => {
                    let line = std::mem::take(&mut self.key_line);
                    let waiting = std::mem::replace(&mut self.waiting.line, line);
                    self.line(Some(indent));
                    self.waiting.line = waiting;
                }
                _ => {}
            }
            self.node(value, inner);
        }
        self.tail = tail;
        self.head(Some(indent));
    }

    /// Writes a key and its colon. One that cannot stand in front of a colon gets a question mark, and in a block the colon a line
    /// of its own.
    fn key(&mut self, key: &Styled, context: Context) {
        if is_simple(key) {
            let context = Context {
                simple_key: true,
                ..context
            };
            self.node(key, context);
            self.writer.indicator(":", false, false, false);
            return;
        }
        let block = !context.flow;
        self.writer.indicator("?", true, false, block);
        self.node(key, context);
        if block {
            self.writer.line_start(context.indent.unwrap_or(0));
        }
        self.writer.indicator(":", true, false, block);
    }

    fn flow_list(&mut self, items: &[Styled], context: Context) {
        let inner = self.open("[", context);
        let mut separated = true;
        for item in items {
            if !separated {
                self.writer.indicator(",", false, false, false);
            }
            self.await_comments(item);
            self.flow_start(inner);
            separated = self.flow_part(item, inner);
        }
        self.writer.indicator("]", false, false, false);
    }

    /// Writes all but the closing brace. The result is whether nothing or a comma was written last.
    fn flow_map(&mut self, entries: &[(Styled, Styled)], context: Context) -> bool {
        let inner = self.open("{", context);
        let mut separated = true;
        for (key, value) in entries {
            if !separated {
                self.writer.indicator(",", false, false, false);
            }
            self.await_comments(key);
            self.flow_start(inner);
            self.key(key, inner);
            self.await_comments(value);
            separated = self.flow_part(value, inner);
        }
        separated
    }

    /// Writes what is above a part of a collection in brackets.
    fn flow_start(&mut self, context: Context) {
        self.head(context.indent);
        if self.writer.column == 0 {
            self.writer.line_start(context.indent.unwrap_or(0));
        }
    }

    /// Writes an item or a value in brackets; a comma comes in front of its comments. The result is whether it did.
    fn flow_part(&mut self, node: &Styled, context: Context) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        self.node(node, context);
        self.waiting = waiting;
        let commented = !(self.waiting.line.is_empty() && self.waiting.foot.is_empty());
        if commented {
            self.writer.indicator(",", false, false, false);
        }
        self.behind(context);
        commented
    }

    fn open(&mut self, bracket: &str, context: Context) -> Context {
        self.writer.indicator(bracket, true, true, false);
        Context {
            indent: Some(context.indent.map_or(INDENT, |outer| outer + INDENT)),
            mapping: true,
            simple_key: false,
            flow: true,
        }
    }

    fn scalar(&mut self, scalar: &StyledScalar, tag: Option<&str>, context: Context) {
        let text = scalar.text.as_str();
        let mut force_quotes = false;
        match (tag, scalar.kind) {
            (Some(tag), _) => self.tag(Some(tag)),
            (None, None) => {}
            (None, Some(ScalarKind::Str)) => {
                force_quotes = scalar.quoting == Quoting::Plain && ScalarKind::of(text) != ScalarKind::Str;
            }
            // A merge key is told from text by its tag alone.
            (None, Some(kind)) if kind != ScalarKind::Merge && ScalarKind::of(text) == kind => {}
            (None, Some(kind)) => self.writer.indicator(kind.tag(), true, false, false),
        }
        let facts = Facts::of(text, true);
        let wanted = match scalar.quoting {
            Quoting::Plain if text.contains('\n') => Quoting::Literal,
            Quoting::Plain if force_quotes => Quoting::Double,
            other => other,
        };
        let plain = if context.flow { facts.flow_plain } else { facts.plain };
        let no_plain = !plain || (text.is_empty() && (context.flow || context.simple_key));
        let no_block = !facts.block || context.flow || context.simple_key;
        let style = match wanted {
            _ if context.simple_key && facts.multiline => Quoting::Double,
            Quoting::Plain | Quoting::Single if !facts.single_quoted && (wanted == Quoting::Single || no_plain) => {
                Quoting::Double
            }
            Quoting::Plain if no_plain => Quoting::Single,
            Quoting::Literal | Quoting::Folded if no_block => Quoting::Double,
            other => other,
        };
        let indent = context.indent.map_or(INDENT, |outer| outer + INDENT);
        match style {
            Quoting::Plain => self.writer.plain(text, context.indent, context.simple_key),
            Quoting::Single => self.writer.single_quoted(text, indent, !context.simple_key),
            Quoting::Double => self.writer.double_quoted(text, indent, !context.simple_key),
            Quoting::Literal | Quoting::Folded => {
                self.writer
                    .block_start(if style == Quoting::Literal { '|' } else { '>' }, text);
                if self.waiting.line.is_empty() {
                    self.line_end();
                } else {
                    self.line(Some(indent));
                }
                if style == Quoting::Literal {
                    self.writer.literal_lines(text, indent);
                } else {
                    self.writer.folded_lines(text, indent);
                }
            }
        }
    }
}

/// Whether a key can stand in front of a colon without more.
fn is_simple(key: &Styled) -> bool {
    let anchor = key.anchor.as_ref().map_or(0, String::len);
    let tag = key.tag.as_ref().map_or(0, String::len);
    match &key.content {
        Content::Scalar(scalar) => {
            !Facts::of(&scalar.text, true).multiline && anchor + tag + scalar.text.len() <= SIMPLE_KEY_BYTES
        }
        Content::Alias(name) => name.len() <= SIMPLE_KEY_BYTES,
        Content::List { items, .. } => items.is_empty(),
        Content::Map { entries, .. } => entries.is_empty(),
    }
}
