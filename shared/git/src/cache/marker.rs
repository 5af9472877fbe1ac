//! The marker of an entry: which packs belong to it and which commits are complete in them. Lines of words, the last of which
//! is the hash of those before. What cannot be read is no marker.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind;
use sha2::{Digest, Sha256};

use super::entry::Root;
use crate::pack::{INCOMING, Sums, hex, path};

/// The file.
pub const FILE: &str = "marker";
/// What it begins with; another number is another format.
const FORMAT: &str = "sluice-git-cache 1";
/// No marker is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Since when the machine runs that wrote it.
    pub boot: String,
    /// How objects are named.
    pub kind: Kind,
    /// The packs, the oldest first.
    pub packs: Vec<Listed>,
    /// The commits, the one used last at the end.
    pub roots: Vec<Root>,
}

/// A pack in a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number in the directory.
    pub number: u32,
    /// Bytes on disk, with its index.
    pub size: u64,
    /// What its files end with.
    pub sums: Sums,
}

impl Marker {
    /// The marker of a directory, if there is one that was written completely since the machine was started.
    pub fn read(directory: &Path, boot: &str) -> Option<Self> {
        let path = directory.join(FILE);
        if fs::symlink_metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let marker = Self::parse(&fs::read_to_string(path).ok()?)?;
        (marker.boot == boot).then_some(marker)
    }

    /// The files of the packs.
    pub fn files(&self) -> Vec<PathBuf> {
        let of = |pack: &Listed| ["pack", "idx"].map(|kind| path(Path::new(""), pack.number, kind));
        self.packs.iter().flat_map(of).collect()
    }

    /// Puts it in the place of the one there is, in one step.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(INCOMING).tempfile_in(directory)?;
        file.write_all(self.text().as_bytes())?;
        file.persist(directory.join(FILE))?;
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!("{FORMAT}\nboot {}\nkind {}\n", self.boot, self.kind);
        for Listed { number, size, sums } in &self.packs {
            let _ = writeln!(text, "pack {number} {size} {} {}", sums.pack, sums.index);
        }
        for Root {
            wanted,
            commit,
            shallow,
        } in &self.roots
        {
            let extent = if *shallow { "alone" } else { "history" };
            let _ = writeln!(text, "root {wanted} {commit} {extent}");
        }
        let sum = sum(&text);
        let _ = writeln!(text, "end {sum}");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let (body, end) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        if end.strip_prefix("end ") != Some(&sum(&body)) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next() != Some(FORMAT) {
            return None;
        }
        let boot = lines.next()?.strip_prefix("boot ")?.to_owned();
        let kind = match lines.next()?.strip_prefix("kind ")? {
            "sha1" => Kind::Sha1,
            "sha256" => Kind::Sha256,
            _ => return None,
        };
        let (mut packs, mut roots) = (Vec::new(), Vec::new());
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["pack", number, size, pack, index] => packs.push(Listed {
                    number: number.parse().ok()?,
                    size: size.parse().ok()?,
                    sums: Sums {
                        pack: pack.to_owned(),
                        index: index.to_owned(),
                    },
                }),
                ["root", wanted, commit, extent] => roots.push(Root {
                    wanted: ObjectId::from_hex(wanted.as_bytes()).ok()?,
                    commit: ObjectId::from_hex(commit.as_bytes()).ok()?,
                    shallow: extent == "alone",
                }),
                _ => return None,
            }
        }
        Some(Self {
            boot,
            kind,
            packs,
            roots,
        })
    }
}

fn sum(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Since when the machine runs: a name that is new after each start. Where there is none, no marker of another process counts.
pub fn boot() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match told.trim() {
        "" => format!("unknown-{}", std::process::id()),
        told => told.replace(' ', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let id = |digit: &str| ObjectId::from_hex(digit.repeat(40).as_bytes()).unwrap();
        Marker {
            boot: "b00t".to_owned(),
            kind: Kind::Sha1,
            packs: vec![Listed {
                number: 3,
                size: 1234,
                sums: Sums {
                    pack: "aa".to_owned(),
                    index: "bb".to_owned(),
                },
            }],
            roots: vec![
                Root {
                    wanted: id("1"),
                    commit: id("2"),
                    shallow: true,
                },
                Root {
                    wanted: id("3"),
                    commit: id("3"),
                    shallow: false,
                },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        marker().write(directory.path()).unwrap();
        assert_eq!(Marker::read(directory.path(), "b00t"), Some(marker()));
        assert_eq!(Marker::read(directory.path(), "another"), None);
    }

    #[test]
    fn a_marker_that_is_not_whole_is_none() {
        let text = marker().text();
        assert_eq!(Marker::parse(&text), Some(marker()));
        for end in 0..text.len() {
            assert_eq!(Marker::parse(&text[..end]), None, "{end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(Marker::parse(&String::from_utf8_lossy(&bytes)), None, "{at}");
        }
    }
}
