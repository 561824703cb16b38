//! One statement's way to a server: decide, lease, have the [`exchange`](super::exchange), and what becomes of it if that fails.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tandem_protocol::response::Expect;

use super::aftermath;
use super::await_writer::{Lost, Patience, Waited};
use super::bring::{FailedSync, MUST_CHANGE_PASSWORD};
use super::cached::Keeping;
use super::complaint::Complaint;
use super::doubt::{self, Resolved, Unanswered};
use super::errors::{ASK_ELSEWHERE, ENDED, ROLLED_BACK, UNDONE};
use super::exchange::must_have_rows;
use super::hold;
use super::learn::Learned;
use super::lease::NoLease;
use super::library::Prepared;
use super::registry::Running;
use super::relay::{self, Carried, INTERRUPTED, Seen};
use super::ruled::Ruled;
use super::{Command, End, Session};
use crate::backend::prepared::StatementId;
use crate::classify::facts::{Facts, Kind, Links, Purity};
use crate::config::Level;
use crate::config::rule::Retry;
use crate::failover::outcome::is_marked;
use crate::monitor::Trouble;
use crate::pool::Pool;
use crate::pool::lease::Lease;
use crate::route::allowance::Allowance;
use crate::route::{self, Aim, Decision, Delayed, Held, Situation, Target};
use crate::statistics::trace::Step;
use crate::topology::{ServerId, Topology};
use crate::worker::Change;

/// How often a statement is sent again that the server has undone, where a rule wants that, and the time before it.
const MOST_REPEATS: u32 = 3;
const BEFORE_REPEAT: Duration = Duration::from_millis(10);

/// How often a pure read is tried: a connection may be lost, the next one refused, and the other server is there.
const MOST_ATTEMPTS: usize = 3;

/// How often a statement that writes is run again, alone or with its transaction, since its server was lost: it may be what the
/// servers die of, or what somebody kills on them.
const MOST_REPLAYS: usize = 2;

/// What is to be run.
pub(super) struct Work {
    pub(super) facts: Rc<Facts>,
    pub(super) expect: Expect,
    pub(super) command: Command,
    /// Replaces the command in the inbox, where it had to be rewritten.
    pub(super) owned: Option<Vec<u8>>,
    /// The statement whose id, as the server knows it, goes into the command.
    pub(super) prepared: Option<Rc<Prepared>>,
    /// Hold the reply back for the caller, instead of passing it to the client.
    pub(super) keep: bool,
    /// Its text may write: the connection's token goes before it.
    pub(super) marked: bool,
    /// The command gets no reply, not even an error.
    pub(super) silent: bool,
    /// It is Tandem's own, and the client waits for nothing.
    pub(super) unasked: bool,
    /// How new what it reads has to be, where it says so itself.
    pub(super) level: Option<Level>,
    /// If the server does not know the prepared statement any more, it can be given it again.
    pub(super) may_prepare_again: bool,
    /// A server that refuses to write may be one that is no longer the active master: asked again, once.
    pub(super) may_meet_read_only: bool,
    /// The prepared statement stands in for the client's once, and is closed after that.
    pub(super) passing: Option<StatementId>,
    /// What the client has of its reply, where that broke off and can be gone on with.
    pub(super) seen: Option<Seen>,
    /// The rule that it meets.
    pub(super) ruled: Option<Ruled>,
    /// Its reply is summed up, to be compared with that of a mirror.
    pub(super) is_mirrored: bool,
    /// Its reply is to be kept.
    pub(super) keeping: Option<Box<Keeping>>,
}

impl Work {
    pub(super) fn new(facts: Rc<Facts>, expect: Expect, command: Command) -> Self {
        Self {
            level: facts.hints.consistency,
            marked: expect == Expect::Query && is_marked(&facts),
            facts,
            expect,
            command,
            owned: None,
            prepared: None,
            keep: false,
            silent: false,
            unasked: false,
            may_prepare_again: false,
            may_meet_read_only: true,
            passing: None,
            seen: None,
            ruled: None,
            is_mirrored: false,
            keeping: None,
        }
    }
}

