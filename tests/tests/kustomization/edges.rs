//! What the tests of the kustomize controller's edges share: a namespace, the library's own view of the cluster, and
//! short ways to write manifests.

use anyhow::Result;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kustomize_controller::apply::{Entry, Options, StageFailure, StageResult, plan_stage};
use kustomize_controller::cluster::{Cluster, Clusters, Identity, Limits};
use kustomize_controller::stages;
use runtime::metrics::Metrics;
use serde_json::{Value, json};
use std::path::Path;
use tests::namespace::Namespace;

/// The label that names an object's owner.
pub const NAME: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label that names its namespace.
pub const NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";

/// A namespace, and the cluster as the controller sees it.
pub struct Edge {
    pub namespace: Namespace,
    pub clusters: Clusters,
    pub own: Cluster,
}

impl Edge {
    pub async fn new(name: &str) -> Result<Self> {
        Self::within(&tests::cluster::Cluster::shared().await?, name).await
    }

    pub async fn within(cluster: &tests::cluster::Cluster, name: &str) -> Result<Self> {
        let namespace = cluster.namespace(name).await?;
        let clusters = clusters(cluster.kubeconfig(), &Metrics::default()).await?;
        Ok(Edge {
            own: clusters.own(),
            namespace,
            clusters,
        })
    }

    /// A manifest in the namespace with the owner's labels; `rest` is merged into it.
    pub fn object(&self, api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
        let mut object = json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.namespace.name(),
                "labels": { NAME: "app", NAMESPACE: self.namespace.name() },
            },
        });
        merge(&mut object, rest);
        object
    }

    pub fn map(&self, name: &str, rest: Value) -> Value {
        let mut rest = rest;
        if rest.get("data").is_none() {
            rest["data"] = json!({ "k": "v" });
        }
        self.object("v1", "ConfigMap", name, rest)
    }

    /// The live object.
    pub async fn find(&self, api_version: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let resource = self.own.resolve(api_version, kind).await?;
        Ok(self.own.find(&resource, self.namespace.name(), name).await?)
    }

    /// The cluster as a service account with these rules in the namespace.
    pub async fn account(&self, name: &str, rules: &str) -> Result<Cluster> {
        self.namespace.account(name, rules).await?;
        let identity = Identity::Account {
            namespace: self.namespace.name().to_owned(),
            name: name.to_owned(),
        };
        Ok(self.clusters.of(&identity)?)
    }
}

/// A text with the namespace's name for `<ns>`.
pub fn text(edge: &Edge, text: &str) -> String {
    edge.namespace.text(text)
}

/// The library's view of a cluster.
pub async fn clusters(kubeconfig: &Path, metrics: &Metrics) -> Result<Clusters> {
    tests::use_ring();
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    Clusters::new(config, metrics, Limits::default())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                match value {
                    Value::Null => drop(target.remove(&key)),
                    value => merge(target.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

/// Plans a stage and carries it out; `planned` is told what will be changed before anything is written.
pub async fn apply_stage(
    cluster: &Cluster,
    objects: &[Value],
    options: &Options,
    planned: impl AsyncFnOnce(&[Entry]),
) -> Result<StageResult, StageFailure> {
    let plan = plan_stage(cluster, objects, options).await?;
    if plan.writes() {
        let changed: Vec<_> = plan.changes().changed().cloned().collect();
        planned(&changed).await;
    }
    plan.carry_out(cluster, &stages::rank, options).await
}
