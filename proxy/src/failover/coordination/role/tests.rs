use super::*;
use crate::failover::judge::tests::{server, writable};
use crate::topology::derive::Holding;

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);
const LEASE: Duration = Duration::from_secs(5);

fn second(base: Instant, tenths: u64) -> Instant {
    base + Duration::from_millis(100 * tenths)
}

#[test]
fn a_lease_is_trusted_for_less_than_etcd_gives() {
    let asked = Instant::now();
    let until = Some(trusted_until(asked, LEASE));
    for (tenths, leader, expected) in [
        (0, Some(7), Role::Leads),
        (39, Some(7), Role::Leads),
        (39, Some(8), Role::Follows),
        (39, None, Role::Follows),
        // Whatever the key says that was seen last.
        (40, Some(7), Role::CutOff),
        (40, Some(8), Role::CutOff),
        (10_000, Some(7), Role::CutOff),
    ] {
        assert_eq!(
            role(until, leader, Some(7), second(asked, tenths)),
            expected,
            "{tenths}"
        );
    }
    assert_eq!(role(None, Some(7), Some(7), asked), Role::CutOff);
    assert_eq!(role(until, None, None, asked), Role::Follows);
}

/// Two that ask again and again, whose questions are late or lost, and whose processes and clocks stand still and leap
/// ahead: never do both trust a lease of theirs, as etcd ends it by its own clock.
#[test]
fn two_never_lead_at_once_however_their_clocks_leap() {
    let base = Instant::now();
    let mut state = 1_u64;
    let mut dice = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut led = [0_u32; 2];
    // Of etcd: whose the key is, and until when, in tenths of a second.
    let mut holder: Option<(usize, u64)> = None;
    let mut until: [Option<Instant>; 2] = [None; 2];
    let mut leader: [Option<i64>; 2] = [None; 2];
    // A question on its way: when it was asked.
    let mut asked: [Option<u64>; 2] = [None; 2];
    let mut now = 0;
    for _ in 0..200_000 {
        now += if dice(500) == 0 { dice(120) } else { 1 };
        if holder.is_some_and(|(_, ends)| ends <= now) {
            holder = None;
        }
        for id in 0..2 {
            let own = i64::try_from(id).unwrap();
            match asked[id] {
                // It arrives at etcd and the answer comes back, unless one of both is lost.
                Some(at) if dice(8) == 0 => {
                    asked[id] = None;
                    let ours = holder.is_none_or(|(held_by, _)| held_by == id);
                    if ours && dice(10) > 0 {
                        holder = Some((id, now + 50));
                        if dice(10) > 0 {
                            until[id] = Some(trusted_until(second(base, at), LEASE));
                            leader[id] = Some(own);
                        }
                    } else if !ours {
                        leader[id] = None;
                    }
                }
                Some(_) => {}
                None if dice(10) == 0 => asked[id] = Some(now),
                None => {}
            }
            let role = role(until[id], leader[id], Some(own), second(base, now));
            if role == Role::Leads {
                led[id] += 1;
                assert_eq!(holder.map(|(held_by, _)| held_by), Some(id), "at {now}");
            }
        }
    }
    assert!(led.iter().all(|&led| led > 1000), "{led:?}");
}

#[test]
fn who_knows_less_than_others_does_not_decide() {
    let at = |epoch| Entry {
        epoch,
        ..Entry::default()
    };
    assert_eq!(candidacy(None, 0, &[0, 0]), Ok(()));
    assert_eq!(candidacy(None, 7, &[7, 5]), Ok(()));
    assert_eq!(candidacy(Some(&at(7)), 7, &[7]), Ok(()));
    assert_eq!(candidacy(Some(&at(7)), 3, &[9]), Ok(()));
    let newer = candidacy(None, 5, &[5, 7]).unwrap_err();
    assert!(newer.contains("epoch 7"), "{newer}");
    let lost = candidacy(Some(&at(7)), 8, &[]).unwrap_err();
    assert!(lost.contains("If etcd is right"), "{lost}");
}

#[test]
fn followers_go_by_what_is_published_and_without_it_by_what_is_recorded() {
    let now = Some(Instant::now());
    let entry = Entry {
        epoch: 3,
        active: Some(A),
        drained: Some(B),
        ..Entry::default()
    };
    let holding = Published {
        active: Some(A),
        opened: 9,
        holding: Some(Holding::Moment(1)),
        given_up: None,
    };
    let nothing = Decided::default();
    let held = decided(&entry, Some(&holding), now, &nothing);
    assert_eq!(
        held,
        Decided {
            active: Some(A),
            opened: now,
            holding: Some(Holding::Moment(1)),
            given_up: None,
            drained: Some(B)
        }
    );
    // The leader is gone: nothing is held for it.
    assert_eq!(decided(&entry, None, now, &held).holding, None);
    let promoting = Entry {
        promoting: Some(B),
        ..entry.clone()
    };
    let given_up = decided(&promoting, None, None, &held);
    assert_eq!((given_up.active, given_up.given_up), (None, Some(A)));
    let promoted = Entry {
        epoch: 4,
        active: Some(B),
        promoting: None,
        ..entry
    };
    let next = decided(&promoted, None, None, &given_up);
    assert_eq!((next.active, next.given_up), (Some(B), Some(A)));
    assert_eq!(decided(&promoted, None, None, &held).opened, None);
}

#[test]
fn without_etcd_the_last_decision_holds_until_the_servers_show_another() {
    let last = Decided {
        active: Some(A),
        holding: Some(Holding::Moment(1)),
        ..Decided::default()
    };
    let down = || Health {
        state: State::Down,
        ..server(A)
    };
    let active = |health: &[Health]| {
        let decided = alone(&last, health);
        assert_eq!(decided.holding, None);
        decided.active
    };
    assert_eq!(active(&[writable(server(A)), server(B)]), Some(A));
    assert_eq!(active(&[writable(server(A)), writable(server(B))]), Some(A));
    assert_eq!(active(&[server(A), writable(server(B))]), Some(B));
    assert_eq!(active(&[down(), writable(server(B))]), Some(B));
    assert_eq!(active(&[server(A), server(B)]), Some(A));
    assert_eq!(active(&[down(), server(B)]), Some(A));
    // Given up in the middle of a failover: not because it is writable again.
    let between = Decided {
        given_up: Some(A),
        ..Decided::default()
    };
    assert_eq!(alone(&between, &[writable(server(A)), server(B)]).active, None);
    assert_eq!(
        alone(&between, &[writable(server(A)), writable(server(B))]).active,
        Some(B)
    );
}
