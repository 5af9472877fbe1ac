//! Knowing at once when a managed object changes or goes: one metadata watch per kind in which somebody is interested,
//! of the objects that carry the owner label.
//!
//! A watch opens with the first [`Interest`] and closes a while after the last is dropped. It survives restarts of the
//! API server and expired resource versions: what changed meanwhile is told when it is back. Where a kind cannot be
//! watched (no right, not served, nobody there) its [`State`] says so, and whoever waits must look by himself.
//!
//! Always as the controller itself: a tenant's rights decide what is applied, not what is noticed. Of an object only
//! its resource version and its [`Fingerprint`] are kept.

use crate::cluster::{ApiError, Cluster};
use crate::fingerprint::Fingerprint;
use crate::holdings::Sight;
use crate::inventory::ObjectId;
use crate::prune::Owner;
use crate::sights::{Known, Place, Sights};
use api::meta::key;
use futures::StreamExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use runtime::lock;
use runtime::watching::{self, Pauses, Trouble};
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// News about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which one.
    pub id: ObjectId,
    /// Whom its labels name; nothing for one that is gone.
    pub owner: Option<Owner>,
    /// Its resource version, as a number; 0 for one that is no number.
    pub version: u64,
    /// What of it matters to whoever applied it; nothing for one that is gone, or nobody's any more because the owner
    /// label was taken away.
    pub fingerprint: Option<Fingerprint>,
}

/// What watches tell.
#[derive(Clone, Debug)]
pub enum News {
    /// Something happened to an object.
    Sighted(Sighting),
    /// All objects of a kind were listed, and from now on every change is told.
    Listed(Listed),
    /// Changes of a kind may go unnoticed until its next list.
    Dark {
        /// The API group.
        group: String,
        /// The kind.
        kind: String,
    },
}

/// A kind of which all objects were listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// When the list began.
    pub began: Instant,
    sights: Arc<Mutex<Sights>>,
}

impl Listed {
    /// The resource version of the object of that namespace and name; nothing when there is none.
    pub fn names(&self, place: &Place) -> Option<u64> {
        let known = lock(&self.sights).get(place);
        known
            .filter(|known| known.fingerprint.is_some())
            .map(|known| known.version)
    }
}

/// Whether news about a kind arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet: the first list is on its way.
    Starting,
    /// They do.
    Live,
    /// They do not, for this reason: objects of the kind must be looked at.
    Polled(String),
}

/// The watches of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Watches(Arc<Shared>);

struct Shared {
    own: Cluster,
    shutdown: CancellationToken,
    linger: Duration,
    override_managers: Vec<String>,
    tell: Box<dyn Fn(News) + Send + Sync>,
    kinds: Mutex<HashMap<Kind, Slot>>,
}

/// Group and kind.
type Kind = (String, String);

struct Slot {
    interests: usize,
    state: watch::Receiver<State>,
    released: Arc<Notify>,
    defined: Arc<Notify>,
    sights: Arc<Mutex<Sights>>,
}

/// An interest in a kind: its watch stays open at least as long as this lives.
pub struct Interest {
    shared: Arc<Shared>,
    kind: Kind,
    state: watch::Receiver<State>,
}

