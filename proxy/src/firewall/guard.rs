//! A worker's side: what is known there, how often it was seen, and what else was seen since somebody asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Hits, Known, Place, Report, Seen, Sheets, Sighting};
use crate::classify::identity::Identity;

/// Most sightings that a worker keeps until it is asked, which is every two seconds.
const MOST_SIGHTINGS: usize = 1000;

/// One worker's.
#[derive(Debug)]
pub struct Guard {
    secret: u64,
    is_on: Cell<bool>,
    generation: Cell<u64>,
    sheets: RefCell<Arc<Sheets>>,
    /// Those that sessions have asked for.
    sets: RefCell<FxHashMap<Place, Rc<Set>>>,
    /// Counted in sets that were replaced, and seen there.
    spent: RefCell<Vec<Hits>>,
    waiting: RefCell<Vec<Sighting>>,
    sighted: Cell<usize>,
    left_out: Cell<u64>,
}

/// What is known in one place, as long as the worker goes by the same sheets.
#[derive(Debug)]
pub struct Set {
    place: Place,
    known: Arc<Known>,
    hits: Box<[Cell<u64>]>,
    sightings: RefCell<FxHashMap<Identity, Sighting>>,
}

impl Set {
    fn new(place: Place, known: Arc<Known>) -> Self {
        Self {
            hits: vec![Cell::new(0); known.len()].into(),
            place,
            known,
            sightings: RefCell::default(),
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether such statements are known here, which is counted.
    pub fn knows(&self, identity: Identity) -> bool {
        let Some(at) = self.known.get(&identity) else {
            return false;
        };
        if let Some(hits) = self.hits.get(*at as usize) {
            hits.set(hits.get() + 1);
        }
        true
    }

    fn take_hits(&self) -> Option<Hits> {
        let counted = |(identity, at): (&Identity, &u32)| {
            let hits = self.hits.get(*at as usize).map_or(0, Cell::take);
            (hits > 0).then_some((*identity, hits))
        };
        let hits: Vec<_> = self.known.iter().filter_map(counted).collect();
        (!hits.is_empty()).then(|| (self.place.clone(), hits))
    }
}

impl Guard {
    pub fn new(secret: u64, sheets: Arc<Sheets>, is_on: bool) -> Self {
        Self {
            secret,
            is_on: Cell::new(is_on),
            generation: Cell::new(0),
            sheets: RefCell::new(sheets),
            sets: RefCell::default(),
            spent: RefCell::default(),
            waiting: RefCell::default(),
            sighted: Cell::new(0),
            left_out: Cell::new(0),
        }
    }

    /// What shapes are sealed with.
    pub fn secret(&self) -> u64 {
        self.secret
    }

    /// Whether any account's statements are looked at.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    pub fn switch(&self, is_on: bool) {
        self.is_on.set(is_on);
    }

    /// Another number for all sheets that the worker goes by.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// From now on these are known. Sessions ask for their sets anew.
    pub fn go_by(&self, sheets: Arc<Sheets>) {
        let (mut spent, mut waiting) = (self.spent.borrow_mut(), self.waiting.borrow_mut());
        for (_, set) in self.sets.borrow_mut().drain() {
            spent.extend(set.take_hits());
            waiting.extend(set.sightings.take().into_values());
        }
        *self.sheets.borrow_mut() = sheets;
        self.generation.set(self.generation.get() + 1);
    }

    /// What is known in a place.
    pub fn set(&self, place: Place) -> Rc<Set> {
        let mut sets = self.sets.borrow_mut();
        let set = sets.entry(place).or_insert_with_key(|place| {
            let known = self.sheets.borrow().get(place).cloned();
            Rc::new(Set::new(place.clone(), known.unwrap_or_default()))
        });
        Rc::clone(set)
    }

    /// Whether something is known in a place; it is not counted.
    pub fn knows(&self, place: &Place, identity: Identity) -> bool {
        let sheets = self.sheets.borrow();
        sheets
            .get(place)
            .is_some_and(|known| known.contains_key(&identity))
    }

    /// Something was seen that is not known. `make` has what else is to be said of it, for the first of its shape.
    pub fn note(&self, set: &Set, identity: Identity, seen: Seen, make: impl FnOnce(Place) -> Sighting) {
        let mut sightings = set.sightings.borrow_mut();
        if let Some(known) = sightings.get_mut(&identity) {
            return known.counts.add(seen);
        }
        if self.sighted.get() >= MOST_SIGHTINGS {
            return self.left_out.set(self.left_out.get() + 1);
        }
        self.sighted.set(self.sighted.get() + 1);
        sightings.insert(identity, make(set.place.clone()));
    }

    /// What there is to tell since the last time.
    pub fn report(&self) -> Report {
        let mut sets = self.sets.borrow_mut();
        let (mut hits, mut sightings) = (self.spent.take(), self.waiting.take());
        for set in sets.values() {
            hits.extend(set.take_hits());
            sightings.extend(set.sightings.take().into_values());
        }
        // What no session goes by is made again when one does.
        sets.retain(|_, set| Rc::strong_count(set) > 1);
        self.sighted.set(0);
        Report {
            sightings,
            hits,
            left_out: self.left_out.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Fingerprint;

    fn identity(number: u64) -> Identity {
        Identity {
            digest: Fingerprint(number),
            seal: number,
        }
    }

    fn sheets(known: &[u64]) -> Arc<Sheets> {
        let numbered = known.iter().zip(0..);
        let known: Known = numbered.map(|(number, at)| (identity(*number), at)).collect();
        Arc::new(Sheets::from_iter([(Place::new("app", "shop"), Arc::new(known))]))
    }

    fn see(guard: &Guard, set: &Set, number: u64) {
        let seen = Seen {
            refused: 1,
            ..Seen::default()
        };
        guard.note(set, identity(number), seen, |place| Sighting {
            place,
            identity: identity(number),
            runs_others: false,
            statement: format!("SELECT {number}"),
            counts: seen,
            session: 1,
            client: String::new(),
        });
    }

    /// What is known is so in its place only, and whatever was counted is told once, also when other sheets came between.
    #[test]
    fn hits_are_told_once() {
        let guard = Guard::new(1, sheets(&[1, 2]), true);
        let set = guard.set(Place::new("app", "shop"));
        assert!(set.knows(identity(1)) && set.knows(identity(1)) && set.knows(identity(2)));
        assert!(!set.knows(identity(3)));
        let elsewhere = guard.set(Place::new("app", "other"));
        assert!(!elsewhere.knows(identity(1)));
        guard.go_by(sheets(&[2, 3]));
        let newer = guard.set(Place::new("app", "shop"));
        assert!(newer.knows(identity(3)) && !newer.knows(identity(1)));
        let mut hits: Vec<_> = guard
            .report()
            .hits
            .into_iter()
            .flat_map(|(_, hits)| hits)
            .collect();
        hits.sort();
        assert_eq!(hits, [(identity(1), 2), (identity(2), 1), (identity(3), 1)]);
        assert!(guard.report().hits.is_empty());
    }

    /// However many shapes somebody makes up, they take bounded memory until they are told.
    #[test]
    fn sightings_are_bounded_and_add_up() {
        let guard = Guard::new(1, Arc::default(), true);
        let set = guard.set(Place::new("app", ""));
        for number in 0..2 * MOST_SIGHTINGS as u64 {
            see(&guard, &set, number);
            see(&guard, &set, number);
        }
        let report = guard.report();
        assert_eq!(report.sightings.len(), MOST_SIGHTINGS);
        assert!(report.sightings.iter().all(|seen| seen.counts.refused == 2));
        assert_eq!(report.left_out, 2 * MOST_SIGHTINGS as u64);
        see(&guard, &set, 7);
        assert_eq!(guard.report().sightings.len(), 1);
    }
}
