use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::*;
use crate::monitor::health::{Answer, Heard};
use crate::monitor::observation::Seen;
use crate::topology::gtid::{Position, Stream};
use crate::topology::reports::Reports;
use crate::topology::{Flavor, Version};

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

const RULES: Rules = Rules {
    automatic: true,
    hang_time: Duration::from_secs(2),
    unreachable_time: Duration::from_secs(5),
    apply_timeout: Duration::from_secs(60),
    min_interval: Duration::from_secs(60),
    switchover_timeout: Duration::from_secs(10),
    failback: None,
    failback_window: None,
};

/// Late enough to look back from.
static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(1000));

fn ago(ms: u64) -> Instant {
    *NOW - Duration::from_millis(ms)
}

fn ahead(ms: u64) -> Instant {
    *NOW + Duration::from_millis(ms)
}

/// A server of the pair that answered lately, read-only, its channel from the other connected and applying.
pub(in crate::failover) fn server(id: ServerId) -> Health {
    let own = u32::try_from(id.0).unwrap() + 1;
    let source = 3 - own;
    let seen = Seen {
        version: Version {
            flavor: Flavor::MariaDb,
            number: 101_114,
            text: "10.11.14-MariaDB".into(),
        },
        reports: Arc::new(Reports::built_in(Flavor::MariaDb)),
        timeouts: None,
        at_login: None,
        server_id: own,
        read_only: true,
        position: Position::parse_mariadb("0-1-10").unwrap(),
        stream: Some(Stream::of_mariadb(0, own)),
        links: vec![Link {
            source_server_id: source,
            receiver: Receiver::Connected,
            applying: true,
            received: Position::default(),
            heard: 7,
            lag: Some(Duration::ZERO),
            applier_error: None,
            receiver_error: None,
        }],
        unfit: Vec::new(),
        untold: Vec::new(),
    };
    let mut health = Health {
        state: State::Up,
        answer: Some(Arc::new(Answer {
            asked_at: ago(100),
            took: Duration::from_millis(1),
            seen,
        })),
        ..Health::default()
    };
    health.heard = vec![Heard::new(source, ago(100))];
    health
}

fn change(health: &mut Health, with: impl FnOnce(&mut Seen)) {
    let answer = Arc::make_mut(health.answer.as_mut().unwrap());
    with(&mut answer.seen);
}

pub(in crate::failover) fn writable(mut health: Health) -> Health {
    change(&mut health, |seen| seen.read_only = false);
    health
}

fn standing_at(mut health: Health, position: &str) -> Health {
    change(&mut health, |seen| {
        seen.position = Position::parse_mariadb(position).unwrap();
    });
    health
}

fn receiver(mut health: Health, state: Receiver) -> Health {
    change(&mut health, |seen| seen.links[0].receiver = state);
    health
}

fn applier_stopped(mut health: Health) -> Health {
    change(&mut health, |seen| {
        seen.links[0].applying = false;
        seen.links[0].applier_error = Some("Duplicate entry (1062)".into());
    });
    health
}

/// It heard something new of the other last at this time.
fn heard_at(mut health: Health, at: Instant) -> Health {
    let source = health.answer.as_ref().unwrap().seen.links[0].source_server_id;
    health.heard = vec![Heard::new(source, at)];
    health
}

/// It has failed since then, so often.
fn failing(mut health: Health, error: ProbeError, since: Instant, failures: u32) -> Health {
    let answered = Arc::make_mut(health.answer.as_mut().unwrap());
    answered.asked_at = since - Duration::from_millis(100);
    health.state = State::Down;
    health.failure = Some(error);
    health.failing_since = Some(since);
    health.failures = failures;
    health
}

fn refused() -> ProbeError {
    ProbeError::Refused("Connection refused".to_owned())
}

fn silent() -> ProbeError {
    ProbeError::Timeout(Duration::from_millis(500))
}

