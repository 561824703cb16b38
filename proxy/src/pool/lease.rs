//! The right to use a connection, or to open one. Both are given back by drop, so none is ever lost.

use std::rc::Rc;

use super::Pool;
use crate::backend::Connection;

/// What a session gets from a pool.
pub enum Grant {
    Lease(Lease),
    Permit(Permit),
}

/// A place in the pool without a connection in it yet.
pub struct Permit {
    pool: Option<Rc<Pool>>,
}

impl Permit {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self { pool: Some(pool) }
    }

    /// Puts a connection into the place.
    pub fn fill(mut self, mut connection: Box<Connection>) -> Option<Lease> {
        let pool = self.pool.take()?;
        connection.counted = Some(pool.census.count(connection.key));
        Some(Lease::new(connection, pool))
    }

    /// Leaves the place counted without giving it to anybody: the caller does.
    pub(super) fn forget(mut self) {
        self.pool = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.free_place();
        }
    }
}

/// A connection on loan. Dropping a lease closes the connection; [`Lease::release`] gives it back.
pub struct Lease {
    connection: Option<Box<Connection>>,
    pool: Rc<Pool>,
    held: bool,
}

impl Lease {
    pub(super) fn new(connection: Box<Connection>, pool: Rc<Pool>) -> Self {
        Self {
            connection: Some(connection),
            pool,
            held: false,
        }
    }

    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    #[expect(
        clippy::expect_used,
        reason = "only the consuming methods below take the connection out"
    )]
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a lease has a connection")
    }

    #[expect(
        clippy::expect_used,
        reason = "only the consuming methods below take the connection out"
    )]
    pub fn connection_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease has a connection")
    }

    /// Counts the lease as kept beyond a statement, for `SHOW POOLS`.
    pub fn hold(&mut self) {
        if !self.held {
            self.held = true;
            self.pool.held.set(self.pool.held.get() + 1);
        }
    }

    fn unhold(&mut self) {
        if self.held {
            self.held = false;
            self.pool.held.set(self.pool.held.get() - 1);
        }
    }

    /// Gives the connection back for others to use; a broken one is closed instead, and so is one that holds more
    /// than the reply which was asked for: the next session would take it for its own.
    pub fn release(mut self) {
        self.unhold();
        if self.connection().broken || !self.connection().inbox.is_empty() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }

    /// Closes the connection and keeps its place, to open another.
    pub fn into_permit(mut self) -> Permit {
        self.unhold();
        self.connection = None;
        Permit::new(Rc::clone(&self.pool))
    }

    pub(super) fn into_connection(mut self) -> Box<Connection> {
        self.unhold();
        #[expect(
            clippy::expect_used,
            reason = "only the consuming methods take the connection out"
        )]
        self.connection.take().expect("a lease has a connection")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.unhold();
        if self.connection.take().is_some() {
            self.pool.free_place();
        }
    }
}
