//! A proxy in front of the API server that a test can make misbehave: it ends TLS, passes requests on as one user of its
//! own, refuses some of them by chance, loses questions or answers, cuts connections and watches, and holds watches back.
//!
//! Every client gets a proxy of its own, so that the [`Book`] tells who wrote what, and when: it records every request
//! that may change something. The proxy answers nobody but who sends the token of its kubeconfig. It knows no upgrades
//! (`exec`, `port-forward`) and no HTTP/2. Chances are drawn from a seed, but which request a draw falls to depends on
//! the timing of the client.

mod book;
mod door;

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt};
use kube::config::Kubeconfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::control_plane::ControlPlane;
use crate::kubeconfig::{self, Credentials};
use crate::pki::Authority;
use crate::port;

pub use book::{Book, Reign, Write, lease};
use book::{holder, path_of};
use door::{Connections, Door, Peer};

/// How often requests go wrong, each a chance between 0 and 1. Watches are not affected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// A write is answered with 409, as if another one had come before.
    pub conflict: f64,
    /// A request is answered with 429 and `Retry-After: 1`.
    pub throttle: f64,
    /// A request is answered with 500.
    pub error: f64,
    /// The connection ends before the API server learns of the request.
    pub lost: f64,
    /// The API server does what a write asks for, and the connection ends before the answer.
    pub unanswered: f64,
    /// A request is passed on late.
    pub slow: f64,
    /// How late at the most.
    pub delay: Duration,
}

/// How a watch ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In good order, as when the API server ends it.
    End,
    /// In the middle, as when a connection breaks.
    Break,
    /// With an event that says that the resource version is too old.
    Expired,
}

/// A proxy on a port of its own, with a thread of its own. Ends with this value.
#[derive(Debug)]
pub struct ApiProxy {
    kubeconfig: PathBuf,
    state: Arc<Front>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Front {
    name: String,
    server: String,
    token: String,
    client: reqwest::Client,
    book: Book,
    faults: Mutex<(Faults, fastrand::Rng)>,
    connections: Connections,
    cuts: watch::Sender<(u64, Cut)>,
    /// Until when watches are held back.
    held: watch::Sender<Option<Instant>>,
}

impl ApiProxy {
    /// Starts a proxy that works as the user of its own name, a cluster administrator, and writes a kubeconfig for its
    /// client into the control plane's directory.
    pub fn start(control_plane: &ControlPlane, name: &str, book: &Book, seed: u64) -> Result<Self> {
        crate::use_ring();
        let authority = Authority::new("proxy authority")?;
        let identity = authority.server(&["127.0.0.1", "localhost"])?;
        let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?)?;
        let port = port::free()?;
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        listener.set_nonblocking(true)?;
        let token: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let kubeconfig = control_plane.dir().join(format!("proxy-{name}.kubeconfig"));
        kubeconfig::write(
            &kubeconfig,
            &format!("https://127.0.0.1:{port}"),
            authority.certificate(),
            name,
            &Credentials::Token(token.clone()),
        )?;
        let state = Arc::new(Front {
            name: name.to_owned(),
            server: control_plane.server().to_owned(),
            token,
            client: upstream(control_plane, name)?,
            book: book.clone(),
            faults: Mutex::new((Faults::default(), fastrand::Rng::with_seed(seed))),
            connections: Connections::default(),
            cuts: watch::Sender::new((0, Cut::End)),
            held: watch::Sender::new(None),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let front = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    _ = serve(listener, TlsAcceptor::from(Arc::new(tls)), front) => {}
                }
            });
        });
        Ok(Self {
            kubeconfig,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The kubeconfig for the client of this proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its name, which is also the user the API server sees.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Makes requests go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state.faults).0 = faults;
    }

    /// Ends all watches.
    pub fn cut_watches(&self, how: Cut) {
        self.state.cuts.send_modify(|(number, cut)| {
            *number += 1;
            *cut = how;
        });
    }

    /// Holds back what watches deliver for so long: the client sees the cluster as it was.
    pub fn hold_watches(&self, time: Duration) {
        self.state.held.send_replace(Some(Instant::now() + time));
    }

    /// Lets watches deliver again.
    pub fn release_watches(&self) {
        self.state.held.send_replace(None);
    }

    /// Cuts every connection of the client.
    pub fn cut_connections(&self) {
        self.state.connections.cut();
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The client towards the API server, an administrator by this name.
fn upstream(control_plane: &ControlPlane, name: &str) -> Result<reqwest::Client> {
    let user = Kubeconfig::read_from(control_plane.user(name, Some("system:masters"))?)?;
    let info = user.auth_infos.first().and_then(|named| named.auth_info.as_ref());
    let certificate = info.and_then(|info| info.client_certificate_data.as_ref());
    let config = serde_json::to_value(&user)?;
    let key = config["users"][0]["user"]["client-key-data"].as_str();
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Err(anyhow!("the kubeconfig of {name} holds no certificate"));
    };
    let mut pem = STANDARD.decode(certificate)?;
    pem.extend(STANDARD.decode(key)?);
    let ca = reqwest::Certificate::from_pem(control_plane.ca().as_bytes())?;
    Ok(reqwest::Client::builder()
        .tls_certs_only([ca])
        .identity(reqwest::Identity::from_pem(&pem)?)
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .build()?)
}

