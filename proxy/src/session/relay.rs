//! Carries one reply from a server to a client, byte for byte, and learns from its OK packets on the way.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::{ControlFlow, Range};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_protocol::error::DecodeError;
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::packet::eof::EofPacket;
use tandem_protocol::packet::err::{ErrPacket, ServerError};
use tandem_protocol::packet::ok::{OK_AS_EOF_HEADER, OkPacket};
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::packet::session_track::{self, Change};
use tandem_protocol::response::{Control, Expect, Walker};
use thiserror::Error;

use super::complaint::Complaint;
use super::hold::Outcome;
use super::overrun::Overrun;
use super::registry::{Handle, Signal};
use super::replay::digest::{Digest, Rows};
use super::reports::Filter;
use super::ruled::Ruled;
use super::settings::{Settings, Variable};
use super::upload::carry_file;
use super::walk::{Packet, Walked, walk};
use crate::backend::Connection;
use crate::backend::sync::Trackers;
use crate::net::buffer::Inbox;
use crate::net::{self, Stream};
use crate::statistics::trace::Step;
use crate::topology::Flavor;
use crate::topology::gtid::Gtid;
use crate::worker::Worker;
use crate::worker::kill::Overtime;

/// ER_PARSE_ERROR
const PARSE_ERROR: u16 = 1064;

/// ER_QUERY_INTERRUPTED
pub(super) const INTERRUPTED: u16 = 1317;

/// Most bytes of a reply that is not passed on as it comes: that to a PREPARE, with a definition for each of at most
/// 4096 columns and 65,535 parameters, or one to Tandem itself.
const HELD_BACK: usize = 16 << 20;

/// Why a reply could not be carried to its end.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("the client was lost: {0}")]
    Client(#[source] io::Error),
    #[error("the client closed the connection while its statement ran")]
    ClientGone,
    #[error("the session was killed while its statement ran")]
    Killed,
    #[error("the client took nothing of its reply for {0:?} (listener.write_timeout)")]
    ClientStuck(Duration),
    #[error("the server was lost: {0}")]
    Server(#[source] io::Error),
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] DecodeError),
    #[error(
        "the server asked for a file of the client; the statement was no LOAD DATA LOCAL, or local_infile is off"
    )]
    UninvitedFile,
    #[error("it does not answer any more, and another server is the active master")]
    Abandoned,
    #[error("the server whose binlog is followed is no longer the active master")]
    MasterMoved,
    #[error("the client's file came out of order: {0}")]
    OutOfOrder(#[source] DecodeError),
    #[error("the beginning of the reply, which the client has seen, was another one there")]
    OtherBeginning,
}

/// A client's socket and what has arrived on it.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) inbox: Inbox,
    /// What was agreed on at login.
    pub(crate) capabilities: Capabilities,
    pub(crate) write_timeout: Duration,
    /// The number of the packet with which Tandem itself would answer the command now.
    pub(crate) seq: u8,
    /// What it wants to be told of its session's changes, if it understands that or has said so.
    pub(crate) filter: Option<Rc<Filter>>,
}

impl Client {
    /// Writes to the client, which must take something within the time it has.
    ///
    /// # Errors
    /// [`Error::Client`] and [`Error::ClientStuck`].
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        write_bounded(&mut self.stream, bytes, self.write_timeout).await
    }
}

/// Bytes that a client may send ahead while its statement runs; for more it is not looked at until then.
const AHEAD: usize = 64 * 1024;

impl Client {
    /// Ready when the client has closed its side. What it sends ahead is kept.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_closed(cx, &mut self.inbox, AHEAD)
    }
}

async fn write_bounded(stream: &mut Stream, bytes: &[u8], bound: Duration) -> Result<(), Error> {
    match tokio::time::timeout(bound, stream.write_all(bytes)).await {
        Ok(written) => written.map_err(Error::Client),
        Err(_) => Err(Error::ClientStuck(bound)),
    }
}

