//! How a call ends: the only place that turns an outcome into conditions, history, events, metrics and the next call.

use super::run::Run;
use super::settled::{Build, Rest, Settled};
use super::{Kustomizer, Outcome, Report, Success, requested, retry_interval};
use crate::changes::Origin;
use crate::failure::{Failure, Fate, Notice, Retry};
use crate::history;
use crate::holdings::Trust;
use crate::source::SourceRef;
use api::Duration;
use api::kustomize::{GROUP, Kustomization};
use api::meta::condition::{HEALTHY, READY, RECONCILING, STALLED};
use api::meta::reason;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::conditions::Verdict;
use runtime::controller::Next;
use runtime::events::Severity;
use std::collections::BTreeMap;
use std::time::Instant;

/// The pause before a run for what has drifted during the last one.
const SOON: std::time::Duration = std::time::Duration::from_millis(100);

impl Kustomizer {
    pub(super) async fn conclude(
        &self,
        object: &Kustomization,
        mut report: Report,
        run: Option<Run>,
        outcome: Outcome,
    ) -> Next {
        if let Err(error) = report.check() {
            return self.unwritten(object, &report, &error);
        }
        let ended = match outcome {
            Outcome::Wait(delay) => return self.pause(object, report, run, delay).await,
            Outcome::Done(success) => Ok(success),
            Outcome::Failed(failure) => Err(failure),
        };
        let me = super::name(object);
        runtime::lock(&self.watched).forget(&me);
        let started = run.as_ref().map_or_else(Instant::now, |run| run.started);
        let took = Duration::from(started.elapsed());
        let news = ended
            .as_ref()
            .is_ok_and(|success| success.changed || is_news(object, run.as_ref()));
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
            runtime::lock(&self.rests).remove(&object.uid().unwrap_or_default());
            return self.unwritten(object, &report, &error);
        }
        self.rest(object, run.as_ref(), ended.as_ref().err(), next);
        // What has drifted during the run has woken it in vain. What it could not help waits.
        let soon = run
            .as_ref()
            .is_some_and(|run| self.holdings.has_drift(&super::owner(object), Some(run.started)));
        if let Ok(success) = ended {
            self.settle(object, run.as_ref(), success.build, next);
            self.wake_dependents(&me);
        }
        if news {
            let interval = object.spec.interval;
            let message = format!("Reconciliation finished in {took}, next run in {interval}");
            self.tell_commit_status(object, &report, run.as_ref(), &message);
        }
        if soon {
            runtime::lock(&self.rests).remove(&object.uid().unwrap_or_default());
            return Next::After(SOON);
        }
        next
    }

    /// Keeps a run that waits, once what it has done is written down.
    async fn pause(
        &self,
        object: &Kustomization,
        mut report: Report,
        mut run: Option<Run>,
        delay: std::time::Duration,
    ) -> Next {
        let uid = object.uid().unwrap_or_default();
        if let Some(quiet) = run.as_ref().and_then(Run::quiet)
            && let Some(mut run) = run.take()
        {
            run.draft = Some(report);
            runtime::lock(&self.runs).insert(uid, run);
            return Next::After(delay.min(quiet));
        }
        if let Err(error) = report.write().await {
            // Without its facts in the status the run must not go on: it starts over and finds its work done.
            return self.unwritten(object, &report, &error);
        }
        if let Some(run) = run {
            runtime::lock(&self.runs).insert(uid, run);
        }
        Next::After(delay)
    }

    /// Remembers what a success is made of.
    fn settle(&self, object: &Kustomization, run: Option<&Run>, build: Build, next: Next) {
        let (Some(run), Next::After(delay)) = (run, next) else {
            return;
        };
        let verify_every = self.context.policy.verify_every;
        let mut settled = runtime::lock(&self.settled);
        let uid = object.uid().unwrap_or_default();
        let (unverified, rights) = match settled.get(&uid) {
            Some(before) if run.trust != Trust::Nothing => (before.unverified, before.rights),
            Some(_) => (verify_every, run.rights),
            // Those that start together are not verified together ever after.
            None => (verify_every - fastrand::u32(..verify_every.div_ceil(2)), run.rights),
        };
        let after = Settled {
            inputs: run.inputs.clone(),
            build: Some(build),
            due: Instant::now() + delay,
            unverified,
            rights,
        };
        settled.insert(uid, after);
    }

    /// Remembers until when there is nothing to do.
    fn rest(&self, object: &Kustomization, run: Option<&Run>, failure: Option<&Failure>, next: Next) {
        // What waits for something to appear is looked at whenever it is woken.
        let waits = failure.is_some_and(|failure| failure.fate().retry == Retry::AfterDependency);
        let until = match next {
            Next::Event => Some(None),
            Next::After(delay) => Some(Some(Instant::now() + delay)),
            Next::Backoff | Next::Outage => None,
        };
        let mut rests = runtime::lock(&self.rests);
        let uid = object.uid().unwrap_or_default();
        match (run, until) {
            (Some(run), Some(until)) if !waits => rests.insert(
                uid,
                Rest {
                    inputs: run.inputs.clone(),
                    since: if failure.is_some() { run.started } else { Instant::now() },
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
        record(
            report,
            &origin,
            &success.build.digest,
            reason::RECONCILIATION_SUCCEEDED,
            took,
        );
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
        // What was corrected in between does not move the interval.
        let due = runtime::lock(&self.settled)
            .get(&object.uid().unwrap_or_default())
            .filter(|_| run.is_some_and(|run| run.trust == Trust::Truce))
            .map(|settled| settled.due.saturating_duration_since(Instant::now()))
            .filter(|left| *left <= interval.std());
        Next::After(due.unwrap_or_else(|| self.context.policy.interval.spread(interval.std())))
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
                let origin = origin.or_else(|| {
                    self.context
                        .sources
                        .known(&SourceRef::of(object))
                        .as_ref()
                        .map(Origin::of)
                });
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
            Retry::Outage => Next::Outage,
            Retry::AfterFailure => Next::After(retry.std()),
            Retry::AfterDependency => Next::After(pause.std()),
        }
    }

    /// Suspended: nothing is done, but a request is acknowledged.
    pub(super) async fn suspended(&self, object: &Kustomization) -> Next {
        tracing::info!("Reconciliation is suspended for this object");
        let added = runtime::finalizer::add(&self.context.process.client, super::STATUS_MANAGER, object).await;
        let object = match &added {
            Ok(Some(object)) => object.as_ref(),
            Ok(None) => return Next::Event,
            Err(error) => {
                tracing::info!(%error, "cannot add the finalizer, will try again");
                return Next::retry(error);
            }
        };
        let uid = object.uid().unwrap_or_default();
        let me = super::name(object);
        runtime::lock(&self.watched).forget(&me);
        let mut run = runtime::lock(&self.runs).remove(&uid);
        let mut report = self.resume(object, &mut run);
        // What drifts meanwhile is looked at when it is resumed.
        self.holdings.forget(&super::owner(object));
        runtime::lock(&self.settled).remove(&uid);
        runtime::lock(&self.interests).remove(&uid);
        if run.is_some() {
            // What was waited for is not waited for any more.
            report.remove(RECONCILING);
            [READY, HEALTHY].into_iter().for_each(|kind| report.restore(kind));
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
            Err(error) => self.unwritten(object, &report, &error),
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
        self.notice(object, report, None, severity, message, origin, BTreeMap::new());
    }

    /// Warns people, with a reason of its own.
    pub(super) fn warn(&self, object: &Kustomization, report: &Report, reason: &str, message: &str, origin: &Origin) {
        let (severity, annotations) = (Severity::Error, BTreeMap::new());
        self.notice(
            object,
            report,
            Some(reason),
            severity,
            message,
            Some(origin),
            annotations,
        );
    }

    fn tell_commit_status(&self, object: &Kustomization, report: &Report, run: Option<&Run>, message: &str) {
        let status = BTreeMap::from([(format!("{GROUP}/commit_status"), "update".to_owned())]);
        self.notice(
            object,
            report,
            None,
            Severity::Info,
            message,
            run.map(Run::origin).as_ref(),
            status,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each of them differs per caller")]
    fn notice(
        &self,
        object: &Kustomization,
        report: &Report,
        reason: Option<&str>,
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
        let ready = report.condition(READY).map(|ready| ready.reason.as_str());
        let reason = reason.or(ready).unwrap_or(fallback).to_owned();
        let notice = runtime::events::Notice {
            severity,
            reason,
            message: message.to_owned(),
            annotations,
        };
        self.context.process.recorder.tell(object, notice);
    }
}

/// Whether a success that changed nothing is worth an event: not the one of an interval, or of a revision, that found
/// everything as it was. The status tells of these.
fn is_news(object: &Kustomization, run: Option<&Run>) -> bool {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
    let was_ready = runtime::conditions::is(conditions.unwrap_or_default(), READY, Verdict::True);
    !was_ready || run.is_none_or(|run| run.trust == Trust::Nothing)
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
