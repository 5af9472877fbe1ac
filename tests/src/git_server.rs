//! A Git server over smart HTTP: git's own `git http-backend` behind a front that can ask for credentials and
//! misbehave on request. Repositories are made and changed by the real git (see [`crate::repo`]).
//!
//! Access and faults are set per repository and can change while the server runs. Bodies are streamed both ways. Only
//! the smart protocol is served, read-only unless [`GitServer::allow_push`] says otherwise.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::repo::{self, Repo};
use crate::web::{Front, Server};

/// Who may read (and push to) a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    #[default]
    Anonymous,
    /// Who sends this user name and password as basic authentication.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// Who sends this user name as basic authentication, with a password that is another one each time.
    BasicUser(String),
    /// Who sends this bearer token.
    Bearer(String),
}

impl Access {
    /// Basic authentication.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn admits(&self, authorization: Option<&HeaderValue>) -> bool {
        let expected = match self {
            Self::Anonymous => return true,
            Self::BasicUser(user) => {
                let login = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
                let login = login.and_then(|login| STANDARD.decode(login).ok()).unwrap_or_default();
                return login.starts_with(format!("{user}:").as_bytes());
            }
            Self::Basic { user, password } => format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            Self::Bearer(token) => format!("Bearer {token}"),
        };
        authorization.is_some_and(|value| value.as_bytes() == expected.as_bytes())
    }

    fn challenge(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "Bearer",
            Self::Anonymous | Self::Basic { .. } | Self::BasicUser(_) => "Basic realm=\"git\"",
        }
    }
}

/// How the server misbehaves for a repository, until told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers everything with this status and a short text.
    Status(u16),
    /// Waits this long before it answers properly.
    Slow(Duration),
    /// Takes the request and never answers.
    Hang,
    /// Answers 200 with the right content type and a body that is no Git protocol.
    Garbage,
    /// Sends an HTML page with status 200, as login pages do.
    Html,
    /// Answers properly, but ends the body after this many bytes, except for the first request of a fetch.
    Truncate(usize),
    /// Redirects to the same path below this base URL.
    Redirect(String),
}

/// What the server keeps to itself for a repository: how it looks to clients that have to do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// The newest version of the protocol that is spoken, 0 to 2.
    pub version: Option<u8>,
    /// Capabilities that are not told, and are asked for by nobody then: `shallow`, `multi_ack_detailed`.
    pub without: Vec<&'static str>,
}

impl Dialect {
    /// What Azure DevOps tells: the oldest protocol, and acknowledgements without details.
    pub fn azure() -> Self {
        Self {
            version: Some(0),
            without: vec!["multi_ack_detailed", "no-done", "ofs-delta", "agent", "object-format"],
        }
    }
}

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Whether credentials came along.
    pub authorized: bool,
    /// The user agent.
    pub user_agent: String,
    /// Whether it came over HTTP/2.
    pub http2: bool,
}

impl Seen {
    /// Whether the request fetched objects (and did not only list references).
    pub fn is_fetch(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/git-upload-pack")
    }
}

/// A Git server on a free port. Ends with this value; its repositories go with it.
#[derive(Debug)]
pub struct GitServer {
    server: Server,
    state: Arc<Served>,
}

#[derive(Debug)]
struct Served {
    root: TempDir,
    rules: Mutex<BTreeMap<String, Rules>>,
    seen: Mutex<Vec<Seen>>,
    traffic: Mutex<BTreeMap<String, Traffic>>,
}

/// What a repository was asked for, and what it gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Handshakes: one for each conversation over protocol version 2.
    pub handshakes: u64,
    /// Requests for objects. Listing references is none.
    pub fetches: u64,
    /// Bytes of bodies that git sent.
    pub sent: u64,
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            handshakes: self.handshakes - earlier.handshakes,
            fetches: self.fetches - earlier.fetches,
            sent: self.sent - earlier.sent,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Rules {
    access: Access,
    fault: Option<Fault>,
    push: bool,
    dialect: Dialect,
}

impl GitServer {
    /// Starts a server over plain HTTP.
    pub fn start() -> Result<Self> {
        Self::launch(Server::start)
    }

    /// Starts a server over TLS; clients have to trust [`GitServer::ca`].
    pub fn start_tls() -> Result<Self> {
        Self::launch(Server::start_tls)
    }

    /// Starts a server over TLS that presents itself in a certain way.
    pub fn start_front(front: &Front) -> Result<Self> {
        Self::launch(|router| Server::start_front(router, front))
    }

    fn launch(start: impl FnOnce(Router) -> Result<Server>) -> Result<Self> {
        repo::require_git()?;
        let root = tempfile::Builder::new().prefix("git-server-").tempdir()?;
        let state = Arc::new(Served {
            root,
            rules: Mutex::default(),
            seen: Mutex::default(),
            traffic: Mutex::default(),
        });
        let server = start(Router::new().fallback(answer).with_state(state.clone()))?;
        Ok(Self { server, state })
    }

    /// Makes an empty repository, served at `URL/NAME.git`, with a working copy to commit from. The name may have
    /// folders.
    pub fn create(&self, name: &str) -> Result<Repo> {
        Repo::create(self.state.root.path(), name, self.repository_url(name))
    }

