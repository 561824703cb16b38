//! What the control path may know of the data path: plain owned data, copied out by the workers on request.
//!
//! Sessions and pools live on their worker's thread and are never shared; admin and metrics ask for a
//! [`WorkerView`] over a channel and look at the copy.

use std::future::Future;
use std::ops::AddAssign;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::classify::Fingerprint;
use crate::mirror::view as mirror;
use crate::net::address::Peer;
use crate::route::rules::book::RulesView;
use crate::session::registry::Census;
use crate::statistics::digest::{Counted, Counts};
use crate::statistics::latency::Latency;
use crate::statistics::trace::Trace;
use crate::worker::kill::{Order, Outcome};

/// One session, as `SHOW SESSIONS` shows it.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: u32,
    pub worker: usize,
    pub user: String,
    /// The client's address.
    pub client: String,
    /// The version of TLS that it speaks.
    pub tls: Option<&'static str>,
    /// How it compresses.
    pub compression: Option<&'static str>,
    pub schema: String,
    /// What it does now: `Sleep`, `Query`, …
    pub command: &'static str,
    /// The server's name, while a statement runs there or the session is pinned.
    pub target: Option<String>,
    /// The connection's thread id on that server, as its `SHOW PROCESSLIST` has it.
    pub backend_id: Option<u32>,
    /// Why it is pinned: reasons, separated by commas; empty if it isn't.
    pub pins: String,
    pub transaction: bool,
    /// How long it has been in this state.
    pub since: Duration,
    pub statements: u64,
    /// Why its last statement went where it went.
    pub last_reason: &'static str,
    /// The statement that runs, or ran last, without its values.
    pub statement: Option<Arc<str>>,
    /// Why it keeps its connection, in words; empty if it doesn't.
    pub held_by: String,
    /// The statement that pinned it, without its values.
    pub pinned_by: Option<Arc<str>>,
    /// For how long it has kept the connection.
    pub held: Option<Duration>,
}

/// One connection to a server, as `SHOW CONNECTIONS` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    pub server: String,
    pub worker: usize,
    /// The server's own number of it.
    pub backend_id: u32,
    pub user: String,
    /// `idle`, `busy` with a statement, or `held` by a session that thinks.
    pub state: &'static str,
    /// The session that has it, or had it last.
    pub session: Option<u32>,
    /// For how long it has been in this state.
    pub since: Duration,
    /// Of those that are idle: the schema, and how many statements are prepared there.
    pub schema: Option<String>,
    pub prepared: Option<usize>,
}

/// A statement that sessions of one worker have prepared, as `SHOW PREPARED_STATEMENTS` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRow {
    pub worker: usize,
    pub digest: Option<Fingerprint>,
    /// Without values.
    pub statement: Option<Arc<str>>,
    pub schema: Option<String>,
    pub parameters: u16,
    pub bytes: usize,
    /// How many sessions have it.
    pub sessions: usize,
}

/// What a worker tells only if it is asked for it: there may be much of it.
#[derive(Clone, Debug, Default)]
pub struct Details {
    pub connections: Vec<ConnectionRow>,
    pub prepared: Vec<PreparedRow>,
    /// See [`DataPath::trace`].
    pub traces: Vec<Trace>,
    /// By account what its statements came to.
    pub users: Vec<(String, Counts)>,
}

/// One worker's connections to one server, as `SHOW POOLS` shows them.
#[derive(Clone, Debug)]
pub struct PoolRow {
    pub worker: usize,
    pub server: String,
    /// Most connections that this worker may have to the server.
    pub limit: usize,
    pub open: usize,
    pub idle: usize,
    pub leased: usize,
    pub pinned: usize,
    /// Statements that wait for a connection now.
    pub waiting: usize,
    /// Statements that had to wait.
    pub waits: u64,
    /// Statements refused since too many waited, or one waited too long.
    pub refused: u64,
    /// The most connections that were open at once.
    pub most_open: usize,
    pub queue_limit: usize,
    /// The most statements that waited at once.
    pub most_waiting: usize,
    /// Those of the refused that were so since too many waited.
    pub queue_refused: u64,
    pub longest_wait: Duration,
    pub connects: u64,
    pub connect_errors: u64,
}

/// What a worker has of something that is bounded, as `SHOW LIMITS` shows it.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// The key of the configuration.
    pub name: &'static str,
    pub worker: usize,
    pub unit: Unit,
    /// This worker's share, or all of what can't be divided.
    pub limit: usize,
    pub used: usize,
    /// The most that was used at once.
    pub highest: usize,
    /// How often there was no more.
    pub refused: u64,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Shapes,
    Milliseconds,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Shapes => "shapes",
            Self::Milliseconds => "ms",
        }
    }
}

/// Room for routing reasons; the router has fewer.
pub const MAX_REASONS: usize = 32;

