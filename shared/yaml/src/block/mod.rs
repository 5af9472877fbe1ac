//! The short way from text to tree for what nearly all manifests are made of: blocks of keys and lists, words, quoted words,
//! `|` blocks and brackets around single words, in ASCII. It takes a fraction of the time of the whole grammar.
//!
//! It answers only where it is sure. Whatever else is in a document (anchors, tags, folded blocks, escapes, unusual keys,
//! mistakes of any kind), the whole document is read the long way, which is also where all errors come from.
//! Both ways give the same tree; fuzzing compares them.

mod flow;

use flow::Flow;

use crate::{
    Dialect, Node, Position, Value,
    mapping::{Entries, MERGE},
    resolve,
};

/// Deeper nesting is left to the long way, which knows the limit.
const MAX_DEPTH: usize = 64;

/// The document of `text` whose first line has `first_line` lines before it; none when it has to be read the long way.
pub(crate) fn read(text: &str, first_line: usize) -> Option<Node> {
    let known = |c: u8| c == b'\n' || (b' '..=b'~').contains(&c);
    if !text.ends_with('\n') || !text.bytes().all(known) {
        return None;
    }
    let (rest, line) = match text.strip_prefix("---\n") {
        Some(rest) => (rest, first_line + 1),
        None => (text, first_line),
    };
    let mut reader = Reader {
        rest,
        line,
        inner: None,
    };
    let root = reader.peek()?;
    let node = reader.block(root, 0)?;
    reader.peek().is_none().then_some(node)
}

/// A line with content, or the part of it that stands behind a dash.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// Characters before the content.
    indent: usize,
    /// The content.
    text: &'a str,
    /// Lines before this one.
    number: usize,
}

impl Line<'_> {
    /// The place of a byte of the content.
    fn position(&self, offset: usize) -> Position {
        Position {
            line: self.number + 1,
            column: self.indent + offset + 1,
        }
    }

    fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

struct Reader<'a> {
    /// What has not been read, from the start of a line.
    rest: &'a str,
    /// Lines before that.
    line: usize,
    /// What stands behind a dash and comes before the rest.
    inner: Option<Line<'a>>,
}

impl<'a> Reader<'a> {
    /// The next line as it stands, and what comes behind it.
    fn split(&self) -> Option<(&'a str, &'a str)> {
        self.rest.split_once('\n')
    }

    fn skip_line(&mut self) {
        self.rest = self.split().map_or("", |(_, rest)| rest);
        self.line += 1;
    }

