//! Tokens of Google Cloud for its Git servers: Secure Source Manager and Cloud Source Repositories.
//!
//! The controller is somebody by the file of `GOOGLE_APPLICATION_CREDENTIALS`, or by the account of its machine or, in
//! GKE, of its pod, in this order, as in Google's libraries. A ServiceAccount is itself in a workload identity pool, or
//! the account of Google that its annotation names. Tokens go to hosts of Google only. Files of users (`~/.config`)
//! are not read, and no program is run to get a token.

mod credentials;
mod identity;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::header::HeaderName;
use runtime::redact::Redacted;
use serde::Deserialize;
use serde_json::json;

use super::web::{self, Call, Web};
use super::{Grant, Login, Unread, oauth};
pub use identity::{Identity, NotGoogle, PROVIDER, check};

/// What is asked for: everything that the account may do, which is how Google's Git servers want it, and its name.
const SCOPES: [&str; 2] = [CLOUD, "https://www.googleapis.com/auth/userinfo.email"];
const CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";

const STS: &str = "https://sts.googleapis.com";
const IAM: &str = "https://iamcredentials.googleapis.com";
const MACHINE: &str = "169.254.169.254";
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How many seconds the token of an account is to last, where nobody says otherwise.
const LASTING: u32 = 3600;
/// The user name of those who have no address: the token says who they are.
const NAMELESS: &str = "git-account";

/// Who the controller is in Google Cloud, as the environment of the process says, and where tokens are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Where tokens are exchanged (`CLOUDSDK_API_ENDPOINT_OVERRIDES_STS`), without a slash at its end.
    sts: String,
    /// Where tokens of accounts are given (`CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS`), without one too.
    iam: String,
    /// Where the machine tells about itself (`GCE_METADATA_HOST`).
    machine: String,
    /// The credentials of the controller (`GOOGLE_APPLICATION_CREDENTIALS`), if they are not those of the machine.
    file: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables that Google's libraries and tools read.
    pub fn read(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let service = |api: &str, default: &str| {
            let url = variable(&format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"));
            url.as_deref().unwrap_or(default).trim_end_matches('/').to_owned()
        };
        let host = variable("GCE_METADATA_HOST");
        Self {
            sts: service("STS", STS),
            iam: service("IAMCREDENTIALS", IAM),
            machine: format!("http://{}/computeMetadata/v1", host.as_deref().unwrap_or(MACHINE)),
            file: variable("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        }
    }
}

/// Why the controller gets no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The credentials.
    #[error("the credentials in {} (GOOGLE_APPLICATION_CREDENTIALS) cannot be used: {detail}", path.display())]
    File {
        /// Where they are.
        path: PathBuf,
        /// What is wrong with them.
        detail: String,
    },
    /// The token of the pod.
    #[error(transparent)]
    Token(#[from] Unread),
    /// Google gives none.
    #[error(transparent)]
    Web(#[from] web::Error),
    /// The machine gives none.
    #[error(
        "GOOGLE_APPLICATION_CREDENTIALS is not set, and the metadata server does not say who the controller is: {0}"
    )]
    Machine(web::Error),
}

/// A token for the controller.
///
/// # Errors
/// See [`Error`].
pub async fn controller(web: &Web, direct: &Web, environment: &Environment, now: Timestamp) -> Result<Grant, Error> {
    match &environment.file {
        Some(path) => credentials::token_of_file(web, path, now).await,
        None => machine(direct, environment, now).await.map_err(Error::Machine),
    }
}

/// A token for the account of the machine or the pod.
async fn machine(direct: &Web, environment: &Environment, now: Timestamp) -> Result<Grant, web::Error> {
    let scopes: String = url::form_urlencoded::byte_serialize(SCOPES.join(",").as_bytes()).collect();
    let of_account = "instance/service-accounts/default";
    let call = about(environment, &format!("{of_account}/token?scopes={scopes}"));
    let (token, expires) = token(direct, &call, now).await?;
    let email = told(direct, &about(environment, &format!("{of_account}/email"))).await?;
    Ok(Grant {
        login: Login::Google(user_name(Some(&email)), token),
        expires,
    })
}

/// For whom tokens are when a ServiceAccount wants to be somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// That of the cluster.
    pub token: String,
    /// What the exchange calls the same.
    exchange: String,
}

/// For whom the cluster's token of a ServiceAccount has to be: the provider it names, or in GKE the pool of the
/// project, which the machine knows.
///
/// # Errors
/// The machine is none of GKE.
pub async fn audience(direct: &Web, environment: &Environment, identity: &Identity) -> Result<Audience, web::Error> {
    if let Some(provider) = &identity.provider {
        let provider = format!("//iam.googleapis.com/{provider}");
        return Ok(Audience {
            token: provider.clone(),
            exchange: provider,
        });
    }
    let tell = async |what: &str| told(direct, &about(environment, what)).await;
    let project = tell("project/project-id").await?;
    let location = tell("instance/attributes/cluster-location").await?;
    let cluster = tell("instance/attributes/cluster-name").await?;
    let pool = format!("{project}.svc.id.goog");
    let cluster = format!("projects/{project}/locations/{location}/clusters/{cluster}");
    Ok(Audience {
        exchange: format!("identitynamespace:{pool}:https://container.googleapis.com/v1/{cluster}"),
        token: pool,
    })
}

