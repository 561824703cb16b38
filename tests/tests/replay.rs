//! An open transaction survives the loss of its server: it goes on at the other one with everything that the client has seen
//! of it, or ends with an error that says why it could not.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, TxOpts, Value};
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, roles};

const TABLES: [&str; 6] = [
    "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(20), v INT, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE child (id INT AUTO_INCREMENT PRIMARY KEY, parent INT)",
    "CREATE TABLE once (k INT PRIMARY KEY, v INT)",
    "INSERT INTO once VALUES (1, 10), (2, 20), (3, 30), (4, 40)",
    "CREATE TABLE plain (v INT) ENGINE = MyISAM",
    "CREATE PROCEDURE commits() BEGIN INSERT INTO t (who, v) VALUES ('committed', 1); COMMIT; START TRANSACTION; END",
];

async fn cluster() -> Cluster {
    let setup = Setup::with_failover();
    let cluster = Cluster::start(setup).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    cluster.create_database("test_replay").await;
    let mut conn = cluster.client_in("test_replay").await;
    for statement in TABLES {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.wait_replicated().await;
    cluster
}

/// A session, and what it expects of each statement: `None` is an answer without rows.
struct Player {
    name: &'static str,
    conn: Conn,
    /// In binary.
    prepared: bool,
}

impl Player {
    async fn new(cluster: &Cluster, name: &'static str) -> Self {
        let conn = cluster.client_in("test_replay").await;
        Self {
            name,
            conn,
            prepared: false,
        }
    }

    async fn ask(&mut self, statement: &str) -> Result<Vec<Vec<String>>, mysql_async::Error> {
        // MySQL prepares no START TRANSACTION.
        let rows: Vec<Row> = match self.prepared && !statement.starts_with("START") {
            true => self.conn.exec(statement, ()).await?,
            false => self.conn.query(statement).await?,
        };
        let text = |value: Value| match value {
            Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => other.as_sql(true),
        };
        Ok(rows
            .into_iter()
            .map(|row| row.unwrap().into_iter().map(text).collect())
            .collect())
    }

    async fn run(&mut self, statements: &[&str]) {
        for statement in statements {
            let asked = tokio::time::timeout(WITHIN, self.ask(statement)).await;
            if let Err(error) = asked.expect("in time") {
                panic!("{}: {statement}: {error}", self.name);
            }
        }
    }

    async fn number(&mut self, question: &str) -> i64 {
        let rows = self.ask(question).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}: {question}: {error}", self.name));
        rows[0][0].parse().expect("a number")
    }

    async fn fails(&mut self, statement: &str) -> (u16, String) {
        match tokio::time::timeout(WITHIN, self.ask(statement))
            .await
            .expect("in time")
        {
            Err(mysql_async::Error::Server(error)) => (error.code, error.message),
            other => panic!("{}: {statement}: {other:?}", self.name),
        }
    }
}

