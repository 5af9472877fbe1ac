//! Transformers: each changes all objects of a build in one respect. Where they run is said in `build`.

mod affix;
mod annotations;
mod hash;
mod images;
mod labels;
mod name_reference;
mod namespace;
mod pairs;
mod pass;
mod patch;
mod replacements;
mod replicas;
mod sort;
mod value_add;
mod vars;

use crate::Error;
use crate::resource::Resources;

pub(crate) use affix::{Affix, End};
pub(crate) use annotations::Annotations;
pub(crate) use hash::Hash;
pub(crate) use images::Images;
pub(crate) use labels::Labels;
pub(crate) use name_reference::NameReferences;
pub(crate) use namespace::Namespace;
pub(crate) use pass::Pass;
pub(crate) use patch::{Json6902Patch, Patches, StrategicPatches};
pub(crate) use replacements::{Replacement, Replacements};
pub(crate) use replicas::Replicas;
pub(crate) use sort::{Sort, order_of_kind};
pub(crate) use value_add::{ValueAdd, value_add_targets};
pub(crate) use vars::{Var, Vars};

/// A configured transformer.
pub(crate) trait Transformer {
    /// Changes the objects, through [`Pass::each`] and [`Pass::on`].
    ///
    /// # Errors
    /// When the transformer does not fit the objects; with the object and field, all there are.
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error>;
}
