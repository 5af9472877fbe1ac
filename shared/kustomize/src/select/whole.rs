//! Regular expressions, most of which are plain names: these are compared, not compiled.

use regex::Regex;

use crate::Error;

/// What a part of a selector says about a text as a whole.
pub(crate) enum Pattern {
    /// Nothing.
    Any,
    /// It is this one.
    Literal(String),
    /// It matches.
    Regex(Regex),
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        if pattern.is_empty() {
            return Ok(Pattern::Any);
        }
        if pattern
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'/'))
        {
            return Ok(Pattern::Literal(pattern.to_owned()));
        }
        super::pattern::pattern(&format!("^(?:{pattern})$")).map(Pattern::Regex)
    }

    /// Whether it matches a text from start to end.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Literal(literal) => literal == text,
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(
            Pattern::new(pattern).unwrap().fits(text),
            expected,
            "{pattern} on {text}"
        );
    }

    #[test]
    fn patterns_match_whole_texts() {
        check("", "anything", true);
        check("web-1", "web-1", true);
        check("web-1", "web-12", false);
        check("web", "a-web", false);
        check("v1.beta", "v1xbeta", true);
        check("a|b", "ab", false);
        check("web.*", "web-12", true);
        check("^web$", "web", true);
        assert!(Pattern::new("(").is_err());
    }
}
