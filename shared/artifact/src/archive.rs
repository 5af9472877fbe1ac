//! Writes a tree as a deterministic `tar.gz` and computes its digest while the bytes pass.
//!
//! The tar is byte for byte what Flux writes for the same tree: USTAR headers, owner 0:0 without names, modification time 0,
//! mode 0750 for directories, 0600 for files and 0700 for executable ones, directory names without a trailing slash, PAX
//! records only for names that USTAR cannot hold, two zero blocks at the end and no padding beyond. The gzip stream
//! comes from a fixed compressor by fixed rules: the same tree has the same digest on
//! every run, which is what consumers rely on. (It differs from the digest Flux would compute, because Go's compressor cuts
//! its blocks elsewhere; nobody compares the two.)
//!
//! The caller chooses what goes in and in which order. Links and devices cannot be written.

use std::io::{self, Write};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::gzip::Gzip;

const BLOCK: usize = 512;
const NAME_SIZE: usize = 100;
const PREFIX_SIZE: usize = 155;
/// The largest size that fits the header's eleven octal digits.
const USTAR_MAX_SIZE: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File { executable: bool },
    PaxHeader,
}

impl Kind {
    fn mode(self) -> u64 {
        match self {
            Self::Directory => 0o750,
            Self::File { executable: true } => 0o700,
            Self::File { executable: false } => 0o600,
            Self::PaxHeader => 0,
        }
    }

    fn flag(self) -> u8 {
        match self {
            Self::Directory => b'5',
            Self::File { .. } => b'0',
            Self::PaxHeader => b'x',
        }
    }
}

/// An archive being written. Names are bytes, because Git's are.
pub struct Archive<W: Write> {
    gzip: Gzip<Measured<W>>,
}

/// What was written.
#[derive(Debug)]
pub struct Written<W> {
    /// The digest of the compressed bytes.
    pub digest: Digest,
    /// How many compressed bytes there are.
    pub size: u64,
    /// The writer that received them; not yet flushed to any disk.
    pub writer: W,
}

impl<W: Write> Archive<W> {
    /// Starts an archive on `writer`, to be named by a digest of `algorithm`.
    pub fn new(writer: W, algorithm: Algorithm) -> Self {
        let measured = Measured {
            writer,
            hasher: algorithm.hasher(),
            size: 0,
        };
        Self {
            gzip: Gzip::new(measured),
        }
    }

    /// Adds a directory. The root of a tree is `.`; other names carry no trailing slash.
    pub fn directory(&mut self, name: &[u8]) -> io::Result<()> {
        self.entry(name, Kind::Directory, 0)
    }

    /// Adds a file of exactly `size` bytes, which `write` writes; fewer or more are an error.
    pub fn file<E: From<io::Error>>(
        &mut self,
        name: &[u8],
        executable: bool,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.entry(name, Kind::File { executable }, size)?;
        let mut content = Content {
            gzip: &mut self.gzip,
            name,
            size,
            left: size,
        };
        write(&mut content)?;
        content.finish()?;
        Ok(self.pad(size)?)
    }

    /// Writes the trailer and hands back the digest, the size and the writer.
    pub fn finish(mut self) -> io::Result<Written<W>> {
        self.gzip.write_all(&[0; 2 * BLOCK])?;
        let Measured { writer, hasher, size } = self.gzip.finish()?;
        Ok(Written {
            digest: hasher.finish(),
            size,
            writer,
        })
    }

    fn entry(&mut self, name: &[u8], kind: Kind, size: u64) -> io::Result<()> {
        if name.is_empty() || name.contains(&0) {
            let message = format!("'{}' cannot be an archive member's name", String::from_utf8_lossy(name));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if let Some(place) = place(name)
            && size <= USTAR_MAX_SIZE
        {
            return self.gzip.write_all(&header(place, kind, size));
        }
        let mut records = Vec::new();
        if place(name).is_none() {
            records.extend(record("path", name));
        }
        if size > USTAR_MAX_SIZE {
            records.extend(record("size", size.to_string().as_bytes()));
        }
        let pax = pax_name(name);
        self.gzip.write_all(&header(
            Place {
                prefix: b"",
                name: &pax,
            },
            Kind::PaxHeader,
            records.len() as u64,
        ))?;
        self.gzip.write_all(&records)?;
        self.pad(records.len() as u64)?;
        let ascii = ascii_only(name);
        let size = if size > USTAR_MAX_SIZE { 0 } else { size };
        self.gzip.write_all(&header(
            Place {
                prefix: b"",
                name: &ascii,
            },
            kind,
            size,
        ))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 {
            Ok(())
        } else {
            self.gzip.write_all(&[0; BLOCK][rest..])
        }
    }
}

/// The content of a file being written.
struct Content<'a, W: Write> {
    gzip: &'a mut W,
    name: &'a [u8],
    size: u64,
    left: u64,
}

