//! Whether writes come to an end on the active master: a small one of Tandem's own, made only while somebody waits for his, tells
//! a statement that takes long from a server that writes nothing any more (its disk is dead or full) and from one whose commits
//! wait for a standby that can't be reached. While all is well nothing is written.
//!
//! The table `tandem.pulse` is made when it is first needed; without the right to (see [`super::sql`]) there is no such sign.

use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tokio::sync::watch;
use tracing::warn;

use crate::monitor::door::Door;
use crate::monitor::{CANT_WRITE, Signals, Sources};
use crate::topology::{ServerId, Shared};

/// How often it is looked whether writes end.
const LOOK: Duration = Duration::from_millis(100);

/// Nothing has ended for so long although somebody writes.
const QUIET: Duration = Duration::from_millis(500);

/// A look at what the write waits for takes no longer.
const ASK: Duration = Duration::from_secs(1);

/// Writes that were left waiting on a server lock their rows there: another takes another row.
const ROWS: u32 = 16;

const MAKE: [&str; 2] = [
    "CREATE DATABASE IF NOT EXISTS tandem",
    "CREATE TABLE IF NOT EXISTS tandem.pulse (id INT UNSIGNED PRIMARY KEY, at BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB",
];

/// A write that does not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    pub since: Instant,
    pub awaits: Awaits,
    /// In the server's words.
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The standby's word that it has received a commit.
    Receipt,
    /// Nothing but the server itself.
    Server,
}

/// See the module.
pub(super) struct Pulse {
    doors: Vec<Door>,
    names: Vec<String>,
    topology: Shared,
    signals: Signals,
    stall: watch::Sender<Option<Stall>>,
    /// Kept from one write to the next; of this server.
    conns: Option<(ServerId, Conns)>,
    /// That it has no rights was told.
    complained: bool,
}

/// To one server.
struct Conns {
    writer: Conn,
    /// By it is looked what the writer waits for.
    looker: Conn,
}

/// How a write ended.
enum Beat {
    Ended,
    /// The server could not.
    Failed(String),
    /// It says nothing about whether the server writes.
    Void,
}

impl Pulse {
    pub(super) fn new(sources: &Sources) -> (Self, watch::Receiver<Option<Stall>>) {
        let (stall, seen) = watch::channel(None);
        let pulse = Self {
            doors: Door::of_all(&sources.newer),
            names: sources.newer.borrow().server_names(),
            topology: Shared::clone(&sources.topology),
            signals: sources.signals.clone(),
            stall,
            conns: None,
            complained: false,
        };
        (pulse, seen)
    }

    pub(super) async fn run(mut self) {
        let mut ended = (None, 0, Instant::now());
        loop {
            let is_doubted = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = self.signals.doubted() => true,
            };
            let topology = self.topology.load_full();
            let (Some(active), Some(mark)) = (topology.active, &topology.mark) else {
                self.stall.send_replace(None);
                continue;
            };
            let told = mark.committed();
            let has_failed = self.stall.borrow().is_some() || is_doubted;
            if !mark.ledger().is_writing() || (ended.0, ended.1) != (Some(active), told) {
                ended = (Some(active), told, Instant::now());
            }
            if !has_failed && ended.2.elapsed() < QUIET {
                continue;
            }
            let beat = self.beat(active).await;
            ended.2 = Instant::now();
            let since = self.stall.borrow().as_ref().map(|stall| stall.since);
            self.stall.send_replace(match beat {
                Beat::Ended | Beat::Void => None,
                Beat::Failed(what) => Some(Stall {
                    since: since.unwrap_or_else(Instant::now),
                    awaits: Awaits::Server,
                    what,
                }),
            });
            if has_failed {
                tokio::time::sleep(QUIET).await;
            }
        }
    }

    /// One write, however long it takes.
    async fn beat(&mut self, active: ServerId) -> Beat {
        let limit = self.doors[active.0].config().monitor.timeout;
        let Ok(Ok(mut conns)) = tokio::time::timeout(limit, self.connections(active)).await else {
            // The monitor sees that it can't be reached.
            return Beat::Void;
        };
        let row = conns.writer.id() % ROWS;
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
        // Another value each time: what changes nothing is not written.
        let write = format!("REPLACE INTO tandem.pulse VALUES ({row}, {at})");
        let mut written = self.watched(active, &mut conns, &write).await;
        if matches!(&written, Some(Err(Error::Server(error))) if matches!(error.code, NO_DATABASE | NO_TABLE))
        {
            for statement in MAKE.into_iter().chain([&*write]) {
                written = self.watched(active, &mut conns, statement).await;
                if !matches!(written, Some(Ok(()))) {
                    break;
                }
                // What comes next waits anew.
                self.stall.send_replace(None);
            }
        }
        let Some(written) = written else {
            return Beat::Void;
        };
        if matches!(written, Ok(()) | Err(Error::Server(_))) {
            self.conns = Some((active, conns));
        }
        self.ended(active, written)
    }

    /// How a statement ended; while it goes on, what it waits for is shown. `None` when that says nothing about the server: another
    /// one is the active master now, or it answers nothing, which the monitor sees.
    async fn watched(
        &self,
        active: ServerId,
        Conns { writer, looker }: &mut Conns,
        statement: &str,
    ) -> Option<Result<(), Error>> {
        let begun = Instant::now();
        let id = writer.id();
        let mut wait = None;
        let mut writing = pin!(writer.query_drop(statement));
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return Some(written),
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.topology.load().active != Some(active) {
                return None;
            }
            if begun.elapsed() < QUIET {
                continue;
            }
            let asked = tokio::time::timeout(ASK, waits_for(looker, id)).await;
            let found = asked.ok()?.ok()?;
            let kind = found.as_ref().map(|(awaits, _)| *awaits);
            let (_, since) = *wait.insert(goes_on(wait, kind, begun, Instant::now()));
            let stall = found.map(|(awaits, what)| Stall { since, awaits, what });
            self.stall.send_replace(stall);
        }
    }

    async fn connections(&mut self, server: ServerId) -> Result<Conns, Error> {
        if let Some((of, conns)) = self.conns.take()
            && of == server
        {
            return Ok(conns);
        }
        let door = &self.doors[server.0];
        let (writer, looker) = (door.open().await?, door.open().await?);
        Ok(Conns { writer, looker })
    }

    fn ended(&mut self, server: ServerId, written: Result<(), Error>) -> Beat {
        let error = match written {
            Ok(()) => return Beat::Ended,
            Err(Error::Server(error)) => error,
            Err(_) => return Beat::Void,
        };
        if CANT_WRITE.contains(&error.code) {
            return Beat::Failed(format!("{} ({})", error.message, error.code));
        }
        if NO_RIGHT.contains(&error.code) && !std::mem::replace(&mut self.complained, true) {
            warn!(
                server = self.names[server.0],
                "a master that answers and can't write is not noticed: {}; GRANT CREATE, INSERT, DELETE ON tandem.* to the monitor's \
                 account, on both servers",
                error.message
            );
        }
        Beat::Void
    }
}

