//! Slows the standby down: the applier stops, waits for a lock, or has a long statement to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cells::{SCHEMA, Table};
use super::ground::run;
use crate::differential::dice::Dice;
use crate::{Cluster, Flavor};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Brake {
    StoppedApplier,
    /// A transaction on the standby holds a row that the applier needs.
    RowLock,
    /// Reads go on, the applier waits.
    TableLock,
    GlobalLock,
    LongAlter,
}

impl Brake {
    pub const ALL: [Self; 5] = [
        Self::StoppedApplier,
        Self::RowLock,
        Self::TableLock,
        Self::GlobalLock,
        Self::LongAlter,
    ];
}

/// Puts the brakes on and takes them off until the time is over; how often each was.
pub async fn slow(cluster: &Cluster, seed: u64, until: Instant) -> BTreeMap<Brake, usize> {
    let mut dice = Dice::new(seed);
    let mut counts = BTreeMap::new();
    let mut standby = cluster.direct(cluster.b()).await;
    let mut through = cluster.client_in(SCHEMA).await;
    let mut turn = dice.below(Brake::ALL.len());
    while Instant::now() < until {
        let brake = Brake::ALL[turn % Brake::ALL.len()];
        turn += 1;
        let table = Table::FREE[dice.below(Table::FREE.len())];
        let name = format!("{}.{}", table.schema(), table.name());
        let (on, off) = match brake {
            Brake::StoppedApplier => (applier(cluster, "STOP"), applier(cluster, "START")),
            Brake::RowLock => {
                run(&mut standby, "BEGIN").await;
                (
                    format!("SELECT n FROM {name} WHERE id IN (1, 2, 3) FOR UPDATE"),
                    "ROLLBACK".into(),
                )
            }
            Brake::TableLock => (format!("LOCK TABLES {name} READ"), "UNLOCK TABLES".into()),
            Brake::GlobalLock => ("FLUSH TABLES WITH READ LOCK".into(), "UNLOCK TABLES".into()),
            Brake::LongAlter => {
                let copy = "ALTER TABLE altered FORCE, ALGORITHM=COPY";
                run(&mut through, copy).await;
                ("DO 0".into(), "DO 0".into())
            }
        };
        run(&mut standby, &on).await;
        tokio::time::sleep(Duration::from_millis(100 + dice.below(500) as u64)).await;
        run(&mut standby, &off).await;
        *counts.entry(brake).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(200 + dice.below(600) as u64)).await;
    }
    counts
}

fn applier(cluster: &Cluster, verb: &str) -> String {
    match cluster.b().engine().flavor() {
        Flavor::MariaDb => format!("{verb} SLAVE SQL_THREAD"),
        Flavor::MySql => format!("{verb} REPLICA SQL_THREAD"),
    }
}