/// What becomes of a request.
#[derive(Clone, Debug)]
enum Fate {
    Pass,
    Late(Duration),
    Refuse(u16),
    Lose,
    Unanswered,
}

impl Front {
    fn draw(&self, writes: bool) -> Fate {
        let mut guard = lock(&self.faults);
        let (faults, chance) = &mut *guard;
        let mut left = chance.f64();
        let mut falls = |share: f64| {
            let hit = left < share;
            left -= share;
            hit
        };
        if writes && falls(faults.conflict) {
            return Fate::Refuse(409);
        }
        if falls(faults.throttle) {
            return Fate::Refuse(429);
        }
        if falls(faults.error) {
            return Fate::Refuse(500);
        }
        if falls(faults.lost) {
            return Fate::Lose;
        }
        if writes && falls(faults.unanswered) {
            return Fate::Unanswered;
        }
        if falls(faults.slow) {
            return Fate::Late(faults.delay.mul_f64(chance.f64()));
        }
        Fate::Pass
    }

    /// The answer; nothing where the connection is to end.
    async fn exchange(&self, request: Request) -> Option<Response> {
        let (parts, body) = request.into_parts();
        let authorized = parts.headers.get(header::AUTHORIZATION);
        if authorized.and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {}", self.token)) {
            return Some((StatusCode::UNAUTHORIZED, "this proxy does not know you\n").into_response());
        }
        let body = to_bytes(body, MOST_BYTES).await.ok()?;
        self.book.requested_one();
        let query = parts.uri.query().unwrap_or_default();
        let has = |wanted: &[&str]| query.split('&').any(|part| wanted.contains(&part));
        let watching = has(&["watch=true", "watch=1"]);
        let writes = !matches!(parts.method, Method::GET | Method::HEAD);
        let fate = if watching { Fate::Pass } else { self.draw(writes) };
        let mut write = writes.then(|| Write {
            proxy: self.name.clone(),
            method: parts.method.to_string(),
            path: path_of(&parts.uri, &body),
            dry_run: has(&["dryRun=All"]),
            begun: Instant::now(),
            ended: None,
            status: None,
            holder: holder(&parts.uri, &body),
        });
        let answer = self.pass(&parts.method, &parts.uri, &parts.headers, body, &fate).await;
        if let Some(write) = &mut write
            && let Passed::Answered(answer) = &answer
        {
            write.ended = Some(Instant::now());
            write.status = Some(answer.status().as_u16());
        }
        if let Some(write) = write {
            self.book.record(write);
        }
        match answer {
            Passed::Refused(response) => Some(response),
            Passed::Nothing => None,
            Passed::Answered(_) if matches!(fate, Fate::Unanswered) => {
                self.book.injected_one("unanswered");
                None
            }
            Passed::Answered(answer) => Some(self.relay(answer, watching)),
        }
    }

    async fn pass(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes, fate: &Fate) -> Passed {
        match fate {
            Fate::Refuse(code) => {
                let (what, response) = refusal(*code, uri.path());
                self.book.injected_one(what);
                return Passed::Refused(response);
            }
            Fate::Lose => {
                self.book.injected_one("lost");
                return Passed::Nothing;
            }
            Fate::Late(time) => {
                self.book.injected_one("slow");
                tokio::time::sleep(*time).await;
            }
            Fate::Pass | Fate::Unanswered => {}
        }
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = headers.clone();
        for name in [
            header::HOST,
            header::AUTHORIZATION,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ] {
            headers.remove(name);
        }
        let request = self.client.request(method.clone(), format!("{}{target}", self.server));
        match request.headers(headers).body(body).send().await {
            Ok(answer) => Passed::Answered(answer),
            // The API server is away: for the client its connection ends.
            Err(_) => Passed::Nothing,
        }
    }

    fn relay(&self, answer: reqwest::Response, watching: bool) -> Response {
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        let bytes = answer.bytes_stream();
        let body = if watching {
            Body::from_stream(self.watched(bytes))
        } else {
            Body::from_stream(bytes)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// A watch that can be cut and held back.
    fn watched(
        &self,
        bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        let mut cuts = self.cuts.subscribe();
        cuts.mark_unchanged();
        let watching = Watching {
            bytes: Box::pin(bytes),
            cuts,
            held: self.held.subscribe(),
            between: true,
            over: false,
        };
        futures::stream::unfold(watching, |mut watching| async move {
            let item = watching.next().await?;
            Some((item, watching))
        })
    }
}

/// What came of passing a request on.
enum Passed {
    Answered(reqwest::Response),
    Refused(Response),
    Nothing,
}

/// A watch on its way to the client.
struct Watching<S> {
    bytes: std::pin::Pin<Box<S>>,
    cuts: watch::Receiver<(u64, Cut)>,
    held: watch::Receiver<Option<Instant>>,
    /// Whether what was passed on so far ends with a whole event.
    between: bool,
    over: bool,
}

impl<S: Stream<Item = reqwest::Result<Bytes>>> Watching<S> {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.over {
            return None;
        }
        let (bytes, held) = (&mut self.bytes, &mut self.held);
        let chunk = async {
            let chunk = bytes.next().await;
            loop {
                let until = *held.borrow_and_update();
                let Some(until) = until.filter(|until| *until > Instant::now()) else {
                    return chunk;
                };
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    Ok(()) = held.changed() => {}
                }
            }
        };
        tokio::select! {
            chunk = chunk => match chunk? {
                Ok(chunk) => {
                    self.between = chunk.last() == Some(&b'\n');
                    Some(Ok(chunk))
                }
                Err(error) => {
                    self.over = true;
                    Some(Err(std::io::Error::other(error)))
                }
            },
            Ok(()) = self.cuts.changed() => {
                self.over = true;
                let how = self.cuts.borrow_and_update().1;
                match how {
                    Cut::End => None,
                    Cut::Expired if self.between => Some(Ok(Bytes::from(expired()))),
                    Cut::Break | Cut::Expired => Some(Err(std::io::Error::other("cut"))),
                }
            }
        }
    }
}

