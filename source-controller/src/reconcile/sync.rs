//! The pipeline: storage, source, includes, fetch, artifact.

use std::sync::Arc;
use std::time::SystemTime;

use api::meta::condition::{ARTIFACT_IN_STORAGE, ARTIFACT_OUTDATED, FETCH_FAILED, INCLUDE_UNAVAILABLE};
use api::meta::reason::{ARTIFACT_VERIFICATION_FAILED, GARBAGE_COLLECTION_SUCCEEDED};
use api::source::{Artifact, GitRepository, GitRepositoryStatus};
use artifact::Revision;
use git::RemoteUrl;
use git::client::{self, Cost, Found};
use kube::ResourceExt;
use runtime::conditions::Verdict;
use runtime::report::Report;

use super::conclude::{Start, Synced, begin, is_retry, trace};
use super::failure::Failure;
use super::verification::Trust;
use super::{DEFAULT_TIMEOUT, GitRepositories, blocking, draft, is_built_as_wanted, labels, place, record, warning};
use crate::checkout;
use crate::include;
use crate::reference;
use crate::storage::Integrity;
use crate::storage::path::Place;

impl GitRepositories {
    /// Brings the artifact of an object up to date.
    pub(super) async fn sync(
        &self,
        object: &GitRepository,
        report: &mut Report<GitRepository>,
        requested: Option<&str>,
    ) -> Result<Synced, Failure> {
        let place = place(object);
        let has_disappeared = self.keep_storage(object, &place, report.status_mut()).await?;
        let start = Start {
            requested,
            has_disappeared,
        };
        let is_retry = is_retry(report.status(), report.generation());
        if begin(&mut draft(report), start) {
            show(report).await;
        }
        draft(report).forget_refusal();
        let proxy = self.authenticator.proxy(object).await?;
        let remote = RemoteUrl::parse(&object.spec.url)?;
        let credentials = self.authenticator.credentials(object, &remote, proxy).await?;
        let included = self.included(object, report, is_retry).await?;
        let reference = reference::wanted(object.spec.reference.as_ref());
        // Somebody else's word about the status, or none, makes Flux look closer.
        let by_name = reference::is_polled_by_name(&reference) && report.is(ARTIFACT_IN_STORAGE, Verdict::True);
        let is_current = is_built_as_wanted(report.status(), &object.spec, &included);
        // Keys that cannot be read are an error of their own, but only where the repository can be.
        let trust = self.trust(object).await;
        let is_trusted = |trust: &Trust| !self.is_unverified(object, report.status(), trust);
        let may_skip = is_current && trust.iter().flatten().all(is_trusted);
        let sparse = checkout::Sparse::new(&object.spec.sparse_checkout);
        let request = client::Request {
            credentials,
            observed: observed(report.status()),
            may_skip,
            timeout: object.spec.timeout.unwrap_or(DEFAULT_TIMEOUT).std(),
            limits: self.limits,
            submodules: object.spec.recurse_submodules,
            sparse: sparse.prefixes().map(str::to_owned).collect(),
            ..client::Request::new(remote, reference.clone())
        };
        let cost = request.cost.clone();
        let found = self.git.fetch(request).await;
        self.tell_cost(object, &found, &cost);
        let commit = match found? {
            Found::Unmoved(_) => {
                trust?;
                return Ok(Synced::Unmoved { by_name });
            }
            Found::Commit(commit) => *commit,
        };
        draft(report).remove(FETCH_FAILED);
        let checkout = self.list(object, commit).await?;
        self.verify(object, report, &checkout.commit, &reference, trust?.as_ref())
            .await?;
        let revision = checkout.commit.revision.to_string();
        let is_known = report
            .status()
            .artifact
            .as_ref()
            .is_some_and(|artifact| artifact.revision == revision);
        if !is_known {
            draft(report).found_new_revision(&revision);
        } else if is_current {
            return Ok(Synced::Unmoved { by_name: false });
        }
        let artifact = self.store(object, &place, checkout, &included).await?;
        tracing::info!(
            revision = artifact.revision,
            digest = artifact.digest,
            "stored artifact"
        );
        record(report.status_mut(), artifact, &object.spec, included);
        Ok(Synced::Stored)
    }

    /// Says what a fetch has cost, one that failed after something was received too. A look that finds nothing new is none.
    fn tell_cost(&self, object: &GitRepository, found: &Result<Found, client::Error>, cost: &Cost) {
        let (bytes, took) = (cost.received(), cost.took());
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match found {
            Ok(Found::Unmoved(_)) => return,
            Ok(Found::Commit(commit)) => {
                tracing::info!(revision = %commit.revision, bytes, milliseconds, "fetched a commit");
            }
            Err(_) if bytes == 0 => return,
            // Why it failed is logged as an error, at each attempt.
            Err(_) => tracing::debug!(bytes, milliseconds, "gave up a fetch"),
        }
        self.fetches.fetched(&labels(object), bytes, took);
    }

    /// Throws out what has had its time and makes sure of the current artifact. What is damaged or missing is taken out of
    /// the status; whether that happened. What cannot be looked at stays.
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
            // What cannot be thrown out now can be later, and so can what may be the current file.
            let collected = match path.filter(|path| place.file(path).is_none()) {
                None => storage.collect_garbage(&place, path, SystemTime::now()),
                Some(path) => {
                    tracing::warn!(path, "the status names an artifact that is not the object's own");
                    Ok(Vec::new())
                }
            };
            let integrity = current.as_ref().map(|(path, digest)| {
                let integrity = storage.check(&place, path, digest);
                if let Ok(Integrity::Damaged(_)) = &integrity
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
        match integrity.transpose()? {
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

    /// The artifacts to include, as new as they are known.
    async fn included(
        &self,
        object: &GitRepository,
        report: &mut Report<GitRepository>,
        is_retry: bool,
    ) -> Result<Vec<Artifact>, Failure> {
        let namespace = object.namespace().unwrap_or_default();
        let included = include::resolve(&object.spec.include, |name| {
            let found = self.objects.get(&namespace, name)?;
            Some(self.ledger.status(&found).artifact)
        })?;
        // The wait is over, so what follows is more than another try.
        let has_come = report.is(INCLUDE_UNAVAILABLE, Verdict::True);
        draft(report).remove(INCLUDE_UNAVAILABLE);
        if include::has_moved(report.status(), &included) {
            let had_others = !report.status().included_artifacts.is_empty();
            draft(report).found_other_includes();
            if had_others && (has_come || !is_retry) {
                draft(report).outdated_by_includes();
                show(report).await;
                draft(report).remove(ARTIFACT_OUTDATED);
            } else if has_come {
                show(report).await;
            }
        }
        Ok(included)
    }
}

/// Shows how far the work has come. If that fails, only who looks on misses something: the end of the reconcile writes it all
/// again.
async fn show(report: &mut Report<GitRepository>) {
    if let Err(error) = report.write().await {
        tracing::warn!(error = %error, "progress could not be shown");
    }
}

/// The revision of the artifact there is.
fn observed(status: &GitRepositoryStatus) -> Option<Revision> {
    Revision::parse(&status.artifact.as_ref()?.revision)
}
