//! Follows what the standby applies, between the probes: one wait for the newest commit is always under way there, so
//! that its end is known as soon as it comes.
//!
//! It costs a question of its own for each answer, so under a steady load of writes there is a gap between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::sync::Notify;
use tracing::debug;

use super::Signals;
use super::door::Door;
use crate::topology::gtid::Stream;
use crate::topology::mark::Mark;
use crate::topology::{Flavor, Role, ServerId, Shared};

/// Between the end of one wait and the beginning of the next. Sessions that write wait no longer for their reads to be
/// shared again than this and what the standby needs; 1,000 questions a second are the most that it costs.
const GAP: Duration = Duration::from_millis(1);

/// A wait ends without an answer after this time, in the server's whole seconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// While there is nothing to follow, it is looked at whether there is again; and so it is after a failure.
const LOOK: Duration = Duration::from_millis(250);

/// Wakes a follower that has nothing to do; costs little when it is busy.
#[derive(Debug, Default)]
pub(super) struct Wake {
    idle: AtomicBool,
    notify: Notify,
}

impl Wake {
    pub(super) fn wake(&self) {
        // Read first: a shared line of cache is not taken away from the others on every commit.
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }
}

/// Follows one server while it is the standby.
pub(super) struct Follower {
    server: ServerId,
    door: Door,
    topology: Shared,
    signals: Signals,
    conn: Option<Conn>,
}

impl Follower {
    pub(super) fn new(server: ServerId, door: Door, topology: Shared, signals: Signals) -> Self {
        Self {
            server,
            door,
            topology,
            signals,
            conn: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Some(mark) = self.mark() else {
                // Not the standby: its connection would only wait to be killed.
                self.conn = None;
                if self.topology.load().active == Some(self.server) {
                    // Every commit would wake it for nothing.
                    tokio::time::sleep(LOOK).await;
                } else {
                    self.rest(None).await;
                }
                continue;
            };
            let committed = mark.committed();
            if committed <= mark.applied(self.server) {
                self.rest(Some(&mark)).await;
                continue;
            }
            match self.wait(&mark.stream(), committed).await {
                Ok(true) => mark.apply(self.server, committed),
                Ok(false) => {}
                Err(problem) => {
                    debug!(
                        server = self.server.0,
                        "what it applies can't be followed: {problem}"
                    );
                    tokio::time::sleep(LOOK).await;
                }
            }
            tokio::time::sleep(GAP).await;
        }
    }

    fn mark(&self) -> Option<Arc<Mark>> {
        let topology = self.topology.load();
        let follows = topology.server(self.server).role == Role::Standby;
        topology.mark.clone().filter(|_| follows)
    }

    /// Until a commit comes, or until it is time to look whether this is still the standby.
    async fn rest(&self, mark: Option<&Mark>) {
        let wake = &self.signals.followers[self.server.0];
        // One of the two sees the other: this the commit, or the commit this.
        wake.idle.store(true, Ordering::SeqCst);
        if mark.is_none_or(|mark| mark.committed() <= mark.applied(self.server)) {
            let _ = tokio::time::timeout(LOOK, wake.notify.notified()).await;
        }
        wake.idle.store(false, Ordering::SeqCst);
    }

    /// Whether the server has applied all commits of `stream` up to `number`, waiting for it a while. The connection is
    /// taken out while it is used: one whose answer has not come is not used again.
    async fn wait(&mut self, stream: &Stream, number: u64) -> Result<bool, String> {
        // For the server to answer, beside the time that it waits.
        let limit = PATIENCE + self.door.config().monitor.timeout;
        let question = question(stream.flavor(), &stream.up_to(number), PATIENCE);
        let asked = async {
            let mut conn = match self.conn.take() {
                Some(conn) => conn,
                None => self.door.open().await?,
            };
            let answer: Option<Option<i64>> = conn.query_first(&question).await?;
            self.conn = Some(conn);
            Ok::<_, Error>(answer.flatten())
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) => Ok(answer == Some(0)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }
}

/// Waits until a position, as the servers write it, is applied. Both answer 0 when it is: -1 (MariaDB) and 1 (MySQL) mean that
/// the time is over, NULL that nothing is applied there. What is applied is visible to readers: both count a commit after the
/// storage engine has made it.
pub(crate) fn question(flavor: Flavor, position: &str, patience: Duration) -> String {
    let seconds = patience.as_secs_f64();
    match flavor {
        Flavor::MariaDb => format!("SELECT MASTER_GTID_WAIT('{position}', {seconds:.3})"),
        Flavor::MySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds:.3})"),
    }
}
