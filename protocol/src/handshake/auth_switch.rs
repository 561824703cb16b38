//! AuthSwitchRequest: the server wants another plugin than the client guessed.
//!
//! The answer has no structure: its whole payload is the proof.

use crate::auth::ed25519;
use crate::auth::native::NONCE_LEN;
use crate::error::DecodeError;
use crate::wire::{Reader, put_nul_terminated};

pub const AUTH_SWITCH_HEADER: u8 = 0xFE;
/// What the header alone asks for, from servers with passwords of before 4.1.
pub const OLD_PLUGIN: &[u8] = b"mysql_old_password";

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct AuthSwitchRequest<'a> {
    pub plugin: &'a [u8],
    /// Mostly a nonce, and then with a NUL behind it.
    pub data: &'a [u8],
}

impl<'a> AuthSwitchRequest<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("header of the auth switch")?;
        if header != AUTH_SWITCH_HEADER {
            return Err(DecodeError::Unexpected {
                expected: "auth switch",
                header,
            });
        }
        if reader.is_empty() {
            return Ok(Self {
                plugin: OLD_PLUGIN,
                data: &[],
            });
        }
        Ok(Self {
            plugin: reader.nul_terminated("plugin")?,
            data: reader.rest(),
        })
    }

    /// The nonce in the data, with or without the NUL behind it.
    pub fn nonce(&self) -> Result<[u8; NONCE_LEN], DecodeError> {
        Reader::new(self.data).array("nonce")
    }

    /// The data of MariaDB's own plugins.
    pub fn long_nonce(&self) -> Result<[u8; ed25519::NONCE_LEN], DecodeError> {
        Reader::new(self.data).array("nonce")
    }

    /// Appends the payload, without a frame header.
    pub fn encode(plugin: &str, nonce: &[u8], out: &mut Vec<u8>) {
        out.push(AUTH_SWITCH_HEADER);
        put_nul_terminated(out, plugin.as_bytes());
        if nonce.len() == ed25519::NONCE_LEN {
            // MariaDB's clients want exactly that.
            out.extend_from_slice(nonce);
        } else {
            put_nul_terminated(out, nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let nonce = *b"abcdefghijklmnopqrst";
        let mut bytes = Vec::new();
        AuthSwitchRequest::encode("p", &nonce, &mut bytes);
        let request = AuthSwitchRequest::decode(&bytes).unwrap();
        assert_eq!((request.plugin, request.nonce()), (&b"p"[..], Ok(nonce)));
        for cut in 0..bytes.len() - 1 {
            let nonce = AuthSwitchRequest::decode(&bytes[..cut]).and_then(|r| r.nonce());
            assert!(nonce.is_err(), "{cut}");
        }
        let long = *b"0123456789abcdefghij0123456789ab";
        bytes.clear();
        AuthSwitchRequest::encode("p", &long, &mut bytes);
        let request = AuthSwitchRequest::decode(&bytes).unwrap();
        assert_eq!((request.data, request.long_nonce()), (&long[..], Ok(long)));
        assert_eq!(AuthSwitchRequest::decode(&[0xFE]).unwrap().plugin, OLD_PLUGIN);
        assert!(AuthSwitchRequest::decode(&[0]).is_err());
    }
}
