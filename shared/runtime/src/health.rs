//! The probes and the metrics over HTTP: `/healthz`, `/readyz` and `/metrics`.
//!
//! Ready means that every part that was announced has said that it is: caches are filled, ports are open. Healthy
//! means that the timer of the runtime still ticks, so that a process whose threads hang is restarted.

use crate::metrics::Metrics;
use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often the timer ticks.
const TICK: Duration = Duration::from_secs(2);
/// How long it may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// What the probes answer; a handle that can be cloned.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Health {
    /// Announces a part that readiness waits for.
    pub fn announce(&self, part: &'static str) {
        crate::lock(&self.parts).entry(part).or_insert(false);
    }

    /// Says whether a part is ready.
    pub fn set(&self, part: &'static str, ready: bool) {
        crate::lock(&self.parts).insert(part, ready);
    }

    /// The parts that are not ready.
    pub fn waiting(&self) -> Vec<&'static str> {
        crate::lock(&self.parts)
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(part, _)| *part)
            .collect()
    }
}

/// Serves the probes and the metrics until shutdown.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn serve(
    health_addr: &str,
    metrics_addr: &str,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let ticked = Arc::new(Mutex::new(Instant::now()));
    let probes = Router::new()
        .route("/healthz", get(alive(Arc::clone(&ticked))))
        .route("/readyz", get(ready(health)));
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let numbers = Router::new().route(
        "/metrics",
        get(move || std::future::ready(([(CONTENT_TYPE, text)], metrics.encode()))),
    );
    spawn(
        listen(health_addr).await.context("--health-addr")?,
        probes,
        shutdown.clone(),
    );
    spawn(listen(metrics_addr).await.context("--metrics-addr")?, numbers, shutdown);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            *crate::lock(&ticked) = Instant::now();
        }
    });
    Ok(())
}

fn alive(ticked: Arc<Mutex<Instant>>) -> impl Fn() -> std::future::Ready<axum::response::Response> + Clone {
    move || {
        let silent = crate::lock(&ticked).elapsed();
        std::future::ready(match silent < SILENCE {
            true => "ok".into_response(),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no tick for {} s", silent.as_secs()),
            )
                .into_response(),
        })
    }
}

fn ready(health: Health) -> impl Fn() -> std::future::Ready<axum::response::Response> + Clone {
    move || {
        let waiting = health.waiting();
        std::future::ready(match waiting.is_empty() {
            true => "ok".into_response(),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {}", waiting.join(", ")),
            )
                .into_response(),
        })
    }
}

fn spawn(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "serving probes failed");
        }
    });
}

/// Listens on an address in Go's form, where `:8080` means every interface.
///
/// # Errors
/// An address that cannot be parsed, resolved or listened on, by name.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let port = address.strip_prefix(':').map(|port| port.parse::<u16>());
    match port {
        Some(port) => {
            let port = port.with_context(|| format!("address {address:?} has no valid port"))?;
            // One socket for IPv6 and IPv4 where the machine has IPv6.
            match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                    .await
                    .with_context(|| format!("cannot listen on {address}")),
            }
        }
        None => TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_waits_for_every_announced_part() {
        let health = Health::default();
        health.announce("cache");
        health.announce("artifacts");
        health.set("cache", true);
        assert_eq!(health.waiting(), ["artifacts"]);
        health.set("artifacts", true);
        assert!(health.waiting().is_empty());
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_named() {
        let error = format!("{:#}", listen("nonsense").await.unwrap_err());
        assert!(error.contains("nonsense"), "{error}");
        let error = format!("{:#}", listen(":high").await.unwrap_err());
        assert!(error.contains(":high"), "{error}");
    }
}
