//! What is read from the API server about credentials: Secrets, ServiceAccounts and tokens in their name.
//!
//! Everything is read at the moment it is needed, and nothing is kept: what was changed counts from the next run on. The
//! names come from objects of tenants and become parts of paths: one that no object can have is not asked for.

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

/// Refuses what is no name of a Secret or ServiceAccount (a DNS subdomain): `../../other/secrets/x` or `x?y` would be
/// another path. The API server says that there is no such object.
fn check_name(name: &str) -> Result<(), Unreadable> {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends = |byte: u8| byte.is_ascii_alphanumeric();
    let is_name = name.bytes().all(is_known)
        && name.bytes().next().is_some_and(ends)
        && name.bytes().next_back().is_some_and(ends);
    if is_name {
        return Ok(());
    }
    Err(Unreadable {
        is_missing: false,
        text: format!("invalid resource name {name:?}: it has lower-case letters, digits, dashes and dots only"),
    })
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
        check_name(name)?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let data = secrets.get(name).await?.data.unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The annotations of a ServiceAccount.
    ///
    /// # Errors
    /// There is none, or the API server does not give it.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Unreadable> {
        check_name(name)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        Ok(accounts.get(name).await?.metadata.annotations.unwrap_or_default())
    }

    /// A token of the cluster in the name of a ServiceAccount, for somebody else.
    ///
    /// # Errors
    /// The API server does not give it.
    pub async fn token(&self, namespace: &str, name: &str, audience: &str) -> Result<Redacted<String>, Unreadable> {
        check_name(name)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The message; nothing where the name is asked for, which here leads nowhere.
    async fn check(name: &str, expected: Option<&str>) {
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let cluster = Cluster::new(kube::Client::try_from(nowhere).unwrap());
        let expected = expected.map(str::to_owned);
        for found in [
            cluster.secret("ns", name).await.map(drop),
            cluster.account("ns", name).await.map(drop),
            cluster.token("ns", name, "audience").await.map(drop),
        ] {
            let text = found.unwrap_err().text;
            let refused = text.starts_with("invalid resource name").then_some(text);
            assert_eq!(refused, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn names_that_no_object_has_are_not_asked_for() {
        let refused = |name: &str| {
            format!("invalid resource name {name:?}: it has lower-case letters, digits, dashes and dots only")
        };
        for name in ["a", "git-credentials", "a.b-c.0"] {
            check(name, None).await;
        }
        for name in [
            "",
            ".",
            "..",
            "../../kube-system/secrets/x",
            "x/token",
            "x?watch=true",
            "x#y",
            "..%2fx",
            "X",
            "-x",
            "x.",
            "x\n",
            "ü",
        ] {
            check(name, Some(&refused(name))).await;
        }
    }
}
