//! Stories: a line is one probe, `server: what it saw → roles epoch`. The roles are those of a and b after it:
//! A active, S standby, d detached, x down. A probe comes every 125 ms; `+5s` lets time pass before it.
//!
//! What a probe sees: `rw` or `ro`, then of its channel from the other server `lag N` or `lag ?`, `connecting`,
//! `receiver stopped`, `applier stopped`, `alone` (no channel), `stranger` (a channel from another server);
//! or `refused`, `lost`, `timeout`, `full`, `denied`, `nonsense`.

use super::*;
use crate::monitor::observation::{Observation, ProbeError, Seen};
use crate::topology::gtid::{Position, Stream};
use crate::topology::reports::Reports;
use crate::topology::{Flavor, Version};

const BOUNDS: Bounds = Bounds {
    max_lag: Duration::from_secs(5),
    slow_start: Duration::from_secs(10),
    track: None,
};

const STORIES: &[(&str, &str)] = &[
    (
        "b answers first, both are writable: the first in the file becomes active",
        "b: rw lag 0 → xS 0
         a: rw lag 0 → AS 1
         b: rw lag 0 → AS 1",
    ),
    (
        "the ordinary start: the writable one is active, wherever it stands",
        "a: ro lag 0 → Sx 0
         b: rw lag 0 → SA 1",
    ),
    (
        "a fails at the start: b is taken, and stays active when a comes up (sticky)",
        "a: timeout → xx 0
         b: rw lag ? → xA 1
         a: rw lag 0 → SA 1
         b: rw lag 0 → SA 1",
    ),
    (
        "the active master dies, the other is read-only: nobody is active, the other still reads",
        "a: rw lag 0 → Sx 0
         b: ro lag 0 → AS 1
         a: refused → xS 2
         b: ro lag ? connecting → xS 2
         +60s b: ro lag ? connecting → xS 2
         b: ro lag ? receiver stopped → xS 2
         b: ro lag ? applier stopped → xd 2
         a: rw lag ? connecting → Ad 3
         b: ro lag 0 → AS 3",
    ),
    (
        "the receiver notices the death before our probe does",
        "a: rw lag 0 → Sx 0
         b: ro lag 0 → AS 1
         b: ro lag ? connecting → AS 1
         a: lost → xS 2",
    ),
    (
        "the active master dies, the other is writable: it takes over and keeps the role",
        "a: rw lag 0 → Sx 0
         b: rw lag 0 → AS 1
         a: refused → xA 2
         b: rw lag ? connecting → xA 2
         a: refused → xA 2
         a: rw lag ? connecting → dA 2
         a: rw lag 40 → dA 2
         a: rw lag 0 → SA 2",
    ),
    (
        "a failover by hand: read_only on, then off on the other",
        "a: rw lag 0 → Sx 0
         b: ro lag 0 → AS 1
         a: ro lag 0 → SS 2
         b: rw lag 0 → SA 3
         a: ro lag 0 → SA 3",
    ),
    (
        "the active master's own replication and lag never matter for writes",
        "a: rw alone → dx 0
         b: rw lag 0 → AS 1
         a: rw lag 9999 → AS 1
         a: rw lag ? applier stopped → AS 1
         a: rw lag ? receiver stopped → AS 1
         a: rw stranger → AS 1",
    ),
    (
        "one timeout changes nothing, two in a row do; an answer between starts again",
        "a: rw lag 0 → Sx 0
         b: rw lag 0 → AS 1
         a: timeout → AS 1
         a: rw lag 0 → AS 1
         a: nonsense → AS 1
         a: rw lag 0 → AS 1
         b: timeout → AS 1
         b: rw lag 0 → AS 1
         a: timeout → AS 1
         a: timeout → xA 2
         a: timeout → xA 2",
    ),
    (
        "too many connections and a refused account are not death",
        "a: rw lag 0 → Sx 0
         b: rw lag 0 → AS 1
         a: full → AS 1
         a: timeout → AS 1
         a: full → AS 1
         a: denied → AS 1
         a: denied → AS 1
         b: full → AS 1
         +6s b: full → Ad 1
         b: rw lag 0 → AS 1
         a: lost → xA 2
         a: full → xA 2
         a: denied → xA 2",
    ),
    (
        "a server that never let the monitor in is down",
        "a: denied → xx 0
         b: full → xx 0
         a: rw alone → Ax 1",
    ),
    (
        "reads need a running, near and known replication",
        "a: rw lag 0 → Sx 0
         b: ro alone → Ad 1
         b: ro stranger → Ad 1
         b: ro lag ? → Ad 1
         b: ro lag ? connecting → Ad 1
         b: ro lag 5 → AS 1
         b: ro lag 6 → Ad 1
         b: ro lag 0 → AS 1
         b: ro lag ? applier stopped → Ad 1
         b: ro lag 0 → AS 1
         b: ro lag ? receiver stopped → Ad 1
         b: ro lag 0 → AS 1
         b: ro lag ? connecting → AS 1
         +6s b: ro lag ? connecting → Ad 1",
    ),
    (
        "a standby that comes back from the dead proves its lag anew",
        "a: rw lag 0 → Sx 0
         b: ro lag 0 → AS 1
         b: refused → Ax 1
         b: ro lag ? connecting → Ad 1
         b: ro lag 0 → AS 1",
    ),
    (
        "both down, then one read-only: nobody is active",
        "a: refused → xx 0
         b: refused → xx 0
         b: ro lag ? connecting → xd 0
         b: rw lag ? connecting → xA 1
         b: refused → xx 2",
    ),
];

