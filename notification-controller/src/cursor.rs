//! What is remembered over restarts: for each object what was told last, and the events that still have to be
//! delivered. Pure: a shard is a value that the edge ([`crate::journal`]) reads from and writes to a ConfigMap.
//!
//! An event is part of the shard before anybody sends it, in the same write that moves the cursor: whatever happens
//! then, it is either not derived yet or not forgotten. Events leave a shard when every Alert that took them is
//! served. A shard is bounded; when it is full, the oldest events go, and the caller says so.
//!
//! # Form
//! One key per object (its uid), the value a JSON object. Writes send only the keys that changed.

use crate::derive::{Cursor, Told};
use api::event::Event;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many shards there are. Changing it orphans what is remembered.
pub const SHARDS: usize = 8;
/// The most bytes of a shard: below the 1 MiB that the API server takes.
const MAX_BYTES: usize = 900 * 1024;

/// The shard that remembers an object.
pub fn shard_of(key: &str) -> usize {
    usize::from(Sha256::digest(key.as_bytes())[0]) % SHARDS
}

/// What is remembered of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was told last; nothing for objects that are gone or belong to other controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// What still has to be delivered, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub queue: VecDeque<Pending>,
}

/// An event that still has to be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Its stable id.
    pub id: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// The uids of the Alerts that are not served yet.
    pub alerts: BTreeSet<String>,
    /// See [`Told::fold`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<String>,
    /// The event.
    pub event: Event,
    /// The version of the shard it came with; 0 for what was read.
    #[serde(skip)]
    pub version: u64,
}

/// A part of the objects.
#[derive(Debug, Default)]
pub struct Shard {
    entries: BTreeMap<String, Entry>,
    sizes: BTreeMap<String, usize>,
    bytes: usize,
    dirty: BTreeSet<String>,
    version: u64,
    durable: u64,
}

/// The part of a shard that has to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Values by key; nothing for keys to remove.
    pub data: BTreeMap<String, Option<String>>,
    /// The version of the shard that this write makes durable.
    pub version: u64,
}

impl Shard {
    /// A shard as it was read. Entries that cannot be read are left out, by key and error.
    pub fn read(data: &BTreeMap<String, String>) -> (Self, Vec<(String, String)>) {
        let mut shard = Shard::default();
        let mut broken = Vec::new();
        for (key, text) in data {
            match serde_json::from_str(text) {
                Ok(entry) => {
                    shard.entries.insert(key.clone(), entry);
                    shard.sizes.insert(key.clone(), key.len() + text.len());
                    shard.bytes += key.len() + text.len();
                }
                Err(error) => {
                    shard.dirty.insert(key.clone());
                    broken.push((key.clone(), error.to_string()));
                }
            }
        }
        (shard, broken)
    }

    /// What is remembered of an object.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Everything that is remembered.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    /// Moves the cursor of an object. A move that cannot be told from the outside is kept but not marked for writing.
    pub fn advance(&mut self, key: &str, about: (&str, &str, &str), cursor: Cursor) {
        let idle = match (self.entries.get(key).and_then(|entry| entry.cursor.as_ref()), &cursor) {
            (Some(old), new) if old == new => return,
            (Some(Cursor::Kustomization(old)), Cursor::Kustomization(new)) => old.differs_only_in_finished(new),
            _ => false,
        };
        let entry = self.entries.entry(key.to_owned()).or_insert_with(|| Entry::new(about));
        entry.cursor = Some(cursor);
        if !idle {
            self.touch(key);
        }
    }

    /// Queues an event for Alerts. Returns what had to go to make room.
    pub fn push(
        &mut self,
        key: &str,
        about: (&str, &str, &str),
        told: Told,
        alerts: BTreeSet<String>,
        now: Timestamp,
        in_flight: &dyn Fn(&str) -> bool,
    ) -> Vec<Pending> {
        self.version += 1;
        let version = self.version;
        let entry = self.entries.entry(key.to_owned()).or_insert_with(|| Entry::new(about));
        let Told { id, fold, event } = told;
        let mut pending = Pending {
            id,
            since: now,
            alerts,
            fold,
            event,
            version,
        };
        if let Some(last) = entry.queue.back()
            && last.fold.is_some()
            && last.fold == pending.fold
            && !in_flight(&last.id)
        {
            pending.alerts.extend(last.alerts.iter().cloned());
            entry.queue.pop_back();
        }
        entry.queue.push_back(pending);
        self.touch(key);
        self.make_room()
    }

