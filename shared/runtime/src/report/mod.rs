//! The only writer of an object's status.
//!
//! A [`Report`] starts from the newest status known, takes facts the moment they are true, and writes the
//! difference in one merge patch of the status subresource when asked. Facts survive a later failure because they
//! are in the report, not in the outcome. Nothing is written when nothing changed.
//!
//! The [`Ledger`] remembers what was last written per object until the watch has delivered it: our own writes come back
//! with a delay, and an inventory read a moment too early would forget what was just applied.
//!
//! A report may outlive a run: [`Report::rebase`] takes it to the object as it is at the next one.
//!
//! Every write names the resource version it was made from. A leader that has just taken over may not have seen what the
//! one before it wrote last, and lists (an inventory, changes to tell of) are written whole: what nobody has read must
//! not be overwritten. A report whose status somebody else has written is [overtaken](Report::is_overtaken).
//!
//! What this module does not do: decide conditions, events or requeues.

use crate::conditions::{self, Setting, Verdict};
use crate::{finalizer, merge};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::core::response::Status;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

/// A status that carries conditions.
pub trait Conditions {
    /// The conditions as they are.
    fn conditions(&self) -> &[Condition];
    /// The conditions, to change.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
}

macro_rules! conditions {
    ($($status:ty),*) => {$(
        impl Conditions for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                &mut self.conditions
            }
        }
    )*};
}

conditions!(
    api::source::GitRepositoryStatus,
    api::kustomize::KustomizationStatus,
    api::notification::ReceiverStatus
);

/// An object whose status a controller reports.
pub trait Reported:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Conditions + Clone + Default + PartialEq + Serialize + DeserializeOwned + Debug + Send + Sync>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl Reported for api::source::GitRepository {}
impl Reported for api::kustomize::Kustomization {}
impl Reported for api::notification::Receiver {}

/// What was last written, by object, as far as the watch has not delivered it yet.
pub struct Ledger<K: Reported> {
    client: Client,
    manager: &'static str,
    written: Mutex<HashMap<String, Persisted<K::Status>>>,
    /// Objects whose last write got no answer: it may have been done.
    uncertain: Mutex<HashSet<String>>,
    store: Store<K>,
}

/// The object of a namespace and name as the watch knows it at the moment.
type Store<K> = Box<dyn Fn(&str, &str) -> Option<Arc<K>> + Send + Sync>;

/// A status as the API server has it, shared by all who keep it.
struct Persisted<S> {
    resource_version: u64,
    finalizers: Option<Vec<String>>,
    status: Arc<S>,
}

impl<S: Clone + Default> Persisted<S> {
    fn of<K: Resource + HasStatus<Status = S>>(object: &K) -> Self {
        Persisted {
            resource_version: version(object),
            finalizers: object.meta().finalizers.clone(),
            status: Arc::new(object.status().cloned().unwrap_or_default()),
        }
    }
}

impl<S> Clone for Persisted<S> {
    fn clone(&self) -> Self {
        Persisted {
            resource_version: self.resource_version,
            finalizers: self.finalizers.clone(),
            status: Arc::clone(&self.status),
        }
    }
}

