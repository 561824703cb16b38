//! What is written and read: cells, each the column `n` of one row of one table.

use std::fmt;

/// Rows of each table, by `id` from 1.
pub const ROWS: u64 = 6;

/// The schema of nearly all tables, and the one of [`Table::Far`].
pub const SCHEMA: &str = "test_judged";
pub const FAR_SCHEMA: &str = "test_judged_far";

/// All tables have the columns `id`, the primary key, and `n`; they differ in how they can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    First,
    Second,
    /// A view in the other schema writes it too.
    Third,
    /// `Child`'s `n` follows this one's: `ON UPDATE CASCADE`, `ON DELETE CASCADE`.
    Parent,
    Child,
    /// A trigger writes the same into `Audit`.
    Audited,
    Audit,
    /// Written by a procedure and by functions.
    Called,
    /// Written and read through views.
    Viewed,
    /// `Left` and `Right` change their names.
    Left,
    Right,
    /// Long, and altered now and then.
    Altered,
    /// Truncated now and then.
    Cleared,
    /// In another schema.
    Far,
    /// Without transactions.
    Loose,
    /// Its place is taken by a new table of its name now and then.
    Made,
    /// Written by themselves, and read through a view, `Either`, that is now of one and now of the other.
    East,
    West,
    Either,
    /// A trigger writes the same into `LogOne` or `LogTwo`, and is made anew now and then.
    Watched,
    LogOne,
    LogTwo,
}

use Table::{
    Altered, Audit, Audited, Called, Child, Cleared, East, Either, Far, First, Left, LogOne, LogTwo, Loose,
    Made, Parent, Right, Second, Third, Viewed, Watched, West,
};

impl Table {
    pub const ALL: [Self; 22] = [
        First, Second, Third, Parent, Child, Audited, Audit, Called, Viewed, Left, Right, Altered, Cleared,
        Far, Loose, Made, East, West, Either, Watched, LogOne, LogTwo,
    ];

    /// Those that any statement may write: nothing else depends on their rows.
    pub const FREE: [Self; 10] = [
        First, Second, Third, Called, Viewed, Left, Right, Altered, Cleared, Far,
    ];

    pub fn name(self) -> &'static str {
        match self {
            First => "first",
            Second => "second",
            Third => "third",
            Parent => "parent",
            Child => "child",
            Audited => "audited",
            Audit => "audit",
            Called => "called",
            Viewed => "viewed",
            Left => "left_half",
            Right => "right_half",
            Altered => "altered",
            Cleared => "cleared",
            Far => "far",
            Loose => "loose",
            Made => "made",
            East => "east",
            West => "west",
            Either => "either_v",
            Watched => "watched",
            LogOne => "log_one",
            LogTwo => "log_two",
        }
    }

    pub fn schema(self) -> &'static str {
        match self {
            Far => FAR_SCHEMA,
            _ => SCHEMA,
        }
    }

    pub fn cell(self, row: u64) -> Cell {
        Cell { table: self, row }
    }

    /// A cell that no table has: it tells which of two tables `Either` is of now, or `Watched`'s trigger writes: 0 or 1.
    pub fn switch(self) -> Cell {
        self.cell(0)
    }

    pub fn cells(self) -> impl Iterator<Item = Cell> {
        (1..=ROWS).map(move |row| self.cell(row))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    pub table: Table,
    pub row: u64,
}

impl Cell {
    /// Whether a table has it.
    pub fn is_real(self) -> bool {
        self.row > 0
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}.{} row {}",
            self.table.schema(),
            self.table.name(),
            self.row
        )
    }
}

/// `n`, or that there is no such row.
pub type Value = Option<u64>;

/// A value in words.
pub fn words(value: Value) -> String {
    value.map_or("no row".to_owned(), |n| n.to_string())
}
