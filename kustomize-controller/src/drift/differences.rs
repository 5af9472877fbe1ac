//! Which fields an apply would change.

use super::path::{FieldPath, Key, Segment};
use super::{resource_version, without_repeated_metrics};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

/// How many paths are kept.
const KEPT: usize = 10;
/// How deep fields are told apart; what is below is one path.
const DEPTH: usize = 40;

/// What can tell the items of a list apart, by the field that holds the list, then for any list. The first keys are
/// taken that all items have, each with another value.
const LISTS: [(&str, &[&[&str]]); 3] = [
    (
        "ports",
        &[
            &["containerPort", "protocol"],
            &["containerPort"],
            &["port", "protocol"],
            &["port"],
        ],
    ),
    ("volumeMounts", &[&["mountPath"]]),
    ("volumeDevices", &[&["devicePath"]]),
];
const ANY_LIST: [&[&str]; 10] = [
    &["name"],
    &["containerPort", "protocol"],
    &["port"],
    &["mountPath"],
    &["devicePath"],
    &["topologyKey", "whenUnsatisfiable"],
    &["type"],
    &["key"],
    &["ip"],
    &["uid"],
];

/// The fields in which two objects differ, labels and annotations first, each part in order of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first of them, at most 10.
    pub paths: Vec<FieldPath>,
    /// How many there are besides.
    pub more: usize,
}

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The texts of the paths.
    pub fn to_strings(&self) -> Vec<String> {
        self.paths.iter().map(ToString::to_string).collect()
    }

    fn add(&mut self, path: &FieldPath) {
        match self.paths.len() < KEPT {
            true => self.paths.push(path.clone()),
            false => self.more += 1,
        }
    }
}

/// `.spec.replicas, .spec.paused and 3 more`.
impl fmt::Display for Differences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_strings().join(", "))?;
        match self.more {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// The fields in which a live object differs from the result of the dry run, by the rules of [`drifted`](super::drifted):
/// empty exactly if that says no. An object that does not exist differs as a whole.
///
/// Lists of maps are compared item by item where their items have names or other keys; other lists of maps by index,
/// and lists of plain values as a whole. A field that one side lacks is one path, whatever is below it.
pub fn differences(live: &Value, result: &Value) -> Differences {
    differences_where(live, result, &|_| true)
}

/// The [`differences`] that count.
pub(super) fn differences_where(live: &Value, result: &Value, counts: &dyn Fn(&FieldPath) -> bool) -> Differences {
    let mut differences = Differences::default();
    if resource_version(result).is_empty() {
        differences.add(&FieldPath::whole_object());
        return differences;
    }
    let (Some(one), Some(other)) = (live.as_object(), result.as_object()) else {
        differences.add(&FieldPath::whole_object());
        return differences;
    };
    let mut walk = Walk {
        differences,
        counts,
        found: 0,
        path: FieldPath::whole_object(),
        depth: 0,
        // Nothing in a Secret is there to be shown.
        with_keys: result["kind"] != "Secret" && live["kind"] != "Secret",
    };
    for part in ["annotations", "labels"] {
        walk.metadata(live, result, part);
    }
    let content = |key: &&String| !matches!(key.as_str(), "metadata" | "status");
    let names: BTreeSet<_> = one.keys().chain(other.keys()).filter(content).collect();
    let autoscaler = result["kind"] == "HorizontalPodAutoscaler";
    for name in names {
        match (autoscaler && name == "spec", one.get(name), other.get(name)) {
            (true, Some(live), Some(result)) => {
                let (live, result) = (without_repeated_metrics(live), without_repeated_metrics(result));
                walk.below(Segment::field(name), Some(&live), Some(&result));
            }
            (_, live, result) => walk.below(Segment::field(name), live, result),
        }
    }
    walk.differences
}

/// The fields that are an item's keys, and what an item has there.
type Names = &'static [&'static str];
type Keys = Vec<Key>;

