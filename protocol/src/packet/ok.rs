//! OK: a command succeeded, or a result set ended.

use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::wire::{Reader, put_lenenc_bytes, put_lenenc_int, put_u16};

pub const OK_HEADER: u8 = 0x00;
/// With [`Capabilities::DEPRECATE_EOF`] a result set ends with an OK packet under this header.
pub const OK_AS_EOF_HEADER: u8 = 0xFE;

#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub struct OkPacket<'a> {
    pub affected_rows: u64,
    pub last_insert_id: u64,
    pub status: Status,
    pub warnings: u16,
    /// Text for people, such as "Rows matched: 1  Changed: 0  Warnings: 0".
    pub info: &'a [u8],
    /// What [`super::session_track::changes`] reads; empty unless the status says otherwise.
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// Reads a payload under either header.
    pub fn decode(payload: &'a [u8], caps: Capabilities) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("OK header")?;
        if header != OK_HEADER && header != OK_AS_EOF_HEADER {
            return Err(DecodeError::Unexpected {
                expected: "OK",
                header,
            });
        }
        let mut ok = OkPacket {
            affected_rows: reader.lenenc_int("affected rows")?,
            last_insert_id: reader.lenenc_int("last insert id")?,
            status: Status::from_bits_retain(reader.u16("status")?),
            warnings: reader.u16("warnings")?,
            ..OkPacket::default()
        };
        if caps.contains(Capabilities::SESSION_TRACK) {
            ok.read_tracked(reader)?;
        } else {
            ok.info = untracked_info(&mut reader);
        }
        Ok(ok)
    }

    /// Servers leave out an empty info, and the session state unless the status announces it.
    fn read_tracked(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        if !reader.is_empty() {
            self.info = reader.lenenc_bytes("info")?;
        }
        if self.status.contains(Status::SESSION_STATE_CHANGED) && !reader.is_empty() {
            self.session_state = reader.lenenc_bytes("session state")?;
            // MariaDB 10.11 begins with room for a length of one byte, as a character of the schema's character
            // set: with ucs2 and its like that is one or three zeros too many (measured).
            while self.session_state.is_empty() && !reader.is_empty() {
                self.session_state = reader.lenenc_bytes("session state")?;
            }
        }
        reader.finish("OK")
    }

    /// Appends the payload, without a frame header. The session state is written, and announced
    /// in the status, only to a peer that negotiated [`Capabilities::SESSION_TRACK`].
    pub fn encode(&self, header: u8, caps: Capabilities, out: &mut Vec<u8>) {
        let tracked = caps.contains(Capabilities::SESSION_TRACK) && !self.session_state.is_empty();
        let mut status = self.status;
        status.set(Status::SESSION_STATE_CHANGED, tracked);
        out.push(header);
        put_lenenc_int(out, self.affected_rows);
        put_lenenc_int(out, self.last_insert_id);
        put_u16(out, status.bits());
        put_u16(out, self.warnings);
        if tracked || !self.info.is_empty() {
            put_lenenc_bytes(out, self.info);
        }
        if tracked {
            put_lenenc_bytes(out, self.session_state);
        }
    }
}

/// The manual calls the info of a peer without session tracking "the rest of the packet", but
/// MariaDB 10.11 sends it length-encoded there too (measured). Both are understood.
fn untracked_info<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let mut lenenc = reader.clone();
    match lenenc.lenenc_bytes("info") {
        Ok(info) if lenenc.is_empty() => info,
        _ => reader.rest(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: Capabilities = Capabilities::SESSION_TRACK;

    fn full() -> OkPacket<'static> {
        OkPacket {
            affected_rows: 300,
            last_insert_id: 70_000,
            status: Status::AUTOCOMMIT | Status::SESSION_STATE_CHANGED,
            warnings: 2,
            info: b"Rows matched: 1",
            session_state: b"\x01\x05\x04test",
        }
    }

    /// What MariaDB 10.11.19 says to `USE` of schemas whose default character set is latin1, ucs2 and utf32.
    #[test]
    fn zeros_before_the_session_state_are_none_of_it() {
        for zeros in [0, 1, 3] {
            let mut bytes = b"\x00\x00\x00\x00\x40\x00\x00\x00".to_vec();
            bytes.extend(std::iter::repeat_n(0, zeros));
            bytes.extend(b"\x08\x01\x03\x02d1\x02\x011");
            let ok = OkPacket::decode(&bytes, TRACK).unwrap();
            assert_eq!(ok.session_state, b"\x01\x03\x02d1\x02\x011");
        }
    }

    #[test]
    fn round_trip_under_both_headers() {
        for header in [OK_HEADER, OK_AS_EOF_HEADER] {
            let mut bytes = Vec::new();
            full().encode(header, TRACK, &mut bytes);
            assert_eq!(OkPacket::decode(&bytes, TRACK), Ok(full()));
        }
    }

    #[test]
    fn a_peer_without_tracking_is_told_nothing_of_it() {
        let mut bytes = Vec::new();
        full().encode(OK_HEADER, Capabilities::empty(), &mut bytes);
        let expected = OkPacket {
            status: Status::AUTOCOMMIT,
            session_state: b"",
            ..full()
        };
        assert_eq!(OkPacket::decode(&bytes, Capabilities::empty()), Ok(expected));
    }

    #[test]
    fn info_may_be_absent_or_bare() {
        let short = [0, 0, 0, 2, 0, 0, 0];
        for caps in [TRACK, Capabilities::empty()] {
            let ok = OkPacket::decode(&short, caps).unwrap();
            assert_eq!((ok.info, ok.session_state), (&b""[..], &b""[..]));
        }
        let bare = [&short[..], b"Records: 1"].concat();
        let ok = OkPacket::decode(&bare, Capabilities::empty()).unwrap();
        assert_eq!(ok.info, b"Records: 1");
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_packet() {
        let mut bytes = Vec::new();
        full().encode(OK_HEADER, TRACK, &mut bytes);
        let fixed = 1 + 3 + 4 + 2 + 2;
        for cut in 0..bytes.len() {
            let decoded = OkPacket::decode(&bytes[..cut], TRACK);
            // The optional parts may be missing whole, never in part.
            let whole = cut == fixed || cut == fixed + 1 + full().info.len();
            assert_eq!(decoded.is_ok(), whole, "cut at {cut}: {decoded:?}");
        }
    }

    #[test]
    fn leftovers_and_other_headers_are_refused() {
        let mut bytes = Vec::new();
        full().encode(OK_HEADER, TRACK, &mut bytes);
        bytes.push(0);
        let refused = OkPacket::decode(&bytes, TRACK);
        assert_eq!(
            refused,
            Err(DecodeError::Trailing {
                packet: "OK",
                count: 1
            })
        );
        let refused = OkPacket::decode(&[0xff, 0, 0], TRACK);
        assert_eq!(
            refused,
            Err(DecodeError::Unexpected {
                expected: "OK",
                header: 0xff
            })
        );
    }
}
