use super::super::gtid::Stream;
use super::*;
use crate::classify::facts::Defines;

fn table(name: &str) -> TableKey {
    TableKey::of("shop", name).unwrap()
}

fn gtid(number: u64) -> Gtid {
    Gtid::parse_mariadb(&format!("0-1-{number}")).unwrap()
}

fn mark() -> Arc<Mark> {
    Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), None, None)
}

fn at(number: u64) -> Position {
    Position::parse_mariadb(&format!("0-1-{number}")).unwrap()
}

fn begin(mark: &Arc<Mark>, tables: &[&str]) -> Writing {
    let mut writing = Writing::default();
    add(mark, &mut writing, tables);
    writing
}

fn add(mark: &Arc<Mark>, writing: &mut Writing, tables: &[&str]) {
    let keys: Vec<TableKey> = tables.iter().map(|name| table(name)).collect();
    writing.begin(
        mark,
        &Reach::Tables(&keys),
        mark.ledger().version(),
        Defines::Nothing,
    );
}

#[test]
fn a_write_counts_from_before_it_is_sent_until_its_number_is_known() {
    let mark = mark();
    let ledger = mark.ledger();
    assert_eq!(ledger.for_table(table("t")), Needed::UpTo(0));
    let mut writing = begin(&mark, &["t"]);
    assert_eq!(ledger.for_table(table("t")), Needed::Unknown);
    assert_eq!(ledger.for_table(table("u")), Needed::UpTo(0));
    assert!(ledger.is_writing());
    writing.note(&gtid(7), Instant::now());
    assert_eq!(
        ledger.for_table(table("t")),
        Needed::Unknown,
        "its OK is on its way"
    );
    writing.end();
    assert_eq!(ledger.for_table(table("t")), Needed::UpTo(7));
    assert!(!ledger.is_writing());
    assert_eq!(mark.committed(), 7);
}

#[test]
fn numbers_of_sessions_that_end_out_of_order_leave_the_newest() {
    let mark = mark();
    let (mut first, mut second) = (begin(&mark, &["t"]), begin(&mark, &["t"]));
    second.note(&gtid(9), Instant::now());
    second.end();
    assert_eq!(mark.ledger().for_table(table("t")), Needed::Unknown);
    first.note(&gtid(8), Instant::now());
    first.end();
    assert_eq!(mark.ledger().for_table(table("t")), Needed::UpTo(9));
}

#[test]
fn a_transaction_counts_for_all_its_tables() {
    let mark = mark();
    let mut writing = begin(&mark, &["t"]);
    add(&mark, &mut writing, &["u", "t"]);
    writing.begin(&mark, &Reach::Nothing, 1, Defines::Nothing);
    writing.note(&gtid(3), Instant::now());
    writing.end();
    for name in ["t", "u"] {
        assert_eq!(mark.ledger().for_table(table(name)), Needed::UpTo(3));
    }
    assert_eq!(mark.ledger().for_all(), Needed::UpTo(0));
}

#[test]
fn what_was_rolled_back_leaves_nothing() {
    let mark = mark();
    begin(&mark, &["t"]).end();
    assert_eq!(mark.ledger().for_table(table("t")), Needed::UpTo(0));
    assert_eq!(mark.ledger().debts(), 0);
}

#[test]
fn an_unknown_outcome_is_owed_until_the_active_master_is_asked_after_it() {
    let mark = mark();
    let before = Instant::now();
    drop(begin(&mark, &["t"]));
    let after = Instant::now() + std::time::Duration::from_millis(1);
    assert_eq!(mark.ledger().for_table(table("t")), Needed::Unknown);
    assert!(mark.commit_up_to(&at(40), before, None, Instant::now()));
    assert_eq!(
        mark.ledger().for_table(table("t")),
        Needed::Unknown,
        "the position is older"
    );
    mark.commit_up_to(&at(42), after, None, Instant::now());
    assert_eq!(mark.ledger().for_table(table("t")), Needed::UpTo(42));
    assert!(
        !mark.commit_up_to(&at(43), after, None, Instant::now()),
        "nothing is owed"
    );
}

