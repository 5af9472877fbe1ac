//! From when until when something is remembered: the pages come with the first Alert and go with the last one, and
//! what is remembered of an object goes with the object.

use super::{Engine, Message, SWEEP, later, signed, snapshot_of_kustomization, snapshot_of_repository};
use crate::cursor::{SHARDS, Shard, shard_of};
use crate::engine::books::{self, Book};
use crate::journal::Unwritten;
use crate::outbox::Outbox;
use api::event::ObjectReference;
use jiff::Timestamp;

impl Engine {
    /// Alerts came, went or changed, or a Provider did.
    pub(super) async fn changed(&mut self, provider: Option<String>) {
        self.refresh_choices();
        if let Some(provider) = provider {
            self.outbox.reopen(&provider);
        }
        if self.choices.is_empty() == self.tracking {
            match self.tracking {
                true => self.end_tracking().await,
                false => self.begin_tracking().await,
            }
        }
    }

    pub(super) async fn begin_tracking(&mut self) {
        // Without all pages it is not known which objects are old.
        self.tracking = false;
        let known = self.books.iter().filter(|book| book.is_there()).count();
        if known > 0 && known < SHARDS {
            tracing::error!(
                known,
                of = SHARDS,
                "a part of what was told is lost: its objects start where they are"
            );
        }
        for number in 0..SHARDS {
            if self.books[number].is_there() {
                continue;
            }
            match self.journal.begin(number).await {
                Ok(page) => {
                    let there: Vec<_> = page.data.keys().cloned().collect();
                    self.books[number] = Book::of(Some(page));
                    // A page that came since the pages were read is of nobody who counts.
                    if let Some(shard) = self.outbox.shard(number)
                        && !there.is_empty()
                    {
                        shard.overwrite(there);
                        self.request_write(number, Timestamp::now());
                    }
                }
                Err(Unwritten::Deposed) => return self.depose(),
                Err(error) => {
                    tracing::error!(%error, "cannot keep what is told, will try again");
                    self.try_tracking = Some(later(Timestamp::now(), books::SOON));
                    return;
                }
            }
        }
        self.tracking = true;
        let now = Timestamp::now();
        let repositories = self
            .parts
            .repositories
            .select(|object| Some(snapshot_of_repository(object)));
        let sources = self.parts.repositories.clone();
        let kustomizations = self
            .parts
            .kustomizations
            .select(|object| Some(snapshot_of_kustomization(object, &sources)));
        for snapshot in repositories.iter().chain(&kustomizations) {
            self.observe(snapshot, now);
        }
    }

    /// Without Alerts there is nothing to remember; the next one starts with what is there then.
    async fn end_tracking(&mut self) {
        let again = later(Timestamp::now(), books::SOON);
        if self.books.iter().any(Book::is_writing) {
            self.try_tracking = Some(again);
            return;
        }
        for number in 0..SHARDS {
            match self.journal.end(number, self.books[number].version()).await {
                Ok(()) => {}
                Err(Unwritten::Deposed) => return self.depose(),
                Err(error) => {
                    tracing::error!(%error, "cannot forget what was told, will try again");
                    if let Unwritten::Overtaken(page) = error {
                        self.books[number].overtaken(page);
                    }
                    self.try_tracking = Some(again);
                    return;
                }
            }
        }
        self.tracking = false;
        self.outbox = Outbox::new((0..SHARDS).map(|_| Shard::default()).collect(), self.parts.give_up);
        self.books = (0..SHARDS).map(|_| Book::of(None)).collect();
        self.reminders.clear();
        self.versions.clear();
    }

    /// Another process leads: this one must neither write nor send any more.
    pub(super) fn depose(&mut self) {
        tracing::error!("another process leads and writes what was told: this one ends");
        self.deposed = true;
    }

    /// The object is gone: what waits for it is still sent.
    pub(super) fn gone(&mut self, key: &str, now: Timestamp) {
        self.outbox.gone(key);
        self.reminders.remove(key);
        self.versions.remove(key);
        self.request_write(shard_of(key), later(now, books::SOON));
    }

    /// Objects can vanish while nobody watches.
    ///
    /// The stores know before the mailbox is read: of an object that is not there any more, older states may still wait
    /// in it, and to forget what was told before they are read would be to tell all of them again. So the finding goes
    /// to the end of the mailbox; after an object left the store nothing is put there but that it is gone.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.sweep = later(now, SWEEP);
        let mut absent = Vec::new();
        for (key, kind, namespace, name) in self.outbox.objects() {
            let reference = ObjectReference {
                kind,
                namespace,
                name,
                uid: key.clone(),
                ..ObjectReference::default()
            };
            let is_there = |snapshot: &crate::derive::Snapshot| snapshot.about.reference.uid == key;
            if !self.snapshot(&reference).as_ref().is_some_and(is_there) {
                absent.push(key);
            }
        }
        if !absent.is_empty() {
            self.mailbox.send(Message::Absent(absent));
        }
        let window = signed(self.parts.remind);
        self.told.retain(|_, at| now.duration_since(*at) < window);
    }
}
