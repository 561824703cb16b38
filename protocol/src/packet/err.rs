//! ERR: a command failed, or a connection was refused.

use crate::error::DecodeError;
use crate::flags::Capabilities;
use crate::wire::{Reader, put_u16};

pub const ERR_HEADER: u8 = 0xFF;
/// The SQLSTATE of an error that has no better one.
pub const GENERAL_STATE: [u8; 5] = *b"HY000";
/// In place of an error code: a MariaDB progress report, only under
/// [`Capabilities::MARIADB_PROGRESS`].
pub const PROGRESS_CODE: u16 = 0xFFFF;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    pub code: u16,
    pub state: [u8; 5],
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// A server that refuses before the handshake ("Too many connections") leaves out the
    /// SQLSTATE, since it doesn't know yet whether the client reads one. So its mark decides,
    /// not the capabilities.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("ERR header")?;
        if header != ERR_HEADER {
            return Err(DecodeError::Unexpected {
                expected: "ERR",
                header,
            });
        }
        let code = reader.u16("error code")?;
        let mut state = GENERAL_STATE;
        if reader.peek() == Some(b'#') {
            reader.u8("SQLSTATE mark")?;
            state = reader.array("SQLSTATE")?;
        }
        Ok(Self {
            code,
            state,
            message: reader.rest(),
        })
    }

    /// Appends the payload, without a frame header. Before the handshake `caps` is empty.
    pub fn encode(&self, caps: Capabilities, out: &mut Vec<u8>) {
        out.push(ERR_HEADER);
        put_u16(out, self.code);
        if caps.contains(Capabilities::PROTOCOL_41) {
            out.push(b'#');
            out.extend_from_slice(&self.state);
        }
        out.extend_from_slice(self.message);
    }

    pub fn to_owned(&self) -> ServerError {
        ServerError {
            code: self.code,
            state: String::from_utf8_lossy(&self.state).into_owned(),
            message: String::from_utf8_lossy(self.message).into_owned(),
        }
    }
}

/// An [`ErrPacket`] that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({state}): {message}")]
pub struct ServerError {
    pub code: u16,
    pub state: String,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: ErrPacket<'static> = ErrPacket {
        code: 1045,
        state: *b"28000",
        message: b"Access denied",
    };

    #[test]
    fn round_trip() {
        let mut bytes = Vec::new();
        DENIED.encode(Capabilities::PROTOCOL_41, &mut bytes);
        assert_eq!(bytes, b"\xff\x15\x04#28000Access denied");
        assert_eq!(ErrPacket::decode(&bytes), Ok(DENIED));
        assert_eq!(DENIED.to_owned().to_string(), "1045 (28000): Access denied");
    }

    #[test]
    fn before_the_handshake_there_is_no_state() {
        let mut bytes = Vec::new();
        DENIED.encode(Capabilities::empty(), &mut bytes);
        assert_eq!(bytes, b"\xff\x15\x04Access denied");
        let general = ErrPacket {
            state: GENERAL_STATE,
            ..DENIED
        };
        assert_eq!(ErrPacket::decode(&bytes), Ok(general));
    }

    #[test]
    fn every_truncation_of_the_fixed_part_is_an_error() {
        let bytes = b"\xff\x15\x04#28000";
        for cut in 0..bytes.len() {
            // Three bytes are an error without state and message.
            assert_eq!(ErrPacket::decode(&bytes[..cut]).is_ok(), cut == 3, "{cut}");
        }
    }
}
