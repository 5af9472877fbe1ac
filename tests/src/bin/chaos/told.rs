//! What was told: every terminal transition at least once and in order. Pure: from what the receiver accepted and what
//! was seen in statuses follows what is missing, and what came in the wrong order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::tests::api_proxy::Reign;
use ::tests::receiver::Received;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::plan::HELD;

/// How long a notification controller takes from the beginning of its reign, or from when its watch delivers something, until
/// that is told: it lists, writes down and sends by then.
const OFFICE: Duration = Duration::from_secs(5);
/// How late its watch may be. The four seconds at most until a broken one is begun anew are no longer than that.
const LATE: Duration = Duration::from_millis(HELD);

/// A message as the receiver accepted it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its stable id.
    pub id: String,
    /// The uid of the object it is about.
    pub uid: String,
    /// The object as `Kind/name`.
    pub object: String,
    /// The reason.
    pub reason: String,
    /// `info` or `error`.
    pub severity: String,
    /// The text.
    pub text: String,
    /// When it happened.
    pub timestamp: String,
    /// The revision, where there is one.
    pub revision: Option<String>,
    /// Everything but the resource version, which moves while nothing happens.
    pub body: Value,
}

impl Message {
    /// Reads a request.
    pub fn of(request: &Received) -> Result<Self> {
        let mut body = request.json()?;
        if let Some(object) = body["involvedObject"].as_object_mut() {
            object.remove("resourceVersion");
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &body["involvedObject"];
        Ok(Self {
            id: request
                .header("x-sluice-event-id")
                .context("a message without an id")?
                .to_owned(),
            uid: text(&object["uid"]),
            object: format!("{}/{}", text(&object["kind"]), text(&object["name"])),
            reason: text(&body["reason"]),
            severity: text(&body["severity"]),
            text: text(&body["message"]),
            timestamp: text(&body["timestamp"]),
            revision: body["metadata"]["revision"].as_str().map(str::to_owned),
            body,
        })
    }

    fn has_lines(&self, lines: &[String]) -> bool {
        let own: BTreeSet<_> = self.text.lines().collect();
        lines.iter().all(|line| own.contains(line.as_str()))
    }

    /// How many lists of changes it says are missing.
    fn gap(&self) -> i64 {
        let number = |line: &str| {
            let (number, _) = line.strip_prefix('(')?.split_once(" earlier lists of changes")?;
            number.parse::<i64>().ok()
        };
        self.text.lines().find_map(number).unwrap_or_default()
    }
}

/// A confirmed change that was seen in a status.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object as `Kind/name`.
    pub object: String,
    /// When it was done.
    pub time: String,
    /// `apply`, `prune` or `delete`.
    pub action: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// When it was seen first.
    pub since: Instant,
}

/// What went with a Kustomization, from the last state it had.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// The object as `Kind/name`.
    pub object: String,
    /// Its uid.
    pub uid: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// From when on its inventory was as it was in the end.
    pub settled: Instant,
    /// When it was seen to be on its way out.
    pub begun: Instant,
    /// When it was seen to be gone.
    pub gone: Instant,
    /// Whether nothing else went wrong meanwhile.
    pub calm: bool,
}

/// A terminal state that was seen in a status.
#[derive(Clone, Debug)]
pub struct State {
    /// The object as `Kind/name`.
    pub object: String,
    /// Whether it is Ready.
    pub good: bool,
    /// The reason of Ready.
    pub reason: String,
    /// The message of Ready.
    pub message: String,
    /// The revision of the artifact, or the one that was applied or tried.
    pub revision: String,
    /// When it was seen first.
    pub since: Instant,
    /// When it was seen to be over.
    pub until: Option<Instant>,
}

/// What was seen in statuses.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The confirmed changes by uid and number.
    pub changes: BTreeMap<(String, i64), Change>,
    /// The terminal states by uid, oldest first.
    pub states: BTreeMap<String, Vec<State>>,
    /// What went with Kustomizations.
    pub deletions: Vec<Deletion>,
    /// Objects that are gone, and when that was seen: what was not told about them by then cannot be told any more.
    pub gone: BTreeMap<String, Instant>,
}

