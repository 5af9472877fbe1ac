//! A directory of the file system that cannot be left: every access goes through one directory handle, and symbolic
//! links are followed only while they stay inside.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;

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

/// Whether a file of this name is taken for a manifest where a directory is searched for them.
fn is_manifest(name: &OsStr) -> bool {
    [&b".yaml"[..], b".yml"]
        .iter()
        .any(|end| name.as_bytes().ends_with(end))
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
            match entry.file_name().into_string() {
                Ok(name) => names.push(name),
                // Nothing that is text can name it, and nobody looks for it by its ending.
                Err(name) if !is_manifest(&name) && entry.file_type().is_ok_and(|kind| kind.is_file()) => {}
                Err(name) => {
                    return Err(FileError::Unreadable {
                        path: path.to_owned(),
                        reason: format!("the name {name:?} is not UTF-8"),
                    });
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a directory with one file and this beside it lists.
    fn check(beside: &[u8], is_directory: bool, expected: Result<&[&str], &str>) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(OsStr::from_bytes(beside));
        std::fs::write(temp.path().join("a.yaml"), "").unwrap();
        match is_directory {
            true => std::fs::create_dir(path).unwrap(),
            false => std::fs::write(path, "").unwrap(),
        }
        let files = DirFiles::new(Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap());
        let found = files.list("").map_err(|error| error.to_string());
        let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found, expected.map_err(str::to_owned), "{beside:?}");
    }

    #[test]
    fn names_that_are_no_text_are_passed_over_where_no_manifest_can_be() {
        check(b"b", false, Ok(&["a.yaml", "b"]));
        check(b"b\xff", false, Ok(&["a.yaml"]));
        check(b"b\xff.md", false, Ok(&["a.yaml"]));
        let text = |name: &str| format!("'' cannot be read: the name \"{name}\" is not UTF-8");
        check(b"b\xff.yaml", false, Err(&text("b\\xFF.yaml")));
        check(b"b\xff.yml", false, Err(&text("b\\xFF.yml")));
        check(b"b\xff", true, Err(&text("b\\xFF")));
    }
}
