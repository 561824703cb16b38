//! What the admin port tells of statements by their shape, after they ran on real servers.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::config::Audit;
use tandem_tests::{Cluster, Proxy, STEPS, Setup, own_number, wait_until};
use tokio::sync::{Mutex, OnceCell};

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A `RESET STATS` is for all tests.
static NUMBERS: Mutex<()> = Mutex::const_new(());

const SCHEMA: &str = "test_statistics";

async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup::default()).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        let table = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))";
        conn.query_drop(table).await.expect("a table");
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// The row of the digests whose statement is like this.
async fn digest(admin: &mut Conn, statement: &str) -> Row {
    let query = format!("SELECT * FROM digests WHERE statement LIKE '{statement}'");
    let rows: Vec<Row> = admin.query(query).await.expect("digests");
    let [row] = &rows[..] else {
        panic!("{statement}: {rows:?}");
    };
    row.clone()
}

fn number(row: &Row, column: &str) -> f64 {
    let value = row
        .get_opt::<f64, _>(column)
        .unwrap_or_else(|| panic!("no column {column}"));
    value.unwrap_or_else(|error| panic!("{column}: {error}"))
}

/// Each statement is counted with its shape, whether as text or prepared, with its rows, its errors and its place; and no value is
/// told of any.
#[tokio::test]
async fn statements_are_counted_by_shape_and_told_without_values() {
    let _numbers = NUMBERS.lock().await;
    let cluster = cluster().await;
    let mut admin = cluster.admin().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for id in 0..10 {
        let insert = format!(
            "INSERT INTO t VALUES ({id}, 'a secret'), ({}, 'another')",
            id + 100
        );
        conn.query_drop(insert).await.expect("rows");
    }
    for id in 0..30 {
        let rows: Vec<Row> = conn
            .query(format!("SELECT v FROM t WHERE id IN ({id}, 5)"))
            .await
            .expect("read");
        drop(rows);
    }
    for id in 0..20 {
        let prepared = "SELECT v FROM t WHERE id = ? OR id = 3";
        let _: Vec<Row> = conn.exec(prepared, (id,)).await.expect("read");
    }
    conn.query_drop("SELECT nothing FROM t WHERE v = 'a secret'")
        .await
        .expect_err("no such column");
    conn.query_drop("SELECT SLEEP(0.3)").await.expect("slept");

    let inserts = digest(&mut admin, "INSERT INTO t VALUES (?), (?)%").await;
    assert_eq!(number(&inserts, "count"), 10.0);
    assert_eq!(number(&inserts, "affected"), 20.0);
    assert_eq!(number(&inserts, "on_active"), 10.0);
    assert_eq!(number(&inserts, "on_standby"), 0.0);
    assert!(number(&inserts, "bytes_in") > 400.0, "{inserts:?}");

    let reads = digest(&mut admin, "SELECT v FROM t WHERE id IN (?)").await;
    assert_eq!(number(&reads, "count"), 30.0);
    assert_eq!(number(&reads, "rows"), 39.0);
    assert_eq!(number(&reads, "on_active") + number(&reads, "on_standby"), 30.0);
    assert_eq!(number(&reads, "minute_count"), 30.0);
    assert!(number(&reads, "bytes_out") > 30.0 * 50.0, "{reads:?}");
    let times = ["min_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|column| number(&reads, column));
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    assert!(number(&reads, "avg_ms") <= times[4]);

    let executed = digest(&mut admin, "SELECT v FROM t WHERE id = ? OR id = ?").await;
    assert_eq!(number(&executed, "count"), 20.0);
    let prepares = digest(&mut admin, "COM_STMT_PREPARE").await;
    // Another test may have prepared one.
    assert!((1.0..4.0).contains(&number(&prepares, "count")), "{prepares:?}");

    let wrong = digest(&mut admin, "SELECT nothing FROM t WHERE v = ?").await;
    assert_eq!((number(&wrong, "count"), number(&wrong, "errors")), (1.0, 1.0));

    let slowest: Option<(String, f64)> = admin
        .query_first("SELECT statement, minute_max_ms FROM digests ORDER BY minute_max_ms DESC LIMIT 1")
        .await
        .expect("digests");
    let (statement, millis) = slowest.expect("one");
    assert_eq!(statement, "SELECT SLEEP(?)");
    assert!((300.0..2000.0).contains(&millis), "{millis}");

    let all: Vec<Row> = admin.query("SHOW DIGESTS").await.expect("digests");
    let all = format!("{all:?}");
    assert!(!all.contains("secret") && !all.contains("another"), "{all}");
    let two: Vec<Row> = admin.query("SHOW DIGESTS LIMIT 2").await.expect("digests");
    assert_eq!(two.len(), 2);
    admin.query_drop("RESET STATS").await.expect("reset");
    let left: Vec<Row> = admin.query("SHOW DIGESTS").await.expect("digests");
    assert!(left.is_empty(), "{left:?}");
    conn.query_drop("SELECT SLEEP(0)").await.expect("slept");
    let again = digest(&mut admin, "SELECT SLEEP(?)").await;
    assert_eq!(number(&again, "count"), 1.0);
}

/// A session tells what it runs or ran last, why it keeps its connection, since when, and which statement pinned it.
#[tokio::test]
async fn a_session_tells_why_it_keeps_its_connection() {
    let _numbers = NUMBERS.lock().await;
    let cluster = cluster().await;
    let mut admin = cluster.admin().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let id = own_number(&mut conn).await;
    type Session = (String, String, Option<f64>, String);
    let session = || format!("SELECT held_by, pinned_by, held_ms, statement FROM sessions WHERE id = {id}");
    let row: Option<Session> = admin.query_first(session()).await.expect("a session");
    let (held_by, pinned_by, held, statement) = row.expect("there");
    assert_eq!((held_by.as_str(), pinned_by.as_str(), held), ("", "", None));
    assert_eq!(statement, "SELECT CONNECTION_ID()");
    conn.query_drop("SET @secret = 'hush'").await.expect("set");
    conn.query_drop("BEGIN").await.expect("begun");
    conn.query_drop("SELECT v FROM t WHERE v = 'hush'")
        .await
        .expect("read");
    let row: Option<Session> = admin.query_first(session()).await.expect("a session");
    let (held_by, pinned_by, held, statement) = row.expect("there");
    assert_eq!(held_by, "a user variable (@name), a transaction");
    assert_eq!(pinned_by, "SET @secret = ?");
    assert_eq!(statement, "SELECT v FROM t WHERE v = ?");
    assert!(held.is_some(), "{held:?}");
    let connections: Vec<(String, String)> = admin
        .query(format!(
            "SELECT state, user FROM connections WHERE session = {id} AND state <> 'idle'"
        ))
        .await
        .expect("connections");
    assert_eq!(connections.len(), 1, "{connections:?}");
    assert_eq!(connections[0].0, "held");
    let told: Vec<(u64, u64, u64)> = admin
        .query(format!(
            "SELECT sessions, pinned, statements FROM users WHERE user = '{}'",
            connections[0].1
        ))
        .await
        .expect("users");
    let [(sessions, pinned, statements)] = told[..] else {
        panic!("{told:?}");
    };
    assert!(sessions >= 1 && pinned >= 1 && statements >= 4, "{told:?}");
    let prepared = conn
        .prep("SELECT v FROM t WHERE id = ? AND v <> 'hush'")
        .await
        .expect("prepared");
    let told: Vec<(u64, u64)> = admin
        .query("SELECT parameters, sessions FROM prepared_statements WHERE statement = 'SELECT v FROM t WHERE id = ? AND v <> ?'")
        .await
        .expect("prepared statements");
    assert_eq!(told, [(1, 1)]);
    conn.close(prepared).await.expect("closed");
    conn.query_drop("ROLLBACK").await.expect("rolled back");
    let connects: Vec<(String, f64)> = admin
        .query("SELECT name, value FROM metrics WHERE name = 'tandem_pool_connects_total'")
        .await
        .expect("metrics");
    assert_eq!(connects.len(), 2, "{connects:?}");
}

/// TRACE SESSION shows the steps of the next statements in their order, of as many as were asked for.
#[tokio::test]
async fn a_traced_statement_shows_its_steps() {
    let _numbers = NUMBERS.lock().await;
    let cluster = cluster().await;
    let mut admin = cluster.admin().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let id = own_number(&mut conn).await;
    admin
        .query_drop(format!("TRACE SESSION {id} LIMIT 2"))
        .await
        .expect("traced");
    conn.query_drop("SELECT SLEEP(0.2)").await.expect("slept");
    conn.query_drop("SELECT nothing FROM t")
        .await
        .expect_err("no such column");
    conn.query_drop("SELECT 1").await.expect("not traced");
    type Row = (String, String, f64, Option<u32>);
    let query = format!(
        "SELECT statement, step, took_ms, error FROM traces WHERE session = {id} ORDER BY began, at_ms"
    );
    let rows: Vec<Row> = admin.query(query).await.expect("traces");
    let steps = |statement: &str| -> Vec<&Row> { rows.iter().filter(|row| row.0 == statement).collect() };
    let slept = steps("SELECT SLEEP(?)");
    let names: Vec<&str> = slept.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(names, STEPS);
    let server = slept.iter().find(|row| row.1 == "first_byte").expect("there").2;
    assert!((190.0..5000.0).contains(&server), "{server}");
    let failed = steps("SELECT nothing FROM t");
    assert!(
        !failed.is_empty() && failed.iter().all(|row| row.3 == Some(1054)),
        "{rows:?}"
    );
    assert!(steps("SELECT ?").is_empty(), "{rows:?}");
    let unknown = admin
        .query_drop("TRACE SESSION 1")
        .await
        .expect_err("no such session");
    assert!(unknown.to_string().contains("Unknown session"), "{unknown}");
}

/// The slow log has what took longer than it may, the audit log who ran what; neither has a value unless it was asked for, and never a
/// password.
#[tokio::test]
async fn statements_are_logged_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("statements.json");
    for literals in [false, true] {
        let cluster = cluster().await;
        let proxy = Proxy::over(cluster.pair(), "", |config| {
            config.statement_log.file = Some(log.clone());
            config.statement_log.slow_time = Some(Duration::from_millis(150));
            config.statement_log.audit = Audit::Writes;
            config.statement_log.literals = literals;
        })
        .await;
        let mut conn = Conn::new(proxy.opts(Some(SCHEMA))).await.expect("login");
        conn.query_drop("SELECT SLEEP(0.2), 'hush'").await.expect("slept");
        conn.query_drop("SELECT 'fast'").await.expect("read");
        conn.query_drop("UPDATE t SET v = 'hush' WHERE id = -1")
            .await
            .expect("written");
        conn.query_drop("INSERT INTO nowhere VALUES (1)")
            .await
            .expect_err("no table");
        conn.query_drop("SET PASSWORD FOR nobody = 'geheim'")
            .await
            .expect_err("no such account");
        conn.disconnect().await.expect("bye");
        let lines = || -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            lines
                .filter(|line: &serde_json::Value| line["user"] != "")
                .collect()
        };
        wait_until("the lines are written", Duration::from_secs(20), || async {
            lines().len() >= 4
        })
        .await;
        let lines = lines();
        let of = |statement: &str| {
            let found = lines.iter().find(|line| {
                line["statement"]
                    .as_str()
                    .is_some_and(|it| it.starts_with(statement))
            });
            found.unwrap_or_else(|| panic!("{statement} in {lines:?}"))
        };
        let slow = of("SELECT SLEEP(?), ?");
        assert_eq!(slow["event"], "slow");
        assert!(slow["ms"].as_f64().is_some_and(|ms| ms >= 200.0), "{slow}");
        let update = of("UPDATE t SET v = ? WHERE id");
        assert_eq!(
            (&update["event"], &update["failed"]),
            (&"statement".into(), &false.into())
        );
        assert_eq!(update["schema"], SCHEMA);
        assert_eq!(of("INSERT INTO nowhere")["error"], 1146);
        let all = format!("{lines:?}");
        assert!(!all.contains("fast") && !all.contains("geheim"), "{all}");
        assert_eq!(all.contains("hush"), literals, "{all}");
        drop(proxy);
        std::fs::remove_file(&log).expect("there");
    }
}

