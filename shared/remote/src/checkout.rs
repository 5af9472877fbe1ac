//! A fetched commit as the files of a build. Symbolic links are followed while they stay inside; nothing is written out.

use git::tree::{Error, Kind};
use git::{Commit, Tree};
use kustomize::{FileError, FileKind, Files};

/// The tree of a commit, and its objects for as long as they are read.
pub(crate) struct Checkout {
    tree: Tree,
}

impl Checkout {
    /// The files of a commit.
    pub(crate) fn new(commit: Commit) -> Self {
        Self { tree: commit.tree }
    }
}

impl Files for Checkout {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        self.tree.read(path, limit).map_err(file_error)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        Some(match self.tree.kind(path)? {
            Kind::File => FileKind::File,
            Kind::Directory => FileKind::Directory,
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.tree.list(path).map_err(file_error)
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        self.tree.resolve(path).map_err(file_error)
    }
}

fn file_error(error: Error) -> FileError {
    match error {
        Error::NotFound(path) => FileError::NotFound(path),
        Error::IsDirectory(path) => FileError::IsDirectory(path),
        Error::NotADirectory(path) => FileError::NotADirectory(path),
        Error::Outside(path) => FileError::Outside(path),
        Error::TooLarge { path, limit } => FileError::TooLarge { path, limit },
        Error::Unreadable { path, reason } => FileError::Unreadable { path, reason },
    }
}
