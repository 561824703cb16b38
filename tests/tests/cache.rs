//! Rules with `cache` on real servers: who is answered from the cache, what gives a reply up, and that nobody can tell it from a
//! server's answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tandem::config::Config;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;
use tandem_tests::logins::code;
use tandem_tests::pair::{APP, MONITOR};
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Cluster, Flavor, Setup, engine, numbers};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// What one test defines is not known to the others for a moment, and their replies would be given up for that.
static TURN: Mutex<()> = Mutex::const_new(());

const SCHEMA: &str = "test_cache";

const RULES: &str = r#"
[cache]
reply_bytes = "64KiB"

[[rule]]
name = "short"
hint = "short"
cache = "1ms"

[[rule]]
name = "few"
hint = "few"
max_rows = 2
cache = "1h"

[[rule]]
name = "old"
hint = "old"
consistency = "eventual"
target = "standby"
cache = "1h"

[[rule]]
name = "all"
cache = "1h"
"#;

/// One worker, so that there is one cache.
async fn cluster() -> (&'static Cluster, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    let start = || async {
        let cluster = start_cluster(|config| of_workers(config, 1)).await;
        cluster.create_database("test_cache_2").await;
        let mut conn = cluster.client_in(SCHEMA).await;
        for statement in [
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, at DATETIME)",
            "INSERT INTO t VALUES (1, 1, '2020-01-01'), (2, 2, '2020-01-01'), (3, 3, '2020-01-01')",
            "CREATE TABLE u (id INT PRIMARY KEY, n INT)",
            "INSERT INTO u VALUES (1, 1)",
            "CREATE TABLE test_cache_2.t (id INT PRIMARY KEY, n INT)",
            "INSERT INTO test_cache_2.t VALUES (1, 100)",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        cluster.wait_replicated().await;
        cluster
    };
    (CLUSTER.get_or_init(start).await, turn)
}

fn of_workers(config: &mut Config, workers: usize) {
    config.listener.workers = workers;
    // Where the standby can't keep up on a busy machine, that is no matter here.
    config.monitor.max_lag = Duration::from_secs(3600);
}

/// With the rules, and a schema with what the monitor needs to see which tables are behind its views.
async fn start_cluster(change: fn(&mut Config)) -> Cluster {
    let mut setup = Setup {
        toml: RULES.to_owned(),
        change,
        ..Setup::default()
    };
    // The application's account makes triggers.
    setup.pair.extra = vec!["log_bin_trust_function_creators=1".into()];
    let cluster = Cluster::start(setup).await;
    cluster.create_database(SCHEMA).await;
    let grant = format!("GRANT SELECT ON {SCHEMA}.* TO {}@'%'", MONITOR.user);
    run(&mut cluster.direct(cluster.a()).await, &[&grant]).await;
    cluster.wait_replicated().await;
    cluster
}

/// Why the session's last statement went where it went.
async fn reason(cluster: &Cluster, conn: &Conn) -> String {
    let text = format!("SELECT last_reason FROM sessions WHERE id = {}", conn.id());
    let found: Option<String> = cluster.admin().await.query_first(text).await.expect("sessions");
    found.expect("the session")
}

async fn rows(conn: &mut Conn, text: &str) -> Vec<Vec<Value>> {
    let rows: Vec<Row> = conn.query(text).await.expect(text);
    rows.into_iter().map(Row::unwrap).collect()
}

/// The answer, and whether it came from the cache.
async fn ask(cluster: &Cluster, conn: &mut Conn, text: &str) -> (Vec<Vec<Value>>, bool) {
    let rows = rows(conn, text).await;
    (rows, reason(cluster, conn).await == "cache")
}

/// Asks until the answer comes from the cache: what was defined before has to be read first.
async fn warm(cluster: &Cluster, conn: &mut Conn, text: &str) -> Vec<Vec<Value>> {
    for _ in 0..500 {
        if let (rows, true) = ask(cluster, conn, text).await {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = format!("EXPLAIN ROUTE IN {SCHEMA} {text}");
    let told: Vec<(String, String)> = cluster.admin().await.query(asked).await.expect("told");
    panic!("never from the cache: {text}: {told:#?}");
}

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.expect(statement);
    }
}

