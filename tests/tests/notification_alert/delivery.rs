//! What arrives: the whole request, in order, once.

use crate::stage::{Stage, stored};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use api::source::GitRepository;
use kube::ResourceExt;
use serde_json::json;
use tests::api_proxy::Cut;
use tests::controllers::Controller;
use tests::receiver::Receiver;
use tests::scenario::Scenario;

#[tokio::test]
async fn a_message_arrives_as_flux_sends_it() -> Result<()> {
    let stage = Stage::start("notification-whole").await?;
    stage.provider("there", "generic").await?;
    stage
        .alert(
            "all",
            json!({ "eventMetadata": { "env": "prod" }, "summary": "the summary" }),
        )
        .await?;
    stage.repository("app").await?;
    let annotations = json!({ "metadata": { "annotations": {
        "event.toolkit.fluxcd.io/team": "blue", "other.example/x": "y",
    } } });
    stage
        .scenario
        .namespace
        .patch::<GitRepository>("app", annotations)
        .await?;
    stage.stored("app", "1").await?;
    let received = stage.receiver.wait_for_count(1).await?.remove(0);
    let object = stage.scenario.namespace.get::<GitRepository>("app").await?;
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/hook"));
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.header("gotk-component"), Some("source-controller"));
    assert_eq!(received.header("x-sluice-event-id").map(str::len), Some(32));
    let body = received.json()?;
    let expected = json!({
        "involvedObject": {
            "kind": "GitRepository", "namespace": stage.scenario.ns(), "name": "app", "uid": object.uid(),
            "apiVersion": "source.toolkit.fluxcd.io/v1", "resourceVersion": object.resource_version(),
        },
        "severity": "info",
        "timestamp": "2026-01-02T03:04:05Z",
        "message": stored("1"),
        "reason": "NewArtifact",
        "metadata": { "env": "prod", "revision": "1", "summary": "the summary", "team": "blue" },
        "reportingController": "source-controller",
    });
    assert_eq!(body, expected);
    Ok(())
}

#[tokio::test]
async fn a_kustomization_tells_its_changes_and_its_end() -> Result<()> {
    let stage = Stage::start("notification-changes").await?;
    stage.everything().await?;
    stage.kustomization("app").await?;
    stage.changed("app", 1..=1).await?;
    stage.finished("app", 1).await?;
    let end = "Reconciliation finished in 1.5s, next run in 10m0s";
    stage.wait_texts(&["ConfigMap/d/1 created", end]).await?;
    // While it waits, the end of one reconcile is replaced by that of the next.
    stage.finished("app", 2).await?;
    stage.wait_texts(&["ConfigMap/d/1 created", end, end]).await?;
    let received = stage.receiver.received();
    assert_eq!(received[0].json()?["reason"], "Progressing");
    assert_eq!(received[0].json()?["metadata"], json!({ "revision": "main@sha1:1" }));
    assert_eq!(received[1].header("gotk-component"), Some("kustomize-controller"));
    assert_eq!(
        received[1].json()?["metadata"],
        json!({ "revision": "main@sha1:1", "commit_status": "update" })
    );
    Ok(())
}

#[tokio::test]
async fn a_failure_is_told_once_per_episode_and_again_after_a_recovery() -> Result<()> {
    let stage = Stage::start("notification-episodes").await?;
    stage.everything().await?;
    stage.kustomization("app").await?;
    let failed = |seconds: u32| format!("health check failed after {seconds}.5s: timeout");
    for seconds in [30, 31, 32] {
        stage
            .failed::<Kustomization>("app", "HealthCheckFailed", &failed(seconds))
            .await?;
    }
    stage.finished("app", 1).await?;
    stage
        .failed::<Kustomization>("app", "HealthCheckFailed", &failed(33))
        .await?;
    let end = "Reconciliation finished in 1.5s, next run in 10m0s";
    stage.wait_texts(&[&failed(30), end, &failed(33)]).await?;
    assert_eq!(stage.receiver.received()[0].json()?["severity"], "error");
    Ok(())
}

