//! As many connections to the standby as to the active master, so that whoever has to go there finds one: opening them takes
//! longer than all the rest of a switchover.
//!
//! They are made ready too. A server gives a connection what it needs for a transaction only with its first, and for many at
//! once that takes long: MySQL 9.7.4 fills a new pool of them, 4 MiB at a time, under a lock (20 to 40 ms on two busy
//! cores, in which nothing else went on, seen by `perf`).

use std::rc::Rc;
use std::time::Instant;

use tandem_protocol::command::write_query;

use super::{TRACKERS, UTF8MB4, Worker, exchange};
use crate::backend::sync::Plan;
use crate::backend::{Connection, Key};
use crate::net::address::Peer;
use crate::pool::Pool;
use crate::session::settings::Settings;

/// A transaction of InnoDB that needs no table and no right.
const EMPTY_TRANSACTION: [&str; 2] = ["START TRANSACTION WITH CONSISTENT SNAPSHOT", "COMMIT"];

impl Worker {
    /// Begins to open what is missing, one after the other, unless that is going on already.
    pub(super) fn keep_standby_warm(self: &Rc<Self>, now: Instant) {
        let config = self.config();
        if config.failover.is_none() || !config.pool.warm_standby || self.is_warming() {
            return;
        }
        let topology = self.topology.load();
        let (Some(active), Some(standby)) = (topology.active, topology.standby()) else {
            return;
        };
        let (from, to) = (&self.pools[active.0], &self.pools[standby.id.0]);
        let missing: Vec<Key> = from
            .census
            .all()
            .into_iter()
            // A server that is told where a client comes from needs the client for it.
            .filter(|(key, _)| key.origin.is_none())
            .flat_map(|(key, wanted)| {
                to.refresh(key, wanted, now);
                std::iter::repeat_n(key, wanted.saturating_sub(to.census.of(key)))
            })
            .collect();
        if missing.is_empty() {
            return;
        }
        let (worker, from, to) = (Rc::clone(self), Rc::clone(from), Rc::clone(to));
        let warming = tokio::task::spawn_local(async move { worker.warm(&from, &to, missing).await });
        *self.warming.borrow_mut() = Some(warming);
    }

    fn is_warming(&self) -> bool {
        self.warming
            .borrow()
            .as_ref()
            .is_some_and(|warming| !warming.is_finished())
    }

    /// Ends with the first that can't be opened: it is tried again later.
    async fn warm(&self, from: &Pool, to: &Rc<Pool>, missing: Vec<Key>) {
        for key in missing {
            let Some(permit) = to.spare() else {
                return;
            };
            let opened = self.open(to, key, UTF8MB4, Peer::Local).await;
            to.note_connect(opened.is_ok());
            let Ok(mut connection) = opened else {
                return;
            };
            let ready = make_ready(&mut connection, from.census.example(key));
            let bound = self.config().pool.connect_timeout;
            if !matches!(tokio::time::timeout(bound, ready).await, Ok(Some(()))) {
                return;
            }
            if let Some(lease) = permit.fill(Box::new(connection)) {
                lease.release();
            }
        }
    }
}

/// Has it had its first transaction, and gives it the state that `example` is. `None` where the connection was lost.
async fn make_ready(connection: &mut Connection, example: Option<Rc<Settings>>) -> Option<()> {
    let mut commands = Vec::new();
    for statement in EMPTY_TRANSACTION {
        write_query(&mut commands, statement.as_bytes(), connection.capabilities);
    }
    let wanted = example.unwrap_or_else(|| Rc::clone(&connection.settings));
    // A connection is opened without a schema, so none is in the way.
    let plan = Plan::between(&connection.known(), &wanted, &TRACKERS, connection.flavor, false).ok()?;
    let replies = EMPTY_TRANSACTION.len() + plan.write(&mut commands, connection.capabilities);
    match exchange(connection, &commands, replies).await? {
        0 => connection.assume(&plan, &wanted, TRACKERS),
        // Whoever gets it has it cleaned first.
        _ => connection.soiled = true,
    }
    Some(())
}