/// By whatever means a table is changed, by the session itself or by another, the next read after its OK has it.
#[tokio::test]
async fn nobody_reads_what_was_written_over() {
    let (cluster, _turn) = cluster().await;
    let mut own = cluster.client_in(SCHEMA).await;
    let mut other = cluster.client_in(SCHEMA).await;
    run(
        &mut own,
        &[
            "CREATE TABLE w (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
            "CREATE TABLE source (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
            "CREATE TRIGGER fires AFTER INSERT ON source FOR EACH ROW INSERT INTO w (n) VALUES (NEW.n)",
            "CREATE VIEW over_w AS SELECT id, n FROM w",
            "CREATE TABLE parent (id INT PRIMARY KEY)",
            "CREATE TABLE child (id INT PRIMARY KEY, parent INT, \
             FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)",
            "INSERT INTO parent VALUES (1), (2)",
            "INSERT INTO child VALUES (1, 1), (2, 2)",
            "CREATE PROCEDURE adds() INSERT INTO w (n) VALUES (77)",
            "CREATE TABLE spare LIKE w",
        ],
    )
    .await;
    let count = "SELECT COUNT(*), COALESCE(SUM(n), 0) FROM w";
    let by_view = "SELECT COUNT(*), COALESCE(SUM(n), 0) FROM over_w";
    let cascaded = "SELECT COUNT(*), 0 FROM child";
    for (read, write) in [
        (count, "INSERT INTO w (n) VALUES (1)"),
        (count, "INSERT INTO over_w (n) VALUES (2)"),
        (by_view, "UPDATE w SET n = n + 1"),
        (by_view, "REPLACE INTO w (id, n) VALUES (1, 9)"),
        (count, "INSERT INTO source (n) VALUES (3)"),
        (by_view, "INSERT INTO source (n) VALUES (4)"),
        (cascaded, "DELETE FROM parent WHERE id = 1"),
        (count, "DELETE w FROM w JOIN t ON w.id = t.id WHERE t.id = 1"),
        (count, "CALL adds()"),
        (count, "DO 1; INSERT INTO w (n) VALUES (5)"),
        (count, "BEGIN; INSERT INTO w (n) VALUES (6); COMMIT"),
        (count, "ALTER TABLE w ADD COLUMN m INT DEFAULT 3, MODIFY n BIGINT"),
        (by_view, "ALTER VIEW over_w AS SELECT id, 2 * n AS n FROM w"),
        (count, "TRUNCATE TABLE w"),
        (count, "INSERT INTO w (n) SELECT n FROM t"),
        (count, "RENAME TABLE w TO w_old, spare TO w"),
        (count, "DROP TABLE w; CREATE TABLE w AS SELECT 1 AS id, 42 AS n"),
    ] {
        for by_itself in [true, false] {
            // What can't be done twice is done by another session only.
            let is_ddl = ["ALTER", "TRUNC", "RENAM", "DROP "].contains(&&write[..5]);
            if is_ddl && by_itself {
                continue;
            }
            warm(cluster, &mut own, read).await;
            let writer = if by_itself { &mut own } else { &mut other };
            writer.query_drop(write).await.expect(write);
            let seen = rows(&mut own, read).await;
            let truth = rows(&mut cluster.direct(cluster.a()).await, &in_schema(read)).await;
            assert_eq!(seen, truth, "{read} after {write}, by itself: {by_itself}");
        }
    }
    for (read, write) in [(count, "INSERT INTO w (id, n) VALUES (?, ?)")] {
        warm(cluster, &mut own, read).await;
        // Prepared here, and executed where the same name is another table.
        let statement = other.prep(write).await.expect("prepared");
        run(&mut other, &["USE test_cache_2"]).await;
        other.exec_drop(&statement, (1000, 5)).await.expect("written");
        let seen = rows(&mut own, read).await;
        let truth = rows(&mut cluster.direct(cluster.a()).await, &in_schema(read)).await;
        assert_eq!(seen, truth, "a prepared write of another schema");
    }
}

/// The same read by its qualified name, for who has no default schema.
fn in_schema(read: &str) -> String {
    read.replace("FROM ", &format!("FROM {SCHEMA}."))
}

const COUNTED: usize = 4;
const SECONDS: u64 = 5;

