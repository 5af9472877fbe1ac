//! One kustomization: its file, and what it does in order.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::accumulated::Accumulated;
use super::load::Loader;
use super::origin::OriginNote;
use super::session::{SchemaInForce, Session};
use crate::error::{Place, Within};
use crate::fields::Config;
use crate::files::Loaded;
use crate::kustomization::{FILE_NAMES, Kustomization};
use crate::schema::{Builtin, Schema};
use crate::{Error, Touch};

/// The OpenAPI document that kustomize has built in.
const BUILTIN_OPENAPI: &str = "v1.21.2";

/// One kustomization.
pub(super) struct Target<'a> {
    /// Reads what it names.
    pub loader: Loader<'a>,
    /// What its file says.
    pub kustomization: Kustomization,
    /// The name of its file.
    pub file: &'static str,
    /// Where it is, from the root kustomization; only when origins are wanted.
    pub origin: Option<OriginNote>,
}

impl<'a> Target<'a> {
    /// Adds what this kustomization makes; a component also changes what is already there.
    ///
    /// Problems are noted in `built`. A step that follows one does no more than to read what it needs.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn accumulate(&self, built: &mut Accumulated) -> Result<(), Error> {
        self.add_resources(built)?;
        self.add_configurations(built)?;
        self.add_crds(built)?;
        self.run_generators(built)?;
        self.add_components(built)?;
        self.run_transformers(built)?;
        self.run_validators(built)?;
        self.add_vars(built)
    }

    /// Reads the kustomization file of a directory. `parent` is the kustomization that refers to it.
    ///
    /// # Errors
    /// When there is not exactly one, or it cannot be read; the latter with its place.
    pub fn open(
        loader: Loader<'a>,
        lenient: bool,
        parent: Option<(&Kustomization, Option<OriginNote>)>,
    ) -> Result<Self, Error> {
        let (file, content) = find_file(&loader)?;
        let path = loader.path(file)?;
        let unread = |error: Error| {
            error.placed(&Place {
                path,
                document: None,
                field: String::new(),
            })
        };
        let mut kustomization = Kustomization::parse(&content, lenient, loader.directory()).map_err(unread)?;
        for warning in std::mem::take(&mut kustomization.warnings) {
            loader.session.warn(&warning);
        }
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
        target.choose_schema().placed(|| target.place("openapi"))?;
        Ok(target)
    }

    /// The build.
    pub fn session(&self) -> &'a Session<'a> {
        self.loader.session
    }

    /// The kustomization file's path.
    pub fn path(&self) -> String {
        self.loader.path(self.file).unwrap_or_default()
    }

    /// A field of the kustomization, for errors.
    pub fn place(&self, field: impl Into<String>) -> Place<'_> {
        Place {
            path: self.path(),
            document: self.kustomization.document.as_ref(),
            field: field.into(),
        }
    }

    /// A field of the kustomization, for what it changes.
    pub fn author(&self, field: &str) -> Arc<Touch> {
        Arc::new(Touch {
            kustomization: self.path(),
            field: field.to_owned(),
        })
    }

    /// Reads a file that the kustomization names. That it cannot be read is an error of the kustomization.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load(&self, path: &str) -> Result<Loaded, Error> {
        let content = self.loader.load(path).in_file(&self.path())?;
        Ok(Loaded {
            path: self.loader.path(path)?,
            content,
        })
    }

    /// Puts the schema that this kustomization names in force, unless one is.
    fn choose_schema(&self) -> Result<(), Error> {
        let openapi = &self.kustomization.openapi;
        let (path, version) = (
            openapi.get("path"),
            openapi.get("version").filter(|version| !version.is_empty()),
        );
        let file = path.map(|path| self.load(path)).transpose()?;
        let session = self.session();
        if session.schema_is_chosen() {
            return Ok(());
        }
        match (path.zip(file), version) {
            (Some(_), Some(_)) => Err(Error::new(
                "builtin version and custom schema provided, cannot use both",
            )),
            (Some((path, file)), None) => {
                let schema =
                    parse_schema(&file.content, session.builtin_types()).within(|| format!("openapi '{path}'"));
                session.choose_schema(SchemaInForce::Custom(Rc::new(schema.in_file(&file.path)?)));
                Ok(())
            }
            (None, Some(version)) if version != BUILTIN_OPENAPI => {
                Err(Error::new("the specified OpenAPI version is not built in"))
            }
            (None, Some(_)) => {
                session.choose_schema(SchemaInForce::Builtin);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn add_configurations(&self, built: &mut Accumulated) -> Result<(), Error> {
        let paths = &self.kustomization.configurations;
        if paths.is_empty() {
            let merged = Config::merge_into(&mut built.config, Cow::Borrowed(Config::defaults()));
            return built.note(merged.within(|| "merging config")).map(drop);
        }
        let mut config = Config::defaults().clone();
        let mut own = Config::default();
        for (at, path) in paths.iter().enumerate() {
            let read = self.load(path).and_then(|file| {
                let parsed = Config::parse(&file.content).map_err(Error::without_field);
                own.merge(
                    parsed
                        .within(|| format!("configurations '{path}'"))
                        .in_file(&file.path)?,
                )
            });
            built.note(read.placed(|| self.place(format!("configurations[{at}]"))))?;
        }
        let merged = config
            .merge(own)
            .and_then(|()| Config::merge_into(&mut built.config, Cow::Owned(config)))
            .within(|| "merging config");
        built.note(merged.placed(|| self.place("configurations"))).map(drop)
    }

    fn add_crds(&self, built: &mut Accumulated) -> Result<(), Error> {
        for (at, path) in self.kustomization.crds.iter().enumerate() {
            let read = self.load(path).and_then(|file| {
                let crds = Config::parse_crds(&file.content).within(|| format!("loading CRDs '{path}'"));
                Config::merge_into(&mut built.config, Cow::Owned(crds.in_file(&file.path)?)).within(|| "merging CRDs")
            });
            built.note(read.placed(|| self.place(format!("crds[{at}]"))))?;
        }
        Ok(())
    }

    fn add_vars(&self, built: &mut Accumulated) -> Result<(), Error> {
        if built.is_broken() {
            return Ok(());
        }
        for (at, var) in self.kustomization.vars.iter().enumerate() {
            let bound = var.bind(&mut built.resources);
            let added = bound.and_then(|()| built.add_vars([var.clone()]));
            let added = added.within(|| "merging vars");
            built.note(added.placed(|| self.place(format!("vars[{at}]"))))?;
        }
        Ok(())
    }
}

/// The one kustomization file of a directory.
fn find_file(loader: &Loader<'_>) -> Result<(&'static str, Vec<u8>), Error> {
    let mut found = Vec::new();
    for name in FILE_NAMES {
        match loader.load(name) {
            Ok(content) => found.push((name, content)),
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => {}
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Error::new(format!(
            "Found multiple kustomization files under: {}",
            loader.directory()
        ))),
        (None, _) => Err(Error::new(format!(
            "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
            loader.directory()
        ))),
    }
}

fn parse_schema(content: &[u8], builtin: Builtin) -> Result<Schema, Error> {
    let document = crate::kustomization::document(content)?;
    let document = document.map(|document| document.to_json()).transpose()?;
    match document {
        Some(document) if document.is_object() => Ok(Schema::from_openapi(&document, builtin)),
        _ => Err(Error::new("not an OpenAPI document: expected a mapping")),
    }
}
