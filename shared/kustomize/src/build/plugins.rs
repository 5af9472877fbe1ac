//! The generators and transformers kustomize has built in, configured by objects in `generators`, `transformers` and
//! `validators`.

use super::target::Target;
use crate::Error;
use crate::error::Within;
use crate::generate::{IamPolicy, config_map, secret};
use crate::kustomization::{Fields, GeneratorArgs, Patch, SecretArgs, document};
use crate::resource::{Resource, Resources};
use crate::select::Selector;
use crate::transform::{
    Affix, Annotations, End, Hash, Images, Json6902Patch, Labels, Namespace, Pass, Patches, Replacements, Replicas,
    StrategicPatches, Transformer, ValueAdd, value_add_targets,
};
use crate::unsupported::PLUGIN;

/// Several transformers as one.
struct Both(Vec<Box<dyn Transformer>>);

impl Transformer for Both {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        self.0
            .iter()
            .try_for_each(|transformer| transformer.transform(resources, pass))
    }
}

/// The fields of a plugin's configuration, read the way kustomize reads them: from YAML it writes itself.
fn with_fields<T>(config: &Resource, decode: impl FnOnce(&mut Fields<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let text = yaml::to_string(&config.node.to_json());
    let document = document(text.as_bytes()).map_err(Error::inline)?;
    // Lines of that text say nothing to anybody.
    Fields::loose(document.as_ref(), "", decode)
        .map_err(Error::inline)?
        .ok_or_else(|| Error::new("empty configuration"))
}

fn is_builtin(config: &Resource) -> Result<(), Error> {
    let gvk = config.gvk();
    if gvk.group.is_empty() && gvk.version == "builtin" {
        return Ok(());
    }
    Err(Error::new(format!(
        "external plugins disabled; unable to load external plugin '{}' ({PLUGIN})",
        gvk.kind
    )))
}

fn unknown(config: &Resource, what: &str) -> Error {
    let why = if config.kind() == "HelmChartInflationGenerator" {
        PLUGIN
    } else {
        "unable to load builtin"
    };
    Error::new(format!("{why}: {} is no {what}", config.gvk()))
}

/// A value of a generator's metadata, for one its arguments lack.
fn default_names(fields: &mut Fields<'_>, args: &mut GeneratorArgs) -> Result<(), Error> {
    let meta = fields.object("metadata", |meta| Ok((meta.text("name")?, meta.text("namespace")?)))?;
    let (name, namespace) = meta.unwrap_or_default();
    if args.name.is_empty() {
        args.name = name;
    }
    if args.namespace.is_empty() {
        args.namespace = namespace;
    }
    Ok(())
}

/// Runs the generator an object configures.
///
/// # Errors
/// When it is no generator, or its configuration or sources do not do.
pub(super) fn generate(config: &Resource, target: &Target<'_>) -> Result<Resource, Error> {
    is_builtin(config)?;
    let load = |path: &str| target.loader.load(path);
    let run = |fields: &mut Fields<'_>| match config.kind().as_str() {
        "ConfigMapGenerator" => {
            let mut args = GeneratorArgs::decode(fields)?;
            default_names(fields, &mut args)?;
            config_map(&args, &load)
        }
        "SecretGenerator" => {
            let mut args = SecretArgs::decode(fields)?;
            default_names(fields, &mut args.args)?;
            secret(&args, &load)
        }
        "IAMPolicyGenerator" => IamPolicy::decode(fields)?.generate(),
        _ => Err(unknown(config, "generator")),
    };
    with_fields(config, run).within(|| format!("plugin {} fails configuration", config.original_id()))
}

/// The transformer an object configures.
///
/// # Errors
/// When it is no transformer, or its configuration does not do.
pub(super) fn transformer(config: &Resource, target: &Target<'_>) -> Result<Box<dyn Transformer>, Error> {
    is_builtin(config)?;
    let load = |path: &str| target.load(path);
    let make = |fields: &mut Fields<'_>| -> Result<Box<dyn Transformer>, Error> {
        Ok(match config.kind().as_str() {
            "AnnotationsTransformer" => Box::new(Annotations::decode(fields)?),
            "HashTransformer" => Box::new(Hash),
            "ImageTagTransformer" => Box::new(Images::decode(fields)?),
            "LabelTransformer" => Box::new(Labels::decode(fields)?),
            "NamespaceTransformer" => Box::new(Namespace::decode(fields)?),
            "PatchJson6902Transformer" => {
                let target = fields.object("target", Selector::decode)?;
                Box::new(Json6902Patch::new(
                    target,
                    &fields.text("path")?,
                    &fields.text("jsonOp")?,
                    load,
                )?)
            }
            "PatchStrategicMergeTransformer" => Box::new(StrategicPatches::decode(fields, load)?),
            "PatchTransformer" => Box::new(Patches::new(Patch::decode(fields)?, load)?),
            "PrefixSuffixTransformer" => Box::new(Both(vec![
                Box::new(Affix::decode(End::Prefix, fields)?),
                Box::new(Affix::decode(End::Suffix, fields)?),
            ])),
            "PrefixTransformer" => Box::new(Affix::decode(End::Prefix, fields)?),
            "SuffixTransformer" => Box::new(Affix::decode(End::Suffix, fields)?),
            "ReplacementTransformer" => Box::new(Replacements::decode(fields, load)?),
            "ReplicaCountTransformer" => Box::new(Replicas::decode(fields)?),
            "ValueAddTransformer" => Box::new(ValueAdd::decode(fields, target.loader.directory_name(), |path| {
                let file = target.load(path)?;
                let document = document(&file.content).in_file(&file.path)?;
                let targets = Fields::loose(document.as_ref(), "", value_add_targets);
                Ok(targets.in_file(&file.path)?.unwrap_or_default())
            })?),
            _ => return Err(unknown(config, "transformer")),
        })
    };
    with_fields(config, make).within(|| format!("plugin {} fails configuration", config.original_id()))
}
