//! Keeps a [`History`]: asks the workers once a second, and looks at each topology as it is published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::History;
use crate::admin::view::DataPath;
use crate::monitor::Signals;
use crate::topology;

/// How often the workers are asked.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The running history. Only the control path touches it, and nobody holds it while waiting.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<History>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on for ever.
pub async fn run(history: Shared, topology: topology::Shared, data: Arc<dyn DataPath>, signals: Signals) {
    let watching = watch(history.clone(), Arc::clone(&topology), signals);
    let sampling = sample(history, topology, data);
    tokio::join!(watching, sampling);
}

async fn watch(history: Shared, topology: topology::Shared, signals: Signals) {
    loop {
        // Asked for before it is looked: what is published in between is not missed.
        let mut published = std::pin::pin!(signals.published());
        published.as_mut().enable();
        history.lock().look(&topology.load(), Instant::now());
        published.await;
    }
}

async fn sample(history: Shared, topology: topology::Shared, data: Arc<dyn DataPath>) {
    let mut tick = tokio::time::interval(INTERVAL);
    // After a stall the next one comes a second later, and says how long it was.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let measures = data.measures().await;
        let topology = topology.load_full();
        history.lock().sample(&topology, measures, Instant::now());
    }
}
