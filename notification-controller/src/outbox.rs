//! When which event is sent: in order per Alert and object, not faster than a Provider takes it. Pure: moments are
//! arguments, sending is done by others ([`crate::dispatch`]).
//!
//! - A **lane** is one Alert and one object. It sends one event at a time, the oldest first, and keeps to it until it
//!   is delivered, refused for good or too old.
//! - A **gate** is one Provider. When it cannot be reached or is overloaded, the whole gate closes for a while, twice
//!   as long each time, so that many lanes do not hammer a service that is down. An open gate lets a few lanes in at
//!   a time; one that just opened after a failure a single one.

use crate::cursor::{Batch, Pending, SHARDS, Shard, shard_of};
use crate::derive::{Cursor, Told};
use api::event::Event;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Deliveries to one Provider at a time.
const AT_A_TIME: u32 = 4;
/// The pause after the first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that we choose ourselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause that a service can ask for.
const LONGEST_WISH: Duration = Duration::from_secs(3600);
/// How long a message is tried that the service refuses as such: others of its lane wait behind it.
const REFUSED_FOR: Duration = Duration::from_secs(3600);

/// An event on its way to the Provider of an Alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The key of the object.
    pub key: String,
    /// The uid of the Alert.
    pub alert: String,
    /// The Provider as `namespace/name`.
    pub provider: String,
    /// The id of the event.
    pub id: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// The event.
    pub event: Event,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It was delivered.
    Delivered,
    /// Nobody wants it (any more).
    Dropped,
    /// It was not delivered; it is tried again unless it is too old.
    Failed {
        /// Who is to blame.
        blame: Blame,
        /// How long the service wants to be left alone.
        wish: Option<Duration>,
    },
}

/// Who is to blame for a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The Provider: nothing else would get through either.
    Provider,
    /// The message: others may get through.
    Message,
}

/// What follows from a fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The letter is done with.
    Done,
    /// It is tried again.
    Retry,
    /// It has become too old.
    GivenUp,
}

#[derive(Debug, Default)]
struct Lane {
    in_flight: Option<String>,
    failures: u32,
    open: Timestamp,
}

#[derive(Debug, Default)]
struct Gate {
    in_flight: u32,
    failures: u32,
    open: Timestamp,
    // Failures of attempts that began before the gate closed do not close it further.
    closed: Timestamp,
}

/// All shards, and the lanes and gates over them.
#[derive(Debug)]
pub struct Outbox {
    shards: Vec<Shard>,
    waiting: BTreeSet<String>,
    lanes: BTreeMap<(String, String), Lane>,
    gates: BTreeMap<String, Gate>,
    give_up: Duration,
}

