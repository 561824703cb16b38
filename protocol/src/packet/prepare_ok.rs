//! The first packet of the reply to COM_STMT_PREPARE.

use crate::error::DecodeError;
use crate::wire::{Reader, put_u16, put_u32};

/// The statement id is the server's own: a client of the proxy has another one.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct PrepareOk {
    pub statement_id: u32,
    pub columns: u16,
    pub params: u16,
    pub warnings: u16,
    /// False under MySQL's `resultset_metadata=NONE`: definitions do not follow.
    pub metadata_follows: bool,
}

impl PrepareOk {
    /// Where the statement id stands in the payload, for replacing it in place.
    pub const STATEMENT_ID_AT: usize = 1;

    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("prepare header")?;
        if header != 0 {
            return Err(DecodeError::Unexpected {
                expected: "OK of a prepare",
                header,
            });
        }
        let mut prepared = Self {
            statement_id: reader.u32("statement id")?,
            columns: reader.u16("number of columns")?,
            params: reader.u16("number of parameters")?,
            warnings: {
                reader.u8("filler")?;
                reader.u16("warnings")?
            },
            metadata_follows: true,
        };
        // MySQL adds a byte under OPTIONAL_RESULTSET_METADATA.
        prepared.metadata_follows = reader.rest().first() != Some(&0);
        Ok(prepared)
    }

    /// Appends the payload, without a frame header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(0);
        put_u32(out, self.statement_id);
        put_u16(out, self.columns);
        put_u16(out, self.params);
        out.push(0);
        put_u16(out, self.warnings);
        if !self.metadata_follows {
            out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let prepared = PrepareOk {
            statement_id: 0x0403_0201,
            columns: 5,
            params: 6,
            warnings: 7,
            metadata_follows: true,
        };
        let mut bytes = Vec::new();
        prepared.encode(&mut bytes);
        assert_eq!(bytes[PrepareOk::STATEMENT_ID_AT..5], [1, 2, 3, 4]);
        assert_eq!(PrepareOk::decode(&bytes), Ok(prepared));
        for cut in 0..bytes.len() {
            assert!(PrepareOk::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(PrepareOk::decode(&[0xff; 12]).is_err());
    }
}
