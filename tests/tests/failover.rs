//! The active master dies, hangs or is changed under load: who had a write acknowledged finds it, once, and goes on.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner, Report};
use tandem_tests::{Cluster, Setup};

const WITHIN: Duration = Duration::from_secs(30);

async fn cluster() -> Cluster {
    let mut setup = Setup::default();
    setup.pair.failover = true;
    // Semi-sync never gives up by itself: what is acknowledged is on both.
    setup.pair.semi_sync_timeout = Duration::from_secs(3600);
    let cluster = Cluster::start(setup).await;
    wait_active(&cluster, "a").await;
    let mut conn = cluster.client().await;
    for statement in ["CREATE DATABASE shop", "USE shop", ledger::TABLE] {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.wait_replicated().await;
    cluster
}

async fn status(cluster: &Cluster, property: &str) -> String {
    let rows: Vec<(String, Option<String>)> = cluster
        .admin()
        .await
        .query("SHOW FAILOVER")
        .await
        .expect("a status");
    let found = rows.into_iter().find(|(name, _)| name == property);
    found.and_then(|(_, value)| value).unwrap_or_default()
}

/// The roles as the data path has them.
async fn is_active(cluster: &Cluster, name: &str) -> bool {
    let mut admin = cluster.admin().await;
    let rows: Vec<mysql_async::Row> = admin.query("SHOW SERVERS").await.expect("servers");
    rows.iter().any(|row| {
        row.get::<String, _>("name").as_deref() == Some(name)
            && row.get::<String, _>("role").as_deref() == Some("active")
    })
}

async fn wait_active(cluster: &Cluster, name: &str) {
    let deadline = Instant::now() + WITHIN;
    while !is_active(cluster, name).await {
        if Instant::now() > deadline {
            show(cluster).await;
            panic!("{name} is not active within {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn show(cluster: &Cluster) {
    let mut admin = cluster.admin().await;
    for question in ["SHOW FAILOVER", "SHOW EVENTS"] {
        let rows: Vec<mysql_async::Row> = admin.query(question).await.expect(question);
        println!("{question}");
        for row in rows {
            let cells: Vec<String> = row
                .unwrap()
                .iter()
                .map(|value| value.as_sql(true).trim_matches('\'').to_owned())
                .collect();
            println!("    {}", cells.join(" | "));
        }
    }
}

fn assert_nothing_lost(report: &Report) {
    assert!(report.writes > 0, "{report}");
    assert!(report.missing.is_empty(), "{report}: {:?}", report.missing);
    assert!(report.doubled.is_empty(), "{report}: {:?}", report.doubled);
    assert_eq!(report.stale, 0, "{report}");
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_no_acknowledged_write_is_lost() {
    let cluster = cluster().await;
    assert_eq!(status(&cluster, "could_fail_over").await, "yes");
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    cluster.a().kill9().expect("killed");
    wait_active(&cluster, "b").await;
    println!("b is active after {:?}", killed.elapsed());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut survivor = cluster.direct(cluster.b()).await;
    let report = load.settle(&mut survivor).await;
    show(&cluster).await;
    println!("{report}");
    for error in &report.errors {
        println!("    {error}");
    }
    assert_nothing_lost(&report);
    cluster.stop().await;
}
