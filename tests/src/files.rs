//! What lies in a folder, with all that tells an untouched file from one that was written again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permissions.
    pub mode: u32,
    /// Its size in bytes; 0 for a directory, whose size means nothing.
    pub size: u64,
    /// Its number in the file system.
    pub inode: u64,
    /// When it was written last. A directory counts as never written: what is in it is told by itself.
    pub modified: SystemTime,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else, symbolic links among it.
    Other,
}

/// Everything below a folder, by its path relative to it. What goes meanwhile is left out.
pub fn list(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    add(root, root, &mut entries)?;
    Ok(entries)
}

fn add(root: &Path, directory: &Path, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    let read = || format!("cannot read {}", directory.display());
    for found in fs::read_dir(directory).with_context(read)? {
        let path = found?.path();
        let metadata = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let is_directory = metadata.is_dir();
        let entry = Entry {
            kind: match () {
                () if is_directory => Kind::Directory,
                () if metadata.is_file() => Kind::File,
                () => Kind::Other,
            },
            mode: metadata.permissions().mode() & 0o7777,
            size: if is_directory { 0 } else { metadata.len() },
            inode: metadata.ino(),
            modified: if is_directory {
                SystemTime::UNIX_EPOCH
            } else {
                metadata.modified()?
            },
        };
        entries.insert(path.strip_prefix(root)?.display().to_string(), entry);
        if is_directory {
            add(root, &path, entries)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_is_told_from_what_is_not() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub"))?;
        for name in ["a", "b", "sub/c"] {
            fs::write(at(name), "1")?;
        }
        std::os::unix::fs::symlink("a", at("link"))?;
        let before = list(folder.path())?;
        assert_eq!(before.keys().collect::<Vec<_>>(), ["a", "b", "link", "sub", "sub/c"]);
        assert_eq!(
            (before["sub"].kind, before["link"].kind),
            (Kind::Directory, Kind::Other)
        );
        fs::write(at("sub/new"), "1")?;
        fs::remove_file(at("sub/new"))?;
        assert_eq!(list(folder.path())?, before, "nothing stays of it");
        // Another file with the same content in its place.
        fs::write(at("b.new"), "1")?;
        fs::rename(at("b.new"), at("b"))?;
        let after = list(folder.path())?;
        let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
        assert_eq!(changed, ["b"]);
        Ok(())
    }
}
