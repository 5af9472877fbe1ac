//! A tree by path, like a checkout: symbolic links are followed while they stay inside of it.

use super::{Damage, Entry, Node, Tree, What};

/// So many links are followed on the way to a file, as on Linux.
const MAX_LINKS: usize = 40;
/// No path is longer.
const MAX_TARGET: u64 = 4096;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Why a path cannot be read. The path is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("'{0}' doesn't exist")]
    NotFound(String),
    /// A directory is where a file was asked for.
    #[error("'{0}' is a directory, not a file")]
    IsDirectory(String),
    /// A file is where a directory was asked for.
    #[error("'{0}' is not a directory")]
    NotADirectory(String),
    /// The path or a symbolic link on it leads out of the tree.
    #[error("'{0}' leads outside of the tree of files")]
    Outside(String),
    /// The file is larger than allowed.
    #[error("'{path}' is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The most bytes it may have.
        limit: u64,
    },
    /// What is there is damaged.
    #[error("'{path}' cannot be read: {reason}")]
    Unreadable {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where a path ends, all links followed.
#[derive(Clone, Copy, Debug)]
enum Place {
    Directory(Node),
    /// The directory of a submodule that is not mounted.
    Hollow,
    File(Node),
}

/// Paths are relative to the root and separated by `/` ("" is the root); `.` and `..` are understood.
impl Tree {
    /// The whole content of the file at `path`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the file has more than `limit` bytes, before its content is touched; and what the names of the
    /// other variants say.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let Place::File(node) = self.follow(path)?.1 else {
            return Err(Error::IsDirectory(path.to_owned()));
        };
        let unreadable = |damage| unreadable(path, damage);
        if self.size(node).map_err(unreadable)? > limit {
            return Err(Error::TooLarge {
                path: path.to_owned(),
                limit,
            });
        }
        let mut content = Vec::new();
        self.content(node, &mut content).map_err(unreadable)?;
        Ok(content)
    }

    /// What is at `path`, symbolic links followed; none when there is nothing, a link leads out of the tree, or it cannot be
    /// read.
    pub fn kind(&self, path: &str) -> Option<Kind> {
        match self.follow(path).ok()?.1 {
            Place::Directory(_) | Place::Hollow => Some(Kind::Directory),
            Place::File(_) => Some(Kind::File),
        }
    }

    /// The names in the directory `path`, sorted.
    ///
    /// # Errors
    /// When `path` is not a directory, or holds a name that is not UTF-8.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let node = match self.follow(path)?.1 {
            Place::Directory(node) => node,
            Place::Hollow => return Ok(Vec::new()),
            Place::File(_) => return Err(Error::NotADirectory(path.to_owned())),
        };
        let entries = self.known_directory(node).map_err(|damage| unreadable(path, damage))?;
        let names = entries.iter().map(|entry| text(path, &entry.name));
        names.collect()
    }

    /// The path with every symbolic link resolved, so that one file has one name.
    ///
    /// # Errors
    /// When nothing is there or a link leads out of the tree.
    pub fn resolve(&self, path: &str) -> Result<String, Error> {
        self.follow(path).map(|(resolved, _)| resolved)
    }

    fn follow(&self, path: &str) -> Result<(String, Place), Error> {
        let outside = || Error::Outside(path.to_owned());
        let mut links = 0;
        // What is still to walk, the next part last; and the way so far.
        let mut ahead: Vec<String> = parts(path).ok_or_else(outside)?;
        let mut way: Vec<(String, Place)> = Vec::new();
        while let Some(part) = ahead.pop() {
            let here = way.last().map_or(Place::Directory(self.root()), |(_, place)| *place);
            let entries = match here {
                Place::Directory(node) => Some(self.known_directory(node).map_err(|damage| unreadable(path, damage))?),
                Place::Hollow => None,
                Place::File(_) => return Err(Error::NotADirectory(path.to_owned())),
            };
            if part == ".." {
                way.pop().ok_or_else(outside)?;
                continue;
            }
            let entry = entries.as_ref().and_then(|entries| find(entries, &part));
            let entry = entry.ok_or_else(|| Error::NotFound(path.to_owned()))?;
            let place = match entry.what {
                What::Directory => Place::Directory(entry.node),
                What::File { .. } => Place::File(entry.node),
                What::Module => {
                    let names = way.iter().map(|(name, _)| name.as_str()).chain([part.as_str()]);
                    let root = self.module(&names.collect::<Vec<_>>().join("/"));
                    root.map_or(Place::Hollow, Place::Directory)
                }
                What::Link => {
                    links += 1;
                    if links > MAX_LINKS {
                        let reason = "too many levels of symbolic links".to_owned();
                        return Err(unreadable(path, Damage::Object(reason)));
                    }
                    let target = self.target(path, entry.node)?;
                    ahead.extend(parts(&target).ok_or_else(outside)?);
                    continue;
                }
            };
            way.push((part, place));
        }
        let place = way.last().map_or(Place::Directory(self.root()), |(_, place)| *place);
        let names: Vec<_> = way.into_iter().map(|(name, _)| name).collect();
        Ok((names.join("/"), place))
    }

    fn target(&self, path: &str, link: Node) -> Result<String, Error> {
        let unreadable = |damage| unreadable(path, damage);
        if self.size(link).map_err(unreadable)? > MAX_TARGET {
            let reason = "the target of a symbolic link on it is too long".to_owned();
            return Err(unreadable(Damage::Object(reason)));
        }
        let mut target = Vec::new();
        self.content(link, &mut target).map_err(unreadable)?;
        text(path, &target)
    }
}

