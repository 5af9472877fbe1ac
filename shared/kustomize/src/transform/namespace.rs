//! `namespace`: one namespace for all objects that have one, and for what refers to them.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "namespace: web\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["namespace"], "web");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;

use super::{Pass, Transformer};
use crate::Error;
use crate::error::Within;
use crate::fields::{FieldSpec, Target, apply, field_spec};
use crate::kustomization::Fields;
use crate::node::{Create, Node, wrong_kind};
use crate::resource::{Gvk, Key, Resource, Resources};
use crate::schema::Schema;

/// Which subjects of role bindings get the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// Those named `default`.
    #[default]
    Default,
    /// All service accounts.
    ServiceAccounts,
    /// None.
    None,
}

/// Sets the namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    /// The namespace.
    pub namespace: String,
    /// Further fields that hold it.
    pub fields: Vec<FieldSpec>,
    /// Whether to leave alone what has one.
    pub unset_only: bool,
    /// Which subjects get it.
    pub subjects: Subjects,
}

impl Namespace {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let namespace = fields
            .object("metadata", |meta| meta.text("namespace"))?
            .unwrap_or_default();
        let subjects = match fields.text("setRoleBindingSubjects")?.as_str() {
            "" | "defaultOnly" => Subjects::Default,
            "allServiceAccounts" => Subjects::ServiceAccounts,
            "none" => Subjects::None,
            other => {
                return Err(Error::new(format!(
                    "invalid value \"{other}\" for setRoleBindingSubjects: must be one of \"defaultOnly\", \"none\" or \"allServiceAccounts\""
                )));
            }
        };
        Ok(Self {
            namespace,
            fields: fields.list("fieldSpecs", field_spec)?,
            unset_only: fields.flag("unsetOnly")?,
            subjects,
        })
    }

    fn set(&self, node: &mut Node) -> Result<bool, Error> {
        if !node.is_scalar() {
            return Err(wrong_kind("ScalarNode", node)).within(|| "namespace field specs must target scalar nodes");
        }
        let kept = self.unset_only && !node.is_null() && !node.text().is_empty();
        Ok(!kept && node.assign_string(self.namespace.as_str()))
    }

    /// Sets the namespace of one object. Whether that changed it.
    ///
    /// # Errors
    /// When a field for it holds a list or mapping.
    pub fn apply(&self, resource: &mut Resource, schema: &Schema) -> Result<bool, Error> {
        let mut changed = false;
        let (gvk, version) = (resource.gvk(), resource.api_version());
        if !gvk.is_cluster_scoped() && !schema.is_cluster_scoped(&version, &gvk.kind) {
            let own = FieldSpec {
                gvk: Gvk::default(),
                path: "metadata/namespace".into(),
                create: true,
            };
            changed |= apply(&mut resource.node, &own, Target::Scalar, &mut |node| self.set(node))?;
        }
        let is_binding = matches!(gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding");
        if is_binding {
            changed |= self
                .set_subjects(&mut resource.node)
                .within(|| "setting namespace on (cluster)role binding subjects")?;
        }
        for spec in &self.fields {
            let skipped = spec.path == "metadata/namespace"
                || (version != "v1" && spec.path == "metadata/name")
                || (is_binding
                    && matches!(spec.gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding")
                    && spec.path == "subjects/namespace");
            if !skipped {
                changed |= apply(&mut resource.node, spec, Target::Scalar, &mut |node| self.set(node))
                    .within(|| "namespace transformation failed")?;
            }
        }
        Ok(changed)
    }

    fn set_subjects(&self, node: &mut Node) -> Result<bool, Error> {
        let (field, word) = match self.subjects {
            Subjects::None => return Ok(false),
            Subjects::Default => ("name", "default"),
            Subjects::ServiceAccounts => ("kind", "ServiceAccount"),
        };
        let subjects = match node.as_map_mut().and_then(|map| map.get_mut("subjects")) {
            None | Some(Node::Null(_)) => return Ok(false),
            Some(Node::List(subjects)) => subjects,
            Some(other) => return Err(wrong_kind("SequenceNode", other)),
        };
        let mut changed = false;
        for subject in subjects {
            match subject {
                Node::Map(map) => match map.get(field) {
                    Some(value) if !value.is_scalar() => {
                        let error = wrong_kind("ScalarNode", value);
                        return Err(error).within(|| format!("looking up {field} of a subject"));
                    }
                    Some(value) if value.text() == word => {
                        changed |= self.set(map.get_or_insert_with("namespace", || Create::Scalar.node()))?;
                    }
                    _ => {}
                },
                Node::Null(_) => {}
                other => return Err(wrong_kind("MappingNode", other)),
            }
        }
        Ok(changed)
    }
}

impl Transformer for Namespace {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        let mut owners: HashMap<Key, usize> = HashMap::new();
        for resource in resources.iter() {
            *owners.entry(resource.id().key()).or_default() += 1;
        }
        let objects = resources.iter_mut().filter(|resource| !resource.node.is_empty());
        pass.each(objects, |resource| {
            let before = resource.id().key();
            resource.remember_id()?;
            let changed = self.apply(resource, pass.schema)?;
            if let Some(count) = owners.get_mut(&before) {
                *count -= 1;
            }
            let id = resource.id();
            let count = owners.entry(id.key()).or_default();
            *count += 1;
            if *count > 1 {
                return Err(Error::new(format!(
                    "namespace transformation produces ID conflict: {count} objects are {id}"
                )));
            }
            Ok(changed)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    fn check(object: &str, pointer: &str, expected: Value) {
        assert_eq!(first("namespace: web", object, pointer), expected, "{object}");
    }

    fn binding(subjects: &str) -> String {
        let version = "rbac.authorization.k8s.io/v1";
        format!("{{apiVersion: {version}, kind: RoleBinding, metadata: {{name: a}}, subjects: {subjects}}}")
    }

    #[test]
    fn everything_that_has_a_namespace_gets_this_one() {
        check(
            "{kind: A, metadata: {name: a, namespace: b}}",
            "/metadata/namespace",
            json!("web"),
        );
        check(
            "{apiVersion: v1, kind: Node, metadata: {name: a}}",
            "/metadata",
            json!({"name": "a"}),
        );
        check(
            "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
            "/metadata",
            json!({"name": "web"}),
        );
        check("{kind: A, metadata: {name: a, namespace: [b]}}", "", Value::Null);
    }

    #[test]
    fn subjects_named_default_get_it_too() {
        let subjects = binding("[{name: default}, {name: other}, {kind: User, name: u}]");
        let expected =
            json!([{"name": "default", "namespace": "web"}, {"name": "other"}, {"kind": "User", "name": "u"}]);
        check(&subjects, "/subjects", expected);
        check(&binding("[{name: [default]}]"), "", Value::Null);
        check(&binding("[default]"), "", Value::Null);
    }
}
