//! An applied object, what others do to it, and whether it is as Git says.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::wait;

use crate::manifests::{merge, with};

/// The label that names an object's owner.
pub const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label that names its namespace.
const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
/// The controller's field manager.
pub const OURS: &str = "kustomize-controller";

/// What is done to an object.
#[derive(Clone, Debug)]
pub enum Act {
    /// Scaled by the subresource.
    Scale(i32),
    /// A JSON merge patch.
    Merge(Value),
    /// A strategic merge patch, as kubectl sends it.
    Strategic(Value),
    /// A JSON patch.
    Json(Value),
    /// Read, changed, and written as a whole.
    Put(Value),
    /// These fields applied with force.
    Apply(Value),
    /// The whole manifest, owner labels included, applied once more with this merged into it: not in the second in
    /// which it was applied before, because managed fields count in seconds.
    ApplyAgain(Value),
    /// A merge patch that also clears the managed fields.
    Clear(Value),
    /// A merge patch of the status.
    Status(Value),
    /// Deleted.
    Delete,
    /// Deleted, and made again with this merged into the manifest before the controller could.
    Recreate(Value),
}

/// An object of the namespace.
#[derive(Clone, Debug)]
pub struct Object {
    api: Api<DynamicObject>,
    types: ApiResource,
    namespace: String,
    name: String,
}

