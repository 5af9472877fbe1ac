//! The fetches of one build, counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use git::url::Scheme;
use git::{Reference, RemoteUrl, Request};
use kustomize::{Fetch, FetchError, Files, Repository};
use reqwest::Url;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::checkout::Checkout;
use crate::file::Errand;
use crate::policy::refusal;
use crate::{Policy, Shared};

/// The fetches of one build. They block the thread, which must not be one of an async runtime's own.
pub struct Session {
    shared: Arc<Shared>,
    fetches: Cell<usize>,
    bytes: Cell<u64>,
    /// When all fetches have to be over; nothing before the first one.
    end: Cell<Option<Instant>>,
    stop: CancellationToken,
}

/// What one fetch may take.
struct Allowance {
    bytes: u64,
    time: Duration,
}

impl Session {
    /// Nothing is fetched yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            fetches: Cell::new(0),
            bytes: Cell::new(0),
            end: Cell::new(None),
            stop: CancellationToken::new(),
        }
    }

    /// The same, with fetches that end at once when `stop` is cancelled: with an error, and their connections with them.
    #[must_use]
    pub fn stopped_by(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    fn wait<T>(&self, awaited: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.shared.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err("the fetch was stopped: nobody wants it any more".to_owned()),
                result = awaited => result,
            }
        })
    }

    fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// What the next fetch may take, if there is to be one.
    fn allow(&self, time: Duration) -> Result<Allowance, String> {
        let limits = &self.policy().limits;
        let now = Instant::now();
        let end = self.end.get().unwrap_or(now + limits.build_time);
        self.end.set(Some(end));
        self.fetches.set(self.fetches.get() + 1);
        if self.fetches.get() > limits.fetches {
            return Err(format!("more than {} fetches in one build", limits.fetches));
        }
        let left = end.saturating_duration_since(now);
        if left.is_zero() {
            let most = limits.build_time.as_secs();
            return Err(format!(
                "the remote bases of the build took more than {most} s together"
            ));
        }
        let bytes = limits.bytes.saturating_sub(self.bytes.get());
        if bytes == 0 {
            return Err(format!(
                "the remote bases of the build have {} bytes together",
                limits.bytes
            ));
        }
        Ok(Allowance {
            bytes,
            time: left.min(time).min(limits.fetch_time),
        })
    }

    fn spend(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    fn fetch_file(&self, url: &str, limit: u64) -> Result<Vec<u8>, String> {
        let allowance = self.allow(self.policy().limits.fetch_time)?;
        let errand = Errand {
            client: &self.shared.client,
            policy: self.policy(),
            limit: limit.min(allowance.bytes),
            deadline: Instant::now() + allowance.time,
        };
        let content = self.wait(errand.run(url))?;
        self.spend(content.len() as u64);
        Ok(content)
    }

    fn fetch_repository(&self, repository: &Repository) -> Result<Checkout, String> {
        let allowance = self.allow(repository.timeout)?;
        let remote = RemoteUrl::parse_remote(&repository.url).map_err(|error| error.to_string())?;
        self.wait(self.admit(&remote, allowance.time))?;
        let mut request = Request::new(remote, Reference::any(repository.reference.as_deref()));
        if request.remote.scheme() == Scheme::Ssh {
            request.credentials.ssh = Some(self.shared.identity()?);
        }
        request.submodules = repository.submodules;
        request.timeout = allowance.time;
        request.cancel = self.stop.clone();
        request.limits.transfer = allowance.bytes;
        let commit = self.shared.git.get(&request);
        self.spend(request.cost.received());
        commit.map(Checkout::new).map_err(|error| error.to_string())
    }

    /// Whether the host of a repository may be asked. The client judges again what it dials; this is for a text that says what
    /// to do, and does not say to which address a name leads.
    async fn admit(&self, remote: &RemoteUrl, time: Duration) -> Result<(), String> {
        let policy = self.policy();
        let (host, port) = match remote.ssh_target() {
            Some(target) => (target.host.clone(), target.port),
            None => {
                let url = Url::parse(&remote.bare()).map_err(|error| error.to_string())?;
                policy.admit(&url)?;
                let port = url.port_or_known_default().unwrap_or_default();
                (url.host_str().unwrap_or_default().to_owned(), port)
            }
        };
        let judged = policy.reach.check_host(&host, port);
        judged.map_err(|refusal| policy.refused(&refusal))?;
        if policy.reach.private_addresses {
            return Ok(());
        }
        match timeout(time, policy.reach.resolve(&host, port)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(match refusal(&error) {
                Some(refusal) => policy.refused(refusal),
                None => format!("host '{host}' cannot be looked up: {error}"),
            }),
            Err(_) => Err(format!("host '{host}' cannot be looked up: it takes too long")),
        }
    }
}

impl Fetch for Session {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        match self.fetch_repository(repository) {
            Ok(checkout) => Ok(Rc::new(checkout)),
            Err(text) => Err(FetchError(text)),
        }
    }

    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.fetch_file(url, limit).map_err(FetchError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ::tests::git_server::{Fault, GitServer};
    use ::tests::wait;
    use tokio::runtime::Handle;

    use crate::Remote;
    use crate::policy::tests::policy;

    /// Longer than any wait of a test.
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(flavor = "multi_thread")]
    async fn fetches_end_when_they_are_stopped() {
        let server = GitServer::start().unwrap();
        server.set_fault("silent", Fault::Hang);
        let repository = Repository {
            url: server.repository_url("silent"),
            reference: None,
            timeout: LONG,
            submodules: false,
        };
        let file = format!("{}/file.yaml", server.repository_url("silent"));
        type Ask = Box<dyn Fn(&Session) -> Option<String> + Send>;
        let asks: [Ask; 2] = [
            Box::new(move |session| session.repository(&repository).err().map(|error| error.0)),
            Box::new(move |session| session.file(&file, 1000).err().map(|error| error.0)),
        ];
        for (number, ask) in asks.into_iter().enumerate() {
            let stop = CancellationToken::new();
            let remote = Remote::new(policy(&[], true), None, "remote-test-", Handle::current()).unwrap();
            let session = remote.session().stopped_by(stop.clone());
            let asking = tokio::task::spawn_blocking(move || ask(&session));
            let asked = wait::until("the server to be asked", async || {
                Ok((server.seen("silent").len() > number).then_some(()))
            });
            asked.await.unwrap();
            stop.cancel();
            let ended = asking.await.unwrap();
            assert!(ended.is_some_and(|error| error.contains("stopped") || error.contains("cancel")));
        }
    }
}
