//! Routing rules on real servers: where statements go, what is refused, what the admin port tells of it, and that no rule
//! breaks a transaction or has a read miss a write.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem_tests::logins::code;
use tandem_tests::pair::Pair;
use tandem_tests::{Cluster, STEPS, Setup, overtime, wait_until};
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

const SCHEMA: &str = "test_rules";

const RULES: &str = r#"
[[rule]]
name = "off"
enabled = false
refuse = "never"

[[rule]]
name = "drops"
kind = "ddl"
pattern = "^drop table keep_"
refuse = "this table stays"

[[rule]]
name = "ends"
tables = "t"
hint = "refused"
refuse = "no more of this"

[[rule]]
name = "all refused"
schema = "test_refused"
refuse = "nothing works here"

[[rule]]
name = "to standby"
hint = "standby"
target = "standby"

[[rule]]
name = "to b  however old"
hint = "old"
target = "b"
consistency = "eventual"
log = true

[[rule]]
name = "to active"
pattern = "from t where id = \\? and n >= \\?"
target = "active"

[[rule]]
name = "traced"
hint = "traced"
trace = true

[[rule]]
name = "slow"
hint = "slow"
timeout = "200ms"

[[rule]]
name = "few"
hint = "few"
max_rows = 5
max_bytes = "100KiB"

[[rule]]
name = "seldom"
hint = "seldom"
rate = "3/h"

[[rule]]
name = "patient"
hint = "patient"
rate = "1/s"
rate_wait = "3s"

[[rule]]
name = "moved"
pattern = "from moved"
rewrite_from = "from moved where (.*)"
rewrite = "FROM t WHERE $1"
max_rows = 1

[[rule]]
name = "lost parameter"
hint = "lost"
rewrite = "SELECT n FROM t"

[[rule]]
name = "again"
hint = "again"
retry = "deadlocks"

[[rule]]
name = "some"
hint = "some"
percent = 25
target = "standby"

[[rule]]
name = "by table"
tables = "test_rules.who"
hint = "by_table"
target = "standby"
"#;

/// The standby has weight 0: it answers what a rule sends there, and nothing else.
async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            toml: RULES.to_owned(),
            change: |config| {
                config.listener.workers = 1;
                config.servers[0].weight = 1;
                config.servers[1].weight = 0;
            },
            ..Setup::default()
        })
        .await;
        cluster.create_database(SCHEMA).await;
        cluster.create_database("test_refused").await;
        let mut conn = cluster.client_in(SCHEMA).await;
        for statement in [
            "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
            "INSERT INTO t VALUES (1, 0)",
            "CREATE TABLE keep_1 (id INT)",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        cluster.wait_replicated().await;
        for server in cluster.pair().servers() {
            let mut root = cluster.direct(server).await;
            for statement in [
                "SET SESSION sql_log_bin = 0".to_owned(),
                format!("CREATE TABLE {SCHEMA}.who (name VARCHAR(9))"),
                format!("INSERT INTO {SCHEMA}.who VALUES ('{}')", server.name()),
            ] {
                root.query_drop(&statement).await.expect(&statement);
            }
        }
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// Which server answers: each has its own name in the table `who`.
async fn server_of(conn: &mut Conn, statement: &str) -> String {
    let name: Option<String> = conn.query_first(statement).await.expect(statement);
    name.expect("a name")
}

async fn count_of(rule: &str, column: &str, cluster: &Cluster) -> u64 {
    let mut admin = cluster.admin().await;
    let asked = format!("SELECT {column} FROM rules WHERE rule = '{rule}'");
    let found: Option<u64> = admin.query_first(asked).await.expect("rules");
    found.unwrap_or_else(|| panic!("no rule {rule}"))
}

async fn explain(question: &str, cluster: &Cluster) -> Vec<(String, String)> {
    let mut admin = cluster.admin().await;
    admin
        .query(format!("EXPLAIN ROUTE {question}"))
        .await
        .expect(question)
}

fn told<'a>(rows: &'a [(String, String)], name: &str) -> &'a str {
    let found = rows.iter().find(|(property, _)| property == name);
    found.map_or_else(|| panic!("no {name} in {rows:?}"), |(_, value)| value)
}

