//! Replies that a rule (`cache = "10s"`) has kept, so that the next who asks the same is answered without a server.
//!
//! A worker's own. A reply is given to whoever would get the same bytes: the same statement and parameters, of the same
//! account, under the same settings, by the same protocol. It is given as long as its [`Stamp`] holds, which says that
//! nothing of what it was read from has been written, and no longer than its rule says. So it is as new as what the active
//! master would answer now, for all that is written through Tandem.

pub mod fit;
pub mod reply;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHasher};
use tandem_protocol::flags::Capabilities;

use crate::backend::Key;
use crate::meter::Meter;
use crate::session::settings::Settings;
use crate::topology::mark::Mark;
use crate::topology::stamp::Stamp;

/// What an entry takes beside its bytes, roughly: its places in the tables, and settings that are nobody else's.
const OVERHEAD: usize = 512;

/// How many that were used again are spared in a row, before one goes all the same.
const MOST_SPARED: usize = 16;

/// All that a reply depends on beside the tables.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The account with its rights, and the epoch of its login with the servers' own defaults.
    pub key: Key,
    /// Of the client, as far as they change what it is sent.
    pub capabilities: Capabilities,
    /// The rule's place: another one may want to see less of a reply.
    pub rule: usize,
    pub settings: &'a Rc<Settings>,
    /// Those that a prepared statement was prepared under, by which its names are read.
    pub prepared_under: Option<&'a Rc<Settings>>,
    pub text: &'a [u8],
    /// Of an execution, with their types: all of the command behind the statement's id.
    pub parameters: Option<&'a [u8]>,
}

impl Question<'_> {
    fn hash(&self, seed: u64) -> u64 {
        let mut hasher = FxHasher::default();
        seed.hash(&mut hasher);
        self.key.hash(&mut hasher);
        self.capabilities.hash(&mut hasher);
        self.rule.hash(&mut hasher);
        self.settings.hash(&mut hasher);
        self.prepared_under.hash(&mut hasher);
        self.text.hash(&mut hasher);
        self.parameters.hash(&mut hasher);
        hasher.finish()
    }
}

/// A question that is kept.
#[derive(Debug)]
struct Asked {
    key: Key,
    capabilities: Capabilities,
    rule: usize,
    settings: Rc<Settings>,
    prepared_under: Option<Rc<Settings>>,
    text: Box<[u8]>,
    parameters: Option<Box<[u8]>>,
}

impl Asked {
    fn of(question: &Question<'_>) -> Self {
        Self {
            key: question.key,
            capabilities: question.capabilities,
            rule: question.rule,
            settings: Rc::clone(question.settings),
            prepared_under: question.prepared_under.map(Rc::clone),
            text: question.text.into(),
            parameters: question.parameters.map(Into::into),
        }
    }

    fn is(&self, question: &Question<'_>) -> bool {
        self.key == question.key
            && self.capabilities == question.capabilities
            && self.rule == question.rule
            && is_same(&self.settings, question.settings)
            && match (&self.prepared_under, question.prepared_under) {
                (Some(kept), Some(asked)) => is_same(kept, asked),
                (kept, asked) => kept.is_none() && asked.is_none(),
            }
            && *self.text == *question.text
            && self.parameters.as_deref() == question.parameters
    }
}

fn is_same(kept: &Rc<Settings>, asked: &Rc<Settings>) -> bool {
    Rc::ptr_eq(kept, asked) || kept == asked
}

/// A whole reply, as a client was sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub bytes: Bytes,
    pub rows: u64,
    /// What `FOUND_ROWS()` says after it.
    pub found_rows: u64,
}

#[derive(Debug)]
struct Entry {
    serial: u64,
    asked: Asked,
    stamp: Stamp,
    until: Instant,
    /// It was given again since it was last looked at for its place.
    used: bool,
    size: usize,
    reply: Reply,
}

/// What became of the questions, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub hits: u64,
    pub misses: u64,
    pub kept: u64,
    /// Given up since something was written, or the active master is another one.
    pub invalidated: u64,
    /// Older than their rule allows.
    pub expired: u64,
    /// Given up for the room they took.
    pub evicted: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all, in bytes.
    pub bytes: usize,
    /// A reply that is larger is not kept.
    pub reply: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Cache {
    /// By the hash of what was asked. Of two that have the same, the younger is kept.
    entries: FxHashMap<u64, Entry>,
    /// Hashes with the serial numbers of their entries, the next to go first; some of them are gone already.
    order: VecDeque<(u64, u64)>,
    /// All entries' stamps are of this one.
    mark: Option<Arc<Mark>>,
    seed: u64,
    last_serial: u64,
    bounds: Bounds,
    taken: Meter,
    counts: Counts,
}

