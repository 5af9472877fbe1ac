//! `replicas`: how many of a named workload.

use super::{Pass, Transformer};
use crate::Error;
use crate::fields::{FieldSpec, Target, apply, field_spec};
use crate::kustomization::{Fields, Replica};
use crate::node::{Node, wrong_kind};
use crate::resource::Resources;

/// Sets the count of the objects of one name.
pub(crate) struct Replicas {
    /// Name and count.
    pub replica: Replica,
    /// The types that have a count, and where.
    pub fields: Vec<FieldSpec>,
}

impl Replicas {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            replica: fields.object("replica", Replica::decode)?.unwrap_or_default(),
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }
}

impl Transformer for Replicas {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let mut found = false;
        for spec in &self.fields {
            let objects = resources.iter_mut().filter(|resource| !resource.node.is_empty());
            pass.each(objects, |resource| {
                let mut ids: Vec<_> = resource.previous_ids().collect();
                ids.push(resource.id());
                if !ids
                    .iter()
                    .any(|id| id.name == self.replica.name && id.gvk.is_selected_by(&spec.gvk))
                {
                    return Ok(false);
                }
                found = true;
                apply(&mut resource.node, spec, Target::Scalar, &mut |node| {
                    if !node.is_scalar() {
                        return Err(wrong_kind("ScalarNode", node));
                    }
                    Ok(node.assign(Node::Number(serde_json::Number::from(self.replica.count).into())))
                })
            })?;
        }
        if found {
            return Ok(());
        }
        let types: Vec<String> = self.fields.iter().map(|spec| spec.gvk.to_string()).collect();
        Err(Error::new(format!(
            "resource with name {} does not match a config with the following GVK [{}]",
            self.replica.name,
            types.join(" ")
        )))
    }
}
