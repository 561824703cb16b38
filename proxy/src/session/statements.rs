//! The prepared statements of a session. A client's statement id is the session's own; the text belongs to the worker's
//! [`Library`](super::library::Library).

use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::library::Prepared;
use super::ruled::Asked;
use crate::backend::prepared::StatementId;
use crate::meter::Space;

/// What a session's statement takes beside its types, roughly.
pub(super) const OVERHEAD: usize = 96;

/// One session's use of a prepared statement.
#[derive(Debug)]
pub struct Statement {
    pub prepared: Rc<Prepared>,
    /// What the client had prepared, where a rule has made another text of it.
    pub(super) asked: Option<Rc<Asked>>,
    /// Parameter types from the last execution that sent them, two bytes each, and perhaps names.
    types: Box<[u8]>,
    space: Space,
    /// Long data were sent for the next execution.
    pub long_data: bool,
    /// A cursor is open.
    pub cursor: bool,
}

impl Statement {
    pub fn ties(&self) -> bool {
        self.long_data || self.cursor
    }

    pub fn types(&self) -> &[u8] {
        &self.types
    }

    pub fn set_types(&mut self, types: &[u8]) {
        if *self.types != *types {
            self.types = types.into();
            self.space.resize(size(self.asked.as_deref()) + types.len());
        }
    }
}

fn size(asked: Option<&Asked>) -> usize {
    OVERHEAD + asked.map_or(0, |asked| asked.text.len())
}

/// A session's statements by the id that the client knows.
#[derive(Debug, Default)]
pub struct Statements {
    by_id: FxHashMap<u32, Statement>,
    last_id: u32,
    /// What MariaDB's clients mean by the id −1: the statement of the last `COM_STMT_PREPARE`, if that succeeded.
    last_prepared: Option<u32>,
    /// Which texts they are: none of them twice.
    texts: FxHashSet<StatementId>,
    /// How many of them tie the session to its connection.
    tying: usize,
}

impl Statements {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether one of them is this text: a second one must not share its long data and its cursor.
    pub fn have(&self, prepared: &Prepared) -> bool {
        self.texts.contains(&prepared.id)
    }

    /// A `COM_STMT_PREPARE` has come; until it succeeds there is no "last prepared" statement.
    pub fn forget_last_prepared(&mut self) {
        self.last_prepared = None;
    }

    pub fn last_prepared(&self) -> Option<u32> {
        self.last_prepared
    }

    /// Adds a statement and returns the client's id for it.
    pub(super) fn add(&mut self, prepared: Rc<Prepared>, asked: Option<Asked>, mut space: Space) -> u32 {
        // Ids are not used again before the counter wraps; 0 and "-1" (last prepared) are never given.
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let free = !self.by_id.contains_key(&self.last_id);
            if free && self.last_id != 0 && self.last_id != u32::MAX {
                break;
            }
        }
        self.last_prepared = Some(self.last_id);
        self.texts.insert(prepared.id);
        space.resize(size(asked.as_ref()));
        let statement = Statement {
            prepared,
            asked: asked.map(Rc::new),
            space,
            types: Box::default(),
            long_data: false,
            cursor: false,
        };
        self.by_id.insert(self.last_id, statement);
        self.last_id
    }

    pub fn get(&self, id: u32) -> Option<&Statement> {
        self.by_id.get(&id)
    }

    /// Changes a statement, if it is there.
    pub fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Statement) -> T) -> Option<T> {
        let statement = self.by_id.get_mut(&id)?;
        self.tying -= usize::from(statement.ties());
        let result = change(statement);
        self.tying += usize::from(statement.ties());
        Some(result)
    }

    pub fn remove(&mut self, id: u32) -> Option<Statement> {
        let statement = self.by_id.remove(&id)?;
        self.texts.remove(&statement.prepared.id);
        self.last_prepared = self.last_prepared.filter(|last| *last != id);
        self.tying -= usize::from(statement.ties());
        Some(statement)
    }

    pub fn clear(&mut self) {
        self.by_id.clear();
        self.texts.clear();
        self.last_prepared = None;
        self.tying = 0;
    }

    /// Whether any statement ties the session to its connection.
    pub fn tie(&self) -> bool {
        self.tying > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::library::Library;
    use crate::session::library::tests::facts;
    use crate::session::settings::Settings;

    #[test]
    fn a_cursor_ties_until_its_statement_goes() {
        let library = Library::new(usize::MAX);
        let settings = Rc::new(Settings::default());
        let prepared = library.share(b"SELECT 1", &settings, &facts(), 0);
        let mut statements = Statements::default();
        let one = statements.add(Rc::clone(&prepared), None, library.space());
        let two = statements.add(prepared, None, library.space());
        statements.change(one, |statement| statement.cursor = true);
        statements.change(two, |statement| statement.long_data = true);
        statements.change(two, |statement| statement.long_data = false);
        assert!(statements.tie());
        statements.remove(one);
        assert!(!statements.tie());
    }

    #[test]
    fn ids_are_the_sessions_own_and_never_special() {
        let library = Library::new(usize::MAX);
        let settings = Rc::new(Settings::default());
        let prepared = library.share(b"SELECT 1", &settings, &facts(), 0);
        let mut statements = Statements {
            last_id: u32::MAX - 2,
            ..Statements::default()
        };
        let ids: Vec<_> = (0..3)
            .map(|_| statements.add(Rc::clone(&prepared), None, library.space()))
            .collect();
        assert_eq!(ids, [u32::MAX - 1, 1, 2]);
    }
}
