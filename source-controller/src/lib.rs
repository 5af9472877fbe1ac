//! Keeps the content of Git repositories available in a cluster.
//!
//! For every GitRepository: read who asks ([`auth`]) for what ([`reference`]), ask the remote which revision it has ([`git`]),
//! archive a new one straight out of the object database ([`checkout`], [`ignore`]), keep the file ([`storage`]), serve it over
//! HTTP ([`server`]) and report it in the status ([`reconcile`]). What a GitRepository can ask for and this controller cannot do
//! yet is one table ([`unsupported`]).
//! [`run`] puts it all together.

pub mod args;
pub mod auth;
pub mod checkout;
pub mod ignore;
pub mod reconcile;
pub mod reference;
pub mod server;
pub mod storage;
pub mod unsupported;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::source::GitRepository;
use git::ssh::Algorithms;
use git::{Client, Config, Limits, Policy};
use kube::runtime::watcher;
use runtime::controller::{Controller, Options};
use runtime::process::Process;
use runtime::report::Ledger;

use args::Args;
use checkout::Bounds;
use reconcile::{GitRepositories, MANAGER};
use storage::Storage;
use storage::gc::Retention;
use storage::path::base_url;

/// How long downloads may take to finish after a signal.
const DRAIN: Duration = Duration::from_secs(5);

/// The work of the controller, once it leads.
///
/// # Errors
/// No storage directory, or an address that cannot be listened on.
pub async fn run(args: Args, process: Process) -> anyhow::Result<()> {
    let storage = Arc::new(open_storage(&args)?);
    process.health.announce("artifact server");
    let server = tokio::spawn(serve(
        storage.root()?,
        args.artifacts.storage_addr.clone(),
        process.clone(),
    ));
    let limits = Limits {
        transfer: args.git.git_max_transfer_size,
        object: args.git.git_max_file_size,
    };
    let config = Config {
        scratch: "source-controller-",
        slots: usize::from(args.concurrent),
        policy: Policy::default(),
        ssh: Algorithms::new(&args.git.ssh_kex_algos, &args.git.ssh_hostkey_algos).map_err(anyhow::Error::msg)?,
    };
    let git = Client::new(config, tokio::runtime::Handle::current()).context("cannot set up the Git client")?;
    let namespace = (!args.process.watch_all_namespaces.0).then_some(process.namespace.as_str());
    let config = watcher::Config::default().labels(&args.interval.watch_label_selector);
    let controller = Controller::<GitRepository>::new(process.client.clone(), namespace, config);
    let (objects, store) = (controller.objects(), controller.objects());
    let store = move |namespace: &str, name: &str| store.get(namespace, name);
    let reconciler = GitRepositories {
        client: process.client.clone(),
        ledger: Ledger::new(process.client.clone(), MANAGER, store),
        recorder: process.recorder.clone(),
        metrics: process.metrics.clone(),
        git,
        limits,
        storage,
        bounds: Bounds {
            whole: artifact::Limits::default(),
            file: args.git.git_max_file_size,
        },
        intervals: args.interval.clone(),
    };
    let health = process.health.clone();
    tokio::spawn(async move {
        objects.ready().await;
        health.set("caches", true);
    });
    let options = Options {
        name: "gitrepository",
        concurrency: args.concurrent,
        min_retry: args.process.min_retry_delay.std(),
        max_retry: args.process.max_retry_delay.std(),
        shutdown: process.shutdown.clone(),
        recorder: process.recorder.clone(),
        metrics: process.metrics.clone(),
    };
    let shutdown = process.shutdown.clone();
    let served = async {
        server.await.context("the artifact server ended unexpectedly")??;
        anyhow::ensure!(shutdown.is_cancelled(), "the artifact server ended unexpectedly");
        Ok(())
    };
    let reconciled = async {
        controller.run(Arc::new(reconciler), options).await;
        Ok(())
    };
    // Both run until shutdown; a server that fails ends the process.
    tokio::try_join!(served, reconciled).map(|_| ())
}

fn open_storage(args: &Args) -> anyhow::Result<Storage> {
    let artifacts = &args.artifacts;
    let hostname = std::env::var("HOSTNAME").unwrap_or_default();
    let url = base_url(&artifacts.storage_adv_addr, &artifacts.storage_addr, &hostname);
    let retention = Retention {
        ttl: artifacts.artifact_retention_ttl.std(),
        records: artifacts.artifact_retention_records,
    };
    Storage::open(&artifacts.storage_path, url, artifacts.artifact_digest_algo, retention)
        .with_context(|| format!("cannot open the storage directory {}", artifacts.storage_path.display()))
}

/// Serves artifacts until shutdown, and then until the downloads that are under way are done or have had their time.
async fn serve(root: cap_std::fs::Dir, address: String, process: Process) -> anyhow::Result<()> {
    let listener = runtime::health::listen(&address).await.context("--storage-addr")?;
    process.health.set("artifact server", true);
    let stop = process.shutdown.clone();
    let serving = axum::serve(listener, server::router(root)).with_graceful_shutdown(stop.cancelled_owned());
    let late = async {
        process.shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { serving.await } => served.context("serving artifacts failed"),
        () = late => Ok(()),
    }
}
