//! `SHOW`, `EXPLAIN` and their relatives: statements that tell of the server or of other statements.

use super::body;
use super::facts::{Kind, Links, Pins, Purity};
use super::lexer;
use super::statement::{Findings, Statement};
use super::verbs;

/// `SHOW …` and `HELP …`
pub(crate) fn show(all: &Statement<'_>) -> Findings {
    let mut at = 1;
    while all.is_one_of(at, &["FULL", "EXTENDED", "ALL"]) {
        at += 1;
    }
    let what = all.keyword(at);
    let after = all.keyword(at + 1);
    match (what.as_str(), after.as_str()) {
        ("WARNINGS" | "ERRORS", _) => previous_statement(),
        ("COUNT", _) => previous_statement(),
        ("PROFILE" | "PROFILES", _) => {
            Findings::because(Kind::Show, Purity::SessionState).pinning(Pins::PROFILING)
        }
        // An account's name may hold an `@`, which is no variable here.
        ("CREATE", "USER") | ("GRANTS", _) => Findings::because(Kind::Show, Purity::ServerLocal),
        // A replica has an event as "disabled on slave".
        ("CREATE", "EVENT") | ("EVENTS", _) => Findings::because(Kind::Show, Purity::ServerLocal),
        _ if is_of_the_data(&what, &after) => {
            let mut found = Findings::new(Kind::Show);
            body::scan(&all.rest(at + 2), &mut found);
            leave_unknown(&mut found);
            found
        }
        _ => {
            let mut found = Findings::because(Kind::Show, Purity::ServerLocal);
            body::scan(&all.rest(at + 2), &mut found);
            leave_unknown(&mut found);
            found
        }
    }
}

/// What a replica has from its master, so that both answer alike. All else is the server's own.
fn is_of_the_data(what: &str, after: &str) -> bool {
    match what {
        "DATABASES" | "SCHEMAS" | "TABLES" | "COLUMNS" | "FIELDS" | "INDEX" | "INDEXES" | "KEYS"
        | "TRIGGERS" | "CHARSET" | "COLLATION" | "PRIVILEGES" => true,
        "CHARACTER" => after == "SET",
        "PROCEDURE" | "FUNCTION" | "PACKAGE" => matches!(after, "STATUS" | "BODY"),
        "CREATE" => true,
        _ => false,
    }
}

fn previous_statement() -> Findings {
    let mut found = Findings::because(Kind::Show, Purity::PreviousStatement);
    found.links |= Links::READS_DIAGNOSTICS;
    found
}

/// A function in a `WHERE` may leave what no report tells of.
fn leave_unknown(found: &mut Findings) {
    if found.calls_unknown {
        found.pins |= Pins::UNKNOWN;
    }
}

/// `EXPLAIN`, `DESCRIBE`, `DESC`
pub(crate) fn explain(all: &Statement<'_>) -> Findings {
    let (start, analyzes) = past_options(all);
    if all.is(start, "FOR") && all.is_one_of(start + 1, &["CONNECTION"]) {
        return Findings::because(Kind::Explain, Purity::ServerLocal);
    }
    let verb = all.rest(start);
    if !is_explained(&verb) {
        // DESCRIBE table [column]
        let mut found = Findings::new(Kind::Explain);
        body::scan(&verb, &mut found);
        return found;
    }
    let mut found = explained(&verb, analyzes);
    // EXPLAIN FORMAT=JSON INTO @x, and whatever else stands among the options.
    body::scan(&all.until(start).rest(1), &mut found);
    found
}

/// MariaDB's `ANALYZE [FORMAT=JSON] <statement>`
pub(crate) fn analyze(all: &Statement<'_>) -> Findings {
    let (start, _) = past_options(all);
    let inner = all.rest(start);
    match is_explained(&inner) {
        true => explained(&inner, true),
        false => Findings::because(Kind::Unknown, Purity::Writes).pinning(Pins::UNKNOWN),
    }
}

/// Never `EXPLAIN` or `ANALYZE` themselves: a long chain of them would need a deep stack.
fn is_explained(inner: &Statement<'_>) -> bool {
    inner.is_mark(0, b'(') || inner.is_one_of(0, &EXPLAINED)
}

const EXPLAINED: [&str; 8] = [
    "SELECT", "WITH", "VALUES", "TABLE", "INSERT", "REPLACE", "UPDATE", "DELETE",
];

fn explained(inner: &Statement<'_>, runs: bool) -> Findings {
    let mut found = verbs::read(inner);
    found.kind = Kind::Explain;
    found.unpins = Pins::empty();
    found.links -= Links::LEAVES_FOUND_ROWS;
    // EXPLAIN of a write stays a write: a read_only MariaDB 10.11 refuses even that (1290).
    if runs {
        found.blame(Purity::Executes);
    }
    found
}

/// Where the explained statement or table begins, and whether `ANALYZE` stands before it.
pub(crate) fn past_options(all: &Statement<'_>) -> (usize, bool) {
    let mut at = 1;
    let mut analyzes = false;
    loop {
        match all.keyword(at).as_str() {
            "ANALYZE" => {
                analyzes = true;
                at += 1;
            }
            "EXTENDED" | "PARTITIONS" => at += 1,
            "FORMAT" if all.is_mark(at + 1, b'=') => at += 3,
            "INTO" if all.kind(at + 1) == Some(lexer::Kind::UserVariable) => at += 2,
            "FOR" if all.is_one_of(at + 1, &["SCHEMA", "DATABASE"]) => at += 3,
            _ => return (at, analyzes),
        }
    }
}
