//! Inputs decide work: a commit re-applies the Kustomizations whose files it touches and no others, whose status still
//! moves to the new revision; variables count as inputs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tests::namespace::condition;

use crate::scene::{Scene, probe};

/// The Kustomizations, each with a folder of its name and names that begin with its own.
const ALL: [&str; 5] = ["app", "beta", "plain", "files", "shared"];

/// The files of the source, some of them shared.
fn tree() -> BTreeMap<&'static str, String> {
    let map = |name: &str, value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: '{value}'}}\n")
    };
    let overlay = |name: &str| format!("namePrefix: {name}-\nresources: [../base, own.yaml]\n");
    BTreeMap::from([
        ("README.md", "one\n".to_owned()),
        ("base/kustomization.yaml", "resources: [map.yaml]\n".to_owned()),
        ("base/map.yaml", map("base", "1")),
        ("app/kustomization.yaml", overlay("app")),
        ("app/own.yaml", map("own", "1")),
        ("app/unlisted.yaml", map("unlisted", "1")),
        ("beta/kustomization.yaml", overlay("beta")),
        ("beta/own.yaml", map("own", "1")),
        // Everything in it is a resource.
        ("plain/one.yaml", map("plain-one", "1")),
        ("plain/deep/two.yaml", map("plain-two", "1")),
        (
            "files/kustomization.yaml",
            "generatorOptions: {disableNameSuffixHash: true}
configMapGenerator: [{name: files-map, files: [config.txt]}]
"
            .to_owned(),
        ),
        ("files/config.txt", "text: 1\n".to_owned()),
        (
            "shared/kustomization.yaml",
            "namePrefix: shared-\nresources: [../base]\ncomponents: [../part]\n".to_owned(),
        ),
        (
            "part/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches: [{path: patch.yaml, target: {kind: ConfigMap}}]
"
            .to_owned(),
        ),
        (
            "part/patch.yaml",
            "- {op: add, path: /data/part, value: '1'}\n".to_owned(),
        ),
    ])
}

async fn publish(scene: &Scene, revision: &str, tree: &BTreeMap<&'static str, String>) -> Result<()> {
    let files: Vec<_> = tree.iter().map(|(path, text)| (*path, text.as_str())).collect();
    scene.publish(revision, &files).await
}

/// What a commit does to a file, and what follows from it.
struct Commit {
    path: &'static str,
    /// The new content, or nothing when the file is removed.
    content: Option<String>,
    /// The Kustomizations that have work to do.
    touched: &'static [&'static str],
    /// The objects that change.
    changed: &'static [&'static str],
}

fn commit(
    path: &'static str,
    content: Option<String>,
    touched: &'static [&'static str],
    changed: &'static [&'static str],
) -> Commit {
    Commit {
        path,
        content,
        touched,
        changed,
    }
}

/// Waits until the Kustomization says that it has applied the revision.
async fn current(scene: &Scene, name: &str, revision: &str) -> Result<()> {
    let is_current = |object: &Kustomization| {
        let applied = object
            .status
            .as_ref()
            .and_then(|status| status.last_applied_revision.as_deref());
        let said = condition(object, "Ready")
            .is_some_and(|ready| ready.status == "True" && ready.message == format!("Applied revision: {revision}"));
        applied == Some(revision) && said
    };
    scene
        .wait::<Kustomization>(name, &format!("be at {revision}"), is_current)
        .await?;
    Ok(())
}

/// The Kustomizations about whose objects something was asked.
fn worked(scene: &Scene, mark: usize) -> Result<BTreeSet<&'static str>> {
    let asked = scene.requests()?.since(mark);
    let maps = format!("/namespaces/{}/configmaps/", scene.name());
    let named = asked
        .iter()
        .filter_map(|asked| asked.path.rsplit_once(&maps))
        .map(|(_, name)| name);
    Ok(named
        .filter_map(|name| ALL.into_iter().find(|owner| name.starts_with(&format!("{owner}-"))))
        .collect())
}

