//! The stage: a control plane, the controllers behind their proxies, Git, the receiver of messages, and objects of
//! others, set up once and used for the whole run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use tests::api_proxy::Book;
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tests::control_plane::ControlPlane;
use tests::controllers::Controller;
use tests::git_server::GitServer;
use tests::namespace::Namespace;
use tests::receiver::Receiver;
use tests::repo::Repo;
use tests::wait;

use crate::account::{Account, lock};
use crate::artifacts::Artifacts;
use crate::leaders::{Leaders, Taken};
use crate::observe::{FOREIGN, Observer};
use crate::plan::{Edit, Which};
use crate::replicas::Replicas;
use crate::world::{APPS, HOME, OWNER, OWNER_NAMESPACE, World};

/// What a run can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What everything random follows from.
    pub seed: u64,
    /// `spec.interval` of Kustomizations and GitRepositories, in seconds.
    pub interval: u64,
    /// How long the cluster may take to be as Git says, once nothing goes wrong any more.
    pub deadline: Duration,
    /// How long a drift may last while nothing else goes wrong.
    pub heal: Duration,
    /// The most resident memory of a controller, in MiB.
    pub memory: u64,
}

/// Everything that a run works with. Fields go in this order: first who works, then what is worked on.
pub struct Stage {
    /// The controllers.
    pub replicas: Replicas,
    /// Between the source controller and who fetches artifacts.
    pub artifacts: Artifacts,
    /// Where messages go.
    pub receiver: Receiver,
    /// The Git server.
    pub git: GitServer,
    /// What is seen.
    pub observer: Arc<Observer>,
    /// What is written down.
    pub account: Arc<Account>,
    /// What the proxies see.
    pub book: Book,
    /// What Git holds.
    pub world: Mutex<World>,
    /// The Leases that were taken away by force.
    pub leases_taken: Mutex<Vec<Taken>>,
    /// Who leads.
    pub leaders: Mutex<Leaders>,
    /// The most resident bytes of each controller.
    pub peaks: Mutex<BTreeMap<Controller, u64>>,
    /// How long drifts lasted in calms.
    pub heals: Mutex<BTreeMap<String, Vec<Duration>>>,
    /// The namespace of the Kustomizations.
    pub home: Namespace,
    /// What the run was told.
    pub settings: Settings,
    repos: Vec<Repository>,
    apps: Namespace,
    cluster: Cluster,
}

struct Repository {
    name: String,
    repo: Repo,
    /// The files of the last commit.
    files: Mutex<BTreeMap<String, String>>,
    commits: Mutex<Vec<String>>,
}

impl Stage {
    /// Sets everything up. Logs and working files go into the directory.
    pub async fn set(settings: Settings, dir: &Path, account: Arc<Account>) -> Result<Self> {
        let cluster = Cluster::own_in(WorkDir::create("chaos", "control-plane")?).await?;
        let home = cluster.named_namespace(HOME).await?;
        let apps = cluster.named_namespace(APPS).await?;
        let book = Book::default();
        let artifacts = Artifacts::start()?;
        let replicas = Replicas::start(cluster.control_plane()?, dir, &book, settings.seed, artifacts.port()?).await?;
        artifacts.set_target(
            replicas
                .of(Controller::Source, Which::Leader)
                .controllers()
                .artifacts_url()?,
        );
        let git = GitServer::start()?;
        let mut repos = Vec::new();
        for number in 0..2 {
            let name = format!("repo{number}");
            repos.push(Repository {
                repo: git.create(&name)?,
                name,
                files: Mutex::default(),
                commits: Mutex::default(),
            });
        }
        let stage = Self {
            replicas,
            artifacts,
            receiver: Receiver::start()?,
            git,
            observer: Arc::new(Observer::new(cluster.client(), Arc::clone(&account))),
            account,
            book,
            world: Mutex::new(World::new()),
            leases_taken: Mutex::default(),
            leaders: Mutex::default(),
            peaks: Mutex::default(),
            heals: Mutex::default(),
            home,
            settings,
            repos,
            apps,
            cluster,
        };
        stage.announce().await?;
        stage.strangers().await?;
        stage.commit(&[], "the beginning")?;
        stage.describe().await?;
        Ok(stage)
    }

    /// The control plane.
    pub fn control_plane(&self) -> Result<&ControlPlane> {
        self.cluster.control_plane()
    }

    /// Everything that happens is told to the receiver.
    async fn announce(&self) -> Result<()> {
        let version = "notification.toolkit.fluxcd.io/v1beta3";
        let provider = json!({
            "apiVersion": version, "kind": "Provider", "metadata": { "name": "all" },
            "spec": { "type": "generic", "address": self.receiver.url("/") },
        });
        let alert = json!({
            "apiVersion": version, "kind": "Alert", "metadata": { "name": "all" },
            "spec": {
                "providerRef": { "name": "all" },
                "eventSources": [{ "kind": "GitRepository", "name": "*" }, { "kind": "Kustomization", "name": "*" }],
            },
        });
        self.home.apply_yaml(&provider.to_string()).await?;
        self.home.apply_yaml(&alert.to_string()).await?;
        let remembered = async || {
            let names = self.home.names::<ConfigMap>().await?;
            let pages = names.iter().filter(|name| name.starts_with("notification-cursor-"));
            Ok((pages.count() == 8).then_some(()))
        };
        wait::until("the notification controller to take note", remembered).await
    }

