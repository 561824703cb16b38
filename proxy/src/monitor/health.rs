//! From the outcomes of probes to "it is up", "it is down", and how far behind it can be at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::observation::{Observation, ProbeError, Receiver, Seen};
use super::positions::Positions;

/// So many probes in a row must time out before a server that was up is down. One can be a lost packet (the
/// kernel sends a SYN again after 1 s) or a stall of Tandem's own machine.
const TIMEOUTS_TO_DOWN: u32 = 2;

/// What is known of one server. Memory of the monitor, fed with each observation.
#[derive(Clone, Debug, Default)]
pub struct History {
    state: State,
    /// Newest probe failed: why.
    failure: Option<ProbeError>,
    timeouts: u32,
    /// Last answer of the server, kept while it is down for what it tells about identity (version, server_id).
    answer: Option<Arc<Answer>>,
    /// The last lag the server knew, for each source.
    lags: Vec<KnownLag>,
    /// Where it stood when, since it came up.
    positions: Positions,
    /// The first failed probe since the last answer.
    failing_since: Option<Instant>,
    /// Failed probes since the last answer.
    failures: u32,
    /// The first answer since the last failed probe.
    answering_since: Option<Instant>,
    /// When its receiver was last seen to have heard something new of each source.
    heard: Vec<Heard>,
}

/// A receiver's source, and when it was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The source's server_id.
    pub source: u32,
    count: u64,
    /// The receiver had a connection to it then.
    connected: bool,
    /// Of the probe that found out that there was something new.
    pub at: Instant,
}

#[cfg(test)]
impl Heard {
    pub(crate) fn new(source: u32, at: Instant) -> Self {
        Self {
            source,
            count: 7,
            connected: true,
            at,
        }
    }
}

/// What is known of a server now.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub state: State,
    /// The last answer, of before it went down if it is down.
    pub answer: Option<Arc<Answer>>,
    /// Why the newest probe failed, if it did.
    pub failure: Option<ProbeError>,
    /// When the first failed probe since the last answer was begun.
    pub failing_since: Option<Instant>,
    /// Failed probes since the last answer.
    pub failures: u32,
    /// When the first probe that was answered since the last failed one was begun.
    pub answering_since: Option<Instant>,
    /// By source.
    pub heard: Vec<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct KnownLag {
    /// The source's server_id.
    source: u32,
    lag: Duration,
    asked_at: Instant,
}

/// ```text
///            an answer                       refused, lost, 2nd timeout
/// Unprobed ────────────▶ Up ───────────────────────────────▶ Down
///    │                   ▲ └▶ Up: full, denied, 1st timeout    │ └▶ Down: any failure
///    │ any failure       └──────────────── an answer ──────────┘
///    └──────────────────────────────────────────────────────▶ Down
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Unprobed,
    Up,
    Down,
}

/// One successful probe.
#[derive(Clone, Debug)]
pub struct Answer {
    pub asked_at: Instant,
    pub took: Duration,
    pub seen: Seen,
}