#[tokio::test]
async fn a_failure_that_lasts_is_told_again() -> Result<()> {
    let stage = Stage::with("notification-reminder", &["--rate-limit-interval=2s"]).await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage
        .failed::<GitRepository>("app", "GitOperationFailed", "no route")
        .await?;
    stage.wait_texts(&["no route", "no route"]).await?;
    let received = stage.receiver.received();
    assert_ne!(
        received[0].header("x-sluice-event-id"),
        received[1].header("x-sluice-event-id")
    );
    Ok(())
}

#[tokio::test]
async fn objects_that_were_there_before_are_told_about_from_now_on() -> Result<()> {
    let stage = Stage::start("notification-baseline").await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    // Times of the API server have whole seconds: the memory begins in a later one.
    let made = stage.scenario.namespace.get::<GitRepository>("app").await?;
    let made = made.creation_timestamp().context("no time")?.0;
    tests::wait::until("the next second", async || {
        Ok((jiff::Timestamp::now().as_second() > made.as_second() + 1).then_some(()))
    })
    .await?;
    stage.everything().await?;
    stage.wait_memory("GitRepository", true).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("2")]).await
}

#[tokio::test]
async fn nothing_is_told_again_after_a_restart() -> Result<()> {
    let stage = Stage::start("notification-restart").await?;
    stage.everything().await?;
    stage.repository("app").await?;
    stage.stored("app", "1").await?;
    stage.wait_texts(&[&stored("1")]).await?;
    stage.scenario.controllers.stop(Controller::Notification).await?;
    assert!(
        !stage.memory().await?.contains("\"queue\""),
        "what was delivered is written down at the end"
    );
    stage.scenario.controllers.start_again(Controller::Notification).await?;
    stage.stored("app", "2").await?;
    stage.wait_texts(&[&stored("1"), &stored("2")]).await
}

#[tokio::test]
async fn an_object_that_is_gone_is_told_about_to_its_end_and_then_forgotten() -> Result<()> {
    let stage = Stage::start("notification-deleted").await?;
    stage.everything().await?;
    stage.kustomization("app").await?;
    stage.finalizers("app", &["finalizers.fluxcd.io"]).await?;
    let namespace = &stage.scenario.namespace;
    stage.finished("app", 1).await?;
    stage.receiver.wait_for_count(1).await?;
    stage.wait_memory("\"queue\"", false).await?;
    stage.receiver.down();
    namespace.delete::<Kustomization>("app").await?;
    let change = json!({ "changes": [{
        "seq": 1, "time": "2026-01-02T03:04:05Z", "revision": "main@sha1:1", "action": "delete",
        "entries": [{ "object": "ConfigMap/d/a", "action": "deleted" }],
    }] });
    stage.status::<Kustomization>("app", change).await?;
    stage.finalizers("app", &[]).await?;
    namespace.wait_gone::<Kustomization>("app").await?;
    stage.receiver.up()?;
    stage
        .wait_texts(&[
            "Reconciliation finished in 1.5s, next run in 10m0s",
            "ConfigMap/d/a deleted",
        ])
        .await?;
    assert_eq!(
        stage.receiver.received().last().context("nothing")?.json()?["reason"],
        "ReconciliationSucceeded"
    );
    stage.wait_memory("Kustomization", false).await
}

