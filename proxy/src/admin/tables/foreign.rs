//! Tables of `information_schema` that the admin port has nothing to say in, and that tools such as phpMyAdmin ask all the same.

use super::{Number, Text};
use crate::admin::table::{Shape, Table};

/// Their names and columns. They have no rows.
const EMPTY: [(&str, &[&str]); 14] = [
    (
        "VIEWS",
        &[
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "VIEW_DEFINITION",
            "IS_UPDATABLE",
        ],
    ),
    (
        "ROUTINES",
        &[
            "SPECIFIC_NAME",
            "ROUTINE_CATALOG",
            "ROUTINE_SCHEMA",
            "ROUTINE_NAME",
            "ROUTINE_TYPE",
            "DTD_IDENTIFIER",
            "ROUTINE_DEFINITION",
        ],
    ),
    (
        "PARAMETERS",
        &[
            "SPECIFIC_SCHEMA",
            "SPECIFIC_NAME",
            "ORDINAL_POSITION",
            "PARAMETER_NAME",
            "DATA_TYPE",
        ],
    ),
    (
        "TRIGGERS",
        &[
            "TRIGGER_SCHEMA",
            "TRIGGER_NAME",
            "EVENT_MANIPULATION",
            "EVENT_OBJECT_SCHEMA",
            "EVENT_OBJECT_TABLE",
            "ACTION_TIMING",
            "ACTION_STATEMENT",
            "DEFINER",
        ],
    ),
    (
        "EVENTS",
        &["EVENT_SCHEMA", "EVENT_NAME", "STATUS", "EVENT_TYPE", "DEFINER"],
    ),
    (
        "STATISTICS",
        &[
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "NON_UNIQUE",
            "INDEX_NAME",
            "SEQ_IN_INDEX",
            "COLUMN_NAME",
            "INDEX_TYPE",
        ],
    ),
    (
        "KEY_COLUMN_USAGE",
        &[
            "CONSTRAINT_SCHEMA",
            "CONSTRAINT_NAME",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "COLUMN_NAME",
            "ORDINAL_POSITION",
            "REFERENCED_TABLE_SCHEMA",
            "REFERENCED_TABLE_NAME",
            "REFERENCED_COLUMN_NAME",
        ],
    ),
    (
        "TABLE_CONSTRAINTS",
        &[
            "CONSTRAINT_SCHEMA",
            "CONSTRAINT_NAME",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "CONSTRAINT_TYPE",
        ],
    ),
    (
        "REFERENTIAL_CONSTRAINTS",
        &[
            "CONSTRAINT_SCHEMA",
            "CONSTRAINT_NAME",
            "TABLE_NAME",
            "REFERENCED_TABLE_NAME",
            "UPDATE_RULE",
            "DELETE_RULE",
        ],
    ),
    (
        "PARTITIONS",
        &[
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "PARTITION_NAME",
            "PARTITION_METHOD",
            "PARTITION_EXPRESSION",
        ],
    ),
    (
        "USER_PRIVILEGES",
        &["GRANTEE", "TABLE_CATALOG", "PRIVILEGE_TYPE", "IS_GRANTABLE"],
    ),
    (
        "SCHEMA_PRIVILEGES",
        &[
            "GRANTEE",
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "PRIVILEGE_TYPE",
            "IS_GRANTABLE",
        ],
    ),
    (
        "TABLE_PRIVILEGES",
        &[
            "GRANTEE",
            "TABLE_CATALOG",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "PRIVILEGE_TYPE",
            "IS_GRANTABLE",
        ],
    ),
    (
        "ENGINES",
        &["ENGINE", "SUPPORT", "COMMENT", "TRANSACTIONS", "XA", "SAVEPOINTS"],
    ),
];

/// The tables of these that a word of a statement names.
pub(in crate::admin) fn named(word: &str) -> Option<(&'static str, Table)> {
    if word.eq_ignore_ascii_case("CHARACTER_SETS") {
        return Some(("CHARACTER_SETS", character_sets()));
    }
    if word.eq_ignore_ascii_case("COLLATIONS") {
        return Some(("COLLATIONS", collations()));
    }
    let (name, columns) = EMPTY.iter().find(|(name, _)| word.eq_ignore_ascii_case(name))?;
    let columns = columns.iter().map(|column| ((*column).into(), Text));
    let table = Table {
        columns: columns.collect(),
        rows: Vec::new(),
    };
    Some((name, table))
}

fn character_sets() -> Table {
    let mut table = Table::new([
        ("CHARACTER_SET_NAME", Text),
        ("DEFAULT_COLLATE_NAME", Text),
        ("DESCRIPTION", Text),
        ("MAXLEN", Number),
    ]);
    table.rows.push(vec![
        "utf8mb4".into(),
        "utf8mb4_general_ci".into(),
        "UTF-8 Unicode".into(),
        4_u64.into(),
    ]);
    table
}

fn collations() -> Table {
    let columns: [(&str, Shape); 6] = [
        ("COLLATION_NAME", Text),
        ("CHARACTER_SET_NAME", Text),
        ("ID", Number),
        ("IS_DEFAULT", Text),
        ("IS_COMPILED", Text),
        ("SORTLEN", Number),
    ];
    let mut table = Table::new(columns);
    table.rows.push(vec![
        "utf8mb4_general_ci".into(),
        "utf8mb4".into(),
        45_u64.into(),
        "Yes".into(),
        "Yes".into(),
        1_u64.into(),
    ]);
    table
}
