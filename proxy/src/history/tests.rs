use super::*;
use crate::config;
use crate::session::registry::Census;
use crate::topology::derive::{self, Holding};

/// Two servers, of which one may be active.
fn topology(active: Option<usize>, holding: bool) -> Topology {
    let server = |name: &str| config::Server {
        name: name.to_owned(),
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 3306)).into(),
        weight: 1,
        proxy_protocol: false,
        tls_name: name.to_owned(),
    };
    let mut topology = derive::unprobed(&[server("a"), server("b")]);
    topology.active = active.map(ServerId);
    topology.holding = holding.then_some(Holding::Moment(1));
    for server in &mut topology.servers {
        server.role = match Some(server.id) == topology.active {
            true => Role::Active,
            false => Role::Standby,
        };
    }
    topology
}

fn measure(worker: usize, writes: u64, standby: u64) -> Measure {
    let mut measure = Measure {
        worker,
        census: Census {
            sessions: 2,
            ..Census::default()
        },
        ..Measure::default()
    };
    measure.counters.writes = writes;
    measure.counters.reads_standby = standby;
    measure
}

/// How long writes had nowhere to go is known to the millisecond, and who had them before and after.
#[test]
fn a_failover_is_one_pause() {
    let (mut history, begin) = (History::default(), Instant::now());
    let at = |ms| begin + Duration::from_millis(ms);
    history.look(&topology(None, false), at(0));
    assert_eq!(history.pauses().count(), 0, "nobody was active yet");
    history.look(&topology(Some(0), false), at(10));
    history.look(&topology(None, false), at(1000));
    history.look(&topology(None, false), at(1100));
    let open = history.pauses().next().expect("a pause").clone();
    assert_eq!(
        (open.ended, open.lasted(at(1150))),
        (None, Duration::from_millis(150))
    );
    history.look(&topology(Some(1), false), at(1240));
    history.look(&topology(Some(1), false), at(1300));
    let pauses: Vec<&Pause> = history.pauses().collect();
    assert_eq!(pauses.len(), 1);
    assert_eq!((pauses[0].was, pauses[0].is), (ServerId(0), Some(ServerId(1))));
    assert_eq!(
        (pauses[0].lasted(at(9000)), pauses[0].planned),
        (Duration::from_millis(240), false)
    );
}

/// A switchover holds writes while there is an active master.
#[test]
fn a_switchover_is_a_planned_pause() {
    let (mut history, begin) = (History::default(), Instant::now());
    let at = |ms| begin + Duration::from_millis(ms);
    history.look(&topology(Some(0), false), at(0));
    history.look(&topology(Some(0), true), at(100));
    history.look(&topology(None, true), at(120));
    history.look(&topology(Some(1), false), at(150));
    let pause = history.pauses().next().expect("a pause");
    assert_eq!(
        (pause.planned, pause.lasted(at(500))),
        (true, Duration::from_millis(50))
    );
    assert_eq!(history.changes().count(), 2, "a is standby, then b is active");
}

/// What is told of a second came in that second, whoever did not answer before, and it is told of the server that had it.
#[test]
fn samples_have_what_came_since_the_last() {
    let (mut history, begin) = (History::default(), Instant::now());
    let at = |s| begin + Duration::from_secs(s);
    let pair = topology(Some(1), false);
    history.look(&pair, at(0));
    history.sample(&pair, vec![measure(0, 100, 7), measure(1, 50, 0)], at(0));
    assert_eq!(history.samples().count(), 0, "there is nothing to count from");
    history.sample(&pair, vec![measure(0, 103, 9)], at(1));
    history.sample(&pair, vec![measure(0, 103, 9), measure(1, 60, 1)], at(2));
    let told: Vec<_> = history.samples().collect();
    assert_eq!(told.iter().map(|it| it.writes).collect::<Vec<_>>(), [3, 10]);
    assert_eq!(told.iter().map(|it| it.sessions).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(
        (told[0].servers[0].reads, told[0].servers[1].reads),
        (2, 0),
        "a is the standby"
    );
    assert_eq!((told[1].servers[0].writes, told[1].servers[1].writes), (0, 10));
    assert_eq!(told[0].span, Duration::from_secs(1));
}

/// However long Tandem runs.
#[test]
fn what_is_kept_is_bounded() {
    let (mut history, begin) = (History::default(), Instant::now());
    for second in 0..2000 {
        let now = begin + Duration::from_secs(second);
        let active = (second % 2 == 0).then_some(0);
        history.look(&topology(active, false), now);
        history.sample(&topology(active, false), vec![measure(0, second, 0)], now);
    }
    assert_eq!(
        (history.samples().count(), history.pauses().count()),
        (SAMPLES, PAUSES)
    );
    assert_eq!(history.changes().count(), CHANGES);
    assert_eq!(
        history.samples().next_back().map(|sample| sample.number),
        Some(1998)
    );
}
