//! What the providers besides `generic` give: who the Git server is told is asking.
//!
//! [`Providers`] asks for tokens and keeps them in [`Tokens`] as long as they are good; what a provider is asked, and
//! how, is in [`github`], [`azure`], [`aws`] and [`gcp`]. The environment of the process is read once, at its start.

pub mod aws;
pub mod azure;
pub mod gcp;
pub mod github;
pub mod jwt;
mod oauth;
#[cfg(test)]
mod testing;
pub mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::source::GitRepository;
use git::credentials::{Certificate, Proxy};
use git::{Credentials, Proxies, RemoteUrl};
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::redact::Redacted;
use tokio::io::AsyncReadExt;

use super::cluster::{Cluster, Unreadable};
use super::token::{Asker, Key, Tokens};
use github::App;
use web::Web;

/// A file with a token has no more bytes than this.
const MAX_TOKEN: u64 = 64 * 1024;
/// The user name that goes with the token of a GitHub App.
const APP_USER: &str = "x-access-token";

/// What a provider gave, and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it is.
    pub login: Login,
    /// Until when.
    pub expires: Timestamp,
}

/// Who the Git server is told is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// An installation of a GitHub App, with its token.
    Installation(Redacted<String>),
    /// Whoever has this token.
    Bearer(Redacted<String>),
    /// Whoever has these keys of AWS.
    Keys(aws::Keys),
    /// An account of Google, by the name it goes by, with its token.
    Google(String, Redacted<String>),
}

/// A provider gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The GitHub App.
    #[error(transparent)]
    App(#[from] github::Error),
    /// The URL is not one of the provider.
    #[error(transparent)]
    Repository(#[from] aws::NotCodeCommit),
    /// The token of Google is not for this server.
    #[error(transparent)]
    Google(#[from] gcp::NotGoogle),
    /// A cloud.
    #[error("failed to get access token for Git repository: {0}")]
    Access(#[from] Access),
    /// A token that fits into no header.
    #[error("the token holds characters that cannot be sent")]
    Unsendable,
}

/// A cloud gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Access {
    /// The ServiceAccount cannot be read.
    #[error("failed to get service account '{account}': {detail}")]
    Account {
        /// Its namespace and name.
        account: String,
        /// Why.
        detail: String,
    },
    /// The ServiceAccount does not say who it is there.
    #[error("failed to get provider identity from service account '{account}' annotations: {detail}")]
    Identity {
        /// Its namespace and name.
        account: String,
        /// What is missing.
        detail: String,
    },
    /// There is no token of the cluster for it.
    #[error("failed to create kubernetes token for service account '{account}': {detail}")]
    Token {
        /// Its namespace and name.
        account: String,
        /// What the API server says.
        detail: Unreadable,
    },
    /// Nobody says for whom its token is to be.
    #[error(
        "failed to get provider audience for service account '{account}' (outside of GKE, its annotation {} has to \
         name a provider): {detail}",
        gcp::PROVIDER
    )]
    Audience {
        /// Its namespace and name.
        account: String,
        /// What the machine says.
        detail: web::Error,
    },
    /// The cloud does not accept it.
    #[error("failed to create provider access token for service account '{account}': {detail}")]
    OfAccount {
        /// Its namespace and name.
        account: String,
        /// What the cloud says.
        detail: web::Error,
    },
    /// Azure does not accept the controller.
    #[error("failed to create provider access token for the controller: {0}")]
    Azure(azure::Error),
    /// AWS does not accept the controller.
    #[error("failed to create provider access token for the controller: {0}")]
    Aws(aws::Error),
    /// Google does not accept the controller.
    #[error("failed to create provider access token for the controller: {0}")]
    Gcp(gcp::Error),
    /// There is no way there.
    #[error(transparent)]
    Web(#[from] web::Error),
}

/// A file with a token that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token in {} cannot be read: {detail}", path.display())]
pub struct Unread {
    path: PathBuf,
    detail: String,
}

/// The ServiceAccount is the default one, which not every namespace has.
const NO_DEFAULT_ACCOUNT: &str = "the specified default service account does not exist in the object namespace. your \
     cluster is subject to multi-tenant workload identity lockdown, reach out to your cluster administrator for help";

/// Who the controller is in the clouds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// In Azure.
    pub azure: azure::Environment,
    /// In AWS.
    pub aws: aws::Environment,
    /// In Google Cloud.
    pub gcp: gcp::Environment,
}

