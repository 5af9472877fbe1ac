//! Lists whose items are matched by keys.

use super::{Directive, Merged, Merger};
use crate::Error;
use crate::node::{Node, wrong_kind};
use crate::schema::Shape;

impl Merger<'_> {
    /// Merges two lists with a merge strategy.
    pub(super) fn lists(
        &self,
        object: Option<Node>,
        patch: Option<&mut Node>,
        keys: &[String],
        item: &Shape,
        depth: usize,
    ) -> Result<Merged, Error> {
        let Some(Node::List(object)) = object else {
            // The list is new: it is merged with itself, which removes what has the same keys.
            return match patch {
                Some(patch) => self.clean_list(patch.clone(), keys, item, depth),
                None => Ok(Merged::Gone),
            };
        };
        let patch = match patch {
            Some(Node::Null(_)) => return Ok(Merged::Gone),
            Some(patch) => {
                match Directive::take(patch)? {
                    Directive::Delete => return Ok(Merged::Gone),
                    Directive::Replace => return self.clean_list(patch.clone(), keys, item, depth),
                    Directive::Merge => {}
                }
                match patch {
                    Node::List(items) => Some(items),
                    _ => None,
                }
            }
            None => None,
        };
        let mut merging = Merging {
            merger: self,
            object,
            patch,
            item,
            depth,
        };
        Ok(Merged::Kept(Node::List(merging.run(keys)?)))
    }

    /// A list of the patch on its own.
    pub(super) fn clean_list(&self, list: Node, keys: &[String], item: &Shape, depth: usize) -> Result<Merged, Error> {
        match list {
            Node::List(object) => {
                // Both sides are one list here, so that the directives in its items take effect once.
                let mut patch = object.clone();
                let mut merging = Merging {
                    merger: self,
                    object,
                    patch: Some(&mut patch),
                    item,
                    depth,
                };
                Ok(Merged::Taken(Node::List(merging.run_alone(keys)?)))
            }
            other => Ok(Merged::Taken(other)),
        }
    }
}

/// Matching items takes the square of their number.
const MAX_ITEMS: usize = 10_000;

struct Merging<'a, 'm> {
    merger: &'a Merger<'m>,
    object: Vec<Node>,
    patch: Option<&'a mut Vec<Node>>,
    item: &'a Shape,
    depth: usize,
}

impl Merging<'_, '_> {
    fn run(&mut self, keys: &[String]) -> Result<Vec<Node>, Error> {
        let values = self.values(keys);
        let no_key = [String::new()];
        self.set(values, if keys.is_empty() { &no_key } else { keys }, false)
    }

    fn run_alone(&mut self, keys: &[String]) -> Result<Vec<Node>, Error> {
        let values = self.values(keys);
        let no_key = [String::new()];
        self.set(values, if keys.is_empty() { &no_key } else { keys }, true)
    }

    /// The distinct key values of all items, the patch's first.
    fn values(&self, keys: &[String]) -> Vec<Vec<String>> {
        let mut seen = std::collections::HashSet::new();
        let mut result = Vec::new();
        let patch = self.patch.as_deref().map_or(&[][..], Vec::as_slice);
        for item in patch.iter().chain(&self.object) {
            let values: Vec<String> = if keys.is_empty() {
                vec![item.text().into_owned()]
            } else {
                keys.iter()
                    .map(|key| {
                        item.get(key)
                            .filter(|value| !value.is_empty())
                            .map_or(String::new(), |value| value.text().into_owned())
                    })
                    .collect()
            };
            if seen.insert(values.clone()) {
                result.push(values);
            }
        }
        result
    }

