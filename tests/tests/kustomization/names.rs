//! Names in a spec that could be taken for something else in a path: they lead to no other object.

use crate::scene::{Scene, map};
use anyhow::Result;
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

#[tokio::test]
async fn a_reference_is_to_the_object_of_that_name_and_no_other() -> Result<()> {
    let scene = Scene::start("names", &[]).await?;
    scene.config_map("vars", &[("v", "1")]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[("base/a.yaml", &map("a", "1")), ("vars/b.yaml", &map("b", "${v}"))],
        )
        .await?;
    scene.kustomization("base", json!({ "path": "./base" })).await?;
    scene.wait_ready::<Kustomization>("base").await?;

    let checks = json!([
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "a?x=y", "namespace": "<ns>" },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "../configmaps/a", "namespace": "<ns>" },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": "<ns>/configmaps/a?" },
    ]);
    let checks = json!({ "path": "./base", "namePrefix": "checked-", "healthChecks": checks, "timeout": "1s" });
    scene.kustomization("checks", checks).await?;

    for (index, name) in [
        "base?x=y",
        "base#x",
        "base/status",
        "../kustomizations/base",
        "%62ase",
        "..",
    ]
    .into_iter()
    .enumerate()
    {
        let dependent = format!("depends-{index}");
        let spec = json!({ "path": "./base", "dependsOn": [{ "name": name }] });
        scene.kustomization(&dependent, spec).await?;
        let text = format!(
            "dependency '<ns>/{name}' not found: kustomizations.kustomize.toolkit.fluxcd.io {name:?} not found"
        );
        scene.says(&dependent, "DependencyNotReady", &text).await?;
    }

    for (index, (name, said)) in [
        ("vars?x=y", "configmaps \"vars?x=y\" not found"),
        ("vars#x", "configmaps \"vars#x\" not found"),
        (
            "../configmaps/vars",
            "invalid resource name \"../configmaps/vars\": [may not contain '/']",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let variables = format!("variables-{index}");
        let from = json!({ "substituteFrom": [{ "kind": "ConfigMap", "name": name }] });
        let spec = json!({ "path": "./vars", "postBuild": from });
        scene.kustomization(&variables, spec).await?;
        let text = format!("substitute from 'ConfigMap/{name}' error: {said}");
        scene.says(&variables, "BuildFailed", &text).await?;
    }

    let accounts = [
        "a:b",
        "a/token",
        "a\nimpersonate-group: system:masters",
        "system:masters",
        " ",
    ];
    for (index, name) in accounts.into_iter().enumerate() {
        let acting = format!("acting-{index}");
        let spec = json!({ "path": "./base", "namePrefix": "acting-", "serviceAccountName": name });
        scene.kustomization(&acting, spec).await?;
        let text = format!("cannot impersonate service account {name:?}: its name may only have");
        scene.says(&acting, "ReconciliationFailed", &text).await?;
    }
    assert!(scene.find::<ConfigMap>("acting-a").await?.is_none());

    let text = "timeout waiting for: [ConfigMap/<ns>/a?x=y status: 'NotFound', \
        ConfigMap/<ns>/../configmaps/a status: 'Unknown': invalid resource name \"../configmaps/a\": [may not contain '/'], \
        ConfigMap/<ns>/configmaps/a?/x status: 'Unknown': invalid namespace \"<ns>/configmaps/a?\": [may not contain '/']]";
    scene.says("checks", "HealthCheckFailed", text).await?;
    Ok(())
}

#[tokio::test]
async fn a_kustomization_whose_account_cannot_exist_can_be_deleted() -> Result<()> {
    let scene = Scene::start("names-deleted", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("app", json!({})).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let spec = json!({ "spec": { "serviceAccountName": "a/token" } });
    scene.patch::<Kustomization>("app", spec).await?;
    scene.says("app", "ReconciliationFailed", "cannot impersonate").await?;
    scene.delete::<Kustomization>("app").await?;
    scene.wait_gone::<Kustomization>("app").await?;
    // As with an account that is gone: nobody's rights allow the deletion.
    assert!(scene.find::<ConfigMap>("a").await?.is_some());
    Ok(())
}