/// Four tables are counted up by all sorts of writes, and read all the time by sessions of two workers: whoever reads after a count was
/// acknowledged reads that, or a later one, though most reads are answered from the cache. The standby is held up meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_up_never_goes_back() {
    let _turn = TURN.lock().await;
    let cluster = start_cluster(|config| of_workers(config, 2)).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for table in 0..COUNTED {
        let tables = [
            format!("CREATE TABLE c{table} (id INT PRIMARY KEY, n BIGINT)"),
            format!("INSERT INTO c{table} VALUES (1, 0)"),
            format!("CREATE TABLE s{table} (n BIGINT)"),
            format!(
                "CREATE TRIGGER g{table} AFTER INSERT ON s{table} FOR EACH ROW UPDATE c{table} SET n = NEW.n"
            ),
            format!("CREATE VIEW v{table} AS SELECT id, n FROM c{table}"),
        ];
        run(&mut conn, &tables.each_ref().map(|text| text.as_str())).await;
    }
    cluster.wait_replicated().await;
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let counts: Arc<[AtomicI64; COUNTED]> = Arc::default();
    let mut tasks = Vec::new();
    for table in 0..COUNTED {
        let (counts, opts) = (Arc::clone(&counts), cluster.opts(Some(SCHEMA)));
        tasks.push(tokio::spawn(async move {
            let mut conn = Conn::new(opts).await.expect("a session");
            let prepared = conn
                .prep(format!("UPDATE c{table} SET n = ?"))
                .await
                .expect("prepared");
            let mut pace = tokio::time::interval(Duration::from_millis(60 + 20 * table as u64));
            for n in 1.. {
                pace.tick().await;
                if Instant::now() > until {
                    break;
                }
                match n % 32 {
                    0 | 4 | 8 | 12 => conn.exec_drop(&prepared, (n,)).await,
                    // What these reach is not known: for a moment nothing is kept.
                    1 => {
                        conn.query_drop(format!("BEGIN; UPDATE c{table} SET n = {n}; COMMIT"))
                            .await
                    }
                    2 => {
                        conn.query_drop(format!("INSERT INTO s{table} VALUES ({n})"))
                            .await
                    }
                    3 | 7 | 11 | 15 => {
                        run(&mut conn, &["BEGIN", &format!("UPDATE v{table} SET n = {n}")]).await;
                        conn.query_drop("COMMIT").await
                    }
                    _ => conn.query_drop(format!("UPDATE c{table} SET n = {n}")).await,
                }
                .expect("a write");
                counts[table].store(n, Ordering::SeqCst);
            }
        }));
    }
    for reader in 0..2 * COUNTED {
        let (counts, opts) = (Arc::clone(&counts), cluster.opts(Some(SCHEMA)));
        tasks.push(tokio::spawn(async move {
            let mut conn = Conn::new(opts).await.expect("a session");
            let mut round = reader;
            while Instant::now() < until {
                round += 1;
                let table = round % COUNTED;
                let told = counts[table].load(Ordering::SeqCst);
                let found: Option<i64> = match round % 3 {
                    0 => {
                        conn.query_first(format!("SELECT n FROM c{table} WHERE id = 1"))
                            .await
                    }
                    1 => {
                        conn.exec_first(format!("SELECT n FROM c{table} WHERE id = ?"), (1,))
                            .await
                    }
                    _ => conn.query_first(format!("SELECT n FROM v{table}")).await,
                }
                .expect("a read");
                assert!(found >= Some(told), "{found:?} after {told} in c{table}");
            }
        }));
    }
    let mut standby = cluster.direct(cluster.b()).await;
    run(
        &mut standby,
        &["FLUSH TABLES test_cache.c0, test_cache.c1 WITH READ LOCK"],
    )
    .await;
    tokio::time::sleep(Duration::from_secs(SECONDS / 2)).await;
    run(&mut standby, &["UNLOCK TABLES"]).await;
    for task in tasks {
        task.await.expect("nobody read what was older");
    }
    let hits = cluster.counter("cache_hits").await;
    let written: i64 = counts.iter().map(|count| count.load(Ordering::SeqCst)).sum();
    println!("{written} writes; {}", cluster.reasons().await);
    assert!(
        hits > 50 && written > 20,
        "{hits} reads from the cache, {written} writes"
    );
    cluster.stop().await;
}

