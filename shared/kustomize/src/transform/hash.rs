//! The content hash at the end of the names of generated objects.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "configMapGenerator: [{name: app, literals: [a=b]}]\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["name"], "app-4h2mbtbbt6");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Pass, Transformer};
use crate::Error;
use crate::go_json;
use crate::node::Node;
use crate::resource::{Resource, Resources};

/// Appends the hash where it is wanted.
pub(crate) struct Hash;

impl Transformer for Hash {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let hashed = resources.iter_mut().filter(|resource| resource.memory.needs_hash);
        pass.each(hashed, |resource| {
            let hash = hash(resource);
            resource.remember_id()?;
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
                .map(|map| {
                    map.iter()
                        .map(|(key, value)| (key.to_string(), value.to_json()))
                        .collect()
                })
                .unwrap_or_default()
        }
    }
    encode(&go_json::compact(&Value::Object(content)))
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
    fn other_kinds_may_ask_for_a_hash() {
        let name = |spec: &str| {
            let annotations = "{internal.config.kubernetes.io/needsHashSuffix: enabled}";
            let object = format!("{{kind: A, metadata: {{name: a, annotations: {annotations}}}, spec: {spec}}}");
            let meta = crate::trial::first("", &object, "/metadata");
            assert_eq!(meta.as_object().map(Map::len), Some(1), "{meta}");
            meta["name"].as_str().unwrap().to_owned()
        };
        assert!(name("1").starts_with("a-"));
        assert_eq!(name("1"), name("1"));
        assert_ne!(name("1"), name("2"));
    }

    #[test]
    fn hashes_are_those_of_kustomize() {
        use serde_json::json;
        check(json!({"kind": "ConfigMap", "metadata": {"name": "x"}}), "6ct58987ht");
        check(
            json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "<b>\n"}}),
            "fc9cch64f6",
        );
        check(
            json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": 1.2e-6, "b": 1e-7, "c": 1.5e300}}),
            "b9b7mbm9g4",
        );
    }
}