    fn set(&mut self, mut all: Vec<Vec<String>>, keys: &[String], alone: bool) -> Result<Vec<Node>, Error> {
        if all.len() > MAX_ITEMS {
            return Err(Error::new(format!(
                "a list of more than {MAX_ITEMS} items is not merged"
            )));
        }
        if keys.len() > 1 {
            fill_gaps(&mut all);
        }
        let used: Vec<bool> = (0..keys.len())
            .map(|at| {
                all.iter()
                    .any(|values| values.get(at).is_some_and(|value| !value.is_empty()))
            })
            .collect();
        let mut added: Vec<Node> = Vec::new();
        let mut last_keys = keys.to_vec();
        for values in &all {
            let (valid_keys, valid_values) = valid(keys, values, &used);
            last_keys.clone_from(&valid_keys);
            // An item is looked up by the keys it has, all of them when it has none.
            let own: Vec<bool> = valid_values.iter().map(|value| !value.is_empty()).collect();
            let (find_keys, find_values) = valid(&valid_keys, &valid_values, &own);
            let at = find(&self.object, &find_keys, &find_values);
            let merged = if alone {
                match at {
                    None => Merged::Gone,
                    Some(at) => self.alone(at)?,
                }
            } else {
                let object = at.and_then(|at| self.object.get(at)).cloned();
                let patch = self.patch.as_mut().and_then(|items| {
                    let at = find(items, &find_keys, &find_values)?;
                    items.get_mut(at)
                });
                self.merger.pair(object, patch, Some(self.item), self.depth + 1)?
            };
            let kept = matches!(merged, Merged::Kept(_));
            let mut node = match merged.into_node() {
                Some(node) if !node.is_null() && node.as_map().is_none_or(|map| !map.is_empty()) => node,
                _ => {
                    set_item(&mut self.object, None, &valid_keys, &valid_values)?;
                    continue;
                }
            };
            if let Some(map) = node.as_map_mut() {
                for (key, value) in valid_keys.iter().zip(&valid_values) {
                    if !value.is_empty() && !map.contains_key(key) {
                        map.insert(key.as_str(), Node::untyped(value.as_str()));
                    }
                }
            }
            if let Some(slot) = at.filter(|_| kept).and_then(|at| self.object.get_mut(at)) {
                slot.clone_from(&node);
            }
            set_item(&mut added, Some(node), &valid_keys, &valid_values)?;
        }
        let object = std::mem::take(&mut self.object);
        if !all.is_empty() {
            append_items(&mut added, object, &last_keys)?;
            return Ok(added);
        }
        Ok(object)
    }

    /// One item of a list that is merged with itself.
    fn alone(&mut self, at: usize) -> Result<Merged, Error> {
        let Some(item) = self.object.get(at) else {
            return Ok(Merged::Gone);
        };
        let mut item = item.clone();
        if matches!(item, Node::Map(_)) && Directive::take(&mut item)? == Directive::Delete {
            return Ok(Merged::Gone);
        }
        Ok(match self.merger.clean(item, Some(self.item), self.depth + 1)? {
            Merged::Taken(node) => Merged::Kept(node),
            other => other,
        })
    }
}

/// Items that agree in some keys and contradict each other in none lend each other the missing ones.
fn fill_gaps(all: &mut [Vec<String>]) {
    for i in 0..all.len() {
        let one = all.get(i).cloned().unwrap_or_default();
        for j in 0..all.len() {
            let Some(merged) = all.get(j).and_then(|other| union(&one, other)) else {
                continue;
            };
            if let Some(slot) = all.get_mut(i) {
                slot.clone_from(&merged);
            }
            if let Some(slot) = all.get_mut(j) {
                *slot = merged;
            }
        }
    }
}

fn union(one: &[String], other: &[String]) -> Option<Vec<String>> {
    if one.len() != other.len() {
        return None;
    }
    let mut common = false;
    let mut result = Vec::with_capacity(one.len());
    for (a, b) in one.iter().zip(other) {
        if a == b {
            common = true;
        } else if !a.is_empty() && !b.is_empty() {
            return None;
        }
        result.push(if a.is_empty() { b.clone() } else { a.clone() });
    }
    common.then_some(result)
}

