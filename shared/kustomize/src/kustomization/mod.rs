//! The kustomization file: its fields, how they are read and checked.

mod decode;
mod deprecated;
mod parts;
mod position;

use std::collections::BTreeMap;

use crate::Error;
use crate::error::{Problems, Within};
use crate::transform::{Replacement, Var};

pub(crate) use decode::{Fields, document, strict_document};
pub(crate) use parts::{
    GeneratorArgs, GeneratorOptions, Image, Label, Patch, Replica, SecretArgs, SortOptions, Sources,
};
pub use position::Positions;
pub(crate) use position::position;

/// The names a kustomization file may have.
pub(crate) const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What a kustomization file says, deprecated spellings moved to where they belong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kustomization {
    /// The file as it was read, for the places of its fields.
    pub document: Option<yaml::Node>,
    /// What kustomize warns about when it reads the file.
    pub warnings: Vec<String>,
    /// Whether its kind is Component.
    pub is_component: bool,
    /// How many of `resources` are not from `bases`.
    pub own_resources: usize,
    /// How many of `images` are not from `imageTags`.
    pub own_images: usize,
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
    /// kind or version, nothing in it: as many of these as there are.
    pub fn parse(content: &[u8], lenient: bool, directory: &str) -> Result<Self, Error> {
        let document = document(content).within(|| "invalid Kustomization")?;
        let read = Fields::strict(document.as_ref(), "", |fields| {
            let named = (fields.text("kind")?, fields.text("apiVersion")?);
            let kustomization = Self::decode(fields)?;
            if lenient {
                fields.drop_unknown();
            }
            Ok((kustomization, named, fields.is_blank(&["kind", "apiVersion"])))
        });
        let read = read.within(|| "invalid Kustomization")?;
        let Some((mut kustomization, (kind, version), false)) = read else {
            return Err(Error::new("kustomization.yaml is empty"));
        };
        kustomization.is_component = kind == "Component";
        kustomization.document = document;
        kustomization
            .check_type(&kind, &version)
            .within(|| format!("Failed to read kustomization file under {directory}"))?;
        Ok(kustomization)
    }

    fn check_type(&self, kind: &str, version: &str) -> Result<(), Error> {
        let wrong = |field: &str, message: String| -> Result<(), Error> {
            let error = Error::new(message).in_field(field);
            Err(match &self.document {
                Some(document) => error.at(position(document, field)),
                None => error,
            })
        };
        let mut problems = Problems::default();
        if !matches!(kind, "" | "Kustomization" | "Component") {
            problems.note(wrong("kind", "kind should be Kustomization or Component".to_owned()))?;
        }
        let expected = match kind {
            "Component" => "kustomize.config.k8s.io/v1alpha1",
            _ => "kustomize.config.k8s.io/v1beta1",
        };
        if !version.is_empty() && version != expected {
            let kind = if kind.is_empty() { "Kustomization" } else { kind };
            problems.note(wrong(
                "apiVersion",
                format!("apiVersion for {kind} should be {expected}"),
            ))?;
        }
        problems.finish()
    }

    /// The field of a resource.
    pub fn resource_field(&self, at: usize) -> String {
        match at.checked_sub(self.own_resources) {
            None => format!("resources[{at}]"),
            Some(at) => format!("bases[{at}]"),
        }
    }

    /// The field of an image.
    pub fn image_field(&self, at: usize) -> String {
        match at.checked_sub(self.own_images) {
            None => format!("images[{at}]"),
            Some(at) => format!("imageTags[{at}]"),
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        crate::unsupported::check(fields)?;
        fields.object("metadata", |fields| {
            fields.text("name")?;
            fields.text("namespace")?;
            fields.strings("labels")?;
            fields.strings("annotations").map(drop)
        })?;
        let warnings = deprecated::warnings(fields);
        let mut resources = fields.texts("resources")?;
        let own_resources = resources.len();
        resources.extend(fields.texts("bases")?);
        let mut images = fields.list("images", Image::decode)?;
        let own_images = images.len();
        images.extend(fields.list("imageTags", Image::decode)?);
        Ok(Self {
            document: None,
            warnings,
            is_component: false,
            own_resources,
            own_images,
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
            "Failed to read kustomization file under dir: kind should be Kustomization or Component (at kind, line 1)",
        );
        check(
            "resourcs: []\n",
            "invalid Kustomization: json: unknown field \"resourcs\"; did you mean \"resources\"? (at resourcs, line 1)",
        );
        check(
            "helmCharts: [{}]\n",
            "invalid Kustomization: field 'helmCharts': not supported yet: Helm charts are not rendered (at helmCharts, line 1)",
        );
    }

    #[test]
    fn a_lenient_reader_drops_unknown_fields() {
        assert!(Kustomization::parse(b"resourcs: []\nresources: []\n", true, "dir").is_ok());
    }
}
