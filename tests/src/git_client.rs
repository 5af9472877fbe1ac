//! The Git client of a test's own, with the runtime it works on. Policies, proxies and a cache are for who asks for them.

use anyhow::Result;
use git::ssh::Algorithms;
use git::{Client, Commit, Config, Error, Policy, Proxies, Request};
use tokio::runtime::{Builder, Runtime};

/// A client and the runtime it works on.
#[derive(Debug)]
pub struct GitClient {
    /// The runtime.
    pub runtime: Runtime,
    /// The client.
    pub client: Client,
}

impl GitClient {
    /// One that may go everywhere, directly, and keeps nothing.
    ///
    /// # Errors
    /// There is no TLS, or no thread, to be had.
    pub fn new() -> Result<Self> {
        Self::with(|_| ())
    }

    /// As [`GitClient::new`], but for what is changed.
    ///
    /// # Errors
    /// As there.
    pub fn with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        crate::use_ring();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut config = Config {
            scratch: "git-test-",
            slots: 4,
            policy: Policy::default(),
            proxies: Proxies::default(),
            ssh: Algorithms::default(),
            cache: None,
        };
        change(&mut config);
        let client = Client::new(config, runtime.handle().clone())?;
        Ok(Self { runtime, client })
    }

    /// Fetches a commit. Not to be called by a task of an async runtime, which it would block.
    ///
    /// # Errors
    /// What the client says.
    pub fn get(&self, request: &Request) -> Result<Commit, Error> {
        self.client.get(request)
    }
}
