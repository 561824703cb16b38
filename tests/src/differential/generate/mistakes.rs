//! Statements that fail, each in its own way.

use super::{Maker, Scripted, query};

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    vec![query(match maker.dice.below(22) {
        0 => "SELEC 1".to_owned(),
        1 => "SELECT 1 FROM".to_owned(),
        2 => "SELECT * FROM no_such_table".to_owned(),
        3 => "SELECT no_such_column FROM shared".to_owned(),
        4 => "SELECT * FROM no_such_schema.t".to_owned(),
        5 => "SELECT no_such_function(1)".to_owned(),
        6 => format!("INSERT INTO {own} (id, v) VALUES (1, 'duplicate'), (1, 'for sure')"),
        7 => format!("INSERT INTO {own} (n, v) VALUES ('text', 'wrong type')"),
        8 => format!("INSERT INTO {own} (v) VALUES (REPEAT('too long', 20))"),
        9 => format!("INSERT INTO {own} (no_such_column) VALUES (1)"),
        10 => format!("UPDATE {own} SET n = 99999999999"),
        11 => "SELECT (SELECT id FROM shared)".to_owned(),
        12 => "CALL no_such_procedure()".to_owned(),
        13 => format!("ALTER TABLE {own} DROP COLUMN no_such_column"),
        14 => "SELECT 'unterminated".to_owned(),
        15 => String::new(),
        16 => "/* nothing but a comment */".to_owned(),
        17 => ";".to_owned(),
        18 => "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'signalled', MYSQL_ERRNO = 5000".to_owned(),
        19 => "SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'only a warning'".to_owned(),
        20 => "DROP DATABASE no_such_schema".to_owned(),
        _ => "SELECT GREATEST()".to_owned(),
    })]
}
