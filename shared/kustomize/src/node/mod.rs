//! The tree objects are held in while they are transformed.
//!
//! JSON values would nearly do. kustomize, however, works on parsed YAML and lets three things of the text show in its
//! results, so the tree remembers them: whether a string was quoted (a number patched over `"80"` becomes `"8080"`, over
//! `80` it becomes `8080`), how a null was written (`a: null` survives a strategic merge, `a:` does not), and which
//! strings are one and the same value put into several places by a label transformer (see [`Text::cell`]).
//! Key order, comments, anchors and number formats are not kept: no output shows them.

mod bounds;
mod fingerprint;
mod lines;
mod lookup;
mod map;
mod names;
mod read;
mod remarks;
mod scalar;

use std::borrow::Cow;

use serde_json::Value;

pub(crate) use bounds::{Growth, MAX_DEPTH, Size};
pub(crate) use lookup::{
    Create, Segments, check_length, field_step, lookup, lookup_create, lookup_mut, split, split_bracketed, wrong_kind,
};
pub(crate) use map::{Map, Name};
use read::plain;
pub(crate) use read::{Documents, check_key, documents};

/// Up to here floats hold every integer.
pub(crate) const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Null.
    Null(Absence),
    /// A boolean.
    Bool(Spelled<bool>),
    /// A number.
    Number(Spelled<serde_json::Number>),
    /// A string.
    Text(Text),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// How a null is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// As a word, which is its text: `null`, `~`.
    Word(&'static str),
    /// As nothing: `a:`.
    Nothing,
    /// As nothing in brackets: `{a: }`. Upstream's writer has to put quotes there, so an empty string comes out in the end.
    Bracketed,
}

/// A boolean or number and how it is spelled, which shows wherever it becomes text. The spelling makes no other value.
#[derive(Clone, Debug)]
pub(crate) struct Spelled<T> {
    /// What it is.
    pub value: T,
    /// Its characters, where they are not the usual ones.
    spelling: Option<Box<Spelling>>,
}

/// The characters of a value, behind a pointer since few values have any.
#[derive(Clone, Debug)]
struct Spelling {
    text: Box<str>,
}

impl<T> Spelled<T> {
    /// A value read from these characters, and the usual ones.
    fn read(value: T, spelling: &str, usual: &str) -> Self {
        let spelling = (spelling != usual).then(|| Box::new(Spelling { text: spelling.into() }));
        Self { value, spelling }
    }
}

impl<T: PartialEq> PartialEq for Spelled<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> From<T> for Spelled<T> {
    fn from(value: T) -> Self {
        Self { value, spelling: None }
    }
}

/// A string and what is remembered of how it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    /// The string.
    pub text: Box<str>,
    /// How it was written.
    pub style: Style,
    /// Strings of one object with the same cell (not 0) are one value in several places: setting one sets all. Upstream
    /// puts one YAML node into all fields a label goes to, so a later change of `metadata.labels` also reaches the selectors.
    pub cell: u32,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bare.
    Plain,
    /// In quotes or as a block; whatever replaces it stays a string.
    Quoted(yaml::Quoting),
    /// Written by the build without saying what it is: it becomes what it looks like.
    Untyped,
}

/// The style of `>` blocks, which upstream's last writing and reading changes.
const FOLDED: Style = Style::Quoted(yaml::Quoting::Folded);

impl Node {
    /// Null, written out.
    pub const NULL: Self = Node::Null(Absence::Word("null"));
    /// Null where nothing is written.
    pub const NOTHING: Self = Node::Null(Absence::Nothing);

    /// A bare string.
    pub fn string(text: impl Into<Box<str>>) -> Self {
        Node::Text(Text {
            text: text.into(),
            style: Style::Plain,
            cell: 0,
        })
    }

    /// A text that becomes what it looks like.
    pub fn untyped(text: impl Into<Box<str>>) -> Self {
        Node::Text(Text {
            text: text.into(),
            style: Style::Untyped,
            cell: 0,
        })
    }

