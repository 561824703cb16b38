//! From the server's reports to the session's settings, asking again where a report does not tell the truth.
//!
//! Measured on MariaDB 10.11: `SET NAMES` never reports `collation_connection`, even with COLLATE; a procedure
//! that changes `sql_mode` for itself reports the inner value, and not that it is restored;
//! `SET STATEMENT … FOR` reports the temporary value; `SET @@name = …` reports nothing.

use std::rc::Rc;

use tandem_protocol::charset::{self, Collation};
use tandem_protocol::command::write_query;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;

use super::hold::runs_code;
use super::learn::Learned;
use super::relay;
use super::reports::Filter;
use super::run::Work;
use super::send::first_row;
use super::settings::{Names, Settings, Variable};
use super::{End, Session};
use crate::backend::Connection;
use crate::backend::sync::Trackers;
use crate::classify::facts::{Facts, Kind, Links, Pins, Purity};
use crate::classify::{says, set};
use crate::topology::Flavor;
use crate::topology::reports::{self, Gtids, Reports};

/// `SET NAMES` texts whose collation a worker remembers.
const REMEMBERED: usize = 128;

/// Longest of them.
const REMEMBERED_LEN: usize = 128;

const COLLATION: &[u8] = b"collation_connection";
const NAMES: &[u8] = b"NAMES";
const COLLATE: &[u8] = b"COLLATE";

impl Session {
    /// The session's settings after a statement.
    pub(super) async fn read_back(
        &mut self,
        connection: &mut Connection,
        work: &Work,
        learned: &mut Learned,
    ) -> Result<Rc<Settings>, End> {
        let mut settings = Rc::clone(&self.settings);
        if let Some(schema) = &learned.schema
            && settings.schema.as_deref().unwrap_or_default() != &**schema
        {
            Rc::make_mut(&mut settings).schema = (!schema.is_empty()).then(|| schema.clone());
        }
        let mut variables = std::mem::take(&mut learned.variables);
        if learned.trackers {
            connection.trackers = Trackers::Unknown { gtids: true };
        }
        if work.facts.links.contains(Links::TRACKERS) {
            let had_gtids = matches!(connection.trackers, Trackers::Client { gtids: true, .. });
            let gtids = self
                .without_trackers(connection, work, had_gtids, &mut variables)
                .await?;
            connection.trackers = Trackers::Unknown { gtids };
            // Nor was a commit's position, where there was one.
            learned.reported = false;
        }
        // A SET that failed has set nothing; of several statements the first may have run.
        let unreported = match learned.outcome.failed && !runs_code(work.facts.kind) {
            true => &[][..],
            false => &work.facts.unreported[..],
        };
        let nothing_said = variables.is_empty() && unreported.is_empty();
        if nothing_said || !may_set_variables(&work.facts) {
            return Ok(settings);
        }
        for name in unreported {
            let name: Box<[u8]> = name.as_bytes().into();
            if Settings::is_carried(&name) && variables.iter().all(|variable| variable.name != name) {
                let value = Box::default();
                variables.push(Variable { name, value });
            }
        }
        let names = match self.looked_up(work, &variables) {
            Some(names) => Some(names),
            None => {
                self.correct(connection, work, &mut variables).await?;
                let is_set = work.facts.kind == Kind::Set;
                let found = is_set.then(|| collation_of_names(self.text_of(work), &variables));
                found.flatten().map(|collation| (collation, collation.id.into()))
            }
        };
        if let Some((_, names)) = names.filter(|(_, names)| !settings.has_names(*names)) {
            Rc::make_mut(&mut settings).set_names(names);
        }
        for Variable { name, value } in &variables {
            let said = names.is_some_and(|(collation, _)| Settings::follows_names(name, value, collation));
            if !said && settings.variable(name) != Some(value) {
                Rc::make_mut(&mut settings).set_variable(name, value);
            }
        }
        Ok(settings)
    }

