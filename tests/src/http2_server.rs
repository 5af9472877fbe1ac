//! An HTTP/2 server over TLS that answers step by step, properly or not: streams that are reset, connections that go away or
//! end without a word, and silence. What is no question of HTTP/2 is in [`crate::git_server`] and [`crate::raw_server`].

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Bytes;
use axum::http::{Request, Response};
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::pki::Authority;
use crate::raw_server::Asked;
use crate::web::Front;

/// A part of an answer. One whose steps are all done ends as it should.
#[derive(Clone, Debug)]
pub enum Step {
    /// Its head: a status and headers.
    Head(u16, Vec<(&'static str, String)>),
    /// Bytes of its body.
    Say(Vec<u8>),
    /// The same bytes until nobody listens any more.
    Forever(Vec<u8>),
    /// The bytes one by one, ten a second.
    Drip(Vec<u8>),
    /// Nothing more, for as long as anybody waits.
    Stall,
    /// What was said has arrived, and the stream is reset.
    Reset(Reason),
    /// The connection takes no further questions. This answer goes on.
    Retire,
    /// What was said has arrived, and the connection is declared to be over.
    GoAway(Reason),
    /// What was said has arrived, and the connection is closed without a word.
    Close,
}

/// A running server. Ends with this value.
#[derive(Debug)]
pub struct Http2Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

type Answer = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// What the connections of a server share.
#[derive(Clone)]
struct Shared {
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What an answer does to its connection.
enum End {
    Retire,
    GoAway(Reason),
    Close,
}

impl Http2Server {
    /// Starts a server on a free port, with a certificate of the authority.
    pub fn start(authority: &Authority, answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Result<Self> {
        let front = Front {
            protocols: &["h2"],
            ..Front::of(authority)
        };
        let acceptor = TlsAcceptor::from(front.config()?);
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let shared = Shared {
            answer: Arc::new(answer),
            asked: Arc::clone(&asked),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    _ = accept(listener, acceptor, shared) => {}
                }
            });
        });
        Ok(Self {
            address,
            asked,
            thread: Some((stop, thread)),
        })
    }

    /// Its address, `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The requests so far as `METHOD path`, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

async fn accept(listener: StdTcpListener, acceptor: TlsAcceptor, shared: Shared) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that has seen enough hangs up.
        tokio::spawn(hold(stream, acceptor.clone(), shared.clone()));
    }
}

/// One connection, until an answer ends it or the client does.
async fn hold(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared) -> Result<()> {
    let stream = acceptor.accept(stream).await?;
    let mut connection = h2::server::handshake(stream).await?;
    let pulse = connection.ping_pong().context("somebody else has it")?;
    let pulse = Arc::new(tokio::sync::Mutex::new(pulse));
    let (tell, mut told) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                None => return Ok(()),
                Some(request) => {
                    let (request, respond) = request?;
                    let way = Way { tell: tell.clone(), pulse: Arc::clone(&pulse) };
                    tokio::spawn(answer(request, respond, way, shared.clone()));
                }
            },
            end = told.recv() => match end {
                Some(End::Retire) => connection.graceful_shutdown(),
                Some(End::GoAway(reason)) => connection.abrupt_shutdown(reason),
                Some(End::Close) | None => return Ok(()),
            },
        }
    }
}

/// What an answer needs of its connection.
struct Way {
    tell: mpsc::UnboundedSender<End>,
    pulse: Arc<tokio::sync::Mutex<PingPong>>,
}

impl Way {
    /// Waits until what was said so far has arrived: the client answers in the order in which it reads.
    async fn arrive(&self) -> Result<()> {
        let mut pulse = self.pulse.lock().await;
        // The first one may overtake what was said.
        for _ in 0..2 {
            pulse.ping(Ping::opaque()).await?;
        }
        Ok(())
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    way: Way,
    shared: Shared,
) -> Result<()> {
    let asked = read(request).await?;
    shared
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{} {}", asked.method, asked.path));
    let mut body = None;
    for step in (shared.answer)(&asked) {
        let open = || "an answer has a head first";
        match step {
            Step::Head(status, headers) => {
                let mut head = Response::builder().status(status);
                for (name, value) in headers {
                    head = head.header(name, value);
                }
                body = Some(respond.send_response(head.body(())?, false)?);
            }
            Step::Say(bytes) => say(body.as_mut().with_context(open)?, bytes.into()).await?,
            Step::Forever(bytes) => {
                let body = body.as_mut().with_context(open)?;
                let many = Bytes::from(bytes.repeat(1 + 60_000 / bytes.len().max(1)));
                loop {
                    say(body, many.clone()).await?;
                }
            }
            Step::Drip(bytes) => {
                for byte in bytes {
                    say(body.as_mut().with_context(open)?, vec![byte].into()).await?;
                    // The pace of this server is what is wrong with it.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Step::Stall => std::future::pending().await,
            Step::Reset(reason) => {
                way.arrive().await?;
                match body.as_mut() {
                    None => respond.send_reset(reason),
                    Some(body) => body.send_reset(reason),
                }
                return Ok(());
            }
            Step::Retire => way.tell.send(End::Retire)?,
            Step::GoAway(reason) => {
                way.arrive().await?;
                way.tell.send(End::GoAway(reason))?;
                std::future::pending().await
            }
            Step::Close => {
                way.arrive().await?;
                way.tell.send(End::Close)?;
                std::future::pending().await
            }
        }
    }
    if let Some(mut body) = body {
        body.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

async fn read(request: Request<RecvStream>) -> Result<Asked> {
    let (parts, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    Ok(Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body,
    })
}

/// Says no more at a time than the client has room for.
async fn say(body: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let room = room.context("nobody listens any more")??;
        body.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}