/// A rule's target is where a pure read is answered, by text and prepared, and what is no pure read is not sent there.
#[tokio::test]
async fn a_rule_sends_reads_where_it_wants_and_writes_nowhere_else() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let plain = "SELECT name FROM who";
    let tagged = "SELECT name FROM who /* tandem:tag=standby */";
    assert_eq!(server_of(&mut conn, plain).await, "a", "weight 0");
    let what = "the standby has everything";
    wait_until(what, Duration::from_secs(10), || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        let name: Option<String> = conn.exec_first(tagged, ()).await.expect("prepared");
        server_of(&mut conn, tagged).await == "b" && name.as_deref() == Some("b")
    })
    .await;
    let overruled = count_of("to standby", "overruled", cluster).await;
    conn.query_drop("UPDATE t SET n = n + 1 WHERE id = 1 /* tandem:tag=standby */")
        .await
        .expect("a write goes to the active master");
    assert!(count_of("to standby", "overruled", cluster).await > overruled);
    let locks = "SELECT name FROM who FOR UPDATE /* tandem:tag=standby */";
    assert_eq!(server_of(&mut conn, locks).await, "a");
}

/// In a transaction a rule moves nothing: the connection that has the transaction answers, and sees its own writes.
#[tokio::test]
async fn a_transaction_stays_where_it_is() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("INSERT INTO t VALUES (77, 7)")
        .await
        .expect("a row");
    for tag in ["standby", "old"] {
        let read = format!("SELECT n FROM t WHERE id = 77 /* tandem:tag={tag} */");
        let n: Option<u32> = conn.query_first(&read).await.expect("a read");
        assert_eq!(n, Some(7), "{tag}");
    }
    conn.query_drop("ROLLBACK").await.expect("the end");
}

/// A strict read that the standby lacks something of is answered by the active master though a rule wants the standby; only a rule
/// that says so has it read what is older.
#[tokio::test]
async fn a_target_makes_no_read_stale_but_a_level_may() {
    let cluster = cluster().await;
    let mut standby = cluster.direct(cluster.b()).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE hot (id INT PRIMARY KEY, n INT)")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO hot VALUES (1, 0)")
        .await
        .expect("a row");
    cluster.wait_replicated().await;
    standby
        .query_drop("FLUSH TABLES test_rules.hot WITH READ LOCK")
        .await
        .expect("the applier waits");
    conn.query_drop("UPDATE hot SET n = 1").await.expect("a write");
    let read = |tag: &str| format!("SELECT n FROM hot WHERE id = 1 /* tandem:tag={tag} */");
    let strict: Option<u32> = conn.query_first(read("standby")).await.expect("a read");
    assert_eq!(strict, Some(1));
    let old: Option<u32> = conn.query_first(read("old")).await.expect("a read");
    assert_eq!(old, Some(0), "it was asked for");
    let own = "SELECT n FROM hot WHERE id = 1 /* tandem:tag=old, consistency=strict */";
    let strict: Option<u32> = conn.query_first(own).await.expect("a read");
    assert_eq!(strict, Some(1), "what the statement says itself counts more");
    let rows = explain(
        "IN test_rules SELECT n FROM hot WHERE id = 1 /* tandem:tag=standby */",
        cluster,
    )
    .await;
    let lacks = "standby, without effect: the standby lacks what the statement must see";
    assert!(told(&rows, "the rule's target").starts_with(lacks), "{rows:?}");
    standby.query_drop("UNLOCK TABLES").await.expect("it goes on");
}

/// What a rule refuses reaches no server, is told with the rule's name, and leaves the session and its transaction as they were.
#[tokio::test]
async fn what_is_refused_is_told_and_nothing_else_happens() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let error = conn.query_drop("DROP TABLE keep_1").await.expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("this table stays (Tandem refuses the statement by its rule 'drops')"),
        "{text}"
    );
    assert_eq!(code(&error), 1148);
    let error = conn
        .exec_drop("DROP TABLE keep_1", ())
        .await
        .expect_err("refused");
    assert_eq!(code(&error), 1148);
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("INSERT INTO t VALUES (88, 8)")
        .await
        .expect("a row");
    let refused = "SELECT n FROM t /* tandem:tag=refused */";
    assert_eq!(code(&conn.query_drop(refused).await.expect_err("refused")), 1148);
    let n: Option<u32> = conn
        .query_first("SELECT n FROM t WHERE id = 88")
        .await
        .expect("a read");
    assert_eq!(n, Some(8), "the transaction is open");
    conn.query_drop("ROLLBACK").await.expect("the end");
    let mut conn = cluster.client_in("test_refused").await;
    assert_eq!(code(&conn.query_drop("BEGIN").await.expect_err("refused")), 1148);
    conn.query_drop("ROLLBACK").await.expect("never refused");
    assert!(count_of("all refused", "refused", cluster).await >= 1);
    let mut direct = cluster.direct(cluster.a()).await;
    let kept: Option<String> = direct
        .query_first("SHOW TABLES FROM test_rules LIKE 'keep_1'")
        .await
        .expect("tables");
    assert_eq!(kept.as_deref(), Some("keep_1"));
}

