//! How much a worker has of something that is bounded: for the table `limits`.

use std::cell::Cell;
use std::rc::Rc;

/// What there is of it now, what there has been at most, and how often there was no more.
#[derive(Debug, Default)]
pub struct Meter {
    used: Cell<usize>,
    highest: Cell<usize>,
    refused: Cell<u64>,
}

impl Meter {
    pub fn used(&self) -> usize {
        self.used.get()
    }

    pub fn highest(&self) -> usize {
        self.highest.get()
    }

    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    #[inline]
    pub fn set(&self, used: usize) {
        self.used.set(used);
        if used > self.highest.get() {
            self.highest.set(used);
        }
    }

    /// One who had `before` of it has `now`.
    #[inline]
    pub fn change(&self, before: usize, now: usize) {
        self.set(self.used.get() - before + now);
    }

    /// Somebody wanted more than there is.
    pub fn refuse(&self) {
        self.refused.set(self.refused.get() + 1);
    }
}

/// The part of it that one has, until it is dropped.
#[derive(Debug)]
pub struct Space {
    taken: usize,
    meter: Rc<Meter>,
}

impl Space {
    /// Nothing yet.
    pub fn of(meter: &Rc<Meter>) -> Self {
        Self {
            taken: 0,
            meter: Rc::clone(meter),
        }
    }

    pub fn resize(&mut self, to: usize) {
        self.meter.change(self.taken, to);
        self.taken = to;
    }

    /// False, and nothing is changed, where all together would be more than `limit`.
    pub fn resize_within(&mut self, to: usize, limit: usize) -> bool {
        if self.meter.used() - self.taken + to > limit {
            self.meter.refuse();
            return false;
        }
        self.resize(to);
        true
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_stays() {
        let meter = Meter::default();
        meter.change(0, 5);
        meter.change(0, 3);
        meter.change(5, 1);
        meter.refuse();
        assert_eq!((meter.used(), meter.highest(), meter.refused()), (4, 8, 1));
    }
}
