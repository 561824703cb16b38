//! What each verb does, family by family.

use super::body;
use super::facts::{Defines, Kind, Links, Pins, Purity};
use super::lexer;
use super::statement::{Findings, Statement};
use super::{set, show};

/// Reads one statement: no semicolon in it but those of a compound statement.
pub(crate) fn read(all: &Statement<'_>) -> Findings {
    if all.len() == 0 {
        return Findings::new(Kind::Empty);
    }
    if all.is_mark(0, b'(') {
        return parenthesised(all);
    }
    let verb = all.keyword(0);
    match verb.as_str() {
        "SELECT" | "VALUES" | "TABLE" => query(all),
        "WITH" => with(all),
        "SHOW" | "HELP" => show::show(all),
        "EXPLAIN" | "DESCRIBE" | "DESC" => show::explain(all),
        "INSERT" | "REPLACE" | "UPDATE" | "DELETE" => change(all),
        "SET" => set::set(all),
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "XA" => transaction(all, &verb),
        "USE" => Findings::because(Kind::Use, Purity::SessionState),
        "CREATE" | "ALTER" | "DROP" | "RENAME" | "TRUNCATE" | "GRANT" | "REVOKE" => definition(all, &verb),
        "PREPARE" | "EXECUTE" | "DEALLOCATE" => prepared(all, &verb),
        "CALL" | "DO" | "IF" | "CASE" | "LOOP" | "WHILE" | "REPEAT" | "FOR" | "DECLARE" => code(all),
        "LOCK" | "UNLOCK" | "BACKUP" | "FLUSH" => lock(all, &verb),
        "HANDLER" => Findings::because(Kind::Handler, Purity::SessionState).pinning(Pins::HANDLER),
        "GET" | "SIGNAL" | "RESIGNAL" => diagnostics(all),
        _ => administration(all, &verb),
    }
}

/// `SELECT`, `VALUES`, `TABLE`: a pure read unless something in it says otherwise.
fn query(all: &Statement<'_>) -> Findings {
    let mut found = Findings::new(Kind::Select);
    body::scan(all, &mut found);
    if found.calls_unknown {
        // A result set that ends in a legacy EOF carries no report of what the function left behind.
        found.pins |= Pins::UNKNOWN;
    }
    if releases_all_locks(all) {
        found.unpins |= Pins::USER_LOCK;
    }
    found
}

/// Only the bare call surely runs, and once.
fn releases_all_locks(all: &Statement<'_>) -> bool {
    let end = if all.is(4, "AS") { 6 } else { 5 };
    all.is_one_of(0, &["SELECT", "DO"])
        && all.is(1, "RELEASE_ALL_LOCKS")
        && all.is_mark(2, b'(')
        && all.is_mark(3, b')')
        && (all.len() == 4 || (all.len() == end && all.is_name(end - 1)))
}

fn parenthesised(all: &Statement<'_>) -> Findings {
    let verb = (0..all.len()).find(|&at| !all.is_mark(at, b'('));
    match verb {
        Some(at) if all.is_one_of(at, &["SELECT", "VALUES", "TABLE", "WITH"]) => query(all),
        _ => unknown(),
    }
}

/// `WITH … SELECT`, but also `WITH … UPDATE` and `WITH … DELETE`.
fn with(all: &Statement<'_>) -> Findings {
    let verbs = [
        "SELECT", "VALUES", "TABLE", "UPDATE", "DELETE", "INSERT", "REPLACE",
    ];
    match all.find_outside(1, &verbs) {
        Some(at) if all.is_one_of(at, &["UPDATE", "DELETE", "INSERT", "REPLACE"]) => {
            let mut found = change(&all.rest(at));
            body::scan(&all.until(at), &mut found);
            found
        }
        // WITH … (SELECT …) has no verb outside parentheses.
        _ => query(all),
    }
}

/// `INSERT`, `REPLACE`, `UPDATE`, `DELETE`.
fn change(all: &Statement<'_>) -> Findings {
    let kind = match all.keyword(0).as_str() {
        "INSERT" => Kind::Insert,
        "REPLACE" => Kind::Replace,
        "UPDATE" => Kind::Update,
        _ => Kind::Delete,
    };
    let mut found = Findings::because(kind, Purity::Writes);
    body::scan(&all.rest(start_of_values(all, kind)), &mut found);
    if found.calls_unknown && all.contains("RETURNING") {
        // Ends like a query, with no report where the client wants a legacy EOF.
        found.pins |= Pins::UNKNOWN;
    }
    found
}

/// Past the table's name: `INSERT INTO t (a)` calls nothing.
fn start_of_values(all: &Statement<'_>, kind: Kind) -> usize {
    if !matches!(kind, Kind::Insert | Kind::Replace) {
        return 1;
    }
    (1..all.len())
        .find(|&at| all.is_mark(at, b'(') || all.is_one_of(at, &["VALUES", "VALUE", "SELECT", "SET"]))
        .unwrap_or(all.len())
}

