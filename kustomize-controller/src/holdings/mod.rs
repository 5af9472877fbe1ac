//! What Kustomizations have applied, and whether it is still as it was: the memory that makes a steady object cost no
//! request.
//!
//! After an apply the API server's answer tells the object's [`Fingerprint`]; watches tell every later one. As long as
//! both are equal, nothing of what was applied has changed. An object whose fingerprint differs, or that is gone, is
//! *dirty* until its Kustomization has applied it anew or found it as it should be. Events are hints only: what counts is
//! the newer of what was answered and what was seen, by resource version, so that it does not matter in which order
//! the two arrive.
//!
//! One object has one holder, the Kustomization that applied it last. Another one that has it in its manifests, too,
//! knows nothing of it and looks at its intervals, as everybody does without a watch.
//!
//! Only memory: nothing here asks an API server, and nothing survives the process. After a restart everything is verified
//! once.

use crate::contest::{Contest, Contests};
use crate::fingerprint::Fingerprint;
use crate::inventory::ObjectId;
use crate::prune::Owner;
use runtime::lock;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What is known of an object after it was applied or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// A digest of the manifest.
    pub manifest: u64,
    /// The resource version of the answer.
    pub version: u64,
    /// The fingerprint in the answer.
    pub fingerprint: Fingerprint,
    /// Whether it was left alone because a mark says so.
    pub skipped: bool,
    /// How later changes become known.
    pub told: Told,
    /// Whether it was healthy in that version.
    pub healthy: bool,
    /// Whether it may vanish when its work is done: a Job with a time to live.
    pub vanishes: bool,
    /// Whether a mark, or a label that names another owner, keeps it from being pruned.
    pub kept: bool,
}

/// How later changes of an object become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It carries the owner label: the watch of its kind tells.
    ByWatch,
    /// Not at all: it must be looked at.
    Nowhere,
    /// They do not matter, because its manifest says that it is to be left alone.
    NotNeeded,
}

/// How far what is held can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Not at all: every object is verified.
    #[default]
    Nothing,
    /// What no watch has seen change is as it was.
    Watches,
    /// As [`Trust::Watches`], and what another controller keeps changing is left for the interval.
    Truce,
}

/// What is known of an object before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as its manifest says.
    Current {
        /// It was left alone.
        skipped: bool,
    },
    /// It was applied by this holder.
    Held {
        /// Its fingerprint then.
        fingerprint: Fingerprint,
        /// Whether the manifest is the one that was applied, so that any difference is somebody else's doing.
        same_manifest: bool,
        /// Whether it was left alone.
        skipped: bool,
        /// Whether no change is known.
        intact: bool,
        /// Whether a change would be known.
        told: bool,
    },
    /// Nothing is known.
    Unknown,
}

/// What a sighting means for the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What was applied is as it was, or nobody holds the object.
    Nothing,
    /// It is not: this holder should look.
    Drift(Arc<Owner>),
}

/// What all Kustomizations hold. Cheap to share.
#[derive(Debug, Default)]
pub struct Holdings {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kinds: HashMap<Kind, Table>,
    dirty: HashMap<Arc<Owner>, HashSet<ObjectId>>,
    contests: Contests,
}

/// What a watch has seen of an object: its version and its fingerprint, none if it is gone.
pub type Sight = (u64, Option<Fingerprint>);

/// Group and kind.
type Kind = (String, String);
/// Namespace and name.
type Place = (String, String);

#[derive(Debug, Default)]
struct Table {
    /// Whether a watch tells of changes.
    live: bool,
    held: HashMap<Place, Held>,
}

#[derive(Debug)]
struct Held {
    owner: Arc<Owner>,
    fact: Fact,
    /// The newest version that is known.
    latest: u64,
    /// The newest version in which it was healthy.
    healthy: Option<u64>,
    /// When the answer came.
    since: Instant,
    /// Whether a watch has shown it in the version of the answer or a later one: from then on it tells of changes.
    sighted: bool,
    condition: Condition,
    /// When it was last found to be another than before.
    changed: Instant,
    /// The last fingerprint that a watch has shown; nothing when it is gone.
    last: Option<Fingerprint>,
}

