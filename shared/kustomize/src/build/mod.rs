//! The order of a build.
//!
//! One kustomization: its resources (each a file or a kustomization of its own), generators, components, transformers,
//! validators. When everything is together: hashes, references to renamed objects, vars, and what is only configuration goes.

mod accumulated;
mod fetched;
mod generators;
mod load;
mod origin;
mod plugins;
mod resources;
mod session;
mod target;
mod transformers;
mod validators;

use std::collections::BTreeMap;

use crate::error::Within;
use crate::fields::FieldSpec;
use crate::resource::Resources;
use crate::transform::{Hash, Labels, NameReferences, Sort, Transformer, Vars};
use crate::{Builder, Error, Objects, Reorder};

use accumulated::Accumulated;
use load::Loader;
use session::Session;
use target::Target;

/// The label and version `buildMetadata: [managedByLabel]` writes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kustomize-v5.8.1");

/// Builds the kustomization in a directory.
///
/// # Errors
/// As `kustomize build`; limits exceeded; what is not supported.
pub(crate) fn build(builder: &Builder<'_>, dir: &str) -> Result<Objects, Error> {
    let session = Session::new(builder);
    let loader = Loader::root(&session, dir)?;
    let target = Target::open(loader, session.options.lenient_root, None)?;
    let mut built = Accumulated::default();
    target.accumulate(&mut built)?;
    built.check()?;
    let mut resources = finish(&target, built)?;
    let wants = |what: &str| target.kustomization.build_metadata.iter().any(|wanted| wanted == what);
    let (keep_origin, keep_transformations) = (wants("originAnnotations"), wants("transformerAnnotations"));
    for resource in resources.iter_mut() {
        resource.finish_annotations(keep_origin, keep_transformations)?;
        resource.check_keys()?;
    }
    Ok(Objects {
        warnings: session.warnings(),
        fetched: session.fetched.asked(),
        left: resources.into_list().into_iter(),
    })
}

/// What is done once everything is together: hashes, references to renamed objects, vars, order, the label of the build.
fn finish(target: &Target<'_>, built: Accumulated) -> Result<Resources, Error> {
    let (session, kustomization) = (target.session(), &target.kustomization);
    let Accumulated {
        mut resources,
        config,
        vars,
        ..
    } = built;
    let schema = session.schema();
    let pass = session.pass(&schema, None);
    let run = |transformer: &dyn Transformer, resources: &mut Resources, field: &str| {
        let done = transformer.transform(resources, &pass);
        done.placed(|| target.place(field))
    };
    run(&Hash, &mut resources, "")?;
    let references = &config.name_reference;
    run(&NameReferences { references }, &mut resources, "")?;
    let vars = Vars::new(&vars, &config.var_reference);
    run(&vars, &mut resources, "vars")?;
    if let Some(unused) = vars.unused() {
        session.warn(&format!("well-defined vars that were never replaced: {unused}"));
    }
    resources.drop_local_config();
    resources.check_identities()?;
    let sort = match (&kustomization.sort_options, session.options.reorder) {
        (Some(sort), _) => Sort::of(sort).placed(|| target.place("sortOptions"))?,
        (None, Reorder::Legacy) => Some(Sort::legacy()),
        (None, Reorder::None) => None,
    };
    if let Some(sort) = sort {
        run(&sort, &mut resources, "sortOptions")?;
    }
    if session.options.managed_by_label
        || kustomization
            .build_metadata
            .iter()
            .any(|wanted| wanted == "managedByLabel")
    {
        let fields = vec![FieldSpec {
            path: "metadata/labels".into(),
            create: true,
            ..FieldSpec::default()
        }];
        let labels = BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]);
        run(&Labels { labels, fields }, &mut resources, "buildMetadata")?;
    }
    Ok(resources)
}
