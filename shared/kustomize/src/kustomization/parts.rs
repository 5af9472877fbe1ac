//! The parts of a kustomization that are also plugin configurations.

use std::collections::BTreeMap;

use super::Fields;
use crate::Error;
use crate::fields::FieldSpec;
use crate::select::Selector;

/// An entry of `labels`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label {
    /// The labels.
    pub pairs: BTreeMap<String, String>,
    /// Whether selectors and templates get them.
    pub include_selectors: bool,
    /// Whether templates get them.
    pub include_templates: bool,
    /// Further fields that get them.
    pub fields: Vec<FieldSpec>,
}

impl Label {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            pairs: fields.strings("pairs")?,
            include_selectors: fields.flag("includeSelectors")?,
            include_templates: fields.flag("includeTemplates")?,
            fields: fields.list("fields", crate::fields::field_spec)?,
        })
    }
}

/// An entry of `patches` or `patchesJson6902`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    /// The file with the patch.
    pub path: String,
    /// The patch itself.
    pub patch: String,
    /// The objects it is for.
    pub target: Option<Selector>,
    /// Whether the patch may rename.
    pub allow_name_change: bool,
    /// Whether the patch may change the kind.
    pub allow_kind_change: bool,
}

impl Patch {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let options = fields.object("options", |fields| {
            Ok((fields.flag("allowNameChange")?, fields.flag("allowKindChange")?))
        })?;
        let (allow_name_change, allow_kind_change) = options.unwrap_or_default();
        Ok(Self {
            path: fields.text("path")?,
            patch: fields.text("patch")?,
            target: fields.object("target", Selector::decode)?,
            allow_name_change,
            allow_kind_change,
        })
    }
}

/// An entry of `images`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// The image's name: a regular expression.
    pub name: String,
    /// The new name.
    pub new_name: String,
    /// What to add to the tag.
    pub tag_suffix: String,
    /// The new tag.
    pub new_tag: String,
    /// The new digest.
    pub digest: String,
}

impl Image {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            name: fields.text("name")?,
            new_name: fields.text("newName")?,
            tag_suffix: fields.text("tagSuffix")?,
            new_tag: fields.text("newTag")?,
            digest: fields.text("digest")?,
        })
    }
}

/// An entry of `replicas`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    /// The object's name.
    pub name: String,
    /// How many.
    pub count: i64,
}

impl Replica {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            name: fields.text("name")?,
            count: fields.integer("count")?,
        })
    }
}

/// `sortOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortOptions {
    /// `legacy` or `fifo`.
    pub order: String,
    /// Kinds that come first and last, when given.
    pub legacy: Option<(Vec<String>, Vec<String>)>,
}

impl SortOptions {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            order: fields.text("order")?,
            legacy: fields.object("legacySortOptions", |fields| {
                Ok((fields.texts("orderFirst")?, fields.texts("orderLast")?))
            })?,
        })
    }
}

/// Where the data of a generated object comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// `KEY=VALUE`.
    pub literals: Vec<String>,
    /// `PATH` or `KEY=PATH`.
    pub files: Vec<String>,
    /// Files with a `KEY=VALUE` per line.
    pub envs: Vec<String>,
}

/// `generatorOptions`, or the `options` of a generator.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorOptions {
    /// Labels for what is generated.
    pub labels: BTreeMap<String, String>,
    /// Annotations for what is generated.
    pub annotations: BTreeMap<String, String>,
    /// Whether names stay without hash.
    pub disable_name_suffix_hash: bool,
    /// Whether `immutable: true` is set.
    pub immutable: bool,
}

impl GeneratorOptions {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            labels: fields.strings("labels")?,
            annotations: fields.strings("annotations")?,
            disable_name_suffix_hash: fields.flag("disableNameSuffixHash")?,
            immutable: fields.flag("immutable")?,
        })
    }

    /// These options with those of the whole kustomization behind them.
    pub fn over(mut self, global: Option<&GeneratorOptions>) -> Self {
        if let Some(global) = global {
            for (key, value) in &global.labels {
                self.labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
            for (key, value) in &global.annotations {
                self.annotations.entry(key.clone()).or_insert_with(|| value.clone());
            }
            self.disable_name_suffix_hash |= global.disable_name_suffix_hash;
            self.immutable |= global.immutable;
        }
        self
    }
}

/// An entry of `configMapGenerator`, and most of one of `secretGenerator`.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorArgs {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// `create`, `merge` or `replace`.
    pub behavior: String,
    /// Where the data comes from.
    pub sources: Sources,
    /// How the object is to be.
    pub options: GeneratorOptions,
}

impl GeneratorArgs {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let mut envs = fields.texts("envs")?;
        // Plugins know the deprecated field and ignore it.
        let env = fields.text("env")?;
        if !env.is_empty() && !fields.is_loose() {
            envs.push(env);
        }
        Ok(Self {
            namespace: fields.text("namespace")?,
            name: fields.text("name")?,
            behavior: fields.text("behavior")?,
            sources: Sources {
                literals: fields.texts("literals")?,
                files: fields.texts("files")?,
                envs,
            },
            options: fields.object("options", GeneratorOptions::decode)?.unwrap_or_default(),
        })
    }
}

/// An entry of `secretGenerator`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretArgs {
    /// What it shares with a config map.
    pub args: GeneratorArgs,
    /// The Secret's type; `Opaque` when empty.
    pub secret_type: String,
}

impl SecretArgs {
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            args: GeneratorArgs::decode(fields)?,
            secret_type: fields.text("type")?,
        })
    }
}
