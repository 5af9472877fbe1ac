//! What a steady cluster costs: nothing per object, and next to nothing per Kustomization.

use anyhow::{Result, ensure};
use api::kustomize::Kustomization;
use serde_json::{Value, json};
use tests::cluster::Cluster;

use crate::manifests::{config_map, deployment, secret, service};
use crate::object::{Act, Object};
use crate::requests::Asked;
use crate::scene::Scene;

/// The shortest interval that makes sense in a test.
const INTERVAL: &str = "1s";

fn manifests() -> Vec<Value> {
    vec![
        config_map("a"),
        config_map("b"),
        secret("s"),
        service("web"),
        deployment("web"),
    ]
}

/// The requests about objects of the namespace that are not Kustomizations, sources or Events, and those that list
/// kinds anew.
fn about_objects(scene: &Scene, mark: usize) -> Result<Vec<Asked>> {
    let mut asked = scene.requests()?.since(mark);
    let namespace = format!("/namespaces/{}/", scene.name());
    let ours = ["/kustomizations", "/gitrepositories", "/events", "/leases"];
    asked.retain(|asked| {
        let is_ours = ours.iter().any(|kind| asked.path.contains(kind));
        let is_object = asked.path.contains(&namespace);
        let is_list = ["/configmaps", "/secrets", "/services", "/deployments"]
            .iter()
            .any(|kind| asked.path.ends_with(kind));
        // A watch that ends is opened again from time to time.
        !is_ours && !asked.is_watch() && (is_object || is_list)
    });
    Ok(asked)
}

#[tokio::test]
async fn a_steady_cluster_costs_no_object_requests() -> Result<()> {
    let builder = Scene::builder("quiet").counted().flag("--verify-every=1000");
    let scene = builder.start().await?;
    scene.publish_objects("main@sha1:1", &manifests()).await?;
    scene.kustomization("app", json!({ "interval": INTERVAL })).await?;
    let first = scene.wait_reconciles("app", 2).await?;
    let mark = scene.requests()?.mark();
    let last = scene.wait_reconciles("app", first + 6).await?;
    let asked = about_objects(&scene, mark)?;
    ensure!(asked.is_empty(), "asked in {} intervals: {asked:#?}", last - first);

    // At most one request about the Kustomization per interval, and none about anything else.
    let others = scene.requests()?.since(mark);
    let intervals = usize::try_from(scene.reconciles("app").await? - first)?;
    ensure!(
        others.len() <= intervals + 2,
        "{} requests in {intervals} intervals: {others:#?}",
        others.len()
    );

    // What drifts costs requests about itself alone, and few.
    let (object, manifest) = (scene.object("v1", "ConfigMap", "a"), config_map("a"));
    let before = scene.last_change("app").await?;
    let mark = scene.requests()?.mark();
    object
        .suffers(&Act::Merge(json!({ "data": { "k": "x" } })), "somebody", &manifest)
        .await?;
    scene.healed(&object, &manifest, "app").await?;
    scene.told("app", before, &object).await?;
    let about_it = scene.requests()?.about(&object.path(), mark);
    let all = about_objects(&scene, mark)?;
    ensure!(all.len() == about_it.len(), "asked for one drifted object: {all:#?}");
    ensure!(
        (2..=3).contains(&about_it.len()),
        "asked for one drifted object: {about_it:#?}"
    );

    // And then it is quiet again.
    let first = scene.reconciles("app").await?;
    let mark = scene.requests()?.mark();
    scene.wait_reconciles("app", first + 5).await?;
    let asked = about_objects(&scene, mark)?;
    ensure!(asked.is_empty(), "asked after a correction: {asked:#?}");
    Ok(())
}

/// How many dry runs there were of an object.
fn dry_runs(scene: &Scene, object: &Object, mark: usize) -> Result<usize> {
    let about = scene.requests()?.about(&object.path(), mark);
    Ok(about.iter().filter(|asked| asked.is_dry_run()).count())
}

