//! The walker: follows the reply to one command to its end without decoding it.
//!
//! It looks at the header and the first byte of each packet, and only OK, EOF, ERR and the answer
//! to a prepare are handed out whole. Everything else passes as runs of bytes, as long as the
//! input allows, so that a buffer full of rows is forwarded with one call.
//!
//! ```text
//! Head --columns--> Columns --legacy--> ColumnsEof --> Rows --OK or EOF--> Done
//!  |  \--LOCAL INFILE--> Head              \--cursor--> Done   \--more results--> Head
//!  \--OK or ERR--> Done (or Head, where the status says that more results follow)
//! ```

use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
use crate::packet::err::{ERR_HEADER, PROGRESS_CODE};
use crate::packet::ok::{OK_AS_EOF_HEADER, OK_HEADER};
use crate::packet::prepare_ok::PrepareOk;
use crate::wire::Reader;

/// Head of the request for a file from the client, in place of a column count.
const LOCAL_INFILE_HEADER: u8 = 0xFB;
/// A legacy EOF has five bytes, so under its header a shorter packet than this is one, and a
/// longer one a row whose first value is over 16 MiB (the manual's "Protocol::EOF_Packet").
const LEGACY_EOF_BELOW: usize = 9;
/// The shortest OK under the EOF header: header, two numbers, status, warnings.
const SHORTEST_OK: usize = 7;

/// What kind of reply the command has.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Expect {
    /// COM_QUERY.
    Query,
    /// COM_STMT_PREPARE.
    Prepare,
    /// COM_STMT_EXECUTE and COM_STMT_BULK_EXECUTE.
    Execute,
    /// COM_STMT_FETCH.
    Fetch,
    /// COM_FIELD_LIST.
    FieldList,
    /// One OK, ERR or EOF.
    Single,
    /// One packet of text, or ERR.
    Statistics,
    /// COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID: events until an EOF or ERR, if ever.
    Dump,
}

/// A packet that the walker hands out whole.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Control {
    /// For [`crate::packet::OkPacket`], under either header.
    Ok,
    /// For [`crate::packet::EofPacket`].
    Eof,
    Err,
    PrepareOk,
    /// The column count of a result, where [`Walker::handing_out_counts`] asked for it.
    ColumnCount,
    /// The client has to send a file; the same reply goes on after it.
    LocalInfile,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Step {
    /// The first bytes, never none, belong to the reply and are opaque.
    Pass(usize),
    /// One complete packet at the start of the input; `len` includes its header.
    Packet { len: usize, kind: Control },
    /// At least this many bytes must be in the input before it's worth calling again.
    Need(usize),
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum State {
    /// The first packet of a result.
    Head,
    /// Definitions of a result's columns.
    Columns(u64),
    /// The legacy EOF between definitions and rows.
    ColumnsEof,
    Rows,
    /// Definitions of COM_FIELD_LIST, ended by OK or EOF.
    Definitions,
    /// Definitions of a prepared statement's parameters and then columns.
    Prepared {
        params: u16,
        columns: u16,
    },
    /// The legacy EOF behind one kind of them; `columns` are still to come.
    PreparedEof {
        columns: u16,
    },
    /// One packet of text.
    Text,
    /// Events of a binlog, each behind a zero.
    Events,
    Done,
}

/// Which number the next packet must have.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Due {
    Number(u8),
    /// The next one begins a count that is not known.
    First,
    /// None counts.
    Nothing,
}

/// Follows one reply.
///
/// The numbers of its packets must count up from that of the command: what is left of another reply, or belongs to another
/// session, is not taken for this one's, however right it looks.
#[derive(Debug, Clone)]
pub struct Walker {
    state: State,
    due: Due,
    expect: Expect,
    capabilities: Capabilities,
    /// Bytes of an opaque packet that are still to come.
    skip: usize,
    /// The next frame continues a payload, so its first byte means nothing.
    continued: bool,
    rows: u64,
    columns: u64,
    /// The rows are OUT parameters, and another result follows.
    out_params: bool,
    /// The definitions of a prepared statement are left out, but not the legacy EOFs behind them
    /// (MySQL 9.7 under `resultset_metadata=NONE`).
    bare: bool,
    hands_out_counts: bool,
    parts_rows: bool,
    /// What was passed last is of rows: see [`Walker::parting_rows`].
    in_rows: bool,
}

