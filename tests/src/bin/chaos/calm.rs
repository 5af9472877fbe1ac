//! The calm after a storm: nothing goes wrong any more, and within the deadline everything has to be as it should be.
//! What still is not is a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::ListParams;
use serde_json::Value;
use tests::api_proxy::Faults;
use tests::controllers::Controller;
use tests::proc::{self, Resident};
use tests::wait;

use crate::account::lock;
use crate::leaders::Excuses;
use crate::observe::{condition, inventory, title, value_of};
use crate::plan::{Drift, Edit};
use crate::replicas::lease;
use crate::stage::Stage;
use crate::told::{self, Message};
use crate::world::{HOME, Key, Kind, MADE, MORTAL, OWNER, OWNER_NAMESPACE, difference};

/// The most violations that one calm tells.
const MOST_TOLD: usize = 12;

/// How often everything is looked at until it is as it should be.
const LOOK: Duration = Duration::from_millis(500);

/// How often one object is looked at until it is mended.
const HEAL_LOOK: Duration = Duration::from_millis(20);

/// The most bytes a controller may have on disk: much more than what it works with here, and less than what would add up
/// if killed ones left it behind.
const MOST_ON_DISK: u64 = 8 << 20;

/// What is looked for during one look.
struct Cluster {
    /// The objects that Git made or that carry an owner's label.
    objects: BTreeMap<Key, Value>,
    kustomizations: BTreeMap<String, Value>,
    sources: BTreeMap<String, Value>,
}

impl Stage {
    /// Ends every fault.
    pub async fn settle(&self) -> Result<()> {
        self.set_faults(Faults::default());
        self.artifacts.set_outage(None)?;
        self.git.up()?;
        for replica in self.replicas.all() {
            replica.proxy.release_watches();
            replica.release();
        }
        self.control_plane()?.ready().await
    }

    /// Waits until everything is as it should be. What is broken in Git has to be told as broken; then it is mended.
    pub async fn calm(&self) -> Result<()> {
        self.settle().await?;
        self.set_tone().await?;
        let stuck = lock(&self.world).stuck();
        if !stuck.is_empty() {
            self.account.step(&format!("calm with {stuck:?} broken"));
            self.converge().await?;
            self.commit(&[Edit::Mend], "mended")?;
        }
        self.account.step("calm");
        if self.converge().await? {
            self.drill().await?;
            self.converge().await?;
        }
        self.look_back()
    }

