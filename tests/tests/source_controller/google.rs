//! `provider: gcp`: whose token of Google Cloud goes to its Git servers, and to nobody else. Flux has no such value.

use anyhow::Result;
use api::source::GitRepository;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::git_server::{Access, GitServer};
use tests::pki::Authority;
use tests::proxy::Proxy;
use tests::scenario::Scenario;
use tests::web::{Front, SOURCE_MANAGER, Server};

use crate::stage::{builder, failed, must_not_leak, source, stored};
use crate::tokens::{APP_KEY, CLOUD_TOKEN, GATE, TokenServer, claims};

const EMAIL: &str = "app@my-project.iam.gserviceaccount.com";
const CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";
const ADDRESS: &str = "https://www.googleapis.com/auth/userinfo.email";
const REFUSED: &str = "failed to configure authentication options: failed to get access token for Git repository: \
                       failed to create provider access token for";

/// A Git server of Google, as far as anybody can tell who goes there through the proxy.
struct Google {
    authority: Authority,
    server: GitServer,
    proxy: Proxy,
}

impl Google {
    fn start() -> Result<Self> {
        let authority = Authority::new("google")?;
        let server = GitServer::start_front(&Front::of(&authority))?;
        server.create("app")?.commit_files("one", &[("a", "1")])?;
        server.set_access("app", Access::basic(EMAIL, CLOUD_TOKEN));
        Ok(Self {
            authority,
            server,
            proxy: Proxy::http(None)?,
        })
    }

    /// Makes the Secrets `way`, to the proxy, and `ca`, with the authority.
    async fn describe(&self, s: &Scenario) -> Result<()> {
        s.namespace.secret("way", &[("address", self.proxy.address())]).await?;
        let certificate = self.authority.certificate();
        s.namespace.secret("ca", &[("ca.crt", certificate)]).await?;
        Ok(())
    }

    fn url(&self) -> String {
        self.server.repository_url("app").replace("127.0.0.1", SOURCE_MANAGER)
    }
}

/// A spec with these fields besides.
fn gcp(fields: Value) -> Value {
    let mut spec = json!({ "provider": "gcp", "proxySecretRef": { "name": "way" } });
    if let (Value::Object(spec), Value::Object(fields)) = (&mut spec, fields) {
        spec.extend(fields);
    }
    spec
}

/// Deletes an object, which asks for nothing any more then.
async fn gone(s: &Scenario, name: &str) -> Result<()> {
    s.namespace.delete::<GitRepository>(name).await?;
    s.namespace.wait_gone::<GitRepository>(name).await
}

/// Makes a ServiceAccount.
async fn account(s: &Scenario, name: &str, annotations: Value) -> Result<()> {
    let metadata = json!({ "name": name, "annotations": annotations });
    let manifest = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
    s.namespace.apply_yaml(&manifest.to_string()).await?;
    Ok(())
}

/// What services for OAuth answer.
fn given(token: &str) -> Value {
    json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token })
}

