//! An object that the API server takes and the controller cannot read: a duration within the pattern of its field that
//! is longer than any duration. It is told about, and the others go on.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tests::controllers::Controller;
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

const TOO_LONG: &str = "99999999h";

/// Waits for the warning about an object; works on raw events because the object cannot be read here either.
async fn warned(scene: &Scene, kind: &str, name: &str) -> Result<String> {
    use k8s_openapi::api::core::v1::Event;
    use kube::api::ListParams;
    let fields = ListParams::default().fields(&format!("involvedObject.kind={kind},involvedObject.name={name}"));
    let event = wait::until(&format!("a warning about {kind} {name}"), async || {
        let events = scene.api::<Event>().list(&fields).await?.items;
        Ok(events
            .into_iter()
            .find(|event| event.reason.as_deref() == Some("InvalidObject")))
    })
    .await?;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    event.message.context("no message")
}

/// Changes the interval of an object that cannot be read.
async fn set_interval(scene: &Scene, resource: &str, name: &str, interval: &str) -> Result<()> {
    let (group, kind) = match resource {
        "kustomizations" => ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        _ => ("source.toolkit.fluxcd.io", "GitRepository"),
    };
    let kind = kube::core::GroupVersionKind::gvk(group, "v1", kind);
    let resource = kube::api::ApiResource::from_gvk_with_plural(&kind, resource);
    let api: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(scene.scenario.cluster.client(), scene.name(), &resource);
    let patch = json!({ "spec": { "interval": interval } });
    api.patch(
        name,
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(patch),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn one_undecodable_object_is_told_and_stops_nobody_else() -> Result<()> {
    let scene = Scene::start("undecodable", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    let named = |name: &str, interval: &str| json!({ "namePrefix": format!("{name}-"), "interval": interval });
    scene.kustomization("before", named("before", "1h")).await?;
    scene.kustomization("broken", named("broken", TOO_LONG)).await?;
    scene.kustomization("after", named("after", "1h")).await?;
    let message = warned(&scene, "Kustomization", "broken").await?;
    assert!(
        message.starts_with("Kustomization cannot be decoded and is not reconciled until it is corrected: "),
        "{message}"
    );
    assert!(message.contains(TOO_LONG), "{message}");
    for name in ["before", "after"] {
        scene.wait_ready::<Kustomization>(name).await?;
    }
    // Also over a restart, and for what comes later.
    scene.scenario.controllers.restart(Controller::Kustomize).await?;
    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "2"))]).await?;
    scene.kustomization("later", named("later", "1h")).await?;
    for name in ["before", "after", "later"] {
        scene.says(name, SUCCEEDED, "Applied revision: main@sha1:2").await?;
    }
    assert!(scene.find::<ConfigMap>("broken-a").await?.is_none());

    set_interval(&scene, "kustomizations", "broken", "1h").await?;
    scene.wait_ready::<Kustomization>("broken").await?;
    // One that turns undecodable while it is worked with keeps its objects.
    set_interval(&scene, "kustomizations", "before", TOO_LONG).await?;
    warned(&scene, "Kustomization", "before").await?;
    scene.publish("main@sha1:3", &[("a.yaml", &map("a", "3"))]).await?;
    scene.says("after", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    let kept = scene.get::<ConfigMap>("before-a").await?.data.unwrap_or_default();
    assert_eq!(kept["k"], "2");
    set_interval(&scene, "kustomizations", "before", "1h").await?;
    scene.says("before", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    Ok(())
}

#[tokio::test]
async fn an_undecodable_source_is_as_good_as_none_and_others_go_on() -> Result<()> {
    let scene = Scene::start("undecodable-source", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene
        .apply_yaml(&format!(
            "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: broken}}
spec: {{url: 'https://example.test/broken.git', interval: {TOO_LONG}}}
"
        ))
        .await?;
    let broken = json!({ "namePrefix": "broken-", "sourceRef": { "kind": "GitRepository", "name": "broken" }, "retryInterval": "1h" });
    scene.kustomization("broken", broken).await?;
    scene.kustomization("good", json!({})).await?;
    scene.wait_ready::<Kustomization>("good").await?;
    scene.says("broken", "ArtifactFailed", "").await?;
    // News of good sources still arrive.
    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "2"))]).await?;
    scene.says("good", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    // A corrected source wakes whoever waits for it.
    let artifact = scene
        .get::<api::source::GitRepository>(tests::published::SOURCE)
        .await?;
    let artifact = artifact
        .status
        .and_then(|status| status.artifact)
        .context("no artifact")?;
    set_interval(&scene, "gitrepositories", "broken", "1h").await?;
    scene
        .offer("broken", "main@sha1:3", &artifact.path, &artifact.digest)
        .await?;
    scene.says("broken", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    Ok(())
}
