//! Reads an artifact back into a directory, trusting nothing in it.
//!
//! What comes in over the network may be hostile: a decompression bomb, a name that climbs out of the directory, a million
//! empty files. Every dimension is therefore bounded by [`Limits`], names are checked by the rules Flux applies, only plain
//! files and directories are created, and all of it happens through a [`Dir`] handle that cannot be left. Symbolic links are
//! skipped, any other kind of member is an error. Of its mode a file keeps whether it may be run; times are not kept.
//!
//! Names are bytes, because Git's are: those that are no text are written as they are, as Flux does.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use flate2::read::GzDecoder;

/// The longest extension header that is read, in bytes: what Go allows.
const MAX_EXTENSION: u64 = 1 << 20;

/// How much an archive may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression, headers included.
    pub bytes: u64,
    /// Members, skipped ones included.
    pub entries: u64,
    /// Components of one path.
    pub depth: usize,
}

impl Default for Limits {
    /// 2 GiB, 500,000 members, 100 levels: far above any tree of manifests, far below a full disk.
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            entries: 500_000,
            depth: 100,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files written.
    pub files: u64,
    /// Directories named by the archive.
    pub directories: u64,
    /// Members left out because they are symbolic links.
    pub skipped: u64,
    /// Bytes of file content written.
    pub bytes: u64,
}

