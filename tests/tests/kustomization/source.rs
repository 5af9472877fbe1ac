//! `spec.sourceRef` and `spec.path`: sources that are missing, artifacts that cannot be had, and servers of artifacts
//! that mean harm.

use std::fs;

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use api::source::GitRepository;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tests::artifact_server::{ArtifactServer, Content, TarGz, digest, tar_gz};
use tests::controllers::Controller;
use tests::namespace::condition;
use tests::published::SOURCE;
use tests::scenario::Scenario;
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

fn of_source(name: &str) -> Value {
    json!({ "retryInterval": "1h", "namePrefix": format!("{name}-"), "sourceRef": { "kind": "GitRepository", "name": name } })
}

#[tokio::test]
async fn a_missing_source_and_one_without_artifact_are_waited_for() -> Result<()> {
    let scene = Scene::start("source-missing", &["--requeue-dependency=1h"]).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let missing = "GitRepository.source.toolkit.fluxcd.io \"repo\" not found";
    let object = scene.says("app", "ArtifactFailed", missing).await?;
    assert_eq!(
        condition(&object, "Ready").map(|ready| ready.message).as_deref(),
        Some(missing)
    );
    assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.message), None);

    scene
        .apply_yaml(
            "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: repo}
spec: {url: 'https://example.test/repo.git', interval: 1h}
",
        )
        .await?;
    scene.reconcile::<Kustomization>("app").await?;
    scene
        .says("app", "ArtifactFailed", "Source artifact not found, retrying in 1h0m0s")
        .await?;
    // The artifact wakes whoever waits for it.
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:1").await?;

    // Without its source nothing is pruned and the state is told when somebody asks.
    scene.delete::<GitRepository>(SOURCE).await?;
    scene.wait_gone::<GitRepository>(SOURCE).await?;
    let object = scene.reconcile::<Kustomization>("app").await?;
    assert_eq!(
        condition(&object, "Ready").map(|ready| ready.message).as_deref(),
        Some(missing)
    );
    let status = object.status.context("no status")?;
    assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.inventory.map(|inventory| inventory.entries.len()), Some(1));
    scene.get::<ConfigMap>("a").await?;
    let told = scene.events::<Kustomization>("app").await?;
    assert!(
        told.iter().all(|event| event.type_.as_deref() == Some("Normal")),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_artifact_that_is_not_served_is_asked_for_again() -> Result<()> {
    let scene = Scene::start("source-gone", &["--requeue-dependency=1s"]).await?;
    let bytes = tar_gz(&[("a.yaml", map("a", "1").as_bytes())])?;
    scene.offer(SOURCE, "main@sha1:1", "/a.tar.gz", &digest(&bytes)).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let gone = "Source is not ready, artifact not found, retrying in 1s";
    let object = scene.says("app", "ArtifactFailed", gone).await?;
    let reconciling = condition(&object, "Reconciling").context("no Reconciling condition")?;
    assert_eq!(reconciling.reason, "ProgressingWithRetry");
    assert_eq!(
        reconciling.message,
        "Fetching manifests for revision main@sha1:1 with a timeout of 59m30s"
    );
    assert_eq!(object.status.and_then(|status| status.last_attempted_revision), None);
    assert!(scene.events::<Kustomization>("app").await?.is_empty());
    scene.server.serve("/a.tar.gz", Content::Bytes(bytes));
    scene.wait_ready::<Kustomization>("app").await?;
    Ok(())
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_again_without_failing() -> Result<()> {
    let scene = Scene::start("source-trouble", &["--http-retry=3"]).await?;
    let bytes = tar_gz(&[("a.yaml", map("a", "1").as_bytes())])?;
    scene.server.serve("/a.tar.gz", Content::Status(503));
    scene.offer(SOURCE, "main@sha1:1", "/a.tar.gz", &digest(&bytes)).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    wait::until("the first download", async || {
        Ok((!scene.server.asked().is_empty()).then_some(()))
    })
    .await?;
    scene.server.serve("/a.tar.gz", Content::Bytes(bytes));
    scene.wait_ready::<Kustomization>("app").await?;
    assert_eq!(scene.server.asked(), ["/a.tar.gz", "/a.tar.gz"]);
    let told = scene.events::<Kustomization>("app").await?;
    assert!(
        told.iter().all(|event| event.type_.as_deref() == Some("Normal")),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_new_artifact_ends_the_pause_after_a_failed_download() -> Result<()> {
    let scene = Scene::start("source-newer", &[]).await?;
    scene.server.serve("/bad.tar.gz", Content::Status(503));
    scene.offer(SOURCE, "main@sha1:1", "/bad.tar.gz", &digest(b"")).await?;
    scene.kustomization("app", json!({})).await?;
    wait::until("the first download", async || {
        Ok((!scene.server.asked().is_empty()).then_some(()))
    })
    .await?;
    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "1"))]).await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    // The old artifact was not asked for a second time: that would have been after the pause.
    let old = scene
        .server
        .asked()
        .iter()
        .filter(|path| *path == "/bad.tar.gz")
        .count();
    assert_eq!(old, 1);
    Ok(())
}