/// The most bytes of a request.
const MOST_BYTES: usize = 16 << 20;

fn refusal(code: u16, path: &str) -> (&'static str, Response) {
    let (what, reason, message) = match code {
        409 => (
            "conflict",
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {path}: the object has been modified; please apply your changes to the latest version and try again"
            ),
        ),
        429 => (
            "throttle",
            "TooManyRequests",
            "too many requests, please try again later".to_owned(),
        ),
        _ => (
            "error",
            "InternalError",
            "Internal error occurred: the proxy was told so".to_owned(),
        ),
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let mut response = (
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        [(header::CONTENT_TYPE, "application/json")],
        status.to_string(),
    )
        .into_response();
    if code == 429 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
    }
    (what, response)
}

fn expired() -> String {
    let event = json!({
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410,
        },
    });
    format!("{event}\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: StdTcpListener, acceptor: TlsAcceptor, front: Arc<Front>) -> std::io::Result<()> {
    let listener = Door::open(listener, acceptor, front.connections.clone())?;
    let router = Router::new().fallback(answer).with_state(front);
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

async fn answer(State(front): State<Arc<Front>>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request) -> Response {
    if let Some(response) = front.exchange(request).await {
        return response;
    }
    peer.cut();
    let never: Infallible = std::future::pending().await;
    match never {}
}
