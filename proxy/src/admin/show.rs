//! Snapshots → tables: pure functions, with the time as an argument.

pub(super) mod config;
pub(super) mod connections;
pub(super) mod firewall;
pub(super) mod metrics;
pub(super) mod mirrors;
pub(super) mod prepared;
pub(super) mod traces;
pub(super) mod users;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Local};

use super::audit;
use super::command::{COMMANDS, Expression, Item};
use super::table::{Cell, Shape, Table};
use super::view::{self, Explanation, WorkerView};
use crate::config::Rights;
use crate::config::rule;
use crate::failover::controller::Status;
use crate::failover::coordination::Membership;
use crate::failover::events::Event;
use crate::quota;
use crate::route::Reason;
use crate::route::rules::book::RulesView;
use crate::statistics::digest::{Counted, Place, Route};
use crate::topology::{Flavor, Role, Server, Topology, Version};

use Shape::{Number, Text};

/// The one schema that the admin port has, for clients that must name one.
pub(super) const SCHEMA: &str = "tandem";

/// What the greeting and `SELECT VERSION()` say. The number is that of a dialect old enough that no client
/// expects more than the admin port has.
pub(super) const VERSION: &str = concat!("5.7.0-tandem-", env!("CARGO_PKG_VERSION"));

// The columns of each table.
pub(super) const SERVERS: [(&str, Shape); 15] = [
    ("name", Text),
    ("address", Text),
    ("role", Text),
    ("why", Text),
    ("version", Text),
    ("read_only", Text),
    ("receiving", Text),
    ("applying", Text),
    ("lag_ms", Number),
    ("position", Text),
    ("probe_ms", Number),
    ("age_ms", Number),
    ("weight", Number),
    ("share_percent", Number),
    ("error", Text),
];
pub(super) const SESSIONS: [(&str, Shape); 19] = [
    ("id", Number),
    ("worker", Number),
    ("user", Text),
    ("client", Text),
    ("tls", Text),
    ("compression", Text),
    ("schema", Text),
    ("command", Text),
    ("since_ms", Number),
    ("transaction", Text),
    ("target", Text),
    ("backend_id", Number),
    ("pins", Text),
    ("statements", Number),
    ("last_reason", Text),
    ("held_ms", Number),
    ("held_by", Text),
    ("pinned_by", Text),
    ("statement", Text),
];
pub(super) const POOLS: [(&str, Shape); 13] = [
    ("server", Text),
    ("worker", Number),
    ("limit", Number),
    ("open", Number),
    ("idle", Number),
    ("leased", Number),
    ("pinned", Number),
    ("waiting", Number),
    ("waits", Number),
    ("refused", Number),
    ("longest_wait_ms", Number),
    ("connects", Number),
    ("connect_errors", Number),
];
pub(super) const LIMITS: [(&str, Shape); 7] = [
    ("name", Text),
    ("worker", Number),
    ("limit", Number),
    ("current", Number),
    ("highest", Number),
    ("refused", Number),
    ("unit", Text),
];
pub(super) const COUNTERS: [(&str, Shape); 3] = [("counter", Text), ("value", Number), ("meaning", Text)];
pub(super) const READS: [(&str, Shape); 5] = [
    ("digest", Text),
    ("reads", Number),
    ("standby_percent", Number),
    ("on_active", Text),
    ("statement", Text),
];
pub(super) const RULES: [(&str, Shape); 13] = [
    ("place", Number),
    ("rule", Text),
    ("enabled", Text),
    ("conditions", Text),
    ("actions", Text),
    ("hits", Number),
    ("refused", Number),
    ("overruled", Number),
    ("limited", Number),
    ("broken_off", Number),
    ("rewritten", Number),
    ("cached", Number),
    ("not_cached", Number),
];
pub(super) const PROPERTIES: [(&str, Shape); 2] = [("property", Text), ("value", Text)];
pub(super) const EVENTS: [(&str, Shape); 5] = [
    ("seconds_ago", Text),
    ("event", Text),
    ("server", Text),
    ("detail", Text),
    ("took_ms", Number),
];
pub(super) const AUDIT: [(&str, Shape); 8] = [
    ("at", Text),
    ("connection", Number),
    ("user", Text),
    ("client", Text),
    ("what", Text),
    ("outcome", Text),
    ("detail", Text),
    ("took_ms", Number),
];
pub(super) const COMMANDS_COLUMNS: [(&str, Shape); 2] = [("command", Text), ("meaning", Text)];