impl Watches {
    /// Watches as that identity, which should be the controller's own. `linger` is how long a watch stays open without
    /// interest, `override_managers` are the managers whose fields are taken over besides the usual ones; `tell` is
    /// called for all news, from the watches' tasks, and must not block.
    pub fn new(
        own: Cluster,
        shutdown: CancellationToken,
        linger: Duration,
        override_managers: Vec<String>,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> Self {
        Watches(Arc::new(Shared {
            own,
            shutdown,
            linger,
            override_managers,
            tell: Box::new(tell),
            kinds: Mutex::default(),
        }))
    }

    /// Opens the watch of a kind, or keeps it open. News may have been missed until [`Interest::ready`]: look at the
    /// objects after that.
    pub fn interest(&self, group: &str, kind: &str) -> Interest {
        let kind = (group.to_owned(), kind.to_owned());
        let mut kinds = lock(&self.0.kinds);
        let slot = kinds.entry(kind.clone()).or_insert_with(|| {
            let (sender, state) = watch::channel(State::Starting);
            let released = Arc::new(Notify::new());
            let (sights, defined) = (Arc::default(), Arc::<Notify>::default());
            let watched = Watched {
                shared: self.0.clone(),
                kind: kind.clone(),
                state: sender,
                sights: Arc::clone(&sights),
                defined: Arc::clone(&defined),
                refused: false,
            };
            tokio::spawn(keep(watched, released.clone()));
            Slot {
                interests: 0,
                state,
                released,
                defined,
                sights,
            }
        });
        slot.interests += 1;
        Interest {
            shared: self.0.clone(),
            kind,
            state: slot.state.clone(),
        }
    }

    /// A definition in an API group has changed: kinds of it that could not be watched are tried again.
    pub fn defined(&self, group: &str) {
        let kinds = lock(&self.0.kinds);
        let slots = kinds.iter().filter(|((theirs, _), _)| theirs == group);
        slots.for_each(|(_, slot)| slot.defined.notify_one());
    }

    /// What a watch has seen of an object: the newest resource version and fingerprint, none if it was deleted a moment
    /// ago.
    pub fn seen(&self, id: &ObjectId) -> Option<Sight> {
        let known = self.known(id)?;
        Some((known.version, known.fingerprint))
    }

    /// Whether news about an object arrive: the watch of its kind is live and has seen it.
    pub fn tells_of(&self, id: &ObjectId) -> bool {
        let live = {
            let kinds = lock(&self.0.kinds);
            let slot = kinds.get(&(id.group.clone(), id.kind.clone()));
            slot.is_some_and(|slot| *slot.state.borrow() == State::Live)
        };
        live && self.known(id).is_some_and(|known| known.fingerprint.is_some())
    }

    fn known(&self, id: &ObjectId) -> Option<Known> {
        let kinds = lock(&self.0.kinds);
        let slot = kinds.get(&(id.group.clone(), id.kind.clone()))?;
        lock(&slot.sights).get(&(id.namespace.clone(), id.name.clone()))
    }

    /// How many watches are open.
    pub fn open(&self) -> usize {
        lock(&self.0.kinds).len()
    }
}

impl Interest {
    /// Whether news arrive.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until it is known whether news arrive.
    pub async fn ready(&mut self) -> State {
        match self.state.wait_for(|state| *state != State::Starting).await {
            Ok(state) => state.clone(),
            Err(_) => State::Polled("the controller is shutting down".to_owned()),
        }
    }
}

impl Clone for Interest {
    fn clone(&self) -> Self {
        if let Some(slot) = lock(&self.shared.kinds).get_mut(&self.kind) {
            slot.interests += 1;
        }
        Interest {
            shared: self.shared.clone(),
            kind: self.kind.clone(),
            state: self.state.clone(),
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(slot) = lock(&self.shared.kinds).get_mut(&self.kind) {
            slot.interests -= 1;
            if slot.interests == 0 {
                slot.released.notify_one();
            }
        }
    }
}

/// Keeps the watch of a kind until nobody is interested any more.
async fn keep(mut watched: Watched, released: Arc<Notify>) {
    let (shared, kind) = (Arc::clone(&watched.shared), watched.kind.clone());
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        () = idle(&shared, &kind, &released) => {}
        () = watched.follow() => {}
    }
    watched.dark();
}

/// Ends when there was no interest for a while; the slot is gone then, so that the next interest opens a new watch.
async fn idle(shared: &Shared, kind: &Kind, released: &Notify) {
    loop {
        released.notified().await;
        tokio::time::sleep(shared.linger).await;
        let mut kinds = lock(&shared.kinds);
        if kinds.get(kind).is_some_and(|slot| slot.interests == 0) {
            kinds.remove(kind);
            return;
        }
    }
}

/// An open watch and what it has seen.
struct Watched {
    shared: Arc<Shared>,
    kind: Kind,
    state: watch::Sender<State>,
    sights: Arc<Mutex<Sights>>,
    /// A definition in the group has changed.
    defined: Arc<Notify>,
    /// Whether it was said that the kind cannot be watched.
    refused: bool,
}

type Metadata = PartialObjectMeta<DynamicObject>;

/// Why a watch ended.
#[derive(Debug, PartialEq, Eq)]
struct End {
    why: String,
    trouble: Trouble,
    /// Whether the kind is served, as far as is known.
    served: bool,
}

impl End {
    fn broken(why: String) -> Self {
        End {
            why,
            trouble: Trouble::Away,
            served: true,
        }
    }

