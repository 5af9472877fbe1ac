//! Remote bases for [`kustomize`]: the Git repositories and files that kustomizations refer to by URL, fetched natively.
//!
//! A [`Remote`] holds what is shared (a [`Policy`], connections), a [`Session`] of it the account of one build, and that is
//! the [`kustomize::Fetch`] to build with. Git is spoken over https, http and ssh, files come over https and http. The policy
//! says which hosts may be asked, and whether those that are not public: it is asked about every hop, and the address it
//! judges is the one that is dialled. Bytes, time and redirects are bounded. User information in a URL is sent to its host and
//! to no other, and is in no text. No program is run.
//!
//! What is not here: the grammar of URLs, which is [`kustomize`]'s, and any memory of what was fetched before.
//!
//! ```no_run
//! # fn example(runtime: &tokio::runtime::Runtime) -> Result<(), Box<dyn std::error::Error>> {
//! use remote::{Limits, Policy, Reach, Remote, Switches};
//!
//! let policy = Policy {
//!     reach: Reach { hosts: Some(vec!["github.com".to_owned()]), ..Reach::public() },
//!     limits: Limits::default(),
//!     switches: Switches { host: "--allow-host", private_addresses: "--allow-private-addresses" },
//! };
//! let session = Remote::new(policy, None, "example-", runtime.handle().clone())?.session();
//! let (files, options) = (kustomize::MemoryFiles::default(), kustomize::Options::default());
//! let url = "https://github.com/kubernetes-sigs/kustomize//examples/helloWorld?ref=v5.8.1";
//! let built = kustomize::Builder::new(&files, &options).fetch(&session).build(url)?;
//! # Ok(()) }
//! ```

mod checkout;
mod file;
mod policy;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

pub use git::ssh::Identity;
pub use policy::{Limits, Policy, Reach, Switches, host};
pub use session::Session;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How many repositories are fetched at a time.
const SLOTS: usize = 8;

/// Fetches as a policy allows. Cloning it is cheap.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

/// What the sessions share.
struct Shared {
    policy: Policy,
    client: reqwest::Client,
    git: git::Client,
    ssh: Option<Keys>,
    runtime: Handle,
}

/// Finds the private key and the known hosts for ssh, when a repository is first asked for over it.
pub type Keys = Box<dyn Fn() -> Result<Identity, String> + Send + Sync>;

impl Shared {
    fn identity(&self) -> Result<Identity, String> {
        match &self.ssh {
            Some(keys) => keys(),
            None => Err("there is no private key for ssh here: use https".to_owned()),
        }
    }
}

impl Remote {
    /// Gets ready to fetch; nothing is asked yet. Without `ssh` remotes over ssh are refused. Connections live on `runtime`, which has to be a multi-threaded one. The names
    /// of temporary directories begin with `scratch`; those that killed processes have left behind are removed.
    ///
    /// # Errors
    /// When there is no TLS to be had: no certificates of authorities on this machine.
    pub fn new(policy: Policy, ssh: Option<Keys>, scratch: &'static str, runtime: Handle) -> Result<Self, String> {
        let failed = |error| format!("no HTTP client can be made: {error}");
        let client = client(&policy).build().map_err(failed)?;
        let config = git::client::Config {
            scratch,
            slots: SLOTS,
            policy: policy.reach.clone(),
            proxies: git::Proxies::of_environment(),
            ssh: git::ssh::Algorithms::default(),
            cache: None,
        };
        let git = git::Client::new(config, runtime.clone()).map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            policy,
            client,
            git,
            ssh,
            runtime,
        });
        Ok(Self { shared })
    }

    /// The fetches of one build.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.shared))
    }
}

/// A client that dials only what the policy admits and follows no redirects.
fn client(policy: &Policy) -> reqwest::ClientBuilder {
    // An error means that a provider was chosen before, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT);
    policy.reach.apply(builder)
}
