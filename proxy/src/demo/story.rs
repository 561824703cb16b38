//! What the demo plays through Tandem, and what it checks: the servers themselves are asked what
//! they executed.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};

use super::Error;
use super::pair::{APP, Pair, Server, client};
use crate::topology::Flavor;

/// How many statements of an account a server has executed, by its own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `SELECT` statements.
    pub reads: u64,
    /// Statements that change rows or tables.
    pub writes: u64,
    /// `BEGIN`, `COMMIT`, `SET`, `SHOW` and all the rest.
    pub other: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} writes", self.reads, self.writes)
    }
}

impl Counts {
    /// What came in since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            other: self.other.saturating_sub(earlier.other),
        }
    }
}

/// What `server` has executed for `user`.
pub async fn counts(server: &Server, user: &str) -> Result<Counts, super::pair::Error> {
    let question = match server.engine().flavor() {
        Flavor::MariaDb => COUNTS_MARIADB,
        Flavor::MySql => COUNTS_MYSQL,
    };
    let mut conn = server.connect().await?;
    let counted: Option<(u64, u64, u64)> = conn
        .exec_first(question, (user,))
        .await
        .map_err(server.sql("counting statements"))?;
    let (reads, writes, other) = counted.unwrap_or_default();
    Ok(Counts { reads, writes, other })
}

/// Needs `userstat=1`, which the pair's servers have.
const COUNTS_MARIADB: &str = "SELECT SELECT_COMMANDS, UPDATE_COMMANDS, OTHER_COMMANDS \
     FROM information_schema.USER_STATISTICS WHERE USER = ?";

/// Prepared statements count by what they do, as others.
const COUNTS_MYSQL: &str = "SELECT CAST(IFNULL(SUM(IF(is_read, n, 0)), 0) AS UNSIGNED), \
     CAST(IFNULL(SUM(IF(is_write, n, 0)), 0) AS UNSIGNED), \
     CAST(IFNULL(SUM(IF(is_read OR is_write, 0, n)), 0) AS UNSIGNED) \
     FROM (SELECT EVENT_NAME = 'statement/sql/select' AS is_read, EVENT_NAME REGEXP \
     '^statement/sql/(insert|update|delete|replace|create|drop|alter|truncate|load|call|rename)' AS is_write, \
     COUNT_STAR AS n FROM performance_schema.events_statements_summary_by_user_by_event_name \
     WHERE USER = ? AND EVENT_NAME LIKE 'statement/%') AS counted";

/// Plays the story through the proxy at `proxy`. Every check that fails is an error that says what was
/// expected.
pub(super) async fn play(pair: &Pair, proxy: SocketAddr) -> Result<(), Error> {
    let teller = Teller { pair, proxy };
    teller.sample().await?;
    teller.write().await?;
    teller.reads().await?;
    teller.read_your_write().await?;
    teller.transaction().await?;
    teller.equal().await
}

struct Teller<'a> {
    pair: &'a Pair,
    proxy: SocketAddr,
}

