//! Commits are counted anew when a server was away, or when its numbers say no more what came later: nobody reads what is
//! older for that, and the standby gets its reads back.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::demo::pair::APP;
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, wait_until};

const SCHEMA: &str = "test_renewal";

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.monitor.interval = Duration::from_millis(100);
            config.monitor.timeout = Duration::from_millis(300);
            config.monitor.slow_start = Duration::ZERO;
            // It lags as long as a test wants.
            config.monitor.max_lag = Duration::from_secs(3600);
        },
        ..Setup::default()
    })
    .await;
    // Before anybody has logged in: rights are those of the login.
    let right = match cluster.a().engine().flavor() {
        Flavor::MariaDb => "GRANT BINLOG REPLAY ON *.*",
        Flavor::MySql => "GRANT REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN, TRANSACTION_GTID_TAG ON *.*",
    };
    for server in cluster.pair().servers() {
        let mut conn = cluster.direct(server).await;
        run(&mut conn, "SET SESSION sql_log_bin = 0").await;
        run(&mut conn, &format!("{right} TO {}@'%'", APP.user)).await;
    }
    cluster.create_database(SCHEMA).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for text in [
        "CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB",
        "INSERT INTO t VALUES (1, 0)",
        "CREATE TABLE plain (id INT PRIMARY KEY, n INT) ENGINE=MyISAM",
        "INSERT INTO plain VALUES (1, 0)",
    ] {
        run(&mut conn, text).await;
    }
    wait_balanced(&cluster, "t").await;
    cluster
}

async fn run(conn: &mut Conn, text: &str) {
    conn.query_drop(text)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"));
}

async fn route(cluster: &Cluster, table: &str) -> String {
    let text = format!("EXPLAIN ROUTE SELECT n FROM {SCHEMA}.{table}");
    let rows: Vec<(String, String)> = cluster.admin().await.query(text).await.expect("a route");
    let reason = rows.into_iter().find(|(name, _)| name == "reason");
    reason.expect("a reason").1
}

async fn wait_balanced(cluster: &Cluster, table: &str) {
    let what = format!("reads of {table} go to both");
    wait_until(&what, WITHIN, || async {
        route(cluster, table).await == "balanced"
    })
    .await;
}

async fn wait_for_role(cluster: &Cluster, server: &str, role: &str) {
    wait_until(&format!("{server} is {role}"), WITHIN, || async {
        let rows: Vec<Row> = cluster
            .admin()
            .await
            .query("SHOW SERVERS")
            .await
            .expect("servers");
        let field = |row: &Row, name: &str| row.get::<String, _>(name).expect("a text");
        rows.iter()
            .any(|row| field(row, "name") == server && field(row, "role") == role)
    })
    .await;
}

/// The standby's applier can't change the row, until this is rolled back.
async fn hold_row(cluster: &Cluster) -> Conn {
    let mut conn = cluster.direct(cluster.b()).await;
    run(&mut conn, "BEGIN").await;
    run(
        &mut conn,
        &format!("SELECT n FROM {SCHEMA}.t WHERE id = 1 FOR UPDATE"),
    )
    .await;
    conn
}

async fn assert_read(cluster: &Cluster, wanted: i32) {
    let mut reader = cluster.client_in(SCHEMA).await;
    for _ in 0..20 {
        let seen: Option<i32> = reader.query_first("SELECT n FROM t").await.expect("a read");
        assert_eq!(seen, Some(wanted));
    }
}

/// Its commit comes when the active master has been given up and taken back, and is nowhere in what it said then.
#[tokio::test]
async fn what_was_under_way_while_the_active_master_stood_still_is_read_when_it_is_done() {
    let cluster = cluster().await;
    let mut lock = cluster.direct(cluster.a()).await;
    run(&mut lock, "BEGIN").await;
    run(&mut lock, &format!("UPDATE {SCHEMA}.t SET n = 7 WHERE id = 1")).await;
    let mut writer = cluster.client_in(SCHEMA).await;
    let write = tokio::spawn(async move {
        run(&mut writer, "UPDATE t SET n = n + 1 WHERE id = 1").await;
    });
    wait_until("it is under way", WITHIN, || async {
        route(&cluster, "t").await == "write_in_flight"
    })
    .await;
    cluster.a().pause().expect("paused");
    wait_for_role(&cluster, "a", "down").await;
    cluster.a().resume().expect("resumed");
    wait_for_role(&cluster, "a", "active").await;
    wait_for_role(&cluster, "b", "standby").await;
    // Longer than it takes to read the definitions and to ask both servers again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut row = hold_row(&cluster).await;
    run(&mut lock, "ROLLBACK").await;
    write.await.expect("a write");
    assert_read(&cluster, 1).await;
    run(&mut row, "ROLLBACK").await;
    wait_balanced(&cluster, "t").await;
    assert_read(&cluster, 1).await;
    cluster.stop().await;
}

/// On MySQL that leaves a gap, which all later commits go into for a long time.
#[tokio::test]
async fn a_number_given_to_a_commit_by_hand_takes_no_reads_from_the_standby_for_good() {
    let cluster = cluster().await;
    let flavor = cluster.a().engine().flavor();
    let (by_hand, as_usual) = match flavor {
        Flavor::MariaDb => ("SET SESSION gtid_seq_no = 1000000".to_owned(), "DO 0"),
        Flavor::MySql => {
            let mut conn = cluster.direct(cluster.a()).await;
            let uuid: Option<String> = conn.query_first("SELECT @@server_uuid").await.expect("a name");
            let text = format!("SET SESSION gtid_next = '{}:1000000'", uuid.expect("a name"));
            (text, "SET SESSION gtid_next = AUTOMATIC")
        }
    };
    let mut conn = cluster.client_in(SCHEMA).await;
    run(&mut conn, &by_hand).await;
    run(&mut conn, "UPDATE t SET n = 1").await;
    run(&mut conn, as_usual).await;
    assert_read(&cluster, 1).await;
    wait_balanced(&cluster, "t").await;

    let mut row = hold_row(&cluster).await;
    run(&mut conn, "UPDATE t SET n = 2").await;
    assert_read(&cluster, 2).await;
    assert_ne!(route(&cluster, "t").await, "balanced");
    run(&mut row, "ROLLBACK").await;
    wait_balanced(&cluster, "t").await;
    assert_read(&cluster, 2).await;

    // Two rows stay, and no number was told.
    let failed = conn
        .query_drop("INSERT INTO plain VALUES (2, 1), (3, 1), (1, 1)")
        .await;
    assert!(failed.is_err());
    wait_balanced(&cluster, "plain").await;
    let rows: Option<u32> = cluster
        .direct(cluster.b())
        .await
        .query_first(format!("SELECT COUNT(*) FROM {SCHEMA}.plain"))
        .await
        .expect("a count");
    assert_eq!(rows, Some(3), "what is balanced is there");

    if flavor == Flavor::MySql {
        // A tag makes a name that is in no row of numbers.
        run(&mut conn, "SET SESSION gtid_next = 'AUTOMATIC:tag'").await;
        let _row = hold_row(&cluster).await;
        run(&mut conn, "UPDATE t SET n = 3").await;
        assert_read(&cluster, 3).await;
        // Longer than it takes to ask both servers again.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_read(&cluster, 3).await;
    }
    cluster.stop().await;
}
