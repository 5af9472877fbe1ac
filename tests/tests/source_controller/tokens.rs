//! A server that gives tokens, or refuses to, and remembers every request whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tests::web::Server;

/// The private key of an account or an App.
pub const APP_KEY: &str = include_str!("../../../source-controller/src/auth/provider/testdata/app-key.pem");
/// The flag with which objects may be ServiceAccounts in a cloud.
pub const GATE: &str = "--feature-gates=ObjectLevelWorkloadIdentity=true";
/// What a cloud gives.
pub const CLOUD_TOKEN: &str = "cloud-access-token";

/// A request for a token.
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    /// The fields of the form in the body.
    pub fn form(&self) -> Result<BTreeMap<String, String>> {
        assert_eq!(self.headers["content-type"], "application/x-www-form-urlencoded");
        let form = reqwest::Url::parse(&format!("http://form?{}", self.body))?;
        Ok(form.query_pairs().into_owned().collect())
    }
}

/// Gives one answer to every request.
pub struct TokenServer {
    pub server: Server,
    told: Arc<Mutex<Told>>,
}

struct Told {
    answer: (StatusCode, String),
    asked: Vec<Asked>,
}

impl TokenServer {
    /// Gives this answer.
    pub fn start(answer: &Value, launch: impl FnOnce(Router) -> Result<Server>) -> Result<Self> {
        let told = Arc::new(Mutex::new(Told {
            answer: (StatusCode::CREATED, answer.to_string()),
            asked: Vec::new(),
        }));
        let server = launch(Router::new().fallback(give).with_state(Arc::clone(&told)))?;
        Ok(Self { server, told })
    }

    /// Gives another answer from now on; `BODY` in it stands for what was sent.
    pub fn answer(&self, status: StatusCode, answer: &Value) {
        lock(&self.told).answer = (status, answer.to_string());
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.told).asked)
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn give(State(told): State<Arc<Mutex<Told>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut told = lock(&told);
    let (status, answer) = told.answer.clone();
    let answer = answer.replace("BODY", &body);
    told.asked.push(Asked {
        line: format!("{} {}", parts.method, parts.uri),
        headers: parts.headers,
        body,
    });
    (status, answer).into_response()
}

/// The claims of a token, whoever signed it.
pub fn claims(token: &str) -> Result<Value> {
    let claims = token.split('.').nth(1).context("no token of three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?)
}
