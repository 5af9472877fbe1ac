//! `namePrefix` and `nameSuffix`: text in front of names, and behind them.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "namePrefix: dev-\nnameSuffix: -v2\nresources: [app.yaml]\n")?;
//! files.insert("app.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["metadata"]["name"], "dev-app-v2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Pass, Transformer};
use crate::Error;
use crate::fields::{FieldSpec, Target, apply, field_spec};
use crate::kustomization::Fields;
use crate::node::wrong_kind;
use crate::resource::{Gvk, Resources};

/// The end of a name that gets a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its beginning.
    Prefix,
    /// Its end.
    Suffix,
}

impl End {
    /// The field of a plugin configuration that holds the text.
    fn field(self) -> &'static str {
        match self {
            End::Prefix => "prefix",
            End::Suffix => "suffix",
        }
    }
}

/// Puts a text at one end of names.
pub(crate) struct Affix {
    /// The end.
    pub end: End,
    /// The text.
    pub text: String,
    /// The fields that get it.
    pub fields: Vec<FieldSpec>,
}

impl Affix {
    /// From a plugin configuration.
    ///
    /// # Errors
    /// When it does not say which fields get the text.
    pub fn decode(end: End, fields: &mut Fields<'_>) -> Result<Self, Error> {
        if !fields.has("fieldSpecs") {
            return Err(Error::new("fieldSpecs is not expected to be nil"));
        }
        Ok(Self {
            end,
            text: fields.text(end.field())?,
            fields: fields.list("fieldSpecs", field_spec)?,
        })
    }

    fn of(&self, name: &str) -> String {
        match self.end {
            End::Prefix => format!("{}{name}", self.text),
            End::Suffix => format!("{name}{}", self.text),
        }
    }
}

impl Transformer for Affix {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        pass.each(resources.iter_mut(), |resource| {
            let mut changed = false;
            let id = resource.original_id();
            if keeps_its_name(&id.gvk) {
                return Ok(false);
            }
            for spec in self.fields.iter().filter(|spec| id.gvk.is_selected_by(&spec.gvk)) {
                if spec.path == "metadata/name" && !self.text.is_empty() {
                    let memory = &mut resource.memory;
                    let texts = match self.end {
                        End::Prefix => &mut memory.prefixes,
                        End::Suffix => &mut memory.suffixes,
                    };
                    texts.push(self.text.clone());
                    resource.remember_id()?;
                }
                changed |= apply(&mut resource.node, spec, Target::Scalar, &mut |node| {
                    if node.is_scalar() {
                        let name = self.of(&node.text());
                        return Ok(node.assign_untyped(&name));
                    }
                    Err(wrong_kind("ScalarNode", node))
                })?;
            }
            Ok(changed)
        })
    }
}

/// Types whose names others know.
fn keeps_its_name(gvk: &Gvk) -> bool {
    match gvk.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => gvk.group == "apiregistration.k8s.io",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    /// The name with a prefix, a suffix and both.
    fn check(object: &str, expected: [&str; 3]) {
        let fields = ["namePrefix: x-", "nameSuffix: -y", "namePrefix: x-\nnameSuffix: -y"];
        let names = fields.map(|fields| first(fields, object, "/metadata/name"));
        assert_eq!(names, expected.map(Value::from), "{object}");
    }

    #[test]
    fn names_get_it_unless_others_know_them() {
        check("{kind: A, metadata: {name: a}}", ["x-a", "a-y", "x-a-y"]);
        check("{apiVersion: v1, kind: Namespace, metadata: {name: a}}", ["a"; 3]);
        check(
            "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}}",
            ["a"; 3],
        );
        check(
            "{apiVersion: other.io/v1, kind: APIService, metadata: {name: a}}",
            ["x-a", "a-y", "x-a-y"],
        );
        check(
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}}",
            ["a"; 3],
        );
    }

    #[test]
    fn a_configuration_has_to_say_which_fields() {
        let name = |config: &str| {
            let plugin = format!("transformers: ['{{apiVersion: builtin, metadata: {{name: p}}, {config}}}']");
            first(&plugin, "{kind: A, metadata: {name: a}}", "/metadata/name")
        };
        let fields = "fieldSpecs: [{path: metadata/name}]";
        assert_eq!(name("kind: PrefixTransformer, prefix: x-"), Value::Null);
        assert_eq!(
            name(&format!("kind: SuffixTransformer, suffix: -y, {fields}")),
            json!("a-y")
        );
        assert_eq!(
            name(&format!(
                "kind: PrefixSuffixTransformer, prefix: x-, suffix: -y, {fields}"
            )),
            json!("x-a-y")
        );
    }
}
