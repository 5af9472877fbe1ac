//! A storage directory and objects as Flux's source controller leaves them, taken over: what is good is served on
//! without asking for it again, what is too much or half written goes, and what is locked waits. That Flux itself
//! leaves it like this, and takes it back, is what `hack/takeover` shows where its binary is at hand.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use api::source::{Artifact, GitRepository};
use flate2::Compression;
use flate2::write::GzEncoder;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::controllers::Controller;
use tests::files::{self, Entry};
use tests::scenario::Scenario;
use tests::{flux, wait};

use crate::stage::{artifact, builder, content, get};

/// A commit that is nowhere: Flux was killed while it stored it.
const UNFINISHED: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// What lies in an object's directory.
struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    fn new(s: &Scenario, kind: &str, name: &str) -> Result<Self> {
        let directory = s.controllers.storage().join(kind).join(s.ns()).join(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(flux::DIRECTORY_MODE)
            .create(&directory)?;
        Ok(Self { directory })
    }

    fn put(&self, name: &str, content: &[u8], mode: u32, age: u64) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let written = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(&path)?.set_modified(written)?;
        Ok(path)
    }

    /// An artifact with its lock, which holds one file; its bytes.
    fn store(&self, commit: &str, text: &str, age: u64) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o750);
        header.set_size(0);
        archive.append_data(&mut header, ".", &[][..])?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, "a", text.as_bytes())?;
        let bytes = archive.into_inner()?.finish()?;
        self.put(&format!("{commit}.tar.gz"), &bytes, flux::ARTIFACT_MODE, age)?;
        self.lock(commit, age)?;
        Ok(bytes)
    }

    fn lock(&self, commit: &str, age: u64) -> Result<PathBuf> {
        self.put(&format!("{commit}.tar.gz.lock"), b"", flux::LOCK_MODE, age)
    }

    /// What a killed Flux leaves: half an artifact under a name of its own, and its lock, which nobody holds.
    fn leave_half(&self) -> Result<PathBuf> {
        self.lock(UNFINISHED, 5)?;
        self.put(
            &flux::temporary(UNFINISHED, 2_418_549_247),
            b"half",
            flux::ARTIFACT_MODE,
            5,
        )
    }
}

/// An object that Flux has reconciled: with its finalizer, and a status that it has written.
async fn reconciled(s: &Scenario, name: &str, url: &str, commit: &str, bytes: &[u8], is_suspended: bool) -> Result<()> {
    let object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": { "name": name, "finalizers": ["finalizers.fluxcd.io"] },
        "spec": { "url": url, "interval": "10m", "ref": { "branch": "main" }, "suspend": is_suspended },
    });
    s.namespace.apply_yaml(&object.to_string()).await?;
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("gitrepository/{}/{name}/{commit}.tar.gz", s.ns());
    let revision = format!("main@sha1:{commit}");
    let written = "2026-01-02T03:04:05Z";
    let condition = |type_: &str| {
        json!({
            "type": type_, "status": "True", "reason": "Succeeded", "observedGeneration": 1,
            "lastTransitionTime": written, "message": format!("stored artifact for revision '{revision}'"),
        })
    };
    let status = json!({ "status": {
        "observedGeneration": 1,
        "conditions": [condition("Ready"), condition("ArtifactInStorage")],
        "artifact": {
            "revision": revision, "digest": format!("sha256:{digest}"), "size": bytes.len(),
            "path": path, "url": format!("{}/{path}", s.controllers.artifacts_url()?), "lastUpdateTime": written,
        },
    }});
    let manager = PatchParams {
        field_manager: Some("source-controller".to_owned()),
        ..PatchParams::default()
    };
    s.namespace
        .api::<GitRepository>()
        .patch_status(name, &manager, &Patch::Merge(status))
        .await?;
    Ok(())
}

/// Starts our controller, and waits until it has dealt with each of them.
async fn take_over(s: &Scenario, names: &[&str]) -> Result<()> {
    s.controllers.start_again(Controller::Source).await?;
    for name in names {
        let count = async || {
            s.controllers
                .reconciles(Controller::Source, "GitRepository", s.ns(), name)
                .await
        };
        let dealt_with = async || Ok((count().await? > 0).then_some(()));
        wait::until(&format!("{name} to be dealt with"), dealt_with).await?;
    }
    Ok(())
}

fn listing(s: &Scenario) -> Result<BTreeMap<String, Entry>> {
    files::list(&s.controllers.storage())
}

