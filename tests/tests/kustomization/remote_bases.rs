//! Remote bases: fetched where that is allowed, looked at again at every run, and refused with words that say what to do.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tests::git_server::{Fault, GitServer};
use tests::namespace::condition;
use tests::repo::Repo;
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

/// A repository with a base in `base`.
fn base(git: &GitServer, value: &str) -> Result<Repo> {
    let repo = git.create("bases")?;
    repo.write("base/kustomization.yaml", "resources: [a.yaml]\n")?;
    repo.write("base/a.yaml", map("a", value))?;
    repo.commit("base")?;
    Ok(repo)
}

/// What is said when the build fails; the Kustomization has nothing applied then.
async fn refusal(scene: &Scene, repo: &Repo) -> Result<String> {
    let files = [(
        "kustomization.yaml",
        &*format!("resources: ['{}//base?ref=main']\n", repo.url()),
    )];
    scene.publish("main@sha1:1", &files).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let object = scene.says("app", "BuildFailed", "kustomize build failed: ").await?;
    assert!(object.status.as_ref().is_some_and(|status| status.inventory.is_none()));
    Ok(condition(&object, "Ready").context("not said")?.message)
}

#[tokio::test]
async fn a_remote_base_is_built_and_every_run_looks_at_it_again() -> Result<()> {
    let scene = Scene::start("remote-bases", &["--remote-bases-trust-host=127.0.0.1"]).await?;
    let repo = base(&scene.scenario.git, "1")?;
    let text = format!("namePrefix: my-\nresources: ['{}//base?ref=main']\n", repo.url());
    scene.publish("main@sha1:1", &[("kustomization.yaml", &text)]).await?;
    scene.kustomization("app", json!({})).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let value = |map: &ConfigMap| map.data.clone().and_then(|data| data.get("k").cloned());
    assert_eq!(value(&scene.get::<ConfigMap>("my-a").await?).as_deref(), Some("1"));

    // The artifact is the same, and so is everything in the cluster: only the other repository has moved.
    repo.write("base/a.yaml", map("a", "2"))?;
    repo.commit("changed")?;
    scene.request_reconcile::<Kustomization>("app").await?;
    scene
        .wait::<ConfigMap>("my-a", "hold what the remote base says now", |map| {
            value(map).as_deref() == Some("2")
        })
        .await?;
    let object = scene.says("app", SUCCEEDED, "Applied revision: main@sha1:1").await?;
    let inventory = object
        .status
        .and_then(|status| status.inventory)
        .context("no inventory")?;
    assert_eq!(inventory.entries.len(), 1);
    Ok(())
}

/// A server that never answers would hold a build for two minutes, longer than any wait of a test.
#[tokio::test]
async fn a_build_ends_with_its_time_and_when_something_else_is_wanted() -> Result<()> {
    let scene = Scene::start("remote-hangs", &["--remote-bases-trust-host=127.0.0.1"]).await?;
    let repo = base(&scene.scenario.git, "1")?;
    scene.scenario.git.set_fault("bases", Fault::Hang);
    let hanging = format!("resources: ['{}//base?ref=main&timeout=120s']\n", repo.url());
    let late = ("late/kustomization.yaml", &*hanging);
    let deleted = ("deleted/kustomization.yaml", &*hanging);
    let renewed = ("renewed/kustomization.yaml", &*hanging);
    scene.publish("main@sha1:1", &[late, deleted, renewed]).await?;
    // Half a minute is the shortest timeout.
    for (name, timeout) in [("late", "1s"), ("renewed", "1h"), ("deleted", "1h")] {
        let spec = json!({ "path": format!("./{name}"), "timeout": timeout, "retryInterval": "1h" });
        scene.kustomization(name, spec).await?;
    }
    wait::until("three builds to have asked", async || {
        Ok((scene.scenario.git.seen("bases").len() >= 3).then_some(()))
    })
    .await?;
    scene.delete::<Kustomization>("deleted").await?;
    scene.wait_gone::<Kustomization>("deleted").await?;
    let renewed = map("a", "1");
    scene
        .publish("main@sha1:2", &[late, deleted, ("renewed/a.yaml", &renewed)])
        .await?;
    scene
        .says("renewed", SUCCEEDED, "Applied revision: main@sha1:2")
        .await?;
    let ended = "kustomize build failed: it was not done after 30s: make it smaller, or spec.timeout longer";
    scene.says("late", "BuildFailed", ended).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_public_is_not_asked_unless_a_flag_says_so() -> Result<()> {
    let scene = Scene::start("remote-private", &[]).await?;
    let repo = base(&scene.scenario.git, "1")?;
    let said = refusal(&scene, &repo).await?;
    let reason = "host '127.0.0.1' has an address that is not public, which may not be asked: --remote-bases-trust-host allows it";
    assert!(said.contains(reason), "{said}");
    assert_eq!(scene.scenario.git.seen("bases"), []);
    Ok(())
}

#[tokio::test]
async fn only_hosts_of_the_list_are_asked() -> Result<()> {
    let flags = [
        "--remote-bases-allow-private-addresses",
        "--remote-bases-allow-host=*.example.com",
    ];
    let scene = Scene::start("remote-hosts", &flags).await?;
    let repo = base(&scene.scenario.git, "1")?;
    let said = refusal(&scene, &repo).await?;
    let reason = "host '127.0.0.1' is not among those that may be asked: --remote-bases-allow-host adds it";
    assert!(said.contains(reason), "{said}");
    assert_eq!(scene.scenario.git.seen("bases"), []);
    Ok(())
}

#[tokio::test]
async fn remote_bases_can_be_turned_off() -> Result<()> {
    let flags = ["--no-remote-bases=true", "--remote-bases-allow-private-addresses"];
    let scene = Scene::start("remote-off", &flags).await?;
    let repo = base(&scene.scenario.git, "1")?;
    let said = refusal(&scene, &repo).await?;
    assert!(said.contains("remote bases and files are turned off"), "{said}");
    assert!(said.contains(repo.url()), "{said}");
    assert_eq!(scene.scenario.git.seen("bases"), []);
    Ok(())
}
