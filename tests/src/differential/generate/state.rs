//! State of a session: variables, character sets, temporary tables, locks, roles.

use super::{Action, Maker, OTHER, SCHEMA, Scripted, queries, query};
use tandem::topology::Flavor;

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.dice.below(20) {
        0..4 => maker.one_of(SETTINGS),
        4..6 => modes(maker),
        6..8 => names(maker),
        8 => expressions(maker),
        9..11 => user_variables(maker),
        11..13 => temporary(maker),
        13 => locks(maker),
        14 => table_locks(maker),
        15 => handler(maker),
        16 => roles(maker),
        17 => schema(maker),
        18 => clock(maker),
        _ => limits(maker),
    }
}

const SETTINGS: &[&str] = &[
    "SET time_zone = '+03:00'",
    "SET time_zone = DEFAULT",
    "SET SESSION group_concat_max_len = 10",
    "SET @@session.group_concat_max_len = 2000, @@time_zone = '-05:00'",
    "SET LOCAL sql_notes = 0",
    "SET sql_notes = 1, sql_warnings = 1",
    "SET foreign_key_checks = 0, unique_checks = OFF",
    "SET max_error_count = 2",
    "SET max_error_count = DEFAULT",
    "SET lc_time_names = 'de_DE'",
    "SET div_precision_increment = 6",
    "SET sql_safe_updates = 1",
    "SET sql_safe_updates = 0",
    "SET sql_auto_is_null = 1",
    "SET sql_big_selects = DEFAULT",
    "SET sql_quote_show_create = 0",
    "SET default_week_format = 3",
    "SET completion_type = 0",
    "SET old_passwords = 7",
    "SET no_such_variable = 1",
    "SET time_zone = 'nowhere/at_all'",
    "SET autocommit = 2",
];

fn modes(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET sql_mode = 'ANSI_QUOTES'",
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SET sql_mode = 'PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE'",
        "SET sql_mode = 'TRADITIONAL'",
        "SET sql_mode = ''",
        "SET sql_mode = DEFAULT",
        "SET sql_mode = CONCAT(@@sql_mode, ',NO_ZERO_DATE')",
        "SET sql_mode = 'no such mode'",
    ]);
    let probe = maker.dice.pick(&[
        r#"SELECT "id" FROM "shared" ORDER BY 1 LIMIT 1"#,
        r"SELECT 'a\'b', 'it''s'",
        r"SELECT 'back\\slash', LENGTH('a\nb')",
        "SELECT 'a' || 'b', 1 || 0",
        "SELECT COUNT (*) FROM shared WHERE id < 0",
        "SELECT 1/0, CAST('2020-00-00' AS DATE)",
        "INSERT INTO shared (v) VALUES (REPEAT('too long', 20))",
    ]);
    script.push(query(probe));
    script
}

fn names(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET NAMES latin1",
        "SET NAMES utf8mb4",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SET NAMES 'utf8mb3'",
        "SET NAMES DEFAULT",
        "SET NAMES no_such_charset",
        "SET CHARACTER SET latin1",
        "SET CHARACTER SET DEFAULT",
        "SET character_set_results = NULL",
        "SET character_set_results = latin1",
        "SET collation_connection = utf8mb4_unicode_ci",
        "SET character_set_client = gbk",
    ]);
    script.push(query(maker.dice.pick(&[
        "SELECT 'äöü', LENGTH('äöü'), CHARSET('x'), COLLATION('x')",
        "SELECT HEX('é'), _utf8mb4'é'",
        "SELECT CHARSET(USER()), COLLATION(CONCAT('a', 1))",
        "SELECT v AS 'spalte ä' FROM shared ORDER BY id LIMIT 1",
    ])));
    script
}

fn expressions(maker: &mut Maker<'_>) -> Vec<Scripted> {
    maker.one_of(&[
        "SET group_concat_max_len = @@global.group_concat_max_len + 5",
        "SET @@session.group_concat_max_len = (SELECT COUNT(*) + 100 FROM shared)",
        "SET sql_select_limit = 1 + 1",
        "SET sql_select_limit = DEFAULT",
        "SET @a = (SELECT MAX(id) FROM shared), time_zone = CONCAT('+0', 4, ':00')",
        "SET lock_wait_timeout = @@lock_wait_timeout + 1",
        "SET lock_wait_timeout = 1",
        "SET @old = @@sql_mode, sql_mode = 'ANSI_QUOTES', sql_mode = @old",
        "SET group_concat_max_len = 'text'",
        "SET group_concat_max_len = NULL",
        "SET @a = 1, no_such_variable = 2, @b = 3",
    ])
}

fn user_variables(maker: &mut Maker<'_>) -> Vec<Scripted> {
    maker.one_of(&[
        "SET @a = 1, @b = 'two'",
        "SET @a := @a + 1",
        "SELECT @a := 5, @b",
        "SELECT COUNT(*), MAX(id) INTO @a, @b FROM shared",
        "SELECT id INTO @a FROM shared WHERE id = -1",
        "SELECT id INTO @a FROM shared",
        "SELECT @a, @b, @never_set",
        "SET @a = NULL",
        "DO @a := 7",
        "SELECT v FROM shared WHERE id = @a",
    ])
}

