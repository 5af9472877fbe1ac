//! Who changed a field, as far as `metadata.managedFields` tells.

use super::path::{FieldPath, Segment};
use crate::apply::takeover::Writer;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// An entry of `metadata.managedFields` that names a manager.
struct Entry<'a> {
    writer: Writer<'a>,
    fields: &'a Value,
    time: Option<Timestamp>,
}

impl Entry<'_> {
    fn owns(&self, live: &Value, segments: &[Segment]) -> bool {
        let Some(fields) = self.fields.as_object() else {
            return false;
        };
        !fields.is_empty() && owns(fields, Some(live), segments)
    }
}

/// The manager that changed one of these fields of a live object, other than ourselves.
///
/// That is whoever owns one of them now, the latest if several do; a manager that owns it through a subresource (as an
/// autoscaler does) only if nobody else does. A field that nobody owns was removed, and the API server does not tell by
/// whom: then it is the latest other manager that wrote to the same part of the object since our apply. For annotations
/// that is no guess worth making, because controllers write their own there all the time.
pub fn culprit(live: &Value, paths: &[FieldPath]) -> Option<String> {
    let entries: Vec<_> = live["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| Entry {
            writer: Writer::of(entry),
            fields: &entry["fieldsV1"],
            time: entry["time"].as_str().and_then(|time| time.parse().ok()),
        })
        .collect();
    let (ours, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.writer.is_our_apply());
    let others = || others.iter().copied().filter(|entry| !entry.writer.manager.is_empty());
    let main = || others().filter(|entry| entry.writer.is_main_resource());
    let owns_any = |entry: &&Entry<'_>| paths.iter().any(|path| entry.owns(live, path.segments()));

    let owner = latest(main().filter(owns_any)).or_else(|| latest(others().filter(owns_any)));
    let culprit = owner.or_else(|| {
        let applied = ours.iter().map(|entry| entry.time).max().flatten();
        let parts: Vec<_> = paths
            .iter()
            .filter(|path| !ours.iter().any(|entry| entry.owns(live, path.segments())))
            .filter_map(part)
            .collect();
        let touched = |entry: &&Entry<'_>| parts.iter().any(|part| entry.owns(live, part));
        latest(main().filter(|entry| entry.time >= applied).filter(touched))
    })?;
    Some(culprit.writer.manager.to_owned())
}

fn latest<'a, 'b: 'a>(entries: impl Iterator<Item = &'a Entry<'b>>) -> Option<&'a Entry<'b>> {
    entries.max_by_key(|entry| entry.time)
}

/// The part of the object that a field is in: `.spec`, `.data`, `.metadata.labels`.
fn part(path: &FieldPath) -> Option<&[Segment]> {
    let segments = path.segments();
    match segments {
        [Segment::Field(first), Segment::Field(second), ..] if first == "metadata" => {
            (second != "annotations").then(|| &segments[..2])
        }
        _ => segments.get(..1),
    }
}

/// Whether a set of fields has a field, all that is above it, or something below it. The value is the live one that the
/// set is about: it tells which item of a list a key belongs to.
pub(super) fn owns(fields: &Map<String, Value>, live: Option<&Value>, segments: &[Segment]) -> bool {
    // A member without members is the field with all that is below it.
    let Some((first, rest)) = segments.split_first().filter(|_| !fields.is_empty()) else {
        return true;
    };
    let next = live.and_then(|live| first.step(live));
    let below = |fields: &Value| fields.as_object().is_some_and(|fields| owns(fields, next, rest));
    match first {
        Segment::Field(name) => fields.get(&format!("f:{name}")).is_some_and(below),
        Segment::Item(_) | Segment::Index(_) => fields
            .iter()
            .any(|(member, fields)| is_item(member, first, next) && below(fields)),
    }
}

