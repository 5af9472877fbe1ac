//! Which of the fields in which an object differs before and after an apply were changed by that apply. Pure.
//!
//! Between our look at an object and our apply others write to it, too: a Deployment's controller counts its revisions, an
//! autoscaler notes what it did. That is not ours to tell as a correction.

use super::culprit::owns;
use super::differences::differences_where;
use super::path::{FieldPath, Segment};
use super::{Differences, differences, resource_version};
use crate::apply::takeover::{ANNOTATIONS, LABELS, is_ours_or_taken_over, owned_fields};
use serde_json::Value;

/// The [`differences`] between an object before and after an apply of ours, or its dry run, as far as they are its doing.
///
/// In one and the same version that is all of them, consequences that the API server adds included. Otherwise a field
/// counts if we own it afterwards, or if it belonged to us or to a manager whose fields are taken over before: an apply
/// removes what is ours and not in the manifest.
pub fn corrected(before: &Value, after: &Value, override_managers: &[String]) -> Differences {
    let is_alone = resource_version(before) == resource_version(after);
    let Some(ours) = owned_fields(after).and_then(Value::as_object).filter(|_| !is_alone) else {
        return differences(before, after);
    };
    let entries = before["metadata"]["managedFields"].as_array();
    let given_up: Vec<_> = entries
        .into_iter()
        .flatten()
        .filter(|entry| is_ours_or_taken_over(entry, override_managers))
        .filter_map(|entry| entry["fieldsV1"].as_object())
        .filter(|fields| !fields.is_empty())
        .collect();
    differences_where(before, after, &|path| {
        let segments = path.segments();
        owns(ours, Some(after), segments)
            || given_up.iter().any(|fields| owns(fields, Some(before), segments))
            || is_left_behind(path)
    })
}

