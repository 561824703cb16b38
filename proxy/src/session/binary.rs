//! Binary prepared statements. The client's statement ids are the session's own; on a server connection the
//! statement is prepared when it is first needed there.

use std::rc::Rc;

use tandem_protocol::command::{
    StmtClose, StmtExecute, StmtFetch, StmtReset, StmtSendLongData, execute_params,
};
use tandem_protocol::error::DecodeError;
use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;

use super::complaint::Complaint;
use super::relay::Carried;
use super::run::{Ran, Work};
use super::statements::{Prepared, Statement};
use super::{Command, End, Session};

/// Bytes of a `COM_STMT_EXECUTE` before the parameters: code, id, flags, iteration count.
const EXECUTE_HEAD: usize = 10;

impl Session {
    /// `COM_STMT_PREPARE`: prepared on the active master, whose answer the client gets with an id of its own.
    pub(super) async fn prepare(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Prepare");
        let limit = self.worker.config.limits.prepared_statements;
        if self.statements.len() >= limit && command.tail.is_none() {
            self.client.inbox.consume(command.head);
            return self.complain(&Complaint::too_many_statements(limit)).await;
        }
        if command.tail.is_some() {
            // Its text is needed again on every connection it is executed on.
            let bytes = self.worker.config.limits.statement_bytes;
            return Err(End::Complaint(Complaint::too_long(bytes)));
        }
        let facts = self.classify(command);
        let text: Box<[u8]> = self.client.inbox.bytes()[HEADER_LEN + 1..command.head].into();
        let settings = Rc::clone(&self.settings);
        let mut work = Work::new(
            Rc::clone(&self.worker.known_facts.ask_active),
            Expect::Prepare,
            command,
        );
        work.keep = true;
        let Ran::Carried { carried, learned } = self.run(work).await? else {
            return Ok(());
        };
        let Carried::Kept(mut reply) = carried else {
            return Ok(());
        };
        if let Some(ok) = learned.prepared {
            self.worker.count(|counters| counters.prepared += 1);
            let prepared = self.worker.library.share(&text, &settings, &facts, ok.params);
            self.note_prepared(&prepared, ok.statement_id);
            let id = self.statements.add(prepared);
            let at = HEADER_LEN + PrepareOk::STATEMENT_ID_AT;
            reply[at..at + 4].copy_from_slice(&id.to_le_bytes());
        }
        Ok(self.client.write(&reply).await?)
    }

    /// Tells the connection it was prepared on; that is idle again, unless the session keeps it.
    fn note_prepared(&mut self, prepared: &Prepared, server_id: u32) {
        if let Some(lease) = &mut self.lease {
            lease.connection_mut().add_prepared(prepared.id, server_id);
        } else if let Some(server) = self.last_server
            && let Some(id) = self.last[server.0]
            && let Some(mut lease) = self.worker.pools[server.0].take_back(id)
        {
            lease.connection_mut().add_prepared(prepared.id, server_id);
            lease.release();
        }
        // Somebody who waited has it already: the statement is prepared once more when it is needed there,
        // and this copy goes with the next reset.
    }

