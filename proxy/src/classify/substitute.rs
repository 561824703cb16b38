//! Values in the place of the functions and variables that ask a connection for them, where another connection answers.
//!
//! What stands there instead has the same type, length and flags as what is replaced, and a select item keeps its name
//! (compared byte by byte on MariaDB 10.11 and MySQL 9.7). The call itself stays in the text, since it decides what a
//! statement is to the server: unsafe for statement-based binlogs, deprecated.

use super::lexer::{Kind, Lexer, Token};
use super::statement::{SELECT_OPTIONS, Statement, capitals};
use super::{Dialect, looked_at, verbs};

/// What is known in the connection's place; nothing else is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    pub row_count: Option<i64>,
    pub found_rows: Option<u64>,
    pub warnings: Option<u16>,
    pub errors: Option<u16>,
    pub connection_id: Option<u32>,
}

/// Something asks in a place where a value can't surely stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSure;

/// Longest name of a select item that is written again as an alias; the servers allow 256 characters.
const LONGEST_NAME: usize = 200;

/// `text` with `values` for whatever asks for them; `None` where nothing does.
///
/// Only the first statement of several is answered what the statement before the packet left.
///
/// # Errors
/// [`NotSure`]
pub fn substitute(text: &[u8], dialect: Dialect, values: &Values) -> Result<Option<Vec<u8>>, NotSure> {
    let (seen, whole) = looked_at(text);
    let mut lexer = Lexer::new(seen, dialect);
    let tokens: Vec<Token> = lexer.by_ref().collect();
    if lexer.broken() || !whole {
        return Err(NotSure);
    }
    let mut edits = Vec::new();
    let mut values = *values;
    let mut start = 0;
    while start < tokens.len() {
        let length = tokens[start..]
            .iter()
            .position(|token| token.kind == Kind::Semicolon)
            .unwrap_or(tokens.len() - start);
        let one = Statement {
            text,
            tokens: &tokens[start..start + length],
            dialect,
        };
        if verbs::is_compound(&one) {
            let rest = Statement {
                tokens: &tokens[start..],
                ..one
            };
            return match asks(&rest, &values) {
                true => Err(NotSure),
                false => Ok(applied(text, edits)),
            };
        }
        if length > 0 {
            fill(&one, &values, &mut edits)?;
            values = Values {
                connection_id: values.connection_id,
                ..Values::default()
            };
        }
        start += length + 1;
    }
    Ok(applied(text, edits))
}

fn asks(all: &Statement<'_>, values: &Values) -> bool {
    (0..all.len()).any(|at| question(all, at, values).is_some())
}

/// A replacement of the text from one byte to another.
struct Edit {
    from: usize,
    to: usize,
    with: Vec<u8>,
}

fn applied(text: &[u8], mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|edit| edit.from);
    let mut out = Vec::with_capacity(text.len() + 64 * edits.len());
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(&text[at..edit.from]);
        out.extend_from_slice(&edit.with);
        at = edit.to;
    }
    out.extend_from_slice(&text[at..]);
    Some(out)
}

/// A question at a token, and what takes its place.
struct Question {
    /// How many tokens it has.
    tokens: usize,
    before: String,
    after: &'static str,
    /// The text in between is as it was.
    keeps_text: bool,
}

impl Question {
    fn wrapped(tokens: usize, before: String) -> Self {
        Self {
            tokens,
            before,
            after: ")",
            keeps_text: true,
        }
    }

    /// An integer like that of a system variable: as long as one, unsigned, and perhaps NULL.
    fn variable(tokens: usize, value: u32) -> Self {
        let [a, b, c, d] = value.to_be_bytes();
        Self {
            tokens,
            before: format!("INET_ATON('{a}.{b}.{c}.{d}')"),
            after: "",
            keeps_text: false,
        }
    }
}

fn question(all: &Statement<'_>, at: usize, values: &Values) -> Option<Question> {
    match all.kind(at)? {
        Kind::SystemVariable => variable(all, at, values),
        Kind::Word if !all.follows_dot(at) && all.is_mark(at + 1, b'(') && all.is_mark(at + 2, b')') => {
            let before = match capitals(all.bytes(at)).as_str() {
                "ROW_COUNT" => format!("IFNULL({}, ", values.row_count?),
                "FOUND_ROWS" => format!("IFNULL({}, ", values.found_rows?),
                "CONNECTION_ID" => format!("IFNULL(CAST({} AS UNSIGNED), ", values.connection_id?),
                _ => return None,
            };
            Some(Question::wrapped(3, before))
        }
        _ => None,
    }
}

