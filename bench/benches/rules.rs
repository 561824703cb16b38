//! What rules cost a statement whose shape and session are known: with none, one and a thousand of them.
//!
//! It may grow by some nanoseconds for a thousand of them, and nothing may be allocated; the latter is asserted.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tandem::classify::{Dialect, analyse};
use tandem::config;
use tandem::net::address::Peer;
use tandem::route::rules::{Moment, Rules, Shape, Who};
use tandem::topology::Flavor;
use tandem_bench::allocations;

struct Now;

impl Moment for Now {
    fn attribute(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn minute(&self) -> u16 {
        0
    }

    fn is_among(&self, _: usize, _: u32) -> bool {
        true
    }
}

/// Only the last one holds: for a session of `app`, a read of `orders`.
fn rules(count: usize) -> Rules {
    let mut text = r#"
        [listener]
        address = "127.0.0.1:6446"
        [admin]
        address = "127.0.0.1:6447"
        user = "admin"
        password = "x"
        [monitor]
        user = "tandem"
        password = "x"
        [[server]]
        name = "a"
        address = "127.0.0.1:3306"
        [[user]]
        name = "app"
        password = "x"
    "#
    .to_owned();
    for n in 1..count {
        let condition = match n % 4 {
            0 => format!("user = \"user_{n}\""),
            1 => format!("pattern = \"from table_{n}\\\\b\""),
            2 => format!("user = \"app\"\ntables = \"table_{n}\""),
            _ => "kind = \"select\"\nuser = \"other\"".to_owned(),
        };
        text += &format!("[[rule]]\nname = \"r{n}\"\n{condition}\n");
    }
    if count > 0 {
        text += "[[rule]]\nname = \"last\"\nuser = \"app\"\ntables = \"orders\"\ntarget = \"standby\"\n";
    }
    config::parse(&text).expect("a configuration").rules
}

fn decision(criterion: &mut Criterion) {
    let dialect = Dialect::plain(Flavor::MariaDb, 101_114);
    let text = b"SELECT * FROM orders WHERE id = 1";
    let facts = analyse(text, dialect);
    for count in [0, 1, 1000] {
        let rules = rules(count);
        let session = rules.of_session(&Who {
            user: "app",
            schema: Some(b"shop"),
            client: Peer::Local,
        });
        let run = || {
            let shape = facts.matched.of(rules.generation(), || {
                rules.of_shape(Shape {
                    facts: &facts,
                    text,
                    dialect,
                })
            });
            rules.find(black_box(&session), &shape, &facts, Some(b"shop"), &Now)
        };
        assert_eq!(run(), count.checked_sub(1), "{count} rules");
        let allocated = allocations(|| {
            black_box(run());
        });
        assert_eq!(allocated, 0, "{count} rules allocate");
        criterion.bench_function(&format!("{count} rules"), |bencher| bencher.iter(run));
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