/// `SHOW SERVERS`
pub(super) fn servers(topology: &Topology, now: Instant) -> Table {
    let mut table = Table::new(SERVERS);
    table.rows = topology
        .servers
        .iter()
        .map(|server| server_row(server, now))
        .collect();
    table
}

fn server_row(server: &Server, now: Instant) -> Vec<Cell> {
    let replication = server.replication.as_ref();
    let age = server
        .position_asked
        .map(|asked| now.saturating_duration_since(asked));
    // The probe's own failure says more than what replication last said.
    let error = server
        .error
        .as_ref()
        .or_else(|| replication.and_then(|replication| replication.error.as_ref()));
    vec![
        server.name.to_string().into(),
        server.address.to_string().into(),
        role(server.role).into(),
        server.why.to_string().into(),
        server.version.as_ref().map(version).into(),
        yes_no(server.read_only).into(),
        replication.map(|it| yes_no(it.receiving)).into(),
        replication.map(|it| yes_no(it.applying)).into(),
        replication.and_then(|it| it.lag).map(milliseconds).into(),
        server.position.to_string().into(),
        server.probe_time.map(milliseconds).into(),
        age.map(milliseconds).into(),
        server.weight.into(),
        server.share.into(),
        error.map(|error| error.to_string()).into(),
    ]
}

/// `SHOW SESSIONS`, by id.
pub(super) fn sessions(views: &[WorkerView]) -> Table {
    let mut table = Table::new(SESSIONS);
    let mut sessions: Vec<_> = views.iter().flat_map(|view| &view.sessions).collect();
    sessions.sort_by_key(|session| session.id);
    table.rows = sessions
        .into_iter()
        .map(|session| {
            vec![
                session.id.into(),
                session.worker.into(),
                session.user.clone().into(),
                session.client.clone().into(),
                session.tls.into(),
                session.compression.into(),
                session.schema.clone().into(),
                session.command.into(),
                milliseconds(session.since).into(),
                yes_no(session.transaction).into(),
                session.target.clone().into(),
                session.backend_id.into(),
                session.pins.clone().into(),
                session.statements.into(),
                session.last_reason.into(),
                session.held.map(milliseconds).into(),
                session.held_by.clone().into(),
                text(session.pinned_by.as_ref()),
                text(session.statement.as_ref()),
            ]
        })
        .collect();
    table
}

/// `SHOW POOLS`, by server and worker.
pub(super) fn pools(views: &[WorkerView]) -> Table {
    let mut table = Table::new(POOLS);
    let mut pools: Vec<_> = views.iter().flat_map(|view| &view.pools).collect();
    pools.sort_by(|a, b| (&a.server, a.worker).cmp(&(&b.server, b.worker)));
    table.rows = pools
        .into_iter()
        .map(|pool| {
            vec![
                pool.server.clone().into(),
                pool.worker.into(),
                pool.limit.into(),
                pool.open.into(),
                pool.idle.into(),
                pool.leased.into(),
                pool.pinned.into(),
                pool.waiting.into(),
                pool.waits.into(),
                pool.refused.into(),
                milliseconds(pool.longest_wait).into(),
                pool.connects.into(),
                pool.connect_errors.into(),
            ]
        })
        .collect();
    table
}

