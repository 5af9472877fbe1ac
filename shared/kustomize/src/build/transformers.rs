//! The transformers of a kustomization's own fields and of `transformers`, in the order they run.

use std::sync::Arc;

use super::accumulated::Accumulated;
use super::generators::PluginConfig;
use super::origin::OriginNote;
use super::plugins;
use super::target::Target;
use crate::error::Within;
use crate::fields::{Config, FieldSpec, merge_all, merge_one};
use crate::files::Loaded;
use crate::kustomization::{Kustomization, Label};
use crate::transform::{
    Affix, Annotations, End, Images, Json6902Patch, Labels, Namespace, Patches, Replacements, Replicas,
    StrategicPatches, Transformer,
};
use crate::{Error, Touch};

/// What the fields that change objects come to, in the order they run: the plugin each stands for.
const FIELDS: [(&str, Make); 12] = [
    ("PatchStrategicMergeTransformer", strategic_patches),
    ("PatchTransformer", patches),
    ("NamespaceTransformer", namespace),
    ("PrefixTransformer", prefix),
    ("SuffixTransformer", suffix),
    ("LabelTransformer", labels),
    ("LabelTransformer", common_labels),
    ("AnnotationsTransformer", annotations),
    ("PatchJson6902Transformer", json_patches),
    ("ReplicaCountTransformer", replicas),
    ("ImageTagTransformer", images),
    ("ReplacementTransformer", replacements),
];

/// Makes the transformers of a field.
type Make = fn(&Given<'_>) -> Vec<Made>;

/// A field, with its index where it is a list, and the transformer it comes to.
type Made = (String, Result<Box<dyn Transformer>, Error>);

/// What transformers are made of.
struct Given<'t> {
    kustomization: &'t Kustomization,
    config: &'t Config,
    load: &'t dyn Fn(&str) -> Result<Loaded, Error>,
}

/// A transformer that is going to run.
struct Step {
    transformer: Box<dyn Transformer>,
    /// The field it is for.
    author: Arc<Touch>,
    /// What to note about it.
    note: Option<OriginNote>,
    /// The object that configures it, when it is one of `transformers`.
    config: Option<PluginConfig>,
}

impl Target<'_> {
    /// Runs the transformers.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn run_transformers(&self, built: &mut Accumulated) -> Result<(), Error> {
        let mut phases = Vec::new();
        for (kind, make) in FIELDS {
            phases.push(self.own_steps(kind, make, built)?);
        }
        phases.push(self.plugin_steps(built)?);
        for phase in phases {
            // The steps of one field are independent enough for each to show its problems; later fields are not.
            if built.is_broken() {
                return Ok(());
            }
            for step in phase {
                let changed = self.run(&step, built);
                let changed = changed.placed(|| self.place(step.author.field.as_str()));
                built.note(changed)?;
            }
        }
        Ok(())
    }

    fn own_steps(&self, kind: &str, make: Make, built: &mut Accumulated) -> Result<Vec<Step>, Error> {
        let made = make(&Given {
            kustomization: &self.kustomization,
            config: &built.config,
            load: &|path| self.load(path),
        });
        let mut steps = Vec::new();
        for (at, transformer) in made {
            let transformer = transformer.placed(|| self.place(at.as_str()));
            let Some(transformer) = built.note(transformer)? else {
                continue;
            };
            steps.push(Step {
                transformer,
                author: self.author(&at),
                note: self.builtin(kind),
                config: None,
            });
        }
        Ok(steps)
    }

    fn plugin_steps(&self, built: &mut Accumulated) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for config in self.plugin_configs("transformers", &self.kustomization.transformers, built)? {
            let transformer = config.place(plugins::transformer(&config.resource, self));
            let transformer = transformer.placed(|| self.place(config.field.as_str()));
            let Some(transformer) = built.note(transformer)? else {
                continue;
            };
            steps.push(Step {
                transformer,
                author: self.author(&config.field),
                note: OriginNote::plugin(&config.resource),
                config: Some(config),
            });
        }
        Ok(steps)
    }

    fn run(&self, step: &Step, built: &mut Accumulated) -> Result<(), Error> {
        let schema = self.session().schema();
        let pass = self.session().pass(&schema, Some(Arc::clone(&step.author)));
        pass.go_on()?;
        let changed = step.transformer.transform(&mut built.resources, &pass);
        match &step.config {
            Some(config) => config.place(changed)?,
            None => changed?,
        }
        if let Some(note) = &step.note {
            note.transformed(&mut built.resources)?;
        }
        built.resources.drop_empty();
        Ok(())
    }
}

