//! Which tables have been written, and up to which commit: what a standby must have applied before it may answer.
//!
//! Shared by all workers, and nothing but atomics. It counts in the stream of its [`Mark`]: a number is a commit's place
//! there. Tables share places by their hash; a place tells the newest commit of any of its tables.
//!
//! # Why no read is stale
//! A write is counted as begun before it is sent, and as over only when its commit's number has been noted, after its OK
//! has gone out. A reader looks first whether anything is being written, then at the newest number. So whoever reads after
//! a client has its OK sees either the write under way or its number.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::gtid::{Gtid, Position};
use super::mark::Mark;
use super::table::TableKey;
use crate::classify::facts::Defines;

/// A pair with more tables has some of them share a place.
const PLACES: usize = 8192;

/// A transaction that writes more tables than this counts as one that writes all.
const MOST_TABLES: usize = 64;

/// Streams of commits beside the active master's own, which a session can choose (`gtid_domain_id`, `server_id`).
const MOST_STREAMS: usize = 64;

/// More writes of unknown outcome than this count as one that wrote all tables.
const MOST_DEBTS: usize = 1024;

/// One write that has begun, in [`Place::writes`].
const BEGUN: u64 = 1 << 32;

#[derive(Debug, Default)]
struct Place {
    newest: AtomicU64,
    /// Writes under way in the lower half, and how many have begun in the upper one.
    writes: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    tables: Box<[Place]>,
    /// Writes whose tables are not known.
    everything: Place,
    /// Writers of any table.
    writing: AtomicU32,
    /// Changes whenever views, triggers or foreign keys may have changed.
    definitions: AtomicU64,
    /// Changes before and after code that may change them.
    code: AtomicU64,
    /// Code of that kind that has ended.
    code_ended: AtomicU64,
    /// See [`Ledger::recount`].
    recounted: AtomicU64,
    /// See [`Writing::leave`].
    is_left: AtomicBool,
    debts: Mutex<Vec<Debt>>,
}

/// What a standby must have applied to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// All commits up to this one.
    UpTo(u64),
    /// What a write that is under way will commit.
    Unknown,
}

/// What a statement writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    Nothing,
    Tables(&'a [TableKey]),
    Everything,
}

/// Tables of a write whose commit has no number yet.
#[derive(Debug)]
struct Debt {
    since: Instant,
    everything: bool,
    places: Vec<PlaceKey>,
    /// A commit in another stream, which is waited for by its own name.
    foreign: Option<Gtid>,
    /// Marks of before in which sessions may still have writes under way.
    formers: Vec<Arc<Mark>>,
    /// Its client has an answer that may mean a commit. Without one, as when the connection was lost, nobody was told of any.
    told: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            tables: (0..PLACES).map(|_| Place::default()).collect(),
            everything: Place::default(),
            writing: AtomicU32::new(0),
            definitions: AtomicU64::new(1),
            code: AtomicU64::new(0),
            code_ended: AtomicU64::new(0),
            recounted: AtomicU64::new(0),
            is_left: AtomicBool::new(false),
            debts: Mutex::default(),
        }
    }
}

impl Place {
    fn needed(&self) -> Needed {
        // In this order; see the module.
        if self.writes().is_writing() {
            return Needed::Unknown;
        }
        Needed::UpTo(self.newest.load(Ordering::Acquire))
    }

    fn writes(&self) -> Writes {
        Writes(self.writes.load(Ordering::Acquire))
    }

    fn begin(&self) {
        self.writes.fetch_add(BEGUN + 1, Ordering::AcqRel);
    }

    fn note(&self, number: u64) {
        self.newest.fetch_max(number, Ordering::AcqRel);
    }

    fn end(&self) {
        self.writes.fetch_sub(1, Ordering::AcqRel);
    }

    /// A write of which nothing was known before it was over.
    fn pass(&self, number: u64) {
        self.writes.fetch_add(BEGUN, Ordering::AcqRel);
        self.note(number);
    }
}

/// The writes to a table that have begun until a moment, and whether they are over. While it stays the same, nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes(u64);

impl Writes {
    pub fn is_writing(self) -> bool {
        self.0 as u32 > 0
    }
}

/// Where a table is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceKey(u16);

