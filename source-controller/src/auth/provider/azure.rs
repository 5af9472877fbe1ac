//! Tokens of Microsoft Entra ID for Azure DevOps.
//!
//! The controller is somebody by a client secret, by the token of a pod with workload identity, or by the managed
//! identity of the machine, in this order, as in Flux. A ServiceAccount is whom its annotations name. Client
//! certificates in the environment are not looked at, and no program is run to get a token.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::header::HeaderName;
use runtime::redact::Redacted;

use super::web::{self, Call, Web};
use super::{Grant, Login, oauth, read_token};

/// For whom the cluster's tokens of ServiceAccounts are.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";
/// What is asked for: Azure DevOps.
pub const SCOPE: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";

const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";
const MACHINE: &str = "http://169.254.169.254";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who the controller is in Azure, as the environment of the process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Where tokens are given (`AZURE_AUTHORITY_HOST`), without a slash at its end.
    authority: String,
    controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Controller {
    /// By a secret (`AZURE_CLIENT_SECRET`).
    Secret {
        identity: Identity,
        secret: Redacted<String>,
    },
    /// By the token of the pod (`AZURE_FEDERATED_TOKEN_FILE`), which is written anew now and then.
    Pod { identity: Identity, file: PathBuf },
    /// By an endpoint of the pod (`IDENTITY_ENDPOINT` and `IDENTITY_HEADER`).
    Endpoint {
        client: Option<String>,
        url: String,
        header: Redacted<String>,
    },
    /// By the machine (`AZURE_POD_IDENTITY_AUTHORITY_HOST` says where else to ask).
    Machine { client: Option<String>, host: String },
}

impl Environment {
    /// Reads the variables that Azure's libraries read.
    pub fn read(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let host = |name, default: &str| {
            let host = variable(name).unwrap_or_else(|| default.to_owned());
            host.trim_end_matches('/').to_owned()
        };
        let client = variable("AZURE_CLIENT_ID");
        let identity = || {
            let (tenant, client) = (variable("AZURE_TENANT_ID")?, client.clone()?);
            Some(Identity { tenant, client })
        };
        let by_secret = || {
            Some(Controller::Secret {
                identity: identity()?,
                secret: Redacted::new(variable("AZURE_CLIENT_SECRET")?),
            })
        };
        let by_pod = || {
            // The webhook that prepares pods sets all of them.
            variable("AZURE_AUTHORITY_HOST")?;
            Some(Controller::Pod {
                identity: identity()?,
                file: variable("AZURE_FEDERATED_TOKEN_FILE")?.into(),
            })
        };
        let by_endpoint = || {
            Some(Controller::Endpoint {
                client: client.clone(),
                url: variable("IDENTITY_ENDPOINT")?,
                header: Redacted::new(variable("IDENTITY_HEADER")?),
            })
        };
        Self {
            authority: host("AZURE_AUTHORITY_HOST", PUBLIC_CLOUD),
            controller: by_secret()
                .or_else(by_pod)
                .or_else(by_endpoint)
                .unwrap_or_else(|| Controller::Machine {
                    client: client.clone(),
                    host: host("AZURE_POD_IDENTITY_AUTHORITY_HOST", MACHINE),
                }),
        }
    }
}

/// An application or a managed identity of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    tenant: String,
    client: String,
}

impl Identity {
    /// Whom the annotations of a ServiceAccount name.
    ///
    /// # Errors
    /// What is missing, or cannot be a tenant.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let annotation = |what: &str, key: &str| {
            let missing = || format!("azure {what} ID is not set in the service account annotation {key}");
            annotations.get(key).cloned().ok_or_else(missing)
        };
        let tenant = annotation("tenant", "azure.workload.identity/tenant-id")?;
        let client = annotation("client", "azure.workload.identity/client-id")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if tenant.is_empty() || !tenant.bytes().all(is_name) {
            return Err(format!(
                "invalid azure tenant ID '{tenant}' in the service account annotation azure.workload.identity/tenant-id: \
                 it has letters, digits, dots and dashes only"
            ));
        }
        Ok(Self { tenant, client })
    }

    /// In one text.
    pub fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.client)
    }
}

