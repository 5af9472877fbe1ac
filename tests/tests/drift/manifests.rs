//! The manifests that drift. All fields are as the API server writes them, so that they can be compared.

use serde_json::{Value, json};
use tests::widget;

/// A ConfigMap.
pub fn map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "tier": "web" }, "annotations": { "note": "from Git" } },
        "data": data,
    })
}

/// A ConfigMap with two keys.
pub fn config_map(name: &str) -> Value {
    map(name, json!({ "k": "v", "other": "w" }))
}

/// A Secret: `hunter2` and `sesame`.
pub fn secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": { "name": name, "labels": { "tier": "web" } },
        "data": { "password": "aHVudGVyMg==", "token": "c2VzYW1l" },
    })
}

/// A Service with two ports.
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "labels": { "tier": "web" } },
        "spec": {
            "selector": { "app": name },
            "ports": [
                { "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 },
                { "name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443 },
            ],
        },
    })
}

/// A Deployment without pods; two variables and, as an atomic list, two arguments.
pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": { "tier": "web" }, "annotations": { "note": "from Git" } },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{
                    "name": "app",
                    "image": "example.test/app:1",
                    "args": ["--one", "--two"],
                    "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                }] },
            },
        },
    })
}

/// A definition of the kind Widget in the group.
pub fn definition(group: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    widget::definition(group, schema)
}

/// A Widget of the group.
pub fn widget(group: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Widget",
        "metadata": { "name": name, "labels": { "tier": "web" } },
        "spec": { "size": 1, "parts": ["a", "b"], "paint": { "color": "red", "gloss": true } },
    })
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                match value {
                    Value::Null => drop(target.remove(key)),
                    value => merge(target.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// A manifest with this merged into it.
pub fn with(mut manifest: Value, patch: Value) -> Value {
    merge(&mut manifest, &patch);
    manifest
}
