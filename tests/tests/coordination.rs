//! Two Tandems in front of one pair, and etcd: one decides, the other follows at once and takes over, whoever dies or is cut off.

use std::time::{Duration, Instant};

use etcd_client::{EventType, WatchOptions, WatchStream};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::config::Config;
use tandem_tests::authority::Authority;
use tandem_tests::etcd::Etcd;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::pair::Pair;
use tandem_tests::road::{Open, Road};
use tandem_tests::{Cluster, Proxy, Setup, WITHIN, replicate_by, roles, rounds, wait_until};

/// Of etcd's lease: as short as an etcd on a busy machine keeps it.
const LEASE: &str = "3s";

async fn pair() -> (Pair, Etcd) {
    let pair = Pair::start(&Setup::with_failover().pair).await;
    let pair = pair.unwrap_or_else(|problem| panic!("the pair did not start: {problem}"));
    let etcd = Etcd::start(pair.directory()).await;
    (pair, etcd)
}

fn coordination(name: &str, etcd: impl std::fmt::Display) -> String {
    format!("[coordination]\netcd = [\"http://{etcd}\"]\nname = \"{name}\"\nlease = \"{LEASE}\"\n")
}

/// Each has a journal of its own.
fn apart(pair: &Pair, name: &str) -> impl FnOnce(&mut Config) + use<> {
    let journal = pair.directory().join(format!("journal-{name}"));
    move |config| {
        let failover = config.failover.as_mut().expect("the harness switches it on");
        failover.journal = journal;
        failover.hold_time = Duration::from_secs(40);
    }
}

/// A second Tandem beside that of the cluster, which decides.
async fn second(cluster: &Cluster, etcd: impl std::fmt::Display) -> Proxy {
    let pair = cluster.pair();
    let two = Proxy::over(pair, &coordination("two", etcd), apart(pair, "two")).await;
    wait_for(&mut two.admin().await, "role", "follower").await;
    two
}

/// The pair behind a Tandem called one, which decides, and the ledger.
async fn first(pair: Pair, etcd: impl std::fmt::Display) -> Cluster {
    let change = apart(&pair, "one");
    let cluster = Cluster::over(pair, &coordination("one", etcd), change).await;
    prepare(&cluster).await;
    cluster
}

/// The same, where that Tandem is a process of its own.
async fn apart_from(pair: Pair, etcd: &Etcd) -> Cluster {
    let overrides = [
        format!("coordination.etcd=http://{}", etcd.address()),
        "coordination.name=one".to_owned(),
        format!("coordination.lease={LEASE}"),
    ];
    let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &overrides);
    prepare(&cluster).await;
    cluster
}

async fn prepare(cluster: &Cluster) {
    wait_for(&mut cluster.admin().await, "role", "leader: it decides").await;
    roles::wait_active_by(&mut cluster.admin().await, Some("a"), WITHIN).await;
    ledger::prepare(cluster).await;
    wait_for(&mut cluster.admin().await, "could_fail_over", "yes").await;
}

/// What `SHOW FAILOVER` says, one line for each of its lines.
async fn failover(admin: &mut Conn) -> Vec<(String, String)> {
    let rows: Vec<(String, Option<String>)> = admin.query("SHOW FAILOVER").await.expect("a status");
    rows.into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}

