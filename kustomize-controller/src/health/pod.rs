//! Pods.

use super::Status;
use super::field::{self, Malformed};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long a pod may be without a node before that counts as a failure.
const SCHEDULE_WINDOW: SignedDuration = SignedDuration::from_secs(15);

pub(super) fn status(object: &Value, now: Timestamp) -> Result<Status, Malformed> {
    let conditions = field::conditions(object)?;
    match field::text(object, "/status/phase") {
        // A pod that has ended is as it should be even if its program was not; what runs the pod says so.
        "Succeeded" => Ok(Status::current("it has succeeded")),
        "Failed" => Ok(Status::current("it has ended without success")),
        "Running"
            if conditions
                .iter()
                .any(|condition| condition.name == "Ready" && condition.is_true()) =>
        {
            Ok(Status::current("it is ready"))
        }
        "Running" => Ok(match crashing(object) {
            names if names.is_empty() => Status::in_progress("it runs but is not ready"),
            names => Status::failed(format!("containers that keep crashing: {}", names.join(", "))),
        }),
        "Pending" if waits_for_node(object) => Ok(match age(object, now) {
            Some(age) if age < SCHEDULE_WINDOW => Status::in_progress("it waits for a node"),
            _ => Status::failed("no node can take it"),
        }),
        "Pending" => Ok(Status::in_progress("it is pending")),
        "" => Ok(Status::in_progress("it has no phase")),
        _ => Err(Malformed::new("status.phase", "a phase that says how it does")),
    }
}

/// Whether the scheduler has found no node for a pod. More nodes may come.
pub(super) fn waits_for_node(object: &Value) -> bool {
    let decided = field::conditions(object).unwrap_or_default().into_iter();
    decided
        .filter(|condition| condition.name == "PodScheduled")
        .any(|condition| condition.is_false() && condition.reason == "Unschedulable")
}

/// The age of a pod; nothing when it does not say when it was created.
fn age(object: &Value, now: Timestamp) -> Option<SignedDuration> {
    let created: Timestamp = field::text(object, "/metadata/creationTimestamp").parse().ok()?;
    Some(now.duration_since(created))
}

/// The names of the containers that wait before they are started once more.
fn crashing(object: &Value) -> Vec<&str> {
    let containers = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    let waits = |container: &&Value| field::text(container, "/state/waiting/reason") == "CrashLoopBackOff";
    containers
        .into_iter()
        .flatten()
        .filter(waits)
        .filter_map(|container| container["name"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: v1, kind: Pod", fields, expected, message);
    }

    #[test]
    fn a_pod_that_has_ended_is_current_whatever_came_of_it() {
        check("status: {phase: Succeeded}", Kind::Current, "it has succeeded");
        check("status: {phase: Failed}", Kind::Current, "it has ended without success");
    }

    #[test]
    fn a_running_pod_has_to_be_ready() {
        let ready = "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}";
        check(ready, Kind::Current, "it is ready");
        let unready = "status: {phase: Running, conditions: [{type: Ready, status: 'False'}]}";
        check(unready, Kind::InProgress, "it runs but is not ready");
        check("status: {phase: Running}", Kind::InProgress, "it runs but is not ready");
    }

    #[test]
    fn a_pod_with_crashing_containers_has_failed_unless_it_is_ready() {
        let with = |condition: &str| {
            format!(
                "status: {{phase: Running, conditions: [{condition}], containerStatuses: [
                {{name: a, state: {{waiting: {{reason: CrashLoopBackOff}}}}}}, {{name: b, state: {{running: {{}}}}}},
                {{name: c, state: {{waiting: {{reason: CrashLoopBackOff}}}}}}]}}"
            )
        };
        check(&with(""), Kind::Failed, "containers that keep crashing: a, c");
        check(&with("{type: Ready, status: 'True'}"), Kind::Current, "it is ready");
    }

    #[test]
    fn containers_that_wait_for_something_else_or_make_no_sense_do_not_fail_a_pod() {
        for containers in [
            "[{name: a, state: {waiting: {reason: ImagePullBackOff}}}]",
            "[{state: {waiting: {reason: CrashLoopBackOff}}}]",
            "[{name: a, state: 7}, text, null, {name: [], state: {waiting: {reason: CrashLoopBackOff}}}]",
            "text",
        ] {
            let fields = format!("status: {{phase: Running, containerStatuses: {containers}}}");
            check(&fields, Kind::InProgress, "it runs but is not ready");
        }
    }

    #[test]
    fn a_pod_has_fifteen_seconds_to_find_a_node() {
        let created = |time: &str| {
            format!(
                "metadata: {{creationTimestamp: '{time}'}}, status: {{phase: Pending,
                conditions: [{{type: PodScheduled, status: 'False', reason: Unschedulable}}]}}"
            )
        };
        check(
            &created("2026-11-21T11:59:46Z"),
            Kind::InProgress,
            "it waits for a node",
        );
        check(
            &created("2026-11-21T12:00:05Z"),
            Kind::InProgress,
            "it waits for a node",
        );
        check(&created("2026-11-21T11:59:45Z"), Kind::Failed, "no node can take it");
        check(&created("2025-11-21T12:00:00Z"), Kind::Failed, "no node can take it");
        check(&created("yesterday"), Kind::Failed, "no node can take it");
    }

    #[test]
    fn a_pending_pod_that_has_a_node_or_was_not_looked_at_is_in_progress() {
        for conditions in [
            "",
            "{type: PodScheduled, status: 'True'}",
            "{type: PodScheduled, status: 'False', reason: SchedulingGated}",
            "{type: PodScheduled, status: Unknown, reason: Unschedulable}",
        ] {
            let fields = format!("status: {{phase: Pending, conditions: [{conditions}]}}");
            check(&fields, Kind::InProgress, "it is pending");
        }
    }

    #[test]
    fn a_pod_nobody_has_seen_is_in_progress_and_one_nobody_knows_about_is_unknown() {
        check("status: {}", Kind::InProgress, "it has no phase");
        check("spec: {}", Kind::InProgress, "it has no phase");
        check(
            "status: {phase: Unknown}",
            Kind::Unknown,
            "status.phase is not a phase that says how it does",
        );
    }
}
