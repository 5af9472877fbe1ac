//! What is told about a GitRepository: new artifacts, failures, and that a failure is over.
//!
//! Artifacts that were replaced between two looks are not told one by one; the newest one is.

use super::failing::{self, Failing, Voice};
use super::{Draft, Outcome, Standing, Timing};
use api::event::{self, Severity};
use api::meta::{key, reason};
use api::source::GitRepository;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most characters of a commit's subject in a message.
const SUBJECT: usize = 50;

/// What of a GitRepository can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Its conditions.
    pub standing: Standing,
    /// Its artifact.
    pub artifact: Option<Artifact>,
}

/// The facts of an artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Digest of the file.
    pub digest: String,
    /// The revision it holds.
    pub revision: String,
    /// The subject of the commit, where the status has it.
    pub subject: Option<String>,
    /// When it was stored.
    pub stored: Timestamp,
}

/// What was told last about a GitRepository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The artifact told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// The failures since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failing: Option<Failing>,
}

impl Snapshot {
    /// The snapshot of an object.
    pub fn of(object: &GitRepository) -> Self {
        let status = object.status.as_ref();
        Snapshot {
            standing: Standing {
                generation: object.metadata.generation.unwrap_or_default(),
                suspended: object.spec.suspend,
                conditions: status.map(|status| status.conditions.clone()).unwrap_or_default(),
            },
            artifact: status
                .and_then(|status| status.artifact.as_ref())
                .map(|artifact| Artifact {
                    digest: artifact.digest.clone(),
                    revision: artifact.revision.clone(),
                    subject: artifact.metadata.get(key::COMMIT_SUBJECT).cloned(),
                    stored: artifact.last_update_time.0,
                }),
        }
    }
}

pub(super) fn derive(
    mut cursor: Cursor,
    snapshot: &Snapshot,
    timing: Timing,
) -> (Cursor, Vec<Draft>, Option<Timestamp>) {
    let mut drafts = Vec::new();
    let mut remind_at = None;
    match snapshot.standing.outcome() {
        Outcome::Open => {}
        Outcome::Good(ready) => {
            let recovered = cursor.failing.take();
            if let Some(artifact) = &snapshot.artifact {
                let is_new = cursor.digest.as_deref() != Some(&artifact.digest);
                let metadata = vec![(event::REVISION, artifact.revision.clone())];
                if is_new {
                    drafts.push(Draft {
                        identity: vec![
                            "artifact".into(),
                            artifact.revision.clone(),
                            artifact.digest.clone(),
                            artifact.stored.as_second().to_string(),
                        ],
                        fold: None,
                        severity: Severity::Info,
                        at: artifact.stored,
                        reason: reason::NEW_ARTIFACT.into(),
                        message: stored(artifact, true),
                        metadata,
                    });
                } else if let Some(failing) = recovered {
                    let moved = cursor.revision.as_deref() != Some(&artifact.revision);
                    drafts.push(Draft {
                        identity: vec!["recovered".into(), failing.since().to_string()],
                        fold: None,
                        severity: Severity::Info,
                        at: ready.last_transition_time.0,
                        reason: reason::SUCCEEDED.into(),
                        message: stored(artifact, moved),
                        metadata,
                    });
                }
                cursor.digest = Some(artifact.digest.clone());
                cursor.revision = Some(artifact.revision.clone());
            }
        }
        Outcome::Bad { ready, stalled } => {
            let voice = match ready.reason.as_str() {
                // An include that is not there yet is waited for.
                reason::NOT_FOUND | reason::NO_ARTIFACT => Voice::Silent,
                _ if stalled => Voice::Once,
                _ => Voice::Every(timing.remind),
            };
            let what = format!("{} {}", ready.reason, ready.message);
            let began = ready.last_transition_time.0;
            let (failing, news, next) = failing::observe(cursor.failing.take(), &what, began, voice, timing.now);
            (cursor.failing, remind_at) = (Some(failing), next);
            drafts.extend(news.map(|news| Draft {
                identity: news.identity,
                fold: news.fold,
                severity: Severity::Error,
                at: news.reminder.unwrap_or(began),
                reason: ready.reason.clone(),
                message: ready.message.clone(),
                metadata: Vec::new(),
            }));
        }
    }
    (cursor, drafts, remind_at)
}

