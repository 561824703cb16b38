//! How many took how long, in buckets of which each is a quarter of an octave wide: enough to read percentiles from.

use std::time::Duration;

/// Times below 16 µs are not told apart.
const FIRST_OCTAVE: u32 = 4;
/// Nor those from 2^26 µs on, which is a minute.
const END_OCTAVE: u32 = 26;
const PARTS: usize = 4;
const BUCKETS: usize = 1 + (END_OCTAVE - FIRST_OCTAVE) as usize * PARTS + 1;

/// Counts of times. It never overflows: when a count would, all are halved, which leaves the percentiles as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl Spread {
    #[inline]
    pub fn add(&mut self, time: Duration) {
        if self.total == u32::MAX {
            self.halve();
        }
        self.counts[bucket(micros(time))] += 1;
        self.total += 1;
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.total.checked_add(other.total).is_none() {
            self.halve();
            other.halve();
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    fn halve(&mut self) {
        for count in &mut self.counts {
            *count /= 2;
        }
        self.total = self.counts.iter().sum();
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The time that this part of all, from 0 to 1, did not exceed: within a bucket it is taken to grow evenly.
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = (part * f64::from(self.total)).ceil().max(1.0);
        let mut before = 0.0;
        for (index, &count) in self.counts.iter().enumerate() {
            let count = f64::from(count);
            if before + count >= rank {
                let (from, to) = (bound(index) as f64, bound(index + 1) as f64);
                let within = (rank - before - 0.5) / count;
                return Duration::from_micros((from + (to - from) * within) as u64);
            }
            before += count;
        }
        Duration::ZERO
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[inline]
fn bucket(micros: u64) -> usize {
    if micros < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = micros.ilog2();
    if octave >= END_OCTAVE {
        return BUCKETS - 1;
    }
    let part = (micros >> (octave - 2)) as usize % PARTS;
    1 + (octave - FIRST_OCTAVE) as usize * PARTS + part
}

/// The least of a bucket, in microseconds.
fn bound(index: usize) -> u64 {
    let Some(index) = index.checked_sub(1) else {
        return 0;
    };
    let octave = FIRST_OCTAVE + (index / PARTS) as u32;
    if octave >= END_OCTAVE {
        return 1 << END_OCTAVE;
    }
    (1 << octave) + ((index % PARTS) as u64) * (1 << (octave - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each time lies within the bounds of its bucket, and the buckets follow each other without a gap.
    #[test]
    fn every_time_has_its_bucket() {
        for micros in (0..2000).chain((11..40).flat_map(|at| [(1 << at) - 1, 1 << at, (1 << at) * 3 / 2])) {
            let index = bucket(micros);
            assert!(bound(index) <= micros, "{micros}");
            assert!(index + 1 == BUCKETS || micros < bound(index + 1), "{micros}");
        }
    }

    /// Percentiles of times that are spread evenly are where they must be, to a tenth.
    #[test]
    fn percentiles_are_near_the_truth() {
        let mut spread = Spread::default();
        for millis in 1..=1000 {
            spread.add(Duration::from_millis(millis));
        }
        for (part, millis) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let told = spread.quantile(part).as_secs_f64() * 1000.0;
            assert!((told / millis - 1.0).abs() < 0.1, "{part}: {told}");
        }
        assert_eq!(Spread::default().quantile(0.5), Duration::ZERO);
    }

    /// After four billion times it goes on to count, with the same percentiles.
    #[test]
    fn a_full_one_goes_on() {
        let mut spread = Spread::default();
        spread.add(Duration::from_millis(1));
        for _ in 0..31 {
            let other = spread.clone();
            spread.merge(&other);
        }
        let before = spread.quantile(0.5);
        let other = spread.clone();
        spread.merge(&other);
        spread.merge(&other);
        spread.total = u32::MAX;
        spread.add(Duration::from_millis(1));
        let off = spread.quantile(0.5).abs_diff(before);
        assert!(off <= Duration::from_micros(2), "{off:?}");
    }
}
