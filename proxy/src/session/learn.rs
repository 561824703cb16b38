//! What a reply teaches: from its OK, EOF and error packets, and what of these the client did not ask for.

use std::ops::Range;

use tandem_protocol::error::DecodeError;
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::packet::eof::EofPacket;
use tandem_protocol::packet::err::ErrPacket;
use tandem_protocol::packet::ok::{OK_AS_EOF_HEADER, OkPacket};
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::packet::session_track::{self, Change};
use tandem_protocol::response::Control;

use super::complaint::Complaint;
use super::hold::Outcome;
use super::overrun::Overrun;
use super::registry::Handle;
use super::relay::{Client, Error, INTERRUPTED, Seen};
use super::replay::digest::Digest;
use super::settings::{Settings, Variable};
use super::walk::Packet;
use crate::backend::Connection;
use crate::backend::sync::Trackers;
use crate::cache::reply::Transcript;
use crate::mirror::sums::Sums;
use crate::topology::Flavor;
use crate::topology::gtid::Gtid;

/// ER_PARSE_ERROR
const PARSE_ERROR: u16 = 1064;

/// What a reply taught.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The default schema after the reply, if it was reported.
    pub(crate) schema: Option<Box<[u8]>>,
    /// The trackers themselves were set.
    pub(crate) trackers: bool,
    /// Variables reported as changed. A report can be wrong: see `read_back`.
    pub(crate) variables: Vec<Variable>,
    pub(crate) outcome: Outcome,
    /// A commit was reported by a name that can't be followed: one with a tag.
    pub(crate) unfollowed: bool,
    /// The last commit's position, if one was reported.
    pub(crate) gtid: Option<Gtid>,
    /// A final OK packet came, so what it does not report did not happen.
    pub(crate) reported: bool,
    pub(crate) insert_id: u64,
    /// The count of the last packet, if that was an OK of a statement without rows.
    pub(crate) affected: Option<u64>,
    /// A number of rows that a text tells: `Records: 3` or `Rows matched: 3` in that OK, or the `OFFSET` of the query.
    pub(crate) told: Option<u64>,
    pub(crate) cursor: bool,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The reply to a PREPARE: what the server made of it.
    pub(crate) prepared: Option<PrepareOk>,
    /// The error packet's code, if the reply was or ended in one.
    pub(crate) error: Option<u16>,
    /// That says that it took too long.
    pub(crate) overran: bool,
    /// The server waits for a file of the client; its first packet must have this number.
    pub(crate) wants_file: Option<u8>,
    /// Bytes of the command that stand before a file in what the client has sent: none once one was asked for.
    pub(crate) before_file: usize,
    /// Bytes of such files.
    pub(crate) uploaded: u64,
    /// The sum of what the client was told, where the statement is kept for being played again.
    pub(crate) digest: Option<Digest>,
    /// What the client has of a reply that broke off in its first result, where that can be gone on with.
    pub(crate) seen: Option<Seen>,
    /// It was broken off by a rule.
    pub(crate) cut: bool,
    /// What the whole reply comes to, for a mirror.
    pub(crate) sums: Option<Box<Sums>>,
    /// What the client was sent, where it is to be kept for others.
    pub(crate) transcript: Option<Transcript>,
}

/// Learns from one packet, and takes out of it what the client did not ask for. Returns its new length.
pub(super) fn learn(
    handle: &Handle,
    connection: &mut Connection,
    Packet { at, len, kind }: Packet,
    client: &Client,
    learned: &mut Learned,
) -> Result<usize, Error> {
    let payload = &connection.inbox.bytes()[at + HEADER_LEN..at + len];
    match kind {
        Control::Ok => return learn_ok(connection, at, len, client, learned),
        Control::Eof => {
            let eof = EofPacket::decode(payload)?;
            learn_status(learned, eof.status, eof.warnings);
            learned.affected = None;
            // What changed is reported with some later OK packet; that something did is said here.
            learned.outcome.state_changed |= eof.status.contains(Status::SESSION_STATE_CHANGED);
            learned.reported = false;
            if !may_be_reported(connection, client) {
                hide_change(&mut connection.inbox.bytes_mut()[at..at + len]);
            }
        }
        Control::Err => {
            let packet = ErrPacket::decode(payload)?;
            learned.error = Some(packet.code);
            // The first statement of several may have run before a later one could not be parsed.
            learned.outcome.refused = packet.code == PARSE_ERROR && learned.outcome.status.is_none();
            learned.outcome.failed = true;
            learned.outcome.status = None;
            learned.reported = false;
            let code = packet.code;
            let len = match handle.overrun().filter(|_| code == INTERRUPTED) {
                Some(overrun) => {
                    say_what_was_overrun(overrun, handle, connection, at..at + len, client, learned)
                }
                None => len,
            };
            if let (Some(digest), Some(code)) = (&mut learned.digest, learned.error) {
                digest.error(code);
            }
            return Ok(len);
        }
        Control::PrepareOk => {
            let ok = PrepareOk::decode(payload)?;
            connection.prepared.check_new(ok.statement_id)?;
            learned.prepared = Some(ok);
        }
        Control::ColumnCount => return Ok(say_that_metadata_follows(connection, at, len)),
        Control::LocalInfile => {
            let seq = connection.inbox.bytes()[at + HEADER_LEN - 1];
            learned.wants_file = Some(seq.wrapping_add(1));
        }
    }
    Ok(len)
}

