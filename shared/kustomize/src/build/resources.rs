//! `resources` and `components`: files of objects and further kustomizations.

use super::accumulated::Accumulated;
use super::load::Loader;
use super::target::Target;
use crate::error::{Problems, Within};
use crate::resource::{Resource, read};
use crate::{Error, Origin};

impl<'a> Target<'a> {
    /// Adds the objects of `resources`.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn add_resources(&self, built: &mut Accumulated) -> Result<(), Error> {
        for (at, path) in self.kustomization.resources.iter().enumerate() {
            let added = self.add_resource(built, path);
            built.note(added.placed(|| self.place(self.kustomization.resource_field(at))))?;
        }
        let within = self.session().check_objects(built.resources.len());
        within.placed(|| self.place("resources"))
    }

    /// Adds a resource: a file, or the directory of another kustomization.
    ///
    /// # Errors
    /// When it is neither, or what it holds does not do. What is wrong inside of another kustomization is noted in `built`.
    pub fn add_resource(&self, built: &mut Accumulated, path: &str) -> Result<(), Error> {
        let no_file = match self.add_file(built, path) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => error,
        };
        let loader = match self.loader.descend(path) {
            Ok(loader) => loader,
            Err(error) if error.is_fatal() => return Err(error),
            Err(no_base) => return Err(self.loader.neither(path, no_file, no_base)),
        };
        let mut below = Accumulated::default();
        let target = self.open_below(loader, path, false);
        target.within(|| "accumulating resources")?.accumulate(&mut below)?;
        built
            .merge(below)
            .within(|| format!("accumulating resources: recursed merging from path '{path}'"))
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

    /// Adds what the components make, and lets them change what is there.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn add_components(&self, built: &mut Accumulated) -> Result<(), Error> {
        for (at, path) in self.kustomization.components.iter().enumerate() {
            let added = self.add_component(built, path);
            built.note(added.placed(|| self.place(format!("components[{at}]"))))?;
        }
        let within = self.session().check_objects(built.resources.len());
        within.placed(|| self.place("components"))
    }

    fn add_component(&self, built: &mut Accumulated, path: &str) -> Result<(), Error> {
        let context = || "accumulating components";
        let loader = self.loader.descend(path).within(|| "loader.New").within(context)?;
        let target = self.open_below(loader, path, true).within(context)?;
        target.accumulate(built)?;
        if built.is_broken() {
            return Ok(());
        }
        built.resources.check_unique().within(context)
    }

    fn add_file(&self, built: &mut Accumulated, path: &str) -> Result<(), Error> {
        let content = self
            .loader
            .load(path)
            .within(|| format!("accumulating resources from '{path}'"))?;
        let file = self.loader.path(path)?;
        let mut problems = Problems::default();
        let objects = self.read(&content, path).in_file(&file).map_err(Error::in_content);
        for object in problems.note(objects)?.into_iter().flatten() {
            self.session().note_type(&object.gvk());
            let added = built.resources.append(object).map_err(Error::in_content);
            problems.note(added.within(|| format!("merging resources from '{path}'")))?;
        }
        problems.finish().in_file(&file)?;
        self.session().check_objects(built.resources.len())
    }

    /// The objects of a manifest file, with their places.
    fn read(&self, content: &[u8], path: &str) -> Result<Vec<Resource>, Error> {
        let objects = read(content).within(|| format!("accumulating resources from '{path}'"))?;
        let place = self.loader.origin(path, None)?;
        let mut result = Vec::with_capacity(objects.len());
        for (line, mut object) in objects {
            object.place = Some(Origin {
                line: Some(line),
                ..place.clone()
            });
            if let Some(origin) = &self.origin {
                origin
                    .append(path)
                    .write_to(&mut object)
                    .map_err(|error| error.at_line(line))?;
            }
            result.push(object);
        }
        Ok(result)
    }
}
