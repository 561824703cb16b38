//! What the text of a statement costs: to look at one of a known shape, and to analyse one of a new shape.
//!
//! The former must allocate nothing, which is asserted.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tandem::classify::{Classifier, Dialect, analyse};
use tandem::topology::Flavor;
use tandem_bench::allocations;

const DIALECT: Dialect = Dialect::plain(Flavor::MariaDb, 101_114);

/// `#` stands for what makes a shape another one.
const STATEMENTS: [(&str, &str); 3] = [
    ("point SELECT", "SELECT c AS c# FROM item WHERE id = 4711"),
    (
        "WordPress's posts",
        "SELECT SQL_CALC_FOUND_ROWS wp_posts.ID AS i# FROM wp_posts LEFT JOIN wp_term_relationships ON (wp_posts.ID = \
         wp_term_relationships.object_id) WHERE 1=1 AND (wp_term_relationships.term_taxonomy_id IN (1,2,3)) AND \
         wp_posts.post_type = 'post' AND ((wp_posts.post_status = 'publish')) GROUP BY wp_posts.ID ORDER BY \
         wp_posts.post_date DESC LIMIT 0, 10",
    ),
    (
        "INSERT of two rows",
        "INSERT INTO wp_postmeta (post_id, meta_key, value#) VALUES (1, '_edit_lock', 'x'), (2, '_edit_last', '1')",
    ),
];

fn known(criterion: &mut Criterion) {
    for (name, text) in STATEMENTS {
        let text = text.replace('#', "1");
        let mut classifier = Classifier::new(100);
        let mut run = || drop(black_box(classifier.classify(black_box(text.as_bytes()), DIALECT)));
        assert_eq!(allocations(&mut run), 0, "{text}");
        criterion.bench_function(&format!("known: {name}"), |bencher| bencher.iter(&mut run));
    }
}

/// As it is when more shapes come than are kept.
fn new(criterion: &mut Criterion) {
    for (name, text) in STATEMENTS {
        let shapes: Vec<String> = (0..1000).map(|shape| text.replace('#', &shape.to_string())).collect();
        let run = || drop(black_box(analyse(black_box(shapes[0].as_bytes()), DIALECT)));
        println!("new: {name}: {} allocations to analyse", allocations(run) / 1000);
        criterion.bench_function(&format!("analysed: {name}"), |bencher| bencher.iter(run));

        let mut shapes = shapes.iter().cycle();
        let mut classifier = Classifier::new(100);
        let mut run = || {
            let text = shapes.next().expect("endless").as_bytes();
            drop(black_box(classifier.classify(black_box(text), DIALECT)));
        };
        criterion.bench_function(&format!("new: {name}"), |bencher| bencher.iter(&mut run));
        assert_eq!(classifier.hits(), 0);
    }
}

criterion_group!(benches, known, new);
criterion_main!(benches);