/// A transaction's writes give the reply up for all when they begin, not for its own session when they end; within it, it
/// reads what it has written.
#[tokio::test]
async fn a_transaction_reads_its_own_writes_and_others_wait_for_its_commit() {
    let (cluster, _turn) = cluster().await;
    let mut writer = cluster.client_in(SCHEMA).await;
    let mut reader = cluster.client_in(SCHEMA).await;
    let read = "SELECT n FROM u WHERE id = 1";
    let n = |rows: &[Vec<Value>]| format!("{rows:?}");
    let before = warm(cluster, &mut reader, read).await;
    run(&mut writer, &["BEGIN"]).await;
    let (inside, cached) = ask(cluster, &mut writer, read).await;
    assert!(!cached, "a transaction is its server's");
    assert_eq!(inside, before);
    run(&mut writer, &["UPDATE u SET n = n + 1"]).await;
    let (inside, cached) = ask(cluster, &mut writer, read).await;
    assert!(!cached && inside != before, "{}", n(&inside));
    for _ in 0..2 {
        let (outside, cached) = ask(cluster, &mut reader, read).await;
        assert_eq!(outside, before, "not committed");
        assert!(!cached, "it may be at any moment");
    }
    run(&mut writer, &["COMMIT"]).await;
    assert_eq!(rows(&mut reader, read).await, inside);
    assert_eq!(warm(cluster, &mut reader, read).await, inside);
    run(&mut writer, &["SET autocommit = 0"]).await;
    assert!(
        !ask(cluster, &mut writer, read).await.1,
        "a read begins a transaction"
    );
}

/// What a reply depends on: account, schema, settings, text, parameters, protocol.
#[tokio::test]
async fn a_reply_is_given_to_whoever_would_get_the_same_and_nobody_else() {
    let (cluster, _turn) = cluster().await;
    let read = "SELECT n, at FROM d".to_owned();
    let mut writer = cluster.client_in(SCHEMA).await;
    run(
        &mut writer,
        &[
            "CREATE TABLE d (n INT, at TIMESTAMP)",
            "SET time_zone = '+00:00'",
            "INSERT INTO d VALUES (1, '2020-01-01 12:00:00')",
            "CREATE TABLE test_cache_2.d AS SELECT 2 AS n, CAST('2021-01-01' AS DATETIME) AS at",
        ],
    )
    .await;
    let mut one = cluster.client_in(SCHEMA).await;
    let first = warm(cluster, &mut one, &read).await;
    let mut same = cluster.client_in(SCHEMA).await;
    assert_eq!(ask(cluster, &mut same, &read).await, (first.clone(), true));
    let mut elsewhere = cluster.client_in("test_cache_2").await;
    let (rows_there, cached) = ask(cluster, &mut elsewhere, &read).await;
    assert!(!cached && rows_there != first, "another schema: {rows_there:?}");
    run(&mut same, &["SET time_zone = '+05:00'"]).await;
    let (later, cached) = ask(cluster, &mut same, &read).await;
    assert!(!cached && later != first, "another time zone: {later:?}");
    assert_eq!(ask(cluster, &mut same, &read).await, (later, true));
    run(&mut same, &["SET time_zone = DEFAULT"]).await;
    assert_eq!(rows(&mut same, &read).await, first);
    let mut spaced = read.clone();
    spaced.push(' ');
    assert!(!ask(cluster, &mut one, &spaced).await.1, "another text");
    // A session's own default is its login's, and a `USE` leads to the same.
    let mut moved = cluster.client().await;
    run(&mut moved, &["USE test_cache_2"]).await;
    assert_eq!(rows(&mut moved, &read).await, rows_there);
}

/// Rights are an account's own, and taking one away gives everything up.
#[tokio::test]
async fn nobody_reads_by_anothers_rights() {
    let (cluster, _turn) = cluster().await;
    let mut root = cluster.direct(cluster.a()).await;
    run(
        &mut root,
        &[
            "CREATE DATABASE IF NOT EXISTS secret",
            "CREATE TABLE IF NOT EXISTS secret.s (n INT)",
            "INSERT INTO secret.s VALUES (1)",
            &format!("GRANT SELECT ON secret.* TO '{}'@'%'", APP.user),
        ],
    )
    .await;
    cluster.wait_replicated().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let read = "SELECT n FROM secret.s";
    warm(cluster, &mut conn, read).await;
    // Past Tandem, which can't know of it: what is kept is given for as long as the rule says.
    run(
        &mut root,
        &[&format!("REVOKE SELECT ON secret.* FROM '{}'@'%'", APP.user)],
    )
    .await;
    cluster.wait_replicated().await;
    assert!(ask(cluster, &mut conn, read).await.1);
    let emptied: Vec<(String,)> = cluster.admin().await.query("EMPTY CACHE").await.expect("emptied");
    assert!(emptied[0].0.ends_with("replies were given up"), "{emptied:?}");
    let error = conn.query_drop(read).await.expect_err("no right");
    assert_eq!(code(&error), 1142);
}

