//! One GitRepository, brought up to date.
//!
//! [`Intent`] says what is to be done, [`sync`] does it step by step, [`conclude`] turns the result into conditions, events and
//! the next look. Facts (an artifact that is gone, one that was stored) go into the report the moment
//! they are true; the status is written when a phase is worth seeing and at the end, and only if it differs.

pub mod conclude;
pub mod failure;
mod store;
mod sync;
mod verification;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use api::Duration;
use api::meta::FINALIZER;
use api::meta::key::REQUESTED_AT;
use api::meta::reason::{GARBAGE_COLLECTION_FAILED, GARBAGE_COLLECTION_SUCCEEDED, PATCH_OPERATION_FAILED};
use api::source::{Artifact, GitRepository, GitRepositorySpec, GitRepositoryStatus};
use artifact::Scratch;
use git::client;
use jiff::Timestamp;
use kube::{Client, ResourceExt};
use runtime::args::IntervalArgs;
use runtime::controller::{Gone, Next, Reconcile, Trigger};
use runtime::events::{Notice, Recorder, Severity};
use runtime::finalizer;
use runtime::metrics::{Metrics, ObjectLabels};
use runtime::objects::Objects;
use runtime::report::{Ledger, Report};
use tokio::sync::Semaphore;

use crate::auth::Authenticator;
use crate::auth::cluster::Cluster;
use crate::checkout::Bounds;
use crate::include;
use crate::metrics::Fetches;
use crate::storage::Storage;
use crate::storage::path::Place;
use crate::verify::needs::Memory;
use conclude::{Again, Draft, conclude, conclude_deleted, conclude_suspended, trace};
use failure::Failure;

/// The field manager of everything written here.
pub const MANAGER: &str = "source-controller";
/// The kind reconciled here.
const KIND: &str = "GitRepository";
/// What the API server fills in where `spec.timeout` is absent.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What an object calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is being deleted: its files go, then it may.
    Delete,
    /// It is suspended: nothing is touched.
    Rest,
    /// Everything else.
    Sync,
}

impl Intent {
    /// What the object calls for.
    pub fn of(object: &GitRepository) -> Self {
        if object.metadata.deletion_timestamp.is_some() {
            Self::Delete
        } else if object.spec.suspend {
            Self::Rest
        } else {
            Self::Sync
        }
    }
}

/// The reconciler of GitRepositories.
pub struct GitRepositories {
    /// Talks to the API server.
    pub client: Client,
    /// Writes statuses.
    pub ledger: Arc<Ledger<GitRepository>>,
    /// Writes events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Metrics,
    /// Counts fetches.
    pub fetches: Fetches,
    /// Finds out who asks Git servers.
    pub authenticator: Authenticator,
    /// Reads keys that are trusted.
    pub cluster: Cluster,
    /// With which keys revisions were verified.
    pub verified: Memory,
    /// Talks to Git servers.
    pub git: client::Client,
    /// How much they may send.
    pub limits: client::Limits,
    /// Keeps the files.
    pub storage: Arc<Storage>,
    /// How many archives are written at a time: a compressor takes most of a megabyte, and all of a core.
    pub writers: Arc<Semaphore>,
    /// What an artifact may hold.
    pub bounds: Bounds,
    /// Where artifacts to include are unpacked.
    pub scratch: Arc<Scratch>,
    /// The objects as the watch knows them.
    pub objects: Objects<GitRepository>,
    /// Wakes those that include another one.
    pub trigger: Trigger<GitRepository>,
    /// Whether any object has ever included another one: looking for them takes time.
    pub has_includes: AtomicBool,
    /// How intervals are spread, and how long a missing include is waited for.
    pub intervals: IntervalArgs,
}

impl Reconcile for GitRepositories {
    type Object = GitRepository;

    async fn reconcile(&self, object: Arc<GitRepository>) -> Next {
        let started = Instant::now();
        if let Err(error) = self.ledger.ascertain(&object).await {
            tracing::info!(%error, "cannot read the status that was written last, will try again");
            return Next::retry(&error);
        }
        let next = match Intent::of(&object) {
            Intent::Delete => self.delete(&object).await,
            Intent::Rest => self.rest(&object).await,
            Intent::Sync => self.run(&object).await,
        };
        self.metrics.reconciled(&labels(&object), started.elapsed());
        next
    }

    fn seen(&self, object: &GitRepository) {
        self.ledger.seen(object);
        if !object.spec.include.is_empty() {
            self.has_includes.store(true, Ordering::Relaxed);
        }
        if self.has_includes.load(Ordering::Relaxed) {
            let namespace = object.namespace().unwrap_or_default();
            let including = |other: &GitRepository| {
                let is_one = !other.spec.include.is_empty() && other.namespace().as_deref() == Some(&*namespace);
                is_one.then(|| other.clone())
            };
            for name in include::includers(object, &self.objects.select(including)) {
                self.trigger.wake(&namespace, &name);
            }
        }
    }