impl<K: Reported> Ledger<K> {
    /// A ledger whose reports write as the given field manager. `store` gives the object of a namespace and name as the
    /// watch knows it at the moment.
    pub fn new(
        client: Client,
        manager: &'static str,
        store: impl Fn(&str, &str) -> Option<Arc<K>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Ledger {
            client,
            manager,
            written: Mutex::default(),
            uncertain: Mutex::default(),
            store: Box::new(store),
        })
    }

    /// Starts a report on an object, from the newest status known of it.
    pub fn begin(self: &Arc<Self>, object: &K) -> Report<K> {
        let persisted = self.newest(object);
        Report {
            ledger: Arc::clone(self),
            name: object.meta().name.clone().unwrap_or_default(),
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            uid: object.meta().uid.clone(),
            generation: object.meta().generation.unwrap_or_default(),
            status: Arc::clone(&persisted.status),
            persisted,
            overtaken: false,
        }
    }

    /// The newest status known of an object: as read, as the watch has delivered it meanwhile, or as last written.
    pub fn status(&self, object: &K) -> K::Status {
        let persisted = self.newest(object);
        Arc::try_unwrap(persisted.status).unwrap_or_else(|shared| K::Status::clone(&shared))
    }

    /// The watch has delivered this object, and the store has it: what was written before needs no keeping any more.
    pub fn seen(&self, object: &K) {
        let Some(uid) = object.meta().uid.as_deref() else {
            return;
        };
        let mut written = crate::lock(&self.written);
        if written
            .get(uid)
            .is_some_and(|known| known.resource_version <= version(object))
        {
            written.remove(uid);
        }
    }

    /// Makes sure that the next report begins with what the API server has. To be called before each: where the last
    /// write got no answer it may have been done, and the watch may be behind.
    ///
    /// # Errors
    /// What the API server answers; nobody should report on the object until it is known.
    pub async fn ascertain(&self, object: &K) -> Result<(), kube::Error> {
        let meta = object.meta();
        let (Some(uid), Some(name)) = (meta.uid.as_deref(), meta.name.as_deref()) else {
            return Ok(());
        };
        if !crate::lock(&self.uncertain).contains(uid) {
            return Ok(());
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let found = api.get_opt(name).await?;
        if let Some(found) = found.filter(|found| found.meta().uid == meta.uid) {
            crate::lock(&self.written).insert(uid.to_owned(), Persisted::of(&found));
        }
        crate::lock(&self.uncertain).remove(uid);
        Ok(())
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        crate::lock(&self.written).remove(uid);
        crate::lock(&self.uncertain).remove(uid);
    }

    fn newest(&self, object: &K) -> Persisted<K::Status> {
        let meta = object.meta();
        let written = meta
            .uid
            .as_deref()
            .and_then(|uid| crate::lock(&self.written).get(uid).cloned());
        // What was written is forgotten when the watch has delivered it: only then, so that the store has it by now,
        // although the object at hand may be from before.
        let delivered = meta
            .name
            .as_deref()
            .and_then(|name| (self.store)(meta.namespace.as_deref().unwrap_or_default(), name))
            .filter(|delivered| delivered.meta().uid == meta.uid && version(&**delivered) > version(object));
        let read = delivered.as_deref().unwrap_or(object);
        self.seen(read);
        match written {
            Some(written) if written.resource_version > version(read) => written,
            _ => Persisted::of(read),
        }
    }
}

/// The status of one object while it is reconciled.
pub struct Report<K: Reported> {
    ledger: Arc<Ledger<K>>,
    name: String,
    namespace: String,
    uid: Option<String>,
    generation: i64,
    /// Shared with what is persisted until the first change.
    status: Arc<K::Status>,
    /// The status as others see it.
    persisted: Persisted<K::Status>,
    /// Whether somebody else has written the status since.
    overtaken: bool,
}

/// What comes of a change.
enum Judgement<T> {
    /// It was made.
    Done(T),
    /// There is no such object any more.
    Gone,
    /// It is to be tried again with what is known now.
    Again,
}

/// How often a write is tried while others change the object.
const ATTEMPTS: u32 = 5;

impl<K: Reported> Report<K> {
    /// Takes the report to the object as it is now, without losing the facts that were not written yet. What is set and
    /// written from now on is about its generation.
    ///
    /// If somebody else has written its status meanwhile, or it is an object of the same name made anew, the report
    /// begins anew and this says `false`: those facts are lost, as if the process had been killed.
    #[must_use]
    pub fn rebase(&mut self, object: &K) -> bool {
        let newest = self.ledger.newest(object);
        let kept = self.uid == object.meta().uid
            && (newest.resource_version <= self.persisted.resource_version
                || is_same(&*newest.status, &*self.persisted.status)
                || is_same(&*newest.status, &*self.status));
        if !kept {
            *self = self.ledger.begin(object);
            return false;
        }
        // The object at hand may be older than the answer to our own write, but its spec may be newer than the one that
        // was reported on then.
        self.generation = self.generation.max(object.meta().generation.unwrap_or_default());
        if newest.resource_version > self.persisted.resource_version {
            self.persisted = newest;
        }
        true
    }

