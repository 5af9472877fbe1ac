//! What the controller has on disk, seen from outside while it works: how far it is, and what is not finished.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tests::controllers::{Controller, Controllers};

/// How the names of files begin that are not complete.
const HALF_WRITTEN: [&str; 2] = [".tmp-", "incoming-"];
/// How the names of a process's own temporary directories begin.
const SCRATCH: &str = "source-controller-";
/// How the names of planted artifacts begin; no hash does.
const PLANTED: &str = "00000000000000000000";

/// The directories of the controller.
pub struct Disk {
    storage: PathBuf,
    objects: PathBuf,
    temporary: PathBuf,
}

/// What is in a directory; nothing if it is gone.
fn entries(directory: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten().collect()
}

fn name(entry: &fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// The files below a directory.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => walk(&entry.path()),
        Ok(_) => vec![entry.path()],
        // It went meanwhile.
        Err(_) => Vec::new(),
    };
    entries(directory).into_iter().flat_map(below).collect()
}

fn is_half_written(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    HALF_WRITTEN.iter().any(|start| name.starts_with(start))
}

impl Disk {
    /// Those of the controller for a namespace.
    pub fn new(controllers: &Controllers, namespace: &str) -> Self {
        let storage = controllers.storage();
        Self {
            objects: storage.join("gitrepository").join(namespace),
            storage,
            temporary: controllers.temporary(Controller::Source),
        }
    }

    /// Where a path of the status leads.
    pub fn file(&self, path: &str) -> PathBuf {
        self.storage.join(path)
    }

    /// The directory of an object's artifacts.
    pub fn place(&self, object: &str) -> PathBuf {
        self.objects.join(object)
    }

    /// Where fetched objects are kept.
    pub fn cache(&self) -> PathBuf {
        self.temporary.join("sluice-git-cache")
    }

    /// The bytes of the pack that is being received, if one is.
    pub fn receiving(&self) -> Option<u64> {
        let packs = entries(&self.cache())
            .into_iter()
            .flat_map(|entry| entries(&entry.path()))
            .filter(|entry| is_half_written(&entry.path()));
        packs.filter_map(|entry| Some(entry.metadata().ok()?.len())).max()
    }

    /// The bytes of the archive of an object that is being written, if one is.
    pub fn archiving(&self, object: &str) -> Option<u64> {
        let files = entries(&self.place(object)).into_iter();
        let mut archives = files.filter(|entry| is_half_written(&entry.path()));
        Some(archives.next()?.metadata().ok()?.len())
    }

    /// Whether any archive is being written.
    pub fn is_archiving(&self) -> bool {
        walk(&self.objects).iter().any(|path| is_half_written(path))
    }

    /// The artifact of an object for a commit.
    pub fn artifact(&self, object: &str, commit: &str) -> PathBuf {
        self.place(object).join(format!("{commit}.tar.gz"))
    }

    /// Puts artifacts beside those of an object that are old enough to be thrown out, and their locks.
    pub fn plant(&self, object: &str, count: usize) -> Result<()> {
        let place = self.place(object);
        let old = SystemTime::now() - Duration::from_secs(3600);
        for number in 0..count {
            for end in ["tar.gz", "tar.gz.lock"] {
                let path = place.join(format!("{PLANTED}{number:020x}.{end}"));
                let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
                file.set_modified(old)?;
            }
        }
        Ok(())
    }

    /// How many of those are left.
    pub fn planted(&self, object: &str) -> usize {
        let all = entries(&self.place(object));
        all.iter().filter(|entry| name(entry).starts_with(PLANTED)).count()
    }

    /// Everything that a process that is done, or dead, may not leave: half written files, in the cache too, directories for
    /// temporary files whose lock nobody holds, and locks of artifacts that are not there.
    pub fn left_behind(&self) -> Result<Vec<PathBuf>> {
        let mut found = walk(&self.storage);
        found.retain(|path| {
            let orphan = path.extension().is_some_and(|end| end == "lock") && !path.with_extension("").exists();
            orphan || is_half_written(path)
        });
        found.extend(walk(&self.cache()).into_iter().filter(|path| is_half_written(path)));
        for entry in entries(&self.temporary) {
            if name(&entry).starts_with(SCRATCH) && !is_held(&entry.path().join("lock"))? {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// The bytes of the largest entry of the cache.
    pub fn largest_entry(&self) -> u64 {
        let size = |entry: fs::DirEntry| -> u64 {
            let files = walk(&entry.path());
            files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
        };
        entries(&self.cache()).into_iter().map(size).max().unwrap_or_default()
    }
}

/// Whether somebody holds the lock of a file.
fn is_held(path: &Path) -> Result<bool> {
    match fs::File::open(path) {
        Ok(file) => Ok(matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
