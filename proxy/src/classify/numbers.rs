//! Numbers of sessions in statements that tell of connections by the servers' own numbers: process lists, and the plan
//! of what another connection runs.

use std::ops::Range;

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};
use super::statement::Statement;

/// What has a row for each connection, or tells of one by its number.
const LISTS: &[&str] = &[
    "processlist",
    "threads",
    "innodb_trx",
    "metadata_lock_info",
    "is_used_lock",
];

/// `EXPLAIN FOR CONNECTION 5`, `SHOW EXPLAIN FOR 5`, …
const PLANS: &[&str] = &["EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "SHOW"];

/// More numbers than that are looked up for no statement.
const MOST: usize = 16;

/// Where in `text` such a statement has a number of at least `first`, and which.
pub fn sessions(text: &[u8], dialect: Dialect, first: u32) -> Vec<(Range<usize>, u32)> {
    let mut lexer = Lexer::new(text, dialect);
    let tokens: Vec<Token> = lexer.by_ref().collect();
    let all = Statement {
        text,
        tokens: &tokens,
        dialect,
    };
    let lists = (0..all.len()).any(|at| LISTS.contains(&all.name(at).as_str()));
    let plan = all.is_one_of(0, PLANS) && all.contains("FOR");
    if lexer.broken() || !(lists || plan) {
        return Vec::new();
    }
    tokens
        .iter()
        .filter(|token| token.kind == Kind::Number)
        .filter_map(|token| {
            let number = std::str::from_utf8(token.bytes(text)).ok()?.parse().ok()?;
            (number >= first).then_some((token.start as usize..token.end as usize, number))
        })
        .take(MOST)
        .collect()
}

/// `text` with other numbers at these places, which are in order.
pub fn renumbered(text: &[u8], numbers: &[(Range<usize>, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (range, number) in numbers {
        out.extend_from_slice(&text[at..range.start]);
        out.extend_from_slice(number.to_string().as_bytes());
        at = range.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of a session becomes 7.
    fn with_sevens(text: &str) -> String {
        let mut found = sessions(text.as_bytes(), Dialect::MARIADB, 1000);
        found.iter_mut().for_each(|(_, number)| *number = 7);
        String::from_utf8(renumbered(text.as_bytes(), &found)).unwrap()
    }

    #[test]
    fn sessions_are_found_where_connections_are_told_of() {
        for (text, wanted) in [
            (
                "SELECT info FROM information_schema.processlist WHERE id IN (1001, 2, 1002) AND time < 999",
                "SELECT info FROM information_schema.processlist WHERE id IN (7, 2, 7) AND time < 999",
            ),
            (
                "SHOW PROCESSLIST WHERE id = 1001 -- x",
                "SHOW PROCESSLIST WHERE id = 7 -- x",
            ),
            (
                "SHOW EXPLAIN FORMAT=JSON FOR 1001",
                "SHOW EXPLAIN FORMAT=JSON FOR 7",
            ),
            ("EXPLAIN FOR CONNECTION 1001;", "EXPLAIN FOR CONNECTION 7;"),
            (
                "SELECT IS_USED_LOCK('1001') = 1001",
                "SELECT IS_USED_LOCK('1001') = 7",
            ),
        ] {
            assert_eq!(with_sevens(text), wanted);
        }
        for text in [
            "SELECT * FROM t WHERE id = 1001",
            "EXPLAIN SELECT * FROM t WHERE id = 1001",
            "SELECT '1001', 1001.5 FROM processlist",
            "SELECT * FROM processlist WHERE id = 99999999999 OR host = 'x",
        ] {
            assert_eq!(with_sevens(text), text);
        }
    }
}
