//! StatefulSets. They never fail by themselves; their pods tell.

use super::Status;
use super::field;
use super::replicas::{too_few, too_many};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Status {
    // Whoever deletes the pods by hand decides when the update is done.
    if field::text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Status::current("its pods are updated when they are deleted");
    }
    let number = |pointer| field::int(object, pointer).unwrap_or(0);
    let wanted = field::int(object, "/spec/replicas").unwrap_or(1);
    let there = number("/status/replicas");
    let ready = number("/status/readyReplicas");
    let unfinished = too_few(there, wanted, "there")
        .or_else(|| too_few(ready, wanted, "ready"))
        .or_else(|| too_many(there, wanted))
        .or_else(
            || match field::int(object, "/spec/updateStrategy/rollingUpdate/partition") {
                Some(partition) => too_few(
                    number("/status/updatedReplicas"),
                    wanted.saturating_sub(partition),
                    "updated",
                ),
                None => too_few(number("/status/currentReplicas"), wanted, "current").or_else(|| {
                    let revision = |pointer| field::text(object, pointer);
                    (revision("/status/currentRevision") != revision("/status/updateRevision"))
                        .then(|| Status::in_progress("the update has not become the current revision"))
                }),
            },
        );
    unfinished.unwrap_or_else(|| Status::current(format!("{ready} pods are ready")))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: apps/v1, kind: StatefulSet", fields, expected, message);
    }

    #[track_caller]
    fn check_numbers(strategy: &str, numbers: &str, expected: Kind, message: &str) {
        let fields = format!("spec: {{replicas: 3, updateStrategy: {{{strategy}}}}}, status: {{{numbers}}}");
        check(&fields, expected, message);
    }

    const PARTITION: &str = "type: RollingUpdate, rollingUpdate: {partition: 2}";
    const NO_PARTITION: &str = "type: RollingUpdate";

    #[test]
    fn updates_by_hand_are_always_current() {
        let message = "its pods are updated when they are deleted";
        check_numbers("type: OnDelete", "replicas: 0", Kind::Current, message);
    }

    #[test]
    fn the_pods_have_to_be_there_and_ready_and_no_others() {
        for strategy in [PARTITION, NO_PARTITION] {
            check_numbers(strategy, "replicas: 2", Kind::InProgress, "2 of 3 pods are there");
            check_numbers(
                strategy,
                "replicas: 3, readyReplicas: 2",
                Kind::InProgress,
                "2 of 3 pods are ready",
            );
            check_numbers(
                strategy,
                "replicas: 5, readyReplicas: 3",
                Kind::InProgress,
                "pods that have yet to go: 2",
            );
        }
    }

    #[test]
    fn with_a_partition_only_the_pods_above_it_have_to_be_updated() {
        let ready = "replicas: 3, readyReplicas: 3";
        check_numbers(PARTITION, ready, Kind::InProgress, "0 of 1 pods are updated");
        // The revisions differ as long as the partition is there.
        let updated = format!("{ready}, updatedReplicas: 1, currentRevision: a, updateRevision: b");
        check_numbers(PARTITION, &updated, Kind::Current, "3 pods are ready");
        check_numbers(
            "rollingUpdate: {partition: 5}",
            ready,
            Kind::Current,
            "3 pods are ready",
        );
        check_numbers(
            "rollingUpdate: {partition: 0}",
            &updated,
            Kind::InProgress,
            "1 of 3 pods are updated",
        );
        let odd = "rollingUpdate: {partition: -9223372036854775808}";
        check_numbers(
            odd,
            ready,
            Kind::InProgress,
            "0 of 9223372036854775807 pods are updated",
        );
    }

    #[test]
    fn without_a_partition_the_update_has_to_become_current() {
        let ready = "replicas: 3, readyReplicas: 3";
        check_numbers(NO_PARTITION, ready, Kind::InProgress, "0 of 3 pods are current");
        let current = format!("{ready}, currentReplicas: 3");
        check_numbers(NO_PARTITION, &current, Kind::Current, "3 pods are ready");
        let updating = format!("{current}, currentRevision: a, updateRevision: b");
        let message = "the update has not become the current revision";
        check_numbers(NO_PARTITION, &updating, Kind::InProgress, message);
        let updated = format!("{current}, currentRevision: b, updateRevision: b");
        check_numbers(NO_PARTITION, &updated, Kind::Current, "3 pods are ready");
    }

    #[test]
    fn one_pod_is_wanted_when_nothing_is_said() {
        check("status: {}", Kind::InProgress, "0 of 1 pods are there");
        check(
            "status: {replicas: 1, readyReplicas: 1, currentReplicas: 1}",
            Kind::Current,
            "1 pods are ready",
        );
    }
}
