//! What takes longer than it may: a statement is told to stop on its server, a transaction is rolled back, and the session goes on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::complaint::Complaint;
use super::registry::{Bound, IdleLimits};
use super::ruled::Ruled;
use super::run::{Ran, Work};
use super::{End, Session};
use crate::classify::facts::Kind;
use crate::config::TimeLimit;
use crate::meter::Meter;
use crate::route::allowance::{Allowance, allowance, can_be_stopped};
use tandem_protocol::response::Expect;

/// Why a statement was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    Statement(TimeLimit),
    /// Its transaction is to be rolled back.
    Transaction(TimeLimit),
}

/// Whether a session is to roll its transaction back before it does anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RollBack {
    #[default]
    No,
    /// Its client learns of it by its next statement.
    Untold,
    /// Its client knows: a statement was stopped for that.
    Told,
}

/// How long things take that have a limit, in milliseconds, and how many were ended for that.
#[derive(Debug, Default)]
pub struct Times {
    pub statement: Meter,
    pub transaction: Meter,
    pub asleep: Meter,
    pub asleep_in_transaction: Meter,
}

/// The longest of each now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Longest {
    pub(super) statement: Duration,
    pub(super) transaction: Duration,
    pub(super) asleep: Duration,
    pub(super) asleep_in_transaction: Duration,
}

impl Times {
    pub(super) fn note(&self, longest: &Longest) {
        let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        self.statement.set(millis(longest.statement));
        self.transaction.set(millis(longest.transaction));
        self.asleep.set(millis(longest.asleep));
        self.asleep_in_transaction
            .set(millis(longest.asleep_in_transaction));
    }

    /// A session was ended since it had slept for so long; if it was for its own `wait_timeout`, that is no limit of Tandem's.
    pub(super) fn note_expired(&self, asleep: Duration, limits: IdleLimits) {
        if asleep > limits.session {
            self.asleep.refuse();
        } else if limits.transaction.is_some_and(|limit| asleep > limit) {
            self.asleep_in_transaction.refuse();
        }
    }
}

impl Session {
    pub(super) fn allowance(&self, work: &Work) -> Allowance {
        let by_rule = work.ruled.as_ref().and_then(Ruled::timeout);
        allowance(&work.facts, by_rule, self.handle.time_limits.get().statement)
    }

    /// How long a server may work on this.
    pub(super) fn bound(&self, work: &Work) -> Bound {
        // A dump has no end.
        if !can_be_stopped(&work.facts) || work.silent || work.unasked || work.expect == Expect::Dump {
            return Bound::Never;
        }
        match self.allowance(work) {
            Allowance::OfAccount(limit) => Bound::Until(Instant::now() + limit.most, limit),
            Allowance::OfRule(_) | Allowance::Endless => Bound::Transaction,
        }
    }

    /// The client has been told that its statement took too long.
    pub(super) fn note_overrun(&self) {
        match self.handle.overrun() {
            Some(Overrun::Statement(_)) => self.worker.times.statement.refuse(),
            Some(Overrun::Transaction(_)) => self.handle.ask_to_roll_back(RollBack::Told),
            None => {}
        }
    }

    /// Rolls back the transaction that has been open for too long.
    ///
    /// # Errors
    /// [`End`] where that can't be done: the end of the session does it then.
    pub(super) async fn roll_back(&mut self, how: RollBack) -> Result<(), End> {
        if how == RollBack::No || !self.ties.in_transaction() {
            return Ok(());
        }
        // It may be another transaction by now.
        let Some(limit) = self.handle.overdue_transaction(Instant::now()) else {
            return Ok(());
        };
        let now = self.handle.enter("Query");
        self.count_statement(now);
        self.handle.underway.borrow_mut().command(0);
        let dialect = self.reading().dialect;
        let mut work = self.own_question(ROLLBACK);
        work.facts = Rc::clone(
            &self
                .worker
                .classifier
                .borrow_mut()
                .classify(ROLLBACK, dialect)
                .facts,
        );
        work.keep = true;
        work.unasked = true;
        let complaint = Complaint::transaction_overdue(limit, &self.handle.user.borrow());
        let ran = Box::pin(self.run(work)).await?;
        let is_done = matches!(&ran, Ran::Carried { learned, .. } if learned.error.is_none());
        self.worker.times.transaction.refuse();
        tracing::info!(session = self.handle.id, user = %self.handle.user.borrow(), "{complaint}");
        if !is_done || self.ties.in_transaction() {
            return Err(End::Complaint(complaint));
        }
        if how == RollBack::Untold {
            self.rolled_back = Some(limit);
        }
        self.handle.enter("Sleep");
        Ok(())
    }

    /// What the client has to be told, in the place of running `work`: that its transaction is gone.
    pub(super) fn bad_news(&mut self, work: &Work) -> Option<Complaint> {
        if work.silent || work.unasked {
            return None;
        }
        let limit = self.rolled_back.take()?;
        // That is what it asks for.
        (work.facts.kind != Kind::Rollback)
            .then(|| Complaint::transaction_overdue(limit, &self.handle.user.borrow()))
    }
}

const ROLLBACK: &[u8] = b"ROLLBACK";
