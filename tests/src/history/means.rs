//! The means of writing, drawn from a seed, and the cells that a write by each needs.

use std::collections::BTreeSet;

use super::cells::{Cell, ROWS, Table};
use crate::Flavor;
use crate::differential::dice::Dice;

/// The means of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Means {
    /// One statement of the common sort.
    Plain,
    /// Several tables; committed, rolled back, or committed by what commits implicitly.
    Transaction,
    /// A transaction that a change of some table's definition commits.
    Definition,
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
    /// A table without transactions: what is rolled back or fails stays.
    Loose,
    /// Code whose reply is an error, after something has been committed.
    Failing,
    /// A new table takes the place of the old one.
    Shadow,
    /// A view becomes one of another table.
    Redirect,
    /// A table that the view may be of.
    Side,
    /// A trigger is made anew, and writes another table.
    Retrigger,
    Watched,
}

impl Means {
    /// Each as often as it stands here.
    pub(super) const DRAWN: &[Self] = &[
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Plain,
        Self::Transaction,
        Self::Transaction,
        Self::Transaction,
        Self::Definition,
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
        Self::Loose,
        Self::Loose,
        Self::Failing,
        Self::Shadow,
        Self::Redirect,
        Self::Side,
        Self::Side,
        Self::Retrigger,
        Self::Watched,
    ];

    /// One of all, or, unless it is to be `wild`, one whose text tells what it writes.
    pub fn draw(flavor: Flavor, wild: bool, dice: &mut Dice) -> Self {
        match Self::DRAWN[dice.below(Self::DRAWN.len())] {
            means if !wild && !means.is_told() => Self::Plain,
            Self::Code | Self::Returning if flavor == Flavor::MySql => Self::Plain,
            // Files are created and removed, which is slow.
            Self::Rename | Self::Truncate | Self::Shadow | Self::Retrigger if !dice.once_in(3) => Self::Plain,
            means => means,
        }
    }

    /// Whether the statement's text, or what hangs on its tables, tells what is written.
    fn is_told(self) -> bool {
        matches!(
            self,
            Self::Plain
                | Self::Transaction
                | Self::AutocommitOff
                | Self::Savepoint
                | Self::InsertSelect
                | Self::TwoTables
                | Self::DeleteFromTwo
                | Self::Cascade
                | Self::Trigger
                | Self::Locked
                | Self::Returning
                | Self::Loose
                | Self::Side
                | Self::Watched
        )
    }

    /// It keeps the session on its connection, where it would read from the active master only: nobody knows what such
    /// code leaves behind.
    pub fn ties(self) -> bool {
        matches!(
            self,
            Self::Procedure | Self::Function | Self::Failing | Self::Code | Self::Xa | Self::TextPrepared
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
            Self::Loose => (0..3).map(|_| Table::Loose.cell(row(dice))).collect(),
            Self::Shadow => Table::Made.cells().collect(),
            Self::Redirect => {
                let tables = [Table::East, Table::West, Table::Either];
                let cells = tables.into_iter().flat_map(Table::cells);
                cells.chain([Table::Either.switch()]).collect()
            }
            Self::Side => {
                let row = row(dice);
                let cells = [Table::East, Table::West, Table::Either].map(|table| table.cell(row));
                cells.into_iter().chain([Table::Either.switch()]).collect()
            }
            Self::Retrigger => [Table::Watched.switch()].into(),
            Self::Watched => {
                let row = row(dice);
                let cells = [Table::Watched, Table::LogOne, Table::LogTwo].map(|table| table.cell(row));
                cells.into_iter().chain([Table::Watched.switch()]).collect()
            }
            Self::Procedure | Self::Function | Self::Failing => [Called.cell(row(dice))].into(),
            Self::Rename => Left.cells().chain(Right.cells()).collect(),
            Self::Truncate => Cleared.cells().collect(),
            Self::Plain | Self::Returning | Self::Locked | Self::TextPrepared | Self::Code => {
                let table = Table::FREE[dice.below(Table::FREE.len())];
                (0..=dice.below(2)).map(|_| table.cell(row(dice))).collect()
            }
            Self::Transaction
            | Self::Definition
            | Self::AutocommitOff
            | Self::Savepoint
            | Self::Several
            | Self::Xa => {
                let count = 2 + dice.below(2);
                let table = |dice: &mut Dice| Table::FREE[dice.below(Table::FREE.len())];
                (0..count).map(|_| table(dice).cell(row(dice))).collect()
            }
        }
    }
}
