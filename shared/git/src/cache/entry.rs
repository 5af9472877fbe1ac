//! What is kept of one remote.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use gix::ObjectId;
use gix::hash::Kind;
use tokio::sync::Mutex as Turn;

use super::marker::{self, Listed, Marker};
use crate::pack::{Error, Pack, Packs, join};

/// So many commits are remembered; the servers are told of all of them.
const MAX_ROOTS: usize = 32;
/// So many packs are kept beside each other before they are joined.
const MAX_PACKS: usize = 16;
/// What may come on top of the first pack before everything is fetched anew; or as much as the first pack has, if that is more.
const MIN_GROWTH: u64 = 32 << 20;
/// After so many fetches that failed to build upon what is there, it is left alone.
const MAX_FAILURES: u32 = 3;

/// A commit whose trees and files are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// What was asked for: the commit, or a tag that leads to it.
    pub wanted: ObjectId,
    /// The commit.
    pub commit: ObjectId,
    /// Whether its history is missing.
    pub shallow: bool,
}

impl Root {
    fn is(&self, id: &ObjectId) -> bool {
        self.wanted == *id || self.commit == *id
    }
}

/// What is kept of a remote for one who asks.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    /// Held by who fetches into it.
    turn: Arc<Turn<()>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is on disk; nothing if it is empty.
    marker: Option<Marker>,
    /// Whether this process has written it or hashed it.
    is_checked: bool,
    /// The packs while somebody reads them.
    open: Weak<Packs>,
    used: SystemTime,
    /// Counts how often everything was thrown away.
    epoch: u64,
    /// How often in a row nothing could be built upon it.
    failures: u32,
}

/// What a fetch builds upon.
pub struct Draft {
    /// What is there; no packs if everything is to be fetched.
    pub packs: Arc<Packs>,
    /// What is complete in it.
    pub roots: Vec<Root>,
    /// By which number the new pack has to go.
    pub number: u32,
    epoch: u64,
}

impl Entry {
    /// An empty one.
    pub fn new(path: PathBuf) -> Self {
        Self::with(path, None, SystemTime::now())
    }

    /// One that another process has left. What has no marker is removed.
    pub fn found(path: PathBuf) -> Self {
        let marker = Marker::read(&path, &marker::boot());
        let used = fs::metadata(path.join(marker::FILE)).and_then(|file| file.modified());
        let entry = Self::with(path, marker, used.unwrap_or(SystemTime::UNIX_EPOCH));
        entry.tidy();
        entry
    }