impl Cache {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            entries: FxHashMap::default(),
            order: VecDeque::new(),
            mark: None,
            seed: RandomState::new().hash_one(0),
            last_serial: 0,
            bounds,
            taken: Meter::default(),
            counts: Counts::default(),
        }
    }

    /// From now on, so much.
    pub fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.make_room(0);
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How many bytes it takes, and how often a reply was too large for it.
    pub fn taken(&self) -> &Meter {
        &self.taken
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives up all of it; returns how many replies that were.
    pub fn clear(&mut self) -> usize {
        let count = self.entries.len();
        // With their room.
        self.entries = FxHashMap::default();
        self.order = VecDeque::new();
        self.taken.set(0);
        count
    }

    /// The reply to this question, if there is one that nothing has made old. `mark` is that of now.
    pub fn find(&mut self, question: &Question<'_>, mark: &Arc<Mark>, now: Instant) -> Option<Reply> {
        self.follow(mark);
        let hash = question.hash(self.seed);
        let entry = self
            .entries
            .get_mut(&hash)
            .filter(|entry| entry.asked.is(question));
        let Some(entry) = entry else {
            self.counts.misses += 1;
            return None;
        };
        let is_expired = now >= entry.until;
        if !is_expired && entry.stamp.holds(mark) {
            if !mark.knows_others() {
                // In a moment it may be known that nobody else has written.
                self.counts.misses += 1;
                return None;
            }
            entry.used = true;
            self.counts.hits += 1;
            return Some(entry.reply.clone());
        }
        match is_expired {
            true => self.counts.expired += 1,
            false => self.counts.invalidated += 1,
        }
        self.counts.misses += 1;
        self.remove(hash);
        None
    }

    /// Keeps the reply to this question until then. `stamp` was taken from `mark`, which is that of now, before it was asked.
    pub fn keep(
        &mut self,
        question: &Question<'_>,
        mark: &Arc<Mark>,
        stamp: Stamp,
        until: Instant,
        reply: Reply,
    ) {
        self.follow(mark);
        let parameters = question.parameters.map_or(0, <[u8]>::len);
        let size = OVERHEAD + question.text.len() + parameters + stamp.size() + reply.bytes.len();
        if reply.bytes.len() > self.bounds.reply || size > self.bounds.bytes {
            return self.refuse();
        }
        if !stamp.holds(mark) {
            return;
        }
        let hash = question.hash(self.seed);
        self.remove(hash);
        self.make_room(size);
        self.last_serial += 1;
        let entry = Entry {
            serial: self.last_serial,
            asked: Asked::of(question),
            stamp,
            until,
            used: false,
            size,
            reply,
        };
        self.order.push_back((hash, entry.serial));
        self.entries.insert(hash, entry);
        self.taken.change(0, size);
        self.counts.kept += 1;
        self.forget_the_gone();
    }

    /// A reply was larger than what is kept.
    pub fn refuse(&self) {
        self.taken.refuse();
    }

    /// What was kept under another mark says nothing about this one.
    fn follow(&mut self, mark: &Arc<Mark>) {
        if self.mark.as_ref().is_some_and(|known| Arc::ptr_eq(known, mark)) {
            return;
        }
        self.mark = Some(Arc::clone(mark));
        self.counts.invalidated += self.clear() as u64;
    }

    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.taken.change(entry.size, 0);
        }
    }

    /// Gives up the oldest until there is room for so much more; those that were used again since their last turn are spared.
    fn make_room(&mut self, size: usize) {
        let mut spared = 0;
        while self.taken.used() + size > self.bounds.bytes {
            let Some((hash, serial)) = self.order.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&hash).filter(|it| it.serial == serial) else {
                continue;
            };
            if std::mem::take(&mut entry.used) && spared < MOST_SPARED {
                spared += 1;
                self.order.push_back((hash, serial));
                continue;
            }
            self.counts.evicted += 1;
            self.remove(hash);
        }
    }

    /// Where half of the order is of entries that are gone, it is made anew.
    fn forget_the_gone(&mut self) {
        if self.order.len() > 64 + 2 * self.entries.len() {
            let entries = &self.entries;
            self.order
                .retain(|(hash, serial)| entries.get(hash).is_some_and(|entry| entry.serial == *serial));
        }
    }
}

#[cfg(test)]
mod tests;
