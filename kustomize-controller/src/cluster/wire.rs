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

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    /// An API server that gives these answers one after the other, the last one for ever, as codes with what they say in
    /// `Retry-After`; and how often it was asked.
    fn server(answers: &'static [(u16, Option<&'static str>)]) -> (Wire, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: Request<Body>| {
            let (code, after) = answers[count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
            let mut answer = Response::builder().status(code);
            if let Some(after) = after {
                answer = answer.header(header::RETRY_AFTER, after);
            }
            std::future::ready(answer.body(Body::from(b"{}".to_vec())))
        });
        let wire = Wire {
            client: Client::new(service, "default"),
            slots: Arc::new(Semaphore::new(1)),
        };
        (wire, asked)
    }

    async fn send(wire: &Wire, method: Method) -> Result<Value, ApiError> {
        let call = Call {
            method,
            path: "/api/v1/namespaces/n/configmaps/a".to_owned(),
            accept: JSON,
            body: None,
            subject: "patch configmaps a".to_owned(),
        };
        wire.send(call).await
    }

    /// How often a request is sent, and the code it ends in.
    async fn check(method: Method, answers: &'static [(u16, Option<&'static str>)], expected: (usize, u16)) {
        let (wire, asked) = server(answers);
        let code = match send(&wire, method.clone()).await {
            Ok(_) => 200,
            Err(ApiError::Status(status)) => status.code,
            Err(error) => panic!("{error}"),
        };
        assert_eq!((asked.load(Ordering::SeqCst), code), expected, "{method} {answers:?}");
    }

    #[tokio::test]
    async fn what_the_api_server_puts_off_is_sent_again_and_what_it_may_have_done_is_not() {
        check(Method::PATCH, &[(429, Some("0")), (200, None)], (2, 200)).await;
        check(Method::PATCH, &[(429, None), (200, None)], (1, 429)).await;
        check(Method::PATCH, &[(429, Some("0"))], (4, 429)).await;
        check(Method::PATCH, &[(500, Some("0")), (200, None)], (1, 500)).await;
        check(Method::GET, &[(500, Some("0")), (200, None)], (2, 200)).await;
        check(Method::GET, &[(404, Some("0")), (200, None)], (1, 404)).await;
    }

    #[tokio::test]
    async fn the_pause_that_the_api_server_asks_for_is_made_and_holds_no_slot() {
        let (wire, asked) = server(&[(429, Some("1")), (200, None)]);
        let begun = Instant::now();
        // The only slot is free meanwhile: the second request gets its answer while the first one pauses.
        let (first, second) = futures::join!(
            async { (send(&wire, Method::PATCH).await.is_ok(), begun.elapsed()) },
            async { (send(&wire, Method::PATCH).await.is_ok(), begun.elapsed()) },
        );
        assert!(first.0 && second.0);
        assert!(
            first.1 >= Duration::from_secs(1) && second.1 < first.1,
            "{first:?} {second:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
