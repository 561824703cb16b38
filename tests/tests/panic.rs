//! A panic in a session costs that session, and nobody and nothing else.

use mysql_async::prelude::Queryable;
use tandem_tests::raw::Raw;
use tandem_tests::{Cluster, Setup};

const SCHEMA: &str = "test_panic";
const FATAL: &str = "SELECT 'panic, please', SLEEP(0.2)";

#[tokio::test]
async fn a_panic_ends_its_session_and_closes_its_connection() {
    // One connection and one worker: whoever comes next needs the place, and the thread, of the session that is lost.
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.panic_on = Some(FATAL);
            config.listener.workers = 1;
            config.pool.max_connections = 1;
        },
        ..Setup::default()
    })
    .await;
    cluster.create_database(SCHEMA).await;
    let mut beside = Raw::log_in(cluster.address(), SCHEMA).await;
    beside.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    beside.run("INSERT INTO t VALUES (1, 10)").await;
    for round in 0..5 {
        let mut lost = Raw::log_in(cluster.address(), SCHEMA).await;
        if round % 2 == 0 {
            // Its connection is held, with a lock, and not lent for the one statement.
            lost.run("BEGIN").await;
            lost.run("UPDATE t SET v = 11 WHERE id = 1").await;
        }
        lost.command(3, FATAL.as_bytes()).await;
        lost.drain().await;
        // The reply that was on its way then is nobody's, and the lock is gone.
        assert_eq!(
            beside.value("SELECT v FROM t WHERE id = 1 FOR UPDATE").await,
            "10"
        );
    }
    cluster.wait_nothing_leased().await;
    assert_eq!(cluster.counter("panics").await, 5);
    let mut admin = cluster.admin().await;
    let sessions: Vec<mysql_async::Row> = admin.query("SHOW SESSIONS").await.expect("sessions");
    assert_eq!(sessions.len(), 1, "the one beside it: {sessions:?}");
    cluster.stop().await;
}
