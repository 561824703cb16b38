//! Prepared statements of one admin connection: texts whose parameters get their values when they are executed.

use std::collections::HashMap;

use super::{command, dialect};

/// Most of one connection.
pub(super) const MOST: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Prepared {
    texts: HashMap<u32, String>,
    last: u32,
}

impl Prepared {
    /// The number of a statement from now on; none if there are too many already.
    pub(super) fn add(&mut self, text: &str) -> Option<u32> {
        if self.texts.len() == MOST {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        self.texts.insert(self.last, text.to_owned());
        Some(self.last)
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(&id).map(String::as_str)
    }

    pub(super) fn close(&mut self, id: u32) {
        self.texts.remove(&id);
    }
}

/// How many values a statement wants.
pub(super) fn parameters(text: &str) -> usize {
    match command::is_explained(text) {
        true => 0,
        false => dialect::parameters(text),
    }
}

/// The statement with these values.
pub(super) fn bound(text: &str, values: Vec<String>) -> String {
    match values.is_empty() {
        true => text.to_owned(),
        false => dialect::bound(text, values),
    }
}

/// The statement with some values, to see what it would be.
pub(super) fn supposed(text: &str, parameters: usize) -> String {
    bound(text, vec!["1".to_owned(); parameters])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_bounded_and_make_room_when_they_are_closed() {
        let mut prepared = Prepared::default();
        for id in 1..=MOST as u32 {
            assert_eq!(prepared.add("SELECT 1"), Some(id));
        }
        assert_eq!(prepared.add("SELECT 1"), None);
        prepared.close(7);
        let id = prepared.add("SELECT ?").expect("room");
        assert_eq!((prepared.text(id), prepared.text(7)), (Some("SELECT ?"), None));
    }
}
