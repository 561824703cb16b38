//! Statements whose answer is lost on the way: each takes effect once, and is answered as if nothing had been.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::config::Config;
use tandem::demo::pair::APP;
use tandem::net::address::Endpoint;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::relay::Relay;
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, roles};

/// The relay before each server of each cluster, in the order in which they were started: `Setup::change` can't give them.
static RELAYS: Mutex<Vec<Arc<Relay>>> = Mutex::new(Vec::new());
/// One cluster at a time starts its relays.
static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn put_relays_between(config: &mut Config) {
    for server in &mut config.servers {
        let Endpoint::Tcp(address) = server.address else {
            panic!("the pair listens on TCP");
        };
        let relay = Relay::start(address, APP.user).expect("a relay");
        server.address = Endpoint::Tcp(relay.address);
        RELAYS.lock().expect("relays").push(relay);
    }
}

struct Ground {
    cluster: Cluster,
    /// Before the active master.
    relay: Arc<Relay>,
}

async fn ground() -> Ground {
    let mut setup = Setup::with_failover();
    setup.pair.extra.push("log_bin_trust_function_creators=1".into());
    setup.change = put_relays_between;
    let starting = STARTING.lock().await;
    RELAYS.lock().expect("relays").clear();
    let cluster = Cluster::start(setup).await;
    let relay = Arc::clone(&RELAYS.lock().expect("relays")[0]);
    drop(starting);
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    let mut conn = cluster.client().await;
    for statement in [
        "CREATE DATABASE shop",
        "USE shop",
        "CREATE TABLE t (name VARCHAR(40) NOT NULL, id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE TABLE triggered (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE TRIGGER tr BEFORE INSERT ON triggered FOR EACH ROW INSERT INTO t (name, v) VALUES ('trigger', NEW.v)",
        "CREATE PROCEDURE p(x INT) INSERT INTO t (name, v) VALUES ('procedure', x)",
        ledger::TABLE,
    ] {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.wait_replicated().await;
    roles::wait_ready(&cluster, WITHIN).await;
    wait_defined(&cluster).await;
    Ground { cluster, relay }
}

/// Waits until Tandem knows which tables have triggers, which it reads a moment after they were made.
async fn wait_defined(cluster: &Cluster) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut admin = cluster.admin().await;
        let rows: Vec<(String, String)> = admin
            .query("EXPLAIN ROUTE SELECT v FROM shop.t")
            .await
            .expect("explained");
        if rows
            .iter()
            .any(|(name, value)| name == "definitions" && value == "known")
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the tables' definitions are not known: {rows:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Ground {
    /// The answer to the next command with `needle` in it is lost, and its connection; `dies` kills the server before.
    fn cut(&self, needle: &str, dies: bool) {
        let pid = self.cluster.a().pid().expect("it runs");
        self.relay.cut(needle.as_bytes(), move || {
            if dies {
                std::process::Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .expect("killed");
            }
        });
    }

    async fn rows(&self, name: &str) -> Vec<(u32, i32)> {
        let mut conn = self.cluster.client_in("shop").await;
        let question = format!("SELECT id, v FROM t WHERE name = '{name}' ORDER BY id");
        conn.query(question).await.expect("rows")
    }
}

/// What the client is told of a write: affected rows and insert id.
fn told(conn: &Conn) -> (u64, Option<u64>) {
    (conn.affected_rows(), conn.last_insert_id())
}

async fn writes_are_answered(dies: bool) {
    let ground = ground().await;
    let mut conn = ground.cluster.client_in("shop").await;
    // So that nothing has to be brought to the connection before, whose answer would come first.
    conn.query_drop("INSERT INTO t (name, v) VALUES ('before', 1)")
        .await
        .expect("its OK");
    ground.cut("'once'", dies);
    conn.query_drop("INSERT INTO t (name, v) VALUES ('once', 7), ('once', 8)")
        .await
        .expect("its OK");
    assert!(ground.relay.has_cut());
    let rows = ground.rows("once").await;
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [7, 8], "once");
    assert_eq!(told(&conn), (2, Some(rows[0].0.into())));
    // The session goes on with what the answer has told it.
    let asked: Option<u64> = conn.query_first("SELECT LAST_INSERT_ID()").await.expect("an id");
    assert_eq!(asked, Some(rows[0].0.into()));
    assert!(ground.cluster.counter("answered_from_binlog").await >= 1);
    ground.cluster.stop().await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_answered_from_the_servers_own_log() {
    writes_are_answered(false).await;
}

