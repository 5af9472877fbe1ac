//! The endpoint that webhooks call: the path finds the Receiver, the Receiver checks the call and names the objects
//! that are asked for a reconcile.
//!
//! | code | when |
//! |---|---|
//! | 200 | every object was asked |
//! | 400 | the call is not genuine |
//! | 404 | no Receiver has this path |
//! | 413 | the body is larger than 3 MiB |
//! | 500 | an object could not be asked; the others were |
//! | 503 | the Receiver is suspended or not ready |

use super::read;
use crate::metrics::Requests;
use crate::receiver::hooks::Hooks;
use crate::receiver::verify::verify;
use crate::{resources, secrets};
use api::meta::condition::{READY, RECONCILING, STALLED};
use api::notification::{Receiver, ReceiverStatus};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use kube::{Client, ResourceExt};
use runtime::conditions::{self, Verdict};
use runtime::objects::Objects;
use std::sync::Arc;
use std::time::Instant;

/// What the endpoint works with.
pub struct Server {
    /// Talks to the API server.
    pub client: Client,
    /// The Receivers.
    pub receivers: Objects<Receiver>,
    /// Their paths.
    pub hooks: Arc<Hooks>,
    /// Whether references stay in their namespace.
    pub no_cross_namespace: bool,
    /// Counts.
    pub requests: Requests,
}

impl Server {
    /// Everything below `/hook/` is a webhook.
    pub fn router(self) -> Router {
        Router::new()
            .route("/hook", any(below))
            .route("/hook/", any(handle))
            .route("/hook/{*path}", any(handle))
            .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"))
            .with_state(Arc::new(self))
    }

    async fn accept(&self, parts: &Parts, body: Body) -> StatusCode {
        let body = match read(body).await {
            Ok(body) => body,
            Err(status) => return status,
        };
        // The whole of it counts: a query makes another path.
        let path = parts.uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
        let Some((receiver, is_ready)) = self.find(path) else {
            return StatusCode::NOT_FOUND;
        };
        if receiver.spec.suspend || !is_ready {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let (namespace, name) = (receiver.namespace().unwrap_or_default(), receiver.name_any());
        let token = match self.token(&receiver).await {
            Ok(token) => token,
            Err(error) => {
                tracing::error!(
                    error,
                    controllerKind = "Receiver",
                    name,
                    namespace,
                    "cannot read the token"
                );
                return StatusCode::BAD_REQUEST;
            }
        };
        if let Err(refusal) = verify(&receiver.spec, &token, &parts.headers, &body) {
            tracing::error!(error = %refusal, controllerKind = "Receiver", name, namespace, "unable to validate payload");
            return StatusCode::BAD_REQUEST;
        }
        self.ask(&receiver, &namespace, &name).await
    }

    async fn ask(&self, receiver: &Receiver, namespace: &str, name: &str) -> StatusCode {
        let mut status = StatusCode::OK;
        for resource in &receiver.spec.resources {
            let reference = &resource.reference;
            let object = format!("{}/{}", reference.kind, reference.name);
            match resources::request(&self.client, reference, namespace, self.no_cross_namespace).await {
                Ok(0) => tracing::info!(
                    controllerKind = "Receiver",
                    name,
                    namespace,
                    object,
                    "no object has these labels"
                ),
                Ok(count) => tracing::info!(
                    controllerKind = "Receiver",
                    name,
                    namespace,
                    object,
                    count,
                    "reconcile asked for"
                ),
                Err(error) => {
                    tracing::error!(%error, controllerKind = "Receiver", name, namespace, object, "unable to request reconciliation");
                    status = StatusCode::INTERNAL_SERVER_ERROR;
                }
            }
        }
        status
    }

    /// The Receiver under this path, and whether it is ready.
    fn find(&self, path: &str) -> Option<(Arc<Receiver>, bool)> {
        if let Some((namespace, name)) = self.hooks.find(path)
            && let Some(receiver) = self.receivers.get(&namespace, &name)
        {
            return Some((receiver, true));
        }
        let has_path = |receiver: &Receiver| {
            let found = receiver.status.as_ref()?.webhook_path.as_deref() == Some(path);
            found.then(|| (receiver.namespace().unwrap_or_default(), receiver.name_any()))
        };
        let (namespace, name) = self.receivers.select(has_path).into_iter().next()?;
        let receiver = self.receivers.get(&namespace, &name)?;
        let is_ready = receiver.status.as_ref().is_some_and(is_ready);
        Some((receiver, is_ready))
    }

    async fn token(&self, receiver: &Receiver) -> Result<Vec<u8>, String> {
        let namespace = receiver.namespace().unwrap_or_default();
        let Some(reference) = &receiver.spec.secret_ref else {
            return Err("no secretRef".to_owned());
        };
        let data = secrets::read(&self.client, &namespace, &reference.name).await?;
        data.get("token")
            .map(|token| token.0.clone())
            .ok_or_else(|| "the secret has no key 'token'".to_owned())
    }
}

fn is_ready(status: &ReceiverStatus) -> bool {
    let is = |kind| conditions::is(&status.conditions, kind, Verdict::True);
    is(READY) && !is(RECONCILING) && !is(STALLED)
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let started = Instant::now();
    server.requests.begin();
    let status = server.accept(&parts, body).await;
    // Anybody can invent paths: only those that lead somewhere may become a series.
    let path = if status == StatusCode::NOT_FOUND {
        ""
    } else {
        parts.uri.path()
    };
    server
        .requests
        .end(path, parts.method.as_str(), status.as_u16(), 0, started.elapsed());
    status
}

async fn below() -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/hook/"));
    response
}
