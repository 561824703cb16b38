//! The handshake as a client goes through it with a server. The mirror of [`super::accept`].
//!
//! ```text
//! AwaitGreeting --greeting--> AwaitResult --OK--> Done
//!                               |  ^ \---ERR---> ConnectError::Refused
//!                               \--/ auth switch
//! ```

use std::fmt;

use crate::auth::native;
use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::frame;
use crate::handshake::auth_switch::{AUTH_SWITCH_HEADER, AuthSwitchRequest};
use crate::handshake::greeting::Greeting;
use crate::handshake::response::{HandshakeResponse, put_attribute};
use crate::packet::err::{ERR_HEADER, ErrPacket, ServerError};
use crate::packet::ok::{OK_HEADER, OkPacket};

/// The largest packet that we say we take, the most that servers allow.
const MAX_PACKET: u32 = 1 << 30;

#[derive(Copy, Clone)]
pub struct ConnectOptions<'a> {
    pub user: &'a [u8],
    pub password: &'a [u8],
    pub schema: Option<&'a [u8]>,
    /// What is wanted; what the handshake itself needs is added.
    pub capabilities: Capabilities,
    pub charset: u8,
    pub attributes: &'a [(&'a str, &'a str)],
}

/// Without the password, which must not get into logs.
impl fmt::Debug for ConnectOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("user", &String::from_utf8_lossy(self.user))
            .field("schema", &self.schema.map(String::from_utf8_lossy))
            .field("capabilities", &self.capabilities)
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
}

#[derive(Debug)]
pub struct Connect<'a> {
    options: ConnectOptions<'a>,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitGreeting,
    AwaitResult(ServerInfo),
    Over,
}

impl<'a> Connect<'a> {
    pub fn new(options: ConnectOptions<'a>) -> Self {
        Self {
            options,
            state: State::AwaitGreeting,
        }
    }

    /// Takes one packet of the server and appends the answer, a complete packet, to `out`.
    pub fn receive(&mut self, seq: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<Progress, ConnectError> {
        if payload.first() == Some(&ERR_HEADER) {
            self.state = State::Over;
            return Err(ConnectError::Refused(ErrPacket::decode(payload)?.to_owned()));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitGreeting => {
                let server = self.answer_greeting(seq, payload, out)?;
                self.state = State::AwaitResult(server);
                Ok(Progress::Continue)
            }
            State::AwaitResult(server) => self.result(server, seq, payload, out),
            State::Over => Err(DecodeError::Finished.into()),
        }
    }

    fn answer_greeting(
        &self,
        seq: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ServerInfo, ConnectError> {
        let greeting = Greeting::decode(payload)?;
        let capabilities = self.negotiate(greeting.capabilities);
        let proof = native::scramble(self.options.password, &greeting.nonce);
        let mut attributes = Vec::new();
        for (name, value) in self.options.attributes {
            put_attribute(&mut attributes, name, value);
        }
        let start = frame::begin(out);
        HandshakeResponse {
            capabilities,
            max_packet: MAX_PACKET,
            charset: self.options.charset,
            user: self.options.user,
            proof: &proof,
            schema: self.options.schema,
            // Said even if the server's default is another: it then asks us to switch, or finds
            // that the account uses this one anyway.
            plugin: Some(native::PLUGIN.as_bytes()),
            attributes: &attributes,
        }
        .encode(out);
        frame::end(out, start, seq.wrapping_add(1));
        Ok(ServerInfo {
            version: String::from_utf8_lossy(greeting.version).into_owned(),
            connection_id: greeting.connection_id,
            capabilities,
            status: greeting.status,
            charset: self.options.charset,
            nonce: greeting.nonce,
        })
    }

    fn negotiate(&self, offered: Capabilities) -> Capabilities {
        let needed = Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            // Whether bit 0 is set is the server's choice, see `Capabilities`.
            | Capabilities::LONG_PASSWORD;
        let mut wanted = self.options.capabilities | needed;
        wanted.set(Capabilities::CONNECT_WITH_DB, self.options.schema.is_some());
        wanted.set(Capabilities::CONNECT_ATTRS, !self.options.attributes.is_empty());
        wanted & offered
    }

    fn result(
        &mut self,
        mut server: ServerInfo,
        seq: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ConnectError> {
        match payload.first() {
            Some(&OK_HEADER) => {
                server.status = OkPacket::decode(payload, server.capabilities)?.status;
                Ok(Progress::Done(server))
            }
            Some(&AUTH_SWITCH_HEADER) => {
                let request = AuthSwitchRequest::decode(payload)?;
                if request.plugin != native::PLUGIN.as_bytes() {
                    let plugin = String::from_utf8_lossy(request.plugin).into_owned();
                    return Err(ConnectError::UnsupportedPlugin(plugin));
                }
                server.nonce = request.nonce()?;
                let proof = native::scramble(self.options.password, &server.nonce);
                let mut next = seq.wrapping_add(1);
                frame::write_packet(out, &mut next, &proof);
                self.state = State::AwaitResult(server);
                Ok(Progress::Continue)
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
}

#[cfg(test)]
mod tests;
