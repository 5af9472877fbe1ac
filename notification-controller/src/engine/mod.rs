//! The loop that turns what is seen into what is sent: one task owns everything that is remembered, so that nothing
//! is locked and the order of an object's events is the order in which they were seen.
//!
//! ```text
//! watch ──snapshot──▶ derive ──events──▶ choose Alerts ──▶ outbox ──write──▶ send ──▶ settle ──write──▶
//! ```
//!
//! - Nothing is sent before it is written ([`books`]), so that it is sent after a crash too; a crash between sending
//!   and writing that down leads to one repetition with the same id.
//! - Only while there are Alerts anything is remembered. Objects that are older than the memory start where they are.
//! - An object that vanished is told about as far as it was seen, and what went with a Kustomization as presumed from
//!   there; what waits for it is still sent. How one went while no process led is not known.
//! - Who finds that another process leads stops at once, without writing ([`crate::lead`]).

mod books;
mod choose;
mod tracking;

use crate::alert::Choice;
use crate::cursor::{Batch, SHARDS, Shard, shard_of};
use crate::derive::{self, About, Snapshot, State, Timing, git_repository, kustomization};
use crate::dispatch::{Dispatcher, Problem, Report};
use crate::journal::{Journal, Unwritten};
use crate::lead::Lead;
use crate::metrics::{Deliveries, Result as Counted};
use crate::outbox::{Letter, Next, Outbox};
use crate::retry;
use api::event::{Event, ObjectReference};
use api::kustomize::{Kustomization, SourceKind};
use api::notification::{Alert, Provider};
use api::source::GitRepository;
use books::Book;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use runtime::events::Recorder;
use runtime::objects::Objects;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often the memory is compared with the objects that are there.
const SWEEP: Duration = Duration::from_secs(30);
/// Messages taken in a row before something is sent or written.
const BURST: usize = 256;
/// How long deliveries and writes may take to finish when the process ends.
const GRACE: Duration = Duration::from_secs(5);

/// What the engine is told.
enum Message {
    Seen(Box<Snapshot>),
    Gone(Box<Snapshot>),
    /// Objects with a cursor that were not there when it was sent.
    Absent(Vec<String>),
    /// An Alert, a Provider (named) or a Secret of it changed.
    Changed(Option<String>),
    Posted(Box<Posted>),
    Written {
        number: usize,
        batch: Batch,
        result: Result<Option<String>, Unwritten>,
    },
    Settled {
        letter: Box<Letter>,
        report: Report,
        started: Timestamp,
    },
}

/// An event that somebody posted, and what is known about its object.
struct Posted {
    event: Event,
    labels: Labels,
    reply: oneshot::Sender<()>,
}

/// The labels of an object.
enum Labels {
    Unknown,
    Known(BTreeMap<String, String>),
    Failed(String),
}

/// Tells the engine; a handle that can be cloned.
#[derive(Clone)]
pub struct Mailbox {
    sender: mpsc::UnboundedSender<Message>,
}

impl Mailbox {
    /// A GitRepository appeared or changed.
    pub fn repository(&self, object: &GitRepository) {
        self.send(Message::Seen(Box::new(snapshot_of_repository(object))));
    }

    /// A GitRepository is gone; this was its last state.
    pub fn repository_gone(&self, object: &GitRepository) {
        self.send(Message::Gone(Box::new(snapshot_of_repository(object))));
    }

    /// A Kustomization appeared or changed.
    pub fn kustomization(&self, object: &Kustomization, sources: &Objects<GitRepository>) {
        self.send(Message::Seen(Box::new(snapshot_of_kustomization(object, sources))));
    }

    /// A Kustomization was deleted; this was its last state, which says what was deleted with it.
    pub fn kustomization_deleted(&self, object: &Kustomization, sources: &Objects<GitRepository>) {
        let mut snapshot = snapshot_of_kustomization(object, sources);
        if let State::Kustomization(state) = &mut snapshot.state {
            state.changes.extend(object.deletion());
        }
        self.send(Message::Gone(Box::new(snapshot)));
    }

