//! From the entries of a mapping as they stand in the text to keys that are text and unique, merge keys applied.

use std::collections::{HashMap, hash_map::Entry};

use crate::{Error, ErrorKind, Node, Position, Value, number};

/// A value as it stands in the text, with what its parent still needs to know about it.
pub(crate) struct Item {
    /// The value.
    pub(crate) node: Node,
    /// The text of a scalar before it was resolved.
    pub(crate) raw: Option<String>,
    /// Whether this is a plain `<<`.
    pub(crate) merge: bool,
    /// Whether yaml.v3 takes it for a timestamp, so that it is no text as a key.
    pub(crate) timestamp: bool,
    /// Whether it was written as an alias.
    pub(crate) alias: bool,
}

/// Keys must be text (at the top level of a document any scalar will do) and unique by their spelling; what a
/// mapping says itself wins over what it merges, and of several merged mappings the first wins.
pub(crate) fn strict(entries: Vec<(Item, Item)>, top: bool) -> Result<Vec<(Node, Node)>, Error> {
    let mut seen: HashMap<String, Position> = HashMap::with_capacity(entries.len());
    let mut out = Vec::with_capacity(entries.len());
    let mut merged = None;
    for (key, value) in entries {
        let position = key.node.position;
        if key.merge {
            if merged.replace(value).is_some() {
                return Err(Error::content(position, "duplicate merge key"));
            }
            continue;
        }
        let name = match (&key.node.value, key.raw) {
            (Value::Str(name), _) if !key.timestamp => name.clone(),
            (Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Str(_), Some(raw)) if top => {
                raw
            }
            (Value::Null, Some(raw)) if raw.is_empty() => raw,
            (other, raw) => {
                let shown = raw.map(|raw| format!(" {raw}")).unwrap_or_default();
                let kind = if key.timestamp { "timestamp" } else { other.kind() };
                let what = format_args!("mapping key{shown} is a {kind}, keys must be strings").to_string();
                return Err(Error::content(position, what));
            }
        };
        match seen.entry(name) {
            Entry::Occupied(first) => {
                let (name, first) = (first.key(), first.get().line);
                let what = format!("mapping key {name:?} already defined at line {first}");
                let text = format!("yaml: unmarshal errors:\n  line {}: {what}", position.line);
                return Err(Error::new(ErrorKind::Content, position, text));
            }
            Entry::Vacant(slot) => {
                out.push((
                    Node {
                        position,
                        value: Value::Str(slot.key().clone()),
                    },
                    value.node,
                ));
                slot.insert(position);
            }
        }
    }
    if let Some(merge) = merged {
        for entry in merge_sources(merge)?.into_iter().flatten() {
            let name = entry.0.as_str().unwrap_or_default().to_owned();
            if let Entry::Vacant(slot) = seen.entry(name) {
                slot.insert(entry.0.position);
                out.push(entry);
            }
        }
    }
    Ok(out)
}

/// Entries apply in the order of the text, a later one replacing an earlier one, merged mappings included.
pub(crate) fn lenient(entries: Vec<(Item, Item)>) -> Result<Vec<(Node, Node)>, Error> {
    let mut out: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut at: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    let mut set = |key: Node, value: Node| match at.entry(key.as_str().unwrap_or_default().to_owned()) {
        Entry::Occupied(slot) => out[*slot.get()] = (key, value),
        Entry::Vacant(slot) => {
            slot.insert(out.len());
            out.push((key, value));
        }
    };
    for (key, value) in entries {
        if key.merge {
            for (key, value) in merge_sources(value)?.into_iter().rev().flatten() {
                set(key, value);
            }
            continue;
        }
        let position = key.node.position;
        let name = match key.node.value {
            Value::Str(name) => name,
            Value::Int(i) => i.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Float(f) if f.is_nan() => ".nan".to_owned(),
            Value::Float(f) if f.is_infinite() => if f > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
            // sigs.k8s.io/yaml prints float keys with the precision of 32 bits.
            Value::Float(f) => number::shortest(&format!("{:e}", f as f32)),
            other => {
                let what = format!("a {} cannot be a mapping key", other.kind());
                return Err(Error::content(position, what));
            }
        };
        set(
            Node {
                position,
                value: Value::Str(name),
            },
            value.node,
        );
    }
    Ok(out)
}

/// The mappings that a `<<` brings in, first one first.
fn merge_sources(value: Item) -> Result<Vec<Vec<(Node, Node)>>, Error> {
    const WANT_MAP: &str = "map merge requires map or sequence of maps as the value";
    let position = value.node.position;
    match value.node.value {
        Value::Map(entries) => Ok(vec![entries]),
        Value::Seq(items) if !value.alias => items
            .into_iter()
            .map(|item| match item.value {
                Value::Map(entries) => Ok(entries),
                _ => Err(Error::content(item.position, WANT_MAP)),
            })
            .collect(),
        _ => Err(Error::content(position, WANT_MAP)),
    }
}
