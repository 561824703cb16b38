//! Waiting for an active master, where `[failover]` may bring one: a statement that was not sent is held, within
//! `failover.hold_time` and `failover.hold_limit`, and decided anew.

use std::time::Instant;

use super::complaint::Complaint;
use super::{End, Session};
use crate::monitor::Trouble;
use crate::route::{Delayed, has_waited};
use crate::topology::derive::Holding;
use crate::topology::{ServerId, Topology};

/// A server that could not be used, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) server: ServerId,
    pub(super) at: Instant,
}

impl Lost {
    pub(super) fn now(server: ServerId) -> Self {
        let at = Instant::now();
        Self { server, at }
    }
}

/// How long one statement has been held, over all its attempts.
#[derive(Debug, Default)]
pub(super) struct Patience {
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: tokio::time::Instant,
    until: tokio::time::Instant,
    /// Of a switchover, if it began to wait in one.
    moment: Option<u64>,
}

impl Begun {
    fn delayed(&self, now: tokio::time::Instant) -> Delayed {
        Delayed {
            by: now - self.at,
            moment: self.moment,
        }
    }

    /// When it is looked anew though nothing was published; what is over already, and has not helped, is not waited for.
    fn look(&self, holding: Option<Holding>, now: tokio::time::Instant) -> tokio::time::Instant {
        match holding {
            Some(Holding::Paced(pace)) if self.at + pace > now => self.until.min(self.at + pace),
            _ => self.until,
        }
    }
}

impl Patience {
    /// When it ends, once it has begun.
    pub(super) fn until(&self) -> Option<tokio::time::Instant> {
        self.begun.map(|begun| begun.until)
    }

    /// See [`crate::route::Situation::delayed`].
    pub(super) fn delayed(&self) -> Option<Delayed> {
        self.begun.map(|begun| begun.delayed(tokio::time::Instant::now()))
    }
}

/// How the waiting ended.
#[derive(Debug)]
pub(super) enum Waited {
    /// There is an active master, which may be another one.
    There,
    /// Nobody came in time, or too many wait: what the client is told.
    Over(Complaint),
}

impl Session {
    /// Whether statements wait for an active master at all.
    pub(super) fn may_wait(&self) -> bool {
        self.worker.config().failover.is_some()
    }

    /// Waits until there is an active master that may be trusted: another server than the one lost, or the same one having
    /// answered a probe that was asked after it was lost. `instead` is what the client is told if none comes.
    ///
    /// # Errors
    /// [`End`] when the client goes away or the session is killed.
    pub(super) async fn await_writer(
        &mut self,
        lost: Option<Lost>,
        patience: &mut Patience,
        instead: Complaint,
    ) -> Result<Waited, End> {
        let config = self.worker.config();
        let Some(failover) = &config.failover else {
            return Ok(Waited::Over(instead));
        };
        let hold_time = failover.hold_time;
        let Some(_place) = self.worker.hold() else {
            let limit = failover.hold_limit;
            return Ok(Waited::Over(instead.and(format_args!(
                "it was not waited for, since {limit} statements wait already (failover.hold_limit)"
            ))));
        };
        self.handle.underway.borrow_mut().held();
        if let Some(lost) = lost {
            self.worker.look(lost.server, Trouble::ConnectionLost);
        }
        let worker = std::rc::Rc::clone(&self.worker);
        let begun = *patience.begun.get_or_insert_with(|| {
            let at = tokio::time::Instant::now();
            Begun {
                at,
                until: at + hold_time,
                moment: match worker.topology.load().holding {
                    Some(Holding::Moment(moment)) => Some(moment),
                    _ => None,
                },
            }
        });
        loop {
            // Asked for before it is looked: what is published in between is not missed.
            let mut published = std::pin::pin!(worker.published());
            published.as_mut().enable();
            let look = {
                let (topology, now) = (worker.topology.load(), tokio::time::Instant::now());
                if is_trusted(&topology, lost, begun.delayed(now)) {
                    return Ok(Waited::There);
                }
                begun.look(topology.holding, now)
            };
            let waited = tokio::time::timeout_at(look, self.while_client_is_there(published)).await;
            match waited {
                Ok(over) => over?,
                Err(_) if look < begun.until => {}
                Err(_) => {
                    return Ok(Waited::Over(instead.and(format_args!(
                        "none came within {hold_time:?} (failover.hold_time)"
                    ))));
                }
            }
        }
    }
}

fn is_trusted(topology: &Topology, lost: Option<Lost>, delayed: Delayed) -> bool {
    let Some(active) = topology
        .active
        .filter(|_| has_waited(Some(delayed), topology.holding))
    else {
        return false;
    };
    lost.is_none_or(|lost| {
        let asked = topology.server(active).position_asked;
        active != lost.server || asked.is_some_and(|asked| asked > lost.at)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Who has waited for his pace and may not go on all the same (his server was lost) waits for news, and does not look on and on.
    #[test]
    fn a_paced_statement_looks_once_when_its_time_is_over() {
        let at = tokio::time::Instant::now();
        let after = |ms| at + Duration::from_millis(ms);
        let begun = Begun {
            at,
            until: after(1000),
            moment: None,
        };
        let paced = |ms| Some(Holding::Paced(Duration::from_millis(ms)));
        assert_eq!(begun.look(paced(25), after(24)), after(25));
        assert_eq!(begun.look(paced(25), after(25)), after(1000));
        assert_eq!(
            begun.look(paced(2000), after(24)),
            after(1000),
            "never beyond hold_time"
        );
        assert_eq!(begun.look(Some(Holding::Moment(1)), after(24)), after(1000));
    }
}
