//! The events of a binary log, as far as they tell who committed what: MariaDB's and MySQL's.
//!
//! Layouts: the servers' manuals ("Binlog event", "Replication protocol"), and captures of both (`outcome/tests`).

use tandem_protocol::error::DecodeError;
use tandem_protocol::wire::Reader;

use crate::topology::gtid::Gtid;

/// Bytes before an event's own: time, type, server, length, end, flags.
pub const HEADER_LEN: usize = 19;

/// A CRC32 behind each event, where the log has checksums.
const CHECKSUM_LEN: usize = 4;

/// Types of events.
mod kind {
    pub(super) const QUERY: u8 = 2;
    pub(super) const FORMAT: u8 = 15;
    pub(super) const XID: u8 = 16;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const ROWS_V1: [u8; 3] = [23, 24, 25];
    pub(super) const ROWS_QUERY: u8 = 29;
    pub(super) const ROWS_V2: [u8; 3] = [30, 31, 32];
    pub(super) const GTID: u8 = 33;
    /// A commit without a name.
    pub(super) const ANONYMOUS_GTID: u8 = 34;
    pub(super) const XA_PREPARE: u8 = 38;
    /// Updates of parts of JSON documents.
    pub(super) const PARTIAL_UPDATE: u8 = 39;
    /// A whole transaction, compressed.
    pub(super) const PAYLOAD: u8 = 40;
    /// A commit whose name has a tag.
    pub(super) const TAGGED_GTID: u8 = 42;
    pub(super) const ANNOTATE_ROWS: u8 = 160;
    pub(super) const MARIADB_GTID: u8 = 162;
    /// MariaDB's `log_bin_compress`: statements, and rows of six types.
    pub(super) const COMPRESSED_QUERY: u8 = 165;
    pub(super) const COMPRESSED_ROWS: std::ops::RangeInclusive<u8> = 166..=171;
}

/// What rows events do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Insert,
    Update,
    Delete,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The log's format: whether what follows has checksums.
    Format {
        checksums: bool,
    },
    /// A transaction begins; `None` is one whose name can't be told.
    Begin {
        gtid: Option<Gtid>,
        /// It is one statement without an end of its own.
        alone: bool,
    },
    /// The statement whose rows follow.
    Text(&'a [u8]),
    /// A statement as it was logged; `BEGIN` and `COMMIT` among them.
    Query {
        thread: u32,
        text: &'a [u8],
    },
    Table(Table<'a>),
    Rows(Rows<'a>),
    /// The transaction is committed.
    Commit,
    /// Something that belongs to a transaction and can't be read.
    Sealed,
    /// What does not matter here.
    Other,
}

/// The table that the rows with this number are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    pub number: u64,
    pub schema: &'a [u8],
    pub name: &'a [u8],
    /// A byte for each column.
    pub types: &'a [u8],
    pub metadata: &'a [u8],
}

/// Rows that were changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    pub change: Change,
    pub table: u64,
    pub columns: usize,
    /// Which columns are there; of an update, before and after.
    pub present: [&'a [u8]; 2],
    pub images: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads one event; `checksums` is what the [`Event::Format`] before it has said.
    ///
    /// # Errors
    /// When it is shorter than its own fields say.
    pub fn decode(bytes: &'a [u8], checksums: bool) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.u32("event time")?;
        let kind = reader.u8("event type")?;
        let server = reader.u32("event server")?;
        reader.take(10, "event header")?;
        let body = reader.rest();
        if kind == kind::FORMAT {
            return format(body);
        }
        let body = match checksums {
            true => body
                .len()
                .checked_sub(CHECKSUM_LEN)
                .map(|end| &body[..end])
                .ok_or(DecodeError::Truncated {
                    field: "event checksum",
                })?,
            false => body,
        };
        let mut reader = Reader::new(body);
        match kind {
            kind::QUERY => query(reader),
            kind::XID => Ok(Self::Commit),
            kind::TABLE_MAP => table(reader).map(Self::Table),
            kind::ROWS_QUERY => {
                // A length that is too small for long texts; the manual says to look at the event's own.
                reader.u8("length of the text")?;
                Ok(Self::Text(reader.rest()))
            }
            kind::ANNOTATE_ROWS => Ok(Self::Text(body)),
            kind::GTID => {
                reader.u8("GTID flags")?;
                let gtid = Gtid::MySql {
                    source: reader.array("GTID source")?,
                    transaction: reader.u64("GTID number")?,
                };
                let gtid = Some(gtid);
                Ok(Self::Begin { gtid, alone: false })
            }
            kind::ANONYMOUS_GTID | kind::TAGGED_GTID => Ok(Self::Begin {
                gtid: None,
                alone: false,
            }),
            kind::MARIADB_GTID => {
                let sequence = reader.u64("GTID sequence")?;
                let domain = reader.u32("GTID domain")?;
                let alone = reader.u8("GTID flags")? & 1 != 0;
                let gtid = Gtid::MariaDb {
                    domain,
                    server,
                    sequence,
                };
                let gtid = Some(gtid);
                Ok(Self::Begin { gtid, alone })
            }
            kind::XA_PREPARE | kind::PARTIAL_UPDATE | kind::PAYLOAD | kind::COMPRESSED_QUERY => {
                Ok(Self::Sealed)
            }
            _ if kind::COMPRESSED_ROWS.contains(&kind) => Ok(Self::Sealed),
            _ => match change(kind) {
                Some((change, has_extra)) => rows(reader, change, has_extra).map(Self::Rows),
                None => Ok(Self::Other),
            },
        }
    }
}

/// What a rows event does, and whether it may hold more than rows.
fn change(kind: u8) -> Option<(Change, bool)> {
    const CHANGES: [Change; 3] = [Change::Insert, Change::Update, Change::Delete];
    let at = |kinds: [u8; 3]| kinds.iter().position(|&known| known == kind);
    match (at(kind::ROWS_V1), at(kind::ROWS_V2)) {
        (Some(index), _) => Some((CHANGES[index], false)),
        (None, Some(index)) => Some((CHANGES[index], true)),
        (None, None) => None,
    }
}

/// The last five bytes are the kind of checksum and the format's own, which is always there.
fn format(body: &[u8]) -> Result<Event<'_>, DecodeError> {
    let at = body.len().checked_sub(CHECKSUM_LEN + 1);
    let kind = at.and_then(|at| body.get(at));
    let kind = kind.ok_or(DecodeError::Truncated {
        field: "kind of checksum",
    })?;
    Ok(Event::Format {
        checksums: *kind == 1,
    })
}

