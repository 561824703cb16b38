//! Whether the active master is dead, whether the other could take its place, and what is to be done: pure functions over
//! what the monitor knows.
//!
//! # Evidence
//! | what Tandem sees | what the standby sees | verdict |
//! |---|---|---|
//! | connections refused or broken, twice | its receiver is disconnected too | dead at once |
//! | the same | hears nothing | dead after `hang_time` |
//! | no answer | hears nothing | dead after `hang_time` |
//! | either | still hears of it | perhaps only Tandem can't reach it: dead after `unreachable_time` |
//! | "too many connections", "access denied" | anything | alive: it answers |
//! | neither server answers | | nothing is decided: perhaps Tandem itself is cut off; that time does not count |
//! | it answers, and a write does not come to an end ([`super::pulse`]) | anything | dead after `unreachable_time` |
//!
//! Writes that only wait for the standby's receipt, while the way between the servers is cut, are no sign of death: after `hang_time` they
//! are made to wait for nobody.

use std::time::{Duration, Instant};

use super::hands::Acknowledged;
use super::pulse::{Awaits, Stall};
use crate::config::{DayWindow, Failover};
use crate::monitor::health::{Health, State};
use crate::monitor::observation::{Link, ProbeError, Receiver};
use crate::topology::ServerId;
use crate::topology::gtid::Stream;

/// ER_MASTER_FATAL_ERROR_READING_BINLOG, of a source that does not have what it is asked for.
pub(super) const REFUSED: &str = "1236";

/// So many failed probes in a row before a server that refuses connections is dead: one may be a restart's last moment.
const REFUSALS: u32 = 2;

/// The standby's word counts if it was asked so lately.
const FRESH: Duration = Duration::from_secs(2);

const A_MINUTE: Duration = Duration::from_secs(60);

/// What did not work is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A write that takes less is none that does not end: what a backup's lock has held is still being written when that is given back.
const STALL: Duration = Duration::from_secs(1);

/// Between two attempts at a failover that can't be carried through.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub automatic: bool,
    pub hang_time: Duration,
    pub unreachable_time: Duration,
    pub apply_timeout: Duration,
    pub min_interval: Duration,
    pub switchover_timeout: Duration,
    /// The first server becomes active again after the pair has been whole for so long.
    pub failback: Option<Duration>,
    pub failback_window: Option<DayWindow>,
}

impl Rules {
    pub fn new(settings: &Failover) -> Self {
        Self {
            automatic: settings.automatic,
            hang_time: settings.hang_time,
            unreachable_time: settings.unreachable_time,
            apply_timeout: settings.apply_timeout,
            min_interval: settings.min_interval,
            switchover_timeout: settings.switchover_timeout,
            failback: settings.failback,
            failback_window: settings.failback_window,
        }
    }
}

/// What is remembered between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub epoch: u64,
    pub active: Option<ServerId>,
    /// A change that was begun, by this process or the one before, and may be carried on.
    pub promoting: Option<ServerId>,
    /// The active master was seen alive and writable since it became that, by this process.
    pub seen: bool,
    /// When it was made writable; what was asked before does not know of it.
    pub opened: Option<Instant>,
    pub paused: bool,
    pub last_failover: Option<Instant>,
    /// A failover of this active master could not be carried through.
    pub stopped: Option<Stopped>,
    /// Nothing is tried before.
    pub retry_at: Option<Instant>,
    /// A server whose replication, in either direction, was stopped or may be.
    pub away: Option<ServerId>,
    /// See [`crate::topology::derive::Decided::given_up`].
    pub given_up: Option<ServerId>,
    /// An operator has taken it out, and is left alone with it.
    pub drained: Option<ServerId>,
    /// See [`super::journal::Entry::fresh`].
    pub fresh: bool,
    /// See [`super::journal::Entry::exposed`].
    pub exposed: bool,
    /// What the other server must have for that to be over.
    pub covering: Option<Acknowledged>,
    /// See [`super::journal::Entry::blind`].
    pub blind: Option<Acknowledged>,
    /// Since when the active master is not opened because the other can't be asked what it has of it.
    pub unasked_since: Option<Instant>,
    /// It has what the pair lacks, and an operator must look.
    pub quarantined: Option<ServerId>,
    /// When to see whether the operator has.
    pub look_again: Option<Instant>,
    /// Whether commits wait for nobody, since the standby is gone; `None` is not known.
    pub alone: Option<bool>,
    /// Since when they do: what the standby heard before is no sign that it hears.
    pub alone_since: Option<Instant>,
    /// Writes at the active master that don't come to an end.
    pub stall: Option<Stall>,
    /// See [`super::journal::Entry::semi_sync`].
    pub semi_sync: bool,
    /// See [`super::journal::Entry::needed`].
    pub needed: Option<Acknowledged>,
    /// The last act or command was over then: what was asked before does not show it.
    pub acted: Option<Instant>,
    /// See [`is_whole`].
    pub whole_since: Option<Instant>,
    /// Of the day, by the local clock.
    pub minute: u16,
    /// The journal may say something else than this, since it could not be written.
    pub unrecorded: bool,
}