const NO_DATABASE: u16 = 1049;
const NO_TABLE: u16 = 1146;

/// The database, the table, the privilege are denied.
const NO_RIGHT: [u16; 4] = [1044, 1142, 1143, 1227];

/// What the write of connection `id` waits for, if that says anything about the server.
async fn waits_for(looker: &mut Conn, id: u32) -> Result<Option<(Awaits, String)>, Error> {
    let threads: Vec<Row> = looker.query("SHOW PROCESSLIST").await?;
    let threads: Vec<(u64, String)> = threads
        .into_iter()
        .filter_map(|row| Some((row.get("Id")?, row.get::<Option<String>, _>("State")??)))
        .collect();
    let receipts = threads
        .iter()
        .filter(|(_, state)| state.contains("semi-sync ACK"))
        .count();
    let own = threads.iter().find(|(thread, _)| *thread == u64::from(id));
    Ok(awaits(receipts, own.map_or("", |(_, state)| state)))
}

/// By how many threads wait for a receipt, and the writing thread's state. Commits are written in groups: one of them waits for the
/// receipt, and the others for that one.
fn awaits(receipts: usize, state: &str) -> Option<(Awaits, String)> {
    if receipts > 0 {
        let what = "commits wait for the standby's receipt".to_owned();
        return Some((Awaits::Receipt, what));
    }
    // Somebody holds it, for a backup for example: "Waiting for backup lock", "Waiting for commit lock".
    let is_locked = state.to_ascii_lowercase().contains("lock");
    (!is_locked && !state.is_empty())
        .then(|| (Awaits::Server, format!("a write waits in the state \"{state}\"")))
}

/// A kind of waiting, and since when it lasts.
type Wait = (Option<Awaits>, Instant);

/// What a write waits for counts from when it began to wait for that: one that a backup's lock has held for minutes and that is now
/// being written hasn't been in the server's hands for longer than a moment. What is found first lasts since the write has `begun`.
fn goes_on(wait: Option<Wait>, kind: Option<Awaits>, begun: Instant, now: Instant) -> Wait {
    match wait {
        Some(wait) if wait.0 == kind => wait,
        Some(_) => (kind, now),
        None => (kind, begun),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spent_behind_a_lock_does_not_count_as_the_servers() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let disk = Some(Awaits::Server);
        let wait = goes_on(None, disk, begun, at(1));
        assert_eq!(wait, (disk, begun), "a disk that is dead since the write began");
        assert_eq!(goes_on(Some(wait), disk, begun, at(2)), (disk, begun));
        let locked = goes_on(None, None, begun, at(1));
        assert_eq!(goes_on(Some(locked), disk, begun, at(9)), (disk, at(9)));
        let receipt = goes_on(None, Some(Awaits::Receipt), begun, at(1));
        assert_eq!(goes_on(Some(receipt), disk, begun, at(9)), (disk, at(9)));
    }

    #[test]
    fn what_a_write_waits_for_is_told_apart() {
        let kind = |receipts, state| awaits(receipts, state).map(|(awaits, _)| awaits);
        assert_eq!(kind(0, "Commit"), Some(Awaits::Server));
        assert_eq!(kind(0, "waiting for handler commit"), Some(Awaits::Server));
        assert_eq!(
            kind(3, "Commit"),
            Some(Awaits::Receipt),
            "behind one that waits for it"
        );
        for lock in [
            "Waiting for backup lock",
            "Waiting for commit lock",
            "Waiting for global read lock",
        ] {
            assert_eq!(kind(0, lock), None, "a backup is no death");
        }
        assert_eq!(kind(0, ""), None, "it has just ended");
    }
}
