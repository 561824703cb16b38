//! Which command it is, and the ones that Tandem answers itself.

use std::rc::Rc;

use tandem_protocol::command::{CommandCode, SetOption};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::HEADER_LEN;
use tandem_protocol::reply;
use tandem_protocol::response::Expect;

use super::complaint::Complaint;
use super::hold::Ties;
use super::insert_id::InsertId;
use super::settings::SERVER_COLLATION;
use super::{Command, End, Session};
use crate::topology::Flavor;

impl Session {
    /// Has one command answered.
    pub(super) async fn dispatch(&mut self, command: Command) -> Result<(), End> {
        self.worker.count(|counters| {
            counters.commands += 1;
            counters.client_received_bytes += command.head as u64;
            counters.streamed += u64::from(command.tail.is_some());
        });
        self.handle.statements.set(self.handle.statements.get() + 1);
        let Some(&byte) = self
            .client
            .inbox
            .bytes()
            .get(HEADER_LEN)
            .filter(|_| command.head > HEADER_LEN)
        else {
            self.client.inbox.consume(command.head);
            return self
                .complain(&Complaint::malformed_command("a command without a code"))
                .await;
        };
        match CommandCode::from_byte(byte) {
            Some(CommandCode::Query) => self.query(command).await,
            Some(CommandCode::StmtPrepare) => self.prepare(command).await,
            Some(CommandCode::StmtExecute) => self.execute(command).await,
            Some(CommandCode::StmtFetch) => self.fetch(command).await,
            Some(CommandCode::StmtSendLongData) => self.send_long_data(command).await,
            Some(CommandCode::StmtReset) => self.reset_statement(command).await,
            Some(CommandCode::StmtClose) => self.close_statement(command).await,
            Some(CommandCode::InitDb) => self.init_db(command).await,
            Some(CommandCode::FieldList) => self.ask_active(command, Expect::FieldList).await,
            Some(CommandCode::Statistics) => self.ask_active(command, Expect::Statistics).await,
            Some(code) => self.own_answer(code, command).await,
            None => {
                self.unsupported(command, &format!("the command 0x{byte:02x}"))
                    .await
            }
        }
    }

    /// The short commands that need no server.
    async fn own_answer(&mut self, code: CommandCode, command: Command) -> Result<(), End> {
        if command.tail.is_some() {
            return Err(End::Protocol(format!("a {} of absurd length", code.name())));
        }
        self.worker.count(|counters| counters.answered += 1);
        match code {
            CommandCode::Quit => Err(End::Quit),
            CommandCode::Ping => {
                self.client.inbox.consume(command.head);
                self.say_ok().await
            }
            CommandCode::SetOption => self.set_option(command).await,
            CommandCode::ResetConnection => {
                self.client.inbox.consume(command.head);
                self.forget_everything();
                self.say_ok().await
            }
            CommandCode::ProcessKill => self.process_kill(command).await,
            CommandCode::ChangeUser => self.change_user(command).await,
            _ => self.unsupported(command, code.name()).await,
        }
    }

    async fn unsupported(&mut self, command: Command, what: &str) -> Result<(), End> {
        if command.tail.is_some() {
            return Err(End::Complaint(Complaint::unsupported(what)));
        }
        self.client.inbox.consume(command.head);
        self.complain(&Complaint::unsupported(what)).await
    }

    /// `COM_SET_OPTION`: multi-statements on or off. They are a property of the server connection, so the
    /// session asks for another kind of connection from now on.
    async fn set_option(&mut self, command: Command) -> Result<(), End> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let option = SetOption::decode(payload);
        let flags = match option {
            Ok(SetOption::MultiStatementsOn) => self.flags | Capabilities::MULTI_STATEMENTS,
            Ok(SetOption::MultiStatementsOff) => self.flags - Capabilities::MULTI_STATEMENTS,
            Err(error) => {
                self.client.inbox.consume(command.head);
                return self.complain(&Complaint::malformed_command(error)).await;
            }
        };
        self.let_go_of_diagnostics();
        self.flags = flags;
        if let Some(lease) = &mut self.lease {
            // A kept connection is told, and closed when the session lets go of it.
            lease.connection_mut().broken = true;
            return self.ask_active(command, Expect::Single).await;
        }
        self.client.inbox.consume(command.head);
        let mut out = Vec::new();
        reply::eof(&mut out, 1, self.ties.status, self.client.capabilities);
        Ok(self.client.write(&out).await?)
    }

    /// What `COM_RESET_CONNECTION` takes away: everything but the user and the schema.
    pub(super) fn forget_everything(&mut self) {
        self.let_go_dirty();
        self.statements.clear();
        self.ties = Ties::default();
        self.handle.pins.set(self.ties.pins);
        self.handle.transaction.set(false);
        // A new one: the old value stays with the connection that made it, and nobody asks for it.
        self.insert_id = Rc::new(InsertId::default());
        self.last = [None; 2];
        self.last_server = None;
        // On the server a reset takes the global values of now (measured on MariaDB 10.11), and a change of user the
        // rights.
        self.epoch = self.worker.epoch();
        let is_mysql = self.worker.topology.load().flavor() == Some(Flavor::MySql);
        let collation = match is_mysql {
            true => SERVER_COLLATION,
            false => self.settings.collation,
        };
        self.settings = Rc::new(self.settings.after_reset(collation));
    }
}
