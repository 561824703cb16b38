//! The numbers of one shape of statement.

use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use super::spread::Spread;
use crate::classify::Fingerprint;

/// The last minute is counted in windows of this length, of which the newest is the one that is being filled: what is told of it
/// is of 60 to 80 seconds.
pub const WINDOW: Duration = Duration::from_secs(20);
const WINDOWS: usize = 4;

/// What is simply added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub count: u64,
    /// Of them, those that ended in an error, of a server or of Tandem.
    pub errors: u64,
    /// Rows that were sent to clients.
    pub rows: u64,
    /// Rows that were changed.
    pub affected: u64,
    /// Of the commands.
    pub bytes_in: u64,
    /// Of the replies.
    pub bytes_out: u64,
    /// Times they were sent again.
    pub retries: u64,
    /// Times they waited for an active master.
    pub holds: u64,
    pub time: Duration,
    pub shortest: Duration,
    pub longest: Duration,
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.shortest = match (self.count, other.count) {
            (0, _) => other.shortest,
            (_, 0) => self.shortest,
            _ => self.shortest.min(other.shortest),
        };
        self.longest = self.longest.max(other.longest);
        self.count += other.count;
        self.errors += other.errors;
        self.rows += other.rows;
        self.affected += other.affected;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.retries += other.retries;
        self.holds += other.holds;
        self.time += other.time;
    }
}

/// Where statements were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Active,
    Standby,
    /// By Tandem, see [`crate::cache`].
    Cache,
}

/// Why how many went where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The reason's place among the router's.
    pub reason: u8,
    pub place: Place,
    pub count: u64,
}

/// Shapes have one or two reasons, so it is found at once.
fn add_route(routes: &mut Vec<Route>, new: Route) {
    let same = |known: &&mut Route| known.reason == new.reason && known.place == new.place;
    match routes.iter_mut().find(same) {
        Some(known) => known.count += new.count,
        None => routes.push(new),
    }
}

/// One statement that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub counts: Counts,
    /// Why it went where, if it went anywhere.
    pub route: Option<Route>,
    /// Which window its end falls into, and the time since the worker's start.
    pub window: u32,
    pub at: Duration,
}

/// A shape's numbers, as long as its worker keeps them.
#[derive(Debug)]
pub struct Digest {
    pub fingerprint: Fingerprint,
    pub statement: Arc<str>,
    /// Its statements are reads.
    pub reads: bool,
    /// Its worker still keeps it.
    pub kept: Cell<bool>,
    numbers: RefCell<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    counts: Counts,
    routes: Vec<Route>,
    last_window: u32,
    last_at: Duration,
    /// From the second statement on: many shapes come once.
    times: Option<Box<Times>>,
}

#[derive(Debug, Default)]
struct Times {
    all: Spread,
    windows: [Window; WINDOWS],
}

#[derive(Debug, Default)]
struct Window {
    number: u32,
    recent: Recent,
}

/// What was counted lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    pub count: u64,
    pub errors: u64,
    pub time: Duration,
    pub longest: Duration,
    spread: Spread,
}

/// A copy of one shape's numbers, perhaps of several workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub fingerprint: Fingerprint,
    pub statement: Arc<str>,
    pub reads: bool,
    pub counts: Counts,
    /// Each pair of reason and place once.
    pub routes: Vec<Route>,
    /// Since the last of them ended.
    pub idle: Duration,
    /// Of the last minute, see [`WINDOW`].
    pub recent: Recent,
    spread: Box<Spread>,
}

impl Digest {
    pub fn new(fingerprint: Fingerprint, statement: Arc<str>, reads: bool) -> Self {
        Self {
            fingerprint,
            statement,
            reads,
            kept: Cell::new(false),
            numbers: RefCell::default(),
        }
    }

    pub fn count(&self, ended: &Ended) {
        let numbers = &mut *self.numbers.borrow_mut();
        if numbers.counts.count > 0 {
            let times = numbers.times();
            times.all.add(ended.counts.time);
            times.recent(ended.window).add(&ended.counts);
        }
        numbers.counts += &ended.counts;
        (numbers.last_window, numbers.last_at) = (ended.window, ended.at);
        if let Some(route) = ended.route {
            add_route(&mut numbers.routes, route);
        }
    }

