//! What an operator looks at: the state of everything as JSON, for the page in a browser and for `tandem top`, and that page.
//!
//! Pure: snapshots go in. Texts of statements are without their literals.

pub mod page;
pub mod verdict;

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::admin::show::{self, milliseconds, precise};
use crate::admin::view::{self, PoolRow, SessionRow, WorkerView};
use crate::failover::controller::Status;
use crate::failover::coordination::Membership;
use crate::failover::events::Event;
use crate::history::{Change, History, Pause, Sample};
use crate::statistics::digest::{Counted, Place};
use crate::topology::{Role, Server, Topology};
use verdict::Verdict;

/// Sessions that are listed; all are counted.
pub const SESSIONS: usize = 20;
/// Shapes of statement that are listed.
pub const STATEMENTS: usize = 12;
/// Events that are listed.
pub const EVENTS: usize = 60;

/// All of it. Times are told as milliseconds before now, for the reader's clock may differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: String,
    pub uptime_ms: u64,
    pub verdict: Verdict,
    pub failover: Option<Failover>,
    pub servers: Vec<ServerState>,
    pub clients: Clients,
    /// Those with a number that was asked for, the oldest first.
    pub samples: Vec<Second>,
    /// How many seconds are kept.
    pub samples_kept: usize,
    pub pauses: Vec<PauseState>,
    /// The newest first.
    pub events: Vec<EventState>,
    /// Those on which most time was spent in the last minute.
    pub statements: Vec<Statement>,
    pub limits: Vec<Limit>,
}

/// What `SHOW FAILOVER` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    pub state: String,
    pub standby: Option<String>,
    pub obstacles: Vec<String>,
    /// With `[coordination]`: what this Tandem is.
    pub role: Option<String>,
    pub leader: Option<String>,
    pub members: Vec<String>,
    pub etcd: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerState {
    pub name: String,
    pub address: String,
    pub role: String,
    pub why: String,
    pub version: Option<String>,
    pub read_only: bool,
    pub receiving: Option<bool>,
    pub applying: Option<bool>,
    pub lag_ms: Option<u64>,
    pub probe_ms: Option<f64>,
    pub weight: u32,
    pub share_percent: u32,
    pub error: Option<String>,
    pub connections: Connections,
}

/// All workers' connections to one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    pub limit: usize,
    pub open: usize,
    pub leased: usize,
    pub pinned: usize,
    pub waiting: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    pub sessions: usize,
    pub in_transaction: usize,
    pub pinned: usize,
    /// Those that keep a connection, the longest first.
    pub holding: Vec<Session>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: u32,
    pub user: String,
    pub client: String,
    pub schema: String,
    pub command: String,
    pub target: Option<String>,
    /// Why it is tied to its connection.
    pub pins: String,
    pub transaction: bool,
    pub since_ms: u64,
    pub last_reason: String,
}

/// A sample; counts are of `span_ms`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    pub number: u64,
    pub age_ms: u64,
    pub span_ms: u64,
    pub statements: u64,
    pub writes: u64,
    pub server_errors: u64,
    pub own_errors: u64,
    pub holds: u64,
    pub retries: u64,
    pub refused: u64,
    pub sessions: usize,
    pub in_transaction: usize,
    pub pinned: usize,
    pub servers: Vec<ServerSecond>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSecond {
    pub role: String,
    pub lag_ms: Option<u64>,
    pub probe_ms: Option<f64>,
    pub reads: u64,
    pub writes: u64,
    pub leased: usize,
    pub waiting: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseState {
    pub age_ms: u64,
    pub lasted_ms: u64,
    pub over: bool,
    pub planned: bool,
    pub was: String,
    pub is: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventState {
    pub age_ms: u64,
    pub event: String,
    pub server: String,
    pub detail: String,
    pub took_ms: Option<u64>,
    /// Somebody should look.
    pub trouble: bool,
}

/// One shape of statement, in the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    pub digest: String,
    pub statement: String,
    pub count: u64,
    pub errors: u64,
    /// All of them together.
    pub total_ms: f64,
    pub average_ms: f64,
    pub p95_ms: f64,
    pub longest_ms: f64,
    /// Since they are counted, how much of them the standby answered.
    pub standby_percent: u64,
    /// And why they went where they went.
    pub reasons: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub name: String,
    pub limit: usize,
    pub used: usize,
}

/// What a state is made of.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub topology: &'a Topology,
    pub views: &'a [WorkerView],
    pub digests: &'a [Counted],
    pub failover: Option<&'a Status>,
    pub membership: Option<&'a Membership>,
    /// The newest first.
    pub events: &'a [Event],
    pub history: &'a History,
    pub uptime: Duration,
}

