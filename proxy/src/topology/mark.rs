//! How far the standby has applied what the active master commits, kept newer than the probes are.
//!
//! A topology is as old as the last probe. A mark hangs on it and goes on: sessions raise what has been committed, and
//! the monitor raises what has been applied, both without making a new topology. It counts in one [`Stream`], that of the
//! active master; commits of another stream, which a session can choose, are known from the probes only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::ServerId;
use super::catalog::Catalog;
use super::external::External;
use super::gtid::{Gtid, Position, Stream};
use super::ledger::Ledger;

/// The active master's commits by number, and how far each server has got.
#[derive(Debug)]
pub struct Mark {
    stream: Stream,
    /// The newest commit that a client was told of.
    told: AtomicU64,
    /// The newest commit that is known, also of others' that were perhaps told to nobody yet.
    committed: AtomicU64,
    /// By server: all commits up to this number can be read there.
    applied: Box<[AtomicU64]>,
    /// What the active master had when the mark began. Who wrote it, and what, is not known here.
    floor: Position,
    /// By server: has all of `floor`.
    reached_floor: Box<[AtomicBool]>,
    ledger: Ledger,
    /// With `consistency.track_external`.
    external: Option<External>,
    catalog: ArcSwapOption<Catalog>,
    /// What [`Ledger::code`] was when the catalog was last known to be right.
    checked: AtomicU64,
    /// Told whenever a server has applied more.
    progress: Notify,
}

impl Mark {
    /// A mark for as many servers, none of which is known to have anything. `floor` is the active master's position now;
    /// `track` is how long it is good to know what others have committed, if that is looked for. Until all is known of what
    /// sessions count in `former`, the mark of the same server before this one, it counts as written here.
    pub fn new(
        stream: Stream,
        servers: usize,
        floor: Position,
        track: Option<Duration>,
        former: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let none = floor.is_empty();
        let newest = floor.newest(&stream);
        // Where the numbers go on. Else what was there may have been acknowledged by the Tandem before this one.
        let told = former.map(|former| former.told());
        let told = told.filter(|told| *told <= newest).unwrap_or(newest);
        let committed = former.map(|former| former.committed());
        let committed = committed.filter(|number| *number <= floor.reached(&stream));
        let committed = committed.unwrap_or(0);
        let external = track.map(|limit| External::new(limit, floor.reached(&stream)));
        Arc::new(Self {
            stream,
            told: AtomicU64::new(told),
            committed: AtomicU64::new(committed),
            applied: (0..servers).map(|_| AtomicU64::new(0)).collect(),
            floor,
            reached_floor: (0..servers).map(|_| AtomicBool::new(none)).collect(),
            ledger: former.map_or_else(Ledger::default, Ledger::behind),
            external,
            catalog: ArcSwapOption::empty(),
            checked: AtomicU64::new(0),
            progress: Notify::new(),
        })
    }

    /// The active master, asked at `asked_at`, has got to `position`; true if it has commits that no session knows of.
    pub fn look_for_others(&self, asked_at: Instant, position: &Position) -> bool {
        let Some(external) = &self.external else {
            return false;
        };
        // Also past a gap: what is under way there will be found to be nobody's, and is waited for.
        let found = external.look(self.newest(position));
        if let Some(number) = found {
            self.committed.fetch_max(number, Ordering::SeqCst);
            self.ledger.note_for_all(number);
        }
        external.looked(asked_at);
        found.is_some()
    }

