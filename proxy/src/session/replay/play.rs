//! Playing an open transaction again on the new active master: each statement in its order, its reply compared with the
//! one that the client has seen.

use std::rc::Rc;
use std::time::Duration;

use tandem_protocol::flags::Status;

use super::digest::Digest;
use super::record::{Entry, Record};
use crate::backend::Connection;
use crate::classify::facts::Kind;
use crate::pool::lease::Lease;
use crate::session::complaint::Complaint;
use crate::session::errors::{GOING, IN_THE_WAY};
use crate::session::hold::runs_code;
use crate::session::insert_id::{self, InsertId};
use crate::session::learn::Learned;
use crate::session::lease::NoLease;
use crate::session::registry::Bound;
use crate::session::registry::Running;
use crate::session::relay::{self, Manner, carry};
use crate::session::run::{Failed, Work, is_server_fault};
use crate::session::send::Preamble;
use crate::session::settings::Settings;
use crate::session::{Command, End, Session};
use crate::topology::{Flavor, ServerId};

/// Between two attempts to play a transaction, longer each time.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why a transaction was not played to its end.
pub(super) enum Unplayed {
    /// The server was lost, or is none to write to any more.
    Lost(ServerId, String),
    /// It may go better the next time.
    Again(String),
    /// It never will.
    Never(String),
    End(End),
}

impl Unplayed {
    fn on(server: ServerId, failed: Failed) -> Self {
        match failed {
            Failed::End(End::Relay(error)) if is_server_fault(&error) => {
                Self::Lost(server, error.to_string())
            }
            Failed::End(end) => Self::End(end),
            Failed::Refuse(complaint) if !GOING.contains(&complaint.code) => {
                Self::Never(complaint.to_string())
            }
            Failed::Refuse(complaint)
            | Failed::Elsewhere(complaint)
            | Failed::Unsent(complaint)
            | Failed::Replay(complaint) => Self::Lost(server, complaint.to_string()),
            Failed::InDoubt(unanswered) => Self::Lost(server, unanswered.cause),
            Failed::Undone => Self::Again("the server undid a statement".to_owned()),
        }
    }
}

impl Session {
    /// Plays `record` on the active master, and keeps the connection on which that went well.
    pub(super) async fn play(&mut self, record: &Record) -> Result<(), Unplayed> {
        let settings = Rc::clone(&self.settings);
        self.insert_id = Rc::new(InsertId::of(record.start().insert_id));
        let played = self.play_as_then(record, &settings).await;
        self.settings = settings;
        let mut lease = played?;
        let connection = lease.connection_mut();
        self.aftermath.played_again(
            record.start().serial,
            (connection.server, connection.id),
            &mut connection.left,
        );
        let back = self.back_to_now(connection).await;
        back.map_err(|failed| Unplayed::on(connection.server, failed))?;
        let (server, id, thread) = (connection.server, connection.id, connection.thread_id);
        self.last[server.0] = Some(id);
        self.last_server = Some(server);
        self.handle.target.set(Some((server.0, thread)));
        lease.hold();
        self.lease = Some(lease);
        Ok(())
    }

    /// Each statement has the settings of when it was sent first; `now` are those behind the last one.
    async fn play_as_then(&mut self, record: &Record, now: &Rc<Settings>) -> Result<Lease, Unplayed> {
        let Some(active) = self.worker.topology.load().active else {
            return Err(Unplayed::Again("there is no active master again".to_owned()));
        };
        let settings_of = |index: usize| record.entry(index).map_or(now, |(entry, _)| &entry.settings);
        self.settings = Rc::clone(settings_of(0));
        let facts = Rc::clone(&self.worker.known_facts.ask_active);
        let leased = self.lease_from(active, &facts).await;
        let mut lease = leased.map_err(|failed| match failed {
            NoLease::Refused(complaint) if complaint.is_gone() => {
                Unplayed::Lost(active, complaint.to_string())
            }
            NoLease::Refused(complaint) => Unplayed::Again(complaint.to_string()),
            NoLease::Over(end) => Unplayed::End(end),
        })?;
        let connection = lease.connection_mut();
        // That one may be lost as well, or somebody may kill what is played.
        let _runs = self.handle.runs(Running {
            server: active,
            thread_id: connection.thread_id,
            user: self.account.id,
            flags: self.worker.config().mirrored(self.flags),
            bound: Bound::Never,
        });
        for (index, (entry, command)) in record.entries().enumerate() {
            self.settings = Rc::clone(&entry.settings);
            let number = index + 1;
            let played = self.play_one(connection, entry, command, number).await;
            let learned = played.map_err(|failed| Unplayed::on(active, failed))?;
            if learned.digest.map(|digest| digest.sum()) != Some(entry.sum) {
                return Err(match learned.error {
                    Some(code) if IN_THE_WAY.contains(&code) => Unplayed::Again(format!("error {code}")),
                    Some(code) if GOING.contains(&code) => Unplayed::Lost(active, format!("error {code}")),
                    _ => Unplayed::Never(format!(
                        "statement {number} of {} was answered otherwise there{}",
                        record.len(),
                        learned
                            .error
                            .map(|code| format!(" (error {code})"))
                            .unwrap_or_default()
                    )),
                });
            }
            // It has set there what it had set before.
            connection.settings = Rc::clone(settings_of(number));
            let open = |status: Status| status.contains(Status::IN_TRANS);
            if number == record.len()
                && let Some(status) = learned.outcome.status
                && !self.ties.uncertain
                && open(status) != open(self.ties.status)
            {
                return Err(Unplayed::Never(format!(
                    "statement {number} has not left a transaction open there"
                )));
            }
        }
        Ok(lease)
    }

