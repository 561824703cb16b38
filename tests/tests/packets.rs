//! The kernel loses packets between Tandem and a server, or between the servers: some, all, or those of one direction. Nobody
//! gets an error, and who had a write acknowledged finds it, once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::packets::{self, Direction, Packets};
use tandem_tests::pair::{Pair, Server};
use tandem_tests::{Cluster, Setup, WITHIN, replicate_by, roles, rounds};

/// Longer than whatever has to be decided takes.
const LASTS: Duration = Duration::from_secs(8);

/// Between whom; the active master is a when it begins.
#[derive(Clone, Copy, Debug)]
enum Way {
    ToActive,
    ToStandby,
    /// By which the standby receives.
    Between,
    /// By which the active master receives.
    BetweenBack,
}

struct Fault {
    what: &'static str,
    percent: u32,
    ways: &'static [(Way, Direction)],
}

const BOTH_BETWEEN: &[(Way, Direction)] = &[
    (Way::Between, Direction::Both),
    (Way::BetweenBack, Direction::Both),
];

fn address(cluster: &Cluster, way: Way) -> SocketAddr {
    let (server, far) = match way {
        Way::ToActive => (cluster.a(), false),
        Way::ToStandby => (cluster.b(), false),
        Way::Between => (cluster.a(), true),
        Way::BetweenBack => (cluster.b(), true),
    };
    match far {
        true => far_address(server),
        false => server.address(),
    }
}

fn far_address(server: &Server) -> SocketAddr {
    SocketAddr::new(packets::FOR_SERVERS, server.address().port())
}

async fn cluster() -> Cluster {
    let mut setup = Setup::with_failover();
    setup.pair.extra.push(packets::BOTH_ADDRESSES.to_owned());
    let pair = Pair::start(&setup.pair).await.expect("a pair");
    replicate_by(pair.b(), far_address(pair.a())).await;
    replicate_by(pair.a(), far_address(pair.b())).await;
    pair.wait_linked(0).await.expect("linked");
    pair.wait_linked(1).await.expect("linked");
    let cluster = Cluster::over(pair, "", |_| {}).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    roles::wait_settled(&cluster, WITHIN).await;
    cluster
}

/// Writers for a while before the packets are lost, meanwhile, and afterwards.
async fn play(fault: &Fault) {
    for _ in 0..rounds() {
        let packets = Packets::pass();
        let cluster = cluster().await;
        let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        for &(way, direction) in fault.ways {
            packets.lose(fault.percent, address(&cluster, way), direction);
        }
        tokio::time::sleep(LASTS).await;
        packets.heal();
        let healed = begun.elapsed();
        let settled = roles::wait_settled(&cluster, WITHIN).await;
        let whole = begun.elapsed() - healed;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let active = roles::wait_active(&cluster, None, WITHIN).await;
        assert_eq!(roles::writable(&cluster).await, [active.as_str()]);
        let mut conn = cluster.direct(roles::server(&cluster, &active)).await;
        let report = load.settle(&mut conn).await;
        roles::show(&cluster).await;
        println!(
            "{}: {active} is active, {settled:?} {} ms after the end; {report}",
            fault.what,
            whole.as_millis()
        );
        report.assert_nothing_lost();
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_third_is_lost_between_tandem_and_the_active_master() {
    play(&Fault {
        what: "30 % lost, Tandem and the active master",
        percent: 30,
        ways: &[(Way::ToActive, Direction::Both)],
    })
    .await;
}

#[tokio::test]
async fn a_third_is_lost_between_the_servers() {
    play(&Fault {
        what: "30 % lost, the servers",
        percent: 30,
        ways: BOTH_BETWEEN,
    })
    .await;
}

#[tokio::test]
async fn nothing_passes_between_tandem_and_the_active_master() {
    play(&Fault {
        what: "cut, Tandem and the active master",
        percent: 100,
        ways: &[(Way::ToActive, Direction::Both)],
    })
    .await;
}

#[tokio::test]
async fn what_tandem_sends_the_active_master_does_not_arrive() {
    play(&Fault {
        what: "cut, Tandem to the active master",
        percent: 100,
        ways: &[(Way::ToActive, Direction::There)],
    })
    .await;
}

#[tokio::test]
async fn what_the_active_master_answers_does_not_arrive() {
    play(&Fault {
        what: "cut, the active master to Tandem",
        percent: 100,
        ways: &[(Way::ToActive, Direction::Back)],
    })
    .await;
}

#[tokio::test]
async fn nothing_passes_between_tandem_and_the_standby() {
    play(&Fault {
        what: "cut, Tandem and the standby",
        percent: 100,
        ways: &[(Way::ToStandby, Direction::Both)],
    })
    .await;
}

#[tokio::test]
async fn nothing_passes_between_the_servers() {
    play(&Fault {
        what: "cut, the servers",
        percent: 100,
        ways: BOTH_BETWEEN,
    })
    .await;
}

/// The active master's commits arrive there, and the word that they did does not.
#[tokio::test]
async fn what_the_standby_sends_the_active_master_does_not_arrive() {
    play(&Fault {
        what: "cut, the standby to the active master",
        percent: 100,
        ways: &[
            (Way::Between, Direction::There),
            (Way::BetweenBack, Direction::Back),
        ],
    })
    .await;
}

#[tokio::test]
async fn what_the_active_master_sends_the_standby_does_not_arrive() {
    play(&Fault {
        what: "cut, the active master to the standby",
        percent: 100,
        ways: &[
            (Way::Between, Direction::Back),
            (Way::BetweenBack, Direction::There),
        ],
    })
    .await;
}

#[tokio::test]
async fn the_active_master_is_cut_off_from_both() {
    play(&Fault {
        what: "cut, the active master and both others",
        percent: 100,
        ways: &[
            (Way::ToActive, Direction::Both),
            (Way::Between, Direction::Both),
            (Way::BetweenBack, Direction::Both),
        ],
    })
    .await;
}
