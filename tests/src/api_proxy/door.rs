//! The listener: it ends TLS and keeps a second handle of every connection, by which it can be cut.

use std::net::{Shutdown, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::sync::{Arc, Mutex, Weak};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::lock;

/// A connection of the client, to cut it.
#[derive(Clone, Debug)]
pub(super) struct Peer(Arc<StdTcpStream>);

impl Peer {
    /// Cuts the connection.
    pub(super) fn cut(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The connections that are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<Weak<StdTcpStream>>>>);

impl Connections {
    /// Cuts all of them.
    pub(super) fn cut(&self) {
        for connection in lock(&self.0).drain(..) {
            if let Some(connection) = connection.upgrade() {
                Peer(connection).cut();
            }
        }
    }

    fn add(&self, peer: &Peer) {
        let mut connections = lock(&self.0);
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&peer.0));
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Accepts TLS connections. Handshakes run beside each other, so that a silent client holds up nobody.
pub(super) struct Door {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Peer)>,
    local: Peer,
}

impl Door {
    /// Accepts connections of the listener from now on and takes note of each.
    pub(super) fn open(
        listener: StdTcpListener,
        acceptor: TlsAcceptor,
        connections: Connections,
    ) -> std::io::Result<Self> {
        // Only for `local_addr`, which wants an address of the same type.
        let local = Peer(Arc::new(StdTcpStream::connect(listener.local_addr()?)?));
        let listener = TcpListener::from_std(listener)?;
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok((stream, peer)) = keep_hold(stream) else {
                    continue;
                };
                connections.add(&peer);
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { ready, local })
    }
}

/// A second handle of the connection, by which it can be cut.
fn keep_hold(stream: TcpStream) -> std::io::Result<(TcpStream, Peer)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let peer = Peer(Arc::new(stream.try_clone()?));
    Ok((TcpStream::from_std(stream)?, peer))
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        Ok(self.local.clone())
    }
}
