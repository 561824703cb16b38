//! Observations → roles: a pure function.
//!
//! With `[failover]` the active master is the one that [`crate::failover`] has decided on, while it is up and writable. Else the rules
//! are these, in the order in which they decide:
//! 1. One writer. The active master stays active while it is up and writable, whatever its own replication does
//!    (FIELD §2.2: lag and replication gate reads only, never the writer).
//! 2. Otherwise the first server of the file that is up and writable becomes active. None: nobody is active.
//!    Roles are never made by guessing: a server that is read-only is not written to. One that stands alone in the
//!    file is active whatever it says: nobody else could be, and it refuses writes itself, in its own words.
//! 3. A server beside it takes reads while it replicates from the active master and its lag is known and small:
//!    unknown lag is infinite lag (FIELD §2.14).
//!    One that comes back gets its reads back gradually: its caches are cold, and what made it late may be still there.
//! 4. While the master is down the receiver has nobody to receive from; that alone does not stop reads
//!    (FIELD §2.11: never judge by the I/O thread when the primary is down).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gtid::Position;
use super::mark::Mark;
use super::{Replication, Role, Server, ServerId, Topology};
use crate::config;
use crate::monitor::health::{Answer, History, State};
use crate::monitor::observation::{Link, Receiver};

/// Who says which server is the active master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// The servers: whoever is writable.
    #[default]
    Servers,
    /// Tandem itself (`[failover]`).
    Tandem(Decided),
}

/// What Tandem has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// `None` while the one before has been given up and the next is not ready.
    pub active: Option<ServerId>,
    /// When it was made writable; an answer from before does not know of it.
    pub opened: Option<Instant>,
    /// A switchover is under way.
    pub holding: Option<Holding>,
    /// The server that was the active master and was taken for dead: what it still answers must reach nobody.
    pub given_up: Option<ServerId>,
    /// An operator has taken it out; never the active one.
    pub drained: Option<ServerId>,
}

/// What becomes of writes that would begin during a switchover. What is under way goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Each waits for so long: fewer begin, so that the standby comes closer.
    Paced(Duration),
    /// None begins before this moment is over, which has a number; what has waited before it began has waited enough.
    Moment(u64),
}

impl Holding {
    /// Nothing begins.
    pub fn is_moment(self) -> bool {
        matches!(self, Self::Moment(_))
    }
}

/// What an operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A standby further behind takes no reads.
    pub max_lag: Duration,
    /// In what time a standby that has taken none gets all its reads back.
    pub slow_start: Duration,
    /// How long it is good to know what others have committed past Tandem, if that is looked for.
    pub track: Option<Duration>,
}

/// The topology before anything is known.
pub fn unprobed(servers: &[config::Server]) -> Topology {
    let server = |(index, server): (usize, &config::Server)| Server {
        id: ServerId(index),
        name: server.name.as_str().into(),
        address: server.address.clone(),
        weight: server.weight,
        role: Role::Down,
        standby_since: None,
        share: 100,
        why: "not probed yet".into(),
        version: None,
        reports: None,
        timeouts: None,
        at_login: None,
        read_only: true,
        replication: None,
        position: Position::default(),
        position_asked: None,
        probe_time: None,
        error: None,
    };
    Topology {
        epoch: 0,
        holding: None,
        given_up: None,
        servers: servers.iter().enumerate().map(server).collect(),
        active: None,
        mark: None,
        former: None,
    }
}

/// The next topology, from the one before and what is known of each server (`histories` in the servers' order).
pub fn derive(
    previous: &Topology,
    histories: &[History],
    authority: &Authority,
    bounds: Bounds,
    now: Instant,
) -> Topology {
    let active = match authority {
        Authority::Servers => choose_active(previous.active, histories),
        Authority::Tandem(decided) => decided
            .active
            .filter(|&id| is_open(id, histories, decided.opened)),
    };
    let decided = match authority {
        Authority::Servers => Decided::default(),
        Authority::Tandem(decided) => *decided,
    };
    let pair = Pair {
        names: previous.servers.iter().map(|s| s.name.as_ref()).collect(),
        histories,
        active,
        given_up: decided.given_up,
        drained: decided.drained,
        first: previous.active.is_none(),
        bounds,
        now,
    };
    let servers = previous
        .servers
        .iter()
        .zip(histories)
        .map(|(server, history)| pair.server(server, history));
    let mark = mark(previous, histories, active, bounds);
    let former = match mark {
        Some(_) => None,
        None => previous.last_mark().cloned(),
    };
    Topology {
        // Losing the active master counts too: what was leased under it must not be used as the writer later.
        epoch: previous.epoch + u64::from(active != previous.active),
        holding: decided.holding,
        given_up: decided.given_up,
        servers: servers.collect(),
        active,
        mark,
        former,
    }
}

