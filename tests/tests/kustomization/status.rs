//! The status of a Kustomization: conditions, revisions, history, handled requests, the ring of changes; and the events
//! about it.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::{Change, Kustomization, KustomizationStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use serde_json::json;
use tests::namespace::{REQUESTED_AT, condition};
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

fn status(object: Kustomization) -> Result<KustomizationStatus> {
    object.status.context("no status")
}

/// What a change says, in a line.
fn line(change: &Change) -> String {
    let entries: Vec<_> = change
        .entries
        .iter()
        .map(|entry| format!("{} {}", entry.object, entry.action))
        .collect();
    let action = serde_json::to_value(change.action).unwrap_or_default();
    let action = action.as_str().unwrap_or_default();
    let pending = if change.pending { " pending" } else { "" };
    format!(
        "{} {action} {}{pending}: {}",
        change.seq,
        change.revision,
        entries.join(", ")
    )
}

fn changes(status: &KustomizationStatus) -> Vec<String> {
    status.changes.iter().map(line).collect()
}

fn history(status: &KustomizationStatus) -> Vec<String> {
    let line = |entry: &api::kustomize::Snapshot| {
        let revision = entry.metadata.get("revision").map(String::as_str).unwrap_or_default();
        format!(
            "{} x{} {revision}",
            entry.last_reconciled_status, entry.total_reconciliations
        )
    };
    status.history.iter().map(line).collect()
}

/// Waits for an event with this text.
async fn told(scene: &Scene, name: &str, text: &str) -> Result<Event> {
    let text = scene.text(text);
    wait::until(&format!("the event {text:?}"), async || {
        let events = scene.events::<Kustomization>(name).await?;
        Ok(events.into_iter().find(|event| event.message.as_deref() == Some(&text)))
    })
    .await
}

