//! Which fields of which kinds a transformer touches.

mod apply;
mod config;
mod crds;
mod defaults;

use crate::Error;
use crate::resource::Gvk;

pub(crate) use apply::{Target, apply, apply_all, apply_path};
pub(crate) use config::{Config, References, field_spec};

/// A field of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSpec {
    /// The types it is a field of; empty parts mean any.
    pub gvk: Gvk,
    /// The path to it, separated by slashes; `name[]` is a list.
    pub path: String,
    /// Whether to create it when missing.
    pub create: bool,
}

/// Adds a field unless one that covers it is there.
///
/// # Errors
/// When the same field is there with another `create`.
pub(crate) fn merge_one(specs: &mut Vec<FieldSpec>, new: FieldSpec) -> Result<(), Error> {
    match specs
        .iter()
        .find(|spec| spec.path == new.path && spec.gvk.is_selected_by(&new.gvk))
    {
        Some(spec) if spec.create != new.create => {
            Err(Error::new(format!("conflicting fieldspecs for path '{}'", new.path)))
        }
        Some(_) => Ok(()),
        None => {
            specs.push(new);
            Ok(())
        }
    }
}

/// Adds many fields, each as [`merge_one`] does.
///
/// # Errors
/// As [`merge_one`].
pub(crate) fn merge_all(specs: &mut Vec<FieldSpec>, new: &[FieldSpec]) -> Result<(), Error> {
    new.iter().try_for_each(|spec| merge_one(specs, spec.clone()))
}
