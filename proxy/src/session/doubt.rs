//! A statement that was sent and not answered: the new active master's binary log tells whether it took effect
//! ([`crate::failover::outcome`]). Then it is answered in the server's place, or run again, and otherwise the client is told
//! what is known.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tandem_protocol::command::write_query;
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::packet::ok::{OK_HEADER, OkPacket};
use tandem_protocol::reply;
use tandem_protocol::response::Expect;

use super::aftermath::Marks;
use super::await_writer::{Lost, Patience, Waited};
use super::complaint::Complaint;
use super::hold::runs_code;
use super::learn::Learned;
use super::run::Work;
use super::send::first_number;
use super::writes::NOTHING_DONE;
use super::{End, Session};
use crate::backend::{Connection, ConnectionId};
use crate::classify::facts::{Effect, Facts, Kind, Links, Pins, TableName};
use crate::classify::says;
use crate::failover::outcome::dump::{self, Question, Thread};
use crate::failover::outcome::{Doubt, Proof, Subject, Token, Verdict, judge};
use crate::route::Written;
use crate::topology::ServerId;
use crate::topology::gtid::{Gtid, Stream};
use crate::topology::table::NameKey;

/// What a client is told where nothing can be found out.
pub(super) const NOT_KNOWN: &str = "whether the statement took effect is not known";
pub(super) const STATE_LOST: &str = "the session's transaction or state is lost with it";

/// How long the new active master's definitions are waited for, which are read when it becomes that, and how often they are
/// looked at meanwhile.
const DEFINITIONS_WAIT: Duration = Duration::from_secs(3);
const DEFINITIONS_STEP: Duration = Duration::from_millis(10);

/// How often the log is asked if the connection is lost over it, the new active master having died too, for instance.
const MOST_LOOKUPS: u32 = 5;

/// What was sent last, and what the open transaction has shown of itself.
#[derive(Debug, Default)]
pub(super) struct Trail {
    sent: Option<Sent>,
    /// All that the statement may change is in tables without triggers, and nothing runs behind its text.
    pub(super) is_shown_by_text: bool,
    /// The open transaction has changed rows under a text that the binary log has when it is committed.
    shown: bool,
    /// It may have changed rows under none.
    hidden: bool,
    /// A statement of it that has changed rows while it was not known whether its tables have triggers; and in which schema.
    unproved: Option<Unproved>,
}

/// What a statement writes, by its text and the schema that it was sent in.
#[derive(Debug)]
struct Unproved {
    facts: Rc<Facts>,
    schema: Option<NameKey>,
}

/// A table's column that counts by itself was not found out.
struct NotKnown;

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The connection, by its own name and the server's.
    token: Token,
    thread: Thread,
    stained: bool,
    /// The active master's, and its newest commit that anybody had been told of.
    stream: Stream,
    after: Option<Gtid>,
}

/// A statement without an answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) server: ServerId,
    pub(super) name: Rc<str>,
    pub(super) cause: String,
}

/// What is to be done about it.
pub(super) enum Resolved {
    /// It left nothing; what the client is told if it has been run often enough.
    RunAgain(Complaint),
    /// The client has its OK.
    Answered(Box<Learned>),
    /// Its transaction left nothing, and can be played again.
    Replay(Complaint),
    Refused(Complaint),
}

impl Session {
    /// Notes what would have to be looked up, before a statement is sent.
    pub(super) fn note_sent(&mut self, connection: &Connection, facts: &Facts) {
        self.trail.sent = None;
        let Some(token) = connection.token else { return };
        if facts.effect() == Effect::Nothing && !self.ties.in_transaction() {
            return;
        }
        let topology = self.worker.topology.load();
        // A transaction goes on while nobody is active: its server may live, and its COMMIT come to the standby in time.
        self.trail.sent = topology.last_mark().map(|mark| Sent {
            token,
            thread: Thread::of(connection),
            stained: connection.stained,
            stream: mark.stream(),
            after: mark.newest_told(),
        });
    }

