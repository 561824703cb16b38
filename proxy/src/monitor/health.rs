//! From the outcomes of probes to "it is up", "it is down", and how far behind it can be at most.

use std::time::{Duration, Instant};

use super::observation::{Observation, ProbeError, Seen};
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
    answer: Option<Answer>,
    /// The last lag the server knew, for each source.
    lags: Vec<KnownLag>,
    /// Where it stood when, since it came up.
    positions: Positions,
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
                self.positions.note(asked_at, &seen.position);
                self.answer = Some(Answer { asked_at, took, seen });
                self.state = State::Up;
                self.failure = None;
                self.timeouts = 0;
            }
            Err(error) => {
                self.state = self.after(&error);
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
        self.answer.as_ref().filter(|_| self.state == State::Up)
    }

    /// The last answer, of before the server went down if it is down.
    pub fn last(&self) -> Option<&Answer> {
        self.answer.as_ref()
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
