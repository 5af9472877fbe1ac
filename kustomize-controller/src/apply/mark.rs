//! Marks on objects: labels or annotations with which people say how an object is to be treated. Pure.
//!
//! Either place counts, and capitals in the value do not matter.

use api::meta::key;
use serde_json::Value;

/// Whether an object has a label or an annotation with that value.
pub fn marked(object: &Value, key: &str, value: &str) -> bool {
    ["labels", "annotations"].into_iter().any(|place| {
        object["metadata"][place][key]
            .as_str()
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    })
}

/// Whether an object is to be left alone altogether.
pub fn is_left_alone(object: &Value) -> bool {
    marked(object, key::RECONCILE, key::DISABLED) || marked(object, key::SSA, key::SSA_IGNORE)
}

/// Whether an object is not to be pruned.
pub fn is_kept(live: &Value) -> bool {
    is_left_alone(live) || marked(live, key::PRUNE, key::DISABLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(metadata: Value, left_alone: bool, kept: bool) {
        let object = json!({ "metadata": metadata });
        assert_eq!(
            (is_left_alone(&object), is_kept(&object)),
            (left_alone, kept),
            "{object}"
        );
    }

    #[test]
    fn marks_are_labels_or_annotations_in_any_case() {
        check(json!({ "labels": { key::RECONCILE: "disabled" } }), true, true);
        check(json!({ "annotations": { key::RECONCILE: "Disabled" } }), true, true);
        check(json!({ "annotations": { key::SSA: "ignore" } }), true, true);
        check(json!({ "labels": { key::PRUNE: "DISABLED" } }), false, true);
    }

    #[test]
    fn other_values_mean_nothing() {
        check(json!({}), false, false);
        check(
            json!({ "labels": { key::RECONCILE: "true", key::PRUNE: "", key::SSA: "Merge" } }),
            false,
            false,
        );
        check(
            json!({ "annotations": { key::SSA: key::SSA_IF_NOT_PRESENT } }),
            false,
            false,
        );
    }
}
