//! A session's state follows it or pins it, and nobody else sees any of it: with so few connections that
//! sessions must share them.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use tandem::demo::pair::{APP, client};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Cluster, Flavor, Setup, engine};
use tokio::sync::{Mutex, OnceCell};

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A test that pins uses up what the others share: they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// One worker with two connections a server: a pinned session leaves one for all others.
async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            change: |config| {
                config.listener.workers = 1;
                config.pool.max_connections = 2;
                config.pool.queue_timeout = Duration::from_secs(20);
            },
            toml: "[[user]]\nname = \"boss\"\npassword = \"boss-secret\"".into(),
            ..Setup::default()
        })
        .await;
        cluster.create_user("boss", "boss-secret", "ALL ON *.*").await;
        cluster.create_database("test_session").await;
        cluster.create_database("test_other").await;
        let mut conn = cluster.client_in("test_session").await;
        for statement in [
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), n INT UNIQUE)",
            "CREATE TABLE test_other.t (id INT PRIMARY KEY, v VARCHAR(20))",
            "INSERT INTO test_other.t VALUES (1, 'other')",
            "CREATE PROCEDURE leaves_a_variable() SET @left_behind = 5",
            "CREATE PROCEDURE leaves_a_setting() SET @@group_concat_max_len = 77",
            "CREATE PROCEDURE leaves_a_table() CREATE TEMPORARY TABLE left_behind (x INT)",
            "CREATE PROCEDURE fails_in_a_transaction() BEGIN START TRANSACTION; INSERT INTO t (v) VALUES ('lost'); \
             SELECT * FROM no_such_table; END",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        // Functions want SUPER where binary logging is on.
        let mut root = cluster.direct(cluster.a()).await;
        let function = "CREATE FUNCTION test_session.counts() RETURNS INT READS SQL DATA \
                        RETURN (SELECT COUNT(*) FROM test_session.t)";
        run(&mut root, function).await;
        run(&mut root, "GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION").await;
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

async fn session() -> Conn {
    cluster().await.client_in("test_session").await
}

async fn text(conn: &mut Conn, query: &str) -> String {
    let row: Option<Vec<Value>> = conn
        .query_map(query, |row: mysql_async::Row| row.unwrap())
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
        .into_iter()
        .next();
    let show = |value: &Value| match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true),
    };
    row.map_or_else(
        || "nothing".to_owned(),
        |row| row.iter().map(show).collect::<Vec<_>>().join("|"),
    )
}

async fn run(conn: &mut Conn, statement: &str) {
    conn.query_drop(statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

async fn code(conn: &mut Conn, statement: &str) -> u16 {
    match conn.query_drop(statement).await {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("{statement} should fail, but: {other:?}"),
    }
}

/// Has another session use the connections, on both servers, so that what was left there is taken over.
async fn others_come_by() {
    let mut other = session().await;
    for _ in 0..4 {
        run(&mut other, "SELECT COUNT(*) FROM t").await;
        run(&mut other, "SET sql_mode = 'ANSI'").await;
        run(
            &mut other,
            "INSERT INTO test_other.t VALUES (99, 'x') ON DUPLICATE KEY UPDATE v = 'y'",
        )
        .await;
    }
}

#[tokio::test]
async fn settings_follow_their_session() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    run(&mut one, "SET NAMES latin1 COLLATE latin1_german2_ci").await;
    run(
        &mut one,
        "SET sql_mode = 'ANSI_QUOTES', time_zone = '+03:00', group_concat_max_len = 77",
    )
    .await;
    run(&mut two, "USE test_other").await;
    let settings = "SELECT @@collation_connection, @@character_set_results, @@sql_mode, @@time_zone, \
                    @@group_concat_max_len, DATABASE()";
    let fresh = text(&mut two, settings).await;
    for _ in 0..10 {
        assert_eq!(
            text(&mut one, settings).await,
            "latin1_german2_ci|latin1|ANSI_QUOTES|+03:00|77|test_session"
        );
        assert_eq!(text(&mut two, settings).await, fresh);
        assert_eq!(text(&mut two, "SELECT v FROM t WHERE id = 1").await, "other");
    }
    assert_eq!(
        text(&mut one, r#"SELECT "id" FROM "t" WHERE 1 = 0"#).await,
        "nothing"
    );
    assert!(fresh.ends_with("|test_other"), "{fresh}");
    assert!(
        !fresh.contains("latin1_german2_ci") && !fresh.contains("|77|"),
        "{fresh}"
    );
}

/// Of `character_set_client` MariaDB keeps a collation that no variable tells, and parameters have it: sqlx's, which names
/// another than the character set's own, could not be compared on a connection that had been given the variables.
#[tokio::test]
async fn the_collation_of_set_names_follows_its_session() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let set = "SET time_zone = '+00:00', NAMES utf8mb4 COLLATE utf8mb4_unicode_ci";
    run(&mut one, set).await;
    for _ in 0..6 {
        others_come_by().await;
        let compared = one.exec_first("SELECT 'x' <=> ?, @@collation_connection", ("x",));
        let compared: Option<(u8, String)> = compared.await.expect("no illegal mix of collations");
        assert_eq!(compared, Some((1, "utf8mb4_unicode_ci".into())));
    }
    // What is set behind it counts.
    run(&mut one, "SET character_set_results = latin1").await;
    let settings = "SELECT @@character_set_client, @@character_set_results, @@collation_connection";
    for expected in [
        "utf8mb4|latin1|utf8mb4_unicode_ci",
        "latin1|latin1|latin1_swedish_ci",
    ] {
        others_come_by().await;
        assert_eq!(text(&mut one, settings).await, expected);
        run(&mut one, "SET NAMES latin1").await;
    }
    run(&mut one, "SET character_set_results = NULL").await;
    others_come_by().await;
    assert_eq!(text(&mut one, settings).await, "latin1|NULL|latin1_swedish_ci");
    one.reset().await.expect("a reset");
    let address = cluster().await.a().address();
    let opts = client(address, APP.user, APP.password, Some("test_session"));
    let mut direct = Conn::new(opts).await.expect("a login");
    run(&mut direct, set).await;
    direct.reset().await.expect("a reset");
    assert_eq!(text(&mut one, settings).await, text(&mut direct, settings).await);
}

/// In a login packet: behind its header, the capabilities and the largest packet.
const COLLATION_AT: usize = 12;

/// MySQL's library logs in with a collation that MariaDB 10.11 does not know: by number that is no error, by name it was one
/// where the session came to a connection that others had used.
#[tokio::test]
async fn a_login_with_a_collation_that_the_server_lacks_gets_its_default() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let mut answers = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let opts = client(address, APP.user, APP.password, Some("test_session"));
        Conn::new(opts).await.expect("MySQL remembers the password then");
        others_come_by().await;
        for collation in [255, 45, 224] {
            let mut raw = Raw::connect(address).await;
            let mut login = raw.login("test_session").await;
            assert_eq!(std::mem::replace(&mut login[COLLATION_AT], collation), 45);
            raw.send(&login).await;
            while raw.packet().await.is_some_and(|(_, payload)| payload[0] != 0) {}
            for _ in 0..2 {
                answers.push(raw.value("SELECT @@collation_connection").await);
                others_come_by().await;
            }
        }
    }
    let (direct, proxied) = answers.split_at(answers.len() / 2);
    assert_eq!(direct, proxied);
}

