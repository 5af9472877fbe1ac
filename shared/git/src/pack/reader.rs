//! Reading objects out of packs.

use std::collections::HashMap;
use std::sync::Arc;

use gix::hash::oid;
use gix::objs::Kind;
use gix::odb::pack::data::entry::Header;

use super::data::{Data, Take, Window};
use super::{Error, Location, Packs, delta};

/// Memory for objects that others are made of: without it long chains of deltas are resolved over and over.
const BASES: usize = 16 << 20;
/// What remembering one of them takes besides its bytes.
const SLOT: usize = 128;
/// No chain of deltas is longer; git stops at 4095.
const MAX_CHAIN: usize = 10_000;
/// Enough of a delta to know what it makes.
const DELTA_HEAD: usize = 20;

/// Where entries are, and where the bases are that they name.
pub trait Place {
    /// The bytes of a pack.
    fn data(&self, pack: usize) -> Option<&Data>;
    /// Where the base is that an entry of this pack names.
    fn base(&self, id: &oid, pack: usize) -> Option<Location>;
    /// How objects are named.
    fn kind(&self) -> gix::hash::Kind;
    /// The largest object that is read.
    fn limit(&self) -> u64;
}

impl Place for Packs {
    fn data(&self, pack: usize) -> Option<&Data> {
        self.list.get(pack).map(|pack| &pack.data)
    }

    fn base(&self, id: &oid, pack: usize) -> Option<Location> {
        super::locate(self.list.get(..=pack)?, id)
    }

    fn kind(&self) -> gix::hash::Kind {
        self.kind
    }

    fn limit(&self) -> u64 {
        self.limit
    }
}

/// Reads objects. Each thread takes one of its own.
pub struct Reader {
    packs: Arc<Packs>,
    desk: Desk,
}

impl Reader {
    /// Of these packs.
    pub fn new(packs: Arc<Packs>) -> Self {
        Self {
            packs,
            desk: Desk::new(),
        }
    }

    /// Reads an object and tells what it is.
    ///
    /// # Errors
    /// It is missing, damaged or over the limit.
    pub fn object(&mut self, id: &oid, out: &mut Vec<u8>) -> Result<Kind, Error> {
        let opened = self.desk.open(&*self.packs, self.locate(id)?)?;
        let kind = opened.kind;
        self.desk.read(&*self.packs, opened, out)?;
        Ok(kind)
    }

    /// Passes on the content of a blob, a piece at a time; of any other object only tells what it is.
    ///
    /// What is stored whole is never held whole. What is stored as a delta is held as its base is.
    ///
    /// # Errors
    /// It is missing, damaged or over the limit; or `take` fails.
    pub fn blob(&mut self, id: &oid, take: &mut Take<'_>) -> Result<Kind, Error> {
        let opened = self.desk.open(&*self.packs, self.locate(id)?)?;
        let kind = opened.kind;
        if kind == Kind::Blob {
            self.desk.pass(&*self.packs, opened, take)?;
        }
        Ok(kind)
    }

    /// The bytes an object has.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn size(&mut self, id: &oid) -> Result<u64, Error> {
        self.desk.size(&*self.packs, self.locate(id)?)
    }

    fn locate(&self, id: &oid) -> Result<Location, Error> {
        self.packs.locate(id).ok_or_else(|| Error::Missing(id.to_owned()))
    }
}

/// What reading takes, used over and over.
pub struct Desk {
    window: Window,
    delta: Vec<u8>,
    bases: Bases,
}

impl Desk {
    /// Nothing was read yet.
    pub fn new() -> Self {
        Self {
            window: Window::new(),
            delta: Vec::new(),
            bases: Bases::default(),
        }
    }

    /// Does everything for the object at a place but its last step, so that it is known what it is.
    pub fn open(&mut self, place: &impl Place, at: Location) -> Result<Opened, Error> {
        // From the object down to what is stored whole or was made lately.
        let mut chain = Vec::new();
        let mut here = at;
        let mut base = loop {
            if let Some(base) = self.bases.get(here) {
                break base;
            }
            let data = place.data(here.pack).ok_or_else(nowhere)?;
            let entry = self.window.entry(data, here.pack, here.offset, place.kind())?;
            let stored = Stored {
                pack: here.pack,
                start: entry.data_offset,
                size: entry.decompressed_size,
            };
            within(stored.size, place.limit())?;
            match entry.header {
                Header::OfsDelta { base_distance } => {
                    chain.push((here, stored));
                    here = Location {
                        offset: nearer(here.offset, base_distance)?,
                        ..here
                    };
                }
                Header::RefDelta { base_id } => {
                    chain.push((here, stored));
                    let base = place.base(&base_id, here.pack);
                    here = base.ok_or_else(|| Error::damaged("the base of a delta is missing"))?;
                }
                Header::Commit | Header::Tree | Header::Blob | Header::Tag => {
                    let kind = entry.header.as_kind().ok_or_else(nowhere)?;
                    let opened = Opened {
                        kind,
                        size: stored.size,
                        last: Last::Whole(stored),
                    };
                    if chain.is_empty() {
                        return Ok(opened);
                    }
                    break self.keep(place, here, opened)?;
                }
            }
            if chain.len() > MAX_CHAIN {
                return Err(Error::damaged("a chain of deltas is too long"));
            }
        };
        // And back up.
        while let Some((here, stored)) = chain.pop() {
            let data = place.data(stored.pack).ok_or_else(nowhere)?;
            let delta = &mut self.delta;
            delta.clear();
            self.window
                .pass(data, stored.pack, stored.start, stored.size, &mut |part| {
                    delta.extend_from_slice(part);
                    Ok(())
                })?;
            let (_, size, _) = delta::sizes(&self.delta)?;
            within(size, place.limit())?;
            let kind = base.kind;
            let opened = Opened {
                kind,
                size,
                last: Last::Delta(base),
            };
            if chain.is_empty() {
                return Ok(opened);
            }
            base = self.keep(place, here, opened)?;
        }
        Ok(Opened {
            kind: base.kind,
            size: base.bytes.len() as u64,
            last: Last::Base(base),
        })
    }