/// A transformer of a field, without its index.
fn one(field: &str, transformer: impl Transformer + 'static) -> Vec<Made> {
    vec![(field.to_owned(), Ok(Box::new(transformer)))]
}

/// The transformers of the items of a list.
fn every<'t, T, M: Transformer + 'static>(
    field: &str,
    items: &'t [T],
    make: impl Fn(&'t T) -> Result<M, Error>,
) -> Vec<Made> {
    let boxed = |made: M| -> Box<dyn Transformer> { Box::new(made) };
    let items = items.iter().enumerate();
    items
        .map(|(at, item)| (format!("{field}[{at}]"), make(item).map(boxed)))
        .collect()
}

fn strategic_patches(given: &Given<'_>) -> Vec<Made> {
    let (field, entries) = ("patchesStrategicMerge", &given.kustomization.patches_strategic_merge);
    if entries.is_empty() {
        return Vec::new();
    }
    match StrategicPatches::new((field, entries), "", given.load) {
        Ok(patches) => one(field, patches),
        Err(error) => vec![(field.to_owned(), Err(error))],
    }
}

fn patches(given: &Given<'_>) -> Vec<Made> {
    every("patches", &given.kustomization.patches, |patch| {
        Patches::new(patch.clone(), given.load)
    })
}

fn namespace(given: &Given<'_>) -> Vec<Made> {
    let namespace = &given.kustomization.namespace;
    if namespace.is_empty() {
        return Vec::new();
    }
    one(
        "namespace",
        Namespace {
            namespace: namespace.clone(),
            fields: given.config.namespace.clone(),
            ..Namespace::default()
        },
    )
}

fn prefix(given: &Given<'_>) -> Vec<Made> {
    let fields = &given.config.name_prefix;
    affix("namePrefix", End::Prefix, &given.kustomization.name_prefix, fields)
}

fn suffix(given: &Given<'_>) -> Vec<Made> {
    let fields = &given.config.name_suffix;
    affix("nameSuffix", End::Suffix, &given.kustomization.name_suffix, fields)
}

fn affix(field: &str, end: End, text: &str, fields: &[FieldSpec]) -> Vec<Made> {
    if text.is_empty() {
        return Vec::new();
    }
    let (text, fields) = (text.to_owned(), fields.to_vec());
    one(field, Affix { end, text, fields })
}

fn labels(given: &Given<'_>) -> Vec<Made> {
    every("labels", &given.kustomization.labels, |label| {
        let fields = label_fields(label, given.config).within(|| "failed to merge labels")?;
        let labels = label.pairs.clone();
        Ok(Labels { labels, fields })
    })
}

/// Runs also for the sake of `labels` alone, as upstream has one transformer for both.
fn common_labels(given: &Given<'_>) -> Vec<Made> {
    let labels = given.kustomization.common_labels.clone();
    if labels.is_empty() && given.kustomization.labels.is_empty() {
        return Vec::new();
    }
    let fields = given.config.common_labels.clone();
    one("commonLabels", Labels { labels, fields })
}

fn annotations(given: &Given<'_>) -> Vec<Made> {
    let annotations = given.kustomization.common_annotations.clone();
    if annotations.is_empty() {
        return Vec::new();
    }
    let fields = given.config.common_annotations.clone();
    one("commonAnnotations", Annotations { annotations, fields })
}

fn json_patches(given: &Given<'_>) -> Vec<Made> {
    every("patchesJson6902", &given.kustomization.patches_json6902, |patch| {
        Json6902Patch::new(patch.target.clone(), &patch.path, &patch.patch, given.load)
    })
}

fn replicas(given: &Given<'_>) -> Vec<Made> {
    every("replicas", &given.kustomization.replicas, |replica| {
        let (replica, fields) = (replica.clone(), given.config.replicas.clone());
        Ok(Replicas { replica, fields })
    })
}

fn images(given: &Given<'_>) -> Vec<Made> {
    let made = every("images", &given.kustomization.images, |image| {
        Images::new(image.clone(), given.config.images.clone())
    });
    let made = made.into_iter().enumerate();
    made.map(|(at, (_, images))| (given.kustomization.image_field(at), images))
        .collect()
}

fn replacements(given: &Given<'_>) -> Vec<Made> {
    let (field, entries) = ("replacements", &given.kustomization.replacements);
    if entries.is_empty() {
        return Vec::new();
    }
    match Replacements::new(entries.clone(), given.load) {
        Ok(replacements) => one(field, replacements),
        Err(error) => vec![(field.to_owned(), Err(error))],
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