/// MariaDB 11.8 looks up what a character set without a collation gets, in a list that a session may have of its own; a collation
/// that was named is not looked up. On each connection all is as on the server, also the collation of parameters.
#[tokio::test]
async fn a_character_set_has_the_collation_that_the_server_gives_it() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let own = "SET character_set_collations = 'utf8mb4=utf8mb4_bin'";
    let sessions: [&[&str]; 2] = [
        &[
            "DO 0",
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
            "SET NAMES utf8mb4",
            "SET time_zone = '+00:00', NAMES utf8mb4",
            "SET NAMES latin1",
            own,
            "SET NAMES utf8mb4",
            "SET character_set_collations = DEFAULT",
            "SET NAMES utf8mb4",
        ],
        &[own, "SET NAMES utf8mb3", "SET NAMES utf8mb4"],
    ];
    let mut seen = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let mut answers = Vec::new();
        for statements in sessions {
            let opts = client(address, APP.user, APP.password, Some("test_session"));
            let mut conn = Conn::new(opts).await.expect("a login");
            for statement in statements {
                // 10.11 and MySQL have no such list.
                let refused = conn.query_drop(*statement).await.err();
                for _ in 0..2 {
                    others_come_by().await;
                    let found = conn.exec_first("SELECT @@collation_connection, COLLATION(?)", ("x",));
                    let found: Option<(String, String)> = found.await.expect("collations");
                    answers.push((*statement, refused.as_ref().map(ToString::to_string), found));
                }
            }
        }
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
}

/// go-sql-driver's TestRejectReadOnly left a pooled connection read-only, and whoever came next could not write.
#[tokio::test]
async fn a_session_that_only_reads_leaves_others_writing() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    run(&mut one, "SET SESSION TRANSACTION READ ONLY").await;
    for _ in 0..4 {
        run(&mut two, "INSERT INTO t (v) VALUES ('written')").await;
        assert_eq!(code(&mut one, "INSERT INTO t (v) VALUES ('refused')").await, 1792);
    }
    run(&mut one, "SET SESSION TRANSACTION READ WRITE").await;
    run(&mut one, "INSERT INTO t (v) VALUES ('written')").await;
    run(&mut one, "SET SESSION TRANSACTION READ ONLY").await;
    one.disconnect().await.expect("an end");
    for _ in 0..4 {
        run(&mut two, "INSERT INTO t (v) VALUES ('written')").await;
        run(&mut session().await, "INSERT INTO t (v) VALUES ('written')").await;
    }
}

