//! What `spec.sparseCheckout` takes of a tree.
//!
//! The rule is go-git's, which users rely on: a file is taken when its path *begins with the text* of an entry, so `apps` also
//! takes `apps-old/x`, and files of the root are left out unless an entry names them. A leading `./` is dropped. Afterwards
//! each entry has to exist. Submodules are taken by the same rule as if their files were part of the tree.

use super::Error;
use super::listing::{Listing, within};

/// The part of a tree that is wanted; the default is all of it.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    entries: Vec<String>,
}

impl Sparse {
    /// What the entries of `spec.sparseCheckout` take; none take all.
    pub fn new(entries: &[String]) -> Self {
        Self {
            entries: entries.to_vec(),
        }
    }

    /// Whether a file with this path is taken.
    pub(super) fn takes(&self, path: &[u8]) -> bool {
        self.entries.is_empty() || self.prefixes().any(|prefix| path.starts_with(prefix.as_bytes()))
    }

    /// Whether something in a directory may be taken; its path ends with a slash.
    pub(super) fn leads_to(&self, directory: &[u8]) -> bool {
        self.takes(directory) || self.prefixes().any(|prefix| prefix.as_bytes().starts_with(directory))
    }

    /// Whether every entry has led to something.
    pub(super) fn check(&self, listing: &Listing) -> Result<(), Error> {
        for entry in &self.entries {
            let path = within(entry);
            if !path.is_empty() && listing.find(path.as_bytes()).is_none() {
                return Err(Error::Sparse {
                    entry: entry.clone(),
                    path,
                });
            }
        }
        Ok(())
    }

    /// What the paths of wanted files begin with; nothing if all are wanted.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .map(|entry| entry.strip_prefix("./").unwrap_or(entry))
    }
}