#[tokio::test]
async fn a_write_whose_server_dies_behind_its_commit_is_answered_from_the_survivors_log() {
    writes_are_answered(true).await;
}

/// Several in a row, each on a new connection behind the lost one.
#[tokio::test]
async fn each_kind_of_statement_takes_effect_once() {
    let ground = ground().await;
    let mut conn = ground.cluster.client_in("shop").await;
    ground.cut("INSERT INTO t", false);
    // The PREPARE is asked again: the needle is in its text.
    let insert = conn
        .prep("INSERT INTO t (name, v) VALUES (?, ?)")
        .await
        .expect("prepared");
    assert!(ground.relay.has_cut());
    ground.cut("prepared", false);
    conn.exec_drop(&insert, ("prepared", 1)).await.expect("its OK");
    assert!(ground.relay.has_cut());
    let rows = ground.rows("prepared").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(told(&conn), (1, Some(rows[0].0.into())));

    ground.cut("v = v + 5", false);
    conn.query_drop("UPDATE t SET v = v + 5 WHERE name = 'prepared'")
        .await
        .expect("its OK");
    assert!(ground.relay.has_cut());
    assert_eq!((conn.affected_rows(), ground.rows("prepared").await[0].1), (1, 6));

    // It changes nothing, so it leaves nothing, and may run twice.
    ground.cut("v = v + 6", false);
    conn.query_drop("UPDATE t SET v = v + 6 WHERE name = 'nobody'")
        .await
        .expect("its OK");
    assert!(ground.relay.has_cut());
    assert_eq!(conn.affected_rows(), 0);

    ground.cut("REPLACE", false);
    conn.query_drop(format!(
        "REPLACE INTO t (name, id, v) VALUES ('replaced', {}, 1)",
        rows[0].0
    ))
    .await
    .expect("its OK");
    assert!(ground.relay.has_cut());
    assert_eq!(
        (conn.affected_rows(), ground.rows("replaced").await.len()),
        (2, 1)
    );

    ground.cut("DELETE", false);
    conn.query_drop("DELETE FROM t WHERE name = 'replaced'")
        .await
        .expect("its OK");
    assert!(ground.relay.has_cut());
    assert_eq!(
        (conn.affected_rows(), ground.rows("replaced").await.len()),
        (1, 0)
    );

    for definition in [
        "CREATE TABLE made (a INT)",
        "DROP TABLE made",
        "CREATE TABLE made (a INT)",
    ] {
        ground.cut(definition, false);
        conn.query_drop(definition).await.expect(definition);
        assert!(ground.relay.has_cut());
    }
    ground.cluster.stop().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_answered() {
    let ground = ground().await;
    let mut conn = ground.cluster.client_in("shop").await;
    for dies in [false, true] {
        conn.query_drop("BEGIN").await.expect("begun");
        conn.query_drop(format!("INSERT INTO t (name, v) VALUES ('kept {dies}', 1)"))
            .await
            .expect("inserted");
        conn.query_drop("UPDATE t SET v = 2 WHERE name LIKE 'kept%'")
            .await
            .expect("updated");
        ground.cut("COMMIT", dies);
        conn.query_drop("COMMIT").await.expect("its OK");
        assert!(ground.relay.has_cut());
        let rows = ground.rows(&format!("kept {dies}")).await;
        assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [2]);
        // No transaction is open any more.
        let mut others = ground.cluster.client_in("shop").await;
        others
            .query_drop("UPDATE t SET v = 3 WHERE name LIKE 'kept%'")
            .await
            .expect("no lock is left");
    }
    ground.cluster.stop().await;
}