/// What LOAD DATA reads by: a connection that was reset had the server's collation in place of the schema's, one that is
/// older than ALTER DATABASE the one before (DBD::MariaDB's tests).
#[tokio::test]
async fn who_logs_in_finds_the_collation_of_the_schema() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let collation = "utf8mb4_bin";
    let mut one = cluster.client_in("test_other").await;
    run(
        &mut one,
        &format!("ALTER DATABASE test_other COLLATE {collation}"),
    )
    .await;
    cluster.wait_replicated().await;
    for _ in 0..4 {
        let mut two = cluster.client_in("test_other").await;
        assert_eq!(text(&mut two, "SELECT @@collation_database").await, collation);
        // Whoever takes its connections over has them reset.
        run(&mut two, "SET time_zone = '+03:00'").await;
        text(&mut two, "SELECT @@time_zone").await;
        two.disconnect().await.expect("an end");
    }
}

/// The pools' connections are older than the new value and the new right: a login to the server itself would have both.
#[tokio::test]
async fn who_logs_in_after_set_global_and_grant_finds_what_they_changed() {
    let cluster = cluster().await;
    let boss = client(cluster.address(), "boss", "boss-secret", None);
    let mut boss = Conn::new(boss).await.expect("a login");
    // The server's number has it asked where SET GLOBAL went: the other master keeps its own values.
    let question = "SELECT @@group_concat_max_len, @@server_id";
    for value in ["54321", "65432"] {
        run(&mut boss, &format!("SET GLOBAL group_concat_max_len = {value}")).await;
        assert_eq!(text(&mut session().await, question).await, format!("{value}|1"));
    }
    run(&mut boss, "SET GLOBAL group_concat_max_len = DEFAULT").await;
    // Takes RELOAD on each of the servers; FLUSH STATUS on MariaDB 11.8 no more.
    let flush = "FLUSH USER_RESOURCES";
    // ER_SPECIFIC_ACCESS_DENIED_ERROR
    assert_eq!(code(&mut session().await, flush).await, 1227);
    run(&mut boss, "GRANT RELOAD ON *.* TO app@'%'").await;
    run(&mut session().await, flush).await;
    run(&mut boss, "REVOKE RELOAD ON *.* FROM app@'%'").await;
    assert_eq!(code(&mut session().await, flush).await, 1227);
}

/// The servers report nothing of `SET @@name` without a scope.
#[tokio::test]
async fn settings_that_no_server_reports_follow_too() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "SET @@autocommit = OFF, @@time_zone = '+02:00'").await;
    assert_eq!(code(&mut one, "SET @@no_such_variable = 1").await, 1193);
    others_come_by().await;
    let mut two = session().await;
    let settings = "SELECT @@autocommit, @@time_zone";
    assert_eq!(text(&mut two, settings).await, "1|SYSTEM");
    assert_eq!(text(&mut one, settings).await, "0|+02:00");
}

#[tokio::test]
async fn a_session_without_a_schema_has_none() {
    let _turn = TURN.lock().await;
    let mut with = session().await;
    run(&mut with, "SELECT COUNT(*) FROM t").await;
    let mut without = cluster().await.client().await;
    assert_eq!(text(&mut without, "SELECT DATABASE()").await, "NULL");
    assert_eq!(code(&mut without, "SELECT * FROM t").await, 1046);
    assert_eq!(text(&mut with, "SELECT DATABASE()").await, "test_session");
}

#[tokio::test]
async fn user_variables_stay_with_their_session() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "SET @mine = 'one'").await;
    others_come_by().await;
    let mut two = session().await;
    assert_eq!(text(&mut two, "SELECT @mine").await, "NULL");
    drop(two);
    assert_eq!(text(&mut one, "SELECT @mine").await, "one");
    one.disconnect().await.expect("a goodbye");
    let mut three = session().await;
    assert_eq!(text(&mut three, "SELECT @mine").await, "NULL");
}

#[tokio::test]
async fn temporary_tables_stay_with_their_session() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "CREATE TEMPORARY TABLE mine (x INT)").await;
    run(&mut one, "INSERT INTO mine VALUES (1), (2)").await;
    others_come_by().await;
    let mut two = session().await;
    assert_eq!(code(&mut two, "SELECT * FROM mine").await, 1146);
    drop(two);
    assert_eq!(text(&mut one, "SELECT COUNT(*) FROM mine").await, "2");
}

#[tokio::test]
async fn what_a_procedure_leaves_behind_pins_too() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "CALL leaves_a_variable()").await;
    others_come_by().await;
    assert_eq!(text(&mut one, "SELECT @left_behind").await, "5");
    drop(one);
    let mut two = session().await;
    run(&mut two, "CALL leaves_a_table()").await;
    others_come_by().await;
    assert_eq!(text(&mut two, "SELECT COUNT(*) FROM left_behind").await, "0");
    let mut three = session().await;
    assert_eq!(text(&mut three, "SELECT @left_behind").await, "NULL");
    assert_eq!(code(&mut three, "SELECT COUNT(*) FROM left_behind").await, 1146);
}

#[tokio::test]
async fn a_procedure_that_fails_inside_its_transaction_does_not_lose_it() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    assert_eq!(code(&mut one, "CALL fails_in_a_transaction()").await, 1146);
    others_come_by().await;
    assert_eq!(
        text(&mut one, "SELECT COUNT(*) FROM t WHERE v = 'lost'").await,
        "1",
        "still inside"
    );
    run(&mut one, "ROLLBACK").await;
    assert_eq!(
        text(&mut one, "SELECT COUNT(*) FROM t WHERE v = 'lost'").await,
        "0"
    );
}