/// How a statement ended for the session: carried, or refused by Tandem (the client was told).
#[expect(
    clippy::large_enum_variant,
    reason = "one a statement, which must not allocate"
)]
pub(super) enum Ran {
    Carried {
        carried: Carried,
        learned: Learned,
    },
    /// The client has the reply, and no server was asked.
    Cached,
    Refused,
}

/// What a failed attempt leaves open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leeway {
    /// A pure read of an untied session: another server may be asked.
    pub(super) may_move: bool,
    /// It was sent to a standby, whose word on what exists is not the last.
    pub(super) may_ask_active: bool,
    /// It was sent to the active master, and can be sent to the next one if that refuses to write.
    pub(super) may_wait: bool,
    /// It belongs to a transaction that can be played again elsewhere.
    pub(super) may_replay: bool,
    /// It is no part of a transaction, and is sent again if the server undoes it.
    pub(super) may_repeat: bool,
    /// A server that ends the connection with an error is lost like one that does so without.
    pub(super) may_be_lost: bool,
    /// The transaction was played again just before it. All do that at once when a server is lost, so they may get into each other's
    /// way as they had not before: what the server rolls back for that is played once more.
    pub(super) may_collide: bool,
}

/// What was not tried too often yet.
#[derive(Clone, Copy)]
struct Tries {
    may_repeat: bool,
    may_collide: bool,
}

/// Why an attempt on one server failed.
pub(super) enum Failed {
    /// Nothing was executed that matters and the client has seen nothing.
    Elsewhere(Complaint),
    /// Nothing was executed, and the active master may be about to change.
    Unsent(Complaint),
    /// What was executed is undone.
    Undone,
    /// The transaction is lost, or may be one that the statement would have begun; the statement has not ended it.
    Replay(Complaint),
    /// It was sent, and no answer came.
    InDoubt(Unanswered),
    Refuse(Complaint),
    End(End),
}

