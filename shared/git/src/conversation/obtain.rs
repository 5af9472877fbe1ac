//! Bringing objects here: from the cache if they are in it, else from the remote, into the cache or into a directory that goes
//! with them.

use std::sync::Arc;

use gix::ObjectId;
use gix::protocol::transport::Protocol;
use reqwest::StatusCode;

use super::exchange::Ask;
use super::words::{chain, is_refusal};
use super::{Conversation, lacks};
use crate::cache::{Draft, Entry, Root};
use crate::client::Error;
use crate::objects::{Directory, Objects, commit_facts, is_complete, limit};
use crate::pack::{self, Packs, Reader, receive};
use crate::trouble::Trouble;

/// What to bring.
#[derive(Clone, Copy)]
struct Want<'a> {
    /// Commits, or tags that lead to them.
    ids: &'a [ObjectId],
    /// A commit in the history of these, if that is what it is about.
    within: Option<ObjectId>,
    /// Whether they come without history.
    alone: bool,
}

impl Conversation<'_> {
    /// What commits, or tags that lead to commits, consist of; without their history if the server can leave it out.
    pub fn obtain(&mut self, ids: &[ObjectId]) -> Result<Objects, Error> {
        let alone = self.can_be_shallow();
        let within = None;
        self.bring(Want { ids, within, alone })
    }

    /// What a commit consists of; nothing if it `is_known`, which the server confirms.
    pub fn obtain_by_hash(&mut self, id: ObjectId, is_known: bool) -> Result<Option<Objects>, Error> {
        let entry = self.entry();
        let cached = entry.and_then(|entry| Some((self.cached(&entry, &[id])?, entry)));
        if !is_known && cached.is_none() {
            return self.obtain(&[id]).map(Some);
        }
        // It need not be sent again: the answer proves that it is there still, and that this client may have it.
        let known = Root {
            wanted: id,
            commit: id,
            shallow: false,
        };
        let ask = Ask {
            wanted: &[id],
            known: &[known],
            alone: false,
        };
        self.exchange(&ask, |stream, _| {
            std::io::copy(stream, &mut std::io::sink()).map_err(pack::Error::Stream)
        })?;
        Ok(cached
            .filter(|_| !is_known)
            .map(|(packs, entry)| Objects::cached(packs, entry)))
    }

    /// The history of a branch, or of all of them; nothing if the commit is not in it.
    pub fn history(&mut self, branch: Option<&str>, id: ObjectId) -> Result<Option<Objects>, Error> {
        let prefix = branch.map_or_else(|| "refs/heads/".to_owned(), |branch| format!("refs/heads/{branch}"));
        let heads = self.list(&[&prefix])?;
        let is_wanted = |name: &str| branch.is_none() || name == prefix;
        let heads: Vec<_> = heads
            .into_iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(_, listed)| listed.target)
            .collect();
        if heads.is_empty() {
            return Ok(None);
        }
        let want = Want {
            ids: &heads,
            within: Some(id),
            alone: false,
        };
        let objects = self.bring(want)?;
        Ok(objects.contains(&id).then_some(objects))
    }

    /// Whether a server hands out a commit by its hash. The new protocol does always; of the old one's servers some do, and all
    /// of them for what a reference points to.
    pub fn hands_out(&self, id: &ObjectId) -> bool {
        if self.handshake.server_protocol_version == Protocol::V2 {
            return true;
        }
        let capabilities = &self.handshake.capabilities;
        let can = ["allow-reachable-sha1-in-want", "allow-tip-sha1-in-want"];
        can.iter().any(|name| capabilities.contains(name)) || self.is_listed(id)
    }

    fn entry(&self) -> Option<Arc<Entry>> {
        let cache = self.means.cache.as_ref()?;
        cache.entry(&self.request.remote, &self.request.credentials)
    }

    fn limit(&self) -> u64 {
        limit(self.request.limits.object)
    }

    fn cached(&self, entry: &Entry, ids: &[ObjectId]) -> Option<Arc<Packs>> {
        entry.find(ids, self.kind, self.limit())
    }

    fn bring(&mut self, want: Want<'_>) -> Result<Objects, Error> {
        let Some(entry) = self.entry() else {
            return self.bring_apart(want);
        };
        let all: Vec<_> = want.ids.iter().copied().chain(want.within).collect();
        if let Some(packs) = self.cached(&entry, &all) {
            return Ok(Objects::cached(packs, entry));
        }
        // Who waits here finds what the one before has fetched.
        let turn = self.stop.wait(entry.turn().lock_owned());
        let turn = turn.map_err(|_| self.failed(&pack::Error::Interrupted))?;
        if let Some(packs) = self.cached(&entry, &all) {
            return Ok(Objects::cached(packs, entry));
        }
        let draft = match entry.begin(self.kind, self.limit()) {
            Ok(draft) => draft,
            Err(error) => {
                tracing::warn!(entry = %entry.path().display(), %error, "the cache of Git objects takes nothing: working without");
                drop(turn);
                return self.bring_apart(want);
            }
        };
        // What another process has left is checked now.
        let packs = match self.cached(&entry, &all) {
            Some(packs) => packs,
            None => self.bring_into(&entry, &draft, want)?,
        };
        drop(turn);
        Ok(Objects::cached(packs, entry))
    }

    /// Without cache.
    fn bring_apart(&mut self, want: Want<'_>) -> Result<Objects, Error> {
        let directory = Directory::new(&self.means.scratch).map_err(Error::WorkDirectory)?;
        let nothing = Packs::new(Vec::new(), self.kind, self.limit());
        let ask = Ask {
            wanted: want.ids,
            known: &[],
            alone: want.alone,
        };
        let path = directory.path();
        let (pack, _) = self.exchange(&ask, |stream, stop| receive(stream, &path, 1, &nothing, stop))?;
        Ok(Objects::apart(Arc::new(nothing.with(pack)), directory))
    }

    /// Into the cache: what is new, or everything if nothing can be built upon what is there.
    fn bring_into(&mut self, entry: &Entry, draft: &Draft, want: Want<'_>) -> Result<Arc<Packs>, Error> {
        // To a server that cannot leave out history, who has a commit has its history.
        let known: Vec<_> = draft
            .roots
            .iter()
            .copied()
            .filter(|root| want.alone || !root.shallow)
            .collect();
        if !known.is_empty() {
            match self.build(entry, draft, &known, want) {
                Ok(Some(packs)) => return Ok(packs),
                Ok(None) => lacks(self.request, "what it was told is here", "everything is fetched"),
                // A server that does not get on with what it is told may get on without.
                Err(error) if !self.is_confused() && (self.is_final(&error) || is_refusal(&error)) => {
                    if !self.stop.has_ended() {
                        entry.failed();
                    }
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(remote = %self.request.remote, %error, "nothing can be built upon what was fetched before: everything is fetched");
                }
            }
            self.reopen()?;
        }
        let packs = self.build(entry, &draft.without_base(), &[], want)?;
        packs.ok_or_else(|| self.failed(&std::io::Error::other("the server left out some of it")))
    }

    /// Whether the server answered with a status that says nothing of who may ask for what.
    fn is_confused(&self) -> bool {
        let about_access = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        matches!(self.trouble.get(), Some(Trouble::Refused { status, .. }) if !about_access.contains(status))
    }

    /// Fetches into the cache; nothing if something is missing from what should be complete then.
    fn build(
        &mut self,
        entry: &Entry,
        draft: &Draft,
        known: &[Root],
        want: Want<'_>,
    ) -> Result<Option<Arc<Packs>>, Error> {
        let ask = Ask {
            wanted: want.ids,
            known,
            alone: want.alone,
        };
        let (number, path) = (draft.number, entry.path());
        let (pack, shallow) = self.exchange(&ask, |stream, stop| receive(stream, path, number, &draft.packs, stop))?;
        let packs = Arc::new(draft.packs.with(pack.clone()));
        let mut reader = Reader::new(Arc::clone(&packs));
        let mut roots = Vec::new();
        for (id, is_asked) in want
            .ids
            .iter()
            .map(|id| (id, true))
            .chain(want.within.iter().map(|id| (id, false)))
        {
            if !is_asked && !packs.contains(id) {
                continue;
            }
            let facts = match commit_facts(&mut reader, *id) {
                Ok(Some(facts)) => facts,
                // Of a history it does not matter.
                Ok(None) if want.within.is_some() => continue,
                Ok(None) => return Err(self.not_a_commit()),
                Err(pack::Error::Missing(_) | pack::Error::Damaged(_)) => return Ok(None),
                Err(error) => return Err(self.failed(&error)),
            };
            let is_read = want.within.is_none_or(|within| within == *id);
            if is_read && !known.is_empty() {
                match is_complete(&packs, facts.tree, self.stop.flag()) {
                    Ok(true) => {}
                    Ok(false) | Err(pack::Error::Missing(_) | pack::Error::Damaged(_)) => return Ok(None),
                    Err(error) => return Err(self.failed(&error)),
                }
            }
            roots.push(Root {
                wanted: *id,
                commit: facts.id,
                shallow,
            });
        }
        let recorded = entry.record(draft, pack, &roots);
        recorded.map(Some).map_err(|error| {
            let message = format!("unable to keep what was fetched: {}", chain(&error));
            Error::Failed(message)
        })
    }
}
