//! One client's session: it reads a command, has it answered, and reads the next.
//!
//! A query's way through this folder: `session` (read the command) → `commands` (what kind) → `text` or
//! `binary` (classify) → `run` (decide, lease) → `exchange` (bring the state along, send) → `relay` (the reply) →
//! `settle` (what it changed); `walk` is the loop over a reply, `learn` what its packets teach, `upload` carries the file of a
//! LOAD DATA LOCAL. The files named after state — `settings`, `hold`, `insert_id`, `statements`, `library`, `tail` — are pure.

pub mod aftermath;
mod await_writer;
mod binary;
mod bound;
mod bring;
mod cached;
mod change_user;
mod commands;
mod complaint;
mod doubt;
mod errors;
mod exchange;
mod globals;
mod guarded;
pub mod hold;
pub mod insert_id;
mod kill;
mod learn;
mod lease;
pub mod library;
mod login;
mod mirrored;
mod named;
mod offer;
pub mod overrun;
mod prove;
mod questions;
mod read_back;
mod reading;
pub mod registry;
mod relay;
pub mod replay;
mod replicate;
pub(crate) mod reports;
mod ruled;
mod run;
mod send;
pub mod settings;
mod settle;
pub mod statements;
pub(crate) mod tail;
mod text;
pub mod underway;
pub(crate) mod upload;
mod walk;
mod writes;

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures_util::FutureExt;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::ok::{OK_HEADER, OkPacket};
use tandem_protocol::reply;
use tandem_protocol::response::Expect;
use thiserror::Error;

use crate::backend::{Connection, ConnectionId};
use crate::config::{Level, TimeLimit};
use crate::net::address::Accepted;
use crate::net::compressed::Broken;
use crate::net::{self, Stream};
use crate::pool::lease::Lease;
use crate::quota::Places;
use crate::route::Written;
use crate::topology::ledger::Writing;
use crate::topology::reports::Reports;
use crate::topology::{Flavor, ServerId};
use crate::worker::Worker;
use crate::worker::accounts::Account;
use aftermath::Aftermath;
use complaint::{Complaint, takes_clients_codes};
use doubt::Trail;
use guarded::Guarded;
use hold::Ties;
use insert_id::InsertId;
use named::NamedStatements;
use overrun::RollBack;
use reading::Reading;
use registry::{Handle, Signal};
use relay::Client;
pub(crate) use relay::{Swallowed, ask, sum_up, swallow};
use replay::record::Record;
use ruled::Memberships;
pub(crate) use send::first_row;
use settings::Settings;
use statements::Statements;
use tail::Tail;
use writes::WrittenTables;

/// Why a session is over.
#[derive(Debug, Error)]
pub(crate) enum End {
    #[error("the client said goodbye")]
    Quit,
    #[error("the client closed the connection")]
    Closed,
    #[error("Tandem is stopping")]
    Drained,
    /// By another session or the admin port. Whoever ends himself is told so; this one both servers hang up on without a
    /// word (measured on MariaDB 10.11 and MySQL 9.7).
    #[error("ended from outside")]
    Killed,
    #[error(
        "it sent nothing for as long as it may (listener.idle_timeout, limits.idle_transaction_timeout, or wait_timeout, its own or the \
         servers')"
    )]
    Expired,
    #[error("the login failed: {0}")]
    Login(String),
    #[error("{0}")]
    Relay(#[source] relay::Error),
    #[error("{0}")]
    Complaint(Complaint),
    /// The server, and with it what the session had there.
    #[error("{0}")]
    Lost(Complaint),
    #[error("the client broke the protocol: {0}")]
    Protocol(String),
    #[error("the client broke the protocol: a command with the number {0}")]
    OutOfOrder(u8),
    #[error("it panicked, which is a defect of Tandem; the line with the place stands before this one")]
    Panicked,
}

impl End {
    /// The session ends for this, and its client, which is in the middle of a reply, is hung up on.
    fn silent(complaint: &Complaint) -> Self {
        Self::Relay(relay::Error::Server(io::Error::other(complaint.to_string())))
    }
}

impl From<relay::Error> for End {
    fn from(error: relay::Error) -> Self {
        match error {
            relay::Error::ClientGone => Self::Closed,
            relay::Error::Killed => Self::Killed,
            error => Self::Relay(error),
        }
    }
}

/// Where the text of a command begins: behind the packet's header and the code.
const TEXT_AT: usize = HEADER_LEN + 1;

