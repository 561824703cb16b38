//! One exchange with a server: what has to go before the statement, the statement, and its reply.

use std::time::Duration;

use tandem_protocol::DecodeError;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::err::ServerError;
use tandem_protocol::response::Expect;

use super::bring::MUST_CHANGE_PASSWORD;
use super::complaint::Complaint;
use super::doubt;
use super::errors::{ASK_ELSEWHERE, ENDED, GOING, READ_ONLY, ROLLED_BACK, UNDONE};
use super::learn::Learned;
use super::relay::{self, Carried, Manner, Swallowed, carry, swallow};
use super::replay::digest::Digest;
use super::replicate::carry_dump;
use super::run::{Failed, Leeway, Work, is_server_fault};
use super::send::Preamble;
use super::{End, Session};
use crate::backend::Connection;
use crate::classify::facts::{Facts, Kind, Purity};
use crate::failover::outcome::COMMENT_LEN;
use crate::statistics::trace::Step;

/// ER_UNKNOWN_STMT_HANDLER, ER_NEED_REPREPARE: nothing was executed.
const PREPARE_AGAIN: &[u16] = &[1243, 1615];

/// How long a server that closed the connection may take to have said why.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl Session {
    /// Sends the statement with what has to go before it, and carries the reply.
    pub(super) async fn exchange(
        &mut self,
        connection: &mut Connection,
        work: &mut Work,
        leeway: Leeway,
        learned: &mut Learned,
        forwarded: &mut bool,
    ) -> Result<Carried, Failed> {
        must_be_silent(connection)?;
        if leeway.may_replay && connection.is_disturbed() {
            // Gone before the statement was sent, which therefore has not been executed.
            let name = &self.worker.pools[connection.server.0].name;
            let complaint = Complaint::lost(
                name,
                "it had closed the connection",
                doubt::STATE_LOST,
                self.client.capabilities,
            );
            return Err(Failed::Replay(complaint));
        }
        let foreign = connection.last_session != self.handle.id;
        let mut preamble = self.bring_state(connection, &work.facts).await?;
        self.handle.step(Step::Bring);
        if self.fill_in(connection, work).is_err() && foreign {
            // Nor is it to find what another session left.
            preamble.forget_rows(connection.capabilities);
        }
        self.record(work, learned);
        self.transmit(connection, work, &mut preamble).await?;
        if work.silent {
            return Ok(Carried::All);
        }
        let may_ask_file =
            may_load(work.facts.kind) && connection.key.flags.contains(Capabilities::LOCAL_FILES);
        if may_ask_file {
            learned.before_file = work.command.head;
        }
        let ruled = work.ruled.as_ref();
        let bounds = ruled.and_then(|ruled| ruled.bounds(&work.facts, &self.worker));
        let mut manner = Manner {
            expect: work.expect,
            // One of Tandem's own making is in one frame.
            first: work.owned.as_ref().map_or(self.client.seq, |_| 1),
            withhold: [
                match leeway {
                    Leeway {
                        may_ask_active: true, ..
                    } => ASK_ELSEWHERE,
                    Leeway { may_wait: true, .. } => READ_ONLY,
                    Leeway { may_replay: true, .. } if self.may_commit(work) => READ_ONLY,
                    Leeway { may_replay: true, .. } => GOING,
                    Leeway { .. } => &[],
                },
                if work.may_prepare_again && !may_ask_file {
                    PREPARE_AGAIN
                } else {
                    &[]
                },
                match leeway {
                    Leeway { may_repeat: true, .. } => UNDONE,
                    Leeway {
                        may_collide: true, ..
                    } => ROLLED_BACK,
                    Leeway { .. } => &[],
                },
                if leeway.may_be_lost { ENDED } else { &[] },
            ],
            keep: work.keep,
            discard: false,
            seen: work.seen,
            may_ask_file,
            bounds: bounds.as_ref(),
            is_mirrored: work.is_mirrored,
        };
        if work.expect == Expect::Dump {
            *forwarded = true;
            self.client.inbox.consume(work.command.head);
            work.command.head = 0;
            let (client, topology) = (&mut self.client, &self.worker.topology);
            Box::pin(carry_dump(&self.handle, client, connection, topology, learned)).await?;
            return Ok(Carried::All);
        }
        loop {
            let (handle, client) = (&self.handle, &mut self.client);
            let carried = carry(handle, client, connection, manner, learned, forwarded).await;
            if may_ask_file {
                // Until a file is asked for, it may have to be sent again.
                work.command.head = learned.before_file;
            }
            let carried = carried?;
            let lost = learned
                .error
                .is_some_and(|code| manner.withhold[1].contains(&code));
            let Some(prepared) = work
                .prepared
                .as_ref()
                .filter(|_| carried == Carried::Withheld && lost)
            else {
                return Ok(carried);
            };
            connection.close_prepared(prepared.id);
            *learned = Learned {
                digest: learned.digest.map(|_| Digest::default()),
                // The client was sent nothing yet.
                transcript: learned.transcript.take(),
                ..Learned::default()
            };
            manner.withhold[1] = &[];
            self.transmit(connection, work, &mut Preamble::default()).await?;
        }
    }

    /// Sends what has to go before the statement, and the statement.
    pub(super) async fn transmit(
        &mut self,
        connection: &mut Connection,
        work: &mut Work,
        preamble: &mut Preamble,
    ) -> Result<(), Failed> {
        if let Some(prepared) = work.prepared.clone() {
            let id = match connection.prepared.find(prepared.id) {
                Some(id) => id,
                None => Box::pin(self.prepare_there(connection, &prepared, preamble)).await?,
            };
            self.patch_statement(work, id);
        }
        let mut preamble = std::mem::take(preamble);
        if preamble.sets() && !must_have_rows(&work.facts) {
            let first = std::mem::take(&mut preamble);
            let synced = Box::pin(first.exchange(self, connection)).await?;
            must_be_synced(connection, synced)?;
        }
        if !preamble.awaits_replies() {
            must_be_silent(connection)?;
        }
        if let Err(failed) = self.send(connection, &preamble.bytes, work).await {
            return Err(Box::pin(last_words(connection, failed)).await);
        }
        self.handle.step(Step::Send);
        self.panic_if_asked(work);
        if preamble.awaits_replies() {
            let synced = Box::pin(preamble.replies(self, connection)).await?;
            must_be_synced(connection, synced)?;
        }
        Ok(())
    }

    /// See [`crate::config::Config::panic_on`]: at the worst moment, while the reply is on its way.
    fn panic_if_asked(&self, work: &Work) {
        if let Some(wanted) = self.worker.config().panic_on {
            let text = self.client.inbox.bytes().get(HEADER_LEN + 1..work.command.head);
            assert_ne!(text, Some(wanted.as_bytes()), "a test wants a panic");
        }
    }

    fn patch_statement(&mut self, work: &mut Work, id: u32) {
        let bytes = match &mut work.owned {
            Some(owned) => owned.as_mut_slice(),
            None => self.client.inbox.bytes_mut(),
        };
        bytes[HEADER_LEN + 1..HEADER_LEN + 5].copy_from_slice(&id.to_le_bytes());
    }

    /// Writes preamble and command in one go; a long command's rest follows as it arrives.
    async fn send(
        &mut self,
        connection: &mut Connection,
        preamble: &[u8],
        work: &mut Work,
    ) -> Result<(), Failed> {
        let inbox = self.client.inbox.bytes();
        let head = work.owned.as_deref().unwrap_or(&inbox[..work.command.head]);
        let marked = mark(connection, preamble, head, work);
        let sent = match &marked {
            Some((start, text)) => connection.stream.write_both(start, text).await,
            None => connection.stream.write_both(preamble, head).await,
        };
        sent.map_err(relay::Error::Server)?;
        let Some(mut tail) = work.command.tail else {
            return Ok(());
        };
        self.client.inbox.consume(work.command.head);
        work.command.head = 0;
        while !tail.is_done() {
            let advanced = tail.advance(self.client.inbox.bytes());
            self.client.seq = tail.reply_seq();
            let Ok(count) = advanced else {
                let limit = self.worker.config().limits.command_bytes;
                return Err(End::Complaint(Complaint::too_long(limit)).into());
            };
            if count == 0 {
                let wanted = self.client.inbox.len() + 1;
                self.fill_client(wanted).await?;
                continue;
            }
            let sent = connection
                .stream
                .write_all(&self.client.inbox.bytes()[..count])
                .await;
            sent.map_err(relay::Error::Server)?;
            self.worker
                .count(|counters| counters.client_received_bytes += count as u64);
            self.handle.underway.borrow_mut().sent(count as u64);
            self.client.inbox.consume(count);
        }
        Ok(())
    }
}

