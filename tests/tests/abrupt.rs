//! Clients that break off, in mid-packet or in mid-transaction, and a server that dies: what they held is
//! free at once, and nobody else sees any of it.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{Raw, command};
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, wait_until};
use tokio::sync::OnceCell;

const SCHEMA: &str = "test_abrupt";
/// What is released by an end must not need a timeout.
const PROMPTLY: Duration = Duration::from_secs(5);

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn start(change: fn(&mut tandem::config::Config)) -> Cluster {
    let cluster = Cluster::start(Setup {
        change,
        ..Setup::default()
    })
    .await;
    cluster.create_database(SCHEMA).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for statement in [
        "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
        "INSERT INTO t VALUES (1, 10), (2, 20)",
    ] {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.wait_replicated().await;
    cluster
}

async fn cluster() -> &'static Cluster {
    let start = || start(|config| config.listener.handshake_timeout = Duration::from_secs(2));
    CLUSTER.get_or_init(start).await
}

async fn session() -> Raw {
    Raw::log_in(cluster().await.address(), SCHEMA).await
}

async fn serves() {
    assert_eq!(session().await.value("SELECT 42").await, "42");
}

/// A COM_CHANGE_USER to the same account, with a proof that is none.
fn change_user() -> Vec<u8> {
    let parts = [
        APP.user.as_bytes(),
        b"\0",
        &[20],
        &[7; 20],
        SCHEMA.as_bytes(),
        b"\0",
        &[45, 0],
        b"mysql_native_password\0",
    ];
    parts.concat()
}

