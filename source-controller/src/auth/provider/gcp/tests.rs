use super::*;
use crate::auth::provider::testing::{APP_KEY, Seen, Service, claims, variables};
use std::collections::BTreeMap;

const NOW: i64 = 1_700_000_000;
const GIVEN: &str = "the.token.of.the.cluster";
const OAUTH: &str = r#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#;
const ACCOUNT: &str = r#"{"accessToken":"ya29.y","expireTime":"2030-01-01T00:00:00Z"}"#;
const EMAIL: &str = "app@my-project.iam.gserviceaccount.com";
const IMPERSONATE: &str =
    "POST /v1/projects/-/serviceAccounts/app@my-project.iam.gserviceaccount.com:generateAccessToken";
const BOTH_SCOPES: &str =
    "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email";
const ABOUT: &str = "GET /computeMetadata/v1";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// What the environment says where every service is this one.
fn environment(service: &Service, file: &str) -> Environment {
    let host = service.url.trim_start_matches("http://");
    let set = [
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "URL/"),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "URL"),
        ("GCE_METADATA_HOST", host),
        ("GOOGLE_APPLICATION_CREDENTIALS", file),
    ];
    let variable = variables(&set, &service.url);
    Environment::read(&|name: &str| variable(name).filter(|value| !value.is_empty()))
}

/// The user name, the token and when it ends; or the message, with `URL` for the service.
fn given<E: std::fmt::Display>(service: &Service, grant: Result<Grant, E>) -> Result<(String, String, i64), String> {
    match grant {
        Ok(grant) => match grant.login {
            Login::Google(user, token) => Ok((user, token.expose().clone(), grant.expires.as_second())),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error.to_string().replace(&service.url, "URL")),
    }
}

/// What the controller is given with the credentials in a file, in which `URL` stands for the service; or without.
async fn ask(service: &Service, credentials: Option<&str>) -> Result<(String, String, i64), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        credentials.unwrap_or_default().replace("URL", &service.url),
    )
    .unwrap();
    let path = file.path().display().to_string();
    let environment = environment(service, credentials.map(|_| path.as_str()).unwrap_or_default());
    let (web, direct) = (Web::directly().unwrap(), Web::directly().unwrap());
    let found = given(service, controller(&web, &direct, &environment, now()).await);
    found.map_err(|text| text.replace(&path, "FILE"))
}

/// What a ServiceAccount with these annotations is given, and for whom the cluster's token was.
async fn ask_as(service: &Service, annotations: &[(&str, &str)]) -> Result<(String, (String, String, i64)), String> {
    let annotations: BTreeMap<String, String> = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let identity = Identity::of(&annotations)?;
    let (web, environment) = (Web::directly().unwrap(), environment(service, ""));
    let audience = audience(&web, &environment, &identity).await;
    let audience = audience.map_err(|error| error.to_string().replace(&service.url, "URL"))?;
    let token = Redacted::new(GIVEN.to_owned());
    let grant = exchange(&web, &environment, &identity, &audience, &token, now()).await;
    Ok((audience.token, given(service, grant)?))
}

fn granted(user: &str, token: &str, expires: i64) -> (String, String, i64) {
    (user.into(), token.into(), expires)
}

fn check_form(seen: &Seen, expected: &[(&str, &str)]) {
    let form = seen.form();
    let form: Vec<_> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(form, expected);
}

#[test]
fn the_environment_says_where_tokens_are_given() {
    let expected = Environment {
        sts: "https://sts.googleapis.com".into(),
        iam: "https://iamcredentials.googleapis.com".into(),
        machine: "http://169.254.169.254/computeMetadata/v1".into(),
        file: None,
    };
    assert_eq!(Environment::read(&|_: &str| None), expected);
    let set = [
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "https://sts.test/"),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "https://iam.test"),
        ("GCE_METADATA_HOST", "127.0.0.1:988"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"),
    ];
    let expected = Environment {
        sts: "https://sts.test".into(),
        iam: "https://iam.test".into(),
        machine: "http://127.0.0.1:988/computeMetadata/v1".into(),
        file: Some("/key.json".into()),
    };
    assert_eq!(Environment::read(&variables(&set, "")), expected);
}

