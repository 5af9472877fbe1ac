//! Kinds without rules of their own: the condition Ready, if they have it.

use super::Status;
use super::field::{self, Malformed};
use serde_json::Value;

/// An object without the condition is as good as it gets.
pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    let conditions = field::conditions(object)?;
    let decided = conditions
        .into_iter()
        .filter(|condition| condition.name == "Ready")
        .find_map(|condition| match condition.status {
            "True" => Some(Status::current("it is ready")),
            "False" | "Unknown" => Some(Status::in_progress(condition.message)),
            _ => None,
        });
    Ok(decided.unwrap_or_else(|| Status::current("it has no condition Ready")))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: example.test/v1, kind: Widget", fields, expected, message);
    }

    #[test]
    fn ready_decides() {
        check(
            "status: {conditions: [{type: Ready, status: 'True', message: M}]}",
            Kind::Current,
            "it is ready",
        );
        check(
            "status: {conditions: [{type: Ready, status: 'False', message: M}]}",
            Kind::InProgress,
            "M",
        );
        check(
            "status: {conditions: [{type: Ready, status: Unknown, message: M}]}",
            Kind::InProgress,
            "M",
        );
    }

    #[test]
    fn without_ready_an_object_is_current() {
        let message = "it has no condition Ready";
        check("spec: {}", Kind::Current, message);
        check("status: {conditions: []}", Kind::Current, message);
        check(
            "status: {conditions: [{type: Synced, status: 'False'}]}",
            Kind::Current,
            message,
        );
        check(
            "status: {conditions: [{type: Ready, status: perhaps}]}",
            Kind::Current,
            message,
        );
    }

    #[test]
    fn an_object_of_flux_that_retries_is_in_progress_and_fails_only_when_stalled() {
        let retrying = "metadata: {generation: 1}, status: {observedGeneration: 1, conditions: [
            {type: Reconciling, status: 'True', reason: ProgressingWithRetry, message: again},
            {type: Ready, status: 'False', message: broken}]}";
        check(retrying, Kind::InProgress, "again");
        let failing = "status: {conditions: [{type: Ready, status: 'False', message: broken}]}";
        check(failing, Kind::InProgress, "broken");
        let stalled = "status: {conditions: [{type: Ready, status: 'False', message: broken},
            {type: Stalled, status: 'True', message: never}]}";
        check(stalled, Kind::Failed, "never");
    }
}