/// How many statements were routed for each reason.
///
/// The names are the router's: a worker is given them once and counts by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    names: &'static [&'static str],
    counts: [u64; MAX_REASONS],
}

impl Reasons {
    /// Names beyond [`MAX_REASONS`] are not counted.
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            counts: [0; MAX_REASONS],
        }
    }

    /// Counts one statement; `index` is the reason's place among the names.
    pub fn count(&mut self, index: usize) {
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.names.iter().copied().zip(self.counts.iter().copied())
    }
}

impl AddAssign<&Reasons> for Reasons {
    fn add_assign(&mut self, other: &Reasons) {
        if self.names.is_empty() {
            self.names = other.names;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }
}

/// One counter with its name and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

/// Declares the counters once: the field, its place in `SHOW COUNTERS` and metrics, and its help text,
/// which is its doc comment.
macro_rules! counters {
    ($( #[doc = $help:literal] $name:ident, )*) => {
        /// What one worker has counted since it started. Counters only grow.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $( #[doc = $help] pub $name: u64, )*
            /// Statements routed, for each reason.
            pub reasons: Reasons,
        }

        impl Counters {
            /// Every counter but the reasons, in the order of declaration.
            pub fn each(&self) -> Vec<Counter> {
                vec![$( Counter { name: stringify!($name), help: $help.trim_ascii(), value: self.$name }, )*]
            }

            /// What came after `before`, without the reasons.
            pub fn since(&self, before: &Self) -> Self {
                Self {
                    $( $name: self.$name.saturating_sub(before.$name), )*
                    reasons: Reasons::default(),
                }
            }
        }

        impl AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $( self.$name += other.$name; )*
                self.reasons += &other.reasons;
            }
        }
    };
}

counters! {
    /// Client connections accepted
    sessions_opened,
    /// Client connections ended
    sessions_closed,
    /// Panics that ended a session, or one of the worker's own tasks: defects of Tandem
    panics,
    /// Logins refused: wrong password, unknown user or database, too many sessions
    logins_refused,
    /// Logins not looked at because the address failed too often (listener.failed_logins)
    logins_held_up,
    /// Commands that clients sent, of every kind
    commands,
    /// Reads sent to the active master
    reads_active,
    /// Reads sent to the standby
    reads_standby,
    /// Reads that waited for the standby to apply more (consistency.read_wait)
    read_waits,
    /// Statements with a comment that begins with tandem: and was not understood
    wrong_hints,
    /// Statements that are not pure reads, sent to the active master
    writes,
    /// Commands that Tandem answered itself
    answered,
    /// Statements streamed without being read whole
    streamed,
    /// Errors that servers returned and Tandem passed on
    server_errors,
    /// Errors that Tandem itself returned
    own_errors,
    /// Bytes of commands received from clients
    client_received_bytes,
    /// Bytes of servers' replies sent to clients
    client_sent_bytes,
    /// Bytes received from clients that compress, as they came
    compressed_client_received_bytes,
    /// The same bytes uncompressed
    compressed_client_received_plain_bytes,
    /// Bytes sent to clients that compress, as they went
    compressed_client_sent_bytes,
    /// The same bytes uncompressed
    compressed_client_sent_plain_bytes,
    /// Bytes received from servers in compressed connections, as they came
    compressed_server_received_bytes,
    /// The same bytes uncompressed
    compressed_server_received_plain_bytes,
    /// Bytes sent to servers in compressed connections, as they went
    compressed_server_sent_bytes,
    /// The same bytes uncompressed
    compressed_server_sent_plain_bytes,
    /// Statements that the firewall does not know and let through with a warning
    firewall_warned,
    /// Statements that the firewall does not know and refused
    firewall_refused,
    /// Statements that clients prepared
    prepared,
    /// Statements prepared again on another connection
    reprepared,
    /// Session state brought to a connection ahead of a statement
    state_syncs,
    /// Connections reset before another session used them
    resets,
    /// Times a session became tied to its connection
    pins,
    /// Statement shapes found in the cache
    statement_cache_hits,
    /// Statement shapes that had to be analysed
    statement_cache_misses,
    /// Statements answered from the cache, as a rule wants it
    cache_hits,
    /// Statements that were looked for in the cache in vain
    cache_misses,
    /// Replies that were put into it
    cache_kept,
    /// Replies given up since something that they were read from was written, or may have been
    cache_invalidated,
    /// Replies given up since they were older than their rule allows
    cache_expired,
    /// Replies given up for the room they took (cache.bytes)
    cache_evicted,
    /// Statements sent again to another connection or server
    retries,
    /// Statements whose answer was lost with a server, and was made from the other's binary log
    answered_from_binlog,
    /// Statements that waited for an active master
    holds,
    /// Transactions played again on another server, or on the same one after it was lost
    replays,
    /// Transactions that could not be played again
    replays_failed,
    /// Statements sent again for that
    replayed_statements,
    /// Server connections lost while a session needed them
    connections_lost,
    /// Lines of the statement log that could not be written
    statement_log_lost,
}

