//! Manifests that cannot be built or that the API server refuses: what is said, and that nothing is lost or half done.

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tests::artifact_server::{Content, TarGz, digest};
use tests::namespace::condition;
use tests::published::SOURCE;
use tests::wait;

const SUCCEEDED: &str = "ReconciliationSucceeded";

/// A Kustomization of a folder of the same name.
fn folder(name: &str) -> Value {
    json!({ "path": format!("./{name}"), "retryInterval": "1h", "namePrefix": format!("{name}-") })
}

fn message(object: &Kustomization, type_: &str) -> Option<String> {
    condition(object, type_).map(|condition| condition.message)
}

fn inventory(object: &Kustomization) -> Option<Vec<String>> {
    let entries = &object.status.as_ref()?.inventory.as_ref()?.entries;
    Some(entries.iter().map(|entry| entry.id.clone()).collect())
}

#[tokio::test]
async fn what_cannot_be_built_is_named_by_file_and_line() -> Result<()> {
    let scene = Scene::start("build-errors", &[]).await?;
    let (a, b) = (map("a", "1"), map("b", "1"));
    let with_a = |more: &str| format!("resources: [a.yaml]\n{more}");
    scene
        .publish(
            "main@sha1:1",
            &[
                ("yaml/a.yaml", &a),
                ("yaml/deep/bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bad\ndata: [\n"),
                ("tabs/bad.yml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: bad\n"),
                ("listed/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n bad: indent\n"),
                ("listed/kustomization.yaml", &with_a("")),
                ("twice/a.yaml", &a),
                ("twice/b.yaml", &a),
                ("foreign/values.yaml", "replicas: 1\n"),
                ("nowhere/kustomization.yaml", "resources: [nope.yaml]\n"),
                ("outside/kustomization.yaml", "resources: [../../../../../../etc/hostname]\n"),
                ("remote/kustomization.yaml", "resources: ['http://127.0.0.1:9/base/x?ref=v1']\n"),
                ("two/a.yaml", &a),
                ("two/kustomization.yaml", &with_a("")),
                ("two/kustomization.yml", &with_a("")),
                ("base/a.yaml", &a),
                ("base/kustomization.yaml", &with_a("nonsense: true\n")),
                ("typo/kustomization.yaml", "resources: [../base]\n"),
                ("helm/a.yaml", &a),
                ("helm/kustomization.yaml", &with_a("helmCharts: [{name: x, repo: 'https://example.test', version: '1'}]\n")),
                ("cycle/kustomization.yaml", "resources: [inner]\n"),
                ("cycle/inner/kustomization.yaml", "resources: [..]\n"),
                ("patch/a.yaml", &a),
                ("patch/kustomization.yaml", &with_a("patches: [{target: {kind: ConfigMap}, patch: '[{\"op\": \"replace\", \"path\": \"/nope/nope\", \"value\": 1}]'}]\n")),
                ("good/b.yaml", &b),
            ],
        )
        .await?;
    let cases: [(&str, &[&str]); 13] = [
        (
            "yaml",
            &[
                "failed to decode Kubernetes YAML from yaml/deep/bad.yaml: ",
                "(at line 6, ",
            ],
        ),
        (
            "tabs",
            &["failed to decode Kubernetes YAML from tabs/bad.yml: ", "(at line 4, "],
        ),
        ("listed", &["kustomize build failed: ", "a.yaml", "line "]),
        (
            "twice",
            &[
                "kustomize build failed: ",
                "b.yaml",
                "may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]",
            ],
        ),
        (
            "foreign",
            &["failed to decode Kubernetes YAML from foreign/values.yaml: missing Resource metadata"],
        ),
        (
            "nowhere",
            &[
                "kustomize build failed: accumulating resources: ",
                "'nowhere/nope.yaml' doesn't exist",
            ],
        ),
        (
            "outside",
            &["kustomize build failed: accumulating resources: ", "etc/hostname"],
        ),
        (
            "remote",
            &[
                "kustomize build failed: accumulating resources: ",
                "http://127.0.0.1:9/base/x?ref=v1",
            ],
        ),
        (
            "two",
            &["kustomize build failed: ", "Found multiple kustomization files under: "],
        ),
        (
            "typo",
            &[
                "kustomize build failed: ",
                "base",
                "invalid Kustomization: ",
                "nonsense",
            ],
        ),
        ("helm", &["kustomize build failed: ", "helm"]),
        ("cycle", &["kustomize build failed: ", "cycle"]),
        ("patch", &["kustomize build failed: ", "/nope/nope"]),
    ];
    for (name, _) in &cases {
        scene.kustomization(name, folder(name)).await?;
    }
    scene.kustomization("good", folder("good")).await?;
    for (name, parts) in &cases {
        let object = scene.says(name, "BuildFailed", parts[0]).await?;
        let said = message(&object, "Ready").unwrap_or_default();
        for part in *parts {
            assert!(said.contains(part), "{name}: {said:?} does not hold {part:?}");
        }
        // Where the controller keeps its files is nobody's business and would change with every run.
        assert!(
            !said.contains("kustomization-") && !said.contains("/tmp"),
            "{name}: {said}"
        );
        assert!(
            !said.contains(&scene.scenario.dir.path().display().to_string()),
            "{name}: {said}"
        );
        let reconciling = condition(&object, "Reconciling").context("no Reconciling condition")?;
        assert_eq!(reconciling.reason, "ProgressingWithRetry", "{name}");
        assert_eq!(
            reconciling.message, "Building manifests for revision main@sha1:1 with a timeout of 59m30s",
            "{name}"
        );
        let status = object.status.context("no status")?;
        assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:1"), "{name}");
        assert!(status.inventory.is_none() && status.history.is_empty(), "{name}");
        assert_eq!(status.observed_generation, Some(-1), "{name}");
        let event = scene.wait_event::<Kustomization>(name, "BuildFailed").await?;
        assert_eq!(
            (event.type_.as_deref(), event.message),
            (Some("Warning"), Some(said)),
            "{name}"
        );
    }
    scene.wait_ready::<Kustomization>("good").await?;
    let mut maps = scene.names::<ConfigMap>().await?;
    maps.sort();
    assert_eq!(maps, ["good-b", "kube-root-ca.crt"]);
    Ok(())
}

