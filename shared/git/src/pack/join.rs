//! Many small packs made one, byte by byte: entries are copied as they are, in their order, so that distances between them stay
//! what they were and nothing is compressed or resolved again.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use gix::hash::Kind;

use super::index::{self, Entry};
use super::receive::{INCOMING, settle};
use super::{Error, HEADER, Pack, Sum, path};

const CHUNK: usize = 64 * 1024;

/// Puts what neighbouring packs hold, the oldest first, into one, as number `number` of the directory. It can take their place.
///
/// # Errors
/// They cannot be read, or the disk does not take it. Nothing is left behind.
pub fn join(packs: &[Arc<Pack>], directory: &Path, number: u32, kind: Kind) -> Result<Arc<Pack>, Error> {
    let mut count = 0u32;
    for pack in packs {
        let mut told = [0; 4];
        pack.data.read(&mut told, 8)?;
        let more = count.checked_add(u32::from_be_bytes(told));
        count = more.ok_or_else(|| Error::damaged("there are too many objects"))?;
    }
    let mut file = tempfile::Builder::new().prefix(INCOMING).tempfile_in(directory)?;
    let mut out = BufWriter::with_capacity(CHUNK, file.as_file_mut());
    let mut sum = Sum::new(kind);
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        out.write_all(bytes)
    };
    put(b"PACK\0\0\0\x02")?;
    put(&count.to_be_bytes())?;
    let mut written = HEADER;
    let (mut entries, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    for pack in packs {
        // Of objects with the same name the first one counts, as it did before.
        entries.extend(pack.index.0.iter().map(|entry| Entry {
            id: entry.oid,
            offset: entry.pack_offset - HEADER + written,
            crc: entry.crc32.unwrap_or_default(),
        }));
        let mut at = HEADER;
        while at < pack.data.end() {
            let length = usize::try_from(pack.data.end() - at).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..length).unwrap_or_default();
            pack.data.read(part, at)?;
            put(part)?;
            at += length as u64;
        }
        written += pack.data.end() - HEADER;
    }
    let sum = sum.finish();
    out.write_all(&sum)?;
    out.flush()?;
    drop(out);
    let mut index = tempfile::Builder::new().prefix(INCOMING).tempfile_in(directory)?;
    index::write(entries, &sum, kind, index.as_file_mut())?;
    settle(index, &path(directory, number, "idx"))?;
    settle(file, &path(directory, number, "pack"))?;
    Pack::open(directory, number, kind).map(Arc::new)
}
