//! Fields from the OpenAPI definitions of custom types that a kustomization lists in `crds`: extensions in the definitions
//! say which properties are labels, annotations, names or references.

use serde_json::{Map, Value};

use super::{Config, FieldSpec, References, merge_one};
use crate::Error;
use crate::resource::Gvk;

impl Config {
    /// Reads a file of `crds`: definitions by type name, each with a `Schema`.
    ///
    /// # Errors
    /// Malformed YAML, or fields that contradict each other.
    pub fn parse_crds(content: &[u8]) -> Result<Self, Error> {
        let mut config = Config::default();
        let Some(document) = crate::kustomization::document(content)? else {
            return Ok(config);
        };
        let document = document.to_json()?;
        let Some(types) = document.as_object() else {
            return Err(Error::new("not a mapping of definitions"));
        };
        if let Some((name, _)) = types
            .iter()
            .find(|(_, definition)| !definition.is_object() && !definition.is_null())
        {
            return Err(Error::new(format!(
                "'{name}' is no definition of a type: expected a mapping with a Schema"
            )));
        }
        for (name, definition) in types {
            let Some(properties) = properties(definition) else {
                continue;
            };
            if ["kind", "apiVersion", "metadata"]
                .iter()
                .all(|field| properties.contains_key(*field))
            {
                let gvk = Gvk {
                    kind: name.rsplit('.').next().unwrap_or_default().to_owned(),
                    ..Gvk::default()
                };
                config.add_type(types, name, &gvk, &mut Vec::new())?;
            }
        }
        Ok(config)
    }

    fn add_type(
        &mut self,
        types: &Map<String, Value>,
        name: &str,
        gvk: &Gvk,
        path: &mut Vec<String>,
    ) -> Result<(), Error> {
        if path.len() > types.len() {
            return Err(Error::new(format!("the definition of '{name}' refers to itself")));
        }
        let Some(properties) = types.get(name).and_then(properties) else {
            return Ok(());
        };
        for (property, schema) in properties {
            path.push(property.clone());
            let extension = |name: &str| schema.get(name).and_then(Value::as_str);
            let spec = |path: String| FieldSpec {
                gvk: gvk.clone(),
                path,
                create: false,
            };
            if extension("x-kubernetes-annotation").is_some() {
                merge_one(&mut self.common_annotations, spec(path.join("/")))?;
            }
            if extension("x-kubernetes-label-selector").is_some() {
                merge_one(&mut self.common_labels, spec(path.join("/")))?;
            }
            if extension("x-kubernetes-identity").is_some() {
                merge_one(&mut self.name_prefix, spec(path.join("/")))?;
            }
            if let (Some(version), Some(kind)) = (
                extension("x-kubernetes-object-ref-api-version"),
                extension("x-kubernetes-object-ref-kind"),
            ) {
                let key = extension("x-kubernetes-object-ref-name-key").unwrap_or("name");
                self.add_references(References {
                    gvk: Gvk {
                        group: String::new(),
                        version: version.to_owned(),
                        kind: kind.to_owned(),
                    },
                    referrers: vec![spec(format!("{}/{key}", path.join("/")))],
                })?;
            }
            if let Some(reference) = extension("$ref") {
                self.add_type(types, reference, gvk, path)?;
            }
            path.pop();
        }
        Ok(())
    }
}

fn properties(definition: &Value) -> Option<&Map<String, Value>> {
    let schema = definition
        .as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("schema"))?
        .1;
    schema.get("properties")?.as_object()
}