    /// Whether somebody else has written the status since this report began: nothing more is written, and whoever reports
    /// has to begin anew.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// The status as it stands, written or not.
    pub fn status(&self) -> &K::Status {
        &self.status
    }

    /// The status, to put facts into.
    pub fn status_mut(&mut self) -> &mut K::Status {
        Arc::make_mut(&mut self.status)
    }

    /// The generation of the object that is reported on.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Sets a condition for the generation at hand.
    ///
    /// A condition that ends as others saw it before keeps its transition time, whatever was said in between and not
    /// written.
    pub fn set(&mut self, kind: &str, verdict: Verdict, reason: &str, message: &str) {
        let generation = self.generation();
        let setting = Setting {
            kind,
            verdict,
            reason,
            message,
        };
        let conditions = Arc::make_mut(&mut self.status).conditions_mut();
        conditions::set(conditions, setting, generation, Timestamp::now());
        let Some(condition) = conditions.iter_mut().find(|condition| condition.type_ == kind) else {
            return;
        };
        let same = |seen: &&Condition| {
            seen.type_ == kind
                && seen.status == condition.status
                && seen.reason == condition.reason
                && seen.message == condition.message
        };
        if let Some(seen) = self.persisted.status.conditions().iter().find(same) {
            condition.last_transition_time = seen.last_transition_time.clone();
        }
    }

    /// Removes a condition.
    pub fn remove(&mut self, kind: &str) {
        if self.condition(kind).is_some() {
            conditions::remove(self.status_mut().conditions_mut(), kind);
        }
    }

