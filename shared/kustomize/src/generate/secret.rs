//! `secretGenerator`.

use super::{Load, data, sources};
use crate::Error;
use crate::kustomization::SecretArgs;
use crate::node::Node;
use crate::resource::Resource;

/// A Secret.
///
/// # Errors
/// When it has no name, or a source cannot be read.
pub(crate) fn secret(secret: &SecretArgs, load: Load<'_>) -> Result<Resource, Error> {
    let args = &secret.args;
    let mut resource = data::frame("Secret", args)?;
    let values = sources::collect(&args.name, &args.sources, load)?.into_iter();
    let values = values
        .map(|(key, value)| (key, Node::set_string(data::base64(&value))))
        .collect();
    let secret_type = if secret.secret_type.is_empty() {
        "Opaque"
    } else {
        &secret.secret_type
    };
    if let Some(map) = resource.node.as_map_mut() {
        map.insert("type".to_owned(), Node::string(secret_type));
        map.insert("data".to_owned(), Node::Map(values));
    }
    Ok(resource)
}
