//! Whether a live object differs from what applying the manifest would make of it. Pure.
//!
//! As in Flux: labels, annotations and everything outside `metadata` and `status` count. Finalizers, owner references
//! and managed fields do not, and neither do fields that the manifest does not name, because the API server merged
//! them into the dry run's result.
//!
//! [`differences`] says which fields differ, by the same rules, [`corrected`] which of them an apply has changed, and
//! [`culprit`] who had changed them before. None tells a value of an object, but for the keys of list items.

mod corrected;
mod culprit;
mod differences;
mod path;

pub use corrected::corrected;
pub use culprit::culprit;
pub use differences::{Differences, differences};
pub use path::FieldPath;

use serde_json::Value;

/// Compares the live object with the result of the dry run. Without a live object (the result has no resource
/// version) there is always something to do.
pub fn drifted(live: &Value, dry_run: &Value) -> bool {
    if resource_version(dry_run).is_empty() {
        return true;
    }
    ["labels", "annotations"]
        .into_iter()
        .any(|key| map_differs(live, dry_run, key))
        || content_differs(live, dry_run)
}

/// The resource version; empty for an object that does not exist.
pub fn resource_version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// An absent map equals an empty one.
fn map_differs(live: &Value, dry_run: &Value, key: &str) -> bool {
    let map = |object: &Value| {
        object["metadata"][key]
            .as_object()
            .filter(|map| !map.is_empty())
            .cloned()
    };
    map(live) != map(dry_run)
}

fn content_differs(live: &Value, dry_run: &Value) -> bool {
    let (Some(one), Some(other)) = (live.as_object(), dry_run.as_object()) else {
        return true;
    };
    let content = |key: &&String| !matches!(key.as_str(), "metadata" | "status");
    let mut keys = one.keys().filter(content).chain(other.keys().filter(content));
    let autoscaler = dry_run["kind"] == "HorizontalPodAutoscaler";
    keys.any(
        |key| match (autoscaler && key == "spec", one.get(key), other.get(key)) {
            (true, Some(live), Some(dry_run)) => without_repeated_metrics(live) != without_repeated_metrics(dry_run),
            (_, live, dry_run) => live != dry_run,
        },
    )
}

/// API servers before 1.27 answer a dry run of an autoscaler with its first metric twice and an empty one at the end.
fn without_repeated_metrics(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(metrics) = spec["metrics"].as_array_mut() {
        let mut seen: Vec<Value> = Vec::with_capacity(metrics.len());
        for metric in metrics.drain(..) {
            let named = metric["type"].as_str().is_some_and(|name| !name.is_empty());
            if named && !seen.contains(&metric) {
                seen.push(metric);
            }
        }
        *metrics = seen;
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(extra: Value) -> Value {
        let mut object = json!({ "kind": "ConfigMap", "metadata": { "resourceVersion": "1" }, "data": { "a": "b" } });
        json_patch::merge(&mut object, &extra);
        object
    }

    #[track_caller]
    fn check(live: Value, dry_run: Value, expected: bool) {
        assert_eq!(drifted(&object(live), &object(dry_run)), expected);
    }

    #[test]
    fn an_object_that_does_not_exist_has_drifted() {
        check(json!({}), json!({ "metadata": { "resourceVersion": null } }), true);
    }

    #[test]
    fn equal_objects_have_not() {
        check(json!({}), json!({}), false);
        check(json!({ "metadata": { "labels": {} } }), json!({}), false);
    }

    #[test]
    fn labels_annotations_and_content_count() {
        check(
            json!({ "metadata": { "labels": { "a": "1" } } }),
            json!({ "metadata": { "labels": { "a": "2" } } }),
            true,
        );
        check(json!({}), json!({ "metadata": { "annotations": { "a": "1" } } }), true);
        check(json!({ "data": { "a": "c" } }), json!({}), true);
        check(json!({ "immutable": true }), json!({}), true);
        check(json!({}), json!({ "immutable": true }), true);
    }

    #[test]
    fn other_metadata_and_status_do_not() {
        check(
            json!({ "metadata": { "finalizers": ["a"], "generation": 2 } }),
            json!({}),
            false,
        );
        check(json!({ "status": { "a": 1 } }), json!({ "status": { "a": 2 } }), false);
    }

    #[test]
    fn repeated_metrics_of_autoscalers_do_not() {
        let metric = json!({ "type": "Resource" });
        let spec = |metrics: Value| json!({ "kind": "HorizontalPodAutoscaler", "spec": { "metrics": metrics } });
        check(
            spec(json!([metric])),
            spec(json!([metric, metric, { "type": "" }])),
            false,
        );
        check(spec(json!([metric])), spec(json!([{ "type": "Pods" }])), true);
    }
}
