//! `spec.dependsOn`: the order of Kustomizations, what is told while one waits for another, and what wakes it. The
//! timer of these scenes is an hour, so only events can have woken whoever goes on.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tests::namespace::condition;

const SUCCEEDED: &str = "ReconciliationSucceeded";

const NO_TIMER: &str = "--requeue-dependency=1h";

fn depending(path: &str, on: &[&str]) -> Value {
    let on: Vec<_> = on.iter().map(|name| json!({ "name": name })).collect();
    json!({ "path": path, "dependsOn": on })
}

#[tokio::test]
async fn a_missing_dependency_is_named_and_wakes_its_dependents_when_it_is_ready() -> Result<()> {
    let scene = Scene::start("depends-missing", &[NO_TIMER]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("base/a.yaml", &map("a", "1")),
                ("app/b.yaml", &map("b", "1")),
                ("top/c.yaml", &map("c", "1")),
            ],
        )
        .await?;
    scene.kustomization("top", depending("./top", &["app"])).await?;
    scene
        .says("top", "DependencyNotReady", "dependency '<ns>/app' not found")
        .await?;
    scene.kustomization("app", depending("./app", &["base"])).await?;
    let missing = "dependency '<ns>/base' not found: kustomizations.kustomize.toolkit.fluxcd.io \"base\" not found";
    let app = scene.says("app", "DependencyNotReady", missing).await?;
    let ready = condition(&app, "Ready").context("no Ready condition")?;
    assert_eq!((ready.status.as_str(), ready.message), ("False", scene.text(missing)));
    assert_eq!(condition(&app, "Reconciling").map(|condition| condition.reason), None);
    assert_eq!(condition(&app, "Stalled").map(|condition| condition.reason), None);
    let event = scene.wait_event::<Kustomization>("app", "DependencyNotReady").await?;
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    assert_eq!(
        event.message.as_deref(),
        Some("Dependencies do not meet ready condition, retrying in 1h0m0s")
    );
    let revision = event
        .metadata
        .annotations
        .and_then(|annotations| annotations.get("kustomize.toolkit.fluxcd.io/revision").cloned());
    assert_eq!(revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(scene.names::<ConfigMap>().await?, ["kube-root-ca.crt"]);

    scene.kustomization("base", json!({ "path": "./base" })).await?;
    for name in ["base", "app", "top"] {
        scene.says(name, SUCCEEDED, "Applied revision: main@sha1:1").await?;
    }
    // Whoever was waited for was applied first.
    let mut seen = Vec::new();
    for name in ["a", "b", "c"] {
        let object = scene.get::<ConfigMap>(name).await?;
        let version = object.metadata.resource_version.context("no version")?;
        seen.push(version.parse::<u64>()?);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_dependency_that_fails_holds_its_dependents_at_the_old_revision() -> Result<()> {
    let scene = Scene::start("depends-failing", &[NO_TIMER]).await?;
    let app = map("b", "1");
    scene
        .publish("main@sha1:1", &[("base/a.yaml", &map("a", "1")), ("app/b.yaml", &app)])
        .await?;
    scene
        .kustomization("base", json!({ "path": "./base", "retryInterval": "1h" }))
        .await?;
    scene.kustomization("app", depending("./app", &["base"])).await?;
    scene.wait_ready::<Kustomization>("app").await?;

    let newer = map("b", "2");
    scene
        .publish("main@sha1:2", &[("base/a.yaml", "kind: {"), ("app/b.yaml", &newer)])
        .await?;
    scene.says("base", "BuildFailed", "a.yaml").await?;
    // It was not up to date or not ready when its dependent looked; nobody looks again before it is.
    let held = scene
        .says("app", "DependencyNotReady", "dependency '<ns>/base' ")
        .await?;
    let status = held.status.context("no status")?;
    assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(scene.get::<ConfigMap>("b").await?.data.unwrap_or_default()["k"], "1");

    scene
        .publish(
            "main@sha1:3",
            &[("base/a.yaml", &map("a", "3")), ("app/b.yaml", &newer)],
        )
        .await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    scene.says("base", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    Ok(())
}

#[tokio::test]
async fn a_dependency_of_the_same_source_must_have_applied_the_revision() -> Result<()> {
    let scene = Scene::start("depends-revision", &[NO_TIMER]).await?;
    let files = [("base/a.yaml", map("a", "1")), ("app/b.yaml", map("b", "1"))];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    scene.publish("main@sha1:1", &files).await?;
    scene.kustomization("base", json!({ "path": "./base" })).await?;
    scene.kustomization("app", depending("./app", &["base"])).await?;
    scene.wait_ready::<Kustomization>("app").await?;

    scene.suspend::<Kustomization>("base", true).await?;
    scene
        .wait::<Kustomization>("base", "be seen as suspended", |object| {
            object.status.as_ref().and_then(|status| status.observed_generation) == object.metadata.generation
        })
        .await?;
    scene.publish("main@sha1:2", &files).await?;
    let outdated = "dependency '<ns>/base' revision is not up to date";
    scene.says("app", "DependencyNotReady", outdated).await?;

    scene.suspend::<Kustomization>("base", false).await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;

    // The revision of another source does not matter.
    scene.suspend::<Kustomization>("base", true).await?;
    let offered = scene
        .get::<api::source::GitRepository>(tests::published::SOURCE)
        .await?;
    let artifact = offered
        .status
        .and_then(|status| status.artifact)
        .context("no artifact")?;
    scene
        .offer("other", "main@sha1:9", &artifact.path, &artifact.digest)
        .await?;
    let other = json!({
        "path": "./app",
        "namePrefix": "other-",
        "sourceRef": { "kind": "GitRepository", "name": "other" },
        "dependsOn": [{ "name": "base", "namespace": "<ns>" }],
    });
    scene
        .wait::<Kustomization>("base", "be seen as suspended", |object| {
            object.status.as_ref().and_then(|status| status.observed_generation) == object.metadata.generation
        })
        .await?;
    scene.kustomization("other", other).await?;
    scene.says("other", SUCCEEDED, "Applied revision: main@sha1:9").await?;
    Ok(())
}

#[tokio::test]
async fn a_dependency_loop_is_named_and_can_be_broken() -> Result<()> {
    let scene = Scene::start("depends-loop", &[NO_TIMER]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("one/a.yaml", &map("one", "1")),
                ("two/a.yaml", &map("two", "1")),
                ("three/a.yaml", &map("three", "1")),
                ("self/a.yaml", &map("self", "1")),
            ],
        )
        .await?;
    scene.kustomization("one", depending("./one", &["two"])).await?;
    scene.kustomization("two", depending("./two", &["three"])).await?;
    scene.kustomization("three", depending("./three", &["one"])).await?;
    scene.kustomization("self", depending("./self", &["self"])).await?;
    scene
        .says(
            "three",
            "DependencyNotReady",
            "dependency loop <ns>/three -> <ns>/one -> <ns>/two -> <ns>/three",
        )
        .await?;
    scene
        .says("self", "DependencyNotReady", "dependency loop <ns>/self -> <ns>/self")
        .await?;

    scene.kustomization("three", json!({ "path": "./three" })).await?;
    for name in ["three", "two", "one"] {
        scene.wait_ready::<Kustomization>(name).await?;
    }
    scene.kustomization("self", json!({ "path": "./self" })).await?;
    scene.wait_ready::<Kustomization>("self").await?;
    Ok(())
}
