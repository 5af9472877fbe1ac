//! The cluster that objects are applied to, as seen by one identity.
//!
//! [`Clusters`] hands out a [`Cluster`] for the controller itself or for a service account that it impersonates. All of
//! them share connections, discovery and a bound on the requests in flight (first come, first served), so an identity
//! costs next to nothing and none can starve the others of connections.
//!
//! An identity is never widened: an account without a name is refused, not replaced by the controller's own rights.
//! Clusters other than the one that the controller's configuration leads to are not known here.

mod definitions;
mod discovery;
mod error;
mod path;
mod pods;
mod rights;
mod wire;

pub use discovery::Resource;
pub use error::ApiError;
pub(crate) use error::chain;
#[cfg(test)]
pub(crate) use error::refusal;

use crate::inventory::{Owned, group_version};
use discovery::{Certainty, Discovery};
use http::{HeaderValue, Method};
use kube::client::Body;
use kube::{Client, Config};
use runtime::lease::Fence;
use runtime::lock;
use runtime::metrics::Metrics;
use runtime::path::encoded;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Semaphore;
use wire::{Call, JSON, Wire};

/// The field manager of everything the controller applies.
pub const FIELD_MANAGER: &str = "kustomize-controller";

/// Answers with the metadata of an object alone, as `PartialObjectMetadata`.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Who speaks to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The controller.
    Own,
    /// A service account that the controller impersonates: its user name alone, the API server adds the groups.
    Account {
        /// The account's namespace.
        namespace: String,
        /// The account's name.
        name: String,
    },
}

/// The user name; empty for the controller.
impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Own => Ok(()),
            Identity::Account { namespace, name } => write!(formatter, "system:serviceaccount:{namespace}:{name}"),
        }
    }
}

/// How much the controller asks of an API server and of itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight at any time, watches aside.
    pub in_flight: usize,
    /// Identities whose clients are kept.
    pub identities: usize,
}

/// 64 requests, 1024 identities.
impl Default for Limits {
    fn default() -> Self {
        Limits {
            in_flight: 64,
            identities: 1024,
        }
    }
}

/// The cluster, for whatever identity is asked for. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    own: Cluster,
    identities: Arc<Mutex<Recent>>,
}

/// Clients of identities, the least recently used of which makes room.
struct Recent {
    clients: HashMap<Identity, (Client, u64)>,
    uses: u64,
    limit: usize,
}

/// The cluster as one identity. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    identity: Identity,
    wire: Wire,
    discovery: Arc<Discovery>,
}

impl Clusters {
    /// For the API server of a configuration, and for a process that takes part in no election: nothing keeps it from
    /// writing. Otherwise as [`Clusters::fenced`].
    ///
    /// # Errors
    /// A configuration that no client can be made of.
    pub fn new(config: Config, metrics: &Metrics, limits: Limits) -> anyhow::Result<Self> {
        Self::fenced(config, metrics, limits, &Fence::open())
    }

    /// For the API server of a configuration. Its requests are counted in the metrics, and no identity writes while the
    /// fence is closed.
    ///
    /// Must be called within the async runtime that the clients are used in.
    ///
    /// # Errors
    /// A configuration that no client can be made of.
    pub fn fenced(mut config: Config, metrics: &Metrics, limits: Limits, fence: &Fence) -> anyhow::Result<Self> {
        // Attempts are counted and bounded here; the library's own would go on for many minutes.
        config.default_retry = false;
        let client = runtime::client::build(config, metrics, fence)?;
        let wire = Wire {
            client,
            slots: Arc::new(Semaphore::new(limits.in_flight.max(1))),
        };
        let discovery = Arc::new(Discovery::new(wire.clone()));
        let recent = Recent {
            clients: HashMap::new(),
            uses: 0,
            limit: limits.identities.max(1),
        };
        Ok(Clusters {
            own: Cluster {
                identity: Identity::Own,
                wire,
                discovery,
            },
            identities: Arc::new(Mutex::new(recent)),
        })
    }

    /// The cluster as the controller itself.
    pub fn own(&self) -> Cluster {
        self.own.clone()
    }

