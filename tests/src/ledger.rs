//! A load whose every acknowledged write is known: what must be found after a fault, once and only once. Writers read back what they have
//! written, and readers what any of them was told of.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, TxOpts};
use tokio::task::JoinHandle;

use crate::{Cluster, wait_until};

/// How a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Text,
    Prepared,
    /// Two rows and a read in between, then COMMIT.
    Transaction,
    /// The same with prepared statements.
    PreparedTransaction,
}

impl Manner {
    pub const ALL: [Self; 4] = [
        Self::Text,
        Self::Prepared,
        Self::Transaction,
        Self::PreparedTransaction,
    ];
}

/// What one client has met.
#[derive(Debug, Default)]
struct Account {
    /// Numbers whose write was acknowledged.
    acknowledged: Vec<u64>,
    /// Numbers whose write ended in an error: they may be there, once.
    doubtful: Vec<u64>,
    errors: Vec<String>,
    reads: u64,
    /// Reads of rows that were known to be there, its own or another's, and that did not show them.
    stale: u64,
    /// What any one statement took at most.
    longest: Duration,
}

/// The newest write that a writer was told of.
struct Newest {
    writer: u64,
    n: AtomicU64,
}

/// Writers and readers that run until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<(u64, JoinHandle<Account>)>,
}

/// What the load has met, and what the survivor has of it.
#[derive(Debug, Default)]
pub struct Report {
    pub writes: usize,
    /// Of rows of their own and of others.
    pub reads: u64,
    pub errors: Vec<String>,
    pub missing: Vec<(u64, u64)>,
    pub doubled: Vec<(u64, u64)>,
    pub stale: u64,
    pub longest: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes, {} reads, {} errors, {} missing, {} twice, {} stale reads, longest pause {} ms",
            self.writes,
            self.reads,
            self.errors.len(),
            self.missing.len(),
            self.doubled.len(),
            self.stale,
            self.longest.as_millis()
        )
    }
}

impl Report {
    /// Nobody has got an error or read anything old, and every acknowledged write is there once.
    pub fn assert_nothing_lost(&self) {
        assert!(self.writes > 0, "{self}");
        assert!(self.errors.is_empty(), "{self}: {:#?}", self.errors);
        assert!(self.missing.is_empty(), "{self}: {:?}", self.missing);
        assert!(self.doubled.is_empty(), "{self}: {:?}", self.doubled);
        assert_eq!(self.stale, 0, "{self}");
    }
}

/// The table that writers write to.
pub const TABLE: &str =
    "CREATE TABLE ledger (id INT AUTO_INCREMENT PRIMARY KEY, writer BIGINT, n BIGINT, KEY (writer, n))";

impl Load {
    /// `writers` clients of each of `manners`, and for each manner a reader; each connects by `opts`, whose schema has [`TABLE`].
    pub fn start(opts: &Opts, manners: &[Manner], writers: u64) -> Self {
        Self::beside(opts, manners, writers, 0)
    }

    /// The same, beside others whose numbers are below `first`, a multiple of 10,000.
    pub fn beside(opts: &Opts, manners: &[Manner], writers: u64, first: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kinds = || (0..).zip(manners);
        let ids = kinds().flat_map(|(kind, _)| (0..writers).map(move |writer| first + kind * 1000 + writer));
        let newest = ids.map(|writer| Newest {
            writer,
            n: AtomicU64::new(0),
        });
        let newest: Arc<[Newest]> = newest.collect();
        let mut tasks = Vec::new();
        for (place, newest_of) in newest.iter().enumerate() {
            let (_, &manner) = kinds().nth(place / writers as usize).expect("as many");
            let (newest, stop) = (Arc::clone(&newest), Arc::clone(&stop));
            let task = tokio::spawn(write(opts.clone(), manner, newest, place, stop));
            tasks.push((newest_of.writer, task));
        }
        for (kind, _) in kinds() {
            let (newest, stop) = (Arc::clone(&newest), Arc::clone(&stop));
            tasks.push((
                first + kind * 1000 + 999,
                tokio::spawn(read(opts.clone(), newest, stop)),
            ));
        }
        Self { stop, tasks }
    }

    /// Stops, and compares with what `survivor` has.
    pub async fn settle(self, survivor: &mut Conn) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report::default();
        let mut accounts = Vec::new();
        for (id, task) in self.tasks {
            let account = task.await.expect("a writer does not panic");
            report.writes += account.acknowledged.len();
            report.reads += account.reads;
            report.stale += account.stale;
            report.longest = report.longest.max(account.longest);
            report
                .errors
                .extend(account.errors.iter().map(|error| format!("client {id}: {error}")));
            accounts.push((id, account));
        }
        let found: Vec<(u64, u64, u64)> = survivor
            .query("SELECT writer, n, COUNT(*) FROM shop.ledger GROUP BY writer, n")
            .await
            .expect("the ledger");
        let found: HashMap<(u64, u64), u64> = found
            .into_iter()
            .map(|(writer, n, rows)| ((writer, n), rows))
            .collect();
        for (id, account) in accounts {
            for &n in &account.acknowledged {
                match found.get(&(id, n)) {
                    None => report.missing.push((id, n)),
                    Some(1) => {}
                    Some(_) => report.doubled.push((id, n)),
                }
            }
            let twice = account
                .doubtful
                .iter()
                .filter(|&&n| found.get(&(id, n)).is_some_and(|&rows| rows > 1));
            report.doubled.extend(twice.map(|&n| (id, n)));
        }
        report
    }
}

