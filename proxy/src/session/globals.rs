//! `SET GLOBAL`: what it has set on the active master, the other server gets too. Reads are shared between both, and after a
//! failover nothing should be as it was long ago.
//!
//! The values are read from the active master, not from the statement: they may come from user variables, parameters, or the
//! server's own bounds. That is done on connections apart, so that the session's warnings stay, and before the client
//! has its OK, so that its next read finds them on either server.

use std::time::Duration;

use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::packet::column::ColumnDefinition;
use tandem_protocol::response::Expect;
use tandem_protocol::wire::Reader;

use super::bound::hexadecimal;
use super::reading::Reading;
use super::relay::{Carried, ask};
use super::run::{Ran, Work};
use super::send::first_row;
use super::{End, Session};
use crate::backend::Connection;
use crate::classify::facts::Kind;
use crate::classify::globals::{self, Global};
use crate::topology::{Role, ServerId};
use crate::worker::UTF8MB4;

/// How long the client's OK may wait for the other server.
const WITHIN: Duration = Duration::from_secs(2);

impl Session {
    /// What a statement sets for the whole server.
    pub(super) fn globals_set_by(&mut self, work: &Work) -> Vec<Global> {
        if work.facts.kind != Kind::Admin {
            return Vec::new();
        }
        let dialect = match &work.prepared {
            Some(prepared) => Reading::new(&prepared.settings, &self.worker.topology.load()).dialect,
            None => self.reading().dialect,
        };
        globals::set_by(self.text_of(work), dialect)
    }

    /// Runs a statement that sets these for the whole server.
    pub(super) async fn run_on_all(&mut self, mut work: Work, globals: &[Global]) -> Result<Ran, End> {
        work.keep = true;
        let ran = self.run_by_rule(work).await?;
        let Ran::Carried { carried, learned } = &ran else {
            return Ok(ran);
        };
        if !learned.outcome.failed {
            self.copy_globals(globals).await;
        }
        if let Carried::Kept(reply) = carried {
            self.client.write(reply).await?;
        }
        Ok(ran)
    }

    /// What fails is in the log: on the active master it is done, and the client is told so.
    async fn copy_globals(&self, globals: &[Global]) {
        let topology = self.worker.topology.load_full();
        let Some(active) = topology.active else {
            return;
        };
        let others = topology
            .servers
            .iter()
            .filter(|server| server.id != active && server.role != Role::Down);
        for other in others {
            let copied = tokio::time::timeout(WITHIN, self.copy(active, other.id, globals)).await;
            let failed = copied.unwrap_or_else(|_| Err(format!("it took longer than {WITHIN:?}")));
            if let Err(cause) = failed {
                let names: Vec<&str> = globals.iter().map(|global| &*global.name).collect();
                let server = &other.name;
                tracing::warn!(%server, "SET GLOBAL {} reached the active master only: {cause}", names.join(", "));
            }
        }
        // Who logs in now gets connections that were opened behind it.
        self.worker.begin_epoch();
    }

    async fn copy(&self, from: ServerId, to: ServerId, globals: &[Global]) -> Result<(), String> {
        let mut source = self.apart(from).await?;
        let question = globals::question(globals);
        let reply = answer(&mut source, &question).await?;
        let values = values(&reply, source.capabilities, globals.len());
        let values = values.ok_or("the values could not be read")?;
        let mut target = self.apart(to).await?;
        for (global, value) in globals.iter().zip(values) {
            answer(&mut target, &global.assignment(&value)).await?;
        }
        Ok(())
    }

    /// A connection of the session's account that is nobody's, outside of the pool.
    async fn apart(&self, server: ServerId) -> Result<Connection, String> {
        let pool = &self.worker.pools[server.0];
        let client = self.handle.client.get();
        let opened = self.worker.open(pool, self.key(pool), UTF8MB4, client).await;
        opened.map_err(|error| format!("server '{}' {error}", pool.name))
    }
}

async fn answer(connection: &mut Connection, text: &str) -> Result<Vec<u8>, String> {
    let reply = ask(connection, text, Expect::Query).await?;
    match reply.error {
        Some(error) => Err(error.to_string()),
        None => Ok(reply.bytes),
    }
}

/// The values of the only row of a reply, as they are written in a `SET`.
fn values(reply: &[u8], capabilities: Capabilities, columns: usize) -> Option<Vec<String>> {
    let mut rest = reply;
    let mut next = || {
        let len = HEADER_LEN + Header::peek(rest)?.len;
        let payload = rest.get(HEADER_LEN..len)?;
        rest = &rest[len..];
        Some(payload)
    };
    let counted = Reader::new(next()?).lenenc_int("columns").ok()?;
    if usize::try_from(counted) != Ok(columns) {
        return None;
    }
    let kinds = (0..columns).map(|_| Some(ColumnDefinition::decode(next()?, capabilities).ok()?.kind));
    let kinds: Vec<u8> = kinds.collect::<Option<_>>()?;
    let row = first_row(reply, columns)?;
    let written = |(kind, value): (u8, Option<Box<[u8]>>)| match value {
        None => Some("DEFAULT".to_owned()),
        Some(number) if is_number(kind) => String::from_utf8(number.into()).ok(),
        Some(text) => Some(hexadecimal("utf8mb4", &text)),
    };
    kinds.into_iter().zip(row).map(written).collect()
}

/// By `enum_field_types`.
fn is_number(kind: u8) -> bool {
    matches!(kind, 0..=5 | 8 | 9 | 246)
}

#[cfg(test)]
mod tests {
    use tandem_protocol::wire::put_lenenc_bytes;

    use tandem_protocol::frame;

    use super::*;

    /// Numbers stay numbers, texts can't be misread whatever is in them, and what has no value gets the server's own.
    #[test]
    fn values_are_written_as_a_set_takes_them() {
        let mut reply = Vec::new();
        let mut packet = |payload: &[u8]| {
            let start = frame::begin(&mut reply);
            reply.extend_from_slice(payload);
            frame::end(&mut reply, start, 0);
        };
        packet(&[3]);
        for kind in [8, 253, 253] {
            let mut column = Vec::new();
            ColumnDefinition {
                kind,
                ..ColumnDefinition::default()
            }
            .encode(Capabilities::empty(), &mut column);
            packet(&column);
        }
        packet(&[0xfe, 0, 0, 2, 0]);
        let mut row = Vec::new();
        put_lenenc_bytes(&mut row, b"-5");
        put_lenenc_bytes(&mut row, b"a'\\");
        row.push(0xfb);
        packet(&row);
        packet(&[0xfe, 0, 0, 2, 0]);
        let found = values(&reply, Capabilities::empty(), 3).expect("values");
        assert_eq!(found, ["-5", "_utf8mb4 X'61275c'", "DEFAULT"]);
        assert_eq!(values(&reply, Capabilities::empty(), 2), None);
        for end in 0..reply.len() - 9 {
            assert_eq!(values(&reply[..end], Capabilities::empty(), 3), None, "{end}");
        }
    }
}
