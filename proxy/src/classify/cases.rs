//! Runs `cases.txt`, which anyone can extend: a row for each statement, what it is and where it may go.

use super::facts::{Facts, Links, Pins, Purity};
use super::{Dialect, analyse};
use crate::topology::Flavor;

/// A row of such a file: its line, the dialect that holds there, its columns.
pub(super) struct Case {
    pub(super) line: usize,
    pub(super) dialect: Dialect,
    pub(super) columns: Vec<String>,
}

/// The rows of a file of cases. Only the first column may have the separator in it; what follows a colon in the last one
/// is a comment.
pub(super) fn cases(file: &str, columns: usize) -> Vec<Case> {
    let mut dialect = Dialect::MARIADB;
    let mut cases = Vec::new();
    for (number, line) in file.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(words) = line.strip_prefix('!') {
            dialect = directive(words);
            continue;
        }
        let line = format!("{line} ");
        let mut found: Vec<String> = line
            .rsplitn(columns, " | ")
            .map(|column| column.trim().to_owned())
            .collect();
        assert_eq!(found.len(), columns, "line {}: other columns: {line}", number + 1);
        found.reverse();
        if let Some(last) = found.last_mut() {
            *last = last.split(':').next().unwrap_or("").trim().to_owned();
        }
        cases.push(Case {
            line: number + 1,
            dialect,
            columns: found,
        });
    }
    cases
}

#[test]
fn every_case_of_the_file_is_read_as_it_says() {
    let mut rows = 0;
    let mut failures = Vec::new();
    for case in cases(include_str!("cases.txt"), 4) {
        rows += 1;
        let facts = analyse(&bytes_of(&case.columns[0]), case.dialect);
        let found = [
            describe_kind(&facts),
            describe_target(&facts),
            describe_why(&facts),
        ];
        if found != case.columns[1..] {
            failures.push(format!(
                "line {}: {}\n  wanted {}\n  found  {}",
                case.line,
                case.columns[0],
                case.columns[1..].join(" | "),
                found.join(" | ")
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} wrong\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(rows >= 250, "only {rows} rows were found");
}

/// `!mysql 90700 ansi_quotes` begins anew from these; `!` alone is MariaDB 10.11.
fn directive(words: &str) -> Dialect {
    let mut dialect = Dialect::MARIADB;
    for word in words.split_whitespace() {
        match word {
            "mariadb" => dialect.flavor = Flavor::MariaDb,
            "mysql" => dialect.flavor = Flavor::MySql,
            "ansi_quotes" => dialect.ansi_quotes = true,
            "no_backslash_escapes" => dialect.no_backslash_escapes = true,
            "ignore_space" => dialect.ignore_space = true,
            "multibyte" => dialect.multibyte = true,
            number => dialect.version = number.parse().expect("a directive or a version"),
        }
    }
    dialect
}

/// What can't be written in a line: ␤ is a line feed, ␉ a tab, ␀ a NUL, ⸨bf⸩ the byte 0xbf.
pub(super) fn bytes_of(statement: &str) -> Vec<u8> {
    let plain = statement
        .trim()
        .replace('␤', "\n")
        .replace('␉', "\t")
        .replace('␀', "\0");
    let mut bytes = Vec::new();
    for (n, part) in plain.split(['⸨', '⸩']).enumerate() {
        match n % 2 {
            0 => bytes.extend_from_slice(part.as_bytes()),
            _ => bytes.push(u8::from_str_radix(part, 16).expect("two hexadecimal digits")),
        }
    }
    bytes
}

fn describe_kind(facts: &Facts) -> String {
    format!("{:?}", facts.kind)
}

fn describe_target(facts: &Facts) -> String {
    let any = facts.purity == Purity::Pure;
    String::from(if any { "any" } else { "active" })
}

/// Links that nothing is routed by; `leaves` and the sessions' tests show them.
const TOLD_ELSEWHERE: Links = Links::HOLDS_QUERY
    .union(Links::UNSURE_FOUND_ROWS)
    .union(Links::SKIPS_ROWS)
    .union(Links::KEEPS_WARNINGS)
    .union(Links::READS_CONNECTION_ID)
    .union(Links::FLEETING);

/// The reason, then pins, then what is unpinned, then links.
fn describe_why(facts: &Facts) -> String {
    let mut why = format!("{:?}", facts.purity);
    let names = |pins: Pins| pins.iter_names().map(|(name, _)| name).collect::<Vec<_>>();
    for name in names(facts.pins) {
        why += &format!(" +{name}");
    }
    for name in names(facts.unpins) {
        why += &format!(" -{name}");
    }
    for (name, _) in facts.links.difference(TOLD_ELSEWHERE).iter_names() {
        why += &format!(" ~{name}");
    }
    why
}

/// What may be answered as it was a moment ago, and what may not.
#[test]
fn what_changes_by_itself_is_told_from_what_does_not() {
    for (text, is_fleeting) in [
        (
            "SELECT a, DATABASE(), UPPER(b) FROM t WHERE c > '2020-01-01' LIMIT 5",
            false,
        ),
        ("SELECT now, rand, `user`, t.current_date FROM t", false),
        ("SELECT a FROM t WHERE b > NOW()", true),
        ("SELECT a FROM t WHERE b > now( )", true),
        ("SELECT a FROM t WHERE b > CURRENT_TIMESTAMP", true),
        (
            "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d < UTC_DATE)",
            true,
        ),
        ("SELECT a FROM t /*!50000 ORDER BY RAND() */", true),
        ("SELECT a, USER() FROM t", true),
        ("SELECT a, CURRENT_USER FROM t", true),
        ("SELECT a, @@sql_mode FROM t", true),
        ("SELECT a, DEFAULT(b) FROM t", true),
        ("SELECT SQL_NO_CACHE a FROM t", true),
        ("SELECT a, SLEEP(1) FROM t", true),
        ("SELECT a, {fn CURDATE()} FROM t", true),
        ("SELECT sysdate FROM t", true),
    ] {
        let facts = analyse(text.as_bytes(), Dialect::MARIADB);
        assert_eq!(facts.purity, Purity::Pure, "{text}");
        assert_eq!(facts.links.contains(Links::FLEETING), is_fleeting, "{text}");
    }
}

#[test]
fn a_write_never_reads_as_pure_whatever_stands_before_it() {
    let before = [
        "",
        " ",
        "\n\t",
        "/* a */",
        "-- a\n",
        "--\n",
        "# a\n",
        "/*! */",
        "/*!40101 */",
        "/**/",
        ";",
        "; ;",
    ];
    let writes = [
        "DELETE FROM t",
        "/*!50001 DELETE FROM t */",
        "(SELECT 1 FOR UPDATE)",
        "SELECT 1; DELETE FROM t",
    ];
    for prefix in before {
        for write in writes {
            let text = format!("{prefix}{write}");
            let facts = analyse(text.as_bytes(), Dialect::MARIADB);
            assert_ne!(facts.purity, Purity::Pure, "{text}");
            assert_eq!(facts.links, Links::empty(), "{text}");
        }
    }
}
