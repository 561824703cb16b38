//! The sessions of a worker as the outside may see them, and the way to end one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use tandem_protocol::flags::Capabilities;

use super::overrun::{Longest, Overrun, RollBack, Times};
use super::underway::Underway;
use crate::admin::view::{ConnectionRow, SessionRow};
use crate::backend::UserId;
use crate::classify::facts::Pins;
use crate::classify::tally::Tally;
use crate::config::{TimeLimit, TimeLimits};
use crate::net::address::Peer;
use crate::route::Reason;
use crate::statistics::trace::Step;
use crate::topology::{ServerId, Timeouts};

/// The numbers of sessions begin here. A server would have to serve a billion connections to get there; still positive
/// where clients keep 32 bits.
pub const FIRST_ID: u32 = 1 << 30;

/// What a session was told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    None,
    /// Finish the running statement, then end.
    Drain,
    /// Slept too long: end.
    Expire,
    /// End at once.
    Kill,
}

/// A statement that a server is working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub server: ServerId,
    /// The server's own id of the connection.
    pub thread_id: u32,
    pub user: UserId,
    /// How the client has come, as far as its connections to the servers do likewise.
    pub flags: Capabilities,
    /// What may be done about it when it takes too long.
    pub bound: Bound,
}

/// How long a server may work on a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// As long as it takes: it commits or rolls back, or is Tandem's own.
    Never,
    /// Until its transaction is over time.
    Transaction,
    /// Until then, or that.
    Until(Instant, TimeLimit),
}

/// What beside pins and transactions keeps a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tied {
    #[default]
    No,
    Statement,
    Diagnostics,
}

/// Why a pin ties, in an operator's words.
const PINS: [(Pins, &str); 13] = [
    (Pins::USER_VARIABLE, "a user variable (@name)"),
    (Pins::TEMPORARY_TABLE, "a temporary table"),
    (Pins::USER_LOCK, "GET_LOCK()"),
    (Pins::TABLE_LOCK, "LOCK TABLES or the like"),
    (Pins::HANDLER, "HANDLER … OPEN"),
    (Pins::TEXT_PREPARED, "PREPARE as text"),
    (Pins::XA, "an XA transaction"),
    (
        Pins::ONE_SHOT_VARIABLE,
        "a variable for one statement (insert_id, timestamp, …)",
    ),
    (Pins::IDENTITY, "SET ROLE, sql_log_bin or the like"),
    (Pins::PROFILING, "profiling or optimizer_trace"),
    (
        Pins::NEXT_TRANSACTION,
        "SET TRANSACTION, until that transaction is over",
    ),
    (Pins::SEQUENCE, "LASTVAL() of a sequence"),
    (Pins::UNKNOWN, "code whose effects its text doesn't tell"),
];

/// A session's entry: written by the session, read by `SHOW SESSIONS`.
#[derive(Debug)]
pub struct Handle {
    pub id: u32,
    pub client: Cell<Peer>,
    /// The version of TLS that it speaks.
    pub tls: Cell<Option<&'static str>>,
    /// How it compresses.
    pub compression: Cell<Option<&'static str>>,
    pub user: RefCell<Rc<str>>,
    pub schema: RefCell<String>,
    pub command: Cell<&'static str>,
    /// The server that works for the session now, and its id of the connection.
    pub target: Cell<Option<(usize, u32)>>,
    /// The same of the last one that did.
    pub served_by: Cell<Option<(usize, u32)>>,
    pub pins: Cell<Pins>,
    /// What else ties it to its connection: a cursor, or what its next statement may ask.
    pub tied: Cell<Tied>,
    /// The statement that pinned it.
    pub pinned_by: RefCell<Tally>,
    /// Since when it keeps its connection.
    pub held_since: Cell<Option<Instant>>,
    pub transaction: Cell<bool>,
    /// Since when that is open.
    transaction_since: Cell<Option<Instant>>,
    /// How long what it does may take.
    pub time_limits: Cell<TimeLimits>,
    /// Why the statement that runs or ran last was told to stop.
    overrun: Cell<Option<Overrun>>,
    roll_back: Cell<RollBack>,
    pub since: Cell<Instant>,
    /// How long it may sleep by its own `wait_timeout`.
    pub wait_timeout: Cell<Option<Duration>>,
    /// How long by the servers' global one.
    pub server_timeout: Cell<Duration>,
    pub statements: Cell<u64>,
    pub reason: Cell<Option<Reason>>,
    pub underway: RefCell<Underway>,
    /// Statements whose steps are still to be kept.
    pub to_trace: Cell<u32>,
    /// What a `KILL` would have to stop.
    running: Cell<Option<Running>>,
    /// `KILL QUERY` statements that are on their way to the server for this session.
    shots: Cell<u32>,
    /// How many there have been for the statement that runs or ran last.
    fired: Cell<u32>,
    overtime: Cell<bool>,
    /// The server that works for it is gone, and another is the active master.
    abandoned: Cell<bool>,
    /// The session keeps a connection only for what its next statement might ask.
    pub may_let_go: Cell<bool>,
    let_go: Cell<bool>,
    signal: Cell<Signal>,
    waker: RefCell<Option<Waker>>,
}