/// What is to be done before the active master dies, and what behind it.
struct Shape {
    name: &'static str,
    prepared: bool,
    before: &'static [&'static str],
    after: &'static [&'static str],
    /// How often each `v` is there for this name in the end.
    left: &'static [(i64, i64)],
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "text",
        prepared: false,
        before: &[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('text', 1)",
            "SELECT v FROM t WHERE who = 'text'",
        ],
        after: &["UPDATE t SET v = v + 1 WHERE who = 'text'", "COMMIT"],
        left: &[(2, 1)],
    },
    Shape {
        name: "prepared",
        prepared: true,
        before: &[
            "START TRANSACTION",
            "INSERT INTO t (who, v) VALUES ('prepared', 1)",
        ],
        after: &["UPDATE t SET v = v + 1 WHERE who = 'prepared'", "COMMIT"],
        left: &[(2, 1)],
    },
    Shape {
        name: "autocommit",
        prepared: false,
        before: &[
            "SET autocommit = 0",
            "INSERT INTO t (who, v) VALUES ('autocommit', 1)",
        ],
        after: &[
            "INSERT INTO t (who, v) VALUES ('autocommit', 2)",
            "COMMIT",
            "INSERT INTO t (who, v) VALUES ('autocommit', 3)",
            "ROLLBACK",
        ],
        left: &[(1, 1), (2, 1)],
    },
    Shape {
        name: "commit",
        prepared: false,
        before: &["BEGIN", "INSERT INTO t (who, v) VALUES ('commit', 1)"],
        after: &["COMMIT"],
        left: &[(1, 1)],
    },
    Shape {
        name: "rollback",
        prepared: false,
        before: &["BEGIN", "INSERT INTO t (who, v) VALUES ('rollback', 1)"],
        after: &["ROLLBACK", "INSERT INTO t (who, v) VALUES ('rollback', 2)"],
        left: &[(2, 1)],
    },
    Shape {
        name: "locked",
        prepared: false,
        before: &["BEGIN", "SELECT v FROM once WHERE k = 1 FOR UPDATE"],
        after: &[
            "INSERT INTO t (who, v) SELECT 'locked', v + 1 FROM once WHERE k = 1",
            "UPDATE once SET v = v + 1 WHERE k = 1",
            "COMMIT",
        ],
        left: &[(11, 1)],
    },
    Shape {
        name: "savepoint",
        prepared: false,
        before: &[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('savepoint', 1)",
            "SAVEPOINT here",
            "INSERT INTO t (who, v) VALUES ('savepoint', 2)",
        ],
        after: &[
            "ROLLBACK TO here",
            "INSERT INTO t (who, v) VALUES ('savepoint', 3)",
            "COMMIT",
        ],
        left: &[(1, 1), (3, 1)],
    },
    Shape {
        name: "variable",
        prepared: false,
        before: &[
            "BEGIN",
            "SET @made = 5",
            "INSERT INTO t (who, v) VALUES ('variable', @made)",
        ],
        after: &["INSERT INTO t (who, v) VALUES ('variable', @made + 1)", "COMMIT"],
        left: &[(5, 1), (6, 1)],
    },
    Shape {
        name: "settings",
        prepared: false,
        before: &[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES (\"settings\", 1)",
            "SET SESSION sql_mode = 'ANSI_QUOTES'",
            "INSERT INTO \"t\" (who, v) VALUES ('settings', 2)",
        ],
        after: &["INSERT INTO \"t\" (who, v) VALUES ('settings', 3)", "COMMIT"],
        left: &[(1, 1), (2, 1), (3, 1)],
    },
    Shape {
        name: "time",
        prepared: false,
        before: &[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('time', 1)",
            "SELECT at FROM t WHERE who = 'time'",
        ],
        after: &["SELECT at FROM t WHERE who = 'time'", "COMMIT"],
        left: &[(1, 1)],
    },
    Shape {
        name: "snapshot",
        prepared: false,
        before: &[
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "START TRANSACTION READ ONLY",
            "SELECT v FROM once WHERE k = 2",
        ],
        after: &["SELECT v FROM once WHERE k = 2", "COMMIT"],
        left: &[],
    },
    Shape {
        name: "chained",
        prepared: false,
        before: &[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('chained', 1)",
            "COMMIT AND CHAIN",
            "INSERT INTO t (who, v) VALUES ('chained', 2)",
        ],
        after: &["INSERT INTO t (who, v) VALUES ('chained', 3)", "COMMIT"],
        left: &[(1, 1), (2, 1), (3, 1)],
    },
];

