//! One statement step by step: where its time went. Only of statements that somebody asked for, or that were drawn for spans.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::classify::Fingerprint;
use crate::spans::Parent;

/// Statements whose steps a worker keeps; the oldest go. So many can be asked for.
pub(crate) const MOST: u32 = 500;

/// Steps that are kept of one statement, however often it is tried.
const MOST_STEPS: usize = 64;

/// What has been done when its time is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its shape was found, or analysed.
    Classify,
    /// It was answered from the cache, and no server was chosen.
    Cache,
    /// A server was chosen. What it waited for an active master, or for the standby to have what it reads, is in here.
    Route,
    /// There is a connection. What it waited for one is in here, and the opening of a new one.
    Lease,
    /// It is known what the connection lacks of the session's state; a change of schema has been answered.
    Bring,
    /// It was handed to the kernel.
    Send,
    /// The server's reply has begun. What it was brought before the statement has been answered.
    FirstByte,
    /// The client was handed the last of the reply.
    Reply,
    /// A copy of it waits for a mirror.
    Mirror,
    /// The session is ready for the next one.
    End,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Cache => "cache",
            Self::Route => "route",
            Self::Lease => "lease",
            Self::Bring => "bring",
            Self::Send => "send",
            Self::FirstByte => "first_byte",
            Self::Reply => "reply",
            Self::Mirror => "mirror",
            Self::End => "end",
        }
    }
}

/// The steps of the statement that runs.
#[derive(Debug)]
pub struct Steps {
    pub began: Instant,
    pub began_at: SystemTime,
    /// Somebody asked for this session's.
    pub asked_for: bool,
    /// It was drawn.
    pub drawn: bool,
    /// What the client has said of the span that it belongs to.
    pub parent: Option<Parent>,
    steps: Vec<(Step, Duration)>,
}

impl Steps {
    #[expect(clippy::disallowed_methods, reason = "it is only shown")]
    pub fn begin(began: Instant, asked_for: bool, drawn: bool) -> Self {
        Self {
            began,
            began_at: SystemTime::now() - began.elapsed(),
            asked_for,
            drawn,
            parent: None,
            steps: Vec::with_capacity(16),
        }
    }

    pub fn note(&mut self, step: Step) {
        if self.steps.len() < MOST_STEPS {
            self.steps.push((step, self.began.elapsed()));
        }
    }

    pub fn into_steps(self) -> Vec<(Step, Duration)> {
        self.steps
    }
}

/// A statement that has ended, with its steps.
#[derive(Clone, Debug)]
pub struct Trace {
    pub worker: usize,
    /// Of this worker.
    pub number: u64,
    pub session: u32,
    pub user: String,
    pub schema: String,
    pub digest: Fingerprint,
    /// Without its values.
    pub statement: Arc<str>,
    pub server: Option<String>,
    pub reason: Option<&'static str>,
    pub failed: bool,
    pub error: Option<u16>,
    pub rows: u64,
    pub began_at: SystemTime,
    /// Since it came.
    pub steps: Vec<(Step, Duration)>,
}

/// Those that were asked for last.
#[derive(Debug, Default)]
pub struct Traces {
    all: VecDeque<Trace>,
    last_number: u64,
}

impl Traces {
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub fn keep(&mut self, trace: Trace) {
        if self.all.len() >= MOST as usize {
            self.all.pop_front();
        }
        self.all.push_back(trace);
    }

    pub fn copies(&self) -> Vec<Trace> {
        self.all.iter().cloned().collect()
    }

    pub fn clear(&mut self) {
        self.all.clear();
    }
}

/// Draws one of so many statements, without a clock or the system's dice.
#[derive(Debug)]
pub struct Draw {
    /// Of 2^32.
    part: u64,
    state: u64,
}

impl Draw {
    /// `ratio` is from 0 to 1.
    pub fn new(ratio: f64, seed: u64) -> Self {
        Self {
            part: (ratio.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64,
            state: seed | 1,
        }
    }

    #[inline]
    pub fn draw(&mut self) -> bool {
        if self.part == 0 {
            return false;
        }
        // Xorshift: good enough for that, and three instructions.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 32 < self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many are drawn as the ratio says, to a twentieth; of none none, of all all.
    #[test]
    fn as_many_are_drawn_as_the_ratio_says() {
        for ratio in [0.0, 0.01, 0.5, 1.0] {
            let mut draw = Draw::new(ratio, 7);
            let drawn = (0..200_000).filter(|_| draw.draw()).count() as f64 / 200_000.0;
            assert!((drawn - ratio).abs() <= ratio * 0.05, "{ratio}: {drawn}");
        }
    }

    #[test]
    fn steps_and_traces_are_bounded() {
        let mut steps = Steps::begin(Instant::now(), true, false);
        for _ in 0..1000 {
            steps.note(Step::Route);
        }
        let steps = steps.into_steps();
        assert_eq!(steps.len(), MOST_STEPS);
        assert!(steps.is_sorted_by_key(|(_, at)| *at));
        let mut traces = Traces::default();
        for _ in 0..MOST + 5 {
            let number = traces.next_number();
            traces.keep(Trace {
                worker: 0,
                number,
                session: 1,
                user: String::new(),
                schema: String::new(),
                digest: Fingerprint(1),
                statement: "".into(),
                server: None,
                reason: None,
                failed: false,
                error: None,
                rows: 0,
                began_at: SystemTime::UNIX_EPOCH,
                steps: Vec::new(),
            });
        }
        let kept = traces.copies();
        assert_eq!((kept.len(), kept[0].number), (MOST as usize, 6));
    }
}
