//! Which command it is, and the ones that Tandem answers itself.

use std::rc::Rc;

use tandem_protocol::command::CommandCode;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::packet::eof::{EOF_HEADER, EofPacket};
use tandem_protocol::packet::ok::{OK_HEADER, OkPacket};
use tandem_protocol::reply;
use tandem_protocol::response::Expect;

use super::complaint::Complaint;
use super::hold::Ties;
use super::insert_id::InsertId;
use super::named::NamedStatements;
use super::settings::names_after_reset;
use super::{Command, End, Session};
use crate::topology::Flavor;

/// The arguments of `COM_SET_OPTION`.
const MULTI_STATEMENTS_ON: u16 = 0;
const MULTI_STATEMENTS_OFF: u16 = 1;

/// Whether a command is one of those that a rate is set for.
fn is_statement(code: CommandCode) -> bool {
    matches!(
        code,
        CommandCode::Query
            | CommandCode::StmtPrepare
            | CommandCode::StmtExecute
            | CommandCode::StmtBulkExecute
    )
}

impl Session {
    /// Has one command answered.
    pub(super) async fn dispatch(&mut self, command: Command) -> Result<(), End> {
        self.worker.count(|counters| {
            counters.commands += 1;
            counters.client_received_bytes += command.head as u64;
            counters.streamed += u64::from(command.tail.is_some());
        });
        self.handle.underway.borrow_mut().command(command.head);
        self.begin_trace();
        self.handle.statements.set(self.handle.statements.get() + 1);
        let first = self.client.inbox.bytes().get(HEADER_LEN);
        let Some(&byte) = first.filter(|_| command.head > HEADER_LEN) else {
            self.client.inbox.consume(command.head);
            return self.complain(&Complaint::unknown_command()).await;
        };
        let code = CommandCode::from_byte(byte);
        if code.is_some_and(is_statement)
            && let Err(exceeded) = self.places.count_statement()
        {
            self.skip(command).await?;
            let complaint = Complaint::too_many_a_second(&self.account.name, &exceeded);
            return self.complain(&complaint).await;
        }
        match code {
            Some(CommandCode::Query) => self.query(command).await,
            Some(CommandCode::StmtPrepare) => self.prepare(command).await,
            Some(CommandCode::StmtExecute) => self.execute(command).await,
            Some(CommandCode::StmtBulkExecute) if self.worker.flavor() == Flavor::MariaDb => {
                self.bulk_execute(command).await
            }
            Some(CommandCode::StmtFetch) => self.fetch(command).await,
            Some(CommandCode::StmtSendLongData) => self.send_long_data(command).await,
            Some(CommandCode::StmtReset) => self.reset_statement(command).await,
            Some(CommandCode::StmtClose) => self.close_statement(command).await,
            Some(CommandCode::InitDb) => self.init_db(command).await,
            Some(CommandCode::Refresh) => self.refresh(command).await,
            Some(code @ (CommandCode::BinlogDump | CommandCode::BinlogDumpGtid)) if self.knows(code) => {
                self.replicate(code, command, Expect::Dump).await
            }
            Some(code @ CommandCode::RegisterSlave) => self.replicate(code, command, Expect::Single).await,
            // What a server does not know, or its account may not, it says itself.
            Some(CommandCode::FieldList) => self.ask_active(command, Expect::FieldList).await,
            Some(CommandCode::Statistics) => self.ask_active(command, Expect::Statistics).await,
            Some(CommandCode::ProcessInfo) => self.ask_active(command, Expect::Query).await,
            Some(CommandCode::Debug) => self.ask_active(command, Expect::Single).await,
            Some(code) => self.own_answer(code, command).await,
            None => {
                self.skip(command).await?;
                self.complain(&Complaint::unknown_command()).await
            }
        }
    }

    fn knows(&self, code: CommandCode) -> bool {
        code != CommandCode::BinlogDumpGtid || self.worker.flavor() == Flavor::MySql
    }

    /// The short commands that need no server. What stands behind their arguments nobody looks at.
    async fn own_answer(&mut self, code: CommandCode, command: Command) -> Result<(), End> {
        self.worker.count(|counters| counters.answered += 1);
        match code {
            CommandCode::Quit => return Err(End::Quit),
            CommandCode::SetOption => return self.set_option(command).await,
            CommandCode::ProcessKill if self.worker.flavor() == Flavor::MariaDb => {
                return self.process_kill(command).await;
            }
            CommandCode::ChangeUser if command.tail.is_some() => {
                return Err(End::Protocol("a change of user of absurd length".to_owned()));
            }
            CommandCode::ChangeUser => return self.change_user(command).await,
            _ => self.skip(command).await?,
        }
        match code {
            CommandCode::Ping => self.say(OK_HEADER).await,
            CommandCode::ResetConnection => {
                self.forget_everything();
                self.say_ok().await
            }
            code => self.refuse_command(code).await,
        }
    }

