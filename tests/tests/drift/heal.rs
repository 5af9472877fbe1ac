//! What is put right at once: every way in which others change, remove or replace what Git says.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use api::kustomize::{ChangeEntry, Kustomization};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::controllers::Controller::Kustomize;
use tests::wait;

use crate::manifests::{config_map, definition, deployment, secret, service, widget};
use crate::object::{Act, OURS, Object, content};
use crate::scene::{Scene, probe, probes};

/// Something that happens to an object of its own.
struct Case {
    name: &'static str,
    by: &'static str,
    act: Act,
    /// A field that must be told, by the beginning of its path.
    field: &'static str,
    /// Whether it can be known who did it: who takes something away leaves no trace.
    known: bool,
}

/// Somebody changes something.
fn changed(name: &'static str, act: Act, field: &'static str) -> Case {
    Case {
        name,
        by: "somebody",
        act,
        field,
        known: true,
    }
}

/// Somebody takes something away.
fn removed(name: &'static str, act: Act, field: &'static str) -> Case {
    Case {
        known: false,
        ..changed(name, act, field)
    }
}

impl Case {
    fn by(mut self, manager: &'static str) -> Self {
        self.by = manager;
        self
    }

    fn unknown(mut self) -> Self {
        self.known = false;
        self
    }
}

