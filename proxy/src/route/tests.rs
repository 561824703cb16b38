use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::classify::facts::{Kind, Links, Pins, Tables};
use crate::classify::hint::Hints;
use crate::classify::identity::Identified;
use crate::classify::matched::Matched;
use crate::classify::tally::Tally;
use crate::topology::gtid::{Position, Stream};
use crate::topology::mark::Mark;
use crate::topology::{Role, Server};

fn facts(purity: Purity) -> Facts {
    Facts {
        kind: Kind::Select,
        purity,
        pins: Pins::empty(),
        unpins: Pins::empty(),
        links: Links::empty(),
        unreported: Vec::new(),
        tables: Tables::default(),
        hints: Hints::default(),
        tally: Tally::default(),
        matched: Matched::default(),
        parts: Identified::default(),
    }
}

fn server(id: usize, role: Role, position: &str, asked: Option<Instant>) -> Server {
    Server {
        id: ServerId(id),
        name: Arc::from(if id == 0 { "a" } else { "b" }),
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 3306)).into(),
        weight: 1,
        role,
        standby_since: None,
        share: 100,
        why: Arc::from(""),
        version: None,
        reports: None,
        timeouts: None,
        at_login: None,
        read_only: role != Role::Active,
        replication: None,
        position: Position::parse_mariadb(position).expect("a position"),
        position_asked: asked,
        probe_time: None,
        error: None,
    }
}

fn pair(standby: Role, standby_position: &str) -> Topology {
    Topology {
        epoch: 1,
        holding: None,
        given_up: None,
        servers: vec![
            server(0, Role::Active, "0-1-10", None),
            server(1, standby, standby_position, None),
        ],
        active: Some(ServerId(0)),
        mark: None,
        former: None,
    }
}

fn free() -> Situation {
    Situation {
        held: None,
        autocommit_off: false,
        serializable: false,
        system_schema: false,
        schema: None,
        level: Level::Session,
        waits: false,
        delayed: None,
        written: Written::Nothing,
        aim: Aim::Any,
    }
}

fn to_standby(_: ServerId, standby: ServerId) -> ServerId {
    standby
}

fn decided(facts: &Facts, situation: &Situation, topology: &Topology) -> (usize, Reason) {
    let decision = decide(facts, situation, topology, to_standby).expect("a target");
    (decision.server.0, decision.reason)
}

#[test]
fn a_pure_read_is_balanced_and_everything_else_goes_to_the_active_master() {
    let topology = pair(Role::Standby, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &free(), &topology),
        (1, Reason::Balanced)
    );
    assert_eq!(
        decided(&facts(Purity::Writes), &free(), &topology),
        (0, Reason::Writes)
    );
    assert_eq!(
        decided(&facts(Purity::LockingRead), &free(), &topology),
        (0, Reason::LockingRead)
    );
}

#[test]
fn a_session_reads_its_own_write_on_the_active_master_until_the_standby_has_it() {
    let wrote = Situation {
        written: Written::At(Gtid::parse_mariadb("0-1-10").expect("a gtid")),
        ..free()
    };
    let behind = pair(Role::Standby, "0-1-9");
    assert_eq!(
        decided(&facts(Purity::Pure), &wrote, &behind),
        (0, Reason::OwnWrite)
    );
    let applied = pair(Role::Standby, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &wrote, &applied),
        (1, Reason::Balanced)
    );
    // Known between two probes.
    let mark = Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), None, None);
    let marked = Topology {
        mark: Some(Arc::clone(&mark)),
        ..behind
    };
    for (number, expected) in [(9, (0, Reason::OwnWrite)), (10, (1, Reason::Balanced))] {
        mark.apply(ServerId(1), number);
        assert_eq!(decided(&facts(Purity::Pure), &wrote, &marked), expected);
    }
}

#[test]
fn a_held_connection_takes_every_statement() {
    let held = Situation {
        held: Some(Held {
            server: ServerId(0),
            reason: Reason::Transaction,
        }),
        ..free()
    };
    let topology = pair(Role::Standby, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &held, &topology),
        (0, Reason::Transaction)
    );
}

#[test]
fn without_a_standby_reads_go_to_the_active_master() {
    let topology = pair(Role::Detached, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &free(), &topology),
        (0, Reason::NoStandby)
    );
}

#[test]
fn without_an_active_master_reads_go_on_and_writes_are_refused() {
    let mut topology = pair(Role::Standby, "0-1-10");
    topology.active = None;
    topology.servers[0].role = Role::Down;
    assert_eq!(
        decided(&facts(Purity::Pure), &free(), &topology),
        (1, Reason::Balanced)
    );
    assert_eq!(
        decide(&facts(Purity::Writes), &free(), &topology, to_standby),
        Err(NoActive)
    );
}

