//! Makes the statements that write claimed cells by some means, and tells what is in the cells afterwards.

use std::collections::BTreeMap;

use super::cells::{Cell, SCHEMA, Table, Value};
use super::means::Means;
use super::statement::{Changes, Step, list, plain, spell};
use crate::Flavor;
use crate::differential::dice::Dice;

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
    /// The error that is the reply to the step that commits.
    pub error: Option<u16>,
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
            error: None,
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
pub fn plan(means: Means, values: &Values, new: u64, flavor: Flavor, dice: &mut Dice) -> Plan {
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
        Means::Transaction | Means::Definition => transaction(means, values, new, dice),
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
        Means::Loose => loose(means, values, new, dice),
        Means::Failing => failing(means, values, new, flavor, dice),
        Means::Shadow => shadow(means, values, new, dice),
        Means::Redirect => {
            let (now, other) = sides(values);
            let name = other.name();
            let text = format!("CREATE OR REPLACE VIEW either_v AS SELECT id, n FROM {name}");
            let view = other
                .cells()
                .map(|cell| (Table::Either.cell(cell.row), values[&cell]));
            let turned = (Table::Either.switch(), Some(u64::from(now == Table::East)));
            Plan::new(means, vec![Step::text(text)], view.chain([turned]).collect())
        }
        Means::Side => {
            let (now, other) = sides(values);
            let side = if dice.once_in(3) { other } else { now };
            let rows: Changes = values
                .iter()
                .filter(|(cell, _)| cell.table == side)
                .map(|(c, v)| (*c, *v))
                .collect();
            let (step, mut changes) = plain(side, &rows, new, dice);
            if side == now {
                let seen = |(cell, value): &(Cell, Value)| (Table::Either.cell(cell.row), *value);
                changes.extend(changes.iter().map(seen).collect::<Changes>());
            }
            Plan::new(means, vec![step], changes)
        }
        Means::Retrigger => {
            let (_, other) = logs(values);
            let steps = [
                "DROP TRIGGER watched_updated".to_owned(),
                format!(
                    "CREATE TRIGGER watched_updated AFTER UPDATE ON watched FOR EACH ROW \
                     REPLACE INTO {} VALUES (NEW.id, NEW.n)",
                    other.name()
                ),
            ];
            let turned = (Table::Watched.switch(), Some(u64::from(other == Table::LogTwo)));
            let mut plan = Plan::new(means, steps.into_iter().map(Step::text).collect(), vec![turned]);
            plan.undo = None;
            plan
        }
        Means::Watched => {
            let (now, _) = logs(values);
            let cell = *values.keys().find(|cell| cell.is_real()).expect("a claimed cell");
            let name = spell(Table::Watched, dice);
            let text = format!("UPDATE {name} SET n = {new} WHERE id = {}", cell.row);
            let changes = [Table::Watched, now].map(|table| (table.cell(cell.row), Some(new)));
            Plan::new(means, vec![Step::text(text)], changes.into())
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
    // The last one commits implicitly.
    let ends = ["COMMIT", "COMMIT", "commit work", "COMMIT AND CHAIN", "BEGIN"];
    let end = match rolled_back {
        true => "ROLLBACK",
        false if means == Means::Definition => "ALTER TABLE idle COMMENT = ''",
        false => dice.pick(&ends),
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

/// The table that `Either` is of, and the other one.
fn sides(values: &Values) -> (Table, Table) {
    match values[&Table::Either.switch()] {
        Some(0) => (Table::East, Table::West),
        _ => (Table::West, Table::East),
    }
}

/// The table that `Watched`'s trigger writes, and the other one.
fn logs(values: &Values) -> (Table, Table) {
    match values[&Table::Watched.switch()] {
        Some(0) => (Table::LogOne, Table::LogTwo),
        _ => (Table::LogTwo, Table::LogOne),
    }
}

fn loose(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let rows: Changes = values.iter().map(|(cell, value)| (*cell, *value)).collect();
    let (present, absent): (Changes, Changes) = rows.iter().copied().partition(|(_, value)| value.is_some());
    if let (Some((there, _)), false) = (present.first(), absent.is_empty()) {
        // All before the row that is there already are inserted, and stay.
        let tuple = |(cell, _): &(Cell, Value)| format!("({},{new})", cell.row);
        let tuples = list(absent.iter().map(tuple).chain([format!("({},{new})", there.row)]));
        let text = format!("INSERT INTO loose (id, n) VALUES {tuples}");
        let changes = absent.iter().map(|(cell, _)| (*cell, Some(new))).collect();
        let mut plan = Plan::new(means, vec![Step::text(text)], changes);
        plan.error = Some(DUPLICATE);
        plan.undo = None;
        return plan;
    }
    let (step, changes) = plain(Table::Loose, &rows, new, dice);
    let mut plan = Plan::new(means, vec![step], changes);
    if dice.once_in(3) {
        plan.steps.insert(0, Step::text("BEGIN"));
        plan.steps.push(Step::text("ROLLBACK"));
        plan.commit = 1;
    }
    plan.undo = None;
    plan
}

fn failing(means: Means, values: &Values, new: u64, flavor: Flavor, dice: &mut Dice) -> Plan {
    let cell = *values.keys().next().expect("a claimed cell");
    let row = cell.row;
    let count = if flavor == Flavor::MariaDb { 4 } else { 3 };
    let (text, error) = match dice.below(count) {
        0 => (format!("CALL put_and_fail({row}, {new})"), SIGNALLED),
        1 => (format!("CALL put_and_miss({row}, {new})"), NO_SUCH_TABLE),
        2 => (
            format!("REPLACE INTO called VALUES ({row}, {new}); SELECT n FROM missing"),
            NO_SUCH_TABLE,
        ),
        _ => {
            let text = format!(
                "BEGIN NOT ATOMIC REPLACE INTO called VALUES ({row}, {new}); SIGNAL SQLSTATE '45000'; END"
            );
            (text, SIGNALLED)
        }
    };
    let mut plan = Plan::new(means, vec![Step::text(text)], vec![(cell, Some(new))]);
    plan.error = Some(error);
    plan.undo = None;
    plan
}

fn shadow(means: Means, values: &Values, new: u64, dice: &mut Dice) -> Plan {
    let steps: &[&str] = match dice.once_in(2) {
        true => &[
            "CREATE TABLE shadow (id INT PRIMARY KEY, n BIGINT NOT NULL) AS SELECT id, {new} AS n FROM row_keys",
        ],
        false => &[
            "CREATE TABLE shadow LIKE made",
            "INSERT INTO shadow SELECT id, {new} FROM row_keys",
        ],
    };
    let fill = |step: &&str| Step::text(step.replace("{new}", &new.to_string()));
    let mut all: Vec<Step> = steps.iter().map(fill).collect();
    let commit = all.len();
    all.push(Step::text("RENAME TABLE made TO old_made, shadow TO made"));
    all.push(Step::text("DROP TABLE old_made"));
    let changes = values.keys().map(|cell| (*cell, Some(new))).collect();
    let mut plan = Plan::new(means, all, changes);
    plan.commit = commit;
    plan.undo = None;
    plan
}

/// ER_DUP_ENTRY, ER_SIGNAL_EXCEPTION, ER_NO_SUCH_TABLE.
const DUPLICATE: u16 = 1062;
const SIGNALLED: u16 = 1644;
const NO_SUCH_TABLE: u16 = 1146;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::history::world;

    fn plans(seed: u64) -> Vec<Plan> {
        let mut dice = Dice::new(seed);
        let mut draw = |new: u64| {
            let means = Means::draw(Flavor::MariaDb, true, &mut dice);
            let all = world::initial();
            let values = means
                .cells(&mut dice)
                .into_iter()
                .map(|cell| (cell, all[&cell]))
                .collect();
            plan(means, &values, new * 1000, Flavor::MariaDb, &mut dice)
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
        // All but the one that the trigger writes only after it was made anew: here nothing is carried out.
        assert_eq!(tables.len(), Table::ALL.len() - 1);
    }
}
