//! What a session's statements have left for the next one to ask: `ROW_COUNT()`, `FOUND_ROWS()`, warnings.
//!
//! Replies tell most of it, by rules measured on MariaDB 10.11 and MySQL 9.7. Where they don't, the connection that has
//! the value is asked, as long as it has it: marks on both sides say so. Pure.

use std::rc::Rc;

use super::hold::runs_code;
use super::learn::Learned;
use super::settings::Settings;
use crate::backend::ConnectionId;
use crate::classify::facts::{Facts, Kind, Links};
use crate::topology::{Flavor, ServerId};

/// Which of a session's values a connection holds, by their serial numbers; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub row_count: u64,
    pub found_rows: u64,
    pub warnings: u64,
}

impl Marks {
    /// Tandem has run statements of its own there: `SET` and their like.
    pub fn set_by_tandem(&mut self, flavor: Flavor) {
        self.row_count = 0;
        // MariaDB keeps warnings until a statement names a table or has its own.
        if flavor == Flavor::MySql {
            self.warnings = 0;
        }
    }

    /// Tandem has run a query.
    pub fn asked_by_tandem(&mut self, flavor: Flavor) {
        self.set_by_tandem(flavor);
        self.found_rows = 0;
    }
}

/// A connection and its server.
pub type Place = (ServerId, ConnectionId);

/// The warnings of a statement, saved when its connection was wanted elsewhere.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The server's whole reply to `SHOW WARNINGS`.
    pub reply: Box<[u8]>,
    /// What it was written under.
    pub settings: Rc<Settings>,
}

/// How many warnings there are, and how many of them are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub warnings: u16,
    pub errors: u16,
}

impl Counts {
    const NONE: Self = Self {
        warnings: 0,
        errors: 0,
    };
    /// After an error of Tandem's own.
    const COMPLAINT: Self = Self {
        warnings: 1,
        errors: 1,
    };
}

/// One session's.
#[derive(Clone, Debug)]
pub struct Aftermath {
    serial: u64,
    marks: Marks,
    /// Where its last statement ran.
    last: Option<Place>,
    row_count: i64,
    found_rows: u64,
    /// Where `FOUND_ROWS()` has to be asked for, if that is not known for sure.
    found_on: Option<Place>,
    /// It comes from `SQL_CALC_FOUND_ROWS`, so it will be asked.
    calculated: bool,
    /// `None` where only the connection knows.
    counts: Option<Counts>,
    warned_on: Option<Place>,
    saved: Option<Saved>,
    /// Tandem has asked the connection something since the last statement.
    disturbed: bool,
}

impl Default for Aftermath {
    fn default() -> Self {
        Self {
            serial: 1,
            marks: Marks {
                row_count: 1,
                found_rows: 1,
                warnings: 1,
            },
            last: None,
            row_count: 0,
            found_rows: 0,
            found_on: None,
            calculated: false,
            counts: Some(Counts::NONE),
            warned_on: None,
            saved: None,
            disturbed: false,
        }
    }
}

/// What a statement does to `FOUND_ROWS()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Stays,
    Is(u64),
    /// It was set; the best guess.
    Set(u64),
    /// It may have been set; the best guess.
    Maybe(u64),
}

impl Aftermath {
    /// Notes what a reply from `place` says, and marks there what it holds.
    pub(crate) fn note(
        &mut self,
        place: Place,
        held: &mut Marks,
        facts: &Facts,
        learned: &Learned,
        flavor: Flavor,
    ) {
        let disturbed = std::mem::take(&mut self.disturbed);
        let failed = learned.outcome.failed;
        let said_nothing = learned.outcome.status.is_none() && !failed;
        let reads_area = facts.kind == Kind::Diagnostics && facts.links.contains(Links::READS_DIAGNOSTICS);
        if learned.prepared.is_some() || said_nothing || (reads_area && !failed) {
            return;
        }
        self.serial += 1;
        self.last = Some(place);
        self.row_count = match learned.affected {
            Some(affected) if !failed => i64::try_from(affected).unwrap_or(i64::MAX),
            _ => -1,
        };
        self.marks.row_count = self.serial;
        let holds_found = held.found_rows == self.marks.found_rows;
        match found(facts, learned, flavor, self.found_rows) {
            Found::Stays => {}
            Found::Maybe(guess) if holds_found => {
                self.found_rows = guess;
                self.found_on = Some(place);
            }
            Found::Is(rows) | Found::Maybe(rows) => self.found(rows, None),
            Found::Set(guess) => self.found(guess, Some(place)),
        }
        self.calculated &= self.found_on.is_some();
        self.calculated |= facts.links.contains(Links::LEAVES_FOUND_ROWS) && !failed;
        let asks = facts.links.contains(Links::READS_DIAGNOSTICS);
        let keeps = asks || facts.links.contains(Links::KEEPS_WARNINGS);
        if failed || learned.outcome.warnings > 0 {
            self.warned(None, Some(place));
        } else if !keeps {
            self.warned(Some(Counts::NONE), None);
        }
        self.mark(held);
        if disturbed {
            held.asked_by_tandem(flavor);
        }
    }

