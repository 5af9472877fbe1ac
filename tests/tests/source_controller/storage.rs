//! What a disk may do to artifacts: be full, be read-only, be Flux's, be left in a mess by a killed process. The last good
//! artifact is served through all of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::json;
use tests::controllers::{Controller, Controllers, Options};
use tests::wait;

use crate::stage::{artifact, builder, conditions, content, get, kept, message, source, stored};

#[tokio::test]
async fn a_full_disk_keeps_the_last_good_artifact() -> Result<()> {
    let s = builder("disk-full").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    stored(&s, "app", repo.url(), json!({})).await?;
    s.controllers.stop(Controller::Source).await?;
    // The same controller, unable to write a file of more than 50 KiB, as if the disk were full then.
    let bin = s.dir.path().join("bin");
    fs::create_dir(&bin)?;
    let real = tests::checkout::bin_dir()?.join("source-controller");
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 100\nexec '{}' \"$@\"\n",
        real.display()
    );
    fs::write(bin.join("source-controller"), script)?;
    fs::set_permissions(bin.join("source-controller"), fs::Permissions::from_mode(0o755))?;
    let mut options = Options::new(s.cluster.kubeconfig(), s.dir.path(), s.ns());
    options.controllers = vec![Controller::Source];
    options.bin_dir = Some(bin);
    let small = Controllers::start(options).await?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let before = artifact(&object)?;
    // As a pack it has 30 KiB, as an archive 85.
    for n in 0..12_000 {
        repo.write(&format!("{:02}/{n:05}", n % 50), "")?;
    }
    let commit = repo.commit("many")?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let said = message(&object)?;
    assert!(
        said.starts_with("unable to archive artifact to storage: ") && said.contains("too large"),
        "{said}"
    );
    let kept = kept(&object, &before).await?;
    let since = kept.metadata.get("source.toolkit.fluxcd.io/stale-since");
    since.context("it does not say since when it is stale")?;
    let mut files = names(&s.controllers.storage().join("gitrepository").join(s.ns()).join("app"))?;
    files.retain(|name| !name.ends_with(".lock"));
    assert_eq!(files.len(), 1, "nothing half written stays: {files:?}");
    small.stop_all().await?;
    s.controllers.start_again(Controller::Source).await?;
    let is_new = |object: &GitRepository| artifact(object).is_ok_and(|a| a.revision.ends_with(&commit));
    let object: GitRepository = s.namespace.wait("app", "have room again", is_new).await?;
    let recovered = artifact(&object)?;
    assert_eq!(recovered.metadata.get("source.toolkit.fluxcd.io/stale-since"), None);
    assert_eq!(content(&recovered).await?.len(), 12_000 + 50 + 2);
    Ok(())
}

fn names(directory: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told_until_it_can() -> Result<()> {
    let s = builder("disk-place").start().await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("a", "1")])?;
    let place = s.controllers.storage().join("gitrepository").join(s.ns());
    fs::create_dir_all(&place)?;
    fs::write(place.join("app"), "a file where the directory should be")?;
    source(&s, "app", repo.url(), json!({})).await?;
    let object: GitRepository = s.namespace.wait_failed("app", "DirectoryCreationFailed").await?;
    assert!(message(&object)?.starts_with("failed to create artifact directory: "));
    fs::remove_file(place.join("app"))?;
    s.namespace.wait_ready::<GitRepository>("app").await?;
    // Somebody else, as another process of Flux's would, holds the lock of the artifact.
    fs::create_dir(place.join("locked"))?;
    let lock = fs::File::create(place.join("locked").join(format!("{commit}.tar.gz.lock")))?;
    lock.lock()?;
    source(&s, "locked", repo.url(), json!({})).await?;
    let event = s.namespace.wait_event::<GitRepository>("locked", "Failed").await?;
    let text = "failed to acquire lock for artifact: another process holds it";
    assert_eq!(event.message.as_deref(), Some(text));
    let object: GitRepository = s.namespace.reconcile("locked").await?;
    assert_eq!(
        conditions(&object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False ProgressingWithRetry"
        ]
    );
    drop(lock);
    let object: GitRepository = s.namespace.wait_ready("locked").await?;
    content(&artifact(&object)?).await?;
    Ok(())
}

