//! Receivers on a real control plane: their status, and the webhooks that ask for a reconcile.

use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use api::notification::Receiver;
use api::source::GitRepository;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::namespace::{REQUESTED_AT, condition};
use tests::scenario::Scenario;
use tests::wait;

async fn stage(name: &str) -> Result<Scenario> {
    Scenario::builder(name).only(&[Controller::Notification]).start().await
}

/// Makes a GitRepository, a Secret `hook` and a Receiver `hook` of this type for the GitRepository.
async fn receiver(scenario: &Scenario, kind: &str, more: Value) -> Result<Receiver> {
    let namespace = &scenario.namespace;
    let repository = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": { "name": "app", "labels": { "tier": "one" } },
        "spec": { "url": "https://git.example/app", "interval": "1m" },
    });
    namespace.apply_yaml(&repository.to_string()).await?;
    namespace.secret("hook", &[("token", "the-token")]).await?;
    apply(scenario, kind, more).await?;
    namespace.wait_ready::<Receiver>("hook").await
}

async fn apply(scenario: &Scenario, kind: &str, more: Value) -> Result<()> {
    let mut spec = json!({
        "type": kind, "secretRef": { "name": "hook" }, "resources": [{ "kind": "GitRepository", "name": "app" }],
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let object = json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver",
        "metadata": { "name": "hook" }, "spec": spec,
    });
    scenario.namespace.apply_yaml(&object.to_string()).await.map(drop)
}

fn path(receiver: &Receiver) -> Result<String> {
    receiver
        .status
        .as_ref()
        .and_then(|status| status.webhook_path.clone())
        .context("no path")
}

