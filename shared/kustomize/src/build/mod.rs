//! The order of a build.
//!
//! One kustomization: its resources (each a file or a kustomization of its own), generators, components, transformers,
//! validators. When everything is together: hashes, references to renamed objects, vars, and what is only configuration goes.

mod load;
mod origin;
mod plugins;
mod session;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::Within;
use crate::fields::{Config, FieldSpec, merge_all, merge_one};
use crate::files::join;
use crate::generate::{config_map, secret};
use crate::kustomization::{FILE_NAMES, Kustomization, Label};
use crate::resource::{Resource, Resources, read};
use crate::schema::Schema;
use crate::transform::{
    Annotations, Hash, Images, Json6902Patch, Labels, NameReferences, Namespace, Patches, Prefix, Replacements,
    Replicas, Sort, StrategicPatches, Suffix, Transformer, Var, Vars,
};
use crate::{BuiltObject, Error, Files, Options, Origin, Reorder};

use load::Loader;
use origin::OriginNote;
use session::Session;

/// The label and version `buildMetadata: [managedByLabel]` writes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kustomize-v5.8.1");

/// The label a validator may set.
const VALIDATED_BY: &str = "validated-by";

/// Builds the kustomization in a directory.
///
/// # Errors
/// As `kustomize build`; limits exceeded; what is not supported.
pub(crate) fn build(files: &dyn Files, dir: &str, options: &Options) -> Result<Vec<BuiltObject>, Error> {
    let session = Session::new(files, options);
    let loader = Loader::root(&session, dir)?;
    let target = Target::open(loader, options.lenient_root, None)?;
    let mut built = Accumulated::default();
    target.accumulate(&mut built)?;
    let Accumulated {
        mut resources,
        config,
        vars,
    } = built;
    let schema = session.schema();
    Hash.transform(&mut resources, &schema)?;
    NameReferences {
        references: &config.name_reference,
    }
    .transform(&mut resources, &schema)?;
    Vars {
        vars: &vars,
        fields: &config.var_reference,
    }
    .transform(&mut resources, &schema)?;
    resources.drop_local_config();
    let sort = match (&target.kustomization.sort_options, options.reorder) {
        (Some(sort), _) => Sort::of(sort)?,
        (None, Reorder::Legacy) => Some(Sort::legacy()),
        (None, Reorder::None) => None,
    };
    if let Some(sort) = sort {
        sort.transform(&mut resources, &schema)?;
    }
    let wants = |what: &str| target.kustomization.build_metadata.iter().any(|wanted| wanted == what);
    if options.managed_by_label || wants("managedByLabel") {
        let fields = vec![FieldSpec {
            path: "metadata/labels".into(),
            create: true,
            ..FieldSpec::default()
        }];
        Labels {
            labels: BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]),
            fields,
        }
        .transform(&mut resources, &schema)?;
    }
    let (keep_origin, keep_transformations) = (wants("originAnnotations"), wants("transformerAnnotations"));
    let mut objects = Vec::with_capacity(resources.len());
    for mut resource in resources.into_list() {
        resource.finish_annotations(keep_origin, keep_transformations)?;
        objects.push(BuiltObject {
            object: resource.node.into_json(),
            origin: resource.place,
        });
    }
    Ok(objects)
}

/// What a kustomization and those below it have come to.
struct Accumulated {
    resources: Resources,
    config: Cow<'static, Config>,
    vars: BTreeMap<String, Var>,
}

impl Default for Accumulated {
    fn default() -> Self {
        Self {
            resources: Resources::default(),
            config: Cow::Owned(Config::default()),
            vars: BTreeMap::new(),
        }
    }
}

impl Accumulated {
    fn add_vars(&mut self, vars: impl IntoIterator<Item = Var>) -> Result<(), Error> {
        for var in vars {
            if self.vars.contains_key(&var.name) {
                return Err(Error::new(format!("var '{}' already encountered", var.name)));
            }
            self.vars.insert(var.name.clone(), var);
        }
        Ok(())
    }