/// A command as it stands in the client's inbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// Bytes of it that are there: all of it, or the beginning of one that is too long to be held.
    head: usize,
    /// Follows the rest of a long one.
    tail: Option<Tail>,
    /// Where in the inbox a statement's text begins.
    text_at: usize,
}

/// One logged-in client.
pub(crate) struct Session {
    worker: Rc<Worker>,
    handle: Rc<Handle>,
    /// Its places among those that are limited.
    places: Places,
    client: Client,
    account: Arc<Account>,
    /// The handshake flags that its server connections must have.
    flags: Capabilities,
    /// See [`crate::backend::Key::epoch`].
    epoch: u32,
    settings: Rc<Settings>,
    /// What the client wants to be told of its session's changes; `None` is the server's default.
    reports: Option<Rc<Reports>>,
    /// The number of warnings of the last statement, which MySQL repeats in the replies to short commands.
    warnings: u16,
    /// What follows from them.
    reading: Reading,
    /// What its last statements left to be asked for.
    aftermath: Aftermath,
    ties: Ties,
    /// How new what it reads has to be.
    level: Level,
    /// Of what it goes by, see [`Session::follow_config`].
    config_version: u64,
    written: Written,
    /// Its writes that are under way.
    writing: Writing,
    written_tables: WrittenTables,
    /// What would have to be looked up if a server were lost now.
    trail: Trail,
    insert_id: Rc<InsertId>,
    statements: Statements,
    /// Its statements by text.
    names: NamedStatements,
    /// Its transaction was rolled back for that, and the client does not know it yet.
    rolled_back: Option<TimeLimit>,
    /// The open transaction, or the one that may be beginning.
    record: Option<Box<Record>>,
    /// The connection it keeps, while something ties it.
    lease: Option<Lease>,
    /// The connections it used last, one a server: soft leases.
    last: [Option<ConnectionId>; 2],
    last_server: Option<ServerId>,
    /// Of its user. MariaDB stops listening to them.
    failed_changes: u8,
    /// Which rules its statements may meet.
    memberships: Memberships,
    /// By what the firewall knows them.
    guarded: Guarded,
}

/// Serves one accepted client to its end. Every end is logged with its cause.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted, id: u32) {
    let handle = Handle::new(id, accepted.peer());
    let _entry = worker.registry.enter(&handle);
    worker.count(|counters| counters.sessions_opened += 1);
    // Unwinding drops all that the session has: its socket, and its server connections, which are closed by that and
    // not given back. What it shares with others is changed in steps that can't panic half way.
    // Awaited where it stands: in a variable of its own it would have a second place in the task.
    let end = AssertUnwindSafe(live(&worker, &handle, accepted, id))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            worker.count(|counters| counters.panics += 1);
            End::Panicked
        });
    worker.count(|counters| counters.sessions_closed += 1);
    log_end(&handle, &end);
}

async fn live(worker: &Rc<Worker>, handle: &Rc<Handle>, accepted: Accepted, id: u32) -> End {
    let stream = match Stream::accepted(accepted) {
        Ok(stream) => stream,
        Err(error) => return End::Login(error.to_string()),
    };
    // Not served within the match: the task of each sleeping client would have a place for what is matched too.
    let mut session = match Box::pin(login::log_in(worker, handle, stream, id)).await {
        Ok(session) => session,
        Err(end) => {
            worker.count(|counters| counters.logins_refused += 1);
            return end;
        }
    };
    let end = session.serve().await;
    session.finish(&end).await;
    end
}

fn log_end(handle: &Handle, end: &End) {
    let (session, client, user) = (handle.id, handle.client.get(), handle.user.borrow());
    match end {
        End::Quit | End::Drained => tracing::debug!(session, %client, %user, "session ended: {end}"),
        End::Closed if handle.statements.get() > 0 || user.is_empty() => {
            tracing::debug!(session, %client, %user, "session ended: {end}");
        }
        _ => tracing::info!(session, %client, %user, "session ended: {end}"),
    }
}

impl Session {
    async fn serve(&mut self) -> End {
        loop {
            let command = match self.next_command().await {
                Ok(command) => command,
                Err(end) => return end,
            };
            if let Err(end) = self.dispatch(command).await {
                self.handle.underway.borrow_mut().failed(None);
                self.count_statement(Instant::now());
                return end;
            }
            if self.handle.signal() == Signal::Drain && !self.ties.in_transaction() {
                return End::Drained;
            }
        }
    }