/// A failover that could not be carried through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// It is tried again then.
    pub again: Instant,
    /// What that waits for the next time.
    pub pause: Duration,
    pub why: String,
}

impl Stopped {
    /// What stopped it may be over in a moment, or never: each attempt waits twice as long as the one before.
    pub fn new(before: Option<&Self>, why: String, now: Instant) -> Self {
        let pause = before.map_or(RETRY, |before| before.pause);
        Self {
            again: now + pause,
            pause: (2 * pause).min(LONGEST_PAUSE),
            why,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing, unless the time comes before there is something new to see.
    Wait(Option<Instant>),
    /// It becomes the active master, since nobody was.
    Adopt(ServerId),
    /// It is the active master and read-only.
    Open(ServerId),
    /// It is not the active master, and writable.
    Guard(ServerId),
    /// The active master lives: what was begun in its absence is not carried on, and the journal must say so.
    Withdraw,
    /// The active master was promoted and is writable now: the journal must say so.
    Settle,
    /// It is back: perhaps it may replicate again.
    Rejoin(ServerId),
    /// The standby is gone, or receives nothing: commits of the active master must not wait for it.
    GoAlone(ServerId),
    /// The standby receives again: commits wait for it as before.
    Together(ServerId),
    /// See whether this standby has all that was committed while commits waited for nobody.
    Cover(ServerId),
    /// The one that the operator prefers can be the active master again, by a switchover.
    FailBack(ServerId),
    FailOver {
        from: ServerId,
        to: ServerId,
        why: String,
    },
}

/// Whether the active master lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Alive,
    /// Dead at this time, if nothing better is seen until then.
    Suspect {
        until: Option<Instant>,
        why: String,
    },
    Dead {
        why: String,
    },
}

/// The rows of [the table](self).
pub fn judge(active: &Health, standby: &Health, rules: &Rules, now: Instant) -> Verdict {
    let (Some(since), Some(failure)) = (active.failing_since, &active.failure) else {
        return match active.state {
            State::Unprobed => suspect(None, "not probed yet"),
            State::Up | State::Down => Verdict::Alive,
        };
    };
    if matches!(failure, ProbeError::Full(_) | ProbeError::Denied { .. }) {
        return Verdict::Alive;
    }
    if !is_fresh(standby, now) {
        return suspect(
            None,
            "neither server answers, so perhaps Tandem itself is cut off",
        );
    }
    let refuses = matches!(failure, ProbeError::Refused(_) | ProbeError::Lost(_));
    let asked_since = standby
        .answer
        .as_ref()
        .is_some_and(|answer| answer.asked_at > since);
    let connected = link_to(standby, active).is_some_and(|link| link.receiver == Receiver::Connected);
    if refuses && asked_since && !connected {
        let why = format!("{failure}; the standby has lost it too");
        return match active.failures >= REFUSALS {
            true => Verdict::Dead { why },
            false => suspect(None, why),
        };
    }
    // What was heard before the first failed probe was sent may be found out after it.
    let heard = heard(standby, active).filter(|&heard| connected && heard > since);
    // While neither answered it was perhaps Tandem that was cut off: that time does not count.
    let since = Some(since).max(standby.answering_since).unwrap_or(since);
    let quiet_since = heard.map_or(since, |heard| heard.max(since));
    let deadline = (quiet_since + rules.hang_time).min(since + rules.unreachable_time);
    let hears = if heard.is_some() {
        "still hears"
    } else {
        "hears nothing"
    };
    let why = format!("{failure}; the standby {hears} of it");
    match now >= deadline {
        true => Verdict::Dead { why },
        false => suspect(Some(deadline), why),
    }
}

/// The same of the active master, of which is also known whether it writes. `None` without one, or without another server.
pub fn judge_active(standing: &Standing, health: &[Health], rules: &Rules, now: Instant) -> Option<Verdict> {
    let (active, other) = pair(standing, health)?;
    let verdict = judge(&health[active.0], &health[other.0], rules, now);
    let stall = standing.stall.as_ref();
    let is_seen = |stall: &&Stall| {
        verdict == Verdict::Alive && stall.awaits == Awaits::Server && now >= stall.since + STALL
    };
    let Some(stall) = stall.filter(is_seen) else {
        return Some(verdict);
    };
    let deadline = stall.since + rules.unreachable_time;
    let why = format!("it answers, and writes nothing any more: {}", stall.what);
    Some(match now >= deadline {
        true => Verdict::Dead { why },
        false => suspect(Some(deadline), why),
    })
}

fn suspect(until: Option<Instant>, why: impl Into<String>) -> Verdict {
    Verdict::Suspect {
        until,
        why: why.into(),
    }
}

/// Why the standby could not take the active master's place now; empty if it could. What only a failover itself finds out
/// (whether everything acknowledged was received) is not in it.
pub fn obstacles(standing: &Standing, health: &[Health], rules: &Rules, now: Instant) -> Vec<String> {
    let Some((active, to)) = pair(standing, health) else {
        return vec!["there is no active master, or no other server".to_owned()];
    };
    let (from, candidate) = (&health[active.0], &health[to.0]);
    let mut obstacles = Vec::new();
    let mut no = |text: &str| obstacles.push(text.to_owned());
    if standing.quarantined == Some(to) {
        no("the standby is quarantined: it has commits that the active master never had");
    }
    if standing.drained == Some(to) {
        no("the standby is drained by an operator (OPEN)");
    }
    if !is_fresh(candidate, now) {
        no("the standby does not answer");
    } else {
        match link_to(candidate, from) {
            None => no("the standby does not replicate from the active master"),
            Some(link) if !link.applying => match &link.applier_error {
                Some(error) => no(&format!("the standby's applier does not run: {error}")),
                // A promotion that came no further has stopped it, or a Tandem that was killed in one. Else it has not been let in
                // since it was started, and may lack what a crash has taken from it.
                None if standing.stopped.is_some() || standing.promoting == Some(to) => {}
                None => no("the standby's applier does not run: it was stopped"),
            },
            Some(Link {
                receiver: Receiver::Stopped,
                receiver_error: Some(error),
                ..
            }) if is_fresh(from, now) => no(&format!("the standby's receiver has stopped: {error}")),
            Some(_) => {}
        }
    }
    if !standing.seen && standing.promoting.is_none() {
        no(
            "the active master was not seen alive since this Tandem began to decide, so what it has acknowledged is not known",
        );
    }
    if standing.paused {
        no("paused by an operator (RESUME)");
    }
    if !rules.automatic {
        no("failover.mode is \"manual\"");
    }
    if let Some(stopped) = standing.stopped.as_ref().filter(|stopped| stopped.again > now) {
        let left = stopped.again - now;
        no(&format!(
            "the last attempt was stopped, and the next is in {} s: {}",
            left.as_secs() + 1,
            stopped.why
        ));
    }
    let again = standing.last_failover.map(|last| last + rules.min_interval);
    if let Some(again) = again.filter(|&again| again > now) {
        let left = again - now;
        no(&format!(
            "the last failover was lately, the next is automatic in {} s (failover.min_interval)",
            left.as_secs() + 1
        ));
    }
    obstacles
}

/// What is to be done now.
pub fn decide(standing: &Standing, health: &[Health], rules: &Rules, now: Instant) -> Intent {
    if let Some(retry) = standing.retry_at.filter(|&retry| retry > now) {
        return Intent::Wait(Some(retry));
    }
    let Some(active) = standing.active else {
        return adopt(health).map_or(Intent::Wait(None), Intent::Adopt);
    };
    let other = pair(standing, health).map(|(_, other)| other);
    let writable = |id: ServerId| current(&health[id.0]).is_some_and(|read_only| !read_only);
    let asked = |id: ServerId| health[id.0].answer.as_ref().map(|answer| answer.asked_at);
    let is_intruder = |&other: &ServerId| {
        writable(other) && asked(other) > standing.acted && standing.drained != Some(other)
    };
    if let Some(other) = other.filter(is_intruder) {
        return Intent::Guard(other);
    }
    if current(&health[active.0]) == Some(true) && asked(active) > standing.opened {
        return Intent::Open(active);
    }
    if standing.unrecorded || standing.promoting.is_some() && writable(active) {
        return Intent::Withdraw;
    }
    if standing.fresh && writable(active) && asked(active) > standing.opened {
        return Intent::Settle;
    }
    let Some(other) = other else {
        return Intent::Wait(None);
    };
    match judge_active(standing, health, rules, now) {
        None | Some(Verdict::Alive) => accompany(standing, health, rules, (active, other), now),
        Some(Verdict::Suspect { until, .. }) => Intent::Wait(until),
        Some(Verdict::Dead { why }) => match obstacles(standing, health, rules, now).is_empty() {
            true => Intent::FailOver {
                from: active,
                to: other,
                why,
            },
            false => Intent::Wait(Some(now + RETRY)),
        },
    }
}

/// What is to be done about the standby of an active master that lives.
fn accompany(
    standing: &Standing,
    health: &[Health],
    rules: &Rules,
    (active, other): (ServerId, ServerId),
    now: Instant,
) -> Intent {
    let (master, standby) = (&health[active.0], &health[other.0]);
    if standing.drained == Some(other) {
        return match standing.semi_sync && standing.alone != Some(true) {
            true => Intent::GoAlone(active),
            false => Intent::Wait(None),
        };
    }
    let unheard = standing
        .stall
        .as_ref()
        .filter(|stall| stall.awaits == Awaits::Receipt);
    if unheard.is_some_and(|stall| now >= stall.since + rules.hang_time) && standing.alone != Some(true) {
        return Intent::GoAlone(active);
    }
    if !is_fresh(standby, now) {
        return match judge(standby, master, rules, now) {
            Verdict::Dead { .. } if standing.alone != Some(true) => Intent::GoAlone(active),
            Verdict::Suspect { until, .. } if standing.alone != Some(true) => Intent::Wait(until),
            _ => Intent::Wait(None),
        };
    }
    let is_newer = standby.answer.as_ref().map(|answer| answer.asked_at) > standing.acted;
    if !is_fresh(master, now) || !is_newer {
        return Intent::Wait(None);
    }
    let link = link_to(standby, master);
    let receiver = link.map(|link| link.receiver);
    // Not by an operator, who says PAUSE before: a statement of ours that came late, or a start that was not seen.
    let is_stopped = [link, link_to(master, standby)]
        .into_iter()
        .flatten()
        .any(|link| link.error().is_none() && link.receiver == Receiver::Stopped)
        || [master, standby].into_iter().any(replicates_from_nobody);
    let is_repaired = standing.look_again.is_none_or(|at| at <= now);
    // A standby that has not caught up yet refuses whoever has more of it than itself (1236), and so stops the receiver. An active master
    // that was made anew refuses one that asks for what is not in its log.
    let is_refused = is_repaired
        && (link_to(master, standby)
            .is_some_and(|link| link.error().is_some() && link.receiver == Receiver::Stopped)
            || link_to(standby, master).is_some_and(is_refused));
    match standing.quarantined {
        None if standing.away.is_some() => return Intent::Rejoin(other),
        None if (is_stopped || is_refused) && !standing.paused => return Intent::Rejoin(other),
        Some(_) if is_repaired => return Intent::Rejoin(other),
        Some(_) => return Intent::Wait(standing.look_again),
        None => {}
    }
    if !standing.semi_sync {
        return fail_back(standing, rules, active, now);
    }
    if receiver == Some(Receiver::Connected) {
        return match standing.alone {
            Some(false) if standing.exposed => Intent::Cover(other),
            Some(false) => fail_back(standing, rules, active, now),
            // A receiver may take itself for connected for as long as its time limit allows. While nothing is written there may be nothing to
            // hear (MySQL's heartbeats are not seen): then it is found out by the next write, which waits for the hang time.
            Some(true) if heard(standby, master) <= standing.alone_since && !has_all(standby, master) => {
                Intent::Wait(None)
            }
            _ => Intent::Together(active),
        };
    }
    // A receiver that connects anew is given the time.
    let lost = heard(standby, master).max(standing.acted);
    match lost.map(|lost| lost + rules.hang_time) {
        _ if standing.alone == Some(true) => Intent::Wait(None),
        Some(until) if until > now => Intent::Wait(Some(until)),
        _ => Intent::GoAlone(active),
    }
}

/// The first server of the file is the preferred one.
fn fail_back(standing: &Standing, rules: &Rules, active: ServerId, now: Instant) -> Intent {
    let is_allowed = rules.automatic && !standing.paused && active != ServerId(0);
    let due = standing.whole_since.zip(rules.failback).filter(|_| is_allowed);
    let is_open = rules
        .failback_window
        .is_none_or(|window| window.contains(standing.minute));
    match due.map(|(since, after)| since + after) {
        Some(due) if due <= now && is_open => Intent::FailBack(ServerId(0)),
        Some(due) if due <= now => Intent::Wait(Some(now + A_MINUTE)),
        due => Intent::Wait(due),
    }
}

/// Both servers answer, both replicate, and nothing is to be done about either.
pub fn is_whole(standing: &Standing, health: &[Health], now: Instant) -> bool {
    let Some((active, other)) = pair(standing, health) else {
        return false;
    };
    let replicates = |standby: ServerId, master: ServerId| {
        let link = link_to(&health[standby.0], &health[master.0]);
        link.is_some_and(|link| link.applying && link.receiver == Receiver::Connected)
    };
    let is_settled = standing.away.is_none()
        && standing.quarantined.is_none()
        && standing.drained.is_none()
        && standing.promoting.is_none()
        && !standing.unrecorded
        && (!standing.semi_sync || standing.alone == Some(false));
    is_settled
        && [active, other].iter().all(|id| is_fresh(&health[id.0], now))
        && replicates(other, active)
        && replicates(active, other)
}

/// Whoever is writable, the first of the file before the second; where nobody is, the one that has all that the other has.
///
/// # Errors
/// Why nobody can be, in words for an operator.
pub fn adopt(health: &[Health]) -> Result<ServerId, String> {
    let ids = || (0..health.len()).map(ServerId);
    // The fastest to answer must not win over the first of the file.
    if health.iter().any(|health| health.state == State::Unprobed) {
        return Err("not all servers have been asked yet".to_owned());
    }
    if let Some(writable) = ids().find(|id| current(&health[id.0]) == Some(false)) {
        return Ok(writable);
    }
    let answers = ids().map(|id| {
        let answer = health[id.0].answer.as_ref();
        answer.filter(|_| current(&health[id.0]).is_some())
    });
    let Some(answers) = answers.collect::<Option<Vec<_>>>() else {
        return Err("the server that answers is read-only, and the other may have more; make one writable to say that it is the one".to_owned());
    };
    let position = |id: ServerId| &answers[id.0].seen.position;
    let has_all = |&id: &ServerId| ids().all(|other| position(id).includes(position(other)));
    ids().find(has_all).ok_or_else(|| {
        let positions: Vec<String> = ids().map(|id| position(id).to_string()).collect();
        format!(
            "all servers are read-only and none has all that the others have ({}): an operator must find out which is right, and make it writable",
            positions.join(" against ")
        )
    })
}

/// The active master and the other server.
pub(super) fn pair(standing: &Standing, health: &[Health]) -> Option<(ServerId, ServerId)> {
    let active = standing.active?;
    let other = active.other(health.len())?;
    Some((active, other))
}

/// Whether an up server is read-only; `None` if it is not up or the last probe failed.
fn current(health: &Health) -> Option<bool> {
    let answer = health.answer.as_ref()?;
    (health.state == State::Up && health.failure.is_none()).then_some(answer.seen.read_only)
}

/// Whether it answers, as far as is known.
pub fn is_fresh(health: &Health, now: Instant) -> bool {
    let answer = health.answer.as_ref();
    health.state == State::Up
        && health.failure.is_none()
        && answer.is_some_and(|answer| now.saturating_duration_since(answer.asked_at) < FRESH)
}

/// The channel by which `standby` receives from `active`.
fn link_to<'a>(standby: &'a Health, active: &Health) -> Option<&'a Link> {
    let known = active.answer.as_ref().map(|answer| answer.seen.server_id);
    standby.answer.as_ref()?.seen.link_from(known)
}

