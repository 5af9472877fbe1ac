//! The notification controller: it tells people and programs what happens to GitRepositories and Kustomizations, and
//! takes webhooks that ask for a reconcile.
//!
//! What is told is derived from the status of the objects alone ([`derive`]), compared with what was told before
//! ([`cursor`]), chosen by Alerts ([`alert`]), queued ([`outbox`]), written down ([`journal`]) and sent
//! ([`dispatch`], [`notifier`]). One task owns all of that ([`engine`]).
//!
//! # Guarantees
//! - Every event is delivered at least once to every Alert that takes it, in order per Alert and object, over restarts
//!   and outages of the receiver, the API server and this controller; a repetition has the same `X-Sluice-Event-Id`.
//! - A message that cannot be delivered for a day, or for which there is no room, is given up visibly: by an Event of
//!   its Alert and a metric.
//!
//! # Limits
//! What happened and was overwritten in a status while this controller was away is not told, except that lists of
//! changes are kept in the status for a while. Events of other controllers are taken over HTTP ([`server`]).

pub mod alert;
pub mod args;
pub mod cursor;
pub mod derive;
pub mod dispatch;
pub mod engine;
pub mod journal;
pub mod lead;
pub mod metrics;
pub mod notifier;
pub mod outbox;
pub mod provider;
pub mod receiver;
pub mod reconcile;
pub mod resources;
pub mod retry;
pub mod secrets;
pub mod server;
pub mod unsupported;

use ::api::kustomize::Kustomization;
use ::api::notification::{Alert, Provider, Receiver};
use ::api::source::GitRepository;
use anyhow::Context;
use args::Args;
use engine::{Engine, Mailbox, Parts};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use lead::Lead;
use metrics::{Deliveries, Requests};
use receiver::hooks::Hooks;
use runtime::controller::{Controller, Object, Options, Trigger};
use runtime::follow::{Change, follow};
use runtime::objects::Objects;
use runtime::process::{self, Process, Standby};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name in leases, events and logs.
pub const NAME: &str = "notification-controller";

/// Runs the controller until it is told to end.
///
/// # Errors
/// A feature gate that is not known, a process that cannot start (see [`process::run`]), addresses that cannot be listened on, or
/// another process that leads and writes.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let gates = args.gates().map_err(anyhow::Error::msg)?;
    let process_args = args.process.clone();
    // Flux's Deployment rolls: a new replica that waited for the old one's lease to be ready would wait for ever.
    process::run(NAME, "", &process_args, Standby::Ready, |process| {
        work(args, gates, process)
    })
    .await
}

async fn work(args: Args, gates: BTreeMap<&'static str, bool>, process: Process) -> anyhow::Result<()> {
    let scope = (!args.process.watch_all_namespaces.0).then(|| process.namespace.clone());
    process.health.announce("events");
    process.health.announce("receivers");
    let deliveries = Deliveries::register(&process.metrics);
    let (mailbox, inbox) = engine::mailbox();
    let hooks = Arc::new(Hooks::default());

    let alerts = controller::<Alert>(&process, scope.as_deref());
    let providers = controller::<Provider>(&process, scope.as_deref());
    let receivers = controller::<Receiver>(&process, scope.as_deref());
    let (alert_objects, provider_objects) = (alerts.objects(), providers.objects());
    let (receiver_objects, receiver_trigger) = (receivers.objects(), receivers.trigger());
    let options = |name| Options {
        name,
        concurrency: args.concurrent,
        min_retry: args.process.min_retry_delay.std(),
        max_retry: args.process.max_retry_delay.std(),
        shutdown: process.shutdown.clone(),
        recorder: process.recorder.clone(),
        metrics: process.metrics.clone(),
    };
    let mut tasks = tokio::task::JoinSet::new();
    let alert = reconcile::alert::Reconciler::new(&process, mailbox.clone());
    tasks.spawn(alerts.run(Arc::new(alert), options("alert")));
    let provider = reconcile::provider::Reconciler::new(&process, mailbox.clone());
    tasks.spawn(providers.run(Arc::new(provider), options("provider")));
    let receiver = reconcile::receiver::Reconciler::new(&process, receivers.objects(), Arc::clone(&hooks));
    tasks.spawn(receivers.run(Arc::new(receiver), options("receiver")));

    let repositories = follow_repositories(&process, scope.as_deref(), mailbox.clone());
    let kustomizations = follow_kustomizations(&process, scope.as_deref(), mailbox.clone(), repositories.clone());
    if !gates[args::DISABLE_CONFIG_WATCHERS] {
        let watched = Watched {
            receivers: receiver_objects.clone(),
            trigger: receiver_trigger,
            providers: provider_objects.clone(),
            mailbox: mailbox.clone(),
        };
        follow_secrets(
            &process,
            scope.as_deref(),
            &args.process.watch_configs_label_selector,
            watched,
        );
    }
    tokio::select! {
        () = process.shutdown.cancelled() => return Ok(()),
        () = async {
            alert_objects.ready().await;
            provider_objects.ready().await;
            receiver_objects.ready().await;
            repositories.ready().await;
            kustomizations.ready().await;
        } => {}
    }
    let parts = Parts {
        client: process.client.clone(),
        lead: Lead::of(&process),
        namespace: process.namespace.clone(),
        recorder: process.recorder.clone(),
        deliveries,
        alerts: alert_objects,
        providers: provider_objects,
        repositories,
        kustomizations,
        remind: args.rate_limit_interval.std(),
        give_up: args.give_up_after.std(),
        no_cross_namespace: args.no_cross_namespace_refs.0,
        shutdown: process.shutdown.clone(),
    };
    let Some(engine) = Engine::new(parts, inbox).await else {
        return Ok(());
    };
    tasks.spawn(engine.run());
    process.health.set("caches", true);

    let paths = args.export_http_path_metrics.0;
    let events = server::events::Server {
        mailbox,
        duplicates: server::duplicates::Duplicates::new(args.rate_limit_interval.std()).into(),
        requests: Requests::register(&process.metrics, "gotk_event", paths),
    };
    let webhooks = server::receivers::Server {
        client: process.client.clone(),
        receivers: receiver_objects,
        hooks,
        no_cross_namespace: args.no_cross_namespace_refs.0,
        requests: Requests::register(&process.metrics, "gotk_receiver", paths),
    };
    let listener = runtime::health::listen(&args.events_addr)
        .await
        .context("--events-addr")?;
    tasks.spawn(server::serve(
        "events",
        listener,
        events.router(),
        process.shutdown.clone(),
    ));
    process.health.set("events", true);
    let listener = runtime::health::listen(&args.receiver_addr)
        .await
        .context("--receiverAddr")?;
    tasks.spawn(server::serve(
        "receivers",
        listener,
        webhooks.router(),
        process.shutdown.clone(),
    ));
    process.health.set("receivers", true);
    while let Some(ended) = tasks.join_next().await {
        // A task ends by itself only when shutdown comes; before that it is broken or must not go on, and a restart
        // mends it.
        ended.context("a part of the controller broke")?;
        if !process.shutdown.is_cancelled() {
            anyhow::bail!("a part of the controller ended");
        }
    }
    Ok(())
}

