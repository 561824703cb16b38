//! What the outside may see of a worker: the admin port, the metrics, the dashboard.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Worker;
use crate::admin::view::{Counters, Details, LimitRow, Measure, PoolRow, Unit, WorkerView};
use crate::meter::Meter;
use crate::net::compressed::Side;
use crate::pool::Pool;

impl Worker {
    /// A copy of what the outside may see.
    pub fn view(&self) -> WorkerView {
        let now = Instant::now();
        let servers: Vec<Rc<str>> = self.pools.iter().map(|pool| Rc::clone(&pool.name)).collect();
        WorkerView {
            sessions: self.registry.rows(self.index, &servers, now),
            pools: self.pools.iter().map(|pool| self.pool_row(pool)).collect(),
            limits: self.limit_rows(),
            latencies: servers
                .iter()
                .zip(&*self.latencies.borrow())
                .map(|(name, latency)| (name.to_string(), *latency))
                .collect(),
            rules: self.rules().view(),
            counters: self.counted(),
        }
    }

    /// The same in short, for who asks every second.
    pub fn measure(&self) -> Measure {
        Measure {
            worker: self.index,
            census: self.registry.census(),
            counters: self.counted(),
            pools: self.pools.iter().map(|pool| self.pool_row(pool)).collect(),
        }
    }

    fn counted(&self) -> Counters {
        let mut counters = self.counters.borrow().clone();
        let classifier = self.classifier.borrow();
        counters.statement_cache_hits = classifier.hits();
        counters.statement_cache_misses = classifier.misses();
        let cached = self.cache.borrow().counts();
        counters.cache_hits = cached.hits;
        counters.cache_misses = cached.misses;
        counters.cache_kept = cached.kept;
        counters.cache_invalidated = cached.invalidated;
        counters.cache_expired = cached.expired;
        counters.cache_evicted = cached.evicted;
        self.count_compressed(&mut counters);
        // All workers share it, and only one of them may tell.
        if self.index == 0 {
            counters.statement_log_lost = self.statement_log.lost();
        }
        counters
    }

    /// What the outside may see beside that.
    pub fn details(&self) -> Details {
        let now = Instant::now();
        let servers: Vec<Rc<str>> = self.pools.iter().map(|pool| Rc::clone(&pool.name)).collect();
        let name_of = |user| {
            let account = self.accounts.account(user);
            account.map_or_else(String::new, |account| account.name.to_string())
        };
        let mut connections = self.registry.connections(self.index, &servers, now);
        for pool in &self.pools {
            connections.extend(pool.idle_rows(self.index, name_of, now));
        }
        Details {
            connections,
            prepared: self.library.rows(self.index),
            traces: self.traces.borrow().copies(),
            users: self.users.borrow().copies(),
        }
    }

    fn limit_rows(&self) -> Vec<LimitRow> {
        let row = |name, unit, limit, meter: &Meter| LimitRow {
            name,
            worker: self.index,
            unit,
            limit,
            used: meter.used(),
            highest: meter.highest(),
            refused: meter.refused(),
        };
        let config = self.config();
        let shapes = config.limits.statement_cache;
        let cache = self.cache.borrow();
        let (prepared, recorded) = (self.library.taken(), self.shelf.taken());
        let digests = self.digests.borrow();
        self.measure_memory();
        let time = |name, limit: Duration, meter| {
            let millis = usize::try_from(limit.as_millis()).unwrap_or(usize::MAX);
            row(name, Unit::Milliseconds, millis, meter)
        };
        let (limits, times) = (&config.limits, &self.times);
        vec![
            time(
                "limits.statement_timeout",
                limits.statement_timeout,
                &times.statement,
            ),
            time(
                "limits.transaction_timeout",
                limits.transaction_timeout,
                &times.transaction,
            ),
            time(
                "limits.idle_transaction_timeout",
                limits.idle_transaction_timeout,
                &times.asleep_in_transaction,
            ),
            time(
                "listener.idle_timeout",
                config.listener.idle_timeout,
                &times.asleep,
            ),
            row(
                "limits.session_memory",
                Unit::Bytes,
                self.memory_limit(),
                &self.memory,
            ),
            row(
                "limits.prepared_bytes",
                Unit::Bytes,
                self.library.limit(),
                prepared,
            ),
            row(
                "limits.recorded_bytes",
                Unit::Bytes,
                self.shelf.limits().worker,
                recorded,
            ),
            row("cache.bytes", Unit::Bytes, cache.bounds().bytes, cache.taken()),
            row(
                "limits.statement_cache",
                Unit::Shapes,
                shapes,
                self.classifier.borrow().kept(),
            ),
            LimitRow {
                name: "statistics.digests",
                worker: self.index,
                unit: Unit::Shapes,
                limit: digests.capacity(),
                used: digests.len(),
                highest: digests.highest(),
                refused: 0,
            },
        ]
    }

    fn count_compressed(&self, counters: &mut Counters) {
        let clients = self.codec.traffic(Side::Client);
        counters.compressed_client_received_bytes = clients.received.get();
        counters.compressed_client_received_plain_bytes = clients.received_plain.get();
        counters.compressed_client_sent_bytes = clients.sent.get();
        counters.compressed_client_sent_plain_bytes = clients.sent_plain.get();
        let servers = self.codec.traffic(Side::Server);
        counters.compressed_server_received_bytes = servers.received.get();
        counters.compressed_server_received_plain_bytes = servers.received_plain.get();
        counters.compressed_server_sent_bytes = servers.sent.get();
        counters.compressed_server_sent_plain_bytes = servers.sent_plain.get();
    }

    fn pool_row(&self, pool: &Pool) -> PoolRow {
        let numbers = pool.numbers();
        let (open, idle) = (pool.open(), pool.idle());
        PoolRow {
            worker: self.index,
            server: pool.name.to_string(),
            limit: pool.limit(),
            open,
            idle,
            leased: open.saturating_sub(idle),
            pinned: pool.held.get(),
            waiting: pool.waiting(),
            waits: numbers.waits,
            refused: numbers.refused,
            most_open: numbers.most_open,
            queue_limit: pool.queue_limit(),
            most_waiting: numbers.most_waiting,
            queue_refused: numbers.queue_refused,
            longest_wait: numbers.longest_wait,
            connects: numbers.connects,
            connect_errors: numbers.connect_errors,
        }
    }
}
