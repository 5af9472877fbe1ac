//! `spec.provider` and `spec.serviceAccountName`: tokens of GitHub and of the clouds, asked for from servers that look
//! at the whole request; what is said when there is none; and how long they are kept.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use api::source::GitRepository;
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::git_server::Access;
use tests::scenario::Scenario;
use tests::wait;
use tests::web::Server;

use crate::stage::{builder, failed, message, must_not_leak, stored};
use crate::tokens::{APP_KEY, CLOUD_TOKEN, GATE, TokenServer, claims};

const APP_TOKEN: &str = "ghs_installation-token";

fn github(secret: &str) -> Value {
    json!({ "provider": "github", "secretRef": { "name": secret } })
}

#[tokio::test]
async fn a_github_app_opens_and_its_token_is_kept_as_long_as_the_object() -> Result<()> {
    let s = builder("github-app").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.set_access("app", Access::basic("x-access-token", APP_TOKEN));
    let expires = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let answer = json!({ "token": APP_TOKEN, "expires_at": expires });
    let tokens = TokenServer::start(&answer, Server::start_tls)?;
    let base = format!("{}/api/v3", tokens.server.url());
    let app = [
        ("githubAppID", "7"),
        ("githubAppInstallationID", "42"),
        ("githubAppPrivateKey", APP_KEY),
        ("githubAppBaseURL", &base),
    ];
    // Its authority is nobody the controller knows.
    s.namespace.secret("unknown", &app).await?;
    let said = failed(&s, "unknown", repo.url(), github("unknown"), "AuthenticationFailed").await?;
    let line = format!("{base}/app/installations/42/access_tokens");
    let text = format!("failed to configure authentication options: POST \"{line}\": ");
    assert!(said.starts_with(&text) && said.contains("x509: "), "{said}");
    let ca = tokens.server.ca().unwrap_or_default();
    let trusted = [&app[..], &[("ca.crt", ca)]].concat();
    s.namespace.secret("app", &trusted).await?;
    stored(&s, "app", repo.url(), github("app")).await?;
    let [asked] = &tokens.asked()[..] else {
        panic!("one request for a token")
    };
    assert_eq!(asked.line, "POST /api/v3/app/installations/42/access_tokens");
    let proof = asked.headers["authorization"]
        .to_str()?
        .trim_start_matches("Bearer ")
        .to_owned();
    assert_eq!(claims(&proof)?["iss"], "7");
    repo.commit_files("two", &[("a", "2")])?;
    s.namespace.reconcile::<GitRepository>("app").await?;
    // Another object with the same App.
    stored(&s, "second", repo.url(), github("app")).await?;
    assert!(tokens.asked().is_empty(), "the token is kept");
    must_not_leak(&s, "app", APP_TOKEN).await?;
    must_not_leak(&s, "app", &proof).await?;
    let of = |event: &str, name: &str| {
        let labels = format!(
            r#"event_type="{event}",kind="GitRepository",name="{name}",namespace="{}",operation="reconcile""#,
            s.ns()
        );
        format!("gotk_token_cache_events_total{{{labels}}}")
    };
    let metrics = s.controllers.metrics(Controller::Source).await?;
    for line in [
        format!("{} 1\n", of("cache_miss", "app")),
        format!("{} 1\n", of("cache_hit", "app")),
        format!("{} 1\n", of("cache_hit", "second")),
        "gotk_token_cached_items 1\n".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    for name in ["app", "second"] {
        s.namespace.delete::<GitRepository>(name).await?;
        s.namespace.wait_gone::<GitRepository>(name).await?;
    }
    let probe = async || {
        let metrics = s.controllers.metrics(Controller::Source).await?;
        let is_gone = metrics.contains("gotk_token_cached_items 0\n") && !metrics.contains(&of("cache_hit", "app"));
        Ok(is_gone.then_some(()))
    };
    wait::until("the token to go with its objects", probe).await
}

#[tokio::test]
async fn a_github_app_that_is_not_described_is_explained() -> Result<()> {
    let s = builder("github-app-bad").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let without = "secretRef with github app data must be specified when provider is set to github";
    let fields = json!({ "provider": "github" });
    let said = failed(&s, "nothing", repo.url(), fields, "InvalidProviderConfiguration").await?;
    assert_eq!(said, without);
    let stalled: GitRepository = s
        .namespace
        .wait_condition("nothing", "Stalled", "True", Some("InvalidProviderConfiguration"))
        .await?;
    assert_eq!(message(&stalled)?, without);
    s.namespace
        .secret("basic", &[("username", "a"), ("password", "b")])
        .await?;
    let said = failed(&s, "basic", repo.url(), github("basic"), "InvalidProviderConfiguration").await?;
    assert_eq!(said, without);
    // A Secret can change without the object.
    let _: GitRepository = s
        .namespace
        .wait_condition("basic", "Reconciling", "True", Some("ProgressingWithRetry"))
        .await?;
    let app = [
        ("githubAppID", "7"),
        ("githubAppInstallationID", "42"),
        ("githubAppPrivateKey", "abc"),
    ];
    s.namespace.secret("key", &app).await?;
    let said = failed(&s, "key", repo.url(), github("key"), "AuthenticationFailed").await?;
    let text = "could not parse private key: invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
    assert_eq!(said, format!("failed to configure authentication options: {text}"));
    let two = [&app[..], &[("githubAppInstallationOwner", "org")]].concat();
    s.namespace.secret("two", &two).await?;
    let said = failed(&s, "two", repo.url(), github("two"), "AuthenticationFailed").await?;
    let text = "must contain exactly one of 'githubAppInstallationOwner' or 'githubAppInstallationID'";
    let text = format!("secret '{}/two' {text}", s.ns());
    assert_eq!(said, format!("failed to configure authentication options: {text}"));
    Ok(())
}

#[tokio::test]
async fn clouds_ask_for_their_own_urls_and_for_the_gate() -> Result<()> {
    let s = builder("cloud-gate")
        .variable(Controller::Source, "AWS_EC2_METADATA_DISABLED", "true")
        .start()
        .await?;
    let url = "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/app";
    for provider in ["azure", "aws", "gcp"] {
        let fields = json!({ "provider": provider, "serviceAccountName": "app" });
        let said = failed(&s, provider, url, fields, "FeatureGateDisabled").await?;
        let text = "to use spec.serviceAccountName for provider authentication please enable the \
            ObjectLevelWorkloadIdentity feature gate in the controller";
        assert_eq!(said, text);
        let _: GitRepository = s
            .namespace
            .wait_condition(provider, "Stalled", "True", Some("FeatureGateDisabled"))
            .await?;
    }
    let elsewhere = "https://github.com/org/repo";
    for (name, provider, url, text) in [
        (
            "aws-elsewhere",
            "aws",
            elsewhere,
            "invalid AWS CodeCommit Git URL: github.com",
        ),
        (
            "gcp-elsewhere",
            "gcp",
            elsewhere,
            "invalid Google Cloud Git URL: github.com. the host must be source.developers.google.com or end in \
             .sourcemanager.dev",
        ),
        (
            "gcp-plain",
            "gcp",
            "http://source.developers.google.com/p/my-project/r/app",
            "Google Cloud authentication requires an HTTPS Git URL",
        ),
    ] {
        let said = failed(&s, name, url, json!({ "provider": provider }), "AuthenticationFailed").await?;
        assert_eq!(said, format!("failed to configure authentication options: {text}"));
    }
    let said = failed(&s, "nobody", url, json!({ "provider": "aws" }), "AuthenticationFailed").await?;
    let text = "failed to configure authentication options: failed to get access token for Git repository: failed to create \
        provider access token for the controller: nothing in the environment of the controller says who it is in AWS: ";
    assert!(said.starts_with(text), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_service_account_is_somebody_in_azure() -> Result<()> {
    let answer = json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": CLOUD_TOKEN });
    let tokens = TokenServer::start(&answer, Server::start)?;
    let s = builder("azure")
        .flag(Controller::Source, GATE)
        .variable(Controller::Source, "AZURE_AUTHORITY_HOST", &tokens.server.url())
        .start()
        .await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    s.git.set_access("app", Access::Bearer(CLOUD_TOKEN.into()));
    let fields = |account: &str| json!({ "provider": "azure", "serviceAccountName": account });
    let refused = "failed to configure authentication options: failed to get access token for Git repository";
    let said = failed(&s, "missing", repo.url(), fields("missing"), "AuthenticationFailed").await?;
    let text = format!("failed to get service account '{}/missing'", s.ns());
    assert_eq!(
        said,
        format!("{refused}: {text}: serviceaccounts \"missing\" not found")
    );
    let account = |name: &str, annotations: Value| {
        let metadata = json!({ "name": name, "annotations": annotations });
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }).to_string()
    };
    s.namespace.apply_yaml(&account("nobody", json!({}))).await?;
    let said = failed(&s, "nobody", repo.url(), fields("nobody"), "AuthenticationFailed").await?;
    let text = format!(
        "failed to get provider identity from service account '{}/nobody' annotations: azure tenant ID is not set in the \
         service account annotation azure.workload.identity/tenant-id",
        s.ns()
    );
    assert_eq!(said, format!("{refused}: {text}"));
    let annotations = json!({
        "azure.workload.identity/tenant-id": "tenant-1",
        "azure.workload.identity/client-id": "client-1",
    });
    s.namespace.apply_yaml(&account("app", annotations)).await?;
    assert!(tokens.asked().is_empty());
    stored(&s, "app", repo.url(), fields("app")).await?;
    let [asked] = &tokens.asked()[..] else {
        panic!("one request for a token")
    };
    assert_eq!(asked.line, "POST /tenant-1/oauth2/v2.0/token");
    let mut form: BTreeMap<_, _> = asked.form()?;
    let assertion = form.remove("client_assertion").context("no assertion")?;
    let expected = [
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_id", "client-1"),
        ("grant_type", "client_credentials"),
        ("scope", "499b84ac-1321-427f-aa17-267ca6975798/.default"),
    ];
    assert_eq!(
        form,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    );
    let claims = claims(&assertion)?;
    assert_eq!(claims["aud"], json!(["api://AzureADTokenExchange"]));
    assert_eq!(claims["sub"], format!("system:serviceaccount:{}:app", s.ns()));
    must_not_leak(&s, "app", CLOUD_TOKEN).await?;
    must_not_leak(&s, "app", &assertion).await
}

#[tokio::test]
async fn the_default_service_account_is_that_of_the_namespace() -> Result<()> {
    let s = builder("default-account")
        .flag(Controller::Source, GATE)
        .flag(Controller::Source, "--default-service-account=tenant")
        .start()
        .await?;
    let url = "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/app";
    let said = failed(&s, "app", url, json!({ "provider": "aws" }), "AuthenticationFailed").await?;
    let text = format!(
        "failed to configure authentication options: failed to get access token for Git repository: failed to get service \
         account '{}/tenant': the specified default service account does not exist in the object namespace. your cluster is \
         subject to multi-tenant workload identity lockdown, reach out to your cluster administrator for help",
        s.ns()
    );
    assert_eq!(said, text);
    // Who brings credentials in a Secret needs no account.
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    stored(&s, "plain", repo.url(), json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn a_labelled_secret_that_changes_wakes_who_names_it() -> Result<()> {
    let s = builder("secret-wakes").start().await?;
    for name in ["labelled", "plain"] {
        let repo = s.git.create(name)?;
        repo.commit_files("one", &[("a", "1")])?;
        s.git.set_access(name, Access::basic("alice", "right"));
        write(&s, name, "right").await?;
        stored(&s, name, repo.url(), json!({ "secretRef": { "name": name } })).await?;
    }
    let before = s.git.seen("plain").len();
    write(&s, "plain", "wrong").await?;
    write(&s, "labelled", "wrong").await?;
    // The interval is ten minutes.
    let object: GitRepository = s.namespace.wait_failed("labelled", "GitOperationFailed").await?;
    assert!(message(&object)?.contains("authentication required"), "{object:?}");
    assert_eq!(
        s.git.seen("plain").len(),
        before,
        "a Secret without the label wakes nobody"
    );
    write(&s, "labelled", "right").await?;
    s.namespace.wait_ready::<GitRepository>("labelled").await?;
    Ok(())
}

/// Makes or replaces a Secret; the one named `labelled` is.
async fn write(s: &Scenario, name: &str, password: &str) -> Result<()> {
    let labels = match name {
        "labelled" => json!({ "reconcile.fluxcd.io/watch": "Enabled" }),
        _ => json!({}),
    };
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "labels": labels },
        "stringData": { "username": "alice", "password": password },
    });
    s.namespace.apply_yaml(&secret.to_string()).await?;
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_not_described_is_explained() -> Result<()> {
    let s = builder("proxy-bad").start().await?;
    let repo = s.git.create("app")?;
    repo.commit_files("one", &[("a", "1")])?;
    let fields = json!({ "proxySecretRef": { "name": "way" } });
    let said = failed(&s, "app", repo.url(), fields.clone(), "AuthenticationFailed").await?;
    let of = format!("failed to configure proxy options: secret '{}/way'", s.ns());
    assert_eq!(said, format!("{of} not found"));
    for (secret, text) in [
        (&[("username", "me")][..], "key 'address' not found"),
        (
            &[("address", "ssh://me:s3cret@proxy")],
            "proxy URL must use one of the supported schemes (http, https, socks5), got 'ssh'",
        ),
    ] {
        // Another one each time: what was set before stays set.
        s.namespace
            .api::<k8s_openapi::api::core::v1::Secret>()
            .delete("way", &Default::default())
            .await
            .ok();
        s.namespace.secret("way", secret).await?;
        let object: GitRepository = s.namespace.reconcile("app").await?;
        assert_eq!(message(&object)?, format!("{of}: {text}"));
    }
    Ok(())
}
