//! What the tests of the source controller have in common.

use std::fs;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use api::meta::key::STALE_SINCE;
use api::source::{Artifact, GitRepository};
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tests::controllers::Controller;
use tests::namespace::condition;
use tests::scenario::{Builder, Scenario};

/// A scenario with the source controller alone.
pub fn builder(name: &str) -> Builder {
    Scenario::builder(name).only(&[Controller::Source])
}

/// Makes a GitRepository of the branch main, with these fields of the spec besides or instead.
pub async fn source(s: &Scenario, name: &str, url: &str, fields: Value) -> Result<()> {
    s.namespace.git_repository(name, url, fields).await
}

/// Makes one and waits for its artifact.
pub async fn stored(s: &Scenario, name: &str, url: &str, fields: Value) -> Result<Artifact> {
    source(s, name, url, fields).await?;
    artifact(&s.namespace.wait_ready(name).await?)
}

/// Makes one and waits until it is not ready for this reason; the message.
pub async fn failed(s: &Scenario, name: &str, url: &str, fields: Value, reason: &str) -> Result<String> {
    source(s, name, url, fields).await?;
    message(&s.namespace.wait_failed(name, reason).await?)
}

/// The artifact of an object that has one.
pub fn artifact(object: &GitRepository) -> Result<Artifact> {
    let status = object.status.as_ref().context("no status")?;
    status.artifact.clone().context("no artifact")
}

/// Fails unless a new revision could not be archived, and the artifact before, which holds `a` with 1, is served. That one, of
/// which nothing has changed but that it says since when it is stale.
pub async fn kept(object: &GitRepository, before: &Artifact) -> Result<Artifact> {
    assert_eq!(
        conditions(object),
        [
            "Reconciling=True ProgressingWithRetry",
            "Ready=False ArchiveOperationFailed",
            "ArtifactInStorage=True Succeeded",
            "ArtifactOutdated=True NewRevision",
            "StorageOperationFailed=True ArchiveOperationFailed"
        ]
    );
    let kept = artifact(object)?;
    let mut alike = kept.clone();
    assert!(alike.metadata.remove(STALE_SINCE).is_some(), "{kept:?}");
    assert_eq!(alike, *before);
    assert_eq!(content(&kept).await?, ["./", "a 1"]);
    Ok(kept)
}

/// What Ready says.
pub fn message(object: &GitRepository) -> Result<String> {
    Ok(condition(object, "Ready").context("no condition Ready")?.message)
}

/// The conditions as `Type=Status Reason`, in their order.
pub fn conditions(object: &GitRepository) -> Vec<String> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
        .collect()
}

/// Neither the status of the object, nor its events, nor the log may hold the text.
pub async fn must_not_leak(s: &Scenario, name: &str, secret: &str) -> Result<()> {
    let object: GitRepository = s.namespace.get(name).await?;
    let status = serde_json::to_string(&object.status)?;
    let events = serde_json::to_string(&s.namespace.events::<GitRepository>(name).await?)?;
    let log = fs::read_to_string(s.controllers.log(Controller::Source))?;
    for (place, text) in [("status", status), ("events", events), ("log", log)] {
        assert!(!text.contains(secret), "{place}: {text}");
    }
    Ok(())
}

/// Asks the artifact server, without decoding anything.
pub async fn get(url: &str) -> Result<reqwest::Response> {
    tests::use_ring();
    Ok(reqwest::Client::builder().no_proxy().build()?.get(url).send().await?)
}

/// Downloads an artifact, checks digest and size, and lists what it holds as `name content`, directories as `name/`.
pub async fn content(artifact: &Artifact) -> Result<Vec<String>> {
    let response = get(&artifact.url).await?.error_for_status()?;
    let told = response.content_length();
    let bytes = response.bytes().await?;
    ensure!(told == Some(bytes.len() as u64), "another length is told: {told:?}");
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        artifact.digest == format!("sha256:{digest}"),
        "the digest is another one: sha256:{digest}"
    );
    ensure!(
        artifact.size == Some(bytes.len().try_into()?),
        "the size is another one: {}",
        bytes.len()
    );
    let mut members = Vec::new();
    for member in tar::Archive::new(GzDecoder::new(&bytes[..])).entries()? {
        let mut member = member?;
        let name = member.path()?.display().to_string();
        if member.header().entry_type().is_dir() {
            members.push(format!("{name}/"));
        } else {
            let mut text = String::new();
            member.read_to_string(&mut text)?;
            members.push(format!("{name} {}", text.trim_end()));
        }
    }
    Ok(members)
}
