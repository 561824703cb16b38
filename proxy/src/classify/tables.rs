//! Which tables a statement names, read from our own tokens.
//!
//! This need not know all of SQL to be right. The servers take a table's name only behind `FROM`, `JOIN`, the commas of
//! such a list and `TABLE`, as the target of a change, and for sequences. Everything else is passed over as
//! expressions, in which any parenthesis may hold a query. Where one of these words stands and is not expected, and
//! where a name can't be compared for certain, the reading gives up: the lists then count as incomplete.

mod definitions;
mod query;

use super::facts::TableName;
use super::lexer::Kind;
use super::statement::Statement;
use query::Reading;

/// What a statement names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// What is read, also in order to be changed.
    pub(crate) reads: Vec<TableName>,
    pub(crate) writes: Vec<TableName>,
    /// Names that stand for no table or one that is named elsewhere too: common table expressions, `DUAL`, the `a` of
    /// `DELETE FROM a USING t AS a`.
    pub(crate) no_tables: Vec<TableName>,
}

/// The tables of a query, a change or a question for definitions; nothing where they are not known for certain.
///
/// What views, triggers, foreign keys, sequences as defaults and functions reach is not in the text.
pub(crate) fn named(all: &Statement<'_>) -> Option<Named> {
    let mut named = match all.keyword(0).as_str() {
        "INSERT" => inserted(
            all,
            &["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"],
        ),
        "REPLACE" => inserted(all, &["LOW_PRIORITY", "DELAYED", "INTO"]),
        "LOAD" => loaded(all),
        "SET" => for_statement(all),
        "SHOW" => definitions::shown(all),
        "DESCRIBE" | "DESC" | "EXPLAIN" => definitions::explained(all),
        _ => Reading::new(*all, 0).finish(),
    }?;
    for list in [&mut named.reads, &mut named.writes, &mut named.no_tables] {
        list.sort_unstable();
        list.dedup();
    }
    (named.reads.len() + named.writes.len() <= MOST_TABLES).then_some(named)
}

/// `INSERT [options] [INTO] t …`, `REPLACE …`
fn inserted(all: &Statement<'_>, options: &[&str]) -> Option<Named> {
    let at = past(all, 1, options);
    let (table, next) = table_name(all, at)?;
    let mut named = Reading::new(*all, next).insert().finish()?;
    named.writes.push(table);
    Some(named)
}

/// `LOAD DATA … INTO TABLE t …`, where everything before the table is words and one string.
fn loaded(all: &Statement<'_>) -> Option<Named> {
    let into = (1..all.len())
        .take_while(|&at| matches!(all.kind(at), Some(Kind::Word | Kind::Text | Kind::Param)))
        .find(|&at| all.is(at, "INTO"))?;
    let known = (1..into).all(|at| all.kind(at) != Some(Kind::Word) || all.is_one_of(at, &LOAD_OPTIONS));
    if !known || !all.is(into + 1, "TABLE") {
        return None;
    }
    let (table, next) = table_name(all, into + 2)?;
    let mut named = Reading::new(*all, next).expressions().finish()?;
    named.writes.push(table);
    Some(named)
}

const LOAD_OPTIONS: [&str; 8] = [
    "DATA",
    "XML",
    "LOW_PRIORITY",
    "CONCURRENT",
    "LOCAL",
    "INFILE",
    "REPLACE",
    "IGNORE",
];

/// MariaDB's `SET STATEMENT a=1, b=2 FOR <statement>`, with plain values.
fn for_statement(all: &Statement<'_>) -> Option<Named> {
    let plain = |at: &usize| !all.is_mark(*at, b'(') && !all.is(*at, "SELECT");
    let at = (2..all.len()).take_while(plain).find(|&at| all.is(at, "FOR"))?;
    let inner = all.rest(at + 1);
    // Once only: a long chain of them would need a deep stack.
    (all.is(1, "STATEMENT") && !inner.is(0, "SET"))
        .then(|| named(&inner))
        .flatten()
}

/// Past the words at `at` that are among these.
fn past(all: &Statement<'_>, at: usize, words: &[&str]) -> usize {
    (at..all.len())
        .find(|&at| !all.is_one_of(at, words))
        .unwrap_or(all.len())
}

/// The table that is named at `at`, as `t`, `.t` or `schema.t`, and where the text goes on.
fn table_name(all: &Statement<'_>, at: usize) -> Option<(TableName, usize)> {
    let dotted = |at: usize| all.is_mark(at, b'.') && all.is_name(at + 1);
    let (schema, at) = match dotted(at) {
        true => (Box::default(), at + 1),
        false if dotted(at + 1) => (identifier(all, at)?, at + 2),
        false => (Box::default(), at),
    };
    let name = identifier(all, at)?;
    (!dotted(at + 1)).then_some((TableName { schema, name }, at + 1))
}

/// The name at `at` as the server understands it. What is not ASCII depends on the client's character set, and
/// `#mysql50#t` is another name of `t`: neither can be compared with other statements' names.
fn identifier(all: &Statement<'_>, at: usize) -> Option<Box<str>> {
    let bytes = all.bytes(at);
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?;
    let name = match all.kind(at)? {
        Kind::Word if !all.follows_dot(at) && all.is_one_of(at, &NO_NAMES) => return None,
        Kind::Word => text.to_owned(),
        Kind::Quoted => {
            let quote = text.get(..1)?;
            let inner = text.get(1..text.len().checked_sub(1)?)?;
            inner.replace(&quote.repeat(2), quote)
        }
        _ => return None,
    };
    (!name.is_empty() && !name.starts_with('#')).then(|| name.into_boxed_str())
}

/// Reserved words that mean something where a table may be named: whoever finds one there has lost its way.
#[rustfmt::skip]
pub(crate) const NO_NAMES: [&str; 43] = [
    "ALL", "AS", "CALL", "CROSS", "DELAYED", "DELETE", "DISTINCT", "EXCEPT", "FETCH", "FOR", "FORCE", "FROM", "GROUP",
    "HAVING", "HIGH_PRIORITY", "IGNORE", "INNER", "INSERT", "INTERSECT", "INTO", "JOIN", "LEFT", "LIMIT", "LOCK",
    "LOW_PRIORITY", "NATURAL", "ON", "ORDER", "PARTITION", "PROCEDURE", "REPLACE", "RIGHT", "SELECT", "SET",
    "STRAIGHT_JOIN", "TABLE", "UNION", "UPDATE", "USE", "USING", "VALUES", "WHERE", "WITH",
];

/// More tables than this are as good as all. (The servers join 61 at most; a `UNION` may have more.)
const MOST_TABLES: usize = 256;
