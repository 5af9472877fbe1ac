//! Which posted events were posted before: one per window, and anew after the object's state has changed between good
//! and bad, so that a channel never ends on the wrong one. Pure.

use api::event::{self, Event, Severity};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;

/// The most events and objects remembered.
const REMEMBERED: usize = 16_384;

/// The events seen in their windows.
#[derive(Debug)]
pub struct Duplicates {
    window: SignedDuration,
    seen: HashMap<[u8; 32], Timestamp>,
    states: HashMap<String, (bool, u64, Timestamp)>,
}

/// Whether an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It was not seen in its window.
    pub fresh: bool,
    /// When the window ends.
    pub until: Timestamp,
}

impl Duplicates {
    /// Nothing seen yet; an event counts once per window.
    pub fn new(window: Duration) -> Self {
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
        Duplicates {
            window,
            seen: HashMap::new(),
            states: HashMap::new(),
        }
    }

    /// Whether an event counts that comes at this moment.
    pub fn check(&mut self, event: &Event, now: Timestamp) -> Verdict {
        let key = self.key(event, now);
        let until = now.checked_add(self.window).unwrap_or(Timestamp::MAX);
        if let Some(end) = self.seen.get(&key).filter(|end| **end > now) {
            return Verdict {
                fresh: false,
                until: *end,
            };
        }
        self.make_room(now);
        self.seen.insert(key, until);
        Verdict { fresh: true, until }
    }

    fn key(&mut self, event: &Event, now: Timestamp) -> [u8; 32] {
        let object = &event.involved_object;
        let who = format!("{} {} {} {}", object.kind, object.namespace, object.name, object.uid);
        let bad = event.severity == Severity::Error;
        let state = self.states.entry(who.clone()).or_insert((bad, 0, now));
        if state.0 != bad {
            (state.0, state.1) = (bad, state.1 + 1);
        }
        state.2 = now;
        let mut hash = Sha256::new();
        for part in [&who, &state.1.to_string(), &event.message] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for name in [event::ORIGIN_REVISION, event::REVISION, event::TOKEN] {
            let value = event.metadata.get(&format!("{}/{name}", object.group()));
            hash.update(value.map(String::as_bytes).unwrap_or_default());
            hash.update([0]);
        }
        hash.finalize().into()
    }

    /// Forgets what is over, and everything when that is not enough: a repetition is better than a leak.
    fn make_room(&mut self, now: Timestamp) {
        if self.seen.len() >= REMEMBERED {
            self.seen.retain(|_, end| *end > now);
        }
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        if self.states.len() >= REMEMBERED {
            let window = self.window;
            self.states.retain(|_, (_, _, last)| now.duration_since(*last) < window);
        }
        if self.states.len() >= REMEMBERED {
            self.states.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::testing::at;
    use serde_json::json;

    fn event(message: &str, severity: &str, revision: &str) -> Event {
        serde_json::from_value(json!({
            "involvedObject": {
                "kind": "HelmRelease", "namespace": "d", "name": "a", "apiVersion": "helm.toolkit.fluxcd.io/v2",
            },
            "severity": severity, "timestamp": "2026-01-02T03:04:05Z", "message": message, "reason": "R",
            "metadata": {"helm.toolkit.fluxcd.io/revision": revision}, "reportingController": "helm-controller",
        }))
        .unwrap()
    }

    /// Feeds events (second, message, severity, revision) and gives the numbers of those that count.
    #[track_caller]
    fn check(events: &[(i64, &str, &str, &str)], expected: &[usize]) {
        let mut duplicates = Duplicates::new(Duration::from_secs(300));
        let fresh = events
            .iter()
            .enumerate()
            .filter(|(_, (second, message, severity, revision))| {
                duplicates.check(&event(message, severity, revision), at(*second)).fresh
            });
        assert_eq!(fresh.map(|(number, _)| number).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_event_counts_once_in_a_window_fixed_by_its_first_sight() {
        check(
            &[(0, "a", "info", "1"), (299, "a", "info", "1"), (300, "a", "info", "1")],
            &[0, 2],
        );
    }

    #[test]
    fn another_message_or_revision_is_another_event() {
        check(
            &[
                (0, "a", "info", "1"),
                (1, "b", "info", "1"),
                (2, "a", "info", "2"),
                (3, "a", "info", "1"),
            ],
            &[0, 1, 2],
        );
    }

    #[test]
    fn a_failure_that_comes_back_after_a_recovery_counts() {
        check(
            &[
                (0, "bad", "error", "1"),
                (1, "good", "info", "1"),
                (2, "bad", "error", "1"),
                (3, "bad", "error", "1"),
            ],
            &[0, 1, 2],
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut duplicates = Duplicates::new(Duration::from_secs(300));
        for number in 0..REMEMBERED + 10 {
            duplicates.check(&event(&number.to_string(), "info", "1"), at(1));
        }
        assert!(duplicates.seen.len() <= REMEMBERED);
    }
}
