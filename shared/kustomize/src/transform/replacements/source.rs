//! Where a replacement takes its value.
//!
//! Upstream copies from the very node it found, so a target that is its own source changes what the targets after it get.

use std::borrow::Cow;

use super::{DEFAULT_PATH, Options, ids};
use crate::Error;
use crate::error::Within;
use crate::node::{Node, Segments, lookup, split_bracketed};
use crate::resource::{Id, Resource, Resources, is_memory};

/// Where a value is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The object.
    pub object: Id,
    /// The field.
    pub path: String,
    /// Which part of it.
    pub options: Options,
}

/// A value to copy.
pub(super) struct Value {
    /// The node.
    pub node: Node,
    /// Its text when it is a scalar.
    pub text: String,
    /// The field it is, unless it is a part of one or was never in any.
    field: Option<Field>,
}

/// A field of one of the objects.
struct Field {
    /// The object's position.
    at: usize,
    path: Segments,
}

impl Value {
    /// A value that is in no object.
    pub fn of(node: Node) -> Self {
        Self {
            text: node.text().into_owned(),
            node,
            field: None,
        }
    }

    /// A value written in the kustomization, which has no type of its own.
    pub fn written(text: &str) -> Self {
        Self::of(Node::untyped(text))
    }

    /// Whether this is a field of the object at a position.
    pub fn is_in(&self, at: usize) -> bool {
        self.field.as_ref().is_some_and(|field| field.at == at)
    }

    /// The node of the object at a position that this value is, if it is in that object; to be compared, and for no longer
    /// than the object stays as it is.
    pub fn node_in(&self, at: usize, object: &Node) -> Option<*const Node> {
        let field = self.field.as_ref().filter(|field| field.at == at)?;
        lookup(object, &field.path).ok().flatten().map(std::ptr::from_ref)
    }

    /// Becomes what its own node has become.
    pub fn become_of(&mut self, node: &Node) {
        self.node = node.clone();
        self.text = node.text().into_owned();
    }

    /// Takes over what a path of this many parts in the object at a position may have done to the value's own field: nothing
    /// where that is further up, since what is replaced there takes the field out of the object and leaves it what it was.
    ///
    /// # Errors
    /// When the object has no mapping for its annotations.
    pub fn follow(&mut self, at: usize, resource: &Resource, parts: usize) -> Result<(), Error> {
        let field = self.field.as_ref();
        let Some(field) = field.filter(|field| field.at == at && field.path.len() <= parts) else {
            return Ok(());
        };
        if let Some(node) = find(resource, &field.path)?.map(Cow::into_owned) {
            self.become_of(&node);
        }
        Ok(())
    }
}

/// The node at a path of an object, with what the build remembers about the object where the path leads to that.
fn find<'a>(resource: &'a Resource, path: &[String]) -> Result<Option<Cow<'a, Node>>, Error> {
    if !is_memory(path) {
        return Ok(lookup(&resource.node, path)?.map(Cow::Borrowed));
    }
    let mut copy = resource.clone();
    copy.write_memory()?;
    Ok(lookup(&copy.node, path)?.cloned().map(Cow::Owned))
}

impl Source {
    fn describe(&self) -> String {
        if self.path.is_empty() {
            self.object.to_string()
        } else {
            format!("{}:{}", self.object, self.path)
        }
    }

    /// The value.
    ///
    /// # Errors
    /// When not exactly one object fits, it has no such field, or the field no such part.
    pub fn read(&self, resources: &Resources) -> Result<Value, Error> {
        let fits = |resource: &Resource| ids(resource).iter().any(|id| id.is_selected_by(&self.object));
        let mut found = resources.iter().enumerate().filter(|(_, resource)| fits(resource));
        let (at, resource) = found
            .next()
            .ok_or_else(|| Error::new(format!("nothing selected by {}", self.describe())))?;
        if found.next().is_some() {
            return Err(Error::new(format!("multiple matches for selector {}", self.describe())));
        }
        let path = if self.path.is_empty() { DEFAULT_PATH } else { &self.path };
        let parts = split_bracketed(path, '.');
        let node = find(resource, &parts).within(|| "error looking up replacement source")?;
        let node = node.filter(|node| !node.is_empty()).ok_or_else(|| {
            Error::new(format!(
                "fieldPath `{path}` is missing for replacement source {}",
                self.object
            ))
        })?;
        let value = Value::of(node.into_owned());
        if self.options.delimiter.is_empty() {
            let field = Some(Field { at, path: parts });
            return Ok(Value { field, ..value });
        }
        self.part(value, path)
    }

    /// The part of a value that is asked for.
    fn part(&self, mut value: Value, path: &str) -> Result<Value, Error> {
        if !value.node.is_scalar() {
            return Err(Error::new("delimiter option can only be used with scalar nodes"));
        }
        let Options { delimiter, index, .. } = &self.options;
        let at = usize::try_from(*index).ok();
        let part = at.and_then(|at| value.text.split(delimiter).nth(at));
        let part =
            part.ok_or_else(|| Error::new(format!("options.index {index} is out of bounds for field `{path}`")))?;
        let part = part.to_owned();
        if value.node.replace_text(&part).is_err() {
            value.node = Node::string(part.clone());
        }
        value.text = part;
        Ok(value)
    }
}
