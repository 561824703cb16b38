//! The handshake as a server leads it with a client. The mirror of [`super::connect`].
//!
//! ```text
//! Accept --greeting--> client --response--> Login { Proof::Native }   → verify
//!                                      \--> Login { Proof::Switch }   --request_switch--> client
//!                                                 client --switched--> Login { Proof::Native }
//! ```
//!
//! Checking the proof and the final OK or ERR are the caller's.

use crate::auth::native::{self, NONCE_LEN};
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
}

/// Waiting for the client's answer to the greeting.
#[derive(Debug)]
pub struct Accept<'a> {
    options: AcceptOptions<'a>,
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
    pub proof: Proof,
    /// The number of the next packet to the client.
    pub seq: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// For [`native::verify`], over the nonce of the greeting or of the switch.
    Native(Vec<u8>),
    /// The client answered for another plugin: ask again with [`Login::request_switch`].
    Switch,
}

impl<'a> Accept<'a> {
    pub fn new(options: AcceptOptions<'a>) -> Self {
        Self { options }
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
            plugin: native::PLUGIN.as_bytes(),
        }
        .encode(out);
        frame::end(out, start, 0);
    }

    /// Reads the answer to the greeting, packet number `seq`.
    pub fn response(self, seq: u8, payload: &[u8]) -> Result<Login, DecodeError> {
        if is_ssl_request(payload) {
            return Err(DecodeError::Unexpected {
                expected: "answer without TLS",
                header: payload[0],
            });
        }
        let response = HandshakeResponse::decode(payload)?;
        let proof = match response.plugin {
            // A client without plugins has only the native proof to offer.
            None => Proof::Native(response.proof.to_vec()),
            Some(plugin) if plugin == native::PLUGIN.as_bytes() => Proof::Native(response.proof.to_vec()),
            Some(_) => Proof::Switch,
        };
        Ok(Login {
            user: response.user.to_vec(),
            schema: response.schema.map(<[u8]>::to_vec),
            capabilities: response.capabilities & self.options.capabilities,
            charset: response.charset,
            max_packet: response.max_packet,
            attributes: response.attributes.to_vec(),
            proof,
            seq: seq.wrapping_add(1),
        })
    }
}

impl Login {
    /// Appends the request to prove the password natively, a complete packet. A fresh nonce is
    /// better than the greeting's, though both work.
    pub fn request_switch(&mut self, nonce: &[u8; NONCE_LEN], out: &mut Vec<u8>) {
        let start = frame::begin(out);
        AuthSwitchRequest::encode(native::PLUGIN, nonce, out);
        self.seq = frame::end(out, start, self.seq);
    }

    /// Takes the answer to [`Self::request_switch`].
    pub fn switched(mut self, seq: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        if seq != self.seq {
            return Err(DecodeError::Sequence {
                expected: self.seq,
                got: seq,
            });
        }
        self.proof = Proof::Native(payload.to_vec());
        self.seq = seq.wrapping_add(1);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = *b"abcdefghijklmnopqrst";
    const CAPS: Capabilities = Capabilities::PROTOCOL_41
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::CONNECT_WITH_DB);

    fn accept() -> Accept<'static> {
        Accept::new(AcceptOptions {
            version: b"5.5.5-10.11.14-MariaDB",
            connection_id: 1,
            nonce: NONCE,
            capabilities: CAPS,
            charset: 45,
        })
    }

    fn response(plugin: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        HandshakeResponse {
            capabilities: CAPS | Capabilities::COMPRESS,
            max_packet: 1 << 24,
            charset: 8,
            user: b"bob",
            proof: b"proof",
            schema: Some(b"shop"),
            plugin: Some(plugin),
            attributes: b"",
        }
        .encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_native_client_is_done_after_one_answer() {
        let mut out = Vec::new();
        accept().greeting(&mut out);
        let (header, payload) = frame::packet(&out).unwrap();
        assert_eq!(header.seq, 0);
        assert_eq!(Greeting::decode(payload).unwrap().nonce, NONCE);

        let login = accept().response(1, &response(b"mysql_native_password")).unwrap();
        assert_eq!(login.user, b"bob");
        assert_eq!(login.schema.as_deref(), Some(&b"shop"[..]));
        assert_eq!(login.capabilities, CAPS, "what wasn't offered isn't negotiated");
        assert_eq!(login.proof, Proof::Native(b"proof".to_vec()));
        assert_eq!(login.seq, 2);
    }

    #[test]
    fn another_plugin_is_switched() {
        let mut login = accept().response(1, &response(b"caching_sha2_password")).unwrap();
        assert_eq!(login.proof, Proof::Switch);
        let mut out = Vec::new();
        login.request_switch(&NONCE, &mut out);
        let (header, payload) = frame::packet(&out).unwrap();
        assert_eq!(header.seq, 2);
        assert_eq!(AuthSwitchRequest::decode(payload).unwrap().nonce(), Ok(NONCE));
        assert!(login.clone().switched(2, b"late").is_err());
        let login = login.switched(3, b"fresh").unwrap();
        assert_eq!((login.proof, login.seq), (Proof::Native(b"fresh".to_vec()), 4));
    }

    #[test]
    fn tls_that_was_not_offered_is_refused() {
        let mut bytes = response(b"x");
        bytes.truncate(32);
        bytes[1] |= 0x08;
        assert!(accept().response(1, &bytes).is_err());
    }
}
