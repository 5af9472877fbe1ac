//! Regular expressions as kustomize reads them: in the syntax of Go's `regexp`.
//!
//! The crate `regex` has the same semantics, but not quite the same syntax: for Go a brace that is no repetition is itself
//! (`\${NAME}-app` names an object before its variables are set), `\d`, `\w`, `\s` and `\b` are about ASCII, and classes
//! have no set operations. So an expression is read by Go's rules here and written anew for the crate, every literal
//! escaped. Only whether it matches is asked for: groups are kept as groups, what they capture is not.

use std::borrow::Cow;
use std::fmt::Write;

use regex::Regex;

use crate::Error;

/// The most often a repetition may repeat.
const MAX_REPEAT: u32 = 1000;

/// Compiles an expression of Go.
///
/// # Errors
/// When Go would refuse it, or it becomes too large.
pub(crate) fn pattern(expression: &str) -> Result<Regex, Error> {
    let refuse = |why: &str| Error::new(format!("error parsing regexp '{expression}': {why}"));
    let translated = Translation::of(expression).map_err(|why| refuse(&why))?;
    Regex::new(&translated).map_err(|error| refuse(&error.to_string()))
}

/// What stands before a repetition.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// Nothing that could be repeated.
    Nothing,
    /// Something that may be.
    Item,
    /// A repetition, which may not be repeated itself.
    Repetition,
}

/// An expression on its way from Go's syntax to the crate's.
struct Translation<'a> {
    rest: &'a str,
    out: String,
    before: Before,
    /// How many bytes at the end of `out` are flags alone.
    flags: usize,
    open: usize,
    names: Vec<&'a str>,
}

impl<'a> Translation<'a> {
    fn of(expression: &'a str) -> Result<String, String> {
        let mut this = Self {
            rest: expression,
            out: String::with_capacity(expression.len() + 16),
            before: Before::Nothing,
            flags: 0,
            open: 0,
            names: Vec::new(),
        };
        while let Some(c) = this.rest.chars().next() {
            this.item(c)?;
        }
        if this.open > 0 {
            return Err("missing closing )".to_owned());
        }
        Ok(this.out)
    }

