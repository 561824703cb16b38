//! Single statements that write one table, and the ways to spell a table's name.

use super::cells::{Cell, FAR_SCHEMA, SCHEMA, Table, Value};
use crate::differential::dice::Dice;

/// What is sent at once: as text, or with parameters as a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub text: String,
    pub parameters: Vec<u64>,
}

impl Step {
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
        }
    }

    /// With the parameters in their places, as one may read it.
    pub fn shown(&self) -> String {
        if self.parameters.is_empty() {
            return self.text.clone();
        }
        format!("{} {:?}", self.text, self.parameters)
    }
}

/// Cells and what is to be in them.
pub type Changes = Vec<(Cell, Value)>;

/// A name of a table in a session whose default schema is [`SCHEMA`], quoted and qualified or not; some have views.
pub fn spell(table: Table, dice: &mut Dice) -> String {
    let (schema, name) = (table.schema(), table.name());
    let views: &[&str] = match table {
        Table::Viewed => &["viewed_v", "viewed_vv", "`test_judged`.viewed_v"],
        Table::Third => &["test_judged_far.third_v"],
        _ => &[],
    };
    if !views.is_empty() && dice.once_in(2) {
        return (*dice.pick(views)).to_owned();
    }
    let spellings = [
        format!("{schema}.{name}"),
        format!("`{schema}`.`{name}`"),
        format!("{schema} . `{name}`"),
        format!("`{name}`"),
        name.to_owned(),
        name.to_owned(),
    ];
    let qualified_only = schema != SCHEMA;
    debug_assert!(!qualified_only || schema == FAR_SCHEMA);
    let count = if qualified_only { 3 } else { spellings.len() };
    spellings[dice.below(count)].clone()
}

/// A statement that writes rows of one table in one of the common ways, and what it changes. `values` are those before it.
pub fn plain(table: Table, rows: &[(Cell, Value)], new: u64, dice: &mut Dice) -> (Step, Changes) {
    let name = spell(table, dice);
    let present: Changes = rows
        .iter()
        .copied()
        .filter(|(_, value)| value.is_some())
        .collect();
    let ids = list(rows.iter().map(|(cell, _)| cell.row.to_string()));
    let tuples = list(rows.iter().map(|(cell, _)| format!("({},{new})", cell.row)));
    let all: Changes = rows.iter().map(|(cell, _)| (*cell, Some(new))).collect();
    let set = |changes: &Changes| changes.iter().map(|(cell, _)| (*cell, Some(new))).collect();
    if let [(cell, _)] = rows
        && dice.once_in(3)
    {
        return prepared(&name, *cell, !present.is_empty(), new, dice);
    }
    match dice.below(9) {
        0 | 1 => (
            Step::text(format!("REPLACE INTO {name} (id, n) VALUES {tuples}")),
            all,
        ),
        2 => {
            let text =
                format!("INSERT INTO {name} (id, n) VALUES {tuples} ON DUPLICATE KEY UPDATE n = {new}");
            (Step::text(text), all)
        }
        3 if present.is_empty() => (
            Step::text(format!("insert into {name}(id,n) values{tuples}")),
            all,
        ),
        3 => {
            let text = format!("UPDATE {name} SET n = n + 1 WHERE id IN ({ids})");
            let up = |(cell, value): &(Cell, Value)| (*cell, value.map(|n| n + 1));
            (Step::text(text), present.iter().map(up).collect())
        }
        4 => {
            let text = format!("DELETE FROM {name} WHERE id IN ({ids})");
            (
                Step::text(text),
                present.iter().map(|(cell, _)| (*cell, None)).collect(),
            )
        }
        5 => {
            let text = format!("/* a comment */ update {name} AS it set it.n={new} where it.id in ({ids})");
            (Step::text(text), set(&present))
        }
        6 => {
            let text =
                format!("UPDATE LOW_PRIORITY {name} SET n = {new} WHERE id IN ({ids}) ORDER BY id LIMIT 6");
            (Step::text(text), set(&present))
        }
        _ => {
            let text = format!("UPDATE {name} SET n = {new} WHERE id IN ({ids})");
            (Step::text(text), set(&present))
        }
    }
}

fn prepared(name: &str, cell: Cell, present: bool, new: u64, dice: &mut Dice) -> (Step, Changes) {
    let row = cell.row;
    let (text, parameters, changed) = match dice.below(4) {
        0 => (
            format!("REPLACE INTO {name} (id, n) VALUES (?, ?)"),
            vec![row, new],
            true,
        ),
        1 => (
            format!("INSERT INTO {name} (id, n) VALUES (?, ?) ON DUPLICATE KEY UPDATE n = ?"),
            vec![row, new, new],
            true,
        ),
        _ => (
            format!("UPDATE {name} SET n = ? WHERE id = ?"),
            vec![new, row],
            present,
        ),
    };
    let changes = if changed {
        vec![(cell, Some(new))]
    } else {
        Vec::new()
    };
    (Step { text, parameters }, changes)
}

pub fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}
