//! What is kept of an open transaction, so that it can be played again on another server. Pure.
//!
//! ```text
//! (none) --a statement that may begin one--> under way --reply, none open--> (none)
//!                                            |       \--reply, one is open--> kept --the next--> under way
//!                                            \--what can't be played again: the reason stays in the place of the rest
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use tandem_protocol::response::Expect;

use super::digest::Sum;
use crate::classify::facts::{Facts, Kind, Links, Pins};
use crate::meter::{Meter, Space};
use crate::session::errors::{PASSING, ROLLED_BACK};
use crate::session::hold::runs_code;
use crate::session::library::Prepared;
use crate::session::settings::Settings;

/// State that the transaction's own statements make again, where it was not there before it.
const MADE_AGAIN: Pins = Pins::NEXT_TRANSACTION
    .union(Pins::USER_VARIABLE)
    .union(Pins::TEXT_PREPARED);

/// How many records that are not in use a worker keeps, and how many bytes of each.
const SPARE: usize = 64;
const SPARE_BYTES: usize = 16 << 10;
const SPARE_ENTRIES: usize = 64;

/// Why a transaction can't be played again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its statements are more than may be kept of one.
    TooLong {
        limit: usize,
    },
    /// One of them was not even looked at.
    Streamed {
        limit: usize,
    },
    /// All sessions' are.
    AllTooLong {
        limit: usize,
    },
    /// The session has state that no statement of the transaction has made.
    State(Pins),
    /// Something in it committed, and it went on.
    CommittedInside,
    /// Code in it failed: what that had done by then is not known.
    FailedCode,
    /// A deadlock has rolled it back, and what comes next may be no part of any.
    RolledBack,
    /// A cursor is open, or parameters were uploaded.
    Cursor,
    LongData,
    /// A file of the client's was loaded.
    File,
    /// `session_track_…` was read or set in it.
    Trackers,
    /// `COMMIT AND CHAIN` took over characteristics that can't be set again.
    Chained,
    /// It was open before anything was recorded.
    NotFromItsBeginning,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => {
                write!(
                    f,
                    "its statements are more than {limit} bytes (failover.replay_bytes)"
                )
            }
            Self::Streamed { limit } => {
                write!(
                    f,
                    "a statement of more than {limit} bytes was in it (limits.statement_bytes)"
                )
            }
            Self::AllTooLong { limit } => write!(
                f,
                "the open transactions of all sessions are more than {limit} bytes, this worker's share of \
                 limits.recorded_bytes"
            ),
            Self::State(pins) => {
                f.write_str("the session had state that is lost with its connection:")?;
                pins.iter_names()
                    .try_for_each(|(name, _)| write!(f, " {}", name.to_lowercase()))
            }
            Self::CommittedInside => f.write_str("a statement in it had committed a part of it"),
            Self::FailedCode => {
                f.write_str("a procedure or several statements at once had failed in it half-way")
            }
            Self::RolledBack => f.write_str("a deadlock had rolled it back"),
            Self::Cursor => f.write_str("it had opened a cursor"),
            Self::LongData => f.write_str("it had uploaded parameters with COM_STMT_SEND_LONG_DATA"),
            Self::File => f.write_str("it had loaded a file of the client's"),
            Self::Trackers => f.write_str("it had read or set session_track_ variables"),
            Self::Chained => f.write_str("COMMIT AND CHAIN had taken over its characteristics"),
            Self::NotFromItsBeginning => f.write_str("its beginning was not seen"),
        }
    }
}

/// A command as it was sent, and what came of it.
#[derive(Debug)]
pub struct Entry {
    /// Where its bytes end, the packet's header among them; they begin where those of the entry before end.
    end: usize,
    pub expect: Expect,
    /// Where in it a statement's text begins.
    pub text_at: usize,
    pub facts: Rc<Facts>,
    /// The statement whose id goes into the command.
    pub prepared: Option<Rc<Prepared>>,
    /// What the session had when it was sent.
    pub settings: Rc<Settings>,
    /// When, in microseconds since 1970.
    pub sent_at: u64,
    pub sum: Sum,
    /// What its reply said; 0 is none.
    pub insert_id: u64,
}

