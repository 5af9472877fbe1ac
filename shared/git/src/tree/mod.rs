//! A commit's tree, read straight from the objects: nothing is ever written out.
//!
//! There are two ways to read it. By path ([`Tree::read`], [`Tree::kind`], [`Tree::list`], [`Tree::resolve`]) it behaves like a
//! read-only checkout whose symbolic links cannot lead out. By node ([`Tree::root`], [`Tree::directory`], [`Tree::content`],
//! [`Tree::copy`]) it is what Git stored, links and all, for who walks all of it.
//!
//! Trees are written by strangers. A directory with a name that no checkout could have is an error, and so is an object that is
//! missing, damaged or larger than the limit it was fetched with. No filter of `.gitattributes` is applied. A submodule is an
//! empty directory unless one is mounted there.

mod path;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gix::objs::tree::EntryKind;
use gix::objs::{Find, FindHeader, TreeRefIter};
use gix::{ObjectId, odb};

use crate::objects::Objects;
use crate::pack::{self, Reader};
pub use path::{Error, Kind};

/// A tree, and those of the submodules mounted in it. Cheap to read from several threads, one after the other.
#[derive(Debug)]
pub struct Tree {
    stores: Vec<Store>,
    root: ObjectId,
    /// The roots of submodules by path.
    modules: HashMap<String, Node>,
    /// Directories that were read by path: builds look at the same ones over and over.
    directories: Mutex<HashMap<Node, Arc<Vec<Entry>>>>,
}

/// Objects that are open for reading, and with them what keeps them there.
struct Store {
    source: Mutex<Source>,
    objects: Option<Objects>,
}

/// Where objects are read from.
enum Source {
    /// What was fetched.
    Packs(Box<Reader>),
    /// A database that is somebody else's.
    Database(Box<odb::Handle>),
}

impl Source {
    fn object(&mut self, id: &ObjectId, buffer: &mut Vec<u8>) -> Result<gix::objs::Kind, pack::Error> {
        match self {
            Self::Packs(reader) => reader.object(id, buffer),
            Self::Database(handle) => {
                let found = handle.try_find(id, buffer).map_err(unreadable)?;
                found.map(|object| object.kind).ok_or(pack::Error::Missing(*id))
            }
        }
    }

    /// Passes a blob on; of any other object only tells what it is.
    fn blob(
        &mut self,
        id: &ObjectId,
        take: &mut dyn FnMut(&[u8]) -> Result<(), pack::Error>,
    ) -> Result<gix::objs::Kind, pack::Error> {
        match self {
            Self::Packs(reader) => reader.blob(id, take),
            Self::Database(_) => {
                let mut buffer = Vec::new();
                let kind = self.object(id, &mut buffer)?;
                if kind == gix::objs::Kind::Blob {
                    take(&buffer)?;
                }
                Ok(kind)
            }
        }
    }