#[tokio::test]
async fn what_was_deleted_with_an_object_is_told_from_its_last_inventory() -> Result<()> {
    let stage = Stage::start("notification-deletion").await?;
    stage.everything().await?;
    stage.kustomization("app").await?;
    stage.finalizers("app", &["finalizers.fluxcd.io"]).await?;
    let namespace = &stage.scenario.namespace;
    let inventory = json!({ "lastAppliedRevision": "main@sha1:1", "inventory": { "entries": [
        { "id": "d_a__ConfigMap", "v": "v1" }, { "id": "d_b_apps_Deployment", "v": "v1" },
    ] } });
    stage.status::<Kustomization>("app", inventory).await?;
    stage.finished("app", 1).await?;
    stage.receiver.wait_for_count(1).await?;
    namespace.delete::<Kustomization>("app").await?;
    stage.finalizers("app", &[]).await?;
    namespace.wait_gone::<Kustomization>("app").await?;
    stage
        .wait_texts(&[
            "Reconciliation finished in 1.5s, next run in 10m0s",
            "Deployment/d/b deleted\nConfigMap/d/a deleted",
        ])
        .await?;
    let told = stage.receiver.received().last().context("nothing")?.json()?;
    assert_eq!(
        (&told["reason"], &told["metadata"]["revision"]),
        (&json!("ReconciliationSucceeded"), &json!("main@sha1:1"))
    );
    stage.wait_memory("Kustomization", false).await
}

#[tokio::test]
async fn without_alerts_nothing_is_remembered() -> Result<()> {
    let stage = Stage::start("notification-forget").await?;
    stage.everything().await?;
    stage
        .scenario
        .namespace
        .delete::<api::notification::Alert>("all")
        .await?;
    tests::wait::until("the memory to be gone", async || {
        Ok(stage.pages().await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_push_is_told_by_its_subject_from_what_the_source_controller_says() -> Result<()> {
    let scenario = Scenario::builder("notification-push").only(&[Controller::Source, Controller::Notification]);
    let stage = Stage {
        scenario: scenario.start().await?,
        receiver: Receiver::start()?,
    };
    stage.everything().await?;
    let repository = stage.scenario.git.create("app")?;
    repository.write("app.yaml", "a: 1\n")?;
    let commit = repository.commit("the first subject")?;
    let object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": { "name": "app" },
        "spec": { "url": repository.url(), "interval": "1m", "ref": { "branch": "main" } },
    });
    stage.scenario.namespace.apply_yaml(&object.to_string()).await?;
    stage
        .wait_texts(&["stored artifact for commit 'the first subject'"])
        .await?;
    let body = stage.receiver.received()[0].json()?;
    assert_eq!(body["metadata"], json!({ "revision": format!("main@sha1:{commit}") }));
    stage
        .scenario
        .namespace
        .patch::<GitRepository>("app", json!({ "spec": { "ref": { "branch": "missing" } } }))
        .await?;
    stage.receiver.wait_for_count(2).await?;
    stage
        .scenario
        .namespace
        .patch::<GitRepository>("app", json!({ "spec": { "ref": { "branch": "main" } } }))
        .await?;
    let received = stage.receiver.wait_for_count(3).await?;
    let reasons: Vec<_> = received
        .iter()
        .map(|request| Ok(request.json()?["reason"].clone()))
        .collect::<Result<_>>()?;
    assert_eq!(reasons, ["NewArtifact", "GitOperationFailed", "Succeeded"]);
    assert_eq!(
        stage.texts()[2],
        format!("stored artifact for commit 'main@sha1:{commit}'")
    );
    Ok(())
}

#[tokio::test]
async fn what_the_kustomize_controller_does_is_told_from_apply_to_deletion() -> Result<()> {
    let stage = Stage {
        scenario: Scenario::start("notification-flow").await?,
        receiver: Receiver::start()?,
    };
    stage.provider("there", "slack").await?;
    let sources = json!([{ "kind": "Kustomization", "name": "*" }]);
    stage.alert("all", json!({ "eventSources": sources })).await?;
    let config = |name: &str, value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: \"{value}\"}}\n")
    };
    let repository = stage.scenario.git.create("app")?;
    repository.write_all(&[("one.yaml", &config("one", "1")), ("two.yaml", &config("two", "1"))])?;
    repository.commit("first")?;
    let namespace = &stage.scenario.namespace;
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": { "name": "app" },
        "spec": { "url": repository.url(), "interval": "1m", "ref": { "branch": "main" } },
    });
    namespace.apply_yaml(&source.to_string()).await?;
    let kustomization = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": { "name": "app" },
        "spec": {
            "interval": "10m", "prune": true, "targetNamespace": stage.scenario.ns(),
            "sourceRef": { "kind": "GitRepository", "name": "app" },
        },
    });
    namespace.apply_yaml(&kustomization.to_string()).await?;
    let line = |name: &str, action: &str| format!("ConfigMap/{}/{name} {action}", stage.scenario.ns());
    let applied = format!("{}\n{}", line("one", "created"), line("two", "created"));
    stage.wait_texts(&[&applied]).await?;
    repository.write("one.yaml", config("one", "2"))?;
    repository.remove("two.yaml")?;
    repository.commit("second")?;
    namespace.reconcile::<GitRepository>("app").await?;
    let (configured, pruned) = (line("one", "configured"), line("two", "deleted"));
    stage.wait_texts(&[&applied, &configured, &pruned]).await?;
    repository.write("one.yaml", "kind: [")?;
    repository.commit("third")?;
    namespace.reconcile::<GitRepository>("app").await?;
    let received = stage.receiver.wait_for_count(4).await?;
    assert_eq!(received[3].json()?["attachments"][0]["color"], "danger");
    namespace.delete::<Kustomization>("app").await?;
    namespace.wait_gone::<Kustomization>("app").await?;
    let deleted = line("one", "deleted");
    stage
        .receiver
        .wait_for("the list of the deletion", |_| {
            stage.texts().contains(&deleted).then_some(())
        })
        .await?;
    stage.wait_memory("\"kind\":\"Kustomization\"", false).await
}