    /// Notes what became of it, when the answer has come.
    pub(super) fn note_answered(&mut self, connection: &mut Connection, work: &Work, learned: &Learned) {
        let facts = &work.facts;
        if connection.token.is_none() {
            return;
        }
        let writes = facts.effect() != Effect::Nothing;
        let in_transaction = match learned.outcome.status {
            Some(status) => status.contains(Status::IN_TRANS),
            None => self.ties.in_transaction(),
        };
        if !in_transaction {
            let refused =
                learned.error.is_some_and(|code| NOTHING_DONE.contains(&code)) && !runs_code(facts.kind);
            let unchanged = learned.reported && learned.affected == Some(0);
            connection.stained =
                learned.gtid.is_none() && (connection.stained || writes && !refused && !unchanged);
            (self.trail.shown, self.trail.hidden, self.trail.unproved) = (false, false, None);
        } else if writes {
            match (self.trail.is_shown_by_text, learned.affected, learned.error) {
                (true, Some(0), _) => {}
                (true, Some(_), _) => self.trail.shown = true,
                // What failed is undone.
                (true, None, Some(_)) => {}
                (true, None, None) | (false, ..) => {
                    self.trail.hidden = true;
                    let changed = learned.affected.is_some_and(|rows| rows > 0);
                    if changed && facts.effect() == Effect::Tables && self.trail.unproved.is_none() {
                        self.trail.unproved = Some(Unproved {
                            facts: Rc::clone(facts),
                            schema: self.naming(work.prepared.as_deref()).schema,
                        });
                    }
                }
            }
        }
    }

    /// Whether a statement ends a transaction, beside which nothing ties the session to its connection.
    pub(super) fn ends_transaction(&self, facts: &Facts) -> bool {
        facts.kind == Kind::Commit
            && (self.ties.pins - Pins::NEXT_TRANSACTION).is_empty()
            && !self.ties.statement
            && !self.ties.uncertain
    }

    /// Finds out what became of a statement, as soon as there is an active master that knows.
    ///
    /// # Errors
    /// [`End`] when the session can't go on.
    pub(super) async fn clear_up(
        &mut self,
        unanswered: Unanswered,
        work: &Work,
        patience: &mut Patience,
    ) -> Result<Resolved, End> {
        let mut lost = Lost::now(unanswered.server);
        let ends = self.ends_transaction(&work.facts) && self.ties.in_transaction();
        let capabilities = self.client.capabilities;
        let told = |rest: &str| unanswered.told(rest, capabilities);
        let refused = |complaint: Complaint| match ends {
            true => Err(End::Lost(complaint)),
            false => Ok(Resolved::Refused(complaint)),
        };
        let Some(subject) = self.subject(&work.facts) else {
            // It writes nothing, or nothing that would be there without a COMMIT.
            let waited = self.await_writer(Some(lost), patience, told(NOT_KNOWN)).await?;
            return match waited {
                Waited::There => Ok(self.again(work, &unanswered)),
                Waited::Over(complaint) => Ok(Resolved::Refused(complaint)),
            };
        };
        if subject == Subject::Commit && !self.trail.shown && !self.trail.hidden {
            // There was nothing to commit.
            let waited = self.await_writer(Some(lost), patience, told(NOT_KNOWN)).await?;
            return match waited {
                Waited::There => self.answer(&unanswered, work, None, 0, 0).await,
                Waited::Over(complaint) => refused(complaint),
            };
        }
        self.written = Written::Somewhere(Instant::now());
        let mut tries = 0;
        let verdict = loop {
            if let Waited::Over(complaint) = self.await_writer(Some(lost), patience, told(NOT_KNOWN)).await? {
                return refused(complaint);
            }
            let Some(server) = self.worker.topology.load().active else {
                continue;
            };
            tries += 1;
            match self.verdict(&unanswered, subject, work, server).await {
                Ok(verdict) => break verdict,
                Err(error) if error.may_pass() && tries < MOST_LOOKUPS => lost = Lost::now(server),
                Err(error) => break Verdict::Unknown(error.to_string()),
            }
        };
        tracing::info!(session = self.handle.id, server = %unanswered.name, "a statement without an answer: {verdict:?}");
        match verdict {
            Verdict::Committed { gtid, .. } if says(self.text_of(work), b"returning") => {
                self.note_commit(gtid);
                refused(told(
                    "the statement took effect; the rows that it returns are lost",
                ))
            }
            Verdict::Committed {
                gtid,
                affected,
                insert_id,
            } => self.answer(&unanswered, work, gtid, affected, insert_id).await,
            Verdict::CommittedUnknownCounts { gtid } => {
                self.note_commit(gtid);
                let rest =
                    "the statement took effect; how many rows it changed, or its insert id, is not known";
                refused(told(rest))
            }
            Verdict::NotCommitted if ends => Ok(Resolved::Replay(told(
                "the transaction was not committed, and is lost with it",
            ))),
            Verdict::NotCommitted => Ok(self.again(work, &unanswered)),
            Verdict::Unknown(why) => refused(told(&format!("{NOT_KNOWN}: {why}"))),
        }
    }