impl PlaceKey {
    fn of(table: TableKey) -> Self {
        // PLACES fits 16 bits.
        Self(table.place(PLACES) as u16)
    }
}

impl Ledger {
    /// One that follows that of a mark of the same server, in which sessions may be writing now.
    pub(super) fn behind(former: &Arc<Mark>) -> Self {
        let ledger = Self::default();
        let mut formers = vec![Arc::clone(former)];
        for debt in former.ledger().lock().iter() {
            formers.extend(debt.formers.iter().cloned());
        }
        ledger.everything.begin();
        ledger.writing.fetch_add(1, Ordering::AcqRel);
        ledger.lock().push(Debt {
            since: Instant::now(),
            everything: true,
            places: Vec::new(),
            foreign: None,
            formers,
            told: false,
        });
        ledger
    }

    /// Whether a session has a write under way that is counted here. What is owed is none of these.
    fn is_used(&self) -> bool {
        let debts = self.lock();
        // In this order: what becomes a debt in between was counted as both.
        self.writing.load(Ordering::Acquire) as usize > debts.len()
    }

    /// For reading this table, beside [`Ledger::for_all`].
    pub fn for_table(&self, table: TableKey) -> Needed {
        self.place(PlaceKey::of(table)).needed()
    }

    /// For reading any table: writes that may have changed all.
    pub fn for_all(&self) -> Needed {
        self.everything.needed()
    }

    /// The writes to a table, beside [`Ledger::writes_to_all`], and where they are counted.
    pub fn writes_to(&self, table: TableKey) -> (PlaceKey, Writes) {
        let place = PlaceKey::of(table);
        (place, self.writes_at(place))
    }

    pub fn writes_at(&self, place: PlaceKey) -> Writes {
        self.place(place).writes()
    }

    /// The writes that may have changed any table.
    pub fn writes_to_all(&self) -> Writes {
        self.everything.writes()
    }

    fn place(&self, place: PlaceKey) -> &Place {
        &self.tables[usize::from(place.0)]
    }

