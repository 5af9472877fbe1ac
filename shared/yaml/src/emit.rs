//! Writing: one JSON value in, the text that Go's YAML writer would print out.
//!
//! The rules are those of the libyaml family of writers with Go's settings: block style, indent 2, lists not indented
//! under their key, lines broken at the first space behind column 80, plain text where a reader would take it for text.
//! A [`Writer`] carries the same three facts about the line being written as those writers do (column, whether it ends
//! in whitespace, whether it holds only indentation), since the folding and indenting rules are defined by them.

use std::borrow::Cow;

use serde_json::Value;

use crate::style::{Style, is_break, is_printable, is_simple_key, style};
use crate::{number, order};

const INDENT: usize = 2;
const WIDTH: usize = 80;

/// `value` as one YAML document, byte for byte as `kustomize build` and sigs.k8s.io/yaml print it; ends with a newline.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer::new(WIDTH);
    writer.node(value, None, false);
    writer.line_start(0);
    writer.out
}

/// All `values` as one text: documents joined by `---` lines.
pub fn to_string_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut all = String::new();
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            all.push_str("---\n");
        }
        all.push_str(&to_string(value));
    }
    all
}

/// A text being written.
pub(crate) struct Writer {
    /// What is written.
    pub out: String,
    /// Characters on the current line.
    pub column: usize,
    /// The line ends in whitespace (or is empty).
    pub whitespace: bool,
    /// The line holds nothing but indentation and list dashes.
    pub indention: bool,
    /// The indent at which a comment ended what came before: an empty line follows when the next line has it too.
    pub foot: Option<usize>,
    /// Behind this column lines are folded.
    width: usize,
}

impl Writer {
    /// Nothing written yet; lines are folded behind `width` characters.
    pub fn new(width: usize) -> Self {
        Self {
            out: String::new(),
            column: 0,
            whitespace: true,
            indention: true,
            foot: None,
            width,
        }
    }

    /// Writes a value. `indent` is that of the enclosing collection, none at the root.
    fn node(&mut self, value: &Value, indent: Option<usize>, in_mapping: bool) {
        match value {
            Value::Null => self.plain("null", indent, false),
            Value::Bool(b) => self.plain(if *b { "true" } else { "false" }, indent, false),
            Value::Number(n) => self.plain(&number::text(n), indent, false),
            Value::String(text) => self.scalar(text, indent, false),
            Value::Array(items) if items.is_empty() => self.empty("[", "]"),
            Value::Object(map) if map.is_empty() => self.empty("{", "}"),
            Value::Array(items) => {
                // Under a key the dashes stand in the key's own column.
                let compact = in_mapping && !self.indention;
                let indent = indent.map_or(0, |outer| if compact { outer } else { outer + INDENT });
                for item in items {
                    self.line_start(indent);
                    self.indicator("-", true, false, true);
                    self.node(item, Some(indent), false);
                }
            }
            Value::Object(map) => {
                let indent = indent.map_or(0, |outer| outer + INDENT);
                for key in order::sort_keys(map.keys().collect()) {
                    self.line_start(indent);
                    let simple = is_simple_key(key);
                    if !simple {
                        self.indicator("?", true, false, true);
                    }
                    self.scalar(key, Some(indent), simple);
                    if simple {
                        self.indicator(":", false, false, false);
                    } else {
                        self.line_start(indent);
                        self.indicator(":", true, false, true);
                    }
                    self.node(&map[key.as_str()], Some(indent), true);
                }
            }
        }
    }

