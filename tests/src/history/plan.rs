//! Draws writes from a seed: which cells, by what means, and what is in them afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{Cell, ROWS, SCHEMA, Table, Value};
use super::statement::{Changes, Step, list, plain, spell};
use crate::Flavor;
use crate::differential::dice::Dice;

/// The means of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Means {
    /// One statement of the common sort.
    Plain,
    /// Several tables; committed, rolled back, or committed by what commits implicitly.
    Transaction,
    AutocommitOff,
    Savepoint,
    /// The same statement reads one table and writes another.
    InsertSelect,
    /// One statement that updates two tables.
    TwoTables,
    DeleteFromTwo,
    /// Foreign keys change what the text does not name.
    Cascade,
    Trigger,
    Procedure,
    /// A function that writes, in a SELECT or DO.
    Function,
    /// Two tables change names.
    Rename,
    Truncate,
    /// Several statements in one packet.
    Several,
    /// `PREPARE` and `EXECUTE` as text.
    TextPrepared,
    Locked,
    Xa,
    /// MariaDB: `EXECUTE IMMEDIATE`, `BEGIN NOT ATOMIC`.
    Code,
    /// MariaDB: `INSERT … RETURNING`, whose reply is rows.
    Returning,
}

impl Means {
    /// Each as often as it stands here.
    const DRAWN: &[Self] = &[
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Transaction,
        Self::Transaction,
        Self::Transaction,
        Self::AutocommitOff,
        Self::Savepoint,
        Self::InsertSelect,
        Self::TwoTables,
        Self::DeleteFromTwo,
        Self::Cascade,
        Self::Cascade,
        Self::Trigger,
        Self::Trigger,
        Self::Procedure,
        Self::Function,
        Self::Rename,
        Self::Truncate,
        Self::Several,
        Self::TextPrepared,
        Self::Locked,
        Self::Xa,
        Self::Code,
        Self::Returning,
    ];

    pub fn draw(flavor: Flavor, dice: &mut Dice) -> Self {
        match Self::DRAWN[dice.below(Self::DRAWN.len())] {
            Self::Code | Self::Returning if flavor == Flavor::MySql => Self::Plain,
            // Files are created and removed, which is slow.
            Self::Rename | Self::Truncate if !dice.once_in(3) => Self::Plain,
            means => means,
        }
    }

    /// It keeps the session on its connection, where it would read from the active master only: nobody knows what such
    /// code leaves behind.
    pub fn ties(self) -> bool {
        matches!(
            self,
            Self::Procedure | Self::Function | Self::Code | Self::Xa | Self::TextPrepared
        )
    }

    /// The cells that a write by this means needs for itself.
    pub fn cells(self, dice: &mut Dice) -> BTreeSet<Cell> {
        use Table::{Audit, Audited, Called, Child, Cleared, First, Left, Parent, Right, Second};
        let row = |dice: &mut Dice| 1 + dice.below(ROWS as usize) as u64;
        let pairs = |tables: [Table; 2], rows: &[u64]| {
            let cells = rows.iter().flat_map(|row| tables.map(|table| table.cell(*row)));
            cells.collect()
        };
        match self {
            Self::InsertSelect | Self::TwoTables | Self::DeleteFromTwo => {
                pairs([First, Second], &[row(dice), row(dice)])
            }
            Self::Cascade => pairs([Parent, Child], &[row(dice)]),
            Self::Trigger => pairs([Audited, Audit], &[row(dice), row(dice)]),
            Self::Procedure | Self::Function => [Called.cell(row(dice))].into(),
            Self::Rename => Left.cells().chain(Right.cells()).collect(),
            Self::Truncate => Cleared.cells().collect(),
            Self::Plain | Self::Returning | Self::Locked | Self::TextPrepared | Self::Code => {
                let table = Table::FREE[dice.below(Table::FREE.len())];
                (0..=dice.below(2)).map(|_| table.cell(row(dice))).collect()
            }
            Self::Transaction | Self::AutocommitOff | Self::Savepoint | Self::Several | Self::Xa => {
                let count = 2 + dice.below(2);
                let table = |dice: &mut Dice| Table::FREE[dice.below(Table::FREE.len())];
                (0..count).map(|_| table(dice).cell(row(dice))).collect()
            }
        }
    }
}