#[test]
fn serializable_reads_lock_and_so_go_to_the_active_master() {
    let serializable = Situation {
        serializable: true,
        ..free()
    };
    let topology = pair(Role::Standby, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &serializable, &topology),
        (0, Reason::Serializable)
    );
}

#[test]
fn without_autocommit_a_read_begins_a_transaction_and_so_goes_to_the_active_master() {
    let off = Situation {
        autocommit_off: true,
        ..free()
    };
    let topology = pair(Role::Standby, "0-1-10");
    assert_eq!(
        decided(&facts(Purity::Pure), &off, &topology),
        (0, Reason::AutocommitOff)
    );
}

#[test]
fn a_write_of_unknown_position_has_spread_once_both_servers_were_asked_after_it() {
    let wrote = Instant::now();
    let later = wrote + Duration::from_millis(1);
    let mut topology = pair(Role::Standby, "0-1-10");
    assert!(
        !has_spread(wrote, &topology),
        "the active master was not asked since"
    );
    topology.servers[0].position_asked = Some(later);
    assert!(has_spread(wrote, &topology));
    topology.servers[1].position = Position::parse_mariadb("0-1-9").expect("a position");
    assert!(!has_spread(wrote, &topology), "the standby is behind");
}

#[test]
fn every_reason_has_its_own_name_and_place() {
    let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index);
    }
}

#[test]
fn a_write_waits_once_in_a_switchover_in_one_moment_or_at_its_pace() {
    let write = facts(Purity::Writes);
    let at = |holding, delayed| {
        let topology = Topology {
            holding,
            ..pair(Role::Standby, "0-1-10")
        };
        let situation = Situation { delayed, ..free() };
        decide(&write, &situation, &topology, to_standby).is_ok()
    };
    let by = |ms, moment| {
        let by = Duration::from_millis(ms);
        Some(Delayed { by, moment })
    };
    assert!(at(None, None) && at(None, by(1, Some(3))));
    let moment = |number| Some(Holding::Moment(number));
    assert!(!at(moment(3), None) && !at(moment(3), by(99, Some(3))));
    assert!(at(moment(4), by(1, Some(3))), "held in another");
    assert!(at(moment(4), by(1, None)), "was waiting when it began");
    let paced = Some(Holding::Paced(Duration::from_millis(25)));
    assert!(!at(paced, None) && !at(paced, by(24, Some(3))));
    assert!(at(paced, by(25, None)));
}

/// A rule says where pure reads are answered, and nothing else: not of writes, nor of what a connection holds, nor of a standby
/// that lacks what the read must see.
#[test]
fn a_rule_moves_pure_reads_and_breaks_nothing() {
    let aimed = |aim| Situation { aim, ..free() };
    let (read, write) = (facts(Purity::Pure), facts(Purity::Writes));
    let whole = pair(Role::Standby, "0-1-10");
    let (a, b) = (Aim::Server(ServerId(0)), Aim::Server(ServerId(1)));
    for (aim, target) in [
        (Aim::Any, (1, Reason::Balanced)),
        (Aim::Active, (0, Reason::Rule)),
        (a, (0, Reason::Rule)),
        (Aim::Standby, (1, Reason::Rule)),
        (b, (1, Reason::Rule)),
    ] {
        assert_eq!(decided(&read, &aimed(aim), &whole), target, "{aim:?}");
        assert_eq!(
            decided(&write, &aimed(aim), &whole),
            (0, Reason::Writes),
            "{aim:?}"
        );
        let off = Situation {
            autocommit_off: true,
            ..aimed(aim)
        };
        assert_eq!(
            decided(&read, &off, &whole),
            (0, Reason::AutocommitOff),
            "{aim:?}"
        );
        let held = Situation {
            held: Some(Held {
                server: ServerId(0),
                reason: Reason::Transaction,
            }),
            ..aimed(aim)
        };
        assert_eq!(decided(&read, &held, &whole), (0, Reason::Transaction), "{aim:?}");
    }
    let wrote = Situation {
        written: Written::At(Gtid::parse_mariadb("0-1-11").expect("a gtid")),
        ..aimed(Aim::Standby)
    };
    assert_eq!(decided(&read, &wrote, &whole), (0, Reason::OwnWrite));
    let gone = pair(Role::Down, "0-1-10");
    assert_eq!(
        decided(&read, &aimed(Aim::Standby), &gone),
        (0, Reason::NoStandby)
    );
    let mut idle = pair(Role::Standby, "0-1-10");
    idle.servers[1].weight = 0;
    assert_eq!(decided(&read, &free(), &idle), (0, Reason::NoStandby));
    assert_eq!(decided(&read, &aimed(Aim::Standby), &idle), (1, Reason::Rule));
    let mut alone = pair(Role::Standby, "0-1-10");
    alone.active = None;
    assert_eq!(
        decided(&read, &aimed(Aim::Active), &alone),
        (1, Reason::Balanced),
        "better than an error"
    );
}
