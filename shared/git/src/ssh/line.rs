//! The connection under a session. The session runs in a task of its own, which does not look up while the server is in the
//! middle of a handshake: what ends it then is that its connection does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// A connection that breaks when its [`Hold`] is dropped.
pub struct Line {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Keeps a [`Line`] going.
#[derive(Debug)]
pub struct Hold {
    _guard: DropGuard,
}

impl Line {
    /// A connection, and what keeps it going.
    pub fn new(stream: TcpStream) -> (Self, Hold) {
        let token = CancellationToken::new();
        let cut = Box::pin(token.clone().cancelled_owned());
        let guard = token.drop_guard();
        (Self { stream, cut }, Hold { _guard: guard })
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_line_that_nobody_holds_breaks_while_the_other_end_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut line, hold) = Line::new(stream.unwrap());
        let (mut other, _) = other.unwrap();
        other.write_all(b"x").await.unwrap();
        assert_eq!(line.read_u8().await.unwrap(), b'x');
        let reading = tokio::spawn(async move { line.read_u8().await });
        tokio::task::yield_now().await;
        drop(hold);
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        // And with the line the connection.
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
    }
}