/// `SHOW LIMITS`: what is counted over all workers, then by name and worker.
pub(super) fn limits(views: &[WorkerView], quotas: &[quota::Row]) -> Table {
    let mut table = Table::new(LIMITS);
    let mut limits: Vec<_> = views.iter().flat_map(|view| &view.limits).collect();
    limits.sort_by_key(|row| (row.name, row.worker));
    let mut pools: Vec<_> = views.iter().flat_map(|view| &view.pools).collect();
    pools.sort_by_key(|row| (&row.server, row.worker));
    table.rows = quotas
        .iter()
        .map(|row| {
            vec![
                row.key.clone().into(),
                Cell::Null,
                row.limit.into(),
                row.current.into(),
                row.highest.into(),
                row.refused.into(),
                row.unit.into(),
            ]
        })
        .collect();
    table.rows.extend(limits.into_iter().map(|row| {
        vec![
            row.name.into(),
            row.worker.into(),
            row.limit.into(),
            row.used.into(),
            row.highest.into(),
            row.refused.into(),
            row.unit.name().into(),
        ]
    }));
    table.rows.extend(pools.into_iter().flat_map(|row| {
        let (server, worker) = (&row.server, row.worker);
        [
            vec![
                format!("pool.max_connections ({server})").into(),
                worker.into(),
                row.limit.into(),
                row.open.into(),
                row.most_open.into(),
                (row.refused - row.queue_refused).into(),
                "connections".into(),
            ],
            vec![
                format!("pool.queue_limit ({server})").into(),
                worker.into(),
                row.queue_limit.into(),
                row.waiting.into(),
                row.most_waiting.into(),
                row.queue_refused.into(),
                "statements".into(),
            ],
        ]
    }));
    table
}

/// `SHOW RULES`, in their order, with what all workers have counted.
pub(super) fn rules(views: &[WorkerView]) -> Table {
    let mut table = Table::new(RULES);
    let RulesView { rules, counts } = RulesView::sum(views.iter().map(|view| &view.rules));
    for (place, (rule, counts)) in rules.iter().zip(&counts).enumerate() {
        let mut row = vec![
            (place + 1).into(),
            rule.name.clone().into(),
            yes_no(rule.enabled).into(),
            rule::shown(&rule.conditions.given()).into(),
            rule::shown(&rule.actions.given()).into(),
        ];
        row.extend(counts.each().map(|(_, count)| Cell::from(count)));
        table.rows.push(row);
    }
    table
}

/// `SHOW COUNTERS`: the workers' sum, then the routing reasons as `routed: reason`.
pub(super) fn counters(views: &[WorkerView]) -> Table {
    let mut table = Table::new(COUNTERS);
    let total = view::total(views);
    table.rows = total
        .each()
        .into_iter()
        .map(|counter| vec![counter.name.into(), counter.value.into(), counter.help.into()])
        .collect();
    table.rows.extend(total.reasons.iter().map(|(name, value)| {
        vec![
            format!("routed: {name}").into(),
            value.into(),
            "Statements routed for this reason".into(),
        ]
    }));
    table
}

/// `SHOW READS`: the most read shapes of statement, the most read first. Reads that may go to both servers and went to the
/// active one are `balanced`.
pub(super) fn reads(counted: Vec<Counted>, most: usize) -> Table {
    let mut table = Table::new(READS);
    let mut shapes: Vec<Counted> = counted
        .into_iter()
        .filter(|shape| shape.reads && shape.routed() > 0)
        .collect();
    shapes.sort_by_key(|shape| Reverse(shape.routed()));
    shapes.truncate(most);
    table.rows = shapes.iter().map(reads_row).collect();
    table
}

fn reads_row(shape: &Counted) -> Vec<Cell> {
    vec![
        shape.fingerprint.to_string().into(),
        shape.routed().into(),
        (100 * shape.at(Place::Standby) / shape.routed().max(1)).into(),
        reasons(shape.routes.iter().filter(|route| route.place == Place::Active)).into(),
        shape.statement.to_string().into(),
    ]
}

/// Why how many went somewhere, the most first.
pub(crate) fn reasons<'a>(routes: impl Iterator<Item = &'a Route>) -> String {
    let mut routes: Vec<&Route> = routes.collect();
    routes.sort_by_key(|route| Reverse(route.count));
    let name = |reason: u8| {
        Reason::NAMES
            .get(usize::from(reason))
            .copied()
            .unwrap_or_default()
    };
    let reasons: Vec<String> = routes
        .iter()
        .map(|route| format!("{} {}", name(route.reason), route.count))
        .collect();
    reasons.join(", ")
}