#[tokio::test]
async fn half_a_command_is_no_command() {
    for whole in [
        command(3, b"INSERT INTO t VALUES (99, 1)"),
        command(0x16, b"SELECT ? + 1"),
        command(0x11, &change_user()),
    ] {
        for cut in 1..whole.len() {
            let mut raw = session().await;
            raw.send(&whole[..cut]).await;
            raw.finish().await;
        }
    }
    let count = "SELECT COUNT(*) FROM t WHERE id = 99 FOR UPDATE";
    assert_eq!(session().await.value(count).await, "0");
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn truncated_statement_commands_are_refused_and_the_session_goes_on() {
    let execute = b"\0\x01\0\0\0\0\x01\x03\0\x05\0\0\0";
    // Code, what follows the statement's id, and whether there is a reply.
    let cases: [(u8, &[u8], bool); 4] = [
        (0x17, execute, true),
        (0x1c, b"\x0a\0\0\0", true),
        (0x1a, b"", true),
        (0x19, b"", false),
    ];
    for (code, rest, answered) in cases {
        let mut raw = session().await;
        let mut whole = raw.prepare("SELECT ? + 1").await.to_vec();
        whole.extend_from_slice(rest);
        for cut in 0..whole.len() {
            raw.command(code, &whole[..cut]).await;
            // MySQL complains of every command that is too short, MariaDB takes what is missing of a number for zeros.
            let is_mysql = cluster().await.a().engine().flavor() == Flavor::MySql;
            if answered || is_mysql {
                let (_, answer) = raw.packet().await.expect("an answer");
                let is_reset = code == 0x1a && cut > 0 && !is_mysql;
                assert!(answer[0] == 0xff || is_reset, "{code:#x} cut at {cut}");
            }
            raw.command(0x0e, b"").await;
            let (seq, pong) = raw.packet().await.expect("an answer to the ping");
            assert_eq!((seq, pong[0]), (1, 0), "{code:#x} cut at {cut}");
        }
        assert_eq!(raw.value("SELECT 7").await, "7");
    }
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn truncated_long_data_and_change_of_user_end_at_most_their_session() {
    for cut in 0..8 {
        let mut raw = session().await;
        let mut whole = raw.prepare("SELECT ? + 1").await.to_vec();
        whole.extend_from_slice(b"\0\0text");
        raw.command(0x18, &whole[..cut]).await;
        raw.finish().await;
    }
    let whole = &change_user();
    // At once: MariaDB refuses after a second.
    let sessions = (0..=whole.len()).map(|cut| async move {
        let mut raw = session().await;
        raw.command(0x11, &whole[..cut]).await;
        let (_, answer) = raw.packet().await.expect("an error, or the question for a proof");
        assert!(answer[0] == 0xff || answer[0] == 0xfe, "cut at {cut}: {answer:?}");
        raw.finish().await;
    });
    futures_util::future::join_all(sessions).await;
    serves().await;
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn the_end_of_an_oversized_command_is_not_taken_for_commands() {
    // Longer than limits.statement_bytes: the end of it is still on its way when it is looked at.
    let mut argument = vec![0; 1024 * 1024 + 100];
    let hidden = command(3, b"INSERT INTO t VALUES (98, 1)");
    let end = argument.len();
    argument[end - hidden.len()..].copy_from_slice(&hidden);
    for code in [0x17, 0x19, 0x1a, 0x1c, 0x18] {
        let mut raw = session().await;
        let id = raw.prepare("SELECT ? + 1").await;
        // A statement that exists, and one that doesn't.
        for id in [id, [9, 9, 9, 9]] {
            argument[..4].copy_from_slice(&id);
            raw.command(code, &argument).await;
            raw.command(0x0e, b"").await;
            let Some((_, mut answer)) = raw.packet().await else {
                break;
            };
            if code != 0x19 && answer[0] == 0xff {
                answer = raw.packet().await.expect("an answer to the ping").1;
            }
            assert_eq!(answer[0], 0, "{code:#x}: {}", String::from_utf8_lossy(&answer));
        }
    }
    let count = "SELECT COUNT(*) FROM t WHERE id = 98 FOR UPDATE";
    assert_eq!(session().await.value(count).await, "0");
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn who_never_logs_in_takes_nothing_from_others() {
    let address = cluster().await.address();
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::connect(address).await;
        raw.packet().await.expect("a greeting");
        silent.push(raw);
    }
    serves().await;
    for mut raw in silent {
        assert_eq!(raw.error().await, Some(1159), "told why after handshake_timeout");
        raw.drain().await;
    }
    serves().await;
}

#[tokio::test]
async fn what_a_lost_session_held_is_free_at_once_and_seen_by_nobody() {
    // One connection to each server: whoever comes next gets the lost session's place.
    let cluster = start(|config| {
        config.listener.workers = 1;
        config.pool.max_connections = 1;
    })
    .await;
    let row = "SELECT v FROM t WHERE id = 1 FOR UPDATE";
    let cases: [(&[&str], &str, &str); 7] = [
        (&["BEGIN", "UPDATE t SET v = 11 WHERE id = 1"], row, "10"),
        (&["SET autocommit = 0", "DELETE FROM t"], row, "10"),
        (&["LOCK TABLES t WRITE"], row, "10"),
        (
            &["DO GET_LOCK('abrupt', 0)"],
            "SELECT GET_LOCK('abrupt', 10)",
            "1",
        ),
        (&["SET @x = 5"], "SELECT COALESCE(@x, 'nothing')", "nothing"),
        (&["CREATE TEMPORARY TABLE t (id INT, v INT)"], row, "10"),
        (
            &["SET SESSION sql_mode = 'ANSI', autocommit = 0"],
            "SELECT IF(@@autocommit AND @@sql_mode NOT LIKE '%ANSI%', 'clean', 'left')",
            "clean",
        ),
    ];
    for (statements, question, answer) in cases {
        // At rest, and in the middle of a reply.
        for busy in [false, true] {
            let mut lost = Raw::log_in(cluster.address(), SCHEMA).await;
            for statement in statements {
                lost.run(statement).await;
            }
            if busy {
                lost.command(3, b"SELECT REPEAT('x', 10000000) FROM DUAL").await;
                lost.packet().await.expect("the beginning of a reply");
            }
            let since = Instant::now();
            lost.abort();
            let mut next = Raw::log_in(cluster.address(), SCHEMA).await;
            assert_eq!(next.value(question).await, answer, "after {statements:?}");
            assert!(
                since.elapsed() < PROMPTLY,
                "{:?} after {statements:?}",
                since.elapsed()
            );
            next.command(1, b"").await;
            next.drain().await;
        }
    }
    cluster.wait_nothing_leased().await;
    cluster.stop().await;
}

/// A server that is asked directly looks after its client while it sleeps or waits for a lock, and lets go
/// after 1 s (GET_LOCK) to 5 s (SLEEP), measured on 10.11.
#[tokio::test]
async fn a_client_lost_during_its_statement_holds_its_locks_no_longer_than_without_tandem() {
    let cluster = cluster().await;
    let mut lost = session().await;
    lost.run("BEGIN").await;
    lost.run("UPDATE t SET v = v WHERE id = 2").await;
    lost.command(3, b"DO SLEEP(25)").await;
    let mut root = cluster.direct(cluster.a()).await;
    let sleeps = "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'DO SLEEP(25)'";
    while root.query_first(sleeps).await.expect("a count") != Some(1) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let since = Instant::now();
    lost.abort();
    let row = "SELECT v FROM t WHERE id = 2 FOR UPDATE";
    assert_eq!(session().await.value(row).await, "20");
    assert!(since.elapsed() < 2 * PROMPTLY, "{:?}", since.elapsed());
}

#[tokio::test]
async fn idle_connections_to_a_killed_server_cost_no_read_and_no_wait() {
    let cluster = start(|_| {}).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Raw::log_in(cluster.address(), SCHEMA).await);
    }
    // All at once, so that each server has several idle connections afterwards.
    let ask = command(3, b"SELECT v FROM t WHERE id = 2");
    for _ in 0..4 {
        for raw in &mut sessions {
            raw.send(&ask).await;
        }
        for raw in &mut sessions {
            assert_eq!(reply(raw).await, "20");
        }
    }
    cluster.a().kill9().expect("killed");
    let since = Instant::now();
    for raw in &mut sessions {
        assert_eq!(raw.value("SELECT v FROM t WHERE id = 2").await, "20");
    }
    for raw in &mut sessions {
        raw.command(3, b"UPDATE t SET v = v + 1 WHERE id = 1").await;
        let code = raw.error().await.expect("an error, and not an end");
        assert!([1158, 1290, 1429, 2013].contains(&code), "{code}");
        assert_eq!(raw.value("SELECT v FROM t WHERE id = 2 + 0").await, "20");
    }
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    cluster.a().restart().await.expect("back");
    wait_until("the same session writes again", WITHIN, || async {
        let mut raw = Raw::log_in(cluster.address(), SCHEMA).await;
        raw.command(3, b"UPDATE t SET v = v WHERE id = 1").await;
        raw.packet().await.expect("an answer").1[0] == 0
    })
    .await;
    for raw in &mut sessions {
        raw.run("UPDATE t SET v = v + 1 WHERE id = 1").await;
    }
    let sum = "SELECT v FROM t WHERE id = 1 FOR UPDATE";
    assert_eq!(sessions[0].value(sum).await, "20", "ten writes, and none twice");
    drop(sessions);
    cluster.wait_nothing_leased().await;
    cluster.stop().await;
}

/// The only value of a reply to a query that was sent before.
async fn reply(raw: &mut Raw) -> String {
    let mut packets = Vec::new();
    for _ in 0..5 {
        packets.push(raw.packet().await.expect("a packet").1);
    }
    String::from_utf8_lossy(&packets[3][1..]).into_owned()
}

/// The place in a pool's queue of a client that has gone is the next one's, and its statement never runs.
#[tokio::test]
async fn who_has_gone_does_not_wait_for_a_connection() {
    let cluster = start(|config| {
        config.listener.workers = 1;
        config.pool.max_connections = 2;
        config.pool.queue_limit = 1;
        config.pool.queue_timeout = Duration::from_mins(10);
    })
    .await;
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::log_in(cluster.address(), SCHEMA).await;
        raw.run("SET @held = 1").await;
        holders.push(raw);
    }
    let waiting = || async {
        let sum = "SELECT SUM(waiting) FROM pools";
        let waiting: Option<u64> = cluster.admin().await.query_first(sum).await.expect(sum);
        waiting.expect("a row")
    };
    for killed in [false, true] {
        let mut gone = Raw::log_in(cluster.address(), SCHEMA).await;
        gone.command(3, b"INSERT INTO t VALUES (98, 1)").await;
        wait_until("it waits in the queue", WITHIN, || async { waiting().await == 1 }).await;
        if killed {
            let id = gone.id;
            let mut admin = cluster.admin().await;
            admin.query_drop(format!("KILL {id}")).await.expect("killed");
        } else {
            gone.abort();
        }
        wait_until("nobody waits", PROMPTLY, || async { waiting().await == 0 }).await;
    }
    // The queue has room for the next one, who gets what is given back.
    let mut next = Raw::log_in(cluster.address(), SCHEMA).await;
    next.command(3, b"SELECT COUNT(*) FROM t WHERE id = 98 FOR UPDATE")
        .await;
    wait_until("the next one waits", WITHIN, || async { waiting().await == 1 }).await;
    drop(holders);
    let reply = next.reply(Expect::Query).await;
    let (_, row) = &reply[reply.len() - 2];
    assert_eq!(row, b"\x010", "the statement of who has gone has run");
    cluster.stop().await;
}