/// Whether it is a label or an annotation that the takeover removes whoever owns it.
fn is_left_behind(path: &FieldPath) -> bool {
    let [Segment::Field(metadata), Segment::Field(part), Segment::Field(key)] = path.segments() else {
        return false;
    };
    let keys = match part.as_str() {
        "annotations" => ANNOTATIONS.as_slice(),
        "labels" => &LABELS,
        _ => &[],
    };
    metadata == "metadata" && keys.contains(&key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REVISION: &str = "deployment.kubernetes.io/revision";

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": operation, "fieldsV1": fields })
    }

    fn ours(fields: Value) -> Value {
        entry("kustomize-controller", "Apply", fields)
    }

    fn of_replicas() -> Value {
        json!({ "f:spec": { "f:replicas": {} } })
    }

    fn of_annotation(name: &str) -> Value {
        json!({ "f:metadata": { "f:annotations": { ".": {}, format!("f:{name}"): {} } } })
    }

    fn annotated(name: &str, value: &str) -> Value {
        json!({ "metadata": { "annotations": { name: value } } })
    }

    /// Both objects with entries of `managedFields`; the second one in a later version.
    #[track_caller]
    fn check(before: (&[Value], Value), after: (&[Value], Value), expected: &[&str]) {
        let object = |version: &str, (entries, content): (&[Value], Value)| {
            let metadata = json!({ "resourceVersion": version, "managedFields": entries });
            let mut object = json!({ "kind": "Deployment", "metadata": metadata, "spec": { "replicas": 1 } });
            json_patch::merge(&mut object, &content);
            object
        };
        let (before, after) = (object("1", before), object("2", after));
        let overridden = ["node-fetch".to_owned()];
        assert_eq!(corrected(&before, &after, &overridden).to_strings(), expected);
    }

    #[test]
    fn a_field_of_ours_that_is_as_it_was_is_corrected() {
        check(
            (&[ours(of_replicas())], json!({ "spec": { "replicas": 5 } })),
            (&[ours(of_replicas())], json!({})),
            &[".spec.replicas"],
        );
        check(
            (
                &[entry("somebody", "Update", of_replicas())],
                json!({ "spec": { "replicas": null } }),
            ),
            (&[ours(of_replicas())], json!({})),
            &[".spec.replicas"],
        );
    }

    #[test]
    fn what_another_controller_wrote_between_look_and_apply_is_not() {
        let theirs = entry("kube-controller-manager", "Update", of_annotation(REVISION));
        let scaled = json!({ "spec": { "replicas": 5 } });
        let counted = |revision: &str| annotated(REVISION, revision);
        let mut before = counted("1");
        json_patch::merge(&mut before, &scaled);
        let after = [ours(of_replicas()), theirs.clone()];
        check((&[], scaled), (&after, counted("1")), &[".spec.replicas"]);
        check((&[theirs], before.clone()), (&after, counted("2")), &[".spec.replicas"]);
        check((&[], before), (&after, json!({})), &[".spec.replicas"]);
        check((&[], json!({})), (&after, counted("1")), &[]);
    }

    #[test]
    fn an_item_that_another_controller_put_into_a_list_is_not() {
        let containers =
            |containers: Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        let image = json!({ "f:image": {} });
        let owned = |name: &str| containers_of(&format!("k:{{\"name\":\"{name}\"}}"), &image);
        let after = [ours(owned("web")), entry("injector", "Update", owned("side"))];
        check(
            (&[], containers(json!([{ "name": "web", "image": "a" }]))),
            (
                &after,
                containers(json!([{ "name": "web", "image": "b" }, { "name": "side", "image": "c" }])),
            ),
            &[".spec.template.spec.containers[name=\"web\"].image"],
        );
        check(
            (&[], containers(json!([{ "name": "web", "image": "b" }]))),
            (
                &after,
                containers(json!([{ "name": "side", "image": "c" }, { "name": "web", "image": "b" }])),
            ),
            &[],
        );
    }

    fn containers_of(member: &str, fields: &Value) -> Value {
        json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": { member: fields } } } } })
    }

    #[test]
    fn what_was_taken_over_and_removed_is_corrected() {
        for manager in ["kubectl-edit", "node-fetch", "kustomize-controller"] {
            check(
                (&[entry(manager, "Update", of_annotation("a"))], annotated("a", "1")),
                (&[ours(of_replicas())], json!({})),
                &[".metadata.annotations.a"],
            );
        }
        check(
            (&[entry("helm", "Update", of_annotation("a"))], annotated("a", "1")),
            (&[ours(of_replicas())], json!({})),
            &[],
        );
    }

    #[test]
    fn what_the_api_server_puts_in_the_place_of_what_was_taken_over_is_corrected() {
        let strategy = |name: &str| json!({ "spec": { "strategy": { "type": name } } });
        let owned = json!({ "f:spec": { "f:strategy": { "f:type": {} } } });
        check(
            (&[entry("kubectl-edit", "Update", owned)], strategy("Recreate")),
            (&[ours(of_replicas())], strategy("RollingUpdate")),
            &[".spec.strategy.type"],
        );
    }

    #[test]
    fn what_tools_left_behind_is_corrected_whoever_owns_it() {
        let left = "kubectl.kubernetes.io/last-applied-configuration";
        check(
            (&[], annotated(left, "{}")),
            (&[ours(of_replicas())], json!({})),
            &[".metadata.annotations[\"kubectl.kubernetes.io/last-applied-configuration\"]"],
        );
    }

    #[test]
    fn in_one_version_every_difference_is_our_doing() {
        let object = |ports: Value| {
            let metadata = json!({ "resourceVersion": "1", "managedFields": [ours(of_replicas())] });
            json!({ "kind": "Service", "metadata": metadata, "spec": { "ports": ports } })
        };
        let before = object(json!([{ "port": 80, "nodePort": 30080 }]));
        let after = object(json!([{ "port": 80 }]));
        assert_eq!(
            corrected(&before, &after, &[]).to_strings(),
            [".spec.ports[port=80].nodePort"]
        );
    }

    #[test]
    fn without_an_entry_of_ours_nothing_is_left_out() {
        check(
            (&[], annotated("a", "1")),
            (&[], json!({})),
            &[".metadata.annotations.a"],
        );
    }
}
