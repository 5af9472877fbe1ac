//! The kustomize controller: an artifact becomes applied objects, stale objects are pruned, health is known.
//!
//! [`reconcile`] is the pipeline and the only place that knows its order. Modules named for a decision are pure
//! ([`inventory`], [`stages`], [`substitute`], [`generate`], [`normalize`], [`build`], [`drift`], [`fingerprint`],
//! [`contest`], [`origins`], [`health`], [`wait`], [`dependency`], [`changes`], [`history`]); those named for a place or an act are
//! edges ([`cluster`], [`apply`], [`prune`], [`watch`], [`source`], [`artifacts`], [`remote_bases`], [`variables`],
//! [`wake`]).
//! [`holdings`] remembers what was applied, [`failure`] says what follows from what goes wrong, [`unsupported`] what is
//! not there yet.

pub mod apply;
pub mod args;
pub mod artifacts;
pub mod build;
pub mod changes;
pub mod cluster;
pub mod contest;
pub mod dependency;
pub mod drift;
pub mod failure;
pub mod fingerprint;
pub mod generate;
pub mod health;
pub mod history;
pub mod holdings;
pub mod inventory;
pub mod normalize;
pub mod origins;
pub mod prune;
pub mod reconcile;
pub mod remote_bases;
pub mod sights;
pub mod source;
pub mod stages;
pub mod substitute;
pub mod unsupported;
pub mod variables;
pub mod wait;
pub mod wake;
pub mod watch;

use anyhow::Context;
use api::kustomize::Kustomization;
use args::Args;
use artifacts::Artifacts;
use cluster::{Clusters, Limits};
use kube::runtime::watcher;
use reconcile::{Asked, Context as Shared, Kustomizer};
use remote::Remote;
use runtime::controller::{Controller, Options};
use runtime::process::{Process, Standby};
use source::Sources;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The name in leases, events and logs.
pub const NAME: &str = "kustomize-controller";

/// Runs the controller until it is told to end.
///
/// # Errors
/// Flags that cannot be used together, no API server, an address in use, a lost lease.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let policy = args.policy().map_err(anyhow::Error::msg)?;
    let process_args = args.process.clone();
    let shard = args.interval.watch_label_selector.clone();
    let standby = Standby::Ready;
    runtime::process::run(NAME, &shard, &process_args, standby, |process| {
        work(args, policy, process)
    })
    .await
}

async fn work(args: Args, policy: args::Policy, process: Process) -> anyhow::Result<()> {
    let only = (!args.process.watch_all_namespaces.0).then(|| process.namespace.clone());
    let selector = Some(args.interval.watch_label_selector.clone()).filter(|selector| !selector.is_empty());
    let sees_all = only.is_none() && selector.is_none();
    let config = watcher::Config {
        label_selector: selector,
        ..watcher::Config::default()
    };
    let controller = Controller::<Kustomization>::new(process.client.clone(), only.as_deref(), config);
    let (objects, trigger) = (controller.objects(), controller.trigger());
    let asked = Arc::new(Asked::default());
    let wake = wake::Wake::new(objects.clone(), trigger.clone(), Arc::clone(&asked));
    let repositories = wake.follow_sources(&process, only.as_deref());
    if !policy.no_config_watchers {
        wake.follow_variables(&process, only.as_deref(), &args.process.watch_configs_label_selector);
    }
    let (config, limits) = (process.config.clone(), Limits::default());
    let clusters = Clusters::fenced(config, &process.metrics, limits, &process.fence)?;
    let (lacking, wakes, following) = (Arc::clone(&asked), trigger.clone(), clusters.clone());
    let artifacts = Artifacts::new(
        args.max_artifact_size,
        args.max_artifact_unpacked_size,
        args.requeue_dependency(),
    )
    .context("cannot make an HTTP client")?;
    let remote = policy
        .remote_bases
        .clone()
        .map(|bounds| Remote::new(bounds, None, "kustomize-bases-", Handle::current()));
    let remote = remote.transpose().map_err(anyhow::Error::msg)?;
    let sources = Sources::new(clusters.own(), repositories.clone());
    let known = repositories.clone();
    let shared = Shared {
        process: process.clone(),
        policy,
        clusters,
        sources,
        artifacts,
        remote,
        objects: objects.clone(),
        trigger,
        asked,
        sees_all,
    };
    let kustomizer = Kustomizer::new(shared);
    let defining = Arc::clone(&kustomizer);
    following.follow_definitions(process.shutdown.clone(), move |group| {
        defining.defined(group);
        lacking.defined(&wakes, group);
    });
    let health = process.health.clone();
    tokio::spawn(async move {
        repositories.ready().await;
        objects.ready().await;
        health.set("caches", true);
    });
    let options = Options {
        name: "kustomization",
        concurrency: args.concurrent.max(1),
        min_retry: args.process.min_retry_delay.std(),
        max_retry: args.process.max_retry_delay.std(),
        shutdown: process.shutdown.clone(),
        recorder: process.recorder.clone(),
        metrics: process.metrics.clone(),
    };
    tokio::select! {
        () = known.ready() => {}
        () = process.shutdown.cancelled() => return Ok(()),
    }
    controller.run(kustomizer, options).await;
    Ok(())
}
