//! What the tests of the Git client have in common.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use git::ssh::{Algorithms, Identity};
use git::{Commit, Config, Credentials, Error, Found, Policy, Proxies, Reference, RemoteUrl, Request, cache};
use tests::git_client::GitClient;
use tests::ssh_server::SshServer;

/// A client, and what it says.
pub struct Stage(GitClient);

impl Stage {
    /// A client that may go everywhere.
    pub fn new() -> Result<Self> {
        GitClient::new().map(Self)
    }

    /// A client that is restricted.
    pub fn with(policy: Policy, ssh: Algorithms) -> Result<Self> {
        Self::among(Proxies::default(), policy, ssh)
    }

    /// A client for whom the environment names proxies.
    pub fn among(proxies: Proxies, policy: Policy, ssh: Algorithms) -> Result<Self> {
        let set = |config: &mut Config| (config.proxies, config.policy, config.ssh) = (proxies, policy, ssh);
        GitClient::with(set).map(Self)
    }

    /// A client that keeps what it fetched in a directory.
    pub fn keeping(path: &Path) -> Result<Self> {
        Self::keeping_at_most(path, 1 << 30)
    }

    /// As [`Stage::keeping`], but not more than so many bytes.
    pub fn keeping_at_most(path: &Path, max_size: u64) -> Result<Self> {
        let cache = cache::Config {
            path: path.to_owned(),
            max_size,
            max_age: Duration::from_secs(3600),
        };
        GitClient::with(|config| config.cache = Some(cache)).map(Self)
    }

    /// The commit, or the message.
    pub fn get(&self, request: &Request) -> Result<Commit, String> {
        self.0.get(request).map_err(|error| error.to_string())
    }

    /// What a task gets.
    pub fn fetch(&self, request: Request) -> Result<Found, Error> {
        self.0.runtime.block_on(self.0.client.fetch(request))
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