#[tokio::test]
async fn an_artifact_that_nobody_can_look_at_is_announced_on() -> Result<()> {
    let s = builder("disk-hidden").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let fetches = s.git.traffic("app").fetches;
    let place = s.controllers.storage().join("gitrepository").join(s.ns()).join("app");
    let aside = s.dir.path().join("aside");
    fs::rename(&place, &aside)?;
    // As a directory of another user would be; the tests may run as one to whom that means nothing.
    std::os::unix::fs::symlink("app", &place)?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let said = message(&object)?;
    assert!(said.starts_with("failed to stat target artifact path: "), "{said}");
    assert_eq!(
        conditions(&object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False StatOperationFailed",
            "ArtifactInStorage=True Succeeded",
            "StorageOperationFailed=True StatOperationFailed"
        ]
    );
    let mut hidden = artifact(&object)?;
    let since = hidden.metadata.remove("source.toolkit.fluxcd.io/stale-since");
    assert!(since.is_some() && hidden == before, "{hidden:?}");
    fs::remove_file(&place)?;
    fs::rename(&aside, &place)?;
    let again = artifact(&s.namespace.wait_ready("app").await?)?;
    assert_eq!(again, before);
    content(&again).await?;
    assert_eq!(s.git.traffic("app").fetches, fetches, "nothing is fetched for it");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_process_left_half_written_goes_with_the_next_start() -> Result<()> {
    let s = builder("disk-left").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    // Nobody works on a suspended object, and its files are cleaned up all the same.
    s.namespace.suspend::<GitRepository>("app", true).await?;
    s.controllers.kill(Controller::Source)?;
    let place = s.controllers.storage().join("gitrepository").join(s.ns());
    fs::create_dir(place.join("gone"))?;
    for name in ["app", "gone"] {
        fs::write(place.join(name).join(".tmp-1234.tar.gz"), "half")?;
    }
    let temporary = s.controllers.temporary(Controller::Source);
    let cache = temporary.join("sluice-git-cache");
    let entries = fs::read_dir(&cache)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let packs: Vec<_> = entries.map(|entry| entry.join("incoming-pack")).collect();
    assert_eq!(packs.len(), 1);
    fs::write(&packs[0], "half")?;
    // One that was killed before it held the lock of its directory.
    let scratch = temporary.join("source-controller-dead");
    fs::create_dir_all(scratch.join("objects-1"))?;
    s.controllers.start_again(Controller::Source).await?;
    assert!(!packs[0].exists(), "nobody fetches into it");
    let swept = async || Ok((!scratch.exists()).then_some(()));
    wait::until("the directory of the dead one to go", swept).await?;
    assert!(names(&place.join("gone"))?.is_empty());
    let mut left = names(&place.join("app"))?;
    left.sort();
    let file = artifact.path.rsplit('/').next().unwrap_or_default();
    assert_eq!(left, [file.to_owned(), format!("{file}.lock")]);
    assert_eq!(get(&artifact.url).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn digests_are_of_the_wanted_algorithm() -> Result<()> {
    let s = builder("digest")
        .flag(Controller::Source, "--artifact-digest-algo=blake3")
        .start()
        .await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let stored = stored(&s, "app", repo.url(), json!({})).await?;
    assert!(
        stored.digest.starts_with("blake3:") && stored.digest.len() == 7 + 64,
        "{}",
        stored.digest
    );
    // The digest of another algorithm that an earlier run has written is as good.
    s.controllers.restart(Controller::Source).await?;
    let again = artifact(&s.namespace.reconcile::<GitRepository>("app").await?)?;
    assert_eq!(again, stored);
    Ok(())
}

#[tokio::test]
async fn artifacts_are_found_at_the_address_that_is_told_now() -> Result<()> {
    let s = builder("address").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    s.controllers.stop(Controller::Source).await?;
    let mut options = Options::new(s.cluster.kubeconfig(), s.dir.path(), s.ns());
    options.controllers = vec![Controller::Source];
    let advertise = |address: &str| (Controller::Source, format!("--storage-adv-addr={address}"));
    for (address, url) in [
        ("artifacts.test.", "http://artifacts.test."),
        ("https://artifacts.test/x", "https://artifacts.test/x"),
    ] {
        options.flags = vec![advertise(address)];
        let moved = Controllers::start(options.clone()).await?;
        let url = format!("{url}/{}", before.path);
        let is_there = |object: &GitRepository| artifact(object).is_ok_and(|artifact| artifact.url == url);
        let object: GitRepository = s.namespace.wait("app", "tell the other address", is_there).await?;
        let after = artifact(&object)?;
        assert_eq!(
            (&after.digest, &after.last_update_time),
            (&before.digest, &before.last_update_time)
        );
        moved.stop_all().await?;
    }
    let events = s.namespace.events::<GitRepository>("app").await?;
    let news = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("NewArtifact"));
    assert_eq!(
        news.map(|event| event.count.unwrap_or(1)).sum::<i32>(),
        1,
        "it is the same artifact"
    );
    Ok(())
}

#[tokio::test]
async fn a_controller_that_cannot_serve_ends_and_says_why() -> Result<()> {
    let s = builder("address-taken").start().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let dir = tempfile::tempdir()?;
    let mut options = Options::new(s.cluster.kubeconfig(), dir.path(), s.ns());
    options.controllers = vec![Controller::Source];
    for (flag, text) in [
        (
            format!("--storage-addr={}", taken.local_addr()?),
            "Address already in use",
        ),
        ("--storage-addr=nowhere".to_owned(), "cannot listen on nowhere"),
        ("--storage-path=/nonexistent/path".to_owned(), "/nonexistent/path"),
    ] {
        options.flags = vec![(Controller::Source, flag.clone())];
        let error = Controllers::start(options.clone()).await.err().context("it runs")?;
        let said = format!("{error:#}");
        let name = flag.split('=').next().unwrap_or_default();
        assert!(
            said.contains(text) && (said.contains(name) || name == "--storage-path"),
            "{flag}: {said}"
        );
    }
    Ok(())
}
