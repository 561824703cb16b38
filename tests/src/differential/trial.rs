//! The two sides: the same steps on fresh tables, first directly on the active master, then through Tandem.

use std::fmt;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem::demo::pair::{APP, client};
use tandem::topology::Flavor;

use super::generate::{OTHER, SCHEMA, SESSIONS};
use super::play::Player;
use super::step::{Action, Step};
use super::strangers::Strangers;
use crate::Cluster;

/// Connections to each server that Tandem may have: one more than sessions, which may all be pinned.
pub const CONNECTIONS: usize = SESSIONS + 1;

/// How many shorter sequences are tried when one differs.
const ATTEMPTS: usize = 80;

/// The servers and what is needed to reset them.
pub struct Ground<'a> {
    cluster: &'a Cluster,
    flavor: Flavor,
    a: Conn,
    b: Conn,
    /// The position that the standby is known to have.
    reached: String,
}

/// The first reply that was not the same.
pub struct Difference {
    pub at: usize,
    direct: Vec<u8>,
    through: Vec<u8>,
}

impl<'a> Ground<'a> {
    pub async fn new(cluster: &'a Cluster, flavor: Flavor) -> Self {
        let (a, b) = (
            cluster.direct(cluster.a()).await,
            cluster.direct(cluster.b()).await,
        );
        let mut ground = Self {
            cluster,
            flavor,
            a,
            b,
            reached: String::new(),
        };
        // A driver proves its password in full; after that the server knows it for short proofs.
        let opts = client(cluster.a().address(), APP.user, APP.password, None);
        drop(
            Conn::new(opts)
                .await
                .expect("a connection of the application's account"),
        );
        for statement in ["CREATE ROLE differential_role", "GRANT differential_role TO app"] {
            ground.run(statement).await;
        }
        ground
    }

    /// Plays the steps on both sides, until the first difference.
    pub async fn compare(&mut self, steps: &[Step]) -> Option<Difference> {
        self.reset().await;
        let mut player = Player::new(self.cluster.a().address());
        let mut expected = Vec::new();
        for step in steps {
            let _now = Now("directly", step);
            expected.push(player.play(step).await);
        }
        player.leave().await;
        self.reset().await;
        self.compare_through(steps, expected).await
    }

    async fn compare_through(&mut self, steps: &[Step], expected: Vec<Vec<u8>>) -> Option<Difference> {
        let address = self.cluster.address();
        let mut player = Player::new(address);
        let mut strangers = Strangers::gather(address, capabilities(steps), CONNECTIONS).await;
        let mut difference = None;
        for (at, (step, direct)) in steps.iter().zip(expected).enumerate() {
            if step.strangers {
                strangers.come_by().await;
            }
            let _now = Now("through Tandem", step);
            let through = player.play(step).await;
            self.catch_up().await;
            if direct != through {
                difference = Some(Difference { at, direct, through });
                break;
            }
        }
        player.leave().await;
        strangers.leave().await;
        difference
    }

    /// A shorter sequence whose last step still differs; `steps` ends with the one that does.
    pub async fn shorten(&mut self, mut steps: Vec<Step>) -> (Vec<Step>, Option<Difference>) {
        let mut found = None;
        let mut chunk = steps.len() / 2;
        let mut attempts = 0;
        while chunk > 0 && attempts < ATTEMPTS {
            let mut end = steps.len() - 1;
            while end > SESSIONS && attempts < ATTEMPTS {
                let start = end.saturating_sub(chunk).max(SESSIONS);
                let mut fewer = steps.clone();
                let mut at = 0;
                fewer.retain(|step| {
                    at += 1;
                    !(start..end).contains(&(at - 1)) || is_needed(step)
                });
                attempts += 1;
                match self.compare(&fewer).await {
                    Some(difference) => {
                        fewer.truncate(difference.at + 1);
                        steps = fewer;
                        found = Some(difference);
                        end = start.min(steps.len() - 1);
                    }
                    None => end = start,
                }
            }
            chunk /= 2;
        }
        (steps, found)
    }

    /// Fresh tables on both servers.
    async fn reset(&mut self) {
        self.end_branches().await;
        for statement in setup(self.flavor) {
            self.run(&statement).await;
        }
        self.catch_up().await;
    }

    /// Ends distributed transactions that outlived their session: they lock what is to be dropped.
    async fn end_branches(&mut self) {
        for session in 0..SESSIONS {
            // Mostly there is none.
            let _ = self.a.query_drop(format!("XA ROLLBACK 'x{session}'")).await;
        }
    }

