//! The way to remote bases, opened when the first one is asked for: most builds have none, and a TLS client with the system's
//! certificates costs more than a small build.

use std::cell::OnceCell;
use std::rc::Rc;

use kustomize::{Fetch, FetchError, Files, Repository};
use remote::{Limits, Policy, Reach, Remote, Session, Switches};
use tokio::runtime::Runtime;

use crate::arguments::RemoteArguments;
use crate::ssh;

/// Fetches as the flags allow.
pub(crate) struct Network<'a> {
    arguments: &'a RemoteArguments,
    open: OnceCell<Result<(Session, Runtime), String>>,
}

impl<'a> Network<'a> {
    /// Nothing is opened yet.
    pub fn new(arguments: &'a RemoteArguments) -> Self {
        Self {
            arguments,
            open: OnceCell::new(),
        }
    }

    fn session(&self) -> Result<&Session, FetchError> {
        let open = self.open.get_or_init(|| open(self.arguments));
        match open {
            Ok((session, _)) => Ok(session),
            Err(text) => Err(FetchError(text.clone())),
        }
    }
}

impl Fetch for Network<'_> {
    fn repository(&self, repository: &Repository) -> Result<Rc<dyn Files>, FetchError> {
        self.session()?.repository(repository)
    }

    fn file(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.session()?.file(url, limit)
    }
}

fn open(arguments: &RemoteArguments) -> Result<(Session, Runtime), String> {
    let hosts = &arguments.allow_host;
    let policy = Policy {
        reach: Reach {
            hosts: (!hosts.is_empty()).then(|| hosts.clone()),
            private_addresses: arguments.allow_private_addresses,
            trusted_hosts: Vec::new(),
        },
        limits: Limits {
            bytes: arguments.max_remote_bytes,
            fetch_time: arguments.max_remote_time,
            ..Limits::default()
        },
        switches: Switches {
            host: "--allow-host",
            private_addresses: "--allow-private-addresses",
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a thread for the network: {error}"))?;
    let (key, known_hosts) = (arguments.ssh_identity.clone(), arguments.ssh_known_hosts.clone());
    let keys = Box::new(move || ssh::identity(key.as_deref(), known_hosts.as_deref()));
    let remote = Remote::new(policy, Some(keys), "kustomize-build-", runtime.handle().clone())?;
    Ok((remote.session(), runtime))
}