/// A share of the statements is exactly that share.
#[tokio::test]
async fn a_share_is_taken() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let before = count_of("some", "hits", cluster).await;
    for _ in 0..40 {
        conn.query_drop("SELECT 1 /* tandem:tag=some */")
            .await
            .expect("a read");
    }
    assert_eq!(count_of("some", "hits", cluster).await - before, 10);
}

/// `EXPLAIN ROUTE` tells of each rule why it does not hold, up to the one that does; `SHOW RULES` has all of them in order.
#[tokio::test]
async fn the_admin_port_tells_what_the_rules_do() {
    let cluster = cluster().await;
    let rows = explain(
        "FOR app IN test_rules SELECT id FROM t WHERE id = 1 AND n >= 2",
        cluster,
    )
    .await;
    assert_eq!(told(&rows, "rule off"), "no: it has enabled = false");
    assert_eq!(
        told(&rows, "rule drops"),
        "no: it is select, a pure read; wanted: kind = \"ddl\""
    );
    assert_eq!(
        told(&rows, "rule ends"),
        "no: it has no tag; wanted: hint = \"refused\""
    );
    assert_eq!(
        told(&rows, "rule all refused"),
        "no: the default schema is 'test_rules'; wanted: schema = \"test_refused\""
    );
    assert_eq!(told(&rows, "rule to active"), "decides: target = \"active\"");
    assert_eq!(told(&rows, "rules behind it"), "10, not tried");
    assert_eq!(told(&rows, "reason"), "rule");
    let rows = explain("IN test_rules DROP TABLE keep_1", cluster).await;
    assert_eq!(
        told(&rows, "refused"),
        "the client gets error 1148, and no server is asked"
    );
    let rows = explain("UPDATE t SET n = 1 /* tandem:tag=standby */", cluster).await;
    assert_eq!(
        told(&rows, "the rule's target"),
        "standby, without effect: only pure reads can be sent elsewhere than to the active master (writes)"
    );
    let rows = explain("SELECT 1 /* tandem:tags=a */", cluster).await;
    assert!(
        told(&rows, "hint").contains("known is tandem:consistency=strict|session|eventual"),
        "{rows:?}"
    );
    let mut admin = cluster.admin().await;
    let rules: Vec<(u64, String, String, String, String)> = admin
        .query("SELECT place, rule, enabled, conditions, actions FROM rules ORDER BY place")
        .await
        .expect("rules");
    assert_eq!(rules.len(), 17);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        rules[1],
        (
            2,
            text("drops"),
            text("yes"),
            text("pattern = \"^drop table keep_\", kind = \"ddl\""),
            text("refuse = \"this table stays\"")
        )
    );
    assert_eq!(rules[0].2, "no");
}

/// The steps of what a rule wants traced are kept, by text and prepared, and of nothing else.
#[tokio::test]
async fn what_a_rule_traces_shows_its_steps() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("SELECT 41 /* tandem:tag=traced */")
        .await
        .expect("traced");
    conn.query_drop("SELECT 41, 42").await.expect("not traced");
    conn.exec_drop("SELECT 41, ? /* tandem:tag=traced */", (43,))
        .await
        .expect("traced");
    conn.query_drop("SELECT 1")
        .await
        .expect("the end of the one before");
    let query = "SELECT statement, step FROM traces";
    let traces: Vec<(String, String)> = cluster.admin().await.query(query).await.expect("traces");
    let told: Vec<(&str, &str)> = traces.iter().map(|(text, step)| (&**text, &**step)).collect();
    let of = |statement: &'static str| STEPS.map(|step| (statement, step));
    assert_eq!(told, [of("SELECT ?"), of("SELECT ?, ?")].concat());
}

/// Rules take the names of a prepared statement, and its default schema, as they were at its PREPARE.
#[tokio::test]
async fn an_execution_meets_the_rules_of_where_it_was_prepared() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let who = conn
        .prep("SELECT name FROM who /* tandem:tag=by_table */")
        .await
        .expect("prepared");
    conn.query_drop("USE test_refused").await.expect("another schema");
    for _ in 0..3 {
        conn.exec_drop(&who, ()).await.expect("not refused");
        let error = conn.query_drop("SELECT 1").await.expect_err("refused");
        assert!(error.to_string().contains("nothing works here"), "{error}");
    }
    assert_eq!(count_of("by table", "hits", cluster).await, 3);
}

