//! Packs: taken from a server as they come, kept as they came, read in small pieces.
//!
//! A pack is checked, hashed and indexed while it arrives ([`receive`]): one pass over the stream names every object that is
//! stored whole, and only deltas are looked at again. Nothing is mapped into memory and nothing is held but buffers of fixed
//! size, a bounded cache of delta bases, a few bytes per object, and of the one object that is read what it is made from
//! ([`Reader`]): nothing where it is stored whole, else its base and the delta. So the memory it takes depends on the largest
//! base and the number of objects, not on the size of the repository or its files.
//!
//! The index beside a pack has git's own format. A pack may be thin: the bases of its deltas are then in packs that were there
//! before it. That is why packs have an order ([`Packs`]). The base of a delta that names it is looked for in older packs first,
//! the oldest first, and then in the delta's own; of two objects with the same name in one pack only the one that was resolved
//! first is in the index. Whoever follows these rules cannot be led in a circle, whatever a server sends.
//!
//! What is not done here: writing objects, loose objects, packs of several index files, compressing anything anew.

mod data;
mod delta;
mod index;
mod join;
mod reader;
mod receive;
mod sum;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::ObjectId;
use gix::hash::{Kind, oid};
use gix::odb::pack;

use data::Data;
pub use join::join;
pub use reader::Reader;
pub use receive::{INCOMING, receive};
use sum::Sum;
pub use sum::hex;

/// Where a pack's objects begin.
const HEADER: u64 = 12;
/// So many objects are in no pack: each takes memory until the index is written, see [`crate::memory`].
const MAX_OBJECTS: u32 = 16 << 20;

/// What is wrong with a pack or an object in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what it says it is.
    #[error("the pack is damaged: {0}")]
    Damaged(String),
    /// An object is larger than what is accepted.
    #[error("an object has {size} bytes, more than {limit}")]
    TooLarge {
        /// What it has.
        size: u64,
        /// What is accepted.
        limit: u64,
    },
    /// An object is not there.
    #[error("the object {0} is missing")]
    Missing(ObjectId),
    /// The stream it comes from broke off.
    #[error("{0}")]
    Stream(io::Error),
    /// The disk does not take it or give it.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// The process has grown by more than so many bytes.
    #[error("it takes more than {0} bytes of memory")]
    Memory(u64),
    /// Somebody gave up.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    fn damaged(text: impl Into<String>) -> Self {
        Self::Damaged(text.into())
    }
}

/// A pack on disk, open for reading. What was opened stays readable when its files are removed.
#[derive(Debug)]
pub struct Pack {
    number: u32,
    size: u64,
    index_size: u64,
    data: Data,
    index: Index,
}

/// An index that can be printed.
struct Index(pack::index::File);

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl Pack {
    /// Opens a pack of a directory. What is in its files is believed; see [`Pack::check`].
    ///
    /// # Errors
    /// The files are missing, or what is in them cannot be a pack and its index.
    pub fn open(directory: &Path, number: u32, kind: Kind) -> Result<Self, Error> {
        let file = File::open(path(directory, number, "pack"))?;
        let index = path(directory, number, "idx");
        let index_size = index.metadata()?.len();
        let size = file.metadata()?.len();
        let trailer = kind.len_in_bytes() as u64;
        let end = size.checked_sub(trailer).filter(|end| *end >= HEADER);
        let end = end.ok_or_else(|| Error::damaged("it is too short"))?;
        let index = pack::index::File::at(index, kind).map_err(|error| Error::damaged(error.to_string()))?;
        Ok(Self {
            number,
            size,
            index_size,
            data: Data::new(file, end),
            index: Index(index),
        })
    }

    /// By which number it goes in its directory.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes on disk, of the pack and of its index.
    pub fn size(&self) -> u64 {
        self.size + self.index_size
    }

    /// The hash of the pack and that of its index, worked out from every byte of them.
    ///
    /// # Errors
    /// They cannot be read, or do not end with the hash of what they hold.
    pub fn check(directory: &Path, number: u32, kind: Kind) -> Result<Sums, Error> {
        Ok(Sums {
            pack: sum::of_file(&path(directory, number, "pack"), kind)?,
            index: sum::of_file(&path(directory, number, "idx"), kind)?,
        })
    }

    /// The hashes its files end with, as they are now.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn sums(directory: &Path, number: u32, kind: Kind) -> Result<Sums, Error> {
        Ok(Sums {
            pack: sum::trailer(&path(directory, number, "pack"), kind)?,
            index: sum::trailer(&path(directory, number, "idx"), kind)?,
        })
    }

    fn offset(&self, id: &oid) -> Option<u64> {
        let at = self.index.0.lookup(id)?;
        Some(self.index.0.pack_offset_at_index(at))
    }
}

/// By what a pack and its index are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The hash at the end of the pack, in hexadecimal digits.
    pub pack: String,
    /// The hash at the end of the index.
    pub index: String,
}

/// Where a file of a pack is.
pub fn path(directory: &Path, number: u32, extension: &str) -> PathBuf {
    directory.join(format!("pack-{number:06}.{extension}"))
}

/// Packs that belong together, the oldest first.
#[derive(Debug)]
pub struct Packs {
    list: Vec<Arc<Pack>>,
    kind: Kind,
    /// No larger object is read.
    limit: u64,
}

impl Packs {
    /// These, whose objects are named by hashes of this kind. None that is larger than `limit` bytes will be read.
    pub fn new(list: Vec<Arc<Pack>>, kind: Kind, limit: u64) -> Self {
        Self { list, kind, limit }
    }

    /// The packs, the oldest first.
    pub fn list(&self) -> &[Arc<Pack>] {
        &self.list
    }

    /// How their objects are named.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The largest object that is read, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The same and one more.
    pub fn with(&self, pack: Option<Arc<Pack>>) -> Self {
        let list = self.list.iter().cloned().chain(pack).collect();
        Self { list, ..*self }
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.list.iter().map(|pack| pack.size()).sum()
    }

    /// Whether there is an object of this name.
    pub fn contains(&self, id: &oid) -> bool {
        self.locate(id).is_some()
    }

    fn locate(&self, id: &oid) -> Option<Location> {
        locate(&self.list, id)
    }
}

/// Where an object begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Location {
    /// In which pack.
    pack: usize,
    offset: u64,
}

/// The oldest of the packs counts.
fn locate(packs: &[Arc<Pack>], id: &oid) -> Option<Location> {
    let found = |(pack, held): (usize, &Arc<Pack>)| held.offset(id).map(|offset| Location { pack, offset });
    packs.iter().enumerate().find_map(found)
}
