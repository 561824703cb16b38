//! The facts that are kept: at most so many, by shape.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::facts::Facts;
use super::fingerprint::Shape;

/// When it is full, a new shape takes the place of the next one, as a clock's hand goes round, that was not used since the hand
/// passed it last. So a new shape costs the freeing of one old one, not of thousands at once, and shapes that all fit are never missed. To
/// find one allocates nothing.
pub(super) struct Kept {
    places: FxHashMap<Shape, usize>,
    slots: Vec<Slot>,
    hand: usize,
    capacity: usize,
}

struct Slot {
    shape: Shape,
    facts: Rc<Facts>,
    used: bool,
}

impl Kept {
    /// Room for `capacity` shapes, one at least.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            places: FxHashMap::with_capacity_and_hasher(capacity, Default::default()),
            slots: Vec::with_capacity(capacity),
            hand: 0,
            capacity,
        }
    }

    /// From now on, as with [`Kept::new`]; keeps nothing if there is more than that.
    pub(super) fn keep_at_most(&mut self, capacity: usize) {
        let capacity = capacity.max(1);
        if capacity == self.capacity {
            return;
        }
        if self.slots.len() > capacity {
            *self = Self::new(capacity);
            return;
        }
        self.places.reserve(capacity - self.places.len());
        self.slots.reserve(capacity - self.slots.len());
        self.hand = 0;
        self.capacity = capacity;
    }

    pub(super) fn find(&mut self, shape: Shape) -> Option<Rc<Facts>> {
        let slot = &mut self.slots[*self.places.get(&shape)?];
        slot.used = true;
        Some(Rc::clone(&slot.facts))
    }

    /// Keeps the facts of a shape that was not found.
    pub(super) fn keep(&mut self, shape: Shape, facts: Rc<Facts>) {
        let slot = Slot {
            shape,
            facts,
            used: false,
        };
        if self.slots.len() < self.capacity {
            self.places.insert(shape, self.slots.len());
            self.slots.push(slot);
            return;
        }
        while std::mem::take(&mut self.slots[self.hand].used) {
            self.turn();
        }
        self.places.remove(&self.slots[self.hand].shape);
        self.places.insert(shape, self.hand);
        self.slots[self.hand] = slot;
        self.turn();
    }

    fn turn(&mut self) {
        self.hand = (self.hand + 1) % self.slots.len();
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::analyse::unreadable;
    use super::super::{Dialect, fingerprint};
    use super::*;

    fn shape(number: usize) -> Shape {
        Shape {
            fingerprint: fingerprint(format!("SELECT c{number}").as_bytes(), Dialect::MARIADB),
            guard: 0,
        }
    }

    fn kept(capacity: usize, shapes: std::ops::Range<usize>) -> Kept {
        let mut kept = Kept::new(capacity);
        for number in shapes {
            kept.keep(shape(number), Rc::new(unreadable()));
            assert!(kept.len() <= capacity);
        }
        kept
    }

    #[test]
    fn as_many_as_there_is_room_for_are_never_missed() {
        let mut kept = kept(100, 0..100);
        for number in (0..100).chain((0..100).rev()) {
            assert!(kept.find(shape(number)).is_some(), "{number}");
        }
    }

    #[test]
    fn what_was_used_stays_longer() {
        let mut kept = kept(4, 0..4);
        assert!(kept.find(shape(0)).is_some());
        for number in 4..7 {
            kept.keep(shape(number), Rc::new(unreadable()));
        }
        let there = (0..7).filter(|&number| kept.find(shape(number)).is_some());
        assert_eq!(there.collect::<Vec<_>>(), [0, 4, 5, 6]);
        // All of them were used: one goes all the same.
        kept.keep(shape(7), Rc::new(unreadable()));
        assert_eq!((kept.len(), kept.find(shape(7)).is_some()), (4, true));
    }

    #[test]
    fn the_room_may_change() {
        let mut kept = kept(4, 0..4);
        kept.keep_at_most(6);
        assert!(kept.find(shape(3)).is_some());
        for number in 4..9 {
            kept.keep(shape(number), Rc::new(unreadable()));
            assert!(kept.len() <= 6);
        }
        kept.keep_at_most(2);
        assert_eq!(kept.len(), 0);
        kept.keep(shape(1), Rc::new(unreadable()));
        assert!(kept.find(shape(1)).is_some());
    }
}