impl From<End> for Failed {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<relay::Error> for Failed {
    fn from(error: relay::Error) -> Self {
        Self::End(error.into())
    }
}

impl From<FailedSync> for Failed {
    fn from(failed: FailedSync) -> Self {
        match failed {
            FailedSync::Refused(complaint) => Self::Refuse(complaint),
            FailedSync::Lost(error) => Self::End(error.into()),
        }
    }
}

impl Session {
    /// Runs a statement; a read that failed before the client saw anything is asked again, on the other server if that may
    /// answer it.
    ///
    /// # Errors
    /// [`End`] when the session can't go on.
    pub(super) async fn run(&mut self, mut work: Work) -> Result<Ran, End> {
        if !work.silent {
            self.handle.runs_shape(&work.facts.tally);
        }
        if self.rolled_back.is_some()
            && let Some(complaint) = self.bad_news(&work)
        {
            return self.refuse(&work, &complaint).await;
        }
        if work.facts.hints.wrong {
            self.worker.count(|counters| counters.wrong_hints += 1);
        }
        if self.ties.for_links(hold::asks(&work.facts)).is_none() {
            if self.aftermath.is_calculated() && work.facts.kind != Kind::Select {
                // It outlives this statement, which may run elsewhere.
                Box::pin(self.save_aftermath(false)).await;
            }
            self.let_go_of_diagnostics();
        }
        let caches = work.ruled.as_ref().is_some_and(|ruled| ruled.cache().is_some());
        if caches && self.answer_from_cache(&work).await? {
            return Ok(Ran::Cached);
        }
        let changes_logins = work.facts.links.contains(Links::CHANGES_LOGINS);
        let _change = changes_logins.then(|| Change::begin(&self.worker));
        let mut failed_on = None;
        let mut attempts = 0;
        let wait = work.ruled.as_ref().and_then(Ruled::wait);
        let mut patience = wait.unwrap_or(self.worker.config().consistency.read_wait);
        let mut held = Patience::default();
        let mut replays = 0;
        let mut repeats = 0;
        loop {
            if caches {
                work.keeping = self.begin_keeping(&work).map(Box::new);
            }
            let decision = match self.decide(&work, failed_on, held.delayed()) {
                Ok(decision) => decision,
                Err(complaint) => match self.await_writer(None, &mut held, complaint).await? {
                    Waited::There => continue,
                    Waited::Over(_) if self.settles_for_less(&mut work) => continue,
                    Waited::Over(complaint) => return self.refuse(&work, &complaint).await,
                },
            };
            if decision.reason.passes() && !patience.is_zero() && failed_on.is_none() {
                self.wait_for_standby(&work, patience).await?;
                patience = Duration::ZERO;
                continue;
            }
            if decision.target == Target::Standby && self.is_left_behind() {
                let name = &self.worker.pools[decision.server.0].name;
                let complaint = Complaint::left_behind(name, self.client.capabilities);
                let lost = Lost::now(decision.server);
                Box::pin(self.replay(lost, &mut held, complaint, &mut work)).await?;
                continue;
            }
            self.note_decision(decision, &work);
            let tries = Tries {
                may_repeat: repeats < MOST_REPEATS,
                may_collide: replays > 0 && replays < MOST_REPLAYS,
            };
            match self.attempt(decision, &mut work, tries).await {
                Ok((carried, learned)) => {
                    self.client.inbox.consume(work.command.head);
                    return Ok(Ran::Carried { carried, learned });
                }
                Err(Failed::Unsent(complaint)) => {
                    let lost = Some(Lost::now(decision.server));
                    failed_on = None;
                    match self.await_writer(lost, &mut held, complaint).await? {
                        Waited::There => {}
                        Waited::Over(_) if self.settles_for_less(&mut work) => {}
                        Waited::Over(complaint) => return self.refuse(&work, &complaint).await,
                    }
                    self.note_retry();
                }
                Err(Failed::Undone) => {
                    repeats += 1;
                    self.worker.count(|counters| counters.retries += 1);
                    let pause = tokio::time::sleep(BEFORE_REPEAT * repeats);
                    self.while_client_is_there(pause).await?;
                }
                Err(Failed::Replay(complaint)) => {
                    replays += 1;
                    if replays > MOST_REPLAYS {
                        return Err(End::Complaint(complaint));
                    }
                    let lost = Lost::now(decision.server);
                    Box::pin(self.replay(lost, &mut held, complaint, &mut work)).await?;
                    failed_on = None;
                }
                Err(Failed::Elsewhere(complaint)) => {
                    attempts += 1;
                    // A third one only for what the second has learnt.
                    let is_over = attempts > 1 && !complaint.is_unreachable();
                    if (is_over || attempts == MOST_ATTEMPTS) && complaint.is_gone() {
                        // Where an active master may come, it will answer.
                        let lost = Some(Lost::now(decision.server));
                        match self.await_writer(lost, &mut held, complaint).await? {
                            Waited::There => {}
                            Waited::Over(complaint) => return self.refuse(&work, &complaint).await,
                        }
                        (attempts, failed_on) = (0, None);
                        self.note_retry();
                        continue;
                    }
                    if is_over || attempts == MOST_ATTEMPTS {
                        return self.refuse(&work, &complaint).await;
                    }
                    if complaint.is_unreachable() && work.level.unwrap_or(self.level) == Level::Strict {
                        // As when there is no active master, which the monitor will say in a moment: see `route`.
                        work.level = Some(Level::Session);
                    }
                    tracing::debug!(session = self.handle.id, "asked elsewhere: {complaint}");
                    self.note_retry();
                    failed_on = Some(decision.server);
                }
                Err(Failed::InDoubt(unanswered)) => {
                    failed_on = None;
                    match Box::pin(self.clear_up(unanswered, &work, &mut held)).await? {
                        Resolved::RunAgain(complaint) => {
                            replays += 1;
                            if replays > MOST_REPLAYS {
                                return self.refuse(&work, &complaint).await;
                            }
                            self.note_retry();
                        }
                        Resolved::Answered(learned) => {
                            self.client.inbox.consume(work.command.head);
                            let (carried, learned) = (Carried::All, *learned);
                            return Ok(Ran::Carried { carried, learned });
                        }
                        Resolved::Replay(complaint) => {
                            replays += 1;
                            if replays > MOST_REPLAYS {
                                return Err(End::Complaint(complaint));
                            }
                            let lost = Lost::now(decision.server);
                            Box::pin(self.replay(lost, &mut held, complaint, &mut work)).await?;
                        }
                        Resolved::Refused(complaint) => return self.refuse(&work, &complaint).await,
                    }
                }
                Err(Failed::Refuse(complaint)) => return self.refuse(&work, &complaint).await,
                Err(Failed::End(end)) => return Err(end),
            }
        }
    }

