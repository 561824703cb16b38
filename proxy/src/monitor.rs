//! Watches the servers and publishes the topology.
//!
//! One task a server asks it every `monitor.interval` ([`probe`]), another follows what it applies ([`applied`]); one task takes the answers in ([`health`]), derives the
//! next topology ([`crate::topology::derive`]) and stores it where the data path reads it. Only that task stores.
//!
//! # The monitor's account
//! The least that it needs, on both servers:
//! ```sql
//! -- MariaDB 10.5 and later
//! CREATE USER 'tandem_monitor'@'%' IDENTIFIED BY '…';
//! GRANT SLAVE MONITOR, TRIGGER, SHOW VIEW ON *.* TO 'tandem_monitor'@'%';
//! -- MySQL 8.0.22 and later
//! CREATE USER 'tandem_monitor'@'%' IDENTIFIED BY '…';
//! GRANT REPLICATION CLIENT, TRIGGER, SHOW VIEW ON *.* TO 'tandem_monitor'@'%';
//! ```
//! `SLAVE MONITOR` is for `SHOW ALL SLAVES STATUS`; the variables that a probe reads need no privilege. `TRIGGER` and
//! `SHOW VIEW` show it which tables have others behind them ([`definitions`]), and `SELECT` on schemas with views, which.
//! Create it under `SET sql_log_bin = 0` on each server, or on one and let it replicate.

mod announce;
pub(crate) mod applied;
mod definitions;
pub(crate) mod door;
mod external;
pub mod health;
pub mod observation;
pub mod positions;
mod probe;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::debug;

use crate::config::Config;
use crate::topology::derive::{Authority, Bounds};
use crate::topology::{ServerId, Shared, Topology, derive};
use applied::{Follower, Wake};
use door::Door;
use health::{Health, History, State};
use observation::Observation;
use probe::Probe;

/// However many sessions report trouble, a server is not asked more often than this.
const PROBE_GAP: Duration = Duration::from_millis(20);

/// Observations that may wait to be taken in. Each server has one under way at a time.
const OBSERVATIONS: usize = 16;

/// The running monitor; dropping it stops the probes, and the last topology stays.
pub struct Monitor {
    topology: Shared,
    signals: Signals,
    complete: watch::Receiver<bool>,
    health: watch::Receiver<Vec<Health>>,
    newer: watch::Receiver<Arc<Config>>,
    _tasks: JoinSet<()>,
}

/// What is seen and by what more is asked for, for who decides.
#[derive(Clone, Debug)]
pub struct Sources {
    pub topology: Shared,
    pub signals: Signals,
    pub health: watch::Receiver<Vec<Health>>,
    /// What acts now, when it is another than at the start.
    pub newer: watch::Receiver<Arc<Config>>,
}

/// By which the data path tells what it met in band, so that the server is asked at once. Never blocks, never fails;
/// reports that come while one waits are one.
#[derive(Clone, Debug)]
pub struct Signals {
    wakes: Arc<[Notify]>,
    followers: Arc<[Wake]>,
    defined: Arc<Notify>,
    doubted: Arc<Notify>,
    published: Arc<Notify>,
}

/// What the data path met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    ConnectRefused,
    ConnectionLost,
    /// 1290, 1792 or 1836 for a write: not executed, the server has become read-only.
    ReadOnly,
    /// An error of its disk or storage engine for a write.
    CantWrite,
}

/// Error writing a file, a full disk, an error of the storage engine, a full table, an error at COMMIT or at the binary log
/// (EE_WRITE, ER_DISK_FULL, ER_ERROR_ON_WRITE, ER_GET_ERRNO, ER_RECORD_FILE_FULL, ER_ERROR_DURING_COMMIT,
/// ER_BINLOG_LOGGING_IMPOSSIBLE).
pub const CANT_WRITE: [u16; 7] = [3, 1021, 1026, 1030, 1114, 1180, 1598];

