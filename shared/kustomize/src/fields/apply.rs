//! Finding the fields of a [`FieldSpec`] in an object and changing them.

use std::borrow::Cow;

use super::FieldSpec;
use crate::Error;
use crate::error::Within;
use crate::node::{Create, Node, Style, Text, check_key, check_length, field_step, split, wrong_kind};
use crate::resource::{Gvk, Id};

/// What a transformer expects at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whatever is there; nothing is created.
    Existing,
    /// A string, created where the field says so.
    Scalar,
    /// A mapping, created where the field says so.
    Map,
}

/// Calls `set` for every node the field leads to in the object. Whether anything changed: `set` says so, or a field was
/// created for it.
///
/// # Errors
/// When the path leads through a scalar, or `set` fails; the text names field and object.
pub(crate) fn apply(
    node: &mut Node,
    spec: &FieldSpec,
    target: Target,
    set: &mut dyn FnMut(&mut Node) -> Result<bool, Error>,
) -> Result<bool, Error> {
    apply_all(node, std::slice::from_ref(spec), target, set)
}

/// The type an object says it is of.
fn type_of(node: &Node) -> Gvk {
    let part = |name: &str| node.get(name).map_or(Cow::Borrowed(""), Node::text);
    Gvk::of(&part("apiVersion"), &part("kind"))
}

/// As [`apply`], for an object that is known to be of the type and with the path split already: for fields that many
/// objects are asked for.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_path(
    node: &mut Node,
    spec: &FieldSpec,
    path: &[String],
    target: Target,
    set: &mut dyn FnMut(&mut Node) -> Result<bool, Error>,
) -> Result<bool, Error> {
    check_length(path)?;
    let walk = Walk {
        create: spec.create,
        target,
    };
    walk.step(node, path, set).within(|| {
        let gvk = type_of(node);
        let meta = |name: &str| {
            node.get("metadata")
                .and_then(|meta| meta.get(name))
                .map_or(String::new(), |value| value.text().into_owned())
        };
        let id = Id {
            gvk,
            name: meta("name"),
            namespace: meta("namespace"),
        };
        format!("considering field '{}' of object {id}", spec.path)
    })
}

/// Calls `set` for every node that any of the fields leads to.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_all(
    node: &mut Node,
    specs: &[FieldSpec],
    target: Target,
    set: &mut dyn FnMut(&mut Node) -> Result<bool, Error>,
) -> Result<bool, Error> {
    // Most fields are of other types, which is found out once.
    let gvk = type_of(node);
    let mut fields = specs.iter().filter(|spec| gvk.is_selected_by(&spec.gvk));
    fields.try_fold(false, |changed, spec| {
        let path = split(&spec.path, '/');
        Ok(apply_path(node, spec, &path, target, set)? || changed)
    })
}

struct Walk {
    create: bool,
    target: Target,
}

impl Walk {
    fn step(
        &self,
        node: &mut Node,
        path: &[String],
        set: &mut dyn FnMut(&mut Node) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Some((first, rest)) = path.split_first() else {
            return set(node);
        };
        match node {
            Node::Null(_) => Ok(false),
            Node::List(items) => items
                .iter_mut()
                .try_fold(false, |changed, item| Ok(self.step(item, path, set)? || changed)),
            Node::Map(_) => self.field(node, first, rest, set),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => Err(Error::new("expected sequence or mapping node")),
        }
    }

    fn field(
        &self,
        node: &mut Node,
        name: &str,
        rest: &[String],
        set: &mut dyn FnMut(&mut Node) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        if name.is_empty() {
            return Err(Error::new("cannot set or create an empty field name"));
        }
        if name.trim().is_empty() {
            return self.step(node, rest, set);
        }
        let name = field_step(name, node)?;
        let Node::Map(map) = node else {
            return Err(wrong_kind("MappingNode", node));
        };
        // What the field has to be if it is null now, and what to create.
        let (kind, create) = match (self.target, rest.is_empty()) {
            _ if is_list => (Some(Create::List), false),
            (Target::Existing, _) => (None, false),
            _ if !self.create => (None, false),
            (Target::Scalar, true) => (Some(Create::Scalar), true),
            (Target::Map, true) | (_, false) => (Some(Create::Map), true),
        };
        let mut changed = false;
        if create && !map.contains_key(name) {
            check_key(name)?;
            changed = true;
            map.insert(name, kind.unwrap_or(Create::Map).node());
        }
        let Some(field) = map.get_mut(name) else {
            return Ok(changed);
        };
        if let (true, Some(kind)) = (field.is_null(), kind) {
            changed = true;
            *field = match kind {
                // The word for null becomes the string it looks like.
                Create::Scalar => Node::Text(Text {
                    text: field.text().into(),
                    style: Style::Plain,
                    cell: 0,
                }),
                Create::List | Create::Map => kind.node(),
            };
        }
        Ok(self.step(field, rest, set)? || changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: serde_json::Value, path: &str, create: bool, target: Target, expected: Option<serde_json::Value>) {
        let mut node = Node::from_json(object);
        let spec = FieldSpec {
            path: path.to_owned(),
            create,
            ..FieldSpec::default()
        };
        let result = apply(&mut node, &spec, target, &mut |node| {
            *node = Node::string("new");
            Ok(true)
        });
        assert_eq!(result.ok().map(|_| node.to_json()), expected, "{path}");
    }

    #[test]
    fn paths_go_through_lists_and_create_on_demand() {
        use serde_json::json;
        check(
            json!({"a": [{"b": 1}, {"c": 1}]}),
            "a/b",
            false,
            Target::Existing,
            Some(json!({"a": [{"b": "new"}, {"c": 1}]})),
        );
        check(
            json!({"a": [{"b": 1}, {"c": 1}]}),
            "a/b",
            true,
            Target::Scalar,
            Some(json!({"a": [{"b": "new"}, {"b": "new", "c": 1}]})),
        );
        check(json!({}), "a/b", true, Target::Scalar, Some(json!({"a": {"b": "new"}})));
        check(json!({}), "a[]/b", true, Target::Scalar, Some(json!({})));
        check(
            json!({"a": null}),
            "a/b",
            true,
            Target::Map,
            Some(json!({"a": {"b": "new"}})),
        );
        check(json!({"a": null}), "a/b", false, Target::Map, Some(json!({"a": null})));
        check(json!({"a": 1}), "a/b", false, Target::Existing, None);
        check(
            json!({"a": {"b": 1}}),
            " a/ / b ",
            false,
            Target::Existing,
            Some(json!({"a": {"b": "new"}})),
        );
    }

    #[test]
    fn steps_that_select_items_lead_to_no_field() {
        use serde_json::json;
        for step in ["*", "-", "0", "-1", "[b=c]", "[b]"] {
            let path = format!("a/{step}");
            check(json!({"a": {"b": 1}}), &path, true, Target::Scalar, None);
            check(json!({"a": [{"b": 1}]}), &path, false, Target::Existing, None);
            check(json!({}), &path, false, Target::Existing, Some(json!({})));
        }
        check(json!({"a": {}}), "a/1.5", true, Target::Scalar, None);
    }
}
