//! Replacements that reach into JSON or YAML kept as text in a field, as ConfigMaps have it.
//!
//! JSON is written anew. Of YAML only the replaced scalar changes, so that the rest of the text stays as it is; creating
//! fields in it, or replacing a list or mapping, is not supported yet.

use yaml::{Dialect, Value as Yaml};

use super::hash::go_json;
use super::replacements::{Value, visit, write};
use crate::Error;
use crate::node::{Create, Node, lookup, lookup_mut};
use crate::unsupported::NESTED_YAML;

/// The longest text that a replacement may make.
const MAX_TEXT: usize = 16 << 20;

/// Replaces inside a text if a path leads into one. False when it does not, or nothing is found there.
///
/// # Errors
/// When the text is YAML and the replacement is not supported.
pub(super) fn replace(
    object: &mut Node,
    path: &[String],
    value: &Value,
    create: Option<Create>,
) -> Result<bool, Error> {
    for length in 1..path.len() {
        let (outer, inner) = path.split_at(length);
        let Ok(Some(field)) = lookup(object, outer) else {
            continue;
        };
        if !field.is_scalar() {
            continue;
        }
        let text = field.text().into_owned();
        let Ok(documents) = yaml::parse(&text, Dialect::V3) else {
            continue;
        };
        let Some(document) = documents.first() else {
            return Ok(false);
        };
        if !matches!(document.value, Yaml::Map(_) | Yaml::Seq(_)) {
            return Ok(false);
        }
        let new = if text.trim_start().starts_with(['{', '[']) {
            in_json(&text, document, inner, value, create)
        } else {
            in_yaml(&text, document, inner, value, create)?
        };
        let Some(new) = new else { return Ok(false) };
        if new.len() > MAX_TEXT {
            return Err(Error::new(format!("a text of more than {MAX_TEXT} bytes")));
        }
        if let Ok(Some(field)) = lookup_mut(object, outer) {
            field.replace_text(&new)?;
        }
        return Ok(true);
    }
    Ok(false)
}

fn in_json(
    text: &str,
    document: &yaml::Node,
    path: &[String],
    value: &Value,
    create: Option<Create>,
) -> Option<String> {
    let mut tree = Node::from_json(document.to_json().ok()?);
    let found = visit(&mut tree, path, create, &mut |node| {
        write(node, &value.node, &value.text)
    })
    .ok()?;
    if found == 0 {
        return None;
    }
    let json = tree.into_json();
    if text.contains('\n') && text.contains("  ") {
        return Some(indented(&json, 0));
    }
    Some(go_json(&json))
}

/// JSON with one entry per line.
fn indented(value: &serde_json::Value, depth: usize) -> String {
    let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
    match value {
        serde_json::Value::Array(items) if !items.is_empty() => {
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("{inner}{}", indented(item, depth + 1)))
                .collect();
            format!("[\n{}\n{outer}]", items.join(",\n"))
        }
        serde_json::Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys
                .into_iter()
                .map(|key| {
                    format!(
                        "{inner}{}: {}",
                        go_json(&key.as_str().into()),
                        indented(&map[key], depth + 1)
                    )
                })
                .collect();
            format!("{{\n{}\n{outer}}}", entries.join(",\n"))
        }
        other => go_json(other),
    }
}

fn in_yaml(
    text: &str,
    document: &yaml::Node,
    path: &[String],
    value: &Value,
    create: Option<Create>,
) -> Result<Option<String>, Error> {
    let mut found = Vec::new();
    if find(document, path, &mut found).is_none() || found.is_empty() {
        if create.is_none() {
            return Ok(None);
        }
        return Err(unsupported(path));
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    for node in found {
        let start = offset(&lines, node.position).ok_or_else(|| unsupported(path))?;
        let (end, new) = edit(&text[start..], node, value).ok_or_else(|| unsupported(path))?;
        edits.push((start, start + end, new));
    }
    edits.sort();
    let mut result = text.to_owned();
    for (start, end, new) in edits.into_iter().rev() {
        result.replace_range(start..end, &new);
    }
    Ok(Some(result.trim().to_owned()))
}

fn unsupported(path: &[String]) -> Error {
    Error::new(format!("'{}': {NESTED_YAML}", path.join(".")))
}

fn find<'a>(node: &'a yaml::Node, path: &[String], found: &mut Vec<&'a yaml::Node>) -> Option<()> {
    let Some((first, rest)) = path.split_first() else {
        found.push(node);
        return Some(());
    };
    if let Ok(index) = first.parse::<usize>() {
        return find(node.as_seq()?.get(index)?, rest, found);
    }
    if first == "*" {
        return node.as_seq()?.iter().try_for_each(|item| find(item, rest, found));
    }
    if let Some((field, pattern)) = first
        .strip_prefix('[')
        .and_then(|first| first.strip_suffix(']'))
        .and_then(|inner| inner.split_once('='))
    {
        let regex = regex::Regex::new(pattern).ok()?;
        for item in node.as_seq()? {
            let text = if field.is_empty() { Some(item) } else { item.get(field) }
                .and_then(|value| value.to_json().ok())
                .map(Node::from_json);
            if text.is_some_and(|text| regex.is_match(&text.text())) {
                find(item, if field.is_empty() { &[] } else { rest }, found)?;
            }
        }
        return Some(());
    }
    find(node.get(first)?, rest, found)
}

