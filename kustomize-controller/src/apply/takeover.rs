//! Taking over what other tools left on an object: the JSON patch that makes their fields ours, so that the apply which
//! follows drops whatever the manifest does not name. Pure.
//!
//! Taken over are the fields of kubectl (any command of it), of the time before the first apply, of ourselves before
//! server-side apply, and of the managers the administrator names. Fields of subresources and of all others stay.

use super::mark::marked;
use crate::cluster::FIELD_MANAGER;
use crate::drift::resource_version;
use api::meta::key;
use serde_json::{Map, Value, json};

/// Annotations that tools left behind.
pub(crate) const ANNOTATIONS: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kustomize.toolkit.fluxcd.io/checksum",
    "fluxcd.io/sync-checksum",
];
/// Labels that tools left behind.
pub(crate) const LABELS: [&str; 1] = ["fluxcd.io/sync-gc-mark"];
/// Beginnings of managers' names, and whether their applied fields are taken over as well as their updated ones.
const MANAGERS: [(&str, bool); 3] = [("kubectl", true), ("before-first-apply", false), (FIELD_MANAGER, false)];

/// The patch for a live object, as RFC 6902 operations; nothing when there is nothing to take over, or when either
/// object is marked to be merged.
///
/// It holds the resource version, so that it fails with a conflict rather than undo what happened meanwhile.
pub fn takeover(desired: &Value, live: &Value, override_managers: &[String]) -> Option<Value> {
    if [desired, live]
        .into_iter()
        .any(|object| marked(object, key::SSA, key::SSA_MERGE))
    {
        return None;
    }
    let mut operations = Vec::new();
    for (place, keys) in [("annotations", ANNOTATIONS.as_slice()), ("labels", &LABELS)] {
        for key in keys.iter().filter(|key| live["metadata"][place].get(key).is_some()) {
            let path = format!("/metadata/{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            operations.push(json!({ "op": "remove", "path": path }));
        }
    }
    let entries = live["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if let Some(entries) = reclaimed(entries, override_managers) {
        operations.push(json!({ "op": "replace", "path": "/metadata/managedFields", "value": entries }));
    }
    if operations.is_empty() {
        return None;
    }
    let version = resource_version(live);
    operations.push(json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version }));
    Some(Value::Array(operations))
}

/// The managers whose fields are taken over from a live object, each once.
pub(crate) fn managers(live: &Value, override_managers: &[String]) -> Vec<String> {
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(Writer::of)
        .filter(|writer| writer.is_taken_over(override_managers))
        .map(|writer| writer.manager.to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether the fields of an entry of `metadata.managedFields` are ours, or are taken over.
pub(crate) fn is_ours_or_taken_over(entry: &Value, override_managers: &[String]) -> bool {
    let writer = Writer::of(entry);
    writer.is_our_apply() || writer.is_taken_over(override_managers)
}

/// The fields that we own according to the API server; nothing when it knows of no apply of ours.
pub(crate) fn owned_fields(object: &Value) -> Option<&Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let ours = entries.iter().find(|entry| Writer::of(entry).is_our_apply())?;
    Some(&ours["fieldsV1"])
}

/// The entries with those of others made part of ours; nothing when there are none.
fn reclaimed(entries: &[Value], override_managers: &[String]) -> Option<Vec<Value>> {
    let (theirs, mut others): (Vec<_>, Vec<_>) = entries
        .iter()
        .cloned()
        .partition(|entry| Writer::of(entry).is_taken_over(override_managers));
    if theirs.is_empty() {
        return None;
    }
    let ours = others.iter().position(|entry| Writer::of(entry).is_our_apply());
    let mut theirs = theirs.into_iter();
    // Without an entry of ours, the first of theirs becomes it.
    let mut ours = ours.map(|index| others.remove(index)).or_else(|| theirs.next())?;
    for entry in theirs {
        let mine = ours["fieldsV1"].take();
        ours["fieldsV1"] = united(mine, entry["fieldsV1"].clone());
    }
    ours["manager"] = FIELD_MANAGER.into();
    ours["operation"] = "Apply".into();
    others.push(ours);
    Some(others)
}

/// Who wrote an entry of `metadata.managedFields`, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// The subresource; empty for the main resource.
    pub subresource: &'a str,
}

