//! The tables that Tandem finds in a statement's text are those that the server opens for it: for the statements of
//! `tables.txt`, and for many more that a grammar makes from a seed.
//!
//! The server tells by its metadata locks, which a transaction keeps to its end: `SHARED_READ` for a table that is read,
//! `SHARED_WRITE` for one that is changed or locked.
//!
//! Some statements kill the server: those are counted by themselves, told with what its log says, and it is started again.
//! `TANDEM_TABLES_SEED` and `TANDEM_TABLES_STATEMENTS` make other statements, and more.

#[path = "tables/grammar.rs"]
mod grammar;

use std::collections::BTreeSet;
use std::time::Duration;

use grammar::Grammar;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem::classify::facts::{Facts, Kind, TableName};
use tandem::classify::{Dialect, analyse};
use tandem::demo::pair::Pair;
use tandem_tests::{Flavor, Setup, engine, wait_until};

/// Statements of the grammar, and what they are made from. (Other seeds find statements that MariaDB dies of.)
const STATEMENTS: u64 = 2_000;
const SEED: u64 = 7;
/// More deaths than this are too many to be told one by one.
const MOST_DEATHS: usize = 20;
/// What takes a server's word away is followed by its end, unless it is ours.
const DYING: Duration = Duration::from_secs(30);

/// One server with the tables that the statements name, asked by one connection and watched by another.
struct Server {
    pair: Pair,
    dialect: Dialect,
    session: Conn,
    watcher: Conn,
    thread: u64,
}

impl Server {
    async fn start() -> Self {
        let mut options = Setup::default().pair;
        options.extra = vec![
            "performance_schema=ON".into(),
            "performance_schema_instrument='wait/lock/metadata/sql/mdl=ON'".into(),
        ];
        let pair = Pair::start(&options).await.expect("a pair");
        let mut session = pair.a().connect().await.expect("a connection");
        let mut watcher = pair.a().connect().await.expect("a connection");
        for schema in ["s", "d"] {
            run(&mut session, &format!("CREATE DATABASE {schema}")).await;
            for table in ["t", "u", "v", "w", "`from`", "`a``b`", "1a"] {
                let table = format!("{schema}.{table}");
                let create = format!(
                    "CREATE TABLE {table} (a INT PRIMARY KEY, b INT, c INT, d INT, INDEX i (b), INDEX j (c)) \
                     PARTITION BY HASH (a) (PARTITION p0, PARTITION p1, PARTITION p2)"
                );
                run(&mut session, &create).await;
                run(
                    &mut session,
                    &format!("INSERT INTO {table} VALUES (1, 2, 3, 4), (2, 3, 4, 5)"),
                )
                .await;
            }
        }
        let version: String = session
            .query_first("SELECT VERSION()")
            .await
            .expect("version")
            .expect("a row");
        Self {
            thread: begin(&mut session, &mut watcher).await,
            pair,
            dialect: dialect(&version),
            session,
            watcher,
        }
    }

