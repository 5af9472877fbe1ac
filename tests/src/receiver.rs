//! A local receiver of webhooks: it records whole requests and answers as it was told, with statuses, headers and
//! delays, and it can be away for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::watch;

use crate::wait;
use crate::web::Server;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
    /// The status it was answered with.
    pub status: u16,
}

impl Received {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// What a receiver answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: Duration,
}

impl Answer {
    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
            delay: Duration::ZERO,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", seconds)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits before answering.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A receiver on a free port.
#[derive(Debug)]
pub struct Receiver {
    server: Server,
    state: Arc<Book>,
}

#[derive(Debug)]
struct Book {
    received: watch::Sender<Vec<Received>>,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    next: VecDeque<Answer>,
    always: Answer,
}

impl Receiver {
    /// Starts a receiver over plain HTTP that answers everything with 200.
    pub fn start() -> Result<Self> {
        Self::launch(Server::start)
    }

    /// Starts a receiver over TLS; clients have to trust [`Receiver::ca`].
    pub fn start_tls() -> Result<Self> {
        Self::launch(Server::start_tls)
    }

    fn launch(start: impl FnOnce(Router) -> Result<Server>) -> Result<Self> {
        let plan = Plan {
            next: VecDeque::new(),
            always: Answer::status(200),
        };
        let state = Arc::new(Book {
            received: watch::Sender::default(),
            plan: Mutex::new(plan),
        });
        let router = Router::new()
            .fallback(record)
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(state.clone());
        Ok(Self {
            server: start(router)?,
            state,
        })
    }

    /// The address of a path, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// The certificate to trust, PEM, when the receiver speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.server.ca()
    }

    /// Everything received so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.borrow().clone()
    }

    /// Everything received so far, to wait for more.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Received>> {
        self.state.received.subscribe()
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.state.received.send_modify(Vec::clear);
    }

    /// Answers the next requests with these, one each, before the usual answer.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next
            .extend(answers);
    }

    /// Changes the usual answer.
    pub fn answer_always(&self, answer: Answer) {
        self.state.plan.lock().unwrap_or_else(PoisonError::into_inner).always = answer;
    }

    /// Closes the port and every connection: connecting is refused.
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again on the same port.
    pub fn up(&self) -> Result<()> {
        self.server.up()
    }

    /// Waits until `found` sees what it looks for in the requests so far, and returns that.
    pub async fn wait_for<T>(&self, what: &str, found: impl Fn(&[Received]) -> Option<T>) -> Result<T> {
        let (mut received, limit) = (self.subscribe(), wait::patience());
        let look = async {
            loop {
                // A copy: `found` may look at this receiver as well, and who looks twice while a message comes waits for
                // itself.
                let seen = received.borrow_and_update().clone();
                if let Some(value) = found(&seen) {
                    return value;
                }
                // It ends with this receiver only.
                let _ = received.changed().await;
            }
        };
        let result = tokio::time::timeout(limit, look).await;
        result.map_err(|_| {
            let received = self.received();
            let lines: Vec<String> = received
                .iter()
                .map(|request| {
                    let body = String::from_utf8_lossy(&request.body);
                    format!("{} {} -> {} {body}", request.method, request.path, request.status)
                })
                .collect();
            anyhow!(
                "waited {limit:?} in vain for {what}; received so far: {}",
                if lines.is_empty() {
                    "nothing".to_owned()
                } else {
                    lines.join("\n")
                }
            )
        })
    }

    /// Waits until this many requests have come, and returns all of them.
    pub async fn wait_for_count(&self, count: usize) -> Result<Vec<Received>> {
        let what = format!("{count} requests");
        self.wait_for(&what, |received| (received.len() >= count).then(|| received.to_vec()))
            .await
    }
}

async fn record(State(state): State<Arc<Book>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut plan = state.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.next.pop_front().unwrap_or_else(|| plan.always.clone())
    };
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = Received {
        method: method.to_string(),
        path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers
            .iter()
            .map(|(key, value)| (key.to_string(), text(value)))
            .collect(),
        body: body.to_vec(),
        at: Instant::now(),
        status: answer.status,
    };
    state.received.send_modify(|received| received.push(request));
    tokio::time::sleep(answer.delay).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    for (name, value) in answer.headers {
        if let Ok(value) = axum::http::HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_recorded_and_answered_by_the_plan() -> Result<()> {
        crate::use_ring();
        let receiver = Receiver::start()?;
        receiver.answer_next([Answer::status(503).retry_after(7), Answer::status(400).body("no")]);
        let client = reqwest::Client::new();
        let post = || {
            client
                .post(receiver.url("/hook?x=1"))
                .header("X-Id", "7")
                .body("{\"a\":1}")
                .send()
        };
        let first = post().await?;
        assert_eq!(
            (
                first.status().as_u16(),
                first.headers().get("retry-after").map(|v| v.as_bytes())
            ),
            (503, Some(&b"7"[..]))
        );
        let second = post().await?;
        assert_eq!((second.status().as_u16(), second.text().await?.as_str()), (400, "no"));
        assert_eq!(post().await?.status(), 200);
        let received = receiver.wait_for_count(3).await?;
        assert_eq!(
            (received[0].path.as_str(), received[0].header("x-id")),
            ("/hook?x=1", Some("7"))
        );
        assert_eq!(received[2].json()?, serde_json::json!({ "a": 1 }));
        Ok(())
    }
}