impl History {
    /// Takes a probe's outcome in.
    pub fn record(&mut self, observation: Observation) {
        let Observation {
            asked_at,
            took,
            result,
            ..
        } = observation;
        match result {
            Ok(seen) => {
                self.record_lag(&seen, asked_at);
                self.record_heard(&seen, asked_at);
                self.failing_since = None;
                self.answering_since.get_or_insert(asked_at);
                self.failures = 0;
                self.positions.note(asked_at, &seen.position);
                self.answer = Some(Arc::new(Answer { asked_at, took, seen }));
                self.state = State::Up;
                self.failure = None;
                self.timeouts = 0;
            }
            Err(error) => {
                self.state = self.after(&error);
                self.failing_since
                    .get_or_insert(asked_at + stood_still(took, &error));
                self.answering_since = None;
                self.failures = self.failures.saturating_add(1);
                if self.state == State::Down {
                    // What comes back may have been restored from a backup: nothing known of before counts.
                    self.lags.clear();
                    self.positions.clear();
                }
                self.failure = Some(error);
            }
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The answer that still holds: none while the server is down.
    pub fn current(&self) -> Option<&Answer> {
        self.answer.as_deref().filter(|_| self.state == State::Up)
    }

    /// The last answer, of before the server went down if it is down.
    pub fn last(&self) -> Option<&Answer> {
        self.answer.as_deref()
    }

    /// Why the newest probe failed, if it did.
    pub fn failure(&self) -> Option<&ProbeError> {
        self.failure.as_ref()
    }

    /// How far behind this source the server is at most, if that is known at all. Lag grows by a second a second at
    /// most, so an old measurement is a bound; it stops growing at `until`, after which the source can't have written.
    pub fn lag_at_most(&self, source: u32, until: Instant) -> Option<Duration> {
        let known = self.lags.iter().find(|known| known.source == source)?;
        Some(known.lag + until.saturating_duration_since(known.asked_at))
    }

    /// Where the server stood when.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// What [`crate::failover`] judges by.
    pub fn health(&self) -> Health {
        Health {
            state: self.state,
            answer: self.answer.clone(),
            failure: self.failure.clone(),
            failing_since: self.failing_since,
            failures: self.failures,
            answering_since: self.answering_since,
            heard: self.heard.clone(),
        }
    }

    /// A new connection counts as something heard.
    fn record_heard(&mut self, seen: &Seen, at: Instant) {
        for link in &seen.links {
            let mut heard = Heard {
                source: link.source_server_id,
                count: link.heard,
                connected: link.receiver == Receiver::Connected,
                at,
            };
            match self.heard.iter_mut().find(|known| known.source == heard.source) {
                Some(known) => {
                    if known.count == heard.count && (known.connected || !heard.connected) {
                        heard.at = known.at;
                    }
                    *known = heard;
                }
                None => self.heard.push(heard),
            }
        }
    }

    fn after(&mut self, error: &ProbeError) -> State {
        let was = self.state;
        match error {
            // Nobody listens: the process is gone. A broken connection counts only when a new one broke too
            // (see `probe`), so a KILL of the monitor's connection is not taken for a death.
            ProbeError::Refused(_) | ProbeError::Lost(_) => State::Down,
            ProbeError::Timeout(_) | ProbeError::Unexpected(_) => {
                self.timeouts = self.timeouts.saturating_add(1);
                if was == State::Up && self.timeouts < TIMEOUTS_TO_DOWN {
                    State::Up
                } else {
                    State::Down
                }
            }
            // It answers, so it lives: it stays what it was (FIELD §5a, MMM: "too many connections" is not failure).
            // A password changed under the monitor must not take the masters away from the applications either.
            ProbeError::Full(_) | ProbeError::Denied { .. } => {
                self.timeouts = 0;
                if was == State::Up { State::Up } else { State::Down }
            }
        }
    }

    fn record_lag(&mut self, seen: &Seen, asked_at: Instant) {
        for link in &seen.links {
            let Some(lag) = link.lag else { continue };
            self.lags.retain(|known| known.source != link.source_server_id);
            self.lags.push(KnownLag {
                source: link.source_server_id,
                lag,
                asked_at,
            });
        }
    }
}

/// For so long Tandem itself stood still (its process was stopped, its machine was moved): a probe ends by then, so what was
/// not answered before may have been answered to nobody.
fn stood_still(took: Duration, error: &ProbeError) -> Duration {
    match error {
        ProbeError::Timeout(limit) => took.saturating_sub(*limit),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ServerId;

    #[test]
    fn the_time_in_which_tandem_stood_still_is_none_in_which_a_server_did_not_answer() {
        let limit = Duration::from_secs(1);
        let begun = Instant::now();
        let failing_since = |took| {
            let mut history = History::default();
            history.record(Observation {
                server: ServerId(0),
                asked_at: begun,
                took,
                result: Err(ProbeError::Timeout(limit)),
            });
            history.health().failing_since
        };
        assert_eq!(failing_since(limit), Some(begun));
        let stopped = Duration::from_secs(14);
        assert_eq!(failing_since(limit + stopped), Some(begun + stopped));
    }
}
