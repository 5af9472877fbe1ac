//! Knowing at once when a managed object changes or goes: one metadata watch per kind in which somebody is interested,
//! of the objects that carry the owner label.
//!
//! A watch opens with the first [`Interest`] and closes a while after the last is dropped. It survives restarts of the
//! API server and expired resource versions: what changed meanwhile is told when it is back. Where a kind cannot be
//! watched (no right, not served, nobody there) its [`State`] says so, and whoever waits must look by himself.
//!
//! Always as the controller itself: a tenant's rights decide what is applied, not what is noticed.

use crate::cluster::{ApiError, Cluster};
use crate::inventory::ObjectId;
use crate::prune::Owner;
use api::meta::key;
use futures::StreamExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use runtime::lock;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The pause after the first failure of a watch; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause while the API server is away.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The pause after a refusal: rights and definitions change rarely.
const REFUSED_PAUSE: Duration = Duration::from_secs(120);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or has another resource version.
    Changed,
    /// It is gone, or nobody's any more: the owner label was taken away.
    Gone,
}

/// News about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which one.
    pub id: ObjectId,
    /// Whom it belongs to; for one that is gone, whom it belonged to.
    pub owner: Owner,
    /// Whom it belonged to before, if that was another.
    pub previous: Option<Owner>,
    /// What happened.
    pub change: Change,
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
    seen: Box<dyn Fn(Sighting) + Send + Sync>,
    kinds: Mutex<HashMap<Kind, Slot>>,
}

/// Group and kind.
type Kind = (String, String);

struct Slot {
    interests: usize,
    state: watch::Receiver<State>,
    released: Arc<Notify>,
}

/// An interest in a kind: its watch stays open at least as long as this lives.
pub struct Interest {
    shared: Arc<Shared>,
    kind: Kind,
    state: watch::Receiver<State>,
}

impl Watches {
    /// Watches as that identity, which should be the controller's own. `linger` is how long a watch stays open without
    /// interest; `seen` is called for all news, from the watches' tasks, and must not block.
    pub fn new(
        own: Cluster,
        shutdown: CancellationToken,
        linger: Duration,
        seen: impl Fn(Sighting) + Send + Sync + 'static,
    ) -> Self {
        Watches(Arc::new(Shared {
            own,
            shutdown,
            linger,
            seen: Box::new(seen),
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
            tokio::spawn(keep(self.0.clone(), kind.clone(), sender, released.clone()));
            Slot {
                interests: 0,
                state,
                released,
            }
        });
        slot.interests += 1;
        Interest {
            shared: self.0.clone(),
            kind,
            state: slot.state.clone(),
        }
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
async fn keep(shared: Arc<Shared>, kind: Kind, state: watch::Sender<State>, released: Arc<Notify>) {
    let mut watched = Watched {
        shared: &shared,
        kind: &kind,
        state,
        known: HashMap::new(),
    };
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        () = idle(&shared, &kind, &released) => {}
        () = watched.follow() => {}
    }
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
struct Watched<'a> {
    shared: &'a Shared,
    kind: &'a Kind,
    state: watch::Sender<State>,
    known: HashMap<(String, String), Known>,
}

struct Known {
    version: String,
    owner: Owner,
}

type Metadata = PartialObjectMeta<DynamicObject>;

/// Why a watch ended.
enum End {
    /// Start over at once: the resource version is too old.
    Expired,
    /// Try again soon.
    Broken(String),
    /// Try again in a long while.
    Refused(String),
    /// The kind is not served (any more).
    NotServed(String),
}

impl Watched<'_> {
    /// Watches for ever, with pauses after failures.
    async fn follow(&mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            let end = self.once(&mut pause).await;
            let (why, wait) = match end {
                End::Expired => continue,
                End::Broken(why) => {
                    let wait = pause;
                    pause = pause.saturating_mul(2).min(MAX_PAUSE);
                    (why, wait)
                }
                End::Refused(why) => (why, REFUSED_PAUSE),
                End::NotServed(why) => {
                    self.all_gone();
                    (why, MAX_PAUSE)
                }
            };
            tracing::debug!(group = self.kind.0, kind = self.kind.1, %why, "cannot watch, will try again");
            self.state.send_replace(State::Polled(why));
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&mut self, pause: &mut Duration) -> End {
        let own = &self.shared.own;
        let resource = match own.preferred(&self.kind.0, &self.kind.1).await {
            Ok(resource) => resource,
            Err(error) if error.is_no_match() => return End::NotServed(error.to_string()),
            Err(error) => return End::Broken(error.to_string()),
        };
        let api: Api<Metadata> = Api::all_with(own.client(), &resource.api);
        let mut events = pin!(watcher(api, watcher::Config::default().labels(key::OWNER_NAME)));
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.insert(place(&object));
                    self.changed(object);
                }
                Ok(watcher::Event::InitDone) => {
                    self.keep_only(&std::mem::take(&mut listed));
                    self.state.send_replace(State::Live);
                    *pause = MIN_PAUSE;
                }
                Ok(watcher::Event::Apply(object)) => self.changed(object),
                Ok(watcher::Event::Delete(object)) => self.gone(&place(&object)),
                Err(error) => return end(error),
            }
        }
        End::Broken("the watch ended".to_owned())
    }

    fn changed(&mut self, object: Metadata) {
        let place = place(&object);
        let version = object.metadata.resource_version.unwrap_or_default();
        let mut labels = object.metadata.labels.unwrap_or_default();
        let mut label = |key: &str| labels.remove(key).unwrap_or_default();
        let owner = Owner {
            namespace: label(key::OWNER_NAMESPACE),
            name: label(key::OWNER_NAME),
        };
        let before = self.known.insert(
            place.clone(),
            Known {
                version: version.clone(),
                owner: owner.clone(),
            },
        );
        if before.as_ref().is_some_and(|before| before.version == version) {
            return;
        }
        let previous = before.map(|before| before.owner).filter(|before| *before != owner);
        self.tell(place, owner, previous, Change::Changed);
    }

    fn gone(&mut self, place: &(String, String)) {
        if let Some(known) = self.known.remove(place) {
            self.tell(place.clone(), known.owner, None, Change::Gone);
        }
    }

    fn keep_only(&mut self, listed: &HashSet<(String, String)>) {
        let missing: Vec<_> = self
            .known
            .keys()
            .filter(|place| !listed.contains(*place))
            .cloned()
            .collect();
        missing.iter().for_each(|place| self.gone(place));
    }

    fn all_gone(&mut self) {
        self.keep_only(&HashSet::new());
    }

    fn tell(&self, (namespace, name): (String, String), owner: Owner, previous: Option<Owner>, change: Change) {
        let (group, kind) = self.kind.clone();
        (self.shared.seen)(Sighting {
            id: ObjectId {
                group,
                kind,
                namespace,
                name,
            },
            owner,
            previous,
            change,
        });
    }
}

fn place(object: &Metadata) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What an error of the watch means.
fn end(error: watcher::Error) -> End {
    let text = crate::cluster::chain(&error);
    let status = match error {
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    };
    match status {
        Some(status) if status.code == 410 => End::Expired,
        Some(status) if matches!(status.code, 403 | 405) => End::Refused(status.message),
        Some(status) if status.code == 404 => End::NotServed(ApiError::Status(status).to_string()),
        Some(status) => End::Broken(status.message),
        None => End::Broken(text),
    }
}
