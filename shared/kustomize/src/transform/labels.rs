//! `labels` and `commonLabels`: the same labels on all objects, their templates and selectors.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "labels: [{pairs: {app: web}, includeSelectors: true}]\n\
//!      resources: [app.yaml]\n",
//! )?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: Service, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["labels"]["app"], "web");
//! assert_eq!(objects[0].object["spec"]["selector"]["app"], "web");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use super::pairs::Pairs;
use super::{Pass, Transformer};
use crate::Error;
use crate::fields::{FieldSpec, field_spec};
use crate::kustomization::Fields;
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
        let pairs = Pairs::of(&self.labels);
        pass.each(resources.iter_mut(), |resource| {
            pairs.set_in(resource, &self.fields, "labels")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    fn check(fields: &str, pointer: &str, expected: Value) {
        let object =
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {b: y}}}}";
        assert_eq!(first(fields, object, pointer), expected, "{fields}");
    }

    #[test]
    fn labels_go_where_they_are_asked_for() {
        let (plain, selector, template) = ("/metadata/labels", "/spec/selector/matchLabels", "/spec/template");
        check("labels: [{pairs: {a: x}}]", plain, json!({"a": "x"}));
        check("labels: [{pairs: {a: x}}]", selector, json!({"b": "y"}));
        check(
            "labels: [{pairs: {a: x}, includeSelectors: true}]",
            selector,
            json!({"a": "x", "b": "y"}),
        );
        let labelled = json!({"metadata": {"labels": {"a": "x"}}});
        check(
            "labels: [{pairs: {a: x}, includeTemplates: true}]",
            template,
            labelled.clone(),
        );
        check(
            "labels: [{pairs: {a: x}, includeTemplates: true}]",
            selector,
            json!({"b": "y"}),
        );
        check("commonLabels: {a: x}", template, labelled);
        check("commonLabels: {a: x}", selector, json!({"a": "x", "b": "y"}));
        check(
            "labels: [{pairs: {a: x}, fields: [{path: spec/more, create: true}]}]",
            "/spec/more",
            json!({"a": "x"}),
        );
        check("commonLabels: {1: x}", plain, Value::Null);
        check("commonLabels: {'': x}", plain, Value::Null);
    }

    #[test]
    fn a_label_in_several_places_is_one_value() {
        let patch = "commonLabels: {a: x}\ntransformers: [\"{apiVersion: builtin, kind: PatchTransformer, metadata: {name: p}, \
                     target: {kind: Deployment}, patch: '{kind: A, metadata: {name: a, labels: {a: z}}}'}\"]";
        check(patch, "/spec/selector/matchLabels/a", json!("z"));
    }
}
