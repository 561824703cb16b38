//! Definitions, changes and reads of tables.

use super::{Maker, OTHER, SCHEMA, Scripted, query};

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let text = match maker.dice.below(26) {
        0..7 => insert(maker),
        7..11 => change(maker),
        11..19 => read(maker),
        19 => large(maker),
        20 => definition(maker),
        21 => procedure(maker),
        22 => several(maker),
        23 => shared(maker),
        24 => told(maker),
        _ => returning(maker),
    };
    vec![query(text)]
}

fn insert(maker: &mut Maker<'_>) -> String {
    let (table, n) = (maker.own(), maker.dice.below(60));
    match maker.dice.below(12) {
        0 => format!("INSERT INTO {table} (n, v) VALUES ({n}, 'one')"),
        1 => format!("INSERT INTO {table} (v) VALUES ('a'), ('b'), ('c')"),
        2 => format!(
            "INSERT INTO {table} (id, n, v) VALUES ({}, {n}, 'explicit')",
            100 + n
        ),
        3 => format!("INSERT IGNORE INTO {table} (n, v) VALUES ({n}, 'ignored'), ({n}, 'twice')"),
        4 => format!(
            "INSERT INTO {table} (n, v) VALUES ({n}, 'dup') ON DUPLICATE KEY UPDATE v = CONCAT(v, '+')"
        ),
        5 => format!(
            "INSERT INTO {table} (n, v) VALUES ({n}, 'dup') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), v = 'x'"
        ),
        6 => format!("INSERT INTO {table} SET n = {n}, v = LAST_INSERT_ID()"),
        7 => format!("INSERT INTO {table} (v) SELECT v FROM {table} AS source ORDER BY id LIMIT 3"),
        8 => format!("REPLACE INTO {table} (n, v) VALUES ({n}, 'replaced')"),
        9 => format!(
            "INSERT INTO {table} (id, v) VALUES (NULL, 'null'), (0, 'zero'), ({}, 'given')",
            200 + n
        ),
        10 => format!("INSERT IGNORE INTO {table} (n, v) VALUES ('12abc', REPEAT('long', 20))"),
        _ => format!("INSERT INTO {table} () VALUES ()"),
    }
}

fn change(maker: &mut Maker<'_>) -> String {
    let (table, n) = (maker.own(), maker.dice.below(60));
    match maker.dice.below(8) {
        0 => format!("UPDATE {table} SET v = 'changed' WHERE n < {n}"),
        1 => format!("UPDATE {table} SET v = v"),
        2 => format!("UPDATE {table} SET n = n + 1 ORDER BY n DESC LIMIT 2"),
        3 => format!("UPDATE {table} SET id = LAST_INSERT_ID(id + 1000) WHERE n = {n}"),
        4 => format!("DELETE FROM {table} WHERE n = {n}"),
        5 => format!("DELETE FROM {table} ORDER BY id DESC LIMIT 2"),
        6 => format!(
            "UPDATE {table} JOIN {table} AS source ON source.id = {table}.id + 2 SET {table}.v = source.v"
        ),
        _ => format!("UPDATE {table} SET v = 1/0 WHERE n = {n}"),
    }
}

fn read(maker: &mut Maker<'_>) -> String {
    let (table, n) = (maker.any(), maker.dice.below(60));
    match maker.dice.below(17) {
        0 => format!("SELECT * FROM {table} ORDER BY id"),
        1 => format!("SELECT id, v FROM {table} ORDER BY id LIMIT 2"),
        2 => format!("SELECT id, v FROM {table} ORDER BY id LIMIT 3 OFFSET 2"),
        3 => format!("SELECT SQL_CALC_FOUND_ROWS id FROM {table} ORDER BY id LIMIT 1"),
        4 => format!("SELECT COUNT(*), MAX(id) FROM {table}"),
        5 => format!("SELECT v FROM {table} WHERE id = {n}"),
        6 => format!("(SELECT id FROM {table} ORDER BY id LIMIT 1) UNION ALL (SELECT 7) ORDER BY 1"),
        7 => format!("SELECT id FROM {table} UNION SELECT n FROM shared ORDER BY 1 LIMIT 2"),
        8 => format!(
            "SELECT STRAIGHT_JOIN a.id FROM {table} a JOIN {} b ON a.id = b.id ORDER BY 1",
            maker.any()
        ),
        9 => format!("SELECT v, COUNT(*) FROM {table} GROUP BY v ORDER BY v LIMIT 2"),
        10 => format!("SELECT DISTINCT v FROM {table} ORDER BY v"),
        11 => format!("WITH c AS (SELECT id FROM {table}) SELECT COUNT(*) FROM c"),
        12 => format!("SELECT id FROM {table} WHERE v = 'nobody has it'"),
        13 => format!("SELECT 1 FROM {table} LIMIT 0"),
        14 => "SELECT 1, 'two', NULL, 3.5, DATABASE()".to_owned(),
        15 => format!("SELECT CAST('x{n}' AS SIGNED), 1/0"),
        _ => format!(
            "SELECT * FROM {}.{table} ORDER BY id LIMIT 2",
            maker.dice.pick(&[SCHEMA, OTHER])
        ),
    }
}