/// What takes too long is ended on the server, by text and prepared, and the session and its transaction go on.
#[tokio::test]
async fn what_takes_too_long_is_ended() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let overtime = overtime();
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("INSERT INTO t VALUES (99, 9)")
        .await
        .expect("a row");
    let slow = "SELECT n FROM t WHERE id = 99 AND n = (SELECT COUNT(*) + 8 FROM t a WHERE a.id = 99 AND SLEEP(30) = 0) \
        /* tandem:tag=slow */";
    let begun = Instant::now();
    let error = conn.query_drop(slow).await.expect_err("too slow");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let text = error.to_string();
    assert_eq!(code(&error), overtime, "{text}");
    assert!(text.contains("timeout of Tandem's rule 'slow'"), "{text}");
    let error = conn.exec_drop(slow, ()).await.expect_err("too slow");
    assert_eq!(code(&error), overtime);
    let n: Option<u32> = conn
        .query_first("SELECT n FROM t WHERE id = 99")
        .await
        .expect("a read");
    assert_eq!(n, Some(9), "the transaction is open");
    conn.query_drop("ROLLBACK").await.expect("the end");
    assert_eq!(count_of("slow", "broken_off", cluster).await, 2);
    let quick: Option<u32> = conn
        .query_first("SELECT 1 /* tandem:tag=slow */")
        .await
        .expect("quick");
    assert_eq!(quick, Some(1));
}

/// A result that is too long ends in an error, whether it has come whole or not, and the session goes on.
#[tokio::test]
async fn what_is_too_much_is_broken_off() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for (rows, fits) in [(5, true), (6, false), (100_000, false)] {
        let asked = format!(
            "SELECT seq FROM {} /* tandem:tag=few */",
            tandem_tests::numbers(rows)
        );
        for prepared in [false, true] {
            let got: Result<Vec<u64>, _> = match prepared {
                false => conn.query(&asked).await,
                true => conn.exec(&asked, ()).await,
            };
            match (got, fits) {
                (Ok(got), true) => assert_eq!(got.len(), rows as usize),
                (Err(error), false) => {
                    let text = error.to_string();
                    assert_eq!(code(&error), 1104, "{text}");
                    assert!(
                        text.contains("more than 5 rows (max_rows of Tandem's rule 'few')"),
                        "{text}"
                    );
                }
                (got, _) => panic!("{rows} rows: {:?}", got.map(|got| got.len())),
            }
            let one: Option<u32> = conn.query_first("SELECT 1").await.expect("it goes on");
            assert_eq!(one, Some(1));
        }
    }
    let long = "SELECT REPEAT('x', 200000) /* tandem:tag=few */";
    let error = conn.query_drop(long).await.expect_err("too long");
    assert!(error.to_string().contains("102400 bytes (max_bytes"), "{error}");
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("INSERT INTO t VALUES (55, 5)")
        .await
        .expect("a row");
    let asked = format!(
        "SELECT seq FROM {} /* tandem:tag=few */",
        tandem_tests::numbers(100_000)
    );
    assert_eq!(code(&conn.query_drop(&asked).await.expect_err("too long")), 1104);
    let n: Option<u32> = conn
        .query_first("SELECT n FROM t WHERE id = 55")
        .await
        .expect("a read");
    assert_eq!(n, Some(5), "the transaction is open");
    conn.query_drop("ROLLBACK").await.expect("the end");
}

