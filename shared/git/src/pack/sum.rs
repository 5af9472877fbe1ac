//! The hash that a pack and an index end with. It tells damage, not who wrote them: collisions are looked for where objects are
//! named, not here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use gix::hash::Kind;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::Error;

const CHUNK: usize = 64 * 1024;

/// A hash under way.
#[derive(Clone)]
pub enum Sum {
    /// For SHA-1 repositories.
    Sha1(Sha1),
    /// For SHA-256 repositories.
    Sha256(Sha256),
}

impl Sum {
    /// Of nothing yet.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sha256 => Self::Sha256(Sha256::new()),
            _ => Self::Sha1(Sha1::new()),
        }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    /// The hash.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(sum) => sum.finalize().to_vec(),
            Self::Sha256(sum) => sum.finalize().to_vec(),
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash that a file ends with, after it was worked out again from the bytes before it.
pub fn of_file(path: &Path, kind: Kind) -> Result<String, Error> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let body = length.checked_sub(kind.len_in_bytes() as u64);
    let mut left = body.ok_or_else(|| Error::damaged("a file is too short"))?;
    let (mut sum, mut buffer) = (Sum::new(kind), vec![0; CHUNK]);
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(CHUNK));
        let part = &mut buffer[..part];
        file.read_exact(part)?;
        sum.update(part);
        left -= part.len() as u64;
    }
    let mut told = Vec::new();
    file.read_to_end(&mut told)?;
    if told != sum.finish() {
        return Err(Error::damaged("a file does not end with its hash"));
    }
    Ok(hex(&told))
}

/// The hash that a file says it has.
pub fn trailer(path: &Path, kind: Kind) -> Result<String, Error> {
    let mut file = File::open(path)?;
    let length = i64::try_from(kind.len_in_bytes()).unwrap_or_default();
    file.seek(SeekFrom::End(-length))?;
    let mut told = Vec::new();
    file.read_to_end(&mut told)?;
    Ok(hex(&told))
}