    /// The cluster as that identity.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for an account without namespace or name, and for a name that no account can have: with a
    /// colon, for example, it would be another user's.
    pub fn of(&self, identity: &Identity) -> Result<Cluster, ApiError> {
        let Identity::Account { namespace, name } = identity else {
            return Ok(self.own());
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(ApiError::Refused(
                "cannot impersonate a service account without namespace or name".to_owned(),
            ));
        }
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !name.bytes().all(is_plain) {
            return Err(ApiError::Refused(format!(
                "cannot impersonate service account {name:?}: its name may only have lower-case letters, digits, '-' and '.'"
            )));
        }
        let mut recent = lock(&self.identities);
        let client = match recent.get(identity) {
            Some(client) => client,
            None => {
                let client = impersonating(&self.own.wire.client, &identity.to_string())?;
                recent.put(identity.clone(), client.clone());
                client
            }
        };
        let wire = Wire {
            client,
            slots: self.own.wire.slots.clone(),
        };
        Ok(Cluster {
            identity: identity.clone(),
            wire,
            discovery: self.own.discovery.clone(),
        })
    }
}

impl Recent {
    fn get(&mut self, identity: &Identity) -> Option<Client> {
        self.uses += 1;
        let (client, used) = self.clients.get_mut(identity)?;
        *used = self.uses;
        Some(client.clone())
    }

    fn put(&mut self, identity: Identity, client: Client) {
        if self.clients.len() >= self.limit {
            let oldest = self
                .clients
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(identity, _)| identity.clone());
            oldest.map(|oldest| self.clients.remove(&oldest));
        }
        self.clients.insert(identity, (client, self.uses));
    }
}

/// A client that says to be somebody else, over the connections of the first.
fn impersonating(client: &Client, user: &str) -> Result<Client, ApiError> {
    let refused = |_| ApiError::Refused(format!("cannot impersonate {user:?}: not a user name"));
    let header = HeaderValue::from_str(user).map_err(refused)?;
    let inner = client.clone();
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        request.headers_mut().insert("impersonate-user", header.clone());
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    Ok(Client::new(service, client.default_namespace()))
}

impl Cluster {
    /// Who asks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The client, for watches and typed reads. Its requests are not bounded in number.
    pub fn client(&self) -> Client {
        self.wire.client.clone()
    }