    fn found(&mut self, rows: u64, on: Option<Place>) {
        self.found_rows = rows;
        self.found_on = on;
        self.marks.found_rows = self.serial;
    }

    fn warned(&mut self, counts: Option<Counts>, on: Option<Place>) {
        self.counts = counts;
        self.warned_on = on;
        self.saved = None;
        self.marks.warnings = self.serial;
    }

    /// What the statement has just set is on its connection; what it left is there if it was before.
    fn mark(&self, held: &mut Marks) {
        held.row_count = self.marks.row_count;
        if self.marks.found_rows == self.serial {
            held.found_rows = self.serial;
        }
        if self.marks.warnings == self.serial {
            held.warnings = self.serial;
        }
    }

    /// Tandem has answered in the server's place with an OK, or with something else.
    pub fn answered(&mut self, ok: bool) {
        self.serial += 1;
        self.row_count = if ok { 0 } else { -1 };
        self.marks.row_count = self.serial;
    }

    /// Tandem has answered a query by rows that it had kept.
    pub fn answered_from_cache(&mut self, found_rows: u64) {
        self.answered(false);
        self.found(found_rows, None);
        self.calculated = false;
        self.warned(Some(Counts::NONE), None);
    }

    /// Tandem has refused a statement.
    pub fn complained(&mut self) {
        self.answered(false);
        self.warned(Some(Counts::COMPLAINT), None);
    }

    /// A reset of the session, which leaves `FOUND_ROWS()` (measured).
    pub fn reset(&mut self) {
        *self = Self {
            serial: self.serial + 1,
            marks: Marks {
                row_count: self.serial + 1,
                found_rows: self.serial + 1,
                warnings: self.serial + 1,
            },
            found_rows: self.found_rows,
            ..Self::default()
        };
    }

    /// Tandem has asked the connection something after the statement and before [`Self::note`].
    pub fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// How many statements have left something, to say later what was left since.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What the session has run since `since` was run again at `place`, which holds now what that left.
    pub fn played_again(&mut self, since: u64, place: Place, held: &mut Marks) {
        let before = self.last.replace(place);
        for on in [&mut self.found_on, &mut self.warned_on] {
            if on.is_some() && *on == before {
                *on = Some(place);
            }
        }
        let made = |mark: u64| if mark > since { mark } else { 0 };
        *held = Marks {
            row_count: made(self.marks.row_count),
            found_rows: made(self.marks.found_rows),
            warnings: made(self.marks.warnings),
        };
    }

    /// What a statement with these links asks for and a connection that holds `held` does not have.
    pub fn missing(&self, links: Links, held: &Marks) -> Links {
        let mut missing =
            links & (Links::READS_ROW_COUNT | Links::READS_FOUND_ROWS | Links::READS_DIAGNOSTICS);
        missing.set(
            Links::READS_ROW_COUNT,
            missing.contains(Links::READS_ROW_COUNT) && held.row_count != self.marks.row_count,
        );
        missing.set(
            Links::READS_FOUND_ROWS,
            missing.contains(Links::READS_FOUND_ROWS) && held.found_rows != self.marks.found_rows,
        );
        missing.set(
            Links::READS_DIAGNOSTICS,
            missing.contains(Links::READS_DIAGNOSTICS) && held.warnings != self.marks.warnings,
        );
        missing
    }