/// What a reply taught.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The default schema after the reply, if it was reported.
    pub(crate) schema: Option<Box<[u8]>>,
    /// The trackers themselves were set.
    pub(crate) trackers: bool,
    /// Variables reported as changed. A report can be wrong: see `read_back`.
    pub(crate) variables: Vec<Variable>,
    pub(crate) outcome: Outcome,
    /// A commit was reported by a name that can't be followed: one with a tag.
    pub(crate) unfollowed: bool,
    /// The last commit's position, if one was reported.
    pub(crate) gtid: Option<Gtid>,
    /// A final OK packet came, so what it does not report did not happen.
    pub(crate) reported: bool,
    pub(crate) insert_id: u64,
    /// The count of the last packet, if that was an OK of a statement without rows.
    pub(crate) affected: Option<u64>,
    /// A number of rows that a text tells: `Records: 3` or `Rows matched: 3` in that OK, or the `OFFSET` of the query.
    pub(crate) told: Option<u64>,
    pub(crate) cursor: bool,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The reply to a PREPARE: what the server made of it.
    pub(crate) prepared: Option<PrepareOk>,
    /// The error packet's code, if the reply was or ended in one.
    pub(crate) error: Option<u16>,
    /// That says that it took too long.
    pub(crate) overran: bool,
    /// The server waits for a file of the client; its first packet must have this number.
    pub(crate) wants_file: Option<u8>,
    /// Bytes of the command that stand before a file in what the client has sent: none once one was asked for.
    pub(crate) before_file: usize,
    /// Bytes of such files.
    pub(crate) uploaded: u64,
    /// The sum of what the client was told, where the statement is kept for being played again.
    pub(crate) digest: Option<Digest>,
    /// What the client has of a reply that broke off in its first result, where that can be gone on with.
    pub(crate) seen: Option<Seen>,
    /// It was broken off by a rule.
    pub(crate) cut: bool,
}

/// The beginning of a reply that the client has, but for the end of any result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    bytes: usize,
    /// Of the rows among them.
    sum: u64,
}

/// How a reply is to be carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) expect: Expect,
    /// Error codes that must not reach the client when nothing else has: the statement is asked elsewhere.
    pub(crate) withhold: [&'a [u16]; 3],
    /// The id that replaces the server's in the reply to a PREPARE is given afterwards: hold the reply back.
    pub(crate) keep: bool,
    /// The client has had its reply already, from another server: this one is only learnt from.
    pub(crate) discard: bool,
    /// The client has had this much of it, from another server: it gets the rest.
    pub(crate) seen: Option<Seen>,
    /// The statement may be a `LOAD DATA LOCAL`, and the client may send files.
    pub(crate) may_ask_file: bool,
    /// What a rule allows the reply.
    pub(crate) bounds: Option<&'a Bounds>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// The client has the whole reply.
    All,
    /// An error of the list in [`Manner::withhold`] came first; the client has nothing.
    Withheld,
    /// The whole reply is in the buffer, as [`Manner::keep`] asked.
    Kept(Vec<u8>),
}

/// What a rule allows a reply, and what the client is told when it is more.
pub(crate) struct Bounds {
    pub(super) worker: Rc<Worker>,
    pub(super) ruled: Ruled,
    pub(super) max_rows: Option<usize>,
    pub(super) max_bytes: Option<usize>,
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounds({:?} rows, {:?} bytes)", self.max_rows, self.max_bytes)
    }
}

impl Bounds {
    fn excess(&self, rows: u64, bytes: u64) -> Option<Complaint> {
        let exceeds = |most: Option<usize>, found: u64| most.filter(|most| found > *most as u64);
        if let Some(most) = exceeds(self.max_rows, rows) {
            Some(self.ruled.too_big("rows", "max_rows", most))
        } else {
            let most = exceeds(self.max_bytes, bytes)?;
            Some(self.ruled.too_big("bytes", "max_bytes", most))
        }
    }

    /// Has the server stop: what is left of the reply would only be read and thrown away.
    fn end(&self, handle: &Rc<Handle>) -> Overtime {
        self.worker.end_after(handle, Duration::ZERO)
    }
}

/// A reply that the client has the end of.
struct Cut {
    code: u16,
    _ending: Option<Overtime>,
}

