//! As many connections to the standby as to the active master, so that whoever has to go there finds one: opening them takes
//! longer than all the rest of a switchover.

use std::rc::Rc;
use std::time::Instant;

use super::{UTF8MB4, Worker};
use crate::backend::Key;
use crate::net::address::Peer;
use crate::pool::Pool;

impl Worker {
    /// Begins to open what is missing, one after the other, unless that is going on already.
    pub(super) fn keep_standby_warm(self: &Rc<Self>, now: Instant) {
        let config = self.config();
        if config.failover.is_none() || !config.pool.warm_standby || self.is_warming.get() {
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
        self.is_warming.set(true);
        let (worker, pool) = (Rc::clone(self), Rc::clone(to));
        tokio::task::spawn_local(async move {
            worker.warm(&pool, missing).await;
            worker.is_warming.set(false);
        });
    }

    /// Ends with the first that can't be opened: it is tried again later.
    async fn warm(&self, pool: &Rc<Pool>, missing: Vec<Key>) {
        for key in missing {
            let Some(permit) = pool.spare() else {
                return;
            };
            let opened = self.open(pool, key, UTF8MB4, Peer::Local).await;
            pool.note_connect(opened.is_ok());
            let Ok(connection) = opened else {
                return;
            };
            if let Some(lease) = permit.fill(Box::new(connection)) {
                lease.release();
            }
        }
    }
}
