//! EOF: the end of definitions or rows for clients without `DEPRECATE_EOF`.

use crate::error::DecodeError;
use crate::flags::Status;
use crate::wire::{Reader, put_u16};

pub const EOF_HEADER: u8 = 0xFE;

#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub struct EofPacket {
    pub warnings: u16,
    pub status: Status,
}

impl EofPacket {
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("EOF header")?;
        if header != EOF_HEADER {
            return Err(DecodeError::Unexpected {
                expected: "EOF",
                header,
            });
        }
        let warnings = reader.u16("warnings")?;
        let status = Status::from_bits_retain(reader.u16("status")?);
        reader.finish("EOF")?;
        Ok(Self { warnings, status })
    }

    /// Appends the payload, without a frame header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(EOF_HEADER);
        put_u16(out, self.warnings);
        put_u16(out, self.status.bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let eof = EofPacket {
            warnings: 3,
            status: Status::AUTOCOMMIT | Status::MORE_RESULTS,
        };
        let mut bytes = Vec::new();
        eof.encode(&mut bytes);
        assert_eq!(EofPacket::decode(&bytes), Ok(eof));
        for cut in 0..bytes.len() {
            assert!(EofPacket::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes.push(0);
        assert!(EofPacket::decode(&bytes).is_err());
        assert!(EofPacket::decode(&[0, 0, 0, 0, 0]).is_err());
    }
}
