//! Snapshots → metrics. Names are stable: dashboards depend on them.
//!
//! The workers keep the counts, so counters are set to absolute values. Labels are bounded: the servers of the
//! configuration and its rules, the roles and the router's reasons.

use std::time::{Duration, Instant};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::admin::show;
use crate::admin::view::{self, Counters, PoolRow, WorkerView};
use crate::mirror::view::{State, View};
use crate::route::rules::book::RulesView;
use crate::statistics::latency::Latency;
use crate::topology::{Role, Server, Topology};

const ROLES: [Role; 4] = [Role::Active, Role::Standby, Role::Detached, Role::Down];

/// The gauges, with their help texts.
const GAUGES: [(&str, &str); 24] = [
    ("tandem_build_info", "1; the version is the label"),
    ("tandem_workers", "Worker threads that answered this scrape"),
    (
        "tandem_topology_epoch",
        "Grows by one each time the active master changes",
    ),
    (
        "tandem_reads_standby_ratio",
        "How much of the reads since the last scrape the standby was sent, from 0 to 1; NaN where there were none. \
         tandem_routed_total says why not more, SHOW READS on the admin port by statement",
    ),
    ("tandem_sessions", "Client connections open now"),
    (
        "tandem_sessions_in_transaction",
        "Client connections in a transaction now",
    ),
    (
        "tandem_sessions_pinned",
        "Client connections tied to one server connection now",
    ),
    (
        "tandem_mirror_up",
        "1 if the mirror could be logged in to, when that was last tried",
    ),
    ("tandem_mirror_waiting", "Statements that wait for the mirror now"),
    (
        "tandem_server_role",
        "1 for the role that the server has, 0 for the others",
    ),
    (
        "tandem_server_read_only",
        "1 if the server said that it is read-only",
    ),
    (
        "tandem_server_replicating",
        "1 if the server's receiver and applier run, 0 if not or unknown",
    ),
    (
        "tandem_server_lag_seconds",
        "Replication lag; +Inf while it is unknown, for it may be any",
    ),
    (
        "tandem_server_probe_seconds",
        "How long the last successful probe took",
    ),
    (
        "tandem_server_position_age_seconds",
        "Time since the server's position was asked for",
    ),
    (
        "tandem_limit",
        "The limit that the label names, of all workers together",
    ),
    ("tandem_limit_used", "How much of it is used"),
    ("tandem_pool_limit", "Most connections to the server"),
    ("tandem_pool_open_connections", "Connections to the server"),
    (
        "tandem_pool_idle_connections",
        "Connections to the server that no session holds",
    ),
    (
        "tandem_pool_leased_connections",
        "Connections to the server that a session holds",
    ),
    (
        "tandem_pool_pinned_connections",
        "Connections to the server that a session can't give back",
    ),
    ("tandem_pool_waiting", "Statements that wait for a connection now"),
    (
        "tandem_pool_longest_wait_seconds",
        "Longest time that a statement waited for a connection",
    ),
];

/// The counters that are not each a field of [`Counters`].
const LABELLED: [(&str, &str); 10] = [
    ("tandem_routed_total", "Statements routed, by reason"),
    (
        "tandem_rule_statements_total",
        "Statements that a rule has decided on, by what came of them; hits are all of these",
    ),
    (
        "tandem_mirror_statements_total",
        "Statements that a rule wants mirrored, by what came of them; mirrored are those that were handed over",
    ),
    (
        "tandem_statement_seconds_bucket",
        "Statements by the server that answered them, and how long they took at most, Tandem and the client's taking \
         of the reply included: a histogram's buckets, for histogram_quantile()",
    ),
    (
        "tandem_statement_seconds_count",
        "Statements by the server that answered them (statistics.enabled)",
    ),
    (
        "tandem_statement_microseconds_total",
        "Time that these statements took, in microseconds",
    ),
    (
        "tandem_pool_waits_total",
        "Statements that had to wait for a connection",
    ),
    (
        "tandem_pool_refused_total",
        "Statements refused for want of a connection",
    ),
    ("tandem_pool_connects_total", "Connections made to the server"),
    (
        "tandem_pool_connect_errors_total",
        "Connections to the server that failed",
    ),
];

/// Reads by where they went, counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    active: u64,
    standby: u64,
}

impl Reads {
    fn of(total: &Counters) -> Self {
        Self {
            active: total.reads_active,
            standby: total.reads_standby,
        }
    }

    /// The standby's part of what came after `before`. Less than before is what a worker that did not answer would add.
    fn ratio_since(&self, before: &Self) -> f64 {
        let active = self.active.saturating_sub(before.active);
        let standby = self.standby.saturating_sub(before.standby);
        standby as f64 / (active + standby) as f64
    }
}

/// Gives the current recorder the help texts.
pub(super) fn describe() {
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    for (name, help) in LABELLED {
        describe_counter!(name, help);
    }
    for count in Counters::default().each() {
        describe_counter!(total_name(count.name), count.help);
    }
}