impl<W: Write> Content<'_, W> {
    fn finish(self) -> io::Result<()> {
        let Self { name, size, left, .. } = self;
        if left == 0 {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name);
        let message = format!("'{name}' ended after {} of {size} bytes", size - left);
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }
}

impl<W: Write> Write for Content<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            let name = String::from_utf8_lossy(self.name);
            return Err(io::Error::other(format!("'{name}' has more than {} bytes", self.size)));
        };
        self.gzip.write_all(bytes)?;
        self.left = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gzip.flush()
    }
}

/// Where a name goes in a USTAR header.
#[derive(Clone, Copy)]
struct Place<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
}

/// Splits a name over the two fields; `None` when only a PAX record can hold it.
fn place(name: &[u8]) -> Option<Place<'_>> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME_SIZE {
        return Some(Place { prefix: b"", name });
    }
    let window = &name[..name.len().min(PREFIX_SIZE + 1)];
    let slash = window.iter().rposition(|&b| b == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    let fits = slash > 0 && prefix.len() <= PREFIX_SIZE && !rest.is_empty() && rest.len() <= NAME_SIZE;
    fits.then_some(Place { prefix, name: rest })
}

fn header(place: Place<'_>, kind: Kind, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    text(&mut block[0..100], place.name);
    octal(&mut block[100..108], kind.mode());
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], 0);
    block[156] = kind.flag();
    block[257..265].copy_from_slice(b"ustar\x0000");
    if kind != Kind::PaxHeader {
        octal(&mut block[329..337], 0);
        octal(&mut block[337..345], 0);
    }
    text(&mut block[345..500], place.prefix);
    // The checksum is taken with its own field blank; six digits, NUL, space is how it is then written.
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// Copies as much as fits; a text that is cut must not end in a slash, or old readers take the file for a directory.
fn text(field: &mut [u8], value: &[u8]) {
    if value.len() <= field.len() {
        field[..value.len()].copy_from_slice(value);
    } else {
        let cut = value[..field.len()].without_trailing_slashes();
        field[..cut.len()].copy_from_slice(cut);
    }
}

trait TrimSlash {
    fn without_trailing_slashes(&self) -> &[u8];
}

impl TrimSlash for [u8] {
    fn without_trailing_slashes(&self) -> &[u8] {
        let end = self.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// Octal digits with leading zeros that leave room for one NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
    field[digits.len()] = 0;
}

/// A PAX record is preceded by its own length, digits of the length included.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut total = body + body.to_string().len();
    if body + total.to_string().len() != total {
        total = body + total.to_string().len();
    }
    let mut record = format!("{total} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// The name of the member that holds the PAX records of `name`.
fn pax_name(name: &[u8]) -> Vec<u8> {
    let (dir, file) = match name.iter().rposition(|&b| b == b'/') {
        Some(slash) => name.split_at(slash + 1),
        None => (&b""[..], name),
    };
    let full = ascii_only(&[dir, b"PaxHeaders.0/", file].concat());
    full[..full.len().min(NAME_SIZE)].without_trailing_slashes().to_vec()
}

fn ascii_only(name: &[u8]) -> Vec<u8> {
    name.iter().copied().filter(u8::is_ascii).collect()
}

/// Passes bytes on, hashing and counting what the inner writer took.
struct Measured<W> {
    writer: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..taken]);
        self.size += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    enum Member<'a> {
        Dir(&'a str),
        File(&'a str, &'a str),
        Exec(&'a str, &'a str),
    }
    use Member::{Dir, Exec, File};

    fn write(members: &[Member<'_>]) -> Written<Vec<u8>> {
        let mut archive = Archive::new(Vec::new(), Algorithm::Sha256);
        for member in members {
            let (name, text, executable) = match member {
                Dir(name) => {
                    archive.directory(name.as_bytes()).unwrap();
                    continue;
                }
                File(name, text) => (name, text.as_bytes(), false),
                Exec(name, text) => (name, text.as_bytes(), true),
            };
            let added = archive.file(name.as_bytes(), executable, text.len() as u64, |out| {
                out.write_all(text)
            });
            added.unwrap();
        }
        archive.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut tar).unwrap();
        tar
    }

