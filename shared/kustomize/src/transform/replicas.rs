//! `replicas`: how many of a named workload.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "replicas: [{name: app, count: 3}]\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["spec"]["replicas"], 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

#[cfg(test)]
mod tests {
    use crate::trial::{built, first};
    use serde_json::json;

    #[test]
    fn workloads_of_the_name_get_the_number() {
        let check = |version: &str, kind: &str, expected: serde_json::Value| {
            let object =
                format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}, spec: {{replicas: 1}}}}");
            let found = first("replicas: [{name: a, count: 3}]", &object, "/spec/replicas");
            assert_eq!(found, expected, "{kind}");
        };
        check("apps/v1", "Deployment", json!(3));
        check("apps/v1", "StatefulSet", json!(3));
        check("v1", "ReplicationController", json!(3));
        check("example.com/v1", "Thing", json!(null));
    }

    #[test]
    fn a_name_that_nothing_has_is_an_error() {
        let objects = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}";
        let error = built("replicas: [{name: b, count: 3}]", objects).unwrap_err();
        assert!(error.contains("resource with name b does not match"), "{error}");
    }
}
