//! One GitRepository, brought up to date.
//!
//! [`Intent`] says what is to be done, [`GitRepositories::sync`] does it step by step, [`conclude`] turns the result into
//! conditions, events and the next look. Facts (an artifact that is gone, one that was stored) go into the report the moment
//! they are true; the status is written when a phase is worth seeing and at the end, and only if it differs.

pub mod conclude;
pub mod failure;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use api::Duration;
use api::meta::Time;
use api::meta::key::{COMMIT_SUBJECT, REQUESTED_AT};
use api::meta::reason::{
    ARTIFACT_VERIFICATION_FAILED, GARBAGE_COLLECTION_FAILED, GARBAGE_COLLECTION_SUCCEEDED, PATCH_OPERATION_FAILED,
};
use api::source::{Artifact, GitRepository, GitRepositorySpec, GitRepositoryStatus};
use artifact::Revision;
use git::client::{self, Commit, Found};
use git::{Credentials, RemoteUrl, ssh};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use runtime::args::IntervalArgs;
use runtime::controller::{Gone, Next, Reconcile};
use runtime::events::{Notice, Recorder, Severity};
use runtime::finalizer;
use runtime::metrics::{Metrics, ObjectLabels};
use runtime::report::{Ledger, Report};

use crate::auth::{self, Data};
use crate::checkout::{self, Bounds};
use crate::reference;
use crate::storage::path::{Place, file_name};
use crate::storage::{Integrity, Storage};
use crate::unsupported::{self, Feature};
use conclude::{Again, Draft, Start, Synced, begin, conclude, conclude_suspended, trace};
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
    /// Talks to Git servers.
    pub git: client::Client,
    /// How much they may send.
    pub limits: client::Limits,
    /// Keeps the files.
    pub storage: Arc<Storage>,
    /// What an artifact may hold.
    pub bounds: Bounds,
    /// How intervals are spread.
    pub intervals: IntervalArgs,
}

impl Reconcile for GitRepositories {
    type Object = GitRepository;

    async fn reconcile(&self, object: Arc<GitRepository>) -> Next {
        let started = Instant::now();
        if let Err(error) = self.ledger.ascertain(&object).await {
            tracing::info!(%error, "cannot read the status that was written last, will try again");
            return Next::Backoff;
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
    }

    fn gone(&self, object: &Gone) {
        self.ledger.forget(&object.uid);
        self.metrics.forget(&ObjectLabels {
            kind: KIND.to_owned(),
            name: object.name.clone(),
            namespace: object.namespace.clone(),
        });
    }
}

impl GitRepositories {
    async fn run(&self, object: &GitRepository) -> Next {
        match finalizer::add(&self.client, MANAGER, object).await {
            Ok(true) => {}
            Ok(false) => return Next::Event,
            Err(error) => return self.not_written(object, &error),
        }
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
        let written = report.write().await;
        for notice in conclusion.notices {
            self.recorder.tell(object, notice);
        }
        match (written, conclusion.again) {
            (Err(error), _) => self.not_written(object, &error),
            // An interval of nothing means to look only when something changes.
            (Ok(()), Again::Interval) if object.spec.interval.is_zero() => Next::Event,
            (Ok(()), Again::Interval) => Next::After(self.intervals.spread(object.spec.interval.std())),
            (Ok(()), Again::Backoff) => Next::Backoff,
            (Ok(()), Again::Change) => Next::Event,
        }
    }

