//! `SHOW` and `DESCRIBE`: what they read is a part of `information_schema`, as MySQL 8 says too, and a table's definition.
//! Whatever changes definitions counts as a change of all tables.

use super::super::facts::TableName;
use super::super::show;
use super::super::statement::Statement;
use super::query::Reading;
use super::{Named, identifier, named, past, table_name};

/// `SHOW TABLES`, `COLUMNS`, `INDEX`, `DATABASES` and `CREATE TABLE`; nothing of any other.
pub(super) fn shown(all: &Statement<'_>) -> Option<Named> {
    let at = past(all, 1, &["EXTENDED", "FULL"]);
    let (view, of_table) = match all.keyword(at).as_str() {
        "DATABASES" | "SCHEMAS" => return read(all, at + 1, "schemata", None),
        "TABLES" => return read(all, in_schema(all, at + 1)?.1, "tables", None),
        "COLUMNS" | "FIELDS" => ("columns", all.is_one_of(at + 1, &FROM)),
        "INDEX" | "INDEXES" | "KEYS" => ("statistics", all.is_one_of(at + 1, &FROM)),
        "CREATE" => ("tables", all.is(at + 1, "TABLE")),
        _ => return None,
    };
    let (mut table, next) = table_name(all, at + 2).filter(|_| of_table)?;
    let (schema, next) = in_schema(all, next)?;
    // SHOW COLUMNS FROM t FROM schema
    if let Some(schema) = schema {
        table.schema = schema;
    }
    read(all, next, view, Some(table))
}

/// `DESCRIBE t`, or what the explained query would read.
pub(super) fn explained(all: &Statement<'_>) -> Option<Named> {
    let (start, _) = show::past_options(all);
    let inner = all.rest(start);
    if inner.is_mark(0, b'(') || inner.is_one_of(0, &["SELECT", "WITH", "VALUES", "TABLE"]) {
        return named(&inner);
    }
    let (table, next) = table_name(all, 1)?;
    let column = usize::from(next < all.len());
    read(all, next + column, "columns", Some(table)).filter(|_| next + column == all.len())
}

const FROM: [&str; 2] = ["FROM", "IN"];

/// The schema of `FROM schema` at `at`, if that stands there, and where the text goes on.
fn in_schema(all: &Statement<'_>, at: usize) -> Option<(Option<Box<str>>, usize)> {
    match all.is_one_of(at, &FROM) {
        true => Some((Some(identifier(all, at + 1)?), at + 2)),
        false => Some((None, at)),
    }
}

/// Reads a view of `information_schema`, and what stands from `at` on: a `LIKE` or a `WHERE`.
fn read(all: &Statement<'_>, at: usize, view: &str, table: Option<TableName>) -> Option<Named> {
    if at < all.len() && !all.is_one_of(at, &["LIKE", "WHERE"]) {
        return None;
    }
    let mut named = Reading::new(*all, at).expressions().finish()?;
    named.reads.push(TableName {
        schema: "information_schema".into(),
        name: view.into(),
    });
    named.reads.extend(table);
    Some(named)
}
