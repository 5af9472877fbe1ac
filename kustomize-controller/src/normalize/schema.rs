//! The round trip of JSON through Go structs, repeated from a table of their fields.
//!
//! `schema.json` is printed by the Go program in `hack/schema` and holds the kinds of the client-go scheme (Kubernetes
//! 1.36) and the kustomization file. What the round trip does to an object: fields the struct does not know vanish;
//! empty values of optional fields vanish; required fields that are missing appear empty (`strategy: {}`,
//! `containers: null`, `targetPort: 0`); quantities, times and base64 are spelled canonically; integers are cut to
//! their width. A value of the wrong type ends the conversion: see [`Mismatch`].

use std::{collections::BTreeMap, sync::LazyLock};

use base64::Engine as _;
use serde_json::{Map, Value};

use super::quantity;

/// A value that does not fit its field: the whole conversion fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}cannot take {found} for {wanted}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct Mismatch {
    /// The field, as a path of names and indexes; empty for the document.
    pub path: String,
    /// What stands there.
    pub found: &'static str,
    /// What should.
    pub wanted: &'static str,
}

/// How names and scalars are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As Kubernetes' converter from unstructured objects: names exactly, scalars by their JSON type.
    Converter,
    /// As sigs.k8s.io/yaml reads a file: names without regard to case, numbers and booleans are taken for text where
    /// text is wanted.
    Yaml,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("schema.json")));

/// Whether the table knows the kind.
pub fn knows(api_version: &str, kind: &str) -> bool {
    TABLE.kinds.contains_key(&format!("{api_version}/{kind}"))
}

/// The object after a round trip; none when the table does not know the kind.
///
/// # Errors
/// A value does not fit its field.
pub fn round_trip(object: &Value, api_version: &str, kind: &str, reading: Reading) -> Option<Result<Value, Mismatch>> {
    let name = TABLE.kinds.get(&format!("{api_version}/{kind}"))?;
    let mut path = Vec::new();
    Some(
        TABLE
            .object(name, object, reading, &mut path)
            .map(|converted| converted.value),
    )
}

enum Type {
    Text,
    Bool,
    Int32,
    Int64,
    Float,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Any,
    List(Box<Type>),
    Map(Box<Type>),
    Pointer(Box<Type>),
    Struct(String),
}

struct Field {
    of: Type,
    omit_empty: bool,
    omit_zero: bool,
}

struct Table {
    kinds: BTreeMap<String, String>,
    types: BTreeMap<String, BTreeMap<String, Field>>,
}

/// A value on its way out of a struct.
struct Converted {
    value: Value,
    /// What `omitempty` asks.
    empty: bool,
    /// What `omitzero` asks.
    zero: bool,
}

impl Converted {
    fn scalar(value: Value, zero: bool) -> Self {
        Converted {
            value,
            empty: zero,
            zero,
        }
    }

    /// Go structs with a JSON form of their own are never empty.
    fn own_form(value: Value, zero: bool) -> Self {
        Converted {
            value,
            empty: false,
            zero,
        }
    }

    fn nil() -> Self {
        Converted {
            value: Value::Null,
            empty: true,
            zero: true,
        }
    }
}

impl Table {
    fn read(text: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Raw {
            kinds: BTreeMap<String, String>,
            types: BTreeMap<String, BTreeMap<String, String>>,
        }
        let raw: Raw = serde_json::from_str(text).unwrap_or_else(|_| Raw {
            kinds: BTreeMap::new(),
            types: BTreeMap::new(),
        });
        let field = |text: String| {
            let mut parts = text.split(',');
            let of = Type::parse(parts.next().unwrap_or_default());
            let options: Vec<&str> = parts.collect();
            Field {
                of,
                omit_empty: options.contains(&"e"),
                omit_zero: options.contains(&"z"),
            }
        };
        let types = raw.types.into_iter().map(|(name, fields)| {
            (
                name,
                fields.into_iter().map(|(name, text)| (name, field(text))).collect(),
            )
        });
        Table {
            kinds: raw.kinds,
            types: types.collect(),
        }
    }

