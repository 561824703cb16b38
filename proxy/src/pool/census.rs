//! How many connections there are for whom, counted where they are opened and closed.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::Key;

/// The connections of one pool, lent or not. Their keys are few.
#[derive(Debug, Default)]
pub struct Census(RefCell<Vec<(Key, usize)>>);

impl Census {
    /// Counts one more for as long as what is returned lives.
    pub fn count(self: &Rc<Self>, key: Key) -> Counted {
        let mut keys = self.0.borrow_mut();
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => keys.push((key, 1)),
        }
        Counted {
            census: Rc::clone(self),
            key,
        }
    }

    pub fn of(&self, key: Key) -> usize {
        let keys = self.0.borrow();
        keys.iter()
            .find(|(known, _)| *known == key)
            .map_or(0, |(_, count)| *count)
    }

    pub fn all(&self) -> Vec<(Key, usize)> {
        self.0.borrow().clone()
    }
}

/// One connection in a [`Census`].
#[derive(Debug)]
pub struct Counted {
    census: Rc<Census>,
    key: Key,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut keys = self.census.0.borrow_mut();
        if let Some(at) = keys.iter().position(|(known, _)| *known == self.key) {
            keys[at].1 -= 1;
            if keys[at].1 == 0 {
                keys.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::flags::Capabilities;

    use super::*;
    use crate::backend::UserId;

    #[test]
    fn what_is_gone_is_not_counted() {
        let key = |user| Key {
            user: UserId(user),
            flags: Capabilities::empty(),
            epoch: 0,
            origin: None,
        };
        let census = Rc::new(Census::default());
        let (first, second) = (census.count(key(1)), census.count(key(1)));
        let other = census.count(key(2));
        assert_eq!(
            (census.of(key(1)), census.of(key(2)), census.of(key(3))),
            (2, 1, 0)
        );
        drop(first);
        assert_eq!(census.of(key(1)), 1);
        drop((second, other));
        assert_eq!(census.all(), []);
    }
}