fn controller<K: Object>(process: &Process, scope: Option<&str>) -> Controller<K> {
    Controller::new(process.client.clone(), scope, watcher::Config::default())
}

fn objects<K: Object>(process: &Process, scope: Option<&str>) -> Api<DeserializeGuard<K>> {
    match scope {
        Some(namespace) => Api::namespaced(process.client.clone(), namespace),
        None => Api::all(process.client.clone()),
    }
}

fn follow_repositories(process: &Process, scope: Option<&str>, mailbox: Mailbox) -> Objects<GitRepository> {
    let shutdown = process.shutdown.clone();
    follow(
        objects(process, scope),
        watcher::Config::default(),
        shutdown,
        move |change, object: &GitRepository| match change {
            Change::Present => mailbox.repository(object),
            Change::Deleted | Change::Gone => mailbox.repository_gone(object),
        },
    )
}

fn follow_kustomizations(
    process: &Process,
    scope: Option<&str>,
    mailbox: Mailbox,
    sources: Objects<GitRepository>,
) -> Objects<Kustomization> {
    let shutdown = process.shutdown.clone();
    follow(
        objects(process, scope),
        watcher::Config::default(),
        shutdown,
        move |change, object: &Kustomization| match change {
            Change::Present => mailbox.kustomization(object, &sources),
            Change::Deleted => mailbox.kustomization_deleted(object, &sources),
            Change::Gone => mailbox.kustomization_gone(object, &sources),
        },
    )
}

/// Who cares for Secrets.
struct Watched {
    receivers: Objects<Receiver>,
    trigger: Trigger<Receiver>,
    providers: Objects<Provider>,
    mailbox: Mailbox,
}

/// Follows the Secrets that carry the label for it, without their content.
fn follow_secrets(process: &Process, scope: Option<&str>, selector: &str, watched: Watched) {
    let config = watcher::Config::default().labels(selector);
    let shutdown = process.shutdown.clone();
    let api = objects::<PartialObjectMeta<Secret>>(process, scope);
    // The store is not needed: Secrets are read when they are used.
    drop(follow(
        api,
        config,
        shutdown,
        move |_, secret: &PartialObjectMeta<Secret>| {
            let (Some(namespace), Some(name)) = (&secret.metadata.namespace, &secret.metadata.name) else {
                return;
            };
            let Watched {
                receivers,
                trigger,
                providers,
                mailbox,
            } = &watched;
            let refers = |reference: &Option<::api::meta::LocalObjectReference>| {
                reference.as_ref().is_some_and(|reference| &reference.name == name)
            };
            let named = receivers.select(|receiver| {
                let here = receiver.metadata.namespace.as_ref() == Some(namespace);
                (here && refers(&receiver.spec.secret_ref))
                    .then(|| receiver.metadata.name.clone())
                    .flatten()
            });
            named.iter().for_each(|receiver| trigger.wake(namespace, receiver));
            let named = providers.select(|provider| {
                let here = provider.metadata.namespace.as_ref() == Some(namespace);
                let spec = &provider.spec;
                let mine = refers(&spec.secret_ref) || refers(&spec.cert_secret_ref) || refers(&spec.proxy_secret_ref);
                (here && mine).then(|| provider.metadata.name.clone()).flatten()
            });
            named
                .iter()
                .for_each(|provider| mailbox.changed(Some(format!("{namespace}/{provider}"))));
        },
    ));
}
