//! The thread that asks the mirrors: for each a task that takes what waits, and a bounded number of connections.
//!
//! A connection there is brought into the state of the statement's session by the same means as one of the pools, and may only read
//! (`transaction_read_only`): whatever a text becomes on another version, it changes nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use tandem_protocol::command::{CommandCode, put_query};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame;
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::answer::{self, Answer, Verdict};
use super::queue::{Jobs, Waiting};
use super::results::Outcome;
use super::view::State;
use super::{Job, Shared, Statement};
use crate::backend::connect::{self, Target};
use crate::backend::sync::{Plan, Trackers};
use crate::backend::{Connection, ConnectionId, Key, UserId};
use crate::config;
use crate::net::buffer::Slab;
use crate::net::compressed::Codec;
use crate::net::tls::Connector;
use crate::session::settings::{Names, Settings};
use crate::session::{Swallowed, sum_up, swallow};
use crate::topology::{Flavor, ServerId};
use crate::worker::accounts::Account;
use crate::worker::remote::runtime;

/// How long a login may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a mirror that was not reached is left alone: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a server that is to end a statement by itself may take over that.
const GRACE: Duration = Duration::from_secs(1);

/// Most statements of a mirror that wait for their second look.
const SECOND_LOOKS: usize = 64;

/// Between two lines of the log about what one mirror has answered otherwise.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// ER_STATEMENT_TIMEOUT, ER_QUERY_TIMEOUT
const OVERTIME: [u16; 2] = [1969, 3024];

/// A mirror that begins.
pub(super) struct Start {
    pub(super) config: config::Mirror,
    pub(super) waiting: Jobs,
    pub(super) shared: Arc<Shared>,
}

/// Starts the thread. It ends when nobody has the sender any more.
///
/// # Errors
/// When it can't be started.
pub(super) fn begin(tls: Arc<Connector>) -> io::Result<mpsc::UnboundedSender<Start>> {
    let (starts, waiting) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("mirror".to_owned())
        .spawn(move || match runtime() {
            Ok(runtime) => runtime.block_on(run_all(tls, waiting)),
            Err(error) => tracing::error!("the thread for mirrors could not run: {error}"),
        })?;
    Ok(starts)
}

async fn run_all(tls: Arc<Connector>, mut starts: mpsc::UnboundedReceiver<Start>) {
    let slab = Rc::default();
    let codec = Codec::new(Rc::clone(&slab));
    let common = Rc::new(Common {
        tls,
        slab,
        codec,
        hashing: Semaphore::new(1),
    });
    while let Some(Start {
        config,
        waiting,
        shared,
    }) = starts.recv().await
    {
        let runner = Rc::new(Runner {
            account: Account::of_tandem(&config.user, &config.password),
            turns: Arc::new(Semaphore::new(config.connections)),
            looks: Semaphore::new(SECOND_LOOKS),
            idle: RefCell::default(),
            went_down: Notify::new(),
            last_id: Cell::new(0),
            last_line: Cell::new(None),
            left_out: Cell::new(0),
            common: Rc::clone(&common),
            config,
            shared,
        });
        tokio::task::spawn_local(runner.run(waiting));
    }
}

/// What all mirrors share.
struct Common {
    tls: Arc<Connector>,
    slab: Rc<Slab>,
    codec: Rc<Codec>,
    hashing: Semaphore,
}

/// One mirror.
struct Runner {
    config: config::Mirror,
    shared: Arc<Shared>,
    account: Account,
    common: Rc<Common>,
    /// One for each connection that may be used.
    turns: Arc<Semaphore>,
    looks: Semaphore,
    idle: RefCell<Vec<Connection>>,
    went_down: Notify,
    last_id: Cell<u64>,
    last_line: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

/// Why a mirror has not answered a statement.
enum Failed {
    /// It does not take the session's settings, or lacks a form of the protocol.
    Refused,
    Lost(String),
}

impl Runner {
    async fn run(self: Rc<Self>, mut jobs: Jobs) {
        // Whether it is there is known before anybody needs it.
        self.try_it().await;
        loop {
            if self.is_down() {
                jobs.close(true);
                if self.wait_for_it(&mut jobs).await.is_none() {
                    return;
                }
                jobs.close(false);
            }
            let waiting = tokio::select! {
                biased;
                () = self.went_down.notified() => continue,
                waiting = jobs.next() => waiting,
            };
            let Some(waiting) = waiting else { return };
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let Ok(turn) = turn else { return };
            tokio::task::spawn_local(Rc::clone(&self).compare(waiting, turn));
        }
    }