    fn size(&mut self, id: &ObjectId) -> Result<u64, pack::Error> {
        match self {
            Self::Packs(reader) => reader.size(id),
            Self::Database(handle) => {
                let found = handle.try_header(id).map_err(unreadable)?;
                found.map(|header| header.size).ok_or(pack::Error::Missing(*id))
            }
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> pack::Error {
    pack::Error::Damaged(error.to_string())
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Something that Git stored: a tree or a blob. It is of use with the [`Tree`] it came from only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    store: usize,
    id: ObjectId,
}

impl Node {
    /// Its name in Git.
    pub fn id(&self) -> ObjectId {
        self.id
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as it is stored: it need not be valid text.
    pub name: Vec<u8>,
    /// What it is.
    pub what: What,
    /// What it leads to; for a submodule its commit, which is not among the objects.
    pub node: Node,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link; its content is the target.
    Link,
    /// A submodule, see [`Tree::module`].
    Module,
}

/// Why a node cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A directory holds a name that cannot be one.
    #[error("tree contains invalid name '{0}'")]
    Name(String),
    /// The object is missing, damaged, of another kind or over the limit.
    #[error("{0}")]
    Object(String),
}

/// Why a file was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It cannot be read.
    #[error("{0}")]
    Damage(#[from] Damage),
    /// It cannot be written.
    #[error("{0}")]
    Write(#[from] io::Error),
}

impl Tree {
    /// The tree `root` of fetched objects.
    pub(crate) fn new(objects: Objects, root: ObjectId) -> Self {
        let store = Store {
            source: Mutex::new(Source::Packs(Box::new(objects.reader()))),
            objects: Some(objects),
        };
        Self::with(store, root)
    }

    /// The tree `root` of an object database, which is a directory as `.git/objects` is one.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn open(database: &Path, root: ObjectId) -> io::Result<Self> {
        let store = Store {
            source: Mutex::new(Source::Database(Box::new(odb::at(database, root.kind())?))),
            objects: None,
        };
        Ok(Self::with(store, root))
    }

    fn with(store: Store, root: ObjectId) -> Self {
        Self {
            stores: vec![store],
            root,
            modules: HashMap::new(),
            directories: Mutex::default(),
        }
    }

    /// The root directory.
    pub fn root(&self) -> Node {
        Node {
            store: 0,
            id: self.root,
        }
    }

    /// Puts the tree of a submodule, and those in it, where the submodule is.
    pub(crate) fn mount(&mut self, path: &str, module: Tree) {
        let offset = self.stores.len();
        let moved = |node: Node| Node {
            store: node.store + offset,
            ..node
        };
        self.modules.insert(path.to_owned(), moved(module.root()));
        for (below, node) in &module.modules {
            self.modules.insert(format!("{path}/{below}"), moved(*node));
        }
        self.stores.extend(module.stores);
    }

    /// The root directory of the submodule at this path, if it is mounted.
    pub fn module(&self, path: &str) -> Option<Node> {
        self.modules.get(path).copied()
    }

    /// What is in a directory that was most likely read before.
    fn known_directory(&self, node: Node) -> Result<Arc<Vec<Entry>>, Damage> {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = known.get(&node) {
            return Ok(Arc::clone(entries));
        }
        let entries = Arc::new(self.directory(node)?);
        known.insert(node, Arc::clone(&entries));
        Ok(entries)
    }

    /// What is in a directory, by name in byte order (which is not Git's).
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn directory(&self, node: Node) -> Result<Vec<Entry>, Damage> {
        let mut buffer = Vec::new();
        let kind = self.with_store(node, |source| source.object(&node.id, &mut buffer))?;
        if kind != gix::objs::Kind::Tree {
            return Err(Damage::Object(format!("the object is a {kind}, not a directory")));
        }
        let mut entries = Vec::new();
        for entry in TreeRefIter::from_bytes(&buffer, node.id.kind()) {
            let entry = entry.map_err(|error| Damage::Object(error.to_string()))?;
            let name = entry.filename.to_vec();
            if !is_valid(&name) {
                return Err(Damage::Name(String::from_utf8_lossy(&name).into_owned()));
            }
            let what = match entry.mode.kind() {
                EntryKind::Tree => What::Directory,
                EntryKind::Blob => What::File { executable: false },
                EntryKind::BlobExecutable => What::File { executable: true },
                EntryKind::Link => What::Link,
                EntryKind::Commit => What::Module,
            };
            let node = Node {
                id: entry.oid.to_owned(),
                ..node
            };
            entries.push(Entry { name, what, node });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        // Which of the two counts is for every reader to say, and they do not agree.
        if let Some([entry, _]) = entries.array_windows().find(|[one, other]| one.name == other.name) {
            let name = String::from_utf8_lossy(&entry.name);
            return Err(Damage::Object(format!("it holds the name {name:?} twice")));
        }
        Ok(entries)
    }

    /// How many bytes a file's content has.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn size(&self, node: Node) -> Result<u64, Damage> {
        self.with_store(node, |source| source.size(&node.id))
    }

    /// The content of a file, or the target of a link, into a buffer that may be used again.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn content(&self, node: Node, buffer: &mut Vec<u8>) -> Result<(), Damage> {
        let kind = self.with_store(node, |source| source.object(&node.id, buffer))?;
        must_be_file(kind)
    }

    /// Writes the content of a file, which is not held for it where Git stores it whole; where Git stores the change of another
    /// file, that one is.
    ///
    /// # Errors
    /// It cannot be read, or `out` does not take it.
    pub fn copy(&self, node: Node, out: &mut dyn Write) -> Result<(), CopyError> {
        let mut refused = None;
        let kind = self.with_store(node, |source| {
            source.blob(&node.id, &mut |part| {
                out.write_all(part).map_err(|error| {
                    refused = Some(error);
                    pack::Error::Interrupted
                })
            })
        });
        match refused {
            Some(error) => Err(error.into()),
            None => Ok(must_be_file(kind?)?),
        }
    }

    fn with_store<T>(&self, node: Node, read: impl FnOnce(&mut Source) -> Result<T, pack::Error>) -> Result<T, Damage> {
        let foreign = || Damage::Object("the object is of another tree".to_owned());
        let store = self.stores.get(node.store).ok_or_else(foreign)?;
        let result = read(&mut store.source.lock().unwrap_or_else(PoisonError::into_inner));
        result.map_err(|error| {
            // Too large is what it is, and who gave up had enough; everything else may be better after it was fetched anew.
            let is_sound = matches!(error, pack::Error::TooLarge { .. } | pack::Error::Interrupted);
            if let Some(objects) = store.objects.as_ref().filter(|_| !is_sound) {
                objects.distrust();
            }
            Damage::Object(error.to_string())
        })
    }
}

fn must_be_file(kind: gix::objs::Kind) -> Result<(), Damage> {
    if kind != gix::objs::Kind::Blob {
        return Err(Damage::Object(format!("the object is a {kind}, not a file")));
    }
    Ok(())
}

/// Whether a directory can have the name.
fn is_valid(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}