#[test]
fn commits_of_other_streams_are_waited_for_by_name() {
    let mark = mark();
    let mut writing = begin(&mark, &["t"]);
    writing.note(&Gtid::parse_mariadb("5-1-2").unwrap(), Instant::now());
    writing.end();
    let later = Instant::now() + std::time::Duration::from_millis(1);
    let without = Position::parse_mariadb("0-1-99").unwrap();
    mark.commit_up_to(&at(99), later, Some(&without), Instant::now());
    assert_eq!(mark.ledger().for_all(), Needed::Unknown);
    let with = Position::parse_mariadb("0-1-99,5-1-2").unwrap();
    mark.commit_up_to(&at(99), later, Some(&with), Instant::now());
    assert_eq!(mark.ledger().for_all(), Needed::UpTo(0));
}

#[test]
fn debts_and_streams_are_bounded_and_what_is_over_counts_for_all_tables() {
    let mark = mark();
    for n in 0..MOST_DEBTS + 10 {
        drop(begin(&mark, &[&format!("t{n}")]));
    }
    assert!(mark.ledger().debts() <= MOST_DEBTS);
    assert_eq!(mark.ledger().for_all(), Needed::Unknown);
    let later = Instant::now() + std::time::Duration::from_millis(1);
    mark.commit_up_to(&at(5), later, None, Instant::now());
    assert_eq!(mark.ledger().debts(), 0);
    assert_eq!(mark.ledger().for_all(), Needed::UpTo(5));
    assert!(!mark.ledger().is_writing());
    for domain in 1..=2 * MOST_STREAMS {
        let mut writing = begin(&mark, &["t"]);
        let foreign = Gtid::parse_mariadb(&format!("{domain}-1-2")).unwrap();
        writing.note(&foreign, Instant::now());
        writing.end();
    }
    assert_eq!(mark.ledger().debts(), MOST_STREAMS);
}

#[test]
fn too_many_tables_are_all_tables() {
    let mark = mark();
    let names: Vec<String> = (0..MOST_TABLES * 2).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut writing = begin(&mark, &names);
    assert_eq!(mark.ledger().for_all(), Needed::Unknown);
    writing.note(&gtid(2), Instant::now());
    writing.end();
    assert_eq!(mark.ledger().for_all(), Needed::UpTo(2));
}

/// A trigger that another session has made since the tables were worked out may have written others.
#[test]
fn definitions_that_change_under_a_write_make_it_one_of_all_tables() {
    let mark = mark();
    let mut writing = begin(&mark, &["t"]);
    let mut ddl = Writing::default();
    let definitions = mark.ledger().definitions();
    ddl.begin(&mark, &Reach::Everything, definitions, Defines::Surely);
    assert_ne!(mark.ledger().definitions(), definitions);
    ddl.note(&gtid(1), Instant::now());
    ddl.end();
    writing.note(&gtid(2), Instant::now());
    writing.end();
    assert_eq!(mark.ledger().for_all(), Needed::UpTo(2));
}

#[test]
fn a_transaction_over_a_change_of_the_active_master_counts_for_all_tables_of_the_new_one() {
    let (old, new) = (mark(), mark());
    let mut writing = begin(&old, &["t"]);
    writing.begin(&new, &Reach::Nothing, 1, Defines::Nothing);
    assert!(!old.ledger().is_writing());
    assert_eq!(new.ledger().for_all(), Needed::Unknown);
    writing.end();
    assert!(!new.ledger().is_writing());
}

/// Readers on other threads never see a table as older than a commit that was acknowledged before they looked.
#[test]
fn no_reader_overtakes_a_writer() {
    let mark = mark();
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=50_000 {
                let mut writing = begin(&mark, &["t"]);
                writing.note(&gtid(number), Instant::now());
                acknowledged.store(number, Ordering::Release);
                writing.end();
            }
        });
        scope.spawn(|| {
            loop {
                let seen = acknowledged.load(Ordering::Acquire);
                match mark.ledger().for_table(table("t")) {
                    Needed::UpTo(number) => assert!(number >= seen, "{number} < {seen}"),
                    Needed::Unknown => {}
                }
                if seen == 50_000 {
                    break;
                }
            }
        });
    });
}

