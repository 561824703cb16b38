//! What the last minutes were like: a sample a second, and each time that writes had nowhere to go. Kept in memory, bounded, for
//! the dashboard and `tandem top`.
//!
//! The counts come from the workers once a second ([`sampler`]); pauses are seen to the millisecond, since each published
//! topology is looked at.

pub mod sampler;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::view::{Counters, Measure};
use crate::topology::{Role, ServerId, Topology};

/// Ten minutes.
pub const SAMPLES: usize = 600;

/// Older pauses are forgotten.
pub const PAUSES: usize = 64;

/// Older changes of roles are forgotten.
pub const CHANGES: usize = 64;

/// What came in one second, more or less.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Grows by one each sample.
    pub number: u64,
    pub at: Instant,
    /// The time since the sample before, in which the counts came.
    pub span: Duration,
    /// Commands of clients, of every kind.
    pub statements: u64,
    pub writes: u64,
    /// Errors of the servers that clients were passed on.
    pub server_errors: u64,
    /// Errors that Tandem itself gave.
    pub own_errors: u64,
    /// Statements that had to wait for an active master.
    pub holds: u64,
    /// Statements sent again, and transactions played again.
    pub retries: u64,
    /// Statements refused for want of a connection.
    pub refused: u64,
    pub sessions: usize,
    pub in_transaction: usize,
    pub pinned: usize,
    /// In the order of the configuration.
    pub servers: Vec<ServerSample>,
}

/// One server in one second.
#[derive(Clone, Copy, Debug)]
pub struct ServerSample {
    pub role: Role,
    /// `None` is unknown, or has no meaning: the server does not replicate.
    pub lag: Option<Duration>,
    pub probe: Option<Duration>,
    pub reads: u64,
    pub writes: u64,
    pub leased: usize,
    /// Statements that waited for a connection to it.
    pub waiting: usize,
}

/// A time in which writes had nowhere to go.
#[derive(Clone, Debug)]
pub struct Pause {
    pub began: Instant,
    pub ended: Option<Instant>,
    /// The active master before.
    pub was: ServerId,
    /// And after.
    pub is: Option<ServerId>,
    /// A switchover: writes were held on purpose.
    pub planned: bool,
}

impl Pause {
    /// How long it has been, or was.
    pub fn lasted(&self, now: Instant) -> Duration {
        self.ended.unwrap_or(now).saturating_duration_since(self.began)
    }
}

/// A server that has got another role.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: Instant,
    pub server: ServerId,
    pub was: Role,
    pub is: Role,
    pub why: String,
}

/// The newest of everything; the oldest first.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    pauses: VecDeque<Pause>,
    changes: VecDeque<Change>,
    /// What each worker had counted at the last sample, and when that was.
    counted: Vec<Measure>,
    sampled: Option<Instant>,
    numbers: u64,
    /// Who takes or took the writes.
    active: Option<ServerId>,
    /// As last seen.
    roles: Vec<Role>,
}

