//! One checked cursor for all parsing, and its mirror for writing.
//!
//! Every read names its field, so that an error says what was missing. Nothing here panics on
//! input and nothing allocates while reading.

use crate::error::DecodeError;

/// Heads of a length-encoded integer, from the manual's "Protocol::LengthEncodedInteger".
const LENENC_NULL: u8 = 0xfb;
const LENENC_U16: u8 = 0xfc;
const LENENC_U24: u8 = 0xfd;
const LENENC_U64: u8 = 0xfe;

/// A cursor over the payload of one packet.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub fn u24(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let [a, b, c] = self.array(field)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A length-encoded integer where NULL is not allowed.
    pub fn lenenc_int(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.lenenc_int_or_null(field)?.ok_or(DecodeError::Invalid {
            field,
            value: u64::from(LENENC_NULL),
        })
    }

    /// A length-encoded integer, or the NULL that stands for a column without a value.
    pub fn lenenc_int_or_null(&mut self, field: &'static str) -> Result<Option<u64>, DecodeError> {
        match self.u8(field)? {
            LENENC_NULL => Ok(None),
            LENENC_U16 => self.u16(field).map(|value| Some(u64::from(value))),
            LENENC_U24 => self.u24(field).map(|value| Some(u64::from(value))),
            LENENC_U64 => self.u64(field).map(Some),
            0xff => Err(DecodeError::Invalid { field, value: 0xff }),
            small => Ok(Some(u64::from(small))),
        }
    }

    pub fn lenenc_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.lenenc_int(field)?;
        self.take_long(length, field)
    }

    pub fn lenenc_bytes_or_null(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.lenenc_int_or_null(field)? {
            None => Ok(None),
            Some(length) => self.take_long(length, field).map(Some),
        }
    }

    fn take_long(&mut self, length: u64, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated { field })?;
        self.take(length, field)
    }

    /// Bytes up to a NUL, which is consumed and not returned.
    pub fn nul_terminated(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(DecodeError::Truncated { field })?;
        let text = self.take(end, field)?;
        self.take(1, field)?;
        Ok(text)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte without moving.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Leftovers are an error: they mean that the packet wasn't what it was taken for.
    pub fn finish(self, packet: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { packet, count }),
        }
    }
}

pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// The lower three bytes of `value`.
pub fn put_u24(out: &mut Vec<u8>, value: u32) {
    let [a, b, c, _] = value.to_le_bytes();
    out.extend_from_slice(&[a, b, c]);
}

pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn put_lenenc_int(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, ..] = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(a),
        0xfb..=0xffff => out.extend_from_slice(&[LENENC_U16, a, b]),
        0x1_0000..=0xff_ffff => out.extend_from_slice(&[LENENC_U24, a, b, c]),
        _ => {
            out.push(LENENC_U64);
            put_u64(out, value);
        }
    }
}

pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc_int(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A column value of a text row: NULL or length-encoded bytes.
pub fn put_lenenc_or_null(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.push(LENENC_NULL),
        Some(bytes) => put_lenenc_bytes(out, bytes),
    }
}

pub fn put_nul_terminated(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_come_back_at_every_boundary() {
        for (value, width) in [
            (0, 1),
            (0xfa, 1),
            (0xfb, 3),
            (0xffff, 3),
            (0x1_0000, 4),
            (0xff_ffff, 4),
            (0x100_0000, 9),
            (u64::MAX, 9),
        ] {
            let mut bytes = Vec::new();
            put_lenenc_int(&mut bytes, value);
            assert_eq!(bytes.len(), width, "{value:#x}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.lenenc_int("value"), Ok(value));
            reader.finish("test").unwrap();
            for cut in 0..bytes.len() {
                assert_eq!(
                    Reader::new(&bytes[..cut]).lenenc_int("value"),
                    Err(DecodeError::Truncated { field: "value" })
                );
            }
        }
    }

    #[test]
    fn null_and_the_reserved_head_are_not_numbers() {
        assert_eq!(Reader::new(&[0xfb]).lenenc_int_or_null("n"), Ok(None));
        for head in [0xfb, 0xff] {
            assert_eq!(
                Reader::new(&[head]).lenenc_int("n"),
                Err(DecodeError::Invalid {
                    field: "n",
                    value: u64::from(head)
                })
            );
        }
    }

    #[test]
    fn a_length_beyond_the_packet_is_truncation_not_a_panic() {
        let mut bytes = Vec::new();
        put_lenenc_int(&mut bytes, u64::MAX);
        assert_eq!(
            Reader::new(&bytes).lenenc_bytes("name"),
            Err(DecodeError::Truncated { field: "name" })
        );
    }

    #[test]
    fn integers_are_little_endian_and_leftovers_are_refused() {
        let bytes = [1, 2, 0, 3, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 9];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(2));
        assert_eq!(reader.u24("c"), Ok(3));
        assert_eq!(reader.u32("d"), Ok(4));
        assert_eq!(reader.u64("e"), Ok(5));
        assert_eq!(reader.nul_terminated("f"), Ok(&b"a"[..]));
        assert_eq!(reader.peek(), Some(9));
        assert_eq!(
            reader.clone().finish("test"),
            Err(DecodeError::Trailing {
                packet: "test",
                count: 1
            })
        );
        assert_eq!(reader.rest(), [9]);
        assert!(reader.is_empty());
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = Vec::new();
        put_u16(&mut bytes, 7);
        put_u24(&mut bytes, 0x01_02_03);
        put_u32(&mut bytes, 9);
        put_lenenc_or_null(&mut bytes, None);
        put_lenenc_or_null(&mut bytes, Some(b"xy"));
        put_nul_terminated(&mut bytes, b"z");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u16("a"), Ok(7));
        assert_eq!(reader.u24("b"), Ok(0x01_02_03));
        assert_eq!(reader.u32("c"), Ok(9));
        assert_eq!(reader.lenenc_bytes_or_null("d"), Ok(None));
        assert_eq!(reader.lenenc_bytes_or_null("e"), Ok(Some(&b"xy"[..])));
        assert_eq!(reader.nul_terminated("f"), Ok(&b"z"[..]));
        reader.finish("test").unwrap();
    }
}