    /// Tries it again, ever more seldom, until it is reached. `None`: nobody needs it any more.
    async fn wait_for_it(&self, jobs: &mut Jobs) -> Option<()> {
        let mut pause = FIRST_PAUSE;
        while self.is_down() {
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(until) => break,
                    // What was handed over before is too old by then.
                    waiting = jobs.next() => self.note(&waiting?.job, Outcome::Unreachable),
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.plan_next_try(pause);
            self.try_it().await;
        }
        Some(())
    }

    fn is_down(&self) -> bool {
        matches!(*self.shared.state(), State::Down { .. })
    }

    /// Looks whether it can be logged in to.
    async fn try_it(&self) {
        if let Ok(connection) = self.open(Capabilities::LONG_FLAG, Names::SERVER.collation).await {
            self.give_back(connection);
        }
    }

    /// One statement, to its verdict.
    async fn compare(self: Rc<Self>, waiting: Waiting, turn: OwnedSemaphorePermit) {
        let job = &waiting.job;
        let first = self.ask(job).await;
        drop(turn);
        let outcome = match first {
            Err(outcome) => outcome,
            Ok(there) => match answer::first_look(&job.here, &there, job.shape.is_ordered) {
                Some(verdict) => Outcome::Compared { verdict, there },
                None => self.look_again(job, there).await,
            },
        };
        self.note(job, outcome);
    }

    /// What differs may only be late: replication takes its time.
    async fn look_again(&self, job: &Job, first: Answer) -> Outcome {
        let is_ordered = job.shape.is_ordered;
        let verdict = match answer::difference(&job.here, &first, is_ordered) {
            Some(different) if self.config.second_look.is_zero() => answer::only_look(different),
            _ => {
                let Ok(_look) = self.looks.try_acquire() else {
                    return Outcome::Dropped;
                };
                tokio::time::sleep(self.config.second_look).await;
                let turn = self.turns.acquire().await;
                let second = self.ask(job).await;
                drop(turn);
                match second {
                    Ok(second) => answer::second_look(&job.here, &first, &second, is_ordered),
                    Err(outcome) => return outcome,
                }
            }
        };
        Outcome::Compared {
            verdict,
            there: first,
        }
    }

    async fn ask(&self, job: &Job) -> Result<Answer, Outcome> {
        let mut connection = match self.connection(job).await {
            Ok(connection) => connection,
            Err(connect::Error::Lacks(_)) => return Err(Outcome::Refused),
            Err(_) => return Err(Outcome::Unreachable),
        };
        let bound = self.config.timeout + GRACE;
        // Dropped in the middle of an answer, there is no place for a goodbye.
        connection.broken = true;
        let answered = tokio::time::timeout(bound, self.exchange(&mut connection, job)).await;
        let Ok(answered) = answered else {
            return Err(Outcome::TimedOut);
        };
        match answered {
            Ok(answer) => {
                connection.broken = false;
                self.give_back(connection);
                match answer.error {
                    Some(code) if OVERTIME.contains(&code) => Err(Outcome::TimedOut),
                    _ => Ok(answer),
                }
            }
            Err(Failed::Refused) => {
                connection.broken = false;
                connection.soiled = true;
                self.give_back(connection);
                Err(Outcome::Refused)
            }
            Err(Failed::Lost(error)) => {
                tracing::debug!(mirror = self.config.name, "a connection was lost: {error}");
                Err(Outcome::Unreachable)
            }
        }
    }

