//! Conditions as Flux sets them: pure functions over a `Vec<Condition>`.
//!
//! The rules differ from the usual metav1 helpers in three ways that clients observe: the transition time moves
//! when status, reason *or message* changes; messages are cut at 32,768 bytes; and the list has a fixed order.
//! What this module does not do: decide which condition to set (the controllers' failure tables do) or write it
//! anywhere ([`crate::report`] does).

use api::meta::condition::{MAX_MESSAGE_BYTES, READY, RECONCILING, STALLED};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl Verdict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::True => "True",
            Verdict::False => "False",
            Verdict::Unknown => "Unknown",
        }
    }
}

/// A condition to set, without the facts that the setter adds (time and generation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The condition's type, for example `Ready`.
    pub kind: &'a str,
    /// Its status.
    pub verdict: Verdict,
    /// Its machine-readable reason.
    pub reason: &'a str,
    /// Its text for people.
    pub message: &'a str,
}

/// The condition of that type, if there is one.
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of that type is there with that status.
pub fn is(conditions: &[Condition], kind: &str, verdict: Verdict) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status == verdict.as_str())
}

/// Sets a condition for a generation at a moment, and restores the order of the list.
///
/// `Stalled` and `Reconciling` exclude each other: setting one to `True` removes the other.
pub fn set(conditions: &mut Vec<Condition>, setting: Setting<'_>, generation: i64, now: Timestamp) {
    let message = cut(setting.message);
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    match conditions.iter_mut().find(|condition| condition.type_ == setting.kind) {
        Some(condition) => {
            let changed = condition.status != setting.verdict.as_str()
                || condition.reason != setting.reason
                || condition.message != message;
            if changed {
                condition.last_transition_time = now;
            }
            condition.status = setting.verdict.as_str().to_owned();
            condition.reason = setting.reason.to_owned();
            condition.message = message;
            condition.observed_generation = Some(generation);
        }
        None => conditions.push(Condition {
            type_: setting.kind.to_owned(),
            status: setting.verdict.as_str().to_owned(),
            reason: setting.reason.to_owned(),
            message,
            observed_generation: Some(generation),
            last_transition_time: now,
        }),
    }
    if setting.verdict == Verdict::True {
        match setting.kind {
            STALLED => remove(conditions, RECONCILING),
            RECONCILING => remove(conditions, STALLED),
            _ => {}
        }
    }
    sort(conditions);
}

/// Removes the condition of that type.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

/// Flux's order: `Stalled`, `Reconciling`, `Ready`, then by observed generation (newest first) and type.
fn sort(conditions: &mut [Condition]) {
    let rank = |condition: &Condition| match condition.type_.as_str() {
        STALLED => 0,
        RECONCILING => 1,
        READY => 2,
        _ => 3,
    };
    conditions.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then_with(|| {
            if rank(a) < 3 {
                return std::cmp::Ordering::Equal;
            }
            b.observed_generation
                .cmp(&a.observed_generation)
                .then_with(|| a.type_.cmp(&b.type_))
        })
    });
}

fn cut(message: &str) -> String {
    if message.len() <= MAX_MESSAGE_BYTES {
        return message.to_owned();
    }
    let mut end = MAX_MESSAGE_BYTES - 3;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready<'a>(verdict: Verdict, message: &'a str) -> Setting<'a> {
        Setting {
            kind: READY,
            verdict,
            reason: "R",
            message,
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_message_and_stays_without_a_change() {
        let mut list = Vec::new();
        set(&mut list, ready(Verdict::True, "one"), 1, at(10));
        set(&mut list, ready(Verdict::True, "one"), 2, at(20));
        assert_eq!(list[0].last_transition_time, Time(at(10)));
        assert_eq!(list[0].observed_generation, Some(2));
        set(&mut list, ready(Verdict::True, "two"), 2, at(30));
        assert_eq!(list[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn the_list_is_ordered_as_flux_orders_it() {
        let mut list = Vec::new();
        for (kind, generation) in [("Healthy", 1), ("Zeta", 2), (READY, 1), (RECONCILING, 1), ("Alpha", 2)] {
            let setting = Setting {
                kind,
                verdict: Verdict::True,
                reason: "R",
                message: "",
            };
            set(&mut list, setting, generation, at(1));
        }
        let kinds: Vec<_> = list.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, [RECONCILING, READY, "Alpha", "Zeta", "Healthy"]);
    }

    #[test]
    fn stalled_and_reconciling_exclude_each_other() {
        let mut list = Vec::new();
        let setting = |kind| Setting {
            kind,
            verdict: Verdict::True,
            reason: "R",
            message: "",
        };
        set(&mut list, setting(RECONCILING), 1, at(1));
        set(&mut list, setting(STALLED), 1, at(1));
        assert!(get(&list, RECONCILING).is_none());
        set(&mut list, setting(RECONCILING), 1, at(1));
        assert!(get(&list, STALLED).is_none());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut list = Vec::new();
        let long = "é".repeat(MAX_MESSAGE_BYTES);
        set(&mut list, ready(Verdict::False, &long), 1, at(1));
        assert!(list[0].message.len() <= MAX_MESSAGE_BYTES);
        assert!(list[0].message.ends_with("..."));
    }
}
