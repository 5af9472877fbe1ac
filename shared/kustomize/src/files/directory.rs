//! A directory of the file system that cannot be left: every access goes through one directory handle, and symbolic
//! links are followed only while they stay inside.

use std::io::{ErrorKind, Read};

use cap_std::fs::Dir;

use super::{FileError, FileKind, Files};

/// The files in and below an open directory.
#[derive(Debug)]
pub struct DirFiles {
    dir: Dir,
}

impl DirFiles {
    /// The tree whose root is this directory.
    pub fn new(dir: Dir) -> Self {
        Self { dir }
    }
}

/// cap-std has no empty path for the handle itself.
fn or_dot(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn describe(path: &str, error: &std::io::Error) -> FileError {
    match error.kind() {
        ErrorKind::NotFound => FileError::NotFound(path.to_owned()),
        ErrorKind::NotADirectory => FileError::NotADirectory(path.to_owned()),
        ErrorKind::IsADirectory => FileError::IsDirectory(path.to_owned()),
        // cap-std's answer to a path or link that leads out of the directory.
        ErrorKind::PermissionDenied if error.raw_os_error().is_none() => FileError::Outside(path.to_owned()),
        _ => FileError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

impl Files for DirFiles {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        match self.kind(path) {
            Some(FileKind::Directory) => return Err(FileError::IsDirectory(path.to_owned())),
            // A FIFO or device would block or never end.
            None if self.dir.metadata(or_dot(path)).is_ok() => {
                return Err(FileError::Unreadable {
                    path: path.to_owned(),
                    reason: "not a regular file".into(),
                });
            }
            Some(FileKind::File) | None => {}
        }
        let mut content = Vec::new();
        self.dir
            .open(or_dot(path))
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut content))
            .map_err(|error| describe(path, &error))?;
        if content.len() as u64 > limit {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
                limit,
            });
        }
        Ok(content)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let metadata = self.dir.metadata(or_dot(path)).ok()?;
        if metadata.is_file() {
            Some(FileKind::File)
        } else if metadata.is_dir() {
            Some(FileKind::Directory)
        } else {
            None
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for entry in self
            .dir
            .read_dir(or_dot(path))
            .map_err(|error| describe(path, &error))?
        {
            let entry = entry.map_err(|error| describe(path, &error))?;
            names.push(entry.file_name().into_string().map_err(|name| FileError::Unreadable {
                path: path.to_owned(),
                reason: format!("the name {name:?} is not UTF-8"),
            })?);
        }
        names.sort();
        Ok(names)
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        let resolved = self
            .dir
            .canonicalize(or_dot(path))
            .map_err(|error| describe(path, &error))?;
        let text = resolved
            .into_os_string()
            .into_string()
            .map_err(|name| FileError::Unreadable {
                path: path.to_owned(),
                reason: format!("the name {name:?} is not UTF-8"),
            })?;
        Ok(if text == "." { String::new() } else { text })
    }
}
