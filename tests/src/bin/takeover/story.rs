//! What is played, step by step.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};

use anyhow::{Context, Result, bail, ensure};
use api::source::GitRepository;
use kube::ResourceExt;
use tests::controllers::Controller;
use tests::files::{self, Kind};
use tests::flux;

use crate::stage::{FOLLOWING, LARGE, Mark, RESTING, Side, Stage};
use crate::table::Table;

/// All of it. What is checked goes into the table; an error is what makes it senseless to go on.
pub async fn play(stage: &Stage, table: &mut Table) -> Result<()> {
    table.step("Flux, from nothing, killed while it stores");
    let flux = stage.start(Side::Flux, &[]).await?;
    stage.create().await?;
    advance(stage, table, "2").await?;
    let commit = stage.in_the_middle().await?;
    flux.kill(Controller::Source)?;
    let halves = stage.must_be_caught()?;
    table.check(
        "it leaves what our tests take for what it leaves",
        is_known(stage, &commit, &halves),
    );
    stage.namespace.suspend::<GitRepository>(LARGE, true).await?;
    let mark = stage.mark().await?;

    table.step("ours after Flux, killed while it stores");
    let ours = stage.take_over(Side::Ours, &[]).await?;
    unchanged(stage, table, &mark, Some(LARGE), 0).await;
    table.check(
        "what Flux has left half written is gone, though its object is suspended",
        no_halves(stage),
    );
    table.check("every artifact is served", stage.must_be_served(&ours).await);
    stage.namespace.suspend::<GitRepository>(LARGE, false).await?;
    table.check(
        "what Flux has not finished is stored",
        stage.stored(LARGE, &commit).await,
    );
    advance(stage, table, "3").await?;
    let commit = stage.in_the_middle().await?;
    ours.kill(Controller::Source)?;
    stage.must_be_caught()?;
    let mark = stage.mark().await?;

    table.step("Flux after ours, paused while it stores");
    let flux = stage.take_over(Side::Flux, &[]).await?;
    unchanged(stage, table, &mark, Some(LARGE), LOOKS_OF_FLUX).await;
    table.check(
        "what ours has not finished is stored",
        stage.stored(LARGE, &commit).await,
    );
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    advance(stage, table, "4").await?;
    let commit = stage.commit_large()?;
    table.check(
        "what ours has left half written goes as an old artifact would",
        settled(stage, &commit).await,
    );
    let commit = stage.in_the_middle().await?;
    flux.pause(Controller::Source)?;
    stage.must_be_caught()?;
    let mark = stage.mark().await?;

    table.step("ours beside the paused Flux, which is killed then");
    let ours = stage.take_over(Side::Ours, &[]).await?;
    table.check("Flux holds the lock", is_locked(stage, &commit));
    table.check("ours waits for it", waits_for_lock(stage).await);
    table.check("what Flux is writing stays", stage.must_be_caught().map(|_| ()));
    unchanged(stage, table, &mark, Some(LARGE), 0).await;
    flux.kill(Controller::Source)?;
    table.check(
        "what Flux has not finished is stored, and what it has left is gone",
        settled(stage, &commit).await,
    );
    table.check("every artifact is served", stage.must_be_served(&ours).await);
    ours.stop(Controller::Source).await?;
    let mark = stage.mark().await?;

    table.step("Flux after ours, stopped in peace");
    let flux = stage.take_over(Side::Flux, &[]).await?;
    unchanged(stage, table, &mark, None, LOOKS_OF_FLUX).await;
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    flux.stop(Controller::Source).await?;
    let mark = stage.mark().await?;

    table.step("ours after Flux, stopped in peace, with digests of another kind");
    let ours = stage.take_over(Side::Ours, &["--artifact-digest-algo=blake3"]).await?;
    unchanged(stage, table, &mark, None, 0).await;
    advance(stage, table, "5").await?;
    ours.stop(Controller::Source).await?;
    let mark = stage.mark().await?;

    table.step("Flux after ours, to the end");
    let flux = stage.take_over(Side::Flux, &[]).await?;
    unchanged(stage, table, &mark, None, LOOKS_OF_FLUX).await;
    table.check("every artifact is served", stage.must_be_served(&flux).await);
    table.check("deleted objects take all of it along", deleted(stage).await);
    Ok(())
}

/// Flux fetches what follows releases at each look, whoever has stored it: once for each such object.
const LOOKS_OF_FLUX: u64 = 1;

/// Whether a controller that has taken over has left alone what was as it should be; `except` for one object.
async fn unchanged(stage: &Stage, table: &mut Table, before: &Mark, except: Option<&str>, fetches: u64) {
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
        Err(anyhow::anyhow!("{fetched} fetches"))
    };
    table.check(what, enough);
}

/// A new commit, which all that follow get; then of each two artifacts are there, the new one and the one before.
async fn advance(stage: &Stage, table: &mut Table, number: &str) -> Result<()> {
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
fn is_known(stage: &Stage, commit: &str, halves: &[String]) -> Result<()> {
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

fn no_halves(stage: &Stage) -> Result<()> {
    let halves = stage.halves(LARGE)?;
    ensure!(halves.is_empty(), "{halves:?}");
    Ok(())
}

/// Whether the large commit is stored, and nothing half written is left after the next look.
async fn settled(stage: &Stage, commit: &str) -> Result<()> {
    stage.namespace.request_reconcile::<GitRepository>(LARGE).await?;
    stage.stored(LARGE, commit).await?;
    stage.namespace.reconcile::<GitRepository>(LARGE).await?;
    no_halves(stage)
}

/// Whether somebody holds the lock of the large artifact.
fn is_locked(stage: &Stage, commit: &str) -> Result<()> {
    let path = stage.shelf(LARGE).join(format!("{commit}.tar.gz.lock"));
    match File::options().write(true).open(&path)?.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        Ok(()) => bail!("nobody holds {}", path.display()),
    }
}

async fn waits_for_lock(stage: &Stage) -> Result<()> {
    let event = stage.namespace.wait_event::<GitRepository>(LARGE, "Failed").await?;
    let text = event.message.unwrap_or_default();
    ensure!(text.starts_with("failed to acquire lock for artifact: "), "{text}");
    Ok(())
}

/// Whether nothing but empty directories is left of objects that are deleted, also of the suspended one.
async fn deleted(stage: &Stage) -> Result<()> {
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