    /// `COM_STMT_EXECUTE`
    pub(super) async fn execute(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Execute");
        let bytes = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let id = match StmtExecute::decode(bytes) {
            Ok(execute) => execute.statement_id,
            Err(error) => {
                return self
                    .refuse_binary(command, &Complaint::malformed_command(error))
                    .await;
            }
        };
        let declared = Header::peek(self.client.inbox.bytes()).map_or(0, |header| header.len);
        let known = self.statements.change(id, |statement| {
            let owned = with_types(statement, bytes, declared)?;
            Ok::<_, DecodeError>((Rc::clone(&statement.prepared), owned))
        });
        let (prepared, owned) = match known {
            Some(Ok(known)) => known,
            Some(Err(error)) => {
                let complaint = Complaint::malformed_command(error);
                return self.refuse_binary(command, &complaint).await;
            }
            None => {
                let complaint = Complaint::unknown_statement(id, "EXECUTE");
                return self.refuse_binary(command, &complaint).await;
            }
        };
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Execute, command);
        work.prepared = Some(prepared);
        work.owned = owned;
        let ran = self.run(work).await?;
        let cursor = matches!(&ran, Ran::Carried { learned, .. } if learned.cursor);
        self.retie(id, |statement| {
            statement.long_data = false;
            statement.cursor = cursor;
        });
        self.release_if_free();
        Ok(())
    }

    /// `COM_STMT_FETCH`: the cursor is on the connection that the session keeps.
    pub(super) async fn fetch(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Fetch");
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let id = match StmtFetch::decode(payload) {
            Ok(fetch) => fetch.statement_id,
            Err(error) => {
                return self
                    .refuse_binary(command, &Complaint::malformed_command(error))
                    .await;
            }
        };
        let open = self.statements.get(id).filter(|statement| statement.cursor);
        let Some(prepared) = open.map(|statement| Rc::clone(&statement.prepared)) else {
            return self
                .refuse_binary(command, &Complaint::unknown_statement(id, "FETCH"))
                .await;
        };
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Fetch, command);
        work.prepared = Some(prepared);
        let ran = self.run(work).await?;
        let cursor = matches!(&ran, Ran::Carried { learned, .. } if learned.cursor);
        self.retie(id, |statement| statement.cursor = cursor);
        self.release_if_free();
        Ok(())
    }

    /// `COM_STMT_SEND_LONG_DATA` has no reply: the connection it goes to is kept until the execution.
    pub(super) async fn send_long_data(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Long Data");
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let id = match StmtSendLongData::decode(payload) {
            Ok(data) => data.statement_id,
            Err(error) => return Err(End::Protocol(error.to_string())),
        };
        let Some(prepared) = self
            .statements
            .get(id)
            .map(|statement| Rc::clone(&statement.prepared))
        else {
            // The server ignores it too; the execution will say that the statement is unknown.
            return self.skip(command).await;
        };
        // Not the connection that was kept for `SHOW WARNINGS`: the statement's own way decides.
        self.let_go_of_diagnostics();
        self.retie(id, |statement| statement.long_data = true);
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Single, command);
        work.prepared = Some(prepared);
        work.silent = true;
        self.run(work).await.map(drop)
    }

    /// `COM_STMT_RESET`: drops long data and closes the cursor.
    pub(super) async fn reset_statement(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Reset stmt");
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let id = match StmtReset::decode(payload) {
            Ok(reset) => reset.statement_id,
            Err(error) => {
                return self
                    .refuse_binary(command, &Complaint::malformed_command(error))
                    .await;
            }
        };
        let Some(statement) = self.statements.get(id) else {
            return self
                .refuse_binary(command, &Complaint::unknown_statement(id, "RESET"))
                .await;
        };
        let prepared = Rc::clone(&statement.prepared);
        if !(statement.long_data || statement.cursor) {
            self.skip(command).await?;
            return self.say_ok().await;
        }
        let mut work = Work::new(
            Rc::clone(&self.worker.known_facts.ask_active),
            Expect::Single,
            command,
        );
        work.prepared = Some(prepared);
        self.run(work).await?;
        self.retie(id, |statement| {
            statement.long_data = false;
            statement.cursor = false;
        });
        self.release_if_free();
        Ok(())
    }

    /// `COM_STMT_CLOSE` has no reply. What connections have of the statement stays for the next who prepares it.
    pub(super) async fn close_statement(&mut self, command: Command) -> Result<(), End> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let closed = StmtClose::decode(payload).ok();
        // All of it: the rest of one that is absurdly long must not be taken for commands.
        self.skip(command).await?;
        let Some(statement) = closed.and_then(|close| self.statements.remove(close.statement_id)) else {
            return Ok(());
        };
        if (statement.long_data || statement.cursor)
            && let Some(lease) = &mut self.lease
        {
            // An open cursor must end with its statement.
            lease.connection_mut().close_prepared(statement.prepared.id);
        }
        self.ties.statement = self.statements.tie();
        self.release_if_free();
        Ok(())
    }

    /// Changes a statement's state, and what ties the session with it.
    fn retie(&mut self, id: u32, change: impl FnOnce(&mut Statement)) {
        self.statements.change(id, change);
        self.ties.statement = self.statements.tie();
    }

    /// Gives the kept connection back if nothing ties the session to it any more.
    fn release_if_free(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.keep_or_release(lease);
        }
    }

    async fn refuse_binary(&mut self, command: Command, complaint: &Complaint) -> Result<(), End> {
        self.skip(command).await?;
        self.complain(complaint).await
    }

    /// Reads a command to its end without sending it anywhere.
    pub(super) async fn skip(&mut self, command: Command) -> Result<(), End> {
        self.client.inbox.consume(command.head);
        let Some(mut tail) = command.tail else {
            return Ok(());
        };
        while !tail.is_done() {
            let limit = self.worker.config.limits.command_bytes;
            let count = tail
                .advance(self.client.inbox.bytes())
                .map_err(|_| End::Complaint(Complaint::too_long(limit)))?;
            self.client.inbox.consume(count);
            if count == 0 {
                let wanted = self.client.inbox.len() + 1;
                self.fill_client(wanted).await?;
            }
        }
        Ok(())
    }
}

/// A client sends the types of its parameters once; the connection that executes now may never have seen
/// them, so they are put back in. `command` starts with the command byte and may be only the beginning of
/// one whose first packet declares `declared` bytes.
fn with_types(
    statement: &mut Statement,
    command: &[u8],
    declared: usize,
) -> Result<Option<Vec<u8>>, DecodeError> {
    let count = statement.prepared.params;
    if count == 0 {
        return Ok(None);
    }
    let params = execute_params(&command[EXECUTE_HEAD..], count)?;
    if params.new_params_bound {
        if *statement.types != *params.types {
            statement.types = params.types.into();
        }
        return Ok(None);
    }
    if statement.types.is_empty() {
        return Ok(None);
    }
    let len = declared + statement.types.len();
    if len >= MAX_PAYLOAD {
        return Err(DecodeError::Invalid {
            field: "size of an execution without parameter types",
            value: declared as u64,
        });
    }
    let mut out = Vec::with_capacity(HEADER_LEN + command.len() + statement.types.len());
    out.extend_from_slice(&Header { len, seq: 0 }.encode());
    out.extend_from_slice(&command[..EXECUTE_HEAD]);
    out.extend_from_slice(params.null_bitmap);
    out.push(1);
    out.extend_from_slice(&statement.types);
    out.extend_from_slice(params.values);
    Ok(Some(out))
}
