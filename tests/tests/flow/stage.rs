//! What the tests of the whole way have in common: three controllers, a Git server, a receiver that is told everything,
//! and the questions asked in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;

use anyhow::{Context, Result, ensure};
use api::kustomize::Kustomization;
use api::source::{Artifact, GitRepository};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::{Value, json};
use tests::controllers::Controller;
use tests::receiver::{Received, Receiver};
use tests::repo::Repo;
use tests::scenario::{Builder, Scenario};
use tests::wait;

/// The label with the name of the Kustomization that owns an object.
const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label with its namespace.
const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";

/// The controllers with their surroundings.
pub struct Stage {
    /// Controllers, namespace and Git server.
    pub scenario: Scenario,
    /// Where everything is announced.
    pub receiver: Receiver,
}

impl Deref for Stage {
    type Target = Scenario;

    fn deref(&self) -> &Scenario {
        &self.scenario
    }
}

impl Stage {
    /// All controllers with their default flags.
    pub async fn start(name: &str) -> Result<Self> {
        Self::of(Scenario::builder(name)).await
    }

    /// The scenario of a builder, which has to hold the notification controller.
    pub async fn of(builder: Builder) -> Result<Self> {
        let stage = Self {
            scenario: builder.start().await?,
            receiver: Receiver::start()?,
        };
        stage.announce("all", &stage.receiver).await?;
        let remembered = async || {
            let names = stage.namespace.names::<ConfigMap>().await?;
            let pages = names.iter().filter(|name| name.starts_with("notification-cursor-"));
            Ok((pages.count() == 8).then_some(()))
        };
        wait::until("the notification controller to take note", remembered).await?;
        Ok(stage)
    }

    /// Has everything that happens in the namespace told to this receiver too.
    pub async fn announce(&self, name: &str, receiver: &Receiver) -> Result<()> {
        let provider = json!({ "type": "generic", "address": receiver.url("/") });
        let alert = json!({
            "providerRef": { "name": name },
            "eventSources": [{ "kind": "GitRepository", "name": "*" }, { "kind": "Kustomization", "name": "*" }],
        });
        self.make("notification", "v1beta3", "Provider", name, provider).await?;
        self.make("notification", "v1beta3", "Alert", name, alert).await
    }

    /// Makes a GitRepository of the branch main, with these fields of the spec besides or instead.
    pub async fn source(&self, name: &str, url: &str, fields: Value) -> Result<()> {
        let spec = json!({ "url": url, "interval": "1h", "timeout": "20s", "ref": { "branch": "main" } });
        self.make("source", "v1", "GitRepository", name, merged(spec, fields))
            .await
    }

    /// Makes a Kustomization of the GitRepository `app`, with these fields of the spec besides or instead.
    pub async fn kustomization(&self, name: &str, path: &str, fields: Value) -> Result<()> {
        let spec = json!({
            "interval": "1h", "retryInterval": "2s", "timeout": "30s", "path": path, "prune": true,
            "targetNamespace": self.ns(), "sourceRef": { "kind": "GitRepository", "name": "app" },
        });
        self.make("kustomize", "v1", "Kustomization", name, merged(spec, fields))
            .await
    }