/// The first message of each id, in the order in which they came. Says what has one id and is not the same.
pub fn first_of_each(messages: &[Message]) -> (Vec<&Message>, Vec<String>) {
    let mut first: BTreeMap<&str, &Message> = BTreeMap::new();
    let (mut order, mut different) = (Vec::new(), Vec::new());
    for message in messages {
        match first.get(message.id.as_str()) {
            Some(known) if known.body == message.body => {}
            Some(known) => different.push(format!("one id, two messages: {} and {}", known.body, message.body)),
            None => {
                first.insert(&message.id, message);
                order.push(message);
            }
        }
    }
    (order, different)
}

/// Whether one notification controller led long enough, without a break, to tell what was to be seen in that time.
fn was_led(reigns: &[Reign], since: Instant, until: Instant) -> bool {
    let in_time = |reign: &Reign| reign.to.min(until) >= (reign.from + OFFICE).max(since + LATE + OFFICE);
    reigns.iter().any(in_time)
}

/// The changes that were not told, though there was somebody to tell them.
pub fn untold_changes(messages: &[&Message], seen: &Seen, reigns: &[Reign]) -> Vec<String> {
    let mut excused = BTreeSet::new();
    for message in messages.iter().filter(|message| message.gap() > 0) {
        for ((uid, number), change) in &seen.changes {
            if *uid == message.uid && change.time == message.timestamp && message.has_lines(&change.lines) {
                excused.extend((1..=message.gap()).map(|back| (uid.clone(), number - back)));
            }
        }
    }
    let by_uid = by_uid(messages);
    let untold = |((uid, number), change): (&(String, i64), &Change)| {
        let was_led = |gone: &Instant| was_led(reigns, change.since, *gone);
        if !seen.gone.get(uid).is_none_or(was_led) || excused.contains(&(uid.clone(), *number)) {
            return None;
        }
        let told = by_uid.get(uid.as_str()).into_iter().flatten().any(|message| {
            let same = message.timestamp == change.time || message.severity == "error";
            same && message.has_lines(&change.lines)
        });
        (!told).then(|| {
            format!(
                "change {number} of {} ({} at {}) was not told: {}",
                change.object,
                change.action,
                change.time,
                change.lines.join(", ")
            )
        })
    };
    seen.changes.iter().filter_map(untold).collect()
}

/// The failures that were not told, though there was somebody to tell them.
pub fn untold_failures(messages: &[&Message], seen: &Seen, reigns: &[Reign], now: Instant) -> Vec<String> {
    let by_uid = by_uid(messages);
    let mut untold = Vec::new();
    for (uid, states) in &seen.states {
        for state in states.iter().filter(|state| !state.good) {
            let until = state.until.unwrap_or(now);
            if !was_led(reigns, state.since, until) || is_silent(state) {
                continue;
            }
            let told = by_uid.get(uid.as_str()).into_iter().flatten().any(|message| {
                message.reason == state.reason
                    && (state.reason == "DependencyNotReady" || steady(&message.text) == steady(&state.message))
            });
            if !told {
                untold.push(format!(
                    "{} was {} for {} s and nobody was told: {}",
                    state.object,
                    state.reason,
                    until.saturating_duration_since(state.since).as_secs(),
                    state.message
                ));
            }
        }
    }
    untold
}

/// The deletions that have to be told: one notification controller led from when it could know the inventory until it
/// could know that the Kustomization is gone.
pub fn known_deletions<'a>(seen: &'a Seen, reigns: &[Reign]) -> Vec<&'a Deletion> {
    let was_known = |deletion: &Deletion| {
        deletion.settled + LATE + OFFICE <= deletion.begun
            && reigns
                .iter()
                .any(|reign| reign.from + OFFICE <= deletion.begun && deletion.gone + LATE + OFFICE <= reign.to)
    };
    let deletions = seen.deletions.iter();
    deletions
        .filter(|deletion| deletion.calm || was_known(deletion))
        .collect()
}