    /// Passes on the content of what was opened last.
    pub fn pass(&mut self, place: &impl Place, opened: Opened, take: &mut Take<'_>) -> Result<(), Error> {
        match opened.last {
            Last::Base(base) => take(&base.bytes),
            Last::Delta(base) => delta::apply(&base.bytes, &self.delta, take),
            Last::Whole(stored) => {
                let data = place.data(stored.pack).ok_or_else(nowhere)?;
                self.window.pass(data, stored.pack, stored.start, stored.size, take)
            }
        }
    }

    /// Reads what was opened last.
    pub fn read(&mut self, place: &impl Place, opened: Opened, out: &mut Vec<u8>) -> Result<(), Error> {
        out.clear();
        out.reserve_exact(usize::try_from(opened.size).unwrap_or_default());
        self.pass(place, opened, &mut |part| {
            out.extend_from_slice(part);
            Ok(())
        })
    }

    /// Reads what was opened last at a place, and remembers it for others that are made of it.
    pub fn keep(&mut self, place: &impl Place, at: Location, opened: Opened) -> Result<Base, Error> {
        if let Last::Base(base) = opened.last {
            return Ok(base);
        }
        let (kind, mut bytes) = (opened.kind, Vec::new());
        self.read(place, opened, &mut bytes)?;
        let bytes = Arc::new(bytes);
        Ok(self.bases.keep(at, Base { kind, bytes }))
    }

    /// The bytes the object at a place has.
    fn size(&mut self, place: &impl Place, at: Location) -> Result<u64, Error> {
        let data = place.data(at.pack).ok_or_else(nowhere)?;
        let entry = self.window.entry(data, at.pack, at.offset, place.kind())?;
        if entry.header.is_base() {
            return Ok(entry.decompressed_size);
        }
        self.window
            .begin(data, at.pack, entry.data_offset, DELTA_HEAD, &mut self.delta)?;
        let (_, size, _) = delta::sizes(&self.delta)?;
        Ok(size)
    }
}

/// An object whose last step is to be done yet.
pub struct Opened {
    /// What it is.
    pub kind: Kind,
    /// How many bytes it has.
    pub size: u64,
    last: Last,
}

/// What the last step begins with.
enum Last {
    /// Itself.
    Base(Base),
    /// This, and the delta at the desk.
    Delta(Base),
    /// What is stored.
    Whole(Stored),
}

/// Something compressed.
#[derive(Clone, Copy)]
struct Stored {
    pack: usize,
    start: u64,
    size: u64,
}

fn within(size: u64, limit: u64) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { size, limit });
    }
    Ok(())
}

fn nowhere() -> Error {
    Error::damaged("an entry is nowhere")
}

/// Where an entry begins that lies so much before another one.
pub fn nearer(offset: u64, distance: u64) -> Result<u64, Error> {
    let base = offset.checked_sub(distance);
    let base = base.filter(|base| distance > 0 && *base >= super::HEADER);
    base.ok_or_else(|| Error::damaged("the base of a delta lies outside of it"))
}

/// An object that others are made of.
#[derive(Clone)]
pub struct Base {
    /// What it is.
    pub kind: Kind,
    /// What it holds.
    pub bytes: Arc<Vec<u8>>,
}

/// The bases used lately, in two heaps: when the younger one is full it becomes the older one, which is forgotten.
#[derive(Default)]
struct Bases {
    young: HashMap<Location, Base>,
    old: HashMap<Location, Base>,
    bytes: usize,
}

impl Bases {
    fn get(&mut self, at: Location) -> Option<Base> {
        if let Some(base) = self.young.get(&at) {
            return Some(base.clone());
        }
        let base = self.old.remove(&at)?;
        Some(self.keep(at, base))
    }

    fn keep(&mut self, at: Location, base: Base) -> Base {
        // What fills a heap on its own is no help.
        let taken = base.bytes.len() + SLOT;
        if taken <= BASES / 2 {
            if self.bytes + taken > BASES / 2 {
                self.old = std::mem::take(&mut self.young);
                self.bytes = 0;
            }
            self.bytes += taken;
            self.young.insert(at, base.clone());
        }
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bases of so many bytes are remembered of a great many.
    fn check(size: usize, expected: usize) {
        let mut bases = Bases::default();
        for offset in 0..3 * BASES as u64 / (size + SLOT) as u64 {
            let (kind, bytes) = (Kind::Blob, Arc::new(vec![0; size]));
            bases.keep(Location { pack: 0, offset }, Base { kind, bytes });
        }
        let most = BASES / 2 / (size + SLOT);
        let found = bases.young.len() + bases.old.len();
        assert!(found <= 2 * most && found >= expected, "{size}: {found}");
    }

    #[test]
    fn so_many_bases_are_remembered_that_memory_is_bounded() {
        check(0, 60_000);
        check(1000, 7_000);
        check(1 << 20, 7);
        check(BASES, 0);
    }
}
