//! Replication clients: `COM_REGISTER_SLAVE` and the binlog dumps, whose answer has no end.
//!
//! A dump is not a question with an answer: the server sends events for as long as both live, and a semi-synchronous
//! replica acknowledges them in between. So bytes are carried both ways until the server says that it is over, one side
//! closes, or the server is no longer the active master: then the replica has to come back and be led to the other.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_protocol::command::CommandCode;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::response::{Expect, Walker};
use tokio::time::{Interval, interval};

use super::complaint::Complaint;
use super::learn::Learned;
use super::registry::{Handle, Signal};
use super::relay::{Client, Error};
use super::run::Work;
use super::walk::{Packet, Walked, walk};
use super::{Command, End, Session};
use crate::backend::Connection;
use crate::topology;

/// How soon a dump ends after its server has stopped being the active master.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Session {
    /// What only replication clients send. `expect` is what the server answers it with.
    pub(super) async fn replicate(
        &mut self,
        code: CommandCode,
        command: Command,
        expect: Expect,
    ) -> Result<(), End> {
        self.handle.enter(match code {
            CommandCode::RegisterSlave => "Register Slave",
            _ => "Binlog Dump",
        });
        // Whether one of the servers' own accounts may is for them to say.
        let config = self.worker.config();
        let configured = self.account.configured_in(&config);
        if configured.is_some_and(|user| !user.replication) {
            self.skip(command).await?;
            let complaint = Complaint::no_replication(code, &self.handle.user.borrow());
            return self.complain(&complaint).await;
        }
        let facts = Rc::clone(&self.worker.known_facts.replicate);
        self.run(Work::new(facts, expect, command)).await.map(drop)
    }
}

/// Carries a dump to its end.
///
/// # Errors
/// See [`Error`]; the connection can't be used again after one.
pub(super) async fn carry_dump(
    handle: &Handle,
    client: &mut Client,
    connection: &mut Connection,
    topology: &topology::Shared,
    learned: &mut Learned,
) -> Result<(), Error> {
    // Whatever a registered replica leaves there is nothing for other sessions.
    connection.broken = true;
    let mut walker = Walker::new(Expect::Dump, connection.capabilities);
    let mut looks = interval(LOOK_AGAIN);
    let mut said = Said::default();
    loop {
        let pass = |_: &mut Connection, packet: Packet| Ok(ControlFlow::Continue(packet.len));
        let Walked { ready, .. } = walk(&mut walker, connection, |_| {}, usize::MAX, pass)?;
        if ready > 0 {
            client.write(&connection.inbox.bytes()[..ready]).await?;
            learned.bytes += ready as u64;
            connection.inbox.consume(ready);
        }
        if walker.is_done() {
            return Ok(());
        }
        poll_fn(|cx| poll_either(cx, handle, client, connection, topology, &mut looks)).await?;
        let count = said.advance(client.inbox.bytes());
        if count > 0 {
            let sent = connection.stream.write_all(&client.inbox.bytes()[..count]).await;
            sent.map_err(Error::Server)?;
            learned.uploaded += count as u64;
            client.inbox.consume(count);
        }
    }
}

/// What a replica says while it is sent events, packet by packet.
#[derive(Debug, Default)]
struct Said {
    /// Bytes of the current packet that are still to come.
    left: usize,
}

impl Said {
    /// How many bytes at the start of `input` can be passed on: all but half a header, with which a write to a compressed
    /// connection must not begin.
    fn advance(&mut self, input: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let now = self.left.min(input.len() - taken);
            taken += now;
            self.left -= now;
            match Header::peek(&input[taken..]) {
                Some(header) if self.left == 0 => self.left = HEADER_LEN + header.len,
                _ => return taken,
            }
        }
    }
}

/// Ready when one of the two has sent something.
fn poll_either(
    cx: &mut Context<'_>,
    handle: &Handle,
    client: &mut Client,
    connection: &mut Connection,
    topology: &topology::Shared,
    looks: &mut Interval,
) -> Poll<Result<(), Error>> {
    let gone = || std::io::ErrorKind::UnexpectedEof.into();
    match connection.inbox.poll_fill(cx, &mut connection.stream, AT_ONCE) {
        Poll::Ready(Ok(0)) => return Poll::Ready(Err(Error::Server(gone()))),
        Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
        Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Server(error))),
        Poll::Pending => {}
    }
    match client.inbox.poll_fill(cx, &mut client.stream, 1) {
        Poll::Ready(Ok(0)) => return Poll::Ready(Err(Error::ClientGone)),
        Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
        Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Client(error))),
        Poll::Pending => {}
    }
    // There is no end of a statement to wait for.
    if handle.signal() != Signal::None {
        return Poll::Ready(Err(Error::Killed));
    }
    handle.watch(cx);
    while looks.poll_tick(cx).is_ready() {
        // While there is no active master the old one may yet be it again.
        if topology
            .load()
            .active
            .is_some_and(|active| active != connection.server)
        {
            return Poll::Ready(Err(Error::MasterMoved));
        }
    }
    Poll::Pending
}

/// Room for what a server sends of its binlog in one read.
const AT_ONCE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever a replica's bytes are split, all are passed on, and no header in two pieces.
    #[test]
    fn headers_are_passed_on_whole() {
        let frame = |len: usize| [&Header { len, seq: 0 }.encode()[..], &vec![b'x'; len]].concat();
        let bytes = [frame(9), frame(0), frame(3)].concat();
        let headers = [0, 13, 17];
        for split in 0..=bytes.len() {
            let mut said = Said::default();
            let first = said.advance(&bytes[..split]);
            let torn = headers
                .iter()
                .any(|at| (at + 1..at + HEADER_LEN).contains(&first));
            assert!(!torn && split - first < HEADER_LEN, "{first} of {split}");
            assert_eq!(
                first + said.advance(&bytes[first..]),
                bytes.len(),
                "split at {split}"
            );
        }
    }
}
