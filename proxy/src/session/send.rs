//! What goes to a server in one write before a statement: the session's state, another session's
//! `LAST_INSERT_ID()` on the way out, and who answers for each part.

use std::rc::Rc;

use tandem_protocol::command::write_query;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::packet::eof::EOF_HEADER;
use tandem_protocol::packet::err::ServerError;
use tandem_protocol::response::Expect;
use tandem_protocol::wire::Reader;

use super::insert_id::InsertId;
use super::{Session, relay};
use crate::backend::Connection;

/// Commands of Tandem's own and what becomes of their replies.
#[derive(Default)]
pub(super) struct Preamble {
    pub(super) bytes: Vec<u8>,
    replies: Vec<Awaited>,
}

enum Awaited {
    /// An OK is expected, and an error means that the connection is not in the state it should be.
    Sync,
    InsertId(Fetch),
    /// Rows that nobody needs, or an OK or error that nobody heeds.
    Rows,
}

impl Preamble {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn awaits_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Whether any of it may be answered with an OK.
    pub(super) fn sets(&self) -> bool {
        let sets = |awaited: &Awaited| !matches!(awaited, Awaited::InsertId(_));
        self.replies.iter().any(sets)
    }

    /// Adds commands that [`crate::backend::sync::Plan::write`] has counted.
    pub(super) fn expect_sync(&mut self, replies: usize) {
        self.replies.extend((0..replies).map(|_| Awaited::Sync));
    }

    fn query(&mut self, text: &str, capabilities: Capabilities) {
        write_query(&mut self.bytes, text.as_bytes(), capabilities);
    }

    /// A statement that is answered with an OK.
    pub(super) fn set(&mut self, text: &str, capabilities: Capabilities) {
        self.query(text, capabilities);
        self.replies.push(Awaited::Sync);
    }

    /// A statement whose refusal shows in what follows.
    pub(super) fn try_set(&mut self, text: &str, capabilities: Capabilities) {
        self.query(text, capabilities);
        self.replies.push(Awaited::Rows);
    }

    /// `SET last_insert_id`: gives the connection the session's own value.
    pub(super) fn give_insert_id(&mut self, value: u64, capabilities: Capabilities) {
        self.set(&format!("SET last_insert_id={value}"), capabilities);
    }

    /// Fetches the value that another session left here.
    pub(super) fn fetch_insert_id(&mut self, owner: Rc<InsertId>, capabilities: Capabilities) {
        self.query("SELECT LAST_INSERT_ID()", capabilities);
        owner.is_on_its_way();
        self.replies.push(Awaited::InsertId(Fetch { owner }));
    }

    /// A query that leaves 0 as `FOUND_ROWS()` and -1 as `ROW_COUNT()`.
    pub(super) fn forget_rows(&mut self, capabilities: Capabilities) {
        self.query("SELECT 1 FROM DUAL WHERE 0", capabilities);
        self.replies.push(Awaited::Rows);
    }

    /// Writes it by itself, and reads all the replies.
    ///
    /// # Errors
    /// As of [`Self::replies`].
    pub(super) async fn exchange(
        self,
        session: &mut Session,
        connection: &mut Connection,
    ) -> Result<Result<(), ServerError>, relay::Error> {
        let written = connection.stream.write_all(&self.bytes).await;
        written.map_err(relay::Error::Server)?;
        self.replies(session, connection).await
    }

    /// Reads all the replies.
    ///
    /// # Errors
    /// The outer one when the connection is lost, the inner one when the server refused a command.
    pub(super) async fn replies(
        self,
        session: &mut Session,
        connection: &mut Connection,
    ) -> Result<Result<(), ServerError>, relay::Error> {
        let mut refused = Ok(());
        for awaited in self.replies {
            match awaited {
                Awaited::Sync => {
                    let reply = session.swallow(connection, Expect::Single).await?;
                    if let (Some(error), Ok(())) = (reply.error, &refused) {
                        refused = Err(error);
                    }
                }
                Awaited::Rows => drop(session.swallow(connection, Expect::Query).await?),
                Awaited::InsertId(fetch) => {
                    let reply = session.swallow(connection, Expect::Query).await?;
                    fetch.owner.arrived(first_number(&reply.bytes));
                }
            }
        }
        Ok(refused)
    }
}

/// Makes sure that who waits for the value hears of it, even if the connection is lost on the way.
struct Fetch {
    owner: Rc<InsertId>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if self.owner.place() == super::insert_id::Place::OnItsWay {
            self.owner.arrived(None);
        }
    }
}

/// The number in the only row of a reply with one column.
pub(super) fn first_number(reply: &[u8]) -> Option<u64> {
    let text = first_row(reply, 1)?.pop()??;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

/// The first row of a text reply with `columns` columns; NULL is `None`.
pub(crate) fn first_row(reply: &[u8], columns: usize) -> Option<Vec<Option<Box<[u8]>>>> {
    let mut rest = reply;
    let mut index = 0;
    let mut definitions = columns;
    // The column count, the column definitions, an EOF that depends on the handshake, the row.
    while let Some(header) = Header::peek(rest) {
        let payload = rest.get(HEADER_LEN..HEADER_LEN + header.len)?;
        if index == 0 && payload.len() > 1 && payload.last() == Some(&0) {
            // `resultset_metadata=NONE`: a flag behind the count says that there are no definitions.
            definitions = 0;
        }
        if index > definitions && payload.first() != Some(&EOF_HEADER) {
            let mut reader = Reader::new(payload);
            let value = |_| {
                reader
                    .lenenc_bytes_or_null("value")
                    .map(|value| value.map(Box::from))
                    .ok()
            };
            return (0..columns).map(value).collect();
        }
        rest = &rest[HEADER_LEN + header.len..];
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (seq, part) in (1_u8..).zip(parts) {
            out.extend_from_slice(&Header { len: part.len(), seq }.encode());
            out.extend_from_slice(part);
        }
        out
    }

    #[test]
    fn the_number_is_found_with_and_without_an_eof_before_the_row() {
        let column = b"\x03def anything";
        let legacy = packets(&[b"\x01", column, b"\xfe\0\0\x02\0", b"\x0242", b"\xfe\0\0\x02\0"]);
        assert_eq!(first_number(&legacy), Some(42));
        let modern = packets(&[b"\x01", column, b"\x0242", b"\xfe\0\0\x02\0\0\0"]);
        assert_eq!(first_number(&modern), Some(42));
        let bare = packets(&[b"\x01\0", b"\xfe\0\0\x02\0", b"\x0242", b"\xfe\0\0\x02\0"]);
        assert_eq!(first_number(&bare), Some(42));
        assert_eq!(first_number(&packets(&[b"\x01"])), None);
        assert_eq!(first_number(b""), None);
    }

    #[test]
    fn a_row_has_as_many_values_as_columns() {
        let reply = packets(&[b"\x02", b"def", b"def", b"\x01a\xfb"]);
        assert_eq!(first_row(&reply, 2), Some(vec![Some(Box::from(&b"a"[..])), None]));
    }
}
