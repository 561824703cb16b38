//! The fingerprint of a statement's shape, made while it is lexed.
//!
//! Statements that differ in literals only, or in how often one element of a list is repeated, have one shape:
//! `IN (1,2,3)` is `IN (7)`, a hundred equal rows after `VALUES` are two. Names count as they are written, since
//! [`super::facts::Tables`] keeps them so.

use super::hint::Hints;
use super::lexer::{Kind, Lexer, Token};
use super::{Dialect, Fingerprint};

/// What the cache is asked with: the public fingerprint, and 64 more bits under a secret seed, so that nobody
/// can make a statement that is taken for another one's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) fingerprint: Fingerprint,
    pub(super) guard: u64,
}

/// The shape of `text`, or nothing where the text can't be read to its end.
///
/// `whole` is false where `text` is only the beginning of a longer statement. `outer` is room that is used again and again.
pub(crate) fn shape(
    text: &[u8],
    dialect: Dialect,
    seed: u64,
    whole: bool,
    outer: &mut Outer,
) -> Option<Shape> {
    let mut lexer = Lexer::new(text, dialect);
    let mut builder = Builder::new(Some(dialect), seed, whole, outer);
    for token in lexer.by_ref() {
        builder.token(text, &token);
    }
    if whole && lexer.broken() {
        return None;
    }
    builder.hints(lexer.hints());
    Some(builder.finish())
}

/// The shape of one statement of a text that was read to its end, whatever the dialect by which it was.
pub(super) fn shape_of(text: &[u8], tokens: &[Token], hints: Hints, seed: u64) -> Shape {
    let mut outer = Outer::default();
    let mut builder = Builder::new(None, seed, true, &mut outer);
    for token in tokens {
        builder.token(text, token);
    }
    builder.hints(hints);
    builder.finish()
}

/// Whether a word stands for a value at this place: rows that differ in their NULLs are still one shape.
pub(crate) fn is_value_word(word: &[u8], before: Kind) -> bool {
    matches!(before, Kind::Mark(b'(' | b','))
        && matches!(word.len(), 4 | 5 | 7)
        && VALUE_WORDS.iter().any(|value| word.eq_ignore_ascii_case(value))
}

const VALUE_WORDS: [&[u8]; 4] = [b"NULL", b"DEFAULT", b"TRUE", b"FALSE"];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Lanes {
    open: u64,
    secret: u64,
}

impl Lanes {
    const START: Lanes = Lanes {
        open: 0x9e37_79b9_7f4a_7c15,
        secret: 0x2545_f491_4f6c_dd1d,
    };

    #[inline]
    fn mix(&mut self, seed: u64, value: u64) {
        self.open = fold(self.open ^ value, 0xa076_1d64_78bd_642f);
        self.secret = fold(self.secret ^ value ^ seed, 0xe703_7ed1_a0b4_28db ^ seed);
    }

    fn lanes(&mut self, seed: u64, other: Lanes) {
        self.open = fold(self.open ^ other.open, 0xa076_1d64_78bd_642f);
        self.secret = fold(self.secret ^ other.secret ^ seed, 0xe703_7ed1_a0b4_28db ^ seed);
    }
}

/// 64 × 64 → 128 bits, folded: every bit in reaches every bit out.
#[inline]
fn fold(value: u64, factor: u64) -> u64 {
    let wide = u128::from(value.wrapping_add(0x1656_67b1_9e37_79f9)) * u128::from(factor | 1);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// A comma-separated list that is being read: what it held so far, the element being read, the one before.
#[derive(Clone, Copy)]
struct List {
    done: Lanes,
    element: Lanes,
    last: Option<Lanes>,
}

impl List {
    const START: List = List {
        done: Lanes::START,
        element: Lanes::START,
        last: None,
    };

    fn close_element(&mut self, seed: u64) {
        if self.last != Some(self.element) {
            self.done.lanes(seed, self.element);
        }
        self.last = Some(self.element);
        self.element = Lanes::START;
    }
}

/// Deeper parentheses than this are counted like any other token.
const DEEPEST: usize = 24;

/// The lists around the one that is being read.
#[derive(Default)]
pub(crate) struct Outer(Vec<List>);

struct Builder<'a> {
    seed: u64,
    /// [`DEEPEST`] at most.
    outer: &'a mut Vec<List>,
    depth: usize,
    list: List,
    before: Kind,
}

