//! An open transaction survives the loss of its server: it is played again on the new active master.
//!
//! Here is what is kept for it, on every statement's way ([`record`] says what of which transaction, [`digest`] what of a
//! reply has to be the same again), and when that is used; how, in [`play`].

pub mod digest;
mod play;
pub mod record;

use std::time::{SystemTime, UNIX_EPOCH};

use tandem_protocol::command::CommandCode;
use tandem_protocol::frame::HEADER_LEN;

use self::digest::Digest;
use self::play::Unplayed;
use self::record::{Entry, Replied, Start, Why};
use super::await_writer::{Lost, Patience, Waited};
use super::complaint::Complaint;
use super::hold::runs_code;
use super::learn::Learned;
use super::run::Work;
use super::{End, Session};
use crate::classify::facts::{Facts, Kind, Pins, Purity};
use crate::classify::says;
use crate::route::Written;

impl Session {
    /// Keeps the command that is about to be sent, if it belongs to a transaction or may begin one.
    pub(super) fn record(&mut self, work: &Work, learned: &mut Learned) {
        let limits = self.worker.shelf.limits();
        if limits.session == 0 || !self.is_transaction_open() && !self.may_begin_transaction(&work.facts) {
            return;
        }
        let head = match &work.owned {
            Some(owned) => owned.as_slice(),
            None => &self.client.inbox.bytes()[..work.command.head],
        };
        let code = head
            .get(HEADER_LEN)
            .and_then(|&byte| CommandCode::from_byte(byte));
        // All else changes nothing that a server would have to have again, or is done again when it is needed.
        let Some(
            CommandCode::Query
            | CommandCode::StmtExecute
            | CommandCode::StmtBulkExecute
            | CommandCode::InitDb,
        ) = code
        else {
            return;
        };
        if work.facts.kind == Kind::Show && work.facts.purity == Purity::ServerLocal {
            return;
        }
        let record = self.record.get_or_insert_with(|| {
            self.worker.shelf.take(Start {
                pins: self.ties.pins,
                insert_id: self.insert_id.guess(),
                was_open: self.ties.in_transaction(),
                serial: self.aftermath.serial(),
            })
        });
        if record.why_not().is_some() {
            return;
        }
        if work.command.tail.is_some() {
            let limit = self.worker.config().limits.statement_bytes;
            return record.give_up(Why::Streamed { limit });
        }
        if work.prepared.is_some() && !work.may_prepare_again {
            return record.give_up(Why::LongData);
        }
        let mut entry = Entry::new(&work.facts, work.expect, &self.settings, now());
        entry.prepared.clone_from(&work.prepared);
        entry.text_at = work.command.text_at;
        if record.begin(entry, head, limits) {
            learned.digest = Some(Digest::default());
        }
    }

    /// A transaction is open, or something that belongs to the next one.
    fn is_transaction_open(&mut self) -> bool {
        let open = self.ties.in_transaction() || self.ties.pins.contains(Pins::NEXT_TRANSACTION);
        if !open {
            // Left from a statement that might have begun one, and got no answer.
            self.forget_record();
        }
        open
    }

    fn may_begin_transaction(&self, facts: &Facts) -> bool {
        self.ties.autocommit_off()
            || facts.kind == Kind::Begin
            || facts.pins.contains(Pins::NEXT_TRANSACTION)
            || (runs_code(facts.kind) && facts.purity != Purity::Pure)
    }

    /// What a reply says that matters to the record, before the session takes over what it says.
    pub(super) fn recorded(&self, learned: &Learned) -> Option<Replied> {
        self.record.as_ref()?;
        Some(Replied {
            sum: learned.digest.map(|digest| digest.sum()).unwrap_or_default(),
            insert_id: learned.insert_id,
            error: learned.error,
            committed: self.has_committed(learned),
            cursor: learned.cursor,
            loaded_file: learned.uploaded > 0,
            was_open: self.ties.in_transaction(),
        })
    }

    /// Whether the reply reports a commit that was not known, before [`Session::settle`] notes it.
    pub(super) fn has_committed(&self, learned: &Learned) -> bool {
        let is_new =
            |gtid| !matches!(self.written, Written::At(newest) if newest == gtid || gtid.is_before(&newest));
        learned.gtid.is_some_and(is_new)
    }

    /// Notes a reply, once it is known whether a transaction is open now.
    pub(super) fn settle_record(&mut self, replied: Option<Replied>) {
        let (true, Some(replied)) = (self.is_transaction_open(), replied) else {
            return;
        };
        if let Some(record) = &mut self.record {
            record.settle(&replied);
        }
    }

    /// Whether an open transaction would be played again if its server were lost now.
    pub(super) fn is_replayable(&self) -> bool {
        self.record.is_some() && self.why_not_replayed().is_none() && self.ties.is_tied()
    }