    async fn make(&self, group: &str, version: &str, kind: &str, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": format!("{group}.toolkit.fluxcd.io/{version}"), "kind": kind,
            "metadata": { "name": name }, "spec": spec,
        });
        self.namespace.apply_yaml(&object.to_string()).await.map(drop)
    }

    /// Asks for a fetch, as a webhook does after a push, and waits until the Kustomization has applied the commit.
    pub async fn pushed(&self, source: &str, kustomization: &str, commit: &str) -> Result<Kustomization> {
        self.namespace.request_reconcile::<GitRepository>(source).await?;
        self.applied(kustomization, commit).await
    }

    /// Waits until the Kustomization is ready with the commit.
    pub async fn applied(&self, name: &str, commit: &str) -> Result<Kustomization> {
        let revision = revision(commit);
        let is_applied = |object: &Kustomization| {
            object.status.as_ref().is_some_and(|status| {
                let is_ready = |condition: &&api::meta::Condition| {
                    condition.type_ == "Ready"
                        && condition.status == "True"
                        && condition.observed_generation == object.metadata.generation
                };
                status.last_applied_revision.as_deref() == Some(revision.as_str())
                    && status.conditions.iter().any(|condition| is_ready(&condition))
            })
        };
        let what = format!("be ready with {revision}");
        self.namespace.wait::<Kustomization>(name, &what, is_applied).await
    }

    /// Waits until the GitRepository has an artifact of the commit.
    pub async fn stored(&self, name: &str, commit: &str) -> Result<Artifact> {
        let revision = revision(commit);
        let of = |object: &GitRepository| object.status.as_ref().and_then(|status| status.artifact.clone());
        let what = format!("have an artifact of {revision}");
        let is_stored = |object: &GitRepository| of(object).is_some_and(|artifact| artifact.revision == revision);
        let object = self.namespace.wait::<GitRepository>(name, &what, is_stored).await?;
        of(&object).context("no artifact")
    }

    /// The ConfigMaps that carry the Kustomization's label: their data by name.
    pub async fn maps_of(&self, kustomization: &str) -> Result<BTreeMap<String, Value>> {
        let labels = format!("{OWNER}={kustomization},{OWNER_NAMESPACE}={}", self.ns());
        let owned = ListParams::default().labels(&labels);
        let list = self.namespace.api::<ConfigMap>().list(&owned).await?;
        let named = |map: ConfigMap| Some((map.metadata.name?, json!(map.data.unwrap_or_default())));
        Ok(list.items.into_iter().filter_map(named).collect())
    }

    /// Waits until more than `least` and fewer than `most` of the Kustomization's ConfigMaps are there.
    pub async fn in_the_middle(&self, kustomization: &str, least: usize, most: usize) -> Result<()> {
        let labels = format!("{OWNER}={kustomization},{OWNER_NAMESPACE}={}", self.ns());
        let owned = ListParams::default().labels(&labels);
        let maps = self.namespace.api::<ConfigMap>();
        let start = std::time::Instant::now();
        loop {
            let count = maps.list_metadata(&owned).await?.items.len();
            if count > least && count < most {
                return Ok(());
            }
            ensure!(
                start.elapsed() < wait::patience(),
                "never between {least} and {most}: {count}"
            );
        }
    }

    /// Kills the kustomize controller while more than `least` and fewer than `most` of the Kustomization's ConfigMaps
    /// are there.
    pub async fn kill_in_the_middle(&self, kustomization: &str, least: usize, most: usize) -> Result<()> {
        self.in_the_middle(kustomization, least, most).await?;
        self.controllers.kill(Controller::Kustomize)?;
        let count = self.maps_of(kustomization).await?.len();
        ensure!(count > least && count < most, "killed too late: {count} are there");
        Ok(())
    }

    /// Checks that the Kustomization's ConfigMaps are exactly those of the folder in the working copy.
    pub async fn equals_git(&self, kustomization: &str, repo: &Repo, folder: &str) -> Result<()> {
        let mut expected = BTreeMap::new();
        for entry in std::fs::read_dir(repo.work().join(folder))? {
            let text = std::fs::read_to_string(entry?.path())?;
            for object in tests::cluster::documents(&text)? {
                let name = object["metadata"]["name"]
                    .as_str()
                    .context("an object without a name")?;
                expected.insert(name.to_owned(), object["data"].clone());
            }
        }
        let live = self.maps_of(kustomization).await?;
        ensure!(live == expected, "the cluster has {live:?}, Git has {expected:?}");
        let object = self.namespace.get::<Kustomization>(kustomization).await?;
        let inventory = object
            .status
            .and_then(|status| status.inventory)
            .context("no inventory")?;
        let mut listed: Vec<_> = inventory
            .entries
            .iter()
            .filter_map(|entry| entry.id.split('_').nth(1).map(str::to_owned))
            .collect();
        listed.sort();
        ensure!(
            listed.iter().eq(expected.keys()),
            "the inventory is {listed:?}, Git has {expected:?}"
        );
        Ok(())
    }

    /// Makes objects that are none of our business: they look like those of a Kustomization and are not.
    pub async fn strangers(&self, prefix: &str) -> Result<Strangers> {
        let plain = format!("{prefix}-stranger");
        let other = format!("{prefix}-of-another");
        self.namespace.config_map(&plain, &[("k", "mine")]).await?;
        let labels = json!({ OWNER: "app", OWNER_NAMESPACE: "elsewhere" });
        self.namespace
            .apply_yaml(
                &json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": other, "labels": labels },
                    "data": { "k": "theirs" },
                })
                .to_string(),
            )
            .await?;
        let mut objects = Vec::new();
        for name in [plain, other] {
            objects.push(self.namespace.get::<ConfigMap>(&name).await?);
        }
        Ok(Strangers(objects))
    }

    /// Checks that nobody has touched them.
    pub async fn untouched(&self, strangers: &Strangers) -> Result<()> {
        for before in &strangers.0 {
            let name = before.metadata.name.as_deref().context("an object has a name")?;
            let now = self.namespace.find::<ConfigMap>(name).await?;
            ensure!(
                now.as_ref() == Some(before),
                "{name} was touched: {before:?} became {now:?}"
            );
        }
        Ok(())
    }

    /// The messages that the receiver has accepted.
    pub fn messages(&self) -> Result<Vec<Message>> {
        messages(&self.receiver)
    }

    /// Waits for an accepted message about an object (`Kind/name`) with this in its text.
    pub async fn told(&self, object: &str, text: &str) -> Result<Message> {
        told(&self.receiver, object, text).await
    }

    /// Waits until the changes told about a Kustomization say everything of this: lines without the namespace.
    pub async fn told_changes(&self, kustomization: &str, lines: &[String]) -> Result<()> {
        let object = format!("Kustomization/{kustomization}");
        let expected: Vec<String> = lines
            .iter()
            .map(|line| line.replacen('/', &format!("/{}/", self.ns()), 1))
            .collect();
        let all = async || {
            let mut messages = self.messages()?;
            messages.retain(|message| message.object == object);
            let told: BTreeSet<_> = messages.iter().flat_map(|message| message.text.lines()).collect();
            let missing: Vec<_> = expected.iter().filter(|line| !told.contains(line.as_str())).collect();
            ensure!(
                missing.is_empty(),
                "these lines are missing: {missing:?}; told so far: {messages:#?}"
            );
            Ok(Some(()))
        };
        wait::until(&format!("the changes of {object} to be told"), all).await
    }

    /// Checks that the commits that these messages are about come in this order, for every object by itself, and that
    /// what was sent twice is the same.
    pub fn in_order(&self, commits: &[String]) -> Result<()> {
        in_order(&self.messages()?, commits)
    }

    /// Checks that a secret is nowhere: not in an object, an Event, a message or a log.
    pub async fn nowhere(&self, secret: &str) -> Result<()> {
        use k8s_openapi::api::core::v1::Event;
        let all = ListParams::default();
        let ns = &self.namespace;
        let mut places = vec![
            ("the events", json!(ns.api::<Event>().list(&all).await?.items)),
            ("the maps", json!(ns.api::<ConfigMap>().list(&all).await?.items)),
        ];
        for object in ns.api::<GitRepository>().list(&all).await? {
            places.push(("the status of a source", json!(object.status)));
        }
        for object in ns.api::<Kustomization>().list(&all).await? {
            places.push(("the status of a Kustomization", json!(object.status)));
        }
        let bodies = self.receiver.received();
        let bodies: Vec<_> = bodies
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body))
            .collect();
        places.push(("the messages", json!(bodies)));
        for log in self.controllers.logs() {
            places.push(("a log", json!(String::from_utf8_lossy(&std::fs::read(log)?))));
        }
        for (place, content) in places {
            let text = content.to_string();
            ensure!(!text.contains(secret), "{place} holds {secret:?}: {text}");
        }
        Ok(())
    }
}

