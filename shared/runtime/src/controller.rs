//! The loop around a reconciler: which objects, when, how many at a time.
//!
//! An object never runs twice at a time, the earliest wish wins, triggers during a run lead to one more run, and what is
//! due goes in the order it became due. Besides:
//!
//! - **What wakes an object**: it is new, its generation moved, `reconcile.fluxcd.io/requestedAt` changed, it is being
//!   deleted; or somebody who knows calls [`Trigger::wake`]. Status writes, labels and other annotations do not.
//! - **One bad object does not stop its kind**: an object that cannot be decoded gets a warning event, once per
//!   resource version, and the others go on.
//! - **A worker is never held by waiting**: a reconciler returns [`Next::After`] or [`Next::Event`] and is called
//!   again. Each run is a task of its own, so a run that computes does not stop the others; a panic is counted,
//!   logged and retried.
//! - **A run that takes more than a second gives its place to others** and goes on beside them; there are as many places
//!   for such runs as ordinary ones. So at most twice as many objects run as `concurrency` says.
//! - **Retries** by [`Backoff`], per object; within seconds of the API server's return where that was away, which does not
//!   count as a failure of the object.

use crate::backoff::Backoff;
use crate::client::is_outage;
use crate::events::{Notice, Recorder, Severity};
use crate::metrics::{Metrics, ReconcileResult};
use crate::objects::{Entry, EntryRef, Listed, Objects};
use crate::queue::Queue;
use crate::seen::{News, Seen};
use crate::watching;
use crate::workers;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// How long a run may take before it counts as a long one.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest delay after a run that failed because the API server was away.
const LONGEST_OUTAGE: Duration = Duration::from_secs(5);

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
    /// After the backoff of this object, but soon: the run failed because the API server was away or had no time, which
    /// says nothing about the object.
    Outage,
}

impl Next {
    /// What follows from an error of the API server.
    pub fn retry(error: &kube::Error) -> Self {
        match is_outage(error) {
            true => Next::Outage,
            false => Next::Backoff,
        }
    }

    /// When that is; a failure is counted.
    fn delay<T: Eq + Hash>(self, object: T, retries: &Retries<T>) -> Option<Duration> {
        match self {
            Next::Event => {
                retries.reset(&object);
                None
            }
            Next::After(delay) => {
                retries.reset(&object);
                Some(delay)
            }
            Next::Backoff => {
                retries.outages.reset(&object);
                Some(retries.failures.next(object))
            }
            Next::Outage => Some(retries.outages.next(object)),
        }
    }
}

/// How often objects failed in a row. Outages are counted for themselves: they say nothing about the object, so the first
/// failure after one is a first one.
struct Retries<T> {
    failures: Backoff<T>,
    outages: Backoff<T>,
}

impl<T: Eq + Hash> Retries<T> {
    fn new(min: Duration, max: Duration) -> Self {
        Retries {
            failures: Backoff::new(min, max),
            outages: Backoff::new(min, LONGEST_OUTAGE),
        }
    }

    fn reset(&self, object: &T) {
        self.failures.reset(object);
        self.outages.reset(object);
    }
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
    /// vanished while the watch was interrupted, was never decodable, or had its name taken by another one. Told once more
    /// at the end of a run during which the object went.
    fn gone(&self, object: &Gone);

    /// The watch has delivered this state of an object, which may be our own doing; what was kept until then can go.
    ///
    /// Called for every event once [`Objects`] knows, so it has to be quick. Does nothing by default.
    fn seen(&self, _object: &Self::Object) {}
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
    /// How many objects are reconciled at a time, besides as many that take more than a second.
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
        let retries: Arc<Retries<EntryRef<K>>> = Arc::new(Retries::new(options.min_retry, options.max_retry));
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
            let (reconciler, retries) = (Arc::clone(&reconciler), Arc::clone(&retries));
            move |reference: &EntryRef<K>, object: &Gone| {
                retries.reset(reference);
                reconciler.gone(object);
            }
        };
        let recorder = options.recorder.clone();
        let seen = {
            let (reconciler, reader) = (Arc::clone(&reconciler), reader.clone());
            let tell = move |entry: &Entry<K>| {
                if let Some(object) = entry.decoded() {
                    reconciler.seen(object);
                }
            };
            move |event: &watcher::Event<Entry<K>>| match event {
                watcher::Event::Apply(entry) => tell(entry),
                // What a list names is in the store at its end, and not before.
                watcher::Event::InitDone => reader.state().iter().for_each(|entry| tell(entry)),
                watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Delete(_) => {}
            }
        };
        let events = watching::watch(api, config)
            .map_ok(Entry::event)
            .reflect(writer)
            .inspect_ok(seen);
        let watched = watched(events, gone, recorder, listed.clone());
        let woken = futures::stream::unfold(triggered, |mut triggered| async move {
            triggered.recv().await.map(|object| (object, triggered))
        });
        let shutdown = options.shutdown.clone();
        let triggers = futures::stream::select(watched, woken)
            .take_until(async move { shutdown.cancelled().await })
            .map(Arc::new);
        let (metrics, name) = (options.metrics.clone(), options.name);
        metrics.concurrency(name, options.concurrency);
        let waiting = metrics.waiting(name);
        let start = move |reference: &Arc<EntryRef<K>>| {
            let entry = reader.get(reference);
            let Some(object) = entry.as_ref().and_then(|entry| entry.decoded()).map(Arc::clone) else {
                // Woken objects that do not exist (any more) are nothing to worry about.
                retries.reset(reference);
                return None;
            };
            let (reconciler, retries, metrics) = (Arc::clone(&reconciler), Arc::clone(&retries), metrics.clone());
            let (reference, reader) = (Arc::clone(reference), reader.clone());
            Some(async move {
                let ran = gone_of(&*object);
                let next = attempt(Arc::clone(&reconciler), object, &metrics, name).await;
                // It went during its run, which may have remembered something since. Nothing of its name runs now.
                let same = |entry: Arc<Entry<K>>| entry.uid().unwrap_or_default() == ran.uid;
                if !reader.get(&reference).is_some_and(same) {
                    retries.reset(&reference);
                    reconciler.gone(&ran);
                    return None;
                }
                next.delay(EntryRef::clone(&reference), &retries)
            })
        };
        let queue = Queue::new(options.concurrency.into(), PATIENCE);
        workers::work(queue, triggers, async move { listed.wait().await }, start, waiting).await;
    }
}

