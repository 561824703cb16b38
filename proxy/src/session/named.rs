//! Text PREPARE, EXECUTE and DEALLOCATE: the connection is kept only as long as there is such a statement on it, and
//! what one does when it is executed is known from its text.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tandem_protocol::response::Expect;

use super::ruled::Ruled;
use super::run::{Ran, Work};
use super::{Command, End, Session};
use crate::classify::Dialect;
use crate::classify::facts::{Facts, Kind, Pins};
use crate::classify::kill;
use crate::classify::named::{self, Named};

/// The statements that a session has given names.
#[derive(Debug, Default)]
pub(super) struct NamedStatements {
    /// What they do, where their text was there to be read.
    known: FxHashMap<Box<[u8]>, Option<Inner>>,
    /// There may be others.
    incomplete: bool,
}

/// Where a statement stands that another one prepares or executes.
pub(super) enum Stands {
    /// In its text, or it was read when it was prepared: then without its own.
    Here(Rc<Facts>, Option<Box<[u8]>>),
    /// Where it can't be read.
    Elsewhere,
    /// There is none: the server says so.
    Nowhere,
}

/// The statement that is behind a name, or in an `EXECUTE IMMEDIATE`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    facts: Rc<Facts>,
    /// Of a `KILL`, which Tandem does itself.
    kill: Option<Rc<[u8]>>,
}

impl NamedStatements {
    /// No statement has a name, for sure.
    pub(super) fn are_none(&self) -> bool {
        self.known.is_empty() && !self.incomplete
    }

    /// What is executed under this name; the outer `None` where nothing is.
    fn find(&self, name: &[u8]) -> Option<Option<Inner>> {
        match self.known.get(name) {
            Some(facts) => Some(facts.clone()),
            None => self.incomplete.then_some(None),
        }
    }

    fn note(&mut self, done: Option<Named>, inner: Option<Inner>, failed: bool, limit: usize) {
        match done {
            Some(Named::Prepare { name, .. }) if !failed => {
                self.incomplete |= self.known.len() >= limit;
                if !self.incomplete {
                    self.known.insert(name, inner);
                }
            }
            // The manual of PREPARE: an older one of that name is gone first, whatever becomes of the new one. Where
            // the text comes from an expression, that may have failed before.
            Some(Named::Prepare { name, text: Some(_) }) => drop(self.known.remove(&name)),
            Some(Named::Deallocate { name }) if !failed => drop(self.known.remove(&name)),
            Some(_) => {}
            None => self.incomplete = true,
        }
    }

    /// Statements were prepared whose names are not known.
    pub(super) fn lose_count(&mut self) {
        self.incomplete = true;
    }
}

impl Session {
    /// `PREPARE`, `EXECUTE`, `DEALLOCATE` as statements.
    pub(super) async fn named(
        &mut self,
        command: Command,
        facts: Rc<Facts>,
        ruled: Option<Ruled>,
    ) -> Result<(), End> {
        let dialect = self.reading().dialect;
        let text = &self.client.inbox.bytes()[command.text_at..command.head];
        let named = named::parse(text, dialect);
        let inner = match &named {
            Some(Named::Prepare { text: Some(text), .. } | Named::Immediate { text: Some(text) }) => {
                let facts = self.worker.classifier.borrow_mut().classify(text, dialect).facts;
                let kill = (facts.kind == Kind::Kill).then(|| Rc::from(&**text));
                Some(Inner { facts, kill })
            }
            _ => None,
        };
        // To prepare one of these is no harm, to run it is.
        let runs = match &named {
            Some(Named::Execute { name }) => self.names.find(name).flatten(),
            Some(Named::Immediate { .. }) => inner.clone(),
            _ => None,
        };
        if let Some(Inner { facts, kill }) = runs {
            if let Some(complaint) = self.operators_only(&facts) {
                self.skip(command).await?;
                return self.complain(&complaint).await;
            }
            if let Some(kill) = kill {
                // Values are the server's to work out: variables and expressions take the place of the parameters.
                let filled = kill::filled(&kill, dialect, named::values(text, dialect));
                self.skip(command).await?;
                return self.kill_as(filled.as_deref().unwrap_or(&kill), dialect).await;
            }
        }
        let facts = match &named {
            Some(Named::Execute { name }) => match self.names.find(name) {
                Some(Some(inner)) => executes(&facts, &inner.facts, Pins::TEXT_PREPARED),
                Some(None) => unpinned(&facts, Pins::TEXT_PREPARED | Pins::UNKNOWN),
                None => unpinned(&facts, Pins::empty()),
            },
            Some(Named::Immediate { .. }) => match &inner {
                Some(inner) => executes(&facts, &inner.facts, Pins::empty()),
                None => facts,
            },
            _ => facts,
        };
        let mut work = Work::new(facts, Expect::Query, command);
        work.ruled = ruled;
        let ran = self.run_by_rule(work).await?;
        if let Ran::Carried { learned, .. } = ran {
            let limit = self.worker.config().limits.prepared_statements;
            self.names.note(named, inner, learned.outcome.failed, limit);
        }
        if self.names.are_none() && self.ties.pins.contains(Pins::TEXT_PREPARED) {
            self.ties.pins.remove(Pins::TEXT_PREPARED);
            self.handle.pins.set(self.ties.pins);
            self.release_if_free();
        }
        Ok(())
    }
}

