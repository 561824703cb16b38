//! The admin connection's bytes on both sides of opensrv-mysql, which has no bounds of its own.
//!
//! - [`Input`] ends a connection whose statement would grow beyond [`MAX_STATEMENT`]: opensrv gathers packet
//!   after packet of 16 MiB.
//! - [`Output`] sends an answer in one write, and nothing of opensrv's greeting: the client has had one ([`super::login`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that a client may send without taking an answer; more than any statement to explain needs.
pub(super) const MAX_STATEMENT: usize = 1 << 20;
/// An answer longer than this goes out in pieces.
const ANSWER_PIECE: usize = 64 * 1024;

/// What the two sides of one connection tell each other: how many bytes the client may still send before it takes an answer.
#[derive(Debug)]
pub(super) struct Gate {
    allowance: AtomicUsize,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            allowance: AtomicUsize::new(MAX_STATEMENT),
        })
    }

    fn answered(&self) {
        self.allowance.store(MAX_STATEMENT, Ordering::Relaxed);
    }
}

/// What comes from the client.
pub(super) struct Input<R> {
    reader: R,
    gate: Arc<Gate>,
}

impl<R> Input<R> {
    pub(super) fn new(reader: R, gate: Arc<Gate>) -> Self {
        Self { reader, gate }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        let left = self.gate.allowance.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(read) else {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client sends more than a statement may have",
            )));
        };
        self.gate.allowance.store(left, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// What goes to the client: held until it is flushed.
pub(super) struct Output<W> {
    writer: W,
    gate: Arc<Gate>,
    has_greeted: bool,
    held: Vec<u8>,
    sent: usize,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub(super) fn new(writer: W, gate: Arc<Gate>) -> Self {
        Self {
            writer,
            gate,
            has_greeted: false,
            held: Vec::new(),
            sent: 0,
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let sent = ready!(Pin::new(&mut self.writer).poll_write(cx, &self.held[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Output<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() >= ANSWER_PIECE {
            ready!(self.drain(cx))?;
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.has_greeted, true) {
            self.held.clear();
        }
        if !self.held.is_empty() {
            ready!(self.drain(cx))?;
            self.gate.answered();
        }
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// An ERR packet with its header: <https://mariadb.com/kb/en/err_packet/>.
pub(super) fn error_packet(sequence: u8, (code, state): (u16, &[u8; 5]), message: &str) -> Vec<u8> {
    // A message is a sentence; the cut only keeps the length within one packet.
    let message = &message.as_bytes()[..message.len().min(512)];
    let length = 1 + 2 + 1 + state.len() + message.len();
    let mut packet = Vec::with_capacity(4 + length);
    packet.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
    packet.push(sequence);
    packet.push(0xff);
    packet.extend_from_slice(&code.to_le_bytes());
    packet.push(b'#');
    packet.extend_from_slice(state);
    packet.extend_from_slice(message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_flood_ends_and_an_answer_renews_the_allowance() {
        let gate = Gate::new();
        let mut input = Input::new(tokio::io::repeat(0), Arc::clone(&gate));
        let mut output = Output::new(tokio::io::sink(), Arc::clone(&gate));
        output.flush().await.expect("no greeting");
        let mut buffer = vec![0; MAX_STATEMENT];
        input.read_exact(&mut buffer).await.expect("within bounds");
        let over = input.read_exact(&mut buffer).await;
        assert_eq!(
            over.map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidData)
        );
        output.write_all(b"ok").await.expect("held");
        output.flush().await.expect("sent");
        input.read_exact(&mut buffer).await.expect("within bounds");
        assert!(input.read_exact(&mut buffer).await.is_err());
    }

    #[tokio::test]
    async fn the_greeting_is_not_sent_and_what_follows_is() {
        let mut sent = Vec::new();
        let mut output = Output::new(&mut sent, Gate::new());
        output.write_all(b"greeting").await.expect("held");
        output.flush().await.expect("dropped");
        output.write_all(b"ok").await.expect("held");
        output.flush().await.expect("sent");
        assert_eq!(sent, b"ok");
    }
}
