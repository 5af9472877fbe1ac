//! Where a process keeps its temporary files: one private directory that goes with the process.
//!
//! A process that is killed leaves its directory behind, and the directory for temporary files may outlive many of
//! them. So each process holds the lock of a file in its own, and [`Scratch::sweep`] removes those that nobody holds, or
//! that were never locked.

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// The file in a process's directory that the process holds the lock of as long as it lives.
const LOCK: &str = "lock";

/// The temporary directory of this process; made when it is needed first, so that a full or missing disk is an error
/// of the work that needs it, and made again when somebody has cleaned up.
#[derive(Debug)]
pub struct Scratch {
    temporary: PathBuf,
    prefix: &'static str,
    place: Mutex<Option<Arc<Place>>>,
}

impl Scratch {
    /// A directory below the system's one for temporary files, whose name begins with the prefix.
    pub fn new(prefix: &'static str) -> Self {
        Self::within(std::env::temp_dir(), prefix)
    }

    /// As [`Scratch::new`], below another directory.
    pub fn within(temporary: PathBuf, prefix: &'static str) -> Self {
        Scratch {
            temporary,
            prefix,
            place: Mutex::default(),
        }
    }

    /// The directory. Whoever keeps files in it keeps the place, too: it is removed with its last holder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn place(&self) -> io::Result<Arc<Place>> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = place.as_ref().filter(|place| place.path().is_dir()) {
            return Ok(Arc::clone(place));
        }
        let made = Arc::new(Place::make(&self.temporary, self.prefix)?);
        *place = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Removes what killed processes left behind: directories with the prefix whose lock nobody holds, or that have none.
    /// Returns the names of those that are gone.
    ///
    /// # Errors
    /// The directory for temporary files cannot be read. One of a killed process that cannot be removed is left.
    pub fn sweep(&self) -> io::Result<Vec<String>> {
        let temporary = Dir::open_ambient_dir(&self.temporary, ambient_authority())?;
        let mut removed = Vec::new();
        for entry in temporary.entries()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(self.prefix) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = Path::new(&name).join(LOCK);
            let lock = match temporary.symlink_metadata(&path) {
                Ok(found) if found.is_file() => temporary.open(&path),
                // Killed before the lock was made, or while the directory was removed. Who makes it now has the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    temporary.open_with(&path, OpenOptions::new().write(true).create_new(true))
                }
                // Not ours to read.
                Ok(_) | Err(_) => continue,
            };
            let Ok(lock) = lock.map(cap_std::fs::File::into_std) else {
                continue;
            };
            // The lock is held until all is gone, so that nobody takes the name for a living one.
            if lock.try_lock().is_ok() && temporary.remove_dir_all(&name).is_ok() {
                removed.push(name);
            }
        }
        Ok(removed)
    }
}

/// A process's directory; its lock is released after it is removed.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    _lock: File,
}

impl Place {
    /// Makes a directory in the one for temporary files, and holds its lock.
    fn make(temporary: &Path, prefix: &str) -> io::Result<Self> {
        loop {
            let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(temporary)?;
            let path = directory.path().join(LOCK);
            // Another process that starts just now may be faster and take it for one that was left behind.
            let lock = match File::create_new(&path) {
                Ok(lock) => lock,
                Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match lock.try_lock() {
                Ok(()) if path.exists() => return Ok(Place { directory, _lock: lock }),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "scratch-";

    fn names(directory: &Path) -> Vec<String> {
        let names = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(temporary.path().to_owned(), PREFIX);
        let alive = scratch.place().unwrap();
        // One was killed before it had made its lock, and one lock is no file.
        for name in ["scratch-dead", "scratch-lockless", "scratch-odd/lock", "other"] {
            std::fs::create_dir_all(temporary.path().join(name).join("x/deep")).unwrap();
        }
        for name in ["scratch-dead", "other"] {
            std::fs::write(temporary.path().join(name).join(LOCK), "").unwrap();
        }
        let mut removed = scratch.sweep().unwrap();
        removed.sort();
        assert_eq!(removed, ["scratch-dead", "scratch-lockless"]);
        let mine = alive.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = vec!["scratch-odd".to_owned(), "other".to_owned(), mine];
        expected.sort();
        assert_eq!(names(temporary.path()), expected);
        drop((alive, scratch));
        assert_eq!(names(temporary.path()), ["other", "scratch-odd"]);
    }

    #[test]
    fn processes_that_start_at_the_same_moment_leave_each_other_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let start = || {
            let mut places = Vec::new();
            for _ in 0..50 {
                let scratch = Scratch::within(temporary.path().to_owned(), PREFIX);
                scratch.sweep().unwrap();
                places.push(scratch.place().unwrap());
            }
            places
        };
        let places: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        Scratch::within(temporary.path().to_owned(), PREFIX).sweep().unwrap();
        assert!(places.iter().all(|place| place.path().join(LOCK).exists()));
        assert_eq!(names(temporary.path()).len(), places.len());
    }

    #[test]
    fn a_directory_that_somebody_removed_is_made_again() {
        let temporary = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(temporary.path().to_owned(), PREFIX);
        let first = scratch.place().unwrap();
        std::fs::remove_dir_all(first.path()).unwrap();
        assert!(scratch.place().unwrap().path().is_dir());
    }
}