    /// The next item of the expression, which begins with `c`.
    fn item(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => return self.escape(),
            '[' => return self.class(),
            '(' => return self.group(),
            '*' | '+' | '?' => {
                self.skip(c);
                return self.repetition(&c.to_string());
            }
            '{' => {
                if let Some((min, max, length)) = braces(self.rest) {
                    self.rest = self.rest.get(length..).unwrap_or_default();
                    return self.counted(min, max);
                }
            }
            _ => {}
        }
        self.skip(c);
        match c {
            ')' => {
                self.open = self.open.checked_sub(1).ok_or("unexpected )")?;
                self.out.push(')');
            }
            '|' => {
                self.out.push('|');
                self.wrote(Before::Nothing);
                return Ok(());
            }
            '.' | '^' | '$' => self.out.push(c),
            _ => self.literal(c),
        }
        self.wrote(Before::Item);
        Ok(())
    }

    /// Notes that what now ends `out` is `before` whatever follows.
    fn wrote(&mut self, before: Before) {
        self.before = before;
        self.flags = 0;
    }

    fn skip(&mut self, c: char) {
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
    }

    /// `(`, what names or flags it, and its flags alone.
    fn group(&mut self) -> Result<(), String> {
        self.skip('(');
        let Some(inner) = self.rest.strip_prefix('?') else {
            self.out.push_str("(?:");
            self.open += 1;
            self.wrote(Before::Nothing);
            return Ok(());
        };
        if let Some(named) = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<')) {
            let (name, rest) = named.split_once('>').ok_or("invalid named capture")?;
            let word = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            if !word || self.names.contains(&name) {
                return Err("invalid named capture".to_owned());
            }
            self.names.push(name);
            self.rest = rest;
            self.out.push_str("(?:");
            self.open += 1;
            self.wrote(Before::Nothing);
            return Ok(());
        }
        let end = inner
            .find(|c: char| !matches!(c, 'i' | 'm' | 's' | 'U' | '-'))
            .ok_or("missing closing )")?;
        let (flags, rest) = inner.split_at(end);
        let well_formed = match flags.split_once('-') {
            Some((_, off)) => !off.is_empty() && !off.contains('-'),
            None => true,
        };
        match rest.chars().next() {
            Some(':') if well_formed => {
                let _ = write!(self.out, "(?{flags}:");
                self.open += 1;
                self.wrote(Before::Nothing);
            }
            Some(')') if well_formed => {
                if !flags.is_empty() {
                    let _ = write!(self.out, "(?{flags})");
                    self.flags += flags.len() + 3;
                }
                if self.before == Before::Repetition {
                    self.before = Before::Item;
                }
            }
            _ => return Err("invalid or unsupported Perl syntax".to_owned()),
        }
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(())
    }

    /// Writes a repetition behind the item it repeats, which flags alone may have followed. A `?` that makes it the shortest
    /// changes nothing in what matches.
    fn repetition(&mut self, operator: &str) -> Result<(), String> {
        match self.before {
            Before::Nothing => return Err(format!("missing argument to repetition operator: {operator}")),
            Before::Repetition => return Err(format!("invalid nested repetition operator: {operator}")),
            Before::Item => {}
        }
        self.out.insert_str(self.out.len() - self.flags, operator);
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        self.before = Before::Repetition;
        Ok(())
    }

    fn counted(&mut self, min: u32, max: Option<u32>) -> Result<(), String> {
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max) {
            return Err("invalid repeat count".to_owned());
        }
        let max = max.map_or(String::new(), |max| max.to_string());
        self.repetition(&format!("{{{min},{max}}}"))
    }

    /// A backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let behind = self.rest.get(1..).unwrap_or_default();
        let c = behind.chars().next().ok_or("trailing backslash at end of expression")?;
        let behind = behind.get(c.len_utf8()..).unwrap_or_default();
        let fixed = match c {
            'A' => "\\A",
            'z' => "\\z",
            'b' => "(?-u:\\b)",
            'B' => "(?-u:\\B)",
            _ => "",
        };
        if !fixed.is_empty() {
            self.out.push_str(fixed);
            self.rest = behind;
        } else if c == 'Q' {
            let (quoted, rest) = behind.split_once("\\E").unwrap_or((behind, ""));
            self.rest = rest;
            if quoted.is_empty() {
                return Ok(());
            }
            quoted.chars().for_each(|c| self.literal(c));
        } else if let Some((class, rest)) = class_escape(self.rest)? {
            let _ = write!(self.out, "[{class}]");
            self.rest = rest;
        } else {
            let (c, rest) = character(self.rest)?;
            self.literal(c);
            self.rest = rest;
        }
        self.wrote(Before::Item);
        Ok(())
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), String> {
        self.skip('[');
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.out.push('^');
            self.rest = rest;
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.is_empty() {
                return Err("missing closing ]".to_owned());
            }
            if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(format!("invalid character class range: [:{name}:]"));
                }
                let _ = write!(self.out, "[:{name}:]");
                self.rest = rest;
            } else if let Some((class, rest)) = class_escape(self.rest)? {
                let _ = write!(self.out, "[{class}]");
                self.rest = rest;
            } else {
                self.range()?;
            }
        }
        self.skip(']');
        self.out.push(']');
        self.wrote(Before::Item);
        Ok(())
    }

    /// A character of a class, or the ones from it to another.
    fn range(&mut self) -> Result<(), String> {
        let (low, rest) = character(self.rest)?;
        self.rest = rest;
        self.literal(low);
        let Some(rest) = self.rest.strip_prefix('-').filter(|rest| !rest.starts_with(']')) else {
            return Ok(());
        };
        if rest.is_empty() {
            return Err("missing closing ]".to_owned());
        }
        let (high, rest) = character(rest)?;
        if high < low {
            return Err(format!("invalid character class range: {low}-{high}"));
        }
        self.out.push('-');
        self.literal(high);
        self.rest = rest;
        Ok(())
    }
}

/// The names of classes in brackets and colons.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Writes a character that means itself, in classes and outside of them.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{:02X}", u32::from(c));
    }
}

/// `{n}`, `{n,}` or `{n,m}` at the start of a text and its length; a brace with anything else in it is a brace.
fn braces(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let (inner, _) = text.strip_prefix('{')?.split_once('}')?;
    let number = |digits: &str| -> Option<u32> {
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let led = digits.len() > 1 && digits.starts_with('0');
        // Beyond what fits it is too many in any case.
        (plain && !led).then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let (min, max) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    Some((min, max, inner.len() + 2))
}

/// `\d`, `\s`, `\w`, `\pL`, `\p{Greek}` or their opposites at the start of a text, as the inside of a class, and what follows.
fn class_escape(text: &str) -> Result<Option<(Cow<'static, str>, &str)>, String> {
    let Some(escaped) = text.strip_prefix('\\') else {
        return Ok(None);
    };
    let Some(c) = escaped.chars().next() else {
        return Ok(None);
    };
    let rest = escaped.get(c.len_utf8()..).unwrap_or_default();
    let fixed = match c {
        'd' => "0-9",
        'D' => "^0-9",
        's' => "\\t\\n\\f\\r\\x20",
        'S' => "^\\t\\n\\f\\r\\x20",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        'p' | 'P' => {
            let range = || "invalid character class range".to_owned();
            let (name, rest) = match rest.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or_else(range)?,
                None => rest.split_at(rest.chars().next().ok_or_else(range)?.len_utf8()),
            };
            let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
            if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err(range());
            }
            let escape = if (c == 'P') == inverted { 'p' } else { 'P' };
            return Ok(Some((Cow::Owned(format!("\\{escape}{{{name}}}")), rest)));
        }
        _ => return Ok(None),
    };
    Ok(Some((Cow::Borrowed(fixed), rest)))
}

