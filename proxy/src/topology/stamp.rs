//! How often the tables of a read had been written when it was asked for: as long as that is so, its answer is what the
//! active master would say now. By counts and not by commits' numbers, so it needs nothing of these.

use super::ledger::{PlaceKey, Writes};
use super::mark::Mark;
use super::table::NameKey;
use crate::classify::facts::Tables;

/// See the module. It is of one mark, and says nothing about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    definitions: u64,
    all: Writes,
    tables: Box<[(PlaceKey, Writes)]>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsure {
    /// Which tables are read is not known.
    Unknown,
    /// A view is read that calls `NOW()` or the like.
    Fleeting,
    /// What is read is being written.
    Writing,
    /// Nobody knows now what others have committed.
    Others,
}

impl Stamp {
    /// That of a read which has not been sent yet. `schema` is the default schema.
    ///
    /// # Errors
    /// [`Unsure`] where an answer could not be told from an older one.
    pub fn take(tables: &Tables, schema: Option<NameKey>, mark: &Mark) -> Result<Self, Unsure> {
        if !mark.knows_others() {
            return Err(Unsure::Others);
        }
        let ledger = mark.ledger();
        // Before the catalog is looked at, which may be of before a change.
        let definitions = ledger.version();
        let all = ledger.writes_to_all();
        let mut counted = Vec::new();
        let mut fleeting = false;
        let is_known = mark.with_catalog(|catalog| {
            tables.known_reads().zip(catalog).is_some_and(|(named, catalog)| {
                let mut keys = named.iter().map(|table| table.within(schema));
                keys.all(|key| {
                    key.is_some_and(|key| {
                        catalog.read(key, |table| {
                            fleeting |= catalog.is_fleeting(table);
                            counted.push(ledger.writes_to(table));
                            true
                        })
                    })
                })
            })
        });
        if !is_known {
            return Err(Unsure::Unknown);
        }
        if fleeting {
            return Err(Unsure::Fleeting);
        }
        if all.is_writing() || counted.iter().any(|(_, writes)| writes.is_writing()) {
            return Err(Unsure::Writing);
        }
        Ok(Self {
            definitions,
            all,
            tables: counted.into(),
        })
    }

    /// Whether nothing has been written since, nor is being written. `mark` is the one that it is of.
    pub fn holds(&self, mark: &Mark) -> bool {
        let ledger = mark.ledger();
        let is_as_before = |(place, writes): &(PlaceKey, Writes)| ledger.writes_at(*place) == *writes;
        self.definitions == ledger.version()
            && self.all == ledger.writes_to_all()
            && self.tables.iter().all(is_as_before)
    }

    /// What it takes of memory beside its own size.
    pub fn size(&self) -> usize {
        size_of_val(&*self.tables)
    }
}

#[cfg(test)]
mod tests;
