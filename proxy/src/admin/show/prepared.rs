//! `SHOW PREPARED_STATEMENTS`: what sessions have prepared.

use std::cmp::Reverse;

use super::super::table::{Shape, Table};
use super::super::view::{Details, PreparedRow};
use super::text;

use Shape::{Number, Text};

pub(in crate::admin) const PREPARED: [(&str, Shape); 7] = [
    ("worker", Number),
    ("digest", Text),
    ("sessions", Number),
    ("parameters", Number),
    ("bytes", Number),
    ("schema", Text),
    ("statement", Text),
];

/// Those first that most sessions have.
pub(in crate::admin) fn prepared(details: &[Details]) -> Table {
    let mut table = Table::new(PREPARED);
    let mut all: Vec<&PreparedRow> = details.iter().flat_map(|it| &it.prepared).collect();
    all.sort_by(|a, b| {
        let key = |row: &PreparedRow| (Reverse(row.sessions), row.worker);
        key(a).cmp(&key(b)).then_with(|| a.statement.cmp(&b.statement))
    });
    let row = |row: &&PreparedRow| {
        vec![
            row.worker.into(),
            row.digest.map(|digest| digest.to_string()).into(),
            row.sessions.into(),
            u32::from(row.parameters).into(),
            row.bytes.into(),
            row.schema.clone().into(),
            text(row.statement.as_ref()),
        ]
    };
    table.rows = all.iter().map(row).collect();
    table
}
