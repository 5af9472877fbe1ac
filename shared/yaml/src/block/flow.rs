//! Brackets within a line.

use super::{Line, MAX_DEPTH, is_name, is_word};
use crate::mapping::{Entries, MERGE};
use crate::{Dialect, Node, Value, resolve};

/// Brackets that end in the line they begin in.
pub(super) struct Flow<'a> {
    line: Line<'a>,
    /// The place in the line.
    at: usize,
}

impl<'a> Flow<'a> {
    /// The brackets that begin at a place of a line.
    pub fn new(line: Line<'a>, at: usize) -> Self {
        Self { line, at }
    }

    /// What comes next in the line.
    pub fn rest(&self) -> &'a str {
        &self.line.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }

    /// Goes behind a mark if it comes next, spaces aside.
    fn skip(&mut self, mark: char) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(mark);
        self.at += usize::from(found);
        found
    }

    /// The value that comes next, inside of `depth` others.
    pub fn node(&mut self, depth: usize) -> Option<Node> {
        self.skip_spaces();
        let position = self.line.position(self.at);
        let value = match self.rest().as_bytes().first()? {
            _ if depth > MAX_DEPTH => return None,
            b'{' => self.mapping(depth)?,
            b'[' => self.list(depth)?,
            b'"' | b'\'' => Value::Str(self.quoted()?.to_owned()),
            _ => resolve::plain(self.word()?, Dialect::V3),
        };
        Some(Node { position, value })
    }

    fn mapping(&mut self, depth: usize) -> Option<Value> {
        let mut entries = Entries::default();
        self.at += 1;
        if self.skip('}') {
            return Some(Value::Map(Vec::new()));
        }
        loop {
            self.skip_spaces();
            let position = self.line.position(self.at);
            let name = if self.rest().starts_with(['"', '\'']) {
                self.quoted()?
            } else {
                self.word().filter(|word| is_name(word))?
            };
            if entries.find(name).is_some() || name == MERGE || !self.rest().starts_with(": ") {
                return None;
            }
            self.at += 1;
            let key = Node {
                position,
                value: Value::Str(name.to_owned()),
            };
            entries.add((key, self.node(depth + 1)?));
            if self.skip('}') {
                return Some(Value::Map(entries.into_list()));
            }
            if !self.skip(',') {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.at += 1;
        if self.skip(']') {
            return Some(Value::Seq(items));
        }
        loop {
            items.push(self.node(depth + 1)?);
            if self.skip(']') {
                return Some(Value::Seq(items));
            }
            if !self.skip(',') {
                return None;
            }
        }
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest[1..].find(rest.chars().next()?)? + 1;
        self.at += end + 1;
        let inner = &rest[1..end];
        // What follows may be the second half of a doubled quote.
        (!inner.contains('\\') && !self.rest().starts_with(['"', '\''])).then_some(inner)
    }

    /// A word that nothing but the end of the value follows.
    fn word(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest.bytes().position(|c| !is_word(c))?;
        let word = &rest[..end];
        self.at += end;
        let next = rest[end..].trim_start_matches(' ').as_bytes().first()?;
        (!word.is_empty() && word != "-" && matches!(next, b',' | b'}' | b']' | b':')).then_some(word)
    }
}
