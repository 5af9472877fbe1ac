//! What a controller asks the API server, request by request: a server that stands between the two, passes everything
//! on as the administrator (or whom the kubeconfig names), writes it down, can be away, and can hold requests back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::json;
use tests::kubeconfig;
use tests::pki::write_secret;
use tests::web::Server;
use tokio::sync::watch;

/// The largest request that is passed on.
const MAX_BODY: usize = 16 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
}

impl Asked {
    /// Whether it is a server-side dry run.
    pub fn is_dry_run(&self) -> bool {
        self.query.split('&').any(|part| part == "dryRun=All")
    }

    /// Whether it opens a watch.
    pub fn is_watch(&self) -> bool {
        self.query
            .split('&')
            .any(|part| matches!(part, "watch=1" | "watch=true"))
    }
}

/// The server and its notes.
pub struct Requests {
    server: Server,
    state: Arc<Desk>,
}

struct Desk {
    upstream: PathBuf,
    client: Mutex<Option<Client>>,
    asked: Mutex<Vec<Asked>>,
    /// What the paths of requests contain that are held back.
    held: watch::Sender<Option<String>>,
}

impl Requests {
    /// Starts between a controller and the API server of the kubeconfig.
    pub fn start(upstream: &Path) -> Result<Self> {
        let state = Arc::new(Desk {
            upstream: upstream.to_path_buf(),
            client: Mutex::default(),
            asked: Mutex::default(),
            held: watch::Sender::default(),
        });
        let router = Router::new().fallback(forward).with_state(state.clone());
        Ok(Requests {
            server: Server::start(router)?,
            state,
        })
    }

    /// Writes a kubeconfig for the controller into the directory.
    pub fn kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join("counted.kubeconfig");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "counted", "cluster": { "server": self.server.url() } }],
            "users": [{ "name": "counted", "user": {} }],
            "contexts": [{ "name": "counted", "context": { "cluster": "counted", "user": "counted" } }],
            "current-context": "counted",
        });
        write_secret(&path, &serde_yaml::to_string(&config)?)?;
        Ok(path)
    }

    /// How many requests there were so far.
    pub fn mark(&self) -> usize {
        self.notes().len()
    }

    /// The requests after the first so many.
    pub fn since(&self, mark: usize) -> Vec<Asked> {
        self.notes()[mark..].to_vec()
    }

    /// Those of [`Requests::since`] whose path ends like this.
    pub fn about(&self, path: &str, mark: usize) -> Vec<Asked> {
        let mut asked = self.since(mark);
        asked.retain(|asked| asked.path.ends_with(path));
        asked
    }

    /// Holds back the requests whose path contains this, watches aside, until they are released.
    pub fn hold(&self, path: &str) {
        self.state.held.send_replace(Some(path.to_owned()));
    }

    /// Passes on what was held back, and holds back no more.
    pub fn release(&self) {
        self.state.held.send_replace(None);
    }

    /// Cuts every connection and refuses new ones.
    pub fn down(&self) {
        self.server.down();
        // Its connections have ended with the server's runtime.
        *self.state.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Is there again.
    pub fn up(&self) -> Result<()> {
        self.server.up()
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// A client that belongs to the server's runtime.
    async fn client(&self) -> Result<Client> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = kubeconfig::client(&self.upstream, None).await?;
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(slot.get_or_insert(client).clone())
    }

    async fn pass_on(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        // They are about the connection to us.
        for name in [
            header::HOST,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
        ] {
            parts.headers.remove(name);
        }
        let body = to_bytes(body, MAX_BODY).await?;
        let request = Request::from_parts(parts, kube::client::Body::from(body));
        let answer = self.client().await?.send(request).await?;
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(header::CONNECTION);
        parts.headers.remove(header::TRANSFER_ENCODING);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

async fn forward(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    };
    let (path, is_watch) = (asked.path.clone(), asked.is_watch());
    desk.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    if !is_watch {
        let is_free = |held: &Option<String>| held.as_ref().is_none_or(|part| !path.contains(part));
        // The sender lives as long as the desk.
        let _ = desk.held.subscribe().wait_for(is_free).await;
    }
    match desk.pass_on(request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
