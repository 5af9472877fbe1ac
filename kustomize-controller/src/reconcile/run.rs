//! The state of a reconcile between two calls: what is finished, and what is waited for.
//!
//! A reconcile is called again and again until it has an outcome. Each call goes on where the last one stopped, as long
//! as the inputs are the same: a newer revision, spec or request starts a new run at once, whatever the old one waited
//! for. Nothing here is needed for correctness: after a restart every run starts over and finds its work done.

use crate::apply::ChangeSet;
use crate::build::Built;
use crate::changes::Origin;
use crate::cluster::Cluster;
use crate::health::Status;
use crate::inventory::{ObjectId, Owned};
use crate::prune::Doomed;
use crate::watch::Interest;
use api::kustomize::{ChangeEntry, Kustomization, ResourceInventory};
use api::source::Artifact;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// What a run works from. Other inputs make another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    generation: i64,
    requested: Option<String>,
    revision: String,
    digest: String,
}

impl Inputs {
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
    /// How far it is.
    pub step: Step,
}

impl Run {
    /// Whether it has built what this generation of the object asks for, so that it does not need the source any more.
    pub fn is_built_for(&self, object: &Kustomization) -> bool {
        !matches!(self.step, Step::Fetch { .. }) && self.inputs == Inputs::of(object, &self.artifact)
    }

    /// What it applies, for those who tell of it.
    pub fn origin(&self) -> Origin {
        Origin::of(&self.artifact)
    }

    /// The digest of the built text, once it is built.
    pub fn digest(&self) -> Option<&str> {
        match &self.step {
            Step::Fetch { .. } => None,
            Step::Apply(applying) => Some(&applying.manifests.digest),
            Step::Check(checking) => Some(&checking.digest),
        }
    }
}

/// How far a run is.
pub enum Step {
    /// The artifact is to be fetched, after so many failed attempts.
    Fetch {
        /// Failed attempts.
        attempts: u32,
    },
    /// The objects are being applied.
    Apply(Box<Applying>),
    /// The objects are applied and must become healthy.
    Check(Box<Checking>),
}

/// Where applying stands.
pub struct Applying {
    /// What is applied.
    pub manifests: Arc<Built>,
    /// Where to.
    pub cluster: Cluster,
    /// The stage at hand.
    pub stage: usize,
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
    /// What is known of each object, in order; nothing before its first check.
    pub known: Vec<(Owned, Option<Status>)>,
    /// Jobs that may vanish once they are done.
    pub vanishing: HashSet<ObjectId>,
    /// When the waiting began.
    pub since: Instant,
    /// Keeps the watches open; none before the first look.
    pub interests: Vec<Interest>,
}

impl Awaited {
    /// Objects of a cluster that nothing is known of yet.
    pub fn new(cluster: Cluster, objects: Vec<Owned>) -> Self {
        let known = objects.into_iter().map(|owned| (owned, None)).collect();
        let (vanishing, interests) = (HashSet::new(), Vec::new());
        Awaited {
            cluster,
            known,
            vanishing,
            since: Instant::now(),
            interests,
        }
    }
}

/// Where health checks stand.
pub struct Checking {
    /// What is waited for.
    pub awaited: Awaited,
    /// The digest of the built text, for the history.
    pub digest: String,
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

/// The objects that waiting Kustomizations wait for, and what was seen of them since they last looked.
#[derive(Default)]
pub struct Watched {
    by_owner: HashMap<(String, String), Seen>,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<ObjectId>,
    dirty: HashSet<ObjectId>,
}

impl Watched {
    /// A Kustomization waits for these objects.
    pub fn expect(&mut self, owner: (String, String), ids: impl Iterator<Item = ObjectId>) {
        let seen = self.by_owner.entry(owner).or_default();
        seen.ids = ids.collect();
    }

    /// A Kustomization waits no more.
    pub fn forget(&mut self, owner: &(String, String)) {
        self.by_owner.remove(owner);
    }

    /// An object was seen to change; says whether its owner waits for it.
    pub fn notice(&mut self, owner: &(String, String), id: &ObjectId) -> bool {
        match self.by_owner.get_mut(owner) {
            Some(seen) if seen.ids.contains(id) => {
                seen.dirty.insert(id.clone());
                true
            }
            _ => false,
        }
    }

    /// The objects that were seen to change since the last call.
    pub fn take(&mut self, owner: &(String, String)) -> HashSet<ObjectId> {
        self.by_owner
            .get_mut(owner)
            .map(|seen| std::mem::take(&mut seen.dirty))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_that_are_waited_for_are_noticed_and_each_once() {
        let id = |name: &str| ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "n".into(),
            name: name.into(),
        };
        let owner = ("n".to_owned(), "app".to_owned());
        let mut watched = Watched::default();
        assert!(!watched.notice(&owner, &id("a")));
        watched.expect(owner.clone(), [id("a")].into_iter());
        assert!(watched.notice(&owner, &id("a")));
        assert!(!watched.notice(&owner, &id("b")));
        assert_eq!(watched.take(&owner), HashSet::from([id("a")]));
        assert!(watched.take(&owner).is_empty());
        watched.forget(&owner);
        assert!(!watched.notice(&owner, &id("a")));
    }
}
