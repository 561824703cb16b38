use std::time::Instant;

use super::facts::{Kind, Purity};
use super::*;
use crate::statistics::digest::Counts;
use crate::statistics::store::{Digests, together};

const MARIADB: Dialect = Dialect::MARIADB;

/// All dialects that differ in what they make of a byte.
fn dialects() -> Vec<Dialect> {
    let mut all = Vec::new();
    for bits in 0..16_u8 {
        for (flavor, version) in [(Flavor::MariaDb, 101_114), (Flavor::MySql, 90_700)] {
            all.push(Dialect {
                flavor,
                version,
                ansi_quotes: bits & 1 != 0,
                no_backslash_escapes: bits & 2 != 0,
                ignore_space: bits & 4 != 0,
                multibyte: bits & 8 != 0,
            });
        }
    }
    all
}

/// A small generator with a fixed seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn fingerprint(text: &str) -> Fingerprint {
    Classifier::new(8).classify(text.as_bytes(), MARIADB).fingerprint
}

fn everything_about(text: &[u8], dialect: Dialect) {
    let facts = analyse(text, dialect);
    let mut classifier = Classifier::new(4);
    let first = classifier.classify(text, dialect);
    let second = classifier.classify(text, dialect);
    assert_eq!(*first.facts, facts);
    assert_eq!(first.fingerprint, second.fingerprint);
    let line = normalise(text, dialect, 64);
    assert!(line.len() <= 64 + '…'.len_utf8());
}

/// A shape's statements are counted together, whatever their values are, and it is told without them, whatever the cache has kept.
#[test]
fn shapes_are_counted_without_values() {
    let now = Instant::now();
    let mut classifier = Classifier::new(2);
    let mut digests = Digests::new(64, now);
    let mut run = |text: &str| {
        let facts = classifier.classify(text.as_bytes(), MARIADB).facts;
        let counts = Counts {
            count: 1,
            ..Counts::default()
        };
        digests.count(&facts.tally, counts, None, now);
    };
    for round in 0..3 {
        run(&format!("SELECT a FROM t WHERE secret = 'x{round}'"));
        run("SELECT b FROM t");
        run(&format!("UPDATE t SET a = {round}"));
        run("SELECT 'x");
    }
    let told = together(digests.copies(usize::MAX, now));
    let mut told: Vec<_> = told
        .iter()
        .map(|it| (&*it.statement, it.counts.count, it.reads))
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("(could not be read to its end)", 3, false),
            ("SELECT a FROM t WHERE secret = ?", 3, true),
            ("SELECT b FROM t", 3, true),
            ("UPDATE t SET a = ?", 3, false),
        ]
    );
}

#[test]
fn random_bytes_never_panic() {
    let mut dice = Dice(0x5eed);
    let dialects = dialects();
    for round in 0..20_000 {
        let length = dice.below(60);
        let text: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
        everything_about(&text, dialects[round % dialects.len()]);
    }
}

#[test]
fn random_token_soup_never_panics() {
    const SOUP: &[&str] = &[
        "SELECT",
        "FROM",
        "t",
        "`t`",
        "\"t\"",
        "'a'",
        "(",
        ")",
        ",",
        ".",
        ";",
        "@",
        "@@",
        "@x",
        ":=",
        "=",
        "/*",
        "*/",
        "/*!50001",
        "/*M!100100",
        "/*+",
        "--",
        "#",
        "\n",
        " ",
        "\\",
        "'",
        "`",
        "SET",
        "GLOBAL",
        "SESSION",
        "NAMES",
        "STATEMENT",
        "FOR",
        "UPDATE",
        "INSERT",
        "INTO",
        "VALUES",
        "WITH",
        "AS",
        "DELETE",
        "EXPLAIN",
        "ANALYZE",
        "SHOW",
        "BEGIN",
        "NOT",
        "ATOMIC",
        "END",
        "CREATE",
        "TEMPORARY",
        "PROCEDURE",
        "1",
        "1e",
        "0x",
        "x'",
        "COUNT",
        "f",
        "\0",
        "?",
        "-",
        "+",
        "*",
        "NULL",
        "\u{e9}",
        "UNION",
        "RELEASE_ALL_LOCKS",
        "FORMAT",
        "TRANSACTION",
        "ROLE",
        "XA",
    ];
    let mut dice = Dice(0xbeef);
    let dialects = dialects();
    for round in 0..30_000 {
        let text: String = (0..dice.below(24))
            .map(|_| SOUP[dice.below(SOUP.len())])
            .flat_map(|word| [word, ["", " "][word.len() % 2]])
            .collect();
        everything_about(text.as_bytes(), dialects[round % dialects.len()]);
    }
}