/// The deletions that were not told, though there was somebody to tell them.
pub fn untold_deletions(messages: &[&Message], seen: &Seen, reigns: &[Reign]) -> Vec<String> {
    let is_told = |deletion: &&Deletion| {
        let mut messages = messages.iter();
        messages.any(|message| message.uid == deletion.uid && message.has_lines(&deletion.lines))
    };
    let untold = known_deletions(seen, reigns).into_iter().filter(|it| !is_told(it));
    untold
        .map(|it| {
            format!(
                "{} ({}) is gone and nobody was told of {}",
                it.object,
                it.uid,
                it.lines.join(", ")
            )
        })
        .collect()
}

/// What Flux keeps to the condition.
fn is_silent(state: &State) -> bool {
    let waits = state.message.starts_with("Source artifact not found")
        || state.message.starts_with("Source is not ready")
        || (state.message.contains(".source.") && state.message.ends_with(" not found"));
    state.reason == "HealthCheckCanceled" || (state.reason == "ArtifactFailed" && waits)
}

/// What came in the wrong order: changes against their numbers, revisions against the order of the commits, and failures and
/// successes against their times.
pub fn disorder(messages: &[&Message], seen: &Seen, number_of: impl Fn(&str) -> Option<usize>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (uid, messages) in by_uid(messages) {
        let (mut newest_change, mut newest_commit) = (i64::MIN, 0);
        let mut newest_success = None;
        for message in messages {
            match End::of(message) {
                Some(End::Success) => newest_success = newest_success.max(Some(seconds(message))),
                // It began after the success, or it was over by then.
                Some(End::Failure) if Some(seconds(message)) < newest_success => wrong.push(format!(
                    "{}: a failure of {} came after a later success: {}",
                    message.object, message.timestamp, message.text
                )),
                Some(End::Failure) | None => {}
            }
            let numbers: Vec<_> = seen
                .changes
                .range((uid.to_owned(), i64::MIN)..=(uid.to_owned(), i64::MAX))
                .filter(|(_, change)| change.time == message.timestamp && message.has_lines(&change.lines))
                .map(|((_, number), _)| *number)
                .collect();
            // Two changes of one second with the same lines cannot be told apart.
            if let Some(number) = numbers.last() {
                if *number < newest_change {
                    wrong.push(format!(
                        "{}: change {number} came after change {newest_change}: {}",
                        message.object, message.text
                    ));
                }
                newest_change = newest_change.max(numbers[0]);
            }
            // A failure is told with the revision its source has when it is told.
            let revision = message.revision.as_deref().filter(|_| message.severity == "info");
            if let Some(revision) = revision.filter(|_| message.reason != "DependencyNotReady") {
                let Some(commit) = number_of(revision) else {
                    wrong.push(format!("{}: an unknown revision {revision}", message.object));
                    continue;
                };
                if commit < newest_commit {
                    wrong.push(format!(
                        "{}: news of commit {commit} after news of commit {newest_commit}: {}",
                        message.object, message.text
                    ));
                }
                newest_commit = newest_commit.max(commit);
            }
        }
    }
    wrong
}

/// How a reconcile ended.
enum End {
    Success,
    Failure,
}

impl End {
    /// The end that a message is about. A deletion has the reason that the object had before, so that it is the text that
    /// counts.
    fn of(message: &Message) -> Option<Self> {
        const SUCCESSES: [&str; 2] = ["Reconciliation finished in ", "stored artifact for commit "];
        const FAILURES: [&str; 2] = [
            "Dependencies do not meet ready condition",
            "Health checks canceled due to ",
        ];
        let begins = |texts: &[&str]| texts.iter().any(|text| message.text.starts_with(text));
        if message.severity == "error" || begins(&FAILURES) {
            return Some(Self::Failure);
        }
        begins(&SUCCESSES).then_some(Self::Success)
    }
}

