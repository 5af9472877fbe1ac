//! A namespace of a cluster and what tests do in it: apply, read, ask for a reconcile, suspend, and wait for
//! conditions. A fresh namespace is deleted when its value goes (unless `SLUICE_KEEP` is set), finalizers and all,
//! since the controllers that would serve them may be gone by then.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace as CoreNamespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::checkout;
use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::kubeconfig;
use crate::process::tail;
use crate::wait;

/// What the typed methods work with: the namespaced kinds of `api` and `k8s-openapi`.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<T> Object for T where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
    fresh: bool,
    logs: Mutex<Vec<PathBuf>>,
}

impl Namespace {
    pub(crate) async fn create(cluster: Cluster, name: String, fresh: bool) -> Result<Self> {
        let api: Api<CoreNamespace> = Api::all(cluster.client());
        let object: CoreNamespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() && !fresh => {}
            other => other
                .map(|_| ())
                .with_context(|| format!("cannot make the namespace {name}"))?,
        }
        Ok(Self {
            cluster,
            name,
            fresh,
            logs: Mutex::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A text with the namespace's name for `<ns>`.
    pub fn text(&self, text: &str) -> String {
        text.replace("<ns>", &self.name)
    }

    /// Its cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The objects of a kind in it.
    pub fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// Shows the end of these logs whenever a wait of this namespace fails.
    pub fn show_on_failure(&self, logs: impl IntoIterator<Item = PathBuf>) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).extend(logs);
    }

    /// Applies every document of the text (see [`Cluster::apply_yaml`]), in this namespace where none is given.
    pub async fn apply_yaml(&self, text: &str) -> Result<Vec<DynamicObject>> {
        self.cluster.apply_yaml(text, Some(&self.name)).await
    }

    /// Makes or replaces a GitRepository of the branch main with an interval of ten minutes, with these fields of the spec besides
    /// or instead.
    pub async fn git_repository(&self, name: &str, url: &str, fields: Value) -> Result<()> {
        let mut spec = json!({ "url": url, "interval": "10m", "ref": { "branch": "main" } });
        if let (Value::Object(spec), Value::Object(fields)) = (&mut spec, fields) {
            spec.extend(fields);
        }
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": { "name": name },
            "spec": spec,
        });
        self.apply_yaml(&object.to_string()).await?;
        Ok(())
    }

    /// Makes or replaces a Secret of plain texts.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) -> Result<Secret> {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.apply(
            name,
            &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data }),
        )
        .await
    }

    /// Makes or replaces a ConfigMap.
    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) -> Result<ConfigMap> {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.apply(
            name,
            &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }),
        )
        .await
    }

    /// Makes or replaces a service account that has these rights in the namespace: the rules of a Role, as YAML on one
    /// line. Account, Role and RoleBinding all have the name.
    pub async fn account(&self, name: &str, rules: &str) -> Result<()> {
        let yaml = format!(
            "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}}}
rules: {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: {}}}]
",
            self.name
        );
        self.apply_yaml(&yaml).await?;
        Ok(())
    }

    async fn apply<K: Object>(&self, name: &str, object: &Value) -> Result<K> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Ok(self.api::<K>().patch(name, &params, &Patch::Apply(object)).await?)
    }

    /// The object, which must exist.
    pub async fn get<K: Object>(&self, name: &str) -> Result<K> {
        Ok(self.api::<K>().get(name).await?)
    }

    /// The object if it exists.
    pub async fn find<K: Object>(&self, name: &str) -> Result<Option<K>> {
        Ok(self.api::<K>().get_opt(name).await?)
    }

    /// The names of all objects of a kind.
    pub async fn names<K: Object>(&self) -> Result<Vec<String>> {
        let list = self.api::<K>().list_metadata(&ListParams::default()).await?;
        Ok(list
            .items
            .into_iter()
            .filter_map(|object| object.metadata.name)
            .collect())
    }

    /// Changes an object by a JSON merge patch.
    pub async fn patch<K: Object>(&self, name: &str, patch: Value) -> Result<K> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        Ok(self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await?)
    }

    /// Asks for a reconcile the way `flux reconcile` does, and returns the token put into the annotation.
    pub async fn request_reconcile<K: Object>(&self, name: &str) -> Result<String> {
        let token = jiff::Timestamp::now().to_string();
        self.patch::<K>(name, json!({ "metadata": { "annotations": { REQUESTED_AT: token } } }))
            .await?;
        Ok(token)
    }

    /// Asks for a reconcile and waits until the controller has handled the request.
    pub async fn reconcile<K: Object>(&self, name: &str) -> Result<K> {
        let token = self.request_reconcile::<K>(name).await?;
        self.wait::<K>(name, "have handled the request", |object| {
            let value = value_of(object);
            value["status"]["lastHandledReconcileAt"] == token.as_str() && is_settled(&value)
        })
        .await
    }

    /// Sets `spec.suspend`.
    pub async fn suspend<K: Object>(&self, name: &str, suspend: bool) -> Result<K> {
        self.patch(name, json!({ "spec": { "suspend": suspend } })).await
    }

    /// Deletes an object, without waiting for its end.
    pub async fn delete<K: Object>(&self, name: &str) -> Result<()> {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Watches an object until the condition holds.
    pub async fn wait<K: Object>(&self, name: &str, what: &str, condition: impl Fn(&K) -> bool) -> Result<K> {
        let api = self.api::<K>();
        let result = wait::object(&api, name, what, |object: Option<&K>| object.is_some_and(&condition));
        let object = result.await.map_err(|error| self.with_logs(error))?;
        object.ok_or_else(|| anyhow!("{name} went while it was looked at"))
    }

    /// Waits until the object does not exist.
    pub async fn wait_gone<K: Object>(&self, name: &str) -> Result<()> {
        wait::gone(&self.api::<K>(), name)
            .await
            .map_err(|error| self.with_logs(error))
    }

    /// Waits until the object's Ready condition is True for its current generation.
    pub async fn wait_ready<K: Object>(&self, name: &str) -> Result<K> {
        self.wait_condition(name, "Ready", "True", None).await
    }

    /// Waits until the object's Ready condition is False for its current generation, for this reason.
    pub async fn wait_failed<K: Object>(&self, name: &str, reason: &str) -> Result<K> {
        self.wait_condition(name, "Ready", "False", Some(reason)).await
    }

    /// Waits for a condition of the object's current generation.
    pub async fn wait_condition<K: Object>(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: Option<&str>,
    ) -> Result<K> {
        let because = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        self.wait::<K>(name, &format!("have {type_}={status}{because}"), |object| {
            let value = value_of(object);
            condition_of(&value, type_).is_some_and(|condition| {
                condition.status == status
                    && reason.is_none_or(|reason| condition.reason == reason)
                    && is_current(&value, &condition)
            })
        })
        .await
    }

    /// The core/v1 Events about an object.
    pub async fn events<K: Object>(&self, name: &str) -> Result<Vec<Event>> {
        let fields = format!("involvedObject.name={name},involvedObject.kind={}", K::kind(&()));
        Ok(self
            .api::<Event>()
            .list(&ListParams::default().fields(&fields))
            .await?
            .items)
    }

    /// Waits for an Event about an object, by its reason.
    pub async fn wait_event<K: Object>(&self, name: &str, reason: &str) -> Result<Event> {
        let what = format!("an event {reason} about {} {name}", K::kind(&()));
        let probe = async || {
            let events = self.events::<K>(name).await?;
            Ok(events.into_iter().find(|event| event.reason.as_deref() == Some(reason)))
        };
        wait::until(&what, probe).await.map_err(|error| self.with_logs(error))
    }

    fn with_logs(&self, error: Error) -> Error {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tails: Vec<String> = logs
            .iter()
            .map(|log| format!("--- the end of {}:\n{}", log.display(), tail(log, 20)))
            .collect();
        if tails.is_empty() {
            error
        } else {
            anyhow!("{error:#}\n{}", tails.join("\n"))
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.fresh || std::thread::panicking() || std::env::var_os(checkout::KEEP).is_some() {
            return;
        }
        let (kubeconfig, name) = (self.cluster.kubeconfig().to_path_buf(), self.name.clone());
        // The runtime of the test is ending; nobody waits for this, and at the end of the process it may be cut short.
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                let remove = async { remove(kubeconfig::client(&kubeconfig, None).await?, &name).await };
                let _ = tokio::time::timeout(Duration::from_secs(20), remove).await;
            });
        });
    }
}

