use super::*;
use crate::dashboard::{Connections, Failover, PauseState};

fn server(name: &str, role: &str) -> ServerState {
    ServerState {
        name: name.to_owned(),
        role: role.to_owned(),
        why: "connection refused: Connection refused (os error 111)".to_owned(),
        lag_ms: Some(0),
        connections: Connections {
            limit: 10,
            ..Connections::default()
        },
        ..ServerState::default()
    }
}

fn state(a: &str, b: &str) -> State {
    State {
        servers: vec![server("a", a), server("b", b)],
        failover: Some(Failover {
            state: "watching".to_owned(),
            ..Failover::default()
        }),
        ..State::default()
    }
}

fn judged(state: &State) -> (Level, String) {
    let verdict = verdict(state, false, &Minute::default());
    (verdict.level, verdict.headline)
}

/// A Tandem that follows doesn't know what would keep the one that decides from a failover, and is no reason to wake anybody.
#[test]
fn one_that_follows_another_does_not_say_that_nobody_could_take_over() {
    let following = |a, b| {
        let mut state = state(a, b);
        state.failover = Some(Failover {
            state: "follows tandem-1".to_owned(),
            obstacles: vec!["tandem-1 decides; its own SHOW FAILOVER tells".to_owned()],
            role: Some("follower".to_owned()),
            leader: Some("tandem-1".to_owned()),
            ..Failover::default()
        });
        state
    };
    let well = verdict(&following("active", "standby"), false, &Minute::default());
    assert_eq!((well.level, well.headline.as_str()), (Level::Ok, "All is well"));
    assert!(well.meaning.contains("tandem-1 decides"), "{well:?}");
    assert_eq!(well.notes, []);
    assert_eq!(
        judged(&following("down", "standby")),
        (
            Level::Bad,
            "No active master: this Tandem follows tandem-1".to_owned()
        )
    );
    // One whose lease is nobody's, or that has lost etcd, knows that there is no failover.
    let mut nobody = following("active", "standby");
    nobody.failover.as_mut().expect("there").leader = None;
    assert_eq!(judged(&nobody).0, Level::Warn);
}

/// Each line is a night; the words are what somebody reads who was woken up.
#[test]
fn the_headline_names_what_matters_most() {
    assert_eq!(
        judged(&state("active", "standby")),
        (Level::Ok, "All is well".to_owned())
    );
    assert_eq!(
        judged(&state("active", "down")),
        (Level::Warn, "b is down: connection refused".to_owned())
    );
    let mut alone = state("active", "down");
    alone.servers[0].error = Some("error reconnecting to master".to_owned());
    assert_eq!(
        verdict(&alone, false, &Minute::default()).notes,
        [],
        "that is why"
    );
    assert_eq!(
        judged(&state("down", "standby")),
        (Level::Bad, "No active master: watching".to_owned())
    );
    let mut stuck = state("down", "standby");
    let failover = stuck.failover.as_mut().expect("there");
    failover.obstacles.push("b lacks 3 commits".to_owned());
    assert_eq!(
        judged(&stuck),
        (
            Level::Bad,
            "No active master, and no failover possible".to_owned()
        )
    );
    let notes = verdict(&stuck, false, &Minute::default()).notes;
    assert!(
        notes.iter().any(|note| note.text.ends_with("b lacks 3 commits")),
        "{notes:?}"
    );
    let mut alone = state("active", "standby");
    let failover = alone.failover.as_mut().expect("there");
    failover.obstacles.push("semi-sync replication is off".to_owned());
    assert_eq!(
        judged(&alone),
        (
            Level::Warn,
            "b could not take over now: semi-sync replication is off".to_owned()
        )
    );
    let mut late = state("active", "standby");
    late.servers[1].lag_ms = Some(42_500);
    assert_eq!(judged(&late), (Level::Warn, "b is 42 s behind".to_owned()));
    let mut full = state("active", "standby");
    full.servers[0].connections.leased = 10;
    full.servers[0].connections.waiting = 7;
    let (level, headline) = judged(&full);
    assert_eq!(level, Level::Warn);
    assert!(
        headline.starts_with("7 statements wait for a connection to a"),
        "{headline}"
    );
}

/// While a switchover is under way nobody need be alarmed; without `[failover]` nobody waits for a promotion.
#[test]
fn what_it_means_is_said_beside_it() {
    let late = verdict(&state("active", "detached"), false, &Minute::default());
    assert_eq!(
        (late.level, &*late.headline),
        (Level::Warn, "b takes no reads: connection refused")
    );
    assert!(
        late.meaning.ends_with("b could take over all the same."),
        "{}",
        late.meaning
    );
    let holding = verdict(&state("active", "standby"), true, &Minute::default());
    assert_eq!(
        (holding.level, &*holding.headline),
        (Level::Warn, "Switchover under way")
    );
    let mut follower = state("down", "standby");
    follower.failover = None;
    let said = verdict(&follower, false, &Minute::default());
    assert!(said.meaning.contains("[failover] is off"), "{}", said.meaning);
    assert!(said.meaning.contains("b still answers reads"), "{}", said.meaning);
}

/// A failover that went well is news, no trouble.
#[test]
fn a_failover_is_told_for_a_while() {
    let mut after = state("standby", "active");
    after.pauses.push(PauseState {
        age_ms: 120_000,
        lasted_ms: 143,
        over: true,
        planned: false,
        was: "a".to_owned(),
        is: Some("b".to_owned()),
    });
    let said = verdict(&after, false, &Minute::default());
    assert_eq!((said.level, said.notes.len()), (Level::Ok, 1));
    assert_eq!(
        said.notes[0].text,
        "Failover from a to b 2 min ago; writes waited 143 ms."
    );
    after.pauses[0].age_ms = NEWS_MS;
    assert!(verdict(&after, false, &Minute::default()).notes.is_empty());
}
