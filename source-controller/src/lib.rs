//! Keeps the content of Git repositories available in a cluster.
//!
//! For every GitRepository: find out who asks ([`auth`]) for what ([`reference`]), ask the remote which revision it has
//! ([`git`]), verify who has signed it ([`mod@verify`]), archive a new one straight out of the object database
//! ([`checkout`], [`names`], [`ignore`]), with other artifacts in it if wanted ([`mod@include`]), keep the file
//! ([`storage`]), serve it over HTTP ([`server`]) and report it in the status ([`reconcile`]). [`run`] puts it all
//! together.

pub mod args;
pub mod auth;
pub mod checkout;
pub mod ignore;
pub mod include;
pub mod metrics;
pub mod names;
pub mod reconcile;
pub mod reference;
pub mod server;
pub mod storage;
pub mod verify;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use api::source::GitRepository;
use artifact::Scratch;
use git::ssh::Algorithms;
use git::{Client, Config, Limits, Policy, Proxies};
use kube::runtime::watcher;
use runtime::controller::{Controller, Options};
use runtime::process::{self, Process, Standby};
use runtime::report::Ledger;
use tokio::sync::Semaphore;

use args::{Args, Gates};
use auth::provider::{Environment, Providers};
use auth::token::{self, Tokens};
use auth::{Authenticator, cluster::Cluster};
use checkout::Bounds;
use metrics::Fetches;
use reconcile::{GitRepositories, MANAGER};
use server::patience::{Door, Patience};
use storage::Storage;
use storage::gc::Retention;
use storage::path::base_url;
use verify::needs::Memory;

/// The name in leases, events and logs.
pub const NAME: &str = "source-controller";

/// What the names of this process's temporary directories begin with.
const SCRATCH: &str = "source-controller-";

/// How long downloads may take to finish after a signal.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the controller until it is told to end.
///
/// # Errors
/// A feature gate that is not known, a process that cannot start (see [`process::run`]), no storage directory, or an address that
/// cannot be listened on.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let gates = args.gates().map_err(anyhow::Error::msg)?;
    let (process_args, shard) = (args.process.clone(), args.interval.watch_label_selector.clone());
    process::run(NAME, &shard, &process_args, Standby::NotReady, |process| {
        work(args, gates, process)
    })
    .await
}

async fn work(args: Args, gates: Gates, process: Process) -> anyhow::Result<()> {
    let environment = Environment::read(|name| std::env::var(name).ok());
    let storage = Arc::new(open_storage(&args)?);
    clean_up(Arc::clone(&storage)).await?;
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
    let proxies = Proxies::of_environment();
    let config = Config {
        scratch: SCRATCH,
        slots: usize::from(args.concurrent),
        proxies: proxies.clone(),
        policy: Policy::default(),
        ssh: Algorithms::new(&args.git.ssh_kex_algos, &args.git.ssh_hostkey_algos).map_err(anyhow::Error::msg)?,
        cache: args.git.cache(),
    };
    let git = Client::new(config, tokio::runtime::Handle::current()).context("cannot set up the Git client")?;
    let namespace = (!args.process.watch_all_namespaces.0).then_some(process.namespace.as_str());
    let config = watcher::Config::default().labels(&args.interval.watch_label_selector);
    let controller = Controller::<GitRepository>::new(process.client.clone(), namespace, config);
    let (objects, watched, store) = (controller.objects(), controller.objects(), controller.objects());
    let selector = &args.process.watch_configs_label_selector;
    auth::wake::follow_secrets(
        &process,
        namespace,
        selector,
        controller.objects(),
        controller.trigger(),
    );
    let store = move |namespace: &str, name: &str| store.get(namespace, name);
    let reconciler = GitRepositories {
        client: process.client.clone(),
        ledger: Ledger::new(process.client.clone(), MANAGER, store),
        recorder: process.recorder.clone(),
        metrics: process.metrics.clone(),
        fetches: Fetches::new(&process.metrics),
        git,
        limits,
        authenticator: authenticator(&args, gates, environment, proxies, &process),
        cluster: Cluster::new(process.client.clone()),
        verified: Memory::default(),
        storage,
        writers: Arc::new(Semaphore::new(writers())),
        bounds: Bounds {
            whole: artifact::Limits::default(),
            file: args.git.git_max_file_size,
        },
        scratch: Arc::new(Scratch::new(SCRATCH)),
        objects: watched,
        trigger: controller.trigger(),
        has_includes: AtomicBool::new(false),
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

/// Two archives a core: while one waits for the disk the other one is compressed.
fn writers() -> usize {
    2 * std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn authenticator(
    args: &Args,
    gates: Gates,
    environment: Environment,
    proxies: Proxies,
    process: &Process,
) -> Authenticator {
    let limits = token::Limits {
        entries: usize::try_from(args.process.token_cache_max_size).unwrap_or(usize::MAX),
        age: args.process.token_cache_max_duration.std(),
    };
    let tokens = Tokens::new(limits, &process.metrics);
    let cluster = Cluster::new(process.client.clone());
    let account = args.default_service_account.clone();
    let providers = Providers::new(environment, cluster.clone(), tokens, account, proxies);
    Authenticator::new(cluster, providers, gates.workload_identity)
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

/// Removes what processes that were killed have left in the storage, before anything new is written to it.
async fn clean_up(storage: Arc<Storage>) -> anyhow::Result<()> {
    match tokio::task::spawn_blocking(move || storage.sweep()).await? {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what killed processes left half written"),
        Err(error) => tracing::warn!(%error, "cannot look for what killed processes left half written"),
    }
    Ok(())
}

/// Serves artifacts until shutdown, and then until the downloads that are under way are done or have had their time.
async fn serve(root: cap_std::fs::Dir, address: String, process: Process) -> anyhow::Result<()> {
    let listener = runtime::health::listen(&address).await.context("--storage-addr")?;
    process.health.set("artifact server", true);
    let stop = process.shutdown.clone();
    let door = Door::new(listener, Patience::default());
    let serving = axum::serve(door, server::router(root)).with_graceful_shutdown(stop.cancelled_owned());
    let late = async {
        process.shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { serving.await } => served.context("serving artifacts failed"),
        () = late => Ok(()),
    }
}
