//! Reads which tables reach further than their names say, from the active master's `information_schema`.
//!
//! It is read when Tandem starts and when the active master changes, after each statement through Tandem that changes
//! definitions, and every `monitor.definitions_interval`. Until that is done, reads and writes count for all tables. Where
//! there is one server only, nobody but rules with `cache` asks, and without these it is never read: that would open its tables.
//!
//! What code has done (`CALL`, `EXECUTE`) is not in its text, and reading all that after each call would be too much: the
//! server counts its statements by their kinds, those within procedures too (measured on MariaDB 10.11 and MySQL 9.7), and is
//! asked only whether these counts have changed. So it is every second, for what came past Tandem. It counts a change before it
//! makes it: what runs while changed counts are read has the catalog read again when it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Error};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Signals;
use super::door::Door;
use crate::classify::facts::{Facts, Links};
use crate::classify::{self, Dialect};
use crate::config::Config;
use crate::topology::catalog::{Catalog, Definitions};
use crate::topology::mark::Mark;
use crate::topology::table::TableKey;
use crate::topology::{ServerId, Shared, Version};

/// How often it is looked whether there is a new active master; and the least time between two readings.
const LOOK: Duration = Duration::from_millis(100);
const GAP: Duration = Duration::from_millis(20);

/// After readings that failed, most times [`LOOK`] until the next.
const MOST_LOOKS: u32 = 10;

/// Reading again takes at most a fifth of the time, however many tables there are.
const REST: u32 = 4;

/// A schema too large to be read within this time is not known.
const PATIENCE: Duration = Duration::from_secs(30);

/// The text is empty unless the account may also read the view (measured on MariaDB 10.11 and MySQL 9.7).
const VIEWS: &str = "SELECT table_schema, table_name, view_definition FROM information_schema.views \
    WHERE table_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')";

const TRIGGERS: &str =
    "SELECT DISTINCT event_object_schema, event_object_table FROM information_schema.triggers";

const CASCADES: &str = "SELECT unique_constraint_schema, referenced_table_name, constraint_schema, table_name \
    FROM information_schema.referential_constraints \
    WHERE delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION')";

/// Engines whose tables hold their own rows. All others (`MERGE`, `FEDERATED`, `CONNECT`, `SPIDER`, …) may look elsewhere.
/// MariaDB's sequences are written by whoever inserts into a table that has one as a default.
const ELSEWHERE: &str = "SELECT table_schema, table_name FROM information_schema.tables \
    WHERE (table_type = 'SEQUENCE' OR table_type = 'BASE TABLE' AND (engine IS NULL OR engine NOT IN ('InnoDB', 'MyISAM', \
    'Aria', 'MEMORY', 'CSV', 'ARCHIVE', 'BLACKHOLE', 'ROCKSDB', 'Columnstore'))) \
    AND table_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')";

/// How many statements the server has run that change definitions, and when it began to count anew (`FLUSH STATUS`). Costs
/// it a millisecond or two.
const COUNTS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_create_db', 'Com_drop_db', 'Com_alter_db', \
    'Com_create_table', 'Com_alter_table', 'Com_drop_table', 'Com_rename_table', 'Com_create_view', 'Com_drop_view', \
    'Com_create_trigger', 'Com_drop_trigger', 'Com_create_sequence', 'Com_alter_sequence', 'Com_drop_sequence', \
    'Uptime', 'Uptime_since_flush_status')";

/// For what came past Tandem they are asked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Between two questions for them; and they take at most a twentieth of the time.
const SHORT_GAP: Duration = Duration::from_millis(5);
const LONG_REST: u32 = 19;

/// What the account has on everything: without both, triggers and the texts of views are not shown to it.
const RIGHTS: &str = "SELECT COUNT(DISTINCT privilege_type) FROM information_schema.user_privileges \
    WHERE privilege_type IN ('TRIGGER', 'SHOW VIEW') \
    AND REPLACE(grantee, '\\'', '') = CURRENT_USER()";

/// Ready when another server than `active` is the active master.
async fn moved(topology: &Shared, signals: &Signals, active: ServerId) {
    loop {
        let mut published = std::pin::pin!(signals.published());
        published.as_mut().enable();
        if topology.load().active.is_some_and(|other| other != active) {
            return;
        }
        published.await;
    }
}

/// Why the definitions are not known.
#[derive(Debug)]
enum Unknown {
    NoRights,
    Failed(String),
}

/// The task that keeps the catalog of the active master's mark new.
pub(super) struct Reader {
    /// By server.
    doors: Vec<Door>,
    newer: watch::Receiver<Arc<Config>>,
    topology: Shared,
    signals: Signals,
    conn: Option<(ServerId, Conn)>,
    read_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// From before the catalog was read.
    counts: Option<Counts>,
    /// What was counted may not be in the catalog: it must be read again.
    again: bool,
    /// Readings that failed since one did not.
    failures: u32,
    said: bool,
}

