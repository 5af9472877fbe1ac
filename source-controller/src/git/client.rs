//! The conversation with a remote: list its references, and only if something moved fetch the one commit that is wanted.
//!
//! One connection serves both steps. A fetch is shallow (depth 1) and lands as a pack in a temporary directory that goes away
//! with the [`Commit`] it belongs to; there is no repository and no working tree around it. Everything runs on a thread for
//! blocking work, at most as many at a time as there are slots, under one deadline, and stops soon after its future is
//! dropped.
//!
//! Where gix or the server fails, the texts are those of Flux, because people search for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifact::{Revision, Scratch};
use gix::ObjectId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::auth::Credentials;
use super::conversation::{Conversation, chain};
use super::http;
use super::objects::Objects;
use super::reference::Reference;
use super::url::RemoteUrl;

/// How much a remote may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one operation, packs and listings together.
    pub transfer: u64,
    /// Bytes of one object: a file's content is held in memory while it is archived.
    pub object: u64,
}

/// What to get.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where from.
    pub remote: RemoteUrl,
    /// As whom.
    pub credentials: Credentials,
    /// What.
    pub reference: Reference,
    /// The revision there is an artifact for, if there is one.
    pub observed: Option<Revision>,
    /// Whether that artifact will do if the remote still says `observed`.
    pub may_skip: bool,
    /// How long the whole conversation may take.
    pub timeout: Duration,
}

/// What the remote has.
#[derive(Debug)]
pub enum Found {
    /// The revision that was observed before; nothing was fetched.
    Unmoved(Revision),
    /// A commit, fetched.
    Commit(Commit),
}

/// A fetched commit, for as long as its objects are needed.
#[derive(Debug)]
pub struct Commit {
    /// How the commit is written down.
    pub revision: Revision,
    /// The first line of its message, at most 50 characters.
    pub subject: String,
    /// Its tree.
    pub tree: ObjectId,
    /// The objects.
    pub objects: Objects,
}

/// Why there is no commit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has no commits at all.
    #[error("git repository is empty")]
    EmptyRepository,
    /// Anything else, in full.
    #[error("failed to checkout and determine revision: {0}")]
    Failed(String),
    /// The client could not even be set up.
    #[error("failed to create Git client: {0}")]
    Setup(String),
    /// There is no room for the objects.
    #[error("failed to create temporary working directory: {0}")]
    WorkDirectory(std::io::Error),
}

/// What the names of the temporary directories of all processes begin with.
const PREFIX: &str = "source-controller-";

/// What a conversation may use.
#[derive(Debug)]
pub struct Means {
    /// How much it may receive.
    pub limits: Limits,
    /// Where it puts what it receives.
    pub scratch: Scratch,
}

/// Talks to remotes.
#[derive(Clone, Debug)]
pub struct Client {
    slots: Arc<Semaphore>,
    means: Arc<Means>,
    /// For remotes that need no authority of their own.
    shared: reqwest::Client,
}

impl Client {
    /// A client for at most `slots` conversations at a time; what killed processes have left behind is removed in the
    /// background.
    pub fn new(slots: usize, limits: Limits) -> Result<Self, reqwest::Error> {
        let means = Arc::new(Means {
            limits,
            scratch: Scratch::new(PREFIX),
        });
        let swept = Arc::clone(&means);
        std::thread::spawn(move || match swept.scratch.sweep() {
            Ok(removed) => removed
                .iter()
                .for_each(|name| tracing::info!(name, "removed what a killed process left behind")),
            Err(error) => tracing::info!(%error, "cannot look for what killed processes left behind"),
        });
        Ok(Self {
            slots: Arc::new(Semaphore::new(slots)),
            means,
            shared: http::client(None)?,
        })
    }

    /// What the remote has for the request.
    pub async fn fetch(&self, request: Request) -> Result<Found, Error> {
        let http = match &request.credentials.authorities {
            None => self.shared.clone(),
            pem => http::client(pem.as_deref()).map_err(|error| Error::Setup(chain(&error)))?,
        };
        let ended = || Error::Failed("the controller is shutting down".to_owned());
        let _slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ended())?;
        let interrupt = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + request.timeout;
        let _on_drop = Interrupt(Arc::clone(&interrupt));
        let means = Arc::clone(&self.means);
        let stop = Arc::clone(&interrupt);
        let work = tokio::task::spawn_blocking(move || Conversation::run(&request, http, &means, deadline, &stop));
        let watch = async {
            tokio::time::sleep_until(deadline).await;
            interrupt.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => result.unwrap_or_else(|_| Err(Error::Failed("reading the repository failed unexpectedly".to_owned()))),
            () = watch => Err(ended()),
        }
    }
}

struct Interrupt(Arc<AtomicBool>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
