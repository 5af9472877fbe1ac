//! Nobody waits for others: a Kustomization that takes long does not keep small ones from being applied.

use anyhow::{Result, ensure};
use api::kustomize::Kustomization;
use serde_json::json;

use crate::manifests::config_map;
use crate::scene::Scene;

const OBJECTS: usize = 300;
const SMALL: usize = 30;

#[tokio::test]
async fn small_kustomizations_are_applied_while_a_large_one_is_at_work() -> Result<()> {
    let scene = Scene::builder("fair").counted().flag("--concurrent=1").start().await?;
    let large: Vec<_> = (0..OBJECTS)
        .map(|number| config_map(&format!("large-{number}")).to_string())
        .collect();
    let (large, small) = (large.join("\n---\n"), config_map("map").to_string());
    scene
        .publish("main@sha1:1", &[("large/all.yaml", &large), ("small/all.yaml", &small)])
        .await?;
    // The large one has begun, and none of its objects gets an answer.
    scene.requests()?.hold("/configmaps/large-");
    scene.kustomization("large", json!({ "path": "./large" })).await?;
    tests::wait::until("the large one to be applied", async || {
        let begun = |asked: &crate::requests::Asked| asked.path.contains("/configmaps/large-");
        Ok(scene.requests()?.since(0).iter().any(begun).then_some(()))
    })
    .await?;
    for number in 0..SMALL {
        let spec = json!({ "path": "./small", "namePrefix": format!("small-{number}-") });
        scene.kustomization(&format!("small-{number}"), spec).await?;
    }
    for number in 0..SMALL {
        scene.wait_ready::<Kustomization>(&format!("small-{number}")).await?;
    }
    let names = scene.names::<k8s_openapi::api::core::v1::ConfigMap>().await?;
    ensure!(!names.iter().any(|name| name.starts_with("large-")), "{names:?}");
    scene.requests()?.release();
    scene.wait_ready::<Kustomization>("large").await?;
    Ok(())
}