    fn empty(&mut self, open: &str, close: &str) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn scalar(&mut self, text: &str, outer: Option<usize>, simple_key: bool) {
        let text = &*through_json(text);
        let indent = outer.map_or(INDENT, |outer| outer + INDENT);
        match style(text, simple_key) {
            Style::Plain => self.plain(text, outer, simple_key),
            Style::SingleQuoted => self.single_quoted(text, indent, !simple_key),
            Style::DoubleQuoted => self.double_quoted(text, indent, !simple_key),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Writes a character that is no line break.
    pub fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    /// Writes a line break.
    pub fn line_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
    }

    /// Goes to column `indent` of a line that holds nothing else: this one if it does not, else the next.
    pub fn line_start(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break('\n');
        }
        if self.foot.take() == Some(indent) {
            self.line_break('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    /// Writes punctuation: whether it needs white space in front, is white space, and leaves an indentation one.
    pub fn indicator(&mut self, text: &str, need_whitespace: bool, is_whitespace: bool, is_indention: bool) {
        if need_whitespace && !self.whitespace {
            self.put(' ');
        }
        text.chars().for_each(|c| self.put(c));
        self.whitespace = is_whitespace;
        self.indention = self.indention && is_indention;
    }

    /// Writes a scalar without quotes inside a collection of this indent.
    pub fn plain(&mut self, text: &str, outer: Option<usize>, simple_key: bool) {
        let indent = outer.map_or(INDENT, |outer| outer + INDENT);
        if !text.is_empty() {
            if !self.whitespace {
                self.put(' ');
            }
            if text.is_ascii() && !text.contains([' ', '\n', '\r']) {
                self.out.push_str(text);
                self.column += text.len();
            } else {
                self.folded_line(text, indent, |_| !simple_key, |writer, c| writer.put(c));
            }
            self.whitespace = false;
        }
        self.indention = false;
    }

    /// Writes a scalar in single quotes; its further lines have this indent.
    pub fn single_quoted(&mut self, text: &str, indent: usize, may_fold: bool) {
        self.indicator("'", true, false, false);
        let last = text.len().saturating_sub(1);
        self.folded_line(
            text,
            indent,
            |at| may_fold && at > 0 && at < last,
            |writer, c| {
                if c == '\'' {
                    writer.put('\'');
                }
                writer.put(c);
            },
        );
        self.indicator("'", false, false, false);
    }

    /// Text that may go on in the next line: at a single space behind the margin, and at line breaks of its own.
    fn folded_line(
        &mut self,
        text: &str,
        indent: usize,
        may_fold_at: impl Fn(usize) -> bool,
        put: impl Fn(&mut Self, char),
    ) {
        let (mut spaces, mut breaks) = (false, false);
        for (at, c) in text.char_indices() {
            if c == ' ' {
                let more = text[at + 1..].starts_with(' ');
                if may_fold_at(at) && !spaces && self.column > self.width && !more {
                    self.line_start(indent);
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else if is_break(c) {
                if !breaks && c == '\n' {
                    self.line_break('\n');
                }
                self.line_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.line_start(indent);
                }
                put(self, c);
                self.indention = false;
                (spaces, breaks) = (false, false);
            }
        }
    }

    /// Writes a scalar in double quotes; its further lines have this indent.
    pub fn double_quoted(&mut self, text: &str, indent: usize, may_fold: bool) {
        self.indicator("\"", true, false, false);
        // Go asks whether the text starts with a byte order mark where it means this character: then all are escaped.
        let all = text.starts_with('\u{FEFF}');
        let last = text.len().saturating_sub(1);
        let mut spaces = false;
        for (at, c) in text.char_indices() {
            if all || !is_printable(c) || is_break(c) || matches!(c, '"' | '\\') {
                self.escape(c);
                spaces = false;
            } else if c == ' ' {
                if may_fold && !spaces && self.column > self.width && at > 0 && at < last {
                    self.line_start(indent);
                    if text[at + 1..].starts_with(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                self.put(c);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{B}' => 'v',
            '\u{C}' => 'f',
            '\r' => 'r',
            '\u{1B}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{A0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(c);
                let escaped = match code {
                    0..=0xFF => format!("\\x{code:02X}"),
                    0x100..=0xFFFF => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                escaped.chars().for_each(|c| self.put(c));
                return;
            }
        };
        self.put('\\');
        self.put(short);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.block_start('|', text);
        self.line_break('\n');
        self.literal_lines(text, indent);
    }

    /// Writes what stands in the first line of a block scalar.
    pub fn block_start(&mut self, style: char, text: &str) {
        self.indicator(style.encode_utf8(&mut [0; 4]), true, false, false);
        block_hints(text).chars().for_each(|c| self.put(c));
    }

    /// Writes the lines of a `|` block.
    pub fn literal_lines(&mut self, text: &str, indent: usize) {
        self.block_lines(text, indent, |_, _, _| false);
    }

    /// Writes the lines of a `>` block without folding any.
    pub fn folded_lines(&mut self, text: &str, indent: usize) {
        // The writer looks for the first character that is no break from the start of the text, not from where it
        // stands, so what it decides at a break depends on that character alone.
        let first = text.chars().find(|c| !is_break(*c));
        let doubles = first.is_some_and(|c| !matches!(c, ' ' | '\t' | '\0'));
        self.block_lines(text, indent, |c, breaks, leading| {
            !breaks && !leading && c == '\n' && doubles
        });
    }

    /// Writes the lines of a block; `doubled` decides about a break by itself, whether one came just before, and whether
    /// its line started with white space.
    fn block_lines(&mut self, text: &str, indent: usize, doubled: impl Fn(char, bool, bool) -> bool) {
        self.indention = true;
        self.whitespace = true;
        let (mut breaks, mut leading) = (true, true);
        for c in text.chars() {
            if is_break(c) {
                if doubled(c, breaks, leading) {
                    self.line_break('\n');
                }
                self.line_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.line_start(indent);
                    leading = matches!(c, ' ' | '\t');
                }
                self.put(c);
                self.indention = false;
                breaks = false;
            }
        }
    }
}

/// What stands behind the `|` or `>` of a block scalar: the indent if the text starts with white space, and what to do
/// with the line breaks at its end.
pub(crate) fn block_hints(text: &str) -> String {
    let mut hints = String::new();
    if text.starts_with(|c| c == ' ' || is_break(c)) {
        hints.push('2');
    }
    let mut ends = text.chars().rev();
    let (last, before) = (ends.next(), ends.next());
    if !last.is_some_and(is_break) {
        hints.push('-');
    } else if before.is_none_or(is_break) {
        hints.push('+');
    }
    hints
}

/// What kustomize makes of a string that it writes as JSON and reads as YAML, which it does wherever it hands something on.
/// One character suffers: U+0085 is a line break in YAML but not escaped in JSON, so it is folded: one becomes a space, more
/// become line feeds, blanks around are lost.
pub fn through_json(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{85}') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find([' ', '\u{85}']) {
        out.push_str(&rest[..at]);
        let run_end = rest[at..]
            .find(|c| !matches!(c, ' ' | '\u{85}'))
            .map_or(rest.len(), |length| at + length);
        let run = &rest[at..run_end];
        match run.matches('\u{85}').count() {
            0 => out.push_str(run),
            1 => out.push(' '),
            breaks => out.extend(std::iter::repeat_n('\n', breaks - 1)),
        }
        rest = &rest[run_end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, expected: &str) {
        assert_eq!(to_string(&value), expected);
    }

    #[test]
    fn lists_stand_in_the_column_of_their_key() {
        check(
            json!({"a": [{"b": 1, "c": [1, 2]}, [3, [4]], {}, []]}),
            "a:\n- b: 1\n  c:\n  - 1\n  - 2\n- - 3\n  - - 4\n- {}\n- []\n",
        );
        check(
            json!({"a": {}, "b": {"c": {"d": null}}}),
            "a: {}\nb:\n  c:\n    d: null\n",
        );
    }

    #[test]
    fn text_is_quoted_only_where_it_must_be() {
        check(
            json!([
                "yes", "1", "", "a: b", "@x", "it's", "- x", "-x", "a #b", "a#b", "---", "tab\t", " x", "x:"
            ]),
            "- \"yes\"\n- \"1\"\n- \"\"\n- 'a: b'\n- '@x'\n- it's\n- '- x'\n- -x\n- 'a #b'\n- a#b\n- '---'\n- \"tab\\t\"\n- ' x'\n- 'x:'\n",
        );
    }

    #[test]
    fn text_of_several_lines_is_a_literal_block_where_possible() {
        check(json!({"a": "x\ny\n"}), "a: |\n  x\n  y\n");
        check(json!({"a": "x\ny"}), "a: |-\n  x\n  y\n");
        check(json!({"a": "x\n\n"}), "a: |+\n  x\n\n");
        check(json!({"a": "  x\ny"}), "a: |2-\n    x\n  y\n");
        check(json!({"a": "x \ny"}), "a: \"x \\ny\"\n");
        check(json!({"a": "x\ty\nz"}), "a: \"x\\ty\\nz\"\n");
        check(json!({"k\nl": 1}), "? |-\n  k\n  l\n: 1\n");
    }

    #[test]
    fn what_go_does_not_print_is_escaped() {
        check(
            json!(["\u{1F600}", "\u{FEFF}ab", "a\u{85}b", "\u{7F}", "é"]),
            "- \"\\U0001F600\"\n- \"\\uFEFF\\x61\\x62\"\n- a b\n- \"\\x7F\"\n- é\n",
        );
    }

    #[test]
    fn long_lines_are_folded_at_the_first_space_behind_the_margin() {
        let words = vec!["word"; 20].join(" ");
        let head = vec!["word"; 16].join(" ");
        check(json!({"a": words}), &format!("a: {head}\n  word word word word\n"));
        check(json!({ "k".repeat(129): 1 }), &format!("? {}\n: 1\n", "k".repeat(129)));
    }

    #[test]
    fn documents_are_joined_by_separators() {
        assert_eq!(to_string_all([&json!({"a": 1}), &json!({"b": 2})]), "a: 1\n---\nb: 2\n");
        assert_eq!(to_string_all([]), "");
    }
}
