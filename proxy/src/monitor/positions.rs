//! How old what a standby has applied is: where its source stood when, compared with where the standby is.
//!
//! Positions say it in milliseconds and without trusting clocks, and they see what has not been received yet, which
//! `Seconds_Behind_Master` does not. They need no table to write to, so they work on servers that are read-only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::topology::gtid::Position;

/// At four probes a second, a minute; older ones are thinned out.
const MOST: usize = 256;

/// Where one server stood at the times when it was asked, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Positions(VecDeque<(Instant, Position)>);

impl Positions {
    pub fn note(&mut self, asked_at: Instant, position: &Position) {
        match self.0.back_mut() {
            // Nothing was committed in between: everything committed by then is in both.
            Some((at, known)) if known == position => *at = asked_at,
            _ => self.0.push_back((asked_at, position.clone())),
        }
        if self.0.len() > MOST {
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index > MOST / 2 || index % 2 == 0
            });
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How long ago, at `asked_at`, the source stood where `position` has got to. Zero if that has everything of when the
    /// source was asked last; `None` if it has not even the oldest known.
    pub fn lag(&self, position: &Position, asked_at: Instant) -> Option<Duration> {
        let known = self.0.iter().rev();
        let mut before = known.skip_while(|(at, _)| *at > asked_at).peekable();
        let newest = before.peek()?.0;
        let reached = before.find(|(_, known)| position.includes(known))?.0;
        Some(match reached == newest {
            true => Duration::ZERO,
            false => asked_at.saturating_duration_since(reached),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        Position::parse_mariadb(text).unwrap()
    }

    #[test]
    fn the_lag_is_the_age_of_what_is_applied() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut source = Positions::default();
        for (when, position) in [(0, "0-1-10"), (250, "0-1-10"), (500, "0-1-20"), (750, "0-1-30")] {
            source.note(ms(when), &at(position));
        }
        let lag = |position: &str, when| source.lag(&at(position), ms(when));
        assert_eq!(lag("0-1-30", 800), Some(Duration::ZERO));
        assert_eq!(lag("0-1-35", 800), Some(Duration::ZERO), "more than was seen");
        assert_eq!(lag("0-1-29", 800), Some(Duration::from_millis(300)));
        assert_eq!(lag("0-1-10", 800), Some(Duration::from_millis(550)));
        assert_eq!(lag("0-1-9", 800), None, "older than what is known");
        assert_eq!(
            lag("0-1-20", 600),
            Some(Duration::ZERO),
            "what came later is no lag"
        );
        assert_eq!(Positions::default().lag(&at("0-1-9"), ms(0)), None);
    }

    #[test]
    fn old_positions_are_thinned_out() {
        let start = Instant::now();
        let mut source = Positions::default();
        for n in 0..5000_u64 {
            source.note(start + Duration::from_millis(n), &at(&format!("0-1-{n}")));
        }
        assert!(source.0.len() <= MOST);
        let lag = source.lag(&at("0-1-4998"), start + Duration::from_secs(5));
        assert_eq!(lag, Some(Duration::from_millis(2)));
    }
}