impl Handle {
    pub fn new(id: u32, client: Peer) -> Rc<Self> {
        Rc::new(Self {
            id,
            client: Cell::new(client),
            tls: Cell::new(None),
            compression: Cell::new(None),
            user: RefCell::new(Rc::from("")),
            schema: RefCell::default(),
            command: Cell::new("Login"),
            target: Cell::new(None),
            served_by: Cell::new(None),
            pins: Cell::new(Pins::empty()),
            tied: Cell::default(),
            pinned_by: RefCell::default(),
            held_since: Cell::new(None),
            transaction: Cell::new(false),
            transaction_since: Cell::new(None),
            time_limits: Cell::default(),
            overrun: Cell::new(None),
            roll_back: Cell::default(),
            since: Cell::new(Instant::now()),
            wait_timeout: Cell::new(None),
            server_timeout: Cell::new(Timeouts::BUILT_IN.wait),
            statements: Cell::new(0),
            reason: Cell::new(None),
            underway: RefCell::default(),
            to_trace: Cell::new(0),
            running: Cell::new(None),
            shots: Cell::new(0),
            fired: Cell::new(0),
            overtime: Cell::new(false),
            abandoned: Cell::new(false),
            may_let_go: Cell::new(false),
            let_go: Cell::new(false),
            signal: Cell::new(Signal::None),
            waker: RefCell::default(),
        })
    }

    /// Nobody else can read what the client sends: it uses TLS, or is on this machine.
    pub fn is_protected(&self) -> bool {
        self.tls.get().is_some() || self.client.get() == Peer::Local
    }

    pub fn signal(&self) -> Signal {
        self.signal.get()
    }

