//! Frames: a length of three bytes, a sequence number, a payload.
//!
//! A payload of 16 MiB - 1 bytes or more is spread over frames of exactly [`MAX_PAYLOAD`] bytes
//! and ends with a shorter one, empty if need be (the manual's "Sending More Than 16Mb").

use crate::error::DecodeError;

pub const HEADER_LEN: usize = 4;
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Header {
    pub len: usize,
    pub seq: u8,
}

impl Header {
    /// The header at the start of `bytes`, once its four bytes are there.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let word = u32::from_le_bytes(*bytes.first_chunk::<HEADER_LEN>()?);
        Some(Self {
            len: (word & 0xFF_FFFF) as usize,
            seq: (word >> 24) as u8,
        })
    }

    /// `len` must be at most [`MAX_PAYLOAD`]; higher bits are lost.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, ..] = self.len.to_le_bytes();
        [a, b, c, self.seq]
    }

    /// Whether the payload goes on in the next frame.
    pub fn is_continued(self) -> bool {
        self.len == MAX_PAYLOAD
    }
}

/// The complete single frame at the start of `bytes`, or `None` while part of it is missing.
pub fn packet(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::peek(bytes)?;
    let payload = bytes.get(HEADER_LEN..HEADER_LEN + header.len)?;
    Some((header, payload))
}

/// Writes `payload` as one frame, or as many as it needs, and advances `seq` past them.
pub fn write_packet(out: &mut Vec<u8>, seq: &mut u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        let header = Header {
            len: part.len(),
            seq: *seq,
        };
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(part);
        *seq = seq.wrapping_add(1);
        if !header.is_continued() {
            return;
        }
        rest = after;
    }
}

/// Leaves room for a header; write the payload behind it, then call [`end`].
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    start
}

/// Fills in the header that [`begin`] left room for. Returns the next sequence number.
pub fn end(out: &mut Vec<u8>, start: usize, seq: u8) -> u8 {
    let len = out.len() - start - HEADER_LEN;
    if len < MAX_PAYLOAD {
        let header = Header { len, seq }.encode();
        out[start..start + HEADER_LEN].copy_from_slice(&header);
        return seq.wrapping_add(1);
    }
    // Rare: the payload has to be taken apart again.
    let payload = out.split_off(start + HEADER_LEN);
    out.truncate(start);
    let mut seq = seq;
    write_packet(out, &mut seq, &payload);
    seq
}

/// What [`Joiner::feed`] made of its input.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The first `consumed` bytes were taken; the payload is not complete.
    More { consumed: usize },
    /// The payload is complete; `seq` is the number of its last frame. Bytes after `consumed`
    /// belong to what follows.
    Complete { consumed: usize, seq: u8 },
}

/// Collects a payload that may be spread over frames and reads, up to a limit.
///
/// Memory grows with what has arrived, never with what a header promises.
#[derive(Debug)]
pub struct Joiner {
    payload: Vec<u8>,
    limit: usize,
    /// The frame being read and how much of it is still to come.
    open: Option<(Header, usize)>,
    next_seq: Option<u8>,
}

impl Joiner {
    pub fn new(limit: usize) -> Self {
        Self {
            payload: Vec::new(),
            limit,
            open: None,
            next_seq: None,
        }
    }

    /// Takes what it can from `input`. A header that isn't whole stays with the caller, so up to
    /// three bytes may be left over after [`Joined::More`].
    pub fn feed(&mut self, input: &[u8]) -> Result<Joined, DecodeError> {
        let mut at = 0;
        loop {
            let (header, left) = match self.open {
                Some(open) => open,
                None => match Header::peek(&input[at..]) {
                    None => return Ok(Joined::More { consumed: at }),
                    Some(header) => {
                        self.admit(header)?;
                        at += HEADER_LEN;
                        (header, header.len)
                    }
                },
            };
            let n = left.min(input.len() - at);
            self.payload.extend_from_slice(&input[at..at + n]);
            at += n;
            if n < left {
                self.open = Some((header, left - n));
                return Ok(Joined::More { consumed: at });
            }
            self.open = None;
            if !header.is_continued() {
                return Ok(Joined::Complete {
                    consumed: at,
                    seq: header.seq,
                });
            }
        }
    }

