//! What has to hold after each step.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use api::source::GitRepository;
use kube::ResourceExt;
use tests::files::{self, Kind};
use tests::flux;
use tests::wait;

use crate::stage::{FOLLOWING, LARGE, Mark, RESTING, Stage};
use crate::table::Table;

/// Flux fetches what follows releases at each look, whoever has stored it: once for each such object.
pub const LOOKS_OF_FLUX: u64 = 1;

/// Whether a controller that has taken over has left alone what was as it should be; `except` for one object.
pub async fn unchanged(stage: &Stage, table: &mut Table, before: &Mark, except: Option<&str>, fetches: u64) {
    let after = match stage.mark().await {
        Ok(after) => after,
        Err(error) => return table.check("what is there can be looked at", Err(error)),
    };
    let is_other = |name: &str| except.is_none_or(|except| !name.split('/').any(|part| part == except));
    let differing = |names: BTreeSet<&String>, differs: &dyn Fn(&str) -> bool| {
        let names = names.into_iter().filter(|name| is_other(name) && differs(name));
        let names: Vec<_> = names.cloned().collect();
        ensure!(names.is_empty(), "{}", names.join(", "));
        Ok(())
    };
    let objects = before.objects.keys().chain(after.objects.keys()).collect();
    let differs = |name: &str| before.objects.get(name) != after.objects.get(name);
    table.check("no object is written", differing(objects, &differs));
    let files = before.files.keys().chain(after.files.keys()).collect();
    let differs = |name: &str| before.files.get(name) != after.files.get(name);
    table.check("no file is written or removed", differing(files, &differs));
    let fetched = after.fetches - before.fetches;
    let what = match fetches {
        0 => "nothing is fetched",
        _ => "nothing is fetched but what Flux fetches at every look",
    };
    let enough = if fetched <= fetches {
        Ok(())
    } else {
        Err(anyhow!("{fetched} fetches"))
    };
    table.check(what, enough);
}

/// A new commit, which all that follow get; then of each two artifacts are there, the new one and the one before.
pub async fn advance(stage: &Stage, table: &mut Table, number: &str) -> Result<()> {
    let mut expected = Vec::new();
    for name in FOLLOWING {
        expected.push((name, file(&stage.artifact(name).await?.path)));
    }
    let commit = stage.commit(number)?;
    // What is included comes before who includes it; garbage is what the next look finds.
    for name in FOLLOWING.iter().chain(&FOLLOWING) {
        stage.namespace.reconcile::<GitRepository>(name).await?;
    }
    let mut result = Ok(());
    for (name, before) in expected {
        result = result.and(must_hold(stage, name, &before, &commit).await);
    }
    table.check(
        "a new commit is stored, and the artifact before stays beside it",
        result,
    );
    Ok(())
}

/// Whether an object has the artifact of the commit, and beside it nothing but the file before.
async fn must_hold(stage: &Stage, name: &str, before: &str, commit: &str) -> Result<()> {
    let artifact = stage.artifact(name).await?;
    ensure!(
        artifact.revision.ends_with(commit),
        "{name} is at {}",
        artifact.revision
    );
    let current = file(&artifact.path);
    let wanted: BTreeSet<String> = [before, &current]
        .iter()
        .flat_map(|file| [(*file).to_owned(), format!("{file}.lock")])
        .collect();
    let found: BTreeSet<String> = files::list(&stage.shelf(name))?.into_keys().collect();
    ensure!(found == wanted, "{name} has {found:?}");
    Ok(())
}

