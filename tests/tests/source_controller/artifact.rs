//! The artifact: what is in it, how it is served, and that it survives whatever happens to the disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::json;
use sha1::{Digest, Sha1};
use tests::controllers::Controller;
use tests::namespace::condition;

use crate::stage::{artifact, builder, content, get, stored};

#[tokio::test]
async fn what_is_ignored_stays_out() -> Result<()> {
    let s = builder("ignore").start().await?;
    let repo = s.git.create("app")?;
    repo.write_all(&[
        ("a.yaml", "a"),
        ("image.png", "i"),
        (".github/workflow.yaml", "w"),
        ("docs/readme.md", "r"),
        ("docs/keep.txt", "k"),
    ])?;
    repo.commit("one")?;
    let plain = stored(&s, "app", repo.url(), json!({})).await?;
    assert_eq!(
        content(&plain).await?,
        ["./", "a.yaml a", "docs/", "docs/keep.txt k", "docs/readme.md r"]
    );
    let ignore = json!({"spec": {"ignore": "/*\n!/docs\n*.md\n"}});
    s.namespace.patch::<GitRepository>("app", ignore).await?;
    let object: GitRepository = s.namespace.wait_ready("app").await?;
    let ignoring = artifact(&object)?;
    assert_eq!(content(&ignoring).await?, ["./", "docs/", "docs/keep.txt k"]);
    assert_eq!((&ignoring.url, &ignoring.revision), (&plain.url, &plain.revision));
    assert_eq!(
        object.status.context("no status")?.observed_ignore.as_deref(),
        Some("/*\n!/docs\n*.md\n")
    );
    repo.write(".sourceignore", "*.txt\n")?;
    repo.commit("two")?;
    s.namespace
        .patch::<GitRepository>("app", json!({"spec": {"ignore": null}}))
        .await?;
    let object: GitRepository = s.namespace.reconcile("app").await?;
    let names = content(&artifact(&object)?).await?;
    assert!(!names.iter().any(|name| name.contains("keep.txt")), "{names:?}");
    assert!(
        names.contains(&"image.png i".to_owned()),
        "a pattern switches the defaults off: {names:?}"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_but_artifacts_is_served() -> Result<()> {
    let s = builder("serving").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    let base = s.controllers.artifacts_url()?;
    assert_eq!(artifact.url, format!("{base}/{}", artifact.path));
    assert_eq!(get(&base).await?.status(), 200);
    fs::write(s.controllers.storage().join("secret"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", s.controllers.storage().join("link"))?;
    let lock = format!("{}.lock", artifact.path);
    assert!(s.controllers.storage().join(&lock).exists());
    for path in [
        lock.as_str(),
        "gitrepository",
        "gitrepository/",
        "link",
        "../secret",
        "%2e%2e/secret",
        "gitrepository/../../etc/passwd",
    ] {
        assert_eq!(get(&format!("{base}/{path}")).await?.status(), 404, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_or_damaged_file_is_made_again_with_the_same_digest() -> Result<()> {
    let s = builder("lost-files").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1"), ("b/c", "2")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let file = s.controllers.storage().join(&before.path);
    fs::write(&file, "tampered")?;
    let after = artifact(&s.namespace.reconcile::<GitRepository>("app").await?)?;
    assert_eq!(after.digest, before.digest);
    content(&after).await?;
    s.namespace
        .wait_event::<GitRepository>("app", "ArtifactVerificationFailed")
        .await?;
    // A restart onto an empty disk.
    s.controllers.kill(Controller::Source)?;
    fs::remove_dir_all(s.controllers.storage())?;
    s.controllers.start_again(Controller::Source).await?;
    tests::wait::until("the artifact to be served again", async || {
        let object: GitRepository = s.namespace.get("app").await?;
        let artifact = artifact(&object)?;
        content(&artifact).await?;
        Ok((artifact.digest == before.digest).then_some(()))
    })
    .await?;
    let news = s.namespace.events::<GitRepository>("app").await?;
    let news = news
        .iter()
        .filter(|event| event.reason.as_deref() == Some("NewArtifact"));
    assert_eq!(
        news.map(|event| event.count.unwrap_or(1)).sum::<i32>(),
        1,
        "the same bytes are no news"
    );
    Ok(())
}

/// Whether a pack or its index is all there.
fn ends_with_its_hash(file: &Path) -> Result<bool> {
    let bytes = fs::read(file)?;
    let sealed = bytes.split_last_chunk::<20>();
    Ok(sealed.is_some_and(|(content, hash)| Sha1::digest(content)[..] == hash[..]))
}

#[tokio::test]
async fn a_kill_while_fetching_leaves_no_trace_after_the_next_start() -> Result<()> {
    let s = builder("killed").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let before = stored(&s, "app", repo.url(), json!({})).await?;
    let commit = repo.commit_files("two", &[("a", "2")])?;
    s.git.set_fault("app", tests::git_server::Fault::Hang);
    let asked = s.git.seen("app").len();
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    tests::wait::until("the fetch to begin", async || {
        Ok((s.git.seen("app").len() > asked).then_some(()))
    })
    .await?;
    s.controllers.kill(Controller::Source)?;
    s.git.set_fault("app", None);
    s.controllers.start_again(Controller::Source).await?;
    let revision = format!("main@sha1:{commit}");
    let object: GitRepository = s
        .namespace
        .wait("app", "have the new revision", |object| {
            artifact(object).is_ok_and(|artifact| artifact.revision == revision)
                && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    assert_eq!(content(&artifact(&object)?).await?, ["./", "a 2"]);
    assert_ne!(artifact(&object)?.digest, before.digest);
    // Beside the cache there is at most the directory of the process that lives, with nothing but its lock; in the cache
    // there is nothing that is not whole.
    let temporary = s.controllers.temporary(Controller::Source);
    tests::wait::until("nothing half fetched to stay", async || {
        let mut places = vec![temporary.clone()];
        let mut left = Vec::new();
        while let Some(place) = places.pop() {
            for file in fs::read_dir(place)? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    places.push(file.path());
                } else {
                    let name = file.file_name().to_string_lossy().into_owned();
                    let torn = name.starts_with("pack-") && !ends_with_its_hash(&file.path())?;
                    left.push(if torn { format!("torn {name}") } else { name });
                }
            }
        }
        let is_whole = |name: &String| {
            let kept = ["lock", "owner", "salt", "marker"];
            kept.contains(&name.as_str()) || name.starts_with("pack-")
        };
        let count = |wanted: &str| left.iter().filter(|name| *name == wanted).count();
        // One process lives, and one repository is kept.
        Ok((left.iter().all(is_whole) && count("lock") <= 1 && count("marker") == 1).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn old_artifacts_go_and_the_last_one_but_one_stays_a_while() -> Result<()> {
    let s = builder("retention")
        .flag(Controller::Source, "--artifact-retention-records=2")
        .start()
        .await?;
    let repo = s.git.create("app")?;
    let mut artifacts = Vec::new();
    repo.commit_files("0", &[("a", "0")])?;
    artifacts.push(stored(&s, "app", repo.url(), json!({})).await?);
    for n in ["1", "2"] {
        repo.commit_files(n, &[("a", n)])?;
        artifacts.push(artifact(&s.namespace.reconcile::<GitRepository>("app").await?)?);
    }
    s.namespace.reconcile::<GitRepository>("app").await?;
    let mut served = Vec::new();
    for artifact in &artifacts {
        served.push(get(&artifact.url).await?.status().as_u16());
    }
    assert_eq!(served, [404, 200, 200]);
    s.namespace
        .wait_event::<GitRepository>("app", "GarbageCollectionSucceeded")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_download_that_is_under_way_ends_well_when_the_server_has_to_go() -> Result<()> {
    let s = builder("draining").start().await?;
    let repo = s.git.create("app")?;
    // More than the sockets hold, and nothing that could be compressed.
    let mut seed = 1_u64;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    });
    repo.write("noise", noise.take(32 << 20).collect::<Vec<_>>())?;
    repo.commit("one")?;
    let artifact = stored(&s, "app", repo.url(), json!({})).await?;
    let mut download = get(&artifact.url).await?;
    let mut received = download.chunk().await?.context("no first piece")?.len();
    let rest = async {
        let base = s.controllers.artifacts_url()?;
        let is_closed = async || Ok(get(&base).await.is_err().then_some(()));
        tests::wait::until("the server to let nobody in", is_closed).await?;
        while let Some(piece) = download.chunk().await? {
            received += piece.len();
        }
        anyhow::Ok(received)
    };
    let (stopped, received) = tokio::join!(s.controllers.stop(Controller::Source), rest);
    stopped?;
    assert_eq!(Some(i64::try_from(received?)?), artifact.size);
    Ok(())
}
