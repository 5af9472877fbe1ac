//! `validators`.

use super::accumulated::Accumulated;
use super::generators::PluginConfig;
use super::plugins;
use super::target::Target;
use crate::Error;
use crate::error::Within;
use crate::resource::Resource;

/// The label a validator may set.
const VALIDATED_BY: &str = "validated-by";

impl Target<'_> {
    /// Runs the validators: transformers that must not change anything but the label that says who validated.
    ///
    /// # Errors
    /// When the build has to end here.
    pub fn run_validators(&self, built: &mut Accumulated) -> Result<(), Error> {
        let runs = !built.is_broken();
        for config in self.plugin_configs("validators", &self.kustomization.validators, built)? {
            let valid = config.place(self.validate(&config, built, runs));
            built.note(valid.placed(|| self.place(config.field)))?;
        }
        Ok(())
    }

    fn validate(&self, config: &PluginConfig, built: &mut Accumulated, runs: bool) -> Result<(), Error> {
        let validator = plugins::transformer(&config.resource, self)?;
        if !runs {
            return Ok(());
        }
        let before: Vec<Resource> = built.resources.iter().cloned().collect();
        let schema = self.session().schema();
        validator.transform(&mut built.resources, &self.session().pass(&schema, None))?;
        // Upstream tells objects apart by their identity and refuses any that another one has as well.
        built.resources.check_unique()?;
        let unchanged = built.resources.len() == before.len()
            && built
                .resources
                .iter()
                .zip(&before)
                .all(|(after, before)| after.equals_but_for_label(before, VALIDATED_BY));
        if unchanged {
            return Ok(());
        }
        let id = config.resource.original_id();
        Err(Error::new(format!("validator shouldn't modify the resource map: {id}")))
    }
}