    /// Takes back what was set since the last write, so that a condition is as others see it.
    pub fn restore(&mut self, kind: &str) {
        let persisted = conditions::get(self.persisted.status.conditions(), kind).cloned();
        let conditions = self.status_mut().conditions_mut();
        match (
            conditions.iter_mut().find(|condition| condition.type_ == kind),
            persisted,
        ) {
            (Some(condition), Some(persisted)) => *condition = persisted,
            (None, Some(persisted)) => conditions.push(persisted),
            (_, None) => conditions::remove(conditions, kind),
        }
    }

    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        conditions::get(self.status.conditions(), kind)
    }

    /// Whether a condition is there with that status.
    pub fn is(&self, kind: &str, verdict: Verdict) -> bool {
        conditions::is(self.status.conditions(), kind, verdict)
    }

    /// Writes what changed since the last write; nothing when nothing did.
    ///
    /// # Errors
    /// What the API server answers, except that an object that is gone is no error: there is nobody to tell. A conflict
    /// if the report is overtaken.
    pub async fn write(&mut self) -> Result<(), kube::Error> {
        self.check()?;
        if Arc::ptr_eq(&self.status, &self.persisted.status) || self.status == self.persisted.status {
            return Ok(());
        }
        let value = |status: &K::Status| serde_json::to_value(status).map_err(kube::Error::SerdeError);
        let Some(difference) = merge::difference(&value(&self.persisted.status)?, &value(&self.status)?) else {
            return Ok(());
        };
        let (api, parameters) = (self.api(), self.parameters());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let patch = Patch::Merge(json!({ "metadata": self.precondition(), "status": difference }));
            let answer = api.patch_status(&self.name, &parameters, &patch).await;
            match self.judge(answer, attempts).await? {
                Judgement::Done(answer) => {
                    self.keep(&answer);
                    return Ok(());
                }
                Judgement::Gone => return Ok(()),
                Judgement::Again => {}
            }
        }
    }

    /// The status was written as it stands here.
    fn keep(&mut self, answer: &K) {
        self.persisted = Persisted {
            resource_version: version(answer),
            finalizers: answer.meta().finalizers.clone(),
            status: Arc::clone(&self.status),
        };
        if let Some(uid) = self.uid.clone() {
            crate::lock(&self.ledger.uncertain).remove(&uid);
            crate::lock(&self.ledger.written).insert(uid, self.persisted.clone());
        }
    }

    /// Removes the finalizer; nothing when it is not there or the object is gone. What the object leaves behind was
    /// decided from this status, so that it is let go with this status only.
    ///
    /// # Errors
    /// What the API server answers. A conflict if the report is overtaken.
    pub async fn release(&mut self) -> Result<(), kube::Error> {
        self.check()?;
        let (api, parameters) = (self.api(), self.parameters());
        let mut attempts = 0;
        while let Some(others) = finalizer::without(self.persisted.finalizers.as_deref()) {
            attempts += 1;
            let mut metadata = self.precondition();
            metadata["finalizers"] = json!(others);
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            let answer = api.patch_metadata(&self.name, &parameters, &patch).await;
            match self.judge(answer, attempts).await? {
                Judgement::Done(_) | Judgement::Gone => return Ok(()),
                Judgement::Again => {}
            }
        }
        Ok(())
    }

    /// What an answer to a change means. After a conflict the object is read: where only something else of it was changed,
    /// the same change is made again.
    async fn judge<T>(&mut self, answer: Result<T, kube::Error>, attempts: u32) -> Result<Judgement<T>, kube::Error> {
        let error = match answer {
            Ok(answer) => return Ok(Judgement::Done(answer)),
            Err(error) => error,
        };
        match &error {
            kube::Error::Api(status) if status.code == 404 => Ok(Judgement::Gone),
            kube::Error::Api(status) if status.code == 409 => match self.catch_up().await? {
                false => Ok(Judgement::Gone),
                true if self.overtaken || attempts == ATTEMPTS => Err(error),
                true => Ok(Judgement::Again),
            },
            _ => {
                let refused = matches!(&error, kube::Error::Api(status) if status.code < 500);
                if let Some(uid) = self.uid.clone().filter(|_| !refused) {
                    crate::lock(&self.ledger.uncertain).insert(uid);
                }
                Err(error)
            }
        }
    }

    /// Reads the object after a conflict; whether it is still there.
    async fn catch_up(&mut self) -> Result<bool, kube::Error> {
        let found = self.api().get_opt(&self.name).await?;
        let (Some(found), Some(uid)) = (found.filter(|found| found.meta().uid == self.uid), &self.uid) else {
            return Ok(false);
        };
        let found = Persisted::of(&found);
        if is_same(&*found.status, &*self.persisted.status) {
            self.persisted.resource_version = found.resource_version;
            self.persisted.finalizers = found.finalizers;
        } else {
            crate::lock(&self.ledger.written).insert(uid.clone(), found);
            self.overtaken = true;
        }
        Ok(true)
    }

    /// A conflict if somebody else has written the status since this report began, see [`Report::is_overtaken`].
    ///
    /// # Errors
    /// That conflict.
    pub fn check(&self) -> Result<(), kube::Error> {
        if !self.overtaken {
            return Ok(());
        }
        let status = Status::failure("somebody else has written the status meanwhile", "Conflict");
        Err(kube::Error::Api(status.with_code(409).boxed()))
    }

    fn api(&self) -> Api<K> {
        Api::namespaced(self.ledger.client.clone(), &self.namespace)
    }

    fn parameters(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.ledger.manager.to_owned()),
            ..PatchParams::default()
        }
    }

    /// The uid keeps a change to an object from landing on a later one of the same name, the resource version from undoing
    /// what has not been read.
    fn precondition(&self) -> Value {
        json!({ "uid": self.uid, "resourceVersion": self.persisted.resource_version.to_string() })
    }
}

/// Whether two statuses are written alike: times have more digits in memory.
fn is_same(one: &impl Serialize, other: &impl Serialize) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Resource versions are ordered numbers since Kubernetes 1.35, and were in every etcd-backed server before.
fn version<K: Resource>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