struct Pair {
    topology: Topology,
    histories: Vec<History>,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        Self::of(&["a", "b"])
    }

    fn of(names: &[&str]) -> Self {
        let server = |name: &str| config::Server {
            name: name.to_owned(),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 3306)).into(),
            tls_name: name.to_owned(),
            proxy_protocol: false,
            weight: 1,
        };
        Self {
            topology: unprobed(&names.iter().map(|name| server(name)).collect::<Vec<_>>()),
            histories: vec![History::default(); names.len()],
            now: Instant::now(),
        }
    }

    fn probe(&mut self, server: usize, what: &str) {
        self.take(server, result(server, what));
    }

    fn take(&mut self, server: usize, result: Result<Seen, ProbeError>) {
        self.now += Duration::from_millis(125);
        let observation = Observation {
            server: ServerId(server),
            asked_at: self.now,
            took: Duration::from_millis(1),
            result,
        };
        self.histories[server].record(observation);
        let next = derive(
            &self.topology,
            &self.histories,
            &Authority::Servers,
            BOUNDS,
            self.now,
        );
        check(&self.topology, &next);
        self.topology = next;
    }

    fn roles(&self) -> String {
        let letter = |server: &Server| match server.role {
            Role::Active => 'A',
            Role::Standby => 'S',
            Role::Detached => 'd',
            Role::Down => 'x',
        };
        self.topology.servers.iter().map(letter).collect()
    }
}

/// What holds between any two topologies that follow each other.
fn check(old: &Topology, new: &Topology) {
    let active: Vec<_> = new.servers.iter().filter(|s| s.role == Role::Active).collect();
    assert!(active.len() <= 1, "two active masters");
    assert_eq!(active.first().map(|s| s.id), new.active);
    assert!(
        active.iter().all(|s| !s.read_only || new.servers.len() == 1),
        "an active master that is read-only beside another server"
    );
    let changed = u64::from(old.active != new.active);
    assert_eq!(new.epoch, old.epoch + changed);
    assert!(new.servers.iter().all(|s| !s.why.is_empty()));
}

fn result(server: usize, what: &str) -> Result<Seen, ProbeError> {
    let text = String::from("x");
    Err(match what {
        "refused" => ProbeError::Refused(text),
        "lost" => ProbeError::Lost(text),
        "timeout" => ProbeError::Timeout(BOUNDS.max_lag),
        "full" => ProbeError::Full(text),
        "denied" => ProbeError::Denied {
            message: text,
            hint: "",
        },
        "nonsense" => ProbeError::Unexpected(text),
        _ => return Ok(seen(server, what)),
    })
}

