//! The kustomization file: its fields, how they are read and checked.

mod decode;
mod parts;

use std::collections::BTreeMap;

use crate::Error;
use crate::error::Within;
use crate::transform::{Replacement, Var};

pub(crate) use decode::{Fields, document};
pub(crate) use parts::{
    GeneratorArgs, GeneratorOptions, Image, Label, Patch, Replica, SecretArgs, SortOptions, Sources,
};

/// The names a kustomization file may have.
pub(crate) const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What a kustomization file says, deprecated spellings moved to where they belong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kustomization {
    /// Whether its kind is Component.
    pub is_component: bool,
    /// `openapi`.
    pub openapi: BTreeMap<String, String>,
    /// `namePrefix`.
    pub name_prefix: String,
    /// `nameSuffix`.
    pub name_suffix: String,
    /// `namespace`.
    pub namespace: String,
    /// `commonLabels`.
    pub common_labels: BTreeMap<String, String>,
    /// `labels`.
    pub labels: Vec<Label>,
    /// `commonAnnotations`.
    pub common_annotations: BTreeMap<String, String>,
    /// `patchesStrategicMerge`: paths or patches.
    pub patches_strategic_merge: Vec<String>,
    /// `patchesJson6902`.
    pub patches_json6902: Vec<Patch>,
    /// `patches`.
    pub patches: Vec<Patch>,
    /// `images` and `imageTags`.
    pub images: Vec<Image>,
    /// `replacements`.
    pub replacements: Vec<Replacement>,
    /// `replicas`.
    pub replicas: Vec<Replica>,
    /// `vars`.
    pub vars: Vec<Var>,
    /// `sortOptions`.
    pub sort_options: Option<SortOptions>,
    /// `resources` and `bases`.
    pub resources: Vec<String>,
    /// `components`.
    pub components: Vec<String>,
    /// `crds`.
    pub crds: Vec<String>,
    /// `configMapGenerator`.
    pub config_map_generator: Vec<GeneratorArgs>,
    /// `secretGenerator`.
    pub secret_generator: Vec<SecretArgs>,
    /// `generatorOptions`.
    pub generator_options: Option<GeneratorOptions>,
    /// `configurations`.
    pub configurations: Vec<String>,
    /// `generators`.
    pub generators: Vec<String>,
    /// `transformers`.
    pub transformers: Vec<String>,
    /// `validators`.
    pub validators: Vec<String>,
    /// `buildMetadata`.
    pub build_metadata: Vec<String>,
}

impl Kustomization {
    /// Reads a kustomization file.
    ///
    /// # Errors
    /// Malformed YAML, unknown fields (unless `lenient`), values of the wrong type, fields that are not supported, a wrong
    /// kind or version, nothing in it.
    pub fn parse(content: &[u8], lenient: bool, directory: &str) -> Result<Self, Error> {
        let document = document(content).within(|| "invalid Kustomization")?;
        let Some(mut fields) = Fields::strict(document.as_ref(), "").within(|| "invalid Kustomization")? else {
            return Err(Error::new("kustomization.yaml is empty"));
        };
        let (kind, version) = (fields.text("kind")?, fields.text("apiVersion")?);
        let mut kustomization = Self::decode(&mut fields).within(|| "invalid Kustomization")?;
        if lenient {
            fields.drop_unknown();
        }
        fields.finish().within(|| "invalid Kustomization")?;
        if fields.is_blank(&["kind", "apiVersion"]) {
            return Err(Error::new("kustomization.yaml is empty"));
        }
        let (expected, problem) = match kind.as_str() {
            "" | "Kustomization" => ("kustomize.config.k8s.io/v1beta1", None),
            "Component" => ("kustomize.config.k8s.io/v1alpha1", None),
            _ => (
                "kustomize.config.k8s.io/v1beta1",
                Some("kind should be Kustomization or Component".to_owned()),
            ),
        };
        let kind = if kind.is_empty() { "Kustomization" } else { &kind };
        let wrong_version =
            (!version.is_empty() && version != expected).then(|| format!("apiVersion for {kind} should be {expected}"));
        let problems: Vec<String> = [problem, wrong_version].into_iter().flatten().collect();
        if !problems.is_empty() {
            return Err(Error::new(format!(
                "Failed to read kustomization file under {directory}:\n{}",
                problems.join("\n")
            )));
        }
        kustomization.is_component = kind == "Component";
        Ok(kustomization)
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        crate::unsupported::check(fields)?;
        fields.object("metadata", |fields| {
            fields.text("name")?;
            fields.text("namespace")?;
            fields.strings("labels")?;
            fields.strings("annotations").map(drop)
        })?;
        let mut resources = fields.texts("resources")?;
        resources.extend(fields.texts("bases")?);
        let mut images = fields.list("images", Image::decode)?;
        images.extend(fields.list("imageTags", Image::decode)?);
        Ok(Self {
            is_component: false,
            openapi: fields.strings("openapi")?,
            name_prefix: fields.text("namePrefix")?,
            name_suffix: fields.text("nameSuffix")?,
            namespace: fields.text("namespace")?,
            common_labels: fields.strings("commonLabels")?,
            labels: fields.list("labels", Label::decode)?,
            common_annotations: fields.strings("commonAnnotations")?,
            patches_strategic_merge: fields.texts("patchesStrategicMerge")?,
            patches_json6902: fields.list("patchesJson6902", Patch::decode)?,
            patches: fields.list("patches", Patch::decode)?,
            images,
            replacements: fields.list("replacements", Replacement::decode)?,
            replicas: fields.list("replicas", Replica::decode)?,
            vars: fields.list("vars", Var::decode)?,
            sort_options: fields.object("sortOptions", SortOptions::decode)?,
            resources,
            components: fields.texts("components")?,
            crds: fields.texts("crds")?,
            config_map_generator: fields.list("configMapGenerator", GeneratorArgs::decode)?,
            secret_generator: fields.list("secretGenerator", SecretArgs::decode)?,
            generator_options: fields.object("generatorOptions", GeneratorOptions::decode)?,
            configurations: fields.texts("configurations")?,
            generators: fields.texts("generators")?,
            transformers: fields.texts("transformers")?,
            validators: fields.texts("validators")?,
            build_metadata: fields.texts("buildMetadata")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Kustomization::parse(text.as_bytes(), false, "dir").unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        check("", "kustomization.yaml is empty");
        check("kind: Kustomization\nnamePrefix: ''\n", "kustomization.yaml is empty");
        check(
            "kind: Thing\nresources: []\n",
            "Failed to read kustomization file under dir:\nkind should be Kustomization or Component",
        );
        check(
            "resourcs: []\n",
            "invalid Kustomization: json: unknown field \"resourcs\" (line 1)",
        );
        check(
            "helmCharts: [{}]\n",
            "invalid Kustomization: field 'helmCharts' (line 1): not supported yet: Helm charts are not rendered",
        );
    }

    #[test]
    fn a_lenient_reader_drops_unknown_fields() {
        assert!(Kustomization::parse(b"resourcs: []\nresources: []\n", true, "dir").is_ok());
    }
}