#[tokio::test]
async fn last_insert_id_is_the_sessions_own() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    assert_eq!(text(&mut one, "SELECT LAST_INSERT_ID()").await, "0");
    run(&mut one, "INSERT INTO t (v) VALUES ('a'), ('b'), ('c')").await;
    let first = one.last_insert_id().expect("an id");
    assert_eq!(text(&mut two, "SELECT LAST_INSERT_ID()").await, "0");
    others_come_by().await;
    assert_eq!(text(&mut one, "SELECT LAST_INSERT_ID()").await, first.to_string());
    // An explicit id is reported in the OK packet and does not become LAST_INSERT_ID().
    run(&mut one, "INSERT INTO t (id, v) VALUES (1000000, 'explicit')").await;
    others_come_by().await;
    assert_eq!(text(&mut one, "SELECT LAST_INSERT_ID()").await, first.to_string());
    run(&mut one, "INSERT INTO t (v, n) VALUES ('ref', LAST_INSERT_ID())").await;
    assert_eq!(
        text(&mut one, &format!("SELECT v FROM t WHERE n = {first}")).await,
        "ref"
    );
    run(&mut two, "SELECT LAST_INSERT_ID(4711)").await;
    others_come_by().await;
    assert_eq!(text(&mut two, "SELECT LAST_INSERT_ID()").await, "4711");
}

/// Each commit's position is known, also behind what Tandem itself sets on a connection.
#[tokio::test]
async fn own_writes_are_read_while_replication_stands_still() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    cluster.wait_replicated().await;
    let mut standby = cluster.direct(cluster.b()).await;
    run(&mut standby, "FLUSH TABLES WITH READ LOCK").await;
    let (mut one, mut two) = (session().await, session().await);
    for _ in 0..4 {
        run(&mut one, "INSERT INTO t (v) VALUES ('counted')").await;
        for _ in 0..4 {
            run(&mut two, "INSERT INTO t (v) VALUES ('between')").await;
        }
        run(&mut one, "SELECT LAST_INSERT_ID()").await;
        run(&mut one, "DELETE FROM test_other.t WHERE id = 5").await;
        run(&mut one, "INSERT INTO test_other.t VALUES (5, 'mine')").await;
        // Often enough that both servers would get their turn.
        for _ in 0..6 {
            let read = "SELECT v FROM test_other.t WHERE id = 5";
            assert_eq!(text(&mut one, read).await, "mine");
        }
    }
    run(&mut standby, "UNLOCK TABLES").await;
    cluster.wait_replicated().await;
}

#[tokio::test]
async fn diagnostics_are_the_sessions_own() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    assert_eq!(code(&mut one, "SELECT * FROM no_such_table").await, 1146);
    assert_eq!(text(&mut two, "SHOW WARNINGS").await, "nothing");
    assert!(text(&mut one, "SHOW WARNINGS").await.starts_with("Error|1146"));
    run(
        &mut two,
        "SELECT SQL_CALC_FOUND_ROWS table_name FROM information_schema.tables LIMIT 1",
    )
    .await;
    run(&mut one, "SELECT 1").await;
    let found: u64 = text(&mut two, "SELECT FOUND_ROWS()")
        .await
        .parse()
        .expect("a number");
    assert!(found > 10, "{found}");
    run(&mut one, "INSERT INTO t (v) VALUES ('x'), ('y')").await;
    assert_eq!(text(&mut one, "SELECT ROW_COUNT()").await, "2");
}

/// What the statement before left is answered wherever the question runs, under the name and type that the server gives.
#[tokio::test]
async fn questions_are_answered_on_any_connection() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(
        &mut one,
        "CREATE TABLE asked (id INT PRIMARY KEY, n BIGINT, m BIGINT)",
    )
    .await;
    cluster().await.wait_replicated().await;
    for (statements, question, expected) in [
        (
            &["INSERT INTO asked (id) VALUES (1), (2), (3)"][..],
            "SELECT ROW_COUNT()",
            "3",
        ),
        (&["SELECT id FROM asked"], "SELECT ROW_COUNT() + 1", "0"),
        (
            &[
                "SELECT id FROM asked LIMIT 2",
                "UPDATE asked SET n = 0 WHERE id = 1",
            ],
            "SELECT ROW_COUNT()",
            "1",
        ),
        (
            &[
                "SELECT id FROM asked LIMIT 2",
                "INSERT INTO asked (id) VALUES (4)",
            ],
            "SELECT FOUND_ROWS()",
            "2",
        ),
        (
            &["SELECT id FROM asked LIMIT 2, 1"],
            "SELECT FOUND_ROWS() AS n",
            "3",
        ),
        (
            &["SELECT id FROM asked WHERE id < 0"],
            "SELECT FOUND_ROWS(), ROW_COUNT()",
            "0|-1",
        ),
        (
            &[
                "SELECT SQL_CALC_FOUND_ROWS id FROM asked LIMIT 1",
                "REPLACE INTO asked (id) VALUES (5)",
            ],
            "SELECT FOUND_ROWS()",
            "4",
        ),
        (
            &[
                "UPDATE asked SET n = 7",
                "INSERT INTO asked VALUES (6, ROW_COUNT(), FOUND_ROWS() * 0)",
            ],
            "SELECT n, m FROM asked WHERE id = 6",
            "5|0",
        ),
        (
            &["DELETE FROM asked WHERE id > 3"],
            "SELECT (SELECT row_count( )) `n`, 'ROW_COUNT()'",
            "3|ROW_COUNT()",
        ),
    ] {
        for statement in statements {
            run(&mut one, statement).await;
            others_come_by().await;
        }
        assert_eq!(
            text(&mut one, question).await,
            expected,
            "{question} after {statements:?}"
        );
    }
    let prepared = one
        .prep("SELECT ROW_COUNT(), FOUND_ROWS()")
        .await
        .expect("a statement");
    for limit in 1..3 {
        run(
            &mut one,
            &format!("SELECT id FROM asked ORDER BY id LIMIT {limit}"),
        )
        .await;
        run(
            &mut one,
            &format!("UPDATE asked SET m = 900 + {limit} ORDER BY id LIMIT {limit}"),
        )
        .await;
        others_come_by().await;
        let counts: Option<(i64, i64)> = one.exec_first(&prepared, ()).await.expect("an answer");
        assert_eq!(counts, Some((limit, limit)));
    }
    run(&mut one, "DROP TABLE asked").await;
}