/// Whether a member of a list's set (`k:{"name":"web"}`, `v:"a"`, `i:0`) is an item.
fn is_item(member: &str, segment: &Segment, item: Option<&Value>) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (member.split_once(':'), item, segment) {
        (Some(("k", keys)), Some(item), _) => parsed(keys)
            .as_ref()
            .and_then(Value::as_object)
            .is_some_and(|keys| keys.iter().all(|(name, value)| item.get(name) == Some(value))),
        (Some(("v", value)), Some(item), _) => parsed(value).as_ref() == Some(item),
        (Some(("i", index)), _, Segment::Index(at)) => index.parse() == Ok(*at),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::differences;
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, second: u8, fields: Value) -> Value {
        let time = format!("2026-01-02T03:04:{second:02}Z");
        json!({ "manager": manager, "operation": operation, "time": time, "fieldsV1": fields })
    }

    fn ours(fields: Value) -> Value {
        entry("kustomize-controller", "Apply", 10, fields)
    }

    fn of_subresource(mut entry: Value, subresource: &str) -> Value {
        entry["subresource"] = subresource.into();
        entry
    }

    /// Who made the live object differ from the wanted one.
    #[track_caller]
    fn check(live: Value, wanted: Value, entries: Value, expected: Option<&str>) {
        let object = |extra: Value| {
            let mut object = json!({ "kind": "Deployment", "metadata": { "resourceVersion": "1" } });
            json_patch::merge(&mut object, &extra);
            object
        };
        let (mut live, wanted) = (object(live), object(wanted));
        live["metadata"]["managedFields"] = entries;
        let paths = differences(&live, &wanted).paths;
        assert!(!paths.is_empty());
        assert_eq!(culprit(&live, &paths).as_deref(), expected, "{paths:?}");
    }

    fn replicas(count: u8) -> Value {
        json!({ "spec": { "replicas": count } })
    }

    fn owned_replicas() -> Value {
        json!({ "f:spec": { "f:replicas": {} } })
    }

    #[test]
    fn the_owner_of_the_field_changed_it() {
        check(
            replicas(5),
            replicas(1),
            json!([
                ours(json!({ "f:spec": { "f:paused": {} } })),
                entry("helm", "Update", 50, json!({ "f:spec": { "f:template": {} } })),
                entry("kubectl-edit", "Update", 20, owned_replicas()),
            ]),
            Some("kubectl-edit"),
        );
    }

    #[test]
    fn the_latest_of_several_owners_changed_it() {
        check(
            replicas(5),
            replicas(1),
            json!([
                entry("late", "Apply", 30, owned_replicas()),
                entry("early", "Apply", 20, owned_replicas()),
            ]),
            Some("late"),
        );
    }

    #[test]
    fn a_subresource_counts_when_it_is_the_only_owner() {
        let scale = of_subresource(entry("kubectl", "Update", 40, owned_replicas()), "scale");
        check(replicas(5), replicas(1), json!([scale]), Some("kubectl"));
        check(
            replicas(5),
            replicas(1),
            json!([scale, entry("keda", "Update", 20, owned_replicas())]),
            Some("keda"),
        );
    }

    #[test]
    fn our_own_apply_is_nobody_else_but_an_update_under_our_name_is() {
        check(replicas(5), replicas(1), json!([ours(owned_replicas())]), None);
        check(
            replicas(5),
            replicas(1),
            json!([entry("kustomize-controller", "Update", 20, owned_replicas())]),
            Some("kustomize-controller"),
        );
    }

    #[test]
    fn a_field_that_we_still_own_was_not_removed_by_others() {
        check(
            replicas(5),
            replicas(1),
            json!([
                ours(owned_replicas()),
                entry("helm", "Update", 50, json!({ "f:spec": { "f:paused": {} } })),
            ]),
            None,
        );
    }

    fn env(container: &str, value: &str) -> Value {
        json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "side", "env": [{ "name": "A", "value": "1" }] },
            { "name": container, "env": [{ "name": "A", "value": value }] },
        ] } } } })
    }

    fn owned_env(container: &str) -> Value {
        json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": { container: {
            ".": {}, "f:env": { "k:{\"name\":\"A\"}": { "f:value": {} } }
        } } } } } })
    }

    #[test]
    fn items_of_lists_are_found_by_their_keys() {
        check(
            env("web", "2"),
            env("web", "1"),
            json!([
                entry("other", "Update", 40, owned_env("k:{\"name\":\"side\"}")),
                entry("kubectl-set", "Update", 20, owned_env("k:{\"name\":\"web\"}")),
            ]),
            Some("kubectl-set"),
        );
    }

    #[test]
    fn keys_that_are_not_in_the_path_are_looked_up_in_the_object() {
        let ports =
            |target: u16| json!({ "spec": { "ports": [{ "port": 80, "name": "http", "targetPort": target }] } });
        let owned = |key: &str| json!({ "f:spec": { "f:ports": { key: { "f:targetPort": {} } } } });
        check(
            ports(8080),
            ports(80),
            json!([
                entry("other", "Update", 40, owned("k:{\"name\":\"metrics\"}")),
                entry("kubectl-patch", "Update", 20, owned("k:{\"name\":\"http\"}")),
            ]),
            Some("kubectl-patch"),
        );
    }

    #[test]
    fn who_owns_all_of_a_list_owns_its_items() {
        let rules = |verb: &str| json!({ "rules": [{ "verbs": [verb] }] });
        check(
            rules("*"),
            rules("get"),
            json!([entry("kubectl-patch", "Update", 20, json!({ "f:rules": {} }))]),
            Some("kubectl-patch"),
        );
    }

    #[test]
    fn who_owns_a_map_does_not_own_what_others_put_there() {
        let labels = |value: &str| json!({ "metadata": { "labels": { "a": value } } });
        let owned = |label: &str| json!({ "f:metadata": { "f:labels": { ".": {}, label: {} } } });
        check(
            labels("2"),
            labels("1"),
            json!([
                entry("other", "Update", 40, owned("f:b")),
                entry("kubectl-label", "Update", 20, owned("f:a")),
            ]),
            Some("kubectl-label"),
        );
    }

    #[test]
    fn items_of_sets_are_found_by_value_and_by_index() {
        let spec = |value: u8| json!({ "spec": { "list": [{ "x": value }] } });
        for member in ["i:0", "v:{\"x\":2}"] {
            check(
                spec(2),
                spec(1),
                json!([
                    entry(
                        "other",
                        "Update",
                        40,
                        json!({ "f:spec": { "f:list": { "i:1": {}, "v:{\"x\":1}": {} } } })
                    ),
                    entry("x", "Update", 20, json!({ "f:spec": { "f:list": { member: {} } } })),
                ]),
                Some("x"),
            );
        }
    }

    #[test]
    fn a_removed_field_was_removed_by_who_wrote_to_that_part_since() {
        let removed = |entries: Value, expected| check(json!({ "spec": {} }), replicas(1), entries, expected);
        let paused = json!({ "f:spec": { "f:paused": {} } });
        let before = entry("early", "Update", 9, paused.clone());
        removed(json!([ours(json!({ "f:spec": { "f:x": {} } })), before]), None);
        let at_once = entry("kubectl-replace", "Update", 10, paused.clone());
        removed(json!([ours(json!({})), before, at_once]), Some("kubectl-replace"));
        let later = entry("helm", "Apply", 11, paused.clone());
        removed(json!([ours(json!({})), at_once, later]), Some("helm"));
        let status = of_subresource(entry("kubelet", "Update", 50, paused), "status");
        removed(json!([ours(json!({})), status]), None);
        let elsewhere = entry(
            "x",
            "Update",
            50,
            json!({ "f:metadata": { "f:annotations": { "f:a": {} } } }),
        );
        removed(json!([ours(json!({})), elsewhere]), None);
    }

    #[test]
    fn nobody_is_accused_of_a_removed_annotation() {
        let written = json!({ "f:metadata": { "f:annotations": { "f:b": {} }, "f:labels": { "f:b": {} } } });
        for (part, expected) in [("annotations", None), ("labels", Some("x"))] {
            check(
                json!({}),
                json!({ "metadata": { part: { "a": "1" } } }),
                json!([ours(json!({})), entry("x", "Update", 50, written.clone())]),
                expected,
            );
        }
    }

    #[test]
    fn cleared_entries_accuse_nobody() {
        check(replicas(5), replicas(1), json!([{}]), None);
        check(replicas(5), replicas(1), Value::Null, None);
        check(
            replicas(5),
            replicas(1),
            json!([
                entry("x", "Update", 50, json!({})),
                entry("y", "Update", 50, json!({ "f:data": {} }))
            ]),
            None,
        );
    }
}