struct Walk<'a> {
    differences: Differences,
    /// Which of them count.
    counts: &'a dyn Fn(&FieldPath) -> bool,
    /// How many there are, whether they count or not.
    found: usize,
    path: FieldPath,
    depth: usize,
    /// Whether items of lists may be named by their keys.
    with_keys: bool,
}

impl Walk<'_> {
    /// The field at hand differs.
    fn differs(&mut self) {
        self.found += 1;
        if (self.counts)(&self.path) {
            self.differences.add(&self.path);
        }
    }

    /// Labels or annotations, of which none are the same as an empty map.
    fn metadata(&mut self, live: &Value, result: &Value, part: &str) {
        let empty = Map::new();
        let live = live["metadata"][part].as_object().unwrap_or(&empty);
        let result = result["metadata"][part].as_object().unwrap_or(&empty);
        self.path.push(Segment::field("metadata"));
        self.path.push(Segment::field(part));
        self.maps(live, result);
        self.path.pop();
        self.path.pop();
    }

    /// Compares what is one step down.
    fn below(&mut self, segment: Segment, live: Option<&Value>, result: Option<&Value>) {
        if live == result {
            return;
        }
        self.path.push(segment);
        self.depth += 1;
        match (live, result) {
            (Some(Value::Object(live)), Some(Value::Object(result))) if self.depth < DEPTH => self.maps(live, result),
            (Some(Value::Array(live)), Some(Value::Array(result))) if self.depth < DEPTH => self.lists(live, result),
            _ => self.differs(),
        }
        self.depth -= 1;
        self.path.pop();
    }

    fn maps(&mut self, live: &Map<String, Value>, result: &Map<String, Value>) {
        let names: BTreeSet<_> = live.keys().chain(result.keys()).collect();
        for name in names {
            self.below(Segment::field(name), live.get(name), result.get(name));
        }
    }

    fn lists(&mut self, live: &[Value], result: &[Value]) {
        if !live.iter().chain(result).all(Value::is_object) {
            self.differs();
            return;
        }
        if let Some((names, live_keys, result_keys)) = self.keys(live, result) {
            if live_keys == result_keys {
                for (keys, (live, result)) in live_keys.into_iter().zip(live.iter().zip(result)) {
                    self.below(item(names, keys), Some(live), Some(result));
                }
                return;
            }
            self.keyed(
                names,
                live_keys.into_iter().zip(live),
                result_keys.into_iter().zip(result),
            );
            return;
        }
        for index in 0..live.len().max(result.len()) {
            self.below(Segment::Index(index), live.get(index), result.get(index));
        }
    }

    /// Compares lists whose items are not the same or not in the same order.
    fn keyed<'a>(
        &mut self,
        names: Names,
        live: impl Iterator<Item = (Keys, &'a Value)>,
        result: impl Iterator<Item = (Keys, &'a Value)>,
    ) {
        let before = self.found;
        let result: Vec<_> = result.collect();
        let mut missing: HashMap<&Keys, &Value> = result.iter().map(|(keys, item)| (keys, *item)).collect();
        for (keys, value) in live {
            let wanted = missing.remove(&keys);
            self.below(item(names, keys), Some(value), wanted);
        }
        for (keys, value) in &result {
            if missing.contains_key(keys) {
                self.below(item(names, keys.clone()), None, Some(value));
            }
        }
        if self.found == before {
            // The same items in another order.
            self.differs();
        }
    }

    /// The names of the keys that tell the items of both lists apart, and their values.
    fn keys(&self, live: &[Value], result: &[Value]) -> Option<(Names, Vec<Keys>, Vec<Keys>)> {
        if !self.with_keys {
            return None;
        }
        let field = match self.path.segments().last() {
            Some(Segment::Field(name)) => name.as_str(),
            _ => "",
        };
        let of_list = LISTS.iter().filter(|(list, _)| *list == field);
        let candidates = of_list.flat_map(|(_, keys)| keys.iter()).chain(&ANY_LIST);
        candidates
            .copied()
            .find_map(|names| Some((names, distinct(names, live)?, distinct(names, result)?)))
    }
}

fn item(names: Names, keys: Vec<Key>) -> Segment {
    Segment::Item(names.iter().copied().zip(keys).collect())
}

