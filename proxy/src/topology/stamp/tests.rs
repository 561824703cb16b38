use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::classify::facts::Defines;
use crate::classify::{Dialect, analyse};
use crate::topology::catalog::{Catalog, Definitions};
use crate::topology::gtid::{Gtid, Position, Stream};
use crate::topology::ledger::{Reach, Writing};
use crate::topology::table::TableKey;

fn key(table: &str) -> TableKey {
    TableKey::of("shop", table).unwrap()
}

fn gtid(number: u64) -> Gtid {
    Gtid::parse_mariadb(&format!("0-1-{number}")).unwrap()
}

/// One with a view `v` over `t` and another, `late`, that calls `NOW()`; a change of `parent` cascades to `t`.
fn mark_with(track: Option<Duration>) -> Arc<Mark> {
    let mark = Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), track, None);
    read_catalog(&mark);
    mark
}

fn mark() -> Arc<Mark> {
    mark_with(None)
}

fn read_catalog(mark: &Mark) {
    let definitions = Definitions {
        views: vec![
            (key("v"), Some(vec![key("t")])),
            (key("late"), Some(vec![key("t")])),
            (key("over_late"), Some(vec![key("late")])),
        ],
        cascades: vec![(key("parent"), key("t"))],
        fleeting: vec![key("late")],
        ..Definitions::default()
    };
    mark.set_catalog(Catalog::new(mark.ledger().definitions(), definitions));
}

fn take(text: &str, mark: &Mark) -> Result<Stamp, Unsure> {
    let facts = analyse(text.as_bytes(), Dialect::MARIADB);
    Stamp::take(&facts.tables, NameKey::new(b"shop"), mark)
}

fn begin(mark: &Arc<Mark>, tables: &[&str]) -> Writing {
    let mut keys = Vec::new();
    mark.with_catalog(|catalog| {
        for table in tables {
            assert!(catalog.is_some_and(|catalog| catalog.written(key(table), &mut keys)));
        }
    });
    let mut writing = Writing::default();
    let version = mark.ledger().version();
    writing.begin(mark, &Reach::Tables(&keys), version, Defines::Nothing);
    writing
}

#[test]
fn a_write_to_what_is_read_ends_it_and_no_other_does() {
    let mark = mark();
    for (text, written, holds) in [
        ("SELECT * FROM t", "t", false),
        ("SELECT * FROM t", "u", true),
        ("SELECT * FROM v", "t", false),
        ("SELECT * FROM t JOIN u USING (id)", "u", false),
        ("SELECT * FROM v", "parent", false),
        ("SELECT * FROM u", "parent", true),
    ] {
        let stamp = take(text, &mark).expect(text);
        assert!(stamp.holds(&mark));
        let mut writing = begin(&mark, &[written]);
        assert_eq!(stamp.holds(&mark), holds, "{text} while {written} is written");
        writing.note(&gtid(7), Instant::now());
        writing.end();
        assert_eq!(stamp.holds(&mark), holds, "{text} when {written} was written");
    }
}

/// Also where its commit's number is not the newest, and where it has none.
#[test]
fn a_write_ends_it_whatever_number_it_gets() {
    let mark = mark();
    let mut first = begin(&mark, &["t"]);
    first.note(&gtid(100), Instant::now());
    first.end();
    let stamp = take("SELECT * FROM t", &mark).expect("nothing is written");
    let mut second = begin(&mark, &["t"]);
    second.note(&gtid(99), Instant::now());
    second.end();
    assert!(!stamp.holds(&mark));
    let stamp = take("SELECT * FROM t", &mark).expect("nothing is written");
    begin(&mark, &["t"]).end();
    assert!(!stamp.holds(&mark));
}

#[test]
fn there_is_none_while_something_is_written_or_not_known() {
    let mark = mark();
    let none = |text: &str| take(text, &mark).expect_err(text);
    assert_eq!(none("SELECT * FROM late"), Unsure::Fleeting);
    assert_eq!(none("SELECT * FROM over_late"), Unsure::Fleeting);
    let mut writing = begin(&mark, &["t"]);
    assert_eq!(none("SELECT * FROM v"), Unsure::Writing);
    assert!(take("SELECT * FROM u", &mark).is_ok());
    // What came of it has to be asked for.
    writing.owe(false, Instant::now());
    assert_eq!(none("SELECT * FROM t"), Unsure::Writing);
    mark.ledger().settle(Instant::now(), 9, None, Instant::now());
    assert!(take("SELECT * FROM t", &mark).is_ok());
    let facts = analyse(b"SELECT * FROM t", Dialect::MARIADB);
    let nowhere = Stamp::take(&facts.tables, None, &mark);
    assert_eq!(nowhere, Err(Unsure::Unknown), "no default schema");
}

/// From when the DDL is sent until the definitions are read again nothing is known; what was kept before stays given up.
#[test]
fn ddl_ends_all() {
    let mark = mark();
    let stamp = take("SELECT * FROM u", &mark).expect("known");
    let mut writing = Writing::default();
    let version = mark.ledger().version();
    writing.begin(&mark, &Reach::Everything, version, Defines::Surely);
    assert!(!stamp.holds(&mark));
    assert_eq!(take("SELECT * FROM u", &mark), Err(Unsure::Unknown));
    writing.note(&gtid(3), Instant::now());
    writing.end();
    assert_eq!(take("SELECT * FROM u", &mark), Err(Unsure::Unknown));
    read_catalog(&mark);
    assert!(take("SELECT * FROM u", &mark).is_ok());
    assert!(!stamp.holds(&mark));
}

/// With `consistency.track_external`.
#[test]
fn what_others_have_committed_ends_all() {
    let mark = mark_with(Some(Duration::from_secs(3600)));
    assert_eq!(take("SELECT * FROM t", &mark), Err(Unsure::Others));
    let at = |number: u64| Position::parse_mariadb(&format!("0-1-{number}")).unwrap();
    mark.look_for_others(Instant::now(), &at(4));
    let stamp = take("SELECT * FROM t", &mark).expect("asked a moment ago");
    mark.look_for_others(Instant::now(), &at(4));
    assert!(stamp.holds(&mark));
    mark.look_for_others(Instant::now(), &at(5));
    assert!(!stamp.holds(&mark));
}