    /// A Kustomization is gone, and nobody saw how; from the last state that was seen it is presumed what was deleted
    /// with it.
    pub fn kustomization_gone(&self, object: &Kustomization, sources: &Objects<GitRepository>) {
        let mut snapshot = snapshot_of_kustomization(object, sources);
        if let State::Kustomization(state) = &mut snapshot.state
            && let Some(deletion) = object.presumed_deletion(Timestamp::now())
        {
            state.presumed = Some(deletion.seq);
            state.changes.push(deletion);
        }
        self.send(Message::Gone(Box::new(snapshot)));
    }

    /// An Alert or Provider changed, or a Secret; `provider` (`namespace/name`) is worth trying at once.
    pub fn changed(&self, provider: Option<String>) {
        self.send(Message::Changed(provider));
    }

    /// Somebody posted an event. Answers once it is written down.
    pub async fn posted(&self, event: Event) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Posted(Box::new(Posted {
            event,
            labels: Labels::Unknown,
            reply,
        })));
        answer.await.is_ok()
    }

    fn send(&self, message: Message) {
        // Nobody listens any more only while the process ends.
        let _ = self.sender.send(message);
    }
}

/// What the engine works with.
pub struct Parts {
    /// Talks to the API server.
    pub client: Client,
    /// Whether this process may write.
    pub lead: Lead,
    /// The namespace of the ConfigMaps.
    pub namespace: String,
    /// Writes Events.
    pub recorder: Recorder,
    /// Counts.
    pub deliveries: Deliveries,
    /// The Alerts.
    pub alerts: Objects<Alert>,
    /// The Providers.
    pub providers: Objects<Provider>,
    /// The GitRepositories.
    pub repositories: Objects<GitRepository>,
    /// The Kustomizations.
    pub kustomizations: Objects<Kustomization>,
    /// The pause between reminders.
    pub remind: Duration,
    /// How long a message is tried.
    pub give_up: Duration,
    /// Whether events stay in their namespace.
    pub no_cross_namespace: bool,
    /// Ends the loop.
    pub shutdown: CancellationToken,
}

/// The loop.
pub struct Engine {
    parts: Parts,
    mailbox: Mailbox,
    messages: mpsc::UnboundedReceiver<Message>,
    journal: Journal,
    dispatcher: Dispatcher,
    outbox: Outbox,
    books: Vec<Book>,
    tracking: bool,
    try_tracking: Option<Timestamp>,
    choices: BTreeMap<String, Arc<Choice>>,
    reminders: BTreeMap<String, (Timestamp, ObjectReference)>,
    versions: HashMap<String, u64>,
    told: HashMap<(String, String), Timestamp>,
    sweep: Timestamp,
    under_way: usize,
    deposed: bool,
}

/// A mailbox, and the end that the engine reads from.
pub fn mailbox() -> (Mailbox, Inbox) {
    let (sender, messages) = mpsc::unbounded_channel();
    (
        Mailbox { sender: sender.clone() },
        Inbox {
            mailbox: Mailbox { sender },
            messages,
        },
    )
}

