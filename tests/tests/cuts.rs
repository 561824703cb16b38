//! The network between Tandem and the servers, or between these, is cut: who had a write acknowledged finds it, once, and
//! there is never a second writer.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::pair::{MONITOR, Pair, Server};
use tandem_tests::road::{Open, Road};
use tandem_tests::{Cluster, Setup, WITHIN, replicate_by, roles};

/// A pair whose ways can be cut.
struct Ways {
    cluster: Cluster,
    to_a: Road,
    to_b: Road,
    between: [Road; 2],
}

impl Ways {
    async fn start() -> Self {
        let setup = Setup::with_failover();
        let pair = Pair::start(&setup.pair).await.expect("a pair");
        let road = async |server: &Server| Road::to(server.address()).await.expect("a road");
        let (to_a, to_b) = (road(pair.a()).await, road(pair.b()).await);
        let between = [road(pair.a()).await, road(pair.b()).await];
        replicate_by(pair.b(), between[0].address).await;
        replicate_by(pair.a(), between[1].address).await;
        pair.wait_linked(0).await.expect("linked");
        pair.wait_linked(1).await.expect("linked");
        let addresses = [to_a.address, to_b.address];
        let told = pair.directory().join("told");
        let tell = |what: &str| format!("echo {what} >> '{}'", told.display());
        let (event, fence) = (tell("$TANDEM_EVENT $TANDEM_SERVER"), tell("fence $TANDEM_SERVER"));
        let cluster = Cluster::over(pair, "", move |config| {
            for (server, address) in config.servers.iter_mut().zip(addresses) {
                server.address = address.into();
            }
            let failover = config.failover.as_mut().expect("the harness switches it on");
            failover.event_command = Some(event);
            failover.fence_command = Some(fence);
        })
        .await;
        let ways = Self {
            cluster,
            to_a,
            to_b,
            between,
        };
        roles::wait_active(&ways.cluster, Some("a"), WITHIN).await;
        ledger::prepare(&ways.cluster).await;
        ways
    }

    fn between(&self, open: Open) {
        for road in &self.between {
            road.set(open);
        }
    }

    /// What the operator's commands were told of.
    fn told(&self) -> String {
        let file = self.cluster.pair().directory().join("told");
        std::fs::read_to_string(file).expect("the commands have written")
    }