/// Whether its source does not have what it is asked for.
pub(super) fn is_refused(link: &Link) -> bool {
    let error = link.receiver_error.as_ref();
    link.receiver == Receiver::Stopped && error.is_some_and(|error| error.contains(REFUSED))
}

fn replicates_from_nobody(server: &Health) -> bool {
    let answer = server.answer.as_ref();
    answer.is_some_and(|answer| answer.seen.links.is_empty())
}

/// Whether a server (MySQL) was seen to have all that the other was seen to have committed.
fn has_all(standby: &Health, active: &Health) -> bool {
    let (Some(theirs), Some(own)) = (&standby.answer, &active.answer) else {
        return false;
    };
    // Not MariaDB, whose heartbeats are seen: semi-sync that is switched on while its dump thread begins was seen to hold that up for good.
    let Some(stream @ Stream::MySql { .. }) = own.seen.stream else {
        return false;
    };
    theirs.seen.position.newest(&stream) >= own.seen.position.newest(&stream)
}

fn heard(standby: &Health, active: &Health) -> Option<Instant> {
    let source = link_to(standby, active)?.source_server_id;
    let heard = standby.heard.iter().find(|heard| heard.source == source);
    heard.map(|heard| heard.at)
}

#[cfg(test)]
pub(in crate::failover) mod tests;
