//! The variables of post-build substitution: ConfigMaps and Secrets of the Kustomization's namespace in the order of
//! the spec, then the spec's own. A later one wins.
//!
//! Values are read anew in every run, as the controller itself, and line breaks are taken out of them, as Flux does.

use crate::cluster::{ApiError, Cluster};
use crate::failure::Failure;
use crate::substitute;
use api::kustomize::{Kustomization, SubstituteKind, SubstituteReference};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The variables by name, or why there are none: a ConfigMap or Secret that cannot be read and is not optional, or a value
/// that is not text. The text names no object: it belongs to the first one that is to be substituted.
pub type Variables = Result<BTreeMap<String, String>, String>;

/// Loads the variables of a Kustomization; none without `spec.postBuild`.
///
/// # Errors
/// [`Failure::Unreachable`] where the API server was away.
pub async fn load(own: &Cluster, object: &Kustomization) -> Result<Variables, Failure> {
    let mut variables = BTreeMap::new();
    let Some(post_build) = &object.spec.post_build else {
        return Ok(Ok(variables));
    };
    let namespace = object.namespace().unwrap_or_default();
    for reference in &post_build.substitute_from {
        let (kind, name) = (reference.kind.as_str(), &reference.name);
        let text = |error: &dyn std::fmt::Display| format!("substitute from '{kind}/{name}' error: {error}");
        let values = match read(own, &namespace, reference).await {
            Ok(found) => found.map_err(|error| text(&error)),
            Err(error) if error.is_outage() => return Err(Failure::Unreachable(text(&error))),
            Err(error) => Err(text(&error)),
        };
        match values {
            Ok(values) => variables.extend(values),
            Err(text) => return Ok(Err(text)),
        }
    }
    variables.extend(post_build.substitute.clone());
    for value in variables.values_mut() {
        *value = substitute::variable(value);
    }
    Ok(Ok(variables))
}

/// A digest of variables, or of why there are none; equal ones have equal ones within a process.
pub fn digest(variables: &Variables) -> u64 {
    let mut hasher = DefaultHasher::new();
    variables.hash(&mut hasher);
    hasher.finish()
}

async fn read(own: &Cluster, namespace: &str, reference: &SubstituteReference) -> Result<Variables, ApiError> {
    let resource = own.resolve("v1", reference.kind.as_str()).await?;
    Ok(match own.find(&resource, namespace, &reference.name).await? {
        Some(found) => values(reference.kind, &found),
        None if reference.optional => Ok(BTreeMap::new()),
        None => Err(format!("{} {:?} not found", resource.group_resource(), reference.name)),
    })
}

/// The values of a ConfigMap or Secret as text.
fn values(kind: SubstituteKind, object: &Value) -> Variables {
    let data = object["data"].as_object().into_iter().flatten();
    data.map(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        let text = match kind {
            SubstituteKind::ConfigMap => Some(text.to_owned()),
            SubstituteKind::Secret => STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok()),
        };
        text.map(|text| (key.clone(), text))
            .ok_or_else(|| format!("key '{key}' is not UTF-8 text"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_decoded_and_what_is_no_text_is_named_without_its_value() {
        let texts = |kind, data: Value| values(kind, &json!({ "data": data }));
        let one = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        assert_eq!(texts(SubstituteKind::ConfigMap, json!({"k": "v"})), Ok(one.clone()));
        assert_eq!(texts(SubstituteKind::Secret, json!({"k": "dg=="})), Ok(one));
        assert_eq!(
            texts(SubstituteKind::Secret, json!({"k": "/w=="})),
            Err("key 'k' is not UTF-8 text".into())
        );
        assert_eq!(values(SubstituteKind::ConfigMap, &json!({})), Ok(BTreeMap::new()));
    }
}