    fn object(
        &self,
        name: &str,
        value: &Value,
        reading: Reading,
        path: &mut Vec<String>,
    ) -> Result<Converted, Mismatch> {
        let Value::Object(found) = value else {
            return Err(mismatch(value, "an object", path));
        };
        let empty = BTreeMap::new();
        let fields = self.types.get(name).unwrap_or(&empty);
        let mut given: BTreeMap<&str, &Value> = BTreeMap::new();
        for (key, value) in found {
            let known = fields.get_key_value(key).or_else(|| {
                let same = |(name, _): &(&String, &Field)| reading == Reading::Yaml && name.eq_ignore_ascii_case(key);
                fields.iter().find(same)
            });
            if let Some((name, _)) = known {
                given.insert(name, value);
            }
        }
        let mut out = Map::new();
        let mut zero = true;
        for (name, field) in fields {
            path.push(name.clone());
            let converted = self.convert(&field.of, given.get(name.as_str()).copied(), reading, path)?;
            path.pop();
            zero &= converted.zero;
            if !((field.omit_empty && converted.empty) || (field.omit_zero && converted.zero)) {
                out.insert(name.clone(), converted.value);
            }
        }
        Ok(Converted {
            value: Value::Object(out),
            empty: false,
            zero,
        })
    }

    fn convert(
        &self,
        of: &Type,
        value: Option<&Value>,
        reading: Reading,
        path: &mut Vec<String>,
    ) -> Result<Converted, Mismatch> {
        let value = value.filter(|value| !value.is_null());
        Ok(match (of, value) {
            (Type::Struct(name), value) => {
                let none = Value::Object(Map::new());
                self.object(name, value.unwrap_or(&none), reading, path)?
            }
            (Type::Pointer(_) | Type::List(_) | Type::Map(_) | Type::Bytes, None) => Converted::nil(),
            (Type::Pointer(of), Some(value)) => {
                let inner = self.convert(of, Some(value), reading, path)?;
                Converted {
                    value: inner.value,
                    empty: false,
                    zero: false,
                }
            }
            (Type::List(of), Some(Value::Array(items))) => {
                let mut out = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    out.push(self.convert(of, Some(item), reading, path)?.value);
                    path.pop();
                }
                Converted {
                    empty: out.is_empty(),
                    zero: false,
                    value: Value::Array(out),
                }
            }
            (Type::Map(of), Some(Value::Object(entries))) => {
                let mut out = Map::new();
                for (key, value) in entries {
                    path.push(key.clone());
                    out.insert(key.clone(), self.convert(of, Some(value), reading, path)?.value);
                    path.pop();
                }
                Converted {
                    empty: out.is_empty(),
                    zero: false,
                    value: Value::Object(out),
                }
            }
            (Type::Bytes, Some(Value::String(text))) => {
                let bytes = decode(text).ok_or_else(|| mismatch(&Value::Null, "base64", path))?;
                let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
                Converted {
                    empty: bytes.is_empty(),
                    zero: false,
                    value: text.into(),
                }
            }
            (Type::Text, None) => Converted::scalar("".into(), true),
            (Type::Text, Some(Value::String(text))) => Converted::scalar(text.clone().into(), text.is_empty()),
            (Type::Text, Some(value @ (Value::Number(_) | Value::Bool(_)))) if reading == Reading::Yaml => {
                Converted::scalar(value.to_string().into(), false)
            }
            (Type::Bool, None) => Converted::scalar(false.into(), true),
            (Type::Bool, Some(Value::Bool(b))) => Converted::scalar((*b).into(), !b),
            (Type::Int32 | Type::Int64, None) => Converted::scalar(0.into(), true),
            (Type::Int32 | Type::Int64, Some(value @ Value::Number(_))) => {
                let wide = integer(value).ok_or_else(|| mismatch(value, "an integer", path))?;
                // Go cuts what does not fit instead of refusing it.
                let number = if matches!(of, Type::Int32) {
                    i64::from(wide as i32)
                } else {
                    wide
                };
                Converted::scalar(number.into(), number == 0)
            }
            (Type::Float, None) => Converted::scalar(0.into(), true),
            (Type::Float, Some(value @ Value::Number(n))) => Converted::scalar(value.clone(), n.as_f64() == Some(0.0)),
            (Type::Quantity, None) => Converted::own_form("0".into(), true),
            (Type::Quantity, Some(value)) => {
                let text = match value {
                    Value::String(text) => text.trim().to_owned(),
                    Value::Number(number) => number.to_string(),
                    other => return Err(mismatch(other, "a quantity", path)),
                };
                let text = quantity::canonical(&text).ok_or_else(|| mismatch(value, "a quantity", path))?;
                let zero = text == "0";
                Converted::own_form(text.into(), zero)
            }
            (Type::IntOrString, None) => Converted::own_form(0.into(), true),
            (Type::IntOrString, Some(Value::String(text))) => Converted::own_form(text.clone().into(), false),
            (Type::IntOrString, Some(value @ Value::Number(n))) => {
                let number = n.as_i64().and_then(|n| i32::try_from(n).ok());
                let number = number.ok_or_else(|| mismatch(value, "a 32-bit integer", path))?;
                Converted::own_form(number.into(), number == 0)
            }
            (Type::Time | Type::MicroTime | Type::Any, None) => Converted::own_form(Value::Null, true),
            (Type::Time | Type::MicroTime, Some(value @ Value::String(text))) => {
                let time: jiff::Timestamp = text.parse().map_err(|_| mismatch(value, "a time", path))?;
                let precision = if matches!(of, Type::Time) { 0 } else { 6 };
                Converted::own_form(format!("{time:.precision$}").into(), false)
            }
            (Type::Any, Some(value)) => Converted::own_form(value.clone(), false),
            (Type::Text, Some(value)) => return Err(mismatch(value, "text", path)),
            (Type::Bool, Some(value)) => return Err(mismatch(value, "a boolean", path)),
            (Type::Int32 | Type::Int64 | Type::Float, Some(value)) => return Err(mismatch(value, "a number", path)),
            (Type::Bytes, Some(value)) => return Err(mismatch(value, "base64 text", path)),
            (Type::IntOrString, Some(value)) => return Err(mismatch(value, "an integer or text", path)),
            (Type::Time | Type::MicroTime, Some(value)) => return Err(mismatch(value, "a time", path)),
            (Type::List(_), Some(value)) => return Err(mismatch(value, "a list", path)),
            (Type::Map(_), Some(value)) => return Err(mismatch(value, "a map", path)),
        })
    }
}

