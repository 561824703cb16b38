//! The texts that the sessions of a worker have prepared.
//!
//! A text, with the settings it was prepared under, is known once, so that sessions that prepare the same share what a
//! connection has. It is gone when no session has it any more. What all of it takes is bounded.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::rc::{Rc, Weak};

use rustc_hash::{FxBuildHasher, FxHashMap};

use tandem_protocol::command::CommandCode;

use super::settings::Settings;
use super::statements;
use crate::admin::view::PreparedRow;
use crate::backend::prepared::StatementId;
use crate::classify::facts::Facts;
use crate::failover::outcome::{Token, is_marked};
use crate::meter::{Meter, Space};

/// What a text takes beside its bytes, roughly: its place in the library, and settings that are nobody else's.
const OVERHEAD: usize = 512;

/// A statement text as it was prepared, shared by all sessions of a worker.
#[derive(Debug)]
pub struct Prepared {
    pub id: StatementId,
    pub text: Box<[u8]>,
    /// Names are resolved and text is read when a statement is prepared: this is needed to prepare it again.
    pub settings: Rc<Settings>,
    pub facts: Rc<Facts>,
    pub params: u16,
    _space: Space,
}

impl Prepared {
    /// The command that prepares it on a connection with this token.
    pub fn command(&self, token: Option<&Token>) -> Vec<u8> {
        let token = token.filter(|_| is_marked(&self.facts));
        let comment: &[u8] = token.map_or(&[], |token| token.comment());
        [&[CommandCode::StmtPrepare as u8], comment, &*self.text].concat()
    }
}

/// The statement texts that the sessions of a worker have prepared.
#[derive(Debug)]
pub struct Library {
    /// By the hash of text and settings. Of two that have the same, only the younger is found.
    known: RefCell<FxHashMap<u64, Weak<Prepared>>>,
    last_id: Cell<u64>,
    /// Bytes.
    taken: Rc<Meter>,
    limit: Cell<usize>,
}

impl Library {
    /// One that has room for `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            known: RefCell::default(),
            last_id: Cell::new(0),
            taken: Rc::default(),
            limit: Cell::new(limit),
        }
    }

    /// Whether one more statement of `len` bytes has room.
    pub fn has_room(&self, len: usize) -> bool {
        let wanted = len + OVERHEAD + statements::OVERHEAD;
        wanted <= self.limit.get().saturating_sub(self.taken.used())
    }

    /// Bytes that are taken now, and how often there was no room.
    pub fn taken(&self) -> &Meter {
        &self.taken
    }

    pub fn limit(&self) -> usize {
        self.limit.get()
    }

    /// What is over it stays until its sessions close it.
    pub fn bound(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// For something that will take bytes of it.
    pub fn space(&self) -> Space {
        Space::of(&self.taken)
    }

    /// Finds the shared statement, or makes it.
    pub fn share(
        &self,
        text: &[u8],
        settings: &Rc<Settings>,
        facts: &Rc<Facts>,
        params: u16,
    ) -> Rc<Prepared> {
        let shape = FxBuildHasher.hash_one((text, &**settings));
        let mut known = self.known.borrow_mut();
        if let Some(prepared) = known.get(&shape).and_then(Weak::upgrade)
            && *prepared.text == *text
            && *prepared.settings == **settings
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
        self.last_id.set(self.last_id.get() + 1);
        let mut space = self.space();
        space.resize(text.len() + OVERHEAD);
        Rc::new(Prepared {
            id: StatementId(self.last_id.get()),
            text: text.into(),
            settings: Rc::clone(settings),
            facts: Rc::clone(facts),
            params,
            _space: space,
        })
    }

    /// What is known, as others may see it.
    pub fn rows(&self, worker: usize) -> Vec<PreparedRow> {
        let known = self.known.borrow();
        let row = |prepared: Rc<Prepared>| PreparedRow {
            worker,
            digest: prepared.facts.tally.fingerprint(),
            statement: prepared.facts.tally.statement().cloned(),
            schema: prepared
                .settings
                .schema
                .as_deref()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            parameters: prepared.params,
            bytes: prepared.text.len(),
            // One is this look at it.
            sessions: Rc::strong_count(&prepared) - 1,
        };
        known.values().filter_map(Weak::upgrade).map(row).collect()
    }

    /// Gives up the places of texts that no session has any more.
    pub fn tidy(&self) {
        self.known
            .borrow_mut()
            .retain(|_, prepared| prepared.strong_count() > 0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::classify::facts::{Kind, Links, Pins, Purity, Tables};
    use crate::classify::hint::Hints;
    use crate::classify::identity::Identified;
    use crate::classify::matched::Matched;
    use crate::classify::tally::Tally;

    pub(in crate::session) fn facts() -> Rc<Facts> {
        Rc::new(Facts {
            kind: Kind::Select,
            purity: Purity::Pure,
            pins: Pins::empty(),
            unpins: Pins::empty(),
            links: Links::empty(),
            unreported: Vec::new(),
            tables: Tables::default(),
            hints: Hints::default(),
            tally: Tally::default(),
            matched: Matched::default(),
            parts: Identified::default(),
        })
    }

    #[test]
    fn the_same_text_under_the_same_settings_is_shared() {
        let library = Library::new(usize::MAX);
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

    /// Whatever is prepared takes space, and gives it back with the last session that has it.
    #[test]
    fn what_nobody_has_takes_no_space() {
        let library = Library::new(4000);
        let settings = Rc::new(Settings::default());
        let text = [b'x'; 2000];
        assert!(library.has_room(text.len()));
        let mut first = statements::Statements::default();
        let mut second = statements::Statements::default();
        for statements in [&mut first, &mut second] {
            statements.add(
                library.share(&text, &settings, &facts(), 0),
                None,
                library.space(),
            );
        }
        let both = library.taken().used();
        assert!((2000..4000).contains(&both), "shared: {both}");
        assert!(!library.has_room(text.len()));
        let id = first.last_prepared().expect("one");
        first.change(id, |statement| statement.set_types(&[3; 100]));
        assert_eq!(library.taken().used(), both + 100);
        first.clear();
        assert!(!library.has_room(text.len()));
        drop(second);
        assert_eq!(library.taken().used(), 0);
        assert!(library.has_room(text.len()) && !library.has_room(usize::MAX / 2));
    }
}
