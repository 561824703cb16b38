//! Over what has arrived of a reply: one loop for all who follow a server's answer.

use std::ops::ControlFlow;

use tandem_protocol::response::{Control, Step, Walker};

use super::relay::Error;
use crate::backend::Connection;

/// How far the reply can be followed in what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes at the start of the inbox that were walked over.
    pub(super) ready: usize,
    /// How many must be there behind them to go on.
    pub(super) needed: usize,
    /// Where among these the first byte of a row is, if the walker parts them.
    pub(super) rows_at: Option<usize>,
}

/// A packet that a walker has handed out: where it stands in the connection's inbox, with its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) kind: Control,
}

/// Walks to the end of what has arrived, at most `limit` bytes, or of the reply. `rows` gets the bytes of rows, if the walker
/// parts them.
///
/// `look` is shown each packet that means something, may change it in the inbox, and says how long it is then; it breaks
/// off where nothing that follows may be looked at yet.
///
/// # Errors
/// Those of the walker and of `look`.
#[inline]
pub(super) fn walk(
    walker: &mut Walker,
    connection: &mut Connection,
    mut rows: impl FnMut(&[u8]),
    limit: usize,
    mut look: impl FnMut(&mut Connection, Packet) -> Result<ControlFlow<usize, usize>, Error>,
) -> Result<Walked, Error> {
    let mut ready = 0;
    let mut rows_at = None;
    while !walker.is_done() {
        let arrived = connection.inbox.bytes();
        let input = &arrived[ready..arrived.len().min(limit)];
        if input.is_empty() {
            break;
        }
        match walker.step(input)? {
            Step::Pass(count) => {
                if walker.is_in_rows() {
                    rows_at = rows_at.or(Some(ready));
                    rows(&input[..count]);
                }
                ready += count;
            }
            Step::Need(needed) => {
                return Ok(Walked {
                    ready,
                    needed,
                    rows_at,
                });
            }
            Step::Packet { len, kind } => match look(connection, Packet { at: ready, len, kind })? {
                ControlFlow::Continue(len) => ready += len,
                ControlFlow::Break(len) => {
                    ready += len;
                    break;
                }
            },
        }
    }
    Ok(Walked {
        ready,
        needed: 1,
        rows_at,
    })
}
