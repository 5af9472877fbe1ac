//! What `spec.sparseCheckout` takes of a tree.
//!
//! The rule is go-git's, which users rely on: a file is taken when its path *begins with the text* of an entry, so `apps` also
//! takes `apps-old/x`, and files of the root are left out unless an entry names them. A leading `./` is dropped. Afterwards
//! each entry has to lead to something that was taken, through links too. Submodules are taken by the same rule as if their
//! files were part of the tree.

use super::Error;
use super::listing::Listing;
use crate::names;

/// How many links an entry may lead through, as with Flux.
const MAX_LINKS: usize = 255;

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

    /// Whether every entry has led to something; `link` has the targets of the links in the listing.
    pub(super) fn check(
        &self,
        listing: &Listing,
        link: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<(), Error> {
        for entry in &self.entries {
            let Some(path) = resolve(entry.as_bytes(), &link)? else {
                return Err(Error::SparseLinks { entry: entry.clone() });
            };
            if !path.is_empty() && listing.find(&path).is_none() {
                return Err(Error::Sparse {
                    entry: entry.clone(),
                    path: names::shown(&path),
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

/// Where a path leads below the root, which neither `..` nor a link leads out of; nothing when it leads through too many.
fn resolve(path: &[u8], link: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Error>) -> Result<Option<Vec<u8>>, Error> {
    let names = |path: &[u8]| {
        let reversed = path.rsplit(|byte| *byte == b'/');
        reversed.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let mut at = Vec::new();
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        let above = at.len();
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                at.truncate(parent(&at));
                continue;
            }
            name => {
                if above > 0 {
                    at.push(b'/');
                }
                at.extend_from_slice(name);
            }
        }
        if let Some(target) = link(&at)? {
            links += 1;
            if links > MAX_LINKS {
                return Ok(None);
            }
            at.truncate(if target.starts_with(b"/") { 0 } else { above });
            left.extend(names(&target));
        }
    }
    Ok(Some(at))
}

/// How long the path above is.
fn parent(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}
