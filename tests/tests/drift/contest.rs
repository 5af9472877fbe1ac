//! A tug of war: somebody who undoes every correction is not fought at full speed. It is told who it is, and the other
//! objects do not suffer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::json;
use tests::wait;

use crate::manifests::{deployment, map, with};
use crate::object::{Act, Object};
use crate::scene::{Scene, probe, probes};

/// The name of the other one.
const OPPONENT: &str = "autoscaler";
/// More corrections than this in a row are a war.
const MANY: usize = 20;

/// Somebody who scales a Deployment to five whenever it is at Git's zero.
struct Opponent {
    task: tokio::task::JoinHandle<()>,
    /// When it was found at zero.
    undone: Arc<Mutex<Vec<Instant>>>,
}

impl Opponent {
    fn of(object: Object) -> Self {
        let undone: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let noted = undone.clone();
        let task = tokio::spawn(async move {
            let watch = watch_object(object.api().clone(), object.name()).default_backoff();
            let mut watch = std::pin::pin!(watch);
            // A generation is a change of the spec. The same one is seen again when the status changes.
            let mut generation = None;
            while let Some(event) = watch.next().await {
                let Ok(Some(live)) = event else { continue };
                if live.data["spec"]["replicas"] == 0 && live.metadata.generation != generation {
                    generation = live.metadata.generation;
                    noted
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Instant::now());
                    let _ = object.merge(&json!({ "spec": { "replicas": 5 } }), OPPONENT).await;
                }
            }
        });
        Opponent { task, undone }
    }

    fn undone(&self) -> Vec<Instant> {
        self.undone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn undoes(&self, count: usize) -> Result<()> {
        wait::until(&format!("{count} corrections to be undone"), async || {
            let found = self.undone().len();
            ensure!(found >= count, "there were {found}");
            Ok(Some(()))
        })
        .await
    }
}

impl Drop for Opponent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn warnings(scene: &Scene) -> Result<Vec<Event>> {
    let mut events = scene.events::<Kustomization>("app").await?;
    events.retain(|event| event.type_.as_deref() == Some("Warning"));
    Ok(events)
}

/// Waits for the event that names the object, the field, the other one, and where the object is written.
async fn warned(scene: &Scene, object: &Object) -> Result<()> {
    wait::until("a warning about the tug of war", async || {
        let messages: Vec<_> = warnings(scene)
            .await?
            .into_iter()
            .filter_map(|event| event.message)
            .collect();
        let origin = "(from all.yaml:".to_owned();
        let parts = [object.id(), ".spec.replicas".to_owned(), OPPONENT.to_owned(), origin];
        let mut found = messages
            .iter()
            .filter(|message| parts.iter().all(|part| message.contains(part)));
        found
            .next()
            .map(|_| Some(()))
            .with_context(|| format!("warned so far: {messages:#?}"))
    })
    .await
}