#[tokio::test]
async fn one_download_serves_all_that_use_an_artifact() -> Result<()> {
    let scene = Scene::start("source-shared", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    for name in ["one", "two", "three"] {
        scene
            .kustomization(name, json!({ "namePrefix": format!("{name}-") }))
            .await?;
    }
    for name in ["one", "two", "three"] {
        scene.wait_ready::<Kustomization>(name).await?;
    }
    scene.reconcile::<Kustomization>("one").await?;
    assert_eq!(scene.server.asked().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_hostile_server_of_artifacts_harms_nobody() -> Result<()> {
    let flags = [
        "--http-retry=0",
        "--max-artifact-size=4000000",
        "--max-artifact-unpacked-size=1000000",
    ];
    let scene = Scene::start("source-hostile", &flags).await?;
    let good = map("a", "1");
    let build = |fill: &dyn Fn(&mut TarGz) -> Result<()>| -> Result<Vec<u8>> {
        let mut archive = TarGz::new();
        archive.file("a.yaml", good.as_bytes())?;
        fill(&mut archive)?;
        archive.finish()
    };
    let bomb = build(&|archive| archive.zeros("big.yaml", 1 << 24))?;
    assert!(bomb.len() < 200_000);
    let up = build(&|archive| archive.file("../../escaped.yaml", good.as_bytes()))?;
    let absolute = build(&|archive| archive.file("/tmp/escaped.yaml", good.as_bytes()))?;
    let hard = build(&|archive| archive.link("hard.yaml", "/etc/passwd", tar::EntryType::Link))?;
    let device = build(&|archive| archive.link("device", "", tar::EntryType::Char))?;
    let many = build(&|archive| {
        for number in 0..2000 {
            archive.zeros(&format!("many/{number}.txt"), 1000)?;
        }
        Ok(())
    })?;
    let plain = tar_gz(&[("a.yaml", good.as_bytes())])?;
    let cut = Content::Cut(plain.clone(), 20);
    let extract = "failed to extract archive (check whether file size exceeds max download size): ";
    let cases: Vec<(&str, Content, String, String)> = vec![
        (
            "bomb",
            Content::Bytes(bomb.clone()),
            digest(&bomb),
            format!("{extract}tar is bigger than the max archive size of 1000000 bytes"),
        ),
        (
            "many",
            Content::Bytes(many.clone()),
            digest(&many),
            format!("{extract}tar is bigger than the max archive size of 1000000 bytes"),
        ),
        (
            "up",
            Content::Bytes(up.clone()),
            digest(&up),
            format!("{extract}tar contained invalid name error \"../../escaped.yaml\""),
        ),
        (
            "absolute",
            Content::Bytes(absolute.clone()),
            digest(&absolute),
            format!("{extract}tar contained invalid name error \"/tmp/escaped.yaml\""),
        ),
        (
            "hard",
            Content::Bytes(hard.clone()),
            digest(&hard),
            format!("{extract}tar file entry hard.yaml contained unsupported file type"),
        ),
        (
            "device",
            Content::Bytes(device.clone()),
            digest(&device),
            format!("{extract}tar file entry device contained unsupported file type"),
        ),
        (
            "garbage",
            Content::Bytes(b"<html>".to_vec()),
            digest(b"<html>"),
            format!("{extract}requires gzip-compressed body"),
        ),
        (
            "other",
            Content::Bytes(plain.clone()),
            digest(b"other"),
            format!(
                "failed to verify archive: computed digest doesn't match provided '{}' (check whether file size exceeds max download size)",
                digest(b"other")
            ),
        ),
        ("cut", cut, digest(&plain), "failed to download archive: ".to_owned()),
        (
            "endless",
            Content::Endless,
            digest(b""),
            "failed to download archive: it is larger than 4000000 bytes".to_owned(),
        ),
        (
            "teapot",
            Content::Status(418),
            digest(b""),
            "failed to download archive from ".to_owned(),
        ),
        (
            "broken",
            Content::Status(500),
            digest(b""),
            "failed to download archive from ".to_owned(),
        ),
        (
            "algorithm",
            Content::Bytes(plain.clone()),
            "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            "failed to verify archive: ".to_owned(),
        ),
    ];
    for (name, content, digest, _) in &cases {
        let path = format!("/{name}.tar.gz");
        scene.server.serve(&path, content.clone());
        scene.offer(name, "main@sha1:1", &path, digest).await?;
        scene.kustomization(name, of_source(name)).await?;
    }
    // What is skipped silently, as in Flux: symbolic links, wherever they lead.
    let links = build(&|archive| archive.link("link.yaml", "/etc/passwd", tar::EntryType::Symlink))?;
    scene.server.serve("/links.tar.gz", Content::Bytes(links.clone()));
    scene
        .offer("links", "main@sha1:1", "/links.tar.gz", &digest(&links))
        .await?;
    scene.kustomization("links", of_source("links")).await?;

    for (name, _, _, text) in &cases {
        let object = scene.says(name, "ArtifactFailed", text).await?;
        let status = object.status.context("no status")?;
        assert!(
            status.last_attempted_revision.is_none() && status.history.is_empty(),
            "{name}"
        );
        let event = scene.wait_event::<Kustomization>(name, "ArtifactFailed").await?;
        assert_eq!(event.type_.as_deref(), Some("Warning"), "{name}");
    }
    scene.wait_ready::<Kustomization>("links").await?;
    let mut maps = scene.names::<ConfigMap>().await?;
    maps.sort();
    assert_eq!(maps, ["kube-root-ca.crt", "links-a"]);

    // Of all of that one tree is left on the disk, and nothing beside it.
    let temporary = scene.scenario.controllers.temporary(Controller::Kustomize);
    let mut files = Vec::new();
    let mut left = vec![temporary.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push(
                    path.file_name()
                        .context("a file has a name")?
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    files.retain(|name| name != "lock");
    assert_eq!(files, ["a.yaml"]);
    Ok(())
}

#[tokio::test]
async fn a_path_stays_in_the_artifact_and_must_exist() -> Result<()> {
    let scene = Scene::start("source-path", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("deploy/a.yaml", &map("a", "1")),
                ("kustomization.yaml", "resources: [deploy]\n"),
            ],
        )
        .await?;
    let at = |path: &str, prefix: &str| json!({ "path": path, "namePrefix": prefix, "retryInterval": "1h" });
    scene
        .kustomization("missing", at("./nowhere/at/all", "missing-"))
        .await?;
    scene.kustomization("file", at("./deploy/a.yaml", "file-")).await?;
    scene.kustomization("out", at("../../../../deploy", "out-")).await?;
    scene.kustomization("absolute", at("/deploy/", "absolute-")).await?;
    let missing = "kustomization path not found: stat nowhere/at/all: no such file or directory";
    let object = scene.says("missing", "ArtifactFailed", missing).await?;
    assert_eq!(object.status.and_then(|status| status.last_attempted_revision), None);
    let event = scene.wait_event::<Kustomization>("missing", "ArtifactFailed").await?;
    assert_eq!(
        (event.type_.as_deref(), event.message.as_deref()),
        (Some("Warning"), Some(missing))
    );
    let file = scene.says("file", "BuildFailed", "deploy/a.yaml").await?;
    assert_eq!(
        file.status.and_then(|status| status.last_attempted_revision).as_deref(),
        Some("main@sha1:1")
    );
    for name in ["out", "absolute"] {
        scene.wait_ready::<Kustomization>(name).await?;
        scene.get::<ConfigMap>(&format!("{name}-a")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn another_artifact_of_the_same_revision_is_applied_too() -> Result<()> {
    let scene = Scene::start("source-digest", &[]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("app", json!({})).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "2"))]).await?;
    let holds = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["k"] == "2");
    scene.wait::<ConfigMap>("a", "be as in the new artifact", holds).await?;
    Ok(())
}

#[tokio::test]
async fn sources_of_other_namespaces_serve_where_nothing_forbids_it() -> Result<()> {
    let builder = Scenario::builder("source-across")
        .only(&[Controller::Kustomize])
        .all_namespaces();
    let scene = Scene {
        scenario: builder.start().await?,
        server: ArtifactServer::start()?,
    };
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    scene.kustomization("base", json!({ "namePrefix": "base-" })).await?;
    let other = scene.scenario.cluster.namespace("source-user").await?;
    let app = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app}
spec:
  interval: 1h
  prune: true
  targetNamespace: <other>
  sourceRef: {kind: GitRepository, name: repo, namespace: <ns>}
  dependsOn: [{name: base, namespace: <ns>}]
";
    other
        .apply_yaml(&scene.text(&app.replace("<other>", other.name())))
        .await?;
    other.wait_ready::<Kustomization>("app").await?;
    other.get::<ConfigMap>("a").await?;
    scene.publish("main@sha1:2", &[("a.yaml", &map("a", "2"))]).await?;
    let holds = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["k"] == "2");
    other.wait::<ConfigMap>("a", "be of the new revision", holds).await?;
    Ok(())
}

#[tokio::test]
async fn sources_of_other_namespaces_can_be_forbidden() -> Result<()> {
    let scene = Scene::start("source-foreign", &["--no-cross-namespace-refs"]).await?;
    scene.publish("main@sha1:1", &[("a.yaml", &map("a", "1"))]).await?;
    let reference =
        |namespace: &str| json!({ "sourceRef": { "kind": "GitRepository", "name": "repo", "namespace": namespace } });
    scene.kustomization("own", reference("<ns>")).await?;
    scene.kustomization("foreign", reference("somewhere-else")).await?;
    let text = "can't access 'GitRepository/somewhere-else/repo', cross-namespace references have been blocked";
    let object = scene.says("foreign", "AccessDenied", text).await?;
    let stalled = condition(&object, "Stalled").context("no Stalled condition")?;
    assert_eq!(
        (
            stalled.status.as_str(),
            stalled.reason.as_str(),
            stalled.message.as_str()
        ),
        ("True", "AccessDenied", text)
    );
    assert_eq!(
        condition(&object, "Reconciling").map(|condition| condition.reason),
        None
    );
    assert_eq!(object.status.and_then(|status| status.observed_generation), Some(-1));
    let event = scene.wait_event::<Kustomization>("foreign", "AccessDenied").await?;
    assert_eq!(
        (event.type_.as_deref(), event.message.as_deref()),
        (Some("Warning"), Some(text))
    );
    assert_eq!(event.metadata.annotations, None);
    scene.wait_ready::<Kustomization>("own").await?;
    // A better reference is taken up at once.
    let mut own = reference("<ns>");
    own["namePrefix"] = "foreign-".into();
    scene.kustomization("foreign", own).await?;
    let object = scene.wait_ready::<Kustomization>("foreign").await?;
    assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.message), None);

    let external = json!({ "sourceRef": { "kind": "ExternalArtifact", "name": "repo" } });
    scene.kustomization("external", external).await?;
    let text = "can't access 'ExternalArtifact/<ns>/repo', ExternalArtifact feature gate is disabled";
    scene.says("external", "AccessDenied", text).await?;
    Ok(())
}
