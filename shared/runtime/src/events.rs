//! Kubernetes Events (core/v1) as Flux's controllers write them, which `kubectl describe` and `flux events` show.
//!
//! A recorder takes events without waiting and writes them in the background, a few at a time, those about one object in
//! order. As client-go does, a repeat of the same event raises the count of the first one instead of making another, and an object that is told too
//! often (more than 25 events, refilled one every five minutes) is not told about for a while. Events are a
//! courtesy: when the queue is full or the API server refuses, an event is dropped and a line is logged; only an API
//! server that has too much to do is asked once more. The end of the process waits a little for the last ones. What
//! must not be lost travels in the status.

use crate::allowance::Allowance;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Events waiting to be written; beyond it they are dropped.
const QUEUE: usize = 4096;
/// Events taken from the queue, written or waiting for an earlier one about the same object.
const TAKEN: usize = 64;
/// Events written at a time: few, so that the work that they tell of comes first.
const WRITES: usize = 2;
/// How long the API server may take to write one, or may ask us to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events remembered for counting repeats.
const REMEMBERED: usize = 4096;
/// The longest message of an event, in bytes: what Flux documents.
const MAX_MESSAGE: usize = 39_000;

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// `Normal`
    Info,
    /// `Warning`
    Error,
}

/// What is told about an object.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Good or bad news.
    pub severity: Severity,
    /// The machine-readable reason.
    pub reason: String,
    /// The text; cut at 39,000 bytes.
    pub message: String,
    /// Annotations of the event, for example the revision.
    pub annotations: BTreeMap<String, String>,
}

/// Hands events to the background writer.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: mpsc::Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Event(Box<ObjectReference>, Notice),
    /// Everything before it was written, or given up.
    Drain(oneshot::Sender<()>),
}

impl Recorder {
    /// Starts the background writer for a component, for example `source-controller`.
    pub fn start(client: Client, component: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| component.to_owned());
        tokio::spawn(Writer::new(client, component, instance).run(receiver));
        Recorder { sender }
    }

    /// Tells about an object; every annotation of the object with the prefix `event.toolkit.fluxcd.io/` is added.
    pub fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, mut notice: Notice) {
        for (key, value) in object.annotations() {
            if key.starts_with("event.toolkit.fluxcd.io/") {
                notice.annotations.insert(key.clone(), value.clone());
            }
        }
        self.tell_reference(object.object_ref(&()), notice);
    }

    /// Tells about an object that is known by reference only.
    pub fn tell_reference(&self, object: ObjectReference, notice: Notice) {
        if self.sender.try_send(Message::Event(Box::new(object), notice)).is_err() {
            tracing::warn!("too many events at once: one was dropped");
        }
    }

    /// Waits until what was told so far is written or given up, at most so long.
    pub async fn drain(&self, limit: Duration) {
        let (done, written) = oneshot::channel();
        let drained = async { self.sender.send(Message::Drain(done)).await.is_ok() && written.await.is_ok() };
        if !matches!(tokio::time::timeout(limit, drained).await, Ok(true)) {
            tracing::info!("not every event was written in time");
        }
    }
}

/// What makes an event a repeat of another one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    severity: Severity,
    reason: String,
    /// The digest of the message: thousands of keys are remembered, and messages can be long.
    message: [u8; 32],
}

struct Told {
    name: String,
    count: i32,
    last: Instant,
}

/// An event to write.
struct Job {
    key: Key,
    object: ObjectReference,
    notice: Notice,
}

/// What came of writing an event.
enum Written {
    /// The first of its kind was made, under this name.
    Created(String),
    /// The one there was counts so many now.
    Counted(i32),
    /// Nothing; a line was logged.
    Failed,
}

struct Writer {
    client: Client,
    component: &'static str,
    instance: String,
    told: HashMap<Key, Told>,
    allowance: Allowance,
    serial: u64,
    /// The objects about which an event is being written, and what has to wait for that.
    busy: HashMap<String, VecDeque<Job>>,
    /// What waits for one of the writes to end.
    waiting: VecDeque<Job>,
    writes: FuturesUnordered<BoxFuture<'static, (Key, Written)>>,
}

