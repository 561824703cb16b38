//! Who has failed to log in too often, by client address: so many wrong passwords in so much time, and the address has
//! to wait until that time is over.
//!
//! What counts is the address that a trusted PROXY header gave; the balancer's own address and the Unix socket are never
//! held up, since many clients share them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at once; with more, those that failed least often are forgotten.
const REMEMBERED: usize = 10_000;

/// A provider gives each customer at least so much of an IPv6 address: whoever has one has 2^64.
const V6_PREFIX: u32 = 64;

/// The same table for all workers.
pub struct FailedLogins {
    bounds: Mutex<Bounds>,
    by_address: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy)]
struct Bounds {
    /// 0 is no limit.
    limit: usize,
    window: Duration,
}

#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: usize,
}

/// An address that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub limit: usize,
    pub window: Duration,
    pub left: Duration,
}

impl FailedLogins {
    pub fn new(limit: usize, window: Duration) -> Self {
        Self {
            bounds: Mutex::new(Bounds { limit, window }),
            by_address: Mutex::default(),
        }
    }

    /// From now on, for what has been counted too.
    pub fn bound(&self, limit: usize, window: Duration) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = Bounds { limit, window };
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the address has to wait.
    pub fn blocked(&self, address: IpAddr, now: Instant) -> Option<Blocked> {
        let Bounds { limit, window } = self.bounds();
        if limit == 0 {
            return None;
        }
        let failures = *self.by_address().get(&whose(address))?;
        let left = window.checked_sub(now.saturating_duration_since(failures.since))?;
        (failures.count >= limit && !left.is_zero()).then_some(Blocked { limit, window, left })
    }

    /// Notes a wrong password; true when the address has to wait from now on.
    pub fn note(&self, address: IpAddr, now: Instant) -> bool {
        let Bounds { limit, window } = self.bounds();
        if limit == 0 {
            return false;
        }
        let mut by_address = self.by_address();
        let address = whose(address);
        if by_address.len() >= REMEMBERED && !by_address.contains_key(&address) {
            by_address.retain(|_, failures| now.saturating_duration_since(failures.since) < window);
            // Whoever has many addresses must not make it forget one that is blocked already.
            let least = by_address.values().map(|failures| failures.count).min();
            if by_address.len() >= REMEMBERED {
                by_address.retain(|_, failures| Some(failures.count) != least);
            }
        }
        let failures = by_address
            .entry(address)
            .or_insert(Failures { since: now, count: 0 });
        if now.saturating_duration_since(failures.since) >= window {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
        failures.count == limit
    }

    /// Whoever holds the lock leaves the table whole.
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> (128 - V6_PREFIX) << (128 - V6_PREFIX);
            Ipv6Addr::from_bits(prefix).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_waits_until_its_time_is_over() {
        let failed = FailedLogins::new(3, MINUTE);
        let start = Instant::now();
        let (bad, good) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(!failed.note(bad, start) && !failed.note(bad, start));
        assert_eq!(failed.blocked(bad, start), None, "two are allowed");
        let later = start + MINUTE / 2;
        assert!(failed.note(bad, later), "told once");
        assert!(!failed.note(bad, later), "not again");
        let blocked = failed.blocked(bad, later).expect("blocked");
        assert_eq!((blocked.limit, blocked.left), (3, MINUTE / 2));
        assert_eq!(
            failed.blocked(ip("::ffff:192.0.2.1"), later),
            Some(blocked),
            "the same address"
        );
        assert_eq!(failed.blocked(good, later), None);
        assert_eq!(failed.blocked(bad, start + MINUTE), None);
        assert!(!failed.note(bad, start + MINUTE), "a new beginning");
        assert_eq!(failed.blocked(bad, start + MINUTE), None);
    }

    #[test]
    fn one_that_has_many_addresses_is_one() {
        let failed = FailedLogins::new(1, MINUTE);
        let now = Instant::now();
        assert!(failed.note(ip("2001:db8:0:1::1"), now));
        assert!(failed.blocked(ip("2001:db8:0:1:ffff::2"), now).is_some());
        assert_eq!(failed.blocked(ip("2001:db8:0:2::1"), now), None);
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let failed = FailedLogins::new(0, MINUTE);
        assert!(!failed.note(ip("192.0.2.1"), Instant::now()));
        assert!(failed.by_address().is_empty());
    }

    #[test]
    fn the_table_has_an_end_and_keeps_those_that_are_blocked() {
        let failed = FailedLogins::new(2, MINUTE);
        let now = Instant::now();
        let bad = ip("192.0.2.1");
        assert!(!failed.note(bad, now) && failed.note(bad, now));
        for n in 0..2 * REMEMBERED as u32 {
            failed.note(IpAddr::V4((0x0a00_0000 + n).into()), now);
            assert!(failed.by_address().len() <= REMEMBERED);
        }
        assert!(failed.blocked(bad, now).is_some());
        failed.note(ip("198.51.100.1"), now + MINUTE);
        assert!(failed.blocked(bad, now + MINUTE).is_none());
    }
}
