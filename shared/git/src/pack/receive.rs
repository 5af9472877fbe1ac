//! Taking a pack from a stream.
//!
//! First pass, over the stream: every byte goes to disk and into the hash of the pack; what is stored whole is inflated into a
//! small buffer and hashed on the way, so nothing of it is held and nothing is read twice. Second pass, over the deltas: each is
//! resolved right after its base, so that the base is still at hand.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::{Crc, Decompress, FlushDecompress, Status};
use gix::ObjectId;
use gix::hash::{Hasher, oid};
use gix::objs::Kind;
use gix::odb::pack::data::entry::Header;
use tempfile::NamedTempFile;

use super::data::Data;
use super::index::{self, Entry};
use super::reader::{Desk, Place, nearer};
use super::{Error, HEADER, Location, MAX_OBJECTS, Pack, Packs, Sum, path};
use crate::memory::Meter;

/// How much is inflated at a time.
const CHUNK: usize = 64 * 1024;
/// What is remembered of an object, in bytes: its name and place, and where its base is.
const REMEMBERED: usize = size_of::<Entry>() + size_of::<Unresolved>();
/// What the names of files begin with that are not complete.
pub const INCOMING: &str = "incoming-";

/// Takes a pack and puts it, as number `number`, beside those that were there before; nothing if it holds no objects.
///
/// The files are whole when this returns, but nothing was forced to the disk.
///
/// # Errors
/// See [`Error`]. Nothing is left behind.
pub fn receive(
    stream: &mut dyn BufRead,
    directory: &Path,
    number: u32,
    older: &Packs,
    interrupt: &AtomicBool,
) -> Result<Option<Arc<Pack>>, Error> {
    receive_within(Meter::new(), stream, directory, number, older, interrupt)
}

/// The same; the meter tells when it takes too much memory.
pub fn receive_within(
    mut meter: Meter,
    stream: &mut dyn BufRead,
    directory: &Path,
    number: u32,
    older: &Packs,
    interrupt: &AtomicBool,
) -> Result<Option<Arc<Pack>>, Error> {
    let kind = older.kind;
    let mut file = tempfile::Builder::new().prefix(INCOMING).tempfile_in(directory)?;
    let mut intake = Intake::new(stream, file.as_file_mut(), kind, older.limit, interrupt);
    let count = intake.header()?;
    let mut deltas = Vec::new();
    for _ in 0..count {
        intake.entry(&mut deltas)?;
        meter.take(REMEMBERED).map_err(Error::Memory)?;
    }
    let (sum, end, named) = intake.finish()?;
    if count == 0 {
        return Ok(None);
    }
    let draft = Draft {
        older,
        data: Data::new(file.reopen()?, end),
        by_name: HashMap::new(),
    };
    let entries = resolve(draft, named, deltas, meter, interrupt)?;
    let mut index = tempfile::Builder::new().prefix(INCOMING).tempfile_in(directory)?;
    index::write(entries, &sum, kind, index.as_file_mut())?;
    settle(index, &path(directory, number, "idx"))?;
    settle(file, &path(directory, number, "pack"))?;
    Pack::open(directory, number, kind).map(|pack| Some(Arc::new(pack)))
}

/// Gives a file its name.
pub fn settle(file: NamedTempFile, name: &Path) -> Result<(), Error> {
    file.persist(name).map(|_| ()).map_err(|error| Error::Disk(error.error))
}

/// A delta that is to be resolved.
#[derive(Clone, Copy, Debug)]
struct Unresolved {
    base: Base,
    offset: u64,
    crc: u32,
}

/// What it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    /// The object at a place of the same pack.
    Here(u64),
    /// The object of this name.
    Named(ObjectId),
}

/// The first pass.
struct Intake<'a> {
    stream: &'a mut dyn BufRead,
    out: BufWriter<&'a mut File>,
    interrupt: &'a AtomicBool,
    kind: gix::hash::Kind,
    limit: u64,
    sum: Sum,
    crc: Crc,
    offset: u64,
    inflate: Decompress,
    chunk: Vec<u8>,
    named: Vec<Entry>,
}

impl<'a> Intake<'a> {
    fn new(
        stream: &'a mut dyn BufRead,
        file: &'a mut File,
        kind: gix::hash::Kind,
        limit: u64,
        interrupt: &'a AtomicBool,
    ) -> Self {
        Self {
            stream,
            out: BufWriter::with_capacity(CHUNK, file),
            interrupt,
            kind,
            limit,
            sum: Sum::new(kind),
            crc: Crc::new(),
            offset: 0,
            inflate: Decompress::new(true),
            chunk: vec![0; CHUNK],
            named: Vec::new(),
        }
    }

