//! Statements whose rule has their replies kept: answered from the worker's [`cache`](crate::cache) if that may be, and what
//! goes into it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;

use super::aftermath::sure_found_rows;
use super::learn::Learned;
use super::relay::Carried;
use super::run::Work;
use super::{End, Session};
use crate::backend::Key;
use crate::cache::reply::Transcript;
use crate::cache::{Question, Reply, fit};
use crate::route::{Decision, Reason, Target, freshness};
use crate::statistics::trace::Step;
use crate::topology::mark::Mark;
use crate::topology::stamp::Stamp;

/// How clients come, which changes nothing of what they are sent.
const WAY_IN: Capabilities = Capabilities::SSL
    .union(Capabilities::COMPRESS)
    .union(Capabilities::ZSTD_COMPRESSION)
    .union(Capabilities::CONNECT_WITH_DB);

/// Bytes of a `COM_STMT_EXECUTE` before what its reply depends on: the code, and an id that is the session's own.
const EXECUTE_ID_END: usize = 5;

/// What has to be known before a statement is sent whose reply is to be kept.
#[derive(Debug)]
pub(super) struct Keeping {
    asked_at: Instant,
    mark: Arc<Mark>,
    stamp: Stamp,
}

impl Session {
    /// Answers a statement from the cache, if its rule allows that and the reply is there. False if it has to be asked.
    ///
    /// # Errors
    /// [`End`] when the client is gone.
    pub(super) async fn answer_from_cache(&mut self, work: &Work) -> Result<bool, End> {
        let Some(reply) = self.find_reply(work) else {
            return Ok(false);
        };
        self.client.inbox.consume(work.command.head);
        self.note_cached(&reply);
        self.client.write(&reply.bytes).await?;
        self.handle.step(Step::Cache);
        Ok(true)
    }

    fn find_reply(&mut self, work: &Work) -> Option<Reply> {
        let ruled = work.ruled.as_ref()?;
        if !self.may_be_cached(work) {
            return None;
        }
        let topology = self.worker.topology.load();
        let mark = topology.mark.as_ref()?;
        let question = self.question(work)?;
        let found = self
            .worker
            .cache
            .borrow_mut()
            .find(&question, mark, Instant::now());
        ruled.note_cached(found.is_some());
        found
    }

    /// As if a server had answered: what the statement leaves for the next one, and what is counted.
    fn note_cached(&mut self, reply: &Reply) {
        let bytes = reply.bytes.len() as u64;
        let answered = Learned {
            rows: reply.rows,
            bytes,
            ..Learned::default()
        };
        self.warnings = 0;
        self.ties.diagnostics = false;
        self.aftermath.answered_from_cache(reply.found_rows);
        let mut underway = self.handle.underway.borrow_mut();
        underway.cached();
        underway.answered(&answered);
        self.handle.reason.set(Some(Reason::Cache));
        self.worker.count(|counters| {
            counters.reasons.count(Reason::Cache as usize);
            counters.client_sent_bytes += bytes;
        });
    }

    /// To be asked before it is decided where a statement goes: what is written from now on makes its reply old.
    pub(super) fn begin_keeping(&mut self, work: &Work) -> Option<Keeping> {
        if !self.may_be_cached(work) {
            return None;
        }
        let schema = self.naming(work.prepared.as_deref()).schema;
        let topology = self.worker.topology.load();
        let mark = topology.mark.as_ref()?;
        let stamp = Stamp::take(&work.facts.tables, schema, mark).ok()?;
        Some(Keeping {
            asked_at: Instant::now(),
            mark: Arc::clone(mark),
            stamp,
        })
    }

    /// The reply is copied as the client is sent it, if the server that was chosen has all that was written before: also for a
    /// session that may read what is older, for it is kept for others too.
    pub(super) fn transcript(&mut self, decision: Decision, work: &Work) -> Option<Transcript> {
        let keeping = work.keeping.as_ref()?;
        let schema = self.naming(work.prepared.as_deref()).schema;
        let is_fresh = match decision.target {
            Target::Active => true,
            Target::Standby => {
                freshness::check(&work.facts.tables, schema, &keeping.mark, decision.server).is_ok()
            }
            Target::Alone => false,
        };
        is_fresh.then(|| Transcript::new(self.worker.cache.borrow().bounds().reply))
    }

    /// Keeps the reply that was carried to the client.
    pub(super) fn keep_reply(&mut self, work: &mut Work, carried: &Carried, learned: &mut Learned) {
        let (Some(keeping), Some(transcript)) = (work.keeping.take(), learned.transcript.take()) else {
            return;
        };
        if transcript.is_too_large() {
            return self.worker.cache.borrow().refuse();
        }
        let is_plain = *carried == Carried::All
            && !learned.outcome.failed
            && !learned.cut
            && !learned.cursor
            && !self.handle.was_shot();
        let flavor = self.worker.flavor();
        let found_rows = sure_found_rows(&work.facts, learned, flavor).filter(|_| is_plain);
        let lifetime = work.ruled.as_ref().and_then(|ruled| ruled.cache());
        let topology = self.worker.topology.load();
        let goes_on = |mark: &&Arc<Mark>| Arc::ptr_eq(mark, &keeping.mark);
        let (Some(found_rows), Some(lifetime), Some(mark), Some(question)) = (
            found_rows,
            lifetime,
            topology.mark.as_ref().filter(goes_on),
            self.question(work),
        ) else {
            return;
        };
        let Some(bytes) = transcript.into_reply(self.client.capabilities) else {
            return;
        };
        let reply = Reply {
            bytes: Bytes::from(bytes),
            rows: learned.rows,
            found_rows,
        };
        let until = keeping.asked_at + lifetime;
        let mut cache = self.worker.cache.borrow_mut();
        cache.keep(&question, mark, keeping.stamp, until, reply);
    }

    /// Whether what the statement says is the same for every session that could ask it, as this session is now.
    fn may_be_cached(&mut self, work: &Work) -> bool {
        let is_plain = matches!(work.expect, Expect::Query | Expect::Execute)
            && work.command.tail.is_none()
            && !work.keep
            && !work.silent
            && !work.unasked
            && work.seen.is_none();
        is_plain
            && self.ties.firm().is_none()
            && !self.ties.autocommit_off()
            && self.writing.is_empty()
            // It is told more of its session than others are.
            && self.reports.is_none()
            && !self.reading().serializable
            && !self.naming(work.prepared.as_deref()).system_schema
            && fit::check(&work.facts).is_ok()
    }

    fn question<'a>(&'a self, work: &'a Work) -> Option<Question<'a>> {
        let (text, prepared_under, parameters) = match &work.prepared {
            Some(prepared) => {
                let execution = self.execution_of(work)?;
                (
                    &*prepared.text,
                    Some(&prepared.settings),
                    execution.get(EXECUTE_ID_END..),
                )
            }
            None if work.owned.is_none() => {
                let text = self
                    .client
                    .inbox
                    .bytes()
                    .get(work.command.text_at..work.command.head);
                (text?, None, None)
            }
            None => return None,
        };
        let client = self.handle.client.get();
        let origin = self.worker.pools.iter().find_map(|pool| pool.origin_of(client));
        Some(Question {
            key: Key {
                user: self.account.id,
                flags: self.flags,
                epoch: self.epoch,
                origin,
            },
            capabilities: self.client.capabilities - WAY_IN,
            rule: work.ruled.as_ref()?.index(),
            settings: &self.settings,
            prepared_under,
            text,
            parameters,
        })
    }
}
