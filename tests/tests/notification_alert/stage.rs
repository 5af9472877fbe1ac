//! A namespace with the notification controller, a receiver, and objects whose status the tests write.

use anyhow::{Context, Result};
use api::kustomize::Kustomization;
use api::notification::{Alert, Provider};
use api::source::GitRepository;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::api_proxy::{ApiProxy, Book};
use tests::cluster::Cluster;
use tests::controllers::Controller;
use tests::namespace::Object;
use tests::receiver::{Received, Receiver};
use tests::scenario::{Builder, Scenario};
use tests::wait;

/// The stage.
pub struct Stage {
    /// Controller and namespace.
    pub scenario: Scenario,
    /// Where messages go.
    pub receiver: Receiver,
}

impl Stage {
    /// A stage with the controller's default flags.
    pub async fn start(name: &str) -> Result<Self> {
        Self::with(name, &[]).await
    }

    /// A stage with more flags.
    pub async fn with(name: &str, flags: &[&str]) -> Result<Self> {
        let builder = Scenario::builder(name).only(&[Controller::Notification]);
        let flag = |builder: Builder, flag: &&str| builder.flag(Controller::Notification, flag);
        let scenario = flags.iter().fold(builder, flag).start().await?;
        Ok(Stage {
            scenario,
            receiver: Receiver::start()?,
        })
    }

    /// A stage whose controller reaches the API server through a proxy, which is to outlive it.
    pub async fn behind_proxy(name: &str) -> Result<(ApiProxy, Self)> {
        let cluster = Cluster::shared().await?;
        let proxy = ApiProxy::start(cluster.control_plane()?, name, &Book::default(), 1)?;
        let builder = Scenario::builder(name).only(&[Controller::Notification]);
        let scenario = builder.kubeconfig(proxy.kubeconfig()).start().await?;
        let receiver = Receiver::start()?;
        Ok((proxy, Stage { scenario, receiver }))
    }

    /// Makes a Provider that sends to the receiver.
    pub async fn provider(&self, name: &str, kind: &str) -> Result<()> {
        let address = self.receiver.url("/hook");
        self.apply("Provider", name, json!({ "type": kind, "address": address }))
            .await
    }