/// Carries one reply. `forwarded` tells, also after an error, whether the client has seen any of it.
///
/// # Errors
/// See [`Error`]; the connection can't be used again after one.
pub(crate) async fn carry(
    handle: &Rc<Handle>,
    client: &mut Client,
    connection: &mut Connection,
    manner: Manner<'_>,
    learned: &mut Learned,
    forwarded: &mut bool,
) -> Result<Carried, Error> {
    let mut walker = Walker::new(manner.expect, connection.capabilities);
    if client.capabilities.contains(Capabilities::MARIADB_CACHE_METADATA) {
        walker = walker.handing_out_counts();
    }
    if learned.digest.is_some() || manner.bounds.is_some() {
        walker = walker.parting_rows();
    }
    let mut cut: Option<Cut> = None;
    let mut rows = learned.digest.map(|_| Rows::default());
    let mut kept = Vec::new();
    let mut to_skip = manner.seen.map_or(0, |seen| seen.bytes);
    *forwarded |= to_skip > 0;
    let mut has_begun = false;
    loop {
        if !has_begun && !connection.inbox.is_empty() {
            has_begun = true;
            handle.step(Step::FirstByte);
        }
        let limit = if to_skip > 0 { to_skip } else { usize::MAX };
        let (rows_before, left) = (walker.rows(), walker.left_of_packet());
        let Walked {
            ready,
            needed,
            rows_at,
        } = walk(
            &mut walker,
            connection,
            rows.as_mut(),
            limit,
            |connection, packet| {
                let len = learn(handle, connection, packet, client, learned)?;
                Ok(match learned.wants_file {
                    Some(_) => ControlFlow::Break(len),
                    None => ControlFlow::Continue(len),
                })
            },
        )?;
        if learned.wants_file.is_some() && !manner.may_ask_file {
            return Err(Error::UninvitedFile);
        }
        if let Some(code) = learned.error
            && !*forwarded
            && walker.is_done()
            && walker.rows() == 0
            && manner.withhold.iter().any(|codes| codes.contains(&code))
            && !handle.was_shot()
        {
            connection.inbox.consume(ready);
            return Ok(Carried::Withheld);
        }
        if let Some(seen) = &manner.seen
            && to_skip > 0
        {
            to_skip -= ready;
            // It ends between two packets or in one that is passed, in this reply as in the one before.
            let ended = walker.is_done() || learned.outcome.status.is_some();
            let is_other = ended || (to_skip == 0 && rows.as_ref().map(Rows::sum) != Some(seen.sum));
            if is_other || (to_skip > 0 && connection.inbox.len() - ready >= to_skip) {
                return Err(Error::OtherBeginning);
            }
            connection.inbox.consume(ready);
            if to_skip > 0 || connection.inbox.is_empty() {
                read_watching(handle, client, connection, needed).await?;
            }
            continue;
        }
        if let Some(bounds) = manner.bounds.filter(|_| cut.is_none()) {
            let at = match *forwarded {
                false => Some(0),
                true if rows_before == 0 => rows_at,
                true => left,
            };
            let excess = bounds.excess(walker.rows(), learned.bytes.saturating_add(ready as u64));
            let interrupted = handle.is_overtime() && learned.error == Some(INTERRUPTED) && !*forwarded;
            let overtime = || bounds.ruled.overtime(bounds.worker.flavor());
            let instead = interrupted.then(overtime).or(excess);
            if let (Some(instead), Some(at)) = (instead, at.filter(|at| at + HEADER_LEN <= ready)) {
                let seq = connection.inbox.bytes()[at + HEADER_LEN - 1];
                let mut last = connection.inbox.bytes()[..at].to_vec();
                instead.write(&mut last, seq, client.capabilities);
                *forwarded = true;
                learned.bytes += last.len() as u64;
                // Nothing can be added to what the client has.
                learned.seen = None;
                client.write(&last).await?;
                let ending = (!walker.is_done()).then(|| bounds.end(handle));
                let code = instead.code;
                cut = Some(Cut {
                    code,
                    _ending: ending,
                });
            }
        }
        if ready > 0 {
            let bytes = &connection.inbox.bytes()[..ready];
            if cut.is_some() {
                // The client has an error in its place.
            } else if manner.keep {
                hold_back(&mut kept, bytes)?;
            } else if !manner.discard {
                *forwarded = true;
                learned.bytes += ready as u64;
                let in_first = learned.outcome.status.is_none() && learned.error.is_none();
                let breaks_off = in_first && walker.is_in_rows() && manner.seen.is_none();
                learned.seen = rows.as_ref().filter(|_| breaks_off).and_then(|rows| {
                    let bytes = usize::try_from(learned.bytes).ok()?;
                    let sum = rows.sum();
                    Some(Seen { bytes, sum })
                });
                write_bounded(&mut client.stream, bytes, client.write_timeout).await?;
                if walker.is_at_head() {
                    client.stream.end_result();
                }
            }
            connection.inbox.consume(ready);
        }
        if let Some(seq) = learned.wants_file.take() {
            client.inbox.consume(std::mem::take(&mut learned.before_file));
            match carry_file(handle, client, connection, seq).await {
                Ok(size) => learned.uploaded += size,
                Err(error) => {
                    if matches!(error, Error::Server(_)) {
                        client.write(connection.inbox.bytes()).await?;
                    }
                    return Err(error);
                }
            }
            if !connection.inbox.is_empty() {
                continue;
            }
        }
        if walker.is_done() {
            learned.rows = walker.rows();
            handle.step(Step::Reply);
            if let Some(cut) = &cut {
                // The shot has met what it was for.
                learned.overran |= learned.error == Some(INTERRUPTED);
                learned.error = Some(cut.code);
                learned.outcome.failed = true;
                learned.cut = true;
            }
            if let (Some(digest), Some(rows)) = (&mut learned.digest, &rows) {
                digest.rows(rows);
            }
            return Ok(if manner.keep {
                Carried::Kept(kept)
            } else {
                Carried::All
            });
        }
        read_watching(handle, client, connection, needed).await?;
    }
}

