//! JSON as Go writes it: sorted keys, the characters HTML cares about escaped, exponents for very large and very small
//! numbers alone.

use serde_json::Value;

/// A value in one line, as hashes are taken of it.
pub(crate) fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, None, &mut out);
    out
}

/// A value with one entry per line.
pub(crate) fn indented(value: &Value) -> String {
    let mut out = String::new();
    write(value, Some(0), &mut out);
    out
}

/// Writes a value; `depth` is that of the lines its entries stand in, if they get lines.
fn write(value: &Value, depth: Option<usize>, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Array(items) => collection(items, ['[', ']'], depth, out, |item, inner, out| {
            write(item, inner, out)
        }),
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let entry = |(key, value): &(&String, &Value), inner: Option<usize>, out: &mut String| {
                write_string(key, out);
                out.push_str(if inner.is_some() { ": " } else { ":" });
                write(value, inner, out);
            };
            collection(&entries, ['{', '}'], depth, out, entry);
        }
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&float_text(float)),
            None => out.push_str(&number.to_string()),
        },
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
    }
}

fn collection<T>(
    items: &[T],
    [open, close]: [char; 2],
    depth: Option<usize>,
    out: &mut String,
    write: impl Fn(&T, Option<usize>, &mut String),
) {
    let line = |depth: Option<usize>, out: &mut String| {
        if let Some(depth) = depth {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    let inner = depth.map(|depth| depth + 1);
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(inner, out);
        write(item, inner, out);
    }
    if !items.is_empty() {
        line(depth, out);
    }
    out.push(close);
}

fn float_text(float: f64) -> String {
    let size = float.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value, expected: &str) {
        assert_eq!(compact(&value), expected);
    }

    #[test]
    fn numbers_have_exponents_only_far_from_one() {
        check(
            json!([1.2e-6, 1.5e20, 0.1, 5, -2.0]),
            "[0.0000012,150000000000000000000,0.1,5,-2]",
        );
        check(json!([1e-7, 1e21, -1.25e300, 1.5e-9]), "[1e-7,1e+21,-1.25e+300,1.5e-9]");
    }

    #[test]
    fn texts_are_escaped_for_html() {
        check(
            json!({"b": "<a> & \u{2028}\u{1}", "a": "\"\\\n\t"}),
            r#"{"a":"\"\\\n\t","b":"\u003ca\u003e \u0026 \u2028\u0001"}"#,
        );
    }

    #[test]
    fn entries_may_have_lines() {
        let value = json!({"b": [1, {}], "a": {"c": []}});
        assert_eq!(
            indented(&value),
            "{\n  \"a\": {\n    \"c\": []\n  },\n  \"b\": [\n    1,\n    {}\n  ]\n}"
        );
    }
}