/// What sets the session's state was not refused, or only since the password has to be changed first.
fn must_be_synced(connection: &mut Connection, synced: Result<(), ServerError>) -> Result<(), Failed> {
    let Err(refused) = synced else {
        return Ok(());
    };
    if refused.code == MUST_CHANGE_PASSWORD {
        connection.soiled = true;
        return Ok(());
    }
    // The statement ran without the state it needs, unless it was not sent yet: its reply must not pass for an
    // answer. It may be long, so the connection is closed and not read to the end.
    connection.broken = true;
    Err(Failed::Refuse(Complaint::of_server(refused)))
}

/// Nothing is owed by the server: whatever it has said, it does not answer what is sent now.
fn must_be_silent(connection: &Connection) -> Result<(), relay::Error> {
    match connection.inbox.len() {
        0 => Ok(()),
        count => Err(relay::Error::Protocol(DecodeError::Trailing {
            packet: "the last reply",
            count,
        })),
    }
}

/// Whether a statement is answered with rows, if not with an error. Only such a one goes out in one write with what sets the
/// session's state: an OK too many would pass for the answer of any other, and that for the next session's.
pub(super) fn must_have_rows(facts: &Facts) -> bool {
    facts.kind == Kind::Select && facts.purity == Purity::Pure
}

/// The command with the connection's token before its text: what goes before the text, and that where it is. Nothing for
/// one whose text does not write, or is too long to be looked at, or would not fit into its packet any more.
fn mark<'a>(
    connection: &Connection,
    preamble: &[u8],
    command: &'a [u8],
    work: &Work,
) -> Option<(Vec<u8>, &'a [u8])> {
    let comment = connection.token.as_ref().filter(|_| work.marked)?.comment();
    let Header { len, seq } = Header::peek(command)?;
    let header = Header {
        len: len + COMMENT_LEN,
        seq,
    };
    if work.command.tail.is_some() || header.len >= MAX_PAYLOAD {
        return None;
    }
    let (before, text) = command.split_at_checked(work.command.text_at)?;
    let before = before.get(HEADER_LEN..)?;
    let mut start = Vec::with_capacity(preamble.len() + HEADER_LEN + before.len() + COMMENT_LEN);
    for part in [preamble, &header.encode(), before, comment] {
        start.extend_from_slice(part);
    }
    Some((start, text))
}

/// A server that refuses a long command (over its `max_allowed_packet`) says why and closes while it is still
/// being sent: its error tells more than the broken pipe.
async fn last_words(connection: &mut Connection, failed: Failed) -> Failed {
    if !matches!(&failed, Failed::End(End::Relay(error)) if is_server_fault(error)) {
        return failed;
    }
    match tokio::time::timeout(LAST_WORDS, swallow(connection, Expect::Single)).await {
        Ok(Ok(Swallowed {
            error: Some(error), ..
        })) => Failed::End(End::Complaint(Complaint::of_server(error))),
        _ => failed,
    }
}

/// Statements whose answer may be the request for a file. Any other server that asks for one is after files that are
/// none of its business.
fn may_load(kind: Kind) -> bool {
    matches!(kind, Kind::Load | Kind::Multi | Kind::Execute | Kind::Unknown)
}