impl Writer {
    fn new(client: Client, component: &'static str, instance: String) -> Self {
        Writer {
            client,
            component,
            instance,
            told: HashMap::new(),
            allowance: Allowance::default(),
            serial: 0,
            busy: HashMap::new(),
            waiting: VecDeque::new(),
            writes: FuturesUnordered::new(),
        }
    }

    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut draining: Option<oneshot::Sender<()>> = None;
        let mut is_open = true;
        loop {
            let taken = self.writes.len() + self.waiting.len() + self.busy.values().map(VecDeque::len).sum::<usize>();
            if taken == 0 {
                if let Some(done) = draining.take() {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                if !is_open {
                    return;
                }
            }
            tokio::select! {
                message = receiver.recv(), if is_open && draining.is_none() && taken < TAKEN => match message {
                    Some(Message::Event(object, notice)) => self.take(*object, notice),
                    Some(Message::Drain(done)) => draining = Some(done),
                    None => is_open = false,
                },
                Some((key, written)) = self.writes.next() => self.done(key, written),
            }
        }
    }

    /// Writes an event as soon as there is room and it is its turn, unless its object was told about too often.
    fn take(&mut self, object: ObjectReference, mut notice: Notice) {
        let uid = object.uid.clone().unwrap_or_default();
        if !self.allowance.take(&uid, Instant::now()) {
            return;
        }
        notice.message = cut(&notice.message);
        let key = Key {
            uid,
            severity: notice.severity,
            reason: notice.reason.clone(),
            message: Sha256::digest(&notice.message).into(),
        };
        let job = Job { key, object, notice };
        match self.busy.get_mut(&job.key.uid) {
            Some(later) => later.push_back(job),
            None => {
                self.busy.insert(job.key.uid.clone(), VecDeque::new());
                self.waiting.push_back(job);
            }
        }
        self.start();
    }

    fn start(&mut self) {
        while self.writes.len() < WRITES
            && let Some(job) = self.waiting.pop_front()
        {
            self.serial += 1;
            let write = Write {
                client: self.client.clone(),
                component: self.component,
                instance: self.instance.clone(),
                serial: self.serial,
                known: self.told.get(&job.key).map(|told| (told.name.clone(), told.count)),
                job,
            };
            self.writes.push(Box::pin(write.run()));
        }
    }

    fn done(&mut self, key: Key, written: Written) {
        if let Some(later) = self.busy.get_mut(&key.uid) {
            match later.pop_front() {
                Some(next) => self.waiting.push_back(next),
                None => {
                    self.busy.remove(&key.uid);
                }
            }
        }
        match written {
            Written::Created(name) => self.remember(key, name),
            Written::Counted(count) => {
                if let Some(told) = self.told.get_mut(&key) {
                    (told.count, told.last) = (count, Instant::now());
                }
            }
            Written::Failed => {}
        }
        self.start();
    }

    fn remember(&mut self, key: Key, name: String) {
        if self.told.len() >= REMEMBERED {
            let mut ages: Vec<_> = self.told.values().map(|told| told.last).collect();
            ages.sort();
            let middle = ages[ages.len() / 2];
            self.told.retain(|_, told| told.last > middle);
        }
        self.told.insert(
            key,
            Told {
                name,
                count: 1,
                last: Instant::now(),
            },
        );
    }
}

/// One event on its way.
struct Write {
    client: Client,
    component: &'static str,
    instance: String,
    serial: u64,
    /// The name and count of the event that this one repeats.
    known: Option<(String, i32)>,
    job: Job,
}

impl Write {
    async fn run(self) -> (Key, Written) {
        let mut written = self.attempt().await;
        if let Err(Refusal::Api(error)) = &written
            && let Some(pause) = pause(error)
        {
            tokio::time::sleep(pause).await;
            written = self.attempt().await;
        }
        let written = written.unwrap_or_else(|error| {
            let (reason, name) = (&self.job.notice.reason, self.job.object.name.as_deref());
            tracing::warn!(%error, reason, name, "unable to record event");
            Written::Failed
        });
        (self.job.key, written)
    }