    /// Adds the numbers of one that is given up.
    pub fn absorb(&self, other: &Self) {
        let numbers = &mut *self.numbers.borrow_mut();
        let other = &mut *other.numbers.borrow_mut();
        if other.counts.count == 0 {
            return;
        }
        if numbers.counts.count == 0 {
            return *numbers = std::mem::take(other);
        }
        let (mine, theirs) = (numbers.times(), other.times());
        mine.all.merge(&theirs.all);
        for window in &theirs.windows {
            if mine.windows[window.number as usize % WINDOWS].number <= window.number {
                mine.recent(window.number).merge(&window.recent);
            }
        }
        numbers.counts += &other.counts;
        if other.last_at > numbers.last_at {
            (numbers.last_window, numbers.last_at) = (other.last_window, other.last_at);
        }
        for route in &other.routes {
            add_route(&mut numbers.routes, *route);
        }
    }

    /// Begins anew.
    pub fn reset(&self) {
        *self.numbers.borrow_mut() = Numbers::default();
    }

    /// When its last statement ended, since the worker's start.
    pub fn last_at(&self) -> Duration {
        self.numbers.borrow().last_at
    }

    /// Time that was spent on it: in the last minute, and in all.
    pub fn weight(&self, window: u32) -> (Duration, Duration) {
        let numbers = self.numbers.borrow();
        let recent = match &numbers.times {
            Some(times) => times.lately(window).map(|window| window.recent.time).sum(),
            None if is_recent(numbers.last_window, window) => numbers.counts.time,
            None => Duration::ZERO,
        };
        (recent, numbers.counts.time)
    }

    /// A copy, if anything has been counted, as it is in the window of this number.
    pub fn copy(&self, window: u32, now: Duration) -> Option<Counted> {
        let numbers = self.numbers.borrow();
        if numbers.counts.count == 0 {
            return None;
        }
        let mut recent = Recent::default();
        let mut spread = Box::<Spread>::default();
        match &numbers.times {
            Some(times) => {
                spread.merge(&times.all);
                for window in times.lately(window) {
                    recent.merge(&window.recent);
                }
            }
            None => {
                spread.add(numbers.counts.time);
                if is_recent(numbers.last_window, window) {
                    recent.add(&numbers.counts);
                }
            }
        }
        Some(Counted {
            fingerprint: self.fingerprint,
            statement: Arc::clone(&self.statement),
            reads: self.reads,
            counts: numbers.counts,
            routes: numbers.routes.clone(),
            idle: now.saturating_sub(numbers.last_at),
            recent,
            spread,
        })
    }
}

fn is_recent(number: u32, now: u32) -> bool {
    now.wrapping_sub(number) < WINDOWS as u32
}

impl Numbers {
    /// The times, with what was counted before there was a place for them.
    fn times(&mut self) -> &mut Times {
        let Self {
            counts, last_window, ..
        } = *self;
        self.times.get_or_insert_with(|| {
            let mut times = Box::<Times>::default();
            times.all.add(counts.time);
            times.recent(last_window).add(&counts);
            times
        })
    }
}

impl Times {
    /// What was counted in a window; the place of one that is over is taken.
    fn recent(&mut self, number: u32) -> &mut Recent {
        let window = &mut self.windows[number as usize % WINDOWS];
        if window.number != number {
            window.number = number;
            window.recent = Recent::default();
        }
        &mut window.recent
    }

    fn lately(&self, now: u32) -> impl Iterator<Item = &Window> {
        let windows = self.windows.iter();
        windows.filter(move |window| is_recent(window.number, now))
    }
}

impl Recent {
    /// Adds one statement.
    fn add(&mut self, counts: &Counts) {
        self.count += counts.count;
        self.errors += counts.errors;
        self.time += counts.time;
        self.longest = self.longest.max(counts.longest);
        self.spread.add(counts.time);
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.time += other.time;
        self.longest = self.longest.max(other.longest);
        self.spread.merge(&other.spread);
    }

    pub fn average(&self) -> Duration {
        average(self.time, self.count)
    }

    pub fn quantile(&self, part: f64) -> Duration {
        self.spread.quantile(part).min(self.longest)
    }
}

