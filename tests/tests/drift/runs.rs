//! Drift and what a Kustomization is doing or has failed to do: it is put right while health is waited for and after
//! that was in vain; where a stage is refused as a whole, it costs no more than its reason.

use anyhow::{Result, ensure};
use api::kustomize::Kustomization;
use serde_json::{Value, json};
use tests::control_plane::POD_BEHAVIOUR;
use tests::namespace::condition;
use tests::wait;

use crate::manifests::{config_map, deployment, with};
use crate::object::Act;
use crate::scene::{Scene, probe, probes};

/// A Deployment whose pod never starts.
fn hanging(name: &str) -> Value {
    let pods = json!({ "metadata": { "labels": { POD_BEHAVIOUR: "hang" } } });
    with(deployment(name), json!({ "spec": { "replicas": 1, "template": pods } }))
}

/// Waits until the Kustomization waits for the health of a revision.
async fn waits(scene: &Scene, name: &str, revision: &str) -> Result<()> {
    let waits = |object: &Kustomization| {
        condition(object, "Healthy").is_some_and(|healthy| {
            let what = format!("Running health checks for revision {revision}");
            healthy.status == "Unknown" && healthy.message.starts_with(&what)
        })
    };
    scene.wait::<Kustomization>(name, "wait for health", waits).await?;
    Ok(())
}

#[tokio::test]
async fn drift_is_put_right_while_health_is_waited_for() -> Result<()> {
    let scene = Scene::start("runs-waiting").await?;
    let mut manifests = probes(2);
    let web = hanging("web");
    manifests.push(web.clone());
    scene.publish_objects("main@sha1:1", &manifests).await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    waits(&scene, "app", "main@sha1:1").await?;
    scene.noticed("probe-0", "app").await?;
    // What is waited for is put right as well.
    let object = scene.object_of(&web)?;
    object.suffers(&Act::Scale(0), "somebody", &web).await?;
    scene.healed(&object, &web, "app").await?;
    object.suffers(&Act::Delete, "somebody", &web).await?;
    scene.healed(&object, &web, "app").await?;
    scene.noticed("probe-1", "app").await?;
    waits(&scene, "app", "main@sha1:1").await?;

    // And the wait still ends when it should.
    let free = json!({ "spec": { "template": { "metadata": { "labels": { POD_BEHAVIOUR: null } } } } });
    let mut manifests = probes(2);
    manifests.push(with(web, free));
    scene.publish_objects("main@sha1:2", &manifests).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    Ok(())
}

#[tokio::test]
async fn drift_is_put_right_where_nothing_ever_got_healthy() -> Result<()> {
    let scene = Scene::start("runs-unhealthy").await?;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "job" },
        "spec": { "backoffLimit": 0, "template": {
            "metadata": { "labels": { POD_BEHAVIOUR: "fail" } },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "example.test/job:1" }] },
        } },
    });
    let mut manifests = probes(1);
    manifests.push(job);
    scene.publish_objects("main@sha1:1", &manifests).await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    scene.wait_failed::<Kustomization>("app", "HealthCheckFailed").await?;
    scene.noticed("probe-0", "app").await
}

/// A stage is applied as a whole or not at all. Drift in one that is refused does not make it be tried again and again.
#[tokio::test]
async fn drift_in_a_stage_that_is_refused_waits_for_a_better_revision_and_costs_little() -> Result<()> {
    let scene = Scene::builder("runs-refused").counted().start().await?;
    let map = config_map("map");
    let bad = with(config_map("bad"), json!({ "data": { "k": { "not": "a text" } } }));
    let text = |objects: &[&Value]| {
        objects
            .iter()
            .map(|object| object.to_string())
            .collect::<Vec<_>>()
            .join("\n---\n")
    };
    let other = text(&[&probe("probe-0"), &probe("probe-1")]);
    let publish = async |revision: &str, objects: &[&Value]| {
        let files = [("app/all.yaml", &*text(objects)), ("other/all.yaml", &*other)];
        scene.publish(revision, &files).await
    };
    publish("main@sha1:1", &[&map]).await?;
    for name in ["app", "other"] {
        scene
            .kustomization(name, json!({ "path": format!("./{name}") }))
            .await?;
        scene.wait_ready::<Kustomization>(name).await?;
    }
    publish("main@sha1:2", &[&map, &bad]).await?;
    scene
        .wait_failed::<Kustomization>("app", "ReconciliationFailed")
        .await?;

    let object = scene.object_of(&map)?;
    let mark = scene.requests()?.mark();
    let drift = Act::Merge(json!({ "data": { "k": "x" } }));
    object.suffers(&drift, "somebody", &map).await?;
    scene.noticed("probe-0", "other").await?;
    // What others do to it does not make the drift any newer.
    for number in 0..10 {
        let label = Act::Merge(json!({ "metadata": { "labels": { "foreign": number.to_string() } } }));
        object.suffers(&label, "another", &map).await?;
    }
    scene.noticed("probe-1", "other").await?;
    let asked = scene.requests()?.about(&object.path(), mark);
    ensure!(asked.len() <= 4, "{asked:#?}");
    ensure!(
        object.get().await?["data"]["k"] == "x",
        "one object of a refused stage was applied"
    );

    publish("main@sha1:3", &[&map]).await?;
    wait::until("the drift to be gone", async || {
        let live = object.get().await?;
        Ok(object.difference(&live, &map, "app").is_none().then_some(()))
    })
    .await
}

/// A revision that is applied and waits is left for the one before, which was finished long ago.
#[tokio::test]
async fn going_back_to_the_revision_before_ends_a_wait() -> Result<()> {
    let scene = Scene::start("runs-back").await?;
    let (one, two) = (
        config_map("map"),
        with(config_map("map"), json!({ "data": { "k": "two" } })),
    );
    scene.publish_objects("main@sha1:1", std::slice::from_ref(&one)).await?;
    scene
        .kustomization("app", json!({ "wait": true, "timeout": "1h" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.publish_objects("main@sha1:2", &[two, hanging("web")]).await?;
    waits(&scene, "app", "main@sha1:2").await?;
    scene.publish_objects("main@sha1:1", std::slice::from_ref(&one)).await?;
    let object = scene.object_of(&one)?;
    scene.healed(&object, &one, "app").await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let web = scene.object("apps/v1", "Deployment", "web");
    wait::until("the Deployment to be pruned", async || {
        Ok(web.find().await?.is_none().then_some(()))
    })
    .await
}