/// The state now, with the samples from number `since` on.
pub fn state(sources: &Sources<'_>, since: u64, now: Instant) -> State {
    let Sources {
        topology,
        views,
        history,
        ..
    } = *sources;
    let name = |id: crate::topology::ServerId| topology.server(id).name.to_string();
    let pools = || views.iter().flat_map(|view| &view.pools);
    let servers = topology.servers.iter().map(|server| {
        let mine = pools().filter(|pool| *pool.server == *server.name);
        server_state(server, connections(mine))
    });
    let samples = history.samples().filter(|sample| sample.number >= since);
    let recent = |pause: &&Pause| pause.lasted(now) > Duration::ZERO || pause.is != Some(pause.was);
    let pauses = history.pauses().filter(recent).map(|pause| PauseState {
        age_ms: age(pause.began, now),
        lasted_ms: milliseconds(pause.lasted(now)),
        over: pause.ended.is_some(),
        planned: pause.planned,
        was: name(pause.was),
        is: pause.is.map(name),
    });
    let mut state = State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: milliseconds(sources.uptime),
        verdict: Verdict::default(),
        failover: sources
            .failover
            .map(|status| failover(status, sources.membership)),
        servers: servers.collect(),
        clients: clients(views),
        samples: samples.map(|sample| second(sample, now)).collect(),
        samples_kept: crate::history::SAMPLES,
        pauses: pauses.collect(),
        events: events(sources, now),
        statements: statements(sources.digests),
        limits: limits(views),
    };
    state.verdict = verdict::verdict(&state, topology.holding.is_some(), &recent_totals(history, now));
    state
}

/// What came in the last minute.
fn recent_totals(history: &History, now: Instant) -> verdict::Minute {
    let mut minute = verdict::Minute::default();
    let lately = |sample: &&Sample| now.saturating_duration_since(sample.at) < verdict::LATELY;
    for sample in history.samples().rev().take_while(lately) {
        minute.own_errors += sample.own_errors;
        minute.refused += sample.refused;
    }
    minute
}

fn server_state(server: &Server, connections: Connections) -> ServerState {
    let replication = server.replication.as_ref();
    let said = replication.and_then(|replication| replication.error.as_ref());
    ServerState {
        name: server.name.to_string(),
        address: server.address.to_string(),
        role: show::role(server.role).to_owned(),
        why: server.why.to_string(),
        version: server.version.as_ref().map(show::version),
        read_only: server.read_only,
        receiving: replication.map(|it| it.receiving),
        applying: replication.map(|it| it.applying),
        lag_ms: replication.and_then(|it| it.lag).map(milliseconds),
        probe_ms: probe(server.probe_time.filter(|_| server.role != Role::Down)),
        weight: server.weight,
        share_percent: server.share,
        error: server.error.as_ref().or(said).map(ToString::to_string),
        connections,
    }
}

fn connections<'a>(pools: impl Iterator<Item = &'a PoolRow>) -> Connections {
    pools.fold(Connections::default(), |sum, pool| Connections {
        limit: sum.limit + pool.limit,
        open: sum.open + pool.open,
        leased: sum.leased + pool.leased,
        pinned: sum.pinned + pool.pinned,
        waiting: sum.waiting + pool.waiting,
    })
}

fn failover(status: &Status, membership: Option<&Membership>) -> Failover {
    Failover {
        state: status.state.clone(),
        standby: status.standby.clone(),
        obstacles: status.obstacles.clone(),
        role: membership.map(|it| it.role.to_owned()),
        leader: membership.and_then(|it| it.leader.clone()),
        members: membership.map(|it| it.members.clone()).unwrap_or_default(),
        etcd: membership.map(|it| it.etcd.clone()),
    }
}

