//! The ValueAddTransformer plugin: one value for chosen fields, whole or as a part of a path.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "transformers: [add.yaml]\nresources: [app.yaml]\n")?;
//! files.insert(
//!     "add.yaml",
//!     "apiVersion: builtin\n\
//!      kind: ValueAddTransformer\n\
//!      metadata: {name: add}\n\
//!      value: web\n\
//!      targets: [{fieldPath: metadata/annotations/team}]\n",
//! )?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["annotations"]["team"], "web");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Namespace, Pass, Transformer};
use crate::Error;
use crate::files::clean;
use crate::kustomization::Fields;
use crate::node::{Create, lookup_create, split, wrong_kind};
use crate::resource::{Resource, Resources};
use crate::schema::Schema;
use crate::select::Selector;

/// Writes a value into fields.
pub(crate) struct ValueAdd {
    value: String,
    targets: Vec<Target>,
}

/// A field that gets the value.
pub(crate) struct Target {
    selector: Option<Selector>,
    path: String,
    position: i64,
}

impl Target {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let target = Self {
            selector: fields.object("selector", Selector::decode)?,
            path: fields.text("fieldPath")?,
            position: fields.integer("filePathPosition")?,
        };
        if target.path.is_empty() {
            return Err(Error::new("fieldPath cannot be empty"));
        }
        if target.position < 0 {
            return Err(Error::new(format!(
                "value of FilePathPosition ({}) cannot be negative",
                target.position
            )));
        }
        Ok(target)
    }

    /// Writes the value into the field. Whether it is another one now.
    fn set(&self, resource: &mut Resource, value: &str, schema: &Schema) -> Result<bool, Error> {
        if self.path == "metadata/namespace" {
            let namespace = Namespace {
                namespace: value.to_owned(),
                ..Namespace::default()
            };
            return namespace.apply(resource, schema);
        }
        let path = split(&self.path, '/');
        let Some(node) = lookup_create(&mut resource.node, &path, Create::Scalar)? else {
            return Ok(false);
        };
        if !node.is_scalar() {
            return Err(wrong_kind("ScalarNode", node));
        }
        Ok(match self.position {
            0 => node.assign_untyped(value),
            position => {
                let position = usize::try_from(position - 1).unwrap_or(usize::MAX);
                let whole = insert_part(&node.text(), position, value);
                node.assign_untyped(&whole)
            }
        })
    }
}

/// The `targets` of a configuration, or of a file of them.
pub(crate) fn value_add_targets(fields: &mut Fields<'_>) -> Result<Vec<Target>, Error> {
    fields.list("targets", Target::decode)
}

impl ValueAdd {
    /// From a plugin configuration; `load` reads the targets of a file and `directory` names the kustomization's.
    pub fn decode(
        fields: &mut Fields<'_>,
        directory: &str,
        load: impl FnOnce(&str) -> Result<Vec<Target>, Error>,
    ) -> Result<Self, Error> {
        let mut value = fields.text("value")?.trim().to_owned();
        if value.is_empty() {
            directory.clone_into(&mut value);
        }
        let mut targets = value_add_targets(fields)?;
        let file = fields.text("targetFilePath")?;
        if !file.is_empty() {
            targets.extend(load(&file)?);
        }
        if targets.is_empty() {
            return Err(Error::new("must specify at least one target"));
        }
        Ok(Self { value, targets })
    }
}

impl Transformer for ValueAdd {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        for target in &self.targets {
            let chosen = match &target.selector {
                Some(selector) => resources.select(selector)?,
                None => (0..resources.len()).collect(),
            };
            for at in chosen {
                let Some(resource) = resources.get_mut(at) else {
                    continue;
                };
                pass.on(resource, |resource| target.set(resource, &self.value, pass.schema))?;
            }
        }
        Ok(())
    }
}

/// Puts a part into a path at a position; behind the last one when the path is too short.
fn insert_part(path: &str, position: usize, part: &str) -> String {
    if part.is_empty() {
        return path.to_owned();
    }
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.insert(position.min(parts.len()), part);
    let joined = clean(&parts.join("/"));
    if absolute { format!("/{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_to_its_position() {
        assert_eq!(insert_part("/a/b", 1, "x"), "/a/x/b");
        assert_eq!(insert_part("a/b", 9, "x"), "a/b/x");
        assert_eq!(insert_part("a", 0, "x"), "x/a");
    }
}
