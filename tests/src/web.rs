//! An axum router on a loopback port, plain or behind TLS, that can go down and come back on the same port. Each
//! server has a thread and an async runtime of its own: it answers while a test blocks, it does not end with the
//! runtime of the test that started it, and going down cuts every connection at once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::Listener;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::Authority;
use crate::port;
use crate::wait;

/// A running (or downed) HTTP server.
#[derive(Debug)]
pub struct Server {
    port: u16,
    tls: Option<Tls>,
    router: Router,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Tls {
    ca: String,
    config: Arc<rustls::ServerConfig>,
}

/// A host of AWS CodeCommit, which proxies of tests lead to this machine.
pub const CODECOMMIT: &str = "git-codecommit.eu-west-1.amazonaws.com";

/// A host of Google's Secure Source Manager, which proxies of tests lead to this machine.
pub const SOURCE_MANAGER: &str = "mine-123456-git.europe-west4.sourcemanager.dev";

/// How a server presents itself over TLS.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    /// Who vouches for it. Its certificate is for 127.0.0.1, localhost, git.test, [`CODECOMMIT`] and
    /// [`SOURCE_MANAGER`].
    pub authority: &'a Authority,
    /// Who has to vouch for clients, if they have to show certificates.
    pub clients: Option<&'a Authority>,
    /// The protocols it speaks, most wanted first (`h2`, `http/1.1`); none names none.
    pub protocols: &'a [&'a str],
}

impl<'a> Front<'a> {
    /// One that everybody may talk to, without a choice of protocols.
    pub fn of(authority: &'a Authority) -> Self {
        Self {
            authority,
            clients: None,
            protocols: &[],
        }
    }

    pub(crate) fn config(&self) -> Result<Arc<rustls::ServerConfig>> {
        crate::use_ring();
        let identity = self
            .authority
            .server(&["127.0.0.1", "localhost", "git.test", CODECOMMIT, SOURCE_MANAGER])?;
        let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let builder = rustls::ServerConfig::builder();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes())?)?;
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
            }
        };
        let mut config = builder.with_single_cert(certificates, key)?;
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// The thread of a server; it ends when the sender goes.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Server {
    /// Serves plain HTTP on a free port.
    pub fn start(router: Router) -> Result<Self> {
        Self::launch(router, None)
    }

    /// Serves HTTPS on a free port, with a certificate for 127.0.0.1 and localhost from an authority made for this
    /// server alone.
    pub fn start_tls(router: Router) -> Result<Self> {
        Self::start_front(router, &Front::of(&Authority::new("test server authority")?))
    }

    /// Serves HTTPS on a free port in a certain way.
    pub fn start_front(router: Router, front: &Front) -> Result<Self> {
        let authority = front.authority;
        let config = front.config()?;
        Self::launch(
            router,
            Some(Tls {
                ca: authority.certificate().to_owned(),
                config,
            }),
        )
    }

    fn launch(router: Router, tls: Option<Tls>) -> Result<Self> {
        let server = Self {
            port: port::free()?,
            tls,
            router,
            running: Mutex::new(None),
        };
        server.up()?;
        Ok(server)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The certificate to trust, PEM, when the server speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.ca.as_str())
    }

    /// Closes the listener and every connection; new ones are refused until [`Server::up`].
    pub fn down(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread }) = running {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Listens again on the same port. Does nothing when the server is up.
    pub fn up(&self) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(());
        }
        let listener = bind(self.port)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let router = self.router.clone();
        let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config.clone()));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    _ = serve(listener, router, tls) => {}
                }
            });
            // Dropping the runtime cuts what is still being answered.
        });
        *running = Some(Running { stop, thread });
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

/// Binds the port; connections that were just cut may hold it for a moment.
fn bind(port: u16) -> Result<StdTcpListener> {
    let address = (Ipv4Addr::LOCALHOST, port);
    let limit = Duration::from_secs(5);
    let listener = wait::blocking(limit, "the port to be free", || Ok(StdTcpListener::bind(address).ok()))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: StdTcpListener, router: Router, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    match tls {
        None => axum::serve(listener, router).await,
        Some(acceptor) => axum::serve(TlsListener::new(listener, acceptor), router).await,
    }
}

/// Accepts TLS connections. Handshakes run beside each other, so that a silent client holds up nobody.
struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let address = listener
            .local_addr()
            .unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { address, ready }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    #[tokio::test]
    async fn a_server_goes_down_and_comes_back_on_its_port() -> Result<()> {
        crate::use_ring();
        let server = Server::start(hello())?;
        let client = reqwest::Client::new();
        assert_eq!(client.get(server.url()).send().await?.text().await?, "hello");
        server.down();
        // Another client: the first one may have a connection in its pool and learn of the end only while sending.
        let refused = reqwest::Client::new().get(server.url()).send().await;
        assert!(refused.is_err_and(|error| error.is_connect()));
        server.up()?;
        assert_eq!(client.get(server.url()).send().await?.text().await?, "hello");
        Ok(())
    }

    #[tokio::test]
    async fn only_a_client_that_trusts_the_authority_gets_through() -> Result<()> {
        let server = Server::start_tls(hello())?;
        assert!(reqwest::Client::new().get(server.url()).send().await.is_err());
        let ca = reqwest::Certificate::from_pem(server.ca().unwrap_or_default().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        assert_eq!(client.get(server.url()).send().await?.text().await?, "hello");
        Ok(())
    }
}