    async fn run(&mut self, statement: &str) {
        let done = self.a.query_drop(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Waits until the standby has what the active master has: replication's delay is no part of the test.
    async fn catch_up(&mut self) {
        let (ask, wait) = match self.flavor {
            Flavor::MariaDb => ("SELECT @@gtid_binlog_pos", "MASTER_GTID_WAIT"),
            Flavor::MySql => ("SELECT @@gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET"),
        };
        let position: Option<String> = self.a.query_first(ask).await.expect("a position");
        let position = position.expect("a position");
        if position == self.reached {
            return;
        }
        let wait = format!("SELECT {wait}('{position}', 20)");
        let waited: Option<i64> = self.b.query_first(wait).await.expect("an answer");
        assert_eq!(waited, Some(0), "the standby has not reached {position}");
        self.reached = position;
    }
}

/// Without these, both sides' replies depend on the moment.
fn is_needed(step: &Step) -> bool {
    match &step.action {
        Action::LogIn(_) => true,
        Action::Query(text) => text.starts_with("SET timestamp"),
        _ => false,
    }
}

/// Says at which step a panic came.
struct Now<'a>(&'static str, &'a Step);

impl Drop for Now<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, at {}", self.0, self.1);
        }
    }
}

fn capabilities(steps: &[Step]) -> tandem_protocol::flags::Capabilities {
    match steps.first().map(|step| &step.action) {
        Some(Action::LogIn(login)) => login.capabilities,
        _ => panic!("the first step logs in"),
    }
}

fn setup(flavor: Flavor) -> Vec<String> {
    let mut out = Vec::new();
    if flavor == Flavor::MySql {
        out.push("SET SESSION sql_require_primary_key = 0".to_owned());
    }
    for schema in [SCHEMA, OTHER] {
        out.push(format!("DROP DATABASE IF EXISTS {schema}"));
        let charset = if schema == OTHER { "latin1" } else { "utf8mb4" };
        out.push(format!("CREATE DATABASE {schema} CHARACTER SET {charset}"));
        for table in ["t0", "t1", "t2", "t3", "shared"] {
            out.push(format!(
                "CREATE TABLE {schema}.{table} (id INT AUTO_INCREMENT PRIMARY KEY, n INT, v VARCHAR(30), {} (n))",
                if table == "shared" { "KEY" } else { "UNIQUE KEY n" }
            ));
            out.push(format!(
                "INSERT INTO {schema}.{table} (n, v) VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, NULL), (5, 'ä')"
            ));
        }
    }
    out.push(format!(
        "CREATE TABLE {OTHER}.strangers (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(30))"
    ));
    out.extend(
        ROUTINES
            .iter()
            .map(|(name, rest)| format!("CREATE {name} {rest}").replace("SCHEMA", SCHEMA)),
    );
    for session in 0..SESSIONS {
        out.push(format!(
            "CREATE PROCEDURE {SCHEMA}.inserts_{session} (IN what VARCHAR(20)) \
             INSERT INTO {SCHEMA}.t{session} (v) VALUES (what), ('and more')"
        ));
    }
    if flavor == Flavor::MariaDb {
        out.push(format!("CREATE SEQUENCE {SCHEMA}.sequence_of_all"));
    }
    out
}

const ROUTINES: &[(&str, &str)] = &[
    (
        "PROCEDURE SCHEMA.gives_out",
        "(IN a INT, OUT b INT) SET b = a * 2",
    ),
    (
        "PROCEDURE SCHEMA.two_results",
        "() BEGIN SELECT 1 AS one; SELECT id FROM SCHEMA.shared ORDER BY id LIMIT 2; END",
    ),
    ("PROCEDURE SCHEMA.no_result", "() DO 1"),
    ("PROCEDURE SCHEMA.warns", "() SELECT 1/0"),
    (
        "PROCEDURE SCHEMA.fails",
        "() BEGIN SELECT 1; SELECT * FROM SCHEMA.no_such_table; END",
    ),
    (
        "PROCEDURE SCHEMA.changes_mode",
        "() BEGIN SET sql_mode = 'ANSI_QUOTES'; SELECT @@sql_mode; END",
    ),
    (
        "FUNCTION SCHEMA.plus_one",
        "(a INT) RETURNS INT DETERMINISTIC RETURN a + 1",
    ),
];

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "directly:")?;
        dump(f, &self.direct)?;
        writeln!(f, "through Tandem:")?;
        dump(f, &self.through)
    }
}

/// The packets of a reply, a line each, bytes that are no text as `\x00`.
fn dump(f: &mut fmt::Formatter<'_>, reply: &[u8]) -> fmt::Result {
    let mut rest = reply;
    while let Some(header) = tandem_protocol::frame::Header::peek(rest) {
        let end = (4 + header.len).min(rest.len());
        let shown = &rest[4..end.min(4 + 300)];
        writeln!(
            f,
            "  {:>3} {:>5} {}",
            header.seq,
            header.len,
            shown.escape_ascii()
        )?;
        rest = &rest[end..];
    }
    writeln!(f, "  {}", rest.escape_ascii())
}
