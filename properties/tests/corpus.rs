//! Every property holds on its corpus and seeds, on each truncation of them, and on mutations: ten of each input, or
//! `TANDEM_PROPERTY_MUTATIONS`, with another start for `TANDEM_SEED`.
//!
//! The corpus is what fuzzing found worth keeping: `corpus/NAME.txt`, an input in hex a line. The mutations come from
//! one seed, so that a failure comes again; the message has the input in hex, ready to be a line of the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tandem_properties::{ALL, Property, seeds, unhex};

/// Truncations of a property's inputs, all together: where there are more, every so many bytes only.
const CUTS: usize = 20_000;
const MUTATIONS: u64 = 10;
const SEED: u64 = 0x5eed;

fn number(variable: &str, usually: u64) -> u64 {
    std::env::var(variable).map_or(usually, |text| text.parse().expect("a number"))
}

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/corpus/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(unhex).chain(seeds(name)).collect()
}

fn check(name: &str, property: Property, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| property(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!(
            "{name} does not hold for {hex}\n{}",
            String::from_utf8_lossy(input)
        );
    }
}

fn everything(name: &str) {
    let (_, property) = ALL.iter().find(|(known, _)| *known == name).expect(name);
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has nothing to start from");
    // Of zero nothing but zeros comes.
    let mut dice = Dice(number("TANDEM_SEED", SEED).max(1));
    let mutations = number("TANDEM_PROPERTY_MUTATIONS", MUTATIONS);
    let bytes: usize = inputs.iter().map(Vec::len).sum();
    for input in &inputs {
        for cut in (0..input.len()).step_by(bytes.div_ceil(CUTS)) {
            check(name, *property, &input[..cut]);
        }
        check(name, *property, input);
        for _ in 0..mutations {
            let other = &inputs[dice.below(inputs.len())];
            check(name, *property, &dice.mutate(input, other));
        }
    }
}

macro_rules! properties {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { everything(stringify!($name)); })*

        #[test]
        fn every_property_is_tested_here() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>(), tested);
        }
    };
}

properties!(
    wire, packets, commands, names, greetings, connect, accept, frames, walker, tail, proxied, positions,
    settings, file, reports, packed, unpacked, beginnings, stored, signatures, accounts, classify, dress,
    lines, secrets,
);

/// A small generator with a fixed seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// Flips, sets, removes or doubles something, or goes on as another input does.
    fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(out.len());
            let end = (at + 1 + self.below(8)).min(out.len());
            match self.below(5) {
                0 if at < out.len() => out[at] ^= 1 << self.below(8),
                1 if at < out.len() => out[at] = self.below(256) as u8,
                2 => drop(out.drain(at..end)),
                3 => {
                    let part = out[at..end].to_vec();
                    out.splice(at..at, part);
                }
                _ => {
                    out.truncate(at);
                    out.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
        out
    }
}
