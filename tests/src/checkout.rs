//! Where things are: the checkout this library was built from, its ignored folder for working files, and the folder of
//! the binaries built beside the running one. It creates working directories and removes the leftovers of runs that
//! were killed; it never touches anything outside of `.sluice/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// The environment variable that names the folder with the binaries to run, instead of the one this process is from.
pub const BIN_DIR: &str = "SLUICE_BIN_DIR";

/// The root of the checkout.
pub fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// The folder of the project's binaries: `SLUICE_BIN_DIR` if set, else the profile folder (`target/debug`, …) that the
/// running program is in.
pub fn bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(BIN_DIR) {
        // Programs are started in directories of their own.
        return Ok(std::path::absolute(dir)?);
    }
    let exe = std::env::current_exe().context("cannot find the running program's own file")?;
    let dir = exe
        .parent()
        .ok_or_else(|| anyhow!("{} has no parent folder", exe.display()))?;
    // Test binaries are in target/PROFILE/deps, examples in target/PROFILE/examples.
    let nested = dir.file_name().is_some_and(|name| name == "deps" || name == "examples");
    Ok(match dir.parent() {
        Some(parent) if nested => parent.to_path_buf(),
        _ => dir.to_path_buf(),
    })
}

/// A directory below `.sluice/` that lives as long as this value. Its owner holds a lock in it, so that a later run
/// can tell the directory of a killed process from one in use and remove it.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

impl WorkDir {
    /// Makes `.sluice/<family>/<name>-<random>`, after removing those of the same family whose owner is gone.
    pub fn create(family: &str, name: &str) -> Result<Self> {
        let parent = root().join(".sluice").join(family);
        fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        remove_abandoned(&parent);
        let suffix: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        Self::at(parent.join(format!("{name}-{}", suffix.to_lowercase())), false)
    }

    /// Uses exactly this directory, made if needed, and leaves it in place at the end.
    pub fn fixed(path: impl Into<PathBuf>) -> Result<Self> {
        Self::at(path.into(), true)
    }

    fn at(path: PathBuf, keep: bool) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock_path = path.join(OWNER);
        let lock = File::create(&lock_path).with_context(|| format!("cannot make {}", lock_path.display()))?;
        lock.try_lock()
            .map_err(|_| anyhow!("{} is in use by another process", path.display()))?;
        Ok(Self {
            path,
            keep: keep || std::env::var_os(KEEP).is_some(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The lock file of a working directory's owner.
const OWNER: &str = "owner.lock";

/// When set, working directories and namespaces stay for a look at them afterwards.
pub const KEEP: &str = "SLUICE_KEEP";

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for dir in entries.flatten().map(|entry| entry.path()) {
        // A directory without a lock file is just being made by another process.
        let Ok(lock) = File::open(dir.join(OWNER)) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_directory_lives_as_long_as_its_owner() -> Result<()> {
        let dir = WorkDir::create("unit", "lives")?;
        let path = dir.path().to_path_buf();
        let other = WorkDir::create("unit", "other")?;
        assert!(path.is_dir(), "another owner must not remove it");
        drop(dir);
        assert!(!path.exists());
        drop(other);
        Ok(())
    }

    #[test]
    fn a_directory_whose_owner_is_gone_is_removed_by_the_next_one() -> Result<()> {
        let family = root().join(".sluice/unit-abandoned");
        let left = family.join("left");
        fs::create_dir_all(&left)?;
        File::create(left.join(OWNER))?;
        let _next = WorkDir::create("unit-abandoned", "next")?;
        assert!(!left.exists());
        Ok(())
    }
}
