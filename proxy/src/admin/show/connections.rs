//! `SHOW CONNECTIONS`: each connection to a server, and who has it.

use super::super::table::{Shape, Table};
use super::super::view::{ConnectionRow, Details};
use super::milliseconds;

use Shape::{Number, Text};

pub(in crate::admin) const CONNECTIONS: [(&str, Shape); 9] = [
    ("server", Text),
    ("worker", Number),
    ("backend_id", Number),
    ("user", Text),
    ("state", Text),
    ("since_ms", Number),
    ("session", Number),
    ("schema", Text),
    ("prepared", Number),
];

/// By server and the server's number.
pub(in crate::admin) fn connections(details: &[Details]) -> Table {
    let mut table = Table::new(CONNECTIONS);
    let mut all: Vec<&ConnectionRow> = details.iter().flat_map(|it| &it.connections).collect();
    all.sort_by(|a, b| (&a.server, a.backend_id).cmp(&(&b.server, b.backend_id)));
    let row = |row: &&ConnectionRow| {
        vec![
            row.server.clone().into(),
            row.worker.into(),
            row.backend_id.into(),
            row.user.clone().into(),
            row.state.into(),
            milliseconds(row.since).into(),
            row.session.into(),
            row.schema.clone().into(),
            row.prepared.into(),
        ]
    };
    table.rows = all.iter().map(row).collect();
    table
}