/// The commit is named by its subject where it was just read, else by its revision.
fn stored(artifact: &Artifact, read: bool) -> String {
    let commit = match &artifact.subject {
        Some(subject) if read => match subject.char_indices().nth(SUBJECT) {
            Some((end, _)) => format!("{}...", &subject[..end]),
            None => subject.clone(),
        },
        _ => artifact.revision.clone(),
    };
    format!("stored artifact for commit '{commit}'")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, condition, timing};
    use super::*;

    fn snapshot(status: &str, reason: &str, message: &str, digest: Option<&str>) -> Snapshot {
        Snapshot {
            standing: Standing {
                generation: 1,
                suspended: false,
                conditions: vec![condition("Ready", status, reason, message, 50)],
            },
            artifact: digest.map(|digest| Artifact {
                digest: digest.into(),
                revision: format!("main@sha1:{digest}"),
                subject: Some("a subject".into()),
                stored: at(40),
            }),
        }
    }

    fn good(digest: &str) -> Snapshot {
        snapshot("True", "Succeeded", "stored artifact", Some(digest))
    }

    fn bad(reason: &str, message: &str, digest: Option<&str>) -> Snapshot {
        snapshot("False", reason, message, digest)
    }

    /// Feeds snapshots ten seconds apart and gives `reason: message` of what is told.
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
                    .map(|draft| format!("{}: {}", draft.reason, draft.message)),
            );
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn a_new_digest_is_a_new_artifact_and_the_same_one_is_nothing() {
        let stored = "NewArtifact: stored artifact for commit 'a subject'";
        check(&[good("a"), good("a"), good("b"), good("a")], &[stored, stored, stored]);
    }

    #[test]
    fn the_end_of_a_failure_is_told_with_the_revision_that_stayed() {
        check(
            &[
                good("a"),
                bad("GitOperationFailed", "no route", Some("a")),
                good("a"),
                good("a"),
            ],
            &[
                "NewArtifact: stored artifact for commit 'a subject'",
                "GitOperationFailed: no route",
                "Succeeded: stored artifact for commit 'main@sha1:a'",
            ],
        );
    }

    #[test]
    fn a_new_artifact_after_a_failure_says_it_all() {
        check(
            &[bad("GitOperationFailed", "no route", None), good("a")],
            &[
                "GitOperationFailed: no route",
                "NewArtifact: stored artifact for commit 'a subject'",
            ],
        );
    }

    #[test]
    fn the_same_failure_after_a_recovery_is_news() {
        let failed = bad("GitOperationFailed", "no route", Some("a"));
        check(
            &[failed.clone(), failed.clone(), good("a"), failed],
            &[
                "GitOperationFailed: no route",
                "NewArtifact: stored artifact for commit 'a subject'",
                "GitOperationFailed: no route",
            ],
        );
    }

    #[test]
    fn a_missing_include_is_waited_for_in_silence() {
        check(
            &[bad("NoArtifact", "no artifact available for include 'lib'", None)],
            &[],
        );
    }

    #[test]
    fn an_artifact_that_was_lost_and_stored_again_is_no_news() {
        let mut lost = good("a");
        lost.artifact = None;
        check(
            &[good("a"), lost, good("a")],
            &["NewArtifact: stored artifact for commit 'a subject'"],
        );
    }

    #[test]
    fn a_long_subject_is_cut_at_fifty_characters() {
        let artifact = Artifact {
            digest: String::new(),
            revision: "r".into(),
            subject: Some("é".repeat(51)),
            stored: at(0),
        };
        assert_eq!(
            stored(&artifact, true),
            format!("stored artifact for commit '{}...'", "é".repeat(50))
        );
        let cut = Artifact {
            subject: Some(format!("{}...", "é".repeat(50))),
            ..artifact
        };
        assert_eq!(
            stored(&cut, true),
            format!("stored artifact for commit '{}...'", "é".repeat(50))
        );
    }

    #[test]
    fn times_come_from_the_status() {
        let (_, drafts, _) = derive(Cursor::default(), &good("a"), timing(100));
        assert_eq!(drafts[0].at, at(40));
        let (_, drafts, remind) = derive(Cursor::default(), &bad("Failed", "x", None), timing(100));
        assert_eq!((drafts[0].at, remind), (at(50), Some(at(400))));
    }
}