/// Deletes a namespace and takes the finalizers off our kinds in it.
async fn remove(client: Client, name: &str) -> Result<()> {
    Api::<CoreNamespace>::all(client.clone())
        .delete(name, &DeleteParams::background())
        .await?;
    release::<api::kustomize::Kustomization>(&client, name).await?;
    release::<api::source::GitRepository>(&client, name).await?;
    release::<api::notification::Receiver>(&client, name).await?;
    release::<api::notification::Alert>(&client, name).await?;
    release::<api::notification::Provider>(&client, name).await
}

async fn release<K: Object>(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    for object in api.list_metadata(&ListParams::default()).await?.items {
        if let (Some(name), Some(_)) = (object.metadata.name, object.metadata.finalizers) {
            let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            // It may be gone already.
            let _ = api.patch(&name, &PatchParams::default(), &patch).await;
        }
    }
    Ok(())
}

/// The annotation that asks a controller for a reconcile.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// A condition of an object's status, by its type.
pub fn condition(object: &impl Serialize, type_: &str) -> Option<Condition> {
    condition_of(&value_of(object), type_)
}

fn value_of(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn condition_of(object: &Value, type_: &str) -> Option<Condition> {
    let conditions = object["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
    serde_json::from_value(condition.clone()).ok()
}

/// Whether the condition speaks about the object's present generation (kinds that do not say so are believed).
fn is_current(object: &Value, condition: &Condition) -> bool {
    let generation = object["metadata"]["generation"].as_i64();
    condition
        .observed_generation
        .is_none_or(|observed| Some(observed) == generation)
}

/// Whether a reconcile has come to an end: Ready is decided for the present generation.
fn is_settled(object: &Value) -> bool {
    condition_of(object, "Ready").is_some_and(|ready| ready.status != "Unknown" && is_current(object, &ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conditions: Value, settled: bool) {
        let object = json!({ "metadata": { "generation": 2 }, "status": { "conditions": conditions } });
        assert_eq!(is_settled(&object), settled, "{object}");
    }

    fn ready(status: &str, generation: i64) -> Value {
        json!([{ "type": "Ready", "status": status, "reason": "R", "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z" }])
    }

    #[test]
    fn an_object_is_settled_when_ready_is_decided_for_its_generation() {
        check(ready("True", 2), true);
        check(ready("False", 2), true);
        check(ready("Unknown", 2), false);
        check(ready("True", 1), false);
        check(json!([]), false);
    }
}