    /// The payload so far, or all of it after [`Joined::Complete`].
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    fn admit(&mut self, header: Header) -> Result<(), DecodeError> {
        if let Some(expected) = self.next_seq.filter(|&expected| expected != header.seq) {
            return Err(DecodeError::Sequence {
                expected,
                got: header.seq,
            });
        }
        if header.len > self.limit.saturating_sub(self.payload.len()) {
            return Err(DecodeError::TooLarge { limit: self.limit });
        }
        self.next_seq = Some(header.seq.wrapping_add(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip_and_truncation() {
        let header = Header {
            len: 0x01_02_03,
            seq: 9,
        };
        let bytes = header.encode();
        assert_eq!(bytes, [3, 2, 1, 9]);
        assert_eq!(Header::peek(&bytes), Some(header));
        for cut in 0..HEADER_LEN {
            assert_eq!(Header::peek(&bytes[..cut]), None);
        }
    }

    #[test]
    fn a_packet_is_seen_only_when_whole() {
        let mut bytes = Vec::new();
        let mut seq = 255;
        write_packet(&mut bytes, &mut seq, b"abc");
        assert_eq!(seq, 0, "sequence numbers wrap");
        for cut in 0..bytes.len() {
            assert_eq!(packet(&bytes[..cut]), None);
        }
        bytes.push(7);
        assert_eq!(packet(&bytes), Some((Header { len: 3, seq: 255 }, &b"abc"[..])));
    }

    #[test]
    fn a_payload_of_exactly_the_maximum_ends_with_an_empty_frame() {
        let payload = vec![b'x'; MAX_PAYLOAD];
        let mut bytes = Vec::new();
        let mut seq = 0;
        write_packet(&mut bytes, &mut seq, &payload);
        assert_eq!(seq, 2);
        assert_eq!(bytes.len(), MAX_PAYLOAD + 2 * HEADER_LEN);
        assert_eq!(bytes[bytes.len() - 4..], [0, 0, 0, 1]);
    }

    #[test]
    fn writing_in_place_equals_writing_a_payload() {
        for len in [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1] {
            let payload = vec![b'y'; len];
            let (mut written, mut seq) = (vec![1, 2], 3);
            write_packet(&mut written, &mut seq, &payload);
            let mut in_place = vec![1, 2];
            let start = begin(&mut in_place);
            in_place.extend_from_slice(&payload);
            assert_eq!(end(&mut in_place, start, 3), seq);
            assert!(in_place == written, "payload of {len} bytes");
        }
    }

    #[test]
    fn joiner_takes_a_payload_in_pieces() {
        let payload = vec![b'z'; MAX_PAYLOAD + 5];
        let (mut bytes, mut seq) = (Vec::new(), 0);
        write_packet(&mut bytes, &mut seq, &payload);
        bytes.extend_from_slice(b"next");
        let mut joiner = Joiner::new(payload.len());
        let mut at = 0;
        let mut end = 2;
        loop {
            match joiner.feed(&bytes[at..end]).unwrap() {
                Joined::More { consumed } => at += consumed,
                Joined::Complete { consumed, seq } => {
                    assert_eq!(seq, 1);
                    at += consumed;
                    break;
                }
            }
            end = (end + 1_000_003).min(bytes.len());
        }
        assert_eq!(&bytes[at..], b"next");
        assert!(joiner.payload() == payload);
    }

    #[test]
    fn joiner_splits_anywhere_in_a_small_packet() {
        let (mut bytes, mut seq) = (Vec::new(), 4);
        write_packet(&mut bytes, &mut seq, b"hello");
        for cut in 0..bytes.len() {
            let mut joiner = Joiner::new(5);
            let Joined::More { consumed } = joiner.feed(&bytes[..cut]).unwrap() else {
                panic!("complete after {cut} bytes");
            };
            let done = joiner.feed(&bytes[consumed..]).unwrap();
            assert_eq!(
                done,
                Joined::Complete {
                    consumed: bytes.len() - consumed,
                    seq: 4
                }
            );
            assert_eq!(joiner.into_payload(), b"hello");
        }
    }

    #[test]
    fn joiner_refuses_by_the_header_what_is_over_the_limit() {
        let header = Header { len: 11, seq: 0 }.encode();
        let refused = Joiner::new(10).feed(&header);
        assert_eq!(refused, Err(DecodeError::TooLarge { limit: 10 }));
    }

    #[test]
    fn joiner_refuses_a_gap_in_the_sequence() {
        let mut bytes = Header {
            len: MAX_PAYLOAD,
            seq: 0,
        }
        .encode()
        .to_vec();
        bytes.resize(HEADER_LEN + MAX_PAYLOAD, 0);
        bytes.extend_from_slice(&Header { len: 0, seq: 2 }.encode());
        let refused = Joiner::new(MAX_PAYLOAD).feed(&bytes);
        assert_eq!(refused, Err(DecodeError::Sequence { expected: 1, got: 2 }));
    }
}
