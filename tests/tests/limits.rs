//! What an account and a network may have, on real servers: who asks for more is told which key says so, others go on, and
//! the table `limits` shows it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use tandem_tests::pair::Pair;
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, overtime, wait_until};

use std::time::{Duration, Instant};

fn refusal(error: Error) -> (u16, String) {
    match error {
        Error::Server(refused) => (refused.code, refused.message),
        other => panic!("not refused, but {other}"),
    }
}

/// `limit`, `current`, `highest` and `refused` of a key.
async fn limit(admin: &mut Conn, key: &str) -> (u64, u64, u64, u64) {
    let question = format!("SELECT `limit`, current, highest, refused FROM limits WHERE name = '{key}'");
    let row = admin.query_first(question).await.expect("the table");
    row.unwrap_or_else(|| panic!("no row {key}"))
}

#[tokio::test]
async fn a_noisy_account_is_bounded_while_it_runs_and_others_are_not() {
    let toml = "[[user]]\nname = \"quiet\"\npassword = \"qu13t\"\n\
        [[network]]\nname = \"here\"\naddresses = \"127.0.0.0/8\"\nmax_connections = 6\n";
    // A process of its own: its configuration can be another while it runs.
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let workers = ["listener.workers=2".to_owned()];
    let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &workers);
    cluster.create_user("quiet", "qu13t", "SELECT ON *.*").await;
    let quiet = || {
        OptsBuilder::from_opts(cluster.opts(None))
            .user(Some("quiet"))
            .pass(Some("qu13t"))
    };
    let file = cluster.pair().directory().join("tandem").join("tandem.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    std::fs::write(&file, format!("{text}\n{toml}")).expect("written");
    let mut admin = cluster.admin().await;
    admin.query_drop("RELOAD").await.expect("reloaded");
    let app = tandem::demo::pair::APP.user;
    let (sessions, rate) = (
        format!("user.{app}.max_connections"),
        format!("user.{app}.statement_rate"),
    );
    // Sessions, on whichever worker they are.
    admin
        .query_drop(format!("SET {sessions} = 3"))
        .await
        .expect("set");
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(Conn::new(cluster.opts(None)).await.expect("room"));
    }
    let (code, message) = refusal(Conn::new(cluster.opts(None)).await.expect_err("one too many"));
    assert_eq!(code, 1203, "{message}");
    assert!(message.contains(&sessions), "{message}");
    let mut other = Conn::new(quiet()).await.expect("another account");
    assert_eq!(limit(&mut admin, &sessions).await, (3, 3, 3, 1));
    // The network: three of the one account and one of the other are in it.
    let more = [
        Conn::new(quiet()).await.expect("room"),
        Conn::new(quiet()).await.expect("room"),
    ];
    let (code, message) = refusal(Conn::new(quiet()).await.expect_err("the network is full"));
    assert_eq!(code, 1203, "{message}");
    assert!(message.contains("network.here.max_connections"), "{message}");
    for conn in more {
        conn.disconnect().await.expect("left");
    }
    let mut noisy = kept.pop().expect("a session");
    for conn in kept {
        conn.disconnect().await.expect("left");
    }
    wait_until("places are given back", Duration::from_secs(5), || async {
        let mut admin = cluster.admin().await;
        limit(&mut admin, &sessions).await.1 == 1
    })
    .await;
    Conn::new(cluster.opts(None)).await.expect("room again");
    // Statements, in text and prepared, of a session that is there already.
    admin.query_drop(format!("SET {rate} = 5")).await.expect("set");
    let mut answered = 0;
    let refused = loop {
        let asked = match answered % 2 {
            0 => noisy.query_drop("SELECT 1").await,
            _ => noisy.exec_drop("SELECT ?", (1,)).await,
        };
        match asked {
            Ok(()) => answered += 1,
            Err(error) => break refusal(error),
        }
        assert!(answered < 100, "the rate holds");
        other
            .query_drop("SELECT 1")
            .await
            .expect("another account goes on");
    };
    assert_eq!(refused.0, 1226, "{}", refused.1);
    assert!(refused.1.contains(&rate), "{}", refused.1);
    let (most, _, highest, refusals) = limit(&mut admin, &rate).await;
    assert_eq!((most, highest), (5, 5));
    assert!(refusals >= 1);
    wait_until("the second is over", Duration::from_secs(5), || async {
        let mut admin = cluster.admin().await;
        limit(&mut admin, &rate).await.1 == 0
    })
    .await;
    noisy.query_drop("SELECT 1").await.expect("the next second");
    admin.query_drop(format!("SET {rate} = 0")).await.expect("set");
    for _ in 0..50 {
        noisy.query_drop("SELECT 1").await.expect("no limit any more");
    }
    cluster.assert_logs_clean();
    cluster.stop().await;
}