/// A session that sleeps gives its connection back and still knows the warnings of its last statement.
#[tokio::test]
async fn warnings_are_told_after_the_connection_has_gone_to_others() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let mut one = session().await;
    run(
        &mut one,
        "INSERT IGNORE INTO test_other.t VALUES (1, 'x'), (1, REPEAT('x', 30)), (1, 'y')",
    )
    .await;
    let mut direct = cluster.direct(cluster.a()).await;
    run(
        &mut direct,
        "INSERT IGNORE INTO test_other.t VALUES (1, 'x'), (1, REPEAT('x', 30)), (1, 'y')",
    )
    .await;
    let expected = all(&mut direct, "SHOW WARNINGS").await;
    assert!(expected.len() >= 3, "{expected:?}");
    cluster.wait_nothing_leased().await;
    for _ in 0..2 {
        others_come_by().await;
        assert_eq!(all(&mut one, "SHOW WARNINGS").await, expected);
        assert_eq!(
            text(&mut one, "SHOW COUNT(*) WARNINGS").await,
            expected.len().to_string()
        );
        assert_eq!(text(&mut one, "SHOW ERRORS").await, "nothing");
    }
    assert_eq!(code(&mut one, "SELECT * FROM no_such_table").await, 1146);
    cluster.wait_nothing_leased().await;
    others_come_by().await;
    assert!(text(&mut one, "SHOW ERRORS").await.starts_with("Error|1146"));
    run(&mut one, "INSERT INTO t (v) VALUES ('no warning')").await;
    others_come_by().await;
    assert_eq!(text(&mut one, "SHOW WARNINGS").await, "nothing");
    assert_eq!(text(&mut one, "SELECT @@warning_count").await, "0");
}

async fn all(conn: &mut Conn, query: &str) -> Vec<(String, u16, String)> {
    conn.query(query)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// `CONNECTION_ID()` is the number of the greeting, which `KILL` takes, on whichever connection it is asked.
#[tokio::test]
async fn a_session_has_one_number() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let id = one.id().to_string();
    let prepared = one
        .prep("SELECT CONNECTION_ID(), @@pseudo_thread_id")
        .await
        .expect("a statement");
    for _ in 0..3 {
        assert_eq!(text(&mut one, "SELECT CONNECTION_ID()").await, id);
        assert_eq!(
            text(&mut one, "SELECT @@pseudo_thread_id, connection_id( ) AS me").await,
            format!("{id}|{id}")
        );
        let numbers: Option<(u32, u32)> = one.exec_first(&prepared, ()).await.expect("an answer");
        assert_eq!(numbers, Some((one.id(), one.id())));
        others_come_by().await;
    }
    run(
        &mut one,
        "INSERT INTO t (v, n) VALUES ('me', 50000000 + CONNECTION_ID())",
    )
    .await;
    assert_eq!(
        text(&mut one, "SELECT n - 50000000 FROM t WHERE v = 'me'").await,
        id
    );
    // The server tells who holds a lock by its own numbers.
    assert_eq!(text(&mut one, "SELECT GET_LOCK('numbered', 1)").await, "1");
    assert_eq!(
        text(&mut one, "SELECT IS_USED_LOCK('numbered') = CONNECTION_ID()").await,
        "1"
    );
    let mut two = session().await;
    assert_eq!(
        text(&mut two, "SELECT IS_USED_LOCK('numbered') = CONNECTION_ID()").await,
        "0"
    );
}