impl Session {
    /// What a `PREPARE` or `EXECUTE` is about.
    pub(super) fn what_is_named(&self, text: &[u8], dialect: Dialect) -> Stands {
        match named::parse(text, dialect) {
            Some(Named::Prepare { text: Some(text), .. } | Named::Immediate { text: Some(text) }) => {
                let facts = self.worker.classifier.borrow_mut().classify(&text, dialect).facts;
                Stands::Here(facts, Some(text))
            }
            Some(Named::Execute { name }) => match self.names.find(&name) {
                // Unless the firewall was off when it was prepared.
                Some(Some(inner)) if inner.facts.parts.are_known() => Stands::Here(inner.facts, None),
                Some(_) => Stands::Elsewhere,
                None => Stands::Nowhere,
            },
            _ => Stands::Elsewhere,
        }
    }
}

/// The facts of an execution, in the place of its text's, which can't tell.
fn executes(outer: &Facts, inner: &Facts, pins: Pins) -> Rc<Facts> {
    Rc::new(Facts {
        pins: (outer.pins - Pins::UNKNOWN) | inner.pins | pins,
        unpins: inner.unpins,
        links: outer.links | inner.links,
        ..outer.clone()
    })
}

fn unpinned(outer: &Facts, pins: Pins) -> Rc<Facts> {
    Rc::new(Facts {
        pins: (outer.pins - Pins::TEXT_PREPARED) | pins,
        ..outer.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(name: &str) -> Option<Named> {
        Some(Named::Prepare {
            name: name.as_bytes().into(),
            text: Some(b"SELECT 1"[..].into()),
        })
    }

    #[test]
    fn names_come_and_go() {
        let mut names = NamedStatements::default();
        names.note(prepare("a"), None, false, 9);
        names.note(prepare("b"), None, false, 9);
        assert_eq!(names.find(b"a"), Some(None));
        assert_eq!(names.find(b"c"), None, "there is no such statement");
        let deallocate = Some(Named::Deallocate {
            name: b"a"[..].into(),
        });
        names.note(deallocate.clone(), None, true, 9);
        assert!(names.find(b"a").is_some());
        names.note(deallocate, None, false, 9);
        assert!(!names.are_none());
        names.note(prepare("b"), None, true, 9);
        assert!(names.are_none(), "a failed PREPARE takes the older one with it");
    }

    #[test]
    fn a_lost_count_is_never_nothing() {
        let mut names = NamedStatements::default();
        names.note(prepare("a"), None, false, 1);
        names.note(prepare("b"), None, false, 1);
        let deallocate = Some(Named::Deallocate {
            name: b"a"[..].into(),
        });
        names.note(deallocate, None, false, 1);
        assert!(!names.are_none());
        assert_eq!(names.find(b"b"), Some(None));
    }
}
