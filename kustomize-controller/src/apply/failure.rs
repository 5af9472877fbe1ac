//! Why a stage came to nothing: every object that failed, in Flux's words.

use super::change::ChangeSet;
use super::mask::masked;
use crate::cluster::ApiError;
use crate::inventory::{ObjectId, Owned};
use serde_json::Value;
use std::fmt;

/// How much text of a stage's failures is shown, in bytes: what fits into a condition.
const MAX_TEXT: usize = 32 * 1024;

/// An object that could not be applied.
#[derive(Clone, Debug)]
pub struct ObjectFailure {
    /// Which one.
    pub id: ObjectId,
    /// The line about it, which names it.
    pub message: String,
    /// What the API server said.
    pub cause: ApiError,
    /// The object, if it may have been written nevertheless: the API server failed while it was at it, or its answer
    /// was lost.
    pub uncertain: Option<Owned>,
}

/// In which step it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Query,
    DryRun,
    Cleanup,
    Delete,
    Apply,
}

impl ObjectFailure {
    /// A failure about a manifest; values of Secrets are taken out of the API server's text.
    pub(super) fn new(step: Step, object: &Value, cause: ApiError) -> Self {
        let id = ObjectId::of(object);
        let text = masked(&cause.to_string(), object);
        let cause = cause.with_message(text.clone());
        let what = match step {
            Step::Query => "query failed".to_owned(),
            Step::DryRun if cause.is_not_found() && id.namespace.is_empty() => "namespace not specified".to_owned(),
            Step::DryRun if cause.is_not_found() => "not found".to_owned(),
            Step::DryRun if cause.reason().is_empty() => "dry-run failed".to_owned(),
            Step::DryRun => format!("dry-run failed ({})", cause.reason()),
            Step::Cleanup => "metadata.managedFields cleanup failed".to_owned(),
            Step::Delete => "immutable field detected, failed to delete object".to_owned(),
            Step::Apply => "apply failed".to_owned(),
        };
        let uncertain = step == Step::Apply && cause.is_uncertain();
        ObjectFailure {
            message: format!("{id} {what}: {text}"),
            id,
            cause,
            uncertain: uncertain.then(|| Owned::of(object)),
        }
    }
}

/// A stage that failed.
///
/// Displayed, it is the lines of its errors. Flux shows the first error alone.
#[derive(Clone, Debug)]
pub struct StageFailure {
    /// All that failed, in the order of the stage; never empty.
    pub errors: Vec<ObjectFailure>,
    /// What of the stage was done nevertheless: nothing, unless the dry runs all went well and a real apply failed.
    pub applied: ChangeSet,
}

impl StageFailure {
    /// Whether the API server itself went away: worth another try soon, without the manifests being to blame, and nobody
    /// knows what was done. One object that says so is enough: what else failed may have failed for that, and fails
    /// again if it did not.
    pub fn is_outage(&self) -> bool {
        self.errors.iter().any(|error| error.cause.is_outage())
    }

    /// The objects that may have been written although an error was answered.
    pub fn uncertain(&self) -> Vec<Owned> {
        self.errors.iter().filter_map(|error| error.uncertain.clone()).collect()
    }

    /// The objects whose kind is not served, or not any more: worth another try when definitions change.
    pub fn no_matches(&self) -> impl Iterator<Item = &ObjectFailure> {
        // What lacks a namespace is answered like what is not served.
        let gone = |error: &ObjectFailure| error.cause.is_not_served() && !error.id.namespace.is_empty();
        let going = |error: &ObjectFailure| error.cause.is_about_terminating_definition();
        let lacks = move |error: &&ObjectFailure| error.cause.is_no_match() || gone(error) || going(error);
        self.errors.iter().filter(lacks)
    }
}

impl StageFailure {
    /// The lines of the errors, each followed by what is known of its object's origin.
    pub fn text(&self, origin: impl Fn(&ObjectId) -> String) -> String {
        let mut text = String::new();
        for (index, error) in self.errors.iter().enumerate() {
            let line = format!("{}{}", error.message, origin(&error.id));
            if index > 0 && text.len() + line.len() + 1 > MAX_TEXT {
                return format!("{text}\nand {} more", self.errors.len() - index);
            }
            if index > 0 {
                text.push('\n');
            }
            text.push_str(&line);
        }
        text
    }
}