/// Puts the cause in the place of the server's word that somebody killed the statement. Returns the packet's new length.
fn say_what_was_overrun(
    overrun: Overrun,
    handle: &Handle,
    connection: &mut Connection,
    packet: Range<usize>,
    client: &Client,
    learned: &mut Learned,
) -> usize {
    let user = handle.user.borrow();
    let complaint = match overrun {
        Overrun::Statement(limit) => Complaint::statement_overdue(limit, &user, connection.flavor),
        Overrun::Transaction(limit) => Complaint::transaction_overdue(limit, &user),
    };
    let seq = connection.inbox.bytes()[packet.start + HEADER_LEN - 1];
    let mut told = Vec::new();
    complaint.write(&mut told, seq, client.capabilities);
    connection.inbox.replace(packet, &told);
    learned.error = Some(complaint.code);
    learned.overran = true;
    told.len()
}

/// What of a status is the session's state, and not of one reply.
const STATE: Status = Status::IN_TRANS
    .union(Status::AUTOCOMMIT)
    .union(Status::IN_TRANS_READONLY)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::ANSI_QUOTES);

fn learn_status(learned: &mut Learned, status: Status, warnings: u16) {
    learned.outcome.status = Some(status & STATE);
    learned.outcome.warnings = warnings;
    learned.cursor = status.contains(Status::CURSOR_EXISTS) && !status.contains(Status::LAST_ROW_SENT);
}

fn learn_ok(
    connection: &mut Connection,
    at: usize,
    len: usize,
    client: &Client,
    learned: &mut Learned,
) -> Result<usize, Error> {
    let bytes = connection.inbox.bytes();
    let payload = &bytes[at + HEADER_LEN..at + len];
    let ok = OkPacket::decode(payload, connection.capabilities)?;
    learn_status(learned, ok.status, ok.warnings);
    learned.affected = (payload.first() != Some(&OK_AS_EOF_HEADER)).then_some(ok.affected_rows);
    learned.told = first_number(ok.info);
    // Behind a procedure that used a cursor itself, MySQL 9.7.4 still says in the last OK that there is one.
    learned.cursor &= payload.first() == Some(&OK_AS_EOF_HEADER);
    learned.reported = true;
    if let (Some(digest), Some(affected)) = (&mut learned.digest, learned.affected) {
        digest.done(affected, ok.last_insert_id, learned.told);
    }
    if ok.last_insert_id != 0 {
        learned.insert_id = ok.last_insert_id;
    }
    for change in session_track::changes(ok.session_state) {
        learn_change(learned, change?, connection.flavor)?;
    }
    if ok.info.is_empty() && ok.session_state.is_empty() {
        return Ok(len);
    }
    let session_state = match &client.filter {
        // The trackers are the client's: it is told what they say.
        Some(_) if matches!(connection.trackers, Trackers::Client { .. }) && understands(client) => {
            return Ok(len);
        }
        Some(filter) => filter.apply(ok.session_state)?,
        None => Vec::new(),
    };
    let told = OkPacket {
        session_state: &session_state,
        ..ok
    };
    let mut rewritten = Vec::with_capacity(HEADER_LEN + len);
    told.encode(payload[0], client.capabilities, &mut rewritten);
    if rewritten.len() > payload.len() {
        // Several variables in one entry, which no server was seen to send: the client is told all of it.
        return Ok(len);
    }
    let seq = bytes[at + 3];
    let header = Header {
        len: rewritten.len(),
        seq,
    };
    let shorter = HEADER_LEN + rewritten.len();
    let target = &mut connection.inbox.bytes_mut()[at..at + len];
    target[..HEADER_LEN].copy_from_slice(&header.encode());
    target[HEADER_LEN..shorter].copy_from_slice(&rewritten);
    connection.inbox.cut(at + shorter, len - shorter);
    Ok(shorter)
}