impl<'a> Writer<'a> {
    /// The writer of an entry; missing parts are empty.
    pub(crate) fn of(entry: &'a Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        Writer {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
        }
    }

    /// Whether the entry holds what we applied.
    pub(crate) fn is_our_apply(self) -> bool {
        self.manager == FIELD_MANAGER && self.operation == "Apply" && self.is_main_resource()
    }

    /// Whether the fields of the entry become ours.
    pub(crate) fn is_taken_over(self, override_managers: &[String]) -> bool {
        let applied = self.operation == "Apply";
        let by_name = MANAGERS
            .iter()
            .any(|(name, also_applied)| self.manager.starts_with(name) && (!applied || *also_applied));
        let overridden = override_managers
            .iter()
            .any(|name| self.manager.starts_with(name.as_str()));
        self.is_main_resource() && (by_name || overridden) && !(applied && self.manager == FIELD_MANAGER)
    }

    /// Whether the entry is not about a subresource.
    pub(crate) fn is_main_resource(self) -> bool {
        self.subresource.is_empty()
    }
}

/// The union of two sets of fields. A field without fields below is in the set itself; one with fields below is only
/// if it has the member `.`.
fn united(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let itself = one.is_empty() != other.is_empty();
            let mut fields = one;
            for (name, below) in other {
                let merged = match fields.remove(&name) {
                    Some(mine) => united(mine, below),
                    None => below,
                };
                fields.insert(name, merged);
            }
            if itself {
                fields.entry(".").or_insert_with(|| Value::Object(Map::new()));
            }
            Value::Object(fields)
        }
        (Value::Null, other) => other,
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields })
    }

    /// Managers and fields after the takeover.
    #[track_caller]
    fn check(entries: Value, expected: Option<Value>) {
        let live = json!({ "metadata": { "resourceVersion": "7", "managedFields": entries } });
        let patch = takeover(&json!({}), &live, &["node-fetch".to_owned()]);
        let entries = patch.map(|patch| patch[0]["value"].clone());
        assert_eq!(entries, expected);
    }

    #[test]
    fn fields_of_kubectl_become_ours() {
        check(
            json!([
                entry("kustomize-controller", "Apply", json!({ "f:data": { "f:a": {} } })),
                entry("kubectl-edit", "Update", json!({ "f:data": { "f:b": {} } })),
                entry("kubectl", "Apply", json!({ "f:data": { "f:c": {} } })),
                entry("other", "Update", json!({ "f:data": { "f:d": {} } })),
            ]),
            Some(json!([
                entry("other", "Update", json!({ "f:data": { "f:d": {} } })),
                entry(
                    "kustomize-controller",
                    "Apply",
                    json!({ "f:data": { "f:a": {}, "f:b": {}, "f:c": {} } })
                ),
            ])),
        );
    }

    #[test]
    fn the_first_becomes_ours_when_we_have_none() {
        check(
            json!([
                entry("before-first-apply", "Update", json!({ "f:a": {} })),
                entry("node-fetch", "Apply", json!({ "f:b": {} })),
            ]),
            Some(json!([entry(
                "kustomize-controller",
                "Apply",
                json!({ "f:a": {}, "f:b": {} })
            )])),
        );
    }

    #[test]
    fn others_and_subresources_stay() {
        check(
            json!([
                entry("kustomize-controller", "Apply", json!({ "f:a": {} })),
                entry("flux-client-side-apply", "Update", json!({ "f:b": {} })),
                entry("before-first-apply", "Apply", json!({ "f:b": {} })),
                { "manager": "kubectl-edit", "operation": "Update", "subresource": "status", "fieldsV1": {} },
            ]),
            None,
        );
    }

    #[test]
    fn a_field_and_fields_below_it_are_both_kept() {
        let one = json!({ "f:a": {}, "f:b": { ".": {}, "f:x": {} } });
        let other = json!({ "f:a": { "f:y": {} }, "f:b": { "f:z": {} } });
        let both = json!({ "f:a": { ".": {}, "f:y": {} }, "f:b": { ".": {}, "f:x": {}, "f:z": {} } });
        assert_eq!(united(one, other), both);
    }

    #[test]
    fn marks_of_other_tools_are_removed() {
        let live = json!({ "metadata": {
            "resourceVersion": "7",
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x" },
            "labels": { "fluxcd.io/sync-gc-mark": "x" },
        } });
        let expected = json!([
            { "op": "remove", "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration" },
            { "op": "remove", "path": "/metadata/labels/fluxcd.io~1sync-gc-mark" },
            { "op": "replace", "path": "/metadata/resourceVersion", "value": "7" },
        ]);
        assert_eq!(takeover(&json!({}), &live, &[]), Some(expected));
        let merged = json!({ "metadata": { "annotations": { key::SSA: "merge" } } });
        assert_eq!(takeover(&merged, &live, &[]), None);
    }
}