    /// Objects that are none of our business: plain ones, ones that look like those of Kustomizations elsewhere, and one
    /// that looks like ours but was never applied.
    async fn strangers(&self) -> Result<()> {
        let labels = |more: Value| {
            let mut labels = json!({ FOREIGN: "yes" });
            if let (Some(labels), Value::Object(more)) = (labels.as_object_mut(), more) {
                labels.extend(more);
            }
            labels
        };
        let map = |name: &str, labels: Value| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": labels },
                "data": { "value": "mine", "even": "mine" },
            })
        };
        let container = json!({ "name": "app", "image": "example.test/app:foreign" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "foreign-app", "labels": labels(json!({})) },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "foreign" } },
                "template": { "metadata": { "labels": { "app": "foreign" } }, "spec": { "containers": [container] } },
            },
        });
        let elsewhere = json!({ OWNER: "k0", OWNER_NAMESPACE: "elsewhere" });
        let impostor = json!({ OWNER: "k0", OWNER_NAMESPACE: HOME });
        let objects = [
            map("foreign-plain", labels(json!({}))),
            map("foreign-elsewhere", labels(elsewhere)),
            map("foreign-impostor", labels(impostor)),
            deployment,
        ];
        for object in objects {
            for applied in self.apps.apply_yaml(&object.to_string()).await? {
                self.observer.protect(&applied);
            }
        }
        Ok(())
    }

    /// The variables, the sources and the Kustomizations.
    async fn describe(&self) -> Result<()> {
        self.set_tone().await?;
        for repository in &self.repos {
            let source = json!({
                "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": { "name": repository.name },
                "spec": {
                    "url": repository.repo.url(), "interval": format!("{}s", self.settings.interval), "timeout": "20s",
                    "ref": { "branch": "main" },
                },
            });
            self.home.apply_yaml(&source.to_string()).await?;
        }
        let all = lock(&self.world).kustomizations.len();
        for number in 0..all {
            self.kustomization(number).await?;
        }
        Ok(())
    }

    /// Makes a Kustomization.
    pub async fn kustomization(&self, number: usize) -> Result<()> {
        let manifest = lock(&self.world).manifest(number, self.settings.interval);
        self.home.apply_yaml(&manifest.to_string()).await?;
        Ok(())
    }

    /// Writes the variable into the cluster.
    pub async fn set_tone(&self) -> Result<()> {
        let tone = lock(&self.world).tone.to_string();
        let vars = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "vars", "labels": { "reconcile.fluxcd.io/watch": "Enabled" } }, "data": { "tone": tone },
        });
        self.home.apply_yaml(&vars.to_string()).await?;
        Ok(())
    }

    /// Makes the edits and commits what came of them to the repositories that changed. Returns the sources to ask.
    pub fn commit(&self, edits: &[Edit], message: &str) -> Result<Vec<String>> {
        let mut world = lock(&self.world);
        let said: Vec<_> = edits.iter().filter_map(|edit| world.edit(*edit)).collect();
        let mut changed = Vec::new();
        for (number, repository) in self.repos.iter().enumerate() {
            let files = world.files(number);
            let mut written = lock(&repository.files);
            if *written == files {
                continue;
            }
            for gone in written.keys().filter(|path| !files.contains_key(*path)) {
                repository.repo.remove(gone)?;
            }
            for (path, text) in files.iter().filter(|(path, text)| written.get(*path) != Some(*text)) {
                repository.repo.write(path, text)?;
            }
            let commit = repository.repo.commit(message)?;
            self.account
                .note(&format!("{} is at {commit}: {}", repository.name, said.join("; ")));
            lock(&repository.commits).push(commit);
            *written = files;
            changed.push(repository.name.clone());
        }
        self.account.count("commits", changed.len() as u64);
        Ok(changed)
    }

    /// The revision of the newest commit of each repository.
    pub fn heads(&self) -> Vec<String> {
        let head = |repository: &Repository| match lock(&repository.commits).last() {
            Some(commit) => revision(commit),
            None => String::new(),
        };
        self.repos.iter().map(head).collect()
    }

    /// The number of the commit that a revision stands for; commits of different repositories are not compared.
    pub fn number_of(&self, wanted: &str) -> Option<usize> {
        let position = |repository: &Repository| {
            let commits = lock(&repository.commits);
            commits.iter().position(|commit| revision(commit) == wanted)
        };
        self.repos.iter().find_map(position)
    }

    /// The Leases of the controllers.
    pub fn leases(&self) -> Api<k8s_openapi::api::coordination::v1::Lease> {
        self.home.api()
    }

    /// The most resident memory of each controller, in MiB.
    pub fn peak_memory(&self) -> Value {
        let peaks = lock(&self.peaks);
        peaks
            .iter()
            .map(|(controller, bytes)| (controller.to_string(), json!(bytes >> 20)))
            .collect()
    }

    /// How long drifts lasted in calms, in milliseconds by their kind: how many, the median and the longest.
    pub fn heal_times(&self) -> Value {
        let heals = lock(&self.heals);
        let row = |times: &Vec<Duration>| {
            let mut times: Vec<_> = times.iter().map(Duration::as_millis).collect();
            times.sort_unstable();
            json!({ "count": times.len(), "median": times.get(times.len() / 2), "longest": times.last() })
        };
        heals.iter().map(|(drift, times)| (drift.clone(), row(times))).collect()
    }

    /// Ends everything in good order.
    pub async fn strike(self) -> Result<()> {
        drop(self.replicas);
        drop((self.home, self.apps, self.observer));
        self.cluster.stop().await.context("the control plane does not end")
    }
}

fn revision(commit: &str) -> String {
    format!("main@sha1:{commit}")
}