/// A write that is still to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub means: Means,
    pub steps: Vec<Step>,
    /// What the steps change once all are done; with `rolled_back`, what nobody may ever see.
    pub changes: Changes,
    /// The step that makes the changes visible to others, and whose reply acknowledges them.
    pub commit: usize,
    pub rolled_back: bool,
    /// What undoes everything if a step is refused; `None` where a part may have been committed by then.
    pub undo: Option<&'static str>,
}

impl Plan {
    fn new(means: Means, steps: Vec<Step>, changes: Changes) -> Self {
        Self {
            means,
            steps,
            changes,
            commit: 0,
            rolled_back: false,
            undo: Some("ROLLBACK"),
        }
    }

    /// Nothing is visible before the last step.
    fn at_its_end(mut self) -> Self {
        self.commit = self.steps.len() - 1;
        self
    }

    pub fn shown(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(Step::shown).collect();
        steps.join("; ")
    }
}

type Values = BTreeMap<Cell, Value>;

/// Plans a write by `means` of the claimed cells; `new` is a value that no write has made yet.
pub fn plan(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    match means {
        Means::Plain => one(means, values, new, dice, |step| vec![step]),
        Means::Locked => {
            let table = first_table(values).name();
            let schema = first_table(values).schema();
            let lock = Step::text(format!("LOCK TABLES `{schema}`.`{table}` AS it WRITE"));
            locked(means, values, new, lock)
        }
        Means::TextPrepared => text_prepared(means, values, new, dice),
        Means::Code => code(means, values, new, dice),
        Means::Returning => returning(means, values, new, dice),
        Means::Transaction => transaction(means, values, new, dice),
        Means::AutocommitOff => {
            let (steps, changes) = several(values, new, dice);
            let end = ["SET autocommit=1", "set @@session.autocommit = 1"];
            let mut all = vec![Step::text("SET autocommit=0")];
            all.extend(steps);
            all.push(Step::text(end[dice.below(2)]));
            let mut plan = Plan::new(means, all, changes).at_its_end();
            plan.undo = Some("ROLLBACK; SET autocommit=1");
            plan
        }
        Means::Savepoint => savepoint(means, values, new, dice),
        Means::Several => {
            let (steps, changes) = several(values, new, dice);
            let texts: Vec<String> = steps.into_iter().map(|step| step.text).collect();
            let mut plan = Plan::new(means, vec![Step::text(texts.join("; "))], changes);
            plan.undo = None;
            plan
        }
        Means::Xa => xa(means, values, new, dice),
        Means::InsertSelect | Means::TwoTables | Means::DeleteFromTwo => two_tables(means, values, new, dice),
        Means::Cascade => cascade(means, values, new, dice),
        Means::Trigger => trigger(means, values, new, dice),
        Means::Procedure | Means::Function => routine(means, values, new, dice),
        Means::Rename => {
            let text = "RENAME TABLE left_half TO middle, right_half TO left_half, middle TO right_half";
            let other = |cell: &Cell| match cell.table {
                Table::Left => Table::Right.cell(cell.row),
                _ => Table::Left.cell(cell.row),
            };
            let changes = values.keys().map(|cell| (*cell, values[&other(cell)])).collect();
            Plan::new(means, vec![Step::text(text)], changes)
        }
        Means::Truncate => {
            let name = spell(Table::Cleared, dice);
            let changes = values.keys().map(|cell| (*cell, None)).collect();
            Plan::new(means, vec![Step::text(format!("TRUNCATE TABLE {name}"))], changes)
        }
    }
}

fn first_table(values: &Values) -> Table {
    values.keys().next().expect("a claimed cell").table
}

