//! A worker: one thread with its own runtime, sessions, pools, statement cache and counters.
//!
//! Nothing here is shared between threads but what the control path hands in: the configuration, the
//! topology and the number of sessions. So a statement's way takes no lock and wakes no other core.

pub mod accounts;
pub mod failed_logins;
pub mod kill;
pub mod remote;
pub mod rsa_key;
pub mod schemas;
mod view;
pub mod vouchers;
mod warm;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;
use tokio::sync::Semaphore;
use tokio::sync::futures::Notified;
use tokio::task::JoinHandle;

use crate::admin::view::{Counters, Reasons};
use crate::backend::connect::{self, Target};
use crate::backend::sync::{Plan, Trackers};
use crate::backend::{Connection, ConnectionId, Key};
use crate::cache::{self, Cache};
use crate::classify::facts::{Facts, Kind, Links, Pins, Purity, Tables};
use crate::classify::hint::Hints;
use crate::classify::identity::Identified;
use crate::classify::matched::Matched;
use crate::classify::tally::Tally;
use crate::classify::{Classifier, Fingerprint, unreadable};
use crate::config::Config;
use crate::firewall::Sheets;
use crate::firewall::guard::Guard;
use crate::meter::Meter;
use crate::mirror::Mirrors;
use crate::mirror::entrance::Entrance;
use crate::monitor::{Signals, Trouble};
use crate::net::address::Peer;
use crate::net::buffer::Slab;
use crate::net::compressed::Codec;
use crate::net::tls::Tls;
use crate::pool::lease::Lease;
use crate::pool::{self, Pool, share};
use crate::quota::Quotas;
use crate::route::Reason;
use crate::route::balance::{Balance, Candidate};
use crate::route::rules::book::Book;
use crate::session::library::Library;
use crate::session::overrun::Times;
use crate::session::registry::{IdleLimits, Registry};
use crate::session::replay::record::{Limits, Shelf};
use crate::spans::Spans;
use crate::statement_log::StatementLog;
use crate::statistics::latency::Latency;
use crate::statistics::store::Digests;
use crate::statistics::trace::{Draw, Traces};
use crate::statistics::users::Users;
use crate::topology::{self, Flavor, Role, ServerId, Topology};
use accounts::{Account, Accounts, Method};
use failed_logins::FailedLogins;
use kill::Gun;
use remote::Workers;
use rsa_key::RsaKey;
use schemas::Schemas;
use vouchers::Vouchers;

/// Searches of a server's binary log by one worker at once; each has a connection of its own.
const LOOKUPS_AT_ONCE: usize = 4;

/// utf8mb4_general_ci
pub(crate) const UTF8MB4: u16 = 45;

/// How often idle things are looked at.
const TIDY_INTERVAL: Duration = Duration::from_millis(200);

/// What the trackers of a cleaned connection are set to, as most sessions want them.
const TRACKERS: Trackers = Trackers::Tandem { transactions: None };

/// How long a sleeping session may keep a connection only because its next statement might be
/// `SHOW WARNINGS`. Clients that ask for warnings ask at once.
const KEEP_DIAGNOSTICS: Duration = Duration::from_millis(200);

/// How long cleaning a connection that a session left in a mess may take.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(5);

/// By statement text.
type Collations = FxHashMap<Box<[u8]>, Box<[u8]>>;

/// What every worker is given at its start.
#[derive(Clone)]
pub struct Parts {
    pub config: Arc<Config>,
    pub statement_log: StatementLog,
    pub spans: Option<Spans>,
    pub accounts: Arc<Accounts>,
    pub rsa_key: RsaKey,
    pub failed_logins: Arc<FailedLogins>,
    pub quotas: Arc<Quotas>,
    pub tls: Tls,
    pub mirrors: Arc<Mirrors>,
    pub topology: topology::Shared,
    /// What the firewall knows, and the secret by which it does.
    pub firewall: (u64, Arc<Sheets>),
    pub signals: Signals,
    pub workers: usize,
    /// See [`Key::epoch`].
    pub epoch: Arc<AtomicU32>,
    /// All workers, this one among them, once all have started.
    pub peers: Arc<OnceLock<Workers>>,
}