    async fn attempt(&self) -> Result<Written, Refusal> {
        match tokio::time::timeout(PATIENCE, self.write()).await {
            Ok(written) => written.map_err(Refusal::Api),
            Err(_) => Err(Refusal::Silence),
        }
    }

    async fn write(&self) -> Result<Written, kube::Error> {
        let Job { object, notice, .. } = &self.job;
        let namespace = object
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        if let Some((name, count)) = &self.known {
            let count = count + 1;
            let mut patch = json!({ "count": count, "lastTimestamp": Time(now) });
            if !notice.annotations.is_empty() {
                patch["metadata"] = json!({ "annotations": notice.annotations });
            }
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(Written::Counted(count)),
                // Events live for an hour: the first one may be gone.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let stamp = Timestamp::now().as_nanosecond() as u64;
        let name = format!(
            "{}.{stamp:x}{:x}",
            object.name.as_deref().unwrap_or("object"),
            self.serial % 16
        );
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                annotations: Some(notice.annotations.clone()).filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            type_: Some(match notice.severity {
                Severity::Info => "Normal".to_owned(),
                Severity::Error => "Warning".to_owned(),
            }),
            reason: Some(notice.reason.clone()),
            message: Some(notice.message.clone()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: None,
            }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        Ok(Written::Created(name))
    }
}

/// Why an event was not written.
enum Refusal {
    Api(kube::Error),
    Silence,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Api(error) => error.fmt(f),
            Refusal::Silence => write!(f, "no answer within {} seconds", PATIENCE.as_secs()),
        }
    }
}

/// How long an API server that has too much to do wants us to wait, within our patience.
///
/// The answer's body does not always say it; the header, which the client keeps to itself, is a second then.
fn pause(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    (status.code == 429).then(|| Duration::from_secs(u64::from(asked.max(1))).min(PATIENCE))
}

