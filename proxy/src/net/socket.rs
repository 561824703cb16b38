//! The socket below a stream, whichever kind it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::address::{Accepted, Endpoint};

/// A connected socket. As with [`TcpStream`], `AsyncRead` forgets readiness after a short read: the next call waits
/// without a system call that would only answer `EAGAIN`.
#[derive(Debug)]
pub(super) struct Socket {
    kind: Kind,
    /// Bytes that were read from it already and are to be read again.
    head: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Takes over an accepted socket; must be called on the runtime that will use it.
    pub(super) fn accepted(accepted: Accepted) -> io::Result<Self> {
        match accepted {
            Accepted::Tcp(socket, _) => {
                socket.set_nonblocking(true)?;
                Self::tcp(TcpStream::from_std(socket)?)
            }
            Accepted::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Self::unix(UnixStream::from_std(socket)?))
            }
        }
    }

    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Self::tcp(TcpStream::connect(address).await?),
            Endpoint::Unix(path) => Ok(Self::unix(UnixStream::connect(path).await?)),
        }
    }

    fn tcp(socket: TcpStream) -> io::Result<Self> {
        // Packets of this protocol are requests and replies: waiting to fill a segment only delays them.
        socket.set_nodelay(true)?;
        // A peer whose machine vanished says nothing; without keep-alive its session would stay for ever.
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(10));
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self {
            kind: Kind::Tcp(socket),
            head: Vec::new(),
        })
    }

    fn unix(socket: UnixStream) -> Self {
        Self {
            kind: Kind::Unix(socket),
            head: Vec::new(),
        }
    }

    /// Has `bytes` read again, before anything new.
    pub(super) fn push_back(&mut self, bytes: &[u8]) {
        self.head.splice(..0, bytes.iter().copied());
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.head.is_empty() {
            let count = this.head.len().min(buffer.remaining());
            buffer.put_slice(&this.head[..count]);
            this.head.drain(..count);
            if this.head.is_empty() {
                this.head = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut this.kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Kind::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Kind::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Kind::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