/// The claimed cells table by table.
fn by_table(values: &Values) -> Vec<(Table, Changes)> {
    let mut tables: BTreeMap<Table, Changes> = BTreeMap::new();
    for (cell, value) in values {
        tables.entry(cell.table).or_default().push((*cell, *value));
    }
    tables.into_iter().collect()
}

fn one(
    means: Means,
    values: &Values,
    new: u64,
    dice: &mut Dice,
    wrap: impl FnOnce(Step) -> Vec<Step>,
) -> Plan {
    let rows: Changes = values.iter().map(|(cell, value)| (*cell, *value)).collect();
    let (step, changes) = plain(first_table(values), &rows, new, dice);
    Plan::new(means, wrap(step), changes)
}

/// One statement for each table, with their changes.
fn several(values: &Values, new: u64, dice: &mut Dice) -> (Vec<Step>, Changes) {
    let mut steps = Vec::new();
    let mut changes = Vec::new();
    for (table, rows) in by_table(values) {
        let (step, changed) = loop {
            let (step, changed) = plain(table, &rows, new, dice);
            // Several in one text can't have parameters; where they come one by one, it makes no difference.
            if step.parameters.is_empty() {
                break (step, changed);
            }
        };
        steps.push(step);
        changes.extend(changed);
    }
    (steps, changes)
}

fn transaction(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (steps, changes) = several(values, new, dice);
    let begin = [
        "BEGIN",
        "START TRANSACTION",
        "start transaction with consistent snapshot",
    ];
    let mut all = vec![Step::text(begin[dice.below(3)])];
    all.extend(steps);
    let rolled_back = dice.once_in(5);
    // The last two commit implicitly.
    let ends = [
        "COMMIT",
        "COMMIT",
        "commit work",
        "COMMIT AND CHAIN",
        "BEGIN",
        "ALTER TABLE idle COMMENT = ''",
    ];
    let end = if rolled_back {
        "ROLLBACK"
    } else {
        ends[dice.below(ends.len())]
    };
    all.push(Step::text(end));
    let mut plan = Plan::new(means, all, changes).at_its_end();
    if ["COMMIT AND CHAIN", "BEGIN"].contains(&end) {
        // An empty transaction has begun, in which reads would not be the test's.
        plan.steps.push(Step::text("COMMIT"));
    }
    plan.rolled_back = rolled_back;
    plan
}

/// Only what stands before the savepoint is committed.
fn savepoint(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (steps, _) = several(values, new, dice);
    let mut tables = by_table(values);
    let (last, _) = tables.pop().expect("a claimed cell");
    let kept: Values = values
        .iter()
        .filter(|(cell, _)| cell.table != last)
        .map(|(c, v)| (*c, *v))
        .collect();
    let undone = steps.last().cloned().into_iter();
    let (before, changes) = several(&kept, new, dice);
    let mut all = vec![Step::text("BEGIN")];
    all.extend(before);
    all.push(Step::text("SAVEPOINT here"));
    all.extend(undone);
    all.push(Step::text("ROLLBACK TO here"));
    all.push(Step::text("COMMIT"));
    Plan::new(means, all, changes).at_its_end()
}

fn xa(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (steps, changes) = several(values, new, dice);
    // Values are new, so names are.
    let name = format!("'{new}'");
    let mut all = vec![Step::text(format!("XA START {name}"))];
    all.extend(steps);
    all.push(Step::text(format!("XA END {name}")));
    if dice.once_in(2) {
        all.push(Step::text(format!("XA COMMIT {name} ONE PHASE")));
    } else {
        all.push(Step::text(format!("XA PREPARE {name}")));
        all.push(Step::text(format!("XA COMMIT {name}")));
    }
    let mut plan = Plan::new(means, all, changes).at_its_end();
    plan.undo = None;
    plan
}

fn locked(means: Means, values: &Values, new: u64, lock: Step) -> Plan {
    let table = first_table(values);
    let (schema, name) = (table.schema(), table.name());
    let ids = list(values.keys().map(|cell| cell.row.to_string()));
    let update = format!("UPDATE `{schema}`.`{name}` AS it SET it.n = {new} WHERE it.id IN ({ids})");
    let present = values.iter().filter(|(_, value)| value.is_some());
    let changes = present.map(|(cell, _)| (*cell, Some(new))).collect();
    let steps = vec![lock, Step::text(update), Step::text("UNLOCK TABLES")];
    let mut plan = Plan::new(means, steps, changes);
    plan.commit = 1;
    plan.undo = Some("UNLOCK TABLES");
    plan
}