fn merged(mut spec: Value, fields: Value) -> Value {
    if let (Some(spec), Value::Object(fields)) = (spec.as_object_mut(), fields) {
        spec.extend(fields);
    }
    spec
}

/// The revision of a commit on main.
pub fn revision(commit: &str) -> String {
    format!("main@sha1:{commit}")
}

/// ConfigMaps with the value, one for each number.
pub fn maps(prefix: &str, numbers: std::ops::Range<usize>, value: &str) -> String {
    let map = |name: &String| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: '{value}'}}\n")
    };
    names(prefix, numbers).iter().map(map).collect::<Vec<_>>().join("---\n")
}

/// The names of those ConfigMaps.
pub fn names(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}-{number:03}")).collect()
}

/// The lines of a change list about those ConfigMaps, without the namespace.
pub fn lines(prefix: &str, numbers: std::ops::Range<usize>, action: &str) -> Vec<String> {
    names(prefix, numbers)
        .into_iter()
        .map(|name| format!("ConfigMap/{name} {action}"))
        .collect()
}

/// Objects of others, as they were.
pub struct Strangers(Vec<ConfigMap>);

/// A message as it was delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What makes a repetition recognisable.
    pub id: String,
    /// `Kind/name`.
    pub object: String,
    /// The severity.
    pub severity: String,
    /// The reason.
    pub reason: String,
    /// The text.
    pub text: String,
    /// The revision, where there is one.
    pub revision: Option<String>,
}