    /// What an independent reader finds: mode, type, name and content of every member.
    fn check(members: &[Member<'_>], expected: &[&str]) {
        let tar = gunzip(&write(members).writer);
        let mut found = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let header = entry.header();
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
                (0, 0, 0)
            );
            let kind = char::from(header.entry_type().as_byte());
            found.push(format!("{kind} {:o} {name} {content}", header.mode().unwrap()));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn members_read_back_with_the_modes_of_flux() {
        check(
            &[Dir("."), File("a.yaml", "a: 1\n"), Dir("bin"), Exec("bin/run", "x")],
            &["5 750 . ", "0 600 a.yaml a: 1\n", "5 750 bin ", "0 700 bin/run x"],
        );
    }

    #[test]
    fn long_and_foreign_names_read_back() {
        let deep = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let long = format!("{}/x", "n".repeat(200));
        check(
            &[File(&deep, "1"), File(&long, "2"), File("grün/ö.txt", "3")],
            &[
                &format!("0 600 {deep} 1"),
                &format!("0 600 {long} 2"),
                "0 600 grün/ö.txt 3",
            ],
        );
        let tar = gunzip(&write(&[File(&deep, "")]).writer);
        assert_eq!(tar[156], b'0', "a name that can be split needs no PAX record");
    }

    #[test]
    fn a_header_is_the_bytes_flux_writes() {
        let tar = gunzip(&write(&[Dir(".")]).writer);
        assert_eq!(tar.len(), 3 * 512, "one header and two zero blocks, no padding");
        let mut expected = vec![b'.'];
        expected.resize(100, 0);
        expected.extend(b"0000750\x000000000\x000000000\x0000000000000\x0000000000000\x00");
        let sum = 256
            + 46
            + 4 * 0x30
            + 0x37
            + 0x35
            + 0x30
            + 14 * 0x30
            + 22 * 0x30
            + 0x35
            + "ustar".bytes().map(u32::from).sum::<u32>()
            + 2 * 0x30
            + 14 * 0x30;
        expected.extend(format!("{sum:06o}\0 5").bytes());
        expected.resize(257, 0);
        expected.extend(b"ustar\x0000");
        expected.resize(329, 0);
        expected.extend(b"0000000\x000000000\x00");
        expected.resize(3 * 512, 0);
        assert!(tar == expected, "{}", String::from_utf8_lossy(&tar[..512]));
    }

    #[test]
    fn the_same_tree_has_the_same_digest_always() {
        let members = [
            Dir("."),
            File("README.md", "hello\n"),
            Dir("deploy"),
            File("deploy/cm.yaml", "kind: ConfigMap\n"),
        ];
        let one = write(&members);
        assert_eq!(one.writer, write(&members).writer);
        assert_eq!(one.digest, Digest::of(Algorithm::Sha256, &one.writer));
        assert_eq!(one.size, one.writer.len() as u64);
        assert_eq!(&one.writer[..10], b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff");
        // Changes only with the compressor or its level: every stored artifact then gets a new digest. Do it knowingly.
        assert_eq!(
            one.digest.to_string(),
            "sha256:c6d0c44e7d0da6470e7b5dddfa91c99b9e9e1bf95bfc10a7e64cf281da95cffc"
        );
    }

    #[test]
    fn a_file_of_another_size_than_promised_and_a_name_that_cannot_be_are_refused() {
        let mut archive = Archive::new(Vec::new(), Algorithm::Sha256);
        for (text, message) in [
            ("x", "'a' ended after 1 of 3 bytes"),
            ("wxyz", "'a' has more than 3 bytes"),
        ] {
            let added = archive.file(b"a", false, 3, |out| out.write_all(text.as_bytes()));
            assert_eq!(added.unwrap_err().to_string(), message);
        }
        assert!(archive.directory(b"").is_err());
        assert!(archive.directory(b"a\0b").is_err());
    }

    #[test]
    fn a_pax_record_counts_its_own_length() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        assert_eq!(record("path", b"xx"), b"11 path=xx\n");
        assert_eq!(record("path", &[b'x'; 90]).len(), 99);
        assert_eq!(record("path", &[b'x'; 91]).len(), 101);
    }
}
