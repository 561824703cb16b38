//! The bounded cache of facts, one for each worker.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::analyse::{analyse, unreadable};
use super::facts::Facts;
use super::fingerprint::{Outer, Shape, shape};
use super::hint::KNOWN;
use super::tally::Tally;
use super::{Classified, Dialect, Fingerprint, looked_at, normalise};
use crate::meter::Meter;

/// Facts by shape, in two generations: what is used moves to the young one; when that is full it becomes the old
/// one, and what was not used for a whole generation is forgotten. A hit allocates nothing.
pub struct Classifier {
    young: FxHashMap<Shape, Rc<Facts>>,
    old: FxHashMap<Shape, Rc<Facts>>,
    generation: usize,
    seed: u64,
    outer: Outer,
    unreadable: Rc<Facts>,
    /// Shapes that are kept.
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
    /// Keeps the facts of at most `capacity` shapes (two at least).
    pub fn new(capacity: usize) -> Self {
        let generation = (capacity / 2).max(1);
        Self {
            young: FxHashMap::with_capacity_and_hasher(generation, Default::default()),
            old: FxHashMap::with_capacity_and_hasher(generation, Default::default()),
            generation,
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
        let generation = (capacity / 2).max(1);
        if generation == self.generation {
            return;
        }
        for facts in [&mut self.young, &mut self.old] {
            if facts.len() > generation {
                facts.clear();
            }
            facts.shrink_to(generation);
            facts.reserve(generation - facts.len());
        }
        self.generation = generation;
        self.kept.set(self.len());
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
        if let Some(facts) = self.young.get(&shape) {
            self.hits += 1;
            return Some(Rc::clone(facts));
        }
        let facts = self.old.remove(&shape)?;
        self.hits += 1;
        self.keep(shape, Rc::clone(&facts));
        Some(facts)
    }

    fn learn(&mut self, shape: Shape, facts: Rc<Facts>) -> Rc<Facts> {
        self.misses += 1;
        self.keep(shape, Rc::clone(&facts));
        facts
    }

    fn keep(&mut self, shape: Shape, facts: Rc<Facts>) {
        if self.young.len() >= self.generation {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(shape, facts);
        self.kept.set(self.len());
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
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
