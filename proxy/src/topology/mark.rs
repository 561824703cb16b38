//! How far the standby has applied what the active master commits, kept newer than the probes are.
//!
//! A topology is as old as the last probe. A mark hangs on it and goes on: sessions raise what has been committed, and
//! the monitor raises what has been applied, both without making a new topology. It counts in one [`Stream`], that of the
//! active master; commits of another stream, which a session can choose, are known from the probes only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ServerId;
use super::gtid::{Gtid, Position, Stream};

/// The active master's commits by number, and how far each server has got.
#[derive(Debug)]
pub struct Mark {
    stream: Stream,
    /// The newest commit that a client was told of.
    committed: AtomicU64,
    /// By server: all commits up to this number can be read there.
    applied: Box<[AtomicU64]>,
}

impl Mark {
    /// A mark for as many servers, none of which is known to have anything.
    pub fn new(stream: Stream, servers: usize) -> Arc<Self> {
        Arc::new(Self {
            stream,
            committed: AtomicU64::new(0),
            applied: (0..servers).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Notes a commit that the active master has acknowledged; false if it is of another stream.
    pub fn commit(&self, gtid: &Gtid) -> bool {
        let ours = gtid.stream() == self.stream;
        if ours {
            self.committed.fetch_max(gtid.number(), Ordering::SeqCst);
        }
        ours
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// Notes that a server has applied all commits up to `number`.
    pub fn apply(&self, server: ServerId, number: u64) {
        self.applied[server.0].fetch_max(number, Ordering::AcqRel);
    }

    /// The same, from a probe's answer.
    pub fn apply_position(&self, server: ServerId, position: &Position) {
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
        let mark = Mark::new(gtid("0-1-1").stream(), 2);
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
        let mark = Mark::new(gtid("0-1-1").stream(), 2);
        mark.apply(STANDBY, 100);
        for other in ["1-1-7", "0-2-7"] {
            assert!(!mark.commit(&gtid(other)));
            assert!(!mark.covers(STANDBY, &gtid(other)));
        }
        assert_eq!(mark.committed(), 0);
    }

    #[test]
    fn probes_raise_it_too() {
        let mark = Mark::new(gtid("0-1-1").stream(), 2);
        mark.apply_position(STANDBY, &Position::parse_mariadb("0-1-9,1-1-20").unwrap());
        assert_eq!(mark.applied(STANDBY), 9);
    }
}