/// Facts of what is not classified by its text.
pub struct KnownFacts {
    pub unreadable: Rc<Facts>,
    pub use_schema: Rc<Facts>,
    pub ask_active: Rc<Facts>,
    pub administer: Rc<Facts>,
    pub replicate: Rc<Facts>,
    /// Their commands have the facts of something else.
    pub prepare: Tally,
    pub fetch: Tally,
}

/// One worker's own things.
pub struct Worker {
    pub index: usize,
    /// What acts now; see [`Worker::adopt`].
    config: RefCell<Rc<Config>>,
    /// How many there have been.
    config_version: Cell<u64>,
    pub statement_log: StatementLog,
    pub accounts: Arc<Accounts>,
    pub rsa_key: RsaKey,
    pub failed_logins: Arc<FailedLogins>,
    pub quotas: Arc<Quotas>,
    pub tls: Tls,
    pub mirrors: Arc<Mirrors>,
    /// What it has given them, and what not.
    pub entrance: RefCell<Entrance>,
    pub topology: topology::Shared,
    pub slab: Rc<Slab>,
    pub codec: Rc<Codec>,
    pub firewall: Guard,
    /// By server.
    pub pools: Vec<Rc<Pool>>,
    pub classifier: RefCell<Classifier>,
    pub digests: RefCell<Digests>,
    pub users: RefCell<Users>,
    pub traces: RefCell<Traces>,
    pub draw: RefCell<Draw>,
    pub spans: Option<Spans>,
    /// By server.
    pub latencies: RefCell<Vec<Latency>>,
    pub library: Library,
    /// Replies that rules have kept.
    pub cache: RefCell<Cache>,
    /// For the transactions that are open.
    pub shelf: Shelf,
    /// How long things take that have a limit.
    pub times: Times,
    /// Bytes that its sessions hold, as of when that was last looked at.
    memory: Meter,
    pub registry: Rc<Registry>,
    pub schemas: Schemas,
    pub vouchers: Vouchers,
    pub known_facts: KnownFacts,
    /// The collation that a `SET NAMES` text leads to.
    pub collations: RefCell<Collations>,
    signals: Signals,
    epoch: Arc<AtomicU32>,
    peers: Arc<OnceLock<Workers>>,
    gun: Gun,
    counters: RefCell<Counters>,
    shares: RefCell<Balance>,
    /// Searches of a binary log that go on at once.
    pub lookups: Semaphore,
    rules: RefCell<Rc<Book>>,
    last_connection: Cell<u64>,
    said_uncompressed: Cell<bool>,
    /// Opens connections to the standby.
    warming: RefCell<Option<JoinHandle<()>>>,
    workers: usize,
    /// Statements that wait for an active master.
    held: Cell<usize>,
}

/// See [`Worker::hold`].
pub struct Hold(Rc<Worker>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get() - 1);
    }
}

/// A statement that may change who is let in, for as long as it is under way. Its client has its answer a moment before it is over here,
/// and may have somebody log in by then.
pub struct Change(Rc<Worker>);

impl Change {
    pub fn begin(worker: &Rc<Worker>) -> Self {
        worker.accounts.change();
        worker.begin_epoch();
        Self(Rc::clone(worker))
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.0.begin_epoch();
        self.0.accounts.changed();
    }
}

