//! Answers SELECTs over the live state with SQLite: each table that a statement names is made anew in memory from a snapshot, so
//! that joins, groups and orders are SQLite's work. Nothing can be written, and no statement runs or grows without bound.
//!
//! What clients say in MySQL's dialect and SQLite does not know is made known: two schemas, some functions, names in backticks,
//! text that compares without regard to case.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use chrono::{DateTime, Local};
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::dialect;
use super::show::{Client, SCHEMA, VERSION};
use super::table::{Cell, Shape, Table};
use super::tables::{self, Definition};

/// Most rows of an answer.
const MOST_ROWS: usize = 100_000;

/// A statement that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Instructions of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;

/// Longest text or blob that a statement makes.
const LONGEST: i32 = 1 << 20;

/// Answers one SELECT.
///
/// # Errors
/// In words for the client.
pub(super) fn select(
    statement: &str,
    filled: &[(&'static Definition, Table)],
    client: &Client<'_>,
) -> Result<Table, String> {
    let mut conn = Connection::open_in_memory().map_err(said)?;
    prepare(&mut conn, statement, filled, client).map_err(said)?;
    answer(&conn, statement)
}

/// What a SELECT would answer with: its columns, and no rows.
///
/// # Errors
/// In words for the client.
pub(super) fn columns(
    statement: &str,
    empty: &[(&'static Definition, Table)],
    client: &Client<'_>,
) -> Result<Table, String> {
    let mut conn = Connection::open_in_memory().map_err(said)?;
    prepare(&mut conn, statement, empty, client).map_err(said)?;
    let prepared = conn.prepare(statement).map_err(said)?;
    Ok(named(&prepared))
}

fn named(prepared: &Statement<'_>) -> Table {
    let names = prepared.column_names();
    Table {
        columns: names
            .into_iter()
            .map(|name| (Cow::Owned(name.to_owned()), Shape::Text))
            .collect(),
        rows: Vec::new(),
    }
}

fn prepare(
    conn: &mut Connection,
    statement: &str,
    filled: &[(&'static Definition, Table)],
    client: &Client<'_>,
) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "ATTACH ':memory:' AS {SCHEMA}; ATTACH ':memory:' AS information_schema"
    ))?;
    for (definition, table) in filled {
        fill(conn, SCHEMA, definition.name, table)?;
    }
    for (name, table) in tables::INFORMATION_SCHEMA {
        if tables::words(statement).any(|word| word.eq_ignore_ascii_case(name)) {
            fill(conn, "information_schema", name, &table())?;
        }
    }
    let mut made: Vec<&str> = Vec::new();
    for (name, table) in tables::words(statement).filter_map(tables::foreign::named) {
        if !made.contains(&name) {
            fill(conn, "information_schema", name, &table)?;
            made.push(name);
        }
    }
    functions(conn, client)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    conn.authorizer(Some(reads_only))?;
    let deadline = Instant::now() + PATIENCE;
    conn.progress_handler(STEPS, Some(move || Instant::now() > deadline))
}

fn reads_only(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn fill(conn: &Connection, schema: &str, name: &str, table: &Table) -> rusqlite::Result<()> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|(name, shape)| match shape {
            Shape::Text => format!("`{name}` TEXT COLLATE NOCASE"),
            Shape::Number => format!("`{name}` INTEGER"),
            Shape::Real => format!("`{name}` REAL"),
        })
        .collect();
    conn.execute(
        &format!("CREATE TABLE {schema}.`{name}` ({})", columns.join(", ")),
        [],
    )?;
    let places = vec!["?"; columns.len()].join(", ");
    let mut insert = conn.prepare(&format!("INSERT INTO {schema}.`{name}` VALUES ({places})"))?;
    for row in &table.rows {
        insert.execute(rusqlite::params_from_iter(row))?;
    }
    Ok(())
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Number(number) => i64::try_from(*number).unwrap_or(i64::MAX).into(),
            Self::Integer(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Text(text) => ToSqlOutput::from(text.as_ref()),
        })
    }
}

