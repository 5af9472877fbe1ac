//! `spec.serviceAccountName` and `--default-service-account`: whose rights count when objects are applied and pruned.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::Role;
use serde_json::{Value, json};
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

fn acting_as(name: &str, path: &str) -> Value {
    json!({ "serviceAccountName": name, "path": path, "namePrefix": format!("{name}-") })
}

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
";

#[tokio::test]
async fn objects_are_applied_with_the_rights_of_the_account_and_no_others() -> Result<()> {
    let scene = Scene::start("account", &[]).await?;
    scene
        .account(
            "writer",
            "[{apiGroups: [''], resources: [configmaps], verbs: [get, create, patch, delete]}]",
        )
        .await?;
    scene
        .account(
            "reader",
            "[{apiGroups: [''], resources: [configmaps], verbs: [get, list, watch]}]",
        )
        .await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("maps/a.yaml", &map("a", "1")),
                ("both/a.yaml", &map("b", "1")),
                ("both/s.yaml", SECRET),
                (
                    "cluster/n.yaml",
                    "apiVersion: v1\nkind: Namespace\nmetadata: {name: <ns>-made}\n",
                ),
            ],
        )
        .await?;
    scene.kustomization("writer", acting_as("writer", "./maps")).await?;
    scene.kustomization("reader", acting_as("reader", "./maps")).await?;
    scene.kustomization("nobody", acting_as("nobody", "./maps")).await?;
    scene.kustomization("half", acting_as("writer", "./both")).await?;
    let made = json!({ "serviceAccountName": "writer", "path": "./cluster", "targetNamespace": null });
    scene.kustomization("cluster", made).await?;

    scene.wait_ready::<Kustomization>("writer").await?;
    let applied = scene.get::<ConfigMap>("writer-a").await?;
    let managers: Vec<_> = applied.metadata.managed_fields.unwrap_or_default();
    assert_eq!(managers.len(), 1);
    assert_eq!(managers[0].manager.as_deref(), Some("kustomize-controller"));

    let denied = |account: &str, object: &str, verb: &str, resource: &str, name: &str, at: &str| {
        scene.text(&format!(
            "{object} dry-run failed (Forbidden): {resource} \"{name}\" is forbidden: User \"system:serviceaccount:<ns>:{account}\" \
             cannot {verb} resource \"{resource}\" in API group \"\" {at}"
        ))
    };
    let inside = "in the namespace \"<ns>\"";
    let texts = [
        (
            "reader",
            denied(
                "reader",
                "ConfigMap/<ns>/reader-a",
                "patch",
                "configmaps",
                "reader-a",
                inside,
            ),
        ),
        (
            "nobody",
            denied(
                "nobody",
                "ConfigMap/<ns>/nobody-a",
                "patch",
                "configmaps",
                "nobody-a",
                inside,
            ),
        ),
        (
            "half",
            denied("writer", "Secret/<ns>/writer-s", "patch", "secrets", "writer-s", inside),
        ),
        (
            "cluster",
            denied(
                "writer",
                "Namespace/<ns>-made",
                "patch",
                "namespaces",
                "<ns>-made",
                "in the namespace \"<ns>-made\"",
            ),
        ),
    ];
    for (name, text) in texts {
        let failed = scene.says(name, "ReconciliationFailed", &text).await?;
        let status = failed.status.context("no status")?;
        assert!(status.inventory.is_none(), "{name}: {:?}", status.inventory);
        let event = scene.wait_event::<Kustomization>(name, "ReconciliationFailed").await?;
        assert!(event.message.unwrap_or_default().starts_with(&text), "{name}");
    }
    // One object of a stage that is refused leaves the others of the stage alone.
    assert!(scene.find::<ConfigMap>("writer-b").await?.is_none());
    assert!(scene.find::<Secret>("writer-s").await?.is_none());

    // Rights that come later count from the next run on.
    let rules = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }] });
    scene.patch::<Role>("reader", rules).await?;
    // The API server's authorizer learns of it a moment later.
    wait::until("the reader to be allowed", async || {
        let object = scene.reconcile::<Kustomization>("reader").await?;
        Ok((tests::namespace::condition(&object, "Ready")
            .context("no Ready")?
            .reason
            == SUCCEEDED)
            .then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_default_account_counts_where_none_is_named() -> Result<()> {
    let scene = Scene::start("account-default", &["--default-service-account=fallback"]).await?;
    scene
        .account("named", "[{apiGroups: [''], resources: [configmaps], verbs: ['*']}]")
        .await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("default", json!({ "retryInterval": "1h" })).await?;
    scene.kustomization("named", acting_as("named", "./")).await?;
    scene.wait_ready::<Kustomization>("named").await?;
    let denied = "ConfigMap/<ns>/a dry-run failed (Forbidden): configmaps \"a\" is forbidden: \
        User \"system:serviceaccount:<ns>:fallback\" cannot patch resource \"configmaps\"";
    scene.says("default", "ReconciliationFailed", denied).await?;
    scene
        .account("fallback", "[{apiGroups: [''], resources: [configmaps], verbs: ['*']}]")
        .await?;
    wait::until("the default account to be allowed", async || {
        let object = scene.reconcile::<Kustomization>("default").await?;
        Ok((tests::namespace::condition(&object, "Ready")
            .context("no Ready")?
            .reason
            == SUCCEEDED)
            .then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_the_account_may_not_prune_stays_in_the_inventory() -> Result<()> {
    let scene = Scene::start("account-prune", &[]).await?;
    scene
        .account(
            "deployer",
            "[{apiGroups: [''], resources: [configmaps], verbs: [get, create, patch]}]",
        )
        .await?;
    let (a, b) = (map("a", "1"), map("b", "1"));
    scene.publish("main@sha1:1", &[("a.yaml", &a), ("b.yaml", &b)]).await?;
    scene
        .kustomization(
            "app",
            json!({ "serviceAccountName": "deployer", "retryInterval": "1h" }),
        )
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.publish("main@sha1:2", &[("a.yaml", &a)]).await?;
    let denied = "delete failed, errors: ConfigMap/<ns>/b delete failed: configmaps \"b\" is forbidden: \
        User \"system:serviceaccount:<ns>:deployer\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"<ns>\";";
    let failed = scene.says("app", "PruneFailed", denied).await?;
    let status = failed.status.context("no status")?;
    let ids = |status: &api::kustomize::KustomizationStatus| -> Vec<String> {
        let entries = status.inventory.iter().flat_map(|inventory| &inventory.entries);
        entries.map(|entry| entry.id.clone()).collect()
    };
    assert_eq!(
        ids(&status),
        ["<ns>_a__ConfigMap", "<ns>_b__ConfigMap"].map(|id| scene.text(id))
    );
    assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:2"));
    assert_eq!(status.history[0].last_reconciled_status, "PruneFailed");

    let rules = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }] });
    scene.patch::<Role>("deployer", rules).await?;
    wait::until("the account to be allowed", async || {
        let object = scene.reconcile::<Kustomization>("app").await?;
        Ok((tests::namespace::condition(&object, "Ready")
            .context("no Ready")?
            .reason
            == SUCCEEDED)
            .then_some(()))
    })
    .await?;
    assert!(scene.find::<ConfigMap>("b").await?.is_none());
    let status = scene.get::<Kustomization>("app").await?.status.context("no status")?;
    assert_eq!(ids(&status), [scene.text("<ns>_a__ConfigMap")]);
    Ok(())
}