    /// Commands that nobody may give through Tandem are refused as the server refuses them to an account without the
    /// privilege, and others as unknown: the two kinds of servers differ in which is which.
    async fn refuse_command(&mut self, code: CommandCode) -> Result<(), End> {
        let complaint = match (code, self.worker.flavor()) {
            (CommandCode::Shutdown, Flavor::MariaDb) => Complaint::not_privileged("SHUTDOWN"),
            (CommandCode::Clone, Flavor::MySql) => Complaint::not_privileged("BACKUP_ADMIN"),
            (CommandCode::SubscribeGroupReplicationStream, Flavor::MySql) => {
                // Without a name and with an end, as MySQL 9.7 does it.
                return Err(End::Complaint(Complaint::not_privileged("")));
            }
            _ => Complaint::unknown_command(),
        };
        self.complain(&complaint).await
    }

    /// `COM_SET_OPTION`: multi-statements on or off. They are a property of the server connection, so the
    /// session asks for another kind of connection from now on.
    async fn set_option(&mut self, command: Command) -> Result<(), End> {
        let argument = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
        let option = match (argument, self.worker.flavor()) {
            ([low, high, ..], _) => u16::from_le_bytes([*low, *high]),
            (_, Flavor::MySql) => {
                self.skip(command).await?;
                let complaint = Complaint::malformed_packet(Flavor::MySql);
                return self.complain(&complaint).await;
            }
            (short, Flavor::MariaDb) => short.first().copied().unwrap_or(0).into(),
        };
        let flags = match option {
            MULTI_STATEMENTS_ON => self.flags | Capabilities::MULTI_STATEMENTS,
            MULTI_STATEMENTS_OFF => self.flags - Capabilities::MULTI_STATEMENTS,
            _ => {
                self.skip(command).await?;
                return self.complain(&Complaint::unknown_command()).await;
            }
        };
        self.let_go_of_diagnostics();
        self.flags = flags;
        if let Some(lease) = &mut self.lease {
            // A kept connection is told, and closed when the session lets go of it.
            lease.connection_mut().broken = true;
            return self.ask_active(command, Expect::Single).await;
        }
        self.skip(command).await?;
        self.say(EOF_HEADER).await
    }

    /// An OK or EOF with the number of the last statement's warnings, where the servers repeat it (measured).
    async fn say(&mut self, header: u8) -> Result<(), End> {
        self.aftermath.answered(header == OK_HEADER);
        let warnings = match self.worker.flavor() {
            Flavor::MySql => self.warnings,
            Flavor::MariaDb => 0,
        };
        let (seq, status, capabilities) = (self.client.seq, self.ties.state(), self.client.capabilities);
        let mut out = Vec::new();
        if header == OK_HEADER || capabilities.contains(Capabilities::DEPRECATE_EOF) {
            let packet = OkPacket {
                status,
                warnings,
                ..OkPacket::default()
            };
            reply::ok_packet(&mut out, seq, header, &packet, capabilities);
        } else {
            let start = frame::begin(&mut out);
            EofPacket { warnings, status }.encode(&mut out);
            frame::end(&mut out, start, seq);
        }
        Ok(self.client.write(&out).await?)
    }

    /// What `COM_RESET_CONNECTION` takes away: everything but the user and the schema.
    pub(super) fn forget_everything(&mut self) {
        self.let_go_dirty();
        // What was under way is rolled back, unless it had been committed.
        self.lose_write();
        self.statements.clear();
        self.names = NamedStatements::default();
        self.ties = Ties::default();
        self.forget_record();
        self.handle.pins.set(self.ties.pins);
        self.handle.note_transaction(false);
        self.rolled_back = None;
        // A new one: the old value stays with the connection that made it, and nobody asks for it.
        self.insert_id = Rc::new(InsertId::default());
        self.aftermath.reset();
        self.last = [None; 2];
        self.last_server = None;
        // On the server a reset takes the global values of now (measured on MariaDB 10.11), and a change of user the
        // rights.
        self.epoch = self.worker.epoch();
        // MariaDB forgets in a reset that the client is interactive (measured).
        let is_mysql = self.worker.flavor() == Flavor::MySql;
        self.note_server_timeout(is_mysql && self.flags.contains(Capabilities::INTERACTIVE));
        let names = names_after_reset(self.settings.login, self.worker.topology.load().server_version());
        self.adopt(Rc::new(self.settings.after_reset(names)));
        self.wants_reports(None);
        self.warnings = 0;
    }
}
