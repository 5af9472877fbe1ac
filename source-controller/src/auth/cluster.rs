//! What is read from the API server about credentials: Secrets, ServiceAccounts and tokens in their name.
//!
//! Everything is read at the moment it is needed, and nothing is kept: what was changed counts from the next run on.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use runtime::path::{self, Unfit};
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

/// There can be none of such a name, but who names it must be told that.
impl From<Unfit> for Unreadable {
    fn from(error: Unfit) -> Self {
        Self {
            is_missing: false,
            text: error.to_string(),
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
        let name = path::name(name)?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let data = secrets.get(&name).await?.data.unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The annotations of a ServiceAccount.
    ///
    /// # Errors
    /// There is none, or the API server does not give it.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Unreadable> {
        let name = path::name(name)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        Ok(accounts.get(&name).await?.metadata.annotations.unwrap_or_default())
    }

    /// A token of the cluster in the name of a ServiceAccount, for somebody else.
    ///
    /// # Errors
    /// The API server does not give it.
    pub async fn token(&self, namespace: &str, name: &str, audience: &str) -> Result<Redacted<String>, Unreadable> {
        let name = path::name(name)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let given = accounts
            .create_token_request(&name, &PostParams::default(), &request)
            .await?;
        let token = given.status.map(|status| status.token).unwrap_or_default();
        Ok(Redacted::new(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Request, Response};
    use kube::client::Body;
    use std::sync::{Arc, Mutex};

    /// The paths that are asked for, or why none is. Namespaces are those of objects.
    async fn check(name: &str, expected: Result<[&str; 3], &str>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            paths.lock().unwrap().push(request.uri().to_string());
            std::future::ready(Response::builder().status(404).body(Body::empty()))
        });
        let cluster = Cluster::new(kube::Client::new(service, "default"));
        let texts = [
            cluster.secret("ns", name).await.unwrap_err().text,
            cluster.account("ns", name).await.unwrap_err().text,
            cluster.token("ns", name, "audience").await.unwrap_err().text,
        ];
        let asked = asked.lock().unwrap();
        match expected {
            Ok(expected) => assert_eq!(*asked, expected.map(|path| format!("/api/v1/namespaces/ns/{path}"))),
            Err(expected) => assert_eq!((asked.len(), texts), (0, [expected; 3].map(str::to_owned))),
        }
    }

    #[tokio::test]
    async fn every_name_is_that_of_one_object_or_is_not_asked_for() {
        let plain = ["secrets/a.b-c", "serviceaccounts/a.b-c", "serviceaccounts/a.b-c/token?"];
        check("a.b-c", Ok(plain)).await;
        let odd = [
            "secrets/%3Flimit%3D1%23",
            "serviceaccounts/%3Flimit%3D1%23",
            "serviceaccounts/%3Flimit%3D1%23/token?",
        ];
        check("?limit=1#", Ok(odd)).await;
        check("", Err("resource name may not be empty")).await;
        check(
            "x/token",
            Err("invalid resource name \"x/token\": [may not contain '/']"),
        )
        .await;
    }
}
