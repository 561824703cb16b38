//! What an OK packet reports about the session's state.
//!
//! Measured on MariaDB 10.11.19 with `session_track_system_variables='*'`,
//! `session_track_state_change=1`, `session_track_transaction_info='CHARACTERISTICS'`:
//!
//! - **Form.** Each variable comes in an entry of its own, in no fixed order; a variable that is
//!   set to its old value is reported too. The state change is one bare character.
//! - **`'*'` includes `last_gtid`**: on every statement that wrote a group to the binlog, also
//!   DDL and `ANALYZE TABLE`, in the middle of a CALL, and in statement format even for
//!   temporary tables and an UPDATE without effect.
//! - **SET NAMES** reports `character_set_client`, `_results` and `_connection`, never
//!   `collation_connection`, whatever COLLATE says; `SET collation_connection` reports only
//!   itself. `SET character_set_results=NULL` reports an empty value.
//! - **State change** comes with every SET, USE, `CREATE` and `DROP TEMPORARY TABLE`, `PREPARE`
//!   and `DEALLOCATE`, SET ROLE. It does not come with user variables that an expression assigns
//!   (`SELECT @a:=1`, `SELECT … INTO @a`, `DO @a:=1`), nor with GET_LOCK, HANDLER, SAVEPOINT,
//!   `FLUSH TABLES WITH READ LOCK` or COM_STMT_PREPARE.
//! - **The value is that of the moment of the report**, not of the end of the statement. A CALL
//!   whose procedure sets `sql_mode` reports it with the next result set, and its restoration at
//!   the end never. `SET STATEMENT sql_mode=… FOR SELECT` reports the temporary value, and the
//!   true one only with the next report of anything. `SET timestamp=DEFAULT` reports the old
//!   number. For those the text of the statement has to be read.
//! - **Transaction state** is `T` for an explicit and `I` for an implicit transaction; LOCK
//!   TABLES is `_______L`; XA START shows as `T_______` with `XA START 'x';`.
//! - **Nothing is reported by ERR or by a legacy EOF.** The EOF's status has
//!   [`crate::Status::SESSION_STATE_CHANGED`], and the report waits for the next OK that has a
//!   change of its own: a SET, COM_INIT_DB (even of the same schema), BEGIN. COM_PING, `DO 1` and
//!   further SELECTs do not bring it; COM_RESET_CONNECTION drops it. After an ERR not even the
//!   status tells.
//! - **COM_RESET_CONNECTION** reports nothing, keeps the default schema, returns to the
//!   collation of the handshake, and sets the trackers back to their defaults.
//!   **COM_CHANGE_USER** does the same to the trackers and reports the schema.
//! - **By default** `autocommit`, the three character sets and `time_zone` are tracked, and the
//!   schema, from the OK of the login on.
//! - **Setting the trackers** in one statement with other variables works, and changes are
//!   reported if they stand behind `session_track_system_variables`; those before it are not,
//!   even where `'*'` was set already. NAMES may stand anywhere in the list.

use crate::error::DecodeError;
use crate::wire::{Reader, put_lenenc_bytes};

/// One reported change. Texts are in the character set of the connection's results.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    SystemVariable {
        name: &'a [u8],
        value: &'a [u8],
    },
    Schema(&'a [u8]),
    /// User variables, temporary tables, prepared statements or anything else changed.
    StateChanged(bool),
    /// MySQL only; MariaDB reports its position as the variable `last_gtid`.
    Gtids(&'a [u8]),
    /// The statements that would start the same transaction; empty without one.
    TransactionCharacteristics(&'a [u8]),
    /// Eight characters such as `T___W___`.
    TransactionState(&'a [u8]),
    Unknown {
        kind: u8,
        data: &'a [u8],
    },
}

impl Change<'_> {
    /// Appends the change as an entry of its own, as servers write it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        let kind = match *self {
            Self::SystemVariable { name, value } => {
                put_lenenc_bytes(&mut data, name);
                put_lenenc_bytes(&mut data, value);
                0
            }
            Self::Schema(schema) => {
                put_lenenc_bytes(&mut data, schema);
                1
            }
            Self::StateChanged(changed) => {
                data.push(if changed { b'1' } else { b'0' });
                2
            }
            Self::Gtids(gtids) => {
                data.push(0);
                put_lenenc_bytes(&mut data, gtids);
                3
            }
            Self::TransactionCharacteristics(statements) => {
                put_lenenc_bytes(&mut data, statements);
                4
            }
            Self::TransactionState(state) => {
                put_lenenc_bytes(&mut data, state);
                5
            }
            Self::Unknown { kind, data: unknown } => {
                data.extend_from_slice(unknown);
                kind
            }
        };
        out.push(kind);
        put_lenenc_bytes(out, &data);
    }
}