/// All resource versions of the ConfigMaps.
async fn versions(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let list = scene.api::<ConfigMap>().list(&kube::api::ListParams::default()).await?;
    let of = |map: ConfigMap| Some((map.metadata.name?, map.metadata.resource_version?));
    Ok(list.items.into_iter().filter_map(of).collect())
}

#[tokio::test]
async fn a_commit_reapplies_those_whose_files_it_touches_and_no_others() -> Result<()> {
    let scene = Scene::builder("inputs").counted().start().await?;
    let mut tree = tree();
    publish(&scene, "main@sha1:0", &tree).await?;
    for name in ALL {
        scene
            .kustomization(name, json!({ "path": format!("./{name}") }))
            .await?;
        current(&scene, name, "main@sha1:0").await?;
    }
    let map = |name: &str, value: &str| {
        Some(format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: '{value}'}}\n"
        ))
    };
    let text = |text: &str| Some(text.to_owned());
    let commits = [
        commit("README.md", text("two\n"), &[], &[]),
        commit("app/own.yaml", map("own", "2"), &["app"], &["app-own"]),
        commit(
            "base/map.yaml",
            map("base", "2"),
            &["app", "beta", "shared"],
            &["app-base", "beta-base", "shared-base"],
        ),
        commit("plain/one.yaml", map("plain-one", "2"), &["plain"], &["plain-one"]),
        commit(
            "plain/three.yaml",
            map("plain-three", "1"),
            &["plain"],
            &["plain-three"],
        ),
        commit(
            "plain/deep/four.yaml",
            map("plain-four", "1"),
            &["plain"],
            &["plain-four"],
        ),
        commit("plain/deep/two.yaml", None, &["plain"], &["plain-two"]),
        commit("files/config.txt", text("text: 2\n"), &["files"], &["files-map"]),
        commit(
            "part/patch.yaml",
            text("- {op: add, path: /data/part, value: '2'}\n"),
            &["shared"],
            &["shared-base"],
        ),
        commit("app/unlisted.yaml", map("unlisted", "2"), &[], &[]),
        commit("beta/own.yaml", map("own", "3"), &["beta"], &["beta-own"]),
        // A name that was looked for before and not found.
        commit(
            "plain/kustomization.yaml",
            text("resources: [one.yaml]\n"),
            &["plain"],
            &["plain-three", "plain-four"],
        ),
        commit(
            "plain/kustomization.yaml",
            None,
            &["plain"],
            &["plain-three", "plain-four"],
        ),
    ];
    for (number, commit) in commits.into_iter().enumerate() {
        let Commit {
            path,
            content,
            touched,
            changed,
        } = commit;
        match content {
            Some(content) => drop(tree.insert(path, content)),
            None => drop(tree.remove(path)),
        }
        let revision = format!("main@sha1:{}", number + 1);
        let (before, mark) = (versions(&scene).await?, scene.requests()?.mark());
        publish(&scene, &revision, &tree).await?;
        for name in ALL {
            current(&scene, name, &revision).await?;
        }
        let after = versions(&scene).await?;
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let differs = |name: &&&String| before.get(**name) != after.get(**name);
        let found: BTreeSet<&str> = names.iter().filter(differs).map(|name| name.as_str()).collect();
        let expected: BTreeSet<&str> = changed.iter().copied().collect();
        ensure!(found == expected, "{path}: {found:?} changed instead of {expected:?}");
        let worked = worked(&scene, mark)?;
        let expected: BTreeSet<&str> = touched.iter().copied().collect();
        ensure!(
            worked == expected,
            "{path}: {worked:?} were worked on instead of {expected:?}"
        );
    }
    Ok(())
}

