//! What the proxy itself says to a client: complete packets, appended to a buffer.
//!
//! Each function writes from sequence number `seq` on and returns the one after its last packet.

use crate::flags::{Capabilities, Status};
use crate::frame;
use crate::packet::err::GENERAL_STATE;
use crate::packet::ok::{OK_AS_EOF_HEADER, OK_HEADER};
use crate::packet::{ColumnDefinition, EofPacket, ErrPacket, OkPacket};
use crate::wire::{put_lenenc_int, put_lenenc_or_null};

/// `MYSQL_TYPE_VAR_STRING`, the type of every column we make.
const VAR_STRING: u8 = 0xfd;
/// `utf8mb4_general_ci`, which both vendors know.
const UTF8MB4_GENERAL_CI: u16 = 45;
/// Longest value that a column's length announces; clients use it for display only.
const COLUMN_LENGTH: u32 = 1024;
/// `NOT_FIXED_DEC`: a text has no decimals.
const NO_DECIMALS: u8 = 0x1f;

pub fn ok(out: &mut Vec<u8>, seq: u8, status: Status, caps: Capabilities) -> u8 {
    let packet = OkPacket {
        status,
        ..OkPacket::default()
    };
    ok_packet(out, seq, OK_HEADER, &packet, caps)
}

/// An OK with more to say than a status.
pub fn ok_packet(out: &mut Vec<u8>, seq: u8, header: u8, packet: &OkPacket<'_>, caps: Capabilities) -> u8 {
    let start = frame::begin(out);
    packet.encode(header, caps, out);
    frame::end(out, start, seq)
}

/// `state` is a SQLSTATE of five characters; anything else becomes the general one.
pub fn err(out: &mut Vec<u8>, seq: u8, code: u16, state: &str, message: &str, caps: Capabilities) -> u8 {
    let start = frame::begin(out);
    ErrPacket {
        code,
        state: state.as_bytes().try_into().unwrap_or(GENERAL_STATE),
        message: message.as_bytes(),
    }
    .encode(caps, out);
    frame::end(out, start, seq)
}

/// The end of rows or definitions, in the form that was negotiated.
pub fn eof(out: &mut Vec<u8>, seq: u8, status: Status, caps: Capabilities) -> u8 {
    if caps.contains(Capabilities::DEPRECATE_EOF) {
        let packet = OkPacket {
            status,
            ..OkPacket::default()
        };
        return ok_packet(out, seq, OK_AS_EOF_HEADER, &packet, caps);
    }
    let start = frame::begin(out);
    EofPacket { warnings: 0, status }.encode(out);
    frame::end(out, start, seq)
}

/// A result set of text columns. Rows shorter than `columns` are filled up with NULL, longer ones
/// cut, so that the client can't lose count.
pub fn text_result(
    out: &mut Vec<u8>,
    seq: u8,
    caps: Capabilities,
    columns: &[&str],
    rows: &[Vec<Option<Vec<u8>>>],
    status: Status,
) -> u8 {
    let start = frame::begin(out);
    put_lenenc_int(out, columns.len() as u64);
    if caps.contains(Capabilities::MARIADB_CACHE_METADATA) {
        out.push(1);
    }
    let mut seq = frame::end(out, start, seq);
    for name in columns {
        let start = frame::begin(out);
        text_column(name).encode(caps, out);
        seq = frame::end(out, start, seq);
    }
    if !caps.contains(Capabilities::DEPRECATE_EOF) {
        seq = eof(out, seq, status, caps);
    }
    for row in rows {
        let start = frame::begin(out);
        for index in 0..columns.len() {
            put_lenenc_or_null(out, row.get(index).and_then(Option::as_deref));
        }
        seq = frame::end(out, start, seq);
    }
    eof(out, seq, status, caps)
}

fn text_column(name: &str) -> ColumnDefinition<'_> {
    ColumnDefinition {
        name: name.as_bytes(),
        charset: UTF8MB4_GENERAL_CI,
        length: COLUMN_LENGTH,
        kind: VAR_STRING,
        decimals: NO_DECIMALS,
        ..ColumnDefinition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{Control, Expect, Step, Walker};

    const LEGACY: Capabilities = Capabilities::PROTOCOL_41;
    const MODERN: Capabilities = LEGACY
        .union(Capabilities::DEPRECATE_EOF)
        .union(Capabilities::SESSION_TRACK);

    fn walk(bytes: &[u8], caps: Capabilities) -> (Vec<Control>, u64) {
        let mut walker = Walker::new(Expect::Query, caps);
        let (mut at, mut seen) = (0, Vec::new());
        while !walker.is_done() {
            match walker.step(&bytes[at..]).unwrap() {
                Step::Pass(n) => at += n,
                Step::Packet { len, kind } => {
                    at += len;
                    seen.push(kind);
                }
                Step::Need(n) => panic!("{n} bytes missing"),
            }
        }
        assert_eq!(at, bytes.len());
        (seen, walker.rows())
    }

    #[test]
    fn ok_and_err() {
        let mut out = Vec::new();
        assert_eq!(ok(&mut out, 1, Status::AUTOCOMMIT, MODERN), 2);
        assert_eq!(out, [7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        out.clear();
        assert_eq!(err(&mut out, 255, 1047, "08S01", "Unknown command", LEGACY), 0);
        assert_eq!(out, b"\x18\0\0\xff\xff\x17\x04#08S01Unknown command");
        out.clear();
        err(&mut out, 0, 1040, "?", "Full", Capabilities::empty());
        assert_eq!(out, b"\x07\0\0\0\xff\x10\x04Full");
    }

    #[test]
    fn results_are_what_the_walker_expects() {
        let rows = vec![
            vec![Some(b"a".to_vec()), None],
            vec![Some(vec![b'x'; 70_000])],
            vec![None, None, Some(b"cut off".to_vec())],
        ];
        for (caps, end) in [
            (LEGACY, Control::Eof),
            (MODERN, Control::Ok),
            (MODERN | Capabilities::MARIADB_CACHE_METADATA, Control::Ok),
        ] {
            let mut out = Vec::new();
            text_result(&mut out, 1, caps, &["n", "v"], &rows, Status::AUTOCOMMIT);
            assert_eq!(walk(&out, caps), (vec![end], 3));
            out.clear();
            text_result(&mut out, 1, caps, &["n"], &[], Status::AUTOCOMMIT);
            assert_eq!(walk(&out, caps), (vec![end], 0));
        }
    }

    #[test]
    fn sequence_numbers_count_every_packet() {
        let mut out = Vec::new();
        let rows = vec![vec![None]; 300];
        let next = text_result(&mut out, 1, LEGACY, &["n"], &rows, Status::empty());
        let (mut at, mut expected) = (0, 1u8);
        while let Some((header, _)) = frame::packet(&out[at..]) {
            assert_eq!(header.seq, expected);
            expected = expected.wrapping_add(1);
            at += frame::HEADER_LEN + header.len;
        }
        assert_eq!((at, expected), (out.len(), next));
    }
}
