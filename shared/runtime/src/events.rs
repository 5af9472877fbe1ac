//! Kubernetes Events (core/v1) as Flux's controllers write them, which `kubectl describe` and `flux events` show.
//!
//! A recorder takes events without waiting and writes them in the background, in order. As client-go does, a repeat
//! of the same event raises the count of the first one instead of making another, and an object that is told too
//! often (more than 25 events, refilled one every five minutes) is not told about for a while. Events are a
//! courtesy: when the queue is full or the API server refuses, an event is dropped and a line is logged; the end of the
//! process waits a little for the last ones. What must not be lost travels in the status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Events waiting to be written; beyond it they are dropped.
const QUEUE: usize = 4096;
/// Events remembered for counting repeats.
const REMEMBERED: usize = 4096;
/// Events in a row about one object.
const BURST: f64 = 25.0;
/// Seconds after which one more is allowed.
const REFILL: f64 = 300.0;
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

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    severity: Severity,
    reason: String,
    message: String,
}

struct Told {
    name: String,
    count: i32,
    last: Instant,
}

struct Writer {
    client: Client,
    component: &'static str,
    instance: String,
    told: HashMap<Key, Told>,
    allowance: HashMap<String, (f64, Instant)>,
    serial: u64,
}

impl Writer {
    fn new(client: Client, component: &'static str, instance: String) -> Self {
        let (told, allowance) = (HashMap::new(), HashMap::new());
        Writer {
            client,
            component,
            instance,
            told,
            allowance,
            serial: 0,
        }
    }

    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(message) = receiver.recv().await {
            let (object, notice) = match message {
                Message::Event(object, notice) => (*object, notice),
                Message::Drain(done) => {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                    continue;
                }
            };
            let uid = object.uid.clone().unwrap_or_default();
            if !self.allow(&uid, Instant::now()) {
                continue;
            }
            let (reason, about) = (notice.reason.clone(), object.name.clone().unwrap_or_default());
            let written = tokio::time::timeout(Duration::from_secs(10), self.write(object, notice)).await;
            let error = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 10 seconds".to_owned(),
            };
            tracing::warn!(error, reason, name = about, "unable to record event");
        }
    }

    /// One token bucket per object.
    fn allow(&mut self, uid: &str, now: Instant) -> bool {
        if self.allowance.len() > REMEMBERED {
            self.allowance
                .retain(|_, (_, last)| now.duration_since(*last).as_secs_f64() < BURST * REFILL);
        }
        let (tokens, last) = self.allowance.entry(uid.to_owned()).or_insert((BURST, now));
        *tokens = (*tokens + now.duration_since(*last).as_secs_f64() / REFILL).min(BURST);
        *last = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    async fn write(&mut self, object: ObjectReference, notice: Notice) -> Result<(), kube::Error> {
        let message = cut(&notice.message);
        let key = Key {
            uid: object.uid.clone().unwrap_or_default(),
            severity: notice.severity,
            reason: notice.reason.clone(),
            message: message.clone(),
        };
        let namespace = object
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        if let Some(told) = self.told.get_mut(&key) {
            let count = told.count + 1;
            let mut patch = json!({ "count": count, "lastTimestamp": Time(now) });
            if !notice.annotations.is_empty() {
                patch["metadata"] = json!({ "annotations": notice.annotations });
            }
            match api
                .patch(&told.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {
                    (told.count, told.last) = (count, Instant::now());
                    return Ok(());
                }
                // Events live for an hour: the first one may be gone.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        self.serial += 1;
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
                annotations: Some(notice.annotations).filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            },
            involved_object: object,
            type_: Some(match notice.severity {
                Severity::Info => "Normal".to_owned(),
                Severity::Error => "Warning".to_owned(),
            }),
            reason: Some(notice.reason),
            message: Some(message),
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
        self.remember(key, name);
        Ok(())
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
    use std::sync::{Arc, Mutex};

    /// An API server that keeps what it is asked to create, or never answers.
    fn recorder(answers: bool) -> (Recorder, Arc<Mutex<Vec<String>>>) {
        let made = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&made);
        let server = tower::service_fn(move |request: Request<Body>| {
            let kept = Arc::clone(&kept);
            async move {
                if !answers {
                    return std::future::pending().await;
                }
                let bytes = request.into_body().collect_bytes().await?;
                let event: Event = serde_json::from_slice(&bytes)?;
                crate::lock(&kept).push(event.message.unwrap_or_default());
                Ok::<_, tower::BoxError>(Response::new(Body::from(bytes.to_vec())))
            }
        });
        (Recorder::start(Client::new(server, "default"), "test"), made)
    }

    fn tell(recorder: &Recorder, message: &str) {
        let notice = Notice {
            severity: Severity::Info,
            reason: "Test".into(),
            message: message.into(),
            annotations: BTreeMap::new(),
        };
        recorder.tell_reference(ObjectReference::default(), notice);
    }

    #[tokio::test]
    async fn what_was_told_before_the_end_is_written() {
        let (recorder, made) = recorder(true);
        for message in ["a", "b", "c"] {
            tell(&recorder, message);
        }
        recorder.drain(Duration::from_secs(60)).await;
        assert_eq!(*crate::lock(&made), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_silent_api_server_does_not_hold_the_end_up() {
        let (recorder, made) = recorder(false);
        tell(&recorder, "a");
        recorder.drain(Duration::from_millis(20)).await;
        assert!(crate::lock(&made).is_empty());
    }
}