    /// Its transaction is open on a server that is alive and no longer the active master.
    pub(super) fn is_left_behind(&self) -> bool {
        self.lease.is_some() && self.is_replayable()
    }

    /// Whether the statement that was sent last is part of a transaction, or would have begun one.
    pub(super) fn belongs_to_transaction(&self, work: &Work) -> bool {
        self.worker.shelf.limits().session > 0
            && work.command.tail.is_none()
            && (self.record.is_some() || self.ties.in_transaction())
    }

    /// Whether the statement may have ended a transaction by committing it.
    pub(super) fn may_commit(&self, work: &Work) -> bool {
        let facts = &work.facts;
        match facts.kind {
            Kind::Begin => self.ties.in_transaction(),
            Kind::Commit | Kind::Ddl | Kind::Lock | Kind::Admin | Kind::Xa | Kind::Control => true,
            Kind::Set => says(self.text_of(work), b"autocommit"),
            kind => runs_code(kind) && facts.purity != Purity::Pure,
        }
    }

    fn why_not_replayed(&self) -> Option<Why> {
        match &self.record {
            None => Some(Why::NotFromItsBeginning),
            Some(_) if self.ties.statement => Some(Why::Cursor),
            Some(record) => record.why_not(),
        }
    }

    /// Plays the session's transaction again on the active master, once there is one, and leaves the session where it was
    /// before `work`. `instead` is what the client is told if that can't be done.
    ///
    /// # Errors
    /// [`End`]: the transaction is lost, and the session ends with it, so that nobody takes what follows for a part of it.
    pub(super) async fn replay(
        &mut self,
        mut lost: Lost,
        held: &mut Patience,
        instead: Complaint,
        work: &mut Work,
    ) -> Result<(), End> {
        // Nothing can be said in the middle of a reply.
        let midway = work.seen.is_some();
        let over = |complaint: Complaint| match midway {
            true => End::silent(&complaint),
            false => End::Complaint(complaint),
        };
        drop(self.lease.take());
        self.lose_write();
        let taken_back = self.record.as_mut().and_then(|record| record.take_back());
        if work.command.head == 0 && work.owned.is_none() {
            work.owned = taken_back;
        }
        let state_lost = self.ties.statement || !(self.ties.pins - Pins::NEXT_TRANSACTION).is_empty();
        if work.facts.kind == Kind::Rollback && !state_lost {
            // Nothing needs to be there that it would only take away.
            self.forget_record();
        } else if let Some(why) = self.why_not_replayed() {
            self.worker.count(|counters| counters.replays_failed += 1);
            return Err(over(instead.and(format_args!("it can't be played again: {why}"))));
        }
        let (mut tried, mut pause) = (Some(lost), play::PAUSE);
        loop {
            if let Waited::Over(complaint) = self.await_writer(tried, held, instead.clone()).await? {
                self.worker.count(|counters| counters.replays_failed += 1);
                return Err(over(complaint));
            }
            let Some(record) = self.record.take() else {
                return Ok(());
            };
            if record.is_empty() {
                self.record = Some(record);
                return Ok(());
            }
            self.handle.enter("Replay");
            let until = held.until().unwrap_or_else(tokio::time::Instant::now);
            let played = tokio::time::timeout_at(until, self.play(&record)).await;
            let count = record.len();
            self.record = Some(record);
            let cause = match played {
                Ok(Ok(())) => {
                    tracing::debug!(session = self.handle.id, "played {count} statements again");
                    self.worker.count(|counters| counters.replays += 1);
                    return Ok(());
                }
                Ok(Err(Unplayed::Lost(server, cause))) => {
                    lost = Lost::now(server);
                    tried = Some(lost);
                    cause
                }
                Ok(Err(Unplayed::Again(cause))) => {
                    tried = None;
                    cause
                }
                Ok(Err(Unplayed::Never(cause))) => {
                    self.worker.count(|counters| counters.replays_failed += 1);
                    return Err(over(Complaint::rolled_back(format_args!(
                        "it was played again after server '{}' had been lost, and {cause}",
                        self.worker.pools[lost.server.0].name
                    ))));
                }
                Ok(Err(Unplayed::End(end))) => return Err(end),
                Err(_) => {
                    self.worker.count(|counters| counters.replays_failed += 1);
                    let clause = "playing it again was not finished in time (failover.hold_time)";
                    return Err(over(instead.and(clause)));
                }
            };
            tracing::debug!(session = self.handle.id, "to be played again once more: {cause}");
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(play::LONGEST_PAUSE);
        }
    }

    /// Its transaction has ended.
    pub(super) fn forget_record(&mut self) {
        if let Some(record) = self.record.take() {
            self.worker.shelf.put(record);
        }
    }
}

/// Microseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "what a statement saw as NOW() is of this clock"
)]
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
