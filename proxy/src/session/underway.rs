//! What a session's statement has come to so far: for the numbers of its shape, and for whoever looks at the session.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::relay::Learned;
use crate::classify::tally::Tally;
use crate::route::{Decision, Target};
use crate::statistics::digest::{Counts, Route};

/// The statement that runs, or the last one.
#[derive(Debug, Default)]
pub struct Underway {
    tally: Tally,
    counts: Counts,
    route: Option<Route>,
    failed: bool,
    /// Since when it runs, if it is one that is counted.
    began: Option<Instant>,
}

impl Underway {
    /// A command has come. Which statement it is, if it is one, is not known yet.
    pub fn command(&mut self, bytes: usize) {
        self.counts = Counts {
            bytes_in: bytes as u64,
            ..Counts::default()
        };
        self.route = None;
        self.failed = false;
        self.began = None;
    }

    /// The command is a statement of this shape. The first word counts: what is run for it may have another.
    pub fn statement(&mut self, tally: &Tally, began: Instant) {
        if self.began.is_none() {
            self.tally = tally.clone();
            self.began = Some(began);
        }
    }

    /// It goes to a server.
    pub(super) fn routed(&mut self, decision: Decision) {
        self.route = Some(Route {
            reason: decision.reason as u8,
            on_standby: decision.target == Target::Standby,
            count: 1,
        });
    }

    /// More of it came from the client.
    pub fn sent(&mut self, bytes: u64) {
        self.counts.bytes_in += bytes;
    }

    pub(super) fn answered(&mut self, learned: &Learned) {
        self.counts.rows += learned.rows;
        self.counts.affected += learned.affected.unwrap_or_default();
        self.counts.bytes_out += learned.bytes;
        self.counts.bytes_in += learned.uploaded;
        self.failed |= learned.outcome.failed;
    }

    pub fn failed(&mut self) {
        self.failed = true;
    }

    pub fn sent_again(&mut self) {
        self.counts.retries += 1;
    }

    pub fn held(&mut self) {
        self.counts.holds += 1;
    }

    /// The statement without its values.
    pub fn text(&self) -> Option<&Arc<str>> {
        self.tally.statement()
    }

    /// What it comes to when it ends now; nothing if it is none, or has ended before.
    fn end(&mut self, now: Instant) -> Option<Counts> {
        let time = now.saturating_duration_since(self.began.take()?);
        Some(Counts {
            count: 1,
            errors: u64::from(self.failed),
            time,
            shortest: time,
            longest: time,
            ..self.counts
        })
    }
}

impl Session {
    /// Counts the statement, if it was one, now that it has ended.
    pub(super) fn count_statement(&self, now: Instant) {
        let mut underway = self.handle.underway.borrow_mut();
        let Some(counts) = underway.end(now) else { return };
        if self.worker.config().statistics.enabled {
            let mut digests = self.worker.digests.borrow_mut();
            digests.count(&underway.tally, counts, underway.route, now);
        }
    }
}