impl Walker {
    pub fn new(expect: Expect, capabilities: Capabilities) -> Self {
        let state = match expect {
            Expect::Fetch => State::Rows,
            Expect::FieldList => State::Definitions,
            Expect::Statistics => State::Text,
            Expect::Dump => State::Events,
            Expect::Query | Expect::Prepare | Expect::Execute | Expect::Single => State::Head,
        };
        // Under compression the servers number the packets within by the compressed ones, and a dump's go on for ever.
        let uncounted = expect == Expect::Dump || capabilities.intersects(COMPRESSED);
        Self {
            state,
            due: match uncounted {
                true => Due::Nothing,
                false => Due::Number(1),
            },
            expect,
            capabilities,
            skip: 0,
            continued: false,
            rows: 0,
            columns: 0,
            out_params: false,
            bare: false,
            hands_out_counts: false,
            parts_rows: false,
            in_rows: false,
        }
    }

    /// The first packet must have this number: of a command in several frames, the reply goes on where these have ended.
    #[must_use]
    pub fn beginning_at(mut self, number: u8) -> Self {
        if let Due::Number(due) = &mut self.due {
            *due = number;
        }
        self
    }

    /// The column count of each result comes as [`Control::ColumnCount`], for who has to change it.
    #[must_use]
    pub fn handing_out_counts(self) -> Self {
        Self {
            hands_out_counts: true,
            ..self
        }
    }

    /// Rows are passed by themselves, not in one run with the definitions before them: [`Self::is_in_rows`] tells, behind
    /// a step that passed something, what it was.
    #[must_use]
    pub fn parting_rows(self) -> Self {
        Self {
            parts_rows: true,
            ..self
        }
    }

    /// Whether the last step passed bytes of rows, where [`Self::parting_rows`] asked for it.
    #[must_use]
    pub fn is_in_rows(&self) -> bool {
        self.in_rows
    }

    /// Whether the whole reply was stepped over. What follows in the input belongs to the next.
    pub fn is_done(&self) -> bool {
        self.state == State::Done && self.skip == 0 && !self.continued
    }

    /// What comes next is the head of a result: nothing has come, or another result is complete.
    #[must_use]
    pub fn is_at_head(&self) -> bool {
        self.state == State::Head && self.skip == 0 && !self.continued
    }

    /// How many bytes of a packet that has begun are still to come; nothing where more packets continue it.
    #[must_use]
    pub fn left_of_packet(&self) -> Option<usize> {
        (!self.continued).then_some(self.skip)
    }

    /// Rows begun so far, of all results of the reply.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Columns of the last result that has begun.
    pub fn columns(&self) -> u64 {
        self.columns
    }

