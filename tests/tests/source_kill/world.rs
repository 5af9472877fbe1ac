//! The objects, what is pushed for them, and the kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::source::{Artifact, GitRepository};
use fastrand::Rng;
use serde_json::{Value, json};
use tests::controllers::Controller::Source;
use tests::repo::Repo;
use tests::scenario::Scenario;
use tests::wait;

use crate::disk::Disk;
use crate::plan::{Phase, Step};

/// The repositories; the last one is never a target.
const REPOSITORIES: [&str; 4] = ["big", "versions", "lib", "app"];
/// Two GitRepositories of one URL, a range of versions, one that is included, the one that includes it, and one that rests.
pub const OBJECTS: [(&str, &str); 6] = [
    ("big", "big"),
    ("twin", "big"),
    ("versions", "versions"),
    ("lib", "lib"),
    ("app", "app"),
    ("quiet", "quiet"),
];
/// The one that is suspended.
pub const RESTING: &str = "quiet";
/// The one that is built anew, under the same name, when what it includes changes.
pub const INCLUDING: &str = "app";
/// What is new in a commit, in bytes that no compressor makes fewer.
pub const NOISE: usize = 1_500_000;
/// Artifacts that are to be thrown out at a time; each has a lock. At most a thousand files are looked at.
const PLANTED: usize = 400;
/// The window in which an archive lies in its place and the status does not name it.
const PUBLISHING: Duration = Duration::from_millis(6);
/// The window for a kill at any time after a push.
const ANY: Duration = Duration::from_millis(1500);

/// What was there at first and belongs to others.
pub struct Stranger {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub content: Vec<u8>,
}

/// All of it.
pub struct World {
    pub s: Scenario,
    pub disk: Disk,
    pub repos: BTreeMap<&'static str, Repo>,
    /// The last commit of each repository.
    pub pushed: BTreeMap<&'static str, String>,
    /// The digests of artifacts that were compared with Git.
    pub compared: BTreeSet<String>,
    /// Objects that were made to be deleted.
    pub passing: Vec<String>,
    pub strangers: Vec<Stranger>,
    /// The artifact of the one that rests.
    pub rested: Option<Artifact>,
    random: Rng,
    commits: u32,
    made: u32,
}

impl World {
    /// Repositories, objects with artifacts, and files of others beside them.
    pub async fn start(seed: u64) -> Result<Self> {
        let s = Scenario::builder("source-kill")
            .only(&[Source])
            .flag(Source, "--concurrent=4")
            .start()
            .await?;
        let mut world = Self {
            disk: Disk::new(&s.controllers, s.ns()),
            repos: BTreeMap::new(),
            pushed: BTreeMap::new(),
            compared: BTreeSet::new(),
            passing: Vec::new(),
            strangers: Vec::new(),
            rested: None,
            random: Rng::with_seed(seed ^ 0x5eed),
            commits: 0,
            made: 0,
            s,
        };
        for name in REPOSITORIES.into_iter().chain([RESTING]) {
            world.repos.insert(name, world.s.git.create(name)?);
            world.push(name)?;
        }
        for (name, repo) in OBJECTS {
            world.make(name, repo).await?;
        }
        world.s.namespace.wait_ready::<GitRepository>(RESTING).await?;
        let resting: GitRepository = world.s.namespace.suspend(RESTING, true).await?;
        world.rested = resting.status.and_then(|status| status.artifact);
        world.invite_strangers()?;
        Ok(world)
    }

