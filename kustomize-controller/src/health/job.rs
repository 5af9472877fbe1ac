//! Jobs, as Flux reads them: a job is done when it has completed, not when it has started as in stock kstatus.
//!
//! The rules that hold for other kinds do not hold here: a completed job that is being deleted is still done.

use super::Status;
use super::field::{self, Malformed};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    if object.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return Ok(Status::current("it is suspended"));
    }
    let number = |pointer| field::int(object, pointer).unwrap_or(0);
    let parallelism = field::int(object, "/spec/parallelism").unwrap_or(1);
    let completions = field::int(object, "/spec/completions").unwrap_or(parallelism);
    let (succeeded, failed) = (number("/status/succeeded"), number("/status/failed"));
    for condition in field::conditions(object)?
        .iter()
        .filter(|condition| condition.is_true())
    {
        match condition.name {
            "Complete" => {
                return Ok(Status::current(format!(
                    "{succeeded} of {completions} pods have succeeded"
                )));
            }
            "Failed" => {
                return Ok(Status::failed(format!(
                    "{failed} pods have failed, {completions} must succeed"
                )));
            }
            _ => {}
        }
    }
    Ok(Status::in_progress(match field::text(object, "/status/startTime") {
        "" => "it has not started".to_owned(),
        _ => format!(
            "pods: {succeeded} succeeded, {} active, {failed} failed",
            number("/status/active")
        ),
    }))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: batch/v1, kind: Job", fields, expected, message);
    }

    #[test]
    fn a_suspended_job_is_current() {
        let failed = "status: {conditions: [{type: Failed, status: 'True'}]}";
        check(
            &format!("spec: {{suspend: true}}, {failed}"),
            Kind::Current,
            "it is suspended",
        );
        check("spec: {suspend: false}", Kind::InProgress, "it has not started");
        check("spec: {suspend: 'true'}", Kind::InProgress, "it has not started");
    }

    #[test]
    fn a_completed_job_is_current() {
        let fields = "spec: {completions: 3}, status: {succeeded: 3, conditions: [
            {type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]}";
        check(fields, Kind::Current, "3 of 3 pods have succeeded");
        let fields = "spec: {parallelism: 2}, status: {succeeded: 2, conditions: [{type: Complete, status: 'True'}]}";
        check(fields, Kind::Current, "2 of 2 pods have succeeded");
    }

    #[test]
    fn a_completed_job_is_current_even_when_it_is_being_deleted() {
        let fields = "metadata: {deletionTimestamp: '2026-11-21T11:00:00Z'},
            status: {succeeded: 1, conditions: [{type: Complete, status: 'True'}]}";
        check(fields, Kind::Current, "1 of 1 pods have succeeded");
    }

    #[test]
    fn a_failed_job_has_failed() {
        let fields =
            "status: {failed: 7, conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}]}";
        check(fields, Kind::Failed, "7 pods have failed, 1 must succeed");
    }

    #[test]
    fn a_job_that_runs_is_in_progress() {
        check("spec: {}", Kind::InProgress, "it has not started");
        let running = "startTime: '2026-11-21T11:00:00Z', active: 2, succeeded: 1, failed: 3";
        let message = "pods: 1 succeeded, 2 active, 3 failed";
        check(&format!("status: {{{running}}}"), Kind::InProgress, message);
        let undecided = "conditions: [{type: Complete, status: 'False'}, {type: Failed, status: 'False'}]";
        check(
            &format!("status: {{{running}, {undecided}}}"),
            Kind::InProgress,
            message,
        );
        let failing = "conditions: [{type: FailureTarget, status: 'True'}]";
        check(&format!("status: {{{running}, {failing}}}"), Kind::InProgress, message);
    }
}
