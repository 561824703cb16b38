//! A worker's connections to one server: lent to sessions, at most `limit` of them, waiting sessions served in turn.
//!
//! The process-wide limit for a server is divided among the workers, so that lending takes no lock and
//! wakes no other core. A released connection stays with the session that used it as a soft lease: it is
//! idle, anybody may take it, and the session finds it unchanged if nobody did.

pub mod census;
pub mod lease;
pub mod share;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::admin::view::ConnectionRow;
use crate::backend::{Connection, ConnectionId, Key, Origin, UserId, connect};
use crate::config;
use crate::net::address::{Endpoint, Peer};
use crate::session::settings::Settings;
use crate::topology::ServerId;
use census::Census;
use lease::{Grant, Lease, Permit};

/// Why no connection could be had.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "no connection to server '{server}' became free within {waited} ms (pool.queue_timeout): all {limit} of this \
         worker's share of pool.max_connections are in use and {waiting} statements wait"
    )]
    Timeout {
        server: String,
        waited: u128,
        limit: usize,
        waiting: usize,
    },
    #[error(
        "{waiting} statements wait for server '{server}' already, which is this worker's share of pool.queue_limit; \
         all {limit} of its connections are in use"
    )]
    QueueFull {
        server: String,
        waiting: usize,
        limit: usize,
    },
    #[error("server '{server}' {error}")]
    Connect {
        server: String,
        #[source]
        error: connect::Error,
    },
    #[error("Tandem is stopping")]
    Stopping,
}

/// Bounds of one worker's pool for one server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: usize,
    pub queue: usize,
    pub queue_timeout: Duration,
    pub idle_timeout: Duration,
}

/// Numbers that `SHOW POOLS` and the metrics tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    pub waits: u64,
    pub refused: u64,
    /// Those of them that found too many waiting.
    pub queue_refused: u64,
    pub most_open: usize,
    pub most_waiting: usize,
    pub longest_wait: Duration,
    pub connects: u64,
    pub connect_errors: u64,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

struct Waiter {
    key: Key,
    grant: oneshot::Sender<Grant>,
}

/// Who does not wait any more leaves the queue: its time is up, or its client has gone.
struct PlaceInQueue<'a>(&'a Pool);

impl Drop for PlaceInQueue<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.0.state.borrow_mut().waiting;
        waiting.retain(|waiter| !waiter.grant.is_closed());
    }
}

#[derive(Default)]
struct State {
    /// In the order of their release, the longest idle first.
    idle: Vec<Idle>,
    waiting: VecDeque<Waiter>,
    /// Connections that exist or are being opened.
    open: usize,
    numbers: Numbers,
}

impl State {
    fn open_one(&mut self) {
        self.open += 1;
        self.numbers.most_open = self.numbers.most_open.max(self.open);
    }
}

/// One worker's connections to one server.
pub struct Pool {
    pub server: ServerId,
    pub name: Rc<str>,
    pub address: Endpoint,
    /// Its connections begin with a PROXY header: it sees where clients come from.
    pub tells_origin: bool,
    bounds: Cell<Bounds>,
    state: RefCell<State>,
    /// Of the connections that exist.
    pub census: Rc<Census>,
    /// Leased connections that a session keeps beyond one statement.
    pub held: Cell<usize>,
    /// Statements the server is working on for this worker.
    pub outstanding: Cell<usize>,
}

impl Pool {
    pub fn new(id: ServerId, server: &config::Server, bounds: Bounds) -> Rc<Self> {
        Rc::new(Self {
            server: id,
            name: Rc::from(server.name.as_str()),
            address: server.address.clone(),
            tells_origin: server.proxy_protocol,
            bounds: Cell::new(bounds),
            state: RefCell::default(),
            census: Rc::default(),
            held: Cell::new(0),
            outstanding: Cell::new(0),
        })
    }

    /// What connections for `client` have in their key.
    pub fn origin_of(&self, client: Peer) -> Option<Origin> {
        self.tells_origin.then(|| client.into())
    }

    pub fn limit(&self) -> usize {
        self.bounds.get().connections
    }

    pub fn queue_limit(&self) -> usize {
        self.bounds.get().queue
    }

    /// Whoever waits gets the room that there is more of at once. Connections that are too many are closed when nobody uses them.
    pub fn bound(self: &Rc<Self>, bounds: Bounds) {
        self.bounds.set(bounds);
        let too_many: Vec<Idle> = {
            let mut state = self.state.borrow_mut();
            let count = state
                .open
                .saturating_sub(bounds.connections)
                .min(state.idle.len());
            state.idle.drain(..count).collect()
        };
        for idle in too_many {
            drop(Lease::new(idle.connection, Rc::clone(self)));
        }
        while self.limit() > self.open()
            && let Some(waiter) = self.next_waiter()
        {
            self.state.borrow_mut().open_one();
            // Of one that has given up, the permit comes back and is freed.
            let _ = waiter.grant.send(Grant::Permit(Permit::new(Rc::clone(self))));
        }
    }

