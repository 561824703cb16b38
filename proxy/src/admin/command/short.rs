//! `SHOW …` and `DESCRIBE …`: what is written shorter than the SELECT that it comes to.

use super::super::show::SCHEMA;
use super::super::table::Shape;
use super::super::tables;
use super::literal as spoken;
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
        "status" => return filtered(STATUS, "counter", rest).ok_or_else(unknown),
        "global" | "session" => {
            if let Some(rest) = expect(rest, "STATUS") {
                return filtered(STATUS, "counter", rest).ok_or_else(unknown);
            }
            let rest = expect(rest, "VARIABLES").ok_or_else(unknown)?;
            return filtered(VARIABLES, "Variable_name", rest).ok_or_else(unknown);
        }
        "tables" => return list(is_full, rest).ok_or_else(unknown),
        "columns" | "fields" => {
            let rest = expect(rest, "FROM").or_else(|| expect(rest, "IN"));
            return columns(rest.ok_or_else(unknown)?, is_full);
        }
        "create" => {
            let named = expect(rest, "TABLE").and_then(identifier);
            let named = named.and_then(|(first, rest)| match rest.strip_prefix('.') {
                Some(rest) => name(rest),
                None => ended(skip(rest)).then(|| first.to_owned()),
            });
            return named.map(Command::CreateTable).ok_or_else(unknown);
        }
        "config" if expect(rest, "DIFF").is_some_and(ended) => return Ok(Command::ConfigDiff),
        "config" => return filtered(CONFIG, "key", rest).ok_or_else(unknown),
        "table" => {
            let rest = expect(rest, "STATUS").ok_or_else(unknown)?;
            let (schema, rest) = schema(rest).ok_or_else(unknown)?;
            let query = format!("{TABLE_STATUS} WHERE TABLE_SCHEMA = {}", literal(schema));
            return filtered(&query, "Name", rest).ok_or_else(unknown);
        }
        // No table has one.
        "index" | "indexes" | "keys" => return Ok(Command::Query(INDEXES.to_owned())),
        "engines" | "storage" => {
            return Ok(Command::Query(
                "SELECT * FROM information_schema.ENGINES".to_owned(),
            ));
        }
        "collation" => return filtered(COLLATIONS, "Collation", rest).ok_or_else(unknown),
        "character" | "charset" => return Ok(Command::Query(CHARSETS.to_owned())),
        "grants" => return Ok(Command::Grants),
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

/// What Tandem has counted, in the form of a server's status.
const STATUS: &str = "SELECT counter AS Variable_name, value AS Value FROM counters WHERE 1";
const TABLE_STATUS: &str = "SELECT TABLE_NAME AS Name, ENGINE AS Engine, VERSION AS Version, ROW_FORMAT AS Row_format, \
     TABLE_ROWS AS `Rows`, AVG_ROW_LENGTH AS Avg_row_length, DATA_LENGTH AS Data_length, MAX_DATA_LENGTH AS Max_data_length, \
     INDEX_LENGTH AS Index_length, DATA_FREE AS Data_free, AUTO_INCREMENT AS Auto_increment, CREATE_TIME AS Create_time, \
     UPDATE_TIME AS Update_time, CHECK_TIME AS Check_time, TABLE_COLLATION AS `Collation`, CHECKSUM AS Checksum, \
     CREATE_OPTIONS AS Create_options, TABLE_COMMENT AS `Comment` FROM information_schema.TABLES";
const INDEXES: &str = "SELECT TABLE_NAME AS `Table`, NON_UNIQUE AS Non_unique, INDEX_NAME AS Key_name, \
     SEQ_IN_INDEX AS Seq_in_index, COLUMN_NAME AS Column_name, INDEX_TYPE AS Index_type FROM information_schema.STATISTICS";
const COLLATIONS: &str = "SELECT COLLATION_NAME AS `Collation`, CHARACTER_SET_NAME AS Charset, ID AS Id, IS_DEFAULT AS `Default`, \
     IS_COMPILED AS Compiled, SORTLEN AS Sortlen FROM information_schema.COLLATIONS WHERE 1";
const CHARSETS: &str = "SELECT CHARACTER_SET_NAME AS Charset, DESCRIPTION AS Description, \
     DEFAULT_COLLATE_NAME AS `Default collation`, MAXLEN AS Maxlen FROM information_schema.CHARACTER_SETS";

/// `query` with what may follow `SHOW …`: `LIKE 'pattern'`, for its column `key`, or `WHERE condition`, or `ORDER BY … LIMIT …`.
fn filtered(query: &str, key: &str, text: &str) -> Option<Command> {
    let query = if ended(text) {
        query.to_owned()
    } else if expect(text, "ORDER").or_else(|| expect(text, "LIMIT")).is_some() {
        format!("{query} {}", text.trim_end().trim_end_matches(';'))
    } else if let Some(condition) = expect(text, "WHERE") {
        format!("{query} AND ({})", condition.trim_end().trim_end_matches(';'))
    } else {
        let (pattern, rest) = spoken(expect(text, "LIKE")?)?;
        ended(skip(rest)).then(|| format!("{query} AND `{key}` LIKE {} ESCAPE '\\'", literal(&pattern)))?
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
