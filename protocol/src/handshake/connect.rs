//! The handshake as a client goes through it with a server. The mirror of [`super::accept`].
//!
//! ```text
//! AwaitGreeting --greeting--> [AwaitTls --upgraded-->] AwaitResult --OK--> Done
//!                                                       |  ^ \---ERR---> ConnectError::Refused
//!                                                       \--/ auth switch, more data [--> AwaitProof --proved-->]
//! ```

use std::fmt;

use crate::auth::{CLEAR_PLUGIN, ed25519, native, parsec, rsa, sha2, sha256};
use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::frame;
use crate::handshake::auth_switch::{AUTH_SWITCH_HEADER, AuthSwitchRequest};
use crate::handshake::greeting::Greeting;
use crate::handshake::response::{HandshakeResponse, put_attribute, put_ssl_request};
use crate::packet::err::{ERR_HEADER, ErrPacket, ServerError};
use crate::packet::ok::{OK_HEADER, OkPacket};

/// The largest packet that we say we take, the most that servers allow.
const MAX_PACKET: u32 = 1 << 30;

/// What proves the account to a server.
#[derive(Copy, Clone)]
pub enum Credential<'a> {
    Password(&'a [u8]),
    /// `SHA1(password)`, which is all that `mysql_native_password` needs.
    NativeSecret(&'a [u8; 20]),
}

/// How much the connection is to be protected.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub enum Protection {
    /// Without TLS, whatever the server offers.
    #[default]
    Plain,
    /// TLS if the server offers it.
    Preferred,
    /// TLS, or no connection.
    Required,
    /// Nobody else can read it anyhow: a Unix socket.
    Local,
}

#[derive(Copy, Clone)]
pub struct ConnectOptions<'a> {
    pub user: &'a [u8],
    pub credential: Credential<'a>,
    pub schema: Option<&'a [u8]>,
    /// What is wanted; what the handshake itself needs is added.
    pub capabilities: Capabilities,
    pub charset: u8,
    pub attributes: &'a [(&'a str, &'a str)],
    pub protection: Protection,
    /// Of [`Capabilities::ZSTD_COMPRESSION`], 1 to 22.
    pub zstd_level: u8,
    /// This side's share of what PARSEC signs; another for each connection.
    pub nonce: [u8; parsec::NONCE_LEN],
}

/// Without the password, which must not get into logs.
impl fmt::Debug for ConnectOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("user", &String::from_utf8_lossy(self.user))
            .field("schema", &self.schema.map(String::from_utf8_lossy))
            .field("capabilities", &self.capabilities)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// What is known of a server once it has let us in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    pub version: String,
    pub connection_id: u32,
    /// What both sides can do.
    pub capabilities: Capabilities,
    pub status: Status,
    pub charset: u8,
    /// Of the last proof; COM_CHANGE_USER uses it again.
    pub nonce: [u8; native::NONCE_LEN],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Send what was written, then wait for the next packet.
    Continue,
    /// Send what was written, go over to TLS, then call [`Connect::upgraded`].
    StartTls,
    /// The proof takes up to a second: have it made where nobody waits for it, then call [`Connect::proved`].
    Slow(parsec::Task),
    Done(ServerInfo),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The server's own words: a wrong password, an unknown schema, too many connections.
    #[error("the server refused the connection: {0}")]
    Refused(ServerError),
    #[error("the handshake broke the protocol: {0}")]
    Protocol(#[from] DecodeError),
    #[error("the server wants the authentication plugin {0}, which isn't supported")]
    UnsupportedPlugin(String),
    #[error("the server wants {0}, for which the password itself must be known and not only its hash")]
    PasswordNeeded(&'static str),
    #[error("the server wants the password in clear, and the connection is not protected by TLS")]
    Unprotected,
    #[error("the server offers no TLS")]
    NoTls,
    #[error("the server's RSA key: {0}")]
    Key(#[from] rsa::Error),
}

#[derive(Debug)]
pub struct Connect<'a> {
    options: ConnectOptions<'a>,
    state: State,
    /// The server's, for the plugins that have a long one.
    long_nonce: [u8; ed25519::NONCE_LEN],
}

#[derive(Debug)]
enum State {
    AwaitGreeting,
    /// The number of the next packet, and the plugin that the greeting named.
    AwaitTls(ServerInfo, u8, Plugin),
    AwaitResult(ServerInfo, Plugin),
    /// The number of the packet that it goes into.
    AwaitProof(ServerInfo, Plugin, u8),
    Over,
}

/// The plugins that this side speaks.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Plugin {
    Native,
    Sha2,
    Sha256,
    Clear,
    Ed25519,
    Parsec,
}