#[tokio::test]
async fn a_service_account_is_somebody_in_google_cloud() -> Result<()> {
    let step = "ya29.step-in-between";
    // What the exchange answers, and what the account is given: neither knows the other's fields.
    let mut answer = given(step);
    answer["accessToken"] = CLOUD_TOKEN.into();
    answer["expireTime"] = "2099-01-01T00:00:00Z".into();
    let tokens = TokenServer::start(&answer, Server::start)?;
    let elsewhere = tokens.server.url().replace("127.0.0.1", "google.test");
    let s = builder("gcp")
        .flag(Controller::Source, GATE)
        .variable(Controller::Source, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", &elsewhere)
        .variable(
            Controller::Source,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
            &elsewhere,
        )
        .start()
        .await?;
    let google = Google::start()?;
    google.describe(&s).await?;
    let provider = "projects/1/locations/global/workloadIdentityPools/p/providers/c";
    let annotations = json!({
        "iam.gke.io/gcp-service-account": EMAIL,
        "gcp.auth.fluxcd.io/workload-identity-provider": provider,
    });
    account(&s, "app", annotations).await?;
    let fields = gcp(json!({ "serviceAccountName": "app", "secretRef": { "name": "ca" } }));
    // A refusal that repeats what was sent.
    let refusal = json!({ "error": "invalid_target", "error_description": "you sent BODY" });
    tokens.answer(StatusCode::BAD_REQUEST, &refusal);
    let said = failed(&s, "refused", &google.url(), fields.clone(), "AuthenticationFailed").await?;
    let text = format!(
        "{REFUSED} service account '{}/app': POST {elsewhere}/v1/token: 400 invalid_target: you sent ",
        s.ns()
    );
    assert!(
        said.starts_with(&text) && said.ends_with("&subject_token=***"),
        "{said}"
    );
    let refused = tokens.asked();
    assert!(!refused.is_empty());
    for asked in &refused {
        must_not_leak(&s, "refused", &asked.form()?["subject_token"]).await?;
    }
    gone(&s, "refused").await?;
    tokens.asked();
    tokens.answer(StatusCode::OK, &answer);
    stored(&s, "app", &google.url(), fields.clone()).await?;
    let [exchange, impersonation] = &tokens.asked()[..] else {
        panic!("two requests for a token")
    };
    assert_eq!(exchange.line, "POST /v1/token");
    let mut form = exchange.form()?;
    let token = form.remove("subject_token").unwrap_or_default();
    let of_cluster = claims(&token)?;
    let audience = format!("//iam.googleapis.com/{provider}");
    assert_eq!(of_cluster["aud"], json!([audience]));
    assert_eq!(of_cluster["sub"], format!("system:serviceaccount:{}:app", s.ns()));
    let expected = [
        ("audience", audience.as_str()),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", CLOUD),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form, expected.into());
    let line = format!("POST /v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    assert_eq!(impersonation.line, line);
    assert_eq!(impersonation.headers["authorization"], format!("Bearer {step}"));
    let body: Value = serde_json::from_str(&impersonation.body)?;
    assert_eq!(body, json!({ "lifetime": "3600s", "scope": [CLOUD, ADDRESS] }));
    // Another object that is the same ServiceAccount.
    stored(&s, "second", &google.url(), fields).await?;
    assert!(tokens.asked().is_empty(), "the token is kept");
    for secret in [CLOUD_TOKEN, step, &token] {
        must_not_leak(&s, "app", secret).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_account_that_is_nobody_in_google_cloud_is_explained() -> Result<()> {
    // A machine that is none of Google's.
    let machine = TokenServer::start(&json!({}), Server::start)?;
    machine.answer(StatusCode::NOT_FOUND, &json!({}));
    let s = builder("gcp-nobody")
        .flag(Controller::Source, GATE)
        .variable(Controller::Source, "GCE_METADATA_HOST", &machine.server.address())
        .start()
        .await?;
    let annotation = "gcp.auth.fluxcd.io/workload-identity-provider";
    account(&s, "plain", json!({})).await?;
    account(&s, "other", json!({ annotation: "projects/my-project" })).await?;
    let (ns, machine) = (s.ns(), machine.server.url());
    for (name, text) in [
        (
            "missing",
            format!("service account '{ns}/missing': serviceaccounts \"missing\" not found"),
        ),
        (
            "plain",
            format!(
                "provider audience for service account '{ns}/plain' (outside of GKE, its annotation {annotation} has \
                 to name a provider): GET {machine}/computeMetadata/v1/project/project-id: 404 {{}}"
            ),
        ),
        (
            "other",
            format!(
                "provider identity from service account '{ns}/other' annotations: invalid {annotation} annotation: \
                 'projects/my-project'. must match \
                 ^projects/\\d{{1,30}}/locations/global/workloadIdentityPools/[^/]{{1,100}}/providers/[^/]{{1,100}}$"
            ),
        ),
    ] {
        let fields = json!({ "provider": "gcp", "serviceAccountName": name });
        let url = "https://source.developers.google.com/p/my-project/r/app";
        let said = failed(&s, name, url, fields, "AuthenticationFailed").await?;
        let start = "failed to configure authentication options: failed to get access token for Git repository";
        assert_eq!(said, format!("{start}: failed to get {text}"));
    }
    Ok(())
}

#[tokio::test]
async fn the_controller_is_known_to_google_by_its_machine() -> Result<()> {
    let place = "/computeMetadata/v1/instance/service-accounts/default";
    let tokens = TokenServer::start(&given(CLOUD_TOKEN), |router| {
        Server::start(router.route(&format!("{place}/email"), get(|| async { EMAIL })))
    })?;
    let google = Google::start()?;
    let trusted = tempfile::NamedTempFile::new()?;
    std::fs::write(trusted.path(), google.authority.certificate())?;
    let s = builder("gcp-machine")
        .variable(Controller::Source, "SSL_CERT_FILE", &trusted.path().to_string_lossy())
        .variable(Controller::Source, "GCE_METADATA_HOST", &tokens.server.address())
        .start()
        .await?;
    google.describe(&s).await?;
    // Whoever says who Google is could be it.
    let fields = gcp(json!({ "secretRef": { "name": "ca" } }));
    let said = failed(&s, "vouched", &google.url(), fields, "AuthenticationFailed").await?;
    let text = "failed to configure authentication options: the controller's own Google Cloud token is not sent to a \
        server that a certificate authority of the Secret vouches for: ";
    assert!(said.starts_with(text), "{said}");
    assert!(tokens.asked().is_empty());
    let refusal = json!("Unable to generate access token; IAM returned 403 Forbidden");
    tokens.answer(StatusCode::FORBIDDEN, &refusal);
    let said = failed(&s, "refused", &google.url(), gcp(json!({})), "AuthenticationFailed").await?;
    let line = format!("{place}/token?scopes={CLOUD},{ADDRESS}");
    let line = line
        .replace("https://", "https%3A%2F%2F")
        .replace("com/auth/", "com%2Fauth%2F");
    let line = line.replace(',', "%2C");
    let text = format!(
        "{REFUSED} the controller: GOOGLE_APPLICATION_CREDENTIALS is not set, and the metadata server does not say who \
         the controller is: GET {}{line}: 403 {refusal}",
        tokens.server.url()
    );
    assert_eq!(said, text);
    gone(&s, "refused").await?;
    tokens.asked();
    assert!(google.proxy.asked().is_empty());
    tokens.answer(StatusCode::OK, &given(CLOUD_TOKEN));
    stored(&s, "app", &google.url(), gcp(json!({}))).await?;
    stored(&s, "second", &google.url(), gcp(json!({}))).await?;
    let [asked] = &tokens.asked()[..] else {
        panic!("one request for a token")
    };
    assert_eq!(asked.line, format!("GET {line}"));
    assert_eq!(asked.headers["metadata-flavor"], "Google");
    // The metadata server is no matter of the proxy.
    let asked = google.proxy.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.how == "CONNECT" && asked.target.starts_with(SOURCE_MANAGER)),
        "{asked:?}"
    );
    must_not_leak(&s, "app", CLOUD_TOKEN).await?;
    // What the server does not let in is a failure of Git.
    google.server.set_access("app", Access::basic(EMAIL, "another token"));
    source(&s, "closed", &google.url(), gcp(json!({}))).await?;
    s.namespace
        .wait_failed::<GitRepository>("closed", "GitOperationFailed")
        .await?;
    must_not_leak(&s, "closed", CLOUD_TOKEN).await
}

#[tokio::test]
async fn the_controller_is_known_to_google_by_the_key_in_a_file() -> Result<()> {
    let tokens = TokenServer::start(&given(CLOUD_TOKEN), Server::start)?;
    let google = Google::start()?;
    let folder = tempfile::tempdir()?;
    let (trusted, key) = (folder.path().join("ca.crt"), folder.path().join("key.json"));
    std::fs::write(&trusted, google.authority.certificate())?;
    let s = builder("gcp-key")
        .variable(Controller::Source, "SSL_CERT_FILE", &trusted.to_string_lossy())
        .variable(
            Controller::Source,
            "GOOGLE_APPLICATION_CREDENTIALS",
            &key.to_string_lossy(),
        )
        .start()
        .await?;
    google.describe(&s).await?;
    let said = failed(&s, "missing", &google.url(), gcp(json!({})), "AuthenticationFailed").await?;
    let text = format!(
        "{REFUSED} the controller: the credentials in {} (GOOGLE_APPLICATION_CREDENTIALS) cannot be used: No such file",
        key.display()
    );
    assert!(said.starts_with(&text), "{said}");
    gone(&s, "missing").await?;
    let token_uri = format!("{}/token", tokens.server.url());
    let credentials = json!({
        "type": "service_account", "client_email": EMAIL, "private_key": APP_KEY, "token_uri": token_uri,
    });
    std::fs::write(&key, credentials.to_string())?;
    stored(&s, "app", &google.url(), gcp(json!({}))).await?;
    let [asked] = &tokens.asked()[..] else {
        panic!("one request for a token")
    };
    assert_eq!(asked.line, "POST /token");
    let form = asked.form()?;
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claimed = claims(&form["assertion"])?;
    assert_eq!((&claimed["iss"], &claimed["aud"]), (&json!(EMAIL), &json!(token_uri)));
    must_not_leak(&s, "app", CLOUD_TOKEN).await?;
    must_not_leak(&s, "app", &form["assertion"]).await
}

#[tokio::test]
async fn the_api_server_knows_google_beside_the_providers_of_flux() -> Result<()> {
    let s = builder("gcp-rules").start().await?;
    let url = "https://source.developers.google.com/p/my-project/r/app";
    let taken = async |name: &str, fields: Value| source(&s, name, url, fields).await;
    taken("alone", json!({ "provider": "gcp", "suspend": true })).await?;
    let account = json!({ "provider": "gcp", "serviceAccountName": "app", "suspend": true });
    taken("account", account).await?;
    for (name, provider) in [("generic", "generic"), ("github", "github")] {
        let error = taken(name, json!({ "provider": provider, "serviceAccountName": "app" })).await;
        let text = format!("{:#}", error.unwrap_err());
        let rule = "serviceAccountName can only be set when provider is 'azure', 'aws' or 'gcp'";
        assert!(text.contains(rule), "{text}");
    }
    let error = taken("other", json!({ "provider": "google" })).await;
    let text = format!("{:#}", error.unwrap_err());
    let values = r#"supported values: "generic", "aws", "azure", "github", "gcp""#;
    assert!(text.contains(values), "{text}");
    Ok(())
}
