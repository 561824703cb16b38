//! The admin connection's bytes on both sides of opensrv-mysql, which has no bounds of its own.
//!
//! - [`Input`] ends a connection whose statement would grow beyond [`MAX_STATEMENT`]: opensrv gathers packet
//!   after packet of 16 MiB. It also gives out one packet at a time: of two that come together opensrv (0.7.0) frees the first before it
//!   has looked at it, so that a `COM_STMT_CLOSE` ahead of another command was taken for nonsense.
//! - [`Output`] sends an answer in one write, and nothing of opensrv's greeting: the client has had one ([`super::login`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tandem_protocol::frame::HEADER_LEN;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Most bytes that a client may send without taking an answer; more than any statement to explain needs.
pub(super) const MAX_STATEMENT: usize = 1 << 20;
/// Most of a packet that is read ahead.
const READ_AT_ONCE: usize = 4096;
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
    reader: BufReader<R>,
    packets: Packets,
    gate: Arc<Gate>,
}

impl<R: AsyncRead> Input<R> {
    pub(super) fn new(reader: R, gate: Arc<Gate>) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_AT_ONCE, reader),
            packets: Packets::default(),
            gate,
        }
    }
}

/// Where in a packet the stream is.
#[derive(Debug, Default)]
struct Packets {
    header: [u8; HEADER_LEN],
    /// Bytes of the header that have been.
    begun: usize,
    /// Bytes of the packet that are to come, once its header has been.
    left: usize,
}

impl Packets {
    /// Goes on by these bytes, up to the end of the packet; how many that are.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for byte in bytes.iter().take(HEADER_LEN - self.begun) {
            self.header[self.begun] = *byte;
            self.begun += 1;
            taken += 1;
            let [a, b, c, _] = self.header;
            self.left = u32::from_le_bytes([a, b, c, 0]) as usize;
        }
        if self.begun < HEADER_LEN {
            return taken;
        }
        let payload = self.left.min(bytes.len() - taken);
        self.left -= payload;
        if self.left == 0 {
            self.begun = 0;
        }
        taken + payload
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { reader, packets, .. } = &mut *self;
        let came = ready!(Pin::new(&mut *reader).poll_fill_buf(cx))?;
        let came = &came[..came.len().min(buffer.remaining())];
        let read = packets.advance(came);
        buffer.put_slice(&came[..read]);
        Pin::new(reader).consume(read);
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

    /// However they come, cut anywhere or several together, a read never has bytes of two packets.
    #[tokio::test]
    async fn packets_are_given_out_one_at_a_time() {
        let stream = b"\x05\0\0\0abcde\0\0\0\x01\x02\0\0\0xy\x01\0\0\0z";
        let ends = [9, 13, 19, 24];
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            let mut input = Input::new(first.chain(second), Gate::new());
            let mut all = Vec::new();
            loop {
                let mut buffer = [0; 64];
                let read = input.read(&mut buffer).await.expect("read");
                if read == 0 {
                    break;
                }
                let crossed = |end: &&usize| (all.len() + 1..all.len() + read).contains(*end);
                assert_eq!(ends.iter().find(crossed), None, "cut at {cut}");
                all.extend_from_slice(&buffer[..read]);
            }
            assert_eq!(all, stream, "cut at {cut}");
        }
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
