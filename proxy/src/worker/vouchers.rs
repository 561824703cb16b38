//! Which accounts the servers have lately let in, so that not every login has to ask them again.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::backend::Key;

/// How long a server's word counts: so long a locked or dropped account may still get in, as far as its first statement
/// or on connections from before.
const VALID: Duration = Duration::from_secs(3);

/// Most accounts kept, with the flags of their clients.
const KEPT: usize = 1024;

#[derive(Default)]
pub struct Vouchers {
    given: RefCell<FxHashMap<Key, Instant>>,
    /// Whoever has none waits until the one that is asked for is there.
    pub turn: tokio::sync::Mutex<()>,
}

impl Vouchers {
    pub fn is_valid(&self, key: Key, now: Instant) -> bool {
        let given = self.given.borrow();
        given
            .get(&key)
            .is_some_and(|given| now.saturating_duration_since(*given) < VALID)
    }

    /// Whether there has been one, however old.
    pub fn has_been(&self, key: Key) -> bool {
        self.given.borrow().contains_key(&key)
    }

    pub fn give(&self, key: Key, now: Instant) {
        let mut given = self.given.borrow_mut();
        if given.len() >= KEPT {
            given.retain(|_, given| now.saturating_duration_since(*given) < VALID);
        }
        if given.len() < KEPT {
            given.insert(key, now);
        }
    }

    pub fn take_back(&self, key: Key) {
        self.given.borrow_mut().remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::flags::Capabilities;

    use super::*;
    use crate::backend::UserId;

    /// One is good for a while; what is kept of it is bounded.
    #[test]
    fn vouchers_run_out() {
        let key = |user| Key {
            user: UserId(user),
            flags: Capabilities::empty(),
            epoch: 0,
            origin: None,
        };
        let (vouchers, now) = (Vouchers::default(), Instant::now());
        assert!(!vouchers.is_valid(key(0), now));
        for user in 0..2000 {
            vouchers.give(key(user), now);
        }
        assert!(vouchers.is_valid(key(0), now + VALID / 2));
        assert!(!vouchers.is_valid(key(0), now + VALID) && vouchers.has_been(key(0)));
        assert_eq!(vouchers.given.borrow().len(), KEPT);
        vouchers.give(key(5000), now + VALID);
        assert!(vouchers.is_valid(key(5000), now + VALID));
        vouchers.take_back(key(5000));
        assert!(vouchers.given.borrow().is_empty());
    }
}