impl Worker {
    pub fn new(index: usize, parts: Parts) -> Rc<Self> {
        let Parts {
            config,
            statement_log,
            spans,
            accounts,
            rsa_key,
            failed_logins,
            quotas,
            tls,
            mirrors,
            topology,
            firewall: (secret, sheets),
            signals,
            workers,
            epoch,
            peers,
        } = parts;
        let bounds = bounds(&config, index, workers);
        let pools = config
            .servers
            .iter()
            .enumerate()
            .map(|(id, server)| Pool::new(ServerId(id), server, bounds));
        let slab = Rc::default();
        Rc::new(Self {
            index,
            codec: Codec::new(Rc::clone(&slab)),
            slab,
            firewall: Guard::new(secret, sheets, config.has_firewall()),
            said_uncompressed: Cell::new(false),
            warming: RefCell::default(),
            pools: pools.collect(),
            classifier: RefCell::new(Classifier::new(config.limits.statement_cache)),
            users: RefCell::default(),
            traces: RefCell::default(),
            draw: RefCell::new(match spans {
                Some(_) => draw(&config, index),
                None => Draw::new(0.0, 1),
            }),
            spans,
            latencies: RefCell::new(vec![Latency::default(); config.servers.len()]),
            digests: RefCell::new(Digests::new(config.statistics.digests, Instant::now())),
            library: Library::new(share::of(config.limits.prepared_bytes, index, workers)),
            cache: RefCell::new(Cache::new(cache_bounds(&config, index, workers))),
            shelf: Shelf::new(record_limits(&config, index, workers)),
            times: Times::default(),
            memory: Meter::default(),
            registry: Rc::default(),
            schemas: Schemas::default(),
            vouchers: Vouchers::default(),
            known_facts: KnownFacts::new(),
            collations: RefCell::default(),
            counters: RefCell::new(Counters {
                reasons: Reasons::new(&Reason::NAMES),
                ..Counters::default()
            }),
            shares: RefCell::default(),
            lookups: Semaphore::new(LOOKUPS_AT_ONCE),
            rules: RefCell::default(),
            last_connection: Cell::new(0),
            // Its own copy: counting who looks at it takes no other core's cache line away.
            config: RefCell::new(Rc::new(Config::clone(&config))),
            config_version: Cell::new(0),
            statement_log,
            accounts,
            rsa_key,
            failed_logins,
            quotas,
            tls,
            mirrors,
            entrance: RefCell::default(),
            topology,
            signals,
            epoch,
            peers,
            gun: Gun::default(),
            workers,
            held: Cell::new(0),
        })
    }

    /// What acts now.
    pub fn config(&self) -> Rc<Config> {
        Rc::clone(&self.config.borrow())
    }

    /// Another number for each configuration that has been.
    pub fn config_version(&self) -> u64 {
        self.config_version.get()
    }

