//! What a statement's shape says about its being asked twice. Found once for a shape and mirror; pure.

use crate::classify::Dialect;
use crate::classify::facts::{Facts, Kind as Verb, Purity};
use crate::classify::lexer::{Kind, Lexer, Token};

/// Whether, and how, statements of a shape are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Not at all.
    pub skip: Option<Skip>,
    /// It asks for an order.
    pub is_ordered: bool,
    /// It asks what time it is: that is what it was for the client.
    pub is_timed: bool,
}

/// Why a statement is not mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It writes, locks, asks for the state of session or server, or can't be told from what does.
    NoPureRead,
    /// Its answer is another each time, or tells of the server: `RAND()`, `VERSION()`, `EXPLAIN`.
    Volatile,
    /// It may see what only its transaction has written, and sees what was there at its beginning.
    Transaction,
    /// Its session has what is on its connection only: temporary tables, locks, user variables.
    State,
    /// A cursor, long data, a bulk execution, one that is longer than `limits.statement_bytes`, or one that was prepared under
    /// other settings than those of now.
    Form,
    /// The client had no whole answer: a limit, a kill, an error of Tandem's own.
    NotAnswered,
    /// The mirror itself has answered.
    Itself,
    /// One more shape than are counted.
    Shapes,
}

impl Skip {
    pub const COUNT: usize = 8;

    pub const ALL: [Self; Self::COUNT] = [
        Self::NoPureRead,
        Self::Volatile,
        Self::Transaction,
        Self::State,
        Self::Form,
        Self::NotAnswered,
        Self::Itself,
        Self::Shapes,
    ];

    /// As tables and `EXPLAIN ROUTE` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPureRead => "no pure read",
            Self::Volatile => "another answer each time or server",
            Self::Transaction => "in a transaction",
            Self::State => "state of its session",
            Self::Form => "its form",
            Self::NotAnswered => "no whole answer here",
            Self::Itself => "answered by the mirror itself",
            Self::Shapes => "too many shapes",
        }
    }
}

/// Functions whose values differ from call to call, or from server to server.
#[rustfmt::skip]
const VOLATILE: [&str; 14] = [
    "CURRENT_ROLE", "CURRENT_USER", "ICU_VERSION", "RAND", "RANDOM_BYTES", "SESSION_USER", "SYSDATE", "SYSTEM_USER",
    "SYS_GUID", "USER", "UUID", "UUID_V4", "UUID_V7", "VERSION",
];

/// The same, where nothing but its name need stand: in brackets it is a call, and else it may be a column.
const VOLATILE_WORDS: [&str; 2] = ["CURRENT_ROLE", "CURRENT_USER"];

/// Those of the time of day.
#[rustfmt::skip]
const TIMED: [&str; 9] = [
    "CURDATE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURTIME", "LOCALTIME", "LOCALTIMESTAMP", "NOW", "UNIX_TIMESTAMP",
];

const TIMED_UTC: [&str; 3] = ["UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP"];

