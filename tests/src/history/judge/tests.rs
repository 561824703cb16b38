//! The judge can tell right from wrong: each rule on histories small enough to see it.

use super::*;
use crate::history::cells::Table;

const CELL: Cell = Cell {
    table: Table::First,
    row: 1,
};

fn at(milliseconds: u64) -> Moment {
    Moment::from_millis(milliseconds)
}

fn write(session: usize, begun: u64, acknowledged: u64, value: Value) -> Write {
    Write {
        session,
        begun: at(begun),
        outcome: Outcome::Acknowledged(at(acknowledged)),
        changes: vec![(CELL, value)],
        text: format!("UPDATE to {}", words(value)),
    }
}

/// Session 0 writes 10 and deletes, session 1 writes 30; in the middle one is rolled back.
fn history() -> History {
    let undone = Write {
        outcome: Outcome::RolledBack,
        ..write(1, 45, 0, Some(25))
    };
    History {
        initial: [(CELL, Some(1))].into(),
        writes: vec![
            write(0, 10, 20, Some(10)),
            write(0, 30, 40, None),
            undone,
            write(1, 50, 60, Some(30)),
        ],
        reads: Vec::new(),
    }
}

/// Whether the rules strict, session and eventual accept a read: a letter for each, capital where they do.
fn verdicts(session: usize, begun: u64, ended: u64, seen: Value) -> String {
    let mut history = history();
    history.reads.push(Read {
        session,
        begun: at(begun),
        ended: at(ended),
        seen: vec![(CELL, seen)],
        server: None,
        text: String::new(),
    });
    let rules = [(Rule::Strict, 's'), (Rule::Session, 'o'), (Rule::Eventual, 'e')];
    let letter = |(rule, letter): (Rule, char)| match judge(&history, rule).is_empty() {
        true => letter.to_ascii_uppercase(),
        false => letter,
    };
    rules.into_iter().map(letter).collect()
}

#[test]
fn a_read_must_see_what_was_acknowledged_before_it_began() {
    assert_eq!(verdicts(0, 21, 22, Some(10)), "SOE");
    assert_eq!(verdicts(0, 21, 22, Some(1)), "soE");
    assert_eq!(verdicts(1, 21, 22, Some(1)), "sOE", "another session's write");
    assert_eq!(verdicts(0, 61, 62, None), "sOE", "its own is older");
    assert_eq!(verdicts(1, 61, 62, None), "soE");
    assert_eq!(verdicts(0, 61, 62, Some(10)), "soE", "older than its own");
}

#[test]
fn while_a_write_is_under_way_both_values_are_right() {
    for seen in [Some(1), Some(10)] {
        assert_eq!(verdicts(1, 15, 16, seen), "SOE");
        assert_eq!(verdicts(1, 5, 25, seen), "SOE");
    }
    assert_eq!(
        verdicts(1, 20, 21, Some(1)),
        "SOE",
        "the same moment is not before"
    );
}

#[test]
fn a_row_that_comes_and_goes_is_judged_by_the_time() {
    assert_eq!(verdicts(1, 41, 42, None), "SOE");
    assert_eq!(verdicts(1, 21, 42, None), "SOE");
    assert_eq!(verdicts(1, 21, 29, None), "soe", "not yet deleted");
    assert_eq!(verdicts(1, 55, 56, None), "SOE");
}

#[test]
fn what_is_not_begun_was_rolled_back_or_never_written_is_wrong_by_every_rule() {
    assert_eq!(verdicts(1, 5, 10, Some(10)), "soe");
    assert_eq!(verdicts(1, 46, 47, Some(25)), "soe");
    assert_eq!(verdicts(1, 70, 71, Some(77)), "soe");
}

#[test]
fn a_violation_names_both_operations() {
    let mut history = history();
    let read = |seen| Read {
        session: 3,
        begun: at(70),
        ended: at(71),
        seen: vec![(CELL, seen)],
        server: Some("b".into()),
        text: "SELECT n".into(),
    };
    history.reads = vec![read(Some(10)), read(Some(25)), read(Some(30))];
    let violations = judge(&history, Rule::Strict);
    let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("server b: SELECT n") && texts[0].contains("UPDATE to 30"));
    assert!(
        texts[0].contains("10.000000ms before the read began"),
        "{}",
        texts[0]
    );
    assert!(texts[1].contains("rolled back"), "{}", texts[1]);
}

#[test]
#[should_panic(expected = "overlap")]
fn writes_of_one_cell_that_overlap_are_the_harness_s_own_fault() {
    let mut history = history();
    history.writes.push(write(2, 55, 65, Some(40)));
    judge(&history, Rule::Strict);
}
