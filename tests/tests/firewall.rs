//! The firewall on real servers: it learns what an application sends, and then lets that through, with whatever values, and nothing else,
//! also after a restart.

use std::path::PathBuf;
use std::process::Command;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tandem::demo::pair::APP;
use tandem_tests::pair::Pair;
use tandem_tests::{Cluster, Setup, WITHIN, config_without_servers, wait_until};

const SCHEMA: &str = "test_firewall";
const OTHER: &str = "test_firewall_2";

/// Tandem as a process of its own, which has a configuration that can be saved.
struct Stand {
    cluster: Cluster,
    file: PathBuf,
}

impl Stand {
    async fn new() -> Self {
        let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
        let file = pair.directory().join("firewall");
        let overrides = [
            "listener.workers=2".to_owned(),
            format!("firewall.file={}", file.display()),
        ];
        let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &overrides);
        for schema in [SCHEMA, OTHER] {
            cluster.create_database(schema).await;
        }
        let mut root = cluster.direct(cluster.a()).await;
        for schema in [SCHEMA, OTHER] {
            let table = format!("CREATE TABLE {schema}.t (id INT PRIMARY KEY, n INT)");
            root.query_drop(&table).await.expect(&table);
        }
        cluster.wait_replicated().await;
        Self { cluster, file }
    }

    async fn mode(&self, mode: &str) {
        let set = format!("SET user.{}.firewall = '{mode}'", APP.user);
        self.act(&set).await;
    }

    async fn act(&self, statement: &str) {
        let mut admin = self.cluster.admin().await;
        admin
            .query_drop(statement)
            .await
            .unwrap_or_else(|problem| panic!("{statement}: {problem}"));
    }

    /// State, hits, warned and refused of the statements of the schema that are like this.
    async fn listed(&self, like: &str) -> Vec<(String, u64, u64, u64)> {
        let asked = format!(
            "SELECT state, hits, warned, refused FROM firewall WHERE account = '{}' AND `schema` = '{SCHEMA}' AND statement LIKE '{like}'",
            APP.user
        );
        let mut admin = self.cluster.admin().await;
        admin.query(asked).await.expect("the table")
    }

    /// The lines of the log that have these words.
    fn told(&self, words: &str) -> Vec<String> {
        let told = self.cluster.process().told();
        told.into_iter().filter(|line| line.contains(words)).collect()
    }

    /// The only one that has them, as soon as it is there.
    async fn told_once(&self, words: &str) -> String {
        wait_until(words, WITHIN, || async { !self.told(words).is_empty() }).await;
        let mut told = self.told(words);
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }
}

async fn run(conn: &mut Conn, statement: &str) {
    conn.query_drop(statement)
        .await
        .unwrap_or_else(|problem| panic!("{statement}: {problem}"));
}

