//! The rules that a worker goes by, with what it has counted of each.

use std::cell::Cell;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::Rules;

/// Most lines a second that a worker logs because of `log = true`.
const LINES_A_SECOND: u32 = 100;

/// One worker's.
#[derive(Debug, Default)]
pub struct Book {
    rules: Rules,
    counts: Box<[Counting]>,
    lines: Lines,
}

#[derive(Debug, Default)]
struct Counting {
    counts: Cell<Counts>,
    /// Of a hundred, how much of a statement is owed to `percent`.
    owed: Cell<u32>,
}

/// What became of the statements that met a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub hits: u64,
    pub refused: u64,
    /// Not answered by the server that the rule wants.
    pub overruled: u64,
    /// Over the rule's rate.
    pub limited: u64,
    /// Over its timeout, or its bounds for a reply.
    pub broken_off: u64,
    pub rewritten: u64,
    /// Answered from the cache, and looked for there in vain.
    pub cached: u64,
    pub not_cached: u64,
}

impl Counts {
    /// Each with its name.
    pub fn each(&self) -> [(&'static str, u64); 8] {
        [
            ("hits", self.hits),
            ("refused", self.refused),
            ("overruled", self.overruled),
            ("limited", self.limited),
            ("broken_off", self.broken_off),
            ("rewritten", self.rewritten),
            ("cached", self.cached),
            ("not_cached", self.not_cached),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.refused += other.refused;
        self.overruled += other.overruled;
        self.limited += other.limited;
        self.broken_off += other.broken_off;
        self.rewritten += other.rewritten;
        self.cached += other.cached;
        self.not_cached += other.not_cached;
    }
}

/// The rules, and what one worker has counted of each.
#[derive(Clone, Debug, Default)]
pub struct RulesView {
    pub rules: Rules,
    pub counts: Vec<Counts>,
}

impl RulesView {
    /// The newest rules, with what all workers have counted of each. One that has not taken them over yet has counted by the old ones.
    pub fn sum<'a>(views: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let newest = views.clone().max_by_key(|view| view.rules.generation());
        let rules = newest.map(|view| view.rules.clone()).unwrap_or_default();
        let mut counts = vec![Counts::default(); rules.len()];
        for view in views.filter(|view| view.rules.generation() == rules.generation()) {
            for (sum, counted) in counts.iter_mut().zip(&view.counts) {
                sum.add(counted);
            }
        }
        Self { rules, counts }
    }
}

impl Book {
    /// With nothing counted but what `before` has of rules of the same name.
    pub fn new(rules: Rules, before: &Self) -> Self {
        let names = before.rules.iter().map(|rule| rule.name.as_str());
        let counted: FxHashMap<&str, Counts> = names
            .zip(before.counts.iter().map(|counting| counting.counts.get()))
            .collect();
        let counts = rules.iter().map(|rule| Counting {
            counts: Cell::new(counted.get(rule.name.as_str()).copied().unwrap_or_default()),
            owed: Cell::new(0),
        });
        Self {
            counts: counts.collect(),
            rules,
            lines: Lines::default(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Counts something of the rule at this place.
    pub fn count(&self, index: usize, change: impl FnOnce(&mut Counts)) {
        if let Some(counting) = self.counts.get(index) {
            let mut counts = counting.counts.get();
            change(&mut counts);
            counting.counts.set(counts);
        }
    }

    /// A copy for the outside.
    pub fn view(&self) -> RulesView {
        RulesView {
            rules: self.rules.clone(),
            counts: self.counts.iter().map(|counting| counting.counts.get()).collect(),
        }
    }

    /// Whether a statement is among so many of a hundred: as evenly as it goes.
    pub fn is_among(&self, index: usize, percent: u32) -> bool {
        let Some(counting) = self.counts.get(index) else {
            return false;
        };
        let owed = counting.owed.get() + percent;
        counting.owed.set(owed % 100);
        owed >= 100
    }

    /// Whether a line may be logged now; if so, how many were left out before it.
    pub fn may_log(&self, now: Instant) -> Option<u64> {
        self.lines.may_log(now)
    }
}

/// Bounds what is logged.
#[derive(Debug, Default)]
struct Lines {
    second: Cell<Option<Instant>>,
    written: Cell<u32>,
    left_out: Cell<u64>,
}

impl Lines {
    fn may_log(&self, now: Instant) -> Option<u64> {
        let is_new = |begun: Instant| now.saturating_duration_since(begun).as_secs() >= 1;
        if self.second.get().is_none_or(is_new) {
            self.second.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= LINES_A_SECOND {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rule::Rule;
    use std::time::Duration;

    fn rules(names: &[&str]) -> Rules {
        let rule = |name: &&str| Rule {
            name: (*name).to_owned(),
            enabled: true,
            conditions: Default::default(),
            actions: Default::default(),
        };
        Rules::new(names.iter().map(rule).collect(), &[])
    }

    #[test]
    fn counts_stay_with_their_names() {
        let book = Book::new(rules(&["a", "b"]), &Book::default());
        book.count(1, |counts| counts.hits += 7);
        let next = Book::new(rules(&["b", "c", "a"]), &book);
        let hits: Vec<u64> = next.view().counts.iter().map(|counts| counts.hits).collect();
        assert_eq!(hits, [7, 0, 0]);
    }

    #[test]
    fn so_many_of_a_hundred_are_exactly_so_many() {
        let book = Book::new(rules(&["a"]), &Book::default());
        for percent in [0, 1, 33, 100] {
            let taken = (0..100).filter(|_| book.is_among(0, percent)).count();
            assert_eq!(taken, percent as usize);
        }
    }

    #[test]
    fn a_hot_rule_does_not_fill_the_log() {
        let book = Book::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| book.may_log(now).is_some()).count();
        assert_eq!(written, LINES_A_SECOND as usize);
        assert_eq!(book.may_log(now + Duration::from_secs(1)), Some(900));
        assert_eq!(book.may_log(now + Duration::from_secs(1)), Some(0));
    }
}
