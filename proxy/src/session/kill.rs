//! `KILL` and `COM_PROCESS_KILL`: ends a session, or what it runs, by the number that Tandem gave it, or the active
//! master gave the connection that serves it. A number that is neither is the master's business.

use std::rc::Rc;

use tandem_protocol::command::put_query;
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::response::Expect;

use super::complaint::Complaint;
use super::run::Work;
use super::{Command, End, Session};
use crate::classify::kill::{self, Kill, Victim};
use crate::worker::kill::{Order, Outcome};

impl Session {
    /// `KILL` as a statement.
    pub(super) async fn kill(&mut self, command: Command) -> Result<(), End> {
        let dialect = self.reading().dialect;
        let text = &self.client.inbox.bytes()[command.text_at..command.head];
        let kill = kill::parse(text, dialect);
        self.skip(command).await?;
        match kill {
            Some(kill) => self.order(kill).await,
            None => {
                let what = "KILL of anything but a connection's number";
                self.complain(&Complaint::unsupported(what)).await
            }
        }
    }

    /// `COM_PROCESS_KILL`: four bytes of a number. MySQL 9 knows it no more.
    pub(super) async fn process_kill(&mut self, command: Command) -> Result<(), End> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
        // MariaDB does not look at the length.
        let mut number = [0; 4];
        let present = payload.len().min(number.len());
        number[..present].copy_from_slice(&payload[..present]);
        self.skip(command).await?;
        let victim = Victim::Session(u32::from_le_bytes(number));
        let query_only = false;
        self.order(Kill { query_only, victim }).await
    }

    async fn order(&mut self, kill: Kill) -> Result<(), End> {
        let session = match kill.victim {
            Victim::Session(number) => self
                .worker
                .find_session(number)
                .map_or(number, |handle| handle.id),
            Victim::Oneself => self.handle.id,
        };
        if session == self.handle.id {
            // As the servers answer it: the statement that is killed is this one.
            return match kill.query_only {
                true => self.complain(&Complaint::interrupted()).await,
                false => Err(End::Killed),
            };
        }
        let order = Order {
            session,
            query_only: kill.query_only,
            by: Some(self.account.id),
        };
        let complaint = match self.worker.order_kill(order).await {
            Outcome::Done => return self.say_ok().await,
            Outcome::Unknown => return self.pass_on(session, kill.query_only).await,
            Outcome::NotOwner => Complaint::not_owner(session),
            Outcome::Failed(cause) => Complaint::kill_failed(&cause),
        };
        self.complain(&complaint).await
    }

    /// Nobody's number here: of a client that connects past Tandem, of a thread of the server, or of nobody.
    async fn pass_on(&mut self, number: u32, query_only: bool) -> Result<(), End> {
        let what = if query_only { "QUERY" } else { "CONNECTION" };
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        let text = format!("KILL {what} {number}");
        put_query(&mut bytes, text.as_bytes(), self.client.capabilities);
        frame::end(&mut bytes, start, 0);
        // What the client sent has been taken from the inbox already.
        let nothing = Command {
            head: 0,
            tail: None,
            text_at: 0,
        };
        let facts = Rc::clone(&self.worker.known_facts.ask_active);
        let mut work = Work::new(facts, Expect::Single, nothing);
        work.owned = Some(bytes);
        self.run(work).await.map(drop)
    }
}
