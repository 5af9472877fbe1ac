//! A controller's process: what it starts with, when it works, how it ends.
//!
//! `main` calls [`start`] with what calls [`run`]; the work starts once the lease is held (or at once without leader
//! election). SIGTERM and SIGINT end it: runs that are under way finish, servers drain, the lease is released, the
//! last events are written. A lease is not released when something was still under way, and a lost lease ends the
//! process with an error: nobody may work beside the next leader. Until then, and before the lease is held, the clients
//! of the process refuse to write.

use crate::args::ProcessArgs;
use crate::events::Recorder;
use crate::health::{self, Health};
use crate::lease::{Candidate, Elected, Fence, Timing};
use crate::metrics::Metrics;
use anyhow::Context as _;
use clap::Parser;
use kube::{Client, Config};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// How long runs may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(7);

/// How long the last events may take.
const DRAIN: Duration = Duration::from_secs(2);

/// Whether a replica that waits for the lease counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// It counts, so that it does not hold up a rollout that replaces a replica only when the next one is ready.
    Ready,
    /// Others are sent to ready replicas, and only the leader serves them.
    NotReady,
}

/// What the work of a controller is given.
#[derive(Clone)]
pub struct Process {
    /// Talks to the API server as the controller itself.
    pub client: Client,
    /// The configuration the client was made from, to make others of: behind the same fence.
    pub config: Config,
    /// What keeps a process that does not lead from writing. Every client of the process is behind it.
    pub fence: Fence,
    /// The lease that this process holds and the name it holds it by; nothing without leader election.
    pub elected: Option<Elected>,
    /// The namespace the controller runs in.
    pub namespace: String,
    /// Writes Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Metrics,
    /// What the probes answer.
    pub health: Health,
    /// Cancelled when the process is to end.
    pub shutdown: CancellationToken,
}

/// The namespace that a process without `RUNTIME_NAMESPACE` is in.
const DEFAULT_NAMESPACE: &str = "flux-system";

