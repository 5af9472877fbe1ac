//! Reads fields of objects that may hold anything.

use serde_json::Value;

/// A field that is not what the Kubernetes API says it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not {expected}")]
pub(super) struct Malformed {
    field: String,
    expected: &'static str,
}

impl Malformed {
    pub(super) fn new(field: impl Into<String>, expected: &'static str) -> Self {
        Malformed {
            field: field.into(),
            expected,
        }
    }
}

/// A condition of `status.conditions`; missing parts are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    pub name: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

impl Condition<'_> {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }
}

/// An integer, or nothing when there is none.
pub(super) fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// A text, empty when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An integer that must be one if it is there.
pub(super) fn strict_int(object: &Value, pointer: &str) -> Result<Option<i64>, Malformed> {
    match object.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(Malformed::new(
                pointer.trim_start_matches('/').replace('/', "."),
                "an integer",
            )),
        },
    }
}

/// The conditions of an object, in their order.
pub(super) fn conditions(object: &Value) -> Result<Vec<Condition<'_>>, Malformed> {
    let status = match &object["status"] {
        Value::Null => return Ok(Vec::new()),
        Value::Object(status) => status,
        _ => return Err(Malformed::new("status", "a mapping")),
    };
    match status.get("conditions") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().enumerate().map(condition).collect(),
        Some(_) => Err(Malformed::new("status.conditions", "a list")),
    }
}

fn condition((index, value): (usize, &Value)) -> Result<Condition<'_>, Malformed> {
    if !value.is_object() {
        return Err(Malformed::new(format!("status.conditions[{index}]"), "a mapping"));
    }
    let part = |key: &str| match &value[key] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text.as_str()),
        _ => Err(Malformed::new(format!("status.conditions[{index}].{key}"), "a text")),
    };
    Ok(Condition {
        name: part("type")?,
        status: part("status")?,
        reason: part("reason")?,
        message: part("message")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::object;

    #[track_caller]
    fn check(yaml: &str, expected: Result<&[[&str; 4]], &str>) {
        let object = object(yaml);
        let conditions = conditions(&object).map_err(|error| error.to_string());
        let parts = conditions.map(|list| {
            list.iter()
                .map(|condition| [condition.name, condition.status, condition.reason, condition.message])
                .collect()
        });
        assert_eq!(parts, expected.map(<[_]>::to_vec).map_err(str::to_owned));
    }

    #[test]
    fn missing_conditions_are_none_and_missing_parts_are_empty() {
        check("{}", Ok(&[]));
        check("{status: null}", Ok(&[]));
        check("{status: {conditions: null}}", Ok(&[]));
        check(
            "{status: {conditions: [{type: A, status: 'True'}, {reason: R, message: M, at: 7}]}}",
            Ok(&[["A", "True", "", ""], ["", "", "R", "M"]]),
        );
    }

    #[test]
    fn conditions_of_the_wrong_type_are_told_by_their_place() {
        check("{status: 7}", Err("status is not a mapping"));
        check("{status: {conditions: {}}}", Err("status.conditions is not a list"));
        check(
            "{status: {conditions: [{}, 7]}}",
            Err("status.conditions[1] is not a mapping"),
        );
        check(
            "{status: {conditions: [{status: true}]}}",
            Err("status.conditions[0].status is not a text"),
        );
    }
}
