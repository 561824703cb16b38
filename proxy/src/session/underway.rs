//! What a session's statement has come to so far: for the numbers of its shape, and for whoever looks at the session.

use std::sync::Arc;
use std::time::Instant;

use tandem_protocol::command::query_attribute;
use tandem_protocol::frame::HEADER_LEN;

use super::learn::Learned;
use super::{Command, Session};
use crate::admin::show::precise;
use crate::classify::Fingerprint;
use crate::classify::tally::Tally;
use crate::config::{self, Audit};
use crate::route::{Decision, Reason, Target};
use crate::spans::Parent;
use crate::statement_log::{Line, TEXT_BYTES, may_be_told};
use crate::statistics::digest::{Counts, Place, Route};
use crate::statistics::trace::{Step, Steps, Trace};
use crate::topology::ServerId;

/// The query attribute by which a client names the span that a statement belongs to (W3C Trace Context), as MySQL's connectors do.
const PARENT_ATTRIBUTE: &[u8] = b"traceparent";

/// The statement that runs, or the last one.
#[derive(Debug, Default)]
pub struct Underway {
    tally: Tally,
    counts: Counts,
    route: Option<Route>,
    server: Option<ServerId>,
    failed: bool,
    error: Option<u16>,
    /// As it was sent, where `statement_log.literals` asks for it.
    text: Option<Box<[u8]>>,
    /// Where its time goes, if somebody wants to know.
    pub steps: Option<Box<Steps>>,
    /// Since when it runs, if it is one that is counted.
    began: Option<Instant>,
}

impl Underway {
    /// A command has come. Which statement it is, if it is one, is not known yet.
    pub fn command(&mut self, bytes: usize) {
        *self = Self {
            // Shown until the next one is known.
            tally: std::mem::take(&mut self.tally),
            counts: Counts {
                bytes_in: bytes as u64,
                ..Counts::default()
            },
            ..Self::default()
        };
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
        self.server = Some(decision.server);
        self.route = Some(Route {
            reason: decision.reason as u8,
            place: match decision.target {
                Target::Standby => Place::Standby,
                Target::Active | Target::Alone => Place::Active,
            },
            count: 1,
        });
    }