/// Why an archive was not unpacked. What had been written before stays in the directory; it is to be thrown away.
#[derive(Debug, thiserror::Error)]
#[error("failed to extract archive (check whether file size exceeds max download size): {0}")]
pub struct Error(#[from] Cause);

impl Error {
    /// The reason without the common introduction.
    pub fn cause(&self) -> &Cause {
        &self.0
    }
}

/// The reason in an [`Error`].
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The stream does not start like gzip.
    #[error("requires gzip-compressed body: {0}")]
    Gzip(#[source] io::Error),
    /// The tar is damaged or the stream ended early.
    #[error("tar error: {0}")]
    Tar(#[source] io::Error),
    /// A name that is empty, absolute, climbs or holds a backslash.
    #[error("tar contained invalid name error {0:?}")]
    Name(String),
    /// A member that is neither file, directory nor symbolic link.
    #[error("tar file entry {name} contained unsupported file type {kind:?}")]
    Kind {
        /// The member's name.
        name: String,
        /// The type byte of its header.
        kind: char,
    },
    /// More bytes than [`Limits::bytes`].
    #[error("tar is bigger than the max archive size of {0} bytes")]
    Bytes(u64),
    /// More members than [`Limits::entries`].
    #[error("tar holds more than {0} entries")]
    Entries(u64),
    /// A path deeper than [`Limits::depth`].
    #[error("tar file entry {0:?} is nested deeper than {1} directories")]
    Depth(String, usize),
    /// The directory did not take the file.
    #[error("cannot write {0:?}: {1}")]
    Write(String, #[source] io::Error),
}

/// Unpacks the gzip-compressed tar `reader` yields into `dir`.
pub fn unpack(reader: impl Read, dir: &Dir, limits: Limits) -> Result<Unpacked, Error> {
    let mut gzip = GzDecoder::new(reader);
    let mut first = [0; 1];
    // The decoder reads the gzip header on first use: an error here speaks of the compression, a later one of the tar.
    let had = gzip.read(&mut first).map_err(Cause::Gzip)?;
    let inner = io::Cursor::new(first).take(had as u64).chain(gzip);
    let mut archive = tar::Archive::new(Bounded {
        inner,
        left: limits.bytes,
        exceeded: false,
    });
    let result = members(&mut archive, dir, limits);
    // A reader that hit the limit surfaces as some tar error; what the user needs to know is the limit.
    let exceeded = archive.into_inner().exceeded;
    Ok(if exceeded {
        result.map_err(|_| Cause::Bytes(limits.bytes))
    } else {
        result
    }?)
}

fn members<R: Read>(archive: &mut tar::Archive<R>, dir: &Dir, limits: Limits) -> Result<Unpacked, Cause> {
    let mut unpacked = Unpacked::default();
    let mut seen = 0;
    // Raw, because the crate would read an extension header of any size into memory before we see it.
    let mut extended = None;
    for entry in archive.entries().map_err(Cause::Tar)?.raw(true) {
        let mut entry = entry.map_err(Cause::Tar)?;
        seen += 1;
        if seen > limits.entries {
            return Err(Cause::Entries(limits.entries));
        }
        let kind = entry.header().entry_type();
        if kind.is_pax_local_extensions() || kind.is_gnu_longname() {
            extended = extended_name(&mut entry)?.or(extended);
            continue;
        }
        if kind.is_pax_global_extensions() || kind.is_gnu_longlink() {
            continue;
        }
        let name = extended.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if !is_valid(&name) {
            return Err(Cause::Name(shown(&name)));
        }
        // Without slashes at the end.
        let relative = Path::new(OsStr::from_bytes(&name)).components().as_path();
        if relative.components().count() > limits.depth {
            return Err(Cause::Depth(shown(&name), limits.depth));
        }
        let wrote = |error| Cause::Write(shown(&name), error);
        if kind.is_symlink() {
            unpacked.skipped += 1;
        } else if kind.is_dir() {
            dir.create_dir_all(relative).map_err(wrote)?;
            unpacked.directories += 1;
        } else if kind.is_file() {
            if let Some(parent) = relative.parent().filter(|p| !p.as_os_str().is_empty()) {
                dir.create_dir_all(parent).map_err(wrote)?;
            }
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            options.mode(if executable { 0o700 } else { 0o600 });
            let mut file = dir.open_with(relative, &options).map_err(wrote)?;
            unpacked.bytes += copy(&mut entry, &mut file, &name)?;
            unpacked.files += 1;
        } else {
            return Err(Cause::Kind {
                name: shown(&name),
                kind: char::from(kind.as_byte()),
            });
        }
    }
    Ok(unpacked)
}

/// The name in a PAX or GNU extension header, which holds for the member that follows.
fn extended_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<Vec<u8>>, Cause> {
    let bad = |message: &str| Cause::Tar(io::Error::new(io::ErrorKind::InvalidData, message));
    let is_pax = entry.header().entry_type().is_pax_local_extensions();
    let mut content = Vec::new();
    entry
        .take(MAX_EXTENSION + 1)
        .read_to_end(&mut content)
        .map_err(Cause::Tar)?;
    if content.len() as u64 > MAX_EXTENSION {
        return Err(bad("extension header is too long"));
    }
    if !is_pax {
        content.truncate(content.iter().position(|&b| b == 0).unwrap_or(content.len()));
        return Ok(Some(content));
    }
    let (mut name, mut rest) = (None, content.as_slice());
    while !rest.is_empty() {
        let (key, value, behind) = record(rest).ok_or_else(|| bad("malformed extension header"))?;
        rest = behind;
        match key {
            b"path" => name = Some(value.to_vec()),
            // Only written for members beyond 8 GiB, and for sparse files, whose content is not what it seems.
            b"size" => return Err(bad("member is too large")),
            key if key.starts_with(b"GNU.sparse.") => return Err(bad("sparse files are not supported")),
            _ => {}
        }
    }
    Ok(name)
}

/// The first record of a PAX header as key and value, and what follows it. Its length counts: what is in between may hold line
/// breaks (POSIX pax, "pax Extended Header").
fn record(header: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = header.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(header.get(..digits)?).ok()?.parse().ok()?;
    let (record, rest) = header.split_at_checked(length)?;
    let content = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|byte| *byte == b'=')?;
    Some((content.get(..equals)?, content.get(equals + 1..)?, rest))
}

/// Like `io::copy`, but tells a stream that broke from a disk that is full.
fn copy(from: &mut impl Read, to: &mut impl Write, name: &[u8]) -> Result<u64, Cause> {
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                to.write_all(&buffer[..n])
                    .map_err(|error| Cause::Write(shown(name), error))?;
                copied += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Cause::Tar(error)),
        }
    }
}

/// Flux's rule for member names. `.` is the root itself.
fn is_valid(name: &[u8]) -> bool {
    let climbs = name == b".." || name.ends_with(b"/..") || name.windows(3).any(|three| three == b"../");
    !(name.is_empty() || name.starts_with(b"/") || name.contains(&b'\\') || climbs)
}

