//! What is told about a Kustomization: what it changed in the cluster, that the objects became healthy, the end of
//! each reconcile, and failures.
//!
//! The changes come from the ring `status.changes`, in the order of their numbers, as soon as they are confirmed and
//! whatever becomes of the rest of the reconcile. If the ring has moved on by more than it holds, the message says how
//! many lists are missing.

mod changes;
mod failure;

use super::failing::{self, Failing};
use super::{Draft, Outcome, Standing, Timing};
use api::Duration;
use api::event::{self, Severity};
use api::kustomize::{Change, Kustomization};
use api::meta::{condition, reason};
use failure::Failure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What of a Kustomization can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Its conditions.
    pub standing: Standing,
    /// `spec.interval`.
    pub interval: Duration,
    /// How long it waits after a failure.
    pub retry: Duration,
    /// What it changed, oldest first.
    pub changes: Vec<Change>,
    /// The number of the change that no status confirmed: presumed, because the object went and nobody saw how.
    pub presumed: Option<i64>,
    /// The revision that was applied last.
    pub applied: Revisions,
    /// The revision that was tried last.
    pub attempted: Option<String>,
    /// The revision its source holds now, where that is known.
    pub source: Revisions,
    /// How the newest reconcile ended.
    pub finished: Option<Finished>,
}

/// A revision, and the one it was itself packed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revisions {
    /// The revision.
    pub revision: Option<String>,
    /// The revision it was packed from.
    pub origin: Option<String>,
}

/// The end of a reconcile, from `status.history`.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Tells it from every other one.
    pub identity: String,
    /// The reason it ended with.
    pub reason: String,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it was about.
    pub revisions: Revisions,
}

/// What was told last about a Kustomization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the change told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<i64>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    changed_at: i64,
    /// The revision that changed objects last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    /// Whether the objects were healthy.
    #[serde(default)]
    healthy: bool,
    /// The revision whose health was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthy_at: Option<String>,
    /// The end of a reconcile told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
    /// The failures since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failing: Option<Failing>,
}

impl Cursor {
    /// Whether the other cursor differs in nothing but the end of reconciles: the only thing that moves while nothing
    /// happens.
    pub(crate) fn differs_only_in_finished(&self, other: &Cursor) -> bool {
        let Cursor {
            change,
            changed_at,
            changed,
            healthy,
            healthy_at,
            finished: _,
            failing,
        } = self;
        *change == other.change
            && *changed_at == other.changed_at
            && *changed == other.changed
            && *healthy == other.healthy
            && *healthy_at == other.healthy_at
            && *failing == other.failing
    }
}

impl Snapshot {
    /// The snapshot of an object whose source holds the given revision.
    pub fn of(object: &Kustomization, source: Revisions) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let finished = status.history.first().map(|newest| Finished {
            identity: format!(
                "{} {} {}",
                newest.digest, newest.total_reconciliations, newest.last_reconciled.0
            ),
            reason: newest.last_reconciled_status.clone(),
            at: newest.last_reconciled.0,
            took: newest.last_reconciled_duration,
            revisions: Revisions {
                revision: newest.metadata.get(event::REVISION).cloned(),
                origin: newest.metadata.get(event::ORIGIN_REVISION).cloned(),
            },
        });
        Snapshot {
            standing: Standing {
                generation: object.metadata.generation.unwrap_or_default(),
                suspended: object.spec.suspend,
                conditions: status.conditions,
            },
            interval: object.spec.interval,
            retry: object.spec.retry_interval.unwrap_or(object.spec.interval),
            changes: status.changes,
            presumed: None,
            applied: Revisions {
                revision: status.last_applied_revision,
                origin: status.last_applied_origin_revision,
            },
            attempted: status.last_attempted_revision,
            source,
            finished,
        }
    }

    /// The revision a failure is about: what was known of it when the failure came about.
    fn failed(&self, reason: &str) -> Revisions {
        match reason {
            reason::ACCESS_DENIED => Revisions::default(),
            reason::DEPENDENCY_NOT_READY | reason::ARTIFACT_FAILED if self.source.revision.is_some() => {
                self.source.clone()
            }
            _ => match &self.finished {
                Some(finished) if finished.reason == reason && finished.revisions.revision == self.attempted => {
                    finished.revisions.clone()
                }
                _ => Revisions {
                    revision: self.attempted.clone(),
                    origin: None,
                },
            },
        }
    }
}

