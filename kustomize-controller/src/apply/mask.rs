//! Error texts without the values of a Secret, which API servers quote in some of them. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What stands for a value.
const MASK: &str = "*****";
/// Values shorter than this are masked in quotes only: elsewhere they could be part of any word. In bytes.
const SHORT: usize = 5;
/// Where the API server prints a value of the wrong type.
const RAW_VALUE: &str = "valueUnstructured{Value:";

/// The text without values of the object, if that is a Secret.
pub fn masked(text: &str, object: &Value) -> String {
    if object["kind"] != "Secret" || object["apiVersion"] != "v1" {
        return text.to_owned();
    }
    let mut values: Vec<String> = ["data", "stringData"]
        .into_iter()
        .filter_map(|key| object.get(key))
        .flat_map(|section| match section {
            Value::Object(entries) => entries.values().collect(),
            other => vec![other],
        })
        .flat_map(spellings)
        .filter(|value| !value.trim().is_empty())
        .collect();
    // A value may be part of another one.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut text = raw_values_masked(text);
    for value in values {
        let (from, to) = match value.len() < SHORT {
            true => (format!("\"{value}\""), format!("\"{MASK}\"")),
            false => (value, MASK.to_owned()),
        };
        text = text.replace(&from, &to);
    }
    text
}

/// The ways a value can be quoted: as it is, escaped, decoded, encoded, line by line.
fn spellings(value: &Value) -> Vec<String> {
    let plain = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut spellings = vec![STANDARD.encode(&plain)];
    if let Some(decoded) = STANDARD
        .decode(plain.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
    {
        spellings.extend(in_parts(&decoded));
    }
    spellings.extend(in_parts(&plain));
    spellings
}

fn in_parts(text: &str) -> Vec<String> {
    let escaped = Value::from(text).to_string();
    let mut parts = vec![text.to_owned(), escaped.trim_matches('"').to_owned()];
    parts.extend(
        text.lines()
            .filter(|line| line.trim().len() >= SHORT)
            .map(str::to_owned),
    );
    parts
}

fn raw_values_masked(text: &str) -> String {
    let mut parts = text.split(RAW_VALUE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A value may hold braces itself: the last one before the next mention ends it.
        let rest = part.rfind('}').map_or("", |end| &part[end..]);
        out = out + RAW_VALUE + MASK + rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(data: Value, text: &str, expected: &str) {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "data": data });
        assert_eq!(masked(text, &secret), expected);
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data });
        assert_eq!(masked(text, &map), text);
    }

    #[test]
    fn values_are_masked_in_every_spelling() {
        check(
            json!({ "a": "aHVudGVyMg==" }),
            "bad \"aHVudGVyMg==\", hunter2",
            "bad \"*****\", *****",
        );
        check(json!({ "a": "hunter2" }), "bad aHVudGVyMg==", "bad *****");
        check(
            json!({ "a": "two\nlines of it" }),
            "bad \"two\\nlines of it\"",
            "bad \"*****\"",
        );
        check(json!({ "a": "first\nsecond" }), "at second", "at *****");
    }

    #[test]
    fn short_values_are_masked_in_quotes_only() {
        check(json!({ "a": "at" }), "bad data: \"at\"", "bad data: \"*****\"");
    }

    #[test]
    fn values_of_the_wrong_type_are_masked() {
        let text = ".data.a: expected string, got &value.valueUnstructured{Value:1234}";
        check(
            json!({ "a": 1234 }),
            text,
            ".data.a: expected string, got &value.valueUnstructured{Value:*****}",
        );
    }

    #[test]
    fn other_words_stay() {
        let text = "error decoding from json: illegal base64 data at input byte 3";
        check(json!({ "a": "not base64!" }), text, text);
    }
}