impl Shape {
    /// Of a statement with these facts.
    pub fn of(facts: &Facts, text: &[u8], dialect: Dialect) -> Self {
        if facts.purity != Purity::Pure {
            return Self {
                skip: Some(Skip::NoPureRead),
                ..Self::default()
            };
        }
        let tokens: Vec<Token> = Lexer::new(text, dialect).collect();
        let mut shape = Self {
            skip: (facts.kind != Verb::Select).then_some(Skip::Volatile),
            ..Self::default()
        };
        let mut depth = 0_usize;
        for (index, token) in tokens.iter().enumerate() {
            let next = tokens.get(index + 1);
            match token.kind {
                Kind::Mark(b'(') => depth += 1,
                Kind::Mark(b')') => depth = depth.saturating_sub(1),
                Kind::SystemVariable | Kind::UserVariable => shape.skip = Some(Skip::Volatile),
                Kind::Word => {
                    let is = |names: &[&str]| {
                        let word = token.bytes(text);
                        names
                            .iter()
                            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
                    };
                    let is_call = next.is_some_and(|next| next.kind == Kind::Mark(b'('));
                    let is_by = next.is_some_and(|next| next.bytes(text).eq_ignore_ascii_case(b"BY"));
                    if is_call && is(&VOLATILE) || is(&VOLATILE_WORDS) {
                        shape.skip = Some(Skip::Volatile);
                    }
                    shape.is_timed |= is(&TIMED) || is(&TIMED_UTC);
                    shape.is_ordered |= depth == 0 && is_by && is(&["ORDER"]);
                }
                _ => {}
            }
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::analyse;

    fn shape(text: &str) -> Shape {
        let dialect = Dialect::MARIADB;
        Shape::of(&analyse(text.as_bytes(), dialect), text.as_bytes(), dialect)
    }

    #[test]
    fn what_writes_or_answers_otherwise_each_time_is_skipped() {
        for (text, skip) in [
            ("SELECT a FROM t", None),
            ("SELECT COUNT(*) FROM t WHERE a > NOW() - INTERVAL 1 DAY", None),
            ("SELECT rand, uuid FROM t", None),
            ("SELECT 'rand()' /* rand() */", None),
            ("SELECT RAND()", Some(Skip::Volatile)),
            ("SELECT * FROM t ORDER BY rand ()", Some(Skip::Volatile)),
            ("SELECT UUID()", Some(Skip::Volatile)),
            ("SELECT CURRENT_USER", Some(Skip::Volatile)),
            ("SELECT VERSION()", Some(Skip::Volatile)),
            ("EXPLAIN SELECT a FROM t", Some(Skip::Volatile)),
            (
                "SELECT TABLE_ROWS FROM information_schema.TABLES",
                Some(Skip::NoPureRead),
            ),
            ("SELECT @a", Some(Skip::NoPureRead)),
            ("SELECT @@server_id", Some(Skip::NoPureRead)),
            ("SELECT a FROM t FOR UPDATE", Some(Skip::NoPureRead)),
            ("SELECT f(1)", Some(Skip::NoPureRead)),
            ("SELECT a INTO OUTFILE 'x' FROM t", Some(Skip::NoPureRead)),
            ("SELECT GET_LOCK('a', 1)", Some(Skip::NoPureRead)),
            ("SELECT NEXTVAL(s)", Some(Skip::NoPureRead)),
            ("INSERT INTO t VALUES (1)", Some(Skip::NoPureRead)),
            ("SET a = 1", Some(Skip::NoPureRead)),
            ("CALL p()", Some(Skip::NoPureRead)),
            ("SELECT 1; DELETE FROM t", Some(Skip::NoPureRead)),
        ] {
            assert_eq!(shape(text).skip, skip, "{text}");
        }
    }

    /// An order within brackets is none of the answer's.
    #[test]
    fn the_order_that_counts_is_the_whole_statements() {
        for (text, is_ordered) in [
            ("SELECT a FROM t ORDER BY a", true),
            ("SELECT a FROM t order  by a LIMIT 3", true),
            ("SELECT a FROM t GROUP BY a", false),
            ("SELECT `order` FROM t", false),
            ("SELECT GROUP_CONCAT(a ORDER BY a) FROM t", false),
            ("SELECT * FROM (SELECT a FROM t ORDER BY a LIMIT 3) AS x", false),
            ("SELECT ROW_NUMBER() OVER (ORDER BY a) FROM t", false),
            (
                "(SELECT a FROM t ORDER BY a LIMIT 1) UNION SELECT b FROM u ORDER BY 1",
                true,
            ),
        ] {
            assert_eq!(shape(text).is_ordered, is_ordered, "{text}");
        }
    }

    #[test]
    fn what_asks_for_the_time_is_known() {
        for (text, is_timed) in [
            ("SELECT a FROM t WHERE b < CURRENT_TIMESTAMP", true),
            ("SELECT utc_date()", true),
            ("SELECT a FROM t WHERE b < '2020-01-01'", false),
            ("SELECT DATE(b) FROM t", false),
        ] {
            assert_eq!(shape(text).is_timed, is_timed, "{text}");
        }
    }
}
