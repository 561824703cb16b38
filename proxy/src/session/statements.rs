//! The prepared statements of a session, and of a worker.
//!
//! A client's statement id is the session's own. The text, with the settings it was prepared under, is
//! known to the worker once, so that sessions that prepare the same text share what a connection has.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use rustc_hash::{FxHashMap, FxHashSet};

use tandem_protocol::command::CommandCode;

use crate::backend::prepared::StatementId;
use crate::classify::facts::Facts;
use crate::session::settings::Settings;

/// A statement text as it was prepared, shared by all sessions of a worker.
#[derive(Debug)]
pub struct Prepared {
    pub id: StatementId,
    pub text: Box<[u8]>,
    /// Names are resolved and text is read when a statement is prepared: this is needed to prepare it again.
    pub settings: Rc<Settings>,
    pub facts: Rc<Facts>,
    pub params: u16,
}

impl Prepared {
    /// The command that prepares it.
    pub fn command(&self) -> Vec<u8> {
        [&[CommandCode::StmtPrepare as u8], &*self.text].concat()
    }
}

/// One session's use of a prepared statement.
#[derive(Debug)]
pub struct Statement {
    pub prepared: Rc<Prepared>,
    /// Parameter types from the last execution that sent them, two bytes each.
    pub types: Box<[u8]>,
    /// Long data were sent for the next execution.
    pub long_data: bool,
    /// A cursor is open.
    pub cursor: bool,
}

impl Statement {
    pub fn ties(&self) -> bool {
        self.long_data || self.cursor
    }
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
    pub fn add(&mut self, prepared: Rc<Prepared>) -> u32 {
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
        let statement = Statement {
            prepared,
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

type Shape = (Box<[u8]>, Settings);

/// The statement texts that the sessions of a worker have prepared.
#[derive(Debug, Default)]
pub struct Library {
    known: RefCell<FxHashMap<Shape, Weak<Prepared>>>,
    last_id: RefCell<u64>,
}

impl Library {
    /// Finds the shared statement, or makes it with `build`.
    pub fn share(
        &self,
        text: &[u8],
        settings: &Rc<Settings>,
        facts: &Rc<Facts>,
        params: u16,
    ) -> Rc<Prepared> {
        let shape = (Box::from(text), (**settings).clone());
        let mut known = self.known.borrow_mut();
        if let Some(prepared) = known.get(&shape).and_then(Weak::upgrade)
            && prepared.params == params
        {
            return prepared;
        }
        let prepared = self.apart(text, settings, facts, params);
        known.insert(shape, Rc::downgrade(&prepared));
        prepared
    }

    /// A statement that is not shared, for a session that has the shared one already.
    pub fn apart(
        &self,
        text: &[u8],
        settings: &Rc<Settings>,
        facts: &Rc<Facts>,
        params: u16,
    ) -> Rc<Prepared> {
        let mut last_id = self.last_id.borrow_mut();
        *last_id += 1;
        Rc::new(Prepared {
            id: StatementId(*last_id),
            text: text.into(),
            settings: Rc::clone(settings),
            facts: Rc::clone(facts),
            params,
        })
    }

    /// Forgets texts that no session has any more.
    pub fn tidy(&self) {
        self.known
            .borrow_mut()
            .retain(|_, prepared| prepared.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::facts::{Kind, Links, Pins, Purity, Tables};

    fn facts() -> Rc<Facts> {
        Rc::new(Facts {
            kind: Kind::Select,
            purity: Purity::Pure,
            pins: Pins::empty(),
            unpins: Pins::empty(),
            links: Links::empty(),
            unreported: Vec::new(),
            tables: Tables::default(),
        })
    }

    #[test]
    fn the_same_text_under_the_same_settings_is_shared() {
        let library = Library::default();
        let shop = Rc::new(Settings::new(45, Some(b"shop")));
        let blog = Rc::new(Settings::new(45, Some(b"blog")));
        let first = library.share(b"SELECT ?", &shop, &facts(), 1);
        let again = library.share(b"SELECT ?", &shop, &facts(), 1);
        let other = library.share(b"SELECT ?", &blog, &facts(), 1);
        assert!(Rc::ptr_eq(&first, &again));
        assert_ne!(first.id, other.id);
        drop((first, again));
        library.tidy();
        assert_eq!(library.known.borrow().len(), 1);
    }

    #[test]
    fn a_cursor_ties_until_its_statement_goes() {
        let library = Library::default();
        let settings = Rc::new(Settings::default());
        let prepared = library.share(b"SELECT 1", &settings, &facts(), 0);
        let mut statements = Statements::default();
        let (one, two) = (statements.add(Rc::clone(&prepared)), statements.add(prepared));
        statements.change(one, |statement| statement.cursor = true);
        statements.change(two, |statement| statement.long_data = true);
        statements.change(two, |statement| statement.long_data = false);
        assert!(statements.tie());
        statements.remove(one);
        assert!(!statements.tie());
    }

    #[test]
    fn ids_are_the_sessions_own_and_never_special() {
        let library = Library::default();
        let settings = Rc::new(Settings::default());
        let prepared = library.share(b"SELECT 1", &settings, &facts(), 0);
        let mut statements = Statements {
            last_id: u32::MAX - 2,
            ..Statements::default()
        };
        let ids: Vec<_> = (0..3).map(|_| statements.add(Rc::clone(&prepared))).collect();
        assert_eq!(ids, [u32::MAX - 1, 1, 2]);
    }
}
