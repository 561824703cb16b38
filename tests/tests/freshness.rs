//! What a session has written it reads at once, and from the standby again as soon as that has it.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem_tests::{Cluster, Flavor, Setup, wait_until};
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

const SCHEMA: &str = "test_fresh";

/// Far longer than any of these tests: what is known within it is known without a probe.
const INTERVAL: Duration = Duration::from_secs(60);

async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            change: |config| {
                config.listener.workers = 1;
                config.monitor.interval = INTERVAL;
                config.servers[0].weight = 1;
                config.servers[1].weight = 100;
            },
            ..Setup::default()
        })
        .await;
        cluster.create_database(SCHEMA).await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// Where the session's reads go now, by what the standby has counted: nearly all of them, or none.
async fn reads_on(conn: &mut Conn, cluster: &Cluster) -> &'static str {
    let before = cluster.query_counts(cluster.b()).await.reads;
    for _ in 0..8 {
        let _: Vec<u32> = conn.query("SELECT id FROM t WHERE id = 0").await.expect("a read");
    }
    match cluster.query_counts(cluster.b()).await.reads - before {
        0 => "a",
        _ => "b",
    }
}

fn applier(flavor: Flavor, verb: &str) -> String {
    match flavor {
        Flavor::MariaDb => format!("{verb} SLAVE SQL_THREAD"),
        Flavor::MySql => format!("{verb} REPLICA SQL_THREAD"),
    }
}

#[tokio::test]
async fn reads_go_to_the_standby_again_when_it_has_what_the_session_wrote_and_no_sooner() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO t VALUES (1, 0)")
        .await
        .expect("a row");
    let what = "the standby takes reads of a session that wrote";
    wait_until(what, INTERVAL / 3, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("UPDATE t SET n = n + 1").await.expect("a write");
        let wrote = std::time::Instant::now();
        while wrote.elapsed() < Duration::from_secs(2) {
            if reads_on(&mut conn, cluster).await == "b" {
                return true;
            }
        }
        false
    })
    .await;
    let flavor = cluster.b().engine().flavor();
    let mut standby = cluster.direct(cluster.b()).await;
    standby
        .query_drop(applier(flavor, "STOP"))
        .await
        .expect("stopped");
    for n in [100, 200] {
        conn.exec_drop("UPDATE t SET n = ?", (n,)).await.expect("a write");
        for _ in 0..20 {
            let seen: Option<i32> = conn.query_first("SELECT n FROM t").await.expect("a read");
            assert_eq!(seen, Some(n));
        }
        assert_eq!(reads_on(&mut conn, cluster).await, "a");
    }
    standby
        .query_drop(applier(flavor, "START"))
        .await
        .expect("started");
    let deadline = std::time::Instant::now() + INTERVAL / 3;
    while reads_on(&mut conn, cluster).await == "a" {
        assert!(
            std::time::Instant::now() < deadline,
            "{what}, once it applies again"
        );
    }
    let seen: Option<i32> = conn.query_first("SELECT n FROM t").await.expect("a read");
    assert_eq!(seen, Some(200));
}
