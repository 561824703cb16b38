//! What is learnt of what the workers tell, and what an operator can do about it.

use super::*;
use crate::firewall::learned::tests::{BOUNDS, identity};

const LEARN: Seen = Seen {
    learnt: 1,
    warned: 0,
    refused: 0,
};
const WARN: Seen = Seen {
    learnt: 0,
    warned: 1,
    refused: 0,
};
const REFUSE: Seen = Seen {
    learnt: 0,
    warned: 0,
    refused: 1,
};
const LISTED: usize = 4;

fn state() -> State {
    State {
        learned: Learned::new(1),
        new: FxHashMap::default(),
        sheets: Arc::default(),
        unsaved: Unsaved::Nothing,
        saved: Instant::now(),
        looks: 0,
        complained: None,
    }
}

fn place() -> Place {
    Place::new("app", "shop")
}

fn sighting(number: u64, counts: Seen) -> Sighting {
    Sighting {
        place: place(),
        identity: identity(number),
        runs_others: false,
        statement: format!("SELECT c{number}"),
        counts,
        session: 3,
        client: "192.0.2.7".to_owned(),
    }
}

impl State {
    fn see_all(&mut self, sightings: Vec<Sighting>, now: u64) -> Taken {
        let report = Report {
            sightings,
            ..Report::default()
        };
        self.take(vec![report], BOUNDS, LISTED, now)
    }
}

fn which(digest: Option<u64>, account: Option<&str>) -> Which {
    Which {
        digest: digest.map(Fingerprint),
        account: account.map(str::to_owned),
        schema: None,
    }
}

/// Only what was seen in mode "learn" is learnt, and nothing that does not say what it does.
#[test]
fn what_is_learnt_is_what_was_let_through_for_that() {
    let mut state = state();
    let open = Sighting {
        runs_others: true,
        ..sighting(3, LEARN)
    };
    let seen = vec![sighting(1, LEARN), sighting(2, REFUSE), open];
    let taken = state.see_all(seen, 10);
    assert_eq!(taken.told.len(), 1, "only what was refused is told of");
    let known = |number| state.learned.knows(&place(), identity(number));
    assert!(known(1) && !known(2) && !known(3));
    assert_eq!(state.unsaved, Unsaved::Nothing, "until there are other sheets");
    assert!(state.learned.sheets(&state.sheets).is_some());
    // The other worker had seen it before it was told of it.
    state.see_all(vec![sighting(1, LEARN)], 12);
    let entries = state.entries();
    let learned = entries
        .iter()
        .find(|entry| entry.learned_at.is_some())
        .expect("one");
    assert_eq!((learned.hits, learned.first_seen, learned.last_seen), (2, 10, 12));
    assert_eq!(entries.len(), 3);
}

/// The log has each new statement once, however often and in how many workers it comes.
#[test]
fn a_new_statement_is_told_of_once() {
    let mut state = state();
    let both = vec![sighting(1, WARN), sighting(1, WARN)];
    assert_eq!(state.see_all(both, 1).told.len(), 1);
    assert_eq!(state.see_all(vec![sighting(1, REFUSE)], 2).told.len(), 0);
    let entry = state.entries().remove(0);
    assert_eq!((entry.counts.warned, entry.counts.refused), (2, 1));
    assert_eq!((entry.first_seen, entry.last_seen), (1, 2));
}

/// Somebody who makes statements up pushes none out that came later, and takes no more room than there is.
#[test]
fn the_list_is_bounded() {
    let mut state = state();
    for number in 0..20 {
        let taken = state.see_all(vec![sighting(number, REFUSE)], number);
        assert_eq!(taken.left_out, u64::from(number >= LISTED as u64));
    }
    let mut left: Vec<u64> = state.entries().iter().map(|entry| entry.first_seen).collect();
    left.sort_unstable();
    assert_eq!(left, [16, 17, 18, 19]);
}

/// A full account learns no more, says which key it was, and has the rest on the list.
#[test]
fn a_full_account_learns_no_more() {
    let mut state = state();
    let many = (0..5).map(|number| sighting(number, LEARN)).collect();
    let taken = state.see_all(many, 1);
    assert_eq!(state.learned.len(), BOUNDS.digests);
    assert_eq!(taken.refused.len(), 2);
    assert_eq!(taken.full.map(|(_, full)| full.key()), Some("firewall.digests"));
    assert_eq!(state.new.len(), 2);
    let more = state.accept(&which(None, Some("app")), BOUNDS, 2);
    assert_eq!(
        more,
        Err("0 of 2 were accepted, then firewall.digests was reached (SHOW LIMITS)".to_owned())
    );
}

#[test]
fn an_operator_accepts_and_forgets() {
    let mut state = state();
    let open = Sighting {
        runs_others: true,
        ..sighting(3, REFUSE)
    };
    state.see_all(vec![sighting(1, REFUSE), sighting(2, REFUSE), open], 1);
    assert!(state.accept(&which(Some(9), None), BOUNDS, 2).is_err());
    assert!(state.accept(&which(Some(1), Some("other")), BOUNDS, 2).is_err());
    assert_eq!(state.accept(&which(Some(1), None), BOUNDS, 2), Ok(1));
    assert_eq!(
        state.accept(&which(None, Some("app")), BOUNDS, 2),
        Ok(1),
        "the open one is not among all"
    );
    assert_eq!(state.accept(&which(Some(3), None), BOUNDS, 2), Ok(1));
    assert!(state.new.is_empty() && state.learned.len() == 3);
    assert_eq!(state.forget(&which(Some(2), None)), Ok(1));
    assert!(!state.learned.knows(&place(), identity(2)));
    assert!(state.forget(&which(Some(2), None)).is_err());
    assert_eq!(state.forget(&which(None, Some("app"))), Ok(2));
}

/// The digest is public and can be forged: an operator never lets a statement through that was made to look like another.
#[test]
fn two_that_look_alike_are_not_accepted() {
    let mut state = state();
    let mut forged = sighting(1, REFUSE);
    forged.identity.seal = 77;
    state.see_all(vec![sighting(1, REFUSE), forged], 1);
    let refused = state.accept(&which(Some(1), None), BOUNDS, 2);
    assert!(refused.is_err_and(|why| why.starts_with("Two different statements")));
    assert_eq!((state.new.len(), state.learned.len()), (2, 0));
}