/// However many shapes come, `statistics.digests` of them are kept apart, and the others are added up.
#[tokio::test]
async fn shapes_are_bounded_and_none_is_forgotten() {
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.listener.workers = 1;
            config.statistics.digests = 20;
            config.limits.statement_cache = 8;
        },
        ..Setup::default()
    })
    .await;
    let mut conn = cluster.client().await;
    let mut admin = cluster.admin().await;
    admin.query_drop("RESET STATS").await.expect("reset");
    for number in 0..200 {
        let _: Option<u32> = conn
            .query_first(format!("SELECT 1 AS c{number}"))
            .await
            .expect("read");
    }
    let (shapes, statements): (u32, u32) = admin
        .query_first("SELECT COUNT(*), SUM(count) FROM digests WHERE statement LIKE 'SELECT ? AS c%' OR statement LIKE '(all %'")
        .await
        .expect("digests")
        .expect("a row");
    assert!((3..=21).contains(&shapes), "{shapes}");
    assert_eq!(statements, 200);
    cluster.stop().await;
}

/// With `statistics.enabled = false` nothing is counted by shape.
#[tokio::test]
async fn who_wants_none_gets_none() {
    let cluster = Cluster::start(Setup {
        change: |config| config.statistics.enabled = false,
        ..Setup::default()
    })
    .await;
    let mut conn = cluster.client().await;
    let _: Option<u32> = conn.query_first("SELECT 1").await.expect("read");
    let mut admin = cluster.admin().await;
    let none: Vec<Row> = admin.query("SHOW DIGESTS").await.expect("digests");
    assert!(none.is_empty(), "{none:?}");
    cluster.stop().await;
}