    /// It is answered without a server.
    pub(super) fn cached(&mut self) {
        self.route = Some(Route {
            reason: Reason::Cache as u8,
            place: Place::Cache,
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
        if learned.outcome.failed {
            self.failed(learned.error);
        }
    }

    /// It ended in an error, perhaps with a code.
    pub fn failed(&mut self, error: Option<u16>) {
        self.failed = true;
        self.error = error.or(self.error);
    }

    /// Keeps the text as it was sent.
    pub fn keep_text(&mut self, text: &[u8]) {
        self.text = Some(text[..text.len().min(TEXT_BYTES)].into());
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

    /// Why it went where it went.
    fn reason(&self) -> Option<&'static str> {
        Reason::NAMES.get(usize::from(self.route?.reason)).copied()
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
        if let Some(steps) = underway.steps.take() {
            self.end_trace(*steps, &underway, &counts);
        }
        let config = self.worker.config();
        if config.statistics.enabled {
            let mut digests = self.worker.digests.borrow_mut();
            digests.count(&underway.tally, counts, underway.route, now);
            let user = self.handle.user.borrow();
            self.worker.users.borrow_mut().count(&user, &counts);
            if let Some(server) = underway.server
                && let Some(latency) = self.worker.latencies.borrow_mut().get_mut(server.0)
            {
                latency.add(counts.time);
            }
        }
        self.log_statement(&config.statement_log, &underway, &counts);
    }

    /// Has the steps of the command that has come noted, if they were asked for or it is drawn.
    pub(super) fn begin_trace(&self) {
        let asked_for = self.handle.to_trace.get() > 0;
        let drawn = self.worker.draw.borrow_mut().draw();
        if asked_for || drawn {
            let steps = Steps::begin(Instant::now(), asked_for, drawn);
            self.handle.underway.borrow_mut().steps = Some(Box::new(steps));
        }
    }

    /// Has the steps of the statement that runs kept; its shape is known already.
    pub(super) fn ask_for_trace(&self) {
        let mut underway = self.handle.underway.borrow_mut();
        let begun = || {
            let mut steps = Steps::begin(self.handle.since.get(), true, false);
            steps.note(Step::Classify);
            Box::new(steps)
        };
        underway.steps.get_or_insert_with(begun).asked_for = true;
    }

    /// The span that the client says the statement belongs to, by MySQL's query attribute. Whether that one is kept decides for
    /// this one too: a trace is whole or not at all.
    pub(super) fn note_parent(&self, command: Command) {
        if self.worker.spans.is_none() {
            return;
        }
        let head = &self.client.inbox.bytes()[HEADER_LEN..command.text_at];
        let attribute = query_attribute(head, self.client.capabilities, PARENT_ATTRIBUTE);
        let Some(parent) = attribute.and_then(Parent::read) else {
            return;
        };
        let mut underway = self.handle.underway.borrow_mut();
        if parent.is_sampled() {
            let begun = || Box::new(Steps::begin(self.handle.since.get(), false, true));
            let steps = underway.steps.get_or_insert_with(begun);
            steps.drawn = true;
            steps.parent = Some(parent);
        } else if let Some(steps) = &mut underway.steps {
            steps.drawn = false;
        }
    }

    fn end_trace(&self, mut steps: Steps, underway: &Underway, counts: &Counts) {
        let (Some(digest), Some(statement)) = (underway.tally.fingerprint(), underway.text()) else {
            return;
        };
        steps.note(Step::End);
        let mut traces = self.worker.traces.borrow_mut();
        let server = underway.server.and_then(|id| self.worker.pools.get(id.0));
        let parent = steps.parent.take();
        let (asked_for, drawn) = (steps.asked_for, steps.drawn);
        let trace = Trace {
            worker: self.worker.index,
            number: traces.next_number(),
            session: self.handle.id,
            user: self.handle.user.borrow().to_string(),
            schema: self.handle.schema.borrow().clone(),
            digest,
            statement: Arc::clone(statement),
            server: server.map(|pool| pool.name.to_string()),
            reason: underway.reason(),
            failed: underway.failed,
            error: underway.error,
            rows: counts.rows,
            began_at: steps.began_at,
            steps: steps.into_steps(),
        };
        if let Some(spans) = self.worker.spans.as_ref().filter(|_| drawn) {
            spans.send(&trace, parent.as_ref());
        }
        if asked_for {
            self.handle
                .to_trace
                .set(self.handle.to_trace.get().saturating_sub(1));
            traces.keep(trace);
        }
    }

    /// Has the statement's own text kept, if it will be logged.
    pub(super) fn keep_text(&self, command: Command) {
        let wanted = &self.worker.config().statement_log;
        if wanted.literals && (wanted.slow_time.is_some() || wanted.audit != Audit::Off) {
            let text = &self.client.inbox.bytes()[command.text_at.min(command.head)..command.head];
            self.handle.underway.borrow_mut().keep_text(text);
        }
    }

    fn log_statement(&self, wanted: &config::StatementLog, underway: &Underway, counts: &Counts) {
        let is_slow = wanted.slow_time.is_some_and(|most| counts.time > most);
        let is_audited = match wanted.audit {
            Audit::Off => false,
            Audit::Writes => !underway.tally.is_read(),
            Audit::All => true,
        };
        if !is_slow && !is_audited {
            return;
        }
        let (user, schema) = (self.handle.user.borrow(), self.handle.schema.borrow());
        let server = underway.server.and_then(|id| self.worker.pools.get(id.0));
        let digest = underway.tally.fingerprint().unwrap_or(Fingerprint(0));
        self.worker.statement_log.write(&Line {
            time: chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, false),
            event: if is_slow { "slow" } else { "statement" },
            session: self.handle.id,
            user: &user,
            client: self.handle.client.get().to_string(),
            schema: &schema,
            digest: digest.to_string(),
            statement: underway.text().map_or("", |text| text),
            text: underway
                .text
                .as_deref()
                .filter(|text| may_be_told(text))
                .map(|text| String::from_utf8_lossy(text).into_owned()),
            ms: precise(counts.time),
            rows: counts.rows,
            affected: counts.affected,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            failed: underway.failed,
            error: underway.error,
            server: server.map(|pool| &*pool.name),
            reason: underway.reason(),
            retries: counts.retries,
            holds: counts.holds,
        });
    }
}