/// Reads a reply that is not the client's: the answer to a command that Tandem sent itself.
///
/// Returns its bytes and the error, if it was one.
///
/// # Errors
/// See [`Error`]; the connection can't be used again after one.
pub(crate) async fn swallow(connection: &mut Connection, expect: Expect) -> Result<Swallowed, Error> {
    let mut walker = Walker::new(expect, connection.capabilities);
    let mut swallowed = Swallowed::default();
    loop {
        let error = &mut swallowed.error;
        let Walked { ready, needed, .. } =
            walk(&mut walker, connection, None, usize::MAX, |connection, packet| {
                let Packet { at, len, kind } = packet;
                if kind == Control::Err {
                    let payload = &connection.inbox.bytes()[at + HEADER_LEN..at + len];
                    *error = Some(ErrPacket::decode(payload)?.to_owned());
                }
                Ok(ControlFlow::Continue(len))
            })?;
        hold_back(&mut swallowed.bytes, &connection.inbox.bytes()[..ready])?;
        connection.inbox.consume(ready);
        if walker.is_done() {
            return Ok(swallowed);
        }
        read_more(connection, needed).await?;
    }
}

/// As [`swallow`] on a session's behalf: ends when the client goes away or the session is killed, since a server may
/// take its time, or never answer.
pub(crate) async fn swallow_watching(
    handle: &Handle,
    client: &mut Client,
    connection: &mut Connection,
    expect: Expect,
) -> Result<Swallowed, Error> {
    let mut swallowing = pin!(swallow(connection, expect));
    poll_fn(|cx| {
        if let Poll::Ready(swallowed) = swallowing.as_mut().poll(cx) {
            return Poll::Ready(swallowed);
        }
        poll_over(handle, client, cx).map(Err)
    })
    .await
}

/// Ready when nobody waits any more: the session is killed, or its client has gone.
pub(crate) fn poll_over(handle: &Handle, client: &mut Client, cx: &mut Context<'_>) -> Poll<Error> {
    if handle.signal() == Signal::Kill {
        return Poll::Ready(Error::Killed);
    }
    if handle.is_abandoned() {
        return Poll::Ready(Error::Abandoned);
    }
    handle.watch(cx);
    client.poll_gone(cx).map(|()| Error::ClientGone)
}