/// Where connections are told of by the server's own numbers, a session's number means the connection that serves it.
#[tokio::test]
async fn a_session_is_found_in_the_process_list() {
    let _turn = TURN.lock().await;
    let (mut one, mut two) = (session().await, session().await);
    // What makes it the active master's business which connection that is.
    run(&mut two, "BEGIN").await;
    run(&mut two, "INSERT INTO t (v, n) VALUES ('listed', 1)").await;
    let list = "information_schema.processlist";
    for (wanted, question) in [
        (
            "1",
            format!("SELECT COUNT(*) FROM {list} WHERE id IN (0, {})", two.id()),
        ),
        (
            "0",
            format!("SELECT COUNT(*) FROM {list} WHERE id = {}", 1_u32 << 30),
        ),
        ("0", format!("SELECT {} = 0", two.id())),
    ] {
        assert_eq!(text(&mut one, &question).await, wanted, "{question}");
    }
    run(&mut two, "ROLLBACK").await;
}

/// The replies to questions are those of the server, byte for byte, names and types included.
#[tokio::test]
async fn answers_look_like_the_servers() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    // With the flags of a connection that nobody else uses, so that strangers can be made for it.
    let mut direct = Raw::log_in(cluster.a().address(), "test_session").await;
    let mut through = Raw::log_in(cluster.address(), "test_session").await;
    let mut stranger = Raw::log_in(cluster.address(), "test_session").await;
    for question in [
        "SELECT ROW_COUNT()",
        "SELECT FOUND_ROWS()",
        "SELECT ROW_COUNT() + 1, (SELECT found_rows( )), CONCAT('x', ROW_COUNT()) /* y */ ",
        "SELECT * FROM (SELECT ROW_COUNT(), FOUND_ROWS()) AS x",
        "SELECT FOUND_ROWS( /* x */\n\t) UNION SELECT ROW_COUNT()",
        "SELECT CASE ROW_COUNT() WHEN 3 THEN 'three' END, ROW_COUNT() IS NULL, `v` FROM t LIMIT 0",
        "SELECT @@warning_count, @@session.error_count AS e",
        "SHOW COUNT(*) WARNINGS",
        "SELECT ROW_COUNT() FROM no_such_table",
        "SELECT LENGTH(CONNECTION_ID()) > 0, LENGTH(@@pseudo_thread_id) > 0",
    ] {
        let mut replies = Vec::new();
        for raw in [&mut direct, &mut through] {
            raw.ask(
                3,
                b"SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3",
                Expect::Query,
            )
            .await;
            raw.ask(3, b"UPDATE test_other.t SET v = 'x' WHERE id < 0", Expect::Query)
                .await;
            for _ in 0..4 {
                stranger
                    .ask(3, b"SET max_heap_table_size = 100000", Expect::Query)
                    .await;
                stranger
                    .ask(3, b"SELECT 1 UNION ALL SELECT 2", Expect::Query)
                    .await;
                stranger.ask(0x1f, b"", Expect::Single).await;
            }
            replies.push(raw.ask(3, question.as_bytes(), Expect::Query).await);
        }
        assert_eq!(replies[0], replies[1], "{question}");
    }
}

#[tokio::test]
async fn locks_stay_with_their_session_and_end_with_it() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    assert_eq!(text(&mut one, "SELECT GET_LOCK('mine', 0)").await, "1");
    assert_eq!(text(&mut two, "SELECT IS_FREE_LOCK('mine')").await, "0");
    one.disconnect().await.expect("a goodbye");
    let free = "SELECT GET_LOCK('mine', 5)";
    assert_eq!(text(&mut two, free).await, "1", "it ends with its session");
    two.disconnect().await.expect("a goodbye");
    let mut three = session().await;
    run(&mut three, "LOCK TABLES t WRITE").await;
    run(&mut three, "INSERT INTO t (v) VALUES ('locked')").await;
    run(&mut three, "UNLOCK TABLES").await;
    others_come_by().await;
    run(&mut three, "LOCK TABLES t WRITE").await;
    drop(three);
    let mut four = session().await;
    run(&mut four, "INSERT INTO t (v) VALUES ('free again')").await;
}

#[tokio::test]
async fn transactions_hold_and_end() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "SET autocommit = 0").await;
    run(&mut one, "INSERT INTO t (v) VALUES ('in a transaction')").await;
    let mut two = session().await;
    let count = "SELECT COUNT(*) FROM t WHERE v = 'in a transaction'";
    assert_eq!(text(&mut two, count).await, "0");
    assert_eq!(text(&mut one, count).await, "1");
    run(&mut one, "COMMIT").await;
    others_come_by().await;
    assert_eq!(text(&mut one, "SELECT @@autocommit").await, "0");
    assert_eq!(text(&mut two, "SELECT @@autocommit").await, "1");
    run(&mut one, "INSERT INTO t (v) VALUES ('never committed')").await;
    drop(one);
    let gone = "SELECT COUNT(*) FROM t WHERE v = 'never committed' FOR UPDATE";
    assert_eq!(text(&mut two, gone).await, "0");
    run(&mut two, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
    others_come_by().await;
    run(&mut two, "START TRANSACTION").await;
    run(&mut two, "SELECT COUNT(*) FROM t").await;
    run(&mut two, "COMMIT").await;
    let isolation = match engine().flavor() {
        Flavor::MariaDb => "SELECT @@tx_isolation",
        Flavor::MySql => "SELECT @@transaction_isolation",
    };
    assert_eq!(text(&mut two, isolation).await, "REPEATABLE-READ");
}