    fn gone(&self, object: &Gone) {
        self.ledger.forget(&object.uid);
        self.authenticator.forget(&object.namespace, &object.name);
        self.verified.forget(&object.uid);
        let labels = ObjectLabels {
            kind: KIND.to_owned(),
            name: object.name.clone(),
            namespace: object.namespace.clone(),
        };
        self.metrics.forget(&labels);
        self.fetches.forget(&labels);
    }
}

impl GitRepositories {
    async fn run(&self, object: &GitRepository) -> Next {
        let added = finalizer::add(&self.client, MANAGER, object).await;
        let object = match &added {
            Ok(Some(object)) => object.as_ref(),
            Ok(None) => return Next::Event,
            Err(error) => return self.not_written(object, error),
        };
        let mut report = self.ledger.begin(object);
        let before = report.status().clone();
        let requested = object.annotations().get(REQUESTED_AT).map(String::as_str);
        let outcome = self.sync(object, &mut report, requested).await;
        let conclusion = conclude(&mut draft(&mut report), &before, requested, &outcome);
        match &outcome {
            Ok(_) => tracing::info!(
                revision = report.status().artifact.as_ref().map(|a| &*a.revision),
                "reconciled"
            ),
            Err(failure) => tracing::error!(error = %failure, "reconciliation failed"),
        }
        self.fetches
            .stale(&labels(object), conclude::stale_since(report.status()));
        let written = report.write().await;
        if let Err(error) = report.check() {
            return self.not_written(object, &error);
        }
        for notice in conclusion.notices {
            self.recorder.tell(object, notice);
        }
        match (written, conclusion.again) {
            (Err(error), _) => self.not_written(object, &error),
            // An interval of nothing means to look only when something changes.
            (Ok(()), Again::Interval) if object.spec.interval.is_zero() => Next::Event,
            (Ok(()), Again::Interval) => Next::After(self.intervals.spread(object.spec.interval.std())),
            (Ok(()), Again::Backoff) => Next::Backoff,
            (Ok(()), Again::Dependency) => Next::After(self.intervals.requeue_dependency.std()),
            (Ok(()), Again::Change) => Next::Event,
        }
    }

    async fn delete(&self, object: &GitRepository) -> Next {
        let is_held_by_others = object.finalizers().iter().any(|name| name != FINALIZER);
        if !finalizer::present(object) && !is_held_by_others {
            return Next::Event;
        }
        let (storage, place) = (Arc::clone(&self.storage), place(object));
        let deleted = blocking(move || storage.delete(&place)).await;
        let deleted = deleted.and_then(|done| done.map_err(|error| Failure::Internal(error.to_string())));
        match deleted {
            Ok(true) => {
                let message = "garbage collected artifacts for deleted resource".to_owned();
                self.recorder.tell(object, trace(GARBAGE_COLLECTION_SUCCEEDED, message));
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = %error, "artifacts cannot be removed");
                let message = format!("garbage collection for deleted resource failed: {error}");
                self.recorder.tell(object, warning(GARBAGE_COLLECTION_FAILED, message));
                return Next::Backoff;
            }
        }
        if is_held_by_others {
            let mut report = self.ledger.begin(object);
            let requested = object.annotations().get(REQUESTED_AT).map(String::as_str);
            conclude_deleted(&mut draft(&mut report), requested);
            if let Err(error) = report.write().await {
                return self.not_written(object, &error);
            }
        }
        match finalizer::remove(&self.client, MANAGER, object).await {
            Ok(()) => Next::Event,
            Err(error) => self.not_written(object, &error),
        }
    }

    async fn rest(&self, object: &GitRepository) -> Next {
        let added = finalizer::add(&self.client, MANAGER, object).await;
        let object = match &added {
            Ok(Some(object)) => object.as_ref(),
            Ok(None) => return Next::Event,
            Err(error) => return self.not_written(object, error),
        };
        let mut report = self.ledger.begin(object);
        let requested = object.annotations().get(REQUESTED_AT).map(String::as_str);
        conclude_suspended(&mut draft(&mut report), requested);
        match report.write().await {
            Ok(()) => Next::Event,
            Err(error) => self.not_written(object, &error),
        }
    }

    fn not_written(&self, object: &GitRepository, error: &kube::Error) -> Next {
        // A conflict means that the object has changed: it comes again, and nobody needs to hear of it.
        if matches!(error, kube::Error::Api(status) if status.code == 409) {
            return Next::Backoff;
        }
        tracing::error!(error = %error, "object cannot be written");
        self.recorder
            .tell(object, warning(PATCH_OPERATION_FAILED, error.to_string()));
        Next::retry(error)
    }
}

/// The status as a draft for this moment.
fn draft(report: &mut Report<GitRepository>) -> Draft<'_> {
    let generation = report.generation();
    Draft {
        status: report.status_mut(),
        generation,
        now: Timestamp::now(),
    }
}

/// Whether the artifact there is was made with the settings of the spec and these included artifacts; else the same revision is
/// built again.
fn is_built_as_wanted(status: &GitRepositoryStatus, spec: &GitRepositorySpec, included: &[Artifact]) -> bool {
    status.artifact.is_some()
        && !include::has_changed(status, included)
        && status.observed_ignore == spec.ignore
        && status.observed_recurse_submodules == spec.recurse_submodules
        && status.observed_include == spec.include
        && status.observed_sparse_checkout == spec.sparse_checkout
}

