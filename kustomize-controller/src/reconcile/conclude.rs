//! How a call ends: the only place that turns an outcome into conditions, history, events, metrics and the next call.

use super::run::Run;
use super::{Kustomizer, Outcome, Report, Rest, Success, requested, retry_interval};
use crate::changes::Origin;
use crate::failure::{Failure, Fate, Notice, Retry};
use crate::history;
use crate::source::SourceRef;
use api::Duration;
use api::kustomize::{GROUP, Kustomization};
use api::meta::condition::{READY, RECONCILING, STALLED};
use api::meta::reason;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::conditions::Verdict;
use runtime::controller::Next;
use runtime::events::Severity;
use std::collections::BTreeMap;
use std::time::Instant;

impl Kustomizer {
    pub(super) async fn conclude(
        &self,
        object: &Kustomization,
        mut report: Report,
        run: Option<Run>,
        outcome: Outcome,
    ) -> Next {
        let ended = match outcome {
            Outcome::Wait(delay) => return self.pause(object, report, run, delay).await,
            Outcome::Done(success) => Ok(success),
            Outcome::Failed(failure) => Err(failure),
        };
        let me = super::name(object);
        runtime::lock(&self.watched).forget(&me);
        let started = run.as_ref().map_or_else(Instant::now, |run| run.started);
        let took = Duration::from(started.elapsed());
        let next = match &ended {
            Ok(success) => self.succeeded(object, &mut report, run.as_ref(), success, took),
            Err(failure) => self.failed(object, &mut report, run.as_ref(), failure, took),
        };
        if let Some(requested) = requested(object) {
            report.status_mut().last_handled_reconcile_at = Some(requested);
        }
        let written = report.write().await;
        self.context
            .process
            .metrics
            .reconciled(&super::labels(&me), started.elapsed());
        if let Err(error) = written {
            // Nothing rests until its status is known: the next run finds the work done and says so again.
            tracing::info!(%error, "cannot write the status, will try again");
            runtime::lock(&self.rests).remove(&object.uid().unwrap_or_default());
            return Next::Backoff;
        }
        self.settle(object, run.as_ref(), ended.as_ref().err(), next);
        if ended.is_ok() {
            self.wake_dependents(&me);
            let interval = object.spec.interval;
            let message = format!("Reconciliation finished in {took}, next run in {interval}");
            self.tell_commit_status(object, &report, run.as_ref(), &message);
        }
        next
    }

    /// Keeps a run that waits, once what it has done is written down.
    async fn pause(
        &self,
        object: &Kustomization,
        mut report: Report,
        run: Option<Run>,
        delay: std::time::Duration,
    ) -> Next {
        if let Err(error) = report.write().await {
            // Without its facts in the status the run must not go on: it starts over and finds its work done.
            tracing::info!(%error, "cannot write the status, will try again");
            return Next::Backoff;
        }
        if let (Some(run), Some(uid)) = (run, object.uid()) {
            runtime::lock(&self.runs).insert(uid, run);
        }
        Next::After(delay)
    }

    /// Remembers until when there is nothing to do.
    fn settle(&self, object: &Kustomization, run: Option<&Run>, failure: Option<&Failure>, next: Next) {
        // What waits for something to appear is looked at whenever it is woken.
        let waits = failure.is_some_and(|failure| failure.fate().retry == Retry::AfterDependency);
        let until = match next {
            Next::Event => Some(None),
            Next::After(delay) => Some(Some(Instant::now() + delay)),
            Next::Backoff => None,
        };
        let mut rests = runtime::lock(&self.rests);
        let uid = object.uid().unwrap_or_default();
        match (run, until) {
            (Some(run), Some(until)) if !waits => rests.insert(
                uid,
                Rest {
                    inputs: run.inputs.clone(),
                    until,
                },
            ),
            _ => rests.remove(&uid),
        };
    }

    fn succeeded(
        &self,
        object: &Kustomization,
        report: &mut Report,
        run: Option<&Run>,
        success: &Success,
        took: Duration,
    ) -> Next {
        let origin = run.map(Run::origin).unwrap_or_default();
        record(report, &origin, &success.digest, reason::RECONCILIATION_SUCCEEDED, took);
        let Origin {
            revision,
            origin_revision,
        } = origin;
        let (message, interval) = (format!("Applied revision: {revision}"), object.spec.interval);
        tracing::info!(revision, "Reconciliation finished in {took}, next run in {interval}");
        let status = report.status_mut();
        status.last_applied_revision = Some(revision);
        status.last_applied_origin_revision = origin_revision;
        status.observed_generation = object.metadata.generation;
        report.remove(RECONCILING);
        report.remove(STALLED);
        report.set(READY, Verdict::True, reason::RECONCILIATION_SUCCEEDED, &message);
        Next::After(self.context.policy.interval.spread(interval.std()))
    }

