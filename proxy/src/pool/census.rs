//! How many connections there are for whom, counted where they are opened and closed, and what they look like.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::Key;
use crate::session::settings::Settings;

/// The connections of one pool, lent or not. Their keys are few.
#[derive(Debug, Default)]
pub struct Census(RefCell<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    key: Key,
    count: usize,
    /// What a session has given one of them last.
    example: Option<Rc<Settings>>,
}

impl Census {
    /// Counts one more for as long as what is returned lives.
    pub fn count(self: &Rc<Self>, key: Key) -> Counted {
        let mut entries = self.0.borrow_mut();
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.count += 1,
            None => entries.push(Entry {
                key,
                count: 1,
                example: None,
            }),
        }
        Counted {
            census: Rc::clone(self),
            key,
        }
    }

    pub fn of(&self, key: Key) -> usize {
        self.find(key, |entry| entry.count).unwrap_or(0)
    }

    pub fn all(&self) -> Vec<(Key, usize)> {
        let entries = self.0.borrow();
        entries.iter().map(|entry| (entry.key, entry.count)).collect()
    }

    /// The state that one of the connections for this key was given last by a session.
    pub fn example(&self, key: Key) -> Option<Rc<Settings>> {
        self.find(key, |entry| entry.example.clone()).flatten()
    }

    fn find<T>(&self, key: Key, get: impl FnOnce(&Entry) -> T) -> Option<T> {
        let entries = self.0.borrow();
        entries.iter().find(|entry| entry.key == key).map(get)
    }
}

/// One connection in a [`Census`].
#[derive(Debug)]
pub struct Counted {
    census: Rc<Census>,
    key: Key,
}

impl Counted {
    /// A session has given it this state.
    pub fn note(&self, settings: &Rc<Settings>) {
        let mut entries = self.census.0.borrow_mut();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == self.key) {
            entry.example = Some(Rc::clone(settings));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut entries = self.census.0.borrow_mut();
        if let Some(at) = entries.iter().position(|entry| entry.key == self.key) {
            entries[at].count -= 1;
            if entries[at].count == 0 {
                entries.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::flags::Capabilities;

    use super::*;
    use crate::backend::UserId;

    fn key(user: usize) -> Key {
        Key {
            user: UserId(user),
            flags: Capabilities::empty(),
            epoch: 0,
            origin: None,
        }
    }

    #[test]
    fn what_is_gone_is_not_counted() {
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

    #[test]
    fn the_last_state_that_was_given_is_the_example() {
        let census = Rc::new(Census::default());
        let (first, second) = (census.count(key(1)), census.count(key(1)));
        assert_eq!(census.example(key(1)), None);
        let of_schema = |name: &str| Rc::new(Settings::new(45, Some(name.as_bytes())));
        first.note(&of_schema("blog"));
        second.note(&of_schema("shop"));
        assert_eq!(census.example(key(1)), Some(of_schema("shop")));
        assert_eq!(census.example(key(2)), None);
        drop((first, second));
        assert_eq!(census.example(key(1)), None, "nobody is left who has it");
    }
}
