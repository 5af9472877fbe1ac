//! `configMapGenerator`.

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
                map.insert(field.to_owned(), Node::Map(values));
            }
        }
    }
    Ok(resource)
}
