//! Rules that mirror, on real servers: what the mirror is asked and what not, what is told of its answers, and that no client notices
//! whether it is slow, wrong or gone. The mirror is the standby, which has weight 0: nobody else asks it anything.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem_tests::pair::{APP, Pair, Server};
use tandem_tests::{Cluster, STEPS, Setup, wait_until};
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

const SCHEMA: &str = "test_mirror";

/// How long the mirror may take until what it was given is counted.
const SOON: Duration = Duration::from_secs(60);

fn mirror(name: &str, more: &str) -> String {
    let (user, password) = (APP.user, APP.password);
    format!(
        "[[mirror]]\nname = \"{name}\"\nserver = \"b\"\nuser = \"{user}\"\npassword = \"{password}\"\n{more}\n\
         [[rule]]\nname = \"{name}\"\nhint = \"{name}\"\nmirror = \"{name}\"\n"
    )
}

/// The standby is writable, so that nothing but Tandem itself keeps its mirror's account from writing.
async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup {
            toml: [
                mirror("plain", "second_look = \"200ms\""),
                mirror("hasty", "second_look = \"0s\""),
                mirror("late", "second_look = \"5s\""),
                mirror(
                    "narrow",
                    "connections = 2\nqueue_length = 5\ntimeout = \"300ms\"\nsecond_look = \"0s\"",
                ),
            ]
            .concat(),
            change: |config| config.servers[1].weight = 0,
            ..Setup::default()
        };
        setup.pair.both_writable = true;
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        for statement in [
            "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), at DATETIME)",
            "INSERT INTO t VALUES (1, 'one', NOW()), (2, 'two', NOW()), (3, 'three', NOW())",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// What was counted of one shape, which has this word in it.
async fn count(cluster: &Cluster, column: &str, word: &str) -> u64 {
    let mut admin = cluster.admin().await;
    let asked = format!("SELECT SUM({column}) FROM mirror WHERE statement LIKE '%{word}%'");
    let found: Option<Option<u64>> = admin.query_first(asked).await.expect("the table mirror");
    found.flatten().unwrap_or_default()
}

async fn wait_for(cluster: &Cluster, column: &str, word: &str, wanted: u64) {
    let what = format!("{column} of {word} are {wanted}");
    wait_until(&what, SOON, || async {
        count(cluster, column, word).await >= wanted
    })
    .await;
    assert_eq!(count(cluster, column, word).await, wanted, "{column} of {word}");
}

/// What the account of the mirror has had a server do, as its general log tells.
async fn logged(root: &mut Conn) -> Vec<String> {
    let asked = "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
         WHERE user_host LIKE '%app%' AND command_type NOT IN ('Connect', 'Quit')";
    root.query(asked).await.expect("the general log")
}

async fn log_all(server: &Server) -> Conn {
    let mut root = server.connect().await.expect("a connection");
    for statement in ["SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = 1"] {
        root.query_drop(statement).await.expect(statement);
    }
    root
}

/// Servers with the same rows answer the same, by text and prepared, in the session's character set, `sql_mode` and time zone, and at the
/// time that it was for the client; and all that is told of it has no values.
#[tokio::test]
async fn the_same_rows_are_the_same() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let tag = "/* tandem:tag=plain */";
    for _ in 0..3 {
        let text = format!("SELECT name AS by_text FROM t WHERE id = 2 {tag}");
        let name: Option<String> = conn.query_first(text).await.expect("a read");
        assert_eq!(name.as_deref(), Some("two"));
        let text = format!("SELECT name AS by_number FROM t WHERE id = ? {tag}");
        let name: Option<String> = conn.exec_first(text, (3,)).await.expect("an execution");
        assert_eq!(name.as_deref(), Some("three"));
    }
    conn.query_drop("SET NAMES latin1, sql_mode = 'PIPES_AS_CONCAT', time_zone = '+05:00'")
        .await
        .expect("settings");
    for text in [
        "SELECT name || '\u{fc}' AS by_mode FROM t ORDER BY id",
        "SELECT at AS by_zone FROM t WHERE at <= NOW()",
        "SELECT NOW() AS by_clock",
        "SELECT nothing AS by_error FROM t",
    ] {
        let answered = conn.query_drop(format!("{text} {tag}")).await;
        assert_eq!(answered.is_err(), text.contains("nothing"), "{text}");
    }
    for (word, wanted) in [
        ("by_text", 3),
        ("by_number", 3),
        ("by_mode", 1),
        ("by_zone", 1),
        ("by_error", 1),
    ] {
        wait_for(cluster, "same", word, wanted).await;
        assert_eq!(count(cluster, "mirrored", word).await, wanted, "{word}");
    }
    // Had a second ended between the two clocks, it would be another answer.
    wait_for(cluster, "same + different + moving", "by_clock", 1).await;
    let mut admin = cluster.admin().await;
    let timed: Option<(f64, f64)> = admin
        .query_first("SELECT here_avg_ms, there_avg_ms FROM mirror WHERE statement LIKE '%by_text%'")
        .await
        .expect("times");
    assert!(
        timed.is_some_and(|(here, there)| here > 0.0 && there > 0.0),
        "{timed:?}"
    );
    let metrics: Option<f64> = admin
        .query_first("SELECT value FROM metrics WHERE name = 'tandem_mirror_up' AND labels LIKE '%plain%'")
        .await
        .expect("metrics");
    assert_eq!(metrics, Some(1.0));
}