/// How an object is compared with what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// No change is known.
    Intact,
    /// Somebody has changed it, or it is gone.
    Dirty,
    /// It is gone because its work is done. It is made again at the interval, as by Flux, but not at once: a Job
    /// without time to live would run for ever.
    Vanished,
    /// Another Kustomization has put its name on it. It is applied at the interval, as by Flux, but not at once: two that
    /// have it in their manifests would never rest.
    Taken,
}

impl Holdings {
    /// Whether an object is as a manifest says, as far as is known without asking.
    pub fn standing(&self, owner: &Owner, id: &ObjectId, manifest: u64, trust: Trust) -> Standing {
        let state = lock(&self.state);
        let Some((live, held)) = state.held(id).filter(|(_, held)| *held.owner == *owner) else {
            return Standing::Unknown;
        };
        let same_manifest = held.fact.manifest == manifest;
        let told = held.is_told(live);
        if held.condition == Condition::Vanished && trust != Trust::Truce {
            // Making it again is no correction.
            return Standing::Unknown;
        }
        let truce = trust == Trust::Truce && told && state.is_left_for_the_interval(id, held);
        let intact = held.condition == Condition::Intact && told;
        if trust != Trust::Nothing && same_manifest && (intact || truce) {
            return Standing::Current {
                skipped: held.fact.skipped,
            };
        }
        Standing::Held {
            fingerprint: held.fact.fingerprint,
            same_manifest,
            skipped: held.fact.skipped,
            intact: held.condition == Condition::Intact,
            told,
        }
    }