    /// Whether more are open than may be.
    fn is_over(&self) -> bool {
        self.open() > self.limit()
    }

    pub fn open(&self) -> usize {
        self.state.borrow().open
    }

    pub fn idle(&self) -> usize {
        self.state.borrow().idle.len()
    }

    pub fn waiting(&self) -> usize {
        self.state.borrow().waiting.len()
    }

    pub fn numbers(&self) -> Numbers {
        self.state.borrow().numbers
    }

    pub fn note_connect(&self, succeeded: bool) {
        let numbers = &mut self.state.borrow_mut().numbers;
        numbers.connects += u64::from(succeeded);
        numbers.connect_errors += u64::from(!succeeded);
    }

    /// Waits in line for whatever is released first, where [`Pool::acquire_now`] has given nothing.
    ///
    /// # Errors
    /// [`Error::QueueFull`] and [`Error::Timeout`] when the bounds are reached.
    pub async fn acquire(self: &Rc<Self>, key: Key) -> Result<Grant, Error> {
        let receiver = self.enqueue(key)?;
        let place = PlaceInQueue(self);
        let started = Instant::now();
        let granted = tokio::time::timeout(self.bounds.get().queue_timeout, receiver).await;
        let waited = started.elapsed();
        {
            let numbers = &mut self.state.borrow_mut().numbers;
            numbers.longest_wait = numbers.longest_wait.max(waited);
            numbers.refused += u64::from(granted.is_err());
        }
        match granted {
            Ok(Ok(grant)) => {
                // Who gave it has taken the place away.
                std::mem::forget(place);
                Ok(grant)
            }
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => {
                drop(place);
                Err(Error::Timeout {
                    server: self.name.to_string(),
                    waited: waited.as_millis(),
                    limit: self.limit(),
                    waiting: self.waiting(),
                })
            }
        }
    }

    /// Takes exactly the connection that is named, if it is idle.
    pub fn take_back(self: &Rc<Self>, connection: ConnectionId) -> Option<Lease> {
        let found = {
            let mut state = self.state.borrow_mut();
            let index = state
                .idle
                .iter()
                .rposition(|idle| idle.connection.id == connection)?;
            state.idle.remove(index).connection
        };
        let mut lease = Lease::new(found, Rc::clone(self));
        // One that the server has closed is dropped here, which frees its place.
        (!lease.connection_mut().is_disturbed()).then_some(lease)
    }

    /// Lends a connection: the session's last one if it is still there, else one whose settings fit, else any,
    /// else the permit to open one. `None` where others wait, or all are in use.
    pub fn acquire_now(
        self: &Rc<Self>,
        key: Key,
        last: Option<ConnectionId>,
        wanted: &Rc<Settings>,
    ) -> Option<Grant> {
        // Who waits goes first: a newcomer must not overtake.
        if !self.state.borrow().waiting.is_empty() {
            return None;
        }
        while let Some(connection) = self.take_idle(key, last, wanted) {
            let mut lease = Lease::new(connection, Rc::clone(self));
            if !lease.connection_mut().is_disturbed() {
                return Some(Grant::Lease(lease));
            }
        }
        // What is idle now belongs to other accounts, or has a schema in the way.
        self.place_now().map(Grant::Permit)
    }

    pub fn has_idle(&self, key: Key) -> bool {
        let state = self.state.borrow();
        state.idle.iter().any(|idle| idle.connection.key == key)
    }

    /// The permit for one more connection, in the place of the one that has been idle longest if need be; `None` where
    /// somebody waits, or all are in use.
    pub fn permit_now(self: &Rc<Self>) -> Option<Permit> {
        let nobody_waits = self.state.borrow().waiting.is_empty();
        nobody_waits.then(|| self.place_now())?
    }

    /// The permit for one more connection that nobody has asked for: it takes no other's place.
    pub fn spare(self: &Rc<Self>) -> Option<Permit> {
        let mut state = self.state.borrow_mut();
        if state.open >= self.limit() || !state.waiting.is_empty() {
            return None;
        }
        state.open_one();
        Some(Permit::new(Rc::clone(self)))
    }

    /// Takes so many of the idle connections for just released: they are wanted.
    pub fn refresh(&self, key: Key, count: usize, now: Instant) {
        let mut state = self.state.borrow_mut();
        let of_key = state.idle.iter_mut().filter(|idle| idle.connection.key == key);
        for idle in of_key.take(count) {
            idle.since = now;
        }
    }

    fn place_now(self: &Rc<Self>) -> Option<Permit> {
        let victim = {
            let mut state = self.state.borrow_mut();
            if state.open < self.limit() {
                state.open_one();
                return Some(Permit::new(Rc::clone(self)));
            }
            if state.idle.is_empty() {
                return None;
            }
            state.idle.remove(0)
        };
        drop(victim);
        Some(Permit::new(Rc::clone(self)))
    }