/// Who leaves a transaction open is hung up on and rolled back; a session without one sleeps on.
#[tokio::test]
async fn a_session_that_leaves_a_transaction_open_is_ended() {
    let cluster = Cluster::start(Setup {
        change: |config| config.limits.idle_transaction_timeout = Duration::from_millis(500),
        ..Setup::default()
    })
    .await;
    cluster.create_database("test_idle").await;
    let mut open = cluster.client_in("test_idle").await;
    let mut asleep = cluster.client_in("test_idle").await;
    open.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    open.query_drop("BEGIN").await.expect("begun");
    open.query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("inserted");
    wait_until("it is ended", Duration::from_secs(10), || async {
        let mut admin = cluster.admin().await;
        let left: Option<u64> = admin
            .query_first("SELECT COUNT(*) FROM sessions WHERE `transaction` = 'yes'")
            .await
            .expect("sessions");
        left == Some(0)
    })
    .await;
    open.query_drop("SELECT 1").await.expect_err("hung up on");
    let rows: Option<u64> = asleep
        .query_first("SELECT COUNT(*) FROM t")
        .await
        .expect("goes on");
    assert_eq!(rows, Some(0), "rolled back");
    asleep
        .query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("the lock is gone");
    cluster.stop().await;
}

/// A Tandem with one worker, with these settings and a table `t` in `schema`.
async fn limited(schema: &str, settings: &[&str]) -> Cluster {
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let mut all = vec!["listener.workers=1".to_owned()];
    all.extend(settings.iter().map(|&setting| setting.to_owned()));
    let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &all);
    cluster.create_database(schema).await;
    let mut conn = cluster.client_in(schema).await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    cluster.wait_replicated().await;
    cluster
}

/// It would not end by itself; a counting join is interrupted with an error, where SLEEP would return 1.
fn endless() -> String {
    let numbers = tandem_tests::numbers(99_999).replace(" AS numbers", "");
    format!("SELECT COUNT(*) FROM {numbers} a, {numbers} b, {numbers} c")
}

/// A statement that takes too long is stopped on its server, also in a transaction and with rows on their way; the error names the key,
/// and the session goes on with all that it had. An account's own limit counts more, and both act while a session lives.
#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped() {
    let cluster = limited("test_statement", &["limits.statement_timeout=400ms"]).await;
    let mut admin = cluster.admin().await;
    let mut conn = cluster.client_in("test_statement").await;
    conn.query_drop("SET @kept = 5").await.expect("set");
    conn.query_drop("BEGIN").await.expect("begun");
    conn.query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("inserted");
    let began = Instant::now();
    let (code, message) = refusal(conn.query_drop(endless()).await.expect_err("stopped"));
    assert_eq!(code, overtime(), "{message}");
    assert!(
        message.contains("400ms (Tandem: limits.statement_timeout)"),
        "{message}"
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let (code, _) = refusal(conn.exec_drop(endless(), ()).await.expect_err("stopped"));
    assert_eq!(code, overtime());
    // Twenty rows of 20 KB, each of which takes its time: the client has some when the server is told to stop.
    let rows = tandem_tests::numbers(20).replace(" AS numbers", "");
    let slow = format!("SELECT REPEAT('x', 20000), SLEEP(0.1) FROM {rows} a");
    let (code, message) = refusal(conn.query_drop(slow).await.expect_err("stopped"));
    assert_eq!(code, overtime(), "{message}");
    conn.query_drop("COMMIT").await.expect("the transaction goes on");
    let kept: Option<(u64, u64)> = loop {
        match conn.query_first("SELECT @kept, (SELECT COUNT(*) FROM t)").await {
            Ok(kept) => break kept,
            // Even this may take longer, on a machine that is busy.
            Err(error) => assert!(began.elapsed() < WITHIN, "the session goes on: {error}"),
        }
    };
    assert_eq!(kept, Some((5, 1)));
    let (most, _, highest, stopped) = limit(&mut admin, "limits.statement_timeout").await;
    assert!(
        most == 400 && stopped >= 3 && highest >= 400,
        "{highest} {stopped}"
    );
    // What takes its time without a server's work is none of it.
    let user = format!("user.{}.statement_timeout", tandem::demo::pair::APP.user);
    admin
        .query_drop(format!("SET {user} = '10m'"))
        .await
        .expect("set");
    conn.query_drop("SELECT SLEEP(0.8)").await.expect("it may");
    admin
        .query_drop(format!("SET {user} = '300ms'"))
        .await
        .expect("set");
    let (code, message) = refusal(conn.query_drop(endless()).await.expect_err("stopped"));
    assert!(code == overtime() && message.contains(&user), "{message}");
    cluster.stop().await;
}

