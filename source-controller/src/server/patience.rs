//! How many connections there may be, and how long one may take for nothing.
//!
//! [`Door`] lets so many in at a time; the others wait in the queue of the socket. A connection over which nothing is sent for
//! a while is closed, be it idle or its request never ending, and so is one whose client takes what is sent too slowly to ever
//! get to an end. A download that goes on is never cut, however large it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How much a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Connections at a time.
    pub connections: usize,
    /// How long a connection is watched before it is judged.
    pub window: Duration,
    /// Bytes that a client has to take in that time as long as there are more for it.
    pub bytes: u64,
}

impl Default for Patience {
    /// 512 connections; 16 KiB a minute.
    fn default() -> Self {
        Self {
            connections: 512,
            window: Duration::from_secs(60),
            bytes: 16 << 10,
        }
    }
}

/// A listener that is patient to a degree.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Patience,
}

impl Door {
    /// Lets in whom the listener accepts.
    pub fn new(listener: TcpListener, patience: Patience) -> Self {
        let places = Arc::new(Semaphore::new(patience.connections));
        Self {
            listener,
            places,
            patience,
        }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guest::new(stream, self.patience, place), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is watched.
#[derive(Debug)]
pub struct Guest<S = TcpStream> {
    stream: S,
    patience: Patience,
    judgement: Pin<Box<Sleep>>,
    /// Bytes taken since the last judgement.
    taken: u64,
    /// There is more, and the client does not take it.
    is_waited_for: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Guest<S> {
    fn new(stream: S, patience: Patience, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            patience,
            judgement: Box::pin(tokio::time::sleep(patience.window)),
            taken: 0,
            is_waited_for: false,
            _place: place,
        }
    }

    /// Nothing moves at the moment: whether it has gone on for too long.
    fn judge(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.judgement.as_mut().poll(context));
            let is_slow = self.taken == 0 || (self.is_waited_for && self.taken < self.patience.bytes);
            if is_slow {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.taken = 0;
            self.judgement.as_mut().reset(Instant::now() + self.patience.window);
        }
    }

    fn wrote(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes as u64;
                self.is_waited_for = false;
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.is_waited_for = true;
                self.judge(context).map(Err)
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guest<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => self.judge(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guest<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A client that takes a piece at every beat of so many seconds, for ten minutes; whether it was borne.
    async fn check(piece: usize, seconds: u64, is_borne: bool) {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut guest = Guest::new(server, Patience::default(), None);
        let sending = tokio::spawn(async move { while guest.write_all(&[0; 512]).await.is_ok() {} });
        let mut beat = tokio::time::interval(Duration::from_secs(seconds));
        for _ in 0..(600 / seconds) {
            beat.tick().await;
            let mut taken = vec![0; piece];
            if client.read_exact(&mut taken).await.is_err() {
                break;
            }
        }
        assert_eq!(!sending.is_finished(), is_borne, "{piece} bytes every {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_goes_on_is_never_cut_and_one_that_drips_is() {
        check(1024, 1, true).await;
        check(20 << 10, 59, true).await;
        check(1024, 5, false).await;
        check(1, 1, false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_shown_out() {
        let (_client, server) = tokio::io::duplex(1024);
        let mut guest = Guest::new(server, Patience::default(), None);
        let begun = Instant::now();
        let error = guest.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test]
    async fn places_of_those_who_do_not_take_what_is_sent_go_to_others() {
        let patience = Patience {
            connections: 2,
            window: Duration::from_millis(100),
            ..Patience::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/small", get(|| async { "hello" }))
            .route("/large", get(|| async { vec![b'x'; 64 << 20] }));
        tokio::spawn(async move { axum::serve(Door::new(listener, patience), router).await });
        let mut sitting = Vec::new();
        for _ in 0..patience.connections {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            sitting.push(stream);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        let request = b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        third.write_all(request).await.unwrap();
        let mut answer = String::new();
        third.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
        let mut whole = 0;
        for mut stream in sitting {
            let mut rest = Vec::new();
            // A connection that is reset has ended, too.
            let _ = stream.read_to_end(&mut rest).await;
            whole += usize::from(rest.len() >= 64 << 20);
        }
        assert!(whole < patience.connections, "the place was taken from one of them");
    }
}