/// Starts probing. Must be called within a tokio runtime, in which the monitor stays.
///
/// `authority` says who is the active master.
pub fn start(
    config: &Config,
    newer: watch::Receiver<Arc<Config>>,
    authority: watch::Receiver<Authority>,
) -> Monitor {
    let first = derive::unprobed(&config.servers);
    let topology: Shared = Arc::new(ArcSwap::from_pointee(first));
    let signals = Signals {
        wakes: config.servers.iter().map(|_| Notify::new()).collect(),
        followers: config.servers.iter().map(|_| Wake::default()).collect(),
        defined: Arc::default(),
        doubted: Arc::default(),
        published: Arc::default(),
    };
    let (observed, observations) = mpsc::channel(OBSERVATIONS);
    let (completed, complete) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for id in (0..config.servers.len()).map(ServerId) {
        let probe = Probe::new(id, Door::new(id, &newer));
        tasks.spawn(ask_again_and_again(
            probe,
            newer.clone(),
            id,
            signals.clone(),
            observed.clone(),
        ));
        let door = Door::new(id, &newer);
        let follower = Follower::new(id, door, topology.clone(), signals.clone());
        tasks.spawn(follower.run());
    }
    let reader = definitions::Reader::new(newer.clone(), topology.clone(), signals.clone());
    tasks.spawn(reader.run());
    if config.consistency.track_external {
        tasks.spawn(external::Watcher::new(&newer, topology.clone(), signals.clone()).run());
    }
    let (shown, health) = watch::channel(vec![Health::default(); config.servers.len()]);
    let publisher = Publisher {
        topology: topology.clone(),
        histories: vec![History::default(); config.servers.len()],
        shown,
        authority,
        told: vec![Vec::new(); config.servers.len()],
        bounds: bounds(config),
        newer: newer.clone(),
        signals: signals.clone(),
    };
    tasks.spawn(publisher.run(observations, completed));
    Monitor {
        topology,
        signals,
        complete,
        health,
        newer,
        _tasks: tasks,
    }
}

impl Monitor {
    /// Where the newest topology is found.
    pub fn topology(&self) -> Shared {
        self.topology.clone()
    }

    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }

    pub fn sources(&self) -> Sources {
        Sources {
            topology: self.topology(),
            signals: self.signals(),
            health: self.health(),
            newer: self.newer.clone(),
        }
    }

    /// What is known of each server, after each probe.
    pub fn health(&self) -> watch::Receiver<Vec<Health>> {
        self.health.clone()
    }

    /// Waits until each server has answered or failed once; false if that took longer than `deadline`.
    pub async fn first_round(&self, deadline: Duration) -> bool {
        let mut complete = self.complete.clone();
        let round = complete.wait_for(|complete| *complete);
        matches!(tokio::time::timeout(deadline, round).await, Ok(Ok(_)))
    }
}

impl Signals {
    pub fn report(&self, server: ServerId, trouble: Trouble) {
        debug!(?server, ?trouble, "the data path met trouble");
        if trouble == Trouble::CantWrite {
            return self.doubted.notify_one();
        }
        if let Some(wake) = self.wakes.get(server.0) {
            wake.notify_one();
        }
    }

    /// A commit was noted in the mark: how far the standby has got is asked for at once.
    pub fn committed(&self) {
        for follower in self.followers.iter() {
            follower.wake();
        }
    }

    /// Views, triggers or foreign keys may have changed.
    pub fn defined(&self) {
        self.defined.notify_one();
    }

    /// Ready when a server could not write.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Has all servers asked at once.
    pub fn look(&self) {
        for wake in self.wakes.iter() {
            wake.notify_one();
        }
    }

    /// Ready when the next topology is published after the call.
    pub fn published(&self) -> Notified<'_> {
        self.published.notified()
    }

    async fn reported(&self, server: ServerId) {
        match self.wakes.get(server.0) {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    }
}