/// What a rule says of the statements that meet it counts instead of `statement_timeout`: a shorter time, a longer one, or none.
#[tokio::test]
async fn a_rules_timeout_counts_more_than_that_of_all() {
    let cluster = limited("test_ruled", &["limits.statement_timeout=300ms"]).await;
    let file = cluster.pair().directory().join("tandem").join("tandem.toml");
    let mut text = std::fs::read_to_string(&file).expect("its file");
    for (name, timeout) in [("hasty", "100ms"), ("patient", "10m"), ("endless", "0s")] {
        text += &format!("[[rule]]\nname = \"{name}\"\nhint = \"{name}\"\ntimeout = \"{timeout}\"\n");
    }
    std::fs::write(&file, text).expect("written");
    let mut admin = cluster.admin().await;
    admin.query_drop("RELOAD").await.expect("taken");
    let mut conn = cluster.client_in("test_ruled").await;
    for (tag, expected) in [
        ("hasty", Some("100ms (timeout of Tandem's rule 'hasty')")),
        ("other", Some("300ms (Tandem: limits.statement_timeout)")),
        ("patient", None),
        ("endless", None),
    ] {
        let hint = format!("/* tandem:tag={tag} */");
        match expected {
            Some(expected) => {
                let stopped = conn.query_drop(format!("{} {hint}", endless())).await;
                let (code, message) = refusal(stopped.expect_err("stopped"));
                assert!(code == overtime() && message.contains(expected), "{message}");
            }
            None => {
                let slept: Option<u8> = conn
                    .query_first(format!("SELECT SLEEP(0.8) {hint}"))
                    .await
                    .expect("it may");
                // It returns 1 when it is told to stop.
                assert_eq!(slept, Some(0), "{tag}");
            }
        }
        let told: Vec<(String, String)> = admin
            .query(format!("EXPLAIN ROUTE SELECT 1 {hint}"))
            .await
            .expect("explained");
        let stopped = told.into_iter().find(|(name, _)| name == "stopped");
        let shown = match tag {
            "hasty" => Some("after 100ms on a server (timeout of the rule)"),
            "other" => Some("after 300ms on a server (limits.statement_timeout)"),
            "patient" => Some("after 10m on a server (timeout of the rule)"),
            _ => None,
        };
        assert_eq!(stopped.as_ref().map(|(_, value)| &**value), shown, "{tag}");
    }
    let actions: Vec<String> = admin
        .query("SELECT actions FROM rules WHERE rule = 'patient'")
        .await
        .expect("rules");
    assert_eq!(actions, ["timeout = \"10m\""]);
    cluster.stop().await;
}

/// On MariaDB, a statement that has committed and waits for the standby's acknowledgement is not stopped: the client would be told of a
/// commit that the standby lacks. (MySQL waits on whatever comes.)
#[tokio::test]
async fn a_commit_that_waits_for_the_standby_is_not_stopped() {
    let cluster = limited("test_waiting", &["limits.statement_timeout=200ms"]).await;
    let mut active = cluster.direct(cluster.a()).await;
    let mut standby = cluster.direct(cluster.b()).await;
    let (timeout, stop, start) = match tandem_tests::engine().flavor() {
        Flavor::MariaDb => (
            "rpl_semi_sync_master_timeout",
            "STOP SLAVE IO_THREAD",
            "START SLAVE IO_THREAD",
        ),
        Flavor::MySql => (
            "rpl_semi_sync_source_timeout",
            "STOP REPLICA IO_THREAD",
            "START REPLICA IO_THREAD",
        ),
    };
    active
        .query_drop(format!("SET GLOBAL {timeout} = 60000"))
        .await
        .expect("patient");
    let mut conn = cluster.client_in("test_waiting").await;
    conn.query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("acknowledged");
    standby.query_drop(stop).await.expect("stopped");
    let writing = tokio::spawn(async move { conn.query_drop("INSERT INTO t VALUES (2)").await });
    wait_until("it was to be stopped", Duration::from_secs(20), || async {
        let mut admin = cluster.admin().await;
        limit(&mut admin, "limits.statement_timeout").await.2 >= 1500
    })
    .await;
    assert!(!writing.is_finished(), "it waits for the standby");
    standby.query_drop(start).await.expect("started");
    writing.await.expect("no panic").expect("acknowledged");
    cluster.stop().await;
}