fn text_prepared(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (steps, changes) = several(values, new, dice);
    let text = &steps[0].text;
    let steps = [
        format!("PREPARE writes FROM '{text}'"),
        "EXECUTE writes".to_owned(),
        "DEALLOCATE PREPARE writes".to_owned(),
    ];
    let texts = steps.into_iter().map(Step::text).collect();
    let mut plan = Plan::new(means, texts, changes);
    plan.commit = 1;
    plan.undo = Some("DEALLOCATE PREPARE writes");
    plan
}

fn code(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (steps, changes) = several(values, new, dice);
    let text = &steps[0].text;
    let step = match dice.once_in(2) {
        true => format!("EXECUTE IMMEDIATE '{text}'"),
        false => format!("BEGIN NOT ATOMIC {text}; END"),
    };
    Plan::new(means, vec![Step::text(step)], changes)
}

fn returning(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let table = first_table(values);
    // Views can't return.
    let (schema, name) = (table.schema(), table.name());
    let tuples = list(values.keys().map(|cell| format!("({},{new})", cell.row)));
    let ids = list(values.keys().map(|cell| cell.row.to_string()));
    let set = values.keys().map(|cell| (*cell, Some(new))).collect();
    let (text, changes) = match dice.below(3) {
        0 => {
            let text = format!("DELETE FROM {schema}.{name} WHERE id IN ({ids}) RETURNING id");
            (text, values.keys().map(|cell| (*cell, None)).collect())
        }
        1 => (
            format!("REPLACE INTO {schema}.{name} (id, n) VALUES {tuples} RETURNING id, n"),
            set,
        ),
        _ => {
            let text = format!(
                "INSERT INTO `{schema}`.`{name}` (id, n) VALUES {tuples} ON DUPLICATE KEY UPDATE n = {new} RETURNING n"
            );
            (text, set)
        }
    };
    Plan::new(means, vec![Step::text(text)], changes)
}

/// Writes of `First` and `Second` that read one of them.
fn two_tables(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let rows: Vec<u64> = values
        .keys()
        .filter(|cell| cell.table == Table::First)
        .map(|cell| cell.row)
        .collect();
    let ids = list(rows.iter().map(u64::to_string));
    let (one, two) = (spell(Table::First, dice), spell(Table::Second, dice));
    let is = |table: Table, row: u64| values[&table.cell(row)].is_some();
    let in_one = rows.iter().copied().filter(|row| is(Table::First, *row));
    let in_both: Vec<u64> = in_one.clone().filter(|row| is(Table::Second, *row)).collect();
    let on_both = |value: Value| {
        let cells = in_both
            .iter()
            .flat_map(|row| [Table::First, Table::Second].map(|it| it.cell(*row)));
        cells.map(|cell| (cell, value)).collect::<Changes>()
    };
    let (text, changes) = match means {
        Means::TwoTables if dice.once_in(2) => (
            format!(
                "UPDATE {one} AS a JOIN {two} AS b ON a.id = b.id SET a.n = {new}, b.n = {new} WHERE a.id IN ({ids})"
            ),
            on_both(Some(new)),
        ),
        Means::TwoTables => (
            format!("UPDATE {one} a, {two} b SET b.n = {new} WHERE b.id = a.id AND a.id IN ({ids})"),
            in_both
                .iter()
                .map(|row| (Table::Second.cell(*row), Some(new)))
                .collect(),
        ),
        Means::DeleteFromTwo => (
            format!("DELETE a, b FROM {one} AS a INNER JOIN {two} AS b ON b.id = a.id WHERE a.id IN ({ids})"),
            on_both(None),
        ),
        _ => (
            format!("REPLACE INTO {two} (id, n) SELECT id, {new} FROM {one} WHERE id IN ({ids})"),
            in_one.map(|row| (Table::Second.cell(row), Some(new))).collect(),
        ),
    };
    Plan::new(means, vec![Step::text(text)], changes)
}

