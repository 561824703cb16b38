//! Runs `tables.txt`: which tables each statement names.

use super::analyse;
use super::cases::{bytes_of, cases};
use super::facts::{Facts, TableName};

#[test]
fn every_statement_of_the_file_names_the_tables_that_it_says() {
    let mut rows = 0;
    let mut failures = Vec::new();
    for case in cases(include_str!("tables.txt"), 3) {
        rows += 1;
        let facts = analyse(&bytes_of(&case.columns[0]), case.dialect);
        let found = describe(&facts);
        let wanted = case.columns[1..].join(" | ");
        if found != wanted {
            failures.push(format!(
                "line {}: {}\n  wanted {wanted}\n  found  {found}",
                case.line, case.columns[0]
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} wrong\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(rows >= 200, "only {rows} rows were found");
}

fn describe(facts: &Facts) -> String {
    match facts.tables.complete {
        true => format!("{} | {}", names(&facts.tables.reads), names(&facts.tables.writes)),
        false => "? | ?".to_owned(),
    }
}

fn names(tables: &[TableName]) -> String {
    let dotted = |table: &TableName| match &*table.schema {
        "" => table.name.to_string(),
        schema => format!("{schema}.{}", table.name),
    };
    let mut names: Vec<String> = tables.iter().map(dotted).collect();
    names.sort();
    match names.is_empty() {
        true => "-".to_owned(),
        false => names.join(", "),
    }
}