fn transaction(all: &Statement<'_>, verb: &str) -> Findings {
    let after_work = if all.is(1, "WORK") { 2 } else { 1 };
    match verb {
        "BEGIN" if after_work == all.len() => Findings::because(Kind::Begin, Purity::SessionState),
        // BEGIN NOT ATOMIC, and blocks under sql_mode=ORACLE.
        "BEGIN" => code(all),
        "START" if all.is(1, "TRANSACTION") => Findings::because(Kind::Begin, Purity::SessionState),
        "START" => Findings::because(Kind::Replication, Purity::Writes),
        "ROLLBACK" if all.is(after_work, "TO") => Findings::because(Kind::Savepoint, Purity::SessionState),
        "COMMIT" | "ROLLBACK" => {
            let kind = if verb == "COMMIT" {
                Kind::Commit
            } else {
                Kind::Rollback
            };
            let found = Findings::because(kind, Purity::SessionState);
            // AND CHAIN begins the next transaction with the same characteristics.
            match all.contains("CHAIN") && !all.contains("NO") {
                true => found,
                false => found.unpinning(Pins::NEXT_TRANSACTION),
            }
        }
        "XA" => xa(all),
        _ => Findings::because(Kind::Savepoint, Purity::SessionState),
    }
}

fn xa(all: &Statement<'_>) -> Findings {
    match all.keyword(1).as_str() {
        "RECOVER" => Findings::because(Kind::Xa, Purity::ServerLocal),
        "COMMIT" | "ROLLBACK" => Findings::because(Kind::Xa, Purity::Writes).unpinning(Pins::XA),
        _ => Findings::because(Kind::Xa, Purity::SessionState).pinning(Pins::XA),
    }
}

fn definition(all: &Statement<'_>, verb: &str) -> Findings {
    if verb == "DROP" && all.is(1, "PREPARE") {
        return Findings::because(Kind::Deallocate, Purity::SessionState);
    }
    if verb == "ALTER" && all.is(1, "INSTANCE") {
        return Findings::because(Kind::Admin, Purity::Writes);
    }
    let mut found = Findings::because(Kind::Ddl, Purity::Writes);
    if matches!(verb, "GRANT" | "REVOKE")
        || (1..all.len().min(4)).any(|at| all.is_one_of(at, &["USER", "ROLE"]))
    {
        // At worst a table of that name makes some sessions log in anew.
        found = set::changes_logins(found);
    }
    let what = if all.starts(1, &["OR", "REPLACE"]) { 3 } else { 1 };
    if all.is(what, "DATABASE") || all.is(what, "SCHEMA") {
        // A connection that has it as its schema keeps the collation that it had.
        found.links |= Links::CHANGES_DEFAULTS;
    }
    let temporary = all.is(what, "TEMPORARY");
    if verb == "CREATE" && temporary {
        found.pins |= Pins::TEMPORARY_TABLE;
    }
    if verb == "CREATE" && all.is(what + usize::from(temporary), "TABLE") {
        // CREATE TABLE … SELECT @a := 1. Elsewhere `@` is a part of account names.
        body::scan(&all.rest(what), &mut found);
    }
    found
}

fn prepared(all: &Statement<'_>, verb: &str) -> Findings {
    let mut found = match verb {
        "PREPARE" => Findings::because(Kind::Prepare, Purity::SessionState).pinning(Pins::TEXT_PREPARED),
        "DEALLOCATE" => return Findings::because(Kind::Deallocate, Purity::SessionState),
        _ if all.is(1, "IMMEDIATE") => {
            Findings::because(Kind::Execute, Purity::Writes).pinning(Pins::UNKNOWN)
        }
        _ => Findings::because(Kind::Execute, Purity::Writes).pinning(Pins::TEXT_PREPARED),
    };
    body::scan(&all.rest(1), &mut found);
    found
}

/// `CALL`, `DO` and compound statements. What procedures leave behind is in the report of their final OK.
fn code(all: &Statement<'_>) -> Findings {
    let mut found = Findings::because(Kind::Call, Purity::Writes);
    if !all.is(0, "DO") {
        // Functions may not.
        found.defines = Defines::Perhaps;
    }
    body::scan(&all.rest(1), &mut found);
    if releases_all_locks(all) {
        found.unpins |= Pins::USER_LOCK;
    }
    found
}

