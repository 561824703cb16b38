//! `LOAD DATA LOCAL INFILE`: the file that a server asks of a client, carried as it arrives and never held.
//!
//! The file is a row of packets, ended by an empty one. What follows them in the client's stream are commands again,
//! so both sides must agree on where that is: numbers are checked here as the server checks them.

use std::future::poll_fn;
use std::task::Poll;

use tandem_protocol::error::DecodeError;
use tandem_protocol::frame::{HEADER_LEN, Header};

use super::registry::{Handle, Signal};
use super::relay::{Client, Error};
use crate::backend::Connection;

/// The client's share of the dialogue: which bytes of its stream are the file's.
#[derive(Debug)]
pub(crate) struct File {
    /// The number that the next frame must have.
    seq: u8,
    /// Bytes of the current frame that are still to come.
    remaining: usize,
    /// The frame before was a full one: an empty frame ends its packet and not the file.
    continued: bool,
    done: bool,
}

impl File {
    pub(crate) fn new(seq: u8) -> Self {
        Self {
            seq,
            remaining: 0,
            continued: false,
            done: false,
        }
    }

    /// How many bytes at the start of `input` belong to the file. 0 means that more must be read first, or that the
    /// file has ended.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let mut taken = 0;
        loop {
            let now = self.remaining.min(input.len() - taken);
            taken += now;
            self.remaining -= now;
            if self.remaining > 0 || self.done {
                return Ok(taken);
            }
            let Some(header) = Header::peek(&input[taken..]) else {
                return Ok(taken);
            };
            if header.seq != self.seq {
                return Err(DecodeError::Sequence {
                    expected: self.seq,
                    got: header.seq,
                });
            }
            self.seq = self.seq.wrapping_add(1);
            self.done = header.len == 0 && !self.continued;
            self.continued = header.is_continued();
            self.remaining = HEADER_LEN + header.len;
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done && self.remaining == 0
    }
}

/// Carries the file, whose first packet has the number `seq`, from the client to the server. Returns its size.
///
/// A server that gives up in the middle says why and closes: what it said is in the connection's inbox then.
///
/// # Errors
/// See [`Error`]; neither side can go on after one.
pub(super) async fn carry_file(
    handle: &Handle,
    client: &mut Client,
    connection: &mut Connection,
    seq: u8,
) -> Result<u64, Error> {
    let mut file = File::new(seq);
    let mut size = 0;
    while !file.is_done() {
        let advanced = file.advance(client.inbox.bytes());
        let count = advanced.map_err(Error::OutOfOrder)?;
        if count == 0 {
            read_on(handle, client, connection).await?;
            continue;
        }
        let write = connection.stream.write_all(&client.inbox.bytes()[..count]);
        if let Err(error) = unless_killed(handle, write).await? {
            // What it had to say may have been overlooked until now.
            let Connection { stream, inbox, .. } = connection;
            let _ = poll_fn(|cx| Poll::Ready(inbox.poll_fill(cx, stream, 1))).await;
            return Err(Error::Server(error));
        }
        size += count as u64;
        client.inbox.consume(count);
    }
    Ok(size)
}

/// A server that does not read must not keep a killed session alive.
async fn unless_killed<T>(handle: &Handle, work: impl Future<Output = T>) -> Result<T, Error> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if handle.signal() == Signal::Kill {
            return Poll::Ready(Err(Error::Killed));
        }
        handle.watch(cx);
        Poll::Pending
    })
    .await
}

/// Reads more of the file. How long a client may take is the server's business (`net_read_timeout`): it is watched, so
/// that its end is noticed while the client is silent.
async fn read_on(handle: &Handle, client: &mut Client, connection: &mut Connection) -> Result<(), Error> {
    let read = poll_fn(|cx| {
        if let Poll::Ready(read) = client.inbox.poll_fill(cx, &mut client.stream, 1) {
            return Poll::Ready(read.map_err(Error::Client));
        }
        if handle.signal() == Signal::Kill {
            return Poll::Ready(Err(Error::Killed));
        }
        handle.watch(cx);
        while connection.inbox.len() < LAST_WORDS {
            match connection.inbox.poll_fill(cx, &mut connection.stream, 1) {
                Poll::Ready(Ok(0)) => {
                    let gone = std::io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Err(Error::Server(gone.into())));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Server(error))),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    });
    match read.await? {
        0 => Err(Error::ClientGone),
        _ => Ok(()),
    }
}

/// More than an error packet, whose text has at most 512 bytes: what a server says before the file has ended.
const LAST_WORDS: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use tandem_protocol::frame::MAX_PAYLOAD;

    use super::*;

    fn frame(seq: u8, len: usize) -> Vec<u8> {
        let mut bytes = Header { len, seq }.encode().to_vec();
        bytes.resize(HEADER_LEN + len, b'x');
        bytes
    }

    #[test]
    fn a_file_ends_with_an_empty_packet_at_every_split() {
        let bytes = [frame(2, 5), frame(3, 1), frame(4, 0), b"a command".to_vec()].concat();
        let whole = bytes.len() - 9;
        for split in 0..bytes.len() {
            let mut file = File::new(2);
            let first = file.advance(&bytes[..split]).unwrap();
            let second = file.advance(&bytes[first..]).unwrap();
            assert_eq!(first + second, whole, "split at {split}");
            assert!(file.is_done());
            assert_eq!(file.advance(&bytes[whole..]), Ok(0));
        }
    }

    #[test]
    fn an_empty_frame_behind_a_full_one_ends_only_a_packet() {
        let bytes = [frame(255, MAX_PAYLOAD), frame(0, 0), frame(1, 0)].concat();
        let mut file = File::new(255);
        let almost = bytes.len() - HEADER_LEN;
        assert_eq!(file.advance(&bytes[..almost]), Ok(almost));
        assert!(!file.is_done());
        assert_eq!(file.advance(&bytes[almost..]), Ok(HEADER_LEN));
        assert!(file.is_done());
    }

    #[test]
    fn a_wrong_number_ends_it() {
        let mut file = File::new(2);
        let wrong = DecodeError::Sequence { expected: 2, got: 3 };
        assert_eq!(file.advance(&frame(3, 0)), Err(wrong));
    }
}