fn query(mut reader: Reader<'_>) -> Result<Event<'_>, DecodeError> {
    let thread = reader.u32("query thread")?;
    reader.u32("query time")?;
    let schema = usize::from(reader.u8("length of the query's schema")?);
    reader.u16("query error")?;
    let status = usize::from(reader.u16("length of the query's status")?);
    reader.take(status, "query status")?;
    reader.take(schema + 1, "query schema")?;
    Ok(match reader.rest() {
        b"COMMIT" => Event::Commit,
        text => Event::Query { thread, text },
    })
}

fn number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let [a, b, c, d, e, f] = reader.array("table number")?;
    Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

fn table(mut reader: Reader<'_>) -> Result<Table<'_>, DecodeError> {
    let number = number(&mut reader)?;
    reader.u16("table flags")?;
    let mut name = |field| {
        let length = usize::from(reader.u8(field)?);
        let name = reader.take(length, field)?;
        reader.u8(field)?;
        Ok::<_, DecodeError>(name)
    };
    let (schema, name) = (name("table schema")?, name("table name")?);
    let columns = columns(&mut reader)?;
    Ok(Table {
        number,
        schema,
        name,
        types: reader.take(columns, "column types")?,
        metadata: reader.lenenc_bytes("column metadata")?,
    })
}

fn columns(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let value = reader.lenenc_int("number of columns")?;
    // A table has at most 4096 (MySQL) or 8000 columns (MariaDB).
    let columns = u16::try_from(value).map_err(|_| DecodeError::Invalid {
        field: "number of columns",
        value,
    })?;
    Ok(usize::from(columns))
}

fn rows(mut reader: Reader<'_>, change: Change, has_extra: bool) -> Result<Rows<'_>, DecodeError> {
    let table = number(&mut reader)?;
    reader.u16("row flags")?;
    if has_extra {
        // Its length counts itself.
        let length = usize::from(reader.u16("length of what is extra")?);
        reader.take(length.saturating_sub(2), "what is extra")?;
    }
    let columns = columns(&mut reader)?;
    let before = reader.take(columns.div_ceil(8), "columns that are there")?;
    let after = match change {
        Change::Update => reader.take(columns.div_ceil(8), "columns that are there")?,
        Change::Insert | Change::Delete => before,
    };
    Ok(Rows {
        change,
        table,
        columns,
        present: [before, after],
        images: reader.rest(),
    })
}
