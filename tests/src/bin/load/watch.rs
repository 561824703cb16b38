//! What processes have cost so far, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// A name, and the processes that are looked at under it.
pub(super) type Watched = BTreeMap<String, Vec<u32>>;

/// Reads `name=1,2;other=3`.
pub(super) fn parse(text: &str) -> Watched {
    let entries = text.split(';').filter_map(|entry| entry.split_once('='));
    entries
        .map(|(name, pids)| {
            (
                name.to_owned(),
                pids.split(',').filter_map(|pid| pid.parse().ok()).collect(),
            )
        })
        .collect()
}

#[derive(Clone, Copy, Default)]
struct Cost {
    nanoseconds: u64,
    switches: u64,
}

pub(super) struct Costs(BTreeMap<String, Cost>);

/// How many of the kernel's ticks make a second, on every machine that Linux runs on today.
const TICK: u64 = 1_000_000_000 / 100;

/// Of all threads of all of them. `stat` has those that have ended too, in ticks of 10 ms, `schedstat` nanoseconds.
pub(super) fn look(watched: &Watched) -> Costs {
    let cost = |pids: &Vec<u32>| {
        let mut cost = Cost::default();
        for pid in pids {
            let process = format!("/proc/{pid}");
            let Ok(threads) = fs::read_dir(Path::new(&process).join("task")) else {
                continue;
            };
            let mut living = Cost::default();
            for thread in threads.flatten() {
                add(&mut living, &thread.path());
            }
            cost.switches += living.switches;
            cost.nanoseconds += living.nanoseconds.max(ticks(&process) * TICK);
        }
        cost
    };
    Costs(
        watched
            .iter()
            .map(|(name, pids)| (name.clone(), cost(pids)))
            .collect(),
    )
}

/// `utime` and `stime`, the twelfth and thirteenth number behind the name, which is in parentheses.
fn ticks(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    let numbers = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    numbers.take(2).filter_map(|text| text.parse::<u64>().ok()).sum()
}

fn add(cost: &mut Cost, thread: &Path) {
    let read = |name| fs::read_to_string(thread.join(name)).unwrap_or_default();
    let ran = read("schedstat")
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok());
    cost.nanoseconds += ran.unwrap_or(0_u64);
    let status = read("status");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches:"));
    cost.switches += lines
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .sum::<u64>();
}

impl Costs {
    /// What has come to it since `before`, for each of `queries`.
    pub(super) fn since(&self, before: &Self, queries: u64) -> Value {
        let each = |amount: u64| amount as f64 / queries.max(1) as f64;
        let entries = self.0.iter().map(|(name, cost)| {
            let earlier = before.0.get(name).copied().unwrap_or_default();
            let value = json!({
                "cpu_us": each(cost.nanoseconds.saturating_sub(earlier.nanoseconds)) / 1000.0,
                "switches": each(cost.switches.saturating_sub(earlier.switches)),
            });
            (name.clone(), value)
        });
        Value::Object(entries.collect())
    }
}