/// A row that is another there is told with the statement's digest, what a row more or an error is; and nothing of what is in them.
#[tokio::test]
async fn what_differs_is_told_by_its_shape_and_without_values() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE d (id INT PRIMARY KEY, name VARCHAR(20))")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO d VALUES (1, 'hunter-secret'), (2, 'two')")
        .await
        .expect("rows");
    conn.query_drop("CREATE TABLE e (id INT)").await.expect("a table");
    cluster.wait_replicated().await;
    let mut there = cluster.direct(cluster.b()).await;
    for statement in [
        "SET SESSION sql_log_bin = 0",
        "UPDATE test_mirror.d SET name = 'hunter-public' WHERE id = 1",
        "INSERT INTO test_mirror.d VALUES (9, 'nine')",
        "DROP TABLE test_mirror.e",
    ] {
        there.query_drop(statement).await.expect(statement);
    }
    for (word, text, difference, column) in [
        (
            "d_value",
            "SELECT name AS d_value FROM d WHERE name LIKE 'hunter%'",
            "as many rows, with other values",
            "different",
        ),
        (
            "d_rows",
            "SELECT id AS d_rows FROM d WHERE id > 0",
            "rows: 2 here, 3 there",
            "different",
        ),
        (
            "d_error",
            "SELECT id AS d_error FROM e",
            "error 1146 there",
            "errors",
        ),
        ("d_same", "SELECT name AS d_same FROM d WHERE id = 2", "", "same"),
    ] {
        for tag in ["plain", "hasty"] {
            let text = format!("{text} /* tandem:tag={tag} */");
            conn.query_drop(&text).await.expect("the client has its answer");
        }
        wait_for(cluster, column, word, 2).await;
        let mut admin = cluster.admin().await;
        let digests: Vec<String> = admin
            .query(format!(
                "SELECT digest FROM mirror WHERE statement LIKE '%{word}%'"
            ))
            .await
            .expect("digests");
        let told: Vec<(String, String, String)> = admin
            .query(format!(
                "SELECT digest, difference, statement FROM mirror_differences WHERE statement LIKE '%{word}%'"
            ))
            .await
            .expect("differences");
        let expected = if difference.is_empty() { 0 } else { 2 };
        assert_eq!(told.len(), expected, "{word}: {told:?}");
        for (digest, found, statement) in told {
            assert!(digests.contains(&digest));
            assert_eq!(found, difference);
            assert!(!statement.contains("hunter"), "{statement}");
        }
    }
}

/// What differs only because replication has not brought it yet is the same at the second look.
#[tokio::test]
async fn a_mirror_that_is_behind_is_asked_again() {
    let pair = cluster().await;
    let mut conn = pair.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE l (id INT PRIMARY KEY, n INT)")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO l VALUES (1, 0)")
        .await
        .expect("a row");
    pair.wait_replicated().await;
    let mut there = log_all(pair.b()).await;
    // The applier waits for it, a read does not.
    there
        .query_drop("FLUSH TABLES test_mirror.l WITH READ LOCK")
        .await
        .expect("the applier waits");
    conn.query_drop("UPDATE l SET n = 1").await.expect("a write");
    conn.query_drop("SELECT n AS l_behind FROM l /* tandem:tag=late */")
        .await
        .expect("a read");
    wait_until("the mirror was asked", SOON, || async {
        let mut root = pair.direct(pair.b()).await;
        logged(&mut root)
            .await
            .iter()
            .any(|text| text.contains("l_behind"))
    })
    .await;
    there.query_drop("UNLOCK TABLES").await.expect("on it goes");
    wait_for(pair, "late", "l_behind", 1).await;
    assert_eq!(count(pair, "different", "l_behind").await, 0);
}