/// A stored artifact and the settings it was made with.
fn record(status: &mut GitRepositoryStatus, artifact: Artifact, spec: &GitRepositorySpec, included: Vec<Artifact>) {
    status.artifact = Some(artifact);
    status.included_artifacts = included;
    status.observed_ignore = spec.ignore.clone();
    status.observed_recurse_submodules = spec.recurse_submodules;
    status.observed_include = spec.include.clone();
    status.observed_sparse_checkout = spec.sparse_checkout.clone();
}

fn place(object: &GitRepository) -> Place {
    Place::new(KIND, &object.namespace().unwrap_or_default(), &object.name_any())
}

fn labels(object: &GitRepository) -> ObjectLabels {
    ObjectLabels {
        kind: KIND.to_owned(),
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
    }
}

fn warning(reason: &str, message: String) -> Notice {
    Notice {
        severity: Severity::Error,
        reason: reason.to_owned(),
        message,
        annotations: BTreeMap::new(),
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let ended = |error: tokio::task::JoinError| Failure::Internal(io::Error::other(error).to_string());
    tokio::task::spawn_blocking(work).await.map_err(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(fields: Value) -> GitRepository {
        let mut object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "app", "namespace": "ns"},
            "spec": {"url": "https://host/r", "interval": "1m"},
        });
        for (part, more) in fields.as_object().unwrap() {
            object[part]
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        }
        serde_json::from_value(object).unwrap()
    }

    fn check(fields: Value, intent: Intent) {
        assert_eq!(Intent::of(&object(fields.clone())), intent, "{fields}");
    }

    #[test]
    fn deletion_comes_before_suspension_before_work() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(json!({}), Intent::Sync);
        check(json!({"spec": {"suspend": true}}), Intent::Rest);
        check(json!({"metadata": deleted}), Intent::Delete);
        check(json!({"metadata": deleted, "spec": {"suspend": true}}), Intent::Delete);
    }

    #[test]
    fn settings_that_change_the_content_call_for_a_new_artifact() {
        let artifact: Artifact = serde_json::from_value(json!({
            "path": "p", "url": "u", "revision": "main@sha1:a", "digest": "sha256:b",
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        let plain = object(json!({}));
        let mut status = GitRepositoryStatus::default();
        let is_wanted = |status: &_, fields: Value, included: &[Artifact]| {
            is_built_as_wanted(status, &object(json!({"spec": fields})).spec, included)
        };
        assert!(!is_wanted(&status, json!({}), &[]), "there is none");
        record(&mut status, artifact.clone(), &plain.spec, Vec::new());
        assert!(is_wanted(&status, json!({}), &[]));
        for change in [
            json!({"ignore": ""}),
            json!({"ignore": "*.md"}),
            json!({"recurseSubmodules": true}),
            json!({"sparseCheckout": ["a"]}),
            json!({"include": [{"repository": {"name": "lib"}}]}),
        ] {
            assert!(!is_wanted(&status, change.clone(), &[]), "{change}");
        }
        assert!(is_wanted(
            &status,
            json!({"url": "https://elsewhere/r", "interval": "2m"}),
            &[]
        ));
        let including = json!({"include": [{"repository": {"name": "lib"}}], "sparseCheckout": ["b", "a"]});
        record(
            &mut status,
            artifact.clone(),
            &object(json!({"spec": including})).spec,
            vec![artifact.clone()],
        );
        assert!(is_wanted(&status, including.clone(), std::slice::from_ref(&artifact)));
        for (revision, digest) in [("main@sha1:c", "sha256:b"), ("main@sha1:a", "sha256:c")] {
            let (revision, digest) = (revision.to_owned(), digest.to_owned());
            let other = Artifact {
                revision,
                digest,
                ..artifact.clone()
            };
            assert!(!is_wanted(&status, including.clone(), &[other]));
        }
        let lib = json!({"name": "lib"});
        for change in [
            json!({"include": [{"repository": lib}], "sparseCheckout": ["a", "b"]}),
            json!({"include": [{"repository": lib}], "sparseCheckout": ["b", "A"]}),
            json!({"include": [{"repository": lib}], "sparseCheckout": ["b"]}),
            json!({"include": [{"repository": {"name": "other"}}], "sparseCheckout": ["b", "a"]}),
            json!({"include": [{"repository": lib, "fromPath": "x"}], "sparseCheckout": ["b", "a"]}),
            json!({"include": [{"repository": lib, "toPath": "x"}], "sparseCheckout": ["b", "a"]}),
            json!({"include": [{"repository": lib}, {"repository": lib}], "sparseCheckout": ["b", "a"]}),
            json!({"sparseCheckout": ["b", "a"]}),
        ] {
            assert!(
                !is_wanted(&status, change.clone(), std::slice::from_ref(&artifact)),
                "{change}"
            );
        }
        assert!(!is_wanted(&status, including.clone(), &[]));
        assert!(!is_wanted(&status, including, &[artifact.clone(), artifact]));
    }
}
