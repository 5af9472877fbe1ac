//! The conversation with a remote: list its references, and only if something moved fetch the one commit that is wanted.
//!
//! One connection serves both steps. A fetch is shallow (depth 1) and lands as a pack in the [`cache`](crate::cache), where there
//! is one, or in a temporary directory that goes away with the [`Commit`] it belongs to; there is no repository and no working
//! tree around it. Everything runs on a thread for blocking work, at most as many at a time as there are slots, under one
//! deadline, and stops soon after it is cancelled.
//!
//! Where gix or the server fails, the texts are those of Flux, because people search for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use artifact::{Revision, Scratch};
use gix::ObjectId;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::cache::{self, Cache};
use crate::conversation::Conversation;
use crate::credentials::Credentials;
use crate::http;
use crate::policy::Policy;
use crate::proxies::Proxies;
use crate::reference::Reference;
use crate::ssh::Algorithms;
use crate::stop::{Ended, Stop};
use crate::submodules;
use crate::tree::Tree;
use crate::trouble::Allowance;
use crate::url::RemoteUrl;

/// How much a remote may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one operation, packs and listings together.
    pub transfer: u64,
    /// Bytes of one object, which is a file's content: it is held in memory where another one is made from it. Up to 16 MiB are
    /// taken in any case, as commits and directories may have to be larger than files.
    pub object: u64,
}

impl Default for Limits {
    /// 4 GiB, 100 MiB for an object.
    fn default() -> Self {
        Self {
            transfer: 4 << 30,
            object: 100 << 20,
        }
    }
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
    /// The revision that is known already, if one is.
    pub observed: Option<Revision>,
    /// Whether nothing is to be fetched if the remote still says `observed`.
    pub may_skip: bool,
    /// Whether submodules are fetched and mounted in the tree, those of submodules too.
    pub submodules: bool,
    /// Of which submodules files are wanted: those with paths that begin with one of these texts. None means all.
    pub sparse: Vec<String>,
    /// How long all of it may take. In [`Client::fetch`] the wait for a slot comes on top.
    pub timeout: Duration,
    /// How much the remote may send.
    pub limits: Limits,
    /// Cancelled when nobody wants the result any more: what is under way then ends with an error.
    pub cancel: CancellationToken,
    /// Where it is noted what the operation has cost.
    pub cost: Cost,
}

impl Request {
    /// What a reference leads to, asked for with the user information of the URL (over http and https), within a minute and the
    /// default limits.
    pub fn new(remote: RemoteUrl, reference: Reference) -> Self {
        Self {
            credentials: Credentials::of_url(&remote),
            remote,
            reference,
            observed: None,
            may_skip: false,
            submodules: false,
            sparse: Vec::new(),
            timeout: Duration::from_secs(60),
            limits: Limits::default(),
            cancel: CancellationToken::new(),
            cost: Cost::default(),
        }
    }
}

/// What the last operation for a request has cost, whether it succeeded or not. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cost(Arc<Mutex<(u64, Duration)>>);

impl Cost {
    /// Bytes that were received, listings and submodules among them.
    pub fn received(&self) -> u64 {
        self.get().0
    }

    /// How long all of it took, the wait for a slot not included.
    pub fn took(&self) -> Duration {
        self.get().1
    }

    fn get(&self) -> (u64, Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, received: u64, took: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (received, took);
    }
}

/// What the remote has.
#[derive(Debug)]
pub enum Found {
    /// The revision that was observed before; nothing was fetched.
    Unmoved(Revision),
    /// A commit, fetched.
    Commit(Box<Commit>),
}

/// A fetched commit, for as long as its objects are needed.
#[derive(Debug)]
pub struct Commit {
    /// How the commit is written down; its hash is the commit's id.
    pub revision: Revision,
    /// The first line of its message, at most 50 characters.
    pub subject: String,
    /// Who wrote it, as `Name <address>`. Anybody may call himself so.
    pub author: String,
    /// When it was committed, in seconds since the epoch, as the committer says.
    pub committed: i64,
    /// Its tree.
    pub tree: Tree,
    /// Its id.
    pub id: ObjectId,
    /// The commit as Git stores it, which is what its signature is about. At most as large as any object may be.
    pub raw: Vec<u8>,
    /// The annotated tag that the reference led through; nothing if it names the commit itself.
    pub tag: Option<Tag>,
}

/// An annotated tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its short name on the remote: `v1` for `refs/tags/v1`.
    pub name: String,
    /// Its id, which is not that of the commit.
    pub id: ObjectId,
    /// The tag as Git stores it, which is what its signature is about.
    pub raw: Vec<u8>,
}

/// Why there is no commit. No credentials are in the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has no commits at all.
    #[error("git repository is empty")]
    EmptyRepository,
    /// It holds a file over the limit; which one nobody knows before the pack is read.
    #[error("unable to clone '{remote}': it holds a file larger than the limit of {limit} bytes")]
    FileTooLarge {
        /// The remote.
        remote: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Anything else, in full.
    #[error("{0}")]
    Failed(String),
    /// The client could not even be set up.
    #[error("failed to create Git client: {0}")]
    Setup(String),
    /// There is no room for the objects.
    #[error("failed to create temporary working directory: {0}")]
    WorkDirectory(std::io::Error),
}

