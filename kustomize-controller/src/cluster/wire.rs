//! One request to an API server: bounded in number, time and size, tried again where the API server asks for it.
//!
//! The client library's own helpers are not used for bodies: they write whole answers, Secrets included, into logs
//! when one cannot be decoded.

use super::error::{ApiError, chain, refusal};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The longest body the API server takes, in bytes; more would only be refused there.
const MAX_REQUEST: usize = 3 * 1024 * 1024;
/// The longest answer that is read, in bytes: lists and discovery documents of large clusters are well below.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// How long an answer may take. The API server itself gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(70);
/// How often a request is sent when the API server asks to come back later.
const ATTEMPTS: u32 = 4;
/// The longest pause between two attempts; whoever needs longer is left to the caller's next try.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A client with a share in the number of requests that may be in flight.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: Client,
    pub(crate) slots: Arc<Semaphore>,
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) accept: &'a str,
    /// Content type and body.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// What client-go would put in parentheses, for example `patch deployments.apps web`.
    pub(crate) subject: String,
}

/// The usual `Accept`.
pub(crate) const JSON: &str = "application/json";

impl Wire {
    /// Sends and decodes the answer.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Value, ApiError> {
        if let Some((_, body)) = &call.body
            && body.len() > MAX_REQUEST
        {
            let text = format!("Request entity too large: limit is {MAX_REQUEST}");
            let status = kube::core::Status::failure(&text, "RequestEntityTooLarge").with_code(413);
            return Err(ApiError::Status(status.boxed()));
        }
        let mut attempt = 1;
        loop {
            match self.attempt(&call).await {
                Err((ApiError::Status(status), Some(pause)))
                    if attempt < ATTEMPTS && again(&call.method, status.code) =>
                {
                    attempt += 1;
                    tokio::time::sleep(pause.min(MAX_PAUSE)).await;
                }
                answer => return answer.map_err(|(error, _)| error),
            }
        }
    }

    /// One attempt; an error comes with the pause the API server asks for.
    async fn attempt(&self, call: &Call<'_>) -> Result<Value, (ApiError, Option<Duration>)> {
        let unreachable = |text: String| (ApiError::Unreachable(text), None);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.path)
            .header(header::ACCEPT, call.accept);
        if let Some((content_type, _)) = &call.body {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        let body = call.body.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
        let request = request
            .body(Body::from(body))
            .map_err(|error| (ApiError::Refused(error.to_string()), None))?;
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let (head, body) = self
                .client
                .send(request)
                .await
                .map_err(|error| chain(&error))?
                .into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| chain(error.as_ref()))?;
            Ok::<_, String>((head, body.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| {
                unreachable(format!(
                    "the API server gave no answer within {PATIENCE:?} ({})",
                    call.subject
                ))
            })?
            .map_err(|text| unreachable(format!("the API server cannot be reached: {text}")))?;
        if !head.status.is_success() {
            let after = head
                .headers
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = after.map(Duration::from_secs);
            return Err((refusal(head.status.as_u16(), &body, &call.subject), pause));
        }
        // The text of a decoding error tells a position, never content.
        serde_json::from_slice(&body).map_err(|error| {
            let text = format!("the API server's answer is no JSON ({}): {error}", call.subject);
            (ApiError::Odd(text), None)
        })
    }
}

/// Whether an answer may be followed by another attempt: 429 says that nothing was done, 5xx only matters for what
/// can be done twice.
fn again(method: &Method, code: u16) -> bool {
    code == 429 || (code >= 500 && method == Method::GET)
}
