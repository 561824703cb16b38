//! What a statement asks of the session's own: what the statement before it left, and the session's number. Where the
//! connection that it runs on would answer for itself, the answer goes into the text.

use std::rc::Rc;

use tandem_protocol::command::{CommandCode, write_query};
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::frame::{self, HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::eof::{EOF_HEADER, EofPacket};
use tandem_protocol::packet::ok::{OK_AS_EOF_HEADER, OkPacket};
use tandem_protocol::response::Expect;

use super::aftermath::{Counts, Saved};
use super::registry::FIRST_ID;
use super::relay;
use super::run::Work;
use super::send::first_number;
use super::{Command, Session};
use crate::backend::Connection;
use crate::classify::facts::{Facts, Links, Pins};
use crate::classify::numbers;
use crate::classify::substitute::{NotSure, Values, substitute};

/// Where the flags of a `COM_STMT_EXECUTE` are.
const EXECUTE_FLAGS_AT: usize = HEADER_LEN + 5;

/// Most bytes of a reply to `SHOW WARNINGS` that are kept for a session.
const SAVED: usize = 64 * 1024;

impl Session {
    /// Puts into the statement what its connection can't answer for the session.
    pub(super) fn fill_in(&mut self, connection: &mut Connection, work: &mut Work) -> Result<(), NotSure> {
        let asked = work.facts.links
            & (Links::READS_ROW_COUNT
                | Links::READS_FOUND_ROWS
                | Links::READS_DIAGNOSTICS
                | Links::READS_CONNECTION_ID);
        // What was sent once already has had it filled in.
        if work.command.head == 0
            || asked.is_empty()
            || !matches!(work.expect, Expect::Query | Expect::Execute)
        {
            return Ok(());
        }
        let mut missing = self.aftermath.missing(asked, &connection.left);
        if let Some(prepared) = &work.prepared
            && connection.prepared.find(prepared.id).is_none()
            && prepared.settings != self.settings
        {
            // It is prepared under the settings of then, and that takes statements of Tandem's own.
            missing |= asked & Links::READS_ROW_COUNT;
        }
        let counts = self
            .aftermath
            .counts()
            .filter(|_| missing.contains(Links::READS_DIAGNOSTICS));
        let number = asked.contains(Links::READS_CONNECTION_ID) && work.prepared.is_none();
        let values = Values {
            row_count: missing
                .contains(Links::READS_ROW_COUNT)
                .then(|| self.aftermath.row_count()),
            found_rows: missing
                .contains(Links::READS_FOUND_ROWS)
                .then(|| self.aftermath.found_rows()),
            warnings: counts.map(|counts| counts.warnings),
            errors: counts.map(|counts| counts.errors),
            connection_id: self.own_number().filter(|_| number),
        };
        if values == Values::default() {
            return Ok(());
        }
        match work.prepared.is_some() {
            true => self.stand_in(work, &values),
            false => self.fill_in_text(work, &values),
        }
    }

    fn fill_in_text(&mut self, work: &mut Work, values: &Values) -> Result<(), NotSure> {
        if work.command.tail.is_some() {
            return Err(NotSure);
        }
        let dialect = self.reading().dialect;
        let inbox = self.client.inbox.bytes();
        let text = &inbox[work.command.text_at..work.command.head];
        let Some(filled) = substitute(text, dialect, values)? else {
            return Ok(());
        };
        let payload = [&inbox[HEADER_LEN..work.command.text_at], &filled].concat();
        if payload.len() >= MAX_PAYLOAD {
            return Err(NotSure);
        }
        let mut owned = Vec::with_capacity(HEADER_LEN + payload.len());
        frame::write_packet(&mut owned, &mut 0, &payload);
        work.owned = Some(owned);
        Ok(())
    }

    /// A statement that is prepared for one execution, with the values in its text.
    fn stand_in(&mut self, work: &mut Work, values: &Values) -> Result<(), NotSure> {
        // What was uploaded for the client's own statement is there and not here.
        let (Some(prepared), true) = (&work.prepared, work.may_prepare_again) else {
            return Err(NotSure);
        };
        let command = match &mut work.owned {
            Some(owned) => owned.as_mut_slice(),
            None => self.client.inbox.bytes_mut(),
        };
        if command.get(HEADER_LEN) != Some(&(CommandCode::StmtExecute as u8)) {
            return Err(NotSure);
        }
        let flags = command.get_mut(EXECUTE_FLAGS_AT).ok_or(NotSure)?;
        let dialect = super::reading::Reading::new(&prepared.settings, &self.worker.topology.load()).dialect;
        let Some(text) = substitute(&prepared.text, dialect, values)? else {
            return Ok(());
        };
        // A server may answer without the cursor that it was asked for.
        *flags = 0;
        let library = &self.worker.library;
        let stand_in = library.apart(&text, &prepared.settings, &prepared.facts, prepared.params);
        work.passing = Some(stand_in.id);
        work.prepared = Some(stand_in);
        Ok(())
    }

    /// The text to prepare, if the session's number goes into it.
    pub(super) fn with_own_number(&mut self, text: &[u8], facts: &Facts) -> Option<Box<[u8]>> {
        if !facts.links.contains(Links::READS_CONNECTION_ID) {
            return None;
        }
        let values = Values {
            connection_id: self.own_number(),
            ..Values::default()
        };
        let dialect = self.reading().dialect;
        let filled = substitute(text, dialect, &values).ok().flatten()?;
        (filled.len() + 1 < MAX_PAYLOAD).then(|| filled.into())
    }

    /// The statement with the numbers of connections in the place of those of sessions, where it tells of connections.
    pub(super) async fn with_servers_numbers(&mut self, command: Command) -> Option<Vec<u8>> {
        if command.tail.is_some() {
            return None;
        }
        let dialect = self.reading().dialect;
        let text = &self.client.inbox.bytes()[command.text_at..command.head];
        let mut numbers = Vec::new();
        for (range, session) in numbers::sessions(text, dialect, FIRST_ID) {
            if let Some(connection) = self.worker.connection_of(session).await {
                numbers.push((range, connection));
            }
        }
        if numbers.is_empty() {
            return None;
        }
        let inbox = self.client.inbox.bytes();
        let (before, text) = (
            &inbox[HEADER_LEN..command.text_at],
            &inbox[command.text_at..command.head],
        );
        let payload = [before, &numbers::renumbered(text, &numbers)].concat();
        let mut owned = Vec::with_capacity(HEADER_LEN + payload.len());
        frame::write_packet(&mut owned, &mut 0, &payload);
        Some(owned)
    }

    /// What `CONNECTION_ID()` is: the number in the greeting, unless the client has set `pseudo_thread_id`.
    fn own_number(&self) -> Option<u32> {
        let set = self.ties.pins.contains(Pins::ONE_SHOT_VARIABLE);
        (!set).then_some(self.handle.id)
    }

    /// Asks the connection that was kept for the next statement what it would answer, before others get it.
    pub(super) async fn save_aftermath(&mut self, with_warnings: bool) {
        if self.ties.is_tied() {
            return;
        }
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        let connection = lease.connection_mut();
        let (warnings, found) = self.aftermath.to_save(&connection.left);
        let warnings = warnings && with_warnings;
        if connection.last_session == self.handle.id && (warnings || found) && !connection.broken {
            match self.ask_aftermath(connection, warnings, found).await {
                Ok((warnings, found)) => self.aftermath.save(found, warnings),
                Err(_) => connection.broken = true,
            }
        }
        self.lease = Some(lease);
    }

    async fn ask_aftermath(
        &mut self,
        connection: &mut Connection,
        warnings: bool,
        found: bool,
    ) -> Result<(Option<(Counts, Saved)>, Option<u64>), relay::Error> {
        let mut bytes = Vec::new();
        // In this order: `SHOW WARNINGS` leaves FOUND_ROWS().
        for (asked, text) in [(warnings, "SHOW WARNINGS"), (found, "SELECT FOUND_ROWS()")] {
            if asked {
                write_query(&mut bytes, text.as_bytes(), connection.capabilities);
            }
        }
        connection.left.asked_by_tandem(connection.flavor);
        let written = connection.stream.write_all(&bytes).await;
        written.map_err(relay::Error::Server)?;
        let mut saved = None;
        if warnings {
            let reply = self.swallow(connection, Expect::Query).await?;
            let fits = reply.error.is_none() && reply.bytes.len() <= SAVED;
            saved = fits.then(|| {
                let saved = Saved {
                    reply: reply.bytes.into(),
                    settings: Rc::clone(&self.settings),
                };
                (counts(&saved.reply), saved)
            });
        }
        let mut rows = None;
        if found {
            rows = first_number(&self.swallow(connection, Expect::Query).await?.bytes);
        }
        Ok((saved, rows))
    }

    /// The reply to `SHOW WARNINGS` or `SHOW ERRORS`, where it was saved.
    pub(super) fn saved_warnings(&mut self, command: Command) -> Option<Vec<u8>> {
        let saved = self.aftermath.saved(&self.settings)?;
        if command.tail.is_some() {
            return None;
        }
        let text = &self.client.inbox.bytes()[command.text_at..command.head];
        let words: Vec<String> = String::from_utf8_lossy(text)
            .trim_end_matches(';')
            .split_ascii_whitespace()
            .map(str::to_ascii_uppercase)
            .collect();
        let all = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["SHOW", "WARNINGS"] => true,
            ["SHOW", "ERRORS"] => false,
            _ => return None,
        };
        let capabilities = self.client.capabilities;
        let out = told_again(&saved.reply, all, self.ties.state(), capabilities);
        self.aftermath.answered(false);
        Some(out)
    }
}