/// What is logged under another text than its own can't be told from what did not happen.
#[tokio::test]
async fn what_cannot_be_proved_is_said_to_be_unknown() {
    let ground = ground().await;
    let mut conn = ground.cluster.client_in("shop").await;
    for statement in ["CALL p(3)", "INSERT INTO triggered (v) VALUES (4)"] {
        ground.cut(statement, false);
        let error = conn.query_drop(statement).await.expect_err(statement);
        assert!(ground.relay.has_cut());
        let text = error.to_string();
        assert!(
            text.contains("whether the statement took effect is not known"),
            "{text}"
        );
    }
    // The session goes on.
    conn.query_drop("INSERT INTO t (name, v) VALUES ('after', 1)")
        .await
        .expect("its OK");
    ground.cluster.stop().await;
}

/// The token is in the servers' logs and nowhere that a client looks: errors, their positions, definitions.
#[tokio::test]
async fn clients_see_nothing_of_the_token() {
    let ground = ground().await;
    let mut conn = ground.cluster.client_in("shop").await;
    let mut direct = ground.cluster.direct(ground.cluster.a()).await;
    direct.query_drop("USE shop").await.expect("used");
    for statement in [
        "INSERT INTO t (v) VALUE (1) nonsense",
        "INSERT INTO\n t (v)\n VALUES (1,)",
        "UPDATE nowhere SET v = 1",
        "DELETE FROM t WHERE nothing = 1",
        "CALL nobody()",
        "",
    ] {
        let through = conn.query_drop(statement).await.expect_err("wrong").to_string();
        let plain = direct.query_drop(statement).await.expect_err("wrong").to_string();
        assert_eq!(through, plain, "{statement}");
    }
    conn.query_drop("CREATE VIEW w AS SELECT v FROM t")
        .await
        .expect("a view");
    for (kind, name) in [
        ("VIEW", "w"),
        ("TRIGGER", "tr"),
        ("PROCEDURE", "p"),
        ("TABLE", "t"),
    ] {
        let row: Option<Row> = conn
            .query_first(format!("SHOW CREATE {kind} {name}"))
            .await
            .expect("shown");
        assert!(!format!("{row:?}").contains("tandem "), "{row:?}");
    }
    conn.query_drop("INSERT INTO t (name, v) VALUES ('marked', 1)")
        .await
        .expect("inserted");
    let log = newest_texts(&mut direct, ground.cluster.a().engine().flavor()).await;
    let marked = |text: &String| text.contains("/*tandem ") && text.contains("'marked'");
    assert!(log.iter().any(marked), "{log:?}");
    ground.cluster.stop().await;
}

async fn newest_texts(conn: &mut Conn, flavor: Flavor) -> Vec<String> {
    let question = match flavor {
        Flavor::MariaDb => "SHOW MASTER STATUS",
        Flavor::MySql => "SHOW BINARY LOG STATUS",
    };
    let row: Row = conn
        .query_first(question)
        .await
        .expect("a position")
        .expect("a row");
    let file: String = row.get(0).expect("a file");
    let rows: Vec<Row> = conn
        .query(format!("SHOW BINLOG EVENTS IN '{file}'"))
        .await
        .expect("events");
    rows.iter().filter_map(|row| row.get("Info")).collect()
}

#[tokio::test]
async fn under_load_every_acknowledged_insert_is_there_once_when_the_master_is_killed() {
    let ground = ground().await;
    let Ground { cluster, .. } = &ground;
    let load = Load::start(&cluster.opts(Some("shop")), &[Manner::Text, Manner::Prepared], 8);
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.a().kill9().expect("killed");
    roles::wait_active(cluster, Some("b"), WITHIN).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut survivor = cluster.direct(cluster.b()).await;
    let report = load.settle(&mut survivor).await;
    println!(
        "{report}; answered from the binary log: {}",
        cluster.counter("answered_from_binlog").await
    );
    assert!(report.missing.is_empty() && report.doubled.is_empty(), "{report}");
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    ground.cluster.stop().await;
}
