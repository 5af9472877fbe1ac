//! What the tests of the Git client have in common.

use std::time::Duration;

use anyhow::Result;
use git::ssh::{Algorithms, Identity};
use git::{Client, Commit, Config, Credentials, Error, Policy, Reference, RemoteUrl, Request};
use tests::ssh_server::SshServer;
use tokio::runtime::Runtime;

/// A client and the runtime it works on.
pub struct Stage {
    pub runtime: Runtime,
    pub client: Client,
}

impl Stage {
    /// A client that may go everywhere.
    pub fn new() -> Result<Self> {
        Self::with(Policy::default(), Algorithms::default())
    }

    /// A client that is restricted.
    pub fn with(policy: Policy, ssh: Algorithms) -> Result<Self> {
        tests::use_ring();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let config = Config {
            scratch: "git-test-",
            slots: 4,
            policy,
            ssh,
        };
        let client = Client::new(config, runtime.handle().clone())?;
        Ok(Self { runtime, client })
    }

    /// The commit, or the message.
    pub fn get(&self, request: &Request) -> Result<Commit, String> {
        self.client.get(request).map_err(|error: Error| error.to_string())
    }

    /// The id of the commit that a word leads to, or the message.
    pub fn id(&self, request: &Request, word: Option<&str>) -> Result<String, String> {
        let request = Request {
            reference: Reference::any(word),
            ..request.clone()
        };
        self.get(&request).map(|commit| commit.revision.hash().to_owned())
    }
}

/// Asks for the HEAD of a remote.
pub fn request(url: &str) -> Result<Request> {
    Ok(Request {
        timeout: Duration::from_secs(60),
        ..Request::new(RemoteUrl::parse_remote(url)?, Reference::any(None))
    })
}

/// Asks over ssh with this key, knowing the server.
pub fn over_ssh(server: &SshServer, url: &str, key: &str) -> Result<Request> {
    knowing(url, key, &server.known_hosts()?)
}

/// Asks over ssh with this key and these known hosts.
pub fn knowing(url: &str, key: &str, known_hosts: &str) -> Result<Request> {
    let mut request = request(url)?;
    request.credentials = Credentials {
        ssh: Some(Identity::new(key, None, known_hosts)?),
        ..Credentials::default()
    };
    Ok(request)
}