/// What its reply said of a statement, as far as a record heeds it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replied {
    pub sum: Sum,
    pub insert_id: u64,
    pub error: Option<u16>,
    /// A commit was reported.
    pub committed: bool,
    pub cursor: bool,
    pub loaded_file: bool,
    /// A transaction was open before the statement.
    pub was_open: bool,
}

/// What a session had when its transaction began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    pub pins: Pins,
    /// Its `LAST_INSERT_ID()`, as far as that is known.
    pub insert_id: u64,
    /// A transaction, of which nothing is recorded.
    pub was_open: bool,
    /// How many of its statements had left something to ask for.
    pub serial: u64,
}

/// An open transaction's statements, or why they are not kept.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The last entry has no reply yet.
    under_way: bool,
    why: Option<Why>,
    start: Start,
    space: Space,
}

impl Record {
    /// Why it can't be played again, if it can't.
    pub fn why_not(&self) -> Option<Why> {
        self.why
    }

    pub fn start(&self) -> Start {
        self.start
    }

    /// The statements that have been answered, with the bytes of each.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let answered = self.entries.len() - usize::from(self.under_way);
        (0..answered).map(|index| (&self.entries[index], &self.bytes[self.range(index)]))
    }

    pub fn entry(&self, index: usize) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.get(index)?;
        Some((entry, &self.bytes[self.range(index)]))
    }

    /// How many have been answered.
    pub fn len(&self) -> usize {
        self.entries.len() - usize::from(self.under_way)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The statement that is under way has no reply and won't get one: it is sent anew. Returns its bytes.
    pub fn take_back(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.under_way) {
            return None;
        }
        let range = self.range(self.entries.len() - 1);
        let command = self.bytes[range.clone()].to_vec();
        self.cut(self.entries.len() - 1);
        Some(command)
    }

    /// Keeps nothing any more.
    pub fn give_up(&mut self, why: Why) {
        self.why = self.why.or(Some(why));
        self.cut(0);
        self.bytes = Vec::new();
        self.entries = Vec::new();
    }

    /// Notes a command that is about to be sent; false where it is not kept.
    pub fn begin(&mut self, entry: Entry, command: &[u8], limits: Limits) -> bool {
        if self.why.is_some() {
            return false;
        }
        if self.under_way {
            // Answered by nobody, as when its connection was lost: what comes now is in its place.
            self.cut(self.entries.len() - 1);
        }
        if let Some(why) = refusal(&entry) {
            self.give_up(why);
            return false;
        }
        let held = self.size() + command.len() + size_of::<Entry>();
        if held > limits.session {
            self.give_up(Why::TooLong {
                limit: limits.session,
            });
            return false;
        }
        if !self.space.resize_within(held, limits.worker) {
            self.give_up(Why::AllTooLong { limit: limits.worker });
            return false;
        }
        self.bytes.extend_from_slice(command);
        self.entries.push(Entry {
            end: self.bytes.len(),
            ..entry
        });
        self.under_way = true;
        true
    }

    /// Notes the reply to the statement that was begun; a transaction is open behind it.
    pub fn settle(&mut self, replied: &Replied) {
        let begun = std::mem::take(&mut self.under_way);
        let Some(last) = self.entries.last_mut().filter(|_| begun) else {
            return;
        };
        last.sum = replied.sum;
        last.insert_id = replied.insert_id;
        let facts = Rc::clone(&last.facts);
        match replied.error {
            Some(code) if ROLLED_BACK.contains(&code) => return self.give_up(Why::RolledBack),
            Some(_) if runs_code(facts.kind) => return self.give_up(Why::FailedCode),
            Some(code) if PASSING.contains(&code) => return self.cut(self.entries.len() - 1),
            _ => {}
        }
        let ends_one = matches!(facts.kind, Kind::Begin | Kind::Commit | Kind::Rollback);
        if ends_one && replied.was_open && replied.error.is_none() {
            // The one before has ended with it, and the next has begun.
            let chained = facts.kind != Kind::Begin;
            let inherits = |entry: &Entry| entry.facts.pins.contains(Pins::NEXT_TRANSACTION);
            if chained && self.entries.iter().any(inherits) {
                return self.give_up(Why::Chained);
            }
            self.keep_only_last();
        } else if replied.committed && !ends_one {
            self.give_up(Why::CommittedInside);
        } else if replied.cursor {
            self.give_up(Why::Cursor);
        } else if replied.loaded_file {
            self.give_up(Why::File);
        }
    }

    fn keep_only_last(&mut self) {
        let first = self.range(self.entries.len() - 1).start;
        self.bytes.drain(..first);
        self.entries.drain(..self.entries.len() - 1);
        self.entries[0].end = self.bytes.len();
        self.space.resize(self.size());
    }

    /// Leaves `count` entries.
    fn cut(&mut self, count: usize) {
        self.entries.truncate(count);
        self.bytes
            .truncate(self.entries.last().map_or(0, |entry| entry.end));
        self.under_way = false;
        self.space.resize(self.size());
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
        start..self.entries[index].end
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }
}

