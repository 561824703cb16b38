//! Which account was lately let into which schema: a client that connects for each page need not wait for
//! a server to say it again.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::backend::UserId;

/// How long a server's word counts. A schema dropped meanwhile is noticed by the first statement.
const VALID: Duration = Duration::from_secs(10);

/// Most pairs kept.
const KEPT: usize = 1024;

type Pair = (UserId, Box<[u8]>);

#[derive(Default)]
pub struct Schemas {
    checked: RefCell<FxHashMap<Pair, Instant>>,
}

impl Schemas {
    pub fn is_known(&self, user: UserId, schema: &[u8]) -> bool {
        let checked = self.checked.borrow();
        checked
            .get(&(user, Box::from(schema)))
            .is_some_and(|since| since.elapsed() < VALID)
    }

    pub fn note(&self, user: UserId, schema: &[u8]) {
        let mut checked = self.checked.borrow_mut();
        if checked.len() >= KEPT {
            checked.retain(|_, since| since.elapsed() < VALID);
        }
        if checked.len() < KEPT {
            checked.insert((user, Box::from(schema)), Instant::now());
        }
    }
}