    /// The connection to ask, for a statement with these links.
    pub fn place(&self, links: Links) -> Option<Place> {
        let warned = self
            .warned_on
            .filter(|_| links.contains(Links::READS_DIAGNOSTICS));
        let found = self.found_on.filter(|_| links.contains(Links::READS_FOUND_ROWS));
        warned.or(found).or(self.last)
    }

    pub fn row_count(&self) -> i64 {
        self.row_count
    }

    pub fn found_rows(&self) -> u64 {
        self.found_rows
    }

    /// The numbers of warnings and errors, where they are known.
    pub fn counts(&self) -> Option<Counts> {
        self.counts
    }

    pub fn saved(&self, settings: &Rc<Settings>) -> Option<&Saved> {
        self.saved.as_ref().filter(|saved| saved.settings == *settings)
    }

    /// Whether a connection that holds `held` is the only one to know the warnings, and `FOUND_ROWS()`.
    pub fn to_save(&self, held: &Marks) -> (bool, bool) {
        let warnings = self.counts.is_none() && held.warnings == self.marks.warnings;
        let found = self.found_on.is_some() && held.found_rows == self.marks.found_rows;
        (warnings, found)
    }

    /// `SQL_CALC_FOUND_ROWS` has been used, and `FOUND_ROWS()` was not asked yet.
    pub fn is_calculated(&self) -> bool {
        self.calculated
    }

    /// The connection was asked before others get it.
    pub fn save(&mut self, found_rows: Option<u64>, warnings: Option<(Counts, Saved)>) {
        if let Some(rows) = found_rows {
            self.found_rows = rows;
            self.found_on = None;
            self.calculated = false;
        }
        if let Some((counts, saved)) = warnings {
            self.counts = Some(counts);
            self.warned_on = None;
            self.saved = Some(saved);
        }
    }
}

/// `FOUND_ROWS()` after a reply, where that tells it for sure.
pub(crate) fn sure_found_rows(facts: &Facts, learned: &Learned, flavor: Flavor) -> Option<u64> {
    match found(facts, learned, flavor, 0) {
        Found::Is(rows) => Some(rows),
        Found::Stays | Found::Set(_) | Found::Maybe(_) => None,
    }
}

fn found(facts: &Facts, learned: &Learned, flavor: Flavor, now: u64) -> Found {
    let affected = learned.affected.unwrap_or(learned.rows);
    let queries = facts.links.contains(Links::HOLDS_QUERY);
    if learned.outcome.refused {
        return Found::Stays;
    }
    if learned.outcome.failed || learned.cursor {
        return Found::Maybe(now);
    }
    match facts.kind {
        Kind::Select if facts.links.contains(Links::LEAVES_FOUND_ROWS) => Found::Set(affected),
        Kind::Select if facts.links.contains(Links::UNSURE_FOUND_ROWS) => match learned.told {
            Some(offset) if learned.rows > 0 => Found::Is(offset + learned.rows),
            _ => Found::Set(affected),
        },
        Kind::Select => Found::Is(affected),
        Kind::Show if facts.links.contains(Links::READS_DIAGNOSTICS) => Found::Maybe(now),
        Kind::Show => Found::Maybe(learned.rows),
        Kind::Explain => Found::Maybe(now),
        // MySQL leaves the number of rows that it has looked at and found.
        Kind::Update if flavor == Flavor::MySql => match learned.told {
            Some(matched) if matched > 0 && !queries => Found::Is(matched),
            _ => Found::Maybe(0),
        },
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Ddl if queries => {
            Found::Maybe(learned.told.unwrap_or(affected))
        }
        // `DO` leaves 1 on MySQL.
        Kind::Call if learned.rows == 0 && flavor == Flavor::MySql => Found::Maybe(1),
        Kind::Set if queries => Found::Maybe(now),
        kind if runs_code(kind) && learned.rows > 0 => Found::Maybe(learned.rows),
        kind if runs_code(kind) => Found::Maybe(now),
        _ => Found::Stays,
    }
}

/// The `2` of a query that ends in `LIMIT 2, 5` or `LIMIT 5 OFFSET 2`.
pub fn offset(text: &[u8]) -> Option<u64> {
    let mut tail = Tail(text);
    tail.skip(|byte| byte.is_ascii_whitespace() || byte == b';');
    let second = tail.number()?;
    let mut before = Tail(tail.0);
    before.skip(|byte| byte.is_ascii_whitespace());
    let offset = match before.0.strip_suffix(b",") {
        Some(rest) => {
            tail = Tail(rest);
            tail.skip(|byte| byte.is_ascii_whitespace());
            tail.number()?
        }
        None => {
            tail.word(b"OFFSET")?;
            tail.number()?;
            second
        }
    };
    tail.word(b"LIMIT")?;
    Some(offset)
}

