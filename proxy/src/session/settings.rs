//! What follows a session from one server connection to another: default schema, character set and
//! every session variable that a plain `SET` can set again.
//!
//! The server itself says what changed, in the trackers of its OK packets, so nothing is guessed from text.

use tandem_protocol::charset::{self, Collation};
use tandem_protocol::version::ServerVersion;

use crate::topology::Topology;

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

/// What `SET NAMES` sets, and a login.
pub const SET_BY_NAMES: [&[u8]; 4] = [
    b"character_set_client",
    b"character_set_connection",
    b"character_set_results",
    b"collation_connection",
];

/// MariaDB's list of the collations that character sets get where none is said, for each session (since 11.2).
const DEFAULT_COLLATIONS: &[u8] = b"character_set_collations";

/// utf8mb3_general_ci
const UTF8MB3: u16 = 33;

/// What `SET NAMES` or a login has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Names {
    pub collation: u16,
    /// Only its character set was said, and the collation is whichever the server has for that in `character_set_collations`:
    /// so MariaDB reads a login with the collation that a character set was compiled with, and `SET NAMES` without COLLATE
    /// (measured on 11.8.9, where `utf8mb4_general_ci` becomes `utf8mb4_uca1400_ai_ci` in a login, and by name it does not).
    pub is_looked_up: bool,
}

impl Names {
    /// Whatever the server has as its default. Also what it makes of a 0 in the handshake.
    pub const SERVER: Self = Self {
        collation: 0,
        is_looked_up: false,
    };

    /// Those of a login with this collation.
    pub fn of_login(collation: u16, server: ServerVersion) -> Self {
        let is_looked_up = server.has_default_collations() && charset::is_default(collation);
        Self {
            collation,
            is_looked_up,
        }
    }
}

impl From<u16> for Names {
    /// The collation itself.
    fn from(collation: u16) -> Self {
        Self {
            collation,
            is_looked_up: false,
        }
    }
}

/// The names that a session begins with which has asked for this collation.
pub fn names_of_login(asked: u16, topology: &Topology) -> Names {
    match topology.version() {
        Some(version) if !version.knows_collation(asked) => Names::SERVER,
        _ => Names::of_login(asked, topology.server_version()),
    }
}

/// What `COM_RESET_CONNECTION` brings back after this login (measured on MariaDB 10.11 and 11.8, and on MySQL 9.7).
pub fn names_after_reset(login: Names, server: ServerVersion) -> Names {
    match (server.mariadb, login) {
        (false, _) => Names::SERVER,
        // No longer the server's own.
        (true, Names::SERVER) => Names::of_login(UTF8MB3, server),
        (true, login) => login,
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
    pub login: Names,
    /// Those of the last `SET NAMES`, in the place of the four variables which both set: of `character_set_client` a server
    /// keeps the collation too, which no variable tells, and MariaDB compares parameters by that.
    names: Option<Names>,
    pub schema: Option<Box<[u8]>>,
    /// Sorted by name, so that two settings compare in one pass, and so that
    /// `character_set_connection` is set before `collation_connection`, which it changes.
    variables: Vec<Variable>,
}

impl Settings {
    pub fn new(login: impl Into<Names>, schema: Option<&[u8]>) -> Self {
        Self {
            login: login.into(),
            names: None,
            schema: schema.map(Into::into),
            variables: Vec::new(),
        }
    }

    /// Those of the last `SET NAMES`, or else of the login.
    pub fn names(&self) -> Names {
        self.names.unwrap_or(self.login)
    }

    /// Whether the session's own list says what is looked up, and not the server's.
    pub fn has_own_collations(&self) -> bool {
        self.variable(DEFAULT_COLLATIONS).is_some()
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
    pub fn set_names(&mut self, names: Names) {
        self.names = Some(names);
        self.variables
            .retain(|variable| !SET_BY_NAMES.contains(&&*variable.name));
    }

    /// Whether all is as this `SET NAMES` leaves it.
    pub fn has_names(&self, names: Names) -> bool {
        self.names() == names && SET_BY_NAMES.iter().all(|name| self.variable(name).is_none())
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

    /// What the server is left with after `COM_RESET_CONNECTION`: the schema stays, all else goes. For the names see
    /// [`names_after_reset`].
    #[must_use]
    pub fn after_reset(&self, login: Names) -> Self {
        Self {
            login,
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
        assert_eq!(settings.after_reset(8.into()), Settings::new(8, Some(b"shop")));
    }
}
