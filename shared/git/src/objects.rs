//! Fetched objects, in a temporary directory that disappears with them, and what is read of a commit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::Scratch;
use artifact::scratch::Place;
use gix::objs::{CommitRef, FindExt, Kind, TagRef};
use gix::{ObjectId, odb};
use tempfile::TempDir;

/// Memory for delta bases while objects are read: without it deep delta chains are resolved over and over.
const PACK_CACHE: usize = 32 << 20;
/// The longest chain of tags pointing to tags that is followed.
const MAX_TAG_CHAIN: usize = 10;
/// What Flux shows of a subject before it adds dots.
const SUBJECT_CHARS: usize = 50;
/// Commits and trees may be larger than the largest file that is wanted.
const MIN_LIMIT: u64 = 16 << 20;

/// Objects in a temporary directory.
#[derive(Debug)]
pub struct Objects {
    directory: TempDir,
    /// The directory is inside of it.
    _place: Arc<Place>,
    kind: gix::hash::Kind,
    limit: u64,
}

impl Objects {
    /// A directory without objects, which are named by hashes of this kind. None that is larger than `limit` bytes (or 16 MiB, if that is more) will be read.
    pub fn new(scratch: &Scratch, kind: gix::hash::Kind, limit: u64) -> io::Result<Self> {
        let place = scratch.place()?;
        let directory = tempfile::Builder::new().prefix("objects-").tempdir_in(place.path())?;
        std::fs::create_dir_all(directory.path().join("objects/pack"))?;
        Ok(Self {
            directory,
            _place: place,
            kind,
            limit,
        })
    }

    /// Where packs go.
    pub fn packs(&self) -> PathBuf {
        self.directory.path().join("objects/pack")
    }

    /// A place beside them for what the protocol writes down.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The most bytes one object may take in memory.
    pub fn alloc_limit(&self) -> Option<usize> {
        usize::try_from(self.limit.max(MIN_LIMIT)).ok()
    }

    /// Opens the objects for reading.
    pub fn open(&self) -> io::Result<odb::Handle> {
        let options = odb::store::init::Options {
            alloc_limit_bytes: self.alloc_limit(),
            ..Default::default()
        };
        let objects = self.directory.path().join("objects");
        let mut handle = odb::at_opts(objects, self.kind, None, options)?;
        handle.set_pack_cache(|| Box::new(odb::pack::cache::lru::MemoryCappedHashmap::new(PACK_CACHE)));
        Ok(handle)
    }
}

/// What is of interest in a commit.
#[derive(Clone, Debug)]
pub struct CommitFacts {
    /// Its tree.
    pub tree: ObjectId,
    /// The first line of its message, as Flux shows it.
    pub subject: String,
    /// When it was committed, in seconds since the epoch.
    pub committed: i64,
}

/// Reads the commit that `id` is or, as a tag, points to; nothing when it leads to something else.
pub fn commit_facts(handle: &odb::Handle, mut id: ObjectId) -> gix::Result<Option<CommitFacts>> {
    let mut buffer = Vec::new();
    for _ in 0..MAX_TAG_CHAIN {
        let object = handle.find(&id, &mut buffer)?;
        match object.kind {
            Kind::Tag => id = TagRef::from_bytes(object.data, id.kind())?.target(),
            Kind::Commit => {
                let commit = CommitRef::from_bytes(object.data, id.kind())?;
                return Ok(Some(CommitFacts {
                    tree: commit.tree(),
                    subject: subject(&String::from_utf8_lossy(commit.message)),
                    committed: commit.committer().map_or(0, |committer| committer.seconds()),
                }));
            }
            Kind::Tree | Kind::Blob => return Ok(None),
        }
    }
    Ok(None)
}

/// The first line of a commit message as Flux shows it.
fn subject(message: &str) -> String {
    let line = message.split('\n').next().unwrap_or_default();
    match line.char_indices().nth(SUBJECT_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        assert_eq!(subject(message), expected);
    }

    #[test]
    fn a_subject_is_the_first_line_and_at_most_fifty_characters() {
        check("fix it\n\nbecause", "fix it");
        check("", "");
        check(&"ü".repeat(50), &"ü".repeat(50));
        check(&"ü".repeat(51), &format!("{}...", "ü".repeat(50)));
        check(&format!("{}...", "ü".repeat(50)), &format!("{}...", "ü".repeat(50)));
    }
}
