//! Questions about what the statements before left: the state that a proxy loses most easily.

use super::{Action, Maker, Mask, Scripted, query};
use tandem::topology::Flavor;

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.dice.below(12) {
        0..10 => vec![query(maker.dice.pick(QUESTIONS))],
        10 => vec![(
            Action::Query(maker.dice.pick(NUMBERS).to_owned()),
            Some(Mask::Rows),
        )],
        _ => settings(maker),
    }
}

const QUESTIONS: &[&str] = &[
    "SELECT LAST_INSERT_ID()",
    "SELECT LAST_INSERT_ID()",
    "SELECT @@identity, @@last_insert_id",
    "SELECT LAST_INSERT_ID(4711)",
];

const NUMBERS: &[&str] = &["SELECT CONNECTION_ID()", "SELECT connection_id() AS id"];

fn settings(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let isolation = match maker.flavor {
        Flavor::MariaDb => "SELECT @@tx_isolation, @@tx_read_only",
        Flavor::MySql => "SELECT @@transaction_isolation, @@transaction_read_only",
    };
    maker.one_of(&[
        "SELECT @@sql_mode, @@time_zone, @@autocommit",
        "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
        "SELECT @@character_set_database, @@collation_database, DATABASE()",
        "SELECT @@sql_select_limit, @@group_concat_max_len, @@lock_wait_timeout",
        "SELECT @a, @b, @given",
        "SELECT CURRENT_ROLE(), CURRENT_USER()",
        isolation,
    ])
}
