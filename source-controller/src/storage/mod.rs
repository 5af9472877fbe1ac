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

/// Why nothing was stored, or why it cannot be told what is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be looked whether an artifact is there.
    #[error("failed to stat target artifact path: {0}")]
    Stat(#[source] io::Error),
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
    /// It is not there: nothing is, something else than a file is, or the path is not one of the object's.
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
    ///
    /// # Errors
    /// Where it lies cannot be looked into, so it may well be there. A file that is there and cannot be read counts as damaged:
    /// nobody else can read it either.
    pub fn check(&self, place: &Place, path: &str, digest: &str) -> Result<Integrity, Error> {
        let damaged = |detail: String| Ok(Integrity::Damaged(detail));
        let Some(file) = place.file(path) else {
            return Ok(Integrity::Missing);
        };
        let path = place.path(file);
        match self.root.symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(Integrity::Missing),
            Err(error) if is_absence(&error) => return Ok(Integrity::Missing),
            Err(error) => return Err(Error::Stat(error)),
        }
        let expected: Digest = match digest.parse() {
            Ok(digest) => digest,
            Err(error) => return damaged(error.to_string()),
        };
        let found = self
            .root
            .open(&path)
            .and_then(|file| Digest::of_reader(expected.algorithm(), file));
        match found {
            Ok(found) if found == expected => Ok(Integrity::Intact),
            Ok(found) => damaged(format!("computed digest '{found}' doesn't match '{expected}'")),
            Err(error) => damaged(error.to_string()),
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

/// Whether a path leads to nothing, as one through a file does.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
