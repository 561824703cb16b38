//! A client made of bytes: for what no driver would send.

use std::net::SocketAddr;

use tandem::demo::pair::{APP, Account};
use tandem_protocol::auth::{native, rsa, sha2};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{self, HEADER_LEN, Header};
use tandem_protocol::handshake::AuthSwitchRequest;
use tandem_protocol::handshake::auth_switch::AUTH_SWITCH_HEADER;
use tandem_protocol::handshake::greeting::Greeting;
use tandem_protocol::handshake::response::HandshakeResponse;
use tandem_protocol::packet::err::ErrPacket;
use tandem_protocol::response::{Control, Expect, Step, Walker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::WITHIN;

/// What it negotiates if nothing more is asked for.
pub const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::LONG_PASSWORD);

/// A socket that speaks packets.
pub struct Raw {
    pub socket: TcpStream,
    /// What was negotiated, as far as it was asked for.
    pub capabilities: Capabilities,
    /// The number that the greeting gave it: what `KILL` takes.
    pub id: u32,
    /// What the greeting has proofs be made over.
    pub nonce: [u8; native::NONCE_LEN],
    /// The OK that ended the login.
    pub welcome: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Self {
            socket,
            capabilities: CAPABILITIES,
            id: 0,
            nonce: [0; native::NONCE_LEN],
            welcome: Vec::new(),
        }
    }

    /// Connects and logs in as the application's account.
    pub async fn log_in(address: SocketAddr, schema: &str) -> Self {
        Self::log_in_with(address, &APP, schema, CAPABILITIES).await
    }

    /// Connects and logs in as somebody, with the flags of its own choice.
    pub async fn log_in_with(
        address: SocketAddr,
        account: &Account,
        schema: &str,
        capabilities: Capabilities,
    ) -> Self {
        let mut raw = Self::connect(address).await;
        let login = raw.login_of(account, schema, capabilities).await;
        raw.send(&login).await;
        let (_, mut payload) = raw.packet().await.expect("an answer to the login");
        if payload == [sha2::MORE_DATA, sha2::FAST_OK] {
            (_, payload) = raw.packet().await.expect("what follows a right proof");
        }
        assert_eq!(payload[0], 0, "logged in: {}", String::from_utf8_lossy(&payload));
        raw.welcome = payload;
        raw
    }

    /// Reads the greeting; the login packet that answers it, complete.
    pub async fn login(&mut self, schema: &str) -> Vec<u8> {
        self.login_of(&APP, schema, CAPABILITIES).await
    }

    async fn login_of(&mut self, account: &Account, schema: &str, capabilities: Capabilities) -> Vec<u8> {
        let (_, payload) = self.packet().await.expect("a greeting");
        let greeting = Greeting::decode(&payload).expect("a greeting");
        self.capabilities = capabilities & greeting.capabilities;
        self.id = greeting.connection_id;
        self.nonce = greeting.nonce;
        let password = account.password.as_bytes();
        let proof = match greeting.plugin == sha2::PLUGIN.as_bytes() {
            _ if password.is_empty() => Vec::new(),
            true => sha2::scramble(password, &greeting.nonce),
            false => native::scramble(password, &greeting.nonce),
        };
        let mut out = Vec::new();
        let start = frame::begin(&mut out);
        HandshakeResponse {
            capabilities,
            max_packet: 1 << 30,
            charset: 45,
            user: account.user.as_bytes(),
            proof: &proof,
            schema: Some(schema.as_bytes()),
            plugin: Some(greeting.plugin),
            attributes: &[],
            zstd_level: 0,
        }
        .encode(&mut out);
        frame::end(&mut out, start, 1);
        out
    }

    /// Answers questions for the password until there are no more; all packets up to the OK, the error or the end.
    pub async fn prove(&mut self, password: &str) -> Vec<(u8, Vec<u8>)> {
        let password = password.as_bytes();
        let mut nonce = [0; native::NONCE_LEN];
        let mut packets = Vec::new();
        while let Some((seq, payload)) = self.packet().await {
            let answer = match payload[..] {
                [AUTH_SWITCH_HEADER, ..] => {
                    let request = AuthSwitchRequest::decode(&payload).expect("a switch");
                    nonce = request.nonce().expect("a nonce");
                    match request.plugin == sha2::PLUGIN.as_bytes() {
                        _ if password.is_empty() => Some(Vec::new()),
                        true => Some(sha2::scramble(password, &nonce)),
                        false => Some(native::scramble(password, &nonce)),
                    }
                }
                [sha2::MORE_DATA, sha2::WANT_PASSWORD] => Some(vec![sha2::WANT_KEY]),
                [sha2::MORE_DATA, b'-', ..] => {
                    let pem = std::str::from_utf8(&payload[1..]).expect("a key in PEM form");
                    let masked = sha2::mask(&[password, b"\0"].concat(), &nonce);
                    Some(rsa::encrypt(pem, &masked).expect("encrypted"))
                }
                _ => None,
            };
            let is_last = matches!(payload[0], 0 | 0xff);
            packets.push((seq, payload));
            if let Some(answer) = answer {
                let mut out = Vec::new();
                frame::write_packet(&mut out, &mut (seq + 1), &answer);
                self.send(&out).await;
            }
            if is_last {
                break;
            }
        }
        packets
    }

    /// Sends bytes as they are; whether anybody takes them is another matter.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Sends one command.
    pub async fn command(&mut self, code: u8, argument: &[u8]) {
        self.send(&command(code, argument)).await;
    }

    /// The next packet, with its number; `None` when the other side has closed.
    pub async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(WITHIN, self.read())
            .await
            .expect("an answer or an end, and no silence")
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header).await.ok()?;
        let header = Header::peek(&header)?;
        let mut payload = vec![0; header.len];
        self.socket.read_exact(&mut payload).await.ok()?;
        Some((header.seq, payload))
    }

    /// The code of the error packet that comes next; `None` for an end without one.
    pub async fn error(&mut self) -> Option<u16> {
        let (_, payload) = self.packet().await?;
        let error = ErrPacket::decode(&payload);
        Some(error.unwrap_or_else(|_| panic!("an error, not {payload:?}")).code)
    }

    /// Reads one whole reply, or up to the request for a file, packet by packet.
    pub async fn reply(&mut self, expect: Expect) -> Vec<(u8, Vec<u8>)> {
        let mut walker = Walker::new(expect, self.capabilities);
        let mut packets = Vec::new();
        let mut waits_for_file = false;
        while !walker.is_done() && !waits_for_file {
            let (seq, payload) = self.packet().await.expect("the rest of a reply");
            if packets.is_empty() {
                // Behind a long command, or a file: what it should be is the test's to say.
                walker = walker.beginning_at(seq);
            }
            let header = Header {
                len: payload.len(),
                seq,
            }
            .encode();
            let bytes = [&header, payload.as_slice()].concat();
            let mut at = 0;
            while at < bytes.len() {
                match walker.step(&bytes[at..]).expect("a reply") {
                    Step::Pass(count) => at += count,
                    Step::Packet { len, kind } => {
                        at += len;
                        waits_for_file = kind == Control::LocalInfile;
                    }
                    Step::Need(count) => panic!("{count} bytes of {bytes:?}"),
                }
            }
            packets.push((seq, payload));
        }
        packets
    }

    /// Sends one command and reads its reply.
    pub async fn ask(&mut self, code: u8, argument: &[u8], expect: Expect) -> Vec<(u8, Vec<u8>)> {
        self.command(code, argument).await;
        self.reply(expect).await
    }

    /// Reads until the other side closes.
    pub async fn drain(&mut self) {
        while self.packet().await.is_some() {}
    }

    /// Ends as the kernel ends a killed process's connection that has unread data: with a reset.
    pub fn abort(self) {
        self.socket.set_zero_linger().expect("an abrupt end");
    }

    /// Says that nothing more will come, and reads until the other side closes.
    pub async fn finish(mut self) {
        let _ = self.socket.shutdown().await;
        self.drain().await;
    }

    /// Sends a statement that is answered with an OK.
    pub async fn run(&mut self, statement: &str) {
        self.command(3, statement.as_bytes()).await;
        let (_, payload) = self.packet().await.expect("a reply");
        assert_eq!(
            payload[0],
            0,
            "{statement}: {}",
            String::from_utf8_lossy(&payload)
        );
    }

    /// Prepares a statement with one parameter and one column; its id.
    pub async fn prepare(&mut self, statement: &str) -> [u8; 4] {
        self.command(0x16, statement.as_bytes()).await;
        let (_, ok) = self.packet().await.expect("a reply");
        assert_eq!(ok[0], 0, "{statement}: {}", String::from_utf8_lossy(&ok));
        for _ in 0..4 {
            self.packet().await.expect("parameter, end, column, end");
        }
        [ok[1], ok[2], ok[3], ok[4]]
    }

    /// Sends a query and reads a reply with one column and one row.
    pub async fn value(&mut self, query: &str) -> String {
        self.command(3, query.as_bytes()).await;
        let (_, first) = self.packet().await.expect("a reply");
        assert_eq!(first, [1], "one column: {}", String::from_utf8_lossy(&first));
        for _ in 0..2 {
            self.packet().await.expect("a column and its end");
        }
        let (_, row) = self.packet().await.expect("a row");
        self.packet().await.expect("an end");
        String::from_utf8_lossy(&row[1..]).into_owned()
    }
}

/// One command as a packet.
pub fn command(code: u8, argument: &[u8]) -> Vec<u8> {
    let mut payload = vec![code];
    payload.extend_from_slice(argument);
    let mut out = Vec::new();
    frame::write_packet(&mut out, &mut 0, &payload);
    out
}
