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
//! What this module does not do: decide conditions, events or requeues.

use crate::conditions::{self, Setting, Verdict};
use crate::merge;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
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

impl<K> Reported for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
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
    status: Arc<S>,
}

impl<S> Clone for Persisted<S> {
    fn clone(&self) -> Self {
        Persisted {
            resource_version: self.resource_version,
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
            about: about(object),
            status: Arc::clone(&persisted.status),
            persisted,
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
            let known = Persisted {
                resource_version: version(&found),
                status: Arc::new(found.status().cloned().unwrap_or_default()),
            };
            crate::lock(&self.written).insert(uid.to_owned(), known);
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
            _ => Persisted {
                resource_version: version(read),
                status: Arc::new(read.status().cloned().unwrap_or_default()),
            },
        }
    }
}

/// What a report has to know of its object.
fn about<K: Resource>(object: &K) -> ObjectMeta {
    let meta = object.meta();
    ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        resource_version: meta.resource_version.clone(),
        finalizers: meta.finalizers.clone(),
        ..ObjectMeta::default()
    }
}

/// The status of one object while it is reconciled.
pub struct Report<K: Reported> {
    ledger: Arc<Ledger<K>>,
    about: ObjectMeta,
    /// Shared with what is persisted until the first change.
    status: Arc<K::Status>,
    /// The status as others see it.
    persisted: Persisted<K::Status>,
}