/// Executions are told apart by their parameters and their types, and never take a text's reply, which has another form.
#[tokio::test]
async fn executions_are_kept_by_their_parameters() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let text = "SELECT id, n FROM t WHERE id = ?";
    let statement = conn.prep(text).await.expect("prepared");
    let mut second = cluster.client_in(SCHEMA).await;
    let same = second.prep(text).await.expect("prepared");
    for id in [1_i32, 2] {
        warm(cluster, &mut conn, "SELECT id FROM t").await;
        for round in 0..2 {
            let row: Option<(i32, i32)> = conn.exec_first(&statement, (id,)).await.expect("a row");
            let is_cached = reason(cluster, &conn).await == "cache";
            assert_eq!((row, is_cached), (Some((id, id)), round > 0));
        }
        let row: Option<(i32, i32)> = second.exec_first(&same, (id,)).await.expect("a row");
        assert_eq!(
            (row, reason(cluster, &second).await),
            (Some((id, id)), "cache".into())
        );
    }
    let row: Option<(i32, i32)> = conn.exec_first(&statement, ("1",)).await.expect("a row");
    assert_eq!(
        (row, reason(cluster, &conn).await == "cache"),
        (Some((1, 1)), false),
        "a text"
    );
    let none: Option<(i32, i32)> = conn.exec_first(&statement, (Value::NULL,)).await.expect("no row");
    assert_eq!(none, None);
    run(&mut second, &["UPDATE t SET n = n WHERE id = 1"]).await;
    let row: Option<(i32, i32)> = conn.exec_first(&statement, (1,)).await.expect("a row");
    assert_eq!(
        (row, reason(cluster, &conn).await == "cache"),
        (Some((1, 1)), false)
    );
    let plain = "SELECT id, n FROM t WHERE id = 3";
    warm(cluster, &mut conn, plain).await;
    let row: Option<(i32, i32)> = conn.exec_first(plain, ()).await.expect("a row");
    assert_eq!(
        (row, reason(cluster, &conn).await == "cache"),
        (Some((3, 3)), false)
    );
}

/// A statement reads the tables of the schema in which it was prepared, whatever the schema is when it is executed.
#[tokio::test]
async fn executions_in_another_schema_are_as_new() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let statement = conn
        .prep("SELECT SUM(n) AS elsewhere FROM u")
        .await
        .expect("prepared");
    run(&mut conn, &["USE test_cache_2"]).await;
    let mut other = cluster.client_in(SCHEMA).await;
    let mut before: Option<u32> = None;
    for _ in 0..500 {
        before = conn.exec_first(&statement, ()).await.expect("a sum");
        if reason(cluster, &conn).await == "cache" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason(cluster, &conn).await, "cache");
    run(&mut other, &["UPDATE u SET n = n + 1 WHERE id = 1"]).await;
    let after: Option<u32> = conn.exec_first(&statement, ()).await.expect("a sum");
    assert_eq!(after, before.map(|sum| sum + 1));
}

