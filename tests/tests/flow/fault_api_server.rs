//! The API server and etcd are killed and come back, at rest and at work: the controllers go on by themselves, none is
//! started again, and nothing is lost.

use anyhow::{Result, ensure};
use api::kustomize::Kustomization;
use api::source::GitRepository;
use serde_json::json;
use std::time::Duration;
use tests::control_plane::Part;
use tests::controllers::Controller::{self, Kustomize};
use tests::repo::Repo;
use tests::scenario::Scenario;

use crate::stage::{Stage, lines, maps};

const MANY: usize = 150;

fn ids(s: &Stage) -> Result<Vec<u32>> {
    Controller::ALL
        .iter()
        .map(|controller| s.controllers.id(*controller))
        .collect()
}

async fn still_running(s: &Stage, ids_before: &[u32]) -> Result<()> {
    for controller in Controller::ALL {
        ensure!(!s.controllers.ended(controller)?, "{controller} has ended");
        s.controllers.ready(controller).await?;
    }
    ensure!(ids(s)? == ids_before, "a controller was started again");
    Ok(())
}

/// A stage of its own with one commit applied. What counts as a failure is tried again after an hour only: an API server
/// or an etcd that is away is none.
async fn stage(name: &str) -> Result<(Stage, Repo, String)> {
    let builder = Scenario::builder(name)
        .own_cluster()
        .flag(Kustomize, "--concurrent-ssa=1");
    let s = Stage::of(builder).await?;
    let repo = s.git.create("app")?;
    let first = repo.commit_files("first", &[("deploy/a.yaml", &maps("a", 0..2, "1"))])?;
    s.source("app", repo.url(), json!({})).await?;
    s.kustomization("app", "./deploy", json!({ "retryInterval": "1h" }))
        .await?;
    s.applied("app", &first).await?;
    Ok((s, repo, first))
}

#[tokio::test]
async fn the_api_server_is_killed_at_rest_and_at_work() -> Result<()> {
    let (s, repo, first) = stage("api-server").await?;
    let (before, strangers) = (ids(&s)?, s.strangers("many").await?);
    let control_plane = s.cluster.control_plane()?;

    control_plane.restart(Part::ApiServer).await?;
    repo.write("deploy/a.yaml", maps("a", 1..3, "2"))?;
    let second = repo.commit("second")?;
    s.pushed("app", "app", &second).await?;
    s.equals_git("app", &repo, "deploy").await?;
    // An artifact that is replaced while nobody can watch is not told; this one is seen in time.
    s.told("GitRepository/app", "stored artifact for commit 'second'")
        .await?;

    repo.write("deploy/many.yaml", maps("many", 0..MANY, "3"))?;
    let third = repo.commit("third")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.in_the_middle("app", 2, 2 + MANY).await?;
    control_plane.restart(Part::ApiServer).await?;
    s.applied("app", &third).await?;
    s.equals_git("app", &repo, "deploy").await?;

    repo.remove("deploy/many.yaml")?;
    let fourth = repo.commit("fourth")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.in_the_middle("app", 2, 2 + MANY).await?;
    control_plane.restart(Part::ApiServer).await?;
    s.applied("app", &fourth).await?;
    s.equals_git("app", &repo, "deploy").await?;

    s.untouched(&strangers).await?;
    s.told_changes("app", &lines("a", 2..3, "created")).await?;
    s.told_changes("app", &lines("a", 0..1, "deleted")).await?;
    s.told_changes("app", &lines("many", 0..MANY, "created")).await?;
    s.told_changes("app", &lines("many", 0..MANY, "deleted")).await?;
    s.told("GitRepository/app", "stored artifact for commit 'fourth'")
        .await?;
    s.in_order(&[first, second, third, fourth])?;
    still_running(&s, &before).await
}

#[tokio::test]
async fn etcd_is_killed_at_rest_and_at_work_and_the_api_server_pauses() -> Result<()> {
    let (s, repo, first) = stage("etcd").await?;
    let before = ids(&s)?;
    let control_plane = s.cluster.control_plane()?;

    control_plane.restart(Part::Etcd).await?;
    let second = repo.commit_files("second", &[("deploy/a.yaml", &maps("a", 0..2, "2"))])?;
    s.pushed("app", "app", &second).await?;

    repo.write("deploy/many.yaml", maps("many", 0..MANY, "3"))?;
    let third = repo.commit("third")?;
    s.namespace.request_reconcile::<GitRepository>("app").await?;
    s.in_the_middle("app", 2, 2 + MANY).await?;
    control_plane.restart(Part::Etcd).await?;
    s.applied("app", &third).await?;
    s.equals_git("app", &repo, "deploy").await?;

    // Connections stay open and nobody answers.
    s.namespace.delete::<Kustomization>("app").await?;
    s.in_the_middle("app", 0, 2 + MANY).await?;
    control_plane.pause(Part::ApiServer)?;
    let answer = tokio::time::timeout(Duration::from_secs(1), s.maps_of("app")).await;
    assert!(answer.is_err(), "a paused API server answers");
    control_plane.resume(Part::ApiServer)?;
    s.namespace.wait_gone::<Kustomization>("app").await?;
    assert!(s.maps_of("app").await?.is_empty());

    s.told_changes("app", &lines("many", 0..MANY, "created")).await?;
    s.told_changes("app", &lines("many", 0..MANY, "deleted")).await?;
    s.in_order(&[first, second, third])?;
    still_running(&s, &before).await
}