fn offset(lines: &[&str], position: yaml::Position) -> Option<usize> {
    let line = position.line.checked_sub(1)?;
    let before: usize = lines.get(..line)?.iter().map(|line| line.len()).sum();
    let column = lines
        .get(line)?
        .char_indices()
        .nth(position.column.checked_sub(1)?)
        .map(|(at, _)| at)?;
    Some(before + column)
}

/// How long the scalar at the start of the text is, and what to write in its place.
fn edit(text: &str, node: &yaml::Node, value: &Value) -> Option<(usize, String)> {
    let mut scalar = Node::from_json(node.to_json().ok()?);
    if !scalar.is_scalar() || !value.node.is_scalar() || value.text.contains('\n') {
        return None;
    }
    scalar.replace_text(&value.text).ok()?;
    let line = text.lines().next()?;
    let quote = line.chars().next()?;
    if matches!(quote, '"' | '\'') {
        let end = line[1..].find(quote)? + 2;
        let plain =
            !line[1..end - 1].contains('\\') && !line[end..].starts_with(quote) && !value.text.contains([quote, '\\']);
        return plain.then(|| (end, format!("{quote}{}{quote}", value.text)));
    }
    if matches!(quote, '|' | '>' | '&' | '!' | '*') {
        return None;
    }
    let end = line.find(" #").unwrap_or(line.len());
    let end = line[..end].trim_end().len();
    let old = yaml::parse(&line[..end], Dialect::V3).ok()?;
    if old.first().map(|old| &old.value) != Some(&node.value) {
        return None;
    }
    let written = yaml::to_string(&scalar.to_json());
    Some((end, written.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &[&str], value: &str, expected: Option<&str>) {
        let mut object = Node::from_json(serde_json::json!({"data": {"f": text}}));
        let path: Vec<String> = ["data", "f"]
            .iter()
            .chain(path)
            .map(|part| (*part).to_owned())
            .collect();
        let value = Value {
            node: Node::string(value),
            text: value.to_owned(),
        };
        let replaced = replace(&mut object, &path, &value, None).unwrap();
        let result = lookup(&object, &path[..2]).unwrap().unwrap().text().into_owned();
        assert_eq!(replaced.then_some(result.as_str()), expected, "{text}");
    }

    #[test]
    fn json_is_written_anew() {
        check(
            "{\"b\": 1, \"a\": {\"x\": \"y\"}}",
            &["a", "x"],
            "z",
            Some("{\"a\":{\"x\":\"z\"},\"b\":1}"),
        );
        check(
            "{\n  \"a\": [\"x\"]\n}",
            &["a", "0"],
            "z",
            Some("{\n  \"a\": [\n    \"z\"\n  ]\n}"),
        );
    }

    #[test]
    fn only_the_scalar_changes_in_yaml() {
        check(
            "# head\nb: 1 # one\na:\n- x: \"y\"\n",
            &["a", "0", "x"],
            "z",
            Some("# head\nb: 1 # one\na:\n- x: \"z\""),
        );
        check("b: 1 # one\n", &["b"], "2", Some("b: 2 # one"));
        check("b: x\n", &["b"], "2", Some("b: \"2\""));
        check("b: x\n", &["c"], "2", None);
        check("no structure", &["c"], "2", None);
    }
}
