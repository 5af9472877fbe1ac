//! `labels` and `commonLabels`: the same labels on all objects, their templates and selectors.

use std::collections::BTreeMap;

use super::{Pass, Transformer};
use crate::Error;
use crate::error::Within;
use crate::fields::{FieldSpec, Target, apply_all, field_spec};
use crate::kustomization::Fields;
use crate::node::{Node, Style, Text, check_key, wrong_kind};
use crate::resource::Resources;

/// Sets labels.
pub(crate) struct Labels {
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The fields that get them.
    pub fields: Vec<FieldSpec>,
}

impl Labels {
    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            labels: fields.strings("labels")?,
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }
}

impl Transformer for Labels {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        pass.each(resources.iter_mut(), |resource| {
            let mut changed = false;
            for (key, value) in &self.labels {
                // A label added in several places is one value upstream: a later change of one place changes all.
                let cell = resource.new_cell(value);
                changed |= apply_all(&mut resource.node, &self.fields, Target::Map, &mut |node| match node {
                    Node::Map(map) => Ok(match map.get_mut(key) {
                        Some(old) => old.assign_string(value),
                        None => {
                            check_key(key).within(|| "labels")?;
                            map.insert(
                                key.clone(),
                                Node::Text(Text {
                                    text: value.clone(),
                                    style: Style::Plain,
                                    cell,
                                }),
                            );
                            true
                        }
                    }),
                    other => Err(wrong_kind("MappingNode", other)),
                })?;
                resource.settle_cells();
            }
            Ok(changed)
        })
    }
}
