//! How a text is to be written: plain where a reader takes it for text, else in the quotes or the block that hold it.

use crate::{Quoting, resolve, through_json};

/// A longer key is written as `? key`.
const SIMPLE_KEY_BYTES: usize = 128;

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Literal,
}

/// What the characters of a text allow.
pub(crate) struct Facts {
    /// It has line breaks.
    pub multiline: bool,
    /// It needs no quotes.
    pub plain: bool,
    /// It needs no quotes in brackets.
    pub flow_plain: bool,
    /// Single quotes will do.
    pub single_quoted: bool,
    /// It can be a block.
    pub block: bool,
}

impl Facts {
    /// Looks at a text. `tabs` is whether blocks may hold tabs, as they may for yaml.v3.
    pub fn of(text: &str, tabs: bool) -> Self {
        if text.is_empty() {
            return Self {
                multiline: false,
                plain: true,
                flow_plain: false,
                single_quoted: true,
                block: false,
            };
        }
        let mut facts = Self {
            multiline: false,
            plain: true,
            flow_plain: true,
            single_quoted: true,
            block: true,
        };
        if text.starts_with("---") || text.starts_with("...") {
            facts.plain = false;
        }
        let blank = |c: char| c == ' ' || c == '\t';
        let (mut previous_space, mut previous_break, mut after_blank) = (false, false, true);
        for (at, c) in text.char_indices() {
            let rest = &text[at + c.len_utf8()..];
            let before_blank = rest.chars().next().is_none_or(blank);
            let indicator = match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | '-' if at == 0 => before_blank,
                ':' => before_blank,
                '#' => after_blank,
                _ => false,
            };
            if indicator {
                facts.plain = false;
            }
            if matches!(c, ':' | '?') || (at > 0 && matches!(c, ',' | '[' | ']' | '{' | '}')) {
                facts.flow_plain = false;
            }
            if !is_printable(c) {
                facts.plain = false;
                facts.single_quoted = false;
                facts.block &= tabs && c == '\t';
            }
            let edge = at == 0 || rest.is_empty();
            if c == ' ' {
                if edge {
                    facts.plain = false;
                }
                if rest.is_empty() {
                    facts.block = false;
                }
                if previous_break {
                    facts.plain = false;
                    facts.single_quoted = false;
                }
            } else if is_break(c) {
                facts.multiline = true;
                facts.plain = false;
                if previous_space {
                    facts.single_quoted = false;
                    facts.block = false;
                }
            }
            previous_space = c == ' ';
            previous_break = is_break(c);
            after_blank = blank(c) || is_break(c) || c == '\0';
        }
        facts.flow_plain &= facts.plain;
        facts
    }
}

/// Whether a key can stand in front of its colon, without a `?`.
pub(crate) fn is_simple_key(key: &str) -> bool {
    let key = through_json(key);
    key.len() <= SIMPLE_KEY_BYTES && (reads_plain(&key) || !Facts::of(&key, false).multiline)
}

/// Whether it can be seen at once that a text needs nothing but its characters, as most do.
fn reads_plain(text: &str) -> bool {
    resolve::is_text(text)
        && text.bytes().all(|c| matches!(c, b' '..=b'~') && c != b':' && c != b'#')
        && !text.ends_with(' ')
}

/// How a text is written that nobody has written in another way.
pub(crate) fn style(text: &str, simple_key: bool) -> Style {
    if reads_plain(text) {
        return Style::Plain;
    }
    let facts = Facts::of(text, false);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if resolve::needs_quotes(text) {
        Style::DoubleQuoted
    } else {
        Style::Plain
    };
    match wanted {
        _ if simple_key && facts.multiline => Style::DoubleQuoted,
        Style::Literal if facts.block && !simple_key => Style::Literal,
        Style::Plain if facts.plain => Style::Plain,
        Style::Plain if facts.single_quoted => Style::SingleQuoted,
        Style::Plain | Style::SingleQuoted | Style::DoubleQuoted | Style::Literal => Style::DoubleQuoted,
    }
}

/// Whether yaml.v3 can put `text` into a block scalar (`|` or `>`).
pub(crate) fn fits_block(text: &str) -> bool {
    Facts::of(text, true).block
}

/// Go's idea of printable stops at U+FFFD: what lies beyond is escaped.
pub(crate) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}') && c != '\u{FEFF}'
}

/// What ends a line.
pub(crate) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// How kustomize writes a string that nobody has written in another way.
pub fn quoting(text: &str) -> Quoting {
    match style(text, false) {
        Style::Plain => Quoting::Plain,
        Style::SingleQuoted => Quoting::Single,
        Style::DoubleQuoted => Quoting::Double,
        Style::Literal => Quoting::Literal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Quoting) {
        assert_eq!(quoting(text), expected, "{text:?}");
    }

    #[test]
    fn text_gets_the_quotes_it_needs() {
        check("a b", Quoting::Plain);
        check("a: b", Quoting::Single);
        check("no", Quoting::Double);
        check("\u{7}", Quoting::Double);
        check("a\nb", Quoting::Literal);
        check("a \nb", Quoting::Double);
    }

    #[test]
    fn keys_of_several_lines_or_many_bytes_are_not_simple() {
        assert!(is_simple_key("a: b"));
        assert!(!is_simple_key("a\nb"));
        assert!(!is_simple_key(&"k".repeat(SIMPLE_KEY_BYTES + 1)));
    }
}