    /// A strict read for which no active master came: as where none can come, the session's own writes are enough then.
    /// False if it is no such read, or was so already.
    fn settles_for_less(&self, work: &mut Work) -> bool {
        let strict = work.level.unwrap_or(self.level) == Level::Strict;
        let settles = strict && work.facts.purity == Purity::Pure && !self.ties.is_tied();
        if settles {
            work.level = Some(Level::Session);
        }
        settles
    }

    fn decide(
        &mut self,
        work: &Work,
        failed_on: Option<ServerId>,
        delayed: Option<Delayed>,
    ) -> Result<Decision, Complaint> {
        let facts = &work.facts;
        let mut situation = self.situation(hold::asks(facts), work.prepared.as_deref());
        situation.delayed = delayed;
        if let Some(level) = work.level {
            situation.level = level;
        }
        // Where it has failed there, any other is better than none.
        if let Some(ruled) = work.ruled.as_ref().filter(|_| failed_on.is_none()) {
            situation.aim = ruled.aim();
        }
        let topology = self.worker.topology.load();
        let balance = |active: ServerId, standby: ServerId| match failed_on {
            Some(failed) if failed == standby => active,
            Some(_) => standby,
            None => self.worker.balance(&topology, active, standby),
        };
        let decided = route::decide(facts, &situation, &topology, balance);
        decided.map_err(|_| Complaint::no_active(&why_no_active(&topology)))
    }

    /// What the router needs to know of this session, and of how the statement's names are read.
    pub(super) fn situation(&mut self, links: Links, prepared: Option<&Prepared>) -> Situation {
        let naming = self.naming(prepared);
        let held = self.lease.as_ref().and_then(|lease| {
            let reason = self.ties.for_links(links)?;
            Some(Held {
                server: lease.pool().server,
                reason,
            })
        });
        Situation {
            held,
            autocommit_off: self.ties.autocommit_off(),
            serializable: self.reading().serializable,
            system_schema: naming.system_schema,
            schema: naming.schema,
            level: self.level,
            waits: self.may_wait(),
            delayed: None,
            written: self.written,
            aim: Aim::Any,
        }
    }

    /// Waits, for as long as `consistency.read_wait` allows, until the standby may answer.
    ///
    /// # Errors
    /// [`End`] when the client goes away or the session is killed.
    async fn wait_for_standby(&mut self, work: &Work, patience: Duration) -> Result<(), End> {
        self.worker.count(|counters| counters.read_waits += 1);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let Some(mark) = self.worker.topology.load().mark.clone() else {
                return Ok(());
            };
            // Asked for before it is looked again: what comes in between is not missed.
            let mut progress = std::pin::pin!(mark.progress());
            progress.as_mut().enable();
            let passes = |decision: Decision| decision.reason.passes();
            if !self.decide(work, None, None).is_ok_and(passes) {
                return Ok(());
            }
            let waited = tokio::time::timeout_at(deadline, self.while_client_is_there(progress)).await;
            match waited {
                Ok(over) => over?,
                Err(_) => return Ok(()),
            }
        }
    }

