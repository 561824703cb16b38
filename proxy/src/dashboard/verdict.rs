//! The one sentence on top: is all well, and if not, what is it, and what does it mean for the application.
//!
//! For somebody who has been woken up: what clients notice first, then what would happen next, and what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failover, ServerState, State};

/// How far back errors count.
pub const LATELY: Duration = Duration::from_secs(60);

/// A standby that is further behind is worth a line.
const LATE_MS: u64 = 10_000;

/// A limit that is used to this part is worth a line, in percent.
const NEARLY_FULL: usize = 90;

/// How long a change of the active master is told.
const NEWS_MS: u64 = 600_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Ok,
    /// Clients are served; somebody should look.
    Warn,
    /// Clients are not served.
    Bad,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub level: Level,
    /// A few words.
    pub headline: String,
    /// What it means for clients.
    pub meaning: String,
    /// What else is to be known.
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub level: Level,
    pub text: String,
}

/// What came in the time of [`LATELY`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Minute {
    pub own_errors: u64,
    pub refused: u64,
}

/// Judges a state whose own verdict is not there yet.
pub fn verdict(state: &State, holding: bool, minute: &Minute) -> Verdict {
    let mut notes = Vec::new();
    let active = with_role(state, "active");
    let (level, headline, meaning) = match active {
        None => nobody(state, holding, &mut notes),
        Some(active) if holding => (
            Level::Warn,
            "Switchover under way".to_owned(),
            format!("Writes wait while the role leaves {}; reads go on.", active.name),
        ),
        Some(active) => somebody(state, active, &mut notes),
    };
    troubles(state, minute, &mut notes);
    news(state, &mut notes);
    let worst = notes.iter().map(|note| note.level).max().unwrap_or_default();
    let (headline, meaning) = match (level, worst) {
        (Level::Ok, Level::Ok) => (headline, meaning),
        // What is in the notes is the headline: nothing else is wrong.
        (Level::Ok, _) => {
            let first = notes
                .iter()
                .position(|note| note.level == worst)
                .unwrap_or_default();
            (notes.remove(first).text, meaning)
        }
        _ => (headline, meaning),
    };
    Verdict {
        level: level.max(worst),
        headline,
        meaning,
        notes,
    }
}

fn with_role<'a>(state: &'a State, role: &str) -> Option<&'a ServerState> {
    state.servers.iter().find(|server| server.role == role)
}

/// No active master.
fn nobody(state: &State, holding: bool, notes: &mut Vec<Note>) -> (Level, String, String) {
    for server in &state.servers {
        notes.push(Note {
            level: Level::Warn,
            text: format!("{} is {}: {}", server.name, server.role, plain(&server.why)),
        });
    }
    let reads = match with_role(state, "standby") {
        Some(standby) => format!("{} still answers reads.", standby.name),
        None => "Reads are not answered either.".to_owned(),
    };
    let (headline, wait) = match &state.failover {
        Some(failover) if decider(failover).is_some() => (
            format!("No active master: this Tandem {}", failover.state),
            "Writes wait (failover.hold_time) for its decision, then fail.",
        ),
        Some(failover) => {
            for obstacle in &failover.obstacles {
                notes.push(Note {
                    level: Level::Bad,
                    text: format!("A failover is not possible: {obstacle}"),
                });
            }
            let headline = match (holding, failover.obstacles.is_empty()) {
                (true, _) => "Switchover under way".to_owned(),
                (_, true) => format!("No active master: {}", failover.state),
                _ => "No active master, and no failover possible".to_owned(),
            };
            (headline, "Writes wait (failover.hold_time), then fail.")
        }
        None => (
            "No active master: no server is up and writable".to_owned(),
            "Writes fail. Nobody is promoted, since [failover] is off here.",
        ),
    };
    (Level::Bad, headline, format!("{wait} {reads}"))
}

