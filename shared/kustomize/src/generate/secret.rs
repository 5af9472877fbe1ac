//! `secretGenerator`.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "secretGenerator: [{name: app, literals: [a=b], options: {disableNameSuffixHash: true}}]\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["data"]["a"], "Yg==");
//! assert_eq!(objects[0].object["type"], "Opaque");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
        map.insert("type", Node::string(secret_type));
        map.insert("data", Node::Map(values));
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use crate::trial::built;
    use serde_json::{Value, json};

    fn check(entry: &str, kind: &str, data: Value) {
        let fields = format!("secretGenerator: [{{name: a, {entry}}}]");
        let secret = built(&fields, "").unwrap().remove(0);
        assert_eq!((&secret["type"], &secret["data"]), (&json!(kind), &data), "{entry}");
    }

    #[test]
    fn data_is_base64_and_the_type_is_opaque_unless_said_otherwise() {
        check("literals: [a=b]", "Opaque", json!({"a": "Yg=="}));
        check(
            "literals: [a=b], type: example.com/x",
            "example.com/x",
            json!({"a": "Yg=="}),
        );
        check("literals: [\"a=x\\u0085\"]", "Opaque", json!({"a": "eCA="}));
    }
}
