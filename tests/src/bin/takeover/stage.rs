//! Where it is played: a control plane of its own, a Git server with two repositories, GitRepositories of several
//! kinds, and the two controllers, each with folders and ports of its own, over the same storage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::source::{Artifact, GitRepository};
use artifact::Digest;
use kube::ResourceExt;
use serde_json::{Value, json};
use tests::checkout::{self, WorkDir};
use tests::cluster::Cluster;
use tests::controllers::{Controller, Controllers, Options};
use tests::files::{self, Entry};
use tests::flux;
use tests::git_server::GitServer;
use tests::namespace::Namespace;
use tests::repo::Repo;
use tests::wait;

/// The GitRepositories that follow one repository: those of it, and one that includes another one.
pub const FOLLOWING: [&str; 4] = ["branch", "semver", "ignored", "including"];
/// One that is suspended once it has its artifact.
pub const RESTING: &str = "resting";
/// One whose archive takes long to write.
pub const LARGE: &str = "large";
/// Of so many megabytes, which cannot be compressed.
const MEGABYTES: usize = 48;
/// Where artifacts are said to be found, whoever serves them.
const ADDRESS: &str = "artifacts.test";

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Flux's source controller.
    Flux,
    /// This checkout's.
    Ours,
}

/// What there was at a moment.
#[derive(Debug)]
pub struct Mark {
    /// The version of each object, which every write changes.
    pub objects: BTreeMap<String, Option<String>>,
    /// What lies in the storage.
    pub files: BTreeMap<String, Entry>,
    /// How often objects of the small repository were fetched.
    pub fetches: u64,
}

/// Everything that outlives the controllers. Fields end in this order.
pub struct Stage {
    /// The namespace of the objects.
    pub namespace: Namespace,
    app: Repo,
    large: Repo,
    git: GitServer,
    flux: PathBuf,
    cluster: Cluster,
    dir: WorkDir,
}

impl Stage {
    /// Starts everything but the controllers.
    pub async fn set(flux_source: &Path) -> Result<Self> {
        tests::use_ring();
        let dir = WorkDir::create("takeover", "run")?;
        fs::create_dir(dir.path().join("storage"))?;
        let flux = flux::bin_dir(dir.path(), &[(Controller::Source, flux_source)])?;
        let cluster = Cluster::own("takeover").await?;
        flux::install_kinds(&cluster).await?;
        let namespace = cluster.namespace("takeover").await?;
        let git = GitServer::start()?;
        let (app, large) = (git.create("app")?, git.create(LARGE)?);
        Ok(Self {
            namespace,
            app,
            large,
            git,
            flux,
            cluster,
            dir,
        })
    }

    /// Starts one of the two, with more flags.
    pub async fn start(&self, side: Side, flags: &[&str]) -> Result<Controllers> {
        let dir = self.dir.path().join(format!("{side:?}"));
        let mut options = Options::new(self.cluster.kubeconfig(), &dir, self.namespace.name());
        options.bin_dir = Some(match side {
            Side::Flux => self.flux.clone(),
            Side::Ours => checkout::bin_dir()?,
        });
        options.controllers = vec![Controller::Source];
        let storage = format!("--storage-path={}", self.storage().display());
        let address = format!("--storage-adv-addr={ADDRESS}");
        // By count alone: nothing here depends on how long it takes.
        let usual = [
            &*storage,
            &*address,
            "--artifact-retention-ttl=1h",
            "--artifact-retention-records=2",
            "--requeue-dependency=1s",
        ];
        let flags = usual.iter().chain(flags);
        options.flags = flags.map(|flag| (Controller::Source, (*flag).to_owned())).collect();
        Controllers::start(options).await
    }

    /// Starts one, and waits until it has dealt with every object.
    pub async fn take_over(&self, side: Side, flags: &[&str]) -> Result<Controllers> {
        let running = self.start(side, flags).await?;
        self.dealt_with(&running, None).await?;
        Ok(running)
    }

    /// Waits until one has dealt with every object, but for one.
    pub async fn dealt_with(&self, running: &Controllers, except: Option<&str>) -> Result<()> {
        let names = self.names().await?;
        for name in names.iter().filter(|name| except != Some(name.as_str())) {
            let count = async || {
                let namespace = self.namespace.name();
                running
                    .reconciles(Controller::Source, "GitRepository", namespace, name)
                    .await
            };
            let is_done = async || Ok((count().await? > 0).then_some(()));
            wait::until(&format!("{name} to be dealt with"), is_done).await?;
        }
        Ok(())
    }

    /// Makes the objects.
    pub async fn create(&self) -> Result<()> {
        self.commit("1")?;
        self.commit_large()?;
        self.source("branch", &self.app, json!({})).await?;
        self.source("semver", &self.app, json!({ "ref": { "semver": ">=1.0.0" } }))
            .await?;
        self.source("ignored", &self.app, json!({ "ignore": "/docs" })).await?;
        let include = json!([{ "repository": { "name": "ignored" }, "toPath": "lib" }]);
        self.source("including", &self.app, json!({ "include": include }))
            .await?;
        self.source(RESTING, &self.app, json!({})).await?;
        self.source(LARGE, &self.large, json!({})).await?;
        for name in self.names().await? {
            self.namespace.wait_ready::<GitRepository>(&name).await?;
        }
        self.namespace.suspend::<GitRepository>(RESTING, true).await?;
        Ok(())
    }