    /// Waits for an event with the statement in hand.
    ///
    /// # Errors
    /// [`End`] when the client goes away or the session is killed.
    pub(super) async fn while_client_is_there<T>(
        &mut self,
        event: impl Future<Output = T>,
    ) -> Result<T, End> {
        self.client.inbox.move_out();
        let mut event = std::pin::pin!(event);
        let ended = std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = event.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            relay::poll_over(&self.handle, &mut self.client, cx).map(Err)
        });
        ended.await.map_err(End::from)
    }

    fn note_decision(&self, decision: Decision, work: &Work) {
        let facts = &work.facts;
        if let Some(ruled) = &work.ruled
            && !ruled
                .aim()
                .is_met_by(decision.server, &self.worker.topology.load())
        {
            ruled.note_overruled();
        }
        let on_active = decision.target == Target::Active;
        self.handle.underway.borrow_mut().routed(decision);
        self.handle.step(Step::Route);
        self.handle.reason.set(Some(decision.reason));
        self.worker.count(|counters| {
            counters.reasons.count(decision.reason as usize);
            match (facts.purity == Purity::Pure, on_active) {
                (true, true) => counters.reads_active += 1,
                (true, false) => counters.reads_standby += 1,
                (false, _) => counters.writes += 1,
            }
        });
    }

    fn note_retry(&self) {
        self.handle.underway.borrow_mut().sent_again();
        self.worker.count(|counters| counters.retries += 1);
    }

    async fn refuse(&mut self, work: &Work, complaint: &Complaint) -> Result<Ran, End> {
        self.client.inbox.consume(work.command.head);
        if work.seen.is_some() {
            return Err(End::silent(complaint));
        }
        if work.command.tail.is_some() || work.silent || work.unasked {
            // The rest of the command is still on its way, or there is no reply to put the error into.
            return Err(End::Complaint(complaint.clone()));
        }
        self.complain(complaint).await?;
        Ok(Ran::Refused)
    }

    /// One attempt on one server, from lease to settled reply.
    async fn attempt(
        &mut self,
        decision: Decision,
        work: &mut Work,
        tries: Tries,
    ) -> Result<(Carried, Learned), Failed> {
        let retry = work.ruled.as_ref().map_or(Retry::Reads, Ruled::retry);
        let is_whole = work.command.tail.is_none();
        let is_loose = !self.ties.is_tied() && is_whole;
        let may_move = work.facts.purity == Purity::Pure && is_loose && retry != Retry::Never;
        let can_be_told = is_loose || is_whole && self.ends_transaction(&work.facts);
        let may_ask_active = may_move && decision.target == Target::Standby;
        let may_replay = work.may_meet_read_only && self.is_replayable() && is_whole;
        let leeway = Leeway {
            may_move,
            may_ask_active,
            may_wait: self.may_wait()
                && work.may_meet_read_only
                && decision.target == Target::Active
                && is_loose,
            may_replay,
            may_collide: tries.may_collide && may_replay,
            may_repeat: tries.may_repeat
                && retry == Retry::Deadlocks
                && is_loose
                && !self.ties.autocommit_off()
                && can_be_repeated(&work.facts),
            may_be_lost: !may_ask_active && (may_move || self.may_wait() && can_be_told),
        };
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => self
                .lease_from(decision.server, &work.facts)
                .await
                .map_err(|failed| {
                    let complaint = match failed {
                        NoLease::Refused(complaint) => complaint,
                        NoLease::Over(end) => return Failed::End(end),
                    };
                    let lacks_active = decision.target == Target::Active && complaint.is_gone();
                    if lacks_active && self.may_wait() {
                        Failed::Unsent(complaint)
                    } else if may_move {
                        Failed::Elsewhere(complaint)
                    } else {
                        Failed::Refuse(complaint)
                    }
                })?,
        };
        self.handle.step(Step::Lease);
        let pool = Rc::clone(lease.pool());
        let connection = lease.connection_mut();
        let served_by = Some((pool.server.0, connection.thread_id));
        self.handle.target.set(served_by);
        self.handle.served_by.set(served_by);
        let runs = self.handle.runs(Running {
            server: pool.server,
            thread_id: connection.thread_id,
            user: self.account.id,
            flags: self.worker.config().mirrored(self.flags),
            bound: self.bound(work),
        });
        let busy = Busy::new(&pool);
        let overtime = match self.allowance(work) {
            Allowance::OfRule(limit) => Some(self.worker.end_after(&self.handle, limit)),
            Allowance::OfAccount(_) | Allowance::Endless => None,
        };
        let mut forwarded = false;
        let mut learned = Learned {
            transcript: self.transcript(decision, work),
            ..Learned::default()
        };
        if !work.silent {
            let schema = self.naming(work.prepared.as_deref()).schema;
            self.begin_write(&work.facts, schema);
            self.note_sent(connection, &work.facts);
        }
        let result = self
            .exchange(connection, work, leeway, &mut learned, &mut forwarded)
            .await;
        let result = match result {
            Ok(Carried::Withheld) if leeway.may_be_lost => match learned.error {
                Some(code) if ENDED.contains(&code) => Err(relay::Error::Ended(code).into()),
                _ => Ok(Carried::Withheld),
            },
            result => result,
        };
        match &result {
            Ok(_) if !work.silent => {
                self.note_answered(connection, work, &learned);
                self.settle_write(&work.facts, &learned);
            }
            Ok(_) => {}
            Err(_) => self.lose_write(),
        }
        drop((overtime, busy, runs));
        let is_late = self.handle.is_overtime() && learned.error.is_some();
        if let (Some(ruled), true) = (&work.ruled, learned.cut || is_late) {
            ruled.note_broken_off();
        }
        if self.handle.was_shot() {
            self.handle.out_of_fire().await;
            // A shot that came too late may yet hit the next statement: nobody else's, at least.
            let was_hit = learned.error == Some(INTERRUPTED) || learned.overran;
            if !was_hit && !self.ties.is_tied() {
                lease.connection_mut().broken = true;
            }
            if learned.overran {
                self.note_overrun();
            }
        }
        match result {
            Ok(Carried::Withheld) if leeway.may_collide && has_rolled_back(&learned) => {
                drop(lease);
                Err(Failed::Replay(Complaint::rolled_back(
                    "another one was in the way when it was played again",
                )))
            }
            Ok(Carried::Withheld) if learned.error.is_some_and(|code| UNDONE.contains(&code)) => {
                lease.release();
                Err(Failed::Undone)
            }
            Ok(Carried::Withheld) if leeway.may_wait => {
                self.worker.report(pool.server, Trouble::ReadOnly);
                work.may_meet_read_only = false;
                lease.release();
                let name = &pool.name;
                Err(Failed::Unsent(Complaint::no_active(&format!(
                    "{name}: it has become read-only"
                ))))
            }
            Ok(Carried::Withheld) if leeway.may_replay => {
                self.worker.report(pool.server, Trouble::ReadOnly);
                work.may_meet_read_only = false;
                // What is open there ends with the connection.
                drop(lease);
                let capabilities = self.client.capabilities;
                Err(Failed::Replay(Complaint::left_behind(&pool.name, capabilities)))
            }
            Ok(Carried::Withheld) => {
                lease.connection_mut().broken |= learned.error == Some(MUST_CHANGE_PASSWORD);
                lease.release();
                Err(Failed::Elsewhere(Complaint::no_active(
                    "the standby could not answer",
                )))
            }
            Ok(carried) if work.silent => {
                self.keep_or_release(lease);
                Ok((carried, learned))
            }
            Ok(carried) => {
                // The password may have been changed meanwhile, which connections from before do not notice.
                lease.connection_mut().broken |= learned.error == Some(MUST_CHANGE_PASSWORD);
                // Then its rows are still to come, and would be the next session's.
                lease.connection_mut().broken |= lacks_rows(&work.facts, &learned);
                if let Some(passing) = work.passing.take() {
                    lease.connection_mut().close_prepared(passing);
                }
                let settings = self.read_back(lease.connection_mut(), work, &mut learned).await?;
                if work.facts.links.contains(Links::SKIPS_ROWS) {
                    learned.told = aftermath::offset(self.text_of(work));
                }
                self.keep_reply(work, &carried, &mut learned);
                let recorded = self.recorded(&learned);
                self.settle(lease, &work.facts, &learned, settings);
                self.settle_record(recorded);
                Ok((carried, learned))
            }
            Err(failed) => {
                work.seen = learned.seen;
                Err(self.give_up(lease, failed, leeway, forwarded, work))
            }
        }
    }

    /// After a failed attempt: what becomes of the connection, and of the session.
    fn give_up(
        &mut self,
        mut lease: Lease,
        failed: Failed,
        leeway: Leeway,
        forwarded: bool,
        work: &Work,
    ) -> Failed {
        let pool = Rc::clone(lease.pool());
        match failed {
            Failed::End(End::Relay(error)) if is_server_fault(&error) => {
                // Dropping the lease closes the connection: whatever was under way there ends.
                drop(lease);
                self.worker.report(pool.server, Trouble::ConnectionLost);
                let goes_on = work.seen.is_some() && leeway.may_replay && !self.may_commit(work);
                if forwarded && !goes_on {
                    return Failed::End(End::Relay(error));
                }
                self.lost(&pool, &error, leeway.may_move, work)
            }
            Failed::Refuse(complaint) if leeway.may_ask_active && ASK_ELSEWHERE.contains(&complaint.code) => {
                // A statement that could not even be prepared there, or its schema not found.
                lease.release();
                Failed::Elsewhere(complaint)
            }
            Failed::Refuse(complaint) if !lease.connection().broken => {
                self.keep_or_release(lease);
                Failed::Refuse(complaint)
            }
            // What tied the session to the connection goes with it, and nothing may pretend that it didn't.
            Failed::Refuse(complaint) if self.ties.is_tied() => Failed::End(End::Complaint(complaint)),
            failed => {
                lease.connection_mut().broken = true;
                failed
            }
        }
    }

    fn lost(&mut self, pool: &Pool, error: &relay::Error, may_move: bool, work: &Work) -> Failed {
        let tied = self.ties.is_tied();
        let rest = if tied { doubt::STATE_LOST } else { doubt::NOT_KNOWN };
        let complaint = Complaint::lost(&pool.name, error, rest, self.client.capabilities);
        let can_be_told = !tied || self.ends_transaction(&work.facts);
        if may_move {
            Failed::Elsewhere(complaint)
        } else if self.belongs_to_transaction(work) && !self.may_commit(work) {
            Failed::Replay(complaint)
        } else if self.may_wait() && can_be_told {
            Failed::InDoubt(Unanswered {
                server: pool.server,
                name: Rc::clone(&pool.name),
                cause: error.to_string(),
            })
        } else if tied {
            Failed::End(End::Lost(complaint))
        } else {
            self.written = route::Written::Somewhere(std::time::Instant::now());
            Failed::Refuse(complaint)
        }
    }
}

