//! What of an object's metadata shows that somebody else touched what we applied. Pure.
//!
//! The API server keeps in `metadata.managedFields` which manager set which field. A field of ours that another one
//! changes or removes leaves our entry, and an apply under our name that changes a value moves the entry's time. So the
//! metadata, of which a watch costs little, is enough to tell drift from everything that does not concern us.
//!
//! Covered:
//! - the uid: an object of the same name that somebody else created is another one,
//! - our own Apply entry: its API version, fields and time,
//! - the entries, annotations and labels that the next apply would take over,
//! - the marks by which people say how the object is to be treated, and the labels that name its owner.
//!
//! Deliberately not covered: status, the fields of other managers, and all that only counts changes (resource version,
//! generation). Not seen, because the API server does not tell it there: a field that we own in common with another
//! manager and that the other one leaves alone, and two applies under our name within one second.

use crate::apply::takeover::{ANNOTATIONS, LABELS, Writer};
use api::meta::key;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The marks, each of which counts as a label and as an annotation.
const MARKS: [&str; 4] = [key::RECONCILE, key::SSA, key::FORCE, key::PRUNE];
/// The labels that name the owner.
const OWNER: [&str; 2] = [key::OWNER_NAME, key::OWNER_NAMESPACE];

/// Hashes of an object's identity and of the metadata that matters to us. For memory only: equal within one process,
/// not between versions of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    uid: u64,
    fields: u64,
}

impl Fingerprint {
    /// The fingerprint of an object in an API server's answer, of which this is the `metadata`.
    ///
    /// `override_managers` are the beginnings of names of further managers that are taken over.
    pub fn of(metadata: &Value, override_managers: &[String]) -> Self {
        let entries = metadata["managedFields"].as_array().into_iter().flatten();
        fingerprint(
            metadata["uid"].as_str().unwrap_or_default(),
            entries.map(Entry::of_value),
            |place, key| metadata[place.as_str()][key].as_str(),
            override_managers,
        )
    }

    /// The fingerprint of an object in a watch event; equal to that of [`Fingerprint::of`] for the same object.
    pub fn of_meta(metadata: &ObjectMeta, override_managers: &[String]) -> Self {
        let entries = metadata.managed_fields.iter().flatten();
        fingerprint(
            metadata.uid.as_deref().unwrap_or_default(),
            entries.map(Entry::of_meta),
            |place, key| {
                let map = match place {
                    Place::Labels => metadata.labels.as_ref(),
                    Place::Annotations => metadata.annotations.as_ref(),
                };
                map?.get(key).map(String::as_str)
            },
            override_managers,
        )
    }

    /// Whether both are of one object, not of two that had the same name one after the other.
    pub fn same_object(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

/// Where a key with a value can be.
#[derive(Clone, Copy, Hash)]
enum Place {
    Labels,
    Annotations,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Labels => "labels",
            Place::Annotations => "annotations",
        }
    }
}

/// An entry of `metadata.managedFields`, of either form.
struct Entry<'a> {
    writer: Writer<'a>,
    api_version: &'a str,
    /// Seconds since 1970; the API server writes no parts of them.
    time: Option<i64>,
    fields: &'a Value,
}

impl<'a> Entry<'a> {
    fn of_value(entry: &'a Value) -> Self {
        let time = entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        Entry {
            writer: Writer::of(entry),
            api_version: entry["apiVersion"].as_str().unwrap_or_default(),
            time: time.map(Timestamp::as_second),
            fields: &entry["fieldsV1"],
        }
    }

    fn of_meta(entry: &'a ManagedFieldsEntry) -> Self {
        Entry {
            writer: Writer {
                manager: entry.manager.as_deref().unwrap_or_default(),
                operation: entry.operation.as_deref().unwrap_or_default(),
                subresource: entry.subresource.as_deref().unwrap_or_default(),
            },
            api_version: entry.api_version.as_deref().unwrap_or_default(),
            time: entry.time.as_ref().map(|time| time.0.as_second()),
            fields: entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0),
        }
    }

    /// The hash of what matters of the entry; nothing when nothing does.
    fn hash(&self, override_managers: &[String]) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        if self.writer.is_our_apply() {
            (0_u8, self.api_version, self.time).hash(&mut hasher);
        } else if self.writer.is_taken_over(override_managers) {
            // Not the time: what would be taken over is the fields.
            (1_u8, self.writer).hash(&mut hasher);
        } else {
            return None;
        }
        hash_value(self.fields, &mut hasher);
        Some(hasher.finish())
    }
}

