//! Looks through a binary log, event by event, for what one connection committed.

use tandem_protocol::error::DecodeError;
use tandem_protocol::wire::Reader;

use super::event::{Change, Event, Rows, Table};
use super::row::Columns;
use super::{Doubt, Subject};
use crate::classify::says;
use crate::topology::gtid::Gtid;

/// Tables of one transaction that are kept apart; of one that changes more, no rows are counted.
const MOST_TABLES: usize = 64;

/// What a binary log has of a doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many transactions are the connection's.
    pub transactions: u32,
    /// The last one's name.
    pub gtid: Option<Gtid>,
    /// What it changed.
    pub tally: Tally,
    /// Transactions that could not be read, or have rows without the text that changed them: one of them may be it.
    pub sealed: u32,
    /// The log ends within a transaction.
    pub unfinished: bool,
    /// Triggers were made or dropped.
    pub triggers: bool,
}

/// The rows that a statement changed, in the table that it names, or in the only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// What its first row has in the column that counts by itself: as it was inserted, or else after an update.
    pub insert_id: Option<u64>,
    /// Rows could not be counted, or it can't be told which are the statement's own.
    pub uncertain: bool,
    /// The statement's text says that it is of several rows, or it may be.
    pub may_be_several: bool,
    /// It says what to do with rows that are there already.
    pub on_duplicate: bool,
}

#[derive(Debug, Default)]
struct Mapped {
    number: u64,
    is_target: bool,
    columns: Option<Columns>,
}

/// A search that goes on. Nothing that the log holds is kept but the one transaction's sums.
#[derive(Debug)]
pub struct Search<'d> {
    doubt: &'d Doubt,
    checksums: bool,
    found: Found,
    /// The transaction that is being read.
    gtid: Option<Gtid>,
    open: bool,
    ours: bool,
    sealed: bool,
    /// It has the text of a statement.
    worded: bool,
    /// It is a statement of its own, without an end.
    alone: bool,
    tables: Vec<Mapped>,
    tally: Tally,
}

impl<'d> Search<'d> {
    pub fn new(doubt: &'d Doubt) -> Self {
        Self {
            doubt,
            checksums: false,
            found: Found::default(),
            gtid: None,
            open: false,
            ours: false,
            sealed: false,
            worded: false,
            alone: false,
            tables: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Takes the log's next event.
    ///
    /// # Errors
    /// When it can't be read: then the log tells nothing.
    pub fn event(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        match Event::decode(bytes, self.checksums)? {
            Event::Format { checksums } => self.checksums = checksums,
            Event::Begin { gtid, alone } => {
                self.close();
                self.gtid = gtid;
                self.open = true;
                self.worded = false;
                // MySQL does not say so: there each transaction that is none begins without `BEGIN`.
                self.alone = alone || !matches!(gtid, Some(Gtid::MariaDb { .. }));
            }
            Event::Text(text) => self.text(text),
            Event::Query { thread, text } => self.query(thread, text),
            Event::Table(table) => self.table(&table),
            Event::Rows(rows) => self.rows(&rows),
            Event::Commit => self.close(),
            Event::Sealed => self.sealed = true,
            Event::Other => {}
        }
        Ok(())
    }

    /// The log has ended.
    pub fn finish(mut self) -> Found {
        self.found.unfinished = self.open && !self.alone;
        if self.alone {
            self.close();
        }
        self.found
    }

    fn close(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let sealed = std::mem::take(&mut self.sealed);
        if std::mem::take(&mut self.ours) {
            self.tally.uncertain |= sealed;
            self.found.transactions += 1;
            self.found.gtid = self.gtid;
            self.found.tally = std::mem::take(&mut self.tally);
        } else {
            self.found.sealed += u32::from(sealed);
        }
        self.tally = Tally::default();
        self.tables.clear();
    }

    fn text(&mut self, text: &[u8]) {
        if self.doubt.token.begins(text) {
            self.ours = true;
            self.tally.may_be_several = may_be_several(text);
            self.tally.on_duplicate = says(text, b"duplicate");
        }
        self.worded = true;
        // Table numbers are of one statement.
        self.tables.clear();
    }

    fn query(&mut self, thread: u32, text: &[u8]) {
        match text {
            b"BEGIN" => {
                self.alone = false;
                return;
            }
            // What has been written to tables without transactions stays.
            b"ROLLBACK" => {
                self.sealed |= std::mem::take(&mut self.ours);
                return self.close();
            }
            _ => self.sealed |= text.starts_with(b"XA "),
        }
        self.found.triggers |= says(text, b"trigger");
        // The servers write some definitions anew, without their comments.
        let of_thread =
            matches!(self.doubt.subject, Subject::Definition { thread: Some(ours) } if ours == thread);
        if self.doubt.token.begins(text) || of_thread && self.doubt.is_of_lost(self.gtid) {
            self.ours = true;
        }
    }

    fn table(&mut self, table: &Table<'_>) {
        if self.tables.len() == MOST_TABLES {
            self.tally.uncertain = true;
            return;
        }
        let is_target = match &self.doubt.table {
            Some(target) => {
                *target.schema.as_bytes() == *table.schema && *target.name.as_bytes() == *table.name
            }
            None => true,
        };
        self.tables.push(Mapped {
            number: table.number,
            is_target,
            columns: Columns::of(table),
        });
    }

    fn rows(&mut self, rows: &Rows<'_>) {
        self.sealed |= !self.worded;
        let Some(index) = self.tables.iter().rposition(|table| table.number == rows.table) else {
            self.tally.uncertain = true;
            return;
        };
        let table = &self.tables[index];
        let others = self.tables.iter().any(|table| table.number != rows.table);
        if self.doubt.table.is_none() && others {
            // Which of them the statement counts can't be told.
            self.tally.uncertain = true;
        }
        if !table.is_target {
            return;
        }
        let counted = match &table.columns {
            Some(columns) if columns.count() == rows.columns => {
                count(columns, rows, self.doubt.counter, &mut self.tally)
            }
            _ => None,
        };
        self.tally.uncertain |= counted.is_none();
    }
}

/// Adds the rows; `None` when they can't be told apart.
fn count(columns: &Columns, rows: &Rows<'_>, counter: Option<usize>, tally: &mut Tally) -> Option<()> {
    let mut images = Reader::new(rows.images);
    while !images.is_empty() {
        let [before, after] = rows.present;
        let left = images.remaining();
        let mut id = columns.row(before, &mut images, counter).ok()?;
        if rows.change == Change::Update {
            id = columns.row(after, &mut images, counter).ok()?;
        }
        if images.remaining() == left {
            // Rows without any column: there is no end of them.
            return None;
        }
        let inserts_before = tally.inserted;
        match rows.change {
            Change::Insert => tally.inserted += 1,
            Change::Update => tally.updated += 1,
            Change::Delete => tally.deleted += 1,
        }
        let counts = match rows.change {
            Change::Insert => inserts_before == 0,
            Change::Update => tally.insert_id.is_none(),
            Change::Delete => false,
        };
        if counts && id.is_some() {
            tally.insert_id = id;
        }
    }
    Some(())
}

/// Whether a statement may be of several rows: it has several lists of values, or a query. Says so too often.
fn may_be_several(text: &[u8]) -> bool {
    let lists = text.iter().enumerate().any(|(at, &byte)| {
        let rest = text[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        byte == b')' && rest == Some(&b',')
    });
    lists
        || [&b"select"[..], b"table", b"load"]
            .iter()
            .any(|word| says(text, word))
}