/// What a client is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the names of the process's temporary directories begin with: `source-controller-`.
    pub scratch: &'static str,
    /// How many conversations are held at a time.
    pub slots: usize,
    /// Where they may lead.
    pub policy: Policy,
    /// The proxies on the way, for requests that name none: those of the environment, as a rule.
    pub proxies: Proxies,
    /// What may be agreed upon over ssh.
    pub ssh: Algorithms,
    /// What keeps fetched objects for the next time; without it each fetch is on its own.
    pub cache: Option<cache::Config>,
}

/// What a conversation uses.
#[derive(Debug)]
pub struct Means {
    /// Where it puts what it receives.
    pub scratch: Scratch,
    /// Where it may lead.
    pub policy: Arc<Policy>,
    /// The proxies on the way, where the credentials name none.
    pub proxies: Arc<Proxies>,
    /// What may be agreed upon over ssh.
    pub ssh: Algorithms,
    /// What was fetched before.
    pub(crate) cache: Option<Cache>,
    /// For remotes that need nothing of their own.
    shared: reqwest::Client,
}

impl Means {
    /// The HTTP client for a request.
    pub fn http(&self, credentials: &Credentials) -> Result<reqwest::Client, Error> {
        match credentials {
            Credentials {
                authorities: None,
                certificate: None,
                proxy: None,
                ..
            } => Ok(self.shared.clone()),
            _ => http::client(&self.policy, &self.proxies, credentials).map_err(Error::Setup),
        }
    }
}

/// Talks to remotes. Clones share the slots.
#[derive(Clone, Debug)]
pub struct Client {
    slots: Arc<Semaphore>,
    means: Arc<Means>,
    runtime: Handle,
}

impl Client {
    /// A client whose network work happens on `runtime`, which has to be a multi-threaded one. What killed processes have left
    /// behind is removed: from the cache at once, temporary directories in the background. rustls must have its process-wide
    /// provider by now.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(config: Config, runtime: Handle) -> Result<Self, Error> {
        let Config {
            scratch,
            slots,
            policy,
            proxies,
            ssh,
            cache,
        } = config;
        let shared = http::client(&policy, &proxies, &Credentials::default()).map_err(Error::Setup)?;
        let means = Arc::new(Means {
            scratch: Scratch::new(scratch),
            policy: Arc::new(policy),
            proxies: Arc::new(proxies),
            ssh,
            cache: cache.map(Cache::new),
            shared,
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
            runtime,
        })
    }

    /// What the remote has for the request. For tasks; it ends soon after its future is dropped.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(&self, mut request: Request) -> Result<Found, Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ended())?;
        request.cancel = request.cancel.child_token();
        let _on_drop = request.cancel.clone().drop_guard();
        let client = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let stop = client.stop(&request);
            client.converse(&request, &stop, slot)
        });
        let unexpected = |_| Err(Error::Failed("reading the repository failed unexpectedly".to_owned()));
        work.await.unwrap_or_else(unexpected)
    }

    /// The commit that the request asks for, fetched in any case. For threads that may block, and for those only: within a task
    /// it panics.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, request: &Request) -> Result<Commit, Error> {
        let request = Request {
            observed: None,
            may_skip: false,
            ..request.clone()
        };
        let stop = self.stop(&request);
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match stop.wait(slot) {
            Ok(slot) => slot.map_err(|_| ended())?,
            Err(Ended::Cancelled) => return Err(ended()),
            Err(Ended::Deadline) => {
                let message = format!("unable to clone '{}': context deadline exceeded", request.remote);
                return Err(Error::Failed(message));
            }
        };
        match self.converse(&request, &stop, slot)? {
            Found::Commit(commit) => Ok(*commit),
            Found::Unmoved(_) => Err(ended()),
        }
    }

    fn stop(&self, request: &Request) -> Stop {
        Stop::new(self.runtime.clone(), request.timeout, request.cancel.clone())
    }

    fn converse(&self, request: &Request, stop: &Stop, _slot: OwnedSemaphorePermit) -> Result<Found, Error> {
        let started = Instant::now();
        let allowance = Allowance::new(request.limits.transfer);
        let found = self.find(request, stop, &allowance);
        request.cost.note(allowance.taken(), started.elapsed());
        let found = found?;
        if let Some(cache) = &self.means.cache {
            cache.sweep(SystemTime::now());
        }
        Ok(found)
    }

    fn find(&self, request: &Request, stop: &Stop, allowance: &Allowance) -> Result<Found, Error> {
        let mut found = Conversation::hold(request, &self.means, stop, allowance)?;
        if let Found::Commit(commit) = &mut found
            && request.submodules
        {
            submodules::mount(request, &self.means, stop, allowance, &mut commit.tree)?;
        }
        Ok(found)
    }
}

fn ended() -> Error {
    Error::Failed("the operation was cancelled".to_owned())
}