    /// Runs it again, if all of it is still here.
    fn again(&self, work: &Work, unanswered: &Unanswered) -> Resolved {
        match work.command.tail.is_some() || work.command.head == 0 && work.owned.is_none() {
            false => Resolved::RunAgain(unanswered.told(
                "it did not take effect, and was run again before: it may be what servers are lost by",
                self.client.capabilities,
            )),
            true => {
                let rest =
                    "it did not take effect, and is too long to be kept for running it again, or was a file";
                Resolved::Refused(unanswered.told(rest, self.client.capabilities))
            }
        }
    }

    /// What is to be looked for; nothing where nothing can have been committed.
    fn subject(&self, facts: &Facts) -> Option<Subject> {
        let effect = facts.effect();
        let thread = self.trail.sent.map(|sent| sent.thread.id);
        let changes = match facts.kind {
            Kind::Commit => return Some(Subject::Commit),
            _ if effect == Effect::Nothing => return None,
            Kind::Insert => Subject::Insert,
            Kind::Replace => Subject::Replace,
            Kind::Update => Subject::Update,
            Kind::Delete => Subject::Delete,
            Kind::Load => Subject::Load,
            Kind::Ddl | Kind::Admin => return Some(Subject::Definition { thread }),
            _ => return Some(Subject::Code),
        };
        // A transaction began with it, which has not come to its end.
        let waits_for_commit = self.ties.autocommit_off() && self.trail.is_shown_by_text;
        (!waits_for_commit).then_some(changes)
    }

    async fn verdict(
        &mut self,
        unanswered: &Unanswered,
        subject: Subject,
        work: &Work,
        server: ServerId,
    ) -> Result<Verdict, dump::Error> {
        let Some(sent) = self.trail.sent else {
            return Ok(Verdict::Unknown(
                "the active master's position was not known when it was sent".into(),
            ));
        };
        let mut doubt = Doubt {
            token: sent.token,
            stream: sent.stream,
            subject,
            table: self.only_table(work),
            counter: None,
            found_rows: self.flags.contains(Capabilities::FOUND_ROWS),
            hides_insert_id: work.facts.links.contains(Links::SETS_INSERT_ID),
            proof: match subject {
                Subject::Commit if self.trail.shown => Proof::Then,
                Subject::Commit => Proof::Nothing,
                _ if self.trail.is_shown_by_text => Proof::Then,
                _ => Proof::Nothing,
            },
            stained: sent.stained,
        };
        if matches!(subject, Subject::Insert | Subject::Replace) {
            match self.counter(server, doubt.table.as_ref()).await {
                Ok(counter) => doubt.counter = counter,
                Err(NotKnown) => doubt.hides_insert_id = true,
            }
        }
        let question = Question {
            server,
            after: sent.after,
            same: (server == unanswered.server).then_some(sent.thread),
            doubt: &mut doubt,
        };
        let found = dump::look_up(&self.worker, question).await?;
        if found.transactions == 0
            && doubt.proof == Proof::Nothing
            && self.is_shown_by_now(subject, work).await
        {
            doubt.proof = Proof::Now;
        }
        Ok(judge(&doubt, &found))
    }

    /// Whether the tables are known to have no triggers now, on the new active master.
    async fn is_shown_by_now(&mut self, subject: Subject, work: &Work) -> bool {
        let Unproved { facts, schema } = match subject {
            Subject::Commit => match self.trail.unproved.take() {
                Some(unproved) => unproved,
                None => return false,
            },
            _ => Unproved {
                facts: Rc::clone(&work.facts),
                schema: self.naming(work.prepared.as_deref()).schema,
            },
        };
        if facts.effect() != Effect::Tables {
            return false;
        }
        let deadline = tokio::time::Instant::now() + DEFINITIONS_WAIT;
        loop {
            let Some(mark) = self.worker.topology.load().mark.clone() else {
                return false;
            };
            let known = mark.with_catalog(|catalog| {
                let (named, catalog) = facts.tables.known_writes().zip(catalog)?;
                let mut named = named.iter().map(|table| table.within(schema));
                Some(named.all(|key| key.is_some_and(|key| catalog.written(key, &mut Vec::new()))))
            });
            match known {
                Some(shown) => return shown,
                None if tokio::time::Instant::now() > deadline => return false,
                None => tokio::time::sleep(DEFINITIONS_STEP).await,
            }
        }
    }

    /// The only table that the statement's text says it writes.
    fn only_table(&self, work: &Work) -> Option<TableName> {
        let [table] = work.facts.tables.writes.as_slice() else {
            return None;
        };
        let mut table = table.clone();
        if table.schema.is_empty() {
            let settings = work
                .prepared
                .as_ref()
                .map_or(&self.settings, |prepared| &prepared.settings);
            let schema = settings.schema.as_deref()?;
            table.schema = String::from_utf8_lossy(schema).into();
        }
        Some(table)
    }