impl Revisions {
    fn metadata(&self) -> Vec<(&'static str, String)> {
        let revision = self.revision.iter().map(|value| (event::REVISION, value.clone()));
        revision
            .chain(self.origin.iter().map(|value| (event::ORIGIN_REVISION, value.clone())))
            .collect()
    }
}

pub(super) fn derive(
    mut cursor: Cursor,
    snapshot: &Snapshot,
    timing: Timing,
) -> (Cursor, Vec<Draft>, Option<Timestamp>) {
    let mut remind_at = None;
    let mut ending = Vec::new();
    let changes = changes::untold(&mut cursor, snapshot);
    match snapshot.standing.outcome() {
        Outcome::Open => {}
        Outcome::Good(_) => {
            cursor.failing = None;
            ending.extend(health(&mut cursor, snapshot));
            ending.extend(end(&mut cursor, snapshot));
        }
        Outcome::Bad { ready, stalled } => {
            cursor.healthy = snapshot.standing.is_true(condition::HEALTHY);
            let failure = Failure::of(&ready.reason, &ready.message, stalled, snapshot, timing);
            let began = ready.last_transition_time.0;
            let (failing, news, next) =
                failing::observe(cursor.failing.take(), &failure.what, began, failure.voice, timing.now);
            (cursor.failing, remind_at) = (Some(failing), next);
            ending.extend(news.map(|news| Draft {
                identity: news.identity,
                fold: news.fold,
                severity: failure.severity,
                at: news.reminder.unwrap_or(began),
                reason: ready.reason.clone(),
                message: failure.message,
                metadata: snapshot.failed(&ready.reason).metadata(),
            }));
        }
    }
    // A failure to apply tells itself what was changed before it.
    let told_by_failure = |draft: &Draft| {
        ending
            .iter()
            .any(|end: &Draft| end.severity == Severity::Error && end.message.contains(&draft.message))
    };
    let mut drafts: Vec<_> = changes.into_iter().filter(|draft| !told_by_failure(draft)).collect();
    drafts.extend(ending);
    (cursor, drafts, remind_at)
}

/// That the objects are healthy, if they were not before or have just been changed.
fn health(cursor: &mut Cursor, snapshot: &Snapshot) -> Option<Draft> {
    let healthy = snapshot
        .standing
        .get(condition::HEALTHY)
        .filter(|healthy| healthy.status == condition::TRUE);
    let was_healthy = std::mem::replace(&mut cursor.healthy, healthy.is_some());
    let healthy = healthy?;
    let applied = &snapshot.applied.revision;
    let changed = cursor.changed == *applied && cursor.healthy_at != *applied;
    if was_healthy && !changed {
        return None;
    }
    cursor.healthy_at = applied.clone();
    let at = healthy.last_transition_time.0;
    Some(Draft {
        identity: vec![
            "healthy".into(),
            applied.clone().unwrap_or_default(),
            at.as_second().to_string(),
        ],
        fold: None,
        severity: Severity::Info,
        at,
        reason: reason::PROGRESSING.into(),
        message: healthy.message.clone(),
        metadata: snapshot.applied.metadata(),
    })
}