/// The first number in the text.
fn first_number(info: &[u8]) -> Option<u64> {
    let at = info.iter().position(u8::is_ascii_digit)?;
    let mut digits = info[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// The client takes definitions from its memory where a flag behind the column count says so, and the server's connection
/// has no such flag: what the server thinks that its client remembers, another session may have seen. So they are always
/// sent. Returns the packet's new length.
fn say_that_metadata_follows(connection: &mut Connection, at: usize, len: usize) -> usize {
    let seq = connection.inbox.bytes()[at + 3];
    let header = Header {
        len: len + 1 - HEADER_LEN,
        seq,
    };
    connection.inbox.insert(at + len, 1);
    connection.inbox.bytes_mut()[at..at + HEADER_LEN].copy_from_slice(&header.encode());
    len + 1
}

fn understands(client: &Client) -> bool {
    client.capabilities.contains(Capabilities::SESSION_TRACK)
}

/// Whether a legacy EOF may say that something will be reported: it would not without Tandem's trackers.
fn may_be_reported(connection: &Connection, client: &Client) -> bool {
    matches!(connection.trackers, Trackers::Client { .. })
        || client
            .filter
            .as_ref()
            .is_some_and(|filter| filter.may_pass_unseen())
}

/// Takes the bit for changes out of the status of an EOF, given with its header.
fn hide_change(eof: &mut [u8]) {
    const STATUS_AT: usize = HEADER_LEN + 3;
    if let Some(&[low, high]) = eof.get(STATUS_AT..).and_then(<[u8]>::first_chunk) {
        let status = Status::from_bits_retain(u16::from_le_bytes([low, high]));
        let hidden = status - Status::SESSION_STATE_CHANGED;
        eof[STATUS_AT..STATUS_AT + 2].copy_from_slice(&hidden.bits().to_le_bytes());
    }
}

/// What a reply may report of variables, all together: more than servers have.
const REPORTED: usize = 1 << 20;

fn learn_change(learned: &mut Learned, change: Change<'_>, flavor: Flavor) -> Result<(), DecodeError> {
    match change {
        Change::SystemVariable {
            name: b"last_gtid",
            value,
        } => {
            let gtid = std::str::from_utf8(value).ok().and_then(Gtid::parse_mariadb);
            learned.gtid = gtid.or(learned.gtid);
        }
        Change::SystemVariable { name, value } => {
            learned.trackers |= name.starts_with(b"session_track_");
            if Settings::is_carried(name) {
                note_variable(&mut learned.variables, name, value)?;
            }
        }
        Change::Schema(schema) => learned.schema = Some(schema.into()),
        Change::StateChanged(changed) => learned.outcome.state_changed |= changed,
        Change::Gtids(gtids) if flavor == Flavor::MySql => {
            let gtid = std::str::from_utf8(gtids).ok().and_then(Gtid::parse_mysql);
            learned.unfollowed |= gtid.is_none();
            learned.gtid = gtid.or(learned.gtid);
        }
        Change::Gtids(_)
        | Change::TransactionCharacteristics(_)
        | Change::TransactionState(_)
        | Change::Unknown { .. } => {}
    }
    Ok(())
}

/// Notes the last value that was reported: a procedure may set the same variables again and again.
fn note_variable(variables: &mut Vec<Variable>, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
    variables.retain(|known| *known.name != *name);
    let held: usize = variables.iter().map(Variable::size).sum();
    let new = Variable {
        name: name.into(),
        value: value.into(),
    };
    if held + new.size() > REPORTED {
        return Err(DecodeError::TooLarge { limit: REPORTED });
    }
    variables.push(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_reported_again_the_last_counts() {
        let mut variables = Vec::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            note_variable(&mut variables, name.as_bytes(), value.as_bytes()).expect("little");
        }
        let value = |name: &[u8]| {
            let mut found = variables.iter().filter(|variable| *variable.name == *name);
            (
                found.next().map(|variable| variable.value.to_vec()),
                found.count(),
            )
        };
        assert_eq!(value(b"a"), (Some(b"3".to_vec()), 0));
        assert_eq!(value(b"b"), (Some(b"2".to_vec()), 0));
    }

    /// A server could report new names in one reply for ever.
    #[test]
    fn what_is_reported_has_an_end() {
        let mut variables = Vec::new();
        let mut note = |number: usize, value: &[u8]| {
            let name = format!("v{number}");
            note_variable(&mut variables, name.as_bytes(), value)
        };
        let limit = REPORTED;
        let most = (0..limit).position(|number| note(number, b"").is_err());
        assert!(most.is_some_and(|most| most > 4000), "{most:?} without a value");
        let long = vec![b'x'; REPORTED];
        assert_eq!(note(0, &long), Err(DecodeError::TooLarge { limit }));
    }
}