    async fn play_one(
        &mut self,
        connection: &mut Connection,
        entry: &Entry,
        command: &[u8],
        number: usize,
    ) -> Result<Learned, Failed> {
        let flavor = connection.flavor;
        let ids = entry.insert_id != 0 && makes_ids(entry.facts.kind);
        if !ids || flavor == Flavor::MariaDb {
            let given = match flavor {
                Flavor::MariaDb => Some(give_ids(entry.insert_id, ids)),
                Flavor::MySql => None,
            };
            return self.play_with(connection, entry, command, &[given]).await;
        }
        // An id that is given and not taken, since the statement had named one itself, would wait there for the next insert
        // (measured on MySQL 9.7.4, where nothing but an insert takes it away again).
        let savepoint = format!("SAVEPOINT tandem_{number}");
        let learned = self
            .play_with(connection, entry, command, &[Some(savepoint)])
            .await?;
        if learned.digest.map(|digest| digest.sum()) == Some(entry.sum) {
            return Ok(learned);
        }
        let back = format!("ROLLBACK TO SAVEPOINT tandem_{number}");
        let given = give_ids(entry.insert_id, true);
        self.play_with(connection, entry, command, &[Some(back), Some(given)])
            .await
    }

    /// Sends a command again behind `before`, at the time when it was sent first.
    async fn play_with(
        &mut self,
        connection: &mut Connection,
        entry: &Entry,
        command: &[u8],
        before: &[Option<String>],
    ) -> Result<Learned, Failed> {
        let facts = &entry.facts;
        let schema = self.naming(entry.prepared.as_deref()).schema;
        self.begin_write(facts, schema);
        let mut preamble = self.bring_state(connection, facts).await?;
        let mut work = Work::new(
            Rc::clone(facts),
            entry.expect,
            Command {
                head: 0,
                tail: None,
                text_at: entry.text_at,
            },
        );
        work.owned = Some(command.to_vec());
        if let Some(prepared) = &entry.prepared {
            // First, since what is set for one statement must not be taken by another.
            if connection.prepared.find(prepared.id).is_none() {
                self.prepare_there(connection, prepared, &mut preamble).await?;
            }
            work.prepared = Some(Rc::clone(prepared));
        }
        let (seconds, micros) = (entry.sent_at / 1_000_000, entry.sent_at % 1_000_000);
        preamble.try_set(
            &format!("SET timestamp={seconds}.{micros:06}"),
            connection.capabilities,
        );
        // Refused, the statement might be there twice, or with another id: neither is to pass for what was.
        for text in before.iter().flatten() {
            preamble.set(text, connection.capabilities);
        }
        connection.left.set_by_tandem(connection.flavor);
        self.transmit(connection, &mut work, &mut preamble).await?;
        let manner = Manner {
            expect: entry.expect,
            first: 1,
            withhold: [&[]; 4],
            keep: false,
            discard: true,
            seen: None,
            may_ask_file: false,
            bounds: None,
            is_mirrored: false,
        };
        let mut learned = Learned {
            digest: Some(Digest::default()),
            ..Learned::default()
        };
        let mut forwarded = false;
        let carried = carry(
            &self.handle,
            &mut self.client,
            connection,
            manner,
            &mut learned,
            &mut forwarded,
        );
        carried.await?;
        if learned.insert_id != 0 || insert_id::is_wanted(facts) {
            self.insert_id.made_on(connection.id, learned.insert_id);
            connection.insert_id_of = Some(Rc::clone(&self.insert_id));
        }
        connection.ran_code |= runs_code(facts.kind);
        self.worker.count(|counters| counters.replayed_statements += 1);
        Ok(learned)
    }

    /// Takes away what was set for statements of then.
    async fn back_to_now(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        let mut preamble = Preamble::default();
        let offset = match self.settings.variable(b"auto_increment_offset") {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => "DEFAULT".to_owned(),
        };
        preamble.set("SET timestamp=DEFAULT", connection.capabilities);
        preamble.try_set(
            &format!("SET auto_increment_offset={offset}"),
            connection.capabilities,
        );
        if connection.flavor == Flavor::MariaDb {
            preamble.set("SET insert_id=0", connection.capabilities);
        }
        connection.left.set_by_tandem(connection.flavor);
        let written = connection.stream.write_all(&preamble.bytes).await;
        written.map_err(relay::Error::Server)?;
        let replied = preamble.replies(self, connection).await?;
        replied.map_err(|refused| Failed::Refuse(Complaint::of_server(refused)))
    }
}

/// Statements whose rows may get ids from the server, and that take the one that is given.
fn makes_ids(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Insert | Kind::Replace | Kind::Load | Kind::Execute | Kind::Multi
    )
}

/// The first id that a statement makes, and in which steps it goes on: each of the two servers has its own offset. 0 is
/// none on MariaDB, and takes back what an earlier statement has not taken.
fn give_ids(id: u64, made: bool) -> String {
    match made {
        true => format!("SET insert_id={id},auto_increment_offset=1+({id}-1)%@@auto_increment_increment"),
        false => "SET insert_id=0".to_owned(),
    }
}
