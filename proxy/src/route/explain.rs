//! `EXPLAIN ROUTE`: what would happen to a statement, in words. Nothing is run.

use super::{Reason, Situation, Written, decide};
use crate::admin::view::Explanation;
use crate::classify::facts::{Effect, Facts, Purity, TableName, Tables};
use crate::classify::{Dialect, normalise};
use crate::topology::ledger::Needed;
use crate::topology::table::{NameKey, Named, TableKey};
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
    let config = worker.config();
    let account = config.user(user);
    let fresh = Situation {
        held: None,
        autocommit_off: false,
        serializable: false,
        system_schema: false,
        schema: NameKey::new(schema.as_bytes()).filter(|_| !schema.is_empty()),
        level: facts.hints.consistency.unwrap_or(config.level(account)),
        waits: config.failover.is_some(),
        held_in: None,
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
    if facts.purity == Purity::Pure {
        row("consistency", fresh.level.name().to_owned());
    }
    if facts.hints.wrong {
        let known = "not understood; known is /* tandem:consistency=strict|session|eventual */";
        row("hint", known.to_owned());
    }
    row("reads", read(&facts.tables, fresh.schema, &topology));
    row("writes", written(facts));
    row("definitions", definitions(&topology).to_owned());
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

/// The tables that are read, each with what the standby lacks of it.
fn read(tables: &Tables, schema: Option<NameKey>, topology: &Topology) -> String {
    let mut parts: Vec<String> = tables
        .reads
        .iter()
        .map(|table| {
            let key = Named::new(&table.schema, &table.name).and_then(|named| named.within(schema));
            format!("{}{}", name(table), state(key, topology))
        })
        .collect();
    if !tables.complete {
        parts.push("others that can't be told from the text".to_owned());
    }
    parts.join(", ")
}

fn state(key: Option<TableKey>, topology: &Topology) -> String {
    let (Some(key), Some(mark), Some(standby)) = (key, &topology.mark, topology.standby()) else {
        return String::new();
    };
    let applied = mark.applied(standby.id);
    match mark.ledger().for_table(key) {
        Needed::Unknown => " (being written)".to_owned(),
        Needed::UpTo(0) => String::new(),
        Needed::UpTo(number) if number > applied => {
            let (stream, name) = (mark.stream(), &standby.name);
            let (newest, applied) = (stream.up_to(number), stream.up_to(applied));
            format!(" (written up to {newest}; {name} has applied {applied})")
        }
        Needed::UpTo(number) => format!(" (written up to {}; applied)", mark.stream().up_to(number)),
    }
}

/// Whether it is known what is behind the names.
fn definitions(topology: &Topology) -> &'static str {
    match topology.mark.as_ref().is_some_and(|mark| mark.has_catalog()) {
        true => "known",
        false if topology.servers.len() == 1 => "not read: there is one server only",
        false => "not known: reads and writes count for all tables",
    }
}

fn written(facts: &Facts) -> String {
    match facts.effect() {
        Effect::Nothing => String::new(),
        Effect::Tables => {
            let names: Vec<String> = facts.tables.writes.iter().map(name).collect();
            names.join(", ")
        }
        Effect::Everything => "any table, as far as the text tells".to_owned(),
    }
}

fn name(table: &TableName) -> String {
    match table.schema.is_empty() {
        true => table.name.to_string(),
        false => format!("{}.{}", table.schema, table.name),
    }
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
    version.map_or(Dialect::plain(Flavor::MariaDb, 0), |version| {
        Dialect::plain(version.flavor, version.number)
    })
}