    /// Takes one step. `input` starts where the last step ended.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let taken = self.skip.min(input.len() - at);
                self.skip -= taken;
                at += taken;
                if self.skip > 0 {
                    return Ok(pass_or_need(at, 1));
                }
            }
            let rest = &input[at..];
            if self.continued {
                let Some(header) = Header::peek(rest) else {
                    return Ok(pass_or_need(at, HEADER_LEN));
                };
                self.check_number(header.seq)?;
                at += self.open_frame(header);
                continue;
            }
            if self.state == State::Done {
                return match at {
                    0 => Err(DecodeError::Finished),
                    _ => Ok(Step::Pass(at)),
                };
            }
            if self.parts_rows && self.in_rows != (self.state == State::Rows) {
                if at > 0 {
                    return Ok(Step::Pass(at));
                }
                self.in_rows = !self.in_rows;
            }
            if self.state == State::Rows {
                let passed = self.pass_rows(rest);
                if passed > 0 {
                    at += passed;
                    continue;
                }
            }
            let (Some(header), Some(&first)) = (Header::peek(rest), rest.get(HEADER_LEN)) else {
                return self.incomplete(at, rest);
            };
            if header.len == 0 {
                return Err(EMPTY_PACKET);
            }
            // What a server says before it hangs up on a client that has not asked anything is no answer, and has no number.
            if !(first == ERR_HEADER && header.seq == 0 && self.due == Due::Number(1)) {
                self.check_number(header.seq)?;
            }
            match self.classify(header, first, rest)? {
                Seen::Opaque => at += self.open_frame(header),
                Seen::Unclear(need) => return Ok(pass_or_need(at, need)),
                // Hand out first what is before the packet, then look at it again.
                Seen::Control(_) if at > 0 => return Ok(Step::Pass(at)),
                Seen::Control(kind) => return self.hand_out(header, kind, rest),
            }
        }
    }

    /// Passes whole rows, and the beginning of the last. This is the hot path.
    #[inline]
    fn pass_rows(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&[a, b, c, seq, first]) = input.get(at..).and_then(<[u8]>::first_chunk) {
            let len = u32::from_le_bytes([a, b, c, 0]) as usize;
            // Whatever may be the end of the rows, is too long for one frame or is empty is
            // looked at closely by the caller.
            if first >= OK_AS_EOF_HEADER || len == MAX_PAYLOAD || len == 0 || self.check_number(seq).is_err()
            {
                break;
            }
            self.count(seq);
            at += HEADER_LEN + len;
            self.rows += 1;
        }
        let passed = at.min(input.len());
        self.skip = at - passed;
        passed
    }

    /// Steps over the header of an opaque frame.
    fn open_frame(&mut self, header: Header) -> usize {
        self.count(header.seq);
        self.skip = header.len;
        self.continued = header.is_continued();
        HEADER_LEN
    }

    fn check_number(&self, seq: u8) -> Result<(), DecodeError> {
        match self.due {
            Due::Number(expected) if expected != seq => Err(DecodeError::Sequence { expected, got: seq }),
            Due::Number(_) | Due::First | Due::Nothing => Ok(()),
        }
    }

    /// A packet with this number was stepped over.
    fn count(&mut self, seq: u8) {
        if self.due != Due::Nothing {
            self.due = Due::Number(seq.wrapping_add(1));
        }
    }

    fn incomplete(&self, at: usize, rest: &[u8]) -> Result<Step, DecodeError> {
        match Header::peek(rest) {
            Some(Header { len: 0, .. }) => Err(EMPTY_PACKET),
            // The first byte says what the packet is.
            _ => Ok(pass_or_need(at, HEADER_LEN + 1)),
        }
    }

    fn legacy_eof(&self) -> bool {
        !self.capabilities.contains(Capabilities::DEPRECATE_EOF)
    }

    /// Says what the packet at the start of `rest` is, and moves on past an opaque one.
    fn classify(&mut self, header: Header, first: u8, rest: &[u8]) -> Result<Seen, DecodeError> {
        if first == ERR_HEADER {
            return Ok(self.err_or_progress(rest));
        }
        match self.state {
            State::Head => self.head(header, first, rest),
            State::Columns(left) => {
                self.state = match left {
                    0 | 1 => self.after_columns(),
                    more => State::Columns(more - 1),
                };
                Ok(Seen::Opaque)
            }
            State::ColumnsEof => self.columns_eof(header, first, rest),
            State::Rows if self.ends_rows(header, first) => Ok(self.end_kind(header)),
            State::Rows => {
                self.rows += 1;
                Ok(Seen::Opaque)
            }
            State::Definitions if self.ends_rows(header, first) => Ok(self.end_kind(header)),
            State::Definitions => Ok(Seen::Opaque),
            State::Prepared { params, columns } => {
                self.state = self.after_definition(params, columns);
                Ok(Seen::Opaque)
            }
            State::PreparedEof { columns } => self.prepared_eof(first, columns),
            State::Text => {
                self.state = State::Done;
                Ok(Seen::Opaque)
            }
            State::Events if first == OK_HEADER => Ok(Seen::Opaque),
            State::Events if self.ends_rows(header, first) => Ok(self.end_kind(header)),
            State::Events => Err(DecodeError::Unexpected {
                expected: "an event, EOF or ERR",
                header: first,
            }),
            State::Done => Err(DecodeError::Finished),
        }
    }

    /// MariaDB sends progress as ERR with a code of its own, and then the reply goes on.
    fn err_or_progress(&self, rest: &[u8]) -> Seen {
        if !self.capabilities.contains(Capabilities::MARIADB_PROGRESS) {
            return Seen::Control(Control::Err);
        }
        match rest.get(HEADER_LEN + 1..HEADER_LEN + 3) {
            None => Seen::Unclear(HEADER_LEN + 3),
            Some(code) if code == PROGRESS_CODE.to_le_bytes() => Seen::Opaque,
            Some(_) => Seen::Control(Control::Err),
        }
    }

    fn head(&mut self, header: Header, first: u8, rest: &[u8]) -> Result<Seen, DecodeError> {
        match (self.expect, first) {
            (Expect::Prepare, OK_HEADER) => Ok(Seen::Control(Control::PrepareOk)),
            (_, OK_HEADER) => Ok(Seen::Control(Control::Ok)),
            (Expect::Single, OK_AS_EOF_HEADER) => Ok(self.end_kind(header)),
            (Expect::Query | Expect::Execute, OK_AS_EOF_HEADER) => Ok(self.end_kind(header)),
            (Expect::Query | Expect::Execute, LOCAL_INFILE_HEADER) => Ok(Seen::Control(Control::LocalInfile)),
            (Expect::Query | Expect::Execute, _) => self.column_count(header, rest),
            _ => Err(DecodeError::Unexpected {
                expected: "OK, ERR or EOF",
                header: first,
            }),
        }
    }

    /// The head of a result set. Under [`Capabilities::MARIADB_CACHE_METADATA`] and
    /// [`Capabilities::OPTIONAL_RESULTSET_METADATA`] a byte behind the count says whether definitions
    /// follow (MySQL's manual has it before the count; 9.7 sends it behind).
    fn column_count(&mut self, header: Header, rest: &[u8]) -> Result<Seen, DecodeError> {
        let whole = HEADER_LEN + header.len;
        if header.len > LONGEST_COUNT {
            return Err(DecodeError::Trailing {
                packet: "column count",
                count: header.len - LONGEST_COUNT,
            });
        }
        let Some(payload) = rest.get(HEADER_LEN..whole) else {
            return Ok(Seen::Unclear(whole));
        };
        let mut reader = Reader::new(payload);
        let count = reader.lenenc_int("column count")?;
        let cached = self.capabilities.intersects(METADATA_FLAG)
            && !reader.is_empty()
            && reader.u8("metadata flag")? == 0;
        reader.finish("column count")?;
        self.columns = count;
        self.state = if cached {
            self.after_columns()
        } else {
            State::Columns(count)
        };
        Ok(match self.hands_out_counts {
            true => Seen::Control(Control::ColumnCount),
            false => Seen::Opaque,
        })
    }

    fn after_columns(&self) -> State {
        if self.legacy_eof() {
            State::ColumnsEof
        } else {
            State::Rows
        }
    }

    /// The EOF behind the definitions is opaque, unless it opens a cursor: then it is the end,
    /// and the rows come with COM_STMT_FETCH. Under DEPRECATE_EOF the same place has an OK with
    /// the same status, which ends the reply like that of a result without rows (both measured on
    /// MariaDB 10.11.19). A cursor over no rows is opened as well. Where more results follow, the status tells of
    /// a cursor that a procedure used itself, and rows come (MariaDB 10.11.19, MySQL 9.7.4; PHP's bug 77935).
    fn columns_eof(&mut self, header: Header, first: u8, rest: &[u8]) -> Result<Seen, DecodeError> {
        if first != OK_AS_EOF_HEADER || header.len >= LEGACY_EOF_BELOW {
            return Err(DecodeError::Unexpected {
                expected: "EOF after columns",
                header: first,
            });
        }
        let whole = HEADER_LEN + header.len;
        let Some(payload) = rest.get(HEADER_LEN..whole) else {
            return Ok(Seen::Unclear(whole));
        };
        let status = eof_status(payload)?;
        // MySQL says only here that something follows them, and not in the EOF behind the row (measured on 9.7).
        self.out_params = status.contains(Status::PS_OUT_PARAMS | Status::MORE_RESULTS);
        // With the flag it is handed out too, so that the flag can be taken out for who did not ask to be told.
        if self.opens_cursor(status) || status.contains(Status::SESSION_STATE_CHANGED) {
            return Ok(Seen::Control(Control::Eof));
        }
        self.state = State::Rows;
        Ok(Seen::Opaque)
    }

    fn ends_rows(&self, header: Header, first: u8) -> bool {
        let longest = if self.legacy_eof() {
            LEGACY_EOF_BELOW
        } else {
            MAX_PAYLOAD
        };
        first == OK_AS_EOF_HEADER && header.len < longest
    }

    fn end_kind(&self, header: Header) -> Seen {
        Seen::Control(if self.legacy_eof() || header.len < SHORTEST_OK {
            Control::Eof
        } else {
            Control::Ok
        })
    }

    fn after_definition(&self, params: u16, columns: u16) -> State {
        match (params, columns) {
            (2.., _) => State::Prepared {
                params: params - 1,
                columns,
            },
            (1, _) if self.legacy_eof() => State::PreparedEof { columns },
            (1, 0) => State::Done,
            (1, _) => State::Prepared { params: 0, columns },
            (0, 2..) => State::Prepared {
                params: 0,
                columns: columns - 1,
            },
            (0, _) if self.legacy_eof() => State::PreparedEof { columns: 0 },
            (0, _) => State::Done,
        }
    }

    fn prepared_eof(&mut self, first: u8, columns: u16) -> Result<Seen, DecodeError> {
        if first != OK_AS_EOF_HEADER {
            return Err(DecodeError::Unexpected {
                expected: "EOF after definitions",
                header: first,
            });
        }
        if columns == 0 {
            return Ok(Seen::Control(Control::Eof));
        }
        self.state = match self.bare {
            true => State::PreparedEof { columns: 0 },
            false => State::Prepared { params: 0, columns },
        };
        Ok(Seen::Opaque)
    }

    /// Hands out the packet at the start of `rest` once it's complete.
    fn hand_out(&mut self, header: Header, kind: Control, rest: &[u8]) -> Result<Step, DecodeError> {
        if header.is_continued() {
            return Err(DecodeError::TooLarge { limit: MAX_PAYLOAD });
        }
        let len = HEADER_LEN + header.len;
        let Some(payload) = rest.get(HEADER_LEN..len) else {
            return Ok(Step::Need(len));
        };
        let ended_rows = self.state == State::Rows;
        self.state = self.after_control(kind, payload)?;
        self.count(header.seq);
        if kind == Control::LocalInfile && self.due != Due::Nothing {
            // Where the client's packets end, only they know.
            self.due = Due::First;
        }
        if ended_rows && kind == Control::Eof && std::mem::take(&mut self.out_params) {
            self.state = State::Head;
        }
        Ok(Step::Packet { len, kind })
    }

    fn after_control(&mut self, kind: Control, payload: &[u8]) -> Result<State, DecodeError> {
        let status = match kind {
            Control::Err => return Ok(State::Done),
            Control::LocalInfile => return Ok(State::Head),
            Control::ColumnCount => return Ok(self.state),
            Control::PrepareOk => return self.after_prepare_ok(payload),
            Control::Ok => ok_status(payload)?,
            Control::Eof => eof_status(payload)?,
        };
        if self.state == State::ColumnsEof && !self.opens_cursor(status) {
            return Ok(State::Rows);
        }
        let several = matches!(self.expect, Expect::Query | Expect::Execute);
        Ok(if several && status.contains(Status::MORE_RESULTS) {
            State::Head
        } else {
            State::Done
        })
    }

    fn opens_cursor(&self, status: Status) -> bool {
        let opened = status.contains(Status::CURSOR_EXISTS) && !status.contains(Status::MORE_RESULTS);
        opened && self.expect == Expect::Execute
    }

    fn after_prepare_ok(&mut self, payload: &[u8]) -> Result<State, DecodeError> {
        let prepared = PrepareOk::decode(payload)?;
        self.bare = !prepared.metadata_follows;
        Ok(match (prepared.params, prepared.columns) {
            (0, 0) => State::Done,
            _ if self.bare && !self.legacy_eof() => State::Done,
            (0, _) if self.bare => State::PreparedEof { columns: 0 },
            (_, columns) if self.bare => State::PreparedEof { columns },
            (params, columns) => State::Prepared { params, columns },
        })
    }
}

