//! The admin connection's bytes on both sides of opensrv-mysql, which has no bounds of its own.
//!
//! - [`Input`] ends a connection whose statement would grow beyond [`MAX_STATEMENT`]: opensrv gathers packet
//!   after packet of 16 MiB, before login too.
//! - [`Output`] sends an answer in one write, and puts error 1045 in the place of opensrv's own refusal of a login, which is
//!   1698 and tells the plugin's name.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that a client may send without taking an answer; more than any statement to explain needs.
pub(super) const MAX_STATEMENT: usize = 1 << 20;
/// Before login nothing longer than a handshake response is due.
const MAX_LOGIN: usize = 16 * 1024;
/// An answer longer than this goes out in pieces.
const ANSWER_PIECE: usize = 64 * 1024;

/// Access denied; the number and state that every client knows for a wrong password.
const DENIED: (u16, &[u8; 5]) = (1045, b"28000");

/// What the two sides of one connection and its handler tell each other.
#[derive(Debug)]
pub(super) struct Gate {
    logged_in: AtomicBool,
    /// The login was refused, and nothing has been sent about it.
    denied: AtomicBool,
    /// Bytes that the client may still send before it takes an answer.
    allowance: AtomicUsize,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            logged_in: AtomicBool::new(false),
            denied: AtomicBool::new(false),
            allowance: AtomicUsize::new(MAX_LOGIN),
        })
    }

    pub(super) fn admit(&self) {
        self.logged_in.store(true, Ordering::Relaxed);
    }

    pub(super) fn deny(&self) {
        self.denied.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }

    fn answered(&self) {
        let allowance = if self.is_logged_in() {
            MAX_STATEMENT
        } else {
            MAX_LOGIN
        };
        self.allowance.store(allowance, Ordering::Relaxed);
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
    /// What a refused client is told.
    refusal: String,
    held: Vec<u8>,
    sent: usize,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub(super) fn new(writer: W, gate: Arc<Gate>, refusal: String) -> Self {
        Self {
            writer,
            gate,
            refusal,
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
        if self.gate.denied.swap(false, Ordering::Relaxed) {
            // The refusal that opensrv wrote is all that is held; its fourth byte is the sequence number.
            let sequence = self.held.get(3).copied().unwrap_or(2);
            self.held = error_packet(sequence, DENIED, &self.refusal);
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
        let mut output = Output::new(tokio::io::sink(), Arc::clone(&gate), String::new());
        let mut buffer = vec![0; MAX_LOGIN];
        input.read_exact(&mut buffer).await.expect("within bounds");
        let over = input.read_exact(&mut buffer).await;
        assert_eq!(
            over.map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidData)
        );
        gate.admit();
        output.write_all(b"ok").await.expect("held");
        output.flush().await.expect("sent");
        let mut buffer = vec![0; MAX_STATEMENT];
        input.read_exact(&mut buffer).await.expect("within bounds");
        assert!(input.read_exact(&mut buffer).await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_rewritten() {
        let gate = Gate::new();
        let mut sent = Vec::new();
        let mut output = Output::new(&mut sent, Arc::clone(&gate), "no".to_owned());
        gate.deny();
        output.write_all(b"\x05\0\0\x04what1").await.expect("held");
        output.flush().await.expect("sent");
        assert_eq!(sent, b"\x0b\0\0\x04\xff\x15\x04#28000no");
    }
}
