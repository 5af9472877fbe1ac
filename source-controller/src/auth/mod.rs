//! Who asks: what the Git server, and the proxy on the way, are told before they let anybody in.
//!
//! [`Authenticator::credentials`] reads the Secrets that an object names ([`cluster`]), makes of them what the
//! transport sends ([`secret`]) and the proxy it goes through ([`proxy`]), and asks GitHub or a cloud for the rest
//! ([`provider`]), which is kept for a while ([`token`]). Secrets are not kept: each run reads them anew. [`wake`]
//! makes a run of a change of those that are labelled for it.

pub mod cluster;
pub mod provider;
pub mod proxy;
pub mod secret;
pub mod token;
pub mod wake;

use std::collections::BTreeMap;

use api::source::{GitProvider, GitRepository};
use git::client;
use git::credentials::Proxy;
use git::{Credentials, RemoteUrl, ssh};
use kube::ResourceExt;

use crate::reconcile::failure::Failure;
use cluster::Cluster;
use provider::github::{APP_ID, App};
use provider::{Asking, Providers};
use token::Asker;

/// The data of a Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// Finds out who asks.
pub struct Authenticator {
    cluster: Cluster,
    providers: Providers,
    /// Whether objects may be ServiceAccounts in a cloud.
    allows_accounts: bool,
}

impl Authenticator {
    /// Reads from this cluster and asks these providers; `allows_accounts` is the gate `ObjectLevelWorkloadIdentity`.
    pub fn new(cluster: Cluster, providers: Providers, allows_accounts: bool) -> Self {
        Self {
            cluster,
            providers,
            allows_accounts,
        }
    }

    /// The credentials with which an object's repository is asked, on the way through this proxy.
    ///
    /// # Errors
    /// A Secret is missing or does not say what it should, or a provider gives nothing.
    pub async fn credentials(
        &self,
        object: &GitRepository,
        remote: &RemoteUrl,
        proxy: Option<Proxy>,
    ) -> Result<Credentials, Failure> {
        let (name, data) = self.secret(object).await?;
        let of_secret = secret::credentials(remote, &data).map_err(|error| failure(error, remote, &name))?;
        let way = Credentials { proxy, ..of_secret };
        let asking = Asking {
            object,
            remote,
            way: &way,
        };
        let provided = match object.spec.provider.unwrap_or(GitProvider::Generic) {
            GitProvider::Generic if data.get(APP_ID).is_some_and(|id| !id.is_empty()) => {
                return Err(Failure::AppDataWithoutProvider(name));
            }
            GitProvider::Generic => return Ok(way),
            GitProvider::GitHub => {
                let has_secret = object.spec.secret_ref.is_some();
                let app = App::of(&data, &name).map_err(provider::Error::App)?;
                let app = app.ok_or(Failure::NoAppData { has_secret })?;
                // The API is behind TLS, whatever the repository is behind.
                let api = Credentials {
                    authorities: secret::authorities(&data),
                    certificate: secret::certificate(&data).map_err(secret::Error::from)?,
                    proxy: way.proxy.clone(),
                    ..Credentials::default()
                };
                self.providers.github(asking, app, api).await
            }
            GitProvider::Azure | GitProvider::Aws | GitProvider::Gcp if self.lacks_gate(object) => {
                return Err(Failure::GateDisabled);
            }
            GitProvider::Azure => self.providers.azure(asking).await,
            GitProvider::Aws => self.providers.aws(asking).await,
            GitProvider::Gcp => self.providers.gcp(asking).await,
        };
        Ok(provided?)
    }

    /// An object is gone: so is what was kept for it.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.providers.forget(&Asker::new(namespace, name));
    }

    fn lacks_gate(&self, object: &GitRepository) -> bool {
        object.spec.service_account_name.is_some() && !self.allows_accounts
    }

    /// The proxy on the way to an object's repository, if it names one.
    ///
    /// # Errors
    /// Its Secret is missing or does not say where it is.
    pub async fn proxy(&self, object: &GitRepository) -> Result<Option<Proxy>, proxy::Error> {
        let Some(reference) = &object.spec.proxy_secret_ref else {
            return Ok(None);
        };
        let namespace = object.namespace().unwrap_or_default();
        let secret = format!("{namespace}/{}", reference.name);
        match self.cluster.secret(&namespace, &reference.name).await {
            Ok(data) => proxy::proxy(&data, &secret).map(Some),
            Err(error) if error.is_missing => Err(proxy::Error::NotFound { secret }),
            Err(error) => Err(proxy::Error::Unreadable {
                secret,
                detail: error.text,
            }),
        }
    }

    /// The Secret with the credentials: its namespace and name, and its data; both are empty when there is none.
    async fn secret(&self, object: &GitRepository) -> Result<(String, Data), Failure> {
        let Some(reference) = &object.spec.secret_ref else {
            return Ok(Default::default());
        };
        let namespace = object.namespace().unwrap_or_default();
        let name = format!("{namespace}/{}", reference.name);
        match self.cluster.secret(&namespace, &reference.name).await {
            Ok(data) => Ok((name, data)),
            Err(error) => Err(Failure::Secret {
                name,
                detail: error.text,
            }),
        }
    }
}

/// What follows from a Secret that does not say what it should; `secret` is its namespace and name.
fn failure(error: secret::Error, remote: &RemoteUrl, secret: &str) -> Failure {
    let git = |text: String| Failure::from(client::Error::Failed(text));
    match error {
        secret::Error::SshKey(ssh::Error::Encrypted) => Failure::EncryptedKey(secret.to_owned()),
        secret::Error::PasswordAlone(_) | secret::Error::SshKeyMissing(_) => Failure::Credentials(error),
        // Flux looks at the values when it connects, so it says this where the connection would fail.
        secret::Error::SshKey(_) | secret::Error::BasicAndBearer => git(error.to_string()),
        secret::Error::Certificate(_) | secret::Error::Unsendable(..) => {
            git(format!("unable to clone '{remote}': {error}"))
        }
    }
}

/// The text of a key; empty when there is none.
fn text(secret: &Data, key: &str) -> String {
    secret
        .get(key)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default()
}

/// The data of a Secret of texts.
#[cfg(test)]
fn data(texts: &[(&str, &str)]) -> Data {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    texts.iter().map(pair).collect()
}