    /// Whether what others commit is known as of a moment ago, or need not be.
    pub fn knows_others(&self) -> bool {
        self.external
            .as_ref()
            .is_none_or(|external| external.is_recent(Instant::now()))
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Looks into what is known of the tables, if no definition has changed and no code has run since. Lent and not given: a
    /// count of its users would wander between the workers' cores.
    pub fn with_catalog<T>(&self, look: impl FnOnce(Option<&Catalog>) -> T) -> T {
        let known = self.catalog.load();
        let is_new = |known: &&Catalog| {
            known.definitions() == self.ledger.definitions()
                && self.checked.load(Ordering::Acquire) == self.ledger.code()
        };
        look(known.as_deref().filter(is_new))
    }

    /// Whether the tables' definitions are known.
    pub fn has_catalog(&self) -> bool {
        self.with_catalog(|catalog| catalog.is_some())
    }

    /// Whether a catalog is there that no definition through Tandem has made old. Code may have.
    pub fn has_read_catalog(&self) -> bool {
        let known = self.catalog.load();
        known
            .as_deref()
            .is_some_and(|known| known.definitions() == self.ledger.definitions())
    }

    /// Whether code has run of which is not known what it has defined.
    pub fn has_unchecked_code(&self) -> bool {
        self.checked.load(Ordering::Acquire) != self.ledger.code()
    }

    /// The catalog is right: code until [`Ledger::code`] was this has changed nothing of it.
    pub fn set_checked(&self, code: u64) {
        self.checked.fetch_max(code, Ordering::AcqRel);
    }

    pub fn set_catalog(&self, catalog: Catalog) {
        self.catalog.store(Some(Arc::new(catalog)));
    }

    /// Whether a server has all that was committed before Tandem began to look.
    pub fn has_floor(&self, server: ServerId) -> bool {
        self.reached_floor[server.0].load(Ordering::Acquire)
    }

    /// Ready when a server has applied more than at the call.
    pub fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Notes a commit that the active master has acknowledged; false if it is of another stream.
    pub fn commit(&self, gtid: &Gtid) -> bool {
        let ours = gtid.stream() == self.stream;
        if ours {
            if let Some(external) = &self.external {
                external.note(gtid.number());
            }
            self.told.fetch_max(gtid.number(), Ordering::SeqCst);
            self.committed.fetch_max(gtid.number(), Ordering::SeqCst);
        }
        ours
    }

    /// Notes where the active master says that it is, asked at `asked_at`; what was owed until then is known with it.
    /// False if nothing was.
    pub fn commit_up_to(
        &self,
        position: &Position,
        asked_at: Instant,
        standby: Option<&Position>,
        now: Instant,
    ) -> bool {
        if self.ledger.debts() == 0 {
            return false;
        }
        // What is owed may be behind a gap: its commit is not larger than the newest.
        let number = self.newest(position);
        self.committed.fetch_max(number, Ordering::SeqCst);
        let told = self.ledger.settle(asked_at, number, standby, now);
        self.told.fetch_max(told, Ordering::SeqCst);
        true
    }

    fn newest(&self, position: &Position) -> u64 {
        position.newest_beyond(&self.floor, &self.stream)
    }

    /// What the active master had when the mark began.
    pub fn floor(&self) -> &Position {
        &self.floor
    }

    /// A failover may lose nothing up to this. It may be a little more than clients were told of, but not what nobody can have
    /// been told of: MariaDB counts a commit in its position as soon as it begins to write it, and one that never gets further
    /// (the disk is full) has no other server either.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// The newest commit that anybody was told of, or that the active master had when the mark began. `None` is none.
    pub fn newest_told(&self) -> Option<Gtid> {
        let committed = self.committed();
        let floor = self.floor.reached(&self.stream);
        if committed > floor {
            return Some(self.stream.commit(committed));
        }
        // On MariaDB the numbers of a domain go on where another server's have ended.
        let last = self.floor.newest_in_domain(&self.stream);
        last.or_else(|| (floor > 0).then(|| self.stream.commit(floor)))
    }

    /// Notes that a server has applied all commits up to `number`.
    pub fn apply(&self, server: ServerId, number: u64) {
        if self.applied[server.0].fetch_max(number, Ordering::AcqRel) < number {
            self.progress.notify_waiters();
        }
    }

    /// The same, from a probe's answer.
    pub fn apply_position(&self, server: ServerId, position: &Position) {
        if !self.has_floor(server) && position.includes(&self.floor) {
            self.reached_floor[server.0].store(true, Ordering::Release);
        }
        self.apply(server, position.reached(&self.stream));
    }

    pub fn applied(&self, server: ServerId) -> u64 {
        self.applied[server.0].load(Ordering::Acquire)
    }

    /// Whether a server is known to have applied this commit.
    pub fn covers(&self, server: ServerId, gtid: &Gtid) -> bool {
        gtid.stream() == self.stream && gtid.number() <= self.applied(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDBY: ServerId = ServerId(1);

    fn gtid(text: &str) -> Gtid {
        Gtid::parse_mariadb(text).unwrap()
    }

    #[test]
    fn a_commit_is_covered_once_it_and_all_before_it_are_applied() {
        let mark = Mark::new(gtid("0-1-1").stream(), 2, Position::default(), None, None);
        assert!(mark.commit(&gtid("0-1-7")));
        assert!(mark.commit(&gtid("0-1-5")), "out of order, by another session");
        assert_eq!(mark.committed(), 7);
        mark.apply(STANDBY, 6);
        mark.apply(STANDBY, 4);
        assert!(mark.covers(STANDBY, &gtid("0-1-6")));
        assert!(!mark.covers(STANDBY, &gtid("0-1-7")));
        assert!(!mark.covers(ServerId(0), &gtid("0-1-1")));
    }

    #[test]
    fn other_streams_are_not_counted() {
        let mark = Mark::new(gtid("0-1-1").stream(), 2, Position::default(), None, None);
        mark.apply(STANDBY, 100);
        for other in ["1-1-7", "0-2-7"] {
            assert!(!mark.commit(&gtid(other)));
            assert!(!mark.covers(STANDBY, &gtid(other)));
        }
        assert_eq!(mark.committed(), 0);
    }

    #[test]
    fn what_was_there_before_must_be_applied_first() {
        let floor = Position::parse_mariadb("0-1-9,1-1-20").unwrap();
        let mark = Mark::new(gtid("0-1-1").stream(), 2, floor, None, None);
        assert!(!mark.has_floor(STANDBY));
        mark.apply_position(STANDBY, &Position::parse_mariadb("0-1-30,1-1-19").unwrap());
        assert!(!mark.has_floor(STANDBY), "of the other domain one is missing");
        mark.apply_position(STANDBY, &Position::parse_mariadb("0-1-30,1-1-20").unwrap());
        assert!(mark.has_floor(STANDBY));
    }

    #[test]
    fn probes_raise_it_too() {
        let mark = Mark::new(gtid("0-1-1").stream(), 2, Position::default(), None, None);
        mark.apply_position(STANDBY, &Position::parse_mariadb("0-1-9,1-1-20").unwrap());
        assert_eq!(mark.applied(STANDBY), 9);
    }
}
