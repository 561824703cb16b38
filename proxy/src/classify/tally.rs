//! How often the reads of one shape went where, for `SHOW READS`: counted beside the facts, so that the way there is none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::facts::{Facts, Kind, Purity};
use super::{Dialect, Fingerprint, normalise};

/// Longer texts are cut: all shapes' are kept as long as the cache keeps the shape (`limits.statement_cache`).
const MOST_BYTES: usize = 300;

/// The counts of one shape; statements that are made of others (`EXECUTE`, stand-ins) count for the one that they are of.
/// What writes, and what was never classified, has none.
///
/// It says nothing of what a statement is: facts are equal with different ones.
#[derive(Clone, Debug, Default)]
pub struct Tally(Option<Rc<Counts>>);

#[derive(Debug)]
struct Counts {
    fingerprint: Fingerprint,
    statement: Arc<str>,
    counts: RefCell<Vec<Count>>,
}

/// Why how many went there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The reason's place among the router's.
    pub reason: u8,
    pub on_standby: bool,
    pub reads: u64,
}

/// A copy of one shape's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    pub fingerprint: Fingerprint,
    pub statement: Arc<str>,
    /// Each pair of reason and place once.
    pub counts: Vec<Count>,
}

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

impl Tally {
    /// A new one if statements with these facts are reads.
    pub(super) fn of(facts: &Facts, fingerprint: Fingerprint, text: &[u8], dialect: Dialect) -> Self {
        let reads = facts.kind == Kind::Select || facts.purity == Purity::Pure && facts.kind != Kind::Empty;
        Self(reads.then(|| {
            Rc::new(Counts {
                fingerprint,
                statement: normalise(text, dialect, MOST_BYTES).into(),
                counts: RefCell::default(),
            })
        }))
    }

    /// Counts one read. Shapes have one or two reasons, so it is found at once.
    pub fn count(&self, reason: u8, on_standby: bool) {
        let Some(shape) = &self.0 else { return };
        let mut counts = shape.counts.borrow_mut();
        let known = counts
            .iter_mut()
            .find(|count| count.reason == reason && count.on_standby == on_standby);
        match known {
            Some(count) => count.reads += 1,
            None => counts.push(Count {
                reason,
                on_standby,
                reads: 1,
            }),
        }
    }

    /// What has been counted, if anything.
    pub fn reads(&self) -> Option<Reads> {
        let shape = self.0.as_ref()?;
        let counts = shape.counts.borrow();
        (!counts.is_empty()).then(|| Reads {
            fingerprint: shape.fingerprint,
            statement: Arc::clone(&shape.statement),
            counts: counts.clone(),
        })
    }

    /// How many have been counted.
    pub fn total(&self) -> u64 {
        let total = |shape: &Rc<Counts>| shape.counts.borrow().iter().map(|count| count.reads).sum();
        self.0.as_ref().map_or(0, total)
    }
}

impl Reads {
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.reads).sum()
    }

    pub fn on_standby(&self) -> u64 {
        let there = self.counts.iter().filter(|count| count.on_standby);
        there.map(|count| count.reads).sum()
    }

    /// Adds what another worker has counted of the same shape.
    pub fn add(&mut self, other: &Self) {
        for count in &other.counts {
            let same =
                |known: &&mut Count| known.reason == count.reason && known.on_standby == count.on_standby;
            match self.counts.iter_mut().find(same) {
                Some(known) => known.reads += count.reads,
                None => self.counts.push(*count),
            }
        }
    }
}
