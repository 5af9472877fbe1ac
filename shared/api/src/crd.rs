//! The CustomResourceDefinitions of all kinds, as they stand in `config/crd`.
//!
//! The derived schemas say what the types say; what the API server and Flux have differently is put right here, in one
//! walk over the schema. Nothing is installed from here.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::kustomize::Kustomization;
use crate::meta::key;
use crate::notification::{Alert, Provider, Receiver};
use crate::source::GitRepository;

/// The definitions of all kinds.
///
/// # Errors
/// Only when a definition cannot be written as JSON, which would be a mistake in the types.
pub fn definitions() -> Result<Vec<Value>, serde_json::Error> {
    [
        GitRepository::crd(),
        Kustomization::crd(),
        Provider::crd(),
        Alert::crd(),
        Receiver::crd(),
    ]
    .into_iter()
    .map(|crd| serde_json::to_value(crd).map(finish))
    .collect()
}

/// The file name of a definition: `<group>_<plural>.yaml`.
pub fn file_name(definition: &Value) -> String {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}_{}.yaml", text(&spec["group"]), text(&spec["names"]["plural"]))
}

/// From the derived definition to the one that is installed.
fn finish(mut definition: Value) -> Value {
    // Post-build substitution would take the `${}` in descriptions and patterns for variables.
    definition["metadata"]["annotations"] = json!({ key::SUBSTITUTE: key::DISABLED });
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let controller = group.split('.').next().unwrap_or_default();
    definition["metadata"]["labels"] = json!({ "app.kubernetes.io/component": format!("{controller}-controller") });
    if let Some(kind) = definition["spec"]["names"]["kind"].as_str() {
        definition["spec"]["names"]["listKind"] = json!(format!("{kind}List"));
    }
    if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
        for version in versions {
            // Kinds without a status say so; absent would mean the same.
            if version.get("subresources").is_none() {
                version["subresources"] = json!({});
            }
            let root = &mut version["schema"]["openAPIV3Schema"];
            tidy(root);
            if let Some(root) = root.as_object_mut() {
                finish_root(root);
            }
        }
    }
    sorted(definition)
}

/// The root has members that every object has, and demands none: an object without a spec can be stored.
fn finish_root(root: &mut Map<String, Value>) {
    root.remove("required");
    root.remove("title");
    let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    properties.insert(
        "apiVersion".into(),
        json!({ "type": "string", "description": "Group and version of the kind." }),
    );
    properties.insert("kind".into(), json!({ "type": "string", "description": "The kind." }));
    properties.insert("metadata".into(), json!({ "type": "object" }));
}

/// Makes one schema, and all below it, what Go's generator would have written for the same type: an optional field may
/// be absent but not null, and the limits of integers are integers.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    // Comments are wrapped where the line ends, which means nothing to `kubectl explain`.
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    if let Some(minimum) = object.get("minimum").and_then(Value::as_f64) {
        object.insert("minimum".into(), json!(minimum as i64));
    }
    if let Some(choices) = object.get_mut("enum").and_then(Value::as_array_mut) {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(tidy);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            tidy(inner);
        }
    }
}

/// The same value with the members of all objects in order, whichever map type the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
