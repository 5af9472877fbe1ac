//! Deployments. They fail when they say that their deadline has passed; their pods are not looked at.

use super::Status;
use super::field::{self, Malformed};
use super::replicas::{too_few, too_many};
use serde_json::Value;

/// What the Deployment controller takes for no deadline: it sets no condition Progressing then.
const NO_DEADLINE: i64 = i32::MAX as i64;

pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    let deadline = field::int(object, "/spec/progressDeadlineSeconds").unwrap_or(NO_DEADLINE);
    let mut rolled_out = deadline == NO_DEADLINE;
    let mut available = false;
    for condition in field::conditions(object)? {
        match condition.name {
            "Progressing" if condition.reason == "ProgressDeadlineExceeded" => {
                return Ok(Status::failed("the rollout takes longer than its deadline allows"));
            }
            "Progressing" => rolled_out |= condition.is_true() && condition.reason == "NewReplicaSetAvailable",
            "Available" => available |= condition.is_true(),
            _ => {}
        }
    }
    let number = |pointer| field::int(object, pointer).unwrap_or(0);
    let wanted = field::int(object, "/spec/replicas").unwrap_or(1);
    let there = number("/status/replicas");
    let updated = number("/status/updatedReplicas");
    let unfinished = too_few(there, wanted, "there")
        .or_else(|| too_few(updated, wanted, "updated"))
        .or_else(|| too_many(there, wanted))
        .or_else(|| too_few(number("/status/availableReplicas"), updated, "available"))
        .or_else(|| too_few(number("/status/readyReplicas"), wanted, "ready"))
        .or_else(|| (!rolled_out).then(|| Status::in_progress("the new ReplicaSet is not available")))
        .or_else(|| (!available).then(|| Status::in_progress("the Deployment is not available")));
    Ok(unfinished.unwrap_or_else(|| Status::current(format!("{there} pods are available"))))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: apps/v1, kind: Deployment", fields, expected, message);
        crate::health::tests::check(
            "apiVersion: extensions/v1beta1, kind: Deployment",
            fields,
            expected,
            message,
        );
    }

    #[track_caller]
    fn check_numbers(numbers: &str, expected: Kind, message: &str) {
        let fields =
            format!("spec: {{replicas: 2, progressDeadlineSeconds: 600}}, status: {{{numbers}, {CONDITIONS}}}");
        check(&fields, expected, message);
    }

    const CONDITIONS: &str = "conditions: [{type: Progressing, status: 'True', reason: NewReplicaSetAvailable},
        {type: Available, status: 'True', reason: MinimumReplicasAvailable}]";
    const ALL: &str = "replicas: 2, updatedReplicas: 2, availableReplicas: 2, readyReplicas: 2";

    #[test]
    fn a_deployment_whose_pods_are_all_there_is_current() {
        check_numbers(ALL, Kind::Current, "2 pods are available");
    }

    #[test]
    fn every_number_has_to_be_reached() {
        check_numbers("observedGeneration: 1", Kind::InProgress, "0 of 2 pods are there");
        check_numbers(
            "replicas: 2, updatedReplicas: 1",
            Kind::InProgress,
            "1 of 2 pods are updated",
        );
        check_numbers(
            "replicas: 3, updatedReplicas: 2",
            Kind::InProgress,
            "pods that have yet to go: 1",
        );
        let unavailable = "replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 1";
        check_numbers(unavailable, Kind::InProgress, "1 of 2 pods are available");
        let unready = "replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 2";
        check_numbers(unready, Kind::InProgress, "1 of 2 pods are ready");
    }

    #[test]
    fn one_pod_is_wanted_when_nothing_is_said() {
        check("status: {}", Kind::InProgress, "0 of 1 pods are there");
        let fields = format!(
            "status: {{replicas: 1, updatedReplicas: 1, availableReplicas: 1, readyReplicas: 1, {CONDITIONS}}}"
        );
        check(&fields, Kind::Current, "1 pods are available");
    }

    #[test]
    fn no_pods_are_enough_when_none_are_wanted() {
        let fields = format!("spec: {{replicas: 0, progressDeadlineSeconds: 600}}, status: {{{CONDITIONS}}}");
        check(&fields, Kind::Current, "0 pods are available");
    }

    #[test]
    fn a_deadline_that_has_passed_is_a_failure_whatever_the_numbers_say() {
        let fields = format!(
            "spec: {{replicas: 2, progressDeadlineSeconds: 600}}, status: {{{ALL}, conditions: [
            {{type: Available, status: 'True'}},
            {{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}}]}}"
        );
        check(
            &fields,
            Kind::Failed,
            "the rollout takes longer than its deadline allows",
        );
    }

    #[test]
    fn with_a_deadline_the_condition_progressing_has_to_say_that_the_rollout_is_done() {
        let with = |conditions: &str| {
            format!(
                "spec: {{replicas: 2, progressDeadlineSeconds: 600}},
                status: {{{ALL}, conditions: [{{type: Available, status: 'True'}}, {conditions}]}}"
            )
        };
        let message = "the new ReplicaSet is not available";
        check(&with(""), Kind::InProgress, message);
        let updating = "{type: Progressing, status: 'True', reason: ReplicaSetUpdated}";
        check(&with(updating), Kind::InProgress, message);
        let doubtful = "{type: Progressing, status: Unknown, reason: NewReplicaSetAvailable}";
        check(&with(doubtful), Kind::InProgress, message);
    }

    #[test]
    fn without_a_deadline_the_condition_progressing_does_not_matter() {
        for spec in ["replicas: 2", "replicas: 2, progressDeadlineSeconds: 2147483647"] {
            let status = format!("{{{ALL}, conditions: [{{type: Available, status: 'True'}}]}}");
            check(
                &format!("spec: {{{spec}}}, status: {status}"),
                Kind::Current,
                "2 pods are available",
            );
        }
    }

    #[test]
    fn a_deployment_has_to_say_that_it_is_available() {
        for condition in ["", "{type: Available, status: 'False'}"] {
            let fields = format!("spec: {{replicas: 2}}, status: {{{ALL}, conditions: [{condition}]}}");
            check(&fields, Kind::InProgress, "the Deployment is not available");
        }
    }

    #[test]
    fn a_paused_deployment_stays_in_progress_unless_it_has_no_deadline() {
        let with = |deadline: &str| {
            format!(
                "spec: {{paused: true, replicas: 2{deadline}}}, status: {{{ALL}, conditions: [
                {{type: Available, status: 'True'}}, {{type: Progressing, status: Unknown, reason: DeploymentPaused}}]}}"
            )
        };
        let deadline = ", progressDeadlineSeconds: 600";
        check(&with(deadline), Kind::InProgress, "the new ReplicaSet is not available");
        check(&with(""), Kind::Current, "2 pods are available");
    }
}
