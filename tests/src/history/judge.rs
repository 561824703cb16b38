//! The judge: which reads saw less than they had to see, or what was never there.
//!
//! Writes of one cell never overlap (see `world`), so a cell has versions in a known order. A read must have seen one of those
//! from the oldest that its rule allows up to the newest that was begun before the read had ended.

use std::collections::BTreeMap;
use std::fmt;

use super::cells::{Cell, Value, words};
use super::record::{History, Moment, Outcome, Read, Write};

/// What a read must not be older than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything that anybody had been told of before the read began.
    Strict,
    /// What the session itself had been told of.
    Session,
    /// Nothing: only what never was is wrong.
    Eventual,
}

/// A read that saw in a cell what it must not see.
#[derive(Debug)]
pub struct Violation<'a> {
    pub read: &'a Read,
    pub cell: Cell,
    pub seen: Value,
    pub fault: Fault<'a>,
}

#[derive(Debug)]
pub enum Fault<'a> {
    /// This write had been acknowledged before the read began, and is newer than what the read saw.
    Stale(&'a Write),
    /// This write made the value, and was begun only after the read had ended.
    Early(&'a Write),
    /// No write made the value, unless it is this one, which was rolled back.
    Invented(Option<&'a Write>),
}

struct Version<'a> {
    value: Value,
    begun: Moment,
    acknowledged: Moment,
    /// `None` for what was there at the beginning.
    write: Option<&'a Write>,
}

/// All violations of a rule, in the order of the reads.
///
/// # Panics
/// When two writes of one cell overlap: then it is the harness that is wrong.
pub fn judge(history: &History, rule: Rule) -> Vec<Violation<'_>> {
    let timelines = timelines(history);
    let mut violations = Vec::new();
    for read in &history.reads {
        for &(cell, seen) in &read.seen {
            let versions = timelines.get(&cell).map_or(&[][..], Vec::as_slice);
            if let Some(fault) = fault(history, versions, read, cell, seen, rule) {
                violations.push(Violation {
                    read,
                    cell,
                    seen,
                    fault,
                });
            }
        }
    }
    violations
}

fn timelines(history: &History) -> BTreeMap<Cell, Vec<Version<'_>>> {
    let first = |value: &Value| Version {
        value: *value,
        begun: Moment::ZERO,
        acknowledged: Moment::ZERO,
        write: None,
    };
    let mut timelines: BTreeMap<Cell, Vec<Version>> = history
        .initial
        .iter()
        .map(|(cell, value)| (*cell, vec![first(value)]))
        .collect();
    for write in &history.writes {
        let Outcome::Acknowledged(acknowledged) = write.outcome else {
            continue;
        };
        for &(cell, value) in &write.changes {
            timelines.entry(cell).or_default().push(Version {
                value,
                begun: write.begun,
                acknowledged,
                write: Some(write),
            });
        }
    }
    for (cell, versions) in &mut timelines {
        versions.sort_by_key(|version| version.begun);
        let overlap = versions
            .windows(2)
            .find(|pair| pair[0].acknowledged > pair[1].begun);
        assert!(overlap.is_none(), "two writes of {cell} overlap");
    }
    timelines
}

fn fault<'a>(
    history: &'a History,
    versions: &[Version<'a>],
    read: &Read,
    cell: Cell,
    seen: Value,
    rule: Rule,
) -> Option<Fault<'a>> {
    let had_to_be_seen = |version: &Version| {
        let told = version.acknowledged < read.begun;
        match (rule, version.write) {
            (_, None) => true,
            (Rule::Strict, _) => told,
            (Rule::Session, Some(write)) => told && write.session == read.session,
            (Rule::Eventual, _) => false,
        }
    };
    let is_seen = |version: &&Version| version.value == seen;
    let oldest = versions.iter().rposition(had_to_be_seen).unwrap_or(0);
    let begun = versions.partition_point(|version| version.begun < read.ended);
    let begun = begun.max(oldest + 1).min(versions.len());
    if versions[oldest.min(begun)..begun]
        .iter()
        .any(|version| is_seen(&version))
    {
        return None;
    }
    let missed = versions.get(oldest).and_then(|version| version.write);
    let past = versions[..oldest.min(begun)].iter().find(is_seen);
    if let (Some(_), Some(missed)) = (past, missed) {
        return Some(Fault::Stale(missed));
    }
    let future = versions[begun..]
        .iter()
        .find(is_seen)
        .and_then(|version| version.write);
    Some(future.map_or_else(|| Fault::Invented(undone(history, cell, seen)), Fault::Early))
}

/// The write that was rolled back and would have made the value.
fn undone(history: &History, cell: Cell, seen: Value) -> Option<&Write> {
    let undone = history
        .writes
        .iter()
        .filter(|write| write.outcome == Outcome::RolledBack);
    undone
        .into_iter()
        .find(|write| write.changes.contains(&(cell, seen)))
}

impl fmt::Display for Violation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "read:  {}", self.read)?;
        writeln!(out, "  saw {} in {}", words(self.seen), self.cell)?;
        match &self.fault {
            Fault::Stale(write) => {
                let since = match write.outcome {
                    Outcome::Acknowledged(at) => self.read.begun.saturating_sub(at),
                    Outcome::RolledBack => Moment::ZERO,
                };
                write!(
                    out,
                    "write: {write}\n  which was acknowledged {since:.6?} before the read began"
                )
            }
            Fault::Early(write) => write!(out, "write: {write}\n  which was begun after the read had ended"),
            Fault::Invented(Some(write)) => write!(out, "write: {write}\n  which was rolled back"),
            Fault::Invented(None) => write!(out, "no write has ever made that"),
        }
    }
}

#[cfg(test)]
mod tests;
