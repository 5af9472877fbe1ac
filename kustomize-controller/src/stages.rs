//! In which order objects are applied: stages that wait for each other, and ranks within a stage.
//!
//! Definitions (CRDs, Namespaces, ClusterRoles) come first, then classes, then the kinds that a flag names, then the
//! rest; the first two stages must be there before the next begins. Within a stage the order is by rank, group, kind,
//! namespace and name; objects of one rank do not depend on each other. Deletion goes the other way, by
//! rank over all stages. Pure.

use crate::inventory::ObjectId;
use serde_json::Value;

/// A stage of objects, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The objects.
    pub objects: Vec<Value>,
    /// Whether the next stage waits until these are there.
    pub awaited: bool,
}

/// Kinds that define what others need, with their groups.
const DEFINITIONS: [(&str, &str); 3] = [
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("", "Namespace"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
];

/// Kinds in the order in which they are applied; all others come between the two lists. The group does not matter.
const FIRST: [&str; 23] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// The rank of a kind: lower ones are applied first and deleted last.
pub fn rank(kind: &str) -> i32 {
    let position = |list: &[&str]| {
        list.iter()
            .position(|other| *other == kind)
            .and_then(|at| i32::try_from(at).ok())
    };
    match (position(&FIRST), position(&LAST)) {
        (Some(first), _) => first,
        (None, Some(last)) => 1001 + last,
        (None, None) => 1000,
    }
}

/// Sorts objects into stages; stages without objects are there too.
///
/// `custom` are the (group, kind) pairs of the stage that a flag defines.
pub fn stages(objects: Vec<Value>, custom: &[(String, String)]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = [true, true, false, false]
        .map(|awaited| Stage {
            objects: Vec::new(),
            awaited,
        })
        .into_iter()
        .collect();
    for object in objects {
        let id = ObjectId::of(&object);
        let stage = match id.kind.as_str() {
            kind if DEFINITIONS.contains(&(id.group.as_str(), kind)) => 0,
            kind if kind.ends_with("Class") => 1,
            kind if custom.iter().any(|(group, name)| *group == id.group && name == kind) => 2,
            _ => 3,
        };
        stages[stage].objects.push(object);
    }
    for stage in &mut stages {
        stage.objects.sort_by_cached_key(|object| {
            let id = ObjectId::of(object);
            (rank(&id.kind), id)
        });
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "n"}})
    }

    #[track_caller]
    fn check(objects: &[(&str, &str, &str)], custom: &[(String, String)], expected: &[&[&str]]) {
        let objects = objects
            .iter()
            .map(|(version, kind, name)| object(version, kind, name))
            .collect();
        let stages = stages(objects, custom);
        let names: Vec<Vec<_>> = stages
            .iter()
            .map(|stage| {
                stage
                    .objects
                    .iter()
                    .map(|object| object["metadata"]["name"].as_str().unwrap())
                    .collect()
            })
            .collect();
        assert_eq!(names, expected);
        assert_eq!(
            stages.iter().map(|stage| stage.awaited).collect::<Vec<_>>(),
            [true, true, false, false]
        );
    }

    #[test]
    fn definitions_and_classes_come_before_what_needs_them() {
        check(
            &[
                ("apps/v1", "Deployment", "web"),
                ("example.test/v1", "Widget", "widget"),
                ("v1", "ConfigMap", "settings"),
                ("storage.k8s.io/v1", "StorageClass", "fast"),
                ("v1", "Namespace", "apps"),
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets"),
            ],
            &[],
            &[&["widgets", "apps"], &["fast"], &[], &["settings", "web", "widget"]],
        );
    }

    #[test]
    fn only_the_right_group_makes_a_definition() {
        check(
            &[("example.test/v1", "Namespace", "theirs"), ("v1", "Namespace", "ours")],
            &[],
            &[&["ours"], &[], &[], &["theirs"]],
        );
    }

    #[test]
    fn a_flag_can_define_a_stage() {
        let roles = [("rbac.authorization.k8s.io".to_owned(), "Role".to_owned())];
        let rbac = "rbac.authorization.k8s.io/v1";
        check(
            &[(rbac, "RoleBinding", "binding"), (rbac, "Role", "role")],
            &roles,
            &[&[], &[], &["role"], &["binding"]],
        );
    }

    #[test]
    fn objects_of_a_rank_are_sorted_by_group_kind_and_name() {
        check(
            &[
                ("b.test/v1", "A", "1"),
                ("a.test/v1", "Z", "2"),
                ("a.test/v1", "B", "4"),
                ("a.test/v1", "B", "3"),
            ],
            &[],
            &[&[], &[], &[], &["3", "4", "2", "1"]],
        );
    }

    #[test]
    fn webhooks_are_last() {
        assert!(rank("ValidatingWebhookConfiguration") > rank("MutatingWebhookConfiguration"));
        assert!(rank("MutatingWebhookConfiguration") > rank("Widget"));
        assert!(rank("Widget") > rank("PodDisruptionBudget"));
    }
}
