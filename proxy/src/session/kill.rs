//! `KILL` and `COM_PROCESS_KILL`: ends a session, or what it runs, by the number that Tandem gave it, or the active
//! master gave the connection that serves it. A number that is neither is the master's business.

use std::rc::Rc;

use tandem_protocol::command::write_query;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::response::Expect;
use tandem_protocol::wire::Reader;

use super::complaint::Complaint;
use super::relay::Carried;
use super::run::{Ran, Work};
use super::send::first_number;
use super::{Command, End, Session};
use crate::classify::Dialect;
use crate::classify::facts::{Links, Purity};
use crate::classify::kill::{self, Victim};
use crate::topology::Flavor;
use crate::worker::kill::{Order, Outcome};

impl Session {
    /// `KILL` as a statement.
    pub(super) async fn kill(&mut self, command: Command) -> Result<(), End> {
        let dialect = self.reading().dialect;
        let text = self.client.inbox.bytes()[command.text_at..command.head].to_vec();
        self.skip(command).await?;
        self.kill_as(&text, dialect).await
    }

    /// Does what the text of a `KILL` says.
    pub(super) async fn kill_as(&mut self, text: &[u8], dialect: Dialect) -> Result<(), End> {
        let Some(kill) = kill::parse(text, dialect) else {
            let what = "KILL beside other statements, or with a value that is neither number nor text,";
            return self.complain(&Complaint::unsupported(what)).await;
        };
        let session = match kill.victim {
            Victim::Session(number) => number,
            Victim::Oneself => self.handle.id,
            Victim::Worth(expression) => match self.worth_of(&text[expression], dialect).await? {
                Some(number) => match u32::try_from(number) {
                    Ok(number) => number,
                    Err(_) => return self.pass_on(number, kill.query_only).await,
                },
                None => return Ok(()),
            },
            Victim::User { name, host } => return self.kill_user(name, host, kill.query_only).await,
            Victim::Server => {
                let work = self.own_question(text);
                return self.run(work).await.map(drop);
            }
        };
        self.order(session, kill.query_only).await
    }

    /// MariaDB's `KILL USER`, for the sessions of this Tandem. As on the server (measured on 10.11.19), the count is of those
    /// that were ended, others' are left alone without a word if one may not end them, and oneself gets the OK.
    async fn kill_user(
        &mut self,
        name: Option<Vec<u8>>,
        host: Option<Vec<u8>>,
        query_only: bool,
    ) -> Result<(), End> {
        let own = self.account.name.as_bytes();
        let name = name.unwrap_or_else(|| own.to_vec());
        if name != own {
            match self.may_kill_others().await? {
                Some(true) => {}
                Some(false) => return self.say_affected(0).await,
                None => return Ok(()),
            }
        }
        let mut ended = 0;
        let mut failed = None;
        let sessions = self.worker.sessions_of(&name, host.as_deref()).await;
        for &session in sessions.iter().filter(|&&id| id != self.handle.id) {
            let order = Order {
                session,
                query_only,
                by: None,
            };
            match self.worker.order_kill(order).await {
                Outcome::Done => ended += 1,
                Outcome::Failed(cause) => failed = Some(cause),
                // It has ended by itself.
                Outcome::Unknown | Outcome::NotOwner => {}
            }
        }
        if let Some(cause) = failed {
            return self.complain(&Complaint::kill_failed(&cause)).await;
        }
        let is_among = sessions.contains(&self.handle.id);
        self.say_affected(ended + u64::from(is_among)).await?;
        match is_among && !query_only {
            true => Err(End::Killed),
            false => Ok(()),
        }
    }

