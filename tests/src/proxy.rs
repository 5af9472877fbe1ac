//! Proxies on loopback ports that write down what they are asked: HTTP (tunnels and plain requests, also behind TLS) and
//! SOCKS5 (with and without a login). Whatever host a client names, it is led to this machine, so that names nobody else
//! knows (`git.test`) show that the client left them to the proxy.

use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::web::Front;

/// No head of a request is longer.
const MAX_HEAD: usize = 64 * 1024;

/// One thing that a proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How: `CONNECT`, the method of a plain request, or `socks5`.
    pub how: String,
    /// For what, as `host:port`.
    pub target: String,
    /// Who asked, as `user:password`; empty for nobody.
    pub login: String,
}

/// A running proxy. Ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    state: Arc<State>,
    thread: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

#[derive(Debug)]
struct State {
    /// Who may ask; everybody if nobody is named.
    login: Option<String>,
    asked: Mutex<Vec<Asked>>,
}

impl Proxy {
    /// An HTTP proxy for everybody, or for one `user:password`.
    pub fn http(login: Option<&str>) -> Result<Self> {
        Self::start("http", login, None)
    }

    /// The same behind TLS.
    pub fn https(front: &Front, login: Option<&str>) -> Result<Self> {
        Self::start("https", login, Some(TlsAcceptor::from(front.config()?)))
    }

    /// A SOCKS5 proxy for everybody, or for one `user:password`.
    pub fn socks5(login: Option<&str>) -> Result<Self> {
        Self::start("socks5", login, None)
    }

    fn start(scheme: &'static str, login: Option<&str>, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = format!("{scheme}://{}", listener.local_addr()?);
        let state = Arc::new(State {
            login: login.map(str::to_owned),
            asked: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    _ = accept(listener, shared, scheme, tls) => {}
                }
            });
        });
        Ok(Self {
            address,
            state,
            thread: Some((stop, thread)),
        })
    }

    /// Where it is, as `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it was asked for so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl State {
    /// Writes down what was asked, and tells whether it is granted.
    fn note(&self, how: &str, target: &str, login: String) -> bool {
        let is_granted = self.login.as_ref().is_none_or(|wanted| *wanted == login);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Asked {
            how: how.to_owned(),
            target: target.to_owned(),
            login,
        });
        is_granted
    }
}

async fn accept(
    listener: StdTcpListener,
    state: Arc<State>,
    scheme: &'static str,
    tls: Option<TlsAcceptor>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            match (scheme, tls) {
                ("socks5", _) => socks(stream, &state).await,
                (_, None) => http(stream, &state).await,
                (_, Some(tls)) => http(tls.accept(stream).await?, &state).await,
            }
        });
    }
}

/// Connects to the port that a client named, on this machine.
async fn open(target: &str) -> Result<TcpStream> {
    let port = target.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let port = port.with_context(|| format!("{target} names no port"))?;
    Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?)
}

async fn http(mut client: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            bail!("the head of the request has no end");
        }
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.trim_end().split("\r\n");
    let request = lines.next().unwrap_or_default();
    let [method, target, version] = request.split(' ').collect::<Vec<_>>()[..] else {
        bail!("no request line: {request}");
    };
    let of_proxy = |line: &&str| line.to_ascii_lowercase().starts_with("proxy-authorization:");
    let login = lines.clone().find(of_proxy).and_then(|line| line.split_once("Basic "));
    let login = match login {
        Some((_, encoded)) => String::from_utf8(STANDARD.decode(encoded.trim())?)?,
        None => String::new(),
    };
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !state.note(method, place, login) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(refusal.as_bytes()).await?;
        return Ok(client.shutdown().await?);
    }
    let Ok(mut server) = open(place).await else {
        let refusal = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(refusal.as_bytes()).await?;
        return Ok(client.shutdown().await?);
    };
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        // One request for each connection: each is written down.
        let mut forwarded = format!("{method} {path} {version}\r\nConnection: close\r\n");
        let hop = |line: &&str| of_proxy(line) || line.to_ascii_lowercase().starts_with("connection:");
        for line in lines.filter(|line| !hop(line)) {
            forwarded.push_str(line);
            forwarded.push_str("\r\n");
        }
        forwarded.push_str("\r\n");
        server.write_all(forwarded.as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn socks(mut client: TcpStream, state: &State) -> Result<()> {
    let [5, count] = read(&mut client).await? else {
        bail!("no SOCKS5");
    };
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods).await?;
    let method = if state.login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        client.write_all(&[5, 255]).await?;
        return Ok(client.shutdown().await?);
    }
    client.write_all(&[5, method]).await?;
    let mut login = String::new();
    if method == 2 {
        let [1] = read(&mut client).await? else {
            bail!("no login");
        };
        let username = word(&mut client).await?;
        login = format!("{username}:{}", word(&mut client).await?);
    }
    // The proxy answers a login before it is told where to; both are written down as one.
    if state.login.as_ref().is_some_and(|wanted| *wanted != login) {
        state.note("socks5", "", login);
        client.write_all(&[1, 1]).await?;
        return Ok(client.shutdown().await?);
    }
    if method == 2 {
        client.write_all(&[1, 0]).await?;
    }
    let [5, 1, 0, kind] = read(&mut client).await? else {
        bail!("no request to connect");
    };
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(&mut client).await?).to_string(),
        3 => word(&mut client).await?,
        other => bail!("addresses of the kind {other} are not expected"),
    };
    let target = format!("{host}:{}", u16::from_be_bytes(read(&mut client).await?));
    state.note("socks5", &target, login);
    let Ok(mut server) = open(&target).await else {
        client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        return Ok(client.shutdown().await?);
    };
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn word(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes)?)
}