/// `SHOW FAILOVER`
pub(super) fn failover(
    status: Option<&Status>,
    membership: Option<&Membership>,
    topology: &Topology,
) -> Table {
    let mut table = Table::new(PROPERTIES);
    let mut add = |property: &'static str, value: Cell| table.rows.push(vec![property.into(), value]);
    let Some(status) = status else {
        let active = topology.active.map(|id| topology.server(id).name.to_string());
        add(
            "mode",
            "off or follower: Tandem follows read_only, and promotes nobody".into(),
        );
        add("active", active.into());
        return table;
    };
    add("active", status.active.clone().into());
    add("standby", status.standby.clone().into());
    add("epoch", status.epoch.to_string().into());
    add("state", status.state.clone().into());
    add("could_fail_over", yes_no(status.obstacles.is_empty()).into());
    for obstacle in &status.obstacles {
        add("why_not", obstacle.clone().into());
    }
    if let Some(membership) = membership {
        add("tandem", membership.name.clone().into());
        add("role", membership.role.into());
        add("leader", membership.leader.clone().into());
        for member in &membership.members {
            add("member", member.clone().into());
        }
        add("etcd", membership.etcd.clone().into());
    }
    table
}

/// `SHOW EVENTS`
pub(super) fn events(events: &[Event]) -> Table {
    let mut table = Table::new(EVENTS);
    let row = |event: &Event| {
        vec![
            format!("{:.3}", event.age().as_secs_f64()).into(),
            event.kind.name().into(),
            event.server.clone().into(),
            event.detail.clone().into(),
            event.took.map(milliseconds).into(),
        ]
    };
    table.rows = events.iter().map(row).collect();
    table
}

/// `SHOW AUDIT`
pub(super) fn audit(entries: &[audit::Entry]) -> Table {
    let mut table = Table::new(AUDIT);
    let row = |entry: &audit::Entry| {
        let at = DateTime::<Local>::from(entry.at);
        vec![
            at.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into(),
            entry.connection.into(),
            entry.user.clone().into(),
            entry.peer.to_string().into(),
            entry.what.clone().into(),
            entry.outcome.name().into(),
            entry.outcome.detail().map(str::to_owned).into(),
            milliseconds(entry.took).into(),
        ]
    };
    table.rows = entries.iter().map(row).collect();
    table
}

/// `SHOW GRANTS`, in the words of a server.
pub(super) fn grants(user: &str, rights: Rights) -> Table {
    let mut table = Table::new([("Grants for the admin port", Text)]);
    let granted = match (rights.read, rights.act) {
        (true, true) => "ALL PRIVILEGES",
        (true, false) => "SELECT",
        (false, true) => "EXECUTE",
        (false, false) => "USAGE",
    };
    let name = user.replace('`', "``");
    table
        .rows
        .push(vec![format!("GRANT {granted} ON *.* TO `{name}`@`%`").into()]);
    table
}

/// What a command has come to.
pub(super) fn done(text: String) -> Table {
    let mut table = Table::new([("result", Text)]);
    table.rows.push(vec![text.into()]);
    table
}

/// `SHOW COMMANDS`
pub(super) fn commands() -> Table {
    let mut table = Table::new(COMMANDS_COLUMNS);
    table.rows = COMMANDS
        .iter()
        .map(|(command, meaning)| vec![(*command).into(), (*meaning).into()])
        .collect();
    table
}

/// `EXPLAIN ROUTE …`
pub(super) fn explanation(explanation: Explanation) -> Table {
    let mut table = Table::new([("property", Text), ("value", Text)]);
    table.rows = explanation
        .rows
        .into_iter()
        .map(|(property, value)| vec![property.into(), value.into()])
        .collect();
    table
}

/// `SHOW WARNINGS`: none.
pub(super) fn warnings() -> Table {
    Table::new([("Level", Text), ("Code", Number), ("Message", Text)])
}

/// What a client may ask about its own connection.
#[derive(Clone, Debug)]
pub(super) struct Client<'a> {
    pub(super) id: u32,
    pub(super) user: &'a str,
    pub(super) schema: Option<&'static str>,
}

impl Client<'_> {
    /// The account as servers name it: from anywhere.
    pub(super) fn grantee(&self) -> String {
        format!("{}@%", self.user)
    }
}

