//! `nameSuffix`.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "nameSuffix: -v2\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["name"], "app-v2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Pass, Transformer, keeps_its_name};
use crate::Error;
use crate::fields::{FieldSpec, Target, apply, field_spec};
use crate::kustomization::Fields;
use crate::resource::Resources;

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
        if !fields.has("fieldSpecs") {
            return Err(Error::new("fieldSpecs is not expected to be nil"));
        }
        Ok(Self {
            suffix: fields.text("suffix")?,
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }
}

impl Transformer for Suffix {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        pass.each(resources.iter_mut(), |resource| {
            let mut changed = false;
            let id = resource.original_id();
            if keeps_its_name(&id.gvk) {
                return Ok(false);
            }
            for spec in self.fields.iter().filter(|spec| id.gvk.is_selected_by(&spec.gvk)) {
                if spec.path == "metadata/name" && !self.suffix.is_empty() {
                    resource.memory.suffixes.push(self.suffix.clone());
                    resource.remember_id();
                }
                changed |= apply(&mut resource.node, spec, Target::Scalar, &mut |node| {
                    let name = format!("{}{}", node.text(), self.suffix);
                    if node.is_scalar() {
                        return Ok(node.assign_untyped(&name));
                    }
                    Err(crate::node::wrong_kind("ScalarNode", node))
                })?;
            }
            Ok(changed)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    fn check(object: &str, expected: Value) {
        let name = first("nameSuffix: -x", object, "/metadata/name");
        assert_eq!(name, expected, "{object}");
    }

    #[test]
    fn names_get_it_unless_others_know_them() {
        check("{kind: A, metadata: {name: a}}", json!("a-x"));
        check("{apiVersion: v1, kind: Namespace, metadata: {name: a}}", json!("a"));
        check(
            "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}}",
            json!("a"),
        );
        check(
            "{apiVersion: other.io/v1, kind: APIService, metadata: {name: a}}",
            json!("a-x"),
        );
        check(
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}}",
            json!("a"),
        );
    }
}