fn seen(server: usize, what: &str) -> Seen {
    let id = u32::try_from(server + 1).unwrap();
    let lag = what.split("lag ").nth(1).and_then(|lag| lag.split(' ').next());
    let link = Link {
        source_server_id: if what.contains("stranger") { 9 } else { 3 - id },
        receiver: match what {
            _ if what.contains("receiver stopped") => Receiver::Stopped,
            _ if what.contains("connecting") => Receiver::Connecting,
            _ => Receiver::Connected,
        },
        applying: !what.contains("applier stopped"),
        received: Position::default(),
        heard: 0,
        lag: lag.and_then(|lag| lag.parse().ok()).map(Duration::from_secs),
        applier_error: None,
        receiver_error: None,
    };
    Seen {
        version: Version {
            flavor: Flavor::MariaDb,
            number: 101_114,
            text: "10.11.14-MariaDB".into(),
        },
        reports: Arc::new(Reports::built_in(Flavor::MariaDb)),
        timeouts: None,
        at_login: None,
        server_id: id,
        read_only: match &what[..2] {
            "rw" => false,
            "ro" => true,
            _ => panic!("{what}"),
        },
        position: Position::default(),
        stream: Some(Stream::of_mariadb(0, id)),
        links: if what.contains("alone") {
            vec![]
        } else {
            vec![link]
        },
        unfit: vec![],
        untold: vec![],
    }
}

#[test]
fn stories() {
    for (name, story) in STORIES {
        let mut pair = Pair::new();
        for line in story.lines().map(str::trim) {
            let (probe, expected) = line.split_once(" → ").unwrap();
            let (server, what) = probe.split_once(": ").unwrap();
            let server = match server.split_once("s ") {
                Some((wait, server)) => {
                    pair.now += Duration::from_secs(wait[1..].parse().unwrap());
                    server
                }
                None => server,
            };
            pair.probe(usize::from(server == "b"), what);
            let got = format!("{} {}", pair.roles(), pair.topology.epoch);
            let whys: Vec<_> = pair.topology.servers.iter().map(|s| &s.why).collect();
            assert_eq!(got, expected, "{name}: {line}: {whys:?}");
        }
    }
}

/// Who uses one server through Tandem sees it as it is: read-only, it answers reads and refuses writes itself.
#[test]
fn the_only_server_is_active_while_it_is_up() {
    let mut alone = Pair::of(&["a"]);
    for (what, roles) in [
        ("rw alone", "A 1"),
        ("ro alone", "A 1"),
        ("ro lag 9", "A 1"),
        ("refused", "x 2"),
        ("ro alone", "A 3"),
    ] {
        alone.probe(0, what);
        assert_eq!(
            format!("{} {}", alone.roles(), alone.topology.epoch),
            roles,
            "{what}"
        );
    }
    assert_eq!(&*alone.topology.servers[0].why, "read-only, and the only server");
}

#[test]
fn the_reason_names_the_cause() {
    for (what, why) in [
        ("ro lag 0", "replicates from a"),
        ("rw lag 0", "replicates from a; writable too"),
        ("ro lag ?", "its lag behind a is unknown"),
        ("ro lag 6", "more than max_lag (5s) behind a"),
        ("ro alone", "does not replicate from a"),
        ("ro lag ? applier stopped", "the applier has stopped"),
        ("ro lag ? receiver stopped", "the receiver has stopped"),
        ("refused", "connection refused: x"),
    ] {
        let mut pair = Pair::new();
        assert_eq!(&*pair.topology.servers[1].why, "not probed yet");
        pair.probe(0, "rw lag 0");
        pair.probe(1, what);
        assert_eq!(&*pair.topology.servers[1].why, why);
    }
}

/// Long random sequences: [`check`] holds at each step, and one bad probe among good ones never changes the active master.
#[test]
fn any_sequence_keeps_one_writer() {
    const ALL: &[&str] = &[
        "rw lag 0",
        "rw lag 0",
        "ro lag 0",
        "ro lag 9",
        "rw lag ?",
        "rw alone",
        "ro stranger",
        "ro lag ? connecting",
        "rw lag ? applier stopped",
        "ro lag ? receiver stopped",
        "refused",
        "lost",
        "timeout",
        "timeout",
        "full",
        "denied",
        "nonsense",
    ];
    let mut random: u64 = 7;
    let mut pick = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % n
    };
    for _ in 0..200 {
        let mut pair = Pair::new();
        for _ in 0..100 {
            pair.probe(pick(2), ALL[pick(ALL.len())]);
        }
        pair.probe(0, "rw lag 0");
        pair.probe(1, "rw lag 0");
        let before = (pair.topology.active, pair.topology.epoch);
        for blip in ["timeout", "nonsense", "full", "denied"] {
            let server = pick(2);
            pair.probe(server, blip);
            pair.probe(server, "rw lag 0");
            assert_eq!((pair.topology.active, pair.topology.epoch), before);
        }
    }
}

