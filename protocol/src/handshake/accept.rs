//! The handshake as a server leads it with a client. The mirror of [`super::connect`].
//!
//! ```text
//! Accept --greeting--> client --response--> Answer::StartTls(Accept)   → TLS, then response again
//!                                      \--> Answer::Login(Login)       → verify, with a Dialogue if need be
//! ```
//!
//! Checking the proof and the final OK or ERR are the caller's.

use crate::auth::native::{self, NONCE_LEN};
use crate::auth::sha2;
use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::frame;
use crate::handshake::auth_switch::AuthSwitchRequest;
use crate::handshake::greeting::Greeting;
use crate::handshake::response::{HandshakeResponse, is_ssl_request};

#[derive(Debug, Copy, Clone)]
pub struct AcceptOptions<'a> {
    pub version: &'a [u8],
    pub connection_id: u32,
    pub nonce: [u8; NONCE_LEN],
    /// What is offered. Bit 0 clear announces MariaDB's extended half.
    pub capabilities: Capabilities,
    pub charset: u8,
    /// The plugin that clients are to answer for.
    pub plugin: &'a str,
}

/// Waiting for the client's answer to the greeting.
#[derive(Debug)]
pub struct Accept<'a> {
    options: AcceptOptions<'a>,
    tls: bool,
}

/// What came back on the greeting.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Go over to TLS; the answer proper comes through it.
    StartTls(Accept<'a>),
    Login(Login),
}

/// Who the client says it is. Not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub user: Vec<u8>,
    pub schema: Option<Vec<u8>>,
    /// What both sides can do.
    pub capabilities: Capabilities,
    pub charset: u8,
    pub max_packet: u32,
    /// Pairs of length-encoded strings.
    pub attributes: Vec<u8>,
    /// The plugin that the proof is for. A client without plugins has only the native one.
    pub plugin: Vec<u8>,
    pub proof: Vec<u8>,
    pub zstd_level: u8,
    pub dialogue: Dialogue,
}

impl<'a> Accept<'a> {
    pub fn new(options: AcceptOptions<'a>) -> Self {
        Self { options, tls: false }
    }

    /// Appends the greeting, a complete packet.
    pub fn greeting(&self, out: &mut Vec<u8>) {
        let start = frame::begin(out);
        Greeting {
            version: self.options.version,
            connection_id: self.options.connection_id,
            nonce: self.options.nonce,
            capabilities: self.options.capabilities,
            charset: self.options.charset,
            status: Status::AUTOCOMMIT,
            plugin: self.options.plugin.as_bytes(),
        }
        .encode(out);
        frame::end(out, start, 0);
    }

    /// Reads the answer to the greeting, packet number `seq`.
    pub fn response(self, seq: u8, payload: &[u8]) -> Result<Answer<'a>, DecodeError> {
        // The greeting has 0, a request for TLS 1.
        let expected = 1 + u8::from(self.tls);
        if seq != expected {
            return Err(DecodeError::Sequence { expected, got: seq });
        }
        if is_ssl_request(payload) {
            if self.tls || !self.options.capabilities.contains(Capabilities::SSL) {
                return Err(DecodeError::Unexpected {
                    expected: "answer without a request for TLS",
                    header: payload[0],
                });
            }
            return Ok(Answer::StartTls(Self { tls: true, ..self }));
        }
        let response = HandshakeResponse::decode(payload)?;
        let mut capabilities = response.capabilities & self.options.capabilities;
        // A client may set the flag and go on in clear: what counts is what happened.
        capabilities.set(Capabilities::SSL, self.tls);
        Ok(Answer::Login(Login {
            user: response.user.to_vec(),
            schema: response.schema.map(<[u8]>::to_vec),
            capabilities,
            charset: response.charset,
            max_packet: response.max_packet,
            attributes: response.attributes.to_vec(),
            plugin: response.plugin.unwrap_or(native::PLUGIN.as_bytes()).to_vec(),
            proof: response.proof.to_vec(),
            zstd_level: response.zstd_level,
            dialogue: Dialogue {
                seq: seq.wrapping_add(1),
            },
        }))
    }
}

/// Questions and answers between the client's login, or its `COM_CHANGE_USER`, and the final OK or ERR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialogue {
    /// The number of the next packet to the client.
    pub seq: u8,
}

impl Dialogue {
    /// Appends the request to prove the password by `plugin`, a complete packet.
    pub fn switch(&mut self, plugin: &str, nonce: &[u8], out: &mut Vec<u8>) {
        let start = frame::begin(out);
        AuthSwitchRequest::encode(plugin, nonce, out);
        self.seq = frame::end(out, start, self.seq);
    }

