//! The client of the API server: the library's, with every request counted and bounded in time, and with no write sent
//! by a process that does not lead.
//!
//! The bound ends at the head of the answer: a watch, whose body has no end, is not affected, and a body that stalls
//! is the library's read timeout's. A write is looked at once more whenever something happens to it before the answer: a
//! process may be stopped while a connection is made.

use crate::lease::Fence;
use crate::metrics::Metrics;
use anyhow::Context as _;
use futures::future::{BoxFuture, poll_fn};
use http::Method;
use kube::client::{Body, ClientBuilder};
use kube::core::Status;
use kube::{Client, Config};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Layer, Service};

/// How long the API server may take to begin its answer. It gives up itself after a minute.
const PATIENCE: Duration = Duration::from_secs(70);

/// Makes a client whose requests are counted in `rest_client_requests_total` and fail after 70 seconds without an
/// answer. What is more than reading (everything but GET, trials of writes included) fails without being sent while
/// the fence is closed.
///
/// # Errors
/// A configuration that no client can be made of, for example a certificate that cannot be read.
pub fn build(config: Config, metrics: &Metrics, fence: &Fence) -> anyhow::Result<Client> {
    let host = config
        .cluster_url
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let counted = Counted {
        metrics: metrics.clone(),
        host,
        patience: PATIENCE,
        fence: fence.clone(),
    };
    Ok(ClientBuilder::try_from(config)
        .context("cannot make a client")?
        .with_layer(&counted)
        .build())
}

/// Whether an error says that the API server is away or has no time, and nothing about what was asked: the same request
/// may go well as soon as it is back.
pub fn is_outage(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => answers_outage(status),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether an answer says so: 408, 429 and 502 to 504 do; other codes from 500 on where the text is that of a storage
/// that is away, because the API server answers 500 to much that is wrong with an object, too (a field that its schema
/// does not know, in a server-side apply). What webhooks say, and what is said about webhooks, is about the object.
pub fn answers_outage(status: &Status) -> bool {
    let says = |texts: &[&str]| texts.iter().any(|text| status.message.contains(text));
    let is_away = match status.code {
        408 | 429 | 502..=504 => true,
        500.. => says(&STORAGE),
        _ => false,
    };
    is_away && !says(&ABOUT_THE_OBJECT)
}

/// What an API server says whose etcd is away, electing or overloaded: etcd's own words, and those of its client.
const STORAGE: [&str; 7] = [
    "etcdserver: ",
    "rpc error: code = Unavailable",
    "rpc error: code = Unknown",
    "rpc error: code = DeadlineExceeded",
    "rpc error: code = Canceled",
    "context deadline exceeded",
    "context canceled",
];
/// What lasts until somebody changes something: the object, a webhook, the room or the keys of the storage.
const ABOUT_THE_OBJECT: [&str; 6] = [
    "failed calling webhook",
    "admission webhook",
    "conversion webhook",
    "request is too large",
    "space exceeded",
    "unable to transform key",
];

#[derive(Clone)]
struct Counted {
    metrics: Metrics,
    host: String,
    patience: Duration,
    fence: Fence,
}

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting {
            inner,
            counted: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    counted: Counted,
}

impl<S, B> Service<http::Request<Body>> for Counting<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let counted = self.counted.clone();
        let writes = request.method() != Method::GET;
        // What is not sent is not counted either.
        if writes && let Err(closed) = counted.fence.check() {
            return Box::pin(async move { Err(closed.into()) });
        }
        let method = request.method().to_string();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = pin!(tokio::time::timeout(counted.patience, answer));
            let answer = poll_fn(|context| {
                if writes && let Err(closed) = counted.fence.check() {
                    return Poll::Ready(Err(closed.into()));
                }
                answer.as_mut().poll(context).map(|answer| match answer {
                    Ok(answer) => answer.map_err(Into::into),
                    Err(_) => Err(silent(&counted)),
                })
            })
            .await;
            let code = answer
                .as_ref()
                .map_or_else(|_| "<error>".to_owned(), |answer| answer.status().as_u16().to_string());
            counted.metrics.requested(&code, &counted.host, &method);
            answer
        })
    }
}