#[tokio::test]
async fn the_line_of_a_mistake_is_counted_in_its_file() -> Result<()> {
    let scene = Scene::start("build-line", &[]).await?;
    let text = format!(
        "{}---\n{}---\n{}",
        map("a", "1"),
        map("b", "1"),
        "kind: ConfigMap\nmetadata: {name: c\ndata: {}\n"
    );
    scene.publish("main@sha1:1", &[("all.yaml", &text)]).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let object = scene
        .says("app", "BuildFailed", "failed to decode Kubernetes YAML from all.yaml: ")
        .await?;
    let said = message(&object, "Ready").unwrap_or_default();
    // Two documents of four lines with their separators, then one that goes wrong in its third line.
    assert!(said.contains("(at line 13, column "), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_field_is_placed_in_the_file_as_it_was_written_or_named_as_one_of_the_spec() -> Result<()> {
    let scene = Scene::start("build-whose", &[]).await?;
    let a = map("a", "1");
    let patch = |path: &str| format!("[{{\"op\": \"replace\", \"path\": \"/{path}\", \"value\": \"2\"}}]");
    let entry = |path: &str| {
        format!(
            "  # a patch\n  - target: {{kind: ConfigMap}}\n    patch: '{}'\n",
            patch(path)
        )
    };
    let patches = |paths: [&str; 3]| {
        let entries: String = paths.into_iter().map(entry).collect();
        format!("# written by hand\nresources:\n  - a.yaml\npatches:\n{entries}")
    };
    scene
        .publish(
            "main@sha1:1",
            &[
                ("theirs/a.yaml", &a),
                ("theirs/kustomization.yaml", &patches(["data/k", "nope/nope", "data/k"])),
                ("ours/a.yaml", &a),
                ("ours/kustomization.yaml", &patches(["data/k"; 3])),
                ("component/a.yaml", &a),
            ],
        )
        .await?;
    let with = |name: &str, more: Value| {
        let mut spec = folder(name);
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        spec
    };
    let given = |path: &str| json!({ "patches": [{ "patch": patch(path), "target": { "kind": "ConfigMap" } }] });
    scene.kustomization("theirs", with("theirs", given("data/k"))).await?;
    scene.kustomization("ours", with("ours", given("nope/nope"))).await?;
    let component = with("component", json!({ "components": ["../component/gone"] }));
    scene.kustomization("component", component).await?;
    let changed = "; ConfigMap.v1.[noGrp]/a.[noNs] is from";
    let cases = [
        (
            "theirs",
            format!(
                " (at theirs/kustomization.yaml:9:5, patches[1]){changed} theirs/a.yaml:1, changed by theirs/kustomization.yaml patches[0]"
            ),
        ),
        (
            "ours",
            format!(" (at spec.patches[0]){changed} ours/a.yaml:1, changed by ours/kustomization.yaml patches[0]"),
        ),
        ("component", " (at spec.components[0])".to_owned()),
    ];
    for (name, end) in cases {
        let object = scene.says(name, "BuildFailed", "kustomize build failed: ").await?;
        let said = message(&object, "Ready").unwrap_or_default();
        assert!(said.ends_with(&end), "{name}: {said:?} does not end in {end:?}");
    }
    Ok(())
}

#[tokio::test]
async fn symbolic_links_lead_nowhere() -> Result<()> {
    let scene = Scene::start("build-links", &[]).await?;
    let mut archive = TarGz::new();
    archive.file("app/a.yaml", map("a", "1").as_bytes())?;
    archive.file("app/kustomization.yaml", b"resources: [a.yaml, stolen.yaml]\n")?;
    archive.link("app/stolen.yaml", "/etc/hostname", tar::EntryType::Symlink)?;
    archive.link("dir", "/etc", tar::EntryType::Symlink)?;
    let bytes = archive.finish()?;
    scene.server.serve("/links.tar.gz", Content::Bytes(bytes.clone()));
    scene
        .offer(SOURCE, "main@sha1:1", "/links.tar.gz", &digest(&bytes))
        .await?;
    scene.kustomization("app", folder("app")).await?;
    scene.kustomization("dir", folder("dir")).await?;
    let object = scene.says("app", "BuildFailed", "stolen.yaml").await?;
    assert!(
        !message(&object, "Ready").unwrap_or_default().contains("hostname"),
        "{object:?}"
    );
    scene
        .says(
            "dir",
            "ArtifactFailed",
            "kustomization path not found: stat dir: no such file or directory",
        )
        .await?;
    assert_eq!(scene.names::<ConfigMap>().await?, ["kube-root-ca.crt"]);
    Ok(())
}

#[tokio::test]
async fn a_failed_build_prunes_nothing_and_the_next_good_one_does() -> Result<()> {
    let scene = Scene::start("build-keeps", &[]).await?;
    let (a, b) = (map("a", "1"), map("b", "1"));
    scene.publish("main@sha1:1", &[("a.yaml", &a), ("b.yaml", &b)]).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let before = inventory(&scene.wait_ready::<Kustomization>("app").await?);
    scene
        .publish("main@sha1:2", &[("a.yaml", &a), ("bad.yaml", "kind: {")])
        .await?;
    let failed = scene.says("app", "BuildFailed", "bad.yaml").await?;
    assert_eq!(inventory(&failed), before);
    let status = failed.status.context("no status")?;
    assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
    assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:2"));
    scene.get::<ConfigMap>("b").await?;
    scene.publish("main@sha1:3", &[("a.yaml", &a)]).await?;
    let ready = scene.says("app", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    assert_eq!(inventory(&ready), Some(vec![scene.text("<ns>_a__ConfigMap")]));
    assert!(scene.find::<ConfigMap>("b").await?.is_none());
    Ok(())
}

fn widgets(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Widget, plural: widgets}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}}}}}
"
    )
}