impl Entry {
    pub fn new(facts: &Rc<Facts>, expect: Expect, settings: &Rc<Settings>, sent_at: u64) -> Self {
        Self {
            end: 0,
            expect,
            text_at: 0,
            facts: Rc::clone(facts),
            prepared: None,
            settings: Rc::clone(settings),
            sent_at,
            sum: Sum::default(),
            insert_id: 0,
        }
    }
}

/// What the statement alone says against it.
fn refusal(entry: &Entry) -> Option<Why> {
    let left = entry.facts.pins - MADE_AGAIN;
    if !left.is_empty() {
        Some(Why::State(left))
    } else if entry.facts.links.contains(Links::TRACKERS) {
        Some(Why::Trackers)
    } else {
        None
    }
}

/// Most bytes that are kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one session.
    pub session: usize,
    /// Of all that a worker has.
    pub worker: usize,
}

/// A worker's records that nobody uses now, and how many bytes those in use take.
#[derive(Debug)]
pub struct Shelf {
    #[expect(
        clippy::vec_box,
        reason = "a session has room for a box only, and hands that over"
    )]
    spare: RefCell<Vec<Box<Record>>>,
    taken: Rc<Meter>,
    limits: Cell<Limits>,
}

impl Shelf {
    pub fn new(limits: Limits) -> Self {
        Self {
            spare: RefCell::default(),
            taken: Rc::default(),
            limits: Cell::new(limits),
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// For what is recorded from now on.
    pub fn bound(&self, limits: Limits) {
        self.limits.set(limits);
    }

    /// Bytes that are taken now, and how often there was no room.
    pub fn taken(&self) -> &Meter {
        &self.taken
    }

    /// An empty record, for a transaction of a session that had `start` before it.
    pub fn take(&self, start: Start) -> Box<Record> {
        let spare = self.spare.borrow_mut().pop();
        let mut record = spare.unwrap_or_else(|| {
            Box::new(Record {
                bytes: Vec::new(),
                entries: Vec::new(),
                under_way: false,
                why: None,
                start,
                space: Space::of(&self.taken),
            })
        });
        record.start = start;
        let foreign = start.pins - Pins::NEXT_TRANSACTION;
        record.why = match foreign.is_empty() {
            true => start.was_open.then_some(Why::NotFromItsBeginning),
            false => Some(Why::State(foreign)),
        };
        record
    }

    /// Takes back the record of a transaction that has ended.
    pub fn put(&self, mut record: Box<Record>) {
        record.cut(0);
        let mut spare = self.spare.borrow_mut();
        let small = record.bytes.capacity() <= SPARE_BYTES && record.entries.capacity() <= SPARE_ENTRIES;
        if small && spare.len() < SPARE {
            spare.push(record);
        }
    }
}

#[cfg(test)]
mod tests;