/// The engine's end of a mailbox.
pub struct Inbox {
    mailbox: Mailbox,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Engine {
    /// Reads what is remembered, as often as it takes; nothing when shutdown comes first.
    pub async fn new(parts: Parts, inbox: Inbox) -> Option<Self> {
        let journal = Journal::new(parts.client.clone(), &parts.namespace, parts.lead.clone());
        let pauses = retry::pauses();
        let dispatcher = Dispatcher::new(parts.client.clone());
        let (mut shards, mut books) = (Vec::new(), Vec::new());
        for number in 0..SHARDS {
            let page = retry::until_done(
                "cannot read what was told before",
                &pauses,
                &parts.shutdown,
                async || journal.read(number).await,
            );
            let page = page.await?;
            let (shard, broken) = Shard::read(&page.as_ref().map(|page| page.data.clone()).unwrap_or_default());
            for (key, error) in broken {
                tracing::error!(
                    error,
                    key,
                    number,
                    "what was remembered of an object cannot be read: it starts anew"
                );
            }
            shards.push(shard);
            books.push(Book::of(page));
        }
        let outbox = Outbox::new(shards, parts.give_up);
        Some(Engine {
            parts,
            mailbox: inbox.mailbox,
            messages: inbox.messages,
            journal,
            dispatcher,
            outbox,
            books,
            tracking: false,
            try_tracking: None,
            choices: BTreeMap::new(),
            reminders: BTreeMap::new(),
            versions: HashMap::new(),
            told: HashMap::new(),
            sweep: Timestamp::now(),
            under_way: 0,
            deposed: false,
        })
    }

    /// Runs until shutdown, or until another process leads. The objects have to be listed before.
    pub async fn run(mut self) {
        // What is remembered without Alerts is of ones that went while nobody watched: it ends first.
        self.tracking = self.books.iter().any(Book::is_there);
        self.changed(None).await;
        if self.tracking {
            self.begin_tracking().await;
        }
        let shutdown = self.parts.shutdown.clone();
        while !shutdown.is_cancelled() && !self.deposed {
            self.act(Timestamp::now()).await;
            let wake = self.wake(Timestamp::now());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                message = self.messages.recv() => {
                    let mut next = message;
                    for _ in 0..BURST {
                        let Some(message) = next.take() else { break };
                        self.handle(message).await;
                        next = self.messages.try_recv().ok();
                    }
                    if let Some(message) = next {
                        self.handle(message).await;
                    }
                }
                () = tokio::time::sleep(wake) => {}
            }
        }
        self.finish().await;
    }

    async fn handle(&mut self, message: Message) {
        let now = Timestamp::now();
        match message {
            Message::Seen(snapshot) => self.observe(&snapshot, now),
            Message::Gone(snapshot) => {
                self.observe(&snapshot, now);
                self.gone(&snapshot.about.reference.uid, now);
            }
            Message::Absent(keys) => keys.iter().for_each(|key| self.gone(key, now)),
            Message::Changed(provider) => self.changed(provider).await,
            Message::Posted(posted) => self.posted(*posted, now),
            Message::Written { number, batch, result } => self.written(number, batch, result, now),
            Message::Settled {
                letter,
                report,
                started,
            } => self.settled(&letter, report, started, now),
        }
    }

