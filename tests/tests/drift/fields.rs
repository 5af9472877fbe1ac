//! How a correction is told: which fields of which object, who had changed them, and never a value.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use api::kustomize::{Change, ChangeEntry, Kustomization};
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use tests::wait;

use crate::manifests::{config_map, deployment, secret};
use crate::object::Act;
use crate::scene::{Scene, probe, probes};

/// Something happens, and is told as these lines of one event, with `<ns>` as the namespace; the status has the same.
async fn check(scene: &Scene, manifest: &Value, act: Act, manager: &str, lines: &[&str]) -> Result<()> {
    let object = scene.object_of(manifest)?;
    let last = scene.last_change("app").await?;
    object.suffers(&act, manager, manifest).await?;
    scene.healed(&object, manifest, "app").await?;
    let entry = scene.told("app", last, &object).await?;
    let lines: Vec<_> = lines.iter().map(|line| scene.text(line)).collect();
    let ChangeEntry { object, action, .. } = &entry;
    let told: Vec<_> = std::iter::once(format!("{object} {action}"))
        .chain(entry.correction())
        .collect();
    ensure!(told == lines, "{told:#?} is told instead of {lines:#?}");
    let Some(correction) = entry.correction() else {
        return Ok(());
    };
    let event = scene.wait_line("app", &correction).await?;
    let message = event.message.unwrap_or_default();
    ensure!(message == lines.join("\n"), "the event says {message:?}");
    assert_eq!(
        (event.type_.as_deref(), event.reason.as_deref()),
        (Some("Normal"), Some("Progressing"))
    );
    Ok(())
}

