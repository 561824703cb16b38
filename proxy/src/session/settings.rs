//! What follows a session from one server connection to another: default schema, character set and
//! every session variable that a plain `SET` can set again.
//!
//! The server itself says what changed, in the trackers of its OK packets, so nothing is guessed from text.

use tandem_protocol::charset::Collation;

use crate::topology::{Flavor, Topology};

/// Variables that are reported but never set again elsewhere.
///
/// They follow something else (the schema, a commit), are answered by Tandem's own handling of
/// transactions, or belong to Tandem's trackers. `autocommit` is carried: between two transactions it is a
/// setting like any other.
const NOT_CARRIED: &[&[u8]] = &[
    b"character_set_database",
    b"collation_database",
    b"gtid_executed",
    b"gtid_purged",
    b"identity",
    b"insert_id",
    b"last_gtid",
    b"last_insert_id",
    b"pseudo_thread_id",
    b"rand_seed1",
    b"rand_seed2",
    b"session_track_gtids",
    b"session_track_schema",
    b"session_track_state_change",
    b"session_track_system_variables",
    b"session_track_transaction_info",
    // MySQL's number of the statement, reported with every one.
    b"statement_id",
    b"timestamp",
    b"warning_count",
    b"error_count",
];

/// In the place of a collation's id: whatever the server has as its default. Also what it makes of a 0 in
/// the handshake.
pub const SERVER_COLLATION: u16 = 0;

/// What `SET NAMES` sets, and a login.
pub const SET_BY_NAMES: [&[u8]; 4] = [
    b"character_set_client",
    b"character_set_connection",
    b"character_set_results",
    b"collation_connection",
];

/// utf8mb3_general_ci
const UTF8MB3: u16 = 33;

/// The collation that a session begins with which has asked for this one.
pub fn login_collation(asked: u16, topology: &Topology) -> u16 {
    match topology.version() {
        Some(version) if !version.knows_collation(asked) => SERVER_COLLATION,
        _ => asked,
    }
}

/// What `COM_RESET_CONNECTION` brings back after a login with this collation (measured on MariaDB 10.11 and MySQL 9.7).
pub fn collation_after_reset(login: u16, flavor: Flavor) -> u16 {
    match (flavor, login) {
        (Flavor::MySql, _) => SERVER_COLLATION,
        // No longer the server's own.
        (Flavor::MariaDb, SERVER_COLLATION) => UTF8MB3,
        (Flavor::MariaDb, login) => login,
    }
}

/// One variable and its value as the server wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    pub name: Box<[u8]>,
    pub value: Box<[u8]>,
}

impl Variable {
    /// What it takes of memory, about.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.value.len()
    }
}

/// The settings of a session, or of a server connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The collation id given at login.
    pub collation: u16,
    /// That of the last `SET NAMES`, in the place of the four variables which both set: of `character_set_client` a server
    /// keeps the collation too, which no variable tells, and MariaDB compares parameters by that.
    names: Option<u16>,
    pub schema: Option<Box<[u8]>>,
    /// Sorted by name, so that two settings compare in one pass, and so that
    /// `character_set_connection` is set before `collation_connection`, which it changes.
    variables: Vec<Variable>,
}

impl Settings {
    pub fn new(collation: u16, schema: Option<&[u8]>) -> Self {
        Self {
            collation,
            names: None,
            schema: schema.map(Into::into),
            variables: Vec::new(),
        }
    }

    /// The collation of the last `SET NAMES`, or else of the login.
    pub fn names(&self) -> u16 {
        self.names.unwrap_or(self.collation)
    }

    /// Whether a variable says nothing that [`Self::names`] does not.
    pub fn follows_names(name: &[u8], value: &[u8], names: Collation) -> bool {
        match name {
            b"collation_connection" => value == names.name.as_bytes(),
            b"character_set_client" | b"character_set_connection" | b"character_set_results" => {
                value == names.charset.as_bytes()
            }
            _ => false,
        }
    }

    /// Notes a `SET NAMES`.
    pub fn set_names(&mut self, collation: u16) {
        self.names = Some(collation);
        self.variables
            .retain(|variable| !SET_BY_NAMES.contains(&&*variable.name));
    }

    /// Whether all is as the `SET NAMES` of this collation leaves it.
    pub fn has_names(&self, collation: u16) -> bool {
        self.names() == collation && SET_BY_NAMES.iter().all(|name| self.variable(name).is_none())
    }

    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    pub fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let index = self.position(name).ok()?;
        Some(&self.variables[index].value)
    }

    /// Whether a variable the server reported is carried from connection to connection.
    ///
    /// What is not the name of any variable is not: in some character sets a byte of it could hide the quote
    /// behind it in the `SET` that it would get into.
    pub fn is_carried(name: &[u8]) -> bool {
        let in_names = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        !name.is_empty() && name.iter().all(in_names) && !NOT_CARRIED.contains(&name)
    }

    /// Notes a variable's new value. Returns false when nothing changed.
    pub fn set_variable(&mut self, name: &[u8], value: &[u8]) -> bool {
        match self.position(name) {
            Ok(index) if *self.variables[index].value == *value => false,
            Ok(index) => {
                self.variables[index].value = value.into();
                true
            }
            Err(index) => {
                let variable = Variable {
                    name: name.into(),
                    value: value.into(),
                };
                self.variables.insert(index, variable);
                true
            }
        }
    }

    /// What the server is left with after `COM_RESET_CONNECTION`: the schema stays, all else goes. For the collation see
    /// [`collation_after_reset`].
    #[must_use]
    pub fn after_reset(&self, collation: u16) -> Self {
        Self {
            collation,
            names: None,
            schema: self.schema.clone(),
            variables: Vec::new(),
        }
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.variables
            .binary_search_by(|variable| (*variable.name).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_variables_name_is_carried() {
        for name in [&b"sql_mode"[..], b"a.b2"] {
            assert!(Settings::is_carried(name));
        }
        for name in [&b""[..], b"last_gtid", b"a`=1,b", b"a\0", b"a\xbf"] {
            assert!(!Settings::is_carried(name), "{name:?}");
        }
    }

    #[test]
    fn variables_stay_sorted_and_report_only_changes() {
        let mut settings = Settings::new(45, Some(b"shop"));
        assert!(settings.set_variable(b"time_zone", b"+00:00"));
        assert!(settings.set_variable(b"sql_mode", b""));
        assert!(!settings.set_variable(b"sql_mode", b""));
        assert!(settings.set_variable(b"sql_mode", b"ANSI"));
        assert_eq!(settings.variable(b"sql_mode"), Some(&b"ANSI"[..]));
        let names: Vec<_> = settings.variables().iter().map(|v| v.name.to_vec()).collect();
        assert_eq!(names, [b"sql_mode".to_vec(), b"time_zone".to_vec()]);
    }

    #[test]
    fn a_reset_keeps_the_schema_and_nothing_else() {
        let mut settings = Settings::new(45, Some(b"shop"));
        settings.set_variable(b"sql_mode", b"ANSI");
        assert_eq!(settings.after_reset(8), Settings::new(8, Some(b"shop")));
    }
}
