//! The pipeline: storage, source, includes, fetch, artifact.

use std::sync::Arc;
use std::time::SystemTime;

use api::meta::condition::{FETCH_FAILED, INCLUDE_UNAVAILABLE};
use api::meta::reason::{ARTIFACT_VERIFICATION_FAILED, GARBAGE_COLLECTION_SUCCEEDED};
use api::source::{Artifact, GitRepository, GitRepositoryStatus};
use artifact::Revision;
use git::RemoteUrl;
use git::client::{self, Found};
use kube::ResourceExt;
use runtime::report::Report;

use super::conclude::{Start, Synced, begin, trace};
use super::failure::Failure;
use super::verification::Trust;
use super::{DEFAULT_TIMEOUT, GitRepositories, blocking, draft, is_built_as_wanted, labels, place, record, warning};
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
        if begin(&mut draft(report), start)
            // Only who looks on misses something if this fails: the end of the reconcile writes it all again.
            && let Err(error) = report.write().await
        {
            tracing::warn!(error = %error, "progress could not be shown");
        }
        draft(report).forget_refusal();
        let remote = RemoteUrl::parse(&object.spec.url)?;
        let credentials = self.authenticator.credentials(object, &remote).await?;
        let included = self.included(object, report)?;
        let reference = reference::wanted(object.spec.reference.as_ref());
        let by_name = reference::is_polled_by_name(&reference);
        let is_current = is_built_as_wanted(report.status(), &object.spec, &included);
        // Keys that cannot be read are an error of their own, but only where the repository can be.
        let trust = self.trust(object).await;
        let is_trusted = |trust: &Trust| !self.is_unverified(object, report.status(), trust);
        let may_skip = is_current && trust.iter().flatten().all(is_trusted);
        let request = client::Request {
            credentials,
            observed: observed(report.status()),
            may_skip,
            timeout: object.spec.timeout.unwrap_or(DEFAULT_TIMEOUT).std(),
            limits: self.limits,
            submodules: object.spec.recurse_submodules,
            ..client::Request::new(remote, reference.clone())
        };
        let commit = match self.git.fetch(request).await? {
            Found::Unmoved(_) => {
                trust?;
                return Ok(Synced::Unmoved { by_name });
            }
            Found::Commit(commit) => *commit,
        };
        self.fetches.fetched(&labels(object), commit.received, commit.took);
        let milliseconds = u64::try_from(commit.took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(revision = %commit.revision, bytes = commit.received, milliseconds, "fetched a commit");
        draft(report).remove(FETCH_FAILED);
        let checkout = self.list(object, commit).await?;
        self.verify(object, report, &checkout.commit, &reference, trust?.as_ref())?;
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

    /// The artifacts to include, as new as they are known.
    fn included(&self, object: &GitRepository, report: &mut Report<GitRepository>) -> Result<Vec<Artifact>, Failure> {
        let namespace = object.namespace().unwrap_or_default();
        let included = include::resolve(&object.spec.include, |name| {
            let found = self.objects.get(&namespace, name)?;
            Some(self.ledger.status(&found).artifact)
        })?;
        let is_changed = include::has_changed(report.status(), &included);
        let mut draft = draft(report);
        draft.remove(INCLUDE_UNAVAILABLE);
        if is_changed {
            draft.found_other_includes();
        }
        Ok(included)
    }
}

/// The revision of the artifact there is.
fn observed(status: &GitRepositoryStatus) -> Option<Revision> {
    Revision::parse(&status.artifact.as_ref()?.revision)
}