fn variable(all: &Statement<'_>, at: usize, values: &Values) -> Option<Question> {
    let scoped = all.is_mark(at + 2, b'.');
    if scoped && !all.is_one_of(at + 1, &["SESSION", "LOCAL"]) {
        return None;
    }
    let tokens = if scoped { 4 } else { 2 };
    let value = match all.name(at + tokens - 1).as_str() {
        "warning_count" => values.warnings?.into(),
        "error_count" => values.errors?.into(),
        "pseudo_thread_id" => values.connection_id?,
        _ => return None,
    };
    Some(Question::variable(tokens, value))
}

/// A select item that is being read.
#[derive(Clone, Copy)]
struct Item {
    start: usize,
    /// Past the last question in it.
    asked_until: Option<usize>,
}

impl Item {
    fn from(start: usize) -> Self {
        Self {
            start,
            asked_until: None,
        }
    }
}

/// Words behind which, outside parentheses, there is no select item any more.
const ENDS_ITEMS: &[&str] = &[
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "INTO",
    "FOR",
    "LOCK",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "PROCEDURE",
];

/// Statements that don't keep their text: what is asked is answered when they run.
const RUN_AT_ONCE: &[&str] = &[
    "SELECT", "WITH", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE", "SET", "DO", "CALL",
];

/// What tells of connections by the server's own numbers: beside it, `CONNECTION_ID()` has to be the server's too.
const SERVERS_NUMBERS: &[&str] = &[
    "is_used_lock",
    "processlist",
    "performance_schema",
    "sys",
    "innodb_trx",
    "innodb_metrics",
    "metadata_lock_info",
    "user_variables",
];