/// Applies an object for every case, and has one after the other happen: the object is put right, and the status tells
/// of it.
async fn check(scene: &Scene, manifest: impl Fn(&str) -> Value, cases: &[Case]) -> Result<()> {
    let manifests: Vec<_> = cases.iter().map(|case| manifest(case.name)).collect();
    scene.applied(&manifests).await?;
    let mut wrong = BTreeMap::new();
    for (case, manifest) in cases.iter().zip(&manifests) {
        if let Err(error) = heals(scene, case, manifest).await {
            wrong.insert(case.name, format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} cases: {wrong:#?}", wrong.len(), cases.len());
    Ok(())
}

async fn heals(scene: &Scene, case: &Case, manifest: &Value) -> Result<()> {
    let object = scene.object_of(manifest)?;
    let before = content(&object.get().await?);
    let last = scene.last_change("app").await?;
    object.suffers(&case.act, case.by, manifest).await?;
    let healed = scene.healed(&object, manifest, "app").await?;
    match &case.act {
        Act::Delete => {
            let other = before["metadata"]["uid"] != healed["metadata"]["uid"];
            ensure!(other, "it was not deleted");
            check_entry(case, &scene.told("app", last, &object).await?, "created")
        }
        // What it looked like in between depends on who was first.
        Act::Recreate(_) => scene.told("app", last, &object).await.map(drop),
        _ => {
            // What is taken over from others goes as well.
            let as_before = async || Ok((content(&object.get().await?) == before).then_some(()));
            scene.soon("all of it to be as before", as_before).await?;
            check_entry(case, &scene.told("app", last, &object).await?, "configured")
        }
    }
}

fn check_entry(case: &Case, entry: &ChangeEntry, action: &str) -> Result<()> {
    ensure!(entry.action == action, "{entry:?} does not say {action}");
    let is_told = entry.fields.iter().any(|field| field.starts_with(case.field));
    ensure!(is_told, "{entry:?} does not tell of {}", case.field);
    let manager = entry.manager.as_deref();
    ensure!(
        !case.known || manager == Some(case.by),
        "{entry:?} does not name {}",
        case.by
    );
    Ok(())
}

const CONTAINERS: &str = ".spec.template.spec.containers";

fn label(value: Value) -> Act {
    Act::Merge(json!({ "metadata": { "labels": { "tier": value } } }))
}

fn annotation(value: Value) -> Act {
    Act::Merge(json!({ "metadata": { "annotations": { "note": value } } }))
}

fn labelled(labels: Value) -> Act {
    Act::Merge(json!({ "metadata": { "labels": labels } }))
}

fn container(fields: Value) -> Value {
    let mut container = json!({ "name": "app" });
    crate::manifests::merge(&mut container, &fields);
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

#[tokio::test]
async fn the_spec_of_a_deployment_is_put_right() -> Result<()> {
    let scene = Scene::start("heal-spec").await?;
    let replicas = |count: i32| json!({ "spec": { "replicas": count } });
    let image = |image: &str| container(json!({ "image": image }));
    let put = |containers: Value| {
        Act::Put(json!({ "spec": { "replicas": 2, "template": { "spec": { "containers": containers } } } }))
    };
    let other = json!([{ "name": "app", "image": "example.test/other:1" }]);
    let cases = [
        changed("scaled", Act::Scale(1), ".spec.replicas").by("autoscaler"),
        changed("scaled-by-kubectl", Act::Scale(1), ".spec.replicas").by("kubectl-scale"),
        changed("scaled-by-update", Act::Merge(replicas(1)), ".spec.replicas"),
        changed("image", Act::Strategic(image("example.test/app:2")), CONTAINERS),
        changed(
            "image-by-kubectl",
            Act::Strategic(image("example.test/app:2")),
            CONTAINERS,
        )
        .by("kubectl-set"),
        changed(
            "env",
            Act::Strategic(container(json!({ "env": [{ "name": "A", "value": "2" }] }))),
            CONTAINERS,
        ),
        removed(
            "env-removed",
            Act::Json(json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/env/0" }])),
            CONTAINERS,
        ),
        removed(
            "all-env-removed",
            Act::Json(json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/env" }])),
            CONTAINERS,
        ),
        changed(
            "argument",
            Act::Json(
                json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/args/0", "value": "--zero" }]),
            ),
            CONTAINERS,
        ),
        changed(
            "argument-added",
            Act::Json(json!([{ "op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--three" }])),
            CONTAINERS,
        ),
        changed("applied-by-another", Act::Apply(replicas(3)), ".spec.replicas"),
        // Without the variables and arguments, so that something is taken away as well.
        changed("replaced", put(other), CONTAINERS),
        changed("updated-as-we", Act::Merge(replicas(1)), ".spec.replicas")
            .by(OURS)
            .unknown(),
        changed("applied-as-we", Act::ApplyAgain(replicas(4)), ".spec.replicas")
            .by(OURS)
            .unknown(),
        removed("deleted", Act::Delete, ChangeEntry::DELETED),
        removed("unowned", Act::Clear(replicas(1)), ".spec.replicas"),
    ];
    check(&scene, deployment, &cases).await
}

#[tokio::test]
async fn labels_and_annotations_are_put_right() -> Result<()> {
    let scene = Scene::start("heal-labels").await?;
    let foreign = json!({ "metadata": { "labels": { "foreign": "x" }, "annotations": { "foreign": "x" } } });
    let owner = "kustomize.toolkit.fluxcd.io/name";
    let owner_namespace = "kustomize.toolkit.fluxcd.io/namespace";
    let cases = [
        changed("label", label(json!("db")), ".metadata.labels"),
        removed("label-removed", label(Value::Null), ".metadata.labels"),
        changed("annotation", annotation(json!("mine")), ".metadata.annotations"),
        removed("annotation-removed", annotation(Value::Null), ".metadata.annotations"),
        removed("owner-removed", labelled(json!({ owner: null })), ".metadata.labels"),
        removed(
            "owners-removed",
            labelled(json!({ owner: null, owner_namespace: null })),
            ".metadata.labels",
        ),
        changed("owner", labelled(json!({ owner: "other" })), ".metadata.labels"),
        changed(
            "owner-namespace",
            labelled(json!({ owner_namespace: "other" })),
            ".metadata.labels",
        ),
        // What kubectl adds is taken over, and Git does not have it.
        changed("edited", Act::Merge(foreign.clone()), ".metadata").by("kubectl-edit"),
        changed("applied-by-kubectl", Act::Apply(foreign), ".metadata").by("kubectl"),
        removed(
            "all-removed",
            Act::Json(json!([{ "op": "remove", "path": "/metadata/labels" }])),
            ".metadata.labels",
        ),
    ];
    check(&scene, config_map, &cases).await
}

#[tokio::test]
async fn the_data_of_a_config_map_is_put_right() -> Result<()> {
    let scene = Scene::start("heal-data").await?;
    let data = |data: Value| json!({ "data": data });
    let owned = scene.name().to_owned();
    let labels = json!({ "kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": owned });
    let impostor = json!({ "metadata": { "labels": labels }, "data": { "k": "other" } });
    let cases = [
        changed("key", Act::Merge(data(json!({ "k": "x" }))), ".data.k"),
        removed("key-removed", Act::Merge(data(json!({ "k": null }))), ".data.k"),
        removed(
            "all-removed",
            Act::Json(json!([{ "op": "remove", "path": "/data" }])),
            ".data",
        ),
        changed("put", Act::Put(data(json!({ "k": "x", "other": "y" }))), ".data.k"),
        changed("applied", Act::Apply(data(json!({ "k": "x" }))), ".data.k"),
        changed("edited", Act::Merge(data(json!({ "k": "x", "added": "y" }))), ".data").by("kubectl-edit"),
        changed("created-earlier", Act::Merge(data(json!({ "k": "x" }))), ".data.k").by("before-first-apply"),
        removed("deleted", Act::Delete, ChangeEntry::DELETED),
        removed("recreated", Act::Recreate(data(json!({ "k": "x" }))), ""),
        removed("recreated-alike", Act::Recreate(json!({})), ""),
        removed("recreated-as-ours", Act::Recreate(impostor), ""),
    ];
    check(&scene, config_map, &cases).await
}

#[tokio::test]
async fn secrets_and_services_are_put_right() -> Result<()> {
    let scene = Scene::start("heal-secret").await?;
    let cases = [
        changed(
            "key",
            Act::Merge(json!({ "data": { "password": "eA==" } })),
            ".data.password",
        ),
        changed(
            "key-as-text",
            Act::Merge(json!({ "stringData": { "password": "x" } })),
            ".data.password",
        ),
        removed(
            "key-removed",
            Act::Merge(json!({ "data": { "password": null } })),
            ".data.password",
        ),
        removed("deleted", Act::Delete, ChangeEntry::DELETED),
    ];
    check(&scene, secret, &cases).await?;
    let scene = Scene::start("heal-service").await?;
    let cases = [
        changed(
            "port",
            Act::Strategic(json!({ "spec": { "ports": [{ "port": 80, "targetPort": 81 }] } })),
            ".spec.ports",
        ),
        removed(
            "port-removed",
            Act::Json(json!([{ "op": "remove", "path": "/spec/ports/1" }])),
            ".spec.ports",
        ),
        changed(
            "selector",
            Act::Merge(json!({ "spec": { "selector": { "app": "other" } } })),
            ".spec.selector",
        ),
        removed("deleted", Act::Delete, ChangeEntry::DELETED),
    ];
    check(&scene, service, &cases).await
}

#[tokio::test]
async fn custom_resources_are_put_right() -> Result<()> {
    let scene = Scene::start("heal-widget").await?;
    let group = scene.text("<ns>.example.test");
    scene.apply_yaml(&definition(&group).to_string()).await?;
    let cases = [
        changed("value", Act::Merge(json!({ "spec": { "size": 2 } })), ".spec.size"),
        changed(
            "list",
            Act::Merge(json!({ "spec": { "parts": ["a", "c"] } })),
            ".spec.parts",
        ),
        changed(
            "nested",
            Act::Merge(json!({ "spec": { "paint": { "color": "blue" } } })),
            ".spec.paint.color",
        ),
        removed(
            "map-removed",
            Act::Merge(json!({ "spec": { "paint": null } })),
            ".spec.paint",
        ),
        changed(
            "scalar-for-map",
            Act::Merge(json!({ "spec": { "paint": "blue" } })),
            ".spec.paint",
        ),
        changed("put", Act::Put(json!({ "spec": { "size": 3 } })), ".spec.size"),
        removed("deleted", Act::Delete, ChangeEntry::DELETED),
    ];
    check(&scene, |name| widget(&group, name), &cases).await?;
    forget(&scene, &group).await
}

/// Nothing tells any more which fields are the controller's.
#[tokio::test]
async fn drift_is_seen_after_somebody_cleared_the_managed_fields() -> Result<()> {
    let scene = Scene::start("heal-clear").await?;
    let (object, manifest) = (scene.object("v1", "ConfigMap", "a"), config_map("a"));
    scene.applied(&[manifest.clone(), probe("probe-0")]).await?;
    object.suffers(&Act::Clear(json!({})), "somebody", &manifest).await?;
    scene.noticed("probe-0", "app").await?;
    let last = scene.last_change("app").await?;
    let drift = Act::Merge(json!({ "data": { "k": "x" } }));
    object.suffers(&drift, "somebody", &manifest).await?;
    scene.healed(&object, &manifest, "app").await?;
    scene.told("app", last, &object).await?;
    Ok(())
}

/// What was changed and changed back belongs to whoever did that, though nothing is to be corrected.
#[tokio::test]
async fn drift_is_seen_after_somebody_changed_a_field_and_changed_it_back() -> Result<()> {
    let scene = Scene::start("heal-flicker").await?;
    let names = ["paused", "stopped"];
    let mut manifests = probes(4);
    manifests.extend(names.map(config_map));
    scene.applied(&manifests).await?;
    let flicker = async |object: &Object, manifest: &Value| {
        for value in ["x", "v"] {
            let act = Act::Merge(json!({ "data": { "k": value } }));
            object.suffers(&act, "somebody", manifest).await?;
        }
        anyhow::Ok(())
    };
    for (number, name) in names.into_iter().enumerate() {
        let (object, manifest) = (scene.object("v1", "ConfigMap", name), config_map(name));
        // Nobody looks in between.
        if name == "paused" {
            scene.controllers.pause(Kustomize)?;
            flicker(&object, &manifest).await?;
            scene.controllers.resume(Kustomize)?;
        } else {
            scene.controllers.kill(Kustomize)?;
            flicker(&object, &manifest).await?;
            scene.controllers.start_again(Kustomize).await?;
        }
        scene.noticed(&format!("probe-{}", 2 * number), "app").await?;
        let last = scene.last_change("app").await?;
        let drift = Act::Merge(json!({ "data": { "k": "y" } }));
        object.suffers(&drift, "another", &manifest).await?;
        scene.healed(&object, &manifest, "app").await?;
        scene.told("app", last, &object).await?;
        scene.noticed(&format!("probe-{}", 2 * number + 1), "app").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_goes_slowly_is_made_again_when_it_is_gone() -> Result<()> {
    let scene = Scene::start("heal-slowly").await?;
    let (object, manifest) = (scene.object("v1", "ConfigMap", "a"), config_map("a"));
    scene.applied(&[manifest.clone(), probe("probe-0")]).await?;
    let finalizers = |value: Value| Act::Merge(json!({ "metadata": { "finalizers": value } }));
    object
        .suffers(&finalizers(json!(["example.test/slow"])), "somebody", &manifest)
        .await?;
    object.suffers(&Act::Delete, "somebody", &manifest).await?;
    scene.noticed("probe-0", "app").await?;
    let going = object.get().await?;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    object.suffers(&finalizers(Value::Null), "somebody", &manifest).await?;
    scene.healed(&object, &manifest, "app").await?;
    Ok(())
}

#[tokio::test]
async fn cluster_wide_objects_are_put_right() -> Result<()> {
    use k8s_openapi::api::rbac::v1::ClusterRole;
    let scene = Scene::start("heal-role").await?;
    let name = scene.text("<ns>-reader");
    let rule = |verbs: Value| json!({ "apiGroups": [""], "resources": ["pods"], "verbs": verbs });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": [rule(json!(["get"]))],
    });
    scene.applied(&[role]).await?;
    let api: Api<ClusterRole> = Api::all(scene.cluster.client());
    let healed = async || {
        let rules = api.get(&name).await?.rules.unwrap_or_default();
        Ok((rules.len() == 1 && rules[0].verbs == ["get"]).then_some(()))
    };
    scene.soon("the role to be made", healed).await?;
    let more = Patch::Merge(json!({ "rules": [rule(json!(["*"]))] }));
    api.patch(&name, &PatchParams::default(), &more).await?;
    scene.soon("the role to be as Git says", healed).await?;
    api.delete(&name, &DeleteParams::default()).await?;
    scene.soon("the role to be there again", healed).await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await
}

#[tokio::test]
async fn several_changes_at_once_are_all_put_right_and_told() -> Result<()> {
    let scene = Scene::start("heal-several").await?;
    let manifests: Vec<_> = (0..20).map(|number| config_map(&format!("m{number}"))).collect();
    scene.applied(&manifests).await?;
    let objects = manifests
        .iter()
        .map(|manifest| scene.object_of(manifest))
        .collect::<Result<Vec<Object>>>()?;
    let last = scene.last_change("app").await?;
    for (number, (object, manifest)) in objects.iter().zip(&manifests).enumerate() {
        let act = match number % 3 {
            0 => Act::Delete,
            1 => Act::Merge(json!({ "data": { "k": "x" } })),
            _ => label(Value::Null),
        };
        object.suffers(&act, "somebody", manifest).await?;
    }
    for (object, manifest) in objects.iter().zip(&manifests) {
        scene.healed(object, manifest, "app").await?;
        scene.told("app", last, object).await?;
    }
    let object = scene.wait_ready::<Kustomization>("app").await?;
    let inventory = object.status.and_then(|status| status.inventory).unwrap_or_default();
    assert_eq!(inventory.entries.len(), manifests.len());
    Ok(())
}

#[tokio::test]
async fn the_same_field_is_put_right_again() -> Result<()> {
    let scene = Scene::start("heal-again").await?;
    let (object, manifest) = (scene.object("apps/v1", "Deployment", "web"), deployment("web"));
    scene.applied(&[manifest.clone(), probe("probe-0")]).await?;
    for count in [1, 2] {
        let last = scene.last_change("app").await?;
        object.suffers(&Act::Scale(count), "somebody", &manifest).await?;
        scene.healed(&object, &manifest, "app").await?;
        let entry = scene.told("app", last, &object).await?;
        assert_eq!(entry.fields, [".spec.replicas"]);
    }
    scene.noticed("probe-0", "app").await
}

/// Deletes a definition and waits until it is gone.
async fn forget(scene: &Scene, group: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.cluster.client());
    let name = format!("widgets.{group}");
    definitions.delete(&name, &DeleteParams::default()).await?;
    wait::gone(&definitions, &name).await
}

#[tokio::test]
async fn a_definition_that_comes_back_brings_its_objects_back() -> Result<()> {
    let scene = Scene::start("heal-definition").await?;
    let group = scene.text("<ns>.example.test");
    scene.apply_yaml(&definition(&group).to_string()).await?;
    let manifest = widget(&group, "a");
    let object = scene.object_of(&manifest)?;
    let mut manifests = probes(2);
    manifests.push(manifest.clone());
    scene.applied(&manifests).await?;
    scene.noticed("probe-0", "app").await?;
    forget(&scene, &group).await?;
    scene.apply_yaml(&definition(&group).to_string()).await?;
    let back = async || {
        Ok(object
            .find()
            .await?
            .filter(|live| object.difference(live, &manifest, "app").is_none()))
    };
    wait::until("the widget to come back", back).await?;
    // Its watch as well.
    let drift = Act::Merge(json!({ "spec": { "size": 2 } }));
    object.suffers(&drift, "somebody", &manifest).await?;
    scene.healed(&object, &manifest, "app").await?;
    scene.noticed("probe-1", "app").await?;
    forget(&scene, &group).await
}

#[tokio::test]
async fn a_definition_that_somebody_deletes_comes_back_with_its_objects() -> Result<()> {
    let scene = Scene::start("heal-own-definition").await?;
    let group = scene.text("<ns>.example.test");
    let manifest = widget(&group, "a");
    let object = scene.object_of(&manifest)?;
    scene
        .applied(&[definition(&group), manifest.clone(), probe("probe-0")])
        .await?;
    let uid = object.get().await?["metadata"]["uid"].clone();
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.cluster.client());
    let name = format!("widgets.{group}");
    definitions.delete(&name, &DeleteParams::default()).await?;
    wait::until("another widget to come", async || {
        let live = object.find().await?;
        let other = live.filter(|live| live["metadata"]["uid"] != uid);
        Ok(other.filter(|live| object.difference(live, &manifest, "app").is_none()))
    })
    .await?;
    scene.noticed("probe-0", "app").await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await
}

#[tokio::test]
async fn a_namespace_that_somebody_deletes_comes_back_with_its_objects() -> Result<()> {
    use k8s_openapi::api::core::v1::Namespace;
    let scene = Scene::start("heal-namespace").await?;
    let name = scene.text("<ns>-made");
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let map = crate::manifests::with(config_map("map"), json!({ "metadata": { "namespace": name } }));
    scene.publish_objects("main@sha1:1", &[namespace, map.clone()]).await?;
    scene.kustomization("app", json!({ "targetNamespace": null })).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let object = Object::new(&scene.cluster, &name, "v1", "ConfigMap", "map");
    let uid = object.get().await?["metadata"]["uid"].clone();
    let namespaces: Api<Namespace> = Api::all(scene.cluster.client());
    namespaces.delete(&name, &DeleteParams::default()).await?;
    wait::until("another map to come", async || {
        let live = object.find().await?;
        Ok(live.filter(|live| live["metadata"]["uid"] != uid && live["data"] == map["data"]))
    })
    .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await
}