    /// The next line with content, which stays the next.
    fn peek(&mut self) -> Option<Line<'a>> {
        if self.inner.is_some() {
            return self.inner;
        }
        while let Some((line, _)) = self.split() {
            let text = line.trim_start_matches(' ');
            if !text.is_empty() && !text.starts_with('#') {
                return Some(Line {
                    indent: line.len() - text.len(),
                    text,
                    number: self.line,
                });
            }
            self.skip_line();
        }
        None
    }

    fn block(&mut self, first: Line<'a>, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let value = if first.is_item() {
            self.list(first.indent, depth)?
        } else {
            self.mapping(first.indent, depth)?
        };
        Some(Node {
            position: first.position(0),
            value,
        })
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut entries = Entries::default();
        while let Some(line) = self.peek().filter(|line| line.indent >= indent) {
            if line.indent > indent || line.is_item() {
                return None;
            }
            let (name, colon) = key(line.text)?;
            if entries.find(name).is_some() {
                return None;
            }
            self.take(line);
            let after = &line.text[colon + 1..];
            let value = after.trim_start_matches(' ');
            let start = line.text.len() - value.len();
            let value = if value.is_empty() || (value.starts_with('#') && start > colon + 1) {
                self.below(line, colon + 1, depth)?
            } else {
                Node {
                    position: line.position(start),
                    value: self.inline(line, start, indent)?,
                }
            };
            let key = Node {
                position: line.position(0),
                value: Value::Str(name.to_owned()),
            };
            entries.add((key, value));
        }
        Some(Value::Map(entries.into_list()))
    }

    fn list(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent >= indent) {
            if line.indent > indent {
                return None;
            }
            if !line.is_item() {
                break;
            }
            let text = line.text[1..].trim_start_matches(' ');
            let start = line.text.len() - text.len();
            let inner = Line {
                indent: indent + start,
                text,
                number: line.number,
            };
            if text.is_empty() || text.starts_with('#') || inner.is_item() {
                return None;
            }
            if key(text).is_some() {
                self.inner = Some(inner);
                items.push(self.block(inner, depth + 1)?);
            } else {
                self.take(line);
                items.push(Node {
                    position: inner.position(0),
                    value: self.inline(inner, 0, indent)?,
                });
            }
        }
        Some(Value::Seq(items))
    }

    /// Goes behind the line that [`Reader::peek`] showed, as a whole or as what stands behind its dash.
    fn take(&mut self, line: Line<'a>) {
        self.inner = None;
        if self.line == line.number {
            self.skip_line();
        }
    }

    /// The value of a key that has nothing behind its colon.
    fn below(&mut self, key: Line<'a>, behind: usize, depth: usize) -> Option<Node> {
        match self.peek() {
            Some(line) if line.indent > key.indent || (line.indent == key.indent && line.is_item()) => {
                self.block(line, depth + 1)
            }
            _ => Some(Node {
                position: key.position(behind),
                value: Value::Null,
            }),
        }
    }

    /// What starts at a place of a line, in a block of this indent.
    fn inline(&mut self, line: Line<'a>, start: usize, indent: usize) -> Option<Value> {
        let text = &line.text[start..];
        match text.as_bytes().first()? {
            b'|' => self.literal(text, indent),
            b'\'' => single_quoted(text),
            b'"' => double_quoted(text),
            b'{' | b'[' => {
                let mut flow = Flow::new(line, start);
                let node = flow.node(0)?;
                is_end(flow.rest()).then_some(node.value)
            }
            b'&' | b'*' | b'!' | b'>' | b'%' | b'@' | b'`' | b'}' | b']' | b',' | b'#' | b'?' | b':' => None,
            b'-' if text == "-" || text.starts_with("- ") => None,
            _ => self.plain(text, indent),
        }
    }

    fn plain(&mut self, text: &'a str, indent: usize) -> Option<Value> {
        let (first, mut ended) = words(text)?;
        let mut more: Option<String> = None;
        while !ended {
            // Lines that are indented more go on with the text; empty ones between them are breaks.
            let (mut rest, mut empty) = (self.rest, 0);
            let next = loop {
                let Some((line, behind)) = rest.split_once('\n') else {
                    break None;
                };
                let text = line.trim_start_matches(' ');
                if !text.is_empty() {
                    break (line.len() - text.len() > indent && !text.starts_with('#')).then_some((text, behind));
                }
                (rest, empty) = (behind, empty + 1);
            };
            let Some((text, behind)) = next else { break };
            let more = more.get_or_insert_with(|| first.to_owned());
            if empty == 0 {
                more.push(' ');
            }
            more.extend(std::iter::repeat_n('\n', empty));
            let (text, commented) = words(text)?;
            more.push_str(text);
            ended = commented;
            self.rest = behind;
            self.line += empty + 1;
        }
        Some(match more {
            Some(text) => resolve::plain(&text, Dialect::V3),
            None if resolve::is_text(first) => Value::Str(first.to_owned()),
            None => resolve::plain(first, Dialect::V3),
        })
    }

    fn literal(&mut self, header: &str, indent: usize) -> Option<Value> {
        let (keep, strip) = match header.trim_end_matches(' ') {
            "|" => (false, false),
            "|-" => (false, true),
            "|+" => (true, false),
            _ => return None,
        };
        let mut out = String::new();
        let (mut empty, mut inner) = (0, None);
        while let Some((line, _)) = self.split() {
            let text = line.trim_start_matches(' ');
            if text.is_empty() {
                // Spaces may be content, or say how far the block is indented.
                if line.len() > inner.unwrap_or(0) {
                    return None;
                }
                empty += 1;
                self.skip_line();
                continue;
            }
            let found = line.len() - text.len();
            let inner = *inner.get_or_insert(found);
            if inner <= indent {
                return None;
            }
            if found < inner {
                break;
            }
            if !out.is_empty() {
                out.push('\n');
            }
            out.extend(std::iter::repeat_n('\n', empty));
            out.push_str(&line[inner..]);
            empty = 0;
            self.skip_line();
        }
        if out.is_empty() {
            return None;
        }
        if !strip {
            out.push('\n');
        }
        if keep {
            out.extend(std::iter::repeat_n('\n', empty));
        }
        Some(Value::Str(out))
    }
}

/// Whether a character can be anywhere in a word.
fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"_-./$".contains(&c)
}

/// Whether a word is text and no number, boolean, null or time.
fn is_name(word: &str) -> bool {
    resolve::is_text(word)
        || (matches!(resolve::plain(word, Dialect::V3), Value::Str(_)) && !resolve::is_timestamp(word))
}

/// The key at the start of a line and the place of its colon.
fn key(text: &str) -> Option<(&str, usize)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (name, colon) = match quote {
        Some(quote) => {
            let end = text[1..].find(quote)? + 1;
            let name = &text[1..end];
            if name.contains('\\') || name == MERGE {
                return None;
            }
            (name, end + 1)
        }
        None => {
            let end = text.bytes().position(|c| !is_word(c))?;
            let name = &text[..end];
            if name.is_empty() || name.starts_with('-') || !is_name(name) {
                return None;
            }
            (name, end)
        }
    };
    let after = text[colon..].strip_prefix(':')?;
    // A key that is looked for too long is none.
    ((after.is_empty() || after.starts_with(' ')) && colon < 1000).then_some((name, colon))
}

