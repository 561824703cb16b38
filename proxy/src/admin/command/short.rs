//! `SHOW …` and `DESCRIBE …`: what is written shorter than the SELECT that it comes to.

use super::super::show::SCHEMA;
use super::super::table::Shape;
use super::super::tables;
use super::{Command, NEAR, Refusal, ended, expect, name, nonempty, quoted, reads, skip, word, word_only};

/// `text` is what follows `SHOW` in `statement`.
pub(super) fn show(statement: &str, text: &str) -> Result<Command, Refusal> {
    let unknown = || Refusal::Unknown {
        near: statement.chars().take(NEAR).collect(),
    };
    let (is_full, text) = match expect(text, "FULL") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (noun, rest) = word(text);
    let noun = noun.to_ascii_lowercase();
    let known = match noun.as_str() {
        "processlist" => "sessions",
        "stats" => "counters",
        "help" => "commands",
        noun => noun,
    };
    match known {
        "reads" if expect(rest, "LIMIT").is_some() || ended(rest) => return reads(rest).ok_or_else(unknown),
        "databases" | "schemas" => return filtered(SCHEMATA, "SCHEMA_NAME", rest).ok_or_else(unknown),
        "variables" => return filtered(VARIABLES, "Variable_name", rest).ok_or_else(unknown),
        "global" | "session" => {
            let rest = expect(rest, "VARIABLES").ok_or_else(unknown)?;
            return filtered(VARIABLES, "Variable_name", rest).ok_or_else(unknown);
        }
        "tables" => return list(is_full, rest).ok_or_else(unknown),
        "columns" | "fields" => {
            let rest = expect(rest, "FROM").or_else(|| expect(rest, "IN"));
            return columns(rest.ok_or_else(unknown)?, is_full);
        }
        "create" => {
            let name = expect(rest, "TABLE").and_then(name);
            return name.map(Command::CreateTable).ok_or_else(unknown);
        }
        "config" if expect(rest, "DIFF").is_some_and(ended) => return Ok(Command::ConfigDiff),
        "config" => return filtered(CONFIG, "key", rest).ok_or_else(unknown),
        "warnings" | "errors" if ended(rest) => return Ok(Command::Warnings),
        _ => {}
    }
    let table = tables::named(known).ok_or_else(unknown)?;
    if ended(rest) {
        return Ok(Command::Table(table.source));
    }
    let is_key = |(name, shape): &&(&str, Shape)| match table.name {
        "digests" | "reads" => *name == "statement",
        _ => *shape == Shape::Text,
    };
    let first = table.columns.iter().find(is_key);
    let (key, _) = first.ok_or_else(unknown)?;
    filtered(&format!("SELECT * FROM {} WHERE 1", table.name), key, rest).ok_or_else(unknown)
}

/// What fits on a line.
const CONFIG: &str =
    "SELECT `key`, value, default_value, origin, acts, pending, changed_at FROM config WHERE 1";
const SCHEMATA: &str = "SELECT SCHEMA_NAME AS `Database` FROM information_schema.SCHEMATA WHERE 1";
const VARIABLES: &str = "SELECT Variable_name, Value FROM information_schema.GLOBAL_VARIABLES WHERE 1";

/// `query` with what may follow `SHOW …`: `LIKE 'pattern'`, for its column `key`, or `WHERE condition`, or `ORDER BY … LIMIT …`.
fn filtered(query: &str, key: &str, text: &str) -> Option<Command> {
    let query = if ended(text) {
        query.to_owned()
    } else if expect(text, "ORDER").or_else(|| expect(text, "LIMIT")).is_some() {
        format!("{query} {}", text.trim_end().trim_end_matches(';'))
    } else if let Some(condition) = expect(text, "WHERE") {
        format!("{query} AND ({})", condition.trim_end().trim_end_matches(';'))
    } else {
        let (pattern, rest) = quoted(expect(text, "LIKE")?)?;
        ended(skip(rest)).then(|| format!("{query} AND `{key}` LIKE {} ESCAPE '\\'", literal(pattern)))?
    };
    Some(Command::Query(query))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `SHOW [FULL] TABLES [FROM schema] [LIKE …]`
fn list(is_full: bool, text: &str) -> Option<Command> {
    let (schema, text) = schema(text)?;
    let more = if is_full { ", TABLE_TYPE AS Table_type" } else { "" };
    let query = format!(
        "SELECT TABLE_NAME AS Tables_in_{SCHEMA}{more} FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
        literal(schema)
    );
    filtered(&query, "TABLE_NAME", text)
}

/// `DESCRIBE table`, `SHOW [FULL] COLUMNS FROM table [FROM schema] [LIKE …]`
pub(super) fn columns(text: &str, is_full: bool) -> Result<Command, Refusal> {
    let unknown = || Refusal::Unknown {
        near: text.chars().take(NEAR).collect(),
    };
    let (mut table, mut rest) = identifier(text).ok_or_else(unknown)?;
    if let Some(behind) = rest.strip_prefix('.') {
        (table, rest) = identifier(behind).ok_or_else(unknown)?;
    }
    let (schema, rest) = schema(skip(rest)).ok_or_else(unknown)?;
    let (collation, comment) = match is_full {
        true => (
            ", 'utf8mb4_general_ci' AS `Collation`",
            ", 'select' AS Privileges, COLUMN_COMMENT AS Comment",
        ),
        false => ("", ""),
    };
    let query = format!(
        "SELECT COLUMN_NAME AS Field, COLUMN_TYPE AS Type{collation}, IS_NULLABLE AS `Null`, COLUMN_KEY AS `Key`, \
         COLUMN_DEFAULT AS `Default`, EXTRA AS Extra{comment} FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND \
         TABLE_NAME = {}",
        literal(schema),
        literal(table)
    );
    if schema.eq_ignore_ascii_case(SCHEMA) && tables::named(table).is_none() {
        return Err(Refusal::NoTable(table.to_owned()));
    }
    filtered(&query, "COLUMN_NAME", rest).ok_or_else(unknown)
}

/// `[FROM schema]`, and what follows.
fn schema(text: &str) -> Option<(&str, &str)> {
    match expect(text, "FROM").or_else(|| expect(text, "IN")) {
        Some(rest) => identifier(rest).map(|(schema, rest)| (schema, skip(rest))),
        None => Some((SCHEMA, text)),
    }
}

fn identifier(text: &str) -> Option<(&str, &str)> {
    quoted(text).or_else(|| nonempty(word_only(text)))
}
