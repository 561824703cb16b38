//! The variables that a `SET` changes for the whole server, and which of them the servers of a pair should have alike.

use super::Dialect;
use super::set::{self, Reach};
use crate::topology::Flavor;

/// A variable of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// As it can stand in a statement.
    pub name: String,
    /// `SET PERSIST`: MySQL keeps it for its next start.
    persists: bool,
}

impl Global {
    pub fn assignment(&self, value: &str) -> String {
        let scope = if self.persists { "PERSIST" } else { "GLOBAL" };
        format!("SET {scope} {} = {value}", self.name)
    }
}

/// What asks for the values of all of them.
pub fn question(globals: &[Global]) -> String {
    let names: Vec<String> = globals
        .iter()
        .map(|global| format!("@@GLOBAL.{}", global.name))
        .collect();
    format!("SELECT {}", names.join(", "))
}

/// Those that a statement sets and that are the pair's. What is set for the next start only (`PERSIST_ONLY`) can't be read.
pub fn set_by(text: &[u8], dialect: Dialect) -> Vec<Global> {
    let mut globals = Vec::new();
    for target in set::targets(text, dialect) {
        let persists = match target.reach {
            Reach::Global => false,
            Reach::Persist => true,
            Reach::Session | Reach::PersistOnly | Reach::Unsaid => continue,
        };
        let names: &[&str] = match (target.name.as_str(), dialect.flavor) {
            // SET GLOBAL TRANSACTION …
            ("transaction", Flavor::MariaDb) => &["tx_isolation", "tx_read_only"],
            ("transaction", Flavor::MySql) => &["transaction_isolation", "transaction_read_only"],
            (name, _) => &[name],
        };
        let pairs = names
            .iter()
            .filter(|name| !name.is_empty() && !is_servers_own(name));
        globals.extend(pairs.map(|name| Global {
            name: quoted(name, target.part.as_deref()),
            persists,
        }));
    }
    globals
}

fn quoted(name: &str, part: Option<&str>) -> String {
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    match part {
        Some(part) => format!("{}.{}", quote(name), quote(part)),
        None => quote(name),
    }
}

/// What each server of a pair has for itself: who it is, its part in the replication, its files, and orders that only look
/// like variables.
fn is_servers_own(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "auto_increment_increment",
        "auto_increment_offset",
        "event_scheduler",
        "offline_mode",
        "read_only",
        "server_id",
        "sql_replica_skip_counter",
        "sql_slave_skip_counter",
        "super_read_only",
    ];
    const BEGINNINGS: [&str; 12] = [
        "debug",
        "gtid_",
        "master_",
        "relay_",
        "replica_",
        "replicate_",
        "report_",
        "rpl_",
        "slave_",
        "source_",
        "ssl_",
        "tls_",
    ];
    const ENDS: [&str; 4] = ["_dir", "_file", "_now", "_path"];
    NAMES.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignments(text: &str, flavor: Flavor) -> Vec<String> {
        let found = set_by(text.as_bytes(), Dialect::plain(flavor, 101_114));
        found.iter().map(|global| global.assignment("1")).collect()
    }

    #[test]
    fn what_a_statement_sets_for_the_whole_server() {
        for (text, expected) in [
            (
                "SET GLOBAL Max_Connections = 10",
                &["SET GLOBAL `max_connections` = 1"][..],
            ),
            (
                "set global a = 1, b = @x, @c = 2, session d = 3, e = 4, @@global.f = IF(1, 2, 3), @@g = 5",
                &["SET GLOBAL `a` = 1", "SET GLOBAL `b` = 1", "SET GLOBAL `f` = 1"],
            ),
            ("SET PERSIST a = 1, PERSIST_ONLY b = 2", &["SET PERSIST `a` = 1"]),
            ("SET @@persist.a = 1", &["SET PERSIST `a` = 1"]),
            (
                "SET GLOBAL hot.key_buffer_size = 1",
                &["SET GLOBAL `hot`.`key_buffer_size` = 1"],
            ),
            (
                "SET @@global.hot.key_buffer_size = 1",
                &["SET GLOBAL `hot`.`key_buffer_size` = 1"],
            ),
            (
                "SET GLOBAL TRANSACTION READ ONLY",
                &["SET GLOBAL `tx_isolation` = 1", "SET GLOBAL `tx_read_only` = 1"],
            ),
            ("SET a = 1, NAMES utf8mb4", &[]),
            ("SET STATEMENT a = 1 FOR SET GLOBAL b = 2", &[]),
            ("SET TRANSACTION READ ONLY", &[]),
            ("ALTER DATABASE d COLLATE utf8mb4_bin", &[]),
        ] {
            assert_eq!(assignments(text, Flavor::MariaDb), expected, "{text}");
        }
        let transaction = assignments("SET GLOBAL TRANSACTION READ WRITE", Flavor::MySql);
        assert_eq!(transaction[0], "SET GLOBAL `transaction_isolation` = 1");
    }

    #[test]
    fn what_is_a_servers_own_is_left_to_it() {
        for name in [
            "read_only",
            "gtid_domain_id",
            "rpl_semi_sync_master_enabled",
            "slow_query_log_file",
            "innodb_buffer_pool_dump_now",
        ] {
            assert_eq!(
                assignments(&format!("SET GLOBAL {name} = 1"), Flavor::MariaDb),
                [""; 0]
            );
        }
    }
}
