//! Where a field is in an object, in the notation of people: `.spec.template.spec.containers[name="web"].image`.

use serde_json::Value;
use std::fmt;

/// How the path of an object itself reads.
const WHOLE_OBJECT: &str = "(the object)";
/// The longest name or key that is shown, in characters; names of labels and annotations fit.
const SHOWN: usize = 317;

/// The path of a field. It names fields and keys of list items, and no other values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath {
    segments: Vec<Segment>,
}

/// A step down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// Into a map.
    Field(String),
    /// To the item of a list of maps that has these values.
    Item(Vec<(&'static str, Key)>),
    /// To an item of any other list.
    Index(usize),
}

/// The value of a list item's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Text(String),
    Number(i64),
}

impl Key {
    /// Reads a key; nothing when it is no text or integer, or is too long to be a name.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.len() <= SHOWN => Some(Key::Text(text.clone())),
            Value::Number(number) => number.as_i64().map(Key::Number),
            _ => None,
        }
    }

    fn is(&self, value: &Value) -> bool {
        match self {
            Key::Text(text) => value == text,
            Key::Number(number) => value.as_i64() == Some(*number),
        }
    }
}

impl FieldPath {
    /// The path of the object itself.
    pub fn whole_object() -> Self {
        FieldPath::default()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    pub(super) fn pop(&mut self) {
        self.segments.pop();
    }
}

impl Segment {
    /// A step into a map.
    pub(super) fn field(name: &str) -> Self {
        Segment::Field(name.to_owned())
    }

    /// What is there in a value.
    pub(super) fn step<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Segment::Field(name) => value.get(name),
            Segment::Item(keys) => value
                .as_array()?
                .iter()
                .find(|item| keys.iter().all(|(name, key)| key.is(&item[*name]))),
            Segment::Index(index) => value.get(index),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return formatter.write_str(WHOLE_OBJECT);
        }
        self.segments
            .iter()
            .try_for_each(|segment| write!(formatter, "{segment}"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Field(name) => {
                let shown = shown(name);
                let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
                match !shown.is_empty() && shown.chars().all(is_plain) {
                    true => write!(formatter, ".{shown}"),
                    false => write!(formatter, "[{shown:?}]"),
                }
            }
            Segment::Item(keys) => {
                for (index, (name, key)) in keys.iter().enumerate() {
                    let before = if index == 0 { "[" } else { "," };
                    match key {
                        Key::Text(text) => write!(formatter, "{before}{name}={text:?}")?,
                        Key::Number(number) => write!(formatter, "{before}{name}={number}")?,
                    }
                }
                formatter.write_str("]")
            }
            Segment::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// The beginning of a name, if it is longer than any that Kubernetes gives.
fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(segments: Vec<Segment>, expected: &str) {
        assert_eq!(FieldPath { segments }.to_string(), expected);
    }

    #[test]
    fn plain_names_follow_a_dot_and_others_are_quoted() {
        check(
            vec![Segment::field("spec"), Segment::field("replicas")],
            ".spec.replicas",
        );
        check(
            vec![Segment::field("data"), Segment::field("my-key_1")],
            ".data.my-key_1",
        );
        check(vec![Segment::field("data"), Segment::field("a.b")], ".data[\"a.b\"]");
        check(vec![Segment::field("x/y")], "[\"x/y\"]");
        check(vec![Segment::field("")], "[\"\"]");
        check(vec![Segment::field("a\"\n")], "[\"a\\\"\\n\"]");
    }

    #[test]
    fn items_are_named_by_their_keys() {
        check(
            vec![Segment::Item(vec![("name", Key::Text("web".into()))])],
            "[name=\"web\"]",
        );
        check(
            vec![Segment::Item(vec![
                ("containerPort", Key::Number(80)),
                ("protocol", Key::Text("TCP".into())),
            ])],
            "[containerPort=80,protocol=\"TCP\"]",
        );
        check(vec![Segment::field("rules"), Segment::Index(2)], ".rules[2]");
    }

    #[test]
    fn the_object_itself_has_words() {
        check(vec![], "(the object)");
    }

    #[test]
    fn long_names_are_cut() {
        let shown = FieldPath {
            segments: vec![Segment::Field("é".repeat(1000))],
        };
        assert_eq!(shown.to_string(), format!("[\"{}…\"]", "é".repeat(SHOWN)));
    }

    #[test]
    fn long_texts_and_other_values_are_no_keys() {
        assert_eq!(Key::of(&json!("x".repeat(SHOWN + 1))), None);
        assert_eq!(Key::of(&json!(1.5)), None);
        assert_eq!(Key::of(&json!({})), None);
        assert_eq!(Key::of(&json!(8)), Some(Key::Number(8)));
    }
}