#[tokio::test]
async fn a_transaction_goes_on_at_the_other_server_whatever_it_is_made_of() {
    let cluster = cluster().await;
    let mut players = Vec::new();
    for shape in SHAPES {
        let mut player = Player::new(&cluster, shape.name).await;
        player.prepared = shape.prepared;
        player.run(shape.before).await;
        players.push(player);
    }
    // The second one's error is part of what is played again.
    let mut doubled = Player::new(&cluster, "doubled").await;
    doubled.run(&["BEGIN", "INSERT INTO once VALUES (5, 50)"]).await;
    assert_eq!(doubled.fails("INSERT INTO once VALUES (5, 51)").await.0, 1062);
    // Its ids have been used already.
    let mut parent = Player::new(&cluster, "parent").await;
    parent
        .run(&[
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('parent', 1), ('parent', 2), ('parent', 3)",
        ])
        .await;
    let id = parent.number("SELECT LAST_INSERT_ID()").await;
    parent
        .run(&[&format!("INSERT INTO child (parent) VALUES ({id})")])
        .await;
    let ids = parent
        .ask("SELECT id FROM t WHERE who = 'parent' ORDER BY id")
        .await
        .expect("ids");
    // One that names its id, and then one that does not.
    let mut named = Player::new(&cluster, "named").await;
    named
        .run(&["BEGIN", "INSERT INTO t (id, who, v) VALUES (7001, 'named', 1)"])
        .await;
    // In the middle of a statement.
    let mut slow = Player::new(&cluster, "slow").await;
    slow.run(&["BEGIN", "INSERT INTO t (who, v) VALUES ('slow', 1)"])
        .await;
    let slow = tokio::spawn(async move {
        slow.run(&["INSERT INTO t (who, v) SELECT 'slow', 2 + SLEEP(2)", "COMMIT"])
            .await;
    });
    tokio::time::sleep(Duration::from_millis(500)).await;

    cluster.a().kill9().expect("killed");
    for (player, shape) in players.iter_mut().zip(SHAPES) {
        player.run(shape.after).await;
    }
    doubled
        .run(&["UPDATE once SET v = v + 1 WHERE k = 5", "COMMIT"])
        .await;
    assert_eq!(
        parent
            .ask("SELECT id FROM t WHERE who = 'parent' ORDER BY id")
            .await
            .expect("ids"),
        ids
    );
    parent
        .run(&["INSERT INTO child (parent) VALUES (LAST_INSERT_ID())"])
        .await;
    parent.run(&["COMMIT"]).await;
    named.run(&["INSERT INTO t (who, v) VALUES ('named', 2)"]).await;
    let given = named.number("SELECT LAST_INSERT_ID()").await;
    assert!(given > 7001, "{given}");
    named.run(&["COMMIT"]).await;
    slow.await.expect("the slow one");

    let mut survivor = cluster.direct(cluster.b()).await;
    for shape in SHAPES {
        let question = format!(
            "SELECT v, COUNT(*) FROM test_replay.t WHERE who = '{}' GROUP BY v ORDER BY v",
            shape.name
        );
        let left: Vec<(i64, i64)> = survivor.query(&question).await.expect("rows");
        assert_eq!(left, shape.left, "{}", shape.name);
    }
    for (question, expected) in [
        ("SELECT v FROM test_replay.once WHERE k = 1", 11),
        ("SELECT v FROM test_replay.once WHERE k = 5", 51),
        ("SELECT COUNT(*) FROM test_replay.t WHERE who = 'slow'", 2),
        ("SELECT COUNT(*) FROM test_replay.t WHERE who = 'parent'", 3),
        (
            "SELECT COUNT(*) FROM test_replay.child c JOIN test_replay.t ON t.id = c.parent AND who = 'parent'",
            1,
        ),
        (
            "SELECT COUNT(*) FROM test_replay.t WHERE who = 'named' AND id = 7001",
            1,
        ),
    ] {
        let found: Option<i64> = survivor.query_first(question).await.expect("a count");
        assert_eq!(found, Some(expected), "{question}");
    }
    assert!(cluster.counter("replays").await >= SHAPES.len() as u64);
    assert_eq!(cluster.counter("replays_failed").await, 0);
    cluster.stop().await;
}

/// What the client was told has become untrue, or its state is gone: it is told so, and nothing of it is kept.
#[tokio::test]
async fn what_can_not_go_on_ends_with_the_reason() {
    let cluster = cluster().await;
    let mut reader = Player::new(&cluster, "reader").await;
    reader
        .run(&[
            "BEGIN",
            "SELECT v FROM once WHERE k = 3",
            "INSERT INTO t (who, v) VALUES ('reader', 30)",
        ])
        .await;
    let mut other = Player::new(&cluster, "other").await;
    other.run(&["UPDATE once SET v = 31 WHERE k = 3"]).await;
    let mut locker = Player::new(&cluster, "locker").await;
    locker
        .run(&[
            "BEGIN",
            "SELECT GET_LOCK('l', 0)",
            "INSERT INTO t (who, v) VALUES ('locker', 1)",
        ])
        .await;
    let mut earlier = Player::new(&cluster, "earlier").await;
    earlier
        .run(&[
            "SET @before = 1",
            "BEGIN",
            "INSERT INTO t (who, v) VALUES ('earlier', 1)",
        ])
        .await;
    let mut long = Player::new(&cluster, "long").await;
    let text = "x".repeat(600_000);
    let long_text = format!("INSERT INTO t (who, v) VALUES ('long', LENGTH('{text}'))");
    long.run(&["BEGIN", &long_text, &long_text]).await;
    let mut inner = Player::new(&cluster, "inner").await;
    inner.run(&["BEGIN", "CALL commits()"]).await;
    let mut plain = Player::new(&cluster, "plain").await;
    // MySQL refuses to mix the two kinds of tables, for the sake of GTIDs.
    let mixes = cluster.a().engine().flavor() == Flavor::MariaDb;
    plain
        .run(&["BEGIN", "INSERT INTO t (who, v) VALUES ('plain', 1)"])
        .await;
    if mixes {
        plain.run(&["INSERT INTO plain VALUES (1)"]).await;
    }
    cluster.a().kill9().expect("killed");

    if mixes {
        let (_, message) = plain.fails("INSERT INTO plain VALUES (2)").await;
        assert!(message.contains("had committed a part"), "{message}");
    } else {
        plain.run(&["ROLLBACK"]).await;
    }
    let (code, message) = reader.fails("INSERT INTO t (who, v) VALUES ('reader', 31)").await;
    assert!(
        code == 1213 && message.contains("statement 2 of 3 was answered otherwise"),
        "{code} {message}"
    );
    for (player, reason) in [
        (&mut locker, "user_lock"),
        (&mut earlier, "user_variable"),
        (&mut long, "failover.replay_bytes"),
        (&mut inner, "had committed a part"),
    ] {
        let (_, message) = player.fails("INSERT INTO t (who, v) VALUES ('more', 1)").await;
        assert!(message.contains(reason), "{message}");
        assert!(
            player.ask("SELECT 1").await.is_err(),
            "it does not go on as if nothing had been"
        );
    }
    let mut survivor = cluster.direct(cluster.b()).await;
    let left: Vec<(String, i64)> = survivor
        .query("SELECT who, COUNT(*) FROM test_replay.t GROUP BY who")
        .await
        .expect("rows");
    assert_eq!(left, [("committed".to_owned(), 1)]);
    let plain: Option<i64> = survivor
        .query_first("SELECT COUNT(*) FROM test_replay.plain")
        .await
        .expect("a count");
    assert_eq!(plain, Some(i64::from(mixes)));
    cluster.stop().await;
}