    /// What the server does with the statement.
    async fn run(&mut self, statement: &str) -> Fate {
        run(&mut self.session, "START TRANSACTION").await;
        let done = self.session.query_drop(statement).await;
        if let Err(error) = &done
            && !matches!(error, mysql_async::Error::Server(_))
        {
            return self.died(statement, error).await;
        }
        let locks = "SELECT CONCAT(OBJECT_SCHEMA, '.', OBJECT_NAME), LOCK_TYPE LIKE 'SHARED_WRITE%' \
                     FROM performance_schema.metadata_locks WHERE OBJECT_TYPE = 'TABLE' \
                     AND OBJECT_SCHEMA IN ('s', 'd') AND OWNER_THREAD_ID = ?";
        let locks: Vec<(String, bool)> = self.watcher.exec(locks, (self.thread,)).await.expect("locks");
        if let Err(error) = self.session.query_drop("ROLLBACK").await {
            return self.died(statement, &error).await;
        }
        if done.is_err() {
            return Fate::Refused;
        }
        let written = locks.iter().filter(|(_, writes)| *writes);
        Fate::Opened(Opened {
            written: written.map(|(name, _)| name.clone()).collect(),
            all: locks.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// The connection is lost: the server has died, and says of what, or something is wrong here. Starts it again.
    async fn died(&mut self, statement: &str, error: &mysql_async::Error) -> Fate {
        let server = self.pair.a();
        let what = format!("the server's end, since {error} came of {statement}");
        wait_until(&what, DYING, || async { server.pid().is_none() }).await;
        let log = server.error_log();
        let death = log
            .lines()
            .rfind(|line| DEATHS.iter().any(|word| line.contains(word)))
            .unwrap_or_else(|| panic!("it ended without a word after {statement}:\n{log}"))
            .to_owned();
        server.restart().await.expect("it starts again");
        self.session = server.connect().await.expect("a connection");
        self.watcher = server.connect().await.expect("a connection");
        self.thread = begin(&mut self.session, &mut self.watcher).await;
        Fate::Died(death)
    }
}

/// Goes to the schema of the tables; returns the session's number as the performance schema has it.
async fn begin(session: &mut Conn, watcher: &mut Conn) -> u64 {
    run(session, "USE s").await;
    let thread = "SELECT THREAD_ID FROM performance_schema.threads WHERE PROCESSLIST_ID = ?";
    let thread = watcher.exec_first(thread, (session.id(),)).await;
    thread.expect("threads").expect("the session's thread")
}

/// What servers log when they die.
const DEATHS: [&str; 3] = ["got signal", "Assertion", "[FATAL]"];

/// What becomes of a statement.
enum Fate {
    Refused,
    Opened(Opened),
    /// The server died of it, and said this.
    Died(String),
}

struct Opened {
    all: BTreeSet<String>,
    written: BTreeSet<String>,
}

/// `10.11.14-MariaDB-…` or `9.7.0`
fn dialect(version: &str) -> Dialect {
    let numbers = version
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = numbers.take(3).fold(0, |sum, part| sum * 100 + part);
    Dialect {
        flavor: engine().flavor(),
        version,
        ansi_quotes: false,
        no_backslash_escapes: false,
        ignore_space: false,
        multibyte: false,
    }
}

fn number(variable: &str, usually: u64) -> u64 {
    std::env::var(variable).map_or(usually, |text| text.parse().expect("a number"))
}

async fn run(conn: &mut Conn, statement: &str) {
    let done = conn.query_drop(statement).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn full(tables: &[TableName]) -> BTreeSet<String> {
    let schema = |table: &TableName| match &*table.schema {
        "" => "s".to_owned(),
        schema => schema.to_owned(),
    };
    tables
        .iter()
        .map(|table| format!("{}.{}", schema(table), table.name))
        .collect()
}

/// How often what was found is what the server opened.
#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    incomplete: Vec<String>,
    exact: usize,
    /// More tables were found than were opened.
    wider: Vec<String>,
    missed: Vec<String>,
    deadly: Vec<String>,
}

impl Counts {
    fn compare(&mut self, statement: &str, facts: &Facts, fate: Fate) {
        let opened = match fate {
            Fate::Opened(opened) => opened,
            Fate::Refused => {
                self.refused += 1;
                return;
            }
            Fate::Died(death) => {
                self.deadly.push(format!("{statement}\n  {death}"));
                let all = &self.deadly;
                assert!(all.len() <= MOST_DEATHS, "the server dies of all this: {all:#?}");
                return;
            }
        };
        if !facts.tables.complete {
            self.incomplete.push(statement.to_owned());
            return;
        }
        let writes = full(&facts.tables.writes);
        let found: BTreeSet<String> = writes.union(&full(&facts.tables.reads)).cloned().collect();
        // A locking read takes the lock of a write.
        let changes = facts.kind != Kind::Select;
        let unseen_write = changes && !opened.written.is_subset(&writes);
        if unseen_write || !opened.all.is_subset(&found) {
            self.missed.push(format!(
                "{statement}\n  opened {:?}\n  to write {:?}\n  found {found:?}\n  to write {writes:?}",
                opened.all, opened.written
            ));
        } else if found == opened.all {
            self.exact += 1;
        } else {
            self.wider.push(format!(
                "{statement}\n  opened {:?}\n  found {found:?}",
                opened.all
            ));
        }
    }

    fn first(list: &[String]) -> String {
        list.iter().take(5).map(|text| format!("{text}\n")).collect()
    }
}

/// Words by which the reading of tables goes: it must not take one for a keyword where the servers take it for a name.
const RESERVED: [&str; 26] = [
    "SELECT",
    "FROM",
    "JOIN",
    "STRAIGHT_JOIN",
    "USING",
    "ON",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "PROCEDURE",
    "INTO",
    "LOCK",
    "FOR",
    "SET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "TABLE",
    "UPDATE",
    "DELETE",
    "INSERT",
    "REPLACE",
    "WITH",
    "VALUES",
];

#[tokio::test]
async fn the_words_that_the_reading_goes_by_are_no_names() {
    let mut server = Server::start().await;
    let more = match server.dialect.flavor {
        Flavor::MariaDb => &["RETURNING"][..],
        Flavor::MySql => &["LATERAL", "RECURSIVE"],
    };
    for word in RESERVED.iter().chain(more) {
        for statement in [
            format!("SELECT 1 FROM t AS {word}"),
            format!("SELECT 1 FROM t {word}"),
            format!("SELECT 1 FROM {word}"),
            format!("SELECT 1 AS {word} FROM t"),
            format!("SELECT {word} FROM (SELECT 1 AS `{word}`) x"),
            format!("WITH {word} AS (SELECT 1) SELECT 1"),
        ] {
            match server.session.query_drop(&*statement).await {
                Err(mysql_async::Error::Server(error)) if error.code == SYNTAX_ERROR => {}
                other => panic!("{statement}: {other:?}"),
            }
        }
    }
}

const SYNTAX_ERROR: u16 = 1064;

#[tokio::test]
async fn every_table_that_the_server_opens_is_found_in_the_text() {
    let mut server = Server::start().await;

    let mut of_the_file = Counts::default();
    let mut fits = true;
    for line in include_str!("../../proxy/src/classify/tables.txt").lines() {
        if let Some(words) = line.strip_prefix('!') {
            let mysql = words.contains("mysql") == (server.dialect.flavor == Flavor::MySql);
            fits = words.is_empty() || (mysql && !words.contains("ansi_quotes"));
        }
        let columns: Vec<&str> = line.rsplitn(3, " | ").collect();
        let ([_, _, statement], false, true) = (&columns[..], line.starts_with(['#', '!']), fits) else {
            continue;
        };
        // Files are another matter, and what HANDLER opens stays open.
        if statement.contains("FILE '") || statement.starts_with("HANDLER") {
            continue;
        }
        let statement = statement.replace('␤', "\n").replace('␉', "\t");
        let facts = analyse(statement.as_bytes(), server.dialect);
        let fate = server.run(&statement).await;
        of_the_file.compare(&statement, &facts, fate);
    }

    let mut made = Counts::default();
    let statements = number("TANDEM_TABLES_STATEMENTS", STATEMENTS);
    let seed = number("TANDEM_TABLES_SEED", SEED);
    let mut grammar = Grammar::new(seed, server.dialect.flavor);
    for _ in 0..statements {
        let statement = grammar.statement();
        let facts = analyse(statement.as_bytes(), server.dialect);
        let fate = server.run(&statement).await;
        made.compare(&statement, &facts, fate);
    }

    for (what, counts) in [("the file", &of_the_file), ("the grammar", &made)] {
        println!(
            "{what}: {} exact, {} wider, {} incomplete, {} refused, {} that the server died of",
            counts.exact,
            counts.wider.len(),
            counts.incomplete.len(),
            counts.refused,
            counts.deadly.len()
        );
        counts
            .deadly
            .iter()
            .for_each(|text| println!("the server died of {text}"));
        println!(
            "wider:\n{}incomplete:\n{}",
            Counts::first(&counts.wider),
            Counts::first(&counts.incomplete)
        );
        assert!(
            counts.missed.is_empty(),
            "{what}:\n{}",
            Counts::first(&counts.missed)
        );
    }
    let statements = statements as usize;
    assert!(of_the_file.exact > 100 && made.exact > statements / 2);
    assert!(made.incomplete.len() <= statements / 100);
}
