//! The prepared statements that live on one server connection, the least recently used one going first.

use std::num::NonZeroUsize;

use tandem_protocol::error::DecodeError;

/// Names a statement text (with the settings it was prepared under) within a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatementId(pub u64);

#[derive(Debug)]
struct Entry {
    statement: StatementId,
    /// The id the server gave it on this connection.
    server_id: u32,
    /// It has a cursor or long data, which would go with it.
    held: bool,
}

/// Which statements are prepared on a connection, most recently used last.
#[derive(Debug)]
pub struct PreparedStatements {
    entries: Vec<Entry>,
    limit: NonZeroUsize,
}

impl PreparedStatements {
    pub fn new(limit: usize) -> Self {
        Self {
            entries: Vec::new(),
            limit: NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN),
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// # Errors
    /// If a server's id for a new statement is that of another here, perhaps another session's, which would be run by it.
    pub fn check_new(&self, server_id: u32) -> Result<(), DecodeError> {
        match self.entries.iter().any(|entry| entry.server_id == server_id) {
            true => Err(DecodeError::Invalid {
                field: "a new statement's id",
                value: server_id.into(),
            }),
            false => Ok(()),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The server's id of a statement, which becomes the most recently used one.
    pub fn find(&mut self, statement: StatementId) -> Option<u32> {
        let index = self
            .entries
            .iter()
            .rposition(|entry| entry.statement == statement)?;
        self.entries[index..].rotate_left(1);
        self.entries.last().map(|entry| entry.server_id)
    }

    /// Adds a statement; returns the server's id of one that has to be closed to make room. Those that are held stay,
    /// even if they are too many: the session that holds them has bounds of its own.
    pub fn add(&mut self, statement: StatementId, server_id: u32) -> Option<u32> {
        let full = self.entries.len() >= self.limit.get();
        let oldest = self.entries.iter().position(|entry| !entry.held);
        let evicted = oldest
            .filter(|_| full)
            .map(|at| self.entries.remove(at).server_id);
        self.entries.push(Entry {
            statement,
            server_id,
            held: false,
        });
        evicted
    }

    /// Keeps a statement from making room for others, or no longer.
    pub fn hold(&mut self, statement: StatementId, held: bool) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.statement == statement) {
            entry.held = held;
        }
    }

    /// Forgets a statement; returns the server's id, to be closed.
    pub fn remove(&mut self, statement: StatementId) -> Option<u32> {
        let index = self
            .entries
            .iter()
            .position(|entry| entry.statement == statement)?;
        Some(self.entries.remove(index).server_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut prepared = PreparedStatements::new(2);
        assert_eq!(prepared.add(StatementId(1), 11), None);
        assert_eq!(prepared.add(StatementId(2), 12), None);
        assert_eq!(prepared.find(StatementId(1)), Some(11));
        assert_eq!(prepared.add(StatementId(3), 13), Some(12));
        assert_eq!(prepared.find(StatementId(2)), None);
        assert_eq!(prepared.find(StatementId(1)), Some(11));
        assert_eq!(prepared.remove(StatementId(3)), Some(13));
        assert_eq!(prepared.len(), 1);
        prepared.hold(StatementId(1), true);
        assert_eq!(prepared.add(StatementId(4), 14), None);
        assert_eq!(prepared.add(StatementId(5), 15), Some(14), "the held one stays");
    }

    #[test]
    fn the_id_of_another_statement_is_not_taken_for_a_new_one() {
        let mut prepared = PreparedStatements::new(2);
        prepared.add(StatementId(1), 11);
        assert!(prepared.check_new(12).is_ok());
        assert!(prepared.check_new(11).is_err());
        prepared.remove(StatementId(1));
        assert!(prepared.check_new(11).is_ok(), "closed");
    }
}
