//! From the server's reports to the session's settings, asking again where a report does not tell the truth.
//!
//! Measured on MariaDB 10.11: `SET NAMES` never reports `collation_connection`, even with COLLATE; a procedure
//! that changes `sql_mode` for itself reports the inner value, and not that it is restored;
//! `SET STATEMENT … FOR` reports the temporary value; `SET @@name = …` reports nothing.

use std::rc::Rc;

use tandem_protocol::command::CommandCode;
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::response::Expect;

use super::hold::runs_code;
use super::relay::{self, Learned};
use super::run::Work;
use super::send::first_row;
use super::settings::{Settings, Variable};
use super::{End, Session};
use crate::backend::Connection;
use crate::classify::facts::{Facts, Kind, Purity};

/// `SET NAMES` texts whose collation a worker remembers.
const REMEMBERED: usize = 128;

/// Longest of them.
const REMEMBERED_LEN: usize = 128;

const COLLATION: &[u8] = b"collation_connection";

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
        self.correct(connection, work, &mut variables).await?;
        for Variable { name, value } in &variables {
            if settings.variable(name) != Some(value) {
                Rc::make_mut(&mut settings).set_variable(name, value);
            }
        }
        Ok(settings)
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
        let text = self
            .client
            .inbox
            .bytes()
            .get(HEADER_LEN + 1..work.command.head)
            .unwrap_or_default();
        let key = is_plain_set_names(text).then(|| Box::<[u8]>::from(text));
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

    /// Replaces the values by those that hold now.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        variables: &mut Vec<Variable>,
    ) -> Result<(), relay::Error> {
        let names: Vec<String> = variables
            .iter()
            .map(|variable| {
                format!(
                    "@@session.`{}`",
                    String::from_utf8_lossy(&variable.name).replace('`', "``")
                )
            })
            .collect();
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        bytes.push(CommandCode::Query as u8);
        bytes.extend_from_slice(format!("SELECT {}", names.join(",")).as_bytes());
        frame::end(&mut bytes, start, 0);
        connection
            .stream
            .write_all(&bytes)
            .await
            .map_err(relay::Error::Server)?;
        let reply = self.swallow(connection, Expect::Query).await?;
        if let Some(row) = first_row(&reply.bytes, variables.len()) {
            for (variable, value) in variables.iter_mut().zip(row) {
                variable.value = value.unwrap_or_default();
            }
        } else {
            // One of them does not exist.
            variables.retain(|variable| !variable.value.is_empty());
        }
        Ok(())
    }
}

/// Statements that can change session variables; the reports of others are of passing values.
fn may_set_variables(facts: &Facts) -> bool {
    runs_code(facts.kind) || facts.kind == Kind::Set || facts.purity == Purity::UnknownFunction
}

/// A `SET NAMES` that means the same each time: no list, no variables.
fn is_plain_set_names(text: &[u8]) -> bool {
    text.len() <= REMEMBERED_LEN && !text.contains(&b'@') && !text.contains(&b',')
}