impl Teller<'_> {
    async fn sample(&self) -> Result<(), Error> {
        let step = Step::begin(self, "create the sample database `shop`, 4 tables with 22 rows").await?;
        let mut conn = self.connect(None).await?;
        for statement in SAMPLE.lines() {
            conn.query_drop(statement).await.map_err(step.failed())?;
        }
        step.end("only a executed it", |a, b| a.writes > 0 && b.writes == 0)
            .await
    }

    async fn write(&self) -> Result<(), Error> {
        let step = Step::begin(self, "write: INSERT INTO review").await?;
        let mut conn = self.connect(Some("shop")).await?;
        conn.query_drop("INSERT INTO review (product, stars, words) VALUES (1, 5, 'Two are faster')")
            .await
            .map_err(step.failed())?;
        step.end("only a executed it", |a, b| (a.writes, b.writes) == (1, 0))
            .await
    }

    async fn reads(&self) -> Result<(), Error> {
        self.pair.wait_replicated().await?;
        self.shared().await?;
        let step = Step::begin(self, "100 reads on 4 connections").await?;
        for _ in 0..4 {
            let mut conn = self.connect(Some("shop")).await?;
            for id in 0..READS / 4 {
                let statement = format!("SELECT name, price FROM product WHERE id = {}", id % 6 + 1);
                conn.query_drop(statement).await.map_err(step.failed())?;
            }
        }
        step.end("spread over both", |a, b| {
            a.reads + b.reads == READS && a.reads > 0 && b.reads > 0
        })
        .await
    }

    /// Waits until b answers reads: what was just created must be applied there, and known to be.
    async fn shared(&self) -> Result<(), Error> {
        let started = Instant::now();
        let step = Step::begin(self, "until b answers reads").await?;
        let mut conn = self.connect(Some("shop")).await?;
        loop {
            for _ in 0..2 {
                let read = conn.query_drop("SELECT COUNT(*) FROM product").await;
                read.map_err(|source| Error::Story {
                    step: step.what,
                    source,
                })?;
            }
            if both(self.pair).await?.1.since(step.before.1).reads > 0 {
                return Ok(());
            }
            expect(started.elapsed() < SHARED_WITHIN, "b answers reads")?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn read_your_write(&self) -> Result<(), Error> {
        let step = Step::begin(self, "50 times: write, then read it back at once").await?;
        let mut conn = self.connect(Some("shop")).await?;
        for round in 0..50 {
            let words = format!("round {round}");
            conn.exec_drop(
                "INSERT INTO review (product, stars, words) VALUES (2, 4, ?)",
                (&words,),
            )
            .await
            .map_err(step.failed())?;
            let statement = format!("SELECT words FROM review WHERE words = '{words}'");
            let found: Option<String> = conn.query_first(statement).await.map_err(step.failed())?;
            expect(
                found.as_ref() == Some(&words),
                "a session sees its own write at once",
            )?;
        }
        step.end("always there, whoever answered", |a, b| {
            (a.writes, b.writes) == (50, 0)
        })
        .await
    }

    async fn transaction(&self) -> Result<(), Error> {
        let step = Step::begin(self, "transaction: read stock, buy, commit").await?;
        let mut conn = self.connect(Some("shop")).await?;
        let mut transaction = conn
            .start_transaction(TxOpts::default())
            .await
            .map_err(step.failed())?;
        let stock: Option<i64> = transaction
            .query_first("SELECT stock FROM product WHERE id = 3 FOR UPDATE")
            .await
            .map_err(step.failed())?;
        for statement in [
            "UPDATE product SET stock = stock - 1 WHERE id = 3",
            "INSERT INTO purchase (customer, product, amount) VALUES (1, 3, 1)",
        ] {
            transaction.query_drop(statement).await.map_err(step.failed())?;
        }
        let left: Option<i64> = transaction
            .query_first("SELECT stock FROM product WHERE id = 3")
            .await
            .map_err(step.failed())?;
        transaction.commit().await.map_err(step.failed())?;
        expect(
            stock.is_some() && stock.map(|stock| stock - 1) == left,
            "the transaction sees its own change",
        )?;
        step.end("all of it on a", |a, b| {
            (a.reads, a.writes) == (2, 2) && (b.reads, b.writes) == (0, 0)
        })
        .await
    }

    async fn equal(&self) -> Result<(), Error> {
        let started = Instant::now();
        let position = self.pair.wait_replicated().await?;
        let a = checksums(self.pair.a()).await?;
        let b = checksums(self.pair.b()).await?;
        let count = a.len();
        expect(
            count == 4 && a == b,
            "CHECKSUM TABLE gives the same on both servers",
        )?;
        tell(
            &format!("both servers hold the same {count} tables, at {position}"),
            started,
        );
        Ok(())
    }

    async fn connect(&self, database: Option<&str>) -> Result<Conn, Error> {
        Conn::new(client(self.proxy, APP.user, APP.password, database))
            .await
            .map_err(|source| Error::Story {
                step: "connect through Tandem",
                source,
            })
    }
}

/// One step of the story: what the servers executed between its begin and its end.
struct Step<'a> {
    what: &'static str,
    pair: &'a Pair,
    started: Instant,
    before: (Counts, Counts),
}

impl<'a> Step<'a> {
    async fn begin(teller: &Teller<'a>, what: &'static str) -> Result<Self, Error> {
        Ok(Self {
            what,
            pair: teller.pair,
            before: both(teller.pair).await?,
            started: Instant::now(),
        })
    }

    fn failed(&self) -> impl FnOnce(mysql_async::Error) -> Error {
        let step = self.what;
        move |source| Error::Story { step, source }
    }

    /// Tells what the servers executed meanwhile; it is an error if that isn't what `holds` wants.
    async fn end(self, outcome: &'static str, holds: impl Fn(Counts, Counts) -> bool) -> Result<(), Error> {
        let took = self.started.elapsed();
        let deadline = Instant::now() + COUNTED_WITHIN;
        // A server answers a statement before it counts it.
        let (a, b, holds) = loop {
            let (a, b) = both(self.pair).await?;
            let (a, b) = (a.since(self.before.0), b.since(self.before.1));
            let as_told = holds(a, b);
            if as_told || Instant::now() > deadline {
                break (a, b, as_told);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let verdict = if holds { outcome } else { "NOT AS IT SHOULD BE" };
        tell_took(&format!("{}: {verdict} (a: {a}; b: {b})", self.what), took);
        expect(holds, outcome)
    }
}

/// The application's statements on a and on b.
pub(super) async fn both(pair: &Pair) -> Result<(Counts, Counts), Error> {
    let asked = tokio::try_join!(counts(pair.a(), APP.user), counts(pair.b(), APP.user));
    Ok(asked?)
}

/// A line of the story, with the time it took.
pub(super) fn tell(line: &str, started: Instant) {
    tell_took(line, started.elapsed());
}

fn tell_took(line: &str, took: Duration) {
    say(&format!("{:>7} ms  {line}", took.as_millis()));
}

/// Like `println!`, which would panic when the reader of a pipe has gone.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn checksums(server: &Server) -> Result<Vec<(String, Option<u64>)>, Error> {
    let mut conn = server.connect().await?;
    let rows = conn
        .query("CHECKSUM TABLE shop.customer, shop.product, shop.purchase, shop.review")
        .await
        .map_err(server.sql("comparing the tables"))?;
    Ok(rows)
}

pub(super) fn expect(holds: bool, expected: &'static str) -> Result<(), Error> {
    holds.then_some(()).ok_or(Error::Unexpected { expected })
}

const READS: u64 = 100;
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
const SHARED_WITHIN: Duration = Duration::from_secs(10);
/// One statement a line.
const SAMPLE: &str = include_str!("shop.sql");
