//! The bounded cache of facts, one for each worker.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::analyse::{analyse, unreadable};
use super::facts::Facts;
use super::fingerprint::{Outer, Shape, shape};
use super::hint::KNOWN;
use super::kept::Kept;
use super::tally::Tally;
use super::{Classified, Dialect, Fingerprint, looked_at, normalise};
use crate::meter::Meter;

/// What is known of statements, by their shapes. To look at one of a known shape allocates nothing.
pub struct Classifier {
    known: Kept,
    seed: u64,
    outer: Outer,
    unreadable: Rc<Facts>,
    /// How many shapes are known.
    kept: Meter,
    hits: u64,
    misses: u64,
    /// Shapes with hints that are wrong.
    told: u32,
}

/// Wrong hints that are logged.
const MOST_TOLD: u32 = 100;
const TOLD_BYTES: usize = 300;

impl Classifier {
    /// Keeps the facts of at most `capacity` shapes (one at least).
    pub fn new(capacity: usize) -> Self {
        Self {
            known: Kept::new(capacity),
            seed: RandomState::new().hash_one(0),
            outer: Outer::default(),
            unreadable: Rc::new(Facts {
                tally: Tally::named(Fingerprint(0), "(could not be read to its end)", false),
                ..unreadable()
            }),
            kept: Meter::default(),
            hits: 0,
            misses: 0,
            told: 0,
        }
    }

    /// From now on, as with [`Classifier::new`].
    pub fn keep_at_most(&mut self, capacity: usize) {
        self.known.keep_at_most(capacity);
        self.kept.set(self.known.len());
    }

    /// What is known of `text` under `dialect`.
    ///
    /// Whoever holds only the beginning of a long statement passes more than [`super::LOOKED_AT`] bytes of it.
    pub fn classify(&mut self, text: &[u8], dialect: Dialect) -> Classified {
        let (seen, whole) = looked_at(text);
        let Some(shape) = shape(seen, dialect, self.seed, whole, &mut self.outer) else {
            self.misses += 1;
            return Classified {
                facts: Rc::clone(&self.unreadable),
                fingerprint: Fingerprint(0),
            };
        };
        let facts = match self.find(shape) {
            Some(facts) => facts,
            None => {
                let mut facts = analyse(text, dialect);
                facts.tally = Tally::of(&facts, shape.fingerprint, text, dialect);
                if facts.hints.wrong {
                    self.tell_wrong_hint(text, dialect);
                }
                self.learn(shape, Rc::new(facts))
            }
        };
        Classified {
            facts,
            fingerprint: shape.fingerprint,
        }
    }

    /// Once for a shape, as long as it is known.
    fn tell_wrong_hint(&mut self, text: &[u8], dialect: Dialect) {
        self.told += 1;
        if self.told > MOST_TOLD {
            return;
        }
        let statement = normalise(text, dialect, TOLD_BYTES);
        let last = match self.told {
            MOST_TOLD => "; further ones are only counted (SHOW COUNTERS LIKE 'wrong_hints')",
            _ => "",
        };
        tracing::warn!(
            "a comment that begins with tandem: is not understood, and without effect; known is {KNOWN}{last}: {statement}"
        );
    }

    fn find(&mut self, shape: Shape) -> Option<Rc<Facts>> {
        let facts = self.known.find(shape)?;
        self.hits += 1;
        Some(facts)
    }

    fn learn(&mut self, shape: Shape, facts: Rc<Facts>) -> Rc<Facts> {
        self.misses += 1;
        self.known.keep(shape, Rc::clone(&facts));
        self.kept.set(self.known.len());
        facts
    }

    /// How many shapes are kept.
    pub fn kept(&self) -> &Meter {
        &self.kept
    }

    /// Statements whose facts were in the cache.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Statements that had to be analysed, or could not be read.
    pub fn misses(&self) -> u64 {
        self.misses
    }
}
