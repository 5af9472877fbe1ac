//! What is not fought over: what others add and Git does not have, and what people have marked or suspended.
//!
//! That nothing happens is proved without waiting for it: after the change of another, an object of the same
//! Kustomization drifts and is put right. By then the first change was seen as well.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tests::wait;

use crate::manifests::{config_map, definition, deployment, map, service, widget, with};
use crate::object::{Act, Object, content, version};
use crate::scene::{Scene, probe, probes};

/// Something of others.
struct Case {
    /// The manifest, with a name of its own.
    manifest: Value,
    act: Act,
}

fn annotated(manifest: Value, key: &str, value: &str) -> Value {
    with(
        manifest,
        json!({ "metadata": { "annotations": { format!("kustomize.toolkit.fluxcd.io/{key}"): value } } }),
    )
}

fn metadata(metadata: Value) -> Act {
    Act::Merge(json!({ "metadata": metadata }))
}

fn drift() -> Act {
    Act::Merge(json!({ "data": { "k": "drifted" } }))
}

/// Fails unless the object is as it was and no change of it was told.
async fn is_left(scene: &Scene, object: &Object, before: &Value) -> Result<()> {
    let live = object.get().await?;
    // The controllers of Kubernetes work on Deployments too.
    let same = match before["kind"] == "Deployment" {
        true => content(&live) == content(before),
        false => version(&live) == version(before),
    };
    ensure!(same, "it was {before} and is {live}");
    let changes = scene.status("app").await?.changes;
    let mut told = changes.iter().flat_map(|change| &change.entries);
    let told = told.find(|entry| entry.object == object.id() && entry.action != "created");
    ensure!(told.is_none(), "a change is told: {told:?}");
    Ok(())
}