#[tokio::test]
async fn the_controller_is_known_by_its_machine() {
    let token = format!("{ABOUT}/instance/service-accounts/default/token");
    let email = format!("{ABOUT}/instance/service-accounts/default/email");
    let service = Service::start(&[(&token, 200, OAUTH), (&email, 200, EMAIL)]).await;
    assert_eq!(ask(&service, None).await, Ok(granted(EMAIL, "ya29.x", NOW + 3599)));
    let seen = service.seen();
    let scopes = "https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform%2C\
        https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fuserinfo.email";
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, [format!("{token}?scopes={scopes}"), email.clone()]);
    assert!(seen.iter().all(|seen| seen.header("metadata-flavor") == "Google"));
    // A pod of GKE that acts as no account of Google.
    let service = Service::start(&[(&token, 200, OAUTH), (&email, 200, "a.com:project.svc.id.goog")]).await;
    assert_eq!(
        ask(&service, None).await,
        Ok(granted("git-account", "ya29.x", NOW + 3599))
    );
    let nobody = Service::start(&[]).await;
    let text = format!(
        "GOOGLE_APPLICATION_CREDENTIALS is not set, and the metadata server does not say who the controller is: GET \
         URL/computeMetadata/v1/instance/service-accounts/default/token?scopes={scopes}: 404 \
         {{\"message\":\"Not Found\"}}"
    );
    assert_eq!(ask(&nobody, None).await, Err(text));
    let said = async |token_says: &str, email_says: &str| {
        let service = Service::start(&[(&token, 200, token_says), (&email, 200, email_says)]).await;
        let error = ask(&service, None).await.unwrap_err();
        error.rsplit_once("understood: ").unwrap().1.to_owned()
    };
    assert_eq!(said("<html>", EMAIL).await, "line 1 column 1: Syntax");
    assert_eq!(said(r#"{"expires_in":3599}"#, EMAIL).await, "line 1 column 19: Data");
    assert_eq!(said(OAUTH, "").await, "it is no name");
    assert_eq!(said(OAUTH, "a@b\nc@d").await, "it is no name");
}

#[tokio::test]
async fn the_controller_is_known_by_the_key_of_an_account() {
    let service = Service::start(&[("POST /token", 200, OAUTH)]).await;
    let key = json!({
        "type": "service_account", "project_id": "my-project", "private_key_id": "1",
        "private_key": APP_KEY, "client_email": EMAIL, "token_uri": "URL/token",
    });
    let found = ask(&service, Some(&key.to_string())).await;
    assert_eq!(found, Ok(granted(EMAIL, "ya29.x", NOW + 3599)));
    let [seen] = &service.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(seen.line, "POST /token");
    let form: BTreeMap<_, _> = seen.form().into_iter().collect();
    assert_eq!(form.len(), 2);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let expected = json!({
        "iss": EMAIL, "scope": BOTH_SCOPES, "aud": format!("{}/token", service.url),
        "iat": NOW - 10, "exp": NOW + 3590,
    });
    assert_eq!(claims(&form["assertion"]), expected);
    let oauth = r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
    let refusing = Service::start(&[("POST /token", 400, oauth)]).await;
    let text = "POST URL/token: 400 invalid_grant: Invalid JWT Signature.";
    assert_eq!(ask(&refusing, Some(&key.to_string())).await, Err(text.into()));
    let strange = Service::start(&[("POST /token", 200, "soon")]).await;
    let text = "POST URL/token: the answer is not understood: line 1 column 1: Syntax";
    assert_eq!(ask(&strange, Some(&key.to_string())).await, Err(text.into()));
}

#[tokio::test]
async fn the_controller_is_known_by_the_token_of_its_pod() {
    let service = Service::start(&[("POST /v1/token", 200, OAUTH), (IMPERSONATE, 200, ACCOUNT)]).await;
    let pod = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pod.path(), format!("{GIVEN}\n")).unwrap();
    let provider = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/c";
    let mut file = json!({
        "type": "external_account", "audience": provider, "universe_domain": "googleapis.com",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "URL/v1/token",
        "credential_source": { "file": pod.path(), "format": { "type": "text" } },
    });
    let found = ask(&service, Some(&file.to_string())).await;
    assert_eq!(found, Ok(granted("git-account", "ya29.x", NOW + 3599)));
    check_form(
        &service.seen()[0],
        &[
            ("audience", provider),
            ("grant_type", EXCHANGE),
            ("requested_token_type", ACCESS_TOKEN),
            ("scope", BOTH_SCOPES),
            ("subject_token", GIVEN),
            ("subject_token_type", JWT),
        ],
    );
    let url = IMPERSONATE.replace("POST ", "URL");
    file["service_account_impersonation_url"] = url.into();
    file["service_account_impersonation"] = json!({ "token_lifetime_seconds": 600 });
    let found = ask(&service, Some(&file.to_string())).await;
    assert_eq!(found, Ok(granted(EMAIL, "ya29.y", 1_893_456_000)));
    let [exchange, account] = &service.seen()[..] else {
        panic!("two requests")
    };
    assert_eq!(exchange.form()[3], ("scope".into(), CLOUD.into()));
    assert_eq!(
        (account.line.as_str(), account.header("authorization")),
        (IMPERSONATE, "Bearer ya29.x")
    );
    let body: serde_json::Value = serde_json::from_str(&account.body).unwrap();
    assert_eq!(body, json!({ "lifetime": "600s", "scope": SCOPES }));
    let oauth = format!(r#"{{"error":"invalid_request","error_description":"{GIVEN} is too old"}}"#);
    let refusing = Service::start(&[("POST /v1/token", 400, &oauth)]).await;
    let text = "POST URL/v1/token: 400 invalid_request: *** is too old";
    assert_eq!(ask(&refusing, Some(&file.to_string())).await, Err(text.into()));
    let gone = pod.path().display().to_string();
    drop(pod);
    let error = ask(&service, Some(&file.to_string())).await.unwrap_err();
    assert!(
        error.starts_with(&format!("the token in {gone} cannot be read: No such file")),
        "{error}"
    );
    file["credential_source"] = json!({ "executable": { "command": "/bin/true" } });
    let text = "the credentials in FILE (GOOGLE_APPLICATION_CREDENTIALS) cannot be used: credential_source must name a \
        file with the token as its text, without a program, a URL or a format";
    assert_eq!(ask(&service, Some(&file.to_string())).await, Err(text.into()));
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_told_without_what_is_in_them() {
    let service = Service::start(&[]).await;
    let check = async |file: &str, expected: &str| {
        let text = format!("the credentials in FILE (GOOGLE_APPLICATION_CREDENTIALS) cannot be used: {expected}");
        assert_eq!(ask(&service, Some(file)).await, Err(text));
    };
    check("s3cret", "line 1 column 1: Syntax").await;
    let user = r#"{"type":"authorized_user","refresh_token":"s3cret"}"#;
    check(user, "type must be service_account or external_account").await;
    check(
        r#"{"type":"service_account","private_key":["s3cret"]}"#,
        "line 1 column 40: Data",
    )
    .await;
    let key = r#"{"type":"service_account","client_email":"a@b","private_key":"s3cret"}"#;
    let text = "private_key: invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
    check(key, text).await;
    check(
        r#"{"type":"service_account","private_key":"s3cret"}"#,
        "client_email is missing",
    )
    .await;
    let key = r#"{"type":"service_account","client_email":"a@b","private_key":""}"#;
    check(key, "private_key is missing").await;
    let pod = r#"{"type":"external_account","audience":"a","token_url":"URL"}"#;
    check(pod, "subject_token_type is missing").await;
    check("{}", "type must be service_account or external_account").await;
    let gone = environment(&service, "/nowhere/key.json");
    let web = Web::directly().unwrap();
    let text = controller(&web, &web, &gone, now()).await.unwrap_err().to_string();
    let start = "the credentials in /nowhere/key.json (GOOGLE_APPLICATION_CREDENTIALS) cannot be used: No such file";
    assert!(text.starts_with(start), "{text}");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_token_of_the_cluster_becomes_one_of_an_account() {
    let service = Service::start(&[("POST /v1/token", 200, OAUTH), (IMPERSONATE, 200, ACCOUNT)]).await;
    let name = "projects/1/locations/global/workloadIdentityPools/p/providers/c";
    let provider = format!("//iam.googleapis.com/{name}");
    let annotations = [(PROVIDER, name), ("iam.gke.io/gcp-service-account", EMAIL)];
    let found = ask_as(&service, &annotations).await;
    assert_eq!(found, Ok((provider.clone(), granted(EMAIL, "ya29.y", 1_893_456_000))));
    let [exchange, account] = &service.seen()[..] else {
        panic!("two requests")
    };
    assert_eq!(exchange.line, "POST /v1/token");
    check_form(
        exchange,
        &[
            ("audience", provider.as_str()),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("scope", "https://www.googleapis.com/auth/cloud-platform"),
            ("subject_token", GIVEN),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ],
    );
    assert_eq!(account.line, IMPERSONATE);
    assert_eq!(account.header("authorization"), "Bearer ya29.x");
    assert_eq!(account.header("content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_str(&account.body).unwrap();
    let scopes: Vec<_> = BOTH_SCOPES.split(' ').collect();
    assert_eq!(body, json!({ "lifetime": "3600s", "scope": scopes }));
}

#[tokio::test]
async fn a_service_account_of_gke_is_known_by_the_pool_of_its_project() {
    let (project, location, name) = (
        format!("{ABOUT}/project/project-id"),
        format!("{ABOUT}/instance/attributes/cluster-location"),
        format!("{ABOUT}/instance/attributes/cluster-name"),
    );
    let service = Service::start(&[
        ("POST /v1/token", 200, OAUTH),
        (&project, 200, "my-project"),
        (&location, 200, "europe-west4\n"),
        (&name, 200, "prod"),
    ])
    .await;
    let expected = (
        "my-project.svc.id.goog".to_owned(),
        granted("git-account", "ya29.x", NOW + 3599),
    );
    assert_eq!(ask_as(&service, &[]).await, Ok(expected));
    let seen = service.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, [project.as_str(), &location, &name, "POST /v1/token"]);
    assert!(seen[..3].iter().all(|seen| seen.header("metadata-flavor") == "Google"));
    let cluster = "https://container.googleapis.com/v1/projects/my-project/locations/europe-west4/clusters/prod";
    let form = seen[3].form();
    let audience = format!("identitynamespace:my-project.svc.id.goog:{cluster}");
    assert_eq!(form[0], ("audience".into(), audience));
    assert_eq!(form[3], ("scope".into(), BOTH_SCOPES.into()));
    let elsewhere = Service::start(&[(&project, 200, "my-project"), (&location, 200, "<html>")]).await;
    let text = "GET URL/computeMetadata/v1/instance/attributes/cluster-location: the answer is not understood: it is \
        no name";
    assert_eq!(ask_as(&elsewhere, &[]).await, Err(text.into()));
}

#[tokio::test]
async fn refusals_are_told_in_their_own_words_without_what_was_sent() {
    let name = "projects/1/locations/global/workloadIdentityPools/p/providers/c";
    let annotations = [(PROVIDER, name), ("iam.gke.io/gcp-service-account", EMAIL)];
    let oauth = format!(r#"{{"error":"invalid_grant","error_description":"{GIVEN} is of another issuer"}}"#);
    let service = Service::start(&[("POST /v1/token", 400, &oauth)]).await;
    let text = "POST URL/v1/token: 400 invalid_grant: *** is of another issuer";
    assert_eq!(ask_as(&service, &annotations).await, Err(text.into()));
    let denied = r#"{"error":{"code":403,"message":"ya29.x may not act as it","status":"PERMISSION_DENIED"}}"#;
    let service = Service::start(&[("POST /v1/token", 200, OAUTH), (IMPERSONATE, 403, denied)]).await;
    let text = format!(
        "{}: 403 PERMISSION_DENIED: *** may not act as it",
        IMPERSONATE.replace("POST ", "POST URL")
    );
    assert_eq!(ask_as(&service, &annotations).await, Err(text));
    let service = Service::start(&[("POST /v1/token", 200, r#"{"access_token":""}"#)]).await;
    let text = "POST URL/v1/token: the answer is not understood: it holds no access_token";
    assert_eq!(ask_as(&service, &annotations).await, Err(text.into()));
    for (answer, expected) in [
        (
            r#"{"accessToken":"","expireTime":"2030-01-01T00:00:00Z"}"#,
            "it holds no accessToken",
        ),
        (
            r#"{"accessToken":"ya29.y","expireTime":"soon"}"#,
            "line 1 column 43: Data",
        ),
    ] {
        let service = Service::start(&[("POST /v1/token", 200, OAUTH), (IMPERSONATE, 200, answer)]).await;
        let text = format!(
            "{}: the answer is not understood: {expected}",
            IMPERSONATE.replace("POST ", "POST URL")
        );
        assert_eq!(ask_as(&service, &annotations).await, Err(text));
    }
}
