//! Deletion: what the Kustomization applied goes with it, if that is wanted; then the finalizer goes.
//!
//! That everything in the inventory was deleted is not written: it is what the last state of such a Kustomization says
//! by itself ([`Kustomization::deletion`]), and a write costs the API server more than a deletion. Where the outcome
//! is another one, it is written to the status before the finalizer is removed, because afterwards there is no status.

use super::run::Terminating;
use super::{Kustomizer, Report, name, owner, timeout};
use crate::apply::{Action, ChangeSet, Entry};
use crate::changes::{self, Origin};
use crate::cluster::Cluster;
use crate::inventory::{self, Owned};
use crate::prune;
use crate::stages;
use api::kustomize::{ChangeKind, Fate, Kustomization};
use api::meta::condition::READY;
use api::meta::reason;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::conditions::Verdict;
use runtime::controller::Next;
use runtime::events::Severity;
use runtime::finalizer;
use std::time::{Duration, Instant};

/// How often objects that are on their way out are looked at when no watch tells.
const POLL: Duration = Duration::from_secs(2);

impl Kustomizer {
    pub(super) async fn finalize(&self, object: &Kustomization) -> Next {
        if !finalizer::present(object) {
            return Next::Event;
        }
        let uid = object.uid().unwrap_or_default();
        let mut run = runtime::lock(&self.runs).remove(&uid);
        let mut report = self.resume(object, &mut run);
        let Some(next) = self.delete_objects(object, &mut report, &uid).await else {
            return self.release(object, report).await;
        };
        match report.write().await {
            Err(error) if report.is_overtaken() => self.unwritten(object, &report, &error),
            Err(error) => {
                tracing::info!(%error, "cannot write the status");
                next
            }
            Ok(()) => next,
        }
    }

    /// Deletes what is to be deleted. Says when to look again as long as there is something to do.
    async fn delete_objects(&self, object: &Kustomization, report: &mut Report, uid: &str) -> Option<Next> {
        let owned = inventory::from_status(report.status().inventory.as_ref());
        let fate = object.spec.fate();
        if fate == Fate::Leave || owned.is_empty() {
            return None;
        }
        let waiting = runtime::lock(&self.terminating).remove(uid);
        if let Some(terminating) = waiting {
            let Ok(cluster) = self.cluster(object) else {
                runtime::lock(&self.terminating).insert(uid.to_owned(), terminating);
                return Some(Next::Backoff);
            };
            return self.await_termination(object, report, &cluster, terminating).await;
        }
        let account = self.service_account(object);
        match self
            .context
            .clusters
            .own()
            .can_impersonate(&object.namespace().unwrap_or_default(), account)
            .await
        {
            Ok(true) => {}
            Ok(false) => {
                let list: Vec<_> = owned.iter().map(|owned| owned.id.to_string()).collect();
                self.tell_deletion(
                    object,
                    report,
                    Severity::Error,
                    &format!("unable to prune objects: \n{}", list.join("\n")),
                );
                // Nothing was deleted, and the last state must not say otherwise.
                report.status_mut().inventory = None;
                return written(report).await;
            }
            Err(error) => {
                tracing::info!(%error, "cannot tell whether the service account exists, will try again");
                return Some(retry(error.is_outage()));
            }
        }
        let cluster = match self.cluster(object) {
            Ok(cluster) => cluster,
            Err(failure) => {
                tracing::error!(error = %failure, "cannot delete the objects, will try again");
                return Some(Next::Backoff);
            }
        };
        self.delete_owned(object, report, &cluster, &owned, fate).await
    }

