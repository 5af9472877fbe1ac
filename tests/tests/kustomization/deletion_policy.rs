//! `spec.deletionPolicy`: what becomes of the objects when their Kustomization is deleted.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::{ChangeKind, Kustomization};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::Role;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use std::pin::pin;
use tests::wait;

const HOLD: &str = "example.test/hold";

#[tokio::test]
async fn prune_and_policy_decide_what_is_deleted() -> Result<()> {
    let scene = Scene::start("policies", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    // Name, prune, policy, suspended, and whether the object goes.
    let cases = [
        ("default", true, None, false, true),
        ("no-prune", false, None, false, false),
        ("mirror", true, Some("MirrorPrune"), false, true),
        ("mirror-no-prune", false, Some("MirrorPrune"), false, false),
        ("delete", true, Some("Delete"), false, true),
        ("delete-no-prune", false, Some("Delete"), false, true),
        ("orphan", true, Some("Orphan"), false, false),
        ("wait", true, Some("WaitForTermination"), false, true),
        ("wait-no-prune", false, Some("WaitForTermination"), false, true),
        ("suspended", true, Some("Delete"), true, false),
    ];
    for (name, prune, policy, _, _) in cases {
        let mut spec = json!({ "prune": prune, "namePrefix": format!("{name}-") });
        if let Some(policy) = policy {
            spec["deletionPolicy"] = policy.into();
        }
        scene.kustomization(name, spec).await?;
    }
    for (name, _, _, suspended, _) in cases {
        scene.wait_ready::<Kustomization>(name).await?;
        if suspended {
            scene.suspend::<Kustomization>(name, true).await?;
        }
    }
    for (name, ..) in cases {
        scene.delete::<Kustomization>(name).await?;
    }
    for (name, _, policy, _, goes) in cases {
        scene.wait_gone::<Kustomization>(name).await?;
        let left = scene.find::<ConfigMap>(&format!("{name}-a")).await?;
        assert_eq!(left.is_none(), goes, "{name} with {policy:?}");
        let told = scene.events::<Kustomization>(name).await?;
        let line = scene.text(&format!("ConfigMap/<ns>/{name}-a deleted"));
        if goes {
            wait::until(&format!("the event of {name}"), async || {
                let events = scene.events::<Kustomization>(name).await?;
                Ok(events
                    .iter()
                    .any(|event| event.message.as_deref() == Some(&line))
                    .then_some(()))
            })
            .await?;
        } else {
            assert!(
                told.iter().all(|event| event.message.as_deref() != Some(&line)),
                "{told:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_run_has_applied_is_confirmed_before_its_kustomization_goes() -> Result<()> {
    let scene = Scene::start("policy-soon", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    let mut events = pin!(watcher(scene.api::<Kustomization>(), watcher::Config::default()));
    while !matches!(events.try_next().await?, Some(Event::InitDone)) {}
    // The run waits for what nobody makes, and does not say so at once.
    let check = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "missing", "namespace": "<ns>" });
    let spec = json!({ "timeout": "10m", "healthChecks": [check] });
    scene.kustomization("app", spec).await?;
    scene.wait::<ConfigMap>("a", "be applied", |_| true).await?;
    scene.delete::<Kustomization>("app").await?;
    let last = tokio::time::timeout(wait::patience(), async {
        loop {
            if let Some(Event::Delete(last)) = events.try_next().await? {
                return anyhow::Ok(last);
            }
        }
    });
    let changes = last.await??.status.context("no status")?.changes;
    let told: Vec<_> = changes.iter().map(|change| (change.action, change.pending)).collect();
    assert_eq!(told, [(ChangeKind::Apply, false)], "{changes:?}");
    Ok(())
}

#[tokio::test]
async fn wait_for_termination_waits_until_the_last_object_is_gone() -> Result<()> {
    let scene = Scene::start("policy-wait", &["--concurrent=1"]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("held/a.yaml", &map("a", "1")),
                ("held/b.yaml", &map("b", "1")),
                ("other/c.yaml", &map("c", "1")),
            ],
        )
        .await?;
    let spec = json!({ "path": "./held", "deletionPolicy": "WaitForTermination", "timeout": "10m" });
    scene.kustomization("app", spec).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene
        .patch::<ConfigMap>("a", json!({ "metadata": { "finalizers": [HOLD] } }))
        .await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<ConfigMap>("b").await?;
    // The wait takes no worker from others; meanwhile the Kustomization stays.
    scene.kustomization("other", json!({ "path": "./other" })).await?;
    scene.wait_ready::<Kustomization>("other").await?;
    let app = scene.get::<Kustomization>("app").await?;
    assert_eq!(
        app.metadata.finalizers.as_deref(),
        Some(&["finalizers.fluxcd.io".to_owned()][..])
    );
    let held = scene.get::<ConfigMap>("a").await?;
    assert!(held.metadata.deletion_timestamp.is_some());

    scene
        .patch::<ConfigMap>("a", json!({ "metadata": { "finalizers": null } }))
        .await?;
    scene.wait_gone::<Kustomization>("app").await?;
    Ok(())
}

#[tokio::test]
async fn wait_for_termination_gives_up_after_the_timeout() -> Result<()> {
    let scene = Scene::start("policy-timeout", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    // No timeout is shorter than 30 seconds.
    let spec = json!({ "deletionPolicy": "WaitForTermination", "timeout": "1s" });
    scene.kustomization("app", spec).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene
        .patch::<ConfigMap>("a", json!({ "metadata": { "finalizers": [HOLD] } }))
        .await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    assert!(scene.get::<ConfigMap>("a").await?.metadata.deletion_timestamp.is_some());
    let told = "failed to wait for resources termination";
    wait::until("the event of the timeout", async || {
        let events = scene.events::<Kustomization>("app").await?;
        let found = events.into_iter().find(|event| event.message.as_deref() == Some(told));
        Ok(found.filter(|event| event.type_.as_deref() == Some("Warning")))
    })
    .await?;
    scene
        .patch::<ConfigMap>("a", json!({ "metadata": { "finalizers": null } }))
        .await?;
    Ok(())
}

#[tokio::test]
async fn only_what_is_owned_and_not_marked_is_deleted() -> Result<()> {
    let scene = Scene::start("policy-owned", &[]).await?;
    let files = ["plain", "kept", "taken"].map(|name| (format!("{name}.yaml"), map(name, "1")));
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    scene.publish("main@sha1:1", &files).await?;
    // An object that bears the name of another Kustomization is that one's.
    scene.kustomization("somebody-else", json!({ "suspend": true })).await?;
    scene.kustomization("app", json!({})).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let kept = json!({ "metadata": { "annotations": { "kustomize.toolkit.fluxcd.io/prune": "disabled" } } });
    scene.patch::<ConfigMap>("kept", kept).await?;
    let taken = json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/name": "somebody-else" } } });
    scene.patch::<ConfigMap>("taken", taken).await?;
    scene.apply_yaml(&map("foreign", "1")).await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    let mut left = scene.names::<ConfigMap>().await?;
    left.sort();
    assert_eq!(left, ["foreign", "kept", "kube-root-ca.crt", "taken"]);
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_is_refused_is_told_and_tried_again() -> Result<()> {
    let scene = Scene::start("policy-refused", &["--min-retry-delay=100ms", "--max-retry-delay=1s"]).await?;
    let rules = "[{apiGroups: [''], resources: [configmaps], verbs: [get, create, update, patch]}]";
    scene.account("deployer", rules).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene
        .kustomization("app", json!({ "serviceAccountName": "deployer" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.delete::<Kustomization>("app").await?;
    let told = "pruning for deleted resource failed";
    wait::until("the event of the refusal", async || {
        let events = scene.events::<Kustomization>("app").await?;
        let found = events.into_iter().find(|event| event.message.as_deref() == Some(told));
        Ok(found.filter(|event| event.type_.as_deref() == Some("Warning")))
    })
    .await?;
    let app = scene.get::<Kustomization>("app").await?;
    let inventory = app.status.and_then(|status| status.inventory).context("no inventory")?;
    assert_eq!(inventory.entries[0].id, scene.text("<ns>_a__ConfigMap"));
    scene.get::<ConfigMap>("a").await?;

    let rules = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }] });
    scene.patch::<Role>("deployer", rules).await?;
    scene.wait_gone::<Kustomization>("app").await?;
    assert!(scene.find::<ConfigMap>("a").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn without_its_service_account_the_objects_are_left_and_named() -> Result<()> {
    let scene = Scene::start("policy-account", &[]).await?;
    let account = "apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: deployer, namespace: <ns>}]
";
    scene.apply_yaml(&scene.text(account)).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene
        .kustomization("app", json!({ "serviceAccountName": "deployer" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.delete::<ServiceAccount>("deployer").await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    scene.get::<ConfigMap>("a").await?;
    let told = scene.text("unable to prune objects: \nConfigMap/<ns>/a");
    wait::until("the event that names what is left", async || {
        let events = scene.events::<Kustomization>("app").await?;
        let found = events.into_iter().find(|event| event.message.as_deref() == Some(&told));
        Ok(found.filter(|event| event.type_.as_deref() == Some("Warning")))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_never_worked_can_be_deleted() -> Result<()> {
    let scene = Scene::start("policy-never", &[]).await?;
    scene
        .kustomization("sourceless", json!({ "deletionPolicy": "WaitForTermination" }))
        .await?;
    scene.says("sourceless", "ArtifactFailed", "not found").await?;
    scene.publish("main@sha1:1", &[("a.yaml", "kind: {")]).await?;
    scene
        .kustomization("broken", json!({ "deletionPolicy": "Delete" }))
        .await?;
    scene.says("broken", "BuildFailed", "a.yaml").await?;
    for name in ["sourceless", "broken"] {
        scene.delete::<Kustomization>(name).await?;
        scene.wait_gone::<Kustomization>(name).await?;
    }
    Ok(())
}