    /// Whether everything in a list is held by this owner, told of by a watch and as it was; what is contested counts
    /// as long as the trust is [`Trust::Truce`].
    pub fn all_current<'a>(&self, owner: &Owner, ids: impl IntoIterator<Item = &'a ObjectId>, trust: Trust) -> bool {
        let state = lock(&self.state);
        ids.into_iter().all(|id| {
            state.held(id).is_some_and(|(live, held)| {
                let truce = trust == Trust::Truce && state.is_left_for_the_interval(id, held);
                *held.owner == *owner && held.is_told(live) && (held.condition == Condition::Intact || truce)
            })
        })
    }

    /// Whether a holder has objects that are not as they were and have changed since a time, those that are contested
    /// aside.
    pub fn has_drift(&self, owner: &Owner, since: Option<Instant>) -> bool {
        let state = lock(&self.state);
        let mut dirty = state.dirty.get(owner).into_iter().flatten();
        dirty.any(|id| {
            let recent = state
                .held(id)
                .is_some_and(|(_, held)| since.is_none_or(|since| held.changed > since));
            recent && !state.contests.is_contested(id)
        })
    }

    /// The newest version of an object that may be deleted without a look at it: it is as it was applied, with its
    /// owner's name and without a mark that keeps it.
    pub fn deletable(&self, owner: &Owner, id: &ObjectId) -> Option<u64> {
        let state = lock(&self.state);
        let (live, held) = state.held(id)?;
        let known = *held.owner == *owner && held.condition == Condition::Intact && held.is_told(live);
        (known && !held.fact.kept && !held.fact.skipped).then_some(held.latest)
    }

    /// Whether an object may vanish when its work is done.
    pub fn vanishes(&self, owner: &Owner, id: &ObjectId) -> bool {
        let state = lock(&self.state);
        state
            .held(id)
            .is_some_and(|(_, held)| *held.owner == *owner && held.fact.vanishes)
    }

    /// Whether an object was healthy in the newest version that is known, or has vanished because its work was done.
    pub fn is_healthy(&self, owner: &Owner, id: &ObjectId) -> bool {
        let state = lock(&self.state);
        state.held(id).is_some_and(|(live, held)| {
            let healthy = match held.condition {
                Condition::Intact => held.healthy.is_some_and(|version| version >= held.latest),
                Condition::Dirty | Condition::Taken => false,
                Condition::Vanished => true,
            };
            *held.owner == *owner && live && held.fact.told == Told::ByWatch && healthy
        })
    }

    /// Whether an object was left alone when its owner looked at it.
    pub fn is_skipped(&self, owner: &Owner, id: &ObjectId) -> bool {
        let state = lock(&self.state);
        state
            .held(id)
            .is_some_and(|(_, held)| *held.owner == *owner && held.fact.skipped)
    }

    /// Takes note of what an owner applied, or found as it should be. `seen` asks what a watch has seen of the object:
    /// version and fingerprint, none if it is gone.
    pub fn record(&self, owner: &Arc<Owner>, id: &ObjectId, fact: Fact, seen: impl FnOnce() -> Option<Sight>) {
        let mut state = lock(&self.state);
        let table = state.kinds.entry(kind(id)).or_default();
        let now = Instant::now();
        let held = Held {
            owner: Arc::clone(owner),
            latest: fact.version,
            healthy: fact.healthy.then_some(fact.version),
            last: Some(fact.fingerprint),
            fact,
            since: now,
            sighted: false,
            condition: Condition::Intact,
            changed: now,
        };
        if let Some(before) = table.held.insert(place(id), held) {
            state.clean(&before.owner, id);
        }
        // Asked while nobody else can tell: what the watch sees later is told later.
        if let Some((version, fingerprint)) = seen() {
            state.see(id, version, fingerprint);
        }
    }

    /// Takes note that an object was looked at and whether it is healthy in that version. Nothing is said about its
    /// fingerprint: changes up to that version may still be on their way.
    pub fn judged(&self, owner: &Owner, id: &ObjectId, version: u64, healthy: bool) {
        let mut state = lock(&self.state);
        if let Some(held) = state.held_mut(id).filter(|held| *held.owner == *owner) {
            held.healthy = healthy.then_some(version);
        }
    }

    /// A watch saw an object: with a fingerprint, or gone.
    pub fn see(&self, id: &ObjectId, version: u64, fingerprint: Option<Fingerprint>) -> Meaning {
        lock(&self.state).see(id, version, fingerprint)
    }

    /// Another owner that exists has put its name on an object: it is left for the interval.
    pub fn taken(&self, owner: &Owner, id: &ObjectId) {
        let mut state = lock(&self.state);
        if let Some(held) = state.held_mut(id).filter(|held| *held.owner == *owner) {
            held.condition = Condition::Taken;
            state.clean(owner, id);
        }
    }

    /// A watch of a kind has listed everything; the list began then. What it does not name is gone, and what it names in
    /// an older version than was answered is not what was applied: the store was set back.
    pub fn listed(
        &self,
        group: &str,
        kind: &str,
        began: Instant,
        named: impl Fn(&Place) -> Option<u64>,
    ) -> Vec<Arc<Owner>> {
        let mut state = lock(&self.state);
        let table = state.kinds.entry((group.to_owned(), kind.to_owned())).or_default();
        table.live = true;
        // What was applied while the list was under way is told of later.
        let missing: Vec<_> = table
            .held
            .iter()
            .filter(|(_, held)| held.fact.told == Told::ByWatch && held.since < began)
            .filter(|(place, held)| named(place).is_none_or(|version| version < held.fact.version))
            .map(|(place, held)| (id(group, kind, place), held.latest))
            .collect();
        let mut owners = HashSet::new();
        for (id, latest) in missing {
            if let Meaning::Drift(owner) = state.see(&id, latest.saturating_add(1), None) {
                owners.insert(owner);
            }
        }
        owners.into_iter().collect()
    }

    /// No watch tells of a kind any more, until its next list.
    pub fn dark(&self, group: &str, kind: &str) {
        let key = (group.to_owned(), kind.to_owned());
        if let Some(table) = lock(&self.state).kinds.get_mut(&key) {
            table.live = false;
        }
    }

    /// Objects that an owner does not hold any more.
    pub fn release<'a>(&self, owner: &Owner, ids: impl IntoIterator<Item = &'a ObjectId>) {
        let mut state = lock(&self.state);
        for id in ids {
            let Some(table) = state.kinds.get_mut(&kind(id)) else {
                continue;
            };
            let place = place(id);
            if table.held.get(&place).is_some_and(|held| *held.owner == *owner) {
                table.held.remove(&place);
                state.clean(owner, id);
                state.contests.forget(id);
            }
        }
    }

    /// Everything an owner has was applied or looked at: whatever else it held, and is not as it was, is not its own any
    /// more.
    pub fn applied_all(&self, owner: &Owner, ids: &HashSet<&ObjectId>) {
        let left: Vec<_> = {
            let state = lock(&self.state);
            let dirty = state.dirty.get(owner).into_iter().flatten();
            dirty.filter(|id| !ids.contains(id)).cloned().collect()
        };
        self.release(owner, &left);
    }

    /// An owner is gone, with whatever it held.
    pub fn forget(&self, owner: &Owner) {
        let mut state = lock(&self.state);
        let State { kinds, dirty, contests } = &mut *state;
        dirty.remove(owner);
        for ((group, kind), table) in kinds {
            let gone = table.held.extract_if(|_, held| *held.owner == *owner);
            gone.for_each(|(place, _)| contests.forget(&id(group, kind, &place)));
        }
    }

    /// Takes note of a correction; says whether it is the one that makes a tug of war of it.
    pub fn corrected(&self, id: &ObjectId, fields: &[String], manager: Option<&str>) -> Option<Contest> {
        lock(&self.state)
            .contests
            .corrected(id, fields, manager, Instant::now())
    }

    /// As [`Holdings::settled`] for many.
    pub fn all_settled<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) {
        if !lock(&self.state).contests.is_empty() {
            ids.for_each(|id| self.settled(id));
        }
    }

    /// An object was found as it should be when its interval was over: nobody contests it any more.
    pub fn settled(&self, id: &ObjectId) {
        if lock(&self.state).contests.settled(id, Instant::now()) {
            tracing::info!(object = %id, "drift is not contested any more");
        }
    }
}