    /// Tells the session; the strongest signal wins.
    pub fn send(&self, signal: Signal) {
        self.signal.set(self.signal.get().max(signal));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn running(&self) -> Option<Running> {
        self.running.get()
    }

    /// Notes that a server works for the session, until the returned guard is dropped.
    pub fn runs(self: &Rc<Self>, running: Running) -> Runs {
        self.fired.set(0);
        self.overrun.set(None);
        self.overtime.set(false);
        self.abandoned.set(false);
        self.running.set(Some(running));
        Runs {
            handle: Rc::clone(self),
        }
    }

    /// Notes that a `KILL QUERY` is under way for it, until the returned guard is dropped.
    pub fn shoot(self: &Rc<Self>) -> Shot {
        self.fired.set(self.fired.get() + 1);
        self.shots.set(self.shots.get() + 1);
        Shot {
            handle: Rc::clone(self),
        }
    }

    /// Whether the statement that runs waits for an answer that will not come.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// Whether somebody tried to kill the statement that runs or ran last.
    pub fn was_shot(&self) -> bool {
        self.fired.get() > 0
    }

    /// It was not fired at in the end.
    pub fn was_spared(&self, shot: Shot) {
        self.fired.set(self.fired.get().saturating_sub(1));
        self.takes_its_time();
        drop(shot);
    }

    /// It was not stopped, and may be found overdue again.
    pub fn takes_its_time(&self) {
        self.overrun.set(None);
    }

    /// A rule has the statement that runs ended.
    pub fn note_overtime(&self) {
        self.overtime.set(true);
    }

    /// Whether a rule has had the statement ended that runs or ran last.
    pub fn is_overtime(&self) -> bool {
        self.overtime.get()
    }

    /// Waits until no `KILL QUERY` is under way any more: it must not hit the next statement on the connection.
    pub async fn out_of_fire(&self) {
        poll_fn(|cx| {
            self.watch(cx);
            match self.shots.get() {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }

    /// Whether a transaction is open now.
    pub fn note_transaction(&self, open: bool) {
        self.transaction.set(open);
        if !open {
            self.transaction_since.set(None);
        } else if self.transaction_since.get().is_none() {
            self.transaction_since.set(Some(self.since.get()));
        }
    }

    /// The transaction that was open has ended, even if another is open now.
    pub fn ends_transaction(&self) {
        self.transaction_since.set(None);
    }

    fn transaction_age(&self, now: Instant) -> Option<Duration> {
        let since = self.transaction_since.get()?;
        Some(now.saturating_duration_since(since))
    }

    /// The limit that its transaction is over.
    pub fn overdue_transaction(&self, now: Instant) -> Option<TimeLimit> {
        let limit = self.time_limits.get().transaction?;
        (self.transaction_age(now)? > limit.most).then_some(limit)
    }

    pub fn overrun(&self) -> Option<Overrun> {
        self.overrun.get()
    }

    /// Asks the session to roll its transaction back.
    pub fn ask_to_roll_back(&self, how: RollBack) {
        self.roll_back.set(how);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    #[inline]
    pub fn take_roll_back(&self) -> RollBack {
        self.roll_back.take()
    }

    /// Asks the session to give back a connection that it does not really need.
    pub fn ask_to_let_go(&self) {
        self.let_go.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn take_let_go(&self) -> bool {
        self.let_go.take()
    }

    /// Shows another default schema.
    pub fn show_schema(&self, schema: Option<&[u8]>) {
        let text = schema.map(String::from_utf8_lossy).unwrap_or_default();
        text.as_ref().clone_into(&mut self.schema.borrow_mut());
    }

    /// Has the current task woken by the next [`Handle::send`].
    pub fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// What it does from now on.
    pub fn enter(&self, command: &'static str) -> Instant {
        let now = Instant::now();
        self.command.set(command);
        self.since.set(now);
        now
    }

    /// Something has been done for the statement that runs.
    #[inline]
    pub fn step(&self, step: Step) {
        if let Some(steps) = &mut self.underway.borrow_mut().steps {
            steps.note(step);
        }
    }

    /// The command that runs is a statement of this shape.
    pub fn runs_shape(&self, tally: &Tally) {
        self.underway.borrow_mut().statement(tally, self.since.get());
    }

    /// It keeps the connection, beyond the statement that runs or ran last.
    pub fn keeps(&self, tied: Tied) {
        self.tied.set(tied);
        if self.held_since.get().is_none() {
            self.held_since.set(Some(self.since.get()));
        }
    }

    /// It has none any more.
    pub fn lets_go(&self) {
        self.target.set(None);
        self.tied.set(Tied::No);
        self.held_since.set(None);
    }

    /// Why the statement that runs is to be stopped.
    fn overruns(&self, bound: Bound, now: Instant) -> Option<Overrun> {
        match bound {
            Bound::Never => return None,
            Bound::Until(deadline, limit) if now > deadline => return Some(Overrun::Statement(limit)),
            Bound::Transaction | Bound::Until(..) => {}
        }
        self.overdue_transaction(now).map(Overrun::Transaction)
    }

    /// Why it keeps its connection.
    fn held_by(&self) -> String {
        if self.held_since.get().is_none() {
            return String::new();
        }
        let pins = self.pins.get();
        let mut why: Vec<&str> = PINS
            .iter()
            .filter(|(pin, _)| pins.contains(*pin))
            .map(|(_, why)| *why)
            .collect();
        if self.transaction.get() {
            why.push("a transaction");
        }
        match self.tied.get() {
            Tied::No => {}
            Tied::Statement => why.push("an open cursor, or parameters that were sent ahead"),
            Tied::Diagnostics => why.push("warnings that the next statement may ask for (200 ms)"),
        }
        why.join(", ")
    }

    fn row(&self, worker: usize, servers: &[Rc<str>], now: Instant) -> SessionRow {
        let target = self.target.get();
        let pins: Vec<String> = self
            .pins
            .get()
            .iter_names()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        SessionRow {
            id: self.id,
            worker,
            user: self.user.borrow().to_string(),
            client: self.client.get().to_string(),
            tls: self.tls.get(),
            compression: self.compression.get(),
            schema: self.schema.borrow().clone(),
            command: self.command.get(),
            target: target.map(|(server, _)| servers[server].to_string()),
            backend_id: target.map(|(_, id)| id),
            pins: pins.join(","),
            transaction: self.transaction.get(),
            since: now.duration_since(self.since.get()),
            statements: self.statements.get(),
            last_reason: self.reason.get().map_or("", Reason::name),
            statement: self.underway.borrow().text().cloned(),
            held_by: self.held_by(),
            pinned_by: match self.pins.get().is_empty() {
                true => None,
                false => self.pinned_by.borrow().statement().cloned(),
            },
            held: self
                .held_since
                .get()
                .map(|since| now.saturating_duration_since(since)),
        }
    }
}

/// See [`Handle::runs`].
#[derive(Debug)]
pub struct Runs {
    handle: Rc<Handle>,
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.handle.abandoned.set(false);
        self.handle.running.set(None);
    }
}

/// See [`Handle::shoot`].
#[derive(Debug)]
pub struct Shot {
    handle: Rc<Handle>,
}

impl Drop for Shot {
    fn drop(&mut self) {
        self.handle.shots.set(self.handle.shots.get() - 1);
        if let Some(waker) = self.handle.waker.take() {
            waker.wake();
        }
    }
}

/// How long sessions may send nothing.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    pub session: Duration,
    /// In an open transaction, where that is limited.
    pub transaction: Option<Duration>,
}

/// All sessions of one worker.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: RefCell<FxHashMap<u32, Rc<Handle>>>,
}

impl Registry {
    /// Adds a session for as long as the returned entry lives.
    pub fn enter(self: &Rc<Self>, handle: &Rc<Handle>) -> Entry {
        self.sessions.borrow_mut().insert(handle.id, Rc::clone(handle));
        Entry {
            registry: Rc::clone(self),
            id: handle.id,
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn find(&self, id: u32) -> Option<Rc<Handle>> {
        self.sessions.borrow().get(&id).cloned()
    }

    /// The session that a connection of a server works for, or worked for last.
    pub fn served_by(&self, server: ServerId, thread_id: u32) -> Option<Rc<Handle>> {
        let connection = Some((server.0, thread_id));
        let sessions = self.sessions.borrow();
        let served = sessions
            .values()
            .filter(|handle| handle.served_by.get() == connection);
        let newest = served.max_by_key(|handle| (handle.target.get() == connection, handle.since.get()));
        newest.cloned()
    }

    /// Tells the sessions whose statements run on a server that they wait there for nothing.
    pub fn abandon(&self, server: ServerId) {
        let waits = |handle: &&Rc<Handle>| handle.running().is_some_and(|running| running.server == server);
        let all: Vec<_> = self.sessions.borrow().values().filter(waits).cloned().collect();
        for handle in all {
            handle.abandoned.set(true);
            if let Some(waker) = handle.waker.take() {
                waker.wake();
            }
        }
    }

    pub fn send_all(&self, signal: Signal) {
        let all: Vec<_> = self.sessions.borrow().values().cloned().collect();
        for handle in all {
            handle.send(signal);
        }
    }

    /// Has all go by other limits.
    pub fn limit_times(&self, limits: impl Fn(&str) -> TimeLimits) {
        for handle in self.sessions.borrow().values() {
            handle.time_limits.set(limits(&handle.user.borrow()));
        }
    }

    /// Ends sessions that have slept too long and transactions that have been open too long, and collects connections that are kept for
    /// nothing. Returns the sessions whose statements are to be stopped, if `may_stop` any.
    pub fn tidy(
        &self,
        now: Instant,
        limits: IdleLimits,
        keep_diagnostics: Duration,
        times: &Times,
        may_stop: bool,
    ) -> Vec<Rc<Handle>> {
        let all: Vec<_> = self.sessions.borrow().values().cloned().collect();
        let mut longest = Longest::default();
        let mut overdue = Vec::new();
        for handle in all {
            let age = handle.transaction_age(now).unwrap_or_default();
            longest.transaction = longest.transaction.max(age);
            if handle.command.get() != "Sleep" {
                if let Some(running) = handle.running() {
                    let time = now.saturating_duration_since(handle.since.get());
                    longest.statement = longest.statement.max(time);
                    if may_stop
                        && handle.overrun.get().is_none()
                        && let Some(overrun) = handle.overruns(running.bound, now)
                    {
                        handle.overrun.set(Some(overrun));
                        overdue.push(handle);
                    }
                }
                continue;
            }
            if handle.overdue_transaction(now).is_some() {
                handle.ask_to_roll_back(RollBack::Untold);
            }
            let asleep = now.saturating_duration_since(handle.since.get());
            longest.asleep = longest.asleep.max(asleep);
            if handle.transaction.get() {
                longest.asleep_in_transaction = longest.asleep_in_transaction.max(asleep);
            }
            let own = handle.wait_timeout.get();
            let own = own.unwrap_or_else(|| handle.server_timeout.get());
            let of_transaction = limits.transaction.filter(|_| handle.transaction.get());
            let limit = limits
                .session
                .min(own)
                .min(of_transaction.unwrap_or(Duration::MAX));
            if asleep > limit {
                times.note_expired(asleep, limits);
                handle.send(Signal::Expire);
            } else if handle.may_let_go.get() && asleep > keep_diagnostics {
                handle.ask_to_let_go();
            }
        }
        times.note(&longest);
        overdue
    }

    /// How many there are, without looking at each closely.
    pub fn census(&self) -> Census {
        let sessions = self.sessions.borrow();
        let looks = sessions.values();
        Census::of(looks.map(|handle| (handle.transaction.get(), !handle.pins.get().is_empty())))
    }

    /// The connections that sessions have now.
    pub fn connections(&self, worker: usize, servers: &[Rc<str>], now: Instant) -> Vec<ConnectionRow> {
        let sessions = self.sessions.borrow();
        let row = |handle: &Rc<Handle>| {
            let (server, backend_id) = handle.target.get()?;
            let state = if handle.running().is_some() {
                "busy"
            } else {
                "held"
            };
            Some(ConnectionRow {
                server: servers[server].to_string(),
                worker,
                backend_id,
                user: handle.user.borrow().to_string(),
                state,
                session: Some(handle.id),
                since: now.saturating_duration_since(handle.since.get()),
                schema: None,
                prepared: None,
            })
        };
        sessions.values().filter_map(row).collect()
    }

    /// The sessions of a name, from any host or from one.
    pub fn of_user(&self, name: &[u8], host: Option<&[u8]>) -> Vec<u32> {
        let sessions = self.sessions.borrow();
        let is_meant = |handle: &&Rc<Handle>| {
            let from = handle.client.get().host();
            handle.user.borrow().as_bytes() == name && host.is_none_or(|host| host == from.as_bytes())
        };
        let found = sessions.values().filter(is_meant);
        found.map(|handle| handle.id).collect()
    }

    pub fn rows(&self, worker: usize, servers: &[Rc<str>], now: Instant) -> Vec<SessionRow> {
        let sessions = self.sessions.borrow();
        let mut rows: Vec<_> = sessions
            .values()
            .map(|handle| handle.row(worker, servers, now))
            .collect();
        rows.sort_by_key(|row| row.id);
        rows
    }
}

/// How many sessions are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub sessions: usize,
    pub in_transaction: usize,
    pub pinned: usize,
}

impl Census {
    /// Of sessions that are in a transaction, and pinned, or not.
    pub fn of(sessions: impl Iterator<Item = (bool, bool)>) -> Self {
        let mut census = Self::default();
        for (in_transaction, pinned) in sessions {
            census.sessions += 1;
            census.in_transaction += usize::from(in_transaction);
            census.pinned += usize::from(pinned);
        }
        census
    }
}

/// Takes the session out of the registry when it ends, however it ends.
#[derive(Debug)]
pub struct Entry {
    registry: Rc<Registry>,
    id: u32,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.sessions.borrow_mut().remove(&self.id);
    }
}