    /// Makes a GitRepository that is looked at on request only.
    async fn source(&self, name: &str, repo: &Repo, mut fields: Value) -> Result<()> {
        fields["interval"] = json!("1h");
        self.namespace.git_repository(name, repo.url(), fields).await
    }

    /// A new commit and release of the small repository.
    pub fn commit(&self, number: &str) -> Result<String> {
        let files = [("app/a", number), ("docs/readme", number)];
        let commit = self.app.commit_files(number, &files)?;
        self.app.tag(&format!("v1.{number}.0"))?;
        Ok(commit)
    }

    /// A new commit of the large repository.
    pub fn commit_large(&self) -> Result<String> {
        let mut random = fastrand::Rng::new();
        for n in 0..MEGABYTES {
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u64(..).to_ne_bytes())
                .take(1 << 17)
                .flatten()
                .collect();
            self.large.write(&format!("file-{n}"), bytes)?;
        }
        self.large.commit("large")
    }

    /// The objects.
    pub async fn names(&self) -> Result<Vec<String>> {
        self.namespace.names::<GitRepository>().await
    }

    /// The artifact of an object.
    pub async fn artifact(&self, name: &str) -> Result<Artifact> {
        let object: GitRepository = self.namespace.get(name).await?;
        let artifact = object.status.and_then(|status| status.artifact);
        artifact.with_context(|| format!("{name} has no artifact"))
    }

    /// Waits until an object has the artifact of a commit.
    pub async fn stored(&self, name: &str, commit: &str) -> Result<()> {
        let is_there = |object: &GitRepository| {
            let artifact = object.status.as_ref().and_then(|status| status.artifact.as_ref());
            artifact.is_some_and(|artifact| artifact.revision.ends_with(commit))
        };
        self.namespace.wait(name, "have the commit", is_there).await?;
        self.namespace.wait_ready::<GitRepository>(name).await?;
        Ok(())
    }

    /// The storage that both use.
    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    /// The directory of an object in it.
    pub fn shelf(&self, name: &str) -> PathBuf {
        self.storage()
            .join("gitrepository")
            .join(self.namespace.name())
            .join(name)
    }

    /// The files of an object that are neither artifacts nor locks.
    pub fn halves(&self, name: &str) -> Result<Vec<String>> {
        let files = files::list(&self.shelf(name))?.into_keys();
        let is_whole = |file: &str| !file.starts_with('.') && (file.ends_with(".tar.gz") || file.ends_with(".lock"));
        Ok(files.filter(|file| !is_whole(file)).collect())
    }

    /// Has the controller store a new commit of the large repository, and returns it when it is in the middle of that.
    /// What is done to the controller then has to be done at once.
    pub async fn in_the_middle(&self) -> Result<String> {
        let commit = self.commit_large()?;
        let before = self.halves(LARGE)?;
        self.namespace.request_reconcile::<GitRepository>(LARGE).await?;
        let begun = async || {
            let mut halves = self.halves(LARGE)?.into_iter();
            Ok(halves.find(|half| !before.contains(half)))
        };
        let pause = Duration::from_millis(2);
        wait::until_every(pause, wait::patience(), "the large artifact to be begun", begun).await?;
        Ok(commit)
    }

    /// Fails unless the controller was caught in the middle: something half written is there.
    pub fn must_be_caught(&self) -> Result<Vec<String>> {
        let halves = self.halves(LARGE)?;
        if halves.is_empty() {
            bail!("it has written the large artifact before it could be caught");
        }
        Ok(halves)
    }

    /// What there is now.
    pub async fn mark(&self) -> Result<Mark> {
        let mut objects = BTreeMap::new();
        for name in self.names().await? {
            let object: GitRepository = self.namespace.get(&name).await?;
            objects.insert(name, object.resource_version());
        }
        Ok(Mark {
            objects,
            files: files::list(&self.storage())?,
            fetches: self.git.traffic("app").fetches,
        })
    }

    /// Downloads the artifacts of all objects that have one, and compares them with their digests.
    pub async fn must_be_served(&self, by: &Controllers) -> Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        for name in self.names().await? {
            let artifact = self.artifact(&name).await?;
            let expected = format!("http://{ADDRESS}/{}", artifact.path);
            ensure!(artifact.url == expected, "{name} is said to be at {}", artifact.url);
            let url = format!("{}/{}", by.artifacts_url()?, artifact.path);
            let bytes = client.get(&url).send().await?.error_for_status()?.bytes().await?;
            let told: Digest = artifact.digest.parse().map_err(anyhow::Error::msg)?;
            let found = Digest::of_reader(told.algorithm(), &bytes[..])?;
            ensure!(found == told, "{name} has the digest {found}, not {told}");
            ensure!(
                artifact.size == Some(bytes.len().try_into()?),
                "{name} has {} bytes",
                bytes.len()
            );
        }
        Ok(())
    }
}
