//! How many sessions and statements an account, a network of clients, and all together may have: counted over all workers, and shown
//! in the table `limits`.
//!
//! A session finds its quotas when it logs in, which takes a lock. A statement looks at its session's own list, and only where a rate
//! is set is there anything to count: one relaxed atomic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::Config;
use crate::net::address::Peer;

/// Most accounts that are counted by name though no `[[user]]` names them; the servers' own can be many.
const MOST_UNNAMED: usize = 10_000;

/// Whose a quota is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    All,
    Network(Arc<str>),
    User(Arc<str>),
}

impl Owner {
    /// The key that limits its sessions.
    fn sessions_key(&self) -> String {
        match self {
            Self::All => "listener.max_connections".to_owned(),
            Self::Network(name) => format!("network.{name}.max_connections"),
            Self::User(name) => format!("user.{name}.max_connections"),
        }
    }

    /// The key that limits its statements.
    fn rate_key(&self) -> String {
        match self {
            Self::All => "limits.statement_rate".to_owned(),
            Self::Network(name) => format!("network.{name}.statement_rate"),
            Self::User(name) => format!("user.{name}.statement_rate"),
        }
    }
}

/// What its owner may have, and has. A limit of 0 is none.
#[derive(Debug)]
pub struct Quota {
    owner: Owner,
    most_sessions: AtomicUsize,
    sessions: AtomicUsize,
    highest_sessions: AtomicUsize,
    refused_sessions: AtomicU64,
    /// Statements in a second.
    rate: AtomicU32,
    /// The second in the upper half, the statements in it in the lower one.
    window: AtomicU64,
    highest_rate: AtomicU32,
    refused_statements: AtomicU64,
}

/// What was refused, for the error and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub key: String,
    pub limit: usize,
}

/// One row of the table `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    pub limit: u64,
    pub current: u64,
    pub highest: u64,
    pub refused: u64,
    /// What it counts.
    pub unit: &'static str,
}

/// The clients of the listener, which counts them itself.
#[derive(Debug, Default)]
pub struct Clients {
    highest: AtomicUsize,
    refused: AtomicU64,
}

impl Clients {
    /// There are so many, a new one among them.
    pub fn come_to(&self, count: usize) {
        self.highest.fetch_max(count, Relaxed);
    }

    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

impl Quota {
    fn new(owner: Owner) -> Self {
        Self {
            owner,
            most_sessions: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            highest_sessions: AtomicUsize::new(0),
            refused_sessions: AtomicU64::new(0),
            rate: AtomicU32::new(0),
            window: AtomicU64::new(0),
            highest_rate: AtomicU32::new(0),
            refused_statements: AtomicU64::new(0),
        }
    }

    fn bound(&self, sessions: usize, rate: usize) {
        self.most_sessions.store(sessions, Relaxed);
        self.rate.store(u32::try_from(rate).unwrap_or(u32::MAX), Relaxed);
    }

    fn enter(self: &Arc<Self>) -> Result<Place, Exceeded> {
        let before = self.sessions.fetch_add(1, Relaxed);
        // Given back by drop, also where it is one too many.
        let place = Place(Arc::clone(self));
        let limit = self.most_sessions.load(Relaxed);
        if limit != 0 && before >= limit {
            self.refused_sessions.fetch_add(1, Relaxed);
            let key = self.owner.sessions_key();
            return Err(Exceeded { key, limit });
        }
        self.highest_sessions.fetch_max(before + 1, Relaxed);
        Ok(place)
    }

    /// Counts a statement in this second, or says that there have been enough.
    fn count(&self, second: u32) -> Result<(), Exceeded> {
        let limit = self.rate.load(Relaxed);
        if limit == 0 {
            return Ok(());
        }
        let mut counted = 0;
        let count = |window: u64| {
            let (of, count) = ((window >> 32) as u32, window as u32);
            counted = if of == second { count } else { 0 };
            (counted < limit).then(|| (u64::from(second) << 32) | u64::from(counted + 1))
        };
        if self.window.fetch_update(Relaxed, Relaxed, count).is_err() {
            self.refused_statements.fetch_add(1, Relaxed);
            let key = self.owner.rate_key();
            let limit = limit as usize;
            return Err(Exceeded { key, limit });
        }
        self.highest_rate.fetch_max(counted + 1, Relaxed);
        Ok(())
    }