/// The beginning of a row: its level.
const LEVELS: [&[u8]; 3] = [b"\x05Error", b"\x07Warning", b"\x04Note"];
const ERROR: &[u8] = LEVELS[0];

fn packets(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = reply;
    std::iter::from_fn(move || {
        let header = Header::peek(rest)?;
        let packet = rest.get(..HEADER_LEN + header.len)?;
        rest = &rest[packet.len()..];
        Some(packet)
    })
}

fn is_row(packet: &[u8]) -> bool {
    LEVELS.iter().any(|level| packet[HEADER_LEN..].starts_with(level))
}

fn is_error(packet: &[u8]) -> bool {
    packet[HEADER_LEN..].starts_with(ERROR)
}

fn counts(reply: &[u8]) -> Counts {
    let number = |which: fn(&[u8]) -> bool| {
        let count = packets(reply).filter(|packet| which(packet)).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    };
    Counts {
        warnings: number(is_row),
        errors: number(is_error),
    }
}

/// A saved reply, as the server would give it now: with all rows, or the errors only.
fn told_again(reply: &[u8], all: bool, status: Status, capabilities: Capabilities) -> Vec<u8> {
    let mut out = Vec::with_capacity(reply.len() + 1);
    let mut seq = 1;
    for (index, packet) in packets(reply).enumerate() {
        if is_row(packet) && !all && !is_error(packet) {
            continue;
        }
        let start = frame::begin(&mut out);
        if packet.get(HEADER_LEN) == Some(&EOF_HEADER) {
            // The server's had reports to Tandem in it, and the status of then.
            end_of_rows(&mut out, status, capabilities);
        } else {
            out.extend_from_slice(&packet[HEADER_LEN..]);
        }
        if index == 0 && capabilities.contains(Capabilities::MARIADB_CACHE_METADATA) {
            out.push(1);
        }
        frame::end(&mut out, start, seq);
        seq = seq.wrapping_add(1);
    }
    out
}

