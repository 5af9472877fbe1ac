//! What an artifact is going to hold, in the order of a directory walk.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::{Dir, File};
use git::tree::Node;

use super::Error;
use crate::ignore::Rules;
use crate::names;

/// A `.sourceignore` beyond this is cut: nobody writes one by hand.
pub const MAX_IGNORE_FILE: usize = 1 << 20;

/// A file, a directory or a link.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path as it is in the tree: names need not be valid text.
    pub name: Vec<u8>,
    /// What it is.
    pub content: Content,
}

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// A directory; what is in it has entries of its own.
    Directory,
    /// A file.
    File {
        /// Where its bytes come from.
        source: Source,
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link, which is never archived; it only takes up its name.
    Link,
}

/// Where the bytes of a file come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// From the tree.
    Tree(Node),
    /// From a copy of something else; which one.
    Copy(usize),
}

/// Something that was unpacked beside the tree, and where it goes.
#[derive(Debug)]
pub struct Unpacked {
    /// Where it lies.
    pub directory: Dir,
    /// What of it is wanted; empty for all of it.
    pub from: String,
    /// Its path in the artifact.
    pub to: String,
}

/// What an artifact is going to hold.
#[derive(Debug, Default)]
pub struct Listing {
    /// In walking order.
    pub(super) entries: Vec<Entry>,
    /// The `.sourceignore` files: directory (empty for the root) and content, in walking order.
    pub(super) ignore_files: Vec<(String, String)>,
    copies: Vec<Unpacked>,
}

impl Listing {
    /// The entries in walking order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What has this path.
    pub fn find(&self, path: &[u8]) -> Option<Content> {
        let at = self.entries.binary_search_by(|entry| order(&entry.name, path)).ok()?;
        self.entries.get(at).map(|entry| entry.content)
    }

    /// Adds an entry behind the others; at most so many.
    pub(super) fn push(&mut self, entry: Entry, most: u64) -> Result<(), Error> {
        if self.entries.len() as u64 >= most {
            return Err(Error::Limit(format!("{most} files and directories")));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Adds a copy; the sources of its files have the number that is returned.
    pub fn copy(&mut self, unpacked: Unpacked) -> usize {
        self.copies.push(unpacked);
        self.copies.len() - 1
    }

    /// Merges entries and `.sourceignore` files that have their place among the others. One that replaces a file takes its
    /// name.
    pub fn merge(&mut self, entries: Vec<Entry>, ignore_files: Vec<(String, String)>, most: u64) -> Result<(), Error> {
        let has_room = (self.entries.len() + entries.len()) as u64 <= most;
        if !has_room {
            return Err(Error::Limit(format!("{most} files and directories")));
        }
        self.entries.extend(entries);
        // Stable: the newer one of two stands behind.
        self.entries.sort_by(|one, other| order(&one.name, &other.name));
        self.entries.dedup_by(|newer, older| {
            let is_same = newer.name == older.name;
            if is_same {
                std::mem::swap(newer, older);
            }
            is_same
        });
        self.ignore_files.extend(ignore_files);
        self.ignore_files
            .sort_by(|(one, _), (other, _)| order(one.as_bytes(), other.as_bytes()));
        Ok(())
    }

    /// Leaves what is archived: no links, and nothing that `spec.ignore` or the rules in the listing itself leave out.
    ///
    /// # Errors
    /// A path that is left and cannot be archived.
    pub fn select(&mut self, ignore: Option<&str>) -> Result<(), Error> {
        let rules = Rules::new(&std::mem::take(&mut self.ignore_files), ignore);
        self.entries.retain(|Entry { name, content }| match content {
            Content::Link => false,
            Content::Directory => !rules.excludes(&String::from_utf8_lossy(name), true),
            Content::File { .. } => !rules.excludes(&String::from_utf8_lossy(name), false),
        });
        let unfit = |entry: &Entry| Some((names::shown(&entry.name), names::unfit(&entry.name)?));
        match self.entries.iter().find_map(unfit) {
            Some((path, why)) => Err(Error::Unfit { path, why }),
            None => Ok(()),
        }
    }

    /// A copied file and its size in bytes.
    pub(super) fn open(&self, copy: usize, name: &[u8]) -> io::Result<(File, u64)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let Unpacked { directory, from, to } = self.copies.get(copy).ok_or_else(missing)?;
        let below = name.strip_prefix(to.as_bytes()).ok_or_else(missing)?;
        let path = [from.as_bytes(), below].concat();
        // All of it begins with a slash where all of the copy is wanted.
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        let file = directory.open(OsStr::from_bytes(path))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }
}

/// The order of a directory walk: a directory, what is in it, then what comes behind it by name.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    let is_slash = |byte: &u8| *byte == b'/';
    one.split(is_slash).cmp(other.split(is_slash))
}

/// The path a user's text stands for below a root: `..` never leads out of it, and a leading slash means nothing. Empty for
/// the root itself.
pub fn within(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        assert_eq!(within(path), expected, "{path:?}");
    }

    #[test]
    fn no_path_leads_out_of_its_root() {
        check("a/b", "a/b");
        check("./a//b/.", "a/b");
        check("/etc/passwd", "etc/passwd");
        check("../../a", "a");
        check("a/../../b", "b");
        check("a/..", "");
        check("", "");
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_that_before_its_neighbours() {
        let mut names = ["a.yaml", "a/b/c", "b", "a-b", "a", "a/b", "a/b-c"];
        names.sort_by(|one, other| order(one.as_bytes(), other.as_bytes()));
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a.yaml", "b"]);
    }
}