    fn rows(&self, second: u32, rows: &mut Vec<Row>) {
        let limit = self.most_sessions.load(Relaxed);
        // Sessions in all are the listener's.
        if limit != 0 && self.owner != Owner::All {
            rows.push(Row {
                key: self.owner.sessions_key(),
                limit: limit as u64,
                current: self.sessions.load(Relaxed) as u64,
                highest: self.highest_sessions.load(Relaxed) as u64,
                refused: self.refused_sessions.load(Relaxed),
                unit: "sessions",
            });
        }
        let rate = self.rate.load(Relaxed);
        if rate != 0 {
            let window = self.window.load(Relaxed);
            let is_now = (window >> 32) as u32 == second;
            rows.push(Row {
                key: self.owner.rate_key(),
                limit: rate.into(),
                current: if is_now { u64::from(window as u32) } else { 0 },
                highest: self.highest_rate.load(Relaxed).into(),
                refused: self.refused_statements.load(Relaxed),
                unit: "statements in a second",
            });
        }
    }
}

/// A session in its quota, for as long as it lives.
#[derive(Debug)]
struct Place(Arc<Quota>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Relaxed);
    }
}

/// The quotas that a session is in.
#[derive(Debug)]
pub struct Places {
    places: Vec<Place>,
    epoch: Instant,
}

impl Places {
    /// Of a session that has not logged in.
    pub fn none() -> Self {
        Self {
            places: Vec::new(),
            epoch: Instant::now(),
        }
    }

    /// Counts a statement with each of them, up to the one that has had enough.
    ///
    /// # Errors
    /// Which that is.
    pub fn count_statement(&self) -> Result<(), Exceeded> {
        let has_rate = |place: &Place| place.0.rate.load(Relaxed) != 0;
        if !self.places.iter().any(has_rate) {
            return Ok(());
        }
        let second = second_since(self.epoch, Instant::now());
        // Account before network before all: a noisy one does not use up what others share.
        self.places
            .iter()
            .rev()
            .try_for_each(|place| place.0.count(second))
    }
}

/// From 1 on: a window of 0 is none.
fn second_since(epoch: Instant, now: Instant) -> u32 {
    let seconds = now.saturating_duration_since(epoch).as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX - 1) + 1
}

/// All quotas.
#[derive(Debug)]
pub struct Quotas {
    epoch: Instant,
    pub clients: Clients,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    config: Arc<Config>,
    quotas: HashMap<Owner, Arc<Quota>>,
}

impl Known {
    fn quota(&mut self, owner: Owner) -> Arc<Quota> {
        if let Some(quota) = self.quotas.get(&owner) {
            return Arc::clone(quota);
        }
        let quota = Arc::new(Quota::new(owner.clone()));
        bound(&quota, &self.config);
        self.quotas.insert(owner, Arc::clone(&quota));
        quota
    }
}

fn bound(quota: &Quota, config: &Config) {
    let (sessions, rate) = match &quota.owner {
        Owner::All => (0, config.limits.statement_rate),
        Owner::Network(name) => {
            let network = config.networks.iter().find(|network| *network.name == **name);
            network.map_or((0, 0), |network| {
                (network.max_connections, network.statement_rate)
            })
        }
        Owner::User(name) => {
            let user = config.user(name);
            let sessions = user.and_then(|user| user.max_connections);
            let rate = user.and_then(|user| user.statement_rate);
            (
                sessions.unwrap_or(config.limits.user_connections),
                rate.unwrap_or(config.limits.user_statement_rate),
            )
        }
    };
    quota.bound(sessions, rate);
}

impl Quotas {
    pub fn new(config: &Arc<Config>) -> Self {
        let quotas = Self {
            epoch: Instant::now(),
            clients: Clients::default(),
            known: Mutex::new(Known {
                config: Arc::clone(config),
                quotas: HashMap::new(),
            }),
        };
        quotas.renew(config);
        quotas
    }

    /// Goes by another configuration from now on. Who is in already stays.
    pub fn renew(&self, config: &Arc<Config>) {
        let mut known = self.known();
        known.config = Arc::clone(config);
        let named = config
            .users
            .iter()
            .map(|user| Owner::User(Arc::from(&*user.name)));
        let networks = config
            .networks
            .iter()
            .map(|network| Owner::Network(Arc::from(&*network.name)));
        for owner in named.chain(networks).chain([Owner::All]) {
            known.quota(owner);
        }
        for quota in known.quotas.values() {
            bound(quota, config);
        }
    }

