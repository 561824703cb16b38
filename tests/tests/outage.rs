//! What sessions see when a server goes, comes back, or has no connection to spare.

use std::process::Stdio;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, wait_until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Setup::default()).await;
    cluster.create_database("test_outage").await;
    let mut conn = cluster.client_in("test_outage").await;
    conn.query_drop("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO t (v) VALUES (1), (2)")
        .await
        .expect("rows");
    cluster.wait_replicated().await;
    cluster
}

async fn count(conn: &mut Conn) -> Result<Option<u32>, mysql_async::Error> {
    conn.query_first("SELECT COUNT(*) FROM t").await
}

fn code(result: Result<(), mysql_async::Error>) -> u16 {
    match result {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("an error of the server's form, not {other:?}"),
    }
}

#[tokio::test]
async fn reads_go_on_when_the_standby_dies_and_when_the_active_master_dies() {
    let cluster = cluster().await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        let mut conn = cluster.client_in("test_outage").await;
        // Both servers have served it, so it has a connection to each in mind.
        count(&mut conn).await.expect("a count");
        count(&mut conn).await.expect("a count");
        sessions.push(conn);
    }
    cluster.b().kill9().expect("killed");
    for conn in &mut sessions {
        for _ in 0..4 {
            assert_eq!(count(conn).await.expect("no error from a lost standby"), Some(2));
        }
        conn.query_drop("UPDATE t SET v = v + 1")
            .await
            .expect("writes go on");
    }
    cluster.b().restart().await.expect("back");
    cluster.pair().wait_linked(1).await.expect("replicating again");
    let reads = cluster.query_counts(cluster.b()).await.reads;
    let mut fresh = cluster.client_in("test_outage").await;
    let back = Instant::now();
    while cluster.query_counts(cluster.b()).await.reads == reads {
        assert!(back.elapsed() < WITHIN, "the standby is used again");
        count(&mut fresh).await.expect("a count");
    }

    cluster.a().kill9().expect("killed");
    for conn in &mut sessions {
        // It has written: what the dead master had is not known to be on the other yet, so it may only be
        // told so. A session that has not written goes on.
        let _ = count(conn).await;
    }
    assert_eq!(count(&mut fresh).await.expect("reads go on"), Some(2));
    let refused = code(fresh.query_drop("INSERT INTO t (v) VALUES (3)").await);
    assert!([1158, 1290, 1429, 2013].contains(&refused), "{refused}");
    assert_eq!(count(&mut fresh).await.expect("the session goes on"), Some(2));
    cluster.a().restart().await.expect("back");
    wait_until("writes go on", WITHIN, || async {
        let mut conn = cluster.client_in("test_outage").await;
        conn.query_drop("INSERT INTO t (v) VALUES (4)").await.is_ok()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_transaction_that_loses_its_server_ends_with_its_session() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in("test_outage").await;
    conn.query_drop("BEGIN").await.expect("a beginning");
    conn.query_drop("INSERT INTO t (v) VALUES (9)")
        .await
        .expect("an insert");
    cluster.a().kill9().expect("killed");
    let lost = conn.query_drop("INSERT INTO t (v) VALUES (10)").await;
    match cluster.a().engine().flavor() {
        // As by the server: see the next test.
        Flavor::MariaDb => assert!(matches!(lost, Err(mysql_async::Error::Io(_))), "{lost:?}"),
        Flavor::MySql => assert_eq!(code(lost), 2013),
    }
    assert!(
        conn.query_drop("SELECT 1").await.is_err(),
        "it does not go on as if nothing had been"
    );
}

/// MariaDB's library calls it malformed when an error packet has the code of a lost server: it is hung up on, and finds
/// that code itself.
#[tokio::test]
async fn the_command_line_client_says_that_the_server_was_lost() {
    let cluster = cluster().await;
    let mut client = tokio::process::Command::new("mariadb")
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            "-N",
            "--unbuffered",
            // By TLS, which Tandem offers in front of MariaDB 11.4, it has other words for it.
            "--skip-ssl",
            "test_outage",
        ])
        .arg(format!("--port={}", cluster.address().port()))
        .arg(format!("--user={}", APP.user))
        .env("MYSQL_PWD", APP.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client");
    let mut says = client.stdin.take().expect("piped");
    says.write_all(b"BEGIN; INSERT INTO t (v) VALUES (9); SELECT 'begun';\n")
        .await
        .expect("written");
    let mut hears = BufReader::new(client.stdout.take().expect("piped")).lines();
    assert_eq!(hears.next_line().await.expect("a line").as_deref(), Some("begun"));
    cluster.a().kill9().expect("killed");
    says.write_all(b"INSERT INTO t (v) VALUES (10);\n")
        .await
        .expect("written");
    drop(says);
    let ended = tokio::time::timeout(WITHIN, client.wait_with_output()).await;
    let error = ended.expect("in time").expect("its output").stderr;
    let error = String::from_utf8_lossy(&error);
    match cluster.a().engine().flavor() {
        Flavor::MariaDb => assert!(error.contains("ERROR 2013"), "{error}"),
        // To a MySQL it is a client like any other.
        Flavor::MySql => assert!(error.contains("ERROR 20"), "{error}"),
    }
}

#[tokio::test]
async fn a_full_pool_makes_wait_and_says_so() {
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.listener.workers = 1;
            config.pool.max_connections = 2;
            config.pool.queue_limit = 1;
            config.pool.queue_timeout = Duration::from_millis(300);
        },
        ..Setup::default()
    })
    .await;
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut conn = cluster.client().await;
        conn.query_drop("SET @held = 1")
            .await
            .expect("a variable that pins");
        holders.push(conn);
    }
    let mut waiter = cluster.client().await;
    let started = Instant::now();
    let error = waiter
        .query_drop("SET @x = 1")
        .await
        .expect_err("nothing is free")
        .to_string();
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(
        error.contains("1040") && error.contains("pool.queue_timeout"),
        "{error}"
    );
    // One may wait; a second is one too many.
    let mut second = cluster.client().await;
    let (one, two) = tokio::join!(waiter.query_drop("SET @x = 1"), second.query_drop("SET @x = 1"));
    let mut errors = [one, two].map(|result| result.expect_err("nothing is free").to_string());
    errors.sort_by_key(|error| error.contains("pool.queue_limit"));
    assert!(
        errors[0].contains("pool.queue_timeout") && errors[1].contains("pool.queue_limit"),
        "{errors:?}"
    );
    // Who waits gets what is given back.
    let waiting = tokio::spawn(async move { second.query_drop("SET @x = 1").await });
    drop(holders.pop());
    waiting.await.expect("a task").expect("a connection");
    cluster.stop().await;
}

#[tokio::test]
async fn sessions_are_spread_evenly_over_workers() {
    let cluster = Cluster::start(Setup {
        change: |config| config.listener.workers = 4,
        ..Setup::default()
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(cluster.client().await);
    }
    let opts = tandem_tests::pair::client(
        cluster.admin_address(),
        tandem::demo::ADMIN_USER,
        tandem::demo::ADMIN_PASSWORD,
        None,
    );
    let mut admin = Conn::new(opts).await.expect("the admin port");
    let rows: Vec<mysql_async::Row> = admin.query("SHOW SESSIONS").await.expect("sessions");
    let mut shares = [0; 4];
    for row in &rows {
        shares[row.get::<usize, _>("worker").expect("a worker")] += 1;
    }
    assert_eq!(shares, [50; 4]);
    cluster.stop().await;
}