/// Everything one worker tells.
#[derive(Clone, Debug, Default)]
pub struct WorkerView {
    pub sessions: Vec<SessionRow>,
    pub pools: Vec<PoolRow>,
    pub limits: Vec<LimitRow>,
    /// By server, in the order of the configuration.
    pub latencies: Vec<(String, Latency)>,
    pub rules: RulesView,
    pub counters: Counters,
}

/// What a worker tells once a second: cheap, whatever sessions it has.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    pub worker: usize,
    pub census: Census,
    pub counters: Counters,
    pub pools: Vec<PoolRow>,
}

impl Measure {
    /// The same from a view, which has more.
    fn of(worker: usize, view: WorkerView) -> Self {
        Self {
            worker,
            census: census(&view.sessions),
            counters: view.counters,
            pools: view.pools,
        }
    }

    /// Statements refused for want of a connection.
    pub fn refused(&self) -> u64 {
        self.pools.iter().map(|pool| pool.refused).sum()
    }
}

/// How many sessions are what.
pub fn census<'a>(sessions: impl IntoIterator<Item = &'a SessionRow>) -> Census {
    let looks = sessions.into_iter();
    Census::of(looks.map(|session| (session.transaction, !session.pins.is_empty())))
}

/// What there is so much of and no more, once each, with the sum of all workers: its name, the limit, and how much is used.
pub fn limits(views: &[WorkerView]) -> Vec<(&'static str, usize, usize)> {
    let rows = || views.iter().flat_map(|view| &view.limits);
    let names = views.first().into_iter().flat_map(|view| &view.limits);
    let sums = names.filter(|row| row.unit != Unit::Milliseconds).map(|named| {
        let same = || rows().filter(|row| row.name == named.name);
        let (limit, used) = (same().map(|row| row.limit), same().map(|row| row.used));
        (named.name, limit.sum(), used.sum())
    });
    sums.collect()
}

/// The sum of all workers' counters.
pub fn total(views: &[WorkerView]) -> Counters {
    let mut sum = Counters::default();
    for view in views {
        sum += &view.counters;
    }
    sum
}

/// What the router would do with a statement, as pairs of property and value:
/// kind, purity, target, reason, tables read and written, pins, fingerprint, …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    pub rows: Vec<(String, String)>,
}

/// What `EXPLAIN ROUTE` is asked: a statement of a session that need not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub user: Option<String>,
    pub schema: Option<String>,
    pub client: Option<Peer>,
    pub statement: String,
}

/// An answer from another thread.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What admin and metrics can ask of the data path.
pub trait DataPath: Send + Sync + 'static {
    /// One view for each worker that answers.
    fn views(&self) -> Answer<Vec<WorkerView>>;

    /// The same in short.
    fn measures(&self) -> Answer<Vec<Measure>> {
        let views = self.views();
        Box::pin(async move {
            let views = views.await.into_iter().enumerate();
            views.map(|(worker, view)| Measure::of(worker, view)).collect()
        })
    }

    /// The shapes of statement on which most time was spent, in the last minute and then in all, as many as `most`; of all
    /// workers together.
    fn digests(&self, most: usize) -> Answer<Vec<Counted>>;

    /// What else there is, one for each worker that answers.
    fn details(&self) -> Answer<Vec<Details>>;

    /// Has the steps of a session's next statements kept, so many; false if there is no such session.
    fn trace(&self, session: u32, statements: u32) -> Answer<bool>;

    /// What has come of what rules have mirrored.
    fn mirrors(&self) -> Answer<Vec<mirror::View>> {
        Box::pin(async { Vec::new() })
    }

    /// Has the numbers of all shapes begin anew.
    fn reset_statistics(&self) -> Answer<()>;

    /// Gives up all replies that are kept; how many they were.
    fn empty_cache(&self) -> Answer<usize>;

    /// How a new session's statement would be routed; nothing is run.
    fn explain(&self, question: Question) -> Answer<Explanation>;

    /// Ends a session or its statement.
    fn kill(&self, order: Order) -> Answer<Outcome>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        const NAMES: &[&str] = &["a", "b"];
        let mut one = WorkerView::default();
        one.counters.writes = 2;
        one.counters.reasons = Reasons::new(NAMES);
        one.counters.reasons.count(1);
        one.counters.reasons.count(MAX_REASONS);
        let sum = total(&[one.clone(), WorkerView::default(), one]);
        assert_eq!(sum.writes, 4);
        assert_eq!(sum.reasons.iter().collect::<Vec<_>>(), [("a", 0), ("b", 2)]);
        let writes = sum.each().into_iter().find(|counter| counter.name == "writes");
        assert_eq!(writes.map(|counter| counter.value), Some(4));
    }
}
