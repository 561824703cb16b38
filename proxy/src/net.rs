//! Sockets. No other module of the data path names one, so that a simulation can put its own here.

pub mod address;
pub mod buffer;
pub mod compressed;
pub mod nonce;
pub mod proxied;
mod socket;
pub mod tls;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tandem_protocol::compression::{Algorithm, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsStream};

use address::{Accepted, Endpoint};
use buffer::Inbox;
use compressed::{Codec, Compressed, Side};
use socket::Socket;

/// A connected byte stream, to a client or to a server.
#[derive(Debug)]
pub struct Stream {
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
    Compressed(Box<Compressed>),
    /// The change to TLS did not come to its end.
    Lost,
}

impl Stream {
    /// Takes over an accepted socket; must be called on the runtime that will use it.
    pub fn accepted(accepted: Accepted) -> io::Result<Self> {
        Ok(Self::plain(Socket::accepted(accepted)?))
    }

    pub async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(Self::plain(Socket::connect(endpoint).await?))
    }

    fn plain(socket: Socket) -> Self {
        Self {
            transport: Transport::Plain(socket),
        }
    }

    /// Goes over to TLS as the server side. What has arrived in `inbox` already is the beginning of the client's
    /// TLS, never taken for words in clear.
    ///
    /// # Errors
    /// Whatever TLS does not allow; the stream can't be used afterwards.
    pub async fn accept_tls(&mut self, acceptor: &TlsAcceptor, inbox: &mut Inbox) -> io::Result<()> {
        let socket = self.take_socket(inbox)?;
        let stream = acceptor.accept(socket).await?;
        self.transport = Transport::Tls(Box::new(stream.into()));
        Ok(())
    }

    /// Goes over to TLS as the client side; `name` is the server's, as its certificate must have it. What has arrived
    /// in `inbox` already was said in clear, by anybody: it is never taken for what comes through TLS.
    ///
    /// # Errors
    /// Whatever TLS does not allow, an unknown certificate among it; the stream can't be used afterwards.
    pub async fn connect_tls(
        &mut self,
        connector: &tls::Connector,
        name: tls::ServerName<'static>,
        inbox: &mut Inbox,
    ) -> io::Result<()> {
        let socket = self.take_socket(inbox)?;
        let stream = connector.current().connect(name, socket).await?;
        self.transport = Transport::Tls(Box::new(stream.into()));
        Ok(())
    }

    /// The version of TLS that is spoken.
    pub fn tls_version(&self) -> Option<&'static str> {
        let stream = match &self.transport {
            Transport::Tls(stream) => stream,
            Transport::Compressed(stream) => return stream.tls_version(),
            Transport::Plain(_) | Transport::Lost => return None,
        };
        let (_, state) = stream.get_ref();
        Some(match state.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLSv1.2",
        })
    }

    /// Goes over to the compressed protocol, towards `side`. What has arrived in `inbox` already is compressed.
    pub fn compress(&mut self, codec: &Rc<Codec>, side: Side, method: Method, inbox: &mut Inbox) {
        let below = Self {
            transport: std::mem::replace(&mut self.transport, Transport::Lost),
        };
        let compressed = Compressed::new(below, codec, side, method, inbox);
        self.transport = Transport::Compressed(Box::new(compressed));
    }

    pub fn compression(&self) -> Option<Algorithm> {
        match &self.transport {
            Transport::Compressed(stream) => Some(stream.algorithm()),
            Transport::Plain(_) | Transport::Tls(_) | Transport::Lost => None,
        }
    }

    /// Says that nothing is to be answered: what is written before the client's next command answers that.
    pub fn rest(&mut self) {
        if let Transport::Compressed(stream) = &mut self.transport {
            stream.rest();
        }
    }

    /// Whether part of a compressed packet has arrived, of which nothing can be read yet.
    pub fn is_midway(&self) -> bool {
        match &self.transport {
            Transport::Compressed(stream) => stream.is_midway(),
            Transport::Plain(_) | Transport::Tls(_) | Transport::Lost => false,
        }
    }

    /// Says that a result is complete and another one of the same reply follows.
    pub fn end_result(&mut self) {
        if let Transport::Compressed(stream) = &mut self.transport {
            stream.end_result();
        }
    }

    /// Takes the socket out, with the bytes that were read ahead put back.
    fn take_socket(&mut self, inbox: &mut Inbox) -> io::Result<Socket> {
        match std::mem::replace(&mut self.transport, Transport::Lost) {
            Transport::Plain(mut socket) => {
                socket.push_back(inbox.bytes());
                inbox.consume(inbox.len());
                Ok(socket)
            }
            Transport::Tls(_) | Transport::Compressed(_) | Transport::Lost => {
                Err(io::ErrorKind::NotConnected.into())
            }
        }
    }

    /// Reads what has arrived into `target`.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(target);
        let read = match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Transport::Compressed(stream) => return stream.poll_read(cx, target),
            Transport::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    /// Reads what the peer sends ahead of its turn, at most `limit` bytes and a buffer. Ready when it has closed.
    ///
    /// Of the compressed protocol it takes the packets as they are: they are numbered by turns.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>, inbox: &mut Inbox, limit: usize) -> Poll<()> {
        let (stream, inbox) = match &mut self.transport {
            Transport::Compressed(stream) => stream.below(),
            Transport::Plain(_) | Transport::Tls(_) | Transport::Lost => (self, inbox),
        };
        while inbox.len() < limit {
            match inbox.poll_fill(cx, stream, 1) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_both(bytes, &[]).await
    }

    /// Writes `head` and then `tail`, in one system call where the socket takes both.
    pub async fn write_both(&mut self, head: &[u8], tail: &[u8]) -> io::Result<()> {
        if let Transport::Compressed(stream) = &mut self.transport {
            return stream.write_both(head, tail).await;
        }
        let total = head.len() + tail.len();
        let mut done = 0;
        while done < total {
            let written = poll_fn(|cx| {
                if done >= head.len() {
                    self.poll_write(cx, &[IoSlice::new(&tail[done - head.len()..])])
                } else if tail.is_empty() {
                    self.poll_write(cx, &[IoSlice::new(&head[done..])])
                } else {
                    self.poll_write(cx, &[IoSlice::new(&head[done..]), IoSlice::new(tail)])
                }
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += written;
        }
        match &self.transport {
            Transport::Tls(_) => poll_fn(|cx| self.poll_flush(cx)).await,
            Transport::Plain(_) | Transport::Compressed(_) | Transport::Lost => Ok(()),
        }
    }

    /// TLS keeps records that the socket did not take at once.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Plain(_) | Transport::Compressed(_) | Transport::Lost => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (&mut self.transport, slices) {
            (Transport::Plain(socket), [only]) => Pin::new(socket).poll_write(cx, only),
            (Transport::Plain(socket), _) => Pin::new(socket).poll_write_vectored(cx, slices),
            (Transport::Tls(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            // Its bytes go out by its own methods, packed.
            (Transport::Compressed(_) | Transport::Lost, _) => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }

    /// Writes what the socket takes at once; for a goodbye that nobody waits for.
    pub fn write_if_ready(&mut self, bytes: &[u8]) {
        if let Transport::Compressed(stream) = &mut self.transport {
            return stream.write_if_ready(bytes);
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_write(&mut cx, &[IoSlice::new(bytes)]);
        let _ = self.poll_flush(&mut cx);
    }

    /// Whether the peer of an idle connection has closed it or spoken out of turn.
    ///
    /// Costs a system call only when the event loop has seen something on the socket. What TLS has to say in between,
    /// session tickets for instance, is no disturbance.
    pub fn is_disturbed(&mut self) -> bool {
        if let Transport::Compressed(stream) = &mut self.transport {
            return stream.is_disturbed();
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.poll_read(&mut cx, &mut [0]).is_ready()
    }
}

/// Reads from `stream` into `inbox` until at least `wanted` bytes are there.
///
/// # Errors
/// `UnexpectedEof` when the peer closes first.
pub async fn fill(stream: &mut Stream, inbox: &mut Inbox, wanted: usize) -> io::Result<()> {
    while inbox.len() < wanted {
        fill_towards(stream, inbox, wanted).await?;
    }
    Ok(())
}

/// Reads once of what is missing of `wanted` bytes.
///
/// # Errors
/// `UnexpectedEof` when the peer has closed.
pub async fn fill_towards(stream: &mut Stream, inbox: &mut Inbox, wanted: usize) -> io::Result<()> {
    // Room grows with what has really arrived: a peer that only declares a large packet gets no memory.
    let missing = wanted.saturating_sub(inbox.len()).min(inbox.len().max(4096));
    let read = poll_fn(|cx| inbox.poll_fill(cx, stream, missing)).await?;
    match read {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads once, whatever arrives.
///
/// # Errors
/// `UnexpectedEof` when the peer has closed.
pub async fn fill_some(stream: &mut Stream, inbox: &mut Inbox) -> io::Result<()> {
    let wanted = inbox.len() + 1;
    fill(stream, inbox, wanted).await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::config::{ServerTls, ServerTlsMode, TlsVersion};

    #[tokio::test]
    async fn what_a_server_said_in_clear_is_not_taken_for_what_comes_through_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("its address");
        let mut stream = Stream::connect(&address.into()).await.expect("connected");
        let (mut server, _) = listener.accept().await.expect("accepted");
        server
            .write_all(b"injected behind the greeting")
            .await
            .expect("sent");
        let mut inbox = Inbox::new(Rc::default());
        fill_some(&mut stream, &mut inbox).await.expect("read ahead");
        let connector = tls::Connector::new(&ServerTls {
            mode: ServerTlsMode::Required,
            ca: None,
            certificate: None,
            key: None,
            min_version: TlsVersion::V1_2,
        });
        let connector = connector.expect("no files");
        let name = tls::ServerName::from(address.ip());
        let going = stream.connect_tls(&connector, name, &mut inbox);
        let gone_over = tokio::time::timeout(std::time::Duration::from_secs(10), going).await;
        assert!(matches!(gone_over, Ok(Err(_))), "it is no TLS");
        assert!(inbox.is_empty());
    }
}
