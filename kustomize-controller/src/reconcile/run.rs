//! The state of a reconcile between two calls: what is finished, and what is waited for.
//!
//! A reconcile is called again and again until it has an outcome. Each call goes on where the last one stopped, as long
//! as the inputs are the same: a newer revision, spec or request starts a new run at once, whatever the old one waited
//! for. Nothing here is needed for correctness: after a restart every run starts over and finds its work done.

use super::settled::Build;
use super::{Name, Report};
use crate::apply::ChangeSet;
use crate::build::Built;
use crate::changes::Origin;
use crate::cluster::Cluster;
use crate::holdings::Trust;
use crate::inventory::ObjectId;
use crate::prune::Doomed;
use crate::wait::Look;
use crate::watch::Interest;
use api::kustomize::{ChangeEntry, Kustomization, ResourceInventory};
use api::source::Artifact;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a run works from. Other inputs make another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    generation: i64,
    requested: Option<String>,
    revision: String,
    digest: String,
}

impl Inputs {
    /// Whether the same is asked for, whatever the source offers.
    pub fn is_same_wish(&self, other: &Inputs) -> bool {
        self.generation == other.generation && self.requested == other.requested
    }

    /// The inputs of an object and the artifact of its source.
    pub fn of(object: &Kustomization, artifact: &Artifact) -> Self {
        Inputs {
            generation: object.metadata.generation.unwrap_or_default(),
            requested: super::requested(object),
            revision: artifact.revision.clone(),
            digest: artifact.digest.clone(),
        }
    }
}

/// One run.
pub struct Run {
    /// What it works from.
    pub inputs: Inputs,
    /// The artifact it applies.
    pub artifact: Artifact,
    /// When it began.
    pub started: Instant,
    /// How far what was applied before can be relied on.
    pub trust: Trust,
    /// The state of rights when it began.
    pub rights: u64,
    /// When it began to wait for health; corrections in between do not give it more time.
    pub checking_since: Option<Instant>,
    /// What is to be said and was not written yet, because the run may be over in a moment.
    pub draft: Option<Report>,
    /// How far it is.
    pub step: Step,
}

/// How long a run waits without saying so.
const QUIET: Duration = Duration::from_secs(2);

impl Run {
    /// How long it still waits without saying so; nothing when that is over. What is over in a moment needs no write, and
    /// all that must not be lost is written before anything is changed.
    pub fn quiet(&self) -> Option<Duration> {
        let since = match &self.step {
            Step::Fetch(_) => return None,
            Step::Apply(applying) => match applying.waiting.as_ref()? {
                Waiting::Presence(awaited) | Waiting::Absence(awaited) => awaited.since,
            },
            Step::Check(checking) => checking.awaited.since,
        };
        Some(QUIET.saturating_sub(since.elapsed())).filter(|left| !left.is_zero())
    }

    /// Whether it waits for what it has applied, and since when drift is news to it; nothing for drift of any time, where
    /// everything was applied.
    pub fn unaware_since(&self) -> Option<Option<Instant>> {
        match &self.step {
            Step::Fetch(_) => None,
            // Stages to come may hold what drifted before.
            Step::Apply(applying) => applying.waiting.as_ref().map(|_| Some(applying.looked)),
            Step::Check(_) => Some(None),
        }
    }

    /// Whether it has built what this generation of the object asks for, so that it does not need the source any more.
    pub fn is_built_for(&self, object: &Kustomization) -> bool {
        !matches!(self.step, Step::Fetch(_)) && self.inputs == Inputs::of(object, &self.artifact)
    }

    /// What it applies, for those who tell of it.
    pub fn origin(&self) -> Origin {
        Origin::of(&self.artifact)
    }

    /// The digest of the built text, once it is built.
    pub fn digest(&self) -> Option<&str> {
        match &self.step {
            Step::Fetch(_) => None,
            Step::Apply(applying) => Some(&applying.build.digest),
            Step::Check(checking) => Some(&checking.build.digest),
        }
    }
}

/// How far a run is.
pub enum Step {
    /// The artifact is to be fetched.
    Fetch(Fetching),
    /// The objects are being applied.
    Apply(Box<Applying>),
    /// The objects are applied and must become healthy.
    Check(Box<Checking>),
}

impl Step {
    /// The first one.
    pub fn fetch() -> Self {
        Step::Fetch(Fetching::default())
    }

    /// The first one of a run that takes the place of another.
    pub fn instead_of(superseded: &Step) -> Self {
        let insists = match superseded {
            Step::Fetch(fetching) => fetching.gave_way || fetching.insists,
            Step::Apply(_) | Step::Check(_) => false,
        };
        Step::Fetch(Fetching {
            insists,
            ..Fetching::default()
        })
    }
}

/// Why a run is pointless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Superseded {
    /// Something else is asked for, or nothing any more.
    ByWish,
    /// The source offers another revision, and the same is asked for.
    ByRevision,
}

/// Where fetching stands.
#[derive(Default)]
pub struct Fetching {
    /// Failed attempts.
    pub attempts: u32,
    /// The next attempt is not to be made before.
    pub not_before: Option<Instant>,
    /// The build was ended by a newer revision.
    gave_way: bool,
    /// The build of the run before was: this one is finished whatever the source offers, or one whose revisions come
    /// faster than it can be built would never be applied.
    insists: bool,
}