/// A token for an identity, in exchange for one of the cluster.
///
/// # Errors
/// Google gives none.
pub async fn exchange(
    web: &Web,
    environment: &Environment,
    identity: &Identity,
    audience: &Audience,
    given: &Redacted<String>,
    now: Timestamp,
) -> Result<Grant, web::Error> {
    let email = identity.email.as_deref();
    let url = email.map(|email| {
        let account = format!("v1/projects/-/serviceAccounts/{email}");
        format!("{}/{account}:generateAccessToken", environment.iam)
    });
    let exchange = Exchange {
        url: &format!("{}/v1/token", environment.sts),
        audience: &audience.exchange,
        kind: JWT,
        acting: url.as_deref().map(|url| Acting {
            url,
            email,
            seconds: LASTING,
        }),
    };
    exchange.grant(web, given, now).await
}

/// How a token of somebody else becomes one of Google.
struct Exchange<'a> {
    url: &'a str,
    audience: &'a str,
    /// What kind of token is given.
    kind: &'a str,
    /// Whose token it becomes then, if it does.
    acting: Option<Acting<'a>>,
}

/// An account that is acted as.
struct Acting<'a> {
    /// Where its tokens are given.
    url: &'a str,
    /// Its address, if the URL tells it.
    email: Option<&'a str>,
    /// How long its token is to last.
    seconds: u32,
}

impl Exchange<'_> {
    /// What is given for a token of somebody else.
    async fn grant(&self, web: &Web, given: &Redacted<String>, now: Timestamp) -> Result<Grant, web::Error> {
        // What is for a step in between may do just that.
        let scopes = match self.acting {
            Some(_) => CLOUD.to_owned(),
            None => SCOPES.join(" "),
        };
        let call = Call::post(self.url)
            .field("audience", self.audience)
            .field("grant_type", EXCHANGE)
            .field("requested_token_type", ACCESS_TOKEN)
            .field("scope", scopes)
            .field("subject_token_type", self.kind)
            .secret_field("subject_token", given);
        let (token, expires) = token(web, &call, now).await?;
        match &self.acting {
            Some(acting) => acting.grant(web, &token).await,
            None => Ok(Grant {
                login: Login::Google(user_name(None), token),
                expires,
            }),
        }
    }
}

impl Acting<'_> {
    /// What is given to somebody who may act as the account, and has this token.
    async fn grant(&self, web: &Web, token: &Redacted<String>) -> Result<Grant, web::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Given {
            access_token: String,
            expire_time: Timestamp,
        }
        let lifetime = format!("{}s", self.seconds);
        let call = Call::post(self.url)
            .bearer(token)
            .json(&json!({ "lifetime": lifetime, "scope": SCOPES }));
        let given: Given = web.json(&call, said).await?;
        if given.access_token.is_empty() {
            return Err(call.misunderstood("it holds no accessToken"));
        }
        Ok(Grant {
            login: Login::Google(user_name(self.email), Redacted::new(given.access_token)),
            expires: given.expire_time,
        })
    }
}

/// A token and until when it is good, from the services that speak OAuth.
async fn token(web: &Web, call: &Call, now: Timestamp) -> Result<(Redacted<String>, Timestamp), web::Error> {
    oauth::token(web, call, said, now).await
}

/// Asks the machine about something.
fn about(environment: &Environment, what: &str) -> Call {
    Call::get(format!("{}/{what}", environment.machine)).header(FLAVOR, "Google")
}

/// What the machine tells in one word.
async fn told(direct: &Web, call: &Call) -> Result<String, web::Error> {
    let answer = direct.ask(call).await?;
    if !answer.is_success() {
        return Err(call.refused(&answer, said));
    }
    let text = String::from_utf8_lossy(answer.body()).trim().to_owned();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"@.:_-".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_word) {
        return Err(call.misunderstood("it is no name"));
    }
    Ok(text)
}

/// The user name that goes with the token of an account: its address, if it has one.
fn user_name(email: Option<&str>) -> String {
    let is_address =
        |email: &&str| email.contains('@') && email.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    email.filter(is_address).unwrap_or(NAMELESS).to_owned()
}

/// What Google says about a refusal: its services for OAuth in their way, the others in another.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Fault {
        status: String,
        message: String,
    }
    #[derive(Deserialize)]
    struct Refusal {
        error: Fault,
    }
    let of_others = || {
        let Refusal { error } = serde_json::from_slice(body).ok()?;
        Some(format!("{}: {}", error.status, error.message))
    };
    oauth::said(body).or_else(of_others)
}
