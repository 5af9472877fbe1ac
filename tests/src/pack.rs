//! Packs of objects, written byte by byte: what git itself would never make, hostile servers send.

use anyhow::Result;
use sha1::{Digest, Sha1};

use writer::{Writer, varint};

#[path = "../../shared/git/fuzz/src/writer.rs"]
pub mod writer;

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

/// A pack in the making.
#[derive(Clone, Debug, Default)]
pub struct Pack(Writer);

impl Pack {
    /// Adds an object; its offset, for changes of it, is given back.
    pub fn add(&mut self, kind: Kind, content: &[u8]) -> Result<usize> {
        let place = self.0.place();
        self.add_claiming(kind, content.len() as u64, content)?;
        Ok(place)
    }

    /// Adds an object that says of itself that it has so many bytes.
    pub fn add_claiming(&mut self, kind: Kind, size: u64, content: &[u8]) -> Result<()> {
        Ok(self.0.object(kind.number(), size, content)?)
    }

    /// Adds a change of the object at `base`: the same bytes but for the first four.
    pub fn add_changed(&mut self, base: usize, size: usize, start: [u8; 4]) -> Result<usize> {
        let mut delta = varint(size as u64).repeat(2);
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
        let place = self.0.place();
        self.0.change_of_place((place - base) as u64, &delta)?;
        Ok(place)
    }

    /// The pack, claiming to hold `count` objects or else as many as it does.
    pub fn finish(self, count: Option<u32>) -> Vec<u8> {
        let count = count.unwrap_or(self.0.count());
        self.0.finish(count, |bytes| Sha1::digest(bytes).to_vec())
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
    use std::io::Write;
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