/// Runs a program from its flags to its exit code: logging as `logging` says, then `work` until it ends. An error is
/// logged, or printed where errors are not logged.
///
/// The work lies on the heap: the first thread never gives back what its stack once held.
pub fn start<A, F>(name: &'static str, logging: fn(&A) -> &ProcessArgs, work: fn(A) -> F) -> ExitCode
where
    A: Parser,
    F: Future<Output = anyhow::Result<()>>,
{
    let args = A::parse();
    crate::telemetry::start(logging(&args));
    match Runtime::new() {
        // Told before the runtime waits for the threads that still work.
        Ok(runtime) => runtime.block_on(async {
            let ended = Box::pin(work(args)).await;
            ended.map_or_else(|error| failure(name, &format!("{error:#}")), |()| ExitCode::SUCCESS)
        }),
        Err(error) => failure(name, &format!("no runtime for tasks: {error}")),
    }
}

/// Says why a program ends.
fn failure(name: &str, error: &str) -> ExitCode {
    if tracing::enabled!(Level::ERROR) {
        tracing::error!(error, "{name} ends");
    } else {
        let _ = writeln!(io::stderr(), "{name}: {error}");
    }
    ExitCode::FAILURE
}

/// Runs a controller until a signal or a lost lease.
///
/// `shard` is the label selector the controller is limited to: each selector elects a leader of its own. `standby` says
/// what a replica that waits for the lease answers to the readiness probe.
///
/// # Errors
/// A timing of the election that cannot work, no API server to talk to, an address in use, a lost lease, or the error
/// of the work.
pub async fn run<W, F>(
    name: &'static str,
    shard: &str,
    args: &ProcessArgs,
    standby: Standby,
    work: W,
) -> anyhow::Result<()>
where
    W: FnOnce(Process) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let timing = args.enable_leader_election.0.then(|| {
        Timing::new(
            args.leader_election_lease_duration,
            args.leader_election_renew_deadline,
            args.leader_election_retry_period,
        )
    });
    let timing = timing.transpose().map_err(anyhow::Error::msg)?;
    let shutdown = CancellationToken::new();
    let metrics = Metrics::default();
    let config = config().await?;
    let namespace = std::env::var("RUNTIME_NAMESPACE").unwrap_or_else(|_| DEFAULT_NAMESPACE.to_owned());
    let candidate = timing.map(|timing| {
        // The only client without a fence: getting and keeping the lease is what opens it. Renewals share no
        // connection with the work either.
        let client = crate::client::build(config.clone(), &metrics, &Fence::open())?;
        anyhow::Ok(Candidate::new(client, &namespace, lease_name(name, shard), timing))
    });
    let candidate = candidate.transpose()?;
    let fence = candidate.as_ref().map_or_else(Fence::open, Candidate::fence);
    let client = crate::client::build(config.clone(), &metrics, &fence)?;
    let health = Health::default();
    health.announce("caches");
    health::serve(
        &args.health_addr,
        &args.metrics_addr,
        health.clone(),
        metrics.clone(),
        shutdown.clone(),
    )
    .await?;
    end_on_signal(shutdown.clone())?;
    let recorder = Recorder::start(client.clone(), name);
    let process = Process {
        client,
        config,
        fence,
        elected: candidate.as_ref().map(Candidate::elected),
        namespace,
        recorder,
        metrics,
        health,
        shutdown: shutdown.clone(),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting {name}");
    let recorder = process.recorder.clone();
    let Some(candidate) = candidate else {
        let (done, _) = finish(work(process), shutdown, GRACE).await;
        recorder.drain(DRAIN).await;
        return done;
    };
    let Elected { lease, .. } = candidate.elected();
    process.metrics.leading(&lease, false);
    match standby {
        Standby::Ready => process.health.set("caches", true),
        Standby::NotReady => process.health.announce("leadership"),
    }
    let Some(held) = candidate.acquire(&shutdown).await else {
        return Ok(());
    };
    match standby {
        Standby::Ready => process.health.set("caches", false),
        Standby::NotReady => process.health.set("leadership", true),
    }
    process.metrics.leading(&lease, true);
    tracing::info!("became leader");
    // The lease outlives the work, so that the next leader does not start beside it.
    let (done, finished) = tokio::select! {
        () = candidate.hold(held) => anyhow::bail!("leader election lost"),
        ended = finish(work(process), shutdown, GRACE) => ended,
    };
    let release = args.leader_election_release_on_cancel.0 && finished;
    tokio::join!(recorder.drain(DRAIN), async {
        if release {
            candidate.give_up().await;
        }
    });
    done
}

/// The lease's name; a shard's ends in eight hex digits of its selector's hash.
fn lease_name(name: &str, shard: &str) -> String {
    if shard.is_empty() {
        return format!("{name}-leader-election");
    }
    let hash = Sha256::digest(shard.as_bytes());
    let short: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-leader-election-{short}")
}

/// Waits for the work, and after a signal only so long. Also tells whether the work ended by itself.
async fn finish(
    work: impl Future<Output = anyhow::Result<()>>,
    shutdown: CancellationToken,
    grace: Duration,
) -> (anyhow::Result<()>, bool) {
    tokio::select! {
        done = work => (done, true),
        () = async { shutdown.cancelled().await; tokio::time::sleep(grace).await } => {
            tracing::info!("not everything finished in time, ending all the same");
            (Ok(()), false)
        }
    }
}

async fn config() -> anyhow::Result<Config> {
    // Reads files. What it takes of stack to understand them is given back with the thread.
    let infer = || Handle::current().block_on(Config::infer());
    let read = tokio::task::spawn_blocking(infer).await;
    let mut config = read
        .context("cannot read where the Kubernetes API server is")?
        .context("no Kubernetes API server: set KUBECONFIG or run in a cluster")?;
    // A retry inside the client would hold a worker; the reconcilers have their own schedule.
    config.default_retry = false;
    Ok(config)
}

fn end_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("ending");
        shutdown.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_goes_on_after_the_grace_is_not_finished() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let (done, finished) = finish(std::future::pending(), shutdown.clone(), Duration::ZERO).await;
        assert!(done.is_ok() && !finished);
        let (done, finished) = finish(async { anyhow::bail!("broken") }, shutdown, GRACE).await;
        assert!(done.is_err() && finished);
    }

    #[test]
    fn a_shard_elects_a_leader_of_its_own() {
        assert_eq!(lease_name("source-controller", ""), "source-controller-leader-election");
        let shard = lease_name("source-controller", "sharding.fluxcd.io/key=shard1");
        assert_eq!(shard.len(), "source-controller-leader-election-".len() + 8);
        assert_ne!(shard, lease_name("source-controller", "sharding.fluxcd.io/key=shard2"));
    }
}