impl Plugin {
    fn by_name(name: &[u8]) -> Option<Self> {
        let all = [
            Self::Native,
            Self::Sha2,
            Self::Sha256,
            Self::Clear,
            Self::Ed25519,
            Self::Parsec,
        ];
        all.into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Native => native::PLUGIN,
            Self::Sha2 => sha2::PLUGIN,
            Self::Sha256 => sha256::PLUGIN,
            Self::Clear => CLEAR_PLUGIN,
            Self::Ed25519 => ed25519::PLUGIN,
            Self::Parsec => parsec::PLUGIN,
        }
    }
}

impl<'a> Connect<'a> {
    pub fn new(options: ConnectOptions<'a>) -> Self {
        Self {
            options,
            state: State::AwaitGreeting,
            long_nonce: [0; ed25519::NONCE_LEN],
        }
    }

    /// Takes one packet of the server and appends the answer, a complete packet, to `out`.
    pub fn receive(&mut self, seq: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<Progress, ConnectError> {
        if payload.first() == Some(&ERR_HEADER) {
            self.state = State::Over;
            return Err(ConnectError::Refused(ErrPacket::decode(payload)?.to_owned()));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitGreeting => self.answer_greeting(seq.wrapping_add(1), payload, out),
            State::AwaitResult(server, plugin) => self.result(server, plugin, seq, payload, out),
            State::AwaitTls(..) | State::AwaitProof(..) | State::Over => Err(DecodeError::Finished.into()),
        }
    }

    /// The connection is under TLS: appends the answer to the greeting.
    pub fn upgraded(&mut self, out: &mut Vec<u8>) -> Result<Progress, ConnectError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitTls(server, seq, plugin) => self.introduce(server, seq, plugin, out),
            _ => Err(DecodeError::Finished.into()),
        }
    }

    /// Appends the slow proof; `None` where none could be made.
    pub fn proved(&mut self, proof: Option<Vec<u8>>, out: &mut Vec<u8>) -> Result<Progress, ConnectError> {
        let State::AwaitProof(server, plugin, mut seq) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(DecodeError::Finished.into());
        };
        let proof = proof.ok_or(ConnectError::Key(rsa::Error::Crypt))?;
        frame::write_packet(out, &mut seq, &proof);
        self.state = State::AwaitResult(server, plugin);
        Ok(Progress::Continue)
    }

    fn answer_greeting(
        &mut self,
        seq: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ConnectError> {
        let greeting = Greeting::decode(payload)?;
        let tls = match self.options.protection {
            Protection::Plain | Protection::Local => false,
            Protection::Preferred => greeting.capabilities.contains(Capabilities::SSL),
            Protection::Required if greeting.capabilities.contains(Capabilities::SSL) => true,
            Protection::Required => return Err(ConnectError::NoTls),
        };
        let server = ServerInfo {
            version: String::from_utf8_lossy(greeting.version).into_owned(),
            connection_id: greeting.connection_id,
            capabilities: self.negotiate(greeting.capabilities, tls),
            status: greeting.status,
            charset: self.options.charset,
            nonce: greeting.nonce,
        };
        // With another plugin named, the server will ask us to switch, or find that the account uses this one.
        let plugin = match Plugin::by_name(greeting.plugin) {
            Some(Plugin::Sha2) if matches!(self.options.credential, Credential::Password(_)) => Plugin::Sha2,
            _ => Plugin::Native,
        };
        if !tls {
            return self.introduce(server, seq, plugin, out);
        }
        let start = frame::begin(out);
        put_ssl_request(server.capabilities, MAX_PACKET, self.options.charset, out);
        let seq = frame::end(out, start, seq);
        self.state = State::AwaitTls(server, seq, plugin);
        Ok(Progress::StartTls)
    }

    fn introduce(
        &mut self,
        server: ServerInfo,
        seq: u8,
        plugin: Plugin,
        out: &mut Vec<u8>,
    ) -> Result<Progress, ConnectError> {
        let proof = self.proof(plugin, &server)?;
        let mut attributes = Vec::new();
        for (name, value) in self.options.attributes {
            put_attribute(&mut attributes, name, value);
        }
        let start = frame::begin(out);
        HandshakeResponse {
            capabilities: server.capabilities,
            max_packet: MAX_PACKET,
            charset: self.options.charset,
            user: self.options.user,
            proof: &proof,
            schema: self.options.schema,
            plugin: Some(plugin.name().as_bytes()),
            attributes: &attributes,
            zstd_level: self.options.zstd_level,
        }
        .encode(out);
        frame::end(out, start, seq);
        self.state = State::AwaitResult(server, plugin);
        Ok(Progress::Continue)
    }

    fn negotiate(&self, offered: Capabilities, tls: bool) -> Capabilities {
        let needed = Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            // Whether bit 0 is set is the server's choice, see `Capabilities`.
            | Capabilities::LONG_PASSWORD;
        let mut wanted = self.options.capabilities | needed;
        wanted.set(Capabilities::CONNECT_WITH_DB, self.options.schema.is_some());
        wanted.set(Capabilities::CONNECT_ATTRS, !self.options.attributes.is_empty());
        wanted.set(Capabilities::SSL, tls);
        wanted & offered
    }

    fn proof(&self, plugin: Plugin, server: &ServerInfo) -> Result<Vec<u8>, ConnectError> {
        match (plugin, self.options.credential) {
            (Plugin::Native, Credential::Password(password)) => Ok(native::scramble(password, &server.nonce)),
            (Plugin::Native, Credential::NativeSecret(secret)) => {
                Ok(native::scramble_secret(secret, &server.nonce))
            }
            (Plugin::Sha2, Credential::Password(password)) => Ok(sha2::scramble(password, &server.nonce)),
            (Plugin::Clear, Credential::Password(password)) if self.is_protected(server) => {
                Ok(nul_terminated(password))
            }
            // Through a Unix socket the server decrypts what it gets (measured on MySQL 9.7).
            (Plugin::Sha256, Credential::Password(password))
                if password.is_empty() || server.capabilities.contains(Capabilities::SSL) =>
            {
                Ok(nul_terminated(password))
            }
            (Plugin::Sha256, Credential::Password(_)) => Ok(vec![sha256::WANT_KEY]),
            (Plugin::Clear, Credential::Password(_)) => Err(ConnectError::Unprotected),
            (Plugin::Ed25519, Credential::Password(password)) => {
                Ok(ed25519::sign(password, &self.long_nonce).to_vec())
            }
            // Asks for the salt.
            (Plugin::Parsec, Credential::Password(_)) => Ok(Vec::new()),
            (plugin, Credential::NativeSecret(_)) => Err(ConnectError::PasswordNeeded(plugin.name())),
        }
    }

    fn is_protected(&self, server: &ServerInfo) -> bool {
        server.capabilities.contains(Capabilities::SSL) || self.options.protection == Protection::Local
    }

    fn result(
        &mut self,
        mut server: ServerInfo,
        plugin: Plugin,
        seq: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ConnectError> {
        let mut next = seq.wrapping_add(1);
        match payload.first() {
            Some(&OK_HEADER) => {
                server.status = OkPacket::decode(payload, server.capabilities)?.status;
                Ok(Progress::Done(server))
            }
            Some(&AUTH_SWITCH_HEADER) => {
                let request = AuthSwitchRequest::decode(payload)?;
                let Some(plugin) = Plugin::by_name(request.plugin) else {
                    let name = String::from_utf8_lossy(request.plugin).into_owned();
                    return Err(ConnectError::UnsupportedPlugin(name));
                };
                match plugin {
                    Plugin::Native | Plugin::Sha2 | Plugin::Sha256 => server.nonce = request.nonce()?,
                    Plugin::Ed25519 | Plugin::Parsec => self.long_nonce = request.long_nonce()?,
                    Plugin::Clear => {}
                }
                let proof = self.proof(plugin, &server)?;
                frame::write_packet(out, &mut next, &proof);
                self.state = State::AwaitResult(server, plugin);
                Ok(Progress::Continue)
            }
            Some(&sha2::MORE_DATA) if plugin == Plugin::Sha2 => {
                if let Some(answer) = self.more_data(&server, &payload[1..])? {
                    frame::write_packet(out, &mut next, &answer);
                }
                self.state = State::AwaitResult(server, plugin);
                Ok(Progress::Continue)
            }
            Some(&sha2::MORE_DATA) if plugin == Plugin::Sha256 => {
                let Credential::Password(password) = self.options.credential else {
                    return Err(ConnectError::PasswordNeeded(sha256::PLUGIN));
                };
                let answer = encrypted(password, &payload[1..], &server)?;
                frame::write_packet(out, &mut next, &answer);
                self.state = State::AwaitResult(server, plugin);
                Ok(Progress::Continue)
            }
            Some(_) if plugin == Plugin::Parsec => {
                // As it is, from MariaDB; in an envelope, as the protocol has it for packets in the middle.
                let salt = payload.strip_prefix(&[sha2::MORE_DATA]).unwrap_or(payload);
                let task = self.signature(parsec::Salt::decode(salt)?)?;
                self.state = State::AwaitProof(server, plugin, next);
                Ok(Progress::Slow(task))
            }
            Some(&header) => Err(DecodeError::Unexpected {
                expected: "OK, ERR or auth switch",
                header,
            }
            .into()),
            None => Err(DecodeError::Truncated {
                field: "result of the login",
            }
            .into()),
        }
    }

    fn signature(&self, salt: parsec::Salt<'_>) -> Result<parsec::Task, ConnectError> {
        let Credential::Password(password) = self.options.credential else {
            return Err(ConnectError::PasswordNeeded(parsec::PLUGIN));
        };
        Ok(parsec::Task::new(
            password,
            salt,
            self.long_nonce,
            self.options.nonce,
        ))
    }

    /// The answer in the middle of `caching_sha2_password`, if there is one to give.
    fn more_data(&self, server: &ServerInfo, data: &[u8]) -> Result<Option<Vec<u8>>, ConnectError> {
        let Credential::Password(password) = self.options.credential else {
            return Err(ConnectError::PasswordNeeded(sha2::PLUGIN));
        };
        match data {
            [sha2::FAST_OK] => Ok(None),
            [sha2::WANT_PASSWORD] if self.is_protected(server) => Ok(Some(nul_terminated(password))),
            [sha2::WANT_PASSWORD] => Ok(Some(vec![sha2::WANT_KEY])),
            pem => Ok(Some(encrypted(password, pem, server)?)),
        }
    }
}

/// The password under the server's RSA key.
fn encrypted(password: &[u8], pem: &[u8], server: &ServerInfo) -> Result<Vec<u8>, ConnectError> {
    let pem = String::from_utf8_lossy(pem);
    let masked = sha2::mask(&nul_terminated(password), &server.nonce);
    Ok(rsa::encrypt(&pem, &masked)?)
}

fn nul_terminated(password: &[u8]) -> Vec<u8> {
    [password, &[0]].concat()
}

#[cfg(test)]
mod tests;
