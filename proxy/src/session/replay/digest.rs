//! A sum over what a reply told a client, to be compared when the statement is played again.
//!
//! What counts: rows, byte for byte, and of each result without rows the affected rows, the insert id and the number in
//! its text; of an error its code. What two servers may say differently about the same rows does not: definitions of
//! columns (lengths and flags follow the optimizer's plan), status flags, warnings, positions, reports of changes.

/// What came but for the rows, and in the end those.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest {
    rows: u64,
    results: u64,
}

/// Summed up bit by bit, as they pass. Where the bytes were cut makes no difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// One for each word of a block, so that their products need not wait for each other.
    lanes: [u64; LANES],
    /// The beginning of a block.
    begun: [u8; BLOCK],
    begun_len: usize,
}

/// What is left of a [`Digest`] to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

const LANES: usize = 4;
const WORD: usize = size_of::<u64>();
const BLOCK: usize = LANES * WORD;

impl Rows {
    /// Adds bytes as they came: a row's length and number are among them.
    pub fn add(&mut self, mut bytes: &[u8]) {
        if self.begun_len > 0 {
            let count = bytes.len().min(BLOCK - self.begun_len);
            let (first, rest) = bytes.split_at(count);
            self.begun[self.begun_len..self.begun_len + count].copy_from_slice(first);
            self.begun_len += count;
            bytes = rest;
            if self.begun_len < BLOCK {
                return;
            }
            add_block(&mut self.lanes, &self.begun);
            self.begun_len = 0;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut lanes = self.lanes;
        for block in blocks {
            add_block(&mut lanes, block);
        }
        self.lanes = lanes;
        self.begun[..rest.len()].copy_from_slice(rest);
        self.begun_len = rest.len();
    }

    /// Of all that was added so far.
    pub fn sum(&self) -> u64 {
        let mut last = [0; BLOCK];
        last[..self.begun_len].copy_from_slice(&self.begun[..self.begun_len]);
        let mut lanes = self.lanes;
        add_block(&mut lanes, &last);
        lanes.into_iter().fold(self.begun_len as u64, mix)
    }
}

#[inline]
fn add_block(lanes: &mut [u64; LANES], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<WORD>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = mix(*lane, u64::from_le_bytes(*word));
    }
}

impl Digest {
    /// Takes over the sum of all rows of the reply.
    pub fn rows(&mut self, rows: &Rows) {
        self.rows = rows.sum();
    }

    /// Adds a result without rows; `told` is the first number in its text (`Rows matched: 3`).
    pub fn done(&mut self, affected: u64, insert_id: u64, told: Option<u64>) {
        for part in [affected, insert_id, told.map_or(0, |told| told.wrapping_add(1))] {
            self.results = mix(self.results, part);
        }
    }

    pub fn error(&mut self, code: u16) {
        self.results = mix(self.results, ERROR | u64::from(code));
    }

    pub fn sum(&self) -> Sum {
        Sum(mix(self.rows, self.results))
    }
}

/// Tells an error from a number of rows.
const ERROR: u64 = 1 << 32;

/// The fraction of π, without a zero at its end: a product keeps all bits of both.
const SEED: u64 = 0x243f_6a88_85a3_08d3;

/// One word more: the two halves of a product, folded.
pub(crate) fn mix(sum: u64, word: u64) -> u64 {
    let product = u128::from(sum ^ word ^ SEED) * u128::from(MULTIPLIER);
    (product as u64 ^ (product >> 64) as u64).rotate_left(17)
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[&[u8]]) -> Sum {
        let (mut digest, mut rows) = (Digest::default(), Rows::default());
        for part in parts {
            rows.add(part);
        }
        digest.rows(&rows);
        digest.sum()
    }

    /// A reply comes in other pieces the second time.
    #[test]
    fn where_the_bytes_were_cut_makes_no_difference() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = sum(&[&bytes]);
        for first in 0..=bytes.len() {
            for second in (first..=bytes.len()).step_by(7) {
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(sum(&parts), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn each_bit_and_each_length_counts() {
        let bytes = [0_u8; 40];
        let mut seen: Vec<Sum> = (0..=bytes.len()).map(|len| sum(&[&bytes[..len]])).collect();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            seen.push(sum(&[&changed]));
        }
        seen.sort_by_key(|sum| sum.0);
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn results_without_rows_and_errors_count() {
        let of = |make: &dyn Fn(&mut Digest)| {
            let mut digest = Digest::default();
            make(&mut digest);
            digest.sum()
        };
        let one = of(&|digest| digest.done(1, 0, None));
        assert_eq!(one, of(&|digest| digest.done(1, 0, None)));
        for other in [
            of(&|_| {}),
            of(&|digest| digest.done(0, 1, None)),
            of(&|digest| digest.done(1, 0, Some(0))),
            of(&|digest| digest.error(1)),
            of(&|digest| {
                digest.done(1, 0, None);
                digest.done(0, 0, None);
            }),
        ] {
            assert_ne!(one, other);
        }
    }
}