fn lock(all: &Statement<'_>, verb: &str) -> Findings {
    let found = Findings::because(Kind::Lock, Purity::Writes);
    match verb {
        "UNLOCK" if all.is_one_of(1, &["TABLE", "TABLES"]) => found.unpinning(Pins::TABLE_LOCK),
        "UNLOCK" => found,
        // UNLOCK TABLES gives back neither of these (MariaDB sql_parse.cc, SQLCOM_UNLOCK_TABLES), so the second
        // pin stays.
        "BACKUP" => found.pinning(Pins::TABLE_LOCK | Pins::UNKNOWN),
        "LOCK" if all.is_one_of(1, &["INSTANCE", "BINLOG"]) => {
            found.pinning(Pins::TABLE_LOCK | Pins::UNKNOWN)
        }
        "LOCK" => found.pinning(Pins::TABLE_LOCK),
        _ if locks_when_flushing(all) => found.pinning(Pins::TABLE_LOCK),
        _ if all.contains("PRIVILEGES") => {
            set::changes_logins(Findings::because(Kind::Admin, Purity::Writes))
        }
        // The connection's counters begin anew, and are what somebody will look at.
        _ if all.is(1, "STATUS")
            || all.is_one_of(1, &["LOCAL", "NO_WRITE_TO_BINLOG", "SESSION"]) && all.is(2, "STATUS") =>
        {
            Findings::because(Kind::Admin, Purity::Writes).pinning(Pins::PROFILING)
        }
        _ => Findings::because(Kind::Admin, Purity::Writes),
    }
}

/// `FLUSH TABLES … WITH READ LOCK`, `FLUSH TABLES … FOR EXPORT`
fn locks_when_flushing(all: &Statement<'_>) -> bool {
    (1..all.len()).any(|at| all.starts(at, &["READ", "LOCK"]) || all.starts(at, &["FOR", "EXPORT"]))
}

/// `GET DIAGNOSTICS`, `SIGNAL`, `RESIGNAL`
fn diagnostics(all: &Statement<'_>) -> Findings {
    let mut found = Findings::because(Kind::Diagnostics, Purity::PreviousStatement);
    if !all.is(0, "SIGNAL") {
        found.links |= Links::READS_DIAGNOSTICS;
    }
    body::scan(&all.rest(1), &mut found);
    found
}

/// The rest: administration, replication control, and verbs that nobody knows.
fn administration(all: &Statement<'_>, verb: &str) -> Findings {
    match verb {
        "LOAD" if all.is(1, "INDEX") => Findings::because(Kind::Admin, Purity::Writes),
        "LOAD" | "IMPORT" => {
            let mut found = Findings::because(Kind::Load, Purity::Writes);
            body::scan(&all.rest(past_loaded_table(all)), &mut found);
            found
        }
        "KILL" => Findings::because(Kind::Kill, Purity::Writes),
        "ANALYZE" if !is_analyze_table(all) => show::analyze(all),
        "RESET" if all.is_one_of(1, &["MASTER", "SLAVE", "REPLICA", "BINARY"]) => {
            Findings::because(Kind::Replication, Purity::Writes)
        }
        "ANALYZE" | "CHECK" | "CHECKSUM" | "OPTIMIZE" | "REPAIR" | "RESET" | "PURGE" | "INSTALL"
        | "UNINSTALL" | "CACHE" | "BINLOG" => Findings::because(Kind::Admin, Purity::Writes),
        "CHANGE" | "STOP" => Findings::because(Kind::Replication, Purity::Writes),
        "SHUTDOWN" | "RESTART" | "CLONE" => Findings::because(Kind::Control, Purity::Writes),
        _ => unknown(),
    }
}

/// Past the table's name: `INTO TABLE t (a)` calls nothing.
fn past_loaded_table(all: &Statement<'_>) -> usize {
    let Some(into) = (1..all.len()).find(|&at| all.starts(at, &["INTO", "TABLE"])) else {
        return 1;
    };
    (into + 2..all.len())
        .find(|&at| all.is(at, "PARTITION") || !(all.is_name(at) || all.is_mark(at, b'.')))
        .unwrap_or(all.len())
}

fn is_analyze_table(all: &Statement<'_>) -> bool {
    let option = all.is_one_of(1, &["NO_WRITE_TO_BINLOG", "LOCAL"]);
    all.is_one_of(1 + usize::from(option), &["TABLE", "TABLES"])
}

fn unknown() -> Findings {
    Findings::because(Kind::Unknown, Purity::Writes).pinning(Pins::UNKNOWN)
}

/// Whether the semicolons after this one belong to it: stored programs and compound statements.
pub(crate) fn is_compound(first: &Statement<'_>) -> bool {
    match first.keyword(0).as_str() {
        "CREATE" | "ALTER" => (1..first.len())
            .take_while(|&at| first.kind(at) != Some(lexer::Kind::Mark(b'(')))
            .any(|at| first.is_one_of(at, &["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"])),
        "BEGIN" => first.len() > 1 && !first.is(1, "WORK"),
        verb => matches!(
            verb,
            "IF" | "CASE" | "LOOP" | "WHILE" | "REPEAT" | "FOR" | "DECLARE"
        ),
    }
}