fn cascade(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let row = values.keys().next().expect("a claimed cell").row;
    let (parent, child) = (Table::Parent.cell(row), Table::Child.cell(row));
    let name = spell(Table::Parent, dice);
    let there = |cell: Cell| values[&cell].is_some();
    if !there(parent) {
        let steps = [
            "BEGIN".to_owned(),
            format!("INSERT INTO {name} (id, n) VALUES ({row}, {new})"),
            format!("INSERT INTO child (id, n) VALUES ({row}, {new})"),
            "COMMIT".to_owned(),
        ];
        let changes = vec![(parent, Some(new)), (child, Some(new))];
        return Plan::new(means, steps.into_iter().map(Step::text).collect(), changes).at_its_end();
    }
    let (text, value) = match dice.below(4) {
        0 => (format!("DELETE FROM {name} WHERE id = {row}"), None),
        _ => (format!("UPDATE {name} SET n = {new} WHERE id = {row}"), Some(new)),
    };
    let mut changes = vec![(parent, value)];
    changes.extend(there(child).then_some((child, value)));
    Plan::new(means, vec![Step::text(text)], changes)
}

fn trigger(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let rows = values.iter().filter(|(cell, _)| cell.table == Table::Audited);
    let rows: Changes = rows.map(|(cell, value)| (*cell, *value)).collect();
    let (step, changes) = plain(Table::Audited, &rows, new, dice);
    // What is deleted is not deleted from the audit.
    let kept = changes.iter().filter(|(_, value)| value.is_some());
    let audit = kept.map(|(cell, value)| (Table::Audit.cell(cell.row), *value));
    let all = changes.iter().copied().chain(audit).collect();
    Plan::new(means, vec![step], all)
}

fn routine(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let (&cell, value) = values.iter().next().expect("a claimed cell");
    let row = cell.row;
    let there = value.is_some();
    let texts: &[&str] = match means {
        Means::Procedure => &["CALL put({row}, {new})", "call `{schema}`.`put`({row},{new})"],
        _ => &[
            "SELECT poke({row}, {new})",
            "DO poke({row}, {new})",
            "SELECT {schema}.poke({row}, {new}) FROM row_keys LIMIT 1",
        ],
    };
    let text = dice.pick(texts).replace("{schema}", SCHEMA);
    // The procedure replaces, the function updates.
    let changes = match means == Means::Procedure || there {
        true => vec![(cell, Some(new))],
        false => Vec::new(),
    };
    let fill = |text: &str| {
        text.replace("{row}", &row.to_string())
            .replace("{new}", &new.to_string())
    };
    Plan::new(means, vec![Step::text(fill(&text))], changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::world;

    fn plans(seed: u64) -> Vec<Plan> {
        let mut dice = Dice::new(seed);
        let mut draw = |new: u64| {
            let means = Means::draw(Flavor::MariaDb, &mut dice);
            let all = world::initial();
            let values = means
                .cells(&mut dice)
                .into_iter()
                .map(|cell| (cell, all[&cell]))
                .collect();
            plan(means, &values, new * 1000, &mut dice)
        };
        (1..=2000).map(&mut draw).collect()
    }

    #[test]
    fn a_seed_gives_the_same_writes_again_and_every_means_is_drawn() {
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
        let drawn: BTreeSet<Means> = plans(1).iter().map(|plan| plan.means).collect();
        let all: BTreeSet<Means> = Means::DRAWN.iter().copied().collect();
        assert_eq!(drawn, all);
        assert!(plans(1).iter().any(|plan| plan.rolled_back));
        let tables: BTreeSet<Table> = plans(1)
            .iter()
            .flat_map(|plan| &plan.changes)
            .map(|(cell, _)| cell.table)
            .collect();
        assert_eq!(tables.len(), Table::ALL.len());
    }
}
