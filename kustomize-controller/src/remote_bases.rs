//! Remote bases of a build: who builds waits for the network without keeping others from building.
//!
//! What may be fetched is the policy's matter, and how is the `remote` crate's.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use kustomize::{Fetch, FetchError, Files, Repository};
use remote::{Remote, Session};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// One of the places for those who compute. It can be left for a while.
pub struct Turn {
    places: Arc<Semaphore>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    runtime: Handle,
}

impl Turn {
    /// Waits for a place.
    pub async fn wait(places: &Arc<Semaphore>) -> Self {
        let place = Arc::clone(places).acquire_owned().await;
        Self {
            places: Arc::clone(places),
            place: Mutex::new(place.ok()),
            runtime: Handle::current(),
        }
    }

    /// Does something that takes time but no processor, and comes back when there is a place again. For threads that may block.
    fn leave<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        drop(runtime::lock(&self.place).take());
        let done = meanwhile();
        let place = self.runtime.block_on(Arc::clone(&self.places).acquire_owned());
        *runtime::lock(&self.place) = place.ok();
        done
    }
}

/// The remote bases of one build.
pub struct RemoteBases<'a> {
    session: Session,
    turn: &'a Turn,
}

impl<'a> RemoteBases<'a> {
    /// Nothing is fetched yet. Fetches end when `stop` is cancelled.
    pub fn new(remote: &Remote, turn: &'a Turn, stop: CancellationToken) -> Self {
        Self {
            session: remote.session().stopped_by(stop),
            turn,
        }
    }

    fn fetch<T>(&self, fetch: impl FnOnce(&Session) -> T) -> T {
        self.turn.leave(|| fetch(&self.session))
    }
}

impl Fetch for RemoteBases<'_> {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        self.fetch(|session| session.repository(repository))
    }

    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.fetch(|session| session.file(url, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn others_have_the_place_while_it_is_left() {
        let places = Arc::new(Semaphore::new(1));
        let turn = Turn::wait(&places).await;
        assert_eq!(places.available_permits(), 0);
        let others = Arc::clone(&places);
        let turn = tokio::task::spawn_blocking(move || {
            assert_eq!(turn.leave(|| others.available_permits()), 1);
            turn
        });
        let turn = turn.await.unwrap();
        assert_eq!(places.available_permits(), 0);
        drop(turn);
        assert_eq!(places.available_permits(), 1);
    }
}
