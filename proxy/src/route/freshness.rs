//! Whether a standby has every write that a read must see: a pure look at what has been counted.

use crate::classify::facts::Tables;
use crate::topology::ServerId;
use crate::topology::ledger::Needed;
use crate::topology::mark::Mark;
use crate::topology::table::{NameKey, TableKey};

/// Why a standby may not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// A table that is read is being written.
    Writing,
    /// The newest write to a table that is read is not applied there.
    Hot,
    /// A write that may have changed any table is not applied there.
    Lagging,
    /// Which tables are read is not known, and something is not applied there.
    UnknownReach,
}

/// Whether `standby` has applied every write to these tables that was acknowledged until now.
///
/// `schema` is the default schema. Under a microsecond, and nothing is allocated.
///
/// # Errors
/// [`Stale`] when it may not have.
pub fn check(tables: &Tables, schema: Option<NameKey>, mark: &Mark, standby: ServerId) -> Result<(), Stale> {
    let named = tables.known_reads();
    if named.is_some_and(<[_]>::is_empty) {
        // `SELECT 1` reads nothing that anybody could have written.
        return Ok(());
    }
    if !mark.has_floor(standby) || !mark.knows_others() {
        return Err(Stale::Lagging);
    }
    let applied = mark.applied(standby);
    let ledger = mark.ledger();
    match ledger.for_all() {
        Needed::Unknown => return Err(Stale::Writing),
        Needed::UpTo(number) if number > applied => return Err(Stale::Lagging),
        Needed::UpTo(_) => {}
    }
    let mut stale = None;
    let mut look = |table: TableKey| {
        stale = match ledger.for_table(table) {
            Needed::Unknown => Some(Stale::Writing),
            Needed::UpTo(number) if number > applied => Some(Stale::Hot),
            Needed::UpTo(_) => return true,
        };
        false
    };
    let known = mark.with_catalog(|catalog| {
        named.zip(catalog).is_some_and(|(named, catalog)| {
            let mut keys = named.iter().map(|table| table.within(schema));
            keys.all(|key| key.is_some_and(|key| catalog.read(key, &mut look)))
        })
    });
    match (known, stale) {
        (true, _) => Ok(()),
        (false, Some(stale)) => Err(stale),
        // In this order: see the ledger.
        (false, None) if ledger.is_writing() || mark.committed() > applied => Err(Stale::UnknownReach),
        (false, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
