//! Fetched objects and how long they are kept: as long as somebody reads them in a temporary directory, or in the cache.

mod complete;
mod facts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::Scratch;
use artifact::scratch::Place;
use gix::ObjectId;
use tempfile::TempDir;

use crate::cache::Entry;
use crate::pack::{Packs, Reader};
pub use complete::is_complete;
pub use facts::{CommitFacts, commit_facts};

/// Commits and trees may be larger than the largest file that is wanted.
const MIN_LIMIT: u64 = 16 << 20;

/// The largest object that is taken where files may have so many bytes.
pub fn limit(file: u64) -> u64 {
    file.max(MIN_LIMIT)
}

/// Objects that can be read, and what keeps them there.
#[derive(Debug)]
pub struct Objects {
    packs: Arc<Packs>,
    keep: Keep,
}

#[derive(Debug)]
enum Keep {
    /// A directory that goes with them.
    Apart(Directory),
    /// The cache.
    Cached(Arc<Entry>),
}

impl Objects {
    /// What was fetched into a directory of its own.
    pub fn apart(packs: Arc<Packs>, directory: Directory) -> Self {
        let keep = Keep::Apart(directory);
        Self { packs, keep }
    }

    /// What is in the cache.
    pub fn cached(packs: Arc<Packs>, entry: Arc<Entry>) -> Self {
        let keep = Keep::Cached(entry);
        Self { packs, keep }
    }

    /// Whether there is an object of this name.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.packs.contains(id)
    }

    /// Reads them.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.packs))
    }

    /// Says that one of them is damaged or missing, so that they are not used again.
    pub fn distrust(&self) {
        match &self.keep {
            Keep::Apart(directory) => {
                tracing::debug!(path = %directory.path().display(), "fetched objects are damaged")
            }
            Keep::Cached(entry) => entry.distrust(),
        }
    }
}

/// A temporary directory for packs.
#[derive(Debug)]
pub struct Directory {
    directory: TempDir,
    /// The directory is inside of it.
    _place: Arc<Place>,
}

impl Directory {
    /// An empty one.
    pub fn new(scratch: &Scratch) -> io::Result<Self> {
        let place = scratch.place()?;
        let directory = tempfile::Builder::new().prefix("objects-").tempdir_in(place.path())?;
        Ok(Self {
            directory,
            _place: place,
        })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        Path::to_path_buf(self.directory.path())
    }
}