#[tokio::test]
async fn what_others_add_stays_and_costs_nothing() -> Result<()> {
    let scene = Scene::builder("left-alone").counted().start().await?;
    let group = scene.text("<ns>.example.test");
    scene.apply_yaml(&definition(&group).to_string()).await?;
    let scaled = with(deployment("scaled"), json!({ "spec": { "replicas": null } }));
    let sidecar = json!({ "name": "sidecar", "image": "example.test/sidecar:1" });
    let port = json!({ "name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": 9090 });
    let case = |manifest: Value, act: Act| Case { manifest, act };
    let cases = [
        case(config_map("label"), metadata(json!({ "labels": { "foreign": "x" } }))),
        case(
            config_map("annotation"),
            metadata(json!({ "annotations": { "foreign": "x" } })),
        ),
        case(
            config_map("finalizer"),
            metadata(json!({ "finalizers": ["example.test/foreign"] })),
        ),
        case(config_map("key"), Act::Merge(json!({ "data": { "foreign": "x" } }))),
        case(
            config_map("applied-key"),
            Act::Apply(json!({ "data": { "foreign": "x" } })),
        ),
        case(config_map("same-value"), Act::Merge(json!({ "data": { "k": "v" } }))),
        case(
            config_map("same-value-applied"),
            Act::Apply(json!({ "data": { "k": "v" } })),
        ),
        case(config_map("same-put"), Act::Put(json!({ "data": { "foreign": "x" } }))),
        case(service("port"), Act::Strategic(json!({ "spec": { "ports": [port] } }))),
        case(
            deployment("container"),
            Act::Strategic(json!({ "spec": { "template": { "spec": { "containers": [sidecar] } } } })),
        ),
        case(scaled.clone(), Act::Scale(1)),
        case(widget(&group, "status"), Act::Status(json!({ "phase": "Running" }))),
        case(
            widget(&group, "field"),
            Act::Merge(json!({ "spec": { "foreign": { "a": 1 } } })),
        ),
    ];
    let mut manifests: Vec<_> = cases.iter().map(|case| case.manifest.clone()).collect();
    manifests.extend(probes(cases.len()));
    scene.applied(&manifests).await?;

    let mut wrong = BTreeMap::new();
    for (number, Case { manifest, act }) in cases.iter().enumerate() {
        let object = scene.object_of(manifest)?;
        let mark = scene.requests()?.mark();
        object.suffers(act, "somebody", manifest).await?;
        let before = object.get().await?;
        scene.noticed(&format!("probe-{number}"), "app").await?;
        if let Err(error) = is_left(&scene, &object, &before).await {
            wrong.insert(object.id(), format!("{error:#}"));
        }
        let asked = scene.requests()?.about(&object.path(), mark);
        if !asked.is_empty() {
            wrong.insert(format!("{} costs", object.id()), format!("{asked:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    scene
        .patch::<ConfigMap>("finalizer", json!({ "metadata": { "finalizers": null } }))
        .await?;
    Ok(())
}

#[tokio::test]
async fn what_git_marks_is_left_alone() -> Result<()> {
    let scene = Scene::start("left-marked").await?;
    let off = annotated(config_map("off"), "reconcile", "disabled");
    let ignored = annotated(config_map("ignored"), "ssa", "Ignore");
    let once = annotated(config_map("once"), "ssa", "IfNotPresent");
    // Those that are not applied are there all the same.
    for manifest in [&off, &ignored] {
        scene.apply_yaml(&manifest.to_string()).await?;
    }
    let mut manifests = probes(4);
    manifests.extend([off.clone(), ignored.clone(), once.clone()]);
    scene.applied(&manifests).await?;

    for (number, manifest) in [off, ignored, once.clone()].iter().enumerate() {
        let object = scene.object_of(manifest)?;
        object.suffers(&drift(), "somebody", manifest).await?;
        let before = object.get().await?;
        scene.noticed(&format!("probe-{number}"), "app").await?;
        is_left(&scene, &object, &before).await?;
    }
    // An object that is not present is made again, as Git has it.
    let object = scene.object_of(&once)?;
    object.suffers(&Act::Delete, "somebody", &once).await?;
    scene.healed(&object, &once, "app").await?;
    object.suffers(&drift(), "somebody", &once).await?;
    let before = object.get().await?;
    scene.noticed("probe-3", "app").await?;
    assert_eq!(version(&object.get().await?), version(&before));
    Ok(())
}

#[tokio::test]
async fn what_kubectl_adds_stays_where_git_asks_for_a_merge() -> Result<()> {
    let scene = Scene::start("left-merge").await?;
    let manifest = annotated(config_map("merged"), "ssa", "Merge");
    let object = scene.object_of(&manifest)?;
    scene.applied(&[manifest.clone(), probe("probe-0")]).await?;
    let foreign = json!({ "metadata": { "labels": { "foreign": "x" } }, "data": { "foreign": "x" } });
    object.suffers(&Act::Merge(foreign), "kubectl-edit", &manifest).await?;
    scene.noticed("probe-0", "app").await?;
    // What Git has is put right, and what is kubectl's is still there.
    object.suffers(&drift(), "kubectl-edit", &manifest).await?;
    let live = scene.healed(&object, &manifest, "app").await?;
    assert_eq!(
        (&live["data"]["foreign"], &live["metadata"]["labels"]["foreign"]),
        (&json!("x"), &json!("x"))
    );
    Ok(())
}

#[tokio::test]
async fn what_people_mark_is_left_alone_until_the_mark_is_gone() -> Result<()> {
    let marks = [("off", "reconcile", "disabled"), ("ignored", "ssa", "Ignore")];
    let scene = Scene::start("left-live").await?;
    let mut manifests = probes(2 * marks.len());
    manifests.extend(marks.map(|(name, ..)| config_map(name)));
    scene.applied(&manifests).await?;
    for (number, (name, key, value)) in marks.into_iter().enumerate() {
        let (object, manifest) = (scene.object("v1", "ConfigMap", name), config_map(name));
        let key = format!("kustomize.toolkit.fluxcd.io/{key}");
        let marked = json!({ "metadata": { "annotations": { key.as_str(): value } } });
        object
            .suffers(&Act::Merge(marked), "kubectl-annotate", &manifest)
            .await?;
        scene.noticed(&format!("probe-{}", 2 * number), "app").await?;
        object.suffers(&drift(), "somebody", &manifest).await?;
        let before = object.get().await?;
        scene.noticed(&format!("probe-{}", 2 * number + 1), "app").await?;
        is_left(&scene, &object, &before).await?;

        let last = scene.last_change("app").await?;
        let unmarked = json!({ "metadata": { "annotations": { key.as_str(): null } } });
        object
            .suffers(&Act::Merge(unmarked), "kubectl-annotate", &manifest)
            .await?;
        scene.healed(&object, &manifest, "app").await?;
        scene.told("app", last, &object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_suspended_kustomization_corrects_nothing_until_it_is_resumed() -> Result<()> {
    let scene = Scene::start("left-suspended").await?;
    let (one, two) = (map("one", json!({ "k": "v" })), map("two", json!({ "k": "v" })));
    let files = [
        ("app/one.yaml", &*one.to_string()),
        ("app/two.yaml", &two.to_string()),
        ("other/p.yaml", &probe("probe-0").to_string()),
    ];
    scene.publish("main@sha1:1", &files).await?;
    for name in ["app", "other"] {
        scene
            .kustomization(name, json!({ "path": format!("./{name}") }))
            .await?;
        scene.wait_ready::<Kustomization>(name).await?;
    }
    scene.suspend::<Kustomization>("app", true).await?;
    wait::until("the controller to know it", async || {
        Ok(scene.log()?.contains("Reconciliation is suspended").then_some(()))
    })
    .await?;
    let (changed, deleted) = (scene.object_of(&one)?, scene.object_of(&two)?);
    changed.suffers(&drift(), "somebody", &one).await?;
    deleted.suffers(&Act::Delete, "somebody", &two).await?;
    let before = changed.get().await?;
    scene.noticed("probe-0", "other").await?;
    assert_eq!(version(&changed.get().await?), version(&before));
    assert_eq!(deleted.find().await?, None);

    scene.suspend::<Kustomization>("app", false).await?;
    scene.healed(&changed, &one, "app").await?;
    scene.healed(&deleted, &two, "app").await?;
    Ok(())
}

/// `IfNotPresent` counts in the revision that brings it, and for those that change what is not applied.
#[tokio::test]
async fn a_newer_manifest_is_not_applied_over_what_is_to_be_made_only_once() -> Result<()> {
    let scene = Scene::start("left-once").await?;
    let old = config_map("once");
    let new = annotated(
        with(old.clone(), json!({ "data": { "k": "new" } })),
        "ssa",
        "IfNotPresent",
    );
    let newer = with(new.clone(), json!({ "data": { "k": "newer" } }));
    let object = scene.object_of(&old)?;
    scene.applied(std::slice::from_ref(&old)).await?;
    let before = object.get().await?;
    for (number, manifest) in [(2, new), (3, newer)] {
        let revision = format!("main@sha1:{number}");
        scene
            .publish_objects(&revision, std::slice::from_ref(&manifest))
            .await?;
        let applied = |object: &Kustomization| {
            let status = object.status.as_ref();
            status.and_then(|status| status.last_applied_revision.as_deref()) == Some(&*revision)
        };
        scene
            .wait::<Kustomization>("app", "apply the revision", applied)
            .await?;
        assert_eq!(version(&object.get().await?), version(&before));
    }
    Ok(())
}

/// An object that Git does not have any more and that was not pruned belongs to nobody.
#[tokio::test]
async fn what_was_dropped_without_pruning_may_drift() -> Result<()> {
    let scene = Scene::start("left-dropped").await?;
    let manifest = config_map("dropped");
    let object = scene.object_of(&manifest)?;
    scene
        .publish_objects("main@sha1:1", &[manifest.clone(), probe("probe-0")])
        .await?;
    scene.kustomization("app", json!({ "prune": false })).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.publish_objects("main@sha1:2", &[probe("probe-0")]).await?;
    let applied = |object: &Kustomization| {
        let status = object.status.as_ref();
        status.and_then(|status| status.last_applied_revision.as_deref()) == Some("main@sha1:2")
    };
    scene
        .wait::<Kustomization>("app", "apply the second revision", applied)
        .await?;
    object.suffers(&drift(), "somebody", &manifest).await?;
    let before = object.get().await?;
    scene.noticed("probe-0", "app").await?;
    assert_eq!(version(&object.get().await?), version(&before));
    object.suffers(&Act::Delete, "somebody", &manifest).await?;
    Ok(())
}