impl Message {
    fn of(request: &Received) -> Result<Self> {
        let body = request.json()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let object = &body["involvedObject"];
        Ok(Self {
            id: request.header("x-sluice-event-id").context("no id")?.to_owned(),
            object: format!(
                "{}/{}",
                object["kind"].as_str().context("no kind")?,
                object["name"].as_str().context("no name")?
            ),
            severity: text(&body["severity"]).context("no severity")?,
            reason: text(&body["reason"]).context("no reason")?,
            text: text(&body["message"]).context("no message")?,
            revision: text(&body["metadata"]["revision"]),
        })
    }
}

/// The messages that a receiver has accepted.
pub fn messages(receiver: &Receiver) -> Result<Vec<Message>> {
    let received = receiver.received();
    received
        .iter()
        .filter(|request| request.status == 200)
        .map(Message::of)
        .collect()
}

/// Waits for an accepted message about an object (`Kind/name`) with this in its text.
pub async fn told(receiver: &Receiver, object: &str, text: &str) -> Result<Message> {
    let find = async || {
        let messages = messages(receiver)?;
        let found = messages
            .iter()
            .find(|message| message.object == object && message.text.contains(text));
        found
            .cloned()
            .map(Some)
            .with_context(|| format!("told so far: {messages:#?}"))
    };
    wait::until(&format!("a message about {object}: {text}"), find).await
}

/// See [`Stage::in_order`].
pub fn in_order(messages: &[Message], commits: &[String]) -> Result<()> {
    let mut first = HashMap::new();
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for message in messages {
        if let Some(before) = first.get(message.id.as_str()) {
            ensure!(*before == message, "one id, two messages: {before:?} and {message:?}");
            continue;
        }
        first.insert(message.id.as_str(), message);
        let Some(revision) = &message.revision else { continue };
        let number = commits.iter().position(|commit| revision.ends_with(commit.as_str()));
        let number = number.with_context(|| format!("an unknown revision: {message:?}"))?;
        let newest = newest.entry(&message.object).or_default();
        ensure!(
            number >= *newest,
            "{message:?} came after news of a later commit: {messages:#?}"
        );
        *newest = number;
    }
    Ok(())
}
