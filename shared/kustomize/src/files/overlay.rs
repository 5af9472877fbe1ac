//! A tree of files with some contents replaced or added, without touching the tree below: a controller builds with a
//! kustomization it generated over an artifact it must not change.

use super::{FileError, FileKind, Files, MemoryFiles, join};

/// A tree laid over another: its files win.
pub struct Overlay<'a> {
    below: &'a dyn Files,
    above: MemoryFiles,
}

impl<'a> Overlay<'a> {
    /// An overlay that changes nothing yet.
    pub fn new(below: &'a dyn Files) -> Self {
        Self {
            below,
            above: MemoryFiles::default(),
        }
    }

    /// Replaces or adds the file at `path`. Symbolic links to directories on the way are followed as the tree below does
    /// it; a link at the end is replaced, not followed.
    ///
    /// # Errors
    /// [`FileError::Outside`] when `..` in the path climbs above the root.
    pub fn insert(&mut self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), FileError> {
        let path = join("", path)?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        // A build asks for resolved paths only, so that is where the file has to be.
        let parent = self.below.resolve(parent).unwrap_or_else(|_| parent.to_owned());
        self.above.insert(&format!("{parent}/{name}"), content)
    }
}

impl Files for Overlay<'_> {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        if self.above.kind(path) == Some(FileKind::File) {
            self.above.read(path, limit)
        } else {
            self.below.read(path, limit)
        }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        self.above.kind(path).or_else(|| self.below.kind(path))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        match (self.above.list(path), self.below.list(path)) {
            (Ok(mut names), Ok(below)) => {
                names.extend(below);
                names.sort();
                names.dedup();
                Ok(names)
            }
            (Ok(names), Err(_)) => Ok(names),
            (Err(_), below) => below,
        }
    }

    fn resolve(&self, path: &str) -> Result<String, FileError> {
        if self.above.kind(path) == Some(FileKind::File) {
            return Ok(path.to_owned());
        }
        self.below.resolve(path).or_else(|error| {
            if self.above.exists(path) {
                Ok(path.to_owned())
            } else {
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_above_win_and_the_rest_shows_through() -> Result<(), FileError> {
        let mut below = MemoryFiles::default();
        below.insert("a/old", "1")?;
        below.insert("a/both", "1")?;
        let mut overlay = Overlay::new(&below);
        overlay.insert("a/both", "2")?;
        overlay.insert("b/new", "3")?;
        assert_eq!(overlay.read("a/old", 9)?, b"1");
        assert_eq!(overlay.read("a/both", 9)?, b"2");
        assert_eq!(overlay.list("")?, ["a", "b"]);
        assert_eq!(overlay.list("a")?, ["both", "old"]);
        assert_eq!(overlay.resolve("b/new")?, "b/new");
        Ok(())
    }
}
