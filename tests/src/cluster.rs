//! A cluster to work with: the control plane of the run, one of the test's own, or any other one by its kubeconfig.
//! It applies YAML, installs the CRDs of `config/crd`, and hands out fresh namespaces.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::config::Kubeconfig;
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use crate::checkout::{self, WorkDir};
use crate::control_plane::ControlPlane;
use crate::kubeconfig;
use crate::namespace::Namespace;
use crate::pki::write_secret;
use crate::wait;

/// The field manager of everything the harness applies and patches.
pub const FIELD_MANAGER: &str = "sluice-tests";

/// A cluster with our CRDs, seen by an administrator.
#[derive(Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    client: Client,
    control_plane: Plane,
}

#[derive(Clone)]
enum Plane {
    Shared(&'static ControlPlane),
    Own(Arc<ControlPlane>),
    Foreign,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("kubeconfig", &self.kubeconfig)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster that all tests of the run share.
    pub async fn shared() -> Result<Self> {
        static CRDS: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
        let control_plane = ControlPlane::shared().await?;
        let cluster = Self::of(control_plane.kubeconfig(), Plane::Shared(control_plane)).await?;
        CRDS.get_or_try_init(async || cluster.install_crds().await).await?;
        Ok(cluster)
    }

    /// A control plane for the caller alone, which ends with the last copy of this value.
    pub async fn own(name: &str) -> Result<Self> {
        Self::own_in(WorkDir::create("test", name)?).await
    }

    /// [`Cluster::own`] in a directory of the caller's choice.
    pub async fn own_in(dir: WorkDir) -> Result<Self> {
        Self::own_with_flags(dir, Vec::new()).await
    }

    /// [`Cluster::own_in`] with more flags for the API server (`--name=value`).
    pub async fn own_with_flags(dir: WorkDir, api_server_flags: Vec<String>) -> Result<Self> {
        let control_plane = Arc::new(ControlPlane::start_with_flags(dir, api_server_flags).await?);
        let cluster = Self::of(control_plane.kubeconfig(), Plane::Own(control_plane)).await?;
        cluster.install_crds().await?;
        Ok(cluster)
    }

    /// An existing cluster. A copy of the kubeconfig, with `context` (or its current one) as the current context, is
    /// written to `dir` for the controllers, which take only the current one. No CRDs are installed.
    pub async fn connect(kubeconfig: &Path, context: Option<&str>, dir: &Path) -> Result<Self> {
        let mut config = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("cannot read the kubeconfig {}", kubeconfig.display()))?;
        if let Some(context) = context {
            if !config.contexts.iter().any(|known| known.name == context) {
                bail!("the kubeconfig {} has no context {context}", kubeconfig.display());
            }
            config.current_context = Some(context.to_owned());
        }
        let copy = dir.join("kubeconfig");
        write_secret(&copy, &serde_yaml::to_string(&config)?)?;
        Self::of(copy, Plane::Foreign).await
    }

    async fn of(kubeconfig: PathBuf, control_plane: Plane) -> Result<Self> {
        let client = kubeconfig::client(&kubeconfig, None).await?;
        Ok(Self {
            kubeconfig,
            client,
            control_plane,
        })
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The administrator's client, for the async runtime that this value was made in.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The control plane behind the cluster, unless it is a foreign one.
    pub fn control_plane(&self) -> Result<&ControlPlane> {
        match &self.control_plane {
            Plane::Shared(control_plane) => Ok(control_plane),
            Plane::Own(control_plane) => Ok(control_plane),
            Plane::Foreign => bail!("the control plane of {} is not ours", self.kubeconfig.display()),
        }
    }

    /// Stops a control plane of one's own in good order; others are left alone.
    pub async fn stop(self) -> Result<()> {
        drop(self.client);
        match self.control_plane {
            Plane::Own(control_plane) => match Arc::into_inner(control_plane) {
                Some(control_plane) => control_plane.stop().await,
                None => bail!("the cluster is still in use"),
            },
            Plane::Shared(_) | Plane::Foreign => Ok(()),
        }
    }

    /// Makes a namespace whose name starts with `name` and is not used by others.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        Namespace::create(self.clone(), format!("{name}-{}", random.to_lowercase()), true).await
    }

    /// Takes (and makes, if needed) the namespace of exactly this name; it stays when the value goes.
    pub async fn named_namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(self.clone(), name.to_owned(), false).await
    }

    /// Applies the CRDs of the checkout's `config/crd` and waits until they are served.
    pub async fn install_crds(&self) -> Result<()> {
        let dir = checkout::root().join("config").join("crd");
        let mut names = Vec::new();
        for file in yaml_files(&dir)? {
            let text = fs::read_to_string(&file)?;
            for object in documents(&text).with_context(|| format!("{} cannot be read", file.display()))? {
                if object["kind"] == "CustomResourceDefinition" {
                    names.push(self.apply(object, None).await?.metadata.name.unwrap_or_default());
                }
            }
        }
        if names.is_empty() {
            bail!(
                "{} holds no CRDs: generate them with `cargo run -p api --bin crdgen`",
                dir.display()
            );
        }
        let crds: Api<CustomResourceDefinition> = Api::all(self.client());
        for name in names {
            wait::object(&crds, &name, "be established", |crd| crd.is_some_and(is_established)).await?;
        }
        Ok(())
    }

    /// Applies every document of the text with server-side apply, forcing conflicts; objects of namespaced kinds
    /// without a namespace go to the given one. Returns the objects as the API server has them.
    pub async fn apply_yaml(&self, text: &str, namespace: Option<&str>) -> Result<Vec<DynamicObject>> {
        let mut applied = Vec::new();
        for object in documents(text)? {
            applied.push(self.apply(object, namespace).await?);
        }
        Ok(applied)
    }

    async fn apply(&self, object: Value, namespace: Option<&str>) -> Result<DynamicObject> {
        let mut object: DynamicObject = serde_json::from_value(object)?;
        let types = object
            .types
            .clone()
            .ok_or_else(|| anyhow!("a document has no apiVersion and kind"))?;
        let name = object
            .metadata
            .name
            .clone()
            .ok_or_else(|| anyhow!("a {} has no name", types.kind))?;
        let (resource, scope) = self.kind(&types).await?;
        let api: Api<DynamicObject> = match scope {
            Scope::Cluster => Api::all_with(self.client(), &resource),
            Scope::Namespaced => {
                let namespace = object
                    .metadata
                    .namespace
                    .clone()
                    .or_else(|| namespace.map(str::to_owned));
                let namespace = namespace.ok_or_else(|| anyhow!("{} {name} has no namespace", types.kind))?;
                object.metadata.namespace = Some(namespace.clone());
                Api::namespaced_with(self.client(), &namespace, &resource)
            }
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let result = api.patch(&name, &params, &Patch::Apply(&object)).await;
        result.with_context(|| format!("cannot apply {} {name}", types.kind))
    }

    async fn kind(&self, types: &TypeMeta) -> Result<(ApiResource, Scope)> {
        let kind = GroupVersionKind::try_from(types)?;
        let (resource, capabilities) = pinned_kind(&self.client, &kind)
            .await
            .with_context(|| format!("the API server does not serve {} {}", types.api_version, types.kind))?;
        Ok((resource, capabilities.scope))
    }
}

/// The documents of a YAML text as JSON, empty ones left out.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    Ok(objects)
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(yaml_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}
