//! A tree of files held in memory: tests, generated trees, fuzzing. Directories exist where files are below them.

use std::collections::BTreeMap;

use super::{FileError, FileKind, Files, join, within};

/// A tree of files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryFiles {
    /// Puts a file into the tree, replacing one of the same path.
    ///
    /// # Errors
    /// [`FileError::Outside`] when `..` in the path climbs above the root.
    pub fn insert(&mut self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), FileError> {
        self.files.insert(join("", path)?, content.into());
        Ok(())
    }

    /// The paths and contents of all files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        let start = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        self.files
            .range(start.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&start))
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        match self.files.get(path) {
            Some(content) if content.len() as u64 > limit => Err(FileError::TooLarge {
                path: path.to_owned(),
                limit,
            }),
            Some(content) => Ok(content.clone()),
            None if self.is_dir(path) => Err(FileError::IsDirectory(path.to_owned())),
            None => Err(FileError::NotFound(path.to_owned())),
        }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        if self.files.contains_key(path) {
            Some(FileKind::File)
        } else if path.is_empty() || self.below(path).next().is_some() {
            Some(FileKind::Directory)
        } else {
            None
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        match self.kind(path) {
            None => return Err(FileError::NotFound(path.to_owned())),
            Some(FileKind::File) => return Err(FileError::NotADirectory(path.to_owned())),
            Some(FileKind::Directory) => {}
        }
        let skip = if path.is_empty() { 0 } else { path.len() + 1 };
        let mut names: Vec<String> = self
            .below(path)
            .filter(|file| within(file, path))
            .filter_map(|file| file[skip..].split('/').next().map(str::to_owned))
            .collect();
        names.dedup();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        match self.kind(path) {
            Some(_) => Ok(path.to_owned()),
            None => Err(FileError::NotFound(path.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_where_files_are_below_them() {
        let mut files = MemoryFiles::default();
        for path in ["a/x", "a.b", "a/c/y", "./z"] {
            assert_eq!(files.insert(path, path), Ok(()));
        }
        assert_eq!(files.list(""), Ok(vec!["a".into(), "a.b".into(), "z".into()]));
        assert_eq!(files.list("a"), Ok(vec!["c".into(), "x".into()]));
        assert_eq!(files.kind("a/c"), Some(FileKind::Directory));
        assert_eq!(files.read("a", 9), Err(FileError::IsDirectory("a".into())));
        assert_eq!(
            files.read("z", 2),
            Err(FileError::TooLarge {
                path: "z".into(),
                limit: 2
            })
        );
        assert_eq!(files.insert("../x", ""), Err(FileError::Outside("../x".into())));
    }
}
