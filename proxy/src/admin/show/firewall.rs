//! `SHOW FIREWALL`: what accounts may send, and what else was seen.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local};

use super::super::table::{Cell, Shape, Table};
use crate::classify::identity::Identity;
use crate::firewall::keeper::Entry;

use Shape::{Number, Text};

pub(in crate::admin) const FIREWALL: [(&str, Shape); 13] = [
    ("account", Text),
    ("schema", Text),
    ("state", Text),
    ("digest", Text),
    ("statement", Text),
    ("hits", Number),
    ("first_seen", Text),
    ("learned_at", Text),
    ("last_seen", Text),
    ("warned", Number),
    ("refused", Number),
    ("client", Text),
    ("note", Text),
];

/// The new ones first.
pub(in crate::admin) fn firewall(entries: &[Entry]) -> Table {
    let mut table = Table::new(FIREWALL);
    table.rows = entries.iter().map(row).collect();
    table
}

fn row(entry: &Entry) -> Vec<Cell> {
    let state = match entry.learned_at {
        Some(_) => "learned",
        None => "new",
    };
    let note = if entry.digest == Identity::UNREADABLE.digest {
        "texts that can't be read to their end, or are longer than limits.statement_bytes: never learnt, and all of them or none are accepted"
    } else if entry.runs_others {
        "runs statements that its text does not show: never learnt, and accepted with whatever they are"
    } else {
        ""
    };
    vec![
        entry.place.account.to_string().into(),
        entry.place.schema.to_string().into(),
        state.into(),
        entry.digest.to_string().into(),
        entry.statement.to_string().into(),
        entry.hits.into(),
        time(entry.first_seen),
        entry.learned_at.map_or(Cell::Null, time),
        time(entry.last_seen),
        entry.counts.warned.into(),
        entry.counts.refused.into(),
        entry.client.clone().into(),
        note.into(),
    ]
}

/// In seconds since 1970; 0 is never.
fn time(at: u64) -> Cell {
    if at == 0 {
        return Cell::Null;
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at));
    let local = at.map(|at| {
        DateTime::<Local>::from(at)
            .format("%Y-%m-%d %H:%M:%S")
            .to_string()
    });
    local.into()
}
