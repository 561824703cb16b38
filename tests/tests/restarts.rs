//! Tandem is killed in each step of a failover and of a switchover, and together with both servers. Started again with the same
//! journal it ends with one writer; what it had acknowledged is there, once.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::pair::Pair;
use tandem_tests::roles::{self, Settled};
use tandem_tests::{Cluster, Setup, WITHIN, rounds, wait_until};

/// After this time without an active master its successor will not come either: what the killed Tandem had not begun, a new one
/// does not begin.
const PATIENCE: Duration = Duration::from_secs(4);

/// When Tandem is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It has told of this event.
    Told(&'static str),
    /// These words have come into its journal.
    Recorded(&'static str),
}

async fn cluster(more: &[&str]) -> Cluster {
    let pair = Pair::start(&Setup::with_failover().pair).await.expect("a pair");
    let mut overrides = vec!["failover.min_interval=0s".to_owned()];
    overrides.extend(more.iter().map(|&text| text.to_owned()));
    let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &overrides);
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    roles::wait_settled(&cluster, WITHIN).await;
    cluster
}

/// So many writers of each manner, after they have begun in earnest.
async fn load(cluster: &Cluster, writers: u64) -> Load {
    let mut conn = cluster.client_in("shop").await;
    conn.query_drop("DELETE FROM ledger")
        .await
        .expect("an empty ledger");
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, writers);
    ledger::wait_rows(cluster.opts(Some("shop")), 100, WITHIN).await;
    load
}

impl Moment {
    /// Has Tandem killed at this moment of what `begin` begins, and waits until it is; says in which step it was then.
    async fn kill<F: Future<Output = ()>>(self, cluster: &Cluster, begin: F) -> String {
        match self {
            Self::Told(event) => cluster.process().kill_at(&format!("event=\"{event}\"")),
            Self::Recorded(words) => {
                let journal = cluster.pair().journal().expect("it has one");
                let before = std::fs::read_to_string(&journal).expect("the journal");
                assert!(!before.contains(words), "{before}");
                let number = cluster.process().number();
                // A thread: nothing else that this test does may come in between.
                std::thread::spawn(move || {
                    let deadline = Instant::now() + WITHIN;
                    while Instant::now() < deadline {
                        // While it is replaced there may be none.
                        let text = std::fs::read_to_string(&journal).unwrap_or_default();
                        if text.contains(words) {
                            kill9(&[number]);
                            return;
                        }
                        std::thread::sleep(Duration::from_micros(50));
                    }
                });
            }
        }
        begin.await;
        let number = cluster.process().number();
        wait_until("Tandem is dead", WITHIN, || async {
            // A MySQL that was killed may have commits that nobody was told of. It does not rejoin then: Tandem dies behind that.
            let told = cluster.process().told();
            if told.iter().any(|line| line.contains("event=\"quarantined\"")) {
                kill9(&[number]);
            }
            !cluster.process().runs()
        })
        .await;
        let told = cluster.process().told();
        let event = |line: &str| {
            let (_, rest) = line.split_once("event=\"")?;
            rest.split('"').next().map(str::to_owned)
        };
        told.iter().rev().find_map(|line| event(line)).unwrap_or_default()
    }
}

fn kill9(numbers: &[u32]) {
    signal("KILL", numbers);
}

/// To all at once: one command, so that nobody sees another die.
fn signal(name: &str, numbers: &[u32]) {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    let line = format!("kill -s {name} {}", numbers.join(" "));
    let status = std::process::Command::new("/bin/sh").arg("-c").arg(line).status();
    assert!(status.is_ok_and(|status| status.success()), "{name}");
}

/// Waits until the pair is settled, stops the load, and compares.
async fn settle(cluster: &Cluster, load: Load, what: &str) -> Settled {
    let settled = roles::wait_settled(cluster, WITHIN).await;
    ledger::wait_rows(cluster.opts(Some("shop")), 50, WITHIN).await;
    let active = roles::wait_active(cluster, None, WITHIN).await;
    assert_eq!(
        roles::writable(cluster).await,
        [active.as_str()],
        "{what}: one writer"
    );
    let mut conn = cluster.direct(roles::server(cluster, &active)).await;
    let report = load.settle(&mut conn).await;
    println!("{what}: {active} is active, {settled:?}; {report}");
    if !(report.missing.is_empty() && report.doubled.is_empty()) {
        roles::show(cluster).await;
        panic!("{what}: missing {:?}, twice {:?}", report.missing, report.doubled);
    }
    // Errors are what clients of a dead Tandem get; but not this.
    assert_eq!(report.stale, 0, "{what}: {report}");
    settled
}

#[tokio::test]
async fn tandem_dies_in_each_step_of_a_failover() {
    let moments = [
        Moment::Told("failover_begun"),
        Moment::Recorded("promoting = "),
        Moment::Told("fenced"),
        Moment::Told("receiving_stopped"),
        Moment::Told("applied"),
        Moment::Recorded("epoch = 2"),
        Moment::Told("promoted"),
        Moment::Told("rejoined"),
        Moment::Told("waits_for_standby"),
    ];
    for _ in 0..rounds() {
        for moment in moments {
            // A new pair each, for the epoch, and because a MySQL that was killed may be in quarantine afterwards.
            Box::pin(die_in_a_failover(moment)).await;
        }
    }
}