fn fingerprint<'a>(
    uid: &str,
    entries: impl Iterator<Item = Entry<'a>>,
    value: impl Fn(Place, &str) -> Option<&'a str>,
    override_managers: &[String],
) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let uid = hasher.finish();

    let mut hasher = DefaultHasher::new();
    for mark in MARKS {
        value(Place::Labels, mark).hash(&mut hasher);
        value(Place::Annotations, mark).hash(&mut hasher);
    }
    for label in OWNER {
        value(Place::Labels, label).hash(&mut hasher);
    }
    for annotation in ANNOTATIONS {
        value(Place::Annotations, annotation).is_some().hash(&mut hasher);
    }
    for label in LABELS {
        value(Place::Labels, label).is_some().hash(&mut hasher);
    }
    // The API server sorts entries by time among others, so their order says nothing about those that matter.
    let mut hashes: Vec<u64> = entries.filter_map(|entry| entry.hash(override_managers)).collect();
    hashes.sort_unstable();
    hashes.hash(&mut hasher);
    Fingerprint {
        uid,
        fields: hasher.finish(),
    }
}

/// Hashes a value whose maps may or may not keep the order in which they were written. The depth is bounded by the
/// parser that made the value.
fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(value) => (1_u8, value).hash(hasher),
        Value::Number(value) => (2_u8, value).hash(hasher),
        Value::String(value) => (3_u8, value).hash(hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(hasher);
            for item in items {
                hash_value(item, hasher);
            }
        }
        Value::Object(map) => {
            (5_u8, map.len()).hash(hasher);
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in members {
                key.hash(hasher);
                hash_value(value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Deployment as an API server answers after an apply, a rollout and a scale by an autoscaler.
    fn applied() -> Value {
        json!({
            "name": "web", "namespace": "apps", "uid": "u1", "resourceVersion": "10", "generation": 1,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": { key::OWNER_NAME: "apps", key::OWNER_NAMESPACE: "flux-system", "app": "web" },
            "annotations": { "deployment.kubernetes.io/revision": "1" },
            "managedFields": [
                {
                    "manager": "kustomize-controller", "operation": "Apply", "apiVersion": "apps/v1",
                    "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
                    "fieldsV1": { "f:spec": { "f:replicas": {}, "f:template": {
                        "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { ".": {}, "f:image": {}, "f:name": {} } } }
                    } } },
                },
                {
                    "manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1",
                    "time": "2026-01-02T03:04:06Z", "fieldsType": "FieldsV1",
                    "fieldsV1": { "f:spec": { "f:paused": {} } },
                },
                {
                    "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1",
                    "time": "2026-01-02T03:04:07Z", "fieldsType": "FieldsV1", "subresource": "status",
                    "fieldsV1": { "f:status": { "f:replicas": {} } },
                },
            ],
        })
    }

    /// Both forms of the fingerprint, which must be equal.
    #[track_caller]
    fn of_both(metadata: &Value) -> Fingerprint {
        let managers = ["node-fetch".to_owned()];
        let decoded: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
        let fingerprint = Fingerprint::of(metadata, &managers);
        assert_eq!(fingerprint, Fingerprint::of_meta(&decoded, &managers), "{metadata}");
        fingerprint
    }

    /// Whether a change is seen.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), seen: bool) {
        let mut changed = applied();
        change(&mut changed);
        assert_eq!(of_both(&applied()) != of_both(&changed), seen, "{changed}");
    }

    fn add(entry: Value) -> impl FnOnce(&mut Value) {
        move |object| object["managedFields"].as_array_mut().unwrap().push(entry)
    }

    fn entry(manager: &str, operation: &str) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": "2026-01-02T03:05:00Z", "fieldsV1": { "f:spec": { "f:paused": {} } },
        })
    }

    #[test]
    fn a_field_that_leaves_our_entry_is_seen() {
        check(
            |object| {
                let spec = &mut object["managedFields"][0]["fieldsV1"]["f:spec"];
                spec.as_object_mut().unwrap().remove("f:replicas");
            },
            true,
        );
    }

    #[test]
    fn a_moved_time_or_another_version_of_our_entry_is_seen() {
        check(
            |object| object["managedFields"][0]["time"] = "2026-01-02T03:04:06Z".into(),
            true,
        );
        check(
            |object| object["managedFields"][0]["apiVersion"] = "apps/v2".into(),
            true,
        );
    }

    #[test]
    fn parts_of_seconds_and_zones_are_the_same_time() {
        check(
            |object| object["managedFields"][0]["time"] = "2026-01-02T03:04:05.25Z".into(),
            false,
        );
        check(
            |object| object["managedFields"][0]["time"] = "2026-01-02T04:04:05+01:00".into(),
            false,
        );
    }

    #[test]
    fn cleared_and_missing_entries_are_seen() {
        check(|object| object["managedFields"] = json!([]), true);
        check(|object| object["managedFields"] = json!([{}]), true);
        check(|object| object["managedFields"] = Value::Null, true);
        let none = |entries: Value| of_both(&json!({ "uid": "u1", "managedFields": entries }));
        assert_eq!(none(json!([{}])), none(Value::Null));
    }

    #[test]
    fn status_and_fields_of_others_are_not_seen() {
        check(
            |object| {
                object["managedFields"][2]["fieldsV1"] = json!({ "f:status": {} });
                object["managedFields"][2]["time"] = "2026-01-02T04:00:00Z".into();
            },
            false,
        );
        check(add(entry("keda", "Update")), false);
        check(add(entry("keda", "Apply")), false);
        check(
            |object| {
                object["resourceVersion"] = "11".into();
                object["generation"] = 2.into();
                object["labels"]["theirs"] = "x".into();
                object["annotations"]["deployment.kubernetes.io/revision"] = "2".into();
                object["finalizers"] = json!(["x"]);
            },
            false,
        );
    }

    #[test]
    fn fields_that_the_next_apply_takes_over_are_seen() {
        check(add(entry("kubectl-patch", "Update")), true);
        check(add(entry("kubectl", "Apply")), true);
        check(add(entry("before-first-apply", "Update")), true);
        check(add(entry("kustomize-controller", "Update")), true);
        check(add(entry("node-fetch", "Update")), true);
        check(
            |object| object["managedFields"][1]["fieldsV1"] = json!({ "f:spec": {} }),
            true,
        );
    }

    #[test]
    fn the_time_of_what_is_taken_over_is_not_seen() {
        check(
            |object| object["managedFields"][1]["time"] = "2026-01-02T04:00:00Z".into(),
            false,
        );
    }

    #[test]
    fn subresources_of_managers_that_are_taken_over_are_not_seen() {
        let mut scaled = entry("kubectl", "Update");
        scaled["subresource"] = "scale".into();
        check(add(scaled), false);
    }

    #[test]
    fn the_order_of_entries_is_not_seen() {
        check(
            |object| object["managedFields"].as_array_mut().unwrap().reverse(),
            false,
        );
    }

    #[test]
    fn marks_are_seen_wherever_they_are() {
        for mark in MARKS {
            check(|object| object["labels"][mark] = "disabled".into(), true);
            check(|object| object["annotations"][mark] = "disabled".into(), true);
        }
        let at = |place: &str| {
            let mut object = applied();
            object[place][key::SSA] = "Ignore".into();
            of_both(&object)
        };
        assert_ne!(at("labels"), at("annotations"));
    }

    #[test]
    fn another_owner_is_seen() {
        check(|object| object["labels"][key::OWNER_NAME] = "other".into(), true);
        check(
            |object| {
                object["labels"].as_object_mut().unwrap().remove(key::OWNER_NAMESPACE);
            },
            true,
        );
    }

    #[test]
    fn annotations_and_labels_that_are_taken_over_are_seen_but_not_their_values() {
        let with = |place: &str, key: &str, value: &str| {
            let mut object = applied();
            object[place][key] = value.into();
            of_both(&object)
        };
        let places = ANNOTATIONS.map(|key| ("annotations", key)).into_iter();
        for (place, key) in places.chain(LABELS.map(|key| ("labels", key))) {
            assert_ne!(with(place, key, "a"), of_both(&applied()), "{key}");
            assert_eq!(with(place, key, "a"), with(place, key, "b"), "{key}");
        }
    }

    #[test]
    fn an_object_that_was_created_anew_is_another_one() {
        let mut other = applied();
        other["uid"] = "u2".into();
        let (one, other) = (of_both(&applied()), of_both(&other));
        assert_ne!(one, other);
        assert!(!one.same_object(&other));
        let mut touched = applied();
        touched["managedFields"] = json!([]);
        assert!(one.same_object(&of_both(&touched)));
    }

    #[test]
    fn keys_count_in_any_order_but_values_do_not_move_between_them() {
        let hash = |text: &str| {
            let mut hasher = DefaultHasher::new();
            hash_value(&serde_json::from_str(text).unwrap(), &mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(r#"{"a":{},"b":[1]}"#), hash(r#"{"b":[1],"a":{}}"#));
        assert_ne!(hash(r#"{"a":{"b":{}}}"#), hash(r#"{"a":{},"b":{}}"#));
        assert_ne!(hash(r#"{"a":"1"}"#), hash(r#"{"a":1}"#));
    }
}
