//! What is in the cells now, and who is writing them: only one session at a time writes a cell, so that the order of a cell's
//! versions is known. Reads ask nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::cells::{Cell, ROWS, Table, Value};
use super::record::Moment;

/// Between two new values, so that each can be counted up a while and still be no other write's.
const STEP: u64 = 1000;

pub struct World {
    begin: Instant,
    board: Mutex<Board>,
    newest: AtomicU64,
}

struct Board {
    values: BTreeMap<Cell, Value>,
    claimed: BTreeSet<Cell>,
}

/// Some cells that nobody else writes while this is held, and what is in them.
pub struct Claim<'a> {
    world: &'a World,
    pub values: BTreeMap<Cell, Value>,
}

/// What is in a cell before anybody writes: its row's number.
pub fn initial() -> BTreeMap<Cell, Value> {
    let cells = Table::ALL.into_iter().flat_map(Table::cells);
    let switches = [Table::Either, Table::Watched].map(Table::switch);
    cells.chain(switches).map(|cell| (cell, Some(cell.row))).collect()
}

impl World {
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            board: Mutex::new(Board {
                values: initial(),
                claimed: BTreeSet::new(),
            }),
            newest: AtomicU64::new(ROWS.next_multiple_of(STEP)),
        }
    }

    pub fn now(&self) -> Moment {
        self.begin.elapsed()
    }

    /// A value that no write has made yet.
    pub fn new_value(&self) -> u64 {
        self.newest.fetch_add(STEP, Ordering::Relaxed) + STEP
    }

    /// Claims all of the cells, or none if somebody has one.
    pub fn claim(&self, cells: &BTreeSet<Cell>) -> Option<Claim<'_>> {
        let mut board = self.board.lock().expect("no panic under the lock");
        if !board.claimed.is_disjoint(cells) {
            return None;
        }
        board.claimed.extend(cells);
        let values = cells.iter().map(|cell| (*cell, board.values[cell])).collect();
        Some(Claim { world: self, values })
    }

    /// What should be in the cells, once nobody writes any more.
    pub fn values(&self) -> BTreeMap<Cell, Value> {
        let board = self.board.lock().expect("no panic under the lock");
        assert!(board.claimed.is_empty(), "somebody still writes");
        board.values.clone()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Claim<'_> {
    /// Notes that these changes have been made.
    pub fn changed(self, changes: &[(Cell, Value)]) {
        let mut board = self.world.board.lock().expect("no panic under the lock");
        board.values.extend(changes.iter().copied());
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // A poisoned lock is reported by whoever locks next.
        if let Ok(mut board) = self.world.board.lock() {
            board.claimed.retain(|cell| !self.values.contains_key(cell));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_one_writer_at_a_time_and_keeps_what_it_wrote() {
        let world = World::new();
        let [one, two] = [Table::First.cell(1), Table::First.cell(2)];
        let claim = world.claim(&[one, two].into()).expect("nobody has them");
        assert!(world.claim(&[two].into()).is_none());
        claim.changed(&[(two, None)]);
        let claim = world.claim(&[two].into()).expect("given back");
        assert_eq!(claim.values[&two], None);
        drop(claim);
        assert_eq!(world.values()[&one], Some(1));
        assert!(world.new_value() < world.new_value());
    }
}
