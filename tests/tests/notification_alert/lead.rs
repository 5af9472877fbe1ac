//! Two controllers must not write over each other: the lease decides which of them goes on.
//!
//! The tests play the next leader themselves, and the controller looks at its lease so seldom that it cannot notice by
//! itself.

use crate::stage::{Stage, stored};
use anyhow::Result;
use api::source::GitRepository;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tests::controllers::Controller;
use tests::wait;

const LEASE: &str = "notification-controller-leader-election";
const ELECTED: [&str; 4] = [
    "--enable-leader-election",
    "--leader-election-lease-duration=900s",
    "--leader-election-renew-deadline=800s",
    "--leader-election-retry-period=700s",
];
/// The key by which somebody else's writing shows.
const THEIRS: &str = "theirs";

/// A stage whose controller leads and has told about a first commit.
async fn led(name: &str) -> Result<Stage> {
    let stage = Stage::with(name, &ELECTED).await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    stage.wait_texts(&[&stored("1")]).await?;
    stage.wait_memory("GitRepository", true).await?;
    stage.wait_memory("\"queue\"", false).await?;
    Ok(stage)
}

/// Lets somebody else write every page.
async fn write_pages(stage: &Stage) -> Result<()> {
    for page in stage.pages().await? {
        let data = json!({ "data": { THEIRS: "{}" } });
        let api = stage.scenario.namespace.api::<ConfigMap>();
        api.patch(&page.name_any(), &PatchParams::default(), &Patch::Merge(data))
            .await?;
    }
    Ok(())
}

/// How many pages hold what somebody else wrote.
async fn theirs(stage: &Stage) -> Result<usize> {
    let pages = stage.pages().await?;
    let holds = |page: &&ConfigMap| page.data.as_ref().is_some_and(|data| data.contains_key(THEIRS));
    Ok(pages.iter().filter(holds).count())
}

async fn hand_over(stage: &Stage) -> Result<()> {
    let holder = json!({ "spec": { "holderIdentity": "somebody_else" } });
    stage.scenario.namespace.patch::<Lease>(LEASE, holder).await.map(drop)
}

async fn wait_ended(stage: &Stage) -> Result<()> {
    wait::until("the controller to end", async || {
        Ok(stage
            .scenario
            .controllers
            .ended(Controller::Notification)?
            .then_some(()))
    })
    .await
}

#[tokio::test]
async fn who_does_not_lead_any_more_ends_and_leaves_the_memory_to_the_next_leader() -> Result<()> {
    let stage = led("notification-deposed").await?;
    hand_over(&stage).await?;
    write_pages(&stage).await?;
    stage.stored("app", "2").await?;
    wait_ended(&stage).await?;
    assert_eq!(theirs(&stage).await?, 8);
    assert!(!stage.memory().await?.contains(&stored("2")));
    assert_eq!(stage.texts(), [stored("1")]);
    Ok(())
}

#[tokio::test]
async fn who_does_not_lead_any_more_does_not_remove_the_memory_with_the_last_alert() -> Result<()> {
    let stage = led("notification-deposed-end").await?;
    hand_over(&stage).await?;
    write_pages(&stage).await?;
    stage
        .scenario
        .namespace
        .delete::<api::notification::Alert>("all")
        .await?;
    wait_ended(&stage).await?;
    assert_eq!(theirs(&stage).await?, 8);
    Ok(())
}

#[tokio::test]
async fn who_leads_writes_anew_over_what_somebody_else_wrote() -> Result<()> {
    let stage = led("notification-overtaken").await?;
    write_pages(&stage).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("1"), &stored("2")]).await?;
    // The page of this object is the leader's again; the others are as soon as they have something to hold.
    let probe = async || Ok((theirs(&stage).await? == 7).then_some(()));
    wait::until("a page to be written anew", probe).await?;
    let uid = stage.scenario.namespace.get::<GitRepository>("app").await?.uid();
    let pages = stage.pages().await?;
    let page = pages.iter().filter_map(|page| page.data.as_ref());
    let keys: Vec<_> = page
        .filter(|data| !data.contains_key(THEIRS))
        .flat_map(|data| data.keys().cloned())
        .collect();
    assert_eq!(keys, Vec::from_iter(uid));
    assert!(!stage.scenario.controllers.ended(Controller::Notification)?);
    Ok(())
}
