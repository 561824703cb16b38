//! Asks the active master, every `consistency.track_interval`, how far it is, so that what others commit there is seen by
//! reads through Tandem: see [`crate::topology::external`]. Only with `consistency.track_external`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::Signals;
use super::door::Door;
use crate::config::Config;
use crate::topology::gtid::{Position, Stream};
use crate::topology::mark::Mark;
use crate::topology::{ServerId, Shared};

/// After a failure. Reads stay on the active master in the meantime.
const REST: Duration = Duration::from_millis(250);

pub(super) struct Watcher {
    /// By server.
    doors: Vec<Door>,
    interval: Duration,
    topology: Shared,
    signals: Signals,
    conn: Option<(ServerId, Conn)>,
}

impl Watcher {
    pub(super) fn new(newer: &watch::Receiver<Arc<Config>>, topology: Shared, signals: Signals) -> Self {
        Self {
            doors: Door::of_all(newer),
            interval: newer.borrow().consistency.track_interval,
            topology,
            signals,
            conn: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let topology = self.topology.load_full();
            let (Some(active), Some(mark)) = (topology.active, &topology.mark) else {
                self.conn = None;
                continue;
            };
            let asked_at = Instant::now();
            let limit = self.doors[active.0].config().monitor.timeout;
            match tokio::time::timeout(limit, self.ask(active, mark.stream())).await {
                Ok(Ok(Some(position))) => self.take(mark, asked_at, &position),
                Ok(Ok(None)) => debug!("the active master's position could not be read"),
                Ok(Err(problem)) => {
                    debug!("the active master can't be asked for its position: {problem}");
                    tokio::time::sleep(REST).await;
                }
                Err(_) => {}
            }
        }
    }

    fn take(&self, mark: &Mark, asked_at: Instant, position: &Position) {
        if mark.look_for_others(asked_at, position) {
            self.signals.committed();
        }
    }

    /// The connection is taken out while it is used: one whose answer has not come is not used again.
    async fn ask(&mut self, active: ServerId, stream: Stream) -> Result<Option<Position>, Error> {
        let mut conn = match self.conn.take() {
            Some((server, conn)) if server == active => conn,
            _ => self.doors[active.0].open().await?,
        };
        let position = match stream {
            Stream::MariaDb { server, .. } => {
                let text = "SELECT @@gtid_slave_pos, @@gtid_binlog_pos";
                let answer: Option<(String, String)> = conn.query_first(text).await?;
                answer.and_then(|(slave, binlog)| Position::of_mariadb(&slave, &binlog, server))
            }
            Stream::MySql { .. } => {
                let answer: Option<String> = conn.query_first("SELECT @@gtid_executed").await?;
                answer.and_then(|executed| Position::parse_mysql(&executed))
            }
        };
        self.conn = Some((active, conn));
        Ok(position)
    }
}