/// An object as it is told of when it is gone.
fn gone_of<K: Object>(object: &K) -> Gone {
    Gone {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
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
    let under_way = metrics.started(name);
    // A run ends with the loop: nothing may work on when the process has given up its lead.
    let run = async move { reconciler.reconcile(object).await }.instrument(span);
    let task = AbortOnDropHandle::new(tokio::spawn(run));
    let (next, result) = match task.await {
        Ok(next) => (
            next,
            match next {
                Next::Event => ReconcileResult::Success,
                Next::After(_) => ReconcileResult::RequeueAfter,
                Next::Backoff | Next::Outage => ReconcileResult::Error,
            },
        ),
        Err(error) => {
            tracing::error!(error = %error, controllerKind = kind, name = object_name, namespace, "reconcile panicked");
            (Next::Backoff, ReconcileResult::Panic)
        }
    };
    metrics.finished(&under_way, result);
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
        .flat_map(move |event| {
            let mut woken = Vec::new();
            for news in seen.take(event) {
                match news {
                    News::Gone(reference, object) => gone(&reference, &object),
                    News::Wake(reference) => woken.push(reference),
                    News::Undecodable(object, error) => tell_undecodable::<K>(&recorder, &object, &error),
                }
            }
            futures::stream::iter(woken)
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

#[cfg(test)]
mod tests {
    use super::*;
    use api::source::GitRepository;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    fn object(name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": { "name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "generation": 1 },
            "spec": spec,
        })
    }

    /// What runs of an object led to, so many times each, and the delays that followed in milliseconds.
    #[track_caller]
    fn check(runs: &[(Next, usize)], expected: &[&[u64]]) {
        let retries = Retries::new(Duration::from_millis(750), Duration::from_secs(900));
        let delays = |(next, count): &(Next, usize)| -> Vec<_> {
            let delay = |_| next.delay("a", &retries).map(|delay| delay.as_millis() as u64);
            (0..*count).filter_map(delay).collect()
        };
        assert_eq!(runs.iter().map(delays).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_outage_is_over_soon_however_long_it_was_and_is_no_failure() {
        let minute = Next::After(Duration::from_secs(60));
        let outage: [u64; 5] = [750, 1500, 3000, 5000, 5000];
        check(
            &[
                (Next::Outage, 5),
                (Next::Backoff, 2),
                (Next::Outage, 1),
                (Next::Backoff, 1),
            ],
            &[&outage, &[750, 1500], &[750], &[3000]],
        );
        check(
            &[
                (Next::Outage, 5),
                (Next::Backoff, 1),
                (minute, 1),
                (Next::Outage, 1),
                (Next::Backoff, 1),
            ],
            &[&outage, &[750], &[60_000], &[750], &[750]],
        );
        check(
            &[
                (Next::Backoff, 2),
                (Next::Outage, 1),
                (Next::Event, 1),
                (Next::Outage, 1),
                (Next::Backoff, 1),
            ],
            &[&[750, 1500], &[750], &[], &[750], &[750]],
        );
    }

    #[test]
    fn a_refusal_is_no_outage() {
        let api = |code: u16| kube::Error::Api(kube::core::Status::failure("no", "Because").with_code(code).boxed());
        let check = |error: kube::Error, expected| assert_eq!(Next::retry(&error), expected, "{error}");
        check(api(422), Next::Backoff);
        check(api(503), Next::Outage);
        check(kube::Error::Service("connection refused".into()), Next::Outage);
    }

    /// A client of an API server that has these objects, says of the first that it is deleted once the token is
    /// cancelled, and nothing else.
    fn client(objects: &[Value], deleted: CancellationToken) -> kube::Client {
        let list = json!({ "kind": "GitRepositoryList", "metadata": { "resourceVersion": "1" }, "items": objects });
        let event = json!({ "type": "DELETED", "object": objects[0] });
        let event = Arc::new(std::sync::Mutex::new(Some(event)));
        let server = tower::service_fn(move |request: Request<Body>| {
            let (list, event, deleted) = (list.to_string(), Arc::clone(&event), deleted.clone());
            async move {
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let reads = request.method() == http::Method::GET;
                let text = match (is_watch, reads) {
                    (true, true) => {
                        deleted.cancelled().await;
                        crate::lock(&event).take().map(|event| format!("{event}\n"))
                    }
                    (false, true) => Some(list),
                    (_, false) => None,
                };
                match text {
                    Some(text) => Ok::<_, tower::BoxError>(Response::new(Body::from(text.into_bytes()))),
                    None => std::future::pending().await,
                }
            }
        });
        kube::Client::new(server, "default")
    }

    /// Tells what happens; objects named `long` take until the gate opens.
    struct Telling {
        told: mpsc::UnboundedSender<String>,
        gate: CancellationToken,
    }

    impl Reconcile for Telling {
        type Object = GitRepository;

        async fn reconcile(&self, object: Arc<GitRepository>) -> Next {
            let name = object.name_any();
            let _ = self.told.send(format!("{name} begins"));
            if name == "long" {
                self.gate.cancelled().await;
                let _ = self.told.send(format!("{name} ends"));
            }
            Next::Event
        }

        fn gone(&self, object: &Gone) {
            let _ = self.told.send(format!("{} gone", object.uid));
        }

        fn seen(&self, object: &GitRepository) {
            let _ = self.told.send(format!("{} seen", object.name_any()));
        }
    }

    /// A controller with one worker that tells what happens.
    struct Scene {
        heard: mpsc::UnboundedReceiver<String>,
        gate: CancellationToken,
        shutdown: CancellationToken,
        metrics: Metrics,
        trigger: Trigger<GitRepository>,
        running: tokio::task::JoinHandle<()>,
    }

    fn begin(client: kube::Client) -> Scene {
        let (told, heard) = mpsc::unbounded_channel();
        let (gate, shutdown, metrics) = (CancellationToken::new(), CancellationToken::new(), Metrics::default());
        let reconciler = Telling {
            told,
            gate: gate.clone(),
        };
        let options = Options {
            name: "test",
            concurrency: 1,
            min_retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(1),
            shutdown: shutdown.clone(),
            recorder: Recorder::start(client.clone(), "test"),
            metrics: metrics.clone(),
        };
        let controller = Controller::<GitRepository>::new(client, None, watcher::Config::default());
        Scene {
            heard,
            gate,
            shutdown,
            metrics,
            trigger: controller.trigger(),
            running: tokio::spawn(controller.run(Arc::new(reconciler), options)),
        }
    }

    impl Scene {
        async fn hears(&mut self, expected: &[&str]) {
            for expected in expected {
                assert_eq!(self.heard.recv().await.as_deref(), Some(*expected));
            }
        }
    }

    fn spec() -> Value {
        json!({ "url": "https://host/r", "interval": "1m" })
    }

    #[tokio::test]
    async fn with_one_worker_a_long_run_does_not_hold_up_the_others_and_is_finished_at_the_end() {
        let objects = [
            object("long", spec()),
            object("bad", json!({ "url": 1 })),
            object("short", spec()),
        ];
        let mut scene = begin(client(&objects, CancellationToken::new()));
        let mut seen = [scene.heard.recv().await, scene.heard.recv().await];
        seen.sort();
        assert_eq!(seen, [Some("long seen".to_owned()), Some("short seen".to_owned())]);
        scene.hears(&["long begins", "short begins"]).await;
        scene.trigger.wake("n", "absent");
        scene.trigger.wake("n", "short");
        scene.hears(&["short begins"]).await;
        scene.shutdown.cancel();
        scene.gate.cancel();
        scene.running.await.unwrap();
        assert_eq!(scene.heard.recv().await.as_deref(), Some("long ends"));
        assert_eq!(scene.heard.recv().await, None);
        let metrics = scene.metrics.encode();
        let runs = r#"controller_runtime_reconcile_total{controller="test",result="success"} 3"#;
        assert!(metrics.contains(runs), "{metrics}");
    }

    #[tokio::test]
    async fn of_an_object_that_went_during_its_run_nothing_is_kept() {
        let deleted = CancellationToken::new();
        let mut scene = begin(client(&[object("long", spec())], deleted.clone()));
        scene.hears(&["long seen", "long begins"]).await;
        deleted.cancel();
        scene.hears(&["long gone"]).await;
        scene.gate.cancel();
        scene.hears(&["long ends", "long gone"]).await;
        scene.shutdown.cancel();
        scene.running.await.unwrap();
    }
}