    /// What an error of the watch means.
    fn of(error: &watcher::Error) -> Self {
        let status = watching::answer(error);
        let why = match status {
            Some(status) => status.message.clone(),
            None => crate::cluster::chain(error),
        };
        End {
            why,
            trouble: Trouble::of(error),
            served: status.is_none_or(|status| status.code != 404),
        }
    }

    /// What it means that nobody can say where a kind is served.
    fn unresolved(error: &ApiError) -> Self {
        End {
            why: error.to_string(),
            trouble: match error.is_outage() {
                true => Trouble::Away,
                false => Trouble::Refused,
            },
            served: !error.is_no_match(),
        }
    }
}

impl Watched {
    /// Watches for ever, with pauses after failures.
    async fn follow(&mut self) {
        let mut pauses = Pauses::default();
        loop {
            let end = self.watch().await;
            self.dark();
            let End { why, trouble, served } = end;
            if !served {
                self.all_gone();
            } else if trouble == Trouble::Refused {
                self.say_refused(&why);
            }
            tracing::debug!(group = self.kind.0, kind = self.kind.1, %why, "cannot watch, will try again");
            self.state.send_replace(State::Polled(why));
            self.rest(watching::spread(pauses.after(trouble, Instant::now()))).await;
        }
    }

    /// Waits before the next attempt: not longer than until a definition in the group changes.
    async fn rest(&self, wait: Duration) {
        lock(&self.sights).bury(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.defined.notified() => {}
        }
    }

    async fn watch(&mut self) -> End {
        let own = &self.shared.own;
        let resource = match own.preferred(&self.kind.0, &self.kind.1).await {
            Ok(resource) => resource,
            Err(error) => return End::unresolved(&error),
        };
        let api: Api<Metadata> = Api::all_with(own.client(), &resource.api);
        let mut events = pin!(watcher(api, watcher::Config::default().labels(key::OWNER_NAME)));
        let (mut listed, mut began) = (HashSet::new(), Instant::now());
        while let Some(event) = events.next().await {
            match event {
                // Told before the list is asked for.
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    began = Instant::now();
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listed.insert(place(&object));
                    self.changed(object);
                }
                Ok(watcher::Event::InitDone) => {
                    self.keep_only(&std::mem::take(&mut listed));
                    self.listed(began);
                }
                Ok(watcher::Event::Apply(object)) => self.changed(object),
                Ok(watcher::Event::Delete(object)) => self.gone(&place(&object), version(&object)),
                Err(error) => return End::of(&error),
            }
        }
        End::broken("the watch ended".to_owned())
    }

    fn changed(&mut self, object: Metadata) {
        let place = place(&object);
        let (version, fingerprint) = (
            version(&object),
            Fingerprint::of_meta(&object.metadata, &self.shared.override_managers),
        );
        if !lock(&self.sights).seen(&place, version, fingerprint, Instant::now()) {
            return;
        }
        self.tell(Sighting {
            id: self.id(place),
            owner: owner(&object),
            version,
            fingerprint: Some(fingerprint),
        });
    }