/// The error does not say that there is a transaction now, and the server has one, with locks.
#[tokio::test]
async fn what_failed_without_autocommit_holds_its_locks_as_long_as_the_session() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "CREATE TABLE failed (id INT PRIMARY KEY)").await;
    run(&mut one, "INSERT INTO failed VALUES (1)").await;
    run(&mut one, "SET lock_wait_timeout = 1").await;
    let mut two = session().await;
    run(&mut two, "SET autocommit = 0").await;
    let twice = two.query_drop("INSERT INTO failed VALUES (1)").await;
    assert!(format!("{twice:?}").contains("Duplicate entry"), "{twice:?}");
    others_come_by().await;
    let locked = one.query_drop("DROP TABLE failed").await;
    assert!(format!("{locked:?}").contains("Lock wait timeout"), "{locked:?}");
    drop(two);
    run(&mut one, "SET lock_wait_timeout = 20").await;
    run(&mut one, "DROP TABLE failed").await;
}

#[tokio::test]
async fn text_prepared_statements_and_handlers_pin() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "PREPARE s FROM 'SELECT ? + 1'").await;
    run(&mut one, "HANDLER t OPEN").await;
    others_come_by().await;
    run(&mut one, "HANDLER t READ FIRST").await;
    run(&mut one, "SET @x = 41").await;
    assert_eq!(text(&mut one, "EXECUTE s USING @x").await, "42");
    let mut two = session().await;
    assert_eq!(code(&mut two, "EXECUTE s").await, 1243);
}

#[tokio::test]
async fn prepared_statements_are_the_sessions_own_and_survive_a_change_of_connection() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let mut two = session().await;
    run(&mut two, "USE test_other").await;
    let query = "SELECT v FROM t WHERE id = ?";
    run(&mut one, "INSERT INTO t (id, v) VALUES (2000001, 'mine')").await;
    let (in_one, in_two) = (
        one.prep(query).await.expect("one"),
        two.prep(query).await.expect("two"),
    );
    for _ in 0..5 {
        let found: Option<String> = one.exec_first(&in_one, (2_000_001,)).await.expect("one");
        assert_eq!(found.as_deref(), Some("mine"));
        let found: Option<String> = two.exec_first(&in_two, (1,)).await.expect("two");
        assert_eq!(found.as_deref(), Some("other"));
        others_come_by().await;
        // Names are resolved when a statement is prepared, not when it is executed.
        run(&mut one, "USE test_other").await;
        let found: Option<String> = one.exec_first(&in_one, (2_000_001,)).await.expect("one");
        assert_eq!(found.as_deref(), Some("mine"));
        run(&mut one, "USE test_session").await;
    }
    one.close(in_one).await.expect("closed");
}

#[tokio::test]
async fn a_function_that_the_proxy_does_not_know_is_asked_on_the_active_master() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "INSERT INTO t (v) VALUES ('counted')").await;
    let direct = text(&mut one, "SELECT COUNT(*) FROM t").await;
    assert_eq!(text(&mut one, "SELECT counts()").await, direct);
}

#[tokio::test]
async fn reset_and_change_user_begin_anew() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    run(&mut one, "SET @mine = 1, sql_mode = 'ANSI', time_zone = '+05:00'").await;
    run(&mut one, "CREATE TEMPORARY TABLE mine (x INT)").await;
    let statement = one.prep("SELECT 1").await.expect("prepared");
    assert!(one.reset().await.expect("a reset"));
    let state = "SELECT @mine, @@time_zone, DATABASE()";
    assert_eq!(text(&mut one, state).await, "NULL|SYSTEM|test_session");
    assert_eq!(code(&mut one, "SELECT * FROM mine").await, 1146);
    let gone = one.exec_first::<u8, _, _>(&statement, ()).await;
    assert!(matches!(gone, Err(mysql_async::Error::Server(error)) if error.code == 1243));
    run(&mut one, "SET @mine = 2").await;
    let options = mysql_async::ChangeUserOpts::default();
    one.change_user(options).await.expect("a change of user");
    assert_eq!(text(&mut one, "SELECT @mine, @@time_zone").await, "NULL|SYSTEM");
}

#[tokio::test]
async fn preparing_again_inside_a_transaction_does_not_disturb_it() {
    let _turn = TURN.lock().await;
    let mut one = session().await;
    let statement = one
        .prep("SELECT COUNT(*) FROM t WHERE v = ?")
        .await
        .expect("prepared");
    // The settings are others than when it was prepared, and the connection is another.
    run(
        &mut one,
        "SET sql_mode = 'ANSI_QUOTES', group_concat_max_len = 99",
    )
    .await;
    let mut other = session().await;
    run(&mut other, "SET @pins = 1").await;
    others_come_by().await;
    run(&mut one, "USE test_other").await;
    run(&mut one, "START TRANSACTION").await;
    run(
        &mut one,
        "INSERT INTO test_session.t (v) VALUES ('prepared inside')",
    )
    .await;
    let count: Option<u32> = one
        .exec_first(&statement, ("prepared inside",))
        .await
        .expect("a count");
    assert_eq!(count, Some(1));
    assert_eq!(
        text(&mut one, "SELECT DATABASE(), @@group_concat_max_len").await,
        "test_other|99"
    );
    run(&mut one, "ROLLBACK").await;
    let count: Option<u32> = one
        .exec_first(&statement, ("prepared inside",))
        .await
        .expect("a count");
    assert_eq!(count, Some(0), "it was inside the transaction");
}