    /// A session of this account, from there.
    ///
    /// # Errors
    /// Which quota is full.
    pub fn enter(&self, user: &str, client: Peer) -> Result<Places, Exceeded> {
        let mut known = self.known();
        let config = Arc::clone(&known.config);
        let mut owners = vec![Owner::All];
        for network in &config.networks {
            if matches!(client, Peer::Tcp(address) if network.addresses.contains(address.ip())) {
                owners.push(Owner::Network(Arc::from(&*network.name)));
            }
        }
        if known.quotas.len() > MOST_UNNAMED {
            let is_used = |quota: &Quota| quota.sessions.load(Relaxed) > 0;
            let is_named = |owner: &Owner| !matches!(owner, Owner::User(name) if config.user(name).is_none());
            known
                .quotas
                .retain(|owner, quota| is_used(quota) || is_named(owner));
        }
        owners.push(Owner::User(Arc::from(user)));
        let mut places = Vec::with_capacity(owners.len());
        for owner in owners {
            places.push(known.quota(owner).enter()?);
        }
        Ok(Places {
            places,
            epoch: self.epoch,
        })
    }

    /// What has a limit, by its key; there are so many clients now.
    pub fn rows(&self, clients: usize) -> Vec<Row> {
        let second = second_since(self.epoch, Instant::now());
        let known = self.known();
        let mut rows = vec![Row {
            key: Owner::All.sessions_key(),
            limit: known.config.listener.max_connections as u64,
            current: clients as u64,
            highest: self.clients.highest.load(Relaxed) as u64,
            refused: self.clients.refused.load(Relaxed),
            unit: "sessions",
        }];
        for quota in known.quotas.values() {
            quota.rows(second, &mut rows);
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// Each change leaves it whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn config(more: &str) -> Arc<Config> {
        let text = format!(
            r#"
listener.address = "127.0.0.1:6446"
admin = {{ address = "127.0.0.1:6447", user = "admin", password = "hunter2" }}
monitor = {{ user = "tandem", password = "hunter2" }}
server = [{{ name = "a", address = "127.0.0.1:3306" }}]
{more}
"#
        );
        Arc::new(crate::config::parse(&text).unwrap_or_else(|problems| panic!("{problems}")))
    }

    fn from(host: [u8; 4]) -> Peer {
        Peer::Tcp(SocketAddr::from((host, 40000)))
    }

    /// The first full quota is named, what is left gives its place back, and another configuration acts on who comes then.
    #[test]
    fn sessions_are_counted_by_account_and_network() {
        let quotas = Quotas::new(&config(
            r#"
limits = { user_connections = 2 }
user = [{ name = "app", password = "x" }, { name = "free", password = "x", max_connections = 0 }]
network = [{ name = "web", addresses = "10.1.0.0/16", max_connections = 3 }]
"#,
        ));
        let app = || quotas.enter("app", from([10, 2, 0, 1]));
        let kept = [app().expect("one"), app().expect("two")];
        let full = app().expect_err("one too many");
        assert_eq!(
            full,
            Exceeded {
                key: "user.app.max_connections".to_owned(),
                limit: 2
            }
        );
        let web: Vec<_> = (0..3)
            .map(|_| quotas.enter("free", from([10, 1, 2, 3])).expect("room"))
            .collect();
        let full = quotas
            .enter("free", from([10, 1, 9, 9]))
            .expect_err("the network is full");
        assert_eq!(full.key, "network.web.max_connections");
        quotas
            .enter("free", from([10, 2, 0, 1]))
            .expect("another network");
        quotas.enter("free", Peer::Local).expect("no network");
        drop(web);
        quotas.enter("free", from([10, 1, 9, 9])).expect("room again");
        drop(kept);
        let row = |key: &str| quotas.rows(0).into_iter().find(|row| row.key == key);
        let row = row("user.app.max_connections").expect("a row");
        assert_eq!((row.limit, row.current, row.highest, row.refused), (2, 0, 2, 1));
        quotas.renew(&config(
            "user = [{ name = \"app\", password = \"x\", max_connections = 1 }]",
        ));
        let _one = app().expect("one");
        assert_eq!(app().expect_err("fewer now").limit, 1);
    }

    #[test]
    fn statements_are_counted_by_the_second() {
        let quota = Quota::new(Owner::User(Arc::from("app")));
        quota.bound(0, 2);
        quota.count(7).expect("one");
        quota.count(7).expect("two");
        assert_eq!(
            quota.count(7).expect_err("too many").key,
            "user.app.statement_rate"
        );
        quota.count(8).expect("the next second");
        let mut rows = Vec::new();
        quota.rows(8, &mut rows);
        let row = &rows[0];
        assert_eq!((row.limit, row.current, row.highest, row.refused), (2, 1, 2, 1));
        quota.bound(0, 0);
        (0..100).try_for_each(|_| quota.count(8)).expect("no limit");
    }
}
