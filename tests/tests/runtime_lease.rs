//! Who works, and what a worker misses: the election on a real API server, and objects that vanish while a controller
//! cannot watch.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::source::GitRepository;
use k8s_openapi::api::coordination::v1::Lease;
use runtime::lease::{Candidate, Timing};
use serde_json::json;
use tests::cluster::Cluster;
use tests::control_plane::Part;
use tests::controllers::Controller::Source;
use tests::namespace::Namespace;
use tests::scenario::Scenario;
use tests::wait;
use tokio_util::sync::CancellationToken;

const LEASE: &str = "source-controller-leader-election";

/// Long enough that only a release explains a quick change of the leader.
const LONG: Duration = Duration::from_secs(600);

fn candidate(namespace: &Namespace, duration: Duration) -> Result<Candidate> {
    let timing = Timing::new(duration.into(), (duration / 2).into(), api::Duration::from_millis(50))
        .map_err(anyhow::Error::msg)?;
    let client = namespace.cluster().client();
    Ok(Candidate::new(client, namespace.name(), "election".to_owned(), timing))
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

async fn soon<T>(what: &str, done: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(wait::patience(), done)
        .await
        .with_context(|| format!("waited in vain for {what}"))
}

#[tokio::test]
async fn one_of_two_candidates_wins_and_the_other_follows_at_once_when_it_gives_up() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("two-candidates").await?;
    let (one, two) = (candidate(&ns, LONG)?, candidate(&ns, LONG)?);
    let shutdown = CancellationToken::new();
    let (mut first, mut second) = (Box::pin(one.acquire(&shutdown)), Box::pin(two.acquire(&shutdown)));
    let (winner, loser) = soon("a leader", async {
        tokio::select! {
            held = &mut first => (held.map(|_| &one), &mut second),
            held = &mut second => (held.map(|_| &two), &mut first),
        }
    })
    .await?;
    let winner = winner.context("nobody ended the election")?;
    let before = ns.get::<Lease>("election").await?;
    // Many attempts later the other one still waits.
    let waited = tokio::time::timeout(Duration::from_secs(1), loser.as_mut()).await;
    ensure!(waited.is_err(), "both candidates won");
    ensure!(
        holder(&ns.get::<Lease>("election").await?) == holder(&before),
        "the holder changed"
    );

    let given_up = Instant::now();
    winner.give_up().await;
    let held = soon("the next leader", loser).await?;
    ensure!(
        held.is_some() && given_up.elapsed() < LONG / 2,
        "the next leader waited"
    );
    let after = ns.get::<Lease>("election").await?;
    ensure!(holder(&after) != holder(&before), "the holder is the same");
    let transitions = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    assert_eq!((transitions(&before), transitions(&after)), (Some(0), Some(1)));
    Ok(())
}

#[tokio::test]
async fn a_lease_that_somebody_took_is_lost_and_one_that_was_touched_is_not() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("lost").await?;
    let leader = candidate(&ns, LONG)?;
    let shutdown = CancellationToken::new();
    let held = soon("a leader", leader.acquire(&shutdown)).await?.context("no lease")?;
    let mut hold = Box::pin(leader.hold(held));
    // Other writers make some of the renewals meet a conflict; that alone loses nothing.
    let meddle = async {
        for number in 0..50 {
            let note = json!({ "metadata": { "annotations": { "test": number.to_string() } } });
            ns.patch::<Lease>("election", note).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = &mut hold => bail!("the lease was lost although nobody took it"),
        met = meddle => met?,
    }
    let taken = json!({ "spec": { "holderIdentity": "somebody" } });
    ns.patch::<Lease>("election", taken).await?;
    soon("the loss to be noticed", hold).await?;
    leader.give_up().await;
    assert_eq!(holder(&ns.get::<Lease>("election").await?), Some("somebody"));
    Ok(())
}

#[tokio::test]
async fn a_leader_that_cannot_renew_notices_before_others_may_begin() -> Result<()> {
    let cluster = Cluster::own("no-renewal").await?;
    let ns = cluster.namespace("no-renewal").await?;
    let duration = Duration::from_secs(4);
    let leader = candidate(&ns, duration)?;
    let held = soon("a leader", leader.acquire(&CancellationToken::new()))
        .await?
        .context("no lease")?;
    let control_plane = cluster.control_plane()?;
    control_plane.pause(Part::ApiServer)?;
    let paused = Instant::now();
    let lost = soon("the loss to be noticed", leader.hold(held)).await;
    let noticed = paused.elapsed();
    control_plane.resume(Part::ApiServer)?;
    control_plane.ready().await?;
    lost?;
    ensure!(noticed < duration, "the loss was noticed only after {noticed:?}");
    drop(ns);
    cluster.stop().await
}