    /// From now on this one acts: what is divided among the workers is divided anew, and whatever is over its limit now shrinks as it
    /// comes to rest.
    pub fn adopt(&self, config: &Config) {
        let bounds = bounds(config, self.index, self.workers);
        for pool in &self.pools {
            pool.bound(bounds);
        }
        let mut classifier = self.classifier.borrow_mut();
        classifier.keep_at_most(config.limits.statement_cache);
        self.digests.borrow_mut().keep_at_most(config.statistics.digests);
        self.firewall.switch(config.has_firewall());
        let prepared = share::of(config.limits.prepared_bytes, self.index, self.workers);
        self.library.bound(prepared);
        self.shelf.bound(record_limits(config, self.index, self.workers));
        let before = self.config();
        if (&before.server_tls, &before.server_compression)
            != (&config.server_tls, &config.server_compression)
        {
            // Sessions that come from now on get no connection of before.
            self.begin_epoch();
        }
        let mut cache = self.cache.borrow_mut();
        if config.rules.generation() != self.config.borrow().rules.generation() {
            // What is kept is so by the places of the rules that were.
            cache.clear();
        }
        cache.bound(cache_bounds(config, self.index, self.workers));
        if self.spans.is_some() {
            *self.draw.borrow_mut() = draw(config, self.index);
        }
        self.registry
            .limit_times(|user| config.time_limits(config.user(user)));
        let mirrors = self.mirrors.all();
        self.entrance
            .borrow_mut()
            .keep(|id| mirrors.iter().any(|mirror| mirror.id == id));
        *self.config.borrow_mut() = Rc::new(config.clone());
        self.config_version.set(self.config_version.get() + 1);
    }

    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.counters.borrow_mut());
    }

    /// The rules as they are now, with what this worker has counted of them.
    pub fn rules(&self) -> Rc<Book> {
        let config = self.config.borrow();
        let rules = &config.rules;
        let mut book = self.rules.borrow_mut();
        if book.rules().generation() != rules.generation() {
            *book = Rc::new(Book::new(rules.clone(), &book));
        }
        Rc::clone(&book)
    }

    /// The epoch of who logs in now, see [`Key::epoch`].
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Something went through that whoever connects from now on has to find.
    pub fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Runs what must not take the worker with it if it panics; nothing comes of it then.
    pub fn guard<T>(&self, run: impl FnOnce() -> T) -> Option<T> {
        let ran = catch_unwind(AssertUnwindSafe(run));
        if ran.is_err() {
            self.count(|counters| counters.panics += 1);
        }
        ran.ok()
    }

    /// Tells the monitor what the data path has seen of a server; the monitor looks at once.
    pub fn report(&self, server: ServerId, trouble: Trouble) {
        if matches!(trouble, Trouble::ConnectRefused | Trouble::ConnectionLost) {
            self.count(|counters| counters.connections_lost += 1);
        }
        self.signals.report(server, trouble);
    }

    /// A commit was noted in the mark: how far the standby has got is asked for at once.
    pub fn wake_followers(&self) {
        self.signals.committed();
    }

    /// Definitions may have changed: they are read again.
    pub fn wake_catalog(&self) {
        self.signals.defined();
    }

    /// Has a server asked at once.
    pub fn look(&self, server: ServerId, trouble: Trouble) {
        self.signals.report(server, trouble);
    }

    /// Ready when the next topology is published.
    pub fn published(&self) -> Notified<'_> {
        self.signals.published()
    }

    /// A place among the statements that wait for an active master, for as long as it lives; `None` where all are taken.
    pub fn hold(self: &Rc<Self>) -> Option<Hold> {
        let limit = self.config().failover.as_ref()?.hold_limit;
        let held = self.held.get();
        if held >= share::of(limit, self.index, self.workers) {
            return None;
        }
        self.held.set(held + 1);
        self.count(|counters| counters.holds += 1);
        Some(Hold(Rc::clone(self)))
    }

    /// Shares a read between the active master and the standby.
    pub fn balance(&self, topology: &Topology, active: ServerId, standby: ServerId) -> ServerId {
        let candidate = |id: ServerId| Candidate {
            // In percent; weights are bounded far below what this can't hold.
            weight: topology
                .server(id)
                .weight
                .saturating_mul(topology.server(id).share),
            outstanding: self.pools[id.0].outstanding.get(),
        };
        // In the configuration's order, so that the turns do not depend on who is active.
        let (first, second) = (active.min(standby), active.max(standby));
        match self
            .shares
            .borrow_mut()
            .choose([candidate(first), candidate(second)])
        {
            0 => first,
            _ => second,
        }
    }

    /// The version that clients are greeted with: the active master's, as it greets itself.
    pub fn greeting_version(&self) -> String {
        match self.topology.load().version() {
            // MariaDB before 11 puts "5.5.5-" before its version in the greeting, for old replicas' sake;
            // clients take it off again and know by it that it is MariaDB.
            Some(version) if version.flavor == Flavor::MariaDb && version.number < 110_000 => {
                format!("5.5.5-{}", version.text)
            }
            Some(version) => version.text.to_string(),
            None => "5.5.5-10.11.0-MariaDB".to_owned(),
        }
    }

    /// What the servers are, as far as it is known.
    pub fn flavor(&self) -> Flavor {
        self.topology.load().flavor().unwrap_or(Flavor::MariaDb)
    }

    /// The proof that clients are asked for: as the servers do it, so that a client that can log in there can
    /// log in here.
    pub fn greeting_method(&self) -> Method {
        match self.topology.load().flavor() {
            Some(Flavor::MySql) => Method::Sha2,
            _ => Method::Native,
        }
    }

    /// Whether the servers end a login with a proof that they know the password too; see
    /// [`vouch`](tandem_protocol::auth::vouch).
    pub fn vouches(&self) -> bool {
        let topology = self.topology.load();
        topology
            .version()
            .is_some_and(|version| version.flavor == Flavor::MariaDb && version.number >= 110_400)
    }

    /// utf8mb4 with the servers' own collation; clients that say nothing else use it.
    pub fn greeting_collation(&self) -> u8 {
        match self.topology.load().flavor() {
            // utf8mb4_0900_ai_ci and utf8mb4_general_ci.
            Some(Flavor::MySql) => 255,
            _ => 45,
        }
    }

    /// The handshake flags that an account's server connections must have, of those that its client negotiated.
    pub fn flags_for(&self, client: Capabilities, account: &Account) -> Capabilities {
        let config = self.config();
        let mut flags = connect::flags_for(client) | config.mirrored(client);
        if !config.allows_local_infile(account.configured_in(&config)) {
            flags -= Capabilities::LOCAL_FILES;
        }
        flags
    }

    /// Opens a connection to the server of `pool` on behalf of `client`, within the time allowed.
    ///
    /// # Errors
    /// See [`connect::Error`].
    pub async fn open(
        &self,
        pool: &Pool,
        key: Key,
        collation: u16,
        client: Peer,
    ) -> Result<Connection, connect::Error> {
        let config = self.config();
        let account = self.accounts.account(key.user).ok_or(connect::Error::NoKey)?;
        self.last_connection.set(self.last_connection.get() + 1);
        let target = Target {
            id: ConnectionId(self.last_connection.get()),
            server: pool.server,
            address: &pool.address,
            tls: &self.tls.servers,
            origin: pool.tells_origin.then_some(client),
            tls_name: &config.servers[pool.server.0].tls_name,
            key,
            account: &account,
            collation,
            max_prepared: config.pool.max_prepared,
            compression: config.server_compression.method(key.flags),
            codec: &self.codec,
            has_token: config.failover.is_some(),
            hashing: self.accounts.hashing(),
        };
        let bound = config.pool.connect_timeout;
        match tokio::time::timeout(bound, connect::open(target, &self.slab)).await {
            Ok(opened) => {
                self.note_uncompressed(pool, opened.as_ref().ok());
                opened
            }
            Err(_) => Err(connect::Error::Timeout(bound.as_millis())),
        }
    }

    /// A connection to a server as the account of `[monitor]`, outside of the pools.
    ///
    /// # Errors
    /// As [`Worker::open`].
    pub async fn open_for_monitor(&self, server: ServerId) -> Result<Connection, connect::Error> {
        let config = self.config();
        let server_config = &config.servers[server.0];
        let account = Account::of_tandem(&config.monitor.user, &config.monitor.password);
        let key = Key {
            user: account.id,
            flags: Capabilities::empty(),
            epoch: 0,
            origin: None,
        };
        self.last_connection.set(self.last_connection.get() + 1);
        let target = Target {
            id: ConnectionId(self.last_connection.get()),
            server,
            address: &server_config.address,
            tls: &self.tls.servers,
            origin: server_config.proxy_protocol.then_some(Peer::Local),
            tls_name: &server_config.tls_name,
            key,
            account: &account,
            collation: UTF8MB4,
            max_prepared: 1,
            compression: None,
            codec: &self.codec,
            has_token: false,
            hashing: self.accounts.hashing(),
        };
        let bound = config.pool.connect_timeout;
        match tokio::time::timeout(bound, connect::open(target, &self.slab)).await {
            Ok(opened) => opened,
            Err(_) => Err(connect::Error::Timeout(bound.as_millis())),
        }
    }

    /// Says once that a server does not compress as it should.
    fn note_uncompressed(&self, pool: &Pool, connection: Option<&Connection>) {
        let missing = connection.is_some_and(|connection| {
            let wanted = self.config().server_compression.method(connection.key.flags);
            connection.stream.compression() != wanted.map(|method| method.algorithm)
        });
        if missing && !self.said_uncompressed.replace(true) {
            tracing::warn!(
                server = %pool.name,
                "the server does not offer the compression that server_compression.algorithm asks for: it is spoken \
                 to without"
            );
        }
    }

    /// Cleans a connection that a session left with a transaction, locks or other state, so that these end
    /// now and not when somebody needs the connection.
    pub fn clean(self: &Rc<Self>, mut lease: Lease) {
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let cleaned = tokio::time::timeout(CLEAN_TIMEOUT, worker.reset(lease.connection_mut())).await;
            if matches!(cleaned, Ok(true)) {
                lease.release();
            }
        });
    }

    async fn reset(&self, connection: &mut Connection) -> bool {
        let wanted = Rc::new(connection.settings.after_reset(connection.reset_names));
        let Ok(plan) = Plan::between(&connection.known(), &wanted, &TRACKERS, connection.flavor, true) else {
            return false;
        };
        let mut bytes = std::mem::take(&mut connection.farewells);
        bytes.clear();
        let replies = plan.write(&mut bytes, connection.capabilities);
        if !matches!(exchange(connection, &bytes, replies).await, Some(0)) {
            return false;
        }
        self.count(|counters| counters.resets += 1);
        connection.insert_id_of = None;
        connection.assume(&plan, &wanted, TRACKERS);
        true
    }

    /// Wakes the sessions that wait for a server which is gone and whose place another has taken.
    pub async fn follow_topology(self: Rc<Self>) {
        loop {
            let mut published = std::pin::pin!(self.published());
            published.as_mut().enable();
            for server in &self.topology.load().servers {
                if self.is_replaced(server.id) {
                    self.guard(|| self.registry.abandon(server.id));
                }
            }
            published.await;
        }
    }

    /// Whether nobody needs to wait for a server any more: it was given up, or is down and another one is the active master.
    pub fn is_replaced(&self, server: ServerId) -> bool {
        let topology = self.topology.load();
        if topology.given_up == Some(server) {
            return true;
        }
        topology.active.is_some_and(|active| active != server) && topology.server(server).role == Role::Down
    }

    pub async fn tidy(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TIDY_INTERVAL);
        loop {
            ticks.tick().await;
            self.guard(|| self.tidy_now());
        }
    }

    fn tidy_now(self: &Rc<Self>) {
        let now = Instant::now();
        for pool in &self.pools {
            pool.tidy(now);
        }
        self.keep_standby_warm(now);
        self.library.tidy();
        self.measure_memory();
        let config = self.config();
        let in_transaction = config.limits.idle_transaction_timeout;
        let limits = IdleLimits {
            session: config.listener.idle_timeout,
            transaction: (!in_transaction.is_zero()).then_some(in_transaction),
        };
        let may_stop = !self.gun.is_stopping();
        let registry = &self.registry;
        let overdue = registry.tidy(now, limits, KEEP_DIAGNOSTICS, &self.times, may_stop);
        if !overdue.is_empty() {
            tokio::task::spawn_local(kill::Stopping::begin(self).stop_all(overdue));
        }
    }

    /// Has the steps of a session's next statements kept; false if it is not this worker's.
    pub fn trace(&self, session: u32, statements: u32) -> bool {
        let found = self.registry.find(session);
        if let Some(handle) = &found {
            handle.to_trace.set(statements);
        }
        found.is_some()
    }

    /// Begins all numbers anew that do not only grow.
    pub fn reset_statistics(&self) {
        self.digests.borrow_mut().reset();
        self.users.borrow_mut().reset();
        self.traces.borrow_mut().clear();
        for pool in &self.pools {
            pool.reset_highest();
        }
    }

    /// What its sessions hold: what has arrived and is not dealt with, prepared statements, and open transactions.
    fn measure_memory(&self) {
        let (prepared, recorded) = (self.library.taken().used(), self.shelf.taken().used());
        self.memory.set(self.slab.lent.used() + prepared + recorded);
    }

    /// This worker's share of `limits.session_memory`; 0 is no limit.
    fn memory_limit(&self) -> usize {
        match self.config().limits.session_memory {
            0 => 0,
            limit => share::of(limit, self.index, self.workers).max(1),
        }
    }

    /// Whether there is memory for one more session.
    pub fn has_memory(&self) -> bool {
        self.measure_memory();
        let limit = self.memory_limit();
        let has = limit == 0 || self.memory.used() < limit;
        if !has {
            self.memory.refuse();
        }
        has
    }
}