impl Outbox {
    /// An outbox over what was read, that gives up letters after this time.
    pub fn new(shards: Vec<Shard>, give_up: Duration) -> Self {
        debug_assert_eq!(shards.len(), SHARDS);
        let waiting = shards
            .iter()
            .flat_map(Shard::entries)
            .filter(|(_, entry)| !entry.queue.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        Outbox {
            shards,
            waiting,
            lanes: BTreeMap::new(),
            gates: BTreeMap::new(),
            give_up,
        }
    }

    /// A shard by its number.
    pub fn shard(&mut self, number: usize) -> Option<&mut Shard> {
        self.shards.get_mut(number)
    }

    /// What was told last about an object.
    pub fn cursor(&self, key: &str) -> Option<&Cursor> {
        self.shards[shard_of(key)].get(key)?.cursor.as_ref()
    }

    /// The objects that have a cursor: key, kind, namespace and name.
    pub fn objects(&self) -> Vec<(String, String, String, String)> {
        let entries = self
            .shards
            .iter()
            .flat_map(Shard::entries)
            .filter(|(_, entry)| entry.cursor.is_some());
        entries
            .map(|(key, entry)| {
                (
                    key.clone(),
                    entry.kind.clone(),
                    entry.namespace.clone(),
                    entry.name.clone(),
                )
            })
            .collect()
    }

    /// Moves the cursor of an object.
    pub fn advance(&mut self, key: &str, about: (&str, &str, &str), cursor: Cursor) {
        self.shards[shard_of(key)].advance(key, about, cursor);
    }

    /// Queues an event for Alerts. Returns what had to go to make room.
    pub fn push(
        &mut self,
        key: &str,
        about: (&str, &str, &str),
        told: Told,
        alerts: BTreeSet<String>,
        now: Timestamp,
    ) -> Vec<Pending> {
        let lanes = &self.lanes;
        let in_flight = |id: &str| lanes.values().any(|lane| lane.in_flight.as_deref() == Some(id));
        self.waiting.insert(key.to_owned());
        self.shards[shard_of(key)].push(key, about, told, alerts, now, &in_flight)
    }

    /// The object is gone.
    pub fn gone(&mut self, key: &str) {
        self.shards[shard_of(key)].gone(key);
    }

    /// What has to be written of a shard.
    pub fn take(&mut self, number: usize) -> Option<Batch> {
        self.shards.get_mut(number)?.take()
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> usize {
        let entries = self
            .waiting
            .iter()
            .filter_map(|key| self.shards[shard_of(key)].get(key));
        entries
            .flat_map(|entry| &entry.queue)
            .map(|pending| pending.alerts.len())
            .sum()
    }

    /// Forgets the lanes of Alerts that are gone and what waited for them. `provider` gives the Provider of an Alert.
    fn drop_orphans(&mut self, provider: &dyn Fn(&str) -> Option<String>) {
        let mut orphans = Vec::new();
        for key in &self.waiting {
            let Some(entry) = self.shards[shard_of(key)].get(key) else {
                continue;
            };
            for pending in &entry.queue {
                let gone = pending.alerts.iter().filter(|alert| provider(alert).is_none());
                orphans.extend(gone.map(|alert| (key.clone(), pending.id.clone(), alert.clone())));
            }
        }
        for (key, id, alert) in orphans {
            self.shards[shard_of(&key)].served(&key, &id, &alert);
            self.lanes.remove(&(alert, key));
        }
        let shards = &self.shards;
        let waits = |key: &String| {
            shards[shard_of(key)]
                .get(key)
                .is_some_and(|entry| !entry.queue.is_empty())
        };
        self.waiting.retain(waits);
    }

    /// The letters to send now; they count as under way until [`Outbox::settle`].
    pub fn due(&mut self, now: Timestamp, provider: &dyn Fn(&str) -> Option<String>) -> Vec<Letter> {
        self.drop_orphans(provider);
        let mut letters = Vec::new();
        for key in &self.waiting {
            let shard = &self.shards[shard_of(key)];
            let Some(entry) = shard.get(key) else { continue };
            let mut seen = BTreeSet::new();
            for pending in &entry.queue {
                for alert in &pending.alerts {
                    // The first one in the queue is the head of the lane, whether it can go or not.
                    if !seen.insert(alert) || !shard.is_durable(pending) {
                        continue;
                    }
                    let Some(provider) = provider(alert) else { continue };
                    let lane = self.lanes.entry((alert.clone(), key.clone())).or_default();
                    let gate = self.gates.entry(provider.clone()).or_default();
                    let room = if gate.failures > 0 { 1 } else { AT_A_TIME };
                    if lane.in_flight.is_some() || lane.open > now || gate.open > now || gate.in_flight >= room {
                        continue;
                    }
                    lane.in_flight = Some(pending.id.clone());
                    gate.in_flight += 1;
                    letters.push(Letter {
                        key: key.clone(),
                        alert: alert.clone(),
                        provider,
                        id: pending.id.clone(),
                        since: pending.since,
                        event: pending.event.clone(),
                    });
                }
            }
        }
        letters
    }

    /// Says what became of a letter that was sent at `started`.
    pub fn settle(&mut self, letter: &Letter, fate: &Fate, started: Timestamp, now: Timestamp) -> Next {
        let lane = self
            .lanes
            .entry((letter.alert.clone(), letter.key.clone()))
            .or_default();
        let gate = self.gates.entry(letter.provider.clone()).or_default();
        lane.in_flight = None;
        gate.in_flight = gate.in_flight.saturating_sub(1);
        let next = match fate {
            Fate::Delivered => {
                (gate.failures, gate.open) = (0, Timestamp::default());
                Next::Done
            }
            Fate::Dropped => Next::Done,
            Fate::Failed { blame, wish } => {
                let limit = match blame {
                    Blame::Provider => self.give_up,
                    Blame::Message => self.give_up.min(REFUSED_FOR),
                };
                let wish = wish.map(|wish| wish.min(LONGEST_WISH));
                match blame {
                    Blame::Provider if started >= gate.closed => {
                        gate.failures += 1;
                        gate.closed = now;
                        gate.open = later(now, wish.unwrap_or_else(|| pause(gate.failures, &letter.id)));
                    }
                    Blame::Provider => {}
                    Blame::Message => {
                        lane.failures += 1;
                        lane.open = later(now, wish.unwrap_or_else(|| pause(lane.failures, &letter.id)));
                    }
                }
                match now.duration_since(letter.since) >= signed(limit) {
                    true => Next::GivenUp,
                    false => Next::Retry,
                }
            }
        };
        if next != Next::Retry {
            self.lanes.remove(&(letter.alert.clone(), letter.key.clone()));
            let shard = &mut self.shards[shard_of(&letter.key)];
            shard.served(&letter.key, &letter.id, &letter.alert);
            if shard.get(&letter.key).is_none_or(|entry| entry.queue.is_empty()) {
                self.waiting.remove(&letter.key);
            }
        }
        next
    }

    /// Something about a Provider changed: it is worth trying at once.
    pub fn reopen(&mut self, provider: &str) {
        if let Some(gate) = self.gates.get_mut(provider) {
            (gate.failures, gate.open) = (0, Timestamp::default());
        }
    }

    /// When something can be sent that cannot be now.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let lanes = self.lanes.values().map(|lane| lane.open);
        let gates = self.gates.values().map(|gate| gate.open);
        lanes
            .chain(gates)
            .filter(|open| *open > now && !self.waiting.is_empty())
            .min()
    }
}

/// Twice as long with every failure, a fifth more or less so that not everybody comes back at once.
fn pause(failures: u32, id: &str) -> Duration {
    let doubled = FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE);
    let hash = Sha256::digest(format!("{id} {failures}").as_bytes());
    doubled.mul_f64(0.8 + 0.4 * f64::from(hash[0]) / 255.0)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(signed(duration)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::testing::at;
    use api::event::{ObjectReference, Severity};
    use api::meta::Time;

    fn told(id: &str) -> Told {
        Told {
            id: id.into(),
            fold: None,
            event: Event {
                involved_object: ObjectReference::default(),
                severity: Severity::Info,
                timestamp: Time(at(1)),
                message: id.into(),
                reason: String::new(),
                metadata: BTreeMap::new(),
                reporting_controller: String::new(),
                reporting_instance: String::new(),
            },
        }
    }

    fn outbox() -> Outbox {
        Outbox::new(
            (0..SHARDS).map(|_| Shard::default()).collect(),
            Duration::from_secs(7200),
        )
    }

    fn push(outbox: &mut Outbox, key: &str, id: &str, alerts: &[&str]) {
        let alerts = alerts.iter().map(|alert| (*alert).to_owned()).collect();
        outbox.push(key, ("K", "d", key), told(id), alerts, at(0));
        write(outbox);
    }

    fn write(outbox: &mut Outbox) {
        for number in 0..SHARDS {
            if let Some(batch) = outbox.take(number) {
                outbox.shard(number).unwrap().written(batch.version);
            }
        }
    }

    /// Alerts a* send to the Provider p, alerts b* to q.
    fn provider(alert: &str) -> Option<String> {
        match &alert[..1] {
            "a" => Some("d/p".into()),
            "b" => Some("d/q".into()),
            _ => None,
        }
    }

    fn due(outbox: &mut Outbox, second: i64) -> Vec<Letter> {
        outbox.due(at(second), &provider)
    }

    fn ids(letters: &[Letter]) -> Vec<String> {
        letters
            .iter()
            .map(|letter| format!("{}>{}", letter.id, letter.alert))
            .collect()
    }

    fn failed(blame: Blame, wish: Option<u64>) -> Fate {
        Fate::Failed {
            blame,
            wish: wish.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_lane_sends_one_event_at_a_time_in_order_and_lanes_do_not_wait_for_each_other() {
        let mut outbox = outbox();
        push(&mut outbox, "x", "1", &["a", "b"]);
        push(&mut outbox, "x", "2", &["a", "b"]);
        push(&mut outbox, "y", "3", &["a"]);
        let letters = due(&mut outbox, 1);
        assert_eq!(ids(&letters), ["1>a", "1>b", "3>a"]);
        assert_eq!(due(&mut outbox, 1), []);
        assert_eq!(outbox.settle(&letters[1], &Fate::Delivered, at(1), at(2)), Next::Done);
        assert_eq!(ids(&due(&mut outbox, 2)), ["2>b"]);
    }

    #[test]
    fn nothing_is_sent_before_it_is_written() {
        let mut outbox = outbox();
        outbox.push("x", ("K", "d", "x"), told("1"), BTreeSet::from(["a".to_owned()]), at(0));
        assert_eq!(due(&mut outbox, 1), []);
        write(&mut outbox);
        assert_eq!(ids(&due(&mut outbox, 1)), ["1>a"]);
    }

    #[test]
    fn a_provider_that_fails_is_left_alone_and_then_tried_with_one_event() {
        let mut outbox = outbox();
        for key in ["v", "w", "x"] {
            push(&mut outbox, key, key, &["a"]);
        }
        push(&mut outbox, "y", "y", &["b"]);
        let letters = due(&mut outbox, 10);
        assert_eq!(letters.len(), 4);
        for letter in letters.iter().filter(|letter| letter.alert == "a") {
            assert_eq!(
                outbox.settle(letter, &failed(Blame::Provider, None), at(10), at(11)),
                Next::Retry
            );
        }
        assert_eq!(due(&mut outbox, 11), []);
        let open = outbox.next(at(11)).unwrap();
        assert!(open > at(11) && open < at(13), "{open}");
        let probe = due(&mut outbox, 13);
        assert_eq!(ids(&probe), ["v>a"]);
        outbox.settle(&probe[0], &Fate::Delivered, at(13), at(13));
        assert_eq!(ids(&due(&mut outbox, 13)), ["w>a", "x>a"]);
    }

    #[test]
    fn a_wish_to_be_left_alone_is_granted_within_limits() {
        let mut outbox = outbox();
        push(&mut outbox, "x", "1", &["a"]);
        let letter = due(&mut outbox, 10).remove(0);
        outbox.settle(&letter, &failed(Blame::Provider, Some(90)), at(10), at(10));
        assert_eq!(outbox.next(at(10)), Some(at(100)));
        let letter = due(&mut outbox, 100).remove(0);
        outbox.settle(&letter, &failed(Blame::Provider, Some(1_000_000)), at(100), at(100));
        assert_eq!(outbox.next(at(100)), Some(at(3700)));
        outbox.reopen("d/p");
        assert_eq!(due(&mut outbox, 101).len(), 1);
    }

    #[test]
    fn a_refused_message_holds_up_its_lane_alone_and_not_for_long() {
        let mut outbox = outbox();
        push(&mut outbox, "x", "1", &["a"]);
        push(&mut outbox, "x", "2", &["a"]);
        let letter = due(&mut outbox, 10).remove(0);
        assert_eq!(
            outbox.settle(&letter, &failed(Blame::Message, None), at(10), at(10)),
            Next::Retry
        );
        assert_eq!(due(&mut outbox, 10), []);
        push(&mut outbox, "y", "3", &["a"]);
        assert_eq!(ids(&due(&mut outbox, 10)), ["3>a"]);
        let letter = due(&mut outbox, 3600).remove(0);
        assert_eq!(letter.id, "1");
        assert_eq!(
            outbox.settle(&letter, &failed(Blame::Message, None), at(3600), at(3600)),
            Next::GivenUp
        );
        assert_eq!(ids(&due(&mut outbox, 3601)), ["2>a"]);
    }

    #[test]
    fn a_letter_is_given_up_when_it_is_too_old_and_not_before() {
        let mut outbox = outbox();
        push(&mut outbox, "x", "1", &["a"]);
        let letter = due(&mut outbox, 7199).remove(0);
        assert_eq!(
            outbox.settle(&letter, &failed(Blame::Provider, None), at(7199), at(7199)),
            Next::Retry
        );
        let letter = due(&mut outbox, 7205).remove(0);
        assert_eq!(
            outbox.settle(&letter, &failed(Blame::Provider, None), at(7205), at(7205)),
            Next::GivenUp
        );
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn what_waits_for_an_alert_that_is_gone_is_forgotten() {
        let mut outbox = outbox();
        push(&mut outbox, "x", "1", &["a", "gone"]);
        assert_eq!(outbox.waiting(), 2);
        assert_eq!(ids(&due(&mut outbox, 1)), ["1>a"]);
        assert_eq!(outbox.waiting(), 1);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<_> = (1..10).map(|failures| pause(failures, "x").as_secs_f64()).collect();
        for (number, seconds) in seconds.iter().enumerate() {
            let middle = f64::from(1 << number).min(60.0);
            assert!(
                *seconds >= 0.8 * middle && *seconds <= 1.2 * middle,
                "{number}: {seconds}"
            );
        }
    }
}