fn temporary(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let shadow = maker.own();
    let mut script =
        queries(&["CREATE TEMPORARY TABLE tmp (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(10))"]);
    for _ in 0..maker.dice.below(4) {
        script.extend(maker.one_of(&[
            "INSERT INTO tmp (v) VALUES ('t'), ('u')",
            "SELECT * FROM tmp ORDER BY id",
            "UPDATE tmp SET v = 'w'",
            "SELECT COUNT(*) FROM tmp",
            "SHOW CREATE TABLE tmp",
            "DESCRIBE tmp",
            "ALTER TABLE tmp ADD w INT",
            "SELECT LAST_INSERT_ID()",
        ]));
    }
    if maker.dice.once_in(3) {
        script.push(query(format!("CREATE TEMPORARY TABLE {shadow} (shadow INT)")));
        script.push(query(format!("SELECT * FROM {shadow}")));
        script.push(query(format!("DROP TEMPORARY TABLE {shadow}")));
    }
    script.extend(maker.one_of(&[
        "DROP TEMPORARY TABLE tmp",
        "DROP TABLE tmp",
        "DROP TEMPORARY TABLE IF EXISTS tmp",
    ]));
    script.push(query("SELECT COUNT(*) FROM tmp"));
    script
}

/// Locks by name, never waited for. Only the session's own: others' are held or not, as they come.
fn locks(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let name = format!("lock_{}", maker.session);
    let mut script = vec![query(format!("SELECT GET_LOCK('{name}', 0)"))];
    if maker.dice.once_in(2) {
        script.push(query(format!(
            "SELECT GET_LOCK('{name}', 0), GET_LOCK('{name}_b', 0)"
        )));
    }
    script.push(query(format!(
        "SELECT IS_FREE_LOCK('{name}'), IS_FREE_LOCK('lock_0')"
    )));
    script.push(query(match maker.dice.below(3) {
        0 => format!("SELECT RELEASE_LOCK('{name}')"),
        1 => format!("DO RELEASE_LOCK('{name}')"),
        _ => "SELECT RELEASE_ALL_LOCKS()".to_owned(),
    }));
    script.push(query("SELECT RELEASE_ALL_LOCKS()"));
    script.push(query(format!("SELECT RELEASE_LOCK('{name}')")));
    script
}

fn table_locks(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    let mut script = vec![query(maker.dice.pick(&["ROLLBACK", "COMMIT"]))];
    script.push(query(format!(
        "LOCK TABLES {own} {}",
        maker.dice.pick(&["WRITE", "READ"])
    )));
    for _ in 0..maker.dice.below(3) {
        script.push(query(match maker.dice.below(3) {
            0 => format!("INSERT INTO {own} (v) VALUES ('locked')"),
            1 => format!("SELECT COUNT(*) FROM {own}"),
            _ => "SELECT COUNT(*) FROM shared".to_owned(),
        }));
    }
    script.push(query("UNLOCK TABLES"));
    script
}

fn handler(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    let mut script = vec![query(format!("HANDLER {own} OPEN AS h"))];
    for _ in 0..maker.dice.below(4) {
        script.extend(maker.one_of(&[
            "HANDLER h READ FIRST",
            "HANDLER h READ NEXT LIMIT 2",
            "HANDLER h READ `PRIMARY` >= (2)",
            "HANDLER h READ n FIRST WHERE v IS NOT NULL LIMIT 3",
        ]));
    }
    script.push(query("HANDLER h CLOSE"));
    script.push(query("HANDLER h READ FIRST"));
    script
}

fn roles(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET ROLE differential_role",
        "SET ROLE no_such_role",
        "SET ROLE differential_role",
    ]);
    script.extend(queries(&[
        "SELECT CURRENT_ROLE()",
        "SET ROLE NONE",
        "SELECT CURRENT_ROLE()",
    ]));
    script
}

fn schema(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let name = maker.dice.pick(&[SCHEMA, SCHEMA, OTHER, "no_such_schema"]);
    vec![match maker.dice.once_in(2) {
        true => query(format!("USE {name}")),
        false => (Action::InitDb(name.to_owned()), None),
    }]
}

/// With the clock stopped, what it says is the same.
fn clock(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = queries(&["SET timestamp = 1000000000"]);
    script.extend(maker.one_of(&[
        "SELECT NOW(), UNIX_TIMESTAMP(), @@timestamp",
        "SELECT CURRENT_TIMESTAMP(3), UTC_TIMESTAMP()",
        "SELECT FROM_UNIXTIME(0), CURDATE()",
    ]));
    script.extend(queries(&["SET timestamp = DEFAULT"]));
    script
}

fn limits(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.flavor {
        Flavor::MariaDb => maker.one_of(&[
            "SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR SELECT \"id\" FROM shared ORDER BY id LIMIT 1",
            "SET STATEMENT max_statement_time = 5 FOR SELECT COUNT(*) FROM shared",
            "SET max_statement_time = 20",
            "SELECT NEXTVAL(sequence_of_all), LASTVAL(sequence_of_all) FROM DUAL WHERE 1 = 0",
            "BEGIN NOT ATOMIC SELECT 1; SELECT 2; END",
            "EXECUTE IMMEDIATE 'SELECT 1 + ?' USING 41",
        ]),
        Flavor::MySql => maker.one_of(&[
            "SELECT /*+ SET_VAR(sort_buffer_size = 300000) */ COUNT(*) FROM shared",
            "SET max_execution_time = 20000",
            "SELECT * FROM shared ORDER BY id LIMIT 1 FOR SHARE",
            "VALUES ROW(1, 2), ROW(3, 4)",
            "TABLE shared ORDER BY id LIMIT 1",
            "SET @@session.sql_generate_invisible_primary_key = 0",
        ]),
    }
}