    /// Which of a table's columns counts by itself, from 0; asked as the session's account, which knows the table.
    async fn counter(
        &mut self,
        server: ServerId,
        table: Option<&TableName>,
    ) -> Result<Option<usize>, NotKnown> {
        let table = table.ok_or(NotKnown)?;
        let literal = |name: &str| {
            let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("_utf8mb4 x'{digits}'")
        };
        let question = format!(
            "SELECT ORDINAL_POSITION FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
             AND EXTRA LIKE '%auto_increment%' UNION ALL SELECT 0 FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {0} AND TABLE_NAME = {1} AND TABLE_TYPE = 'BASE TABLE'",
            literal(&table.schema),
            literal(&table.name)
        );
        let facts = Rc::clone(&self.worker.known_facts.ask_active);
        let mut lease = self.lease_from(server, &facts).await.map_err(|_| NotKnown)?;
        let connection = lease.connection_mut();
        let mut packet = Vec::new();
        write_query(&mut packet, question.as_bytes(), connection.capabilities);
        let written = connection.stream.write_all(&packet).await;
        written.map_err(|_| NotKnown)?;
        let reply = self.swallow(connection, Expect::Query).await;
        let reply = reply.map_err(|_| NotKnown)?;
        connection.left.asked_by_tandem(connection.flavor);
        lease.release();
        // A view has neither row: then its rows are another table's.
        let ordinal = first_number(&reply.bytes).filter(|_| reply.error.is_none());
        let ordinal = ordinal.and_then(|ordinal| usize::try_from(ordinal).ok());
        Ok(ordinal.ok_or(NotKnown)?.checked_sub(1))
    }

    /// Gives the client the OK that it has not got, and the session what it would have learnt from it.
    async fn answer(
        &mut self,
        unanswered: &Unanswered,
        work: &Work,
        gtid: Option<Gtid>,
        affected: u64,
        insert_id: u64,
    ) -> Result<Resolved, End> {
        if work.facts.kind == Kind::Commit && self.chains(work) {
            let rest = "the transaction was committed; the next one could not be begun with it";
            return Err(End::Lost(unanswered.told(rest, self.client.capabilities)));
        }
        let mut status = self.ties.state();
        status -= Status::IN_TRANS | Status::IN_TRANS_READONLY;
        let mut learned = Learned {
            gtid,
            reported: true,
            insert_id,
            affected: Some(affected),
            ..Learned::default()
        };
        learned.outcome.status = Some(status);
        let nowhere = (unanswered.server, ConnectionId(0));
        let flavor = self.worker.flavor();
        self.aftermath
            .note(nowhere, &mut Marks::default(), &work.facts, &learned, flavor);
        self.ties.note(&work.facts, &learned.outcome);
        self.settle_record(None);
        self.handle.note_transaction(self.ties.in_transaction());
        self.handle.pins.set(self.ties.pins);
        self.handle.lets_go();
        self.warnings = 0;
        if insert_id != 0 {
            self.insert_id.arrived(Some(insert_id));
        }
        self.note_commit(gtid);
        self.worker.count(|counters| counters.answered_from_binlog += 1);
        let packet = OkPacket {
            affected_rows: affected,
            last_insert_id: insert_id,
            status,
            ..OkPacket::default()
        };
        let mut out = Vec::new();
        reply::ok_packet(
            &mut out,
            self.client.seq,
            OK_HEADER,
            &packet,
            self.client.capabilities,
        );
        self.client.write(&out).await?;
        Ok(Resolved::Answered(Box::new(learned)))
    }

    /// What the session reads next must have it, and so must a standby that is promoted: its client is told of it.
    fn note_commit(&mut self, gtid: Option<Gtid>) {
        if let (Some(gtid), Some(mark)) = (&gtid, self.worker.topology.load().last_mark()) {
            mark.commit(gtid);
        }
        self.written = match gtid {
            Some(gtid) => Written::At(gtid),
            None => Written::Somewhere(Instant::now()),
        };
    }

    /// Whether a COMMIT begins a transaction, or ends the connection.
    fn chains(&self, work: &Work) -> bool {
        let text = self.text_of(work);
        says(text, b"chain") || says(text, b"release") || self.settings.variable(b"completion_type").is_some()
    }
}

impl Unanswered {
    fn told(&self, rest: &str, capabilities: Capabilities) -> Complaint {
        Complaint::lost(&self.name, &self.cause, rest, capabilities)
    }
}
