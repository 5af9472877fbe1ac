//! What is taken over HTTP: events of other controllers, and webhooks.

pub mod duplicates;
pub mod events;
pub mod receivers;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::LengthLimitError;
use std::error::Error as _;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The largest body, in bytes.
const MAX_BODY: usize = 3 << 20;
/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Serves until shutdown.
pub async fn serve(name: &'static str, listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, name, "serving failed");
    }
}

/// Reads a body that is not too large and not too slow, or says how to refuse it.
async fn read(body: Body) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Ok(Err(_)) | Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}
