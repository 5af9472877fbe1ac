//! What a Kustomization may ask for that is not supported yet: each field ends in a condition and an event that name it.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tests::namespace::condition;

const SUCCEEDED: &str = "ReconciliationSucceeded";

const REASON: &str = "UnsupportedFeature";

#[tokio::test]
async fn every_field_that_is_not_supported_is_named_and_nothing_is_applied() -> Result<()> {
    let scene = Scene::start("unsupported", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    let rows: [(&str, &str, Value); 5] = [
        (
            "decryption",
            "spec.decryption",
            json!({ "decryption": { "provider": "sops", "secretRef": { "name": "keys" } } }),
        ),
        (
            "kubeconfig",
            "spec.kubeConfig",
            json!({ "kubeConfig": { "secretRef": { "name": "remote" } } }),
        ),
        (
            "health-exprs",
            "spec.healthCheckExprs",
            json!({ "wait": true, "healthCheckExprs": [{ "apiVersion": "v1", "kind": "ConfigMap", "current": "true" }] }),
        ),
        (
            "ready-expr",
            "spec.dependsOn[].readyExpr",
            json!({ "dependsOn": [{ "name": "other", "readyExpr": "true" }] }),
        ),
        ("ignore", "spec.ignore", json!({ "ignore": [{ "paths": ["/data"] }] })),
    ];
    for (name, _, spec) in &rows {
        scene.kustomization(name, spec.clone()).await?;
    }
    let both = json!({ "ignore": [{ "paths": ["/data"] }], "decryption": { "provider": "sops" } });
    scene.kustomization("both", both).await?;
    let remedy = "remove it to have this Kustomization reconciled";
    let mut expected: Vec<_> = rows
        .iter()
        .map(|(name, field, _)| (*name, format!("{field} is not supported yet: {remedy}")))
        .collect();
    expected.push((
        "both",
        "spec.decryption, spec.ignore are not supported yet: remove them to have this Kustomization reconciled"
            .to_owned(),
    ));
    for (name, message) in &expected {
        let object = scene.wait_failed::<Kustomization>(name, REASON).await?;
        for (type_, status) in [("Ready", "False"), ("Stalled", "True")] {
            let condition = condition(&object, type_).with_context(|| format!("{name} has no {type_}"))?;
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str(), &condition.message),
                (status, REASON, message)
            );
        }
        assert_eq!(
            condition(&object, "Reconciling").map(|condition| condition.reason),
            None,
            "{name}"
        );
        let generation = object.metadata.generation;
        let status = object.status.context("no status")?;
        assert_eq!(status.observed_generation, generation, "{name}");
        assert!(
            status.inventory.is_none() && status.last_attempted_revision.is_none(),
            "{name}"
        );
        let event = scene.wait_event::<Kustomization>(name, REASON).await?;
        assert_eq!(
            (event.type_.as_deref(), event.message.as_ref()),
            (Some("Warning"), Some(message))
        );
    }
    assert_eq!(scene.names::<ConfigMap>().await?, ["kube-root-ca.crt"]);

    // It is terminal, but acknowledges requests, and a spec without the field is taken up at once.
    let token = scene.request_reconcile::<Kustomization>("ignore").await?;
    scene
        .wait::<Kustomization>("ignore", "have handled the request", |object| {
            object
                .status
                .as_ref()
                .and_then(|status| status.last_handled_reconcile_at.as_ref())
                == Some(&token)
        })
        .await?;
    scene.kustomization("ignore", json!({})).await?;
    let object = scene.says("ignore", SUCCEEDED, "Applied revision: main@sha1:1").await?;
    assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.message), None);

    // What was applied before stays while a field is not supported, and goes with the Kustomization.
    scene
        .kustomization("ignore", json!({ "ignore": [{ "paths": ["/data"] }] }))
        .await?;
    let object = scene.wait_failed::<Kustomization>("ignore", REASON).await?;
    assert_eq!(
        object
            .status
            .and_then(|status| status.inventory)
            .map(|inventory| inventory.entries.len()),
        Some(1)
    );
    scene.get::<ConfigMap>("a").await?;
    for (name, _) in &expected {
        scene.delete::<Kustomization>(name).await?;
        scene.wait_gone::<Kustomization>(name).await?;
    }
    assert!(scene.find::<ConfigMap>("a").await?.is_none());
    Ok(())
}