/// A name as messages show it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Fails once more than `left` bytes were asked for, and remembers that it did.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => {
                self.exceeded = true;
                Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "archive exceeds the size limit",
                ))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "asks the real tar")]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// A tar.gz of raw headers, so that names and types no well-behaved writer accepts can be tried.
    fn tarball(members: &[(&str, u8, &str)]) -> Vec<u8> {
        let members: Vec<_> = members
            .iter()
            .map(|(name, kind, content)| (name.as_bytes(), *kind, *content))
            .collect();
        tarball_of_bytes(&members)
    }

    fn tarball_of_bytes(members: &[(&[u8], u8, &str)]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, kind, content) in members {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_entry_type(tar::EntryType::new(*kind));
            header.set_cksum();
            tar.extend(header.as_bytes());
            tar.extend(content.as_bytes());
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        gzip(&tar)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn list(dir: &Dir, prefix: &str, into: &mut Vec<String>) {
        for entry in dir.entries().unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                into.push(format!("{name}/"));
                list(&entry.open_dir().unwrap(), &format!("{name}/"), into);
            } else {
                let mut content = String::new();
                entry.open().unwrap().read_to_string(&mut content).unwrap();
                into.push(format!("{name} {content}"));
            }
        }
        into.sort();
    }

    const SMALL: Limits = Limits {
        bytes: 64 * 1024,
        entries: 5,
        depth: 3,
    };

    /// Unpacks with small limits; the files found, or the message.
    fn check(archive: &[u8], expected: Result<&[&str], &str>) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("into")).unwrap();
        let dir = Dir::open_ambient_dir(temp.path().join("into"), cap_std::ambient_authority()).unwrap();
        let result = unpack(archive, &dir, SMALL);
        assert_eq!(
            std::fs::read_dir(temp.path()).unwrap().count(),
            1,
            "nothing lands outside"
        );
        match (result, expected) {
            (Ok(_), Ok(expected)) => {
                let mut found = Vec::new();
                list(&dir, "", &mut found);
                assert_eq!(found, expected);
            }
            (Err(error), Err(message)) => {
                let introduction = "failed to extract archive (check whether file size exceeds max download size): ";
                assert_eq!(error.to_string(), format!("{introduction}{message}"));
            }
            (result, expected) => unreachable!("{result:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn files_and_directories_are_written_and_links_skipped() {
        check(
            &tarball(&[
                (".", b'5', ""),
                ("a", b'0', "1"),
                ("d/e/f", b'0', "2"),
                ("l", b'2', ""),
                ("z/", b'5', ""),
            ]),
            Ok(&["a 1", "d/", "d/e/", "d/e/f 2", "z/"]),
        );
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["/etc/x", "../x", "a/../x", "a\\x", ".."] {
            check(
                &tarball(&[(name, b'0', "x")]),
                Err(&format!("tar contained invalid name error {name:?}")),
            );
        }
    }

    #[test]
    fn other_kinds_of_members_are_refused() {
        check(
            &tarball(&[("dev", b'3', "")]),
            Err("tar file entry dev contained unsupported file type '3'"),
        );
        check(
            &tarball(&[("hard", b'1', "")]),
            Err("tar file entry hard contained unsupported file type '1'"),
        );
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let big = "0".repeat(128 * 1024);
        check(
            &tarball(&[("big", b'0', &big)]),
            Err("tar is bigger than the max archive size of 65536 bytes"),
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, b'0', "")).into();
        check(&tarball(&many), Err("tar holds more than 5 entries"));
        check(
            &tarball(&[("a/b/c/d", b'0', "")]),
            Err("tar file entry \"a/b/c/d\" is nested deeper than 3 directories"),
        );
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        check(
            b"plain text, not gzip",
            Err("requires gzip-compressed body: invalid gzip header"),
        );
        let whole = tarball(&[("a", b'0', &"x".repeat(3000))]);
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let error = unpack(&whole[..whole.len() / 2], &dir, SMALL).unwrap_err();
        assert!(matches!(error.cause(), Cause::Tar(_) | Cause::Gzip(_)), "{error}");
    }

    /// Every path below a directory, as bytes.
    fn paths(of: &Path) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut open = vec![of.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(of).unwrap().as_os_str().as_bytes().to_vec());
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Names that are no text, short and long ones, and one with a line break in a header that has lines.
    fn odd_names() -> Vec<Vec<u8>> {
        let long = [&[b'n'; 120][..], b"\xff"].concat();
        let mut names = vec![
            b"a\xff.txt".to_vec(),
            b"d\xfe".to_vec(),
            b"d\xfe/x\xc3(.yaml".to_vec(),
            b"new\nline\xff".to_vec(),
            long,
        ];
        names.sort();
        names
    }

    fn unpacked(archive: &[u8]) -> Vec<Vec<u8>> {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        unpack(archive, &dir, Limits::default()).unwrap();
        paths(temp.path())
    }

    #[test]
    fn names_that_are_no_text_are_written_as_they_are() {
        let mut archive = crate::Archive::new(Vec::new(), crate::Algorithm::Sha256);
        archive.directory(b".").unwrap();
        for name in odd_names() {
            if name == b"d\xfe" {
                archive.directory(&name).unwrap();
            } else {
                archive.file(&name, false, 1, |out| out.write_all(b"x")).unwrap();
            }
        }
        let written = archive.finish().unwrap().writer;
        assert_eq!(unpacked(&written), odd_names());
        // Another reader of our archives, and another writer.
        let temp = tempfile::tempdir().unwrap();
        let (ours, into, theirs) = (
            temp.path().join("ours"),
            temp.path().join("into"),
            temp.path().join("theirs"),
        );
        std::fs::write(&ours, &written).unwrap();
        std::fs::create_dir(&into).unwrap();
        let tar = |arguments: &[&str], file: &Path| {
            let mut command = std::process::Command::new("tar");
            command
                .arg(arguments[0])
                .arg(file)
                .arg("-C")
                .arg(&into)
                .args(&arguments[1..]);
            assert!(command.status().unwrap().success());
        };
        tar(&["-xzf"], &ours);
        assert_eq!(paths(&into), odd_names());
        tar(&["-czf", "--format=pax", "."], &theirs);
        assert_eq!(unpacked(&std::fs::read(&theirs).unwrap()), odd_names());
        // As some write them: in the old header.
        let old = tarball_of_bytes(&[(b"a\xff.txt", b'0', "x")]);
        assert_eq!(unpacked(&old), [b"a\xff.txt"]);
    }

    #[test]
    fn names_that_are_no_text_are_no_way_out() {
        for name in [&b"\xff/../../x"[..], b"../\xff", b"/\xff", b"\xff\\x", b"\xff/.."] {
            let text = format!("tar contained invalid name error {:?}", String::from_utf8_lossy(name));
            check(&tarball_of_bytes(&[(name, b'0', "x")]), Err(&text));
        }
    }

    #[test]
    fn records_of_a_header_are_as_long_as_they_say() {
        let records = |header: &str| {
            let (mut found, mut rest) = (Vec::new(), header.as_bytes());
            while !rest.is_empty() {
                let (key, value, behind) = record(rest)?;
                found.push(format!("{}={}", shown(key), shown(value)));
                rest = behind;
            }
            Some(found)
        };
        let check = |header: &str, expected: Option<&[&str]>| {
            let found = records(header);
            let found = found
                .as_ref()
                .map(|found| found.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{header:?}");
        };
        check("", Some(&[]));
        check("9 path=a\n", Some(&["path=a"]));
        check("12 path=a\nb\n9 path=c\n", Some(&["path=a\nb", "path=c"]));
        check("12 path=a=b\n", Some(&["path=a=b"]));
        for broken in [
            "8 path=a\n",
            "11 path=a\n",
            "9 path=ab",
            "9path=ab\n",
            "x path=a\n",
            "7 path\n",
            "1 ",
            "0 a=b\n",
            "99999999999999999999999 a=b\n",
        ] {
            check(broken, None);
        }
    }

    #[test]
    fn what_the_archive_writes_can_be_unpacked() {
        let mut archive = crate::Archive::new(Vec::new(), crate::Algorithm::Sha256);
        archive.directory(b".").unwrap();
        archive.directory("grün".as_bytes()).unwrap();
        let name = "grün/ö.txt".as_bytes();
        archive.file(name, false, 1, |out| out.write_all(b"x")).unwrap();
        check(&archive.finish().unwrap().writer, Ok(&["grün/", "grün/ö.txt x"]));
    }
}