async fn ask_again_and_again(
    mut probe: Probe,
    mut newer: watch::Receiver<Arc<Config>>,
    server: ServerId,
    signals: Signals,
    observed: mpsc::Sender<Observation>,
) {
    let mut tick = ticks(Instant::now(), newer.borrow().monitor.interval);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = signals.reported(server) => {}
            // Also for whoever waits to see what his change of [monitor] does.
            Ok(()) = newer.changed() => {
                let interval = newer.borrow_and_update().monitor.interval;
                if interval != tick.period() {
                    tick = ticks(Instant::now() + interval, interval);
                }
            }
        }
        if observed.send(probe.ask().await).await.is_err() {
            return;
        }
        tokio::time::sleep(PROBE_GAP.min(tick.period())).await;
    }
}

fn ticks(from: Instant, interval: Duration) -> Interval {
    let mut tick = tokio::time::interval_at(from.into(), interval);
    // After a stall the next probe comes an interval later, not all missed ones at once.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Takes observations in and publishes what follows from them.
struct Publisher {
    topology: Shared,
    histories: Vec<History>,
    /// The same, for who decides.
    shown: watch::Sender<Vec<Health>>,
    authority: watch::Receiver<Authority>,
    /// What was already logged about each server's settings.
    told: Vec<Vec<&'static str>>,
    bounds: Bounds,
    newer: watch::Receiver<Arc<Config>>,
    signals: Signals,
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        max_lag: config.monitor.max_lag,
        slow_start: config.monitor.slow_start,
        track: config.consistency.track_limit(),
    }
}

impl Publisher {
    async fn run(mut self, mut observations: mpsc::Receiver<Observation>, completed: watch::Sender<bool>) {
        let (mut may_change, mut may_be_newer) = (true, true);
        loop {
            tokio::select! {
                observation = observations.recv() => match observation {
                    Some(observation) => self.take(observation),
                    None => return,
                },
                changed = self.authority.changed(), if may_change => {
                    may_change = changed.is_ok();
                    self.publish();
                }
                changed = self.newer.changed(), if may_be_newer => {
                    may_be_newer = changed.is_ok();
                    self.adopt();
                }
            }
            let complete = self.histories.iter().all(|h| h.state() != State::Unprobed);
            completed.send_if_modified(|was| complete && !std::mem::replace(was, true));
        }
    }

    fn take(&mut self, observation: Observation) {
        let index = observation.server.0;
        self.histories[index].record(observation);
        self.publish();
        let name = &self.topology.load().servers[index].name;
        let looks_up = *self.authority.borrow() != Authority::Servers;
        announce::unfitness(name, &mut self.told[index], &self.histories[index], looks_up);
        self.shown
            .send_replace(self.histories.iter().map(History::health).collect());
    }

    /// What the newest configuration says of shares and bounds acts from now on.
    fn adopt(&mut self) {
        let config = Arc::clone(&self.newer.borrow_and_update());
        self.bounds = bounds(&config);
        let mut topology = Topology::clone(&self.topology.load());
        for (server, config) in topology.servers.iter_mut().zip(&config.servers) {
            server.weight = config.weight;
        }
        self.topology.store(Arc::new(topology));
        self.publish();
    }

    fn publish(&mut self) {
        let authority = *self.authority.borrow_and_update();
        let old = self.topology.load();
        let new = derive::derive(&old, &self.histories, &authority, self.bounds, Instant::now());
        self.raise_mark(&new);
        announce::changes(&old, &new);
        self.topology.store(Arc::new(new));
        self.signals.published.notify_waiters();
    }

    /// Tells the mark what the servers have said of their positions, also those that answered before there was one.
    fn raise_mark(&self, topology: &Topology) {
        let Some(mark) = &topology.mark else { return };
        for (index, history) in self.histories.iter().enumerate() {
            if let Some(answer) = history.current() {
                mark.apply_position(ServerId(index), &answer.seen.position);
            }
        }
        let active = topology
            .active
            .and_then(|active| self.histories[active.0].current());
        let standby = topology.standby().map(|standby| &standby.position);
        if let Some(answer) = active
            && mark.commit_up_to(&answer.seen.position, answer.asked_at, standby, Instant::now())
        {
            self.signals.committed();
        }
    }
}