fn cut(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let mut end = MAX_MESSAGE - 3;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use tokio_util::sync::CancellationToken;

    /// What an API server was asked.
    #[derive(Clone, Debug, PartialEq)]
    struct Asked {
        method: String,
        body: serde_json::Value,
    }

    /// A recorder before an API server that answers when the judge lets it, with a code; and what it was asked.
    fn recorder_before<F>(judge: impl Fn(Asked) -> F + Send + Sync + 'static) -> (Recorder, Arc<Mutex<Vec<Asked>>>)
    where
        F: Future<Output = u16> + Send + 'static,
    {
        let (judge, made) = (Arc::new(judge), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&made);
        let server = tower::service_fn(move |request: Request<Body>| {
            let (judge, kept) = (Arc::clone(&judge), Arc::clone(&kept));
            async move {
                let method = request.method().to_string();
                let body = serde_json::from_slice(&request.into_body().collect_bytes().await?)?;
                let asked = Asked { method, body };
                let code = judge(asked.clone()).await;
                let body = match code {
                    200 => r#"{"metadata":{},"involvedObject":{}}"#.to_owned(),
                    code => format!(r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code}}}"#),
                };
                if code == 200 {
                    crate::lock(&kept).push(asked);
                }
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(Body::from(body.into_bytes()))?)
            }
        });
        (Recorder::start(Client::new(server, "default"), "test"), made)
    }

    fn messages(made: &Mutex<Vec<Asked>>) -> Vec<String> {
        let made = crate::lock(made);
        let message = |asked: &Asked| asked.body["message"].as_str().map(ToOwned::to_owned);
        made.iter().filter_map(message).collect()
    }

    fn tell_about(recorder: &Recorder, uid: &str, message: &str) {
        let notice = Notice {
            severity: Severity::Info,
            reason: "Test".into(),
            message: message.into(),
            annotations: BTreeMap::new(),
        };
        let object = ObjectReference {
            uid: Some(uid.into()),
            ..ObjectReference::default()
        };
        recorder.tell_reference(object, notice);
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_was_told_before_the_end_is_written() {
        let (recorder, made) = recorder_before(|_| std::future::ready(200));
        for message in ["a", "b", "c"] {
            tell_about(&recorder, "1", message);
        }
        recorder.drain(LIMIT).await;
        assert_eq!(messages(&made), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_silent_api_server_does_not_hold_the_end_up() {
        let (recorder, made) = recorder_before(|_| std::future::pending());
        tell_about(&recorder, "1", "a");
        recorder.drain(Duration::from_millis(20)).await;
        assert!(messages(&made).is_empty());
    }

    #[tokio::test]
    async fn events_about_one_object_stay_in_order_and_hold_up_no_others() {
        let gate = CancellationToken::new();
        let (seen, mut asked) = mpsc::unbounded_channel();
        let (recorder, made) = recorder_before({
            let gate = gate.clone();
            move |event| {
                let (message, gate) = (event.body["message"].as_str().unwrap().to_owned(), gate.clone());
                let is_first = message == "a1";
                seen.send(message).unwrap();
                async move {
                    if is_first {
                        gate.cancelled().await;
                    }
                    200
                }
            }
        });
        tell_about(&recorder, "a", "a1");
        tell_about(&recorder, "a", "a2");
        for uid in ["b", "c", "d", "e", "f"] {
            tell_about(&recorder, uid, uid);
        }
        let mut begun = Vec::new();
        for _ in 0..6 {
            begun.push(asked.recv().await.unwrap());
        }
        begun.sort();
        assert_eq!(begun, ["a1", "b", "c", "d", "e", "f"]);
        gate.cancel();
        recorder.drain(LIMIT).await;
        assert_eq!(messages(&made)[5..], ["a1", "a2"]);
    }

    #[tokio::test]
    async fn no_more_than_a_few_are_written_at_a_time() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (recorder, made) = recorder_before({
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            move |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let running = Arc::clone(&running);
                async move {
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    200
                }
            }
        });
        for uid in 0..100 {
            tell_about(&recorder, &uid.to_string(), "a");
        }
        recorder.drain(LIMIT).await;
        assert_eq!((messages(&made).len(), most.load(Ordering::SeqCst)), (100, WRITES));
    }

    #[tokio::test]
    async fn a_repeat_raises_the_count_even_of_an_event_that_is_being_written() {
        let (recorder, made) = recorder_before(|_| std::future::ready(200));
        for _ in 0..3 {
            tell_about(&recorder, "1", "a");
        }
        recorder.drain(LIMIT).await;
        let counts: Vec<_> = crate::lock(&made)
            .iter()
            .map(|asked| format!("{} {}", asked.method, asked.body["count"]))
            .collect();
        assert_eq!(counts, ["POST 1", "PATCH 2", "PATCH 3"]);
    }

    #[tokio::test]
    async fn a_busy_api_server_is_asked_once_more() {
        let tries = Arc::new(AtomicUsize::new(0));
        let (recorder, made) = recorder_before({
            let tries = Arc::clone(&tries);
            move |_| std::future::ready([429, 200, 429, 429][tries.fetch_add(1, Ordering::SeqCst)])
        });
        tell_about(&recorder, "1", "a");
        recorder.drain(LIMIT).await;
        tell_about(&recorder, "1", "b");
        recorder.drain(LIMIT).await;
        assert_eq!(
            (messages(&made), tries.load(Ordering::SeqCst)),
            (vec!["a".to_owned()], 4)
        );
    }

    #[track_caller]
    fn check(status: serde_json::Value, expected: Option<u64>) {
        let status = serde_json::from_value(status).unwrap();
        let pause = pause(&kube::Error::Api(Box::new(status)));
        assert_eq!(pause, expected.map(Duration::from_secs));
    }

    #[test]
    fn only_too_many_requests_are_waited_for_and_not_for_ever() {
        check(json!({ "code": 429 }), Some(1));
        check(json!({ "code": 429, "details": { "retryAfterSeconds": 3 } }), Some(3));
        check(
            json!({ "code": 429, "details": { "retryAfterSeconds": 600 } }),
            Some(10),
        );
        check(json!({ "code": 500, "details": { "retryAfterSeconds": 3 } }), None);
    }
}