#[tokio::test]
async fn a_definition_and_its_objects_are_applied_together_and_an_unknown_kind_is_named() -> Result<()> {
    let scene = Scene::start("build-crd", &[]).await?;
    let group = scene.text("<ns>.example.test");
    let widget = format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {{size: 1}}\n");
    scene
        .publish(
            "main@sha1:1",
            &[
                ("both/widget.yaml", &widget),
                ("both/zz-crd.yaml", &widgets(&group)),
                ("alone/widget.yaml", &widget),
                ("alone/a.yaml", &map("a", "1")),
            ],
        )
        .await?;
    scene.kustomization("alone", folder("alone")).await?;
    let unknown =
        format!("Widget/<ns>/alone-w dry-run failed: no matches for kind \"Widget\" in version \"{group}/v1\"");
    let object = scene.says("alone", "ReconciliationFailed", &unknown).await?;
    assert_eq!(inventory(&object), None);
    assert!(scene.find::<ConfigMap>("alone-a").await?.is_none());
    // Definitions are cluster-wide: this one has to keep its name, and goes at the end.
    let both = json!({ "path": "./both", "wait": true });
    scene.kustomization("both", both).await?;
    let ready = scene.wait_ready::<Kustomization>("both").await?;
    let expected = [
        format!("_widgets.{group}_apiextensions.k8s.io_CustomResourceDefinition"),
        scene.text(&format!("<ns>_w_{group}_Widget")),
    ];
    assert_eq!(inventory(&ready), Some(expected.to_vec()));
    // Now that the kind is known the other one gets along.
    let object = scene.reconcile::<Kustomization>("alone").await?;
    assert_eq!(
        condition(&object, "Ready").map(|ready| ready.reason).as_deref(),
        Some(SUCCEEDED)
    );
    scene.delete::<Kustomization>("alone").await?;
    scene.wait_gone::<Kustomization>("alone").await?;
    scene.delete::<Kustomization>("both").await?;
    scene.wait_gone::<Kustomization>("both").await?;
    Ok(())
}

