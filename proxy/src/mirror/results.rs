//! What has come of the statements that a mirror was given, by shape. No value of a row or text is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local};
use rustc_hash::FxHashMap;

use super::Job;
use super::answer::{Answer, Difference, Verdict};
use crate::classify::Fingerprint;

/// Shapes that are kept apart; what comes beyond is counted together.
const MOST_SHAPES: usize = 1000;

/// Differences that are remembered of a shape: the oldest go.
const MOST_DIFFERENCES: usize = 3;

/// What came of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered so.
    Compared { verdict: Verdict, there: Answer },
    /// Not within the mirror's timeout.
    TimedOut,
    /// There was no connection, or it was lost.
    Unreachable,
    /// The mirror takes not all of the session's settings.
    Refused,
    /// It was not to be told whether it differs: too many others wait for their second look.
    Dropped,
}

/// How long something took, of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    count: u64,
    sum: Duration,
    pub shortest: Duration,
    pub longest: Duration,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.shortest = match self.count {
            0 => time,
            _ => self.shortest.min(time),
        };
        self.longest = self.longest.max(time);
        self.sum = self.sum.saturating_add(time);
        self.count += 1;
    }

    pub fn average(&self) -> Option<Duration> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.sum.checked_div(count)
    }
}

/// What was counted of one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub same: u64,
    pub late: u64,
    pub moving: u64,
    pub different: u64,
    pub errors: u64,
    pub timed_out: u64,
    pub unreachable: u64,
    pub refused: u64,
    pub dropped: u64,
    /// Of those that both have answered without an error.
    pub here: Times,
    pub there: Times,
}

/// A difference that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub at: DateTime<Local>,
    pub what: Difference,
}

/// Of one shape.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub name: Arc<str>,
    pub counts: Counts,
    /// The last ones.
    pub found: VecDeque<Found>,
}

/// Of one mirror.
#[derive(Debug, Default)]
pub struct Results {
    shapes: FxHashMap<Fingerprint, Tally>,
    beyond: Tally,
}

impl Results {
    pub fn note(&mut self, job: &Job, outcome: Outcome, now: DateTime<Local>) {
        let has_room = self.shapes.len() < MOST_SHAPES;
        let tally = match self.shapes.get_mut(&job.digest) {
            Some(tally) => tally,
            None if has_room => {
                let tally = self.shapes.entry(job.digest).or_default();
                tally.name = Arc::clone(&job.name);
                tally
            }
            None => &mut self.beyond,
        };
        tally.note(&job.here, outcome, now);
    }

    /// Each shape; without a digest, all for which there was no room.
    pub fn rows(&self) -> Vec<(Option<Fingerprint>, Tally)> {
        let shapes = self
            .shapes
            .iter()
            .map(|(digest, tally)| (Some(*digest), tally.clone()));
        let beyond = (self.beyond.counts != Counts::default()).then(|| (None, self.beyond.clone()));
        shapes.chain(beyond).collect()
    }
}

impl Tally {
    fn note(&mut self, here: &Answer, outcome: Outcome, now: DateTime<Local>) {
        let counts = &mut self.counts;
        let (verdict, there) = match outcome {
            Outcome::Compared { verdict, there } => (verdict, there),
            Outcome::TimedOut => return counts.timed_out += 1,
            Outcome::Unreachable => return counts.unreachable += 1,
            Outcome::Refused => return counts.refused += 1,
            Outcome::Dropped => return counts.dropped += 1,
        };
        if here.error.is_none() && there.error.is_none() {
            counts.here.add(here.took);
            counts.there.add(there.took);
        }
        let what = match verdict {
            Verdict::Same => return counts.same += 1,
            Verdict::Late => return counts.late += 1,
            Verdict::Moving => return counts.moving += 1,
            Verdict::Different(what) => {
                counts.different += 1;
                what
            }
            Verdict::ErrorThere(code) => {
                counts.errors += 1;
                Difference::ErrorThere(code)
            }
        };
        if self.found.len() >= MOST_DIFFERENCES {
            self.found.pop_front();
        }
        self.found.push_back(Found { at: now, what });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Statement;
    use super::super::shape::Shape;
    use super::*;
    use crate::session::settings::Settings;
    use tandem_protocol::flags::Capabilities;

    fn job(digest: u64, millis: u64) -> Job {
        Job {
            digest: Fingerprint(digest),
            name: "SELECT ?".into(),
            shape: Shape::default(),
            statement: Statement::Text(Vec::new()),
            settings: Settings::default(),
            flags: Capabilities::empty(),
            sent_at: 0,
            here: answer(millis),
        }
    }

    fn answer(millis: u64) -> Answer {
        Answer {
            took: Duration::from_millis(millis),
            ..Answer::default()
        }
    }

    fn compared(verdict: Verdict, millis: u64) -> Outcome {
        Outcome::Compared {
            verdict,
            there: answer(millis),
        }
    }

    #[test]
    fn times_are_of_both_and_the_last_differences_stay() {
        let mut results = Results::default();
        let now = Local::now();
        results.note(&job(1, 1), compared(Verdict::Same, 10), now);
        results.note(&job(1, 3), compared(Verdict::Late, 30), now);
        results.note(&job(1, 9), Outcome::TimedOut, now);
        for rows in 0..5 {
            let verdict = Verdict::Different(Difference::Rows(1, rows));
            results.note(&job(1, 2), compared(verdict, 20), now);
        }
        let failed = Answer {
            error: Some(1146),
            ..answer(500)
        };
        let verdict = Verdict::ErrorThere(1146);
        results.note(
            &job(1, 2),
            Outcome::Compared {
                verdict,
                there: failed,
            },
            now,
        );
        let rows = results.rows();
        let [(Some(Fingerprint(1)), tally)] = &rows[..] else {
            panic!("{rows:?}");
        };
        let counts = tally.counts;
        assert_eq!((counts.same, counts.late, counts.timed_out), (1, 1, 1));
        assert_eq!((counts.different, counts.errors), (5, 1));
        let millis = |time: Duration| time.as_millis();
        assert_eq!(
            (millis(counts.here.shortest), millis(counts.here.longest)),
            (1, 3)
        );
        assert_eq!(
            (millis(counts.there.shortest), millis(counts.there.longest)),
            (10, 30)
        );
        assert_eq!(
            counts.there.average().map(millis),
            Some(20),
            "what failed has no time"
        );
        let found: Vec<Difference> = tally.found.iter().map(|found| found.what).collect();
        let expected = [
            Difference::Rows(1, 3),
            Difference::Rows(1, 4),
            Difference::ErrorThere(1146),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn shapes_are_bounded() {
        let mut results = Results::default();
        for digest in 0..MOST_SHAPES as u64 + 7 {
            results.note(&job(digest, 1), compared(Verdict::Same, 1), Local::now());
        }
        let rows = results.rows();
        assert_eq!(rows.len(), MOST_SHAPES + 1);
        let beyond = rows.iter().find(|(digest, _)| digest.is_none());
        assert_eq!(beyond.map(|(_, tally)| tally.counts.same), Some(7));
    }
}
