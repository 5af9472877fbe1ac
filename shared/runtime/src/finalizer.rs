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
use std::borrow::Cow;
use std::fmt::Debug;

/// Whether the object carries Flux's finalizer.
pub fn present<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == api::meta::FINALIZER)
}

/// Adds the finalizer; nothing when it is there. Gives the object as it is then, which is what to go on with: a write to
/// it as it was before would be a conflict. Nothing if it is gone: it does not take a finalizer any more, and nothing must
/// be done for it that would have to be undone.
///
/// # Errors
/// What the API server answers, or the last of several conflicts.
pub async fn add<'a, K>(client: &Client, manager: &str, object: &'a K) -> Result<Option<Cow<'a, K>>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    change(client, manager, object, |names| {
        let missing = !names.iter().any(|name| name == api::meta::FINALIZER);
        missing.then(|| names.iter().cloned().chain([api::meta::FINALIZER.to_owned()]).collect())
    })
    .await
}

/// Removes the finalizer; nothing when it is not there or the object is gone. Where something depends on the status that
/// the object had, [`Report::release`](crate::report::Report::release) is the way.
///
/// # Errors
/// What the API server answers, or the last of several conflicts.
pub async fn remove<K>(client: &Client, manager: &str, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let changed = change(client, manager, object, |names| without(Some(names)));
    changed.await.map(drop)
}

/// The finalizers of an object without Flux's; nothing if that is not among them.
pub(crate) fn without(names: Option<&[String]>) -> Option<Vec<String>> {
    let names = names.unwrap_or_default();
    let others: Vec<_> = names
        .iter()
        .filter(|name| *name != api::meta::FINALIZER)
        .cloned()
        .collect();
    (others.len() < names.len()).then_some(others)
}

/// How often a change is tried while others write to the object.
const ATTEMPTS: u32 = 5;

/// Changes the finalizers, unless there is nothing to change, and gives the object as it is then; nothing if it is gone.
///
/// The object at hand may be older than what was just written to it, so a conflict is answered by looking again.
async fn change<'a, K>(
    client: &Client,
    manager: &str,
    object: &'a K,
    wanted: impl Fn(&[String]) -> Option<Vec<String>>,
) -> Result<Option<Cow<'a, K>>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let mut object = Cow::Borrowed(object);
    let mut attempts = 1;
    while let Some(names) = wanted(object.finalizers()) {
        match write(&api, manager, object.meta(), &names).await {
            Ok(written) => {
                // It was as it is here, or there would have been a conflict: nothing else of it has changed.
                let metadata = object.to_mut().meta_mut();
                metadata.resource_version = written.resource_version;
                metadata.finalizers = written.finalizers;
                return Ok(Some(object));
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
        match api.get_opt(&object.name_any()).await? {
            Some(found) if found.meta().uid == object.meta().uid => object = Cow::Owned(found),
            _ => return Ok(None),
        }
    }
    Ok(Some(object))
}

async fn write<K>(
    api: &Api<K>,
    manager: &str,
    metadata: &ObjectMeta,
    names: &[String],
) -> Result<ObjectMeta, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let patch = json!({ "metadata": { "finalizers": names, "resourceVersion": metadata.resource_version } });
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    let answer = api.patch_metadata(name, &parameters, &Patch::Merge(&patch)).await?;
    Ok(answer.metadata)
}