/// A line of plain text without the spaces at its end, and whether a comment ended it.
fn words(text: &str) -> Option<(&str, bool)> {
    let (text, commented) = match text.find(" #") {
        Some(at) => (&text[..at], true),
        None => (text, false),
    };
    let text = text.trim_end_matches(' ');
    let odd = text.ends_with(':') || text.contains(": ");
    (!odd).then_some((text, commented))
}

/// Whether nothing of meaning stands behind a quoted text.
fn is_end(text: &str) -> bool {
    let rest = text.trim_start_matches(' ');
    rest.is_empty() || (rest.starts_with('#') && rest.len() < text.len())
}

fn single_quoted(text: &str) -> Option<Value> {
    let mut out = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        out.push_str(part);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                out.push('\'');
                rest = behind;
            }
            None => return is_end(behind).then_some(Value::Str(out)),
        }
    }
}

fn double_quoted(text: &str) -> Option<Value> {
    let (inner, behind) = text.strip_prefix('"')?.split_once('"')?;
    (!inner.contains('\\') && is_end(behind)).then(|| Value::Str(inner.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::parse::long_way;

    /// Reads a text both ways; `short` is whether the short one answers.
    fn check(text: &str, short: bool) {
        let found = super::read(text, 3);
        assert_eq!(found.is_some(), short, "{text}");
        if let Some(found) = found {
            assert_eq!(
                long_way(text, 3, crate::quotes::mark(text).1, None).unwrap(),
                Some(found),
                "{text}"
            );
        }
    }

    #[test]
    fn ordinary_blocks_are_read() {
        check(
            "a: 1\nb:\n  c: x\n  d:\n  - e\n  - f: g\n    h: 2001-12-14\n  -  i\nj:\n",
            true,
        );
        check("# head\n---\n", false);
        check("---\na: b # comment\n# more\nc: # comment\n  d: e#f\n", true);
        check("- a\n- b: c\n", true);
        check("a:\n- 'it''s' # x\n- \"two words\"\n- -1\n- {}\n- []\n", true);
        check("\"a b\": 1\n'c': 2\n10.conf: 3\n$x: 4\n", true);
        check("a: one\n  two\n\n  three\nb: 1\n   2\n", true);
        check("a:\n    b: c\n    d: e\nf: g\n", true);
        check("  a: b\n  c: d\n", true);
        check("a:   \n  b:   x   \n", true);
        check("a: http://x:80/y?z=1,2\nb: x - y\nc: a:b\n", true);
    }

    #[test]
    fn brackets_in_one_line_are_read() {
        check("a: {}\nb: []\nc: [ ]\nd: { }\n", true);
        check("a: {b: c, d: [1, x/y, 'z w', \"q\"], e: {f: 2001-12-14}}\n", true);
        check("- {a: b}\n- [c, -1]\n- [[d], {e: f}]  # comment\n", true);
        for text in [
            "a: {b}\n",
            "a: {b:}\n",
            "a: {b: }\n",
            "a: {b: c,}\n",
            "a: [b c]\n",
            "a: [b, c\n",
            "a: [x:y]\n",
            "a: {b: c, b: d}\n",
            "a: {1: c}\n",
            "a: {\"b\":c}\n",
            "a: {b: c} d\n",
            "a: [b]: c\n",
            "a: [-]\n",
            "a: ['b''c']\n",
            "a: [*b]\n",
            "a: [b: c]\n",
            "a: [, b]\n",
            "{a: b}\n",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn literal_blocks_are_read() {
        check(
            "a: |\n  one\n\n   two\nb: |-\n  x\n\n\nc: |+\n  y\n\n\nd: |\n\n  z\n",
            true,
        );
        check("a:\n- |\n  x\n- b: |-\n    y\n  c: d\n", true);
        check("a: |\n  x\n # comment\nb: c\n", true);
        check("a: |\n  # text\n", true);
        check("a: |\n  x\n    \n", false);
        check("a: |\nb: c\n", false);
        check("a: |2\n   x\n", false);
    }

    #[test]
    fn everything_else_goes_the_long_way() {
        for text in [
            "",
            "\n",
            "a\n",
            "a: 1",
            "a: &x 1\n",
            "a: *x\n",
            "a: !!str 1\n",
            "a: >\n  b\n",
            "a: \"\\n\"\n",
            "1: a\n",
            "true: a\n",
            "2001-12-14: a\n",
            "a: b: c\n",
            "a:\n  b\n",
            "a: 1\na: 2\n",
            "? a\n",
            "a: 1\n b: 2\n",
            "a:\n b: 1\n  c: 2\n",
            "- - a\n",
            "-\n",
            "a: \u{e9}\n",
            "a:\tb\n",
            "a : b\n",
            "<<: {}\n",
            "'<<': {}\n",
            "a: {\"<<\": b}\n",
            "...\n",
            "%YAML 1.1\n",
            "a: 'b\n  c'\n",
            "a: \"b\"c\n",
            "a: b\n- c\n",
            "--- a\n",
            "a: b\n  c: d\n",
        ] {
            check(text, false);
        }
    }
}
