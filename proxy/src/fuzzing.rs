//! Doors for `properties/`, whose tests and fuzzers see this crate from outside. Nobody else's business.

use tandem_protocol::frame::Header;

use crate::classify::Dialect;
use crate::classify::lexer::{Kind, Lexer};
use crate::session::tail::Tail;

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