impl Type {
    fn parse(text: &str) -> Self {
        let inner = |rest: &str| Box::new(Type::parse(rest));
        if let Some(rest) = text.strip_prefix("[]") {
            return Type::List(inner(rest));
        }
        if let Some(rest) = text.strip_prefix("{}") {
            return Type::Map(inner(rest));
        }
        if let Some(rest) = text.strip_prefix('*') {
            return Type::Pointer(inner(rest));
        }
        if let Some(name) = text.strip_prefix('@') {
            return Type::Struct(name.to_owned());
        }
        match text {
            "s" => Type::Text,
            "b" => Type::Bool,
            "i32" => Type::Int32,
            "i64" => Type::Int64,
            "f" => Type::Float,
            "y" => Type::Bytes,
            "q" => Type::Quantity,
            "x" => Type::IntOrString,
            "t" => Type::Time,
            "m" => Type::MicroTime,
            _ => Type::Any,
        }
    }
}

fn mismatch(found: &Value, wanted: &'static str, path: &[String]) -> Mismatch {
    let found = match found {
        Value::Null => "this value",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Mismatch {
        path: path.join("."),
        found,
        wanted,
    }
}

/// A number without a fraction.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_u64().map(|n| n as i64)).or_else(|| {
        let f = value.as_f64()?;
        (f.fract() == 0.0).then_some(f as i64)
    })
}

/// Base64 as Go's JSON decoder reads it: line breaks are skipped, bits behind the last byte ignored.
fn decode(text: &str) -> Option<Vec<u8>> {
    const ENGINE: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    ENGINE.decode(compact).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete() {
        assert!(TABLE.kinds.len() > 150, "{} kinds", TABLE.kinds.len());
        fn names(of: &Type, out: &mut Vec<String>) {
            match of {
                Type::List(of) | Type::Map(of) | Type::Pointer(of) => names(of, out),
                Type::Struct(name) => out.push(name.clone()),
                _ => {}
            }
        }
        let mut used: Vec<String> = TABLE.kinds.values().cloned().collect();
        TABLE
            .types
            .values()
            .flat_map(BTreeMap::values)
            .for_each(|field| names(&field.of, &mut used));
        let missing: Vec<_> = used.iter().filter(|name| !TABLE.types.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn kinds_are_known_by_version_and_kind() {
        assert!(knows("apps/v1", "Deployment"));
        assert!(knows("v1", "Secret"));
        assert!(!knows("apps/v1", "deployment"));
        assert!(!knows("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
        assert!(!knows("v1", "PodList"));
    }
}
