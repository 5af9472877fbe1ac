//! `nameSuffix`.

use super::{Transformer, keeps_its_name};
use crate::Error;
use crate::fields::{FieldSpec, Target, apply, field_spec};
use crate::kustomization::Fields;
use crate::resource::Resources;
use crate::schema::Schema;

/// Puts a suffix behind names.
pub(crate) struct Suffix {
    /// The suffix.
    pub suffix: String,
    /// The fields that get it.
    pub fields: Vec<FieldSpec>,
}

impl Suffix {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        if fields.line_of("fieldSpecs").is_none() {
            return Err(Error::new("fieldSpecs is not expected to be nil"));
        }
        Ok(Self {
            suffix: fields.text("suffix")?,
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }
}

impl Transformer for Suffix {
    fn transform(&self, resources: &mut Resources, _: &Schema) -> Result<(), Error> {
        for resource in resources.iter_mut() {
            let id = resource.original_id();
            if keeps_its_name(&id.gvk) {
                continue;
            }
            for spec in self.fields.iter().filter(|spec| id.gvk.is_selected_by(&spec.gvk)) {
                if spec.path == "metadata/name" && !self.suffix.is_empty() {
                    resource.memory.suffixes.push(self.suffix.clone());
                    resource.remember_id();
                }
                apply(&mut resource.node, spec, Target::Scalar, &mut |node| {
                    let name = format!("{}{}", node.text(), self.suffix);
                    if node.is_scalar() {
                        node.assign_untyped(&name);
                        return Ok(());
                    }
                    Err(crate::node::wrong_kind("ScalarNode", node))
                })?;
            }
        }
        Ok(())
    }
}