/// Behind an answer from the cache the session is asked what it would be asked behind a server's, and says the same.
#[tokio::test]
async fn what_a_statement_leaves_is_left() {
    let (cluster, _turn) = cluster().await;
    let mut through = cluster.client_in(SCHEMA).await;
    let mut direct = cluster.direct(cluster.a()).await;
    run(
        &mut through,
        &["CREATE TABLE made (id INT PRIMARY KEY AUTO_INCREMENT, n INT)"],
    )
    .await;
    run(&mut direct, &["USE test_cache"]).await;
    for read in [
        "SELECT id FROM t ORDER BY id",
        "SELECT id FROM t ORDER BY id LIMIT 1",
        "SELECT id FROM t ORDER BY id LIMIT 1, 1",
        "SELECT id FROM t WHERE id > 99",
    ] {
        warm(cluster, &mut through, read).await;
        for question in [
            "SELECT FOUND_ROWS()",
            "SELECT ROW_COUNT()",
            "SELECT LAST_INSERT_ID()",
            "SELECT @@warning_count",
            "SHOW WARNINGS",
        ] {
            let mut seen = Vec::new();
            for conn in [&mut through, &mut direct] {
                // What the one before has left must not show.
                run(
                    conn,
                    &[
                        "INSERT INTO made (id, n) VALUES (DEFAULT, 1)",
                        "DROP TABLE IF EXISTS nobody",
                    ],
                )
                .await;
                let id: Option<u64> = conn.query_first("SELECT LAST_INSERT_ID()").await.expect("an id");
                rows(conn, read).await;
                let mut told = rows(conn, question).await;
                if question.contains("INSERT_ID") {
                    assert_eq!(told, [[Value::Bytes(id.unwrap_or_default().to_string().into())]]);
                    told.clear();
                }
                seen.push(told);
            }
            assert_eq!(seen[0], seen[1], "{question} behind {read}");
            warm(cluster, &mut through, read).await;
        }
    }
}

/// What is not known to say the same again is asked each time, and so is what is larger than may be kept; nor is a reply with a warning.
#[tokio::test]
async fn what_may_differ_is_asked_again() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    run(
        &mut conn,
        &[
            "CREATE VIEW today AS SELECT id FROM t WHERE at < NOW()",
            "CREATE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN x",
            "SET sql_mode = ''",
        ],
    )
    .await;
    warm(cluster, &mut conn, "SELECT id FROM t").await;
    let big = format!(
        "SELECT REPEAT('x', 1000), seq FROM {} JOIN t ON t.id = 1",
        numbers(100)
    );
    for read in [
        "SELECT id, NOW() FROM t",
        "SELECT id FROM t WHERE at < CURRENT_TIMESTAMP",
        "SELECT id, RAND() FROM t",
        "SELECT id, UUID() FROM t",
        "SELECT id, CONNECTION_ID() FROM t",
        "SELECT id, USER() FROM t",
        "SELECT id, LAST_INSERT_ID() FROM t",
        "SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1",
        "SELECT id, @@sql_mode FROM t",
        "SELECT SQL_NO_CACHE id FROM t",
        "SELECT id FROM t FOR UPDATE",
        "SELECT f(id) FROM t",
        "SELECT id FROM today",
        "SELECT id, 1 + 'x' FROM t",
        "SELECT 1",
        "SHOW TABLES",
        "SELECT table_name FROM information_schema.tables LIMIT 1",
        big.as_str(),
    ] {
        // MySQL has it no more.
        if read.contains("SQL_NO_CACHE") && engine().flavor() == Flavor::MySql {
            continue;
        }
        for _ in 0..3 {
            assert!(!ask(cluster, &mut conn, read).await.1, "{read}");
        }
    }
    run(&mut conn, &["SET @x = 1"]).await;
    assert!(
        !ask(cluster, &mut conn, "SELECT id FROM t").await.1,
        "a session that is tied"
    );
}

/// Of a rule with bounds the reply is within them, whatever another rule has kept; and what is kept for a moment is given for no longer.
#[tokio::test]
async fn a_rule_has_its_own_replies() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let plain = "SELECT id FROM t /* tandem:tag=none */";
    warm(cluster, &mut conn, plain).await;
    let few = "SELECT id FROM t /* tandem:tag=few */";
    for _ in 0..2 {
        let error = conn.query_drop(few).await.expect_err("three rows");
        assert_eq!(code(&error), 1104);
    }
    let short = "SELECT id FROM t /* tandem:tag=short */";
    conn.query_drop(short).await.expect("rows");
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(!ask(cluster, &mut conn, short).await.1);
}

