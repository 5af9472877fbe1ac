//! Reading objects out of packs.

use std::collections::HashMap;
use std::sync::Arc;

use gix::hash::oid;
use gix::objs::Kind;
use gix::odb::pack::data::entry::Header;

use super::data::{Data, Window};
use super::{Error, Location, Packs, delta};

/// Memory for objects that others are made of: without it long chains of deltas are resolved over and over.
const BASES: usize = 16 << 20;
/// No chain of deltas is longer; git stops at 4095.
const MAX_CHAIN: usize = 10_000;
/// Enough of a delta to know what it makes.
const DELTA_HEAD: u64 = 20;

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
        let at = self.packs.locate(id).ok_or_else(|| Error::Missing(id.to_owned()))?;
        self.desk.object(&*self.packs, at, false, out)
    }

    /// The bytes an object has.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn size(&mut self, id: &oid) -> Result<u64, Error> {
        let at = self.packs.locate(id).ok_or_else(|| Error::Missing(id.to_owned()))?;
        self.desk.size(&*self.packs, at)
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

    /// Reads the object at a place. If others are `wanted` that are made of it, it is remembered.
    pub fn object(&mut self, place: &impl Place, at: Location, wanted: bool, out: &mut Vec<u8>) -> Result<Kind, Error> {
        // From the object down to what is stored whole or was made lately.
        let mut chain = Vec::new();
        let mut here = at;
        let mut base = loop {
            if let Some(base) = self.bases.get(here) {
                break base;
            }
            let data = place.data(here.pack).ok_or_else(nowhere)?;
            let entry = self.window.entry(data, here.pack, here.offset, place.kind())?;
            let limit = place.limit();
            if entry.decompressed_size > limit {
                let size = entry.decompressed_size;
                return Err(Error::TooLarge { size, limit });
            }
            match entry.header {
                Header::OfsDelta { base_distance } => {
                    chain.push((here, entry.data_offset, entry.decompressed_size));
                    here = Location {
                        offset: nearer(here.offset, base_distance)?,
                        ..here
                    };
                }
                Header::RefDelta { base_id } => {
                    chain.push((here, entry.data_offset, entry.decompressed_size));
                    let base = place.base(&base_id, here.pack);
                    here = base.ok_or_else(|| Error::damaged("the base of a delta is missing"))?;
                }
                Header::Commit | Header::Tree | Header::Blob | Header::Tag => {
                    let kind = entry.header.as_kind().ok_or_else(nowhere)?;
                    let (start, size) = (entry.data_offset, entry.decompressed_size);
                    self.window.inflate(data, here.pack, start, size, out)?;
                    if chain.is_empty() && !wanted {
                        return Ok(kind);
                    }
                    let bytes = Arc::new(std::mem::take(out));
                    break self.bases.keep(here, Base { kind, bytes });
                }
            }
            if chain.len() > MAX_CHAIN {
                return Err(Error::damaged("a chain of deltas is too long"));
            }
        };
        // And back up.
        while let Some((here, start, size)) = chain.pop() {
            let data = place.data(here.pack).ok_or_else(nowhere)?;
            self.window.inflate(data, here.pack, start, size, &mut self.delta)?;
            delta::apply(&base.bytes, &self.delta, place.limit(), out)?;
            if chain.is_empty() && !wanted {
                return Ok(base.kind);
            }
            let kind = base.kind;
            let bytes = Arc::new(std::mem::take(out));
            base = self.bases.keep(here, Base { kind, bytes });
        }
        out.clear();
        out.extend_from_slice(&base.bytes);
        Ok(base.kind)
    }

    /// The bytes the object at a place has.
    fn size(&mut self, place: &impl Place, at: Location) -> Result<u64, Error> {
        let data = place.data(at.pack).ok_or_else(nowhere)?;
        let entry = self.window.entry(data, at.pack, at.offset, place.kind())?;
        if entry.header.is_base() {
            return Ok(entry.decompressed_size);
        }
        let most = entry.decompressed_size.min(DELTA_HEAD);
        self.window
            .begin(data, at.pack, entry.data_offset, most, &mut self.delta)?;
        let (_, size, _) = delta::sizes(&self.delta)?;
        Ok(size)
    }
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
struct Base {
    kind: Kind,
    bytes: Arc<Vec<u8>>,
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
        if base.bytes.len() <= BASES / 2 {
            if self.bytes + base.bytes.len() > BASES / 2 {
                self.old = std::mem::take(&mut self.young);
                self.bytes = 0;
            }
            self.bytes += base.bytes.len();
            self.young.insert(at, base.clone());
        }
        base
    }
}