/// `SELECT …` without tables; `None` if an expression has no value here.
pub(super) fn selected(items: &[Item], client: &Client<'_>) -> Option<Table> {
    let mut table = Table::default();
    let mut row = Vec::with_capacity(items.len());
    for item in items {
        let cell = evaluate(&item.value, client)?;
        let shape = match cell {
            Cell::Number(_) | Cell::Integer(_) => Number,
            Cell::Real(_) => Shape::Real,
            Cell::Text(_) | Cell::Null => Text,
        };
        table.columns.push((item.name.clone().into(), shape));
        row.push(cell);
    }
    table.rows.push(row);
    Some(table)
}

/// What `SHOW VARIABLES` shows.
pub(super) fn variables() -> Table {
    let mut table = Table::new([("Variable_name", Text), ("Value", Text)]);
    table.rows = VARIABLES
        .iter()
        .filter_map(|&name| {
            let value = match variable(name)? {
                Cell::Number(number) => number.to_string().into(),
                cell => cell,
            };
            Some(vec![name.into(), value])
        })
        .collect();
    table
}

fn evaluate(expression: &Expression, client: &Client<'_>) -> Option<Cell> {
    let cell = match expression {
        Expression::Number(number) => (*number).into(),
        Expression::Text(text) => text.clone().into(),
        Expression::Null => Cell::Null,
        Expression::Function(name) => match name.as_str() {
            "version" => VERSION.into(),
            "database" | "schema" => client.schema.into(),
            "user" | "current_user" | "session_user" => client.grantee().into(),
            "connection_id" => client.id.into(),
            _ => return None,
        },
        Expression::Variable(name) => return variable(name),
    };
    Some(cell)
}

/// The names that [`variable`] knows.
const VARIABLES: [&str; 23] = [
    "auto_increment_increment",
    "autocommit",
    "character_set_client",
    "character_set_connection",
    "character_set_database",
    "character_set_results",
    "character_set_server",
    "collation_connection",
    "collation_database",
    "collation_server",
    "init_connect",
    "interactive_timeout",
    "lower_case_table_names",
    "max_allowed_packet",
    "socket",
    "sql_mode",
    "system_time_zone",
    "time_zone",
    "transaction_isolation",
    "tx_isolation",
    "version",
    "version_comment",
    "wait_timeout",
];

/// The variables that drivers read at connect: mysql_async, JDBC, mysql-connector-python, the `mariadb` client.
fn variable(name: &str) -> Option<Cell> {
    let cell = match name {
        "version" => VERSION.into(),
        "version_comment" => "Tandem admin".into(),
        "max_allowed_packet" => super::stream::MAX_STATEMENT.into(),
        "wait_timeout" | "interactive_timeout" => 28_800_u64.into(),
        "autocommit" | "auto_increment_increment" => 1_u64.into(),
        "lower_case_table_names" => 0_u64.into(),
        "character_set_client"
        | "character_set_connection"
        | "character_set_results"
        | "character_set_server"
        | "character_set_database" => "utf8mb4".into(),
        "collation_connection" | "collation_server" | "collation_database" => "utf8mb4_general_ci".into(),
        "sql_mode" | "init_connect" => "".into(),
        "time_zone" | "system_time_zone" => "SYSTEM".into(),
        "tx_isolation" | "transaction_isolation" => "REPEATABLE-READ".into(),
        "socket" => Cell::Null,
        _ => return None,
    };
    Some(cell)
}

/// A role as operators read it.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Standby => "standby",
        Role::Detached => "detached",
        Role::Down => "down",
    }
}

pub(crate) fn version(version: &Version) -> String {
    let flavor = match version.flavor {
        Flavor::MariaDb => "MariaDB",
        Flavor::MySql => "MySQL",
    };
    // MariaDB names itself in its version, MySQL does not.
    if version.text.contains(flavor) {
        version.text.to_string()
    } else {
        format!("{} {flavor}", version.text)
    }
}

/// What there may be none of is empty.
pub(super) fn text(text: Option<&Arc<str>>) -> Cell {
    text.map_or_else(String::new, |text| text.to_string()).into()
}

pub(super) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds, to the microsecond: what is less depends on the day.
pub(crate) fn precise(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

pub(super) fn real_milliseconds(time: Duration) -> Cell {
    Cell::Real(precise(time))
}

#[cfg(test)]
mod tests;