/// What a packet is, by its header and first bytes.
enum Seen {
    Opaque,
    Control(Control),
    /// This many bytes from the start of the packet are needed to tell.
    Unclear(usize),
}

/// Under either of these a byte behind the column count says whether definitions follow.
const METADATA_FLAG: Capabilities =
    Capabilities::MARIADB_CACHE_METADATA.union(Capabilities::OPTIONAL_RESULTSET_METADATA);

/// Under either of these packets travel in compressed ones.
const COMPRESSED: Capabilities = Capabilities::COMPRESS.union(Capabilities::ZSTD_COMPRESSION);

/// A count of nine bytes and a flag.
const LONGEST_COUNT: usize = 10;

const EMPTY_PACKET: DecodeError = DecodeError::Invalid {
    field: "packet length",
    value: 0,
};

fn pass_or_need(at: usize, need: usize) -> Step {
    match at {
        0 => Step::Need(need),
        _ => Step::Pass(at),
    }
}

fn ok_status(payload: &[u8]) -> Result<Status, DecodeError> {
    let mut reader = Reader::new(payload);
    reader.u8("OK header")?;
    reader.lenenc_int("affected rows")?;
    reader.lenenc_int("last insert id")?;
    Ok(Status::from_bits_retain(reader.u16("status")?))
}

fn eof_status(payload: &[u8]) -> Result<Status, DecodeError> {
    let mut reader = Reader::new(payload);
    reader.u8("EOF header")?;
    reader.u16("warnings")?;
    Ok(Status::from_bits_retain(reader.u16("status")?))
}

#[cfg(test)]
mod tests;
