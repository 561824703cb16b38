//! What a statement's text says about it: everything the router and the session need, and nothing else.
//!
//! Facts are made once for a statement shape and shared by every session of a worker.

use bitflags::bitflags;

use super::hint::Hints;
use super::identity::Identified;
use super::matched::Matched;
use super::tally::Tally;
use crate::topology::table::Named;

/// What kind of statement it is: the verb, after comments, parentheses and `WITH` are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing but white space and comments.
    Empty,
    /// `SELECT`, `VALUES`, `TABLE`, `WITH … SELECT`, also in parentheses.
    Select,
    /// `SHOW …`
    Show,
    /// `EXPLAIN`, `DESCRIBE`, `DESC`, MariaDB's `ANALYZE <statement>`.
    Explain,
    Insert,
    Replace,
    Update,
    Delete,
    /// `LOAD DATA`, `LOAD XML`, `IMPORT TABLE`.
    Load,
    /// `CALL`, `DO`, `BEGIN NOT ATOMIC`: code whose effects the text does not tell.
    Call,
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    Commit,
    Rollback,
    /// `SAVEPOINT`, `ROLLBACK TO`, `RELEASE SAVEPOINT`.
    Savepoint,
    /// `XA …`
    Xa,
    /// `SET …` of any sort.
    Set,
    /// `USE schema`
    Use,
    /// Text `PREPARE … FROM`.
    Prepare,
    /// Text `EXECUTE`, `EXECUTE IMMEDIATE`.
    Execute,
    /// Text `DEALLOCATE PREPARE`, `DROP PREPARE`.
    Deallocate,
    /// `CREATE`, `ALTER`, `DROP`, `RENAME`, `TRUNCATE`, `GRANT`, `REVOKE` and their like.
    Ddl,
    /// `LOCK TABLES`, `UNLOCK TABLES`, `LOCK INSTANCE`, `BACKUP …`, `FLUSH … WITH READ LOCK`.
    Lock,
    /// `HANDLER …`
    Handler,
    /// `GET DIAGNOSTICS`, `SIGNAL`, `RESIGNAL`.
    Diagnostics,
    /// `KILL …`
    Kill,
    /// `FLUSH`, `RESET`, `PURGE`, `ANALYZE TABLE`, `CHECK TABLE`, `OPTIMIZE`, `INSTALL` and their like.
    Admin,
    /// `CHANGE MASTER`, `START REPLICA`, `RESET MASTER`, …: what makes the servers a pair, or no pair any more.
    Replication,
    /// `SHUTDOWN`, `RESTART`, `CLONE`, and in a packet of several statements what is `Replication` otherwise: what only
    /// an operator should send.
    Control,
    /// More than one statement in one packet.
    Multi,
    /// A verb that Tandem does not know.
    Unknown,
}

impl Kind {
    pub const ALL: [Self; 30] = [
        Self::Empty,
        Self::Select,
        Self::Show,
        Self::Explain,
        Self::Insert,
        Self::Replace,
        Self::Update,
        Self::Delete,
        Self::Load,
        Self::Call,
        Self::Begin,
        Self::Commit,
        Self::Rollback,
        Self::Savepoint,
        Self::Xa,
        Self::Set,
        Self::Use,
        Self::Prepare,
        Self::Execute,
        Self::Deallocate,
        Self::Ddl,
        Self::Lock,
        Self::Handler,
        Self::Diagnostics,
        Self::Kill,
        Self::Admin,
        Self::Replication,
        Self::Control,
        Self::Multi,
        Self::Unknown,
    ];

