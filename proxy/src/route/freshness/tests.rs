use crate::classify::facts::Defines;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::classify::{Dialect, analyse};
use crate::topology::catalog::{Catalog, Definitions};
use crate::topology::gtid::{Gtid, Position, Stream};
use crate::topology::ledger::{Reach, Writing};

const STANDBY: ServerId = ServerId(1);

struct Pair {
    mark: Arc<Mark>,
}

impl Pair {
    /// Nothing written yet, and the catalog read.
    fn new(definitions: Definitions) -> Self {
        let mark = Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), None, None);
        mark.set_catalog(Catalog::new(mark.ledger().definitions(), definitions));
        Self { mark }
    }

    fn write(&self, tables: &[&str], number: u64) {
        let keys: Vec<TableKey> = tables.iter().map(|name| key(name)).collect();
        self.commit(&Reach::Tables(&keys), number);
    }

    fn commit(&self, reach: &Reach<'_>, number: u64) {
        let mut writing = Writing::default();
        writing.begin(&self.mark, reach, self.mark.ledger().version(), Defines::Nothing);
        let gtid = Gtid::parse_mariadb(&format!("0-1-{number}")).unwrap();
        writing.note(&gtid, Instant::now());
        writing.end();
    }

    fn check(&self, text: &str) -> Result<(), Stale> {
        let facts = analyse(text.as_bytes(), Dialect::MARIADB);
        check(&facts.tables, NameKey::new(b"shop"), &self.mark, STANDBY)
    }
}

fn key(name: &str) -> TableKey {
    TableKey::of("shop", name).unwrap()
}

#[test]
fn a_read_waits_for_its_own_tables_only() {
    let pair = Pair::new(Definitions::default());
    pair.write(&["hot"], 5);
    assert_eq!(pair.check("SELECT * FROM hot"), Err(Stale::Hot));
    assert_eq!(
        pair.check("SELECT * FROM cold JOIN Shop.HOT USING (id)"),
        Err(Stale::Hot)
    );
    assert_eq!(pair.check("SELECT * FROM cold"), Ok(()));
    assert_eq!(pair.check("SELECT * FROM other.hot"), Ok(()));
    assert_eq!(pair.check("SELECT 1"), Ok(()));
    pair.mark.apply(STANDBY, 5);
    assert_eq!(pair.check("SELECT * FROM hot"), Ok(()));
}

#[test]
fn a_write_of_unknown_reach_holds_all_tables_up() {
    let pair = Pair::new(Definitions::default());
    pair.commit(&Reach::Everything, 5);
    assert_eq!(pair.check("SELECT * FROM cold"), Err(Stale::Lagging));
    assert_eq!(pair.check("SELECT NOW()"), Ok(()));
    pair.mark.apply(STANDBY, 5);
    assert_eq!(pair.check("SELECT * FROM cold"), Ok(()));
}

#[test]
fn a_read_of_unknown_reach_waits_for_everything() {
    let pair = Pair::new(Definitions::default());
    let odd = "SELECT * FROM größe";
    assert_eq!(pair.check(odd), Ok(()));
    pair.write(&["hot"], 5);
    assert_eq!(pair.check(odd), Err(Stale::UnknownReach));
    pair.mark.apply(STANDBY, 5);
    assert_eq!(pair.check(odd), Ok(()));
    let mut writing = Writing::default();
    writing.begin(&pair.mark, &Reach::Tables(&[key("u")]), 1, Defines::Nothing);
    assert_eq!(pair.check(odd), Err(Stale::UnknownReach));
    assert_eq!(pair.check("SELECT * FROM u"), Err(Stale::Writing));
    writing.end();
    assert_eq!(pair.check(odd), Ok(()));
}

#[test]
fn views_are_looked_through() {
    let pair = Pair::new(Definitions {
        views: vec![(key("v"), Some(vec![key("hot")])), (key("odd"), None)],
        ..Definitions::default()
    });
    pair.write(&["hot"], 5);
    assert_eq!(pair.check("SELECT * FROM v"), Err(Stale::Hot));
    assert_eq!(pair.check("SELECT * FROM odd"), Err(Stale::UnknownReach));
    assert_eq!(pair.check("SELECT * FROM cold"), Ok(()));
}

/// Between a change of definitions and their reading, what a name stands for is not known.
#[test]
fn after_ddl_nothing_is_known_until_the_definitions_are_read_again() {
    let pair = Pair::new(Definitions::default());
    pair.write(&["hot"], 5);
    let mut ddl = Writing::default();
    ddl.begin(&pair.mark, &Reach::Everything, 1, Defines::Surely);
    assert_eq!(pair.check("SELECT * FROM cold"), Err(Stale::Writing));
    ddl.end();
    assert_eq!(pair.check("SELECT * FROM cold"), Err(Stale::UnknownReach));
    let definitions = pair.mark.ledger().definitions();
    pair.mark
        .set_catalog(Catalog::new(definitions, Definitions::default()));
    assert_eq!(pair.check("SELECT * FROM cold"), Ok(()));
}

#[test]
fn what_was_there_before_tandem_is_waited_for() {
    let floor = Position::parse_mariadb("0-1-9").unwrap();
    let mark = Mark::new(Stream::of_mariadb(0, 1), 2, floor, None, None);
    mark.set_catalog(Catalog::new(mark.ledger().definitions(), Definitions::default()));
    let pair = Pair { mark };
    pair.mark
        .apply_position(STANDBY, &Position::parse_mariadb("0-1-8").unwrap());
    assert_eq!(pair.check("SELECT * FROM cold"), Err(Stale::Lagging));
    pair.mark
        .apply_position(STANDBY, &Position::parse_mariadb("0-1-9").unwrap());
    assert_eq!(pair.check("SELECT * FROM cold"), Ok(()));
}