    /// Says goodbye where the protocol allows it, and leaves the connection clean for others.
    async fn finish(&mut self, end: &End) {
        // Numbered as an answer, or as what comes without having been asked for.
        let (complaint, seq) = match end {
            // Where the code can't be said, the library finds it by itself when it is hung up on.
            End::Lost(_) if !takes_clients_codes(self.client.capabilities) => (None, 0),
            End::Complaint(complaint) | End::Lost(complaint) => (Some(complaint.clone()), 1),
            End::Drained => (Some(Complaint::stopping()), 1),
            // MySQL says why from 8.0.24 on, MariaDB closes without a word.
            End::Expired if self.worker.flavor() == Flavor::MySql => (Some(Complaint::expired()), 0),
            // As both say it, before they hang up (measured on MariaDB 10.11 and MySQL 9.7).
            End::OutOfOrder(_) => (Some(Complaint::out_of_order()), 0),
            End::Relay(relay::Error::Client(error)) => match Broken::of(error) {
                Some(Broken::OutOfOrder { .. }) => (Some(Complaint::out_of_order()), 0),
                // MariaDB hangs up without a word, MySQL does not even that, though both have an error for it.
                Some(Broken::Unreadable(_)) => (Some(Complaint::unreadable()), 1),
                None => (None, 0),
            },
            _ => (None, 0),
        };
        if let Some(complaint) = complaint {
            let mut out = Vec::new();
            complaint.write(&mut out, seq, self.client.capabilities);
            // The client may be gone; there is nobody else to tell.
            let _ = self.client.write(&out).await;
        }
        self.let_go_dirty();
    }

    /// Waits for the next command; while it waits the session owns no buffer.
    async fn next_command(&mut self) -> Result<Command, End> {
        let now = self.handle.enter("Sleep");
        self.count_statement(now);
        let roll_back = self.handle.take_roll_back();
        self.roll_back(roll_back).await?;
        // What a client that is spoken to between two commands takes for the answer to its next one.
        self.client.seq = 1;
        if self.client.inbox.len() < HEADER_LEN {
            self.fill_idle().await?;
            // What has begun holds memory: it may take no longer than the rest of a command.
            self.fill_client(HEADER_LEN).await?;
        }
        let Some(header) = Header::peek(self.client.inbox.bytes()) else {
            return Err(End::Protocol("no packet header".to_owned()));
        };
        if header.seq != 0 {
            return Err(End::OutOfOrder(header.seq));
        }
        self.client.seq = header.seq.wrapping_add(1);
        self.follow_config();
        let config = self.worker.config();
        let limits = &config.limits;
        let total = HEADER_LEN + header.len;
        if header.len <= limits.statement_bytes && header.len < MAX_PAYLOAD {
            self.fill_client(total).await?;
            return Ok(Command {
                head: total,
                tail: None,
                text_at: TEXT_AT,
            });
        }
        let Ok(mut tail) = Tail::new(header, limits.command_bytes) else {
            return Err(End::Complaint(Complaint::too_long(limits.command_bytes)));
        };
        self.fill_client(HEADER_LEN + limits.statement_bytes.min(header.len))
            .await?;
        let advanced = tail.advance(self.client.inbox.bytes());
        self.client.seq = tail.reply_seq();
        let Ok(head) = advanced else {
            return Err(End::Complaint(Complaint::too_long(limits.command_bytes)));
        };
        let tail = (!tail.is_done()).then_some(tail);
        Ok(Command {
            head,
            tail,
            text_at: TEXT_AT,
        })
    }

    /// Takes what it remembers of the configuration from the one that acts now.
    fn follow_config(&mut self) {
        let version = self.worker.config_version();
        if self.config_version == version {
            return;
        }
        self.config_version = version;
        let config = self.worker.config();
        self.level = config.level(self.account.configured_in(&config));
        self.client.write_timeout = config.listener.write_timeout;
    }