    async fn make(&self, name: &str, repo: &str) -> Result<()> {
        let url = self.s.git.repository_url(repo);
        let reference = if repo == "versions" {
            json!({ "semver": ">=1.0.0" })
        } else {
            json!({ "branch": "main" })
        };
        let mut spec = json!({ "url": url, "interval": "1h", "ref": reference });
        if name == INCLUDING {
            spec["include"] = json!([{ "repository": { "name": "lib" }, "toPath": "included/lib" }]);
        }
        let object: Value = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": { "name": name },
            "spec": spec,
        });
        self.s.namespace.apply_yaml(&object.to_string()).await?;
        Ok(())
    }

    /// Files that are nobody's business: of another namespace, of another kind, and what is no artifact at all.
    fn invite_strangers(&mut self) -> Result<()> {
        let storage = self.s.controllers.storage();
        let hash = "ab".repeat(20);
        for path in [
            format!("gitrepository/elsewhere/big/{hash}.tar.gz"),
            format!("gitrepository/elsewhere/big/{hash}.tar.gz.lock"),
            format!("gitrepository/{}/unknown/{hash}.tar.gz", self.s.ns()),
            format!("bucket/{}/big/{hash}.tar.gz", self.s.ns()),
            "lost+found/file".to_owned(),
        ] {
            let (path, content) = (storage.join(&path), path.into_bytes());
            fs::create_dir_all(path.parent().context("no directory")?)?;
            fs::write(&path, &content)?;
            self.strangers.push(Stranger { path, content });
        }
        Ok(())
    }

    /// A commit with much that is new in it.
    fn push(&mut self, name: &'static str) -> Result<String> {
        let noise: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(NOISE).collect();
        let repo = self.repos.get(name).context(name)?;
        // What includes another one is built anew often enough without any of its own.
        if name != INCLUDING {
            repo.write("noise.bin", noise)?;
        }
        self.push_little(name)
    }

    /// A commit with little that is new in it.
    pub fn push_little(&mut self, name: &'static str) -> Result<String> {
        self.commits += 1;
        let repo = self.repos.get(name).context(name)?;
        repo.write("deploy/number.txt", self.commits.to_string())?;
        let commit = repo.commit(&format!("commit {}", self.commits))?;
        if name == "versions" {
            repo.tag(&format!("v1.{}.0", self.commits))?;
        }
        self.pushed.insert(name, commit.clone());
        Ok(commit)
    }

    /// Asks for a reconcile of whoever has this repository.
    pub async fn ask(&self, repo: &str) -> Result<()> {
        for (object, _) in OBJECTS.iter().filter(|(_, of)| *of == repo) {
            self.s.namespace.request_reconcile::<GitRepository>(object).await?;
        }
        Ok(())
    }

    /// Does what leads to the phase of the step, kills the controller in it, and tells what it was doing.
    pub async fn kill(&mut self, step: &Step) -> Result<BTreeSet<Phase>> {
        let target = REPOSITORIES[step.target];
        let mut planted_in = target.to_owned();
        if let Some(also) = step.also {
            self.push(REPOSITORIES[also])?;
        }
        let trigger = match step.phase {
            Phase::Collect => {
                self.disk.plant(target, PLANTED)?;
                Trigger::Planted
            }
            Phase::Delete => {
                self.made += 1;
                planted_in = format!("passing-{}", self.made);
                self.make(&planted_in, "lib").await?;
                self.s.namespace.wait_ready::<GitRepository>(&planted_in).await?;
                self.disk.plant(&planted_in, PLANTED)?;
                self.s.namespace.delete::<GitRepository>(&planted_in).await?;
                self.passing.push(planted_in.clone());
                Trigger::Planted
            }
            phase => Trigger::Pushed(phase, self.push(target)?),
        };
        if let Some(also) = step.also {
            self.ask(REPOSITORIES[also]).await?;
        }
        if step.phase != Phase::Delete {
            self.ask(target).await?;
        }
        // Without the async runtime between what is seen and the signal.
        tokio::task::block_in_place(|| self.strike(step, target, &planted_in, &trigger))?;
        self.was_at_work(&planted_in).await
    }

    /// Waits until the controller is as far as the step says, or beyond, and kills it.
    fn strike(&self, step: &Step, target: &str, planted_in: &str, trigger: &Trigger) -> Result<()> {
        let started = Instant::now();
        let share = |whole: usize| (whole as f64 * step.depth) as u64;
        let is_there = || match trigger {
            // Until the signal arrives more of them go.
            Trigger::Planted => (self.disk.planted(planted_in) as u64) < share(PLANTED) + PLANTED as u64,
            Trigger::Pushed(phase, commit) => {
                let is_done = self.disk.artifact(target, commit).exists();
                let archived = self.disk.archiving(target);
                is_done
                    || match phase {
                        Phase::Fetch => {
                            archived.is_some() || self.disk.receiving().is_some_and(|bytes| bytes >= share(NOISE))
                        }
                        Phase::Archive => archived.is_some_and(|bytes| bytes >= share(NOISE)),
                        Phase::Publish => false,
                        Phase::Any | Phase::Collect | Phase::Delete => started.elapsed() >= ANY.mul_f64(step.depth),
                    }
            }
        };
        while !is_there() {
            ensure!(started.elapsed() < wait::patience(), "it does not come to that");
            ensure!(!self.s.controllers.ended(Source)?, "it ended by itself");
            std::thread::yield_now();
        }
        if step.phase == Phase::Publish {
            let seen = Instant::now();
            while seen.elapsed() < PUBLISHING.mul_f64(step.depth) {
                std::thread::yield_now();
            }
        }
        self.s.controllers.kill(Source)
    }

    /// What it was doing when it died, by what it left.
    async fn was_at_work(&self, planted_in: &str) -> Result<BTreeSet<Phase>> {
        let mut phases = BTreeSet::new();
        if self.disk.receiving().is_some() {
            phases.insert(Phase::Fetch);
        }
        if self.disk.is_archiving() {
            phases.insert(Phase::Archive);
        }
        for (name, repo) in OBJECTS {
            if self.is_unnamed(name, repo).await? {
                phases.insert(Phase::Publish);
            }
        }
        if (1..2 * PLANTED).contains(&self.disk.planted(planted_in)) {
            let is_passing = self.passing.iter().any(|name| name == planted_in);
            phases.insert(if is_passing { Phase::Delete } else { Phase::Collect });
        }
        if phases.is_empty() {
            phases.insert(Phase::Any);
        }
        Ok(phases)
    }

    /// Whether an artifact of the last commit lies there that the status does not name.
    async fn is_unnamed(&self, name: &str, repo: &str) -> Result<bool> {
        let commit = self.pushed.get(repo).context("never pushed")?;
        let path = self.disk.artifact(name, commit);
        if !path.exists() {
            return Ok(false);
        }
        let object: GitRepository = self.s.namespace.get(name).await?;
        Ok(match object.status.and_then(|status| status.artifact) {
            Some(artifact) if artifact.revision.ends_with(commit.as_str()) => artifact.digest != digest(&path)?,
            Some(_) | None => true,
        })
    }

    /// Starts the controller that was killed.
    pub async fn start_again(&self) -> Result<()> {
        self.s.controllers.start_again(Source).await
    }
}

/// What is waited for.
enum Trigger {
    /// Planted artifacts go.
    Planted,
    /// A commit is on its way.
    Pushed(Phase, String),
}

/// The digest of a file.
pub fn digest(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(tests::artifact_server::digest(&bytes)),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}
