//! Sums over the rows of an answer as they pass, each row by itself: whether two answers have the same rows can be told in
//! their order and without it. Nothing is allocated for a row.

use std::time::{Duration, Instant};

use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::err::ERR_HEADER;

use super::answer::Answer;
use crate::session::replay::digest::{Rows, mix};

/// Of one answer.
#[derive(Debug)]
pub struct Sums {
    began: Instant,
    took: Duration,
    columns: u64,
    error: Option<u16>,
    rows: u64,
    ordered: u64,
    unordered: u64,
    at: At,
    /// Of the row that is passing.
    row: Rows,
    /// The first byte of a packet that continues a row is not looked at.
    is_continued: bool,
    /// It is no row, but a word on how far the server is.
    is_progress: bool,
}

/// Where in the packets of rows the bytes that come next are.
#[derive(Clone, Copy, Debug)]
enum At {
    Header { seen: [u8; HEADER_LEN], len: usize },
    Payload { left: usize, len: usize },
}

const BEFORE_PACKET: At = At::Header {
    seen: [0; HEADER_LEN],
    len: 0,
};

impl Sums {
    /// Of an answer that is waited for from now on.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            took: Duration::ZERO,
            columns: 0,
            error: None,
            rows: 0,
            ordered: 0,
            unordered: 0,
            at: BEFORE_PACKET,
            row: Rows::default(),
            is_continued: false,
            is_progress: false,
        }
    }

    /// Adds bytes of the packets that hold rows, wherever they were cut.
    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Header { seen, len } => {
                    let count = bytes.len().min(HEADER_LEN - *len);
                    seen[*len..*len + count].copy_from_slice(&bytes[..count]);
                    *len += count;
                    bytes = &bytes[count..];
                    if *len == HEADER_LEN {
                        let len = Header::peek(seen).map_or(0, |header| header.len);
                        self.at = At::Payload { left: len, len };
                        if len == 0 {
                            self.end_packet(0);
                        }
                    }
                }
                At::Payload { left, len } => {
                    if *left == *len && !self.is_continued {
                        // No value of a row begins with it.
                        self.is_progress = bytes[0] == ERR_HEADER;
                    }
                    let count = bytes.len().min(*left);
                    *left -= count;
                    let (part, rest) = bytes.split_at(count);
                    self.row.add(part);
                    bytes = rest;
                    if *left == 0 {
                        let len = *len;
                        self.end_packet(len);
                    }
                }
            }
        }
    }

    fn end_packet(&mut self, len: usize) {
        self.at = BEFORE_PACKET;
        self.is_continued = len == MAX_PAYLOAD;
        if self.is_continued {
            return;
        }
        let row = std::mem::take(&mut self.row);
        if !std::mem::take(&mut self.is_progress) {
            let sum = row.sum();
            self.rows += 1;
            self.ordered = mix(self.ordered, sum);
            self.unordered = self.unordered.wrapping_add(sum);
        }
    }

    /// The answer is complete.
    pub fn end(&mut self, columns: u64, error: Option<u16>) {
        self.took = self.began.elapsed();
        (self.columns, self.error) = (columns, error);
    }

    pub fn answer(&self) -> Answer {
        Answer {
            columns: self.columns,
            rows: self.rows,
            ordered: self.ordered,
            unordered: self.unordered,
            error: self.error,
            took: self.took,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let header = Header {
            len: payload.len(),
            seq: 7,
        };
        [&header.encode(), payload].concat()
    }

    fn answer(parts: &[&[u8]]) -> Answer {
        let mut sums = Sums::begin();
        for part in parts {
            sums.add(part);
        }
        Answer {
            took: Duration::ZERO,
            ..sums.answer()
        }
    }

    #[test]
    fn where_the_bytes_were_cut_makes_no_difference() {
        let rows = [packet(b"\x01a\x01b"), packet(&[b'x'; 100]), packet(b"\xfb")].concat();
        let whole = answer(&[&rows]);
        assert_eq!(whole.rows, 3);
        for first in 0..=rows.len() {
            for second in first..=rows.len() {
                let parts = [&rows[..first], &rows[first..second], &rows[second..]];
                assert_eq!(answer(&parts), whole, "{first} {second}");
            }
        }
    }

    /// The numbers of packets are another's business: two servers may count differently.
    #[test]
    fn rows_count_without_their_numbers_and_in_two_ways() {
        let (a, b) = (packet(b"\x01a"), packet(b"\x01b"));
        let mut renumbered = a.clone();
        renumbered[3] = 9;
        assert_eq!(answer(&[&a]), answer(&[&renumbered]));
        let (there, back) = (answer(&[&a, &b]), answer(&[&b, &a]));
        assert_eq!((there.rows, there.unordered), (back.rows, back.unordered));
        assert_ne!(there.ordered, back.ordered);
        for other in [
            answer(&[&a, &a]),
            answer(&[&a]),
            answer(&[&packet(b"\x01a\x01b")]),
        ] {
            assert_ne!(other.unordered, there.unordered);
        }
    }

    /// The same row twice and another twice must not cancel out.
    #[test]
    fn how_often_a_row_is_there_counts() {
        let (a, b) = (packet(b"\x01a"), packet(b"\x01b"));
        assert_ne!(answer(&[&a, &a, &b]).unordered, answer(&[&a, &b, &b]).unordered);
    }

    #[test]
    fn a_row_over_several_packets_is_one() {
        let long = vec![b'x'; MAX_PAYLOAD];
        let first = packet(&long);
        // What continues it may begin with any byte.
        let answered = answer(&[&first, &packet(b"\xffrest"), &packet(b"\x01a")]);
        assert_eq!(answered.rows, 2);
        assert_eq!(answer(&[&first, &packet(b"")]).rows, 1);
        assert_ne!(
            answer(&[&first, &packet(b"\xffrest")]).unordered,
            answer(&[&first, &packet(b"\xffresu")]).unordered
        );
    }

    #[test]
    fn progress_is_no_row() {
        let row = packet(b"\x01a");
        assert_eq!(answer(&[&packet(b"\xff\xff\xff..."), &row]), answer(&[&row]));
    }
}
