//! Builds the programs of `hack/control-plane` with Go, once per content of that folder, into the user's cache folder
//! (`$XDG_CACHE_HOME` or `~/.cache`, below `sluice/control-plane/`), so that every checkout with the same content and
//! every later run finds them. Builders lock each other out; nothing is ever removed from the cache.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::checkout;

/// The built programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// etcd, kube-apiserver, kube-controller-manager and kube-scheduler in one file.
    pub control_plane: PathBuf,
    /// The player of nodes and pods.
    pub kwok: PathBuf,
}

impl Binaries {
    /// kwok's configuration: how nodes and pods become ready.
    pub(super) fn stages(&self) -> Result<String> {
        let output = Command::new(&self.kwok)
            .arg("stages")
            .output()
            .context("cannot start kwok")?;
        if !output.status.success() {
            bail!("kwok stages: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Finds the programs in the cache, or builds them, which takes some minutes the first time; progress goes to standard
/// error.
pub fn build() -> Result<Binaries> {
    let module = checkout::root().join("hack").join("control-plane");
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let hash = content_hash(&module)?;
    let dir = cache.join(&hash);
    let binaries = Binaries {
        control_plane: dir.join("control-plane"),
        kwok: dir.join("kwok"),
    };
    if dir.is_dir() {
        return Ok(binaries);
    }
    let lock = File::create(cache.join(format!("{hash}.lock")))?;
    if lock.try_lock().is_err() {
        eprintln!("control plane: another process is building it, waiting");
        lock.lock()?;
    }
    if !dir.is_dir() {
        let partial = cache.join(format!("{hash}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        compile(&module, &partial)?;
        fs::rename(&partial, &dir)?;
    }
    Ok(binaries)
}

fn cache_dir() -> Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = variable("XDG_CACHE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".cache")))
        .ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME is set: no place for the built control plane"))?;
    Ok(base.join("sluice").join("control-plane"))
}

/// A hash over the names and bytes of all files of the folder.
fn content_hash(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for name in files {
        let bytes = fs::read(folder.join(&name))?;
        hash.update(format!("{}\0{}\0", name.display(), bytes.len()));
        hash.update(bytes);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), files)?;
        } else {
            files.push(entry.path().strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(())
}

fn compile(module: &Path, out: &Path) -> Result<()> {
    let flags = version_flags(&fs::read_to_string(module.join("go.mod"))?)?;
    let start = Instant::now();
    let mut go = Command::new("go")
        .args(["build", "-v", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(out)
        .args([".", "./kwok"])
        .current_dir(module)
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("go is not installed; the control plane needs Go 1.26 or later: https://go.dev/dl/")
            }
            _ => anyhow!("cannot start go: {error}"),
        })?;
    eprintln!("control plane: building etcd, Kubernetes and kwok from source; some minutes, once");
    let output = go.stderr.take().ok_or_else(|| anyhow!("go has no standard error"))?;
    let mut tail = Vec::new();
    let (mut packages, mut told) = (0, start);
    for line in BufReader::new(output).lines() {
        let line = line?;
        // With -v, go prints the import path of each package when it is compiled, and what it downloads.
        if line.contains(' ') {
            tail.push(line);
        } else {
            packages += 1;
        }
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            eprintln!(
                "control plane: {packages} packages compiled after {} s",
                start.elapsed().as_secs()
            );
        }
    }
    if !go.wait()?.success() {
        bail!(
            "go build in {} failed:\n{}",
            module.display(),
            tail[tail.len().saturating_sub(20)..].join("\n")
        );
    }
    eprintln!("control plane: built in {} s", start.elapsed().as_secs());
    Ok(())
}

/// The linker flags that tell the API server its version, which is that of its module.
fn version_flags(go_mod: &str) -> Result<String> {
    let version = go_mod
        .lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .strip_prefix("k8s.io/kubernetes ")
        })
        .find_map(|rest| rest.split_whitespace().next())
        .ok_or_else(|| anyhow!("hack/control-plane/go.mod does not require k8s.io/kubernetes"))?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("{version} is not a version of k8s.io/kubernetes");
    };
    let variables = [
        ("gitVersion", version),
        ("gitMajor", major),
        ("gitMinor", minor),
        ("gitTreeState", "clean"),
    ];
    let set = |(name, value)| format!(" -X k8s.io/component-base/version.{name}={value}");
    Ok(format!("-s -w{}", variables.map(set).concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_module_file() -> Result<()> {
        let flags = version_flags("module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n")?;
        assert!(
            flags.contains("version.gitVersion=v1.36.3 ") && flags.contains("version.gitMinor=36 "),
            "{flags}"
        );
        assert!(version_flags("module x\n").is_err());
        Ok(())
    }

    #[test]
    fn the_hash_changes_with_names_and_bytes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("a"), "1")?;
        let first = content_hash(dir.path())?;
        assert_eq!(first, content_hash(dir.path())?);
        fs::write(dir.path().join("a"), "2")?;
        let second = content_hash(dir.path())?;
        fs::rename(dir.path().join("a"), dir.path().join("b"))?;
        let third = content_hash(dir.path())?;
        assert!(first != second && second != third && first != third);
        Ok(())
    }
}
