//! Flux's finalizer on an object, added and removed by a merge patch under the controller's own field manager.
//!
//! The patch carries the resource version, so that a finalizer of somebody else that came or went in between is
//! not undone.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Whether the object carries Flux's finalizer.
pub fn present<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == api::meta::FINALIZER)
}

/// Adds the finalizer; nothing when it is there. Says whether the object has it: one that is gone or on its way out
/// does not take it any more, and nothing must be done for it that would have to be undone.
///
/// # Errors
/// What the API server answers, or the last of several conflicts.
pub async fn add<K>(client: &Client, manager: &str, object: &K) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    change(client, manager, object, |names| {
        let missing = !names.iter().any(|name| name == api::meta::FINALIZER);
        missing.then(|| names.iter().cloned().chain([api::meta::FINALIZER.to_owned()]).collect())
    })
    .await
}

/// Removes the finalizer; nothing when it is not there or the object is gone.
///
/// # Errors
/// What the API server answers, or the last of several conflicts.
pub async fn remove<K>(client: &Client, manager: &str, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let changed = change(client, manager, object, |names| {
        let there = names.iter().any(|name| name == api::meta::FINALIZER);
        there.then(|| {
            names
                .iter()
                .filter(|name| *name != api::meta::FINALIZER)
                .cloned()
                .collect()
        })
    });
    changed.await.map(drop)
}

/// How often a change is tried while others write to the object.
const ATTEMPTS: u32 = 5;

/// Changes the finalizers, unless there is nothing to change. Says whether the object is there.
///
/// The object at hand may be older than what was just written to it, so a conflict is answered by looking again. An
/// object that is gone needs no change.
async fn change<K>(
    client: &Client,
    manager: &str,
    object: &K,
    wanted: impl Fn(&[String]) -> Option<Vec<String>>,
) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let mut metadata = object.meta().clone();
    let mut attempts = 1;
    while let Some(names) = wanted(metadata.finalizers.as_deref().unwrap_or_default()) {
        match write(&api, manager, &metadata, &names).await {
            Ok(()) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
            Err(kube::Error::Api(status)) if status.code == 409 && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
        match api.get_metadata_opt(&object.name_any()).await? {
            Some(found) if found.metadata.uid == metadata.uid => metadata = found.metadata,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

async fn write<K>(api: &Api<K>, manager: &str, metadata: &ObjectMeta, names: &[String]) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let patch = json!({ "metadata": { "finalizers": names, "resourceVersion": metadata.resource_version } });
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    api.patch_metadata(name, &parameters, &Patch::Merge(&patch))
        .await
        .map(drop)
}
