//! Bringing a session's state to the connection that its statement will run on.

use std::rc::Rc;

use tandem_protocol::frame;
use tandem_protocol::packet::err::ServerError;
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;

use super::Session;
use super::aftermath::Marks;
use super::complaint::Complaint;
use super::insert_id::{self, Place};
use super::library::Prepared;
use super::relay;
use super::run::Failed;
use super::send::Preamble;
use super::settings::Settings;
use crate::backend::Connection;
use crate::backend::sync::{self, Plan, Trackers};
use crate::classify::facts::{Facts, Kind, Links};

/// ER_MUST_CHANGE_PASSWORD: the account's password has expired, and the connection takes nothing but a new one. It is not
/// in the state it should be, but a statement may be just that; the server refuses all others itself, unless it misses the
/// schema first.
pub(super) const MUST_CHANGE_PASSWORD: u16 = 1820;

/// Why the state could not be brought along.
pub(super) enum FailedSync {
    Refused(Complaint),
    Lost(relay::Error),
}

impl Session {
    /// Makes the commands that give the connection this session's state. A change of schema is awaited at
    /// once: a statement must never run in the schema of another session because its own is gone.
    pub(super) async fn bring_state(
        &mut self,
        connection: &mut Connection,
        facts: &Facts,
    ) -> Result<Preamble, FailedSync> {
        let mut preamble = Preamble::default();
        preamble.bytes.append(&mut connection.farewells);
        if let Some(owner) = connection.insert_id_of.take() {
            if Rc::ptr_eq(&owner, &self.insert_id) {
                connection.insert_id_of = Some(owner);
            } else if Rc::strong_count(&owner) > 1 {
                preamble.fetch_insert_id(owner, connection.capabilities);
            }
        }
        // What the statement asks for is not here: nor must it find what another session left.
        let foreign = connection.last_session != self.handle.id;
        if foreign {
            connection.left = Marks::default();
        }
        let missing = self.aftermath.missing(facts.links, &connection.left);
        let lost_warnings = missing.contains(Links::READS_DIAGNOSTICS) && !self.ties.is_tied();
        let clear = (foreign && connection.ran_code) || lost_warnings;
        let wanted = Rc::clone(&self.settings);
        let trackers = self.trackers_for(facts);
        let is_there = is_in_sync(connection, &wanted, &trackers) && !clear;
        let expired = match is_there {
            true => None,
            // Seldom, and large: a sleeping session's task has no place for it.
            false => Box::pin(self.sync(connection, &wanted, trackers, clear, &mut preamble)).await?,
        };
        if let Some(refused) = expired
            && !matches!(facts.kind, Kind::Set | Kind::Use)
            && !facts
                .links
                .intersects(Links::CHANGES_LOGINS | Links::CHANGES_DEFAULTS)
        {
            connection.broken = true;
            return Err(FailedSync::Refused(Complaint::of_server(refused)));
        }
        // Behind a reset, which leaves the connection to nobody: what follows must not be reset again.
        connection.last_session = self.handle.id;
        if insert_id::is_wanted(facts) && connection.insert_id_of.is_none() {
            let value = match self.insert_id.settled().await {
                Place::Here(value) => value,
                Place::On(_) | Place::OnItsWay => self.insert_id.guess(),
            };
            preamble.give_insert_id(value, connection.capabilities);
            connection.left.set_by_tandem(connection.flavor);
            self.insert_id.made_on(connection.id, value);
            connection.insert_id_of = Some(Rc::clone(&self.insert_id));
        }
        Ok(preamble)
    }

