//! An application can't tell Tandem from the server: random statements of several sessions have the same replies
//! directly and through Tandem, while strangers use the same connections in between.
//!
//! `TANDEM_SEED=7 cargo test -p tandem-tests --test differential -- --nocapture` replays one seed (with
//! `TANDEM_SERVER=mysql-9.7` in front for MySQL), and finds the shortest sequence that still differs.
//! `TANDEM_DIFFERENTIAL_SEEDS=100` plays that many.

use std::time::Duration;

use tandem_tests::differential::generate;
use tandem_tests::differential::step::Step;
use tandem_tests::differential::trial::{CONNECTIONS, Difference, Ground};
use tandem_tests::{Cluster, Setup, engine};

/// Steps of one sequence, and sequences of one run.
const STEPS: usize = 150;
const SEEDS: u64 = 4;

#[tokio::test]
async fn replies_through_tandem_are_those_of_the_server() {
    let mut pair = Setup::default().pair;
    // No step should have to wait for a lock; one that does is to fail soon.
    pair.extra = vec!["innodb_lock_wait_timeout=1".into(), "lock_wait_timeout=1".into()];
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.listener.workers = 1;
            config.pool.max_connections = CONNECTIONS;
            config.pool.queue_timeout = Duration::from_secs(10);
        },
        pair,
        ..Setup::default()
    })
    .await;
    let flavor = engine().flavor();
    let mut ground = Ground::new(&cluster, flavor).await;
    for seed in seeds() {
        let steps = generate::sequence(seed, flavor, STEPS);
        if let Some(difference) = ground.compare(&steps).await {
            let mut steps = steps;
            steps.truncate(difference.at + 1);
            eprintln!("seed {seed} differs at step {}\n{difference}", difference.at);
            let (steps, shorter) = ground.shorten(steps).await;
            panic!("{}", report(seed, &steps, &shorter.unwrap_or(difference)));
        }
    }
    cluster.assert_logs_clean();
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = number("TANDEM_SEED") {
        return vec![seed];
    }
    (1..=number("TANDEM_DIFFERENTIAL_SEEDS").unwrap_or(SEEDS)).collect()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
    )
}

fn report(seed: u64, steps: &[Step], difference: &Difference) -> String {
    let lines: Vec<String> = steps.iter().map(Step::to_string).collect();
    format!(
        "\nTANDEM_SEED={seed} replays this. The last of these steps differs:\n{}\n{difference}",
        lines.join("\n")
    )
}
