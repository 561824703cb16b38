//! How long statements took, by server: for metrics, with the same bounds for ever.

use std::ops::AddAssign;
use std::time::Duration;

/// The most that counts into each bucket, in milliseconds; what took longer is in none but the last, which has no bound.
pub const BOUNDS: [f64; 14] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0,
];

/// The times of one server's statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// By bucket, and behind them those above all bounds.
    pub counts: [u64; BOUNDS.len() + 1],
    pub time: Duration,
}

impl Latency {
    #[inline]
    pub fn add(&mut self, time: Duration) {
        let millis = time.as_secs_f64() * 1000.0;
        let bucket = BOUNDS.iter().position(|bound| millis <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.time += time;
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many took at most each bound, in the order of the bounds.
    pub fn up_to(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        BOUNDS.into_iter().zip(self.counts).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }
}

impl AddAssign<&Latency> for Latency {
    fn add_assign(&mut self, other: &Latency) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.time += other.time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time counts for its bound and all above it.
    #[test]
    fn buckets_are_sums() {
        let mut latency = Latency::default();
        for millis in [1, 2, 70_000] {
            latency.add(Duration::from_millis(millis));
        }
        let up_to: Vec<u64> = latency.up_to().map(|(_, count)| count).collect();
        assert_eq!(up_to[..3], [0, 1, 2]);
        assert_eq!((up_to[13], latency.count()), (2, 3));
    }
}