impl History {
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.samples.iter()
    }

    pub fn pauses(&self) -> impl DoubleEndedIterator<Item = &Pause> {
        self.pauses.iter()
    }

    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.iter()
    }

    /// Looks at a topology: whether writes have somewhere to go, and who has which role.
    pub fn look(&mut self, topology: &Topology, now: Instant) {
        self.note_roles(topology, now);
        let open = topology.active.filter(|_| !topology.is_held());
        let pause = self.pauses.back_mut().filter(|pause| pause.ended.is_none());
        match (open, pause) {
            (Some(active), Some(pause)) => {
                pause.ended = Some(now);
                pause.is = Some(active);
            }
            (None, Some(pause)) => pause.planned |= topology.is_held(),
            (None, None) => {
                // Before the first there was nothing that could pause.
                if let Some(was) = self.active {
                    let pause = Pause {
                        began: now,
                        ended: None,
                        was,
                        is: None,
                        planned: topology.is_held(),
                    };
                    push(&mut self.pauses, pause, PAUSES);
                }
            }
            (Some(active), None) => {
                // From one to the other at once.
                if let Some(was) = self.active.filter(|&was| was != active) {
                    let pause = Pause {
                        began: now,
                        ended: Some(now),
                        was,
                        is: Some(active),
                        planned: false,
                    };
                    push(&mut self.pauses, pause, PAUSES);
                }
            }
        }
        self.active = open.or(self.active);
    }

    fn note_roles(&mut self, topology: &Topology, now: Instant) {
        for (server, &was) in topology.servers.iter().zip(&self.roles) {
            if server.role != was {
                let change = Change {
                    at: now,
                    server: server.id,
                    was,
                    is: server.role,
                    why: server.why.to_string(),
                };
                push(&mut self.changes, change, CHANGES);
            }
        }
        self.roles.clear();
        self.roles
            .extend(topology.servers.iter().map(|server| server.role));
    }

    /// Takes a sample: what the workers have counted since the last one. Of one that did not answer nothing is taken, and its
    /// counts come with the sample for which it does.
    pub fn sample(&mut self, topology: &Topology, measures: Vec<Measure>, now: Instant) {
        let span = self.sampled.map(|at| now.saturating_duration_since(at));
        let mut came = Counters::default();
        let mut refused = 0;
        for measure in &measures {
            let before = self.counted.iter().find(|known| known.worker == measure.worker);
            if let Some(before) = before {
                came += &measure.counters.since(&before.counters);
                refused += measure.refused().saturating_sub(before.refused());
            }
        }
        // The first one is what later ones are counted from.
        if let Some(span) = span {
            let sum = |field: fn(&Measure) -> usize| measures.iter().map(field).sum();
            let sample = Sample {
                number: self.numbers,
                at: now,
                span,
                statements: came.commands,
                writes: came.writes,
                server_errors: came.server_errors,
                own_errors: came.own_errors,
                holds: came.holds,
                retries: came.retries + came.replays,
                refused,
                sessions: sum(|measure| measure.census.sessions),
                in_transaction: sum(|measure| measure.census.in_transaction),
                pinned: sum(|measure| measure.census.pinned),
                servers: self.servers(topology, &came, &measures),
            };
            push(&mut self.samples, sample, SAMPLES);
            self.numbers += 1;
        }
        self.sampled = Some(now);
        for measure in measures {
            let known = self
                .counted
                .iter_mut()
                .find(|known| known.worker == measure.worker);
            match known {
                Some(known) => *known = measure,
                None => self.counted.push(measure),
            }
        }
    }

    /// The workers count by role: what the active master was sent counts for whoever has been it last.
    fn servers(&self, topology: &Topology, came: &Counters, measures: &[Measure]) -> Vec<ServerSample> {
        let active = topology.active.or(self.active);
        let standby = active.and_then(|active| active.other(topology.servers.len()));
        let pools = || measures.iter().flat_map(|measure| &measure.pools);
        let sampled = topology.servers.iter().map(|server| {
            let mine = || pools().filter(|pool| *pool.server == *server.name);
            let (is_active, is_standby) = (active == Some(server.id), standby == Some(server.id));
            ServerSample {
                role: server.role,
                lag: server.replication.as_ref().and_then(|it| it.lag),
                probe: server.probe_time.filter(|_| server.role != Role::Down),
                reads: if is_active { came.reads_active } else { 0 }
                    + if is_standby { came.reads_standby } else { 0 },
                writes: if is_active { came.writes } else { 0 },
                leased: mine().map(|pool| pool.leased).sum(),
                waiting: mine().map(|pool| pool.waiting).sum(),
            }
        });
        sampled.collect()
    }
}

/// Makes room for one more.
fn push<T>(to: &mut VecDeque<T>, new: T, most: usize) {
    while to.len() >= most {
        to.pop_front();
    }
    to.push_back(new);
}

#[cfg(test)]
mod tests;
