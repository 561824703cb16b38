//! The hazards that may stand anywhere in a statement: functions, variables, locking clauses, `INTO`.

use super::facts::{Links, Pins, Purity};
use super::functions::{self, Call};
use super::lexer::Kind;
use super::statement::{Findings, Statement, capitals};
use super::variables;

/// Looks at every token of a part of a statement that may hold expressions or queries.
pub(crate) fn scan(part: &Statement<'_>, found: &mut Findings) {
    for at in 0..part.len() {
        match part.kind(at) {
            Some(Kind::UserVariable) => {
                found.blame(Purity::UserVariable);
                found.pins |= Pins::USER_VARIABLE;
            }
            Some(Kind::SystemVariable) => {
                found.links |= Links::FLEETING;
                system_variable(part, at, found);
            }
            Some(Kind::Word | Kind::Quoted) => name(part, at, found),
            _ => {}
        }
    }
}

fn name(part: &Statement<'_>, at: usize, found: &mut Findings) {
    if part.is_mark(at + 1, b'(') {
        return call(part, at, found);
    }
    if part.is_mark(at + 1, b'.') && !part.follows_dot(at) {
        schema(&part.name(at), found);
    }
    if part.kind(at) != Some(Kind::Word) {
        return;
    }
    if part.follows_dot(at) {
        // Oracle's form of sequences, under sql_mode=ORACLE.
        if matches!(part.name(at).as_str(), "nextval" | "currval") {
            found.blame(Purity::Sequence);
            found.pins |= Pins::SEQUENCE;
            found.links |= Links::CALLS_UNKNOWN;
        }
        return;
    }
    keyword(part, at, found);
}

/// What the grammar's own words do. All of them are reserved, or mean nothing else at these places.
fn keyword(part: &Statement<'_>, at: usize, found: &mut Findings) {
    let next = |words: &[&str]| part.is_one_of(at + 1, words);
    match part.keyword(at).as_str() {
        "FOR" if next(&["UPDATE", "SHARE"]) => found.blame(Purity::LockingRead),
        "LOCK" if next(&["IN"]) => found.blame(Purity::LockingRead),
        "INTO" | "OUTFILE" | "DUMPFILE" => found.blame(Purity::SelectInto),
        "PROCEDURE" if !next(&["ANALYSE"]) => found.blame(Purity::Writes),
        "NEXT" | "PREVIOUS" if part.starts(at + 1, &["VALUE", "FOR"]) => {
            found.blame(Purity::Sequence);
            found.pins |= Pins::SEQUENCE;
            found.links |= Links::CALLS_UNKNOWN;
        }
        "SQL_CALC_FOUND_ROWS" => found.links |= Links::LEAVES_FOUND_ROWS,
        "SQL_NO_CACHE" => found.links |= Links::FLEETING,
        word if functions::is_fleeting_word(word) => found.links |= Links::FLEETING,
        // None of these has a place in a query, except after FOR and as the functions INSERT() and REPLACE().
        "UPDATE" if !part.is_one_of(at.wrapping_sub(1), &["FOR"]) => found.blame(Purity::Writes),
        "DELETE" | "INSERT" | "REPLACE" | "DROP" | "ALTER" | "CREATE" | "GRANT" | "CALL" => {
            found.blame(Purity::Writes);
        }
        _ => {}
    }
}

/// Schemas whose contents differ from server to server. For `information_schema` that holds for its statistics
/// only, but reads of it are too rare to be worth a list.
fn schema(name: &str, found: &mut Findings) {
    if matches!(
        name,
        "information_schema" | "performance_schema" | "mysql" | "sys" | "ndbinfo"
    ) {
        found.blame(Purity::ServerLocal);
    }
}