impl Fetching {
    /// Whether the build ends because of this.
    pub fn gives_way(&mut self, by: Superseded) -> bool {
        match by {
            Superseded::ByWish => true,
            Superseded::ByRevision => {
                self.gave_way = !self.insists;
                self.gave_way
            }
        }
    }
}

/// Where applying stands.
pub struct Applying {
    /// What is applied.
    pub manifests: Arc<Built>,
    /// What it was built from.
    pub build: Build,
    /// Where to.
    pub cluster: Cluster,
    /// The stage at hand.
    pub stage: usize,
    /// When its objects were looked at.
    pub looked: Instant,
    /// What came of the stages before.
    pub applied: ChangeSet,
    /// What the stage at hand waits for.
    pub waiting: Option<Waiting>,
    /// The inventory before anything was applied.
    pub before: Option<ResourceInventory>,
    /// Changes that a killed run had planned and nobody was told of.
    pub inherited: Vec<ChangeEntry>,
}

/// What a stage waits for.
pub enum Waiting {
    /// The objects are to be there.
    Presence(Awaited),
    /// The objects are to be gone, to be made anew.
    Absence(Awaited),
}

/// Objects that something waits for, and what is known of them.
pub struct Awaited {
    /// Where the objects are.
    pub cluster: Cluster,
    /// What is known of each object, in order.
    pub known: Vec<Look>,
    /// Jobs that may vanish once they are done.
    pub vanishing: HashSet<ObjectId>,
    /// From when on the time counts that the waiting may take.
    pub since: Instant,
    /// When everything that is not there yet was looked at last; nothing before the first look.
    pub looked: Option<Instant>,
    /// Keeps the watches open; none before the first look.
    pub interests: Vec<Interest>,
}

impl Awaited {
    /// Objects of a cluster.
    pub fn new(cluster: Cluster, known: Vec<Look>) -> Self {
        Awaited {
            cluster,
            known,
            vanishing: HashSet::new(),
            since: Instant::now(),
            looked: None,
            interests: Vec::new(),
        }
    }
}

/// Where health checks stand.
pub struct Checking {
    /// What is waited for.
    pub awaited: Awaited,
    /// What was built, or would have been.
    pub build: Build,
    /// Whether this run changed anything.
    pub changed: bool,
    /// Whether everything was healthy before this run.
    pub was_healthy: bool,
}

/// A deletion that waits for its objects to go.
pub struct Terminating {
    /// The objects.
    pub doomed: Vec<Doomed>,
    /// When the waiting began.
    pub since: Instant,
    /// Keeps the watches open.
    pub interests: Vec<Interest>,
}

/// The objects that Kustomizations wait for.
#[derive(Default)]
pub struct Watched {
    by_object: HashMap<ObjectId, HashSet<Name>>,
    by_waiter: HashMap<Name, HashSet<ObjectId>>,
}

impl Watched {
    /// A Kustomization waits for these objects, and for no others.
    pub fn expect(&mut self, waiter: &Name, ids: impl Iterator<Item = ObjectId>) {
        self.forget(waiter);
        let ids: HashSet<_> = ids.collect();
        for id in &ids {
            self.by_object.entry(id.clone()).or_default().insert(waiter.clone());
        }
        self.by_waiter.insert(waiter.clone(), ids);
    }

    /// A Kustomization waits no more.
    pub fn forget(&mut self, waiter: &Name) {
        for id in self.by_waiter.remove(waiter).unwrap_or_default() {
            if let Some(waiters) = self.by_object.get_mut(&id) {
                waiters.remove(waiter);
                if waiters.is_empty() {
                    self.by_object.remove(&id);
                }
            }
        }
    }

    /// Who waits for an object.
    pub fn waiters(&self, id: &ObjectId) -> Vec<Name> {
        self.by_object.get(id).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the builds of runs that take each other's place end, each because of that.
    #[track_caller]
    fn check(superseded: &[Superseded], expected: &[bool]) {
        let mut step = Step::fetch();
        let ends = superseded.iter().map(|by| {
            let Step::Fetch(fetching) = &mut step else {
                panic!("another step")
            };
            let ends = fetching.gives_way(*by);
            step = match ends {
                true => Step::instead_of(&step),
                // It was built and applied.
                false => Step::fetch(),
            };
            ends
        });
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn of_two_builds_at_most_one_ends_because_of_a_revision() {
        use Superseded::{ByRevision, ByWish};
        check(&[ByRevision; 5], &[true, false, true, false, true]);
        check(&[ByWish; 3], &[true; 3]);
        check(
            &[ByRevision, ByWish, ByRevision, ByRevision],
            &[true, true, false, true],
        );
    }

    #[test]
    fn whoever_waits_for_an_object_is_told_until_it_waits_no_more() {
        let id = |name: &str| ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "n".into(),
            name: name.into(),
        };
        let app = ("n".to_owned(), "app".to_owned());
        let mut watched = Watched::default();
        assert!(watched.waiters(&id("a")).is_empty());
        watched.expect(&app, [id("a")].into_iter());
        assert_eq!(watched.waiters(&id("a")), std::slice::from_ref(&app));
        assert!(watched.waiters(&id("b")).is_empty());
        watched.expect(&app, [id("b")].into_iter());
        assert!(watched.waiters(&id("a")).is_empty());
        watched.forget(&app);
        assert!(watched.waiters(&id("b")).is_empty() && watched.by_object.is_empty());
    }
}