/// An idle transaction's server hangs and is replaced: it wakes up to nobody.
#[tokio::test]
async fn a_transaction_does_not_wait_for_a_server_that_hangs() {
    let cluster = cluster().await;
    let mut idle = Player::new(&cluster, "idle").await;
    idle.run(&["BEGIN", "INSERT INTO t (who, v) VALUES ('idle', 1)"])
        .await;
    let mut opts = TxOpts::default();
    opts.with_consistent_snapshot(true);
    let mut conn = cluster.client_in("test_replay").await;
    let mut snapshot = conn.start_transaction(opts).await.expect("a transaction");
    snapshot
        .query_drop("INSERT INTO t (who, v) VALUES ('snapshot', 1)")
        .await
        .expect("an insert");
    // One in the middle of a statement does not wait for its answer either.
    let mut slow = Player::new(&cluster, "slow").await;
    slow.run(&["BEGIN", "INSERT INTO t (who, v) VALUES ('slow', 1)"])
        .await;
    let slow = tokio::spawn(async move {
        slow.run(&["INSERT INTO t (who, v) SELECT 'slow', 2 + SLEEP(1)", "COMMIT"])
            .await;
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.a().pause().expect("stopped");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    let started = Instant::now();
    idle.run(&["INSERT INTO t (who, v) VALUES ('idle', 2)", "COMMIT"])
        .await;
    snapshot.commit().await.expect("committed");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    slow.await.expect("the slow one");
    let mut survivor = cluster.direct(cluster.b()).await;
    let question = "SELECT COUNT(*) FROM test_replay.t WHERE who IN ('idle', 'snapshot', 'slow')";
    assert_eq!(
        survivor.query_first(question).await.expect("a count"),
        Some(5_i64)
    );
    cluster.a().resume().expect("awake");
    cluster.stop().await;
}

/// A switchover waits for those who write. Who has only read goes on at the new active master, whose server is alive.
#[tokio::test]
async fn a_transaction_that_has_only_read_moves_with_a_switchover() {
    let cluster = cluster().await;
    let mut reader = Player::new(&cluster, "reader").await;
    reader.run(&["BEGIN", "SELECT v FROM once WHERE k = 2"]).await;
    let switched = cluster.admin().await.query_drop("SWITCHOVER TO b").await;
    switched.expect("a switchover");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    reader
        .run(&["UPDATE once SET v = v + 1 WHERE k = 2", "COMMIT"])
        .await;
    assert_eq!(reader.number("SELECT v FROM once WHERE k = 2").await, 21);
    let mut now_active = cluster.direct(cluster.b()).await;
    let found = now_active
        .query_first("SELECT v FROM test_replay.once WHERE k = 2")
        .await;
    assert_eq!(found.expect("a row"), Some(21_i64));
    assert_eq!(cluster.counter("replays").await, 1);
    cluster.stop().await;
}

/// Somebody else's lock is in the way at the new active master, for longer than the session waits for locks.
#[tokio::test]
async fn a_transaction_is_played_again_until_locks_let_it() {
    let cluster = cluster().await;
    let mut player = Player::new(&cluster, "player").await;
    player
        .run(&[
            "SET innodb_lock_wait_timeout = 1",
            "BEGIN",
            "UPDATE once SET v = v + 1 WHERE k = 4",
        ])
        .await;
    cluster.a().kill9().expect("killed");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    let mut other = cluster.direct(cluster.b()).await;
    for statement in ["BEGIN", "SELECT v FROM test_replay.once WHERE k = 4 FOR UPDATE"] {
        other.query_drop(statement).await.expect(statement);
    }
    let played = tokio::spawn(async move {
        player
            .run(&["UPDATE once SET v = v + 1 WHERE k = 4", "COMMIT"])
            .await;
        player.number("SELECT v FROM once WHERE k = 4").await
    });
    // Its first attempt has waited for the lock in vain.
    let deadline = Instant::now() + WITHIN;
    while cluster.counter("replayed_statements").await < 4 {
        assert!(Instant::now() < deadline, "it is tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    other.query_drop("ROLLBACK").await.expect("unlocked");
    assert_eq!(played.await.expect("a player"), 42);
    assert_eq!(cluster.counter("replays").await, 1);
    cluster.stop().await;
}

/// Two transactions, each of which then changes what the other has: had their server not died, one of them would have waited for the
/// other in the open, as each does where they are played again at once.
#[tokio::test]
async fn transactions_that_are_played_again_get_out_of_each_others_way() {
    let cluster = cluster().await;
    let mut one = Player::new(&cluster, "one").await;
    let mut other = Player::new(&cluster, "other").await;
    one.run(&["BEGIN", "UPDATE once SET v = v + 1 WHERE k = 1"]).await;
    other
        .run(&["BEGIN", "UPDATE once SET v = v + 1 WHERE k = 2"])
        .await;
    cluster.a().kill9().expect("killed");
    tokio::join!(
        one.run(&["UPDATE once SET v = v + 1 WHERE k = 2", "COMMIT"]),
        other.run(&["UPDATE once SET v = v + 1 WHERE k = 1", "COMMIT"]),
    );
    assert_eq!(one.number("SELECT v FROM once WHERE k = 1").await, 12);
    assert_eq!(one.number("SELECT v FROM once WHERE k = 2").await, 22);
    cluster.stop().await;
}

/// The client has seen a part of a reply: it gets the rest from the other server, and no row twice.
#[tokio::test]
async fn a_reply_that_breaks_off_is_gone_on_with() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in("test_replay").await;
    conn.query_drop("INSERT INTO t (who, v) VALUES ('row', 1)")
        .await
        .expect("a row");
    for _ in 0..8 {
        conn.query_drop("INSERT INTO t (who, v) SELECT who, v FROM t")
            .await
            .expect("twice as many");
    }
    cluster.wait_replicated().await;
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("UPDATE once SET v = v + 1 WHERE k = 2")
        .await
        .expect("a write");
    // More than what stands in buffers between the server and this client.
    let question = "SELECT a.id, b.id, REPEAT('x', 1000) FROM t a JOIN t b ORDER BY a.id, b.id";
    let mut result = conn.query_iter(question).await.expect("a result");
    let mut rows = Vec::new();
    let started = Instant::now();
    while let Some(row) = result.next().await.expect("a row") {
        let (a, b, text): (i64, i64, String) = mysql_async::from_row(row);
        assert_eq!(text.len(), 1000);
        rows.push((a, b));
        if rows.len() == 1000 {
            cluster.a().kill9().expect("killed");
            roles::wait_active(&cluster, Some("b"), WITHIN).await;
        }
        assert!(started.elapsed() < WITHIN, "{} rows", rows.len());
    }
    drop(result);
    assert_eq!(rows.len(), 256 * 256);
    assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]));
    conn.query_drop("COMMIT").await.expect("committed");
    let mut survivor = cluster.direct(cluster.b()).await;
    let found = survivor
        .query_first("SELECT v FROM test_replay.once WHERE k = 2")
        .await;
    assert_eq!(found.expect("a row"), Some(21_i64));
    assert_eq!(cluster.counter("replays").await, 1);
    cluster.stop().await;
}
