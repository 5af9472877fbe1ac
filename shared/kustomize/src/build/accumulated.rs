//! What kustomizations come to while they are put together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::Error;
use crate::error::Problems;
use crate::fields::Config;
use crate::resource::Resources;
use crate::transform::Var;

/// What a kustomization and those below it have come to.
pub(super) struct Accumulated {
    /// The objects.
    pub resources: Resources,
    /// Which fields transformers change.
    pub config: Cow<'static, Config>,
    /// The vars, by name.
    pub vars: BTreeMap<String, Var>,
    problems: Problems,
}

impl Default for Accumulated {
    fn default() -> Self {
        Self {
            resources: Resources::default(),
            config: Cow::Owned(Config::default()),
            vars: BTreeMap::new(),
            problems: Problems::default(),
        }
    }
}

impl Accumulated {
    /// Keeps the error of a result, so that the caller goes on with what does not depend on it.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        self.problems.note(result)
    }

    /// Whether something is wrong, so that what would be done with the objects makes no sense any more. What is still to be
    /// read is read nevertheless, for its own problems.
    pub fn is_broken(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The problems, as one error.
    ///
    /// # Errors
    /// When there is any.
    pub fn check(&mut self) -> Result<(), Error> {
        std::mem::take(&mut self.problems).finish()
    }

    /// Adds vars.
    ///
    /// # Errors
    /// When one of a name is there.
    pub fn add_vars(&mut self, vars: impl IntoIterator<Item = Var>) -> Result<(), Error> {
        let mut problems = Problems::default();
        for var in vars {
            if self.vars.contains_key(&var.name) {
                problems.note(Err(Error::new(format!("var '{}' already encountered", var.name))))?
            } else {
                self.vars.insert(var.name.clone(), var);
                Some(())
            };
        }
        problems.finish()
    }

    /// Adds what another kustomization came to.
    ///
    /// # Errors
    /// When an identity or the name of a var comes twice, field specs contradict one another, or the build has to end here.
    pub fn merge(&mut self, mut other: Accumulated) -> Result<(), Error> {
        self.problems.note(other.check())?;
        self.resources.append_all(other.resources)?;
        Config::merge_into(&mut self.config, other.config)?;
        self.add_vars(other.vars.into_values())
    }
}