    /// The server's address, `http://127.0.0.1:PORT` or https.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The address of a repository.
    pub fn repository_url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.server.url())
    }

    /// The certificate to trust, PEM, when the server speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.server.ca()
    }

    /// Says who may use the repository; at first everyone.
    pub fn set_access(&self, name: &str, access: Access) {
        self.state.rules().entry(name.to_owned()).or_default().access = access;
    }

    /// Lets clients push.
    pub fn allow_push(&self, name: &str) {
        self.state.rules().entry(name.to_owned()).or_default().push = true;
    }

    /// Makes the server look older than it is for the repository.
    pub fn set_dialect(&self, name: &str, dialect: Dialect) {
        self.state.rules().entry(name.to_owned()).or_default().dialect = dialect;
    }

    /// Makes the server misbehave for the repository from now on, or (`None`) behave again.
    pub fn set_fault(&self, name: &str, fault: impl Into<Option<Fault>>) {
        self.state.rules().entry(name.to_owned()).or_default().fault = fault.into();
    }

    /// The requests for the repository so far, oldest first.
    pub fn seen(&self, name: &str) -> Vec<Seen> {
        let prefix = format!("/{name}.git");
        let seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|request| request.path.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// What the repository was asked for and gave so far.
    pub fn traffic(&self, name: &str) -> Traffic {
        self.state.traffic().get(name).copied().unwrap_or_default()
    }

    /// Closes the port and every connection.
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again.
    pub fn up(&self) -> Result<()> {
        self.server.up()
    }
}

impl Served {
    fn rules(&self) -> MutexGuard<'_, BTreeMap<String, Rules>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self) -> MutexGuard<'_, BTreeMap<String, Traffic>> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, name: &str, add: impl FnOnce(&mut Traffic)) {
        add(self.traffic().entry(name.to_owned()).or_default());
    }

    fn rules_of(&self, name: &str) -> Rules {
        self.rules().get(name).cloned().unwrap_or_default()
    }
}

async fn answer(State(state): State<Arc<Served>>, request: Request) -> Response {
    let headers = request.headers();
    let authorization = headers.get(header::AUTHORIZATION).cloned();
    let path_and_query = request
        .uri()
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
        method: request.method().to_string(),
        path: path_and_query.clone(),
        authorized: authorization.is_some(),
        user_agent: headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        http2: request.version() == Version::HTTP_2,
    });
    let Some((name, _)) = request.uri().path().trim_start_matches('/').split_once(".git") else {
        return (StatusCode::NOT_FOUND, "no repository in this path\n").into_response();
    };
    let name = name.to_owned();
    let rules = state.rules_of(&name);
    let mut limit = usize::MAX;
    match rules.fault {
        None => {}
        Some(Fault::Status(code)) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, "the server was told to fail\n").into_response();
        }
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Garbage) => {
            let kind = match request.uri().path().rsplit('/').next() {
                Some("refs") => "application/x-git-upload-pack-advertisement",
                _ => "application/x-git-upload-pack-result",
            };
            return ([(header::CONTENT_TYPE, kind)], "\u{1}this is no packet line\u{2}").into_response();
        }
        Some(Fault::Html) => {
            let page = "<!DOCTYPE html><html><body>Please log in</body></html>\n";
            return ([(header::CONTENT_TYPE, "text/html")], page).into_response();
        }
        Some(Fault::Truncate(bytes)) => limit = bytes,
        Some(Fault::Redirect(base)) => {
            return (
                StatusCode::MOVED_PERMANENTLY,
                [(header::LOCATION, format!("{base}{path_and_query}"))],
            )
                .into_response();
        }
    }
    if !rules.access.admits(authorization.as_ref()) {
        let challenge = [(header::WWW_AUTHENTICATE, rules.access.challenge())];
        return (StatusCode::UNAUTHORIZED, challenge, "who are you?\n").into_response();
    }
    if !state.root.path().join(format!("{name}.git")).is_dir() {
        return (StatusCode::NOT_FOUND, "no such repository\n").into_response();
    }
    if path_and_query.contains("git-receive-pack") && !rules.push {
        return (StatusCode::FORBIDDEN, "this repository is read-only\n").into_response();
    }
    let limit = if request.method() == "POST" { limit } else { usize::MAX };
    let is_advertisement = request.method() == "GET";
    let mut request = request;
    if let Some(version) = rules.dialect.version {
        let value = HeaderValue::from_str(&format!("version={version}")).ok();
        let header = HeaderName::from_static("git-protocol");
        // The oldest one is what nobody asks for.
        match value.filter(|_| version > 0) {
            Some(value) => request.headers_mut().insert(header, value),
            None => request.headers_mut().remove(header),
        };
    }
    match backend(&state, &name, request, limit).await {
        Ok(response) if is_advertisement && !rules.dialect.without.is_empty() => {
            untold(response, &rules.dialect.without).await
        }
        Ok(response) => response,
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("git http-backend: {error:#}\n"),
        )
            .into_response(),
    }
}