/// One character at the start of a text, escaped or not, and what follows.
fn character(text: &str) -> Result<(char, &str), String> {
    let mut chars = text.chars();
    let c = chars.next().ok_or("missing closing ]")?;
    if c != '\\' {
        return Ok((c, chars.as_str()));
    }
    let c = chars.next().ok_or("trailing backslash at end of expression")?;
    let rest = chars.as_str();
    let invalid = || format!("invalid escape sequence: \\{c}");
    let plain = match c {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => {
            let (digits, rest) = match rest.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or_else(invalid)?,
                None => rest.split_at_checked(2).ok_or_else(invalid)?,
            };
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            return Ok((code.ok_or_else(invalid)?, rest));
        }
        '0'..='7' => {
            let more = rest
                .bytes()
                .take(2)
                .take_while(|digit| (b'0'..=b'7').contains(digit))
                .count();
            // A digit alone would refer back to a group.
            if c != '0' && more == 0 {
                return Err(invalid());
            }
            let digits = text.get(1..2 + more).unwrap_or_default();
            let code = u32::from_str_radix(digits, 8).ok().and_then(char::from_u32);
            return Ok((code.ok_or_else(invalid)?, rest.get(more..).unwrap_or_default()));
        }
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(invalid()),
    };
    Ok((plain, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, matches: &[&str], others: &[&str]) {
        let regex = pattern(&format!("^(?:{expression})$")).unwrap();
        for text in matches {
            assert!(regex.is_match(text), "{expression} should match {text:?}");
        }
        for text in others {
            assert!(!regex.is_match(text), "{expression} should not match {text:?}");
        }
    }

    #[test]
    fn a_brace_that_is_no_repetition_is_itself() {
        check(r"\${NAME}-app", &["${NAME}-app"], &["NAME-app"]);
        check("a{,2}", &["a{,2}"], &["a", "aa"]);
        check("a{01}|b{|}|]", &["a{01}", "b{", "}", "]"], &["a"]);
        check("a{2}b{1,}c{0,1}", &["aab", "aabbc"], &["ab", "aabcc"]);
    }

    #[test]
    fn classes_and_word_boundaries_are_about_ascii() {
        check(r"\d\w\s", &["1a ", "1_\t"], &["١a ", "1ä ", "1a\u{b}", "1a\u{a0}"]);
        check(r"[\D][^\W-]\S", &["xa\u{b}", "äa1"], &["1a1", "x-1", "xa "]);
        check(r"ä\b.*|.\Bb", &["äa", "ab"], &["ää", "-b"]);
    }

    #[test]
    fn classes_know_no_set_operations() {
        check("[a&&b]", &["a", "&", "b"], &["c"]);
        check("[[a]", &["[", "a"], &["b"]);
        check("[]a-]", &["]", "a", "-"], &["b"]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[[:alpha:][:^ascii:]~~-]", &["x", "ä", "~", "-"], &["1"]);
        check(r"[\x41-\x{43}\103\p{Greek}\PL]", &["A", "C", "λ", "1"], &["D", "a"]);
    }

    #[test]
    fn groups_flags_and_quotes() {
        check(r"(?P<a>x)(?<b>y)(?i)z(?-i:w)", &["xyZw"], &["xyZW"]);
        check(r"\Qa.b*\E+|\A.\z", &["a.b**", "x"], &["aab", "xx"]);
        check("a)|(?:b", &["ax", "xb"], &["xx"]);
        check("(?s).|()*|(|a)?", &["\n", ""], &["xx"]);
        check("a*?b??c+?", &["aabccc"], &[""]);
        check(r"\/\-\_\a", &["/-_\x07"], &[""]);
        check("^*a$*", &["a"], &["b"]);
        check("a(?i)+b*(?s)?", &["aa", "aaB"], &["A"]);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for expression in [
            "a**",
            "a*{2}",
            "*",
            "(*)",
            "|+",
            "a{1001}",
            "a{2,1}",
            "[b-a]",
            "[a",
            "(a",
            "a)",
            r"\1",
            r"\Z",
            r"\C",
            r"\u0041",
            r"[\b]",
            "[[:x:]]",
            "(?x)a",
            "(?=a)",
            "(?i-)a",
            "(?P=a)",
            "(?P<a>.)(?P<a>.)",
            r"\",
            r"\x4",
            r"\p{^}",
            r"\pé",
        ] {
            assert!(pattern(expression).is_err(), "{expression}");
        }
    }
}
