//! The endpoint that controllers of third parties post their events to.
//!
//! An event is answered with 202 once it is written down, so that it is delivered although this process dies. Events
//! about GitRepositories and Kustomizations are derived from their status; those that their controllers post are
//! taken and left, or everything would be told twice.

use super::duplicates::{Duplicates, Verdict};
use super::read;
use crate::alert;
use crate::engine::Mailbox;
use crate::metrics::Requests;
use api::event::{self, Event};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a poster waits for its event to be written down.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest message, in bytes: what Flux documents.
const MAX_MESSAGE: usize = 39_000;
/// The largest event without its message, in bytes: many have to wait in little room.
const MAX_REST: usize = 64 * 1024;

/// What the endpoint works with.
pub struct Server {
    /// Where events go.
    pub mailbox: Mailbox,
    /// What was posted before.
    pub duplicates: Mutex<Duplicates>,
    /// Counts.
    pub requests: Requests,
}

impl Server {
    /// Every path and method is the endpoint.
    pub fn router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }

    async fn accept(&self, body: Body) -> Response {
        let bytes = match read(body).await {
            Ok(bytes) => bytes,
            Err(status) => return status.into_response(),
        };
        let Some(mut event) = decode(&bytes) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        event.metadata = alert::cleaned(&event);
        if !fits(&mut event) {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        let now = Timestamp::now();
        let verdict = runtime::lock(&self.duplicates).check(&event, now);
        let status = match verdict.fresh {
            false => StatusCode::TOO_MANY_REQUESTS,
            true if is_derived(&event) => StatusCode::ACCEPTED,
            true => {
                let salt = format!("{}/{}", event.involved_object.group(), event::TOKEN);
                event.metadata.remove(&salt);
                match tokio::time::timeout(PATIENCE, self.mailbox.posted(event)).await {
                    Ok(true) => StatusCode::ACCEPTED,
                    // It is queued but not safe.
                    Ok(false) | Err(_) => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
        };
        limits(status, verdict)
    }
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let started = Instant::now();
    server.requests.begin();
    let response = server.accept(body).await;
    let code = response.status().as_u16();
    server
        .requests
        .end(parts.uri.path(), parts.method.as_str(), code, 0, started.elapsed());
    response
}

/// What a posted event leaves out is empty, as it would be in Go.
fn decode(bytes: &[u8]) -> Option<Event> {
    let Value::Object(given) = serde_json::from_slice(bytes).ok()? else {
        return None;
    };
    let mut whole = Map::new();
    for name in ["message", "reason", "reportingController"] {
        whole.insert(name.to_owned(), Value::from(""));
    }
    whole.insert("involvedObject".to_owned(), Value::Object(Map::new()));
    whole.insert("severity".to_owned(), Value::from("info"));
    whole.insert("timestamp".to_owned(), Value::from("0001-01-01T00:00:00Z"));
    whole.extend(given.into_iter().filter(|(_, value)| !value.is_null()));
    serde_json::from_value(Value::Object(whole)).ok()
}

/// Cuts the message of an event that is too long. Returns whether what remains has room.
fn fits(event: &mut Event) -> bool {
    if event.message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE - 3)
            .rev()
            .find(|end| event.message.is_char_boundary(*end));
        event.message.truncate(end.unwrap_or_default());
        event.message.push_str("...");
    }
    serde_json::to_vec(event).is_ok_and(|bytes| bytes.len() <= 2 * MAX_MESSAGE + MAX_REST)
}

/// Whether the event is one that is derived from the status of its object.
fn is_derived(event: &Event) -> bool {
    let object = &event.involved_object;
    let kind = (
        object.group(),
        object.kind.as_str(),
        event.reporting_controller.as_str(),
    );
    matches!(
        kind,
        (api::source::GROUP, "GitRepository", "source-controller")
            | (api::kustomize::GROUP, "Kustomization", "kustomize-controller")
    )
}

fn limits(status: StatusCode, verdict: Verdict) -> Response {
    let mut response = status.into_response();
    // RFC 1123 as Go writes UTC.
    let date = verdict.until.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from_static("1"));
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.insert("x-ratelimit-reset", date.clone());
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, date);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::testing::at;

    #[test]
    fn a_posted_event_may_leave_things_out() {
        let event = decode(br#"{"involvedObject":{"kind":"HelmRelease"},"message":"x","metadata":null}"#).unwrap();
        assert_eq!((event.message.as_str(), event.reason.as_str()), ("x", ""));
        assert!(decode(b"[]").is_none());
        assert!(decode(b"{").is_none());
        assert!(decode(br#"{"severity":"loud"}"#).is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_metadata_without_end_is_refused() {
        let mut event = decode(
            serde_json::json!({ "message": "é".repeat(30_000) })
                .to_string()
                .as_bytes(),
        )
        .unwrap();
        assert!(fits(&mut event));
        assert_eq!(event.message.len(), 38_999);
        assert!(event.message.ends_with("é..."));
        event
            .metadata
            .insert("event.toolkit.fluxcd.io/x".into(), "x".repeat(200_000));
        assert!(!fits(&mut event));
    }

    #[test]
    fn only_what_our_kinds_own_controllers_say_is_derived() {
        let derived = |api_version: &str, kind: &str, controller: &str| {
            let text = serde_json::json!({
                "involvedObject": {"apiVersion": api_version, "kind": kind}, "reportingController": controller,
            });
            is_derived(&decode(text.to_string().as_bytes()).unwrap())
        };
        assert!(derived(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            "source-controller"
        ));
        assert!(derived(
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            "kustomize-controller"
        ));
        assert!(!derived(
            "source.toolkit.fluxcd.io/v1",
            "HelmRepository",
            "source-controller"
        ));
        assert!(!derived(
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            "somebody-else"
        ));
    }

    #[test]
    fn a_duplicate_is_told_when_to_come_back() {
        let verdict = Verdict {
            fresh: false,
            until: at(784_111_777),
        };
        let response = limits(StatusCode::TOO_MANY_REQUESTS, verdict);
        assert_eq!(response.headers()["retry-after"], "Sun, 06 Nov 1994 08:49:37 UTC");
        assert_eq!(response.headers()["x-ratelimit-remaining"], "0");
        assert!(
            !limits(StatusCode::ACCEPTED, verdict)
                .headers()
                .contains_key("retry-after")
        );
    }
}