    /// As rules and `EXPLAIN ROUTE` name it; stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Select => "select",
            Self::Show => "show",
            Self::Explain => "explain",
            Self::Insert => "insert",
            Self::Replace => "replace",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Load => "load",
            Self::Call => "call",
            Self::Begin => "begin",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Savepoint => "savepoint",
            Self::Xa => "xa",
            Self::Set => "set",
            Self::Use => "use",
            Self::Prepare => "prepare",
            Self::Execute => "execute",
            Self::Deallocate => "deallocate",
            Self::Ddl => "ddl",
            Self::Lock => "lock",
            Self::Handler => "handler",
            Self::Diagnostics => "diagnostics",
            Self::Kill => "kill",
            Self::Admin => "admin",
            Self::Replication => "replication",
            Self::Control => "control",
            Self::Multi => "multi",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a statement is not a pure read, or that it is one.
///
/// The first reason found is kept: it is what `EXPLAIN ROUTE` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purity {
    /// Any server that is fresh enough may answer it, and it leaves nothing behind on the connection.
    Pure,
    /// The verb writes, or may write.
    Writes,
    /// `FOR UPDATE`, `FOR SHARE`, `LOCK IN SHARE MODE`.
    LockingRead,
    /// `INTO OUTFILE`, `INTO DUMPFILE`, `INTO @variable`.
    SelectInto,
    /// Calls a function that is not on the list of built-in pure functions: it may write.
    UnknownFunction,
    /// `GET_LOCK()` and its relatives.
    UserLock,
    /// `NEXTVAL()`, `NEXT VALUE FOR`, `SETVAL()`, `LASTVAL()`.
    Sequence,
    /// Reads or sets `@variable`.
    UserVariable,
    /// Asks for what the previous statement left: `LAST_INSERT_ID()`, `FOUND_ROWS()`, `SHOW WARNINGS` …
    PreviousStatement,
    /// The answer differs from server to server: `@@server_id`, `SHOW PROCESSLIST`, `performance_schema` …
    ServerLocal,
    /// Changes or asks for session state.
    SessionState,
    /// `EXPLAIN ANALYZE` and `ANALYZE <statement>` run the statement.
    Executes,
    /// Tandem's rules and sqlparser read the statement differently: not proved.
    Disagreement,
    /// Could not be lexed to its end, or was longer than what is looked at.
    Unreadable,
}

bitflags! {
    /// State that a statement may leave on its connection and that can't be moved to another one.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Pins: u32 {
        /// `SET @x`, `@x := …`, `INTO @x`, and statements that only read one.
        const USER_VARIABLE = 1;
        /// `CREATE TEMPORARY TABLE` or `SEQUENCE`.
        const TEMPORARY_TABLE = 1 << 1;
        /// `GET_LOCK()` and its relatives.
        const USER_LOCK = 1 << 2;
        /// `LOCK TABLES`, `FLUSH TABLES WITH READ LOCK`, `BACKUP STAGE`.
        const TABLE_LOCK = 1 << 3;
        /// `HANDLER t OPEN`
        const HANDLER = 1 << 4;
        /// Text `PREPARE`.
        const TEXT_PREPARED = 1 << 5;
        /// `XA START` … `XA COMMIT`.
        const XA = 1 << 6;
        /// Variables that must not be set again elsewhere: `insert_id`, `timestamp`, `gtid_next` …
        const ONE_SHOT_VARIABLE = 1 << 7;
        /// `SET ROLE`, `SET SESSION AUTHORIZATION`, `sql_log_bin`.
        const IDENTITY = 1 << 8;
        /// `SET profiling`, `optimizer_trace`, and `FLUSH STATUS`: `SHOW STATUS` tells what a connection has done since.
        const PROFILING = 1 << 9;
        /// `SET TRANSACTION …` without a scope: it belongs to the next transaction only.
        const NEXT_TRANSACTION = 1 << 10;
        /// `LASTVAL()` asks for what this connection drew from a sequence.
        const SEQUENCE = 1 << 11;
        /// What it does can't be told from the text.
        const UNKNOWN = 1 << 12;
    }
}

bitflags! {
    /// What a statement takes from the statement before it or leaves for the one after, and what else it needs of its
    /// connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Links: u16 {
        /// Reads `LAST_INSERT_ID()`, `@@identity` or `@@last_insert_id`.
        const READS_INSERT_ID = 1;
        /// Reads `FOUND_ROWS()`.
        const READS_FOUND_ROWS = 1 << 1;
        /// Reads `ROW_COUNT()`.
        const READS_ROW_COUNT = 1 << 2;
        /// Reads the diagnostics area: `SHOW WARNINGS`, `SHOW ERRORS`, `GET DIAGNOSTICS`, `@@warning_count`.
        const READS_DIAGNOSTICS = 1 << 3;
        /// `SQL_CALC_FOUND_ROWS`: the next statement may ask for it.
        const LEAVES_FOUND_ROWS = 1 << 4;
        /// `LAST_INSERT_ID(expr)` sets the insert id without an insert.
        const SETS_INSERT_ID = 1 << 5;
        /// `GRANT`, `DROP USER`, …: who logs in after it finds other accounts or rights.
        const CHANGES_LOGINS = 1 << 6;
        /// Reads or sets `session_track_*`, by name or in a list of all variables.
        const TRACKERS = 1 << 7;
        /// Calls a function that is not built in, or one that writes to a sequence: what it reads and writes is not in
        /// the lists of tables.
        const CALLS_UNKNOWN = 1 << 8;
        /// A change, definition or `SET` with a query or a join in it: that may set `FOUND_ROWS()`.
        const HOLDS_QUERY = 1 << 9;
        /// A query whose `FOUND_ROWS()` is perhaps not the number of the rows it sends.
        const UNSURE_FOUND_ROWS = 1 << 10;
        /// It is that because of an `OFFSET`.
        const SKIPS_ROWS = 1 << 11;
        /// Names no table: MariaDB keeps the warnings of the statement before.
        const KEEPS_WARNINGS = 1 << 12;
        /// Reads `CONNECTION_ID()` or `@@pseudo_thread_id`.
        const READS_CONNECTION_ID = 1 << 13;
        /// `SET GLOBAL`, `ALTER DATABASE`: who connects after it finds other values. Accounts are as they were.
        const CHANGES_DEFAULTS = 1 << 14;
        /// Asked again, it may say something else though no table has changed: it calls `NOW()`, `RAND()`, `USER()` or the like,
        /// reads a variable, or asks not to be cached.
        const FLEETING = 1 << 15;
    }
}

