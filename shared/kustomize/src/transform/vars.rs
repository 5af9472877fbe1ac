//! `vars`: `$(NAME)` in chosen fields, replaced by a field of another object.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "vars: [{name: DB, objref: {apiVersion: v1, kind: Service, name: db}}]\n\
//!      resources: [app.yaml]\n",
//! )?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: v1, kind: Service, metadata: {name: db}}\n\
//!      ---\n\
//!      {apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {containers: [{name: a, args: ['--db=$(DB)']}]}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[1].object["spec"]["containers"][0]["args"][0], "--db=db");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Pass, Transformer};
use crate::Error;
use crate::error::Problems;
use crate::fields::{FieldSpec, Target, apply_all};
use crate::kustomization::Fields;
use crate::node::{Node, Style, Text, lookup, split_bracketed};
use crate::resource::{Id, Resource, Resources};

/// An entry of `vars`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Var {
    /// What stands in the parentheses.
    pub name: String,
    /// The object it is read from.
    pub object: Id,
    /// The field it is read from, separated by dots.
    pub path: String,
}

impl Var {
    /// From a kustomization.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let object = fields.object("objref", |object| {
            let mut id = Id::decode(object)?;
            let gvk = &mut id.gvk;
            let version = object.text("apiVersion")?;
            match version.split('/').collect::<Vec<_>>().as_slice() {
                [""] => {}
                [version] => (*version).clone_into(&mut gvk.version),
                [group, version] => {
                    (*group).clone_into(&mut gvk.group);
                    (*version).clone_into(&mut gvk.version);
                }
                _ => {}
            }
            Ok(id)
        })?;
        let path = fields
            .object("fieldref", |field| field.text("fieldPath"))?
            .unwrap_or_default();
        Ok(Self {
            name: fields.text("name")?,
            object: object.unwrap_or_default(),
            path: if path.is_empty() {
                "metadata.name".to_owned()
            } else {
                path
            },
        })
    }

    /// Marks the object this var is read from.
    ///
    /// # Errors
    /// When several objects fit.
    pub fn bind(&self, resources: &mut Resources) -> Result<(), Error> {
        let exact = !self.object.namespace.is_empty() || self.object.gvk.is_cluster_scoped();
        let fits = |id: &Id| {
            id.name == self.object.name
                && id.gvk == self.object.gvk
                && (!exact || id.effective_namespace() == self.object.effective_namespace())
        };
        let found: Vec<usize> = resources
            .iter()
            .enumerate()
            .filter(|(_, resource)| {
                !resource.node.is_empty() && (fits(&resource.id()) || resource.previous_ids().any(|id| fits(&id)))
            })
            .map(|(at, _)| at)
            .collect();
        match found.as_slice() {
            [] => Ok(()),
            [at] => {
                if let Some(resource) = resources.body_mut(*at) {
                    resource.vars.push(self.name.clone());
                }
                Ok(())
            }
            _ => Err(Error::new(format!(
                "found {} resId matches for var {} (unable to disambiguate)",
                found.len(),
                self.name
            ))),
        }
    }

    fn value(&self, resources: &Resources) -> Result<Node, Error> {
        let Some(resource) = resources.iter().find(|resource| resource.vars.contains(&self.name)) else {
            return Err(Error::new(format!(
                "var '{}' cannot be mapped to a field in the set of known resources",
                self.name
            )));
        };
        read(resource, &self.path).ok_or_else(|| {
            Error::new(format!(
                "field '{}' specified in var '{}' not found in corresponding resource {}",
                self.path,
                self.name,
                resource.id()
            ))
        })
    }
}

/// A field by a path with dots, where `list[0]` is an item.
fn read(resource: &Resource, path: &str) -> Option<Node> {
    let mut parts = Vec::new();
    for part in split_bracketed(path, '.') {
        match part.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
            Some((field, index)) if !index.is_empty() && index.bytes().all(|digit| digit.is_ascii_digit()) => {
                if !field.is_empty() {
                    parts.push(field.to_owned());
                }
                parts.push(index.to_owned());
            }
            _ => parts.push(part),
        }
    }
    lookup(&resource.node, &parts).ok().flatten().cloned()
}

/// Replaces the vars in the fields that may have them.
pub(crate) struct Vars<'a> {
    vars: &'a BTreeMap<String, Var>,
    fields: &'a [FieldSpec],
    /// The vars that were found in a field.
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Vars<'a> {
    /// Vars by name, and the fields that may have them.
    pub fn new(vars: &'a BTreeMap<String, Var>, fields: &'a [FieldSpec]) -> Self {
        Self {
            vars,
            fields,
            used: RefCell::default(),
        }
    }

    /// The vars that no field has, separated by commas, when there are any.
    pub fn unused(&self) -> Option<String> {
        let used = self.used.borrow();
        let unused: Vec<&str> = self
            .vars
            .keys()
            .map(String::as_str)
            .filter(|name| !used.contains(*name))
            .collect();
        (!unused.is_empty()).then(|| unused.join(","))
    }
}

