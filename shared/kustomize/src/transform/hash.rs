//! The content hash at the end of the names of generated objects.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Pass, Transformer};
use crate::Error;
use crate::node::Node;
use crate::resource::{Resource, Resources};

/// Appends the hash where it is wanted.
pub(crate) struct Hash;

impl Transformer for Hash {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let hashed = resources.iter_mut().filter(|resource| resource.memory.needs_hash);
        pass.each(hashed, |resource| {
            let hash = hash(resource);
            resource.remember_id();
            let name = format!("{}-{hash}", resource.name());
            resource.set_name(&name).map(|()| true)
        })
    }
}

/// Ten characters that depend on type, name and data.
fn hash(resource: &Resource) -> String {
    let kind = resource.kind();
    let mut content = Map::new();
    let field = |path: &[&str]| -> Value {
        let node = path.iter().try_fold(&resource.node, |node, part| node.get(part));
        match node {
            None => Value::String(String::new()),
            Some(Node::Map(map)) => Node::Map(map.clone()).into_json(),
            // Upstream reads lists as mappings and gets nothing.
            Some(Node::List(_)) => Value::Null,
            Some(scalar) => Value::String(scalar.text().into_owned()),
        }
    };
    let extra = match kind.as_str() {
        "ConfigMap" => Some("binaryData"),
        "Secret" => {
            content.insert("type".into(), field(&["type"]));
            Some("stringData")
        }
        _ => None,
    };
    match extra {
        Some(extra) => {
            content.insert("kind".into(), Value::String(kind));
            // Upstream looks for a field with a slash in its name, so the name is always empty.
            content.insert("name".into(), field(&["metadata/name"]));
            content.insert("data".into(), field(&["data"]));
            if let value @ Value::Object(_) = field(&[extra]) {
                content.insert(extra.into(), value);
            }
        }
        None => {
            content = resource
                .node
                .as_map()
                .map(|map| map.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
                .unwrap_or_default()
        }
    }
    encode(&go_json(&Value::Object(content)))
}

/// The first ten digits of the digest in an alphabet without vowels and lookalikes.
fn encode(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    hex.chars()
        .map(|digit| match digit {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            other => other,
        })
        .collect()
}

/// JSON as Go writes it: sorted keys, and the characters HTML cares about escaped.
pub(super) fn go_json(value: &Value) -> String {
    let mut result = String::new();
    write(value, &mut result);
    result
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(&map[key], out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: serde_json::Value, expected: &str) {
        assert_eq!(
            hash(&Resource::new(Node::from_json(object.clone()))),
            expected,
            "{object}"
        );
    }

    #[test]
    fn hashes_are_those_of_kustomize() {
        use serde_json::json;
        check(json!({"kind": "ConfigMap", "metadata": {"name": "x"}}), "6ct58987ht");
        check(
            json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "<b>\n"}}),
            "fc9cch64f6",
        );
    }
}