impl Object {
    pub fn new(cluster: &Cluster, namespace: &str, api_version: &str, kind: &str, name: &str) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let types = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Object {
            api: Api::namespaced_with(cluster.client(), namespace, &types),
            types,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `Kind/namespace/name`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.types.kind, self.namespace, self.name)
    }

    /// The end of the path that requests about it have.
    pub fn path(&self) -> String {
        format!("/namespaces/{}/{}/{}", self.namespace, self.types.plural, self.name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects of its kind.
    pub fn api(&self) -> &Api<DynamicObject> {
        &self.api
    }

    pub async fn find(&self) -> Result<Option<Value>> {
        let live = self.api.get_opt(&self.name).await?;
        Ok(live.map(serde_json::to_value).transpose()?)
    }

    pub async fn get(&self) -> Result<Value> {
        self.find()
            .await?
            .with_context(|| format!("{} does not exist", self.id()))
    }

    /// Does it as this field manager. The manifest is what Git says about the object.
    pub async fn suffers(&self, act: &Act, manager: &str, manifest: &Value) -> Result<()> {
        let done = self.perform(act, manager, manifest).await;
        done.with_context(|| format!("{} cannot be changed by {act:?}", self.id()))
    }

    async fn perform(&self, act: &Act, manager: &str, manifest: &Value) -> Result<()> {
        let update = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let apply = PatchParams::apply(manager).force();
        let name = self.name.as_str();
        match act {
            Act::Scale(replicas) => {
                let scale = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
                self.api.patch_scale(name, &update, &scale).await?;
            }
            Act::Merge(patch) => self.merge(patch, manager).await?,
            Act::Strategic(patch) => drop(self.api.patch(name, &update, &Patch::Strategic(patch)).await?),
            Act::Json(operations) => {
                let patch = Patch::Json::<()>(serde_json::from_value(operations.clone())?);
                self.api.patch(name, &update, &patch).await?;
            }
            Act::Put(patch) => {
                let live = with(self.get().await?, patch.clone());
                self.api
                    .replace(name, &self.post(manager), &serde_json::from_value(live)?)
                    .await?;
            }
            Act::Apply(fields) => {
                let object = with(self.identity(), fields.clone());
                self.api.patch(name, &apply, &Patch::Apply(&object)).await?;
            }
            Act::ApplyAgain(patch) => {
                self.next_second().await?;
                let object = with(self.owned(manifest).await?, patch.clone());
                self.api.patch(name, &apply, &Patch::Apply(&object)).await?;
            }
            Act::Clear(patch) => {
                let cleared = json!({ "metadata": { "managedFields": [{}] } });
                let patch = Patch::Merge(with(cleared, patch.clone()));
                self.api.patch(name, &update, &patch).await?;
            }
            Act::Status(status) => {
                let patch = Patch::Merge(json!({ "status": status }));
                self.api.patch_status(name, &update, &patch).await?;
            }
            Act::Delete => drop(self.api.delete(name, &DeleteParams::default()).await?),
            Act::Recreate(patch) => self.recreate(&with(manifest.clone(), patch.clone()), manager).await?,
        }
        Ok(())
    }

    /// [`Act::Merge`], for tasks that run beside a test.
    pub async fn merge(&self, patch: &Value, manager: &str) -> Result<()> {
        let update = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        self.api.patch(&self.name, &update, &Patch::Merge(patch)).await?;
        Ok(())
    }

    fn post(&self, manager: &str) -> PostParams {
        PostParams {
            field_manager: Some(manager.to_owned()),
            ..PostParams::default()
        }
    }

    fn identity(&self) -> Value {
        json!({
            "apiVersion": self.types.api_version,
            "kind": self.types.kind,
            "metadata": { "name": self.name },
        })
    }

    /// The manifest with the owner labels that the live object has.
    async fn owned(&self, manifest: &Value) -> Result<Value> {
        let live = self.get().await?;
        let labels = &live["metadata"]["labels"];
        let owner = json!({ OWNER: labels[OWNER], OWNER_NAMESPACE: labels[OWNER_NAMESPACE] });
        Ok(with(manifest.clone(), json!({ "metadata": { "labels": owner } })))
    }

    /// Waits until the clock shows another second than the controller's last apply.
    async fn next_second(&self) -> Result<()> {
        wait::until("the next second", async || {
            let live = self.get().await?;
            let entry = our_entry(&live).context("nothing was applied")?;
            let applied: jiff::Timestamp = entry["time"].as_str().context("no time")?.parse()?;
            Ok((jiff::Timestamp::now().as_second() > applied.as_second()).then_some(()))
        })
        .await
    }

    /// Deletes and creates until the controller was not faster.
    async fn recreate(&self, object: &Value, manager: &str) -> Result<()> {
        let mut object = object.clone();
        merge(&mut object, &self.identity());
        let object: DynamicObject = serde_json::from_value(object)?;
        wait::until("an object that the controller did not make", async || {
            // It may not be there again yet.
            let _ = self.api.delete(&self.name, &DeleteParams::default()).await;
            match self.api.create(&self.post(manager), &object).await {
                Ok(_) => Ok(Some(())),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// How the live object differs from what the manifest says and from one that the Kustomization has applied.
    pub fn difference(&self, live: &Value, manifest: &Value, owner: &str) -> Option<String> {
        let labels = &live["metadata"]["labels"];
        let owned = labels[OWNER] == owner && labels[OWNER_NAMESPACE] == self.namespace.as_str();
        if !live["metadata"]["deletionTimestamp"].is_null() {
            Some("it is being deleted".to_owned())
        } else if !owned {
            Some(format!("it belongs to another: {labels}"))
        } else if our_entry(live).is_none() {
            Some("its fields are not the controller's".to_owned())
        } else {
            difference(live, manifest, "")
        }
    }
}

/// The controller's entry in the managed fields.
pub fn our_entry(live: &Value) -> Option<&Value> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    entries
        .iter()
        .find(|entry| entry["manager"] == OURS && entry["operation"] == "Apply")
}

/// Where the manifest says something else. Maps may hold more, lists may not.
fn difference(live: &Value, manifest: &Value, at: &str) -> Option<String> {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => manifest.iter().find_map(|(key, wanted)| {
            let found = live.get(key).unwrap_or(&Value::Null);
            difference(found, wanted, &format!("{at}.{key}"))
        }),
        (Value::Array(live), Value::Array(manifest)) if live.len() == manifest.len() => {
            let pairs = live.iter().zip(manifest).enumerate();
            let mut differences =
                pairs.map(|(index, (live, wanted))| difference(live, wanted, &format!("{at}[{index}]")));
            differences.find_map(|found| found)
        }
        (live, manifest) if live == manifest => None,
        (live, manifest) => Some(format!("{at} is {live}, not {manifest}")),
    }
}

/// What people mean by an object: without what the API server and the controllers of the kind write.
pub fn content(live: &Value) -> Value {
    let mut content = live.clone();
    let written = json!({
        "metadata": { "managedFields": null, "resourceVersion": null, "generation": null,
            "annotations": { "deployment.kubernetes.io/revision": null } },
        "status": null,
    });
    merge(&mut content, &written);
    content
}

/// The resource version.
pub fn version(live: &Value) -> &str {
    live["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

#[test]
fn a_manifest_is_met_by_an_object_that_holds_more_but_not_by_another_list() {
    let manifest = json!({ "spec": { "a": 1, "list": [{ "b": 2 }] } });
    let check = |live: Value, expected: Option<&str>| {
        assert_eq!(difference(&live, &manifest, "").as_deref(), expected);
    };
    check(
        json!({ "spec": { "a": 1, "list": [{ "b": 2, "c": 3 }], "more": true } }),
        None,
    );
    check(
        json!({ "spec": { "a": 1, "list": [{ "b": 2 }, { "b": 3 }] } }),
        Some(".spec.list is [{\"b\":2},{\"b\":3}], not [{\"b\":2}]"),
    );
    check(
        json!({ "spec": { "a": 1, "list": [{ "c": 3 }] } }),
        Some(".spec.list[0].b is null, not 2"),
    );
}