/// A commit that touches nothing is no reason to overlook drift.
#[tokio::test]
async fn drift_is_put_right_after_revisions_that_changed_nothing() -> Result<()> {
    let scene = Scene::start("inputs-drift").await?;
    let manifest = probe("probe-0").to_string();
    for revision in 1..=3 {
        let revision = format!("main@sha1:{revision}");
        scene
            .publish(&revision, &[("app/p.yaml", &manifest), ("README.md", &revision)])
            .await?;
        if revision.ends_with(":1") {
            scene.kustomization("app", json!({ "path": "./app" })).await?;
        }
        current(&scene, "app", &revision).await?;
    }
    scene.noticed("probe-0", "app").await?;
    let changes = scene.status("app").await?.changes;
    let revisions: Vec<_> = changes.iter().map(|change| change.revision.as_str()).collect();
    assert_eq!(revisions, ["main@sha1:1", "main@sha1:3"]);
    Ok(())
}

/// A revision that brings back what an older one had is applied.
#[tokio::test]
async fn a_revert_is_applied() -> Result<()> {
    let scene = Scene::start("inputs-revert").await?;
    for (number, value) in ["a", "b", "a"].into_iter().enumerate() {
        let revision = format!("main@sha1:{number}");
        scene
            .publish_objects(&revision, &[crate::manifests::map("m", json!({ "k": value }))])
            .await?;
        if number == 0 {
            scene.kustomization("app", json!({})).await?;
        }
        current(&scene, "app", &revision).await?;
        let data = scene.get::<ConfigMap>("m").await?.data.context("no data")?;
        assert_eq!(data["k"], value);
    }
    Ok(())
}

#[tokio::test]
async fn a_variable_that_changes_is_noticed_at_the_interval() -> Result<()> {
    let scene = Scene::start("inputs-variable").await?;
    scene.config_map("vars", &[("value", "one")]).await?;
    scene.secret("secrets", &[("word", "blue")]).await?;
    let file = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {k: '${value} ${word}'}\n";
    scene.publish("main@sha1:1", &[("m.yaml", file)]).await?;
    let from = json!([{ "kind": "ConfigMap", "name": "vars" }, { "kind": "Secret", "name": "secrets" }]);
    scene
        .kustomization(
            "app",
            json!({ "interval": "1s", "postBuild": { "substituteFrom": from } }),
        )
        .await?;
    let says = async |text: &str| {
        let is_said = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["k"] == text);
        scene.wait::<ConfigMap>("m", &format!("say {text}"), is_said).await
    };
    says("one blue").await?;
    // Not labelled to be watched.
    scene.config_map("vars", &[("value", "two")]).await?;
    says("two blue").await?;
    scene.secret("secrets", &[("word", "red")]).await?;
    says("two red").await?;
    Ok(())
}

#[tokio::test]
async fn a_changed_spec_is_applied_though_the_files_are_the_same() -> Result<()> {
    let scene = Scene::start("inputs-spec").await?;
    let file = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {k: '${value:=none}'}\n";
    scene
        .publish(
            "main@sha1:1",
            &[("a/m.yaml", file), ("b/m.yaml", &file.replace("${value:=none}", "b"))],
        )
        .await?;
    scene.kustomization("app", json!({ "path": "./a" })).await?;
    let specs = [
        (json!({ "postBuild": { "substitute": { "value": "one" } } }), "one"),
        (json!({ "postBuild": { "substitute": { "value": "two" } } }), "two"),
        (json!({ "path": "./b" }), "b"),
        (
            json!({ "patches": [{ "patch": "- {op: replace, path: /data/k, value: patched}", "target": { "kind": "ConfigMap" } }] }),
            "patched",
        ),
    ];
    for (spec, expected) in specs {
        scene.patch::<Kustomization>("app", json!({ "spec": spec })).await?;
        let is_said = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["k"] == expected);
        scene
            .wait::<ConfigMap>("m", &format!("say {expected}"), is_said)
            .await?;
    }
    Ok(())
}
