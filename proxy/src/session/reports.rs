//! What a client is told of its session's changes: what it asked for, out of all that Tandem has reported to itself.
//!
//! Measured: both makers write each variable as an entry of its own. MySQL 9.7 sorts them by name, whatever the list; it
//! reports the state of transactions even when `session_track_transaction_info` is OFF. The order of MariaDB 10.11 differs
//! from session to session, and nobody can rely on it.

use tandem_protocol::error::DecodeError;
use tandem_protocol::packet::session_track::{Change, changes};

use crate::topology::Flavor;
use crate::topology::reports::{Gtids, Reports, Transactions};

/// Lets the changes pass that a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    variables: Variables,
    schema: bool,
    state_change: bool,
    transaction_state: bool,
    transaction_characteristics: bool,
    gtids: bool,
}

#[derive(Clone, Debug)]
enum Variables {
    All,
    /// In small letters.
    Named(Vec<Vec<u8>>),
}

impl Filter {
    pub(crate) fn new(reports: &Reports, flavor: Flavor) -> Self {
        let names = reports.variables.split(|byte| *byte == b',');
        let names: Vec<_> = names.map(|name| trim(name).to_ascii_lowercase()).collect();
        Self {
            variables: match names.iter().any(|name| name == b"*") {
                true => Variables::All,
                false => Variables::Named(names),
            },
            schema: reports.schema,
            state_change: reports.state_change,
            transaction_state: flavor == Flavor::MySql || reports.transactions != Transactions::Off,
            transaction_characteristics: reports.transactions == Transactions::Characteristics,
            // Tandem's own connections report their own only: of ALL_GTIDS the client gets these.
            gtids: reports.gtids != Gtids::Off,
        }
    }

    /// The session state of an OK packet as this client's server would have sent it.
    ///
    /// # Errors
    /// When the state is malformed.
    pub(crate) fn apply(&self, session_state: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        for change in changes(session_state) {
            let change = change?;
            if self.passes(&change) {
                change.encode(&mut out);
            }
        }
        Ok(out)
    }

    fn passes(&self, change: &Change<'_>) -> bool {
        match change {
            Change::SystemVariable { name, .. } => match &self.variables {
                Variables::All => true,
                Variables::Named(names) => names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)),
            },
            Change::Schema(_) => self.schema,
            Change::StateChanged(_) => self.state_change,
            Change::Gtids(_) => self.gtids,
            Change::TransactionState(_) => self.transaction_state,
            Change::TransactionCharacteristics(_) => self.transaction_characteristics,
            Change::Unknown { .. } => false,
        }
    }

    /// A legacy EOF says only that something will be reported, not what: whether it can be something for this client.
    pub(crate) fn may_pass_unseen(&self) -> bool {
        self.state_change || self.transaction_characteristics || matches!(self.variables, Variables::All)
    }

    pub(crate) fn schema(&self) -> bool {
        self.schema
    }
}

/// Without the white space of the servers, which has the vertical tab too.
fn trim(mut name: &[u8]) -> &[u8] {
    while let [b'\t'..=b'\r' | b' ', rest @ ..] | [rest @ .., b'\t'..=b'\r' | b' '] = name {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &'static str) -> Change<'static> {
        Change::SystemVariable {
            name: name.as_bytes(),
            value: b"x",
        }
    }

    fn filtered(reports: &Reports, flavor: Flavor, all: &[Change<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for change in all {
            change.encode(&mut bytes);
        }
        Filter::new(reports, flavor).apply(&bytes).expect("well-formed")
    }

    fn encoded(some: &[Change<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for change in some {
            change.encode(&mut bytes);
        }
        bytes
    }

    #[test]
    fn the_default_passes_its_list_and_the_schema() {
        let all = [
            set("character_set_connection"),
            set("sql_mode"),
            set("time_zone"),
            Change::Schema(b"shop"),
            Change::StateChanged(true),
        ];
        let mariadb = filtered(&Reports::built_in(Flavor::MariaDb), Flavor::MariaDb, &all);
        assert_eq!(mariadb, encoded(&[all[0], all[2], all[3]]));
        let mysql = filtered(&Reports::built_in(Flavor::MySql), Flavor::MySql, &all);
        assert_eq!(mysql, encoded(&[all[0], all[2], all[3]]));
    }

    #[test]
    fn names_are_found_in_any_case_and_a_star_is_all() {
        let mut reports = Reports::built_in(Flavor::MariaDb);
        reports.variables = b"\x0bSQL_mode , x"[..].into();
        let all = [set("sql_mode"), set("time_zone")];
        assert_eq!(
            filtered(&reports, Flavor::MariaDb, &all),
            encoded(&[set("sql_mode")])
        );
        reports.variables = b"*"[..].into();
        assert_eq!(filtered(&reports, Flavor::MariaDb, &all), encoded(&all));
        reports.variables = b""[..].into();
        assert_eq!(filtered(&reports, Flavor::MariaDb, &all), b"");
    }

    #[test]
    fn mysql_reports_the_transaction_even_when_it_is_off() {
        let all = [
            Change::Gtids(b"u:1"),
            Change::TransactionState(b"T_______"),
            Change::TransactionCharacteristics(b"START TRANSACTION;"),
        ];
        let mut reports = Reports::built_in(Flavor::MySql);
        assert_eq!(filtered(&reports, Flavor::MySql, &all), encoded(&all[1..2]));
        assert_eq!(filtered(&reports, Flavor::MariaDb, &all), b"");
        reports.transactions = Transactions::Characteristics;
        reports.gtids = Gtids::Own;
        assert_eq!(filtered(&reports, Flavor::MySql, &all), encoded(&all));
    }
}
