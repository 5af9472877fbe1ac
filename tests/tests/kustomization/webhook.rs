//! An admission webhook that refuses an object: its words reach the status, nothing of the stage is applied, and the
//! Kustomization goes on when the webhook does not object any more.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tests::wait;
use tests::web::Server;

use crate::scene::{Scene, map};

/// Allows everything but objects of the name `denied`.
async fn review(body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let allowed = review["request"]["name"] != "denied";
    let response = json!({
        "uid": review["request"]["uid"],
        "allowed": allowed,
        "status": { "code": 403, "message": "not this one" },
    });
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

#[tokio::test]
async fn what_a_webhook_refuses_is_told_in_its_words_and_nothing_is_applied() -> Result<()> {
    let scene = Scene::start("webhook", &[]).await?;
    let server = Server::start_tls(Router::new().route("/", post(review)))?;
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": scene.name() },
        "webhooks": [{
            "name": "refuses.example.test",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": scene.name() } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
            "clientConfig": { "url": format!("{}/", server.url()), "caBundle": STANDARD.encode(server.ca().unwrap_or_default()) },
        }],
    });
    let webhooks = Api::<ValidatingWebhookConfiguration>::all(scene.scenario.cluster.client());
    webhooks
        .create(&PostParams::default(), &serde_json::from_value(webhook)?)
        .await?;
    wait::until("the webhook to be in force", async || {
        let probe: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "denied" } }))?;
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let answer = scene.api::<ConfigMap>().create(&dry_run, &probe).await;
        Ok(answer
            .is_err_and(|error| error.to_string().contains("not this one"))
            .then_some(()))
    })
    .await?;
    let files = [("a.yaml", &*map("a", "1")), ("denied.yaml", &*map("denied", "1"))];
    scene.publish("main@sha1:1", &files).await?;
    scene.kustomization("app", json!({ "retryInterval": "1s" })).await?;
    let refused = "admission webhook \"refuses.example.test\" denied the request: not this one";
    scene.says("app", "ReconciliationFailed", refused).await?;
    assert!(scene.find::<ConfigMap>("a").await?.is_none());

    webhooks.delete(scene.name(), &DeleteParams::default()).await?;
    scene.says("app", "ReconciliationSucceeded", "main@sha1:1").await?;
    scene.get::<ConfigMap>("denied").await?;
    Ok(())
}