impl<K: Reported> Report<K> {
    /// Takes the report to the object as it is now, without losing the facts that were not written yet.
    ///
    /// What is set and written from now on is about its generation. If somebody else has written its status meanwhile,
    /// the next write makes up for the difference. Of an object of the same name made anew nothing is known: the report
    /// begins anew too.
    pub fn rebase(&mut self, object: &K) {
        if self.about.uid != object.meta().uid {
            *self = self.ledger.begin(object);
            return;
        }
        if version(object) >= number(&self.about) {
            self.about = about(object);
        } else {
            // Older than the answer to our own write, but its spec may be newer than the one that was reported on then.
            self.about.generation = self.about.generation.max(object.meta().generation);
        }
        let newest = self.ledger.newest(object);
        if newest.resource_version <= self.persisted.resource_version {
            return;
        }
        self.persisted.resource_version = newest.resource_version;
        if newest.status != self.persisted.status {
            self.persisted.status = newest.status;
        }
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
        self.about.generation.unwrap_or_default()
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

    /// The resource version and the finalizers of the object as it was read or written last.
    pub fn newest(&self) -> (Option<&String>, Option<&Vec<String>>) {
        (self.about.resource_version.as_ref(), self.about.finalizers.as_ref())
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
    /// What the API server answers, except that an object that is gone is no error: there is nobody to tell.
    pub async fn write(&mut self) -> Result<(), kube::Error> {
        if Arc::ptr_eq(&self.status, &self.persisted.status) || self.status == self.persisted.status {
            return Ok(());
        }
        let value = |status: &K::Status| serde_json::to_value(status).map_err(kube::Error::SerdeError);
        let Some(difference) = merge::difference(&value(&self.persisted.status)?, &value(&self.status)?) else {
            return Ok(());
        };
        let namespace = self.about.namespace.as_deref().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.ledger.client.clone(), namespace);
        // The uid keeps the status of an object from landing on a later one of the same name.
        let patch = json!({ "metadata": { "uid": self.about.uid }, "status": difference });
        let parameters = PatchParams {
            field_manager: Some(self.ledger.manager.to_owned()),
            ..PatchParams::default()
        };
        let name = self.about.name.as_deref().unwrap_or_default();
        match api.patch_status(name, &parameters, &Patch::Merge(&patch)).await {
            Ok(answer) => {
                // The generation stays the one that is reported on.
                self.about.resource_version = answer.meta().resource_version.clone();
                self.about.finalizers = answer.meta().finalizers.clone();
                self.persisted = Persisted {
                    resource_version: version(&answer),
                    status: Arc::clone(&self.status),
                };
                if let Some(uid) = self.about.uid.clone() {
                    crate::lock(&self.ledger.uncertain).remove(&uid);
                    crate::lock(&self.ledger.written).insert(uid, self.persisted.clone());
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                let refused = matches!(&error, kube::Error::Api(status) if status.code < 500);
                if let Some(uid) = self.about.uid.clone().filter(|_| !refused) {
                    crate::lock(&self.ledger.uncertain).insert(uid);
                }
                Err(error)
            }
        }
    }
}

/// Resource versions are ordered numbers since Kubernetes 1.35, and were in every etcd-backed server before.
fn version<K: Resource>(object: &K) -> u64 {
    number(object.meta())
}

fn number(meta: &ObjectMeta) -> u64 {
    let version = meta.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::meta::condition::READY;
    use api::source::{GitRepository, GitRepositoryStatus};
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::Value;

    /// A ledger before an API server that keeps the patches of statuses and answers with rising versions from 10.
    fn ledger() -> (Arc<Ledger<GitRepository>>, Arc<Mutex<Vec<Value>>>) {
        let patches = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&patches);
        let server = tower::service_fn(move |request: Request<Body>| {
            let kept = Arc::clone(&kept);
            async move {
                let bytes = request.into_body().collect_bytes().await?;
                let patch: Value = serde_json::from_slice(&bytes)?;
                let mut kept = crate::lock(&kept);
                let answer = serde_json::to_vec(&object(10 + kept.len() as u64, None))?;
                kept.push(patch["status"].clone());
                Ok::<_, tower::BoxError>(Response::new(Body::from(answer)))
            }
        });
        (
            Ledger::new(Client::new(server, "default"), "test", |_, _| None),
            patches,
        )
    }

    fn object(version: u64, handled: Option<&str>) -> GitRepository {
        let mut object = GitRepository::new("a", Default::default());
        object.metadata.namespace = Some("n".into());
        object.metadata.uid = Some("u".into());
        object.metadata.generation = Some(i64::try_from(version).unwrap());
        object.metadata.resource_version = Some(version.to_string());
        object.status = handled.map(|handled| GitRepositoryStatus {
            last_handled_reconcile_at: Some(handled.into()),
            ..GitRepositoryStatus::default()
        });
        object
    }

    fn handle(report: &mut Report<GitRepository>, value: &str) {
        report.status_mut().last_handled_reconcile_at = Some(value.into());
    }

    fn handled(status: &GitRepositoryStatus) -> Option<&str> {
        status.last_handled_reconcile_at.as_deref()
    }

    #[tokio::test]
    async fn what_was_written_counts_until_the_watch_has_delivered_it() {
        let (ledger, _) = ledger();
        let old = object(5, Some("old"));
        let mut report = ledger.begin(&old);
        handle(&mut report, "ours");
        report.write().await.unwrap();
        assert_eq!(handled(&ledger.status(&old)), Some("ours"));
        assert_eq!(handled(ledger.begin(&old).status()), Some("ours"));
        ledger.seen(&old);
        assert_eq!(crate::lock(&ledger.written).len(), 1);
        assert_eq!(
            handled(&ledger.status(&object(10, Some("delivered")))),
            Some("delivered")
        );
        assert!(crate::lock(&ledger.written).is_empty());
    }

    #[tokio::test]
    async fn a_run_that_begins_with_an_older_object_knows_what_was_delivered_meanwhile() {
        let delivered = Arc::new(Mutex::new(None));
        let (mut ledger, _) = ledger();
        let store = Arc::clone(&delivered);
        Arc::get_mut(&mut ledger).unwrap().store = Box::new(move |_, _| crate::lock(&store).clone());
        let old = object(5, Some("old"));
        let mut report = ledger.begin(&old);
        handle(&mut report, "ours");
        report.write().await.unwrap();
        drop(report);
        let ours = object(10, Some("ours"));
        *crate::lock(&delivered) = Some(Arc::new(ours.clone()));
        ledger.seen(&ours);
        assert!(crate::lock(&ledger.written).is_empty());
        assert_eq!(handled(ledger.begin(&old).status()), Some("ours"));
        assert_eq!(handled(&ledger.status(&old)), Some("ours"));
    }

    #[tokio::test]
    async fn after_a_write_without_an_answer_the_api_server_is_asked_what_it_has() {
        let server = tower::service_fn(|request: Request<Body>| async move {
            if request.method() == http::Method::PATCH {
                return Err(tower::BoxError::from("cut off"));
            }
            let answer = serde_json::to_vec(&object(12, Some("ours"))).unwrap();
            Ok(Response::new(Body::from(answer)))
        });
        let ledger = Ledger::new(Client::new(server, "default"), "test", |_, _| None);
        let old = object(5, Some("old"));
        ledger.ascertain(&old).await.unwrap();
        assert_eq!(handled(&ledger.status(&old)), Some("old"));
        let mut report = ledger.begin(&old);
        handle(&mut report, "ours");
        assert!(report.write().await.is_err());
        ledger.ascertain(&old).await.unwrap();
        assert_eq!(handled(&ledger.status(&old)), Some("ours"));
        assert!(crate::lock(&ledger.uncertain).is_empty());
    }

    #[tokio::test]
    async fn only_differences_are_written() {
        let (ledger, patches) = ledger();
        let mut report = ledger.begin(&object(5, Some("old")));
        report.write().await.unwrap();
        report.remove(READY);
        handle(&mut report, "old");
        report.write().await.unwrap();
        handle(&mut report, "ours");
        report.write().await.unwrap();
        report.write().await.unwrap();
        assert_eq!(*crate::lock(&patches), [json!({ "lastHandledReconcileAt": "ours" })]);
    }

    #[tokio::test]
    async fn facts_that_were_not_written_survive_until_the_next_run() {
        let (ledger, patches) = ledger();
        let mut report = ledger.begin(&object(5, Some("old")));
        handle(&mut report, "ours");
        report.rebase(&object(6, Some("old")));
        assert_eq!(report.generation(), 6);
        report.write().await.unwrap();
        assert_eq!(*crate::lock(&patches), [json!({ "lastHandledReconcileAt": "ours" })]);
    }

    #[tokio::test]
    async fn what_somebody_else_wrote_meanwhile_is_made_up_for() {
        let (ledger, patches) = ledger();
        let mut report = ledger.begin(&object(5, None));
        handle(&mut report, "ours");
        report.write().await.unwrap();
        // Older than our own write: a delayed watch, nobody else.
        report.rebase(&object(7, None));
        report.write().await.unwrap();
        assert_eq!((crate::lock(&patches).len(), report.generation()), (1, 7));
        report.rebase(&object(11, Some("theirs")));
        report.write().await.unwrap();
        assert_eq!(
            crate::lock(&patches).last(),
            Some(&json!({ "lastHandledReconcileAt": "ours" }))
        );
        assert_eq!(crate::lock(&patches).len(), 2);
    }

    #[tokio::test]
    async fn a_report_on_an_object_that_was_made_anew_begins_anew() {
        let (ledger, _) = ledger();
        let mut report = ledger.begin(&object(5, Some("old")));
        handle(&mut report, "ours");
        let mut other = object(9, None);
        other.metadata.uid = Some("v".into());
        report.rebase(&other);
        assert_eq!((handled(report.status()), report.generation()), (None, 9));
    }

    #[test]
    fn a_report_can_wait_anywhere() {
        fn kept<T: Send + Sync + 'static>() {}
        kept::<Report<GitRepository>>();
    }
}