    /// What the active master takes an expression for, or `None` where it refuses it and the client was told why.
    async fn worth_of(&mut self, expression: &[u8], dialect: Dialect) -> Result<Option<u64>, End> {
        let text = [b"SELECT CAST((", expression, b") AS UNSIGNED)"].concat();
        let mut facts = self.worker.classifier.borrow_mut().classify(&text, dialect).facts;
        let filled = self.with_own_number(&text, &facts);
        let mut work = self.own_question(filled.as_deref().unwrap_or(&text));
        let known = Rc::make_mut(&mut facts);
        known.links -= Links::READS_CONNECTION_ID;
        // The numbers of connections are the active master's.
        known.purity = Purity::ServerLocal;
        work.facts = facts;
        work.keep = true;
        let Ran::Carried { carried, learned } = self.run(work).await? else {
            return Ok(None);
        };
        let Carried::Kept(reply) = carried else {
            return Ok(None);
        };
        if learned.outcome.failed {
            self.client.write(&reply).await?;
            return Ok(None);
        }
        // The servers take NULL for 0.
        Ok(Some(first_number(&reply).unwrap_or(0)))
    }

    /// `COM_PROCESS_KILL`: four bytes of a number. MySQL 9 knows it no more.
    pub(super) async fn process_kill(&mut self, command: Command) -> Result<(), End> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
        // MariaDB does not look at the length.
        let mut number = [0; 4];
        let present = payload.len().min(number.len());
        number[..present].copy_from_slice(&payload[..present]);
        self.skip(command).await?;
        self.order(u32::from_le_bytes(number), false).await
    }

    async fn order(&mut self, number: u32, query_only: bool) -> Result<(), End> {
        let found = self.worker.find_session(number);
        let session = found.map_or(number, |handle| handle.id);
        if session == self.handle.id {
            // As the servers answer it: the statement that is killed is this one.
            return match query_only {
                true => self.complain(&Complaint::interrupted()).await,
                false => Err(End::Complaint(Complaint::killed(self.worker.flavor()))),
            };
        }
        let order = Order {
            session,
            query_only,
            by: Some(self.account.id),
        };
        let outcome = match self.worker.order_kill(order).await {
            Outcome::NotOwner => match self.may_kill_others().await? {
                Some(true) => self.worker.order_kill(Order { by: None, ..order }).await,
                Some(false) => Outcome::NotOwner,
                None => return Ok(()),
            },
            outcome => outcome,
        };
        let complaint = match outcome {
            Outcome::Done => return self.say_ok().await,
            Outcome::Unknown => return self.pass_on(session.into(), query_only).await,
            Outcome::NotOwner => Complaint::not_owner(session),
            Outcome::Failed(cause) => Complaint::kill_failed(&cause),
        };
        self.complain(&complaint).await
    }

    /// Whether the session, with its roles of now, may end what is another's. The server is asked; `None` where it could
    /// not be, and the client was told.
    async fn may_kill_others(&mut self) -> Result<Option<bool>, End> {
        let mut work = self.own_question(b"SHOW GRANTS");
        work.keep = true;
        match self.run(work).await? {
            Ran::Carried { carried, .. } => {
                let Carried::Kept(reply) = carried else {
                    return Ok(Some(false));
                };
                Ok(Some(grants_kill(&reply, self.worker.flavor())))
            }
            Ran::Cached | Ran::Refused => Ok(None),
        }
    }

    /// Nobody's number here: of a client that connects past Tandem, of a thread of the server, or of nobody.
    async fn pass_on(&mut self, number: u64, query_only: bool) -> Result<(), End> {
        let what = if query_only { "QUERY" } else { "CONNECTION" };
        let work = self.own_question(format!("KILL {what} {number}").as_bytes());
        self.run(work).await.map(drop)
    }

    /// A statement of Tandem's in the session's name, for the active master.
    pub(super) fn own_question(&self, text: &[u8]) -> Work {
        let mut bytes = Vec::new();
        write_query(&mut bytes, text, self.client.capabilities);
        // What the client sent has been taken from the inbox already.
        let nothing = Command {
            head: 0,
            tail: None,
            text_at: 0,
        };
        let facts = Rc::clone(&self.worker.known_facts.ask_active);
        let mut work = Work::new(facts, Expect::Query, nothing);
        work.owned = Some(bytes);
        work
    }
}

