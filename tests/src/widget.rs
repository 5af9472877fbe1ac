//! Widget, a kind that tests define themselves: its definition, under a group of the test's own, since definitions are
//! of the whole cluster. What a Widget holds is for the test to say.

use serde_json::{Value, json};

/// The CustomResourceDefinition of the namespaced kind Widget, version `v1`, in this group and of this schema. It names
/// all that the API server would fill in, so that it can be compared with the live one.
pub fn definition(group: &str, schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("widgets.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
            }],
        },
    })
}
