//! What has been written through Tandem is read at once, by whomever, and from the standby again as soon as that has it.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::demo::pair::{APP, MONITOR};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Cluster, Flavor, Proxy, Setup, WITHIN, wait_until};
use tokio::sync::{Mutex, OnceCell};

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

const SCHEMA: &str = "test_fresh";

/// Stopping the standby's applier stops it for all tests.
static APPLIER: Mutex<()> = Mutex::const_new(());

/// Far longer than any of these tests: what is known within it is known without a probe.
const INTERVAL: Duration = Duration::from_secs(180);

async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            change: |config| {
                config.listener.workers = 1;
                config.monitor.interval = INTERVAL;
                config.servers[0].weight = 1;
                config.servers[1].weight = 100;
            },
            ..Setup::default()
        })
        .await;
        cluster.create_database(SCHEMA).await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// Where the session's reads go now, by what the standby has counted: nearly all of them, or none.
async fn reads_on(conn: &mut Conn, cluster: &Cluster) -> &'static str {
    reads_of("t", conn, cluster).await
}

async fn reads_of(table: &str, conn: &mut Conn, cluster: &Cluster) -> &'static str {
    let before = cluster.query_counts(cluster.b()).await.reads;
    for _ in 0..8 {
        let read = format!("SELECT id FROM {table} WHERE id = 0");
        let _: Vec<u32> = conn.query(read).await.expect("a read");
    }
    match cluster.query_counts(cluster.b()).await.reads - before {
        0 => "a",
        _ => "b",
    }
}

/// A row of `SHOW READS`.
#[derive(Debug)]
struct Shape {
    reads: u64,
    standby_percent: u64,
    on_active: String,
}

async fn shape_of(statement: &str, cluster: &Cluster) -> Shape {
    let mut admin = cluster.admin().await;
    let rows: Vec<Row> = admin.query("SHOW READS LIMIT 1000").await.expect("reads");
    let is_it = |row: &&Row| row.get::<String, _>("statement").as_deref() == Some(statement);
    let row = rows
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{statement} in {rows:?}"));
    Shape {
        reads: row.get("reads").expect("a number"),
        standby_percent: row.get("standby_percent").expect("a number"),
        on_active: row.get("on_active").expect("a text"),
    }
}

fn applier(flavor: Flavor, verb: &str) -> String {
    match flavor {
        Flavor::MariaDb => format!("{verb} SLAVE SQL_THREAD"),
        Flavor::MySql => format!("{verb} REPLICA SQL_THREAD"),
    }
}

#[tokio::test]
async fn reads_go_to_the_standby_again_when_it_has_what_the_session_wrote_and_no_sooner() {
    let _applier = APPLIER.lock().await;
    let cluster = cluster().await;
    let mut conn = cluster.client_in(SCHEMA).await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        .await
        .expect("a table");
    conn.query_drop("INSERT INTO t VALUES (1, 0)")
        .await
        .expect("a row");
    let what = "the standby takes reads of a session that wrote";
    wait_until(what, INTERVAL / 3, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("UPDATE t SET n = n + 1").await.expect("a write");
        let wrote = std::time::Instant::now();
        while wrote.elapsed() < Duration::from_secs(2) {
            if reads_on(&mut conn, cluster).await == "b" {
                return true;
            }
        }
        false
    })
    .await;
    let flavor = cluster.b().engine().flavor();
    let mut standby = cluster.direct(cluster.b()).await;
    standby
        .query_drop(applier(flavor, "STOP"))
        .await
        .expect("stopped");
    for n in [100, 200] {
        conn.exec_drop("UPDATE t SET n = ?", (n,)).await.expect("a write");
        for _ in 0..20 {
            let seen: Option<i32> = conn.query_first("SELECT n FROM t").await.expect("a read");
            assert_eq!(seen, Some(n));
        }
        assert_eq!(reads_on(&mut conn, cluster).await, "a");
    }
    // That is what an operator is told of this statement.
    let hot = shape_of("SELECT n FROM t", cluster).await;
    assert_eq!((hot.reads, hot.standby_percent), (40, 0), "{hot:?}");
    // Another test may have written what counts for all tables.
    let is_known = hot
        .on_active
        .split(", ")
        .all(|why| ["table_hot", "standby_lags"].contains(&why.split(' ').next().expect("a reason")));
    assert!(is_known, "{hot:?}");
    let other = shape_of("SELECT id FROM t WHERE id = ?", cluster).await;
    assert!(other.standby_percent > 0, "{other:?}");
    standby
        .query_drop(applier(flavor, "START"))
        .await
        .expect("started");
    let deadline = std::time::Instant::now() + INTERVAL / 3;
    while reads_on(&mut conn, cluster).await == "a" {
        assert!(
            std::time::Instant::now() < deadline,
            "{what}, once it applies again"
        );
    }
    let seen: Option<i32> = conn.query_first("SELECT n FROM t").await.expect("a read");
    assert_eq!(seen, Some(200));
}

