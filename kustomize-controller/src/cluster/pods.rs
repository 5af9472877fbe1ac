//! The pods of a workload: what its selector takes and its controller made.

use super::{ApiError, Cluster};
use crate::inventory::ObjectId;
use serde_json::Value;

impl Cluster {
    /// The pods of a Deployment, ReplicaSet, StatefulSet, DaemonSet or Job; none for an object without a selector.
    ///
    /// # Errors
    /// Whatever the API server or the network says, for example that the identity may not list pods.
    pub async fn pods_of(&self, workload: &Value) -> Result<Vec<Value>, ApiError> {
        let Some(selector) = selector(&workload["spec"]["selector"]) else {
            return Ok(Vec::new());
        };
        let pods = self.resolve("v1", "Pod").await?;
        let mut found = self.list(&pods, &ObjectId::of(workload).namespace, &selector).await?;
        found.retain(|pod| belongs(pod, workload));
        Ok(found)
    }
}

/// Whether the workload controls the pod, itself or through one of its ReplicaSets.
fn belongs(pod: &Value, workload: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    owners.iter().filter(|owner| owner["controller"] == true).any(|owner| {
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        // A ReplicaSet is named for its Deployment and the hash of its template.
        let through = || {
            owner["name"]
                .as_str()?
                .strip_prefix(name)?
                .strip_prefix('-')
                .map(|hash| !hash.contains('-'))
        };
        match workload["kind"] == "Deployment" {
            true => owner["kind"] == "ReplicaSet" && through() == Some(true),
            false => owner["uid"] == workload["metadata"]["uid"],
        }
    })
}

/// A label selector as a query; nothing when it selects nothing in particular.
fn selector(selector: &Value) -> Option<String> {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str()?));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values: Vec<_> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(object: Value, expected: Option<&str>) {
        assert_eq!(selector(&object).as_deref(), expected);
    }

    #[test]
    fn selectors_are_written_as_queries() {
        check(json!({ "matchLabels": { "a": "b" } }), Some("a=b"));
        let expressions = json!({ "matchLabels": { "a": "b" }, "matchExpressions": [
            { "key": "c", "operator": "In", "values": ["d", "e"] },
            { "key": "f", "operator": "DoesNotExist" },
        ] });
        check(expressions, Some("a=b,c in (d,e),!f"));
        check(json!({}), None);
        check(Value::Null, None);
    }

    #[test]
    fn pods_belong_to_who_controls_them() {
        let pod = |owner: Value| json!({ "metadata": { "ownerReferences": [owner] } });
        let deployment = json!({ "kind": "Deployment", "metadata": { "name": "web", "uid": "1" } });
        let set = |name: &str| pod(json!({ "kind": "ReplicaSet", "name": name, "uid": "9", "controller": true }));
        assert!(belongs(&set("web-5d4f"), &deployment));
        assert!(!belongs(&set("web-api-5d4f"), &deployment));
        let stateful = json!({ "kind": "StatefulSet", "metadata": { "name": "db", "uid": "9" } });
        assert!(belongs(&set("db"), &stateful));
        assert!(!belongs(&pod(json!({ "uid": "9" })), &stateful));
    }
}
