//! Carries one reply from a server to a client, byte for byte; what it teaches on the way is [`super::learn`]'s.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_protocol::command::write_query;
use tandem_protocol::error::DecodeError;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::HEADER_LEN;
use tandem_protocol::packet::err::{ErrPacket, ServerError};
use tandem_protocol::response::{Control, Expect, Walker};
use thiserror::Error;

use super::complaint::Complaint;
use super::learn::{Learned, learn};
use super::registry::{Handle, Signal};
use super::replay::digest::Rows;
use super::reports::Filter;
use super::ruled::Ruled;
use super::upload::carry_file;
use super::walk::{Packet, Walked, walk};
use crate::backend::Connection;
use crate::mirror::answer::Answer;
use crate::mirror::sums::Sums;
use crate::net::buffer::Inbox;
use crate::net::{self, Stream};
use crate::statistics::trace::Step;
use crate::worker::Worker;
use crate::worker::kill::Overtime;

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
    #[error("it is being stopped, and has ended the connection with error {0}")]
    Ended(u16),
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
    let mut writing = pin!(stream.write_all(bytes));
    // The socket mostly takes all of it at once: a timer is made where it does not.
    let at_once = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
    let written = match at_once {
        Poll::Ready(written) => Ok(written),
        Poll::Pending => Box::pin(tokio::time::timeout(bound, writing)).await,
    };
    match written {
        Ok(written) => written.map_err(Error::Client),
        Err(_) => Err(Error::ClientStuck(bound)),
    }
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
    /// The number of its first packet.
    pub(crate) first: u8,
    /// Error codes that must not reach the client when nothing else has: the statement is asked elsewhere.
    pub(crate) withhold: [&'a [u16]; 4],
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
    /// A mirror's answer will be compared with it.
    pub(crate) is_mirrored: bool,
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
    let mut walker = Walker::new(manner.expect, connection.capabilities).beginning_at(manner.first);
    if client.capabilities.contains(Capabilities::MARIADB_CACHE_METADATA) {
        walker = walker.handing_out_counts();
    }
    if learned.digest.is_some() || manner.bounds.is_some() || manner.is_mirrored {
        walker = walker.parting_rows();
    }
    let mut cut: Option<Cut> = None;
    let mut rows = learned.digest.map(|_| Rows::default());
    let mut sums = manner.is_mirrored.then(|| Box::new(Sums::begin()));
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
            |bytes| {
                if let Some(rows) = &mut rows {
                    rows.add(bytes);
                }
                if let Some(sums) = &mut sums {
                    sums.add(bytes);
                }
            },
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
                if let Some(transcript) = &mut learned.transcript {
                    transcript.add(bytes);
                }
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
            match Box::pin(carry_file(handle, client, connection, seq)).await {
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
            if let Some(mut sums) = sums {
                sums.end(walker.columns(), learned.error);
                learned.sums = Some(sums);
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
        let Walked { ready, needed, .. } = walk(
            &mut walker,
            connection,
            |_| {},
            usize::MAX,
            |connection, packet| {
                *error = error_in(connection, packet)?.or(error.take());
                Ok(ControlFlow::Continue(packet.len))
            },
        )?;
        hold_back(&mut swallowed.bytes, &connection.inbox.bytes()[..ready])?;
        connection.inbox.consume(ready);
        if walker.is_done() {
            return Ok(swallowed);
        }
        read_more(connection, needed).await?;
    }
}

/// The error that a packet is, if it is one.
fn error_in(connection: &Connection, packet: Packet) -> Result<Option<ServerError>, Error> {
    let Packet { at, len, kind } = packet;
    if kind != Control::Err {
        return Ok(None);
    }
    let payload = &connection.inbox.bytes()[at + HEADER_LEN..at + len];
    Ok(Some(ErrPacket::decode(payload)?.to_owned()))
}

/// Reads a reply that nobody gets, for what it comes to.
///
/// # Errors
/// See [`Error`]; the connection can't be used again after one.
pub(crate) async fn sum_up(connection: &mut Connection, expect: Expect) -> Result<Answer, Error> {
    let mut walker = Walker::new(expect, connection.capabilities).parting_rows();
    let mut sums = Sums::begin();
    let mut error = None;
    loop {
        let add = |bytes: &[u8]| sums.add(bytes);
        let Walked { ready, needed, .. } =
            walk(&mut walker, connection, add, usize::MAX, |connection, packet| {
                if packet.kind == Control::LocalInfile {
                    return Err(Error::UninvitedFile);
                }
                error = error_in(connection, packet)?.or(error.take());
                Ok(ControlFlow::Continue(packet.len))
            })?;
        connection.inbox.consume(ready);
        if walker.is_done() {
            sums.end(walker.columns(), error.map(|error| error.code));
            return Ok(sums.answer());
        }
        read_more(connection, needed).await?;
    }
}

/// Has a statement of Tandem's own answered, on a connection that is nobody's. An error of the server is among what was swallowed.
///
/// # Errors
/// In words; the connection can't be used again after one.
pub(crate) async fn ask(
    connection: &mut Connection,
    text: &str,
    expect: Expect,
) -> Result<Swallowed, String> {
    let mut bytes = Vec::new();
    write_query(&mut bytes, text.as_bytes(), connection.capabilities);
    let sent = connection.stream.write_all(&bytes).await;
    sent.map_err(|error| error.to_string())?;
    let reply = swallow(connection, expect).await;
    reply.map_err(|error| error.to_string())
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