#[tokio::test]
async fn a_first_success_is_told_in_status_and_events() -> Result<()> {
    let scene = Scene::start("status-first", &[]).await?;
    scene
        .publish("main@sha1:1", &[("a.yaml", &map("a", "1")), ("b.yaml", &map("b", "1"))])
        .await?;
    scene
        .kustomization("app", json!({ "interval": "10m", "suspend": true }))
        .await?;
    let annotations =
        json!({ "metadata": { "annotations": { "event.toolkit.fluxcd.io/team": "blue", "other": "x" } } });
    scene.patch::<Kustomization>("app", annotations).await?;
    scene.suspend::<Kustomization>("app", false).await?;
    let object = scene.wait_ready::<Kustomization>("app").await?;

    assert_eq!(
        object.metadata.finalizers.as_deref(),
        Some(&["finalizers.fluxcd.io".to_owned()][..])
    );
    let managers: Vec<_> = object
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|entry| Some((entry.manager.as_deref()?, entry.subresource.as_deref())))
        .collect();
    for expected in [
        ("gotk-kustomize-controller", None),
        ("gotk-kustomize-controller", Some("status")),
    ] {
        assert!(managers.contains(&expected), "{managers:?}");
    }
    let generation = object.metadata.generation;
    let ready = condition(&object, "Ready").context("no Ready condition")?;
    assert_eq!(ready.message, "Applied revision: main@sha1:1");
    assert_eq!(ready.observed_generation, generation);
    let status = status(object)?;
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(types, ["Ready"]);
    assert_eq!(status.observed_generation, generation);
    assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(
        status.last_applied_origin_revision.as_deref(),
        Some("origin-of-main@sha1:1")
    );
    assert_eq!(status.last_handled_reconcile_at, None);
    let inventory = status.inventory.as_ref().context("no inventory")?;
    let entries: Vec<_> = inventory
        .entries
        .iter()
        .map(|entry| format!("{} {}", entry.id, entry.version))
        .collect();
    assert_eq!(
        entries,
        ["<ns>_a__ConfigMap v1", "<ns>_b__ConfigMap v1"].map(|line| scene.text(line))
    );
    assert_eq!(history(&status), ["ReconciliationSucceeded x1 main@sha1:1"]);
    let snapshot = &status.history[0];
    assert!(
        snapshot.digest.starts_with("sha256:") && snapshot.digest.len() == 71,
        "{}",
        snapshot.digest
    );
    assert_eq!(snapshot.metadata["originRevision"], "origin-of-main@sha1:1");
    assert_eq!(
        changes(&status),
        [scene.text("1 apply main@sha1:1: ConfigMap/<ns>/a created, ConfigMap/<ns>/b created")]
    );
    assert_eq!(
        status.changes[0].origin_revision.as_deref(),
        Some("origin-of-main@sha1:1")
    );
    let origins: Vec<_> = status.changes[0]
        .entries
        .iter()
        .map(|entry| entry.origin.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(
        origins,
        [
            "from a.yaml:1, changed by spec.targetNamespace",
            "from b.yaml:1, changed by spec.targetNamespace"
        ]
    );

    let applied = told(&scene, "app", "ConfigMap/<ns>/a created\nConfigMap/<ns>/b created").await?;
    assert_eq!(
        (applied.type_.as_deref(), applied.reason.as_deref()),
        (Some("Normal"), Some("Progressing"))
    );
    let finished = scene.wait_event::<Kustomization>("app", SUCCEEDED).await?;
    let message = finished.message.clone().unwrap_or_default();
    assert!(
        message.starts_with("Reconciliation finished in ") && message.ends_with("s, next run in 10m0s"),
        "{message}"
    );
    let about = |event: &Event| {
        assert_eq!(event.reporting_component.as_deref(), Some("kustomize-controller"));
        event.metadata.annotations.clone().unwrap_or_default()
    };
    let mut expected = std::collections::BTreeMap::from(
        [
            ("event.toolkit.fluxcd.io/team", "blue"),
            ("kustomize.toolkit.fluxcd.io/originRevision", "origin-of-main@sha1:1"),
            ("kustomize.toolkit.fluxcd.io/revision", "main@sha1:1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    assert_eq!(about(&applied), expected);
    expected.insert(
        "kustomize.toolkit.fluxcd.io/commit_status".to_owned(),
        "update".to_owned(),
    );
    assert_eq!(about(&finished), expected);
    Ok(())
}

#[tokio::test]
async fn a_reconcile_without_changes_moves_nothing_but_what_was_asked_for() -> Result<()> {
    let scene = Scene::start("status-still", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("app", json!({ "wait": true })).await?;
    let before = status(scene.wait_ready::<Kustomization>("app").await?)?;
    let object = scene.get::<ConfigMap>("a").await?;
    let token = scene.request_reconcile::<Kustomization>("app").await?;
    let handled = scene
        .wait::<Kustomization>("app", "have handled the request", |object| {
            object
                .status
                .as_ref()
                .and_then(|status| status.last_handled_reconcile_at.as_ref())
                == Some(&token)
        })
        .await?;
    let after = status(handled)?;
    assert_eq!(
        after
            .conditions
            .iter()
            .filter(|condition| condition.type_ == "Ready")
            .collect::<Vec<_>>(),
        before
            .conditions
            .iter()
            .filter(|condition| condition.type_ == "Ready")
            .collect::<Vec<_>>()
    );
    assert_eq!(after.inventory, before.inventory);
    assert_eq!(after.changes, before.changes);
    assert_eq!(history(&after), ["ReconciliationSucceeded x2 main@sha1:1"]);
    assert_eq!(after.history[0].first_reconciled, before.history[0].first_reconciled);
    assert_eq!(
        scene.get::<ConfigMap>("a").await?.metadata.resource_version,
        object.metadata.resource_version
    );
    // A change of the object that a request repairs is a change of the cluster, not of the revision.
    scene.patch::<ConfigMap>("a", json!({ "data": { "k": "2" } })).await?;
    let repaired = status(scene.reconcile::<Kustomization>("app").await?)?;
    assert_eq!(scene.get::<ConfigMap>("a").await?.data.unwrap_or_default()["k"], "1");
    assert_eq!(
        changes(&repaired).last(),
        Some(&scene.text("2 apply main@sha1:1: ConfigMap/<ns>/a configured"))
    );
    let text = "ConfigMap/<ns>/a configured\ndrift corrected: ConfigMap/<ns>/a .data.k (changed by sluice-tests)";
    told(&scene, "app", text).await?;
    Ok(())
}

#[tokio::test]
async fn revisions_and_outcomes_are_kept_in_history_and_changes() -> Result<()> {
    let scene = Scene::start("status-history", &[]).await?;
    let one = map("a", "1");
    scene
        .publish("main@sha1:1", &[("a.yaml", &one), ("b.yaml", &map("b", "1"))])
        .await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    scene.says("app", SUCCEEDED, "main@sha1:1").await?;
    // One object goes, one comes, one changes.
    scene
        .publish("main@sha1:2", &[("a.yaml", &map("a", "2")), ("c.yaml", &map("c", "1"))])
        .await?;
    let second = status(scene.says("app", SUCCEEDED, "main@sha1:2").await?)?;
    let expected = [
        "1 apply main@sha1:1: ConfigMap/<ns>/a created, ConfigMap/<ns>/b created",
        "2 apply main@sha1:2: ConfigMap/<ns>/a configured, ConfigMap/<ns>/c created",
        "3 prune main@sha1:2: ConfigMap/<ns>/b deleted",
    ];
    assert_eq!(changes(&second), expected.map(|line| scene.text(line)));
    told(&scene, "app", "ConfigMap/<ns>/b deleted").await?;
    // The same manifests at another revision: nothing changes but the revision.
    scene
        .publish(
            "main@sha1:3",
            &[
                ("a.yaml", &map("a", "2")),
                ("c.yaml", &map("c", "1")),
                ("README", "new"),
            ],
        )
        .await?;
    let third = status(scene.says("app", SUCCEEDED, "main@sha1:3").await?)?;
    assert_eq!(third.changes, second.changes);
    assert_eq!(
        history(&third),
        [
            "ReconciliationSucceeded x2 main@sha1:3",
            "ReconciliationSucceeded x1 main@sha1:1"
        ]
    );
    // A build that fails leaves no trace there, an apply that fails does.
    scene.publish("main@sha1:4", &[("a.yaml", "kind: {")]).await?;
    let fourth = scene.says("app", "BuildFailed", "a.yaml").await?;
    assert_eq!(
        fourth.metadata.generation,
        fourth.status.as_ref().and_then(|status| status.observed_generation)
    );
    let fourth = status(fourth)?;
    assert_eq!(history(&fourth), history(&third));
    assert_eq!(fourth.last_attempted_revision.as_deref(), Some("main@sha1:4"));
    assert_eq!(fourth.last_applied_revision.as_deref(), Some("main@sha1:3"));
    assert_eq!(
        fourth.last_applied_origin_revision.as_deref(),
        Some("origin-of-main@sha1:3")
    );
    scene
        .publish("main@sha1:5", &[("a.yaml", &map("a", "1").replace("{k:", "{'k k':"))])
        .await?;
    let fifth = status(scene.says("app", "ReconciliationFailed", "data[k k]").await?)?;
    assert_eq!(history(&fifth)[0], "ReconciliationFailed x1 main@sha1:5");
    assert_eq!(fifth.changes, second.changes);
    // Back to an old state: its entry comes to the front again.
    scene
        .publish("main@sha1:6", &[("a.yaml", &one), ("b.yaml", &map("b", "1"))])
        .await?;
    let sixth = status(scene.says("app", SUCCEEDED, "main@sha1:6").await?)?;
    assert_eq!(
        history(&sixth),
        [
            "ReconciliationSucceeded x2 main@sha1:6",
            "ReconciliationFailed x1 main@sha1:5",
            "ReconciliationSucceeded x2 main@sha1:3"
        ]
    );
    assert_eq!(sixth.changes.last().map(|change| change.seq), Some(5));
    // Both are bounded.
    for round in 7..13 {
        let revision = format!("main@sha1:{round}");
        scene.publish(&revision, &[("a.yaml", &map("a", &revision))]).await?;
        scene.says("app", SUCCEEDED, &revision).await?;
    }
    let last = status(scene.get::<Kustomization>("app").await?)?;
    assert_eq!(last.history.len(), 5);
    assert_eq!(last.changes.len(), 8);
    let numbers: Vec<_> = last.changes.iter().map(|change| change.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert!(
        last.changes.iter().all(|change| !change.pending),
        "{:?}",
        changes(&last)
    );
    Ok(())
}

#[tokio::test]
async fn the_generation_is_observed_when_its_outcome_is_known() -> Result<()> {
    let scene = Scene::start("status-generation", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("good/a.yaml", &map("a", "1")), ("bad/a.yaml", "kind: {")],
        )
        .await?;
    scene
        .kustomization("app", json!({ "path": "./bad", "retryInterval": "1h" }))
        .await?;
    let failed = scene.says("app", "BuildFailed", "bad/a.yaml").await?;
    assert_eq!(
        condition(&failed, "Ready").and_then(|ready| ready.observed_generation),
        Some(1)
    );
    assert_eq!(status(failed)?.observed_generation, Some(-1));
    scene.kustomization("app", json!({ "path": "./good" })).await?;
    let ready = scene.wait_ready::<Kustomization>("app").await?;
    assert_eq!(
        (ready.metadata.generation, status(ready)?.observed_generation),
        (Some(2), Some(2))
    );
    scene
        .kustomization("app", json!({ "path": "./bad", "retryInterval": "1h" }))
        .await?;
    let failed = scene.says("app", "BuildFailed", "bad/a.yaml").await?;
    let ready = condition(&failed, "Ready").context("no Ready condition")?;
    assert_eq!(
        (ready.observed_generation, failed.metadata.generation),
        (Some(3), Some(3))
    );
    assert_eq!(status(failed)?.observed_generation, Some(2));
    Ok(())
}

#[tokio::test]
async fn a_suspended_one_does_nothing_but_acknowledge_requests() -> Result<()> {
    let scene = Scene::start("status-suspend", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("app", json!({})).await?;
    scene
        .kustomization("witness", json!({ "namePrefix": "witness-" }))
        .await?;
    // Suspended from the start.
    scene
        .kustomization("never", json!({ "suspend": true, "namePrefix": "never-" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.wait_ready::<Kustomization>("witness").await?;
    let before = status(scene.suspend::<Kustomization>("app", true).await?)?;
    let seen = scene
        .wait::<Kustomization>("app", "be seen as suspended", |object| {
            object.status.as_ref().and_then(|status| status.observed_generation) == object.metadata.generation
        })
        .await?;
    assert_eq!(status(seen)?.conditions, before.conditions);

    scene
        .patch::<ConfigMap>("a", json!({ "data": { "k": "changed" } }))
        .await?;
    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "2"))]).await?;
    let token = scene.request_reconcile::<Kustomization>("app").await?;
    let handled = scene
        .wait::<Kustomization>("app", "have acknowledged the request", |object| {
            object
                .status
                .as_ref()
                .and_then(|status| status.last_handled_reconcile_at.as_ref())
                == Some(&token)
        })
        .await?;
    scene.says("witness", SUCCEEDED, "main@sha1:2").await?;
    let handled = status(handled)?;
    assert_eq!(handled.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(handled.conditions, before.conditions);
    assert_eq!(handled.history, before.history);
    assert_eq!(
        scene.get::<ConfigMap>("a").await?.data.unwrap_or_default()["k"],
        "changed"
    );
    let never = scene.get::<Kustomization>("never").await?;
    assert_eq!(
        never.metadata.finalizers.as_deref(),
        Some(&["finalizers.fluxcd.io".to_owned()][..])
    );
    let never = status(never)?;
    assert!(never.conditions.is_empty() && never.history.is_empty(), "{never:?}");
    assert_eq!(never.observed_generation, Some(-1));
    assert!(scene.events::<Kustomization>("never").await?.is_empty());

    for name in ["app", "never"] {
        scene.suspend::<Kustomization>(name, false).await?;
        scene.says(name, SUCCEEDED, "main@sha1:2").await?;
    }
    assert_eq!(scene.get::<ConfigMap>("a").await?.data.unwrap_or_default()["k"], "2");
    Ok(())
}

#[tokio::test]
async fn a_request_is_handled_once_also_by_a_failure() -> Result<()> {
    let scene = Scene::start("status-request", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", "kind: {")]).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    scene.says("app", "BuildFailed", "a.yaml").await?;
    let object = scene.reconcile::<Kustomization>("app").await?;
    let asked = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(REQUESTED_AT))
        .cloned();
    assert_eq!(status(object)?.last_handled_reconcile_at, asked);
    // The same failure again is one event that is counted.
    let event = wait::until("the second failure to be told", async || {
        let events = scene.events::<Kustomization>("app").await?;
        let counts: Vec<_> = events.iter().map(|event| event.count.unwrap_or(1)).collect();
        Ok((counts == [2]).then_some(events))
    })
    .await?;
    assert_eq!(event[0].reason.as_deref(), Some("BuildFailed"));
    Ok(())
}

#[tokio::test]
async fn the_interval_brings_the_cluster_back() -> Result<()> {
    let scene = Scene::start("status-interval", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("good/a.yaml", &map("a", "1")), ("slow/b.yaml", &map("b", "1"))],
        )
        .await?;
    scene
        .kustomization("app", json!({ "path": "./good", "interval": "1s" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene
        .patch::<ConfigMap>("a", json!({ "data": { "k": "changed" } }))
        .await?;
    let back = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["k"] == "1");
    scene.wait::<ConfigMap>("a", "be as in the artifact", back).await?;
    // After a failure the retry interval counts.
    let spec = json!({ "path": "./slow", "interval": "1h", "retryInterval": "1s", "postBuild": { "substituteFrom": [{ "kind": "ConfigMap", "name": "late" }] } });
    scene.kustomization("slow", spec).await?;
    scene
        .says("slow", "BuildFailed", "configmaps \"late\" not found")
        .await?;
    scene.config_map("late", &[("v", "1")]).await?;
    scene.wait_ready::<Kustomization>("slow").await?;
    Ok(())
}
