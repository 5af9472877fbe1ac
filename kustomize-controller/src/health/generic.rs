//! Rules for every kind but Jobs: deletion, the generation that was observed, and the conditions Reconciling and
//! Stalled, by which controllers say themselves how an object does.

use super::field::{self, Malformed};
use super::{Kind, Status};
use serde_json::Value;

/// The status if these rules decide it.
pub(super) fn status(object: &Value, kind: &str) -> Result<Option<Status>, Malformed> {
    match object.pointer("/metadata/deletionTimestamp") {
        None | Some(Value::Null) => {}
        Some(Value::String(time)) if time.is_empty() => {}
        Some(Value::String(_)) => {
            return Ok(Some(Status {
                kind: Kind::Terminating,
                message: "it is being deleted".into(),
            }));
        }
        Some(_) => return Err(Malformed::new("metadata.deletionTimestamp", "a text")),
    }
    let generation = field::strict_int(object, "/metadata/generation")?;
    let observed = field::strict_int(object, "/status/observedGeneration")?;
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        let message = format!("the {kind} is at generation {generation}, its controller has seen {observed}");
        return Ok(Some(Status::in_progress(message)));
    }
    // The first of the two in the list decides.
    let decided = field::conditions(object)?
        .into_iter()
        .find_map(|condition| match condition.name {
            "Reconciling" if condition.is_true() => Some(Status::in_progress(condition.message)),
            "Stalled" if condition.is_true() => Some(Status::failed(condition.message)),
            _ => None,
        });
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &str, expected: Kind, message: &str) {
        // Rules that hold for all win over those of a kind, here that a ConfigMap is always there.
        crate::health::tests::check("apiVersion: v1, kind: ConfigMap", fields, expected, message);
    }

    const DONE: &str = "a ConfigMap needs nothing else";

    #[test]
    fn an_object_that_is_being_deleted_is_terminating() {
        let fields = "metadata: {deletionTimestamp: '2026-11-21T11:00:00Z', generation: 2},
            status: {observedGeneration: 1, conditions: [{type: Stalled, status: 'True'}]}";
        check(fields, Kind::Terminating, "it is being deleted");
        check("metadata: {deletionTimestamp: ''}", Kind::Current, DONE);
        check("metadata: {deletionTimestamp: null}", Kind::Current, DONE);
        check(
            "metadata: {deletionTimestamp: 7}",
            Kind::Unknown,
            "metadata.deletionTimestamp is not a text",
        );
    }

    #[test]
    fn a_generation_that_was_not_observed_is_in_progress() {
        let message = "the ConfigMap is at generation 2, its controller has seen 1";
        check(
            "metadata: {generation: 2}, status: {observedGeneration: 1}",
            Kind::InProgress,
            message,
        );
        let stalled = "metadata: {generation: 2},
            status: {observedGeneration: 1, conditions: [{type: Stalled, status: 'True', message: stuck}]}";
        check(stalled, Kind::InProgress, message);
        let ahead = "the ConfigMap is at generation 2, its controller has seen 3";
        check(
            "metadata: {generation: 2}, status: {observedGeneration: 3}",
            Kind::InProgress,
            ahead,
        );
    }

    #[test]
    fn generations_matter_only_when_both_are_there() {
        check(
            "metadata: {generation: 2}, status: {observedGeneration: 2}",
            Kind::Current,
            DONE,
        );
        check("metadata: {generation: 2}, status: {}", Kind::Current, DONE);
        check("metadata: {}, status: {observedGeneration: 2}", Kind::Current, DONE);
    }

    #[test]
    fn a_generation_that_is_no_integer_is_unknown() {
        check(
            "metadata: {generation: two}",
            Kind::Unknown,
            "metadata.generation is not an integer",
        );
        let message = "status.observedGeneration is not an integer";
        check(
            "metadata: {generation: 2}, status: {observedGeneration: 2.5}",
            Kind::Unknown,
            message,
        );
    }

    #[test]
    fn reconciling_is_in_progress_and_stalled_has_failed() {
        let fields = "status: {conditions: [{type: Reconciling, status: 'True', message: rolling out}]}";
        check(fields, Kind::InProgress, "rolling out");
        let fields = "status: {conditions: [{type: Stalled, status: 'True', message: stuck}]}";
        check(fields, Kind::Failed, "stuck");
    }

    #[test]
    fn the_first_of_reconciling_and_stalled_decides() {
        let fields = "status: {conditions: [{type: Reconciling, status: 'True', message: rolling out},
            {type: Stalled, status: 'True', message: stuck}]}";
        check(fields, Kind::InProgress, "rolling out");
        let fields = "status: {conditions: [{type: Stalled, status: 'True', message: stuck},
            {type: Reconciling, status: 'True', message: rolling out}]}";
        check(fields, Kind::Failed, "stuck");
    }

    #[test]
    fn reconciling_and_stalled_that_are_not_true_do_not_matter() {
        let fields = "status: {conditions: [{type: Reconciling, status: 'False'}, {type: Stalled, status: Unknown}]}";
        check(fields, Kind::Current, DONE);
    }
}
