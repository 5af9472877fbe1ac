//! `namespace`: one namespace for all objects that have one, and for what refers to them.

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
        Ok(!kept && node.assign_string(&self.namespace))
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
            None | Some(Node::Null { .. }) => return Ok(false),
            Some(Node::List(subjects)) => subjects,
            Some(other) => return Err(wrong_kind("SequenceNode", other)),
        };
        let mut changed = false;
        for subject in subjects {
            match subject {
                Node::Map(map) if map.get(field).is_some_and(|value| value.text() == word) => {
                    changed |= self.set(
                        map.entry("namespace".to_owned())
                            .or_insert_with(|| Create::Scalar.node()),
                    )?;
                }
                Node::Map(_) | Node::Null { .. } => {}
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
            resource.remember_id();
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