fn fill(all: &Statement<'_>, values: &Values, edits: &mut Vec<Edit>) -> Result<(), NotSure> {
    if let Some(edit) = show_count(all, values) {
        edits.push(edit);
        return Ok(());
    }
    let mut values = *values;
    if (0..all.len()).any(|at| SERVERS_NUMBERS.contains(&all.name(at).as_str())) {
        values.connection_id = None;
    }
    if !asks(all, &values) {
        return Ok(());
    }
    if !all.is_mark(0, b'(') && !all.is_one_of(0, RUN_AT_ONCE) {
        // The number of its connection is the server's business where a definition or a list asks for it.
        values.connection_id = None;
        return match asks(all, &values) {
            true => Err(NotSure),
            false => Ok(()),
        };
    }
    let mut levels: Vec<Option<Item>> = vec![None];
    let mut at = 0;
    while at < all.len() {
        if let Some(question) = question(all, at, &values).filter(|_| !is_set(all, at, levels.len())) {
            let until = at + question.tokens;
            put(all, at, &question, edits);
            for item in levels.iter_mut().flatten() {
                item.asked_until = Some(until);
            }
            at = until;
            continue;
        }
        let depth = levels.len() - 1;
        match all.kind(at) {
            Some(Kind::Mark(b'(')) => levels.push(None),
            Some(Kind::Mark(b')')) => {
                name_again(all, levels.pop().flatten(), at, edits)?;
                if levels.is_empty() {
                    return Err(NotSure);
                }
            }
            Some(Kind::Mark(b',')) if levels[depth].is_some() => {
                name_again(all, levels[depth].replace(Item::from(at + 1)), at, edits)?;
            }
            Some(Kind::Word) if all.is_one_of(at, &["SELECT", "RETURNING"]) => {
                levels[depth] = Some(Item::from(at + 1));
            }
            Some(Kind::Word) if all.is_one_of(at, ENDS_ITEMS) => {
                name_again(all, levels[depth].take(), at, edits)?;
            }
            Some(Kind::Word) if all.is_one_of(at, SELECT_OPTIONS) => {
                if let Some(item) = levels[depth].as_mut().filter(|item| item.start == at) {
                    item.start += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    for item in levels {
        name_again(all, item, all.len(), edits)?;
    }
    Ok(())
}

/// `SHOW COUNT(*) WARNINGS` is a `SELECT` of the variable, by its name.
fn show_count(all: &Statement<'_>, values: &Values) -> Option<Edit> {
    let counts = all.starts(0, &["SHOW", "COUNT"]) && all.len() == 6;
    let (value, name) = match all.keyword(5).as_str() {
        "WARNINGS" if counts => (values.warnings?, "warning_count"),
        "ERRORS" if counts => (values.errors?, "error_count"),
        _ => return None,
    };
    let question = Question::variable(0, value.into());
    Some(Edit {
        from: all.tokens.first()?.start as usize,
        to: all.tokens.last()?.end as usize,
        with: format!("SELECT {} AS `@@session.{name}`", question.before).into_bytes(),
    })
}

/// Whether the variable here is the target of an assignment.
fn is_set(all: &Statement<'_>, at: usize, levels: usize) -> bool {
    let first = all.is(at.wrapping_sub(1), "SET") || (levels == 1 && all.follows(at, b','));
    let end = if all.is_mark(at + 2, b'.') { at + 4 } else { at + 2 };
    let assigned = all.is_mark(end, b'=') || all.kind(end) == Some(Kind::Assign);
    all.is(0, "SET") && first && assigned && all.kind(at) == Some(Kind::SystemVariable)
}

fn put(all: &Statement<'_>, at: usize, question: &Question, edits: &mut Vec<Edit>) {
    let from = all.tokens[at].start as usize;
    let to = all.tokens[at + question.tokens - 1].end as usize;
    let mut with = question.before.clone().into_bytes();
    if question.keeps_text {
        with.extend_from_slice(&all.text[from..to]);
    }
    with.extend_from_slice(question.after.as_bytes());
    edits.push(Edit { from, to, with });
}

/// Gives a select item that ends before `end` the name that it had as it was written.
fn name_again(
    all: &Statement<'_>,
    item: Option<Item>,
    end: usize,
    edits: &mut Vec<Edit>,
) -> Result<(), NotSure> {
    let Some(Item {
        start,
        asked_until: Some(until),
    }) = item
    else {
        return Ok(());
    };
    if has_alias(all, until, end)? {
        return Ok(());
    }
    let (Some(first), Some(last)) = (all.tokens.get(start), all.tokens.get(end - 1)) else {
        return Err(NotSure);
    };
    let to = last.end as usize;
    let name = &all.text[first.start as usize..to];
    if name.len() > LONGEST_NAME || (all.dialect.multibyte && !name.is_ascii()) {
        return Err(NotSure);
    }
    let mut with = b" AS `".to_vec();
    for &byte in name {
        with.extend(std::iter::repeat_n(byte, if byte == b'`' { 2 } else { 1 }));
    }
    with.push(b'`');
    edits.push(Edit { from: to, to, with });
    Ok(())
}

/// Words behind which there is an operand and no alias.
const BEFORE_OPERAND: &[&str] = &[
    "IS", "NOT", "AND", "OR", "XOR", "DIV", "MOD", "LIKE", "RLIKE", "REGEXP", "BETWEEN", "IN", "COLLATE",
    "ELSE", "THEN", "WHEN", "CASE", "BINARY", "INTERVAL", "ESCAPE",
];

/// Whether the select item that ends before `end`, and whose last question ends before `until`, has an alias.
fn has_alias(all: &Statement<'_>, until: usize, end: usize) -> Result<bool, NotSure> {
    if end == until {
        return Ok(false);
    }
    let (last, before) = (end - 1, end.wrapping_sub(2));
    if all.is(before, "AS") {
        return Ok(true);
    }
    match all.kind(last) {
        Some(Kind::Mark(b')') | Kind::Number | Kind::Param | Kind::UserVariable) => return Ok(false),
        Some(Kind::Word | Kind::Quoted | Kind::Text) => {}
        _ => return Err(NotSure),
    }
    if last == until {
        // Right behind the question: `ROW_COUNT() n`.
        return match all.is(last, "END") {
            true => Ok(false),
            false => Ok(true),
        };
    }
    match all.kind(before) {
        Some(Kind::Mark(b')')) | Some(Kind::Number | Kind::Text | Kind::Param) => Ok(!all.is(last, "END")),
        Some(Kind::Mark(_) | Kind::SystemVariable) => Ok(false),
        Some(Kind::Word) if all.is_one_of(before, BEFORE_OPERAND) => Ok(false),
        _ if all.is(last, "END") => Ok(false),
        _ => Err(NotSure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values = Values {
        row_count: Some(-1),
        found_rows: Some(7),
        warnings: Some(300),
        errors: Some(1),
        connection_id: Some(9),
    };

    fn filled(text: &str) -> String {
        match substitute(text.as_bytes(), Dialect::MARIADB, &VALUES) {
            Ok(Some(text)) => String::from_utf8(text).expect("text"),
            Ok(None) => "as it is".to_owned(),
            Err(NotSure) => "not sure".to_owned(),
        }
    }

    #[test]
    fn a_select_item_keeps_its_name() {
        for (text, expected) in [
            (
                "SELECT ROW_COUNT()",
                "SELECT IFNULL(-1, ROW_COUNT()) AS `ROW_COUNT()`",
            ),
            (
                "select found_rows( ) , 1;",
                "select IFNULL(7, found_rows( )) AS `found_rows( )` , 1;",
            ),
            (
                "SELECT DISTINCT FOUND_ROWS() + `a` FROM t",
                "SELECT DISTINCT IFNULL(7, FOUND_ROWS()) + `a` AS `FOUND_ROWS() + ``a``` FROM t",
            ),
            (
                "SELECT (SELECT FOUND_ROWS()) > 3 AS x",
                "SELECT (SELECT IFNULL(7, FOUND_ROWS()) AS `FOUND_ROWS()`) > 3 AS x",
            ),
            (
                "SELECT a, ROW_COUNT() IS NULL UNION SELECT 1, 2",
                "SELECT a, IFNULL(-1, ROW_COUNT()) IS NULL AS `ROW_COUNT() IS NULL` UNION SELECT 1, 2",
            ),
            (
                "SELECT CASE ROW_COUNT() WHEN 1 THEN 2 END",
                "SELECT CASE IFNULL(-1, ROW_COUNT()) WHEN 1 THEN 2 END AS `CASE ROW_COUNT() WHEN 1 THEN 2 END`",
            ),
            (
                "SELECT @@warning_count, @@session.error_count e, @@Pseudo_Thread_Id",
                "SELECT INET_ATON('0.0.1.44') AS `@@warning_count`, INET_ATON('0.0.0.1') e, \
                 INET_ATON('0.0.0.9') AS `@@Pseudo_Thread_Id`",
            ),
            (
                "SHOW COUNT(*) WARNINGS",
                "SELECT INET_ATON('0.0.1.44') AS `@@session.warning_count`",
            ),
            (
                "INSERT INTO t SELECT CONNECTION_ID() c RETURNING ROW_COUNT()",
                "INSERT INTO t SELECT IFNULL(CAST(9 AS UNSIGNED), CONNECTION_ID()) c \
                 RETURNING IFNULL(-1, ROW_COUNT()) AS `ROW_COUNT()`",
            ),
        ] {
            assert_eq!(filled(text), expected);
        }
    }

    #[test]
    fn aliases_are_left() {
        for (item, filled_item) in [
            ("ROW_COUNT() n", "IFNULL(-1, ROW_COUNT()) n"),
            ("ROW_COUNT() AS `n`", "IFNULL(-1, ROW_COUNT()) AS `n`"),
            ("ROW_COUNT() 'n'", "IFNULL(-1, ROW_COUNT()) 'n'"),
            ("ABS(ROW_COUNT()) n", "ABS(IFNULL(-1, ROW_COUNT())) n"),
        ] {
            assert_eq!(filled(&format!("SELECT {item}")), format!("SELECT {filled_item}"));
        }
    }

    #[test]
    fn values_stand_where_no_name_is_needed() {
        for (text, expected) in [
            (
                "INSERT INTO t VALUES (ROW_COUNT(), ?)",
                "INSERT INTO t VALUES (IFNULL(-1, ROW_COUNT()), ?)",
            ),
            ("SET @a = FOUND_ROWS()", "SET @a = IFNULL(7, FOUND_ROWS())"),
            (
                "UPDATE t SET a = ROW_COUNT() WHERE b = @@error_count",
                "UPDATE t SET a = IFNULL(-1, ROW_COUNT()) WHERE b = INET_ATON('0.0.0.1')",
            ),
        ] {
            assert_eq!(filled(text), expected);
        }
    }

    #[test]
    fn what_does_not_ask_is_left() {
        for text in [
            "SELECT 'ROW_COUNT()', `FOUND_ROWS`()",
            "SELECT a.ROW_COUNT() -- CONNECTION_ID()",
            "SET @@pseudo_thread_id = 5, @@pseudo_thread_id = 6",
            "SELECT 1; SELECT ROW_COUNT()",
            "SELECT IS_USED_LOCK('a') = CONNECTION_ID()",
            "SELECT * FROM information_schema.processlist WHERE id = CONNECTION_ID()",
            "SHOW PROCESSLIST WHERE id = CONNECTION_ID()",
            "CREATE VIEW v AS SELECT CONNECTION_ID()",
            "SELECT @@global.warning_count",
        ] {
            assert_eq!(filled(text), "as it is", "{text}");
        }
        for text in [
            "CREATE TABLE t AS SELECT ROW_COUNT()",
            "BEGIN NOT ATOMIC UPDATE t SET a = 1; SELECT ROW_COUNT(); END",
            "SELECT ROW_COUNT() a b c",
            "SELECT ROW_COUNT(), '",
        ] {
            assert_eq!(filled(text), "not sure", "{text}");
        }
    }
}
