//! Generators: objects from data. A file each.

mod config_map;
mod data;
mod iam_policy;
mod secret;
mod sources;

use crate::Error;

pub(crate) use config_map::config_map;
pub(crate) use iam_policy::IamPolicy;
pub(crate) use secret::secret;

/// Reads a file named in a generator.
pub(crate) type Load<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, Error>;