    fn merge(&mut self, other: Accumulated) -> Result<(), Error> {
        self.resources.append_all(other.resources)?;
        Config::merge_into(&mut self.config, other.config)?;
        self.add_vars(other.vars.into_values())
    }
}

/// A transformer and what to note about it.
type Step<'a> = (Box<dyn Transformer + 'a>, Option<OriginNote>);

/// One kustomization.
struct Target<'a> {
    loader: Loader<'a>,
    kustomization: Kustomization,
    file: &'static str,
    /// Where it is, from the root kustomization; only when origins are wanted.
    origin: Option<OriginNote>,
}

impl<'a> Target<'a> {
    /// Reads the kustomization file of a directory. `parent` is the kustomization that refers to it.
    fn open(
        loader: Loader<'a>,
        lenient: bool,
        parent: Option<(&Kustomization, Option<OriginNote>)>,
    ) -> Result<Self, Error> {
        let mut found = Vec::new();
        for name in FILE_NAMES {
            if let Ok(content) = loader.load(name) {
                found.push((name, content));
            }
        }
        let (file, content) = match found.as_slice() {
            [] => {
                return Err(Error::new(format!(
                    "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
                    loader.directory()
                )));
            }
            [(file, content)] => (*file, content),
            _ => {
                return Err(Error::new(format!(
                    "Found multiple kustomization files under: {}\n",
                    loader.directory()
                )));
            }
        };
        let mut kustomization = Kustomization::parse(content, lenient, loader.directory())
            .within(|| join(loader.directory(), file).unwrap_or_default())?;
        let origin = match parent {
            Some((parent, origin)) => {
                kustomization.build_metadata.clone_from(&parent.build_metadata);
                origin
            }
            None => (!kustomization.build_metadata.is_empty()).then(OriginNote::default),
        };
        let target = Self {
            loader,
            kustomization,
            file,
            origin,
        };
        target.offer_schema()?;
        Ok(target)
    }

    fn session(&self) -> &'a Session<'a> {
        self.loader.session
    }

    /// The kustomization file, for errors.
    fn place(&self) -> String {
        join(self.loader.directory(), self.file).unwrap_or_default()
    }

    fn offer_schema(&self) -> Result<(), Error> {
        let openapi = &self.kustomization.openapi;
        match (openapi.get("path"), openapi.get("version")) {
            (Some(_), Some(_)) => Err(Error::new(
                "builtin version and custom schema provided, cannot use both",
            )),
            (Some(path), None) => {
                let content = self.loader.load(path)?;
                let document = crate::kustomization::document(&content).within(|| format!("openapi '{path}'"))?;
                let document = document
                    .map(|document| document.to_json())
                    .transpose()?
                    .unwrap_or_default();
                if !document.is_object() {
                    return Err(Error::new(format!("openapi '{path}': not an OpenAPI document")));
                }
                self.session().offer_schema(Schema::from_openapi(&document));
                Ok(())
            }
            (None, Some(version)) if version != "v1.21.2" => {
                Err(Error::new("the specified OpenAPI version is not built in"))
            }
            (None, _) => Ok(()),
        }
    }

    /// Adds what this kustomization makes; a component also changes what is already there.
    fn accumulate(&self, built: &mut Accumulated) -> Result<(), Error> {
        let kustomization = &self.kustomization;
        self.add_resources(built, &kustomization.resources)
            .within(|| "accumulating resources")?;
        Config::merge_into(&mut built.config, self.config()?).within(|| "merging config")?;
        for path in &kustomization.crds {
            let content = self.loader.load(path)?;
            let crds = Config::parse_crds(&content).within(|| format!("loading CRDs '{path}'"))?;
            Config::merge_into(&mut built.config, Cow::Owned(crds)).within(|| "merging CRDs")?;
        }
        self.run_generators(built).within(|| self.place())?;
        for path in &kustomization.components {
            self.add_component(built, path).within(|| "accumulating components")?;
        }
        self.session().check_objects(built.resources.len())?;
        self.run_transformers(built).within(|| self.place())?;
        self.run_validators(built).within(|| self.place())?;
        for var in &kustomization.vars {
            var.bind(&mut built.resources).within(|| "merging vars")?;
        }
        built
            .add_vars(kustomization.vars.iter().cloned())
            .within(|| "merging vars")
    }

