//! `rate`: how many statements of a rule go through in a time, counted for all workers in one number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::rule::Rate;

/// Lets so many through at once as come in one period, and then one after the other: the generic cell rate algorithm.
#[derive(Debug)]
pub struct Gate {
    /// Nanoseconds for one statement.
    each: u64,
    period: u64,
    /// When the next would come if they came evenly; in nanoseconds of the clock that it is asked by.
    next: AtomicU64,
}

impl Gate {
    pub fn new(rate: Rate) -> Self {
        let period = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX);
        Self {
            each: period / u64::from(rate.count.max(1)),
            period,
            next: AtomicU64::new(0),
        }
    }

    /// How long a statement has to wait that comes at `now`, if that is no longer than `patience`; it has its turn then.
    ///
    /// # Errors
    /// How long it would have to wait; it has no turn.
    pub fn enter(&self, now: Duration, patience: Duration) -> Result<Duration, Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let due = next.max(now).saturating_add(self.each);
            let wait = due.saturating_sub(now.saturating_add(self.period));
            if wait > patience {
                return Err(Duration::from_nanos(wait));
            }
            match self
                .next
                .compare_exchange_weak(next, due, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(Duration::from_nanos(wait)),
                Err(other) => next = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(count: u32) -> Gate {
        Gate::new(Rate {
            count,
            period: SECOND,
        })
    }

    /// A period's worth at once, then evenly, and what was not used is there again later, but never more.
    #[test]
    fn so_many_in_a_period() {
        let gate = gate(10);
        let through = |at: Duration| {
            (0..100)
                .filter(|_| gate.enter(at, Duration::ZERO).is_ok())
                .count()
        };
        assert_eq!(through(SECOND), 10);
        assert_eq!(through(SECOND + SECOND / 10), 1);
        assert_eq!(through(SECOND + SECOND / 2), 4);
        assert_eq!(through(100 * SECOND), 10);
    }

    /// Who may wait gets his turn when it comes, and nobody waits longer than he may.
    #[test]
    fn who_waits_has_his_turn() {
        let gate = gate(10);
        let waits: Vec<_> = (0..20).map(|_| gate.enter(SECOND, SECOND / 2)).collect();
        assert!(
            waits[..10].iter().all(|wait| *wait == Ok(Duration::ZERO)),
            "{waits:?}"
        );
        let later: Vec<_> = (1..=5).map(|n| Ok(SECOND / 10 * n)).collect();
        assert_eq!(waits[10..15], later);
        assert!(
            waits[15..].iter().all(|wait| *wait == Err(SECOND / 10 * 6)),
            "{waits:?}"
        );
    }
}