    /// Writers for a while before `cut`, through it, and after `heal`.
    async fn under_load(&self, cut: impl FnOnce(&Self), active_then: &str, heal: impl FnOnce(&Self)) {
        let load = Load::start(&self.cluster.opts(Some("shop")), &Manner::ALL, 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        cut(self);
        // Long enough for whatever has to be decided.
        tokio::time::sleep(Duration::from_secs(8)).await;
        roles::wait_active(&self.cluster, Some(active_then), WITHIN).await;
        println!("{active_then} is active {:?} after the cut", begun.elapsed());
        heal(self);
        self.conclude(load, active_then).await;
    }

    /// Everything is as it was before the fault, and nobody has noticed.
    async fn conclude(&self, load: Load, active_then: &str) {
        roles::wait_settled(&self.cluster, WITHIN).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let survivor = match active_then {
            "a" => self.cluster.a(),
            _ => self.cluster.b(),
        };
        let mut conn = self.cluster.direct(survivor).await;
        let report = load.settle(&mut conn).await;
        roles::show(&self.cluster).await;
        println!("{report}");
        for error in &report.errors {
            println!("    {error}");
        }
        assert!(
            report.writes > 0 && report.missing.is_empty() && report.doubled.is_empty(),
            "{report}"
        );
        assert_eq!((report.errors.len(), report.stale), (0, 0), "{report}");
    }
}

#[tokio::test]
async fn tandem_can_not_reach_the_active_master() {
    let ways = Ways::start().await;
    ways.under_load(
        |ways| ways.to_a.set(Open::NONE),
        "b",
        |ways| ways.to_a.set(Open::BOTH),
    )
    .await;
    let told = ways.told();
    for line in ["adopted a", "failover_begun a", "fence a", "promoted b"] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}

/// Tandem's own write, by which it sees that writes end, takes two seconds on this server.
async fn slow_down(server: &mut Conn) {
    let table =
        "CREATE TABLE IF NOT EXISTS tandem.pulse (id INT UNSIGNED PRIMARY KEY, at BIGINT UNSIGNED NOT NULL)";
    let trigger = "CREATE TRIGGER tandem.slow BEFORE INSERT ON tandem.pulse FOR EACH ROW DO SLEEP(2)";
    for statement in ["CREATE DATABASE IF NOT EXISTS tandem", table, trigger] {
        server.query_drop(statement).await.expect(statement);
    }
}

/// It has none of the connections at hand that it keeps for such a write.
async fn take_connections(server: &mut Conn) {
    let list = "SELECT id FROM information_schema.processlist WHERE command = 'Sleep'";
    let idle = format!("{list} AND user = '{}'", MONITOR.user);
    let idle: Vec<u64> = server.query(idle).await.expect("the list");
    for id in idle {
        // It may have gone by itself.
        let _ = server.query_drop(format!("KILL {id}")).await;
    }
}

/// It is Tandem that is cut off, and not the servers: nothing is done to them, and what its clients wanted waits. That the active
/// master writes slowly when it is reached again is no reason either.
#[tokio::test]
async fn tandem_can_reach_nobody() {
    let ways = Ways::start().await;
    let mut active = ways.cluster.direct(ways.cluster.a()).await;
    slow_down(&mut active).await;
    let load = Load::start(&ways.cluster.opts(Some("shop")), &Manner::ALL, 2);
    ledger::wait_rows(ways.cluster.opts(Some("shop")), 300, WITHIN).await;
    let both = |open| [&ways.to_a, &ways.to_b].map(|road| road.set(open));
    take_connections(&mut active).await;
    both(Open::NONE);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(roles::writable(&ways.cluster).await, ["a"]);
    both(Open::BOTH);
    roles::wait_active(&ways.cluster, Some("a"), WITHIN).await;
    ledger::wait_rows(ways.cluster.opts(Some("shop")), 300, WITHIN).await;
    ways.conclude(load, "a").await;
    let events = roles::said(&ways.cluster, "EVENTS").await;
    for done in ["failover_begun", "waits_for_nobody"] {
        assert!(!events.contains(done), "{events}");
    }
}

#[tokio::test]
async fn the_active_master_s_answers_do_not_arrive() {
    let ways = Ways::start().await;
    ways.under_load(
        |ways| {
            ways.to_a.set(Open {
                there: true,
                back: false,
            });
        },
        "b",
        |ways| ways.to_a.set(Open::BOTH),
    )
    .await;
}

#[tokio::test]
async fn the_active_master_is_alone() {
    let ways = Ways::start().await;
    ways.under_load(
        |ways| {
            ways.to_a.set(Open::NONE);
            ways.between(Open::NONE);
        },
        "b",
        |ways| {
            ways.between(Open::BOTH);
            ways.to_a.set(Open::BOTH);
        },
    )
    .await;
}

/// Commits wait for a receipt that can't come, until Tandem lets them wait for nobody: long before the receiver notices.
#[tokio::test]
async fn the_servers_can_not_reach_each_other() {
    let ways = Ways::start().await;
    let load = Load::start(&ways.cluster.opts(Some("shop")), &Manner::ALL, 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ways.between(Open::NONE);
    let deadline = Instant::now() + WITHIN;
    while !ways.told().contains("waits_for_nobody a") {
        if Instant::now() > deadline {
            roles::show(&ways.cluster).await;
            panic!("commits still wait after {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ways.between(Open::BOTH);
    while !ways.told().contains("waits_for_standby a") {
        if Instant::now() > deadline {
            roles::show(&ways.cluster).await;
            panic!("commits wait for nobody {WITHIN:?} after the way was open again");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ways.conclude(load, "a").await;
}
