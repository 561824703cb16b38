//! `COM_QUERY` and the commands that are statements by another name.

use std::rc::Rc;

use tandem_protocol::command::{query_attribute, query_text_at};
use tandem_protocol::frame::HEADER_LEN;
use tandem_protocol::response::Expect;

use super::complaint::Complaint;
use super::library::Prepared;
use super::reading::{Naming, Reading};
use super::run::Work;
use super::{Command, End, Session};
use crate::classify::facts::{Facts, Kind, Links, Pins, Purity};
use crate::config::Level;
use crate::statistics::trace::Step;

/// The query attribute by which a client says how new what a statement reads has to be.
const LEVEL_ATTRIBUTE: &[u8] = b"tandem_consistency";

impl Session {
    /// `COM_QUERY`: classified by its text.
    pub(super) async fn query(&mut self, mut command: Command) -> Result<(), End> {
        self.handle.enter("Query");
        if command.tail.is_none() {
            let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
            match query_text_at(payload, self.client.capabilities) {
                Ok(at) => command.text_at = HEADER_LEN + at,
                Err(_) => {
                    self.client.inbox.consume(command.head);
                    let complaint = Complaint::malformed_packet(self.worker.flavor());
                    return self.complain(&complaint).await;
                }
            }
        }
        let mut facts = self.classify(command);
        self.handle.runs_shape(&facts.tally);
        if let Some(complaint) = self.guard_query(&facts, command) {
            self.skip(command).await?;
            return self.complain(&complaint).await;
        }
        let ruled = self.rule_of_query(&facts, command, false);
        match self.rewrite(ruled.as_ref(), &facts, &mut command) {
            Ok(None) => {}
            Ok(Some(_)) => {
                facts = self.classify(command);
                self.handle.runs_shape(&facts.tally);
            }
            Err(complaint) => {
                self.skip(command).await?;
                return self.complain(&complaint).await;
            }
        }
        self.keep_text(command);
        self.note_parent(command);
        self.handle.step(Step::Classify);
        match facts.kind {
            // Its number is Tandem's, and the server would end somebody else's connection.
            Kind::Kill => return self.kill(command).await,
            Kind::Control | Kind::Replication => {
                if let Some(complaint) = self.operators_only(&facts) {
                    self.skip(command).await?;
                    return self.complain(&complaint).await;
                }
            }
            Kind::Prepare | Kind::Execute | Kind::Deallocate if command.tail.is_none() => {
                return Box::pin(self.named(command, facts, ruled)).await;
            }
            Kind::Show if facts.links.contains(Links::READS_DIAGNOSTICS) => {
                if let Some(reply) = self.saved_warnings(command) {
                    self.client.inbox.consume(command.head);
                    return Ok(self.client.write(&reply).await?);
                }
            }
            _ if facts.pins.contains(Pins::TEXT_PREPARED) => self.names.lose_count(),
            _ => {}
        }
        let owned = match facts.purity {
            Purity::ServerLocal => self.with_servers_numbers(command).await,
            _ => None,
        };
        let mut work = Work::new(facts, Expect::Query, command);
        work.owned = owned;
        work.level = self.asked_level(command).or(work.level);
        work.ruled = ruled;
        let globals = self.globals_set_by(&work);
        match globals.is_empty() {
            true => self.run_by_rule(work).await.map(drop),
            false => Box::pin(self.run_on_all(work, &globals)).await.map(drop),
        }
    }

    /// Why a statement is refused that would end a server or part the pair. One server alone is no pair: whether it
    /// replicates from others, and where its binlog begins, concerns nobody but it.
    pub(super) fn operators_only(&self, facts: &Facts) -> Option<Complaint> {
        let what = match facts.kind {
            Kind::Control => "SHUTDOWN, RESTART and CLONE, or replication control beside other statements",
            Kind::Replication if self.worker.config().servers.len() > 1 => "replication control of the pair",
            _ => return None,
        };
        Some(Complaint::operators_only(what))
    }

    /// The level that a query attribute asks for.
    fn asked_level(&self, command: Command) -> Option<Level> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.text_at];
        Level::from_name(query_attribute(
            payload,
            self.client.capabilities,
            LEVEL_ATTRIBUTE,
        )?)
    }

    /// The facts of the statement in the inbox, behind its command byte.
    pub(super) fn classify(&mut self, command: Command) -> Rc<Facts> {
        if command.tail.is_some() {
            // Longer than what is looked at: what its end does is not known.
            return Rc::clone(&self.worker.known_facts.unreadable);
        }
        let dialect = self.reading().dialect;
        let text = &self.client.inbox.bytes()[command.text_at..command.head];
        self.worker.classifier.borrow_mut().classify(text, dialect).facts
    }

    /// What follows from the session's settings as they are now.
    pub(super) fn reading(&mut self) -> &Reading {
        if !self.reading.is_of(&self.settings) {
            self.reading = Reading::new(&self.settings, &self.worker.topology.load());
        }
        &self.reading
    }

    /// How a statement's names are read: a prepared one's as at its PREPARE.
    pub(super) fn naming(&mut self, prepared: Option<&Prepared>) -> Naming {
        match prepared {
            Some(prepared)
                if !Rc::ptr_eq(&prepared.settings, &self.settings)
                    && prepared.settings.schema != self.settings.schema =>
            {
                Naming::new(&prepared.settings)
            }
            _ => self.reading().naming,
        }
    }

    /// `COM_INIT_DB`: a `USE` whose verdict is the server's.
    pub(super) async fn init_db(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Init DB");
        let facts = Rc::clone(&self.worker.known_facts.use_schema);
        self.run(Work::new(facts, Expect::Single, command))
            .await
            .map(drop)
    }

    /// `COM_REFRESH`: a `FLUSH` or `RESET`.
    pub(super) async fn refresh(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Refresh");
        let facts = Rc::clone(&self.worker.known_facts.administer);
        self.run(Work::new(facts, Expect::Single, command))
            .await
            .map(drop)
    }

    /// `COM_FIELD_LIST`, `COM_STATISTICS` and their like: asked of the active master.
    pub(super) async fn ask_active(&mut self, command: Command, expect: Expect) -> Result<(), End> {
        let facts = Rc::clone(&self.worker.known_facts.ask_active);
        self.run(Work::new(facts, expect, command)).await.map(drop)
    }
}