impl Counted {
    /// Adds what another worker has counted of the same shape.
    pub fn add(&mut self, other: &Self) {
        self.counts += &other.counts;
        for route in &other.routes {
            add_route(&mut self.routes, *route);
        }
        self.idle = self.idle.min(other.idle);
        self.recent.merge(&other.recent);
        self.spread.merge(&other.spread);
    }

    pub fn average(&self) -> Duration {
        average(self.counts.time, self.counts.count)
    }

    pub fn quantile(&self, part: f64) -> Duration {
        let Counts {
            shortest, longest, ..
        } = self.counts;
        self.spread.quantile(part).clamp(shortest, longest)
    }

    /// How many a server was sent.
    pub fn routed(&self) -> u64 {
        self.at(Place::Active) + self.at(Place::Standby)
    }

    /// How many were answered there.
    pub fn at(&self, place: Place) -> u64 {
        let there = self.routes.iter().filter(|route| route.place == place);
        there.map(|route| route.count).sum()
    }
}

fn average(time: Duration, count: u64) -> Duration {
    let nanos = time.as_nanos() / u128::from(count.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ended(millis: u64, at: u64) -> Ended {
        let time = Duration::from_millis(millis);
        Ended {
            counts: Counts {
                count: 1,
                rows: 2,
                time,
                shortest: time,
                longest: time,
                ..Counts::default()
            },
            route: Some(Route {
                reason: 3,
                place: Place::Active,
                count: 1,
            }),
            window: (at / WINDOW.as_secs()) as u32,
            at: Duration::from_secs(at),
        }
    }

    pub(crate) fn digest(number: u64) -> Digest {
        Digest::new(Fingerprint(number), format!("SELECT {number}").into(), true)
    }

    fn copy_at(digest: &Digest, at: u64) -> Counted {
        let window = (at / WINDOW.as_secs()) as u32;
        digest.copy(window, Duration::from_secs(at)).expect("counted")
    }

    /// One statement or many: times, percentiles and the last minute say what was.
    #[test]
    fn times_are_of_all_and_of_the_last_minute() {
        let digest = digest(1);
        assert_eq!(digest.copy(0, Duration::ZERO), None);
        digest.count(&ended(8, 5));
        let one = copy_at(&digest, 6);
        assert_eq!(one.quantile(0.95), Duration::from_millis(8));
        assert_eq!((one.recent.count, one.idle), (1, Duration::from_secs(1)));
        assert_eq!(one.recent.longest, Duration::from_millis(8));
        for at in 6..=100 {
            digest.count(&ended(2, at));
        }
        digest.count(&ended(50, 101));
        let all = copy_at(&digest, 102);
        assert_eq!(all.counts.count, 97);
        assert_eq!(all.counts.rows, 194);
        assert_eq!(all.counts.shortest, Duration::from_millis(2));
        assert_eq!(all.counts.longest, Duration::from_millis(50));
        assert_eq!(all.routed(), 97);
        let median = all.quantile(0.5).as_secs_f64();
        assert!((0.0018..0.0024).contains(&median), "{median}");
        // From second 40 on.
        assert_eq!(all.recent.count, 62);
        assert_eq!(all.recent.longest, Duration::from_millis(50));
        let later = copy_at(&digest, 300);
        assert_eq!((later.counts.count, later.recent.count), (97, 0));
        assert_eq!(digest.weight(15).0, Duration::ZERO);
        digest.reset();
        assert_eq!(digest.copy(15, Duration::ZERO), None);
    }

    /// What two have counted is the same whether it is added as numbers or as copies.
    #[test]
    fn two_are_added() {
        let (one, two) = (digest(1), digest(1));
        for at in 0..90 {
            one.count(&ended(1 + at % 3, at));
            two.count(&ended(7, at + 1));
        }
        let mut copies = copy_at(&one, 91);
        copies.add(&copy_at(&two, 91));
        one.absorb(&two);
        let numbers = copy_at(&one, 91);
        assert_eq!(numbers.counts, copies.counts);
        assert_eq!(numbers.recent, copies.recent);
        assert_eq!(numbers.routes, copies.routes);
        assert_eq!(numbers.quantile(0.9), copies.quantile(0.9));
        assert_eq!(numbers.idle, copies.idle);
    }
}
