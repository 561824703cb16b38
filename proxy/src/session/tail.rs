//! The part of a long command that has not been read yet: where it ends, frame by frame.

use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};

/// The client declared a command larger than `limits.command_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Follows the frames of one command as its bytes stream by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// Bytes of the current frame that are still to come.
    remaining: usize,
    /// The current frame was a full one: another follows.
    continued: bool,
    /// Bytes that the command may still declare.
    allowance: usize,
    /// The number of the current frame.
    seq: u8,
}

impl Tail {
    /// Starts with the first frame's header, which the caller has seen.
    ///
    /// # Errors
    /// [`TooLong`] when the frame alone is over `limit`.
    pub(crate) fn new(header: Header, limit: usize) -> Result<Self, TooLong> {
        Ok(Self {
            remaining: HEADER_LEN + header.len,
            continued: header.len == MAX_PAYLOAD,
            allowance: limit.checked_sub(header.len).ok_or(TooLong)?,
            seq: header.seq,
        })
    }

    /// The number of a reply that comes now: servers count on from the last frame that they have read.
    pub(super) fn reply_seq(&self) -> u8 {
        self.seq.wrapping_add(1)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.remaining == 0 && !self.continued
    }

    /// How many bytes at the start of `input` belong to the command. 0 means that more must be read first.
    ///
    /// # Errors
    /// [`TooLong`] when a further frame goes over the limit.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<usize, TooLong> {
        let mut taken = 0;
        loop {
            let now = self.remaining.min(input.len() - taken);
            taken += now;
            self.remaining -= now;
            if self.remaining > 0 || !self.continued {
                return Ok(taken);
            }
            let Some(header) = Header::peek(&input[taken..]) else {
                return Ok(taken);
            };
            self.seq = header.seq;
            self.allowance = self.allowance.checked_sub(header.len).ok_or(TooLong)?;
            self.remaining = HEADER_LEN + header.len;
            self.continued = header.len == MAX_PAYLOAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Vec<u8> {
        let mut bytes = Header { len, seq: 0 }.encode().to_vec();
        bytes.resize(HEADER_LEN + len, 7);
        bytes
    }

    fn header(len: usize) -> Header {
        Header { len, seq: 0 }
    }

    #[test]
    fn one_frame_ends_where_it_says_at_every_split() {
        let bytes = [frame(10), vec![1, 2, 3]].concat();
        for split in 1..14 {
            let mut tail = Tail::new(header(10), 100).expect("within the limit");
            let first = tail.advance(&bytes[..split]).expect("fine");
            let second = tail.advance(&bytes[first..]).expect("fine");
            assert_eq!(first + second, 14, "split at {split}");
            assert!(tail.is_done());
        }
    }

    #[test]
    fn a_full_frame_is_followed_by_another_even_if_empty() {
        let mut bytes = [frame(MAX_PAYLOAD), frame(0)].concat();
        bytes[HEADER_LEN + MAX_PAYLOAD + 3] = 1;
        let mut tail = Tail::new(header(MAX_PAYLOAD), usize::MAX).expect("within the limit");
        let first = tail.advance(&bytes[..HEADER_LEN + MAX_PAYLOAD]).expect("fine");
        assert!(!tail.is_done());
        assert_eq!(tail.reply_seq(), 1);
        let rest = tail.advance(&bytes[first..]).expect("fine");
        assert_eq!(first + rest, bytes.len());
        assert!(tail.is_done());
        assert_eq!(tail.reply_seq(), 2);
    }

    #[test]
    fn frames_without_end_run_into_the_limit() {
        let bytes = frame(MAX_PAYLOAD);
        let mut tail = Tail::new(header(MAX_PAYLOAD), 3 * MAX_PAYLOAD).expect("within the limit");
        assert!(tail.advance(&bytes).is_ok());
        assert!(tail.advance(&bytes).is_ok());
        assert!(tail.advance(&bytes).is_ok());
        assert_eq!(tail.advance(&bytes), Err(TooLong));
        assert!(Tail::new(header(10), 9).is_err());
    }
}
