//! Draws reads from a seed, and finds the cells in their answers.

use std::collections::BTreeMap;

use mysql_async::Row;

use super::cells::{Cell, ROWS, Table, Value};
use super::statement::{Step, spell};
use crate::differential::dice::Dice;

/// Asks for the name of the server that answers: a table of the same name has other rows on each.
const MARK: &str = ", (SELECT name FROM test_here.here)";

/// A read. Its answer's columns are `id`, `n` of each of the tables, and the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub form: Form,
    pub step: Step,
    pub tables: Vec<Table>,
    pub rows: Vec<u64>,
    pub marked: bool,
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    One,
    Prepared,
    Whole,
    Several,
    Join,
    PreparedJoin,
    Union,
    With,
    Derived,
    Scalar,
    /// Through views over one, two, and other views' tables.
    View,
    WideView,
    FarView,
}

impl Form {
    pub const ALL: [Self; 13] = [
        Self::One,
        Self::Prepared,
        Self::Whole,
        Self::Several,
        Self::Join,
        Self::PreparedJoin,
        Self::Union,
        Self::With,
        Self::Derived,
        Self::Scalar,
        Self::View,
        Self::WideView,
        Self::FarView,
    ];
}

impl Question {
    pub fn draw(dice: &mut Dice) -> Self {
        let form = Form::ALL[dice.below(Form::ALL.len())];
        let marked = !dice.once_in(8);
        Self::of(form, marked, dice)
    }

    pub fn of(form: Form, marked: bool, dice: &mut Dice) -> Self {
        let mark = if marked { MARK } else { "" };
        let one = Table::ALL[dice.below(Table::ALL.len())];
        let two = Table::ALL[dice.below(Table::ALL.len())];
        let row = 1 + dice.below(ROWS as usize) as u64;
        let (a, b) = (spell(one, dice), spell(two, dice));
        let every: Vec<u64> = (1..=ROWS).collect();
        let mut parameters = Vec::new();
        let (text, tables, rows) = match form {
            Form::One => (
                format!("SELECT id, n{mark} FROM {a} WHERE id = {row}"),
                vec![one],
                vec![row],
            ),
            Form::Prepared => {
                parameters.push(row);
                (
                    format!("SELECT id, n{mark} FROM {a} WHERE id = ?"),
                    vec![one],
                    vec![row],
                )
            }
            Form::Whole => (
                format!("select `id`, `n`{mark} from {a} where id <= {ROWS}"),
                vec![one],
                every,
            ),
            Form::Several => {
                let text = format!(
                    "SELECT it.id, it.n{mark} FROM {a} AS it WHERE it.id IN (1, {row}) ORDER BY it.n DESC"
                );
                let rows = if row == 1 { vec![1] } else { vec![1, row] };
                (text, vec![one], rows)
            }
            Form::Join => (
                format!(
                    "SELECT k.id, a.n, b.n{mark} FROM row_keys k LEFT JOIN {a} a ON a.id = k.id LEFT JOIN {b} b ON b.id = k.id"
                ),
                vec![one, two],
                every,
            ),
            Form::PreparedJoin => {
                parameters.push(row);
                let text = format!(
                    "SELECT k.id, a.n, b.n{mark} FROM (row_keys AS k LEFT JOIN {a} AS a USING (id)) \
                     LEFT JOIN {b} AS b ON b.id = k.id WHERE k.id = ?"
                );
                (text, vec![one, two], vec![row])
            }
            Form::Union => (
                format!(
                    "SELECT id, n, NULL AS m{mark} FROM {a} WHERE id <= {ROWS} \
                     UNION ALL SELECT id, NULL, n{mark} FROM {b} WHERE id <= {ROWS}"
                ),
                vec![one, two],
                every,
            ),
            Form::With => (
                format!("WITH w AS (SELECT id, n FROM {a}) SELECT id, n{mark} FROM w WHERE id <= {ROWS}"),
                vec![one],
                every,
            ),
            Form::Derived => (
                format!("SELECT d.id, d.n{mark} FROM (SELECT id, n FROM {a} WHERE id <= {ROWS}) AS d"),
                vec![one],
                every,
            ),
            Form::Scalar => (
                format!("SELECT k.id, (SELECT x.n FROM {a} AS x WHERE x.id = k.id){mark} FROM row_keys AS k"),
                vec![one],
                every,
            ),
            Form::View => (
                format!("SELECT id, n{mark} FROM viewed_vv"),
                vec![Table::Viewed],
                every,
            ),
            Form::WideView => (
                format!("SELECT id, first_n, far_n, audit_n, child_n{mark} FROM wide_v"),
                vec![Table::First, Table::Far, Table::Audit, Table::Child],
                every,
            ),
            Form::FarView => {
                let text = format!("SELECT id, n{mark} FROM test_judged_far.third_v WHERE id = {row}");
                (text, vec![Table::Third], vec![row])
            }
        };
        Self {
            form,
            step: Step { text, parameters },
            tables,
            rows,
            marked,
        }
    }

    /// What the answer says of each cell that was asked for, and which server it is from. A row that is not there has no
    /// value; neither has the server's name, if no row tells it.
    ///
    /// # Panics
    /// When the answer does not have the columns that were asked for.
    pub fn seen(&self, answer: &[Row]) -> (Vec<(Cell, Value)>, Option<String>) {
        let asked = self
            .rows
            .iter()
            .flat_map(|row| self.tables.iter().map(|table| table.cell(*row)));
        let mut seen: BTreeMap<Cell, Value> = asked.map(|cell| (cell, None)).collect();
        let mut server = None;
        for row in answer {
            let id: u64 = row.get(0).expect("an id");
            for (index, table) in self.tables.iter().enumerate() {
                let n: Value = row.get(index + 1).expect("a value or NULL");
                let value = seen.get_mut(&table.cell(id)).expect("a row that was asked for");
                *value = value.or(n);
            }
            if self.marked {
                server = row.get(self.tables.len() + 1);
            }
        }
        (seen.into_iter().collect(), server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_reads_again_and_every_form_is_drawn() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..500).map(|_| Question::draw(&mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        for form in Form::ALL {
            assert!(draw(1).iter().any(|question| question.form == form), "{form:?}");
        }
    }
}
