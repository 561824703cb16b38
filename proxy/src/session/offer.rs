//! What Tandem offers to clients: what the servers behind it offer, as far as Tandem can carry it.

use tandem_protocol::flags::Capabilities;

use crate::topology::{Flavor, Version};

/// Of both makers and all versions that Tandem knows.
const COMMON: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::IGNORE_SIGPIPE)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::RESERVED)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::PLUGIN_AUTH_LENENC_DATA)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF)
    .union(Capabilities::REMEMBER_OPTIONS);

/// Since when a maker's servers offer more.
#[rustfmt::skip]
const SINCE: &[(Flavor, u32, Capabilities)] = &[
    (Flavor::MySql, 0, Capabilities::LONG_PASSWORD),
    (Flavor::MySql, 80_003, Capabilities::OPTIONAL_RESULTSET_METADATA),
    (Flavor::MySql, 80_023, Capabilities::QUERY_ATTRIBUTES),
    (Flavor::MariaDb, 0, Capabilities::MARIADB_PROGRESS),
    (Flavor::MariaDb, 100_502, Capabilities::MARIADB_EXTENDED_METADATA),
    (Flavor::MariaDb, 100_600, Capabilities::MARIADB_CACHE_METADATA),
];

/// What servers of these versions offer alike: a client keeps its flags wherever its statements go, and when the
/// servers are upgraded one after the other.
pub(super) fn offered<'a>(versions: impl Iterator<Item = &'a Version>) -> Capabilities {
    let all = versions.map(of_version);
    all.reduce(|some, others| some & others)
        // MariaDB's greeting, which stands for an unknown server, without its extensions.
        .unwrap_or(COMMON | Capabilities::LONG_PASSWORD)
}

fn of_version(version: &Version) -> Capabilities {
    let since = SINCE
        .iter()
        .filter(|(flavor, since, _)| *flavor == version.flavor && *since <= version.number);
    since.fold(COMMON, |offered, (_, _, more)| offered | *more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(flavor: Flavor, number: u32) -> Version {
        Version {
            flavor,
            number,
            text: "".into(),
        }
    }

    #[test]
    fn a_pair_offers_what_both_servers_offer() {
        let old = version(Flavor::MySql, 80_020);
        let new = version(Flavor::MySql, 90_704);
        let both = offered([&new, &new].into_iter());
        assert!(both.contains(Capabilities::QUERY_ATTRIBUTES | Capabilities::LONG_PASSWORD));
        let mixed = offered([&new, &old].into_iter());
        assert!(!mixed.contains(Capabilities::QUERY_ATTRIBUTES));
        assert!(mixed.contains(Capabilities::OPTIONAL_RESULTSET_METADATA));
    }

    #[test]
    fn mariadb_says_by_bit_0_that_its_extensions_follow() {
        let mariadb = offered([version(Flavor::MariaDb, 101_119)].iter());
        assert!(mariadb.has_extension() && mariadb.extended() != 0);
        assert!(!mariadb.contains(Capabilities::OPTIONAL_RESULTSET_METADATA));
        assert!(!offered([].into_iter()).has_extension());
    }
}