/// Whatever a statement is cut to, or has in front of its tail, it is read to an end.
#[test]
fn every_case_of_the_files_cut_anywhere_never_panics() {
    let files = [include_str!("cases.txt"), include_str!("tables.txt")];
    for line in files.iter().flat_map(|file| file.lines()) {
        for (end, _) in line.char_indices() {
            let _ = analyse(&line.as_bytes()[..end], MARIADB);
        }
    }
}

#[test]
fn literals_and_list_lengths_make_no_new_shape() {
    for (one, other) in [
        (
            "SELECT * FROM t WHERE a = 1",
            "SELECT * FROM t  WHERE a = 'x' -- y",
        ),
        ("SELECT * FROM t WHERE a = 1", "SELECT * FROM t WHERE a = -5.2e3"),
        (
            "SELECT * FROM t WHERE a IN (1)",
            "SELECT * FROM t WHERE a IN (1, 2, 3)",
        ),
        (
            "SELECT * FROM t WHERE a = ?",
            "SELECT * FROM t WHERE a = 'it''s' \"so\"",
        ),
        (
            "INSERT INTO t VALUES (1, NULL),(2, 'x'),(3, 4)",
            "INSERT INTO t VALUES (1,2),(3,4),(DEFAULT,6),(7,8)",
        ),
        (
            "INSERT INTO t VALUES (1, NOW()),(2, NOW()),(3, NOW())",
            "INSERT INTO t VALUES (1, NOW()),(2, NOW()),(3, NOW()),(4, NOW())",
        ),
        ("INSERT INTO t VALUES (1),(2)", "INSERT INTO t VALUES (1),(2),(3)"),
        ("SELECT @a", "SELECT @b"),
        ("SELECT 1 /*!50001 + 2 */", "SELECT 1 + 2"),
    ] {
        assert_eq!(fingerprint(one), fingerprint(other), "{one}\n{other}");
    }
}

#[test]
fn what_changes_the_facts_makes_another_shape() {
    let texts = [
        "SELECT * FROM t WHERE a = 1",
        "SELECT * FROM T WHERE a = 1",
        "SELECT * FROM u WHERE a = 1",
        "SELECT * FROM `t` WHERE a = 1",
        "SELECT * FROM d.t WHERE a = 1",
        "SELECT * FROM d.1 WHERE a = 1",
        "SELECT * FROM d.2 WHERE a = 1",
        "SELECT * FROM t WHERE a = 1 FOR UPDATE",
        "SELECT * FROM t WHERE a = @x",
        "SELECT * FROM t WHERE a = @@x",
        "SELECT * FROM t WHERE a = b",
        "SELECT * FROM t WHERE (a = 1)",
        "SELECT * FROM t WHERE a = 1;",
        "SELECT COUNT(a) FROM t",
        "SELECT COUNT (a) FROM t",
        "SELECT LAST_INSERT_ID()",
        "SELECT LAST_INSERT_ID(1)",
        "SELECT a.b FROM t",
        "SELECT a, b FROM t",
        "SELECT f(a, b)",
        "SELECT f(a), b",
        "SELECT f((a), b)",
        "SELECT ((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))",
        "SELECT (((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))",
        "",
    ];
    for (n, one) in texts.iter().enumerate() {
        for other in &texts[n + 1..] {
            assert_ne!(fingerprint(one), fingerprint(other), "{one}\n{other}");
        }
    }
}

#[test]
fn the_dialect_is_part_of_the_key() {
    let mut classifier = Classifier::new(64);
    let text = b"SELECT \"x\" /*!80000 FOR UPDATE */";
    let first = classifier.classify(text, MARIADB);
    let mysql = Dialect {
        flavor: Flavor::MySql,
        version: 90_700,
        ..MARIADB
    };
    let second = classifier.classify(text, mysql);
    assert_eq!(first.facts.purity, Purity::Pure);
    assert_eq!(second.facts.purity, Purity::LockingRead);
    assert_eq!((classifier.hits(), classifier.misses()), (0, 2));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let mut classifier = Classifier::new(100);
    for n in 0..5_000 {
        let text = format!("SELECT * FROM t{n}");
        classifier.classify(text.as_bytes(), MARIADB);
        classifier.classify(b"SELECT 1 FROM often", MARIADB);
        assert!(classifier.kept().used() <= 100);
    }
    assert_eq!(classifier.misses(), 5_001);
    assert_eq!(classifier.hits(), 4_999);
}

#[test]
fn a_hit_shares_the_facts() {
    let mut classifier = Classifier::new(8);
    let first = classifier.classify(b"SELECT a FROM t WHERE b = 1", MARIADB);
    let second = classifier.classify(b"SELECT a FROM t WHERE b = 'z'", MARIADB);
    assert!(Rc::ptr_eq(&first.facts, &second.facts));
}