/// Whether the reply to SHOW GRANTS has the right to end other users' sessions. MySQL protects accounts with SYSTEM_USER
/// from others; who has that is not known here, so that everybody is taken for one of them.
fn grants_kill(reply: &[u8], flavor: Flavor) -> bool {
    let mut granted: Vec<&[u8]> = Vec::new();
    let mut rest = reply;
    while let Some(header) = Header::peek(rest) {
        let Some(payload) = rest.get(HEADER_LEN..HEADER_LEN + header.len) else {
            break;
        };
        rest = &rest[HEADER_LEN + header.len..];
        granted.extend(
            Reader::new(payload)
                .lenenc_bytes("grant")
                .ok()
                .and_then(everywhere),
        );
    }
    let has = |name: &[u8]| {
        let mut names = granted.iter().flat_map(|list| list.split(|&byte| byte == b','));
        names.any(|granted| granted.trim_ascii() == name)
    };
    match flavor {
        Flavor::MariaDb => has(b"ALL PRIVILEGES") || has(b"SUPER") || has(b"CONNECTION ADMIN"),
        Flavor::MySql => has(b"SYSTEM_USER") && (has(b"SUPER") || has(b"CONNECTION_ADMIN")),
    }
}

/// The privileges of a line `GRANT … ON *.* TO …`. Names, of roles for example, are quoted in such lines.
fn everywhere(line: &[u8]) -> Option<&[u8]> {
    let list = line.strip_prefix(b"GRANT ")?;
    let end = list.windows(ON_ALL.len()).position(|part| part == ON_ALL)?;
    let list = &list[..end];
    (!list.iter().any(|byte| b"`'\"".contains(byte))).then_some(list)
}

const ON_ALL: &[u8] = b" ON *.* TO ";

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let column = "\x03def\0\0\0\x11Grants for a@b.cd";
        let rows = lines
            .iter()
            .map(|line| format!("{}{line}", char::from(u8::try_from(line.len()).unwrap())));
        for (seq, packet) in (1_u8..).zip(["\x01".to_owned(), column.to_owned()].into_iter().chain(rows)) {
            out.extend_from_slice(
                &Header {
                    len: packet.len(),
                    seq,
                }
                .encode(),
            );
            out.extend_from_slice(packet.as_bytes());
        }
        out
    }

    #[test]
    fn only_a_global_privilege_lets_kill_others() {
        use Flavor::{MariaDb, MySql};
        for (flavor, may, lines) in [
            (
                MariaDb,
                true,
                &["GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION"][..],
            ),
            (
                MariaDb,
                true,
                &[
                    "GRANT `r` TO `a`@`%`",
                    "GRANT SELECT, CONNECTION ADMIN ON *.* TO `a`@`%`",
                ],
            ),
            (
                MariaDb,
                true,
                &["GRANT USAGE ON *.* TO `a`@`%`", "GRANT SUPER ON *.* TO `r`"],
            ),
            (
                MariaDb,
                false,
                &[
                    "GRANT USAGE ON *.* TO `a`@`%`",
                    "GRANT ALL PRIVILEGES ON `d`.* TO `a`@`%`",
                ],
            ),
            (
                MariaDb,
                false,
                &[
                    "GRANT SELECT, PROCESS ON *.* TO `a`@`%`",
                    "GRANT `x, SUPER, y ON *.* TO z` TO `a`@`%`",
                ],
            ),
            (
                MySql,
                true,
                &[
                    "GRANT SELECT, SUPER ON *.* TO `a`@`%`",
                    "GRANT BACKUP_ADMIN,SYSTEM_USER ON *.* TO `a`@`%`",
                ],
            ),
            (MySql, false, &["GRANT CONNECTION_ADMIN ON *.* TO `a`@`%`"]),
            (MariaDb, false, &[]),
        ] {
            assert_eq!(grants_kill(&reply(lines), flavor), may, "{lines:?}");
        }
    }
}
