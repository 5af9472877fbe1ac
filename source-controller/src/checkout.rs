//! From a commit's tree to an artifact, straight out of the object database: no working tree is ever written.
//!
//! Two walks. The first lists the tree and reads every `.sourceignore`, because one pattern anywhere changes the defaults
//! everywhere; the second archives what the rules leave, holding one file's content in memory at a time. Entries come in the
//! order of a directory walk (children by plain name), not in Git's.
//!
//! A tree is written by strangers: names that no directory can have, trees nested without end and files over the limit are
//! errors; symbolic links are left out; a submodule that is not fetched is an empty directory. No filter of `.gitattributes`
//! is applied, large-file pointers are archived as they are.

use std::io::Write;

use artifact::{Archive, Limits};
use git::Tree;
use git::tree::{Damage, Node, What};

use crate::ignore::{self, Rules};

/// A `.sourceignore` beyond this is cut: nobody writes one by hand.
const MAX_IGNORE_FILE: usize = 1 << 20;

/// Why a tree cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object is missing, damaged or larger than the database hands out.
    #[error("cannot read '{path}' ({id}): {detail}")]
    Object {
        /// The path of the object.
        path: String,
        /// Its hash.
        id: String,
        /// What the database says.
        detail: String,
    },
    /// A name that cannot be one.
    #[error("tree contains invalid name '{0}'")]
    Name(String),
    /// A file over the limit.
    #[error(
        "file '{path}' has {size} bytes, more than the limit of {limit} bytes: remove it or raise --git-max-file-size"
    )]
    TooLarge {
        /// The path of the file.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// More than an artifact may hold.
    #[error("the tree holds more than {0}")]
    Limit(String),
    /// The archive could not be written.
    #[error("{0}")]
    Write(#[from] std::io::Error),
}

/// One entry of the tree, in walking order.
#[derive(Debug)]
struct Entry {
    path: Vec<String>,
    /// As it is in the tree: names need not be valid text.
    name: Vec<u8>,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Directory,
    File { node: Node, executable: bool },
}

/// How much may be archived.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes, entries and depth of the whole.
    pub whole: Limits,
    /// Bytes of one file.
    pub file: u64,
}

/// A tree, listed.
#[derive(Debug)]
pub struct Listing {
    entries: Vec<Entry>,
    ignore_files: Vec<(Vec<String>, String)>,
}

/// Lists the tree and reads its `.sourceignore` files.
pub fn list(tree: &Tree, bounds: Bounds) -> Result<Listing, Error> {
    let mut walk = Walk {
        tree,
        bounds,
        listing: Listing {
            entries: Vec::new(),
            ignore_files: Vec::new(),
        },
    };
    walk.directory(tree.root(), &[], b"")?;
    Ok(walk.listing)
}

struct Walk<'a> {
    tree: &'a Tree,
    bounds: Bounds,
    listing: Listing,
}

impl Walk<'_> {
    fn directory(&mut self, node: Node, path: &[String], prefix: &[u8]) -> Result<(), Error> {
        let Limits { depth, entries, .. } = self.bounds.whole;
        if path.len() > depth {
            return Err(Error::Limit(format!(
                "{depth} levels of directories at '{}'",
                path.join("/")
            )));
        }
        let children = self.tree.directory(node).map_err(|damage| match damage {
            Damage::Name(name) => Error::Name([path, &[name]].concat().join("/")),
            Damage::Object(detail) => object(path, node, detail),
        })?;
        let is_ignore_file = |child: &&git::tree::Entry| {
            child.name == ignore::FILE.as_bytes() && matches!(child.what, What::File { .. })
        };
        if let Some(file) = children.iter().find(is_ignore_file) {
            let content = self.ignore_file(file.node, path)?;
            self.listing.ignore_files.push((path.to_vec(), content));
        }
        for child in children.iter() {
            let (name, what, node) = (&child.name, child.what, child.node);
            let shown = String::from_utf8_lossy(name).into_owned();
            let path = [path, &[shown]].concat();
            let full = [prefix, name].concat();
            let content = match what {
                What::Directory | What::Module => Content::Directory,
                What::File { executable } => Content::File { node, executable },
                What::Link => continue,
            };
            if self.listing.entries.len() as u64 >= entries {
                return Err(Error::Limit(format!("{entries} files and directories")));
            }
            self.listing.entries.push(Entry {
                path: path.clone(),
                name: full.clone(),
                content,
            });
            // What lies in a directory called .git is no part of the source and its patterns do not count; a tree that has
            // one was made by hand.
            let below = match what {
                What::Directory => Some(node),
                What::Module => self.tree.module(&path.join("/")),
                What::File { .. } | What::Link => None,
            };
            if let Some(node) = below {
                let before = self.listing.ignore_files.len();
                self.directory(node, &path, &[&full[..], b"/"].concat())?;
                if name == b".git" {
                    self.listing.ignore_files.truncate(before);
                }
            }
        }
        Ok(())
    }

    fn ignore_file(&self, node: Node, directory: &[String]) -> Result<String, Error> {
        let path = [directory, &[ignore::FILE.to_owned()]].concat();
        let mut content = Vec::new();
        let read = self.tree.content(node, &mut content);
        read.map_err(|damage| object(&path, node, damage.to_string()))?;
        content.truncate(MAX_IGNORE_FILE);
        Ok(String::from_utf8_lossy(&content).into_owned())
    }
}

