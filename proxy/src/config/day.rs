//! A part of each day, for what may happen at some times only.

use std::fmt;

use super::scalar::{Scalar, must_be};

/// From one minute of the day to before another, by the local clock; over midnight where the second is not later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayWindow {
    from: u16,
    until: u16,
}

impl DayWindow {
    /// In minutes of the day.
    pub fn new(from: u16, until: u16) -> Self {
        Self { from, until }
    }

    /// Whether it has this minute of the day.
    pub fn contains(self, minute: u16) -> bool {
        match self.from < self.until {
            true => (self.from..self.until).contains(&minute),
            false => minute >= self.from || minute < self.until,
        }
    }
}

impl fmt::Display for DayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            until / 60,
            until % 60
        )
    }
}

impl Scalar for DayWindow {
    const EXPECTED: &'static str = "a part of the day such as \"02:00-04:30\" or \"22:00-06:00\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let minute = |text: &str| {
            let (hours, minutes) = text.trim().split_once(':')?;
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            let minute = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(minute)
        };
        let window = text.split_once('-').and_then(|(from, until)| {
            let (from, until) = (minute(from)?, minute(until)?);
            Some(Self::new(from, until))
        });
        window
            .filter(|window| window.from != window.until)
            .ok_or_else(must_be::<Self>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_over_midnight() {
        let window = |text| DayWindow::from_text(text).unwrap();
        let (night, noon) = (window("22:30-06:00"), window("12:00 - 13:00"));
        for (minute, in_night, at_noon) in [
            (22 * 60 + 29, false, false),
            (22 * 60 + 30, true, false),
            (0, true, false),
            (5 * 60 + 59, true, false),
            (6 * 60, false, false),
            (12 * 60, false, true),
            (13 * 60, false, false),
        ] {
            assert_eq!(
                (night.contains(minute), noon.contains(minute)),
                (in_night, at_noon),
                "{minute}"
            );
        }
        assert_eq!(night.to_string(), "22:30-06:00");
        for wrong in [
            "",
            "2-4",
            "24:00-01:00",
            "02:00-02:00",
            "02:00",
            "02:60-03:00",
            "a:b-c:d",
            "-",
        ] {
            assert!(DayWindow::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
