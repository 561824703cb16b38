//! Where commands begin in what a client sends: there the numbers of the compressed packets begin anew.

use crate::frame::{HEADER_LEN, Header};

/// What is to be sent begins with half the header of a plain packet.
#[derive(Debug, Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a packet whose header is torn apart")]
pub struct Torn;

/// Follows the plain packets that go to a server.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// Bytes of the current packet that are still to come.
    left: usize,
    /// The current packet was a full one: the next belongs to the same command.
    continued: bool,
    /// The number of the packet before, unless the server has spoken since.
    previous: Option<u8>,
}

impl Commands {
    /// How many bytes at the start of `input`, which must not be empty, belong together, and whether a command begins
    /// with them.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, bool), Torn> {
        let begins = self.left == 0 && self.begins(Header::peek(input).ok_or(Torn)?);
        let mut taken = 0;
        loop {
            let now = self.left.min(input.len() - taken);
            taken += now;
            self.left -= now;
            if taken == input.len() {
                return Ok((taken, begins));
            }
            let header = match Header::peek(&input[taken..]) {
                Some(header) if taken == 0 || !self.begins(header) => header,
                _ if taken > 0 => return Ok((taken, begins)),
                _ => return Err(Torn),
            };
            self.left = HEADER_LEN + header.len;
            self.continued = header.is_continued();
            self.previous = Some(header.seq);
        }
    }

    /// The server has spoken: what comes now continues nothing that was said before.
    pub fn heard(&mut self) {
        self.previous = None;
    }

    /// A command has the number 0. So has each 256th packet of a file (`LOAD DATA LOCAL`), after one with 255.
    fn begins(&self, header: Header) -> bool {
        header.seq == 0 && !self.continued && self.previous != Some(u8::MAX)
    }
}