/// When it happened, in whole seconds, as conditions tell it.
fn seconds(message: &Message) -> i64 {
    let time: Result<Timestamp, _> = message.timestamp.parse();
    time.map(Timestamp::as_second).unwrap_or_default()
}

/// Whether the object's good end with that revision was told.
pub fn good_end_told(messages: &[&Message], uid: &str, revision: &str) -> bool {
    messages.iter().any(|message| {
        let good = ["ReconciliationSucceeded", "NewArtifact", "Succeeded"];
        message.uid == uid && message.revision.as_deref() == Some(revision) && good.contains(&message.reason.as_str())
    })
}

fn by_uid<'a>(messages: &[&'a Message]) -> BTreeMap<&'a str, Vec<&'a Message>> {
    let mut by_uid: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        by_uid.entry(&message.uid).or_default().push(message);
    }
    by_uid
}

/// A text without its digits, which change with every attempt.
fn steady(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | 'm' | 's' | 'µ'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(id: &str, text: &str, timestamp: &str, revision: &str) -> Message {
        Message {
            id: id.into(),
            uid: "u".into(),
            object: "Kustomization/k".into(),
            reason: "Progressing".into(),
            severity: "info".into(),
            text: text.into(),
            timestamp: timestamp.into(),
            revision: Some(revision.into()),
            body: json!({ "message": text }),
        }
    }

    fn seen(changes: &[(i64, &str, &str)]) -> Seen {
        let change = |(number, time, line): &(i64, &str, &str)| {
            let change = Change {
                object: "Kustomization/k".into(),
                time: (*time).into(),
                action: "apply".into(),
                lines: vec![(*line).to_owned()],
                since: Instant::now(),
            };
            (("u".to_owned(), *number), change)
        };
        Seen {
            changes: changes.iter().map(change).collect(),
            ..Seen::default()
        }
    }

    fn number_of(revision: &str) -> Option<usize> {
        revision.parse().ok()
    }

    #[test]
    fn a_change_that_nobody_was_told_of_is_found() {
        let seen = seen(&[(1, "t1", "A created"), (2, "t2", "B created")]);
        let told = message("1", "A created", "t1", "1");
        assert_eq!(untold_changes(&[&told], &seen, &[]).len(), 1);
        let rest = message(
            "2",
            "B created\n(1 earlier lists of changes are not recorded any more)",
            "t2",
            "1",
        );
        assert_eq!(untold_changes(&[&told, &rest], &seen, &[]), [] as [String; 0]);
        assert_eq!(
            untold_changes(&[&rest], &seen, &[]),
            [] as [String; 0],
            "the gap is told"
        );
    }

    #[test]
    fn news_in_the_wrong_order_are_found() {
        let seen = seen(&[(1, "t1", "A created"), (2, "t2", "B created")]);
        let (one, two) = (
            message("1", "A created", "t1", "1"),
            message("2", "B created", "t2", "2"),
        );
        assert_eq!(disorder(&[&one, &two], &seen, number_of), [] as [String; 0]);
        assert_eq!(disorder(&[&two, &one], &seen, number_of).len(), 2);
    }

    #[test]
    fn a_repetition_has_to_be_the_same() {
        let one = message("1", "A created", "t1", "1");
        let other = message("1", "B created", "t1", "1");
        assert_eq!(first_of_each(&[one.clone(), one.clone()]).1.len(), 0);
        assert_eq!(first_of_each(&[one, other]).1.len(), 1);
    }

    #[test]
    fn a_failure_that_is_told_after_a_later_success_is_found() {
        let at = |text: &str, severity: &str, time: &str| Message {
            severity: severity.into(),
            ..message(time, text, time, "1")
        };
        let end = at(
            "Reconciliation finished in 1s, next run in 10s",
            "info",
            "2026-01-01T00:00:20Z",
        );
        let before = at("no such file", "error", "2026-01-01T00:00:10Z");
        let same = at("no such file", "error", "2026-01-01T00:00:20Z");
        let waits = at(
            "Dependencies do not meet ready condition, …",
            "info",
            "2026-01-01T00:00:10Z",
        );
        let seen = Seen::default();
        assert_eq!(disorder(&[&before, &end, &same], &seen, number_of), [] as [String; 0]);
        assert_eq!(disorder(&[&end, &before], &seen, number_of).len(), 1);
        assert_eq!(disorder(&[&end, &waits], &seen, number_of).len(), 1);
    }

    fn reigns(begin: Instant, reigns: &[(u64, u64)]) -> Vec<Reign> {
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let reigns = reigns.iter().map(|(from, to)| Reign {
            holder: "p".into(),
            from: at(*from),
            to: at(*to),
        });
        reigns.collect()
    }

    #[test]
    fn a_failure_counts_if_somebody_led_long_enough_to_tell_it() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let check = |since: u64, until: u64, all: &[(u64, u64)], expected: usize| {
            let state = State {
                object: "Kustomization/a".into(),
                good: false,
                reason: "BuildFailed".into(),
                message: "no".into(),
                revision: "r".into(),
                since: at(since),
                until: Some(at(until)),
            };
            let mut seen = Seen::default();
            seen.states.insert("u".into(), vec![state]);
            seen.gone.insert("u".into(), at(until));
            assert_eq!(untold_failures(&[], &seen, &reigns(begin, all), at(90)).len(), expected);
        };
        check(0, 30, &[], 0);
        check(0, 30, &[(1, 5), (6, 10), (12, 16)], 0);
        check(0, 30, &[(1, 2), (10, 15)], 1);
        check(0, 30, &[(27, 60)], 0);
        // One that led before has to learn of it by its watch.
        check(20, 30, &[(1, 60)], 0);
        check(20, 31, &[(1, 60)], 1);
    }

    #[test]
    fn what_is_gone_counts_if_somebody_led_before_it_went() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut seen = seen(&[(1, "t1", "A created")]);
        if let Some(change) = seen.changes.get_mut(&("u".to_owned(), 1)) {
            change.since = at(10);
        }
        let untold = |seen: &Seen, all: &[(u64, u64)]| untold_changes(&[], seen, &reigns(begin, all)).len();
        assert_eq!(untold(&seen, &[]), 1, "it is still there");
        seen.gone.insert("u".into(), at(30));
        assert_eq!(untold(&seen, &[]), 0);
        assert_eq!(untold(&seen, &[(1, 21)]), 1);
        assert_eq!(untold(&seen, &[(26, 60)]), 0);
    }

    #[test]
    fn a_deletion_has_to_be_told_if_somebody_led_before_and_after() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut deletion = Deletion {
            object: "Kustomization/k".into(),
            uid: "u".into(),
            lines: vec!["A deleted".into(), "B deleted".into()],
            settled: at(9),
            begun: at(20),
            gone: at(21),
            calm: false,
        };
        let told = message("1", "B deleted\nA deleted", "t1", "1");
        let part = message("1", "B deleted", "t1", "1");
        let check = |deletion: &Deletion, all: &[(u64, u64)], messages: &[&Message], expected: usize| {
            let seen = Seen {
                deletions: vec![deletion.clone()],
                ..Seen::default()
            };
            assert_eq!(untold_deletions(messages, &seen, &reigns(begin, all)).len(), expected);
        };
        check(&deletion, &[(15, 32)], &[], 1);
        check(&deletion, &[(15, 32)], &[&part], 1);
        check(&deletion, &[(15, 32)], &[&told], 0);
        check(&deletion, &[(16, 32)], &[], 0);
        check(&deletion, &[(15, 31)], &[], 0);
        deletion.settled = at(10);
        check(&deletion, &[(1, 90)], &[], 0);
        deletion.calm = true;
        check(&deletion, &[], &[], 1);
    }
}