fn file(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Whether what Flux has left has the modes and names that are known.
pub fn is_known(stage: &Stage, commit: &str, halves: &[String]) -> Result<()> {
    for (path, entry) in files::list(&stage.storage())? {
        let expected = match (entry.kind, path.ends_with(".lock")) {
            (Kind::Directory, _) => flux::DIRECTORY_MODE,
            (Kind::File, false) => flux::ARTIFACT_MODE,
            (Kind::File, true) => flux::LOCK_MODE,
            (Kind::Other, _) => bail!("{path} is neither a file nor a directory"),
        };
        ensure!(entry.mode == expected, "{path} has the mode {:o}", entry.mode);
        ensure!(entry.size == 0 || !path.ends_with(".lock"), "{path} is not empty");
    }
    let [half] = halves else { bail!("there are {halves:?}") };
    let number = half.strip_prefix(&format!("{commit}.tar.gz"));
    let number = number.and_then(|number| number.parse().ok());
    let number = number.with_context(|| format!("what is half written is called {half}"))?;
    ensure!(
        *half == flux::temporary(commit, number),
        "what is half written is called {half}"
    );
    ensure!(
        stage.shelf(LARGE).join(format!("{commit}.tar.gz.lock")).exists(),
        "it has no lock"
    );
    Ok(())
}

/// Whether nothing of the large object is half written.
pub fn no_halves(stage: &Stage) -> Result<()> {
    let halves = stage.halves(LARGE)?;
    ensure!(halves.is_empty(), "{halves:?}");
    Ok(())
}

/// Whether the large commit is stored, and nothing half written is left after the next look.
pub async fn settled(stage: &Stage, commit: &str) -> Result<()> {
    stage.namespace.request_reconcile::<GitRepository>(LARGE).await?;
    stage.stored(LARGE, commit).await?;
    stage.namespace.reconcile::<GitRepository>(LARGE).await?;
    no_halves(stage)
}

/// Whether somebody holds the lock of the large artifact.
pub fn is_locked(stage: &Stage, commit: &str) -> Result<()> {
    let path = stage.shelf(LARGE).join(format!("{commit}.tar.gz.lock"));
    match File::options().write(true).open(&path)?.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        Ok(()) => bail!("nobody holds {}", path.display()),
    }
}

/// Waits until the process is held up by the lock of the large artifact.
pub async fn is_waited_for(stage: &Stage, commit: &str, process: u32) -> Result<()> {
    let path = stage.shelf(LARGE).join(format!("{commit}.tar.gz.lock"));
    let inode = path.metadata()?.ino();
    let waits = async || {
        // A line is `12: -> FLOCK ADVISORY WRITE PROCESS MAJOR:MINOR:INODE 0 EOF` for who waits.
        let locks = fs::read_to_string("/proc/locks")?;
        let mut locks = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let is_it = |fields: &[&str]| {
            let [_, "->", "FLOCK", _, _, who, what, ..] = fields else {
                return false;
            };
            *who == process.to_string() && what.rsplit(':').next() == Some(&*inode.to_string())
        };
        Ok(locks.any(|fields| is_it(&fields)).then_some(()))
    };
    wait::until("Flux to wait for the lock", waits).await
}

/// Whether our controller says that it waits for a lock.
pub async fn waits_for_lock(stage: &Stage) -> Result<()> {
    let event = stage.namespace.wait_event::<GitRepository>(LARGE, "Failed").await?;
    let text = event.message.unwrap_or_default();
    ensure!(text.starts_with("failed to acquire lock for artifact: "), "{text}");
    Ok(())
}

/// Whether nothing but empty directories is left of objects that are deleted, also of the suspended one.
pub async fn deleted(stage: &Stage) -> Result<()> {
    let resting: GitRepository = stage.namespace.get(RESTING).await?;
    ensure!(resting.spec.suspend, "{} is not suspended", resting.name_any());
    for name in stage.names().await? {
        stage.namespace.delete::<GitRepository>(&name).await?;
        stage.namespace.wait_gone::<GitRepository>(&name).await?;
    }
    let left = files::list(&stage.storage())?;
    let left: Vec<_> = left
        .into_iter()
        .filter(|(_, entry)| entry.kind != Kind::Directory)
        .map(|(path, _)| path)
        .collect();
    ensure!(left.is_empty(), "{}", left.join(", "));
    Ok(())
}
