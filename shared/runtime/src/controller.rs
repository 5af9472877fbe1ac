//! The loop around a reconciler: which objects, when, how many at a time.
//!
//! The scheduling is the library's ([`kube::runtime::controller::applier`]: an object never runs twice at a time, the
//! earliest wish wins, triggers during a run lead to one more run). Added here:
//!
//! - **What wakes an object**: it is new, its generation moved, `reconcile.fluxcd.io/requestedAt` changed, it is being
//!   deleted; or somebody who knows calls [`Trigger::wake`]. Status writes, labels and other annotations do not.
//! - **One bad object does not stop its kind**: an object that cannot be decoded gets a warning event, once per
//!   resource version, and the others go on.
//! - **A worker is never held by waiting**: a reconciler returns [`Next::After`] or [`Next::Event`] and is called
//!   again. Each run is a task of its own, so a run that computes does not stop the others; a panic is counted,
//!   logged and retried.
//! - **Retries** by [`Backoff`], per object.

use crate::backoff::Backoff;
use crate::events::{Notice, Recorder, Severity};
use crate::metrics::{Metrics, ReconcileResult};
use crate::objects::{Entry, EntryRef, Listed, Objects};
use crate::seen::{News, Seen};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// An object kind that can be reconciled: namespaced, known at compile time.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// When an object is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something happens.
    Event,
    /// When something happens, or after this time.
    After(Duration),
    /// After the backoff of this object: the run failed.
    Backoff,
}

/// An object that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which a later object can have too.
    pub name: String,
    /// Its uid, which no other object has.
    pub uid: String,
}

/// One kind's reconciler.
pub trait Reconcile: Send + Sync + 'static {
    /// The kind.
    type Object: Object;

    /// Brings the world closer to what the object says. A run is short: it waits for answers, never for the world.
    fn reconcile(&self, object: Arc<Self::Object>) -> impl Future<Output = Next> + Send;

    /// The object is gone; what is remembered of it can go too. Told of every object that was seen, also of one that
    /// vanished while the watch was interrupted, was never decodable, or had its name taken by another one.
    fn gone(&self, object: &Gone);
}

/// Wakes objects of a kind.
#[derive(Debug)]
pub struct Trigger<K: Object> {
    sender: mpsc::UnboundedSender<EntryRef<K>>,
}

impl<K: Object> Clone for Trigger<K> {
    fn clone(&self) -> Self {
        Trigger {
            sender: self.sender.clone(),
        }
    }
}

impl<K: Object> Trigger<K> {
    /// Has an object reconciled soon; nothing when there is no such object.
    pub fn wake(&self, namespace: &str, name: &str) {
        // Nobody listens any more only while the process ends.
        let _ = self.sender.send(ObjectRef::new(name).within(namespace));
    }
}

/// What the loop needs besides the reconciler.
pub struct Options {
    /// The name in metrics and logs: the lower-case kind.
    pub name: &'static str,
    /// How many objects are reconciled at a time.
    pub concurrency: u16,
    /// Delay after the first failure.
    pub min_retry: Duration,
    /// The longest delay after failures.
    pub max_retry: Duration,
    /// Ends the loop: running reconciles finish, no new one starts.
    pub shutdown: CancellationToken,
    /// Tells about undecodable objects.
    pub recorder: Recorder,
    /// Counts runs.
    pub metrics: Metrics,
}

/// A controller that is set up but does not run yet: its trigger and its objects can be handed out.
pub struct Controller<K: Object> {
    trigger: Trigger<K>,
    triggered: mpsc::UnboundedReceiver<EntryRef<K>>,
    reader: Store<Entry<K>>,
    writer: reflector::store::Writer<Entry<K>>,
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    listed: Listed,
}

impl<K: Object> Controller<K> {
    /// Sets up a controller for the objects that the client sees in a namespace (or all) with the given selector.
    pub fn new(client: kube::Client, namespace: Option<&str>, config: watcher::Config) -> Self {
        let (sender, triggered) = mpsc::unbounded_channel();
        let (reader, writer) = reflector::store();
        let api = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        Controller {
            trigger: Trigger { sender },
            triggered,
            reader,
            writer,
            api,
            config,
            listed: Listed::default(),
        }
    }

    /// What wakes objects.
    pub fn trigger(&self) -> Trigger<K> {
        self.trigger.clone()
    }

    /// The objects as the watch knows them.
    pub fn objects(&self) -> Objects<K> {
        Objects::new(self.reader.clone(), self.listed.clone())
    }