impl Environment {
    /// Reads variables of the environment; an empty one is none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            azure: azure::Environment::read(&filled),
            aws: aws::Environment::read(&filled),
            gcp: gcp::Environment::read(&filled),
        }
    }
}

/// Asks providers.
pub struct Providers {
    /// Who the controller is.
    environment: Arc<Environment>,
    /// Gives tokens of ServiceAccounts.
    cluster: Cluster,
    /// Keeps what was given.
    tokens: Tokens,
    /// The ServiceAccount of objects that name none; empty for the controller itself.
    default_account: String,
    /// On the way where an object names none.
    proxies: Arc<Proxies>,
}

/// Who asks for what, and on which way.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The object.
    pub object: &'a GitRepository,
    /// The repository.
    pub remote: &'a RemoteUrl,
    /// Authorities, certificate and proxy.
    pub way: &'a Credentials,
}

/// A ServiceAccount and whom it is in a cloud.
struct Account<I> {
    namespace: String,
    name: String,
    identity: I,
}

impl<I> Account<I> {
    /// Its namespace and name.
    fn shown(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Providers {
    /// Asks as whom the environment and the cluster say.
    pub fn new(
        environment: Environment,
        cluster: Cluster,
        tokens: Tokens,
        default_account: String,
        proxies: Proxies,
    ) -> Self {
        Self {
            environment: Arc::new(environment),
            cluster,
            tokens,
            default_account,
            proxies: Arc::new(proxies),
        }
    }

    /// An object is gone: so is what only it used.
    pub fn forget(&self, asker: &Asker) {
        self.tokens.forget(asker);
    }

    /// The way in with the token of a GitHub App. `api` holds the authorities, the certificate and the proxy on the way
    /// to GitHub's API.
    ///
    /// # Errors
    /// GitHub gives none.
    pub async fn github(&self, asking: Asking<'_>, app: App, api: Credentials) -> Result<Credentials, Error> {
        let mut key = Key::of("github");
        app.parts().iter().for_each(|part| key.add(part));
        let (way, proxies) = (api.clone(), Arc::clone(&self.proxies));
        let fetch = async move {
            let web = Web::along(&way, &proxies).map_err(github::Error::from)?;
            Ok(app.token(&web, Timestamp::now()).await?)
        };
        self.enter(asking, key, &api, fetch).await
    }

    /// The way into Azure DevOps.
    ///
    /// # Errors
    /// Azure gives no token.
    pub async fn azure(&self, asking: Asking<'_>) -> Result<Credentials, Error> {
        let account = self.account(asking.object, azure::Identity::of).await?;
        let mut key = Key::of("azure");
        key.add(azure::SCOPE);
        add_account(&mut key, account.as_ref(), azure::Identity::key);
        let (way, (proxies, cluster, environment)) = (way_to_cloud(asking), self.means());
        let taken = way.clone();
        let fetch = async move {
            let (web, now) = (Web::along(&taken, &proxies).map_err(Access::Web)?, Timestamp::now());
            let given = match account {
                None => {
                    let direct = Web::directly().map_err(Access::Web)?;
                    let given = azure::controller(&web, &direct, &environment.azure, now).await;
                    given.map_err(Access::Azure)
                }
                Some(account) => {
                    let token = token_of(&cluster, &account, azure::AUDIENCE).await?;
                    let given = azure::exchange(&web, &environment.azure, &account.identity, &token, now).await;
                    given.map_err(|detail| refused(&account, detail))
                }
            };
            Ok(given?)
        };
        self.enter(asking, key, &way, fetch).await
    }

    /// The way into AWS CodeCommit.
    ///
    /// # Errors
    /// The URL is of another host, or AWS gives no keys.
    pub async fn aws(&self, asking: Asking<'_>) -> Result<Credentials, Error> {
        let repository = aws::Repository::of(asking.remote)?;
        let account = self.account(asking.object, aws::Role::of).await?;
        let mut key = Key::of("aws");
        key.add(repository.region());
        add_account(&mut key, account.as_ref(), |role| role.arn().to_owned());
        let (way, (proxies, cluster, environment)) = (way_to_cloud(asking), self.means());
        let taken = way.clone();
        let region = repository.region().to_owned();
        let fetch = async move {
            let (web, environment) = (Web::along(&taken, &proxies).map_err(Access::Web)?, &environment.aws);
            let given = match account {
                None => {
                    let (direct, now) = (Web::directly().map_err(Access::Web)?, Timestamp::now());
                    let given = aws::controller(&web, &direct, environment, &region, now).await;
                    given.map_err(Access::Aws)
                }
                Some(account) => {
                    let token = token_of(&cluster, &account, aws::AUDIENCE).await?;
                    let session = aws::session_name(&account.namespace, &account.name, &region);
                    let given = aws::assume(&web, environment, &region, &account.identity, &session, &token).await;
                    given.map_err(|detail| refused(&account, detail))
                }
            };
            Ok(given?)
        };
        self.enter(asking, key, &way, fetch).await
    }

    /// The way into the Git servers of Google Cloud.
    ///
    /// # Errors
    /// The server is another one, or may be: only Google and the tenant itself may see a token. Or Google gives none.
    pub async fn gcp(&self, asking: Asking<'_>) -> Result<Credentials, Error> {
        gcp::check(asking.remote)?;
        let account = self.account(asking.object, gcp::Identity::of).await?;
        if account.is_none() && asking.way.authorities.is_some() {
            return Err(gcp::NotGoogle::Authority.into());
        }
        let mut key = Key::of("gcp");
        add_account(&mut key, account.as_ref(), gcp::Identity::key);
        let (way, (proxies, cluster, environment)) = (way_to_cloud(asking), self.means());
        let taken = way.clone();
        let fetch = async move {
            let (web, environment) = (Web::along(&taken, &proxies).map_err(Access::Web)?, &environment.gcp);
            let (direct, now) = (Web::directly().map_err(Access::Web)?, Timestamp::now());
            let given = match account {
                None => {
                    let given = gcp::controller(&web, &direct, environment, now).await;
                    given.map_err(Access::Gcp)
                }
                Some(account) => {
                    let audience = gcp::audience(&direct, environment, &account.identity).await;
                    let audience = audience.map_err(|detail| Access::Audience {
                        account: account.shown(),
                        detail,
                    })?;
                    let token = token_of(&cluster, &account, &audience.token).await?;
                    let given = gcp::exchange(&web, environment, &account.identity, &audience, &token, now).await;
                    given.map_err(|detail| refused(&account, detail))
                }
            };
            Ok(given?)
        };
        self.enter(asking, key, &way, fetch).await
    }

    /// The credentials that `way` becomes with what a provider gives, or has given.
    async fn enter(
        &self,
        asking: Asking<'_>,
        mut key: Key,
        way: &Credentials,
        fetch: impl Future<Output = Result<Grant, Error>> + Send + 'static,
    ) -> Result<Credentials, Error> {
        let identity = key.text();
        add_way(&mut key, way);
        let asker = Asker::of(asking.object);
        let entered = match self.tokens.get(key, &asker, fetch).await? {
            Login::Installation(token) => Credentials::basic(APP_USER, token.expose()),
            Login::Bearer(token) if is_sendable(token.expose()) => Credentials::bearer(token.expose()),
            Login::Bearer(_) => return Err(Error::Unsendable),
            Login::Google(account, token) => Credentials::basic(&account, token.expose()),
            Login::Keys(keys) => {
                let (username, password) = keys.login(&aws::Repository::of(asking.remote)?, Timestamp::now());
                Credentials::basic(&username, &password)
            }
        };
        Ok(Credentials {
            authorization: entered.authorization,
            identity: Some(identity),
            ..asking.way.clone()
        })
    }

    /// The ServiceAccount that an object is to be in a cloud, if it is not the controller itself.
    async fn account<I>(
        &self,
        object: &GitRepository,
        identity: impl Fn(&BTreeMap<String, String>) -> Result<I, String>,
    ) -> Result<Option<Account<I>>, Access> {
        let named = object.spec.service_account_name.as_deref();
        let name = match named.unwrap_or(&self.default_account) {
            "" => return Ok(None),
            name => name.to_owned(),
        };
        let namespace = object.namespace().unwrap_or_default();
        let shown = format!("{namespace}/{name}");
        let annotations = match self.cluster.account(&namespace, &name).await {
            Ok(annotations) => annotations,
            Err(error) => {
                let is_lacking_default = error.is_missing && named.is_none();
                return Err(Access::Account {
                    account: shown,
                    detail: if is_lacking_default {
                        NO_DEFAULT_ACCOUNT.to_owned()
                    } else {
                        error.text
                    },
                });
            }
        };
        match identity(&annotations) {
            Ok(identity) => Ok(Some(Account {
                namespace,
                name,
                identity,
            })),
            Err(detail) => Err(Access::Identity { account: shown, detail }),
        }
    }

    /// What it takes to ask a cloud.
    fn means(&self) -> (Arc<Proxies>, Cluster, Arc<Environment>) {
        (
            Arc::clone(&self.proxies),
            self.cluster.clone(),
            Arc::clone(&self.environment),
        )
    }
}

/// The way to a cloud: through the object's proxy. The authorities and the certificate in its Secret are for its Git
/// server.
fn way_to_cloud(asking: Asking<'_>) -> Credentials {
    Credentials {
        proxy: asking.way.proxy.clone(),
        ..Credentials::default()
    }
}

/// Another way may lead nowhere, or to somebody else: who takes it shares nothing with others.
fn add_way(key: &mut Key, way: &Credentials) {
    let proxy = way.proxy.as_ref();
    let (username, password) = proxy.and_then(Proxy::login).unwrap_or_default();
    let certificate = way.certificate.as_ref().map(Certificate::chain);
    key.add(proxy.map(Proxy::address).unwrap_or_default());
    key.add(username);
    key.add(password);
    key.add(way.authorities.as_deref().unwrap_or_default());
    key.add(certificate.unwrap_or_default());
}

fn add_account<I>(key: &mut Key, account: Option<&Account<I>>, identity: impl Fn(&I) -> String) {
    if let Some(account) = account {
        key.add(&account.namespace);
        key.add(&account.name);
        key.add(identity(&account.identity));
    }
}

async fn token_of<I>(cluster: &Cluster, account: &Account<I>, audience: &str) -> Result<Redacted<String>, Access> {
    let given = cluster.token(&account.namespace, &account.name, audience).await;
    given.map_err(|detail| Access::Token {
        account: account.shown(),
        detail,
    })
}

fn refused<I>(account: &Account<I>, detail: web::Error) -> Access {
    Access::OfAccount {
        account: account.shown(),
        detail,
    }
}

/// The token in a file of the pod. It is read whenever it is needed, since it is written anew before it expires.
async fn read_token(path: &Path) -> Result<Redacted<String>, Unread> {
    let mut text = String::new();
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        file.take(MAX_TOKEN).read_to_string(&mut text).await
    };
    match read.await {
        Ok(_) => Ok(Redacted::new(text.trim().to_owned())),
        Err(error) => Err(Unread {
            path: path.to_owned(),
            detail: error.to_string(),
        }),
    }
}

/// Whether a token fits into a header.
pub fn is_sendable(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::data;
    use crate::auth::token::Limits;
    use api::source::GitRepositorySpec;
    use runtime::metrics::Metrics;
    use std::time::Duration;
    use testing::{APP_KEY, Service};

    const GIVEN: &str = r#"{"token":"ghs_x","expires_at":"2099-01-01T00:00:00Z"}"#;

    /// Asks nobody in a cluster: there is none.
    fn providers() -> Providers {
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let limits = Limits {
            entries: 100,
            age: Duration::from_secs(3600),
        };
        Providers::new(
            Environment::read(|_| None),
            Cluster::new(kube::Client::try_from(nowhere).unwrap()),
            Tokens::new(limits, &Metrics::default()),
            String::new(),
            Proxies::default(),
        )
    }

    #[tokio::test]
    async fn a_token_goes_with_what_the_secret_holds_and_with_who_is_behind_it() {
        let line = |id| format!("POST /api/v3/app/installations/{id}/access_tokens");
        let service = Service::start(&[(&line(42), 201, GIVEN), (&line(43), 201, GIVEN)]).await;
        let base = format!("{}/api/v3", service.url);
        let (providers, remote) = (providers(), RemoteUrl::parse("https://host/r").unwrap());
        let ask = async |installation: &str, authorities: &str| {
            let secret = data(&[
                ("githubAppID", "7"),
                ("githubAppInstallationID", installation),
                ("githubAppPrivateKey", APP_KEY),
                ("githubAppBaseURL", &base),
            ]);
            let app = App::of(&secret, "ns/app").unwrap().unwrap();
            let way = Credentials {
                authorities: Some(authorities.as_bytes().to_vec()),
                ..Credentials::basic("somebody", "else")
            };
            let asking = Asking {
                object: &GitRepository::new("app", GitRepositorySpec::default()),
                remote: &remote,
                way: &way,
            };
            providers.github(asking, app, way.clone()).await.unwrap()
        };
        let first = ask("42", "").await;
        assert_eq!(
            first.authorization.unwrap().expose(),
            Credentials::basic("x-access-token", "ghs_x")
                .authorization
                .unwrap()
                .expose()
        );
        assert_eq!(first.authorities.as_deref(), Some(&b""[..]));
        assert_eq!(service.seen().len(), 1);
        assert_eq!(ask("42", "").await.identity, first.identity);
        assert!(service.seen().is_empty(), "it is kept");
        assert_eq!(ask("42", "other").await.identity, first.identity);
        assert_eq!(service.seen().len(), 1, "another way shares nothing");
        assert_ne!(ask("43", "").await.identity, first.identity);
        assert!(first.identity.is_some());
    }

    #[tokio::test]
    async fn the_token_of_google_is_shown_to_google_alone() {
        let providers = providers();
        let refused = async |url: &str, authorities: Option<&str>| {
            let way = Credentials {
                authorities: authorities.map(|pem| pem.as_bytes().to_vec()),
                ..Credentials::default()
            };
            let asking = Asking {
                object: &GitRepository::new("app", GitRepositorySpec::default()),
                remote: &RemoteUrl::parse(url).unwrap(),
                way: &way,
            };
            providers.gcp(asking).await.unwrap_err()
        };
        let elsewhere = refused("https://github.com/org/repo", None).await;
        assert_eq!(elsewhere, gcp::NotGoogle::Host("github.com".into()).into());
        // With an authority and a proxy of his own a tenant could answer in Google's name.
        let server = "https://mine-1-git.us-central1.sourcemanager.dev/p/r";
        let vouched = refused(server, Some("pem")).await;
        assert_eq!(vouched, gcp::NotGoogle::Authority.into());
    }

    #[test]
    fn tokens_have_to_fit_into_a_header() {
        assert!(is_sendable("eyJ.x-_~ y"));
        assert!(!is_sendable("a\nb") && !is_sendable("ü"));
    }
}