    /// Reads what a pack begins with, and tells how many objects it says it has.
    fn header(&mut self) -> Result<u32, Error> {
        let mut header = [0; HEADER as usize];
        self.read_exact(&mut header).map_err(Error::Stream)?;
        let [p, a, c, k, v1, v2, v3, v4, c1, c2, c3, c4] = header;
        let version = u32::from_be_bytes([v1, v2, v3, v4]);
        if [p, a, c, k] != *b"PACK" || !matches!(version, 2 | 3) {
            return Err(Error::damaged("it does not begin as packs do"));
        }
        let count = u32::from_be_bytes([c1, c2, c3, c4]);
        if count > MAX_OBJECTS {
            return Err(Error::damaged(format!(
                "it has {count} objects, more than {MAX_OBJECTS}"
            )));
        }
        Ok(count)
    }

    /// Takes the next entry.
    fn entry(&mut self, deltas: &mut Vec<Unresolved>) -> Result<(), Error> {
        self.crc.reset();
        let offset = self.offset;
        let length = self.kind.len_in_bytes();
        let head = gix::odb::pack::data::Entry::from_read(self, offset, length);
        let head = head.map_err(Error::Stream)?;
        let (size, limit) = (head.decompressed_size, self.limit);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        let base = match head.header {
            Header::OfsDelta { base_distance } => Some(Base::Here(nearer(offset, base_distance)?)),
            Header::RefDelta { base_id } => Some(Base::Named(base_id)),
            Header::Commit | Header::Tree | Header::Blob | Header::Tag => None,
        };
        let Some(base) = base else {
            let kind = head.header.as_kind();
            let kind = kind.ok_or_else(|| Error::damaged("an entry is of no known kind"))?;
            let mut hasher = hasher(self.kind, kind, size);
            self.content(size, |part| hasher.update(part))?;
            let (id, crc) = (named(hasher)?, self.crc.sum());
            self.named.push(Entry { id, offset, crc });
            return Ok(());
        };
        self.content(size, |_| ())?;
        let crc = self.crc.sum();
        deltas.push(Unresolved { base, offset, crc });
        Ok(())
    }

    /// Takes what is compressed up to its end, which has to be after `size` bytes of content.
    fn content(&mut self, size: u64, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let broken = || Error::damaged("an entry does not have the size it says, or cannot be inflated");
        self.inflate.reset(true);
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let input = self.stream.fill_buf().map_err(Error::Stream)?;
            if input.is_empty() {
                return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into()));
            }
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut self.chunk, FlushDecompress::None);
            let status = status.map_err(|_| broken())?;
            let taken = usize::try_from(self.inflate.total_in() - taken).map_err(|_| broken())?;
            let made = usize::try_from(self.inflate.total_out() - made).map_err(|_| broken())?;
            let used = input.get(..taken).unwrap_or_default();
            self.out.write_all(used)?;
            self.sum.update(used);
            self.crc.update(used);
            self.offset += taken as u64;
            self.stream.consume(taken);
            take(self.chunk.get(..made).unwrap_or_default());
            if self.inflate.total_out() > size {
                return Err(broken());
            }
            match status {
                Status::StreamEnd if self.inflate.total_out() == size => return Ok(()),
                Status::Ok | Status::BufError if taken > 0 || made > 0 => {}
                Status::StreamEnd | Status::Ok | Status::BufError => return Err(broken()),
            }
        }
    }

    /// Compares the hash at the end. Returns it, where the entries end, and those that have a name.
    fn finish(mut self) -> Result<(Vec<u8>, u64, Vec<Entry>), Error> {
        let mut told = vec![0; self.kind.len_in_bytes()];
        self.stream.read_exact(&mut told).map_err(Error::Stream)?;
        let sum = self.sum.finish();
        if sum != told {
            return Err(Error::damaged("it does not end with the hash of what it holds"));
        }
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok((sum, self.offset, self.named))
    }
}

impl Read for Intake<'_> {
    /// Reads what is not compressed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.stream.read(buffer)?;
        let used = buffer.get(..taken).unwrap_or_default();
        self.out.write_all(used)?;
        self.sum.update(used);
        self.crc.update(used);
        self.offset += taken as u64;
        Ok(taken)
    }
}

