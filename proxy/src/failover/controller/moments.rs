//! How long writes are held at a time: the pause that a switchover is.

use std::fmt;
use std::time::{Duration, Instant};

/// The moments in which writes were held, one after the other.
#[derive(Default)]
pub(super) struct Moments {
    /// How many there were, see [`crate::topology::derive::Holding::Moment`].
    count: u64,
    now: Option<Moment>,
    longest: Held,
}

struct Moment {
    since: Instant,
    /// When the writes that were under way had ended.
    quiet: Option<Instant>,
}

/// How long one moment was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    took: Duration,
    /// So much of it until the writes had ended that were under way when it began.
    until_quiet: Duration,
}

impl Moments {
    /// Notes whether writes are held from now on; returns the number of the moment if they are.
    pub(super) fn note(&mut self, holding: bool, now: Instant) -> Option<u64> {
        if let Some(moment) = self.now.take() {
            let held = Held {
                took: now - moment.since,
                until_quiet: moment.quiet.unwrap_or(now) - moment.since,
            };
            if held.took > self.longest.took {
                self.longest = held;
            }
        }
        holding.then(|| {
            self.now = Some(Moment {
                since: now,
                quiet: None,
            });
            self.count += 1;
            self.count
        })
    }

    /// No write is under way any more.
    pub(super) fn note_quiet(&mut self, now: Instant) {
        if let Some(moment) = &mut self.now {
            moment.quiet.get_or_insert(now);
        }
    }

    pub(super) fn forget_longest(&mut self) {
        self.longest = Held::default();
    }

    /// The longest one since it was last forgotten.
    pub(super) fn longest(&self) -> Held {
        self.longest
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "writes were held for {} ms at most, {} of them until those under way had ended",
            self.took.as_millis(),
            self.until_quiet.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_moment_is_told_of_with_what_it_waited_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut moments = Moments::default();
        assert_eq!(moments.note(true, at(0)), Some(1));
        moments.note_quiet(at(8));
        moments.note_quiet(at(30));
        assert_eq!(moments.note(false, at(40)), None);
        assert_eq!(moments.note(true, at(42)), Some(2), "a shorter one");
        moments.note(false, at(60));
        let told = "writes were held for 40 ms at most, 8 of them until those under way had ended";
        assert_eq!(moments.longest().to_string(), told);
        moments.forget_longest();
        assert_eq!(moments.longest(), Held::default());
    }
}