    /// One that is open and can be brought into the state of the statement's session, or a new one.
    async fn connection(&self, job: &Job) -> Result<Connection, connect::Error> {
        let fits = |connection: &Connection| {
            let has_schema = connection.settings.schema.is_some();
            connection.key.flags == job.flags && (job.settings.schema.is_some() || !has_schema)
        };
        loop {
            let found = {
                let mut idle = self.idle.borrow_mut();
                let found = idle.iter().rposition(fits);
                // Who asks has a turn, and no connection yet.
                let used = self.config.connections - self.turns.available_permits();
                let is_full = idle.len() + used > self.config.connections;
                let found = found.map(|place| idle.swap_remove(place));
                if found.is_none() && is_full {
                    idle.swap_remove(0);
                }
                found
            };
            let Some(mut connection) = found else {
                return self.open(job.flags, job.settings.login.collation).await;
            };
            // What was closed there is dropped.
            if !connection.is_disturbed() {
                return Ok(connection);
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        self.idle.borrow_mut().push(connection);
    }

    async fn open(&self, flags: Capabilities, collation: u16) -> Result<Connection, connect::Error> {
        self.last_id.set(self.last_id.get() + 1);
        let key = Key {
            user: UserId(usize::MAX),
            flags,
            epoch: 0,
            origin: None,
        };
        let target = Target {
            id: ConnectionId(self.last_id.get()),
            // None of the pair.
            server: ServerId(usize::MAX),
            address: &self.config.address,
            tls: &self.common.tls,
            origin: None,
            tls_name: &self.config.tls_name,
            key,
            account: &self.account,
            collation,
            max_prepared: 1,
            compression: None,
            codec: &self.common.codec,
            has_token: false,
            hashing: &self.common.hashing,
        };
        let opening = tokio::time::timeout(CONNECT, connect::open(target, &self.common.slab));
        let opened = opening.await;
        let opened = opened.unwrap_or_else(|_| Err(connect::Error::Timeout(CONNECT.as_millis())));
        match &opened {
            Ok(_) => self.is_reached(),
            // It is there, and another statement may need less.
            Err(connect::Error::Lacks(_)) => {}
            Err(error) => self.is_not_reached(error),
        }
        opened
    }

    fn is_reached(&self) {
        let before = std::mem::replace(&mut *self.shared.state(), State::Up);
        if matches!(before, State::Down { .. }) {
            tracing::info!(mirror = self.config.name, "the mirror is back");
        }
    }

    fn is_not_reached(&self, error: &connect::Error) {
        let mut state = self.shared.state();
        if let State::Down { error: said, .. } = &mut *state {
            *said = error.to_string();
            return;
        }
        *state = State::Down {
            error: error.to_string(),
            next_try: (Instant::now() + FIRST_PAUSE).into_std(),
        };
        drop(state);
        self.idle.borrow_mut().clear();
        self.went_down.notify_one();
        tracing::warn!(
            mirror = self.config.name,
            "the mirror is not reached, and is tried again: {error}"
        );
    }

    fn plan_next_try(&self, pause: Duration) {
        if let State::Down { next_try, .. } = &mut *self.shared.state() {
            *next_try = (Instant::now() + pause).into_std();
        }
    }

    /// Brings the connection into the session's state, and has the statement answered.
    async fn exchange(&self, connection: &mut Connection, job: &Job) -> Result<Answer, Failed> {
        if let Some(answer) = self.bring(connection, job).await? {
            return Ok(answer);
        }
        let mut bytes = Vec::new();
        let expect = match &job.statement {
            Statement::Text(text) => {
                put(&mut bytes, |out| put_query(out, text, connection.capabilities));
                Expect::Query
            }
            Statement::Prepared { text, execute } => {
                let id = match prepare(connection, text).await? {
                    Ok(id) => id.to_le_bytes(),
                    Err(code) => return Ok(failed(code)),
                };
                put(&mut bytes, |out| {
                    let start = out.len();
                    out.extend_from_slice(execute);
                    if let Some(place) = out.get_mut(start + 1..start + 1 + id.len()) {
                        place.copy_from_slice(&id);
                    }
                });
                // It is answered by nothing, and comes to its turn behind the execution.
                put(&mut bytes, |out| {
                    out.push(CommandCode::StmtClose as u8);
                    out.extend_from_slice(&id);
                });
                Expect::Execute
            }
        };
        write(connection, &bytes).await?;
        let summed = sum_up(connection, expect).await;
        summed.map_err(|error| Failed::Lost(error.to_string()))
    }

    /// The answer, where the session's schema is not there.
    async fn bring(&self, connection: &mut Connection, job: &Job) -> Result<Option<Answer>, Failed> {
        let wanted = Rc::new(self.wanted(&job.settings, connection.flavor));
        let (known, flavor) = (connection.known(), connection.flavor);
        let plan = Plan::between(&known, &wanted, &Trackers::Untouched, flavor, false);
        let plan = plan.map_err(|_| Failed::Refused)?;
        let mut bytes = Vec::new();
        let planned = plan.write(&mut bytes, connection.capabilities);
        let mut replies = planned;
        if job.shape.is_timed {
            let (seconds, micros) = (job.sent_at / 1_000_000, job.sent_at % 1_000_000);
            let set = format!("SET timestamp={seconds}.{micros:06}");
            put(&mut bytes, |out| {
                put_query(out, set.as_bytes(), connection.capabilities);
            });
            replies += 1;
        }
        if replies == 0 {
            return Ok(None);
        }
        write(connection, &bytes).await?;
        connection.assume(&plan, &wanted, Trackers::Untouched);
        let (mut refused, mut lacks_schema) = (false, None);
        for place in 1..=replies {
            let error = swallowed(connection, Expect::Single).await?.error;
            if let Some(error) = error {
                match plan.schema.is_some() && place == planned {
                    true => lacks_schema = Some(error.code),
                    false => refused = true,
                }
            }
        }
        if refused {
            return Err(Failed::Refused);
        }
        connection.soiled |= lacks_schema.is_some();
        Ok(lacks_schema.map(failed))
    }

    /// The session's settings, and that nothing is written or takes too long.
    fn wanted(&self, session: &Settings, flavor: Flavor) -> Settings {
        let mut wanted = session.clone();
        let millis = self.config.timeout.as_millis();
        let (read_only, most_time, most) = match flavor {
            Flavor::MariaDb => (
                &b"tx_read_only"[..],
                &b"max_statement_time"[..],
                format!("{}.{:03}", millis / 1000, millis % 1000),
            ),
            Flavor::MySql => (
                &b"transaction_read_only"[..],
                &b"max_execution_time"[..],
                millis.to_string(),
            ),
        };
        wanted.set_variable(read_only, b"1");
        wanted.set_variable(most_time, most.as_bytes());
        wanted
    }

    fn note(&self, job: &Job, outcome: Outcome) {
        self.shared.results().note(job, outcome, Local::now());
        let what = match outcome {
            Outcome::Compared {
                verdict: Verdict::Different(what),
                ..
            } => what,
            Outcome::Compared {
                verdict: Verdict::ErrorThere(code),
                ..
            } => answer::Difference::ErrorThere(code),
            _ => return,
        };
        let now = Instant::now();
        if self
            .last_line
            .get()
            .is_some_and(|last| now < last + BETWEEN_LINES)
        {
            return self.left_out.set(self.left_out.get() + 1);
        }
        self.last_line.set(Some(now));
        let left_out = self.left_out.take();
        let (mirror, digest, name) = (&self.config.name, job.digest, &job.name);
        tracing::warn!(mirror, %digest, %what, left_out, "a mirror answers otherwise: {name}");
    }
}

fn failed(code: u16) -> Answer {
    Answer {
        error: Some(code),
        ..Answer::default()
    }
}

/// The server's id of the statement, or the code of its error.
async fn prepare(connection: &mut Connection, text: &[u8]) -> Result<Result<u32, u16>, Failed> {
    let mut bytes = Vec::new();
    put(&mut bytes, |out| {
        out.push(CommandCode::StmtPrepare as u8);
        out.extend_from_slice(text);
    });
    write(connection, &bytes).await?;
    let reply = swallowed(connection, Expect::Prepare).await?;
    if let Some(error) = reply.error {
        return Ok(Err(error.code));
    }
    let first = frame::packet(&reply.bytes).map_or(&[][..], |(_, payload)| payload);
    let prepared = PrepareOk::decode(first).map_err(|error| Failed::Lost(error.to_string()))?;
    Ok(Ok(prepared.statement_id))
}

/// Appends a command.
fn put(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = frame::begin(bytes);
    write(bytes);
    frame::end(bytes, start, 0);
}

async fn write(connection: &mut Connection, bytes: &[u8]) -> Result<(), Failed> {
    let written = connection.stream.write_all(bytes).await;
    written.map_err(|error| Failed::Lost(error.to_string()))
}

async fn swallowed(connection: &mut Connection, expect: Expect) -> Result<Swallowed, Failed> {
    let reply = swallow(connection, expect).await;
    reply.map_err(|error| Failed::Lost(error.to_string()))
}
