//! Commits of the active master that came past Tandem: found by the numbers that no session has been told.
//!
//! A stream numbers its commits one by one. Whenever the active master says how far it is, the numbers since the last time
//! are gone through: what no session of Tandem has noted somebody else committed, or a session will note in a moment. Both
//! count as a write to all tables, which the standby must have applied.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Commits between two looks; more count as somebody else's.
const NOTED: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct External {
    /// What is known is worth something for so long.
    limit: Duration,
    began: Instant,
    /// Microseconds after `began` when the active master was last asked; 0 is never.
    looked: AtomicU64,
    /// All numbers up to this have been gone through.
    checked: AtomicU64,
    /// Each number in its place.
    noted: Box<[AtomicU64]>,
}

impl External {
    /// `from` is the number that the active master had reached before anybody noted any.
    pub fn new(limit: Duration, from: u64) -> Self {
        Self {
            limit,
            began: Instant::now(),
            looked: AtomicU64::new(0),
            checked: AtomicU64::new(from),
            noted: (0..NOTED).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A session has been told of this commit.
    pub fn note(&self, number: u64) {
        self.place(number).store(number, Ordering::Release);
    }

    /// The active master has got to `number`. Returns the newest commit that no session noted.
    pub fn look(&self, number: u64) -> Option<u64> {
        let checked = self.checked.fetch_max(number, Ordering::AcqRel);
        let oldest = number.saturating_sub(NOTED as u64 - 1).max(checked + 1);
        let is_noted = |&number: &u64| self.place(number).load(Ordering::Acquire) == number;
        let found = (oldest..=number).rev().find(|number| !is_noted(number));
        // Numbers whose places have been taken by newer ones.
        let lost = (oldest > checked + 1).then(|| oldest - 1);
        found.or(lost)
    }

    /// To be called when what [`Self::look`] returned counts.
    pub fn looked(&self, asked_at: Instant) {
        let micros = asked_at.saturating_duration_since(self.began).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).max(1);
        self.looked.fetch_max(micros, Ordering::AcqRel);
    }

    /// Whether the active master was asked lately enough.
    pub fn is_recent(&self, now: Instant) -> bool {
        let looked = self.looked.load(Ordering::Acquire);
        looked > 0 && self.began + Duration::from_micros(looked) + self.limit >= now
    }

    fn place(&self, number: u64) -> &AtomicU64 {
        &self.noted[number as usize % NOTED]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_nobody_noted_are_somebody_elses() {
        let external = External::new(Duration::from_millis(20), 100);
        for number in [101, 102, 104, 105] {
            external.note(number);
        }
        assert_eq!(external.look(102), None);
        assert_eq!(external.look(105), Some(103));
        assert_eq!(external.look(105), None, "each is found once");
        assert_eq!(external.look(104), None, "an older answer");
        assert_eq!(external.look(107), Some(107));
        // Noted too late, and its place's next number is another one.
        external.note(107);
        external.note(108);
        assert_eq!(external.look(108), None);
        assert_eq!(external.look(107 + NOTED as u64), Some(107 + NOTED as u64));
    }

    #[test]
    fn more_than_is_remembered_counts_as_somebody_elses() {
        let external = External::new(Duration::from_millis(20), 0);
        let many = 2 * NOTED as u64;
        for number in 1..=many {
            external.note(number);
        }
        assert_eq!(external.look(many), Some(many - NOTED as u64));
        assert_eq!(external.look(many), None);
    }

    #[test]
    fn what_is_known_grows_old() {
        let external = External::new(Duration::from_millis(20), 0);
        let now = Instant::now() + Duration::from_millis(1);
        assert!(!external.is_recent(now), "never asked");
        external.looked(now);
        assert!(external.is_recent(now + Duration::from_millis(19)));
        assert!(!external.is_recent(now + Duration::from_millis(22)));
    }
}
