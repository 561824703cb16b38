//! The active master dies, hangs or is changed under load: who had a write acknowledged finds it, once, and goes on.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::demo::pair::APP;
use tandem_tests::ledger::{self, Load, Manner, Report};
use tandem_tests::pair::{Pair, Server};
use tandem_tests::{Cluster, Flavor, Proxy, Setup, WITHIN, roles, rounds, wait_until};

async fn cluster() -> Cluster {
    cluster_of(Setup::with_failover()).await
}

async fn cluster_of(setup: Setup) -> Cluster {
    let cluster = Cluster::start(setup).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    cluster
}

async fn settle(cluster: &Cluster, load: Load, survivor: &Server) -> Report {
    let mut conn = cluster.direct(survivor).await;
    let report = load.settle(&mut conn).await;
    roles::show(cluster).await;
    println!("{report}");
    for error in &report.errors {
        println!("    {error}");
    }
    report
}

/// Eight clients of each manner, after they have begun in earnest.
async fn load(cluster: &Cluster) -> Load {
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 8);
    ledger::wait_rows(cluster.opts(Some("shop")), 500, WITHIN).await;
    load
}

/// Waits until a server that came back is let back in, or is quarantined for what it has and the other has not: a commit
/// that was written and not sent yet when it died. MariaDB forgets that when it starts (`init_rpl_role`), MySQL keeps it.
async fn wait_back(cluster: &Cluster, server: &str) -> bool {
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut admin = cluster.admin().await;
        let rows: Vec<Row> = admin.query("SHOW EVENTS").await.expect("events");
        let is =
            |row: &Row, column: &str, wanted: &str| row.get::<String, _>(column).as_deref() == Some(wanted);
        let told = |event: &str| {
            rows.iter()
                .any(|row| is(row, "event", event) && is(row, "server", server))
        };
        if told("rejoined") {
            return true;
        }
        if told("quarantined") {
            assert_eq!(cluster.a().engine().flavor(), Flavor::MySql, "{rows:#?}");
            return false;
        }
        if Instant::now() > deadline {
            roles::show(cluster).await;
            panic!("{server} is not let back in within {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Both directions run, and the standby is one.
async fn wait_whole(cluster: &Cluster, standby: &str) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut admin = cluster.admin().await;
        let rows: Vec<Row> = admin.query("SHOW SERVERS").await.expect("servers");
        let is = |row: &Row, column: &str, wanted: &str| {
            row.get::<Option<String>, _>(column).flatten().as_deref() == Some(wanted)
        };
        let replicate = rows
            .iter()
            .all(|row| is(row, "receiving", "yes") && is(row, "applying", "yes"));
        let standby = rows
            .iter()
            .any(|row| is(row, "name", standby) && is(row, "role", "standby") && is(row, "read_only", "yes"));
        if replicate && standby {
            return;
        }
        if Instant::now() > deadline {
            roles::show(cluster).await;
            panic!("the pair is not whole within {WITHIN:?}: {rows:#?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_comes_back_as_the_standby() {
    for _ in 0..rounds() {
        Box::pin(end_the_active_master(End::Killed)).await;
    }
}

/// It tells its clients so, each in its own way, and what they have just written may be committed or not.
#[tokio::test]
async fn a_master_that_is_stopped_in_order_costs_nobody_an_error_and_comes_back() {
    for _ in 0..rounds() {
        Box::pin(end_the_active_master(End::Stopped)).await;
    }
}

/// What becomes of a server.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

async fn end_the_active_master(end: End) {
    let cluster = cluster().await;
    roles::wait_ready(&cluster, WITHIN).await;
    let load = load(&cluster).await;
    let ended = Instant::now();
    match end {
        End::Killed => cluster.a().kill9(),
        End::Stopped => cluster.a().stop().await,
    }
    .expect("ended");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    println!("b is active after {:?}", ended.elapsed());
    println!("{}", roles::steps(&cluster, ended).await);
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    cluster.a().restart().await.expect("back");
    let is_in = wait_back(&cluster, "a").await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    let report = settle(&cluster, load, cluster.b()).await;
    report.assert_nothing_lost();
    if is_in {
        wait_whole(&cluster, "a").await;
        cluster.wait_replicated().await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_master_that_hangs_is_replaced_and_acknowledges_nothing_when_it_wakes() {
    for _ in 0..rounds() {
        Box::pin(stop_the_active_master()).await;
    }
}

async fn stop_the_active_master() {
    let cluster = cluster().await;
    let load = load(&cluster).await;
    let paused = Instant::now();
    cluster.a().pause().expect("paused");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    println!("b is active after {:?}", paused.elapsed());
    println!("{}", roles::steps(&cluster, paused).await);
    roles::show(&cluster).await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    cluster.a().resume().expect("awake");
    wait_until("a is read-only", WITHIN, || async {
        // Its sessions are ended, this one too.
        let conn = Conn::new(cluster.a().root()).await;
        match conn {
            Ok(mut conn) => matches!(conn.query_first("SELECT @@read_only").await, Ok(Some(1_u8))),
            Err(_) => false,
        }
    })
    .await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    let report = settle(&cluster, load, cluster.b()).await;
    report.assert_nothing_lost();
    cluster.stop().await;
}

/// What the standby has received it applies before it takes over, also what its workers have not begun when the applier itself has
/// nothing to read any more.
#[tokio::test]
async fn a_standby_takes_over_when_its_workers_have_applied_what_it_has_received() {
    let mut setup = Setup::with_failover();
    // MySQL has four by default.
    setup.pair.extra.push("loose_slave_parallel_threads=8".to_owned());
    let cluster = cluster_of(setup).await;
    let mut client = Conn::new(cluster.opts(Some("shop"))).await.expect("a client");
    let row = "INSERT INTO ledger (writer, n) VALUES (1, 1)";
    client.query_drop(row).await.expect("written");
    wait_until("the standby has the row", WITHIN, async || {
        let mut standby = cluster.direct(cluster.b()).await;
        let count = standby.query_first("SELECT COUNT(*) FROM shop.ledger WHERE writer = 1");
        count.await.expect("a count") == Some(1)
    })
    .await;
    let mut brake = cluster.direct(cluster.b()).await;
    for statement in [
        "BEGIN",
        "SELECT * FROM shop.ledger WHERE writer = 1 LOCK IN SHARE MODE",
    ] {
        brake.query_drop(statement).await.expect(statement);
    }
    let change = "UPDATE ledger SET n = 2 WHERE writer = 1";
    client.query_drop(change).await.expect("acknowledged");
    for _ in 0..100 {
        let row = "INSERT INTO ledger (writer, n) VALUES (2, 1)";
        client.query_drop(row).await.expect("acknowledged");
    }
    cluster.a().kill9().expect("killed");
    wait_until("a failover begins", WITHIN, async || {
        roles::said(&cluster, "EVENTS")
            .await
            .contains("receiving_stopped")
    })
    .await;
    // Long enough for whatever might be decided, and less than failover.apply_timeout.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = roles::said(&cluster, "EVENTS").await;
    assert!(!events.contains("promoted"), "{events}");
    brake.query_drop("COMMIT").await.expect("released");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    let written =
        client.query_first("SELECT CONCAT(SUM(writer = 1 AND n = 2), ' and ', SUM(writer = 2)) FROM ledger");
    let written: Option<String> = written.await.expect("an answer");
    assert_eq!(written.as_deref(), Some("1 and 100"));
    let events = roles::said(&cluster, "EVENTS").await;
    assert!(!events.contains("failover_stopped"), "{events}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_killed_standby_costs_nobody_an_error_and_comes_back() {
    for _ in 0..rounds() {
        Box::pin(kill_the_standby()).await;
    }
}

async fn kill_the_standby() {
    let cluster = cluster().await;
    let load = load(&cluster).await;
    cluster.b().kill9().expect("killed");
    ledger::wait_rows(cluster.opts(Some("shop")), 500, WITHIN).await;
    cluster.b().restart().await.expect("back");
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    let report = settle(&cluster, load, cluster.a()).await;
    report.assert_nothing_lost();
    wait_whole(&cluster, "b").await;
    cluster.wait_replicated().await;
    cluster.stop().await;
}

/// Whoever has to go to the standby finds a connection there, in the state that sessions have: it has as many as the active master.
#[tokio::test]
async fn the_standby_has_as_many_connections_as_the_active_master() {
    let cluster = cluster().await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let mut conn = cluster.client_in("shop").await;
        for statement in ["BEGIN", "INSERT INTO ledger (writer, n) VALUES (1, 1)"] {
            conn.query_drop(statement).await.expect(statement);
        }
        sessions.push(conn);
    }
    let open = async |server: &str| -> u64 {
        let rows: Vec<Row> = cluster.admin().await.query("SHOW POOLS").await.expect("pools");
        let of_server = rows
            .iter()
            .filter(|row| row.get::<String, _>("server").as_deref() == Some(server));
        of_server.filter_map(|row| row.get::<u64, _>("open")).sum()
    };
    assert!(open("a").await >= 6);
    wait_until("the standby has its connections", WITHIN, async || {
        open("b").await >= 6
    })
    .await;
    // But for those that were opened before any session had brought its state.
    wait_until("they are in the sessions' schema", WITHIN, async || {
        let question = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND db = 'shop'",
            APP.user
        );
        let mut standby = cluster.direct(cluster.b()).await;
        let ready: Option<u64> = standby.query_first(question).await.expect("a count");
        ready.is_some_and(|ready| ready >= 3)
    })
    .await;
    drop(sessions);
    cluster.stop().await;
}

#[tokio::test]
async fn switching_over_under_load_costs_nobody_an_error() {
    for _ in 0..rounds() {
        Box::pin(switch_over_and_back()).await;
    }
}

async fn switch_over_and_back() {
    let cluster = cluster().await;
    if rounds() > 1 {
        calm(&cluster).await;
    }
    let load = load(&cluster).await;
    let mut admin = cluster.admin().await;
    for name in ["b", "a", "b", "a"] {
        // Refused until the one before is let back in.
        let deadline = Instant::now() + WITHIN;
        let done: Option<String> = loop {
            match admin.query_first(format!("SWITCHOVER TO {name}")).await {
                Ok(done) => break done,
                Err(error) => assert!(
                    error.to_string().contains("not let back in yet") && Instant::now() < deadline,
                    "{error}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        println!("{}", done.expect("a sentence"));
        roles::wait_active(&cluster, Some(name), WITHIN).await;
        ledger::wait_rows(cluster.opts(Some("shop")), 100, WITHIN).await;
    }
    let report = settle(&cluster, load, cluster.a()).await;
    report.assert_nothing_lost();
    cluster.wait_replicated().await;
    cluster.stop().await;
}

/// What the same load meets while nobody switches over: a pause is to be compared with that.
async fn calm(cluster: &Cluster) {
    let load = Load::beside(&cluster.opts(Some("shop")), &Manner::ALL, 8, 10_000);
    ledger::wait_rows(cluster.opts(Some("shop")), 5000, WITHIN).await;
    let report = load.settle(&mut cluster.direct(cluster.a()).await).await;
    println!("without a switchover: {report}");
    report.assert_nothing_lost();
}

/// As after a power cut: both servers are killed and Tandem is stopped. Whichever server comes back first, the active
/// master of before is the active one afterwards; it is not replaced for being slow to come back.
#[tokio::test]
async fn after_both_servers_were_killed_the_right_one_is_active() {
    let setup = Setup::with_failover();
    let mut cluster = Cluster::start(setup).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    // The second of the file is active: who went by the file would choose the other.
    wait_until("switched over", WITHIN, || async {
        cluster.admin().await.query_drop("SWITCHOVER TO b").await.is_ok()
    })
    .await;
    for (round, b_first) in [true, false].into_iter().enumerate() {
        roles::wait_active(&cluster, Some("b"), WITHIN).await;
        let mut conn = cluster.client_in("shop").await;
        for n in 0..200 {
            conn.query_drop(format!("INSERT INTO ledger (writer, n) VALUES ({round}, {n})"))
                .await
                .expect("acknowledged");
        }
        // The standby a moment before the active master: the other way round, it would be promoted meanwhile.
        cluster.a().kill9().expect("killed");
        cluster.b().kill9().expect("killed");
        drop(conn);
        cluster.restart_proxy().await;
        let (first, second) = match b_first {
            true => (cluster.b(), cluster.a()),
            false => (cluster.a(), cluster.b()),
        };
        first.restart().await.expect("back");
        if !b_first {
            // It waits for b, however long: a may lack what b has acknowledged.
            wait_until("a is seen", WITHIN, || async {
                let mut admin = cluster.admin().await;
                let rows: Vec<Row> = admin.query("SHOW SERVERS").await.expect("servers");
                rows.iter()
                    .any(|row| row.get::<String, _>("role").as_deref() != Some("down"))
            })
            .await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(
                roles::active(&cluster).await.as_deref() != Some("a"),
                "nobody is promoted in place of who was not seen"
            );
        }
        second.restart().await.expect("back");
        roles::wait_active(&cluster, Some("b"), WITHIN).await;
        let mut conn = cluster.client_in("shop").await;
        let count = format!("SELECT COUNT(*) FROM ledger WHERE writer = {round}");
        assert_eq!(conn.query_first(count).await.expect("a count"), Some(200_u64));
        conn.query_drop("DELETE FROM ledger WHERE writer = 99")
            .await
            .expect("it takes writes");
        wait_whole(&cluster, "a").await;
    }
    cluster.stop().await;
}

/// The standby is away and semi-sync replication off: what the active master acknowledges nobody else has, and its crash must not
/// take it.
#[tokio::test]
async fn a_crash_takes_nothing_from_a_master_that_is_alone() {
    for round in 0..rounds() {
        let cluster = cluster().await;
        cluster.b().kill9().expect("killed");
        wait_until("it waits for nobody", WITHIN, || async {
            roles::said(&cluster, "EVENTS").await.contains("waits_for_nobody")
        })
        .await;
        // Not transactions: of those that are played again on the same server, some find that others have got their new ids.
        let load = Load::start(&cluster.opts(Some("shop")), &[Manner::Text, Manner::Prepared], 8);
        ledger::wait_rows(cluster.opts(Some("shop")), 500, WITHIN).await;
        // Not always in the same place of a commit.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37 % 100)).await;
        cluster.a().kill9().expect("killed");
        cluster.a().restart().await.expect("back");
        roles::wait_active(&cluster, Some("a"), WITHIN).await;
        ledger::wait_rows(cluster.opts(Some("shop")), 100, WITHIN).await;
        let report = settle(&cluster, load, cluster.a()).await;
        report.assert_nothing_lost();
        cluster.stop().await;
    }
}

/// One of the two decides, as the README says of two in front of one pair.
/// A statement may be what servers die of, or somebody kills it there: it is not run for ever.
#[tokio::test]
async fn a_write_that_loses_its_server_again_and_again_is_given_up() {
    let cluster = cluster().await;
    let mut root = cluster.direct(cluster.a()).await;
    let mut conn = cluster.client_in("shop").await;
    let running = tokio::spawn(async move {
        let statement = "INSERT INTO ledger (writer, n) SELECT 7, SLEEP(100)";
        (conn.query_drop(statement).await, conn)
    });
    let mut killed = 0;
    let deadline = Instant::now() + WITHIN;
    while !running.is_finished() {
        let question = "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(100)' AND state = 'User sleep'";
        if let Some(id) = root.query_first::<u64, _>(question).await.expect("a list") {
            killed += u32::from(root.query_drop(format!("KILL {id}")).await.is_ok());
        }
        assert!(Instant::now() < deadline, "it is run again after {killed} kills");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (result, mut conn) = running.await.expect("no panic");
    let error = result.expect_err("it was killed").to_string();
    assert!(
        error.contains("it did not take effect, and was run again before"),
        "{error}"
    );
    assert!(killed >= 3, "{killed}");
    let written = conn
        .query_first("SELECT COUNT(*) FROM ledger WHERE writer = 7")
        .await;
    assert_eq!(written.expect("the session goes on"), Some(0_u8));
    cluster.stop().await;
}

/// Nobody is active while the old master is fenced, and a transaction that is open there may be committed.
#[tokio::test]
async fn a_commit_that_is_sent_while_nobody_is_active_takes_effect_once() {
    let pair = Pair::start(&Setup::with_failover().pair).await.expect("a pair");
    let fenced = pair.directory().join("fenced");
    let fence = format!("while [ ! -e '{}' ]; do sleep 0.02; done", fenced.display());
    let cluster = Cluster::over(pair, "", move |config| {
        let failover = config.failover.as_mut().expect("the harness switches it on");
        failover.fence_command = Some(fence);
    })
    .await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    roles::wait_ready(&cluster, WITHIN).await;
    let mut conn = cluster.client_in("shop").await;
    for statement in ["BEGIN", "INSERT INTO ledger (writer, n) VALUES (1, 1)"] {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.a().pause().expect("paused");
    wait_until("nobody is active", WITHIN, || async {
        roles::active(&cluster).await.is_none()
    })
    .await;
    let commit = tokio::spawn(async move { conn.query_drop("COMMIT").await });
    wait_until("the COMMIT is under way", WITHIN, || async {
        let question = "SELECT COUNT(*) FROM sessions WHERE statement = 'COMMIT'";
        let found = cluster.admin().await.query_first(question).await;
        found.expect("sessions") == Some(1_u8)
    })
    .await;
    std::fs::write(&fenced, "").expect("a file");
    commit.await.expect("no panic").expect("its OK");
    assert_eq!(roles::wait_active(&cluster, None, WITHIN).await, "b");
    let mut survivor = cluster.direct(cluster.b()).await;
    let rows = survivor.query_first("SELECT COUNT(*) FROM shop.ledger").await;
    assert_eq!(rows.expect("a number"), Some(1_u8));
    cluster.a().resume().expect("awake");
    cluster.stop().await;
}

#[tokio::test]
async fn a_second_tandem_follows_and_its_sessions_carry_on() {
    let cluster = cluster().await;
    let follower = Proxy::over(cluster.pair(), "", |config| {
        let failover = config.failover.as_mut().expect("the harness switches it on");
        failover.decides = false;
    })
    .await;
    let load = Load::start(&follower.opts(Some("shop")), &[Manner::Text, Manner::Prepared], 1);
    ledger::wait_rows(cluster.opts(Some("shop")), 300, WITHIN).await;
    let mut admin = cluster.admin().await;
    admin.query_drop("SWITCHOVER TO b").await.expect("switched over");
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    cluster.b().kill9().expect("killed");
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    let report = settle(&cluster, load, cluster.a()).await;
    report.assert_nothing_lost();
    drop(follower);
    cluster.stop().await;
}