    /// Appends a packet in the middle of an authentication.
    pub fn more_data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let start = frame::begin(out);
        out.push(sha2::MORE_DATA);
        out.extend_from_slice(data);
        self.seq = frame::end(out, start, self.seq);
    }

    /// Takes note of the client's answer, which carries the number `seq`.
    pub fn answered(&mut self, seq: u8) -> Result<(), DecodeError> {
        if seq != self.seq {
            return Err(DecodeError::Sequence {
                expected: self.seq,
                got: seq,
            });
        }
        self.seq = seq.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::response::put_ssl_request;

    const NONCE: [u8; NONCE_LEN] = *b"abcdefghijklmnopqrst";
    const CAPS: Capabilities = Capabilities::PROTOCOL_41
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::CONNECT_WITH_DB);

    fn accept(capabilities: Capabilities) -> Accept<'static> {
        Accept::new(AcceptOptions {
            version: b"5.5.5-10.11.14-MariaDB",
            connection_id: 1,
            nonce: NONCE,
            capabilities,
            charset: 45,
            plugin: native::PLUGIN,
        })
    }

    fn response(plugin: &[u8], more: Capabilities) -> Vec<u8> {
        let mut bytes = Vec::new();
        HandshakeResponse {
            capabilities: CAPS | Capabilities::COMPRESS | more,
            max_packet: 1 << 24,
            charset: 8,
            user: b"bob",
            proof: b"proof",
            schema: Some(b"shop"),
            plugin: Some(plugin),
            attributes: b"",
            zstd_level: 0,
        }
        .encode(&mut bytes);
        bytes
    }

    fn login(answer: Answer<'_>) -> Login {
        match answer {
            Answer::Login(login) => login,
            Answer::StartTls(_) => panic!("TLS"),
        }
    }

    #[test]
    fn the_answer_is_read() {
        let mut out = Vec::new();
        accept(CAPS).greeting(&mut out);
        let (header, payload) = frame::packet(&out).unwrap();
        assert_eq!(header.seq, 0);
        assert_eq!(Greeting::decode(payload).unwrap().nonce, NONCE);

        let bytes = response(b"mysql_native_password", Capabilities::SSL);
        let login = login(accept(CAPS | Capabilities::SSL).response(1, &bytes).unwrap());
        assert_eq!(login.user, b"bob");
        assert_eq!(login.schema.as_deref(), Some(&b"shop"[..]));
        assert_eq!(
            login.capabilities, CAPS,
            "what wasn't offered isn't negotiated, and a flag does not encrypt"
        );
        assert_eq!(login.plugin, b"mysql_native_password");
        assert_eq!(login.proof, b"proof");
        assert_eq!(login.dialogue.seq, 2);
    }

    #[test]
    fn questions_and_answers_are_numbered() {
        let bytes = response(b"caching_sha2_password", Capabilities::empty());
        let mut login = login(accept(CAPS).response(1, &bytes).unwrap());
        let mut out = Vec::new();
        login.dialogue.switch(native::PLUGIN, &NONCE, &mut out);
        let (header, payload) = frame::packet(&out).unwrap();
        assert_eq!(header.seq, 2);
        assert_eq!(AuthSwitchRequest::decode(payload).unwrap().nonce(), Ok(NONCE));
        assert!(login.dialogue.clone().answered(2).is_err());
        login.dialogue.answered(3).unwrap();
        out.clear();
        login.dialogue.more_data(&[sha2::FAST_OK], &mut out);
        assert_eq!(out, [2, 0, 0, 4, 1, 3]);
        assert_eq!(login.dialogue.seq, 5);
    }

    #[test]
    fn tls_is_asked_for_once_and_only_where_offered() {
        let mut request = Vec::new();
        put_ssl_request(CAPS | Capabilities::SSL, 1 << 24, 45, &mut request);
        assert!(accept(CAPS).response(1, &request).is_err(), "not offered");
        let Answer::StartTls(accept) = accept(CAPS | Capabilities::SSL).response(1, &request).unwrap() else {
            panic!("no TLS");
        };
        let bytes = response(b"x", Capabilities::SSL);
        let Answer::Login(login) = accept.response(2, &bytes).unwrap() else {
            panic!("TLS twice");
        };
        assert!(login.capabilities.contains(Capabilities::SSL));
        assert_eq!(login.dialogue.seq, 3);
        let again = Accept {
            tls: true,
            ..self::accept(CAPS | Capabilities::SSL)
        };
        assert!(again.response(2, &request).is_err(), "TLS in TLS");
    }
}