impl fmt::Display for StageFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text(|_| String::new()))
    }
}

impl std::error::Error for StageFailure {}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    fn status(reason: &str, code: u16) -> ApiError {
        ApiError::Status(Status::failure("why", reason).with_code(code).boxed())
    }

    #[track_caller]
    fn check(step: Step, namespace: &str, cause: ApiError, expected: &str) {
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": namespace } });
        assert_eq!(ObjectFailure::new(step, &object, cause).message, expected);
    }

    #[test]
    fn texts_read_as_in_flux() {
        check(
            Step::DryRun,
            "n",
            status("Invalid", 422),
            "ConfigMap/n/a dry-run failed (Invalid): why",
        );
        check(Step::DryRun, "n", status("", 500), "ConfigMap/n/a dry-run failed: why");
        check(
            Step::DryRun,
            "n",
            status("NotFound", 404),
            "ConfigMap/n/a not found: why",
        );
        check(
            Step::DryRun,
            "",
            status("NotFound", 404),
            "ConfigMap/a namespace not specified: why",
        );
        check(
            Step::Apply,
            "n",
            status("Forbidden", 403),
            "ConfigMap/n/a apply failed: why",
        );
        check(
            Step::Cleanup,
            "n",
            status("Conflict", 409),
            "ConfigMap/n/a metadata.managedFields cleanup failed: why",
        );
        let text = "ConfigMap/n/a immutable field detected, failed to delete object: why";
        check(Step::Delete, "n", status("Forbidden", 403), text);
        let cause = ApiError::NoMatch {
            kind: "X".into(),
            api_version: "g/v1".into(),
        };
        check(
            Step::DryRun,
            "n",
            cause,
            "ConfigMap/n/a dry-run failed: no matches for kind \"X\" in version \"g/v1\"",
        );
    }

    #[test]
    fn a_secrets_values_are_in_neither_text_nor_cause() {
        let object =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" }, "data": { "k": "hunter2" } });
        let cause = ApiError::Status(Status::failure("bad hunter2", "Invalid").with_code(422).boxed());
        let failure = ObjectFailure::new(Step::DryRun, &object, cause);
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }

    /// Whether a real apply that ends in this is an outage, and whether the object may have been written.
    #[track_caller]
    fn check_apply(cause: ApiError, outage: bool, uncertain: bool) {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
        let failure = StageFailure {
            errors: vec![
                ObjectFailure::new(Step::Apply, &object, status("Invalid", 422)),
                ObjectFailure::new(Step::Apply, &object, cause),
            ],
            applied: ChangeSet::default(),
        };
        assert_eq!(
            (failure.is_outage(), failure.uncertain().len()),
            (outage, usize::from(uncertain)),
            "{failure}"
        );
    }

    #[test]
    fn a_lost_api_server_is_an_outage_and_a_part_of_it_is_not() {
        check_apply(ApiError::Unreachable("cut off".into()), true, true);
        check_apply(status("ServiceUnavailable", 503), true, true);
        check_apply(status("Invalid", 422), false, false);
        check_apply(ApiError::Stale("g/v1".into()), false, false);
        let aggregated = crate::cluster::refusal(503, b"service unavailable", "patch widgets.g a");
        check_apply(aggregated, false, true);
    }

    #[test]
    fn very_many_errors_are_counted_instead_of_shown() {
        let object = json!({ "kind": "ConfigMap", "metadata": { "name": "a".repeat(1000) } });
        let errors = vec![ObjectFailure::new(Step::Apply, &object, status("Invalid", 422)); 100];
        let text = StageFailure {
            errors,
            applied: ChangeSet::default(),
        }
        .to_string();
        assert!(text.len() < MAX_TEXT + 100 && text.ends_with("more"), "{}", text.len());
    }
}