    /// An empty mapping.
    pub fn map() -> Self {
        Node::Map(Map::new())
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Node::Null(_))
    }

    /// Whether this is null, `{}` or `[]`.
    pub fn is_empty(&self) -> bool {
        match self {
            Node::Null(_) => true,
            Node::Map(map) => map.is_empty(),
            Node::List(items) => items.is_empty(),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
        }
    }

    /// Whether this is neither a list nor a mapping.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Node::List(_) | Node::Map(_))
    }

    /// The entries when this is a mapping.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Node::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The entries when this is a mapping.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Node::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items when this is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match self {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a field when this is a mapping that has it.
    pub fn get(&self, field: &str) -> Option<&Node> {
        self.as_map()?.get(field)
    }

    /// What keeps the tree from being written: a key that is no text, or one that a mapping has twice.
    pub fn flaw(&self) -> Option<&str> {
        match self {
            Node::Map(map) => map.own_flaw().or_else(|| map.values().find_map(Node::flaw)),
            Node::List(items) => items.iter().find_map(Node::flaw),
            Node::Null(_) | Node::Bool(_) | Node::Number(_) | Node::Text(_) => None,
        }
    }

    /// The text of a scalar as it would be written; empty for lists and mappings. Keys, names and selectors compare this, so
    /// 80 equals "80".
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Node::Text(text) => Cow::Borrowed(&text.text),
            Node::Null(Absence::Word(word)) => Cow::Borrowed(word),
            Node::Bool(Spelled {
                spelling: Some(spelling),
                ..
            })
            | Node::Number(Spelled {
                spelling: Some(spelling),
                ..
            }) => Cow::Borrowed(&spelling.text),
            Node::Bool(flag) => Cow::Borrowed(read::flag_text(flag.value)),
            Node::Number(number) => match number.value.is_f64() {
                // As it would be written.
                true => Cow::Owned(
                    yaml::to_string(&Value::Number(number.value.clone()))
                        .trim_end()
                        .to_owned(),
                ),
                false => Cow::Owned(number.value.to_string()),
            },
            Node::Null(_) | Node::List(_) | Node::Map(_) => Cow::Borrowed(""),
        }
    }

    /// What this is, in the words of upstream's error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Map(_) => "MappingNode",
            Node::List(_) => "SequenceNode",
            _ => "ScalarNode",
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Node::Null(Absence::Bracketed) => Value::String(String::new()),
            Node::Null(_) => Value::Null,
            Node::Bool(flag) => Value::Bool(flag.value),
            Node::Number(number) => Value::Number(number.value.clone()),
            Node::Text(text) if text.style == Style::Untyped => plain(&text.text).to_json(),
            Node::Text(text) if text.style == FOLDED => Value::String(yaml::refold(&text.text)),
            Node::Text(text) => Value::String(text.text.to_string()),
            Node::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Node::Map(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| (key.to_string(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// The JSON form, without a copy of the strings.
    pub fn into_json(self) -> Value {
        match self {
            Node::Null(Absence::Bracketed) => Value::String(String::new()),
            Node::Null(_) => Value::Null,
            Node::Bool(flag) => Value::Bool(flag.value),
            Node::Number(number) => Value::Number(number.value),
            Node::Text(text) if text.style == Style::Untyped => plain(&text.text).to_json(),
            Node::Text(text) if text.style == FOLDED => Value::String(yaml::refold(&text.text)),
            Node::Text(text) => Value::String(text.text.into()),
            Node::List(items) => Value::Array(items.into_iter().map(Node::into_json).collect()),
            Node::Map(map) => Value::Object(
                map.into_iter()
                    .map(|(key, value)| (key.to_string(), value.into_json()))
                    .collect(),
            ),
        }
    }

    /// This tree after it was written as JSON and read as YAML: every string is in quotes, and no spelling is left.
    pub fn rewritten_as_json(self) -> Self {
        match self {
            Node::Null(_) => Node::NULL,
            Node::Bool(flag) => Node::Bool(flag.value.into()),
            Node::Number(number) => Node::Number(number.value.into()),
            Node::Text(text) if text.style == Style::Untyped => match plain(&text.text) {
                Node::Text(text) => Node::quoted_string(text.text),
                other => other.rewritten_as_json(),
            },
            Node::Text(text) => Node::quoted_string(yaml::through_json(&text.text)),
            Node::List(items) => Node::List(items.into_iter().map(Node::rewritten_as_json).collect()),
            Node::Map(mut map) => {
                for value in map.values_mut() {
                    *value = std::mem::replace(value, Node::NULL).rewritten_as_json();
                }
                Node::Map(map)
            }
        }
    }

    /// A tree from JSON: strings are quoted where they have to be, nulls are written out, and integers that Go's floats
    /// cannot hold are rounded.
    pub fn from_json(value: Value) -> Self {
        match value {
            Value::Number(number) if number.as_f64().is_some_and(|float| float.abs() >= EXACT) && !number.is_f64() => {
                // The shortest digits that mean the float, filled up with zeros, as Go writes it. With more than an integer has
                // room for it stays a float.
                let float = number.as_f64().unwrap_or_default();
                let digits = float.to_string();
                let integer = digits
                    .parse::<u64>()
                    .map(Into::into)
                    .or_else(|_| digits.parse::<i64>().map(Into::into));
                let rounded = integer.ok().or_else(|| serde_json::Number::from_f64(float));
                Node::Number(rounded.unwrap_or(number).into())
            }
            Value::Null => Node::NULL,
            Value::Bool(value) => Node::Bool(value.into()),
            Value::Number(number) => Node::Number(number.into()),
            Value::String(text) => {
                let style = match yaml::quoting(&text) {
                    yaml::Quoting::Plain => Style::Plain,
                    quoting => Style::Quoted(quoting),
                };
                Node::Text(Text {
                    text: text.into(),
                    style,
                    cell: 0,
                })
            }
            Value::Array(items) => Node::List(items.into_iter().map(Node::from_json).collect()),
            Value::Object(map) => Node::Map(
                map.into_iter()
                    .map(|(key, value)| (key, Node::from_json(value)))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: Value, expected: Value) {
        assert_eq!(Node::from_json(json).into_json(), expected);
    }

    #[test]
    fn nodes_are_small() {
        assert!(size_of::<Node>() <= 32, "{}", size_of::<Node>());
    }

    #[test]
    fn integers_from_json_are_as_exact_as_floats() {
        check(9_007_199_254_740_992_u64.into(), 9_007_199_254_740_992_u64.into());
        check(i64::MAX.into(), 9_223_372_036_854_776_000_u64.into());
        check(u64::MAX.into(), 1.844_674_407_370_955_2e19.into());
        check(i64::MIN.into(), (-9.223_372_036_854_776e18).into());
        check((-9_007_199_254_740_993_i64).into(), (-9_007_199_254_740_992_i64).into());
    }

    #[test]
    fn untyped_texts_become_what_they_look_like() {
        assert_eq!(Node::untyped("1e3").into_json(), Value::from(1000));
        assert_eq!(Node::untyped("").to_json(), Value::Null);
        assert_eq!(Node::untyped("a").to_json(), Value::from("a"));
    }
}
