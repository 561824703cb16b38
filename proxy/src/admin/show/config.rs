//! The configuration, and what a change of it comes to.

use crate::admin::table::{Shape, Table};
use crate::config::live::{Difference, Row};
use crate::config::{Change, Problems};

/// The clients' libraries cut an error off after 512 bytes.
const ERROR_BYTES: usize = 480;

/// The most that the OK to a `SET` says: its length is one byte, in a text.
const INFO_BYTES: usize = 0x7f;

/// What is another now, and when it acts.
pub(crate) fn changes(changes: &[Change]) -> Table {
    let mut table = Table::new([
        ("key", Shape::Text),
        ("before", Shape::Text),
        ("after", Shape::Text),
        ("acts", Shape::Text),
    ]);
    for change in changes {
        table.rows.push(vec![
            change.key.clone().into(),
            change.before.clone().into(),
            change.after.clone().into(),
            change.effect.name().into(),
        ]);
    }
    table
}

/// As many problems as a client shows, and how many there are besides.
pub(crate) fn refused(problems: &Problems) -> String {
    let mut text = String::from("Nothing was changed");
    let mut told = 0;
    for problem in problems {
        let problem = problem.to_string();
        if told > 0 && text.len() + problem.len() > ERROR_BYTES {
            break;
        }
        text += if told == 0 { ": " } else { "; " };
        text += &problem;
        told += 1;
    }
    match problems.len() - told {
        0 => text,
        more => format!("{text}; and {more} more, all of which `tandem check` shows"),
    }
}

/// The columns of the table `config`.
pub(crate) const CONFIG: [(&str, Shape); 12] = [
    ("key", Shape::Text),
    ("value", Shape::Text),
    ("default_value", Shape::Text),
    ("origin", Shape::Text),
    ("acts", Shape::Text),
    ("pending", Shape::Text),
    ("changed_at", Shape::Text),
    ("section", Shape::Text),
    ("entry", Shape::Text),
    ("name", Shape::Text),
    ("must_be", Shape::Text),
    ("meaning", Shape::Text),
];

/// Every key of the running configuration.
pub(crate) fn rows(rows: &[Row]) -> Table {
    let mut table = Table::new(CONFIG);
    for row in rows {
        let name = row.key.rsplit('.').next().unwrap_or_default();
        table.rows.push(vec![
            row.key.clone().into(),
            row.value.clone().into(),
            row.default.into(),
            row.origin.clone().into(),
            row.effect.name().into(),
            row.pending.clone().into(),
            row.changed_at.map(|at| at.format("%F %T").to_string()).into(),
            row.section.into(),
            row.entry.clone().into(),
            name.to_owned().into(),
            row.kind.into(),
            row.meaning.into(),
        ]);
    }
    table
}

/// `SHOW CONFIG DIFF`
pub(crate) fn differences(differences: &[Difference]) -> Table {
    let mut table = Table::new([
        ("key", Shape::Text),
        ("file", Shape::Text),
        ("running", Shape::Text),
        ("why", Shape::Text),
    ]);
    for Difference { change, why } in differences {
        table.rows.push(vec![
            change.key.clone().into(),
            change.before.clone().into(),
            change.after.clone().into(),
            (*why).into(),
        ]);
    }
    table
}

/// `SAVE CONFIG`
pub(crate) fn saved(saved: &[Difference]) -> Table {
    let mut table = Table::new([
        ("key", Shape::Text),
        ("before", Shape::Text),
        ("in_the_file", Shape::Text),
    ]);
    for Difference { change, .. } in saved {
        table.rows.push(vec![
            change.key.clone().into(),
            change.before.clone().into(),
            change.after.clone().into(),
        ]);
    }
    table
}

/// What the OK to a `SET` says, which clients show as one line.
pub(crate) fn told(changes: &[Change]) -> String {
    let one = |change: &Change| {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        format!(
            "{}: {} -> {}, {}",
            change.key,
            shown(&change.before),
            shown(&change.after),
            change.effect.name()
        )
    };
    let text = changes.iter().map(one).collect::<Vec<_>>().join("; ");
    match text.len() <= INFO_BYTES {
        true => text,
        false => format!("{} keys were changed; SHOW CONFIG DIFF has them", changes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Effect;

    #[test]
    fn what_an_ok_says_has_room_in_it() {
        let change = Change {
            key: "pool.queue_limit".to_owned(),
            before: Some("10000".to_owned()),
            after: None,
            effect: Effect::AtOnce,
        };
        assert_eq!(
            told(std::slice::from_ref(&change)),
            "pool.queue_limit: 10000 -> not set, at once"
        );
        let many = told(&vec![change; 20]);
        assert_eq!(many, "20 keys were changed; SHOW CONFIG DIFF has them");
        assert!(many.len() <= INFO_BYTES);
    }
}