    /// The refusal, where the schema could not be changed before the password is.
    async fn sync(
        &mut self,
        connection: &mut Connection,
        wanted: &Rc<Settings>,
        trackers: Trackers,
        clear: bool,
        preamble: &mut Preamble,
    ) -> Result<Option<ServerError>, FailedSync> {
        if is_in_sync(connection, wanted, &trackers) && !clear {
            return Ok(None);
        }
        let Ok(plan) = Plan::between(&connection.known(), wanted, &trackers, connection.flavor, clear) else {
            // `lease_from` gives no such connection; only a held one could become so, and it has our own schema.
            return Err(FailedSync::Refused(Complaint::no_database()));
        };
        if let Some(counted) = &connection.counted {
            counted.note(wanted);
        }
        if plan.is_empty() {
            connection.settings = Rc::clone(wanted);
            connection.trackers = trackers;
            return Ok(None);
        }
        self.worker.count(|counters| {
            counters.state_syncs += 1;
            counters.resets += u64::from(plan.reset);
        });
        let replies = plan.write(&mut preamble.bytes, connection.capabilities);
        preamble.expect_sync(replies);
        connection.assume(&plan, wanted, trackers);
        connection.left.set_by_tandem(connection.flavor);
        if plan.reset || plan.schema.is_some() {
            connection.left.warnings = 0;
        }
        if plan.reset {
            connection.insert_id_of = None;
        }
        if plan.schema.is_some() {
            let ready = std::mem::take(preamble);
            let synced = ready.exchange(self, connection).await;
            if let Err(refused) = synced.map_err(FailedSync::Lost)? {
                if refused.code == MUST_CHANGE_PASSWORD {
                    connection.soiled = true;
                    return Ok(Some(refused));
                }
                connection.broken = true;
                return Err(FailedSync::Refused(Complaint::of_server(refused)));
            }
        }
        Ok(None)
    }

    /// Prepares a statement on a connection that does not have it. Returns the server's id of it.
    pub(super) async fn prepare_there(
        &mut self,
        connection: &mut Connection,
        prepared: &Rc<Prepared>,
        preamble: &mut Preamble,
    ) -> Result<u32, Failed> {
        self.worker.count(|counters| counters.reprepared += 1);
        let current = Rc::clone(&self.settings);
        let then = &prepared.settings;
        let trackers = self.trackers_for(&prepared.facts);
        // Names are resolved at PREPARE, and the text is read then: in the schema and under the `sql_mode` of then, not
        // of now. Nothing else may change for it: the connection may hold a transaction, which a reset would end.
        if current.schema.is_some() && then.schema.is_some() && then.schema != current.schema {
            let mut there = (*current).clone();
            there.schema.clone_from(&then.schema);
            self.sync(connection, &Rc::new(there), trackers.clone(), false, preamble)
                .await?;
        }
        if let Some(set) = sync::set_for_reading(&current, then) {
            preamble.set(&set, connection.capabilities);
        }
        frame::write_packet(
            &mut preamble.bytes,
            &mut 0,
            &prepared.command(connection.token.as_ref()),
        );
        let ready = std::mem::take(preamble);
        let synced = ready.exchange(self, connection).await?;
        let reply = self.swallow(connection, Expect::Prepare).await?;
        connection.broken |= synced.is_err();
        if let Some(refused) = synced.err().or(reply.error) {
            return Err(Failed::Refuse(Complaint::of_server(refused)));
        }
        let first = frame::packet(&reply.bytes).map_or(&[][..], |(_, payload)| payload);
        let id = PrepareOk::decode(first)
            .map_err(relay::Error::Protocol)?
            .statement_id;
        let fits = connection.prepared.check_new(id);
        fits.map_err(relay::Error::Protocol)?;
        connection.add_prepared(prepared.id, id);
        if let Some(set) = sync::set_for_reading(then, &current) {
            preamble.set(&set, connection.capabilities);
        }
        self.sync(connection, &current, trackers, false, preamble).await?;
        Ok(id)
    }

    /// What the connection's trackers have to be for a statement: the client's own where it asks for them or sets
    /// them, so that the server itself answers for what the client is told. Tandem's come back with the next statement.
    fn trackers_for(&self, facts: &Facts) -> Trackers {
        match facts.links.contains(Links::TRACKERS) {
            true => Trackers::Client {
                reports: self.reports.clone(),
                gtids: !self.ties.in_transaction() && !self.ties.autocommit_off(),
            },
            false => Trackers::Tandem {
                transactions: self.reports.as_ref().map(|reports| reports.transactions),
            },
        }
    }
}

/// Whether the connection has these very settings, so that nothing needs to be compared.
fn is_in_sync(connection: &Connection, wanted: &Rc<Settings>, trackers: &Trackers) -> bool {
    Rc::ptr_eq(&connection.settings, wanted) && connection.trackers == *trackers && !connection.soiled
}
