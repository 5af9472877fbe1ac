//! `\'` in double quotes, which Go's libraries read as `'` and the parser refuses: the backslash becomes a mark that no other
//! character of the text is, and the mark is taken away or made a backslash again in what the parser reads. Lines and
//! columns stay what they are.

use std::borrow::Cow;

use libyaml_safer::ScalarStyle;

/// The characters a mark is chosen from: those that mean nothing to anybody.
const PRIVATE: std::ops::RangeInclusive<char> = '\u{E000}'..='\u{F8FF}';

/// What stands for the backslash of `\'`; none when there is none, or no character is left for it.
#[derive(Clone, Copy)]
pub(crate) struct Mark(Option<char>);

/// Puts a mark in the place of every backslash that escapes a `'`.
pub(crate) fn mark(text: &str) -> (Cow<'_, str>, Mark) {
    let unmarked = (Cow::Borrowed(text), Mark(None));
    if !text.contains("\\'") {
        return unmarked;
    }
    let used: std::collections::HashSet<char> = text.chars().filter(|c| PRIVATE.contains(c)).collect();
    let Some(mark) = PRIVATE.into_iter().find(|c| !used.contains(c)) else {
        return unmarked;
    };
    let mut marked = String::with_capacity(text.len() + 64);
    let mut escaping = false;
    for c in text.chars() {
        if escaping && c == '\'' {
            marked.pop();
            marked.push(mark);
        }
        escaping = c == '\\' && !escaping;
        marked.push(c);
    }
    (Cow::Owned(marked), Mark(Some(mark)))
}

impl Mark {
    /// The text of a scalar without marks: in double quotes the backslash was an escape, elsewhere it was itself.
    pub(crate) fn unmark(self, value: String, style: ScalarStyle) -> String {
        match self.0 {
            Some(mark) if value.contains(mark) => {
                let backslash = if style == ScalarStyle::DoubleQuoted { "" } else { "\\" };
                value.replace(mark, backslash)
            }
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, parse_json};

    fn check(text: &str, expected: Option<serde_json::Value>) {
        for dialect in [Dialect::V2, Dialect::V3] {
            let read = parse_json(text, dialect).ok().map(|mut read| read.remove(0).1);
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn an_escaped_quote_is_a_quote_in_double_quotes_alone() {
        use serde_json::json;
        check(
            r#"{a: "it\'s \\\'x\\'", b: it\'s, c: 'it\'}"#,
            Some(json!({"a": r"it's \'x\'", "b": r"it\'s", "c": r"it\"})),
        );
        check(
            "a: |\n  it\\'s\nb: >-\n  it\\'s\n",
            Some(json!({"a": "it\\'s\n", "b": "it\\'s"})),
        );
        check("\"\\'\": \"\u{E000}\\'\"", Some(json!({"'": "\u{E000}'"})));
        check("a: \"\\'\n  \\' \\q\"", None);
    }
}