impl Held {
    /// Whether changes become known, given whether the watch of the kind is live.
    fn is_told(&self, live: bool) -> bool {
        match self.fact.told {
            Told::ByWatch => live && self.sighted,
            Told::Nowhere => false,
            Told::NotNeeded => true,
        }
    }
}

impl State {
    fn held(&self, id: &ObjectId) -> Option<(bool, &Held)> {
        let table = self.kinds.get(&kind(id))?;
        Some((table.live, table.held.get(&place(id))?))
    }

    fn held_mut(&mut self, id: &ObjectId) -> Option<&mut Held> {
        self.kinds.get_mut(&kind(id))?.held.get_mut(&place(id))
    }

    fn see(&mut self, id: &ObjectId, version: u64, fingerprint: Option<Fingerprint>) -> Meaning {
        let Some(held) = self.held_mut(id) else {
            return Meaning::Nothing;
        };
        // Older than the answer: the watch is behind.
        if version == 0 || version < held.fact.version || held.fact.told == Told::NotNeeded {
            return Meaning::Nothing;
        }
        held.sighted = true;
        if version == held.fact.version {
            return Meaning::Nothing;
        }
        held.latest = held.latest.max(version);
        let before = std::mem::replace(&mut held.last, fingerprint);
        // A change that is taken back before anybody has looked leaves nothing to do.
        held.condition = match fingerprint {
            Some(fingerprint) if fingerprint == held.fact.fingerprint => Condition::Intact,
            None if held.fact.vanishes => Condition::Vanished,
            Some(_) | None => Condition::Dirty,
        };
        let owner = Arc::clone(&held.owner);
        if held.condition != Condition::Dirty {
            self.clean(&owner, id);
            return Meaning::Nothing;
        }
        // Whoever could do nothing about it is not told at every change of the status.
        if before == fingerprint {
            return Meaning::Nothing;
        }
        held.changed = Instant::now();
        self.dirty.entry(Arc::clone(&owner)).or_default().insert(id.clone());
        match self.contests.is_contested(id) {
            true => Meaning::Nothing,
            false => Meaning::Drift(owner),
        }
    }

    /// Whether only the interval is to do something about an object.
    fn is_left_for_the_interval(&self, id: &ObjectId, held: &Held) -> bool {
        matches!(held.condition, Condition::Vanished | Condition::Taken) || self.contests.is_contested(id)
    }

    fn clean(&mut self, owner: &Owner, id: &ObjectId) {
        if let Some(ids) = self.dirty.get_mut(owner) {
            ids.remove(id);
            if ids.is_empty() {
                self.dirty.remove(owner);
            }
        }
    }
}

fn kind(id: &ObjectId) -> Kind {
    (id.group.clone(), id.kind.clone())
}

fn place(id: &ObjectId) -> Place {
    (id.namespace.clone(), id.name.clone())
}

fn id(group: &str, kind: &str, (namespace, name): &Place) -> ObjectId {
    ObjectId {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
    }
}

#[cfg(test)]
mod tests;
