//! Which Alert takes what.

use crate::stage::{Stage, stored};
use anyhow::Result;
use api::notification::{Alert, Provider};
use api::source::GitRepository;
use serde_json::json;

#[tokio::test]
async fn what_happens_while_an_alert_is_suspended_is_not_told_later() -> Result<()> {
    let stage = Stage::start("notification-suspend").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    let namespace = &stage.scenario.namespace;
    namespace.suspend::<Alert>("all", true).await?;
    stage.stored("app", "1").await?;
    stage.wait_memory("GitRepository", true).await?;
    namespace.suspend::<Alert>("all", false).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("2")]).await
}

#[tokio::test]
async fn what_waits_for_a_provider_is_dropped_when_it_is_suspended() -> Result<()> {
    let stage = Stage::start("notification-suspend-provider").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.receiver.down();
    stage.stored("app", "1").await?;
    stage
        .wait_told("all", "NotificationDispatchFailed", "failed to send")
        .await?;
    let namespace = &stage.scenario.namespace;
    namespace.suspend::<Provider>("there", true).await?;
    stage.wait_memory(&stored("1"), false).await?;
    stage.receiver.up()?;
    namespace.suspend::<Provider>("there", false).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("2")]).await
}

#[tokio::test]
async fn severity_lists_and_labels_choose() -> Result<()> {
    let stage = Stage::start("notification-choose").await?;
    stage.provider("there", "generic").await?;
    let sources = json!([{ "kind": "GitRepository", "name": "*", "matchLabels": { "tier": "one" } }]);
    stage
        .alert(
            "all",
            json!({ "eventSeverity": "error", "exclusionList": ["route", "("], "eventSources": sources }),
        )
        .await?;
    stage
        .wait_told("all", "InvalidConfig", "failed to compile regex \"(\"")
        .await?;
    for (name, tier) in [("app", "one"), ("other", "two")] {
        stage.repository(name).await?;
        let labels = json!({ "metadata": { "labels": { "tier": tier } } });
        stage.scenario.namespace.patch::<GitRepository>(name, labels).await?;
        stage.stored(name, "1").await?;
        stage
            .failed::<GitRepository>(name, "GitOperationFailed", "no route")
            .await?;
        stage
            .failed::<GitRepository>(name, "AuthenticationFailed", &format!("no entry to {name}"))
            .await?;
    }
    stage.stored("app", "1").await?;
    stage
        .failed::<GitRepository>("app", "GitOperationFailed", "the end")
        .await?;
    stage.wait_texts(&["no entry to app", "the end"]).await
}

#[tokio::test]
async fn references_between_namespaces_can_be_refused() -> Result<()> {
    let stage = Stage::with("notification-cross", &["--no-cross-namespace-refs=true"]).await?;
    // The controller watches one namespace: an event of another one comes over HTTP.
    stage.provider("there", "generic").await?;
    let sources = json!([{ "kind": "HelmRelease", "name": "*", "namespace": "elsewhere" }]);
    stage.alert("all", json!({ "eventSources": sources })).await?;
    let event = json!({
        "involvedObject": { "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "namespace": "elsewhere", "name": "app" },
        "severity": "info", "timestamp": "2026-01-02T03:04:05Z", "message": "x", "reason": "y",
        "reportingController": "helm-controller",
    });
    let answer = reqwest::Client::new()
        .post(stage.scenario.controllers.events_url()?)
        .json(&event)
        .send()
        .await?;
    assert_eq!(answer.status(), 202);
    stage
        .wait_told(
            "all",
            "NotificationDispatchFailed",
            "cross-namespace references have been blocked",
        )
        .await?;
    assert!(stage.receiver.received().is_empty());
    Ok(())
}