    /// The pipeline.
    async fn sync(
        &self,
        object: &GitRepository,
        report: &mut Report<GitRepository>,
        requested: Option<&str>,
    ) -> Result<Synced, Failure> {
        let place = place(object);
        let has_disappeared = self.keep_storage(object, &place, report.status_mut()).await?;
        if begin(
            &mut draft(report),
            Start {
                requested,
                has_disappeared,
            },
        ) {
            // Only who looks on misses something if this fails: the end of the reconcile writes it all again.
            if let Err(error) = report.write().await {
                tracing::warn!(error = %error, "progress could not be shown");
            }
        }
        let (remote, credentials) = self.source(object).await?;
        let reference = reference::wanted(object.spec.reference.as_ref());
        let by_name = reference::is_polled_by_name(&reference);
        let request = client::Request {
            credentials,
            observed: report
                .status()
                .artifact
                .as_ref()
                .and_then(|artifact| Revision::parse(&artifact.revision)),
            may_skip: is_built_as_wanted(report.status(), &object.spec),
            timeout: object.spec.timeout.unwrap_or(DEFAULT_TIMEOUT).std(),
            limits: self.limits,
            submodules: object.spec.recurse_submodules,
            ..client::Request::new(remote, reference)
        };
        let commit = match self.git.fetch(request).await? {
            Found::Unmoved(_) => return Ok(Synced::Unmoved { by_name }),
            Found::Commit(commit) => commit,
        };
        let revision = commit.revision.to_string();
        draft(report).remove(api::meta::condition::FETCH_FAILED);
        if report
            .status()
            .artifact
            .as_ref()
            .is_none_or(|artifact| artifact.revision != revision)
        {
            draft(report).found_new_revision(&revision);
        }
        let artifact = self.store(place, commit, object.spec.ignore.clone()).await?;
        tracing::info!(
            revision = artifact.revision,
            digest = artifact.digest,
            "stored artifact"
        );
        record(report.status_mut(), artifact, &object.spec);
        Ok(Synced::Stored)
    }

    /// Throws out what has had its time and makes sure of the current artifact. What is damaged or missing is taken out of the
    /// status; whether that happened.
    async fn keep_storage(
        &self,
        object: &GitRepository,
        place: &Place,
        status: &mut GitRepositoryStatus,
    ) -> Result<bool, Failure> {
        let (storage, place) = (Arc::clone(&self.storage), place.clone());
        let current = status
            .artifact
            .as_ref()
            .map(|artifact| (artifact.path.clone(), artifact.digest.clone()));
        let (collected, integrity) = blocking(move || {
            let path = current.as_ref().map(|(path, _)| path.as_str());
            // What cannot be thrown out now can be later.
            let collected = storage.collect_garbage(&place, path, SystemTime::now());
            let integrity = current.as_ref().map(|(path, digest)| {
                let integrity = storage.check(&place, path, digest);
                if let Integrity::Damaged(_) = &integrity
                    && let Err(error) = storage.remove(&place, path)
                {
                    tracing::error!(error = %error, path, "cannot remove damaged artifact");
                }
                integrity
            });
            (collected, integrity)
        })
        .await?;
        match collected {
            Ok(gone) if !gone.is_empty() => {
                let message = format!("garbage collected {} artifacts", gone.len());
                self.recorder.tell(object, trace(GARBAGE_COLLECTION_SUCCEEDED, message));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "garbage collection failed"),
        }
        match integrity {
            None => Ok(false),
            Some(Integrity::Intact) => {
                if let Some(artifact) = &mut status.artifact {
                    artifact.url = self.storage.url(&artifact.path);
                }
                Ok(false)
            }
            Some(Integrity::Missing) => {
                status.artifact = None;
                Ok(true)
            }
            Some(Integrity::Damaged(detail)) => {
                status.artifact = None;
                let message = format!("failed to verify integrity of artifact: {detail}");
                self.recorder
                    .tell(object, warning(ARTIFACT_VERIFICATION_FAILED, message));
                Ok(true)
            }
        }
    }

    /// Where to fetch from and as whom.
    async fn source(&self, object: &GitRepository) -> Result<(RemoteUrl, Credentials), Failure> {
        let spec = &object.spec;
        let remote = RemoteUrl::parse(&spec.url)?;
        if let Some(feature) = unsupported::of_spec(spec) {
            return Err(Failure::Unsupported(feature));
        }
        let secret = match &spec.secret_ref {
            None => Data::new(),
            Some(reference) => {
                let namespace = object.namespace().unwrap_or_default();
                let name = format!("{namespace}/{}", reference.name);
                let data = self.secret(&namespace, &reference.name, &name).await?;
                if data.contains_key(auth::GITHUB_APP_ID) {
                    return Err(Failure::AppDataWithoutProvider(name));
                }
                data
            }
        };
        let credentials = auth::credentials(&remote, &secret).map_err(|error| match (error, &spec.secret_ref) {
            (auth::Error::SshKey(ssh::Error::Encrypted), Some(reference)) => {
                Failure::EncryptedKey(format!("{}/{}", object.namespace().unwrap_or_default(), reference.name))
            }
            (error, _) => Failure::Credentials(error),
        })?;
        if remote.scheme() == git::url::Scheme::Https && auth::has_client_certificate(&secret) {
            return Err(Failure::Unsupported(Feature::ClientCertificate));
        }
        Ok((remote, credentials))
    }

