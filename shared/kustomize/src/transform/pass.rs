//! One run of a transformer: on whose behalf it changes objects, and how it goes on after one that it cannot change.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::Problems;
use crate::resource::Resource;
use crate::schema::Schema;
use crate::{Error, Touch};

/// What a transformer is given besides the objects.
pub(crate) struct Pass<'a> {
    /// The schema in force.
    pub schema: &'a Schema,
    /// The field of a kustomization that asked for the change; none for what a build does of its own.
    pub author: Option<Arc<Touch>>,
    /// Whether the caller wants the build to end.
    pub stop: &'a dyn Fn() -> bool,
    /// Set once something was merged.
    pub merged: &'a Cell<bool>,
}

impl Pass<'_> {
    /// The schema, to merge with.
    pub fn merging(&self) -> &Schema {
        self.merged.set(true);
        self.schema
    }

    /// Checks whether the build may go on.
    ///
    /// # Errors
    /// When the caller wants it to end.
    pub fn go_on(&self) -> Result<(), Error> {
        if (self.stop)() {
            return Err(Error::fatal("the build was stopped: its time is used up"));
        }
        Ok(())
    }

    /// Changes one object; `change` says whether it did. The change is noted on the object, and an error is about it. One
    /// that failed before is left alone: what else does not fit it would be no news.
    ///
    /// # Errors
    /// That of `change`, or when the build has to stop.
    pub fn on(
        &self,
        resource: &mut Resource,
        change: impl FnOnce(&mut Resource) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.go_on()?;
        if resource.failed {
            return Ok(());
        }
        match change(resource) {
            Ok(true) => {
                if let Some(author) = &self.author {
                    resource.touch(author);
                }
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                resource.failed = true;
                Err(error.about(resource))
            }
        }
    }

    /// Changes all these objects as [`Pass::on`] does one, also those behind one that cannot be changed.
    ///
    /// # Errors
    /// All errors of `change`.
    pub fn each<'r>(
        &self,
        resources: impl IntoIterator<Item = &'r mut Resource>,
        mut change: impl FnMut(&mut Resource) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let alone = resources.into_iter().map(|resource| (resource, ()));
        self.each_with(alone, |resource, ()| change(resource))
    }

    /// As [`Pass::each`], for objects that come with something to know about them.
    ///
    /// # Errors
    /// All errors of `change`.
    pub fn each_with<'r, T>(
        &self,
        resources: impl IntoIterator<Item = (&'r mut Resource, T)>,
        mut change: impl FnMut(&mut Resource, T) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut problems = Problems::default();
        for (resource, known) in resources {
            problems.note(self.on(resource, |resource| change(resource, known)))?;
        }
        problems.finish()
    }
}