async fn die_in_a_failover(moment: Moment) {
    let mut cluster = cluster(&[]).await;
    let load = load(&cluster, 1).await;
    let step = {
        let cluster = &cluster;
        moment
            .kill(cluster, async {
                cluster.a().kill9().expect("killed");
                if let Moment::Told("rejoined" | "waits_for_standby") = moment {
                    roles::wait_active(cluster, Some("b"), WITHIN).await;
                    cluster.a().restart().await.expect("back");
                }
            })
            .await
    };
    let journal =
        std::fs::read_to_string(cluster.pair().journal().expect("it has one")).expect("the journal");
    cluster.process_mut().restart();
    let begun = Instant::now();
    let mut active = None;
    while active.is_none() && begun.elapsed() < PATIENCE {
        active = roles::active(&cluster).await;
    }
    let without = active.clone().unwrap_or_else(|| "nobody".to_owned());
    if cluster.a().pid().is_none() {
        cluster.a().restart().await.expect("back");
    }
    let journal = journal.lines().skip(1).collect::<Vec<_>>().join(", ");
    let what = format!("{moment:?}, after {step:?}, journal {journal}; {without} without a");
    if settle(&cluster, load, &what).await == Settled::Whole {
        cluster.wait_replicated().await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn tandem_dies_in_each_step_of_a_switchover() {
    let moments = [
        Moment::Told("switchover_begun"),
        Moment::Told("drained"),
        Moment::Recorded("epoch = "),
        Moment::Told("promoted"),
        Moment::Told("rejoined"),
    ];
    for _ in 0..rounds() {
        let mut cluster = cluster(&[]).await;
        for moment in moments {
            Box::pin(die_in_a_switchover(&mut cluster, moment)).await;
        }
        cluster.stop().await;
    }
}

async fn die_in_a_switchover(cluster: &mut Cluster, moment: Moment) {
    let load = load(cluster, 1).await;
    let before = roles::wait_active(cluster, None, WITHIN).await;
    let to = roles::other(cluster, &before).name().to_owned();
    let moment = match moment {
        // The first word that the journal of the new epoch has and the old has not.
        Moment::Recorded(_) if to == "a" => Moment::Recorded("active = \"a\""),
        Moment::Recorded(_) => Moment::Recorded("active = \"b\""),
        moment => moment,
    };
    let step = {
        let cluster = &*cluster;
        moment
            .kill(cluster, async {
                let mut admin = cluster.admin().await;
                // Who kills it has no answer; who is too early is refused.
                let _ = admin.query_drop(format!("SWITCHOVER TO {to}")).await;
            })
            .await
    };
    cluster.process_mut().restart();
    settle(
        cluster,
        load,
        &format!("{moment:?}, {before} to {to}, after {step:?}"),
    )
    .await;
    cluster.wait_replicated().await;
}

/// Both servers and Tandem are killed at once, as by a power cut; then they come back, the one or the other first.
#[tokio::test]
async fn the_whole_machine_loses_its_power() {
    for round in 0..rounds() {
        let mut cluster = cluster(&[]).await;
        for a_first in [true, false] {
            Box::pin(lose_power(&mut cluster, a_first, round)).await;
        }
        cluster.stop().await;
    }
}

async fn lose_power(cluster: &mut Cluster, a_first: bool, round: u32) {
    let load = load(cluster, 4).await;
    let before = roles::wait_active(cluster, None, WITHIN).await;
    // Not always in the same place of a commit.
    tokio::time::sleep(Duration::from_millis(u64::from(round) * 37 % 100)).await;
    let servers = cluster.pair().servers();
    let mut numbers: Vec<u32> = servers
        .iter()
        .map(|server| server.pid().expect("it runs"))
        .collect();
    numbers.push(cluster.process().number());
    kill9(&numbers);
    // They are dead; this only notes it.
    servers
        .iter()
        .for_each(|server| server.kill9().expect("it is dead"));
    cluster.process().kill9();
    let (first, second) = match a_first {
        true => (cluster.a(), cluster.b()),
        false => (cluster.b(), cluster.a()),
    };
    first.restart().await.expect("back");
    if round.is_multiple_of(2) {
        cluster.process_mut().restart();
        let (_, second) = match a_first {
            true => (cluster.a(), cluster.b()),
            false => (cluster.b(), cluster.a()),
        };
        second.restart().await.expect("back");
    } else {
        second.restart().await.expect("back");
        cluster.process_mut().restart();
    }
    roles::wait_active(cluster, Some(&before), WITHIN).await;
    let order = if a_first { "a first" } else { "b first" };
    let told = cluster.process().told();
    let opened = told.iter().find(|line| line.contains("event=\"opened\""));
    let how = opened.is_some_and(|line| line.contains("commits back"));
    let what = format!("power, {before} was active, {order}, commits were fetched back: {how}");
    settle(cluster, load, &what).await;
}

/// Tandem's machine stands still, longer than a server may: afterwards it takes no server for dead for having heard nothing
/// meanwhile.
#[tokio::test]
async fn tandem_that_stood_still_replaces_nobody() {
    for _ in 0..rounds() {
        let cluster = cluster(&["failover.hang_time=1s", "failover.unreachable_time=2s"]).await;
        let load = load(&cluster, 4).await;
        for times in 0..4 {
            // Not always at the same distance from the last probe.
            tokio::time::sleep(Duration::from_millis(300 + 67 * times)).await;
            let number = cluster.process().number();
            signal("STOP", &[number]);
            tokio::time::sleep(Duration::from_secs(4)).await;
            signal("CONT", &[number]);
            ledger::wait_rows(cluster.opts(Some("shop")), 50, WITHIN).await;
        }
        let told = cluster.process().told();
        let begun: Vec<&String> = told
            .iter()
            .filter(|line| line.contains("failover_begun"))
            .collect();
        assert!(begun.is_empty(), "{begun:?}");
        let mut conn = cluster.direct(cluster.a()).await;
        let report = load.settle(&mut conn).await;
        println!("stood still: {report}");
        report.assert_nothing_lost();
        cluster.stop().await;
    }
}
