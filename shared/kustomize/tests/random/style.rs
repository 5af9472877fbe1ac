//! Writing values as YAML in one of the many ways in which people and programs write it.

use serde_json::Value;

use crate::dice::Dice;

/// A string that starts with this is written as it is, without quotes: whatever YAML makes of it.
const PLAIN: char = '\u{1}';

/// A plain scalar, written as it is.
pub fn plain(text: &str) -> Value {
    Value::String(format!("{PLAIN}{text}"))
}

/// One document, ending in a line break.
pub fn write(dice: &mut Dice, value: &Value) -> String {
    if dice.chance(4) {
        let mut text = json(value);
        text.push('\n');
        return text;
    }
    let playful = dice.chance(40);
    let mut writer = Writer {
        indent: if dice.chance(15) { 4 } else { 2 },
        list_indent: if dice.chance(30) { 2 } else { 0 },
        flow: if playful { dice.below(30) as u32 } else { 3 },
        quotes: if playful { 30 } else { 5 },
        comments: if playful { 6 } else { 0 },
        anchors: if playful && dice.chance(40) { 25 } else { 0 },
        shuffle: dice.chance(60),
        known: Vec::new(),
        names: 0,
        dice,
        out: String::new(),
    };
    writer.block(value, 0);
    writer.out
}

/// A value as JSON; what is plain becomes a string.
fn json(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let inner: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::String(key.clone()), json(value)))
                .collect();
            format!("{{{}}}", inner.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        Value::String(text) => Value::String(text.trim_start_matches(PLAIN).to_owned()).to_string(),
        other => other.to_string(),
    }
}

struct Writer<'a> {
    dice: &'a mut Dice,
    out: String,
    indent: usize,
    list_indent: usize,
    /// How often, in percent, a collection is written in braces or brackets.
    flow: u32,
    /// How often text is quoted that need not be.
    quotes: u32,
    comments: u32,
    anchors: u32,
    shuffle: bool,
    /// Anchors and what they stand for.
    known: Vec<(String, Value)>,
    /// How many anchors there were.
    names: usize,
}

