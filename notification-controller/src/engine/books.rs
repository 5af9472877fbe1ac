//! When the shards are written. What holds back a message is written at once, what was delivered within a second,
//! and a cursor that moved without anybody being told within ten: losing that leads to nothing but looking again.

use super::{Engine, Message, later, signed};
use crate::cursor::Batch;
use crate::journal::{Page, Unwritten};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::oneshot;

/// The pause before a write that holds up nobody.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// The pause before a write that is only good to have.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long messages wait for a write that fails. Then they go out all the same: a repetition after a crash is better
/// than silence while the API server takes no writes.
const PATIENCE: Duration = Duration::from_secs(15);

/// How far a shard is written.
pub(super) struct Book {
    version: Option<String>,
    epoch: Timestamp,
    there: bool,
    writing: bool,
    due: Option<Timestamp>,
    failing: Option<Timestamp>,
    replies: Vec<(u64, oneshot::Sender<()>)>,
}

impl Book {
    /// The book of a page, or of one that is not there.
    pub(super) fn of(page: Option<Page>) -> Self {
        let there = page.is_some();
        let Page {
            version,
            epoch,
            data: _,
        } = page.unwrap_or_default();
        Book {
            version,
            epoch,
            there,
            writing: false,
            due: None,
            failing: None,
            replies: Vec::new(),
        }
    }

    /// Objects that were made before were there before.
    pub(super) fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// The version of the page that the next write is based on; nothing where there is no page.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Somebody else wrote or removed the page: the next write is based on what is there now.
    pub(super) fn overtaken(&mut self, page: Option<Page>) {
        self.version = page.and_then(|page| page.version);
    }

    /// Whether there is a page.
    pub(super) fn is_there(&self) -> bool {
        self.there
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }

    /// When the next write is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.writing)
    }
}

impl Engine {
    /// Has a shard written at that moment or before.
    pub(super) fn request_write(&mut self, number: usize, at: Timestamp) {
        let book = &mut self.books[number];
        book.due = Some(book.due.map_or(at, |due| due.min(at)));
    }

    /// Answers once everything queued so far in a shard is written.
    pub(super) fn reply_when_written(&mut self, number: usize, reply: oneshot::Sender<()>) {
        let version = self.outbox.shard(number).map_or(0, |shard| shard.version());
        self.books[number].replies.push((version, reply));
    }

    /// Starts the writes that are due. A shard is written by one request at a time, so that what comes meanwhile goes
    /// together into the next one.
    pub(super) fn write_due(&mut self, now: Timestamp) {
        for (number, book) in self.books.iter_mut().enumerate() {
            if book.writing || book.due.is_none_or(|due| due > now) {
                continue;
            }
            book.due = None;
            let Some(batch) = self.outbox.take(number) else {
                continue;
            };
            book.writing = true;
            let (journal, mailbox) = (self.journal.clone(), self.mailbox.clone());
            let (version, epoch) = (book.version.clone(), book.epoch);
            tokio::spawn(async move {
                let result = journal.write(number, version.as_deref(), epoch, &batch).await;
                mailbox.send(Message::Written { number, batch, result });
            });
        }
    }

    /// A write has ended.
    pub(super) fn written(
        &mut self,
        number: usize,
        batch: Batch,
        result: Result<Option<String>, Unwritten>,
        now: Timestamp,
    ) {
        let book = &mut self.books[number];
        let Some(shard) = self.outbox.shard(number) else { return };
        book.writing = false;
        match result {
            Ok(version) => {
                (book.version, book.failing) = (version, None);
                shard.written(batch.version);
            }
            Err(Unwritten::Deposed) => return self.depose(),
            Err(Unwritten::Overtaken(page)) => {
                tracing::error!(
                    number,
                    there = page.is_some(),
                    "somebody else wrote what was told although this process leads: it is written anew"
                );
                shard.failed(batch);
                let there = page.as_ref().map(|page| page.data.keys().cloned().collect::<Vec<_>>());
                shard.overwrite(there.unwrap_or_default());
                book.overtaken(page);
                book.due = Some(now);
            }
            Err(error) => {
                tracing::error!(%error, number, "cannot write what was told, will try again");
                let since = *book.failing.get_or_insert(now);
                if now.duration_since(since) > signed(PATIENCE) {
                    shard.written(batch.version);
                }
                shard.failed(batch);
                book.due = Some(later(now, SOON));
            }
        }
        let durable = shard.durable();
        let (done, waiting) = std::mem::take(&mut book.replies)
            .into_iter()
            .partition(|(version, _)| *version <= durable);
        book.replies = waiting;
        for (_, reply) in done {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }
}
