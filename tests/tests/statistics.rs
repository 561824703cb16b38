//! What the admin port tells of statements by their shape, after they ran on real servers.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem_tests::{Cluster, Setup};
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
    assert_eq!(
        number(&digest(&mut admin, "COM_STMT_PREPARE").await, "count"),
        1.0
    );

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