impl Writer<'_> {
    fn pad(&mut self, columns: usize) {
        self.out.push_str(&" ".repeat(columns));
    }

    fn comment(&mut self) {
        if self.dice.chance(self.comments) {
            let text = self.dice.pick(&[" # a comment", " # key: value", "  # a, [b"]);
            self.out.push_str(text);
        }
    }

    fn comment_line(&mut self, column: usize) {
        if self.dice.chance(self.comments / 2) {
            self.pad(column);
            self.out.push_str("# a line of its own\n");
        }
        if self.dice.chance(self.comments / 4) {
            self.out.push('\n');
        }
    }

    /// Writes a collection, one entry a line, starting at the beginning of a line; a scalar with its line break.
    fn block(&mut self, value: &Value, column: usize) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.shuffle {
                    self.dice.shuffle(&mut entries);
                }
                for (key, value) in entries {
                    self.comment_line(column);
                    self.pad(column);
                    self.entry(key, value, column);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    self.comment_line(column);
                    self.pad(column);
                    self.item(item, column);
                }
            }
            other => {
                self.pad(column);
                self.scalar(other, column, false);
                self.out.push('\n');
            }
        }
    }

    fn entry(&mut self, key: &str, value: &Value, column: usize) {
        self.key(key);
        self.out.push(':');
        let nested = column + self.indent;
        match value {
            Value::Object(entries) if !entries.is_empty() => self.nested(value, column, nested),
            Value::Array(items) if !items.is_empty() => self.nested(value, column, column + self.list_indent),
            scalar => {
                self.out.push(' ');
                self.anchored(scalar, nested);
                if scalar.is_string() || scalar.is_number() {
                    self.comment();
                }
                self.out.push('\n');
            }
        }
    }

    /// A collection behind its key.
    fn nested(&mut self, value: &Value, column: usize, nested: usize) {
        if let Some(name) = self.alias(value) {
            self.out.push_str(&format!(" *{name}\n"));
            return;
        }
        let anchor = self.anchor();
        if let Some(name) = &anchor {
            self.out.push_str(&format!(" &{name}"));
        }
        if self.dice.chance(self.flow) {
            self.out.push(' ');
            self.braces(value);
            self.out.push('\n');
        } else {
            // What follows the anchor has to be further in than the key.
            let nested = if anchor.is_some() {
                nested.max(column + 1)
            } else {
                nested
            };
            // No comment here: where a patch changes such a collection, kustomize writes YAML that it cannot read again.
            self.out.push('\n');
            self.block(value, nested);
        }
        self.remember(anchor, value);
    }

    fn item(&mut self, item: &Value, column: usize) {
        self.out.push_str("- ");
        match item {
            Value::Object(entries) if !entries.is_empty() => {
                if self.dice.chance(self.flow) {
                    self.braces(item);
                    self.out.push('\n');
                    return;
                }
                let mut entries: Vec<_> = entries.iter().collect();
                if self.shuffle {
                    self.dice.shuffle(&mut entries);
                }
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    if at > 0 {
                        self.pad(column + 2);
                    }
                    self.entry(key, value, column + 2);
                }
            }
            Value::Array(_) => {
                self.braces(item);
                self.out.push('\n');
            }
            scalar => {
                self.anchored(scalar, column + 2);
                self.comment();
                self.out.push('\n');
            }
        }
    }

    fn anchored(&mut self, scalar: &Value, column: usize) {
        if let Some(name) = self.alias(scalar) {
            self.out.push_str(&format!("*{name}"));
            return;
        }
        let anchor = if scalar.is_string() { self.anchor() } else { None };
        if let Some(name) = &anchor {
            self.out.push_str(&format!("&{name} "));
        }
        self.scalar(scalar, column, false);
        self.remember(anchor, scalar);
    }

    fn alias(&mut self, value: &Value) -> Option<String> {
        let known = self.known.iter().find(|(_, known)| known == value)?.0.clone();
        self.dice.chance(70).then_some(known)
    }

    fn anchor(&mut self) -> Option<String> {
        self.dice.chance(self.anchors).then(|| {
            self.names += 1;
            format!("a{}", self.names)
        })
    }

    fn remember(&mut self, anchor: Option<String>, value: &Value) {
        if let Some(name) = anchor {
            self.known.push((name, value.clone()));
        }
    }

    fn key(&mut self, key: &str) {
        if !is_safe(key) || self.dice.chance(self.quotes / 6) {
            self.quoted(key);
        } else {
            self.out.push_str(key);
        }
    }

    fn braces(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => {
                self.out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.key(key);
                    self.out.push_str(": ");
                    self.braces(value);
                }
                self.out.push('}');
            }
            Value::Array(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.braces(item);
                }
                self.out.push(']');
            }
            scalar => self.scalar(scalar, 0, true),
        }
    }

    /// A scalar that starts on the present line; what needs more lines has them at `column`.
    fn scalar(&mut self, value: &Value, column: usize, in_flow: bool) {
        let Value::String(text) = value else {
            self.out.push_str(&value.to_string());
            return;
        };
        if let Some(plain) = text.strip_prefix(PLAIN) {
            self.out.push_str(plain);
        } else if !in_flow && column > 0 && text.contains('\n') && is_printable(text) && self.dice.chance(80) {
            self.literal(text, column);
        } else if !in_flow && column > 0 && can_fold(text) && self.dice.chance(25) {
            self.folded(text, column);
        } else if is_safe(text) && !self.dice.chance(self.quotes) {
            self.out.push_str(text);
        } else {
            self.quoted(text);
        }
    }

    fn quoted(&mut self, text: &str) {
        if is_printable(text) && !text.contains('\n') && self.dice.chance(50) {
            self.out.push_str(&format!("'{}'", text.replace('\'', "''")));
        } else {
            // JSON's escapes are YAML's, but JSON leaves some characters as they are that YAML does not print.
            for c in Value::String(text.to_owned()).to_string().chars() {
                match c {
                    '\u{7f}' | '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{feff}' => {
                        self.out.push_str(&format!("\\u{:04x}", c as u32));
                    }
                    c => self.out.push(c),
                }
            }
        }
    }

    fn literal(&mut self, text: &str, column: usize) {
        let body = text.trim_end_matches('\n');
        if body.is_empty() {
            self.quoted(text);
            return;
        }
        let chomp = match text.len() - body.len() {
            0 => "-",
            1 => "",
            _ => "+",
        };
        // A first line that is empty or starts with a blank hides the indentation.
        let explicit = text.starts_with(' ') || text.starts_with('\n');
        self.out.push('|');
        if explicit {
            // Given relative to the parent, which is at most as deep as this.
            self.quoted_instead(text);
            return;
        }
        self.out.push_str(chomp);
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
        for line in lines {
            self.out.push('\n');
            if !line.is_empty() {
                self.pad(column);
                self.out.push_str(line);
            }
        }
    }

    /// Takes back the `|` that was written and quotes.
    fn quoted_instead(&mut self, text: &str) {
        self.out.pop();
        self.quoted(text);
    }

    fn folded(&mut self, text: &str, column: usize) {
        self.out.push_str(">-");
        for (at, word) in text.split(' ').enumerate() {
            if at % 6 == 0 {
                self.out.push('\n');
                self.pad(column);
            } else {
                self.out.push(' ');
            }
            self.out.push_str(word);
        }
    }
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| {
        c == '\n' || c == '\t' || (!c.is_control() && !matches!(c, '\u{a0}' | '\u{2028}' | '\u{feff}' | '\u{85}'))
    }) && !text.contains("\n\t")
        && !text.starts_with('\t')
}

/// Whether text can be broken at each blank.
fn can_fold(text: &str) -> bool {
    text.len() > 20
        && is_printable(text)
        && text.split(' ').all(|word| !word.is_empty())
        && !text.contains(['\n', '\t'])
}

/// Whether text is itself without quotes, in every version of YAML.
fn is_safe(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@' | '$' | '(' | ')' | '='))
        && !reserved.contains(&word.as_str())
}