/// The parts of a path, the first one last; none when it is absolute.
fn parts(path: &str) -> Option<Vec<String>> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    (!path.starts_with('/')).then(|| parts.rev().map(str::to_owned).collect())
}

fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let at = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name.as_bytes()));
    at.ok().and_then(|at| entries.get(at))
}

fn text(path: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Unreadable {
        path: path.to_owned(),
        reason: format!("the name {:?} is not UTF-8", String::from_utf8_lossy(bytes)),
    })
}

fn unreadable(path: &str, damage: Damage) -> Error {
    Error::Unreadable {
        path: path.to_owned(),
        reason: damage.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix::objs::tree::{Entry as Stored, EntryKind, EntryMode};
    use gix::objs::{Kind as ObjectKind, Tree as StoredTree, Write};
    use gix::{ObjectId, odb};

    /// An object database on disk.
    struct Database {
        handle: odb::Handle,
        directory: tempfile::TempDir,
    }

    impl Database {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let handle = odb::at(directory.path(), gix::hash::Kind::Sha1).unwrap();
            Self { handle, directory }
        }

        fn blob(&self, content: &str) -> ObjectId {
            self.handle.write_buf(ObjectKind::Blob, content.as_bytes()).unwrap()
        }

        fn tree(&self, entries: &[(&[u8], EntryKind, ObjectId)]) -> ObjectId {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(name, kind, oid)| Stored {
                    mode: EntryMode::from(*kind),
                    filename: name.to_vec().into(),
                    oid: *oid,
                })
                .collect();
            entries.sort();
            self.handle.write(&StoredTree { entries }).unwrap()
        }
    }

    /// `app/base/x.yaml`, an executable, a submodule, and links of every kind.
    fn sample() -> (Database, Tree) {
        let base = Database::new();
        let link = |target: &str| (EntryKind::Link, base.blob(target));
        let file = base.blob("a: 1\n");
        let below = base.tree(&[(b"x.yaml", EntryKind::Blob, file)]);
        let links: Vec<(&[u8], (EntryKind, ObjectId))> = vec![
            (b"absolute", link("/etc/passwd")),
            (b"dangling", link("nowhere")),
            (b"directory", link("./base/")),
            (b"file", link("base/../directory//x.yaml")),
            (b"loop", link("loop")),
            (b"out", link("../../x")),
            (b"through", link("base/x.yaml/..")),
        ];
        let mut app: Vec<(&[u8], EntryKind, ObjectId)> =
            links.iter().map(|(name, (kind, id))| (*name, *kind, *id)).collect();
        app.push((b"base", EntryKind::Tree, below));
        let app = base.tree(&app);
        let root = base.tree(&[
            (b"app", EntryKind::Tree, app),
            (b"app-b", EntryKind::Tree, below),
            (b"app.yaml", EntryKind::BlobExecutable, file),
            (b"module", EntryKind::Commit, file),
            (b"up", EntryKind::Link, base.blob("app/../app-b")),
        ]);
        let tree = Tree::open(base.directory.path(), root).unwrap();
        (base, tree)
    }

    /// Where a path leads and what is there, or the message.
    fn check(path: &str, expected: Result<(&str, Kind), &str>) {
        let (_database, tree) = sample();
        let found = tree.resolve(path).map(|resolved| (resolved, tree.kind(path).unwrap()));
        let expected = expected.map(|(resolved, kind)| (resolved.to_owned(), kind));
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expected.map_err(str::to_owned),
            "{path}"
        );
    }

    #[test]
    fn a_path_is_walked_as_in_a_checkout() {
        check("", Ok(("", Kind::Directory)));
        check("app/base/x.yaml", Ok(("app/base/x.yaml", Kind::File)));
        check("app.yaml", Ok(("app.yaml", Kind::File)));
        check("./app//base/../base/", Ok(("app/base", Kind::Directory)));
        check("module", Ok(("module", Kind::Directory)));
        check("module/x", Err("'module/x' doesn't exist"));
        check("nothing", Err("'nothing' doesn't exist"));
        check("app.yaml/x", Err("'app.yaml/x' is not a directory"));
        check("app/../..", Err("'app/../..' leads outside of the tree of files"));
        check("/app", Err("'/app' leads outside of the tree of files"));
    }

    #[test]
    fn links_are_followed_inside_of_the_tree_only() {
        check("app/directory/x.yaml", Ok(("app/base/x.yaml", Kind::File)));
        check("app/directory", Ok(("app/base", Kind::Directory)));
        check("app/file", Ok(("app/base/x.yaml", Kind::File)));
        check("up/x.yaml", Ok(("app-b/x.yaml", Kind::File)));
        check("app/absolute", Err("'app/absolute' leads outside of the tree of files"));
        check("app/out", Err("'app/out' leads outside of the tree of files"));
        check("app/dangling", Err("'app/dangling' doesn't exist"));
        check("app/through", Err("'app/through' is not a directory"));
        let endless = "'app/loop' cannot be read: too many levels of symbolic links";
        check("app/loop", Err(endless));
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        let (_database, tree) = sample();
        assert_eq!(tree.read("app/file", 5).unwrap(), b"a: 1\n");
        let error = tree.read("app/file", 4).unwrap_err();
        assert_eq!(error.to_string(), "'app/file' is larger than 4 bytes");
        let error = tree.read("app", 4).unwrap_err();
        assert_eq!(error.to_string(), "'app' is a directory, not a file");
    }

    #[test]
    fn directories_are_listed_in_the_order_of_their_bytes() {
        let (_database, tree) = sample();
        assert_eq!(tree.list("").unwrap(), ["app", "app-b", "app.yaml", "module", "up"]);
        assert_eq!(tree.list("app/directory").unwrap(), ["x.yaml"]);
        assert!(tree.list("module").unwrap().is_empty());
        let error = tree.list("app/file").unwrap_err();
        assert_eq!(error.to_string(), "'app/file' is not a directory");
    }

    #[test]
    fn names_that_no_checkout_has_are_errors() {
        let base = Database::new();
        let blob = base.blob("x");
        for name in ["..", ".", "a/b"] {
            let root = base.tree(&[(name.as_bytes(), EntryKind::Blob, blob)]);
            let tree = Tree::open(base.directory.path(), root).unwrap();
            let text = format!("'' cannot be read: tree contains invalid name '{name}'");
            assert_eq!(tree.list("").unwrap_err().to_string(), text);
        }
        let root = base.tree(&[(b"x", EntryKind::Blob, blob), (b"x", EntryKind::Link, blob)]);
        let tree = Tree::open(base.directory.path(), root).unwrap();
        let text = "'' cannot be read: it holds the name \"x\" twice";
        assert_eq!(tree.list("").unwrap_err().to_string(), text);
        let root = base.tree(&[(b"\xff", EntryKind::Blob, blob)]);
        let tree = Tree::open(base.directory.path(), root).unwrap();
        let text = "'' cannot be read: the name \"\u{fffd}\" is not UTF-8";
        assert_eq!(tree.list("").unwrap_err().to_string(), text);
    }

    #[test]
    fn objects_that_are_not_there_are_errors() {
        let base = Database::new();
        let missing = ObjectId::from_hex(&[b'1'; 40]).unwrap();
        let root = base.tree(&[(b"file", EntryKind::Blob, missing), (b"tree", EntryKind::Tree, missing)]);
        let tree = Tree::open(base.directory.path(), root).unwrap();
        let text = format!("'file' cannot be read: the object {missing} is missing");
        assert_eq!(tree.read("file", 9).unwrap_err().to_string(), text);
        assert!(matches!(tree.list("tree"), Err(Error::Unreadable { .. })));
    }
}