/// A rate is counted over all sessions; who may wait gets his turn.
#[tokio::test]
async fn too_many_are_held_back() {
    let cluster = cluster().await;
    let mut first = cluster.client_in(SCHEMA).await;
    let mut second = cluster.client_in(SCHEMA).await;
    let seldom = "SELECT 1 /* tandem:tag=seldom */";
    for _ in 0..3 {
        first.query_drop(seldom).await.expect("within the rate");
    }
    let error = second.query_drop(seldom).await.expect_err("over the rate");
    let text = error.to_string();
    assert_eq!(code(&error), 1226);
    assert!(
        text.contains("its rule 'seldom' lets 3/h statements through"),
        "{text}"
    );
    assert_eq!(count_of("seldom", "limited", cluster).await, 1);
    let begun = Instant::now();
    for _ in 0..3 {
        first
            .query_drop("SELECT 1 /* tandem:tag=patient */")
            .await
            .expect("its turn");
    }
    assert!(
        begun.elapsed() > Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
}

/// Another text goes to the server in the place of the client's, with its values and parameters, and the rule's other actions are
/// those of what the client has sent.
#[tokio::test]
async fn a_text_is_put_in_the_place_of_another() {
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    let id: Option<u32> = conn
        .query_first("SELECT id FROM moved WHERE id = 1")
        .await
        .expect("another table");
    assert_eq!(id, Some(1));
    for _ in 0..2 {
        let id: Option<u32> = conn
            .exec_first("SELECT id FROM moved WHERE id = ?", (1,))
            .await
            .expect("prepared");
        assert_eq!(id, Some(1));
    }
    conn.query_drop("BEGIN").await.expect("a transaction");
    conn.query_drop("INSERT INTO t VALUES (66, 6)")
        .await
        .expect("a row");
    let asked = "SELECT id FROM moved WHERE id IN (?, ?)";
    let error = conn.exec_drop(asked, (1, 66)).await.expect_err("two rows");
    assert_eq!(code(&error), 1104, "the rule of what the client has prepared");
    conn.query_drop("ROLLBACK").await.expect("the end");
    let lost = "SELECT n FROM t WHERE id = ? /* tandem:tag=lost */";
    let error = conn.exec_drop(lost, (1,)).await.expect_err("no parameter");
    let text = error.to_string();
    assert_eq!(code(&error), 1210);
    assert!(
        text.contains("would have 0 parameters, and the client's has 1"),
        "{text}"
    );
}

/// A statement that waited too long for a lock is sent again where a rule wants that, and takes effect once.
#[tokio::test]
async fn what_the_server_undid_is_sent_again() {
    let cluster = cluster().await;
    let mut holder = cluster.client_in(SCHEMA).await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for statement in [
        "CREATE TABLE rival (id INT PRIMARY KEY, n INT)",
        "INSERT INTO rival VALUES (1, 0)",
        "BEGIN",
        "UPDATE rival SET n = 10 WHERE id = 1",
    ] {
        holder.query_drop(statement).await.expect(statement);
    }
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 1")
        .await
        .expect("a setting");
    let plain = conn.query_drop("UPDATE rival SET n = n + 1 WHERE id = 1").await;
    assert_eq!(code(&plain.expect_err("waited too long")), 1205);
    let retries = cluster.counter("retries").await;
    let again = async {
        conn.query_drop("UPDATE rival SET n = n + 1 WHERE id = 1 /* tandem:tag=again */")
            .await
            .expect("sent again");
    };
    let end = async {
        let what = "it is sent again";
        wait_until(what, Duration::from_secs(20), || async {
            cluster.counter("retries").await > retries
        })
        .await;
        holder.query_drop("COMMIT").await.expect("the end");
    };
    tokio::join!(again, end);
    let n: Option<u32> = conn
        .query_first("SELECT n FROM rival WHERE id = 1")
        .await
        .expect("a read");
    assert_eq!(n, Some(11), "once");
}

/// Rules come and go while Tandem runs, for sessions that are there already, and keep what they have counted.
#[tokio::test]
async fn rules_are_taken_over_by_a_reload() {
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let cluster = Cluster::apart(
        env!("CARGO_BIN_EXE_proxy"),
        pair,
        &["listener.workers=2".to_owned()],
    );
    let file = cluster.pair().directory().join("tandem").join("tandem.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    let (mut admin, mut conn) = (cluster.admin().await, cluster.client().await);
    let asked = "SELECT 1 FROM information_schema.TABLES LIMIT 1";
    conn.query_drop(asked).await.expect("no rule");
    let rule = "[[rule]]\nname = \"no\"\npattern = \"information_schema\"\nrefuse = \"not that\"\n";
    std::fs::write(&file, format!("{text}\n{rule}")).expect("written");
    admin.query_drop("RELOAD").await.expect("reloaded");
    assert_eq!(code(&conn.query_drop(asked).await.expect_err("refused")), 1148);
    admin
        .query_drop("SET rule.no.enabled = false")
        .await
        .expect("set");
    conn.query_drop(asked).await.expect("switched off");
    assert_eq!(count_of("no", "refused", &cluster).await, 1);
    admin.query_drop("SET rule.no.enabled = true").await.expect("set");
    assert_eq!(code(&conn.query_drop(asked).await.expect_err("refused")), 1148);
    std::fs::write(&file, format!("{text}\n[[rule]]\nname = \"first\"\n{rule}")).expect("written");
    admin.query_drop("RELOAD").await.expect("reloaded");
    conn.query_drop(asked).await.expect("the first rule decides");
    assert_eq!(count_of("no", "refused", &cluster).await, 2);
    assert_eq!(count_of("first", "hits", &cluster).await, 1);
}