    /// Whether any table is being written; to be asked before [`Mark::committed`] by who reads unknown tables.
    pub fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire) > 0
    }

    /// A commit that may have changed any table, already done.
    pub(super) fn note_for_all(&self, number: u64) {
        self.everything.pass(number);
    }

    /// A number that changes before and after each change of definitions that goes through Tandem.
    pub fn definitions(&self) -> u64 {
        self.definitions.load(Ordering::Acquire)
    }

    /// A number that changes before and after code runs that may change definitions without saying so.
    pub fn code(&self) -> u64 {
        self.code.load(Ordering::Acquire)
    }

    /// How much code has ended that may have changed definitions.
    pub fn code_ended(&self) -> u64 {
        self.code_ended.load(Ordering::SeqCst)
    }

    /// Definitions were read after the server had counted changes of them. It counts a change before it makes it, so code that
    /// runs now may yet make one that was counted and not read: when it ends, definitions have changed. Returns
    /// [`Self::code_ended`]: what had not ended when the reading began, and has now, is such code too.
    pub fn recount(&self) -> u64 {
        // In this order, and the other way round where code ends: one of the two sees the other.
        self.recounted.store(self.code(), Ordering::SeqCst);
        self.code_ended()
    }

    fn end_code(&self, begun: u64) {
        self.code_ended.fetch_add(1, Ordering::SeqCst);
        self.code.fetch_add(1, Ordering::AcqRel);
        if begun <= self.recounted.load(Ordering::SeqCst) {
            self.definitions.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Changes with either of the two, which only grow.
    pub fn version(&self) -> u64 {
        self.definitions().wrapping_add(self.code())
    }

    /// Debts that are older than a probe of the active master's position are paid by that position: what they may have
    /// committed is in it.
    ///
    /// `number` is how far the active master has got in the mark's stream; `standby` is for commits of other streams. Gives
    /// the newest commit of that stream that clients may have been told of by what was paid, 0 for none.
    pub fn settle(&self, asked_at: Instant, number: u64, standby: Option<&Position>, now: Instant) -> u64 {
        let mut told = 0;
        let mut debts = self.lock();
        debts.retain_mut(|debt| {
            if !debt.formers.is_empty() {
                debt.formers.retain(|former| {
                    let is_used = former.ledger().is_used();
                    if !is_used {
                        told = told.max(former.told());
                        debt.told |= former.ledger().lock().iter().any(|debt| debt.told);
                    }
                    is_used
                });
                if debt.formers.is_empty() {
                    // What they have written will be in the next answer, and what they have defined is read again.
                    debt.since = now;
                    self.definitions.fetch_add(1, Ordering::AcqRel);
                }
                return true;
            }
            let owed = match &debt.foreign {
                Some(gtid) => !standby.is_some_and(|position| position.covers(gtid)),
                None => debt.since >= asked_at,
            };
            if !owed {
                let number = if debt.foreign.is_some() { 0 } else { number };
                self.finish(debt, number);
                if debt.told {
                    told = told.max(number);
                }
            }
            owed
        });
        told
    }

    /// How many writes have an unknown outcome.
    pub fn debts(&self) -> usize {
        self.lock().len()
    }

    fn finish(&self, debt: &Debt, number: u64) {
        let places = debt.places.iter().map(|&place| self.place(place));
        for place in places.chain(debt.everything.then_some(&self.everything)) {
            place.note(number);
            place.end();
        }
        self.writing.fetch_sub(1, Ordering::AcqRel);
    }

    fn owe(&self, debt: Debt) {
        let mut debts = self.lock();
        if let Some(gtid) = debt.foreign {
            return self.owe_foreign(&mut debts, debt, gtid);
        }
        debts.push(debt);
        if debts.len() <= MOST_DEBTS {
            return;
        }
        // One for all of them, as new as the newest. Those that wait for something else stay.
        let (others, ours): (Vec<Debt>, Vec<Debt>) = debts
            .drain(..)
            .partition(|debt| debt.foreign.is_some() || !debt.formers.is_empty());
        *debts = others;
        if let Some(since) = ours.iter().map(|debt| debt.since).max() {
            self.everything.begin();
            self.writing.fetch_add(1, Ordering::AcqRel);
            debts.push(Debt {
                since,
                everything: true,
                places: Vec::new(),
                foreign: None,
                formers: Vec::new(),
                told: ours.iter().any(|debt| debt.told),
            });
        }
        for debt in &ours {
            self.finish(debt, 0);
        }
    }

    /// One debt for each stream.
    fn owe_foreign(&self, debts: &mut Vec<Debt>, debt: Debt, gtid: Gtid) {
        let same = |known: &&mut Debt| known.foreign.is_some_and(|known| known.stream() == gtid.stream());
        let streams = debts.iter().filter(|known| known.foreign.is_some()).count();
        if let Some(known) = debts.iter_mut().find(same) {
            if known.foreign.is_some_and(|known| known.is_before(&gtid)) {
                known.foreign = Some(gtid);
            }
            self.finish(&debt, 0);
        } else if streams < MOST_STREAMS {
            debts.push(debt);
        } else {
            // It stays counted as under way: reads stay on the active master until that changes.
            tracing::warn!(%gtid, "commits in more than {MOST_STREAMS} other GTID streams can't be followed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Debt>> {
        // What it guards is changed in steps that can't panic.
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session has under way: counted in the ledger from before it is sent until its commit is noted. A transaction
/// adds to it with each statement. Dropping it with something in it leaves a debt.
#[derive(Debug, Default)]
pub struct Writing {
    mark: Option<Arc<Mark>>,
    everything: bool,
    places: Vec<PlaceKey>,
    /// [`Ledger::version`] when the tables were worked out.
    version: u64,
    defines: Defines,
    /// [`Ledger::code`] when code of this session began to run.
    code: u64,
}

impl Writing {
    pub fn is_empty(&self) -> bool {
        self.mark.is_none()
    }

    /// Counts what the next statement writes. `version` is what the reach was worked out under; `defines` says whether
    /// it changes views, triggers or foreign keys.
    pub fn begin(&mut self, mark: &Arc<Mark>, reach: &Reach<'_>, version: u64, defines: Defines) {
        let mut everything = *reach == Reach::Everything;
        if let Some(old) = &self.mark
            && !Arc::ptr_eq(old, mark)
        {
            // The active master has changed under a transaction: where its tables are counted nobody looks any more.
            self.end();
            everything = true;
        }
        if *reach == Reach::Nothing && !everything && defines == Defines::Nothing {
            return;
        }
        let ledger = mark.ledger();
        if self.mark.is_none() {
            self.mark = Some(Arc::clone(mark));
            self.version = version;
            ledger.writing.fetch_add(1, Ordering::AcqRel);
        }
        if let Reach::Tables(tables) = reach {
            for table in *tables {
                everything |= !self.add(ledger, *table);
            }
        }
        if everything && !self.everything {
            self.everything = true;
            ledger.everything.begin();
        }
        // After that: who works out a reach under the new version sees that something is under way.
        if defines > self.defines {
            self.defines = defines;
            match defines {
                Defines::Nothing => {}
                Defines::Perhaps => self.code = ledger.code.fetch_add(1, Ordering::AcqRel) + 1,
                Defines::Surely => drop(ledger.definitions.fetch_add(1, Ordering::AcqRel)),
            }
        }
    }

    /// False if there are too many.
    fn add(&mut self, ledger: &Ledger, table: TableKey) -> bool {
        let place = PlaceKey::of(table);
        if !self.places.contains(&place) {
            if self.places.len() == MOST_TABLES {
                return false;
            }
            self.places.push(place);
            ledger.place(place).begin();
        }
        true
    }

    /// Notes a commit of what has been counted so far. What is counted stays counted until [`Writing::end`].
    pub fn note(&mut self, gtid: &Gtid, now: Instant) {
        let Some(mark) = &self.mark else { return };
        let ledger = mark.ledger();
        if !mark.commit(gtid) {
            let foreign = Some(*gtid);
            let everything = true;
            ledger.everything.begin();
            ledger.writing.fetch_add(1, Ordering::AcqRel);
            return ledger.owe(Debt {
                since: now,
                everything,
                places: Vec::new(),
                foreign,
                formers: Vec::new(),
                told: true,
            });
        }
        let number = gtid.number();
        for &place in &self.places {
            ledger.place(place).note(number);
        }
        if self.everything {
            ledger.everything.note(number);
        } else if ledger.version() != self.version {
            // Definitions that changed in the meantime may have widened the reach.
            ledger.everything.pass(number);
        }
    }

    /// Nothing is under way any more.
    pub fn end(&mut self) {
        let Some(mark) = self.mark.take() else { return };
        let ledger = mark.ledger();
        self.end_definitions(ledger);
        for place in self.places.drain(..) {
            ledger.place(place).end();
        }
        if std::mem::take(&mut self.everything) {
            ledger.everything.end();
        }
        ledger.writing.fetch_sub(1, Ordering::AcqRel);
    }

    /// It was committed under a name that positions don't have: counted as under way for as long as there is this mark, so
    /// that strict reads stay on the active master.
    pub fn leave(&mut self) {
        let Some(mark) = self.mark.clone() else { return };
        let ledger = mark.ledger();
        if !ledger.is_left.swap(true, Ordering::AcqRel) {
            ledger.everything.begin();
            tracing::warn!(
                "a commit whose GTID has a tag can't be followed: strict reads stay on the active master from now on"
            );
        }
    }

    /// It may have been committed, and nobody has said as what. `told` is whether its client has an answer that may mean a
    /// commit.
    pub fn owe(&mut self, told: bool, now: Instant) {
        let Some(mark) = self.mark.take() else { return };
        let ledger = mark.ledger();
        let changed = ledger.version() != self.version;
        self.end_definitions(ledger);
        let mut everything = std::mem::take(&mut self.everything);
        if changed && !everything {
            everything = true;
            ledger.everything.begin();
        }
        ledger.owe(Debt {
            since: now,
            everything,
            places: std::mem::take(&mut self.places),
            foreign: None,
            formers: Vec::new(),
            told,
        });
    }

    fn end_definitions(&mut self, ledger: &Ledger) {
        match std::mem::take(&mut self.defines) {
            Defines::Nothing => {}
            Defines::Perhaps => ledger.end_code(self.code),
            Defines::Surely => drop(ledger.definitions.fetch_add(1, Ordering::AcqRel)),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.owe(false, Instant::now());
    }
}

#[cfg(test)]
mod tests;