    /// Makes an Alert for all GitRepositories and Kustomizations, and waits until it counts.
    pub async fn alert(&self, name: &str, more: Value) -> Result<()> {
        let mut spec = json!({
            "providerRef": { "name": "there" },
            "eventSources": [{ "kind": "GitRepository", "name": "*" }, { "kind": "Kustomization", "name": "*" }],
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        self.apply("Alert", name, spec).await?;
        let ready = async || {
            let pages = self.pages().await?;
            Ok((pages.len() == 8).then_some(()))
        };
        wait::until("the memory of what was told", ready).await
    }

    /// A Provider `there` of type generic and an Alert `all` for it.
    pub async fn everything(&self) -> Result<()> {
        self.provider("there", "generic").await?;
        self.alert("all", json!({})).await
    }

    /// Applies an object of the notification API.
    pub async fn apply(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let version = if kind == "Receiver" { "v1" } else { "v1beta3" };
        let object = json!({
            "apiVersion": format!("notification.toolkit.fluxcd.io/{version}"),
            "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        self.scenario.namespace.apply_yaml(&object.to_string()).await.map(drop)
    }

    /// Makes a GitRepository.
    pub async fn repository(&self, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": { "name": name },
            "spec": { "url": "https://git.example/app", "interval": "1m" },
        });
        self.scenario.namespace.apply_yaml(&object.to_string()).await.map(drop)
    }

    /// Makes a Kustomization.
    pub async fn kustomization(&self, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": { "name": name },
            "spec": {
                "interval": "10m", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "app" },
            },
        });
        self.scenario.namespace.apply_yaml(&object.to_string()).await.map(drop)
    }

    /// Gives a Kustomization these finalizers and no others.
    pub async fn finalizers(&self, name: &str, names: &[&str]) -> Result<()> {
        let patch = json!({ "metadata": { "finalizers": names } });
        self.scenario
            .namespace
            .patch::<Kustomization>(name, patch)
            .await
            .map(drop)
    }

    /// Says that a GitRepository has stored a commit.
    pub async fn stored(&self, name: &str, revision: &str) -> Result<()> {
        let digest = format!("sha256:{revision:0>64}");
        let status = json!({
            "conditions": [ready("True", "Succeeded", &format!("stored artifact for revision '{revision}'"))],
            "artifact": {
                "path": "p", "url": "http://artifacts.example/p", "revision": revision, "digest": digest,
                "lastUpdateTime": "2026-01-02T03:04:05Z",
                "metadata": { "source.toolkit.fluxcd.io/commit-subject": format!("change {revision}") },
            },
        });
        self.status::<GitRepository>(name, status).await
    }

    /// Says that an object failed.
    pub async fn failed<K: Object>(&self, name: &str, reason: &str, message: &str) -> Result<()> {
        let retrying = json!({
            "type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
        });
        self.status::<K>(
            name,
            json!({ "conditions": [retrying, ready("False", reason, message)] }),
        )
        .await
    }

    /// Says what a Kustomization changed: one list per number, newest last.
    pub async fn changed(&self, name: &str, numbers: std::ops::RangeInclusive<i64>) -> Result<()> {
        let change = |number| {
            json!({
                "seq": number, "time": "2026-01-02T03:04:05Z", "revision": format!("main@sha1:{number}"),
                "action": "apply", "entries": [{ "object": format!("ConfigMap/d/{number}"), "action": "created" }],
            })
        };
        let changes: Vec<_> = numbers.map(change).collect();
        self.status::<Kustomization>(name, json!({ "changes": changes })).await
    }

    /// Says that a Kustomization has finished its nth reconcile.
    pub async fn finished(&self, name: &str, count: i64) -> Result<()> {
        let history = json!([{
            "digest": "sha256:0", "firstReconciled": "2026-01-02T03:04:05Z",
            "lastReconciled": format!("2026-01-02T03:{count:02}:00Z"), "lastReconciledDuration": "1.5s",
            "lastReconciledStatus": "ReconciliationSucceeded", "totalReconciliations": count,
            "metadata": { "revision": "main@sha1:1" },
        }]);
        let conditions = json!([ready(
            "True",
            "ReconciliationSucceeded",
            "Applied revision: main@sha1:1"
        )]);
        self.status::<Kustomization>(name, json!({ "conditions": conditions, "history": history }))
            .await
    }

    /// Patches a status.
    pub async fn status<K: Object>(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.scenario
            .namespace
            .api::<K>()
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// The texts received and accepted so far.
    pub fn texts(&self) -> Vec<String> {
        texts(&self.receiver.received())
    }

    /// Waits until exactly these texts were received and accepted, in this order.
    pub async fn wait_texts(&self, expected: &[&str]) -> Result<()> {
        let what = format!("the messages {expected:?}");
        let waited = self.receiver.wait_for(&what, |received| {
            (texts(received).len() >= expected.len()).then_some(())
        });
        waited.await?;
        anyhow::ensure!(
            self.texts() == expected,
            "received {:?} instead of {expected:?}",
            self.texts()
        );
        Ok(())
    }

    /// The ConfigMaps of the memory.
    pub async fn pages(&self) -> Result<Vec<ConfigMap>> {
        let list = self
            .scenario
            .namespace
            .api::<ConfigMap>()
            .list(&ListParams::default())
            .await?;
        let is_page = |page: &ConfigMap| {
            page.metadata
                .name
                .as_deref()
                .is_some_and(|name| name.starts_with("notification-cursor-"))
        };
        Ok(list.items.into_iter().filter(is_page).collect())
    }

    /// Everything that is remembered, as text.
    pub async fn memory(&self) -> Result<String> {
        let values = self
            .pages()
            .await?
            .into_iter()
            .flat_map(|page| page.data.unwrap_or_default().into_values());
        Ok(values.collect::<Vec<_>>().join("\n"))
    }

    /// Waits until what is remembered holds this text, or does not.
    pub async fn wait_memory(&self, text: &str, there: bool) -> Result<()> {
        let probe = async || Ok((self.memory().await?.contains(text) == there).then_some(()));
        wait::until(&format!("{text:?} to be remembered: {there}"), probe).await
    }

    /// Waits for an Event about the Alert with this reason and a text in its message.
    pub async fn wait_told(&self, alert: &str, reason: &str, text: &str) -> Result<String> {
        let probe = async || {
            let events: Vec<Event> = self.scenario.namespace.events::<Alert>(alert).await?;
            let messages = events
                .into_iter()
                .filter(|event| event.reason.as_deref() == Some(reason))
                .filter_map(|event| event.message);
            Ok(messages.into_iter().find(|message| message.contains(text)))
        };
        wait::until(&format!("an event {reason} about {alert} with {text:?}"), probe).await
    }

    /// Waits for an Event about a Provider.
    pub async fn wait_told_provider(&self, name: &str, reason: &str) -> Result<String> {
        let event = self.scenario.namespace.wait_event::<Provider>(name, reason).await?;
        event.message.context("the event has no message")
    }
}

/// The texts of the requests that were accepted: `message` of generic ones, the attachment's text of Slack's.
fn texts(received: &[Received]) -> Vec<String> {
    let accepted = received.iter().filter(|request| request.status == 200);
    let text = |request: &Received| {
        let body = request.json().ok()?;
        let text = body["message"]
            .as_str()
            .or_else(|| body["attachments"][0]["text"].as_str());
        text.map(str::to_owned)
    };
    accepted.filter_map(text).collect()
}

/// A condition Ready of the first generation, now.
fn ready(status: &str, reason: &str, message: &str) -> Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now, "observedGeneration": 1,
    })
}

/// The message about a stored commit.
pub fn stored(revision: &str) -> String {
    format!("stored artifact for commit 'change {revision}'")
}
