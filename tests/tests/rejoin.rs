//! A server that comes back other than it went: without replication, under other numbers, after so long that what it lacks is
//! gone.

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use tandem::topology::Flavor;
use tandem_tests::pair::Server;
use tandem_tests::{Cluster, Setup, WITHIN, roles, wait_until};

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Setup::with_failover()).await;
    let mut conn = cluster.client().await;
    for statement in ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"] {
        conn.query_drop(statement).await.expect(statement);
    }
    wait_whole(&cluster).await;
    cluster
}

/// Both directions run, and the other server could take over now.
async fn wait_whole(cluster: &Cluster) {
    wait_until("the pair is whole", WITHIN, async || {
        let servers = roles::said(cluster, "SERVERS").await;
        let rows: Vec<&str> = servers.lines().collect();
        let replicate = rows.len() == 2 && rows.iter().all(|row| row.matches("yes").count() >= 2);
        replicate
            && servers.contains("standby")
            && roles::said(cluster, "FAILOVER")
                .await
                .contains("could_fail_over | yes")
    })
    .await;
}

/// How often b was let back in.
async fn rejoined(cluster: &Cluster) -> usize {
    let events = roles::said(cluster, "EVENTS").await;
    events.matches("rejoined | b").count()
}

async fn run(server: &Server, statements: &[&str]) {
    let mut conn = server.connect().await.expect("connected");
    for statement in statements {
        conn.query_drop(*statement).await.expect(statement);
    }
}

/// On the admin port.
async fn say(cluster: &Cluster, command: &str) {
    cluster.admin().await.query_drop(command).await.expect(command);
}

/// As soon as it is possible; afterwards the pair is whole.
async fn switch_over(cluster: &Cluster, to: &str) {
    wait_until("a switchover", WITHIN, async || {
        let mut admin = cluster.admin().await;
        admin.query_drop(format!("SWITCHOVER TO {to}")).await.is_ok()
    })
    .await;
    wait_whole(cluster).await;
}

/// What is written arrives at the other server, in both directions.
async fn is_replicated(cluster: &Cluster, first_id: u32) {
    for (id, to) in [(first_id, "b"), (first_id + 1, "a")] {
        let mut conn = cluster.client().await;
        conn.query_drop(format!("INSERT INTO shop.t VALUES ({id})"))
            .await
            .expect("a write");
        cluster.wait_replicated().await;
        switch_over(cluster, to).await;
    }
    cluster.wait_replicated().await;
}

#[tokio::test]
async fn a_server_that_replicates_from_nobody_is_set_up() {
    let mut cluster = cluster().await;
    let forget: &[&str] = match cluster.a().engine().flavor() {
        Flavor::MariaDb => &["STOP SLAVE", "RESET SLAVE ALL"],
        Flavor::MySql => &["STOP REPLICA", "RESET REPLICA ALL"],
    };
    // Else it starts again what was stopped.
    let mut admin = cluster.admin().await;
    admin.query_drop("PAUSE").await.expect("PAUSE");
    drop(admin);
    cluster.restart_proxy().await;
    wait_until(
        "a Tandem that was restarted is paused still",
        WITHIN,
        async || roles::property(&mut cluster.admin().await, "state").await == "paused",
    )
    .await;
    for server in [cluster.a(), cluster.b()] {
        run(server, forget).await;
    }
    say(&cluster, "RESUME").await;
    wait_until("both are set up", WITHIN, async || {
        let events = roles::said(&cluster, "EVENTS").await;
        events.matches("set_up").count() == 2
    })
    .await;
    wait_whole(&cluster).await;
    is_replicated(&cluster, 1).await;
    cluster.stop().await;
}

/// As after it was made anew from a backup, by an operator who gave it a number of its own.
#[tokio::test]
async fn a_server_comes_back_under_another_number() {
    let cluster = cluster().await;
    let before = rejoined(&cluster).await;
    let b = cluster.b();
    b.stop().await.expect("stopped");
    let file = b.directory().join("my.cnf");
    let text = std::fs::read_to_string(&file).expect("its option file");
    let changed = text.replace("server_id=2", "server_id=7");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).expect("its option file");
    let _ = std::fs::remove_file(b.directory().join("data/auto.cnf"));
    b.restart().await.expect("started");
    wait_until("it is let back in", WITHIN, async || {
        rejoined(&cluster).await > before
    })
    .await;
    wait_whole(&cluster).await;
    is_replicated(&cluster, 1).await;
    cluster.stop().await;
}