/// Adds to a reply that is held in memory, within [`HELD_BACK`].
fn hold_back(held: &mut Vec<u8>, bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > HELD_BACK.saturating_sub(held.len()) {
        return Err(DecodeError::TooLarge { limit: HELD_BACK });
    }
    held.extend_from_slice(bytes);
    Ok(())
}

/// Reads on until `needed` bytes are there, and in any case something new.
async fn read_more(connection: &mut Connection, needed: usize) -> Result<(), Error> {
    let wanted = needed.max(connection.inbox.len() + 1);
    let filled = net::fill(&mut connection.stream, &mut connection.inbox, wanted).await;
    filled.map_err(Error::Server)
}

/// As [`read_more`], but ends when the client goes away or the session is killed: the server's connection is then
/// closed, and what it held is free as soon as the server notices, as without Tandem.
async fn read_watching(
    handle: &Handle,
    client: &mut Client,
    connection: &mut Connection,
    needed: usize,
) -> Result<(), Error> {
    let wanted = needed.max(connection.inbox.len() + 1);
    while connection.inbox.len() < wanted {
        let missing = (wanted - connection.inbox.len()).min(connection.inbox.len().max(4096));
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = connection.inbox.poll_fill(cx, &mut connection.stream, missing) {
                return Poll::Ready(read.map_err(Error::Server));
            }
            poll_over(handle, client, cx).map(Err)
        });
        if read.await? == 0 {
            return Err(Error::Server(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

/// A reply to Tandem itself.
#[derive(Debug, Default)]
pub(crate) struct Swallowed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) error: Option<ServerError>,
}

/// Learns from one packet, and takes out of it what the client did not ask for. Returns its new length.
fn learn(
    handle: &Handle,
    connection: &mut Connection,
    Packet { at, len, kind }: Packet,
    client: &Client,
    learned: &mut Learned,
) -> Result<usize, Error> {
    let payload = &connection.inbox.bytes()[at + HEADER_LEN..at + len];
    match kind {
        Control::Ok => return learn_ok(connection, at, len, client, learned),
        Control::Eof => {
            let eof = EofPacket::decode(payload)?;
            learn_status(learned, eof.status, eof.warnings);
            learned.affected = None;
            // What changed is reported with some later OK packet; that something did is said here.
            learned.outcome.state_changed |= eof.status.contains(Status::SESSION_STATE_CHANGED);
            learned.reported = false;
            if !may_be_reported(connection, client) {
                hide_change(&mut connection.inbox.bytes_mut()[at..at + len]);
            }
        }
        Control::Err => {
            let packet = ErrPacket::decode(payload)?;
            learned.error = Some(packet.code);
            // The first statement of several may have run before a later one could not be parsed.
            learned.outcome.refused = packet.code == PARSE_ERROR && learned.outcome.status.is_none();
            learned.outcome.failed = true;
            learned.outcome.status = None;
            learned.reported = false;
            let code = packet.code;
            let len = match handle.overrun().filter(|_| code == INTERRUPTED) {
                Some(overrun) => {
                    say_what_was_overrun(overrun, handle, connection, at..at + len, client, learned)
                }
                None => len,
            };
            if let (Some(digest), Some(code)) = (&mut learned.digest, learned.error) {
                digest.error(code);
            }
            return Ok(len);
        }
        Control::PrepareOk => learned.prepared = Some(PrepareOk::decode(payload)?),
        Control::ColumnCount => return Ok(say_that_metadata_follows(connection, at, len)),
        Control::LocalInfile => {
            let seq = connection.inbox.bytes()[at + HEADER_LEN - 1];
            learned.wants_file = Some(seq.wrapping_add(1));
        }
    }
    Ok(len)
}

/// Puts the cause in the place of the server's word that somebody killed the statement. Returns the packet's new length.
fn say_what_was_overrun(
    overrun: Overrun,
    handle: &Handle,
    connection: &mut Connection,
    packet: Range<usize>,
    client: &Client,
    learned: &mut Learned,
) -> usize {
    let user = handle.user.borrow();
    let complaint = match overrun {
        Overrun::Statement(limit) => Complaint::statement_overdue(limit, &user, connection.flavor),
        Overrun::Transaction(limit) => Complaint::transaction_overdue(limit, &user),
    };
    let seq = connection.inbox.bytes()[packet.start + HEADER_LEN - 1];
    let mut told = Vec::new();
    complaint.write(&mut told, seq, client.capabilities);
    connection.inbox.replace(packet, &told);
    learned.error = Some(complaint.code);
    learned.overran = true;
    told.len()
}

/// What of a status is the session's state, and not of one reply.
const STATE: Status = Status::IN_TRANS
    .union(Status::AUTOCOMMIT)
    .union(Status::IN_TRANS_READONLY)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::ANSI_QUOTES);