/// What clients ask of MySQL and SQLite lacks.
fn functions(conn: &Connection, client: &Client<'_>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8;
    let constant =
        |name: &str, value: Value| conn.create_scalar_function(name, 0, flags, move |_| Ok(value.clone()));
    let text = |text: &str| Value::Text(text.to_owned());
    constant("version", text(VERSION))?;
    for name in ["user", "current_user", "session_user", "system_user"] {
        constant(name, Value::Text(client.grantee()))?;
    }
    for name in ["database", "schema"] {
        constant(name, client.schema.map_or(Value::Null, text))?;
    }
    constant("connection_id", Value::Integer(client.id.into()))?;
    let now = Local::now();
    for name in ["now", "sysdate", "current_timestamp"] {
        constant(name, text(&spelled(now)))?;
    }
    constant("unix_timestamp", Value::Integer(now.timestamp()))?;
    conn.create_scalar_function("from_unixtime", 1, flags, |call| {
        let at = DateTime::from_timestamp(call.get(0)?, 0);
        Ok(at.map(|at| spelled(at.with_timezone(&Local))))
    })?;
    conn.create_scalar_function("like", 2, flags, |call| {
        let (pattern, text): (Value, Value) = (call.get(0)?, call.get(1)?);
        Ok(match (worded(pattern), worded(text)) {
            (Some(pattern), Some(text)) => Some(dialect::like(&pattern, &text)),
            _ => None,
        })
    })?;
    conn.create_scalar_function("substring_index", 3, flags, |call| {
        let (text, mark, count): (Option<String>, Option<String>, i64) =
            (call.get(0)?, call.get(1)?, call.get(2)?);
        Ok(text
            .zip(mark)
            .map(|(text, mark)| dialect::substring_index(&text, &mark, count)))
    })?;
    conn.create_scalar_function("locate", 2, flags, |call| {
        let (part, text): (Option<String>, Option<String>) = (call.get(0)?, call.get(1)?);
        let found = part.zip(text).map(|(part, text)| {
            let text = text.to_lowercase();
            let at = text.find(&part.to_lowercase());
            at.map_or(0, |at| text[..at].chars().count() as i64 + 1)
        });
        Ok(found)
    })?;
    conn.create_scalar_function("left", 2, flags, |call| {
        let (text, length): (Option<String>, u32) = (call.get(0)?, call.get(1)?);
        Ok(text.map(|text| text.chars().take(length as usize).collect::<String>()))
    })
}

/// A value as text; none of NULL.
fn worded(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn spelled(at: DateTime<Local>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn answer(conn: &Connection, statement: &str) -> Result<Table, String> {
    let mut prepared = conn.prepare(statement).map_err(said)?;
    let mut table = named(&prepared);
    let width = table.columns.len();
    let mut rows = prepared.query([]).map_err(said)?;
    while let Some(row) = rows.next().map_err(said)? {
        if table.rows.len() == MOST_ROWS {
            return Err(format!(
                "the answer has more than {MOST_ROWS} rows; ask for less with LIMIT"
            ));
        }
        let cells = (0..width).map(|index| row.get_ref(index).map(cell));
        table.rows.push(cells.collect::<Result<_, _>>().map_err(said)?);
    }
    for (index, (_, shape)) in table.columns.iter_mut().enumerate() {
        *shape = shape_of(table.rows.iter().map(|row| &row[index]));
    }
    Ok(table)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Cell::from(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// SQLite's columns have no type of their own: theirs is what their values have in common.
fn shape_of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Shape {
    let mut shape = None;
    for cell in cells {
        shape = match (shape, cell) {
            (shape, Cell::Null) => shape,
            (_, Cell::Text(_)) => return Shape::Text,
            (Some(Shape::Real), _) | (_, Cell::Real(_)) => Some(Shape::Real),
            (_, Cell::Number(_) | Cell::Integer(_)) => Some(Shape::Number),
        };
    }
    shape.unwrap_or(Shape::Text)
}

fn said(error: rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.code == rusqlite::ErrorCode::OperationInterrupted =>
        {
            format!("it took longer than {PATIENCE:?}, and was ended")
        }
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.code == rusqlite::ErrorCode::AuthorizationForStatementDenied =>
        {
            "the admin port's tables can only be read; SHOW COMMANDS lists what can be done".to_owned()
        }
        rusqlite::Error::SqlInputError { msg, .. } => with_a_hint(msg),
        rusqlite::Error::SqliteFailure(_, Some(text)) => with_a_hint(text),
        rusqlite::Error::MultipleStatement => "one statement at a time".to_owned(),
        error => error.to_string(),
    }
}

fn with_a_hint(text: String) -> String {
    match text.contains("no such table") || text.contains("no such column") {
        true => format!("{text}; SHOW TABLES and DESCRIBE <table> list what there is"),
        false => text,
    }
}

#[cfg(test)]
mod tests;