    /// Takes an Alert off a pending event; the event goes with its last Alert. Returns whether anything was taken.
    pub fn served(&mut self, key: &str, id: &str, alert: &str) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let Some(position) = entry.queue.iter().position(|pending| pending.id == id) else {
            return false;
        };
        let taken = entry.queue[position].alerts.remove(alert);
        if entry.queue[position].alerts.is_empty() {
            entry.queue.remove(position);
        }
        let is_empty = entry.queue.is_empty() && entry.cursor.is_none();
        if is_empty {
            self.entries.remove(key);
        }
        self.touch(key);
        taken
    }

    /// The object is gone: what waits is still delivered, then nothing is remembered.
    pub fn gone(&mut self, key: &str) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.cursor.take().is_none() {
            return;
        }
        if entry.queue.is_empty() {
            self.entries.remove(key);
        }
        self.touch(key);
    }

    /// Whether a pending event has been written.
    pub fn is_durable(&self, pending: &Pending) -> bool {
        pending.version <= self.durable
    }

    /// Counts the events that were queued: each has the version it came with.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version up to which everything is written.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether there is something to write.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What has to be written; it counts as written until [`Shard::failed`] says otherwise.
    pub fn take(&mut self) -> Option<Batch> {
        if self.dirty.is_empty() {
            return None;
        }
        let keys = std::mem::take(&mut self.dirty);
        let value = |key: &String| self.entries.get(key).map(text);
        let data = keys.iter().map(|key| (key.clone(), value(key))).collect();
        Some(Batch {
            data,
            version: self.version,
        })
    }

    /// A batch was written, or cannot be for so long that messages must not wait for it any more.
    pub fn written(&mut self, version: u64) {
        self.durable = self.durable.max(version);
    }

    /// A batch was not written.
    pub fn failed(&mut self, batch: Batch) {
        self.dirty.extend(batch.data.into_keys());
    }

    /// Everything has to be written anew over what is there now, keys of others removed.
    pub fn overwrite(&mut self, there: impl IntoIterator<Item = String>) {
        self.dirty.extend(there);
        self.dirty.extend(self.entries.keys().cloned());
    }

    fn touch(&mut self, key: &str) {
        let size = self.entries.get(key).map_or(0, |entry| key.len() + text(entry).len());
        let before = match size {
            0 => self.sizes.remove(key),
            _ => self.sizes.insert(key.to_owned(), size),
        };
        self.bytes = self.bytes + size - before.unwrap_or(0);
        self.dirty.insert(key.to_owned());
    }

    /// Repetitions go first, then the oldest.
    fn make_room(&mut self) -> Vec<Pending> {
        let mut dropped = Vec::new();
        while self.bytes > MAX_BYTES {
            let queued = self
                .entries
                .iter()
                .flat_map(|(key, entry)| entry.queue.iter().map(move |event| (key, event)));
            let oldest = queued.min_by_key(|(_, event)| (event.fold.is_none(), event.since));
            let Some((key, id)) = oldest.map(|(key, event)| (key.clone(), event.id.clone())) else {
                break;
            };
            if let Some(entry) = self.entries.get_mut(&key)
                && let Some(position) = entry.queue.iter().position(|event| event.id == id)
            {
                dropped.extend(entry.queue.remove(position));
            }
            self.touch(&key);
        }
        dropped
    }
}

impl Entry {
    fn new((kind, namespace, name): (&str, &str, &str)) -> Self {
        Entry {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cursor: None,
            queue: VecDeque::new(),
        }
    }
}