/// The keys of all items, if all have them and no two the same.
fn distinct(names: &[&str], items: &[Value]) -> Option<Vec<Keys>> {
    let keys = |item: &Value| names.iter().map(|name| Key::of(&item[*name])).collect();
    let keys: Vec<Keys> = items.iter().map(keys).collect::<Option<_>>()?;
    let distinct: HashSet<_> = keys.iter().collect();
    (distinct.len() == keys.len()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::super::drifted;
    use super::*;
    use serde_json::json;

    fn object(extra: Value) -> Value {
        let mut object = json!({ "kind": "Deployment", "metadata": { "resourceVersion": "1" } });
        json_patch::merge(&mut object, &extra);
        object
    }

    /// The paths, and that there are some exactly if the object has drifted.
    #[track_caller]
    fn check(live: Value, result: Value, expected: &[&str]) {
        let (live, result) = (object(live), object(result));
        let found = differences(&live, &result);
        assert_eq!(found.to_strings(), expected);
        assert_eq!(found.more, 0);
        assert_eq!(drifted(&live, &result), !found.is_empty());
    }

    fn containers(containers: Value) -> Value {
        json!({ "spec": { "template": { "spec": { "containers": containers } } } })
    }

    #[test]
    fn equal_objects_have_none() {
        check(json!({ "spec": { "a": [1] } }), json!({ "spec": { "a": [1] } }), &[]);
    }

    #[test]
    fn an_object_that_does_not_exist_differs_as_a_whole() {
        check(
            json!({}),
            json!({ "metadata": { "resourceVersion": null }, "spec": {} }),
            &["(the object)"],
        );
        let found = differences(&Value::Null, &object(json!({})));
        assert_eq!(found.to_string(), "(the object)");
    }

    #[test]
    fn labels_and_annotations_are_named_one_by_one() {
        check(
            json!({ "metadata": { "labels": { "x/y": "1", "same": "1" } } }),
            json!({ "metadata": { "labels": { "x/y": "2", "same": "1" }, "annotations": { "a": "1" } } }),
            &[".metadata.annotations.a", ".metadata.labels[\"x/y\"]"],
        );
        check(json!({ "metadata": { "labels": {} } }), json!({}), &[]);
    }

    #[test]
    fn other_metadata_and_status_have_none() {
        check(
            json!({ "metadata": { "finalizers": ["a"], "generation": 2 }, "status": { "a": 1 } }),
            json!({ "status": { "a": 2 } }),
            &[],
        );
    }

    #[test]
    fn fields_are_named_by_their_paths() {
        check(
            json!({ "spec": { "replicas": 5, "paused": true }, "data": { "a.b": "1" } }),
            json!({ "spec": { "replicas": 1 }, "data": { "a.b": "2" } }),
            &[".data[\"a.b\"]", ".spec.paused", ".spec.replicas"],
        );
    }

    #[test]
    fn a_subtree_that_one_side_lacks_is_one_path() {
        check(
            json!({ "spec": { "a": { "b": { "c": 1, "d": 2 } } } }),
            json!({ "spec": { "a": {} }, "data": { "x": "1", "y": "2" } }),
            &[".data", ".spec.a.b"],
        );
    }

    #[test]
    fn items_are_matched_by_name() {
        check(
            containers(json!([{ "name": "side", "image": "s" }, { "name": "web", "image": "evil" }])),
            containers(json!([{ "name": "web", "image": "good" }, { "name": "new", "image": "n" }])),
            &[
                ".spec.template.spec.containers[name=\"side\"]",
                ".spec.template.spec.containers[name=\"web\"].image",
                ".spec.template.spec.containers[name=\"new\"]",
            ],
        );
    }

    #[test]
    fn items_in_another_order_are_a_path_of_the_list() {
        check(
            containers(json!([{ "name": "a" }, { "name": "b" }])),
            containers(json!([{ "name": "b" }, { "name": "a" }])),
            &[".spec.template.spec.containers"],
        );
    }

    #[test]
    fn ports_are_matched_by_port_and_mounts_by_path() {
        let container = |ports: Value, mount: &str| {
            containers(json!([{
                "name": "web", "ports": ports,
                "volumeMounts": [{ "name": mount, "mountPath": "/a" }],
            }]))
        };
        check(
            container(
                json!([{ "name": "http", "containerPort": 80, "protocol": "TCP" }]),
                "one",
            ),
            container(
                json!([{ "name": "web", "containerPort": 80, "protocol": "TCP" }]),
                "other",
            ),
            &[
                ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].name",
                ".spec.template.spec.containers[name=\"web\"].volumeMounts[mountPath=\"/a\"].name",
            ],
        );
        check(
            json!({ "spec": { "ports": [{ "port": 80, "targetPort": 1 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "targetPort": 2 }] } }),
            &[".spec.ports[port=80].targetPort"],
        );
    }

    #[test]
    fn items_without_distinct_keys_are_matched_by_index() {
        check(
            json!({ "rules": [{ "verbs": ["get"] }, { "verbs": ["list"] }] }),
            json!({ "rules": [{ "verbs": ["get"] }, { "verbs": ["watch"] }, { "verbs": [] }] }),
            &[".rules[1].verbs", ".rules[2]"],
        );
        check(
            json!({ "items": [{ "name": "a", "x": 1 }, { "name": "a", "x": 2 }] }),
            json!({ "items": [{ "name": "a", "x": 1 }, { "name": "a", "x": 3 }] }),
            &[".items[1].x"],
        );
    }

    #[test]
    fn a_list_of_plain_values_is_one_path() {
        check(
            json!({ "spec": { "hosts": ["a", "b"] } }),
            json!({ "spec": { "hosts": ["c"] } }),
            &[".spec.hosts"],
        );
        check(
            json!({ "spec": { "hosts": [] } }),
            json!({ "spec": { "hosts": ["c"] } }),
            &[".spec.hosts"],
        );
    }

    #[test]
    fn repeated_metrics_of_autoscalers_have_none() {
        let metric = json!({ "type": "Resource" });
        let spec = |metrics: Value| json!({ "kind": "HorizontalPodAutoscaler", "spec": { "metrics": metrics } });
        check(
            spec(json!([metric])),
            spec(json!([metric, metric, { "type": "" }])),
            &[],
        );
        check(
            spec(json!([metric])),
            spec(json!([{ "type": "Pods" }])),
            &[".spec.metrics[type=\"Resource\"]", ".spec.metrics[type=\"Pods\"]"],
        );
    }

    #[test]
    fn nothing_of_a_secret_is_told_but_names_of_fields() {
        check(
            json!({ "kind": "Secret", "data": { "password": "czNjcjN0", "gone": "czNjcjN0" }, "l": [{ "name": "s3cr3t" }] }),
            json!({ "kind": "Secret", "data": { "password": "b3RoZXI=" }, "l": [{ "name": "other" }] }),
            &[".data.gone", ".data.password", ".l[0].name"],
        );
    }

    #[test]
    fn ten_are_kept_and_the_rest_is_counted() {
        let data = |value: &str| {
            let data: Map<String, Value> = (10..23).map(|index| (format!("k{index}"), value.into())).collect();
            object(json!({ "data": data }))
        };
        let found = differences(&data("a"), &data("b"));
        assert_eq!((found.paths.len(), found.more), (KEPT, 3));
        let text = found.to_string();
        assert!(
            text.starts_with(".data.k10, .data.k11, ") && text.ends_with(", .data.k19 and 3 more"),
            "{text}"
        );
    }

    #[test]
    fn what_is_too_deep_is_one_path() {
        let deep = |leaf: &str| {
            let value = (0..100).fold(json!({ "x": leaf, "y": leaf }), |below, _| json!({ "a": below }));
            object(json!({ "spec": value }))
        };
        let found = differences(&deep("1"), &deep("2"));
        assert_eq!(found.to_string(), format!(".spec{}", ".a".repeat(DEPTH - 1)));
    }
}