    fn with(path: PathBuf, marker: Option<Marker>, used: SystemTime) -> Self {
        Self {
            path,
            turn: Arc::default(),
            state: Mutex::new(State {
                marker,
                is_checked: false,
                open: Weak::new(),
                used,
                epoch: 0,
                failures: 0,
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who holds this fetches.
    pub fn turn(&self) -> Arc<Turn<()>> {
        Arc::clone(&self.turn)
    }

    /// Notes that somebody asked for it.
    pub fn touch(&self) {
        let now = SystemTime::now();
        let mut state = self.state();
        let is_due = now.duration_since(state.used).is_ok_and(|past| past > super::PAUSE);
        state.used = now;
        // For the process after this one; a missing date only means that it goes earlier.
        if is_due && let Ok(marker) = fs::File::open(self.path.join(marker::FILE)) {
            let _ = marker.set_modified(now);
        }
    }

    /// When somebody asked for it last.
    pub fn used(&self) -> SystemTime {
        self.state().used
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.state().size()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.state().marker.is_none()
    }

    /// The packs in which all the wanted objects are complete, if they are and the packs need no check first.
    pub fn find(&self, wanted: &[ObjectId], kind: Kind, limit: u64) -> Option<Arc<Packs>> {
        let mut state = self.state();
        let marker = state.marker.as_mut().filter(|marker| marker.kind == kind)?;
        for id in wanted {
            let at = marker.roots.iter().position(|root| root.is(id))?;
            // The one used last is forgotten last.
            let root = marker.roots.remove(at);
            marker.roots.push(root);
        }
        if !state.is_checked {
            return None;
        }
        match self.packs(&mut state, limit) {
            Ok(packs) => Some(packs),
            Err(error) => {
                tracing::debug!(entry = %self.path.display(), %error, "fetched objects cannot be opened: thrown away");
                self.clear(&mut state);
                None
            }
        }
    }

    /// What a fetch can build upon. Only for who has the turn: it checks what another process has left.
    ///
    /// # Errors
    /// There is no place for anything.
    pub fn begin(&self, kind: Kind, limit: u64) -> io::Result<Draft> {
        let unchecked = {
            let state = self.state();
            state.marker.clone().filter(|_| !state.is_checked)
        };
        // Without the lock: it takes its time, and nobody else uses what is not checked.
        let is_whole = unchecked.as_ref().is_none_or(|marker| self.is_whole(marker));
        let mut state = self.state();
        let is_usable = is_whole && state.failures < MAX_FAILURES;
        if state.marker.as_ref().is_some_and(|marker| marker.kind != kind) || !is_usable {
            tracing::debug!(entry = %self.path.display(), is_whole, "fetched objects cannot be used: thrown away");
            self.clear(&mut state);
        }
        state.is_checked = true;
        let packs = match state.marker {
            Some(_) => self.packs(&mut state, limit),
            None => Ok(Arc::new(Packs::new(Vec::new(), kind, limit))),
        };
        let packs = packs.unwrap_or_else(|error| {
            tracing::debug!(entry = %self.path.display(), %error, "fetched objects cannot be opened: thrown away");
            self.clear(&mut state);
            Arc::new(Packs::new(Vec::new(), kind, limit))
        });
        let marker = state.marker.as_ref();
        let highest = marker.into_iter().flat_map(|marker| &marker.packs);
        let highest = highest.map(|pack| pack.number).max().unwrap_or_default();
        let has_outgrown = marker.is_some_and(|marker| {
            let first = marker.packs.first().map_or(0, |pack| pack.size);
            packs.size() > first + first.max(MIN_GROWTH)
        });
        let roots = marker.map(|marker| marker.roots.clone()).unwrap_or_default();
        let epoch = state.epoch;
        drop(state);
        fs::create_dir_all(&self.path)?;
        let number = highest + 1;
        let draft = Draft {
            packs,
            roots,
            number,
            epoch,
        };
        Ok(if has_outgrown { draft.without_base() } else { draft })
    }

    /// Notes what was fetched, with the roots that are new in it. Only for who has the turn.
    ///
    /// # Errors
    /// The disk does not take it. What was there before is there still.
    pub fn record(&self, draft: &Draft, pack: Option<Arc<Pack>>, roots: &[Root]) -> Result<Arc<Packs>, Error> {
        let mut packs = draft.packs.with(pack);
        let joined = self.joined(&packs, draft.number + 1);
        let mut all: Vec<_> = draft.roots.clone();
        all.retain(|known| !roots.iter().any(|root| root.wanted == known.wanted));
        all.extend(roots);
        let forgotten = all.len().saturating_sub(MAX_ROOTS);
        all.drain(..forgotten);
        let kept = joined.as_ref().unwrap_or(&packs);
        let listed = kept.list().iter().map(|pack| {
            Ok(Listed {
                number: pack.number(),
                size: pack.size(),
                sums: Pack::sums(&self.path, pack.number(), packs.kind())?,
            })
        });
        let marker = Marker {
            boot: marker::boot(),
            kind: packs.kind(),
            packs: listed.collect::<Result<_, Error>>()?,
            roots: all,
        };
        let mut state = self.state();
        if state.epoch == draft.epoch {
            marker.write(&self.path)?;
            if let Some(joined) = joined {
                packs = joined;
            }
            (state.marker, state.is_checked, state.failures) = (Some(marker), true, 0);
        } else {
            // Somebody found what this builds upon to be damaged.
            tracing::debug!(entry = %self.path.display(), "what was fetched is not kept");
        }
        let packs = Arc::new(packs);
        state.open = state.marker.as_ref().map_or_else(Weak::new, |_| Arc::downgrade(&packs));
        drop(state);
        self.tidy();
        Ok(packs)
    }

    /// Notes that nothing could be built upon what is there.
    pub fn failed(&self) {
        self.state().failures += 1;
    }

    /// Throws everything away because something in it is damaged. Who reads it can go on to do so.
    pub fn distrust(&self) {
        tracing::info!(entry = %self.path.display(), "fetched objects are damaged: thrown away");
        self.clear(&mut self.state());
    }

    /// Throws everything away, unless somebody is fetching into it. Whether that was done.
    pub fn discard(&self) -> bool {
        let Ok(_turn) = self.turn.try_lock() else { return false };
        self.clear(&mut self.state());
        self.tidy();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the packs, or takes those that somebody reads.
    fn packs(&self, state: &mut State, limit: u64) -> Result<Arc<Packs>, Error> {
        if let Some(packs) = state.open.upgrade().filter(|packs| packs.limit() == limit) {
            return Ok(packs);
        }
        let Some(marker) = &state.marker else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let mut list = Vec::new();
        for Listed { number, size, .. } in &marker.packs {
            let pack = Pack::open(&self.path, *number, marker.kind)?;
            if pack.size() != *size {
                return Err(io::Error::other("a pack has changed").into());
            }
            list.push(Arc::new(pack));
        }
        let packs = Arc::new(Packs::new(list, marker.kind, limit));
        state.open = Arc::downgrade(&packs);
        Ok(packs)
    }

    /// Whether every byte of the packs is as it was.
    fn is_whole(&self, marker: &Marker) -> bool {
        marker.packs.iter().all(|pack| {
            let found = Pack::check(&self.path, pack.number, marker.kind);
            found.is_ok_and(|sums| sums == pack.sums)
        })
    }

    /// The packs after the first one made one, if there are many. It is no harm if that fails.
    fn joined(&self, packs: &Packs, number: u32) -> Option<Packs> {
        let (first, rest) = packs.list().split_first()?;
        if rest.len() < MAX_PACKS {
            return None;
        }
        match join(rest, &self.path, number, packs.kind()) {
            Ok(pack) => Some(Packs::new(vec![Arc::clone(first), pack], packs.kind(), packs.limit())),
            Err(error) => {
                tracing::debug!(entry = %self.path.display(), %error, "packs cannot be joined");
                None
            }
        }
    }

    /// The marker goes first: without it nothing counts.
    fn clear(&self, state: &mut State) {
        if let Err(error) = fs::remove_file(self.path.join(marker::FILE))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(entry = %self.path.display(), %error, "fetched objects cannot be thrown away");
        }
        let marker = state.marker.take();
        *state = State {
            marker: None,
            is_checked: false,
            open: Weak::new(),
            used: state.used,
            epoch: state.epoch + 1,
            failures: 0,
        };
        for name in marker.iter().flat_map(Marker::files) {
            let _ = fs::remove_file(self.path.join(name));
        }
    }

    /// Removes what the marker does not name; without one, all of it. Nobody may be fetching.
    fn tidy(&self) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        let state = self.state();
        let named: Vec<_> = state.marker.iter().flat_map(Marker::files).collect();
        for file in files.flatten() {
            let name = file.file_name();
            let is_named = name == marker::FILE || named.iter().any(|named| named.as_os_str() == name);
            if state.marker.is_none() || !is_named {
                // What cannot be removed now can be the next time.
                let _ = fs::remove_file(file.path());
            }
        }
        if state.marker.is_none() {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl State {
    fn size(&self) -> u64 {
        let packs = self.marker.iter().flat_map(|marker| &marker.packs);
        packs.map(|pack| pack.size).sum()
    }
}

impl Draft {
    /// The same place, but everything is fetched, and takes the place of what is there.
    pub fn without_base(&self) -> Self {
        Self {
            packs: Arc::new(Packs::new(Vec::new(), self.packs.kind(), self.packs.limit())),
            roots: Vec::new(),
            number: self.number,
            epoch: self.epoch,
        }
    }
}

#[cfg(test)]
impl Entry {
    /// As if so many bytes were kept.
    pub fn pretend(&self, size: u64) {
        let sums = crate::pack::Sums {
            pack: String::new(),
            index: String::new(),
        };
        self.state().marker = Some(Marker {
            boot: String::new(),
            kind: Kind::Sha1,
            packs: vec![Listed { number: 1, size, sums }],
            roots: Vec::new(),
        });
    }
}
