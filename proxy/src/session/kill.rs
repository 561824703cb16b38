//! `KILL` and `COM_PROCESS_KILL`: ends a session, or what it runs, by the number that Tandem gave it.

use tandem_protocol::frame::HEADER_LEN;

use super::complaint::Complaint;
use super::{Command, End, Session};
use crate::classify::kill::{self, Kill, Victim};
use crate::worker::kill::{Order, Outcome};

impl Session {
    /// `KILL` as a statement.
    pub(super) async fn kill(&mut self, command: Command) -> Result<(), End> {
        let dialect = self.reading().dialect;
        let text = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
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

    /// `COM_PROCESS_KILL`: four bytes of a number.
    pub(super) async fn process_kill(&mut self, command: Command) -> Result<(), End> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
        let number = payload.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        self.client.inbox.consume(command.head);
        match number {
            Some(number) => {
                let victim = Victim::Session(number);
                let query_only = false;
                self.order(Kill { query_only, victim }).await
            }
            None => {
                let complaint = Complaint::malformed_command("COM_PROCESS_KILL without a number");
                self.complain(&complaint).await
            }
        }
    }

    async fn order(&mut self, kill: Kill) -> Result<(), End> {
        let session = match kill.victim {
            Victim::Session(session) => session,
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
            by: Some(self.user),
        };
        let complaint = match self.worker.order_kill(order).await {
            Outcome::Done => return self.say_ok().await,
            Outcome::Unknown => Complaint::unknown_thread(session),
            Outcome::NotOwner => Complaint::not_owner(session),
            Outcome::Failed(cause) => Complaint::kill_failed(&cause),
        };
        self.complain(&complaint).await
    }
}