#[tokio::test]
async fn a_standby_is_not_ready_and_a_leader_that_ends_gives_the_lease_up() -> Result<()> {
    let s = Scenario::builder("standby")
        .only(&[Source])
        .flag(Source, "--enable-leader-election")
        .flag(Source, "--leader-election-retry-period=100ms")
        .start()
        .await?;
    let leads = |value: &str| format!("leader_election_master_status{{name=\"{LEASE}\"}} {value}\n");
    let metrics = s.controllers.metrics(Source).await?;
    ensure!(metrics.contains(&leads("1")), "{metrics}");
    ensure!(
        holder(&s.namespace.get::<Lease>(LEASE).await?).is_some_and(|name| !name.is_empty()),
        "the leader is not named"
    );
    s.controllers.stop(Source).await?;
    assert_eq!(holder(&s.namespace.get::<Lease>(LEASE).await?), Some(""));

    let taken = json!({ "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": LONG.as_secs() } });
    s.namespace.patch::<Lease>(LEASE, taken).await?;
    let url = format!("{}/readyz", s.controllers.health_url(Source)?);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let waits = wait::until("the standby to say that it waits", async || {
        let text = http.get(&url).send().await?.text().await?;
        Ok((text == "not ready: caches, leadership").then_some(()))
    });
    tokio::select! {
        started = s.controllers.start_again(Source) => {
            started?;
            bail!("a standby is ready");
        }
        waits = waits => waits?,
    }
    let metrics = s.controllers.metrics(Source).await?;
    ensure!(metrics.contains(&leads("0")), "{metrics}");
    let free = json!({ "spec": { "holderIdentity": "" } });
    s.namespace.patch::<Lease>(LEASE, free).await?;
    s.controllers.ready(Source).await
}

#[tokio::test]
async fn a_timing_that_cannot_work_is_refused_at_the_start() -> Result<()> {
    let started = Scenario::builder("timing")
        .only(&[Source])
        .flag(Source, "--enable-leader-election")
        .flag(Source, "--leader-election-renew-deadline=35s")
        .start()
        .await;
    let error = started.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        error.contains("--leader-election-renew-deadline=35s must be shorter than"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn objects_that_vanish_while_nobody_can_watch_are_forgotten() -> Result<()> {
    let s = Scenario::builder("gap").only(&[Source]).own_cluster().start().await?;
    for name in ["goes", "stays"] {
        let repository = format!(
            "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: {name}}}
spec: {{url: 'http://127.0.0.1:1/{name}.git', interval: 1h, suspend: true}}
"
        );
        s.namespace.apply_yaml(&repository).await?;
    }
    let series = |name: &str| format!("name=\"{name}\",namespace=\"{}\"", s.ns());
    let known = async |name: &str| anyhow::Ok(s.controllers.metrics(Source).await?.contains(&series(name)));
    wait::until("both to be known", async || {
        Ok((known("goes").await? && known("stays").await?).then_some(()))
    })
    .await?;

    s.controllers.pause(Source)?;
    // This ends the watch, so that the deletion does not wait in its connection.
    let control_plane = s.cluster.control_plane()?;
    control_plane.restart(Part::ApiServer).await?;
    s.namespace.delete::<GitRepository>("goes").await?;
    if s.namespace.find::<GitRepository>("goes").await?.is_some() {
        let released = json!({ "metadata": { "finalizers": null } });
        s.namespace.patch::<GitRepository>("goes", released).await?;
    }
    s.namespace.wait_gone::<GitRepository>("goes").await?;
    // A new API server does not remember what was deleted before it started: the controller has to list again.
    control_plane.restart(Part::ApiServer).await?;
    s.controllers.resume(Source)?;
    wait::until("the object to be forgotten", async || {
        Ok((!known("goes").await?).then_some(()))
    })
    .await?;
    ensure!(known("stays").await?, "an object that is still there was forgotten");
    Ok(())
}
