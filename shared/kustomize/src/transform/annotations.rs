//! `commonAnnotations`: the same annotations on all objects and their pod templates.

use std::collections::BTreeMap;

use super::Transformer;
use crate::Error;
use crate::error::Within;
use crate::fields::{FieldSpec, Target, apply_all, field_spec};
use crate::kustomization::Fields;
use crate::node::{Node, check_key, wrong_kind};
use crate::resource::Resources;
use crate::schema::Schema;

/// Sets annotations.
pub(crate) struct Annotations {
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The fields that get them.
    pub fields: Vec<FieldSpec>,
}

impl Annotations {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            annotations: fields.strings("annotations")?,
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }
}

impl Transformer for Annotations {
    fn transform(&self, resources: &mut Resources, _: &Schema) -> Result<(), Error> {
        for resource in resources.iter_mut() {
            for (key, value) in &self.annotations {
                apply_all(&mut resource.node, &self.fields, Target::Map, &mut |node| match node {
                    Node::Map(map) => {
                        check_key(key).within(|| "annotations")?;
                        map.entry(key.clone())
                            .or_insert_with(|| Node::string(""))
                            .assign_string(value);
                        Ok(())
                    }
                    other => Err(wrong_kind("MappingNode", other)),
                })?;
            }
            resource.settle_cells();
        }
        Ok(())
    }
}
