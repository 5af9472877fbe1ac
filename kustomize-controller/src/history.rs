//! The history of a Kustomization: the last few outcomes, newest first, one entry per outcome of the same manifests.
//!
//! Pure: the caller brings the times.

use api::Duration;
use api::kustomize::{MAX_HISTORY, Snapshot};
use api::meta::Time;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// An outcome to record.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The digest of the built manifests.
    pub digest: &'a str,
    /// The reason of the Ready condition.
    pub status: &'a str,
    /// The revision and, where known, its origin.
    pub metadata: BTreeMap<String, String>,
    /// How long the reconcile took.
    pub took: Duration,
}

/// Records an outcome: an entry of the same manifests and status is refreshed and moves to the front.
pub fn record(history: &mut Vec<Snapshot>, outcome: Outcome<'_>, now: Timestamp) {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let same = |entry: &Snapshot| entry.digest == outcome.digest && entry.last_reconciled_status == outcome.status;
    let (first, total) = match history.iter().position(same) {
        Some(position) => {
            let known = history.remove(position);
            (known.first_reconciled, known.total_reconciliations)
        }
        None => (now.clone(), 0),
    };
    let snapshot = Snapshot {
        digest: outcome.digest.to_owned(),
        first_reconciled: first,
        last_reconciled: now,
        last_reconciled_duration: outcome.took,
        last_reconciled_status: outcome.status.to_owned(),
        total_reconciliations: total + 1,
        metadata: outcome.metadata,
    };
    history.insert(0, snapshot);
    history.truncate(MAX_HISTORY);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome<'a>(digest: &'a str, status: &'a str) -> Outcome<'a> {
        Outcome {
            digest,
            status,
            metadata: BTreeMap::new(),
            took: Duration::from_millis(1500),
        }
    }

    #[test]
    fn the_same_outcome_is_counted_and_moves_to_the_front() {
        let mut history = Vec::new();
        let at = |second| Timestamp::from_second(second).unwrap();
        record(&mut history, outcome("a", "ReconciliationSucceeded"), at(1));
        record(&mut history, outcome("b", "HealthCheckFailed"), at(2));
        record(&mut history, outcome("a", "ReconciliationSucceeded"), at(3));
        let seen: Vec<_> = history
            .iter()
            .map(|entry| (entry.digest.as_str(), entry.total_reconciliations))
            .collect();
        assert_eq!(seen, [("a", 2), ("b", 1)]);
        assert_eq!(
            (history[0].first_reconciled.0, history[0].last_reconciled.0),
            (at(1), at(3))
        );
    }

    #[test]
    fn five_outcomes_are_kept() {
        let mut history = Vec::new();
        for round in 0..9 {
            record(
                &mut history,
                outcome(&round.to_string(), "ReconciliationSucceeded"),
                Timestamp::UNIX_EPOCH,
            );
        }
        assert_eq!(history.len(), MAX_HISTORY);
        assert_eq!(history[0].digest, "8");
    }
}
