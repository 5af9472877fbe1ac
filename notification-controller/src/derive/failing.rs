//! An object that keeps failing: which of its failures are news.
//!
//! An episode begins with the first failure after a success and ends with the next success. Inside an episode a
//! failure is told once, and again as a reminder after a while if it lasts; another failure is told at once. Failures
//! are the same when they differ only in what changes with every attempt: durations, times, random names. After the
//! end of an episode everything is news again, so that a channel never ends on the wrong state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Failures remembered in one episode.
const REMEMBERED: usize = 8;

/// An episode of failures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// When it began, in seconds since 1970.
    since: i64,
    /// The failures told, the last one told last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    told: Vec<ToldFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ToldFailure {
    /// Which one: a short hash.
    what: String,
    /// When it was told last, in seconds since 1970.
    at: i64,
    /// How often it was.
    times: u32,
}

/// How loud a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// It belongs to the episode but is never told.
    Silent,
    /// It is told once in an episode: nothing is tried again.
    Once,
    /// It is told, and again after this pause while it lasts.
    Every(Duration),
}

/// A failure to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    /// What makes this telling different from every other.
    pub(super) identity: Vec<String>,
    /// The time of the reminder; nothing for the first telling.
    pub(super) reminder: Option<Timestamp>,
    /// Reminders of the same failure have the same fold.
    pub(super) fold: Option<String>,
}

impl Failing {
    /// When the episode began, to tell it from others.
    pub(super) fn since(&self) -> i64 {
        self.since
    }

    /// Counts everything told so far as told at that moment: the reminder comes a pause later.
    pub(super) fn told_at(&mut self, now: Timestamp) {
        for told in &mut self.told {
            told.at = now.as_second();
        }
    }
}

/// Adds a failure to an episode, or begins one. Returns the episode, the failure if it is news, and when it will be.
///
/// `what` tells failures apart; `began` is when the status says it came about.
pub(super) fn observe(
    episode: Option<Failing>,
    what: &str,
    began: Timestamp,
    voice: Voice,
    now: Timestamp,
) -> (Failing, Option<News>, Option<Timestamp>) {
    let mut episode = episode.unwrap_or_else(|| Failing {
        since: began.as_second(),
        told: Vec::new(),
    });
    let pause = match voice {
        Voice::Silent => return (episode, None, None),
        Voice::Once => None,
        Voice::Every(pause) => Some(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).max(1)),
    };
    let what = short(what);
    let known = episode.told.iter().position(|told| told.what == what);
    let due = |at: i64| pause.and_then(|pause| Timestamp::from_second(at.saturating_add(pause)).ok());
    let (mut told, reminder) = match known {
        None => (
            ToldFailure {
                what,
                at: now.as_second(),
                times: 1,
            },
            None,
        ),
        Some(position) => {
            let told = &episode.told[position];
            let passed = pause.map_or(0, |pause| (now.as_second() - told.at) / pause);
            if passed < 1 {
                return (episode.clone(), None, due(told.at));
            }
            // The grid of reminders is fixed by the first telling, so that it does not depend on when we look.
            let at = told.at + passed * pause.unwrap_or_default();
            let mut told = episode.told.remove(position);
            (told.at, told.times) = (at, told.times.saturating_add(1));
            (told, Timestamp::from_second(at).ok())
        }
    };
    told.what.truncate(16);
    let news = News {
        identity: vec![
            "failed".into(),
            episode.since.to_string(),
            told.what.clone(),
            told.times.to_string(),
        ],
        reminder,
        fold: reminder.map(|_| format!("reminder {}", told.what)),
    };
    let next = due(told.at);
    if episode.told.len() >= REMEMBERED {
        episode.told.remove(0);
    }
    episode.told.push(told);
    (episode, Some(news), next)
}

