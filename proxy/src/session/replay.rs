//! An open transaction survives the loss of its server: it is played again on the new active master.
//!
//! Here is what is kept for it, on every statement's way: [`record`] says what of which transaction, [`digest`] what of a
//! reply has to be the same again.

pub mod digest;
pub mod record;

use std::time::{SystemTime, UNIX_EPOCH};

use tandem_protocol::command::CommandCode;
use tandem_protocol::frame::HEADER_LEN;

use self::digest::Digest;
use self::record::{Entry, Replied, Start, Why};
use super::Session;
use super::hold::runs_code;
use super::relay::Learned;
use super::run::Work;
use crate::classify::facts::{Facts, Kind, Pins, Purity};
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
            })
        });
        if record.why_not().is_some() {
            return;
        }
        if work.command.tail.is_some() {
            let limit = self.worker.config.limits.statement_bytes;
            return record.give_up(Why::Streamed { limit });
        }
        if work.prepared.is_some() && !work.may_prepare_again {
            return record.give_up(Why::LongData);
        }
        let mut entry = Entry::new(&work.facts, work.expect, &self.settings, now());
        entry.prepared.clone_from(&work.prepared);
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
        let is_new =
            |gtid| !matches!(self.written, Written::At(newest) if newest == gtid || gtid.is_before(&newest));
        Some(Replied {
            sum: learned.digest.map(|digest| digest.sum()).unwrap_or_default(),
            insert_id: learned.insert_id,
            error: learned.error,
            committed: learned.gtid.is_some_and(is_new),
            cursor: learned.cursor,
            loaded_file: learned.uploaded > 0,
            was_open: self.ties.in_transaction(),
        })
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

    /// Its transaction has ended.
    pub(super) fn forget_record(&mut self) {
        if let Some(record) = self.record.take() {
            self.worker.shelf.put(record);
        }
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