#[tokio::test]
async fn a_deletion_that_nobody_watched_is_told_from_what_was_seen_last() -> Result<()> {
    let (proxy, stage) = Stage::behind_proxy("notification-unwatched").await?;
    stage.everything().await?;
    for (name, finalizers) in [("app", [api::meta::FINALIZER]), ("free", ["example.com/other"])] {
        stage.kustomization(name).await?;
        stage.finalizers(name, &finalizers).await?;
        let applied = json!({
            "inventory": { "entries": [{ "id": "d_a__ConfigMap", "v": "v1" }, { "id": "d_b__ConfigMap", "v": "v1" }] },
            "changes": [{
                "seq": 1, "time": "2026-01-02T03:04:05Z", "revision": "main@sha1:1", "action": "apply",
                "entries": [{ "object": format!("ConfigMap/d/{name}"), "action": "created" }],
            }],
        });
        stage.status::<Kustomization>(name, applied).await?;
    }
    let created = |text: &String| text.ends_with(" created");
    let both = |_: &[_]| (stage.texts().iter().filter(|text| created(text)).count() == 2).then_some(());
    stage.receiver.wait_for("what was created", both).await?;
    // Longer than the test can take: the removal never comes through a watch.
    proxy.hold_watches(2 * tests::wait::patience());
    let namespace = &stage.scenario.namespace;
    for name in ["free", "app"] {
        namespace.delete::<Kustomization>(name).await?;
        stage.finalizers(name, &[]).await?;
        namespace.wait_gone::<Kustomization>(name).await?;
    }
    proxy.cut_watches(Cut::Expired);
    // What the other one had is not told: nothing of ours held it back.
    stage.wait_memory("\"kind\":\"Kustomization\"", false).await?;
    let texts = stage.texts();
    let deleted = "ConfigMap/d/b deleted\nConfigMap/d/a deleted\n(told from the last inventory that was seen)";
    assert_eq!(
        texts.iter().filter(|text| !created(text)).collect::<Vec<_>>(),
        [deleted]
    );
    Ok(())
}
