//! Where the statements of one shape are counted: kept beside the facts, so that the way there is none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::facts::{Facts, Kind, Purity};
use super::{Dialect, Fingerprint, normalise};
use crate::statistics::digest::{Digest, Ended};

/// Longer texts are cut: all shapes' are kept as long as the cache keeps the shape (`limits.statement_cache`).
const MOST_BYTES: usize = 300;

/// A shape, and its numbers once something was counted; statements that are made of others (`EXECUTE`, stand-ins) count for the
/// one that they are of. What was never classified has none.
///
/// It says nothing of what a statement is: facts are equal with different ones.
#[derive(Clone, Debug, Default)]
pub struct Tally(Option<Rc<Shape>>);

#[derive(Debug)]
struct Shape {
    fingerprint: Fingerprint,
    statement: Arc<str>,
    reads: bool,
    digest: RefCell<Option<Rc<Digest>>>,
}

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

impl Tally {
    /// A new one for statements with these facts.
    pub(super) fn of(facts: &Facts, fingerprint: Fingerprint, text: &[u8], dialect: Dialect) -> Self {
        let reads = facts.kind == Kind::Select || facts.purity == Purity::Pure && facts.kind != Kind::Empty;
        Self::named(fingerprint, &normalise(text, dialect, MOST_BYTES), reads)
    }

    /// For what is not classified by its text.
    pub fn named(fingerprint: Fingerprint, statement: &str, reads: bool) -> Self {
        Self(Some(Rc::new(Shape {
            fingerprint,
            statement: statement.into(),
            reads,
            digest: RefCell::default(),
        })))
    }

    /// Counts one statement. `keep` finds a place for the numbers, where they have none or lost it.
    pub fn count(&self, ended: &Ended, keep: impl FnOnce(Digest) -> Rc<Digest>) {
        let Some(shape) = &self.0 else { return };
        let mut digest = shape.digest.borrow_mut();
        if !digest.as_ref().is_some_and(|digest| digest.kept.get()) {
            let statement = Arc::clone(&shape.statement);
            *digest = Some(keep(Digest::new(shape.fingerprint, statement, shape.reads)));
        }
        if let Some(digest) = &*digest {
            digest.count(ended);
        }
    }

    /// The statement without its values.
    pub fn statement(&self) -> Option<&Arc<str>> {
        self.0.as_ref().map(|shape| &shape.statement)
    }

    pub fn is_read(&self) -> bool {
        self.0.as_ref().is_some_and(|shape| shape.reads)
    }

    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.as_ref().map(|shape| shape.fingerprint)
    }
}
