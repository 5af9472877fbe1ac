//! `spec.postBuild`: where variables come from, what happens when they are missing, and who is woken when they change.

use std::collections::BTreeMap;

use crate::scene::{Scene, map};
use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

const SUCCEEDED: &str = "ReconciliationSucceeded";

fn from(references: &[(&str, &str)]) -> Value {
    references
        .iter()
        .map(|(kind, name)| json!({ "kind": kind, "name": name }))
        .collect()
}

/// The data of a ConfigMap.
async fn data(scene: &Scene, name: &str) -> Result<BTreeMap<String, String>> {
    scene.get::<ConfigMap>(name).await?.data.context("no data")
}

/// Waits until a ConfigMap has this value.
async fn holds(scene: &Scene, name: &str, value: &str) -> Result<ConfigMap> {
    scene
        .wait::<ConfigMap>(name, &format!("hold {value}"), |map| {
            map.data
                .as_ref()
                .and_then(|data| data.get("k"))
                .is_some_and(|found| found == value)
        })
        .await
}

const WATCHED: &str = "reconcile.fluxcd.io/watch";

#[tokio::test]
async fn variables_come_from_config_maps_secrets_and_the_spec_and_later_ones_win() -> Result<()> {
    let scene = Scene::start("vars-from", &[]).await?;
    scene
        .config_map(
            "first",
            &[("a", "from first"), ("b", "from first"), ("c", "from first")],
        )
        .await?;
    scene
        .secret(
            "second",
            &[("b", "from second"), ("c", "from second"), ("lines", "one\ntwo\n")],
        )
        .await?;
    let out = "apiVersion: v1
kind: ConfigMap
metadata: {name: out, labels: {team: '${team}'}}
data:
  a: ${a}
  b: ${b}
  c: ${c}
  lines: ${lines}
  default: ${nothing:=fallback ${a}}
  upper: ${team^^}
  literal: $${a}
  number: ${quote}${number}${quote}
";
    let disabled = "apiVersion: v1
kind: ConfigMap
metadata: {name: disabled, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}
data: {k: '${a}'}
";
    scene
        .publish(
            "main@sha1:1",
            &[
                ("vars/out.yaml", out),
                ("vars/disabled.yaml", disabled),
                ("none/plain.yaml", &map("plain", "${a} $${b}")),
            ],
        )
        .await?;
    let mut references = from(&[("ConfigMap", "first"), ("Secret", "second")]);
    if let Some(references) = references.as_array_mut() {
        references.push(json!({ "kind": "ConfigMap", "name": "nowhere", "optional": true }));
        references.push(json!({ "kind": "Secret", "name": "nowhere", "optional": true }));
    }
    let substitute = json!({ "c": "from the spec", "team": "blue", "number": "7", "quote": "\"" });
    scene
        .kustomization(
            "vars",
            json!({ "path": "./vars", "postBuild": { "substitute": substitute, "substituteFrom": references } }),
        )
        .await?;
    // Without any variable nothing is replaced, unless the strategy says so.
    scene
        .kustomization("none", json!({ "path": "./none", "postBuild": { "substitute": {} } }))
        .await?;
    scene.wait_ready::<Kustomization>("vars").await?;
    scene.wait_ready::<Kustomization>("none").await?;
    let expected = [
        ("a", "from first"),
        ("b", "from second"),
        ("c", "from the spec"),
        ("default", "fallback from first"),
        ("lines", "onetwo"),
        ("literal", "${a}"),
        ("number", "7"),
        ("upper", "BLUE"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(data(&scene, "out").await?, BTreeMap::from(expected));
    let labels = scene.get::<ConfigMap>("out").await?.metadata.labels.unwrap_or_default();
    assert_eq!(labels["team"], "blue");
    assert_eq!(data(&scene, "disabled").await?["k"], "${a}");
    assert_eq!(data(&scene, "plain").await?["k"], "${a} $${b}");

    scene
        .kustomization(
            "none",
            json!({ "path": "./none", "postBuild": { "substituteStrategy": "Always" } }),
        )
        .await?;
    let unset = "post build failed for 'ConfigMap.v1.[noGrp]/plain': envsubst error: \
        variable substitution failed: variable not set (strict mode): \"a\"";
    scene.says("none", "BuildFailed", unset).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_substituted_is_named_and_nothing_is_applied() -> Result<()> {
    let scene = Scene::start("vars-wrong", &[]).await?;
    scene
        .publish(
            "main@sha1:1",
            &[
                ("good.yaml", &map("good", "x")),
                ("out.yaml", &map("out", "${a} ${b}")),
                ("kustomization.yaml", "resources: [good.yaml, out.yaml]\n"),
                ("dash/out.yaml", &map("out", "${a-b}")),
            ],
        )
        .await?;
    let vars = |name: &'static str, spec: Value| scene.kustomization(name, spec);
    vars(
        "strict",
        json!({ "postBuild": { "substitute": { "a": "secret value" } } }),
    )
    .await?;
    vars(
        "missing-map",
        json!({ "postBuild": { "substituteFrom": from(&[("ConfigMap", "nowhere")]) } }),
    )
    .await?;
    vars(
        "missing-secret",
        json!({ "postBuild": { "substituteFrom": from(&[("Secret", "nowhere")]) } }),
    )
    .await?;
    vars("name", json!({ "postBuild": { "substitute": { "bad-name": "1" } } })).await?;
    vars(
        "dash",
        json!({ "path": "./dash", "postBuild": { "substitute": { "a": "1" } } }),
    )
    .await?;
    let failures = [
        (
            "strict",
            "out': envsubst error: variable substitution failed: variable not set (strict mode): \"b\"",
        ),
        (
            "missing-map",
            "good': substitute from 'ConfigMap/nowhere' error: configmaps \"nowhere\" not found",
        ),
        (
            "missing-secret",
            "good': substitute from 'Secret/nowhere' error: secrets \"nowhere\" not found",
        ),
        (
            "name",
            "good': envsubst error: 'bad-name' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'",
        ),
        (
            "dash",
            "out': envsubst error: variable substitution failed: missing closing brace",
        ),
    ];
    for (name, text) in failures {
        let text = format!("post build failed for 'ConfigMap.v1.[noGrp]/{text}");
        let failed = scene.says(name, "BuildFailed", &text).await?;
        let event = scene.wait_event::<Kustomization>(name, "BuildFailed").await?;
        let said = event.message.unwrap_or_default();
        assert!(
            event.type_.as_deref() == Some("Warning") && said.starts_with(&text),
            "{said}"
        );
        let status = failed.status.context("no status")?;
        assert_eq!(status.last_attempted_revision.as_deref(), Some("main@sha1:1"));
        assert!(status.history.is_empty() && status.inventory.is_none(), "{status:?}");
    }
    assert_eq!(scene.names::<ConfigMap>().await?, ["kube-root-ca.crt"]);
    Ok(())
}

#[tokio::test]
async fn without_strict_mode_an_unset_variable_is_empty() -> Result<()> {
    let scene = Scene::start("vars-lax", &["--feature-gates=StrictPostBuildSubstitutions=false"]).await?;
    scene
        .publish("main@sha1:1", &[("out.yaml", &map("out", "<${a}${b}>"))])
        .await?;
    scene
        .kustomization("app", json!({ "postBuild": { "substitute": { "a": "1" } } }))
        .await?;
    scene.wait_ready::<Kustomization>("app").await?;
    holds(&scene, "out", "<1>").await?;
    Ok(())
}

#[tokio::test]
async fn a_change_of_a_labelled_source_of_variables_is_applied_at_once() -> Result<()> {
    let scene = Scene::start("vars-watched", &[]).await?;
    scene
        .publish("main@sha1:1", &[("out.yaml", &map("${name}", "${v}"))])
        .await?;
    let spec = |name: &str, kind: &str, from_name: &str| json!({ "retryInterval": "1h", "postBuild": { "substitute": { "name": name }, "substituteFrom": from(&[(kind, from_name)]) } });
    let labelled = json!({ "metadata": { "labels": { WATCHED: "Enabled" } } });
    scene.config_map("unwatched", &[("v", "one")]).await?;
    scene.secret("credentials", &[("v", "one")]).await?;
    scene.patch::<Secret>("credentials", labelled.clone()).await?;
    scene
        .kustomization("by-map", spec("by-map", "ConfigMap", "settings"))
        .await?;
    scene
        .kustomization("by-secret", spec("by-secret", "Secret", "credentials"))
        .await?;
    scene
        .kustomization("by-other", spec("by-other", "ConfigMap", "unwatched"))
        .await?;
    scene
        .says("by-map", "BuildFailed", "configmaps \"settings\" not found")
        .await?;
    scene.wait_ready::<Kustomization>("by-secret").await?;
    scene.wait_ready::<Kustomization>("by-other").await?;

    // What was missing appears.
    scene
        .apply_yaml(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, labels: {{{WATCHED}: Enabled}}}}\ndata: {{v: one}}\n"
        ))
        .await?;
    scene.says("by-map", SUCCEEDED, "Applied revision: main@sha1:1").await?;
    holds(&scene, "by-map", "one").await?;

    // Changes are taken over; of what carries no label nobody takes notice until asked.
    scene
        .patch::<ConfigMap>("unwatched", json!({ "data": { "v": "two" } }))
        .await?;
    scene
        .patch::<ConfigMap>("settings", json!({ "data": { "v": "two" } }))
        .await?;
    holds(&scene, "by-map", "two").await?;
    scene
        .patch::<Secret>("credentials", json!({ "stringData": { "v": "three" } }))
        .await?;
    holds(&scene, "by-secret", "three").await?;
    assert_eq!(data(&scene, "by-other").await?["k"], "one");
    scene.reconcile::<Kustomization>("by-other").await?;
    assert_eq!(data(&scene, "by-other").await?["k"], "two");

    // So is their end.
    scene.delete::<ConfigMap>("settings").await?;
    scene
        .says("by-map", "BuildFailed", "configmaps \"settings\" not found")
        .await?;
    assert_eq!(data(&scene, "by-map").await?["k"], "two");
    Ok(())
}
