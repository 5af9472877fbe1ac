//! Packs made by hand, as nobody but an attacker makes them, and packs made by git.

#![expect(clippy::disallowed_types, reason = "asks the real git")]

use std::cell::Cell;
use std::io::{Cursor, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::hash::Kind;

use super::receive::receive_within;
use super::*;
use crate::memory::Meter;
use writer::{Writer, varint};

#[path = "../../fuzz/src/writer.rs"]
mod writer;

const LIMIT: u64 = 1000;
/// The number of the kind of objects that are the content of a file.
const BLOB: u8 = 3;

/// An entry of a pack made by hand.
enum Made<'a> {
    Blob(&'a [u8]),
    /// A delta to an entry so many entries before.
    Back(usize, &'a [u8]),
    /// A delta to an object by name.
    Named(ObjectId, &'a [u8]),
    /// A blob that says it has another size.
    Lying(u64, &'a [u8]),
    /// Bytes as they are.
    Raw(&'a [u8]),
}

fn blob(content: &[u8]) -> ObjectId {
    gix::objs::compute_hash(Kind::Sha1, gix::objs::Kind::Blob, content).unwrap()
}

/// A pack of these entries.
fn pack(entries: &[Made<'_>]) -> Vec<u8> {
    let mut out = Writer::default();
    let mut starts = Vec::new();
    for entry in entries {
        let here = out.place();
        starts.push(here);
        let written = match *entry {
            Made::Blob(content) => out.object(BLOB, content.len() as u64, content),
            Made::Lying(size, content) => out.object(BLOB, size, content),
            Made::Back(back, delta) => {
                let distance = here - starts[starts.len() - 1 - back];
                out.change_of_place(distance as u64, delta)
            }
            Made::Named(id, delta) => out.change_of_name(id.as_slice(), delta),
            Made::Raw(bytes) => {
                out.raw(bytes);
                Ok(())
            }
        };
        written.unwrap();
    }
    let count = out.count();
    out.finish(count, |bytes| {
        let mut sum = Sum::new(Kind::Sha1);
        sum.update(bytes);
        sum.finish()
    })
}

/// A directory that takes packs.
struct Shelf {
    directory: tempfile::TempDir,
    packs: Packs,
}

impl Shelf {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            packs: Packs::new(Vec::new(), Kind::Sha1, LIMIT),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Option<Arc<Pack>>, Error> {
        let number = self.packs.list().len() as u32 + 1;
        let stop = AtomicBool::new(false);
        let mut stream = Cursor::new(bytes);
        let pack = receive(&mut stream, self.directory.path(), number, &self.packs, &stop)?;
        self.packs = self.packs.with(pack.clone());
        Ok(pack)
    }

    fn read(&self, id: ObjectId) -> Result<Vec<u8>, String> {
        let packs = Arc::new(self.packs.with(None));
        let (mut reader, mut out) = (Reader::new(packs), Vec::new());
        let size = reader.size(&id).map_err(|error| error.to_string())?;
        let kind = reader.object(&id, &mut out).map_err(|error| error.to_string())?;
        assert_eq!((kind, size), (gix::objs::Kind::Blob, out.len() as u64));
        assert_eq!(passed(&mut reader, &id), (kind, out.clone()));
        Ok(out)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.directory.path()).unwrap().count()
    }
}

/// What comes out of a reader piece by piece.
fn passed(reader: &mut Reader, id: &ObjectId) -> (gix::objs::Kind, Vec<u8>) {
    let mut out = Vec::new();
    let kind = reader.blob(id, &mut |part| {
        out.extend_from_slice(part);
        Ok(())
    });
    (kind.unwrap(), out)
}

/// What is said about a pack that is refused; nothing of it stays.
fn check(entries: &[Made<'_>], expected: &str) {
    refused(&pack(entries), expected);
}

fn refused(bytes: &[u8], expected: &str) {
    let mut shelf = Shelf::new();
    let found = shelf.take(bytes).map(|_| ()).unwrap_err().to_string();
    assert!(found.contains(expected), "{found}\ninstead of\n{expected}");
    assert_eq!(shelf.files(), 0);
}

#[test]
fn deltas_are_resolved_wherever_their_base_is() {
    let (base, longer, longest) = (b"0123456789", b"0123456789ab", b"0123456789abc");
    // Copies ten bytes and adds two; copies twelve and adds one.
    let (one, two): (&[u8], &[u8]) = (&[10, 12, 0x90, 10, 2, b'a', b'b'], &[12, 13, 0x90, 12, 1, b'c']);
    let orders: [&[Made<'_>]; 4] = [
        &[Made::Blob(base), Made::Back(1, one), Made::Back(1, two)],
        &[
            Made::Named(blob(longer), two),
            Made::Named(blob(base), one),
            Made::Blob(base),
        ],
        &[Made::Named(blob(base), one), Made::Back(1, two), Made::Blob(base)],
        &[
            Made::Blob(b"x"),
            Made::Blob(base),
            Made::Named(blob(base), one),
            Made::Named(blob(longer), two),
        ],
    ];
    for (n, order) in orders.iter().enumerate() {
        let mut shelf = Shelf::new();
        shelf.take(&pack(order)).unwrap();
        for content in [&base[..], longer, longest] {
            assert_eq!(shelf.read(blob(content)).as_deref(), Ok(content), "{n}");
        }
        assert_eq!(shelf.files(), 2);
    }
    // In packs one after the other.
    let mut shelf = Shelf::new();
    for entries in [
        [Made::Blob(base)],
        [Made::Named(blob(base), one)],
        [Made::Named(blob(longer), two)],
    ] {
        shelf.take(&pack(&entries)).unwrap();
    }
    assert_eq!(shelf.read(blob(longest)).as_deref(), Ok(&longest[..]));
    // And in one that was made of them.
    let (first, rest) = shelf.packs.list().split_first().unwrap();
    let joined = join(rest, shelf.directory.path(), 9, Kind::Sha1).unwrap();
    shelf.packs = Packs::new(vec![Arc::clone(first), joined], Kind::Sha1, LIMIT);
    for content in [&base[..], longer, longest] {
        assert_eq!(shelf.read(blob(content)).as_deref(), Ok(content));
    }
    assert_eq!(
        shelf.read(blob(b"x")),
        Err(format!("the object {} is missing", blob(b"x")))
    );
}

#[test]
fn objects_made_of_each_other_lead_nobody_in_a_circle() {
    let (one, other) = (b"0123456789", b"9876543210");
    let to_other: &[u8] = &[10, 10, 10, b'9', b'8', b'7', b'6', b'5', b'4', b'3', b'2', b'1', b'0'];
    let to_one: &[u8] = &[10, 10, 10, b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8', b'9'];
    // Each is made of the other, but one of them is there as well.
    let circle = [Made::Named(blob(other), to_one), Made::Named(blob(one), to_other)];
    check(&circle, "the bases of 2 deltas are missing");
    let [a, b] = circle;
    let mut shelf = Shelf::new();
    shelf.take(&pack(&[a, b, Made::Blob(one)])).unwrap();
    assert_eq!(shelf.read(blob(other)).as_deref(), Ok(&other[..]));
    assert_eq!(shelf.read(blob(one)).as_deref(), Ok(&one[..]));
    // The same over two packs.
    let mut shelf = Shelf::new();
    shelf.take(&pack(&[Made::Blob(one)])).unwrap();
    let circle = [Made::Named(blob(other), to_one), Made::Named(blob(one), to_other)];
    shelf.take(&pack(&circle)).unwrap();
    assert_eq!(shelf.read(blob(other)).as_deref(), Ok(&other[..]));
    assert_eq!(shelf.read(blob(one)).as_deref(), Ok(&one[..]));
}

#[test]
fn what_is_no_pack_is_refused() {
    refused(b"", "failed to fill whole buffer");
    refused(b"PACK\0\0\0\x07\0\0\0\x01", "it does not begin as packs do");
    refused(b"PUCK\0\0\0\x02\0\0\0\x01", "it does not begin as packs do");
    refused(b"PACK\0\0\0\x02\xff\xff\xff\xff", "objects, more than");
    let whole = pack(&[Made::Blob(b"one"), Made::Blob(b"two")]);
    for end in 0..whole.len() {
        assert!(Shelf::new().take(&whole[..end]).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        assert!(Shelf::new().take(&bytes).is_err(), "{at}");
    }
}

#[test]
fn bombs_are_refused() {
    check(&[Made::Blob(&[0; 1001])], "an object has 1001 bytes, more than 1000");
    check(&[Made::Lying(u64::MAX >> 4, b"x")], "more than 1000");
    check(&[Made::Lying(10, b"x")], "does not have the size it says");
    check(&[Made::Lying(1, &[0; 900])], "does not have the size it says");
    // A small delta that makes much of little.
    let large = &[&[10][..], &varint(1001), &[0x90, 10]].concat();
    check(
        &[Made::Blob(b"0123456789"), Made::Back(1, large)],
        "an object has 1001 bytes, more than 1000",
    );
    check(&[Made::Back(0, b"x")], "the base of a delta lies outside of it");
    check(
        &[Made::Blob(b"x"), Made::Named(blob(b"y"), b"x")],
        "the bases of 1 deltas are missing",
    );
    check(&[Made::Raw(b"\x50")], "Object type 5 is unsupported");
    check(&[Made::Raw(b"\x31no zlib")], "cannot be inflated");
}

#[test]
fn what_takes_too_much_memory_is_given_up() {
    thread_local!(static LOOKS: Cell<usize> = const { Cell::new(0) });
    let memory = || {
        LOOKS.set(LOOKS.get() - 1);
        Some(if LOOKS.get() == 0 { 51 } else { 0 })
    };
    let same: &[u8] = &[10, 10, 0x90, 10];
    let bytes = pack(&[Made::Blob(b"0123456789"), Made::Back(1, same), Made::Back(1, same)]);
    // One look at the beginning, three while they come, two while they are made of each other.
    for (look, is_last) in [(2, false), (4, false), (5, false), (6, false), (7, true)] {
        LOOKS.set(look);
        let (shelf, mut stream, stop) = (Shelf::new(), Cursor::new(&bytes), AtomicBool::new(false));
        let meter = Meter::with(50, 1, memory);
        let found = receive_within(meter, &mut stream, shelf.directory.path(), 1, &shelf.packs, &stop);
        match found {
            Ok(_) => assert!(is_last, "{look}"),
            Err(error) => {
                assert!(matches!(error, Error::Memory(50)), "{look}: {error}");
                assert!(!is_last && shelf.files() == 0, "{look}");
            }
        }
    }
}

#[test]
fn a_long_chain_is_read_and_an_endless_one_is_not() {
    let same: &[u8] = &[10, 10, 0x90, 10];
    let chain = |length: usize| {
        let mut entries = vec![Made::Blob(b"0123456789")];
        entries.extend((0..length).map(|_| Made::Back(1, same)));
        entries
    };
    // All of them have the same content, and the first one counts.
    let mut shelf = Shelf::new();
    shelf.take(&pack(&chain(5000))).unwrap();
    assert_eq!(shelf.read(blob(b"0123456789")).as_deref(), Ok(&b"0123456789"[..]));
}

/// Runs git in a directory.
fn git(directory: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}

#[test]
fn what_git_packs_is_read_and_what_is_indexed_here_git_understands() {
    for format in ["sha1", "sha256"] {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        git(at, &["init", "--quiet", "--object-format", format, "."], b"");
        let mut text = String::new();
        for n in 0..60 {
            text.push_str(&format!("line {n} {}\n", n * n));
            std::fs::write(at.join("grows"), &text).unwrap();
            std::fs::write(at.join(format!("file{n}")), text.repeat(n % 5)).unwrap();
            git(at, &["add", "--all"], b"");
            git(at, &["commit", "--quiet", "--message", "next"], b"");
        }
        let packed = git(at, &["pack-objects", "--all", "--stdout", "--quiet"], b"");
        let kind = if format == "sha1" { Kind::Sha1 } else { Kind::Sha256 };
        let place = tempfile::tempdir().unwrap();
        let nothing = Packs::new(Vec::new(), kind, 1 << 20);
        let stop = AtomicBool::new(false);
        let mut stream = Cursor::new(&packed);
        let pack = receive(&mut stream, place.path(), 1, &nothing, &stop).unwrap().unwrap();
        let packs = Arc::new(nothing.with(Some(pack)));
        let (mut reader, mut content) = (Reader::new(packs), Vec::new());
        let list = git(at, &["cat-file", "--batch-all-objects", "--batch-check"], b"");
        let list = String::from_utf8(list).unwrap();
        assert!(list.lines().count() > 180);
        for line in list.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let id = ObjectId::from_hex(words[0].as_bytes()).unwrap();
            let kind = reader.object(&id, &mut content).unwrap();
            assert_eq!(
                (kind.to_string(), content.len().to_string()),
                (words[1].to_owned(), words[2].to_owned())
            );
            assert_eq!(reader.size(&id).unwrap(), content.len() as u64);
            let expected = if words[1] == "blob" {
                content.clone()
            } else {
                Vec::new()
            };
            assert_eq!(passed(&mut reader, &id), (kind, expected));
            let found = gix::objs::compute_hash(id.kind(), kind, &content).unwrap();
            assert_eq!(found, id);
        }
        let index = path(place.path(), 1, "idx");
        let verify = ["verify-pack", "--object-format", format];
        git(at, &[&verify[..], &[index.to_str().unwrap()]].concat(), b"");
        assert_eq!(
            Pack::check(place.path(), 1, kind).unwrap(),
            Pack::sums(place.path(), 1, kind).unwrap()
        );
    }
}