/// A hash of an object under way.
fn hasher(hash: gix::hash::Kind, kind: Kind, size: u64) -> Hasher {
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(&gix::objs::encode::loose_header(kind, size));
    hasher
}

fn named(hasher: Hasher) -> Result<ObjectId, Error> {
    hasher.try_finalize().map_err(|error| Error::damaged(error.to_string()))
}

/// A pack without index, and those that were there before.
struct Draft<'a> {
    older: &'a Packs,
    data: Data,
    /// Where objects are that deltas of this pack name as their base.
    by_name: HashMap<ObjectId, u64>,
}

impl Draft<'_> {
    fn at(&self, offset: u64) -> Location {
        let pack = self.older.list.len();
        Location { pack, offset }
    }
}

impl Place for Draft<'_> {
    fn data(&self, pack: usize) -> Option<&Data> {
        if pack == self.older.list.len() {
            return Some(&self.data);
        }
        self.older.data(pack)
    }

    fn base(&self, id: &oid, pack: usize) -> Option<Location> {
        if pack < self.older.list.len() {
            return self.older.base(id, pack);
        }
        let here = || self.by_name.get(id).map(|offset| self.at(*offset));
        self.older.locate(id).or_else(here)
    }

    fn kind(&self) -> gix::hash::Kind {
        self.older.kind
    }

    fn limit(&self) -> u64 {
        self.older.limit
    }
}

/// The second pass: names every delta. The entries come in an order in which no object is made from a later one.
fn resolve(
    mut draft: Draft<'_>,
    mut entries: Vec<Entry>,
    mut deltas: Vec<Unresolved>,
    mut meter: Meter,
    interrupt: &AtomicBool,
) -> Result<Vec<Entry>, Error> {
    if deltas.is_empty() {
        return Ok(entries);
    }
    deltas.sort_by_key(|delta| delta.base);
    let children = |base: Base| {
        let start = deltas.partition_point(|delta| delta.base < base);
        let end = deltas.partition_point(|delta| delta.base <= base);
        deltas.get(start..end).unwrap_or_default()
    };
    // Deltas whose base is known, the next one last.
    let mut ready: Vec<Unresolved> = Vec::new();
    let mut left = deltas.len();
    let is_named = |id: &ObjectId| !children(Base::Named(*id)).is_empty();
    for entry in entries.iter().rev() {
        ready.extend(children(Base::Here(entry.offset)));
    }
    // Whole objects that are bases by name, unless an older pack has them; the first of a name counts.
    let mut by_name: Vec<Unresolved> = Vec::new();
    for entry in &entries {
        if is_named(&entry.id) && !draft.older.contains(&entry.id) && !draft.by_name.contains_key(&entry.id) {
            draft.by_name.insert(entry.id, entry.offset);
            by_name.extend(children(Base::Named(entry.id)));
        }
    }
    let outside = |delta: &&Unresolved| matches!(delta.base, Base::Named(id) if draft.older.contains(&id));
    by_name.extend(deltas.iter().filter(outside));
    ready.extend(by_name);
    let mut desk = Desk::new();
    while let Some(delta) = ready.pop() {
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let here = children(Base::Here(delta.offset));
        let at = draft.at(delta.offset);
        let opened = desk.open(&draft, at)?;
        let size = usize::try_from(opened.size).unwrap_or(usize::MAX);
        meter.take(REMEMBERED.saturating_add(size)).map_err(Error::Memory)?;
        let mut hasher = hasher(draft.older.kind, opened.kind, opened.size);
        if here.is_empty() {
            desk.pass(&draft, opened, &mut |part| {
                hasher.update(part);
                Ok(())
            })?;
        } else {
            hasher.update(&desk.keep(&draft, at, opened)?.bytes);
        }
        let (id, offset, crc) = (named(hasher)?, delta.offset, delta.crc);
        entries.push(Entry { id, offset, crc });
        left -= 1;
        ready.extend(here);
        if is_named(&id) && !draft.older.contains(&id) && !draft.by_name.contains_key(&id) {
            draft.by_name.insert(id, offset);
            ready.extend(children(Base::Named(id)));
        }
    }
    if left > 0 {
        return Err(Error::damaged(format!("the bases of {left} deltas are missing")));
    }
    Ok(entries)
}