/// A row of the text protocol with one number.
fn one_value(number: Option<i64>) -> Vec<u8> {
    let text = number.expect("a number").to_string();
    let length = u8::try_from(text.len()).expect("short");
    [&[length], text.as_bytes()].concat()
}

/// Tables that reach into others, in a schema of their own.
const OTHERS: &str = "test_reach";
const DEFINITIONS: &[&str] = &[
    "CREATE TABLE hot (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE cold (id INT PRIMARY KEY, n INT)",
    "INSERT INTO hot VALUES (1, 0)",
    "CREATE VIEW seen AS SELECT id, n FROM hot",
    "CREATE VIEW twice AS SELECT id, n FROM seen",
    "CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB",
    "CREATE TABLE child (id INT PRIMARY KEY, n INT, p INT, FOREIGN KEY (p) REFERENCES parent (id) \
     ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE watched (id INT PRIMARY KEY)",
    "CREATE TRIGGER watching AFTER INSERT ON watched FOR EACH ROW UPDATE hot SET n = n + 1",
    "CREATE PROCEDURE raise() UPDATE hot SET n = n + 1",
    "CREATE FUNCTION raised() RETURNS INT MODIFIES SQL DATA BEGIN UPDATE hot SET n = n + 1; RETURN 1; END",
    "CREATE TABLE plain (id INT PRIMARY KEY, n INT) ENGINE=MyISAM",
    "INSERT INTO plain VALUES (1, 0)",
];

/// What is written; what must be seen of it at once, by another session; and whether tables that have nothing to do
/// with it are still read from the standby.
const WRITES: &[(&[&str], &str, bool)] = &[
    (&["UPDATE hot SET n = n + 1"], "SELECT SUM(n) FROM hot", true),
    (
        &["UPDATE hot SET n = n + 1"],
        "SELECT SUM(n) FROM test_reach.hot",
        true,
    ),
    (
        &["UPDATE `test_reach` . `hot` SET n = n + 1"],
        "SELECT SUM(n) FROM seen",
        true,
    ),
    (&["UPDATE seen SET n = n + 1"], "SELECT SUM(n) FROM hot", true),
    (&["UPDATE twice SET n = n + 1"], "SELECT SUM(n) FROM seen s", true),
    (
        &[
            "BEGIN",
            "UPDATE hot SET n = n + 1",
            "SELECT * FROM cold",
            "COMMIT",
        ],
        "SELECT SUM(n) FROM twice",
        true,
    ),
    (
        &[
            "SET autocommit = 0",
            "UPDATE hot SET n = n + 1",
            "SET autocommit = 1",
        ],
        "SELECT SUM(n) FROM hot",
        true,
    ),
    (
        &["BEGIN", "UPDATE hot SET n = n + 1", "BEGIN", "ROLLBACK"],
        "SELECT SUM(n) FROM hot",
        true,
    ),
    (
        &["INSERT INTO hot SELECT MAX(id) + 1, 1 FROM hot AS h"],
        "SELECT COUNT(*) FROM hot",
        true,
    ),
    (
        &[
            "REPLACE INTO parent VALUES (7)",
            "REPLACE INTO child VALUES (7, 7, 7)",
        ],
        "SELECT COUNT(*) FROM child",
        true,
    ),
    (
        &["UPDATE parent SET id = 8 WHERE id = 7"],
        "SELECT MAX(p) FROM child",
        true,
    ),
    (
        &["DELETE FROM parent WHERE id = 8"],
        "SELECT COUNT(*) FROM child",
        true,
    ),
    (
        &["INSERT INTO watched VALUES (1)"],
        "SELECT SUM(n) FROM hot",
        false,
    ),
    (&["CALL raise()"], "SELECT SUM(n) FROM hot", false),
    (&["SELECT raised()"], "SELECT SUM(n) FROM hot", false),
    (
        &[
            "PREPARE p FROM 'UPDATE hot SET n = n + 1'",
            "EXECUTE p",
            "DEALLOCATE PREPARE p",
        ],
        "SELECT SUM(n) FROM hot",
        false,
    ),
    (
        &["CREATE TABLE fresh AS SELECT 1 AS id"],
        "SELECT COUNT(*) FROM fresh",
        false,
    ),
    (
        &["RENAME TABLE hot TO warm, fresh TO hot, warm TO fresh"],
        "SELECT COUNT(*) FROM fresh",
        false,
    ),
    (
        &["RENAME TABLE hot TO warm, fresh TO hot, warm TO fresh"],
        "SELECT COUNT(*) FROM seen",
        false,
    ),
    (&["TRUNCATE TABLE fresh"], "SELECT COUNT(*) FROM fresh", false),
    // Two of its rows stay, and the error says nothing of it.
    (
        &["!INSERT INTO plain VALUES (2, 1), (3, 1), (1, 1)"],
        "SELECT SUM(n) FROM plain",
        true,
    ),
];