async fn call(scenario: &Scenario, path: &str, headers: &[(&'static str, &str)], body: &str) -> Result<StatusCode> {
    let url = format!("{}{path}", scenario.controllers.receivers_url()?);
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let request = headers
        .iter()
        .fold(client.post(url), |request, (name, value)| request.header(*name, *value));
    Ok(request.body(body.to_owned()).send().await?.status())
}

async fn requested(scenario: &Scenario) -> Result<Option<String>> {
    let repository = scenario.namespace.get::<GitRepository>("app").await?;
    Ok(repository.annotations().get(REQUESTED_AT).cloned())
}

#[tokio::test]
async fn a_receiver_says_its_path_and_a_call_asks_for_a_reconcile() -> Result<()> {
    let s = stage("receiver-generic").await?;
    let receiver = receiver(&s, "generic", json!({})).await?;
    let path = path(&receiver)?;
    let ready = condition(&receiver, "Ready").context("not ready")?;
    assert_eq!(ready.reason, "Succeeded");
    assert_eq!(ready.message, format!("Receiver initialized for path: {path}"));
    assert_eq!(path, notification_path("the-token", "hook", s.ns()));
    assert_eq!(
        receiver.status.as_ref().and_then(|status| status.observed_generation),
        Some(1)
    );
    let event = s.namespace.wait_event::<Receiver>("hook", "Succeeded").await?;
    assert_eq!(
        event.message.as_deref(),
        Some("Reconciliation finished, next run in 10m0s")
    );
    assert_eq!(call(&s, &path, &[], "").await?, 200);
    let first = requested(&s).await?.context("nothing was asked for")?;
    assert_eq!(call(&s, &path, &[], "{}").await?, 200);
    assert_ne!(requested(&s).await?.context("nothing was asked for")?, first);
    Ok(())
}

fn notification_path(token: &str, name: &str, namespace: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(format!("{token}{name}{namespace}"));
    format!(
        "/hook/{}",
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

#[tokio::test]
async fn other_paths_lead_nowhere() -> Result<()> {
    let s = stage("receiver-paths").await?;
    let path = path(&receiver(&s, "generic", json!({})).await?)?;
    assert_eq!(call(&s, &format!("{path}?x=1"), &[], "").await?, 404);
    assert_eq!(call(&s, "/hook/unknown", &[], "").await?, 404);
    assert_eq!(call(&s, "/elsewhere", &[], "").await?, 404);
    assert_eq!(call(&s, "/hook", &[], "").await?, 307);
    assert_eq!(call(&s, &path, &[], &"x".repeat((3 << 20) + 1)).await?, 413);
    assert_eq!(requested(&s).await?, None);
    let url = format!("{}{path}", s.controllers.receivers_url()?);
    assert_eq!(Client::new().request(Method::GET, url).send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_github_signature_decides() -> Result<()> {
    let s = stage("receiver-github").await?;
    let path = path(&receiver(&s, "github", json!({ "events": ["ping", "push"] })).await?)?;
    // printf '{"zen":"x"}' | openssl dgst -sha256 -hmac the-token (and -sha1)
    let body = r#"{"zen":"x"}"#;
    let good = "sha256=656916bf29e0025cd76b35ef526fe85165ce0456e68f3e57e93e12b107ca101a";
    let json = ("content-type", "application/json");
    let push = ("x-github-event", "push");
    assert_eq!(call(&s, &path, &[json, push], body).await?, 400);
    assert_eq!(
        call(
            &s,
            &path,
            &[json, push, ("x-hub-signature-256", &good.replace("=", "=0"))],
            body
        )
        .await?,
        400
    );
    assert_eq!(
        call(&s, &path, &[json, push, ("x-hub-signature-256", good)], "{}").await?,
        400
    );
    assert_eq!(
        call(
            &s,
            &path,
            &[json, ("x-github-event", "fork"), ("x-hub-signature-256", good)],
            body
        )
        .await?,
        400
    );
    assert_eq!(requested(&s).await?, None);
    assert_eq!(
        call(&s, &path, &[json, push, ("x-hub-signature-256", good)], body).await?,
        200
    );
    assert!(requested(&s).await?.is_some());
    assert_eq!(
        call(
            &s,
            &path,
            &[
                json,
                push,
                ("x-hub-signature", "sha1=5d7377e6df409020b4b5c443bdaa78c2e5a4f27d")
            ],
            body
        )
        .await?,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_missing_token_is_told_and_mended() -> Result<()> {
    let s = stage("receiver-token").await?;
    apply(&s, "generic", json!({})).await?;
    let failed = s.namespace.wait_failed::<Receiver>("hook", "TokenNotFound").await?;
    let expected = format!(
        "unable to read token from secret '{}/hook' error: secrets \"hook\" not found",
        s.ns()
    );
    assert_eq!(condition(&failed, "Ready").context("no condition")?.message, expected);
    assert_eq!(
        condition(&failed, "Reconciling").context("no condition")?.reason,
        "ProgressingWithRetry"
    );
    s.namespace.wait_event::<Receiver>("hook", "Failed").await?;
    s.namespace.secret("hook", &[("other", "x")]).await?;
    let expected = format!("invalid '{}/hook' secret data: required fields 'token'", s.ns());
    let told = |receiver: &Receiver| condition(receiver, "Ready").is_some_and(|ready| ready.message == expected);
    s.namespace.wait::<Receiver>("hook", "miss the token", told).await?;
    s.namespace.secret("hook", &[("token", "one")]).await?;
    let first = path(&s.namespace.wait_ready::<Receiver>("hook").await?)?;
    // From now on the Secret is watched.
    let watched = json!({ "metadata": { "labels": { "reconcile.fluxcd.io/watch": "Enabled" } } });
    s.namespace.patch::<Secret>("hook", watched).await?;
    s.namespace.secret("hook", &[("token", "two")]).await?;
    let moved = |receiver: &Receiver| path(receiver).is_ok_and(|path| path != first);
    s.namespace
        .wait::<Receiver>("hook", "move to another path", moved)
        .await?;
    assert_eq!(call(&s, &first, &[], "").await?, 404);
    Ok(())
}

#[tokio::test]
async fn a_suspended_receiver_takes_no_calls() -> Result<()> {
    let s = stage("receiver-suspended").await?;
    let path = path(&receiver(&s, "generic", json!({})).await?)?;
    s.namespace.suspend::<Receiver>("hook", true).await?;
    let observed =
        |receiver: &Receiver| receiver.status.as_ref().and_then(|status| status.observed_generation) == Some(2);
    s.namespace.wait::<Receiver>("hook", "be suspended", observed).await?;
    assert_eq!(call(&s, &path, &[], "").await?, 503);
    let token = s.namespace.request_reconcile::<Receiver>("hook").await?;
    let handled = |receiver: &Receiver| {
        receiver
            .status
            .as_ref()
            .and_then(|status| status.last_handled_reconcile_at.as_deref())
            == Some(token.as_str())
    };
    s.namespace
        .wait::<Receiver>("hook", "have handled the request", handled)
        .await?;
    s.namespace.suspend::<Receiver>("hook", false).await?;
    s.namespace.wait_ready::<Receiver>("hook").await?;
    assert_eq!(call(&s, &path, &[], "").await?, 200);
    Ok(())
}

#[tokio::test]
async fn what_is_not_supported_stalls() -> Result<()> {
    let s = stage("receiver-unsupported").await?;
    s.namespace.secret("hook", &[("token", "t")]).await?;
    apply(&s, "gitlab", json!({})).await?;
    let failed = s
        .namespace
        .wait_failed::<Receiver>("hook", "UnsupportedFeature")
        .await?;
    let stalled = condition(&failed, "Stalled").context("not stalled")?;
    assert_eq!(stalled.reason, "UnsupportedFeature");
    assert_eq!(
        stalled.message,
        "receiver type 'gitlab' is not supported yet: use generic, generic-hmac or github"
    );
    apply(&s, "generic", json!({})).await?;
    let ready = s.namespace.wait_ready::<Receiver>("hook").await?;
    assert!(condition(&ready, "Stalled").is_none());
    Ok(())
}

#[tokio::test]
async fn objects_are_named_or_chosen_by_labels_and_one_that_is_missing_does_not_hold_up_the_others() -> Result<()> {
    let s = stage("receiver-resources").await?;
    let labels = json!([{ "kind": "GitRepository", "name": "*", "matchLabels": { "tier": "one" } }]);
    let chosen = path(&receiver(&s, "generic", json!({ "resources": labels })).await?)?;
    assert_eq!(call(&s, &chosen, &[], "").await?, 200);
    let first = requested(&s).await?.context("nothing was asked for")?;
    for broken in [
        json!({ "kind": "GitRepository", "name": "missing" }),
        json!({ "kind": "GitRepository", "name": "*" }),
        json!({ "kind": "Kustomization", "name": "app" }),
    ] {
        let resources = json!([broken, { "kind": "GitRepository", "name": "app" }]);
        s.namespace
            .patch::<Receiver>("hook", json!({ "spec": { "resources": resources } }))
            .await?;
        s.namespace.wait_ready::<Receiver>("hook").await?;
        let before = requested(&s).await?;
        assert_eq!(call(&s, &chosen, &[], "").await?, 500, "{resources}");
        assert_ne!(requested(&s).await?, before);
    }
    assert_ne!(requested(&s).await?, Some(first));
    let kustomization = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": { "name": "app" },
        "spec": { "interval": "10m", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "app" } },
    });
    s.namespace.apply_yaml(&kustomization.to_string()).await?;
    let resources = json!([{ "kind": "Kustomization", "name": "app", "apiVersion": "kustomize.toolkit.fluxcd.io/v1" }]);
    s.namespace
        .patch::<Receiver>("hook", json!({ "spec": { "resources": resources } }))
        .await?;
    s.namespace.wait_ready::<Receiver>("hook").await?;
    assert_eq!(call(&s, &chosen, &[], "").await?, 200);
    let kustomization = s.namespace.get::<Kustomization>("app").await?;
    assert!(kustomization.annotations().contains_key(REQUESTED_AT));
    Ok(())
}

#[tokio::test]
async fn a_reference_reaches_the_object_it_names_and_no_other_path() -> Result<()> {
    let s = stage("receiver-names").await?;
    let chosen = path(&receiver(&s, "generic", json!({})).await?)?;
    let ours = |text: &str| s.namespace.text(text);
    let odd = |name: &str| json!({ "kind": "GitRepository", "name": name });
    let versions = async || -> Result<_> {
        let repository = s.namespace.get::<GitRepository>("app").await?;
        let secret = s.namespace.get::<Secret>("hook").await?;
        Ok((repository.resource_version(), secret.resource_version()))
    };
    let cases = [
        odd("app?x=y"),
        odd("app#x"),
        odd("app/status"),
        odd("../gitrepositories/app"),
        odd("%61pp"),
        json!({ "kind": "GitRepository", "name": "x", "namespace": ours("<ns>/gitrepositories/app?") }),
        json!({
            "kind": "GitRepository", "name": "x",
            "apiVersion": ours("source.toolkit.fluxcd.io/v1/namespaces/<ns>/gitrepositories/app?"),
        }),
        json!({ "kind": "GitRepository", "name": "x", "apiVersion": ours("/v1/namespaces/<ns>/secrets/hook?") }),
    ];
    let mut found = Vec::new();
    for case in &cases {
        let before = versions().await?;
        s.namespace
            .patch::<Receiver>("hook", json!({ "spec": { "resources": [case] } }))
            .await?;
        s.namespace.wait_ready::<Receiver>("hook").await?;
        let code = call(&s, &chosen, &[], "").await?.as_u16();
        found.push((case, code, versions().await? == before));
    }
    let expected: Vec<_> = cases.iter().map(|case| (case, 500, true)).collect();
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test]
async fn a_token_is_read_from_the_secret_of_that_name_and_no_other() -> Result<()> {
    let s = stage("receiver-secret-names").await?;
    s.namespace.secret("hook", &[("token", "the-token")]).await?;
    for (name, said) in [
        ("hook?x=y", "secrets \"hook?x=y\" not found"),
        ("hook#x", "secrets \"hook#x\" not found"),
        ("?limit=5", "secrets \"?limit=5\" not found"),
        (
            "../secrets/hook",
            "invalid resource name \"../secrets/hook\": [may not contain '/']",
        ),
        ("%68ook", "invalid resource name \"%68ook\": [may not contain '%']"),
        ("..", "invalid resource name \"..\": [may not be '..']"),
    ] {
        apply(&s, "generic", json!({ "secretRef": { "name": name } })).await?;
        let expected = format!("unable to read token from secret '{}/{name}' error: {said}", s.ns());
        let told = |receiver: &Receiver| condition(receiver, "Ready").is_some_and(|ready| ready.message == expected);
        s.namespace.wait::<Receiver>("hook", &expected, told).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_receiver_is_gone_with_its_path() -> Result<()> {
    let s = stage("receiver-deleted").await?;
    let path = path(&receiver(&s, "generic", json!({})).await?)?;
    let finalizer = json!({ "metadata": { "finalizers": ["finalizers.fluxcd.io"] } });
    s.namespace.patch::<Receiver>("hook", finalizer).await?;
    s.namespace.delete::<Receiver>("hook").await?;
    s.namespace.wait_gone::<Receiver>("hook").await?;
    let gone = async || Ok((call(&s, &path, &[], "").await? == 404).then_some(()));
    wait::until("the path to be gone", gone).await
}