fn silent(Counted { host, patience, .. }: &Counted) -> BoxError {
    let text = format!("no answer from the API server {host} within {patience:?}");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::Moment;
    use http::{Request, Response};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn an_answer_says_that_the_api_server_is_away_or_speaks_of_the_object() {
        let check = |code: u16, text: &str, expected: bool| {
            let status = Status::failure(text, "").with_code(code);
            assert_eq!(answers_outage(&status), expected, "{code} {text}");
        };
        for code in [408, 429, 502, 503, 504] {
            check(code, "no", true);
            check(code, "admission webhook \"w\" denied the request: later", false);
        }
        for code in [400, 401, 403, 404, 409, 410, 422, 500, 501] {
            check(code, "no", false);
        }
        check(500, "etcdserver: request timed out", true);
        check(500, "etcdserver: leader changed", true);
        check(
            500,
            "rpc error: code = Unavailable desc = error reading from server: EOF",
            true,
        );
        check(500, "Internal error occurred: context deadline exceeded", true);
        let unknown = "failed to create typed patch object (n/a; apps/v1, Kind=Deployment): .spec.x: field not declared in schema";
        check(500, unknown, false);
        let webhook = "Internal error occurred: failed calling webhook \"w\": failed to call webhook: Post \"https://w\": context deadline exceeded";
        check(500, webhook, false);
        check(
            500,
            "conversion webhook for g/v1, Kind=A failed: Post \"https://w\": context canceled",
            false,
        );
        check(500, "etcdserver: request is too large", false);
        check(500, "etcdserver: mvcc: database space exceeded", false);
        check(403, "etcdserver: request timed out", false);
    }

    fn counted(metrics: &Metrics, patience: Duration, fence: &Fence) -> Counted {
        Counted {
            metrics: metrics.clone(),
            host: "api.test".into(),
            patience,
            fence: fence.clone(),
        }
    }

    #[tokio::test]
    async fn a_request_without_an_answer_ends_in_time_and_is_counted() {
        let metrics = Metrics::default();
        let counted = counted(&metrics, Duration::from_millis(20), &Fence::open());
        let never = tower::service_fn(|_| std::future::pending::<Result<Response<()>, BoxError>>());
        let asked = counted.layer(never).call(Request::new(Body::empty()));
        let error = asked.await.unwrap_err();
        assert_eq!(error.to_string(), "no answer from the API server api.test within 20ms");
        let count = r#"rest_client_requests_total{code="<error>",host="api.test",method="GET"} 1"#;
        assert!(metrics.encode().contains(count), "{}", metrics.encode());
    }

    /// Whether a request of that method reaches the API server, or what is said instead.
    async fn check(fence: &Fence, method: Method, expected: Result<(), &str>) {
        let metrics = Metrics::default();
        let reached = Arc::new(AtomicUsize::new(0));
        let server = {
            let reached = Arc::clone(&reached);
            tower::service_fn(move |_: Request<Body>| {
                reached.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok::<_, BoxError>(Response::new(())))
            })
        };
        let request = Request::builder().method(&method).body(Body::empty()).unwrap();
        let answer = counted(&metrics, PATIENCE, fence).layer(server).call(request).await;
        let answer = answer.map(drop).map_err(|error| error.to_string());
        assert_eq!(
            answer.as_ref().map(|_| ()).map_err(String::as_str),
            expected,
            "{method}"
        );
        assert_eq!(
            reached.load(Ordering::SeqCst),
            usize::from(expected.is_ok()),
            "{method}"
        );
        let is_counted = metrics.encode().contains("rest_client_requests_total{");
        assert_eq!(is_counted, expected.is_ok(), "{}", metrics.encode());
    }

    /// The fence of a leader that was stopped for 90 seconds.
    fn passed() -> Fence {
        let fence = Fence::closed();
        fence.renewed(Moment::ago(Duration::from_secs(90)), Duration::from_secs(30));
        fence
    }

    const PASSED: &str = "this process may not lead any more: its lease was last renewed 90s ago and lasts 30s without";

    #[tokio::test]
    async fn who_was_stopped_beyond_the_lease_reads_and_does_not_write() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            check(&passed(), method.clone(), Err(PASSED)).await;
            check(&Fence::open(), method, Ok(())).await;
        }
        check(&passed(), Method::GET, Ok(())).await;
    }

    #[tokio::test]
    async fn who_waits_for_the_lease_does_not_write() {
        let awaited = "this process does not lead yet: it waits for its lease";
        check(&Fence::closed(), Method::PATCH, Err(awaited)).await;
        check(&Fence::closed(), Method::GET, Ok(())).await;
    }

    #[tokio::test]
    async fn a_write_that_was_about_to_be_sent_when_the_process_was_stopped_is_dropped() {
        let fence = Fence::closed();
        fence.renewed(Moment::now(), Duration::from_secs(600));
        let (connected, connecting) = tokio::sync::oneshot::channel::<()>();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let mut waiting = Some(connecting);
        let server = tower::service_fn(move |_: Request<Body>| {
            let (connecting, counter) = (waiting.take(), Arc::clone(&counter));
            async move {
                if let Some(connecting) = connecting {
                    connecting.await?;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                Ok::<_, BoxError>(Response::new(()))
            }
        });
        let metrics = Metrics::default();
        let request = Request::builder().method(Method::PATCH).body(Body::empty()).unwrap();
        let mut write = counted(&metrics, PATIENCE, &fence).layer(server).call(request);
        assert!(futures::poll!(&mut write).is_pending());
        fence.renewed(Moment::ago(Duration::from_secs(90)), Duration::from_secs(30));
        connected.send(()).unwrap();
        assert_eq!(write.await.unwrap_err().to_string(), PASSED);
        assert_eq!(sent.load(Ordering::SeqCst), 0);
    }
}