fn large(maker: &mut Maker<'_>) -> String {
    match maker.dice.below(3) {
        0 => "SELECT REPEAT('abcdefgh', 40000)".to_owned(),
        1 => "SELECT REPEAT(v, 3000) FROM shared ORDER BY id".to_owned(),
        _ => format!("SELECT LENGTH('{}')", "y".repeat(70_000)),
    }
}

fn definition(maker: &mut Maker<'_>) -> String {
    let table = maker.own();
    match maker.dice.below(8) {
        0 => format!("CREATE TABLE IF NOT EXISTS {table} (id INT)"),
        1 => format!("CREATE TABLE new_{table} (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(9))"),
        2 => format!("DROP TABLE IF EXISTS new_{table}"),
        3 => format!("DROP TABLE new_{table}"),
        4 => format!("ALTER TABLE {table} MODIFY v VARCHAR(40)"),
        5 => format!("TRUNCATE TABLE {table}"),
        6 => format!("CREATE OR REPLACE VIEW view_{table} AS SELECT id, v FROM {table}"),
        _ => format!("CREATE TABLE new_{table} AS SELECT 1 AS id, 'x' AS v"),
    }
}

fn procedure(maker: &mut Maker<'_>) -> String {
    let n = maker.dice.below(60);
    match maker.dice.below(8) {
        0 => format!("CALL {SCHEMA}.gives_out({n}, @given)"),
        1 => format!("CALL {SCHEMA}.two_results()"),
        2 => format!("CALL {SCHEMA}.no_result()"),
        3 => format!("CALL {SCHEMA}.inserts_{}('called')", maker.session),
        4 => format!("CALL {SCHEMA}.warns()"),
        5 => format!("CALL {SCHEMA}.fails()"),
        6 => format!("CALL {SCHEMA}.changes_mode()"),
        _ => format!("SELECT {SCHEMA}.plus_one({n})"),
    }
}

/// Several statements in one packet.
fn several(maker: &mut Maker<'_>) -> String {
    let (own, other) = (maker.own(), maker.any());
    match maker.dice.below(6) {
        0 => format!("SELECT 1; SELECT id FROM {other} ORDER BY id LIMIT 2; SELECT 3"),
        1 => format!("INSERT INTO {own} (v) VALUES ('m'), ('n'); SELECT LAST_INSERT_ID()"),
        2 => "SELECT 1; SELECT * FROM no_such_table; SELECT 3".to_owned(),
        3 => format!("BEGIN; INSERT INTO {own} (v) VALUES ('in a packet'); COMMIT"),
        4 => "SET @a = 1; SET @b = @a + 1; SELECT @a, @b".to_owned(),
        _ => "SELECT 1;".to_owned(),
    }
}

fn shared(maker: &mut Maker<'_>) -> String {
    let session = maker.session;
    match maker.dice.below(3) {
        0 => format!("INSERT INTO shared (n, v) VALUES ({session}, 'from {session}')"),
        1 => format!("INSERT INTO {SCHEMA}.shared (n, v) VALUES ({session}, 'a'), ({session}, 'b')"),
        _ => format!("SELECT COUNT(*) FROM {OTHER}.shared"),
    }
}

/// Statements that tell of others, or of tables.
fn told(maker: &mut Maker<'_>) -> String {
    let table = maker.any();
    match maker.dice.below(9) {
        0 => format!("SHOW COLUMNS FROM {table}"),
        1 => format!("SHOW CREATE DATABASE {OTHER}"),
        2 => format!("SHOW TABLES LIKE '{table}'"),
        3 => format!("DESCRIBE {table} v"),
        4 => format!("SHOW TABLES FROM {OTHER} LIKE 't_'"),
        5 => "SHOW VARIABLES LIKE 'sql_mode'".to_owned(),
        6 => format!("SHOW INDEX FROM {table} WHERE Key_name = 'nothing'"),
        7 => format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{SCHEMA}' AND table_name = '{table}'"
        ),
        _ => format!("CHECKSUM TABLE {table}"),
    }
}

/// MariaDB's writes that give rows; errors on MySQL.
fn returning(maker: &mut Maker<'_>) -> String {
    let (table, n) = (maker.own(), maker.dice.below(60));
    match maker.dice.below(3) {
        0 => format!("INSERT INTO {table} (v) VALUES ('r'), ('s') RETURNING id, v"),
        1 => format!("DELETE FROM {table} WHERE n = {n} RETURNING id"),
        _ => format!("REPLACE INTO {table} (n, v) VALUES ({n}, 'r') RETURNING v"),
    }
}