/// The changes in [`super::OkPacket::session_state`], in the server's order. After an error the
/// iterator ends.
pub fn changes(session_state: &[u8]) -> impl Iterator<Item = Result<Change<'_>, DecodeError>> {
    Changes {
        entries: Reader::new(session_state),
        variables: Reader::new(&[]),
    }
}

struct Changes<'a> {
    entries: Reader<'a>,
    /// What is left of an entry of system variables: it may hold several pairs.
    variables: Reader<'a>,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.variables.is_empty() {
            if self.entries.is_empty() {
                return None;
            }
            match self.entry() {
                // An entry of system variables only fills `variables`.
                Ok(None) => {}
                Ok(Some(change)) => return Some(Ok(change)),
                Err(error) => return Some(Err(self.give_up(error))),
            }
        }
        Some(self.variable().map_err(|error| self.give_up(error)))
    }
}

impl<'a> Changes<'a> {
    fn entry(&mut self) -> Result<Option<Change<'a>>, DecodeError> {
        let kind = self.entries.u8("kind of change")?;
        let data = self.entries.lenenc_bytes("change")?;
        let mut reader = Reader::new(data);
        let change = match kind {
            0 => {
                self.variables = reader;
                return Ok(None);
            }
            1 => Change::Schema(reader.lenenc_bytes("schema")?),
            // The manual says a length-encoded string, but servers send the bare character.
            2 => Change::StateChanged(reader.rest().last() == Some(&b'1')),
            3 => {
                // The first byte says how the set is written; 0, a text, is the only way so far.
                match reader.u8("encoding of GTIDs")? {
                    0 => Change::Gtids(reader.lenenc_bytes("GTIDs")?),
                    _ => return Ok(Some(Change::Unknown { kind, data })),
                }
            }
            4 => Change::TransactionCharacteristics(reader.lenenc_bytes("characteristics")?),
            5 => Change::TransactionState(reader.lenenc_bytes("transaction state")?),
            _ => return Ok(Some(Change::Unknown { kind, data })),
        };
        reader.finish("change")?;
        Ok(Some(change))
    }

    fn variable(&mut self) -> Result<Change<'a>, DecodeError> {
        Ok(Change::SystemVariable {
            name: self.variables.lenenc_bytes("variable name")?,
            value: self.variables.lenenc_bytes("variable value")?,
        })
    }

    fn give_up(&mut self, error: DecodeError) -> DecodeError {
        self.entries.rest();
        self.variables.rest();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_lenenc_int;

    fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        put_lenenc_bytes(&mut bytes, data);
        bytes
    }

    fn all(bytes: &[u8]) -> Vec<Change<'_>> {
        changes(bytes).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn one_entry_may_hold_several_variables() {
        let bytes = entry(0, b"\x01a\x011\x01b\x00");
        assert_eq!(
            all(&bytes),
            [
                Change::SystemVariable {
                    name: b"a",
                    value: b"1"
                },
                Change::SystemVariable {
                    name: b"b",
                    value: b""
                },
            ]
        );
    }

    #[test]
    fn every_kind() {
        let bytes = [
            entry(1, b"\x04shop"),
            entry(2, b"1"),
            entry(2, b"0"),
            entry(2, b"\x011"),
            entry(3, b"\x00\x03u:1"),
            entry(4, b"\x00"),
            entry(5, b"\x08T_______"),
            entry(9, b"later"),
            entry(0, b""),
        ]
        .concat();
        assert_eq!(
            all(&bytes),
            [
                Change::Schema(b"shop"),
                Change::StateChanged(true),
                Change::StateChanged(false),
                Change::StateChanged(true),
                Change::Gtids(b"u:1"),
                Change::TransactionCharacteristics(b""),
                Change::TransactionState(b"T_______"),
                Change::Unknown {
                    kind: 9,
                    data: b"later"
                },
            ]
        );
        assert_eq!(all(b""), []);
        let mut again = Vec::new();
        for change in all(&bytes) {
            change.encode(&mut again);
        }
        assert_eq!(all(&again), all(&bytes));
    }

    #[test]
    fn every_truncation_ends_with_one_error_or_at_a_boundary() {
        let bytes = [entry(0, b"\x01a\x011\x01b\x012"), entry(5, b"\x08T_______")].concat();
        let boundary = 10;
        for cut in 0..bytes.len() {
            let errors = changes(&bytes[..cut]).filter(Result::is_err).count();
            assert_eq!(errors, usize::from(cut != 0 && cut != boundary), "{cut}");
        }
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        let mut bytes = vec![1];
        put_lenenc_int(&mut bytes, u64::MAX);
        assert!(changes(&bytes).next().unwrap().is_err());
        assert!(changes(&entry(1, b"\x01ab")).next().unwrap().is_err());
        assert!(changes(&entry(0, b"\x05ab")).next().unwrap().is_err());
    }
}
