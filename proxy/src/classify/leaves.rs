//! What a statement leaves of `FOUND_ROWS()` and warnings, as far as its text tells; measured on MariaDB 10.11 and
//! MySQL 9.7. Everything else is in its reply.

use super::facts::{Kind, Links};
use super::lexer;
use super::statement::{Findings, Statement};
use crate::topology::Flavor;

pub(crate) fn links(one: &Statement<'_>, found: &Findings) -> Links {
    let mut links = Links::empty();
    match found.kind {
        Kind::Select => links |= query(one),
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Ddl | Kind::Set => {
            links.set(Links::HOLDS_QUERY, holds_query(one, found.kind));
        }
        _ => {}
    }
    links.set(Links::KEEPS_WARNINGS, keeps_warnings(one, found));
    links
}

/// The count of rows that were sent is not `FOUND_ROWS()` everywhere.
fn query(one: &Statement<'_>) -> Links {
    let outside = |words: &[&str]| one.find_outside(0, words);
    let several = outside(&["UNION", "EXCEPT", "INTERSECT"]).is_some();
    let limit = outside(&["LIMIT", "OFFSET"]);
    let strange = (several && limit.is_some())
        || one.is(0, "VALUES")
        || one.contains("PROCEDURE")
        || (one.is_mark(0, b'(') && (one.contains("LIMIT") || one.contains("OFFSET")));
    let skips = limit.is_some_and(|at| {
        let rest = one.rest(at);
        rest.contains("OFFSET") || (0..rest.len()).any(|at| rest.is_mark(at, b','))
    });
    match (strange, skips) {
        (true, _) => Links::UNSURE_FOUND_ROWS,
        (false, true) => Links::UNSURE_FOUND_ROWS | Links::SKIPS_ROWS,
        (false, false) => Links::empty(),
    }
}

/// A query within, or a join, which is carried out as one.
fn holds_query(one: &Statement<'_>, kind: Kind) -> bool {
    let words = ["SELECT", "JOIN", "STRAIGHT_JOIN", "TABLE", "WITH"];
    let named = |at: usize| one.is_one_of(at, &words) && !(kind == Kind::Ddl && one.is(at, "TABLE"));
    let tables = one.find_outside(0, &["SET", "FROM"]).unwrap_or(0);
    let joins = match kind {
        Kind::Update => (0..tables).any(|at| one.is_mark(at, b',')),
        Kind::Delete => one.contains("USING") || tables > 1,
        _ => false,
    };
    joins || (0..one.len()).any(named)
}

/// MariaDB's warnings stay until a statement names a table or has warnings of its own.
fn keeps_warnings(one: &Statement<'_>, found: &Findings) -> bool {
    let without_table = match found.kind {
        Kind::Select => one.is(0, "SELECT"),
        Kind::Call => one.is(0, "DO"),
        Kind::Set | Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::Use => true,
        _ => false,
    };
    let names_table = (0..one.len()).any(|at| one.is_one_of(at, &["FROM", "TABLE"]) && !is_argument(one, at));
    without_table && !names_table && !found.calls_unknown && one.dialect.flavor == Flavor::MariaDb
}

/// `TRIM(x FROM y)` names no table; nor does anything else within parentheses that begin with no query.
fn is_argument(one: &Statement<'_>, at: usize) -> bool {
    let mut depth = 0_usize;
    for before in (0..at).rev() {
        match one.kind(before) {
            Some(lexer::Kind::Mark(b')')) => depth += 1,
            Some(lexer::Kind::Mark(b'(')) if depth == 0 => return !one.is(before + 1, "SELECT"),
            Some(lexer::Kind::Mark(b'(')) => depth -= 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, analyse};
    use super::*;

    #[test]
    fn found_rows_is_not_always_the_count_of_rows_sent() {
        let links = |text: &str| {
            let all = Links::UNSURE_FOUND_ROWS | Links::SKIPS_ROWS | Links::HOLDS_QUERY;
            analyse(text.as_bytes(), Dialect::MARIADB).links & all
        };
        let skips = Links::UNSURE_FOUND_ROWS | Links::SKIPS_ROWS;
        for (text, expected) in [
            ("SELECT a, b FROM t LIMIT 1", Links::empty()),
            ("SELECT a FROM (SELECT 1 LIMIT 1, 2) x", Links::empty()),
            ("SELECT 1 UNION SELECT 2", Links::empty()),
            ("SELECT a FROM t LIMIT 1, 2", skips),
            ("SELECT a FROM t LIMIT 1 OFFSET 2", skips),
            ("SELECT 1 UNION SELECT 2 LIMIT 1", Links::UNSURE_FOUND_ROWS),
            ("(SELECT a FROM t LIMIT 1, 2)", Links::UNSURE_FOUND_ROWS),
            ("INSERT INTO t VALUES (1)", Links::empty()),
            ("INSERT INTO t SELECT 1", Links::HOLDS_QUERY),
            ("UPDATE t SET a = 1, b = 2", Links::empty()),
            ("UPDATE t, u SET t.a = 1", Links::HOLDS_QUERY),
            ("DELETE FROM t WHERE a = 1", Links::empty()),
            ("DELETE t FROM t JOIN u", Links::HOLDS_QUERY),
            ("DROP TABLE t", Links::empty()),
        ] {
            assert_eq!(links(text), expected, "{text}");
        }
    }

    #[test]
    fn statements_without_a_table_keep_the_warnings() {
        let keeps = |text: &str| {
            let facts = analyse(text.as_bytes(), Dialect::MARIADB);
            facts.links.contains(Links::KEEPS_WARNINGS)
        };
        for text in [
            "SELECT 1",
            "SELECT TRIM('a' FROM 'b')",
            "SET @a = 1",
            "COMMIT",
            "DO 1",
        ] {
            assert!(keeps(text), "{text}");
        }
        for text in [
            "SELECT a FROM t",
            "SELECT (SELECT 1 FROM t)",
            "SELECT f()",
            "INSERT INTO t VALUES (1)",
        ] {
            assert!(!keeps(text), "{text}");
        }
    }
}