/// The mark of a server that was away for a moment: a statement may have been under way all the time.
#[test]
fn what_is_under_way_when_a_mark_follows_another_counts_for_all_tables_until_it_is_known() {
    let first = mark();
    let mut under_way = begin(&first, &["t"]);
    first.commit(&gtid(4));
    let second = Mark::new(first.stream(), 2, at(5), None, Some(&first));
    let ledger = second.ledger();
    // And once more, before anything is known.
    let third = Mark::new(first.stream(), 2, at(5), None, Some(&second));
    let later = || Instant::now() + std::time::Duration::from_secs(1);
    for mark in [&second, &third] {
        assert_eq!(mark.committed(), 4, "who promotes another server must know");
        mark.commit_up_to(&at(5), later(), None, Instant::now());
        assert_eq!(mark.ledger().for_all(), Needed::Unknown);
    }
    under_way.note(&gtid(7), Instant::now());
    under_way.end();
    let asked_before = Instant::now();
    let definitions = ledger.definitions();
    for mark in [&second, &third] {
        mark.commit_up_to(&at(6), asked_before, None, Instant::now());
        assert_eq!(
            mark.ledger().for_all(),
            Needed::Unknown,
            "asked before it had ended"
        );
        mark.commit_up_to(&at(7), later(), None, Instant::now());
        assert_eq!(mark.ledger().for_all(), Needed::UpTo(7));
        assert_eq!(mark.committed(), 7);
    }
    assert_ne!(ledger.definitions(), definitions);
    assert_eq!((ledger.debts(), ledger.is_writing()), (0, false));
}

/// MariaDB counts commits that it has only begun to write: a failover must not ask for those on the standby.
#[test]
fn a_commit_that_nobody_was_told_of_is_not_counted_as_told() {
    let later = || Instant::now() + std::time::Duration::from_secs(1);
    let first = mark();
    first.commit(&gtid(4));
    begin(&first, &["t"]).owe(false, Instant::now());
    first.commit_up_to(&at(6), later(), None, Instant::now());
    assert_eq!((first.told(), first.committed()), (4, 6), "its answer was lost");
    let mut under_way = begin(&first, &["t"]);
    let second = Mark::new(first.stream(), 2, at(6), None, Some(&first));
    assert_eq!(second.told(), 4, "known from the mark before");
    under_way.note(&gtid(5), Instant::now());
    under_way.end();
    second.commit_up_to(&at(7), later(), None, Instant::now());
    assert_eq!(second.told(), 5, "what came to the mark before");
    begin(&second, &["t"]).owe(true, Instant::now());
    second.commit_up_to(&at(7), later(), None, Instant::now());
    assert_eq!(second.told(), 7, "answered, without a number");
    let begun = Mark::new(first.stream(), 2, at(7), None, None);
    assert_eq!(begun.told(), 7, "who knows what another Tandem has told");
}

#[test]
fn numbers_that_were_given_out_by_hand_are_no_later_commits() {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = |numbers: &str| Position::parse_mysql(&format!("{uuid}:{numbers}")).unwrap();
    let mark = Mark::new(Stream::of_mysql(uuid).unwrap(), 2, set("1-5:1000"), None, None);
    let mut lost = begin(&mark, &["t"]);
    lost.owe(false, Instant::now());
    let later = Instant::now() + std::time::Duration::from_secs(1);
    mark.commit_up_to(&set("1-6:1000"), later, None, later);
    assert_eq!(mark.ledger().for_table(table("t")), Needed::UpTo(6));
}

/// A server counts a change of definitions before it makes it: code that runs while changed counts are read may have made one
/// that the rows do not show.
#[test]
fn code_that_runs_while_definitions_are_read_anew_changes_them_when_it_ends() {
    let mark = mark();
    let ledger = mark.ledger();
    let code = || {
        let mut writing = Writing::default();
        writing.begin(&mark, &Reach::Everything, ledger.version(), Defines::Perhaps);
        writing
    };
    let (before, mut during) = (ledger.definitions(), code());
    let ended = ledger.code_ended();
    assert_eq!(
        ledger.recount(),
        ended,
        "nothing has ended since the reading began"
    );
    let mut after = code();
    after.end();
    assert_eq!(ledger.definitions(), before, "what began later is counted later");
    during.end();
    assert_ne!(ledger.definitions(), before);

    let mut during = code();
    let ended = ledger.code_ended();
    during.end();
    assert_ne!(ledger.recount(), ended, "the reading was too early for this one");
}
