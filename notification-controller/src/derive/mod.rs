//! Events from status alone: what is to be told about an object, given what was told before and how it stands now.
//!
//! Everything here is a pure function of a [`Cursor`] (what was told last), a [`Snapshot`] (the object as the watch
//! shows it) and a [`Timing`]. States count when they are final: `Ready` is decided for the present generation and no
//! work is under way except a later retry. Times in events are those of the status, so that the same status leads to
//! the same event.
//!
//! What this module does not do: choose who is told ([`crate::alert`]), remember ([`crate::cursor`]) or send.

pub mod failing;
pub mod git_repository;
pub mod kustomization;

use api::event::{Event, ObjectReference, Severity};
use api::meta::{Condition, Time, condition, key, reason};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which object a snapshot is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The object as events name it.
    pub reference: ObjectReference,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that its events carry.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

impl About {
    /// The facts of an object.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let text = |value: Option<String>| value.unwrap_or_default();
        About {
            reference: ObjectReference {
                kind: K::kind(&()).into_owned(),
                namespace: text(object.namespace()),
                name: object.name_any(),
                uid: text(object.uid()),
                api_version: K::api_version(&()).into_owned(),
                resource_version: text(object.resource_version()),
                field_path: String::new(),
            },
            labels: object.labels().clone(),
            annotations: object
                .annotations()
                .iter()
                .filter(|(name, _)| name.starts_with(key::EVENT_PREFIX))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            created: object.creation_timestamp().map(|time| time.0).unwrap_or_default(),
        }
    }
}

/// An object at one moment, reduced to what can be told about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which object.
    pub about: About,
    /// How it stands.
    pub state: State,
}

/// The part of a snapshot that depends on the kind.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// A GitRepository.
    GitRepository(git_repository::Snapshot),
    /// A Kustomization.
    Kustomization(Box<kustomization::Snapshot>),
}

/// What was told last about an object; kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "camelCase")]
pub enum Cursor {
    /// Of a GitRepository.
    GitRepository(git_repository::Cursor),
    /// Of a Kustomization.
    Kustomization(kustomization::Cursor),
}

impl Cursor {
    /// Takes a failure that lasts already as told at that moment: the reminder comes a pause later.
    pub fn begin_at(&mut self, now: Timestamp) {
        let failing = match self {
            Cursor::GitRepository(cursor) => cursor.failing.as_mut(),
            Cursor::Kustomization(cursor) => cursor.failing.as_mut(),
        };
        if let Some(failing) = failing {
            failing.told_at(now);
        }
    }
}

/// The moment of a derivation, and the pause between reminders.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The moment.
    pub now: Timestamp,
    /// How long after a failure was told it is told again while it lasts.
    pub remind: Duration,
}

/// An event with what makes it recognisable.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The same for every repetition of this event, and for no other one.
    pub id: String,
    /// Events with the same fold replace each other while they wait: they say the same thing again.
    pub fold: Option<String>,
    /// The event, its metadata with prefixes.
    pub event: Event,
}

/// The result of a derivation.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// What was told, when the events are.
    pub cursor: Cursor,
    /// The events in their order.
    pub events: Vec<Told>,
    /// When to derive again although nothing has changed.
    pub remind_at: Option<Timestamp>,
}

/// Derives what is to be told. Without a cursor the object is new and everything about it is.
pub fn derive(cursor: Option<&Cursor>, snapshot: &Snapshot, timing: Timing) -> Derived {
    match &snapshot.state {
        State::GitRepository(state) => {
            let previous = match cursor {
                Some(Cursor::GitRepository(cursor)) => cursor.clone(),
                // A uid never changes its kind; a cursor of another kind is of another, older form.
                Some(Cursor::Kustomization(_)) | None => git_repository::Cursor::default(),
            };
            let (cursor, drafts, remind_at) = git_repository::derive(previous, state, timing);
            Derived {
                cursor: Cursor::GitRepository(cursor),
                events: told(snapshot, drafts),
                remind_at,
            }
        }
        State::Kustomization(state) => {
            let previous = match cursor {
                Some(Cursor::Kustomization(cursor)) => cursor.clone(),
                Some(Cursor::GitRepository(_)) | None => kustomization::Cursor::default(),
            };
            let (cursor, drafts, remind_at) = kustomization::derive(previous, state, timing);
            Derived {
                cursor: Cursor::Kustomization(cursor),
                events: told(snapshot, drafts),
                remind_at,
            }
        }
    }
}

