//! The bytes of a pack, a window at a time.

use std::fs::File;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};
use gix::hash::Kind;
use gix::odb::pack::data::Entry;

use super::Error;

/// How much is read from disk at first. Most objects fit.
const GLANCE: usize = 4 * 1024;
/// How much is read where that was not enough.
const WINDOW: usize = 32 * 1024;
/// No entry's head is longer: its size, and the name or the distance of a base.
const HEAD: usize = 64;
/// How much is inflated at a time.
const PIECE: usize = 64 * 1024;

/// Takes content a piece at a time.
pub type Take<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// A file with entries.
#[derive(Debug)]
pub struct Data {
    file: File,
    /// Where the last entry ends.
    end: u64,
}

impl Data {
    /// The entries of a pack end at `end`.
    pub fn new(file: File, end: u64) -> Self {
        Self { file, end }
    }

    /// Where the last entry ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Reads from a place into the whole buffer.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        Ok(self.file.read_exact_at(buffer, at)?)
    }
}

/// What was read last, and the means to take it apart. One serves all packs, one after the other.
pub struct Window {
    held: Held,
    inflate: Decompress,
    piece: Vec<u8>,
}

impl Window {
    /// Nothing was read yet.
    pub fn new() -> Self {
        let held = Held {
            bytes: Vec::new(),
            pack: 0,
            start: u64::MAX,
        };
        Self {
            held,
            inflate: Decompress::new(true),
            piece: Vec::new(),
        }
    }

    /// The head of the entry at a place.
    pub fn entry(&mut self, data: &Data, pack: usize, at: u64, kind: Kind) -> Result<Entry, Error> {
        let bytes = self.held.look(data, pack, at)?;
        Entry::from_bytes(bytes, at, kind).map_err(|error| Error::damaged(error.to_string()))
    }

    /// Passes on what is compressed from a place on, all of its `size` bytes.
    pub fn pass(&mut self, data: &Data, pack: usize, mut at: u64, size: u64, take: &mut Take<'_>) -> Result<(), Error> {
        self.piece.resize(PIECE, 0);
        self.inflate.reset(true);
        let mut left = size;
        loop {
            let (made, is_end) = step(
                &mut self.held,
                &mut self.inflate,
                (data, pack),
                &mut at,
                &mut self.piece,
            )?;
            left = left.checked_sub(made as u64).ok_or_else(broken)?;
            take(self.piece.get(..made).unwrap_or_default())?;
            match is_end {
                true if left == 0 => return Ok(()),
                true => return Err(broken()),
                false => {}
            }
        }
    }

    /// The first `most` bytes of what is compressed from a place on, or as many as there are.
    pub fn begin(
        &mut self,
        data: &Data,
        pack: usize,
        mut at: u64,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.clear();
        out.resize(most, 0);
        self.inflate.reset(true);
        let (mut made, mut is_end) = (0, false);
        while made < most && !is_end {
            let room = out.get_mut(made..).unwrap_or_default();
            let (more, end) = step(&mut self.held, &mut self.inflate, (data, pack), &mut at, room)?;
            (made, is_end) = (made + more, end);
        }
        out.truncate(made);
        Ok(())
    }
}

/// Inflates some more of a pack into the room there is: how many bytes, and whether they are the last.
fn step(
    held: &mut Held,
    inflate: &mut Decompress,
    (data, pack): (&Data, usize),
    at: &mut u64,
    room: &mut [u8],
) -> Result<(usize, bool), Error> {
    let input = held.look(data, pack, *at)?;
    let (taken, made) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, room, FlushDecompress::None);
    let (taken, made) = (inflate.total_in() - taken, inflate.total_out() - made);
    *at += taken;
    let is_end = match status.map_err(|_| broken())? {
        Status::StreamEnd => true,
        Status::Ok | Status::BufError if taken > 0 || made > 0 => false,
        Status::Ok | Status::BufError => return Err(broken()),
    };
    Ok((usize::try_from(made).map_err(|_| broken())?, is_end))
}

fn broken() -> Error {
    Error::damaged("an entry does not have the size it says")
}

/// The part of a pack that was read last.
struct Held {
    bytes: Vec<u8>,
    pack: usize,
    start: u64,
}

impl Held {
    /// The bytes from a place on; more than a head has, unless the pack ends before.
    fn look(&mut self, data: &Data, pack: usize, at: u64) -> Result<&[u8], Error> {
        let skip = match self.skip(data, pack, at) {
            Some(skip) => skip,
            None => {
                let left = data.end.checked_sub(at).filter(|left| *left > 0);
                let left = left.ok_or_else(|| Error::damaged("an entry lies behind its end"))?;
                let most = if self.goes_on(pack, at) { WINDOW } else { GLANCE };
                let length = usize::try_from(left).unwrap_or(most).min(most);
                // What is here counts only once all of it is.
                self.start = u64::MAX;
                self.bytes.resize(length, 0);
                data.read(&mut self.bytes, at)?;
                (self.pack, self.start) = (pack, at);
                0
            }
        };
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    /// Whether what is held ends at the place, or so little behind it that it is not enough.
    fn goes_on(&self, pack: usize, at: u64) -> bool {
        let end = self.start.checked_add(self.bytes.len() as u64);
        let rest = end.and_then(|end| end.checked_sub(at));
        pack == self.pack && rest.is_some_and(|rest| rest < HEAD as u64)
    }

    /// Where the place is in what is held, if enough of it is.
    fn skip(&self, data: &Data, pack: usize, at: u64) -> Option<usize> {
        if pack != self.pack {
            return None;
        }
        let skip = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let end = self.start.checked_add(self.bytes.len() as u64)?;
        let is_enough = skip.saturating_add(HEAD) <= self.bytes.len();
        (is_enough || (end >= data.end && skip < self.bytes.len())).then_some(skip)
    }
}
