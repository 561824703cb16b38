//! Where a session's `LAST_INSERT_ID()` is to be found.
//!
//! The value in an OK packet is not it: for an explicit id the two differ (manual of `mysql_insert_id()`).
//! So the value stays on the connection that made it, and is fetched from there before the connection
//! serves another session; `SET last_insert_id` then gives it to whichever connection needs it.

use std::cell::Cell;

use tokio::sync::Notify;

use super::hold::runs_code;
use crate::backend::ConnectionId;
use crate::classify::facts::{Facts, Kind, Links, Purity};

/// Whether a statement must find the session's value on its connection: it asks for it, or may make a new one or not.
/// An explicit id, an update of no row, a procedure without an insert: all leave what is there.
pub fn is_wanted(facts: &Facts) -> bool {
    facts
        .links
        .intersects(Links::READS_INSERT_ID.union(Links::SETS_INSERT_ID))
        || matches!(facts.kind, Kind::Insert | Kind::Replace | Kind::Load)
        || (runs_code(facts.kind) && facts.purity != Purity::Pure)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The session knows the value; 0 is what a session has that never inserted.
    Here(u64),
    /// The connection that made the value still holds it.
    On(ConnectionId),
    /// Another session has taken the connection over and is fetching the value for us.
    OnItsWay,
}

/// Shared by the session and the connection that holds its value.
#[derive(Debug)]
pub struct InsertId {
    place: Cell<Place>,
    /// What the last OK packet said: the best guess if the connection is lost.
    guess: Cell<u64>,
    arrived: Notify,
}

impl Default for InsertId {
    fn default() -> Self {
        Self {
            place: Cell::new(Place::Here(0)),
            guess: Cell::new(0),
            arrived: Notify::new(),
        }
    }
}

impl InsertId {
    /// That of a session which is known to have this value.
    pub fn of(value: u64) -> Self {
        Self {
            place: Cell::new(Place::Here(value)),
            guess: Cell::new(value),
            arrived: Notify::new(),
        }
    }

    pub fn place(&self) -> Place {
        self.place.get()
    }

    /// What the last OK packet said of it: what is left when the connection is gone.
    pub fn guess(&self) -> u64 {
        self.guess.get()
    }

    /// The connection has made a new value; `reported` is what its OK packet said.
    pub fn made_on(&self, connection: ConnectionId, reported: u64) {
        self.place.set(Place::On(connection));
        if reported != 0 {
            self.guess.set(reported);
        }
    }

    pub fn is_on_its_way(&self) {
        self.place.set(Place::OnItsWay);
    }

    /// The value was fetched, or could not be (`None`): then the best guess counts.
    pub fn arrived(&self, value: Option<u64>) {
        self.place.set(Place::Here(value.unwrap_or(self.guess.get())));
        self.arrived.notify_waiters();
    }

    /// Waits while another session fetches the value.
    pub async fn settled(&self) -> Place {
        while self.place.get() == Place::OnItsWay {
            self.arrived.notified().await;
        }
        self.place.get()
    }
}
