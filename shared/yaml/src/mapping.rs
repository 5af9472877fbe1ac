//! From the entries of a mapping as they stand in the text to keys that are text and unique, merge keys applied.

use std::collections::{HashMap, hash_map::Entry};

use crate::{Error, ErrorKind, Node, Position, Value, number};

/// A key that no JSON object may have, as [`parse_tolerant`](crate::parse_tolerant) lets it pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where the key stands.
    pub position: Position,
    /// What is wrong with it.
    pub kind: FlawKind,
    /// The error that [`parse`](crate::parse) would have given.
    pub error: Error,
}

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlawKind {
    /// Its mapping has it already.
    Repeated,
    /// It reads as something else than text.
    NotText,
}

/// A value as it stands in the text, with what its parent still needs to know about it.
pub(crate) struct Item {
    /// The value.
    pub(crate) node: Node,
    /// The text of a scalar before it was resolved, where that may be another than that of the node.
    pub(crate) raw: Option<String>,
    /// Whether this is a plain `<<`.
    pub(crate) merge: bool,
    /// Whether yaml.v3 takes it for a timestamp, so that it is no text as a key.
    pub(crate) timestamp: bool,
    /// Whether it was written as an alias.
    pub(crate) alias: bool,
}

/// The name of merge keys.
pub(crate) const MERGE: &str = "<<";

/// Keys must be text (at the top level of a document any scalar will do) and unique by their spelling; what a
/// mapping says itself wins over what it merges, and of several merged mappings the first wins. A key `<<` that is text is
/// dropped. Keys that break these
/// rules are an error, unless there is a list of `flaws` to put them on: then they stay, spelled as they are.
pub(crate) fn strict(
    entries: Vec<(Item, Item)>,
    top: bool,
    mut flaws: Option<&mut Vec<Flaw>>,
) -> Result<Vec<(Node, Node)>, Error> {
    let mut out = Entries::default();
    out.list.reserve_exact(entries.len());
    let mut merged = None;
    let mut cleared = false;
    let mut repeated = Vec::new();
    for (key, value) in entries {
        let position = key.node.position;
        if key.merge {
            if merged.replace(value).is_some() {
                return Err(Error::content(position, "duplicate merge key"));
            }
            cleared = true;
            continue;
        }
        // kustomize clears away the first key of this name where it looks for merge keys, whether it is one or not.
        if key.node.as_str() == Some(MERGE) && !std::mem::replace(&mut cleared, true) {
            continue;
        }
        let name = match (key.node.value, key.raw) {
            (Value::Str(name), _) if !key.timestamp => name,
            (Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Str(_), Some(raw)) if top => {
                raw
            }
            (Value::Null, Some(raw)) if raw.is_empty() => raw,
            (other, raw) => {
                let shown = raw.as_ref().map(|raw| format!(" {raw}")).unwrap_or_default();
                let kind = if key.timestamp { "timestamp" } else { other.kind() };
                let what = format!("mapping key{shown} is a {kind}, keys must be strings");
                let error = Error::content(position, what);
                match (flaws.as_mut(), raw) {
                    (Some(flaws), Some(raw)) => {
                        flaws.push(Flaw {
                            position,
                            kind: FlawKind::NotText,
                            error,
                        });
                        raw
                    }
                    _ => return Err(error),
                }
            }
        };
        if let Some((first, _)) = out.find(&name) {
            let what = format!("mapping key {name:?} already defined at line {}", first.position.line);
            let text = format!("yaml: unmarshal errors:\n  line {}: {what}", position.line);
            let error = Error::new(ErrorKind::Content, position, text);
            let Some(flaws) = flaws.as_mut() else {
                return Err(error);
            };
            flaws.push(Flaw {
                position,
                kind: FlawKind::Repeated,
                error,
            });
            let key = Value::Str(name);
            repeated.push((Node { position, value: key }, value.node));
            continue;
        }
        let key = Node {
            position,
            value: Value::Str(name),
        };
        out.add((key, value.node));
    }
    if let Some(merge) = merged {
        for entry in merge_sources(merge)?.into_iter().flatten() {
            if out.find(entry.0.as_str().unwrap_or_default()).is_none() {
                out.add(entry);
            }
        }
    }
    let mut list = out.into_list();
    list.append(&mut repeated);
    Ok(list)
}

/// The most keys that are looked for one by one.
const FEW: usize = 16;

/// Entries in the order they came in, found by their keys.
#[derive(Default)]
pub(crate) struct Entries {
    list: Vec<(Node, Node)>,
    /// Where keys are in the list, once there are more than [`FEW`].
    places: HashMap<String, usize>,
}

impl Entries {
    /// The entry of a key.
    pub(crate) fn find(&self, name: &str) -> Option<&(Node, Node)> {
        if self.list.len() <= FEW {
            return self.list.iter().find(|(key, _)| key.as_str() == Some(name));
        }
        self.list.get(*self.places.get(name)?)
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn add(&mut self, entry: (Node, Node)) {
        self.list.push(entry);
        if self.list.len() > FEW {
            for (at, (key, _)) in self.list.iter().enumerate().skip(self.places.len()) {
                self.places.insert(key.as_str().unwrap_or_default().to_owned(), at);
            }
        }
    }

    /// All of them.
    pub(crate) fn into_list(self) -> Vec<(Node, Node)> {
        self.list
    }
}

/// Entries apply in the order of the text, a later one replacing an earlier one, merged mappings included.
/// What is replaced that way is put on the list of `flaws`.
pub(crate) fn lenient(
    entries: Vec<(Item, Item)>,
    mut flaws: Option<&mut Vec<Flaw>>,
) -> Result<Vec<(Node, Node)>, Error> {
    let mut out: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut at: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    // Whether the key was there before.
    let mut set = |key: Node, value: Node| match at.entry(key.as_str().unwrap_or_default().to_owned()) {
        Entry::Occupied(slot) => {
            out[*slot.get()] = (key, value);
            true
        }
        Entry::Vacant(slot) => {
            slot.insert(out.len());
            out.push((key, value));
            false
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
        let error = (flaws.is_some()).then(|| {
            format!(
                "yaml: unmarshal errors:\n  line {}: key {name:?} already set in map",
                position.line
            )
        });
        let key = Value::Str(name);
        let repeated = set(Node { position, value: key }, value.node);
        if let (true, Some(flaws), Some(error)) = (repeated, flaws.as_mut(), error) {
            flaws.push(Flaw {
                position,
                kind: FlawKind::Repeated,
                error: Error::new(ErrorKind::Content, position, error),
            });
        }
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