/// The log of a standby that was made anew from a backup begins there. The active master dies before it replicates from that one
/// again, and when it comes back, asks for what comes behind the last that it had of the one of before.
#[tokio::test]
#[ignore = "fails in a quarter of the runs on MariaDB, whose killed dump thread hangs (ARCHITECTURE.md, Known to be incomplete)"]
async fn the_active_master_dies_behind_a_standby_that_was_made_anew() {
    let cluster = cluster().await;
    let mut conn = cluster.client().await;
    let mut write = async |id: u32| {
        let insert = format!("INSERT INTO shop.t VALUES ({id})");
        conn.query_drop(&insert).await.expect(&insert);
    };
    write(101).await;
    switch_over(&cluster, "b").await;
    write(102).await;
    say(&cluster, "DRAIN a").await;
    begin_its_log_anew(cluster.a()).await;
    say(&cluster, "OPEN a").await;
    roles::wait_ready(&cluster, WITHIN).await;
    write(103).await;
    wait_row(cluster.a(), 103).await;
    cluster.b().kill9().expect("killed");
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    write(104).await;
    cluster.b().restart().await.expect("started");
    wait_row(cluster.b(), 104).await;
    println!("{}", roles::said(&cluster, "EVENTS").await);
    cluster.stop().await;
}

async fn wait_row(server: &Server, id: u32) {
    wait_until("it is replicated", WITHIN, async || {
        let mut direct = server.connect().await.expect("connected");
        let select = format!("SELECT id FROM shop.t WHERE id = {id}");
        let found: Option<u32> = direct.query_first(&select).await.expect(&select);
        found.is_some()
    })
    .await;
}

/// As that of one is that was made anew from a backup: it has all, and its log has nothing of it.
async fn begin_its_log_anew(server: &Server) {
    let (stop, position, reset, set) = match server.engine().flavor() {
        Flavor::MariaDb => ("STOP SLAVE", "gtid_slave_pos", "RESET MASTER", "gtid_slave_pos"),
        Flavor::MySql => (
            "STOP REPLICA",
            "gtid_executed",
            "RESET BINARY LOGS AND GTIDS",
            "gtid_purged",
        ),
    };
    run(server, &[stop]).await;
    let mut conn = server.connect().await.expect("connected");
    let at: Option<String> = conn
        .query_first(format!("SELECT @@GLOBAL.{position}"))
        .await
        .expect("its position");
    let set = format!("SET GLOBAL {set}='{}'", at.expect("a position"));
    run(server, &[reset, &set]).await;
}

/// It can't be caught up with any more: that is said, reads and writes go on, and nobody is promoted.
#[tokio::test]
async fn a_server_was_away_for_longer_than_binary_logs_are_kept() {
    let cluster = cluster().await;
    cluster.b().stop().await.expect("stopped");
    let mut conn = cluster.client().await;
    conn.query_drop("INSERT INTO shop.t VALUES (1)")
        .await
        .expect("a write");
    run(cluster.a(), &["FLUSH BINARY LOGS"]).await;
    conn.query_drop("INSERT INTO shop.t VALUES (2)")
        .await
        .expect("a write");
    // A thread that still sends to the one that is gone holds them for a while.
    wait_until("what b lacks is purged", WITHIN, async || {
        let mut direct = cluster.a().connect().await.expect("connected");
        let logs: Vec<Row> = direct.query("SHOW BINARY LOGS").await.expect("its logs");
        let newest: String = logs.last().expect("a log").get("Log_name").expect("a name");
        let purge = format!("PURGE BINARY LOGS TO '{newest}'");
        direct.query_drop(&purge).await.expect(&purge);
        logs.len() == 1
    })
    .await;
    cluster.b().restart().await.expect("started");
    wait_until("SHOW FAILOVER says why not", WITHIN, async || {
        let status = roles::said(&cluster, "FAILOVER").await;
        status.contains("could_fail_over | no") && status.contains("receiver has stopped")
    })
    .await;
    conn.query_drop("INSERT INTO shop.t VALUES (3)")
        .await
        .expect("a write");
    let rows: Option<u32> = conn
        .query_first("SELECT COUNT(*) FROM shop.t")
        .await
        .expect("a read");
    assert_eq!(rows, Some(3));
    println!(
        "{}\n{}",
        roles::said(&cluster, "FAILOVER").await,
        roles::said(&cluster, "EVENTS").await
    );
    cluster.stop().await;
}