/// CLIENT_IGNORE_SPACE puts a mode into `sql_mode` at the login, and a reset of the connection takes it out.
#[tokio::test]
async fn ignore_space_outlives_the_session_before() {
    let _turn = TURN.lock().await;
    let address = cluster().await.address();
    let flags = CAPABILITIES | Capabilities::IGNORE_SPACE;
    for _ in 0..3 {
        let mut raw = Raw::log_in_with(address, &APP, "test_session", flags).await;
        assert_eq!(raw.value("SELECT COUNT (*) FROM (SELECT 1) AS one").await, "1");
        // What the next session must not find: its connection is reset.
        raw.run("SET SESSION group_concat_max_len = 1000").await;
        assert_eq!(raw.value("SELECT COUNT (*) FROM (SELECT 1) AS one").await, "1");
        raw.finish().await;
    }
}

/// The servers don't report what a procedure sets without a scope: whoever comes next must not find it.
#[tokio::test]
async fn what_a_procedure_sets_unreported_is_left_to_nobody() {
    let _turn = TURN.lock().await;
    for _ in 0..2 {
        let mut conn = session().await;
        conn.query_drop("CALL leaves_a_setting()").await.expect("called");
        conn.disconnect().await.expect("ended");
        // In a transaction: on the active master, where the procedure ran.
        let mut next = session().await;
        next.query_drop("START TRANSACTION").await.expect("begun");
        let length = text(&mut next, "SELECT @@group_concat_max_len < 100").await;
        assert_eq!(length, "0");
        next.query_drop("ROLLBACK").await.expect("ended");
    }
}

/// A connection that had to be reset for a session is that session's own: nothing that it leaves there is lost by a
/// question that would make another session's connection be reset.
#[tokio::test]
async fn a_connection_that_was_reset_for_a_session_is_not_reset_again() {
    let _turn = TURN.lock().await;
    for _ in 0..2 {
        let mut before = session().await;
        run(&mut before, "SET SESSION group_concat_max_len = 1000").await;
        run(&mut before, "INSERT INTO t (v) VALUES ('before')").await;
        before.disconnect().await.expect("ended");
        let mut one = session().await;
        run(&mut one, "CREATE TEMPORARY TABLE own (x INT)").await;
        assert_eq!(text(&mut one, "SELECT ROW_COUNT()").await, "0");
        assert_eq!(text(&mut one, "SELECT COUNT(*) FROM own").await, "0");
    }
}

/// Behind a `FLUSH STATUS`, `SHOW STATUS` counts what the session has done, all of it.
#[tokio::test]
async fn counters_that_were_begun_anew_are_the_sessions_own() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let boss = client(cluster.address(), "boss", "boss-secret", Some("test_session"));
    let mut counted = Vec::new();
    for mut conn in [
        Conn::new(boss).await.expect("a session"),
        cluster.direct(cluster.a()).await,
    ] {
        conn.query_drop("FLUSH STATUS").await.expect("counters at zero");
        for id in 0..8 {
            let question = format!("SELECT v FROM test_other.t WHERE id = {id}");
            conn.query_drop(&question).await.expect(&question);
        }
        let counters = conn.query("SHOW STATUS LIKE 'Handler_read%'").await;
        let counters: Vec<(String, u64)> = counters.expect("counters");
        counted.push(counters);
        conn.disconnect().await.expect("it ends");
    }
    assert_eq!(counted[0], counted[1]);
    assert!(counted[0].iter().any(|(_, count)| *count >= 7), "{counted:?}");
}

/// What `SET CHARACTER SET` makes of the collation depends on the schema: a text that another session has sent in another one
/// tells nothing.
#[tokio::test]
async fn the_collation_of_set_character_set_is_the_schemas() {
    let cluster = cluster().await;
    let mut root = cluster.direct(cluster.a()).await;
    let schemas = [
        ("test_danish", "utf8mb4_danish_ci"),
        ("test_binary", "utf8mb4_bin"),
    ];
    for (schema, collation) in schemas {
        for statement in [
            format!("DROP DATABASE IF EXISTS {schema}"),
            format!("CREATE DATABASE {schema} COLLATE {collation}"),
            format!("GRANT ALL ON {schema}.* TO '{}'@'%'", APP.user),
        ] {
            root.query_drop(&statement).await.expect(&statement);
        }
    }
    cluster.wait_replicated().await;
    let mut sessions = Vec::new();
    for (schema, collation) in schemas {
        let mut conn = cluster.client_in(schema).await;
        conn.query_drop("SET CHARACTER SET utf8mb4").await.expect("set");
        sessions.push((conn, collation));
    }
    // By turns, so that they find each other's connections.
    for _ in 0..4 {
        for (conn, collation) in &mut sessions {
            let found: Option<String> = conn
                .query_first("SELECT @@collation_connection")
                .await
                .expect("a collation");
            assert_eq!(found.as_deref(), Some(*collation));
        }
    }
}