/// What the verdict is, without its words.
fn verdict(active: &Health, standby: &Health) -> &'static str {
    match judge(active, standby, &RULES, *NOW) {
        Verdict::Alive => "alive",
        Verdict::Suspect { .. } => "suspect",
        Verdict::Dead { .. } => "dead",
    }
}

/// Suspected until when.
fn suspected_until(active: &Health, standby: &Health) -> Option<Instant> {
    match judge(active, standby, &RULES, *NOW) {
        Verdict::Suspect { until, .. } => until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_dead_at_once_when_it_refuses_twice_and_the_standby_has_lost_it_too() {
    let standby = receiver(server(B), Receiver::Connecting);
    for error in [refused(), ProbeError::Lost("reset".to_owned())] {
        let active = |failures| failing(server(A), error.clone(), ago(200), failures);
        assert_eq!(verdict(&active(1), &standby), "suspect", "once may be a restart");
        assert_eq!(verdict(&active(2), &standby), "dead");
    }
}

#[test]
fn what_the_standby_said_before_the_first_failure_is_no_word_of_its_death() {
    let active = failing(server(A), refused(), ago(50), 2);
    let standby = receiver(server(B), Receiver::Connecting);
    assert_eq!(
        verdict(&active, &standby),
        "suspect",
        "the standby was asked 100 ms ago"
    );
}

#[test]
fn one_that_refuses_and_whose_standby_hears_nothing_is_dead_after_the_hang_time() {
    let active = |since| failing(server(A), refused(), since, 9);
    let standby = heard_at(server(B), ago(5000));
    assert_eq!(suspected_until(&active(ago(1900)), &standby), Some(ahead(100)));
    assert_eq!(verdict(&active(ago(2000)), &standby), "dead");
}

#[test]
fn one_that_hangs_is_dead_after_the_hang_time() {
    let active = |since| failing(server(A), silent(), since, 9);
    for standby in [
        heard_at(server(B), ago(5000)),
        receiver(server(B), Receiver::Connecting),
        receiver(server(B), Receiver::Stopped),
    ] {
        assert_eq!(suspected_until(&active(ago(1900)), &standby), Some(ahead(100)));
        assert_eq!(verdict(&active(ago(2000)), &standby), "dead");
    }
}

#[test]
fn one_of_which_the_standby_still_hears_is_dead_after_the_unreachable_time_only() {
    for error in [refused(), silent()] {
        let active = |since| failing(server(A), error.clone(), since, 9);
        let hears = server(B);
        assert_eq!(suspected_until(&active(ago(4900)), &hears), Some(ahead(100)));
        assert_eq!(verdict(&active(ago(5000)), &hears), "dead");
        let heard = heard_at(server(B), ago(1000));
        assert_eq!(
            suspected_until(&active(ago(2900)), &heard),
            Some(ahead(1000)),
            "the hang begins when it was heard last"
        );
    }
}

#[test]
fn one_that_answers_anything_lives() {
    let standby = receiver(server(B), Receiver::Connecting);
    let full = ProbeError::Full("Too many connections (1040)".to_owned());
    let denied = ProbeError::Denied {
        message: "Access denied (1045)".to_owned(),
        hint: "",
    };
    for error in [full, denied] {
        let active = failing(server(A), error, ago(60_000), 99);
        assert_eq!(verdict(&active, &standby), "alive");
    }
    assert_eq!(
        verdict(&server(A), &standby),
        "alive",
        "also when only the standby lost it"
    );
}

#[test]
fn nothing_is_decided_while_neither_answers() {
    let active = failing(server(A), refused(), ago(60_000), 99);
    let down = failing(server(B), refused(), ago(60_000), 99);
    assert_eq!(suspected_until(&active, &down), None);
    let mut stale = server(B);
    Arc::make_mut(stale.answer.as_mut().unwrap()).asked_at = ago(2000);
    assert_eq!(
        suspected_until(&active, &stale),
        None,
        "an old answer is no answer"
    );
    assert_eq!(suspected_until(&active, &Health::default()), None);
    assert_eq!(
        suspected_until(&Health::default(), &server(B)),
        None,
        "not probed yet"
    );
}

#[test]
fn the_time_in_which_neither_answered_does_not_count() {
    let active = failing(server(A), silent(), ago(60_000), 99);
    let mut standby = heard_at(server(B), ago(70_000));
    standby.answering_since = Some(ago(1500));
    assert_eq!(suspected_until(&active, &standby), Some(ahead(500)));
    standby.answering_since = Some(ago(2000));
    assert_eq!(verdict(&active, &standby), "dead");
}

#[test]
fn a_server_without_a_known_number_is_found_by_its_only_channel() {
    // Tandem was started after the active master's death, and so was the standby.
    let mut active = failing(server(A), refused(), ago(300), 3);
    active.answer = None;
    let mut standby = receiver(server(B), Receiver::Connecting);
    change(&mut standby, |seen| seen.links[0].source_server_id = 0);
    assert_eq!(verdict(&active, &standby), "dead");
}

/// Writes at the active master have not ended since then.
fn stalled(awaits: Awaits, since: Instant) -> Standing {
    let stall = Stall {
        since,
        awaits,
        what: "Commit".to_owned(),
    };
    Standing {
        stall: Some(stall),
        ..serving()
    }
}

#[test]
fn one_that_answers_and_writes_nothing_is_dead_after_the_unreachable_time() {
    let health = [writable(server(A)), server(B)];
    let verdict = |since| judge_active(&stalled(Awaits::Server, since), &health, &RULES, *NOW);
    assert_eq!(verdict(ago(900)), Some(Verdict::Alive));
    assert!(matches!(verdict(ago(4900)), Some(Verdict::Suspect { until, .. }) if until == Some(ahead(100))));
    assert!(matches!(verdict(ago(5000)), Some(Verdict::Dead { .. })));
    let intent = decide(&stalled(Awaits::Server, ago(5000)), &health, &RULES, *NOW);
    assert!(matches!(intent, Intent::FailOver { to: B, .. }), "{intent:?}");
}

#[test]
fn commits_that_wait_for_a_standby_that_hears_nothing_wait_for_the_hang_time() {
    let health = [standing_at(writable(server(A)), "0-1-11"), server(B)];
    let intent = |standing: &Standing| decide(standing, &health, &RULES, *NOW);
    assert_eq!(intent(&stalled(Awaits::Receipt, ago(1900))), Intent::Wait(None));
    let late = stalled(Awaits::Receipt, ago(2000));
    assert_eq!(intent(&late), Intent::GoAlone(A));
    // Its receiver still takes itself for connected, and has heard something last 100 ms ago.
    let mut alone = Standing {
        alone: Some(true),
        alone_since: Some(ago(50)),
        stall: None,
        ..late
    };
    assert_eq!(intent(&alone), Intent::Wait(None));
    alone.alone_since = Some(ago(150));
    assert_eq!(intent(&alone), Intent::Together(A));
}

fn serving() -> Standing {
    Standing {
        epoch: 1,
        active: Some(A),
        seen: true,
        semi_sync: true,
        alone: Some(false),
        ..Standing::default()
    }
}

#[test]
fn each_obstacle_is_named() {
    let dead = failing(server(A), refused(), ago(300), 3);
    let lost = receiver(server(B), Receiver::Connecting);
    let named = |standing: &Standing, standby: &Health, rules: &Rules| {
        obstacles(standing, &[dead.clone(), standby.clone()], rules, *NOW).join("; ")
    };
    assert_eq!(named(&serving(), &lost, &RULES), "");
    let with = |change: fn(&mut Standing)| {
        let mut standing = serving();
        change(&mut standing);
        standing
    };
    let mut elsewhere = server(B);
    change(&mut elsewhere, |seen| seen.links[0].source_server_id = 77);
    let manual = Rules {
        automatic: false,
        ..RULES
    };
    for (standing, standby, rules, words) in [
        (
            with(|s| s.quarantined = Some(B)),
            &lost,
            &RULES,
            "the standby is quarantined",
        ),
        (with(|s| s.paused = true), &lost, &RULES, "paused by an operator"),
        (with(|s| s.drained = Some(B)), &lost, &RULES, "is drained"),
        (with(|s| s.seen = false), &lost, &RULES, "not seen alive"),
        (
            with(|s| s.last_failover = Some(ago(10_000))),
            &lost,
            &RULES,
            "automatic in 51 s",
        ),
        (
            with(|s| s.stopped = Some(Stopped::new(None, "it lacks 3 commits".to_owned(), *NOW))),
            &lost,
            &RULES,
            "the last attempt was stopped, and the next is in 2 s: it lacks 3 commits",
        ),
        (
            with(|s| s.active = None),
            &lost,
            &RULES,
            "there is no active master",
        ),
        (serving(), &Health::default(), &RULES, "does not answer"),
        (
            serving(),
            &applier_stopped(lost.clone()),
            &RULES,
            "Duplicate entry",
        ),
        (serving(), &elsewhere, &RULES, "does not replicate from"),
        (serving(), &lost, &manual, "failover.mode is \"manual\""),
    ] {
        let named = named(&standing, standby, rules);
        assert!(named.contains(words), "{named:?} has no {words:?}");
    }
    let restarted = with(|s| {
        s.seen = false;
        s.promoting = Some(B);
    });
    assert_eq!(
        named(&restarted, &lost, &RULES),
        "",
        "what was begun may be carried on"
    );
    let mut stopped = lost.clone();
    change(&mut stopped, |seen| seen.links[0].applying = false);
    assert!(named(&serving(), &stopped, &RULES).contains("it was stopped"));
    assert_eq!(
        named(&restarted, &stopped, &RULES),
        "",
        "who began it has stopped it"
    );
    let tried = with(|s| s.stopped = Some(Stopped::new(None, String::new(), ago(5000))));
    assert_eq!(
        named(&tried, &stopped, &RULES),
        "",
        "the attempt before has stopped it"
    );
}

#[test]
fn whoever_is_writable_is_adopted_or_else_who_has_everything() {
    let adopted = |a: Health, b: Health| match decide(&Standing::default(), &[a, b], &RULES, *NOW) {
        Intent::Adopt(id) => Some(id),
        Intent::Wait(_) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        adopted(writable(server(A)), writable(server(B))),
        Some(A),
        "the first"
    );
    assert_eq!(adopted(server(A), writable(server(B))), Some(B));
    let behind = standing_at(server(A), "0-1-9");
    assert_eq!(adopted(behind, server(B)), Some(B), "both read-only, b has more");
    assert_eq!(adopted(server(A), server(B)), Some(A), "both have all");
    let apart = standing_at(server(A), "0-1-9,1-1-1");
    assert_eq!(adopted(apart, server(B)), None, "each has what the other lacks");
    let down = failing(server(B), refused(), ago(9000), 9);
    assert_eq!(
        adopted(server(A), down.clone()),
        None,
        "the one that is down may have more"
    );
    assert_eq!(adopted(writable(server(A)), down), Some(A));
    assert_eq!(adopted(server(A), Health::default()), None);
}

#[test]
fn an_answer_from_before_it_was_opened_does_not_say_that_it_is_closed() {
    let standing = Standing {
        opened: Some(ago(50)),
        ..serving()
    };
    let health = [server(A), server(B)];
    assert_eq!(decide(&standing, &health, &RULES, *NOW), Intent::Wait(None));
    let standing = Standing {
        opened: Some(ago(150)),
        ..serving()
    };
    assert_eq!(decide(&standing, &health, &RULES, *NOW), Intent::Open(A));
}

#[test]
fn what_failed_is_not_tried_again_before_its_time() {
    let standing = Standing {
        retry_at: Some(ahead(10)),
        ..serving()
    };
    let health = [server(A), writable(server(B))];
    assert_eq!(
        decide(&standing, &health, &RULES, *NOW),
        Intent::Wait(Some(ahead(10)))
    );
    assert_eq!(decide(&standing, &health, &RULES, ahead(10)), Intent::Guard(B));
}

#[test]
fn the_first_server_becomes_active_again_after_the_pair_was_whole_for_long_enough() {
    let rules = Rules {
        failback: Some(Duration::from_secs(600)),
        ..RULES
    };
    let standing = |active, since| Standing {
        active: Some(active),
        whole_since: Some(since),
        ..serving()
    };
    let health = [server(A), writable(server(B))];
    assert!(is_whole(&standing(B, ago(0)), &health, *NOW));
    let decided = |standing: &Standing, rules| decide(standing, &health, rules, *NOW);
    assert_eq!(decided(&standing(B, ago(600_000)), &rules), Intent::FailBack(A));
    assert_eq!(
        decided(&standing(B, ago(599_000)), &rules),
        Intent::Wait(Some(ahead(1000)))
    );
    assert_eq!(
        decided(&standing(B, ago(600_000)), &RULES),
        Intent::Wait(None),
        "never"
    );
    let at_night = Rules {
        failback_window: Some(DayWindow::new(120, 240)),
        ..rules
    };
    for (minute, intent) in [
        (60, Intent::Wait(Some(ahead(60_000)))),
        (120, Intent::FailBack(A)),
    ] {
        let standing = Standing {
            minute,
            ..standing(B, ago(600_000))
        };
        assert_eq!(decided(&standing, &at_night), intent);
    }
    let paused = Standing {
        paused: true,
        ..standing(B, ago(600_000))
    };
    assert_eq!(decided(&paused, &rules), Intent::Wait(None));
    let health = [writable(server(A)), server(B)];
    let preferred = decide(&standing(A, ago(600_000)), &health, &rules, *NOW);
    assert_eq!(preferred, Intent::Wait(None), "it is");
    for sick in [
        receiver(server(B), Receiver::Connecting),
        applier_stopped(server(B)),
        failing(server(B), silent(), ago(300), 1),
    ] {
        assert!(!is_whole(
            &standing(A, ago(0)),
            &[writable(server(A)), sick],
            *NOW
        ));
    }
}

/// What is remembered, by the name that the table gives it.
fn standings() -> Vec<(&'static str, Standing, Rules)> {
    let serving = serving();
    let on = |change: fn(&mut Standing)| {
        let mut standing = serving.clone();
        change(&mut standing);
        standing
    };
    vec![
        ("no journal: nobody is active yet", Standing::default(), RULES),
        ("serving", serving.clone(), RULES),
        (
            "serving, not seen alive since the start",
            on(|s| s.seen = false),
            RULES,
        ),
        ("paused", on(|s| s.paused = true), RULES),
        (
            "failover.mode is \"manual\"",
            serving.clone(),
            Rules {
                automatic: false,
                ..RULES
            },
        ),
        (
            "a failover lately",
            on(|s| s.last_failover = Some(ago(10_000))),
            RULES,
        ),
        (
            "serving, its commits wait for a receipt",
            stalled(Awaits::Receipt, ago(4000)),
            RULES,
        ),
        (
            "serving, it writes nothing",
            stalled(Awaits::Server, ago(9000)),
            RULES,
        ),
        ("b was away", on(|s| s.away = Some(B)), RULES),
        ("b is drained", on(|s| s.drained = Some(B)), RULES),
        (
            "a was promoted and not seen writable yet",
            on(|s| s.fresh = true),
            RULES,
        ),
        (
            "b was away, commits wait for nobody",
            on(|s| {
                s.away = Some(B);
                s.alone = Some(true);
            }),
            RULES,
        ),
        (
            "b was away, commits wait for it again",
            on(|s| s.exposed = true),
            RULES,
        ),
        (
            "b is quarantined",
            on(|s| {
                s.away = Some(B);
                s.alone = Some(true);
                s.quarantined = Some(B);
            }),
            RULES,
        ),
        (
            "restarted in the middle of a promotion of b",
            on(|s| {
                s.seen = false;
                s.away = Some(B);
                s.promoting = Some(B);
            }),
            RULES,
        ),
    ]
}

/// What a server looks like, by the name that the table gives it.
fn sights(id: ServerId) -> Vec<(&'static str, Health)> {
    let mut sights = vec![
        ("rw", writable(server(id))),
        ("ro", server(id)),
        ("ro, hears nothing", heard_at(server(id), ago(60_000))),
        ("ro, lost it", receiver(server(id), Receiver::Connecting)),
        ("ro, receiver off", receiver(server(id), Receiver::Stopped)),
        ("ro, applier off", applier_stopped(server(id))),
    ];
    if id == A {
        sights.truncate(1);
        sights.extend([
            (
                "rw, lost it",
                receiver(writable(server(id)), Receiver::Connecting),
            ),
            ("ro", server(id)),
        ]);
    }
    sights.extend([
        ("hangs", failing(server(id), silent(), ago(4000), 8)),
        ("refuses", failing(server(id), refused(), ago(1000), 4)),
        ("not probed", Health::default()),
    ]);
    sights
}

fn named(intent: &Intent, standing: &Standing, health: &[Health], rules: &Rules) -> String {
    let name = |id: &ServerId| ["a", "b"][id.0];
    match intent {
        Intent::Wait(_) => match judge_active(standing, health, rules, *NOW) {
            None | Some(Verdict::Alive) => "wait".to_owned(),
            Some(Verdict::Suspect { .. }) => "suspect".to_owned(),
            Some(Verdict::Dead { .. }) => "dead, wait".to_owned(),
        },
        Intent::Adopt(id) => format!("adopt {}", name(id)),
        Intent::Open(id) => format!("open {}", name(id)),
        Intent::Guard(id) => format!("guard {}", name(id)),
        Intent::Withdraw => "withdraw".to_owned(),
        Intent::Settle => "settle".to_owned(),
        Intent::Rejoin(id) => format!("rejoin {}", name(id)),
        Intent::GoAlone(id) => format!("{} alone", name(id)),
        Intent::Together(id) => format!("{} together", name(id)),
        Intent::Cover(id) => format!("{} covers", name(id)),
        Intent::FailBack(id) => format!("fail back to {}", name(id)),
        Intent::FailOver { to, .. } => format!("promote {}", name(to)),
    }
}

/// Every standing and every pair of sights, with what is decided.
#[test]
fn every_decision_stands_in_the_table() {
    let mut table = String::from(
        "What judge::decide does with what it remembers (a is the active master but in the first) and what the two servers look like: a down, b \
         across.\nWritten by `TANDEM_REWRITE=1 cargo test --workspace --lib failover::judge`; look at what changes before you commit it.\n",
    );
    for (title, standing, rules) in standings() {
        write!(table, "\n{title}\n{:<12}", "").unwrap();
        for (standby, _) in sights(B) {
            write!(table, "| {standby:<17}").unwrap();
        }
        for (active, first) in sights(A) {
            write!(table, "\n{active:<12}").unwrap();
            for (_, second) in sights(B) {
                let health = [first.clone(), second];
                let intent = decide(&standing, &health, &rules, *NOW);
                write!(table, "| {:<17}", named(&intent, &standing, &health, &rules)).unwrap();
            }
        }
        table.push('\n');
    }
    let table: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/failover/judge/table.txt");
    if std::env::var_os("TANDEM_REWRITE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    for (new, old) in table.lines().zip(known.lines()) {
        assert_eq!(new, old, "the decisions differ from {}", path.display());
    }
    assert_eq!(table.lines().count(), known.lines().count());
}