impl Reader {
    pub(super) fn new(newer: watch::Receiver<Arc<Config>>, topology: Shared, signals: Signals) -> Self {
        Self {
            doors: Door::of_all(&newer),
            newer,
            topology,
            signals,
            conn: None,
            read_at: None,
            looked_at: None,
            counts: None,
            again: false,
            failures: 0,
            said: false,
        }
    }

    pub(super) async fn run(mut self) {
        let (shared, signals) = (self.topology.clone(), self.signals.clone());
        loop {
            let topology = shared.load_full();
            if let (Some(mark), Some(active), Some(version)) =
                (&topology.mark, topology.active, topology.version())
                && self.is_wanted()
            {
                tokio::select! {
                    () = self.keep(active, mark, version) => {}
                    // The next one's definitions are waited for, and the last one may never answer.
                    () = moved(&shared, &signals, active) => (self.conn, self.counts) = (None, None),
                }
            }
            tokio::select! {
                _ = tokio::time::timeout(LOOK, signals.defined.notified()) => {}
                () = signals.published() => {}
            }
        }
    }

    /// Looks whether the catalog is right, reads it if not, and rests after that.
    async fn keep(&mut self, active: ServerId, mark: &Mark, version: &Version) {
        let begun = Instant::now();
        let mut rest = self
            .look(active, mark)
            .await
            .map(|()| SHORT_GAP.max(begun.elapsed() * LONG_REST));
        if self.is_due(mark) {
            if let Err(unknown) = self.read(active, mark, version).await {
                self.say(&unknown, &self.topology.load().server(active).name);
                self.failures += 1;
                tokio::time::sleep(LOOK * self.failures.min(MOST_LOOKS)).await;
            }
            rest = Some(GAP.max(begun.elapsed() * REST));
        }
        if let Some(rest) = rest {
            tokio::time::sleep(rest).await;
        }
    }

    fn is_wanted(&self) -> bool {
        self.doors.len() > 1
            || self
                .newer
                .borrow()
                .rules
                .iter()
                .any(|rule| rule.actions.cache.is_some())
    }

    fn is_due(&self, mark: &Mark) -> bool {
        let interval = self.newer.borrow().monitor.definitions_interval;
        let is_old = |at: &Instant| at.elapsed() >= interval;
        !mark.has_read_catalog() || mark.has_unchecked_code() || self.read_at.as_ref().is_none_or(is_old)
    }

    /// Asks for the counts, if there is a reason to: the catalog is right if they are the same. Nothing if there is none.
    async fn look(&mut self, active: ServerId, mark: &Mark) -> Option<()> {
        let is_old = |at: &Instant| at.elapsed() >= LOOK_AGAIN;
        let is_asked = mark.has_unchecked_code() || self.looked_at.as_ref().is_none_or(is_old);
        if !mark.has_read_catalog() || !is_asked {
            return None;
        }
        let code = mark.ledger().code();
        let counts = match tokio::time::timeout(PATIENCE, self.with_conn(active, counts)).await {
            Ok(Ok(counts)) => Some(counts),
            Ok(Err(_)) | Err(_) => None,
        };
        self.looked_at = Some(Instant::now());
        if counts.is_some() && counts == self.counts && !self.again {
            mark.set_checked(code);
        } else {
            self.read_at = None;
        }
        Some(())
    }

    async fn read(&mut self, active: ServerId, mark: &Mark, version: &Version) -> Result<(), Unknown> {
        // Before the rows: what changes while they are read is a reason to read them again.
        let ledger = mark.ledger();
        let (definitions, code, ended) = (ledger.definitions(), ledger.code(), ledger.code_ended());
        let (counts, rows) = match tokio::time::timeout(PATIENCE, self.ask(active, version)).await {
            Ok(asked) => asked?,
            Err(_) => return Err(Unknown::Failed(format!("no answer within {PATIENCE:?}"))),
        };
        let catalog = Catalog::new(definitions, rows);
        let (views, writes) = catalog.counts();
        debug!(views, writes, "the tables' definitions were read");
        if std::mem::take(&mut self.said) {
            info!("the tables' definitions are known");
        }
        mark.set_catalog(catalog);
        mark.set_checked(code);
        let is_counted_anew = self.counts.as_ref() != Some(&counts);
        self.again = is_counted_anew && ledger.recount() != ended;
        self.counts = Some(counts);
        self.read_at = Some(Instant::now());
        self.failures = 0;
        Ok(())
    }