#[tokio::test]
async fn a_field_that_another_insists_on_is_corrected_only_at_the_interval() -> Result<()> {
    let scene = Scene::start("contest").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    let mut manifests = probes(4);
    manifests.push(manifest.clone());
    scene.applied(&manifests).await?;
    let opponent = Opponent::of(object.clone());
    opponent.undoes(2).await?;
    scene.noticed("probe-0", "app").await?;
    warned(&scene, &object).await?;

    // One correction may have been on its way. Then there are no more, while others are still put right.
    scene.noticed("probe-1", "app").await?;
    let corrections = opponent.undone().len();
    ensure!(corrections <= MANY, "it was fought over {corrections} times");
    scene.noticed("probe-2", "app").await?;
    scene.noticed("probe-3", "app").await?;
    assert_eq!(opponent.undone().len(), corrections);
    assert_eq!(object.get().await?["spec"]["replicas"], 5);

    // A request is as good as an interval.
    scene.reconcile::<Kustomization>("app").await?;
    opponent.undoes(corrections + 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_contested_field_is_corrected_once_per_interval() -> Result<()> {
    let scene = Scene::start("contest-interval").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    scene.publish_objects("main@sha1:1", &[manifest]).await?;
    scene.kustomization("app", json!({ "interval": "3s" })).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let opponent = Opponent::of(object.clone());
    warned(&scene, &object).await?;
    let before = opponent.undone().len();
    opponent.undoes(before + 4).await?;
    let undone = opponent.undone();
    // The first may have been on its way. An interval varies by a twentieth.
    let pauses: Vec<_> = undone[before + 1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    ensure!(
        pauses.iter().all(|pause| *pause > Duration::from_secs(2)),
        "the pauses between corrections were {pauses:?}"
    );
    Ok(())
}

/// Whoever changes something twice is corrected twice.
#[tokio::test]
async fn two_changes_are_no_war() -> Result<()> {
    let scene = Scene::start("contest-none").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    let mut manifests = probes(1);
    manifests.push(manifest.clone());
    scene.applied(&manifests).await?;
    for count in [1, 2] {
        object.suffers(&Act::Scale(count), OPPONENT, &manifest).await?;
        scene.healed(&object, &manifest, "app").await?;
    }
    scene.noticed("probe-0", "app").await?;
    let warnings = warnings(&scene).await?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

/// Deleting is an answer to a correction, too.
#[tokio::test]
async fn an_object_that_another_deletes_again_and_again_is_made_only_at_the_interval() -> Result<()> {
    let scene = Scene::start("contest-deleted").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    let mut manifests = probes(1);
    manifests.push(manifest.clone());
    scene.applied(&manifests).await?;
    let mut deletions = 0;
    while warnings(&scene).await?.is_empty() {
        ensure!(deletions <= MANY, "it was made again {deletions} times");
        object.suffers(&Act::Delete, "somebody", &manifest).await?;
        deletions += 1;
        // It comes back, or the warning says that it does not for now.
        wait::until("an answer", async || {
            let is_back = object.find().await?.is_some();
            Ok((is_back || !warnings(&scene).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    // It may have come back just before the warning.
    if object.find().await?.is_some() {
        object.suffers(&Act::Delete, "somebody", &manifest).await?;
    }
    scene.noticed("probe-0", "app").await?;
    assert_eq!(object.find().await?, None);
    scene.reconcile::<Kustomization>("app").await?;
    scene.healed(&object, &manifest, "app").await?;
    Ok(())
}

/// A contest is about drift. What Git changes is applied.
#[tokio::test]
async fn a_newer_manifest_of_a_contested_object_is_applied() -> Result<()> {
    let scene = Scene::start("contest-newer").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    let mut manifests = probes(2);
    manifests.push(manifest.clone());
    scene.applied(&manifests).await?;
    let opponent = Opponent::of(object.clone());
    warned(&scene, &object).await?;
    drop(opponent);
    // Contested, it stays as it was left.
    object.suffers(&Act::Scale(7), OPPONENT, &manifest).await?;
    scene.noticed("probe-0", "app").await?;
    assert_eq!(object.get().await?["spec"]["replicas"], 7);
    let newer = with(manifest, json!({ "metadata": { "labels": { "tier": "db" } } }));
    manifests = probes(2);
    manifests.push(newer.clone());
    scene.publish_objects("main@sha1:2", &manifests).await?;
    scene.healed(&object, &newer, "app").await?;
    scene.noticed("probe-1", "app").await
}

/// Two Kustomizations that disagree about an object do not fight at full speed, either.
#[tokio::test]
async fn two_kustomizations_with_one_object_come_to_rest() -> Result<()> {
    let scene = Scene::builder("contest-two").counted().start().await?;
    let file = |value: &str, first: &str, second: &str| {
        let shared = map("shared", json!({ "k": value }));
        format!("{shared}\n---\n{}\n---\n{}", probe(first), probe(second))
    };
    let (one, two) = (file("one", "probe-0", "probe-1"), file("two", "probe-2", "probe-3"));
    let files = [("one/all.yaml", &*one), ("two/all.yaml", &*two)];
    scene.publish("main@sha1:1", &files).await?;
    for name in ["one", "two"] {
        scene
            .kustomization(name, json!({ "path": format!("./{name}") }))
            .await?;
        scene.wait_ready::<Kustomization>(name).await?;
    }
    let object = scene.object("v1", "ConfigMap", "shared");
    let applies = || -> Result<usize> {
        let asked = scene.requests()?.about(&object.path(), 0);
        Ok(asked
            .iter()
            .filter(|asked| asked.method == "PATCH" && !asked.is_dry_run())
            .count())
    };
    scene.noticed("probe-0", "one").await?;
    scene.noticed("probe-2", "two").await?;
    let before = applies()?;
    ensure!(before <= MANY, "it was applied {before} times");
    scene.noticed("probe-1", "one").await?;
    scene.noticed("probe-3", "two").await?;
    let after = applies()?;
    // Whoever has something to do looks at it, too.
    ensure!(
        after <= before + 4,
        "it was applied {before} times, and then {after} times"
    );
    Ok(())
}