fn learn_status(learned: &mut Learned, status: Status, warnings: u16) {
    learned.outcome.status = Some(status & STATE);
    learned.outcome.warnings = warnings;
    learned.cursor = status.contains(Status::CURSOR_EXISTS) && !status.contains(Status::LAST_ROW_SENT);
}

fn learn_ok(
    connection: &mut Connection,
    at: usize,
    len: usize,
    client: &Client,
    learned: &mut Learned,
) -> Result<usize, Error> {
    let bytes = connection.inbox.bytes();
    let payload = &bytes[at + HEADER_LEN..at + len];
    let ok = OkPacket::decode(payload, connection.capabilities)?;
    learn_status(learned, ok.status, ok.warnings);
    learned.affected = (payload.first() != Some(&OK_AS_EOF_HEADER)).then_some(ok.affected_rows);
    learned.told = first_number(ok.info);
    // Behind a procedure that used a cursor itself, MySQL 9.7.4 still says in the last OK that there is one.
    learned.cursor &= payload.first() == Some(&OK_AS_EOF_HEADER);
    learned.reported = true;
    if let (Some(digest), Some(affected)) = (&mut learned.digest, learned.affected) {
        digest.done(affected, ok.last_insert_id, learned.told);
    }
    if ok.last_insert_id != 0 {
        learned.insert_id = ok.last_insert_id;
    }
    for change in session_track::changes(ok.session_state) {
        learn_change(learned, change?, connection.flavor)?;
    }
    if ok.info.is_empty() && ok.session_state.is_empty() {
        return Ok(len);
    }
    let session_state = match &client.filter {
        // The trackers are the client's: it is told what they say.
        Some(_) if matches!(connection.trackers, Trackers::Client { .. }) && understands(client) => {
            return Ok(len);
        }
        Some(filter) => filter.apply(ok.session_state)?,
        None => Vec::new(),
    };
    let told = OkPacket {
        session_state: &session_state,
        ..ok
    };
    let mut rewritten = Vec::with_capacity(HEADER_LEN + len);
    told.encode(payload[0], client.capabilities, &mut rewritten);
    if rewritten.len() > payload.len() {
        // Several variables in one entry, which no server was seen to send: the client is told all of it.
        return Ok(len);
    }
    let seq = bytes[at + 3];
    let header = Header {
        len: rewritten.len(),
        seq,
    };
    let shorter = HEADER_LEN + rewritten.len();
    let target = &mut connection.inbox.bytes_mut()[at..at + len];
    target[..HEADER_LEN].copy_from_slice(&header.encode());
    target[HEADER_LEN..shorter].copy_from_slice(&rewritten);
    connection.inbox.cut(at + shorter, len - shorter);
    Ok(shorter)
}