    async fn ask(&mut self, active: ServerId, version: &Version) -> Result<(Counts, Definitions), Unknown> {
        let asked = self.with_conn(active, async |conn| {
            let rights: Option<u32> = conn.query_first(RIGHTS).await?;
            let counts = counts(conn).await?;
            let answers = match rights {
                Some(2) => Some(answers(conn).await?),
                _ => None,
            };
            Ok((counts, answers))
        });
        let (counts, answers) = asked.await.map_err(|error| Unknown::Failed(error.to_string()))?;
        Ok((counts, definitions(&answers.ok_or(Unknown::NoRights)?, version)))
    }

    /// The connection is taken out while it is used: one whose answer has not come is not used again. One that was kept may
    /// have been lost since, with its server perhaps, which is back.
    async fn with_conn<T>(
        &mut self,
        active: ServerId,
        ask: impl AsyncFn(&mut Conn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some((server, mut conn)) = self.conn.take()
            && server == active
            && let Ok(answer) = ask(&mut conn).await
        {
            self.conn = Some((active, conn));
            return Ok(answer);
        }
        let mut conn = self.doors[active.0].open().await?;
        let answer = ask(&mut conn).await?;
        self.conn = Some((active, conn));
        Ok(answer)
    }

    fn say(&mut self, unknown: &Unknown, server: &str) {
        if std::mem::replace(&mut self.said, true) {
            return;
        }
        match unknown {
            Unknown::NoRights => warn!(
                server,
                "the monitor's account may not see views and triggers, so every write counts for all tables and the \
                 standby takes fewer reads: GRANT TRIGGER, SHOW VIEW ON *.* to it, on both servers"
            ),
            Unknown::Failed(problem) => warn!(server, "the tables' definitions can't be read: {problem}"),
        }
    }
}

/// The server's counts by name, without the time that passes.
type Counts = BTreeMap<String, u64>;

async fn counts(conn: &mut Conn) -> Result<Counts, Error> {
    let rows: Vec<(String, u64)> = conn.query(COUNTS).await?;
    let mut counts: Counts = rows.into_iter().collect();
    let up = counts.remove("Uptime").unwrap_or_default();
    if let Some(since) = counts.get_mut("Uptime_since_flush_status") {
        *since = up.saturating_sub(*since);
    }
    Ok(counts)
}

/// Rows as the servers give them.
#[derive(Debug, Default)]
struct Answers {
    views: Vec<(String, String, Option<String>)>,
    triggers: Vec<(String, String)>,
    cascades: Vec<(String, String, String, String)>,
    elsewhere: Vec<(String, String)>,
}

async fn answers(conn: &mut Conn) -> Result<Answers, Error> {
    async fn rows<T: FromRow + Send + 'static>(conn: &mut Conn, text: &str) -> Result<Vec<T>, Error> {
        conn.query(text).await
    }
    Ok(Answers {
        views: rows(conn, VIEWS).await?,
        triggers: rows(conn, TRIGGERS).await?,
        cascades: rows(conn, CASCADES).await?,
        elsewhere: rows(conn, ELSEWHERE).await?,
    })
}

/// Pure: rows to keys. Names without a key are left out, since every write that names one counts for all tables.
fn definitions(answers: &Answers, version: &Version) -> Definitions {
    let pair = |(schema, table): &(String, String)| TableKey::of(schema, table);
    let (mut views, mut fleeting) = (Vec::new(), Vec::new());
    for (schema, view, text) in &answers.views {
        let Some(key) = TableKey::of(schema, view) else {
            continue;
        };
        let text = text.as_deref().filter(|text| !text.is_empty());
        let facts = text.map(|text| facts_of(text, version));
        if facts
            .as_ref()
            .is_some_and(|facts| facts.links.contains(Links::FLEETING))
        {
            fleeting.push(key);
        }
        views.push((key, facts.and_then(|facts| tables_of(&facts))));
    }
    let cascades = answers
        .cascades
        .iter()
        .filter_map(|(parent_schema, parent, schema, child)| {
            Some((TableKey::of(parent_schema, parent)?, TableKey::of(schema, child)?))
        });
    Definitions {
        views,
        triggers: answers.triggers.iter().filter_map(pair).collect(),
        cascades: cascades.collect(),
        elsewhere: answers.elsewhere.iter().filter_map(pair).collect(),
        fleeting,
    }
}

fn facts_of(view: &str, version: &Version) -> Facts {
    let dialect = Dialect::plain(version.flavor, version.number);
    classify::analyse(view.as_bytes(), dialect)
}

/// The tables that a view reads. Servers keep its text with every name in backticks and every table in its schema.
fn tables_of(facts: &Facts) -> Option<Vec<TableKey>> {
    let named = facts.tables.known_reads()?;
    named.iter().map(|table| table.within(None)).collect()
}

#[cfg(test)]
mod tests;
