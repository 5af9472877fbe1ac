//! Strategic merge: a patch in the shape of the object, merged by the types' merge keys.
//!
//! This follows kyaml's walk over patch and object step by step, oddities included, since outputs have to be equal: list
//! items of the patch come first; lists without merge strategy (and all lists of unknown types) are replaced; a field that is
//! null in the patch is deleted; nulls that the object has without the word `null` disappear; an item without its merge key
//! makes the items before it disappear. `$patch: delete|replace|merge` is understood in mappings and lists. The other
//! directives of Kubernetes (`$setElementOrder/…`, `$retainKeys`, `$deleteFromPrimitiveList/…`) are plain fields to
//! kustomize, and stay in the output.

mod list;

use std::borrow::Cow;

use crate::Error;
use crate::error::Within;
use crate::node::{Absence, MAX_DEPTH, Map, Name, Node, wrong_kind};
use crate::schema::{Schema, Shape};

/// The key of a merge directive.
const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `object`. The object is null afterwards when the patch deletes it.
///
/// # Errors
/// An unknown directive, or a list where the object has a mapping and the like.
pub(crate) fn merge(object: &mut Node, patch: Node, schema: &Schema) -> Result<(), Error> {
    let mut patch = patch;
    if patch.get(DIRECTIVE).is_some_and(|value| value.text() == "replace") && object.as_map().is_some() {
        // Upstream makes a new object of the patch, and forgets it.
        return Ok(());
    }
    let merger = Merger { schema };
    let old = std::mem::replace(object, Node::NOTHING);
    if let Some(result) = merger.pair(Some(old), Some(&mut patch), None, 0)?.into_node() {
        *object = result;
    }
    Ok(())
}

/// What became of a pair of nodes.
enum Merged {
    /// Nothing: the field or item goes away.
    Gone,
    /// The object's node, changed in place.
    Kept(Node),
    /// The patch's node.
    Taken(Node),
}

impl Merged {
    fn into_node(self) -> Option<Node> {
        match self {
            Merged::Gone => None,
            Merged::Kept(node) | Merged::Taken(node) => Some(node),
        }
    }
}

/// A `$patch` directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    fn named(name: &str) -> Result<Self, Error> {
        match name {
            "merge" => Ok(Directive::Merge),
            "replace" => Ok(Directive::Replace),
            "delete" => Ok(Directive::Delete),
            other => Err(Error::new(format!("unknown patch strategy '{other}'"))),
        }
    }

    /// Takes the directive out of a mapping or list.
    fn take(patch: &mut Node) -> Result<Self, Error> {
        match patch {
            Node::Map(map) => match map.get(DIRECTIVE) {
                None => Ok(Directive::Merge),
                Some(value) => {
                    let directive = Self::named(&value.text())?;
                    map.remove(DIRECTIVE);
                    Ok(directive)
                }
            },
            Node::List(items) => {
                let Some(item) = items
                    .iter()
                    .find_map(|item| item.as_map().filter(|map| map.contains_key(DIRECTIVE)))
                else {
                    return Ok(Directive::Merge);
                };
                if item.len() > 1 {
                    return Ok(Directive::Merge);
                }
                let name = item
                    .get(DIRECTIVE)
                    .map_or(String::new(), |value| value.text().into_owned());
                let directive = Self::named(&name)?;
                list::set_item(items, None, &[DIRECTIVE.to_owned()], &[name])?;
                Ok(directive)
            }
            _ => Ok(Directive::Merge),
        }
    }
}

struct Merger<'a> {
    schema: &'a Schema,
}

/// The kind of node a pair is merged as.
#[derive(PartialEq)]
enum Kind {
    Map,
    List,
    Scalar,
}

fn kind_of(node: Option<&Node>) -> Option<Kind> {
    match node? {
        Node::Null(_) => None,
        Node::Map(_) => Some(Kind::Map),
        Node::List(_) => Some(Kind::List),
        Node::Bool(_) | Node::Number(_) | Node::Text(_) => Some(Kind::Scalar),
    }
}