/// Entries are maps with string keys, which always can be written as JSON.
fn text(entry: &Entry) -> String {
    serde_json::to_string(entry).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::testing::at;
    use api::event::{ObjectReference, Severity};
    use api::meta::Time;

    const ABOUT: (&str, &str, &str) = ("Kustomization", "d", "app");

    fn told(id: &str, fold: Option<&str>, length: usize) -> Told {
        Told {
            id: id.into(),
            fold: fold.map(str::to_owned),
            event: Event {
                involved_object: ObjectReference::default(),
                severity: Severity::Info,
                timestamp: Time(at(1)),
                message: "m".repeat(length),
                reason: String::new(),
                metadata: BTreeMap::new(),
                reporting_controller: String::new(),
                reporting_instance: String::new(),
            },
        }
    }

    fn alerts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn push(shard: &mut Shard, key: &str, told: Told, names: &[&str], now: i64) -> Vec<Pending> {
        shard.push(key, ABOUT, told, alerts(names), at(now), &|_| false)
    }

    /// The shard as it would be read after everything was written.
    fn reread(shard: &mut Shard) -> Shard {
        shard.overwrite([]);
        let data = shard
            .take()
            .unwrap()
            .data
            .into_iter()
            .filter_map(|(key, text)| Some((key, text?)))
            .collect();
        let (read, broken) = Shard::read(&data);
        assert_eq!(broken, []);
        read
    }

    #[test]
    fn an_event_is_held_back_until_it_is_written_and_survives_then() {
        let mut shard = Shard::default();
        push(&mut shard, "u", told("1", None, 1), &["a", "b"], 5);
        let pending = |shard: &Shard| shard.get("u").unwrap().queue[0].clone();
        assert!(!shard.is_durable(&pending(&shard)));
        assert_eq!((shard.version(), shard.durable()), (1, 0));
        let batch = shard.take().unwrap();
        shard.written(batch.version);
        assert!(shard.is_durable(&pending(&shard)) && !shard.is_dirty());
        let read = reread(&mut shard);
        assert!(read.is_durable(&pending(&read)));
        assert_eq!(pending(&read).alerts, alerts(&["a", "b"]));
        assert_eq!(read.bytes, shard.bytes);
    }

    #[test]
    fn an_event_goes_with_its_last_alert_and_the_entry_of_a_gone_object_with_its_last_event() {
        let mut shard = Shard::default();
        let cursor = Cursor::Kustomization(Default::default());
        shard.advance("u", ABOUT, cursor);
        push(&mut shard, "u", told("1", None, 1), &["a", "b"], 5);
        assert!(shard.served("u", "1", "a"));
        assert!(!shard.served("u", "1", "a"));
        shard.gone("u");
        assert_eq!(shard.get("u").unwrap().queue.len(), 1);
        assert!(shard.served("u", "1", "b"));
        assert!(shard.get("u").is_none());
        assert_eq!(shard.bytes, 0);
        assert_eq!(shard.take().unwrap().data, BTreeMap::from([("u".to_owned(), None)]));
    }

    #[test]
    fn a_write_that_failed_is_repeated_with_the_newest_values() {
        let mut shard = Shard::default();
        push(&mut shard, "u", told("1", None, 1), &["a"], 5);
        let batch = shard.take().unwrap();
        push(&mut shard, "u", told("2", None, 1), &["a"], 6);
        shard.failed(batch);
        let again = shard.take().unwrap();
        assert!(again.data["u"].as_ref().unwrap().contains(r#""id":"2""#));
        assert_eq!(again.version, 2);
    }

    #[test]
    fn repetitions_replace_each_other_only_while_they_wait_side_by_side() {
        let mut shard = Shard::default();
        push(&mut shard, "u", told("1", Some("f"), 1), &["a"], 1);
        push(&mut shard, "u", told("2", Some("f"), 1), &["b"], 2);
        push(&mut shard, "u", told("3", None, 1), &["a"], 3);
        push(&mut shard, "u", told("4", Some("f"), 1), &["a"], 4);
        shard.push("u", ABOUT, told("5", Some("f"), 1), alerts(&["a"]), at(5), &|id| {
            id == "4"
        });
        let ids: Vec<_> = shard
            .get("u")
            .unwrap()
            .queue
            .iter()
            .map(|event| event.id.as_str())
            .collect();
        assert_eq!(ids, ["2", "3", "4", "5"]);
        assert_eq!(shard.get("u").unwrap().queue[0].alerts, alerts(&["a", "b"]));
    }

    #[test]
    fn a_full_shard_lets_repetitions_go_first_and_then_the_oldest() {
        let mut shard = Shard::default();
        let size = MAX_BYTES / 4;
        for (number, fold) in [(1, None), (2, Some("f")), (3, None)] {
            assert_eq!(
                push(
                    &mut shard,
                    &format!("u{number}"),
                    told(&number.to_string(), fold, size),
                    &["a"],
                    number
                ),
                []
            );
        }
        let dropped = |dropped: Vec<Pending>| dropped.into_iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(dropped(push(&mut shard, "u4", told("4", None, size), &["a"], 4)), ["2"]);
        assert_eq!(dropped(push(&mut shard, "u5", told("5", None, size), &["a"], 5)), ["1"]);
        assert!(shard.bytes <= MAX_BYTES);
    }

    #[test]
    fn the_end_of_a_reconcile_nobody_is_told_about_is_not_worth_a_write() {
        let mut shard = Shard::default();
        let cursor = |text: &str| serde_json::from_str::<Cursor>(text).unwrap();
        shard.advance(
            "u",
            ABOUT,
            cursor(r#"{"of":"kustomization","healthy":true,"finished":"1"}"#),
        );
        shard.take();
        shard.advance(
            "u",
            ABOUT,
            cursor(r#"{"of":"kustomization","healthy":true,"finished":"2"}"#),
        );
        assert!(!shard.is_dirty());
        shard.advance(
            "u",
            ABOUT,
            cursor(r#"{"of":"kustomization","healthy":false,"finished":"2"}"#),
        );
        assert!(shard.is_dirty());
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_left_out_and_removed() {
        let data = BTreeMap::from([("u".to_owned(), "{}".to_owned()), ("v".to_owned(), "no".to_owned())]);
        let (mut shard, broken) = Shard::read(&data);
        assert_eq!(broken.len(), 2);
        assert_eq!(shard.take().unwrap().data["v"], None);
    }
}
