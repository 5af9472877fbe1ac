//! Documents that keep their style: the order of keys, quotes, brackets, anchors and comments, so that a text can be
//! changed in one place and written again the way yaml.v3 writes such a tree (which is not always as it was: indents are
//! made regular, empty lines go).
//!
//! Comments stand where yaml.v3 attaches them: above an entry, behind it, or below it. Behind an opening bracket
//! they are lost.

mod comments;
mod read;
mod write;

pub use read::read_styled;

use crate::resolve;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct StyledDocument {
    /// The comment above everything, set apart from the first entry by an empty line.
    pub head: String,
    /// The value.
    pub root: Styled,
    /// The comment below everything.
    pub foot: String,
}

/// A value with its style.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Styled {
    /// What it is.
    pub content: Content,
    /// The name of the anchor it defines.
    pub anchor: Option<String>,
    /// The tag written in front of it.
    pub tag: Option<String>,
    /// Its comments.
    pub comments: Comments,
}

/// The comments of a value or key, with their `#`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comments {
    /// In the lines above.
    pub head: String,
    /// In the same line.
    pub line: String,
    /// In the lines below, followed by an empty line.
    pub foot: String,
}

/// What a styled value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Anything without parts.
    Scalar(StyledScalar),
    /// A list.
    List {
        /// Whether it stands in brackets.
        flow: bool,
        /// Its items.
        items: Vec<Styled>,
    },
    /// A mapping.
    Map {
        /// Whether it stands in braces.
        flow: bool,
        /// Keys and values as they stand in the text.
        entries: Vec<(Styled, Styled)>,
    },
    /// `*name`.
    Alias(String),
}

impl Default for Content {
    fn default() -> Self {
        Content::Scalar(StyledScalar::default())
    }
}

/// A scalar as text and how to write it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StyledScalar {
    /// Its characters.
    pub text: String,
    /// Quotes or block.
    pub quoting: Quoting,
    /// The type it had when it was read, which it keeps when its characters change; none for one that was never read.
    pub kind: Option<ScalarKind>,
}

/// How a scalar is written, as far as it can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quoting {
    /// Bare.
    #[default]
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// The types a scalar can have without being tagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// `!!null`
    Null,
    /// `!!bool`
    Bool,
    /// `!!int`
    Int,
    /// `!!float`
    Float,
    /// `!!timestamp`
    Timestamp,
    /// `!!merge`
    Merge,
    /// `!!str`
    Str,
}

impl ScalarKind {
    /// What an untagged bare text is.
    pub(crate) fn of(text: &str) -> Self {
        if text == "<<" {
            return ScalarKind::Merge;
        }
        if resolve::is_timestamp(text) {
            return ScalarKind::Timestamp;
        }
        match resolve::plain(text, crate::Dialect::V3) {
            crate::Value::Null => ScalarKind::Null,
            crate::Value::Bool(_) => ScalarKind::Bool,
            crate::Value::Int(_) | crate::Value::Uint(_) => ScalarKind::Int,
            crate::Value::Float(_) => ScalarKind::Float,
            crate::Value::Str(_) | crate::Value::Seq(_) | crate::Value::Map(_) => ScalarKind::Str,
        }
    }

    /// The tag.
    fn tag(self) -> &'static str {
        match self {
            ScalarKind::Null => "!!null",
            ScalarKind::Bool => "!!bool",
            ScalarKind::Int => "!!int",
            ScalarKind::Float => "!!float",
            ScalarKind::Timestamp => "!!timestamp",
            ScalarKind::Merge => "!!merge",
            ScalarKind::Str => "!!str",
        }
    }
}

impl Styled {
    /// A bare scalar without a type of its own.
    pub fn untyped(text: impl Into<String>) -> Self {
        Content::Scalar(StyledScalar {
            text: text.into(),
            ..StyledScalar::default()
        })
        .into()
    }

    /// The value of a key when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Styled> {
        match &self.content {
            Content::Map { entries, .. } => entries.iter().find(|(name, _)| name.is(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Whether this is a scalar of these characters.
    pub fn is(&self, text: &str) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.text == text)
    }
}

impl From<Content> for Styled {
    fn from(content: Content) -> Self {
        Self {
            content,
            anchor: None,
            tag: None,
            comments: Comments::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let document = read_styled(text).unwrap().unwrap();
        assert_eq!(document.to_string(), expected, "{text}");
    }

    fn same(text: &str) {
        check(text, text);
    }

    #[test]
    fn order_quotes_and_brackets_stay() {
        same("b: 'x'\na: \"y\"\nc: {z: [1, \"2\"], y: ''}\nd: |\n  k\n  l\ne: &x 1\nf: *x\n");
        same("- a\n- - b\n  - c\n- d: 1\n  e: 2\n");
        check("a:\n    - b:  1\n\n    - c\n", "a:\n- b: 1\n- c\n");
        check("a: {\n  b: 1,\n}\n", "a: {b: 1}\n");
        check(
            "a: \"it\\'s\"\nb: it\\'s # it\\'s\n",
            "a: \"it's\"\nb: it\\'s # it\\'s\n",
        );
        same("a: &x {b: 1}\nc:\n  !!merge <<: *x\n");
        same("? {a: 1}\n: b\n? [c]\n: {? [d] : e, f: g}\n");
    }

    #[test]
    fn comments_stay_at_their_entries() {
        same("# head\na: 1 # one\n# two\nb: # three\n  c: 2\n");
        same("# document\n\n# a\na: 1\n");
        same("a: 1\nb: 2\n# foot\n\nc: 3\n");
        same("a:\n# first\n- x # line\n# second\n- y: 1\n");
        same("a: 1\n# last\n");
        same("a: 1\n\n# last\n");
        same("a: [1, # one\n  # two\n  2]\n");
        same("a:\n- # dash\n  x: 1\nb: | # block\n  x\n");
    }

    #[test]
    fn a_scalar_keeps_its_type() {
        let mut document = read_styled("a: 5\nb: x\n").unwrap().unwrap();
        if let Content::Map { entries, .. } = &mut document.root.content {
            for ((_, value), new) in entries.iter_mut().zip(["y", "7"]) {
                if let Content::Scalar(scalar) = &mut value.content {
                    new.clone_into(&mut scalar.text);
                }
            }
        }
        assert_eq!(document.to_string(), "a: !!int y\nb: \"7\"\n");
    }
}