/// The end of a reconcile. Chats never see it; webhooks do, every time.
fn end(cursor: &mut Cursor, snapshot: &Snapshot) -> Option<Draft> {
    let finished = snapshot
        .finished
        .as_ref()
        .filter(|end| end.reason == reason::RECONCILIATION_SUCCEEDED)?;
    if cursor.finished.as_deref() == Some(&finished.identity) {
        return None;
    }
    cursor.finished = Some(finished.identity.clone());
    let mut metadata = finished.revisions.metadata();
    metadata.push((event::COMMIT_STATUS, event::COMMIT_STATUS_UPDATE.to_owned()));
    Some(Draft {
        identity: vec!["finished".into(), finished.identity.clone()],
        fold: Some(format!(
            "finished {}",
            finished.revisions.revision.as_deref().unwrap_or_default()
        )),
        severity: Severity::Info,
        at: finished.at,
        reason: reason::RECONCILIATION_SUCCEEDED.into(),
        message: format!(
            "Reconciliation finished in {}, next run in {}",
            finished.took, snapshot.interval
        ),
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, condition, timing};
    use super::*;
    use api::kustomize::{ChangeEntry, ChangeKind};
    use api::meta::Time;

    fn revisions(revision: &str) -> Revisions {
        Revisions {
            revision: Some(revision.into()),
            origin: None,
        }
    }

    fn base() -> Snapshot {
        Snapshot {
            standing: Standing {
                generation: 1,
                ..Standing::default()
            },
            interval: Duration::from_mins(10),
            retry: Duration::from_mins(1),
            attempted: Some("r1".into()),
            ..Snapshot::default()
        }
    }

    fn good(run: i64) -> Snapshot {
        let mut snapshot = base();
        snapshot.standing.conditions = vec![condition(
            "Ready",
            "True",
            "ReconciliationSucceeded",
            "Applied revision: r1",
            50,
        )];
        snapshot.applied = revisions("r1");
        snapshot.finished = Some(Finished {
            identity: format!("digest {run}"),
            reason: "ReconciliationSucceeded".into(),
            at: at(60 + run),
            took: Duration::from_millis(1500),
            revisions: revisions("r1"),
        });
        snapshot
    }

    fn bad(reason: &str, message: &str) -> Snapshot {
        let mut snapshot = base();
        snapshot.standing.conditions = vec![condition("Ready", "False", reason, message, 50)];
        snapshot
    }

    fn change(seq: i64, action: ChangeKind, entries: &[(&str, &str)]) -> Change {
        Change {
            seq,
            time: Time(at(1000 + seq)),
            revision: "r1".into(),
            origin_revision: None,
            action,
            entries: entries
                .iter()
                .map(|(object, action)| ChangeEntry {
                    object: (*object).into(),
                    action: (*action).into(),
                    ..ChangeEntry::default()
                })
                .collect(),
            pending: false,
            truncated: None,
        }
    }

    fn created(seq: i64) -> Change {
        change(seq, ChangeKind::Apply, &[(&format!("ConfigMap/d/{seq}"), "created")])
    }

    /// Feeds snapshots ten seconds apart and gives `severity reason: message` of what is told.
    #[track_caller]
    fn check(snapshots: &[Snapshot], expected: &[&str]) {
        let mut cursor = Cursor::default();
        let mut told = Vec::new();
        for (step, snapshot) in snapshots.iter().enumerate() {
            let (next, drafts, _) = derive(cursor, snapshot, timing(100 + 10 * step as i64));
            cursor = next;
            told.extend(
                drafts
                    .into_iter()
                    .map(|draft| format!("{} {}: {}", draft.severity, draft.reason, draft.message)),
            );
        }
        assert_eq!(told, expected);
    }

    const END: &str = "info ReconciliationSucceeded: Reconciliation finished in 1.5s, next run in 10m0s";

    #[test]
    fn a_reconcile_tells_changes_health_and_end_in_order() {
        let mut snapshot = good(1);
        snapshot.standing.conditions.push(condition(
            "Healthy",
            "True",
            "Succeeded",
            "Health check passed in 2s",
            55,
        ));
        snapshot.changes = vec![
            change(
                1,
                ChangeKind::Apply,
                &[("Namespace/d", "created"), ("ConfigMap/d/a", "configured")],
            ),
            change(
                2,
                ChangeKind::Prune,
                &[("ConfigMap/d/b", "deleted"), ("ConfigMap/d/c", "skipped")],
            ),
        ];
        check(
            &[snapshot.clone(), snapshot],
            &[
                "info Progressing: Namespace/d created\nConfigMap/d/a configured",
                "info Progressing: ConfigMap/d/b deleted\nConfigMap/d/c skipped",
                "info Progressing: Health check passed in 2s",
                END,
            ],
        );
    }

    #[test]
    fn a_correction_of_drift_is_told_after_the_change_it_explains() {
        let mut snapshot = base();
        let mut corrected = change(
            1,
            ChangeKind::Apply,
            &[
                ("Deployment/apps/web", "configured"),
                ("ConfigMap/n/a", "created"),
                ("ConfigMap/n/b", "created"),
            ],
        );
        corrected.entries[0].fields = vec![".spec.replicas".into()];
        corrected.entries[0].manager = Some("kubectl-scale".into());
        corrected.entries[1].fields = vec![ChangeEntry::DELETED.into()];
        snapshot.changes = vec![corrected];
        check(
            &[snapshot],
            &["info Progressing: Deployment/apps/web configured\n\
                 drift corrected: Deployment/apps/web .spec.replicas (changed by kubectl-scale)\n\
                 ConfigMap/n/a created\n\
                 drift corrected: ConfigMap/n/a was deleted and is created again\n\
                 ConfigMap/n/b created"],
        );
    }

    #[test]
    fn every_end_is_told_once() {
        check(&[good(1), good(1), good(2)], &[END, END]);
    }

    #[test]
    fn a_change_is_told_once_it_is_confirmed_even_while_work_goes_on() {
        let mut working = base();
        working.standing.conditions = vec![condition("Reconciling", "True", "Progressing", "", 50)];
        working.changes = vec![Change {
            pending: true,
            ..created(1)
        }];
        let mut confirmed = working.clone();
        confirmed.changes[0].pending = false;
        check(
            &[working, confirmed.clone(), confirmed],
            &["info Progressing: ConfigMap/d/1 created"],
        );
    }

    #[test]
    fn a_change_that_was_never_confirmed_does_not_hold_up_later_ones() {
        let mut snapshot = base();
        snapshot.changes = vec![
            Change {
                pending: true,
                ..created(1)
            },
            created(2),
        ];
        check(&[snapshot], &["info Progressing: ConfigMap/d/2 created"]);
    }

    #[test]
    fn changes_that_left_the_ring_untold_are_counted() {
        let (mut first, mut later) = (base(), base());
        first.changes = vec![created(1)];
        later.changes = vec![created(5)];
        check(
            &[first, later],
            &[
                "info Progressing: ConfigMap/d/1 created",
                "info Progressing: ConfigMap/d/5 created\n(3 earlier lists of changes are not recorded any more)",
            ],
        );
    }

    #[test]
    fn a_count_that_began_anew_is_followed_and_an_old_status_is_not() {
        let (mut first, mut anew) = (base(), base());
        first.changes = vec![created(7)];
        anew.changes = vec![Change {
            time: Time(at(2000)),
            ..created(1)
        }];
        let mut old = base();
        old.changes = vec![created(6)];
        check(
            &[first, old, anew],
            &[
                "info Progressing: ConfigMap/d/7 created",
                "info Progressing: ConfigMap/d/1 created",
            ],
        );
    }

    #[test]
    fn a_list_that_was_cut_says_so() {
        let mut snapshot = base();
        snapshot.changes = vec![Change {
            truncated: Some(12),
            ..created(1)
        }];
        check(&[snapshot], &["info Progressing: ConfigMap/d/1 created\nand 12 more"]);
    }

    #[test]
    fn deletion_is_told_with_the_reason_the_object_had() {
        let mut snapshot = bad("ArtifactFailed", "Source artifact not found, retrying in 30s");
        snapshot.standing.generation = 2;
        snapshot.changes = vec![change(3, ChangeKind::Delete, &[("ConfigMap/d/a", "deleted")])];
        check(&[snapshot], &["info ArtifactFailed: ConfigMap/d/a deleted"]);
    }

    #[test]
    fn a_deletion_that_is_presumed_says_from_what_and_no_other_one_does() {
        let mut snapshot = good(1);
        snapshot.finished = None;
        snapshot.changes = vec![
            change(2, ChangeKind::Delete, &[("ConfigMap/d/a", "deleted")]),
            change(3, ChangeKind::Delete, &[("ConfigMap/d/b", "deleted")]),
        ];
        snapshot.changes[1].truncated = Some(7);
        snapshot.presumed = Some(3);
        check(
            &[snapshot],
            &[
                "info ReconciliationSucceeded: ConfigMap/d/a deleted",
                "info ReconciliationSucceeded: ConfigMap/d/b deleted\nand 7 more\n\
                 (told from the last inventory that was seen)",
            ],
        );
    }

    #[test]
    fn health_is_told_after_a_failure_and_after_a_change_but_not_every_time() {
        let healthy = |run: i64| {
            let mut snapshot = good(run);
            snapshot.finished = None;
            let text = format!("Health check passed in {run}s");
            snapshot
                .standing
                .conditions
                .push(condition("Healthy", "True", "Succeeded", &text, 55 + run));
            snapshot
        };
        let mut changed = healthy(3);
        changed.changes = vec![Change {
            revision: "r2".into(),
            ..created(1)
        }];
        changed.applied = revisions("r2");
        let mut after = healthy(4);
        (after.changes, after.applied) = (changed.changes.clone(), changed.applied.clone());
        let mut unhealthy = bad("HealthCheckFailed", "health check failed after 30s: timeout");
        unhealthy
            .standing
            .conditions
            .push(condition("Healthy", "False", "HealthCheckFailed", "", 58));
        unhealthy.changes = changed.changes.clone();
        let mut again = healthy(6);
        (again.changes, again.applied) = (changed.changes.clone(), changed.applied.clone());
        check(
            &[healthy(1), healthy(2), changed, after, unhealthy, again],
            &[
                "info Progressing: Health check passed in 1s",
                "info Progressing: ConfigMap/d/1 created",
                "info Progressing: Health check passed in 3s",
                "error HealthCheckFailed: health check failed after 30s: timeout",
                "info Progressing: Health check passed in 6s",
            ],
        );
    }

    #[test]
    fn a_failure_with_changing_words_is_told_once_and_again_after_a_success() {
        let failed = |seconds: i64| {
            bad(
                "HealthCheckFailed",
                &format!("health check failed after {seconds}.5s: timeout"),
            )
        };
        check(
            &[failed(30), failed(31), good(1), failed(32)],
            &[
                "error HealthCheckFailed: health check failed after 30.5s: timeout",
                END,
                "error HealthCheckFailed: health check failed after 32.5s: timeout",
            ],
        );
    }

    #[test]
    fn the_same_failure_of_another_revision_is_news() {
        let mut other = bad("BuildFailed", "no such file");
        other.attempted = Some("r2".into());
        check(
            &[bad("BuildFailed", "no such file"), other],
            &["error BuildFailed: no such file", "error BuildFailed: no such file"],
        );
    }

    #[test]
    fn waiting_for_a_source_is_silent_and_other_artifact_failures_are_not() {
        check(
            &[
                bad("ArtifactFailed", "Source artifact not found, retrying in 30s"),
                bad(
                    "ArtifactFailed",
                    "Source is not ready, artifact not found, retrying in 30s",
                ),
                bad(
                    "ArtifactFailed",
                    "GitRepository.source.toolkit.fluxcd.io \"app\" not found",
                ),
                bad(
                    "ArtifactFailed",
                    "failed to verify archive: computed digest doesn't match",
                ),
            ],
            &["error ArtifactFailed: failed to verify archive: computed digest doesn't match"],
        );
    }

    #[test]
    fn waiting_for_dependencies_is_told_once_whichever_it_is() {
        check(
            &[
                bad("DependencyNotReady", "dependency 'd/one' is not ready"),
                bad("DependencyNotReady", "dependency 'd/two' is not ready"),
            ],
            &["info DependencyNotReady: Dependencies do not meet ready condition, retrying in 30s"],
        );
    }

    #[test]
    fn a_cancelled_wait_names_what_cancelled_it() {
        check(
            &[bad(
                "HealthCheckCanceled",
                "New reconciliation triggered by GitRepository/d/app",
            )],
            &[
                "info HealthCheckCanceled: Health checks canceled due to new reconciliation triggered by GitRepository/d/app",
            ],
        );
    }

    #[test]
    fn a_failure_that_lists_the_changes_before_it_tells_them_alone() {
        let mut snapshot = bad(
            "ReconciliationFailed",
            "timeout waiting for: [Widget/d/w]\nConfigMap/d/1 created\n",
        );
        snapshot.changes = vec![created(1)];
        check(
            &[snapshot],
            &["error ReconciliationFailed: timeout waiting for: [Widget/d/w]\nConfigMap/d/1 created\n"],
        );
    }

    #[test]
    fn a_failure_carries_the_revision_it_is_about() {
        let metadata = |mut snapshot: Snapshot| {
            snapshot.source = revisions("r9");
            derive(Cursor::default(), &snapshot, timing(100)).1[0].metadata.clone()
        };
        assert_eq!(metadata(bad("BuildFailed", "x")), [("revision", "r1".to_owned())]);
        assert_eq!(
            metadata(bad("DependencyNotReady", "x")),
            [("revision", "r9".to_owned())]
        );
        assert_eq!(metadata(bad("AccessDenied", "x")), []);
        let end = derive(Cursor::default(), &good(1), timing(100)).1;
        assert_eq!(
            end[0].metadata,
            [("revision", "r1".to_owned()), ("commit_status", "update".to_owned())]
        );
    }

    #[test]
    fn only_the_end_of_reconciles_moves_while_nothing_happens() {
        let (one, ..) = derive(Cursor::default(), &good(1), timing(100));
        let (two, ..) = derive(one.clone(), &good(2), timing(110));
        assert!(one != two && one.differs_only_in_finished(&two));
        let (three, ..) = derive(two.clone(), &bad("BuildFailed", "x"), timing(120));
        assert!(!two.differs_only_in_finished(&three));
    }
}
