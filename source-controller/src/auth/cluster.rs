//! What is read from the API server about credentials: Secrets, ServiceAccounts and tokens in their name.
//!
//! Everything is read at the moment it is needed, and nothing is kept: what was changed counts from the next run on.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use runtime::redact::Redacted;

use super::Data;

/// Reads as the controller itself.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Unreadable {
    /// Whether that is because there is none.
    pub is_missing: bool,
    /// What the API server says.
    pub text: String,
}

impl From<kube::Error> for Unreadable {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self {
                is_missing: status.code == 404,
                text: status.message,
            },
            other => Self {
                is_missing: false,
                text: other.to_string(),
            },
        }
    }
}

impl Cluster {
    /// Reads with this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The data of a Secret.
    ///
    /// # Errors
    /// There is none, or the API server does not give it.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Data, Unreadable> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let data = secrets.get(name).await?.data.unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The annotations of a ServiceAccount.
    ///
    /// # Errors
    /// There is none, or the API server does not give it.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Unreadable> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        Ok(accounts.get(name).await?.metadata.annotations.unwrap_or_default())
    }

    /// A token of the cluster in the name of a ServiceAccount, for somebody else.
    ///
    /// # Errors
    /// The API server does not give it.
    pub async fn token(&self, namespace: &str, name: &str, audience: &str) -> Result<Redacted<String>, Unreadable> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let given = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = given.status.map(|status| status.token).unwrap_or_default();
        Ok(Redacted::new(token))
    }
}
