//! The JSON merge patch (RFC 7386) that turns one value into another.
//!
//! Lists are replaced whole, as merge patches do.

use serde_json::{Map, Value};

/// The patch from `from` to `to`, or nothing when they are equal.
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        let change = match from.get(key) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(from: Value, to: Value, patch: Option<Value>) {
        assert_eq!(difference(&from, &to), patch);
    }

    #[test]
    fn equal_values_need_no_patch() {
        check(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]}), None);
    }

    #[test]
    fn a_patch_names_only_what_changed() {
        check(
            json!({"keep": 1, "gone": 2, "deep": {"x": 1, "y": 2}, "list": [1]}),
            json!({"keep": 1, "new": 3, "deep": {"x": 1, "y": 3}, "list": [1, 2]}),
            Some(json!({"gone": null, "new": 3, "deep": {"y": 3}, "list": [1, 2]})),
        );
    }

    #[test]
    fn nothing_becomes_the_whole_value() {
        check(Value::Null, json!({"a": 1}), Some(json!({"a": 1})));
    }
}
