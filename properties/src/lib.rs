//! What holds for any bytes that a client or a server may send.
//!
//! A property takes bytes and panics where something is wrong. `tests/corpus.rs` runs all of them on a committed
//! corpus, on every truncation and on mutations; `fuzz/` lets libFuzzer look for more. Both call the same functions,
//! and what a fuzzer finds becomes a line of the corpus.

#![expect(clippy::unwrap_used, reason = "a property fails by a panic")]

mod accounts;
mod compressed;
mod handshake;
mod packets;
mod pair;
mod seeds;
mod sql;
mod streams;

pub use seeds::{seeds, unhex};

pub type Property = fn(&[u8]);

/// Every property by its name, which is also that of its file in `corpus/`.
pub const ALL: &[(&str, Property)] = &[
    ("wire", packets::wire),
    ("packets", packets::packets),
    ("commands", packets::commands),
    ("names", packets::names),
    ("greetings", handshake::greetings),
    ("connect", handshake::connect),
    ("accept", handshake::accept),
    ("frames", streams::frames),
    ("walker", streams::walker),
    ("tail", pair::tail),
    ("proxied", pair::proxied),
    ("positions", pair::positions),
    ("settings", pair::settings),
    ("file", pair::file),
    ("reports", pair::reports),
    ("packed", compressed::packed),
    ("unpacked", compressed::unpacked),
    ("beginnings", compressed::beginnings),
    ("stored", accounts::stored),
    ("signatures", accounts::signatures),
    ("accounts", accounts::accounts),
    ("classify", sql::classify),
    ("dress", sql::dress),
    ("lines", sql::lines),
    ("secrets", sql::secrets),
];

/// Choices are read from the front of the input, so that a fuzzer can make them; the rest is what is looked at.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        std::array::from_fn(|at| head.get(at).copied().unwrap_or(0))
    }

    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A length of two bytes and as much of what follows.
    fn part(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let len = usize::from(self.u16()).min(self.0.len());
        let (part, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(part)
    }
}