fn refusal(what: &str, done: Result<(), Error>) -> String {
    match done {
        Ok(()) => panic!("{what} is not refused"),
        Err(Error::Server(refused)) => {
            assert_eq!(
                (refused.code, &*refused.state),
                (1148, "42000"),
                "{what}: {refused}"
            );
            refused.message
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

async fn refused(conn: &mut Conn, statement: &str) -> String {
    refusal(statement, conn.query_drop(statement).await)
}

/// What the application does; `n` is in all of it that are values.
async fn application(conn: &mut Conn, n: u32) {
    run(conn, "BEGIN").await;
    run(
        conn,
        &format!("REPLACE INTO t (id, n) VALUES ({n}, 1), (9{n}, {n})"),
    )
    .await;
    conn.exec_drop("UPDATE t SET n = n + ? WHERE id = ?", (n, n))
        .await
        .expect("prepared");
    run(conn, "COMMIT").await;
    let read: Option<u32> = conn
        .query_first(format!("SELECT n FROM t WHERE id = {n}"))
        .await
        .expect("a read");
    assert_eq!(read, Some(n + 1));
    let both = format!("SELECT MAX(n) FROM t WHERE id < {n}; SELECT n FROM t WHERE id = {n}");
    run(conn, &both).await;
    run(conn, "PREPARE s FROM 'SELECT n FROM t WHERE id >= ?'").await;
    run(conn, &format!("SET @i = {n}")).await;
    run(conn, "EXECUTE s USING @i").await;
    run(conn, "DEALLOCATE PREPARE s").await;
}

/// Names of a prepared statement are those of its PREPARE's schema: there its executions are known, wherever the session has gone since.
#[tokio::test]
async fn an_execution_is_known_where_it_was_prepared() {
    let stand = Stand::new().await;
    let mut conn = stand.cluster.client_in(SCHEMA).await;
    stand.mode("learn").await;
    let read = conn.prep("SELECT n FROM t WHERE id < ?").await.expect("prepared");
    conn.exec_drop(&read, (1,)).await.expect("learnt");
    run(&mut conn, &format!("USE {OTHER}")).await;
    assert_eq!(stand.listed("SELECT n FROM t WHERE id < ?").await.len(), 1);
    stand.mode("refuse").await;
    conn.exec_drop(&read, (2,))
        .await
        .expect("known where it was prepared");
    refused(&mut conn, "SELECT n FROM t WHERE id < 2").await;
    let again = conn.prep("SELECT n FROM t WHERE id < ? ").await.map(drop);
    refusal("prepared here", again);
    conn.exec_drop(&read, (3,)).await.expect("as before");
}

/// The whole life of it: learn, refuse, look, accept, forget, restart.
#[tokio::test]
async fn what_was_learnt_passes_and_nothing_else() {
    let mut stand = Stand::new().await;
    let mut conn = stand.cluster.client_in(SCHEMA).await;
    stand.mode("learn").await;
    application(&mut conn, 1).await;
    // So does whoever connects: what a driver asks first is learnt too, in each schema.
    drop(stand.cluster.client_in(SCHEMA).await);
    let mut other = stand.cluster.client_in(OTHER).await;
    run(&mut other, "SELECT 1").await;
    let learned = stand.listed("SELECT n FROM t WHERE id = ?").await;
    assert!(
        matches!(&learned[..], [(state, 2, 0, 0)] if state == "learned"),
        "{learned:?}"
    );

    stand.mode("refuse").await;
    application(&mut conn, 2).await;
    let mut second = stand.cluster.client_in(SCHEMA).await;
    application(&mut second, 3).await;
    run(&mut conn, "SELECT /* so */ n\n FROM t WHERE id = 77 -- and").await;
    run(&mut conn, "SELECT n FROM t WHERE id = 5;").await;

    // An open transaction stays so.
    run(&mut conn, "BEGIN").await;
    run(&mut conn, "REPLACE INTO t (id, n) VALUES (1000, 5), (1001, 5)").await;
    for new in [
        "DELETE FROM t",
        "SELECT n FROM t WHERE id = 1 OR 1 = 1",
        "SELECT n FROM t WHERE id = 1 /*! OR 1 = 1 */",
        "SELECT n FROM t WHERE id = 1 UNION SELECT password FROM mysql.user",
        "SELECT n FROM t WHERE id = 1; DROP TABLE t",
        "COMMIT; DROP TABLE t",
        "PREPARE s FROM 'DROP TABLE t'",
        "PREPARE s FROM @i",
        "SELECT n FROM t WHERE id = 1; PREPARE s FROM 'SELECT n FROM t WHERE id >= ?'",
        "EXECUTE IMMEDIATE 'DROP TABLE t'",
        "SELECT n FROM t WHERE id = 1 AND 'it",
        "KILL 1",
        "SHOW WARNINGS",
        "USE test_firewall_2",
    ] {
        refused(&mut conn, new).await;
    }
    let prepared = conn.exec_drop("DELETE FROM t WHERE id = ?", (1,)).await;
    let told = refusal("prepared", prepared);
    assert!(
        told.contains("FOR 'app' IN 'test_firewall' lets it through"),
        "{told}"
    );
    refused(&mut other, "SELECT n FROM t WHERE id = 1").await;
    let read: Option<u32> = conn
        .query_first("SELECT n FROM t WHERE id = 1000")
        .await
        .expect("a read");
    assert_eq!(read, Some(5));
    run(&mut conn, "ROLLBACK").await;
    assert!(stand.cluster.counter("firewall_refused").await >= 16);

    // No value is told anywhere. What was seen before is told now, so that this one is among the first.
    assert!(stand.listed("%").await.len() > 20);
    let secret = "SELECT n FROM t WHERE n = 31415926";
    refused(&mut conn, secret).await;
    refused(&mut second, secret).await;
    let new = stand.listed("SELECT n FROM t WHERE n = ?").await;
    assert!(
        matches!(&new[..], [(state, 2, 0, 2)] if state == "new"),
        "{new:?}"
    );
    let told = stand.told_once("SELECT n FROM t WHERE n = ?").await;
    assert!(told.contains("was refused"), "{told}");
    assert!(stand.told("31415926").is_empty());
    let listed = stand.listed("%31415926%").await;
    assert!(listed.is_empty(), "{listed:?}");

    // The error says what lets it through.
    let told = refused(&mut conn, "SELECT COUNT(*) FROM t").await;
    let way_out = told.split_once("admin port ").expect("a way out").1;
    let way_out = way_out.trim_end_matches(" lets it through");
    stand.act(way_out).await;
    run(&mut conn, "SELECT COUNT(*) FROM t").await;
    run(&mut second, "SELECT COUNT(*) FROM t").await;
    let digest = way_out.split(' ').nth(2).expect("a digest");
    assert_eq!(
        explained(&stand, "SELECT COUNT(*) FROM t").await.as_deref(),
        Some("known, let through")
    );
    stand.act(&format!("FIREWALL FORGET {digest}")).await;
    refused(&mut second, "SELECT COUNT(*) FROM t").await;
    let new = explained(&stand, "SELECT COUNT(*) FROM t").await;
    assert!(new.is_some_and(|new| new.contains("gets error 1148")));
    let mut admin = stand.cluster.admin().await;
    let audited: Vec<String> = admin
        .query("SELECT what FROM audit WHERE what LIKE 'FIREWALL%' AND outcome = 'done'")
        .await
        .expect("the audit");
    assert_eq!(audited.len(), 2, "{audited:?}");

    // Mode "warn" lets through, counts, and tells once.
    stand.mode("warn").await;
    for n in 0..3 {
        run(&mut conn, &format!("SELECT n FROM t WHERE id < {n}")).await;
    }
    let new = stand.listed("SELECT n FROM t WHERE id < ?").await;
    assert!(
        matches!(&new[..], [(state, 3, 3, 0)] if state == "new"),
        "{new:?}"
    );
    let told = stand.told_once("SELECT n FROM t WHERE id < ?").await;
    assert!(told.contains("was let through"), "{told}");

    // What was learnt is there after a restart and after a crash.
    stand.mode("refuse").await;
    stand.act("SAVE CONFIG").await;
    let hits = stand.listed("SELECT n FROM t WHERE id = ?").await[0].1;
    let number = stand.cluster.process().number().to_string();
    let ended = Command::new("kill").args(["-TERM", &number]).status();
    assert!(ended.is_ok_and(|status| status.success()));
    wait_until("Tandem has ended", WITHIN, || async {
        !stand.cluster.process().runs()
    })
    .await;
    for _ in 0..2 {
        stand.cluster.process_mut().restart();
        let after = stand.listed("SELECT n FROM t WHERE id = ?").await;
        assert_eq!(after.first().map(|row| row.1), Some(hits), "{after:?}");
        let mut conn = stand.cluster.client_in(SCHEMA).await;
        refused(&mut conn, "DELETE FROM t").await;
        refused(&mut conn, "SELECT COUNT(*) FROM t").await;
        stand.cluster.process().kill9();
    }
    stand.cluster.process_mut().restart();
    let mut conn = stand.cluster.client_in(SCHEMA).await;
    application(&mut conn, 4).await;
}

/// What a new session's statement would come to.
async fn explained(stand: &Stand, statement: &str) -> Option<String> {
    let mut admin = stand.cluster.admin().await;
    let asked = format!("EXPLAIN ROUTE FOR {} IN {SCHEMA} {statement}", APP.user);
    let rows: Vec<(String, String)> = admin.query(asked).await.expect("explained");
    let found = rows.into_iter().find(|(property, _)| property == "firewall");
    found.map(|(_, verdict)| verdict)
}

/// What there is no room for is not learnt, and the limit's key is named where an operator looks.
#[tokio::test]
async fn a_full_account_learns_no_more() {
    let stand = Stand::new().await;
    stand.act("SET firewall.digests = 3").await;
    stand.mode("learn").await;
    let mut conn = stand.cluster.client_in(SCHEMA).await;
    for column in 0..20 {
        run(&mut conn, &format!("SELECT n AS c{column} FROM t")).await;
    }
    // With what the driver asks.
    let all = stand.listed("%").await.len() as u64;
    assert!(all >= 20, "{all}");
    let mut admin = stand.cluster.admin().await;
    let limit: Option<(u64, u64, u64)> = admin
        .query_first("SELECT current, `limit`, refused FROM limits WHERE `limit` = 3")
        .await
        .expect("limits");
    assert_eq!(limit, Some((3, 3, all - 3)));
    stand.told_once("firewall.digests is reached").await;
    let left: Option<String> = admin
        .query_first("SELECT statement FROM firewall WHERE state = 'new' AND statement LIKE 'SELECT n AS c%'")
        .await
        .expect("the table");
    let left = left.expect("one that is not learnt");
    stand.mode("refuse").await;
    refused(&mut conn, &left).await;
    stand.act("SET firewall.digests = DEFAULT").await;
    stand.act(&format!("FIREWALL ACCEPT ALL FOR {}", APP.user)).await;
    run(&mut conn, &left).await;
    assert!(stand.file.exists());
}

/// A file that is broken or too large keeps Tandem from starting, and the error says which, where, and what to do.
#[test]
fn a_broken_file_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, file) = (folder.path().join("tandem.toml"), folder.path().join("firewall"));
    std::fs::write(&config, config_without_servers("127.0.0.1:0")).expect("written");
    let start = |set: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxy"));
        command.env_clear().arg("run").arg("--config").arg(&config);
        command.args(["--set", set, "--set"]);
        command.arg(format!("firewall.file={}", file.display()));
        let output = command.output().expect("it ran");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    std::fs::write(
        &file,
        "{\"tandem_firewall\":1,\"secret\":\"00000000000000ff\"}\n{\"statements\":1}\n",
    )
    .expect("written");
    let told = start("firewall.mode=refuse");
    assert!(
        told.contains("(firewall.file) is broken in line 2: there should be 1 statements, and are 0"),
        "{told}"
    );
    std::fs::write(&file, vec![b'x'; 2000]).expect("written");
    let told = start("firewall.bytes=1KiB");
    assert!(
        told.contains("has 2000 bytes, more than firewall.bytes = 1024"),
        "{told}"
    );
}
