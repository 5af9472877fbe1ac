//! `configMapGenerator`.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "configMapGenerator: [{name: app, literals: [a=b], options: {disableNameSuffixHash: true}}]\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["data"]["a"], "b");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Load, data, sources};
use crate::Error;
use crate::kustomization::GeneratorArgs;
use crate::node::{Map, Node};
use crate::resource::Resource;

/// A ConfigMap. What is not UTF-8 goes to `binaryData`.
///
/// # Errors
/// When it has no name, or a source cannot be read.
pub(crate) fn config_map(args: &GeneratorArgs, load: Load<'_>) -> Result<Resource, Error> {
    let mut resource = data::frame("ConfigMap", args)?;
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, value) in sources::collect(&args.name, &args.sources, load)? {
        match String::from_utf8(value) {
            Ok(value) => text.insert(key, Node::set_string(value)),
            Err(error) => binary.insert(key, Node::set_string(data::base64(error.as_bytes()))),
        };
    }
    if let Some(map) = resource.node.as_map_mut() {
        for (field, values) in [("data", text), ("binaryData", binary)] {
            if !values.is_empty() {
                map.insert(field, Node::Map(values));
            }
        }
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use crate::trial::built;
    use serde_json::{Value, json};

    /// What is in the generated object besides type and name.
    fn check(entry: &str, expected: Value) {
        let fields =
            format!("configMapGenerator: [{{name: a, {entry}}}]\ngeneratorOptions: {{disableNameSuffixHash: true}}");
        let mut object = built(&fields, "").unwrap().remove(0);
        for field in ["apiVersion", "kind"] {
            object.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(object, expected, "{entry}");
    }

    #[test]
    fn data_labels_and_annotations_are_text() {
        check(
            "literals: [a=5, b=no]",
            json!({"metadata": {"name": "a"}, "data": {"a": "5", "b": "no"}}),
        );
        check(
            "options: {labels: {l: '5'}, immutable: true}",
            json!({"metadata": {"name": "a", "labels": {"l": "5"}}, "immutable": true}),
        );
        check("namespace: b", json!({"metadata": {"name": "a", "namespace": "b"}}));
    }
}
