//! Random patches for objects that are there.

use serde_json::{Map, Value, json};

use super::objects::{anything, labels};
use super::paths::{self, Step};
use super::scalar;
use crate::dice::Dice;

/// A strategic merge patch that changes a few fields of an object, without its identity.
pub fn strategic(dice: &mut Dice, object: &Value) -> Value {
    let mut patch = Value::Object(Map::new());
    let all: Vec<_> = paths::all(object).into_iter().filter(|path| is_body(path)).collect();
    if dice.chance(6) {
        patch["$patch"] = dice.pick(&["delete", "merge", "replace"]).into();
        return patch;
    }
    for _ in 0..dice.between(1, 3) {
        if all.is_empty() || dice.chance(10) {
            patch["metadata"] = json!({"annotations": {"patched": dice.text()}, "labels": labels(dice)});
            continue;
        }
        let path = all[dice.below(all.len())].clone();
        change(dice, object, &mut patch, &path);
    }
    patch
}

fn is_body(path: &[Step]) -> bool {
    match path {
        [Step::Key(first)] => !matches!(first.as_str(), "apiVersion" | "kind" | "metadata"),
        [Step::Key(first), Step::Key(second), ..] if first == "metadata" => {
            second == "labels" || second == "annotations"
        }
        _ => true,
    }
}

/// Puts a change of the field at `path` of `object` into the patch.
fn change(dice: &mut Dice, object: &Value, patch: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match (step, object) {
        (Step::Key(key), Value::Object(entries)) => {
            let Some(inner) = entries.get(key) else { return };
            if !patch.is_object() {
                *patch = Value::Object(Map::new());
            }
            if rest.is_empty() {
                patch[key.as_str()] = changed(dice, inner);
            } else {
                let mut below = patch.get(key).cloned().unwrap_or(Value::Null);
                if !below.is_object() && !below.is_array() {
                    below = Value::Null;
                }
                change(dice, inner, &mut below, rest);
                patch[key.as_str()] = below;
            }
        }
        (Step::Index(index), Value::Array(items)) => {
            let Some(item) = items.get(*index) else { return };
            let mut list = patch.as_array().cloned().unwrap_or_default();
            if item.is_object() && (!rest.is_empty() || dice.chance(70)) {
                // What tells the item from the others, and a change.
                let mut part = Value::Object(identity(item));
                if rest.is_empty() {
                    if dice.chance(50) {
                        part["$patch"] = dice.pick(&["delete", "replace"]).into();
                    } else {
                        part["added"] = scalar(dice);
                    }
                } else {
                    change(dice, item, &mut part, rest);
                }
                list.push(part);
            } else {
                list.push(changed(dice, item));
            }
            if dice.chance(6) {
                list.push(json!({"$patch": "replace"}));
            }
            *patch = Value::Array(list);
        }
        _ => {}
    }
}

/// The fields by which lists of Kubernetes objects know their items.
fn identity(item: &Value) -> Map<String, Value> {
    const KEYS: &[&str] = &[
        "name",
        "key",
        "containerPort",
        "protocol",
        "mountPath",
        "port",
        "ip",
        "topologyKey",
        "whenUnsatisfiable",
        "kind",
        "type",
        "id",
    ];
    let Value::Object(entries) = item else {
        return Map::new();
    };
    entries
        .iter()
        .filter(|(key, _)| KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn changed(dice: &mut Dice, value: &Value) -> Value {
    match value {
        Value::Object(_) => match dice.below(6) {
            0 => Value::Null,
            1 => json!({"$patch": "replace", "new": scalar(dice)}),
            2 => json!({"$patch": "delete"}),
            3 => json!({}),
            4 => json!({"added": anything(dice, 1)}),
            _ => json!({"$retainKeys": ["new"], "new": scalar(dice)}),
        },
        Value::Array(items) => match dice.below(7) {
            0 => Value::Null,
            1 => json!([]),
            2 => json!([{"name": "new", "value": scalar(dice)}]),
            3 => json!([scalar(dice)]),
            4 => Value::Array(items.iter().rev().cloned().collect()),
            5 => json!([{"$patch": "replace"}, {"name": "only"}]),
            _ => Value::Array(items.iter().chain(items).cloned().collect()),
        },
        _ => match dice.below(8) {
            0 => Value::Null,
            1 => anything(dice, 1),
            _ => scalar(dice),
        },
    }
}

/// JSON patch operations for an object.
pub fn operations(dice: &mut Dice, object: &Value) -> Value {
    let all: Vec<_> = paths::all(object)
        .into_iter()
        .filter(|path| path.len() > 1 && is_body(path))
        .collect();
    let mut operations = Vec::new();
    for _ in 0..dice.between(1, 3) {
        if all.is_empty() || dice.chance(20) {
            operations.push(json!({"op": "add", "path": "/spec", "value": {"new": scalar(dice)}}));
            continue;
        }
        let path = all[dice.below(all.len())].clone();
        let other = all[dice.below(all.len())].clone();
        let value = paths::at(object, &path).cloned().unwrap_or_default();
        let path = paths::pointer(&path);
        let operation = match dice.below(11) {
            0 => json!({"op": "remove", "path": path}),
            1 if value.is_array() => json!({"op": "add", "path": format!("{path}/-"), "value": scalar(dice)}),
            2 if value.is_array() => json!({"op": "add", "path": format!("{path}/0"), "value": anything(dice, 1)}),
            3 if value.is_object() => {
                json!({"op": "add", "path": format!("{path}/new~1key"), "value": anything(dice, 1)})
            }
            4 => json!({"op": "copy", "from": path, "path": paths::pointer(&other)}),
            5 => json!({"op": "test", "path": path, "value": value}),
            6 => json!({"op": "replace", "path": path, "value": Value::Null}),
            7 => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                json!({"op": "move", "from": path, "path": format!("{parent}/moved")})
            }
            8 => json!({"op": "add", "path": path, "value": scalar(dice)}),
            _ => json!({"op": "replace", "path": path, "value": scalar(dice)}),
        };
        operations.push(operation);
    }
    Value::Array(operations)
}