/// Who is to be asked, and what came of it before it was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token of the pod.
    #[error(transparent)]
    File(#[from] super::Unread),
    /// Entra ID gives none.
    #[error(transparent)]
    Web(#[from] web::Error),
    /// The identity of the machine.
    #[error("ManagedIdentityCredential: {0}")]
    Machine(web::Error),
}

/// A token for the controller.
///
/// # Errors
/// See [`Error`].
pub async fn controller(web: &Web, direct: &Web, environment: &Environment, now: Timestamp) -> Result<Grant, Error> {
    let call = match &environment.controller {
        Controller::Secret { identity, secret } => {
            let call = entra(environment, identity).secret_field("client_secret", secret);
            return Ok(token(web, &call, now).await?);
        }
        Controller::Pod { identity, file } => {
            let assertion = read_token(file).await?;
            return Ok(exchange(web, environment, identity, &assertion, now).await?);
        }
        Controller::Endpoint { client, url, header } => {
            let query = query(&[("api-version", "2019-08-01")], client.as_deref());
            let url = format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' });
            Call::get(url).secret_header(HeaderName::from_static("x-identity-header"), header)
        }
        Controller::Machine { client, host } => {
            let query = query(&[("api-version", "2018-02-01")], client.as_deref());
            let url = format!("{host}/metadata/identity/oauth2/token?{query}");
            Call::get(url).header(HeaderName::from_static("metadata"), "true")
        }
    };
    token(direct, &call, now).await.map_err(Error::Machine)
}

/// A token for an identity, in exchange for one of the cluster.
///
/// # Errors
/// Entra ID gives none.
pub async fn exchange(
    web: &Web,
    environment: &Environment,
    identity: &Identity,
    assertion: &Redacted<String>,
    now: Timestamp,
) -> Result<Grant, web::Error> {
    let call = entra(environment, identity)
        .field("client_assertion_type", ASSERTION_TYPE)
        .secret_field("client_assertion", assertion);
    token(web, &call, now).await
}

fn entra(environment: &Environment, identity: &Identity) -> Call {
    let url = format!("{}/{}/oauth2/v2.0/token", environment.authority, identity.tenant);
    Call::post(url)
        .field("grant_type", "client_credentials")
        .field("client_id", &identity.client)
        .field("scope", SCOPE)
}

/// The endpoints of machines and pods know resources instead of scopes.
fn query(fixed: &[(&str, &str)], client: Option<&str>) -> String {
    let resource = SCOPE.trim_end_matches("/.default");
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(fixed).append_pair("resource", resource);
    if let Some(client) = client {
        query.append_pair("client_id", client);
    }
    query.finish()
}

async fn token(web: &Web, call: &Call, now: Timestamp) -> Result<Grant, web::Error> {
    let (token, expires) = oauth::token(web, call, oauth::said, now).await?;
    Ok(Grant {
        login: Login::Bearer(token),
        expires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::testing::{Service, variables};

    /// Who the controller is, and where tokens are given.
    fn check(set: &[(&str, &str)], authority: &str, controller: Controller) {
        let found = Environment::read(&variables(set, ""));
        let expected = Environment {
            authority: authority.into(),
            controller,
        };
        assert_eq!(found, expected, "{set:?}");
    }

    #[test]
    fn the_environment_says_who_the_controller_is() {
        let (tenant, client) = (("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"));
        let host = ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/");
        let us = "https://login.microsoftonline.us";
        let identity = Identity {
            tenant: "t".into(),
            client: "c".into(),
        };
        let machine = |client: Option<&str>, host: &str| Controller::Machine {
            client: client.map(str::to_owned),
            host: host.into(),
        };
        check(&[], PUBLIC_CLOUD, machine(None, MACHINE));
        check(&[client], PUBLIC_CLOUD, machine(Some("c"), MACHINE));
        let other = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1/");
        check(&[other], PUBLIC_CLOUD, machine(None, "http://127.0.0.1:1"));
        let file = ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token");
        let pod = Controller::Pod {
            identity: identity.clone(),
            file: "/var/run/token".into(),
        };
        check(&[host, tenant, client, file], us, pod);
        check(&[tenant, client, file], PUBLIC_CLOUD, machine(Some("c"), MACHINE));
        let secret = Controller::Secret {
            identity,
            secret: Redacted::new("s".into()),
        };
        check(&[host, tenant, client, file, ("AZURE_CLIENT_SECRET", "s")], us, secret);
        let endpoint = Controller::Endpoint {
            client: None,
            url: "http://127.0.0.1:1/token".into(),
            header: Redacted::new("h".into()),
        };
        let set = [
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"),
            ("IDENTITY_HEADER", "h"),
        ];
        check(&set, PUBLIC_CLOUD, endpoint);
    }

    #[test]
    fn a_service_account_names_tenant_and_client() {
        let tenant = ("azure.workload.identity/tenant-id", "t-1");
        let client = ("azure.workload.identity/client-id", "c");
        let of = |set: &[(&str, &str)]| {
            let annotations = set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            Identity::of(&annotations).map(|identity| identity.key())
        };
        assert_eq!(of(&[tenant, client]), Ok("t-1/c".into()));
        let missing = "azure tenant ID is not set in the service account annotation azure.workload.identity/tenant-id";
        assert_eq!(of(&[client]), Err(missing.into()));
        let missing = "azure client ID is not set in the service account annotation azure.workload.identity/client-id";
        assert_eq!(of(&[tenant]), Err(missing.into()));
        let elsewhere = of(&[("azure.workload.identity/tenant-id", "../x?"), client]).unwrap_err();
        assert!(elsewhere.starts_with("invalid azure tenant ID '../x?'"), "{elsewhere}");
    }

    const TOKEN_LINE: &str = "POST /t-1/oauth2/v2.0/token";
    const MACHINE_LINE: &str = "GET /metadata/identity/oauth2/token";
    const ASSERTION: &str = "the.assertion.of.the.cluster";

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    /// The token and when it ends; or the message, with `URL` for the service.
    fn given<E: std::fmt::Display>(service: &Service, grant: Result<Grant, E>) -> Result<(String, i64), String> {
        match grant {
            Ok(grant) => match &grant.login {
                Login::Bearer(token) => Ok((token.expose().clone(), grant.expires.as_second())),
                other => panic!("{other:?}"),
            },
            Err(error) => Err(error.to_string().replace(&service.url, "URL")),
        }
    }

    /// What a service gives to the controller with these variables, in which `URL` stands for the service.
    async fn ask(set: &[(&str, &str)], service: &Service) -> Result<(String, i64), String> {
        let environment = Environment::read(&variables(set, &service.url));
        let (web, direct) = (Web::directly().unwrap(), Web::directly().unwrap());
        given(service, controller(&web, &direct, &environment, now()).await)
    }

    fn pairs(form: &[(String, String)]) -> Vec<(&str, &str)> {
        form.iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[tokio::test]
    async fn a_token_of_the_cluster_is_exchanged() {
        let answer = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"at"}"#;
        let service = Service::start(&[(TOKEN_LINE, 200, answer)]).await;
        let environment = Environment::read(&variables(&[("AZURE_AUTHORITY_HOST", "URL")], &service.url));
        let identity = Identity {
            tenant: "t-1".into(),
            client: "c".into(),
        };
        let (web, assertion) = (Web::directly().unwrap(), Redacted::new(ASSERTION.to_owned()));
        let grant = exchange(&web, &environment, &identity, &assertion, now()).await;
        assert_eq!(given(&service, grant), Ok(("at".into(), 1_700_003_599)));
        let [seen] = &service.seen()[..] else {
            panic!("one request")
        };
        assert_eq!(seen.line, TOKEN_LINE);
        assert_eq!(
            pairs(&seen.form()),
            [
                ("client_assertion", ASSERTION),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                ),
                ("client_id", "c"),
                ("grant_type", "client_credentials"),
                ("scope", "499b84ac-1321-427f-aa17-267ca6975798/.default"),
            ]
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_its_own_words_without_what_was_sent() {
        let body =
            format!(r#"{{"error":"invalid_client","error_description":"AADSTS700213: {ASSERTION}\r\nno","x":1}}"#);
        let service = Service::start(&[(TOKEN_LINE, 401, &body)]).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{ASSERTION}\n")).unwrap();
        let path = file.path().display().to_string();
        let set = [
            ("AZURE_AUTHORITY_HOST", "URL/"),
            ("AZURE_TENANT_ID", "t-1"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_FEDERATED_TOKEN_FILE", &path),
        ];
        let text = "POST URL/t-1/oauth2/v2.0/token: 401 invalid_client: AADSTS700213: ***  no";
        assert_eq!(ask(&set, &service).await, Err(text.into()));
        assert_eq!(pairs(&service.seen()[0].form())[0], ("client_assertion", ASSERTION));
        drop(file);
        let gone = ask(&set, &service).await.unwrap_err();
        assert!(
            gone.starts_with(&format!("the token in {path} cannot be read: No such file")),
            "{gone}"
        );
    }

    #[tokio::test]
    async fn the_controller_is_known_by_a_secret() {
        let service = Service::start(&[(TOKEN_LINE, 200, r#"{"expires_in":"60","access_token":"at"}"#)]).await;
        let set = [
            ("AZURE_AUTHORITY_HOST", "URL"),
            ("AZURE_TENANT_ID", "t-1"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "a secret & more"),
        ];
        assert_eq!(ask(&set, &service).await, Ok(("at".into(), 1_700_000_060)));
        let form = service.seen()[0].form();
        assert_eq!(pairs(&form)[1], ("client_secret", "a secret & more"));
    }

    #[tokio::test]
    async fn the_controller_is_known_by_its_machine() {
        let answer = r#"{"access_token":"at","expires_in":"86399","expires_on":"1700086399","token_type":"Bearer"}"#;
        let service = Service::start(&[(MACHINE_LINE, 200, answer), ("GET /msi", 200, answer)]).await;
        let machine = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "URL");
        let resource = "resource=499b84ac-1321-427f-aa17-267ca6975798";
        let line = format!("{MACHINE_LINE}?api-version=2018-02-01&{resource}");
        for (set, expected) in [
            (&[machine][..], line.clone()),
            (&[machine, ("AZURE_CLIENT_ID", "c")], format!("{line}&client_id=c")),
        ] {
            assert_eq!(ask(set, &service).await, Ok(("at".into(), 1_700_086_399)));
            let seen = service.seen().remove(0);
            assert_eq!(
                (seen.line, seen.headers["metadata"].to_str().unwrap()),
                (expected, "true")
            );
        }
        let endpoint = [("IDENTITY_ENDPOINT", "URL/msi"), ("IDENTITY_HEADER", "proof")];
        assert_eq!(ask(&endpoint, &service).await, Ok(("at".into(), 1_700_086_399)));
        let seen = service.seen().remove(0);
        assert_eq!(seen.line, format!("GET /msi?api-version=2019-08-01&{resource}"));
        assert_eq!(seen.header("x-identity-header"), "proof");
        let nobody = Service::start(&[]).await;
        let text = "ManagedIdentityCredential: GET URL/metadata/identity/oauth2/token?api-version=2018-02-01&";
        let error = ask(&[machine], &nobody).await.unwrap_err();
        assert!(
            error.starts_with(text) && error.ends_with(r#": 404 {"message":"Not Found"}"#),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_is_no_token_is_told() {
        let said = async |body| {
            let service = Service::start(&[(MACHINE_LINE, 200, body)]).await;
            let error = ask(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "URL")], &service)
                .await
                .unwrap_err();
            error.rsplit_once("understood: ").unwrap().1.to_owned()
        };
        assert_eq!(said(r#"{"access_token":""}"#).await, "it holds no access_token");
        assert_eq!(
            said(r#"{"access_token":"at","expires_in":"soon"}"#).await,
            "line 1 column 41: Data"
        );
        assert_eq!(
            said(&"x".repeat((1 << 20) + 1)).await,
            "it is larger than 1048576 bytes"
        );
    }
}
