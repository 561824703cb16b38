//! How a session's text is to be read, worked out once for its settings and not for each statement.

use std::rc::Rc;

use tandem_protocol::charset;

use super::settings::Settings;
use crate::classify::Dialect;
use crate::topology::table::NameKey;
use crate::topology::{Flavor, Topology};

/// What follows from a session's settings.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    settings: Rc<Settings>,
    pub(super) dialect: Dialect,
    /// Its reads lock.
    pub(super) serializable: bool,
    pub(super) naming: Naming,
}

/// How names without a schema are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    /// They are of tables that each server has of its own.
    pub(super) system_schema: bool,
    /// The default schema, if there is one and its name can be compared.
    pub(super) schema: Option<NameKey>,
}

impl Naming {
    pub(super) fn new(settings: &Settings) -> Self {
        let schema = settings.schema.as_deref();
        Self {
            system_schema: schema.is_some_and(is_system_schema),
            schema: schema.and_then(NameKey::new),
        }
    }
}

impl Reading {
    pub(super) fn new(settings: &Rc<Settings>, topology: &Topology) -> Self {
        Self {
            settings: Rc::clone(settings),
            dialect: dialect(settings, topology),
            serializable: is_serializable(settings),
            naming: Naming::new(settings),
        }
    }

    /// Whether it was made from exactly these settings.
    pub(super) fn is_of(&self, settings: &Rc<Settings>) -> bool {
        Rc::ptr_eq(&self.settings, settings)
    }
}

fn dialect(settings: &Settings, topology: &Topology) -> Dialect {
    let version = topology
        .active
        .and_then(|active| topology.server(active).version.as_ref())
        .or_else(|| topology.servers.iter().find_map(|server| server.version.as_ref()));
    let (flavor, version) = version.map_or((Flavor::MariaDb, 0), |version| (version.flavor, version.number));
    let mode = settings.variable(b"sql_mode").unwrap_or_default();
    let has = |flag: &[u8]| mode.split(|byte| *byte == b',').any(|part| part == flag);
    let login_charset =
        || charset::by_id(settings.names().collation).map_or("", |collation| collation.charset);
    let client_charset = settings
        .variable(b"character_set_client")
        .map_or_else(login_charset, |name| std::str::from_utf8(name).unwrap_or(""));
    Dialect {
        flavor,
        version,
        ansi_quotes: has(b"ANSI_QUOTES"),
        no_backslash_escapes: has(b"NO_BACKSLASH_ESCAPES"),
        ignore_space: has(b"IGNORE_SPACE"),
        multibyte: !charset::is_ascii_safe(client_charset),
    }
}

/// Schemas that tell about the server that is asked.
fn is_system_schema(name: &[u8]) -> bool {
    let system: [&[u8]; 4] = [b"information_schema", b"mysql", b"performance_schema", b"sys"];
    system.iter().any(|system| name.eq_ignore_ascii_case(system))
}

/// The variable's name differs between the flavours and versions.
fn is_serializable(settings: &Settings) -> bool {
    let isolation = settings
        .variable(b"tx_isolation")
        .or_else(|| settings.variable(b"transaction_isolation"));
    isolation == Some(b"SERIALIZABLE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(variables: &[(&str, &str)]) -> Reading {
        let mut settings = Settings::new(45, None);
        for (name, value) in variables {
            settings.set_variable(name.as_bytes(), value.as_bytes());
        }
        let nobody = Topology {
            epoch: 0,
            holding: None,
            given_up: None,
            servers: Vec::new(),
            active: None,
            mark: None,
            former: None,
        };
        Reading::new(&Rc::new(settings), &nobody)
    }

    #[test]
    fn sql_mode_and_character_set_change_how_text_is_read() {
        let plain = reading(&[]).dialect;
        assert!(!plain.ansi_quotes && !plain.multibyte);
        let ansi = reading(&[("sql_mode", "REAL_AS_FLOAT,ANSI_QUOTES,IGNORE_SPACE")]).dialect;
        assert!(ansi.ansi_quotes && ansi.ignore_space && !ansi.no_backslash_escapes);
        assert!(reading(&[("character_set_client", "gbk")]).dialect.multibyte);
    }

    #[test]
    fn system_schemas_are_known_in_any_case() {
        assert!(is_system_schema(b"INFORMATION_SCHEMA") && is_system_schema(b"mysql"));
        assert!(!is_system_schema(b"mysql_shop"));
    }

    #[test]
    fn serializable_is_seen_under_both_names() {
        assert!(reading(&[("tx_isolation", "SERIALIZABLE")]).serializable);
        assert!(reading(&[("transaction_isolation", "SERIALIZABLE")]).serializable);
        assert!(!reading(&[("tx_isolation", "READ-COMMITTED")]).serializable);
    }
}
