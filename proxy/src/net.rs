//! Sockets. No other module of the data path names one, so that a simulation can put its own here.

pub mod buffer;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use buffer::Inbox;

/// A connected byte stream, to a client or to a server.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
}

impl Stream {
    /// Takes over an accepted socket; must be called on the runtime that will use it.
    pub fn from_std(socket: std::net::TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::prepared(TcpStream::from_std(socket)?)
    }

    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::prepared(TcpStream::connect(address).await?)
    }

    fn prepared(socket: TcpStream) -> io::Result<Self> {
        // Packets of this protocol are requests and replies: waiting to fill a segment only delays them.
        socket.set_nodelay(true)?;
        // A peer whose machine vanished says nothing; without keep-alive its session would stay for ever.
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(10));
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self { socket })
    }

    /// Reads what has arrived into `target`.
    ///
    /// Goes through [`AsyncRead`], which forgets readiness after a short read: the next call waits
    /// without a system call that would only answer `EAGAIN`.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(target);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_both(bytes, &[]).await
    }

    /// Writes `head` and then `tail`, in one system call where the socket takes both.
    pub async fn write_both(&mut self, head: &[u8], tail: &[u8]) -> io::Result<()> {
        let total = head.len() + tail.len();
        let mut done = 0;
        while done < total {
            let written = poll_fn(|cx| {
                let socket = Pin::new(&mut self.socket);
                if done >= head.len() {
                    socket.poll_write(cx, &tail[done - head.len()..])
                } else if tail.is_empty() {
                    socket.poll_write(cx, &head[done..])
                } else {
                    socket.poll_write_vectored(cx, &[IoSlice::new(&head[done..]), IoSlice::new(tail)])
                }
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += written;
        }
        Ok(())
    }

    /// Writes what the socket takes at once; for a goodbye that nobody waits for.
    pub fn write_if_ready(&self, bytes: &[u8]) {
        let _ = self.socket.try_write(bytes);
    }

    /// Whether the peer of an idle connection has closed it or spoken out of turn.
    ///
    /// Costs a system call only when the event loop has seen something on the socket.
    pub fn is_disturbed(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if self.socket.poll_read_ready(&mut cx).is_pending() {
            return false;
        }
        let mut byte = [0_u8; 1];
        !matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Reads from `stream` into `inbox` until at least `wanted` bytes are there.
///
/// # Errors
/// `UnexpectedEof` when the peer closes first.
pub async fn fill(stream: &mut Stream, inbox: &mut Inbox, wanted: usize) -> io::Result<()> {
    while inbox.len() < wanted {
        // Room grows with what has really arrived: a peer that only declares a large packet gets no memory.
        let missing = (wanted - inbox.len()).min(inbox.len().max(4096));
        let read = poll_fn(|cx| inbox.poll_fill(cx, stream, missing)).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads once, whatever arrives.
///
/// # Errors
/// `UnexpectedEof` when the peer has closed.
pub async fn fill_some(stream: &mut Stream, inbox: &mut Inbox) -> io::Result<()> {
    let wanted = inbox.len() + 1;
    fill(stream, inbox, wanted).await
}
