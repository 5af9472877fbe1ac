//! The services, and what is secret about them.

use crate::stage::{Stage, stored};
use anyhow::{Context, Result};
use api::notification::{Alert, Provider};
use api::source::GitRepository;
use serde_json::json;
use std::fs;
use tests::controllers::Controller;
use tests::receiver::{Answer, Receiver};

#[tokio::test]
async fn a_wrong_secret_is_told_without_its_value_and_a_right_one_delivers() -> Result<()> {
    let stage = Stage::start("notification-secret").await?;
    let namespace = &stage.scenario.namespace;
    let address = stage.receiver.url("/hook/s3cret-path-of-the-webhook");
    namespace
        .secret(
            "there",
            &[("address", &address), ("headers", "Authorization: Bearer wr0ng-token")],
        )
        .await?;
    let watched = json!({ "metadata": { "labels": { "reconcile.fluxcd.io/watch": "Enabled" } } });
    namespace
        .patch::<k8s_openapi::api::core::v1::Secret>("there", watched)
        .await?;
    stage
        .apply(
            "Provider",
            "there",
            json!({ "type": "generic", "secretRef": { "name": "there" } }),
        )
        .await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    let quoting = format!("no entry with Bearer wr0ng-token at {address}");
    stage.receiver.answer_always(Answer::status(401).body(quoting));
    stage.stored("app", "1").await?;
    let told = stage
        .wait_told(
            "all",
            "NotificationDispatchFailed",
            "request failed with status code 401",
        )
        .await?;
    assert!(told.ends_with("no entry with ***** at *****"), "{told}");
    stage.receiver.answer_always(Answer::status(200));
    namespace
        .secret(
            "there",
            &[("address", &address), ("headers", "Authorization: Bearer right-token")],
        )
        .await?;
    stage.wait_texts(&[&stored("1")]).await?;
    let last = stage.receiver.received().pop().context("nothing")?;
    assert_eq!(last.header("authorization"), Some("Bearer right-token"));
    let log = fs::read_to_string(stage.scenario.controllers.log(Controller::Notification))?;
    let memory = stage.memory().await?;
    for secret in ["wr0ng-token", "right-token", "s3cret-path"] {
        assert!(!log.contains(secret) && !memory.contains(secret), "{secret} is seen");
    }
    Ok(())
}

#[tokio::test]
async fn slack_is_told_by_its_webhook() -> Result<()> {
    let stage = Stage::start("notification-slack").await?;
    stage.provider("there", "slack").await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    stage
        .failed::<GitRepository>("app", "GitOperationFailed", "no route\nto host")
        .await?;
    let received = stage.receiver.wait_for_count(1).await?.remove(0);
    let object = format!("gitrepository/app.{}", stage.scenario.ns());
    let expected = json!({
        "channel": "", "username": "source-controller", "icon_url": "", "icon_emoji": "",
        "attachments": [{
            "fallback": format!("{object}: no route"), "color": "danger", "author_name": object,
            "text": "no route\nto host", "mrkdwn_in": ["text"], "fields": [],
        }],
    });
    assert_eq!(received.json()?, expected);
    assert_eq!(received.header("authorization"), None);
    Ok(())
}

#[tokio::test]
async fn slack_is_told_by_its_api_and_believed_only_when_it_says_ok() -> Result<()> {
    let stage = Stage::start("notification-slack-api").await?;
    let namespace = &stage.scenario.namespace;
    namespace.secret("bot", &[("token", "xoxb-1234")]).await?;
    let address = stage.receiver.url("/api/chat.postMessage");
    let spec = json!({ "type": "slack", "address": address, "channel": "ops", "username": "bot", "secretRef": { "name": "bot" } });
    stage.apply("Provider", "there", spec).await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    stage
        .receiver
        .answer_next([Answer::status(200).body(r#"{"ok":false,"error":"not_in_channel"}"#)]);
    stage.receiver.answer_always(Answer::status(200).body(r#"{"ok":true}"#));
    stage.stored("app", "1").await?;
    stage
        .wait_told(
            "all",
            "NotificationDispatchFailed",
            "Slack responded with error: not_in_channel",
        )
        .await?;
    let received = stage.receiver.wait_for_count(2).await?;
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[1].header("authorization"), Some("Bearer xoxb-1234"));
    assert_eq!(received[1].json()?["channel"], "ops");
    Ok(())
}

#[tokio::test]
async fn chats_do_not_see_the_end_of_every_reconcile() -> Result<()> {
    let stage = Stage::start("notification-chat").await?;
    stage.provider("there", "slack").await?;
    stage.alert("all", json!({})).await?;
    stage.kustomization("app").await?;
    stage.finished("app", 1).await?;
    stage.changed("app", 1..=1).await?;
    stage.wait_texts(&["ConfigMap/d/1 created"]).await
}

#[tokio::test]
async fn a_certificate_authority_of_ones_own_is_trusted() -> Result<()> {
    let stage = Stage::start("notification-tls").await?;
    let secure = Receiver::start_tls()?;
    let namespace = &stage.scenario.namespace;
    namespace
        .secret("ca", &[("ca.crt", secure.ca().context("no authority")?)])
        .await?;
    let spec = json!({ "type": "generic", "address": secure.url("/hook") });
    stage.apply("Provider", "there", spec.clone()).await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    stage
        .wait_told("all", "NotificationDispatchFailed", "certificate")
        .await?;
    let mut trusting = spec;
    trusting["certSecretRef"] = json!({ "name": "ca" });
    stage.apply("Provider", "there", trusting).await?;
    let received = secure.wait_for_count(1).await?;
    assert_eq!(received[0].json()?["message"], stored("1"));
    Ok(())
}

#[tokio::test]
async fn a_provider_type_that_is_not_supported_says_so() -> Result<()> {
    let stage = Stage::start("notification-unsupported").await?;
    stage.provider("there", "msteams").await?;
    stage.alert("all", json!({})).await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    let expected = "provider type 'msteams' is not supported yet";
    assert!(
        stage
            .wait_told_provider("there", "UnsupportedFeature")
            .await?
            .contains(expected)
    );
    stage.wait_told("all", "NotificationDispatchFailed", expected).await?;
    assert!(stage.receiver.received().is_empty());
    assert!(!stage.memory().await?.contains("\"queue\""));
    Ok(())
}

#[tokio::test]
async fn finalizers_that_flux_left_are_taken_off_at_deletion() -> Result<()> {
    let stage = Stage::start("notification-finalizers").await?;
    stage.everything().await?;
    let namespace = &stage.scenario.namespace;
    let finalizer = || json!({ "metadata": { "finalizers": ["finalizers.fluxcd.io"] } });
    namespace.patch::<Alert>("all", finalizer()).await?;
    namespace.patch::<Provider>("there", finalizer()).await?;
    namespace.delete::<Alert>("all").await?;
    namespace.delete::<Provider>("there").await?;
    namespace.wait_gone::<Alert>("all").await?;
    namespace.wait_gone::<Provider>("there").await
}