pub(super) fn is_server_fault(error: &relay::Error) -> bool {
    matches!(
        error,
        relay::Error::Server(_)
            | relay::Error::Abandoned
            | relay::Error::Ended(_)
            | relay::Error::Protocol(_)
            | relay::Error::UninvitedFile
    )
}

/// One statement that changes rows, all of which is undone with it.
fn can_be_repeated(facts: &Facts) -> bool {
    let changes_rows = matches!(
        facts.kind,
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete
    );
    let locks_rows = facts.purity == Purity::LockingRead;
    (changes_rows || locks_rows) && !facts.links.contains(Links::CALLS_UNKNOWN)
}

fn has_rolled_back(learned: &Learned) -> bool {
    learned.error.is_some_and(|code| ROLLED_BACK.contains(&code))
}

/// Whether a read was answered as only a statement without rows is.
fn lacks_rows(facts: &Facts, learned: &Learned) -> bool {
    must_have_rows(facts) && learned.affected.is_some()
}

fn why_no_active(topology: &Topology) -> String {
    let servers: Vec<String> = topology
        .servers
        .iter()
        .map(|server| format!("{}: {}", server.name, server.why))
        .collect();
    servers.join("; ")
}

/// Counts a statement as outstanding on a server for as long as it lives.
struct Busy {
    pool: Rc<Pool>,
}

impl Busy {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.outstanding.set(pool.outstanding.get() + 1);
        Self {
            pool: Rc::clone(pool),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pool.outstanding.set(self.pool.outstanding.get() - 1);
    }
}
