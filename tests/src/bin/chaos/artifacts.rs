//! What stands between the source controller's artifacts and those who fetch them, and can go wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tests::web::Server;

use crate::account::lock;
use crate::plan::Outage;

/// A server that passes requests on.
#[derive(Debug)]
pub struct Artifacts {
    server: Server,
    state: Arc<Passing>,
}

#[derive(Debug, Default)]
struct Passing {
    target: Mutex<String>,
    outage: Mutex<Option<Outage>>,
    client: reqwest::Client,
}

impl Artifacts {
    /// Starts it; nothing is passed on before the target is known.
    pub fn start() -> Result<Self> {
        tests::use_ring();
        let state = Arc::new(Passing {
            client: reqwest::Client::builder().no_proxy().build()?,
            ..Passing::default()
        });
        let router = Router::new().fallback(pass).with_state(state.clone());
        Ok(Self {
            server: Server::start(router)?,
            state,
        })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> Result<u16> {
        let address = self.server.address();
        let (_, port) = address.split_once(':').unwrap_or_default();
        Ok(port.parse()?)
    }

    /// Where requests go, `http://127.0.0.1:PORT`.
    pub fn set_target(&self, target: String) {
        *lock(&self.state.target) = target;
    }

    /// Goes wrong from now on, or (`None`) works again.
    pub fn set_outage(&self, outage: Option<Outage>) -> Result<()> {
        *lock(&self.state.outage) = outage;
        match outage {
            Some(Outage::Down) => {
                self.server.down();
                Ok(())
            }
            _ => self.server.up(),
        }
    }
}

async fn pass(State(state): State<Arc<Passing>>, request: Request) -> Response {
    let outage = *lock(&state.outage);
    match outage {
        Some(Outage::Status(code)) => {
            return StatusCode::from_u16(code)
                .unwrap_or(StatusCode::BAD_GATEWAY)
                .into_response();
        }
        Some(Outage::Slow) => tokio::time::sleep(Duration::from_secs(2)).await,
        Some(Outage::Down | Outage::Truncated) | None => {}
    }
    let url = format!("{}{}", lock(&state.target), request.uri());
    let Ok(answer) = state.client.get(url).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = answer.status();
    let Ok(mut bytes) = answer.bytes().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    if outage == Some(Outage::Truncated) {
        bytes.truncate(bytes.len() / 2);
    }
    (status, Body::from(bytes)).into_response()
}
