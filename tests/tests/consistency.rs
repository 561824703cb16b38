//! Nobody reads what is older than the level of consistency allows, by whatever means it was written and however far
//! the standby is behind.
//!
//! `TANDEM_SEED=7 cargo test --workspace --test consistency -- --nocapture` replays one seed (with `TANDEM_SERVER=mysql-9.7` in
//! front for MySQL); `TANDEM_CONSISTENCY_SECONDS=60` goes on for so long. The order in which sessions meet is not in the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem_tests::differential::dice::Dice;
use tandem_tests::history::cells::SCHEMA;
use tandem_tests::history::judge::{Rule, Violation, judge};
use tandem_tests::history::play::{Log, Player};
use tandem_tests::history::question::{Form, Question};
use tandem_tests::history::record::History;
use tandem_tests::history::world::{World, initial};
use tandem_tests::history::{brake, ground};
use tandem_tests::{Cluster, Setup};

const SESSIONS: usize = 16;
const SECONDS: u64 = 6;

/// What Tandem promises, and by which rule it is judged.
const LEVEL: Level = Level {
    toml: "",
    rule: Rule::Session,
};

/// The standby must have had a real share, or nothing would have been shown: of a hundred reads so many.
const LEAST_SHARE: usize = 8;

struct Level {
    toml: &'static str,
    rule: Rule,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_the_level_allows() {
    let seed = number("TANDEM_SEED").unwrap_or(1);
    let run = run(&LEVEL, seed).await;
    let violations = judge(&run.history, LEVEL.rule);
    println!("{}", run.summary());
    assert!(violations.is_empty(), "{}", report(seed, &violations));
    assert!(
        run.share() >= LEAST_SHARE,
        "{} % of the reads on the standby",
        run.share()
    );
    // The same judge finds what a stricter rule forbids: it would find it where it matters.
    let stricter = judge(&run.history, Rule::Strict);
    println!("by the strict rule: {} violations", stricter.len());
    assert!(
        !stricter.is_empty(),
        "nothing was stale: the standby was not slow enough"
    );
}

/// One run: everything that was done, and how.
struct Run {
    history: History,
    logs: Vec<Log>,
    brakes: BTreeMap<brake::Brake, usize>,
    /// Why statements went where they went.
    reasons: String,
}

async fn run(level: &Level, seed: u64) -> Run {
    let seconds = number("TANDEM_CONSISTENCY_SECONDS").unwrap_or(SECONDS);
    let cluster = Cluster::start(Setup {
        toml: level.toml.to_owned(),
        // What one worker is told must be known to the other.
        change: |config| config.listener.workers = 2,
        ..Setup::default()
    })
    .await;
    ground::prepare(&cluster).await;
    assert_balanced(&cluster).await;

    let world = Arc::new(World::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut sessions = Vec::new();
    for session in 0..SESSIONS {
        let (world, conn) = (Arc::clone(&world), cluster.client_in(SCHEMA).await);
        let flavor = cluster.a().engine().flavor();
        sessions.push(tokio::spawn(async move {
            let player = Player {
                world: &world,
                conn,
                flavor,
                session,
                dice: Dice::new(seed * 1000 + session as u64),
                log: Log::default(),
            };
            player.live(until).await
        }));
    }
    let brakes = brake::slow(&cluster, seed, until).await;
    let mut history = History {
        initial: initial(),
        ..History::default()
    };
    let mut logs = Vec::new();
    for session in sessions {
        let mut log = session.await.expect("a session that met nothing unexpected");
        history.writes.append(&mut log.history.writes);
        history.reads.append(&mut log.history.reads);
        logs.push(log);
    }
    let reasons = cluster.reasons().await;
    ground::assert_holds(&cluster, &world.values()).await;
    cluster.assert_logs_clean();
    cluster.stop().await;
    Run {
        history,
        logs,
        brakes,
        reasons,
    }
}

/// Each form of read is one that both servers may answer, with the mark that tells which did.
async fn assert_balanced(cluster: &Cluster) {
    let mut admin: Conn = cluster.admin().await;
    let mut dice = Dice::new(0);
    for form in Form::ALL {
        for _ in 0..8 {
            let text = Question::of(form, true, &mut dice).step.text;
            let rows: Vec<Row> = admin
                .query(format!("EXPLAIN ROUTE {text}"))
                .await
                .expect("a route");
            let rows: BTreeMap<String, String> = rows.into_iter().map(mysql_async::from_row).collect();
            assert_eq!(rows["reason"], "balanced", "{text}");
        }
    }
}

impl Run {
    /// Of a hundred reads whose answer tells it, how many the standby has answered.
    fn share(&self) -> usize {
        let on = |name: &str| {
            self.history
                .reads
                .iter()
                .filter(|read| read.server.as_deref() == Some(name))
                .count()
        };
        100 * on("b") / (on("a") + on("b")).max(1)
    }

    fn summary(&self) -> String {
        let mut means: BTreeMap<_, usize> = BTreeMap::new();
        for (kind, count) in self.logs.iter().flat_map(|log| &log.means) {
            *means.entry(*kind).or_default() += count;
        }
        let refused: usize = self.logs.iter().map(|log| log.refused).sum();
        format!(
            "{} writes, {} reads, {} % of them on the standby, {refused} refused; means {means:?}; brakes {:?}; {}",
            self.history.writes.len(),
            self.history.reads.len(),
            self.share(),
            self.brakes,
            self.reasons
        )
    }
}

fn report(seed: u64, violations: &[Violation]) -> String {
    let some: Vec<String> = violations.iter().take(5).map(Violation::to_string).collect();
    format!(
        "TANDEM_SEED={seed}: {} reads are wrong, the first of them:\n{}",
        violations.len(),
        some.join("\n\n")
    )
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
    )
}