    /// The statement ran under the client's own trackers, but perhaps for that of GTIDs: what it set has to be asked for.
    /// Returns whether `session_track_gtids` is Tandem's no more.
    async fn without_trackers(
        &mut self,
        connection: &mut Connection,
        work: &Work,
        mut gtids: bool,
        variables: &mut Vec<Variable>,
    ) -> Result<bool, relay::Error> {
        if !may_set_variables(&work.facts) {
            return Ok(gtids);
        }
        let names = reports::names(connection.flavor);
        let mut trackers: Vec<Variable> = names.iter().map(|name| unknown(name)).collect();
        if self.ask(connection, &mut trackers).await? {
            let values = trackers.iter().map(|variable| Some(&*variable.value));
            if let Some(mut reports) = Reports::read(values) {
                match reports.gtids {
                    // Tandem's own.
                    Gtids::Own if !gtids => {
                        reports.gtids = self.reports.as_ref().map_or(Gtids::Off, |reports| reports.gtids);
                    }
                    _ => gtids = true,
                }
                self.wants_reports(Some(Rc::new(reports)));
            }
        }
        let dialect = self.reading().dialect;
        let text = self.text_of(work);
        let names = match work.facts.kind {
            Kind::Set => set::assigned(text, dialect),
            _ => Vec::new(),
        };
        let mut named: Vec<Variable> = names
            .iter()
            .filter(|name| Settings::is_carried(name.as_bytes()))
            .map(|name| unknown(name))
            .collect();
        if named.is_empty() {
            return Ok(gtids);
        }
        match self.ask(connection, &mut named).await? {
            true => *variables = named,
            false => self.ties.pins |= Pins::UNKNOWN,
        }
        Ok(gtids)
    }

    /// From now on the client is told what `reports` says, or what the server tells by default.
    pub(super) fn wants_reports(&mut self, reports: Option<Rc<Reports>>) {
        let topology = self.worker.topology.load();
        let flavor = topology.flavor().unwrap_or(Flavor::MariaDb);
        let understands = self.client.capabilities.contains(Capabilities::SESSION_TRACK);
        // One that does not understand reports sees in the status of an EOF whether there would be one.
        self.client.filter = (understands || reports.is_some()).then(|| {
            Rc::new(match &reports {
                Some(reports) => Filter::new(reports, flavor),
                None => Filter::new(&topology.reports(), flavor),
            })
        });
        drop(topology);
        self.reports = reports;
    }

    /// The text of a statement, where it is still at hand.
    pub(super) fn text_of<'a>(&'a self, work: &'a Work) -> &'a [u8] {
        match &work.prepared {
            Some(prepared) => &prepared.text,
            None => {
                let text = self
                    .client
                    .inbox
                    .bytes()
                    .get(work.command.text_at..work.command.head);
                text.unwrap_or_default()
            }
        }
    }

    /// What a `SET NAMES` without COLLATE has set them to, where the server looks up the collation in a list: there is none to
    /// ask for, unless the session has a list of its own.
    fn looked_up(&self, work: &Work, variables: &[Variable]) -> Option<(Collation, Names)> {
        let text = self.text_of(work);
        let server = self.worker.topology.load().server_version();
        let only_charset = work.facts.kind == Kind::Set && is_plain_set_names(text) && !says(text, COLLATE);
        if !only_charset || !server.has_default_collations() || self.settings.has_own_collations() {
            return None;
        }
        let said = value_of(variables, b"character_set_connection")?;
        let collation = charset::default_of(std::str::from_utf8(said).ok()?)?;
        is_left_so(variables, collation).then(|| (collation, Names::of_login(collation.id, server)))
    }

