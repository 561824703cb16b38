//! What the statements of each account came to.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::digest::Counts;

/// Accounts whose statements a worker counts apart; those of more are added up.
const MOST: usize = 10_000;

/// What those are called.
const OTHERS: &str = "(accounts beyond the first 10,000 of a worker)";

/// By the account's name.
#[derive(Debug, Default)]
pub struct Users {
    counts: FxHashMap<Rc<str>, Counts>,
    others: Counts,
}

impl Users {
    /// Counts one statement.
    pub fn count(&mut self, name: &Rc<str>, counts: &Counts) {
        if let Some(known) = self.counts.get_mut(name) {
            *known += counts;
        } else if self.counts.len() < MOST {
            self.counts.insert(Rc::clone(name), *counts);
        } else {
            self.others += counts;
        }
    }

    /// By the account's name; those of no account of its own stand under [`OTHERS`], if there are any.
    pub fn copies(&self) -> Vec<(String, Counts)> {
        let others = Some((OTHERS, &self.others)).filter(|(_, counts)| counts.count > 0);
        let all = self.counts.iter().map(|(name, counts)| (&**name, counts));
        all.chain(others)
            .map(|(name, counts)| (name.to_owned(), *counts))
            .collect()
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
