//! Packs written byte by byte, proper or not. Three use this file, each from its place, because none of them may depend on
//! another: the fuzz targets, the library's own tests, and the harness, whose hostile servers send them.

use std::io::{self, Read};

use flate2::Compression;
use flate2::read::ZlibEncoder;

/// The number of the kind of objects that are a change of what stands so many bytes before.
const CHANGE_OF_PLACE: u8 = 6;
/// The number of the kind of objects that are a change of what has this name.
const CHANGE_OF_NAME: u8 = 7;

/// A pack in the making.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            count: 0,
        }
    }
}

impl Writer {
    /// Where the next entry is going to stand.
    pub fn place(&self) -> usize {
        self.bytes.len()
    }

    /// How many entries there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds an object of a kind, by its number, that says of itself that it has `size` bytes.
    pub fn object(&mut self, kind: u8, size: u64, content: &[u8]) -> io::Result<()> {
        self.begin(kind, size);
        self.deflate(content)
    }

    /// Adds a change of what stands `distance` bytes before.
    pub fn change_of_place(&mut self, distance: u64, delta: &[u8]) -> io::Result<()> {
        self.begin(CHANGE_OF_PLACE, delta.len() as u64);
        let mut rest = distance >> 7;
        let mut digits = vec![low_digit(distance)];
        while rest > 0 {
            rest -= 1;
            digits.push(0x80 | low_digit(rest));
            rest >>= 7;
        }
        self.bytes.extend(digits.iter().rev());
        self.deflate(delta)
    }

    /// Adds a change of what has this name.
    pub fn change_of_name(&mut self, name: &[u8], delta: &[u8]) -> io::Result<()> {
        self.begin(CHANGE_OF_NAME, delta.len() as u64);
        self.bytes.extend(name);
        self.deflate(delta)
    }

    /// Adds bytes as they are, which count as one entry.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.count += 1;
    }

    /// The pack, claiming to hold so many entries, with what `sum` makes of it at its end.
    pub fn finish(mut self, count: u32, sum: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        self.bytes.splice(8..12, count.to_be_bytes());
        let sum = sum(&self.bytes);
        self.bytes.extend(sum);
        self.bytes
    }

    fn begin(&mut self, kind: u8, size: u64) {
        self.count += 1;
        let (first, rest) = ((kind << 4) | (size & 0xf) as u8, size >> 4);
        self.bytes.push(if rest > 0 { first | 0x80 } else { first });
        if rest > 0 {
            self.bytes.extend(varint(rest));
        }
    }

    fn deflate(&mut self, content: &[u8]) -> io::Result<()> {
        let mut encoder = ZlibEncoder::new(content, Compression::fast());
        encoder.read_to_end(&mut self.bytes).map(drop)
    }
}

fn low_digit(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// A number as changes begin with two of: the lowest seven bits first.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(0x80 | low_digit(value));
        value >>= 7;
    }
    bytes.push(low_digit(value));
    bytes
}