/// Sets the current recorder's metrics to what the snapshots say.
pub(super) fn record(topology: &Topology, views: &[WorkerView], before: &mut Reads, now: Instant) {
    gauge!("tandem_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("tandem_workers").set(views.len() as f64);
    gauge!("tandem_topology_epoch").set(topology.epoch as f64);
    let total = view::total(views);
    let reads = Reads::of(&total);
    gauge!("tandem_reads_standby_ratio").set(reads.ratio_since(before));
    *before = reads;
    record_counters(&total);
    record_sessions(views);
    record_limits(views);
    record_latencies(views);
    record_rules(views);
    for server in &topology.servers {
        record_server(server, now);
        let pools = views.iter().flat_map(|view| &view.pools);
        record_pools(server, pools.filter(|pool| *pool.server == *server.name));
    }
}

fn record_counters(total: &Counters) {
    for count in total.each() {
        counter!(total_name(count.name)).absolute(count.value);
    }
    for (reason, value) in total.reasons.iter() {
        counter!("tandem_routed_total", "reason" => reason).absolute(value);
    }
}

fn record_sessions(views: &[WorkerView]) {
    let census = view::census(views.iter().flat_map(|view| &view.sessions));
    gauge!("tandem_sessions").set(census.sessions as f64);
    gauge!("tandem_sessions_in_transaction").set(census.in_transaction as f64);
    gauge!("tandem_sessions_pinned").set(census.pinned as f64);
}

fn record_limits(views: &[WorkerView]) {
    for (name, limit, used) in view::limits(views) {
        gauge!("tandem_limit", "name" => name).set(limit as f64);
        gauge!("tandem_limit_used", "name" => name).set(used as f64);
    }
}

fn record_rules(views: &[WorkerView]) {
    let RulesView { rules, counts } = RulesView::sum(views.iter().map(|view| &view.rules));
    for (rule, counts) in rules.iter().zip(&counts) {
        for (outcome, count) in counts.each() {
            counter!("tandem_rule_statements_total", "rule" => rule.name.clone(), "outcome" => outcome)
                .absolute(count);
        }
    }
}

pub(super) fn record_mirrors(mirrors: &[View]) {
    for mirror in mirrors {
        let is_up = matches!(mirror.state, State::Up);
        gauge!("tandem_mirror_up", "mirror" => mirror.name.clone()).set(truth(is_up));
        gauge!("tandem_mirror_waiting", "mirror" => mirror.name.clone()).set(mirror.filled.jobs as f64);
        for (outcome, count) in mirror.outcomes() {
            counter!("tandem_mirror_statements_total", "mirror" => mirror.name.clone(), "outcome" => outcome)
                .absolute(count);
        }
    }
}

fn record_latencies(views: &[WorkerView]) {
    for (index, (server, _)) in views
        .first()
        .iter()
        .flat_map(|view| view.latencies.iter().enumerate())
    {
        let mut all = Latency::default();
        for (_, latency) in views.iter().filter_map(|view| view.latencies.get(index)) {
            all += latency;
        }
        let name = "tandem_statement_seconds_bucket";
        for (bound, count) in all.up_to() {
            counter!(name, "server" => server.clone(), "le" => (bound / 1000.0).to_string()).absolute(count);
        }
        counter!(name, "server" => server.clone(), "le" => "+Inf").absolute(all.count());
        counter!("tandem_statement_seconds_count", "server" => server.clone()).absolute(all.count());
        let micros = u64::try_from(all.time.as_micros()).unwrap_or(u64::MAX);
        counter!("tandem_statement_microseconds_total", "server" => server.clone()).absolute(micros);
    }
}

fn record_server(server: &Server, now: Instant) {
    let name = server.name.to_string();
    for role in ROLES {
        gauge!("tandem_server_role", "server" => name.clone(), "role" => show::role(role))
            .set(truth(server.role == role));
    }
    let replication = server.replication.as_ref();
    let replicating = replication.is_some_and(|it| it.receiving && it.applying);
    let lag = replication
        .and_then(|it| it.lag)
        .map_or(f64::INFINITY, |lag| lag.as_secs_f64());
    let age = server
        .position_asked
        .map(|asked| now.saturating_duration_since(asked));
    gauge!("tandem_server_read_only", "server" => name.clone()).set(truth(server.read_only));
    gauge!("tandem_server_replicating", "server" => name.clone()).set(truth(replicating));
    gauge!("tandem_server_lag_seconds", "server" => name.clone()).set(lag);
    gauge!("tandem_server_probe_seconds", "server" => name.clone()).set(seconds(server.probe_time));
    gauge!("tandem_server_position_age_seconds", "server" => name).set(seconds(age));
}

/// One server's pools of all workers as one.
fn record_pools<'a>(server: &Server, pools: impl Iterator<Item = &'a PoolRow>) {
    let name = server.name.to_string();
    let pools: Vec<_> = pools.collect();
    let sum = |field: fn(&PoolRow) -> usize| pools.iter().map(|pool| field(pool)).sum::<usize>();
    let count = |field: fn(&PoolRow) -> u64| pools.iter().map(|pool| field(pool)).sum::<u64>();
    let longest = pools.iter().map(|pool| pool.longest_wait).max();
    for (metric, value) in [
        ("tandem_pool_limit", sum(|pool| pool.limit)),
        ("tandem_pool_open_connections", sum(|pool| pool.open)),
        ("tandem_pool_idle_connections", sum(|pool| pool.idle)),
        ("tandem_pool_leased_connections", sum(|pool| pool.leased)),
        ("tandem_pool_pinned_connections", sum(|pool| pool.pinned)),
        ("tandem_pool_waiting", sum(|pool| pool.waiting)),
    ] {
        gauge!(metric, "server" => name.clone()).set(value as f64);
    }
    gauge!("tandem_pool_longest_wait_seconds", "server" => name.clone())
        .set(longest.unwrap_or_default().as_secs_f64());
    for (metric, value) in [
        ("tandem_pool_waits_total", count(|pool| pool.waits)),
        ("tandem_pool_refused_total", count(|pool| pool.refused)),
        ("tandem_pool_connects_total", count(|pool| pool.connects)),
        (
            "tandem_pool_connect_errors_total",
            count(|pool| pool.connect_errors),
        ),
    ] {
        counter!(metric, "server" => name.clone()).absolute(value);
    }
}

fn total_name(name: &str) -> String {
    format!("tandem_{name}_total")
}

/// A gauge that was set keeps its value, so "not known" needs one of its own.
fn seconds(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64())
}

fn truth(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