    fn config(&self) -> Result<Cow<'static, Config>, Error> {
        if self.kustomization.configurations.is_empty() {
            return Ok(Cow::Borrowed(Config::defaults()));
        }
        let mut own = Config::default();
        for path in &self.kustomization.configurations {
            own.merge(Config::parse(&self.loader.load(path)?).within(|| format!("configurations '{path}'"))?)?;
        }
        let mut config = Config::defaults().clone();
        config.merge(own)?;
        Ok(Cow::Owned(config))
    }

    /// Adds resources: each path is a file or the directory of another kustomization.
    fn add_resources(&self, built: &mut Accumulated, paths: &[String]) -> Result<(), Error> {
        for path in paths {
            let Err(no_file) = self.add_file(built, path) else {
                continue;
            };
            let loader = match self.loader.descend(path) {
                Ok(loader) => loader,
                Err(_) if no_file.is_malformed() => return Err(no_file),
                Err(no_directory) => return Err(no_directory).within(|| format!("accumulation err='{no_file}'")),
            };
            let mut below = Accumulated::default();
            self.open_below(loader, path, false)
                .and_then(|target| {
                    target
                        .accumulate(&mut below)
                        .within(|| format!("recursed accumulation of path '{}'", target.loader.directory()))
                })
                .within(|| format!("accumulation err='{no_file}'"))?;
            built
                .merge(below)
                .within(|| format!("recursed merging from path '{path}'"))?;
        }
        Ok(())
    }

    fn open_below(&self, loader: Loader<'a>, path: &str, component: bool) -> Result<Target<'a>, Error> {
        let origin = self.origin.as_ref().map(|origin| origin.append(path));
        let directory = loader.directory().to_owned();
        let target = Target::open(loader, false, Some((&self.kustomization, origin)))
            .within(|| format!("couldn't make target for path '{directory}'"))?;
        match (component, target.kustomization.is_component) {
            (true, false) => Err(Error::new(format!(
                "expected kind 'Component' for path '{directory}' but got 'Kustomization'"
            ))),
            (false, true) => Err(Error::new(format!(
                "expected kind != 'Component' for path '{directory}'"
            ))),
            (true, true) | (false, false) => Ok(target),
        }
    }

    fn add_component(&self, built: &mut Accumulated, path: &str) -> Result<(), Error> {
        let loader = self.loader.descend(path).within(|| "loader.New")?;
        let target = self.open_below(loader, path, true)?;
        target
            .accumulate(built)
            .within(|| format!("recursed accumulation of path '{}'", target.loader.directory()))?;
        built.resources.check_unique()
    }

    fn add_file(&self, built: &mut Accumulated, path: &str) -> Result<(), Error> {
        let content = self
            .loader
            .load(path)
            .within(|| format!("accumulating resources from '{path}'"))?;
        let objects = self.read(&content, path)?;
        for object in objects {
            built
                .resources
                .append(object)
                .within(|| format!("merging resources from '{path}'"))?;
        }
        self.session().check_objects(built.resources.len())
    }

    /// The objects of a manifest file, with their places.
    fn read(&self, content: &[u8], path: &str) -> Result<Vec<Resource>, Error> {
        let file = self.loader.path(path)?;
        let objects = read(content).within(|| format!("accumulating resources from '{path}': in File: {file}"))?;
        let mut result = Vec::with_capacity(objects.len());
        for (line, mut object) in objects {
            object.place = Some(Origin {
                path: file.clone(),
                line: Some(line),
            });
            if let Some(origin) = &self.origin {
                origin.append(path).write_to(&mut object)?;
            }
            result.push(object);
        }
        Ok(result)
    }

    fn run_generators(&self, built: &mut Accumulated) -> Result<(), Error> {
        let kustomization = &self.kustomization;
        let (load, global) = (
            |path: &str| self.loader.load(path),
            kustomization.generator_options.as_ref(),
        );
        for (at, args) in kustomization.config_map_generator.iter().enumerate() {
            let mut args = args.clone();
            args.options = args.options.over(global);
            let made = config_map(&args, &load).within(|| format!("configMapGenerator[{at}] '{}'", args.name))?;
            self.absorb(built, made, self.builtin("ConfigMapGenerator"))?;
        }
        for (at, secret_args) in kustomization.secret_generator.iter().enumerate() {
            let mut secret_args = secret_args.clone();
            secret_args.args.options = secret_args.args.options.over(global);
            let made =
                secret(&secret_args, &load).within(|| format!("secretGenerator[{at}] '{}'", secret_args.args.name))?;
            self.absorb(built, made, self.builtin("SecretGenerator"))?;
        }
        for config in self
            .plugin_configs(&kustomization.generators)
            .within(|| "loading generator plugins")?
        {
            let made = plugins::generate(&config, &self.loader).within(|| "failed to load generator")?;
            self.absorb(built, made, OriginNote::plugin(&config))?;
        }
        Ok(())
    }

    fn absorb(&self, built: &mut Accumulated, mut made: Resource, origin: Option<OriginNote>) -> Result<(), Error> {
        made.place = Some(Origin {
            path: self.loader.path(self.file)?,
            line: None,
        });
        if let Some(origin) = origin {
            origin.write_to(&mut made)?;
        }
        let id = made.id();
        built
            .resources
            .absorb(made)
            .within(|| format!("merging from generator of {id}"))
    }

    /// The note about a plugin that the kustomization file itself configures.
    fn builtin(&self, kind: &str) -> Option<OriginNote> {
        self.origin
            .as_ref()
            .map(|origin| OriginNote::builtin(origin, self.file, kind))
    }

    /// The configurations of plugins: inline, or from files and kustomizations.
    fn plugin_configs(&self, entries: &[String]) -> Result<Vec<Resource>, Error> {
        let mut configs = Accumulated::default();
        let mut paths = Vec::new();
        for entry in entries {
            let Ok(objects) = read(entry.as_bytes()) else {
                paths.push(entry.clone());
                continue;
            };
            for (_, mut object) in objects {
                if let Some(origin) = &self.origin {
                    origin.append(self.file).write_to(&mut object)?;
                }
                configs.resources.append(object)?;
            }
        }
        self.add_resources(&mut configs, &paths)?;
        Ok(configs.resources.into_list())
    }

    fn run_transformers(&self, built: &mut Accumulated) -> Result<(), Error> {
        let mut steps = self.builtin_transformers(&built.config)?;
        for config in self.plugin_configs(&self.kustomization.transformers)? {
            steps.push((
                plugins::transformer(&config, &self.loader)?,
                OriginNote::plugin(&config),
            ));
        }
        let schema = self.session().schema();
        for (transformer, origin) in steps {
            transformer.transform(&mut built.resources, &schema)?;
            if let Some(origin) = origin {
                origin.transformed(&mut built.resources)?;
            }
            built.resources.drop_empty();
        }
        Ok(())
    }

    /// The transformers of the kustomization's own fields, in the order they run.
    fn builtin_transformers(&self, config: &Config) -> Result<Vec<Step<'a>>, Error> {
        let kustomization = &self.kustomization;
        let load = |path: &str| self.loader.load(path);
        let mut steps: Vec<Step<'a>> = Vec::new();
        let mut add =
            |transformer: Box<dyn Transformer + 'a>, kind: &str| steps.push((transformer, self.builtin(kind)));
        if !kustomization.patches_strategic_merge.is_empty() {
            let patches = StrategicPatches::new(&kustomization.patches_strategic_merge, "", load)
                .within(|| "patchesStrategicMerge")?;
            add(Box::new(patches), "PatchStrategicMergeTransformer");
        }
        for (at, patch) in kustomization.patches.iter().enumerate() {
            add(
                Box::new(Patches::new(patch.clone(), load).within(|| format!("patches[{at}]"))?),
                "PatchTransformer",
            );
        }
        if !kustomization.namespace.is_empty() {
            let namespace = Namespace {
                namespace: kustomization.namespace.clone(),
                fields: config.namespace.clone(),
                ..Namespace::default()
            };
            add(Box::new(namespace), "NamespaceTransformer");
        }
        if !kustomization.name_prefix.is_empty() {
            add(
                Box::new(Prefix {
                    prefix: kustomization.name_prefix.clone(),
                    fields: config.name_prefix.clone(),
                }),
                "PrefixTransformer",
            );
        }
        if !kustomization.name_suffix.is_empty() {
            add(
                Box::new(Suffix {
                    suffix: kustomization.name_suffix.clone(),
                    fields: config.name_suffix.clone(),
                }),
                "SuffixTransformer",
            );
        }
        for (at, label) in kustomization.labels.iter().enumerate() {
            let fields = label_fields(label, config).within(|| format!("labels[{at}]: failed to merge labels"))?;
            add(
                Box::new(Labels {
                    labels: label.pairs.clone(),
                    fields,
                }),
                "LabelTransformer",
            );
        }
        if !(kustomization.labels.is_empty() && kustomization.common_labels.is_empty()) {
            add(
                Box::new(Labels {
                    labels: kustomization.common_labels.clone(),
                    fields: config.common_labels.clone(),
                }),
                "LabelTransformer",
            );
        }
        if !kustomization.common_annotations.is_empty() {
            let (annotations, fields) = (
                kustomization.common_annotations.clone(),
                config.common_annotations.clone(),
            );
            add(Box::new(Annotations { annotations, fields }), "AnnotationsTransformer");
        }
        for (at, patch) in kustomization.patches_json6902.iter().enumerate() {
            let patch = Json6902Patch::new(patch.target.clone(), &patch.path, &patch.patch, load)
                .within(|| format!("patchesJson6902[{at}]"))?;
            add(Box::new(patch), "PatchJson6902Transformer");
        }
        for replica in &kustomization.replicas {
            add(
                Box::new(Replicas {
                    replica: replica.clone(),
                    fields: config.replicas.clone(),
                }),
                "ReplicaCountTransformer",
            );
        }
        for image in &kustomization.images {
            add(
                Box::new(Images::new(image.clone(), config.images.clone())?),
                "ImageTagTransformer",
            );
        }
        if !kustomization.replacements.is_empty() {
            add(
                Box::new(Replacements::new(kustomization.replacements.clone(), load).within(|| "replacements")?),
                "ReplacementTransformer",
            );
        }
        Ok(steps)
    }

    /// Validators are transformers that must not change anything but the label that says who validated.
    fn run_validators(&self, built: &mut Accumulated) -> Result<(), Error> {
        for config in self.plugin_configs(&self.kustomization.validators)? {
            let validator = plugins::transformer(&config, &self.loader)?;
            let before: Vec<Resource> = built.resources.iter().cloned().collect();
            validator.transform(&mut built.resources, &self.session().schema())?;
            let unchanged = built.resources.len() == before.len()
                && built
                    .resources
                    .iter()
                    .zip(&before)
                    .all(|(after, before)| after.equals_but_for_label(before, VALIDATED_BY));
            if !unchanged {
                let id = config.original_id();
                return Err(Error::new(format!("validator shouldn't modify the resource map: {id}")));
            }
        }
        Ok(())
    }
}

/// The fields that get the labels of an entry of `labels`.
fn label_fields(label: &Label, config: &Config) -> Result<Vec<FieldSpec>, Error> {
    let mut fields = label.fields.clone();
    merge_all(&mut fields, &config.labels)?;
    if label.include_selectors {
        merge_all(&mut fields, &config.common_labels)?;
        return Ok(fields);
    }
    if label.include_templates {
        merge_all(&mut fields, &config.template_labels)?;
    }
    merge_one(
        &mut fields,
        FieldSpec {
            path: "metadata/labels".into(),
            create: true,
            ..FieldSpec::default()
        },
    )?;
    Ok(fields)
}