/// The mark goes on while the active master and its stream stay, and that counts its commits as it did.
fn mark(
    previous: &Topology,
    histories: &[History],
    active: Option<ServerId>,
    bounds: Bounds,
) -> Option<Arc<Mark>> {
    let active = active?;
    let answer = histories[active.0].last()?;
    let stream = answer.seen.stream?;
    let before = previous.server(active);
    let same = |mark: &&Arc<Mark>| mark.stream() == stream;
    let goes_on = |mark: &&Arc<Mark>| {
        let is_new = before.position_asked != Some(answer.asked_at);
        !is_new || counts_on(mark, &before.position, &answer.seen.position)
    };
    let old = previous.mark.as_ref().filter(same);
    Some(
        match old.filter(|_| previous.active == Some(active)).filter(goes_on) {
            Some(mark) => Arc::clone(mark),
            None => {
                let former = previous.last_mark().filter(same);
                let floor = answer.seen.position.clone();
                Mark::new(stream, histories.len(), floor, bounds.track, former)
            }
        },
    )
}

/// Whether the numbers of the active master's commits still tell what came later. They don't where it has begun to count
/// anew (`RESET MASTER`), nor where it counts on behind a gap, see [`Position::gap_beyond`]: such a gap is there again the
/// next time.
fn counts_on(mark: &Mark, before: &Position, now: &Position) -> bool {
    let gap = |position: &Position| position.gap_beyond(mark.floor(), &mark.stream());
    let has_gap = gap(now).is_some_and(|number| gap(before) == Some(number));
    now.includes(before) && !has_gap
}

/// Whether it is up, and writable as far as is known.
pub(crate) fn is_open(id: ServerId, histories: &[History], opened: Option<Instant>) -> bool {
    let answer = histories.get(id.0).and_then(History::current);
    answer
        .is_some_and(|answer| !answer.seen.read_only || opened.is_some_and(|opened| opened > answer.asked_at))
}

fn choose_active(previous: Option<ServerId>, histories: &[History]) -> Option<ServerId> {
    // Not before each server has answered or failed once: else the fastest to answer would win over
    // the first in the file, and stay.
    if histories.iter().any(|h| h.state() == State::Unprobed) {
        return previous;
    }
    let alone = histories.len() == 1;
    let fit = |history: &History| {
        history
            .current()
            .is_some_and(|answer| alone || !answer.seen.read_only)
    };
    let writable = |id: &ServerId| histories.get(id.0).is_some_and(fit);
    previous
        .filter(writable)
        .or_else(|| (0..histories.len()).map(ServerId).find(writable))
}

/// What the roles of the servers beside the active master are judged by.
struct Pair<'a> {
    names: Vec<&'a str>,
    histories: &'a [History],
    active: Option<ServerId>,
    given_up: Option<ServerId>,
    drained: Option<ServerId>,
    /// Nobody was active before: nobody has stopped taking reads.
    first: bool,
    bounds: Bounds,
    now: Instant,
}

