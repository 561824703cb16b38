//! A reply on its way to a client, of which a copy is made; and whether that may be given to another.

use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::packet::eof::{EOF_HEADER, EofPacket};
use tandem_protocol::packet::ok::{OK_AS_EOF_HEADER, OK_HEADER, OkPacket};

/// The first packet's header of what is no result: OK, an error, the request for a file.
const NO_RESULT: [u8; 3] = [OK_HEADER, 0xFF, 0xFB];

/// What a status may say beside that autocommit is on: how the server has come by the rows, and the session's `sql_mode`.
const FREE: Status = Status::NO_GOOD_INDEX
    .union(Status::NO_INDEX)
    .union(Status::SLOW)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::ANSI_QUOTES);

/// The bytes that a client is sent, up to a bound.
#[derive(Debug)]
pub struct Transcript {
    bytes: Vec<u8>,
    most: usize,
    is_too_large: bool,
}

impl Transcript {
    pub fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            most,
            is_too_large: false,
        }
    }

    /// The client is sent these too.
    pub fn add(&mut self, bytes: &[u8]) {
        self.is_too_large |= bytes.len() > self.most - self.bytes.len();
        if self.is_too_large {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// The whole reply, if it may be given to another who asks the same with the same `capabilities`.
    pub fn into_reply(self, capabilities: Capabilities) -> Option<Vec<u8>> {
        let is_whole = !self.is_too_large && is_repeatable(&self.bytes, capabilities);
        is_whole.then_some(self.bytes)
    }
}

/// Whether it is one result, the first reply to a command, without an error, a warning or a word about the session, and with a
/// status as every session has it that is in no transaction.
fn is_repeatable(bytes: &[u8], capabilities: Capabilities) -> bool {
    let mut rest = bytes;
    let mut last: &[u8] = &[];
    let mut is_first = true;
    while let Some((header, payload)) = frame::packet(rest) {
        let begins = |payload: &[u8]| payload.first().is_some_and(|first| !NO_RESULT.contains(first));
        if header.is_continued() || (is_first && (header.seq != 1 || !begins(payload))) {
            return false;
        }
        is_first = false;
        last = payload;
        rest = &rest[HEADER_LEN + header.len..];
    }
    let end = match capabilities.contains(Capabilities::DEPRECATE_EOF) {
        true => ok_of(last, capabilities),
        false => eof_of(last),
    };
    rest.is_empty() && end.is_some_and(|status| status - FREE == Status::AUTOCOMMIT)
}

/// The status of an OK that says nothing else.
fn ok_of(payload: &[u8], capabilities: Capabilities) -> Option<Status> {
    let ok = OkPacket::decode(payload, capabilities).ok()?;
    let is_end = payload.first() == Some(&OK_AS_EOF_HEADER);
    let is_bare = ok.warnings == 0 && ok.info.is_empty() && ok.session_state.is_empty();
    (is_end && is_bare).then_some(ok.status)
}

fn eof_of(payload: &[u8]) -> Option<Status> {
    let eof = EofPacket::decode(payload).ok()?;
    (payload.first() == Some(&EOF_HEADER) && eof.warnings == 0).then_some(eof.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: Capabilities = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
    const LEGACY: Capabilities = Capabilities::PROTOCOL_41;

    fn packets(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut seq = 1;
        for part in parts {
            frame::write_packet(&mut out, &mut seq, part);
        }
        out
    }

    fn modern(status: Status, warnings: u16, session_state: &[u8]) -> Vec<u8> {
        let mut end = Vec::new();
        let ok = OkPacket {
            status,
            warnings,
            session_state,
            ..OkPacket::default()
        };
        ok.encode(OK_AS_EOF_HEADER, MODERN, &mut end);
        packets(&[b"\x01", b"\x03def anything", b"\x0242", &end])
    }

    fn legacy(status: Status, warnings: u16) -> Vec<u8> {
        let mut end = Vec::new();
        EofPacket { warnings, status }.encode(&mut end);
        packets(&[b"\x01", b"\x03def anything", &end, b"\x0242", &end])
    }

    #[test]
    fn a_plain_result_may_be_given_again() {
        let on = Status::AUTOCOMMIT;
        assert!(is_repeatable(&modern(on, 0, b""), MODERN));
        assert!(is_repeatable(&modern(on | Status::NO_INDEX, 0, b""), MODERN));
        assert!(is_repeatable(&legacy(on, 0), LEGACY));
    }

    #[test]
    fn what_is_more_or_less_than_a_plain_result_may_not() {
        let on = Status::AUTOCOMMIT;
        for (status, warnings) in [
            (Status::empty(), 0),
            (on | Status::IN_TRANS, 0),
            (on | Status::MORE_RESULTS, 0),
            (on | Status::CURSOR_EXISTS, 0),
            (on | Status::METADATA_CHANGED, 0),
            (on, 1),
        ] {
            assert!(
                !is_repeatable(&modern(status, warnings, b""), MODERN),
                "{status:?}"
            );
            assert!(!is_repeatable(&legacy(status, warnings), LEGACY), "{status:?}");
        }
        assert!(!is_repeatable(&modern(on, 0, b"\x01\x05\x04test"), MODERN));
        let whole = modern(on, 0, b"");
        for cut in 0..whole.len() {
            assert!(!is_repeatable(&whole[..cut], MODERN), "the first {cut} bytes");
        }
        let mut ok = Vec::new();
        let done = OkPacket {
            status: on,
            ..OkPacket::default()
        };
        done.encode(OK_HEADER, MODERN, &mut ok);
        assert!(!is_repeatable(&packets(&[&ok]), MODERN), "no result");
        assert!(
            !is_repeatable(&packets(&[b"\xff\x28\x04#42000no"]), MODERN),
            "an error"
        );
        assert!(!is_repeatable(&whole[5..], MODERN), "not from its beginning");
    }

    #[test]
    fn a_transcript_is_bounded() {
        let whole = modern(Status::AUTOCOMMIT, 0, b"");
        for (most, fits) in [(whole.len(), true), (whole.len() - 1, false)] {
            let mut transcript = Transcript::new(most);
            for part in whole.chunks(7) {
                transcript.add(part);
            }
            assert_eq!(transcript.is_too_large(), !fits);
            assert_eq!(transcript.into_reply(MODERN), fits.then(|| whole.clone()));
        }
    }
}
