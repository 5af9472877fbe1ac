//! ReplicaSets. They never fail by themselves; their pods tell.

use super::Status;
use super::field::{self, Malformed};
use super::replicas::{too_few, too_many};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    let conditions = field::conditions(object)?;
    if conditions
        .iter()
        .any(|condition| condition.name == "ReplicaFailure" && condition.is_true())
    {
        return Ok(Status::in_progress("pods could not be created or deleted"));
    }
    let number = |pointer| field::int(object, pointer).unwrap_or(0);
    let wanted = field::int(object, "/spec/replicas").unwrap_or(1);
    let there = number("/status/replicas");
    let unfinished = too_few(number("/status/fullyLabeledReplicas"), wanted, "labelled")
        .or_else(|| too_few(number("/status/availableReplicas"), wanted, "available"))
        .or_else(|| too_few(number("/status/readyReplicas"), wanted, "ready"))
        .or_else(|| too_many(there, wanted));
    Ok(unfinished.unwrap_or_else(|| Status::current(format!("{there} pods are available"))))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(spec: &str, status: &str, expected: Kind, message: &str) {
        let fields = format!("spec: {{{spec}}}, status: {{{status}}}");
        crate::health::tests::check("apiVersion: apps/v1, kind: ReplicaSet", &fields, expected, message);
        crate::health::tests::check(
            "apiVersion: extensions/v1beta1, kind: ReplicaSet",
            &fields,
            expected,
            message,
        );
    }

    const ALL: &str = "replicas: 2, fullyLabeledReplicas: 2, availableReplicas: 2, readyReplicas: 2";

    #[test]
    fn every_number_has_to_be_reached() {
        let cases = [
            ("replicas: 2, fullyLabeledReplicas: 1", "1 of 2 pods are labelled"),
            (
                "fullyLabeledReplicas: 2, availableReplicas: 1, readyReplicas: 2",
                "1 of 2 pods are available",
            ),
            (
                "fullyLabeledReplicas: 2, availableReplicas: 2, readyReplicas: 1",
                "1 of 2 pods are ready",
            ),
            (
                "replicas: 3, fullyLabeledReplicas: 2, availableReplicas: 2, readyReplicas: 2",
                "pods that have yet to go: 1",
            ),
        ];
        for (status, message) in cases {
            check("replicas: 2", status, Kind::InProgress, message);
        }
        check("replicas: 2", ALL, Kind::Current, "2 pods are available");
    }

    #[test]
    fn one_pod_is_wanted_when_nothing_is_said() {
        check("", "", Kind::InProgress, "0 of 1 pods are labelled");
        check("replicas: 0", "", Kind::Current, "0 pods are available");
    }

    #[test]
    fn pods_that_cannot_be_created_are_a_matter_of_time() {
        let with = |status: &str| format!("{ALL}, conditions: [{{type: ReplicaFailure, status: '{status}'}}]");
        check(
            "replicas: 2",
            &with("True"),
            Kind::InProgress,
            "pods could not be created or deleted",
        );
        check("replicas: 2", &with("False"), Kind::Current, "2 pods are available");
    }
}