/// MariaDB's sequences are tables that statements write without naming them as such.
const SEQUENCES: &[&str] = &[
    "CREATE SEQUENCE numbers NOCACHE",
    "CREATE TABLE numbered (id INT DEFAULT NEXTVAL(numbers), n INT)",
];
const DRAWS: &[(&[&str], &str, bool)] = &[
    (
        &["INSERT INTO numbered (n) VALUES (1)"],
        "SELECT next_not_cached_value FROM numbers",
        true,
    ),
    (
        &["SELECT @x, NEXTVAL(numbers)"],
        "SELECT next_not_cached_value FROM numbers",
        false,
    ),
];

#[tokio::test]
async fn what_a_statement_writes_another_session_reads_at_once_however_it_is_reached() {
    let _applier = APPLIER.lock().await;
    let cluster = cluster().await;
    cluster.create_database(OTHERS).await;
    let mut writer = cluster.client_in(OTHERS).await;
    let mut reader = cluster.client_in(OTHERS).await;
    for server in cluster.pair().servers() {
        let trust = "SET GLOBAL log_bin_trust_function_creators = 1";
        let mut direct = cluster.direct(server).await;
        direct.query_drop(trust).await.expect("set");
        // Both servers show a view's text only to who may read the view.
        let grant = format!("GRANT SELECT ON {OTHERS}.* TO {}@'%'", MONITOR.user);
        direct
            .query_drop("SET SESSION sql_log_bin = 0")
            .await
            .expect("set");
        direct.query_drop(grant).await.expect("a grant");
    }
    let flavor = cluster.b().engine().flavor();
    let (sequences, draws) = match flavor {
        Flavor::MariaDb => (SEQUENCES, DRAWS),
        Flavor::MySql => (&[][..], &[][..]),
    };
    for text in DEFINITIONS.iter().chain(sequences) {
        writer
            .query_drop(*text)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let mut standby = cluster.direct(cluster.b()).await;
    for (writes, read, others_are_shared) in WRITES.iter().chain(draws) {
        wait_until("the definitions are known", INTERVAL / 3, || async {
            route_has("SELECT 1", "definitions", "known").await
        })
        .await;
        wait_until("the standby takes reads", INTERVAL / 3, || async {
            let mut conn = cluster.client_in(OTHERS).await;
            reads_of("cold", &mut conn, cluster).await == "b"
                && reads_of("hot", &mut conn, cluster).await == "b"
        })
        .await;
        let before: Option<i64> = reader.query_first(*read).await.ok().flatten();
        standby
            .query_drop(applier(flavor, "STOP"))
            .await
            .expect("stopped");
        for text in *writes {
            match text.strip_prefix('!') {
                Some(text) => assert!(writer.query_drop(text).await.is_err(), "{text}"),
                None => writer
                    .query_drop(*text)
                    .await
                    .unwrap_or_else(|e| panic!("{text}: {e}")),
            }
        }
        for _ in 0..12 {
            let after: Option<i64> = reader
                .query_first(*read)
                .await
                .unwrap_or_else(|e| panic!("{read}: {e}"));
            assert_ne!(after, before, "{read} after {writes:?}");
        }
        let cold = reads_of("cold", &mut reader, cluster).await;
        assert_eq!(
            cold == "b",
            *others_are_shared,
            "cold was read on {cold} after {writes:?}"
        );
        standby
            .query_drop(applier(flavor, "START"))
            .await
            .expect("started");
    }
}

/// Procedures that make a view one of another table, and a trigger, each by a text that they prepare, too.
const CODE: &[&str] = &[
    "CREATE TABLE one (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE two (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE told (id INT PRIMARY KEY, n INT)",
    "INSERT INTO one VALUES (1, 0)",
    "INSERT INTO two VALUES (1, 10)",
    "INSERT INTO told VALUES (1, 0)",
    "CREATE VIEW moving AS SELECT n FROM one",
    "CREATE PROCEDURE move_on() CREATE OR REPLACE VIEW moving AS SELECT n FROM two",
    "CREATE PROCEDURE move_back() BEGIN \
     SET @text = 'CREATE OR REPLACE VIEW moving AS SELECT n FROM one'; \
     PREPARE p FROM @text; EXECUTE p; DEALLOCATE PREPARE p; END",
    "CREATE PROCEDURE tell() BEGIN \
     SET @text = 'CREATE TABLE child (id INT PRIMARY KEY, n INT, FOREIGN KEY (n) REFERENCES one (id) ON UPDATE CASCADE)'; \
     PREPARE p FROM @text; EXECUTE p; DEALLOCATE PREPARE p; INSERT INTO child VALUES (1, 1); END",
];

/// What code defines is not in its text: what is written and read after it counts by what is there now.
#[tokio::test]
async fn what_a_procedure_defines_is_known_when_names_are_looked_at_again() {
    let _applier = APPLIER.lock().await;
    let mut writer = code_in("test_code", CODE).await;
    for (code, read, write) in [
        (
            "CALL move_on()",
            "SELECT n FROM moving",
            "UPDATE two SET n = n + 1",
        ),
        (
            "CALL move_back()",
            "SELECT n FROM moving",
            "UPDATE one SET n = n + 1",
        ),
        ("CALL tell()", "SELECT n FROM child", "UPDATE one SET id = id + 1"),
    ] {
        writer
            .query_drop(code)
            .await
            .unwrap_or_else(|e| panic!("{code}: {e}"));
        adds_one_for_readers(&mut writer, "test_code", read, write).await;
    }
}

/// A foreign key by a procedure that waits for a reader of the table.
const LATE: &[&str] = &[
    "CREATE TABLE one (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE late (id INT PRIMARY KEY, n INT, KEY (n))",
    "INSERT INTO one VALUES (1, 0)",
    "INSERT INTO late VALUES (1, 1)",
    "CREATE PROCEDURE bind() BEGIN \
     SET @text = 'ALTER TABLE late ADD FOREIGN KEY (n) REFERENCES one (id) ON UPDATE CASCADE'; \
     PREPARE p FROM @text; EXECUTE p; DEALLOCATE PREPARE p; END",
];

/// The servers count a change of definitions before they make it. Definitions that are read in between are not the last word.
#[tokio::test]
async fn what_a_procedure_defines_while_names_are_looked_at_is_known_when_it_ends() {
    let _applier = APPLIER.lock().await;
    let cluster = cluster().await;
    let schema = "test_late";
    let mut writer = code_in(schema, LATE).await;
    let mut holder = cluster.direct(cluster.a()).await;
    for statement in ["BEGIN", "SELECT * FROM test_late.late"] {
        holder.query_drop(statement).await.expect(statement);
    }
    let called = tokio::spawn(async move {
        writer.query_drop("CALL bind()").await.expect("called");
        writer
    });
    wait_until("the procedure waits for the table", WITHIN, || async {
        let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata%'";
        let mut direct = cluster.direct(cluster.a()).await;
        direct.query_first(waiting).await.expect("a count") == Some(1)
    })
    .await;
    wait_until("the names are looked at", INTERVAL / 3, || async {
        route_has(&format!("SELECT n FROM {schema}.late"), "definitions", "known").await
    })
    .await;
    holder.query_drop("COMMIT").await.expect("the table is free");
    let mut writer = called.await.expect("a task");
    let (read, write) = ("SELECT n FROM late", "UPDATE one SET id = id + 1");
    adds_one_for_readers(&mut writer, schema, read, write).await;
}

/// A session in a schema with these definitions, in which the monitor may read.
async fn code_in(schema: &str, definitions: &[&str]) -> Conn {
    let cluster = cluster().await;
    cluster.create_database(schema).await;
    for server in cluster.pair().servers() {
        let mut direct = cluster.direct(server).await;
        direct
            .query_drop("SET SESSION sql_log_bin = 0")
            .await
            .expect("set");
        let grant = format!("GRANT SELECT ON {schema}.* TO {}@'%'", MONITOR.user);
        direct.query_drop(grant).await.expect("a grant");
    }
    let mut writer = cluster.client_in(schema).await;
    for text in definitions {
        writer
            .query_drop(*text)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    writer
}

/// Once Tandem knows the definitions and would ask the standby, which then stops applying, a write that adds one to what a read
/// shows is seen by another session.
async fn adds_one_for_readers(writer: &mut Conn, schema: &str, read: &str, write: &str) {
    let cluster = cluster().await;
    let flavor = cluster.b().engine().flavor();
    let question = read.replace("FROM ", &format!("FROM {schema}."));
    wait_until(
        "the standby has it, and the names are known",
        INTERVAL / 3,
        || async {
            route_has(&question, "reason", "balanced").await
                && route_has(&question, "definitions", "known").await
        },
    )
    .await;
    let mut standby = cluster.direct(cluster.b()).await;
    standby
        .query_drop(applier(flavor, "STOP"))
        .await
        .expect("stopped");
    let mut reader = cluster.client_in(schema).await;
    let before: Option<i32> = reader.query_first(read).await.expect("a read");
    writer
        .query_drop(write)
        .await
        .unwrap_or_else(|e| panic!("{write}: {e}"));
    for _ in 0..12 {
        let after: Option<i32> = reader.query_first(read).await.expect("a read");
        assert_eq!(after, before.map(|n| n + 1), "{read} after {write}");
    }
    standby
        .query_drop(applier(flavor, "START"))
        .await
        .expect("started");
}

/// Whether `EXPLAIN ROUTE` says this of a question.
async fn route_has(question: &str, property: &str, value: &str) -> bool {
    let mut admin = cluster().await.admin().await;
    let rows: Vec<(String, String)> = admin
        .query(format!("EXPLAIN ROUTE {question}"))
        .await
        .expect("a route");
    rows.contains(&(property.to_owned(), value.to_owned()))
}

#[tokio::test]
async fn less_than_strict_is_asked_for_by_name() {
    let _applier = APPLIER.lock().await;
    let cluster = cluster().await;
    let schema = "test_levels";
    cluster.create_database(schema).await;
    let mut writer = cluster.client_in(schema).await;
    writer
        .query_drop("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        .await
        .expect("a table");
    writer
        .query_drop("INSERT INTO t VALUES (1, 0)")
        .await
        .expect("a row");
    cluster.wait_replicated().await;
    let flavor = cluster.b().engine().flavor();
    let mut standby = cluster.direct(cluster.b()).await;
    // Of two sessions of one proxy: whether the writer, and whether the other one, may see the old value.
    for (level, own, others) in [
        ("strict", false, false),
        ("session", false, true),
        ("eventual", true, true),
    ] {
        let toml = format!("[consistency]\nlevel = \"{level}\"");
        let proxy = Proxy::over(cluster.pair(), &toml, |config| {
            config.listener.workers = 1;
            config.monitor.interval = INTERVAL;
            config.servers[1].weight = 100;
        })
        .await;
        let mut writer = Conn::new(proxy.opts(Some(schema))).await.expect("a session");
        let mut other = Conn::new(proxy.opts(Some(schema))).await.expect("a session");
        wait_until("the standby takes reads", INTERVAL / 3, || async {
            let mut conn = Conn::new(proxy.opts(Some(schema))).await.expect("a session");
            reads_on(&mut conn, cluster).await == "b"
        })
        .await;
        standby
            .query_drop(applier(flavor, "STOP"))
            .await
            .expect("stopped");
        writer
            .query_drop("UPDATE t SET n = n + 1")
            .await
            .expect("a write");
        let newest: Option<i64> = cluster
            .direct(cluster.a())
            .await
            .query_first(format!("SELECT n FROM {schema}.t"))
            .await
            .expect("a read");
        for (conn, may_be_old, who) in [(&mut writer, own, "writer"), (&mut other, others, "other")] {
            let mut old = false;
            for _ in 0..8 {
                let seen: Option<i64> = conn.query_first("SELECT n FROM t").await.expect("a read");
                old |= seen != newest;
            }
            assert_eq!(old, may_be_old, "{level}: the {who}");
            let hint = "SELECT n FROM t /* tandem:consistency=eventual */";
            let mut old = false;
            for _ in 0..8 {
                let seen: Option<i64> = conn.query_first(hint).await.expect("a read");
                old |= seen != newest;
            }
            assert!(old, "{level}: the {who} has asked for no more");
        }
        if flavor == Flavor::MySql {
            let flags = CAPABILITIES | Capabilities::QUERY_ATTRIBUTES;
            let mut raw = Raw::log_in_with(proxy.address(), &APP, schema, flags).await;
            let mut ask = async |attributes: &[u8]| {
                let query = [attributes, b"SELECT n FROM t"].concat();
                let mut seen = Vec::new();
                for _ in 0..8 {
                    seen.push(raw.ask(3, &query, Expect::Query).await);
                }
                seen.iter().any(|reply| *reply != seen[0])
                    || !format!("{:?}", seen[0]).contains(&format!("{:?}", one_value(newest)))
            };
            assert_eq!(ask(b"\0\x01").await, others, "{level}: without an attribute");
            let attribute = b"\x01\x01\0\x01\xfe\0\x12tandem_consistency\x08eventual";
            assert!(ask(attribute).await, "{level}: an attribute asks for no more");
        }
        standby
            .query_drop(applier(flavor, "START"))
            .await
            .expect("started");
        cluster.wait_replicated().await;
    }
}

/// What others write past Tandem is seen by whoever reads two intervals later, if that is asked for.
#[tokio::test]
async fn what_others_write_on_the_active_master_is_seen_when_it_is_tracked() {
    let _applier = APPLIER.lock().await;
    let cluster = cluster().await;
    let schema = "test_others";
    cluster.create_database(schema).await;
    let mut other = cluster.direct(cluster.a()).await;
    other.query_drop(format!("USE {schema}")).await.expect("used");
    for text in [
        "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
        "INSERT INTO t VALUES (1, 0)",
    ] {
        other.query_drop(text).await.expect("done past Tandem");
    }
    cluster.wait_replicated().await;
    let flavor = cluster.b().engine().flavor();
    let mut standby = cluster.direct(cluster.b()).await;
    for (tracks, interval) in [(true, 200), (false, 200)] {
        let toml = format!("[consistency]\ntrack_external = {tracks}\ntrack_interval = \"{interval}ms\"");
        let proxy = Proxy::over(cluster.pair(), &toml, |config| {
            config.listener.workers = 1;
            config.monitor.interval = INTERVAL;
            config.servers[1].weight = 100;
        })
        .await;
        wait_until("the standby takes reads", INTERVAL / 3, || async {
            let mut conn = Conn::new(proxy.opts(Some(schema))).await.expect("a session");
            reads_on(&mut conn, cluster).await == "b"
        })
        .await;
        standby
            .query_drop(applier(flavor, "STOP"))
            .await
            .expect("stopped");
        other.query_drop("UPDATE t SET n = n + 1").await.expect("a write");
        let newest: Option<i64> = other.query_first("SELECT n FROM t").await.expect("a read");
        let mut reader = Conn::new(proxy.opts(Some(schema))).await.expect("a session");
        let wrote = std::time::Instant::now();
        let mut old = false;
        while wrote.elapsed() < Duration::from_millis(4 * interval) {
            let late = wrote.elapsed() > Duration::from_millis(2 * interval);
            let seen: Option<i64> = reader.query_first("SELECT n FROM t").await.expect("a read");
            old |= late && seen != newest;
        }
        assert_eq!(old, !tracks);
        standby
            .query_drop(applier(flavor, "START"))
            .await
            .expect("started");
        cluster.wait_replicated().await;
    }
}
