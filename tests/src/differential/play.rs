//! Plays steps against one address, and gives back the masked replies.

use std::collections::HashMap;
use std::net::SocketAddr;

use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;

use super::door;
use super::mask::mask;
use super::step::{Action, LogIn, Step, Value};
use crate::raw::Raw;

/// What a step that has no reply, or no connection any more, gives.
const SILENCE: &[u8] = b"";
const CLOSED: &[u8] = b"the connection is closed";

/// An id that no server has given to a statement.
const NOBODYS: u32 = 1_000_000;

/// MYSQL_TYPE_LONGLONG, MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_BLOB
const LONGLONG: u8 = 8;
const VAR_STRING: u8 = 253;
const BLOB: u8 = 252;

/// The sessions of one side.
pub struct Player {
    address: SocketAddr,
    seats: HashMap<usize, Seat>,
}

struct Seat {
    raw: Raw,
    /// The server's ids of the statements by the session's own numbers.
    statements: HashMap<usize, u32>,
}

impl Player {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            seats: HashMap::new(),
        }
    }

    /// Has one step answered.
    pub async fn play(&mut self, step: &Step) -> Vec<u8> {
        if let Action::LogIn(login) = &step.action {
            self.log_in(step.session, login).await;
            return SILENCE.to_vec();
        }
        let Some(seat) = self.seats.get_mut(&step.session) else {
            return CLOSED.to_vec();
        };
        match seat.answer(&step.action).await {
            Some(mut reply) => {
                seat.note(&step.action, &reply);
                mask(step, &mut reply);
                reply
            }
            None => {
                self.seats.remove(&step.session);
                CLOSED.to_vec()
            }
        }
    }

    async fn log_in(&mut self, session: usize, login: &LogIn) {
        if let Some(mut seat) = self.seats.remove(&session) {
            seat.raw.command(1, b"").await;
            seat.raw.drain().await;
        }
        let raw = door::log_in(self.address, login).await;
        let statements = HashMap::new();
        self.seats.insert(session, Seat { raw, statements });
    }

    /// Says goodbye for every session.
    pub async fn leave(self) {
        for (_, mut seat) in self.seats {
            seat.raw.command(1, b"").await;
            seat.raw.drain().await;
        }
    }
}

impl Seat {
    /// Sends the command and reads its reply; `None` when the connection has ended.
    async fn answer(&mut self, action: &Action) -> Option<Vec<u8>> {
        let raw = &mut self.raw;
        let id = |slot: &usize| {
            let nobodys = NOBODYS + *slot as u32;
            self.statements
                .get(slot)
                .copied()
                .unwrap_or(nobodys)
                .to_le_bytes()
        };
        let (code, argument, expect) = match action {
            Action::LogIn(_) => unreachable!("answered before"),
            Action::Query(text) => (0x03, text.clone().into_bytes(), Some(Expect::Query)),
            Action::Prepare { text, .. } => (0x16, text.clone().into_bytes(), Some(Expect::Prepare)),
            Action::Execute {
                slot,
                values,
                types,
                cursor,
            } => {
                let mut argument = id(slot).to_vec();
                argument.push(u8::from(*cursor));
                argument.extend_from_slice(&1_u32.to_le_bytes());
                put_values(&mut argument, values, *types);
                (0x17, argument, Some(Expect::Execute))
            }
            Action::LongData { slot, param, data } => {
                let argument = [&id(slot), &param.to_le_bytes()[..], data.as_bytes()].concat();
                (0x18, argument, None)
            }
            Action::Fetch { slot, rows } => {
                let argument = [id(slot), rows.to_le_bytes()].concat();
                (0x1c, argument, Some(Expect::Fetch))
            }
            Action::ResetStatement { slot } => (0x1a, id(slot).to_vec(), Some(Expect::Single)),
            Action::CloseStatement { slot } => (0x19, id(slot).to_vec(), None),
            Action::InitDb(schema) => (0x02, schema.clone().into_bytes(), Some(Expect::Single)),
            Action::FieldList(table) => {
                let argument = [table.as_bytes(), b"\0"].concat();
                (0x04, argument, Some(Expect::FieldList))
            }
            Action::SetOption(option) => (0x1b, option.to_le_bytes().to_vec(), Some(Expect::Single)),
            Action::Ping => (0x0e, Vec::new(), Some(Expect::Single)),
            Action::ResetConnection => (0x1f, Vec::new(), Some(Expect::Single)),
            Action::ChangeUser { schema } => return Some(door::change_user(raw, schema).await),
        };
        raw.command(code, &argument).await;
        match expect {
            Some(expect) => door::reply(raw, expect).await,
            None => Some(SILENCE.to_vec()),
        }
    }

    /// Keeps what later commands need.
    fn note(&mut self, action: &Action, reply: &[u8]) {
        match action {
            Action::Prepare { slot, .. } => {
                let ok = PrepareOk::decode(&reply[4..]);
                match ok.ok().filter(|_| reply[4] == 0) {
                    Some(ok) => self.statements.insert(*slot, ok.statement_id),
                    None => self.statements.remove(slot),
                };
            }
            Action::CloseStatement { slot } => drop(self.statements.remove(slot)),
            Action::ResetConnection | Action::ChangeUser { .. } => self.statements.clear(),
            _ => {}
        }
    }
}

/// The part of `COM_STMT_EXECUTE` behind the iteration count.
fn put_values(out: &mut Vec<u8>, values: &[Value], types: bool) {
    if values.is_empty() {
        return;
    }
    let mut nulls = vec![0_u8; values.len().div_ceil(8)];
    for (index, value) in values.iter().enumerate() {
        nulls[index / 8] |= u8::from(*value == Value::Null) << (index % 8);
    }
    out.extend_from_slice(&nulls);
    out.push(u8::from(types));
    if types {
        for value in values {
            let kind = match value {
                Value::Null | Value::Text(_) => VAR_STRING,
                Value::Int(_) => LONGLONG,
                Value::Sent => BLOB,
            };
            out.extend_from_slice(&[kind, 0]);
        }
    }
    for value in values {
        match value {
            Value::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => tandem_protocol::wire::put_lenenc_bytes(out, text.as_bytes()),
            Value::Null | Value::Sent => {}
        }
    }
}