    fn failed(
        &self,
        object: &Kustomization,
        report: &mut Report,
        run: Option<&Run>,
        failure: &Failure,
        took: Duration,
    ) -> Next {
        let fate = failure.fate();
        let message = failure.to_string();
        let origin = run.map(Run::origin);
        if let (Some(origin), Some(digest), Some(status)) = (&origin, run.and_then(Run::digest), fate.history) {
            record(report, origin, digest, status, took);
        }
        if let Some(reason) = fate.reason {
            mark_failed(report, &fate, reason, &message);
        }
        if fate.observed {
            report.status_mut().observed_generation = object.metadata.generation;
        }
        let (retry, pause) = (retry_interval(object), self.context.policy.interval.requeue_dependency);
        match fate.notice {
            Notice::Silent => tracing::info!("{message}"),
            Notice::Info => {
                let text = format!("Dependencies do not meet ready condition, retrying in {pause}");
                tracing::info!(obstacle = message, "{text}");
                let origin = origin.or_else(|| self.context.sources.origin(&SourceRef::of(object)));
                self.tell(object, report, Severity::Info, &text, origin.as_ref());
            }
            Notice::Error => {
                tracing::error!(
                    error = message,
                    "Reconciliation failed after {took}, next try in {retry}"
                );
                self.tell(object, report, Severity::Error, &message, origin.as_ref());
            }
        }
        match fate.retry {
            Retry::Never => Next::Event,
            Retry::Backoff => Next::Backoff,
            Retry::AfterFailure => Next::After(retry.std()),
            Retry::AfterDependency => Next::After(pause.std()),
        }
    }

    /// Suspended: nothing is done, but a request is acknowledged.
    pub(super) async fn suspended(&self, object: &Kustomization) -> Next {
        tracing::info!("Reconciliation is suspended for this object");
        if let Err(error) = runtime::finalizer::add(&self.context.process.client, super::STATUS_MANAGER, object).await {
            tracing::info!(%error, "cannot add the finalizer, will try again");
            return Next::Backoff;
        }
        let uid = object.uid().unwrap_or_default();
        let me = super::name(object);
        runtime::lock(&self.watched).forget(&me);
        let mut report = self.ledger.begin(object);
        if runtime::lock(&self.runs).remove(&uid).is_some() {
            // What was waited for is not waited for any more.
            report.remove(RECONCILING);
        }
        if let Some(requested) = requested(object) {
            report.status_mut().last_handled_reconcile_at = Some(requested);
        }
        if report.is(READY, Verdict::True) {
            report.remove(RECONCILING);
            report.status_mut().observed_generation = object.metadata.generation;
        }
        match report.write().await {
            Ok(()) => {
                // One that is Ready is ready for the generation that suspends it, too.
                self.wake_dependents(&me);
                Next::Event
            }
            Err(error) => {
                tracing::info!(%error, "cannot write the status, will try again");
                Next::Backoff
            }
        }
    }

    /// Tells people, with the reason that Ready has at this moment, as Flux does.
    pub(super) fn tell(
        &self,
        object: &Kustomization,
        report: &Report,
        severity: Severity,
        message: &str,
        origin: Option<&Origin>,
    ) {
        self.notice(object, report, severity, message, origin, BTreeMap::new());
    }

    fn tell_commit_status(&self, object: &Kustomization, report: &Report, run: Option<&Run>, message: &str) {
        let status = BTreeMap::from([(format!("{GROUP}/commit_status"), "update".to_owned())]);
        self.notice(
            object,
            report,
            Severity::Info,
            message,
            run.map(Run::origin).as_ref(),
            status,
        );
    }

    fn notice(
        &self,
        object: &Kustomization,
        report: &Report,
        severity: Severity,
        message: &str,
        origin: Option<&Origin>,
        mut annotations: BTreeMap<String, String>,
    ) {
        if let Some(origin) = origin.filter(|origin| !origin.revision.is_empty()) {
            annotations.insert(format!("{GROUP}/revision"), origin.revision.clone());
        }
        if let Some(revision) = origin.and_then(|origin| origin.origin_revision.as_ref()) {
            annotations.insert(format!("{GROUP}/originRevision"), revision.clone());
        }
        let fallback = match severity {
            Severity::Info => "info",
            Severity::Error => "error",
        };
        let reason = report
            .condition(READY)
            .map_or(fallback, |ready| ready.reason.as_str())
            .to_owned();
        let notice = runtime::events::Notice {
            severity,
            reason,
            message: message.to_owned(),
            annotations,
        };
        self.context.process.recorder.tell(object, notice);
    }
}

/// Ready=False, and what goes with it.
fn mark_failed(report: &mut Report, fate: &Fate, reason: &str, message: &str) {
    report.set(READY, Verdict::False, reason, message);
    if fate.stalled {
        report.set(STALLED, Verdict::True, reason, message);
        return;
    }
    report.remove(STALLED);
    if let Some(progress) = report.condition(RECONCILING).map(|condition| condition.message.clone()) {
        report.set(RECONCILING, Verdict::True, reason::PROGRESSING_WITH_RETRY, &progress);
    }
}

fn record(report: &mut Report, origin: &Origin, digest: &str, status: &str, took: Duration) {
    let mut metadata = BTreeMap::from([("revision".to_owned(), origin.revision.clone())]);
    if let Some(revision) = &origin.origin_revision {
        metadata.insert("originRevision".to_owned(), revision.clone());
    }
    let outcome = history::Outcome {
        digest,
        status,
        metadata,
        took,
    };
    history::record(&mut report.status_mut().history, outcome, Timestamp::now());
}
