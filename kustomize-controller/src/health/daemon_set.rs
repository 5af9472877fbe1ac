//! DaemonSets. They never fail.

use super::Status;
use super::field::{self, Malformed};
use super::replicas::too_few;
use serde_json::Value;

pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    // Its controller always tells what it has seen: nothing told means nothing seen.
    if field::strict_int(object, "/metadata/generation")?.is_none() {
        return Ok(Status::in_progress("metadata.generation is missing"));
    }
    if field::strict_int(object, "/status/observedGeneration")?.is_none() {
        return Ok(Status::in_progress("the controller has not seen it"));
    }
    let Some(wanted) = field::int(object, "/status/desiredNumberScheduled") else {
        return Ok(Status::in_progress("the number of pods is not known"));
    };
    let number = |pointer| field::int(object, pointer).unwrap_or(0);
    let unfinished = too_few(number("/status/currentNumberScheduled"), wanted, "scheduled")
        .or_else(|| too_few(number("/status/updatedNumberScheduled"), wanted, "updated"))
        .or_else(|| too_few(number("/status/numberAvailable"), wanted, "available"))
        .or_else(|| too_few(number("/status/numberReady"), wanted, "ready"));
    Ok(unfinished.unwrap_or_else(|| Status::current(format!("{wanted} pods are available"))))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        crate::health::tests::check("apiVersion: apps/v1, kind: DaemonSet", fields, expected, message);
        crate::health::tests::check(
            "apiVersion: extensions/v1beta1, kind: DaemonSet",
            fields,
            expected,
            message,
        );
    }

    #[track_caller]
    fn check_numbers(numbers: &str, expected: Kind, message: &str) {
        check(
            &format!("metadata: {{generation: 1}}, status: {{observedGeneration: 1{numbers}}}"),
            expected,
            message,
        );
    }

    #[test]
    fn nothing_is_taken_for_done_before_the_controller_has_seen_it() {
        let numbers = "desiredNumberScheduled: 0";
        let fields = format!("status: {{observedGeneration: 1, {numbers}}}");
        check(&fields, Kind::InProgress, "metadata.generation is missing");
        let fields = format!("metadata: {{generation: 1}}, status: {{{numbers}}}");
        check(&fields, Kind::InProgress, "the controller has not seen it");
        check_numbers("", Kind::InProgress, "the number of pods is not known");
        check_numbers(", desiredNumberScheduled: 0", Kind::Current, "0 pods are available");
    }

    #[test]
    fn every_number_has_to_be_reached() {
        let cases = [
            (
                "currentNumberScheduled: 1",
                Kind::InProgress,
                "1 of 2 pods are scheduled",
            ),
            (
                "currentNumberScheduled: 2, updatedNumberScheduled: 1",
                Kind::InProgress,
                "1 of 2 pods are updated",
            ),
            (
                "currentNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1, numberReady: 2",
                Kind::InProgress,
                "1 of 2 pods are available",
            ),
            (
                "currentNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2, numberReady: 1",
                Kind::InProgress,
                "1 of 2 pods are ready",
            ),
            (
                "currentNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2, numberReady: 2",
                Kind::Current,
                "2 pods are available",
            ),
        ];
        for (numbers, expected, message) in cases {
            check_numbers(&format!(", desiredNumberScheduled: 2, {numbers}"), expected, message);
        }
    }
}