    async fn correct(
        &mut self,
        connection: &mut Connection,
        work: &Work,
        variables: &mut Vec<Variable>,
    ) -> Result<(), relay::Error> {
        let charset = variables
            .iter()
            .any(|variable| &*variable.name == b"character_set_connection");
        let collation = variables.iter().any(|variable| &*variable.name == COLLATION);
        let text = self.text_of(work);
        // With a list of its own the text means what it means to no other session.
        let is_key = is_plain_set_names(text) && !self.settings.has_own_collations();
        let key = is_key.then(|| Box::<[u8]>::from(text));
        if charset && !collation {
            let name = Box::from(COLLATION);
            let known = key
                .as_ref()
                .and_then(|key| self.worker.collations.borrow().get(key).cloned());
            let value = known.clone().unwrap_or_default();
            variables.push(Variable { name, value });
            if known.is_some() {
                return Ok(());
            }
        } else if !runs_code(work.facts.kind) && work.facts.unreported.is_empty() {
            return Ok(());
        }
        self.ask(connection, variables).await?;
        if let (Some(key), Some(last)) = (key, variables.last())
            && &*last.name == COLLATION
        {
            let mut collations = self.worker.collations.borrow_mut();
            if collations.len() < REMEMBERED {
                collations.insert(key, last.value.clone());
            }
        }
        Ok(())
    }

    /// Replaces the values by those that hold now; false where the server did not give them.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        variables: &mut Vec<Variable>,
    ) -> Result<bool, relay::Error> {
        let names: Vec<String> = variables
            .iter()
            .map(|variable| {
                format!(
                    "@@session.`{}`",
                    String::from_utf8_lossy(&variable.name).replace('`', "``")
                )
            })
            .collect();
        self.aftermath.disturb();
        connection.left.asked_by_tandem(connection.flavor);
        let mut bytes = Vec::new();
        let question = format!("SELECT {}", names.join(","));
        write_query(&mut bytes, question.as_bytes(), connection.capabilities);
        connection
            .stream
            .write_all(&bytes)
            .await
            .map_err(relay::Error::Server)?;
        let reply = self.swallow(connection, Expect::Query).await?;
        let Some(row) = first_row(&reply.bytes, variables.len()).filter(|_| reply.error.is_none()) else {
            // One of them does not exist.
            variables.retain(|variable| !variable.value.is_empty());
            return Ok(false);
        };
        for (variable, value) in variables.iter_mut().zip(row) {
            variable.value = value.unwrap_or_default();
        }
        Ok(true)
    }
}

/// Statements that can change session variables; the reports of others are of passing values.
fn may_set_variables(facts: &Facts) -> bool {
    runs_code(facts.kind) || facts.kind == Kind::Set || facts.purity == Purity::UnknownFunction
}

/// What a `SET` with `NAMES` in it has set them to, if it left them so.
fn collation_of_names(text: &[u8], variables: &[Variable]) -> Option<Collation> {
    let name = std::str::from_utf8(value_of(variables, COLLATION)?).ok()?;
    let names = charset::by_name(name)?;
    (says(text, NAMES) && is_left_so(variables, names)).then_some(names)
}

/// Whether both variables that a `SET NAMES` must have set have its character set.
fn is_left_so(variables: &[Variable], names: Collation) -> bool {
    let both = [&b"character_set_client"[..], b"character_set_connection"];
    both.iter()
        .all(|name| value_of(variables, name) == Some(names.charset.as_bytes()))
}

fn value_of<'a>(variables: &'a [Variable], name: &[u8]) -> Option<&'a [u8]> {
    let variable = variables.iter().find(|variable| *variable.name == *name)?;
    Some(&*variable.value)
}

/// A `SET NAMES` that means the same each time, in sessions without a list of collations of their own: no list, no variables, no
/// `DEFAULT`, which a `SET GLOBAL` can change. What `SET CHARACTER SET` means depends on the schema.
fn is_plain_set_names(text: &[u8]) -> bool {
    let is_short = text.len() <= REMEMBERED_LEN;
    is_short && says(text, NAMES) && !says(text, b"DEFAULT") && !text.contains(&b'@') && !text.contains(&b',')
}

fn unknown(name: &str) -> Variable {
    Variable {
        name: name.as_bytes().into(),
        value: Box::default(),
    }
}