/// `active` takes writes.
fn somebody(state: &State, active: &ServerState, notes: &mut Vec<Note>) -> (Level, String, String) {
    let name = &active.name;
    let other = state.servers.iter().find(|server| server.name != *name);
    let Some(other) = other else {
        return (
            Level::Ok,
            "All is well".to_owned(),
            format!("{name} takes all: it is the only server."),
        );
    };
    if other.role != "standby" {
        let leader = state.failover.as_ref().and_then(decider);
        let could = state.failover.as_ref().is_some_and(|it| it.obstacles.is_empty());
        let what = match other.role.as_str() {
            "down" => "is down",
            // It is behind, or does not replicate as it should.
            _ => "takes no reads",
        };
        let takeover = match (could && other.role != "down", leader) {
            (true, _) => format!("{} could take over all the same.", other.name),
            (false, Some(leader)) if other.role != "down" => {
                format!("{leader} decides, and tells whether it could take over.")
            }
            (false, _) => "If it fails too, nobody takes over.".to_owned(),
        };
        return (
            Level::Warn,
            format!("{} {what}: {}", other.name, plain(&other.why)),
            format!("Clients are served by {name} alone. {takeover}"),
        );
    }
    let meaning = |takeover: &str| format!("{name} takes writes, both take reads. {takeover}");
    let Some(failover) = &state.failover else {
        let takeover = "Failover is not this Tandem's: it follows read_only.";
        return (Level::Ok, "All is well".to_owned(), meaning(takeover));
    };
    if let Some(leader) = decider(failover) {
        let takeover = format!(
            "{leader} decides, and tells whether {} could take over now.",
            other.name
        );
        return (Level::Ok, "All is well".to_owned(), meaning(&takeover));
    }
    if let Some(first) = failover.obstacles.first() {
        for obstacle in failover.obstacles.iter().skip(1) {
            notes.push(Note {
                level: Level::Warn,
                text: format!("And: {obstacle}"),
            });
        }
        return (
            Level::Warn,
            format!("{} could not take over now: {first}", other.name),
            format!("Clients are served. If {name} fails now, nobody takes its place."),
        );
    }
    let takeover = format!("{} could take over now.", other.name);
    (Level::Ok, "All is well".to_owned(), meaning(&takeover))
}

/// Which other Tandem decides, and so knows what would keep it from a failover: that this one does not is no trouble.
fn decider(failover: &Failover) -> Option<&str> {
    match failover.role.as_deref() {
        Some("follower") => failover.leader.as_deref(),
        _ => None,
    }
}

/// What is wrong beside the roles.
fn troubles(state: &State, minute: &Minute, notes: &mut Vec<Note>) {
    let mut warn = |text: String| {
        notes.push(Note {
            level: Level::Warn,
            text,
        });
    };
    for server in &state.servers {
        let name = &server.name;
        match server.lag_ms {
            Some(lag) if server.role != "active" && server.role != "down" && lag >= LATE_MS => {
                warn(format!("{name} is {} s behind", lag / 1000));
            }
            _ => {}
        }
        let waiting = server.connections.waiting;
        if waiting > 0 && server.connections.leased >= server.connections.limit {
            let limit = server.connections.limit;
            warn(format!(
                "{waiting} statements wait for a connection to {name}: all {limit} are in use (pool.max_connections)"
            ));
        }
        // That the one can't replicate from the other, which is down, is no news.
        let whole = state.servers.iter().all(|server| server.role != "down");
        if let (Some(error), "active" | "standby", true) = (&server.error, server.role.as_str(), whole) {
            warn(format!("{name} keeps its role, but: {}", plain(error)));
        }
    }
    if minute.refused > 0 {
        warn(format!(
            "{} statements of the last minute got no connection",
            minute.refused
        ));
    } else if minute.own_errors > 0 {
        warn(format!(
            "{} statements of the last minute got an error from Tandem",
            minute.own_errors
        ));
    }
    for limit in &state.limits {
        // A full cache is what a cache is for.
        if limit.name != "limits.statement_cache"
            && limit.used * 100 >= limit.limit * NEARLY_FULL
            && limit.limit > 0
        {
            warn(format!(
                "{} of {} are used ({})",
                limit.used, limit.limit, limit.name
            ));
        }
    }
    if let Some(etcd) = state
        .failover
        .as_ref()
        .and_then(|failover| failover.etcd.as_ref())
        && etcd.starts_with("not reached")
    {
        warn(format!("etcd is {etcd}: nobody is promoted until it is back"));
    }
}

/// The last change of the active master, while it is news.
fn news(state: &State, notes: &mut Vec<Note>) {
    let last = state
        .pauses
        .iter()
        .rev()
        .find(|pause| pause.over && pause.age_ms < NEWS_MS);
    let Some(pause) = last else { return };
    let to = pause.is.clone().unwrap_or_default();
    let what = match (pause.planned, to == pause.was) {
        (true, false) => format!("Switchover from {} to {to}", pause.was),
        (false, false) => format!("Failover from {} to {to}", pause.was),
        (_, true) => format!("{to} was not writable"),
    };
    notes.push(Note {
        level: Level::Ok,
        text: format!(
            "{what} {} ago; writes waited {} ms.",
            ago(pause.age_ms),
            pause.lasted_ms
        ),
    });
}

/// Without what the operating system adds for programmers, and without saying it twice.
fn plain(text: &str) -> &str {
    let text = text.split(" (os error ").next().unwrap_or(text);
    match text.split_once(": ") {
        Some((what, again)) if what.eq_ignore_ascii_case(again) => what,
        _ => text,
    }
}

/// How long ago, in the unit that says it.
pub fn ago(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds @ 100..=5999 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