    /// Runs until the shutdown token is cancelled and the last run has finished.
    pub async fn run<R: Reconcile<Object = K>>(self, reconciler: Arc<R>, options: Options) {
        let backoff: Arc<Backoff<EntryRef<K>>> = Arc::new(Backoff::new(options.min_retry, options.max_retry));
        let Controller {
            triggered,
            reader,
            writer,
            api,
            config,
            listed,
            ..
        } = self;
        let gone = {
            let (reconciler, backoff) = (Arc::clone(&reconciler), Arc::clone(&backoff));
            move |reference: &EntryRef<K>, object: &Gone| {
                backoff.reset(reference);
                reconciler.gone(object);
            }
        };
        let recorder = options.recorder.clone();
        let watched = watched(
            watcher(api, config)
                .map_ok(Entry::event)
                .default_backoff()
                .reflect(writer),
            gone,
            recorder,
            listed,
        );
        let woken = futures::stream::unfold(triggered, |mut triggered| async move {
            triggered.recv().await.map(|object| (object, triggered))
        });
        let shutdown = options.shutdown.clone();
        let queue = futures::stream::select(watched, woken)
            .take_until(async move { shutdown.cancelled().await })
            .map(Ok::<_, Infallible>);
        let (metrics, name) = (options.metrics.clone(), options.name);
        metrics.concurrency(name, options.concurrency);
        let run = move |object: Arc<Entry<K>>, _: Arc<()>| {
            let (reconciler, backoff, metrics) = (Arc::clone(&reconciler), Arc::clone(&backoff), metrics.clone());
            Box::pin(async move {
                let reference = ObjectRef::from(object.as_ref());
                let Some(object) = object.decoded().map(Arc::clone) else {
                    return Ok::<_, Infallible>(Action::await_change());
                };
                let next = attempt(reconciler, object, &metrics, name).await;
                Ok(match next {
                    Next::Event => {
                        backoff.reset(&reference);
                        Action::await_change()
                    }
                    Next::After(delay) => {
                        backoff.reset(&reference);
                        Action::requeue(delay)
                    }
                    Next::Backoff => Action::requeue(backoff.next(reference)),
                })
            })
        };
        let config = Config::default().concurrency(options.concurrency);
        applier(
            run,
            |_, never: &Infallible, _| match *never {},
            Arc::new(()),
            reader,
            queue,
            config,
        )
        // Woken objects that do not exist (any more) are nothing to worry about.
        .for_each(|_| std::future::ready(()))
        .await;
    }
}

/// One run as a task of its own, counted and timed.
async fn attempt<R: Reconcile>(
    reconciler: Arc<R>,
    object: Arc<R::Object>,
    metrics: &Metrics,
    name: &'static str,
) -> Next {
    let (namespace, object_name) = (object.namespace().unwrap_or_default(), object.name_any());
    let kind = R::Object::kind(&()).into_owned();
    // Never filtered out: the lines of every level need its fields.
    let span = tracing::error_span!(
        "reconcile",
        controller = name,
        controllerKind = kind,
        name = object_name,
        namespace = namespace
    );
    let started = Instant::now();
    metrics.started(name);
    // A run ends with the loop: nothing may work on when the process has given up its lead.
    let run = async move { reconciler.reconcile(object).await }.instrument(span);
    let task = AbortOnDropHandle::new(tokio::spawn(run));
    let (next, result) = match task.await {
        Ok(next) => (
            next,
            match next {
                Next::Event => ReconcileResult::Success,
                Next::After(_) => ReconcileResult::RequeueAfter,
                Next::Backoff => ReconcileResult::Error,
            },
        ),
        Err(error) => {
            tracing::error!(error = %error, controllerKind = kind, name = object_name, namespace, "reconcile panicked");
            (Next::Backoff, ReconcileResult::Panic)
        }
    };
    metrics.finished(name, result, started.elapsed());
    next
}

/// The objects that the watch says have changed in a way that matters.
fn watched<K: Object>(
    events: impl Stream<Item = watcher::Result<watcher::Event<Entry<K>>>> + Send + 'static,
    gone: impl Fn(&EntryRef<K>, &Gone) + Send + 'static,
    recorder: Recorder,
    done: Listed,
) -> impl Stream<Item = EntryRef<K>> + Send {
    let mut seen = Seen::default();
    events
        .inspect_err(|error| tracing::warn!(%error, kind = %K::kind(&()), "watch failed, will try again"))
        .filter_map(|event| std::future::ready(event.ok()))
        .inspect(move |event| done.notice(event))
        .filter_map(move |event| {
            let mut woken = None;
            for news in seen.take(event) {
                match news {
                    News::Gone(reference, object) => gone(&reference, &object),
                    News::Wake(reference) => woken = Some(reference),
                    News::Undecodable(object, error) => tell_undecodable::<K>(&recorder, &object, &error),
                }
            }
            std::future::ready(woken)
        })
}

fn tell_undecodable<K: Object>(recorder: &Recorder, object: &Entry<K>, error: &str) {
    let kind = K::kind(&());
    tracing::error!(error, controllerKind = %kind, name = object.name_any(), namespace = object.namespace(), "object cannot be decoded");
    let notice = Notice {
        severity: Severity::Error,
        reason: "InvalidObject".to_owned(),
        message: format!("{kind} cannot be decoded and is not reconciled until it is corrected: {error}"),
        annotations: BTreeMap::new(),
    };
    recorder.tell(object, notice);
}
