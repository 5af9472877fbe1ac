//! The files that are served, on a disk that may be lost, full or tampered with at any time.
//!
//! An artifact appears all at once: it is written to a temporary file in its directory, flushed to the disk, renamed, and the
//! directory is flushed too. Until then the one before stays untouched, and a failure leaves nothing but it. What lies there
//! from an earlier run is adopted as long as its digest is right, and what a killed process left half written goes at the next
//! start ([`Storage::sweep`]).
//!
//! The layout and the locks are Flux's: beside each artifact lies a file `<artifact>.lock`, which is locked (`flock`) while the
//! artifact is written and goes only with it. So Flux can take the directory over, and hand it back. What it was killed
//! over goes like what this controller was killed over; what is half written under a lock that somebody holds stays.
//!
//! Everything goes through a directory handle that cannot be left. The calls block; callers run them where that is fine.

pub mod gc;
pub mod path;

use std::fs::TryLockError;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use artifact::{Algorithm, Archive, Digest, Written};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};

use gc::Retention;
use path::Place;

/// The file that is locked while an artifact is written is named like it, with this behind.
const LOCK: &str = ".lock";
/// At most so many files of an object are looked at in one go.
const MAX_FILES: usize = 1000;

/// The storage.
#[derive(Debug)]
pub struct Storage {
    root: Dir,
    base_url: String,
    algorithm: Algorithm,
    retention: Retention,
}

/// A file that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The path relative to the root.
    pub path: String,
    /// The digest of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object's directory cannot be made.
    #[error("failed to create artifact directory: {0}")]
    Directory(#[source] io::Error),
    /// Somebody else writes the same artifact, or the file to lock cannot be made.
    #[error("failed to acquire lock for artifact: {0}")]
    Lock(#[source] io::Error),
    /// The file cannot be written in full; the one before is untouched.
    #[error("unable to archive artifact to storage: {0}")]
    Archive(String),
}

/// What became of a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// It is there and has its digest.
    Intact,
    /// It is not there.
    Missing,
    /// It is not what it should be.
    Damaged(String),
}

