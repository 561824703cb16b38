//! What a session writes, counted for everybody's reads: see [`crate::topology::ledger`].

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::hold::runs_code;
use super::learn::Learned;
use crate::classify::facts::{Defines, Effect, Facts};
use crate::topology::ledger::{Needed, Reach};
use crate::topology::mark::Mark;
use crate::topology::table::{NameKey, TableKey};

/// Errors of statements that were refused before they could change anything: access denied (1044, 1045, 1142, 1143),
/// unknown database, table or column (1049, 1146, 1054), syntax (1064), and a server or transaction that is read-only
/// (1290, 1792, 1836).
pub(super) const NOTHING_DONE: &[u16] = &[1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1290, 1792, 1836];

impl Session {
    /// Counts what a statement may write, before it is sent. `schema` is that in which its names are read.
    pub(super) fn begin_write(&mut self, facts: &Facts, schema: Option<NameKey>) {
        let effect = facts.effect();
        let defines = facts.tables.defines;
        if effect == Effect::Nothing && self.writing.is_empty() && defines == Defines::Nothing {
            return;
        }
        let mut topology = self.worker.topology.load();
        // Without one there is no active master, and what is sent goes nowhere.
        while let Some(mark) = &topology.mark {
            self.count_write(facts, schema, mark);
            // Looked at again: whoever puts another mark in its place looks into this one after that.
            let now = self.worker.topology.load();
            let stays = |now: &Arc<Mark>| Arc::ptr_eq(now, mark);
            if now.mark.as_ref().is_none_or(stays) {
                return;
            }
            topology = now;
        }
    }

    fn count_write(&mut self, facts: &Facts, schema: Option<NameKey>, mark: &Arc<Mark>) {
        let effect = facts.effect();
        let defines = facts.tables.defines;
        let version = mark.ledger().version();
        // Asked after that. A trigger that is being made now may fire for this statement, whose reply may yet come first.
        let is_settled = matches!(mark.ledger().for_all(), Needed::UpTo(_));
        let mut tables = std::mem::take(&mut self.written_tables);
        tables.clear();
        let mut known = || {
            if !is_settled {
                return None;
            }
            mark.with_catalog(|catalog| {
                let (named, catalog) = facts.tables.known_writes().zip(catalog)?;
                let mut named = named.iter().map(|table| table.within(schema));
                named
                    .all(|key| key.is_some_and(|key| catalog.written(key, &mut tables)))
                    .then_some(())
            })
        };
        let reach = match effect {
            Effect::Nothing => Reach::Nothing,
            Effect::Everything => Reach::Everything,
            Effect::Tables => match known() {
                Some(()) => Reach::Tables(&tables),
                None => Reach::Everything,
            },
        };
        self.trail.is_shown_by_text = matches!(reach, Reach::Tables(_));
        self.writing.begin(mark, &reach, version, defines);
        self.written_tables = tables;
    }

    /// Notes what became of it, once the reply has ended.
    pub(super) fn settle_write(&mut self, facts: &Facts, learned: &Learned) {
        if self.writing.is_empty() {
            return;
        }
        if let Some(gtid) = &learned.gtid {
            self.writing.note(gtid, Instant::now());
            self.worker.wake_followers();
        }
        if learned.unfollowed {
            self.writing.leave();
        }
        let in_transaction = match learned.outcome.status {
            Some(status) => status.contains(tandem_protocol::flags::Status::IN_TRANS),
            // An error does not tell that a transaction has ended.
            None => self.ties.in_transaction(),
        };
        if in_transaction {
            return;
        }
        // What code did before it failed is not known.
        let refused =
            !runs_code(facts.kind) && learned.error.is_some_and(|code| NOTHING_DONE.contains(&code));
        // A final OK reports what was committed. Everything else may leave something: rows that a table without
        // transactions keeps, or what a procedure did before it failed.
        if learned.reported || refused {
            self.writing.end();
        } else {
            // Who has an error knows of no commit, unless it came from code of which a part had succeeded.
            let told = learned.error.is_none() || runs_code(facts.kind);
            self.writing.owe(told, Instant::now());
        }
        if facts.tables.defines != Defines::Nothing {
            self.worker.wake_catalog();
        }
    }

    /// The reply did not come.
    pub(super) fn lose_write(&mut self) {
        self.writing.owe(false, Instant::now());
    }
}

/// Keys of the tables of one statement; kept for its room.
pub(super) type WrittenTables = Vec<TableKey>;
