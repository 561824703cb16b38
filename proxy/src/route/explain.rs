//! `EXPLAIN ROUTE`: what would happen to a statement, in words. Nothing is run.

use std::time::Instant;

use super::{Reason, Situation, Written, decide};
use crate::admin::view::Explanation;
use crate::classify::facts::{Facts, TableName};
use crate::classify::{Dialect, normalise};
use crate::topology::{Flavor, Topology};
use crate::worker::Worker;

/// Longest normalised text shown.
const TEXT_LIMIT: usize = 1024;

/// Explains the route of `statement` for a new session.
pub fn explain(worker: &Worker, user: &str, schema: &str, statement: &[u8]) -> Explanation {
    let topology = worker.topology.load();
    let dialect = dialect(&topology);
    let classified = worker.classifier.borrow_mut().classify(statement, dialect);
    let facts = &classified.facts;
    let fresh = Situation {
        held: None,
        autocommit_off: false,
        serializable: false,
        system_schema: false,
        written: Written::Nothing,
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("statement", normalise(statement, dialect, TEXT_LIMIT));
    row("digest", format!("{:016x}", classified.fingerprint.0));
    if !user.is_empty() {
        row("user", user.to_owned());
    }
    if !schema.is_empty() {
        row("schema", schema.to_owned());
    }
    row("kind", format!("{:?}", facts.kind).to_lowercase());
    // Both candidates are named: which one a read gets depends on what they have to do at that moment.
    match decide(facts, &fresh, &topology, |active, _| active) {
        Ok(decision) if decision.reason == Reason::Balanced => {
            row("target", both(&topology));
            row("reason", decision.reason.name().to_owned());
        }
        Ok(decision) => {
            row("target", topology.server(decision.server).name.to_string());
            row("reason", decision.reason.name().to_owned());
        }
        Err(_) => {
            row("target", "none".to_owned());
            row("reason", "no active master".to_owned());
        }
    }
    if facts.purity == crate::classify::facts::Purity::Pure {
        let wrote = Situation {
            written: Written::Somewhere(Instant::now()),
            ..fresh
        };
        let after = decide(facts, &wrote, &topology, |active, _| active);
        if let Ok(decision) = after {
            let server = &topology.server(decision.server).name;
            row(
                "right after a write of the session",
                format!("{server} ({})", decision.reason.name()),
            );
        }
    }
    row("reads", names(&facts.tables.reads));
    row("writes", names(&facts.tables.writes));
    row(
        "tables complete",
        if facts.tables.complete { "yes" } else { "no" }.to_owned(),
    );
    row("keeps its connection", ties(facts));
    Explanation { rows }
}

fn both(topology: &Topology) -> String {
    let names: Vec<&str> = topology
        .active
        .map(|active| topology.server(active))
        .into_iter()
        .chain(topology.standby())
        .map(|server| &*server.name)
        .collect();
    names.join(" or ")
}

fn names(tables: &[TableName]) -> String {
    let names: Vec<String> = tables
        .iter()
        .map(|table| {
            if table.schema.is_empty() {
                table.name.to_string()
            } else {
                format!("{}.{}", table.schema, table.name)
            }
        })
        .collect();
    names.join(", ")
}

fn ties(facts: &Facts) -> String {
    if facts.pins.is_empty() {
        return "no".to_owned();
    }
    let pins: Vec<String> = facts
        .pins
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    pins.join(", ")
}

fn dialect(topology: &Topology) -> Dialect {
    let version = topology.servers.iter().find_map(|server| server.version.as_ref());
    Dialect {
        flavor: version.map_or(Flavor::MariaDb, |version| version.flavor),
        version: version.map_or(0, |version| version.number),
        ansi_quotes: false,
        no_backslash_escapes: false,
        ignore_space: false,
        multibyte: false,
    }
}