#[tokio::test]
async fn what_flux_left_is_served_on_and_nothing_of_it_is_fetched_or_written_again() -> Result<()> {
    let s = builder("takeover")
        .flag(Controller::Source, "--artifact-retention-ttl=1h")
        .start()
        .await?;
    s.controllers.stop(Controller::Source).await?;
    let repo = s.git.create("app")?;
    let mut commits = Vec::new();
    for n in ["0", "1", "2"] {
        commits.push(repo.commit_files(n, &[("a", n)])?);
    }
    let [oldest, older, current] = commits.as_slice() else {
        unreachable!()
    };

    let app = Shelf::new(&s, "gitrepository", "app")?;
    app.store(oldest, "0", 300)?;
    app.store(older, "1", 200)?;
    let bytes = app.store(current, "2", 100)?;
    app.leave_half()?;
    // Releases long ago left this link.
    symlink(
        app.directory.join(format!("{current}.tar.gz")),
        app.directory.join("latest.tar.gz"),
    )?;
    reconciled(&s, "app", repo.url(), current, &bytes, false).await?;
    let resting = Shelf::new(&s, "gitrepository", "resting")?;
    let bytes = resting.store(oldest, "0", 300)?;
    resting.leave_half()?;
    reconciled(&s, "resting", repo.url(), oldest, &bytes, true).await?;
    for (kind, file) in [
        ("helmchart", "app-1.0.0.tgz"),
        ("ocirepository", "sha256:12.tar.gz"),
        ("helmrepository", "index-12.yaml"),
    ] {
        Shelf::new(&s, kind, "other")?.put(file, b"of another kind", flux::ARTIFACT_MODE, 300)?;
    }
    let before = (listing(&s)?, objects(&s).await?, s.git.traffic("app"));

    take_over(&s, &["app", "resting"]).await?;
    let mut expected = before.0;
    let of = |name: &str, file: &str| format!("gitrepository/{}/{name}/{file}", s.ns());
    // There are more than two, and what is half written is none of them.
    expected
        .remove(&of("app", &format!("{oldest}.tar.gz")))
        .context("it was there")?;
    expected
        .remove(&of("app", &format!("{oldest}.tar.gz.lock")))
        .context("it was there")?;
    expected
        .remove(&of("app", &format!("{UNFINISHED}.tar.gz.lock")))
        .context("it was there")?;
    for name in ["app", "resting"] {
        let half = flux::temporary(UNFINISHED, 2_418_549_247);
        expected.remove(&of(name, &half)).context("it was there")?;
    }
    assert_eq!(listing(&s)?, expected);
    assert_eq!(objects(&s).await?, before.1, "no object is written");
    assert_eq!((s.git.traffic("app") - before.2).fetches, 0);
    let taken_over = artifact(&s.namespace.get("app").await?)?;
    assert_eq!(content(&taken_over).await?, ["./", "a 2"]);
    assert_eq!(
        content(&artifact(&s.namespace.get("resting").await?)?).await?,
        ["./", "a 0"]
    );
    let news = s.namespace.events::<GitRepository>("app").await?;
    let mut news = news.iter().filter_map(|event| event.reason.as_deref());
    assert!(
        !news.clone().any(|reason| reason == "NewArtifact")
            && news.any(|reason| reason == "GarbageCollectionSucceeded")
    );

    // Of the next ones, which are ours, two remain together with Flux's.
    let next = repo.commit_files("3", &[("a", "3")])?;
    s.namespace.reconcile::<GitRepository>("app").await?;
    let after = artifact(&s.namespace.reconcile("app").await?)?;
    assert_eq!(content(&after).await?, ["./", "a 3"]);
    assert_eq!(
        get(&taken_over.url).await?.status(),
        200,
        "who is about to download it still can"
    );
    let names: Vec<_> = files::list(&app.directory)?.into_keys().collect();
    let mut wanted = vec!["latest.tar.gz".to_owned()];
    for commit in [current, &next] {
        wanted.extend([format!("{commit}.tar.gz"), format!("{commit}.tar.gz.lock")]);
    }
    wanted.sort();
    assert_eq!(names, wanted);
    s.namespace.delete::<GitRepository>("app").await?;
    s.namespace.wait_gone::<GitRepository>("app").await?;
    assert!(!app.directory.exists());
    Ok(())
}

/// All objects with the version that each write changes.
async fn objects(s: &Scenario) -> Result<Vec<(String, Option<String>, Option<Artifact>)>> {
    let mut objects = Vec::new();
    for name in s.namespace.names::<GitRepository>().await? {
        let object: GitRepository = s.namespace.get(&name).await?;
        let version = object.resource_version();
        objects.push((name, version, object.status.and_then(|status| status.artifact)));
    }
    Ok(objects)
}

#[tokio::test]
async fn what_somebody_goes_on_writing_is_left_until_its_lock_is_free() -> Result<()> {
    let s = builder("takeover-locked").start().await?;
    s.controllers.stop(Controller::Source).await?;
    let repo = s.git.create("app")?;
    let commit = repo.commit_files("one", &[("a", "1")])?;
    let app = Shelf::new(&s, "gitrepository", "app")?;
    let bytes = app.store(&commit, "1", 10)?;
    let half = app.leave_half()?;
    let lock_file = app.directory.join(format!("{UNFINISHED}.tar.gz.lock"));
    let lock = fs::File::options().write(true).open(&lock_file)?;
    lock.lock()?;
    reconciled(&s, "app", repo.url(), &commit, &bytes, false).await?;
    take_over(&s, &["app"]).await?;
    assert!(
        half.exists() && lock_file.exists(),
        "neither the start nor a reconcile takes them"
    );
    drop(lock);
    s.namespace.reconcile::<GitRepository>("app").await?;
    assert!(!half.exists() && !lock_file.exists());
    Ok(())
}