#[test]
fn the_mark_goes_on_while_the_active_master_stays() {
    let mut pair = Pair::new();
    pair.probe(0, "rw lag 0");
    assert!(pair.topology.mark.is_none(), "nobody is active yet");
    pair.probe(1, "ro lag 0");
    let first = pair.topology.mark.clone().unwrap();
    assert_eq!(first.stream(), Stream::of_mariadb(0, 1));
    pair.probe(0, "rw lag 0");
    assert!(Arc::ptr_eq(&first, pair.topology.mark.as_ref().unwrap()));
    pair.probe(0, "refused");
    assert!(pair.topology.mark.is_none());
    pair.probe(1, "rw lag ? connecting");
    let second = pair.topology.mark.clone().unwrap();
    assert_eq!(second.stream(), Stream::of_mariadb(0, 2));
}

/// A statement can be under way all the time while the monitor takes a server for dead.
#[test]
fn a_mark_knows_the_one_before_it_of_the_same_server() {
    let mut pair = Pair::new();
    pair.probe(0, "rw lag 0");
    pair.probe(1, "ro lag 0");
    let debts = |pair: &Pair| pair.topology.mark.as_ref().unwrap().ledger().debts();
    assert_eq!(debts(&pair), 0, "nothing was before");
    pair.probe(0, "refused");
    pair.probe(0, "refused");
    pair.probe(0, "rw lag 0");
    assert_eq!(debts(&pair), 1);
    pair.probe(0, "refused");
    pair.probe(1, "rw lag ? connecting");
    assert_eq!(debts(&pair), 0, "another server's commits are others");
}

#[test]
fn a_mark_ends_when_larger_numbers_are_no_later_commits_any_more() {
    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mut pair = Pair::new();
    let mut told = |numbers: &str| {
        for (server, what) in [(0, "rw lag 0"), (1, "ro lag 0")] {
            let mut seen = seen(server, what);
            seen.stream = Stream::of_mysql(UUID);
            seen.position = Position::parse_mysql(&format!("{UUID}:{numbers}")).unwrap();
            pair.take(server, Ok(seen));
        }
        pair.topology.mark.clone().unwrap()
    };
    let first = told("1-7");
    let same = |mark: &Arc<Mark>, other: &Arc<Mark>| Arc::ptr_eq(mark, other);
    assert!(same(&first, &told("1-9:11")), "one is on its way");
    assert!(same(&first, &told("1-12:14")), "another one");
    assert!(same(&first, &told("1-14:1000")), "perhaps by hand");
    let second = told("1-15:1000");
    assert!(!same(&first, &second));
    assert!(same(&second, &told("1-20:1000")));
    assert!(same(&second, &told("1-1001")), "the gap is closed");
    assert!(!same(&second, &told("1-3")), "RESET BINARY LOGS AND GTIDS");
}

#[test]
fn a_standby_that_comes_back_gets_its_reads_back_gradually() {
    let mut pair = Pair::new();
    pair.probe(0, "rw lag 0");
    pair.probe(1, "ro lag 0");
    assert_eq!(pair.topology.servers[1].share, 100, "it never had to stop");
    pair.probe(1, "ro lag 6");
    let shares: Vec<u32> = [0, 1, 4, 4, 4]
        .into_iter()
        .map(|seconds| {
            pair.now += Duration::from_secs(seconds);
            pair.probe(1, "ro lag 0");
            pair.topology.servers[1].share
        })
        .collect();
    assert_eq!(shares, [5, 11, 52, 93, 100]);
}

/// The servers' own word is 0 as long as the receiver has not received what is missing.
#[test]
fn what_a_standby_lacks_counts_as_lag_whatever_it_says_itself() {
    let mut pair = Pair::new();
    let at = |server: usize, position: &str| {
        Ok(Seen {
            position: Position::parse_mariadb(position).unwrap(),
            ..seen(server, ["rw lag 0", "ro lag 0"][server])
        })
    };
    for server in [0, 1, 0, 1] {
        pair.take(server, at(server, "0-1-10"));
    }
    for _ in 0..30 {
        pair.take(0, at(0, "0-1-20"));
        pair.take(1, at(1, "0-1-10"));
    }
    let standby = &pair.topology.servers[1];
    assert_eq!(standby.role, Role::Detached, "{}", standby.why);
    let lag = standby.replication.as_ref().and_then(|link| link.lag);
    assert!(lag > Some(BOUNDS.max_lag), "{lag:?}");
    pair.take(1, at(1, "0-1-20"));
    assert_eq!(pair.topology.servers[1].role, Role::Standby);
}