impl Pair<'_> {
    fn server(&self, server: &Server, history: &History) -> Server {
        let (role, why) = self.role(server.id, history);
        let standby_since = match (role, server.role) {
            (Role::Standby, Role::Standby) => server.standby_since,
            (Role::Standby, _) if !self.first => Some(self.now),
            _ => None,
        };
        let last = history.last();
        let answer = history.current();
        let link = answer.and_then(|answer| self.link(server.id, answer));
        Server {
            id: server.id,
            name: server.name.clone(),
            address: server.address.clone(),
            weight: server.weight,
            role,
            standby_since,
            share: self.share(standby_since),
            why: why.into(),
            version: last.map(|answer| answer.seen.version.clone()),
            reports: last.map(|answer| Arc::clone(&answer.seen.reports)),
            timeouts: last.and_then(|answer| answer.seen.timeouts),
            at_login: last.and_then(|answer| answer.seen.at_login.clone()),
            read_only: last.is_none_or(|answer| answer.seen.read_only),
            replication: answer
                .zip(link)
                .map(|(answer, link)| replication(link, self.shown_lag(server.id, answer, link))),
            position: last
                .map(|answer| answer.seen.position.clone())
                .unwrap_or_default(),
            position_asked: last.map(|answer| answer.asked_at),
            probe_time: last.map(|answer| answer.took),
            error: history
                .failure()
                .map(|error| Arc::from(error.to_string().as_str())),
        }
    }

    /// The role, and why in words that hold as long as the role's cause does: they are logged when they change.
    fn role(&self, id: ServerId, history: &History) -> (Role, String) {
        let Some(answer) = history.current() else {
            let why = match history.failure() {
                Some(error) => error.to_string(),
                None => "not probed yet".to_owned(),
            };
            return (Role::Down, why);
        };
        if self.active == Some(id) {
            let why = if answer.seen.read_only {
                "read-only, and the only server"
            } else {
                "writable"
            };
            return (Role::Active, why.to_owned());
        }
        if self.drained == Some(id) {
            return (
                Role::Detached,
                format!("drained by an operator (OPEN {})", self.names[id.0]),
            );
        }
        if self.given_up == Some(id) {
            let why = "it was taken for dead, and is not let back in yet";
            return (Role::Detached, why.to_owned());
        }
        match self.follows(id, history, answer) {
            Ok(why) if answer.seen.read_only => (Role::Standby, why),
            // Legal (both masters may be left writable), but whoever writes there directly is not stopped.
            Ok(why) => (Role::Standby, format!("{why}; writable too")),
            Err(why) => (Role::Detached, why),
        }
    }

    /// Whether the server's data follow the active master's, or would if there were one.
    fn follows(&self, id: ServerId, history: &History, answer: &Answer) -> Result<String, String> {
        let Some(source) = self.source(id) else {
            return Err("there is no other server to replicate from".to_owned());
        };
        let name = self.names[source.0];
        let Some(link) = self.link(id, answer) else {
            return Err(format!("does not replicate from {name}"));
        };
        if !link.applying {
            return Err(stopped("the applier has stopped", link));
        }
        let source_down = self.histories[source.0].state() == State::Down;
        if link.receiver == Receiver::Stopped && !source_down {
            return Err(stopped("the receiver has stopped", link));
        }
        match self.lag(history, answer, link, source) {
            None => Err(format!("its lag behind {name} is unknown")),
            Some(lag) if lag > self.bounds.max_lag => Err(format!(
                "more than max_lag ({:?}) behind {name}",
                self.bounds.max_lag
            )),
            Some(_) if link.receiver == Receiver::Connected => Ok(format!("replicates from {name}")),
            Some(_) if source_down => Ok(format!("followed {name} until that went down")),
            Some(_) => Ok(format!("replicates from {name}, reconnecting")),
        }
    }

    /// What the server says itself (in seconds, and 0 for what it has not received yet), and what the positions say
    /// (where they are known): the larger one.
    fn measured(&self, answer: &Answer, link: &Link, source: ServerId) -> Option<Duration> {
        let said = link.lag?;
        let positions = self.histories[source.0].positions();
        let by_position = positions.lag(&answer.seen.position, answer.asked_at);
        Some(by_position.map_or(said, |lag| lag.max(said)))
    }

    fn shown_lag(&self, id: ServerId, answer: &Answer, link: &Link) -> Option<Duration> {
        match self.source(id).or_else(|| id.other(self.names.len())) {
            Some(source) => self.measured(answer, link, source),
            None => link.lag,
        }
    }

    /// In percent, growing from a twentieth to all within `slow_start`.
    fn share(&self, since: Option<Instant>) -> u32 {
        let Some(since) = since.filter(|_| !self.bounds.slow_start.is_zero()) else {
            return 100;
        };
        let passed = self.now.saturating_duration_since(since).as_millis() * 100;
        let share = passed / self.bounds.slow_start.as_millis().max(1);
        u32::try_from(share).unwrap_or(100).clamp(5, 100)
    }

    /// Whom a server should replicate from: the active master, or, where nobody is active, the other server.
    fn source(&self, id: ServerId) -> Option<ServerId> {
        self.active
            .or_else(|| id.other(self.names.len()))
            .filter(|&source| source != id)
    }

    /// The channel by which a server receives from its source. For the active master: from the other server.
    fn link<'a>(&self, id: ServerId, answer: &'a Answer) -> Option<&'a Link> {
        let source = self.source(id).or_else(|| id.other(self.names.len()))?;
        let known = self.histories[source.0].last().map(|a| a.seen.server_id);
        answer.seen.link_from(known)
    }

    /// The lag, or the most that it can be while nobody can tell: the receiver notices its master's death some
    /// milliseconds before or after our probe does, and from then on the server answers NULL.
    fn lag(&self, history: &History, answer: &Answer, link: &Link, source: ServerId) -> Option<Duration> {
        if let (Some(lag), None) = (self.measured(answer, link, source), history.failure()) {
            return Some(lag);
        }
        let source = &self.histories[source.0];
        let until = match source.last() {
            Some(answer) if source.state() == State::Down => answer.asked_at + answer.took,
            _ => self.now,
        };
        history.lag_at_most(link.source_server_id, until)
    }
}

fn stopped(what: &str, link: &Link) -> String {
    match link.error() {
        Some(error) => format!("{what}: {error}"),
        None => what.to_owned(),
    }
}

fn replication(link: &Link, lag: Option<Duration>) -> Replication {
    Replication {
        receiving: link.receiver == Receiver::Connected,
        applying: link.applying,
        lag,
        error: link.error().cloned(),
    }
}

#[cfg(test)]
mod tests;