/// Sends commands that get so many replies without rows, and tells how many of them were refused; `None` where the connection was lost.
async fn exchange(connection: &mut Connection, commands: &[u8], replies: usize) -> Option<usize> {
    connection.stream.write_all(commands).await.ok()?;
    let mut refused = 0;
    for _ in 0..replies {
        let reply = crate::session::swallow(connection, Expect::Single).await.ok()?;
        refused += usize::from(reply.error.is_some());
    }
    Some(refused)
}

/// This worker's share of what bounds the pool of a server.
fn bounds(config: &Config, index: usize, workers: usize) -> pool::Bounds {
    pool::Bounds {
        connections: share::of(config.pool.max_connections, index, workers),
        queue: share::of(config.pool.queue_limit, index, workers),
        queue_timeout: config.pool.queue_timeout,
        idle_timeout: config.pool.idle_timeout,
    }
}

fn draw(config: &Config, index: usize) -> Draw {
    Draw::new(config.tracing.sample_ratio, RandomState::new().hash_one(index))
}

fn cache_bounds(config: &Config, index: usize, workers: usize) -> cache::Bounds {
    let bytes = share::of(config.cache.bytes, index, workers);
    cache::Bounds {
        bytes,
        reply: config.cache.reply_bytes.min(bytes),
    }
}

