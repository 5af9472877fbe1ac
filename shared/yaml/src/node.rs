//! The tree a text becomes: values with the place they stood at.

use crate::{Error, number};

/// A place in a text. Lines and columns count from 1; a column is a character, not a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and where it starts. Values that come from an alias carry the place where the anchor defined them.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value starts.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// A resolved value: tags, styles, aliases and merge keys are gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean in the words of the dialect.
    Bool(bool),
    /// An integer that fits 64 bits with sign.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// Any other number, including `.inf` and `.nan`, which have no JSON form.
    Float(f64),
    /// Text. Timestamps (in [`Dialect::V3`](crate::Dialect::V3)) and `!!binary` values are text too, already rewritten.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping in the order of the text. Keys are always [`Value::Str`] and unique.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What this value is, in the words of an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => "number",
            Value::Str(_) => "string",
            Value::Seq(_) => "list",
            Value::Map(_) => "mapping",
        }
    }
}

impl Node {
    /// The value of `key` when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?
            .iter()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// The text when this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The text when this is a string, given away.
    pub fn into_text(self) -> Option<String> {
        match self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items when this is a list.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The entries when this is a mapping.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The JSON form. Whole floats become integers, as they do when Go writes JSON and reads it back.
    ///
    /// # Errors
    /// Infinite numbers and NaN have no JSON form.
    pub fn to_json(&self) -> Result<serde_json::Value, Error> {
        Ok(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Uint(u) => (*u).into(),
            Value::Float(f) => number::to_json(*f).ok_or_else(|| {
                let shown = if f.is_nan() {
                    "NaN"
                } else if *f > 0.0 {
                    "+Inf"
                } else {
                    "-Inf"
                };
                Error::content(self.position, format_args!("{shown} is a number without a JSON form"))
            })?,
            Value::Str(text) => text.clone().into(),
            Value::Seq(items) => serde_json::Value::Array(items.iter().map(Node::to_json).collect::<Result<_, _>>()?),
            Value::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, value) in entries {
                    map.insert(key.as_str().unwrap_or_default().to_owned(), value.to_json()?);
                }
                serde_json::Value::Object(map)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, parse};

    #[test]
    fn a_key_is_found_with_its_position() {
        let docs = parse("a: 1\nb:\n  c: x\n", Dialect::V3).unwrap();
        let c = docs[0].get("b").and_then(|b| b.get("c")).unwrap();
        assert_eq!((c.as_str(), c.position.line, c.position.column), (Some("x"), 3, 6));
        assert!(docs[0].get("z").is_none());
    }

    #[test]
    fn a_number_without_a_json_form_names_its_line() {
        let docs = parse("a: 1\nb: -.inf\n", Dialect::V3).unwrap();
        assert_eq!(
            docs[0].to_json().unwrap_err().to_string(),
            "yaml: line 2: -Inf is a number without a JSON form"
        );
    }
}
