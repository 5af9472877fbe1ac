//! The index of a pack, in git's format, version 2.

use std::io::{self, Write};

use gix::ObjectId;
use gix::hash::Kind;

use super::Sum;

/// Offsets from here on do not fit into the first table.
const FAR: u64 = 1 << 31;

/// An object of a pack.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub id: ObjectId,
    /// Where it begins.
    pub offset: u64,
    /// The checksum of its bytes in the pack.
    pub crc: u32,
}

/// Writes the index for a pack that ends with the hash `pack`. Of entries with the same name the first counts.
pub fn write(mut entries: Vec<Entry>, pack: &[u8], kind: Kind, out: impl Write) -> io::Result<()> {
    // A stable sort: the first stays the first.
    entries.sort_by_key(|entry| entry.id);
    entries.dedup_by_key(|entry| entry.id);
    let mut out = Summed {
        inner: io::BufWriter::with_capacity(64 * 1024, out),
        sum: Sum::new(kind),
    };
    out.write_all(b"\xfftOc")?;
    out.write_all(&2u32.to_be_bytes())?;
    let mut below = 0u32;
    let mut rest = entries.iter().peekable();
    for first in 0..=u8::MAX {
        while rest.next_if(|entry| entry.id.first_byte() <= first).is_some() {
            below += 1;
        }
        out.write_all(&below.to_be_bytes())?;
    }
    for entry in &entries {
        out.write_all(entry.id.as_slice())?;
    }
    for entry in &entries {
        out.write_all(&entry.crc.to_be_bytes())?;
    }
    let mut far: Vec<u64> = Vec::new();
    for entry in &entries {
        let near = u32::try_from(entry.offset).ok().filter(|_| entry.offset < FAR);
        let value = near.unwrap_or_else(|| {
            far.push(entry.offset);
            (1 << 31) | u32::try_from(far.len() - 1).unwrap_or_default()
        });
        out.write_all(&value.to_be_bytes())?;
    }
    for offset in far {
        out.write_all(&offset.to_be_bytes())?;
    }
    out.write_all(pack)?;
    let Summed { mut inner, sum } = out;
    inner.write_all(&sum.finish())?;
    inner.flush()
}

/// Writes and hashes.
struct Summed<W> {
    inner: W,
    sum: Sum,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