#[tokio::test]
async fn an_immutable_field_is_an_error_unless_force_makes_the_object_anew() -> Result<()> {
    let scene = Scene::start("build-immutable", &[]).await?;
    let locked = |value: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: locked{more}}}\nimmutable: true\ndata: {{k: '{value}'}}\n"
        )
    };
    scene.publish("main@sha1:1", &[("a.yaml", &locked("1", ""))]).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let first = scene.get::<ConfigMap>("locked").await?.metadata.uid;

    scene.publish("main@sha1:2", &[("a.yaml", &locked("2", ""))]).await?;
    let refused = "ConfigMap/<ns>/locked dry-run failed (Invalid): ConfigMap \"locked\" is invalid: data: Forbidden: \
        field is immutable when `immutable` is set";
    let object = scene.says("app", "ReconciliationFailed", refused).await?;
    assert_eq!(inventory(&object), Some(vec![scene.text("<ns>_locked__ConfigMap")]));
    assert_eq!(scene.get::<ConfigMap>("locked").await?.metadata.uid, first);

    scene
        .kustomization("app", json!({ "force": true, "retryInterval": "1h" }))
        .await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    let second = scene.get::<ConfigMap>("locked").await?;
    assert_eq!(second.data.unwrap_or_default()["k"], "2");
    assert_ne!(second.metadata.uid, first);

    // The mark on one object does the same for it alone.
    scene
        .kustomization("app", json!({ "force": false, "retryInterval": "1h" }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let marked = locked("3", ", annotations: {kustomize.toolkit.fluxcd.io/force: enabled}");
    scene.publish("main@sha1:3", &[("a.yaml", &marked)]).await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:3").await?;
    let third = scene.get::<ConfigMap>("locked").await?;
    assert_eq!(third.data.unwrap_or_default()["k"], "3");
    assert_ne!(third.metadata.uid, second.metadata.uid);
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_go_yet_is_waited_for_without_a_worker() -> Result<()> {
    let scene = Scene::start("build-held", &["--concurrent=1"]).await?;
    let locked = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: locked}}\nimmutable: true\ndata: {{k: '{value}'}}\n"
        )
    };
    let other = map("other", "1");
    scene
        .publish("main@sha1:1", &[("app/a.yaml", &locked("1")), ("other/b.yaml", &other)])
        .await?;
    scene
        .kustomization("app", json!({ "path": "./app", "force": true }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    let held = json!({ "metadata": { "finalizers": ["example.test/hold"] } });
    scene.patch::<ConfigMap>("locked", held).await?;
    scene
        .publish("main@sha1:2", &[("app/a.yaml", &locked("2")), ("other/b.yaml", &other)])
        .await?;
    scene
        .wait::<ConfigMap>("locked", "be on its way out", |map| {
            map.metadata.deletion_timestamp.is_some()
        })
        .await?;
    scene.kustomization("other", json!({ "path": "./other" })).await?;
    scene.wait_ready::<Kustomization>("other").await?;
    let waiting = scene.get::<Kustomization>("app").await?;
    assert_eq!(
        waiting
            .status
            .and_then(|status| status.last_applied_revision)
            .as_deref(),
        Some("main@sha1:1")
    );
    scene
        .patch::<ConfigMap>("locked", json!({ "metadata": { "finalizers": null } }))
        .await?;
    scene.says("app", SUCCEEDED, "Applied revision: main@sha1:2").await?;
    assert_eq!(
        scene.get::<ConfigMap>("locked").await?.data.unwrap_or_default()["k"],
        "2"
    );
    Ok(())
}

#[tokio::test]
async fn all_errors_of_a_stage_are_told_and_nothing_of_it_is_applied() -> Result<()> {
    let scene = Scene::start("build-several", &[]).await?;
    let port = "apiVersion: v1\nkind: Service\nmetadata: {name: wrong}\nspec: {ports: [{port: 99999}]}\n";
    let key = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndata: {'a b': '1'}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: wrong}\ntype: kubernetes.io/tls\nstringData: {password: hunter2}\n";
    let unknown = "apiVersion: nope.test/v1\nkind: Nope\nmetadata: {name: wrong}\n";
    let elsewhere = "apiVersion: v1\nkind: Namespace\nmetadata: {name: <ns>-made}\n";
    scene
        .publish(
            "main@sha1:1",
            &[
                ("good.yaml", &map("good", "1")),
                ("key.yaml", key),
                ("port.yaml", port),
                ("secret.yaml", secret),
                ("unknown.yaml", unknown),
                ("elsewhere.yaml", elsewhere),
            ],
        )
        .await?;
    // Without a target namespace objects say for themselves where they belong; those that do not are told.
    scene
        .kustomization(
            "app",
            json!({ "retryInterval": "1h", "targetNamespace": null, "path": "./" }),
        )
        .await?;
    let object = scene
        .says("app", "ReconciliationFailed", "namespace not specified")
        .await?;
    let said = message(&object, "Ready").unwrap_or_default();
    for id in ["ConfigMap/good", "ConfigMap/wrong", "Secret/wrong", "Service/wrong"] {
        assert!(said.contains(&format!("{id} namespace not specified: ")), "{said}");
    }
    // The stage before was applied, is told and owned.
    assert!(said.ends_with(&scene.text("\nNamespace/<ns>-made created\n")), "{said}");
    assert_eq!(inventory(&object), Some(vec![scene.text("_<ns>-made__Namespace")]));

    let files = [
        ("good.yaml", map("good", "1")),
        ("key.yaml", key.into()),
        ("port.yaml", port.into()),
        ("secret.yaml", secret.into()),
        ("unknown.yaml", unknown.into()),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text): &(&str, String)| (*path, text.as_str()))
        .collect();
    scene.publish("main@sha1:2", &files).await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let object = scene
        .says(
            "app",
            "ReconciliationFailed",
            "Service/<ns>/wrong dry-run failed (Invalid): ",
        )
        .await?;
    let said = message(&object, "Ready").unwrap_or_default();
    let lines = [
        "ConfigMap/<ns>/wrong dry-run failed (Invalid): ConfigMap \"wrong\" is invalid: data[a b]: Invalid value: ",
        "Secret/<ns>/wrong dry-run failed (Invalid): ",
        "Service/<ns>/wrong dry-run failed (Invalid): ",
        "Nope/<ns>/wrong dry-run failed: no matches for kind \"Nope\" in version \"nope.test/v1\"",
    ];
    let lines = lines.map(|line| scene.text(line));
    for line in &lines {
        assert!(
            said.lines().any(|said| said.starts_with(line)),
            "{said:?} does not hold {line:?}"
        );
    }
    // Each with the file and the line where it is written, and what changed it: there is no kustomization file here.
    let port = said.lines().find(|said| said.starts_with(&lines[2]));
    let origin = " (from port.yaml:1, changed by spec.targetNamespace)";
    assert!(port.is_some_and(|line| line.ends_with(origin)), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
    let event = wait::until("the event with all of it", async || {
        let events = scene.events::<Kustomization>("app").await?;
        Ok(events.into_iter().find(|event| event.message.as_deref() == Some(&said)))
    })
    .await?;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(scene.find::<ConfigMap>("good").await?.is_none());
    assert!(scene.find::<Secret>("wrong").await?.is_none());
    assert_eq!(inventory(&object), Some(vec![scene.text("_<ns>-made__Namespace")]));
    let status = object.status.context("no status")?;
    assert_eq!(status.history[0].last_reconciled_status, "ReconciliationFailed");
    let made: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(scene.scenario.cluster.client());
    made.delete(&scene.text("<ns>-made"), &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn an_object_that_admission_refuses_is_told_and_applied_once_it_is_let_in() -> Result<()> {
    let scene = Scene::start("build-refused", &[]).await?;
    let policy = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: <ns>}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: <ns>}}
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  validations: [{expression: \"object.metadata.name != 'denied'\", message: not this one}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: <ns>}
spec: {policyName: <ns>, validationActions: [Deny]}
";
    scene.apply_yaml(&scene.text(policy)).await?;
    wait::until("the policy to be in force", async || {
        let probe: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "denied" } }))?;
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        Ok(scene
            .api::<ConfigMap>()
            .create(&params, &probe)
            .await
            .is_err()
            .then_some(()))
    })
    .await?;
    scene
        .publish(
            "main@sha1:1",
            &[("a.yaml", &map("a", "1")), ("denied.yaml", &map("denied", "1"))],
        )
        .await?;
    scene.kustomization("app", json!({ "retryInterval": "1h" })).await?;
    let refused = "ConfigMap/<ns>/denied dry-run failed (Invalid): configmaps \"denied\" is forbidden: \
        ValidatingAdmissionPolicy '<ns>' with binding '<ns>' denied request: not this one \
        (from denied.yaml:1, changed by spec.targetNamespace)\n";
    let object = scene.says("app", "ReconciliationFailed", refused).await?;
    assert_eq!(message(&object, "Ready"), Some(scene.text(refused)));
    assert!(scene.find::<ConfigMap>("a").await?.is_none());

    let client = scene.scenario.cluster.client();
    let name = scene.name();
    Api::<ValidatingAdmissionPolicyBinding>::all(client.clone())
        .delete(name, &DeleteParams::default())
        .await?;
    Api::<ValidatingAdmissionPolicy>::all(client)
        .delete(name, &DeleteParams::default())
        .await?;
    wait::until("the policy to be out of force", async || {
        let object = scene.reconcile::<Kustomization>("app").await?;
        Ok((condition(&object, "Ready").context("no Ready condition")?.reason == SUCCEEDED).then_some(()))
    })
    .await?;
    scene.get::<ConfigMap>("denied").await?;
    Ok(())
}