/// A table that a statement names: schema (empty where the default schema is meant) and name, as written,
/// without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    pub schema: Box<str>,
    pub name: Box<str>,
}

/// The tables that a statement reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub reads: Vec<TableName>,
    pub writes: Vec<TableName>,
    /// False where the text names more, or may do so. What views, triggers, foreign keys and the like reach is not in
    /// the text at all: see [`crate::topology::catalog`].
    pub complete: bool,
    /// Whether it changes what tables, views, triggers and foreign keys there are.
    pub defines: Defines,
    /// The same lists, for looking up; empty unless they are complete.
    pub(crate) keys: Keys,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    reads: Box<[Named]>,
    writes: Box<[Named]>,
}

impl Tables {
    /// With the keys of the lists. Where one of the names has no key, the lists don't count as complete.
    pub(crate) fn keyed(mut self) -> Self {
        let keys = |tables: &[TableName]| -> Option<Box<[Named]>> {
            tables
                .iter()
                .map(|table| Named::new(&table.schema, &table.name))
                .collect()
        };
        match (self.complete, keys(&self.reads), keys(&self.writes)) {
            (true, Some(reads), Some(writes)) => self.keys = Keys { reads, writes },
            _ => self.complete = false,
        }
        self
    }

    /// The tables that are read, if all of them are known.
    pub fn known_reads(&self) -> Option<&[Named]> {
        self.complete.then_some(&*self.keys.reads)
    }

    /// The tables that are written, if all of them are known.
    pub fn known_writes(&self) -> Option<&[Named]> {
        self.complete.then_some(&*self.keys.writes)
    }
}

/// Whether a statement changes definitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defines {
    #[default]
    Nothing,
    /// It runs code; the active master is asked whether that did.
    Perhaps,
    Surely,
}

/// What a statement may leave in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// Changes those of [`Tables::known_writes`], and what hangs on them.
    Tables,
    Everything,
}

/// Everything Tandem knows of a statement's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub purity: Purity,
    /// State the statement may leave behind that ties the session to its connection.
    pub pins: Pins,
    /// State that is surely gone once it has succeeded (`UNLOCK TABLES`, `RELEASE_ALL_LOCKS()`).
    pub unpins: Pins,
    pub links: Links,
    /// Variables set as `@@name`, without a scope: the servers' trackers don't report these (measured on MariaDB 10.11).
    pub unreported: Vec<Box<str>>,
    pub tables: Tables,
    /// What the application asks for in comments.
    pub hints: Hints,
    /// How often such statements went where.
    pub tally: Tally,
    /// The rules that they may meet.
    pub matched: Matched,
    /// What the firewall knows them by.
    pub parts: Identified,
}

impl Facts {
    pub fn effect(&self) -> Effect {
        let calls_unknown = self.links.contains(Links::CALLS_UNKNOWN);
        let by_function = match calls_unknown {
            true => Effect::Everything,
            false => Effect::Nothing,
        };
        match self.kind {
            Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Load => {
                match self.tables.complete && !calls_unknown {
                    true => Effect::Tables,
                    false => Effect::Everything,
                }
            }
            Kind::Select | Kind::Set | Kind::Explain | Kind::Multi => match self.purity {
                Purity::Pure => Effect::Nothing,
                Purity::UnknownFunction
                | Purity::Sequence
                | Purity::Executes
                | Purity::Disagreement
                | Purity::Unreadable => Effect::Everything,
                _ if self.kind == Kind::Multi => Effect::Everything,
                _ => by_function,
            },
            Kind::Call
            | Kind::Execute
            | Kind::Ddl
            | Kind::Xa
            | Kind::Admin
            | Kind::Replication
            | Kind::Unknown => Effect::Everything,
            Kind::Empty
            | Kind::Show
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::Use
            | Kind::Prepare
            | Kind::Deallocate
            | Kind::Lock
            | Kind::Handler
            | Kind::Diagnostics
            | Kind::Kill
            | Kind::Control => by_function,
        }
    }
}