impl Transformer for Vars<'_> {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        if self.vars.is_empty() {
            return Ok(());
        }
        let mut problems = Problems::default();
        let mut by_name = BTreeMap::new();
        for (name, var) in self.vars {
            if let Some(value) = problems.note(var.value(resources))? {
                by_name.insert(name.as_str(), value);
            }
        }
        problems.finish()?;
        let values = Values {
            by_name,
            used: &self.used,
        };
        pass.each(resources.iter_mut(), |resource| {
            let changed = apply_all(&mut resource.node, self.fields, Target::Existing, &mut |node| {
                let mut changed = false;
                match node {
                    Node::Text(_) => changed = replace(node, &values)?,
                    Node::Map(map) => {
                        for value in map.values_mut().filter(|value| matches!(value, Node::Text(_))) {
                            changed |= replace(value, &values)?;
                        }
                    }
                    Node::List(items) => {
                        for item in items {
                            if !matches!(item, Node::Text(_)) {
                                return Err(Error::new("invalid value type expect a string"));
                            }
                            changed |= replace(item, &values)?;
                        }
                    }
                    Node::Null(_) | Node::Bool(_) | Node::Number(_) => {}
                }
                Ok(changed)
            })?;
            resource.settle_cells();
            Ok(changed)
        })
    }
}

/// The values of the vars.
struct Values<'a> {
    by_name: BTreeMap<&'a str, Node>,
    used: &'a RefCell<BTreeSet<String>>,
}

impl Values<'_> {
    /// The value of a var, which is used now.
    fn get(&self, name: &str) -> Option<&Node> {
        let value = self.by_name.get(name)?;
        if !self.used.borrow().contains(name) {
            self.used.borrow_mut().insert(name.to_owned());
        }
        Some(value)
    }
}

fn replace(node: &mut Node, values: &Values<'_>) -> Result<bool, Error> {
    let Node::Text(Text { text, cell, .. }) = node else {
        return Ok(false);
    };
    let cell = *cell;
    let new = expand(text, values)?;
    let changed = *new.text() != **text;
    *node = match new {
        Node::Text(new) => Node::Text(Text {
            text: new.text,
            style: Style::Plain,
            cell,
        }),
        other => other,
    };
    Ok(changed)
}

/// The longest text that replacing vars may make.
const MAX_TEXT: usize = 16 << 20;

/// The text with its vars replaced; a text that is nothing but one var becomes the value itself.
fn expand(text: &str, values: &Values<'_>) -> Result<Node, Error> {
    let value = |name: &str| values.get(name).filter(|value| value.is_scalar() && !value.is_null());
    let last_closer = text.rfind(')').unwrap_or(0);
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(inner) = after.strip_prefix('(') {
            // Only looked for where there is one, so that a text of openers takes no square of its length.
            let closes = text.len() - inner.len() <= last_closer;
            match if closes { inner.split_once(')') } else { None } {
                Some((name, behind)) => {
                    match value(name) {
                        Some(value) if text.len() == name.len() + 3 => return Ok(value.clone()),
                        Some(value) => result.push_str(&value.text()),
                        None => result.push_str(&format!("$({name})")),
                    }
                    behind
                }
                None => {
                    result.push_str("$(");
                    inner
                }
            }
        } else {
            result.push('$');
            after.strip_prefix('$').unwrap_or(after)
        };
        if result.len() > MAX_TEXT {
            return Err(Error::fatal(format!("vars make a text of more than {MAX_TEXT} bytes")));
        }
    }
    result.push_str(rest);
    Ok(Node::string(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: serde_json::Value) {
        let used = RefCell::default();
        let by_name = BTreeMap::from([
            ("A", Node::string("x")),
            ("N", Node::Number(serde_json::Number::from(5).into())),
            ("M", Node::map()),
        ]);
        let values = Values { by_name, used: &used };
        assert_eq!(expand(text, &values).unwrap().to_json(), expected, "{text}");
    }

    #[test]
    fn vars_are_replaced_and_dollars_escaped() {
        check("$(A)-$(N)$", "x-5$".into());
        check("$(N)", 5.into());
        check("$$(A) $x $(B) $(", "$(A) $x $(B) $(".into());
        check("$(M)", "$(M)".into());
    }
}
