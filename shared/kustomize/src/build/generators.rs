//! `configMapGenerator`, `secretGenerator` and `generators`.

use super::accumulated::Accumulated;
use super::origin::OriginNote;
use super::plugins;
use super::target::Target;
use crate::Error;
use crate::error::Within;
use crate::generate::{config_map, secret};
use crate::kustomization::position;
use crate::resource::{Behavior, Resource, read};

/// A generator that ran: the field it is in, what it made, and what to note about it.
type Generated = (String, Result<Resource, Error>, Option<OriginNote>);

impl Target<'_> {
    /// Adds what the generators make.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn run_generators(&self, built: &mut Accumulated) -> Result<(), Error> {
        for (field, made, origin) in self.own_generators() {
            let absorbed = made.map_err(|error| error.under_field(&field));
            let absorbed = absorbed.and_then(|made| self.absorb(built, &field, made, origin));
            built.note(absorbed.placed(|| self.place(field)))?;
        }
        for config in self.plugin_configs("generators", &self.kustomization.generators, built)? {
            let made = plugins::generate(&config.resource, self).within(|| "failed to load generator");
            let made = config.place(made);
            let origin = OriginNote::plugin(&config.resource);
            let absorbed = made.and_then(|made| self.absorb(built, &config.field, made, origin));
            built.note(absorbed.placed(|| self.place(config.field)))?;
        }
        Ok(())
    }

    /// Runs the generators of the kustomization's own fields.
    fn own_generators(&self) -> impl Iterator<Item = Generated> + '_ {
        let kustomization = &self.kustomization;
        let global = kustomization.generator_options.as_ref();
        let load = |path: &str| self.loader.load(path);
        let maps = kustomization
            .config_map_generator
            .iter()
            .enumerate()
            .map(move |(at, args)| {
                let mut args = args.clone();
                args.options = args.options.over(global);
                let made = config_map(&args, &load).within(|| format!("configMapGenerator '{}'", args.name));
                (
                    format!("configMapGenerator[{at}]"),
                    made,
                    self.builtin("ConfigMapGenerator"),
                )
            });
        let secrets = kustomization
            .secret_generator
            .iter()
            .enumerate()
            .map(move |(at, args)| {
                let mut secret_args = args.clone();
                secret_args.args.options = secret_args.args.options.over(global);
                let made =
                    secret(&secret_args, &load).within(|| format!("secretGenerator '{}'", secret_args.args.name));
                (format!("secretGenerator[{at}]"), made, self.builtin("SecretGenerator"))
            });
        maps.chain(secrets)
    }

    fn absorb(
        &self,
        built: &mut Accumulated,
        field: &str,
        mut made: Resource,
        origin: Option<OriginNote>,
    ) -> Result<(), Error> {
        if built.is_broken() && matches!(made.memory.behavior, Behavior::Merge | Behavior::Replace) {
            // What it is for may be missing for the reason that is known already.
            return Ok(());
        }
        let document = self.kustomization.document.as_ref();
        let line = document.map(|document| position(document, field).line);
        made.place = Some(self.loader.origin(self.file, line)?);
        if let Some(origin) = origin {
            origin.write_to(&mut made)?;
        }
        let id = made.id();
        let author = self.author(field);
        built
            .resources
            .absorb(made, &author)
            .within(|| format!("merging from generator of {id}"))
    }

    /// The note about a plugin that the kustomization file itself configures.
    pub fn builtin(&self, kind: &str) -> Option<OriginNote> {
        self.origin
            .as_ref()
            .map(|origin| OriginNote::builtin(origin, self.file, kind))
    }

    /// The configurations of plugins in a field: inline, or from files and kustomizations.
    ///
    /// # Errors
    /// When the build has to end here. Other problems are noted in `built`.
    pub fn plugin_configs(
        &self,
        field: &str,
        entries: &[String],
        built: &mut Accumulated,
    ) -> Result<Vec<PluginConfig>, Error> {
        let mut configs = Accumulated::default();
        let (mut fields, mut paths) = (Vec::new(), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            let field = format!("{field}[{at}]");
            let Ok(objects) = read(entry.as_bytes()) else {
                paths.push((field, entry));
                continue;
            };
            for (_, mut object) in objects {
                self.session().note_type(&object.gvk());
                let noted = match &self.origin {
                    Some(origin) => origin.append(self.file).write_to(&mut object),
                    None => Ok(()),
                };
                let added = noted.and_then(|()| configs.resources.append(object));
                built.note(added.placed(|| self.place(field.as_str())))?;
            }
            fields.resize(configs.resources.len(), field);
        }
        for (field, path) in paths {
            let added = self.add_resource(&mut configs, path);
            configs.note(added.placed(|| self.place(field.as_str())))?;
            fields.resize(configs.resources.len(), field);
        }
        built.note(configs.check())?;
        let configs = fields.into_iter().zip(configs.resources.into_list());
        Ok(configs
            .map(|(field, resource)| PluginConfig { field, resource })
            .collect())
    }
}

/// An object that configures a generator, transformer or validator.
pub(super) struct PluginConfig {
    /// The field of the kustomization it came by.
    pub field: String,
    /// The object.
    pub resource: Resource,
}

impl PluginConfig {
    /// Adds the place of the configuration to an error of its plugin.
    pub fn place<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.without_field().in_origin(self.resource.place.as_ref()))
    }
}
