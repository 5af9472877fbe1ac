//! The glob patterns of `${VAR#pattern}` and its kin: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`. Unlike in paths, `*` also
//! matches `/`.

/// The longest value that patterns are tried on. Every prefix of the value is tried, which is quadratic.
pub(super) const MAX_VALUE: usize = 16 << 10;

enum Token {
    /// Any text, also none.
    Star,
    /// One character.
    One,
    /// This byte.
    Byte(u8),
    /// One character in (or, negated, outside of) these ranges.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Removes the shortest or longest prefix of `value` that is not empty and matches; without one, `value` is whole.
pub(super) fn trim_prefix<'a>(value: &'a str, pattern: &str, longest: bool) -> &'a str {
    // A malformed pattern matches nothing.
    let Some(tokens) = parse(pattern) else { return value };
    let ends = || value.char_indices().map(|(at, c)| at + c.len_utf8());
    let found = if longest {
        ends().rev().find(|end| matches(&tokens, &value[..*end]))
    } else {
        ends().find(|end| matches(&tokens, &value[..*end]))
    };
    &value[found.unwrap_or(0)..]
}

/// As [`trim_prefix`] for suffixes: value and pattern are turned around, character by character, with all that this
/// does to classes and escapes in the pattern (they no longer work).
pub(super) fn trim_suffix(value: &str, pattern: &str, longest: bool) -> String {
    let turned = |text: &str| text.chars().rev().collect::<String>();
    turned(trim_prefix(&turned(value), &turned(pattern), longest))
}

fn parse(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::One),
            '[' => {
                let negated = rest.starts_with('^');
                rest = rest.strip_prefix('^').unwrap_or(rest);
                let mut ranges = Vec::new();
                loop {
                    if !ranges.is_empty() && rest.starts_with(']') {
                        rest = &rest[1..];
                        break;
                    }
                    let low = class_character(&mut rest)?;
                    let high = match rest.strip_prefix('-') {
                        Some(after) => {
                            rest = after;
                            class_character(&mut rest)?
                        }
                        None => low,
                    };
                    ranges.push((low, high));
                }
                tokens.push(Token::Class { negated, ranges });
            }
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                push_literal(&mut tokens, escaped);
            }
            _ => push_literal(&mut tokens, c),
        }
    }
    Some(tokens)
}

fn push_literal(tokens: &mut Vec<Token>, c: char) {
    tokens.extend(c.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

/// A character of a class, with its escape; a class cannot end behind it without its `]`.
fn class_character(rest: &mut &str) -> Option<char> {
    let mut characters = rest.chars();
    let character = match characters.next()? {
        '-' | ']' => return None,
        '\\' => characters.next()?,
        c => c,
    };
    *rest = characters.as_str();
    (!rest.is_empty()).then_some(character)
}

/// Whether all of `text` matches. On a mismatch only the last star can help, so the time is at most their product.
fn matches(tokens: &[Token], text: &str) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            Some(Token::Star) => {
                star = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::Byte(byte)) => (text.as_bytes().get(at) == Some(byte)).then_some(1),
            Some(Token::One) => character_at(text, at).map(char::len_utf8),
            Some(Token::Class { negated, ranges }) => character_at(text, at)
                .filter(|c| ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != *negated)
                .map(char::len_utf8),
            None if at == text.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                token += 1;
                at += step;
            }
            (None, Some((star_token, star_at))) if star_at < text.len() => {
                star = Some((star_token, star_at + 1));
                (token, at) = (star_token + 1, star_at + 1);
            }
            (None, _) => return false,
        }
    }
}

fn character_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, pattern: &str, prefix: (&str, &str), suffix: (&str, &str)) {
        let found = (trim_prefix(value, pattern, false), trim_prefix(value, pattern, true));
        assert_eq!(found, prefix, "prefix {pattern} of {value}");
        let found = (trim_suffix(value, pattern, false), trim_suffix(value, pattern, true));
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            suffix,
            "suffix {pattern} of {value}"
        );
    }

    #[test]
    fn shortest_and_longest() {
        check(
            "apple-pie-apple",
            "*-",
            ("pie-apple", "apple"),
            ("apple-pie-apple", "apple-pie-apple"),
        );
        check(
            "apple-pie-apple",
            "-*",
            ("apple-pie-apple", "apple-pie-apple"),
            ("apple-pie", "apple"),
        );
        check(
            "/a/b/c",
            "*/",
            ("/a/b/c".strip_prefix('/').unwrap(), "c"),
            ("/a/b/c", "/a/b/c"),
        );
        check("/a/b/c", "/*", ("a/b/c", ""), ("/a/b", ""));
        check("abab", "ab", ("ab", "ab"), ("ab", "ab"));
        check("abc", "*", ("bc", ""), ("ab", ""));
        check("abc", "??", ("c", "c"), ("a", "a"));
        check("", "*", ("", ""), ("", ""));
        check("éa", "?", ("a", "a"), ("é", "é"));
    }

    #[test]
    fn classes_work_for_prefixes_only() {
        check("abc", "[a-b]", ("bc", "bc"), ("abc", "abc"));
        check("abc", "[^x]", ("bc", "bc"), ("abc", "abc"));
        check("a*c", "a\\*", ("c", "c"), ("", ""));
    }

    #[test]
    fn malformed_patterns_match_nothing() {
        for pattern in ["[", "[a", "[]a]", "[-a]", "[a-]"] {
            check("a", pattern, ("a", "a"), ("a", "a"));
        }
        check("a", "a\\", ("a", "a"), ("", ""));
    }
}
