//! What becomes of a server that was away: it catches up, gets its reads back gradually, and, where the operator wants that, becomes
//! active again.

use std::time::{Duration, Instant};

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::{Cluster, Setup, WITHIN, roles};

const FAILBACK_AFTER: Duration = Duration::from_secs(3);
const SLOW_START: Duration = Duration::from_secs(4);

async fn cluster(setup: Setup) -> Cluster {
    let cluster = Cluster::start(setup).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    roles::wait_ready(&cluster, WITHIN).await;
    cluster
}

/// How many seconds ago the newest event of each kind was, by one answer: two would be of different moments.
async fn ago<const MANY: usize>(cluster: &Cluster, events: [&str; MANY]) -> [Option<f64>; MANY] {
    let mut admin = cluster.admin().await;
    let rows: Vec<Row> = admin.query("SHOW EVENTS").await.expect("events");
    events.map(|event| {
        let row = rows
            .iter()
            .find(|row| row.get::<String, _>("event").as_deref() == Some(event))?;
        row.get::<String, _>("seconds_ago")?.parse().ok()
    })
}

/// How much of its share of the reads it gets, in percent; 0 while it is no standby.
async fn share(cluster: &Cluster, name: &str) -> u32 {
    let mut admin = cluster.admin().await;
    let rows: Vec<Row> = admin.query("SHOW SERVERS").await.expect("servers");
    let row = rows.iter().find(|row| {
        row.get::<String, _>("name").as_deref() == Some(name)
            && row.get::<String, _>("role").as_deref() == Some("standby")
    });
    row.and_then(|row| row.get("share_percent")).unwrap_or(0)
}

/// The first server was killed, is back, and is active again once both have replicated for as long as the operator wants;
/// nobody gets an error by that.
#[tokio::test]
async fn the_first_server_becomes_active_again_after_a_while() {
    let mut setup = Setup::with_failover();
    setup.change = |config| {
        let failover = config.failover.as_mut().expect("it is on");
        failover.failback = Some(FAILBACK_AFTER);
    };
    let cluster = cluster(setup).await;
    // Nobody writes: MySQL would keep what nobody has acknowledged, and be in quarantine.
    cluster.a().kill9().expect("killed");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 2);
    cluster.a().restart().await.expect("back");
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    let [whole, back] = ago(&cluster, ["waits_for_standby", "failback"]).await;
    let between = whole.zip(back).map(|(whole, back)| whole - back);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut conn = cluster.direct(cluster.a()).await;
    let report = load.settle(&mut conn).await;
    roles::show(&cluster).await;
    println!("failback {between:?} s after it was whole; {report}");
    assert!(
        between.is_some_and(|between| between >= FAILBACK_AFTER.as_secs_f64()),
        "{between:?}"
    );
    report.assert_nothing_lost();
    roles::wait_settled(&cluster, WITHIN).await;
    assert_eq!(roles::writable(&cluster).await, ["a"]);
    cluster.stop().await;
}

/// A master that was killed comes back when the other's log has been changed several times and holds much that it lacks.
#[tokio::test]
async fn a_server_that_was_away_for_long_catches_up_and_gets_its_reads_back_gradually() {
    let mut setup = Setup::with_failover();
    setup.change = |config| config.monitor.slow_start = SLOW_START;
    let cluster = cluster(setup).await;
    let mut conn = cluster.client_in("shop").await;
    conn.query_drop("CREATE TABLE cold (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    cluster.wait_replicated().await;
    cluster.a().kill9().expect("killed");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    let mut root = cluster.direct(cluster.b()).await;
    let values = vec!["(7, 7)"; 1000].join(", ");
    for _ in 0..8 {
        for _ in 0..5 {
            conn.query_drop(format!("INSERT INTO ledger (writer, n) VALUES {values}"))
                .await
                .expect("rows");
        }
        root.query_drop("FLUSH BINARY LOGS").await.expect("a new log");
    }
    let load = Load::start(
        &cluster.opts(Some("shop")),
        &[Manner::Text, Manner::Transaction],
        2,
    );
    cluster.a().restart().await.expect("back");
    let before = cluster.query_counts(cluster.a()).await;
    let mut shares = Vec::new();
    let deadline = Instant::now() + WITHIN;
    while shares.last() != Some(&100) {
        let share = share(&cluster, "a").await;
        if shares.last() != Some(&share) {
            shares.push(share);
        }
        assert!(Instant::now() < deadline, "{shares:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("its share of the reads: {shares:?}");
    // One that falls too far behind once more begins anew.
    let growing: Vec<u32> = shares
        .rsplit(|&share| share == 0)
        .next()
        .unwrap_or_default()
        .to_vec();
    assert!(
        growing.len() > 3 && growing[0] < 50 && growing.is_sorted(),
        "{shares:?}"
    );
    // Of what is written all the time it may have none.
    for _ in 0..40 {
        conn.query_drop("SELECT COUNT(*) FROM cold")
            .await
            .expect("a read");
    }
    let after = cluster.query_counts(cluster.a()).await;
    assert!(after.reads > before.reads, "{before:?}, {after:?}");
    let mut survivor = cluster.direct(cluster.b()).await;
    let report = load.settle(&mut survivor).await;
    println!("{report}");
    report.assert_nothing_lost();
    cluster.wait_replicated().await;
    let count = "SELECT COUNT(*) FROM shop.ledger";
    let mut returned = cluster.direct(cluster.a()).await;
    let of_both: (Option<u64>, Option<u64>) = (
        returned.query_first(count).await.expect("a count"),
        survivor.query_first(count).await.expect("a count"),
    );
    assert_eq!(of_both.0, of_both.1);
    assert!(of_both.0 > Some(40_000), "{of_both:?}");
    cluster.stop().await;
}