fn end_of_rows(out: &mut Vec<u8>, status: Status, capabilities: Capabilities) {
    if capabilities.contains(Capabilities::DEPRECATE_EOF) {
        let ok = OkPacket {
            status,
            ..OkPacket::default()
        };
        ok.encode(OK_AS_EOF_HEADER, capabilities, out);
    } else {
        EofPacket { warnings: 0, status }.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(packets: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (seq, payload) in (1_u8..).zip(packets) {
            out.extend_from_slice(
                &Header {
                    len: payload.len(),
                    seq,
                }
                .encode(),
            );
            out.extend_from_slice(payload);
        }
        out
    }

    #[test]
    fn saved_warnings_are_counted_and_told_again() {
        let parts: [&[u8]; 5] = [
            b"\x01",
            b"\x03def\0",
            b"\x07Warning\x041048\x01x",
            b"\x05Error\x041048\x01x",
            b"\xfe\0\0\x03\0\0\0\0\x03\x01\x01\0",
        ];
        let saved = reply(&parts);
        assert_eq!(
            counts(&saved),
            Counts {
                warnings: 2,
                errors: 1
            }
        );
        let modern = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        let told = told_again(&saved, true, Status::AUTOCOMMIT, modern);
        let mut expected = parts;
        expected[4] = b"\xfe\0\0\x02\0\0\0";
        assert_eq!(told, reply(&expected));
        let caching = modern | Capabilities::MARIADB_CACHE_METADATA;
        let errors = told_again(&saved, false, Status::AUTOCOMMIT, caching);
        let expected = [b"\x01\x01", expected[1], expected[3], expected[4]];
        assert_eq!(errors, reply(&expected));
    }
}