/// The first number in the text.
fn first_number(info: &[u8]) -> Option<u64> {
    let at = info.iter().position(u8::is_ascii_digit)?;
    let mut digits = info[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// The client takes definitions from its memory where a flag behind the column count says so, and the server's connection
/// has no such flag: what the server thinks that its client remembers, another session may have seen. So they are always
/// sent. Returns the packet's new length.
fn say_that_metadata_follows(connection: &mut Connection, at: usize, len: usize) -> usize {
    let seq = connection.inbox.bytes()[at + 3];
    let header = Header {
        len: len + 1 - HEADER_LEN,
        seq,
    };
    connection.inbox.insert(at + len, 1);
    connection.inbox.bytes_mut()[at..at + HEADER_LEN].copy_from_slice(&header.encode());
    len + 1
}

fn understands(client: &Client) -> bool {
    client.capabilities.contains(Capabilities::SESSION_TRACK)
}

/// Whether a legacy EOF may say that something will be reported: it would not without Tandem's trackers.
fn may_be_reported(connection: &Connection, client: &Client) -> bool {
    matches!(connection.trackers, Trackers::Client { .. })
        || client
            .filter
            .as_ref()
            .is_some_and(|filter| filter.may_pass_unseen())
}

/// Takes the bit for changes out of the status of an EOF, given with its header.
fn hide_change(eof: &mut [u8]) {
    const STATUS_AT: usize = HEADER_LEN + 3;
    if let Some(&[low, high]) = eof.get(STATUS_AT..).and_then(<[u8]>::first_chunk) {
        let status = Status::from_bits_retain(u16::from_le_bytes([low, high]));
        let hidden = status - Status::SESSION_STATE_CHANGED;
        eof[STATUS_AT..STATUS_AT + 2].copy_from_slice(&hidden.bits().to_le_bytes());
    }
}

/// What a reply may report of variables, all together: more than servers have.
const REPORTED: usize = 1 << 20;

fn learn_change(learned: &mut Learned, change: Change<'_>, flavor: Flavor) -> Result<(), DecodeError> {
    match change {
        Change::SystemVariable {
            name: b"last_gtid",
            value,
        } => {
            let gtid = std::str::from_utf8(value).ok().and_then(Gtid::parse_mariadb);
            learned.gtid = gtid.or(learned.gtid);
        }
        Change::SystemVariable { name, value } => {
            learned.trackers |= name.starts_with(b"session_track_");
            if Settings::is_carried(name) {
                note_variable(&mut learned.variables, name, value)?;
            }
        }
        Change::Schema(schema) => learned.schema = Some(schema.into()),
        Change::StateChanged(changed) => learned.outcome.state_changed |= changed,
        Change::Gtids(gtids) if flavor == Flavor::MySql => {
            let gtid = std::str::from_utf8(gtids).ok().and_then(Gtid::parse_mysql);
            learned.unfollowed |= gtid.is_none();
            learned.gtid = gtid.or(learned.gtid);
        }
        Change::Gtids(_)
        | Change::TransactionCharacteristics(_)
        | Change::TransactionState(_)
        | Change::Unknown { .. } => {}
    }
    Ok(())
}

/// Notes the last value that was reported: a procedure may set the same variables again and again.
fn note_variable(variables: &mut Vec<Variable>, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
    variables.retain(|known| *known.name != *name);
    let held: usize = variables.iter().map(Variable::size).sum();
    let new = Variable {
        name: name.into(),
        value: value.into(),
    };
    if held + new.size() > REPORTED {
        return Err(DecodeError::TooLarge { limit: REPORTED });
    }
    variables.push(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_reported_again_the_last_counts() {
        let mut variables = Vec::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            note_variable(&mut variables, name.as_bytes(), value.as_bytes()).expect("little");
        }
        let value = |name: &[u8]| {
            let mut found = variables.iter().filter(|variable| *variable.name == *name);
            (
                found.next().map(|variable| variable.value.to_vec()),
                found.count(),
            )
        };
        assert_eq!(value(b"a"), (Some(b"3".to_vec()), 0));
        assert_eq!(value(b"b"), (Some(b"2".to_vec()), 0));
    }

    /// A server could report new names in one reply for ever.
    #[test]
    fn what_is_reported_has_an_end() {
        let mut variables = Vec::new();
        let mut note = |number: usize, value: &[u8]| {
            let name = format!("v{number}");
            note_variable(&mut variables, name.as_bytes(), value)
        };
        let limit = REPORTED;
        let most = (0..limit).position(|number| note(number, b"").is_err());
        assert!(most.is_some_and(|most| most > 4000), "{most:?} without a value");
        let long = vec![b'x'; REPORTED];
        assert_eq!(note(0, &long), Err(DecodeError::TooLarge { limit }));
    }
}
