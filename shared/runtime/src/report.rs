//! The only writer of an object's status.
//!
//! A [`Report`] starts from the newest status known, takes facts the moment they are true, and writes the
//! difference in one merge patch of the status subresource when asked. Facts survive a later failure because they
//! are in the report, not in the outcome. Nothing is written when nothing changed.
//!
//! The [`Ledger`] remembers what was last written per object: a watch delivers our own writes with a delay, and an
//! inventory read a moment too early would forget what was just applied.
//!
//! What this module does not do: decide conditions, events or requeues.

use crate::conditions::{self, Setting, Verdict};
use crate::merge;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashMap;
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
    + HasStatus<Status: Conditions + Clone + Default + Serialize + DeserializeOwned + Debug + Send + Sync>
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
        + HasStatus<Status: Conditions + Clone + Default + Serialize + DeserializeOwned + Debug + Send + Sync>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// What was last written, by object.
pub struct Ledger<K: Reported> {
    client: Client,
    manager: &'static str,
    written: Mutex<HashMap<String, Written<K::Status>>>,
}

struct Written<S> {
    resource_version: u64,
    status: S,
}

impl<K: Reported> Ledger<K> {
    /// A ledger whose reports write as the given field manager.
    pub fn new(client: Client, manager: &'static str) -> Arc<Self> {
        Arc::new(Ledger {
            client,
            manager,
            written: Mutex::default(),
        })
    }

    /// Starts a report on an object, from the newer of its status and the status last written.
    pub fn begin(self: &Arc<Self>, object: &K) -> Report<K> {
        let status = self.status(object);
        let mut object = object.clone();
        let persisted = serde_json::to_value(&status).unwrap_or(Value::Null);
        *object.status_mut() = None;
        Report {
            ledger: Arc::clone(self),
            object,
            seen: status.conditions().to_vec(),
            status,
            persisted,
        }
    }

    /// The newest status known of an object: as read, or as last written if that is newer.
    pub fn status(&self, object: &K) -> K::Status {
        let written = crate::lock(&self.written);
        match object.uid().and_then(|uid| written.get(&uid)) {
            Some(written) if written.resource_version > version(object) => written.status.clone(),
            _ => object.status().cloned().unwrap_or_default(),
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        crate::lock(&self.written).remove(uid);
    }
}

/// The status of one object while it is reconciled.
pub struct Report<K: Reported> {
    ledger: Arc<Ledger<K>>,
    object: K,
    status: K::Status,
    persisted: Value,
    /// The conditions as others see them.
    seen: Vec<Condition>,
}

impl<K: Reported> Report<K> {
    /// The status as it stands, written or not.
    pub fn status(&self) -> &K::Status {
        &self.status
    }

    /// The status, to put facts into.
    pub fn status_mut(&mut self) -> &mut K::Status {
        &mut self.status
    }

    /// The generation of the object that is reported on.
    pub fn generation(&self) -> i64 {
        self.object.meta().generation.unwrap_or_default()
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
        let conditions = self.status.conditions_mut();
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
        if let Some(seen) = self.seen.iter().find(same) {
            condition.last_transition_time = seen.last_transition_time.clone();
        }
    }

    /// Removes a condition.
    pub fn remove(&mut self, kind: &str) {
        conditions::remove(self.status.conditions_mut(), kind);
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
        let now = serde_json::to_value(&self.status).map_err(kube::Error::SerdeError)?;
        let Some(difference) = merge::difference(&self.persisted, &now) else {
            return Ok(());
        };
        let namespace = self.object.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.ledger.client.clone(), &namespace);
        // The uid keeps the status of an object from landing on a later one of the same name.
        let patch = json!({ "metadata": { "uid": self.object.uid() }, "status": difference });
        let parameters = PatchParams {
            field_manager: Some(self.ledger.manager.to_owned()),
            ..PatchParams::default()
        };
        match api
            .patch_status(&self.object.name_any(), &parameters, &Patch::Merge(&patch))
            .await
        {
            Ok(answer) => {
                self.persisted = now;
                self.seen = self.status.conditions().to_vec();
                let written = Written {
                    resource_version: version(&answer),
                    status: self.status.clone(),
                };
                if let Some(uid) = self.object.uid() {
                    crate::lock(&self.ledger.written).insert(uid, written);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Resource versions are ordered numbers since Kubernetes 1.35, and were in every etcd-backed server before.
fn version<K: Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