    fn gone(&mut self, place: &Place, version: u64) {
        if !lock(&self.sights).gone(place, version, Instant::now()) {
            return;
        }
        self.tell(Sighting {
            id: self.id(place.clone()),
            owner: None,
            version,
            fingerprint: None,
        });
    }

    fn keep_only(&mut self, listed: &HashSet<Place>) {
        let missing = lock(&self.sights).missing(listed);
        for (place, version) in missing {
            self.gone(&place, version);
        }
    }

    fn all_gone(&mut self) {
        self.keep_only(&HashSet::new());
    }

    fn listed(&mut self, began: Instant) {
        let (group, kind) = self.kind.clone();
        (self.shared.tell)(News::Listed(Listed {
            group,
            kind,
            began,
            sights: Arc::clone(&self.sights),
        }));
        self.refused = false;
        self.state.send_replace(State::Live);
    }

    fn dark(&self) {
        self.state.send_replace(State::Starting);
        let (group, kind) = self.kind.clone();
        (self.shared.tell)(News::Dark { group, kind });
    }

    /// Once, not at every attempt: rights change rarely.
    fn say_refused(&mut self, why: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            let (group, kind) = &self.kind;
            tracing::info!(
                group,
                kind,
                why,
                "the kind cannot be watched: its objects are checked at the interval of their Kustomization"
            );
        }
    }

    fn tell(&self, sighting: Sighting) {
        (self.shared.tell)(News::Sighted(sighting));
    }

    fn id(&self, (namespace, name): Place) -> ObjectId {
        let (group, kind) = self.kind.clone();
        ObjectId {
            group,
            kind,
            namespace,
            name,
        }
    }
}

/// Whom the labels name.
fn owner(object: &Metadata) -> Option<Owner> {
    let label = |key: &str| object.metadata.labels.as_ref()?.get(key).cloned();
    Some(Owner {
        namespace: label(key::OWNER_NAMESPACE)?,
        name: label(key::OWNER_NAME)?,
    })
}

/// Resource versions are numbers that grow.
fn version(object: &Metadata) -> u64 {
    let version = object.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn place(object: &Metadata) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn status(code: u16) -> Box<Status> {
        Status::failure("why", "Because").with_code(code).boxed()
    }

    #[test]
    fn a_watch_ends_as_every_watch_does_but_for_kinds_that_are_not_served() {
        let check = |error: watcher::Error, trouble, served| {
            let (end, why) = (End::of(&error), "why".to_owned());
            assert_eq!(end, End { why, trouble, served }, "{error}");
        };
        for (code, trouble, served) in [
            (401, Trouble::Refused, true),
            (403, Trouble::Refused, true),
            (404, Trouble::Refused, false),
            (405, Trouble::Refused, true),
            (410, Trouble::Expired, true),
            (503, Trouble::Away, true),
        ] {
            let error = kube::Error::Api(status(code));
            check(watcher::Error::InitialListFailed(error), trouble, served);
        }
        check(watcher::Error::WatchError(status(410)), Trouble::Expired, true);
        check(watcher::Error::WatchError(status(500)), Trouble::Away, true);
    }

    #[test]
    fn a_kind_that_nobody_can_place_is_looked_for_soon_only_while_the_api_server_is_away() {
        let check = |error: ApiError, expected: (Trouble, bool)| {
            let end = End::unresolved(&error);
            assert_eq!((end.trouble, end.served), expected, "{error}");
        };
        check(ApiError::Unreachable("cut off".into()), (Trouble::Away, true));
        check(ApiError::Status(status(503)), (Trouble::Away, true));
        check(ApiError::Stale("g/v1".into()), (Trouble::Refused, true));
        let (kind, group) = ("X".into(), "g".into());
        check(ApiError::NoMatchInGroup { kind, group }, (Trouble::Refused, false));
    }
}
