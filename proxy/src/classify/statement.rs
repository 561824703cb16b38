//! One statement's tokens, and what analysis has found in them so far.

use std::ops::Deref;

use super::Dialect;
use super::facts::{Defines, Kind, Links, Pins, Purity};
use super::lexer::{self, Token};

/// The tokens of one statement: keywords are looked at through this, never through bytes.
///
/// Positions outside the statement are no word, no mark and no kind, so rules need not check bounds.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) tokens: &'a [Token],
    pub(crate) dialect: Dialect,
}

impl<'a> Statement<'a> {
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn kind(&self, at: usize) -> Option<lexer::Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    pub(crate) fn bytes(&self, at: usize) -> &'a [u8] {
        self.tokens
            .get(at)
            .map(|token| token.bytes(self.text))
            .unwrap_or_default()
    }

    /// The word at `at` in capitals where it can be a keyword, else nothing: after a dot it is a name.
    pub(crate) fn keyword(&self, at: usize) -> Keyword {
        match self.kind(at) {
            Some(lexer::Kind::Word) if !self.follows_dot(at) => Keyword::new(self.bytes(at)),
            _ => Keyword::default(),
        }
    }

    pub(crate) fn is(&self, at: usize, keyword: &str) -> bool {
        self.kind(at) == Some(lexer::Kind::Word)
            && !self.follows_dot(at)
            && self.bytes(at).eq_ignore_ascii_case(keyword.as_bytes())
    }

    pub(crate) fn is_one_of(&self, at: usize, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(at, keyword))
    }

    /// Whether the words from `at` on are these.
    pub(crate) fn starts(&self, at: usize, keywords: &[&str]) -> bool {
        keywords
            .iter()
            .enumerate()
            .all(|(n, keyword)| self.is(at + n, keyword))
    }

    pub(crate) fn is_mark(&self, at: usize, mark: u8) -> bool {
        self.kind(at) == Some(lexer::Kind::Mark(mark))
    }

    pub(crate) fn is_name(&self, at: usize) -> bool {
        matches!(self.kind(at), Some(lexer::Kind::Word | lexer::Kind::Quoted))
    }

    /// The name at `at` in small letters and without quotes; empty where there is none.
    pub(crate) fn name(&self, at: usize) -> String {
        let bytes = self.bytes(at);
        let inner = match self.kind(at) {
            Some(lexer::Kind::Word) => bytes,
            Some(lexer::Kind::Quoted) => bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default(),
            _ => return String::new(),
        };
        String::from_utf8_lossy(inner).to_ascii_lowercase()
    }

    pub(crate) fn follows(&self, at: usize, mark: u8) -> bool {
        at.checked_sub(1).is_some_and(|before| self.is_mark(before, mark))
    }

    pub(crate) fn follows_dot(&self, at: usize) -> bool {
        self.follows(at, b'.')
    }

    /// Where the keyword stands for the first time from `at` on, outside parentheses.
    pub(crate) fn find_outside(&self, at: usize, keywords: &[&str]) -> Option<usize> {
        let mut depth = 0_usize;
        for at in at..self.len() {
            match self.kind(at) {
                Some(lexer::Kind::Mark(b'(')) => depth += 1,
                Some(lexer::Kind::Mark(b')')) => depth = depth.saturating_sub(1),
                Some(lexer::Kind::Word) if depth == 0 && self.is_one_of(at, keywords) => {
                    return Some(at);
                }
                _ => {}
            }
        }
        None
    }

    pub(crate) fn contains(&self, keyword: &str) -> bool {
        (0..self.len()).any(|at| self.is(at, keyword))
    }

    /// Past the parenthesis that closes the one at `at`.
    pub(crate) fn past_group(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for at in at..self.len() {
            match self.kind(at) {
                Some(lexer::Kind::Mark(b'(')) => depth += 1,
                Some(lexer::Kind::Mark(b')')) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        self.len()
    }

    /// The statement from `at` on.
    pub(crate) fn rest(&self, at: usize) -> Statement<'a> {
        Statement {
            tokens: self.tokens.get(at..).unwrap_or_default(),
            ..*self
        }
    }

    pub(crate) fn until(&self, end: usize) -> Statement<'a> {
        Statement {
            tokens: self.tokens.get(..end).unwrap_or(self.tokens),
            ..*self
        }
    }
}

/// What may stand between `SELECT` and what it selects.
pub(crate) const SELECT_OPTIONS: &[&str] = &[
    "ALL",
    "DISTINCT",
    "DISTINCTROW",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
    "SQL_SMALL_RESULT",
    "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT",
    "SQL_CACHE",
    "SQL_NO_CACHE",
    "SQL_CALC_FOUND_ROWS",
];

/// A word in capitals, or nothing where it can be no keyword. Made for each word of a statement, so it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyword {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Keyword {
    /// The servers' longest has 38 (MySQL's ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS).
    const LONGEST: usize = 40;

    fn new(word: &[u8]) -> Self {
        let mut keyword = Self::default();
        if let Some(place) = keyword.bytes.get_mut(..word.len())
            && word.is_ascii()
        {
            place.copy_from_slice(word);
            place.make_ascii_uppercase();
            keyword.length = word.len();
        }
        keyword
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Default for Keyword {
    fn default() -> Self {
        Self {
            bytes: [0; Self::LONGEST],
            length: 0,
        }
    }
}

impl Deref for Keyword {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

pub(crate) fn capitals(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_ascii_uppercase()
}

/// What has been found in a statement. Starts as a pure read and only ever gets worse.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    pub(crate) kind: Kind,
    pub(crate) reason: Option<Purity>,
    pub(crate) pins: Pins,
    pub(crate) unpins: Pins,
    pub(crate) links: Links,
    pub(crate) unreported: Vec<Box<str>>,
    /// A function is called that is not built in: what it reads and writes is not in the text.
    pub(crate) calls_unknown: bool,
    pub(crate) defines: Defines,
}

impl Findings {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            reason: None,
            pins: Pins::empty(),
            unpins: Pins::empty(),
            links: Links::empty(),
            unreported: Vec::new(),
            calls_unknown: false,
            defines: match kind {
                Kind::Ddl | Kind::Unknown => Defines::Surely,
                Kind::Execute => Defines::Perhaps,
                _ => Defines::Nothing,
            },
        }
    }

    pub(crate) fn because(kind: Kind, reason: Purity) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(kind)
        }
    }

    pub(crate) fn pinning(mut self, pins: Pins) -> Self {
        self.pins |= pins;
        self
    }

    pub(crate) fn unpinning(mut self, pins: Pins) -> Self {
        self.unpins |= pins;
        self
    }

    /// The first reason stands.
    pub(crate) fn blame(&mut self, reason: Purity) {
        self.reason.get_or_insert(reason);
    }

    /// Adds what a part of the statement, or the next statement of the packet, does.
    pub(crate) fn add(&mut self, other: &Findings) {
        if let Some(reason) = other.reason {
            self.blame(reason);
        }
        self.pins |= other.pins;
        self.links |= other.links;
        self.unreported.extend(other.unreported.iter().cloned());
        self.calls_unknown |= other.calls_unknown;
        self.defines = self.defines.max(other.defines);
    }
}
