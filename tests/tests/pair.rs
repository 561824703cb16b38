//! The ground that all other tests stand on: two servers that replicate to each other, and what can be
//! done to them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail where they stand, too")]

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem_tests::pair::{APP, Options, Pair, Server};
use tandem_tests::{Counts, wait_until};

#[tokio::test]
async fn replicates_both_ways_and_leaves_nothing_behind() {
    for own_domains in [false, true] {
        let pair = start(own_domains).await;
        make_table(&pair).await;
        run(pair.a(), "INSERT INTO shop.t (at) VALUES (@@server_id)").await;
        pair.wait_replicated().await.unwrap();
        run(pair.b(), "INSERT INTO shop.t (at) VALUES (@@server_id)").await;
        pair.wait_replicated().await.unwrap();
        for server in pair.servers() {
            let mut conn = server.connect().await.unwrap();
            let rows: Vec<(u32, u32)> = conn.query("SELECT id, at FROM shop.t ORDER BY id").await.unwrap();
            assert_eq!(rows, [(1, 1), (2, 2)], "server {}", server.name());
            let log = server.error_log();
            assert!(!log.contains("[ERROR]"), "{log}");
        }
        let pids = [pair.a().pid(), pair.b().pid()];
        let directory = pair.directory().to_owned();
        pair.stop().await.unwrap();
        for pid in pids.map(Option::unwrap) {
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        }
        assert!(!directory.exists());
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_with_every_commit() {
    let pair = start(false).await;
    make_table(&pair).await;
    for _ in 0..20 {
        run(pair.a(), "INSERT INTO shop.t (at) VALUES (1)").await;
    }
    pair.a().kill9().unwrap();
    assert_eq!(pair.a().pid(), None);
    pair.a().restart().await.unwrap();
    pair.wait_linked(0).await.unwrap();
    pair.wait_linked(1).await.unwrap();
    pair.wait_replicated().await.unwrap();
    for server in pair.servers() {
        assert_eq!(rows(server).await, 20, "server {}", server.name());
    }
}

#[tokio::test]
async fn a_paused_server_catches_up() {
    let pair = start(false).await;
    make_table(&pair).await;
    pair.b().pause().unwrap();
    // Returns after the semi-sync timeout, since nobody acknowledges.
    run(pair.a(), "INSERT INTO shop.t (at) VALUES (1)").await;
    assert!(pair.b().pid().is_some());
    pair.b().resume().unwrap();
    let b = pair.b();
    wait_until("the row is on b", Duration::from_secs(10), || async move {
        rows(b).await == 1
    })
    .await;
}

#[tokio::test]
async fn servers_count_by_account() {
    let pair = start(false).await;
    make_table(&pair).await;
    let opts = pair.a().account(APP.user, APP.password);
    let mut conn = mysql_async::Conn::new(opts).await.unwrap();
    conn.query_drop("INSERT INTO shop.t (at) VALUES (1)")
        .await
        .unwrap();
    conn.exec_drop("INSERT INTO shop.t (at) VALUES (?)", (2,))
        .await
        .unwrap();
    conn.exec_drop("SELECT at FROM shop.t WHERE id = ?", (1,))
        .await
        .unwrap();
    conn.query_drop("SELECT 1").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    let Counts { reads, writes, .. } = tandem::demo::story::counts(pair.a(), APP.user).await.unwrap();
    assert_eq!((reads, writes), (2, 2));
}

#[tokio::test]
async fn the_application_cannot_write_on_the_standby() {
    let options = Options {
        durable: false,
        ..Options::default()
    };
    let pair = Pair::start(&options).await.unwrap();
    make_table(&pair).await;
    pair.wait_replicated().await.unwrap();
    let opts = pair.b().account(APP.user, APP.password);
    let mut conn = mysql_async::Conn::new(opts).await.unwrap();
    let refused = conn.query_drop("INSERT INTO shop.t (at) VALUES (1)").await;
    let Err(mysql_async::Error::Server(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.code, 1290);
}

async fn start(own_domains: bool) -> Pair {
    let options = Options {
        durable: false,
        both_writable: true,
        own_domains,
        semi_sync_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    Pair::start(&options).await.unwrap()
}

async fn make_table(pair: &Pair) {
    run(pair.a(), "CREATE DATABASE shop").await;
    let table = "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, at INT)";
    run(pair.a(), table).await;
}

async fn run(server: &Server, statement: &str) {
    let mut conn = server.connect().await.unwrap();
    conn.query_drop(statement).await.unwrap();
}

async fn rows(server: &Server) -> u32 {
    let mut conn = server.connect().await.unwrap();
    let count = conn.query_first("SELECT COUNT(*) FROM shop.t").await;
    count.unwrap().unwrap_or_default()
}