    /// Reads at least `wanted` bytes of a command that has begun.
    async fn fill_client(&mut self, wanted: usize) -> Result<(), End> {
        let bound = self.client.write_timeout;
        while self.client.inbox.len() < wanted {
            let Client { stream, inbox, .. } = &mut self.client;
            // However long the whole takes: a slow line is no reason to end it, silence is.
            let filling = net::fill_towards(stream, inbox, wanted);
            match tokio::time::timeout(bound, filling).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(End::Protocol("half a packet, then the end".to_owned()));
                }
                Ok(Err(error)) => return Err(relay::Error::Client(error).into()),
                Err(_) => {
                    return Err(End::Protocol(format!(
                        "a packet that was begun, and then nothing for {bound:?} (listener.write_timeout)"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Waits for the client's next command to begin, or for a signal from outside.
    async fn fill_idle(&mut self) -> Result<(), End> {
        if self.client.inbox.is_empty() {
            self.client.stream.rest();
        }
        loop {
            let event = poll_fn(|cx| {
                match self.handle.signal() {
                    Signal::Kill => return Poll::Ready(Event::End(End::Killed)),
                    Signal::Expire => return Poll::Ready(Event::End(End::Expired)),
                    Signal::Drain if !self.ties.in_transaction() => {
                        return Poll::Ready(Event::End(End::Drained));
                    }
                    Signal::Drain | Signal::None => {}
                }
                if self.handle.take_let_go() {
                    return Poll::Ready(Event::LetGo);
                }
                match self.handle.take_roll_back() {
                    RollBack::No => {}
                    how => return Poll::Ready(Event::RollBack(how)),
                }
                self.handle.watch(cx);
                let Client { stream, inbox, .. } = &mut self.client;
                let filled = inbox.poll_fill(cx, stream, 1);
                if filled.is_pending() && stream.is_midway() {
                    return Poll::Ready(Event::Bytes);
                }
                filled.map(|result| match result {
                    Ok(0) if inbox.is_empty() => Event::End(End::Closed),
                    Ok(0) => Event::End(End::Protocol("half a packet, then the end".to_owned())),
                    Ok(_) => Event::Bytes,
                    Err(error) => Event::End(relay::Error::Client(error).into()),
                })
            })
            .await;
            match event {
                Event::Bytes => return Ok(()),
                Event::LetGo => {
                    Box::pin(self.save_aftermath(true)).await;
                    self.let_go_of_diagnostics();
                    // What the client has sent meanwhile was read while the server was asked.
                    if !self.client.inbox.is_empty() {
                        return Ok(());
                    }
                }
                Event::RollBack(how) => {
                    self.roll_back(how).await?;
                    if !self.client.inbox.is_empty() {
                        return Ok(());
                    }
                }
                Event::End(end) => return Err(end),
            }
        }
    }

    /// Reads a reply to Tandem itself, while the client waits.
    async fn swallow(
        &mut self,
        connection: &mut Connection,
        expect: Expect,
    ) -> Result<Swallowed, relay::Error> {
        relay::swallow_watching(&self.handle, &mut self.client, connection, expect).await
    }

    /// Answers OK in the session's own name.
    async fn say_ok(&mut self) -> Result<(), End> {
        self.say_affected(0).await
    }

    /// The same, of so many rows.
    async fn say_affected(&mut self, affected_rows: u64) -> Result<(), End> {
        self.aftermath.answered(true);
        let mut out = Vec::new();
        let packet = OkPacket {
            affected_rows,
            status: self.ties.state(),
            ..OkPacket::default()
        };
        let (seq, capabilities) = (self.client.seq, self.client.capabilities);
        reply::ok_packet(&mut out, seq, OK_HEADER, &packet, capabilities);
        Ok(self.client.write(&out).await?)
    }

    /// Answers with an error; the session goes on.
    async fn complain(&mut self, complaint: &Complaint) -> Result<(), End> {
        self.worker.count(|counters| counters.own_errors += 1);
        self.handle.underway.borrow_mut().failed(Some(complaint.code));
        self.warnings = 1;
        self.aftermath.complained();
        tracing::debug!(session = self.handle.id, "{complaint}");
        let mut out = Vec::new();
        complaint.write(&mut out, self.client.seq, self.client.capabilities);
        Ok(self.client.write(&out).await?)
    }
}

enum Event {
    /// A command has begun, though of a compressed one nothing may be had yet.
    Bytes,
    /// The connection kept for `SHOW WARNINGS` is wanted elsewhere.
    LetGo,
    /// The transaction has been open too long.
    RollBack(RollBack),
    End(End),
}

/// The packet for a client that is one too many.
pub(crate) fn too_many_connections(limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    // Before the handshake nothing is negotiated: the error has no state field (protocol 4.1 is not agreed on yet).
    Complaint::too_many_connections(limit).write(&mut out, 0, Capabilities::empty());
    out
}