impl Storage {
    /// Opens the storage in an existing directory.
    ///
    /// # Errors
    /// The directory is missing or cannot be opened.
    pub fn open(root: &Path, base_url: String, algorithm: Algorithm, retention: Retention) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(root, cap_std::ambient_authority())?;
        Ok(Self {
            root,
            base_url,
            algorithm,
            retention,
        })
    }

    /// A handle on the root, for serving.
    pub fn root(&self) -> io::Result<Dir> {
        self.root.try_clone()
    }

    /// The URL under which the file at `path` is served.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url)
    }

    /// Stores what `write` archives as `file` in `place`, in place of what is there.
    pub fn publish<E: std::fmt::Display>(
        &self,
        place: &Place,
        file: &str,
        write: impl FnOnce(&mut Archive<BufWriter<cap_std::fs::File>>) -> Result<(), E>,
    ) -> Result<Stored, Error> {
        let directory = self.directory(place).map_err(Error::Directory)?;
        let _lock = lock(&directory, file).map_err(Error::Lock)?;
        let temporary = path::temporary(file);
        let failed = |error: &dyn std::fmt::Display| Error::Archive(error.to_string());
        let written = self.write(&directory, &temporary, write).and_then(|written| {
            directory
                .rename(&temporary, &directory, file)
                .map_err(|error| error.to_string())?;
            flush(&directory).map_err(|error| error.to_string())?;
            Ok(written)
        });
        match written {
            Ok((digest, size)) => Ok(Stored {
                path: place.path(file),
                digest,
                size,
            }),
            Err(error) => {
                // A full disk is what most likely brought us here: leave nothing half written on it.
                let _ = directory.remove_file(&temporary);
                Err(failed(&error))
            }
        }
    }

    fn write<E: std::fmt::Display>(
        &self,
        directory: &Dir,
        name: &str,
        write: impl FnOnce(&mut Archive<BufWriter<cap_std::fs::File>>) -> Result<(), E>,
    ) -> Result<(Digest, u64), String> {
        let text = |error: io::Error| error.to_string();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = directory.open_with(name, &options).map_err(text)?;
        let mut archive = Archive::new(BufWriter::with_capacity(64 * 1024, file), self.algorithm);
        write(&mut archive).map_err(|error| error.to_string())?;
        let Written {
            digest,
            size,
            mut writer,
        } = archive.finish().map_err(text)?;
        writer.flush().map_err(text)?;
        writer.get_ref().sync_all().map_err(text)?;
        Ok((digest, size))
    }

    /// The object's directory, made if need be, and on the disk before anything is in it.
    fn directory(&self, place: &Place) -> io::Result<Dir> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let mut directory = self.root.try_clone()?;
        for name in place.directory().split('/') {
            match directory.create_dir_with(name, &builder) {
                Ok(()) => flush(&directory)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            directory = directory.open_dir(name)?;
        }
        Ok(directory)
    }

    /// Reads the stored file again and compares it with the digest it was announced with.
    pub fn check(&self, place: &Place, path: &str, digest: &str) -> Integrity {
        let Some(file) = place.file(path) else {
            return Integrity::Damaged(format!("path '{path}' is not one of '{}'", place.directory()));
        };
        let path = place.path(file);
        match self.root.symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Integrity::Damaged("it is not a regular file".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Integrity::Missing,
            Err(error) => return Integrity::Damaged(error.to_string()),
        }
        let expected: Digest = match digest.parse() {
            Ok(digest) => digest,
            Err(error) => return Integrity::Damaged(error.to_string()),
        };
        match self
            .root
            .open(&path)
            .and_then(|file| Digest::of_reader(expected.algorithm(), file))
        {
            Ok(found) if found == expected => Integrity::Intact,
            Ok(found) => Integrity::Damaged(format!("computed digest '{found}' doesn't match '{expected}'")),
            Err(error) => Integrity::Damaged(error.to_string()),
        }
    }

    /// The stored file at `path`, to read.
    ///
    /// # Errors
    /// It is not there, is no file, or is not one of the object's.
    pub fn open_file(&self, place: &Place, path: &str) -> io::Result<cap_std::fs::File> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = place.path(place.file(path).ok_or_else(missing)?);
        if !self.root.symlink_metadata(&path)?.is_file() {
            return Err(missing());
        }
        self.root.open(&path)
    }

    /// Removes the files that killed processes left half written, whosever they are; how many. What somebody goes on
    /// writing is left: its lock is held.
    ///
    /// # Errors
    /// A directory that cannot be read. A file that cannot be removed is left.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut removed = 0;
        // Kind, namespace, name.
        sweep(&self.root, 3, &mut removed)?;
        Ok(removed)
    }

    /// Removes the file at `path`, if there is one.
    pub fn remove(&self, place: &Place, path: &str) -> io::Result<()> {
        match place.file(path) {
            Some(file) => absent_is_fine(self.root.remove_file(place.path(file))),
            None => Ok(()),
        }
    }

    /// Removes what an object no longer needs beside its current file; the paths of the artifacts removed.
    pub fn collect_garbage(&self, place: &Place, current: Option<&str>, now: SystemTime) -> io::Result<Vec<PathBuf>> {
        let directory = match self.root.open_dir(place.directory()) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (mut artifacts, mut locks, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
        for entry in directory.entries()?.take(MAX_FILES) {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = entry.metadata()?;
            if !metadata.is_file() {
                continue;
            }
            if path::unfinished(&name).is_some() {
                unfinished.push(name);
            } else if let Some(of) = name.strip_suffix(LOCK) {
                locks.push(of.to_owned());
            } else {
                let written = metadata.modified()?.into_std();
                let age = now.duration_since(written).unwrap_or(Duration::ZERO);
                artifacts.push(gc::File { name, age });
            }
        }
        for name in unfinished {
            remove_unfinished(&directory, &name)?;
        }
        let current = current.and_then(|path| place.file(path));
        let gone = gc::outdated(artifacts.clone(), current, self.retention);
        for name in &gone {
            directory.remove_file(name)?;
        }
        for of in locks {
            let is_left = gone.contains(&of) || artifacts.iter().all(|file| file.name != of);
            // Who holds it is about to write the artifact.
            if is_left && let Ok(_lock) = lock(&directory, &of) {
                directory.remove_file(format!("{of}{LOCK}"))?;
            }
        }
        Ok(gone.into_iter().map(|name| PathBuf::from(place.path(&name))).collect())
    }

    /// Removes everything of an object; whether there was anything.
    pub fn delete(&self, place: &Place) -> io::Result<bool> {
        match self.root.remove_dir_all(place.directory()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Locks an artifact for writing, as Flux does, until the file is dropped. Nobody waits for a lock: who holds it may take
/// long, and the reconcile comes again.
fn lock(directory: &Dir, file: &str) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let lock = directory.open_with(format!("{file}{LOCK}"), &options)?.into_std();
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process holds it"),
        TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

/// Removes a file that a killed process left half written; not one that is still being written. Whether it did.
fn remove_unfinished(directory: &Dir, name: &str) -> io::Result<bool> {
    let Some(artifact) = path::unfinished(name) else {
        return Ok(false);
    };
    // A lock that is not there is held by nobody, and is not made for this.
    let _lock = match directory.symlink_metadata(format!("{artifact}{LOCK}")) {
        Ok(_) => match lock(directory, artifact) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            held => Some(held?),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    directory.remove_file(name).map(|()| true)
}

/// Has the names in a directory survive a crash of the machine.
fn flush(directory: &Dir) -> io::Result<()> {
    // The handle is for looking names up only; flushing needs one that is open for reading.
    directory.open(".")?.sync_all()
}

/// Removes what is half written in the directories so many levels down.
fn sweep(directory: &Dir, levels: usize, removed: &mut usize) -> io::Result<()> {
    for entry in directory.entries()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if levels > 0 && kind.is_dir() {
            sweep(&entry.open_dir()?, levels - 1, removed)?;
        } else if levels == 0 && kind.is_file() {
            match remove_unfinished(directory, &entry.file_name().to_string_lossy()) {
                Ok(is_removed) => *removed += usize::from(is_removed),
                Err(error) => tracing::warn!(%error, "a file that was left half written cannot be removed"),
            }
        }
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    struct Fixture {
        directory: tempfile::TempDir,
        storage: Storage,
        place: Place,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let retention = Retention {
            ttl: Duration::from_secs(60),
            records: 2,
        };
        let storage = Storage::open(directory.path(), "http://host".into(), Algorithm::Sha256, retention).unwrap();
        Fixture {
            directory,
            storage,
            place: Place::new("GitRepository", "ns", "app"),
        }
    }

    impl Fixture {
        fn publish(&self, file: &str, text: &str) -> Result<Stored, Error> {
            self.storage.publish(&self.place, file, |archive| {
                archive.directory(b".")?;
                archive.file(b"a", false, text.len() as u64, |out| out.write_all(text.as_bytes()))
            })
        }

        fn path(&self, file: &str) -> PathBuf {
            self.directory.path().join(self.place.path(file))
        }

        fn check(&self, files: &[&str]) {
            let names = std::fs::read_dir(self.path(""))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap());
            assert_eq!(
                names.collect::<BTreeSet<_>>(),
                files.iter().map(|f| (*f).to_owned()).collect()
            );
        }
    }

    #[test]
    fn a_stored_file_is_intact_until_it_is_touched() {
        let fixture = fixture();
        let stored = fixture.publish("a.tar.gz", "one").unwrap();
        assert_eq!(stored.path, "gitrepository/ns/app/a.tar.gz");
        assert_eq!(stored.size, std::fs::metadata(fixture.path("a.tar.gz")).unwrap().len());
        let digest = stored.digest.to_string();
        let integrity = |path: &str, digest: &str| fixture.storage.check(&fixture.place, path, digest);
        assert_eq!(integrity(&stored.path, &digest), Integrity::Intact);
        assert_eq!(integrity("gitrepository/ns/app/b.tar.gz", &digest), Integrity::Missing);
        assert_eq!(integrity(&stored.path, ""), Integrity::Damaged("empty digest".into()));
        assert!(matches!(integrity("../../etc/passwd", &digest), Integrity::Damaged(_)));
        std::fs::write(fixture.path("a.tar.gz"), "tampered").unwrap();
        assert!(matches!(integrity(&stored.path, &digest), Integrity::Damaged(text) if text.contains("doesn't match")));
    }

    #[test]
    fn a_failure_leaves_the_file_before_and_nothing_else() {
        let fixture = fixture();
        let before = fixture.publish("a.tar.gz", "one").unwrap();
        let failing = fixture.storage.publish(&fixture.place, "a.tar.gz", |archive| {
            archive.directory(b".")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(
            failing.unwrap_err().to_string(),
            "unable to archive artifact to storage: disk full"
        );
        assert_eq!(
            fixture
                .storage
                .check(&fixture.place, &before.path, &before.digest.to_string()),
            Integrity::Intact
        );
        fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
    }

    #[test]
    fn who_holds_the_lock_writes_alone() {
        let fixture = fixture();
        let before = fixture.publish("a.tar.gz", "one").unwrap();
        let lock = std::fs::File::open(fixture.path("a.tar.gz.lock")).unwrap();
        lock.lock().unwrap();
        std::fs::remove_file(fixture.path("a.tar.gz")).unwrap();
        let removed = fixture.storage.collect_garbage(&fixture.place, None, SystemTime::now());
        assert!(removed.unwrap().is_empty());
        let refused = fixture.publish("a.tar.gz", "two").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "failed to acquire lock for artifact: another process holds it"
        );
        fixture.publish("b.tar.gz", "two").unwrap();
        drop(lock);
        assert_ne!(fixture.publish("a.tar.gz", "two").unwrap().digest, before.digest);
    }

    #[test]
    fn what_was_left_half_written_goes_and_nothing_else() {
        let fixture = fixture();
        fixture.publish("a.tar.gz", "one").unwrap();
        // The names of Flux's end in a number.
        for half in [".tmp-b.tar.gz", "b.tar.gz2418549247", "a.tar.gz7"] {
            std::fs::write(fixture.path(half), "half").unwrap();
        }
        let elsewhere = fixture.directory.path().join("gitrepository/.tmp-b.tar.gz");
        std::fs::write(&elsewhere, "not ours").unwrap();
        assert_eq!(fixture.storage.sweep().unwrap(), 3);
        assert_eq!(fixture.storage.sweep().unwrap(), 0);
        fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
        assert!(elsewhere.exists());
    }

    #[test]
    fn what_is_still_being_written_stays_until_its_lock_is_free() {
        let fixture = fixture();
        fixture.publish("a.tar.gz", "one").unwrap();
        let halves = [".tmp-a.tar.gz", "a.tar.gz7"];
        for half in halves {
            std::fs::write(fixture.path(half), "half").unwrap();
        }
        let lock = std::fs::File::open(fixture.path("a.tar.gz.lock")).unwrap();
        lock.lock().unwrap();
        let current = fixture.place.path("a.tar.gz");
        let collect = || {
            fixture
                .storage
                .collect_garbage(&fixture.place, Some(&current), SystemTime::now())
        };
        assert!(collect().unwrap().is_empty());
        assert_eq!(fixture.storage.sweep().unwrap(), 0);
        fixture.check(&["a.tar.gz", "a.tar.gz.lock", ".tmp-a.tar.gz", "a.tar.gz7"]);
        drop(lock);
        assert!(collect().unwrap().is_empty(), "it was no artifact");
        fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
    }

    #[test]
    fn only_files_of_the_object_are_opened() {
        let fixture = fixture();
        let stored = fixture.publish("a.tar.gz", "one").unwrap();
        std::os::unix::fs::symlink("a.tar.gz", fixture.path("link.tar.gz")).unwrap();
        let opens = |path: &str| fixture.storage.open_file(&fixture.place, path).is_ok();
        assert!(opens(&stored.path));
        for path in [
            "gitrepository/ns/app/link.tar.gz",
            "gitrepository/ns/app/b.tar.gz",
            "gitrepository/ns",
            "",
        ] {
            assert!(!opens(path), "{path}");
        }
    }

    #[test]
    fn the_same_name_is_replaced_at_once() {
        let fixture = fixture();
        let one = fixture.publish("a.tar.gz", "one").unwrap();
        let mut open = std::fs::File::open(fixture.path("a.tar.gz")).unwrap();
        let two = fixture.publish("a.tar.gz", "two").unwrap();
        assert_ne!(one.digest, two.digest);
        assert_eq!(
            Digest::of_reader(Algorithm::Sha256, &mut open).unwrap(),
            one.digest,
            "who reads it goes on reading"
        );
    }

    #[test]
    fn garbage_goes_and_the_current_file_stays() {
        let fixture = fixture();
        for file in ["a.tar.gz", "b.tar.gz", "c.tar.gz"] {
            fixture.publish(file, file).unwrap();
        }
        std::fs::write(fixture.path(".tmp-d.tar.gz"), "half").unwrap();
        std::fs::write(fixture.path("x.tar.gz.lock"), "").unwrap();
        let current = fixture.place.path("c.tar.gz");
        let later = SystemTime::now() + Duration::from_secs(120);
        let gone = fixture
            .storage
            .collect_garbage(&fixture.place, Some(&current), later)
            .unwrap();
        assert_eq!(gone.len(), 2);
        fixture.check(&["c.tar.gz", "c.tar.gz.lock"]);
        assert!(fixture.storage.delete(&fixture.place).unwrap());
        assert!(!fixture.storage.delete(&fixture.place).unwrap());
        assert!(!fixture.path("").exists());
        assert!(
            fixture
                .storage
                .collect_garbage(&fixture.place, None, later)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn much_garbage_goes_bit_by_bit() {
        let fixture = fixture();
        let current = fixture.publish("current.tar.gz", "one").unwrap().path;
        for n in 0..MAX_FILES + 100 {
            std::fs::write(fixture.path(&format!("{n}.tar.gz")), "").unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(120);
        let collect = || {
            fixture
                .storage
                .collect_garbage(&fixture.place, Some(&current), later)
                .unwrap()
                .len()
        };
        let first = collect();
        assert!((MAX_FILES - 2..=MAX_FILES).contains(&first), "{first}");
        assert_eq!(first + collect(), MAX_FILES + 100);
        assert_eq!(collect(), 0);
        fixture.check(&["current.tar.gz", "current.tar.gz.lock"]);
    }

    #[test]
    fn a_missing_directory_is_not_made_up() {
        let retention = Retention {
            ttl: Duration::ZERO,
            records: 0,
        };
        assert!(Storage::open(Path::new("/nonexistent/x"), String::new(), Algorithm::Sha256, retention).is_err());
    }
}