/// Whatever meets a rule that mirrors: only pure reads reach the mirror, on connections that may not write. What is skipped is counted
/// with its reason.
#[tokio::test]
async fn nothing_but_reads_reaches_the_mirror() {
    let cluster = cluster().await;
    let mut there = log_all(cluster.b()).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let tag = "/* tandem:tag=plain */";
    for text in [
        "CREATE TABLE w_ddl (id INT PRIMARY KEY, n INT)",
        "INSERT INTO w_ddl VALUES (1, 1), (2, 2)",
        "UPDATE w_ddl SET n = n + 1",
        "SELECT n AS w_locks FROM w_ddl FOR UPDATE",
        "SELECT @w_variable := n FROM w_ddl",
        "SELECT GET_LOCK('w_lock', 0)",
        "SELECT LAST_INSERT_ID(n) AS w_id FROM w_ddl",
        "SELECT RAND() AS w_rand",
        "DELETE FROM w_ddl WHERE id = 1",
        "SET @w_set = 1",
        "DO RELEASE_ALL_LOCKS()",
    ] {
        conn.query_drop(format!("{text} {tag}")).await.expect(text);
    }
    conn.exec_drop(format!("INSERT INTO w_ddl VALUES (?, 3) {tag}"), (3,))
        .await
        .expect("prepared");
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop(format!("SELECT n AS w_inside FROM w_ddl {tag}"))
        .await
        .expect("a read in it");
    conn.query_drop("COMMIT").await.expect("its end");
    cluster.wait_replicated().await;
    let mut fresh = cluster.client_in(SCHEMA).await;
    let read = format!("SELECT n AS w_read FROM w_ddl {tag}");
    fresh.query_drop(&read).await.expect("a read");
    wait_for(cluster, "same + late", "w_read", 1).await;
    let texts = logged(&mut there).await;
    assert!(texts.iter().any(|text| text.contains("w_read")), "{texts:?}");
    let strangers: Vec<&String> = texts
        .iter()
        .filter(|text| text.contains("w_") && !text.contains("w_read"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let may_write = ["tx_read_only`=1", "transaction_read_only`=1"];
    let says_so = |text: &&String| may_write.iter().any(|set| text.contains(set));
    assert!(texts.iter().any(|text| says_so(&text)), "{texts:?}");
    for (word, why) in [
        ("INSERT INTO w_ddl", "no pure read"),
        ("w_rand", "another answer each time or server"),
        ("w_inside", "in a transaction"),
    ] {
        let mut admin = cluster.admin().await;
        let asked =
            format!("SELECT why_skipped FROM mirror WHERE statement LIKE '%{word}%' AND mirror = 'plain'");
        let told: Vec<String> = admin.query(asked).await.expect("the table mirror");
        assert!(told.iter().any(|told| told.starts_with(why)), "{word}: {told:?}");
        assert_eq!(count(cluster, "mirrored", word).await, 0, "{word}");
    }
}

/// A mirror that answers nothing for a while takes what its bounds allow, the rest is dropped, and clients do not wait for any of it.
#[tokio::test]
async fn a_slow_mirror_delays_nobody() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE s (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    cluster.wait_replicated().await;
    let mut there = cluster.direct(cluster.b()).await;
    there
        .query_drop("LOCK TABLES test_mirror.s WRITE")
        .await
        .expect("locked");
    let began = Instant::now();
    let read = "SELECT id AS s_slow FROM s /* tandem:tag=narrow */";
    for _ in 0..100 {
        conn.query_drop(read).await.expect("an answer");
    }
    let dropped = count(cluster, "dropped", "s_slow").await;
    // Two run, one is about to, five wait; each 300 ms two of them are ended.
    let ended = 2 * (began.elapsed().as_millis() as u64 / 300 + 1);
    assert!(
        dropped + ended + 8 >= 100,
        "{dropped} dropped in {:?}",
        began.elapsed()
    );
    assert!(dropped > 0);
    let mirrored = count(cluster, "mirrored", "s_slow").await;
    assert_eq!(mirrored + dropped, 100);
    wait_for(cluster, "timed_out", "s_slow", mirrored).await;
    there.query_drop("UNLOCK TABLES").await.expect("unlocked");
    wait_until("it answers again", SOON, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop(read).await.expect("an answer");
        count(cluster, "same", "s_slow").await > 0
    })
    .await;
}

/// `EXPLAIN ROUTE` says what would be mirrored, `TRACE SESSION` that it was.
#[tokio::test]
async fn the_means_to_look_at_a_statement_know_of_mirrors() {
    let cluster = cluster().await;
    let mut admin = cluster.admin().await;
    let mut told = async |text: &str| {
        let rows: Vec<(String, String)> = admin.query(format!("EXPLAIN ROUTE {text}")).await.expect(text);
        let found = rows.into_iter().find(|(name, _)| name == "mirrored");
        found.map_or_else(String::new, |(_, value)| value)
    };
    let tag = "/* tandem:tag=plain */";
    let read = told(&format!("SELECT id FROM t ORDER BY id {tag}")).await;
    assert_eq!(
        read,
        "to plain, outside of transactions; the order of the rows counts"
    );
    let write = told(&format!("DELETE FROM t {tag}")).await;
    assert_eq!(write, "not to plain: no pure read");
    assert_eq!(told("SELECT 1").await, "");
    let mut conn = cluster.client_in(SCHEMA).await;
    let session = tandem_tests::own_number(&mut conn).await;
    admin
        .query_drop(format!("TRACE SESSION {session} LIMIT 1"))
        .await
        .expect("traced");
    conn.query_drop(format!("SELECT id AS x_traced FROM t {tag}"))
        .await
        .expect("a read");
    conn.query_drop("SELECT 1").await.expect("the next");
    let steps: Vec<String> = admin
        .query(format!("SELECT step FROM traces WHERE session = {session}"))
        .await
        .expect("steps");
    let expected: Vec<&str> = STEPS[..7].iter().copied().chain(["mirror", "end"]).collect();
    assert_eq!(steps, expected);
}

/// A mirror comes by a reload that names it rightly; while it is down clients notice nothing, what it misses is counted, and it comes back by
/// itself; and it goes by a reload.
#[tokio::test]
async fn a_mirror_comes_and_goes() {
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let cluster = Cluster::apart(
        env!("CARGO_BIN_EXE_proxy"),
        pair,
        &["listener.workers=2".to_owned(), "server.b.weight=0".to_owned()],
    );
    cluster.create_database(SCHEMA).await;
    let file = cluster.pair().directory().join("tandem").join("tandem.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    let (mut admin, mut conn) = (cluster.admin().await, cluster.client_in(SCHEMA).await);
    let rule = "[[rule]]\nname = \"r\"\nmirror = \"nxt\"\n";
    let right = mirror("next", "");
    std::fs::write(&file, format!("{text}\n{right}\n{rule}")).expect("written");
    let refused = admin.query_drop("RELOAD").await.expect_err("no such mirror");
    assert!(
        refused
            .to_string()
            .contains("which is no mirror; write one of \"next\""),
        "{refused}"
    );
    std::fs::write(&file, format!("{text}\n{right}")).expect("written");
    admin.query_drop("RELOAD").await.expect("reloaded");
    let state = async || {
        let mut admin = cluster.admin().await;
        let states: Option<String> = admin
            .query_first("SELECT state FROM mirrors")
            .await
            .expect("mirrors");
        states
    };
    wait_until("it is reached", SOON, || async {
        state().await.as_deref() == Some("up")
    })
    .await;
    let read = "SELECT 1 AS m_read /* tandem:tag=next */";
    conn.query_drop(read).await.expect("a read");
    wait_for(&cluster, "same", "m_read", 1).await;

    cluster.b().stop().await.expect("it stops");
    conn.query_drop(read).await.expect("no client notices");
    wait_until("it is known to be down", SOON, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop(read).await.expect("no client notices");
        state().await.as_deref() == Some("down")
    })
    .await;
    let before = count(&cluster, "unreachable", "m_read").await;
    conn.query_drop(read).await.expect("no client notices");
    wait_until("what it misses is counted", SOON, || async {
        count(&cluster, "unreachable", "m_read").await > before
    })
    .await;
    cluster.b().restart().await.expect("it is back");
    wait_until("it is reached again", SOON, || async {
        state().await.as_deref() == Some("up")
    })
    .await;
    conn.query_drop(read).await.expect("a read");
    wait_for(&cluster, "same", "m_read", 2).await;

    std::fs::write(&file, &text).expect("written");
    admin.query_drop("RELOAD").await.expect("reloaded");
    assert_eq!(state().await, None);
    conn.query_drop(read).await.expect("no rule");
}
