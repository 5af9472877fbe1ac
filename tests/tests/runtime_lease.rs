//! Who works, and what a worker misses: the election on a real API server, and objects that vanish while a controller
//! cannot watch.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::kustomize::Kustomization;
use api::source::GitRepository;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kustomize_controller::cluster::{Clusters, Identity, Limits};
use runtime::lease::{Candidate, Timing};
use runtime::metrics::Metrics;
use serde_json::json;
use tests::api_proxy::{ApiProxy, Book, lease};
use tests::checkout::WorkDir;
use tests::cluster::Cluster;
use tests::control_plane::Part;
use tests::controllers::Controller::{Kustomize, Source};
use tests::controllers::{Controllers, Options};
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
async fn a_leader_that_did_nothing_for_its_lease_reads_and_does_not_write_as_anybody() -> Result<()> {
    let ns = Cluster::shared().await?.namespace("fenced").await?;
    let file = Kubeconfig::read_from(ns.cluster().kubeconfig())?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    ns.apply_yaml("{apiVersion: v1, kind: ServiceAccount, metadata: {name: writer}}")
        .await?;
    ns.config_map("ours", &[("by", "nobody")]).await?;
    let grant = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: writer}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}}
subjects: [{{kind: ServiceAccount, name: writer, namespace: {}}}]
",
        ns.name()
    );
    ns.apply_yaml(&grant).await?;

    let stopped = candidate(&ns, Duration::from_secs(6))?;
    let (metrics, limits, fence) = (Metrics::default(), Limits::default(), stopped.fence());
    let clusters = Clusters::fenced(config.clone(), &metrics, limits, &fence)?;
    let account = Identity::Account {
        namespace: ns.name().to_owned(),
        name: "writer".to_owned(),
    };
    let clients = [
        runtime::client::build(config, &metrics, &fence)?,
        clusters.own().client(),
        clusters.of(&account)?.client(),
    ];
    let maps = clients.map(|client| Api::<ConfigMap>::namespaced(client, ns.name()));
    let write = async |maps: &Api<ConfigMap>, by: &str| {
        let patch = Patch::Merge(json!({ "data": { "by": by } }));
        maps.patch("ours", &PatchParams::default(), &patch).await
    };
    let refused = async |why: &str| {
        for maps in &maps {
            let before = maps.get("ours").await?.metadata.resource_version;
            let error = write(maps, "us").await.err().map(|error| error.to_string());
            ensure!(error.as_deref().is_some_and(|error| error.contains(why)), "{error:?}");
            ensure!(
                maps.get("ours").await?.metadata.resource_version == before,
                "it was written"
            );
        }
        anyhow::Ok(())
    };

    let shutdown = CancellationToken::new();
    refused("this process does not lead yet").await?;
    // The account's rights take a moment to be known.
    for maps in &maps {
        wait::until("a write of the leader", async || {
            if stopped.fence().check().is_err() {
                soon("the lead", stopped.acquire(&shutdown))
                    .await?
                    .context("no lease")?;
            }
            write(maps, "leader").await?;
            Ok(Some(()))
        })
        .await?;
    }
    let held = soon("the lead", stopped.acquire(&shutdown))
        .await?
        .context("no lease")?;
    // Nobody renews: that is what others see of a process that is stopped.
    let next = candidate(&ns, LONG)?;
    soon("the next leader", next.acquire(&shutdown))
        .await?
        .context("no lease")?;
    refused("this process may not lead any more").await?;
    soon("the loss to be noticed", stopped.hold(held)).await?;
    refused("this process does not lead any more").await
}

/// A kustomize controller that takes part in an election, behind a proxy that tells what it writes.
async fn replica(namespace: &Namespace, proxy: &ApiProxy, dir: &WorkDir) -> Result<Controllers> {
    let dir = dir.path().join(proxy.name());
    let mut options = Options::new(proxy.kubeconfig(), &dir, namespace.name());
    options.controllers = vec![Kustomize];
    options.flags = [
        "--enable-leader-election",
        "--leader-election-lease-duration=4s",
        "--leader-election-renew-deadline=3s",
        "--leader-election-retry-period=200ms",
    ]
    .map(|flag| (Kustomize, flag.to_owned()))
    .to_vec();
    let controllers = Controllers::start(options).await?;
    namespace.show_on_failure(controllers.logs());
    Ok(controllers)
}

#[tokio::test]
async fn a_leader_that_was_stopped_beyond_its_lease_writes_nothing_when_it_goes_on_and_ends() -> Result<()> {
    const LEASE: &str = "kustomize-controller-leader-election";
    let cluster = Cluster::shared().await?;
    let ns = cluster.namespace("fence").await?;
    let dir = WorkDir::create("test", "fence")?;
    let book = Book::default();
    let proxy = |name: &str| ApiProxy::start(cluster.control_plane()?, name, &book, 1);
    let (first, second) = (proxy("fence-first")?, proxy("fence-second")?);
    let status = format!("leader_election_master_status{{name=\"{LEASE}\"}} 1\n");
    let leads = async |replica: &Controllers| {
        let probe = async || Ok(replica.metrics(Kustomize).await?.contains(&status).then_some(()));
        wait::until("a replica to lead", probe).await
    };
    let stopped = replica(&ns, &first, &dir).await?;
    leads(&stopped).await?;
    let next = replica(&ns, &second, &dir).await?;

    stopped.pause(Kustomize)?;
    // Work that waits in the watch of the stopped leader: it would have to write a finalizer and a status of each.
    let names: Vec<String> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        let kustomization = format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: {name}}}
spec: {{interval: 1h, path: ./, prune: true, sourceRef: {{kind: GitRepository, name: missing}}}}
"
        );
        ns.apply_yaml(&kustomization).await?;
    }
    leads(&next).await?;
    for name in &names {
        ns.wait::<Kustomization>(name, "its status", |object| object.status.is_some())
            .await?;
    }
    let before = book.take_writes();
    ensure!(
        before.iter().any(|write| write.proxy == second.name()),
        "the proxies do not tell who writes"
    );

    stopped.resume(Kustomize)?;
    wait::until("the old leader to end", async || {
        Ok(stopped.ended(Kustomize)?.then_some(()))
    })
    .await?;
    let late: Vec<_> = book
        .take_writes()
        .into_iter()
        .filter(|write| write.proxy == first.name() && lease(write).is_none())
        .collect();
    ensure!(late.is_empty(), "the old leader wrote: {late:#?}");
    ensure!(!next.ended(Kustomize)?, "the next leader ended");
    leads(&next).await
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
