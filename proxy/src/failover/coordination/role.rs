//! Who decides, and what the others go by: pure, with the time as an argument.

use std::time::{Duration, Instant};

use super::notes::Published;
use crate::failover::journal::Entry;
use crate::monitor::health::{Health, State};
use crate::topology::ServerId;
use crate::topology::derive::Decided;

/// What this Tandem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It decides.
    Leads,
    /// Another does, or nobody does now.
    Follows,
    /// etcd has not been reached for so long that its own lease may have ended: nothing is known of the others.
    CutOff,
}

/// Until when a lease can be trusted that was asked for, or for more of, at `asked`. Less than etcd gives: whoever wins after
/// it has ended must not meet an act of this Tandem's, and a member of etcd that has just lost its own leadership may still
/// say yes for about a second.
pub(super) fn trusted_until(asked: Instant, lease: Duration) -> Instant {
    asked + lease * 4 / 5
}

/// `leader` and `ours` are leases; `until` is that of [`trusted_until`].
pub(super) fn role(until: Option<Instant>, leader: Option<i64>, ours: Option<i64>, now: Instant) -> Role {
    match until {
        Some(until) if now < until && leader.is_some() && leader == ours => Role::Leads,
        Some(until) if now < until => Role::Follows,
        _ => Role::CutOff,
    }
}

/// Whether this Tandem may decide from what etcd says, or else from its own journal.
///
/// # Errors
/// Why not, and the way out.
pub(super) fn candidacy(decision: Option<&Entry>, journal: u64, members: &[u64]) -> Result<(), String> {
    let newest = members.iter().copied().max().unwrap_or(0);
    match decision {
        Some(decision) if journal > decision.epoch => Err(format!(
            "this Tandem's journal (failover.journal) is of epoch {journal}, and etcd's decision of {}, which is older: etcd has \
             lost what it was told, or is another one. Find out which server has the newest data. If etcd is right, stop this \
             Tandem, remove its journal and start it; if the journal is, remove the key that ends in /decision from etcd",
            decision.epoch
        )),
        None if newest > journal => Err(format!(
            "etcd knows of no decision, and another Tandem's journal is newer (epoch {newest}, this one's is {journal}): that one \
             decides"
        )),
        _ => Ok(()),
    }
}

/// What is followed: what the leader publishes, or, while there is none, what it recorded last. `opened` is when this Tandem
/// learnt that the active master was made writable.
pub(super) fn decided(
    entry: &Entry,
    published: Option<&Published>,
    opened: Option<Instant>,
    before: &Decided,
) -> Decided {
    if let Some(published) = published {
        return Decided {
            active: published.active,
            opened,
            holding: published.holding,
            given_up: published.given_up,
            drained: entry.drained,
        };
    }
    let active = entry.active.filter(|_| entry.promoting.is_none());
    let given_up = match entry.promoting {
        Some(_) => entry.active,
        None => before.given_up.filter(|_| before.given_up != entry.active),
    };
    Decided {
        active,
        opened: before.opened.filter(|_| before.active == active),
        holding: None,
        given_up,
        drained: entry.drained,
    }
}

/// What is gone by while nobody can be asked: the last decision, unless the servers show that another one has been made since.
pub(super) fn alone(last: &Decided, health: &[Health]) -> Decided {
    let read_only = |id: ServerId| {
        let health = health.get(id.0)?;
        let answer = health.answer.as_ref()?;
        (health.state == State::Up && health.failure.is_none()).then_some(answer.seen.read_only)
    };
    let ids = || (0..health.len()).map(ServerId);
    let is_lost = |id: ServerId| health.get(id.0).is_none_or(|health| health.state == State::Down);
    let stays = last
        .active
        .is_some_and(|active| !is_lost(active) && read_only(active) != Some(true));
    let other = ids()
        .find(|&id| Some(id) != last.active && Some(id) != last.given_up && read_only(id) == Some(false));
    match other {
        Some(other) if !stays => Decided {
            active: Some(other),
            opened: None,
            holding: None,
            given_up: last.given_up,
            drained: last.drained,
        },
        _ => Decided {
            holding: None,
            ..*last
        },
    }
}

#[cfg(test)]
mod tests;
