//! How a failed reconcile is told: how loud, how bad, in which words.

use super::Snapshot;
use crate::derive::Timing;
use crate::derive::failing::Voice;
use api::event::Severity;
use api::meta::reason;

/// What the message about missing dependencies says besides: Flux's default of `--requeue-dependency`.
const REQUEUE_DEPENDENCY: &str = "30s";
/// What the condition of a cancelled wait begins with, and what its event begins with.
const CANCELED: (&str, &str) = (
    "New reconciliation triggered by ",
    "Health checks canceled due to new reconciliation triggered by ",
);

/// A failure as it is told.
pub(super) struct Failure {
    /// What tells it from other failures.
    pub(super) what: String,
    /// How loud it is.
    pub(super) voice: Voice,
    /// How bad it is.
    pub(super) severity: Severity,
    /// What is said about it.
    pub(super) message: String,
}

impl Failure {
    pub(super) fn of(reason: &str, message: &str, stalled: bool, snapshot: &Snapshot, timing: Timing) -> Self {
        let revision = snapshot.attempted.as_deref().unwrap_or_default();
        let error = Failure {
            what: format!("{reason} {revision} {message}"),
            // Nothing is tried more often than the retry interval says.
            voice: if stalled {
                Voice::Once
            } else {
                Voice::Every(timing.remind.max(snapshot.retry.std()))
            },
            severity: Severity::Error,
            message: message.to_owned(),
        };
        match reason {
            reason::DEPENDENCY_NOT_READY => Failure {
                what: reason.to_owned(),
                voice: Voice::Every(timing.remind),
                severity: Severity::Info,
                message: format!("Dependencies do not meet ready condition, retrying in {REQUEUE_DEPENDENCY}"),
            },
            reason::HEALTH_CHECK_CANCELED => Failure {
                voice: Voice::Once,
                severity: Severity::Info,
                message: match message.strip_prefix(CANCELED.0) {
                    Some(trigger) => format!("{}{trigger}", CANCELED.1),
                    None => message.to_owned(),
                },
                ..error
            },
            reason::ARTIFACT_FAILED if waits_for_source(message) => Failure {
                voice: Voice::Silent,
                ..error
            },
            _ => error,
        }
    }
}

/// Whether the message is one of those that Flux keeps to the condition: the source is not there yet.
fn waits_for_source(message: &str) -> bool {
    let is_missing_object = message.split_once(".source.").is_some_and(|(kind, rest)| {
        kind.chars().all(|c| c.is_ascii_alphanumeric()) && rest.ends_with(" not found") && !rest.contains('\n')
    });
    is_missing_object
        || message.starts_with("Source artifact not found, retrying in ")
        || message.starts_with("Source is not ready, artifact not found, retrying in ")
}