async fn wait_for(admin: &mut Conn, name: &str, value: &str) {
    let deadline = Instant::now() + WITHIN;
    while roles::property(admin, name).await != value {
        if Instant::now() > deadline {
            roles::show_by(admin).await;
            panic!("{name} is not {value:?} within {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn load(proxy: &Proxy) -> Load {
    Load::beside(&proxy.opts(Some("shop")), &Manner::ALL, 2, 10_000)
}

/// Both have clients while the one that decides switches over again and again; the other one's picture follows.
#[tokio::test]
async fn a_follower_goes_by_the_leaders_decision_at_once_and_its_sessions_too() {
    let (pair, etcd) = pair().await;
    let cluster = first(pair, etcd.address()).await;
    let two = second(&cluster, etcd.address()).await;
    let loads = [
        Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 2),
        load(&two),
    ];
    ledger::wait_rows(two.opts(Some("shop")), 300, WITHIN).await;
    let (mut leader, mut follower) = (cluster.admin().await, two.admin().await);
    let refused = follower.query_drop("SWITCHOVER").await.unwrap_err().to_string();
    assert!(refused.contains("one decides"), "{refused}");
    let members = failover(&mut follower).await;
    let members: Vec<&str> = members
        .iter()
        .filter(|(name, _)| name == "member")
        .map(|(_, member)| member.as_str())
        .collect();
    assert!(
        members.contains(&"one") && members.contains(&"two (this one)"),
        "{members:?}"
    );
    let mut late = Vec::new();
    for name in ["b", "a", "b", "a"] {
        let epoch: u64 = roles::property(&mut leader, "epoch")
            .await
            .parse()
            .expect("a number");
        let mut switching = cluster.admin().await;
        let deadline = Instant::now() + WITHIN;
        let there = async {
            // Refused until the one before is let back in.
            while let Err(error) = switching.query_drop(format!("SWITCHOVER TO {name}")).await {
                assert!(
                    error.to_string().contains("not let back in yet") && Instant::now() < deadline,
                    "{error}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            roles::wait_active_by(&mut leader, Some(name), WITHIN).await;
            Instant::now()
        };
        let follows = async {
            roles::wait_active_by(&mut follower, Some(name), WITHIN).await;
            Instant::now()
        };
        let (led, followed) = tokio::join!(there, follows);
        wait_for(&mut follower, "epoch", &(epoch + 1).to_string()).await;
        late.push(followed.saturating_duration_since(led));
        ledger::wait_rows(two.opts(Some("shop")), 100, WITHIN).await;
    }
    println!("the follower has followed after {late:?}");
    roles::show_by(&mut leader).await;
    let mut conn = cluster.direct(cluster.a()).await;
    for load in loads {
        let report = load.settle(&mut conn).await;
        println!("{report}");
        report.assert_nothing_lost();
    }
    assert_eq!(roles::writable(&cluster).await.len(), 1);
    drop(two);
    cluster.stop().await;
}

/// When the Tandem that decides is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// With the master.
    AtOnce,
    /// As soon as etcd has that a server is being promoted.
    Recorded,
    /// As soon as it has told of this event.
    Told(&'static str),
}

/// The master dies, and then the Tandem that replaces it, in the middle of that.
#[tokio::test]
async fn when_the_leader_is_killed_in_a_failover_the_other_carries_it_on() {
    for _ in 0..rounds() {
        for moment in [
            Moment::Recorded,
            Moment::Told("fenced"),
            Moment::Told("receiving_stopped"),
            Moment::Told("applied"),
            Moment::Told("promoted"),
        ] {
            Box::pin(kill_the_leader(moment)).await;
        }
    }
}

/// As when the machine dies on which both run.
#[tokio::test]
async fn when_leader_and_master_are_killed_at_once_the_other_fails_over() {
    for _ in 0..rounds() {
        Box::pin(kill_the_leader(Moment::AtOnce)).await;
    }
}

async fn kill_the_leader(moment: Moment) {
    println!("{moment:?}");
    let (pair, etcd) = pair().await;
    let cluster = apart_from(pair, &etcd).await;
    let two = second(&cluster, etcd.address()).await;
    let load = load(&two);
    ledger::wait_rows(two.opts(Some("shop")), 300, WITHIN).await;
    let mut client = etcd.client().await;
    let options = WatchOptions::new().with_prefix();
    let mut watch = client
        .watch("/tandem/decision", Some(options))
        .await
        .expect("a watch");
    if let Moment::Told(event) = moment {
        cluster.process().kill_at(&format!("event=\"{event}\""));
    }
    let killed = Instant::now();
    cluster.a().kill9().expect("killed");
    match moment {
        Moment::AtOnce => cluster.process().kill9(),
        Moment::Recorded => {
            tokio::time::timeout(WITHIN, begun(&mut watch))
                .await
                .expect("a failover begins");
            cluster.process().kill9();
        }
        Moment::Told(event) => {
            wait_until(event, WITHIN, || async { !cluster.process().runs() }).await;
        }
    }
    let mut admin = two.admin().await;
    wait_for(&mut admin, "role", "leader: it decides").await;
    println!("the lease has changed hands after {:?}", killed.elapsed());
    roles::wait_active_by(&mut admin, Some("b"), WITHIN).await;
    println!("b is active after {:?}", killed.elapsed());
    ledger::wait_rows(two.opts(Some("shop")), 200, WITHIN).await;
    cluster.a().restart().await.expect("back");
    wait_until("a is let back in, or quarantined", WITHIN, || async {
        let rows: Vec<Row> = two.admin().await.query("SHOW EVENTS").await.expect("events");
        let told = |row: &Row, event: &str| {
            row.get::<String, _>("event").as_deref() == Some(event)
                && row.get::<String, _>("server").as_deref() == Some("a")
        };
        rows.iter()
            .any(|row| told(row, "rejoined") || told(row, "quarantined"))
    })
    .await;
    roles::show_by(&mut admin).await;
    let mut conn = cluster.direct(cluster.b()).await;
    let report = load.settle(&mut conn).await;
    println!("{report}");
    report.assert_nothing_lost();
    assert_eq!(roles::writable(&cluster).await.len(), 1);
    drop(two);
    cluster.stop().await;
}

/// While the standby is away commits wait for nobody. When the machine dies on which the active master and the Tandem that decides run, the
/// other Tandem, which does not know what was acknowledged then, does not promote the standby: not before that has all of it.
#[tokio::test]
async fn a_standby_that_was_away_is_not_promoted_by_who_does_not_know_what_it_lacks() {
    let (pair, etcd) = pair().await;
    let road = Road::to(pair.a().address()).await.expect("a road");
    replicate_by(pair.b(), road.address).await;
    pair.wait_linked(1).await.expect("linked");
    let cluster = apart_from(pair, &etcd).await;
    let two = second(&cluster, etcd.address()).await;
    road.set(Open::NONE);
    let mut client = Conn::new(cluster.opts(Some("shop"))).await.expect("a client");
    for n in 1..=20 {
        let written = client.query_drop(format!("INSERT INTO ledger (writer, n) VALUES (1, {n})"));
        written.await.expect("acknowledged");
    }
    cluster.a().kill9().expect("killed");
    cluster.process().kill9();
    let mut admin = two.admin().await;
    wait_for(&mut admin, "role", "leader: it decides").await;
    road.set(Open::BOTH);
    // Long enough for whatever might be decided.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let standing = failover(&mut admin).await;
    let names = |what: &str| standing.iter().any(|(_, value)| value.contains(what));
    assert!(names("was not seen alive"), "{standing:?}");
    assert_eq!(roles::writable(&cluster).await, [""; 0], "{standing:?}");

    cluster.a().restart().await.expect("back");
    roles::wait_active_by(&mut admin, Some("a"), WITHIN).await;
    wait_for(&mut admin, "could_fail_over", "yes").await;
    // Now it is known to have it, whoever decides.
    cluster.a().kill9().expect("killed");
    roles::wait_active_by(&mut admin, Some("b"), WITHIN).await;
    let mut reader = Conn::new(two.opts(Some("shop"))).await.expect("a client");
    let count = reader
        .query_first("SELECT COUNT(*) FROM ledger WHERE writer = 1")
        .await;
    assert_eq!(count.expect("an answer"), Some(20), "acknowledged and lost");
    roles::show_by(&mut admin).await;
    drop(two);
    cluster.stop().await;
}

/// Waits until the decision in etcd says that a server is being promoted.
async fn begun(watch: &mut WatchStream) {
    while let Some(response) = watch.message().await.expect("a message") {
        let promotes = response.events().iter().any(|event| {
            let text = event.kv().and_then(|kv| kv.value_str().ok());
            event.event_type() == EventType::Put && text.is_some_and(|text| text.contains("promoting"))
        });
        if promotes {
            return;
        }
    }
    panic!("the watch has ended");
}

/// Only its way to etcd is cut. It stops deciding, its clients notice nothing, and the other one takes over, with what an operator had
/// told the first.
#[tokio::test]
async fn a_leader_that_is_cut_off_from_etcd_decides_no_more_and_serves() {
    let (pair, etcd) = pair().await;
    let road = Road::to(etcd.address()).await.expect("a road");
    let cluster = first(pair, road.address).await;
    let two = second(&cluster, etcd.address()).await;
    let loads = [
        Load::start(
            &cluster.opts(Some("shop")),
            &[Manner::Prepared, Manner::Transaction],
            1,
        ),
        load(&two),
    ];
    ledger::wait_rows(two.opts(Some("shop")), 300, WITHIN).await;
    let (mut was, mut is) = (cluster.admin().await, two.admin().await);
    was.query_drop("PAUSE").await.expect("PAUSE");
    let cut = Instant::now();
    road.set(Open::NONE);
    let alone = "cut off from etcd: it decides nothing, and goes by the last decision";
    let watched = async {
        // Never both: before the other one has the lease, this one has stopped.
        loop {
            let leads = roles::property(&mut is, "role").await == "leader: it decides";
            let role = roles::property(&mut was, "role").await;
            if leads {
                assert_eq!(role, alone);
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WITHIN, watched)
        .await
        .expect("the other takes over");
    println!("the lease has changed hands after {:?}", cut.elapsed());
    wait_for(&mut is, "state", "paused").await;
    is.query_drop("RESUME").await.expect("RESUME");
    let refused = was.query_drop("SWITCHOVER").await.unwrap_err().to_string();
    assert!(refused.contains("etcd is not reached"), "{refused}");
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    // Decided by the other one while this one can't hear of it: it sees who is writable. Nor does it hold its writes, so the
    // standby may be too far behind at first.
    let deadline = Instant::now() + WITHIN;
    while let Err(error) = is.query_drop("SWITCHOVER TO b").await {
        println!("{error}");
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    roles::wait_active_by(&mut is, Some("b"), WITHIN).await;
    roles::wait_active_by(&mut was, Some("b"), WITHIN).await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    road.set(Open::BOTH);
    wait_for(&mut was, "role", "follower").await;
    wait_for(&mut was, "leader", "two").await;
    roles::wait_active_by(&mut was, Some("b"), WITHIN).await;
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    roles::show_by(&mut was).await;
    roles::show_by(&mut is).await;
    let mut conn = cluster.direct(cluster.b()).await;
    for load in loads {
        let report = load.settle(&mut conn).await;
        println!("{report}");
        report.assert_nothing_lost();
    }
    assert_eq!(roles::writable(&cluster).await.len(), 1);
    drop(two);
    cluster.stop().await;
}

/// Three members of etcd, reached by TLS with a certificate and a password, and three Tandems: one of each is killed, and then the master;
/// with one member left nobody decides any more.
#[tokio::test]
async fn of_three_each_one_may_be_lost() {
    let pair = Pair::start(&Setup::with_failover().pair).await;
    let pair = pair.unwrap_or_else(|problem| panic!("the pair did not start: {problem}"));
    let authority = Authority::new("etcd's");
    let mut etcd = Etcd::secured(pair.directory(), 3, &authority).await;
    let settings = |name: &str, etcd: &Etcd| {
        format!(
            "[coordination]\nname = \"{name}\"\nlease = \"{LEASE}\"\n{}",
            etcd.settings()
        )
    };
    let change = apart(&pair, "one");
    let cluster = Cluster::over(pair, &settings("one", &etcd), change).await;
    prepare(&cluster).await;
    let mut others = Vec::new();
    for name in ["two", "three"] {
        let proxy = Proxy::over(
            cluster.pair(),
            &settings(name, &etcd),
            apart(cluster.pair(), name),
        )
        .await;
        wait_for(&mut proxy.admin().await, "role", "follower").await;
        others.push(proxy);
    }
    let load = load(&others[1]);
    ledger::wait_rows(others[1].opts(Some("shop")), 100, WITHIN).await;
    etcd.kill_member(0);
    let mut admin = cluster.admin().await;
    wait_for(&mut admin, "could_fail_over", "yes").await;
    let deadline = Instant::now() + WITHIN;
    while let Err(error) = leading(&cluster, &others)
        .await
        .query_drop("SWITCHOVER TO b")
        .await
    {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for proxy in &others {
        roles::wait_active_by(&mut proxy.admin().await, Some("b"), WITHIN).await;
    }
    wait_for(&mut leading(&cluster, &others).await, "could_fail_over", "yes").await;
    // One of the Tandems leaves, whether it decides or not.
    drop(others.remove(0));
    wait_for(&mut leading(&cluster, &others).await, "could_fail_over", "yes").await;
    cluster.b().kill9().expect("killed");
    roles::wait_active_by(&mut others[0].admin().await, Some("a"), WITHIN).await;
    ledger::wait_rows(others[0].opts(Some("shop")), 100, WITHIN).await;
    etcd.kill_member(1);
    wait_for(&mut others[0].admin().await, "could_fail_over", "no").await;
    ledger::wait_rows(others[0].opts(Some("shop")), 100, WITHIN).await;
    let report = load.settle(&mut cluster.direct(cluster.a()).await).await;
    println!("{report}");
    report.assert_nothing_lost();
    assert_eq!(roles::writable(&cluster).await, ["a"]);
    drop(others);
    cluster.stop().await;
}

/// The admin port of the one that decides.
async fn leading(cluster: &Cluster, others: &[Proxy]) -> Conn {
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut admins = vec![cluster.admin().await];
        for proxy in others {
            admins.push(proxy.admin().await);
        }
        let is_late = Instant::now() > deadline;
        for mut admin in admins {
            if roles::property(&mut admin, "role").await == "leader: it decides" {
                return admin;
            }
            if is_late {
                roles::show_by(&mut admin).await;
            }
        }
        assert!(!is_late, "nobody decides within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Without etcd nobody is promoted; what was held goes on when it is back.
#[tokio::test]
async fn losing_etcd_stops_decisions_and_not_traffic() {
    let (pair, mut etcd) = pair().await;
    let cluster = first(pair, etcd.address()).await;
    let two = second(&cluster, etcd.address()).await;
    let loads = [
        Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 1),
        load(&two),
    ];
    ledger::wait_rows(two.opts(Some("shop")), 300, WITHIN).await;
    let (mut one, mut other) = (cluster.admin().await, two.admin().await);
    etcd.kill();
    for admin in [&mut one, &mut other] {
        wait_for(admin, "could_fail_over", "no").await;
        let deadline = Instant::now() + WITHIN;
        while !roles::property(admin, "why_not")
            .await
            .contains("etcd is not reached")
        {
            assert!(Instant::now() < deadline, "{:?}", failover(admin).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    ledger::wait_rows(cluster.opts(Some("shop")), 200, WITHIN).await;
    ledger::wait_rows(two.opts(Some("shop")), 200, WITHIN).await;
    cluster.a().kill9().expect("killed");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for admin in [&mut one, &mut other] {
        assert!(
            roles::active_by(admin).await.as_deref() != Some("b"),
            "nobody decides"
        );
    }
    let back = Instant::now();
    etcd.start_again().await;
    for admin in [&mut one, &mut other] {
        roles::wait_active_by(admin, Some("b"), WITHIN).await;
    }
    println!("b is active {:?} after etcd was started again", back.elapsed());
    ledger::wait_rows(two.opts(Some("shop")), 200, WITHIN).await;
    roles::show_by(&mut one).await;
    roles::show_by(&mut other).await;
    let mut conn = cluster.direct(cluster.b()).await;
    for load in loads {
        let report = load.settle(&mut conn).await;
        println!("{report}");
        report.assert_nothing_lost();
    }
    assert_eq!(roles::writable(&cluster).await.len(), 1);
    drop(two);
    cluster.stop().await;
}
