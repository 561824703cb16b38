//! A worker's shapes of statement with their numbers: bounded, and nothing that was counted is lost.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::digest::{Counted, Counts, Digest, Ended, Route, WINDOW};
use crate::classify::Fingerprint;
use crate::classify::tally::Tally;

/// Under which the shapes are added up that are not kept any more. No lexer makes this number, but for one shape in 2^64.
const OTHERS: Fingerprint = Fingerprint(u64::MAX);
const OTHERS_TEXT: &str = "(all shapes that were given up for newer ones: more than statistics.digests)";

/// When the store is full, one in this many is given up: those that were not seen for longest. So the search for them costs
/// each new shape little.
const GIVEN_UP: usize = 8;

/// The shapes of one worker.
#[derive(Debug)]
pub struct Digests {
    kept: FxHashMap<Fingerprint, Rc<Digest>>,
    others: Rc<Digest>,
    capacity: usize,
    /// The most that were kept at once.
    highest: usize,
    start: Instant,
}

impl Digests {
    /// Keeps at most `capacity` shapes apart.
    pub fn new(capacity: usize, start: Instant) -> Self {
        let others = Digest::new(OTHERS, OTHERS_TEXT.into(), false);
        others.kept.set(true);
        Self {
            kept: FxHashMap::default(),
            others: Rc::new(others),
            capacity: capacity.max(1),
            highest: 0,
            start,
        }
    }

    /// From now on, as with [`Digests::new`].
    pub fn keep_at_most(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        while self.kept.len() > self.capacity {
            self.give_up();
        }
    }

    /// Counts a statement of the shape that `tally` is of, which ended now.
    pub fn count(&mut self, tally: &Tally, counts: Counts, route: Option<Route>, now: Instant) {
        let (window, at) = self.time(now);
        let ended = Ended {
            counts,
            route,
            window,
            at,
        };
        tally.count(&ended, |digest| self.keep(digest));
    }

    /// The numbers that are kept of this shape: those there are, or new ones.
    fn keep(&mut self, new: Digest) -> Rc<Digest> {
        if self.kept.len() >= self.capacity && !self.kept.contains_key(&new.fingerprint) {
            self.give_up();
        }
        let digest = match self.kept.entry(new.fingerprint) {
            Entry::Occupied(known) => Rc::clone(known.get()),
            Entry::Vacant(place) => {
                new.kept.set(true);
                Rc::clone(place.insert(Rc::new(new)))
            }
        };
        self.highest = self.highest.max(self.kept.len());
        digest
    }

    fn give_up(&mut self) {
        let mut ages: Vec<(Duration, Fingerprint)> = self
            .kept
            .values()
            .map(|digest| (digest.last_at(), digest.fingerprint))
            .collect();
        let count = (self.capacity / GIVEN_UP).max(1).min(ages.len());
        if count < ages.len() {
            ages.select_nth_unstable(count);
        }
        for (_, fingerprint) in &ages[..count] {
            if let Some(digest) = self.kept.remove(fingerprint) {
                digest.kept.set(false);
                self.others.absorb(&digest);
            }
        }
    }

    /// Copies of the shapes on which most time was spent, in the last minute first, as many as `most`.
    pub fn copies(&self, most: usize, now: Instant) -> Vec<Counted> {
        let (window, at) = self.time(now);
        let mut all: Vec<&Rc<Digest>> = self.kept.values().chain([&self.others]).collect();
        if all.len() > most {
            all.select_nth_unstable_by_key(most, |digest| Reverse(digest.weight(window)));
            all.truncate(most);
        }
        let copies = all.into_iter().filter_map(|digest| digest.copy(window, at));
        copies.collect()
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        for digest in self.kept.values() {
            digest.kept.set(false);
        }
        self.kept.clear();
        self.others.reset();
    }

    pub fn highest(&self) -> usize {
        self.highest
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn time(&self, now: Instant) -> (u32, Duration) {
        let at = now.saturating_duration_since(self.start);
        ((at.as_secs() / WINDOW.as_secs()) as u32, at)
    }
}

/// What several workers tell, each shape once: the one on which most time was spent lately first, then by all time.
pub fn together(told: impl IntoIterator<Item = Counted>) -> Vec<Counted> {
    let mut shapes: FxHashMap<Fingerprint, Counted> = FxHashMap::default();
    for counted in told {
        match shapes.entry(counted.fingerprint) {
            Entry::Occupied(mut known) => known.get_mut().add(&counted),
            Entry::Vacant(place) => drop(place.insert(counted)),
        }
    }
    let mut all: Vec<Counted> = shapes.into_values().collect();
    all.sort_by_key(|it| Reverse((it.recent.time, it.counts.time, it.fingerprint)));
    all
}

#[cfg(test)]
mod tests {
    use super::super::digest::tests::ended;
    use super::*;

    fn tally(number: u64) -> Tally {
        Tally::named(Fingerprint(number), "SELECT ?", true)
    }

    fn count(digests: &mut Digests, tally: &Tally, at: u64) {
        let ended = ended(1, at);
        let now = digests.start + ended.at;
        digests.count(tally, ended.counts, ended.route, now);
    }

    fn all(digests: &Digests, at: u64) -> Vec<Counted> {
        together(digests.copies(usize::MAX, digests.start + Duration::from_secs(at)))
    }

    /// However many shapes come, so many are kept, the last ones among them, and every statement is counted somewhere.
    #[test]
    fn the_oldest_are_added_up_and_none_is_lost() {
        let mut digests = Digests::new(16, Instant::now());
        for number in 0..1000 {
            count(&mut digests, &tally(number), number);
            assert!(digests.len() <= 16);
        }
        let told = all(&digests, 1000);
        assert_eq!(told.iter().map(|it| it.counts.count).sum::<u64>(), 1000);
        assert!(told.iter().any(|it| it.fingerprint == Fingerprint(999)));
        let others = told.iter().find(|it| it.fingerprint == OTHERS).expect("others");
        assert!(others.counts.count >= 984, "{}", others.counts.count);
        assert_eq!(digests.copies(3, digests.start).len(), 3);
    }

    /// A shape that was given up and comes again is counted anew, under its own name, also by who still holds its old numbers.
    #[test]
    fn who_comes_again_is_kept_again() {
        let mut digests = Digests::new(4, Instant::now());
        let (old, same) = (tally(77), tally(77));
        count(&mut digests, &old, 0);
        count(&mut digests, &same, 0);
        assert_eq!(digests.len(), 1, "facts that were made twice share the numbers");
        for number in 0..8 {
            count(&mut digests, &tally(number), 1);
        }
        assert!(!digests.kept.contains_key(&Fingerprint(77)));
        count(&mut digests, &old, 2);
        count(&mut digests, &same, 2);
        let told = all(&digests, 3);
        let again = told.iter().find(|it| it.fingerprint == Fingerprint(77));
        assert_eq!(again.map(|it| it.counts.count), Some(2));
        assert_eq!(told.iter().map(|it| it.counts.count).sum::<u64>(), 12);
        digests.keep_at_most(2);
        assert_eq!(digests.len(), 2);
        let told = all(&digests, 3);
        assert_eq!(told.iter().map(|it| it.counts.count).sum::<u64>(), 12);
        digests.reset();
        assert!(all(&digests, 3).is_empty());
        count(&mut digests, &old, 4);
        assert_eq!(all(&digests, 4)[0].counts.count, 1);
    }
}