    async fn delete_owned(
        &self,
        object: &Kustomization,
        report: &mut Report,
        cluster: &Cluster,
        owned: &[Owned],
        fate: Fate,
    ) -> Option<Next> {
        let owner = owner(object);
        // What goes is not drift.
        let known = self.let_go(&owner, owned);
        let pruned = prune::delete(
            cluster,
            owned,
            &owner,
            &|id| known.get(id).copied(),
            &stages::rank,
            self.context.policy.concurrent_ssa,
        )
        .await;
        if let Some(error) = pruned.error() {
            // An API server that is away will be back, and is nobody's fault.
            if !pruned.is_outage() {
                self.tell_deletion(object, report, Severity::Error, "pruning for deleted resource failed");
            }
            report.set(READY, Verdict::False, reason::PRUNE_FAILED, &error);
            let survivors = pruned.failures.iter().map(|failed| failed.owned.clone());
            // Deleting again what is on its way out is harmless, and what is to be waited for must not be forgotten.
            let doomed = pruned
                .doomed
                .iter()
                .filter(|_| fate == Fate::DeleteAndWait)
                .map(|doomed| doomed.owned.clone());
            report.status_mut().inventory = Some(inventory::to_status(&survivors.chain(doomed).collect::<Vec<_>>()));
            record(report, &pruned.changes);
            return Some(retry(pruned.is_outage()));
        }
        if !pruned.changes.entries.is_empty() {
            self.tell_deletion(object, report, Severity::Info, &pruned.changes.lines());
        }
        let all = pruned
            .changes
            .entries
            .iter()
            .all(|entry| entry.action == Action::Deleted);
        if fate == Fate::Delete && all {
            return None;
        }
        record(report, &pruned.changes);
        if fate == Fate::Delete {
            // Whoever comes back here has nothing to delete any more.
            report.status_mut().inventory = None;
        }
        if let Some(next) = written(report).await {
            return Some(next);
        }
        if fate != Fate::DeleteAndWait || pruned.doomed.is_empty() {
            return None;
        }
        let ids = || pruned.doomed.iter().map(|doomed| &doomed.owned.id);
        runtime::lock(&self.watched).expect(&name(object), ids().cloned());
        let interests = self.interests(ids());
        let terminating = Terminating {
            doomed: pruned.doomed,
            since: Instant::now(),
            interests,
        };
        self.await_termination(object, report, cluster, terminating).await
    }

    /// Waits until the objects are gone, but not longer than the timeout.
    async fn await_termination(
        &self,
        object: &Kustomization,
        report: &Report,
        cluster: &Cluster,
        mut terminating: Terminating,
    ) -> Option<Next> {
        terminating.doomed = prune::remaining(cluster, &terminating.doomed).await;
        if terminating.doomed.is_empty() {
            return None;
        }
        let left = timeout(object).std().saturating_sub(terminating.since.elapsed());
        if left.is_zero() {
            self.tell_deletion(
                object,
                report,
                Severity::Error,
                "failed to wait for resources termination",
            );
            return None;
        }
        runtime::lock(&self.terminating).insert(object.uid().unwrap_or_default(), terminating);
        Some(Next::After(POLL.min(left)))
    }

    async fn release(&self, object: &Kustomization, mut report: Report) -> Next {
        self.holdings.forget(&owner(object));
        // What a run has applied and not written yet is told from the last status, too.
        let written = report.write().await;
        let released = match written {
            Ok(()) => report.release().await,
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => Next::Event,
            Err(error) => self.unwritten(object, &report, &error),
        }
    }

    fn tell_deletion(&self, object: &Kustomization, report: &Report, severity: Severity, message: &str) {
        self.tell(object, report, severity, message, Some(&last_applied(report)));
    }
}

/// Writes the status; says when to try again where that failed.
async fn written(report: &mut Report) -> Option<Next> {
    let error = report.write().await.err()?;
    tracing::info!(%error, "cannot write the status, will try again");
    Some(Next::retry(&error))
}

/// When something is tried again that the API server did not do, or did not answer.
fn retry(outage: bool) -> Next {
    match outage {
        true => Next::Outage,
        false => Next::Backoff,
    }
}

/// What was applied last, which is what is deleted.
fn last_applied(report: &Report) -> Origin {
    let status = report.status();
    Origin {
        revision: status.last_applied_revision.clone().unwrap_or_default(),
        origin_revision: status.last_applied_origin_revision.clone(),
    }
}

/// Puts what was deleted into the ring of changes, for those who tell people.
fn record(report: &mut Report, deleted: &ChangeSet) {
    let entries: Vec<_> = deleted.entries.iter().map(Entry::told).collect();
    let (origin, now) = (last_applied(report), Timestamp::now());
    changes::confirm(
        &mut report.status_mut().changes,
        ChangeKind::Delete,
        &origin,
        &entries,
        |_| false,
        now,
    );
}
