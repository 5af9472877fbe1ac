//! Packs of objects, written byte by byte: what git itself would never make, hostile servers send.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// A file's content.
    Blob,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Tree => 2,
            Self::Blob => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
        }
    }
}

/// The number of the kind that is a change of another object in the same pack.
const DELTA: u8 = 6;

/// A pack in the making.
#[derive(Clone, Debug)]
pub struct Pack {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for Pack {
    fn default() -> Self {
        Self {
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            count: 0,
        }
    }
}

impl Pack {
    /// Adds an object; its offset, for changes of it, is given back.
    pub fn add(&mut self, kind: Kind, content: &[u8]) -> Result<usize> {
        self.add_claiming(kind, content.len(), content)
    }

    /// Adds an object that says of itself that it has so many bytes.
    pub fn add_claiming(&mut self, kind: Kind, size: usize, content: &[u8]) -> Result<usize> {
        let offset = self.begin(kind.number(), size);
        self.deflate(content)?;
        Ok(offset)
    }

    /// Adds a change of the object at `base`: the same bytes but for the first four.
    pub fn add_changed(&mut self, base: usize, size: usize, start: [u8; 4]) -> Result<usize> {
        let mut delta = varint(size);
        delta.extend(varint(size));
        delta.push(4);
        delta.extend(start);
        // Copies the rest in pieces as large as can be written.
        let mut at = 4_usize;
        while at < size {
            let length = (size - at).min(0xff_ffff);
            delta.push(0xff);
            delta.extend(u32::try_from(at)?.to_le_bytes());
            delta.extend(&u32::try_from(length)?.to_le_bytes()[..3]);
            at += length;
        }
        let offset = self.begin(DELTA, delta.len());
        let mut distance = offset - base;
        let mut digits = vec![u8::try_from(distance & 0x7f)?];
        distance >>= 7;
        while distance > 0 {
            distance -= 1;
            digits.push(0x80 | u8::try_from(distance & 0x7f)?);
            distance >>= 7;
        }
        self.bytes.extend(digits.iter().rev());
        self.deflate(&delta)?;
        Ok(offset)
    }

    /// The pack, claiming to hold `count` objects or else as many as it does.
    pub fn finish(mut self, count: Option<u32>) -> Vec<u8> {
        let count = count.unwrap_or(self.count).to_be_bytes();
        self.bytes[8..12].copy_from_slice(&count);
        let checksum = Sha1::digest(&self.bytes);
        self.bytes.extend(checksum);
        self.bytes
    }

    fn begin(&mut self, kind: u8, size: usize) -> usize {
        let offset = self.bytes.len();
        self.count += 1;
        let mut rest = size >> 4;
        let first = (kind << 4) | (size & 0xf) as u8;
        self.bytes.push(if rest > 0 { first | 0x80 } else { first });
        while rest > 0 {
            let digit = (rest & 0x7f) as u8;
            rest >>= 7;
            self.bytes.push(if rest > 0 { digit | 0x80 } else { digit });
        }
        offset
    }

    fn deflate(&mut self, content: &[u8]) -> Result<()> {
        let mut encoder = ZlibEncoder::new(&mut self.bytes, Compression::fast());
        encoder.write_all(content)?;
        encoder.finish()?;
        Ok(())
    }
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let digit = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(digit);
            return bytes;
        }
        bytes.push(digit | 0x80);
    }
}

/// The id of an object, as text.
pub fn id(kind: Kind, content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("{} {}\0", kind.name(), content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A commit with one file, `a`, as the beginning of a pack, and its id.
pub fn commit(file: &[u8]) -> Result<(Pack, String)> {
    let mut pack = Pack::default();
    pack.add(Kind::Blob, file)?;
    let mut tree = b"100644 a\0".to_vec();
    let blob = id(Kind::Blob, file);
    for at in (0..blob.len()).step_by(2) {
        tree.push(u8::from_str_radix(&blob[at..at + 2], 16)?);
    }
    pack.add(Kind::Tree, &tree)?;
    let who = "Somebody <somebody@git.test> 1700000000 +0000";
    let text = format!("tree {}\nauthor {who}\ncommitter {who}\n\none\n", id(Kind::Tree, &tree));
    pack.add(Kind::Commit, text.as_bytes())?;
    Ok((pack, id(Kind::Commit, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn git_reads_what_is_written() -> Result<()> {
        let (mut pack, commit) = commit(b"1")?;
        let size = 0x2_0000;
        let base = pack.add(Kind::Blob, &vec![0; size])?;
        let changed = pack.add_changed(base, size, *b"once")?;
        pack.add_changed(changed, size, *b"more")?;
        let directory = tempfile::tempdir()?;
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.args(arguments).current_dir(directory.path());
            command
        };
        assert!(git(&["init", "--quiet", "--bare", "."]).status()?.success());
        let mut child = git(&["unpack-objects", "--strict"]).stdin(Stdio::piped()).spawn()?;
        child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(&pack.finish(None)))
            .transpose()?;
        assert!(child.wait()?.success());
        let mut content = b"more".to_vec();
        content.resize(size, 0);
        for id in [commit, id(Kind::Blob, &content)] {
            assert!(git(&["cat-file", "-e", &id]).status()?.success(), "{id}");
        }
        Ok(())
    }
}
