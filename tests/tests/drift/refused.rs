//! Rights: a kind that the controller may not watch is looked at in intervals, others are not affected; and whoever a
//! Kustomization acts as needs no right to watch.

use std::path::PathBuf;

use anyhow::Result;
use api::kustomize::Kustomization;
use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::controllers::Controller;
use tests::wait;

use crate::manifests::{config_map, service};
use crate::object::{Act, Object};
use crate::scene::{Scene, probe};

/// The kubeconfig of a controller that may do everything it needs but list and watch ConfigMaps. It is a user of its
/// own, since its rights count in the whole cluster.
async fn lowly(cluster: &Cluster) -> Result<PathBuf> {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
    let user = format!("drift-refused-{}", random.to_lowercase());
    let rules = json!([
        { "apiGroups": ["kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"], "resources": ["*"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services", "secrets", "events", "serviceaccounts"], "verbs": ["*"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"] },
        { "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update", "patch", "delete"] },
    ]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": user }, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": user },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    cluster.apply_yaml(&format!("{role}\n---\n{binding}"), None).await?;
    cluster.control_plane()?.user(&user, None)
}

fn drift() -> Act {
    Act::Merge(json!({ "data": { "k": "x" } }))
}

async fn healed_at_an_interval(object: &Object, manifest: &Value, owner: &str) -> Result<()> {
    wait::until(&format!("{} to be as Git says", object.id()), async || {
        let live = object.get().await?;
        Ok(object.difference(&live, manifest, owner).is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_kind_that_may_not_be_watched_is_looked_at_in_intervals() -> Result<()> {
    let cluster = Cluster::shared().await?;
    // The controller itself would watch the ConfigMaps of variables.
    let builder = Scene::builder("refused")
        .user(lowly(&cluster).await?)
        .flag("--feature-gates=DisableConfigWatchers=true");
    let scene = builder.start().await?;
    let (often, seldom) = (config_map("often"), config_map("seldom"));
    let web = service("web");
    let files = [
        ("often/m.yaml", &*often.to_string()),
        ("seldom/m.yaml", &seldom.to_string()),
        ("seldom/s.yaml", &web.to_string()),
    ];
    scene.publish("main@sha1:1", &files).await?;
    for (name, interval) in [("seldom", "1h"), ("often", "1s")] {
        scene
            .kustomization(name, json!({ "path": format!("./{name}"), "interval": interval }))
            .await?;
        scene.wait_ready::<Kustomization>(name).await?;
    }
    let object = scene.object_of(&often)?;
    for _ in 0..3 {
        object.suffers(&drift(), "somebody", &often).await?;
        healed_at_an_interval(&object, &often, "often").await?;
    }
    object.suffers(&Act::Delete, "somebody", &often).await?;
    healed_at_an_interval(&object, &often, "often").await?;

    // Another kind of the same Kustomization is still watched.
    let (object, last) = (scene.object_of(&web)?, scene.last_change("seldom").await?);
    let act = Act::Merge(json!({ "spec": { "selector": { "app": "other" } } }));
    object.suffers(&act, "somebody", &web).await?;
    scene.healed(&object, &web, "seldom").await?;
    scene.told("seldom", last, &object).await?;

    let reconciles = scene.reconciles("often").await?;
    scene.wait_reconciles("often", reconciles + 3).await?;
    let log = scene.log()?;
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains("configmaps is forbidden"))
        .collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(!scene.controllers.ended(Controller::Kustomize)?);
    Ok(())
}

#[tokio::test]
async fn whom_a_kustomization_acts_as_needs_no_right_to_watch() -> Result<()> {
    let scene = Scene::start("refused-account").await?;
    let rules = "[{apiGroups: [''], resources: [configmaps], verbs: [get, create, patch, delete]}]";
    scene.account("writer", rules).await?;
    scene
        .publish_objects("main@sha1:1", &[probe("probe-0"), probe("probe-1")])
        .await?;
    // The API server's authorizer learns of the rights a moment later.
    let spec = json!({ "serviceAccountName": "writer", "retryInterval": "1s" });
    scene.kustomization("app", spec).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.noticed("probe-0", "app").await?;

    // What it may not put right stays, and is said.
    let forbid = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }] });
    scene
        .patch::<k8s_openapi::api::rbac::v1::Role>("writer", forbid)
        .await?;
    let (object, manifest) = (scene.object("v1", "ConfigMap", "probe-1"), probe("probe-1"));
    wait::until("the account to be forbidden", async || {
        let object = scene.reconcile::<Kustomization>("app").await?;
        let ready = tests::namespace::condition(&object, "Ready");
        Ok(ready.filter(|ready| ready.reason == "ReconciliationFailed"))
    })
    .await?;
    object.suffers(&drift(), "somebody", &manifest).await?;
    let allow = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }] });
    scene.patch::<k8s_openapi::api::rbac::v1::Role>("writer", allow).await?;
    healed_at_an_interval(&object, &manifest, "app").await
}
