//! One connection, with as little work for the machine as a client can be.

use std::io;
use std::net::SocketAddr;

use tandem_protocol::auth::parsec;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{self, HEADER_LEN, Header};
use tandem_protocol::handshake::connect::{Connect, ConnectOptions, Credential, Progress, Protection};
use tandem_protocol::response::{Expect, Step, Walker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
/// Room for a reply; a small result, and a good piece of a large one.
const ROOM: usize = 64 * 1024;
/// Where the id stands in an OK to a prepare.
const STATEMENT_ID: std::ops::Range<usize> = HEADER_LEN + 1..HEADER_LEN + 5;
const TYPE_LONGLONG: u8 = 8;

pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// How to get in.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) schema: String,
    /// Sessions are resumed where the other side lets them.
    pub(super) tls: Option<TlsConnector>,
}

pub(super) struct Client {
    wire: Box<dyn Wire>,
    capabilities: Capabilities,
    buffer: Vec<u8>,
    /// Bytes in the buffer from its start.
    filled: usize,
    out: Vec<u8>,
    /// Bytes to read at most before it looks whether it may go on.
    portion: usize,
}

impl Door {
    pub(super) async fn enter(&self) -> io::Result<Client> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut client = Client {
            wire: Box::new(tokio::io::empty()),
            capabilities: Capabilities::empty(),
            buffer: vec![0; 1024],
            filled: 0,
            out: Vec::new(),
            portion: ROOM,
        };
        client.log_in(self, socket).await?;
        Ok(client)
    }

    fn options(&self) -> ConnectOptions<'_> {
        ConnectOptions {
            user: self.user.as_bytes(),
            credential: Credential::Password(self.password.as_bytes()),
            schema: Some(self.schema.as_bytes()),
            capabilities: Capabilities::DEPRECATE_EOF
                | Capabilities::TRANSACTIONS
                | Capabilities::LONG_PASSWORD,
            charset: 45,
            attributes: &[("_client_name", "load")],
            protection: match self.tls {
                Some(_) => Protection::Required,
                None => Protection::Plain,
            },
            zstd_level: 0,
            nonce: [7; parsec::NONCE_LEN],
        }
    }
}

impl Client {
    async fn log_in(&mut self, door: &Door, socket: TcpStream) -> io::Result<()> {
        let mut login = Connect::new(door.options());
        let mut plain = Some(socket);
        loop {
            let packet = match &mut plain {
                Some(socket) => packet(socket).await?,
                None => packet(&mut self.wire).await?,
            };
            self.out.clear();
            let progress = login
                .receive(packet.0, &packet.1, &mut self.out)
                .map_err(io::Error::other)?;
            match &mut plain {
                Some(socket) => socket.write_all(&self.out).await?,
                None => self.wire.write_all(&self.out).await?,
            }
            match progress {
                Progress::Continue => {}
                Progress::Done(info) => {
                    self.capabilities = info.capabilities;
                    break;
                }
                Progress::StartTls => {
                    let (Some(connector), Some(socket)) = (&door.tls, plain.take()) else {
                        return Err(io::Error::other("TLS that was not asked for"));
                    };
                    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                    self.wire = Box::new(connector.connect(name, socket).await?);
                    self.out.clear();
                    login.upgraded(&mut self.out).map_err(io::Error::other)?;
                    self.wire.write_all(&self.out).await?;
                }
                Progress::Slow(_) => return Err(io::Error::other("a method that is slow by itself")),
            }
        }
        if let Some(socket) = plain {
            self.wire = Box::new(socket);
        }
        Ok(())
    }

    pub(super) fn read_in_portions_of(&mut self, bytes: usize) {
        self.portion = bytes;
    }

    /// Says goodbye as PHP does at the end of a page.
    pub(super) async fn quit(mut self) {
        self.begin(COM_QUIT, &[]);
        let _ = self.wire.write_all(&self.out).await;
    }

    /// One statement as text, and its whole reply; `breathe` is called for each portion of it.
    pub(super) async fn query(&mut self, text: &[u8], breathe: &impl AsyncFn()) -> io::Result<()> {
        self.begin(COM_QUERY, text);
        self.ask(Expect::Query, breathe).await
    }

    /// Prepares a statement; its number.
    pub(super) async fn prepare(&mut self, text: &[u8]) -> io::Result<[u8; 4]> {
        self.begin(COM_STMT_PREPARE, text);
        self.ask(Expect::Prepare, &async || {}).await?;
        let mut id = [0; 4];
        id.copy_from_slice(&self.buffer[STATEMENT_ID]);
        Ok(id)
    }

    /// One execution, with a number as its only parameter.
    pub(super) async fn execute(&mut self, statement: [u8; 4], parameter: u64) -> io::Result<()> {
        let mut body = [0; 21];
        body[..4].copy_from_slice(&statement);
        // No cursor, one iteration, no NULL, the types follow.
        body[5] = 1;
        body[10] = 1;
        body[11] = TYPE_LONGLONG;
        body[13..].copy_from_slice(&parameter.to_le_bytes());
        self.begin(COM_STMT_EXECUTE, &body);
        self.ask(Expect::Execute, &async || {}).await
    }

    fn begin(&mut self, code: u8, argument: &[u8]) {
        self.out.clear();
        let start = frame::begin(&mut self.out);
        self.out.push(code);
        self.out.extend_from_slice(argument);
        frame::end(&mut self.out, start, 0);
    }

    async fn ask(&mut self, expect: Expect, breathe: &impl AsyncFn()) -> io::Result<()> {
        self.wire.write_all(&self.out).await?;
        let mut walker = Walker::new(expect, self.capabilities);
        self.filled = 0;
        let mut at = 0;
        while !walker.is_done() {
            let mut missing = 1;
            while at < self.filled && !walker.is_done() {
                match walker
                    .step(&self.buffer[at..self.filled])
                    .map_err(io::Error::other)?
                {
                    Step::Pass(count) => at += count,
                    Step::Packet { len, kind } => {
                        if kind == tandem_protocol::response::Control::Err {
                            let text = String::from_utf8_lossy(&self.buffer[at + HEADER_LEN..at + len]);
                            return Err(io::Error::other(text.into_owned()));
                        }
                        at += len;
                    }
                    Step::Need(count) => {
                        missing = count;
                        break;
                    }
                }
            }
            if !walker.is_done() {
                self.more(&mut at, missing).await?;
                breathe().await;
            }
        }
        Ok(())
    }

    /// Reads on, with room for `missing` bytes behind `at`; what is before it is given up where there is none.
    async fn more(&mut self, at: &mut usize, missing: usize) -> io::Result<()> {
        if self.filled == self.buffer.len() || *at + missing > self.buffer.len() {
            self.buffer.copy_within(*at..self.filled, 0);
            self.filled -= *at;
            *at = 0;
            self.buffer.resize(self.buffer.len().max(missing).max(ROOM), 0);
        }
        let end = self.buffer.len().min(self.filled + self.portion);
        match self.wire.read(&mut self.buffer[self.filled..end]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

/// A packet of the login, by itself: nothing that follows it is taken.
async fn packet(wire: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER_LEN];
    wire.read_exact(&mut header).await?;
    let header = Header::peek(&header).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut payload = vec![0; header.len];
    wire.read_exact(&mut payload).await?;
    Ok((header.seq, payload))
}
