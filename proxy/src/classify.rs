//! Statement text → [`facts::Facts`], once for each shape of statement.
//!
//! A one-pass lexer makes the fingerprint of the statement's shape; its facts are found in a cache, or made once.
//! What isn't proved a pure read is a write. Nothing here does I/O or knows of connections.

mod analyse;
mod body;
mod cache;
pub mod facts;
mod fingerprint;
mod functions;
pub mod globals;
pub mod hint;
pub mod identity;
mod kept;
pub mod kill;
mod leaves;
pub(crate) mod lexer;
pub mod matched;
pub mod named;
mod normalise;
pub mod numbers;
mod parsed;
pub(crate) mod set;
mod show;
mod statement;
pub mod substitute;
mod tables;
pub mod tally;
mod variables;
mod verbs;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod table_cases;
#[cfg(test)]
mod tests;

use std::fmt;
use std::rc::Rc;

use crate::topology::Flavor;
use facts::Facts;

pub use analyse::analyse;
pub(crate) use analyse::unreadable;
pub use cache::Classifier;
pub use normalise::normalise;

/// Whether a word stands anywhere in a text, in letters of either size: in a comment, a string or another word too.
pub(crate) fn says(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// How the text must be read: the server's dialect and the session's settings that change lexing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    pub flavor: Flavor,
    /// 10.11.14 is 101114: what versioned comments are compared with.
    pub version: u32,
    /// `"x"` is a name, not a string.
    pub ansi_quotes: bool,
    /// A backslash in a string is a backslash.
    pub no_backslash_escapes: bool,
    /// White space may stand between a function's name and its parenthesis.
    pub ignore_space: bool,
    /// `character_set_client` is one where a second byte may be a backslash or a backtick:
    /// gbk, sjis, cp932, big5, gb18030.
    pub multibyte: bool,
}

impl Dialect {
    /// MariaDB 10.11 with nothing set.
    #[cfg(test)]
    pub(crate) const MARIADB: Self = Self::plain(Flavor::MariaDb, 101_114);

    /// That of a session which has set nothing.
    pub const fn plain(flavor: Flavor, version: u32) -> Self {
        Self {
            flavor,
            version,
            ansi_quotes: false,
            no_backslash_escapes: false,
            ignore_space: false,
            multibyte: false,
        }
    }
}

/// What statements that differ only in their values have in common; also the key of digests.
///
/// 0 is that of texts that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// As tables, logs and rules write it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The fingerprint of `text`; 0 where it can't be read to its end.
pub fn fingerprint(text: &[u8], dialect: Dialect) -> Fingerprint {
    let (seen, whole) = looked_at(text);
    // The seed is for what only the cache sees.
    let shape = fingerprint::shape(seen, dialect, 0, whole, &mut fingerprint::Outer::default());
    shape.map_or(Fingerprint(0), |shape| shape.fingerprint)
}

/// A statement's facts, shared by all statements of its shape.
#[derive(Clone, Debug)]
pub struct Classified {
    pub facts: Rc<Facts>,
    pub fingerprint: Fingerprint,
}

/// How many bytes of a statement are looked at. A longer one is never a pure read.
pub const LOOKED_AT: usize = 1 << 20;

/// The part of `text` that is looked at, and whether that is all of it.
fn looked_at(text: &[u8]) -> (&[u8], bool) {
    match text.get(..LOOKED_AT) {
        Some(seen) if text.len() > LOOKED_AT => (seen, false),
        _ => (text, true),
    }
}
