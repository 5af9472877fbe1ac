//! The storage of artifacts is lost, damaged or cannot be written: what is applied stays, what is lost is made again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use api::source::{Artifact, GitRepository};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tests::controllers::Controller::{Kustomize, Source};
use tests::namespace::condition;
use tests::repo::Repo;
use tests::scenario::Scenario;

use crate::stage::{Stage, maps};

/// A stage with one commit applied. A download that fails is not tried again by the same reconcile.
async fn stage(name: &str) -> Result<(Stage, Repo, String)> {
    let s = Stage::of(Scenario::builder(name).flag(Kustomize, "--http-retry=0")).await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("a.yaml", &maps("a", 0..2, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./", json!({})).await?;
    s.applied("app", &first).await?;
    Ok((s, repo, first))
}

fn empty(storage: &Path) -> Result<()> {
    for entry in fs::read_dir(storage)? {
        let path = entry?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

fn file_of(s: &Stage, artifact: &Artifact) -> PathBuf {
    s.controllers.storage().join(&artifact.path)
}

/// Downloads the artifact and checks it.
async fn served(artifact: &Artifact) -> Result<()> {
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .get(&artifact.url)
        .send()
        .await?;
    let bytes = answer.error_for_status()?.bytes().await?;
    ensure!(
        tests::artifact_server::digest(&bytes) == artifact.digest,
        "another digest is served"
    );
    Ok(())
}

#[tokio::test]
async fn a_storage_that_is_emptied_is_filled_again() -> Result<()> {
    let (s, repo, first) = stage("store-emptied").await?;
    let before = s.stored("app", &first).await?;

    // While the controller runs: it is noticed with the next reconcile.
    empty(&s.controllers.storage())?;
    ensure!(served(&before).await.is_err());
    s.namespace.reconcile::<GitRepository>("app").await?;
    let after = s.stored("app", &first).await?;
    assert_eq!((&after.digest, &after.path), (&before.digest, &before.path));
    served(&after).await?;
    s.namespace.wait_ready::<GitRepository>("app").await?;

    // While it is away: it is noticed at the start. Who asks meanwhile waits, and what is applied stays.
    s.controllers.kill(Source)?;
    empty(&s.controllers.storage())?;
    s.controllers.restart(Kustomize).await?;
    let token = s.namespace.request_reconcile::<Kustomization>("app").await?;
    let tried = |object: &Kustomization| {
        let status = object.status.clone().unwrap_or_default();
        status.last_handled_reconcile_at.as_deref() == Some(&token)
            && condition(object, "Ready").is_some_and(|ready| ready.reason == "ArtifactFailed")
    };
    let object = s.namespace.wait::<Kustomization>("app", "have tried", tried).await?;
    ensure!(
        object
            .status
            .and_then(|status| status.inventory)
            .is_some_and(|it| it.entries.len() == 2)
    );
    assert_eq!(s.maps_of("app").await?.len(), 2);
    s.controllers.start_again(Source).await?;
    s.applied("app", &first).await?;
    served(&s.stored("app", &first).await?).await?;

    let second = repo.commit_files("second", &[("a.yaml", &maps("a", 1..3, "2"))])?;
    s.pushed("app", "app", &second).await?;
    let live = s.maps_of("app").await?;
    assert_eq!(live.keys().collect::<Vec<_>>(), ["a-001", "a-002"]);
    s.in_order(&[first, second])
}

#[tokio::test]
async fn a_damaged_artifact_is_neither_applied_nor_kept() -> Result<()> {
    let (s, repo, first) = stage("store-damaged").await?;
    let before = s.stored("app", &first).await?;
    // A proper archive with other content than the digest is of.
    let other = tests::artifact_server::tar_gz(&[("b.yaml", maps("evil", 0..1, "1").as_bytes())])?;
    fs::write(file_of(&s, &before), other)?;
    s.controllers.restart(Kustomize).await?;
    s.namespace.request_reconcile::<Kustomization>("app").await?;
    let failed = s
        .namespace
        .wait_failed::<Kustomization>("app", "ArtifactFailed")
        .await?;
    let said = condition(&failed, "Ready").context("no condition")?.message;
    assert!(said.contains("digest"), "{said}");
    assert_eq!(s.maps_of("app").await?.len(), 2);
    assert!(s.namespace.find::<ConfigMap>("evil-000").await?.is_none());
    assert_eq!(s.told("Kustomization/app", "digest").await?.severity, "error");

    s.namespace.reconcile::<GitRepository>("app").await?;
    s.namespace
        .wait_event::<GitRepository>("app", "ArtifactVerificationFailed")
        .await?;
    let after = s.stored("app", &first).await?;
    assert_eq!(after.digest, before.digest);
    served(&after).await?;
    s.applied("app", &first).await?;
    let second = repo.commit_files("second", &[("a.yaml", &maps("a", 0..2, "2"))])?;
    s.pushed("app", "app", &second).await?;
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "2" }));
    s.in_order(&[first, second])
}

#[tokio::test]
async fn a_storage_that_takes_nothing_is_told_and_tried_again() -> Result<()> {
    let (s, repo, first) = stage("store-blocked").await?;
    let before = s.stored("app", &first).await?;
    let directory = file_of(&s, &before);
    let directory = directory.parent().context("no directory")?;
    // Aside, with a file in its place: nothing can be written there, not even by root.
    let aside = s.dir.path().join("aside");
    fs::rename(directory, &aside)?;
    fs::write(directory, "in the way")?;
    let second = repo.commit_files("second", &[("a.yaml", &maps("a", 0..2, "2"))])?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    let failing = |object: &GitRepository| {
        condition(object, "StorageOperationFailed").is_some_and(|condition| condition.status == "True")
            && condition(object, "Ready").is_some_and(|ready| ready.status == "False")
    };
    let object = s
        .namespace
        .wait::<GitRepository>("app", "say that nothing can be stored", failing)
        .await?;
    let said = condition(&object, "Ready").context("no condition")?;
    assert_eq!(s.told("GitRepository/app", &said.message).await?.severity, "error");
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "1" }));

    // It goes on by itself.
    fs::remove_file(directory)?;
    s.applied("app", &second).await?;
    assert_eq!(s.maps_of("app").await?["a-000"], json!({ "k": "2" }));
    s.told("GitRepository/app", "stored artifact for commit 'second'")
        .await?;
    s.in_order(&[first, second])
}