    fn take_idle(
        &self,
        key: Key,
        last: Option<ConnectionId>,
        wanted: &Rc<Settings>,
    ) -> Option<Box<Connection>> {
        let mut state = self.state.borrow_mut();
        let mut usable = None;
        let mut fitting = None;
        for (index, idle) in state.idle.iter().enumerate() {
            let connection = &idle.connection;
            if connection.key != key {
                continue;
            }
            if Some(connection.id) == last {
                fitting = Some(index);
                break;
            }
            let settings = &connection.settings;
            if fitting.is_none() && (Rc::ptr_eq(settings, wanted) || settings == wanted) {
                fitting = Some(index);
            }
            let schema_fits = settings.schema.is_none() || wanted.schema.is_some();
            if usable.is_none() && schema_fits {
                usable = Some(index);
            }
        }
        // Bringing settings along costs half a query; opening a connection costs many.
        let chosen = fitting.or(usable)?;
        Some(state.idle.remove(chosen).connection)
    }

    fn enqueue(&self, key: Key) -> Result<oneshot::Receiver<Grant>, Error> {
        let mut state = self.state.borrow_mut();
        if state.waiting.len() >= self.bounds.get().queue {
            state.numbers.refused += 1;
            state.numbers.queue_refused += 1;
            return Err(Error::QueueFull {
                server: self.name.to_string(),
                waiting: state.waiting.len(),
                limit: self.limit(),
            });
        }
        state.numbers.waits += 1;
        let (grant, receiver) = oneshot::channel();
        state.waiting.push_back(Waiter { key, grant });
        state.numbers.most_waiting = state.numbers.most_waiting.max(state.waiting.len());
        Ok(receiver)
    }

    /// Gives a connection to the first who waits, or keeps it.
    fn give_back(self: &Rc<Self>, connection: Box<Connection>) {
        if self.is_over() {
            drop(Lease::new(connection, Rc::clone(self)));
            return;
        }
        let mut grant = Grant::Lease(Lease::new(connection, Rc::clone(self)));
        while let Some(waiter) = self.next_waiter() {
            if let Grant::Lease(lease) = grant {
                grant = if lease.connection().key == waiter.key {
                    Grant::Lease(lease)
                } else {
                    Grant::Permit(lease.into_permit())
                };
            }
            match waiter.grant.send(grant) {
                Ok(()) => return,
                Err(back) => grant = back,
            }
        }
        if let Grant::Lease(lease) = grant {
            let connection = lease.into_connection();
            let since = Instant::now();
            self.state.borrow_mut().idle.push(Idle { connection, since });
        }
    }

    /// A connection is gone: its place goes to the first who waits.
    fn free_place(self: &Rc<Self>) {
        // Whoever waits is served by those that are left.
        while !self.is_over()
            && let Some(waiter) = self.next_waiter()
        {
            match waiter.grant.send(Grant::Permit(Permit::new(Rc::clone(self)))) {
                Ok(()) => return,
                Err(Grant::Permit(permit)) => permit.forget(),
                Err(Grant::Lease(_)) => return,
            }
        }
        self.state.borrow_mut().open -= 1;
    }

    fn next_waiter(&self) -> Option<Waiter> {
        self.state.borrow_mut().waiting.pop_front()
    }

    /// The connections that nobody has now.
    pub fn idle_rows(
        &self,
        worker: usize,
        name_of: impl Fn(UserId) -> String,
        now: Instant,
    ) -> Vec<ConnectionRow> {
        let state = self.state.borrow();
        let row = |idle: &Idle| {
            let connection = &idle.connection;
            let schema = connection.settings.schema.as_deref();
            ConnectionRow {
                server: self.name.to_string(),
                worker,
                backend_id: connection.thread_id,
                user: name_of(connection.key.user),
                state: "idle",
                session: Some(connection.last_session).filter(|session| *session != 0),
                since: now.saturating_duration_since(idle.since),
                schema: schema.map(|name| String::from_utf8_lossy(name).into_owned()),
                prepared: Some(connection.prepared.len()),
            }
        };
        state.idle.iter().map(row).collect()
    }

    /// Begins the numbers anew that are of a longest or most.
    pub fn reset_highest(&self) {
        self.state.borrow_mut().numbers.longest_wait = Duration::ZERO;
    }

    /// Closes connections that have been idle too long or that the server has closed.
    pub fn tidy(self: &Rc<Self>, now: Instant) {
        let gone: Vec<Idle> = {
            let mut state = self.state.borrow_mut();
            let timeout = self.bounds.get().idle_timeout;
            state
                .idle
                .extract_if(.., |idle| {
                    now.duration_since(idle.since) > timeout || idle.connection.is_disturbed()
                })
                .collect()
        };
        for idle in gone {
            drop(Lease::new(idle.connection, Rc::clone(self)));
        }
    }
}