/// A text that is read from its end.
struct Tail<'a>(&'a [u8]);

impl Tail<'_> {
    fn skip(&mut self, class: impl Fn(u8) -> bool) {
        while let Some((&last, rest)) = self.0.split_last()
            && class(last)
        {
            self.0 = rest;
        }
    }

    fn number(&mut self) -> Option<u64> {
        let end = self.0;
        self.skip(|byte| byte.is_ascii_digit());
        std::str::from_utf8(&end[self.0.len()..]).ok()?.parse().ok()
    }

    /// A word with white space behind it, and before it.
    fn word(&mut self, word: &[u8]) -> Option<()> {
        let before = self.0.len();
        self.skip(|byte| byte.is_ascii_whitespace());
        let start = self.0.len().checked_sub(word.len())?;
        let (rest, last) = self.0.split_at(start);
        let fits = self.0.len() < before && last.eq_ignore_ascii_case(word);
        self.0 = rest;
        let len = self.0.len();
        self.skip(|byte| byte.is_ascii_whitespace());
        (fits && self.0.len() < len).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::Outcome;
    use super::*;
    use crate::classify::facts::{Pins, Purity, Tables};
    use crate::classify::hint::Hints;
    use crate::classify::identity::Identified;
    use crate::classify::matched::Matched;
    use crate::classify::tally::Tally;
    use tandem_protocol::flags::Status;

    const HERE: Place = (ServerId(0), ConnectionId(1));
    const THERE: Place = (ServerId(1), ConnectionId(2));
    const ALL: Links = Links::READS_ROW_COUNT
        .union(Links::READS_FOUND_ROWS)
        .union(Links::READS_DIAGNOSTICS);

    fn facts(kind: Kind, links: Links) -> Facts {
        Facts {
            kind,
            purity: Purity::Pure,
            pins: Pins::empty(),
            unpins: Pins::empty(),
            links,
            unreported: Vec::new(),
            tables: Tables::default(),
            hints: Hints::default(),
            tally: Tally::default(),
            matched: Matched::default(),
            parts: Identified::default(),
        }
    }

    fn learned(affected: Option<u64>, rows: u64, warnings: u16) -> Learned {
        Learned {
            affected,
            rows,
            outcome: Outcome {
                status: Some(Status::AUTOCOMMIT),
                warnings,
                ..Outcome::default()
            },
            ..Learned::default()
        }
    }

    #[test]
    fn a_write_leaves_the_rows_of_the_read_before_it() {
        let mut left = Aftermath::default();
        let (mut there, mut here) = (Marks::default(), Marks::default());
        let read = facts(Kind::Select, Links::empty());
        left.note(THERE, &mut there, &read, &learned(None, 4, 0), Flavor::MariaDb);
        let write = facts(Kind::Insert, Links::empty());
        left.note(HERE, &mut here, &write, &learned(Some(2), 0, 0), Flavor::MariaDb);
        assert_eq!((left.row_count(), left.found_rows()), (2, 4));
        assert_eq!(left.missing(ALL, &here), Links::READS_FOUND_ROWS);
        assert_eq!(
            left.missing(ALL, &there),
            Links::READS_ROW_COUNT | Links::READS_DIAGNOSTICS
        );
        assert_eq!(left.missing(ALL, &Marks::default()), ALL);
        assert_eq!(left.place(ALL), Some(HERE));
    }

    #[test]
    fn what_is_not_known_is_asked_where_it_is() {
        let mut left = Aftermath::default();
        let (mut there, mut here) = (Marks::default(), Marks::default());
        let read = facts(Kind::Select, Links::LEAVES_FOUND_ROWS);
        left.note(THERE, &mut there, &read, &learned(None, 4, 0), Flavor::MariaDb);
        assert!(left.is_calculated());
        assert_eq!(left.to_save(&there), (false, true));
        let warns = facts(Kind::Insert, Links::empty());
        left.note(HERE, &mut here, &warns, &learned(Some(1), 0, 3), Flavor::MariaDb);
        assert_eq!(left.place(Links::READS_FOUND_ROWS), Some(THERE));
        assert_eq!(left.place(Links::READS_DIAGNOSTICS), Some(HERE));
        assert_eq!(left.to_save(&here), (true, false));
        assert_eq!(left.counts(), None);
        left.save(Some(40), None);
        assert_eq!((left.found_rows(), left.is_calculated()), (40, false));
        // A statement without a table keeps MariaDB's warnings; any other takes them away.
        let keeps = facts(Kind::Select, Links::KEEPS_WARNINGS);
        left.note(HERE, &mut here, &keeps, &learned(None, 1, 0), Flavor::MariaDb);
        assert_eq!(left.to_save(&here), (true, false));
        left.note(HERE, &mut here, &read, &learned(None, 1, 0), Flavor::MariaDb);
        assert_eq!(left.counts(), Some(Counts::NONE));
    }

    #[test]
    fn errors_and_own_answers_count() {
        let mut left = Aftermath::default();
        let mut here = Marks::default();
        let mut failed = learned(None, 0, 0);
        failed.outcome.failed = true;
        failed.outcome.status = None;
        let write = facts(Kind::Insert, Links::empty());
        left.note(HERE, &mut here, &write, &learned(Some(1), 0, 0), Flavor::MySql);
        left.note(HERE, &mut here, &write, &failed, Flavor::MySql);
        assert_eq!(left.row_count(), -1);
        left.answered(true);
        assert_eq!(left.row_count(), 0);
        assert_eq!(left.missing(ALL, &here), Links::READS_ROW_COUNT);
        // Whoever asks for a statistic, or prepares a statement, leaves all of it.
        left.note(THERE, &mut here, &write, &Learned::default(), Flavor::MySql);
        assert_eq!(left.place(ALL), Some(HERE));
    }

    /// What the cache gave, `FOUND_ROWS()` and its like are told of as of any other query, and no connection is asked.
    #[test]
    fn an_answer_from_the_cache_leaves_what_a_servers_would() {
        let mut left = Aftermath::default();
        let mut here = Marks::default();
        let warns = facts(Kind::Insert, Links::empty());
        left.note(HERE, &mut here, &warns, &learned(Some(1), 0, 3), Flavor::MariaDb);
        left.answered_from_cache(7);
        assert_eq!((left.row_count(), left.found_rows()), (-1, 7));
        assert_eq!(left.counts(), Some(Counts::NONE));
        assert_eq!(left.missing(ALL, &here), ALL);
        assert_eq!(left.to_save(&here), (false, false));
    }

    #[test]
    fn a_query_that_tandem_asks_takes_its_place() {
        let mut left = Aftermath::default();
        let mut here = Marks::default();
        left.disturb();
        let call = facts(Kind::Call, Links::empty());
        left.note(HERE, &mut here, &call, &learned(Some(1), 0, 0), Flavor::MariaDb);
        assert_eq!(
            left.missing(Links::READS_ROW_COUNT, &here),
            Links::READS_ROW_COUNT
        );
    }

    #[test]
    fn warnings_outlast_a_query_of_tandems_own_where_the_server_keeps_them() {
        for (flavor, kept) in [(Flavor::MariaDb, true), (Flavor::MySql, false)] {
            let mut left = Aftermath::default();
            let mut here = Marks::default();
            left.disturb();
            let set = facts(Kind::Set, Links::empty());
            left.note(HERE, &mut here, &set, &learned(Some(0), 0, 1), flavor);
            assert_eq!(left.to_save(&here), (kept, false), "{flavor:?}");
        }
    }

    #[test]
    fn the_offset_is_found_at_the_end() {
        for (text, expected) in [
            ("SELECT a FROM t LIMIT 20, 10", Some(20)),
            ("SELECT a FROM t limit 20,10 ;", Some(20)),
            ("SELECT a FROM t LIMIT 10\nOFFSET 20", Some(20)),
            ("SELECT a FROM t LIMIT ?, ?", None),
            ("SELECT a FROM t LIMIT 10", None),
            ("SELECT a FROM t LIMIT 1,2 FOR UPDATE", None),
            ("SELECT a, UNLIMIT 1,2", None),
            ("1,2", None),
        ] {
            assert_eq!(offset(text.as_bytes()), expected, "{text}");
        }
    }
}