    /// Does what is due.
    async fn act(&mut self, now: Timestamp) {
        if self.try_tracking.is_some_and(|at| at <= now) {
            self.try_tracking = None;
            self.changed(None).await;
        }
        if self.sweep <= now {
            self.sweep(now);
        }
        let due: Vec<_> = self
            .reminders
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if let Some((_, reference)) = self.reminders.remove(&key)
                && let Some(snapshot) = self.snapshot(&reference)
            {
                self.observe(&snapshot, now);
            }
        }
        self.write_due(now);
        let choices = &self.choices;
        let provider = |alert: &str| choices.get(alert).map(|choice| provider_of(choice));
        for letter in self.outbox.due(now, &provider) {
            self.send(letter, now);
        }
        self.parts.deliveries.pending(self.outbox.waiting());
    }

    /// How long nothing is due.
    fn wake(&self, now: Timestamp) -> Duration {
        let reminder = self.reminders.values().map(|(at, _)| *at).min();
        let write = self.books.iter().filter_map(Book::due).min();
        let moments = [
            Some(self.sweep),
            self.try_tracking,
            reminder,
            write,
            self.outbox.next(now),
        ];
        let next = moments.into_iter().flatten().min().unwrap_or(now);
        Duration::try_from(next.duration_since(now).max(SignedDuration::ZERO))
            .unwrap_or(SWEEP)
            .min(SWEEP)
    }

    /// Derives what is new about an object.
    fn observe(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let reference = &snapshot.about.reference;
        let key = reference.uid.as_str();
        if !self.tracking || key.is_empty() {
            return;
        }
        // A list that comes late shows an older state than was seen.
        let version = reference.resource_version.parse().unwrap_or(0u64);
        if self.versions.get(key).is_some_and(|seen| *seen > version) {
            return;
        }
        self.versions.insert(key.to_owned(), version);
        let number = shard_of(key);
        let about = (
            reference.kind.as_str(),
            reference.namespace.as_str(),
            reference.name.as_str(),
        );
        let timing = Timing {
            now,
            remind: self.parts.remind,
        };
        let cursor = self.outbox.cursor(key).cloned();
        let is_old = cursor.is_none() && snapshot.about.created < self.books[number].epoch();
        let mut derived = derive::derive(cursor.as_ref(), snapshot, timing);
        if is_old {
            derived.cursor.begin_at(now);
            derived = derive::derive(Some(&derived.cursor), snapshot, timing);
            derived.events.clear();
        }
        match derived.remind_at {
            Some(at) => drop(self.reminders.insert(key.to_owned(), (at, reference.clone()))),
            None => drop(self.reminders.remove(key)),
        }
        let mut queued = false;
        for told in derived.events {
            let alerts = self.choose(&told.event, &Labels::Known(snapshot.about.labels.clone()), now);
            if !alerts.is_empty() {
                queued = true;
                let dropped = self.outbox.push(key, about, told, alerts, now);
                self.overflowed(&dropped, now);
            }
        }
        self.outbox.advance(key, about, derived.cursor);
        self.request_write(number, if queued { now } else { later(now, books::IDLE) });
    }

    fn snapshot(&self, reference: &ObjectReference) -> Option<Snapshot> {
        let (namespace, name) = (&reference.namespace, &reference.name);
        if reference.kind == "GitRepository" {
            return Some(snapshot_of_repository(&*self.parts.repositories.get(namespace, name)?));
        }
        let object = self.parts.kustomizations.get(namespace, name)?;
        Some(snapshot_of_kustomization(&object, &self.parts.repositories))
    }

    fn send(&mut self, letter: Letter, started: Timestamp) {
        let Some(choice) = self.choices.get(&letter.alert).cloned() else {
            return;
        };
        let provider = letter
            .provider
            .split_once('/')
            .and_then(|(space, name)| self.parts.providers.get(space, name));
        let (dispatcher, mailbox) = (self.dispatcher.clone(), self.mailbox.clone());
        self.under_way += 1;
        tokio::spawn(async move {
            let report = dispatcher.deliver(&letter, &choice, provider).await;
            mailbox.send(Message::Settled {
                letter: Box::new(letter),
                report,
                started,
            });
        });
    }

    fn settled(&mut self, letter: &Letter, report: Report, started: Timestamp, now: Timestamp) {
        self.under_way = self.under_way.saturating_sub(1);
        let next = self.outbox.settle(letter, &report.fate, started, now);
        self.request_write(shard_of(&letter.key), later(now, books::SOON));
        let Some(choice) = self.choices.get(&letter.alert).cloned() else {
            return;
        };
        let (namespace, name) = (choice.alert.namespace().unwrap_or_default(), choice.alert.name_any());
        let object = named(&letter.event.involved_object);
        let count = |result| self.parts.deliveries.count(&namespace, &name, result);
        match (&report.problem, next) {
            (None, Next::Done) if report.fate == crate::outbox::Fate::Delivered => {
                count(Counted::Delivered);
                tracing::info!(alert = name, namespace, object, id = letter.id, "message delivered");
            }
            (None, _) => {}
            (Some(Problem::Unsupported(_)), _) => count(Counted::Unsupported),
            (Some(_), Next::GivenUp) => count(Counted::GivenUp),
            (Some(_), _) => count(Counted::Failed),
        }
        let text = match &report.problem {
            None => None,
            Some(Problem::Send(text)) => Some(format!("failed to send notification for {object}: {text}")),
            Some(Problem::Dispatch(text) | Problem::Unsupported(text)) => {
                Some(format!("failed to dispatch notification for {object}: {text}"))
            }
        };
        match text {
            Some(text) if next == Next::GivenUp => {
                let age = api::Duration::from_secs(now.duration_since(letter.since).as_secs());
                self.tell_lost(&choice, &format!("{text}; gave up after {age}"), &letter.event);
            }
            Some(text) => self.tell(&choice, api::meta::reason::NOTIFICATION_DISPATCH_FAILED, &text, now),
            None => {}
        }
        if !report.conflicts.is_empty() {
            let text = format!(
                "metadata key conflicts detected for {object}: {}",
                report.conflicts.join(", ")
            );
            self.tell(&choice, api::meta::reason::METADATA_APPEND_FAILED, &text, now);
        }
    }

    /// Lets what is under way come to its end, and writes down what is known.
    async fn finish(&mut self) {
        let end = tokio::time::Instant::now() + GRACE;
        while !self.deposed {
            let now = Timestamp::now();
            for number in 0..SHARDS {
                self.request_write(number, now);
            }
            if self.tracking {
                self.write_due(now);
            }
            if self.under_way == 0 && !self.books.iter().any(Book::is_writing) {
                return;
            }
            match tokio::time::timeout_at(end, self.messages.recv()).await {
                Ok(Some(Message::Settled {
                    letter,
                    report,
                    started,
                })) => {
                    self.settled(&letter, report, started, Timestamp::now());
                }
                Ok(Some(Message::Written { number, batch, result })) => {
                    self.written(number, batch, result, Timestamp::now());
                }
                // What is there now is seen again after the next start; what goes now goes while nobody leads.
                Ok(Some(
                    Message::Seen(_) | Message::Gone(_) | Message::Absent(_) | Message::Changed(_) | Message::Posted(_),
                )) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn snapshot_of_repository(object: &GitRepository) -> Snapshot {
    Snapshot {
        about: About::of(object),
        state: State::GitRepository(git_repository::Snapshot::of(object)),
    }
}

fn snapshot_of_kustomization(object: &Kustomization, sources: &Objects<GitRepository>) -> Snapshot {
    let reference = &object.spec.source_ref;
    let namespace = reference
        .namespace
        .clone()
        .or_else(|| object.namespace())
        .unwrap_or_default();
    let source = (reference.kind == SourceKind::GitRepository)
        .then(|| sources.get(&namespace, &reference.name))
        .flatten()
        .and_then(|source| source.status.clone()?.artifact);
    let revisions = kustomization::Revisions {
        revision: source.as_ref().map(|artifact| artifact.revision.clone()),
        origin: source.and_then(|artifact| artifact.metadata.get(api::meta::key::OCI_REVISION).cloned()),
    };
    Snapshot {
        about: About::of(object),
        state: State::Kustomization(Box::new(kustomization::Snapshot::of(object, revisions))),
    }
}

/// The Provider of an Alert as `namespace/name`.
fn provider_of(choice: &Choice) -> String {
    format!(
        "{}/{}",
        choice.alert.namespace().unwrap_or_default(),
        choice.alert.spec.provider_ref.name
    )
}

/// An object as texts name it.
fn named(object: &ObjectReference) -> String {
    format!("{}/{}/{}", object.kind, object.namespace, object.name)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(signed(duration)).unwrap_or(Timestamp::MAX)
}

/// The key under which events of an object that somebody else reports are remembered.
fn foreign_key(object: &ObjectReference) -> String {
    use sha2::{Digest, Sha256};
    if !object.uid.is_empty()
        && object
            .uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return object.uid.clone();
    }
    let hash = Sha256::digest(named(object));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_object_without_a_uid_is_remembered_by_its_name() {
        let object = |name: &str, uid: &str| ObjectReference {
            name: name.into(),
            uid: uid.into(),
            ..ObjectReference::default()
        };
        assert_eq!(foreign_key(&object("a", "1-2")), "1-2");
        assert_ne!(foreign_key(&object("a", "")), foreign_key(&object("b", "")));
        // A ConfigMap takes no other characters in its keys.
        assert_eq!(foreign_key(&object("a", "../x")).len(), 32);
    }
}