fn record_limits(config: &Config, index: usize, workers: usize) -> Limits {
    Limits {
        session: config
            .failover
            .as_ref()
            .map_or(0, |failover| failover.replay_bytes),
        worker: share::of(config.limits.recorded_bytes, index, workers),
    }
}

impl KnownFacts {
    fn new() -> Self {
        // No lexer makes such small numbers, but for one shape in 2^60.
        let mut number = 0;
        let mut named = |statement: &str| {
            number += 1;
            Tally::named(Fingerprint(number), statement, false)
        };
        let mut facts = |kind, purity, pins, statement: &str| {
            Rc::new(Facts {
                kind,
                purity,
                pins,
                unpins: Pins::empty(),
                links: Links::empty(),
                unreported: Vec::new(),
                tables: Tables::default(),
                hints: Hints::default(),
                tally: named(statement),
                matched: Matched::default(),
                parts: Identified::default(),
            })
        };
        let none = Pins::empty();
        Self {
            use_schema: facts(Kind::Use, Purity::SessionState, none, "COM_INIT_DB"),
            ask_active: facts(Kind::Show, Purity::ServerLocal, none, "(commands without a text)"),
            replicate: facts(Kind::Show, Purity::ServerLocal, Pins::UNKNOWN, "COM_BINLOG_DUMP"),
            administer: facts(Kind::Admin, Purity::Writes, none, "COM_REFRESH"),
            unreadable: Rc::new(Facts {
                tally: named("(longer than limits.statement_bytes)"),
                ..unreadable()
            }),
            prepare: named("COM_STMT_PREPARE"),
            fetch: named("COM_STMT_FETCH"),
        }
    }
}