/// Takes capabilities out of an advertisement.
async fn untold(response: Response, without: &[&str]) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (mut rest, mut told) = (&body[..], Vec::new());
    while let Some(length) = rest.get(..4).and_then(|digits| std::str::from_utf8(digits).ok()) {
        let length = usize::from_str_radix(length, 16).unwrap_or_default().max(4);
        let (packet, left) = rest.split_at(length.min(rest.len()));
        rest = left;
        let line = String::from_utf8_lossy(&packet[4..]).into_owned();
        // In the old protocol they follow the first reference, in the new one each has a line.
        let separator = ['\0', '='].into_iter().find(|separator| line.contains(*separator));
        let line = match separator.and_then(|separator| line.split_once(separator).zip(Some(separator))) {
            Some(((name, words), separator)) if !line.starts_with("# service") => {
                let words: Vec<_> = words
                    .trim_end()
                    .split(' ')
                    .filter(|word| !without.contains(word))
                    .collect();
                format!("{name}{separator}{}\n", words.join(" "))
            }
            _ => line,
        };
        match packet.len() {
            4 => told.extend_from_slice(packet),
            _ => told.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes()),
        }
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(told))
}

/// Runs `git http-backend` for the request as a CGI program.
async fn backend(state: &Arc<Served>, name: &str, request: Request, limit: usize) -> Result<Response> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        state.count(name, |traffic| traffic.handshakes += 1);
    }
    let text = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    repo::isolate(command.as_std_mut());
    command
        .env("GIT_PROJECT_ROOT", state.root.path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", text(header::CONTENT_ENCODING))
        .env("GIT_PROTOCOL", text(HeaderName::from_static("git-protocol")))
        // Being somebody is what allows pushing; who may push was decided before.
        .env("REMOTE_USER", "tester")
        .env("REMOTE_ADDR", "127.0.0.1");
    if !text(header::CONTENT_LENGTH).is_empty() {
        command.env("CONTENT_LENGTH", text(header::CONTENT_LENGTH));
    }
    let mut child = command.spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| anyhow!("no standard input"))?;
    tokio::spawn(feed(state.clone(), name.to_owned(), body, stdin));
    let mut stdout = BufReader::new(child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?);
    let (status, headers) = read_head(&mut stdout).await?;
    let (state, name) = (state.clone(), name.to_owned());
    let counted = limited(stdout, child, limit).inspect(move |chunk| {
        let sent = chunk.as_ref().map_or(0, Bytes::len);
        state.count(&name, |traffic| traffic.sent += sent as u64);
    });
    let mut response = Response::new(Body::from_stream(counted));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Streams the request body into the program; a program that ends early is no error.
async fn feed(state: Arc<Served>, name: String, body: Body, mut stdin: ChildStdin) {
    let mut chunks = body.into_data_stream();
    let mut is_first = true;
    while let Some(Ok(chunk)) = chunks.next().await {
        // The new protocol says what is asked first; the old one lists references in the handshake only.
        const LISTING: &[u8] = b"command=ls-refs";
        if std::mem::take(&mut is_first) && !chunk.windows(LISTING.len()).any(|window| window == LISTING) {
            state.count(&name, |traffic| traffic.fetches += 1);
        }
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

async fn read_head(stdout: &mut (impl AsyncBufReadExt + Unpin)) -> Result<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await? == 0 {
            bail!("ended without an answer");
        }
        let Some((key, value)) = line.trim_end().split_once(": ") else {
            return Ok((status, headers));
        };
        if key.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = StatusCode::from_bytes(code.as_bytes()).context("bad status")?;
        } else {
            headers.append(HeaderName::from_bytes(key.as_bytes())?, HeaderValue::from_str(value)?);
        }
    }
}

/// The rest of the program's output, cut after `limit` bytes. The program lives as long as the stream.
fn limited(
    stdout: impl AsyncBufReadExt + Unpin + Send + 'static,
    child: Child,
    limit: usize,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    futures::stream::unfold((stdout, child, limit), |(mut stdout, mut child, left)| async move {
        let chunk = match stdout.fill_buf().await {
            Ok(buffer) if left > 0 && !buffer.is_empty() => Bytes::copy_from_slice(&buffer[..buffer.len().min(left)]),
            _ => {
                let _ = child.start_kill();
                let _ = child.wait().await;
                return None;
            }
        };
        stdout.consume(chunk.len());
        let left = left - chunk.len();
        Some((Ok(chunk), (stdout, child, left)))
    })
}

/// The folder that holds all bare repositories of a server.
impl AsRef<Path> for GitServer {
    fn as_ref(&self) -> &Path {
        self.state.root.path()
    }
}

/// Clones a repository with the git command, for looking at what a server gives. `depth` 0 means all history.
pub async fn clone(url: &str, to: &Path, depth: u32) -> Result<PathBuf> {
    let mut command = Command::new("git");
    repo::isolate(command.as_std_mut());
    command.arg("clone").arg("--quiet");
    if depth > 0 {
        command.arg(format!("--depth={depth}"));
    }
    let output = command.arg(url).arg(to).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("git clone {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(to.to_path_buf())
}
