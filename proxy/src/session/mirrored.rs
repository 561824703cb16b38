//! The session's part in mirroring: a copy before the statement runs, if it may be compared at all, and its handing over when the
//! client has the answer. Nothing here waits.

use std::rc::Rc;
use std::sync::Arc;

use tandem_protocol::response::Expect;

use super::Session;
use super::relay::{Carried, INTERRUPTED};
use super::replay::now;
use super::run::{Ran, Work};
use super::settings::Settings;
use crate::backend::sync::set_for_reading;
use crate::classify::Fingerprint;
use crate::config::rule::Rule;
use crate::mirror::entrance::Counts;
use crate::mirror::shape::{Shape, Skip};
use crate::mirror::{Job, Mirror, Statement};
use crate::statistics::trace::Step;

/// A statement that a mirror gets too if its client gets a whole answer.
pub(super) struct Copy {
    mirror: Arc<Mirror>,
    digest: Fingerprint,
    name: Arc<str>,
    shape: Shape,
    statement: Statement,
    settings: Rc<Settings>,
    sent_at: u64,
}

impl Session {
    /// A copy of the statement, if its rule wants one and a mirror would take it.
    pub(super) fn copy_for_mirror(&mut self, rule: &Rule, work: &Work) -> Option<Box<Copy>> {
        let mirror = self.worker.mirrors.named(rule.actions.mirror.as_deref()?)?;
        let tally = &work.facts.tally;
        let (digest, name) = (tally.fingerprint()?, Arc::clone(tally.statement()?));
        let dialect = self.reading().dialect;
        let find = || Shape::of(&work.facts, self.text_of(work), dialect);
        let shape = self
            .worker
            .entrance
            .borrow_mut()
            .shape(mirror.id, digest, &name, find);
        let count = |change: &dyn Fn(&mut Counts)| {
            let mut entrance = self.worker.entrance.borrow_mut();
            entrance.count(mirror.id, digest, change);
        };
        let skip = |why: Skip| count(&|counts| counts.skip(why));
        let why = shape.skip.or_else(|| self.why_not_mirrored());
        if let Some(why) = why {
            skip(why);
            return None;
        }
        if mirror.is_down() {
            count(&|counts| counts.unreachable += 1);
            return None;
        }
        if !mirror.has_room(work.command.head) {
            count(&|counts| counts.dropped += 1);
            return None;
        }
        let Some(statement) = self.to_be_run_again(work) else {
            skip(Skip::Form);
            return None;
        };
        Some(Box::new(Copy {
            digest,
            name,
            shape,
            statement,
            settings: Rc::clone(&self.settings),
            sent_at: now(),
            mirror,
        }))
    }

    /// What of the session stands against it.
    fn why_not_mirrored(&self) -> Option<Skip> {
        if self.ties.in_transaction() || self.ties.autocommit_off() {
            Some(Skip::Transaction)
        } else {
            self.ties.is_tied().then_some(Skip::State)
        }
    }

    /// All that it takes to run the statement on another connection, where that is in one packet.
    fn to_be_run_again(&self, work: &Work) -> Option<Statement> {
        if work.command.tail.is_some() {
            return None;
        }
        let Some(prepared) = &work.prepared else {
            return (work.expect == Expect::Query).then(|| Statement::Text(self.text_of(work).to_vec()));
        };
        let execute = self.execution_of(work)?;
        let then = &prepared.settings;
        let is_read_otherwise =
            set_for_reading(&self.settings, then).is_some() || then.schema != self.settings.schema;
        // With long data of its own it could not be prepared again either.
        if is_read_otherwise || !work.may_prepare_again {
            return None;
        }
        Some(Statement::Prepared {
            text: prepared.text.to_vec(),
            execute: execute.to_vec(),
        })
    }

    /// Has the copy run, now that the client has its answer.
    pub(super) fn hand_over(&self, copy: Copy, ran: &Ran) {
        let Copy {
            mirror,
            digest,
            name,
            shape,
            statement,
            settings,
            sent_at,
        } = copy;
        let id = mirror.id;
        let count = |change: &dyn Fn(&mut Counts)| {
            self.worker.entrance.borrow_mut().count(id, digest, change);
        };
        let here = match ran {
            Ran::Carried {
                carried: Carried::All,
                learned,
            } if !learned.cut && !learned.overran && learned.error != Some(INTERRUPTED) => &learned.sums,
            _ => &None,
        };
        let Some(here) = here else {
            return count(&|counts| counts.skip(Skip::NotAnswered));
        };
        let answered_by = self.last_server.map(|server| &self.worker.pools[server.0]);
        if answered_by.is_some_and(|pool| pool.address == mirror.config.address) {
            return count(&|counts| counts.skip(Skip::Itself));
        }
        let job = Job {
            flags: statement.flags(self.flags),
            settings: Settings::clone(&settings),
            here: here.answer(),
            digest,
            name,
            shape,
            statement,
            sent_at,
        };
        match mirror.take(job) {
            Ok(()) => {
                self.handle.step(Step::Mirror);
                count(&|counts| counts.handed_over += 1);
            }
            Err(_) => count(&|counts| counts.dropped += 1),
        }
    }
}
