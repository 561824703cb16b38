//! What strict consistency costs a statement: the look that a read takes at its tables, and what a write counts.
//!
//! Both must stay below 300 ns and allocate nothing once the room is there; the latter is asserted.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use tandem::classify::facts::Defines;
use tandem::classify::{Dialect, analyse};
use tandem::route::freshness::check;
use tandem::topology::catalog::{Catalog, Definitions};
use tandem::topology::gtid::{Gtid, Position, Stream};
use tandem::topology::ledger::{Reach, Writing};
use tandem::topology::mark::Mark;
use tandem::topology::table::{NameKey, TableKey};
use tandem::topology::{Flavor, ServerId};
use tandem_bench::allocations;

fn mark() -> Arc<Mark> {
    let mark = Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), None, None);
    let key = |name: &str| TableKey::of("shop", name).expect("a key");
    let definitions = Definitions {
        views: vec![(key("v"), Some(vec![key("a"), key("b")]))],
        ..Definitions::default()
    };
    mark.set_catalog(Catalog::new(mark.ledger().definitions(), definitions));
    mark
}

fn reads(criterion: &mut Criterion) {
    let dialect = Dialect::plain(Flavor::MariaDb, 101_114);
    let mark = mark();
    let schema = NameKey::new(b"shop");
    for (name, text) in [
        ("no table", "SELECT 1"),
        ("one table", "SELECT * FROM a WHERE id = 1"),
        (
            "four tables",
            "SELECT * FROM a JOIN b USING (i) JOIN c USING (i) JOIN d USING (i)",
        ),
        ("a view", "SELECT * FROM v"),
    ] {
        let tables = analyse(text.as_bytes(), dialect).tables;
        assert!(tables.complete, "{text}");
        let run = || black_box(check(black_box(&tables), schema, &mark, ServerId(1)));
        assert_eq!(run(), Ok(()), "{text}");
        assert_eq!(allocations(|| drop(run())), 0, "{text}");
        criterion.bench_function(&format!("read of {name}"), |bencher| bencher.iter(run));
    }
}

fn writes(criterion: &mut Criterion) {
    let mark = mark();
    let table = [TableKey::of("shop", "a").expect("a key")];
    let version = mark.ledger().version();
    let mut writing = Writing::default();
    let mut sequence = 0;
    let mut run = || {
        sequence += 1;
        writing.begin(&mark, &Reach::Tables(black_box(&table)), version, Defines::Nothing);
        let gtid = Gtid::MariaDb {
            domain: 0,
            server: 1,
            sequence,
        };
        writing.note(&gtid, Instant::now());
        writing.end();
    };
    assert_eq!(allocations(&mut run), 0);
    criterion.bench_function("write of one table", |bencher| bencher.iter(&mut run));
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
