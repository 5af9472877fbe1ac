//! Where a build reads from: a tree of files behind slash-separated paths relative to its root. Reading is all it does;
//! there is no way to write.

mod directory;
mod memory;
mod overlay;
mod path;
mod recorded;

pub use directory::DirFiles;
pub use memory::MemoryFiles;
pub use overlay::Overlay;
pub(crate) use path::{clean, file_name, join, within};
pub use recorded::{Footprint, Recorded};

/// A readable tree of files.
///
/// Paths are relative to the root, separated by `/`, without `.` and `..` ("" is the root). A build cleans every path
/// before it asks.
pub trait Files {
    /// The whole content of the file at `path`.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] when the file has more than `limit` bytes, and what the name of the other variants says.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError>;

    /// What is at `path`, symbolic links followed; none when there is nothing or the link leads out of the tree.
    fn kind(&self, path: &str) -> Option<FileKind>;

    /// The names in the directory `path`, sorted. A file whose name is no text may be left out if it is no manifest by its
    /// ending: nothing in a build can name it.
    ///
    /// # Errors
    /// When `path` is not a directory of the tree, or anything else in it has a name that is no text.
    fn list(&self, path: &str) -> Result<Vec<String>, FileError>;

    /// The path with every symbolic link resolved, so that one file has one name.
    ///
    /// # Errors
    /// When nothing is there or a link leads out of the tree.
    fn resolve(&self, path: &str) -> Result<String, FileError>;

    /// Whether there is a file or directory at `path`.
    fn exists(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    /// Whether there is a directory at `path`.
    fn is_dir(&self, path: &str) -> bool {
        self.kind(path) == Some(FileKind::Directory)
    }
}

/// A file that was read.
pub(crate) struct Loaded {
    /// Its path from the root, as errors name it.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Why a path could not be read. The path is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
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
    /// Anything else the file system said.
    #[error("'{path}' cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The file system's words.
        reason: String,
    },
}
