//! What ConfigMaps and Secrets have in common: their frame, and merging their data.

use base64::Engine;

use crate::Error;
use crate::kustomization::GeneratorArgs;
use crate::node::{Map, Node};
use crate::resource::{Behavior, Resource};

/// An object without data.
pub(super) fn frame(kind: &str, args: &GeneratorArgs) -> Result<Resource, Error> {
    if args.name.is_empty() {
        return Err(Error::new(format!("a generated {kind} must have a name")));
    }
    let strings = |map: &std::collections::BTreeMap<String, String>| {
        Node::Map(
            map.iter()
                .map(|(key, value)| (key.as_str(), Node::quoted_string(value.as_str())))
                .collect(),
        )
    };
    let mut meta = Map::from([("name", Node::string(args.name.as_str()))]);
    if !args.namespace.is_empty() {
        meta.insert("namespace", Node::string(args.namespace.as_str()));
    }
    for (field, map) in [
        ("labels", &args.options.labels),
        ("annotations", &args.options.annotations),
    ] {
        if !map.is_empty() {
            meta.insert(field, strings(map));
        }
    }
    let mut object = Map::from([
        ("apiVersion", Node::string("v1")),
        ("kind", Node::string(kind)),
        ("metadata", Node::Map(meta)),
    ]);
    if args.options.immutable {
        object.insert("immutable", Node::Bool(true.into()));
    }
    let mut resource = Resource::new(Node::Map(object));
    let memory = &mut resource.memory;
    memory.behavior = Behavior::named(&args.behavior);
    memory.needs_hash = !args.options.disable_name_suffix_hash;
    memory.generated = true;
    Ok(resource)
}

/// Base64 in lines of 70 characters when it does not fit one.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LINE: usize = 70;
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    if encoded.len() < LINE {
        return encoded;
    }
    let mut result = String::with_capacity(encoded.len() + encoded.len() / LINE + 1);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        result.push_str(line);
        result.push('\n');
        rest = after;
    }
    result
}

impl Resource {
    /// Puts the data of another object under this one's.
    pub fn merge_data_of(&mut self, old: &Resource) {
        let strings = |resource: &Resource, field: &str| -> Map {
            let map = resource.node.get(field).and_then(Node::as_map);
            map.into_iter()
                .flat_map(Map::iter)
                .map(|(key, value)| {
                    (
                        key.clone(),
                        Node::set_string(if value.is_null() {
                            String::new()
                        } else {
                            value.text().into_owned()
                        }),
                    )
                })
                .collect()
        };
        for field in ["data", "binaryData"] {
            let mut merged = strings(old, field);
            merged.extend(strings(self, field));
            if let Some(map) = self.node.as_map_mut() {
                map.remove(field);
                if !merged.is_empty() {
                    map.insert(field, Node::Map(merged));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_base64_is_broken_into_lines() {
        assert_eq!(base64(b"ab"), "YWI=");
        let long = base64(&[0; 60]);
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [70, 10]);
        assert!(long.ends_with('\n'));
    }
}
