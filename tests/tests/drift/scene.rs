//! What the tests share: the kustomize controller alone in a namespace, artifacts published by hand, and short ways to
//! await a correction and what is told about it.

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use api::kustomize::{Change, ChangeEntry, Kustomization, KustomizationStatus};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};
use tests::artifact_server::ArtifactServer;
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tests::controllers::{Controller, Controllers, Options};
use tests::namespace::Namespace;
use tests::process::tail;
use tests::published;
use tests::wait;

use crate::manifests::map;
use crate::object::{Act, Object};
use crate::requests::Requests;

/// How soon drift must be gone when a watch tells of it: 5 seconds, and more where all waits are given more time.
fn soon() -> Duration {
    wait::patience() / 12
}

/// The controller with its namespace, and a server of artifacts.
pub struct Scene {
    // First, so that nobody works in the namespace while it is removed.
    pub controllers: Controllers,
    pub server: ArtifactServer,
    requests: Option<Requests>,
    pub namespace: Namespace,
    pub cluster: Cluster,
    _dir: WorkDir,
}

impl Deref for Scene {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// How a scene differs from the usual one.
pub struct Builder {
    name: String,
    flags: Vec<String>,
    cluster: Option<Cluster>,
    kubeconfig: Option<PathBuf>,
    counted: bool,
}

impl Builder {
    /// Gives the controller one more flag.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Takes this cluster instead of the one that all tests share.
    pub fn on(mut self, cluster: &Cluster) -> Self {
        self.cluster = Some(cluster.clone());
        self
    }

    /// Lets the controller be the user of this kubeconfig instead of the administrator.
    pub fn user(mut self, kubeconfig: PathBuf) -> Self {
        self.kubeconfig = Some(kubeconfig);
        self
    }

    /// Lets the controller reach the API server through [`Requests`].
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Sets the stage.
    pub async fn start(self) -> Result<Scene> {
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => Cluster::shared().await?,
        };
        let namespace = cluster.namespace(&self.name).await?;
        let dir = WorkDir::create("test", &self.name)?;
        let mut kubeconfig = match self.kubeconfig {
            Some(kubeconfig) => kubeconfig,
            None => cluster.kubeconfig().to_path_buf(),
        };
        let mut requests = None;
        if self.counted {
            let server = Requests::start(&kubeconfig)?;
            kubeconfig = server.kubeconfig(dir.path())?;
            requests = Some(server);
        }
        let mut options = Options::new(&kubeconfig, dir.path(), namespace.name());
        options.controllers = vec![Controller::Kustomize];
        options.flags = self
            .flags
            .into_iter()
            .map(|flag| (Controller::Kustomize, flag))
            .collect();
        let controllers = Controllers::start(options).await?;
        namespace.show_on_failure(controllers.logs());
        Ok(Scene {
            controllers,
            server: ArtifactServer::start()?,
            requests,
            namespace,
            cluster,
            _dir: dir,
        })
    }
}

impl Scene {
    /// The usual scene.
    pub async fn start(name: &str) -> Result<Self> {
        Self::builder(name).start().await
    }