/// An event before it is bound to its object.
#[derive(Clone, Debug, PartialEq)]
struct Draft {
    /// What makes it different from every other event of its object.
    identity: Vec<String>,
    fold: Option<String>,
    severity: Severity,
    at: Timestamp,
    reason: String,
    message: String,
    /// Keys without the prefix of the object's group.
    metadata: Vec<(&'static str, String)>,
}

fn told(snapshot: &Snapshot, drafts: Vec<Draft>) -> Vec<Told> {
    let about = &snapshot.about;
    let controller = match &snapshot.state {
        State::GitRepository(_) => "source-controller",
        State::Kustomization(_) => "kustomize-controller",
    };
    let group = about.reference.group();
    let bound = |draft: Draft| {
        // Two episodes can begin within the second that times in the status are rounded to: the revision tells them apart.
        let revision = draft
            .metadata
            .iter()
            .find(|(name, _)| *name == "revision")
            .map(|(_, revision)| revision.clone());
        let parts: Vec<_> = draft.identity.into_iter().chain(revision).collect();
        let mut metadata = about.annotations.clone();
        metadata.extend(
            draft
                .metadata
                .into_iter()
                .map(|(name, value)| (format!("{group}/{name}"), value)),
        );
        Told {
            id: identity(&about.reference.uid, &parts),
            fold: draft.fold,
            event: Event {
                involved_object: about.reference.clone(),
                severity: draft.severity,
                timestamp: Time(draft.at),
                message: draft.message,
                reason: draft.reason,
                metadata,
                reporting_controller: controller.to_owned(),
                reporting_instance: String::new(),
            },
        }
    };
    drafts.into_iter().map(bound).collect()
}

/// The hex of a hash over an object's uid and the parts that identify one of its events.
fn identity(uid: &str, parts: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(uid.as_bytes());
    for part in parts {
        hash.update([0]);
        hash.update(part.as_bytes());
    }
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The conditions of an object and what they have to be judged against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome<'a> {
    /// Not decided, or decided for an older generation.
    Open,
    /// Ready.
    Good(&'a Condition),
    /// Failed.
    Bad {
        /// The condition Ready.
        ready: &'a Condition,
        /// Whether nothing is going to be tried again.
        stalled: bool,
    },
}

impl Standing {
    fn get(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    fn is_true(&self, kind: &str) -> bool {
        self.get(kind)
            .is_some_and(|condition| condition.status == condition::TRUE)
    }

    /// A suspended object stands still: what its conditions say was told when they were set.
    fn outcome(&self) -> Outcome<'_> {
        let Some(ready) = self.get(condition::READY) else {
            return Outcome::Open;
        };
        let working = self
            .get(condition::RECONCILING)
            .is_some_and(|condition| condition.reason != reason::PROGRESSING_WITH_RETRY);
        if self.suspended || working || ready.observed_generation != Some(self.generation) {
            return Outcome::Open;
        }
        match ready.status.as_str() {
            condition::TRUE => Outcome::Good(ready),
            condition::FALSE => Outcome::Bad {
                ready,
                stalled: self.is_true(condition::STALLED),
            },
            _ => Outcome::Open,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(crate) fn timing(now: i64) -> Timing {
        Timing {
            now: at(now),
            remind: Duration::from_secs(300),
        }
    }

    pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str, second: i64) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: Some(1),
            last_transition_time: Time(at(second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::condition;
    use super::*;

    fn check(conditions: &[Condition], generation: i64, suspended: bool, expected: &str) {
        let standing = Standing {
            generation,
            suspended,
            conditions: conditions.to_vec(),
        };
        let outcome = match standing.outcome() {
            Outcome::Open => "open",
            Outcome::Good(_) => "good",
            Outcome::Bad { stalled: false, .. } => "bad",
            Outcome::Bad { stalled: true, .. } => "stalled",
        };
        assert_eq!(outcome, expected, "{standing:?}");
    }

    #[test]
    fn only_a_decided_state_of_the_present_generation_counts() {
        let ready = condition("Ready", "True", "Succeeded", "", 1);
        let failed = condition("Ready", "False", "Failed", "", 1);
        let unknown = condition("Ready", "Unknown", "Progressing", "", 1);
        let working = condition("Reconciling", "True", "Progressing", "", 1);
        let retrying = condition("Reconciling", "True", "ProgressingWithRetry", "", 1);
        let stalled = condition("Stalled", "True", "URLInvalid", "", 1);
        check(&[], 1, false, "open");
        check(std::slice::from_ref(&ready), 1, false, "good");
        check(std::slice::from_ref(&ready), 2, false, "open");
        check(std::slice::from_ref(&ready), 1, true, "open");
        check(&[working.clone(), ready], 1, false, "open");
        check(&[unknown], 1, false, "open");
        check(&[retrying, failed.clone()], 1, false, "bad");
        check(&[working, failed.clone()], 1, false, "open");
        check(&[stalled, failed], 1, false, "stalled");
    }

    #[test]
    fn an_identity_depends_on_the_object_and_on_every_part() {
        let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let id = identity("u", &parts(&["a", "b"]));
        assert_eq!(id.len(), 32);
        assert_eq!(id, identity("u", &parts(&["a", "b"])));
        assert_ne!(id, identity("v", &parts(&["a", "b"])));
        assert_ne!(id, identity("u", &parts(&["ab"])));
    }
}