fn call(part: &Statement<'_>, at: usize, found: &mut Findings) {
    match called(part, at) {
        // A column's default may be such a call.
        Call::Keyword if part.is(at, "DEFAULT") => found.links |= Links::FLEETING,
        Call::Pure | Call::Keyword => {}
        Call::Fleeting => found.links |= Links::FLEETING,
        Call::TakesLock => {
            found.blame(Purity::UserLock);
            found.pins |= Pins::USER_LOCK;
        }
        Call::AsksLock => found.blame(Purity::UserLock),
        Call::DrawsSequence => {
            found.blame(Purity::Sequence);
            found.pins |= Pins::SEQUENCE;
            found.links |= Links::CALLS_UNKNOWN;
        }
        Call::SetsSequence => {
            found.blame(Purity::Sequence);
            found.links |= Links::CALLS_UNKNOWN;
        }
        Call::InsertId => {
            found.blame(Purity::PreviousStatement);
            found.links |= match part.is_mark(at + 2, b')') {
                true => Links::READS_INSERT_ID,
                false => Links::SETS_INSERT_ID,
            };
        }
        Call::FoundRows => {
            found.blame(Purity::PreviousStatement);
            found.links |= Links::READS_FOUND_ROWS;
        }
        Call::RowCount => {
            found.blame(Purity::PreviousStatement);
            found.links |= Links::READS_ROW_COUNT;
        }
        Call::ServerLocal => {
            found.blame(Purity::ServerLocal);
            if part.is(at, "CONNECTION_ID") {
                found.links |= Links::READS_CONNECTION_ID;
            }
        }
        Call::Unknown => {
            found.blame(Purity::UnknownFunction);
            found.calls_unknown = true;
        }
    }
}

/// What the name before a parenthesis is.
fn called(part: &Statement<'_>, at: usize) -> Call {
    // schema.function() is a stored function, whatever its name.
    if part.follows_dot(at) {
        return Call::Unknown;
    }
    if names_columns(part, at) {
        return Call::Keyword;
    }
    if part.kind(at) == Some(Kind::Quoted) {
        return Call::Unknown;
    }
    let word = capitals(part.bytes(at));
    let spaced = part.tokens.get(at + 1).is_some_and(|open| open.spaced);
    if spaced && !part.dialect.ignore_space && functions::wants_no_space(&word) {
        return Call::Unknown;
    }
    match word.as_str() {
        // MEMBER OF (…), PROCEDURE ANALYSE (…), {OJ (…)}, JOIN LATERAL (…): elsewhere all could be stored functions.
        "OF" if part.is(at.wrapping_sub(1), "MEMBER") => Call::Keyword,
        "ANALYSE" if part.is(at.wrapping_sub(1), "PROCEDURE") => Call::Keyword,
        "OJ" if part.follows(at, b'{') => Call::Keyword,
        "LATERAL" if part.dialect.flavor == crate::topology::Flavor::MySql => Call::Keyword,
        word => functions::look_up(word, part.dialect),
    }
}

/// Names that can't be called where they stand: `AS t (a, b)`, `WITH t (a, b) AS (…)`, and whatever follows an
/// operand without an operator, as in `MATCH (a) AGAINST (b)`, `LIKE 'x' ESCAPE ('y')`, `'$[*]' COLUMNS (…)`.
fn names_columns(part: &Statement<'_>, at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else {
        return false;
    };
    let after_operand = match part.tokens.get(before) {
        Some(token) => token.is_literal() || token.kind == Kind::Mark(b')'),
        None => false,
    };
    if after_operand || part.is(before, "AS") {
        return true;
    }
    // Only as far as there are names: looking for the end of each parenthesis would take quadratic time.
    let end = (at + 2..part.len())
        .find(|&at| !part.is_name(at) && !part.is_mark(at, b','))
        .unwrap_or(part.len());
    part.is_mark(end, b')') && part.is(end + 1, "AS") && part.is_mark(end + 2, b'(')
}

/// `@@name`, `@@session.name`, `@@global.name`
fn system_variable(part: &Statement<'_>, at: usize, found: &mut Findings) {
    let first = part.name(at + 1);
    if !part.is_mark(at + 2, b'.') {
        return read(&first, found);
    }
    match first.as_str() {
        "session" | "local" => read(&part.name(at + 3), found),
        _ => found.blame(Purity::ServerLocal),
    }
}

fn read(name: &str, found: &mut Findings) {
    let (reason, links) = variables::reading(name);
    if let Some(reason) = reason {
        found.blame(reason);
    }
    found.links |= links;
}
