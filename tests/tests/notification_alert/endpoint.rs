//! Events of other controllers, over HTTP.

use crate::stage::Stage;
use anyhow::Result;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::receiver::Answer;

async fn stage(name: &str) -> Result<Stage> {
    let stage = Stage::start(name).await?;
    stage.provider("there", "generic").await?;
    let sources = json!([{ "kind": "HelmRelease", "name": "*" }, { "kind": "GitRepository", "name": "*" }]);
    stage.alert("all", json!({ "eventSources": sources })).await?;
    Ok(stage)
}

fn event(stage: &Stage, message: &str) -> Value {
    json!({
        "involvedObject": {
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "namespace": stage.scenario.ns(), "name": "app", "uid": "6f0e2b5c-0000-4000-8000-000000000001",
        },
        "severity": "info", "timestamp": "2026-01-02T03:04:05Z", "message": message, "reason": "InstallSucceeded",
        "metadata": {
            "helm.toolkit.fluxcd.io/revision": "1.0.0", "helm.toolkit.fluxcd.io/token": "salt",
            "helm.toolkit.fluxcd.io/checksum": "0", "other.example/x": "y",
        },
        "reportingController": "helm-controller", "reportingInstance": "helm-controller-0",
    })
}

async fn post(stage: &Stage, body: impl Into<reqwest::Body>) -> Result<Response> {
    let url = stage.scenario.controllers.events_url()?;
    Ok(Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await?)
}

#[tokio::test]
async fn an_event_of_another_controller_is_passed_on_once() -> Result<()> {
    let stage = stage("notification-posted").await?;
    let posted = event(&stage, "Helm install succeeded");
    let answer = post(&stage, posted.to_string()).await?;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["x-ratelimit-limit"], "1");
    let again = post(&stage, posted.to_string()).await?;
    assert_eq!(again.status(), 429);
    assert!(again.headers().contains_key("retry-after"));
    assert_eq!(
        post(&stage, event(&stage, "Helm test succeeded").to_string())
            .await?
            .status(),
        202
    );
    stage
        .wait_texts(&["Helm install succeeded", "Helm test succeeded"])
        .await?;
    let received = stage.receiver.received();
    let mut expected = posted;
    expected["metadata"] = json!({ "revision": "1.0.0" });
    assert_eq!(received[0].json()?, expected);
    assert_eq!(received[0].header("gotk-component"), Some("helm-controller"));
    stage.wait_memory("HelmRelease", false).await
}

#[tokio::test]
async fn what_was_accepted_survives_a_killed_controller() -> Result<()> {
    let stage = stage("notification-posted-killed").await?;
    stage.receiver.answer_always(Answer::status(503));
    assert_eq!(
        post(&stage, event(&stage, "Helm install succeeded").to_string())
            .await?
            .status(),
        202
    );
    stage.scenario.controllers.kill(Controller::Notification)?;
    stage.receiver.answer_always(Answer::status(200));
    stage.scenario.controllers.start_again(Controller::Notification).await?;
    stage.wait_texts(&["Helm install succeeded"]).await
}

#[tokio::test]
async fn what_is_derived_from_status_is_not_told_twice() -> Result<()> {
    let stage = stage("notification-posted-derived").await?;
    let mut posted = event(&stage, "stored artifact");
    posted["involvedObject"]["apiVersion"] = "source.toolkit.fluxcd.io/v1".into();
    posted["involvedObject"]["kind"] = "GitRepository".into();
    posted["reportingController"] = "source-controller".into();
    assert_eq!(post(&stage, posted.to_string()).await?.status(), 202);
    assert_eq!(
        post(&stage, event(&stage, "Helm install succeeded").to_string())
            .await?
            .status(),
        202
    );
    stage.wait_texts(&["Helm install succeeded"]).await
}

#[tokio::test]
async fn labels_that_cannot_be_looked_up_are_told() -> Result<()> {
    let stage = Stage::start("notification-posted-labels").await?;
    stage.provider("there", "generic").await?;
    let sources = json!([{ "kind": "HelmRelease", "name": "*", "matchLabels": { "a": "b" } }]);
    stage.alert("all", json!({ "eventSources": sources })).await?;
    assert_eq!(
        post(&stage, event(&stage, "Helm install succeeded").to_string())
            .await?
            .status(),
        202
    );
    stage
        .wait_told("all", "SourceFetchFailed", "failed to get HelmRelease app")
        .await?;
    assert!(stage.receiver.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_no_event_or_too_large_is_refused() -> Result<()> {
    let stage = stage("notification-posted-bad").await?;
    assert_eq!(post(&stage, "{").await?.status(), 400);
    assert_eq!(post(&stage, vec![b' '; (3 << 20) + 1]).await?.status(), 413);
    let metrics = stage.scenario.controllers.metrics(Controller::Notification).await?;
    assert!(
        metrics.contains(
            r#"gotk_event_http_request_duration_seconds_count{service="",handler="",method="POST",code="413"} 1"#
        ),
        "{metrics}"
    );
    Ok(())
}