    /// Where a kind is served in that version.
    ///
    /// # Errors
    /// [`ApiError::NoMatch`] when it is not; [`ApiError::Stale`], [`ApiError::Unreachable`] or [`ApiError::Odd`] when nobody knows.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Resource, ApiError> {
        let (group, version) = group_version(api_version);
        self.discovery.resolve(group, version, kind).await
    }

    /// Where a kind is served in the version that the API server prefers.
    ///
    /// # Errors
    /// [`ApiError::NoMatchInGroup`] when no version is; as [`Cluster::resolve`] otherwise.
    pub async fn preferred(&self, group: &str, kind: &str) -> Result<Resource, ApiError> {
        self.discovery.preferred(group, kind, Certainty::Usual).await
    }

    /// The metadata of an owned object and where it is: in its version, else in any; nothing when there is none.
    ///
    /// # Errors
    /// An error for which [`ApiError::is_no_match`] holds means that the kind is not served at all, for certain: the
    /// API server was asked after `since`. Otherwise as [`Cluster::find`].
    pub(crate) async fn find_owned(
        &self,
        owned: &Owned,
        since: Instant,
    ) -> Result<Option<(Resource, Value)>, ApiError> {
        let id = &owned.id;
        let in_any_version = || self.discovery.preferred(&id.group, &id.kind, Certainty::Since(since));
        let resource = match self.discovery.resolve(&id.group, &owned.version, &id.kind).await {
            Err(error) if error.is_no_match() => in_any_version().await?,
            found => found?,
        };
        match self.find_metadata(&resource, &id.namespace, &id.name).await {
            // The cache is behind, or the API server is: discovery tells.
            Err(error) if error.is_not_served() => {
                self.discovery.forget(&resource);
                in_any_version().await?;
                Err(error)
            }
            found => Ok(found?.map(|live| (resource, live))),
        }
    }

    /// Takes note of an applied CustomResourceDefinition, so that its kinds are known at once.
    pub(crate) fn learn(&self, definition: &Value) {
        self.discovery.learn(definition);
    }

    /// Takes note that nothing is served where a kind should be: the next lookup asks again.
    pub(crate) fn forget(&self, resource: &Resource) {
        self.discovery.forget(resource);
    }

    /// The live object; nothing when there is none.
    ///
    /// # Errors
    /// Whatever the API server or the network says.
    pub async fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.read(resource, namespace, name, JSON).await
    }

    /// The metadata of the live object (an object with `metadata` alone); nothing when there is none.
    ///
    /// # Errors
    /// As [`Cluster::find`].
    pub async fn find_metadata(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        self.read(resource, namespace, name, METADATA).await
    }

    /// All objects of a kind in a namespace (everywhere when that is empty) that a label selector takes.
    ///
    /// # Errors
    /// As [`Cluster::find`].
    pub async fn list(&self, resource: &Resource, namespace: &str, labels: &str) -> Result<Vec<Value>, ApiError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let collection = path::collection(resource, namespace)?;
            let path = format!(
                "{collection}?limit=500&labelSelector={}&continue={}",
                encoded(labels),
                encoded(&next)
            );
            let mut page = self.send(Method::GET, "list", path, resource, "", JSON, None).await?;
            if let Value::Array(found) = page["items"].take() {
                items.extend(found);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => return Ok(items),
            }
        }
    }

    /// Server-side apply as [`FIELD_MANAGER`], forced; the object as it is afterwards, or would be.
    pub(crate) async fn apply(&self, resource: &Resource, object: &Value, dry_run: bool) -> Result<Value, ApiError> {
        let (namespace, name) = place(object);
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let path = path::object(resource, namespace, name)?;
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true{dry_run}");
        // JSON is YAML.
        let body = ("application/apply-patch+yaml", object.to_string().into_bytes());
        self.send(Method::PATCH, "patch", path, resource, name, JSON, Some(body))
            .await
    }

    /// Whether the API server would create the object if there was none of its name: it is asked, and refuses a valid
    /// object because the name is taken.
    pub(crate) async fn could_create(&self, resource: &Resource, object: &Value) -> Result<(), ApiError> {
        let (namespace, name) = place(object);
        let path = format!(
            "{}?dryRun=All&fieldManager={FIELD_MANAGER}",
            path::collection(resource, namespace)?
        );
        let body = (JSON, object.to_string().into_bytes());
        match self
            .send(Method::POST, "create", path, resource, name, JSON, Some(body))
            .await
        {
            Err(error) if !error.is_already_exists() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A JSON patch (RFC 6902) as [`FIELD_MANAGER`].
    pub(crate) async fn json_patch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        operations: &Value,
    ) -> Result<(), ApiError> {
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}",
            path::object(resource, namespace, name)?
        );
        let body = ("application/json-patch+json", operations.to_string().into_bytes());
        self.send(Method::PATCH, "patch", path, resource, name, METADATA, Some(body))
            .await
            .map(drop)
    }

    /// Deletes an object of that uid, resource version, or both, and what it owns in the background; another one of that
    /// name, or one that has changed since, is left alone with a conflict. Returns the uid; nothing when it is gone
    /// already.
    pub(crate) async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        version: Option<&str>,
    ) -> Result<Option<String>, ApiError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": { "uid": uid, "resourceVersion": version },
        });
        let path = path::object(resource, namespace, name)?;
        let body = (JSON, options.to_string().into_bytes());
        match self
            .send(Method::DELETE, "delete", path, resource, name, METADATA, Some(body))
            .await
        {
            // An unknown path says nothing about the object.
            Err(error) if error.is_not_found() && !error.is_not_served() => Ok(None),
            Err(error) => Err(error),
            // The object if it is on its way out, a status if it is gone.
            Ok(answer) => {
                let uid = answer.pointer("/metadata/uid").or(answer.pointer("/details/uid"));
                Ok(Some(uid.and_then(Value::as_str).unwrap_or_default().to_owned()))
            }
        }
    }

    /// Whether a service account can be impersonated: it exists, or none is asked for. Ask as the controller.
    ///
    /// # Errors
    /// As [`Cluster::find`]: nobody may conclude from an outage that an account is gone.
    pub async fn can_impersonate(&self, namespace: &str, account: &str) -> Result<bool, ApiError> {
        if account.is_empty() {
            return Ok(true);
        }
        let accounts = self.resolve("v1", "ServiceAccount").await?;
        match self.find_metadata(&accounts, namespace, account).await {
            // No account has such a name, now or later.
            Err(ApiError::Refused(_)) => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    async fn read(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        accept: &str,
    ) -> Result<Option<Value>, ApiError> {
        let path = path::object(resource, namespace, name)?;
        match self.send(Method::GET, "get", path, resource, name, accept, None).await {
            Ok(object) => Ok(Some(object)),
            // An unknown path says nothing about the object.
            Err(error) if error.is_not_found() && !error.is_not_served() => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each of them differs per verb")]
    async fn send(
        &self,
        method: Method,
        verb: &str,
        path: String,
        resource: &Resource,
        name: &str,
        accept: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Value, ApiError> {
        let subject = format!("{verb} {} {name}", resource.group_resource());
        self.wire
            .send(Call {
                method,
                path,
                accept,
                body,
                subject: subject.trim_end().to_owned(),
            })
            .await
    }
}

/// Namespace and name of an object; missing ones are empty.
fn place(object: &Value) -> (&str, &str) {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}