#[tokio::test]
async fn a_correction_names_the_object_the_field_and_who_changed_it() -> Result<()> {
    let scene = Scene::start("fields").await?;
    let manifests = ["web", "two", "image", "env", "removed"].map(deployment);
    let maps = ["label", "key", "gone", "dotted"].map(config_map);
    let [web, two, image, env, removed] = &manifests;
    let [label, key, gone, dotted] = &maps;
    let all: Vec<_> = manifests.iter().chain(&maps).cloned().collect();
    scene.applied(&all).await?;

    let configured = |object: &str| format!("{object} configured");
    let changed =
        |object: &str, fields: &str, by: &str| format!("drift corrected: {object} {fields} (changed by {by})");
    let container = |fields: Value| {
        let mut container = json!({ "name": "app" });
        crate::manifests::merge(&mut container, &fields);
        Act::Strategic(json!({ "spec": { "template": { "spec": { "containers": [container] } } } }))
    };

    let cases: [(&Value, Act, &str, &str, &str); 8] = [
        (
            web,
            Act::Scale(1),
            "kubectl-scale",
            "Deployment/<ns>/web",
            ".spec.replicas",
        ),
        (
            two,
            Act::Merge(json!({ "metadata": { "labels": { "tier": "db" } }, "spec": { "replicas": 2 } })),
            "somebody",
            "Deployment/<ns>/two",
            ".metadata.labels.tier, .spec.replicas",
        ),
        (
            image,
            container(json!({ "image": "example.test/app:2" })),
            "kubectl-set",
            "Deployment/<ns>/image",
            ".spec.template.spec.containers[name=\"app\"].image",
        ),
        (
            env,
            container(json!({ "env": [{ "name": "B", "value": "3" }] })),
            "kubectl-set",
            "Deployment/<ns>/env",
            ".spec.template.spec.containers[name=\"app\"].env[name=\"B\"].value",
        ),
        (
            removed,
            Act::Json(json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/args" }])),
            "",
            "Deployment/<ns>/removed",
            ".spec.template.spec.containers[name=\"app\"].args",
        ),
        (
            label,
            Act::Merge(json!({ "metadata": { "labels": { "foreign": "x" } } })),
            "kubectl-label",
            "ConfigMap/<ns>/label",
            ".metadata.labels.foreign",
        ),
        (
            key,
            Act::Merge(json!({ "data": { "k": null } })),
            "",
            "ConfigMap/<ns>/key",
            ".data.k",
        ),
        (
            dotted,
            Act::Merge(json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/name": "other" } } })),
            "somebody",
            "ConfigMap/<ns>/dotted",
            ".metadata.labels[\"kustomize.toolkit.fluxcd.io/name\"]",
        ),
    ];
    let mut wrong = Vec::new();
    for (manifest, act, manager, object, fields) in cases {
        // Who takes something away is not known, unless they take part in what is left.
        let (manager, by) = match manager {
            "" => ("somebody", "someone unknown"),
            manager => (manager, manager),
        };
        let lines = [configured(object), changed(object, fields, by)];
        let lines = lines.each_ref().map(String::as_str);
        if let Err(error) = check(&scene, manifest, act, manager, &lines).await {
            wrong.push(format!("{object}: {error:#}"));
        }
    }
    let deleted = [
        "ConfigMap/<ns>/gone created",
        "drift corrected: ConfigMap/<ns>/gone was deleted and is created again",
    ];
    if let Err(error) = check(&scene, gone, Act::Delete, "somebody", &deleted).await {
        wrong.push(format!("{error:#}"));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn a_secrets_correction_names_the_key_and_never_a_value() -> Result<()> {
    let scene = Scene::builder("fields-secret")
        .flag("--log-level=debug")
        .start()
        .await?;
    let manifest = secret("s");
    scene.applied(std::slice::from_ref(&manifest)).await?;
    let object = "Secret/<ns>/s";
    // "swordfish" and "open".
    let act = Act::Merge(json!({ "data": { "password": "c3dvcmRmaXNo", "token": "b3Blbg==" } }));
    let line = format!("drift corrected: {object} .data.password, .data.token (changed by somebody)");
    check(
        &scene,
        &manifest,
        act,
        "somebody",
        &[&format!("{object} configured"), &line],
    )
    .await?;
    let act = Act::Merge(json!({ "stringData": { "token": "swordfish" } }));
    let line = format!("drift corrected: {object} .data.token (changed by kubectl-edit)");
    check(
        &scene,
        &manifest,
        act,
        "kubectl-edit",
        &[&format!("{object} configured"), &line],
    )
    .await?;

    let said = scene.said().await?;
    ensure!(said.contains(".data.password"), "nothing was searched");
    for value in [
        "hunter2",
        "aHVudGVyMg",
        "sesame",
        "c2VzYW1l",
        "swordfish",
        "c3dvcmRmaXNo",
        "b3Blbg",
    ] {
        ensure!(!said.contains(value), "{value} was said");
    }
    Ok(())
}

/// What a revision changes is no drift.
#[tokio::test]
async fn a_new_revision_corrects_nothing() -> Result<()> {
    let scene = Scene::start("fields-revision").await?;
    let manifest = config_map("m");
    scene.applied(std::slice::from_ref(&manifest)).await?;
    let newer = crate::manifests::with(manifest, json!({ "data": { "k": "newer" } }));
    scene
        .publish_objects("main@sha1:2", std::slice::from_ref(&newer))
        .await?;
    let object = scene.object_of(&newer)?;
    let entry = scene.told("app", 1, &object).await?;
    assert_eq!((entry.action.as_str(), entry.correction()), ("configured", None));
    scene.publish_objects("main@sha1:3", &[probe("probe-0")]).await?;
    let entry = scene.told("app", 2, &object).await?;
    assert_eq!((entry.action.as_str(), entry.correction()), ("deleted", None));
    scene.wait_ready::<Kustomization>("app").await?;
    assert_eq!(object.find().await?, None);
    let said = scene.said().await?;
    ensure!(!said.contains("drift corrected"), "{said}");
    scene.noticed("probe-0", "app").await?;
    assert_eq!(object.find().await?, None);
    Ok(())
}

/// An object that has to be deleted to be changed was not deleted by somebody.
#[tokio::test]
async fn a_forced_replacement_corrects_nothing() -> Result<()> {
    let scene = Scene::start("fields-force").await?;
    let manifest = deployment("web");
    scene
        .publish_objects("main@sha1:1", std::slice::from_ref(&manifest))
        .await?;
    scene.kustomization("app", json!({ "force": true })).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let labels = json!({ "app": "other" });
    let spec = json!({ "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels } } });
    let newer = crate::manifests::with(manifest, json!({ "spec": spec }));
    let object = scene.object_of(&newer)?;
    let uid = object.get().await?["metadata"]["uid"].clone();
    scene
        .publish_objects("main@sha1:2", std::slice::from_ref(&newer))
        .await?;
    let entry = scene.told("app", 1, &object).await?;
    assert_eq!((entry.action.as_str(), entry.correction()), ("created", None));
    let live = scene.healed(&object, &newer, "app").await?;
    ensure!(live["metadata"]["uid"] != uid, "it was not replaced");
    scene.wait_ready::<Kustomization>("app").await?;
    ensure!(!scene.said().await?.contains("drift corrected"), "drift was told");
    Ok(())
}

/// Who tells people of changes reads them in the status, by their numbers.
#[tokio::test]
async fn no_change_is_lost_and_no_number_is_used_twice() -> Result<()> {
    const COUNT: usize = 40;
    let scene = Scene::start("fields-numbers").await?;
    scene.applied(&probes(COUNT)).await?;
    let names: BTreeSet<_> = (0..COUNT)
        .map(|number| scene.text(&format!("ConfigMap/<ns>/probe-{number}")))
        .collect();
    let watch = watch_object(scene.api::<Kustomization>(), "app").default_backoff();
    let mut watch = std::pin::pin!(watch);
    let mut told: BTreeMap<i64, Change> = BTreeMap::new();
    let collect = async {
        let corrected = |told: &BTreeMap<i64, Change>| -> BTreeSet<String> {
            let entries = told.values().flat_map(|change| &change.entries);
            let corrected = entries.filter(|entry| entry.action == "configured");
            corrected.map(|entry| entry.object.clone()).collect()
        };
        while corrected(&told) != names {
            let object = watch.next().await.context("the watch ended")??.context("it is gone")?;
            let changes = object.status.map(|status| status.changes).unwrap_or_default();
            for change in changes.into_iter().filter(|change| !change.pending) {
                let known = told.entry(change.seq).or_insert_with(|| change.clone());
                ensure!(*known == change, "{known:?} became {change:?}");
            }
        }
        Ok(())
    };
    let drift = async {
        for number in 0..COUNT {
            scene.noticed(&format!("probe-{number}"), "app").await?;
        }
        Ok(())
    };
    let all = async { futures::try_join!(collect, drift) };
    let ended = tokio::time::timeout(2 * wait::patience(), all).await;
    let told: Vec<_> = told.keys().copied().collect();
    ended.with_context(|| format!("told so far: {told:?}"))??;
    let numbers: Vec<_> = (1..=told.len() as i64).collect();
    assert_eq!(told, numbers);
    Ok(())
}