/// What an operator does to a drained server is left as it is, over a restart of Tandem too, and nobody waits for it.
#[tokio::test]
async fn a_drained_server_is_the_operators_until_it_is_opened() {
    let mut cluster = cluster().await;
    let mut admin = cluster.admin().await;
    let could: Option<String> = admin.query_first("SWITCHOVER DRY RUN").await.expect("a dry run");
    assert_eq!(
        could.as_deref(),
        Some("b could become the active master now; nothing was changed")
    );
    let refused = admin.query_drop("DRAIN a").await.expect_err("the active master");
    assert!(
        refused.to_string().contains("SWITCHOVER before it is drained"),
        "{refused}"
    );
    admin.query_drop("DRAIN b").await.expect("DRAIN b");
    wait_until("commits wait for nobody", WITHIN, async || {
        roles::said(&cluster, "EVENTS").await.contains("waits_for_nobody")
    })
    .await;
    let refused = admin
        .query_drop("SWITCHOVER DRY RUN")
        .await
        .expect_err("b is drained");
    assert!(
        refused.to_string().contains("drained by an operator"),
        "{refused}"
    );
    let stop: &[&str] = match cluster.b().engine().flavor() {
        Flavor::MariaDb => &["STOP SLAVE", "SET GLOBAL read_only=0"],
        Flavor::MySql => &["STOP REPLICA", "SET GLOBAL read_only=0"],
    };
    run(cluster.b(), stop).await;
    drop(admin);
    cluster.restart_proxy().await;
    wait_until("a is active", WITHIN, async || {
        roles::said(&cluster, "SERVERS").await.contains("active")
    })
    .await;
    let mut conn = cluster.client_in("shop").await;
    let before = cluster.query_counts(cluster.b()).await;
    for id in 1..20 {
        conn.query_drop(format!("INSERT INTO t VALUES ({id})"))
            .await
            .expect("a write");
        let _: Vec<u32> = conn.query("SELECT id FROM t").await.expect("a read");
    }
    assert_eq!(
        cluster.query_counts(cluster.b()).await,
        before,
        "no read goes there"
    );
    let mut direct = cluster.b().connect().await.expect("connected");
    let read_only: Option<u8> = direct
        .query_first("SELECT @@GLOBAL.read_only")
        .await
        .expect("a variable");
    assert_eq!(read_only, Some(0), "it is left alone");
    cluster.admin().await.query_drop("OPEN b").await.expect("OPEN b");
    wait_whole(&cluster).await;
    cluster.wait_replicated().await;
    // Its sessions were ended.
    let mut direct = cluster.b().connect().await.expect("connected");
    let read_only: Option<u8> = direct
        .query_first("SELECT @@GLOBAL.read_only")
        .await
        .expect("a variable");
    assert_eq!(read_only, Some(1));
    cluster.stop().await;
}

/// A crash has taken a commit from the server that made it, which the other has, and which had come round the ring: it gets it back.
/// Only MariaDB forgets so (`init_rpl_role=SLAVE`); a MySQL keeps what is in its log.
#[tokio::test]
async fn a_server_gets_back_what_a_crash_has_taken_from_it() {
    let cluster = cluster().await;
    if cluster.a().engine().flavor() == Flavor::MySql {
        println!("MySQL forgets nothing");
        return cluster.stop().await;
    }
    switch_over(&cluster, "b").await;
    say(&cluster, "DRAIN a").await;
    run(cluster.a(), &["STOP SLAVE"]).await;
    let mut conn = cluster.b().connect().await.expect("connected");
    let position: Option<String> = conn
        .query_first("SELECT @@GLOBAL.gtid_binlog_pos")
        .await
        .expect("a position");
    let number: u64 = position
        .as_deref()
        .and_then(|position| position.rsplit('-').next()?.parse().ok())
        .expect("a number");
    // As if a had made it.
    let claim = format!("SET GLOBAL gtid_slave_pos='0-1-{}'", number + 1);
    for statement in [
        "STOP SLAVE",
        "SET SESSION server_id=1",
        &format!("SET SESSION gtid_seq_no={}", number + 1),
        "INSERT INTO shop.t VALUES (1)",
        // It had received it from a.
        &claim,
        "SET SESSION server_id=2",
        "INSERT INTO shop.t VALUES (2)",
    ] {
        conn.query_drop(statement).await.expect(statement);
    }
    run(cluster.a(), &[&claim]).await;
    say(&cluster, "OPEN a").await;
    wait_whole(&cluster).await;
    cluster.wait_replicated().await;
    assert!(roles::said(&cluster, "EVENTS").await.contains("fetches_back | a"));
    let mut returned = cluster.a().connect().await.expect("connected");
    let rows: Vec<u32> = returned
        .query("SELECT id FROM shop.t ORDER BY id")
        .await
        .expect("its rows");
    assert_eq!(rows, [1, 2]);
    cluster.stop().await;
}
