//! Watches that outlive what happens to the API server and the way to it; what drifts meanwhile is put right afterwards.

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::control_plane::Part;
use tests::controllers::Controller::Kustomize;
use tests::wait;

use crate::manifests::{config_map, deployment};
use crate::object::{Act, Object};
use crate::scene::{Scene, probes};

/// Three objects that drift in different ways, and probes for afterwards.
struct Stage {
    manifests: [Value; 3],
    objects: [Object; 3],
}

impl Stage {
    async fn set(scene: &Scene) -> Result<Self> {
        let manifests = [config_map("changed"), config_map("deleted"), deployment("scaled")];
        let objects = [
            scene.object_of(&manifests[0])?,
            scene.object_of(&manifests[1])?,
            scene.object_of(&manifests[2])?,
        ];
        let mut all = probes(2);
        all.extend(manifests.clone());
        scene.applied(&all).await?;
        Ok(Stage { manifests, objects })
    }

    async fn drifts(&self) -> Result<()> {
        let acts = [Act::Merge(json!({ "data": { "k": "x" } })), Act::Delete, Act::Scale(2)];
        for ((object, act), manifest) in self.objects.iter().zip(acts).zip(&self.manifests) {
            object.suffers(&act, "somebody", manifest).await?;
        }
        Ok(())
    }

    /// After an outage it takes until the controller tries again.
    async fn is_healed(&self) -> Result<()> {
        for (object, manifest) in self.objects.iter().zip(&self.manifests) {
            wait::until(&format!("{} to be as Git says", object.id()), async || {
                let live = object.find().await?.context("it does not exist")?;
                match object.difference(&live, manifest, "app") {
                    None => Ok(Some(())),
                    Some(difference) => Err(anyhow::anyhow!(difference)),
                }
            })
            .await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn drift_while_the_api_server_cannot_be_reached_is_put_right() -> Result<()> {
    let scene = Scene::builder("survive-cut").counted().start().await?;
    let stage = Stage::set(&scene).await?;
    scene.noticed("probe-0", "app").await?;
    scene.requests()?.down();
    stage.drifts().await?;
    scene.requests()?.up()?;
    stage.is_healed().await?;
    scene.noticed("probe-1", "app").await?;
    ensure!(!scene.controllers.ended(Kustomize)?, "the controller has ended");
    Ok(())
}

#[tokio::test]
async fn the_watching_goes_on_after_restarts_of_the_api_server_and_etcd() -> Result<()> {
    let cluster = Cluster::own("survive-restart").await?;
    let scene = Scene::builder("survive-restart").on(&cluster).start().await?;
    let stage = Stage::set(&scene).await?;
    let id = scene.controllers.id(Kustomize)?;
    // A fifth correction within two minutes would be a tug of war.
    for part in [Part::ApiServer, Part::Etcd] {
        scene.cluster.control_plane()?.restart(part).await?;
        // Before the controller is back, perhaps.
        stage.drifts().await?;
        stage.is_healed().await?;
        // When it certainly is.
        stage.drifts().await?;
        stage.is_healed().await?;
    }
    scene.noticed("probe-0", "app").await?;
    ensure!(
        scene.controllers.id(Kustomize)? == id,
        "the controller was started again"
    );
    ensure!(!scene.controllers.ended(Kustomize)?, "the controller has ended");
    Ok(())
}

/// Whether the API server still tells what happened after this version.
async fn is_expired(scene: &Scene, version: &str) -> Result<bool> {
    let api = scene.api::<ConfigMap>();
    let events = match api.watch(&WatchParams::default(), version).await {
        Err(kube::Error::Api(status)) => return Ok(status.code == 410),
        other => other?,
    };
    let first = std::pin::pin!(events).try_next().await?.context("the watch ended")?;
    Ok(matches!(first, WatchEvent::Error(status) if status.code == 410))
}

#[tokio::test]
async fn an_expired_resource_version_is_no_end() -> Result<()> {
    let cluster = Cluster::own("survive-expired").await?;
    let scene = Scene::builder("survive-expired").on(&cluster).start().await?;
    let stage = Stage::set(&scene).await?;
    scene.noticed("probe-0", "app").await?;
    scene.controllers.pause(Kustomize)?;
    // It cannot know a newer version than this.
    let list = scene.api::<ConfigMap>().list_metadata(&ListParams::default()).await?;
    let version = list.metadata.resource_version.context("no version")?;
    stage.drifts().await?;
    // The new one knows nothing of what came before it.
    scene.cluster.control_plane()?.restart(Part::ApiServer).await?;
    ensure!(is_expired(&scene, &version).await?, "{version} has not expired");
    scene.controllers.resume(Kustomize)?;
    stage.is_healed().await?;
    scene.noticed("probe-1", "app").await
}

/// What changes between the first apply and the first list of the watch must not be lost.
#[tokio::test]
async fn what_changes_before_the_watch_of_its_kind_is_open_is_put_right() -> Result<()> {
    let scene = Scene::start("survive-early").await?;
    let manifest = config_map("early");
    let object = scene.object_of(&manifest)?;
    let api = object.api().clone();
    let meddler = object.clone();
    let watching = tokio::spawn(async move {
        let watch = watch_object(api, meddler.name()).default_backoff();
        let mut watch = std::pin::pin!(watch);
        while let Some(event) = watch.next().await {
            if let Ok(Some(_)) = event {
                return meddler.merge(&json!({ "data": { "k": "x" } }), "somebody").await;
            }
        }
        Ok(())
    });
    scene
        .publish_objects("main@sha1:1", std::slice::from_ref(&manifest))
        .await?;
    scene.kustomization("app", json!({})).await?;
    watching.await??;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.healed(&object, &manifest, "app").await?;
    Ok(())
}

/// The controller is killed between a change and its correction, again and again.
#[tokio::test]
async fn drift_is_put_right_by_a_controller_that_is_started_again() -> Result<()> {
    let scene = Scene::start("survive-kill").await?;
    let stage = Stage::set(&scene).await?;
    for _ in 0..3 {
        stage.drifts().await?;
        scene.controllers.restart(Kustomize).await?;
        stage.is_healed().await?;
    }
    scene.noticed("probe-0", "app").await
}