/// The keys somebody has a value for, with the values; all of them when nobody has any.
fn valid(keys: &[String], values: &[String], used: &[bool]) -> (Vec<String>, Vec<String>) {
    if !used.contains(&true) {
        return (keys.to_vec(), values.to_vec());
    }
    let keys = keys
        .iter()
        .zip(used)
        .filter(|(_, used)| **used)
        .map(|(key, _)| key.clone())
        .collect();
    let values = values
        .iter()
        .zip(used)
        .filter(|(value, used)| **used || !value.is_empty())
        .map(|(value, _)| value.clone())
        .collect();
    (keys, values)
}

/// The first item with these texts in these fields; without a field name the item itself is compared.
fn find(items: &[Node], keys: &[String], values: &[String]) -> Option<usize> {
    if keys.first().is_none_or(String::is_empty) {
        let value = values.first().map_or("", String::as_str);
        return items.iter().position(|item| item.text() == value);
    }
    items.iter().position(|item| {
        item.as_map().is_some_and(|map| {
            keys.iter()
                .zip(values)
                .all(|(key, value)| map.get(key).is_some_and(|found| found.text() == *value))
        })
    })
}

/// Replaces every item that matches by `element`, or removes it; appends `element` when none matches. An empty value matches
/// any item that has the field; empty items are dropped on the way.
pub(super) fn set_item(
    items: &mut Vec<Node>,
    element: Option<Node>,
    keys: &[String],
    values: &[String],
) -> Result<(), Error> {
    let by_field =
        keys.first().is_some_and(|key| !key.is_empty()) && values.first().is_some_and(|value| !value.is_empty());
    let mut result = Vec::with_capacity(items.len() + 1);
    let mut matched = false;
    for item in std::mem::take(items) {
        if item.is_null() || item.as_map().is_some_and(|map| map.is_empty()) {
            continue;
        }
        if by_field && !matches!(item, Node::Map(_)) {
            result.push(item);
            continue;
        }
        if has_values(&item, keys, values)? {
            matched = true;
            result.extend(element.clone());
        } else if !values.is_empty() {
            result.push(item);
        }
    }
    if let Some(element) = element.filter(|element| !matched && !element.is_null()) {
        result.push(element);
    }
    *items = result;
    Ok(())
}

fn has_values(item: &Node, keys: &[String], values: &[String]) -> Result<bool, Error> {
    // Keys without a value say what the key before them said.
    let mut found = false;
    for (at, key) in keys.iter().enumerate() {
        if let Some(value) = values.get(at) {
            found = if key.is_empty() {
                match item {
                    Node::Map(_) | Node::List(_) => return Err(wrong_kind("ScalarNode", item)),
                    scalar => scalar.text() == *value,
                }
            } else {
                match item {
                    Node::Map(map) => map
                        .get(key)
                        .is_some_and(|have| value.is_empty() || have.text() == *value),
                    other => return Err(wrong_kind("MappingNode", other)),
                }
            };
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(found)
}

/// Adds the object's items behind the merged ones; items already there are put in place.
fn append_items(items: &mut Vec<Node>, from: Vec<Node>, keys: &[String]) -> Result<(), Error> {
    let no_key = keys.first().is_none_or(String::is_empty);
    for element in from {
        if no_key {
            let value = element.text().into_owned();
            set_item(items, Some(element), &[String::new()], &[value])?;
            continue;
        }
        let mut values = Vec::new();
        for key in keys {
            match &element {
                Node::Map(map) => match map.get(key) {
                    Some(value) => values.push(value.text().into_owned()),
                    None => items.push(element.clone()),
                },
                Node::Null(_) => items.push(element.clone()),
                other => return Err(wrong_kind("MappingNode", other)),
            }
        }
        if keys.len() > 1 {
            set_item(items, None, keys, &values)?;
        }
        set_item(items, Some(element), keys, &values)?;
    }
    Ok(())
}
