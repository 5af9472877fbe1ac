//! `commonAnnotations`: the same annotations on all objects and their pod templates.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "commonAnnotations: {team: web}\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["annotations"]["team"], "web");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use super::pairs::Pairs;
use super::{Pass, Transformer};
use crate::Error;
use crate::fields::{FieldSpec, field_spec};
use crate::kustomization::Fields;
use crate::resource::Resources;

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
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let pairs = Pairs::of(&self.annotations);
        pass.each(resources.iter_mut(), |resource| {
            pairs.set_in(resource, &self.fields, "annotations")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    fn check(fields: &str, object: &str, pointer: &str, expected: Value) {
        assert_eq!(first(fields, object, pointer), expected, "{fields} {object}");
    }

    #[test]
    fn annotations_go_to_objects_and_their_templates() {
        let fields = "commonAnnotations: {a: x, b: '1'}";
        check(
            fields,
            "{kind: A, metadata: {name: a, annotations: {a: old, c: z}}}",
            "/metadata/annotations",
            json!({"a": "x", "b": "1", "c": "z"}),
        );
        check(
            fields,
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {}}}",
            "/spec/template/metadata/annotations",
            json!({"a": "x", "b": "1"}),
        );
        check(
            fields,
            "{kind: A, metadata: {name: a, annotations: [x]}}",
            "",
            Value::Null,
        );
        check(
            "commonAnnotations: {'': x}",
            "{kind: A, metadata: {name: a}}",
            "",
            Value::Null,
        );
    }
}