impl Merger<'_> {
    /// Merges the object's node with the patch's, either of which may be missing.
    fn pair(
        &self,
        object: Option<Node>,
        patch: Option<&mut Node>,
        shape: Option<&Shape>,
        depth: usize,
    ) -> Result<Merged, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new("nested too deep to be merged"));
        }
        let guessed = self.guess(shape, object.as_ref(), patch.as_deref());
        let shape = shape.or(guessed.as_ref());
        let kind = kind_of(object.as_ref())
            .or_else(|| kind_of(patch.as_deref()))
            .unwrap_or(Kind::Map);
        let name = match kind {
            Kind::Map => "MappingNode",
            Kind::List => "SequenceNode",
            Kind::Scalar => "ScalarNode",
        };
        for side in [object.as_ref(), patch.as_deref()] {
            if kind_of(side).is_some_and(|other| other != kind)
                && let Some(found) = side
            {
                return Err(wrong_kind(name, found));
            }
        }
        match kind {
            Kind::Map => self.maps(object, patch, shape, depth),
            Kind::List => match shape {
                Some(Shape::ListOf {
                    merges: true,
                    keys,
                    item,
                }) => self.lists(object, patch, keys, item, depth),
                _ => Ok(replace(object, patch)),
            },
            Kind::Scalar => Ok(replace(object, patch)),
        }
    }

    /// The shape of an embedded object that says what it is.
    fn guess(&self, shape: Option<&Shape>, object: Option<&Node>, patch: Option<&Node>) -> Option<Shape> {
        if shape.is_some() {
            return None;
        }
        [object, patch].into_iter().flatten().find_map(|node| {
            let (version, kind) = (node.get("apiVersion")?.text(), node.get("kind")?.text());
            self.schema.of_kind(&version, &kind)
        })
    }

    fn maps(
        &self,
        object: Option<Node>,
        patch: Option<&mut Node>,
        shape: Option<&Shape>,
        depth: usize,
    ) -> Result<Merged, Error> {
        let mut object = match object {
            Some(Node::Map(map)) => map,
            missing => {
                // The patch has something new, or nobody has anything.
                let Some(patch) = patch else {
                    return Ok(match missing {
                        Some(null @ Node::Null(Absence::Word(_))) => Merged::Kept(null),
                        _ => Merged::Gone,
                    });
                };
                if Directive::take(patch).is_ok_and(|directive| directive == Directive::Delete) {
                    return Ok(Merged::Gone);
                }
                return self.clean(patch.clone(), shape, depth);
            }
        };
        let mut none = Map::new();
        let patch = match patch {
            Some(Node::Null(_)) => return Ok(Merged::Gone),
            Some(patch) => {
                match Directive::take(patch)? {
                    Directive::Delete => return Ok(Merged::Gone),
                    Directive::Replace => return self.clean(patch.clone(), shape, depth),
                    Directive::Merge => {}
                }
                patch.as_map_mut().unwrap_or(&mut none)
            }
            None => &mut none,
        };
        let mut fields: Vec<Name> = object.keys().chain(patch.keys()).cloned().collect();
        fields.sort();
        fields.dedup();
        // The entries go out and come back in order, so that no step moves those behind it.
        let mut entries = object.take_entries().peekable();
        for field in fields {
            let shape = self.field(shape, &field, &[&object, patch]);
            let old = entries.next_if(|(key, _)| *key == field).map(|(_, old)| old);
            if old.is_none() {
                object.take_oddity(&field, patch);
            }
            let style = old.as_ref().filter(|old| old.is_scalar()).cloned();
            let merged = self
                .pair(old, patch.get_mut(&field), shape.as_deref(), depth + 1)
                .within(|| format!("field '{field}'"))?;
            let mut value = match merged {
                Merged::Gone | Merged::Taken(Node::Null(_)) => {
                    object.expose(&field);
                    continue;
                }
                Merged::Kept(node) => node,
                Merged::Taken(node) => match style {
                    Some(mut old) => {
                        old.assign(node);
                        old
                    }
                    None => node,
                },
            };
            value.settle_type();
            object.insert(field, value);
        }
        Ok(Merged::Kept(Node::Map(object)))
    }

    /// The shape of a field: what a comment at it says in one of the mappings, else what the mapping's shape says.
    fn field<'b>(&'b self, shape: Option<&'b Shape>, field: &str, maps: &[&Map]) -> Option<Cow<'b, Shape>> {
        match maps.iter().find_map(|map| map.noted_schema(field)) {
            Some(remark) => Some(Cow::Owned(self.schema.shape(remark))),
            None => self.schema.field(shape?, field).map(Cow::Borrowed),
        }
    }

    /// New content from a patch: its nulls and directives take effect on itself.
    fn clean(&self, node: Node, shape: Option<&Shape>, depth: usize) -> Result<Merged, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new("nested too deep to be merged"));
        }
        let guessed = self.guess(shape, Some(&node), None);
        let shape = shape.or(guessed.as_ref());
        match node {
            Node::Map(map) => {
                let mut result = map.bare();
                for (field, mut value) in map {
                    let shape = self.field(shape, &field, &[&result]);
                    if matches!(value, Node::Map(_)) && Directive::take(&mut value)? == Directive::Delete {
                        result.expose(&field);
                        continue;
                    }
                    match self.clean(value, shape.as_deref(), depth + 1)?.into_node() {
                        None | Some(Node::Null(_)) => result.expose(&field),
                        Some(value) => {
                            result.insert(field, value);
                        }
                    }
                }
                Ok(Merged::Taken(Node::Map(result)))
            }
            Node::List(items) => match shape {
                Some(Shape::ListOf {
                    merges: true,
                    keys,
                    item,
                }) => {
                    let mut list = Node::List(items);
                    match Directive::take(&mut list)? {
                        Directive::Delete => Ok(Merged::Gone),
                        Directive::Replace | Directive::Merge => self.clean_list(list, keys, item, depth),
                    }
                }
                _ => Ok(Merged::Taken(Node::List(items))),
            },
            other => Ok(Merged::Taken(other)),
        }
    }
}

/// The patch's value where it has one.
fn replace(object: Option<Node>, patch: Option<&mut Node>) -> Merged {
    match (patch, object) {
        (Some(Node::Null(_)), _) => Merged::Gone,
        (Some(patch), _) => Merged::Taken(patch.clone()),
        (None, Some(object)) => Merged::Kept(object),
        (None, None) => Merged::Gone,
    }
}

#[cfg(test)]
mod tests;