/// Also what a session reads that need not see the newest is kept only if it is that: others are given it.
#[tokio::test]
async fn what_is_older_than_it_may_be_is_not_kept() {
    let (cluster, _turn) = cluster().await;
    let mut standby = cluster.direct(cluster.b()).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    run(
        &mut conn,
        &["CREATE TABLE hot (n INT)", "INSERT INTO hot VALUES (0)"],
    )
    .await;
    cluster.wait_replicated().await;
    let old = "SELECT n FROM hot /* tandem:tag=old */";
    warm(cluster, &mut conn, old).await;
    run(&mut standby, &["FLUSH TABLES test_cache.hot WITH READ LOCK"]).await;
    run(&mut conn, &["UPDATE hot SET n = 1"]).await;
    for _ in 0..3 {
        let (rows, cached) = ask(cluster, &mut conn, old).await;
        assert_eq!(
            (rows, cached),
            (vec![vec![Value::Bytes(b"0".into())]], false),
            "it was asked for"
        );
    }
    run(&mut standby, &["UNLOCK TABLES"]).await;
    cluster.wait_replicated().await;
    assert_eq!(warm(cluster, &mut conn, old).await, [[Value::Bytes(b"1".into())]]);
}

/// Whatever a client has negotiated, the second answer has the same bytes as the first.
#[tokio::test]
async fn the_bytes_are_the_same() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    warm(cluster, &mut conn, "SELECT id FROM t").await;
    let mut seen = HashMap::new();
    for flags in [
        CAPABILITIES,
        CAPABILITIES - Capabilities::DEPRECATE_EOF,
        CAPABILITIES | Capabilities::DEPRECATE_EOF,
        CAPABILITIES | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK,
    ] {
        let hits = cluster.counter("cache_hits").await;
        let mut raw = Raw::log_in_with(cluster.address(), &APP, SCHEMA, flags).await;
        let query = format!("SELECT id, n, at FROM t /* {} */", flags.bits());
        let first = raw.ask(3, query.as_bytes(), Expect::Query).await;
        for _ in 0..3 {
            let again = raw.ask(3, query.as_bytes(), Expect::Query).await;
            assert_eq!(again, first, "{flags:?}");
        }
        assert!(cluster.counter("cache_hits").await >= hits + 3, "{flags:?}");
        seen.insert(flags, first.len());
    }
    assert!(seen.len() > 1);
}

/// What is told of it, and that a reload without the rule empties it.
#[tokio::test]
async fn the_admin_port_tells_of_the_cache() {
    let (cluster, _turn) = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let mut admin = cluster.admin().await;
    let read = "SELECT id FROM t WHERE id = 1";
    warm(cluster, &mut conn, read).await;
    let traced = format!("TRACE SESSION {} LIMIT 1", conn.id());
    admin.query_drop(traced).await.expect("traced");
    rows(&mut conn, read).await;
    run(&mut conn, &["SELECT 1"]).await;
    let steps: Vec<String> = admin.query("SELECT step FROM traces").await.expect("traces");
    assert_eq!(steps, ["classify", "cache", "end"]);
    let counted: Option<(u64, u64)> = admin
        .query_first("SELECT cached, not_cached FROM rules WHERE rule = 'all'")
        .await
        .expect("rules");
    assert!(
        counted.is_some_and(|(cached, not)| cached > 0 && not > 0),
        "{counted:?}"
    );
    let digest: Option<(u64, String)> = admin
        .query_first(
            "SELECT from_cache, reasons FROM digests WHERE statement = 'SELECT id FROM t WHERE id = ?'",
        )
        .await
        .expect("digests");
    let (from_cache, reasons) = digest.expect("the shape");
    assert!(from_cache > 0 && reasons.contains("cache "), "{reasons}");
    let used: Option<u64> = admin
        .query_first("SELECT current FROM limits WHERE name = 'cache.bytes'")
        .await
        .expect("limits");
    assert!(used.is_some_and(|bytes| bytes > 0), "{used:?}");
    for (statement, expected) in [
        (read, "for 1h, as long as nothing of what it reads is written"),
        ("SELECT id, NOW() FROM t", "for 1h, no: it calls NOW()"),
        ("UPDATE t SET n = 1", "for 1h, no: it is no pure read"),
    ] {
        let told: Vec<(String, String)> = admin
            .query(format!("EXPLAIN ROUTE IN {SCHEMA} {statement}"))
            .await
            .expect("told");
        let row = told.iter().find(|(name, _)| name == "answered from the cache");
        let (_, told) = row.unwrap_or_else(|| panic!("nothing of the cache: {told:?}"));
        assert!(told.starts_with(expected), "{told}");
    }
    admin.query_drop("EMPTY CACHE").await.expect("emptied");
    let used: Option<u64> = admin
        .query_first("SELECT current FROM limits WHERE name = 'cache.bytes'")
        .await
        .expect("limits");
    assert_eq!(used, Some(0));
}
