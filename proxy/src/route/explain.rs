//! `EXPLAIN ROUTE`: what would happen to a statement, in words. Nothing is run.

use super::allowance::{Allowance, allowance};
use super::rules::trial::{Asked, Verdict, trials};
use super::rules::{self, can_be_refused, minute_now};
use super::{Aim, Reason, Situation, Written, decide};
use crate::admin::view::{Explanation, Question};
use crate::cache::fit;
use crate::classify::facts::{Effect, Facts, Purity, TableName, Tables};
use crate::classify::identity::parts;
use crate::classify::{Dialect, hint, normalise};
use crate::config::rule::{self, Rule};
use crate::config::{FirewallMode, show_duration};
use crate::firewall::Place;
use crate::mirror::shape::Shape;
use crate::topology::ledger::Needed;
use crate::topology::table::{NameKey, Named, TableKey};
use crate::topology::{Flavor, Topology};
use crate::worker::Worker;

/// Longest normalised text shown.
const TEXT_LIMIT: usize = 1024;

/// Explains the route of a new session's statement.
pub fn explain(worker: &Worker, question: &Question) -> Explanation {
    let statement = question.statement.as_bytes();
    let (user, schema) = (question.user.as_deref(), question.schema.as_deref());
    let topology = worker.topology.load();
    let dialect = dialect(&topology);
    let classified = worker.classifier.borrow_mut().classify(statement, dialect);
    let facts = &classified.facts;
    let config = worker.config();
    let account = config.user(user.unwrap_or_default());
    let book = worker.rules();
    let shape = rules::Shape {
        facts,
        text: statement,
        dialect,
    };
    let asked = Asked {
        user,
        schema,
        client: question.client,
        minute: minute_now(),
    };
    let tried = trials(book.rules(), shape, &asked);
    let found = tried
        .len()
        .checked_sub(1)
        .filter(|last| tried[*last].1 == Verdict::Holds);
    let actions = found.map(|index| &tried[index].0.actions);
    let by_rule = actions.and_then(|actions| actions.consistency);
    let fresh = Situation {
        held: None,
        autocommit_off: false,
        serializable: false,
        system_schema: false,
        schema: schema.and_then(|schema| NameKey::new(schema.as_bytes())),
        level: facts
            .hints
            .consistency
            .or(by_rule)
            .unwrap_or(config.level(account)),
        waits: config.failover.is_some(),
        delayed: None,
        written: Written::Nothing,
        aim: found.map_or(Aim::Any, |index| book.rules().aim(index)),
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("statement", normalise(statement, dialect, TEXT_LIMIT));
    row("digest", classified.fingerprint.to_string());
    if let Some(user) = user {
        row("user", user.to_owned());
    }
    if let Some(schema) = schema {
        row("schema", schema.to_owned());
    }
    if let Some(client) = question.client {
        row("client", client.host());
    }
    row("kind", facts.kind.name().to_owned());
    if let Some(verdict) = guarded(worker, question, facts, dialect) {
        row("firewall", verdict);
    }
    for (rule, verdict) in &tried {
        row(&format!("rule {}", rule.name), told(rule, verdict));
    }
    let untried = book.rules().len() - tried.len();
    if untried > 0 {
        row("rules behind it", format!("{untried}, not tried"));
    }
    let decided = decide(facts, &fresh, &topology, |active, _| active);
    if let Some(actions) = actions {
        if let Some(lifetime) = actions.cache {
            let told = fit::explain(facts, fresh.schema, &topology);
            let lifetime = show_duration(lifetime);
            row("answered from the cache", format!("for {lifetime}, {told}"));
        }
        if actions.refuse.is_some() {
            let refused = match can_be_refused(facts) {
                true => "the client gets error 1148, and no server is asked",
                false => "not refused: nothing keeps a session from ending its transaction",
            };
            row("refused", refused.to_owned());
        }
        if let Some(name) = &actions.mirror {
            row("mirrored", mirrored(name, Shape::of(facts, statement, dialect)));
        }
        if let (Some(aim), Ok(decision)) = (&actions.target, &decided) {
            let is_met = fresh.aim.is_met_by(decision.server, &topology);
            row(
                "the rule's target",
                obeyed(&aim.to_string(), decision.reason, is_met),
            );
        }
    }
    let timeout = actions.and_then(|actions| actions.timeout);
    let general = config.time_limits(account).statement;
    if let Some(told) = stopped(allowance(facts, timeout, general), user.unwrap_or_default()) {
        row("stopped", told);
    }
    // Both candidates are named: which one a read gets depends on what they have to do at that moment.
    match decided {
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
        row(
            "hint",
            format!("not understood, and so without effect; known is {}", hint::KNOWN),
        );
    }
    row("reads", read(&facts.tables, fresh.schema, &topology));
    row("writes", written(facts));
    row("definitions", definitions(&topology).to_owned());
    row("keeps its connection", ties(facts));
    Explanation { rows }
}

/// What the firewall says of it, where it looks at anybody's statements.
fn guarded(worker: &Worker, question: &Question, facts: &Facts, dialect: Dialect) -> Option<String> {
    if !worker.firewall.is_on() {
        return None;
    }
    let Some(user) = &question.user else {
        return Some(
            "it is asked for an account and its schema only: EXPLAIN ROUTE FOR app IN shop …".to_owned(),
        );
    };
    let config = worker.config();
    let mode = config.firewall_mode(config.user(user));
    if mode == FirewallMode::Off {
        return Some(format!("off for {user}"));
    }
    if !can_be_refused(facts) {
        return Some("not looked at: nothing keeps a session from ending its transaction".to_owned());
    }
    let place = Place::new(user, question.schema.as_deref().unwrap_or_default());
    let found = parts(question.statement.as_bytes(), dialect, worker.firewall.secret());
    let unknown = found.iter().find(|(part, _)| {
        // What would be prepared by a session is not known here.
        let identity = match part.runs_others {
            true => part.identity.open(),
            false => part.identity,
        };
        !worker.firewall.knows(&place, identity)
    });
    let Some((part, _)) = unknown else {
        return Some("known, let through".to_owned());
    };
    let new = match part.runs_others {
        true => "new (it runs what its text does not show, or can't be read)",
        false => "new",
    };
    let done = match mode {
        FirewallMode::Off => "let through",
        FirewallMode::Learn if part.runs_others => "let through, and listed",
        FirewallMode::Learn => "let through from then on",
        FirewallMode::Warn => "let through, with a warning",
        FirewallMode::Refuse => "the client gets error 1148, and no server is asked",
    };
    Some(format!("{new}: {done} ({})", mode.name()))
}

fn told(rule: &Rule, verdict: &Verdict) -> String {
    let actions = match rule.actions.given() {
        given if given.is_empty() => "nothing is done by it".to_owned(),
        given => rule::shown(&given),
    };
    match verdict {
        Verdict::Holds => format!("decides: {actions}"),
        Verdict::Sometimes(percent) => format!("decides for {percent} of 100 such statements: {actions}"),
        Verdict::Not(why) => format!("no: {why}"),
    }
}

/// After what time.
fn stopped(allowance: Allowance, user: &str) -> Option<String> {
    let (limit, by) = match allowance {
        Allowance::OfRule(limit) => (limit, "timeout of the rule".to_owned()),
        Allowance::OfAccount(limit) => (limit.most, limit.key("statement_timeout", user)),
        Allowance::Endless => return None,
    };
    Some(format!("after {} on a server ({by})", show_duration(limit)))
}

/// Whether a copy goes to the rule's mirror.
fn mirrored(name: &str, shape: Shape) -> String {
    match shape.skip {
        Some(why) => format!("not to {name}: {}", why.name()),
        None if shape.is_ordered => {
            format!("to {name}, outside of transactions; the order of the rows counts")
        }
        None => format!("to {name}, outside of transactions; the order of the rows does not count"),
    }
}

/// What becomes of a rule's target.
fn obeyed(aim: &str, reason: Reason, is_met: bool) -> String {
    let elsewhere =
        "; in a transaction, and where its state ties a session to its connection, it has no effect";
    if is_met && reason == Reason::Rule {
        return format!("{aim}{elsewhere}");
    }
    if is_met {
        return format!("{aim}, where it goes anyway ({})", reason.name());
    }
    let why = match reason {
        Reason::NoStandby | Reason::Balanced => "that server takes no reads now",
        reason if reason.passes() => "the standby lacks what the statement must see",
        _ => "only pure reads can be sent elsewhere than to the active master",
    };
    format!("{aim}, without effect: {why} ({})", reason.name())
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