/// Makes the table, in the schema `shop`, and waits until both servers have it.
pub async fn prepare(cluster: &Cluster) {
    let mut conn = cluster.client().await;
    for statement in ["CREATE DATABASE shop", "USE shop", TABLE] {
        conn.query_drop(statement).await.expect(statement);
    }
    cluster.wait_replicated().await;
}

/// Waits until the table has this many more rows, as a client with these options sees it.
pub async fn wait_rows(opts: Opts, more: u64, within: Duration) {
    let count = "SELECT COUNT(*) FROM shop.ledger";
    let mut conn = Conn::new(opts.clone()).await.expect("a connection");
    let before: u64 = conn.query_first(count).await.expect("a count").expect("a row");
    wait_until("the ledger grows", within, || async {
        let mut conn = Conn::new(opts.clone()).await.expect("a connection");
        let rows: Option<u64> = conn.query_first(count).await.expect("a count");
        rows.is_some_and(|rows| rows >= before + more)
    })
    .await;
}

async fn write(
    opts: Opts,
    manner: Manner,
    newest: Arc<[Newest]>,
    place: usize,
    stop: Arc<AtomicBool>,
) -> Account {
    let id = newest[place].writer;
    let mut account = Account::default();
    let mut conn = None;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let Some(mut open) = connected(&opts, &mut conn, &mut account).await else {
            continue;
        };
        n += 2;
        let done = one(&mut open, manner, id, n, &mut account.longest).await;
        let told = match done {
            Ok(()) => {
                account.acknowledged.push(n);
                if matches!(manner, Manner::Transaction | Manner::PreparedTransaction) {
                    account.acknowledged.push(n + 1);
                }
                newest[place].n.store(n, Ordering::Release);
                shows(&mut open, id, n, &mut account.longest).await
            }
            Err(error) => {
                account.doubtful.push(n);
                Err(error)
            }
        };
        account.note_read(&told, n, begun);
        conn = told.is_ok().then_some(open);
    }
    account
}

/// Reads what writers were told of, one after the other.
async fn read(opts: Opts, newest: Arc<[Newest]>, stop: Arc<AtomicBool>) -> Account {
    let mut account = Account::default();
    let mut conn = None;
    for newest in newest.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let n = newest.n.load(Ordering::Acquire);
        if n == 0 {
            tokio::task::yield_now().await;
            continue;
        }
        let begun = Instant::now();
        let Some(mut open) = connected(&opts, &mut conn, &mut account).await else {
            continue;
        };
        let told = shows(&mut open, newest.writer, n, &mut account.longest).await;
        account.note_read(&told, n, begun);
        conn = told.is_ok().then_some(open);
    }
    account
}

/// The connection that there is, or a new one; nothing after an error, which is noted.
async fn connected(opts: &Opts, conn: &mut Option<Conn>, account: &mut Account) -> Option<Conn> {
    if let Some(conn) = conn.take() {
        return Some(conn);
    }
    match Conn::new(opts.clone()).await {
        Ok(conn) => Some(conn),
        Err(error) => {
            account.errors.push(format!("connecting: {error}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

impl Account {
    /// What came of a read of what was known to be there, or of the write before it.
    fn note_read(&mut self, told: &Result<bool, mysql_async::Error>, n: u64, begun: Instant) {
        match told {
            Ok(fresh) => {
                self.reads += 1;
                self.stale += u64::from(!fresh);
            }
            Err(error) => {
                let after = begun.elapsed();
                self.errors.push(format!("{n} after {after:?}: {error}"));
            }
        }
    }
}

/// Waits for a statement and notes how long it took if none took longer.
async fn timed<T>(longest: &mut Duration, statement: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = statement.await;
    *longest = (*longest).max(begun.elapsed());
    done
}

/// One write, of one row or of two.
async fn one(
    conn: &mut Conn,
    manner: Manner,
    id: u64,
    n: u64,
    longest: &mut Duration,
) -> Result<(), mysql_async::Error> {
    let insert = "INSERT INTO ledger (writer, n) VALUES (?, ?)";
    let text = |n| format!("INSERT INTO ledger (writer, n) VALUES ({id}, {n})");
    match manner {
        Manner::Text => timed(longest, conn.query_drop(text(n))).await,
        Manner::Prepared => timed(longest, conn.exec_drop(insert, (id, n))).await,
        Manner::Transaction => {
            let mut transaction = timed(longest, conn.start_transaction(TxOpts::default())).await?;
            timed(longest, transaction.query_drop(text(n))).await?;
            let own: Option<u64> = timed(longest, transaction.query_first(count(id, n))).await?;
            timed(longest, transaction.query_drop(text(n + own.unwrap_or(100)))).await?;
            timed(longest, transaction.commit()).await
        }
        Manner::PreparedTransaction => {
            let mut transaction = timed(longest, conn.start_transaction(TxOpts::default())).await?;
            timed(longest, transaction.exec_drop(insert, (id, n))).await?;
            let own: Option<u64> = timed(longest, transaction.query_first(count(id, n))).await?;
            let second = (id, n + own.unwrap_or(100));
            timed(longest, transaction.exec_drop(insert, second)).await?;
            timed(longest, transaction.commit()).await
        }
    }
}

/// Whether a read shows what was written.
async fn shows(conn: &mut Conn, id: u64, n: u64, longest: &mut Duration) -> Result<bool, mysql_async::Error> {
    Ok(timed(longest, conn.query_first(count(id, n))).await? == Some(1_u64))
}

fn count(id: u64, n: u64) -> String {
    format!("SELECT COUNT(*) FROM ledger WHERE writer = {id} AND n = {n}")
}