    /// Says what should be different.
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            flags: Vec::new(),
            cluster: None,
            kubeconfig: None,
            counted: false,
        }
    }

    /// What the controller has asked the API server.
    pub fn requests(&self) -> Result<&Requests> {
        self.requests.as_ref().context("the scene does not count")
    }

    /// Serves these files as the source's artifact at this revision; `<ns>` in them is the namespace.
    pub async fn publish(&self, revision: &str, files: &[(&str, &str)]) -> Result<()> {
        published::publish(self, &self.server, revision, files).await
    }

    /// [`Scene::publish`] of one file with these manifests.
    pub async fn publish_objects(&self, revision: &str, objects: &[Value]) -> Result<()> {
        let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
        self.publish(revision, &[("all.yaml", &texts.join("\n---\n"))]).await
    }

    /// Makes a Kustomization; the spec is laid over the usual one, and null takes a field away.
    pub async fn kustomization(&self, name: &str, spec: Value) -> Result<()> {
        published::kustomization(self, name, spec).await
    }

    /// The usual start: these manifests, applied by a Kustomization `app`.
    pub async fn applied(&self, objects: &[Value]) -> Result<()> {
        self.publish_objects("main@sha1:1", objects).await?;
        self.kustomization("app", json!({})).await?;
        self.wait_ready::<Kustomization>("app").await?;
        Ok(())
    }

    /// An object of the namespace.
    pub fn object(&self, api_version: &str, kind: &str, name: &str) -> Object {
        Object::new(&self.cluster, self.name(), api_version, kind, name)
    }

    /// The object of a manifest.
    pub fn object_of(&self, manifest: &Value) -> Result<Object> {
        let text = |value: &Value| value.as_str().map(|text| self.text(text)).context("no manifest");
        let name = text(&manifest["metadata"]["name"])?;
        Ok(self.object(&text(&manifest["apiVersion"])?, &text(&manifest["kind"])?, &name))
    }

    pub async fn status(&self, name: &str) -> Result<KustomizationStatus> {
        self.get::<Kustomization>(name).await?.status.context("no status")
    }

    /// The number of the last change that a Kustomization tells of; one that is only about to be made does not count.
    pub async fn last_change(&self, name: &str) -> Result<i64> {
        let changes = self.status(name).await?.changes;
        let made = changes.iter().rev().find(|change| !change.pending);
        Ok(made.map_or(0, |change| change.seq))
    }

    /// How many reconciles had the outcome that the last one had.
    pub async fn reconciles(&self, name: &str) -> Result<i64> {
        let history = self.status(name).await?.history;
        Ok(history.first().context("no history")?.total_reconciliations)
    }

    /// Waits until so many reconciles have had the present outcome; returns how many there were by then.
    pub async fn wait_reconciles(&self, name: &str, count: i64) -> Result<i64> {
        let total = |object: &Kustomization| {
            let status = object.status.as_ref();
            status.and_then(|status| Some(status.history.first()?.total_reconciliations))
        };
        let what = format!("be reconciled {count} times");
        let enough = |object: &Kustomization| total(object).is_some_and(|total| total >= count);
        let object = self.wait::<Kustomization>(name, &what, enough).await?;
        total(&object).context("no history")
    }

    /// Waits for something that a watch brings about, and not longer than that takes.
    pub async fn soon<T>(&self, what: &str, probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        let result = wait::until_within(soon(), what, probe).await;
        let log = self.controllers.log(Controller::Kustomize);
        result.with_context(|| format!("the end of the log:\n{}", tail(&log, 20)))
    }

    /// Waits until the object is as the manifest says, belongs to the Kustomization, and its fields are the
    /// controller's.
    pub async fn healed(&self, object: &Object, manifest: &Value, owner: &str) -> Result<Value> {
        self.soon(&format!("{} to be as Git says", object.id()), async || {
            let live = object.find().await?.context("it does not exist")?;
            match object.difference(&live, manifest, owner) {
                None => Ok(Some(live)),
                Some(difference) => Err(anyhow::anyhow!(difference)),
            }
        })
        .await
    }

    /// Waits until a Kustomization tells of a change to the object that comes after another change, by its number.
    pub async fn told(&self, name: &str, after: i64, object: &Object) -> Result<ChangeEntry> {
        wait::until(&format!("{} to be told by {name}", object.id()), async || {
            let changes = self.status(name).await?.changes;
            let newest = changes
                .iter()
                .rev()
                .filter(|change| !change.pending && change.seq > after);
            let entry = newest
                .flat_map(|change: &Change| &change.entries)
                .find(|entry| entry.object == object.id());
            match entry {
                Some(entry) => Ok(Some(entry.clone())),
                None => Err(anyhow::anyhow!("told after {after}: {changes:?}")),
            }
        })
        .await
    }

    /// The core/v1 Events about a Kustomization whose message has this line.
    pub async fn wait_line(&self, name: &str, line: &str) -> Result<Event> {
        wait::until(&format!("an event with the line {line:?}"), async || {
            let events = self.events::<Kustomization>(name).await?;
            let messages: Vec<_> = events.iter().filter_map(|event| event.message.clone()).collect();
            let found = events.into_iter().find(|event| {
                let message = event.message.as_deref().unwrap_or_default();
                message.lines().any(|told| told == line)
            });
            found.map(Some).with_context(|| format!("told so far: {messages:#?}"))
        })
        .await
    }

    /// Has a ConfigMap of the Kustomization that was made by [`probe`] drift, and waits until it is put right: whatever
    /// came before was noticed by then.
    pub async fn noticed(&self, name: &str, owner: &str) -> Result<()> {
        let object = self.object("v1", "ConfigMap", name);
        let before = self.last_change(owner).await?;
        let drift = Act::Merge(json!({ "data": { "k": "drifted" } }));
        object.suffers(&drift, "somebody", &probe(name)).await?;
        self.healed(&object, &probe(name), owner).await?;
        self.told(owner, before, &object).await?;
        Ok(())
    }

    /// Everything that the controller has said so far: its log, all events, the Kustomizations' statuses.
    pub async fn said(&self) -> Result<String> {
        let all = ListParams::default();
        let events = self.api::<Event>().list(&all).await?.items;
        let kustomizations = self.api::<Kustomization>().list(&all).await?.items;
        let statuses: Vec<_> = kustomizations.into_iter().map(|object| object.status).collect();
        Ok(format!("{}\n{}\n{}", self.log()?, json!(events), json!(statuses)))
    }

    /// The controller's log.
    pub fn log(&self) -> Result<String> {
        let log = fs::read(self.controllers.log(Controller::Kustomize))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}

/// The manifest of a ConfigMap for [`Scene::noticed`]. One that drifts again and again would be fought over: take
/// another one every time.
pub fn probe(name: &str) -> Value {
    map(name, json!({ "k": "v" }))
}

/// [`probe`]s with numbers.
pub fn probes(count: usize) -> Vec<Value> {
    (0..count).map(|number| probe(&format!("probe-{number}"))).collect()
}
