//! Questions about what the statements before left: the state that a proxy loses most easily.

use super::{Action, Maker, Mask, Scripted, query};
use tandem::topology::Flavor;

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.dice.below(20) {
        12..14 => rows(maker),
        14..16 => warnings(maker),
        16..20 => maker.one_of(COUNTS),
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

/// What any reply tells.
const COUNTS: &[&str] = &[
    "SELECT ROW_COUNT()",
    "SELECT ROW_COUNT() AS n, `ROW_COUNT()` FROM (SELECT ROW_COUNT()) AS x",
    "SELECT row_count( ) + 1, CONCAT(ROW_COUNT(), '!')",
];

/// `FOUND_ROWS()` outlives writes that hold no query.
fn rows(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let (any, own) = (maker.any(), maker.own());
    let read = match maker.dice.below(5) {
        0 => format!("SELECT id FROM {any} ORDER BY id LIMIT 3"),
        1 => format!("SELECT id FROM {any} ORDER BY id LIMIT 1, 2"),
        2 => format!("SELECT SQL_CALC_FOUND_ROWS id FROM {any} ORDER BY id LIMIT 1"),
        3 => format!("SELECT id FROM {any} WHERE id < 0"),
        _ => format!("SELECT id FROM {any} UNION ALL SELECT 7 ORDER BY 1"),
    };
    let mut script = vec![query(read)];
    if maker.dice.once_in(2) {
        script.push(query(match maker.dice.below(3) {
            0 => format!("INSERT INTO {own} (v) VALUES ('between')"),
            1 => format!("DELETE FROM {own} WHERE v = 'between'"),
            _ => "SET @@session.lock_wait_timeout = 5".to_owned(),
        }));
    }
    script.push(query(maker.dice.pick(&[
        "SELECT FOUND_ROWS()",
        "SELECT FOUND_ROWS() rows_found, ROW_COUNT()",
        "SELECT IF(FOUND_ROWS() > 2, 'many', 'few')",
    ])));
    script
}

fn warnings(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    let statement = match maker.dice.below(4) {
        0 => format!("INSERT IGNORE INTO {own} (n, v) VALUES (1, REPEAT('x', 40)), (1, 'twice')"),
        1 => "SELECT * FROM no_such_table".to_owned(),
        2 => format!("SELECT COUNT(*) FROM {own}"),
        _ => format!("DROP TABLE IF EXISTS no_such_table, {own}_too"),
    };
    let questions = [
        "SHOW WARNINGS",
        "SHOW ERRORS",
        "SHOW COUNT(*) WARNINGS",
        "SELECT @@warning_count, @@error_count",
    ];
    let mut script = vec![query(statement)];
    for _ in 0..1 + maker.dice.below(2) {
        script.push(query(maker.dice.pick(&questions)));
    }
    script
}

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
