//! The client of the API server: the library's, with every request counted and bounded in time.
//!
//! The bound ends at the head of the answer: a watch, whose body has no end, is not affected, and a body that stalls
//! is the library's read timeout's.

use crate::metrics::Metrics;
use anyhow::Context as _;
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Layer, Service};

/// How long the API server may take to begin its answer. It gives up itself after a minute.
const PATIENCE: Duration = Duration::from_secs(70);

/// Makes a client whose requests are counted in `rest_client_requests_total` and fail after 70 seconds without an answer.
///
/// # Errors
/// A configuration that no client can be made of, for example a certificate that cannot be read.
pub fn build(config: Config, metrics: &Metrics) -> anyhow::Result<Client> {
    let host = config
        .cluster_url
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let counted = Counted {
        metrics: metrics.clone(),
        host,
        patience: PATIENCE,
    };
    Ok(ClientBuilder::try_from(config)
        .context("cannot make a client")?
        .with_layer(&counted)
        .build())
}

#[derive(Clone)]
struct Counted {
    metrics: Metrics,
    host: String,
    patience: Duration,
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
        let method = request.method().to_string();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match tokio::time::timeout(counted.patience, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(silent(&counted)),
            };
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
    use http::{Request, Response};

    #[tokio::test]
    async fn a_request_without_an_answer_ends_in_time_and_is_counted() {
        let metrics = Metrics::default();
        let counted = Counted {
            metrics: metrics.clone(),
            host: "api.test".into(),
            patience: Duration::from_millis(20),
        };
        let never = tower::service_fn(|_| std::future::pending::<Result<Response<()>, BoxError>>());
        let asked = counted.layer(never).call(Request::new(Body::empty()));
        let error = asked.await.unwrap_err();
        assert_eq!(error.to_string(), "no answer from the API server api.test within 20ms");
        let count = r#"rest_client_requests_total{code="<error>",host="api.test",method="GET"} 1"#;
        assert!(metrics.encode().contains(count), "{}", metrics.encode());
    }
}