async fn verified(scene: &Scene, every: usize) -> Result<()> {
    scene.publish_objects("main@sha1:1", &manifests()).await?;
    scene.kustomization("app", json!({ "interval": INTERVAL })).await?;
    let first = scene.wait_reconciles("app", 2).await?;
    let mark = scene.requests()?.mark();
    let last = scene.wait_reconciles("app", first + 8).await?;
    let expected = usize::try_from(last - first)? / every;
    for manifest in manifests() {
        let object = scene.object_of(&manifest)?;
        let found = dry_runs(scene, &object, mark)?;
        ensure!(
            found.abs_diff(expected) <= 1,
            "{}: {found} dry runs instead of {expected}",
            object.id()
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_nth_interval_verifies_all_objects() -> Result<()> {
    let builder = Scene::builder("quiet-second").counted().flag("--verify-every=2");
    verified(&builder.start().await?, 2).await
}

#[tokio::test]
async fn every_interval_can_be_made_to_verify_as_in_flux() -> Result<()> {
    let builder = Scene::builder("quiet-every").counted().flag("--verify-every=1");
    verified(&builder.start().await?, 1).await
}

/// Each object is dry-run once after this mark.
async fn all_verified(scene: &Scene, mark: usize, why: &str) -> Result<()> {
    for manifest in manifests() {
        let object = scene.object_of(&manifest)?;
        let found = dry_runs(scene, &object, mark)?;
        ensure!(found == 1, "{} was dry-run {found} times {why}", object.id());
    }
    Ok(())
}

#[tokio::test]
async fn a_request_a_change_of_the_spec_and_a_restart_verify_everything_once() -> Result<()> {
    use tests::controllers::Controller::Kustomize;
    let scene = Scene::builder("quiet-verify").counted().start().await?;
    scene.applied(&manifests()).await?;

    let mark = scene.requests()?.mark();
    scene.reconcile::<Kustomization>("app").await?;
    all_verified(&scene, mark, "on request").await?;

    let mark = scene.requests()?.mark();
    scene
        .patch::<Kustomization>("app", json!({ "spec": { "timeout": "2m" } }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let observed = |object: &Kustomization| {
        let observed = object.status.as_ref().and_then(|status| status.observed_generation);
        observed == object.metadata.generation
    };
    scene
        .wait::<Kustomization>("app", "have observed the spec", observed)
        .await?;
    all_verified(&scene, mark, "after a change of the spec").await?;

    let before = scene.reconciles("app").await?;
    scene.controllers.kill(Kustomize)?;
    let (changed, deleted) = (scene.object("v1", "ConfigMap", "a"), scene.object("v1", "Secret", "s"));
    changed
        .suffers(
            &Act::Merge(json!({ "data": { "k": "x" } })),
            "somebody",
            &config_map("a"),
        )
        .await?;
    deleted.suffers(&Act::Delete, "somebody", &secret("s")).await?;
    let mark = scene.requests()?.mark();
    scene.controllers.start_again(Kustomize).await?;
    scene.healed(&changed, &config_map("a"), "app").await?;
    scene.healed(&deleted, &secret("s"), "app").await?;
    scene.wait_reconciles("app", before + 1).await?;
    all_verified(&scene, mark, "after a restart").await
}

#[tokio::test]
async fn a_change_of_rights_verifies_what_is_applied_with_rights_of_an_account() -> Result<()> {
    // Rights of others would count too.
    let cluster = Cluster::own("quiet-rights").await?;
    let builder = Scene::builder("quiet-rights").counted().flag("--verify-every=1000");
    let scene = builder.on(&cluster).start().await?;
    let rules = "[{apiGroups: ['', apps], resources: ['*'], verbs: ['*']}]";
    scene.account("writer", rules).await?;
    scene.publish_objects("main@sha1:1", &manifests()).await?;
    // The API server's authorizer learns of the rights a moment later.
    let spec = json!({ "serviceAccountName": "writer", "interval": INTERVAL, "retryInterval": "1s" });
    scene.kustomization("app", spec).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let first = scene.wait_reconciles("app", 3).await?;
    let mark = scene.requests()?.mark();
    let last = scene.wait_reconciles("app", first + 3).await?;
    let asked = about_objects(&scene, mark)?;
    ensure!(asked.is_empty(), "asked without a change of rights: {asked:#?}");

    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "another" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer" },
        "subjects": [{ "kind": "ServiceAccount", "name": "writer", "namespace": scene.name() }],
    });
    let mark = scene.requests()?.mark();
    scene.apply_yaml(&binding.to_string()).await?;
    scene.wait_reconciles("app", last + 4).await?;
    all_verified(&scene, mark, "after a change of rights").await?;
    drop(scene);
    cluster.stop().await
}