    /// Somebody changes objects and deletes a Kustomization while nothing else goes wrong.
    async fn drill(&self) -> Result<()> {
        const DRIFTS: [Drift; 5] = [Drift::Value, Drift::Key, Drift::Labels, Drift::Delete, Drift::Replace];
        let first = usize::try_from(self.account.counted("calms")).unwrap_or_default() * DRIFTS.len();
        let drills = DRIFTS.into_iter().enumerate().map(async |(number, drift)| {
            let Some((key, expected)) = lock(&self.world).healthy(first + number) else {
                return Ok(());
            };
            self.drift_of(drift, &key, false).await?;
            let begun = Instant::now();
            let api = self.observer.api(key.kind);
            let what = format!("{drift:?} of {key} to be mended");
            let mended = wait::until_every(HEAL_LOOK, self.settings.heal, &what, async || {
                let live = api.get_opt(&key.name).await?;
                let mended = live.is_some_and(|live| difference(&expected, &value_of(&live)).is_none());
                Ok(mended.then(|| begun.elapsed()))
            });
            match mended.await {
                Ok(time) => {
                    lock(&self.heals).entry(format!("{drift:?}")).or_default().push(time);
                    self.account
                        .note(&format!("{drift:?} of {key} was mended after {time:.2?}"));
                }
                Err(error) => self.account.violate("drift is mended in time", &format!("{error:#}")),
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(drills).await?;
        // Objects go with their Kustomization, and that has to be told.
        let mortal = self.observer.flux("Kustomization").get(&format!("k{MORTAL}")).await?;
        self.observer.ends_in_calm(&mortal.metadata.uid.unwrap_or_default());
        self.recreate().await;
        Ok(())
    }

    /// Looks until nothing is wrong; false if that never came.
    async fn converge(&self) -> Result<bool> {
        let begun = Instant::now();
        let mut wrong = Vec::new();
        let calm = wait::until_every(LOOK, self.settings.deadline, "calm", async || {
            wrong = match self.look().await {
                Ok(wrong) => wrong,
                Err(error) => vec![("the cluster can be looked at", format!("{error:#}"))],
            };
            Ok(wrong.is_empty().then(|| begun.elapsed()))
        });
        if let Ok(time) = calm.await {
            self.account
                .note(&format!("everything is as it should be after {time:.1?}"));
            self.account.count("calms", 1);
            self.account.count(
                "milliseconds until calm",
                u64::try_from(time.as_millis()).unwrap_or_default(),
            );
            return Ok(true);
        }
        let total = wrong.len();
        for (invariant, what) in wrong.into_iter().take(MOST_TOLD) {
            self.account.violate(invariant, &what);
        }
        if total > MOST_TOLD {
            let text = format!("{} more things are not as they should be", total - MOST_TOLD);
            self.account.violate("the cluster equals the last commit", &text);
        }
        Ok(false)
    }

    /// What is not as it should be.
    async fn look(&self) -> Result<Vec<(&'static str, String)>> {
        let cluster = self.read().await?;
        let mut wrong = self.states(&cluster);
        wrong.extend(self.objects(&cluster));
        let messages = self.messages()?;
        let (messages, _) = told::first_of_each(&messages);
        wrong.extend(self.ends(&cluster, &messages));
        let seen = self.observer.seen();
        let reigns = self.book.reigns(&lease(Controller::Notification));
        let missing = told::untold_changes(&messages, &seen, &reigns).into_iter();
        let missing = missing.chain(told::untold_failures(&messages, &seen, &reigns, Instant::now()));
        let missing = missing.chain(told::untold_deletions(&messages, &seen, &reigns));
        wrong.extend(missing.map(|text| ("every terminal transition is told", text)));
        for controller in self.replicas.leaderless() {
            wrong.push(("the cluster comes to rest", format!("no {controller} leads")));
        }
        if !self.observer.is_idle() {
            wrong.push(("the cluster comes to rest", "inventories still change".to_owned()));
        }
        Ok(wrong)
    }

    /// How many deletions of Kustomizations had to be told so far.
    pub fn deletions_to_be_told(&self) -> u64 {
        let reigns = self.book.reigns(&lease(Controller::Notification));
        told::known_deletions(&self.observer.seen(), &reigns).len() as u64
    }

    async fn read(&self) -> Result<Cluster> {
        let mut objects = BTreeMap::new();
        for kind in Kind::ALL {
            for label in [MADE, OWNER] {
                for object in self
                    .observer
                    .api(kind)
                    .list(&ListParams::default().labels(label))
                    .await?
                {
                    let name = object.metadata.name.clone().unwrap_or_default();
                    objects.insert(Key { kind, name }, value_of(&object));
                }
            }
        }
        let list = async |kind: &str| -> Result<BTreeMap<String, Value>> {
            let list = self.observer.flux(kind).list(&ListParams::default()).await?;
            let named = list
                .into_iter()
                .map(|object| (object.metadata.name.clone().unwrap_or_default(), value_of(&object)));
            Ok(named.collect())
        };
        Ok(Cluster {
            objects,
            kustomizations: list("Kustomization").await?,
            sources: list("GitRepository").await?,
        })
    }

    /// Every Kustomization is ready with the newest commit, or fails if it has to.
    fn states(&self, cluster: &Cluster) -> Vec<(&'static str, String)> {
        let (world, heads) = (lock(&self.world), self.heads());
        let stuck = world.stuck();
        let mut wrong = Vec::new();
        for (number, it) in world.kustomizations.iter().enumerate() {
            let Some(object) = cluster.kustomizations.get(&it.name) else {
                wrong.push((
                    "the cluster equals the last commit",
                    format!("{} does not exist", it.name),
                ));
                continue;
            };
            let ready = condition(object, "Ready");
            let is = |status: &str| {
                ready.is_some_and(|it| {
                    it["status"] == status && it["observedGeneration"] == object["metadata"]["generation"]
                })
            };
            let current = object["status"]["lastAppliedRevision"] == heads[it.repo].as_str();
            let right = match world.blamed(number) {
                Some(file) => {
                    is("False") && ready.is_some_and(|it| it["message"].as_str().unwrap_or_default().contains(file))
                }
                None if stuck.contains(&it.name) => is("False"),
                None => is("True") && current,
            };
            if !right {
                let text = format!(
                    "{} is not as it should be (head {}): {}",
                    it.name, heads[it.repo], object["status"]
                );
                wrong.push(("the cluster equals the last commit", text));
            }
        }
        for (number, head) in heads.iter().enumerate() {
            let source = cluster.sources.get(&format!("repo{number}"));
            let artifact = source.map(|it| &it["status"]["artifact"]["revision"]);
            if artifact.and_then(Value::as_str) != Some(head) {
                wrong.push((
                    "the cluster equals the last commit",
                    format!("repo{number} holds {artifact:?} instead of {head}"),
                ));
            }
        }
        wrong
    }

    /// The objects are those of the last commit, and the inventories list them.
    fn objects(&self, cluster: &Cluster) -> Vec<(&'static str, String)> {
        let world = lock(&self.world);
        let (expected, stuck) = (world.expected(), world.stuck());
        let mut wrong = Vec::new();
        let is_stuck = |owner: &Value| owner.as_str().is_some_and(|owner| stuck.contains(owner));
        for (key, (owner, object)) in &expected {
            // What a Kustomization that cannot be built has in the cluster depends on when it broke.
            if stuck.contains(owner) {
                continue;
            }
            let found = match cluster.objects.get(key) {
                None => Some("it does not exist".to_owned()),
                Some(live) if !live["metadata"]["deletionTimestamp"].is_null() => {
                    Some("it is being deleted".to_owned())
                }
                Some(live) => difference(object, live),
            };
            if let Some(found) = found {
                wrong.push((
                    "the cluster equals the last commit",
                    format!("{key} of {owner}: {found}"),
                ));
            }
        }
        for (key, live) in &cluster.objects {
            let owner = &live["metadata"]["labels"][OWNER];
            let ours = live["metadata"]["labels"][OWNER_NAMESPACE] == HOME || owner.is_null();
            let excused = key.name.starts_with("foreign-") || world.may_stay.contains(key) || is_stuck(owner);
            // What waits for its new owner to be built stays with nobody, or with the old one.
            if ours && !excused && !expected.contains_key(key) {
                wrong.push((
                    "the cluster equals the last commit",
                    format!("{key} is in no commit and still there, owned by {owner}"),
                ));
            }
        }
        for it in world.kustomizations.iter().filter(|it| !stuck.contains(&it.name)) {
            let listed = cluster.kustomizations.get(&it.name).map(inventory).unwrap_or_default();
            let wanted: BTreeSet<_> = it.objects.keys().map(Key::id).collect();
            if listed != wanted {
                let (more, less): (Vec<_>, Vec<_>) = (
                    listed.difference(&wanted).collect(),
                    wanted.difference(&listed).collect(),
                );
                let text = format!("the inventory of {} has {more:?} too many and lacks {less:?}", it.name);
                wrong.push(("the inventory is what we own", text));
            }
        }
        wrong
    }

    /// The end of every reconcile with the newest commit is told, and what keeps the others from it.
    fn ends(&self, cluster: &Cluster, messages: &[&Message]) -> Vec<(&'static str, String)> {
        let (world, heads) = (lock(&self.world), self.heads());
        let stuck = world.stuck();
        let mut objects: Vec<(&Value, &str)> = Vec::new();
        for it in world.kustomizations.iter().filter(|it| !stuck.contains(&it.name)) {
            objects.extend(
                cluster
                    .kustomizations
                    .get(&it.name)
                    .map(|object| (object, heads[it.repo].as_str())),
            );
        }
        for (number, head) in heads.iter().enumerate() {
            objects.extend(
                cluster
                    .sources
                    .get(&format!("repo{number}"))
                    .map(|object| (object, head.as_str())),
            );
        }
        let untold = objects.into_iter().filter(|(object, head)| {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            !told::good_end_told(messages, uid, head)
        });
        let mut wrong: Vec<_> = untold
            .map(|(object, head)| format!("nobody was told that {} is at {head}", title(object)))
            .collect();
        for (number, it) in world.kustomizations.iter().enumerate() {
            let (Some(file), Some(object)) = (world.blamed(number), cluster.kustomizations.get(&it.name)) else {
                continue;
            };
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            let told = |message: &&Message| message.uid == uid && message.text.contains(file);
            if !messages.iter().any(told) {
                wrong.push(format!("nobody was told that {file} breaks {}", it.name));
            }
        }
        wrong
            .into_iter()
            .map(|text| ("every terminal transition is told", text))
            .collect()
    }

    /// What can be judged at any time: the order of messages, who wrote, what the logs say.
    fn look_back(&self) -> Result<()> {
        let messages = self.messages()?;
        let (messages, different) = told::first_of_each(&messages);
        for text in different {
            self.account.violate("a repetition is the same message", &text);
        }
        for text in told::disorder(&messages, &self.observer.seen(), |revision| self.number_of(revision)) {
            self.account.violate("messages come in order", &text);
        }
        self.judge_writes();
        for replica in self.replicas.all() {
            let log = std::fs::read(replica.log()).with_context(|| format!("{} has no log", replica.name))?;
            let log = String::from_utf8_lossy(&log);
            for line in log.lines().filter(|line| line.contains("panicked at")) {
                self.account
                    .violate("nothing panics", &format!("{}: {line}", replica.name));
            }
            let (controllers, controller) = (replica.controllers(), replica.controller);
            let left = [controllers.storage(), controllers.temporary(controller)].map(|dir| size(&dir));
            let left: u64 = left.iter().sum();
            if left > MOST_ON_DISK {
                let text = format!("{} has {} MiB on disk", replica.name, left >> 20);
                self.account.violate("nothing is left on disk", &text);
            }
        }
        Ok(())
    }

    /// At most one replica writes.
    fn judge_writes(&self) {
        let writes = self.book.take_writes();
        self.account.count("writes", writes.len() as u64);
        let of = |name: &str| self.replicas.all().iter().find(|it| it.name == name);
        let paused = |name: &str| of(name).map(|it| it.paused()).unwrap_or_default();
        let taken = lock(&self.leases_taken).clone();
        let excuses = Excuses {
            paused: &paused,
            taken: &taken,
        };
        let needs = |name: &str| {
            let controller = of(name)?.controller;
            (controller != Controller::Source).then(|| lease(controller))
        };
        for overlap in lock(&self.leaders).overlaps(writes, needs, &excuses) {
            if overlap.excused {
                self.account.count("writes during a handover by force", 1);
                continue;
            }
            let write = &overlap.write;
            let text = format!(
                "{} sent {} {} {:.3} s after {} had taken the Lease",
                write.proxy,
                write.method,
                write.path,
                overlap.since.as_secs_f64(),
                overlap.holder.as_deref().unwrap_or("nobody")
            );
            self.account.violate("at most one leader writes", &text);
        }
    }

    /// The messages that the receiver has accepted.
    fn messages(&self) -> Result<Vec<Message>> {
        let received = self.receiver.received();
        received
            .iter()
            .filter(|request| request.status == 200)
            .map(Message::of)
            .collect()
    }

    /// Watches over memory; never ends.
    pub async fn watch_memory(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            for replica in self.replicas.all() {
                let Some(Ok(Resident { now: bytes, .. })) = replica.id().map(proc::resident) else {
                    continue;
                };
                let most = self.settings.memory << 20;
                lock(&self.peaks)
                    .entry(replica.controller)
                    .and_modify(|peak| *peak = bytes.max(*peak))
                    .or_insert(bytes);
                if bytes > most {
                    let text = format!("{} has more than {} MiB", replica.name, self.settings.memory);
                    self.account.violate("no process is over its memory bound", &text);
                }
            }
        }
    }
}

/// The bytes of all files in a directory; what goes meanwhile does not count.
fn size(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