fn short(what: &str) -> String {
    Sha256::digest(steady(what).as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The text without what changes with every attempt: durations, points in time, long numbers and hashes.
fn steady(text: &str) -> String {
    let mut steady = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match point_in_time(rest) {
            0 => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
            length => {
                steady.push('#');
                rest = &rest[length..];
                continue;
            }
        };
        if length == 0 {
            steady.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let bare = word.trim_end_matches('.');
        steady.push_str(if changes(bare) { "#" } else { bare });
        steady.push_str(&word[bare.len()..]);
        rest = after;
    }
    steady
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '.' || c == 'µ'
}

fn changes(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_duration = word.ends_with(['s', 'm', 'h']) && word.parse::<api::Duration>().is_ok();
    let is_number = digits == word.len() && digits >= 4;
    let is_hash = digits > 0 && word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits > 0 && (is_duration || is_number || is_hash)
}

/// The length of the point in time that the text starts with (`2026-01-02T03:04:05Z` and its relatives), or 0.
fn point_in_time(text: &str) -> usize {
    let pattern = b"dddd-dd-dd";
    let bytes = text.as_bytes();
    let starts = bytes.len() >= pattern.len()
        && pattern.iter().zip(bytes).all(|(kind, byte)| match kind {
            b'd' => byte.is_ascii_digit(),
            other => other == byte,
        });
    if !starts {
        return 0;
    }
    bytes
        .iter()
        .position(|byte| !(byte.is_ascii_digit() || b"-:.TZ+".contains(byte)))
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    const EVERY: Voice = Voice::Every(Duration::from_secs(300));

    /// Feeds failures (time, text) and gives the numbers of those that were news.
    fn news(failures: &[(i64, &str)], voice: Voice) -> Vec<usize> {
        let mut episode = None;
        let mut told = Vec::new();
        for (number, (second, text)) in failures.iter().enumerate() {
            let (next, news, _) = observe(episode, text, at(*second), voice, at(*second));
            episode = Some(next);
            told.extend(news.map(|_| number));
        }
        told
    }

    #[test]
    fn a_failure_that_lasts_is_told_once_and_then_at_the_pause() {
        let lasting: Vec<_> = (0..7).map(|minute| (1000 + minute * 60, "broken")).collect();
        assert_eq!(news(&lasting, EVERY), [0, 5]);
        assert_eq!(news(&lasting, Voice::Once), [0]);
        assert_eq!(news(&lasting, Voice::Silent), [] as [usize; 0]);
    }

    #[test]
    fn durations_and_random_names_make_no_news() {
        let failures = [
            (0, "health check failed after 30.017s: timeout"),
            (10, "health check failed after 1m0.5s: timeout"),
            (20, "build failed: /tmp/kustomization-1234567/app"),
            (30, "build failed: /tmp/kustomization-7654321/app"),
            (40, "request 3f2a99bc0d at 2026-01-02T03:04:05Z refused"),
            (50, "request 3f2a99bc0e at 2026-01-02T03:05:06.7Z refused"),
        ];
        assert_eq!(news(&failures, EVERY), [0, 2, 4]);
    }

    #[test]
    fn names_and_small_numbers_make_news() {
        assert_eq!(
            news(
                &[(0, "app-1 failed"), (1, "app-2 failed"), (2, "line 7"), (3, "line 8")],
                EVERY
            ),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn two_failures_in_turn_are_told_once_each() {
        let failures = [(0, "a"), (10, "b"), (20, "a"), (30, "b"), (300, "a"), (310, "b")];
        assert_eq!(news(&failures, EVERY), [0, 1, 4, 5]);
    }

    #[test]
    fn reminders_lie_on_a_grid_and_have_identities_of_their_own() {
        let (episode, first, next) = observe(None, "a", at(100), EVERY, at(101));
        assert_eq!(next, Some(at(401)));
        let (episode, reminder, next) = observe(Some(episode), "a", at(100), EVERY, at(1099));
        let (first, reminder) = (first.unwrap(), reminder.unwrap());
        assert_eq!((first.reminder, reminder.reminder), (None, Some(at(1001))));
        assert_eq!(next, Some(at(1301)));
        assert_ne!(first.identity, reminder.identity);
        assert_eq!(episode.since(), 100);
    }
}