fn object(path: &[String], node: Node, detail: String) -> Error {
    Error::Object {
        path: path.join("/"),
        id: node.id().to_string(),
        detail,
    }
}

/// Archives what `spec.ignore` and the tree's own rules leave of the listed tree.
pub fn archive<W: Write>(
    tree: &Tree,
    listing: &Listing,
    ignore: Option<&str>,
    bounds: Bounds,
    into: &mut Archive<W>,
) -> Result<(), Error> {
    let rules = Rules::new(&listing.ignore_files, ignore);
    let mut left = bounds.whole.bytes;
    let mut buffer = Vec::new();
    into.directory(b".")?;
    for Entry { path, name, content } in &listing.entries {
        let is_directory = matches!(content, Content::Directory);
        if rules.excludes(path, is_directory) {
            continue;
        }
        let Content::File { node, executable } = *content else {
            into.directory(name)?;
            continue;
        };
        let failed = |damage: Damage| object(path, node, damage.to_string());
        let size = tree.size(node).map_err(failed)?;
        if size > bounds.file {
            return Err(Error::TooLarge {
                path: path.join("/"),
                size,
                limit: bounds.file,
            });
        }
        left = left
            .checked_sub(size)
            .ok_or_else(|| Error::Limit(format!("{} bytes of files", bounds.whole.bytes)))?;
        tree.content(node, &mut buffer).map_err(failed)?;
        into.file(name, executable, buffer.len() as u64, buffer.as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::Algorithm;
    use gix::objs::Write as _;
    use gix::objs::tree::{EntryKind, EntryMode};
    use gix::{ObjectId, odb};
    use std::io::Read;

    const BOUNDS: Bounds = Bounds {
        whole: Limits {
            bytes: 1000,
            entries: 20,
            depth: 3,
        },
        file: 100,
    };

    /// An object database on disk that trees can be put into.
    struct Store {
        handle: odb::Handle,
        directory: tempfile::TempDir,
    }

    impl Store {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let handle = odb::at(directory.path(), gix::hash::Kind::Sha1).unwrap();
            Self { handle, directory }
        }

        fn blob(&self, content: &[u8]) -> ObjectId {
            self.handle.write_buf(gix::objs::Kind::Blob, content).unwrap()
        }

        fn tree(&self, entries: &[(&str, EntryKind, ObjectId)]) -> ObjectId {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(name, kind, oid)| gix::objs::tree::Entry {
                    mode: EntryMode::from(*kind),
                    filename: (*name).into(),
                    oid: *oid,
                })
                .collect();
            entries.sort();
            self.handle.write(&gix::objs::Tree { entries }).unwrap()
        }
    }

    /// The members of the archive, directories with a trailing slash; or the message.
    fn check(store: &Store, tree: ObjectId, ignore: Option<&str>, expected: Result<&[&str], &str>) {
        let tree = Tree::open(store.directory.path(), tree).unwrap();
        let result = list(&tree, BOUNDS).and_then(|listing| {
            let mut into = Archive::new(Vec::new(), Algorithm::Sha256);
            archive(&tree, &listing, ignore, BOUNDS, &mut into)?;
            Ok(into.finish()?.writer)
        });
        let found = result.map_err(|error| error.to_string()).map(|bytes| {
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
            let mut members = Vec::new();
            for member in tar::Archive::new(&tar[..]).entries().unwrap() {
                let member = member.unwrap();
                let slash = if member.header().entry_type().is_dir() { "/" } else { "" };
                members.push(format!("{}{slash}", String::from_utf8_lossy(&member.path_bytes())));
            }
            members
        });
        let expected = expected
            .map(|names| names.iter().map(|n| (*n).to_owned()).collect())
            .map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_is_walked_like_a_directory() {
        let store = Store::new();
        let blob = store.blob(b"x");
        let a = store.tree(&[("b.yaml", EntryKind::Blob, blob)]);
        let links = store.tree(&[("link", EntryKind::Link, store.blob(b"../../etc/passwd"))]);
        let root = store.tree(&[
            ("a", EntryKind::Tree, a),
            ("a-b", EntryKind::Tree, a),
            ("a.yaml", EntryKind::Blob, blob),
            ("links", EntryKind::Tree, links),
            ("module", EntryKind::Commit, blob),
            ("run", EntryKind::BlobExecutable, blob),
        ]);
        let members = [
            "./",
            "a/",
            "a/b.yaml",
            "a-b/",
            "a-b/b.yaml",
            "a.yaml",
            "links/",
            "module/",
            "run",
        ];
        check(&store, root, None, Ok(&members));
    }

    #[test]
    fn ignore_files_of_the_tree_count_and_links_to_them_do_not() {
        let store = Store::new();
        let (blob, ignored) = (store.blob(b"x"), store.blob(b"*.txt\n"));
        let keep = store.tree(&[
            (".sourceignore", EntryKind::Blob, ignored),
            ("y.txt", EntryKind::Blob, blob),
        ]);
        let linked = store.tree(&[
            (".sourceignore", EntryKind::Link, ignored),
            ("y.txt", EntryKind::Blob, blob),
        ]);
        let of = |sub| store.tree(&[("keep", EntryKind::Tree, sub), ("x.png", EntryKind::Blob, blob)]);
        check(
            &store,
            of(keep),
            None,
            Ok(&["./", "keep/", "keep/.sourceignore", "x.png"]),
        );
        check(&store, of(linked), None, Ok(&["./", "keep/", "keep/y.txt"]));
        check(&store, of(keep), Some("/*\n!/keep/y.txt\n"), Ok(&["./", "keep/y.txt"]));
    }

    #[test]
    fn what_a_stranger_may_try_is_refused() {
        let store = Store::new();
        let blob = store.blob(b"x");
        for name in ["..", ".", "a/b"] {
            let root = store.tree(&[("d", EntryKind::Tree, store.tree(&[(name, EntryKind::Blob, blob)]))]);
            check(
                &store,
                root,
                None,
                Err(&format!("tree contains invalid name 'd/{name}'")),
            );
        }
        let large = store.tree(&[("large.bin", EntryKind::Blob, store.blob(&[0; 101]))]);
        let message = "file 'large.bin' has 101 bytes, more than the limit of 100 bytes: \
                       remove it or raise --git-max-file-size";
        check(&store, large, None, Err(message));
        check(&store, large, Some("large.bin"), Ok(&["./"]));
        let mut deep = store.tree(&[("x", EntryKind::Blob, blob)]);
        for _ in 0..4 {
            deep = store.tree(&[("d", EntryKind::Tree, deep)]);
        }
        check(
            &store,
            deep,
            None,
            Err("the tree holds more than 3 levels of directories at 'd/d/d/d'"),
        );
        let names: Vec<_> = (0..21).map(|n| format!("f{n}")).collect();
        let many: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), EntryKind::Blob, blob))
            .collect();
        check(
            &store,
            store.tree(&many),
            None,
            Err("the tree holds more than 20 files and directories"),
        );
        let hundred = store.blob(&[b'x'; 100]);
        let heavy: Vec<_> = names[..11]
            .iter()
            .map(|name| (name.as_str(), EntryKind::Blob, hundred))
            .collect();
        check(
            &store,
            store.tree(&heavy),
            None,
            Err("the tree holds more than 1000 bytes of files"),
        );
    }
}