/// A transaction that is open for too long is rolled back, between its statements or in the middle of one, and its session is told so
/// once, and goes on with its other state. One that is committed again and again is none that takes long.
#[tokio::test]
async fn a_transaction_that_takes_too_long_is_rolled_back() {
    let cluster = limited("test_transaction", &["limits.transaction_timeout=1s"]).await;
    let key = "limits.transaction_timeout";
    let mut other = cluster.client_in("test_transaction").await;
    let open = async |id: u32| {
        let mut conn = cluster.client_in("test_transaction").await;
        conn.query_drop("SET @kept = 5").await.expect("set");
        conn.query_drop("BEGIN").await.expect("begun");
        let insert = format!("INSERT INTO t VALUES ({id})");
        conn.query_drop(insert).await.expect("inserted");
        conn
    };
    let no_transaction = async || {
        wait_until("it is rolled back", Duration::from_secs(20), || async {
            let mut admin = cluster.admin().await;
            let question = "SELECT COUNT(*) FROM sessions WHERE `transaction` = 'yes'";
            admin.query_first(question).await.expect("sessions") == Some(0)
        })
        .await;
    };
    let kept = async |conn: &mut Conn| {
        let kept: Option<u64> = conn
            .query_first("SELECT @kept")
            .await
            .expect("the session goes on");
        assert_eq!(kept, Some(5));
    };
    // Between two statements: whatever comes next is told, once.
    let mut conn = open(1).await;
    no_transaction().await;
    other
        .query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("the lock is gone, and the row");
    let (code, message) = refusal(conn.query_drop("COMMIT").await.expect_err("told"));
    assert!(code == 1213 && message.contains(key), "{code} {message}");
    kept(&mut conn).await;
    // Who wants to roll back has what he wants; also in the binary protocol, of which a prepared statement is told as well.
    let mut conn = open(2).await;
    no_transaction().await;
    conn.query_drop("ROLLBACK").await.expect("it is");
    kept(&mut conn).await;
    let mut conn = open(2).await;
    let prepared = conn.prep("INSERT INTO t VALUES (?)").await.expect("prepared");
    no_transaction().await;
    let (code, _) = refusal(conn.exec_drop(&prepared, (3,)).await.expect_err("told"));
    assert_eq!(code, 1213);
    conn.exec_drop(&prepared, (3,)).await.expect("goes on");
    // In the middle of a statement: that one is told.
    let mut conn = open(4).await;
    let (code, message) = refusal(conn.query_drop(endless()).await.expect_err("stopped"));
    assert!(code == 1213 && message.contains(key), "{code} {message}");
    kept(&mut conn).await;
    // Much time, in short transactions.
    let mut conn = open(5).await;
    for id in 6..12 {
        conn.query_drop("SELECT SLEEP(0.3)").await.expect("it may");
        conn.query_drop("COMMIT AND CHAIN").await.expect("committed");
        let insert = format!("INSERT INTO t VALUES ({id})");
        conn.query_drop(insert).await.expect("inserted");
    }
    conn.query_drop("ROLLBACK").await.expect("rolled back");
    let rows: Vec<u32> = other.query("SELECT id FROM t ORDER BY id").await.expect("rows");
    assert_eq!(rows, [1, 3, 5, 6, 7, 8, 9, 10]);
    let mut admin = cluster.admin().await;
    let (most, _, highest, rolled_back) = limit(&mut admin, key).await;
    assert!(
        (most, rolled_back) == (1000, 4) && highest >= 1000,
        "{highest} {rolled_back}"
    );
    cluster.stop().await;
}

/// While what sessions hold is as much as they may, new ones are refused, and told why; when some of it is given back, they are let in.
#[tokio::test]
async fn the_memory_of_all_sessions_is_bounded() {
    let cluster = limited("test_memory", &["limits.session_memory=1MiB"]).await;
    let mut conn = cluster.client_in("test_memory").await;
    let mut admin = cluster.admin().await;
    let mut prepared = Vec::new();
    for number in 0..2 {
        let text = format!("SELECT {number}, '{}'", "x".repeat(700_000));
        prepared.push(conn.prep(text).await.expect("prepared"));
    }
    let (code, message) = refusal(Conn::new(cluster.opts(None)).await.expect_err("no memory"));
    assert!(
        code == 1041 && message.contains("limits.session_memory"),
        "{code} {message}"
    );
    let (most, current, highest, refused) = limit(&mut admin, "limits.session_memory").await;
    assert!(
        (most, refused) == (1 << 20, 1) && current >= 1_400_000 && highest >= current,
        "{current} {highest}"
    );
    for statement in prepared {
        conn.close(statement).await.expect("closed");
    }
    conn.query_drop("SELECT 1").await.expect("who is in goes on");
    let let_in = Conn::new(cluster.opts(None)).await.expect("room again");
    let_in.disconnect().await.expect("bye");
    // Every limit has all its numbers.
    type Row = (String, Option<u64>, Option<u64>, Option<u64>, String);
    let rows: Vec<Row> = admin
        .query("SELECT name, current, highest, refused, unit FROM limits")
        .await
        .expect("limits");
    assert!(rows.len() >= 14, "{rows:?}");
    for (name, current, highest, refused, unit) in &rows {
        assert!(
            current <= highest && refused.is_some() && !unit.is_empty(),
            "{name}: {rows:?}"
        );
    }
    cluster.stop().await;
}
