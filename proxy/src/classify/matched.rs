//! Which rules the statements of one shape may meet: found out once and kept beside the facts.

use std::cell::RefCell;
use std::rc::Rc;

/// Bits by the rules' places, 64 a word; for the rules of one generation.
///
/// It says nothing of what a statement is: facts are equal with different ones.
#[derive(Clone, Debug, Default)]
pub struct Matched(RefCell<Option<(u64, Rc<[u64]>)>>);

impl PartialEq for Matched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Matched {}

impl Matched {
    /// What is kept, or else what `find` finds.
    pub fn of(&self, generation: u64, find: impl FnOnce() -> Rc<[u64]>) -> Rc<[u64]> {
        if let Some((known, words)) = &*self.0.borrow()
            && *known == generation
        {
            return Rc::clone(words);
        }
        let words = find();
        *self.0.borrow_mut() = Some((generation, Rc::clone(&words)));
        words
    }
}