impl<'a> Builder<'a> {
    /// Facts depend on the dialect, and so does the guard. The fingerprint does not: rules and the firewall know a statement by
    /// it, also when the servers have got another version.
    fn new(dialect: Option<Dialect>, seed: u64, whole: bool, outer: &'a mut Outer) -> Self {
        let mut list = List::START;
        list.done.mix(seed, u64::from(whole));
        if let Some(dialect) = dialect {
            let flags = u64::from(dialect.flavor == crate::topology::Flavor::MySql)
                | u64::from(dialect.ansi_quotes) << 1
                | u64::from(dialect.no_backslash_escapes) << 2
                | u64::from(dialect.ignore_space) << 3
                | u64::from(dialect.multibyte) << 4
                | u64::from(dialect.version) << 8;
            let mut guarded = list.done;
            guarded.mix(seed, flags);
            list.done.secret = guarded.secret;
        }
        outer.0.clear();
        Self {
            seed,
            outer: &mut outer.0,
            depth: 0,
            list,
            before: Kind::Semicolon,
        }
    }

    #[inline]
    fn token(&mut self, text: &[u8], token: &Token) {
        match token.kind {
            Kind::Word | Kind::Quoted => self.name(token.kind, token.bytes(text)),
            // Strings side by side are one string.
            Kind::Text if self.before == Kind::Text => {}
            Kind::Text | Kind::Number | Kind::Param => self.mark(LITERAL),
            Kind::UserVariable => self.mark(1),
            Kind::SystemVariable => self.mark(2),
            Kind::Assign => self.mark(3),
            Kind::Semicolon => self.mark(4),
            Kind::Mark(b',') if self.depth <= DEEPEST => self.list.close_element(self.seed),
            Kind::Mark(b'(') => self.open(token.spaced),
            Kind::Mark(b')') => self.close(),
            Kind::Mark(byte) => self.mark(256 + u64::from(byte)),
        }
        self.before = token.kind;
    }

    fn hints(&mut self, hints: Hints) {
        hints.mix(|value| self.list.done.mix(self.seed, value));
    }

    fn mark(&mut self, code: u64) {
        self.list.element.mix(self.seed, code);
    }

    fn name(&mut self, kind: Kind, name: &[u8]) {
        if kind == Kind::Word && is_value_word(name, self.before) {
            return self.mark(LITERAL);
        }
        let tag = if kind == Kind::Word { 1 << 32 } else { 1 << 33 };
        self.mark(tag | name.len() as u64);
        let (eights, rest) = name.as_chunks::<8>();
        for eight in eights {
            self.mark(u64::from_le_bytes(*eight));
        }
        if !rest.is_empty() {
            self.mark(little_endian(rest));
        }
    }

    fn open(&mut self, spaced: bool) {
        // `COUNT (x)` may call another function than `COUNT(x)`.
        let call = !spaced && self.before == Kind::Word;
        self.mark(if call { 5 } else { 6 });
        if self.depth < DEEPEST {
            self.outer.push(std::mem::replace(&mut self.list, List::START));
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        let Some(depth) = self.depth.checked_sub(1) else {
            return self.mark(7);
        };
        self.depth = depth;
        if depth >= DEEPEST {
            return self.mark(8);
        }
        self.list.close_element(self.seed);
        let around = self.outer.pop().unwrap_or(List::START);
        let inner = std::mem::replace(&mut self.list, around);
        self.list.element.lanes(self.seed, inner.done);
    }

    fn finish(mut self) -> Shape {
        let unclosed = self.depth as u64;
        while self.depth > 0 {
            self.close();
        }
        // Elements that are equal count once at the end, too: the line for logs is then of one shape.
        self.list.close_element(self.seed);
        self.mark(unclosed);
        self.list.close_element(self.seed);
        Shape {
            fingerprint: Fingerprint(self.list.done.open),
            guard: self.list.done.secret,
        }
    }
}

const LITERAL: u64 = 9;

/// The number that fewer than eight bytes are, without a copy of unknown length, which costs as much as all the rest.
fn little_endian(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Where both overlap they are the same.
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last));
            u64::from(u32::from_le_bytes(*first)) | last << (8 * (bytes.len() - 4))
        }
        _ => bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}