fn clients(views: &[WorkerView]) -> Clients {
    let sessions = || views.iter().flat_map(|view| &view.sessions);
    let holds = |session: &&SessionRow| session.transaction || !session.pins.is_empty();
    let mut holding: Vec<&SessionRow> = sessions().filter(holds).collect();
    holding.sort_by_key(|session| (Reverse(session.since), session.id));
    holding.truncate(SESSIONS);
    let census = view::census(sessions());
    Clients {
        sessions: census.sessions,
        in_transaction: census.in_transaction,
        pinned: census.pinned,
        holding: holding.into_iter().map(session).collect(),
    }
}

fn session(row: &SessionRow) -> Session {
    Session {
        id: row.id,
        user: row.user.clone(),
        client: row.client.clone(),
        schema: row.schema.clone(),
        command: row.command.to_owned(),
        target: row.target.clone(),
        pins: row.pins.replace('_', " "),
        transaction: row.transaction,
        since_ms: milliseconds(row.since),
        last_reason: row.last_reason.to_owned(),
    }
}

fn second(sample: &Sample, now: Instant) -> Second {
    let servers = sample.servers.iter().map(|server| ServerSecond {
        role: show::role(server.role).to_owned(),
        lag_ms: server.lag.map(milliseconds),
        probe_ms: probe(server.probe),
        reads: server.reads,
        writes: server.writes,
        leased: server.leased,
        waiting: server.waiting,
    });
    Second {
        number: sample.number,
        age_ms: age(sample.at, now),
        span_ms: milliseconds(sample.span),
        statements: sample.statements,
        writes: sample.writes,
        server_errors: sample.server_errors,
        own_errors: sample.own_errors,
        holds: sample.holds,
        retries: sample.retries,
        refused: sample.refused,
        sessions: sample.sessions,
        in_transaction: sample.in_transaction,
        pinned: sample.pinned,
        servers: servers.collect(),
    }
}

/// What was decided; where Tandem does not decide, what it has seen.
fn events(sources: &Sources<'_>, now: Instant) -> Vec<EventState> {
    if sources.failover.is_some() {
        let told = sources.events.iter().take(EVENTS);
        return told.map(event).collect();
    }
    let seen = |change: &Change| EventState {
        age_ms: age(change.at, now),
        event: format!("{} → {}", show::role(change.was), show::role(change.is)),
        server: sources.topology.server(change.server).name.to_string(),
        detail: change.why.clone(),
        took_ms: None,
        trouble: matches!(change.is, Role::Down | Role::Detached),
    };
    let changes = sources.history.changes().rev().take(EVENTS);
    changes.map(seen).collect()
}

fn event(event: &Event) -> EventState {
    EventState {
        age_ms: milliseconds(event.age()),
        event: event.kind.name().to_owned(),
        server: event.server.clone(),
        detail: event.detail.clone(),
        took_ms: event.took.map(milliseconds),
        trouble: event.kind.is_trouble(),
    }
}

fn statements(digests: &[Counted]) -> Vec<Statement> {
    let mut recent: Vec<&Counted> = digests.iter().filter(|shape| shape.recent.count > 0).collect();
    recent.sort_by_key(|shape| Reverse(shape.recent.time));
    recent.truncate(STATEMENTS);
    recent.into_iter().map(statement).collect()
}

fn statement(shape: &Counted) -> Statement {
    let recent = &shape.recent;
    Statement {
        digest: shape.fingerprint.to_string(),
        statement: shape.statement.to_string(),
        count: recent.count,
        errors: recent.errors,
        total_ms: precise(recent.time),
        average_ms: precise(recent.average()),
        p95_ms: precise(recent.quantile(0.95)),
        longest_ms: precise(recent.longest),
        standby_percent: 100 * shape.at(Place::Standby) / shape.routed().max(1),
        reasons: show::reasons(shape.routes.iter()),
    }
}

fn limits(views: &[WorkerView]) -> Vec<Limit> {
    let sums = view::limits(views).into_iter();
    sums.map(|(name, limit, used)| Limit {
        name: name.to_owned(),
        limit,
        used,
    })
    .collect()
}

fn age(at: Instant, now: Instant) -> u64 {
    milliseconds(now.saturating_duration_since(at))
}

fn probe(time: Option<Duration>) -> Option<f64> {
    time.map(precise)
}

#[cfg(test)]
mod tests;