#[test]
fn a_longer_text_than_is_looked_at_is_never_a_pure_read() {
    let mut select = b"SELECT '".to_vec();
    select.resize(LOOKED_AT + 2, b'x');
    let facts = analyse(&select, MARIADB);
    assert_eq!((facts.kind, facts.purity), (Kind::Select, Purity::Unreadable));
    let mut insert = b"INSERT INTO t VALUES ('".to_vec();
    insert.resize(LOOKED_AT + 2, b'x');
    let facts = analyse(&insert, MARIADB);
    assert_eq!((facts.kind, facts.purity), (Kind::Insert, Purity::Writes));
    assert!(facts.pins.is_empty());
}

/// Run where the stack is small: the tree of a chain is as deep as the chain is long, and dropping it recurses.
#[test]
fn long_chains_and_deep_nests_do_not_overflow_the_stack() {
    let chains = [
        ("SELECT 1", " + 1", ""),
        ("SELECT a", " AND a", ""),
        ("SELECT ", "NOT ", "1"),
        ("SELECT ", "- ", "1"),
        ("SELECT ", "(", "1"),
        ("SELECT ", "f(", "1"),
        ("SELECT a", ".a", ""),
        ("SELECT 1", " UNION SELECT 1", ""),
        ("", "(", "SELECT 1"),
        ("SELECT * FROM t", " JOIN t", ""),
        ("SELECT * FROM ", "(SELECT * FROM ", "t"),
        ("SELECT a", " COLLATE b", ""),
        ("SELECT ", "CASE WHEN 1 THEN ", "1"),
        ("SELECT a", " IN (a", ""),
        ("SELECT ", "INTERVAL ", "1"),
        ("SELECT a", " DIV a", ""),
        ("SELECT 1", " + 1", " DIV 1"),
        ("SELECT * FROM t", " NATURAL JOIN t", ""),
        ("SELECT * FROM t", " JOIN t", " ON 1 ON 1 ON 1"),
        ("SELECT * FROM t", " JOIN t ON 1", ""),
        ("SELECT * FROM t", " JOIN (t", ""),
        ("SELECT * FROM t", ", (t", ""),
        ("SELECT a", " LIKE a ESCAPE 'x'", ""),
        ("SELECT a", " IS NOT NULL", ""),
        ("SELECT a", " BETWEEN a", ""),
        ("SELECT CAST(1 AS ", "ARRAY<", "INT"),
    ];
    let run = move || {
        for (start, link, end) in chains {
            for length in [5, 10, 45, 100, 300, 700, 1_400, 20_000] {
                let _ = analyse(format!("{start}{}{end}", link.repeat(length)).as_bytes(), MARIADB);
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    assert!(thread.expect("a thread").join().is_ok());
}

/// A nest or a chain costs time in proportion to its length, not to its square.
#[test]
fn hostile_text_is_read_in_bounded_time() {
    let before = Instant::now();
    for piece in [
        "f(",
        "(",
        "a(b,",
        "a(a) AS (",
        ",",
        "/*! ",
        "WITH a AS (",
        "@@a.",
        "EXPLAIN ",
        "SET STATEMENT a=1 FOR ",
        ";",
        "WITH ",
    ] {
        let text = piece.repeat(LOOKED_AT / piece.len());
        let _ = analyse(text.as_bytes(), MARIADB);
        let _ = normalise(text.as_bytes(), MARIADB, 1_000);
    }
    assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
}

#[test]
fn a_normalised_line_shows_no_values() {
    for (text, line) in [
        (
            "SELECT  *\nFROM t -- x\nWHERE a='secret' AND b = -5",
            "SELECT * FROM t WHERE a = ? AND b = ?",
        ),
        (
            "SELECT a FROM t WHERE b IN (1, 2, 3)",
            "SELECT a FROM t WHERE b IN (?)",
        ),
        (
            "INSERT INTO `t` (a,b) VALUES (1,NULL), (2,'x'), (3,'y')",
            "INSERT INTO `t` (a, b) VALUES (?), (?)",
        ),
        (
            "SELECT COUNT(*), @@sql_mode, @x := 1, d.t FROM t;",
            "SELECT COUNT(*), @@sql_mode, @x := ?, d.t FROM t;",
        ),
        ("SELECT a--1 FROM t", "SELECT a - - ? FROM t"),
        ("SELECT a<=b, c<>d FROM t", "SELECT a <= b, c <> d FROM t"),
        ("SELECT 'unterminated secret", "SELECT…"),
    ] {
        assert_eq!(normalise(text.as_bytes(), MARIADB, 200), line);
    }
    assert_eq!(normalise(b"SELECT a FROM t", MARIADB, 8), "SELECT a…");
}