    async fn secret(&self, namespace: &str, name: &str, shown: &str) -> Result<Data, Failure> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = secrets.get(name).await.map_err(|error| {
            let detail = match error {
                kube::Error::Api(status) => status.message,
                other => other.to_string(),
            };
            Failure::Secret {
                name: shown.to_owned(),
                detail,
            }
        })?;
        Ok(secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect())
    }

    /// Archives a commit and announces it.
    async fn store(&self, place: Place, commit: Commit, ignore: Option<String>) -> Result<Artifact, Failure> {
        let (storage, bounds) = (Arc::clone(&self.storage), self.bounds);
        blocking(move || {
            let Commit {
                revision,
                subject,
                received,
                tree,
            } = commit;
            tracing::debug!(%revision, received, "fetched a commit");
            let listing = checkout::list(&tree, bounds).map_err(|error| Failure::Tree(error.to_string()))?;
            let file = file_name(revision.hash());
            let stored = storage.publish(&place, &file, |archive| {
                checkout::archive(&tree, &listing, ignore.as_deref(), bounds, archive)
            })?;
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
            Ok(Artifact {
                url: storage.url(&stored.path),
                path: stored.path,
                revision: revision.to_string(),
                digest: stored.digest.to_string(),
                last_update_time: Time(now),
                size: i64::try_from(stored.size).ok(),
                metadata: BTreeMap::from([(COMMIT_SUBJECT.to_owned(), subject)]),
            })
        })
        .await?
    }

    async fn delete(&self, object: &GitRepository) -> Next {
        if !finalizer::present(object) {
            return Next::Event;
        }
        let (storage, place) = (Arc::clone(&self.storage), place(object));
        let deleted = blocking(move || storage.delete(&place)).await;
        let deleted = deleted.and_then(|done| done.map_err(|error| Failure::Internal(error.to_string())));
        if let Err(error) = deleted {
            tracing::error!(error = %error, "artifacts cannot be removed");
            let message = format!("garbage collection for deleted resource failed: {error}");
            self.recorder.tell(object, warning(GARBAGE_COLLECTION_FAILED, message));
            return Next::Backoff;
        }
        let message = "garbage collected artifacts for deleted resource".to_owned();
        self.recorder.tell(object, trace(GARBAGE_COLLECTION_SUCCEEDED, message));
        match finalizer::remove(&self.client, MANAGER, object).await {
            Ok(()) => Next::Event,
            Err(error) => self.not_written(object, &error),
        }
    }

    async fn rest(&self, object: &GitRepository) -> Next {
        if let Err(error) = finalizer::add(&self.client, MANAGER, object).await {
            return self.not_written(object, &error);
        }
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
        Next::Backoff
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

/// Whether the artifact there is was made with the settings of the spec; else the same revision is built again.
fn is_built_as_wanted(status: &GitRepositoryStatus, spec: &GitRepositorySpec) -> bool {
    status.artifact.is_some()
        && status.observed_ignore == spec.ignore
        && status.observed_recurse_submodules == spec.recurse_submodules
        && status.observed_include == spec.include
        && status.observed_sparse_checkout == spec.sparse_checkout
}

/// A stored artifact and the settings it was made with.
fn record(status: &mut GitRepositoryStatus, artifact: Artifact, spec: &GitRepositorySpec) {
    status.artifact = Some(artifact);
    status.included_artifacts = Vec::new();
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
        assert!(!is_built_as_wanted(&status, &plain.spec), "there is none");
        record(&mut status, artifact, &plain.spec);
        assert!(is_built_as_wanted(&status, &plain.spec));
        for ignore in ["", "*.md"] {
            let other = object(json!({"spec": {"ignore": ignore}}));
            assert!(!is_built_as_wanted(&status, &other.spec), "{ignore:?}");
        }
        let moved = object(json!({"spec": {"url": "https://elsewhere/r", "interval": "2m"}}));
        assert!(is_built_as_wanted(&status, &moved.spec));
    }
}
