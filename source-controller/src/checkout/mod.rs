//! From a commit's tree to an artifact, straight out of the object database: no working tree is ever written.
//!
//! [`list()`] walks the tree as a directory would be walked (children by plain name, which is not Git's order), leaves out what
//! a [`Sparse`] checkout would, and reads every `.sourceignore`, because one pattern anywhere changes the defaults everywhere.
//! Other artifacts may be merged into the [`Listing`] ([`crate::include`]). [`Listing::select`] then leaves what the rules let
//! through, and [`archive`] writes it, a piece of a file at a time.
//!
//! A tree is written by strangers: names that no checkout could have, trees nested without end and files over the limit are
//! errors that name the path; symbolic links are left out; a submodule that is not fetched is an empty directory. No filter of
//! `.gitattributes` is applied, large-file pointers are archived as they are.

mod list;
mod listing;
mod sparse;

use std::io::{self, Write};

use artifact::{Archive, Limits};
use git::Tree;
use git::tree::{CopyError, Damage, Node};

use crate::names::Unfit;
pub use list::list;
pub use listing::{Content, Entry, Listing, MAX_IGNORE_FILE, Source, Unpacked, within};
pub use sparse::Sparse;

/// Why a tree cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object is missing, damaged or larger than the database hands out.
    #[error("cannot read '{path}' ({id}): {detail}")]
    Object {
        /// The path of the object.
        path: String,
        /// Its hash.
        id: String,
        /// What the database says.
        detail: String,
    },
    /// A name that cannot be one.
    #[error("tree contains invalid name '{0}'")]
    Name(String),
    /// A name that could be one and would do harm.
    #[error("tree contains refused name '{path}': {why}")]
    Unfit {
        /// The path, printable.
        path: String,
        /// What is wrong with it.
        why: Unfit,
    },
    /// A file over the limit.
    #[error(
        "file '{path}' has {size} bytes, more than the limit of {limit} bytes: remove it or raise --git-max-file-size"
    )]
    TooLarge {
        /// The path of the file.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// More than an artifact may hold.
    #[error("the tree holds more than {0}")]
    Limit(String),
    /// An entry of `spec.sparseCheckout` that leads to nothing.
    #[error("sparse checkout dir '{entry}' does not exist in repository: lstat {path}: no such file or directory")]
    Sparse {
        /// The entry as it is written.
        entry: String,
        /// The path it stands for.
        path: String,
    },
    /// An entry of `spec.sparseCheckout` that leads from link to link.
    #[error("sparse checkout dir '{entry}' cannot be resolved: SecureJoin {entry}: too many levels of symbolic links")]
    SparseLinks {
        /// The entry as it is written.
        entry: String,
    },
    /// The archive could not be written.
    #[error("{0}")]
    Write(#[from] io::Error),
}

/// How much may be archived.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes, entries and depth of the whole.
    pub whole: Limits,
    /// Bytes of one file.
    pub file: u64,
}

/// Archives what is in the listing; links are left out.
///
/// # Errors
/// See [`Error`].
pub fn archive<W: Write>(tree: &Tree, listing: &Listing, bounds: Bounds, into: &mut Archive<W>) -> Result<(), Error> {
    let mut left = bounds.whole.bytes;
    let mut take = |size: u64| {
        let rest = left.checked_sub(size);
        left = rest.ok_or_else(|| Error::Limit(format!("{} bytes of files", bounds.whole.bytes)))?;
        Ok::<_, Error>(())
    };
    into.directory(b".")?;
    for Entry { name, content } in listing.entries() {
        match *content {
            Content::Link => {}
            Content::Directory => into.directory(name)?,
            Content::File { source, executable } => match source {
                Source::Tree(node) => {
                    let failed = |damage: Damage| object(name, node, damage.to_string());
                    let size = tree.size(node).map_err(failed)?;
                    if size > bounds.file {
                        return Err(Error::TooLarge {
                            path: crate::names::shown(name),
                            size,
                            limit: bounds.file,
                        });
                    }
                    take(size)?;
                    let added = into.file(name, executable, size, |out| tree.copy(node, out));
                    added.map_err(|error| match error {
                        CopyError::Damage(damage) => failed(damage),
                        CopyError::Write(error) => Error::Write(error),
                    })?;
                }
                Source::Copy(copy) => {
                    let (mut file, size) = listing.open(copy, name)?;
                    take(size)?;
                    into.file(name, executable, size, |out| io::copy(&mut file, out).map(drop))?;
                }
            },
        }
    }
    Ok(())
}

fn object(path: &[u8], node: Node, detail: String) -> Error {
    Error::Object {
        path: crate::names::shown(path),
        id: node.id().to_string(),
        detail,
    }
}

#[cfg(test)]
mod tests;
