//! Doors for `properties/`, whose tests and fuzzers see this crate from outside. Nobody else's business.

use tandem_protocol::frame::Header;

use crate::classify::Dialect;
use crate::classify::lexer::{Kind, Lexer};
pub use crate::directory::fuzzing::{Accounts, host_matches};
use crate::net::compressed::Frames;
use crate::session::reports::Filter;
use crate::session::tail::Tail;
use crate::session::upload::File;
use crate::topology::Flavor;
use crate::topology::reports::Reports;

/// A token: where it stands, and what matters to whoever writes the text again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub start: usize,
    pub end: usize,
    /// White space or a comment stands before it.
    pub spaced: bool,
    /// A name without quotes, or a keyword.
    pub word: bool,
    /// A string, a number or a parameter.
    pub literal: bool,
}

/// The tokens of `text`; `None` where it can't be read to its end.
pub fn tokens(text: &[u8], dialect: Dialect) -> Option<Vec<Seen>> {
    let mut lexer = Lexer::new(text, dialect);
    let seen = lexer.by_ref().map(|token| Seen {
        start: token.start as usize,
        end: token.end as usize,
        spaced: token.spaced,
        word: token.kind == Kind::Word,
        literal: token.is_literal(),
    });
    let seen = seen.collect();
    (!lexer.broken()).then_some(seen)
}

/// Follows a command that is too long to be held, and that arrives in `pieces`: how many bytes belong to it and
/// whether it ended; `None` where it declares more than `limit`.
pub fn long_command(pieces: &[&[u8]], limit: usize) -> Option<(usize, bool)> {
    let bytes = pieces.concat();
    let mut tail = Tail::new(Header::peek(&bytes)?, limit).ok()?;
    let (mut at, mut end) = (0, 0);
    for piece in pieces {
        end += piece.len();
        at += tail.advance(&bytes[at..end]).ok()?;
    }
    Some((at, tail.is_done()))
}

/// Follows a client's file that arrives in `pieces`, its first packet numbered `seq`: how many bytes belong to it and
/// whether it ended; `None` where a number is wrong.
pub fn uploaded(pieces: &[&[u8]], seq: u8) -> Option<(usize, bool)> {
    let (bytes, mut file) = (pieces.concat(), File::new(seq));
    let (mut at, mut end) = (0, 0);
    for piece in pieces {
        end += piece.len();
        while !file.is_done() {
            match file.advance(&bytes[at..end]).ok()? {
                0 => break,
                count => at += count,
            }
        }
    }
    Some((at, file.is_done()))
}

/// Where the numbers of plain packets stand in a stream that arrives in `pieces`, and whether each packet continues one.
pub fn numbers(pieces: &[&[u8]]) -> Vec<(usize, bool)> {
    let (mut frames, mut before, mut found) = (Frames::default(), 0, Vec::new());
    for piece in pieces {
        let mut at = 0;
        while let Some((index, continued)) = frames.next(piece, &mut at) {
            found.push((before + index, continued));
        }
        before += piece.len();
    }
    found
}

/// What of a session's state a client is told that wants `reports`; `None` where it can't be read.
pub fn filtered(reports: &Reports, flavor: Flavor, session_state: &[u8]) -> Option<Vec<u8>> {
    Filter::new(reports, flavor).apply(session_state).ok()
}
